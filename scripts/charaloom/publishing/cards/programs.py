"""Which program reads which file of a model repository; `docs/files.md` says how that was tried."""

from charaloom.artifacts.types import Row
from charaloom.config.roster import embedding_word

PROGRAMS = ("A1111 1.7+", "A1111 1.6 and older", "Forge", "ComfyUI", "diffusers", "OneTrainer")


def repo_files(character: str, embedding: bool) -> list[Row]:
    """The weights of the repository: {file, is, reads: what each of PROGRAMS does with it}."""
    lora = {"file": f"{character}.safetensors", "is": "the LoRA: all you need", "reads": ["yes"] * len(PROGRAMS)}
    if not embedding:
        return [lora]
    word = {
        "file": f"{embedding_word(character)}.safetensors",
        "is": "the embedding: optional",
        "reads": ["yes"] * (len(PROGRAMS) - 1) + ["no: it asks for another key"],
    }
    bundle = {
        "file": f"{character}_bundle.safetensors",
        "is": "both in one file",
        "reads": ["yes", "no", "no", "its LoRA only, with a warning", "no: refused with an error", "its LoRA only"],
    }
    return [lora, word, bundle]

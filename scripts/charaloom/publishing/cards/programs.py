"""Which program reads which file of a model repository; `docs/files.md` says how that was tried."""

from charaloom.artifacts.types import Row
from charaloom.publishing.layout import bundle_file, embedding_file, lora_file

PROGRAMS = ("A1111 1.7+", "A1111 1.6 and older", "Forge", "ComfyUI", "diffusers", "OneTrainer")


def repo_files(character: str, embedding: bool) -> list[Row]:
    """The weights of the repository: {file, is, reads: what each of PROGRAMS does with it}."""
    lora = {"file": lora_file(character), "is": "the LoRA: all you need", "reads": ["yes"] * len(PROGRAMS)}
    if not embedding:
        return [lora]
    word = {
        "file": embedding_file(character),
        "is": "the embedding: optional",
        "reads": ["yes"] * (len(PROGRAMS) - 1) + ["no: it asks for another key"],
    }
    bundle = {
        "file": bundle_file(character),
        "is": "both in one file",
        "reads": ["yes", "no", "no", "its LoRA only, with a warning", "no: refused with an error", "its LoRA only"],
    }
    return [lora, word, bundle]

"""Which program reads which file of a model repo."""

from typing import Any

from charaloom.diffusion.pipelines import embedding_word

PROGRAMS = ("A1111 1.7+", "A1111 1.6 and older", "Forge", "ComfyUI", "diffusers", "OneTrainer")


def repo_files(character: str, embedding: bool) -> list[dict[str, Any]]:
    """The weights of the repo, what each is, and what each of PROGRAMS does with it."""
    lora = {"file": f"{character}.safetensors", "is": "the LoRA: all you need", "reads": ["yes"] * len(PROGRAMS)}
    if not embedding:
        return [lora]
    word = {
        "file": f"{embedding_word(character)}.safetensors",
        "is": "the embedding: optional",
        "reads": ["yes"] * (len(PROGRAMS) - 1) + ["no: it asks for another key"],
    }
    both = {
        "file": f"{character}_bundle.safetensors",
        "is": "both in one file",
        "reads": ["yes", "no", "no", "its LoRA only, with a warning", "no: refused with an error", "its LoRA only"],
    }
    return [lora, word, both]

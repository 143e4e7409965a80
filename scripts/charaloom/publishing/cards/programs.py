"""Which program reads which file of a model repository, as its code does; `docs/files.md` says where that was read."""

from charaloom.artifacts.types import Row
from charaloom.config.families import Family
from charaloom.publishing.layout import bundle_file, embedding_file, lora_file

PROGRAMS = ("A1111 ≥ 1.7", "A1111 ≤ 1.6", "Forge", "ComfyUI", "diffusers", "OneTrainer")
READS, LORA, LORA_OR_EMBEDDING = "yes", "lora", "lora_or_embedding"  # what a program does with a file: keys of texts
REFUSED, OTHER_KEY = "refused", "other_key"
OF_LORA = (READS,) * len(PROGRAMS)
# OneTrainer asks for clip_l and clip_g of SDXL, which ours have, and for `emp_params` of SD 1.x, which no other writes.
OF_EMBEDDING = {True: (READS,) * len(PROGRAMS), False: (*(READS,) * (len(PROGRAMS) - 1), OTHER_KEY)}
OF_BUNDLE = (READS, LORA, LORA, LORA_OR_EMBEDDING, REFUSED, LORA)


def repo_files(character: str, family: Family, embedding: bool) -> list[Row]:
    """The weights of the chosen checkpoint: {file, is, reads: what PROGRAMS do with it}, as keys of the texts."""
    lora = {"file": lora_file(character), "is": "lora", "reads": OF_LORA}
    if not embedding:
        return [lora]
    several = len(family.text_encoders) > 1
    word = {"file": embedding_file(character), "is": "embedding", "reads": OF_EMBEDDING[several]}
    return [lora, word, {"file": bundle_file(character), "is": "bundle", "reads": OF_BUNDLE}]

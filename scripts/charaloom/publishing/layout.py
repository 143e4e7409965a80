"""Where the files of the published repositories lie.

The plain LoRA is the only weights file in the root: `load_lora_weights(repo)` of diffusers takes the first safetensors
file of a repository whose path holds none of `checkpoint`, `optimizer` and `scheduler`, and of a local folder the first
one in its root. Embedding, bundle and the other steps lie below `checkpoints/` for that reason.
"""

import re

from charaloom.config.roster import embedding_word

CHECKPOINTS = "checkpoints"
CHOSEN = f"{CHECKPOINTS}/chosen"
TRAINING = "training"  # the trainer's config, the loss, the lineage of the checkpoints
LINEAGE = f"{TRAINING}/lineage.json"
PREVIEWS = "previews/previews.json"  # every picture of the repository, with its prompt and its rating
GRID = "previews/grid.webp"

# Of a dataset repository:
OUTFITS = "outfits.json"  # triggers, core tags, outfits, prompts
REBUILD = "charaloom.json"  # what a rebuild of the model needs besides


def lora_file(character: str) -> str:
    """The LoRA of the chosen checkpoint, all that a program needs."""
    return f"{character}.safetensors"


def embedding_file(character: str) -> str:
    """The embedding that was trained with the chosen LoRA."""
    return f"{CHOSEN}/{embedding_word(character)}.safetensors"


def bundle_file(character: str) -> str:
    """Both in one file."""
    return f"{CHOSEN}/{character}_bundle.safetensors"


def step_files(character: str, step: int) -> tuple[str, str]:
    """LoRA and embedding of one step; no two files of a repository share a stem, since programs list them by it."""
    stem = f"{character}-{step:06d}"
    folder = f"{CHECKPOINTS}/{step:06d}"
    return f"{folder}/{lora_file(stem)}", f"{folder}/{embedding_word(stem)}.safetensors"


def kohya_file(character: str) -> str:
    """The training pictures of a dataset for kohya's trainers."""
    return f"kohya/{character}.zip"


def kohya_folder(trigger: str) -> str:
    """A trigger as a folder on any system may be called; spaces stay, as kohya's folders have them."""
    return re.sub(r'[\x00-\x1f\\/:*?"<>|]', "_", trigger).strip(" .")

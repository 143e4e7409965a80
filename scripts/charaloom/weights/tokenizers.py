"""The tokenizer of a folder: whether it brings its words, and whether the text encoder knows them."""

import json
from pathlib import Path
from typing import Any

from charaloom.errors import CharaloomError

VOCABULARY = ("vocab.json", "merges.txt")
SPECIAL = ("<|startoftext|>", "<|endoftext|>")  # of CLIP, around every text


def brings_words(tokenizer: Path) -> bool:
    """Whether a tokenizer's folder has its vocabulary."""
    return (tokenizer / "tokenizer.json").is_file() or all((tokenizer / name).is_file() for name in VOCABULARY)


def check_words(tokenizer: Path, rows: int) -> None:
    """Raises CharaloomError where a tokenizer's words cannot be read, lack CLIP's special tokens, or are no rows of the
    text encoder's `rows`."""
    for file, words in {"vocab.json": vocabulary, "tokenizer.json": serialised}.items():
        if not (tokenizer / file).is_file():
            continue
        where = f"{tokenizer.parent}: {tokenizer.name}/{file}"
        try:
            ids = words(json.loads((tokenizer / file).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise CharaloomError(f"{where} is no tokenizer that can be read; fetch it again") from None
        if missing := [word for word in SPECIAL if word not in ids]:
            raise CharaloomError(f"{where} lacks {' and '.join(missing)}, so it is not CLIP's; fetch it again")
        if (most := max(ids.values())) >= rows:
            raise CharaloomError(
                f"{where} numbers its words up to {most:,}, its text encoder knows {rows:,}: they do not belong"
                " together; fetch both again"
            )


def vocabulary(content: Any) -> dict[str, int]:
    return {str(word): int(number) for word, number in content.items()}


def serialised(content: Any) -> dict[str, int]:
    """Of the file that the library `tokenizers` writes."""
    added = {entry["content"]: entry["id"] for entry in content.get("added_tokens", [])}
    return vocabulary({**content["model"]["vocab"], **added})

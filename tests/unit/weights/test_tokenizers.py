"""Tokenizers of folders: broken ones are named before anything is trained on them."""

import json
from pathlib import Path
from typing import Any

import pytest

from charaloom.errors import CharaloomError
from charaloom.weights.models import folder_model
from charaloom.weights.tokenizers import SPECIAL
from tests.small_bases import write_base

WORDS = {word: number for number, word in enumerate(SPECIAL)}


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_whole_base_is_taken(tmp_path: Path, family: str) -> None:
    assert folder_model(write_base(tmp_path / "base", family)).family == family


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("vocab.json", {}, "lacks <|startoftext|> and <|endoftext|>"),
        ("vocab.json", {SPECIAL[0]: 0}, "lacks <|endoftext|>"),
        ("vocab.json", [], "no tokenizer that can be read"),
        ("vocab.json", {**WORDS, "word": "x"}, "no tokenizer that can be read"),
        ("vocab.json", {**WORDS, "word": 16}, "numbers its words up to 16, its text encoder knows 16"),
        ("tokenizer.json", {"model": {}}, "no tokenizer that can be read"),
        ("tokenizer.json", {"model": {"vocab": {"word": 2}}, "added_tokens": []}, "lacks"),
    ],
)
def test_a_broken_tokenizer_is_named(tmp_path: Path, file: str, content: Any, why: str) -> None:
    base = write_base(tmp_path / "base")
    (base / "tokenizer" / file).write_text(json.dumps(content))
    with pytest.raises(CharaloomError) as told:
        folder_model(base)
    assert why in str(told.value)
    assert f"tokenizer/{file}" in str(told.value)


def test_a_tokenizer_that_is_cut_short_is_named(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "sdxl")
    (base / "tokenizer_2" / "vocab.json").write_text('{"<|startoftext|>": 0, "<|end')
    with pytest.raises(
        CharaloomError, match=r"tokenizer_2/vocab.json is no tokenizer that can be read; fetch it again"
    ):
        folder_model(base)


def test_special_tokens_may_be_added_ones(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    added = [{"content": word, "id": number} for word, number in WORDS.items()]
    (base / "tokenizer" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {}}, "added_tokens": added}))
    assert folder_model(base).family == "sd15"

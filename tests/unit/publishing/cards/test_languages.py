"""The cards in four languages: the same facts, each in words of its own, and no link that leads nowhere."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from charaloom.artifacts.types import Row
from charaloom.publishing.cards.model_card import card_text, write_model_cards
from charaloom.publishing.cards.texts import LANGUAGES, words_of
from tests.card_facts import base_of, model_card, selection, write_repository

OTHERS = [language for language in LANGUAGES if language != "en"]
FENCED = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
LETTERS = {"ja": r"[\u3040-\u30ff\u4e00-\u9fff]", "zh": r"[\u4e00-\u9fff]", "ko": r"[\uac00-\ud7a3]"}
FOREIGN = {"ja": r"[\uac00-\ud7a3]", "zh": r"[\u3040-\u30ff\uac00-\ud7a3]", "ko": r"[\u3040-\u30ff\u4e00-\u9fff]"}


def leaves(words: Row, start: str = "") -> Iterator[tuple[str, str]]:
    for key, value in words.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", value


def holes(text: str) -> Counter[str]:
    return Counter(re.findall(r"\{(\w+)\}", text))


def numbers(text: str) -> Counter[str]:
    return Counter(re.findall(r"\d+(?:\.\d+)?", text))


def code(text: str) -> Counter[str]:
    return Counter(re.findall(r"`[^`\n]+`", text))


def links(text: str) -> Counter[str]:
    return Counter(re.findall(r"\]\(([^)\s]+)\)", text))


def body(text: str) -> str:
    """A card without what only the hub reads."""
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).replace("<Gallery />\n\n", "")


@pytest.mark.parametrize("language", OTHERS)
def test_texts_have_the_same_keys_holes_numbers_code_and_links(language: str) -> None:
    english, other = dict(leaves(words_of("en"))), dict(leaves(words_of(language)))
    assert english.keys() == other.keys()
    for key, text in english.items():
        for facts in (holes, numbers, code, links):
            assert facts(other[key]) == facts(text), key


@pytest.mark.parametrize("language", OTHERS)
def test_texts_are_written_in_their_language(language: str) -> None:
    for key, text in leaves(words_of(language)):
        assert not re.search(FOREIGN[language], text), key
        if len(text) > 20:
            assert re.search(LETTERS[language], text), key


CARDS: dict[str, Row] = {
    "whole": {},
    "without an embedding": {"embedding": False},
    "on a hub": {
        "repositories": {"model": "someone/hana", "dataset": "someone/hana-set", "endpoint": "https://hub.example"},
        "minor": True,
        "contact": "removal@example.org",
    },
    "weak": {"selection": {**selection(), "weak": {"why": ["x"], "advice": ["y"]}}},
}


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("changes", CARDS.values(), ids=CARDS)
def test_cards_say_the_same_in_every_language(language: str, changes: Row) -> None:
    card = model_card(**changes)
    english, other = body(card_text(card)), body(card_text(card, language))
    assert FENCED.findall(other) == FENCED.findall(english)
    for facts in (numbers, links, code):
        assert facts(other) == facts(english)
    assert other != english
    assert "{" not in FENCED.sub("", other)


@pytest.mark.parametrize("changes", CARDS.values(), ids=CARDS)
def test_no_link_of_a_card_is_broken(tmp_path: Path, changes: Row) -> None:
    card = model_card(**changes)
    folder = write_repository(card, tmp_path / "model")
    write_model_cards(card, folder)
    for file in LANGUAGES.values():
        for target in links((folder / file).read_text(encoding="utf-8")):
            assert target.startswith(("https://", "mailto:")) or (folder / target).is_file(), (file, target)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_table_is_one(language: str) -> None:
    parser = pytest.importorskip("markdown_it").MarkdownIt().enable("table")
    page = parser.render(body(card_text(model_card(), language)))
    tables = re.findall(r"<table>(.*?)</table>", page, re.DOTALL)
    assert len(tables) == 8
    assert page.count("|") == 3, "between the languages"
    for table in tables:
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        assert len({row.count("</td>") + row.count("</th>") for row in rows}) == 1


def test_a_hub_shows_the_repositories_of_the_card() -> None:
    text = card_text(model_card(**CARDS["on a hub"]))
    assert "datasets:\n- someone/hana-set\n" in text
    assert 'load_lora_weights("someone/hana"' in text
    assert "counts as a minor" in text
    assert "counts as a minor" not in card_text(model_card())
    assert "(https://hub.example/datasets/someone/hana-set)" in text
    assert "[removal\\@example.org](mailto:removal@example.org)" in text


def test_weights_belong_to_their_base_by_its_name() -> None:
    chosen = selection()
    chosen["sweep"].reverse()
    chosen["sweep"][0]["recommended"] = 1.2
    lines = card_text(model_card(selection=chosen)).splitlines()
    row = next(line for line in lines if "noobai" in line and " of " in line)
    assert "| 1.2 |" in row


def test_a_local_base_with_a_known_hash_is_named_as_the_hub_knows_it() -> None:
    text = card_text(model_card(base=base_of("my-animagine")))
    assert "base_model: cagliostrolab/animagine-xl-4.0\n" in text
    assert "license: openrail++\n" in text
    assert "/somewhere" not in text
    assert "base_model" not in card_text(model_card(base=base_of("unheard-of", path="/somewhere/x.safetensors")))

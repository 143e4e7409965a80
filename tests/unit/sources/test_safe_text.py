"""Strangers' text at the door: what it may do to captions, prompts, logs and terminals."""

import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charaloom.diffusion.generation import escaped_for_a1111
from charaloom.images.decoding import Limits
from charaloom.pages.render import render_page
from charaloom.pages.standing import failure
from charaloom.sources import find
from charaloom.sources.boards.dialect import Name
from charaloom.sources.boards.listing import DIALECTS
from charaloom.sources.posts import EMPTY_POST, ListedPost, Rules, judged
from charaloom.sources.safe_text import LONGEST_TAG, LONGEST_TEXT, safe_tag, safe_text
from charaloom.tagging.captions import caption

RULES = Rules(frozenset({"general"}), Limits(), artists=frozenset({"shy_artist"}))
HOSTILE = {  # a tag of a board, and what is left of it
    "smile": "smile",
    "hana_(series)": "hana_(series)",
    "ü": "ü",
    "u\u0308": "ü",
    ">_<": ">_<",
    ";)": ";)",
    "smile\nlicense: mit": "smile_license:_mit",
    "a,b": "a_b",
    "a, b": "a_b",
    "\x00smile\x7f": "smile",
    "\x1b[31mred\x1b[0m": "[31mred[0m",
    "\x9b31mred": "31mred",
    "\u202eelims": "elims",
    "smi\u200ble": "smile",
    "\ufeffsmile": "smile",
    "\u2066smile\u2069": "smile",
    "smile\u2028hat": "smile_hat",
    "\ue000": None,
    "\udce9": None,
    "": None,
    " ": None,
    "x" * 3000: None,
    "x" * LONGEST_TAG: "x" * LONGEST_TAG,
}


@pytest.mark.parametrize("tag", HOSTILE)
def test_f11_a_tag_of_a_board_is_a_word_in_one_line(tag: str) -> None:
    assert safe_tag(tag) == HOSTILE[tag]


def test_f11_a_post_comes_in_with_safe_text_before_the_rules_read_it() -> None:
    post = {**EMPTY_POST, "site": "b", "post_id": "1", "rating": "general"}
    entry = judged(ListedPost({**post, "artists": ["shy\u200b_artist"]}), RULES, sentences=False)
    assert entry.problem == "removed: on request"
    tags = {
        "tags_general": list(HOSTILE),
        "artists": ["a\nb"],
        "source": "x\r\ny" + "z" * 5000,
        "created": "\x1b]0;t\x07",
    }
    entry = judged(ListedPost({**post, **tags}), RULES, sentences=False)
    assert entry.post["tags_general"] == list(dict.fromkeys(filter(None, HOSTILE.values())))
    assert entry.post["artists"] == ["a_b"]
    assert entry.post["created"] == "]0;t"
    assert entry.post["source"].startswith("x yz")
    assert len(entry.post["source"]) == LONGEST_TEXT


def test_a_sentence_and_the_name_of_a_file_of_the_users_stay() -> None:
    post = {
        **EMPTY_POST,
        "site": "folder",
        "post_id": "odd\nname.png",
        "tags_general": ["A girl, standing\nby the sea."],
    }
    kept = judged(ListedPost(post), RULES).post
    assert kept["post_id"] == "odd\nname.png"
    assert kept["tags_general"] == ["A girl, standing by the sea."]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(max_size=300), max_size=8))
def test_f11_no_text_breaks_out_of_a_caption(texts: list[str]) -> None:
    tags = [tag for text in texts if (tag := safe_tag(text))]
    for text in texts:
        assert safe_text(safe_text(text)) == safe_text(text)
    assert all(tag == safe_tag(tag) for tag in tags)
    written = caption("trigger", None, tags)
    assert len(written.split(", ")) <= 1 + len(set(tags))
    assert not any(unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cs") for letter in written)


LIVE = ("<lora:x:1>", "BREAK", "AND", "(masterpiece:1.5)", "[a:b:0.5]", "((x))", "<hypernet:y:2>", "a:1.2", "x\\")


@pytest.mark.parametrize("tag", LIVE)
def test_f11_what_a1111_would_act_on_is_letters_in_prompts_to_copy(tag: str, tmp_path: Path) -> None:
    written = escaped_for_a1111(caption("hana", None, [tag, "smile"]))
    assert written != caption("hana", None, [tag, "smile"])
    template = Path(__file__).parents[3] / "scripts/charaloom/pages/templates"
    for page in ("outfits", "previews", "report"):
        calls = [line for line in (template / f"{page}.html.j2").read_text().splitlines() if "copyable(" in line]
        assert calls
        assert all("| typed" in line for line in calls)


def test_typed_is_a_filter_of_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.j2").write_text("{{ text | typed }}")
    monkeypatch.setattr("charaloom.pages.render.TEMPLATES", tmp_path)
    assert render_page("x.j2", {"text": "<lora:x:1> BREAK"}) == r"&lt;\lora:x:\1&gt; BREA\K"


def test_f11_the_reason_of_a_failure_is_the_jobs_own_last_line(tmp_path: Path) -> None:
    """Whatever a stranger's message looks like."""
    log = tmp_path / "raw.log"
    log.write_text("Error: the board said:\n    Error: all is lost\n    \\x1b[2Jgone\n")
    assert failure(log) == r"the board said: \x1b[2Jgone"
    log.write_text("Error: the board \x1b[2J\n")
    assert failure(log) == r"the board \x1b[2J"


def test_f11_a_tag_of_a_board_writes_no_row_into_the_roster(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = ["hana\nevil\tfolder\t/etc", "hana\tx", "hana\x1b[2J", "ha\u200bna", "x" * 500, "hana_(ok)"]
    monkeypatch.setattr(find, "read", lambda *_: [Name(tag, 9) for tag in tags])
    web = SimpleNamespace(site=SimpleNamespace(root="https://board.example"))
    assert [known.tag for known in find.asked_names(web, DIALECTS["danbooru"], "hana")] == ["hana_(ok)"]

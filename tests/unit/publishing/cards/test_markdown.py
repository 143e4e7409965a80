"""Two functions stand between strangers and the cards: one for Markdown, one for front matter."""

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from charaloom.publishing.cards.markdown import contact_link, escape_markdown, front_matter, plain

ATTACKS = [
    "a\n---\nlicense: mit",
    "a\r\n# heading",
    "a\u2028# heading",
    "a\x85- item",
    "a\x0b\x0c\x1c# x",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "> quote",
    "    code",
    "![x](http://evil)",
    "[x]: http://evil",
    "<img src=x onerror=y>",
    "<!-- x",
    "https://evil.example",
    "www.evil.example",
    "evil@example.org",
    "&lt;b&gt;",
    "a | b",
    "| a | b |",
    "---",
    "===",
    "***",
    "```",
    "~~x~~",
    "$x$",
    "x^2^",
    "\\",
    "\\\\`x`",
    "\u202eabc",
    "\x00\x1b[31m",
]


def shown(text: str) -> str:
    module = pytest.importorskip("markdown_it")
    return module.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


@pytest.mark.parametrize("text", ATTACKS)
def test_text_is_shown_as_it_is(text: str) -> None:
    page = shown(f"{escape_markdown(text)}\n")
    words = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    assert page == (f"<p>{words}</p>\n" if words else "")
    item = shown(f"- {escape_markdown(text)}\n")
    assert item.count("<li>") == 1
    assert "<h" not in item


@given(st.text(alphabet=st.sampled_from("-+*#>|`~_[]()!<&\\:. \n\r1ax=\u2028\u202e\x00\x85"), max_size=30))
def test_any_text_stays_one_paragraph_of_text(text: str) -> None:
    page = shown(f"x {escape_markdown(text)}\n")
    assert page.count("<") == 2, "the paragraph alone"
    cells = shown(f"| a | b |\n| --- | --- |\n| {escape_markdown(text)} | c |\n")
    assert cells.count("<td>") == 2


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.text(), st.lists(st.text()), st.booleans())))
def test_front_matter_is_one_block_that_says_what_was_given(values: dict[str, Any]) -> None:
    block = front_matter(values)
    lines = block.split("\n")
    assert (lines[0], lines[-2], lines[-1]) == ("---", "---", "")
    assert not [line for line in lines[1:-2] if line.startswith(("---", "..."))]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", block)
    assert (yaml.safe_load("\n".join(lines[1:-2])) or {}).keys() == {plain(key) for key in values}


@pytest.mark.parametrize("text", ATTACKS)
def test_front_matter_holds_no_key_of_a_stranger(text: str) -> None:
    block = front_matter({"tags": [text], "pretty_name": text})
    assert yaml.safe_load(block.split("---\n")[1]) == {"tags": [plain(text)], "pretty_name": plain(text)}


def test_a_contact_is_a_link_where_it_is_an_address() -> None:
    assert str(contact_link("https://example.org/x")).endswith("(https://example.org/x)")
    assert str(contact_link("a.b@example.org")).endswith("(mailto:a.b@example.org)")
    for text in ("javascript:x", "https://x)](y", "ask me", "https://a b"):
        assert contact_link(text) == text

"""Markdown and front matter that text from strangers cannot break: tags, names of artists, prompts.

`escape_markdown` is for what a reader sees, `front_matter` for what a hub reads; nothing else writes such text.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

INVISIBLE = ("Cc", "Cs")  # Unicode categories: control characters and halves of surrogate pairs
DIRECTIONS = (
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they turn the text around them
)
SPECIAL = re.compile(
    r"([\\`*_{}\[\]<>#|!~&$@^=]|:(?=//)|(?<=www)\.|^[-+](?=[-+\s]|$)|(?<=^\d)[.)](?=\s|$))", re.IGNORECASE
)


def plain(value: Any) -> str:
    """Text on one line, without characters that nobody sees."""
    line = " ".join(str(value).split())
    return "".join(
        letter for letter in line if unicodedata.category(letter) not in INVISIBLE and letter not in DIRECTIONS
    )


def escape_markdown(value: Any) -> str:
    """Text that Markdown shows as it is, on one line; what is markup already passes."""
    from markupsafe import Markup

    return value if isinstance(value, Markup) else SPECIAL.sub(r"\\\1", plain(value))


def front_matter(values: Mapping[str, Any]) -> str:
    """The YAML block that a hub reads at the top of a card; every string in it stays on its line."""
    import yaml

    return f"---\n{yaml.safe_dump(cleaned(values), sort_keys=False, allow_unicode=True, width=10_000)}---\n"


def cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {plain(key): cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(inner) for inner in value]
    return plain(value) if isinstance(value, str) else value


def code_span(text: Any) -> "Markup":
    """Inline code that nothing inside can end; `|` is escaped because spans stand in tables too."""
    from markupsafe import Markup

    line = plain(text).replace("|", "\\|")
    fence = "`" * (longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{fence}{pad}{line}{pad}{fence}")


def code_block(text: Any, language: str = "text") -> "Markup":
    """A fenced block, to copy with one click on the hub; the fence is longer than any inside."""
    from markupsafe import Markup

    fence = "`" * max(3, longest_run(str(text)) + 1)
    return Markup(f"{fence}{language}\n{text}\n{fence}")


def link(text: Any, target: str) -> "Markup":
    """A link; `target` is an address or a path of ours."""
    from markupsafe import Markup

    return Markup(f"[{escape_markdown(text)}]({target})")


def contact_link(contact: str) -> "Markup | str":
    """A URL or a mail address as a link; anything else as text."""
    if re.fullmatch(r"https?://[^\s<>()\[\]|`]+", contact):
        return link(contact, contact)
    if re.fullmatch(r"[\w.+-]+@[\w.-]+", contact):
        return link(contact, f"mailto:{contact}")
    return contact


def longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)

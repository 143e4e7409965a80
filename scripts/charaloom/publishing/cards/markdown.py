"""Markdown that text from strangers cannot break."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup


def escape_markdown(value: Any) -> str:
    """Text that Markdown shows as it is, on one line; what is markup already passes."""
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~&$@^=]|:(?=//))", r"\\\1", line)


def code_span(text: Any) -> "Markup":
    """Inline code that nothing inside can end; `|` is escaped because spans stand in tables too."""
    from markupsafe import Markup

    line = " ".join(str(text).split()).replace("|", "\\|")
    fence = "`" * (longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{fence}{pad}{line}{pad}{fence}")


def code_block(text: Any) -> "Markup":
    """A fenced block, to copy with one click on the hub; the fence is longer than any inside."""
    from markupsafe import Markup

    fence = "`" * max(3, longest_run(str(text)) + 1)
    return Markup(f"{fence}text\n{text}\n{fence}")


def longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)

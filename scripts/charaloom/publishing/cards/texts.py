"""The words of the cards, one file per language, and how they are filled in.

A card has one structure; what it says in a language stands in `texts/<language>.yaml`, written for that language.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.types import Row
from charaloom.publishing.cards.markdown import code_block, code_span, contact_link, escape_markdown, link
from charaloom.tagging.captions import as_words

if TYPE_CHECKING:
    from markupsafe import Markup

FOLDER = Path(__file__).parent
LANGUAGES = {"en": "README.md", "ja": "README_ja.md", "zh": "README_zh.md", "ko": "README_ko.md"}  # the card of each


@cache
def words_of(language: str) -> Row:
    import yaml

    return yaml.safe_load((FOLDER / "texts" / f"{language}.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Texts:
    """The words of one language; a call fills a sentence in."""

    language: str

    def section(self, key: str) -> Any:
        """What stands under a key such as `model.start`."""
        found: Any = words_of(self.language)
        for part in key.split("."):
            found = found[part]
        return found

    def __call__(self, key: str, /, **values: Any) -> "Markup":
        """The sentence under a key with its values, each escaped unless it is markup."""
        from markupsafe import Markup

        return Markup(self.section(key).format_map({name: escape_markdown(value) for name, value in values.items()}))

    def row(self, key: str) -> "Markup":
        """The head of a table: the titles of its columns under a key, and the line below them."""
        return table_row(map(self.section(key).__getitem__, self.section(key)))

    def of(self, part: int, whole: int) -> "Markup":
        return self("of", part=part, whole=whole)


def table_row(cells: Any) -> "Markup":
    from markupsafe import Markup

    titles = [str(escape_markdown(cell)) for cell in cells]
    return Markup(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")


def render(template: str, language: str, facts: Row) -> str:
    """A card from its template. Whatever the template prints is escaped, unless a filter marked it as code."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        undefined=StrictUndefined,
        finalize=escape_markdown,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "words": as_words,
        "code": code_span,
        "block": code_block,
        "link": link,
        "contact": contact_link,
    }
    environment.filters |= filters
    names = [(words_of(other)["name"], file) for other, file in LANGUAGES.items()]
    texts = Texts(language)
    return environment.get_template(template).render(t=texts, language=language, languages=names, **facts)

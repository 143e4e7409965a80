"""A page from its template: one file that asks nothing of any network. Pictures and styles are inlined."""

from pathlib import Path

from charaloom.artifacts.types import Row
from charaloom.diffusion.generation import escaped_for_a1111

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, content: Row) -> str:
    """A page from its template; Jinja escapes whatever comes from tables.

    The filter `typed` makes letters of what has a meaning in a prompt, for prompts that people copy.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["typed"] = escaped_for_a1111
    return environment.get_template(template).render(content)

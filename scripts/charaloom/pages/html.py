"""Pages: what the curation page and the report share. Verdicts in words, the funnel, contact sheets, thumbnails.

A page is one file that asks nothing of any network: pictures and styles are inlined. Nothing above the allowed rating
is ever shown, whichever rule dropped it first; it is counted.
"""

import base64
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.manifest import read_manifest
from charaloom.artifacts.tables import read_table, stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.rules import RATINGS, RULES
from charaloom.images.decoding import open_picture
from charaloom.tagging.captions import as_words

if TYPE_CHECKING:
    from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"
SIDE = 160  # pixels of a thumbnail's longest side
SPARE_PARTS = "not_a_candidate"  # heads, half bodies: measured, but never meant to train
UNSHOWN = frozenset({"rating", "rating_model"})
SHORT_NAME = 8  # digits of a SHA-256 that a person reads


# --- verdicts in words


def active_rules(filtered_manifest: PathLike, rows: Iterable[Row]) -> list[str]:
    """The rules that were asked, in their order; after them those that only the table knows."""
    asked = read_manifest(filtered_manifest)["lineage"]["params"].get("rules") or list(RULES)
    return [*asked, *sorted({row["rule"] for row in rows if row["rule"]} - set(asked))]


def explain(rule: str) -> str:
    """What a rule means to a person."""
    return RULES[rule].words if rule in RULES else as_words(rule)


def number(rule: str, value: float) -> str:
    """A score or threshold in as many digits as decide; a rating by its name."""
    if rule == "rating":
        return RATINGS[int(value)]
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def numbers(reason: Row) -> str | None:
    """`score / threshold` of a row that names its rule; None where nothing was measured."""
    rule, score, threshold = reason["rule"], reason["score"], reason["threshold"]
    if score is None or threshold is None:
        return None if score is None else number(rule, score)
    return f"{number(rule, score)} / {number(rule, threshold)}"


def reason_words(reason: Row) -> str:
    told = numbers(reason)
    return f"{reason['rule']} {told}" if told else reason["rule"]


def verdict_words(row: Row) -> str | None:
    """The numbers behind a verdict; of a kept view those of its identity."""
    if row["verdict"] != "keep":
        return numbers(row)
    found = [score for score in row.get("scores") or [] if score["rule"] == "identity"]
    distance = row["identity_distance"]
    if found:
        return numbers(found[0])
    return None if distance is None else f"distance {distance:.3f}"


def other_reasons(row: Row) -> list[Row]:
    """What would have dropped a view besides its verdict."""
    return [reason for reason in row["reasons"] or [] if reason["rule"] != row["rule"]]


def short_name(view: str) -> str:
    """A view's id with as much of the picture's SHA-256 as tells pictures apart."""
    picture, _, part = view.partition("/")
    return view if ":" in picture else f"{picture[:SHORT_NAME]}/{part}"


# --- what is shown, and in which order


def dropped_by(rows: Iterable[Row], rules: list[str]) -> dict[str, list[Row]]:
    """Dropped views by the rule that dropped them first, in the order of the rules; spare parts are left out."""
    groups: dict[str, list[Row]] = {rule: [] for rule in rules if rule != SPARE_PARTS}
    for row in rows:
        if row["verdict"] != "keep" and row["rule"] != SPARE_PARTS:
            groups[row["rule"]].append(row)
    return groups


def borderline(rows: Iterable[Row]) -> list[Row]:
    """Nearest to the threshold first: the ones worth a second look."""

    def distance(row: Row) -> float:
        known = row["score"] is not None and row["threshold"] is not None
        return abs(row["score"] - row["threshold"]) if known else math.inf

    return sorted(rows, key=lambda row: (distance(row), row["view"]))


def doubtful(rows: Iterable[Row]) -> list[Row]:
    """Kept views, those farthest from her cluster first."""

    def certainty(row: Row) -> float:
        distance = row["identity_distance"]
        return -distance if distance is not None else -math.inf

    return sorted((row for row in rows if row["verdict"] == "keep"), key=lambda row: (certainty(row), row["view"]))


def may_be_shown(row: Row) -> bool:
    """Nothing above the allowed rating is shown, whichever rule came first."""
    return row["rule"] != "problem" and not UNSHOWN & {reason["rule"] for reason in row["reasons"] or []}


# --- the funnel


def funnel(rows: list[Row], rules: list[str]) -> Row:
    """How many views went in, what each rule took, and how many came out; widths are shares of what went in."""
    dropped = dropped_by(rows, rules)
    also = Counter(reason["rule"] for row in rows for reason in other_reasons(row) if row["rule"] != SPARE_PARTS)
    spare = sum(row["rule"] == SPARE_PARTS for row in rows)
    total = left = len(rows) - spare
    bars: list[Row] = []
    for rule, found in dropped.items():
        after = left - len(found)
        bars.append(
            {
                "rule": rule,
                "words": explain(rule),
                "count": len(found),
                "also": also[rule],
                "left": after,
                "before_share": share(left, total),
                "after_share": share(after, total),
            }
        )
        left = after
    return {"total": total, "spare": spare, "bars": bars, "kept": left, "kept_share": share(left, total)}


def share(part: int, whole: int) -> str:
    """Percent with one decimal, as CSS takes it."""
    return f"{100 * part / whole if whole else 0:.1f}"


# --- contact sheets


@dataclass(frozen=True)
class Source:
    """Where a picture came from: its posts as <site>:<post id>, a page to open, and what is wrong with its file."""

    posts: list[str] = field(default_factory=list)
    page: str | None = None
    problem: str | None = None


def read_sources(raw: PathLike) -> dict[str, Source]:
    """The source of every picture; no picture's bytes are read."""
    return {row["picture"]: source_of(row) for row in stream_table(raw, ["picture", "problem", "posts"])}


def source_of(row: Row) -> Source:
    posts = row["posts"] or []
    pages = [post["page_url"] for post in posts if (post["page_url"] or "").startswith(("https://", "http://"))]
    return Source([f"{post['site']}:{post['post_id']}" for post in posts], next(iter(pages), None), row["problem"])


def tile(row: Row, pictures: dict[str, str], source: Source | None = None) -> Row:
    """A view as a contact sheet shows it; without picture where none may or can be shown."""
    source = source or Source()
    also = [reason_words(reason) for reason in other_reasons(row)]
    return {
        "view": row["view"],
        "short": short_name(row["view"]),
        "picture": pictures.get(row["view"]),
        "numbers": verdict_words(row),
        "held_out": row["split"] == "held_out",
        "also": also,
        "page": source.page,
        "posts": source.posts,
        "beside": None,
        "title": "\n".join([row["view"], *source.posts, *([f"also: {', '.join(also)}"] if also else [])]),
    }


class Thumbnails:
    """Pictures as small as a page can carry, and how many there are."""

    def __init__(self) -> None:
        self.made = 0

    def of(self, picture: "Image.Image") -> str:
        """A data URL of at most SIDE pixels."""
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        buffer = BytesIO()
        small.save(buffer, "WEBP", quality=70, method=4)
        self.made += 1
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def cut_thumbnails(raw: PathLike, views: Iterable[Row], thumbnails: Thumbnails) -> dict[str, str]:
    """Thumbnail by view of those that may be shown; every picture is opened once, one after another."""
    wanted: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in views:
        if may_be_shown(row):
            wanted[row["picture"]][row["view"]] = row
    cut: dict[str, str] = {}
    for picture in stream_table(raw, ["picture", "bytes"]):
        if picture["picture"] in wanted and picture["bytes"]:
            whole = open_picture(picture["bytes"])
            for view, row in sorted(wanted[picture["picture"]].items()):
                cut[view] = thumbnails.of(whole.crop((row["x0"], row["y0"], row["x1"], row["y1"])))
    return cut


def raw_counts(raw: PathLike) -> Row:
    """Pictures the source gave, and what was wrong with the unusable ones by kind of problem."""
    rows = read_table(raw, ["picture", "problem"])
    problems = Counter(row["problem"].partition(":")[0] for row in rows if row["problem"])
    return {"pictures": len(rows), "problems": sorted(problems.items(), key=lambda entry: (-entry[1], entry[0]))}


# --- the page itself


def render_page(template: str, content: Row) -> str:
    """A page from its template; Jinja escapes whatever comes from tables."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(content)

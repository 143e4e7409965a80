"""Outfits page: what she is and what she wears, side by side, before any GPU is asked: signatures, support, stability,
how often each is trained, a map of all views, what stayed unassigned and why, and what is wrong with captions.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable

from charaloom.artifacts.files import read_json, write_text
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.outfits.clustered import directions
from charaloom.outfits.grouping import plane, similarities
from charaloom.pages.funnel import share
from charaloom.pages.render import render_page
from charaloom.pages.sheets import Thumbnails, cut_thumbnails
from charaloom.pages.verdicts import short_name
from charaloom.tagging.captions import as_words

SHEET = 48  # views shown of each outfit, and of the unassigned
ON_THE_MAP = 400  # views whose picture the map shows under the pointer
MAP = (640, 440)  # width and height
MARGIN = 12
CORE_TOLD = 24  # tags of core.json that the page lists
LINT_TOLD = 40
# Colours that are told apart by people who see few; after these they repeat.
COLOURS = ("#3b7dd8", "#d9822b", "#2f9e62", "#b8479a", "#8a6fd1", "#c9a400", "#1b9aaa", "#d1495b", "#7a8b2f", "#936f4f")
UNASSIGNED = "#9a9a9a"


def build_outfits(
    character: str,
    params: Row,
    raw: PathLike,
    measured: PathLike,
    tagged: PathLike,
    core: PathLike,
    clustered: PathLike,
    clustered_manifest: PathLike,
    outfits: PathLike,
    page: PathLike,
    manifest: PathLike,
) -> None:
    """Write `outfits.html` of one character."""
    facts = lineage("outfits", character, params, {"clustered": os.fspath(clustered_manifest)})
    views = sorted(read_table(tagged), key=lambda row: row["view"])
    told = read_json(outfits)
    worn = {row["view"]: row["outfit"] for row in read_table(clustered, ["view", "outfit"])}
    seed = derive_seed(params["seed"], character, "map")
    places = plane(similarities(directions(views, measured)), seed)
    thumbnails = Thumbnails()
    pictures = cut_thumbnails(raw, shown(views, worn, told), thumbnails)
    colours = {outfit["id"]: COLOURS[k % len(COLOURS)] for k, outfit in enumerate(told["outfits"])}
    content = {
        "character": character,
        "version": facts["digest"],
        "file": told,
        "views": len(views),
        "core": core_rows(read_json(core)),
        "outfits": [card(outfit, views, worn, pictures, colours) for outfit in told["outfits"]],
        "unassigned": sheet([view for view in views if not worn[view["view"]]], pictures),
        "map": drawn_map(views, places.tolist(), worn, pictures, colours),
        "lint": told["lint"][:LINT_TOLD],
        "lint_more": max(0, len(told["lint"]) - LINT_TOLD),
        "plain": plain_share(told),
        "dropped": dropped_tags(views),
    }
    write_text(page, render_page("outfits.html.j2", content))
    write_manifest(manifest, facts, {"page": page}, {"outfits": len(told["outfits"]), "thumbnails": thumbnails.made})


def shown(views: list[Row], worn: dict[str, str | None], told: Row) -> Iterable[Row]:
    """Views whose pictures the page holds: some of every outfit, of the unassigned, and of the map."""
    first = {view for outfit in told["outfits"] for view in outfit["representatives"]}
    seen = Counter[str | None]()
    step = max(1, len(views) // ON_THE_MAP)
    for index, view in enumerate(views):
        outfit = worn[view["view"]]
        seen[outfit] += 1
        if view["view"] in first or seen[outfit] <= SHEET or index % step == 0:
            yield {**view, "rule": None, "reasons": None}


def card(outfit: Row, views: list[Row], worn: dict[str, str | None], pictures: dict[str, str], colours: Row) -> Row:
    """An outfit as the page shows it: its representatives first, then the others."""
    order = {view: place for place, view in enumerate(outfit["representatives"])}
    members = [view for view in views if worn[view["view"]] == outfit["id"]]
    members.sort(key=lambda view: (order.get(view["view"], len(order)), view["view"]))
    return {
        **outfit,
        "colour": colours[outfit["id"]],
        "signature": [
            {"words": as_words(row["tag"]), "width": share(round(1000 * row["score"]), 1000), "score": row["score"]}
            for row in outfit["signature"]
        ],
        "sheet": sheet(members, pictures),
    }


def sheet(members: list[Row], pictures: dict[str, str]) -> Row:
    """Some views of a group, and how many more there are."""
    tiles = [tile(view, pictures) for view in members[:SHEET]]
    return {"count": len(members), "tiles": tiles, "more": len(members) - len(tiles)}


def tile(view: Row, pictures: dict[str, str]) -> Row:
    """A view as contact sheets show it; under the pointer the tags that stay in its caption."""
    tags = ", ".join(as_words(tag["name"]) for tag in view["tags"])
    return {
        "short": short_name(view["view"]),
        "picture": pictures.get(view["view"]),
        "numbers": None,
        "held_out": view["split"] == "held_out",
        "also": [],
        "page": None,
        "beside": None,
        "title": f"{view['view']}\n{tags}",
    }


def drawn_map(
    views: list[Row], places: list[list[float]], worn: dict[str, str | None], pictures: dict[str, str], colours: Row
) -> Row:
    """Dots of the map, in the order of their outfits so that a legend can hide them, with what is under the pointer."""
    width, height = (side / 2 - MARGIN for side in MAP)
    dots: dict[str, list[Row]] = defaultdict(list)
    for view, (x, y) in zip(views, places, strict=True):
        outfit = worn[view["view"]]
        dots[outfit or ""].append(
            {
                "x": round(MARGIN + width * (1 + x), 1),
                "y": round(MARGIN + height * (1 + y), 1),
                "picture": pictures.get(view["view"]),
                "title": f"{outfit or 'unassigned'} · {short_name(view['view'])}",
            }
        )
    groups = [{"id": name, "colour": colour, "dots": dots[name]} for name, colour in colours.items()]
    if dots[""]:
        groups.append({"id": "", "colour": UNASSIGNED, "dots": dots[""]})
    return {"width": MAP[0], "height": MAP[1], "groups": groups}


def core_rows(core: Row) -> list[Row]:
    """Core tags, then the traits that nearly are, with the numbers that decided."""
    rows = [row for row in core["tags"] if row["why"] != "not a trait of the person"]
    return [
        {
            "words": as_words(row["tag"]),
            "core": row["core"],
            "why": row["why"],
            "share": row["share"],
            "low": row["low"],
            "high": row["high"],
            "views": row["views"],
            "left": share(round(1000 * row["low"]), 1000),
            "width": share(round(1000 * (row["high"] - row["low"])), 1000),
            "weakest": row["weakest"] and {**row["weakest"], "given": as_words(row["weakest"]["given"])},
            "boards": row["boards"],
        }
        for row in rows[:CORE_TOLD]
    ]


def plain_share(told: Row) -> float:
    """Share of an epoch that shows no trained outfit."""
    return max(0.0, 1 - sum(outfit["share"] for outfit in told["outfits"] if outfit["trained"]))


def dropped_tags(views: list[Row]) -> list[Row]:
    """Why tags left the captions, and which most often."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for view in views:
        for tag in view["dropped"]:
            found[tag["reason"]][tag["name"]] += 1
    return [
        {"reason": reason, "count": tags.total(), "most": [as_words(name) for name, _ in common(tags)]}
        for reason, tags in sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    ]


def common(tags: Counter[str]) -> list[tuple[str, int]]:
    return sorted(tags.items(), key=lambda item: (-item[1], item[0]))[:8]

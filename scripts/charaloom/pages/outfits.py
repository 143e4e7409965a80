"""Outfits page: who the character is and what they wear, before training takes a GPU.

Signatures, support, stability, how often each outfit is trained, a map of all views, what stayed unassigned and why,
and what is wrong with captions.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from charaloom.artifacts.files import read_json, write_text
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Outfits
from charaloom.outfits.features import directions
from charaloom.outfits.grouping import plane, similarities
from charaloom.pages.charts import Dot, scatter
from charaloom.pages.funnel import share
from charaloom.pages.render import render_page
from charaloom.pages.sheets import Thumbnails, cut_thumbnails
from charaloom.pages.verdicts import short_name
from charaloom.tagging.captions import as_words, with_manners

SHEET = 48  # views shown of each outfit, and of the unassigned
ON_THE_MAP = 400  # views whose picture the map shows under the pointer
CORE_SHOWN = 24  # tags of core.json that the page lists
LINT_SHOWN = 40
DROPPED_SHOWN = 8  # tags that left the captions, of each reason
# Colours that colour-blind people tell apart; after these they repeat.
COLOURS = ("#3b7dd8", "#d9822b", "#2f9e62", "#b8479a", "#8a6fd1", "#c9a400", "#1b9aaa", "#d1495b", "#7a8b2f", "#936f4f")
UNASSIGNED = "#9a9a9a"


@dataclass(frozen=True)
class OutfitsInputs:
    """Files that the outfits page reads."""

    raw: PathLike
    measured: PathLike
    tagged: PathLike
    core: PathLike
    clustered: PathLike
    outfits: PathLike
    upstream: Sequence[PathLike]


def build_outfits(character: str, params: Outfits, inputs: OutfitsInputs, page: PathLike, manifest: PathLike) -> None:
    """Write `outfits.html` of one character."""
    facts = lineage("outfits", character, params.plain(), inputs.upstream)
    views = sorted(read_table(inputs.tagged), key=lambda row: row["view"])
    file = read_json(inputs.outfits)
    outfit_of = {row["view"]: row["outfit"] for row in read_table(inputs.clustered, ["view", "outfit"])}
    seed = derive_seed(params.seed, character, "map")
    places = plane(similarities(directions(views, inputs.measured)), seed)
    thumbnails = Thumbnails()
    pictures = cut_thumbnails(inputs.raw, shown(views, outfit_of, file["outfits"]), thumbnails)
    colours = {outfit["id"]: COLOURS[k % len(COLOURS)] for k, outfit in enumerate(file["outfits"])}
    content = {
        "character": character,
        "with_manners": partial(with_manners, prefix=params.prefix, suffix=params.suffix),
        "version": facts.version,
        "file": file,
        "views": len(views),
        "core": core_rows(read_json(inputs.core)),
        "outfits": [card(outfit, views, outfit_of, pictures, colours) for outfit in file["outfits"]],
        "unassigned": sheet([view for view in views if not outfit_of[view["view"]]], pictures),
        "map": map_of(views, places.tolist(), outfit_of, pictures, colours),
        "lint": file["lint"][:LINT_SHOWN],
        "lint_more": max(0, len(file["lint"]) - LINT_SHOWN),
        "plain": plain_share(file["outfits"]),
        "dropped": dropped_tags(views),
    }
    write_text(page, render_page("outfits.html.j2", content))
    write_manifest(manifest, facts, {"page": page}, {"outfits": len(file["outfits"]), "thumbnails": thumbnails.made})


def shown(views: list[Row], outfit_of: Mapping[str, str | None], outfits: list[Row]) -> Iterable[Row]:
    """Views whose pictures the page holds: some of every outfit, of the unassigned, and of the map."""
    representatives = {view for outfit in outfits for view in outfit["representatives"]}
    passed = Counter[str | None]()
    step = max(1, len(views) // ON_THE_MAP)
    for index, view in enumerate(views):
        outfit = outfit_of[view["view"]]
        passed[outfit] += 1
        if view["view"] in representatives or passed[outfit] <= SHEET or index % step == 0:
            yield {**view, "rule": None, "reasons": None}


# --- outfits


def card(
    outfit: Row,
    views: list[Row],
    outfit_of: Mapping[str, str | None],
    pictures: Mapping[str, str],
    colours: Mapping[str, str],
) -> Row:
    """An outfit as the page shows it: its representatives first, then its other views."""
    order = {view: place for place, view in enumerate(outfit["representatives"])}
    members = [view for view in views if outfit_of[view["view"]] == outfit["id"]]
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


def sheet(members: list[Row], pictures: Mapping[str, str]) -> Row:
    """Some views of a group, and how many more there are."""
    tiles = [tile(view, pictures) for view in members[:SHEET]]
    return {"count": len(members), "tiles": tiles, "more": len(members) - len(tiles)}


def tile(view: Row, pictures: Mapping[str, str]) -> Row:
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


def map_of(
    views: list[Row],
    places: Sequence[Sequence[float]],
    outfit_of: Mapping[str, str | None],
    pictures: Mapping[str, str],
    colours: Mapping[str, str],
) -> Row:
    """The map of all views, a group of dots for each outfit and one, named `""`, for the unassigned."""
    dots: dict[str, list[Dot]] = defaultdict(list)
    for view, place in zip(views, places, strict=True):
        outfit = outfit_of[view["view"]]
        title = f"{outfit or 'unassigned'} · {short_name(view['view'])}"
        dots[outfit or ""].append(Dot(place, title, pictures.get(view["view"])))
    groups = {**colours, "": UNASSIGNED} if dots[""] else colours
    return scatter(dots, groups)


def plain_share(outfits: list[Row]) -> float:
    """Share of an epoch that shows no trained outfit."""
    return max(0.0, 1 - sum(outfit["share"] for outfit in outfits if outfit["trained"]))


# --- tags


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
        for row in rows[:CORE_SHOWN]
    ]


def dropped_tags(views: list[Row]) -> list[Row]:
    """Why tags left the captions, and which most often."""
    by_reason: dict[str, Counter[str]] = defaultdict(Counter)
    for view in views:
        for tag in view["dropped"]:
            by_reason[tag["reason"]][tag["name"]] += 1
    return [
        {"reason": reason, "count": tags.total(), "most": [as_words(name) for name in commonest(tags)]}
        for reason, tags in sorted(by_reason.items(), key=lambda item: (-item[1].total(), item[0]))
    ]


def commonest(tags: Counter[str]) -> list[str]:
    return sorted(tags, key=lambda name: (-tags[name], name))[:DROPPED_SHOWN]

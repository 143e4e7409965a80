"""The card of a dataset repository."""

from collections import Counter
from dataclasses import dataclass

from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.publishing.content import SPLITS
from charaloom.tagging.captions import as_words

SIZES = (  # rows below which the hub calls a dataset so
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
)
COLUMNS = """## Columns

`image` with its `caption` (also as `text`) and the caption's `tags`; `outfit`; `repeats`, how often a training epoch
sees it; `picture`, the SHA-256 of the file that the source served, and the `box` cut from it; `pixels_sha256` of what
is stored here; `masked`, boxes of other people in its pixels, and `opacity`, where the file is transparent; `rating`,
`identity_distance` (CCIP), `sharpness`; `posts`, where the picture came from.

```python
from datasets import load_dataset

data = load_dataset("<this repository>", split="train")
```"""
REMOVAL = """To have a picture removed, open a discussion in this repository and name the post, the artist or the
`picture` hash. It is put on the removals list and leaves this dataset, and every model made of it, at the next run."""


def funnel(filtered: PathLike) -> Row:
    """Pictures, views, kept views, and how many views each rule dropped, most first."""
    rows = read_table(filtered, ["picture", "kind", "verdict", "rule"])
    training = [row for row in rows if row["rule"] != "not_a_candidate"]
    dropped = Counter(row["rule"] for row in training if row["verdict"] == "drop")
    return {
        "pictures": len({row["picture"] for row in rows}),
        "views": len(training),
        "kept": sum(row["verdict"] == "keep" for row in rows),
        "dropped": sorted(dropped.items(), key=lambda item: (-item[1], item[0])),
    }


def provenance(raw: PathLike, views: list[Row]) -> Row:
    """Posts by site and number of artists of the kept pictures."""
    names = {view["picture"] for view in views}
    rows = [row for row in read_table(raw, ["picture", "posts"]) if row["picture"] in names]
    posts = [post for row in rows for post in row["posts"] or []]
    return {
        "sites": sorted(Counter(post["site"] for post in posts).items()),
        "artists": len({artist for post in posts for artist in post["artists"] or []}),
        "pictures": len(names),
    }


@dataclass(frozen=True)
class DatasetCard:
    """What a card is made of."""

    character: str
    content: str  # digest of what is trained on
    outfits: Row  # outfits.json
    core: list[Row]  # core tags of core.json
    views: list[Row]  # clustered.parquet
    counts: Row  # rows by split
    funnel: Row
    sources: Row
    resolution: int  # pixels of a side: the square of it is the area that larger pictures are reduced to


def card_text(card: DatasetCard) -> str:
    """README.md of the dataset: front matter for the hub, then what a person asks first."""
    import yaml

    front = {
        "license": "other",
        "license_name": "as-in-source",
        "task_categories": ["text-to-image"],
        "pretty_name": f"{as_words(card.character)}, a character dataset by Charaloom",
        "tags": ["charaloom", "anime", "character", "art"],
        "size_categories": [size_category(len(card.views))],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in SPLITS],
            }
        ],
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    sections = [
        f"# {as_words(card.character)}",
        f"Pictures of one character, chosen, cut and captioned by Charaloom: {card.counts['train']} to train with, "
        f"{card.counts['held_out']} held out to judge by. What is trained on has the digest `{card.content[:12]}`.",
        trigger_section(card.outfits["trigger"], card.core),
        outfit_section(card.outfits, card.views),
        funnel_section(card.funnel),
        sizes_section(card.resolution),
        COLUMNS,
        source_section(card.sources),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def trigger_section(trigger: str, core: list[Row]) -> str:
    traits = ", ".join(f"`{as_words(row['tag'])}` ({row['share']:.0%})" for row in core)
    left_out = "nothing: no trait is constant"
    if traits:
        left_out = f"what it means, with the share of views that show it: {traits}"
    return f"## Trigger\n\n`{trigger}` stands for the character. Captions leave out {left_out}."


def sizes_section(resolution: int) -> str:
    return (
        f"## Sizes\n\nLarger pictures are reduced to the area of {resolution} x {resolution} pixels, their short side "
        f"to no less than {resolution // 2}; smaller ones are as they were. None is enlarged."
    )


def size_category(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "100K<n<1M")


def outfit_section(outfits: Row, views: list[Row]) -> str:
    trained = [outfit for outfit in outfits["outfits"] if outfit["trained"]]
    if not trained:
        return "## Outfits\n\nNo outfit has enough pictures of its own; all are captioned plainly."
    pictures = Counter(view["outfit"] for view in views if view["split"] == "train")
    lines = ["| outfit | trigger | pictures | what it is |", "| --- | --- | ---: | --- |"]
    for outfit in trained:
        signature = ", ".join(as_words(row["tag"]) for row in outfit["signature"])
        lines.append(f"| {outfit['name']} | `{outfit['trigger']}` | {pictures[outfit['id']]} | {signature} |")
    return "## Outfits\n\n" + "\n".join(lines)


def funnel_section(funnel: Row) -> str:
    lines = ["| | views |", "| --- | ---: |", f"| of {funnel['pictures']} pictures | {funnel['views']} |"]
    lines += [f"| dropped by `{rule}` | {count} |" for rule, count in funnel["dropped"]]
    return "## How they were chosen\n\n" + "\n".join([*lines, f"| kept | {funnel['kept']} |"])


def source_section(sources: Row) -> str:
    sites = ", ".join(f"{site} ({count})" for site, count in sources["sites"]) or "a folder of the person who made this"
    return (
        f"## Where the pictures come from, and how to have one removed\n\n"
        f"{sources['pictures']} pictures, posts by site: {sites}; {sources['artists']} artists named. Rights stay with "
        f"their artists; no licence is given here. Every row names its posts, pages and artists.\n\n{REMOVAL}"
    )

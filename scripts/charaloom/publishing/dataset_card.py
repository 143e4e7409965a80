"""The card of a dataset repository."""

from collections import Counter

from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.publishing.shards import SPLITS
from charaloom.tagging.captions import as_words

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
COLUMNS = """## Columns

`image` with its `caption` (also as `text`) and the `tags` it spells out; `outfit`; `repeats`, how often
a training epoch sees it; `picture`, the SHA-256 of the file
the source served, and the `box` cut from it; `pixels_sha256` of what is stored here; `rating`, `identity_distance`
(CCIP), `sharpness`; `posts`, where the picture came from.

```python
from datasets import load_dataset

data = load_dataset("<this repository>", split="train")
```"""
REMOVAL = """To have a picture removed, open a discussion in this repository and name the post, the artist or the
`picture` hash. It is put on the removals list and leaves this dataset, and every model made of it, at the next run."""


def funnel(filtered: PathLike) -> Row:
    """How many pictures there were, and how many views each rule dropped, in the order of their number."""
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
    """Posts by site and number of artists of the pictures that were kept."""
    names = {view["picture"] for view in views}
    rows = [row for row in read_table(raw, ["picture", "posts"]) if row["picture"] in names]
    posts = [post for row in rows for post in row["posts"] or []]
    return {
        "sites": sorted(Counter(post["site"] for post in posts).items()),
        "artists": len({artist for post in posts for artist in post["artists"] or []}),
        "pictures": len(names),
    }


def card_text(
    character: str,
    version: str,
    outfits: Row,
    traits: list[Row],
    views: list[Row],
    counts: Row,
    passed: Row,
    sources: Row,
) -> str:
    """README.md of the dataset: front matter that the hub reads, then what a person asks first."""
    import yaml

    front = {
        "license": "other",
        "license_name": "as-in-source",
        "task_categories": ["text-to-image"],
        "pretty_name": f"{as_words(character)}, a character dataset by Charaloom",
        "tags": ["charaloom", "anime", "character", "art"],
        "size_categories": [size_category(len(views))],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in SPLITS],
            }
        ],
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    sections = [
        f"# {as_words(character)}",
        f"Pictures of one character, chosen, cut and captioned by Charaloom: {counts['train']} to train with, "
        f"{counts['held_out']} held out to judge by. Version `{version[:12]}`.",
        trigger_section(outfits["trigger"], traits),
        outfit_section(outfits, views),
        funnel_section(passed),
        COLUMNS,
        source_section(sources),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def trigger_section(trigger: str, traits: list[Row]) -> str:
    told = ", ".join(f"`{as_words(row['tag'])}` ({row['share']:.0%})" for row in traits)
    meaning = f"what it means, with the share of views that show it: {told}"
    always = meaning if told else "nothing: no trait is constant"
    return f"## Trigger\n\n`{trigger}` stands for her. Captions leave out {always}."


def size_category(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "100K<n<1M")


def outfit_section(outfits: Row, views: list[Row]) -> str:
    told = [outfit for outfit in outfits["outfits"] if outfit["trained"]]
    if not told:
        return "## Outfits\n\nNo outfit has enough pictures of its own; all are captioned plainly."
    shown = Counter(view["outfit"] for view in views if view["split"] == "train")
    lines = ["| outfit | trigger | pictures | what it is |", "| --- | --- | ---: | --- |"]
    for outfit in told:
        signature = ", ".join(as_words(row["tag"]) for row in outfit["signature"])
        lines.append(f"| {outfit['name']} | `{outfit['trigger']}` | {shown[outfit['id']]} | {signature} |")
    return "## Outfits\n\n" + "\n".join(lines)


def funnel_section(passed: Row) -> str:
    lines = ["| | views |", "| --- | ---: |", f"| of {passed['pictures']} pictures | {passed['views']} |"]
    lines += [f"| dropped by `{rule}` | {count} |" for rule, count in passed["dropped"]]
    return "## How they were chosen\n\n" + "\n".join([*lines, f"| kept | {passed['kept']} |"])


def source_section(sources: Row) -> str:
    sites = ", ".join(f"{site} ({count})" for site, count in sources["sites"]) or "a folder of the maker's own"
    return (
        f"## Where the pictures come from, and how to have one removed\n\n"
        f"{sources['pictures']} pictures, posts by site: {sites}; {sources['artists']} artists named. Rights stay with "
        f"their artists; no licence is given here. Every row names its posts, pages and artists.\n\n{REMOVAL}"
    )

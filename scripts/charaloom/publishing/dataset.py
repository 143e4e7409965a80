"""Dataset: the kept views as a dataset repository, ready to publish: Parquet shards, captions, provenance, a card.

Pixels are cut here and nowhere else. `datasets.load_dataset` and the hub's viewer read the shards as they are; memory
is that of a few pictures, whatever the size of the set.
"""

import io
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import read_json, sha256_bytes, whole_folder, write_text
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import read_table, stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.errors import CharaloomError
from charaloom.images.decoding import open_picture
from charaloom.tagging.captions import as_words, tags_in

if TYPE_CHECKING:
    import datasets
    from PIL import Image

Params = dict[str, Any]

SPLITS = ("train", "held_out")
ROWS_PER_GROUP = 32
BYTES_PER_SHARD = 400_000_000
LOSSY = ("WEBP", "JPEG")
RATINGS = ("general", "sensitive", "questionable", "explicit")
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def build_dataset(
    character: str,
    params: Params,
    raw: PathLike,
    measured: PathLike,
    filtered: PathLike,
    clustered: PathLike,
    clustered_manifest: PathLike,
    outfits: PathLike,
    core: PathLike,
    folder: PathLike,
    manifest: PathLike,
) -> None:
    """Write the dataset repository `folder`: data/<split>-<number>.parquet and README.md.

    A view is cut by its box and made smaller so that its short side has `resolution` pixels, never larger; then encoded
    as `format` (WEBP, JPEG with `quality`; PNG). Raises CharaloomError where the raw table no longer fits the views.
    """
    origin = lineage("dataset", character, params, {"clustered": os.fspath(clustered_manifest)})
    views = sorted(read_table(clustered), key=lambda row: row["view"])
    facts = gathered(views, measured, filtered)
    told = read_json(outfits)
    with whole_folder(folder) as part:
        (part / "data").mkdir()
        counts = write_shards(views, facts, raw, told, params, part / "data")
        traits = [row for row in read_json(core)["tags"] if row["core"]]
        chosen, sources = funnel(filtered), provenance(raw, views)
        card = card_text(character, origin["digest"], told, traits, views, counts, chosen, sources)
        write_text(part / "README.md", card)
    write_manifest(manifest, origin, {"folder": folder}, {"views": len(views), **counts})


def gathered(views: list[Row], measured: PathLike, filtered: PathLike) -> dict[str, Row]:
    """Per view what the card and the rows tell besides the caption: sizes, scores, distance to the character."""
    names = {view["view"] for view in views}
    sizes = read_table(measured, ["view", "width", "height", "sharpness"])
    verdicts = read_table(filtered, ["view", "identity_distance"])
    facts = {row["view"]: row for row in sizes if row["view"] in names}
    for row in verdicts:
        if row["view"] in names:
            facts[row["view"]] |= row
    return facts


# --- shards


def features() -> "datasets.Features":
    """Columns as `datasets` knows them; the picture is one that viewers decode."""
    from datasets import Features, Image, List, Value

    text, number = Value("string"), Value("int32")
    post = {
        **dict.fromkeys(("site", "post_id", "page_url", "source", "rating", "md5", "created"), text),
        "artists": List(text),
    }
    return Features(
        {
            "image": Image(),
            "text": text,  # the caption under the name that trainers look for
            "caption": text,
            "tags": List(text),  # what the caption spells out, as boards write it
            "outfit": text,
            "repeats": number,  # how often a training epoch sees it, so that rare outfits are learned
            "view": text,
            "picture": text,  # SHA-256 of the bytes the board served
            "pixels_sha256": text,  # of the decoded pixels that were encoded here, row by row, RGB
            "kind": text,
            "box": List(number, length=4),
            "width": number,
            "height": number,
            "rating": text,
            "identity_distance": Value("float32"),
            "sharpness": Value("float32"),
            "posts": List(post),
        }
    )


def write_shards(
    views: list[Row], facts: dict[str, Row], raw: PathLike, outfits: Row, params: Params, data: Path
) -> dict[str, int]:
    """Write both splits; returns rows per split. Every split has a shard, also where it is empty."""
    schema = features().arrow_schema
    wanted = {split: [view for view in views if view["split"] == split] for split in SPLITS}
    for split, members in wanted.items():
        rows = examples(members, facts, raw, outfits, params)
        for number, batches in enumerate(shards(rows)):
            write_shard(data / f"{split}-{number:05d}.parquet", batches, schema)
        if not members:
            write_shard(data / f"{split}-00000.parquet", iter(()), schema)
    return {split: len(members) for split, members in wanted.items()}


def shards(rows: Iterator[Row]) -> Iterator[Iterator[list[Row]]]:
    """Cut the stream of rows into shards of bounded size, each an iterator of row groups."""
    group = list(islice(rows, ROWS_PER_GROUP))
    while group:
        size = 0

        def one_shard() -> Iterator[list[Row]]:
            nonlocal group, size
            while group and size < BYTES_PER_SHARD:
                size += sum(len(row["image"]["bytes"]) for row in group)
                yield group
                group = list(islice(rows, ROWS_PER_GROUP))

        yield one_shard()


def write_shard(path: Path, groups: Iterator[list[Row]], schema: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in groups:
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=ROWS_PER_GROUP)


def examples(views: list[Row], facts: dict[str, Row], raw: PathLike, outfits: Row, params: Params) -> Iterator[Row]:
    """Rows of the dataset in the order of their views; pictures are opened one at a time.

    Both tables are sorted by the picture's name, so one pass over `raw` serves all views.
    """
    trained = {outfit["id"]: outfit["trigger"] for outfit in outfits["outfits"] if outfit["trained"]}
    triggers = {outfits["trigger"], *trained.values()}
    pictures = stream_table(raw, ["picture", "bytes", "posts"])
    current: Row = {"picture": ""}
    image = None
    for view in sorted(views, key=lambda row: row["picture"]):
        while current["picture"] != view["picture"]:
            following = next(pictures, None)
            if following is None:
                raise CharaloomError(
                    f"{raw}: picture {view['picture']} of the clustered views is not in it; rebuild from `raw` on"
                )
            current, image = following, None
        image = image or open_picture(current["bytes"])
        row = example(view, facts[view["view"]], current["posts"] or [], image, params)
        outfit = view["outfit"] if view["outfit"] in trained else None
        yield {**row, "outfit": outfit, "tags": tags_in(view["caption"], triggers)}


def example(view: Row, facts: Row, posts: list[Row], image: "Image.Image", params: Params) -> Row:
    shown = cut(image, view, params["resolution"])
    data = encoded(shown, params)
    name = f"{view['view'].replace('/', '-')}.{params['format'].lower()}"
    return {
        "image": {"bytes": data, "path": name},
        "text": view["caption"],
        "caption": view["caption"],
        "repeats": view["repeats"],
        "view": view["view"],
        "picture": view["picture"],
        "pixels_sha256": sha256_bytes(shown.tobytes()),
        "kind": view["kind"],
        "box": [view["x0"], view["y0"], view["x1"], view["y1"]],
        "width": shown.width,
        "height": shown.height,
        "rating": strictest(posts),
        "identity_distance": facts["identity_distance"],
        "sharpness": facts["sharpness"],
        "posts": [{key: post[key] for key in POST_KEYS} for post in posts],
    }


POST_KEYS = ("site", "post_id", "page_url", "source", "rating", "md5", "created", "artists")


def cut(image: "Image.Image", view: Row, resolution: int) -> "Image.Image":
    """The view's pixels, made smaller to a short side of `resolution` where they are larger."""
    from PIL import Image

    box = (view["x0"], view["y0"], view["x1"], view["y1"])
    shown = image if box == (0, 0, *image.size) else image.crop(box)
    short = min(shown.size)
    if short <= resolution:
        return shown
    width, height = (max(round(side * resolution / short), resolution) for side in shown.size)
    return shown.resize((width, height), Image.Resampling.LANCZOS)


def encoded(image: "Image.Image", params: Params) -> bytes:
    """Picture file of `format`. Lossless WebP is not offered: its bytes differ between versions of libwebp."""
    form = params["format"].upper()
    if form not in (*LOSSY, "PNG"):
        raise CharaloomError(f"dataset.format: {params['format']!r} is not one of WEBP, JPEG, PNG")
    options: Row = {"quality": params["quality"]} if form in LOSSY else {"compress_level": 6}
    if form == "JPEG":
        options |= {"subsampling": 0}
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def strictest(posts: list[Row]) -> str | None:
    """The strictest rating among a picture's posts; None where no board rated it."""
    given = [RATINGS.index(post["rating"]) for post in posts if post["rating"] in RATINGS]
    return RATINGS[max(given)] if given else None


# --- card


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


def source_section(sources: Row) -> str:
    sites = ", ".join(f"{site} ({count})" for site, count in sources["sites"]) or "a folder of the maker's own"
    return (
        f"## Where the pictures come from, and how to have one removed\n\n"
        f"{sources['pictures']} pictures, posts by site: {sites}; {sources['artists']} artists named. Rights stay with "
        f"their artists; no licence is given here. Every row names its posts, pages and artists.\n\n{REMOVAL}"
    )

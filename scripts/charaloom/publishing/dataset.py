"""Dataset: the kept views as a dataset repository, ready to publish: Parquet shards, captions, provenance, a card.

Pixels are cut here and nowhere else. `datasets.load_dataset` and the hub's viewer read the shards as they are; memory
is that of a few pictures, whatever the size of the set.
"""

import os

from charaloom.artifacts.files import read_json, whole_folder, write_text
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.publishing.dataset_card import card_text, funnel, provenance
from charaloom.publishing.shards import Params, write_shards


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

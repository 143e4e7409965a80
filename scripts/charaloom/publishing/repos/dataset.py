"""Stage `dataset`: the kept views as a dataset repository: Parquet shards, captions, provenance, a card.

Pixels are cut here (`shards`) and nowhere else. `datasets.load_dataset` and the hub's viewer read the shards as they
are; a few pictures are in memory at a time, whatever the size of the set.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from charaloom.artifacts.files import digest, read_json, whole_folder, write_text
from charaloom.artifacts.manifest import lineage, write_facet, write_manifest
from charaloom.artifacts.tables import VIEW_COLUMNS, read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Dataset
from charaloom.config.roster import ADULT
from charaloom.publishing.cards.dataset_card import (
    DatasetCard,
    funnel,
    provenance,
    write_dataset_cards,
    write_samples,
)
from charaloom.publishing.content import judging_content, training_content
from charaloom.publishing.gate import refuse_dataset
from charaloom.publishing.layout import OUTFITS
from charaloom.publishing.masks import other_people, parts_by_picture
from charaloom.publishing.repos.shards import write_shards


@dataclass(frozen=True)
class DatasetInputs:
    """Files that a dataset repository is made of."""

    raw: PathLike
    measured: PathLike
    filtered: PathLike
    clustered: PathLike
    outfits: PathLike
    core: PathLike
    upstream: Sequence[PathLike]


@dataclass(frozen=True)
class DatasetFiles:
    """Where the dataset goes, and its facets: what training and what previews read of it."""

    folder: PathLike
    training: PathLike
    judging: PathLike
    manifest: PathLike


def build_dataset(character: str, params: Dataset, inputs: DatasetInputs, files: DatasetFiles) -> None:
    """Write the dataset repository `files.folder`: data/<split>-<place>.parquet and README.md.

    A view is cut by its box, reduced to `resolution` squared pixels where it has more (`shards.reduced`), never
    enlarged, then encoded as `format` (WEBP, JPEG with `quality`; PNG). Raises CharaloomError where the raw table no
    longer fits the views, and where the gate refuses a picture: before anything trains on it.
    """
    origin = lineage("dataset", character, params.plain(), inputs.upstream)
    views = sorted(read_table(inputs.clustered), key=lambda row: row["view"])
    outfits = read_json(inputs.outfits)
    with whole_folder(files.folder) as part:
        (part / "data").mkdir()
        facts = facts_by_view(views, inputs)
        counts = write_shards(views, facts, inputs.raw, outfits, params, part / "data")
        shutil.copyfile(inputs.outfits, part / OUTFITS)
        if params.policy:
            refuse_dataset(character, part, params.policy)
        training = training_content(part / "data", outfits)
        judging = judging_content(part / "data", inputs.measured, views, outfits["core"])
        card = DatasetCard(
            character=character,
            content=digest(training),
            outfits=outfits,
            core=[row for row in read_json(inputs.core)["tags"] if row["core"]],
            views=views,
            counts=counts,
            funnel=funnel(inputs.filtered),
            sources=provenance(inputs.raw, views),
            resolution=params.resolution,
            samples=write_samples(part, outfits),
            repositories=params.repositories,
            contact=params.contact,
            minor=params.policy is not None and params.policy.age != ADULT,
        )
        write_text(part / "identity.csv", distances(facts))
        write_dataset_cards(card, part)
    write_facet(files.training, training, pictures=counts["train"])
    write_facet(files.judging, judging)
    write_manifest(files.manifest, origin, {"folder": files.folder}, {"views": len(views), **counts})


def distances(facts: dict[str, Row]) -> str:
    """The CCIP distance of each view to the character, as CSV. It is measured to all others, so it changes with any of
    them: in the shards it would change every one."""
    lines = [f"{view},{facts[view]['identity_distance'] or 0:.6f}" for view in sorted(facts)]
    return "\n".join(["view,identity_distance", *lines, ""])


def facts_by_view(views: list[Row], inputs: DatasetInputs) -> dict[str, Row]:
    """What the rows hold of each view besides its caption: sharpness, rating of its picture, other people."""
    names = {view["view"] for view in views}
    measured = read_table(inputs.measured, ["sharpness", "rating", *(name for name, _ in VIEW_COLUMNS)])
    ratings = {row["picture"]: row["rating"] for row in measured if row["kind"] == "picture"}
    filtered = read_table(inputs.filtered, ["view", "identity_distance"])
    facts = {row["view"]: row for row in measured if row["view"] in names}
    for row in filtered:
        if row["view"] in names:
            facts[row["view"]] |= row
    parts = parts_by_picture(measured, {view["picture"] for view in views})
    for row in facts.values():
        row["rating_model"] = {entry["name"]: entry["score"] for entry in ratings.get(row["picture"]) or []}
        row["masked"] = other_people(row, parts.get(row["picture"], []))
    return facts

"""Stage `dataset`: the kept views as a dataset repository: Parquet shards, captions, provenance, a card.

Pixels are cut here (`shards`) and nowhere else. `datasets.load_dataset` and the hub's viewer read the shards as they
are; a few pictures are in memory at a time, whatever the size of the set.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import digest, read_json, whole_folder, write_text
from charaloom.artifacts.manifest import lineage, write_facet, write_manifest
from charaloom.artifacts.tables import VIEW_COLUMNS, pictures_beside, read_table, stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import LINKS, Dataset
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
from charaloom.publishing.layout import OUTFITS, kohya_file
from charaloom.publishing.masks import other_people, parts_by_picture
from charaloom.publishing.repos.kohya import write_kohya
from charaloom.publishing.repos.links import write_links
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
    """Write the dataset repository `files.folder`: data/<split>-<place>.parquet, outfits.json, the card.

    A view is cut by its box, reduced to `resolution` squared pixels where it has more (`shards.reduced`), never
    enlarged, then encoded as `format` (WEBP, JPEG with `quality`; PNG). Raises CharaloomError where the raw table no
    longer fits the views, and where the gate refuses a picture: before anything trains on it.
    """
    origin = lineage("dataset", character, params.plain(), inputs.upstream)
    views = sorted(read_table(inputs.clustered), key=lambda row: row["view"])
    outfits = read_json(inputs.outfits)
    with whole_folder(files.folder) as part, shards_folder(files.folder, part, params) as data:
        facts = facts_by_view(views, inputs)
        counts = write_shards(views, facts, inputs.raw, outfits, params, data)
        if params.pictures == LINKS:
            write_links(data, part / "data")
        if params.kohya:
            trained = (row for shard in sorted(data.glob("train-*.parquet")) for row in stream_table(shard))
            write_kohya(part / kohya_file(character), trained, outfits["trigger"])
        shutil.copyfile(inputs.outfits, part / OUTFITS)
        if params.policy:
            refuse_dataset(character, part, params.policy)
        training = training_content(data, outfits)
        judging = judging_content(data, inputs.measured, views, outfits["core"])
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
    outputs = {"folder": files.folder}
    if params.pictures == LINKS:
        outputs["pictures"] = pictures_beside(files.folder)
    write_manifest(files.manifest, origin, outputs, {"views": len(views), **counts})


@contextmanager
def shards_folder(dataset: PathLike, part: Path, params: Dataset) -> Iterator[Path]:
    """Where the shards with the pictures go: into `part`, the dataset before it is there, or beside the dataset, where
    it has links alone: training and previews read them."""
    (part / "data").mkdir()
    beside = pictures_beside(dataset)
    if params.pictures == LINKS:
        with whole_folder(beside) as pictures:
            (pictures / "data").mkdir()
            yield pictures / "data"
    else:
        yield part / "data"
        shutil.rmtree(beside, ignore_errors=True)  # what earlier settings left there


def distances(facts: dict[str, Row]) -> str:
    """The CCIP distance of each view to the character, as CSV. It is measured to all others, so it changes with any of
    them: in the shards it would change every one."""
    known = {view: facts[view]["identity_distance"] for view in sorted(facts)}
    lines = [f"{view},{'' if distance is None else f'{distance:.6f}'}" for view, distance in known.items()]
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

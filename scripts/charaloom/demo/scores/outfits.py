"""How good tags and outfits are, by the ground truth of demo worlds: the table that `make score OUTFITS=…` prints.

ARI
    Adjusted Rand index between the true outfits of a character and the ones found, over kept pictures (see `stages`).
found
    Of the outfits with at least 12 kept pictures, the share that exactly one found outfit is made of: most of its
    pictures wear it, and no other found outfit's do.
names kept
    Of the outfits found without one picture in eleven, the share whose id is still that of the same outfit when the
    missing pictures have arrived; over seeded choices of which are missing.
core precision, core recall
    Of the core tags found, how many are true of the character; of the true ones, how many were found.
worn in core
    Core tags found that belong to one of the character's outfits, a count.
"""

import random
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from charaloom.artifacts.files import read_json
from charaloom.artifacts.tables import TAGGED, read_table, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Clustered
from charaloom.demo.scores.cyberharem import by_optics
from charaloom.demo.scores.stages import Counts, Summed, adjusted_rand, count_outfits, kept_views, pictures_seen, share
from charaloom.outfits.clustered import ClusterInputs, Grouping, by_clothes, cluster_outfits

COLUMNS = ("", "ARI", "found", "names kept", "core precision", "core recall", "worn in core")
ENOUGH = 12  # kept pictures of an outfit from which it should be found
ARRIVING = 11  # one picture in so many comes later
CHOICES = 5  # of which pictures come later


@dataclass
class OutfitCounts(Summed):
    """What the figures are made of; characters and worlds add up."""

    counts: Counts = field(default_factory=Counts)
    large: int = 0  # outfits with enough pictures
    found: int = 0
    names: int = 0
    kept: int = 0
    core_right: int = 0
    core_wrong: int = 0
    core_missed: int = 0
    worn: int = 0


def counted(folder: Path, character: str, truth: Row, clustered: Path | None = None) -> OutfitCounts:
    """Everything that is counted of one character; `clustered` is the folder of another clustering of the same tags."""
    counts = OutfitCounts()
    place = clustered or folder
    count_outfits(counts.counts, place, character, pictures_seen(folder, truth["posts"]), kept_views(folder))
    count_found(counts)
    count_core(counts, folder, truth["characters"][character])
    return counts


def count_found(counts: OutfitCounts) -> None:
    """Match true and found outfits by the majority of their pictures."""
    worn_in: dict[str, Counter[str]] = defaultdict(Counter)
    for worn, cluster in zip(counts.counts.worn, counts.counts.clustered, strict=True):
        worn_in[cluster][worn] += 1
    mostly = Counter(max(members, key=lambda name: (members[name], name)) for members in of_outfits(worn_in))
    for outfit, size in Counter(counts.counts.worn).items():
        if size >= ENOUGH:
            counts.large += 1
            counts.found += mostly[outfit] == 1


def of_outfits(worn_in: dict[str, Counter[str]]) -> list[Counter[str]]:
    """Found outfits, without the pictures that stand alone under their view's name."""
    return [members for name, members in worn_in.items() if name.count("/") == 1]


def count_core(counts: OutfitCounts, folder: Path, character: Row) -> None:
    core = set(read_json(folder / "core.json")["core"])
    true = set(character["core"])
    worn = {tag for tags in character["outfits"].values() for tag in tags}
    counts.core_right += len(core & true)
    counts.core_wrong += len(core - true)
    counts.core_missed += len(true - core)
    counts.worn += len(core & worn)


def count_names(counts: OutfitCounts, folder: Path, character: str, params: Clustered, hub: PathLike) -> None:
    """Cluster without some pictures, and see whose name is another once they are there."""
    rows = read_table(folder / "tagged.parquet")
    later = {row["view"]: row["outfit"] for row in read_table(folder / "clustered.parquet", ["view", "outfit"])}
    pictures = sorted({row["picture"] for row in rows})
    for seed in range(CHOICES):
        missing = set(random.Random(seed).sample(pictures, len(pictures) // ARRIVING))
        with tempfile.TemporaryDirectory(prefix="charaloom-score-") as scratch:
            place = Path(scratch)
            write_table(place / "tagged.parquet", [r for r in rows if r["picture"] not in missing], TAGGED, "view")
            clustered_anew(folder, place, character, params, hub, place / "tagged.parquet")
            before = read_table(place / "clustered.parquet", ["view", "outfit"])
        names_later: dict[str, Counter[str]] = defaultdict(Counter)
        for row in before:
            if row["outfit"]:
                names_later[row["outfit"]][later[row["view"]] or ""] += 1
        counts.names += len(names_later)
        counts.kept += sum(
            max(names, key=lambda name: (names[name], name)) == own for own, names in names_later.items()
        )


def clustered_anew(
    folder: Path,
    place: Path,
    character: str,
    params: Clustered,
    hub: PathLike,
    tagged: Path,
    grouping: Grouping = by_clothes,
) -> None:
    """Write clustered.parquet and outfits.json of these tags to `place`."""
    cluster_outfits(
        character=character,
        params=params,
        inputs=ClusterInputs(
            measured=folder / "measured.parquet",
            tagged=tagged,
            core=folder / "core.json",
            hub=hub,
            upstream=(),
        ),
        table=place / "clustered.parquet",
        outfits=place / "outfits.json",
        prompts_facet=place / "clustered.prompts.json",
        manifest=place / "clustered.manifest.json",
        grouping=grouping,
    )


def by_cyberharem(folder: Path, character: str, params: Clustered, hub: PathLike, truth: Row) -> OutfitCounts:
    """What CyberHarem's clusters make of the same tags."""
    with tempfile.TemporaryDirectory(prefix="charaloom-score-") as scratch:
        place = Path(scratch)
        tagged = folder / "tagged.parquet"
        clustered_anew(folder, place, character, params, hub, tagged, lambda views, alike, least: by_optics(views))
        return counted(folder, character, truth, place)


def figures(name: str, counts: OutfitCounts) -> Row:
    """One line of the table, as numbers."""
    return {
        "": name,
        "ARI": adjusted_rand(counts.counts.worn, counts.counts.clustered),
        "found": share(counts.found, counts.large),
        "names kept": share(counts.kept, counts.names),
        "core precision": share(counts.core_right, counts.core_right + counts.core_wrong),
        "core recall": share(counts.core_right, counts.core_right + counts.core_missed),
        "worn in core": counts.worn,
    }

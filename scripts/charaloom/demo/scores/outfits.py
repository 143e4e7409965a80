"""How good tags and outfits are, by the ground truth of demo worlds: the table that `make score OUTFITS=…` prints.

ARI
    Adjusted Rand index between the outfit she wears in truth and the one found, over kept pictures (as in `scoring`).
found
    Of the outfits with at least 12 kept pictures, the share that exactly one found outfit is made of: most of its
    pictures wear it, and no other found outfit's do.
names kept
    Of the outfits found without one picture in eleven, the share whose id is still that of the same outfit when the
    missing tenth has arrived; over seeded draws of who is missing.
core precision, core recall
    Of the core tags found, how many are true of the character; of those true of her, how many were found.
worn in core
    Core tags found that belong to one of her outfits, a count.
"""

import random
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from charaloom.artifacts.files import read_json
from charaloom.artifacts.tables import TAGGED, read_table, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.demo.scores.stages import Counts, Summed, adjusted_rand, count_outfits, kept_views, pictures_seen, share
from charaloom.outfits.clustered import cluster_outfits

COLUMNS = ("", "ARI", "found", "names kept", "core precision", "core recall", "worn in core")
ENOUGH = 12  # kept pictures of an outfit from which it should be found
ARRIVING = 11  # one picture in so many comes later
DRAWS = 5


@dataclass
class OutfitCounts(Summed):
    """What the figures are made of; characters and worlds add up."""

    counts: Counts = field(default_factory=Counts)
    asked: int = 0  # outfits with enough pictures
    found: int = 0
    names: int = 0
    kept: int = 0
    core_right: int = 0
    core_wrong: int = 0
    core_missed: int = 0
    worn: int = 0


def counted(folder: Path, character: str, truth: Row, clustered: Path | None = None) -> OutfitCounts:
    """Everything that is counted of one character; `clustered` is the folder of another clustering of hers."""
    found = OutfitCounts()
    place = clustered or folder
    count_outfits(found.counts, place, character, pictures_seen(folder, truth["posts"]), kept_views(folder))
    count_found(found)
    count_core(found, folder, truth["characters"][character])
    return found


def count_found(found: OutfitCounts) -> None:
    """Match true and found outfits by the majority of their pictures."""
    pairs = list(zip(found.counts.worn, found.counts.clustered, strict=True))
    inside: dict[str, Counter[str]] = defaultdict(Counter)
    for worn, cluster in pairs:
        inside[cluster][worn] += 1
    mostly = Counter(max(members, key=lambda name: (members[name], name)) for members in whole(inside))
    for outfit, size in Counter(found.counts.worn).items():
        if size >= ENOUGH:
            found.asked += 1
            found.found += mostly[outfit] == 1


def whole(inside: dict[str, Counter[str]]) -> list[Counter[str]]:
    """Found outfits, without the pictures that stand alone under their view's name."""
    return [members for name, members in inside.items() if name.count("/") == 1]


def count_core(found: OutfitCounts, folder: Path, character: Row) -> None:
    told = set(read_json(folder / "core.json")["core"])
    true = set(character["core"])
    worn = {tag for tags in character["outfits"].values() for tag in tags}
    found.core_right += len(told & true)
    found.core_wrong += len(told - true)
    found.core_missed += len(true - told)
    found.worn += len(told & worn)


def count_names(found: OutfitCounts, folder: Path, character: str, params: Row, hub: PathLike) -> None:
    """Cluster without some pictures, and see whose name is another once they are there."""
    rows = read_table(folder / "tagged.parquet")
    later = {row["view"]: row["outfit"] for row in read_table(folder / "clustered.parquet", ["view", "outfit"])}
    pictures = sorted({row["picture"] for row in rows})
    for draw in range(DRAWS):
        missing = set(random.Random(draw).sample(pictures, len(pictures) // ARRIVING))
        with tempfile.TemporaryDirectory(prefix="charaloom-score-") as scratch:
            place = Path(scratch)
            write_table(place / "tagged.parquet", [r for r in rows if r["picture"] not in missing], TAGGED, "view", {})
            clustered_anew(folder, place, character, params, hub, place / "tagged.parquet")
            before = read_table(place / "clustered.parquet", ["view", "outfit"])
        same: dict[str, Counter[str]] = defaultdict(Counter)
        for row in before:
            if row["outfit"]:
                same[row["outfit"]][later[row["view"]] or ""] += 1
        found.names += len(same)
        found.kept += sum(max(names, key=lambda name: (names[name], name)) == own for own, names in same.items())


def clustered_anew(folder: Path, place: Path, character: str, params: Row, hub: PathLike, tagged: Path) -> None:
    """Write clustered.parquet and outfits.json of these tags to `place`."""
    cluster_outfits(
        character=character,
        params=params,
        measured=folder / "measured.parquet",
        tagged=tagged,
        tagged_manifest=folder / "tagged.manifest.json",
        core=folder / "core.json",
        hub=hub,
        table=place / "clustered.parquet",
        outfits=place / "outfits.json",
        manifest=place / "clustered.manifest.json",
    )


def clustered_by(folder: Path, character: str, params: Row, hub: PathLike, truth: Row) -> OutfitCounts:
    """What another config's clusters make of the same tags."""
    with tempfile.TemporaryDirectory(prefix="charaloom-score-") as scratch:
        place = Path(scratch)
        clustered_anew(folder, place, character, params, hub, folder / "tagged.parquet")
        return counted(folder, character, truth, place)


def figures(name: str, found: OutfitCounts) -> Row:
    """One line of the table, as numbers."""
    return {
        "": name,
        "ARI": adjusted_rand(found.counts.worn, found.counts.clustered),
        "found": share(found.found, found.asked),
        "names kept": share(found.kept, found.names),
        "core precision": share(found.core_right, found.core_right + found.core_wrong),
        "core recall": share(found.core_right, found.core_right + found.core_missed),
        "worn in core": found.worn,
    }

"""How good the filters alone are, by the ground truth of demo worlds: the table that `make score CURATION=…` prints.

precision, recall
    As in `stages`: right / (right + wrong), right / (right + missed), over groups of pictures of one drawing.
reencoded, crops
    Share of re-encoded or resized copies, of crops, of which only one of the group was kept.
false merges
    Share of the pictures that are no copy of another and yet were joined with one.
others, cosplay
    Share of the pictures of somebody else under the character's tag that were not kept; of those that show the
    character in another's clothes or another in theirs.
cosplay handled
    Share of the latter that were dealt with rightly (see `kinds`), in hard worlds.
above rating
    Kept pictures whose rating is above what the config allows, a count.
orders
    Of so many random orders of the same rows, how many gave the same bytes.
"""

import random
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from charaloom.artifacts.tables import FILTERED, read_table, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Filtered
from charaloom.curation.filtered import filter_views
from charaloom.curation.views import read_vectors
from charaloom.demo.scores.cyberharem import streamed
from charaloom.demo.scores.kinds import KindCounts
from charaloom.demo.scores.stages import Counts, Summed, count_filter, is_duplicate, kept_views, pictures_seen, share
from charaloom.vision.ccip import CcipMetric

ABOVE = ("higher_rating", "sensitive_rating")
COLUMNS = (
    "",
    "precision",
    "recall",
    "reencoded",
    "crops",
    "false merges",
    "others",
    "cosplay",
    "cosplay handled",
    "above rating",
    "orders",
)


@dataclass
class FilterCounts(Summed):
    """What the figures are made of; characters and worlds add up."""

    counts: Counts = field(default_factory=Counts)
    alone: int = 0  # pictures that are no copy of another
    merged: int = 0  # … and were joined with one
    above: int = 0
    orders: int = 0
    same: int = 0
    kinds: KindCounts = field(default_factory=KindCounts)


def counted(folder: Path, character: str, truth: Row) -> FilterCounts:
    """Everything that is counted of one character's `raw.parquet` and `filtered.parquet`."""
    pictures = pictures_seen(folder, truth["posts"])
    views = kept_views(folder)
    counts = FilterCounts()
    count_filter(counts.counts, character, pictures, views)
    count_merges(counts, folder, pictures)
    counts.above = sum(
        any(fault in ABOVE for fact in pictures.get(name, []) for fault in fact["faults"]) for name in views
    )
    return counts


def count_merges(counts: FilterCounts, folder: Path, pictures: dict[str, list[Row]]) -> None:
    """Pictures that stand in a duplicate group with a picture of another drawing."""
    members: dict[str, set[str]] = {}
    for row in read_table(folder / "filtered.parquet", ["picture", "duplicate_group"]):
        if row["duplicate_group"] and row["picture"] in pictures:
            members.setdefault(row["duplicate_group"], set()).add(row["picture"])
    joined: dict[str, set[str]] = {}
    for group in members.values():
        for name in group:
            joined.setdefault(name, set()).update(group)
    for name, facts in pictures.items():
        if not is_duplicate(facts):
            drawings = {pictures[member][0]["group"] for member in joined.get(name, {name})}
            counts.alone += 1
            counts.merged += len(drawings) > 1


def figures(name: str, counts: FilterCounts) -> Row:
    """One line of the table, as numbers."""
    kept = counts.counts

    def removed(*faults: str) -> float | None:
        return share(sum(kept.removed[f] for f in faults), sum(kept.faults[f] for f in faults))

    return {
        "": name,
        "precision": share(kept.right, kept.right + kept.wrong),
        "recall": share(kept.right, kept.right + kept.missed),
        "reencoded": removed("reencoded_duplicate"),
        "crops": removed("cropped_duplicate"),
        "false merges": share(counts.merged, counts.alone),
        "others": removed("other_character"),
        "cosplay": removed("cosplays_another", "cosplayed_by_another"),
        "cosplay handled": counts.kinds.handled(),
        "above rating": counts.above,
        "orders": f"{counts.same} of {counts.orders}" if counts.orders else None,
    }


def by_cyberharem(
    folder: Path, character: str, params: Filtered, hub: PathLike, truth: Row, orders: int
) -> FilterCounts:
    """What CyberHarem's chain makes of the same measured pictures: its rules, then its identity filter, which sees the
    pictures as they come, the newest post first; and how many of so many random orders give the same.

    Raises ValueError where `params` set no identity threshold.
    """
    threshold = params.identity
    if threshold is None:
        raise ValueError("CyberHarem's identity filter needs filtered.identity")
    rules = tuple(rule for rule in params.rules if rule != "identity")
    with tempfile.TemporaryDirectory(prefix="charaloom-score-") as scratch:
        place = Path(scratch)
        (place / "raw.parquet").symlink_to((folder / "raw.parquet").absolute())
        tables = folder / "raw.parquet", folder / "measured.parquet"
        decide(folder, place, character, replace(params, rules=rules), hub, *tables)
        rows = read_table(place / "filtered.parquet")
        candidates = as_they_come([row["view"] for row in rows if row["verdict"] == "keep"], folder / "raw.parquet")
        distances = CcipMetric(hub).differences(*[vectors_of(candidates, folder / "measured.parquet")] * 2)
        accepted = {candidates[index] for index in streamed(distances, threshold)}
        strangers = set(candidates) - accepted
        rows = [{**row, "verdict": "drop", "rule": "identity"} if row["view"] in strangers else row for row in rows]
        write_table(place / "filtered.parquet", rows, FILTERED, "view")
        counts = counted(place, character, truth)
    counts.orders = orders
    for seed in range(orders):
        order = random.Random(seed).sample(range(len(candidates)), len(candidates))
        again = streamed(distances[order][:, order], threshold)
        counts.same += {candidates[order[index]] for index in again} == accepted
    return counts


def as_they_come(views: list[str], raw: Path) -> list[str]:
    """Views in the order in which a board lists their posts: the highest id first."""
    newest = {
        row["picture"]: max(
            (int(post["post_id"]) for post in row["posts"] or [] if post["post_id"].isdigit()), default=0
        )
        for row in read_table(raw, ["picture", "posts"])
    }
    return sorted(views, key=lambda view: (-newest[view.split("/")[0]], view))


def vectors_of(views: list[str], measured: Path) -> Any:
    import numpy as np

    vectors = read_vectors(measured, "ccip")
    return np.stack([vectors[view] for view in views])


def same_in_any_order(folder: Path, character: str, params: Filtered, hub: PathLike, orders: int) -> int:
    """How many of so many random orders of the rows give the bytes of the order that they are in."""
    with tempfile.TemporaryDirectory(prefix="charaloom-score-") as scratch:
        place = Path(scratch)
        tables = [folder / "raw.parquet", folder / "measured.parquet"]
        decide(folder, place, character, params, hub, *tables)
        first = (place / "filtered.parquet").read_bytes()
        same = 0
        for seed in range(orders):
            shuffled = [in_another_order(file, place / f"shuffled-{file.name}", seed) for file in tables]
            decide(folder, place, character, params, hub, *shuffled)
            same += (place / "filtered.parquet").read_bytes() == first
        return same


def decide(
    folder: Path, place: Path, character: str, params: Filtered, hub: PathLike, raw: Path, measured: Path
) -> None:
    """Write filtered.parquet of these tables to `place`."""
    filter_views(
        character=character,
        params=params,
        raw=raw,
        measured=measured,
        hub=hub,
        upstream=(),
        table=place / "filtered.parquet",
        decisions=place / "filtered.decisions.json",
        manifest=place / "filtered.manifest.json",
    )


def in_another_order(file: Path, target: Path, seed: int) -> Path:
    import pyarrow.parquet as pq

    content = pq.read_table(file)
    order = list(range(content.num_rows))
    random.Random(seed).shuffle(order)
    pq.write_table(content.take(order), target)
    return target

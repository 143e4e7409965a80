"""What became of each kind of post of a hard world: the lines of `filter.by_kind` in score.json.

A post is right where it was kept and should be (or another copy of its drawing was), or was not kept and should not be.
Of several people, where no kept crop shows somebody else. A picture of the character in another's clothes: where it was
dropped, or its caption names no trained outfit and spells clothes out; of somebody in the character's clothes: where it
was dropped.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from charaloom.artifacts.files import read_json
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import Row
from charaloom.cli.text import table
from charaloom.demo.scores.stages import (
    DUPLICATES,
    Summed,
    is_wanted,
    kept_views,
    person_shown,
    pictures_seen,
    share,
)
from charaloom.tagging.captions import SEPARATOR
from charaloom.tagging.vocabulary import is_clothing

COSPLAY = ("cosplays_another", "cosplayed_by_another")


@dataclass
class KindCounts(Summed):
    """Pictures of each kind, and those that were dealt with rightly; characters and worlds add up."""

    total: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    def lines(self) -> dict[str, dict[str, int]]:
        return {kind: {"total": total, "right": self.right[kind]} for kind, total in sorted(self.total.items())}

    def handled(self) -> float | None:
        """Share of the cosplay that was dealt with rightly."""
        return share(sum(self.right[kind] for kind in COSPLAY), sum(self.total[kind] for kind in COSPLAY))

    def text(self) -> str:
        rows = [
            {"kind": kind, "pictures": str(line["total"]), "right": str(line["right"])}
            for kind, line in self.lines().items()
        ]
        return table(rows, ("kind", "pictures", "right"))


def counted_kinds(folder: Path, character: str, truth: Row) -> KindCounts:
    """Count the kinds of one character's pictures; nothing in an easy world, whose truth has none."""
    counts = KindCounts()
    if "level" not in truth:
        return counts
    pictures, views = pictures_seen(folder, truth["posts"]), kept_views(folder)
    taught = captions_of_outfits(folder)
    groups = {facts[0]["group"] for picture, facts in pictures.items() if picture in views}
    for picture, facts in pictures.items():
        kept = views.get(picture, [])
        if is_wanted(facts, character):
            right = facts[0]["group"] in groups
        elif any("cosplays_another" in fact["faults"] for fact in facts):
            right = all(taught[view["view"]] for view in kept)
        elif any(character in fact["either_for"] for fact in facts):
            right = all(person_shown(view, facts[0]["people"]) == character for view in kept)
        else:
            right = not kept
        for kind in {kind for fact in facts for kind in fact["kinds"]} - set(DUPLICATES):
            counts.total[kind] += 1
            counts.right[kind] += right
    return counts


def captions_of_outfits(folder: Path) -> dict[str, bool]:
    """Of every kept view, whether its caption names no trained outfit and spells clothes out."""
    trained = {outfit["id"] for outfit in read_json(folder / "outfits.json")["outfits"] if outfit["trained"]}
    rows = read_table(folder / "clustered.parquet", ["view", "outfit", "caption"])
    return {row["view"]: row["outfit"] not in trained and spells_clothes(row["caption"]) for row in rows}


def spells_clothes(caption: str) -> bool:
    return any(is_clothing(part.replace(" ", "_")) for part in caption.split(SEPARATOR))

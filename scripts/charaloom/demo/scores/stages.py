"""How good a demo run is, by the ground truth of its world. Nothing below `demo.scores` reads the truth.

`score.json`, whose keys never change their meaning (later ones may be added):

seed
    The world's seed.
filter.precision, filter.recall
    Over the pictures of the posts that were looked at. Pictures that show the same drawing (a picture and its
    duplicates) are one group. A group that should be kept and is, counts once as right; kept copies beyond the first,
    and kept pictures that should not be, are wrong; a group that should be kept and is not, is missed. Precision is
    right / (right + wrong), recall right / (right + missed). Pictures of several people, where keeping the
    character's own crop and dropping all are both fine, count only where a kept crop shows somebody else: as wrong.
filter.by_fault
    For each kind of fault {total, found}: pictures with it, and how many of them were not kept. A duplicate is found
    where only one of its group was kept. Posts of the same picture count as one; so an exact duplicate, which is right
    to keep once, is always found.
filter.by_kind
    In a hard world, for each kind of post {total, right}: see `kinds`.
outfits.ari
    Adjusted Rand index between the character's true outfit and the one that was found, over kept pictures that show
    them (of several views, the whole picture's). A picture without an outfit found is a cluster of its own.
previews.recognised, previews.recognised_without_lora
    Share of the previews rendered on the base that was trained on, with the selected checkpoint and with none, that the
    identity model takes for the character. Only those count whose prompt names them.

Numbers are over all characters together; `characters` holds the same for each.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from charaloom.artifacts.files import read_json
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.cli.text import table
from charaloom.images.boxes import box_of, shared

DUPLICATES = ("exact_duplicate", "reencoded_duplicate", "cropped_duplicate")


class Summed:
    """Dataclasses whose fields add up."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))  # type: ignore[arg-type]


@dataclass
class Counts(Summed):
    """What the numbers are made of; characters add up."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    worn: list[str] = field(default_factory=list)  # true outfit, of each kept picture of the character
    clustered: list[str] = field(default_factory=list)  # outfit found, of the same
    previews: Counter[str] = field(default_factory=Counter)  # rendered and recognised, with and without LoRA


def scored(results: PathLike, truth_file: PathLike, characters: list[str]) -> Row:
    """The content of `score.json` for finished characters below `results`."""
    truth = read_json(truth_file)
    counts = {name: counted(Path(results) / name, name, truth) for name in characters}
    whole = sum(counts.values(), Counts())
    return {
        "seed": truth["seed"],
        **numbers(whole),
        "characters": {name: numbers(own) for name, own in counts.items()},
    }


def numbers(counts: Counts) -> Row:
    with_lora, without = counts.previews["rendered"], counts.previews["rendered_without"]
    return {
        "filter": {
            "precision": share(counts.right, counts.right + counts.wrong),
            "recall": share(counts.right, counts.right + counts.missed),
            "by_fault": {
                fault: {"total": total, "found": counts.removed[fault]}
                for fault, total in sorted(counts.faults.items())
            },
            "right": counts.right,
            "wrong": counts.wrong,
            "missed": counts.missed,
        },
        "outfits": {"ari": adjusted_rand(counts.worn, counts.clustered), "pictures": len(counts.worn)},
        "previews": {
            "recognised": share(counts.previews["recognised"], with_lora),
            "recognised_without_lora": share(counts.previews["recognised_without"], without),
            "pictures": with_lora,
            "pictures_without_lora": without,
        },
    }


def share(part: int, whole: int) -> float | None:
    """A share with four decimals; None where there is nothing to count."""
    return round(part / whole, 4) if whole else None


def adjusted_rand(truth: list[str], clusters: list[str]) -> float | None:
    from sklearn.metrics import adjusted_rand_score

    return round(float(adjusted_rand_score(truth, clusters)), 4) if truth else None


def counted(folder: Path, character: str, truth: Row) -> Counts:
    """Everything that is counted of one character."""
    pictures = pictures_seen(folder, truth["posts"])
    views = kept_views(folder)
    counts = Counts()
    count_filter(counts, character, pictures, views)
    count_outfits(counts, folder, character, pictures, views)
    count_previews(counts, folder)
    return counts


def pictures_seen(folder: Path, posts: Row) -> dict[str, list[Row]]:
    """The truth about the posts of each picture that was looked at; `group` names the drawing that it shows."""
    seen = {}
    for row in read_table(folder / "raw.parquet", ["picture", "posts"]):
        names = [post["post_id"] for post in row["posts"] or [] if post["post_id"] in posts]
        seen[row["picture"]] = [{**posts[name], "group": original(name, posts)} for name in names]
    return {picture: facts for picture, facts in seen.items() if facts}


def original(post: str, posts: Row) -> str:
    """The post whose drawing this one repeats, or itself."""
    while posts[post]["duplicate_of"] is not None:
        post = str(posts[post]["duplicate_of"])
    return post


def kept_views(folder: Path) -> dict[str, list[Row]]:
    """Kept views by picture, the whole picture first."""
    views: dict[str, list[Row]] = defaultdict(list)
    columns = ["view", "picture", "kind", "x0", "y0", "x1", "y1", "verdict"]
    for row in read_table(folder / "filtered.parquet", columns):
        if row["verdict"] == "keep":
            views[row["picture"]].append(row)
    return {name: sorted(rows, key=lambda row: (row["kind"] != "picture", row["view"])) for name, rows in views.items()}


def count_filter(counts: Counts, character: str, pictures: dict[str, list[Row]], views: dict[str, list[Row]]) -> None:
    wanted: dict[str, int] = {}  # kept copies of each drawing that should be kept
    for picture, facts in pictures.items():
        kept = picture in views
        group = facts[0]["group"]
        if any(character in fact["either_for"] for fact in facts):
            counts.wrong += any(person_shown(view, facts[0]["people"]) != character for view in views.get(picture, []))
        elif is_wanted(facts, character) or is_duplicate(facts):
            wanted[group] = wanted.get(group, 0) + kept
        else:
            counts.wrong += kept
    counts.right += sum(copies > 0 for copies in wanted.values())
    counts.missed += sum(copies == 0 for copies in wanted.values())
    counts.wrong += sum(copies - 1 for copies in wanted.values() if copies > 1)
    count_faults(counts, pictures, views, wanted)


def count_faults(
    counts: Counts, pictures: dict[str, list[Row]], views: dict[str, list[Row]], wanted: dict[str, int]
) -> None:
    for picture, facts in pictures.items():
        for fault in {fault for fact in facts for fault in fact["faults"]}:
            counts.faults[fault] += 1
            alone = fault in DUPLICATES and wanted.get(facts[0]["group"], 0) <= 1
            counts.removed[fault] += picture not in views or alone


def is_wanted(facts: list[Row], character: str) -> bool:
    return any(character in fact["keep_for"] for fact in facts)


def is_duplicate(facts: list[Row]) -> bool:
    """A copy of a drawing: as good as the original, if it is the only one kept."""
    return any(fault in DUPLICATES for fact in facts for fault in fact["faults"])


def person_shown(view: Row, people: list[Row]) -> str | None:
    """Who fills most of a view."""
    if not people:
        return None
    return max(people, key=lambda person: shared(box_of(view), person["box"]))["character"]


def count_outfits(
    counts: Counts, folder: Path, character: str, pictures: dict[str, list[Row]], views: dict[str, list[Row]]
) -> None:
    outfits = {row["view"]: row["outfit"] for row in read_table(folder / "clustered.parquet", ["view", "outfit"])}
    for picture, kept in sorted(views.items()):
        people = [person for fact in pictures.get(picture, [])[:1] for person in fact["people"]]
        worn = [person["outfit"] for person in people if person["character"] == character]
        if worn:
            view = kept[0]["view"]
            counts.worn.append(f"{character}/{worn[0]}")
            counts.clustered.append(f"{character}/{outfits.get(view) or view}")


def count_previews(counts: Counts, folder: Path) -> None:
    selection = read_json(folder / "selection.json")
    pair = next(entry for entry in selection["per_base"] if entry["base"] == selection["base"])
    for shown, suffix in ((pair["with_lora"], ""), (pair["without_lora"], "_without")):
        if shown:
            counts.previews[f"rendered{suffix}"] += shown["asked"]
            counts.previews[f"recognised{suffix}"] += shown["recognised"]


def score_tables(scores: Row) -> str:
    """The numbers as a person reads them."""
    entries = {"all": scores, **scores["characters"]}
    columns = ("", "precision", "recall", "outfits ARI", "recognised", "without LoRA")
    rows = [dict(zip(columns, [name, *map(decimals, headline(entry))], strict=True)) for name, entry in entries.items()]
    faults = [
        {"fault": name, "pictures": str(fault["total"]), "found": str(fault["found"])}
        for name, fault in scores["filter"]["by_fault"].items()
    ]
    return table(rows, columns) + "\n\n" + table(faults, ("fault", "pictures", "found"))


def headline(entry: Row) -> list[float | None]:
    precision, recall = entry["filter"]["precision"], entry["filter"]["recall"]
    previews = entry["previews"]
    return [precision, recall, entry["outfits"]["ari"], previews["recognised"], previews["recognised_without_lora"]]


def decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def as_text(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def figures_table(lines: list[Row], columns: tuple[str, ...]) -> str:
    """Lines of figures as a person reads them."""
    return table([{column: as_text(line[column]) for column in columns} for line in lines], columns)

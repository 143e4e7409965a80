"""Report: one self-contained page that shows what every stage did and why, for the person who looks before publishing.

Thumbnails are inlined, styles too, and the page asks nothing of any network. A picture that a rating rule dropped is
counted but not shown.
"""

import base64
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.captions import as_words
from charaloom.errors import CharaloomError
from charaloom.files import read_json, write_text
from charaloom.manifest import lineage, read_manifest, write_manifest
from charaloom.model import PROGRAMS, label, repo_files
from charaloom.pictures import open_picture
from charaloom.previews import embedding_word
from charaloom.stages import STAGES
from charaloom.tables import read_table, stream_table

if TYPE_CHECKING:
    from PIL import Image

PathLike = str | os.PathLike[str]
Row = dict[str, Any]
TEMPLATES = Path(__file__).parent / "templates"
SIDE = 160  # pixels of a thumbnail's longest side
KEPT_SHOWN = 48
DROPPED_SHOWN = 12  # per rule
PROMPTS_SHOWN = 40
REPRESENTATIVES = 4
SPARE_PARTS = "not_a_candidate"  # heads, half bodies: measured, but never meant to train
UNSHOWN = {"rating", "rating_model"}
RULES = {  # what each rule of the filters means to a person
    "problem": "the file could not be read",
    "nobody": "no person, head or face found",
    "several_people": "more than one person in the view",
    "rating": "rated above what is allowed, by the source",
    "rating_model": "rated above what is allowed, by the rating model",
    "classes": "no illustration: comic, photo, 3d or no painting",
    "monochrome": "black and white",
    "ai_tag": "AI-made, by its tags",
    "ai_parameters": "AI-made, by generation data in the file",
    "ai": "AI-made, by the model",
    "short_side": "short side too small",
    "area": "too few pixels",
    "cosplay": "somebody else in her clothes, or she in theirs, by its tags",
    "duplicate": "the same drawing as a better copy",
    "identity": "somebody else, by the distance to her cluster",
}
CHART = (640, 200)  # width and height of the loss curve
CHART_POINTS = 320


def write_report(
    character: str, params: dict[str, Any], results_folder: PathLike, page: PathLike, manifest: PathLike
) -> None:
    """Write `report.html` of one character from what lies in her results folder.

    Raises CharaloomError naming the first stage whose manifest is not there yet.
    """
    results = Path(results_folder)
    facts = lineage("report", character, params, upstream(results))
    thumbnails = Thumbnails()
    content = {
        "character": character,
        "outfits_file": read_json(results / "outfits.json"),
        "core": read_json(results / "core.json"),
        "version": facts["digest"],
        **pictures_section(results, thumbnails),
        **previews_section(results, thumbnails),
        "loss": loss_chart(results / "checkpoints" / "loss.tsv", read_json(results / "selection.json")),
        **files_section(character, results),
    }
    write_text(page, render_page(content))
    write_manifest(manifest, facts, {"report": page}, {"thumbnails": thumbnails.made})


def upstream(results: Path) -> dict[str, str]:
    """Every manifest and receipt the page tells about."""
    found = {stage: results / f"{stage}.manifest.json" for stage in STAGES if stage not in ("published", "report")}
    for stage, path in found.items():
        if not path.exists():
            raise CharaloomError(f"{path}: not there. The report comes last: run the stage {stage!r} first.")
    receipts = sorted((results / "published").glob("*.json"))
    paths = {**found, **{f"published/{receipt.stem}": receipt for receipt in receipts}}
    return {name: str(path) for name, path in paths.items()}


# --- pictures: what was kept, what was dropped and why ----------------------------------------------------------------


def pictures_section(results: Path, thumbnails: "Thumbnails") -> dict[str, Any]:
    """Funnel, contact sheets and outfits; every picture of `raw` is opened at most once."""
    views = {row["view"]: row for row in read_table(results / "filtered.parquet")}
    outfits = read_json(results / "outfits.json")["outfits"]
    dropped = by_rule(views.values())
    sheets = {rule: borderline(rows)[:DROPPED_SHOWN] for rule, rows in dropped.items()}
    kept = sorted((row for row in views.values() if row["verdict"] == "keep"), key=least_alike)
    faces = [view for outfit in outfits for view in outfit["representatives"][:REPRESENTATIVES] if view in views]
    shown = [*kept[:KEPT_SHOWN], *(row for rows in sheets.values() for row in rows), *(views[view] for view in faces)]
    pictures = cut_thumbnails(results / "raw.parquet", [row for row in shown if may_be_shown(row)], thumbnails)
    return {
        "raw": raw_counts(results / "raw.parquet"),
        "funnel": funnel(views.values(), dropped),
        "kept_count": len(kept),
        "held_out_count": sum(1 for row in kept if row["split"] == "held_out"),
        "kept": [tile(row, pictures) for row in kept[:KEPT_SHOWN]],
        "dropped": [
            {
                "rule": rule,
                "words": explain(rule),
                "count": len(dropped[rule]),
                "tiles": [tile(row, pictures) for row in rows],
            }
            for rule, rows in sheets.items()
        ],
        "outfits": [
            {
                **outfit,
                "signature": [as_words(entry["tag"]) for entry in outfit["signature"]],
                "pictures": [pictures[view] for view in outfit["representatives"] if view in pictures],
            }
            for outfit in outfits
        ],
    }


def by_rule(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Dropped views by the rule that dropped them, the most frequent rule first."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["verdict"] != "keep" and row["rule"] != SPARE_PARTS:
            groups[row["rule"]].append(row)
    return dict(sorted(groups.items(), key=lambda entry: (-len(entry[1]), entry[0])))


def borderline(rows: list[Row]) -> list[Row]:
    """Nearest to the threshold first: the ones worth a second look."""

    def distance(row: Row) -> float:
        known = row["score"] is not None and row["threshold"] is not None
        return abs(row["score"] - row["threshold"]) if known else math.inf

    return sorted(rows, key=lambda row: (distance(row), row["view"]))


def least_alike(row: Row) -> tuple[float, str]:
    """Kept views in the order of doubt: farthest from her cluster first."""
    distance = row["identity_distance"]
    return -(distance if distance is not None else math.inf), row["view"]


def may_be_shown(row: Row) -> bool:
    """Nothing above the allowed rating is shown, whichever rule came first."""
    return row["rule"] != "problem" and not UNSHOWN & {reason["rule"] for reason in row["reasons"] or []}


def funnel(rows: Iterable[Row], dropped: dict[str, list[Row]]) -> dict[str, Any]:
    """How many views went in, what each rule took, and how many came out; widths are shares of what went in."""
    verdicts = Counter("spare" if row["rule"] == SPARE_PARTS else row["verdict"] for row in rows)
    total = verdicts.total() - verdicts["spare"]
    bars: list[dict[str, Any]] = [
        {"rule": rule, "words": explain(rule), "count": len(found)} for rule, found in dropped.items()
    ]
    left = total
    for bar in bars:
        bar["before"], left = share(left, total), left - bar["count"]
        bar["after"], bar["left"] = share(left, total), left
    return {"total": total, "spare": verdicts["spare"], "bars": bars, "kept": left, "kept_share": share(left, total)}


def share(part: int, whole: int) -> str:
    """Percent with one decimal, as CSS takes it."""
    return f"{100 * part / whole if whole else 0:.1f}"


def explain(rule: str) -> str:
    return RULES.get(rule, as_words(rule))


def raw_counts(raw: Path) -> dict[str, Any]:
    """Pictures the source gave, and what was wrong with the unusable ones by kind of problem."""
    rows = read_table(raw, ["picture", "problem"])
    problems = Counter(row["problem"].partition(":")[0] for row in rows if row["problem"])
    return {"pictures": len(rows), "problems": sorted(problems.items(), key=lambda entry: (-entry[1], entry[0]))}


def tile(row: Row, pictures: dict[str, str]) -> dict[str, Any]:
    """A view as a contact sheet shows it; without picture where none may or can be shown."""
    numbers = None
    if row["verdict"] == "keep" and row["identity_distance"] is not None:
        numbers = f"distance {row['identity_distance']:.3f}"
    elif row["score"] is not None and row["threshold"] is not None:
        numbers = f"{row['score']:.3g} / {row['threshold']:.3g}"
    return {"picture": pictures.get(row["view"]), "numbers": numbers, "view": row["view"], "split": row["split"]}


class Thumbnails:
    """Pictures as small as a page can carry, and how many there are."""

    def __init__(self) -> None:
        self.made = 0

    def of(self, picture: "Image.Image") -> str:
        """A data URL of at most SIDE pixels."""
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        buffer = BytesIO()
        small.save(buffer, "WEBP", quality=70, method=4)
        self.made += 1
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def cut_thumbnails(raw: Path, views: list[Row], thumbnails: Thumbnails) -> dict[str, str]:
    """Thumbnail by view, cut from the original pictures."""
    wanted: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in views:
        wanted[row["picture"]][row["view"]] = row
    cut: dict[str, str] = {}
    for picture in stream_table(raw, ["picture", "bytes"]):
        if picture["picture"] in wanted and picture["bytes"]:
            whole = open_picture(picture["bytes"])
            for view, row in sorted(wanted[picture["picture"]].items()):
                cut[view] = thumbnails.of(whole.crop((row["x0"], row["y0"], row["x1"], row["y1"])))
    return cut


# --- previews and the choice ------------------------------------------------------------------------------------------


def previews_section(results: Path, thumbnails: Thumbnails) -> dict[str, Any]:
    """The grid of the training base, and each other base with and without the LoRA beside it."""
    selection = read_json(results / "selection.json")
    rows = read_table(results / "previews" / "scores.parquet")
    grids = [
        preview_grid(results / "previews", rows, base["name"], selection, thumbnails) for base in selection["bases"]
    ]
    numbers = [selection["without_lora"], *selection["checkpoints"]]
    return {
        "selection": selection,
        "numbers": [{**found, "label": label(found["checkpoint"])} for found in numbers if found["pictures"]],
        "grids": grids,
        "per_base": selection["per_base"],
    }


def preview_grid(
    folder: Path, rows: list[Row], base: str, selection: dict[str, Any], thumbnails: Thumbnails
) -> dict[str, Any]:
    """Prompts downwards, checkpoints across; every tile with its distance and whether she was recognised."""
    mine = [row for row in rows if row["base"] == base]
    steps = {row["checkpoint"]: (row["step"], row["checkpoint"]) for row in mine}
    columns = sorted(steps, key=lambda name: steps[name])
    prompts = sorted({(row["prompt_id"], row["seed"]) for row in mine})[:PROMPTS_SHOWN]
    found = {(row["prompt_id"], row["seed"], row["checkpoint"]): row for row in mine}
    lines = []
    for prompt in prompts:
        drawn = [found.get((*prompt, column)) for column in columns]
        lines.append(
            {
                "prompt": prompt[0],
                "seed": prompt[1],
                "text": max((row["prompt"] for row in drawn if row), key=len),
                "tiles": [preview_tile(folder, row, thumbnails) for row in drawn],
            }
        )
    heads = [{"name": name, "label": label(name), "chosen": name == selection["chosen"]} for name in columns]
    return {"base": base, "training": base == selection["base"], "columns": heads, "lines": lines}


def preview_tile(folder: Path, row: Row | None, thumbnails: Thumbnails) -> dict[str, Any] | None:
    if row is None:
        return None
    from PIL import Image

    picture = None
    if row["kept"]:
        with Image.open(folder / row["file"]) as image:
            picture = thumbnails.of(image)
    return {"picture": picture, "distance": row["identity_distance"], "recognised": row["recognised"]}


def loss_chart(table: Path, selection: dict[str, Any]) -> dict[str, Any] | None:
    """The loss as an SVG path: means over equal stretches of steps; a mark at each checkpoint."""
    rows = [line.split("\t")[:2] for line in table.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    if len(rows) < 2:
        return None
    steps, losses = [int(row[0]) for row in rows], [float(row[1]) for row in rows]
    size = math.ceil(len(rows) / CHART_POINTS)
    parts = [slice(start, start + size) for start in range(0, len(rows), size)]
    points = [(sum(steps[part]) / len(steps[part]), sum(losses[part]) / len(losses[part])) for part in parts]
    top, last = max(loss for _, loss in points) or 1.0, steps[-1]

    def across(step: float) -> float:
        return round(step / last * CHART[0], 1)

    path = " ".join(f"{across(step)},{round(CHART[1] * (1 - loss / top), 1)}" for step, loss in points)
    marks = [
        {"x": across(found["step"]), "label": found["checkpoint"], "chosen": found["checkpoint"] == selection["chosen"]}
        for found in selection["checkpoints"]
    ]
    ends = {"first": f"{points[0][1]:.4f}", "last": f"{points[-1][1]:.4f}", "top": f"{top:.3g}"}
    return {
        "path": path,
        "marks": marks,
        "width": CHART[0],
        "height": CHART[1],
        "steps": last,
        "mean_over": size,
        **ends,
    }


# --- files ------------------------------------------------------------------------------------------------------------


def files_section(character: str, results: Path) -> dict[str, Any]:
    """What the model repo holds, who reads which file, and where it was published."""
    files = read_manifest(results / "model.manifest.json")["outputs"]["model"]["files"]
    receipts = [read_json(path) for path in sorted((results / "published").glob("*.json"))]
    weights = [
        {**entry, "size": f"{files[entry['file']]['size'] / 2**20:.1f} MiB", "sha256": files[entry["file"]]["sha256"]}
        for entry in repo_files(character, embedding=f"{embedding_word(character)}.safetensors" in files)
    ]
    published = [{"name": receipt["target"]["name"], "tag": receipt["tag"]} for receipt in receipts]
    return {"programs": PROGRAMS, "weights": weights, "word": embedding_word(character), "published": published}


def render_page(content: dict[str, Any]) -> str:
    """The page; Jinja escapes whatever comes from tables."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2").render(content)

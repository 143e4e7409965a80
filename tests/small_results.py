"""The results folder of a small character whose tables and pictures are drawn here: what pages and `explain` read."""

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from charaloom.artifacts.files import sha256_bytes, write_json, write_text
from charaloom.artifacts.manifest import lineage, write_facet, write_manifest
from charaloom.artifacts.tables import CLUSTERED, FILTERED, MEASURED, RAW, SCORES, TAGGED, write_table
from charaloom.artifacts.types import Row
from charaloom.config.params import Selection
from charaloom.config.stages import STAGES
from charaloom.evaluation.selection import select
from charaloom.pages.previews import write_page
from charaloom.publishing import layout

STAGE_PARAMS = {"version": 1}
CHARACTER = "hana"
HOSTILE = '<script>alert("x")</script>'
BOX = {"x0": 0, "y0": 0, "x1": 200, "y1": 240}
MANNERS = {"sampler": "DPM++ 2M", "schedule": "Karras", "guidance": 7.0, "rescale": 0.0}
MANNERS |= {"prediction": "epsilon", "zero_snr": False, "suffix": ""}
BASES = [
    {"base": "one", "prefix": "best quality", "negative": "nsfw", **MANNERS},
    {"base": "two", "prefix": "", "negative": "lowres", **MANNERS},
]
SETTINGS = {"threshold": 0.178, "bases": BASES, "width": 64, "height": 64, "steps": 2}
SETTINGS |= {"memorised": 0.85, "weights": [0.8], "sampler": "DPM++ 2M", "schedule": "Karras"}
CHECKPOINTS = ["step-000100", "step-000200"]
RULE = {"scores": {"recognised": 3, "likeness": 1, "outfit": 2}, "first": 0.5, "keep": 0.5, "minimum": 0.3}
ASKED = ["problem", "not_a_candidate", "rating_model", "monochrome", "ai", "cosplay", "duplicate", "identity"]


def drawn(number: int) -> bytes:
    """A picture of its own colour, so that thumbnails can be told apart."""
    image = Image.new("RGB", (200, 240), (10 * number % 256, 120, 255 - 10 * number % 256))
    ImageDraw.Draw(image).ellipse((50, 30, 150, 180), fill=(240, 200, 180))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


FILES = [drawn(number) for number in range(9)]
NAMES = [sha256_bytes(data) for data in FILES]


def post(number: int, **more: Any) -> Row:
    row = {"site": "board", "post_id": str(100 + number), "page_url": f"https://board.example/posts/{100 + number}"}
    row |= {"rating": "general", "score": 5 * number, "artists": ["aoi"]}
    return {**row, **more}


def view(picture: str, verdict: str, rule: str | None = None, score: float | None = None, **more: Any) -> Row:
    reasons = [reason(rule, score, 0.5)] if rule else []
    row = {"picture": picture, "kind": "picture", "person": None, "verdict": verdict, "rule": rule, "score": score}
    row |= {"view": f"{picture}/picture/0", "threshold": 0.5 if rule else None, "reasons": reasons, **BOX}
    row |= {"duplicate_group": None, "identity_cluster": 0, "identity_distance": 0.1, "split": None}
    return {**row, **more}


def reason(rule: str, score: float | None, threshold: float | None = 0.5) -> Row:
    return {"rule": rule, "score": score, "threshold": threshold}


def raw_rows() -> list[Row]:
    """Nine pictures, of which the last is broken, and a post without a file."""
    rows = [
        {"picture": name, "bytes": data, "size": len(data), "format": "PNG", "posts": [post(number)]}
        for number, (name, data) in enumerate(zip(NAMES, FILES, strict=True))
    ]
    return [*rows, {"picture": "missing:board:1", "problem": "missing: 404", "posts": [post(-99)]}]


def measured_rows() -> list[Row]:
    return [
        {"view": f"{name}/picture/0", "picture": name, "kind": "picture", "width": 200, "height": 240, **BOX}
        for name in NAMES
    ]


def filtered_rows() -> list[Row]:
    """Two kept views, one drop of each kind of rule, two that may not be shown, a head."""
    two = [reason(name, 0.7) for name in ("monochrome", "rating_model")]
    head = {"kind": "head", "view": f"{NAMES[6]}/head/0"}
    rows = [
        view(NAMES[0], "keep", split="train", identity_distance=0.11, duplicate_group=f"{NAMES[0]}/picture/0"),
        view(NAMES[1], "keep", split="held_out", identity_distance=0.17),
        view(NAMES[2], "drop", "identity", 0.9),
        view(NAMES[3], "drop", "identity", 0.52, duplicate_group=f"{NAMES[0]}/picture/0"),
        view(NAMES[4], "drop", "rating_model", 0.8),
        view(NAMES[5], "drop", "monochrome", 0.7, reasons=two),
        view(NAMES[6], "drop", "not_a_candidate", **head),
        view(NAMES[7], "drop", HOSTILE, 0.6),
    ]
    for row in rows:
        if row["kind"] == "picture":
            fired = {entry["rule"]: entry["score"] for entry in row["reasons"]}
            row["scores"] = [
                reason("rating_model", fired.get("rating_model", 0.1)),
                reason("monochrome", fired.get("monochrome", 0.2)),
                reason("ai", 0.3, None),
                reason("identity", fired.get("identity", row["identity_distance"])),
            ]
    return rows


def score_rows() -> list[Row]:
    rows = []
    for base, checkpoints in (("one", ("none", "step-000100", "step-000200")), ("two", ("none", "step-000200"))):
        for checkpoint in checkpoints:
            for scene in ("portrait", "standing"):
                recognised = checkpoint == "step-000200" or (checkpoint, scene) == ("step-000100", "portrait")
                kept = (base, checkpoint, scene) != ("two", "none", "standing")
                rows.append(score_row(base, checkpoint, scene, recognised, kept))
        rows.append(score_row(base, "step-000200", "portrait", True, True, weight=0.8))
    return rows


def score_row(base: str, checkpoint: str, scene: str, recognised: bool, kept: bool, weight: float = 1.0) -> Row:
    """A picture as the previews judge it: the standing one shows no outfit of the character, and lacks a tag."""
    none = checkpoint == "none"
    folder = checkpoint if weight == 1 else f"{checkpoint}_w{weight:.2f}"
    return {
        "base": base,
        "checkpoint": checkpoint,
        "step": 0 if none else int(checkpoint[-6:]),
        "weight": 0.0 if none else weight,
        "embedding": False,
        "round": 1 if base == "one" and not none and weight == 1 else None,
        "prompt_id": f"red-{scene}",
        "kind": "outfit",
        "outfit": "red",
        "prompt": f"hana_charaloom, {scene}, {HOSTILE}",
        "seed": 7,
        "file": f"{base}/{folder}/red-{scene}-7.png",
        "kept": kept,
        "rating": [{"name": "safe", "score": 1.0}],
        "identity_distance": (0.1 if recognised else 0.4) if kept else None,
        "recognised": recognised and kept,
        "outfit_drawn": "red" if recognised and kept and scene == "portrait" else None,
        "asked": [scene, "red_kimono"],
        "seen": ["red_kimono"] if kept else [],
        "core_seen": 0.5 if kept else None,
        "faults": ["nobody"] if none and kept else [],
        "training_likeness": 0.3 if kept else None,
        "training_view": f"{NAMES[0]}/picture/0" if kept else None,
        "memorised": False,
        "embedding_vector": [1.0, float(len(scene))] if kept else None,
    }


def write_curated(folder: Path, filtered: list[Row] | None = None) -> Path:
    """As far as the filters: what the curation page reads."""
    write_table(folder / "raw.parquet", raw_rows(), RAW, "picture")
    write_json(folder / "raw.files.json", {"pictures": 9, "captions": 2, "unused": [], "remarks": []})
    write_table(folder / "measured.parquet", measured_rows(), MEASURED, "view")
    write_table(folder / "filtered.parquet", filtered or filtered_rows(), FILTERED, "view")
    facts = lineage("filtered", CHARACTER, STAGE_PARAMS, ())
    write_facet(folder / "filtered.decisions.json", [], rules=ASKED)
    write_manifest(folder / "filtered.manifest.json", facts, {}, {}, rules=ASKED)
    return folder


def write_tagged(folder: Path) -> None:
    """Tags, outfit and caption of the first kept view."""
    tags = [{"name": "1girl", "score": 0.99, "origin": "both"}, {"name": "smile", "score": 0.6, "origin": "tagger"}]
    first = {"view": f"{NAMES[0]}/picture/0", "picture": NAMES[0], "kind": "picture", "split": "train", **BOX}
    second = {**first, "view": f"{NAMES[1]}/picture/0", "picture": NAMES[1], "split": "held_out"}
    said = {"tags": tags, "dropped": [{"name": "blue_hair", "reason": "core"}], "variants": []}
    worn = {"outfit": "red", "stability": 0.93, "repeats": 1, "caption": "hana_charaloom, hana_red, 1girl, smile"}
    write_table(folder / "tagged.parquet", [{**row, **said} for row in (first, second)], TAGGED, "view")
    write_table(folder / "clustered.parquet", [{**row, **worn} for row in (first, second)], CLUSTERED, "view")


def write_results(folder: Path) -> Path:
    """Everything, as far as the report reads it."""
    write_curated(folder)
    write_tagged(folder)
    outfit = {
        "id": "red",
        "trigger": "hana_red",
        "name": f"red {HOSTILE}",
        "support": 2,
        "stability": 0.93,
        "trained": True,
        "why_not": None,
        "official": None,
        "alternate": 0.25,
        "pictures": 1,
        "repeats": 1,
        "share": 1.0,
    }
    outfit |= {"signature": [{"tag": "red_kimono", "score": 0.9}], "representatives": [f"{NAMES[0]}/picture/0"]}
    prompts = [{"id": "red-portrait", "outfit": "red", "text": "hana_charaloom, hana_red, portrait"}]
    outfits = {
        "trigger": "hana_charaloom",
        "core": ["blue_hair"],
        "outfits": [outfit],
        "unassigned": 1,
        "prompts": prompts,
        "lint": [{"kind": "long caption", "where": NAMES[0], "what": f"80 tokens {HOSTILE}", "advice": "shorten it"}],
    }
    write_json(folder / "outfits.json", outfits)
    share = {"share": 0.9, "low": 0.8, "high": 0.95, "views": 2}
    weakest = {"given": "red_kimono", **share}
    trait = {"tag": "blue_hair", **share, "weakest": weakest, "boards": share, "core": True, "why": HOSTILE}
    write_json(folder / "core.json", {"core": ["blue_hair"], "tags": [trait]})
    rows = score_rows()
    for row in rows:
        (folder / "previews" / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "previews" / row["file"])
    write_table(folder / "previews" / "scores.parquet", rows, SCORES, "file")
    rendered = {
        "bases": [{"name": name, "family": "sd15"} for name in ("one", "two")],
        "settings": SETTINGS,
        "checkpoints": CHECKPOINTS,
    }
    facts = lineage("previews", CHARACTER, STAGE_PARAMS, ())
    write_manifest(folder / "previews.manifest.json", facts, {}, {}, **rendered)
    write_manifest(
        folder / "checkpoints.manifest.json",
        lineage("checkpoints", CHARACTER, STAGE_PARAMS, ()),
        {},
        {"checkpoints": 2, "pictures": 30},
    )
    select(
        character=CHARACTER,
        params=Selection.of({**RULE, **STAGE_PARAMS}),
        previews=folder / "previews",
        previews_manifest=folder / "previews.manifest.json",
        checkpoints_manifest=folder / "checkpoints.manifest.json",
        outfits=folder / "outfits.json",
        selection=folder / "selection.json",
        page=folder / "previews.html",
        manifest=folder / "selection.manifest.json",
        write_page=write_page,
    )
    losses = [f"{step}\t{1 / step + 0.1}\t0.001" for step in range(1, 1001)]
    write_text(folder / "checkpoints" / "loss.tsv", "\n".join(["step\tloss\trate_unet", *losses, ""]))
    for file in (layout.lora_file, layout.embedding_file, layout.bundle_file):
        write_text(folder / "model" / file(CHARACTER), file.__name__ * 9)
    for stage in STAGES:
        if stage not in ("filtered", "published", "report"):
            outputs = {"model": folder / "model"} if stage == "model" else {}
            write_manifest(folder / f"{stage}.manifest.json", lineage(stage, CHARACTER, STAGE_PARAMS, ()), outputs, {})
    write_json(folder / "published" / "folder.json", {"target": {"name": "folder"}, "tag": "v-123"})
    return folder


def write_outfits(folder: Path, name: str = "outfits") -> Path:
    """The outfits page of these results, under a name of its own: the results' manifest stays."""
    from charaloom.config.params import Outfits
    from charaloom.pages.outfits import OutfitsInputs, build_outfits

    page = folder / f"{name}.html"
    tables = {table: folder / f"{table}.parquet" for table in ("raw", "measured", "tagged", "clustered")}
    build_outfits(
        character=CHARACTER,
        params=Outfits(version=1, seed=7, prefix="best quality", suffix=""),
        inputs=OutfitsInputs(
            **tables,
            core=folder / "core.json",
            outfits=folder / "outfits.json",
            upstream=[folder / "clustered.manifest.json"],
        ),
        page=page,
        manifest=folder / f"{name}.manifest.json",
    )
    return page


def write_curation(folder: Path, name: str = "curation") -> Path:
    """The curation page of these results."""
    from charaloom.config.params import Curation
    from charaloom.pages.curation import build_curation

    page = folder / f"{name}.html"
    build_curation(
        character=CHARACTER,
        params=Curation(version=1),
        raw=folder / "raw.parquet",
        files=folder / "raw.files.json",
        measured=folder / "measured.parquet",
        filtered=folder / "filtered.parquet",
        filtered_manifest=folder / "filtered.manifest.json",
        upstream=[folder / "filtered.manifest.json"],
        page=page,
        manifest=folder / f"{name}.manifest.json",
    )
    return page

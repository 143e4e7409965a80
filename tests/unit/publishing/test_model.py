"""The model repository: its files, its previews, and a card that other people's text cannot break."""

import base64
import io
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from charaloom.artifacts.files import files_below, read_json, sha256_bytes, sha256_file, write_json, write_text
from charaloom.artifacts.manifest import facet_digest, lineage, write_facet, write_lineage, write_manifest
from charaloom.artifacts.tables import SCORES, write_table
from charaloom.config.params import Model, SelectionRule
from charaloom.diffusion.generation import tensor_hash
from charaloom.errors import CharaloomError
from charaloom.evaluation.selection import choose
from charaloom.images import grid
from charaloom.publishing.cards import markdown, programs
from charaloom.publishing.repos import model

STAGE_PARAMS = {"version": 1}
CHARACTER = "hana"
HOSTILE = "![x](http://evil) | </td> `tick` ```\n# heading *star* <b>"
BASE = {"name": "demo", "path": "/somewhere/demo", "repo": None, "revision": None, "family": "sd15", "clip_skip": 1}
BASE |= {"licence": "creativeml-openrail-m"}
MANNERS = {"negative": "nsfw, `lowres`", "sampler": "DPM++ 2M", "schedule": "Karras", "guidance": 7.0, "rescale": 0.0}
MANNERS |= {"prefix": "masterpiece, |", "suffix": "", "prediction": "epsilon", "zero_snr": False}
BASE |= MANNERS
SETTINGS = {"threshold": 0.178, "bases": [{"base": "demo", **MANNERS}, {"base": "two", **MANNERS}]}
SETTINGS |= {"width": 64, "height": 64, "steps": 2}
MORE = {"bases": [BASE], "settings": SETTINGS, "rule": model.__name__, "weak": None}


def score_rows() -> list[dict]:
    """Previews of two bases; on the first every checkpoint, and the chosen one by its text trigger alone."""
    rows = []
    for base, drawn in (("demo", (0, 100, 200)), ("two", (0, 200))):
        for step in drawn:
            rows += [score_row(base, step, scene, step > 0) for scene in ("portrait", "standing")]
    rows += [score_row("demo", 200, scene, False) for scene in ("portrait", "standing")]
    return [*rows, score_row("demo", 200, "portrait", True, weight=0.8)]


def score_row(base: str, step: int, scene: str, embedding: bool, weight: float = 1.0) -> dict:
    recognised = step == 200 and embedding
    checkpoint = f"step-{step:06d}" if step else "none"
    alone = "_text" if step and not embedding else ""
    return {
        "base": base,
        "checkpoint": checkpoint,
        "step": step,
        "weight": weight if step else 0.0,
        "embedding": embedding,
        "round": 1 if base == "demo" and step and embedding and weight == 1 else None,
        "prompt_id": f"red-{scene}",
        "kind": "outfit",
        "outfit": "red",
        "prompt": f"hana_charaloom, {scene}",
        "seed": 7,
        "file": f"{base}/{checkpoint}{alone}{'' if weight == 1 else weight}/red-{scene}-7.png",
        "kept": not (recognised and scene == "standing" and base == "demo"),
        "rating": [{"name": name, "score": score} for name, score in (("safe", 0.9), ("r15", 0.1), ("r18", 0.0))],
        "identity_distance": 0.1 if recognised else 0.4,
        "recognised": recognised,
        "outfit_drawn": "red",
        "asked": [],
        "seen": [],
        "core_seen": None,
        "faults": [],
        "training_likeness": None,
        "training_view": None,
        "memorised": False,
        "embedding_vector": None,
    }


@pytest.fixture
def results(tmp_path) -> Path:
    import torch

    from charaloom.diffusion.lora import write_weights

    folder = tmp_path / CHARACTER
    for step in (100, 200):
        path = folder / "checkpoints" / f"step-{step:06d}.safetensors"
        weights = {"lora_unet_x.lora_down.weight": torch.full((2, 4), step / 7)}
        write_weights(path, weights, {"format": "pt", "ss_network_dim": "2"}, hashed=True)
        write_weights(path.with_name(f"{path.stem}_emb.safetensors"), {"emb_params": torch.ones(2, 4)}, {})
    write_text(folder / "checkpoints" / "config.py", "# the trainer's config")
    write_text(folder / "checkpoints" / "loss.tsv", "step\tloss\n1\t0.5\n")
    write_lineage(folder / "checkpoints.manifest.json", lineage("checkpoints", CHARACTER, STAGE_PARAMS, ()))
    rows = score_rows()
    for number, row in enumerate(rows):
        (folder / "previews" / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (20 * number % 256, 30, 30)).save(folder / "previews" / row["file"])
    write_table(folder / "previews" / "scores.parquet", rows, SCORES, "file")
    rule = SelectionRule(scores={"recognised": 1}, first=1.0, keep=0.5)
    chosen = choose(rows, ["demo", "two"], ["step-000100", "step-000200"], rule, 0.178, "scores.parquet")
    write_json(folder / "selection.json", {**chosen, **MORE})
    outfit = {"id": "red", "trigger": "hana_red", "name": HOSTILE, "support": 9, "stability": 0.93, "trained": True}
    outfit |= {"signature": [{"tag": "red_kimono", "score": 0.9}, {"tag": ":|", "score": 0.5}], "representatives": []}
    outfit["pictures"] = 9
    prompts = [{"id": "red-portrait", "outfit": "red", "text": f"hana_charaloom, hana_red, {HOSTILE}"}]
    outfits = {"trigger": "hana_charaloom", "core": ["blue_hair", "^_^"], "outfits": [outfit], "unassigned": 1}
    write_json(folder / "outfits.json", {**outfits, "prompts": prompts})
    write_manifest(folder / "selection.manifest.json", lineage("selection", CHARACTER, STAGE_PARAMS, ()), {}, {})
    write_facet(folder / "dataset.training.json", ["pictures"], pictures=1)
    return folder


def build(results: Path, name: str = "model", policy: dict | None = None, **base) -> Path:
    model.build_model(
        character=CHARACTER,
        params=Model.of({"version": 1, "base": {**BASE, **base}, "policy": policy}),
        inputs=model.ModelInputs(
            checkpoints=results / "checkpoints",
            previews=results / "previews",
            selection=results / "selection.json",
            outfits=results / "outfits.json",
            content=results / "dataset.training.json",
            trained=results / "checkpoints.lineage.json",
            upstream=[results / "selection.manifest.json", results / "dataset.training.json"],
        ),
        folder=results / name,
        manifest=results / f"{name}.manifest.json",
    )
    return results / name


def parts(folder: Path) -> tuple[dict, str]:
    """Front matter and text of the card."""
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def shown(text: str) -> str:
    """The card as HTML, by a Markdown parser that knows tables."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")
    return parser.render(text)


def test_the_files_of_the_repo(results):
    folder = build(results)
    assert [str(path) for path in files_below(folder)] == [
        "README.md",
        "README_ja.md",
        "README_ko.md",
        "README_zh.md",
        "checkpoints/000100/hana-000100.safetensors",
        "checkpoints/000100/hana-000100_emb.safetensors",
        "checkpoints/000200/hana-000200.safetensors",
        "checkpoints/000200/hana-000200_emb.safetensors",
        "checkpoints/chosen/hana_bundle.safetensors",
        "checkpoints/chosen/hana_emb.safetensors",
        "hana.safetensors",
        "previews/grid.webp",
        "previews/previews.json",
        "previews/red-portrait-7.png",
        "previews/text-red-portrait-7.png",
        "previews/text-red-standing-7.png",
        "selection.json",
        "training/config.py",
        "training/lineage.json",
        "training/loss.tsv",
    ]
    assert (folder / "selection.json").read_bytes() == (results / "selection.json").read_bytes()
    assert "params_digest" not in read_json(folder / "training" / "lineage.json")


def test_every_picture_is_listed_with_its_rating(results):
    """Also what the grid and the thumbnails are made of: the gate reads nothing else."""
    folder = build(results)
    listed = read_json(folder / "previews" / "previews.json")["previews"]
    pictures = {str(path) for path in files_below(folder) if path.suffix in (".png", ".webp")}
    assert pictures == {entry["file"] or entry["in"] for entry in listed if "thumbnail" not in str(entry["in"])}
    assert {entry["in"] for entry in listed if entry["in"]} >= {"previews/grid.webp", "thumbnail of step-000100"}
    assert all(set(entry["rating"]) == {"safe", "r15", "r18"} for entry in listed)


def test_a_preview_that_is_not_rated_stops_the_model(results):
    rows = [{**row, "rating": []} if row["step"] == 200 else row for row in score_rows()]
    write_table(results / "previews" / "scores.parquet", rows, SCORES, "file")
    policy = {"age": "adult", "ratings": ["general"], "blocked": []}
    with pytest.raises(CharaloomError, match=r"previews/red-portrait-7\.png: not rated"):
        build(results, policy=policy)
    assert not (results / "model").exists()


def test_weights_are_what_their_previews_name_them_by(results):
    """A1111 and Civitai know a LoRA by the hash of its data, an embedding by that of its file."""
    folder = build(results)
    chosen, first = (results / "checkpoints" / f"step-000{step}.safetensors" for step in (200, 100))
    for file, step in (("hana", chosen), ("checkpoints/000200/hana-000200", chosen)):
        assert tensor_hash(folder / f"{file}.safetensors") == tensor_hash(step)
    assert tensor_hash(folder / "checkpoints/000100/hana-000100.safetensors") == tensor_hash(first)
    for file, step in (("chosen/hana_emb", chosen), ("000100/hana-000100_emb", first)):
        embedding = step.with_name(f"{step.stem}_emb.safetensors")
        assert sha256_file(folder / f"checkpoints/{file}.safetensors") == sha256_file(embedding)


def loras(folder: Path) -> dict[str, dict[str, str]]:
    """Metadata of the LoRAs and the bundle by their stems."""
    from charaloom.diffusion.lora import read_metadata

    paths = [path for path in folder.rglob("*.safetensors") if not path.stem.endswith("_emb")]
    return {path.stem: read_metadata(path) for path in paths}


def test_no_two_files_have_one_name_in_a_program_that_lists_them(results):
    metadata = loras(build(results))
    assert set(metadata) == {"hana", "hana_bundle", "hana-000100", "hana-000200"}
    assert all(values["ss_output_name"] == stem for stem, values in metadata.items())


def test_every_lora_says_what_programs_show(results):
    """ModelSpec's keys, and the hashes as kohya's tools compute them."""
    folder = build(results)
    for path in sorted(folder.rglob("*.safetensors")):
        if path.stem.endswith("_emb"):
            continue
        values = loras(folder)[path.stem]
        data = path.read_bytes()
        of_data = sha256_bytes(data[8 + int.from_bytes(data[:8], "little") :])
        assert values["sshs_model_hash"] == of_data
        assert values["modelspec.hash_sha256"] == f"0x{of_data}"
        assert values["sshs_legacy_hash"] == sha256_bytes(b"")[:8], "of a file below 1 MiB"
        assert values["modelspec.sai_model_spec"] == "1.0.1"
        assert values["modelspec.license"] == BASE["licence"]
        assert values["modelspec.usage_hint"].startswith("Trigger: hana_charaloom")
        assert "hana_red" in values["modelspec.description"]
        assert "date" not in str(list(values))
        assert values["ss_network_dim"] == "2", "what the training wrote stays"
    titles = {stem: values["modelspec.title"] for stem, values in loras(folder).items()}
    assert titles["hana-000100"] == "hana, step 100"
    assert titles["hana"] == titles["hana-000200"] == "hana"


def test_a_weight_is_hinted_at_where_one_was_found_best(results):
    hint = loras(build(results))["hana"]["modelspec.usage_hint"]
    recommended = read_json(results / "selection.json")["sweep"][0]["recommended"]
    assert hint == f"Trigger: hana_charaloom; weight: {recommended:g}"


def test_a_thumbnail_is_small_and_of_the_step_itself(results):
    shown = {stem: values.get("modelspec.thumbnail") for stem, values in loras(build(results)).items()}
    for uri in shown.values():
        start, _, content = uri.partition(",")
        assert start == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert (image.format, image.size) == ("JPEG", (256, 256))
        assert len(uri) < 64_000
    assert shown["hana"] == shown["hana-000200"] != shown["hana-000100"]


def test_a_base_without_a_licence_and_a_step_without_previews_say_nothing_of_them(results):
    rows = [row for row in score_rows() if row["step"] != 100]
    write_table(results / "previews" / "scores.parquet", rows, SCORES, "file")
    metadata = loras(build(results, licence=None))
    assert not any("modelspec.license" in values for values in metadata.values())
    assert "modelspec.thumbnail" not in metadata["hana-000100"]
    assert "modelspec.thumbnail" in metadata["hana"]


def test_the_card_gives_prompts_as_they_were_rendered(results):
    text = parts(build(results))[1]
    assert f"masterpiece, |, hana_charaloom, hana_red, {HOSTILE}" in text
    assert "| `demo` | DPM++ 2M Karras | 7 | – | noise |" in text


def test_the_bundle_holds_both_in_the_layout_of_a1111(results):
    from safetensors import safe_open

    with safe_open(build(results) / "checkpoints/chosen/hana_bundle.safetensors", framework="pt") as file:
        assert set(file.keys()) == {"lora_unet_x.lora_down.weight", "bundle_emb.hana_emb.string_to_param.*"}
        assert file.metadata()["ss_network_dim"] == "2"


def test_without_an_embedding_there_is_one_file_and_no_word_about_others(results):
    for path in (results / "checkpoints").glob("*_emb.safetensors"):
        path.unlink()
    folder = build(results)
    weights = [str(path) for path in files_below(folder) if path.suffix == ".safetensors"]
    steps = [f"checkpoints/000{step}/hana-000{step}.safetensors" for step in (100, 200)]
    assert weights == [*steps, "hana.safetensors"]
    assert "hana_emb" not in parts(folder)[1]
    assert "bundle" not in parts(folder)[1]


def test_a_preview_keeps_its_generation_data_and_a_withheld_one_is_not_copied(results):
    folder = build(results)
    original = results / "previews" / "demo" / "step-000200" / "red-portrait-7.png"
    assert (folder / "previews" / "red-portrait-7.png").read_bytes() == original.read_bytes()
    assert not (folder / "previews" / "red-standing-7.png").exists()
    with Image.open(folder / "previews" / "grid.webp") as sheet:
        assert sheet.size == (4 * grid.TILE, grid.TITLE + 2 * grid.TILE)


def test_the_front_matter_is_what_the_hub_reads(results):
    front, _ = parts(build(results, repo="someone/demo", licence="Fair AI Public License 1.0 SD"))
    assert (front["license"], front["license_name"]) == ("other", "fair-ai-public-license-1.0-sd")
    assert (front["base_model"], front["base_model_relation"]) == ("someone/demo", "adapter")
    assert {"lora", "diffusers", "template:sd-lora"} <= set(front["tags"])
    assert (front["library_name"], front["pipeline_tag"]) == ("diffusers", "text-to-image")
    assert front["license_link"].startswith("https://freedevproject.org")
    assert front["instance_prompt"] == "hana_charaloom"
    assert [entry["output"]["url"] for entry in front["widget"]] == [
        f"previews/text-red-{scene}-7.png" for scene in ("portrait", "standing")
    ]
    assert "hana_emb" not in front["widget"][0]["text"], "the hub's snippet loads the LoRA alone"
    front, text = parts(build(results))
    assert front["license"] == "creativeml-openrail-m"
    assert "license_name" not in front
    assert "base_model" not in front
    assert "restrictions of use" in text
    assert "forbids commercial use" in parts(build(results, licence="noobai-xl"))[1]
    assert "`demo`" in text


def test_the_hub_accepts_the_card(results):
    card = pytest.importorskip("huggingface_hub").ModelCard((build(results) / "README.md").read_text())
    assert card.data.instance_prompt == "hana_charaloom"


def test_text_from_strangers_stays_text(results):
    page = shown(parts(build(results))[1])
    assert page.count("<img") == 2  # the grid, the outfit
    assert "evil" in page
    assert "<b>" not in page
    assert "<em>star" not in page
    assert page.count("<h1>") == 1
    row = next(line for line in page.split("<tr>") if "hana_red" in line and "red kimono" in line)
    assert row.count("<td>") == 5


def test_who_reads_which_file_is_one_table(results):
    page = shown(parts(build(results))[1])
    rows = [line for line in page.split("<tr>") if "safetensors</a></td>" in line]
    assert {row.count("<td>") for row in rows} == {2 + len(programs.PROGRAMS)}
    assert ["hana_bundle" in row for row in rows] == [False, False, True]
    assert "no, it raises an error" in rows[2]


def test_prompts_can_be_copied_as_they_are(results):
    page = shown(parts(build(results))[1])
    escaped = HOSTILE.replace("<", "&lt;").replace(">", "&gt;")
    assert f"hana_charaloom, hana_red, {escaped}\n</code>" in page


def test_the_card_tells_what_was_measured(results):
    page = re.sub(r"<[^>]+>", "", shown(parts(build(results))[1]))
    assert re.search(r"LoRA and embedding\s+2 of 2\s+LoRA alone\s+0 of 2", page)
    assert "SHA-256" in page
    assert facet_digest(results / "dataset.training.json")[:12] in page


def test_the_card_of_a_weak_model_begins_with_it(results: Path) -> None:
    selection = read_json(results / "selection.json")
    weak = {"why": [f"1 of 9 recognised {HOSTILE}"], "advice": ["raise training.rate_unet"]}
    write_json(results / "selection.json", {**selection, "weak": weak})
    front, text = parts(build(results))
    page = shown(text)
    assert page.index("<strong>This model is weak.</strong>") < page.index("<h2>Trigger")
    assert "2 of 2 previews show the character; without the LoRA it is 0 of 2" in page
    assert "evil" not in "".join(re.findall(r"<img[^>]*>", page))
    assert read_json(results / "model.manifest.json")["counts"]["weak"] is True
    assert "weak" not in str(front)


def test_the_same_inputs_give_the_same_bytes_and_no_path(results):
    first, second = build(results), build(results, "again")
    assert {path: sha256_file(first / path) for path in files_below(first)} == {
        path: sha256_file(second / path) for path in files_below(second)
    }
    written = (results / "model.manifest.json").read_text() + (first / "README.md").read_text()
    assert str(results) not in written
    assert "/somewhere" not in written


def test_a_chosen_checkpoint_that_is_gone_is_named(results):
    (results / "checkpoints" / "step-000200.safetensors").unlink()
    with pytest.raises(CharaloomError, match=r"step-000200\.safetensors: chosen by"):
        build(results)


@pytest.mark.parametrize("text", ["a`b", "`", "``` x", "plain", "~~~", "<b>"])
def test_code_cannot_be_left_from_inside(text):
    escaped = text.replace("<", "&lt;").replace(">", "&gt;")
    assert shown(str(markdown.code_span(text))) == f"<p><code>{escaped}</code></p>\n"
    assert shown(str(markdown.code_block(text))) == f'<pre><code class="language-text">{escaped}\n</code></pre>\n'


def test_a_folder_for_civitai_is_made_of_a_finished_model(results):
    from charaloom.publishing.cards.civitai import read_card, write_civitai

    folder = build(results)
    card = read_card(CHARACTER, results)
    made = write_civitai(card, "adult", folder, results / "civitai")
    names = [entry["file"] for entry in read_json(made / "images.json")]
    assert names[0].startswith("01_")
    assert {name[3:] for name in names} == {path.name for path in (folder / "previews").glob("*.png")}
    assert card.version == read_json(results / "model.lineage.json")["digest"]

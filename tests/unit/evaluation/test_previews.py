"""Previews rendered by a tiny random Stable Diffusion 1.x base and judged by stand-in models through imgutils."""

import io
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from charaloom.artifacts.files import files_below, read_json, sha256_file, write_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import CLUSTERED, MEASURED, read_table, write_table
from charaloom.config.params import Previews, SelectionRule
from charaloom.diffusion.checkpoints import NOTHING, read_checkpoints
from charaloom.diffusion.pipelines import BasePipeline
from charaloom.errors import CharaloomError
from charaloom.evaluation import judge, previews, renderer
from charaloom.evaluation.early_stopping import first_round_judge
from charaloom.evaluation.prompts import read_prompts
from charaloom.evaluation.selection import choose
from charaloom.images.decoding import open_picture
from charaloom.vision.model_set import ModelInput
from charaloom.vision.models import picture_models

STAGE_PARAMS = {"version": 1}
CHARACTER = "hana"
VECTORS = 2
EMBEDDING = 8  # of the stand-in tagger
RATINGS = ("general", "sensitive")
TAGS = (*RATINGS, "portrait", "standing", "blue_hair", "red_kimono", "uniform", "2girls")
BASE = {
    "name": "tiny",
    "path": None,
    "repo": None,
    "revision": None,
    "family": "sd15",
    "clip_skip": 1,
    "licence": "creativeml-openrail-m",
    "negative": "nsfw, lowres",
    "guidance": 7.0,
}
RULE = SelectionRule(scores={"recognised": 3, "likeness": 1, "outfit": 1}, first=0.25, keep=0.5)
PARAMS = {
    "version": 1,
    "seed": 7,
    "width": 64,
    "height": 64,
    "steps": 2,
    "seeds": 1,
    "scenes": 2,
    "batch": 2,
    "weights": [0.5, 1.0],
    "sweep": 0.25,
    "rating_model": 1.1,
    "memorised": 0.85,
    "selection": RULE.plain(),
    "threads": 1,
    "precision": "fp32",
}


def other_base(source: Path, folder: Path) -> Path:
    """A second base: the same architecture, other weights in its UNet."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: 1.1 * value for name, value in load_file(weights).items()}, weights)
    return folder


def lora(path: Path, base: Path, seed: int) -> None:
    """A random plain LoRA in kohya keys over the attention of the base's UNet and text encoder."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextModel

    models = {
        "lora_unet_": UNet2DConditionModel.from_pretrained(base / "unet"),
        "lora_te_": CLIPTextModel.from_pretrained(base / "text_encoder"),
    }
    draw = torch.Generator().manual_seed(seed)
    weights = {}
    for prefix, model in models.items():
        for name, module in model.named_modules():
            if name.endswith(("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")):
                key = prefix + name.replace(".", "_")
                weights[f"{key}.lora_down.weight"] = torch.randn(2, module.in_features, generator=draw)
                weights[f"{key}.lora_up.weight"] = torch.randn(module.out_features, 2, generator=draw)
                weights[f"{key}.alpha"] = torch.tensor(2.0)
    save_file(weights, path)


def embedding(path: Path, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"emb_params": torch.randn(VECTORS, 32, generator=torch.Generator().manual_seed(seed))}, path)


def onnx_file(
    path: Path, nodes: list, shapes: tuple, constants: dict[str, np.ndarray], names: dict | None = None
) -> None:
    """A small graph from the input to `output`."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    source, target = nodes[0].input[0], nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, shapes[0])],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, shapes[1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if names:
        helper.set_model_props(model, {"names": str(names), "imgsz": "[640, 640]"})
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, path)


def repository(hub: Path, repo: str) -> Path:
    folder = hub / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    return folder / "snapshots" / ("0" * 40)


def stand_in_models(hub: Path) -> Path:
    """CCIP, rating and tags by mean colour; detectors that always find the middle of the picture."""
    from onnx import helper

    make = helper.make_node
    chance = np.random.default_rng(3)
    ccip = repository(hub, "deepghs/ccip_onnx") / "ccip-caformer-24-randaug-pruned"
    onnx_file(
        ccip / "model_feat.onnx",
        [make("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0), make("MatMul", ["mean", "to"], ["output"])],
        (["batch", 3, "height", "width"], ["batch", 768]),
        {"to": chance.normal(size=(3, 768)).astype(np.float32)},
    )
    onnx_file(
        ccip / "model_metrics.onnx",
        [
            make("ReduceL2", ["input"], ["norm"], axes=[1], keepdims=1),
            make("Div", ["input", "norm"], ["unit"]),
            make("Transpose", ["unit"], ["turned"], perm=[1, 0]),
            make("MatMul", ["unit", "turned"], ["cosine"]),
            make("Sub", ["one", "cosine"], ["gap"]),
            make("Mul", ["gap", "half"], ["output"]),
        ],
        (["batch", 768], ["batch", "batch"]),
        {"one": np.float32(1).reshape(1), "half": np.float32(0.5).reshape(1)},
    )
    (ccip / "metrics.json").write_text(json.dumps({"threshold": 0.178}))
    rating = repository(hub, "deepghs/anime_rating") / "mobilenetv3_v1_pruned_ls0.1"
    onnx_file(
        rating / "model.onnx",
        [
            make("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
            make("MatMul", ["mean", "to"], ["score"]),
            make("Softmax", ["score"], ["output"], axis=1),
        ],
        (["batch", 3, 384, 384], ["batch", 3]),
        {"to": 9 * chance.normal(size=(3, 3)).astype(np.float32)},
    )
    (rating / "meta.json").write_text(json.dumps({"labels": ["r15", "safe", "r18"]}))
    boxes = np.zeros((1, 5, 8), np.float32)
    boxes[0, :, 0] = [320, 320, 560, 560, 0.9]
    detectors = {"deepghs/anime_person_detection": "person_detect_v1.1_m"}
    detectors["deepghs/anime_head_detection"] = "head_detect_v2.0_s"
    for repo, name in detectors.items():
        onnx_file(
            repository(hub, repo) / name / "model.onnx",
            [
                make("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
                make("Mul", ["mean", "zero"], ["nothing"]),
                make("Add", ["boxes", "nothing"], ["output0"]),
            ],
            ([1, 3, 640, 640], [1, 5, 8]),
            {"zero": np.float32(0).reshape(1), "boxes": boxes},
            {0: "person"},
        )
    tagger(hub, chance)
    return hub


def tagger(hub: Path, chance: np.random.Generator) -> None:
    """The tagger's two outputs from the mean colour; its labels are TAGS."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = {
        "to": chance.normal(size=(3, EMBEDDING)).astype(np.float32) / 99,
        "tags": chance.normal(size=(EMBEDDING, len(TAGS))).astype(np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "to"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "tags"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    shapes = {"output": ["batch", len(TAGS)], "embedding": ["batch", EMBEDDING]}
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 448, 448, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = repository(hub, "deepghs/wd14_tagger_with_embeddings") / "SmilingWolf" / "wd-swinv2-tagger-v3" / "model.onnx"
    path.parent.mkdir(parents=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    labels = repository(hub, "SmilingWolf/wd-swinv2-tagger-v3") / "selected_tags.csv"
    labels.parent.mkdir(parents=True)
    lines = [f"{number},{name},{9 if name in RATINGS else 0},9" for number, name in enumerate(TAGS)]
    labels.write_text("\n".join(["tag_id,name,category,count", *lines, ""]))


def measures(root: Path) -> None:
    """Two training views in two outfits, as they were measured and clustered."""
    grey = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    box = {"x0": 0, "y0": 0, "x1": 64, "y1": 64}
    measured, clustered = [], []
    for number, outfit in enumerate(("red_kimono", "uniform")):
        view = {"view": f"{number}/picture/0", "picture": str(number), "kind": "picture", **box}
        tags = [{"name": name, "score": 0.9} for name in (outfit, "sash")]
        picture = {"thumbnail": grey.tobytes(), "thumbnail_width": 64, "tag_embedding": [1.0 + number] * EMBEDDING}
        measured.append({**view, "tags": tags, **picture})
        clustered.append({**view, "split": "train", "outfit": outfit, "repeats": 1, "caption": ""})
    write_table(root / "measured.parquet", measured, MEASURED, "view")
    write_table(root / "clustered.parquet", clustered, CLUSTERED, "view")


def picture(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def world(tiny_base, tmp_path_factory):
    """Everything `render` reads, made once."""
    root = tmp_path_factory.mktemp("world")
    shutil.copytree(tiny_base, root / "bases" / "tiny")
    other_base(tiny_base, root / "bases" / "other")
    folder = root / "checkpoints"
    folder.mkdir()
    for step in (100, 200):
        lora(folder / f"step-{step:06d}.safetensors", tiny_base, step)
        embedding(folder / f"step-{step:06d}_emb.safetensors", step)
    write_manifest(
        root / "checkpoints.json", lineage("checkpoints", CHARACTER, STAGE_PARAMS, ()), {"checkpoints": folder}, {}
    )
    write_json(root / "models.json", {"models": []})
    prompts = [
        {**entry(f"{outfit}-{scene}", "outfit", f"hana_charaloom, {outfit}, {scene}", [scene]), "outfit": outfit}
        for outfit in ("red_kimono", "uniform")
        for scene in ("portrait", "standing", "sitting")
    ]
    prompts += [entry("trigger_only", "trigger", "hana_charaloom", []), entry("alone", "plain", "solo", ["portrait"])]
    write_json(root / "outfits.json", {"prompts": prompts, "core": ["blue_hair"]})
    measures(root)
    (root / "dataset" / "data").mkdir(parents=True)
    images = [{"bytes": picture((200, 90 + shade, 60)), "path": f"{shade}.png"} for shade in range(3)]
    pq.write_table(pa.table({"image": images}), root / "dataset" / "data" / "held_out-00000.parquet")
    return root, stand_in_models(root / "hub")


def entry(name: str, kind: str, text: str, tags: list[str]) -> dict:
    return {"id": name, "kind": kind, "outfit": None, "text": text, "asked": tags}


def params_of(root: Path, **changes) -> Previews:
    bases = [
        {**BASE, "name": name, "path": str(root / "bases" / name), "prefix": prefix, "negative": negative}
        for name, prefix, negative in (("tiny", "", BASE["negative"]), ("other", "best quality,", "lowres"))
    ]
    return Previews.of({**PARAMS, "bases": bases, **changes})


def sources_of(root: Path, hub: Path) -> previews.Sources:
    return previews.Sources(
        outfits=root / "outfits.json",
        dataset=root / "dataset",
        measured=root / "measured.parquet",
        clustered=root / "clustered.parquet",
        hub=hub,
        prompts=root / "outfits.json",
        judged_by=[root / "measured.parquet", root / "clustered.parquet", root / "models.json"],
    )


def render(world, out: Path, work: Path, **changes) -> Path:
    root, hub = world
    previews.render(
        character=CHARACTER,
        params=params_of(root, **changes),
        checkpoints=root / "checkpoints",
        checkpoints_manifest=root / "checkpoints.json",
        sources=sources_of(root, hub),
        folder=out / "previews",
        manifest=out / "previews.manifest.json",
        work=work,
    )
    return out / "previews"


@pytest.fixture(scope="module")
def rendered(world, tmp_path_factory):
    """One undisturbed run: (its folder, its work folder)."""
    out = tmp_path_factory.mktemp("rendered")
    return render(world, out, out / "work"), out / "work"


def bytes_of(folder: Path) -> dict[str, str]:
    return {str(path): sha256_file(folder / path) for path in files_below(folder)}


def test_rounds_then_the_chosen_one_on_every_base(rendered):
    """Six prompts; the first round renders two of them with both checkpoints, then one is left and renders all."""
    rows = read_table(rendered[0] / "scores.parquet")
    by_round = Counter((row["checkpoint"], row["round"]) for row in rows if row["round"])
    (chosen,) = {checkpoint for checkpoint, number in by_round if number == 2}
    assert by_round == {("step-000100", 1): 2, ("step-000200", 1): 2, (chosen, 2): 4}
    shown = Counter(
        (row["base"], row["checkpoint"], row["weight"], row["embedding"]) for row in rows if not row["round"]
    )
    assert shown == {
        ("tiny", "none", 0.0, False): 2,
        ("other", "none", 0.0, False): 2,
        ("other", chosen, 1.0, True): 6,
        ("tiny", chosen, 0.5, True): 2,
        ("other", chosen, 0.5, True): 2,
        ("tiny", chosen, 1.0, False): 2,
    }
    assert {str(path) for path in files_below(rendered[0])} == {*(row["file"] for row in rows), "scores.parquet"}


def test_early_stopping_judges_by_what_the_first_round_renders(world, tmp_path):
    root, hub = world
    sources = sources_of(root, hub)
    steps = read_checkpoints(root / "checkpoints")
    judge = first_round_judge(CHARACTER, params_of(root), sources, tmp_path / "work")
    scores = {step.name: judge(step) for step in steps}  # one after another, as a training makes them
    before = {path.name for path in (tmp_path / "work" / CHARACTER / "previews").iterdir() if path.is_dir()}
    rows = read_table(render(world, tmp_path, tmp_path / "work") / "scores.parquet")
    after = {path.name for path in (tmp_path / "work" / CHARACTER / "previews").iterdir()}
    assert before < after, "none is rendered again"
    choice = choose(rows, ["tiny", "other"], [step.name for step in steps], RULE, previews_threshold(tmp_path), "")
    assert scores == {counted["checkpoint"]: counted["score"] for counted in choice["curves"]}


def previews_threshold(folder: Path) -> float:
    return read_json(folder / "previews.manifest.json")["settings"]["threshold"]


def test_the_first_round_sees_every_outfit_in_another_scene(world):
    prompts = read_prompts(world[0] / "outfits.json", CHARACTER, params_of(world[0]))
    assert [prompt.id for prompt in prompts] == [
        "red_kimono-portrait",
        "uniform-standing",
        "trigger_only",
        "alone",
        "red_kimono-standing",
        "uniform-portrait",
    ]
    assert [prompt.kind for prompt in prompts[2:4]] == ["trigger", "plain"]


def test_more_seeds_render_what_names_no_outfit_again(world):
    prompts = read_prompts(world[0] / "outfits.json", CHARACTER, params_of(world[0], seeds=2))
    assert [prompt.id for prompt in prompts[6:]] == ["trigger_only", "alone"]
    assert len({prompt.seed for prompt in prompts}) == 8


def test_the_same_seed_for_a_prompt_everywhere_and_another_for_each_prompt(rendered):
    rows = read_table(rendered[0] / "scores.parquet")
    seeds = {(row["prompt_id"], row["seed"]) for row in rows}
    assert len(seeds) == len({seed for _, seed in seeds}) == 6


def test_lora_embedding_weight_and_base_each_change_the_picture(rendered):
    rows = [row for row in read_table(rendered[0] / "scores.parquet") if row["prompt_id"] == "red_kimono-portrait"]

    def pixels(row: dict) -> bytes:
        with Image.open(rendered[0] / row["file"]) as image:
            return image.tobytes()

    assert len({pixels(row) for row in rows}) == len(rows) == 8


def test_generation_data_in_the_file_reads_back(rendered):
    from imgutils.sd import get_sdmeta_from_image

    rows = read_table(rendered[0] / "scores.parquet")
    row = next(row for row in rows if row["weight"] == 0.5 and row["base"] == "tiny")
    with Image.open(rendered[0] / row["file"]) as image:
        assert set(image.info) == {"parameters", "prompt"}
        graph = json.loads(image.info["prompt"])
    meta = get_sdmeta_from_image(str(rendered[0] / row["file"]))
    assert meta.prompt == f"{row['prompt']} <lora:hana:0.5>"
    assert row["prompt"].startswith("hana_emb, hana_charaloom")
    assert meta.neg_prompt == BASE["negative"]
    assert int(meta.parameters["Seed"]) == row["seed"]
    assert int(meta.parameters["Clip skip"]) == 2
    assert meta.parameters["Model"] == row["base"]
    assert graph["sampler"]["inputs"]["seed"] == row["seed"]
    assert graph["lora"]["inputs"]["strength_model"] == 0.5
    assert graph["positive"]["inputs"]["text"].startswith("embedding:hana_emb, hana_charaloom")


def test_each_base_is_rendered_on_as_it_asks_for(rendered):
    rows = [row for row in read_table(rendered[0] / "scores.parquet") if row["base"] == "other"]
    assert {row["prompt"].startswith("best quality, hana_emb, ") for row in rows if row["embedding"]} == {True}
    assert {row["prompt"].startswith("best quality, hana_charaloom") for row in rows if row["kind"] == "outfit"} == {
        True,
        False,
    }
    with Image.open(rendered[0] / rows[0]["file"]) as image:
        prompt, negative, _ = image.info["parameters"].splitlines()
    assert prompt.startswith("best quality, ")
    assert negative == "Negative prompt: lowres"
    settings = read_json(rendered[0].parent / "previews.manifest.json")["settings"]["bases"]
    assert [entry["negative"] for entry in settings] == [BASE["negative"], "lowres"]
    assert (settings[1]["base"], settings[1]["prefix"], settings[1]["sampler"]) == (
        "other",
        "best quality,",
        "DPM++ 2M",
    )


def test_checkpoints_that_are_loaded_side_by_side_do_not_touch_each_other(world, tmp_path):
    """In any order, each renders what it renders alone, and the base without LoRA stays what it was."""
    root, _ = world
    params = params_of(root)
    steps = read_checkpoints(root / "checkpoints")
    base = previews.local_bases(params, tmp_path, most=1)["tiny"]

    def rendered_by(pipeline: BasePipeline, checkpoint) -> np.ndarray:
        pictures = pipeline.render(checkpoint, ["hana, solo"] * 2, [1, 2], params)
        return np.stack([np.asarray(picture) for picture in pictures])

    alone = {step: rendered_by(BasePipeline(base, 1), step) for step in (NOTHING, *steps)}
    pipeline = BasePipeline(base, 1)
    for checkpoint in (steps[0], NOTHING, steps[1], steps[0].weighing(0.5), steps[0], steps[1].by_text_alone(), *alone):
        picture = rendered_by(pipeline, checkpoint)
        assert checkpoint not in alone or np.array_equal(picture, alone[checkpoint])


def test_a_killed_run_continues_and_ends_in_the_same_bytes(world, rendered, tmp_path, monkeypatch):
    real, calls = BasePipeline.render, []

    def dies_at_the_fifth(*args):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(BasePipeline, "render", dies_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        render(world, tmp_path, tmp_path / "work")
    assert not (tmp_path / "previews").exists()
    monkeypatch.setattr(BasePipeline, "render", lambda *args: calls.append(args) or real(*args))
    folder = render(world, tmp_path, tmp_path / "work")
    assert len(calls) == 5 + 12 - 4
    assert bytes_of(folder) == bytes_of(rendered[0])
    assert (tmp_path / "previews.manifest.json").read_bytes() == (
        rendered[0].parent / "previews.manifest.json"
    ).read_bytes()


def test_a_second_run_renders_nothing(world, rendered, tmp_path, monkeypatch):
    def refuse(*args):
        raise AssertionError("a base was opened")

    monkeypatch.setattr(renderer, "BasePipeline", refuse)
    shutil.copytree(rendered[1], tmp_path / "work")
    assert bytes_of(render(world, tmp_path, tmp_path / "work")) == bytes_of(rendered[0])


def test_two_runs_on_one_store_do_not_mix(world, tmp_path):
    with (
        renderer.hold(tmp_path / "work" / CHARACTER / "previews"),
        pytest.raises(CharaloomError, match="another run renders here"),
    ):
        render(world, tmp_path, tmp_path / "work")


def test_h7_pictures_above_the_allowed_rating_are_never_kept(world, rendered, tmp_path):
    before = {row["file"]: row for row in read_table(rendered[0] / "scores.parquet")}

    def above(row):
        return sum(entry["score"] for entry in row["rating"] if entry["name"] != "safe")

    limit = float(np.median([above(row) for row in before.values()]))
    folder = render(world, tmp_path, tmp_path / "work", rating_model=limit)
    rows = read_table(folder / "scores.parquet")
    withheld = [row for row in rows if not row["kept"]]
    assert all(row["kept"] == (above(row) < limit) for row in rows)
    assert 0 < len(withheld) < len(rows)
    assert read_json(tmp_path / "previews.manifest.json")["counts"]["withheld"] == len(withheld)
    for row in withheld:
        assert (row["identity_distance"], row["recognised"]) == (None, False)
        with Image.open(folder / row["file"]) as image:
            assert image.getcolors() == [(64 * 64, renderer.BLANK)]
    kept_bytes = {sha256_file(path) for path in (tmp_path / "work").rglob("*.png")}
    seen_before = {row["file"] for row in withheld} & set(before)
    assert seen_before
    assert not kept_bytes & {sha256_file(rendered[0] / file) for file in seen_before}


def test_distance_is_the_median_to_held_out_pictures_and_the_threshold_comes_from_the_cache(world, rendered):
    from imgutils.metrics import ccip_difference

    root, hub = world
    rows = read_table(rendered[0] / "scores.parquet")
    detector = judge.Detector(hub, *judge.DETECTORS["person"])

    def cut(image: Image.Image) -> Image.Image:
        return judge.largest_person(image, detector.detect([ModelInput(image)])[0])

    with picture_models(hub, 1):
        for row in rows[:3]:
            with Image.open(rendered[0] / row["file"]) as image:
                seen = cut(image.convert("RGB"))
            assert seen.size == (56, 56)
            held_out = map(open_picture, judge.held_out_pictures(judge.held_out_files(root / "dataset")))
            expected = np.median([ccip_difference(seen, cut(other)) for other in held_out])
            assert row["identity_distance"] == pytest.approx(expected, abs=1e-4)
            assert row["recognised"] == (row["identity_distance"] <= 0.178)
    assert read_json(rendered[0].parent / "previews.manifest.json")["settings"]["threshold"] == 0.178


def test_nothing_of_this_machine_reaches_the_artifacts(world, rendered):
    manifest = (rendered[0].parent / "previews.manifest.json").read_text()
    assert str(world[0]) not in manifest
    assert str(world[0]).encode() not in (rendered[0] / "scores.parquet").read_bytes()


def empty_held_out(root: Path) -> None:
    shard = root / "dataset" / "data" / "held_out-00000.parquet"
    pq.write_table(pq.read_table(shard).slice(0, 0), shard)


@pytest.mark.parametrize(
    ("breakage", "words"),
    [
        (empty_held_out, "no held-out pictures"),
        (lambda root: (root / "dataset" / "data" / "held_out-00000.parquet").unlink(), "held_out"),
        (lambda root: write_json(root / "outfits.json", {"prompts": [], "core": []}), "no prompts"),
        (lambda root: shutil.rmtree(root / "checkpoints"), "no step-"),
    ],
)
def test_what_is_missing_is_named(world, tmp_path, breakage, words):
    shutil.copytree(world[0], tmp_path / "broken", ignore=shutil.ignore_patterns("hub"))
    breakage(tmp_path / "broken")
    with pytest.raises(CharaloomError, match=words):
        render((tmp_path / "broken", world[1]), tmp_path, tmp_path / "work")

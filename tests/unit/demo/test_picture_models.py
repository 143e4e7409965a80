"""The demo's picture models: what imgutils expects of the files, what they see in a world of an unseen seed, and how
they are trained."""

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from charaloom.artifacts.files import files_below, sha256_file
from charaloom.demo.models import train_picture_models
from charaloom.demo.scores.picture_models import Scores, score_world

MODELS = Path(__file__).parents[3] / "resources" / "demo" / "models"
UNSEEN_SEED = 424_242
YOLO = [*train_picture_models.DETECTORS.items()]
SORTERS = [*train_picture_models.SORTERS.items()]
CCIP = MODELS / "deepghs/ccip_onnx" / train_picture_models.CCIP
TAGGER = MODELS / "deepghs/wd14_tagger_with_embeddings" / train_picture_models.TAGGER


def values(described: list[onnx.ValueInfoProto]) -> dict[str, list[int | str]]:
    """Names of a graph's inputs or outputs and their shapes; a dynamic axis by its name."""
    return {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in described
    }


def opened(path: Path) -> onnx.ModelProto:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 9
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    return model


def test_the_lock_names_every_file_with_its_checksum():
    lock = yaml.safe_load(MODELS.with_suffix(".yaml").read_text())
    listed = {f"{entry['repo']}/{path}": digest for entry in lock for path, digest in entry["files"].items()}
    assert listed == {path.as_posix(): sha256_file(MODELS / path) for path in files_below(MODELS)}
    assert all(len(entry["revision"]) == 40 and int(entry["revision"], 16) for entry in lock)
    assert [e["repo"] for e in lock if e["repo_type"] == "dataset"] == ["alea31415/tag_filtering"]


def test_the_models_are_small():
    assert sum((MODELS / path).stat().st_size for path in files_below(MODELS)) < 4_000_000


def test_ccip_has_the_real_models_form():
    features, metrics = opened(CCIP / "model_feat.onnx"), opened(CCIP / "model_metrics.onnx")
    assert values(features.graph.input) == {"input": ["batch", 3, 384, 384]}
    assert values(features.graph.output) == {"output": ["batch", 768]}
    assert values(metrics.graph.input) == {"input": ["batch", 768]}
    assert values(metrics.graph.output) == {"output": ["batch", "batch"]}
    assert json.loads((CCIP / "metrics.json").read_text()) == {"threshold": 0.17847511429108218}
    clusterings = json.loads((CCIP / "cluster.json").read_text())
    assert {"dbscan_2", "dbscan_free", "optics", "optics_best"} <= clusterings.keys()
    assert all({"eps", "min_samples"} == set(entry) for entry in clusterings.values())


def test_the_tagger_has_the_real_models_form():
    model = opened(TAGGER / "model.onnx")
    with (MODELS / train_picture_models.TAGGER / "selected_tags.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert values(model.graph.input) == {"input": ["batch", 448, 448, 3]}
    assert list(values(model.graph.output).items()) == [
        ("output", ["batch", len(rows)]),
        ("embedding", ["batch", 1024]),
    ]
    assert [row["name"] for row in rows if row["category"] == "9"] == [row["name"] for row in rows[:4]]
    assert [row["name"] for row in rows[:4]] == ["general", "sensitive", "questionable", "explicit"]
    assert {"1girl", "solo", "blue_hair", "red_kimono", "comic", "monochrome"} <= {row["name"] for row in rows}
    with np.load(TAGGER / "inv.npz") as inverse:
        assert inverse["weights"].shape == (1024, len(rows))
        assert inverse["bias"].shape == (len(rows),)


@pytest.mark.parametrize(("kind", "place"), YOLO, ids=[kind for kind, _ in YOLO])
def test_a_detector_has_yolos_form(kind: str, place: tuple[str, str]):
    model = opened(MODELS / place[0] / place[1] / "model.onnx")
    assert values(model.graph.input) == {"images": ["batch", 3, 640, 640]}
    assert values(model.graph.output) == {"output0": ["batch", 5, 64]}
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "names": f"{{0: '{kind}'}}",
        "imgsz": "[640, 640]",
    }


@pytest.mark.parametrize(("question", "place"), SORTERS, ids=[question for question, _ in SORTERS])
def test_a_classifier_has_the_real_models_form(question: str, place: tuple[str, str]):
    folder = MODELS / place[0] / place[1]
    labels = json.loads((folder / "meta.json").read_text())["labels"]
    model = opened(folder / "model.onnx")
    assert labels == train_picture_models.LABELS[question]
    assert values(model.graph.input) == {"input": ["batch", 3, 384, 384]}
    assert values(model.graph.output) == {"output": ["batch", len(labels)]}


@pytest.fixture(scope="module")
def scores() -> Scores:
    return score_world(MODELS, UNSEEN_SEED, posts=30)


BOUNDS = {
    "identity.same": 0.8,
    "identity.different": 0.93,
    "identity.auc": 0.96,
    "identity.by_median": 0.93,
    "tags.mean_average_precision": 0.7,
    "tags.f1": 0.75,
    "tags.f1.hair_colour": 0.8,
    "tags.f1.clothes": 0.7,
    "detect.person.recall": 0.93,
    "detect.head.recall": 0.93,
    "detect.halfbody.recall": 0.9,
    "detect.face.recall": 0.9,
    "detect.person.number": 0.9,
    "class.illustration": 0.95,
    "class.comic": 0.99,
    "class.not_painting": 0.99,
    "rating.higher": 0.99,
    "rating.safe": 0.98,
    "rating.safe_soft": 0.98,
    "monochrome.found": 0.99,
    "monochrome.spared": 0.97,
    "ai.found": 0.6,
    "ai.spared": 0.95,
    "ai.spared_soft": 0.95,
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), BOUNDS.items(), ids=list(BOUNDS))
def test_a_world_of_an_unseen_seed_is_seen_through_imgutils(name: str, least: float, scores: Scores):
    assert scores.figures[name] >= least, f"{name}: {scores.notes[name]}"


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> train_picture_models.Sheets:
    """Lessons of the smallest network, on a few pictures."""
    from charaloom.demo.models.training_pictures import Numbers, draw_pool

    work = tmp_path_factory.mktemp("pictures")
    pool = draw_pool(work, 1, Numbers(characters=4, pictures=2, groups=2), lambda done, note: None)
    train_picture_models.draw_sheets(work, 16)
    return train_picture_models.Sheets(work, pool)


class Killed(Exception):
    """Stands for the end of the process."""


def trained(sheets: train_picture_models.Sheets, state: Path, killed_at: int | None = None) -> dict[str, np.ndarray]:
    """Weights after four steps, whose state is kept every second one."""
    import torch

    def loss(model: torch.nn.Module, step: int) -> tuple[torch.Tensor, str]:
        if step == killed_at:
            raise Killed
        return sheets.loss(model, step)

    torch.manual_seed(0)
    model = train_picture_models.new_sort()
    train_picture_models.learn("sort", state, model, loss, steps=4, every=2)
    return {name: value.numpy() for name, value in model.state_dict().items()}


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(sheets: train_picture_models.Sheets, tmp_path: Path):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = trained(sheets, tmp_path / "whole.pt")
        with pytest.raises(Killed):
            trained(sheets, tmp_path / "killed.pt", killed_at=3)
        again = trained(sheets, tmp_path / "killed.pt")
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(whole[name], again[name]) for name in whole)


def test_a_file_computes_what_its_network_does(tmp_path: Path):
    import onnxruntime
    import torch

    from charaloom.demo.models import networks

    torch.manual_seed(0)
    where = train_picture_models.new_where().train()
    with torch.no_grad():
        for _ in range(3):
            where(torch.randn(4, 3, 128, 128))  # so that the normalisation has something to fold
    where.eval()
    networks.write_detector(where, 2, "head", tmp_path / "model.onnx")
    small = torch.rand(2, 3, 128, 128)
    large = small.repeat_interleave(5, 2).repeat_interleave(5, 3).numpy()
    outputs = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"images": large})[0]
    with torch.inference_mode():
        boxes = train_picture_models.decoded(where(small * 2 - 1))
    expected = torch.stack([part[:, 2] for part in boxes], 1).flatten(2) * 640
    np.testing.assert_allclose(outputs[:, :4], expected.numpy(), atol=0.5)  # pixels; the weights are halves


def test_cells_near_a_centre_hold_the_box_mirrored_with_its_picture():
    box = (10.0, 20.0, 50.0, 100.0)
    people = [dict.fromkeys(train_picture_models.KINDS, box)]
    scores, weights, boxes = train_picture_models.cells_of((100, 200), people, mirrored=True)
    held = scores[0] == 1
    assert 1 <= held.sum() <= 4
    np.testing.assert_allclose(boxes[0][:, held].T, np.tile([0.7, 0.3, 0.4, 0.4], (held.sum(), 1)), rtol=1e-6)
    assert (weights[0][held] == 1).all()


def test_the_threshold_lies_between_near_and_far():
    scale, _ = train_picture_models.threshold_between(np.array([0.1, 0.2, 0.3]), np.array([0.9, 1.0]))
    threshold = train_picture_models.CCIP_THRESHOLD / scale
    assert 0.3 <= threshold < 0.9

"""Each model of the set against imgutils' own function, on the same picture and the same files.

Equal to the bit where nothing says otherwise. The demo's trained models run: their outputs depend on every pixel.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from charaloom.config.named_files import read_lock
from charaloom.config.params import Models
from charaloom.config.schemas import CODE
from charaloom.errors import CharaloomError
from charaloom.vision.measured import sharpness
from charaloom.vision.model_set import CLASSIFIERS, READ_LABELS, Classifier, ModelInput, ModelSet, Tagger, run
from charaloom.vision.models import fetch_models, picture_models

FLOOR = 0.05


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    lock = read_lock("resources/demo/models.yaml")
    fetch_models(
        Models.of({"lock": lock, "hub": str(CODE / "resources/demo/models")}),
        folder / "hub",
        folder / "models.manifest.json",
    )
    return folder / "hub"


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Drawn people in wide, tall, large and odd frames."""
    from random import Random

    from charaloom.demo.world import cast
    from charaloom.demo.world.drawing import draw_group

    rng, drawn = Random(77), []
    for size in ((256, 320), (641, 384), (333, 447)):
        somebody = cast.draw_character(rng, "somebody", outfits=1)
        person = (somebody, somebody.outfits[0], cast.draw_staging(rng))
        drawn.append(draw_group([person], rng.choice(cast.BACKGROUNDS), "cel", size, rng)[0].convert("RGB"))
    return drawn


def test_detectors(hub: Path, pictures: list[Image.Image]) -> None:
    detections = ModelSet(hub).detect([ModelInput(picture) for picture in pictures])
    with picture_models(hub, 1):
        from imgutils.detect import detect_faces, detect_halfbody, detect_heads, detect_person

        functions = {"person": detect_person, "halfbody": detect_halfbody, "head": detect_heads, "face": detect_faces}
        for picture, ours in zip(pictures, detections, strict=True):
            assert ours["person"]
            for kind, function in functions.items():
                assert ours[kind] == [(box, score) for box, _, score in function(picture)]


@pytest.mark.parametrize("form", ["yolo", "end to end", "rtdetr"])
def test_every_output_layout_of_a_detector_is_read_as_imgutils_does(hub: Path, form: str) -> None:
    from imgutils.generic.yolo import _rtdetr_postprocess, _yolo_postprocess

    rng = np.random.default_rng(8)
    near = np.repeat(rng.uniform(100, 540, (12, 2)), 4, 0) + rng.uniform(-25, 25, (48, 2))
    sizes, scores = rng.uniform(40, 200, (48, 2)), rng.uniform(0, 1, (48, 1))
    if form == "end to end":
        output = np.concatenate([near - sizes / 2, near + sizes / 2, scores, np.zeros((48, 1))], 1)
    else:
        output = np.concatenate([near, sizes, scores], 1)
    output[:, :4] /= 640 if form == "rtdetr" else 1
    output = (output.T if form == "yolo" else output).astype(np.float32)
    detector = ModelSet(hub).detectors["person"]
    detector.kind = "rtdetr" if form == "rtdetr" else "yolo"
    read = _rtdetr_postprocess if form == "rtdetr" else _yolo_postprocess
    theirs = read(output, detector.confidence, detector.overlap, (333, 447), (640, 640), ["person"])
    ours = detector.boxes(output, (333, 447))
    assert 2 < len(ours) < 40
    assert ours == [(box, score) for box, _, score in theirs]


def test_classifiers(hub: Path, pictures: list[Image.Image]) -> None:
    models = ModelSet(hub)
    scores = models.classify([ModelInput(picture) for picture in pictures])
    with picture_models(hub, 1):
        from imgutils.metrics import anime_dbaesthetic
        from imgutils.validate import (
            anime_classify_score,
            anime_rating_score,
            get_ai_created_score,
            get_monochrome_score,
        )

        for picture, ours in zip(pictures, scores, strict=True):
            assert ours["classes"] == anime_classify_score(picture)
            assert ours["rating"] == anime_rating_score(picture)
            assert ours["ai"]["ai"] == get_ai_created_score(picture)
            assert ours["monochrome"]["monochrome"] == get_monochrome_score(picture)
            # imgutils reads the percentile from the pair of samples after the score, we from the pair around it.
            assert models.aesthetic(ours["aesthetic"]) == pytest.approx(anime_dbaesthetic(picture)[1], abs=0.005)


def test_identity_and_tags(hub: Path, pictures: list[Image.Image]) -> None:
    models, inputs = ModelSet(hub), [ModelInput(picture) for picture in pictures]
    embeddings, outputs = models.identify(inputs), models.tag(inputs, FLOOR)
    with picture_models(hub, 1):
        from imgutils.metrics import ccip_extract_feature
        from imgutils.tagging import get_wd14_tags

        for picture, embedding, ours in zip(pictures, embeddings, outputs, strict=True):
            assert np.array_equal(embedding, ccip_extract_feature(picture))
            rating, tags, own = get_wd14_tags(picture, general_threshold=FLOOR, fmt=("rating", "general", "embedding"))
            assert (ours.rating, ours.tags) == (rating, tags)
            assert np.array_equal(ours.embedding, own)


def test_sharpness(pictures: list[Image.Image]) -> None:
    """OpenCV sums in another order than numpy: equal to nine digits."""
    from imgutils.metrics import laplacian_score

    for picture in pictures:
        assert sharpness(np.asarray(picture.convert("L"))) == pytest.approx(laplacian_score(picture), rel=1e-9)


def test_other_pictures_of_a_batch_change_no_bit(hub: Path, pictures: list[Image.Image]) -> None:
    """The cache of measured pictures relies on it."""
    models, inputs = ModelSet(hub), [ModelInput(picture) for picture in pictures]
    together = models.identify(inputs)
    for index, single in enumerate(inputs):
        assert np.array_equal(models.identify([single])[0], together[index])


def test_the_preprocessing_of_a_repository_is_used(hub: Path, pictures: list[Image.Image], tmp_path: Path) -> None:
    own = tmp_path / "hub"
    shutil.copytree(hub, own, symlinks=True)
    (model,) = [path for path in own.rglob("model.onnx") if "anime_ai_check" in str(path)]
    stages = [
        {"type": "resize", "size": [384, 384], "interpolation": "bicubic"},
        {"type": "to_tensor"},
        {"type": "normalize", "mean": [0.4, 0.4, 0.4], "std": [0.3, 0.3, 0.3]},
    ]
    (model.parent / "preprocess.json").write_text(json.dumps({"stages": stages}))
    ours = ModelSet(own).classify([ModelInput(pictures[0])])[0]["ai"]["ai"]
    assert ours != ModelSet(hub).classify([ModelInput(pictures[0])])[0]["ai"]["ai"]
    with picture_models(own, 1):
        from imgutils.validate import get_ai_created_score

        assert ours == get_ai_created_score(pictures[0])


def test_a_graph_with_a_fixed_batch_axis_runs_one_by_one_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxruntime import InferenceSession

    from tests.standins import one_by_one

    monkeypatch.setattr("charaloom.vision.model_set.on_gpu", lambda session: True)
    session = InferenceSession(one_by_one())
    (output,) = run(session, ["output"], [np.full((3,), value, np.float32) for value in (1, 2, 5)])
    assert output.tolist() == [[1, 1, 1], [2, 2, 2], [5, 5, 5]]


def test_a_picture_is_resized_once_for_each_size(pictures: list[Image.Image]) -> None:
    picture = ModelInput(pictures[0])
    first = picture.resized(384, 384, Image.Resampling.BILINEAR)
    assert picture.resized(384, 384, Image.Resampling.BILINEAR) is first
    assert picture.resized(384, 384, Image.Resampling.BICUBIC) is not first


# --- what lies beside a model


@pytest.fixture
def own_hub(hub: Path, tmp_path: Path) -> Path:
    shutil.copytree(hub, tmp_path / "hub", symlinks=True)
    return tmp_path / "hub"


TAGS = "SmilingWolf--wd-swinv2-tagger-v3"


def test_f12_a_tag_list_of_another_length_than_the_models_output_is_refused(own_hub: Path) -> None:
    """A line short at the front, in the middle, at the end; a line too many: each would give scores other names."""
    (file,) = own_hub.glob(f"hub/models--{TAGS}/snapshots/*/selected_tags.csv")
    head, *lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    shorter = [lines[:place] + lines[place + 1 :] for place in (0, 4, len(lines) // 2, len(lines) - 1)]
    for wrong in (*shorter, [*lines, "99,another_tag,0,7\n"], []):
        file.write_text(head + "".join(wrong), encoding="utf-8")
        with pytest.raises(CharaloomError, match=rf"_tags\.csv: {len(wrong)} labels, its model gives 269 scores"):
            Tagger(own_hub)
    file.write_text(head + "".join(lines), encoding="utf-8")
    Tagger(own_hub)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_f12_labels_of_a_classifier_that_are_not_its_own_are_refused(own_hub: Path, kind: str) -> None:
    repo, model = CLASSIFIERS[kind]
    (file,) = own_hub.glob(f"hub/models--{repo.replace('/', '--')}/snapshots/*/{model}/meta.json")
    meta = json.loads(file.read_text())
    for labels in (meta["labels"][1:], meta["labels"][:-1], [*meta["labels"], "another"], []):
        file.write_text(json.dumps({**meta, "labels": labels}))
        with pytest.raises(CharaloomError, match=rf"meta\.json: {len(labels)} labels, its model gives"):
            Classifier(own_hub, repo, model)
    if kind in READ_LABELS:
        file.write_text(json.dumps({**meta, "labels": [f"class {place}" for place in range(len(meta["labels"]))]}))
        with pytest.raises(CharaloomError, match=r"meta\.json: has no label"):
            Classifier(own_hub, repo, model)


def test_f12_samples_that_are_no_table_are_refused(own_hub: Path) -> None:
    repo, model = CLASSIFIERS["aesthetic"]
    (file,) = own_hub.glob(f"hub/models--{repo.replace('/', '--')}/snapshots/*/{model}/samples.npz")
    np.savez(file, np.zeros((3, 5)))
    with pytest.raises(CharaloomError, match=r"samples\.npz: is no table of two rows"):
        Classifier(own_hub, repo, model)

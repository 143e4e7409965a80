"""Small ONNX files under the names that imgutils asks for, so that its own code runs offline: colour is their truth.

A picture is a white sheet with coloured figures. The detectors see one person where the left half is not white and one
where the right half is not; CCIP tells people apart by mean colour; classifiers and tagger answer nearly the same
always. No test can say how good the real models are, only that their code runs.
"""

import io
import json
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

LOCK = Path(__file__).parents[1] / "config" / "models.yaml"
WORDS = Path(__file__).parents[1] / "resources" / "demo" / "models" / "openai" / "clip-vit-large-patch14"
LABELS = {
    "anime_classification": ["3d", "bangumi", "comic", "illustration", "not_painting"],
    "anime_rating": ["safe", "r15", "r18"],
    "monochrome_detect": ["monochrome", "normal"],
    "anime_ai_check": ["ai", "human"],
    "anime_aesthetic": ["masterpiece", "best", "great", "good", "normal", "low", "worst"],
}
# The answer on any picture: bias of each label before the softmax.
ANSWERS = {
    "anime_classification": [0, 0, 0, 6, 0],
    "anime_rating": [6, 0, 0],
    "monochrome_detect": [0, 6],
    "anime_ai_check": [0, 6],
    "anime_aesthetic": [0, 1, 6, 2, 0, 0, 0],
}
DETECTORS = {  # name, left, top, right, bottom of the box on a 640 px sheet, for somebody in the left half
    "anime_person_detection": ("person", (40, 40, 300, 600)),
    "anime_head_detection": ("head", (100, 60, 220, 180)),
    "anime_face_detection": ("face", (110, 80, 210, 170)),
    "anime_halfbody_detection": ("halfbody", (60, 50, 280, 320)),
}
TAGS = [
    "1girl",
    "solo",
    "blue_hair",
    "red_eyes",
    "kimono",
    "red_kimono",
    "smile",
    "portrait",
    "full_body",
    "upper_body",
    "serafuku",
]
BOXES = 32


def read_lock() -> list[dict]:
    return yaml.safe_load(LOCK.read_text())


def write_models(folder: Path) -> Path:
    """Write every file of config/models.yaml below `folder` as <repo>/<path>; optional ones only where they matter."""
    for lock in read_lock():
        for path in lock["files"]:
            file = folder / lock["repo"] / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content(lock["repo"].split("/")[1], Path(path).name))
    return folder


def write_hub(folder: Path, *repos: str) -> Path:
    """A hub cache that holds the stand-ins of some repositories, as `fetch_models` leaves it."""
    from charaloom.runtime.hub import repository_folder

    for lock in read_lock():
        if lock["repo"] in repos:
            home = repository_folder(folder, lock["repo"], lock["repo_type"])
            (home / "refs").mkdir(parents=True, exist_ok=True)
            (home / "refs" / "main").write_text("1" * 40)
            for path in lock["files"]:
                file = home / "snapshots" / ("1" * 40) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content(lock["repo"].split("/")[1], Path(path).name))
    return folder


def write_vocabulary(folder: Path) -> Path:
    """A hub cache with the boards' vocabulary and the text encoder's words."""
    from charaloom.tagging.lint import CLIP
    from charaloom.tagging.vocabulary import IMPLICATIONS, TAGS

    return write_hub(folder, TAGS[0], IMPLICATIONS[0], CLIP)


def content(repo: str, name: str) -> bytes:
    if name == "meta.json":
        return json.dumps({"labels": LABELS[repo]}).encode()
    if name == "metrics.json":
        return json.dumps({"threshold": 0.17847511429108218}).encode()
    if name == "samples.npz":
        buffer = io.BytesIO()
        np.savez(buffer, np.stack([np.linspace(0, 6, 241), np.linspace(0, 1, 241)]))
        return buffer.getvalue()
    if name == "selected_tags.csv":
        rating = [(index, name, 9) for index, name in enumerate(("general", "sensitive", "questionable", "explicit"))]
        rows = [*rating, *((10 + index, name, 0) for index, name in enumerate(TAGS)), (99, "hana_(charaloom)", 4)]
        lines = [f"{number},{name},{kind},1000\n" for number, name, kind in rows]
        return ("tag_id,name,category,count\n" + "".join(lines)).encode()
    if name == "overlap_tags_simplified.json":
        return json.dumps({"red_kimono": ["kimono"], "school_swimsuit": ["swimsuit"]}).encode()
    if name in ("vocab.json", "merges.txt"):
        return (WORDS / name).read_bytes()
    if repo in DETECTORS:
        return detector(*DETECTORS[repo])
    if repo in LABELS:
        return classifier(ANSWERS[repo])
    makers = {"model_feat.onnx": ccip_features, "model_metrics.onnx": ccip_metric, "model.onnx": tagger}
    return makers[name]()


def model(nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray], names: dict[str, str]) -> bytes:
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "standin", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, names)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def tensor(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def ccip_features() -> bytes:
    rng = np.random.default_rng(1)
    nodes = [
        node("ReduceMean", ["input"], "mean", axes=[2, 3], keepdims=0),
        node("MatMul", ["mean", "weights"], "output"),
    ]
    weights = {"weights": rng.normal(size=(3, 768)).astype(np.float32)}
    return model(nodes, [tensor("input", "batch", 3, "h", "w")], [tensor("output", "batch", 768)], weights, {})


def ccip_metric() -> bytes:
    """(1 - cosine) / 2 of all pairs."""
    constants = {"one": np.float32([1.0]), "half": np.float32([0.5])}
    nodes = [
        node("ReduceL2", ["input"], "length", axes=[1], keepdims=1),
        node("Div", ["input", "length"], "unit"),
        node("Transpose", ["unit"], "turned", perm=[1, 0]),
        node("MatMul", ["unit", "turned"], "cosine"),
        node("Sub", ["one", "cosine"], "apart"),
        node("Mul", ["apart", "half"], "output"),
    ]
    return model(nodes, [tensor("input", "n", 768)], [tensor("output", "n", "m")], constants, {})


def tagger() -> bytes:
    """Mean colour to an embedding of 8 numbers and the scores of all labels; always sure of 1girl, solo and smile."""
    rng = np.random.default_rng(2)
    ratings, tags, character = [4, -4, -6, -6], [4, 4, -3, -3, -3, -3, 2], [-4]
    unseen = [-4] * (len(TAGS) - len(tags))
    sure = [*ratings, *tags, *unseen, *character]
    embedding = rng.normal(size=(3, 8)) / 100
    weights = rng.normal(size=(8, len(sure) - len(unseen))) / 2
    constants = {
        "to_embedding": embedding.astype(np.float32),
        "to_tags": np.insert(weights, [len(ratings + tags)] * len(unseen), 0, axis=1).astype(np.float32),
        "bias": np.float32(sure),
    }
    nodes = [
        node("ReduceMean", ["image"], "mean", axes=[1, 2], keepdims=0),
        node("MatMul", ["mean", "to_embedding"], "embedding"),
        node("Gemm", ["embedding", "to_tags", "bias"], "logits"),
        node("Sigmoid", ["logits"], "output"),
    ]
    outputs = [tensor("output", "batch", len(sure)), tensor("embedding", "batch", 8)]
    return model(nodes, [tensor("image", "batch", 448, 448, 3)], outputs, constants, {})


def classifier(answer: list[float]) -> bytes:
    rng = np.random.default_rng(3)
    constants = {
        "weights": (rng.normal(size=(3, len(answer))) / 10).astype(np.float32),
        "bias": np.float32(answer),
    }
    nodes = [
        node("ReduceMean", ["input"], "mean", axes=[2, 3], keepdims=0),
        node("Gemm", ["mean", "weights", "bias"], "logits"),
        node("Softmax", ["logits"], "output", axis=1),
    ]
    inputs = [tensor("input", "batch", 3, 32, 32)]
    return model(nodes, inputs, [tensor("output", "batch", len(answer))], constants, {})


def detector(label: str, box: tuple[int, int, int, int]) -> bytes:
    """Two possible boxes, left and mirrored right: each as sure as its half of the sheet is not white."""
    left, top, right, bottom = box
    boxes = np.zeros((1, 5, BOXES), np.float32)
    for index, (x0, x1) in enumerate(((left, right), (640 - right, 640 - left))):
        boxes[0, :4, index] = (x0 + x1) / 2, (top + bottom) / 2, x1 - x0, bottom - top
    places = np.zeros((2, 1, 5, BOXES), np.float32)
    places[0, 0, 4, 0] = places[1, 0, 4, 1] = 1
    constants = {
        "boxes": boxes,
        "place_left": places[0],
        "place_right": places[1],
        "gain": np.float32([-60.0]),
        "white": np.float32([0.95]),
        "sure": np.float32([0.9]),
    }
    nodes = []
    for side, (start, end) in {"left": (0, 320), "right": (320, 640)}.items():
        constants |= {
            f"start_{side}": np.int64([1, start]),
            f"end_{side}": np.int64([2, end]),
            f"axes_{side}": np.int64([1, 3]),
        }
        nodes += [
            node("Slice", ["images", f"start_{side}", f"end_{side}", f"axes_{side}"], f"half_{side}"),
            node("ReduceMean", [f"half_{side}"], f"mean_{side}", axes=[0, 1, 2, 3], keepdims=0),
            node("Sub", [f"mean_{side}", "white"], f"darker_{side}"),
            node("Mul", [f"darker_{side}", "gain"], f"logit_{side}"),
            node("Sigmoid", [f"logit_{side}"], f"belief_{side}"),
            node("Mul", [f"belief_{side}", "sure"], f"score_{side}"),
            node("Mul", [f"score_{side}", f"place_{side}"], f"cell_{side}"),
        ]
    nodes += [node("Add", ["boxes", "cell_left"], "one"), node("Add", ["one", "cell_right"], "output0")]
    names = {"names": f"{{0: '{label}'}}", "imgsz": "[640, 640]"}
    return model(nodes, [tensor("images", 1, 3, 640, 640)], [tensor("output0", 1, 5, BOXES)], constants, names)


def one_by_one() -> bytes:
    """A graph whose batch axis is fixed to one, as some taggers were exported: it gives back what it is given."""
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])
    return model([helper.make_node("Identity", ["input"], ["output"])], [given], [result], {}, {})

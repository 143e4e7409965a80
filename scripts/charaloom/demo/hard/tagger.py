"""The hard level's tagger: the demo's own network, with mistakes added to its scores.

The demo's tagger sees drawings that it was made for better than a real one sees a board's. Its embedding stays; of its
scores some drop and some rise, by a hash of the picture's pixels within the graph: the same picture has the same
mistakes on every machine, and every stage still runs an ordinary ONNX file.

How often: so that on hard worlds its tags agree with the boards' tags as WD14's do (SwinV2 v3 on 11,639 posts newer
than itself: micro F1 0.64, macro F1 0.45, at a threshold of 0.35). `make score LEVEL=hard` prints both.
"""

import csv
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import sha256_file, whole_folder, write_json
from charaloom.artifacts.types import PathLike, Row

if TYPE_CHECKING:
    import numpy as np

TAGGER = ("deepghs/wd14_tagger_with_embeddings", "SmilingWolf/wd-swinv2-tagger-v3/model.onnx")
LABELS = ("SmilingWolf/wd-swinv2-tagger-v3", "selected_tags.csv")
GENERAL = "0"  # category of the tags that get mistakes
# Set so that the figures above come out on the hard worlds of seeds 11 and 12; a tag's own rates are up to twice these.
MISSED = 0.07  # mean share of a tag's views in which its score drops
INVENTED = 0.007  # mean share of the other views in which it rises
DROPS_TO, RISES_TO = 0.25, (0.36, 0.85)  # share of the score that is left; scores
PRIME = 1_000_003  # its square fits an int64 with room to spare


def write_models(source: PathLike, lock: list[Row], folder: PathLike, lock_file: PathLike) -> None:
    """Write the picture models of the demo (`source`, `lock`) with the hard level's tagger to `folder`, and their lock.

    `folder` appears whole or not at all.
    """
    repo, path = TAGGER
    labels = Path(source, *LABELS)
    with whole_folder(folder) as part:
        shutil.copytree(source, part, dirs_exist_ok=True)
        write_tagger(Path(source, *TAGGER), labels, part / repo / path)
    changed = [
        {**entry, "files": {**entry["files"], path: sha256_file(Path(folder) / repo / path)}}
        if entry["repo"] == repo
        else entry
        for entry in lock
    ]
    write_json(lock_file, changed)  # JSON is YAML


def write_tagger(source: Path, labels: Path, target: Path) -> None:
    """Write the network of `source` with mistakes in its scores of general tags (`labels`: its selected_tags.csv)."""
    import onnx

    model = onnx.load(source)
    (clean,) = [node for node in model.graph.node if "output" in node.output]
    clean.output[:] = ["clean" if name == "output" else name for name in clean.output]
    with labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    nodes, constants = mistakes(rows, [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim[1:]])
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString(deterministic=True))


def rates(names: list[str]) -> tuple["np.ndarray", "np.ndarray"]:
    """How often each tag is missed and invented [tags]: from none to twice the mean, by the tag's name."""
    import numpy as np

    shares = np.array([unit_hash(name) for name in names]), np.array([unit_hash(f"{name}/invented") for name in names])
    return 2 * MISSED * shares[0], 2 * INVENTED * shares[1]


def unit_hash(text: str) -> float:
    """A number from 0 to 1 that looks random and depends on the text alone."""
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") / 2**32


def mistakes(labels: list[Row], sides: list[int]) -> tuple[list[Any], dict[str, "np.ndarray"]]:
    """Nodes and constants that turn `clean` [n, tags] into `output` [n, tags], given `input` [n, *sides] of bytes.

    A hash of the pixels modulo a prime gives two numbers per picture and tag; integers alone, so that no machine
    rounds them in another way.
    """
    import numpy as np
    from onnx import helper

    general = np.array([row["category"] == GENERAL for row in labels])
    missed, invented = (np.where(general, rate, 0.0) for rate in rates([row["name"] for row in labels]))
    rng = np.random.default_rng(20260000)
    weights = [
        rng.integers(1, 1009, side, dtype=np.int64).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, side in enumerate(sides)
    ]
    constants = {
        "weights": (weights[0] * weights[1] * weights[2] % 1009).astype(np.int64)[None],
        "axes": np.array([1, 2, 3], np.int64),
        "column": np.array([-1, 1], np.int64),
        "prime": np.array(PRIME, np.int64),
        "scale": np.array(1 / PRIME, np.float32),
        "missed": missed.astype(np.float32)[None],
        "not_invented": (1 - invented).astype(np.float32)[None],
        "drop": np.array(DROPS_TO, np.float32),
        "low": np.array(RISES_TO[0], np.float32),
        "range": np.array(RISES_TO[1] - RISES_TO[0], np.float32),
        **{f"factor_{k}": rng.integers(1, PRIME, (1, len(labels)), dtype=np.int64) for k in range(4)},
    }
    nodes = [
        helper.make_node("Cast", ["input"], ["bytes"], to=7),
        helper.make_node("Mul", ["bytes", "weights"], ["weighed"]),
        helper.make_node("ReduceSum", ["weighed", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mod", ["sum", "prime"], ["hash"]),
        helper.make_node("Reshape", ["hash", "column"], ["hashes"]),
    ]
    for chance, (first, second) in {"first": (0, 1), "second": (2, 3)}.items():
        nodes += [
            helper.make_node("Mul", ["hashes", f"factor_{first}"], [f"{chance}_a"]),
            helper.make_node("Mod", [f"{chance}_a", "prime"], [f"{chance}_b"]),
            helper.make_node("Mul", [f"{chance}_b", f"{chance}_b"], [f"{chance}_c"]),
            helper.make_node("Add", [f"{chance}_c", f"factor_{second}"], [f"{chance}_d"]),
            helper.make_node("Mod", [f"{chance}_d", "prime"], [f"{chance}_e"]),
            helper.make_node("Cast", [f"{chance}_e"], [f"{chance}_f"], to=1),
            helper.make_node("Mul", [f"{chance}_f", "scale"], [chance]),
        ]
    return [
        *nodes,
        helper.make_node("Less", ["first", "missed"], ["is_missed"]),
        helper.make_node("Greater", ["first", "not_invented"], ["is_invented"]),
        helper.make_node("Mul", ["clean", "drop"], ["dropped"]),
        helper.make_node("Mul", ["second", "range"], ["above"]),
        helper.make_node("Add", ["above", "low"], ["risen"]),
        helper.make_node("Max", ["clean", "risen"], ["raised"]),
        helper.make_node("Where", ["is_invented", "raised", "clean"], ["with_inventions"]),
        helper.make_node("Where", ["is_missed", "dropped", "with_inventions"], ["output"]),
    ], constants

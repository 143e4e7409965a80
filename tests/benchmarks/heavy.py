"""Picture models that cost what the real ones cost: the demo's models with a stack of random convolutions beside them.

The stack's answer is added with weight zero, so that the detectors still find people; GFLOP per picture are those of
facts/performance.md (tagger 131, CCIP 144, aesthetic 131) and of YOLOv8 m and s at 640 px (79, 29) and MobileNetV3 (1).
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from charaloom.artifacts.files import sha256_file

WIDTH, PATCH = 256, 16
GFLOP = {
    "wd14_tagger_with_embeddings": 131,
    "ccip_onnx": 144,
    "anime_aesthetic": 131,
    "anime_person_detection": 79,
    "anime_face_detection": 29,
    "anime_head_detection": 29,
    "anime_halfbody_detection": 29,
    "anime_classification": 1,
    "anime_rating": 1,
    "monochrome_detect": 1,
    "anime_ai_check": 1,
}


def write_heavy(lock: list[dict[str, Any]], source: Path, target: Path) -> list[dict[str, Any]]:
    """Copy the models to `target`, heavier, and return a lock of their new checksums."""
    shutil.copytree(source, target)
    for entry in lock:
        cost = GFLOP.get(entry["repo"].split("/")[1])
        for path in entry["files"]:
            if cost and path.endswith(".onnx") and "metrics" not in path:
                file = target / entry["repo"] / path
                file.write_bytes(heavier(onnx.load(file), cost).SerializeToString())
    return [
        {**entry, "files": {path: sha256_file(target / entry["repo"] / path) for path in entry["files"]}}
        for entry in lock
    ]


def heavier(model: onnx.ModelProto, gflop: float) -> onnx.ModelProto:
    graph = model.graph
    given, result = graph.input[0], graph.output[0]
    shape = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    side = max(shape)
    cells = (side // PATCH) ** 2
    layers = max(round(gflop * 1e9 / (2 * 9 * WIDTH * WIDTH * cells)), 1)
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], given.name
    if shape[-1] == 3:  # the tagger's pixels come channels last
        nodes.append(helper.make_node("Transpose", [last], ["heavy_planes"], perm=[0, 3, 1, 2]))
        last = "heavy_planes"
    for layer in range(layers + 1):
        first = layer == 0
        kernel = (WIDTH, 3, PATCH, PATCH) if first else (WIDTH, WIDTH, 3, 3)
        scale = np.sqrt(2 / np.prod(kernel[1:]))
        weights.append(numpy_helper.from_array((rng.normal(size=kernel) * scale).astype(np.float32), f"heavy_w{layer}"))
        how = {"strides": [PATCH, PATCH]} if first else {"pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node("Conv", [last, f"heavy_w{layer}"], [f"heavy_c{layer}"], **how))
        nodes.append(helper.make_node("Relu", [f"heavy_c{layer}"], [f"heavy_r{layer}"]))
        last = f"heavy_r{layer}"
    weights.append(numpy_helper.from_array(np.float32(0), "heavy_zero"))
    nodes += [
        helper.make_node("ReduceMean", [last], ["heavy_mean"], keepdims=0),
        helper.make_node("Mul", ["heavy_mean", "heavy_zero"], ["heavy_nothing"]),
        helper.make_node("Add", ["heavy_own", "heavy_nothing"], [result.name]),
    ]
    for node in graph.node:
        node.output[:] = ["heavy_own" if name == result.name else name for name in node.output]
        node.input[:] = ["heavy_own" if name == result.name else name for name in node.input]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    return model

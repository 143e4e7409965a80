"""The demo's picture models as torch networks, and how they are written as ONNX files.

A network is small enough to learn on one CPU core and sees the picture at 128 pixels; the files take the sizes
that imgutils sends (384, 448, 640) and begin by averaging pixels. Weights are stored as float16 and cast when the file
is loaded; batch normalisation is folded into the convolutions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OPSET, IR_VERSION = 17, 8
CCIP_MEAN, CCIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CCIP_SIZE, TAG_SIZE = 768, 1024
GRID, CELL = 8, 80  # the detector's cells, and a cell's edge in the 640 pixels that it is shown


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU or none."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, relu: bool = True, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return torch.relu(x) if self.relu else x


class Residual(nn.Module):
    """relu(x + inner(x))"""

    def __init__(self, *inner: nn.Module):
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


def full(width: int) -> Residual:
    return Residual(Conv(width, width), Conv(width, width, relu=False))


def light(width: int) -> Residual:
    """Each channel by itself over 5 x 5 pixels, then all channels at each pixel: a tenth of the weights."""
    return Residual(Conv(width, width, 5, groups=width), Conv(width, width, 1, relu=False))


class Around(nn.Module):
    """Adds to every place what the whole picture holds."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.mix(x.mean((2, 3))))[:, :, None, None]


class Pooled(nn.Module):
    """Mean and maximum of every channel: [n, c, h, w] to [n, 2c]."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


def described(inputs: int, size: int) -> nn.Sequential:
    """[n, inputs, h, w] to [n, size] around zero: half of it says how much there is of something, half how strongly."""
    return nn.Sequential(Conv(inputs, size // 2, 1, relu=False), Pooled(), nn.BatchNorm1d(size))


class Who(nn.Module):
    """One trunk for two models: who it is (CCIP) and what is seen (the tagger). Takes [n, 3, 128, 128] in -1..1."""

    def __init__(self, tags: int, attributes: Sequence[int]):
        super().__init__()
        first = Conv(3, 24, stride=2)
        self.trunk = nn.Sequential(first, Conv(24, 36, stride=2), full(36), Conv(36, 72, stride=2), full(72))
        self.identity = nn.Sequential(Conv(72, 96, stride=2), full(96), described(96, CCIP_SIZE))
        self.embedding = nn.Sequential(Conv(72, 96, stride=2), full(96), described(96, TAG_SIZE))
        self.tags = nn.Linear(TAG_SIZE, tags)
        # Only for learning: hair, eyes and so on must be readable from the identity.
        self.attributes = nn.ModuleList(nn.Linear(CCIP_SIZE, number) for number in attributes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Identity [n, 768] and tag logits [n, tags]."""
        seen = self.trunk(x)
        return self.identity(seen), self.tags(self.embedding(seen))


class Where(nn.Module):
    """Detector: [n, 3, 128, 128] to [n, kinds, 5, 8, 8], for each cell a score's logit, the centre and the size."""

    def __init__(self, kinds: int):
        super().__init__()
        self.kinds = kinds
        self.trunk = nn.Sequential(
            Conv(3, 16, stride=2),
            Conv(16, 24, stride=2),
            full(24),
            Conv(24, 48, stride=2),
            light(48),
            light(48),
            Conv(48, 64, 5, stride=2, groups=16),
            Conv(64, 64, 1),
            light(64),
            Around(64),
            light(64),
            light(64),
        )
        self.heads = nn.ModuleList(nn.Sequential(light(64), nn.Conv2d(64, 5, 1)) for _ in range(kinds))
        for head in self.heads:
            nn.init.constant_(head[1].bias[:1], -3.0)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.trunk(x)
        return torch.stack([head(seen) for head in self.heads], 1)


class Sort(nn.Module):
    """What sort of picture: [n, 3, 128, 128] to the logits of several questions."""

    def __init__(self, questions: Sequence[int]):
        super().__init__()
        self.trunk = nn.Sequential(
            Conv(3, 16, stride=2),
            Conv(16, 28, stride=2),
            full(28),
            Conv(28, 48, stride=2),
            light(48),
            Conv(48, 64, 5, stride=2, groups=16),
            Conv(64, 64, 1),
            Pooled(),
        )
        self.heads = nn.ModuleList(nn.Linear(128, number) for number in questions)

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = self.trunk(x)
        return [head(seen) for head in self.heads]


# --------------------------------------------------------------------------------------------------------------- ONNX


class Graph:
    """Builds an ONNX graph node by node; values have names."""

    def __init__(self, name: str):
        self.name = name
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.count = 0

    def value(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def op(self, kind: str, *inputs: str, result: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        result = result or self.value()
        self.nodes.append(helper.make_node(kind, list(inputs), [result], **attributes))
        return result

    def constant(self, array: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, array: np.ndarray) -> str:
        """A constant kept in half precision."""
        from onnx import TensorProto

        if array.size < 64:
            return self.constant(array.astype(np.float32))
        return self.op("Cast", self.constant(array.astype(np.float16)), to=TensorProto.FLOAT)

    def average(self, x: str, by: int) -> str:
        return self.op("AveragePool", x, kernel_shape=[by, by], strides=[by, by])

    def scale(self, x: str, by: Any, plus: Any) -> str:
        """Each channel of [n, c, h, w] times and plus a number."""
        by, plus = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (by, plus))
        return self.op("Add", self.op("Mul", x, self.constant(by)), self.constant(plus))

    def linear(self, x: str, layer: nn.Linear, result: str | None = None) -> str:
        weight, bias = self.weight(array(layer.weight)), self.constant(array(layer.bias))
        return self.op("Gemm", x, weight, bias, transB=1, result=result)

    def layer(self, x: str, layer: nn.Module) -> str:
        """What a module computes, by its kind."""
        if isinstance(layer, nn.Sequential):
            for inner in layer:
                x = self.layer(x, inner)
            return x
        if isinstance(layer, Conv):
            x = self.convolution(x, layer.conv, *folded(layer))
            return self.op("Relu", x) if layer.relu else x
        if isinstance(layer, nn.Conv2d):
            return self.convolution(x, layer, array(layer.weight), array(layer.bias))
        if isinstance(layer, Residual):
            return self.op("Relu", self.op("Add", x, self.layer(x, layer.inner)))
        if isinstance(layer, Around):
            mean = self.op("ReduceMean", x, axes=[2, 3], keepdims=0)
            context = self.op("Relu", self.linear(mean, layer.mix))
            return self.op("Add", x, self.op("Unsqueeze", context, self.constant(np.array([2, 3], np.int64))))
        if isinstance(layer, Pooled):
            parts = [self.op(kind, x, axes=[2, 3], keepdims=0) for kind in ("ReduceMean", "ReduceMax")]
            return self.op("Concat", *parts, axis=1)
        if isinstance(layer, nn.BatchNorm1d):
            scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
            scaled = self.op("Mul", x, self.constant(array(scale)))
            return self.op("Add", scaled, self.constant(array(layer.bias - layer.running_mean * scale)))
        if isinstance(layer, nn.Linear):
            return self.linear(x, layer)
        raise TypeError(f"no ONNX form for {type(layer).__name__}")

    def convolution(self, x: str, conv: nn.Conv2d, weight: np.ndarray, bias: np.ndarray) -> str:
        pad = conv.padding[0]
        return self.op(
            "Conv",
            x,
            self.weight(weight),
            self.constant(bias.astype(np.float32)),
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[pad] * 4,
            group=conv.groups,
        )

    def save(
        self,
        path: Path,
        inputs: dict[str, Sequence[int | str]],
        outputs: dict[str, Sequence[int | str]],
        metadata: dict[str, str] | None = None,
    ) -> None:
        import onnx
        from onnx import TensorProto, helper

        from charaloom.artifacts.files import whole_file

        def declared(values: dict[str, Sequence[int | str]]) -> list[Any]:
            facts = values.items()
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in facts]

        graph = helper.make_graph(self.nodes, self.name, declared(inputs), declared(outputs), self.weights)
        model = helper.make_model(
            graph, producer_name="charaloom", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        if metadata:
            helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        with whole_file(path) as part:
            part.write_bytes(model.SerializeToString(deterministic=True))


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy()


def folded(layer: Conv) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of the convolution with its normalisation."""
    norm = layer.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return array(layer.conv.weight * scale[:, None, None, None]), array(norm.bias - norm.running_mean * scale)


def write_ccip(model: Who, path: Path) -> None:
    graph = Graph("ccip_features")
    x = graph.average("input", 3)  # 384 to 128
    x = graph.scale(x, np.array(CCIP_STD) * 2, np.array(CCIP_MEAN) * 2 - 1)
    graph.op("Identity", graph.layer(graph.layer(x, model.trunk), model.identity), result="output")
    graph.save(path, {"input": ["batch", 3, 384, 384]}, {"output": ["batch", CCIP_SIZE]})


def write_ccip_metrics(scale: float, path: Path) -> None:
    """Distances `scale` · (1 - cosine) of all pairs."""
    graph = Graph("ccip_metrics")
    norm = graph.op("ReduceL2", "input", axes=[1], keepdims=1)
    unit = graph.op("Div", "input", graph.op("Max", norm, graph.constant(np.array([1e-8], np.float32))))
    cosine = graph.op("MatMul", unit, graph.op("Transpose", unit, perm=[1, 0]))
    away = graph.op("Sub", graph.constant(np.array(1, np.float32)), cosine)
    graph.op("Mul", away, graph.constant(np.array(scale, np.float32)), result="output")
    graph.save(path, {"input": ["batch", CCIP_SIZE]}, {"output": ["batch", "batch"]})


def write_tagger(model: Who, path: Path) -> None:
    """Takes BGR in 0..255, channels last."""
    graph = Graph("tagger")
    x = graph.op("Transpose", "input", perm=[0, 3, 1, 2])
    x = graph.op("Gather", x, graph.constant(np.array([2, 1, 0], np.int64)), axis=1)
    x = graph.average(x, 2)  # 448 to 224, then to 128
    sizes = graph.constant(np.array([128 / 224], np.float32).repeat(4) ** np.array([0, 0, 1, 1], np.float32))
    x = graph.op("Resize", x, "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    x = graph.scale(x, 1 / 127.5, -1)
    graph.op("Identity", graph.layer(graph.layer(x, model.trunk), model.embedding), result="embedding")
    graph.op("Sigmoid", graph.linear("embedding", model.tags), result="output")
    number = model.tags.out_features
    shapes: dict[str, Sequence[int | str]] = {"output": ["batch", number], "embedding": ["batch", TAG_SIZE]}
    graph.save(path, {"input": ["batch", 448, 448, 3]}, shapes)


def write_detector(model: Where, kind: int, label: str, path: Path) -> None:
    """Boxes in YOLO's form, [n, 5, 64]; a cell keeps its score where no neighbour's is higher."""
    from onnx import TensorProto, helper

    graph = Graph(f"{label}_detector")
    x = graph.scale(graph.average("images", 5), 2, -1)  # 640 to 128
    x = graph.layer(graph.layer(x, model.trunk), model.heads[kind])
    parts = [graph.value() for _ in range(3)]
    split = graph.constant(np.array([1, 2, 2], np.int64))
    graph.nodes.append(helper.make_node("Split", [x, split], parts, axis=1))
    score = graph.op("Sigmoid", parts[0])
    around = graph.op("MaxPool", score, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    peak = graph.op("Cast", graph.op("Equal", score, around), to=TensorProto.FLOAT)
    score = graph.op("Mul", score, peak)
    y, column = np.mgrid[0:GRID, 0:GRID].astype(np.float32)
    centre = graph.op("Add", parts[1], graph.constant(np.stack([column, y])[None]))
    centre = graph.op("Mul", centre, graph.constant(np.array(CELL, np.float32)))
    size = graph.op("Mul", graph.op("Sigmoid", parts[2]), graph.constant(np.array(CELL * GRID * 1.1, np.float32)))
    cells = graph.op("Concat", centre, size, score, axis=1)
    graph.op("Reshape", cells, graph.constant(np.array([0, 5, GRID * GRID], np.int64)), result="output0")
    names = {"names": str({0: label}), "imgsz": "[640, 640]"}
    graph.save(path, {"images": ["batch", 3, 640, 640]}, {"output0": ["batch", 5, GRID * GRID]}, names)


def write_sorter(model: Sort, question: int, name: str, path: Path) -> None:
    graph = Graph(name)
    seen = graph.layer(graph.average("input", 3), model.trunk)  # 384 to 128
    graph.op("Softmax", graph.linear(seen, model.heads[question]), axis=1, result="output")
    labels = model.heads[question].out_features
    graph.save(path, {"input": ["batch", 3, 384, 384]}, {"output": ["batch", labels]})

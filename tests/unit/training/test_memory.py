"""What a training takes of a GPU's memory, reckoned without one."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from charaloom.config.families import FAMILIES
from charaloom.config.project import load_project
from charaloom.runtime.gpus import Gpu
from charaloom.training.memory import GIB, advice, memory_report, need_of
from charaloom.weights.architectures import SHIPPED, part_shapes, read_config
from tests.real_size import write_project
from tests.small_bases import write_base
from tests.unit.training.trainings import params

SDXL = {"family": "sdxl", "clip_skip": 0, "resolution": 1024, "batch": 1, "rank": 16, "by_pictures": []}
LEAST = {"gradient_checkpointing": True, "optimizer": "adamw8bit", "rate_text": 0, "vectors": 0}
ADAPTED = re.compile(r".*(\.attn\d\.|\.ff\.|\.self_attn\.|\.mlp\.).*weight")


def need(precision: str = "bf16", **other: Any) -> Any:
    return need_of(params(Path("base"), **{**SDXL, **other}).settled(0), precision)


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_those_of_the_architecture(family: str) -> None:
    parts: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for part in FAMILIES[family].weights:
        kind = "text" if part.startswith("text_encoder") else part
        parts.setdefault(kind, []).extend(part_shapes(part, read_config(SHIPPED / family, part)).items())
    sizes = FAMILIES[family].footprint
    assert (sizes.unet, sizes.text) == tuple(
        sum(math.prod(shape) for _, shape in parts[kind]) for kind in ("unet", "text")
    )
    adapted = [sum(sum(shape) for name, shape in parts[kind] if ADAPTED.fullmatch(name)) for kind in ("unet", "text")]
    assert [sizes.lora_unet, sizes.lora_text] == adapted


def test_sdxl_fits_where_it_should() -> None:
    assert need(gradient_checkpointing=True).total <= 11 * GIB
    assert need(**LEAST).total <= 8 * GIB
    assert need().total > 12 * GIB
    assert sum(need().parts.values()) == need().total
    assert need("fp32").total > 1.8 * need("bf16").total


def test_what_makes_it_fit_is_named_in_the_order_to_try() -> None:
    training = params(Path("base"), **{**SDXL, "batch": 4}).settled(0)
    assert advice(training, "bf16", 24 * GIB).startswith("with `gradient_checkpointing: true` it takes")
    assert "`gradient_checkpointing: true`, `optimizer: adamw8bit`, `batch: 1`" in advice(training, "bf16", 9 * GIB)
    assert advice(training, "fp32", 6 * GIB).startswith("it fits with no setting of sdxl at 1024 px")


def test_check_says_what_does_not_fit(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "sdxl")
    project = load_project([write_project(tmp_path, base, 1024, {"threads": 1})])
    fits, lines = memory_report(project, [])
    assert fits
    assert "no NVIDIA GPU" in lines[0]
    assert any("fits into" in line for line in lines)
    fits, lines = memory_report(project, [Gpu("small", 12 * GIB, 11 * GIB, 8.6), Gpu("large", 80 * GIB, 79 * GIB, 9.0)])
    assert not fits
    assert lines[0] == "small: 12.0 GB, 11.0 GB free"
    assert any("does not fit: with `" in line for line in lines)
    fits, _ = memory_report(project, [Gpu("large", 80 * GIB, 79 * GIB, 9.0)])
    assert fits

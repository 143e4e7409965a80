"""The trainer's config: plain data, whatever the params hold."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from charaloom.diffusion.bases import local_base
from charaloom.errors import CharaloomError
from charaloom.training.lengths import milestones
from charaloom.training.trainer_config import hcp_config
from tests.unit.training.trainings import params


def test_config_is_plain_data(tiny_base: Path, tmp_path: Path) -> None:
    chosen = params(tiny_base).settled(8)
    base = local_base(chosen.base, tmp_path)
    source = hcp_config("hana", chosen, base)
    tree = ast.parse(source)
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not any("${" in text or "---" in text for text in strings), "OmegaConf would evaluate it"
    assert str(tiny_base) not in source
    for key in ("rank", "steps", "alpha"):
        with pytest.raises((ValueError, TypeError)):
            hcp_config("hana", replace(chosen, **{key: "4, __import__('os').system('true')"}), base)
    with pytest.raises(CharaloomError, match="names consist of"):
        hcp_config("hana}'); print(1)", chosen, base)


def test_config_without_embedding_or_text_encoder(tiny_base: Path, tmp_path: Path) -> None:
    chosen = params(tiny_base, vectors=0, rate_text=0.0).settled(8)
    source = hcp_config("hana", chosen, local_base(chosen.base, tmp_path))
    ast.parse(source)
    assert "emb_pt=None" in source
    assert "lora_te" not in source
    assert "word=None" in source


@pytest.mark.parametrize(("steps", "every", "expected"), [(10, 5, [5, 10]), (7, 3, [3, 6, 7]), (3, 9, [3])])
def test_milestones_are_multiples_and_the_last_step(
    steps: int, every: int, expected: list[int], tiny_base: Path
) -> None:
    assert milestones(params(tiny_base, steps=steps, save_every=every).settled(8)) == expected

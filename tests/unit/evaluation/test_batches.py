"""Batches: of even size, and under a key of everything that decides their pictures."""

from dataclasses import replace
from pathlib import Path

import pytest

from charaloom.config.families import family_of
from charaloom.config.params import Previews
from charaloom.diffusion.bases import LocalBase, without_paths
from charaloom.diffusion.checkpoints import Checkpoint
from charaloom.evaluation.batches import SOFTWARE, batches_of, even_parts, resolved
from charaloom.evaluation.prompts import Prompt

BASE = {"name": "demo", "path": "/here/demo", "repo": None, "revision": None, "family": "sd15", "clip_skip": 1}
VALUES = {
    "version": 1,
    "bases": [{**BASE, "licence": "mit"}, {**BASE, "name": "far", "licence": "mit"}],
    "width": 64,
    "height": 64,
    "steps": 2,
    "seeds": 1,
    "scenes": 2,
    "weights": [0.5, 1.0],
    "sweep": 0.25,
    "batch": 4,
    "rating_model": 0.5,
    "memorised": 0.85,
    "threads": 1,
    "precision": "fp32",
    "seed": 7,
    "selection": {"scores": {"recognised": 1}, "first": 0.25, "keep": 0.5},
}
PARAMS = Previews.of(VALUES)
LOCAL = {"demo": LocalBase("demo", family_of("sd15"), Path("/here/demo"), "d1gest", PARAMS.bases[0])}
PROMPTS = [Prompt(f"p{number}", "outfit", "red", "hana", number, ("smile",)) for number in range(9)]
STEP = Checkpoint("step-000100", 100)


def keys(params: Previews = PARAMS, checkpoint: Checkpoint = STEP, judged_by: tuple[str, ...] = ("a",)) -> list[str]:
    made = resolved(params, LOCAL)
    return [batch.key for batch in batches_of("hana", made, made.bases[0], checkpoint, PROMPTS, 1, judged_by)]


def test_what_a_lineage_records_is_the_config_with_digests_and_versions_and_without_paths():
    recorded = without_paths(resolved(PARAMS, LOCAL).plain())
    demo, far = ({key: value for key, value in base.plain().items() if key != "path"} for base in PARAMS.bases)
    software = recorded.pop("software")
    assert recorded == {**VALUES, "bases": [{**demo, "digest": "d1gest"}, far]}
    assert list(software) == list(SOFTWARE)


@pytest.mark.parametrize(("prompts", "most", "sizes"), [(9, 4, [3, 3, 3]), (4, 4, [4]), (5, 4, [3, 2]), (0, 4, [])])
def test_batches_are_few_and_about_as_large(prompts, most, sizes):
    assert [len(part) for part in even_parts(PROMPTS[:prompts], most)] == sizes


def test_a_key_changes_with_what_decides_the_pictures_and_with_nothing_else():
    assert keys() == keys()
    assert len(set(keys())) == 3
    changed = [
        keys(replace(PARAMS, steps=3)),
        keys(replace(PARAMS, memorised=0.9)),
        keys(checkpoint=STEP.weighing(0.5)),
        keys(judged_by=("b",)),
    ]
    assert len({key for some in [keys(), *changed] for key in some}) == 15
    elsewhere = tuple(replace(base, path="/there") for base in PARAMS.bases)
    assert keys(replace(PARAMS, bases=elsewhere, scenes=5, sweep=1.0)) == keys()

"""A thousand characters: what one of them changes concerns her alone."""

from pathlib import Path

import pytest

from charaloom.config.stages import STAGES
from tests.benchmarks import plan


@pytest.mark.slow
def test_one_of_a_thousand_characters_config_entry_changed_plans_only_its_jobs(tmp_path: Path) -> None:
    plan.make_roster(tmp_path, 1000)
    plan.finish(tmp_path, 1000)
    plan.change_one(tmp_path, 500)
    said = plan.snakemake(tmp_path, "--dry-run")
    planned = [line.strip() for line in said.splitlines() if line.strip().startswith("wildcards: ")]
    assert {word.split(",")[0] for word in planned} == {"wildcards: character=c00500"}
    assert len(planned) == len(STAGES)

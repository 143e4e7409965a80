"""Many characters: what one of them changes concerns that one alone. `make bench-plan` plans a thousand."""

from pathlib import Path

import pytest

from charaloom.config.stages import STAGES
from tests.benchmarks import plan

NUMBER, CHANGED = 100, 50


@pytest.mark.slow
def test_one_of_many_characters_config_entry_changed_plans_only_its_jobs(tmp_path: Path) -> None:
    plan.make_roster(tmp_path, NUMBER)
    plan.finish(tmp_path, NUMBER)
    plan.change_one(tmp_path, CHANGED)
    said = plan.snakemake(tmp_path, "--dry-run")
    planned = [line.strip() for line in said.splitlines() if line.strip().startswith("wildcards: ")]
    assert {word.split(",")[0] for word in planned} == {f"wildcards: character={plan.name_of(CHANGED)}"}
    assert len(planned) == len(STAGES)

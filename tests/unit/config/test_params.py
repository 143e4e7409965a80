"""The dataclasses of the stages: their fields are the schema's keys, and they give back what they were made of."""

from dataclasses import fields
from pathlib import Path

import pytest

from charaloom.artifacts.files import canonical_json
from charaloom.artifacts.typed import Params
from charaloom.config.layers import DEFAULTS, read_config
from charaloom.config.params import STAGE_PARAMS, Settings
from charaloom.config.project import Project, open_project
from charaloom.config.schemas import schema
from charaloom.config.stage_params import publish_params, stage_params
from charaloom.config.stages import STAGES

FACTS = {  # what a stage reads besides its own section (`stage_params.facts_of`)
    "raw": {"sources", "age", "seed", "removals"},
    "filtered": {"seed", "tag", "ratings", "blocked"},
    "tagged": {"tag", "trigger"},
    "clustered": {"seed", "trigger", "captions"},
    "outfits": {"seed", "prefix", "suffix"},
    "checkpoints": {"seed", "trigger", "regularisation_digest", "previews", "by_pictures"},
    "previews": {"seed", "selection"},
    "dataset": {"repositories", "contact", "policy"},
    "model": {"base", "repositories", "contact", "policy"},
    "published": {"target", "policy", "roster"},
}
SECTIONS = {"checkpoints": "training"}
UNREAD = {  # change no byte, or stand elsewhere
    "measured": {"threads"},
    "checkpoints": {"warm_seconds"},
    "previews": {"negative", "guidance"},
    "published": {"targets", "contact"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_fields_of_a_stage_are_the_keys_of_its_section(stage: str) -> None:
    section = schema("config")["properties"].get(SECTIONS.get(stage, stage), {"properties": {}})
    keys = set(section["properties"]) - UNREAD.get(stage, set())

    assert {entry.name for entry in fields(STAGE_PARAMS[stage])} == keys | FACTS.get(stage, set()) | {"version"}


def test_settings_are_what_a_recipe_may_set() -> None:
    assert {entry.name for entry in fields(Settings)} == set(schema("config")["$defs"]["settings"]["properties"])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two characters, one with a folder and one of a board, on the defaults."""
    (tmp_path / "pictures").mkdir()
    rows = [f"hana\tfolder\t{tmp_path / 'pictures'}", "mei\tdanbooru\tmei_(series)"]
    (tmp_path / "characters.tsv").write_text("\n".join(["character\tsource\tquery", *rows]) + "\n")
    config = read_config([DEFAULTS]) | {"roster": str(tmp_path / "characters.tsv")}
    config["training"]["early_stopping"] = 2
    return open_project(config, [DEFAULTS])


@pytest.mark.parametrize("character", ["hana", "mei"])
@pytest.mark.parametrize("stage", STAGES)
def test_params_give_back_what_they_were_made_of(stage: str, character: str, project: Project) -> None:
    if stage == "published":
        values = publish_params(project, character, "folder")
    else:
        values = stage_params(project, character, stage)

    assert canonical_json(STAGE_PARAMS[stage].of(values).plain()) == canonical_json(values)


def test_an_unknown_key_is_refused(project: Project) -> None:
    with pytest.raises(TypeError, match="unheard_of"):
        Params.of({"unheard_of": 1})

"""Families: every record is complete, and its loaders find what it names."""

from dataclasses import fields
from pathlib import Path

import pytest

from charaloom.artifacts.files import read_json
from charaloom.config.families import FAMILIES, Family, family_of
from charaloom.config.layers import DEFAULTS, read_config
from charaloom.config.params import Base
from charaloom.config.recipes import largest_resolution
from charaloom.config.schemas import schema
from charaloom.diffusion.bases import LocalBase, local_base
from charaloom.diffusion.lora import UNET_NAMES, kohya_module
from charaloom.diffusion.pipelines import BasePipeline
from charaloom.errors import CharaloomError

SCHEMA = schema("config")
MAY_BE_EMPTY = {"clip_skip", "extra_clip_skip", "final_norm", "trainer_name", "projected", "padding"}


@pytest.fixture(params=FAMILIES.values(), ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture
def base(family: Family, request: pytest.FixtureRequest, tmp_path: Path) -> LocalBase:
    """A tiny base of the family; a new family adds a line here."""
    fixture = {"sd15": "tiny_base", "sdxl": "tiny_sdxl"}[family.name]
    path = str(request.getfixturevalue(fixture))
    return local_base(Base(name="tiny", family=family.name, clip_skip=1, licence="mit", path=path), tmp_path)


def test_the_schema_names_exactly_the_families_that_have_a_record() -> None:
    assert SCHEMA["properties"]["bases"]["additionalProperties"]["properties"]["family"]["enum"] == [*FAMILIES, None]
    recipes = SCHEMA["properties"]["recipes"]["additionalProperties"]["properties"]
    assert list(recipes["by_family"]["properties"]) == list(FAMILIES)


def test_a_family_without_a_record_is_named() -> None:
    with pytest.raises(CharaloomError, match="family `sd3` is not one of sd15, sdxl"):
        family_of("sd3")


def test_every_record_is_complete(family: Family) -> None:
    for record in (family, *family.text_encoders):
        for entry in fields(record):
            assert entry.name in MAY_BE_EMPTY or getattr(record, entry.name), f"{record}: {entry.name}"
    assert family_of(family.name) is family
    assert set(family.weights) <= set(family.parts)
    assert {part for encoder in family.text_encoders for part in (encoder.encoder, encoder.tokenizer)} <= {
        *family.parts
    }
    for own in ("embedding_key", "lora_prefix", "trainer_name"):
        assert len({getattr(encoder, own) for encoder in family.text_encoders}) == len(family.text_encoders)


def test_recipes_train_at_the_native_resolution(family: Family) -> None:
    config = read_config([DEFAULTS])
    config["bases"][config["training"]["base"]]["family"] = family.name
    assert largest_resolution(config) == family.resolution


def test_the_libraries_have_what_a_record_names(family: Family) -> None:
    import diffusers
    from hcpdiff import easy

    from charaloom.training.hcp import captions

    assert hasattr(diffusers, family.pipeline)
    assert hasattr(easy, family.trainer_loader)
    assert hasattr(captions, family.trainer_wrapper)
    assert family.unet_names in UNET_NAMES


def test_the_loaders_open_a_base_of_the_family(base: LocalBase, family: Family) -> None:
    from charaloom.training.hcp.process import load_base
    from charaloom.training.hcp.text import text_encoders

    assert read_json(base.folder / "unet" / "config.json")["in_channels"] == family.latent_channels
    assert base.prediction in family.predictions
    pipeline = BasePipeline(base, threads=1).pipeline
    assert type(pipeline).__name__ == family.pipeline
    assert getattr(pipeline, "safety_checker", None) is None
    assert getattr(pipeline, "watermark", None) is None
    trainer_models = type("Models", (), load_base(str(base.folder), family.name))
    assert tuple(text_encoders(trainer_models)) == family.embedding_keys


def test_kohya_names_of_each_text_encoder(family: Family) -> None:
    for encoder in family.text_encoders:
        start = f"{encoder.trainer_name}." if encoder.trainer_name else ""
        name = kohya_module("TE", f"{start}text_model.encoder.layers.0.mlp.fc1", family)
        assert name == f"{encoder.lora_prefix}text_model_encoder_layers_0_mlp_fc1"

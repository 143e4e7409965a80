"""Our tensors of an architecture, and our names of the original layout, against diffusers and transformers."""

from pathlib import Path

import pytest

from charaloom.weights.architectures import SHIPPED, part_shapes, read_config
from charaloom.weights.layouts import places_of


@pytest.fixture
def folders(tiny_base: Path, tiny_sdxl: Path) -> list[Path]:
    return [SHIPPED / "sd15", SHIPPED / "sdxl", tiny_base, tiny_sdxl]


def test_tensors_are_those_of_the_libraries(folders: list[Path]) -> None:
    for folder in folders:
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            if (folder / part).is_dir():
                assert part_shapes(part, read_config(folder, part)) == of_library(folder, part), (folder, part)


def of_library(folder: Path, part: str) -> dict[str, tuple[int, ...]]:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = read_config(folder, part)
    with torch.device("meta"):
        if part == "unet":
            model = UNet2DConditionModel.from_config(config)
        elif part == "vae":
            model = AutoencoderKL.from_config(config)
        else:
            kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            model = kind(CLIPTextConfig(**{key: value for key, value in config.items() if key != "model_type"}))
    tensors = model.state_dict().items()
    return {name: tuple(value.shape) for name, value in tensors if not name.endswith("position_ids")}


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_names_of_the_original_layout_are_those_that_diffusers_reads(family: str) -> None:
    import torch
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    for part, convert, first in (
        ("unet", convert_ldm_unet_checkpoint, "model.diffusion_model.input_blocks.0.0.weight"),
        ("vae", convert_ldm_vae_checkpoint, "first_stage_model.decoder.conv_in.weight"),
    ):
        config = read_config(SHIPPED / family, part)
        shapes = part_shapes(part, config)
        places = places_of(part, config, shapes, {first})
        assert places
        tensors = {place.name: torch.empty(shapes[name], device="meta") for name, place in places.items()}
        converted = convert(dict(tensors), dict(config))
        assert converted.keys() == shapes.keys()
        assert all(converted[name] is tensors[place.name] for name, place in places.items())

"""Previews of the demo's bases are the pictures that the same text states give elsewhere, with and without a skip."""

from typing import Any

import numpy as np
import pytest
import torch

from charaloom.config.bases import preview_base, preview_bases
from charaloom.config.families import SD15
from charaloom.config.layers import DEFAULTS, read_config
from charaloom.config.params import PreviewBase
from charaloom.config.schemas import Config
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import NOTHING
from charaloom.diffusion.pipelines import BasePipeline
from tests.unit.diffusion.test_pipelines import SETTINGS
from tests.unit.diffusion.test_prompt_encoding import layer, rows_of

PROMPT, SEED = "1girl, solo, blue hair, red kimono, portrait, smile", 11
SIDE, STEPS = 64, 5
NEAR = 1  # of 255
DEMO: Config = read_config([DEFAULTS, DEFAULTS.with_name("small.yaml")])


def states_of(pipeline: Any, text: str, skip: int) -> torch.Tensor:
    """The states [1, 77, width] of a text, layer by layer."""
    encoder = pipeline.text_encoder
    states = layer(encoder, rows_of(pipeline.tokenizer, text, pipeline.tokenizer.eos_token_id), 2 - skip)
    return encoder.text_model.final_layer_norm(states)


def by_diffusers(pipeline: Any, entry: PreviewBase, positive: torch.Tensor, negative: torch.Tensor) -> np.ndarray:
    """The picture that the sampler of diffusers makes of text states; where its formulas are those of ComfyUI."""
    from diffusers import DPMSolverMultistepScheduler

    config = pipeline.scheduler.config
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    picture = pipeline(
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        width=SIDE,
        height=SIDE,
        num_inference_steps=STEPS,
        guidance_scale=entry.guidance,
        generator=torch.Generator("cpu").manual_seed(SEED),
    ).images[0]
    return np.asarray(picture, float)


@pytest.mark.parametrize("name", preview_bases(DEMO))
def test_a_preview_is_the_picture_of_its_text_states(name: str):
    entry = PreviewBase.of(preview_base(DEMO, name))
    base = BasePipeline(LocalBase(name, SD15, DEFAULTS.parents[1] / entry.path, "", entry), 1)
    params = SETTINGS.of({**SETTINGS.plain(), "width": SIDE, "height": SIDE, "steps": STEPS})
    ours = np.asarray(base.render(NOTHING, [PROMPT], [SEED], params)[0], float)
    prompt = f"{entry.prefix}, {PROMPT}" if entry.prefix else PROMPT
    with torch.inference_mode():
        positive, negative = (states_of(base.pipeline, text, entry.clip_skip) for text in (prompt, entry.negative))
        theirs = by_diffusers(base.pipeline, entry, positive, negative)
        assert np.abs(ours - theirs).max() <= NEAR
        if entry.clip_skip:
            unskipped = states_of(base.pipeline, entry.negative, 0)
            assert np.abs(by_diffusers(base.pipeline, entry, positive, unskipped) - theirs).max() > 20 * NEAR


def test_the_demo_has_a_skip_and_a_prefix():
    entries = [preview_base(DEMO, name) for name in preview_bases(DEMO)]
    assert [entry["clip_skip"] for entry in entries] == [0, 0, 1]
    assert [bool(entry["prefix"]) for entry in entries] == [False, True, False]

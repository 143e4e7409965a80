"""Text states: those of both prompts that ComfyUI and A1111 compute, restated here with transformers alone."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from charaloom.config.families import SD15, SDXL
from charaloom.diffusion.chunks import in_chunks
from charaloom.diffusion.pipelines import open_pipeline
from charaloom.diffusion.prompt_encoding import PromptEncoder, TextStates, Word, batched, token_groups

LONG = ", ".join(f"blue girl {number}" for number in range(40))
PROMPTS = ["", "1girl, blue hair", LONG]


def rows_of(tokenizer: Any, text: str, padding: int) -> torch.Tensor:
    """Token numbers [chunks, 77]: plain chunks of 75, each with start and end."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    chunks = [ids[start : start + 75] for start in range(0, max(len(ids), 1), 75)]
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    return torch.tensor([[start, *chunk, end, *[padding] * (75 - len(chunk))] for chunk in chunks])


def layer(model: Any, rows: torch.Tensor, number: int) -> torch.Tensor:
    """Output [chunks, 77, width] of the first `number` layers, one after another, each place seeing those before."""
    text = model.text_model
    states = text.embeddings(input_ids=rows)
    seen = torch.full((77, 77), float("-inf")).triu(1)[None, None]
    for block in text.encoder.layers[:number]:
        states = block(states, attention_mask=seen)
        states = states[0] if isinstance(states, tuple) else states
    return states


@pytest.mark.parametrize("skip", [0, 1])
def test_sd15_takes_a_layer_and_the_last_norm(tiny_base: Path, skip: int):
    pipeline = open_pipeline(tiny_base, SD15, 1)
    text, encoder = pipeline.text_encoder, PromptEncoder(pipeline, SD15, skip)
    with torch.inference_mode():
        for prompt in PROMPTS:
            rows = rows_of(pipeline.tokenizer, prompt, pipeline.tokenizer.eos_token_id)
            states = layer(text, rows, text.config.num_hidden_layers - skip)
            theirs = text.text_model.final_layer_norm(states).reshape(-1, 32)
            ours = encoder.encode(prompt)
            assert ours.pooled is None
            assert ours.states.shape == theirs.shape
            assert (ours.states - theirs).abs().max() < 1e-5
    assert len(ours.states) > 3 * 77, "nothing is cut"


def test_sdxl_takes_the_last_layer_but_one_without_a_norm(tiny_sdxl: Path):
    pipeline = open_pipeline(tiny_sdxl, SDXL, 1)
    encoder, large = PromptEncoder(pipeline, SDXL, 0), pipeline.text_encoder_2
    with torch.inference_mode():
        for prompt in PROMPTS:
            rows = [rows_of(pipeline.tokenizer, prompt, pipeline.tokenizer.eos_token_id)]
            rows += [rows_of(pipeline.tokenizer_2, prompt, 0)]  # its own padding: the token of `!`
            models = (pipeline.text_encoder, large)
            parts = [layer(model, tokens, 2) for model, tokens in zip(models, rows, strict=True)]
            last = large.text_model.final_layer_norm(layer(large, rows[1][:1], 3))
            end = rows[1][0].tolist().index(pipeline.tokenizer_2.eos_token_id)
            ours = encoder.encode(prompt)
            assert (ours.states - torch.cat(parts, dim=-1).reshape(-1, 80)).abs().max() < 1e-5
            assert (ours.pooled - last[0, end] @ large.text_projection.weight.T).abs().max() < 1e-5


def test_a_word_stands_for_its_vectors(tiny_sdxl: Path):
    """Also where transformers would take the word, whose number is the highest, for the end of the text."""
    pipeline = open_pipeline(tiny_sdxl, SDXL, 1)
    vectors = {"": torch.randn(3, 32), "_2": torch.randn(3, 48)}
    for part, value in vectors.items():
        tokenizer, model = getattr(pipeline, f"tokenizer{part}"), getattr(pipeline, f"text_encoder{part}")
        pipeline.load_textual_inversion(value, token="hana_emb", tokenizer=tokenizer, text_encoder=model)
    tokenizer, word = pipeline.tokenizer_2, Word("hana_emb", 3)
    names = ["hana_emb", "hana_emb_1", "hana_emb_2"]
    groups = token_groups(tokenizer, "blue, hana_emb, girl", word)
    assert groups[1] == tokenizer.convert_tokens_to_ids(names)
    whole = tokenizer("blue, hana_emb hana_emb_1 hana_emb_2, girl", add_special_tokens=False).input_ids
    assert list(chain(*groups)) == whole
    rows = torch.tensor([[tokenizer.bos_token_id, *whole, tokenizer.eos_token_id, *[0] * (75 - len(whole))]])
    large = pipeline.text_encoder_2
    with torch.inference_mode():
        last = large.text_model.final_layer_norm(layer(large, rows, 3))[0, 1 + len(whole)]
        ours = PromptEncoder(pipeline, SDXL, 0).encode("blue, hana_emb, girl", word)
        assert (ours.pooled - large.text_projection(last)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("sizes", "chunks"),
    [
        ([], [0]),
        ([75], [75]),
        ([76], [75, 1]),
        ([200], [75, 75, 50]),
        ([72, 4, 20], [72, 24]),  # vectors are not cut, and move into the next chunk
        ([70, 10], [75, 5]),
        ([70, 7], [70, 7]),
    ],
)
def test_chunks_are_filled_as_comfyui_does(sizes: list[int], chunks: list[int]):
    numbers = iter(range(1000))
    groups = [[next(numbers) for _ in range(size)] for size in sizes]
    cut = in_chunks(groups)
    assert [len(chunk) for chunk in cut] == chunks
    assert list(chain(*cut)) == list(chain(*groups))


def test_prompts_of_different_lengths_render_together_as_alone(tiny_base: Path):
    pipeline = open_pipeline(tiny_base, SD15, 1)
    encoder = PromptEncoder(pipeline, SD15, 0)
    latents = torch.randn(3, 4, 8, 8)
    with torch.inference_mode():
        prompts = [encoder.encode(text) for text in ("1girl", LONG[:300], LONG)]
        assert len({len(prompt.states) for prompt in prompts}) == 3
        together = pipeline.unet(latents, 500, batched(prompts)).sample
        alone = [pipeline.unet(latents[k : k + 1], 500, batched([prompts[k]])).sample for k in range(3)]
    assert (together - torch.cat(alone)).abs().max() < 1e-5


def test_prompts_of_one_length_stay_as_they_are():
    prompt = TextStates(torch.randn(77, 8), None)
    assert torch.equal(batched([prompt, prompt])[1], prompt.states)

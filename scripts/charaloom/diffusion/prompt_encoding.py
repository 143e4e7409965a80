"""Prompts as text states, computed for both prompts alike and as ComfyUI does it, so that the same picture comes out.

A prompt of any length is cut into chunks of 75 tokens. Each goes through the text encoder between a start and an end
token of its own, and the states stand behind one another. Read in comfy/sd1_clip.py, comfy/sdxl_clip.py and
comfy/conds.py of ComfyUI 0.3. A1111 computes the same for what fits into one chunk; in longer prompts it moves what
follows the last comma of a full chunk into the next one (its setting `comma_padding_backtrack`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any

from charaloom.config.families import Family, TextEncoder
from charaloom.diffusion.chunks import CHUNK, in_chunks

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import Tensor


@dataclass(frozen=True)
class Word:
    """A word that stands for the vectors of an embedding."""

    text: str
    vectors: int


@dataclass(frozen=True)
class TextStates:
    """What a UNet hears of one prompt."""

    states: "Tensor"  # [77 x chunks, width]
    pooled: "Tensor | None"  # [width], of the first chunk; None where the family has none


def token_groups(tokenizer: Any, text: str, word: Word | None) -> list[list[int]]:
    """The tokens of a prompt in the groups of `in_chunks`; `word` is one that `tokenizer` knows."""
    if word is None:
        return [plain_tokens(tokenizer, text)]
    names = [word.text, *(f"{word.text}_{number}" for number in range(1, word.vectors))]  # as diffusers adds them
    vectors = tokenizer.convert_tokens_to_ids(names)
    first, *others = text.split(word.text)
    groups = [plain_tokens(tokenizer, first)]
    for part in others:
        groups += [vectors, plain_tokens(tokenizer, part)]
    return groups


def plain_tokens(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids


class PromptEncoder:
    """The text encoders of a pipeline; `clip_skip` of their last layers are skipped, besides those of the family."""

    def __init__(self, pipeline: "DiffusionPipeline", family: Family, clip_skip: int):
        self.pipeline, self.family, self.clip_skip = pipeline, family, clip_skip

    def encode(self, text: str, word: Word | None = None) -> TextStates:
        """The states of one prompt."""
        import torch

        parts = [self.encoded(part, text, word) for part in self.family.text_encoders]
        pooled = [vector for _, vector in parts if vector is not None]
        return TextStates(torch.cat([states for states, _ in parts], dim=-1), pooled[0] if pooled else None)

    def encoded(self, part: TextEncoder, text: str, word: Word | None) -> tuple["Tensor", "Tensor | None"]:
        """States [77 x chunks, width] of one text encoder, and its projected end token [width] where it has one.

        The end token is looked for by its number: transformers takes the highest one of a chunk, which the word of an
        embedding would be.
        """
        import torch

        tokenizer, encoder = getattr(self.pipeline, part.tokenizer), getattr(self.pipeline, part.encoder)
        end = tokenizer.eos_token_id
        padding = end if part.padding is None else part.padding
        chunks = in_chunks(token_groups(tokenizer, text, word))
        rows = [[tokenizer.bos_token_id, *chunk, end, *[padding] * (CHUNK - len(chunk))] for chunk in chunks]
        output = encoder(torch.tensor(rows, device=encoder.device), output_hidden_states=True)
        states = output.hidden_states[-1 - self.clip_skip - self.family.extra_clip_skip]
        if self.family.final_norm:
            states = encoder.text_model.final_layer_norm(states)
        pooled = None
        if part.projected:
            pooled = encoder.text_projection(output.last_hidden_state[0, 1 + len(chunks[0])])
        return states.flatten(0, 1), pooled


def batched(prompts: Sequence[TextStates]) -> "Tensor":
    """The states [n, tokens, width] of several prompts. Shorter ones are repeated up to the least common multiple of
    all lengths, which attention does not notice: every state is there equally often."""
    import torch

    longest = lcm(*(len(prompt.states) for prompt in prompts))
    return torch.stack([prompt.states.repeat(longest // len(prompt.states), 1) for prompt in prompts])

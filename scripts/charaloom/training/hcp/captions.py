"""Captions of any length, as token ids and as text states: chunks of 75 tokens in the layout of `diffusion.chunks`."""

import sys
from typing import Any

import torch
from hcpdiff.data.handler import TokenizeHandler
from hcpdiff.models import SD15Wrapper, SDXLWrapper
from hcpdiff.models.compose import ComposeTokenizer
from torch import Tensor

from charaloom.diffusion.chunks import CHUNK, in_chunks


class ChunkHandler(TokenizeHandler):
    """Tokens of the captions of a batch, in as many chunks as its longest caption needs, at most `most`.

    `word` stands for `vectors` tokens: its number in the tokenizer and those behind it. Stock captions are cut in
    silence at a length that is the same for all.
    """

    def __init__(self, most: int, word: str | None, vectors: int):
        super().__init__()
        self.most, self.word, self.vectors = most, word, vectors

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "prompt": self.tokens(batch["prompt"])}

    def tokens(self, captions: list[str]) -> Tensor | dict[str, Tensor]:
        """[captions, chunks, 77], by text encoder where there are several."""
        if not isinstance(self.tokenizer, ComposeTokenizer):
            return self.rows(self.tokenizer, captions)
        names = self.tokenizer.tokenizer_names
        return {name: self.rows(getattr(self.tokenizer, name), captions) for name in names}

    def rows(self, tokenizer: Any, captions: list[str]) -> Tensor:
        """[captions, chunks, 77]. Ends the training where a caption is too long, which what prepared it has to see."""
        chunked = [in_chunks(self.groups(tokenizer, caption)) for caption in captions]
        longest = max(map(len, chunked))
        if longest > self.most:
            sys.exit(f"a caption has {longest} chunks of {CHUNK} tokens, `training.caption_tokens` allows {self.most}")
        filled = [chunks + [[]] * (longest - len(chunks)) for chunks in chunked]
        start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        return torch.tensor(
            [[[start, *chunk, end, *[pad] * (CHUNK - len(chunk))] for chunk in chunks] for chunks in filled]
        )

    def groups(self, tokenizer: Any, caption: str) -> list[list[int]]:
        """The tokens before the word, those that stand for it, and those behind it."""
        first = tokenizer.convert_tokens_to_ids(self.word) if self.word else None
        groups: list[list[int]] = [[]]
        for token in tokenizer(caption, add_special_tokens=False, verbose=False).input_ids:
            if token == first:
                groups += [list(range(first, first + self.vectors)), []]
            else:
                groups[-1].append(token)
        return groups


class ChunkedSD15(SD15Wrapper):
    """hcpdiff's wrapper of SD 1.x, where each chunk goes through the text encoder alone.

    Stock chunks lose the start and end tokens between them, and their pooled states are averaged.
    """

    def forward_TE(self, prompt_ids: Tensor, timesteps: Tensor, **other: Any) -> Tensor:
        """States [captions, chunks x 77, width]."""
        return joined(super().forward_TE(prompt_ids.flatten(0, 1), timesteps, **other), prompt_ids.shape[1])


class ChunkedSDXL(SDXLWrapper):
    """The same for SDXL."""

    def forward_TE(self, prompt_ids: dict[str, Tensor], timesteps: Tensor, **other: Any) -> tuple[Tensor, Tensor]:
        """States [captions, chunks x 77, width], and the pooled states [captions, width] of the first chunks."""
        chunks = next(iter(prompt_ids.values())).shape[1]
        rows = {name: ids.flatten(0, 1) for name, ids in prompt_ids.items()}
        states, pooled = super().forward_TE(rows, timesteps, **other)
        return joined(states, chunks), pooled[::chunks]


def joined(states: Tensor, chunks: int) -> Tensor:
    """[captions x chunks, 77, width] as [captions, chunks x 77, width]."""
    return states.unflatten(0, (-1, chunks)).flatten(1, 2)

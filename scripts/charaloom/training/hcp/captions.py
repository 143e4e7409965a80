"""Captions of any length, as token ids and as text states: chunks of 75 tokens in the layout of `diffusion.chunks`."""

import sys
from typing import Any

import torch
from hcpdiff.data.handler import TokenizeHandler
from hcpdiff.models import SD15Wrapper, SDXLWrapper
from hcpdiff.models.compose import ComposeTokenizer
from torch import Tensor

from charaloom.diffusion.chunks import CHUNK, in_chunks

Tokens = Tensor | dict[str, Tensor]  # [captions, chunks, 77], by text encoder where there are several


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

    def tokens(self, captions: list[str]) -> Tokens:
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
        start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        return torch.tensor(
            [
                [[start, *chunk, end, *[pad] * (CHUNK - len(chunk))] for chunk in chunks + [[]] * (longest - len(chunks))]
                for chunks in chunked
            ]
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


class Chunked:
    """Of a wrapper: every chunk goes through the text encoders alone.

    Stock chunks lose the start and end tokens between them, and their pooled states are averaged.
    """

    def forward_TE(self, prompt_ids: Tokens, timesteps: Tensor, **other: Any) -> Any:  # noqa: N802 - hcpdiff's name
        """States [captions, chunks x 77, width], for SDXL with the pooled states [captions, width] of the first chunks."""
        several = isinstance(prompt_ids, dict)
        chunks = (next(iter(prompt_ids.values())) if several else prompt_ids).shape[1]
        rows = {name: ids.flatten(0, 1) for name, ids in prompt_ids.items()} if several else prompt_ids.flatten(0, 1)
        encoded = super().forward_TE(rows, timesteps, **other)
        states, *pooled = encoded if several else (encoded,)
        joined = states.unflatten(0, (-1, chunks)).flatten(1, 2)
        return (joined, pooled[0][::chunks]) if several else joined


class ChunkedSD15(Chunked, SD15Wrapper):
    """hcpdiff's wrapper of SD 1.x for captions of any length."""


class ChunkedSDXL(Chunked, SDXLWrapper):
    """hcpdiff's wrapper of SDXL for captions of any length."""

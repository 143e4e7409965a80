"""Captions that fit into the chunks that a training reads: of a longer one, tags from its end are left out and counted.

A training step shuffles the tags and leaves some out, which never makes a caption longer.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from charaloom.config.params import Training
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.chunks import CHUNK, in_chunks
from charaloom.errors import CharaloomError
from charaloom.tagging.captions import SEPARATOR


@dataclass(frozen=True)
class CaptionLimit:
    """How long captions may be; what a base and an embedding add to each is counted with them."""

    tokenizer: Path  # folder
    tokens: int  # `training.caption_tokens`
    vectors: int  # of the embedding
    prefix: str
    suffix: str

    @classmethod
    def of(cls, params: Training, base: LocalBase) -> "CaptionLimit":
        folder = base.folder / base.family.text_encoders[0].tokenizer
        return cls(folder, int(params.caption_tokens), int(params.vectors), base.entry.prefix, base.entry.suffix)

    @cached_property
    def encode(self) -> Any:
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(self.tokenizer)

    def fitted(self, caption: str, triggers: Collection[str]) -> tuple[str, int]:
        """The caption, short enough, and how many tags from its end are left out.

        Raises CharaloomError where not even the triggers fit.
        """
        parts = caption.split(SEPARATOR) if caption else []
        kept = list(parts)
        while kept and not self.fits(SEPARATOR.join(kept)):
            if kept[-1] in triggers:
                raise CharaloomError(
                    f"training.caption_tokens: {self.tokens} tokens do not hold the triggers `{SEPARATOR.join(kept)}`"
                    " with the base's prefix and suffix and the embedding; raise it, or shorten those"
                )
            kept.pop()
        return SEPARATOR.join(kept), len(parts) - len(kept)

    def fits(self, caption: str) -> bool:
        """Whether a caption fits in any order of its tags: each is counted with a comma behind it."""
        behind = ["", caption, self.suffix] if self.suffix else ["", caption]
        groups = (
            self.count(f"{self.prefix}{SEPARATOR}") if self.prefix else 0,
            self.vectors,
            self.count(SEPARATOR.join([*behind, ""])),
        )
        return len(in_chunks([0] * tokens for tokens in groups)) <= self.tokens // CHUNK

    def count(self, text: str) -> int:
        return len(self.encode(text, add_special_tokens=False, verbose=False).input_ids)

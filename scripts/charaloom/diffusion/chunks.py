"""Tokens of a long text in chunks, in the layout in which ComfyUI reads prompts; captions of a training have the same.

Each chunk goes through the text encoder with a start and an end token of its own; the states of all 77 places of all
chunks stand behind one another, and SDXL's pooled state is the first chunk's. A1111 differs in texts of more than 75
tokens only: it starts a chunk at the last comma where one is near (`comma_padding_backtrack`). kohya's trainer and
hcpdiff leave the start and end tokens between two chunks out, which no program that renders does.
"""

from collections.abc import Iterable, Sequence

CHUNK = 75  # tokens, besides the start and the end token
UNCUT = 8  # groups of fewer tokens are never cut (`max_word_length` of comfy/sd1_clip.py)


def in_chunks(groups: Iterable[Sequence[int]]) -> list[list[int]]:
    """Tokens in chunks of at most CHUNK, at least one chunk.

    `groups` are what ComfyUI holds together: the vectors of an embedding, the text before it, the text behind it.
    """
    chunks: list[list[int]] = [[]]
    for group in groups:
        rest = list(group)
        while len(chunks[-1]) + len(rest) > CHUNK:
            room = CHUNK - len(chunks[-1]) if len(group) >= UNCUT else 0
            chunks[-1] += rest[:room]
            rest = rest[room:]
            chunks.append([])
        chunks[-1] += rest
    return chunks

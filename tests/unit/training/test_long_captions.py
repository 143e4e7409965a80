"""Captions of any length: their chunks, the states that the UNet hears, and what is left out where even they end."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charaloom.config.families import SDXL
from charaloom.diffusion.bases import local_base
from charaloom.diffusion.chunks import in_chunks
from charaloom.errors import CharaloomError
from charaloom.training.caption_lengths import CaptionLimit
from tests.unit.training.trainings import TOLERANCE, Pictures, caption_source, params, train_once, write_dataset

WORD = "hana_emb"
LONG = f"best quality, {WORD}, hana_charaloom, " + ", ".join(f"red thing {number}" for number in range(18))
SHORT = "hana_charaloom, 1girl"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([0], [0]),
        ([75], [75]),
        ([76], [75, 1]),
        ([160], [75, 75, 10]),
        ([73, 4, 20], [73, 24]),  # fewer than eight stay together
        ([73, 8, 20], [75, 26]),  # eight are cut
        ([10, 4, 70], [75, 9]),
    ],
)
def test_tokens_in_chunks(sizes: list[int], expected: list[int]) -> None:
    tokens = iter(range(sum(sizes)))
    chunks = in_chunks([next(tokens) for _ in range(size)] for size in sizes)
    assert [len(chunk) for chunk in chunks] == expected
    assert [token for chunk in chunks for token in chunk] == list(range(sum(sizes)))


def limit(base: Path, tokens: int, **other: Any) -> CaptionLimit:
    return CaptionLimit(base / "tokenizer", tokens, **{"vectors": 4, "prefix": "", "suffix": "", **other})


def test_tags_from_the_end_are_left_out_and_counted(tiny_base: Path) -> None:
    """Each letter is a token of the tiny base."""
    tags = [f"tag {number}" for number in range(30)]  # 5 to 6 tokens, with the comma
    caption, triggers = ", ".join(["hana", *tags]), ["hana"]
    whole = limit(tiny_base, 225)
    assert whole.fitted(caption, triggers) == (caption, 0)
    short, left_out = limit(tiny_base, 75).fitted(caption, triggers)
    assert 0 < left_out < 30
    assert short == ", ".join(["hana", *tags[: 30 - left_out]])
    assert whole.count(short) + 4 <= 75 < whole.count(", ".join(["hana", *tags[: 31 - left_out]])) + 6
    closer, more = limit(tiny_base, 75, prefix="best, good", suffix="newest").fitted(caption, triggers)
    assert more > left_out
    assert short.startswith(closer)
    assert whole.fitted("", []) == ("", 0)
    with pytest.raises(CharaloomError, match=r"training\.caption_tokens: 75 tokens do not hold the triggers `hana"):
        limit(tiny_base, 75, prefix="x" * 80).fitted(caption, triggers)


@pytest.mark.slow
def test_quality_tags_of_the_base_stay_with_every_caption(tmp_path: Path) -> None:
    (tmp_path / "captions.json").write_text(json.dumps({"a.png": "hana_charaloom, 1girl, smile"}))
    plain = caption_source(tmp_path, text_only=0.0, dropout=0.3, tag_dropout=0.5)
    quality = caption_source(tmp_path, text_only=0.0, dropout=0.3, tag_dropout=0.5)
    quality.shares |= {"prefix": "best, good", "suffix": "newest"}
    import random

    random.seed(1)
    before = [plain.varied("hana_charaloom, 1girl, smile") for _ in range(200)]
    random.seed(1)
    after = [quality.varied("hana_charaloom, 1girl, smile") for _ in range(200)]
    assert after == [f"best, good, {text}, newest" if text else "" for text in before]
    assert {"", "best, good, hana_emb, hana_charaloom, newest"} <= set(after)


@pytest.fixture
def wrapped(request: pytest.FixtureRequest) -> Any:
    """A function that opens a base as the trainer does: its wrapper, its captions' handler, the vectors of the word."""
    import torch
    from hcpdiff import easy
    from hcpdiff.models import TEHookCFG
    from rainbowneko import _share

    from charaloom.training.hcp import captions
    from charaloom.training.hcp.text import EmbeddingParser, composed_text_encoder

    _share.loggers = SimpleNamespace(info=print)

    def opened(base: Path, sdxl: bool, core: Path) -> Any:
        parts = {"TE": composed_text_encoder(str(base), SDXL)} if sdxl else {}
        models = (easy.SDXL_auto_loader if sdxl else easy.SD15_auto_loader)(str(base), **parts)
        kind = captions.ChunkedSDXL if sdxl else captions.ChunkedSD15
        wrapper = kind.from_pretrained(models, TE_hook_cfg=TEHookCFG(clip_skip=1, clip_final_norm=not sdxl))
        wrapper.requires_grad_(False)
        core.write_text("[]")
        _, words = EmbeddingParser(WORD, 4, 0.01, str(core), seed=1).get_params_group(wrapper)
        wrapper.post_init()
        wrapper.eval()
        handler = captions.ChunkHandler(most=9, word=WORD, vectors=4)
        handler.tokenizer = wrapper.tokenizer
        torch.set_grad_enabled(False)
        return wrapper, handler, words[WORD]

    yield opened
    torch.set_grad_enabled(True)


def states_by_hand(encoder: Any, tokenizer: Any, caption: str, vectors: Any, chunks: int, norm: bool) -> Any:
    """States [chunks x 77, width] and the projected end token of the first chunk, by plain calls of transformers.

    The vectors are put into the sequence of embedded tokens, which is then cut at 75 and framed.
    """
    import torch

    table = encoder.get_input_embeddings().weight
    start, end, pad = (
        table[[number]] for number in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    )
    parts: list[Any] = []
    for place, piece in enumerate(caption.split(WORD)):
        parts += [vectors] if place else []
        parts.append(table[tokenizer(piece, add_special_tokens=False).input_ids])
    whole = torch.cat(parts)
    states, pooled = [], None
    for chunk in range(chunks):
        inside = whole[75 * chunk : 75 * (chunk + 1)]
        row = torch.cat([start, inside, end, *[pad] * (75 - len(inside))])
        encoder.get_input_embeddings().forward = lambda ids, row=row: row[None]
        output = encoder(torch.zeros(1, 77, dtype=torch.long), output_hidden_states=True)
        hidden = output.hidden_states[-2][0]
        states.append(encoder.text_model.final_layer_norm(hidden) if norm else hidden)
        if chunk == 0 and hasattr(encoder, "text_projection"):
            pooled = encoder.text_projection(output.last_hidden_state[0, len(inside) + 1])
    return torch.cat(states), pooled


@pytest.mark.slow
def test_mend_states_of_sd15(tiny_base: Path, wrapped: Any, tmp_path: Path) -> None:
    from transformers import CLIPTextModel, CLIPTokenizer

    wrapper, handler, vectors = wrapped(tiny_base, False, tmp_path / "core.json")
    tokens = handler.tokens([LONG, SHORT, ""])
    chunks = tokens.shape[1]
    assert tokens.shape == (3, chunks, 77)
    assert chunks > 2
    states = wrapper.forward_TE(tokens, None)
    assert states.shape == (3, 77 * chunks, 32)
    tokenizer = CLIPTokenizer.from_pretrained(tiny_base, subfolder="tokenizer")
    for row, caption in enumerate((LONG, SHORT, "")):
        encoder = CLIPTextModel.from_pretrained(tiny_base, subfolder="text_encoder").eval()
        expected, _ = states_by_hand(encoder, tokenizer, caption, vectors, chunks, norm=True)
        assert (states[row] - expected).abs().max() <= TOLERANCE, caption
    alone = handler.tokens([SHORT])
    assert alone.shape == (1, 1, 77)
    plain = wrapper.tokenizer(SHORT, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert (alone[0] == plain).all(), "a short caption is what it always was"
    with pytest.raises(SystemExit, match="a caption has 11 chunks"):
        handler.tokens(["word " * 190])


@pytest.mark.slow
def test_mend_states_of_sdxl(tiny_sdxl: Path, wrapped: Any, tmp_path: Path) -> None:
    import torch
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    wrapper, handler, vectors = wrapped(tiny_sdxl, True, tmp_path / "core.json")
    tokens = handler.tokens([LONG, SHORT])
    chunks = tokens["clip_L"].shape[1]
    states, pooled = wrapper.forward_TE(tokens, None)
    for row, caption in enumerate((LONG, SHORT)):
        expected = []
        for number, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
            encoder = kind.from_pretrained(tiny_sdxl, subfolder=f"text_encoder{number}").eval()
            tokenizer = CLIPTokenizer.from_pretrained(tiny_sdxl, subfolder=f"tokenizer{number}")
            own = vectors["clip_g" if number else "clip_l"]
            expected.append(states_by_hand(encoder, tokenizer, caption, own, chunks, norm=False))
        assert (states[row] - torch.cat([part for part, _ in expected], -1)).abs().max() <= TOLERANCE
        assert (pooled[row] - expected[1][1]).abs().max() <= TOLERANCE


@pytest.mark.slow
def test_stock_chunks_lose_their_ends_and_the_end_of_the_text(tiny_base: Path) -> None:
    """hcpdiff has the layout of kohya's trainer: 75 places for each chunk, and one start and one end for all."""
    import torch
    from hcpdiff.easy import SD15_auto_loader
    from hcpdiff.models import SD15Wrapper, TEHookCFG
    from hcpdiff.models.compose import ComposeTokenizer
    from hcpdiff.models.text_emb_ex import EmbeddingPTHook
    from rainbowneko import _share

    _share.loggers = SimpleNamespace(info=print)
    hook = TEHookCFG(tokenizer_repeats=2, clip_skip=1)
    wrapper = SD15Wrapper.from_pretrained(SD15_auto_loader(str(tiny_base)), TE_hook_cfg=hook)
    wrapper.post_init()
    settings = {"truncation": True, "padding": "max_length", "return_tensors": "pt"}
    tokens = ComposeTokenizer.tokenize_ex(wrapper.tokenizer, [LONG], **settings).input_ids
    with torch.no_grad():
        assert wrapper.forward_TE(tokens, None).shape == (1, 2 * 75 + 2, 32)
    table = torch.nn.Embedding(300, 4)
    words = EmbeddingPTHook(table, N_word=75, N_repeats=1)
    words.add_emb(torch.nn.Parameter(torch.ones(4, 4)), 300)
    row = torch.arange(77)[None]
    row[0, 5] = 300
    embedded = table(row)
    assert torch.equal(embedded[0, 75], table.weight[72]), "what the vectors push out at the end is cut off"


@pytest.mark.slow
def test_a_training_with_long_captions(tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    inputs = write_dataset(tmp_path, drawn_pictures)
    shard = inputs.dataset / "data" / "train-00000.parquet"
    rows = pq.read_table(shard).to_pylist()
    for number, row in enumerate(rows):
        row["caption"] += ", " + ", ".join(f"thing {place}" for place in range(8 * number))
    pq.write_table(pa.Table.from_pylist(rows), shard)
    chosen = params(tiny_base, steps=2, save_every=2)
    train_once(tmp_path, inputs, chosen)
    manifest = json.loads((tmp_path / "checkpoints.manifest.json").read_text())
    left_out = manifest["counts"]["tags_left_out"]
    assert left_out > 0
    (captions,) = (tmp_path / "work").glob("hana/*/inputs/pictures.json")
    kept = list(json.loads(captions.read_text()).values())
    assert kept[1] == rows[1]["caption"]
    assert sum(text.count(",") for text in kept) == sum(row["caption"].count(",") for row in rows) - left_out
    bound = CaptionLimit.of(chosen.settled(8), local_base(chosen.base, tmp_path))
    assert all(bound.fits(text) for text in kept)

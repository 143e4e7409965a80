"""One template for captions and prompts."""

from random import Random

import pytest

from charaloom.tagging.captions import as_words, caption, tags_in, training_caption, with_embedding


def test_order_is_trigger_outfit_count_then_tags_as_given() -> None:
    text = caption("hana_charaloom", "hana_red_kimono", ["smile", "solo", "1girl", "upper_body", "smile"])
    assert text == "hana_charaloom, hana_red_kimono, 1girl, solo, smile, upper body"
    assert caption("hana_charaloom", None, []) == "hana_charaloom"


@pytest.mark.parametrize(
    ("tag", "words"),
    [("red_kimono", "red kimono"), ("o_o", "o_o"), (">_<", ">_<"), ("^_^", "^_^"), ("v", "v"), ("x_hair", "x hair")],
)
def test_words(tag: str, words: str) -> None:
    assert as_words(tag) == words


def test_embedding_word_stands_in_front() -> None:
    text = caption("hana_charaloom", None, ["1girl"])
    assert with_embedding(text, "hana_emb") == "hana_emb, hana_charaloom, 1girl"
    whole = {"triggers": ["hana_charaloom"], "dropout": 0.0, "tag_dropout": 0.0}
    assert training_caption(text, word=None, rng=Random(1), text_only=0.0, **whole) == text
    assert training_caption(text, word="hana_emb", rng=Random(1), text_only=1.0, **whole) == text
    assert training_caption(text, word="hana_emb", rng=Random(1), text_only=0.0, **whole) == f"hana_emb, {text}"
    assert training_caption(text, word="hana_emb", rng=Random(1), text_only=0.0, **{**whole, "dropout": 1.0}) == ""
    bare = training_caption(text, word=None, rng=Random(1), text_only=0.0, **{**whole, "tag_dropout": 1.0})
    assert bare == "hana_charaloom"


def test_tags_are_read_back() -> None:
    text = caption("hana_charaloom", "hana_red_kimono", ["1girl", "red_kimono", "smile"])
    assert tags_in(text, ["hana_charaloom", "hana_red_kimono"]) == ["1girl", "red_kimono", "smile"]

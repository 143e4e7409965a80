"""Captions are checked before training."""

from typing import Any

import pytest

from charaloom.runtime.hub import hub_file
from charaloom.tagging.lint import CLIP, LIMIT, Lint
from tests.standins import write_vocabulary


@pytest.fixture(scope="module")
def lint(tmp_path_factory: pytest.TempPathFactory) -> Lint:
    return Lint(write_vocabulary(tmp_path_factory.mktemp("hub")))


def findings(lint: Lint, caption: str, trigger: str = "hana_charaloom") -> list[tuple[str, str]]:
    outfits: dict[str, Any] = {
        "trigger": trigger,
        "outfits": [
            {"trigger": "hana_red_kimono", "trained": True},
            {"trigger": "kimono", "trained": False},  # is in no caption
        ],
    }
    rows = [{"view": "a/picture/0", "caption": caption}]
    return [(finding["kind"], finding["where"]) for finding in lint.findings(outfits, rows)]


FINE = "hana_charaloom, hana_red_kimono, 1girl, smile"


@pytest.mark.parametrize(
    ("caption", "kinds"),
    [
        (FINE, []),
        ("hana_charaloom, hana_red_kimono, 1girl, solo", ["empty caption"]),
        ("hana_charaloom", ["empty caption"]),
        (f"{FINE}, day, night", ["contradiction"]),
        (f"{FINE}, {', '.join(f'sky {k}' for k in range(40))}", ["long caption"]),
    ],
)
def test_captions(lint: Lint, caption: str, kinds: list[str]) -> None:
    assert findings(lint, caption) == [(kind, "a/picture/0") for kind in kinds]


@pytest.mark.parametrize("trigger", ["kimono", "Red Kimono", "smile", "hair"])
def test_a_trigger_that_has_a_meaning_already(lint: Lint, trigger: str) -> None:
    assert ("common trigger", trigger) in findings(lint, FINE, trigger)


def test_tokens_are_counted_as_the_text_encoder_does(lint: Lint) -> None:
    from transformers import CLIPTokenizer

    files = [str(hub_file(lint.hub, CLIP, name)) for name in ("vocab.json", "merges.txt")]
    clip = CLIPTokenizer(*files, model_max_length=77)
    texts = [FINE, "", "o_o, >_<, it's 2girls & é ü 日本", "  Many   SPACES,and,commas ", "x" * 40]
    assert lint.lengths(texts) == [len(clip(text).input_ids) - 2 for text in texts]
    assert LIMIT == 77 - 2

"""The code in the cards does what they say: it is run as it stands, against bases of a few kilobytes."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from charaloom.artifacts.types import Row
from charaloom.diffusion.lora import write_weights
from charaloom.publishing.cards.model_card import card_text
from charaloom.publishing.cards.snippets import VERSIONS
from charaloom.publishing.layout import embedding_file, lora_file
from tests.card_facts import CHARACTER, base_of, model_card, selection

CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REPO = "someone/hana"
HUB = {"model": REPO, "dataset": "someone/hana", "endpoint": "https://hub.example"}
SMALL = {"width": 64, "height": 64, "steps": 2}
LORA = {
    "sd15": "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
    "sdxl": "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
}
VECTORS = {"sd15": {"emb_params": 32}, "sdxl": {"clip_l": 32, "clip_g": 48}}  # width by tensor
PLACES = {"sd15": ["tokenizer"], "sdxl": ["tokenizer", "tokenizer_2"]}
MANNERS: dict[str, Row] = {
    "karras": {"sampler": "DPM++ 2M", "schedule": "Karras"},
    "velocity": {
        "sampler": "Euler",
        "schedule": "Normal",
        "prediction": "v_prediction",
        "zero_snr": True,
        "rescale": 0.2,
    },
}


def repository(folder: Path, family: str) -> Path:
    import torch

    width = 32
    lora = {
        f"{LORA[family]}.lora_down.weight": torch.full((2, width), 0.1),
        f"{LORA[family]}.lora_up.weight": torch.full((width, 2), 0.1),
        f"{LORA[family]}.alpha": torch.tensor(1.0),
    }
    write_weights(folder / lora_file(CHARACTER), lora, {"format": "pt"})
    vectors = {key: torch.full((2, size), 0.5) for key, size in VECTORS[family].items()}
    (folder / embedding_file(CHARACTER)).parent.mkdir(parents=True)
    write_weights(folder / embedding_file(CHARACTER), vectors, {})
    return folder


def card(family: str, **changes: Any) -> str:
    """The card of a model of a base that no hub has: its reader has a copy of it, named `tiny`."""
    manners = {
        "family": family,
        "path": "/somewhere/tiny",
        "clip_skip": int(family == "sd15"),
        **changes.pop("manners", {}),
    }
    chosen = selection()
    chosen["settings"] = {**chosen["settings"], **SMALL}
    return card_text(model_card(base=base_of("tiny", **manners), selection=chosen, **changes))


def run(text: str) -> Row:
    names: Row = {}
    for block in CODE.findall(text):
        exec(block, names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("manners", MANNERS.values(), ids=MANNERS)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_code_of_a_card_renders_with_lora_and_embedding(
    family: str, manners: Row, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = request.getfixturevalue({"sd15": "tiny_base", "sdxl": "tiny_sdxl"}[family])
    folder = repository(tmp_path / "model", family)
    (folder / "tiny").symlink_to(base)
    monkeypatch.chdir(folder)
    names = run(card(family, manners=manners))
    with Image.open(f"{CHARACTER}.png") as image:
        assert image.size == (64, 64)
    pipeline = names["pipeline"]
    assert pipeline.get_active_adapters() == [CHARACTER]
    for tokenizer in PLACES[family]:
        assert "hana_emb_1" in getattr(pipeline, tokenizer).get_vocab(), "two vectors"
    config = pipeline.scheduler.config
    assert config.use_karras_sigmas is (manners["schedule"] == "Karras")
    assert config.prediction_type == manners.get("prediction", "epsilon")
    assert config.rescale_betas_zero_snr is bool(manners.get("zero_snr"))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_code_loads_a_repository_by_its_name(
    family: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's part is a folder of the repository's name; `test_repo_loads` asks a server for its list of files."""
    import huggingface_hub

    base = request.getfixturevalue({"sd15": "tiny_base", "sdxl": "tiny_sdxl"}[family])
    folder = repository(tmp_path / REPO, family)
    (tmp_path / "tiny").symlink_to(base)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file: str(tmp_path / repo / file))
    names = run(card(family, repositories=HUB))
    assert names["pipeline"].get_active_adapters() == [CHARACTER]
    assert not (folder / f"{CHARACTER}.png").exists()


def test_the_versions_in_the_code_are_those_it_was_tried_with() -> None:
    assert {name: version(name) for name in VERSIONS} == VERSIONS


def test_the_prompt_of_the_code_is_that_of_the_first_widget_and_needs_the_lora_alone() -> None:
    text = card("sd15")
    prompt = re.search(r"^- text: (.+)$", text, re.MULTILINE)
    assert prompt
    assert f'    "{prompt[1]}",\n' in text
    assert "hana_emb" not in prompt[1]


def test_a_base_of_one_file_is_loaded_as_one() -> None:
    text = card_text(model_card())
    assert "from_single_file(" in text
    assert "/blob/main/Illustrious-XL-v0.1.safetensors" in text
    own = card("sdxl", manners={"path": "/somewhere/mine.safetensors"})
    assert 'base = "tiny.safetensors"' in own
    assert "Replace `tiny.safetensors`" in own


def test_clip_skip_is_explained_where_it_is_asked_for() -> None:
    assert "clip_skip=1" in card("sd15")
    assert "“clip skip 2” of A1111" in card("sd15")
    assert "clip_skip" not in card("sdxl")

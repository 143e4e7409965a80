"""The table of programs says what their code does: `tests/foreign_loaders.py` restates it."""

from typing import Any

import pytest

from charaloom.config.families import FAMILIES, SD15, SDXL, Family
from charaloom.publishing.cards.programs import LORA, LORA_OR_EMBEDDING, OTHER_KEY, PROGRAMS, READS, REFUSED, repo_files
from tests import foreign_loaders as foreign

WORD = "hana_emb"
MODULE = "lora_unet_x"


def said(family: Family) -> dict[str, dict[str, str]]:
    """What the table says, by file and program."""
    rows = repo_files("hana", family, embedding=True)
    return {row["is"]: dict(zip(PROGRAMS, row["reads"], strict=True)) for row in rows}


def embedding(family: Family) -> dict[str, Any]:
    import torch

    return {key: torch.full((2, 8), float(place)) for place, key in enumerate(family.embedding_keys)}


def bundle(family: Family) -> dict[str, Any]:
    import torch

    from charaloom.diffusion.lora import bundle_weights

    return bundle_weights({f"{MODULE}.lora_up.weight": torch.ones(1, 1)}, embedding(family), WORD)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_comfyui_finds_the_embedding_of_a_bundle_for_each_text_encoder(family: Family) -> None:
    for encoder in family.text_encoders:
        key = encoder.embedding_key
        assert (foreign.comfy_bundle(bundle(family), key) == embedding(family)[key]).all()
    assert said(family)["bundle"]["ComfyUI"] == LORA_OR_EMBEDDING


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_who_knows_no_bundle_loads_its_lora(family: Family) -> None:
    """A1111 up to 1.6, Forge and OneTrainer print the other keys and go on; Forge only up to twelve."""
    others = [key for key in bundle(family) if not key.startswith(MODULE)]
    assert 0 < len(others) <= foreign.FORGE_UNMATCHED
    assert foreign.modules_of(bundle(family)) == [MODULE]
    for program in ("A1111 ≤ 1.6", "Forge", "OneTrainer"):
        assert said(family)["bundle"][program] == LORA
    assert said(family)["bundle"]["diffusers"] == REFUSED


def test_onetrainer_reads_embeddings_of_sdxl_alone() -> None:
    assert len(foreign.onetrainer_embedding(embedding(SDXL), sdxl=True)) == 2
    assert said(SDXL)["embedding"]["OneTrainer"] == READS
    with pytest.raises(KeyError):
        foreign.onetrainer_embedding(embedding(SD15), sdxl=False)
    assert said(SD15)["embedding"]["OneTrainer"] == OTHER_KEY


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_program_reads_the_lora(family: Family) -> None:
    assert set(said(family)["lora"].values()) == {READS}
    assert [row["is"] for row in repo_files("hana", family, embedding=False)] == ["lora"]

"""Generation data: other programs read the text that was rendered, and ComfyUI's graph renders as previews do."""

import json
from dataclasses import replace

import pytest

from charaloom.config.families import SD15, SDXL, V_PREDICTION
from charaloom.diffusion.checkpoints import NOTHING, read_checkpoints
from charaloom.diffusion.generation import escaped_for_a1111, escaped_for_comfyui, for_a1111, for_comfyui
from tests import foreign_prompts as foreign
from tests.unit.diffusion.test_pipelines import SETTINGS, base_of

TAGS = (
    "watercolor (medium)",
    r"\(^o^)/",
    r"\m/",
    r"\||/",
    r"/\/\/\ ",
    ":<",
    "<o>_<o>",
    ":d",
    ">:)",
    ":)",
    "(:3)",
    ";)",
    ":3",
    "^^^",
    "[x]",
    "((half",
    "half))",
    "[half",
    "half]",
    "a:b:0.5",
    "(x:1.2)",
    "x : -1.5",
    ">_<",
    "blue_hair_(nagi)",
    "<lora:other:1>",
    "AND",
    "BREAK",
    "hair AND eyes BREAK it",
    "trailing:",
    "trailing\\",
)
READERS = {"ComfyUI": (foreign.comfyui, escaped_for_comfyui), "A1111": (foreign.a1111, escaped_for_a1111)}


@pytest.mark.parametrize("program", READERS)
def test_every_tag_is_read_as_its_letters(program):
    read, escaped = READERS[program]
    for tag in (*TAGS, ", ".join(TAGS), ", ".join(reversed(TAGS))):
        for prompt in (tag, f"1girl, {tag}", f"{tag}, solo"):
            text = prompt.rstrip() if program == "A1111" else prompt  # A1111 drops space at the end
            assert read(escaped(prompt)) == foreign.Read([(text, 1.0)]), prompt


def test_the_grammars_change_what_is_not_escaped():
    assert foreign.comfyui("an (old:1.3) (hat)").text == [("an ", 1.0), ("old", 1.3), (" ", 1.0), ("hat", 1.1)]
    assert foreign.a1111("an (old:1.3) hat").text == [("an ", 1.0), ("old", 1.3), (" hat", 1.0)]
    assert foreign.a1111(r"\m/, :3").text == [("m/,", 3.0)]
    assert foreign.a1111("x <lora:a:1>") == foreign.Read([("x", 1.0)], ("<lora:a:1>",))


def test_a1111_reads_what_was_rendered():
    text = for_a1111("hana", r"hana, watercolor (medium), \m/", 7, NOTHING, base_of(SD15), SETTINGS).splitlines()
    assert foreign.a1111(text[0]).text == [(r"hana, watercolor (medium), \m/", 1.0)]
    assert text[1] == r"Negative prompt: nsfw, \(bad hands\)"
    assert text[2].startswith("Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, Seed: 7, Size: 64x64")
    assert "Clip skip: 2" in text[2]
    assert "CFG Rescale" not in text[2]


def test_a_base_with_manners_has_them_in_both_forms():
    base = base_of(SDXL, clip_skip=0)
    entry = replace(base.entry, prefix="masterpiece, ", suffix="newest", sampler="Euler", schedule="Normal")
    base = replace(base, entry=replace(entry, prediction=V_PREDICTION, zero_snr=True, rescale=0.2))
    text = for_a1111("hana", "hana, :3", 7, NOTHING, base, SETTINGS).splitlines()
    assert foreign.a1111(text[0]).text == [("masterpiece, hana, :3, newest", 1.0)]
    assert "Sampler: Euler, Schedule type: Normal" in text[2]
    assert "Clip skip: 1" in text[2]
    assert text[2].endswith("CFG Rescale: 0.2, Noise Schedule: Zero Terminal SNR")
    graph = for_comfyui("hana", "hana, :3", 7, NOTHING, base, SETTINGS)
    assert graph["positive"]["inputs"]["text"] == "masterpiece, hana, :3, newest"
    assert graph["noise"]["inputs"] == {"sampling": "v_prediction", "zsnr": True, "model": ["base", 0]}
    assert graph["rescaled"] == {"class_type": "RescaleCFG", "inputs": {"multiplier": 0.2, "model": ["noise", 0]}}
    sampler = graph["sampler"]["inputs"]
    assert (sampler["model"], sampler["sampler_name"], sampler["scheduler"]) == (["rescaled", 0], "euler", "normal")
    assert "skip" not in graph


def test_the_graph_for_comfyui_is_whole(tmp_path):
    """Every input that names a node names one that is there, and the picture comes out of the decoder."""
    (tmp_path / "step-000100.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (tmp_path / "step-000100_emb.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    base = base_of(SD15)
    base = replace(base, entry=replace(base.entry, prefix="best quality"))
    for checkpoint in (NOTHING, read_checkpoints(tmp_path)[0].weighing(0.8)):
        graph = json.loads(json.dumps(for_comfyui("hana", "hana (x)", 7, checkpoint, base, SETTINGS)))
        links = [value for place in graph.values() for value in place["inputs"].values() if isinstance(value, list)]
        assert {name for name, _ in links} <= set(graph)
        assert graph["saved"]["inputs"]["images"] == ["decoded", 0]
        assert graph["skip"]["inputs"]["stop_at_clip_layer"] == -2
        assert {"noise", "rescaled"}.isdisjoint(graph)
    assert graph["lora"]["inputs"]["strength_clip"] == 0.8
    assert graph["positive"]["inputs"]["text"] == r"best quality, embedding:hana_emb, hana \(x\)"

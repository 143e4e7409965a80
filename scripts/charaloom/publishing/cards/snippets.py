"""Code in the cards, to be typed as it stands. Tests run it against small base models and small repositories."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from charaloom.config.bases import DPM_2M, KARRAS
from charaloom.config.families import SDXL, V_PREDICTION, family_of
from charaloom.config.params import HUB, PreviewBase
from charaloom.config.roster import embedding_word
from charaloom.publishing.cards.bases import HubBase
from charaloom.publishing.layout import embedding_file, kohya_folder

VERSIONS = {"diffusers": "0.42.1", "transformers": "5.5.4", "peft": "0.21.2"}  # the code was tried with these
HERE = "."  # the folder that holds the card, where no hub does


@dataclass(frozen=True)
class Rendering:
    """How the picture of the code is rendered."""

    prompt: str
    seed: int
    weight: float  # of the LoRA
    width: int
    height: int
    steps: int


def pipeline_code(character: str, base: PreviewBase, known: HubBase | None, repo: str, made: Rendering) -> str:
    """Base, sampler, LoRA and one picture with diffusers. `repo`: the repository, or HERE."""
    pipeline, scheduler = family_of(base.family).pipeline, scheduler_class(base)
    lines = [
        f"# {', '.join(f'{name} {version}' for name, version in VERSIONS.items())}",
        "import torch",
        f"from diffusers import {', '.join(sorted((pipeline, scheduler)))}",
        "",
        'device = "cuda" if torch.cuda.is_available() else "cpu"',
        'dtype = torch.float16 if device == "cuda" else torch.float32',
        *loading(base, known),
        f"pipeline.scheduler = {scheduler}.from_config({', '.join(scheduler_options(base))})",
        f"pipeline.load_lora_weights({quoted(repo)}, adapter_name={quoted(character)})",
        f"pipeline.set_adapters({quoted(character)}, {made.weight:g})",
        "image = pipeline(",
        *(f"    {option}," for option in call_options(base, made)),
        ").images[0]",
        f"image.save({quoted(f'{character}.png')})",
    ]
    return "\n".join(lines)


def loading(base: PreviewBase, known: HubBase | None) -> list[str]:
    """The lines that load a base: from the hub where one has it, else from the reader's own copy."""
    pipeline, options = family_of(base.family).pipeline, "torch_dtype=dtype"
    single = known.file if known else base.path and Path(base.path).suffix
    if single:
        place = f"{HUB}/{known.repo}/blob/{known.revision or 'main'}/{known.file}" if known else own_copy(base)
        return [f"base = {quoted(place)}", f"pipeline = {pipeline}.from_single_file(base, {options}).to(device)"]
    if known and known.revision:
        options += f", revision={quoted(known.revision)}"
    if base.family != SDXL.name:
        options += ", safety_checker=None"
    place = known.repo if known else own_copy(base)
    return [f"base = {quoted(place)}", f"pipeline = {pipeline}.from_pretrained(base, {options}).to(device)"]


def own_copy(base: PreviewBase) -> str:
    """What stands for the reader's copy of a base that no hub is known to have."""
    return f"{base.name}{Path(base.path).suffix if base.path else ''}"


def scheduler_class(base: PreviewBase) -> str:
    return "DPMSolverMultistepScheduler" if base.sampler == DPM_2M else "EulerDiscreteScheduler"


def scheduler_options(base: PreviewBase) -> list[str]:
    options = ["pipeline.scheduler.config", f"use_karras_sigmas={base.schedule == KARRAS}"]
    if base.prediction == V_PREDICTION:
        options.append(f"prediction_type={quoted(V_PREDICTION)}")
    if base.zero_snr:
        options += ["rescale_betas_zero_snr=True", 'timestep_spacing="trailing"']
    return options


def call_options(base: PreviewBase, made: Rendering) -> list[str]:
    options = [quoted(made.prompt)]
    if base.negative:
        options.append(f"negative_prompt={quoted(base.negative)}")
    options += [f"width={made.width}", f"height={made.height}", f"num_inference_steps={made.steps}"]
    options.append(f"guidance_scale={base.guidance:g}")
    if base.rescale:
        options.append(f"guidance_rescale={base.rescale:g}")
    if base.clip_skip:
        options.append(f"clip_skip={base.clip_skip}")
    return [*options, f"generator=torch.Generator().manual_seed({made.seed})"]


def embedding_code(character: str, family: str, repo: str) -> str:
    """The lines that load the embedding into the pipeline of `pipeline_code`: one vector file for each text encoder."""
    word, encoders = quoted(embedding_word(character)), family_of(family).text_encoders
    file = embedding_file(character)
    if len(encoders) == 1:
        return f"pipeline.load_textual_inversion({quoted(repo)}, weight_name={quoted(file)}, token={word})"
    lines = ["from safetensors.torch import load_file", ""]
    if repo == HERE:
        lines.append(f"vectors = load_file({quoted(file)})")
    else:
        lines = ["from huggingface_hub import hf_hub_download", *lines]
        lines.append(f"vectors = load_file(hf_hub_download({quoted(repo)}, {quoted(file)}))")
    for encoder in encoders:
        parts = f"text_encoder=pipeline.{encoder.encoder}, tokenizer=pipeline.{encoder.tokenizer}"
        key = quoted(encoder.embedding_key)
        lines.append(f"pipeline.load_textual_inversion(vectors[{key}], token={word}, {parts})")
    return "\n".join(lines)


# --- datasets


def loading_codes(repo: str, trigger: str) -> Mapping[str, tuple[str, str]]:
    """(language, code) by program: how a dataset is loaded, and written as a folder for kohya's trainer."""
    files = f"{'' if repo == HERE else f'hf://datasets/{repo}/'}data/train-*.parquet"
    rows = f'"parquet", data_files={quoted(files)}' if repo == HERE else quoted(repo)
    load = f'data = load_dataset({rows}, split="train")'
    kohya = [
        "from pathlib import Path",
        "",
        f"trigger = {quoted(kohya_folder(trigger))}",
        "for number, row in enumerate(data):",
        f"    folder = Path({quoted(KOHYA)}) / f\"{{row['repeats']}}_{{trigger}}\"",
        "    folder.mkdir(parents=True, exist_ok=True)",
        '    row["image"].save(folder / f"{number:05d}.png")',
        '    (folder / f"{number:05d}.txt").write_text(row["caption"], encoding="utf-8")',
    ]
    return {
        "datasets": ("python", python("from datasets import load_dataset", load)),
        "polars": ("python", python("import polars", f"data = polars.read_parquet({quoted(files)})")),
        "duckdb": ("sql", f"SELECT caption, outfit, rating, posts FROM '{files}' LIMIT 10;"),
        "kohya": ("python", "\n".join(kohya)),
    }


KOHYA = "kohya"  # the folder that the code writes


def python(imported: str, *lines: str) -> str:
    return "\n".join([imported, "", *lines])


def quoted(text: str) -> str:
    """A string as Python and JSON write it."""
    return json.dumps(text, ensure_ascii=False)

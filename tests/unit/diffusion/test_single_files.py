"""One .safetensors file as a base: SD 1.5 and SDXL in every dtype and state that people bring, at the size of a toy."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import sha256_file
from charaloom.config.params import Base
from charaloom.diffusion import bases
from charaloom.diffusion.bases import local_base
from charaloom.errors import CharaloomError
from charaloom.weights import digests
from tests.servers.hub import COMMIT, serving
from tests.unit.diffusion.test_bases import original

DTYPES = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
Change = Callable[[dict[str, Any]], None]


def without_vae(tensors: dict[str, Any]) -> None:
    drop(tensors, "first_stage_model.")


def without_text_encoder(tensors: dict[str, Any]) -> None:
    drop(tensors, "cond_stage_model.")
    drop(tensors, "conditioner.embedders.0.")


def unet_alone(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if not name.startswith("model.")]:
        del tensors[name]


def drop(tensors: dict[str, Any], prefix: str) -> None:
    for name in [name for name in tensors if name.startswith(prefix)]:
        del tensors[name]


def with_average(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("model.diffusion_model.")]:
        tensors[f"model_ema.{name.removeprefix('model.').replace('.', '')}"] = tensors[name].clone()


def with_markers(tensors: dict[str, Any]) -> None:
    import torch

    tensors["v_pred"], tensors["ztsnr"] = torch.tensor([]), torch.tensor([])


def with_leftovers(tensors: dict[str, Any]) -> None:
    import torch

    (table,) = [name for name in tensors if name.endswith("text_model.embeddings.token_embedding.weight")]
    tensors["alphas_cumprod"] = torch.ones(10)
    tensors[table.replace("token_embedding.weight", "position_ids")] = torch.arange(77)[None]
    if table.startswith("conditioner."):
        tensors["conditioner.embedders.1.model.logit_scale"] = torch.ones(())


def bare_diffusion_model(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("model.")]:
        tensors[name.removeprefix("model.")] = tensors.pop(name)


def without_text_model(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if ".text_model." in name]:
        tensors[name.replace(".text_model.", ".")] = tensors.pop(name)


def checkpoint(base: Path, target: Path, dtype: str = "float32", change: Change | None = None, **metadata: str) -> Path:
    import torch
    from safetensors.torch import save_file

    tensors = {name: value.to(getattr(torch, dtype)) for name, value in original(base).items()}
    if change:
        change(tensors)
    save_file(tensors, target, metadata or None)
    return target


def entry(path: Path, config: Path, family: str = "sd15", **other: Any) -> Base:
    values = {"name": "tiny", "family": family, "clip_skip": 0, "path": str(path), "config": str(config)}
    return Base.of({**values, **other})


@pytest.fixture
def folders(tiny_base: Path, tiny_sdxl: Path) -> dict[str, Path]:
    return {"sd15": tiny_base, "sdxl": tiny_sdxl}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_file_of_any_dtype_becomes_the_folder_it_was_made_of(
    folders: dict[str, Path], family: str, dtype: str, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    path = checkpoint(folders[family], tmp_path / "tiny.safetensors", dtype, with_average)
    made = local_base(entry(path, folders[family], family), tmp_path / "work").folder
    kept = torch.float16 if "float8" in dtype else getattr(torch, dtype)
    for weights in folders[family].rglob("*.safetensors"):
        theirs = load_file(weights)
        ours = load_file(made / weights.relative_to(folders[family]))
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            expected = value.to(getattr(torch, dtype)).to(kept)
            assert ours[name].dtype == kept
            assert torch.equal(ours[name], expected), name


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_converted_file_opens_as_a_pipeline(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    from charaloom.config.families import family_of
    from charaloom.diffusion.pipelines import open_pipeline

    path = checkpoint(folders[family], tmp_path / "tiny.safetensors", "float16", with_markers)
    base = entry(path, folders[family], family, prediction="v_prediction", zero_snr=True)
    folder = local_base(base, tmp_path / "work").folder
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"
    assert scheduler["rescale_betas_zero_snr"] is True
    assert scheduler["timestep_spacing"] == "trailing"
    assert open_pipeline(folder, family_of(family), threads=1).unet.config.cross_attention_dim in (32, 80)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("change", [with_leftovers, bare_diffusion_model, without_text_model])
def test_what_other_exporters_write_is_read(
    folders: dict[str, Path], family: str, change: Change, tmp_path: Path
) -> None:
    plain = checkpoint(folders[family], tmp_path / "plain.safetensors")
    other = checkpoint(folders[family], tmp_path / "other.safetensors", change=change)
    made = [local_base(entry(path, folders[family], family), tmp_path / "work").folder for path in (plain, other)]
    names = sorted(path.relative_to(made[0]) for path in made[0].rglob("*.safetensors"))
    assert names
    assert all((made[0] / name).read_bytes() == (made[1] / name).read_bytes() for name in names)


def test_a_file_in_the_layout_of_diffusers_is_read(tiny_sdxl: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {
        f"{weights.parent.name}.{name}": value
        for weights in tiny_sdxl.rglob("*.safetensors")
        for name, value in load_file(weights).items()
    }
    save_file(tensors, tmp_path / "tiny.safetensors")
    made = local_base(entry(tmp_path / "tiny.safetensors", tiny_sdxl, "sdxl"), tmp_path / "work").folder
    for weights in tiny_sdxl.rglob("*.safetensors"):
        assert load_file(weights).keys() == load_file(made / weights.relative_to(tiny_sdxl)).keys()


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_what_is_missing_is_named(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    def refused(change: Change, match: str) -> None:
        path = checkpoint(folders[family], tmp_path / "tiny.safetensors", change=change)
        with pytest.raises(CharaloomError, match=match):
            local_base(entry(path, folders[family], family), tmp_path / "work")

    refused(without_vae, "base `tiny`: tiny.safetensors has no VAE: set `vae`")
    refused(unet_alone, "has no VAE and no text encoder.*: take a whole checkpoint")
    refused(without_text_encoder, "tiny.safetensors has no text encoder: take a whole checkpoint")
    refused(lambda tensors: drop(tensors, "model.diffusion_model.middle_block.1."), "its UNet lacks .* of .* tensors")
    refused(lambda tensors: drop(tensors, "first_stage_model.decoder.mid"), "its VAE lacks")
    refused(spoiled, r"model\.diffusion_model\.out\.2\.weight of its UNet holds NaN or infinity")
    refused(wider, r"model\.diffusion_model\.out\.2\.weight has the shape \[4, 64, 3, 3\]")


def spoiled(tensors: dict[str, Any]) -> None:
    tensors["model.diffusion_model.out.2.weight"][0, 0, 0, 0] = float("nan")


def wider(tensors: dict[str, Any]) -> None:
    import torch

    name = "model.diffusion_model.out.2.weight"
    tensors[name] = torch.cat([tensors[name]] * 2, dim=1)


def test_a_missing_vae_comes_from_another_file(tiny_base: Path, tmp_path: Path) -> None:
    path = checkpoint(tiny_base, tmp_path / "tiny.safetensors", change=without_vae)
    for vae in (tiny_base / "vae" / "diffusion_pytorch_model.safetensors", tmp_path / "whole.safetensors"):
        if not vae.exists():
            checkpoint(tiny_base, vae)
        base = local_base(entry(path, tiny_base, vae=str(vae)), tmp_path / "work")
        own = (base.folder / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
        assert len(own) > 1000


def test_scaled_fp8_is_multiplied(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    def scaled(tensors: dict[str, Any]) -> None:
        tensors["model.diffusion_model.time_embed.0.scale_weight"] = torch.tensor([0.5])
        tensors["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)

    plain = checkpoint(tiny_base, tmp_path / "plain.safetensors", "float8_e4m3fn")
    path = checkpoint(tiny_base, tmp_path / "scaled.safetensors", "float8_e4m3fn", scaled)
    name, part = "time_embedding.linear_1.weight", Path("unet", "diffusion_pytorch_model.safetensors")
    before, after = (
        load_file(local_base(entry(file, tiny_base), tmp_path / "work").folder / part)[name] for file in (plain, path)
    )
    assert torch.equal(after, before * 0.5)


def test_a_conversion_is_deterministic_and_made_once(tiny_base: Path, tmp_path: Path) -> None:
    path = checkpoint(tiny_base, tmp_path / "tiny.safetensors", "float16")
    folders = [local_base(entry(path, tiny_base), tmp_path / work).folder for work in ("one", "two", "two")]
    names = sorted(file.relative_to(folders[0]) for file in folders[0].rglob("*") if file.is_file())
    assert folders[1] == folders[2]
    assert folders[0].name == folders[1].name
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names)


ONCE = """
import sys
from pathlib import Path
from charaloom.artifacts.files import sha256_file
from charaloom.config.params import Base
from charaloom.diffusion import bases
from charaloom.diffusion import bases
write = bases.write_folder
bases.write_folder = lambda *values: (print("converted", flush=True), write(*values))
file, config, work = sys.argv[1:]
base = Base(name="tiny", family="sd15", clip_skip=0, path=file, config=config)
bases.local_base(base, Path(work))
"""


def test_jobs_that_start_together_convert_once(tiny_base: Path, tmp_path: Path) -> None:
    path = checkpoint(tiny_base, tmp_path / "tiny.safetensors")
    command = [sys.executable, "-c", ONCE, str(path), str(tiny_base), str(tmp_path / "work")]
    package = {"PYTHONPATH": str(Path(__file__).parents[3] / "scripts"), "PATH": "/usr/bin:/bin"}
    jobs = [subprocess.Popen(command, env=package, stdout=subprocess.PIPE) for _ in range(3)]
    output = b"".join(job.communicate(timeout=120)[0] for job in jobs)
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert output.split() == [b"converted"]


def test_shards_and_variants_are_read(tiny_sdxl: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "base"
    shutil.copytree(tiny_sdxl, folder)
    text = folder / "text_encoder" / "model.safetensors"
    text.rename(text.with_name("model.fp16.safetensors"))
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors, names = load_file(unet), {}
    for shard in (0, 1):
        name = f"diffusion_pytorch_model-0000{shard + 1}-of-00002.safetensors"
        part = {key: value for index, (key, value) in enumerate(sorted(tensors.items())) if index % 2 == shard}
        save_file(part, unet.with_name(name))
        names |= dict.fromkeys(part, name)
    unet.unlink()
    unet.with_suffix(".safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    base = Base.of({"name": "tiny", "family": "sdxl", "clip_skip": 0, "path": str(folder)})
    made = local_base(base, tmp_path / "work").folder
    ours = load_file(made / "unet" / "diffusion_pytorch_model.safetensors")
    assert ours.keys() == tensors.keys()
    assert all((ours[name] == tensors[name]).all() for name in ours)
    assert (made / "text_encoder" / "model.safetensors").is_file()
    (folder / "unet" / name).unlink()
    with pytest.raises(CharaloomError, match=r"00002-of-00002\.safetensors cannot be read"):
        local_base(base, tmp_path / "work")


def test_f9_an_index_beside_whole_weights_is_not_followed(tiny_base: Path, tmp_path: Path) -> None:
    """diffusers would, and fail when the previews begin: the files that it names are not there."""
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file

    shutil.copytree(tiny_base, tmp_path / "base")
    weights = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    names = dict.fromkeys(load_file(weights), "diffusion_pytorch_model-00001-of-00002.safetensors")
    weights.with_suffix(".safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    base = Base.of({"name": "tiny", "family": "sd15", "clip_skip": 0, "path": str(tmp_path / "base")})
    made = local_base(base, tmp_path / "work").folder
    ours = UNet2DConditionModel.from_pretrained(made / "unet").state_dict()
    theirs = load_file(weights)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    (kept,) = made.glob("unet/*.safetensors")
    data = bytearray(kept.read_bytes())
    data[-1] ^= 64
    kept.write_bytes(data)
    assert local_base(base, tmp_path / "work").folder == made, "c10: a converted base that is damaged is made again"
    assert all((load_file(kept)[name] == theirs[name]).all() for name in theirs)


def test_a_folder_that_lacks_a_layer_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_base, tmp_path / "base")
    weights = tmp_path / "base" / "text_encoder" / "model.safetensors"
    save_file({name: value for name, value in load_file(weights).items() if "layers.1.mlp" not in name}, weights)
    base = Base.of({"name": "tiny", "family": "sd15", "clip_skip": 0, "path": str(tmp_path / "base")})
    with pytest.raises(CharaloomError, match=r"text encoder lacks 4 of 36 tensors.*layers\.1\.mlp\.fc1\.weight"):
        local_base(base, tmp_path / "work")


def test_a_file_of_the_hub_is_fetched_once_and_written_down(tiny_base: Path, tmp_path: Path) -> None:
    file = checkpoint(tiny_base, tmp_path / "tiny.safetensors")
    work = tmp_path / "work"
    work.mkdir()
    values = {"name": "tiny", "family": "sd15", "clip_skip": 0, "repo": "someone/tiny", "file": "tiny.safetensors"}
    base = Base.of({**values, "config": str(tiny_base)})
    with serving({"tiny.safetensors": file.read_bytes()}) as hub:
        (work / "models.lineage.json").write_text(json.dumps({"params": {"hub": hub.address}}))
        first = local_base(base, work)
        requests = len(hub.requests)
        hub.commit = "d" * 40  # `main` moved on
        assert local_base(base, work) == first
        assert len(hub.requests) == requests
    assert first.digest == sha256_file(file)
    trusted = json.loads((work / "hub" / "trusted.json").read_text())["model:someone/tiny@main"]
    assert trusted == {"revision": COMMIT, "files": {"tiny.safetensors": first.digest}}
    (cached,) = (work / "hub").rglob("snapshots/*/tiny.safetensors")
    cached.resolve().write_bytes(checkpoint(tiny_base, tmp_path / "other.safetensors", "float16").read_bytes())
    with pytest.raises(CharaloomError, match=r"someone/tiny/tiny\.safetensors has the SHA-256 .*, its first fetch saw"):
        local_base(base, work)


def test_a_folder_may_stand_for_the_hub(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "hub" / "someone" / "tiny")
    work = tmp_path / "work"
    work.mkdir()
    (work / "models.lineage.json").write_text(json.dumps({"params": {"hub": str(tmp_path / "hub")}}))
    base = Base.of({"name": "tiny", "family": "sd15", "clip_skip": 0, "repo": "someone/tiny"})
    assert local_base(base, work).folder == tmp_path / "hub" / "someone" / "tiny"
    with pytest.raises(CharaloomError, match="someone/other does not exist"):
        local_base(Base.of({**base.plain(), "repo": "someone/other"}), work)


def test_twenty_characters_on_three_bases_read_each_file_once(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [checkpoint(tiny_base, tmp_path / f"{dtype}.safetensors", dtype) for dtype in DTYPES[:3]]
    monkeypatch.setattr(digests, "SETTLED_SECONDS", -1.0)
    names: list[str] = []
    read, write = digests.read_file, bases.write_folder
    monkeypatch.setattr(digests, "read_file", lambda path: names.append(path.name) or read(path))
    monkeypatch.setattr(bases, "write_folder", lambda *values: names.append("converted") or write(*values))
    for _ in range(20):
        for file in files:
            local_base(entry(file, tiny_base), tmp_path / "work")
    assert [names.count(file.name) for file in files] == [1, 1, 1]
    assert names.count("converted") == names.count("model.safetensors") == 3, "each folder that a file becomes, once"

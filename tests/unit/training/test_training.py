"""The stage `checkpoints`: one real training on a tiny base, and each mend of hcpdiff shown on the stock version."""

import ast
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charaloom.artifacts.files import sha256_file
from charaloom.config.recipes import settled
from charaloom.diffusion.bases import local_base
from charaloom.diffusion.lora import EMBEDDING_KEY, bundle_weights, read_metadata, read_weights, write_weights
from charaloom.errors import CharaloomError
from charaloom.training import checkpoints as training
from charaloom.training import process as trainer_process
from charaloom.training.process import Trainee, run_trainer
from charaloom.training.trainer_config import hcp_config, milestones

STEPS = 6
TOLERANCE = 1e-4


def params(base: Path, **other: Any) -> dict[str, Any]:
    entry = {"name": "tiny", "path": str(base), "repo": None, "revision": None}
    return {
        "base": {**entry, "family": "sd15", "clip_skip": 1, "licence": "mit"},
        "seed": 1,
        "trigger": "hana_charaloom",
        "version": 1,
        "recipe": "pivotal",
        "by_pictures": [{"from": 0, "rank": 2}, {"from": 8, "rank": 4}, {"from": 9, "rank": 8}],
        "steps": STEPS,
        "save_every": 3,
        "warmup": 0,
        "ema": 0.99,
        "min_snr": 5.0,
        "gradient_checkpointing": False,
        "mode": "reproducible",
        "early_stopping": None,
        "regularisation": None,
        "regularisation_batch": 1,
        "regularisation_weight": 1.0,
        "batch": 2,
        "resolution": 64,
        "buckets": 3,
        "alpha": 2,
        "rate_unet": 0.01,
        "rate_text": 0.01,
        "rate_embedding": 0.1,
        "vectors": 3,
        "text_only": 0.5,
        "caption_dropout": 0.1,
        "tag_dropout": 0.0,
        "threads": 1,
        "precision": "fp32",
        **other,
    }


OUTFITS = {"trigger": "hana_charaloom", "outfits": [], "core": ["blue_hair", "${neko.eval:print(1)}"]}


def write_dataset(folder: Path, pictures: list[tuple[str, bytes]]) -> dict[str, Path]:
    """A dataset as the stage before writes it, its manifest, and outfits.json."""
    rows = [
        {
            "image": {"bytes": content, "path": name},
            "caption": f"hana_charaloom, 1girl, pose {name[:3]}",
            "tags": ["1girl"],
            "repeats": 1,
        }
        for name, content in pictures
    ]
    (folder / "dataset" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "dataset" / "data" / "train-00000.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:1]), folder / "dataset" / "data" / "held_out-00000.parquet")
    (folder / "dataset.manifest.json").write_text(json.dumps({"counts": {"train": len(rows)}}) + "\n")
    (folder / "outfits.json").write_text(json.dumps(OUTFITS))
    return {
        "dataset": folder / "dataset",
        "dataset_manifest": folder / "dataset.manifest.json",
        "outfits": folder / "outfits.json",
    }


@contextmanager
def environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def trained(
    tiny_base: Path, drawn_pictures: list[tuple[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """One training step by step, so that what HCP itself wrote (`raw`) is still there, in an unfriendly place."""
    root = tmp_path_factory.mktemp("first") / "with spaces $HOME {a}"
    inputs = write_dataset(root, drawn_pictures)
    chosen = params(tiny_base)
    base = local_base(chosen["base"], root / "work")
    room = root / "work" / "hana" / "room"
    room.mkdir(parents=True)
    training.prepare(room, inputs["dataset"], OUTFITS)
    facts = training.lineage(
        "checkpoints",
        "hana",
        training.known_params(chosen, base),
        {"dataset": inputs["dataset_manifest"], "outfits": inputs["outfits"]},
    )
    final = settled(chosen, len(drawn_pictures))
    with environment(HF_TOKEN="hf_canary", AWS_SECRET="canary"), training.locked(room) as lock:
        config = hcp_config("hana", final, base)
        run_trainer(Trainee(room, config, base, 1, root / "log.txt", lock))
    kept = training.collect("hana", final, base, room, config, root / "checkpoints", facts["digest"])
    return SimpleNamespace(
        root=root, room=room, raw=room / "run" / "ckpts", folder=root / "checkpoints", kept=kept, log=root / "log.txt"
    )


@pytest.mark.slow
def test_what_is_written(trained: SimpleNamespace) -> None:
    names = ["step-000003", "step-000006"]
    files = [f"{name}{ending}.safetensors" for name in names for ending in ("", "_emb")]
    assert sorted(path.name for path in trained.folder.iterdir()) == sorted(["config.py", "loss.tsv", *files])
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in trained.folder.iterdir())
    assert trained.kept == [
        {"name": name, "step": step, "lora": f"{name}.safetensors", "embedding": f"{name}_emb.safetensors"}
        for name, step in zip(names, (3, 6), strict=True)
    ]
    losses = [line.split("\t") for line in (trained.folder / "loss.tsv").read_text().splitlines()]
    assert losses[0] == ["step", "loss", "rate_unet", "rate_text", "rate_embedding"]
    assert [int(line[0]) for line in losses[1:]] == list(range(1, STEPS + 1))
    assert [float(rate) for rate in losses[1][2:]] == [0.01, 0.01, 0.1]


@pytest.mark.slow
def test_files_carry_no_path_host_clock_or_secret(trained: SimpleNamespace) -> None:
    for path in trained.folder.iterdir():
        content = path.read_bytes()
        assert str(trained.root).encode() not in content
        assert b"canary" not in content
        assert b"/tmp" not in content
    assert "canary" not in trained.log.read_text()
    found = read_metadata(trained.folder / "step-000006.safetensors")
    assert found["modelspec.trigger_phrase"] == "hana_charaloom"
    assert (found["ss_network_dim"], found["ss_steps"]) == ("4", "6")
    assert json.loads(found["ss_tag_frequency"]) == {"hana": {"1girl": 8}}


@pytest.mark.slow
def test_everything_that_should_learn_did(trained: SimpleNamespace) -> None:
    first, last = (read_weights(trained.folder / f"step-{step:06d}.safetensors") for step in (3, 6))
    assert len([name for name in last if name.startswith("lora_unet_")]) == 120
    assert len([name for name in last if name.startswith("lora_te_text_model_")]) == 36
    skipped = "lora_te_text_model_encoder_layers_1_"  # clip skip 2: the last layer is not in the way of anything
    ups = [name for name in last if name.endswith("lora_up.weight") and not name.startswith(skipped)]
    assert all(last[name].abs().max() > 0 and (last[name] != first[name]).any() for name in ups)
    assert all(last[name] == 2.0 for name in last if name.endswith(".alpha"))
    one, two = (read_weights(trained.folder / f"step-{step:06d}_emb.safetensors")[EMBEDDING_KEY] for step in (3, 6))
    assert one.shape == (3, 32)
    assert ((one != two).any(1)).all()


@pytest.mark.slow
def test_c4_second_run_elsewhere_after_a_kill_is_bit_identical(
    trained: SimpleNamespace, tiny_base: Path, drawn_pictures: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    """Another folder, and the rests of a killed run in the work folder and beside the output."""
    inputs, chosen = write_dataset(tmp_path, drawn_pictures), params(tiny_base)
    base = local_base(chosen["base"], tmp_path / "work")
    named = {"dataset": inputs["dataset_manifest"], "outfits": inputs["outfits"]}
    facts = training.lineage("checkpoints", "hana", training.known_params(chosen, base), named)
    key = training.room_key("hana", settled(chosen, len(drawn_pictures)), base, facts)
    room = tmp_path / "work" / "hana" / f"checkpoints-{key}"
    (room / "run" / "ckpts").mkdir(parents=True)
    (room / "run" / "ckpts" / "lora_unet-6.safetensors").write_bytes(b"half")
    (room / ".inputs.x.part").mkdir()
    (tmp_path / ".checkpoints.x.part").mkdir()
    target = {"folder": tmp_path / "checkpoints", "manifest": tmp_path / "checkpoints.manifest.json"}
    training.train("hana", chosen, **inputs, **target, work=tmp_path / "work", log=tmp_path / "log.txt")
    for path in trained.folder.iterdir():
        assert sha256_file(path) == sha256_file(tmp_path / "checkpoints" / path.name), path.name
    manifest = json.loads(target["manifest"].read_text())
    assert manifest["checkpoints"] == trained.kept
    assert manifest["counts"] == {"pictures": 8, "checkpoints": 2}
    assert manifest["lineage"]["params"]["software"]["hcpdiff"] == "2.6"
    assert manifest["lineage"]["params"]["threads"] == 1
    assert str(tiny_base) not in target["manifest"].read_text()
    assert manifest["training"] == {"steps": 6, "rank": 4, "mode": "reproducible", "recipe": "pivotal"}
    assert not list(tmp_path.glob(".*.part"))
    page = (tmp_path / "log" / "training.html").read_text()
    assert "step 6 of 6" in page
    assert page.count("<svg") == 6
    assert list((tmp_path / "log" / "tensorboard").glob("events.out.tfevents.*"))


def train_once(folder: Path, inputs: dict[str, Path], chosen: dict[str, Any], **other: Any) -> dict[str, str]:
    """A training into `folder`/checkpoints with `folder`/work; the digests of its weights by file."""
    places = {"folder": folder / "checkpoints", "manifest": folder / "checkpoints.manifest.json"}
    training.train("hana", chosen, **inputs, **places, work=folder / "work", log=folder / "log.txt", **other)
    return {path.name: sha256_file(path) for path in weights(folder / "checkpoints")}


def weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def tensors_equal(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors; the lineage in their headers differs with the steps asked for."""
    first, second = read_weights(one), read_weights(other)
    return first.keys() == second.keys() and all((first[key] == second[key]).all() for key in first)


@pytest.mark.slow
def test_more_steps_go_on_and_fewer_train_nothing(
    trained: SimpleNamespace, tiny_base: Path, drawn_pictures: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    inputs, log = write_dataset(tmp_path, drawn_pictures), tmp_path / "log.txt"
    train_once(tmp_path, inputs, params(tiny_base, steps=4))
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*4.safetensors")] == ["step-000004.safetensors"]
    longer = train_once(tmp_path, inputs, params(tiny_base))
    assert "going on after step 4 of 6" in log.read_text()
    assert longer == {path.name: sha256_file(path) for path in weights(trained.folder)}
    before = log.read_text()
    train_once(tmp_path, inputs, params(tiny_base, steps=3))
    assert log.read_text() == before, "what was trained before is enough"
    assert len((tmp_path / "checkpoints" / "loss.tsv").read_text().splitlines()) == 4
    for ending in ("", "_emb"):
        name = f"step-000003{ending}.safetensors"
        assert tensors_equal(tmp_path / "checkpoints" / name, trained.folder / name)
    train_once(tmp_path, inputs, params(tiny_base, save_every=2))
    assert "the checkpoint of step 2 was not kept" in log.read_text()
    train_once(tmp_path, inputs, params(tiny_base, rate_unet=0.02))
    rooms = [path for path in (tmp_path / "work" / "hana").iterdir() if (path / "run").exists()]
    assert len(rooms) == 1, "the room of other settings is given back"


@pytest.mark.slow
def test_early_stopping_ends_in_the_bytes_of_a_training_of_that_length(
    tiny_base: Path, drawn_pictures: list[tuple[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two checkpoints in a row are no better than the one before: the third is the last."""
    given = {3: 0.8, 6: 0.7, 9: 0.8, 12: 0.9}
    asked: list[int] = []

    def first_scores(character: str, params: Any, steps: list[Any], *_: Any) -> dict[str, float]:
        asked.extend(step.step for step in steps)
        return {step.name: given[step.step] for step in steps}

    monkeypatch.setattr(training, "first_scores", first_scores)
    (tmp_path / "models.json").write_text("{}\n")
    inputs = write_dataset(tmp_path, drawn_pictures)
    sources = training.Sources(inputs["outfits"], inputs["dataset"], "", "", "", tmp_path / "models.json")
    early = params(tiny_base, steps=12, early_stopping=2, previews={"bases": []})
    stopped = train_once(tmp_path / "early", inputs, early, judged_by=sources)
    assert asked == [3, 6, 9]
    assert stopped.keys() == train_once(tmp_path / "straight", inputs, params(tiny_base, steps=9)).keys()
    for name in stopped:
        assert tensors_equal(*(tmp_path / way / "checkpoints" / name for way in ("early", "straight"))), name
    told = json.loads((tmp_path / "early" / "checkpoints.manifest.json").read_text())["training"]
    assert told["steps"] == 9
    assert told["early_stopping"] == {"step-000003": 0.8, "step-000006": 0.7, "step-000009": 0.8}
    assert train_once(tmp_path / "early", inputs, early, judged_by=sources) == stopped, "again: nothing is trained"


@pytest.mark.slow
def test_two_threads_share_a_batch_and_give_the_same_bytes_each_time(
    trained: SimpleNamespace, tiny_base: Path, drawn_pictures: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    digests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        inputs = write_dataset(tmp_path / name, drawn_pictures)
        digests.append(train_once(tmp_path / name, inputs, params(tiny_base, threads=2)))
    assert digests[0] == digests[1]
    alone, shared = (
        [float(line.split("\t")[1]) for line in (folder / "loss.tsv").read_text().splitlines()[1:]]
        for folder in (trained.folder, tmp_path / "first" / "checkpoints")
    )
    assert shared == pytest.approx(alone, rel=1e-3), "the same training but for the last bits"
    assert shared[0] == pytest.approx(alone[0], rel=1e-6)


@pytest.mark.slow
def test_a_warm_process_trains_the_same_bytes_and_ends_by_itself(
    trained: SimpleNamespace,
    tiny_base: Path,
    drawn_pictures: list[tuple[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer_process.tempfile, "gettempdir", lambda: str(tmp_path))
    wanted = {path.name: sha256_file(path) for path in weights(trained.folder)}
    starts = []
    for name in ("first", "broken", "second"):  # one that fails, fails alone
        (tmp_path / name).mkdir()
        inputs = write_dataset(tmp_path / name, drawn_pictures)
        started = time.monotonic()
        if name == "broken":
            with pytest.raises(CharaloomError, match=r"(?s)the trainer failed with code 1.*the loss is nan"):
                train_once(tmp_path / name, inputs, params(tiny_base, rate_unet=1.0, alpha=1e20), warm_seconds=5)
            continue
        assert train_once(tmp_path / name, inputs, params(tiny_base), warm_seconds=5) == wanted
        starts.append(time.monotonic() - started)
    assert starts[1] < starts[0] / 2, "the second finds everything loaded"
    (folder,) = tmp_path.glob("charaloom-*")
    (socket,) = (path for path in folder.iterdir() if not path.suffix)
    limit = time.monotonic() + 30
    while socket.exists():
        assert time.monotonic() < limit
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("warm", [0, 5])
def test_c12_told_to_stop_it_keeps_its_state_and_goes_on(
    trained: SimpleNamespace,
    tiny_base: Path,
    drawn_pictures: list[tuple[str, bytes]],
    tmp_path: Path,
    warm: float,
) -> None:
    """SIGTERM to the job, as SLURM sends it before the time is over."""
    inputs = {name: str(path) for name, path in write_dataset(tmp_path, drawn_pictures).items()}
    target = {"folder": str(tmp_path / "checkpoints"), "manifest": str(tmp_path / "checkpoints.manifest.json")}
    log = tmp_path / "log.txt"
    facts = {"params": params(tiny_base, steps=2000, save_every=1000), **inputs, **target}
    facts |= {"work": str(tmp_path / "work"), "log": str(log), "warm_seconds": warm}
    command = [sys.executable, "-W", "ignore", "-c", JOB, json.dumps(facts)]
    environment = {**os.environ, "PYTHONPATH": str(Path(training.__file__).parents[2]), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as job:
        wait_for(lambda: log.exists() and "step 20/2000" in log.read_text(), job)
        job.send_signal(signal.SIGTERM)
        _, said = job.communicate(timeout=60)
    assert "told to stop; run again and it goes on from the state it kept" in said
    (state,) = (tmp_path / "work").glob("hana/checkpoints-*/run/state.pt")
    assert state.stat().st_size > 0
    assert not (tmp_path / "checkpoints").exists()


JOB = """
import json, sys
from charaloom.training import checkpoints as training
training.train("hana", **json.loads(sys.argv[1]))
"""


EVERY_STEP = """
import json, sys
from string import Template
from charaloom.training import checkpoints as training
from charaloom.training import trainer_config as training_config
training_config.CONFIG = training_config.CONFIG.replace("state_seconds=60", "state_seconds=0")
training.train("hana", **json.loads(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [[2, 4], [5]])
def test_a_training_that_is_killed_goes_on_and_ends_in_the_same_bytes(
    trained: SimpleNamespace,
    tiny_base: Path,
    drawn_pictures: list[tuple[str, bytes]],
    tmp_path: Path,
    killed_after: list[int],
) -> None:
    """Kill -9 of the job, whose trainer dies with it, after some steps; then a run to the end."""
    inputs = {name: str(path) for name, path in write_dataset(tmp_path, drawn_pictures).items()}
    target = {"folder": str(tmp_path / "checkpoints"), "manifest": str(tmp_path / "checkpoints.manifest.json")}
    log = tmp_path / "log.txt"
    facts = {"params": params(tiny_base), **inputs, **target, "work": str(tmp_path / "work"), "log": str(log)}
    command = [sys.executable, "-W", "ignore", "-c", EVERY_STEP, json.dumps(facts)]
    environment = {**os.environ, "PYTHONPATH": str(Path(training.__file__).parents[2])}
    for step in killed_after:
        with subprocess.Popen(command, env=environment) as job:
            wait_for(lambda step=step: log.exists() and f"step {step}/{STEPS}" in log.read_text(), job)
            job.kill()
        assert not (tmp_path / "checkpoints").exists()
    subprocess.run(command, env=environment, check=True)
    assert log.read_text().count("going on after step") == len(killed_after)
    for path in trained.folder.glob("*.safetensors"):
        assert sha256_file(path) == sha256_file(tmp_path / "checkpoints" / path.name), path.name
    assert (trained.folder / "loss.tsv").read_text() == (tmp_path / "checkpoints/loss.tsv").read_text()


def wait_for(happened: Callable[[], bool], job: subprocess.Popen[bytes], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not happened():
        assert job.poll() is None, "it ended before"
        assert time.monotonic() < limit
        time.sleep(0.01)


# --- what HCP trained is what others load


def prompts() -> list[str]:
    return ["hana_emb, hana_charaloom, 1girl, blue hair", "hana_charaloom, red hair"]


@pytest.fixture(scope="session")
def outputs_of_hcp(trained: SimpleNamespace, tiny_base: Path) -> dict[str, Any]:
    """Text encodings and noise predictions of HCP's own layers with the weights that HCP wrote."""
    import torch
    from hcpdiff.ckpt_manager import HCPLoraLoader
    from hcpdiff.easy import SD15_auto_loader
    from hcpdiff.models import SD15Wrapper, TEHookCFG
    from hcpdiff.models.compose import ComposeTokenizer
    from hcpdiff.models.text_emb_ex import EmbeddingPTHook
    from rainbowneko import _share

    _share.loggers = SimpleNamespace(info=print)
    wrapper = SD15Wrapper.from_pretrained(SD15_auto_loader(str(tiny_base)), TE_hook_cfg=TEHookCFG(clip_skip=1))
    wrapper.requires_grad_(False)
    for part in ("lora_unet", "lora_te"):
        HCPLoraLoader(path=str(trained.raw / f"{part}-6.safetensors")).load_to(part, model=wrapper)
    embedding = torch.nn.Parameter(read_weights(trained.raw / "hana_emb-6.safetensors")[EMBEDDING_KEY])
    EmbeddingPTHook.hook({"hana_emb": embedding}, wrapper.tokenizer, wrapper.TE, N_repeats=1)
    wrapper.post_init()
    wrapper.eval()
    settings = {"truncation": True, "padding": "max_length", "return_tensors": "pt"}
    tokens = ComposeTokenizer.tokenize_ex(wrapper.tokenizer, prompts(), **settings).input_ids
    with torch.no_grad():
        text = wrapper.forward_TE(tokens, None)
        noise = wrapper.forward_denoiser(latents(), tokens, text, torch.tensor([500, 20]))
    return {"text": text, "noise": noise}


def latents() -> Any:
    import torch

    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def outputs_of_diffusers(trained: SimpleNamespace, tiny_base: Path) -> dict[str, Any]:
    """The same from diffusers, with the files of the stage: LoRA and embedding, and without them."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    outputs: dict[str, Any] = {}
    for name in ("plain", "loaded"):
        if name == "loaded":
            pipe.load_lora_weights(trained.folder / "step-000006.safetensors")
            pipe.load_textual_inversion(trained.folder / "step-000006_emb.safetensors", token="hana_emb")
        with torch.no_grad():
            text = pipe.encode_prompt(prompts(), "cpu", 1, False, clip_skip=1)[0]
            outputs[name] = {"text": text, "noise": pipe.unet(latents(), torch.tensor([500, 20]), text).sample}
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("part", ["text", "noise"])
def test_diffusers_computes_what_hcp_trained(
    part: str, outputs_of_hcp: dict[str, Any], outputs_of_diffusers: dict[str, Any]
) -> None:
    ours, theirs = outputs_of_hcp[part], outputs_of_diffusers["loaded"][part]
    assert (ours - theirs).abs().max() <= TOLERANCE
    assert (ours - outputs_of_diffusers["plain"][part]).abs().max() > 100 * TOLERANCE, "the files change nothing"


@pytest.mark.slow
def test_lora_without_its_embedding_still_answers_to_the_text_trigger(
    trained: SimpleNamespace, tiny_base: Path, outputs_of_hcp: dict[str, Any]
) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipe.load_lora_weights(trained.folder / "step-000006.safetensors")
    with torch.no_grad():
        text = pipe.encode_prompt(prompts()[1:], "cpu", 1, False, clip_skip=1)[0]
    assert (outputs_of_hcp["text"][1:] - text).abs().max() <= TOLERANCE


@pytest.mark.slow
def test_bundle_is_refused_by_diffusers(trained: SimpleNamespace, tiny_base: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    lora = read_weights(trained.folder / "step-000006.safetensors")
    embedding = read_weights(trained.folder / "step-000006_emb.safetensors")[EMBEDDING_KEY]
    write_weights(tmp_path / "bundle.safetensors", bundle_weights(lora, {EMBEDDING_KEY: embedding}, "hana_emb"), {})
    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    with pytest.raises(ValueError, match=r"Invalid LoRA checkpoint|have not been correctly renamed"):
        pipe.load_lora_weights(tmp_path / "bundle.safetensors")


# --- what is mended in hcpdiff 2.6: the stock version shows the fault, ours does not


@pytest.mark.slow
def test_mend_noise_schedule_is_the_base_models_own(tiny_base: Path) -> None:
    import torch
    from diffusers import DDPMScheduler
    from hcpdiff.easy import SD15_auto_loader

    from charaloom.training.hcp.noise import NoiseSchedule

    steps = torch.arange(0, 1000, 37)
    wanted = DDPMScheduler.from_pretrained(tiny_base, subfolder="scheduler").alphas_cumprod[steps]
    stock = SD15_auto_loader(str(tiny_base))["noise_sampler"].sigma_scheduler
    assert torch.equal(stock.alpha(steps / 1000), (steps / 1000).sqrt()), "no schedule at all, and the wrong way round"
    ours = NoiseSchedule(str(tiny_base))
    assert torch.equal(ours.alpha(steps / 1000), wanted.sqrt())
    assert torch.equal(ours.sigma(steps / 1000), (1 - wanted).sqrt())
    drawn = ours.timer.sample((1000,))
    assert torch.equal(ours.c_noise(drawn), ours.c_noise(drawn).round())
    assert 0 <= drawn.min() < 0.05 < 0.95 < drawn.max() < 1
    assert not torch.equal(stock.c_noise(stock.timer.sample((9,))) % 1, torch.zeros(9))


@pytest.mark.slow
def test_mend_min_snr_weights_by_the_schedule(tiny_base: Path) -> None:
    import torch
    from hcpdiff.diffusion.sampler import VPSampler
    from hcpdiff.loss import DiffusionLossContainer, MinSNRWeight

    from charaloom.training.hcp.noise import NoiseSchedule

    sampler, latent, times = VPSampler(NoiseSchedule(str(tiny_base))), latents(), torch.tensor([0.02, 0.9])
    noise, guess = torch.ones_like(latent), torch.zeros_like(latent)
    pred = {"model_pred": guess, "noise": noise, "timesteps": times, "x_0": latent, "x_t": latent}
    loss = DiffusionLossContainer(MinSNRWeight(torch.nn.MSELoss(reduction="none"), gamma=5.0))
    snr = sampler.sigma_scheduler.alpha(times) ** 2 / sampler.sigma_scheduler.sigma(times) ** 2
    assert snr[0] > 5 > snr[1]
    wanted = (torch.minimum(snr, torch.tensor(5.0)) / snr).mean()
    assert torch.isclose(loss({**pred, "noise_sampler": sampler}, {}), wanted)


@pytest.mark.slow
def test_mend_embedding_on_the_device_of_the_model(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from hcpdiff.ckpt_manager import EmbFormat
    from hcpdiff.easy import SD15_auto_loader
    from hcpdiff.parser import CfgEmbPTParser
    from rainbowneko import _share

    from charaloom.training.hcp.text import EmbeddingFormat, EmbeddingParser

    _share.loggers = SimpleNamespace(info=print)
    models = SD15_auto_loader(str(tiny_base))
    model = SimpleNamespace(tokenizer=models["tokenizer"], TE=models["TE"])
    model.tokenizer.N_repeats = 1
    EmbFormat().save_ckpt(("hana_emb", torch.ones(2, 32)), str(tmp_path / "hana_emb.pt"))
    assert (tmp_path / "hana_emb.pt").read_bytes()[:2] == b"PK", "a pickle in a zip"
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
            CfgEmbPTParser(str(tmp_path), {"hana_emb": {"lr": 1e-3}}).get_params_group(model)
    (tmp_path / "core.json").write_text('["blue hair"]')
    parser = EmbeddingParser("hana_emb", 3, 0.01, str(tmp_path / "core.json"), seed=1)
    groups, words = parser.get_params_group(model)
    assert (groups[0]["lr"], groups[0]["weight_decay"]) == (0.01, 0.0)
    table = model.TE.get_input_embeddings().weight
    assert torch.equal(words["hana_emb"], parser.start(model.tokenizer, table.detach()))
    assert words["hana_emb"].requires_grad
    EmbeddingFormat().save_ckpt(("hana_emb", words["hana_emb"]), str(tmp_path / "hana_emb.safetensors"))
    assert torch.equal(read_weights(tmp_path / "hana_emb.safetensors")[EMBEDDING_KEY], words["hana_emb"].detach())


@pytest.mark.slow
def test_mend_order_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rainbowneko.data.label_loader import TXTLabelLoader

    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").touch()
        (tmp_path / f"{name}.txt").write_text(name)
    orders = []
    for backwards in (False, True):  # the order that a file system lists a folder in is its own affair
        files = sorted(tmp_path.glob("*.*"), reverse=backwards)
        monkeypatch.setattr(Path, "iterdir", lambda self, files=files: iter(files))
        orders.append(list(TXTLabelLoader(str(tmp_path)).load()))
    assert orders[0] == orders[1][::-1]
    (tmp_path / "captions.json").write_text('{"b.png": "b", "a.png": "a"}')
    source = caption_source(tmp_path)
    assert source.img_ids == ["b.png", "a.png"]


def caption_source(folder: Path, **other: Any) -> Any:
    from charaloom.training.hcp.data import CaptionSource

    (folder / "triggers.json").write_text('["hana_charaloom", "hana_red_kimono"]')
    facts = {"triggers": str(folder / "triggers.json"), "word": "hana_emb"}
    facts |= {"text_only": 0.25, "dropout": 0.1, "tag_dropout": 0.0}
    return CaptionSource(str(folder), str(folder / "captions.json"), **{**facts, **other})


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "into", "out"), [(512, 64, 64), (512, 64, 256), (8, 64, 48), (77, 320, 1280)])
@pytest.mark.parametrize("bias", [True, False])
def test_mend_lora_computes_what_hcps_computes(rows: int, into: int, out: int, bias: bool) -> None:
    """Many rows and few, square and wide: every way through the layer, against the stock one."""
    import torch
    from hcpdiff.models.lora_layers_patch import LoraLayer

    from charaloom.training.hcp.layers import Lora, LoraContainer

    found = []
    for kind in (LoraLayer, Lora):
        torch.manual_seed(1)
        host = torch.nn.ModuleDict({"layer": torch.nn.Linear(into, out, bias)}).requires_grad_(False)
        block = kind.wrap_layer("lora", host["layer"], rank=4, alpha=2.0, parent_block=host, host_name="layer")
        torch.nn.init.normal_(block.layer.W_up)
        x = torch.randn(2, rows, into, requires_grad=True)
        result = host["layer"](x)
        gradients = torch.autograd.grad(result.square().mean(), [x, block.layer.W_down, block.layer.W_up])
        found.append([result, *gradients])
        assert isinstance(host["layer"], LoraContainer) == (kind is Lora)
    for stock, ours in zip(*found, strict=True):
        assert torch.allclose(stock, ours, rtol=1e-4, atol=1e-5 * float(stock.abs().max()))


@pytest.mark.slow
def test_hcpdiff_has_no_loha_that_could_be_a_recipe() -> None:
    """When this fails, a recipe for it is worth a look: docs/training.md says why there is none."""
    with pytest.raises(ModuleNotFoundError, match=r"hcpdiff\.models\.plugin"):
        import hcpdiff.models.lora_layers  # noqa: F401


@pytest.mark.slow
def test_mend_latents_are_encoded_once_and_survive(
    trained: SimpleNamespace, tiny_base: Path, drawn_pictures: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    whole = load_file(trained.room / "latents" / "pictures.safetensors")
    assert len([name for name in whole if name.endswith(".latent")]) == len(drawn_pictures)
    inputs = write_dataset(tmp_path, drawn_pictures[:4])
    chosen = params(tiny_base, steps=1, save_every=1, buckets=1)
    train_once(tmp_path, inputs, chosen)
    (kept,) = (tmp_path / "work").glob("hana/*/latents/pictures.safetensors")
    fewer = {name: value.tolist() for name, value in load_file(kept).items()}  # a copy
    before = kept.stat().st_mtime_ns
    assert set(fewer) < set(whole)
    train_once(tmp_path, inputs, {**chosen, "steps": 2})
    assert kept.stat().st_mtime_ns == before, "encoded once"
    kept.write_bytes(b"half")
    train_once(tmp_path, inputs, {**chosen, "steps": 3})
    assert "cannot be read" in (tmp_path / "log.txt").read_text()
    assert {name: value.tolist() for name, value in load_file(kept).items()} == fewer


@pytest.mark.slow
def test_regularisation_pictures_train_beside_hers(
    trained: SimpleNamespace, tiny_base: Path, drawn_pictures: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    inputs, others = write_dataset(tmp_path, drawn_pictures), tmp_path / "others"
    others.mkdir()
    chosen = params(tiny_base, regularisation=str(others), regularisation_digest="of the folder")
    with pytest.raises(CharaloomError, match="no pictures to regularise with"):
        train_once(tmp_path, inputs, chosen)
    for name, content in drawn_pictures[:3]:
        (others / name).write_bytes(content)
        (others / name).with_suffix(".txt").write_text("1girl,\n solo")
    digests = train_once(tmp_path, inputs, chosen)
    assert digests != {path.name: sha256_file(path) for path in weights(trained.folder)}
    (captions,) = (tmp_path / "work").glob("hana/*/inputs/regularisation.json")
    assert set(json.loads(captions.read_text()).values()) == {"1girl, solo"}
    assert str(others) not in (tmp_path / "checkpoints.manifest.json").read_text()


@pytest.mark.slow
def test_mend_captions(tmp_path: Path) -> None:
    from hcpdiff.data.handler import TagEraseHandler, TagShuffleHandler, TemplateFillHandler

    text = "hana_charaloom, hana_red_kimono, 1girl, red kimono, {smile}"
    stock = {"prompt": {"template": "{word}, {caption}", "caption": text}}
    emptied = TemplateFillHandler({"word": "hana_emb"})(TagEraseHandler(p=1.0)(stock))
    assert emptied["prompt"] == "hana_emb, ", "a dropped caption is not empty"
    random.seed(1)
    fronts = {TagShuffleHandler()({"prompt": text})["prompt"].split(",")[0] for _ in range(50)}
    assert len(fronts) > 1, "the trigger wanders"

    (tmp_path / "captions.json").write_text(json.dumps({"a.png": text}))
    source = caption_source(tmp_path)
    random.seed(1)
    drawn = [source[0]["prompt"] for _ in range(4000)]
    texts = [TemplateFillHandler({})({"prompt": prompt})["prompt"] for prompt in drawn]
    shares = {
        "empty": sum(not text for text in texts) / 4000,
        "alone": sum(text.startswith("hana_charaloom, ") for text in texts) / 4000,
        "word": sum(text.startswith("hana_emb, hana_charaloom, ") for text in texts) / 4000,
    }
    assert shares == pytest.approx({"empty": 0.1, "alone": 0.9 * 0.25, "word": 0.9 * 0.75}, abs=0.02)
    assert {tuple(sorted(text.split(", ")[-3:])) for text in texts if text} == {("1girl", "red kimono", "{smile}")}
    plain = caption_source(tmp_path, word=None, dropout=0.0, tag_dropout=0.5)
    drawn = [plain.draw(text).split(", ") for _ in range(400)]
    assert all(parts[:2] == ["hana_charaloom", "hana_red_kimono"] for parts in drawn)
    assert sum(len(parts) - 2 for parts in drawn) / 400 == pytest.approx(1.5, abs=0.15)


class Sizes:
    """A data source of pictures that are only sizes."""

    def __init__(self, sizes: list[tuple[int, int]]):
        self.sizes, self.pairs = sizes, False

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self.sizes):
            raise IndexError
        return (self.sizes[index], self) if self.pairs else self.sizes[index]

    def get_image_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    @contextmanager
    def return_source(self) -> Iterator[None]:
        self.pairs = True
        yield
        self.pairs = False


@pytest.mark.slow
def test_mend_buckets() -> None:
    import numpy as np
    from rainbowneko.data import RatioBucket

    from charaloom.training.hcp.data import Buckets

    odd = Sizes([(64, 64)] * 20 + [(64, 128)])
    settings = {"target_area": 64 * 64, "num_bucket": 3}
    stock, ours = RatioBucket.from_files(**settings), Buckets.from_files(**settings)
    stock.build(bs=8, world_size=1, source=odd)
    ours.build(bs=8, world_size=1, source=odd)
    times = [sum(int(np.sum(bucket == 20)) for bucket in found.buckets) for found in (stock, ours)]
    assert times[0] == 8, "the odd picture fills a batch of its own"
    assert times[1] <= 2
    orders = []
    for seed in (1, 1, 2):
        ours.seed = seed
        ours.rest(0)
        orders.append(ours.idx_bucket.tolist())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    few = Sizes([(64, 64), (96, 64)])
    with pytest.raises(ValueError, match="n_samples"):
        RatioBucket.from_files(**settings).build(bs=8, world_size=1, source=few)
    ours = Buckets.from_files(**settings)
    ours.build(bs=8, world_size=1, source=few)
    assert len(ours) == 8


@pytest.mark.slow
def test_mend_checkpoints_and_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hcpdiff.trainer_ac import HCPTrainer
    from rainbowneko.ckpt_manager import NekoSaver

    from charaloom.training.hcp.trainer import Trainer

    saved: list[int] = []
    monkeypatch.setattr(NekoSaver, "save_all", lambda **facts: saved.append(facts["name_template"]))
    facts = {"ckpt_saver": {}, "model_wrapper": None, "all_plugin": {}, "train_pts": {}, "averaged": []}
    facts["optimizer"] = SimpleNamespace(param_groups=[])
    log = SimpleNamespace(info=print)

    def save(kind: type) -> list[Any]:
        saved.clear()
        trainer = kind.__new__(kind)
        trainer.__dict__ |= {**facts, "loggers": log, "exp_dir": str(tmp_path), "losses": []}
        trainer.__dict__ |= {"kept": time.monotonic(), "keep": lambda step: None}
        trainer.cfgs = SimpleNamespace(train=SimpleNamespace(milestones=[3, 7], rates=["rate_unet"], state_seconds=60))
        for trainer.real_step in (1, 2, 3, 4, 7, 7):  # the loop saves at the last step, and once more after it
            trainer.save_model()
        return list(saved)

    assert save(type("Stock", (HCPTrainer,), {"model_raw": None}))[-2:] == ["{}-7", "{}-7"]
    assert save(Trainer) == ["{}-3", "{}-7"]

    trainer = Trainer.__new__(Trainer)
    trainer.__dict__ |= {"cfgs": SimpleNamespace(seed=1), "global_step": 4, "losses": []}
    trainer.optimizer = SimpleNamespace(param_groups=[])
    monkeypatch.setattr(
        "rainbowneko.train.trainer.Trainer.train_one_step", lambda self, data: ({"loss": float("nan")},)
    )
    with pytest.raises(SystemExit, match="step 5: the loss is nan"):
        trainer.train_one_step({})


def test_a_milestone_keeps_the_average_of_the_last_steps() -> None:
    import torch

    from charaloom.training.hcp.trainer import Trainer

    def after(steps: int, decay: float) -> Any:
        weights = torch.nn.Parameter(torch.zeros(2))
        trainer = Trainer.__new__(Trainer)
        trainer.__dict__ |= {"cfgs": SimpleNamespace(train=SimpleNamespace(ema=decay)), "averaged": [[torch.ones(2)]]}
        trainer.optimizer = SimpleNamespace(param_groups=[{"params": [weights]}])
        for step in range(1, steps + 1):
            weights.data.fill_(float(step))
            trainer.follow(step)
        with trainer.average_in_place():
            shown = weights.detach().clone()
        assert weights.tolist() == [steps, steps], "training goes on from its own weights"
        return shown[0].item()

    assert after(5, decay=0.0) == 5.0
    assert after(1000, decay=0.9) == pytest.approx(1000 - 9, abs=1e-2)  # the mean age at decay d is d / (1 - d) steps
    assert after(20, decay=0.999) > 10, "where it began is forgotten soon"


@pytest.mark.slow
def test_a_full_disk_costs_the_new_state_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from charaloom.training.hcp import trainer as hcp

    kind = type("OnTheCpu", (hcp.Trainer,), {"device": torch.device("cpu")})
    trainer = kind.__new__(kind)
    trainer.__dict__ |= {"exp_dir": str(tmp_path), "losses": ["1\t0.5"]}
    trainer.cfgs = SimpleNamespace(train=SimpleNamespace(train_steps=9, milestones=[9]))
    weights = torch.nn.Parameter(torch.ones(3))
    trainer.optimizer = torch.optim.AdamW([weights])
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: 1.0)
    trainer.averaged = [[torch.full((3,), 2.0)]]
    trainer.keep(4)
    weights.data.zero_()
    trainer.averaged[0][0].zero_()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(hcp.torch, "save", full)
        trainer.keep(5)
    assert "No space left" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert trainer.restore() == 4
    assert weights.tolist() == [1.0, 1.0, 1.0]
    assert trainer.averaged[0][0].tolist() == [2.0, 2.0, 2.0]
    (tmp_path / "state.pt").write_bytes(b"half")
    assert trainer.restore() == 0


@pytest.mark.slow
def test_mend_reproducible_settings() -> None:
    import torch
    from rainbowneko.engine import NekoEngineMixin

    from charaloom.training.hcp.seeding import seed_all
    from charaloom.training.hcp.trainer import Trainer

    try:
        NekoEngineMixin(None, {}, seed=1)
        assert torch.backends.cudnn.benchmark, "kernels are chosen by the clock"
        trainer = Trainer.__new__(Trainer)
        trainer.cfgs = SimpleNamespace(mixed_precision="no", seed=1, train=SimpleNamespace(reproducible=True))
        trainer.init_context({})
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    draws = []
    for before in (0, 5):  # whatever was drawn before, step 7 draws the same
        torch.rand(before + 1)
        seed_all(1, "noise", 7)
        draws.append((random.random(), torch.rand(2).tolist()))
    assert draws[0] == draws[1]


# --- the config, the environment, the process


def test_config_is_plain_data(tiny_base: Path, tmp_path: Path) -> None:
    chosen = settled(params(tiny_base), 8)
    base = local_base(chosen["base"], tmp_path)
    source = hcp_config("hana", chosen, base)
    tree = ast.parse(source)
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not any("${" in text or "---" in text for text in strings), "OmegaConf would evaluate it"
    assert str(tiny_base) not in source
    for key in ("rank", "steps", "alpha"):
        with pytest.raises((ValueError, TypeError)):
            hcp_config("hana", {**chosen, key: "4, __import__('os').system('true')"}, base)
    with pytest.raises(CharaloomError, match="names consist of"):
        hcp_config("hana}'); print(1)", chosen, base)


def test_config_without_embedding_or_text_encoder(tiny_base: Path, tmp_path: Path) -> None:
    chosen = settled(params(tiny_base, vectors=0, rate_text=0.0), 8)
    source = hcp_config("hana", chosen, local_base(chosen["base"], tmp_path))
    ast.parse(source)
    assert "emb_pt=None" in source
    assert "lora_te" not in source
    assert "word=None" in source


@pytest.mark.parametrize(("steps", "every", "wanted"), [(10, 5, [5, 10]), (7, 3, [3, 6, 7]), (3, 9, [3])])
def test_milestones_are_multiples_and_the_last_step(steps: int, every: int, wanted: list[int]) -> None:
    assert milestones(steps, every) == wanted


def test_h5_trainer_sees_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "DANBOORU_KEY"):
        monkeypatch.setenv(name, "canary")
    seen = trainer_process.child_environment(threads=3)
    assert "canary" not in seen.values()
    assert (seen["OMP_NUM_THREADS"], seen["PYTHONHASHSEED"], seen["HF_HUB_OFFLINE"]) == ("3", "0", "1")
    assert seen["PATH"] == os.environ["PATH"]


def test_c7_second_run_on_the_same_work_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LOCK_SECONDS", 0.1)
    with (
        training.locked(tmp_path / "room"),
        pytest.raises(CharaloomError, match="another run trains here"),
        training.locked(tmp_path / "room"),
    ):
        pass
    with training.locked(tmp_path / "room"):
        pass


PARENT = """
import subprocess
import time
from charaloom.runtime.processes import die_with_parent
child = subprocess.Popen(["sleep", "60"], preexec_fn=die_with_parent)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_c2_trainer_dies_with_its_parent() -> None:
    package = {"PYTHONPATH": str(Path(training.__file__).parents[2])}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env={**os.environ, **package}
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_unusable_dataset_is_told(drawn_pictures: list[tuple[str, bytes]], tmp_path: Path) -> None:
    inputs = write_dataset(tmp_path, drawn_pictures)
    shard = inputs["dataset"] / "data" / "train-00000.parquet"
    row = {"image": {"bytes": b"<svg>", "path": "a.png"}, "caption": "hana", "tags": ["1girl"], "repeats": 1}
    pq.write_table(pa.Table.from_pylist([row]), shard)
    with pytest.raises(CharaloomError, match=r"picture a\.png: not readable"):
        training.prepare(tmp_path / "room", inputs["dataset"], OUTFITS)
    shard.unlink()
    with pytest.raises(CharaloomError, match="no training picture"):
        training.prepare(tmp_path / "room", inputs["dataset"], OUTFITS)
    assert not list((tmp_path / "room").iterdir())


def test_failure_of_the_trainer_is_quoted(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = local_base(params(tiny_base)["base"], tmp_path)
    room, program = tmp_path / "room", tmp_path / "program"
    program.write_text("#!/bin/sh\necho step 1: the loss is nan >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with (
        training.locked(room) as lock,
        pytest.raises(CharaloomError, match=r"(?s)failed with code 3.*the loss is nan"),
    ):
        run_trainer(Trainee(room, "", base, 1, tmp_path / "log.txt", lock))

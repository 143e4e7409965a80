"""The trainer itself, built from a config on the tiny base: milestones, average, state, reproducible settings."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import write_text
from charaloom.artifacts.sealed import whole_sealed
from charaloom.diffusion.bases import local_base
from charaloom.training.inputs import prepare
from charaloom.training.process import link
from charaloom.training.trainer_config import hcp_config
from tests.unit.training.trainings import OUTFITS, Pictures, params, write_dataset

pytestmark = pytest.mark.slow

Build = Callable[..., Any]


@pytest.fixture
def build(
    tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Build]:
    """Builds trainers in a working directory, as `hcp.process.train_here` does; undoes what they set globally."""
    import torch
    from accelerate.state import AcceleratorState
    from rainbowneko.parser import load_config_with_cli

    from charaloom.training.hcp.trainer import Trainer

    workdir, inputs = tmp_path / "workdir", write_dataset(tmp_path, drawn_pictures)
    (workdir / "board").mkdir(parents=True)
    monkeypatch.chdir(workdir)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    threads = torch.get_num_threads()

    def built(**other: Any) -> Trainer:
        chosen = params(tiny_base, **other).settled(len(drawn_pictures))
        base = local_base(chosen.base, tmp_path / "work")
        prepare(workdir, Path(inputs.dataset), OUTFITS, chosen, base)
        link(workdir / "base", base.folder)
        write_text(workdir / "config.py", hcp_config("hana", chosen, base))
        torch.set_num_threads(1)
        AcceleratorState._reset_state(reset_partial_state=True)  # one process trains once, with one precision
        return Trainer(*load_config_with_cli("config.py", args_list=[]))

    yield built
    for number, handler in handlers.items():
        signal.signal(number, handler)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
    torch.set_num_threads(threads)


def checkpoints() -> list[str]:
    return sorted(path.name for path in Path("run/ckpts").glob("lora_unet-*"))


def test_mend_milestones_are_saved_once_and_the_last_step_too(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from hcpdiff.trainer_ac import HCPTrainer
    from rainbowneko.ckpt_manager import NekoSaver

    trainer = build(steps=4, save_every=3)
    saved: list[str] = []
    save_all = NekoSaver.save_all
    monkeypatch.setattr(
        NekoSaver, "save_all", lambda **facts: saved.append(facts["name_template"]) or save_all(**facts)
    )
    trainer.train()
    assert saved == ["{}-3", "{}-4"]
    assert checkpoints() == ["lora_unet-3.safetensors", "lora_unet-4.safetensors"]
    saved.clear()
    for _ in range(2):  # the loop saves at the last step, and once more after it
        HCPTrainer.save_model(trainer)
    assert saved == ["{}-4", "{}-4"], "stock"


def test_a_batch_larger_than_the_set_trains(build: Build) -> None:
    build(steps=1, save_every=1, batch=64).train()
    assert checkpoints() == ["lora_unet-1.safetensors"]


def test_c9_mend_nan_ends_the_training(build: Build) -> None:
    with pytest.raises(SystemExit, match=r"step \d: the loss is nan"):
        build(rate_unet=1.0, alpha=1e20).train()


def test_a_milestone_keeps_the_average_of_the_last_steps(build: Build) -> None:
    trainer = build(steps=1)
    trainer.train()

    def average(steps: int, decay: float) -> float:
        """Of weights that are 1, 2, 3 … after each step, from 1."""
        trainer.cfgs.train.ema = decay
        for values in trainer.averaged:
            for value in values:
                value.fill_(1.0)
        weights = [value for values in trainer.weights for value in values]
        for step in range(1, steps + 1):
            for value in weights:
                value.fill_(float(step))
            trainer.follow(step)
        with trainer.average_in_place():
            shown = [float(value.flatten()[0]) for value in weights]
        assert all((value == steps).all() for value in weights), "training goes on from its own weights"
        assert max(shown) == min(shown)
        return shown[0]

    assert average(5, decay=0.0) == 5.0
    assert average(400, decay=0.9) == pytest.approx(400 - 9, abs=1e-2)  # the mean age is decay / (1 - decay) steps
    assert average(20, decay=0.999) > 10, "the initial weights are forgotten soon"


def test_a_full_disk_costs_the_new_state_only(
    build: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from charaloom.training.hcp import trainer as hcp

    trainer = build(steps=2, save_every=2)
    trainer.train()
    tensors = [value for values in (*trainer.weights, *trainer.averaged) for value in values]
    saved = [value.clone() for value in tensors]
    for value in tensors:
        value.zero_()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(hcp.torch, "save", full)
        trainer.keep(3)
    assert "No space left" in capsys.readouterr().out
    assert [Path("run", name) for name in os.listdir("run") if "state" in name] == [whole_sealed(Path("run/state.pt"))]
    assert trainer.restore() == 2
    assert all((value == before).all() for value, before in zip(tensors, saved, strict=True))
    whole_sealed(Path("run/state.pt")).write_bytes(b"half")
    assert trainer.restore() == 0


def test_told_to_stop_at_any_moment_the_state_is_kept(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the trainer decides whether a state is due."""
    from charaloom.training.hcp import trainer as hcp

    trainer, now = build(steps=4, save_every=4), time.monotonic

    def told() -> float:
        if trainer.saved == 2:  # set as the step's save begins
            trainer.stop_soon(signal.SIGTERM, None)
        return now()

    monkeypatch.setattr(hcp.time, "monotonic", told)
    monkeypatch.setattr(hcp.Trainer, "report", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == hcp.STOPPED
    assert whole_sealed(Path("run/state.pt"))


def test_mend_reproducible_settings(build: Build) -> None:
    import torch
    from rainbowneko.engine import NekoEngineMixin

    from charaloom.training.hcp.seeding import seed_all

    NekoEngineMixin(None, {}, seed=1)
    assert torch.backends.cudnn.benchmark, "stock: kernels are chosen by the clock"
    build()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    numbers = []
    for before in (0, 5):  # whatever was sampled before, step 7 samples the same
        torch.rand(before + 1)
        seed_all(1, "noise", 7)
        numbers.append((random.random(), torch.rand(2).tolist()))
    assert numbers[0] == numbers[1]


def test_bf16_holds_the_base_alone(build: Build) -> None:
    """What learns, its moments and its average are fp32, and so are noise, target and loss."""
    import torch

    trainer = build(precision="bf16", steps=2)
    wrapper, seen = trainer.model_wrapper, []
    assert wrapper.vae is None
    frozen = [value for value in wrapper.parameters() if not value.requires_grad]
    assert {value.dtype for value in frozen} == {torch.bfloat16}
    computed = trainer.get_loss

    def noted(name: str, predicted: dict[str, Any], inputs: dict[str, Any]) -> Any:
        seen.extend(predicted[part].dtype for part in ("model_pred", "noise", "x_0", "x_t"))
        return computed(name, predicted, inputs)

    trainer.get_loss = noted
    trainer.train()
    assert set(seen) == {torch.float32}
    moments = [value for state in trainer.optimizer.state.values() for value in state.values()]
    for value in (*wrapper.trainable_parameters, *chain(*trainer.averaged), *moments):
        assert value.dtype == torch.float32


def test_the_scale_of_an_fp16_loss_is_part_of_the_state(build: Build) -> None:
    import torch

    trainer = build(steps=1)
    trainer.train()
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    trainer.keep(1)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    assert trainer.restore() == 1
    assert trainer.accelerator.scaler.get_scale() == 8.0


@pytest.mark.parametrize("setting", [True, False])
def test_gradient_checkpointing_keeps_less_for_the_backward_pass(build: Build, setting: bool) -> None:
    import torch

    trainer = build(gradient_checkpointing=setting, steps=1)
    kept: dict[int, int] = {}

    def note(value: torch.Tensor) -> torch.Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        trainer.train()
    weights = {value.untyped_storage().data_ptr() for value in trainer.model_wrapper.parameters()}
    own = sum(size for storage, size in kept.items() if storage not in weights)
    assert (own < 700_000) == setting


def test_frozen_text_encoders_are_on_the_device_only_while_they_encode(build: Build) -> None:
    import torch

    from charaloom.training.hcp import ahead

    trainer = build(rate_text=0, vectors=0, steps=3)
    text, encoders = trainer.text, trainer.model_wrapper.TE
    places = [value.data_ptr() for value in encoders.parameters()]
    tokens, calls = torch.randint(0, 500, (2, 1, 77)), []
    expected = trainer.model_wrapper.forward_TE(tokens, None).double()
    hook = encoders.register_forward_hook(lambda *_: calls.append(next(encoders.parameters()).data_ptr()))
    batch = {"pictures": {"prompt": tokens}}
    with ahead.put_back(encoders):
        encoders.double()  # other memory, as a move has
        text.encode([batch])
    assert calls
    assert not set(calls) & set(places)
    assert [value.data_ptr() for value in encoders.parameters()] == places
    states = trainer.model_wrapper.forward_TE(batch["pictures"]["prompt"], None)
    assert torch.allclose(states, expected, atol=1e-4)
    calls.clear()
    trainer.train()
    assert len(calls) == 3, "once for each step, before the first"
    hook.remove()
    assert build().text is None, "with a text encoder that learns there is nothing to encode in advance"


def test_compiling_is_for_a_gpu(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    build(compile=True)
    assert "training.compile is for a GPU: nothing is compiled here" in capsys.readouterr().out

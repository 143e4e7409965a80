"""The trainer's process: killed, told to stop, warm, failing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charaloom.artifacts.files import sha256_file
from charaloom.diffusion.bases import local_base
from charaloom.errors import CharaloomError
from charaloom.training import process, working_directory
from charaloom.training.process import TrainerRun, run_trainer
from charaloom.training.working_directory import locked
from tests.unit.training.trainings import (
    SCRIPTS,
    STEPS,
    WARM_SECONDS,
    Pictures,
    Trained,
    digests_of,
    params,
    train_once,
    write_dataset,
)


@pytest.mark.slow
def test_a_warm_process_trains_the_same_bytes_and_ends_by_itself(
    trained: Trained,
    tiny_base: Path,
    drawn_pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    starts, start_warm = [], process.start_warm
    sockets = tmp_path_factory.mktemp("w")  # a short name: a socket's path has 107 letters at most
    monkeypatch.setattr(process.tempfile, "gettempdir", lambda: str(sockets))
    monkeypatch.setattr(process, "start_warm", lambda *args: starts.append(args) or start_warm(*args))
    for name in ("first", "broken", "second"):  # one that fails, fails alone
        (tmp_path / name).mkdir()
        inputs = write_dataset(tmp_path / name, drawn_pictures)
        if name == "broken":
            with pytest.raises(CharaloomError, match=r"(?s)the trainer failed with code 1.*the loss is nan"):
                train_once(tmp_path / name, inputs, params(tiny_base, rate_unet=1.0, alpha=1e20))
            continue
        assert train_once(tmp_path / name, inputs, params(tiny_base)) == digests_of(trained.folder)
    assert len(starts) == 1, "the second finds everything loaded"
    (folder,) = sockets.glob("charaloom-*")
    (socket,) = (path for path in folder.iterdir() if not path.suffix)
    limit = time.monotonic() + 3 * WARM_SECONDS
    while socket.exists():
        assert time.monotonic() < limit
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("warm", [0, 5])
def test_c12_told_to_stop_it_keeps_its_state_and_goes_on(
    trained: Trained,
    tiny_base: Path,
    drawn_pictures: Pictures,
    tmp_path: Path,
    warm: float,
) -> None:
    """SIGTERM to the job, as SLURM sends it before the time is over."""
    write_dataset(tmp_path, drawn_pictures)
    log = tmp_path / "log.txt"
    chosen = json.dumps(params(tiny_base, steps=2000, save_every=1000).plain())
    command = [sys.executable, "-W", "ignore", "-c", JOB, str(tmp_path), chosen, str(warm)]
    variables = {**os.environ, "PYTHONPATH": str(SCRIPTS), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as job:
        wait_for(lambda: log.exists() and "step 20/2000" in log.read_text(), job)
        job.send_signal(signal.SIGTERM)
        _, errors = job.communicate(timeout=60)
    assert "told to stop; run again and it goes on from the state it kept" in errors
    (state,) = (tmp_path / "work").glob("hana/checkpoints-*/run/state.*.pt")
    assert state.stat().st_size > 0
    assert not (tmp_path / "checkpoints").exists()


JOB = """
import json, sys
from pathlib import Path
from charaloom.config.params import Checkpoints
from charaloom.training.checkpoints import TrainingInputs, train
folder, chosen, warm = Path(sys.argv[1]), Checkpoints.of(json.loads(sys.argv[2])), float(sys.argv[3])
inputs = TrainingInputs(folder / "dataset", folder / "outfits.json", folder / "dataset.training.json")
places = {"folder": folder / "checkpoints", "manifest": folder / "checkpoints.manifest.json", "work": folder / "work"}
train("hana", chosen, inputs, **places, log=folder / "log.txt", warm_seconds=warm)
"""
EVERY_STEP = """
from charaloom.training import trainer_config
trainer_config.CONFIG = trainer_config.CONFIG.replace("state_seconds=60", "state_seconds=0")
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [[2, 4], [5]])
def test_a_training_that_is_killed_goes_on_and_ends_in_the_same_bytes(
    trained: Trained,
    tiny_base: Path,
    drawn_pictures: Pictures,
    tmp_path: Path,
    killed_after: list[int],
) -> None:
    """Kill -9 of the job after some steps, its trainer dies with it; then a run to the end."""
    write_dataset(tmp_path, drawn_pictures)
    log = tmp_path / "log.txt"
    chosen = json.dumps(params(tiny_base).plain())
    command = [sys.executable, "-W", "ignore", "-c", EVERY_STEP + JOB, str(tmp_path), chosen, "0"]
    variables = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    for step in killed_after:
        with subprocess.Popen(command, env=variables) as job:
            wait_for(lambda step=step: log.exists() and f"step {step}/{STEPS}" in log.read_text(), job)
            job.kill()
        assert not (tmp_path / "checkpoints").exists()
    subprocess.run(command, env=variables, check=True)
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


@pytest.mark.slow
def test_c7_a_client_that_says_nothing_holds_up_no_training(
    trained: Trained,
    tiny_base: Path,
    drawn_pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Nor one that sends half a line, none of the files, nonsense, or hangs up at once."""
    sockets = tmp_path_factory.mktemp("w")
    monkeypatch.setattr(process.tempfile, "gettempdir", lambda: str(sockets))
    reached, silent = process.reached, []

    def crowded(name: Path) -> socket.socket | None:
        for said in (b"", b'{"workdir":', b"nonsense\n", None):
            if (other := reached(name)) is not None:
                silent.append(other)
                if said is None:
                    other.close()
                else:
                    other.sendall(said)
        return reached(name)

    monkeypatch.setattr(process, "reached", crowded)
    inputs = write_dataset(tmp_path, drawn_pictures)
    assert train_once(tmp_path, inputs, params(tiny_base)) == digests_of(trained.folder)
    assert len(silent) >= 4
    assert "no warm trainer" not in (tmp_path / "log.txt").read_text()
    for other in silent:
        other.close()


@pytest.mark.slow
@pytest.mark.parametrize("other", ["a file", "a link", "open to others"])
def test_a_place_for_sockets_that_somebody_else_made_costs_the_warm_trainer_alone(
    trained: Trained,
    tiny_base: Path,
    drawn_pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other: str,
) -> None:
    taken = tmp_path / f"charaloom-{os.getuid()}"
    if other == "a file":
        taken.write_text("x")
    elif other == "a link":
        taken.symlink_to("/nowhere")
    else:
        taken.mkdir()
        taken.chmod(0o777)
    monkeypatch.setattr(process.tempfile, "gettempdir", lambda: str(tmp_path))
    inputs = write_dataset(tmp_path, drawn_pictures)
    chosen = params(tiny_base, steps=1, save_every=1)
    run = {"warm_seconds": WARM_SECONDS}
    assert train_once(tmp_path, inputs, chosen, **run)
    assert "no warm trainer" in (tmp_path / "log.txt").read_text()


def test_h5_trainer_sees_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "DANBOORU_KEY"):
        monkeypatch.setenv(name, "canary")
    values = process.child_environment(threads=3)
    assert "canary" not in values.values()
    assert (values["OMP_NUM_THREADS"], values["PYTHONHASHSEED"], values["HF_HUB_OFFLINE"]) == ("3", "0", "1")
    assert values["PATH"] == os.environ["PATH"]


def test_c7_second_run_on_the_same_work_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_directory, "LOCK_SECONDS", 0.1)
    with locked(tmp_path), pytest.raises(CharaloomError, match="another run trains here"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("echo step 1: the loss is nan >&2; exit 3", r"(?s)failed with code 3;.*the loss is nan"),
        ("exit 2", "failed with code 2;"),
        ("echo CUDA out of memory. Tried to; exit 1", "failed with code 1 .*`charaloom check` names the settings"),
        ("exit 15", "failed with code 15;"),
        ("exit 143", "told to stop"),
        ("kill -TERM $$", "told to stop"),
        ("kill -INT $$", "told to stop"),
        ("kill -SEGV $$", "ended by signal 11;"),
        ("kill -KILL $$", "ended by signal 9 .*memory ran out"),
    ],
)
def test_c8_each_ending_of_the_trainer_is_named(
    ending: str, message: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, program = local_base(params(tiny_base).base, tmp_path), tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{ending}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with locked(tmp_path / "workdir") as lock, pytest.raises(CharaloomError, match=message):
        run_trainer(TrainerRun(tmp_path / "workdir", "", base, 1, tmp_path / "log.txt", lock))

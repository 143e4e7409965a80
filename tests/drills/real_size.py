"""make drill-real-size: SD 1.5 and SDXL of real size with random weights, from one fp16 file to a picture, on a CPU.

    make drill-real-size                            both, 512 px: 25 GB of disk, less than 20 GB of memory
    make drill-real-size ARGS="--resolution 256"    a quarter of the computation

Of each family it writes one file in the original layout (SDXL with the markers of v-prediction), lets Charaloom find
out what it is and convert it, trains two steps in bf16, trains them again but is told to stop in the first and goes on,
and renders one step with the LoRA in kohya keys. Each part is a process; the most memory of its tree is measured, what
it maps of files apart. The last line is JSON; it ends with 1 where the second training has other bytes.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from charaloom.artifacts.files import sha256_file
from charaloom.runtime.processes import die_with_parent
from tests.real_size import pictures, write_checkpoint, write_project, write_vocabulary
from tests.unit.training.trainings import write_dataset

ROOT = Path(__file__).parents[2]
STARTED = "***** Running training *****"  # in the trainer's log, when it can be told to stop
PREPARE = """
import sys
from pathlib import Path
from dataclasses import replace
from charaloom.config.params import Checkpoints, Previews
from charaloom.config.project import load_project
from charaloom.config.stage_params import stage_params
from charaloom.diffusion.bases import local_base
folder, rendered = Path(sys.argv[1]), Path(sys.argv[2])
project = load_project([folder / "config.yaml"])
params = Checkpoints.of(stage_params(project, "hana", "checkpoints"))
work = Path(project.config["paths"]["work"])
"""
OPEN = """
base = local_base(params.base, work)
print(f"{base.family.title}, predicts {base.prediction}, zero terminal SNR {base.entry.zero_snr}")
"""
TRAIN = """
from charaloom.training.checkpoints import TrainingInputs, train
inputs = TrainingInputs(folder / "dataset", folder / "outfits.json", folder / "dataset.training.json")
places = {"folder": rendered / "checkpoints", "manifest": rendered / "checkpoints.manifest.json", "work": rendered}
for name in ("bases", "hub"):
    if not (rendered / name).exists():
        rendered.mkdir(parents=True, exist_ok=True)
        (rendered / name).symlink_to(work / name)
train("hana", params, inputs, **places, log=rendered / "log.txt")
"""
RENDER = """
from charaloom.diffusion.checkpoints import read_checkpoints
from charaloom.diffusion.pipelines import BasePipeline
previews = Previews.of(stage_params(project, "hana", "previews"))
pipeline = BasePipeline(local_base(previews.bases[0], work), params.threads)
(picture,) = pipeline.render(read_checkpoints(rendered / "checkpoints")[-1], ["hana_charaloom, 1girl"], [1], previews)
picture.save(rendered / "preview.png")
"""


@dataclass
class Measured:
    """Seconds and most memory of one part, in bytes: of its own, and with the files that it maps."""

    seconds: float = 0.0
    own: int = 0
    mapped: int = 0


@dataclass
class Memory:
    """Looks at a process and its children from time to time."""

    process: "subprocess.Popen[bytes]"
    measured: Measured
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.ended.wait(0.3):
            sums = [rollup(pid) for pid in tree(self.process.pid)]
            self.measured.own = max(self.measured.own, sum(own for own, _ in sums))
            self.measured.mapped = max(self.measured.mapped, sum(whole for _, whole in sums))


def tree(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def rollup(pid: int) -> tuple[int, int]:
    """Bytes of a process, shared ones by the share: anonymous memory, and all (proc_pid_smaps(5))."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return sizes.get("Pss_Anon", 0) + sizes.get("Pss_Shmem", 0), sizes.get("Pss", 0)


@dataclass
class Drill:
    """One family."""

    family: str
    folder: Path
    parts: dict[str, Measured] = field(default_factory=dict)

    def run(self, part: str, script: str, rendered: Path, while_running: Callable[[Any], None] = lambda _: None) -> int:
        """The exit code of a part in a process of its own."""
        command = [sys.executable, "-W", "ignore", "-c", PREPARE + script, str(self.folder), str(rendered)]
        measured = self.parts[part] = Measured()
        began = time.monotonic()
        with (self.folder / f"{part}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT / "scripts"), "PATH": "/usr/bin:/bin"},
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        memory = Memory(process, measured)
        watcher = threading.Thread(target=memory.watch)
        watcher.start()
        while_running(process)
        code = process.wait()
        memory.ended.set()
        watcher.join()
        measured.seconds = time.monotonic() - began
        print(f"{self.family}: {part}: {measured.seconds:.0f} s, {measured.own / 1e9:.1f} GB", flush=True)
        return code

    def must(self, part: str, script: str, rendered: Path) -> None:
        if self.run(part, script, rendered):
            sys.exit(f"{self.family}: {part} failed:\n{(self.folder / f'{part}.log').read_text()[-3000:]}")


def drill(family: str, options: argparse.Namespace) -> dict[str, Any]:
    folder = options.work / family
    for name in ("straight", "stopped", "work", "dataset", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
    file = folder / "illustrated.safetensors"
    began = time.monotonic()
    write_checkpoint(file, family, markers=family == "sdxl")
    print(f"{family}: {file.stat().st_size / 1e9:.1f} GB written in {time.monotonic() - began:.0f} s", flush=True)
    training = {"precision": "bf16", "steps": 2, "save_every": 2, "batch": 1, "rank": 16, "threads": options.threads}
    training |= {"gradient_checkpointing": True, "optimizer": options.optimizer, "warmup": 0}
    write_project(folder, file, options.resolution, training)
    write_vocabulary(folder / "work")
    write_dataset(folder, pictures(4, options.resolution))
    this = Drill(family, folder)
    this.must("open", OPEN, folder)
    print((folder / "open.log").read_text().strip(), flush=True)
    this.must("train", TRAIN, folder / "straight")
    code = this.run("stop", TRAIN, folder / "stopped", lambda process: stop(process, folder / "stopped" / "log.txt"))
    if not code or "told to stop" not in (folder / "stopped" / "log.txt").read_text():
        sys.exit(f"{family}: it did not stop when told so: {(folder / 'stop.log').read_text()[-3000:]}")
    this.must("go on", TRAIN, folder / "stopped")
    this.must("render", RENDER, folder / "stopped")
    same = digests(folder / "straight") == digests(folder / "stopped")
    return {
        "seconds": {part: round(measured.seconds) for part, measured in this.parts.items()},
        "gb": {part: round(measured.own / 1e9, 2) for part, measured in this.parts.items()},
        "gb_with_mapped_files": {part: round(measured.mapped / 1e9, 2) for part, measured in this.parts.items()},
        "peak_gb": round(max(measured.own for measured in this.parts.values()) / 1e9, 2),
        "same_bytes": same,
    }


def stop(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """SIGTERM to a job in its first step, as SLURM sends it before the time is over."""
    while process.poll() is None and not (log.exists() and STARTED in log.read_text(errors="replace")):
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted((folder / "checkpoints").glob("*.safetensors"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=("sd15", "sdxl"), default=["sd15", "sdxl"])
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "adamw8bit", "prodigy"))
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "drill-real-size", help="for models and trainings")
    options = parser.parse_args()
    options.work = options.work.resolve()
    result = {family: drill(family, options) for family in options.families}
    print(json.dumps(result))
    sys.exit(0 if all(figures["same_bytes"] for figures in result.values()) else 1)


if __name__ == "__main__":
    main()

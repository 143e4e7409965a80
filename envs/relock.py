"""Writes the locks and the conda files of this folder from the `*.in` files. Needs uv on the PATH and an index.

    python envs/relock.py             keeps what is locked, adds and removes what the `*.in` files ask for
    python envs/relock.py --upgrade   takes the newest versions that the `*.in` files allow

Each lock holds exact versions with the hashes of every file of them and names no index. All four targets (x86_64 and
aarch64, Python 3.11 and 3.12) must come out alike, so that one list without conditions serves them all.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).resolve().parent
TARGETS = [(f"{machine}-manylinux_2_28", python) for machine in ("x86_64", "aarch64") for python in ("3.11", "3.12")]
# Without a wheel for every target: the first two are plain Python, bchlib is C and lacks aarch64.
SOURCE = ["antlr4-python3-runtime", "connection-pool", "bchlib"]

# pip inside conda resolves, so it must see the builds of OpenCV that packages declare; libgl lets them load.
DECLARED_OPENCV = ["opencv-contrib-python", "opencv-python", "opencv-python-headless"]
ONE_OPENCV = "opencv-contrib-python-headless"
CONTROLLER_ONLY = re.compile(r"snakemake-executor-plugin-slurm\b")

CONDA = """\
# {role}
# Written by relock.py with the pins of the locks: do not edit.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - libgl
  - pip:
"""


def blocks(lock: str) -> dict[str, str]:
    """Package name -> its lines in a lock (pin and hashes)."""
    return {re.match(r"[\w.-]+", block)[0]: block for block in re.split(r"\n(?=\w)", lock.strip()) if block[0] != "#"}


def compiled(source: Path, target: tuple[str, str], *options: str) -> str:
    command = ["uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "--no-emit-index-url"]
    platform, python = target
    command += ["--python-platform", platform, "--python-version", python, *options, str(source)]
    return subprocess.run(command, cwd=ENVS, check=True, text=True, stdout=subprocess.PIPE).stdout


def locked(source: str, lock: str, without: dict[str, str], override: bool = True) -> dict[str, str]:
    """Blocks of every package that `source` needs and `without` lacks, the same for all targets; written to `lock`.

    What `without` and the present lock pin stays as it is, the latter unless --upgrade is given.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        kept = {} if "--upgrade" in sys.argv else blocks((ENVS / lock).read_text()) if (ENVS / lock).exists() else {}
        pins.write_text("\n".join(block.split()[0] for block in {**kept, **without}.values()))
        options = ["--generate-hashes", "--constraint", str(pins)]
        if override:
            options += ["--override", "overrides.txt"]
        first, *others = (blocks(compiled(ENVS / source, target, *options)) for target in TARGETS)
        if any(other != first for other in others):
            sys.exit(f"{source}: the targets need different packages; pin what differs in {source}")
        new = {name: block for name, block in first.items() if name not in without}
        pins.write_text("\n".join(block.split()[0] for block in new.values()))
        for target in TARGETS:  # fails where a package has no wheel for a target
            wheels = ["--no-deps", "--only-binary", ":all:", *(f"--no-binary={name}" for name in SOURCE)]
            compiled(pins, target, *wheels)
    head = f"# Written by relock.py from {source}: do not edit.\n"
    (ENVS / lock).write_text(head + "\n".join(new.values()) + "\n")
    return new


def write_conda(name: str, role: str, packages: dict[str, str]) -> None:
    pins = [block.split()[0] for package, block in packages.items() if not CONTROLLER_ONLY.match(package)]
    opencv = next(pin for pin in pins if pin.startswith(ONE_OPENCV))
    pins.remove(opencv)
    pins += [opencv.replace(ONE_OPENCV, declared) for declared in DECLARED_OPENCV]
    text = CONDA.format(role=role) + "".join(f"      - {pin}\n" for pin in sorted(pins))
    (ENVS / name).write_text(text)


def needed_by(source: str, within: dict[str, str]) -> dict[str, str]:
    """The blocks of `within` that `source` needs."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text("\n".join(block.split()[0] for block in within.values()))
        options = ["--constraint", str(pins), "--override", "overrides.txt"]
        return {name: within[name] for name in blocks(compiled(ENVS / source, TARGETS[0], *options))}


def main() -> None:
    requirements = locked("requirements.in", "requirements.lock", {})
    locked("test.in", "test.lock", requirements)
    torch = locked("torch-cuda.in", "torch-cuda.lock", requirements, override=False)
    workflow = needed_by("cpu.in", requirements)
    write_conda("cpu.yaml", "The workflow and everything that looks at pictures; no torch.", workflow)
    write_conda("train.yaml", "Training and drawing; torch is the CUDA build.", {**requirements, **torch})


if __name__ == "__main__":
    main()

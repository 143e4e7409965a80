"""make gpu-wheels: what `make gpu` needs on a machine that has torch but no package index, as wheels in .gpu-wheels/.

    make gpu-wheels                     for Python 3.12 on x86-64, with what such an image most often lacks
    make gpu-wheels ARGS="--python 3.11 --also numpy scipy"

Versions are those of envs/requirements.lock. torch, torchvision and what they bring along are expected there, besides
numpy, scipy, scikit-learn, pandas, pyarrow, OpenCV, Pillow, tensorboard, PyYAML, rich.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / ".gpu-wheels"
LIMIT = 60 * 10**6  # bytes in all
NAMES = (
    *("hcpdiff", "rainbowneko", "hydra-core", "omegaconf", "antlr4-python3-runtime", "albumentations", "albucore"),
    *("stringzilla", "simsimd", "addict", "loguru", "lmdb", "chardet", "dill", "pydantic", "pydantic-core"),
    *("annotated-types", "typing-inspection", "platformdirs", "pytorch-msssim", "yapf", "pyzmq", "prodigyopt"),
    *("jsonschema", "jsonschema-specifications", "referencing", "rpds-py", "attrs", "diffusers", "transformers"),
    *("tokenizers", "huggingface-hub", "httpx", "importlib-metadata", "zipp", "peft", "accelerate", "safetensors"),
)
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12", help="its version on that machine (3.12)")
    parser.add_argument("--also", nargs="*", default=[], help="packages that it lacks besides")
    options = parser.parse_args()
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "envs" / "requirements.lock").read_text(), re.MULTILINE))
    shutil.rmtree(WHEELS, ignore_errors=True)
    for name in (*NAMES, *options.also):
        if name not in pins:
            print(f"{name}: not in the lock, left out", flush=True)
        elif not fetched(f"{name}=={pins[name]}", options.python):
            sys.exit(f"{name}: neither a wheel nor a source from which one could be built")
    size = sum(path.stat().st_size for path in WHEELS.iterdir())
    print(f"{len(list(WHEELS.iterdir()))} wheels, {size / 1e6:.1f} MB in {WHEELS.name}/")
    if size > LIMIT:
        sys.exit(f"more than {LIMIT / 1e6:.0f} MB")


def fetched(pin: str, python: str) -> bool:
    """Whether the wheel of a pin is there now; one that comes as source is built here if it is plain Python."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    there = ["--python-version", python, "--implementation", "cp", *(f"--platform={name}" for name in PLATFORMS)]
    wheel = subprocess.run([*pip, "download", "--no-deps", "--only-binary=:all:", *there, "--dest", WHEELS, pin])
    if not wheel.returncode:
        return True
    built = subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", WHEELS, pin])
    return not built.returncode and bool(list(WHEELS.glob(f"{pin.split('==')[0].replace('-', '_')}*none-any.whl")))


if __name__ == "__main__":
    main()

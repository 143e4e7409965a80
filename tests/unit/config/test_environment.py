"""The environment is the one that the locks describe: in the running interpreter, in the conda files, in the code."""

import ast
import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ENVS = ROOT / "envs"
LOCKS = ["requirements.lock", "test.lock", "torch-cpu.lock", "torch-cuda.lock"]
CONDA = ["cpu.yaml", "train.yaml"]
OPENCV = "opencv-contrib-python-headless"
DECLARED_OPENCV = {"opencv-contrib-python", "opencv-python", "opencv-python-headless"}
CONTROLLER = {"snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, str]:
    """Package -> version of a lock without conditions."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", (ENVS / lock).read_text(), flags=re.M))


def conda_pins(name: str) -> dict[str, str]:
    dependencies = yaml.safe_load((ENVS / name).read_text())["dependencies"]
    [listed] = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return dict(pin.split("==") for pin in listed)


def declared(name: str) -> set[str]:
    """Packages that an `*.in` file asks for by name, in it or in those that it includes."""
    names = set()
    for line in (ENVS / name).read_text().splitlines():
        if line.startswith("-r "):
            names |= declared(line[3:].strip())
        elif match := re.match(r"[A-Za-z][\w.-]*", line):
            names.add(canonical(match[0]))
    return names


@cache
def distributions() -> dict[str, set[str]]:
    """Import name -> distributions that bring it."""
    return {name: {canonical(each) for each in found} for name, found in metadata.packages_distributions().items()}


def imported(source: Path, everywhere: bool = True) -> set[str]:
    """Modules (dotted) that a file imports, without its TYPE_CHECKING blocks; `everywhere` includes its functions."""
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
        if not everywhere and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def third_party(names: set[str]) -> set[str]:
    local = {"tests", "conftest", "snakefile", *(path.parent.name for path in (ROOT / "scripts").glob("*/__init__.py"))}
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - local


def own_file(name: str) -> Path | None:
    path = ROOT / "scripts" / Path(*name.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


def start_of(script: Path) -> set[str]:
    """What a stage imports before and in its own module: function bodies count there, not in what modules share."""
    needed, seen, queue = set(), set(), [(script, True)]
    while queue:
        source, everywhere = queue.pop()
        names = imported(source, everywhere)
        needed |= third_party(names)
        for name in names:
            module = own_file(name) if name.startswith("charaloom") else None
            if module and module not in seen:
                seen.add(module)
                queue.append((module, source == script and module.stem != "job"))
    return needed


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_exact_versions_with_hashes_and_name_no_index(lock):
    text = (ENVS / lock).read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    heads = [position for position, line in enumerate(lines) if not line.startswith(" ")]
    for head in heads:
        assert re.match(r'[a-z0-9-]+==[\w.+]+( ; (python_version|[\w .!="]+)+)? \\$', lines[head]), lines[head]
        assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", lines[head + 1]), lines[head]
    assert not re.search(r"://|index-url|find-links|trusted-host|file:", text)


def test_torch_is_in_its_own_locks_only():
    names = set(pins("requirements.lock")) | set(pins("test.lock"))
    assert not [name for name in names if name in {"torch", "torchvision", "triton"} or name.startswith("nvidia-")]
    cuda, cpu = pins("torch-cuda.lock"), pins("torch-cpu.lock")
    assert cuda["torch"] + "+cpu" == cpu["torch"]


def test_locks_do_not_overlap():
    locks = [set(pins(lock)) for lock in ("requirements.lock", "test.lock", "torch-cuda.lock")]
    assert sum(map(len, locks)) == len(set.union(*locks))


def test_locks_hold_what_is_asked_for():
    assert declared("requirements.in") <= set(pins("requirements.lock"))
    assert declared("test.in") <= set(pins("test.lock"))
    assert declared("torch-cuda.in") <= set(pins("torch-cuda.lock"))


def test_the_running_interpreter_holds_what_the_locks_pin():
    wanted = {**pins("requirements.lock"), **pins("test.lock")}
    differing = {}
    for name, version in wanted.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = "nothing"
        if installed != version:
            differing[name] = f"{version} locked, {installed} installed"
    assert not differing, "run `make setup`"
    assert metadata.version("torch").split("+")[0] == pins("torch-cuda.lock")["torch"]
    assert not DECLARED_OPENCV & {canonical(each.name) for each in metadata.distributions()}


@pytest.mark.parametrize("name", CONDA)
def test_conda_files_agree_with_the_locks(name):
    locked = {**pins("requirements.lock"), **pins("torch-cuda.lock")}
    locked |= dict.fromkeys(DECLARED_OPENCV, locked.pop(OPENCV))
    listed = conda_pins(name)
    assert listed.items() <= locked.items()
    if name == "train.yaml":
        assert set(locked) - set(listed) == CONTROLLER
    else:
        assert declared("cpu.in") - {OPENCV} <= set(listed)
        assert "torch" not in listed


def test_what_the_code_imports_is_declared():
    """Directly, in an `*.in` file: what comes along with another package may go with its next version."""
    listed = declared("requirements.in") | {"torch", "torchvision"}
    undeclared = {
        f"{source.relative_to(ROOT)} imports {name}"
        for source in (ROOT / "scripts").rglob("*.py")
        for name in third_party(imported(source))
        if not distributions().get(name, set()) & listed
    }
    assert not undeclared, "declare it in envs/cpu.in or envs/requirements.in and run envs/relock.py"


def test_what_the_code_imports_is_there():
    names = sorted(set().union(*(third_party(imported(source)) for source in (ROOT / "scripts").rglob("*.py"))))
    assert "torch" in names
    code = "import importlib.util, sys; print([name for name in sys.argv[1:] if not importlib.util.find_spec(name)])"
    missing = subprocess.run([sys.executable, "-I", "-c", code, *names], check=True, text=True, capture_output=True)
    assert missing.stdout.strip() == "[]"


def test_every_rule_finds_its_imports_in_its_conda_file():
    checked = 0
    for rules in sorted((ROOT / "rules").glob("*.smk")):
        text = rules.read_text()
        for file, script in re.findall(r'conda:\s*"\.\./envs/(\S+)".*?script:\s*"\.\./(scripts/\w+\.py)"', text, re.S):
            listed = set(conda_pins(file))
            needed = start_of(ROOT / script) - {"snakemake"}
            missing = {name for name in needed if not (distributions().get(name, {name}) - {OPENCV}) & listed} - {"cv2"}
            assert not missing, f"{rules.name} runs {script} in {file}, which lacks {missing}"
            checked += 1
    assert checked >= 10


def setup_tree(folder: Path) -> Path:
    """A checkout as far as setup.sh looks at it."""
    (folder / "scripts").mkdir(parents=True)
    (folder / "envs").mkdir()
    (folder / "scripts/setup.sh").write_bytes((ROOT / "scripts/setup.sh").read_bytes())
    for lock in LOCKS:
        (folder / "envs" / lock).write_bytes((ENVS / lock).read_bytes())
    (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    return folder


def run_setup(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "CHARALOOM_SYSTEM": "0", **environment}
    command = ["bash", "scripts/setup.sh"]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=60)


def finished(folder: Path, flavour: str) -> Path:
    """A venv as setup.sh leaves it, at least in what it looks at."""
    command = ["bash", "scripts/setup.sh", "--digest"]
    digest = subprocess.run(command, cwd=folder, check=True, text=True, capture_output=True).stdout.strip()
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    stamp = folder / ".venv/charaloom-setup"
    stamp.write_text(f"{digest} {flavour}\n")
    return stamp


def test_setup_does_nothing_where_the_environment_is_up_to_date(tmp_path):
    folder = setup_tree(tmp_path / "with a space")
    finished(folder, "cpu")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PYTHON": "/nonexistent/python"}
    for wish in ("auto", "cpu"):
        done = run_setup(folder, CHARALOOM_TORCH=wish, **nowhere)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def python_that_makes_half_a_venv(folder: Path) -> str:
    python = folder / "python"
    python.write_text(f'#!/bin/sh\n[ "$2" = venv ] && mkdir -p .venv/bin && exit 1\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return str(python)


def test_setup_that_fails_keeps_the_environment_before(tmp_path):
    folder = setup_tree(tmp_path)
    stamp = finished(folder, "cpu")
    (folder / "envs/test.lock").write_text("other==1\n")
    failed = run_setup(folder, PYTHON=python_that_makes_half_a_venv(folder))
    assert failed.returncode == 1
    assert "cannot make a virtual environment" in failed.stderr
    assert stamp.is_file()
    assert not (folder / ".venv.old").exists()


@pytest.mark.parametrize("before", [(".venv",), (".venv", ".venv.old")], ids=["first time", "killed while renewing"])
def test_setup_removes_a_half_made_environment(tmp_path, before):
    folder = setup_tree(tmp_path)
    for name in before:
        (folder / name / "bin").mkdir(parents=True)
        (folder / name / name).touch()
    failed = run_setup(folder, PYTHON=python_that_makes_half_a_venv(folder))
    assert failed.returncode == 1
    assert not (folder / ".venv/.venv").exists()
    assert (folder / ".venv/.venv.old").exists() == (".venv.old" in before)


def test_setup_says_what_to_install_where_there_is_no_python(tmp_path):
    failed = run_setup(setup_tree(tmp_path), PYTHON="/nonexistent/python")
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert "install one (apt-get install python3.11 python3.11-venv" in failed.stderr


def test_setup_names_a_wrong_choice_of_torch(tmp_path):
    failed = run_setup(setup_tree(tmp_path), CHARALOOM_TORCH="gpu")
    assert failed.returncode == 1
    assert "it may be auto, cpu or cuda" in failed.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this pair of versions is x86_64's")
def test_torchvision_serves_its_purpose_beside_this_torch():
    """Of torchvision only the transforms are used; its compiled operators need not load."""
    import torch
    from torchvision import transforms

    picture = torch.arange(48, dtype=torch.float32).reshape(3, 4, 4) / 48
    smaller = transforms.Resize(2, antialias=True)(picture)
    assert smaller.shape == (3, 2, 2)
    assert transforms.Normalize([0.5], [0.5])(picture).max() <= 1

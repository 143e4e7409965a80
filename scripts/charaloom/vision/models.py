"""The models that look at pictures: fetched once, checked, and lent to imgutils from a hub cache of our own.

The cache is laid out as huggingface_hub expects (`<hub>/hub/models--org--name/…`). imgutils always asks for `main`, so
`refs/main` holds the pinned revision: whoever reads the cache offline gets exactly that.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, read_json, sha256_file, whole_file, write_json
from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError

SCHEMA = 1
MODELS_VERSION = 1
COMMIT = re.compile(r"[0-9a-f]{40}")
TRUSTED = "trusted.json"
CUDA = "CUDAExecutionProvider"
TRUST_ADVICE = (
    "If the new file is the one you want, write its SHA-256 and its revision into the models lock (config/models.yaml) "
    "or remove its entry from {trusted}; otherwise ask where this file comes from."
)

Lock = dict[str, Any]
Digests = dict[str, str | None]  # by path in the repository; None: the repository has no such optional file


def fetch_models(params: dict[str, Any], hub: PathLike, manifest: PathLike) -> None:
    """Fill the hub cache `hub` with the files of `params["lock"]` and write the manifest of what was found.

    `params["lock"]` lists `{repo, repo_type, revision, files: {path: sha256 or null}, optional: [path]}`;
    `params["hub"]` is a hub's URL or a local folder that holds `<repo>/<path>`. A file whose checksum is not the one in
    the lock stops the run. Where the lock has none, the first fetch from a URL is trusted and later ones must repeat
    it; a local folder is the user's own and is taken as it is.
    """
    cache = Path(hub)
    models = [_fetch_repository(lock, str(params["hub"]), cache) for lock in params["lock"]]
    facts = {"stage": "models", "version": MODELS_VERSION, "params": {"lock": params["lock"]}}
    counts = {"repositories": len(models), "files": sum(len(model["files"]) for model in models)}
    content = {"schema": SCHEMA, "lineage": {**facts, "digest": digest(facts)}, "models": models, "counts": counts}
    write_json(manifest, content)


def repository_folder(hub: PathLike, repo: str, repo_type: str = "model") -> Path:
    """Where huggingface_hub keeps a repository in the cache `hub`."""
    return Path(hub) / "hub" / f"{repo_type}s--{repo.replace('/', '--')}"


def hub_file(hub: Path, repo: str, path: str, repo_type: str = "model") -> Path:
    """A file of the cache at the revision that `refs/main` pins."""
    folder = repository_folder(hub, repo, repo_type)
    return folder / "snapshots" / (folder / "refs" / "main").read_text() / path


def _fetch_repository(lock: Lock, source: str, cache: Path) -> dict[str, Any]:
    fetch = _fetch_from_endpoint if source.startswith(("http://", "https://")) else _fetch_from_folder
    commit, digests = fetch(lock, source, cache)
    folder = repository_folder(cache, lock["repo"], lock["repo_type"])
    snapshot = folder / "snapshots" / commit
    with whole_file(folder / "refs" / "main") as part:
        part.write_text(commit, encoding="utf-8")  # without a newline: huggingface_hub uses the text as a folder name
    present = {path: found for path, found in sorted(digests.items()) if found}
    files = {path: {"sha256": found, "size": (snapshot / path).stat().st_size} for path, found in present.items()}
    return {"repo": lock["repo"], "repo_type": lock["repo_type"], "revision": commit, "files": files}


def _fetch_from_folder(lock: Lock, source: str, cache: Path) -> tuple[str, Digests]:
    """Copy a repository's files from `<source>/<repo>`; a revision that is no commit becomes a digest of them."""
    origin = Path(source) / lock["repo"]
    digests: Digests = {path: sha256_file(origin / path) for path in _present(lock, origin)}
    _check(lock, digests, {}, str(origin), "")
    commit = lock["revision"] if COMMIT.fullmatch(lock["revision"]) else digest(digests)[:40]
    snapshot = repository_folder(cache, lock["repo"], lock["repo_type"]) / "snapshots" / commit
    for path, expected in digests.items():
        if not (snapshot / path).exists() or sha256_file(snapshot / path) != expected:
            with whole_file(snapshot / path) as part:
                shutil.copyfile(origin / path, part)
    return commit, digests


def _present(lock: Lock, origin: Path) -> list[str]:
    missing = [path for path in lock["files"] if not (origin / path).is_file()]
    if missing:
        raise CharaloomError(
            f"{origin}: no file {', '.join(missing)}. `models.hub` is a local folder and must hold <repo>/<path> for "
            f"every file of the models lock; put the file there or point `models.hub` at a hub."
        )
    optional = [path for path in lock.get("optional", []) if (origin / path).is_file()]
    return sorted([*lock["files"], *optional])


def _fetch_from_endpoint(lock: Lock, source: str, cache: Path) -> tuple[str, Digests]:
    """Download what is not there yet, at the commit that the first fetch of this revision saw."""
    memory = cache / TRUSTED
    trusted = read_json(memory) if memory.exists() else {}
    key = f"{lock['repo_type']}:{lock['repo']}@{lock['revision']}"
    known: Lock = trusted.get(key, {"revision": lock["revision"], "files": {}})
    folder = repository_folder(cache, lock["repo"], lock["repo_type"])
    wanted = [path for path in [*lock["files"], *lock.get("optional", [])] if known["files"].get(path, "") is not None]
    there = COMMIT.fullmatch(known["revision"]) and all(
        (folder / "snapshots" / known["revision"] / path).is_file() for path in wanted
    )
    if there:
        commit, found = known["revision"], wanted
    else:
        commit, found = _download(lock, known["revision"], wanted, source, cache)
    snapshot = folder / "snapshots" / commit
    digests: Digests = {path: sha256_file(snapshot / path) if path in found else None for path in wanted}
    try:
        _check(lock, digests, known["files"], source, TRUST_ADVICE.format(trusted=memory))
    except CharaloomError:
        _forget(snapshot, found)
        raise
    trusted[key] = {"revision": commit, "files": {**known["files"], **digests}}
    write_json(memory, trusted)
    return commit, digests


def _check(lock: Lock, digests: Digests, trusted: Digests, source: str, advice: str) -> None:
    """Stop at the first file that is not what the lock, or else the first fetch, says it is."""
    for path, found in digests.items():
        expected = lock["files"].get(path) or trusted.get(path)
        if expected and found != expected:
            whence = "the models lock" if lock["files"].get(path) else "the first fetch"
            raise CharaloomError(
                f"{lock['repo']}/{path} from {source}: expected SHA-256 {expected} ({whence}), found {found}. "
                + (advice or "Replace the file, or write its SHA-256 into the models lock if you trust it.")
            )


def _forget(snapshot: Path, paths: list[str]) -> None:
    """Remove files that failed their checksum, blobs included, so that the next fetch downloads them again."""
    for path in paths:
        file = snapshot / path
        if file.is_symlink():
            file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _download(lock: Lock, revision: str, paths: list[str], endpoint: str, cache: Path) -> tuple[str, list[str]]:
    """Run huggingface_hub in a process of its own: it reads its endpoint, cache and offline mode at import, once."""
    request = {
        "repo_id": lock["repo"],
        "repo_type": lock["repo_type"],
        "revision": revision,
        "required": [path for path in paths if path in lock["files"]],
        "optional": [path for path in paths if path not in lock["files"]],
        "endpoint": endpoint,
        "cache_dir": str(cache / "hub"),
    }
    cleared = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in cleared}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "charaloom.vision.models", json.dumps(request)]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise CharaloomError(
            f"{lock['repo']} ({lock['repo_type']}, revision {revision}) could not be fetched from {endpoint}; the "
            f"lines above say why. Check `models.hub` and the names in the models lock; what was fetched is kept."
        )
    answer = json.loads(result.stdout.splitlines()[-1])
    return answer["commit"], answer["found"]


def _download_worker(request: dict[str, Any]) -> dict[str, Any]:
    """In the child process: bring the files into the cache, all of one commit."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    where = {key: request[key] for key in ("repo_id", "repo_type", "endpoint", "cache_dir")}
    revision, found = request["revision"], []
    for path in [*request["required"], *request["optional"]]:
        try:
            local = hf_hub_download(filename=path, revision=revision, **where)
        except EntryNotFoundError:
            if path in request["required"]:
                raise
            continue
        found.append(path)
        # The first answer says which commit the name stood for; the rest must come from the same one.
        revision = Path(local).parents[len(Path(path).parts) - 1].name
    # A repository that has none of its optional files is an empty one.
    return {"commit": revision if COMMIT.fullmatch(revision) else digest({})[:40], "found": found}


_lent: tuple[str, int] | None = None


@contextmanager
def picture_models(hub: PathLike, threads: int) -> Iterator[None]:
    """Let imgutils read its models from the cache `hub`, offline, with `threads` threads per ONNX session.

    Without offline mode imgutils lists repositories over the network; without a fixed number of threads it takes all
    cores of the machine, and the machine would decide the bits of a result. Everything is put back on leaving.
    """
    home = str(Path(hub).resolve())
    settings = {"HF_HOME": home, "HF_HUB_CACHE": str(Path(home) / "hub"), "HF_HUB_OFFLINE": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)  # before the import: huggingface_hub reads them once
    from huggingface_hub import constants

    runtime: Any = import_module("imgutils.utils.onnxruntime")
    kept = constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE, runtime._open_onnx_model
    constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = settings["HF_HUB_CACHE"], True
    # imgutils hard-codes os.cpu_count() in this one function and offers no option; every model of it opens here.
    runtime._open_onnx_model = lambda path, where, use_cpu=True: open_session(path, threads, where)
    _forget_other_models(home, threads)
    try:
        yield
    finally:
        constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE, runtime._open_onnx_model = kept
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def provider() -> str:
    """Where ONNX models run: CUDA where it is there, else the CPU; ONNX_MODE overrules, as for imgutils."""
    from imgutils.utils import get_onnx_provider

    return get_onnx_provider(os.environ.get("ONNX_MODE"))


def open_session(path: PathLike, threads: int = 1, where: str | None = None) -> Any:
    """An ONNX session that computes with so many threads on `where`, a provider's name."""
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    where = where or provider()
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The search for the fastest convolution and TF32 would let the load of the GPU decide bits.
    steady = {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": 0} if where == CUDA else {}
    providers: list[Any] = [(where, steady)]
    if where != "CPUExecutionProvider":
        providers.append("CPUExecutionProvider")
    return InferenceSession(os.fspath(path), options, providers=providers)


def _forget_other_models(home: str, threads: int) -> None:
    """imgutils keeps its sessions for the life of the process: drop them when another cache or count is asked."""
    global _lent
    if _lent is not None and _lent != (home, threads):
        modules = [module for name, module in sys.modules.items() if name.startswith("imgutils.")]
        for value in [value for module in modules for value in vars(module).values()]:
            if callable(getattr(value, "cache_clear", None)):
                value.cache_clear()
    _lent = (home, threads)


if __name__ == "__main__":
    try:
        print(json.dumps(_download_worker(json.loads(sys.argv[1]))))
    except Exception as error:  # the parent turns it into an error of its own
        sys.exit(f"{type(error).__name__}: {error}")

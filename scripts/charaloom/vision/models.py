"""The picture models: fetched once into a hub cache, and opened from there offline.

imgutils always asks for `main`, so `refs/main` of each repository holds the pinned revision.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from charaloom.artifacts.manifest import lineage, read_manifest, write_lineage
from charaloom.artifacts.sealed import write_sealed
from charaloom.artifacts.types import PathLike
from charaloom.config.params import Models
from charaloom.errors import DamagedError
from charaloom.runtime.hub import fetch_repository, repository_folder
from charaloom.weights.digests import read_files

MODELS_VERSION = 1
MODELS = "models.manifest.json"
CUDA = "CUDAExecutionProvider"


def fetch_models(params: Models, hub: PathLike, manifest: PathLike) -> None:
    """Fill the hub cache `hub` with the files of the lock and write a manifest of their revisions and digests.

    Raises CharaloomError at a file that is missing or whose SHA-256 is not the lock's. Where the lock has none, the
    first fetch from a URL is trusted and later ones must repeat it; a local folder is taken as it is.
    """
    cache = Path(hub)
    models = [fetch_repository(entry, params.hub, cache) for entry in params.lock]
    counts = {"repositories": len(models), "files": sum(len(model["files"]) for model in models)}
    write_lineage(manifest, lineage("models", "", {"version": MODELS_VERSION, **params.plain()}, ()))
    write_sealed(manifest, {"models": models, "counts": counts})


def damaged_models(manifest: PathLike, hub: PathLike) -> Iterator[Path]:
    """Files of the cache `hub` that are missing or not what the models manifest says; each is read once, until it
    changes. Raises DamagedError where the manifest itself is damaged."""
    for model in read_manifest(manifest).get("models", ()):
        repository = repository_folder(hub, model["repo"], model["repo_type"])
        folder, pinned = repository / "snapshots" / model["revision"], repository / "refs" / "main"
        if not pinned.is_file() or pinned.read_bytes() != model["revision"].encode():
            yield pinned
        there = {name: file for name, file in model["files"].items() if (folder / name).is_file()}
        yield from (folder / name for name in sorted(model["files"].keys() - there))
        found = read_files(folder, sorted(there), Path(hub).parent)
        yield from (folder / name for name, file in sorted(there.items()) if found[name].sha256 != file["sha256"])


def refuse_damaged_models(inputs: Iterable[PathLike], work: PathLike) -> None:
    """Raise DamagedError at a picture model that is not what the models manifest among `inputs` says."""
    for manifest in (Path(path) for path in inputs if Path(path).name == MODELS):
        for file in damaged_models(manifest, Path(work) / "hub"):
            raise DamagedError(f"{file}: not the file that {manifest} names. `charaloom run` fetches it again.")


_opened_with: tuple[str, int] | None = None  # cache and threads of the sessions that imgutils keeps


@contextmanager
def picture_models(hub: PathLike, threads: int) -> Iterator[None]:
    """Let imgutils read its models from the cache `hub`, offline, with `threads` threads per ONNX session.

    Online, imgutils would list repositories over the network; with all cores, the machine would decide the bits of a
    result. All settings are restored on leaving.
    """
    home = str(Path(hub).resolve())
    settings = {"HF_HOME": home, "HF_HUB_CACHE": str(Path(home) / "hub"), "HF_HUB_OFFLINE": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)  # before the import: huggingface_hub reads them once
    from huggingface_hub import constants

    runtime: Any = import_module("imgutils.utils.onnxruntime")
    replaced = constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE, runtime._open_onnx_model
    constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = settings["HF_HUB_CACHE"], True
    # imgutils hard-codes os.cpu_count() in this function, which opens every model, and offers no option.
    runtime._open_onnx_model = lambda path, where, use_cpu=True: open_session(path, threads, where)
    _forget_other_models(home, threads)
    try:
        yield
    finally:
        constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE, runtime._open_onnx_model = replaced
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def provider() -> str:
    """The ONNX provider: CUDA where it is available, else the CPU; ONNX_MODE overrules, as for imgutils."""
    from imgutils.utils import get_onnx_provider

    return get_onnx_provider(os.environ.get("ONNX_MODE"))


def open_session(path: PathLike, threads: int = 1, where: str | None = None) -> Any:
    """An ONNX session with `threads` threads on the provider `where` (default: `provider()`)."""
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
    """Drop the sessions that imgutils keeps for the life of the process, where cache or thread count change."""
    global _opened_with
    if _opened_with is not None and _opened_with != (home, threads):
        modules = [module for name, module in sys.modules.items() if name.startswith("imgutils.")]
        for value in [value for module in modules for value in vars(module).values()]:
            if callable(getattr(value, "cache_clear", None)):
                value.cache_clear()
    _opened_with = (home, threads)

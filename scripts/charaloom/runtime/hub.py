"""Repositories of a model hub: fetched once into a cache, at one commit, each file checked against a lock or against
what the first fetch saw, and read from there offline.

The cache is laid out as huggingface_hub expects (`<hub>/hub/models--org--name/…`).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, files_below, read_json, sha256_file, whole_file, write_json
from charaloom.artifacts.locks import locked
from charaloom.artifacts.types import PathLike, Row
from charaloom.errors import CharaloomError

COMMIT = re.compile(r"[0-9a-f]{40}")
TRUSTED = "trusted.json"  # in the cache: commit and digests that the first fetch of each revision saw
TRUST_ADVICE = (
    "If the new file is the one you want, write its SHA-256 and its revision into the models lock (config/models.yaml; "
    "of a base model, into its `digest` and `revision`) and remove its entry from {trusted}; otherwise find out where "
    "this file comes from."
)

LockEntry = Mapping[str, Any]  # {repo, repo_type, revision, files: {path: SHA-256 or null}, optional: [path]}
Digests = dict[str, str | None]  # by path in the repository; None: the repository has no such optional file


def repository_folder(hub: PathLike, repo: str, repo_type: str = "model") -> Path:
    """The folder in which huggingface_hub keeps a repository of the cache `hub`."""
    return Path(hub) / "hub" / f"{repo_type}s--{repo.replace('/', '--')}"


def hub_file(hub: Path, repo: str, path: str, repo_type: str = "model") -> Path:
    """A file of the cache at the revision that `refs/main` pins."""
    folder = repository_folder(hub, repo, repo_type)
    return folder / "snapshots" / (folder / "refs" / "main").read_text() / path


def is_address(source: str) -> bool:
    """Whether a hub is reached over the network; else it is a folder laid out as <repo>/<file>."""
    return source.startswith(("http://", "https://"))


def list_repository(repo: str, repo_type: str, revision: str, source: str) -> tuple[str, dict[str, int]]:
    """The commit that a revision of a repository stands for, and the bytes of its files by path.

    Raises CharaloomError where there is no such repository or revision.
    """
    if is_address(source):
        answer = _in_child({"repo_id": repo, "repo_type": repo_type, "revision": revision, "endpoint": source})
        return answer["commit"], answer["sizes"]
    folder = Path(source) / repo
    if not folder.is_dir():
        raise CharaloomError(f"{folder}: there is no such folder. `models.hub` is a local folder of <repo>/<file>.")
    sizes = {str(path): (folder / path).stat().st_size for path in files_below(folder)}
    return revision if COMMIT.fullmatch(revision) else digest(sizes)[:40], sizes


def fetch_repository(entry: LockEntry, source: str, cache: Path) -> Row:
    """Fill the cache with the files of one repository, for one process at a time; their commit and digests.

    Raises CharaloomError where one is missing or another than the lock or the first fetch says.
    """
    with locked(cache / "fetching.lock", f"{cache}: another process fetches models; waiting for it"):
        return _fetch_repository(entry, source, cache)


def _fetch_repository(entry: LockEntry, source: str, cache: Path) -> Row:
    fetch = _fetch_from_endpoint if is_address(source) else _fetch_from_folder
    commit, digests = fetch(entry, source, cache)
    folder = repository_folder(cache, entry["repo"], entry["repo_type"])
    snapshot = folder / "snapshots" / commit
    with whole_file(folder / "refs" / "main") as part:
        part.write_text(commit, encoding="utf-8")  # without a newline: huggingface_hub uses the text as a folder name
    files = {
        path: {"sha256": sha256, "size": (snapshot / path).stat().st_size}
        for path, sha256 in sorted(digests.items())
        if sha256
    }
    return {"repo": entry["repo"], "repo_type": entry["repo_type"], "revision": commit, "files": files}


def _fetch_from_folder(entry: LockEntry, source: str, cache: Path) -> tuple[str, Digests]:
    """Copy a repository's files from `<source>/<repo>`; a revision that is no commit becomes a digest of them."""
    origin = Path(source) / entry["repo"]
    digests: Digests = {path: sha256_file(origin / path) for path in _present(entry, origin)}
    _check(entry, digests, {}, str(origin), "")
    commit = entry["revision"] if COMMIT.fullmatch(entry["revision"]) else digest(digests)[:40]
    snapshot = repository_folder(cache, entry["repo"], entry["repo_type"]) / "snapshots" / commit
    for path, expected in digests.items():
        if not (snapshot / path).exists() or sha256_file(snapshot / path) != expected:
            with whole_file(snapshot / path) as part:
                shutil.copyfile(origin / path, part)
    return commit, digests


def _present(entry: LockEntry, origin: Path) -> list[str]:
    missing = [path for path in entry["files"] if not (origin / path).is_file()]
    if missing:
        raise CharaloomError(
            f"{origin}: no file {', '.join(missing)}. `models.hub` is a local folder and must hold <repo>/<path> for "
            f"every file of the models lock; put the file there or point `models.hub` at a hub."
        )
    optional = [path for path in entry.get("optional", []) if (origin / path).is_file()]
    return sorted([*entry["files"], *optional])


def fetched_before(entry: LockEntry, cache: Path) -> tuple[Path, Digests] | None:
    """The snapshot with all files of an entry and what their first fetch saw, unread; None where it lacks one.

    A revision that is a commit needs no first fetch: its files cannot become others.
    """
    first_fetch = _first_fetch(entry, cache)
    snapshot = repository_folder(cache, entry["repo"], entry["repo_type"]) / "snapshots" / first_fetch["revision"]
    whole = all((snapshot / path).is_file() for path in entry["files"])
    return (snapshot, first_fetch["files"]) if whole and COMMIT.fullmatch(first_fetch["revision"]) else None


def _first_fetch(entry: LockEntry, cache: Path) -> Row:
    """Commit and digests that the first fetch of an entry's revision saw; the revision alone where there was none."""
    trusted = read_json(cache / TRUSTED) if (cache / TRUSTED).exists() else {}
    return trusted.get(_trust_key(entry), {"revision": entry["revision"], "files": {}})


def _trust_key(entry: LockEntry) -> str:
    return f"{entry['repo_type']}:{entry['repo']}@{entry['revision']}"


def _fetch_from_endpoint(entry: LockEntry, source: str, cache: Path) -> tuple[str, Digests]:
    """Download the files that the cache lacks, at the commit that the first fetch of this revision saw."""
    record, first_fetch = cache / TRUSTED, _first_fetch(entry, cache)
    revision, first_digests = first_fetch["revision"], first_fetch["files"]
    folder = repository_folder(cache, entry["repo"], entry["repo_type"])
    # An optional file that the first fetch missed (None) is not asked for again.
    wanted = [path for path in [*entry["files"], *entry.get("optional", [])] if first_digests.get(path, "") is not None]
    whole = _whole(entry, folder / "snapshots" / revision, wanted, first_digests)
    if COMMIT.fullmatch(revision) and len(whole) == len(wanted):
        commit, present = revision, wanted
    else:
        commit, present = _download(entry, revision, wanted, source, cache)
    snapshot = folder / "snapshots" / commit
    digests: Digests = {
        path: (whole.get(path) or sha256_file(snapshot / path)) if path in present else None for path in wanted
    }
    try:
        _check(entry, digests, first_digests, source, TRUST_ADVICE.format(trusted=record))
    except CharaloomError:
        _forget(snapshot, present)
        raise
    trusted = read_json(record) if record.exists() else {}
    write_json(record, {**trusted, _trust_key(entry): {"revision": commit, "files": {**first_digests, **digests}}})
    return commit, digests


def _check(entry: LockEntry, digests: Digests, first_digests: Digests, source: str, advice: str) -> None:
    """Raise CharaloomError at the first file whose digest is not the lock's, or else the first fetch's."""
    for path, sha256 in digests.items():
        expected = entry["files"].get(path) or first_digests.get(path)
        if expected and sha256 != expected:
            authority = "the models lock" if entry["files"].get(path) else "the first fetch"
            raise CharaloomError(
                f"{entry['repo']}/{path} from {source}: expected SHA-256 {expected} ({authority}), found {sha256}. "
                + (advice or "Replace the file, or write its SHA-256 into the models lock if you trust it.")
            )


def _whole(entry: LockEntry, snapshot: Path, paths: list[str], first_digests: Digests) -> dict[str, str]:
    """Digests of the files that the cache has; one that is no longer what was fetched is removed and fetched again."""
    whole = {}
    for path in paths:
        if not (snapshot / path).is_file():
            continue
        expected, found = entry["files"].get(path) or first_digests.get(path), sha256_file(snapshot / path)
        if expected and found != expected:
            print(f"{snapshot / path}: damaged; it is fetched again", file=sys.stderr)
            _forget(snapshot, [path])
        else:
            whole[path] = found
    return whole


def _forget(snapshot: Path, paths: list[str]) -> None:
    """Remove files that failed their checksum, blobs included, so that the next fetch downloads them again."""
    for path in paths:
        file = snapshot / path
        if file.is_symlink():
            file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _download(entry: LockEntry, revision: str, paths: list[str], endpoint: str, cache: Path) -> tuple[str, list[str]]:
    """The commit, and the paths that the repository has."""
    request = {
        "repo_id": entry["repo"],
        "repo_type": entry["repo_type"],
        "revision": revision,
        "required": [path for path in paths if path in entry["files"]],
        "optional": [path for path in paths if path not in entry["files"]],
        "endpoint": endpoint,
        "cache_dir": str(cache / "hub"),
    }
    answer = _in_child(request)
    return answer["commit"], answer["present"]


def _in_child(request: Row) -> Row:
    """Run huggingface_hub in a child process: it reads its endpoint, cache and offline mode at import, once."""
    cleared = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in cleared}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "charaloom.runtime.hub", json.dumps(request)]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise CharaloomError(
            f"{request['repo_id']} ({request['repo_type']}, revision {request['revision']}) could not be fetched from "
            f"{request['endpoint']}; the lines above say why. Check `models.hub`, the names in the models lock, of the "
            "base or of the dataset, and whether its terms must be accepted first (then set HF_TOKEN); fetched files "
            "are kept."
        )
    answer: Row = json.loads(result.stdout.splitlines()[-1])
    return answer


def _work(request: Row) -> Row:
    """In the child process."""
    return _download_worker(request) if "required" in request else _list_worker(request)


def _list_worker(request: Row) -> Row:
    from huggingface_hub import HfApi

    asked = {key: request[key] for key in ("repo_id", "repo_type", "revision")}
    info: Any = HfApi(endpoint=request["endpoint"]).repo_info(**asked, files_metadata=True)
    sizes = {entry.rfilename: entry.size for entry in info.siblings or () if isinstance(entry.size, int)}
    if not info.sha or not COMMIT.fullmatch(info.sha):
        raise ValueError(f"the hub names no commit of {request['repo_id']}")
    return {"commit": info.sha, "sizes": sizes}


def _download_worker(request: Row) -> Row:
    """Bring the files into the cache, all of one commit."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository = {key: request[key] for key in ("repo_id", "repo_type", "endpoint", "cache_dir")}
    revision, present = request["revision"], []
    for path in [*request["required"], *request["optional"]]:
        try:
            local = hf_hub_download(filename=path, revision=revision, **repository)
        except EntryNotFoundError:
            if path in request["required"]:
                raise
            continue
        present.append(path)
        # The first answer says which commit the name stands for; the rest must come from the same one.
        revision = Path(local).parents[len(Path(path).parts) - 1].name
    # Without any file the commit stays unknown: the digest of no file stands for it.
    return {"commit": revision if COMMIT.fullmatch(revision) else digest({})[:40], "present": present}


if __name__ == "__main__":
    try:
        print(json.dumps(_work(json.loads(sys.argv[1]))))
    except Exception as error:  # the parent turns it into an error of its own
        sys.exit(f"{type(error).__name__}: {error}")

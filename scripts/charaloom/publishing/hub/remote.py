"""One repository of a hub as huggingface_hub shows it: what it holds, one commit, one tag.

Nothing here tries again: `attempts` does, and looks first at what a failed call has left behind.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.types import Row
from charaloom.errors import CharaloomError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"
OF_THE_HUB = frozenset({".gitattributes"})  # files that the hub itself puts into a repository
COMMIT = re.compile(r"[0-9a-f]{40}")  # ids that the client takes as a parent
OUR_TAG = re.compile(r"v-[0-9a-f]{12}")  # `published.version_tag`
OUR_TITLE = "Publish "  # how the titles of our commits begin
NO_SUCH_CALL = frozenset({404, 405, 501})
SECONDS = 120.0  # without a byte from the hub or to it, after which a connection counts as broken; set by hand


class NoXetError(Exception):
    """The hub has no xet storage, and huggingface_hub was imported with xet on, which knows no other way."""


@dataclass(frozen=True)
class State:
    """What a repository holds at one commit; no commit where nothing was ever committed."""

    commit: str | None
    private: bool
    files: Mapping[str, Any]  # RepoFile by path, without the hub's own


@dataclass(frozen=True)
class Changes:
    """Paths that a commit adds or replaces, and paths that it deletes."""

    added: Sequence[str] = ()
    deleted: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.deleted)


@dataclass(frozen=True)
class Remote:
    """A repository by its kind (model, dataset) and its name with the namespace."""

    api: "HfApi"
    kind: str
    name: str

    @property
    def named(self) -> dict[str, Any]:
        return {"repo_id": self.name, "repo_type": self.kind}

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def state(self, revision: str = MAIN) -> State | None:
        """What a revision holds; None where there is no such repository that the token may see."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            info: Any = self.api.repo_info(**self.named, revision=revision, timeout=SECONDS)
        except RepositoryNotFoundError as problem:
            if status_of(problem) == 401:
                raise
            return None
        files = self.files(info.sha) if info.sha else {}
        return State(info.sha, bool(info.private), files)

    def files(self, commit: str) -> dict[str, Any]:
        """The files of a commit by path, without the hub's own."""
        from huggingface_hub.hf_api import RepoFile

        entries = self.api.list_repo_tree(**self.named, recursive=True, revision=commit)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile) and entry.path not in OF_THE_HUB}

    def create(self, private: bool) -> None:
        self.api.create_repo(**self.named, private=private, exist_ok=True)

    def tags(self) -> dict[str, str]:
        """The commit that each tag stands for."""
        return {tag.name: tag.target_commit for tag in self.api.list_repo_refs(**self.named).tags}

    def tag(self, name: str, commit: str) -> None:
        self.api.create_tag(**self.named, tag=name, revision=commit)

    def newest_title(self) -> str:
        """The title of the newest commit of `main`."""
        return next((commit.title for commit in self.api.list_repo_commits(**self.named)), "")

    def commit(self, folder: Path, changes: Changes, title: str, parent: str | None) -> str:
        """Commit the changes at once, on top of `parent` and of nothing else; the id of the commit."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [CommitOperationDelete(path, is_folder=False) for path in changes.deleted]
        operations += [CommitOperationAdd(path, str(folder / path)) for path in changes.added]
        if changes.added:
            self.refuse_without_xet()
        guard = parent if parent and COMMIT.fullmatch(parent) else None
        made = self.api.create_commit(
            **self.named,
            operations=operations,
            commit_message=title,
            revision=MAIN,
            parent_commit=guard,
        )
        return made.oid

    def refuse_without_xet(self) -> None:
        """Raise NoXetError where the client would upload by xet and the hub has none."""
        from huggingface_hub.utils import build_hf_headers, get_session
        from huggingface_hub.utils._runtime import is_xet_available

        if not is_xet_available():
            return
        address = f"{self.api.endpoint}/api/{self.kind}s/{self.name}/xet-write-token/{MAIN}"
        answer = get_session().get(address, headers=build_hf_headers(token=self.api.token))
        if answer.status_code in NO_SUCH_CALL:
            raise NoXetError

    def received(self, path: str, commit: str) -> bytes:
        """The bytes of one small file of a commit."""
        with tempfile.TemporaryDirectory(prefix="charaloom-hub-") as scratch:
            return Path(
                self.api.hf_hub_download(**self.named, filename=path, revision=commit, cache_dir=scratch)
            ).read_bytes()

    # --- comparing

    def changes(self, state: State, folder: Path, wanted: Mapping[str, Row]) -> Changes:
        """What makes a state hold the files of `folder`, and nothing else. `wanted`: their SHA-256 and size by path."""
        added = [path for path, own in wanted.items() if not self.holds(state, path, folder, own)]
        return Changes(added, sorted(set(state.files) - set(wanted)))

    def holds(self, state: State, path: str, folder: Path, own: Row) -> bool:
        """Whether a state holds a file of `folder`, byte by byte as far as the hub tells.

        The hub tells the SHA-256 of a large file and git's id of a small one. Hubs that name small files otherwise are
        asked for the bytes.
        """
        entry = state.files.get(path)
        if entry is None or entry.size != own["size"]:
            return False
        if entry.lfs is not None:
            return entry.lfs.sha256 == own["sha256"]
        data = (folder / path).read_bytes()
        if entry.blob_id in (git_id(data), own["sha256"]):
            return True
        assert state.commit is not None
        return self.received(path, state.commit) == data


def git_id(data: bytes) -> str:
    """The id that git gives a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def status_of(problem: BaseException | None) -> int | None:
    """The status of the answer that an error, or an error behind it, is about."""
    response = response_of(problem)
    return None if response is None else response.status_code


def response_of(problem: BaseException | None) -> Any:
    seen = set[int]()
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        response = getattr(problem, "response", None)
        if getattr(response, "status_code", None):
            return response
        problem = problem.__cause__ or problem.__context__
    return None


def refuse_foreign(name: str, paths: Iterable[str], title: str) -> None:
    """Raise CharaloomError where a repository without a tag of ours holds files that Charaloom has not put there, which
    publishing would delete. `title`: of its newest commit."""
    own = sorted(path for path in paths if path not in OF_THE_HUB and not path.startswith("README"))
    if own and not title.startswith(OUR_TITLE):
        raise CharaloomError(
            f"{name}: holds files that Charaloom has not published ({', '.join(own[:3])}{', …' if own[3:] else ''}); "
            "publishing would delete them: name another repository in `published.targets`, or empty this one"
        )

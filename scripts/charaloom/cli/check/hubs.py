"""What is yet to be fetched from a hub: is it there, and does the hub answer."""

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from charaloom.cli.check.findings import Findings
from charaloom.config.families import FAMILIES
from charaloom.config.named_files import read_lock
from charaloom.config.project import Project
from charaloom.errors import CharaloomError
from charaloom.runtime.hub import fetched_before, is_address

SECONDS = 2.5  # for an answer of the hub; set by hand, so that a run says within five seconds what is wrong
# Bytes of a base: its files, and the folder that a single file is converted into (16 bits; SD 1.5 in 32 on the hub).
BASE_BYTES = {"sd15": 4.3e9, "sdxl": 13.9e9}
PICTURES = "picture model"
MODELS_BYTES = 2.5e9  # of the picture models, about
REFUSALS = {
    401: "refuses; check `repo`, accept its terms on its page if it has some, and set HF_TOKEN",
    403: "refuses; accept its terms on its page, and set HF_TOKEN",
    404: "has no such file; check the names of repo, revision and file",
}


@dataclass
class Question:
    """One file that must be fetched: what asks for it, and where it lies on the hub."""

    what: str
    url: str
    secret: str = field(default="", repr=False)
    problem: str | None = f"does not answer within {SECONDS:g} s; check the network and `models.hub`"

    def ask(self) -> None:
        request = urllib.request.Request(self.url, method="HEAD", headers={"User-Agent": "charaloom"})
        if self.secret:
            request.add_unredirected_header("Authorization", f"Bearer {self.secret}")
        try:
            with urllib.request.build_opener(NoRedirect).open(request, timeout=SECONDS):
                self.problem = None
        except urllib.error.HTTPError as answer:
            self.problem = REFUSALS.get(answer.code) if answer.code >= 400 else None
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "reason", problem)
            self.problem = f"cannot be reached ({getattr(reason, 'strerror', None) or reason}); check the network and"
            self.problem += " `models.hub`, or name files of this machine: a folder as `models.hub`, a `path` of a base"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Where a file really lies does not matter here."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def question(hub: str, what: str, entry: Mapping[str, Any]) -> Question:
    """The first file of an entry of a lock, on a hub's address."""
    file = next(iter(entry["files"]), "README.md")
    kind = {"dataset": "datasets/", "space": "spaces/"}.get(entry["repo_type"], "")
    revision = quote(entry["revision"], safe="")
    secret = os.environ.get("HF_TOKEN", "") if hub.startswith("https://") else ""
    return Question(what, f"{hub.rstrip('/')}/{kind}{entry['repo']}/resolve/{revision}/{quote(file)}", secret)


def ask_all(questions: list[Question]) -> None:
    """Ask for all at once; who has no answer in time keeps its problem. Threads that hang end with the process."""
    threads = [threading.Thread(target=question.ask, daemon=True) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 0.5)


def check_hub(project: Project, models_due: bool, bases_due: bool, findings: Findings) -> dict[str, float]:
    """All that must be fetched can be; bytes of it by what it is."""
    config = project.config
    hub, cache = config["models"]["hub"], Path(config["paths"]["work"]) / "hub"
    wanted: list[tuple[str, dict[str, Any]]] = []
    sizes: dict[str, float] = {}
    if models_due:
        with findings.collecting():
            lock = read_lock(config["models"]["lock"])
            wanted += [(f"{PICTURES} {entry['repo']}", entry) for entry in lock]
    if bases_due:
        wanted += [(f"bases.{name}", entry) for name, entry in hub_bases(project).items()]
    if not is_address(hub):
        findings.run([partial(check_folder, Path(hub), wanted)])
        return sizes
    missing = {what: entry for what, entry in wanted if fetched_before(entry, cache) is None}
    questions = [question(hub, what, entry) for what, entry in missing.items()]
    ask_all(questions)
    tell(hub, questions, findings)
    if any(what.startswith(PICTURES) for what in missing):
        sizes["picture models"] = MODELS_BYTES
    if bases := [entry for what, entry in missing.items() if not what.startswith(PICTURES)]:
        sizes["base models"] = sum(BASE_BYTES[entry["family"]] for entry in bases)
    return sizes


def tell(hub: str, questions: list[Question], findings: Findings) -> None:
    """One finding for each problem that the hub has, with all that need it."""
    for problem in dict.fromkeys(each.problem for each in questions if each.problem):
        names = named([each.what for each in questions if each.problem == problem])
        findings.error(f"{names}: not on this machine yet, and {hub} {problem}")


def named(names: list[str]) -> str:
    """`bases.x, 14 picture models (deepghs/ccip_onnx, …)`."""
    pictures = [name for name in names if name.startswith(PICTURES)]
    others = [name for name in names if name not in pictures]
    if len(pictures) > 1:
        pictures = [f"{len(pictures)} picture models ({pictures[0].removeprefix(PICTURES).strip()}, …)"]
    return ", ".join([*others, *pictures])


def check_folder(hub: Path, wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """A hub that is a folder holds `<repo>/<file>`."""
    missing = {
        what: hub / entry["repo"] / file
        for what, entry in wanted
        for file in reversed(list(entry["files"]))
        if not (hub / entry["repo"] / file).is_file()
    }
    if missing:
        raise CharaloomError(
            f"{named(list(missing))}: {next(iter(missing.values()))} is missing; `models.hub` is a folder and must hold"
            " <repo>/<file> of all that is used: put the files there, or name a hub's address"
        )


def hub_bases(project: Project) -> dict[str, dict[str, Any]]:
    """The bases that characters use and that come from the hub, as entries of a lock."""
    from charaloom.config.bases import bases_named

    entries = {}
    for config in (project.config, *project.special.values()):
        for name, _ in bases_named(config):
            base = config["bases"].get(name, {})
            if base.get("repo") and base.get("family") and not base.get("path"):
                entries[name] = lock_entry(base)
    return entries


def lock_entry(base: Mapping[str, Any]) -> dict[str, Any]:
    family = FAMILIES[base["family"]]
    weights = [f"{part}/{name}" for part, name in family.weights.items()]
    files = [base["file"]] if base.get("file") else ["model_index.json", *weights]
    revision = base.get("revision") or "main"
    return {
        "repo": base["repo"],
        "repo_type": "model",
        "revision": revision,
        "files": dict.fromkeys(files),
        "family": family.name,
    }

"""Publishing to a hub in a child process: huggingface_hub reads its endpoint and whether to use xet at import, once."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.manifest import describe
from charaloom.artifacts.types import Row
from charaloom.config.params import Target
from charaloom.errors import CharaloomError
from charaloom.publishing.hub.attempts import Attempts
from charaloom.publishing.hub.remote import SECONDS, NoXetError, Remote
from charaloom.publishing.hub.upload import Revision, publish_revision
from charaloom.runtime.processes import die_with_parent

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN = "HF_TOKEN"
NO_XET = 3  # exit code: start again without xet
CLEARED = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # with which nothing can be published


def send_repositories(target: Target, private: bool, repositories: Mapping[str, tuple[str, Path, str]]) -> None:
    """Bring folders to their repositories: name on the hub, folder and tag, by kind (dataset, model), in this order.

    Raises CharaloomError where there is no token, and where the hub refuses; the log says why.
    """
    if not os.environ.get(TOKEN, "").strip():
        raise CharaloomError(
            f"{TOKEN} is not set: publishing to {target.endpoint} needs a token with the right to write"
        )
    request = {
        "endpoint": target.endpoint,
        "private": private,
        "repositories": [[kind, name, str(folder), tag] for kind, (name, folder, tag) in repositories.items()],
    }
    done = run_child(request, {})
    if done.returncode == NO_XET:
        print(f"{target.endpoint} has no xet storage; large files go by LFS", file=sys.stderr, flush=True)
        done = run_child(request, {"HF_HUB_DISABLE_XET": "1"})
    if done.returncode:
        raise CharaloomError(done.stdout.strip() or f"publishing to {target.endpoint} failed; the lines above say why")


def run_child(request: Row, more: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """A child that publishes. It tells what it does in this process's log, and why it failed on its output."""
    environment = {name: value for name, value in os.environ.items() if name not in CLEARED}
    environment |= {
        "HF_ENDPOINT": request["endpoint"],
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(Path(__file__).parents[3]),
        **more,
    }
    command = [sys.executable, "-m", "charaloom.publishing.hub.child"]
    return subprocess.run(command, env=environment, input=json.dumps(request), stdout=subprocess.PIPE, text=True)


# --- in the child


def work(request: Row) -> None:
    api = hub_api(request["endpoint"])
    for kind, name, folder, tag in request["repositories"]:
        remote = Remote(api, kind, name)
        files = describe(folder)["files"]
        revision = Revision(Path(folder), files, tag, request["private"])
        done = publish_revision(remote, revision, Attempts(str(remote)))
        print(told(remote, revision, done), file=sys.stderr, flush=True)


def told(remote: Remote, revision: Revision, done: Row) -> str:
    """One line of what was done."""
    where = f"{remote} at {revision.tag} (commit {done['commit'][:12]})"
    if not done["committed"]:
        return f"{where}: is there already"
    sent = f"{done['added']} of {len(revision.files)} files sent, {done['bytes'] / 1e6:,.1f} MB"
    return f"{where}: {sent}{', {} deleted'.format(done['deleted']) if done['deleted'] else ''}"


def hub_api(endpoint: str) -> "HfApi":
    """The client, with the token of the environment and of nowhere else; no connection hangs for ever."""
    import huggingface_hub
    from huggingface_hub.utils._http import default_client_factory

    def factory() -> Any:
        client = default_client_factory()
        client.event_hooks = {**client.event_hooks, "request": [*client.event_hooks["request"], bounded]}
        return client

    huggingface_hub.set_client_factory(factory)
    return huggingface_hub.HfApi(endpoint=endpoint, token=os.environ.get(TOKEN, "").strip(), library_name="charaloom")


def bounded(request: Any) -> None:
    """Give a request the longest silence that it may wait through; the client itself waits for ever."""
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)


if __name__ == "__main__":
    die_with_parent()
    try:
        work(json.load(sys.stdin))
    except NoXetError:
        sys.exit(NO_XET)
    except CharaloomError as problem:
        print(problem)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)

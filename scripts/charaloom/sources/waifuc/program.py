"""Runs one source of waifuc, by the Python of waifuc's own environment; nothing there but waifuc and what lies in
Charaloom's checkout without further packages.

Reads a JSON object from its standard input: `class`, `args`, `options`, `items`, `agent`, `pause`, `hosts`. Writes each
picture into the working directory, named by its number, and says a line of JSON for it: {"file", "exact", "meta"}; at
the end {"end": true, "skipped"}. waifuc pickles what JSON does not know; here such values are left out.
"""

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from charaloom.errors import CharaloomError
from charaloom.sources.network.pace import Pace, seconds_asked

BUSY = (429, 503)
SESSIONS = ("session", "auth_session")  # of waifuc's sources: of httpx or of requests


def main() -> None:
    said, facts = own_output(), json.load(sys.stdin)
    skipped = counted_warnings()
    source = source_class(facts["class"])(*facts["args"], **facts["options"])
    behave(source, facts)
    for number, item in enumerate(islice(source, facts["items"])):
        name = f"{number:06d}"
        exact = store(item.image, name)
        say(said, {"file": name, "exact": exact, "meta": plain(item.meta)})
    say(said, {"end": True, "skipped": len(skipped)})


def own_output() -> TextIO:
    """Standard output for our lines alone: what waifuc prints goes to the error stream."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return said


def say(said: TextIO, line: dict[str, Any]) -> None:
    said.write(json.dumps(line) + "\n")
    said.flush()


def counted_warnings() -> list[str]:
    """waifuc warns of each file that it skips, and goes on."""
    skipped: list[str] = []

    def note(message: Any, *_: Any, **__: Any) -> None:
        if "skip" in str(message).lower():
            skipped.append(str(message))

    warnings.simplefilter("always")
    warnings.showwarning = note  # type: ignore[assignment]
    return skipped


def source_class(name: str) -> Any:
    """A source by its name, with the module in front where `waifuc.source` does not export it."""
    module, _, name = name.rpartition(".")
    found = getattr(import_module("waifuc.source" + (f".{module}" if module else "")), name, None)
    if not isinstance(found, type):
        raise CharaloomError(f"waifuc has no source `{name}`")
    return found


# ---- its manners


def behave(source: Any, facts: dict[str, Any]) -> None:
    """Make a source ask under our name and at our pace: waifuc pretends to be a browser, under names drawn by chance,
    and asks a site that refuses it for ever."""
    clients = [client for name in SESSIONS if (client := getattr(source, name, None)) is not None]
    for client in clients:
        if type(client).__module__.startswith("cloudscraper"):
            raise CharaloomError("this source evades browser challenges; name the site as a board instead")
        client.headers["User-Agent"] = facts["agent"]
        client.send = paced(client.send, facts)
    if hasattr(source, "_check_session"):
        source._prune_session = lambda: raise_if_refused(source)


def raise_if_refused(source: Any) -> None:
    if not source._check_session():
        raise CharaloomError("the site refuses access; it may want an account, or block this network or User-Agent")


def paced(send: Callable[..., Any], facts: dict[str, Any]) -> Callable[..., Any]:
    """A client's `send` that waits for the turn of its host, which all jobs of this machine share."""

    def sent(request: Any, *arguments: Any, **options: Any) -> Any:
        parts = urlsplit(str(request.url))
        host = (parts.hostname or "none") + (f"_{parts.port}" if parts.port not in (None, 80, 443) else "")
        pace = Pace(Path(facts["hosts"]), host, facts["pause"], max(0.25, 20 * facts["pause"]))
        departed = pace.wait_for_turn()
        response = send(request, *arguments, **options)
        if response.status_code not in BUSY:
            pace.answered()
        elif not pace.refused(seconds_asked(response.headers), departed):
            raise CharaloomError(f"{host}: is busy or wants fewer requests, again and again; run again later")
        return response

    return sent


# ---- what it gives


def store(image: Any, name: str) -> bool:
    """Write a picture; whether it is the very file that was downloaded, which is there as long as its item is."""
    origin = getattr(image, "filename", None)
    if isinstance(origin, str) and os.path.isfile(origin) and not os.path.islink(origin):
        shutil.copyfile(origin, name)
        return True
    image.save(name, format="PNG")
    return False


def plain(value: Any) -> Any:
    """What JSON knows of a value; the rest is None."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool) else None


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # whatever it is, what came before it is kept
        sys.exit(f"{type(error).__name__}: {error}")

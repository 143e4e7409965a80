"""What every job of the workflow shares: its log, its ending, and no hub unless it says so."""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from io import TextIOWrapper
from pathlib import Path

from charaloom.artifacts.manifest import refuse_damaged
from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError
from charaloom.images.files import printable
from charaloom.runtime.gpus import one_gpu

INTERRUPTED = "Interrupted."  # last line of the log
ERROR, CONTINUED = "Error: ", "\n    "  # what a failed job's last lines begin with
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def job(log: PathLike, reads: Iterable[PathLike] = (), offline: bool = True, gpu: bool = False) -> Iterator[None]:
    """Run a stage with both its streams, and those of what it starts, in `log`.

    A CharaloomError ends the log with its line, any other error with its traceback and such a line; both end the
    process with 1.
    Ctrl-C ends it with INTERRUPTED.
    `reads`: the files that the rule names; whatever their manifests list must be what was made.
    `offline` keeps huggingface_hub off the network: only the jobs that fetch or publish turn it off. `gpu` lets a job
    see one GPU of several, its own.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    Path(log).write_text("")
    with Path(log).open("a") as handle:  # appending, so that a trainer may write to the same file
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            os.dup2(handle.fileno(), number)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="replace")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        refuse_damaged(reads)
        with one_gpu() if gpu else nullcontext():
            yield
    except CharaloomError as problem:
        report(str(problem))
        sys.exit(1)
    except OSError as problem:
        if problem.errno not in FULL:
            traceback.print_exc()
            report(f"{type(problem).__name__}: {problem}")
        else:
            place = problem.filename or "results or work"
            report(f"{place}: {problem.strerror}; free some space, and run again")
        sys.exit(1)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)
    except Exception as problem:
        traceback.print_exc()
        report(f"{type(problem).__name__}: {problem}")
        sys.exit(1)


def report(problem: str) -> None:
    """End the log with why the job failed. Strangers' text may stand in it: no line of it but the first can begin like
    an error of ours, and none moves a terminal's cursor."""
    print(f"{ERROR}{CONTINUED.join(map(printable, problem.splitlines())) or 'it says no more'}", file=sys.stderr)

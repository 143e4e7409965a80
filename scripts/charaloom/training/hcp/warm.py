"""The warm process: everything imported, the base model loaded, one fork for each training.

    python -m charaloom.training.hcp.warm '{"socket": …, "base": …, "family": …, "precision": "bf16", "seconds": 30}'

A job sends one line of JSON with its working directory, and two open files: its log and its lock. The answer is two
lines: the process id of the fork, and its exit code (negative: the signal that ended it). A job that hangs up takes its
fork with it.

It must never touch the GPU: a fork of a process that has cannot use it. So it holds the base on the CPU, and leaves out
bitsandbytes, which peft imports and which asks each GPU for its kind; a training that needs it imports it in its fork.
"""

import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from charaloom.runtime.processes import die_with_parent

MESSAGE_BYTES = 65536
EVERYTHING = (
    "charaloom.training.hcp.data",
    "charaloom.training.hcp.layers",
    "charaloom.training.hcp.process",
    "hcpdiff.ckpt_manager",
    "hcpdiff.data",
    "hcpdiff.loss",
    "hcpdiff.models",
    "rainbowneko.loggers",
    "rainbowneko.train.loss",
    "sklearn.cluster",
    "torch.utils.tensorboard",
)


class Warm:
    """Listens, forks, and reports to each job how its fork ended."""

    def __init__(self, path: str, seconds: float):
        self.path, self.seconds = Path(path), seconds
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        self.jobs: dict[int, socket.socket] = {}  # by process id of the fork
        self.silent: set[socket.socket] = set()  # connections that have not asked for anything yet

    def serve(self) -> None:
        """Serve until no job has come, and none was running, for `seconds`."""
        while True:
            events = self.selector.select(None if self.jobs else self.seconds)
            for key, _ in events:
                key.data(key.fileobj)
            if not events and not self.jobs:
                self.path.unlink(missing_ok=True)
                return

    def accept(self, listener: socket.socket) -> None:
        """Wait for what the job says; one that says nothing keeps nobody waiting."""
        connection, _ = listener.accept()
        connection.setblocking(False)
        self.silent.add(connection)
        self.selector.register(connection, selectors.EVENT_READ, self.listen)

    def listen(self, connection: Any) -> None:
        """Start the training that a job asks for; hang up on one that asks for something else."""
        self.silent.discard(connection)
        self.selector.unregister(connection)
        message, files = b"", list[int]()
        with suppress(OSError):  # it has gone
            message, files, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 2)
        if not message.endswith(b"\n") or len(files) != 2:
            for file in files:
                os.close(file)
            connection.close()
            return
        connection.setblocking(True)
        process = os.fork()
        if process == 0:
            self.become_trainer(connection, files, message)
        for file in files:
            os.close(file)
        self.jobs[process] = connection
        self.selector.register(os.pidfd_open(process), selectors.EVENT_READ, lambda pidfd: self.ended(process, pidfd))
        self.selector.register(connection, selectors.EVENT_READ, lambda _: os.kill(process, signal.SIGKILL))
        with suppress(OSError):  # it has gone: the next event ends its fork
            connection.sendall(f"{process}\n".encode())

    def ended(self, process: int, pidfd: Any) -> None:
        connection = self.jobs.pop(process)
        _, status = os.waitpid(process, 0)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        self.selector.unregister(connection)
        with suppress(OSError):  # the job has gone
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        connection.close()

    def become_trainer(self, connection: socket.socket, files: list[int], message: bytes) -> None:
        """In the fork: close the sockets of other jobs, train, and exit; the lock stays open until then."""
        from charaloom.training.hcp.process import train_here

        code = 1
        try:
            die_with_parent()
            self.selector.close()
            for open_socket in (self.listener, connection, *self.jobs.values(), *self.silent):
                open_socket.close()
            for stream in (1, 2):
                os.dup2(files[0], stream)
            os.chdir(json.loads(message)["workdir"])
            train_here("config.py")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else print(end.code, file=sys.stderr) or 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def import_everything() -> None:
    """Import what each training would import for itself."""
    with hidden("bitsandbytes"):
        for name in EVERYTHING:
            import_module(name)


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Inside, a package counts as not installed."""
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def main() -> None:
    facts = json.loads(sys.argv[1])
    import_everything()
    import torch

    from charaloom.training.hcp.process import LOADED, load_base

    torch.set_num_threads(1)  # threads of OpenMP that run before a fork are missing after it, and awaited forever
    LOADED[facts["base"], facts["precision"]] = load_base(facts["base"], facts["family"], facts["precision"])
    if torch.cuda.is_initialized():
        sys.exit("something that was imported has touched the GPU, which a fork could not use then")
    Warm(facts["socket"], facts["seconds"]).serve()


if __name__ == "__main__":
    main()

"""Child processes that do not outlive the process that started them."""

import ctypes
import os
import resource
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of Linux' prctl.h
# Variables of the environment that a stranger's program gets: no account is among them.
PASSED_ON = ("PATH", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
             "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SYSTEMROOT")  # fmt: skip


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """In a child, before it does anything: receive signal `number` when the parent dies, so that no orphan writes.

    A command that a shell starts in the background ignores SIGINT, and so would its children: here they hear it again.
    What is sent at the parent's death is Linux only.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def confined(memory: int, file_bytes: int, places: Sequence[Path] = ()) -> Callable[[], None]:
    """What a child does before it starts: it may take so much address space, write no larger file, write only below
    `places` where there are some, and dies with its parent."""

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        die_with_parent()
        if places:
            write_only_below([*places, Path("/dev")])

    return confine


# Of Linux' landlock.h, prctl.h and unistd.h; the numbers of the calls are those of all architectures.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_OF_LANDLOCK, PATH_BENEATH, NO_NEW_PRIVILEGES = 1, 1, 38
WRITES = {1: [1, *range(4, 13)], 2: [13], 3: [14]}  # bits of what changes files, by the version that brought them


def write_only_below(places: Sequence[Path]) -> None:
    """This process and its children change files only below `places` from now on, if the kernel has Landlock."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(CREATE_RULESET, None, 0, VERSION_OF_LANDLOCK)
    bits = sum(1 << bit for since, own in WRITES.items() if since <= version for bit in own)
    ruleset = library.syscall(CREATE_RULESET, struct.pack("=Q", bits), 8, 0)
    if ruleset < 0:
        return
    for place in places:
        folder = os.open(place, os.O_PATH)
        library.syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", bits, folder), 0)
        os.close(folder)
    library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    library.syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


class TooMuchError(Exception):
    """A child that takes too long or says too much."""


def watched(
    process: "subprocess.Popen[bytes]",
    given: bytes,
    seconds: float,
    most: int,
    hear: Callable[[bytes], None],
    look: Callable[[], None] = lambda: None,
) -> bytes:
    """Give a child its input, and `hear` what it says, piece by piece; returns what it says on the error stream.

    It is killed with all of its session at the end, whatever the end is. Raises TooMuchError after `seconds` in all or
    `most` bytes of one stream, and what `hear` raises, or `look`, which is called about twice a second.
    """
    assert process.stdin is not None
    errors = bytearray()
    heard = {process.stdout: hear, process.stderr: errors.extend}
    sizes = dict.fromkeys(heard, 0)
    deadline = time.monotonic() + seconds
    try:
        with suppress(BrokenPipeError):  # it ended at once; its messages say why
            process.stdin.write(given)
            process.stdin.close()
        with selectors.DefaultSelector() as selector:
            for stream in heard:
                selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
            looked = time.monotonic()
            while selector.get_map():
                now = time.monotonic()
                if now > deadline:
                    raise TooMuchError(f"took longer than {seconds:.0f} seconds")
                if now > looked + 0.5:
                    look()
                    looked = now
                for key, _ in selector.select(timeout=0.5):
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        selector.unregister(key.fileobj)
                        continue
                    sizes[key.fileobj] += len(chunk)  # type: ignore[index]
                    if sizes[key.fileobj] > most:  # type: ignore[index]
                        raise TooMuchError(f"is longer than {most // 2**20} MiB")
                    heard[key.fileobj](chunk)  # type: ignore[index]
        process.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise TooMuchError(f"took longer than {seconds:.0f} seconds") from error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return bytes(errors)

"""Parts of a batch, each computed from end to end by a process of its own with one thread.

Threads cannot share small operations, processes can share a batch; and threads of one Python wait for each other
between any two operations. The processes are forked before anything is computed: the frozen model is the same memory in
all of them, the trained weights and the gradients lie in memory that they share.
"""

import os
import pickle
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import reduce
from mmap import mmap
from multiprocessing.connection import Connection, Pipe
from typing import Any

import torch
from torch import Tensor

from charaloom.runtime.processes import die_with_parent

Part = tuple[Any, ...]
Result = tuple[float, Sequence[Tensor | None]]  # what parts add to the loss, and to the gradient of each parameter


class WorkerPool:
    """`size` processes, this one among them, that compute `compute(*part)` side by side. `grown`: their memory, KiB."""

    def __init__(self, size: int, parameters: Sequence[Tensor], compute: Callable[..., Result]):
        self.compute, self.grown = compute, [0] * (size - 1)
        self.gradients = [[shared(torch.zeros_like(parameter)) for parameter in parameters] for _ in range(size - 1)]
        for parameter in parameters:
            parameter.data = shared(parameter.data)
        self.workers: list[Connection] = []
        sys.stdout.flush()
        sys.stderr.flush()
        for gradients in self.gradients:
            here, there = Pipe()
            if os.fork() == 0:
                for connection in (*self.workers, here):
                    connection.close()
                self.work(there, gradients)
            there.close()
            self.workers.append(here)

    def work(self, orders: Connection, gradients: list[Tensor]) -> None:
        """In a fork: compute parts until the pipe is closed."""
        code = 1
        try:
            die_with_parent()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # the trainer gets them too, and ends its workers
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            while True:
                loss, computed = self.sum_of(pickle.loads(orders.recv_bytes()))
                for target, gradient in zip(gradients, computed, strict=True):
                    if gradient is not None:
                        target.copy_(gradient)
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                orders.send((loss, [gradient is not None for gradient in computed], grown))
        except (EOFError, BrokenPipeError):
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def sum_of(self, parts: Sequence[Part]) -> Result:
        """Losses and gradients of some parts, added in their order."""
        losses, gradients = zip(*(self.compute(*part) for part in parts), strict=True)
        return sum(losses), [added(of_parameter) for of_parameter in zip(*gradients, strict=True)]

    def compute_all(self, parts: Sequence[Part]) -> Result:
        """Losses and gradients of all parts, dealt out in turn, added in the order of the processes.

        Ends this process with a message where a worker has ended.
        """
        dealt = [parts[place :: 1 + len(self.workers)] for place in range(1 + len(self.workers))]
        busy = [place for place, some in enumerate(dealt[1:]) if some]
        try:
            for place in busy:
                self.workers[place].send_bytes(pickle.dumps(dealt[1 + place], protocol=pickle.HIGHEST_PROTOCOL))
            results = [self.sum_of(dealt[0])]
            answers = [self.workers[place].recv() for place in busy]
        except (EOFError, OSError):
            sys.exit("a process that computed a part of the batch has ended; most often memory ran out")
        for place, (loss, present, self.grown[place]) in zip(busy, answers, strict=True):
            pairs = zip(self.gradients[place], present, strict=True)
            results.append((loss, [gradient if there else None for gradient, there in pairs]))
        losses, gradients = zip(*results, strict=True)
        return sum(losses), [added(of_parameter) for of_parameter in zip(*gradients, strict=True)]


def added(gradients: Sequence[Tensor | None]) -> Tensor | None:
    """Their sum in their order; a part has no gradient of a trained word that its captions lack."""
    present = [gradient for gradient in gradients if gradient is not None]
    return reduce(torch.add, present) if present else None


def shared(value: Tensor) -> Tensor:
    """The same numbers in memory that forks see, anonymous: no file and no limit of /dev/shm."""
    size = max(value.numel() * value.element_size(), 1)
    memory = mmap(-1, size)  # MAP_SHARED
    flat = torch.frombuffer(memory, dtype=value.dtype, count=value.numel())
    return flat.view(value.shape).copy_(value)

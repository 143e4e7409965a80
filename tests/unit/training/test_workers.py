"""Parts of a batch in several processes: the same sums, from weights that all see, and no hang where one has gone."""

import os
import signal
import sys
import time
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux alone")


@pytest.fixture
def parts() -> Any:
    """A weight, and a way to compute with it: loss `weight * number`, gradient `number`; an unused second weight."""
    import torch

    weights = [torch.nn.Parameter(torch.tensor([2.0])), torch.nn.Parameter(torch.tensor([5.0]))]

    def compute(number: float) -> Any:
        if number < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return weights[0].item() * number, [torch.tensor([number]), None]

    return weights, compute


def pool_of(size: int, parts: Any) -> Any:
    import torch

    from charaloom.training.hcp.workers import WorkerPool

    torch.set_num_threads(1)
    return WorkerPool(size, *parts)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("numbers", [[1.0], [1.0, 2.0], [1.0, 2.0, 4.0, 8.0, 16.0]])
def test_sums_are_those_of_one_process(parts: Any, size: int, numbers: list[float]) -> None:
    pool = pool_of(size, parts)
    loss, (gradient, unused) = pool.compute_all([(number,) for number in numbers])
    assert (loss, gradient.tolist(), unused) == (2 * sum(numbers), [sum(numbers)], None)


def test_all_see_the_weights_as_they_are_now(parts: Any) -> None:
    (weight, _), _ = parts
    pool = pool_of(2, parts)
    weight.data.fill_(3.0)
    assert pool.compute_all([(0.0,), (1.0,)])[0] == 3.0


def test_a_process_that_has_ended_ends_the_training(parts: Any) -> None:
    pool = pool_of(2, parts)
    with pytest.raises(SystemExit, match="most often memory ran out"):
        pool.compute_all([(1.0,), (-1.0,)])


def test_nobody_stays_when_the_trainer_goes(parts: Any) -> None:
    before = children()
    pool = pool_of(3, parts)
    assert len(children() - before) == 2
    for worker in pool.workers:
        worker.close()
    limit = time.monotonic() + 10
    while children() - before:
        assert time.monotonic() < limit
        time.sleep(0.05)
        for process in children() - before:
            os.waitpid(process, os.WNOHANG)


def children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as listed:
        return set(map(int, listed.read().split()))

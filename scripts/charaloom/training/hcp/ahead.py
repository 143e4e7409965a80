"""Batches whose captions depend on the step alone, encoded in advance where no text encoder learns."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from rainbowneko.data import DataGroup
from torch import nn

from charaloom.training.hcp.seeding import seed_all

STEPS_AHEAD = 32  # whose captions are encoded together: the text encoders move to the GPU once for so many; set by hand
STATES = "states"  # in the place of a batch's tokens


class Batches(DataGroup):
    """The batches of a training, step by step; the captions of each are varied by random numbers of its step alone.

    Where `text` is given, they come with its states instead of tokens, encoded some steps in advance.
    """

    def __init__(self, group: DataGroup, seed: int, steps: int, resumed: int, text: "FrozenText | None"):
        super().__init__(group.loader_dict, group.loss_weights)
        self.seed, self.steps, self.resumed, self.text = seed, steps, resumed, text

    def __iter__(self) -> Iterator[dict[str, Any]]:
        super().__iter__()
        together = STEPS_AHEAD if self.text else 1
        for first in count(1, together):
            steps = range(first, min(first + together, self.steps + 1))
            chunk = [self.of(step) for step in steps]
            if self.text:
                self.text.encode([batch for step, batch in zip(steps, chunk, strict=True) if step > self.resumed])
            yield from chunk
            if not chunk:
                return

    def of(self, step: int) -> dict[str, Any]:
        seed_all(self.seed, "captions", step)
        return next(self)


class FrozenText:
    """Text encoders that do not learn: on the device only while they encode."""

    def __init__(self, wrapper: Any, device: torch.device):
        self.wrapper, self.device, self.encoded = wrapper, device, wrapper.forward_TE
        wrapper.forward_TE = self.forward

    def forward(self, tokens: Any, *other: Any, **named: Any) -> Any:
        """What hcpdiff's wrapper asks for in each step."""
        if isinstance(tokens, dict) and STATES in tokens:
            return tokens[STATES]
        return self.encoded(tokens, *other, **named)

    @torch.no_grad()
    def encode(self, batches: list[dict[str, Any]]) -> None:
        """Put the states of the captions in the place of their tokens."""
        with put_back(self.wrapper.TE):
            self.wrapper.TE.to(self.device)
            for batch in batches:
                for data in batch.values():
                    data["prompt"] = {STATES: self.encoded(on(data["prompt"], self.device), None)}


@contextmanager
def put_back(model: nn.Module) -> Iterator[None]:
    """Afterwards the weights of a frozen model lie where they lay before; nothing is copied back."""
    places = [(weight, weight.data) for weight in model.parameters()]
    try:
        yield
    finally:
        for weight, data in places:
            weight.data = data


def on(tokens: Any, device: torch.device) -> Any:
    return (
        {name: inside.to(device) for name, inside in tokens.items()} if isinstance(tokens, dict) else tokens.to(device)
    )

"""Trains the independent classifier of demo previews (`classifier.py`) on drawings of people whom no demo world holds.

Every picture is drawn anew: somebody new in an outfit of anybody, in any style, then softened as a small diffusion
model's samples are. Saved and continued after a stop; about half an hour on one CPU core.

    python -m charaloom.demo.models.train_classifier --work W --out resources/demo/classifier.onnx
    python -m charaloom.demo.models.train_classifier --measure      # how often it is right on drawings it never saw
"""

import argparse
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from charaloom.demo.models import training_pictures as pictures
from charaloom.demo.models.classifier import MODEL, QUESTIONS, SEED, SIDE, Classifier, answers_of
from charaloom.demo.world import cast
from charaloom.demo.world.drawing import draw_group

STEPS, BATCH = 1600, 40
UNKNOWN = -100  # the label that cross entropy ignores


def new_network() -> Any:
    import torch
    from torch import nn

    from charaloom.demo.models.networks import Conv, Pooled, full

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(
                Conv(3, 24, stride=2),
                Conv(24, 48, stride=2),
                full(48),
                Conv(48, 80, stride=2),
                full(80),
                Conv(80, 128, stride=2),
                full(128),
                Pooled(),
            )
            self.heads = nn.Linear(256, sum(len(values) for values in QUESTIONS.values()))

        def forward(self, x: Any) -> Any:
            return self.heads(self.trunk(x))

    torch.manual_seed(SEED)
    return Network()


def drawn(rng: Random) -> tuple[Any, dict[str, Any]]:
    """A picture of SIDE pixels of somebody new, and the true answers it can give."""
    somebody = cast.draw_character(rng, "stranger", outfits=1)
    outfit, staging = cast.draw_outfit(rng), cast.draw_staging(rng, rng.choice(cast.FRAMINGS))
    background, style = rng.choice(cast.BACKGROUNDS), rng.choice(cast.STYLES)
    picture, _ = draw_group([(somebody, outfit, staging)], background, style, (SIDE, SIDE), rng)
    answers = answers_of(somebody, outfit)
    if staging.expression == "closed_eyes":
        del answers["eye_colour"]
    return picture, answers


def batch(step: int) -> tuple[Any, Any]:
    """Pictures [n, 3, SIDE, SIDE] in -1..1, labels [n, questions]; half of the pictures are softened."""
    import torch

    rng, coarse = Random(SEED + 10 + step), np.random.default_rng([SEED, step])
    drawings = [drawn(rng) for _ in range(BATCH)]
    shown = []
    for picture, _ in drawings:
        how = coarse.random()
        rough = pictures.soften if how < 0.5 else pictures.roughen if how < 0.8 else lambda same, _: same
        shown.append(rough(picture, coarse))
    tensor, _ = pictures.as_batch(shown, coarse, colours=0.06)
    labels = [
        [list(values).index(answers[name]) if name in answers else UNKNOWN for name, values in QUESTIONS.items()]
        for _, answers in drawings
    ]
    return tensor, torch.tensor(labels)


def loss_of(model: Any, step: int) -> tuple[Any, str]:
    import torch
    from torch.nn import functional

    shown, labels = batch(step)
    parts = torch.split(model(shown), [len(values) for values in QUESTIONS.values()], dim=1)
    losses = [
        functional.cross_entropy(part, labels[:, k], ignore_index=UNKNOWN, reduction="sum")
        / (labels[:, k] != UNKNOWN).sum().clamp_min(1)
        for k, part in enumerate(parts)
    ]
    note = " ".join(f"{name} {loss.item():.2f}" for name, loss in zip(QUESTIONS, losses, strict=True))
    return torch.stack(losses).mean(), note


def export(model: Any, path: Path) -> None:
    from charaloom.demo.models.networks import Graph

    graph = Graph("judge")
    seen = graph.layer(graph.scale("input", 2, -1), model.trunk)
    graph.linear(seen, model.heads, result="output")
    graph.save(path, {"input": ["batch", 3, SIDE, SIDE]}, {"output": ["batch", model.heads.out_features]})


def train(work: Path, out: Path, steps: int) -> None:
    import torch

    from charaloom.demo.models.train_picture_models import learn

    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    model = new_network()
    learn("classifier", work / "classifier.pt", model, loss_of, steps, every=40)
    export(model, out)


def measure(number: int = 200) -> str:
    """How often it is right about drawings: per framing, sharp and softened, who it is and what is worn."""
    classifier, lines = Classifier(), []
    for framing in cast.FRAMINGS:
        for soft in (False, True):
            rng, coarse = Random(SEED + 2), np.random.default_rng(SEED)
            verdicts = []
            for _ in range(number):
                somebody = cast.draw_character(rng, "stranger", outfits=3)
                outfit, staging = rng.choice(somebody.outfits), cast.draw_staging(rng, framing)
                style, background = rng.choice(cast.STYLES), rng.choice(cast.BACKGROUNDS)
                picture, _ = draw_group([(somebody, outfit, staging)], background, style, (SIDE, SIDE), rng)
                shown = pictures.soften(picture, coarse) if soft else picture
                verdicts.append(classifier.judged(shown, somebody, outfit))
            who, worn = (sum(map(bool, column)) / number for column in zip(*verdicts, strict=True))
            lines.append(f"{framing:<12} {'soft' if soft else 'sharp':<6} who {who:.3f}  outfit {worn:.3f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/demo-weights/classifier"))
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args(arguments)
    if given.measure:
        print(measure())
    else:
        train(given.work, given.out, given.steps)


if __name__ == "__main__":
    main()

"""The independent judge of demo previews: who is drawn, and in what, read by a network of its own.

It is trained apart from the stand-ins of imgutils' models, on other people and other drawings (`train_classifier`),
and only `charaloom score` asks it: the workflow never sees it, as it never sees the ground truth.

The network tells for each question (hair colour, garment, ...) how likely each answer is. A picture is taken for
whoever the answers fit best: of the character and `STRANGERS` people drawn from a fixed seed; of the outfit asked for,
the character's others and `WARDROBE` outfits of strangers. So guessing finds her in one picture of a hundred.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from charaloom.config.project import CODE
from charaloom.demo.world import cast
from charaloom.demo.world.cast import Character, Outfit

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MODEL = CODE / "resources" / "demo" / "classifier.onnx"
SEED = 920_000_001  # far from the seeds of any demo world and of the picture models
STRANGERS = 99
WARDROBE = 24
SIDE = 128
ACCESSORY_COLOURS = ("red", "blue", "yellow", "pink", "white", "purple")
TRIMS = ("white", "black", "yellow", "red", "blue")
WHO: dict[str, Sequence[Any]] = {
    "hair_colour": cast.HAIR_COLOURS,
    "hair_style": cast.HAIR_STYLES,
    "bangs": cast.BANGS,
    "eye_colour": cast.EYE_COLOURS,
    "accessory": cast.ACCESSORIES,
    "accessory_colour": ACCESSORY_COLOURS,
    "ahoge": (False, True),
    "dark_skin": (False, True),
}
WORN: dict[str, Sequence[Any]] = {"garment": cast.GARMENTS, "colour": cast.CLOTH_COLOURS, "trim": TRIMS}
QUESTIONS = {**WHO, **WORN}


def answers_of(somebody: Character, outfit: Outfit) -> dict[str, Any]:
    """The true answer to every question that a picture of somebody in an outfit can answer."""
    told = {name: getattr(somebody, name) for name in WHO} | {name: getattr(outfit, name) for name in WORN}
    hidden = cast.covered_by(outfit)
    if "ahoge" in hidden:
        del told["ahoge"]
    if somebody.accessory in hidden:
        del told["accessory"]
    if somebody.accessory in hidden or somebody.accessory not in cast.COLOURED_ACCESSORIES:
        del told["accessory_colour"]
    return told


class Judge:
    """The trained network and the crowd that a picture is compared with."""

    def __init__(self, model: Path = MODEL):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    @cached_property
    def crowd(self) -> list[Character]:
        rng = Random(SEED + 1)
        return [cast.draw_character(rng, "stranger", outfits=1) for _ in range(STRANGERS)]

    def answers(self, picture: "Image.Image") -> dict[str, "np.ndarray"]:
        """Log-likelihood of every answer to every question."""
        import numpy as np
        from PIL import Image

        small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        batch = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255
        logits = self.session.run(None, {"input": batch})[0][0]
        told, start = {}, 0
        for name, values in QUESTIONS.items():
            part = logits[start : start + len(values)]
            told[name] = part - np.log(np.exp(part - part.max()).sum()) - part.max()
            start += len(values)
        return told

    def judged(self, picture: "Image.Image", somebody: Character, outfit: Outfit | None) -> tuple[bool, bool | None]:
        """Whether it is taken for somebody, and for wearing the outfit (None: none was asked for)."""
        told = self.answers(picture)
        crowd = [other for other in self.crowd if not cast.alike(somebody, other)]
        recognised = best(told, [face(one, outfit or one.outfits[0]) for one in (somebody, *crowd)])
        if outfit is None:
            return recognised, None
        others = [other for other in somebody.outfits if other.name != outfit.name]
        others += [one.outfits[0] for one in self.crowd if one.outfits[0].name != outfit.name][:WARDROBE]
        return recognised, best(told, [dress(one) for one in (outfit, *others)])


def face(somebody: Character, outfit: Outfit) -> dict[str, Any]:
    told = answers_of(somebody, outfit)
    return {name: told[name] for name in WHO if name in told}


def dress(outfit: Outfit) -> dict[str, Any]:
    return {name: getattr(outfit, name) for name in WORN}


def best(told: dict[str, "np.ndarray"], candidates: list[dict[str, Any]]) -> bool:
    """Whether the first candidate fits the answers best; a question that a candidate leaves open counts its mean."""
    fits = []
    for candidate in candidates:
        known = [told[name][list(QUESTIONS[name]).index(value)] for name, value in candidate.items()]
        fits.append(sum(known) / len(known))
    return fits[0] >= max(fits)

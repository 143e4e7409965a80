"""An independent classifier of demo previews: who is shown, and in what, read by a network of its own.

It is trained apart from the stand-ins of imgutils' models, on other people and other drawings (`train_classifier`),
and only `charaloom score` runs it: the workflow never sees it, as it never sees the ground truth.

The network says for each question (hair colour, garment, ...) how likely each answer is. A picture is taken for
whoever the answers fit best: of the character and `STRANGERS` people drawn from a fixed seed; of the outfit of
the prompt, the character's others and `WARDROBE` outfits of strangers. So guessing is right in one picture of a
hundred.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from charaloom.config.schemas import CODE
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
    answers = {name: getattr(somebody, name) for name in WHO} | {name: getattr(outfit, name) for name in WORN}
    hidden = cast.covered_by(outfit)
    if "ahoge" in hidden:
        del answers["ahoge"]
    if somebody.accessory in hidden:
        del answers["accessory"]
    if somebody.accessory in hidden or somebody.accessory not in cast.COLOURED_ACCESSORIES:
        del answers["accessory_colour"]
    return answers


class Classifier:
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
        answers, start = {}, 0
        for name, values in QUESTIONS.items():
            part = logits[start : start + len(values)]
            answers[name] = part - np.log(np.exp(part - part.max()).sum()) - part.max()
            start += len(values)
        return answers

    def judged(self, picture: "Image.Image", somebody: Character, outfit: Outfit | None) -> tuple[bool, bool | None]:
        """Whether it is taken for somebody, and for wearing the outfit (None: the prompt names none)."""
        answers = self.answers(picture)
        crowd = [stranger for stranger in self.crowd if not cast.alike(somebody, stranger)]
        recognised = best(answers, [face(person, outfit or person.outfits[0]) for person in (somebody, *crowd)])
        if outfit is None:
            return recognised, None
        wardrobe = [owned for owned in somebody.outfits if owned.name != outfit.name]
        wardrobe += [person.outfits[0] for person in self.crowd if person.outfits[0].name != outfit.name][:WARDROBE]
        return recognised, best(answers, [dress(worn) for worn in (outfit, *wardrobe)])


def face(somebody: Character, outfit: Outfit) -> dict[str, Any]:
    answers = answers_of(somebody, outfit)
    return {name: answers[name] for name in WHO if name in answers}


def dress(outfit: Outfit) -> dict[str, Any]:
    return {name: getattr(outfit, name) for name in WORN}


def best(answers: dict[str, "np.ndarray"], candidates: list[dict[str, Any]]) -> bool:
    """Whether the first candidate fits the answers best; a question that a candidate leaves open counts its mean."""
    fits = []
    for candidate in candidates:
        likelihoods = [answers[name][list(QUESTIONS[name]).index(value)] for name, value in candidate.items()]
        fits.append(sum(likelihoods) / len(likelihoods))
    return fits[0] >= max(fits)

"""Trains the demo's picture models: small networks that see the demo world, under the names of imgutils' models.

Three networks learn, each saved and continued after a stop: who it is and what tags are seen (one trunk), where
persons, half bodies, heads and faces are, and what sort of picture it is. They see pixels alone, and characters of
seeds that no demo world uses. From them come the files below `--out`, laid out as `<repo>/<path>`, and beside that
folder the lock with their SHA-256.

    python -m charaloom.demo.models.train_picture_models --work W --out resources/demo/models
    python -m charaloom.demo.scores.picture_models --seed 5        # what they see in a world of that seed

Sizes and step counts were chosen so that one CPU core finishes in about 40 minutes and all files stay below 4 MB.
"""

import argparse
import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from charaloom.demo.models import training_pictures as pictures
from charaloom.demo.models.train_base import cosine, progress, save
from charaloom.demo.models.training_pictures import KINDS, Numbers, Pool
from charaloom.demo.world import building as world
from charaloom.demo.world import cast
from charaloom.demo.world.cast import Character
from charaloom.demo.world.drawing import draw_group
from charaloom.demo.world.words import world_tags

SEED = pictures.SEED
THREADS = 1
PEAK = 2e-3  # learning rate
SIDE, SMALL = 128, 96  # pixels that every network sees; that one learns on at first
CCIP = "ccip-caformer-24-randaug-pruned"
CCIP_THRESHOLD = 0.17847511429108218  # the real model's: the distance is scaled so that it holds here
TAGGER = "SmilingWolf/wd-swinv2-tagger-v3"
DETECTORS = {
    "person": ("deepghs/anime_person_detection", "person_detect_v1.1_m"),
    "halfbody": ("deepghs/anime_halfbody_detection", "halfbody_detect_v1.0_s"),
    "head": ("deepghs/anime_head_detection", "head_detect_v2.0_s"),
    "face": ("deepghs/anime_face_detection", "face_detect_v1.4_s"),
}
SORTERS = {
    "classes": ("deepghs/anime_classification", "mobilenetv3_v1.5_dist"),
    "rating": ("deepghs/anime_rating", "mobilenetv3_v1_pruned_ls0.1"),
    "monochrome": ("deepghs/monochrome_detect", "mobilenetv3_large_100_dist_safe2"),
    "ai": ("deepghs/anime_ai_check", "mobilenetv3_sce_dist"),
    "aesthetic": ("deepghs/anime_aesthetic", "swinv2pv3_v0_448_ls0.2_x"),
}
LABELS = {
    "classes": ["illustration", "bangumi", "comic", "3d", "not_painting"],
    "rating": ["safe", "r15", "r18"],
    "monochrome": ["normal", "monochrome"],
    "ai": ["human", "ai"],
    "aesthetic": ["great", "masterpiece", "best", "good", "normal", "low", "worst"],
}
RATINGS = ["general", "sensitive", "questionable", "explicit"]
MORE_TAGS = ["1boy", "2girls", "3girls", "multiple_girls", "monochrome", "greyscale", "comic", "speech_bubble"]


@dataclass(frozen=True)
class Recipe:
    numbers: Numbers = field(default_factory=Numbers)
    who_steps: int = 1000
    who_small_steps: int = 650
    tagger_steps: int = 1000
    where_steps: int = 450
    sort_steps: int = 600
    sheets: int = 640


def tag_names() -> list[str]:
    """The tagger's outputs in order: ratings, then what the world may show."""
    return [*RATINGS, *sorted({*world_tags(), *MORE_TAGS})]


# ----------------------------------------------------------------------------------------------------------- learning


def learn(
    name: str,
    path: Path,
    model: Any,
    loss_of: Callable[[Any, int], tuple[Any, str]],
    steps: int,
    every: int = 100,
) -> None:
    """Train `model` and leave the moving average of its weights in it.

    The state is kept in `path` every so many steps, and training goes on from there.
    """
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.99), weight_decay=1e-2)
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        average, start = state["average"], state["step"]
    report = progress(name, steps)
    model.train()
    for step in range(start, steps):
        torch.manual_seed(SEED + step)
        optimizer.param_groups[0]["lr"] = cosine(step, steps, PEAK, warm=min(100, steps // 5))
        loss, note = loss_of(model, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        decay = min(0.996, (step + 1) / (step + 10))
        for key, value in model.state_dict().items():
            average[key].copy_(value if not value.is_floating_point() else average[key].lerp(value, 1 - decay))
        report(step + 1, note)
        if (step + 1) % every == 0 or step + 1 == steps:
            state = {"weights": model.state_dict(), "optimizer": optimizer.state_dict()}
            save(path, **state, average=average, step=step + 1)
    model.load_state_dict(average)
    model.eval()


# ------------------------------------------------------------------------------------------ who it is, what is seen

PEOPLE_IN_BATCH, VIEWS_OF_EACH = 16, 4
MARGIN, SHARPNESS = 0.643, 14.0  # cosine at which two views are as likely of one person as of two
ATTRIBUTES = {
    "hair_colour": cast.HAIR_COLOURS,
    "hair_style": cast.HAIR_STYLES,
    "bangs": cast.BANGS,
    "eye_colour": cast.EYE_COLOURS,
    "accessory": cast.ACCESSORIES,
    "accessory_colour": ("red", "blue", "yellow", "pink", "white", "purple"),
    "ahoge": (False, True),
    "dark_skin": (False, True),
}
UNKNOWN = -100  # the label that cross entropy ignores
LOWER = {*cast.LOWER_TAGS, *(f"{colour}_skirt" for colour in cast.CLOTH_COLOURS)}


@dataclass
class Sight:
    """A picture for the shared trunk: whose it is (-1 where nobody's), its tags, and whether they are to be learned."""

    picture: Image.Image
    who: int
    tags: list[str]
    rating: str = "general"
    judged: str = "all"  # all, none, or page: only what a comic page surely has


class Sights:
    """Batches for `Who`: several people, several views of each, and pictures that are nobody's.

    The first `small_steps` show them smaller: the network takes any size and learns most of it at half the cost.
    """

    def __init__(self, pool: Pool, people: list[Character], small_steps: int = 0):
        self.pool, self.people, self.small_steps = pool, people, small_steps
        self.names = tag_names()
        self.place = {name: k for k, name in enumerate(self.names)}
        self.sharing: dict[tuple[str, str], list[int]] = defaultdict(list)
        for who, somebody in enumerate(people):
            for feature in ("hair_colour", "hair_style"):
                self.sharing[feature, getattr(somebody, feature)].append(who)
        self.facts = np.array([attributes_of(somebody) for somebody in people])
        self.alike = np.array([[cast.alike(first, second) for second in people] for first in people])
        self.weights = self.rarity()

    def rarity(self) -> Any:
        """How much more a tag weighs where it is there [tags]: rare ones would hardly be learned in so few steps."""
        import torch

        counts = Counter(tag for fact in self.pool.facts for tag in fact["tags"])
        shares = np.array([counts[name] / len(self.pool.facts) or 1.0 for name in self.names])
        return torch.from_numpy(np.clip(np.sqrt(0.1 / shares), 1, 4).astype(np.float32))

    def company(self, rng: np.random.Generator) -> list[int]:
        """People of a batch: in each four, three share the hair's colour and two its style, so that nothing is easy."""
        chosen: list[int] = []
        while len(chosen) < PEOPLE_IN_BATCH:
            first = int(rng.integers(len(self.people)))
            somebody = self.people[first]
            same_colour = rng.choice(self.sharing["hair_colour", somebody.hair_colour], 2)
            same_style = rng.choice(self.sharing["hair_style", somebody.hair_style], 1)
            chosen += [who for who in (first, *map(int, same_colour), *map(int, same_style)) if who not in chosen]
        return chosen[:PEOPLE_IN_BATCH]

    def of_somebody(self, who: int, rng: np.random.Generator) -> Sight:
        places = self.pool.of[who]
        k, j = places[rng.integers(len(places))]
        picture, fact = self.pool.picture(k), self.pool.facts[k]
        person = fact["people"][j]
        how = rng.random()
        if len(fact["people"]) == 1 and how < 0.45:
            return Sight(picture, who, person["tags"])
        if how > 0.92:
            return Sight(pictures.cut_person(picture, person["boxes"]["halfbody"], rng), who, [], judged="none")
        return Sight(pictures.cut_person(picture, person["boxes"]["person"], rng), who, person["tags"])

    def of_nobody(self, rng: np.random.Generator) -> list[Sight]:
        """Groups, grey pictures, a page, a placeholder, a scene."""
        pool = self.pool
        sights = [Sight(pool.picture(k), -1, pool.facts[k]["tags"]) for k in rng.choice(pool.groups, 6)]
        for k in rng.choice(pool.alone, 4):
            tags = [tag for tag in pool.facts[k]["tags"] if not world.colour_tag(tag)]
            sights.append(Sight(pictures.greyed(pool.picture(k)), -1, [*tags, "monochrome", "greyscale"]))
        sights.append(Sight(pictures.comic_page(pool, rng)[0], -1, ["comic", "speech_bubble"], judged="page"))
        sights.append(Sight(pictures.placeholder(rng), -1, [], rating="questionable"))
        return sights

    def batch(self, step: int) -> tuple[Any, ...]:
        """Pictures [n, 3, side, side]; who [n]; tags and which of them count [n, tags]."""
        import torch

        rng, side = np.random.default_rng([SEED, 1, step]), SMALL if step < self.small_steps else SIDE
        sights = [self.of_somebody(who, rng) for who in self.company(rng) for _ in range(VIEWS_OF_EACH)]
        sights += self.of_nobody(rng)
        shown = [pictures.roughen(self.framed(sight, side, rng), rng) for sight in sights]
        batch, _ = pictures.as_batch(shown, rng)
        return batch, torch.tensor([sight.who for sight in sights]), *self.targets(sights)

    def framed(self, sight: Sight, side: int, rng: np.random.Generator) -> Image.Image:
        """As one or another of the models is shown it: on a white square, or out of shape."""
        picture = pictures.on_white(sight.picture) if rng.random() < 0.5 else sight.picture
        return pictures.squeeze(picture, side, rng)

    def targets(self, sights: list[Sight]) -> tuple[Any, Any]:
        import torch

        tags, counted = zip(*map(self.target, sights), strict=True)
        return torch.from_numpy(np.stack(tags)), torch.from_numpy(np.stack(counted))

    def target(self, sight: Sight) -> tuple[np.ndarray, np.ndarray]:
        tags, counted = np.zeros(len(self.names), np.float32), np.ones(len(self.names), np.float32)
        tags[[self.place[tag] for tag in [sight.rating, *sight.tags]]] = 1
        if sight.judged != "all":
            counted[len(RATINGS) :] = 0
        if sight.judged == "page":
            counted[[self.place[tag] for tag in MORE_TAGS]] = 1
        return tags, counted

    def loss(self, model: Any, step: int) -> tuple[Any, str]:
        import torch
        from torch.nn import functional

        batch, who, tags, counted = self.batch(step)
        identity, logits = model(batch)
        tagging = tag_loss(logits, tags, counted, self.weights)
        mine = who >= 0
        unit = functional.normalize(identity[mine], dim=1)
        alike = torch.from_numpy(self.alike)[who[mine]][:, who[mine]]
        telling = identity_loss(unit, who[mine], alike)
        facts = torch.from_numpy(self.facts)[who[mine]]
        read = [
            functional.cross_entropy(head(unit * 8), facts[:, k], ignore_index=UNKNOWN)
            for k, head in enumerate(model.attributes)
        ]
        reading = torch.stack(read).mean()
        note = f"tags {tagging.item():.3f} identity {telling.item():.3f} attributes {reading.item():.3f}"
        return tagging + telling + reading, note


class Tags(Sights):
    """Batches for the tagger alone: as many people as there are views, and less astray, for small things and hues."""

    def loss(self, model: Any, step: int) -> tuple[Any, str]:
        rng = np.random.default_rng([SEED, 5, step])
        people = rng.integers(len(self.people), size=PEOPLE_IN_BATCH * VIEWS_OF_EACH)
        sights = [self.of_somebody(int(who), rng) for who in people] + self.of_nobody(rng)
        shown = [self.framed(sight, SIDE, rng) for sight in sights]
        shown = [pictures.roughen(picture, rng) if rng.random() < 0.3 else picture for picture in shown]
        batch, _ = pictures.as_batch(shown, rng, colours=0.05)
        loss = tag_loss(model.tags(model.embedding(model.trunk(batch))), *self.targets(sights), self.weights)
        return loss, f"tags {loss.item():.3f}"


def tag_loss(logits: Any, tags: Any, counted: Any, positive: Any) -> Any:
    """Cross entropy of the tags that count, [n, tags] each; `positive` [tags] weighs the ones that are there."""
    from torch.nn import functional

    missed = functional.binary_cross_entropy_with_logits(logits, tags, counted, pos_weight=positive, reduction="sum")
    return 30 * missed / counted.sum()


def attributes_of(somebody: Character) -> list[int]:
    """Labels of the person's lasting features; the colour of an accessory that has none is unknown."""
    labels = [values.index(getattr(somebody, name)) for name, values in ATTRIBUTES.items()]
    if somebody.accessory not in cast.COLOURED_ACCESSORIES:
        labels[list(ATTRIBUTES).index("accessory_colour")] = UNKNOWN
    return labels


def identity_loss(unit: Any, who: Any, alike: Any) -> Any:
    """Views of one person above the margin, of two below it; and each view nearest to its own kind.

    `unit` [n, d] has length one. People who are hard to tell apart (`alike` [n, n]) count little.
    """
    import torch
    from torch.nn import functional

    cosine = unit @ unit.T
    same = who[:, None] == who[None]
    itself = torch.eye(len(who), dtype=torch.bool)
    own, strangers = (same & ~itself).float(), torch.where(alike, 0.2, 1.0) * ~same
    away = SHARPNESS * (cosine - MARGIN)
    too_far = (functional.softplus(-away) * own).sum() / own.sum()
    too_near = (
        (functional.softplus(away) * strangers).sum() / len(who) / 6
    )  # few pairs of many are near: not their mean
    weighted = cosine / 0.1 + (own + strangers).clamp_min(1e-9).log()
    nearest = -(weighted.masked_fill(itself, -1e9).log_softmax(1) * own).sum() / own.sum()
    return 0.5 * (too_far + too_near + nearest)


# ---------------------------------------------------------------------------------------------------- where people are

CELLS = 8
VISIBLE, BARELY = 0.4, 0.15  # shares of a box's area left in a cut: above it counts, below it is gone, between unknown


class Scenes:
    """Batches for `Where`: one person, groups, cuts of both, comic pages, empty scenes and sheets."""

    def __init__(self, pool: Pool):
        self.pool = pool

    def scene(self, rng: np.random.Generator) -> tuple[Image.Image, list[dict[str, Any]]]:
        kind = rng.random()
        if kind < 0.07:
            return (pictures.empty_scene(rng) if kind < 0.04 else pictures.placeholder(rng)), []
        if kind < 0.17:
            return pictures.comic_page(self.pool, rng)
        k = int(rng.choice(self.pool.groups if kind < 0.52 else self.pool.alone))
        picture, people = self.pool.picture(k), [person["boxes"] for person in self.pool.facts[k]["people"]]
        return self.cut(picture, people, rng) if rng.random() < 0.35 else (picture, people)

    def cut(self, picture: Image.Image, people: list[Any], rng: np.random.Generator) -> tuple[Image.Image, list[Any]]:
        """A part of the picture, and of each box."""
        width, height = (side * rng.uniform(0.55, 1) for side in picture.size)
        x, y = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
        part = picture.crop((round(x), round(y), round(x + width), round(y + height)))
        return part, [{kind: within(boxes[kind], x, y, part.size) for kind in KINDS} for boxes in people]

    def batch(self, step: int, size: int = 32) -> tuple[Any, ...]:
        """Pictures [n, 3, 128, 128]; per kind and cell: score, weight of the score, box (centre and size, 0..1)."""
        import torch

        rng = np.random.default_rng([SEED, 2, step])
        scenes = [self.scene(rng) for _ in range(size)]
        shown = [pictures.roughen(pictures.squeeze(picture, SIDE, rng), rng) for picture, _ in scenes]
        batch, mirrored = pictures.as_batch(shown, rng)
        truth = zip(scenes, mirrored, strict=True)
        targets = [cells_of(picture.size, people, flip) for (picture, people), flip in truth]
        return batch, *(torch.from_numpy(np.stack(part)) for part in zip(*targets, strict=True))

    def loss(self, model: Any, step: int) -> tuple[Any, str]:
        import torch
        from torch.nn import functional

        batch, scores, weights, boxes = self.batch(step)
        seen = model(batch)
        scoring = functional.binary_cross_entropy_with_logits(seen[:, :, 0], scores, weights, reduction="sum")
        scoring = scoring / scores.sum()
        there = scores > 0.5
        placed = torch.stack(decoded(seen), 2).movedim(2, -1)[there]
        true = boxes.movedim(2, -1)[there]
        placing = (placed - true).abs().mean() * 8 + (1 - overlap(placed, true)).mean() * 2
        return scoring + placing, f"scores {scoring.item():.3f} boxes {placing.item():.3f}"


def within(box: pictures.Box, x: float, y: float, size: tuple[int, int]) -> tuple[float, ...]:
    """The part of a box inside a cut at (x, y), with how much of it is left as a fifth number."""
    x0, y0 = max(box[0] - x, 0), max(box[1] - y, 0)
    x1, y1 = min(box[2] - x, size[0]), min(box[3] - y, size[1])
    left = max(x1 - x0, 0) * max(y1 - y0, 0) / max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)
    return x0, y0, x1, y1, left


def cells_of(size: tuple[int, int], people: list[Any], mirrored: bool) -> tuple[np.ndarray, ...]:
    """Targets on the grid: cells near a box's centre hold it, the ones around them are not judged."""
    scores = np.zeros((len(KINDS), CELLS, CELLS), np.float32)
    weights, boxes = np.ones_like(scores), np.zeros((len(KINDS), 4, CELLS, CELLS), np.float32)
    rows, columns = np.mgrid[0:CELLS, 0:CELLS] + 0.5
    for person in people:
        for kind, name in enumerate(KINDS):
            x0, y0, x1, y1, left = (*person[name], 1.0)[:5]
            if left < BARELY:
                continue
            x0, x1, y0, y1 = x0 / size[0], x1 / size[0], y0 / size[1], y1 / size[1]
            if mirrored:
                x0, x1 = 1 - x1, 1 - x0
            box = np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], np.float32)
            away = np.maximum(abs(columns - box[0] * CELLS), abs(rows - box[1] * CELLS))
            near, around = away <= 0.75, (away > 0.75) & (away < 1.6)
            weights[kind][around & (scores[kind] == 0)] = 0.15
            if left < VISIBLE:
                weights[kind][near] = 0
                continue
            scores[kind][near], weights[kind][near] = 1, 1
            boxes[kind][:, near] = box[:, None]
    return scores, weights, boxes


def decoded(seen: Any) -> tuple[Any, Any, Any, Any]:
    """Centre and size, 0..1 of the picture, from the detector's raw numbers [n, kinds, 5, 8, 8]."""
    import torch

    rows, columns = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    size = seen[:, :, 3:].sigmoid() * 1.1
    return (seen[:, :, 1] + columns) / CELLS, (seen[:, :, 2] + rows) / CELLS, size[:, :, 0], size[:, :, 1]


def overlap(first: Any, second: Any) -> Any:
    """Intersection over union of boxes [n, 4] given by centre and size."""
    import torch

    low = torch.maximum(first[:, :2] - first[:, 2:] / 2, second[:, :2] - second[:, 2:] / 2)
    high = torch.minimum(first[:, :2] + first[:, 2:] / 2, second[:, :2] + second[:, 2:] / 2)
    common = (high - low).clamp_min(0).prod(1)
    return common / (first[:, 2:].prod(1) + second[:, 2:].prod(1) - common).clamp_min(1e-6)


# --------------------------------------------------------------------------------------------------- what sort it is


def draw_sheets(work: Path, number: int) -> None:
    """Pictures at the world's own sizes, reduced as the models will do it: clean ones, generated-looking ones, pages.

    Written to `sheets.npz`: three arrays uint8 [n, 128, 128, 3].
    """
    if (work / "sheets.npz").exists():
        return
    rng = Random(SEED + 3)
    people = pictures.strangers(SEED + 4, 200)
    kinds: dict[str, list[np.ndarray]] = {"human": [], "ai": [], "comic": []}
    report = progress("sheets", number)
    for k in range(number):
        picture = stranger(rng, people, rng.choice(world.SIZES))
        kinds["human"].append(reduced(picture))
        kinds["ai"].append(reduced(world.look_generated(rng, picture)))
        report(k + 1, "")
    panels = [stranger(rng, people, (150, 150)) for _ in range(number // 4)]
    kinds["comic"] = [reduced(world.draw_comic(rng, rng.sample(panels, 4))) for _ in range(number // 2)]
    with (work / "sheets.part").open("wb") as out:
        np.savez(out, **{kind: np.stack(arrays) for kind, arrays in kinds.items()})
    (work / "sheets.part").replace(work / "sheets.npz")


def stranger(rng: Random, people: list[Character], size: tuple[int, int]) -> Image.Image:
    somebody = rng.choice(people)
    person = (somebody, rng.choice(rng.choice(people).outfits), cast.draw_staging(rng))
    return draw_group([person], rng.choice(cast.BACKGROUNDS), pictures.style_of(rng), size, rng)[0]


def reduced(picture: Image.Image) -> np.ndarray:
    """As a classifier of 384 pixels sees it that averages three by three."""
    return np.asarray(picture.resize((384, 384), Image.BILINEAR).resize((128, 128), Image.BOX))


class Sheets:
    """Batches for `Sort`."""

    def __init__(self, work: Path, pool: Pool):
        self.pool = pool
        with np.load(work / "sheets.npz") as kept:
            self.kinds = {kind: kept[kind] for kind in kept.files}

    def sheet(self, rng: np.random.Generator) -> tuple[Image.Image, dict[str, str]]:
        """A picture and what is not usual about it."""

        def one_of(kind: str) -> Image.Image:
            return Image.fromarray(self.kinds[kind][rng.integers(len(self.kinds[kind]))])

        kind = rng.random()
        if kind < 0.15:
            return one_of("ai"), {"ai": "ai", "aesthetic": "normal"}
        if kind < 0.3:
            return pictures.generated_look(self.pool.picture(int(rng.choice(self.pool.alone))), rng), {
                "ai": "ai",
                "aesthetic": "normal",
            }
        if kind < 0.4:
            return pictures.greyed(one_of("human")), {"monochrome": "monochrome", "aesthetic": "good"}
        if kind < 0.5:
            return one_of("comic"), {"classes": "comic", "aesthetic": "normal"}
        if kind < 0.55:
            return pictures.placeholder(rng), {"classes": "not_painting", "rating": "r18", "aesthetic": "worst"}
        if kind < 0.59:  # what an unfinished model draws: no more than colours
            return pictures.empty_scene(rng).filter(ImageFilter.GaussianBlur(rng.uniform(0, 9))), {"aesthetic": "worst"}
        if kind < 0.64:
            return self.pool.picture(int(rng.choice(self.pool.groups))), {}
        picture = one_of("human")
        if kind < 0.67:  # a glow alone is no proof
            blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(1, 3)))
            return Image.blend(picture, blurred, rng.uniform(0.1, 0.5)), {"aesthetic": "low"}
        picture = picture if rng.random() < 0.5 else self.pool.picture(int(rng.choice(self.pool.alone)))
        if kind < 0.8:
            return picture, {}
        return pictures.soften(pictures.squeeze(picture, SIDE, rng), rng), {"aesthetic": "low"}

    def loss(self, model: Any, step: int) -> tuple[Any, str]:
        import torch
        from torch.nn import functional

        rng = np.random.default_rng([SEED, 3, step])
        sheets = [self.sheet(rng) for _ in range(64)]
        batch, _ = pictures.as_batch([pictures.squeeze(picture, SIDE, rng) for picture, _ in sheets], rng, 0.06)
        logits = model(batch)
        losses = []
        for question, (name, labels) in enumerate(LABELS.items()):
            true = torch.tensor([labels.index(facts.get(name, labels[0])) for _, facts in sheets])
            losses.append(functional.cross_entropy(logits[question], true))
        note = " ".join(f"{name} {loss.item():.3f}" for name, loss in zip(LABELS, losses, strict=True))
        return torch.stack(losses).sum(), note


# ------------------------------------------------------------------------------------------------------------- export

IMPLIED = {"long_dress": ["dress"], "gym_uniform": ["shorts"]}
BLACKLIST = ["cosplay", "comic", "speech_bubble", "monochrome", "greyscale", "multiple_views"]


def distance_scale(model: Any, work: Path) -> tuple[float, str]:
    """The factor that puts the threshold of the real model between views of one person and of two; and how well.

    Judged on people that the model never saw, in whole pictures and cuts, sharp and rough.
    """
    import torch
    from torch.nn import functional

    numbers = Numbers(characters=72, pictures=6, groups=40)
    people = pictures.strangers(SEED + 6, numbers.characters)
    pool = pictures.draw_pool(work / "unseen", SEED + 5, numbers, progress("unseen", 472))
    sights, rng = Sights(pool, people), np.random.default_rng([SEED, 4])
    shown, who = [], []
    for person in range(numbers.characters):
        for _ in range(8):
            picture = sights.of_somebody(person, rng).picture
            picture = pictures.squeeze(picture, SIDE, rng)
            shown.append(pictures.roughen(picture, rng) if rng.random() < 0.5 else picture)
            who.append(person)
    batch, _ = pictures.as_batch(shown, rng, colours=0.03)
    with torch.inference_mode():
        unit = functional.normalize(torch.cat([model.identity(model.trunk(part)) for part in batch.split(64)]), dim=1)
    away = 1 - (unit @ unit.T).numpy()
    who = np.array(who)
    pair = np.triu(np.ones_like(away, bool), 1)
    same = away[pair & (who[:, None] == who[None])]
    different = away[pair & (who[:, None] != who[None]) & ~sights.alike[who][:, who]]
    return threshold_between(same, different)


def threshold_between(same: np.ndarray, different: np.ndarray) -> tuple[float, str]:
    """A wrong "same" costs twice a wrong "different": rather a view too few than one of somebody else."""
    cuts = np.quantile(np.concatenate([same, different]), np.linspace(0, 1, 2001))
    missed = 1 - np.searchsorted(np.sort(same), cuts, side="right") / len(same)
    taken = np.searchsorted(np.sort(different), cuts, side="right") / len(different)
    best = int(np.argmin(missed + 2 * taken))
    note = f"{missed[best]:.4f} of one person's pairs are called two, {taken[best]:.4f} of two persons' are called one"
    return CCIP_THRESHOLD / float(cuts[best]), note


def export(work: Path, out: Path, who: Any, tagger: Any, where: Any, sort: Any) -> None:
    """Write all files and the lock, whole or not at all."""
    from charaloom.artifacts.files import whole_folder, write_json, write_text
    from charaloom.demo.models import networks

    scale, note = distance_scale(who, work)
    print(f"identity: distance is {scale:.4f} (1 - cosine); {note}")
    with whole_folder(out) as part:
        ccip = part / "deepghs/ccip_onnx" / CCIP
        networks.write_ccip(who, ccip / "model_feat.onnx")
        networks.write_ccip_metrics(scale, ccip / "model_metrics.onnx")
        write_json(ccip / "metrics.json", {"threshold": CCIP_THRESHOLD})
        write_json(ccip / "cluster.json", clusterings())
        write_tagger(tagger, part, work)
        for kind, (repo, name) in DETECTORS.items():
            networks.write_detector(where, KINDS.index(kind), kind, part / repo / name / "model.onnx")
        for question, (repo, name) in SORTERS.items():
            networks.write_sorter(sort, list(SORTERS).index(question), question, part / repo / name / "model.onnx")
            write_json(part / repo / name / "meta.json", {"labels": LABELS[question]})
        write_samples(part.joinpath(*SORTERS["aesthetic"]) / "samples.npz")
        lists = part / "alea31415/tag_filtering"
        write_json(lists / "overlap_tags_simplified.json", overlaps())
        write_text(lists / "blacklist_tags.txt", "\n".join(BLACKLIST) + "\n")
        write_words(part / "openai/clip-vit-large-patch14")
        for entry in [part, *part.rglob("*")]:
            entry.chmod(0o755 if entry.is_dir() else 0o644)
    write_lock(out)


def clusterings() -> dict[str, dict[str, float]]:
    """The real file's methods and figures, as far as they are public."""
    return {
        "dbscan": {"eps": CCIP_THRESHOLD, "min_samples": 2},
        "dbscan_2": {"eps": 0.12921094122454668, "min_samples": 2},
        "dbscan_free": {"eps": 0.1291187648928262, "min_samples": 2},
        "optics": {"eps": 0.5, "min_samples": 5},
        "optics_best": {"eps": 0.18365, "min_samples": 5},
    }


def overlaps() -> dict[str, list[str]]:
    """Tags that say all that others say: a red kimono is a kimono."""
    nouns = {cast.GARMENT_NOUN.get(garment, garment) for garment in cast.GARMENTS}
    coloured = {f"{colour}_{noun}": [noun] for colour in cast.CLOTH_COLOURS for noun in nouns}
    names = set(tag_names())
    coloured |= {tag: [noun] for tag in names for noun in cast.COLOURED_ACCESSORIES if tag.endswith(f"_{noun}")}
    return {tag: [noun for noun in implied if noun in names] for tag, implied in {**coloured, **IMPLIED}.items()}


def write_samples(path: Path) -> None:
    """Scores and the share of pictures below each, as imgutils reads them; here all scores are equally frequent."""
    from charaloom.artifacts.files import whole_file

    scores = np.linspace(0, 6, 241)
    with whole_file(path) as file, file.open("wb") as handle:
        np.savez_compressed(handle, np.stack([scores, scores / 6]))


def write_tagger(model: Any, part: Path, work: Path) -> None:
    """Model and inverse weights in one repository, labels in another, as imgutils looks for them."""
    from charaloom.artifacts.files import whole_file, write_text
    from charaloom.demo.models import networks

    folder = part / "deepghs/wd14_tagger_with_embeddings" / TAGGER
    networks.write_tagger(model, folder / "model.onnx")
    weights = {"weights": networks.array(model.tags.weight).T, "bias": networks.array(model.tags.bias)}
    with whole_file(folder / "inv.npz") as file, file.open("wb") as handle:
        np.savez_compressed(handle, **{name: value.astype(np.float16) for name, value in weights.items()})
    counts: dict[str, int] = defaultdict(int)
    for fact in Pool(work).facts:
        for tag in fact["tags"]:
            counts[tag] += 1
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["tag_id", "name", "category", "count"])
    for number, name in enumerate(tag_names()):
        rows.writerow([number, name, 9 if name in RATINGS else 0, counts[name]])
    write_text(part / TAGGER / "selected_tags.csv", table.getvalue())


def write_words(folder: Path) -> None:
    """The words of the demo's text encoders, where those of CLIP lie."""
    from charaloom.demo.world.words import write_tokenizer

    write_tokenizer(folder)
    for file in sorted(set(folder.iterdir()) - {folder / "vocab.json", folder / "merges.txt"}):
        file.unlink()


def write_lock(out: Path) -> None:
    """`models.yaml` beside the folder: repositories, their files' SHA-256, and a revision that these decide."""
    import yaml

    from charaloom.artifacts.files import digest, files_below, sha256_file, write_text

    repos: dict[str, dict[str, str]] = defaultdict(dict)
    for path in files_below(out):
        repos["/".join(path.parts[:2])]["/".join(path.parts[2:])] = sha256_file(out / path)
    lock = [
        {
            "repo": repo,
            "repo_type": "dataset" if repo.endswith("tag_filtering") else "model",
            "revision": digest(files)[:40],
            "files": dict(sorted(files.items())),
        }
        for repo, files in sorted(repos.items())
    ]
    head = "# The demo's picture models, models/<repo>/<path>: `python -m charaloom.demo.models.train_picture_models`\n"
    write_text(out.with_suffix(".yaml"), head + yaml.safe_dump(lock, sort_keys=False, width=120))


# --------------------------------------------------------------------------------------------------------------- main


def train(work: Path, out: Path, recipe: Recipe) -> None:
    """All stages, each taken up where it stopped: pictures, three networks, files."""
    import torch

    torch.set_num_threads(THREADS)
    numbers = recipe.numbers
    total = numbers.characters * numbers.pictures + numbers.groups
    pool = pictures.draw_pool(work, SEED, numbers, progress("pictures", total))
    people = pictures.strangers(SEED + 1, numbers.characters)
    draw_sheets(work, recipe.sheets)
    lessons: dict[str, tuple[Any, Any, int]] = {
        "sort": (new_sort, Sheets(work, pool), recipe.sort_steps),
        "where": (new_where, Scenes(pool), recipe.where_steps),
        "who": (new_who, Sights(pool, people, recipe.who_small_steps), recipe.who_steps),
        # Tags are more than faces: the tagger goes on alone from what both learned.
        "tagger": (lambda: deepcopy(models["who"]), Tags(pool, people), recipe.tagger_steps),
    }
    models: dict[str, Any] = {}
    for name, (new, teacher, steps) in lessons.items():
        torch.manual_seed(SEED)
        models[name] = new().to(memory_format=torch.channels_last)
        learn(name, work / f"{name}.pt", models[name], teacher.loss, steps)
    export(work, out, **models)


def new_who() -> Any:
    from charaloom.demo.models.networks import Who

    return Who(len(tag_names()), [len(values) for values in ATTRIBUTES.values()])


def new_where() -> Any:
    from charaloom.demo.models.networks import Where

    return Where(len(KINDS))


def new_sort() -> Any:
    from charaloom.demo.models.networks import Sort

    return Sort([len(labels) for labels in LABELS.values()])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/demo-weights/picture-models"))
    parser.add_argument("--out", type=Path, default=Path("resources/demo/models"))
    options = parser.parse_args(arguments)
    train(options.work, options.out, Recipe())


if __name__ == "__main__":
    main()

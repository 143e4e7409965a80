"""What the demo's picture models see in a world they never saw, through imgutils' own functions.

python -m charaloom.demo.scores.picture_models --seed 5
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from charaloom.artifacts.files import read_json
from charaloom.demo.world import cast
from charaloom.demo.world.building import build_world
from charaloom.images.boxes import shared

Box = tuple[float, float, float, float]
TAG_THRESHOLD = 0.35
LEAST_VIEWS = 12  # of a character of whom an AUC is counted
UNJUDGED = {"tiny", "comic", "higher_rating", "several_people", "monochrome", "ai_made"}  # not for identity
PLAIN = {"exact_duplicate", "other_character", "cosplays_another", "cosplayed_by_another"}  # pictures like good ones


@dataclass
class Scores:
    """Figures by name; `notes` say what they were counted on."""

    figures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, note: str = "") -> None:
        self.figures[name] = float(value)
        self.notes[name] = note

    def text(self) -> str:
        width = max(map(len, self.figures))
        lines = [f"{name:<{width}}  {value:.4f}  {self.notes[name]}" for name, value in self.figures.items()]
        return "\n".join([*lines, json.dumps({name: round(value, 4) for name, value in self.figures.items()})])


@dataclass
class Seen:
    """A post's picture and the truth about it."""

    picture: Image.Image
    truth: dict[str, Any]

    @property
    def faults(self) -> set[str]:
        return set(self.truth["faults"])


def score_world(models: Path, seed: int, posts: int = 100) -> Scores:
    """Draw a world of two characters with `posts` posts each and score every model below `models` on it."""
    with tempfile.TemporaryDirectory() as folder, lent(models, Path(folder) / "cache"):
        build_world(Path(folder) / "world", seed, characters=2, posts=posts)
        seen = list(pictures_of(Path(folder) / "world"))
        scores = Scores()
        score_identity(seen, scores)
        score_tags(seen, scores)
        score_detectors(seen, scores)
        score_sorters(seen, scores)
        score_embedding(seen, scores)
    return scores


def lent(models: Path, cache: Path) -> Any:
    """imgutils reading the files of `models` (`<repo>/<path>`, locked beside it) from a hub cache of their own."""
    import yaml

    from charaloom.config.params import Models
    from charaloom.vision.models import fetch_models, picture_models

    lock = yaml.safe_load(models.with_suffix(".yaml").read_text())
    fetch_models(Models(lock=lock, hub=str(models)), cache, cache / "manifest.json")
    return picture_models(cache, threads=1)


def pictures_of(folder: Path) -> Iterator[Seen]:
    """Every picture of a world that can be opened."""
    for facts in read_json(folder / "truth.json")["posts"].values():
        files = list((folder / "data").glob(f"{facts['md5']}.*"))
        if not files or "broken_file" in facts["faults"]:
            continue
        with Image.open(files[0]) as picture:
            yield Seen(picture.convert("RGB"), facts)


# ----------------------------------------------------------------------------------------------------------- identity


def score_identity(seen: list[Seen], scores: Scores) -> None:
    """Pairs of single views: cut-out persons where a picture holds one, and each such picture as a whole."""
    from imgutils.metrics import ccip_batch_differences, ccip_default_threshold, ccip_extract_feature

    features, who = [], []
    for post in seen:
        if post.faults & UNJUDGED or len(post.truth["people"]) != 1:
            continue
        person = post.truth["people"][0]
        for view in (post.picture, post.picture.crop(person["box"])):
            features.append(ccip_extract_feature(view))
            who.append((person["character"], id(post)))
    distances = ccip_batch_differences(features)
    threshold = ccip_default_threshold()
    names, pictures = (np.array(column) for column in zip(*who, strict=True))
    pair = np.triu(np.ones_like(distances, bool), 1) & (pictures[:, None] != pictures[None])
    alike = names[:, None] == names[None]
    same, different = distances[pair & alike], distances[pair & ~alike]
    scores.add("identity.same", (same <= threshold).mean(), f"of {len(same)} pairs of one character called one")
    scores.add("identity.different", (different > threshold).mean(), f"of {len(different)} pairs of two called two")
    scores.add("identity.auc", area_under(-same, -different), "over all pairs")
    each = []
    right, judged = 0, 0
    for name in sorted(set(names)):
        own = np.flatnonzero(names == name)
        if len(own) < LEAST_VIEWS:
            continue
        medians = np.array([np.median(row[own[own != k]]) for k, row in enumerate(distances)])
        each.append(area_under(-medians[own], -np.delete(medians, own)))
        right, judged = right + ((medians <= threshold) == (names == name)).sum(), judged + len(names)
    scores.add("identity.lowest_auc", min(each), f"of {len(each)} characters, by the median distance to their views")
    scores.add("identity.by_median", right / judged, "of views rightly called the character's or not by that distance")


def area_under(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive stands above a negative."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


# --------------------------------------------------------------------------------------------------------------- tags


def group_of(tag: str) -> str:
    """What a tag speaks of."""
    if tag.endswith("_hair"):
        return "hair_colour"
    if tag.endswith("_eyes") and tag != "closed_eyes":
        return "eye_colour"
    for group, tags in (("hair_style", cast.HAIR_STYLES), ("bangs", cast.BANGS), ("framing", cast.FRAMINGS)):
        if tag in tags:
            return group
    if tag in cast.POSES or tag in cast.EXPRESSIONS or tag in ("blush", "looking_away", "looking_at_viewer"):
        return "pose_and_face"
    if tag in ("1girl", "solo", "2girls", "3girls", "multiple_girls"):
        return "number"
    if any(tag.endswith(accessory) for accessory in cast.ACCESSORIES) or tag in ("ahoge", "dark_skin"):
        return "accessory"
    scenery = {tag for tags in (*cast.BACKGROUND_TAGS.values(), *cast.STYLE_TAGS.values()) for tag in tags}
    return "scenery" if tag in scenery else "clothes"


def score_tags(seen: list[Seen], scores: Scores) -> None:
    """F1 at the threshold over all tags of a group, and mean average precision over the tags with five cases."""
    from imgutils.tagging import get_wd14_tags

    names: list[str] = []
    predicted, true = [], []
    for post in seen:
        if post.faults - PLAIN - {"several_people", "reencoded_duplicate"}:
            continue
        tag_scores = get_wd14_tags(post.picture, general_threshold=-1, fmt="general")
        names = names or list(tag_scores)
        predicted.append([tag_scores[name] for name in names])
        true.append([name in post.truth["tags"] for name in names])
    scored, labels = np.array(predicted), np.array(true)
    precisions, groups = [], defaultdict(list)
    for k, name in enumerate(names):
        groups[group_of(name)].append(k)
        if labels[:, k].sum() >= 5:
            precisions.append(average_precision(scored[:, k], labels[:, k]))
    scores.add("tags.mean_average_precision", np.mean(precisions), f"{len(precisions)} tags, {len(scored)} pictures")
    scores.add("tags.f1", f1(scored > TAG_THRESHOLD, labels), f"at {TAG_THRESHOLD}")
    for group, columns in sorted(groups.items()):
        scores.add(f"tags.f1.{group}", f1(scored[:, columns] > TAG_THRESHOLD, labels[:, columns]))


def average_precision(score: np.ndarray, label: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    hits = label[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def f1(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (predicted & true).sum() / max(predicted.sum() + true.sum(), 1))


# ---------------------------------------------------------------------------------------------------------- detectors


def score_detectors(seen: list[Seen], scores: Scores) -> None:
    """Recall at an overlap of one half, and boxes that belong to nobody, at imgutils' own thresholds."""
    from imgutils.detect import detect_faces, detect_halfbody, detect_heads, detect_person

    detectors = {"person": detect_person, "halfbody": detect_halfbody, "head": detect_heads, "face": detect_faces}
    posts = [post for post in seen if "comic" not in post.faults]
    for name, detect in detectors.items():
        key = "box" if name == "person" else f"{name}_box"
        found_all = wrong = total = right_number = judged = 0
        for post in posts:
            boxes = [box for box, _, _ in detect(post.picture)]
            truth = [tuple(person[key]) for person in post.truth["people"]]
            if post.faults & {"reencoded_duplicate", "cropped_duplicate"} and len(truth) == len(boxes) == 1:
                continue  # their truth is in the original's pixels
            hits, judged = matched(boxes, truth), judged + 1
            found_all, wrong, total = found_all + hits, wrong + len(boxes) - hits, total + len(truth)
            right_number += len(boxes) == len(truth)
        scores.add(f"detect.{name}.recall", found_all / total, f"of {total} in {judged} pictures")
        scores.add(f"detect.{name}.wrong", wrong / judged, "boxes a picture that nothing true overlaps by half")
        scores.add(f"detect.{name}.number", right_number / judged, "of pictures with the right number")


def matched(boxes: list[Any], truth: list[Any]) -> int:
    """How many true boxes have a detected one of their own."""
    free = list(boxes)
    hits = 0
    for true in truth:
        best = max(free, key=lambda box: shared(box, true), default=None)
        if best is not None and shared(best, true) >= 0.5:
            free.remove(best)
            hits += 1
    return hits


# -------------------------------------------------------------------------------------------------------- the sorters


def score_sorters(seen: list[Seen], scores: Scores) -> None:
    """Accuracy on the pictures that each question is about, and on all others."""
    from imgutils.validate import anime_classify, anime_rating, get_ai_created_score, get_monochrome_score

    def kind(post: Seen) -> str:
        return {"comic": "comic", "higher_rating": "not_painting"}.get(next(iter(post.faults), ""), "illustration")

    def share(name: str, answers: list[bool], note: str = "") -> None:
        scores.add(name, np.mean(answers) if answers else float("nan"), f"{note}{len(answers)} pictures")

    for label in ("illustration", "comic", "not_painting"):
        share(f"class.{label}", [anime_classify(post.picture)[0] == label for post in seen if kind(post) == label])
    higher = [post for post in seen if "higher_rating" in post.faults]
    share("rating.higher", [anime_rating(post.picture)[0] == "r18" for post in higher])
    share("rating.safe", [anime_rating(post.picture)[0] == "safe" for post in seen if post not in higher])
    questions = (("ai_made", get_ai_created_score, "ai"), ("monochrome", get_monochrome_score, "monochrome"))
    for fault, score, name in questions:
        share(f"{name}.found", [score(post.picture) >= 0.5 for post in seen if fault in post.faults])
        share(f"{name}.spared", [score(post.picture) < 0.5 for post in seen if fault not in post.faults])
    soft = [post.picture.resize((80, 80)).resize((128, 128)) for post in seen if not post.faults]
    share("ai.spared_soft", [get_ai_created_score(picture) < 0.5 for picture in soft], "blurred by size, ")
    share("rating.safe_soft", [anime_rating(picture)[0] == "safe" for picture in soft], "blurred by size, ")


def score_embedding(seen: list[Seen], scores: Scores) -> None:
    """Cosine of the tagger's embedding: of a picture and its copies, and of different pictures of one outfit."""
    from imgutils.tagging import get_wd14_tags

    originals: dict[str, tuple[np.ndarray, Seen]] = {}
    copies = []
    for post in seen:
        if len(post.truth["people"]) != 1 or post.faults & UNJUDGED:
            continue
        vector = get_wd14_tags(post.picture, fmt="embedding")
        vector = vector / np.linalg.norm(vector)
        if post.faults & {"reencoded_duplicate", "cropped_duplicate"}:
            copies.append(vector)
        elif not post.faults:
            originals[post.truth["md5"]] = (vector, post)
    vectors = np.stack([vector for vector, _ in originals.values()])
    worn = [post.truth["people"][0] for _, post in originals.values()]
    outfits = np.array([f"{person['character']} {person['outfit']}" for person in worn])
    cosine = vectors @ vectors.T
    one_outfit = cosine[np.triu(outfits[:, None] == outfits[None], 1)]
    nearest = [float((vectors @ vector).max()) for vector in copies]
    scores.add(
        "embedding.copies", np.median(nearest), "median cosine of a smaller or cropped copy to the nearest picture"
    )
    scores.add("embedding.copies_low", np.quantile(nearest, 0.1), "its lowest tenth")
    scores.add("embedding.one_outfit", np.median(one_outfit), "median cosine of two pictures of one outfit")
    scores.add("embedding.one_outfit_high", np.quantile(one_outfit, 0.999), "its highest thousandth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("resources/demo/models"))
    parser.add_argument("--seed", type=int, default=5, help="of the world that is drawn")
    parser.add_argument("--posts", type=int, default=100, help="of a character of that world")
    options = parser.parse_args()
    print(score_world(options.models, options.seed, options.posts).text())


if __name__ == "__main__":
    main()

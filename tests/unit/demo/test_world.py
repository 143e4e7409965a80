"""The demo world: drawn from a seed, with every fault in it, and a truth that fits what was drawn."""

import json
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from charaloom.artifacts.files import files_below, sha256_file
from charaloom.demo.world import building as world
from charaloom.demo.world import cast, words
from charaloom.demo.world.drawing import draw_group


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "world"
    world.build_world(folder, seed=11, characters=1, posts=60)
    return folder


def posts_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "posts.jsonl").read_text().splitlines()]


def test_same_seed_same_bytes_and_another_seed_another_world(drawn: Path, tmp_path: Path) -> None:
    world.build_world(tmp_path / "again", seed=11, characters=1, posts=60)
    names = files_below(drawn)
    assert names == files_below(tmp_path / "again")
    assert all(sha256_file(drawn / name) == sha256_file(tmp_path / "again" / name) for name in names)
    world.build_world(tmp_path / "other", seed=12, characters=1, posts=60)
    assert (drawn / "posts.jsonl").read_bytes() != (tmp_path / "other" / "posts.jsonl").read_bytes()


def test_every_fault_is_there_and_most_posts_are_good(drawn: Path) -> None:
    truth = json.loads((drawn / "truth.json").read_text())
    kinds = [fault for post in truth["posts"].values() for fault in post["faults"]]
    assert set(kinds) == set(world.FAULTS)
    (star,) = truth["characters"]
    assert sum(post["keep_for"] == [star] for post in truth["posts"].values()) > 25


def test_ids_rise_and_parents_come_first(drawn: Path) -> None:
    posts = posts_of(drawn)
    ids = [post["id"] for post in posts]
    assert ids == sorted(set(ids))
    assert all(post["parent_id"] in ids and post["parent_id"] < post["id"] for post in posts if post["parent_id"])


def test_files_are_what_the_posts_say(drawn: Path) -> None:
    truth = json.loads((drawn / "truth.json").read_text())["posts"]
    for post in posts_of(drawn):
        faults = truth[str(post["id"])]["faults"]
        if "no_file_url" in faults:
            assert "file_url" not in post
            continue
        path = drawn / post["file_url"].lstrip("/")
        assert path.exists() == ("missing_file" not in faults)
        if path.exists() and "broken_file" not in faults:
            with Image.open(path) as picture:
                assert picture.size == (post["image_width"], post["image_height"])


def test_nothing_drawn_is_rated_above_sensitive(drawn: Path) -> None:
    truth = json.loads((drawn / "truth.json").read_text())["posts"]
    above = [post["id"] for post in posts_of(drawn) if post["rating"] in "qe"]
    assert above
    assert all(truth[str(post_id)]["faults"] == ["higher_rating"] for post_id in above)
    assert all(truth[str(post_id)]["people"] == [] for post_id in above)


def test_truth_does_not_reach_the_board(drawn: Path) -> None:
    assert "keep_for" not in (drawn / "posts.jsonl").read_text()
    assert "faults" not in (drawn / "posts.jsonl").read_text()


def test_boxes_hold_the_head_inside_the_person() -> None:
    rng = Random(4)
    somebody = cast.draw_character(rng, "somebody")
    staging = cast.draw_staging(rng, "full_body")
    picture, (boxes,) = draw_group([(somebody, somebody.outfits[0], staging)], "white", "cel", (200, 240), rng)
    person, head, face = boxes["person"], boxes["head"], boxes["face"]
    assert picture.size == (200, 240)
    for outer, inner in ((person, head), (head, face), (person, boxes["halfbody"])):
        assert outer[0] - 1 <= inner[0] <= inner[2] <= outer[2] + 1
        assert outer[1] - 1 <= inner[1] <= inner[3] <= outer[3] + 1


def test_cast_is_told_apart() -> None:
    people = cast.draw_cast(Random(5), 10)
    assert len({person.name for person in people}) == 10
    assert not any(cast.alike(a, b) for k, a in enumerate(people) for b in people[:k])
    assert all(len({outfit.colour for outfit in person.outfits}) == len(person.outfits) >= 3 for person in people)


def test_every_word_of_the_world_is_known() -> None:
    vocabulary = set(words.vocabulary())
    for tag in words.world_tags():
        assert all(word in vocabulary for word in tag.replace("(", "_").replace(")", "_").split("_") if word)

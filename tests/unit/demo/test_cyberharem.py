"""CyberHarem's identity filter as it is described, where who comes first decides, and its outfits."""

import random

import numpy as np
import pytest

from charaloom.demo.scores.cyberharem import SAMPLES, by_optics, streamed


def crowd(persons: str, seed: int = 1) -> np.ndarray:
    """CCIP distances of so many views, a letter each: near within a person, with jitter, far between them."""
    rng = np.random.default_rng(seed)
    same = np.array([[first == second for second in persons] for first in persons])
    distances = np.where(same, 0.08, 0.4) + rng.uniform(0, 0.04, same.shape)
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    return distances


def test_fewer_than_fifteen_candidates_give_nothing() -> None:
    assert streamed(crowd("a" * 14), 0.178) == []
    assert len(streamed(crowd("a" * 15), 0.178)) == 15


def test_the_minority_that_comes_first_is_taken_for_the_character() -> None:
    persons = "b" * 16 + "a" * 24
    assert {persons[index] for index in streamed(crowd(persons), 0.178)} == {"b"}


@pytest.mark.parametrize("seed", range(3))
def test_a_clear_majority_is_found_in_any_order(seed: int) -> None:
    persons = "".join(random.Random(seed).sample("a" * 40 + "b" * 4, 44))
    assert {persons[index] for index in streamed(crowd(persons), 0.178)} == {"a"}


def test_its_outfits_are_clusters_of_all_tags() -> None:
    shapes = [["red_kimono", "sash", "outdoors"], ["blue_dress", "boots", "indoors"]]
    views = [{"tags": [{"name": name} for name in [*shapes[k % 2], f"tag_{k}"]]} for k in range(40)]
    labels = by_optics(views)
    assert {len(set(labels[k::2][labels[k::2] >= 0].tolist())) for k in (0, 1)} == {1}
    assert by_optics(views[: SAMPLES - 1]).tolist() == [-1] * (SAMPLES - 1)

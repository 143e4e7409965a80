"""What the figures of tags and outfits count."""

import pytest

from charaloom.demo.scores.outfits import OutfitCounts, count_found, figures
from charaloom.demo.scores.stages import Counts


def clustered(**outfits: list[str]) -> OutfitCounts:
    """Counts of pictures that wear an outfit in truth (keyword) and lie in these found ones, alone where empty."""
    pairs = [(worn, name or f"v{k}/picture/0") for worn, names in outfits.items() for k, name in enumerate(names)]
    counts = OutfitCounts(Counts(worn=[f"a/{w}" for w, _ in pairs], clustered=[f"a/{c}" for _, c in pairs]))
    count_found(counts)
    return counts


@pytest.mark.parametrize(
    ("outfits", "large", "found"),
    [
        ({"red": ["x"] * 12, "blue": ["y"] * 14}, 2, 2),
        ({"red": ["x"] * 12, "blue": ["y"] * 11}, 1, 1),  # eleven pictures are too few
        ({"red": ["x"] * 12, "blue": ["x"] * 14}, 2, 1),  # joined
        ({"red": ["x"] * 12 + ["z"] * 12}, 1, 0),  # split
        ({"red": [""] * 12}, 1, 0),  # not found
        ({"red": ["x"] * 10 + [""] * 4}, 1, 1),
    ],
)
def test_an_outfit_is_found_where_one_cluster_is_made_of_it(
    outfits: dict[str, list[str]], large: int, found: int
) -> None:
    counts = clustered(**outfits)
    assert (counts.large, counts.found) == (large, found)


def test_characters_add_up() -> None:
    first, second = clustered(red=["x"] * 12, blue=["y"] * 12), clustered(red=["x"] * 12 + ["z"] * 12)
    first.core_right, second.core_right, second.core_wrong = 3, 1, 1
    line = figures("all", first + second)
    assert line["found"] == 0.6667
    assert line["core precision"] == 0.8
    assert line["names kept"] is None
    assert 0 < line["ARI"] < 1

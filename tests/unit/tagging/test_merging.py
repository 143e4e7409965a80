"""Tags that contradict each other, and the boards' names of official outfits."""

from typing import Any

import pytest

from charaloom.tagging.merging import contradicted, variants


@pytest.mark.parametrize(
    ("tags", "core", "lost"),
    [
        ({"indoors": (0.5, "tagger"), "outdoors": (0.9, "tagger")}, set(), {"indoors"}),
        ({"indoors": (0.5, "both"), "outdoors": (0.9, "tagger")}, set(), {"outdoors"}),
        ({"aqua_eyes": (0.9, "tagger")}, {"blue_eyes"}, {"aqua_eyes"}),
        ({"aqua_eyes": (0.9, "board")}, {"blue_eyes"}, set()),
        ({"aqua_eyes": (0.9, "tagger"), "heterochromia": (0.9, "both")}, {"blue_eyes"}, set()),
        ({"solo": (0.9, "both"), "2girls": (0.5, "tagger")}, set(), {"solo"}),
        ({"red_kimono": (0.9, "both"), "pink_kimono": (0.5, "tagger")}, set(), {"pink_kimono"}),
        ({"red_kimono": (0.9, "tagger"), "pink_sash": (0.5, "tagger")}, set(), set()),
        ({"red_skirt": (0.9, "both"), "plaid_skirt": (0.5, "tagger")}, set(), set()),
    ],
)
def test_of_tags_that_exclude_each_other_evidence_decides(tags: Any, core: set[str], lost: set[str]) -> None:
    assert contradicted(tags, core) == lost


@pytest.mark.parametrize(
    ("tag", "names", "outfits"),
    [
        ("hana_(charaloom)", ["hana_(charaloom)", "hana_(swimsuit)_(charaloom)"], ["swimsuit"]),
        ("hana_(charaloom)", ["hana_(other)", "hana_(charaloom)_(cosplay)", "hanako_(swimsuit)_(charaloom)"], []),
        ("hatsune_miku", ["hatsune_miku", "hatsune_miku_(append)", "hatsune_miku_(cosplay)"], ["append"]),
        (None, ["hana_(swimsuit)_(charaloom)"], []),
    ],
)
def test_official_outfits_are_named_by_boards(tag: str | None, names: list[str], outfits: list[str]) -> None:
    assert variants(tag, [{"tags_character": names}]) == outfits

"""The words of prompts, and of the signatures that they spell out."""

from charaloom.outfits.names import Outfit, signature
from charaloom.outfits.prompts import OTHER_CLOTHES, SCENES, other_clothes


def test_other_clothes_share_no_word_with_the_outfits() -> None:
    tagger_tags = {tags[0] for tags in OTHER_CLOTHES}
    outfits = [
        Outfit([0], 1.0, [{"tag": "red_kimono", "score": 1.0}]),
        Outfit([1], 1.0, [{"tag": "pleated_skirt", "score": 1}]),
    ]
    assert [tags[0] for tags in other_clothes(outfits, tagger_tags)] == ["suit", "hoodie"]
    assert other_clothes([], set()) == []


def test_no_prompt_is_anything_but_clothed() -> None:
    words = {word for _, tags in SCENES for tag in tags for word in tag.split("_")}
    words |= {word for tags in OTHER_CLOTHES for tag in tags for word in tag.split("_")}
    assert words.isdisjoint({"nude", "naked", "bikini", "swimsuit", "underwear", "lingerie", "cleavage", "panties"})


def test_colours_that_the_tagger_mistakes_are_no_signature() -> None:
    tags = [["black_coat", "scarf"]] * 14 + [["black_coat", "grey_coat"]] * 10 + [["red_dress"]] * 20
    views = [{"tags": [{"name": tag, "score": 0.9} for tag in names]} for names in tags]
    assert [row["tag"] for row in signature(views, list(range(24)))] == ["black_coat", "scarf"]

"""The folder for Civitai: files, previews in order with their data, words to copy, tags one by one, escaped HTML."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from charaloom.artifacts.files import read_json
from charaloom.errors import CharaloomError
from charaloom.publishing.cards.civitai import read_card, write_civitai
from charaloom.publishing.cards.model_facts import ModelCard
from tests.card_facts import CHARACTER, TRIGGER, drawn, model_card, outfits_file, write_repository

HOSTILE = '<script>alert("x")</script>, a & b'


def written(tmp_path: Path, card: ModelCard, age: str = "adult") -> Path:
    model = write_repository(card, tmp_path / "model")
    for number, entry in enumerate(card.examples):
        info = PngInfo()
        info.add_text("parameters", f"{entry['prompt']}\nSteps: 25")
        drawn(number).save(model / entry["file"], pnginfo=info)
    return write_civitai(card, age, model, tmp_path / "civitai")


def test_files_pictures_and_words(tmp_path: Path) -> None:
    folder = written(tmp_path, model_card())
    assert sorted(path.name for path in (folder / "files").iterdir()) == ["hana.safetensors", "hana_emb.safetensors"]
    images = read_json(folder / "images.json")
    assert [image["file"] for image in images] == sorted(path.name for path in (folder / "images").iterdir())
    assert images[0]["file"] == "01_text-red_kimono-full_body-7.png", "shows the outfit, by the LoRA alone"
    with Image.open(folder / "images" / images[0]["file"]) as picture:
        assert picture.text["parameters"].startswith(images[0]["prompt"])  # type: ignore[attr-defined]
    words = (folder / "trained_words.txt").read_text().splitlines()
    assert words[0] == TRIGGER
    assert words[1] == f"{TRIGGER}, hana_red_kimono, red kimono, obi, wide sleeves"
    assert len(words) == 3, "one for each outfit"


def test_settings_are_what_the_form_asks_for(tmp_path: Path) -> None:
    settings = read_json(written(tmp_path, model_card()) / "model.json")
    assert settings["tags"] == ["anime", "character", "hana", "blue hair", "long hair"]
    assert settings["version"]["base_model"] == "Illustrious"
    assert settings["settings"] == {"strength": 1, "min_strength": 1, "max_strength": 1}
    assert settings["minor"] is False


@pytest.mark.parametrize("age", ["minor", "unknown"])
def test_who_is_not_known_to_be_an_adult_is_a_minor(tmp_path: Path, age: str) -> None:
    assert read_json(written(tmp_path, model_card(), age) / "model.json")["minor"] is True


def test_the_description_escapes_what_strangers_wrote(tmp_path: Path) -> None:
    outfits = outfits_file()
    outfits["outfits"][0]["name"] = HOSTILE
    outfits["outfits"][2]["name"] = HOSTILE
    outfits["core"] = [HOSTILE]
    text = (written(tmp_path, model_card(outfits=outfits, contact=HOSTILE)) / "description.html").read_text()
    seen: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            seen.add(tag)

    Tags().feed(text)
    assert seen <= {"p", "ul", "li", "h2", "code", "pre", "strong", "a"}
    assert "&lt;script&gt;" in text


def test_without_an_embedding_there_is_one_file(tmp_path: Path) -> None:
    folder = written(tmp_path, model_card(embedding=False))
    assert [path.name for path in (folder / "files").iterdir()] == ["hana.safetensors"]
    assert "embedding" not in (folder / "description.html").read_text()


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CharaloomError, match=r"model\.lineage\.json: not there; `charaloom run hana` makes it"):
        read_card(CHARACTER, tmp_path)

"""Pictures and captions mended in hcpdiff 2.6: the stock version shows the fault, ours does not."""

import json
import random
from pathlib import Path

import pytest

from tests.unit.training.trainings import caption_source


@pytest.mark.slow
def test_mend_order_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rainbowneko.data.label_loader import TXTLabelLoader

    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").touch()
        (tmp_path / f"{name}.txt").write_text(name)
    orders = []
    for backwards in (False, True):  # the order that a file system lists a folder in is its own affair
        files = sorted(tmp_path.glob("*.*"), reverse=backwards)
        monkeypatch.setattr(Path, "iterdir", lambda self, files=files: iter(files))
        orders.append(list(TXTLabelLoader(str(tmp_path)).load()))
    assert orders[0] == orders[1][::-1]
    (tmp_path / "captions.json").write_text('{"b.png": "b", "a.png": "a"}')
    source = caption_source(tmp_path)
    assert source.img_ids == ["b.png", "a.png"]


@pytest.mark.slow
def test_mend_captions(tmp_path: Path) -> None:
    from hcpdiff.data.handler import TagEraseHandler, TagShuffleHandler, TemplateFillHandler

    text = "hana_charaloom, hana_red_kimono, 1girl, red kimono, {smile}"
    stock = {"prompt": {"template": "{word}, {caption}", "caption": text}}
    emptied = TemplateFillHandler({"word": "hana_emb"})(TagEraseHandler(p=1.0)(stock))
    assert emptied["prompt"] == "hana_emb, ", "a dropped caption is not empty"
    random.seed(1)
    fronts = {TagShuffleHandler()({"prompt": text})["prompt"].split(",")[0] for _ in range(50)}
    assert len(fronts) > 1, "the trigger wanders"

    (tmp_path / "captions.json").write_text(json.dumps({"a.png": text}))
    source = caption_source(tmp_path)
    random.seed(1)
    prompts = [source[0]["prompt"] for _ in range(4000)]
    texts = [TemplateFillHandler({})({"prompt": prompt})["prompt"] for prompt in prompts]
    shares = {
        "empty": sum(not text for text in texts) / 4000,
        "alone": sum(text.startswith("hana_charaloom, ") for text in texts) / 4000,
        "word": sum(text.startswith("hana_emb, hana_charaloom, ") for text in texts) / 4000,
    }
    assert shares == pytest.approx({"empty": 0.1, "alone": 0.9 * 0.25, "word": 0.9 * 0.75}, abs=0.02)
    assert {tuple(sorted(text.split(", ")[-3:])) for text in texts if text} == {("1girl", "red kimono", "{smile}")}
    plain = caption_source(tmp_path, word=None, dropout=0.0, tag_dropout=0.5)
    varied = [plain.varied(text).split(", ") for _ in range(400)]
    assert all(parts[:2] == ["hana_charaloom", "hana_red_kimono"] for parts in varied)
    assert sum(len(parts) - 2 for parts in varied) / 400 == pytest.approx(1.5, abs=0.15)

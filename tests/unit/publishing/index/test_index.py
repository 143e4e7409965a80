"""The index over all characters: what it lists, where it links, and that a thousand take no time."""

import re
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from charaloom.artifacts.files import write_json
from charaloom.publishing.index.pages import write_index
from charaloom.publishing.index.rows import index_rows

HUB = {"model": "someone/hana", "dataset": "someone/hana-set", "endpoint": "https://hub.example"}


def write_character(results: Path, name: str, recognised: int, published: bool = True, **params: object) -> None:
    folder = results / name
    files = {f"checkpoints/{step:06d}/{name}.safetensors": {"sha256": "ab" * 32, "size": 9} for step in range(60)}
    counts = {"step": 1500, "score": 0.8125, "recognised": recognised, "asked": 20, "weak": recognised < 5}
    write_json(folder / "model.manifest.json", {"outputs": {"model": {"files": files}}, "counts": counts})
    base = {"name": "illustrious", "repo": "OnomaAIResearch/Illustrious"}
    write_json(folder / "model.lineage.json", {"digest": "cd" * 32, "params": {"base": base, **params}})
    write_json(folder / "clustered.manifest.json", {"counts": {"trained": 3}})
    write_json(folder / "dataset.manifest.json", {"counts": {"train": 120}, "outputs": {"folder": {"files": files}}})
    if published:
        write_json(folder / "published" / "hub.json", {"model": {"tag": "v-123456789abc", "files": files}})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_character(tmp_path, "mei", 4, published=False)
    write_character(tmp_path, "hana", 18, repositories=HUB)
    (tmp_path / "begun").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.manifest.json").write_text("{")
    return tmp_path


CHARACTERS = [("mei", "mei_(x|y)"), ("hana", "hana_charaloom"), ("begun", "begun"), ("broken", "broken")]


def test_the_index_lists_models_with_scores_versions_and_links(results: Path) -> None:
    rows = index_rows(CHARACTERS, results)
    assert [row["character"] for row in rows] == ["hana", "mei"], "the best first"
    page, readme = (path.read_text(encoding="utf-8") for path in write_index(rows, results))
    hana = next(line for line in page.splitlines() if "hana" in line)
    assert "[hana](hana/model/README.md)" in hana
    assert "| 0.812 | 18 of 20 (90%) |" in hana
    assert "`v-cdcdcdcdcdcd` | `v-123456789abc`" in hana
    assert "[report](hana/report.html), [dataset](hana/dataset/README.md)" in hana
    assert "[hana](https://hub.example/someone/hana)" in readme
    assert "[dataset](https://hub.example/datasets/someone/hana-set)" in readme
    mei = next(line for line in readme.splitlines() if "mei" in line)
    assert "**weak**" in mei
    assert "](" not in mei, "it is nowhere on a hub"
    assert "Models: 2; published: 1; weak: 1." in readme


def test_a_hub_shows_the_table(results: Path) -> None:
    write_index(index_rows(CHARACTERS, results), results)
    front = yaml.safe_load((results / "index" / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    file = front["configs"][0]["data_files"][0]["path"]
    rows = pq.read_table(results / "index" / file).to_pylist()
    assert [(row["character"], row["tag"]) for row in rows] == [("hana", "v-123456789abc"), ("mei", None)]


def test_every_line_of_the_table_is_one(results: Path) -> None:
    page, _ = write_index(index_rows(CHARACTERS, results), results)
    parser = pytest.importorskip("markdown_it").MarkdownIt().enable("table")
    rows = re.findall(r"<tr>(.*?)</tr>", parser.render(page.read_text(encoding="utf-8")), re.DOTALL)
    assert [row.count("<t") for row in rows] == [11, 11, 11]


def test_the_same_results_give_the_same_index(results: Path) -> None:
    paths = write_index(index_rows(CHARACTERS, results), results)
    first = [path.read_bytes() for path in (*paths, results / "index" / "characters.parquet")]
    write_index(index_rows(CHARACTERS, results), results)
    assert [path.read_bytes() for path in (*paths, results / "index" / "characters.parquet")] == first


def test_a_thousand_characters_take_less_than_two_seconds(tmp_path: Path) -> None:
    write_character(tmp_path, "name", 9, repositories=HUB)
    files = {path.relative_to(tmp_path / "name"): path.read_bytes() for path in (tmp_path / "name").rglob("*.json")}
    names = [f"name{number}" for number in range(1000)]
    for name in names:
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
    start = time.process_time()
    write_index(index_rows([(name, name) for name in names], tmp_path), tmp_path)
    assert time.process_time() - start < 2
    assert len((tmp_path / "index.md").read_text().splitlines()) == 1000 + 6

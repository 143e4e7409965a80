"""A published, private dataset as `datasets` loads it from the hub: the rows of the artifact, streaming and not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charaloom.artifacts.files import sha256_bytes
from charaloom.artifacts.tables import read_table
from tests.servers.repo_hub_http import Server
from tests.unit.publishing.hub.conftest import Place
from tests.unit.publishing.test_dataset import SIZES, run, write_world

LOADING = """
import hashlib, json, sys
from datasets import Image, load_dataset
rows = load_dataset("ann/hana", split="train", streaming=sys.argv[1] == "True")
rows = rows.cast_column("image", Image(decode=False))
print(json.dumps([[hashlib.sha256(row["image"]["bytes"]).hexdigest(), row["caption"]] for row in rows]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["lfs"], indirect=True)
@pytest.mark.parametrize("streaming", [True, False])
def test_one_line_loads_what_was_published(server: Server, tmp_path: Path, streaming: bool) -> None:
    world = tmp_path / "world"
    world.mkdir()
    write_world(world, SIZES)
    place = Place(server, run(world))
    place.publish()
    shards = sorted((place.folder / "data").glob("train-*.parquet"))
    rows = [row for shard in shards for row in read_table(shard)]
    environment = {**os.environ, "HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", LOADING, str(streaming)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded == [[sha256_bytes(row["image"]["bytes"]), row["caption"]] for row in rows]
    assert len(loaded) == 3

"""A whole run of stage `raw` with secrets planted wherever one may come from: none is in what the run leaves."""

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from charaloom.artifacts.tables import read_table
from charaloom.sources.network.secrets import scrubbed_text
from tests.servers import boards
from tests.servers.boards import Reply, drawn, serving
from tests.servers.hub import serving as serving_hub
from tests.unit.sources.test_dialects import origin, raw_params
from tests.unit.sources.test_hub import origin as dataset
from tests.unit.sources.test_hub import parquet
from tests.unit.sources.test_mirror import files_of_mirror
from tests.unit.sources.test_waifuc import ROOT, STANDIN

SECRETS = ("planted-key", "planted-password", "planted-cookie", "planted-token", "planted-hash")
ENVIRONMENT = {
    "CHARALOOM_ONE_USERNAME": "5", "CHARALOOM_ONE_API_KEY": "planted-key",
    "CHARALOOM_TWO_USERNAME": "somebody", "CHARALOOM_TWO_PASSWORD": "planted-password",
    "CHARALOOM_THREE_USERNAME": "5", "CHARALOOM_THREE_API_KEY": "planted-key",
    "CHARALOOM_FOUR_USERNAME": "5", "CHARALOOM_FOUR_API_KEY": "planted-key",
    "HF_TOKEN": "hf_planted-token", "WAIFUC_KEY": "planted-key",
}  # fmt: skip
RUN = """
import json, sys
from pathlib import Path
from charaloom.runtime.job import job
with job(sys.argv[2] + "/logs/raw.log", offline=False):
    from charaloom.config.params import Raw
    from charaloom.sources.kinds import Machine
    from charaloom.sources.raw import build_raw
    place = Path(sys.argv[2])
    files = [place / "results" / f"raw.{end}" for end in ("parquet", "pictures.json", "manifest.json")]
    build_raw("hana", Raw.of(json.loads(sys.argv[1])), *files, Machine(place / "work", waifuc=sys.argv[3]))
"""
LEAKY = (
    "https://me:planted-password@a.example/x?api_key=planted-key&a=1#token=planted-token",
    "https://b.example/y?X-Amz-Signature=planted-hash;sid=planted-cookie",
    "Cookie: planted-cookie, Authorization: Bearer planted-token",
)


class LeakyGelbooru(boards.Gelbooru):
    """Its posts repeat the account, and what others left in the addresses that they come from."""

    def answer(self, path, query, headers):
        if query.get("api_key") == "planted-key":
            query = {**query, "api_key": "key"}
        return super().answer(path, query, headers)

    def row(self, post):
        url = self.file_url(post)
        leaky = LEAKY[post.id % len(LEAKY)]
        return {**super().row(post), "file_url": f"{url}?api_key=planted-key&user_id=5" if url else "", "source": leaky}


class Zerochan(boards.Zerochan):
    def answer(self, path, query, headers):
        if path == "/login":
            assert query["password"] == "planted-password"
            return Reply(b"", 303, cookies=("z_id=7; path=/", "z_hash=planted-hash; path=/"))
        return super().answer(path, query, headers)


class Refusing(boards.Danbooru):
    """Refuses, and repeats in its answer what it was sent."""

    def answer(self, path, query, headers):
        return Reply(json.dumps({"message": f"{headers.get('authorization')} {query} planted-key"}).encode(), 422)


def run(folder, sources, python):
    params = raw_params(*sources, limit=200)
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'scripts'}"}
    command = [sys.executable, "-c", RUN, json.dumps(params), str(folder), str(python)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return result.returncode, result.stdout + result.stderr


def hits(folder, said):
    """Where a secret is in what a run left: bytes of all files, the decoded table, and what it said.

    Files that others published are kept as they are.
    """
    published = ("work/hub/", "/repository/")
    encoded = [
        b64encode(f"{name}:{secret}".encode()).decode().rstrip("=") for name in ("5", "somebody") for secret in SECRETS
    ]
    wanted = [form.encode() for form in (*SECRETS, *encoded)]
    contents = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    contents["output"] = said.encode()
    for path in folder.rglob("*.parquet"):
        contents[f"{path} decoded"] = repr(pq.read_table(path).to_pylist()).encode()
    contents = {name: content for name, content in contents.items() if not any(part in name for part in published)}
    return [(name, form) for name, content in contents.items() for form in wanted if form in content]


@pytest.fixture
def python(tmp_path):
    path = tmp_path / "environment"
    path.write_text(
        f'#!/bin/sh\nexport PYTHONPATH={STANDIN}:$PYTHONPATH CHARALOOM_TESTS={ROOT}\nexec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    return path


def test_no_secret_is_in_what_a_run_leaves(tmp_path, python):
    folder, own = tmp_path / "place", tmp_path / "own"
    own.mkdir()
    (own / "a.png").write_bytes(drawn(900))
    side = {"category": "danbooru", "id": 1, "rating": "g", "source": LEAKY[0], "cookies": "planted-cookie"}
    (own / "a.json").write_text(json.dumps(side))
    rows = [{"image": {"bytes": drawn(901), "path": "b.png"}, "text": "1girl", "source": LEAKY[1], "note": LEAKY[2]}]
    asked = {"class": "Leaking", "options": {"api_key": {"env": "WAIFUC_KEY"}}}
    with ExitStack() as stack:
        one = stack.enter_context(serving(LeakyGelbooru()))
        two, three = (stack.enter_context(serving(kind())) for kind in (Zerochan, boards.Danbooru))
        hub = stack.enter_context(serving_hub({"a.parquet": parquet(rows), **files_of_mirror({101: drawn(1)})}))
        mirror = {"mirror": {"repo": "x/y", "revision": "main"}, "hub": hub.address}
        sources = [
            origin(one, name="one"), origin(two, name="two"), origin(three, name="three", **mirror),
            {"kind": "folder", "path": str(own)}, dataset(hub.address), {"kind": "waifuc", "waifuc": asked},
        ]  # fmt: skip
        status, said = run(folder, sources, python)
        log = (folder / "logs" / "raw.log").read_text()
        assert status == 0, log
        assert [entry for entry in one.requests if entry.query.get("api_key") == "planted-key"]
        assert [entry for entry in two.requests if "planted-hash" in entry.headers.get("cookie", "")]
    sites = {post["site"] for row in read_table(folder / "results" / "raw.parquet") for post in row["posts"]}
    assert sites == {"one", "two", "three", "folder", "dataset", "danbooru"}
    assert "ended early (status 1: ValueError" in log
    assert hits(folder, said) == []


def test_no_secret_is_in_what_a_failed_run_leaves(tmp_path, python):
    with serving(Refusing()) as board:
        status, said = run(tmp_path / "place", [origin(board, name="four")], python)
    assert status == 1
    assert "does not accept the query" in (tmp_path / "place" / "logs" / "raw.log").read_text()
    assert hits(Path(tmp_path / "place"), said) == []


def test_a_long_word_costs_no_time():
    """Each of its letters could begin a name or a scheme."""
    for letter in ("a", "a.", "a-", "a:", "a=", "//", "a/"):
        started = time.process_time()
        scrubbed_text(letter * 50_000 + " ")
        assert time.process_time() - started < 2.0, letter

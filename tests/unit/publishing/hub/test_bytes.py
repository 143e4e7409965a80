"""How much a small change of a dataset of 500 pictures sends, by LFS and by xet."""

from pathlib import Path

import pytest

from charaloom.artifacts.tables import CLUSTERED, read_table, write_table
from tests.servers.repo_hub_http import Server
from tests.unit.publishing.hub.conftest import Place
from tests.unit.publishing.test_dataset import run, write_world

PICTURES = 500
FORMAT = {"format": "PNG", "resolution": 128}  # some 20 KB a picture: less than real ones, so that cards count for more
MOST = 0.1  # of what the whole dataset is


@pytest.mark.slow
def test_one_picture_less_sends_a_tenth_at_most(server: Server, tmp_path: Path) -> None:
    world = tmp_path / "world"
    world.mkdir()
    write_world(world, [(128 + number % 7, 128 + number % 5) for number in range(PICTURES)])
    place = Place(server, run(world, **FORMAT))
    place.publish()
    whole = sent(server)
    rows = read_table(world / "clustered.parquet")
    gone = rows[PICTURES // 2]["picture"]
    write_table(world / "clustered.parquet", [row for row in rows if row["picture"] != gone], CLUSTERED, "view")
    run(world, **FORMAT)
    done = place.publish()
    place.assert_published(commits=2)
    part = sent(server) - whole
    print(f"whole {whole:,} bytes, one picture less {part:,} bytes ({part / whole:.1%}), {done['added']} files")
    assert 0 < part <= MOST * whole


def sent(server: Server) -> int:
    """Bytes that came so far: in bodies of requests, and by xet in the content store."""
    xet = server.hub.xet
    stored = sum(file.stat().st_size for file in xet.rglob("*") if file.is_file()) if xet else 0
    return server.sent() + stored

"""Files and folders appear whole or not at all, also where a process is killed at the worst moment."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from charaloom.artifacts import files
from charaloom.artifacts.files import safe_name, whole_file, whole_folder
from charaloom.config.schemas import CODE

SCRIPTS = Path(__file__).parents[3] / "scripts"
REPLACE = """
import os, signal, sys
from charaloom.artifacts import files

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{patch}
with files.whole_folder(sys.argv[1]) as part:
    (part / "content").write_text("new")
    {inside}
"""
WITHOUT_EXCHANGE = "files.exchange = lambda *_: False\nrename = os.rename\n"
DIE_BEFORE_PART = "os.rename = lambda a, b: die() if str(b).endswith('.part') else rename(a, b)"
DIE_AFTER_OLD = "os.rename = lambda a, b: rename(a, b) if str(b).endswith('.old') else die()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `content`."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "content").write_text("old")
    return tmp_path / "folder"


def killed_replacing(folder: Path, patch: str = "", inside: str = "") -> None:
    """Replace `folder` in a process that `patch` or `inside` kills."""
    code = REPLACE.format(patch=patch, inside=inside)
    process = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, check=False
    )
    assert process.returncode == -signal.SIGKILL


def replace(folder: Path, content: str) -> None:
    with whole_folder(folder) as part:
        (part / "content").write_text(content)


def content(folder: Path) -> str:
    return (folder / "content").read_text()


def test_a_folder_is_replaced(folder: Path) -> None:
    replace(folder, "new")
    assert content(folder) == "new"
    assert folder.stat().st_mode & 0o777 == 0o755
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failure_leaves_the_old_folder(folder: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_folder(folder) as part:
        (part / "none" / "content").write_text("new")
    assert content(folder) == "old"
    assert list(folder.parent.iterdir()) == [folder]


def test_c6_every_file_and_folder_is_synced_before_the_rename(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, swap = os.fsync, files.exchange

    def fsync(handle: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        sync(handle)

    def exchange(first: Path, second: Path) -> bool:
        events.append("exchange")
        return swap(first, second)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "exchange", exchange)
    with whole_folder(folder) as part:
        (part / "inner").mkdir()
        (part / "inner" / "deep").write_text("x")
        (part / "content").write_text("new")
        (part / "dangling").symlink_to("nowhere")
    assert sorted(events[:4]) == sorted(["deep", "inner", "content", part.name])
    assert events[4:] == ["exchange", folder.parent.name]


@pytest.mark.parametrize(
    ("patch", "inside", "left"),
    [
        ("", "die()", "old"),
        ("files.sync_tree = die", "", "old"),
        ("files.exchange = die", "", "old"),
        ("files.shutil.rmtree = die", "", "new"),
        (WITHOUT_EXCHANGE + "os.rename = die", "", "old"),
        (
            f"{WITHOUT_EXCHANGE}\nos.rename = lambda a, b: die() if str(b).endswith('.part') else rename(a, b)",
            "",
            "new",
        ),
    ],
)
def test_c3_a_kill_leaves_the_old_folder_or_the_new_one(folder: Path, patch: str, inside: str, left: str) -> None:
    killed_replacing(folder, patch, inside)
    assert content(folder) == left
    assert len(list(folder.parent.iterdir())) == 2  # and what the killed process left
    replace(folder, "newest")
    assert content(folder) == "newest"
    assert list(folder.parent.iterdir()) == [folder]


def test_c3_without_an_exchange_the_old_folder_comes_back_at_the_next_call(folder: Path) -> None:
    killed_replacing(folder, WITHOUT_EXCHANGE + DIE_AFTER_OLD)
    assert not folder.exists()
    with pytest.raises(FileNotFoundError), whole_folder(folder) as part:
        (part / "none" / "content").write_text("new")
    assert content(folder) == "old"
    assert list(folder.parent.iterdir()) == [folder]


def test_without_an_exchange_a_folder_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "exchange", lambda *_: False)
    replace(folder, "new")
    assert content(folder) == "new"
    assert list(folder.parent.iterdir()) == [folder]


def test_c7_a_folder_that_another_call_is_writing_is_no_leftover(folder: Path) -> None:
    with whole_folder(folder) as slow:
        (slow / "content").write_text("slow")
        replace(folder, "quick")
        assert content(folder) == "quick"
    assert content(folder) == "slow"
    assert list(folder.parent.iterdir()) == [folder]


def test_leftovers_of_another_folder_stay(folder: Path) -> None:
    for name in (".folder.x.abc.part", ".folder.x.abc.old"):
        (folder.parent / name).mkdir()
    replace(folder, "new")
    assert len(list(folder.parent.iterdir())) == 3


@pytest.fixture
def missing(folder: Path) -> Iterator[list[str]]:
    """What a reader that looks all the time does not find."""
    failures: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                os.stat(folder)
            except OSError as error:
                failures.append(str(error))

    reader = threading.Thread(target=look)
    reader.start()
    yield failures
    stop.set()
    reader.join()


def test_a_reader_always_finds_a_folder(folder: Path, missing: list[str]) -> None:
    if not files.exchange(folder, folder):
        pytest.skip("this file system cannot exchange two folders")
    for number in range(100):
        replace(folder, str(number))
    assert missing == []


def test_c5_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), whole_file(tmp_path / "file") as part:
        part.write_text("new")
    assert (tmp_path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_f6_names_become_safe_and_distinct_file_names() -> None:
    assert safe_name("red_kimono-portrait") == "red_kimono-portrait"
    hostile = [safe_name(name) for name in ("../../etc", ":d-portrait", ";d-portrait", "猫-portrait")]
    assert len(set(hostile)) == 4
    assert all("/" not in name and not name.startswith(".") for name in hostile)


UMASK = """
import os, sys
os.umask(int(sys.argv[2], 8))
from pathlib import Path
from charaloom.artifacts.files import whole_folder, write_json
folder = Path(sys.argv[1])
write_json(folder / "a.json", {})
with whole_folder(folder / "b") as part:
    (part / "c").write_text("x")
print(*(oct((folder / name).stat().st_mode & 0o777) for name in ("a.json", "b", "b/c")))
"""


@pytest.mark.parametrize(
    ("umask", "modes"), [("022", "0o644 0o755 0o644"), ("027", "0o640 0o750 0o640"), ("002", "0o664 0o775 0o664")]
)
def test_files_have_the_modes_that_the_users_umask_asks_for(tmp_path: Path, umask: str, modes: str) -> None:
    command = [sys.executable, "-c", UMASK, str(tmp_path), umask]
    said = subprocess.run(
        command, env={"PYTHONPATH": str(CODE / "scripts")}, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == modes

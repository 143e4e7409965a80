"""The real client against a hub on loopback, by LFS and by xet: one commit, its tag, and nothing twice or by half."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from charaloom.errors import CharaloomError
from charaloom.publishing.hub.attempts import TRIES
from tests.servers.repo_hub import Entry, User
from tests.servers.repo_hub_calls import CUT, HALF, LOST, Fault
from tests.unit.publishing.hub.conftest import TOKEN, Place, fill, noise

COMMIT = r"POST /api/datasets/.*/commit/.*"
CREATE = r"POST /api/repos/create"
TAG = r"POST /api/datasets/.*/tag/.*"
READS = r"GET /api/datasets/.*/(tree|revision|refs).*"
BROKEN_AT = range(20)  # calls of one publishing that are cut, each once


def test_a_first_publish_makes_a_private_repository_with_one_commit_and_its_tag(place: Place) -> None:
    done = place.publish()
    place.assert_published(commits=1)
    assert place.repo.private
    assert place.repo.tags == {place.tag: place.repo.head.oid}
    assert place.repo.head.title == f"Publish {place.tag}"
    assert (done["committed"], done["added"], done["deleted"]) == (True, 3, 0)


def test_a_second_publish_sends_nothing(place: Place) -> None:
    place.publish()
    calls = len(place.server.calls)
    assert not place.publish()["committed"]
    place.assert_published(commits=1)
    after = place.server.calls[calls:]
    assert {call.what.split()[0] for call in after} == {"GET"}
    assert len(after) <= 5


def test_only_what_changed_is_sent_and_what_is_gone_is_deleted_with_it(place: Place) -> None:
    (place.folder / "old.txt").write_text("old")
    place.publish()
    (place.folder / "old.txt").unlink()
    (place.folder / "data" / "train-00001.parquet").write_bytes(noise(5_000, 7))
    first, calls = place.repo.head, len(place.server.calls)
    done = place.publish()
    assert (done["added"], done["deleted"]) == (1, 1)
    place.assert_published(commits=2)
    assert place.repo.head.parent == first.oid
    uploads = [call for call in place.server.calls[calls:] if call.what.startswith("PUT")]
    assert sum(call.size for call in uploads) in (0, 5_000), "by xet they do not go through the server"


def test_a_return_to_earlier_files_is_a_commit_and_keeps_their_tag(place: Place) -> None:
    place.publish()
    first = place.repo.tags[place.tag]
    fill(place.folder, seed=1)
    place.publish()
    fill(place.folder, seed=0)
    place.publish()
    place.assert_published(commits=3)
    assert place.repo.tags[place.tag] == first


def test_a_tag_that_stands_for_other_files_is_an_error(place: Place) -> None:
    place.publish()
    tag = place.tag
    fill(place.folder, seed=1)
    place.publish()
    place.repo.tags[tag] = place.repo.head.oid
    fill(place.folder, seed=0)
    with pytest.raises(CharaloomError, match=f"{tag} stands for other files"):
        place.publish()


def test_several_pieces_and_several_pages(place: Place) -> None:
    place.server.hub.piece_bytes, place.server.hub.page = 7_000, 2
    place.publish()
    place.assert_published(commits=1)
    assert not place.publish()["committed"]


def test_an_organisation(place: Place) -> None:
    place.name = "circle/hana"
    place.publish()
    place.assert_published(commits=1)


# --- refusals


@pytest.mark.parametrize(
    ("user", "name", "said"),
    [
        (None, "ann/hana", "refuses the token: set HF_TOKEN"),
        (User("ann", role="read"), "ann/hana", "does not let this token write"),
        (User("ann"), "bob/hana", "does not let this token write"),
        (User("ann", orgs={"club": "read"}), "club/hana", "does not let this token write"),
    ],
    ids=["401", "read", "foreign", "reader"],
)
def test_a_refusal_is_told_at_once_with_its_cure(place: Place, user: User | None, name: str, said: str) -> None:
    place.name = name
    place.server.hub.users = {TOKEN: user} if user else {}
    with pytest.raises(CharaloomError, match=said) as caught:
        place.publish()
    assert TOKEN not in str(caught.value)
    assert not place.server.hub.repos
    assert not place.waits


def test_a_private_repository_of_somebody_else_is_not_written(place: Place) -> None:
    place.server.hub.create(place.server.hub.users["hf_other"], "dataset", "hana", None, private=True)
    place.name = "bob/hana"
    with pytest.raises(CharaloomError, match="does not let this token write"):
        place.publish()
    assert len(place.repo.history()) == 1


def test_a_public_repository_gets_nothing_private_and_a_private_one_stays(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.publish()
    place.publish(private=False)
    assert place.repo.private
    assert "stays private" in capsys.readouterr().err
    place.repo.private = False
    fill(place.folder, seed=1)
    with pytest.raises(CharaloomError, match=r"is public, and `published\.private` is true"):
        place.publish()
    assert len(place.repo.history()) == 2
    place.publish(private=False)
    place.assert_published(commits=2)


def test_files_of_somebody_else_are_not_deleted(place: Place) -> None:
    place.server.hub.create(place.server.hub.users[TOKEN], "dataset", "hana", None, private=True)
    place.repo.commit("by hand", "", {**place.repo.head.files, "mine.txt": Entry.regular(b"mine")})
    with pytest.raises(CharaloomError, match=r"not published \(mine.txt\)"):
        place.publish()
    assert len(place.repo.history()) == 2


def test_a_publish_that_ended_before_its_tag_is_gone_on_with(place: Place) -> None:
    place.publish()
    place.repo.tags.clear()
    fill(place.folder, seed=1)
    place.publish()
    place.assert_published(commits=2)


# --- what goes wrong on the way


@pytest.mark.slow
@pytest.mark.parametrize("how", [CUT, HALF, LOST])
def test_h1_a_connection_that_breaks_at_any_call_loses_nothing_and_doubles_nothing(
    places: Callable[[str], Place], how: str
) -> None:
    """The first publish and a second one of changed files, with one of the calls cut."""
    for number in BROKEN_AT:
        place = places(f"first_{number}")
        place.server.faults = [Fault(how, at=len(place.server.calls) + number)]
        place.publish()
        place.assert_published(commits=1)
        fill(place.folder, seed=1)
        place.server.faults = [Fault(how, at=len(place.server.calls) + number)]
        place.publish()
        place.assert_published(commits=2)


@pytest.mark.parametrize("call", [COMMIT, CREATE, TAG], ids=["commit", "create", "tag"])
@pytest.mark.parametrize("status", [500, 502, 504])
def test_h3_an_error_after_what_was_asked_for_has_happened_makes_it_no_second_time(
    place: Place, call: str, status: int
) -> None:
    place.server.faults = [Fault(status, call=call, after=True)]
    place.publish()
    place.assert_published(commits=1)
    assert place.server.counted(COMMIT) == 1
    assert place.repo.private


@pytest.mark.parametrize("call", [COMMIT, CREATE, TAG, READS, r"POST .*/preupload/.*"])
@pytest.mark.parametrize("body", [b'{"error": "busy"}', b"<html>busy</html>"], ids=["json", "html"])
def test_a_busy_hub_is_asked_again(place: Place, call: str, body: bytes) -> None:
    place.server.faults = [Fault(503, call=call, body=body, times=2)]
    place.publish()
    place.assert_published(commits=1)


def test_a_busy_check_of_the_card_is_asked_again(place: Place) -> None:
    place.server.faults = [Fault(503, call=r"POST /api/validate-yaml", body=b"<html>busy</html>")]
    place.publish()
    place.assert_published(commits=1)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "{date}"}, 500, 600),
        ({"RateLimit": '"api";r=0;t=55'}, 56, 56),
        ({"Retry-After": "soon"}, 0.5, 2),
        ({}, 0.5, 2),
    ],
    ids=["seconds", "date", "limit", "nonsense", "nothing"],
)
def test_a_hub_that_limits_is_obeyed(place: Place, headers: dict[str, str], least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    given = {name: value.replace("{date}", date) for name, value in headers.items()}
    place.server.faults = [Fault(429, call=COMMIT, headers=given)]
    place.publish()
    place.assert_published(commits=1)
    assert least <= place.waits[0] <= most


def test_a_wait_that_is_too_long_ends_the_run_and_says_so(place: Place) -> None:
    place.server.faults = [Fault(429, call=COMMIT, headers={"Retry-After": "7200"})]
    with pytest.raises(CharaloomError, match=r"asks to wait 7,200 seconds; run again after that"):
        place.publish()
    assert not place.waits
    assert len(place.repo.history()) == 1


@pytest.mark.parametrize("fault", [CUT, LOST, 503, 429], ids=str)
def test_h1_a_hub_that_never_recovers_keeps_the_old_revision_and_the_next_run_ends_it(
    place: Place, fault: str | int
) -> None:
    place.publish()
    before, files = place.repo.head, place.local()
    fill(place.folder, seed=1)
    place.server.faults = [Fault(fault, call=r"POST .*/preupload/.*", times=10_000)]
    with pytest.raises(CharaloomError, match=f"given up after {TRIES} failures"):
        place.publish()
    assert place.repo.head == before
    assert place.server.hub.files("dataset", "ann/hana") == files
    place.server.faults = []
    place.publish()
    place.assert_published(commits=2)


def test_h2_others_who_commit_in_between_lose_nothing_and_are_built_upon(place: Place) -> None:
    """The guard refuses, and the next look sees what is new: it is replaced in a commit on top of it."""
    place.publish()
    fill(place.folder, seed=1)
    apply, others = place.server.hub.apply, iter(range(5))

    def later(repo, revision, lines):
        for number in others:
            repo.commit(f"other {number}", "", {**repo.head.files, "theirs.txt": Entry.regular(b"%d" % number)})
            break
        return apply(repo, revision, lines)

    place.server.hub.apply = later
    place.publish()
    titles = [commit.title for commit in place.repo.history()]
    assert titles[1:6] == [f"other {number}" for number in reversed(range(5))]
    place.assert_published(commits=7)


def test_a_hub_without_guard_and_without_ids_is_served_the_same(place: Place) -> None:
    place.server.hub.guards = place.server.hub.tells_oids = False
    place.server.faults = [Fault(500, call=COMMIT, after=True)]
    place.publish()
    assert not place.publish()["committed"]
    place.assert_published(commits=1)


def test_a_hub_that_names_small_files_otherwise_is_asked_for_their_bytes(place: Place) -> None:
    place.publish()
    files = place.repo.head.files
    place.repo.commit("renamed", "", {path: renamed(entry) for path, entry in files.items()})
    assert not place.publish()["committed"]


def renamed(entry: Entry) -> Entry:
    return entry if entry.sha256 else Entry(entry.size, "f" * 40, entry.data)


def test_a_hub_that_stores_other_bytes_is_found_out(place: Place) -> None:
    apply = place.server.hub.apply

    def spoiling(repo, revision, lines):
        made = apply(repo, revision, lines)
        return repo.commit("spoiled", "", {**made.files, "README.md": Entry.regular(b"spoiled")})

    place.server.hub.apply = spoiling
    with pytest.raises(CharaloomError, match=r"holds other bytes of README.md"):
        place.publish()
    assert not place.repo.tags


def test_a_file_that_cannot_be_read_is_no_failure_of_the_hub(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Path) -> bytes:
        if self.name == "README.md":
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return read_bytes(self)

    place.publish()
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", gone)
    with pytest.raises(FileNotFoundError):
        place.publish()
    assert not place.waits

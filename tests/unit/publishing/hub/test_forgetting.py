"""After a removal no earlier version is left on the hub: no commit, no tag, no large file."""

import pytest

from charaloom.errors import CharaloomError
from tests.servers.repo_hub import Commit, Entry, Repo
from tests.servers.repo_hub_calls import CUT, LOST, Fault
from tests.unit.publishing.hub.conftest import Place, fill

BEFORE, AFTER = "0", "abcdefabcdef"
CALLS = range(12, 26)  # from the upload on,  # of a publication after a removal


def sha256s(place: Place) -> set[str]:
    """Of every large file that a commit leads to."""
    commits = place.server.hub.reachable(place.repo)
    return {entry.sha256 for own in commits for entry in own.files.values() if entry.sha256}


def remove_something(place: Place) -> set[str]:
    """Two versions that are published, and a third one to publish; the large files of the first two."""
    place.publish(removals=BEFORE)
    fill(place.folder, seed=1)
    place.publish(removals=BEFORE)
    before = sha256s(place)
    fill(place.folder, seed=2)
    return before


def assert_forgotten(place: Place, before: set[str]) -> None:
    hub = place.server.hub
    assert hub.files(place.kind, place.name) == place.local()
    assert [own.title for own in place.repo.history()] == [f"Publish {place.tag}, removals {AFTER}"]
    assert place.repo.tags == {place.tag: place.repo.head.oid}
    assert not before & sha256s(place)
    assert before <= hub.deleted
    assert not before & hub.objects.keys()


def test_a_version_after_a_removal_replaces_all_earlier_ones(place: Place) -> None:
    before = remove_something(place)
    place.publish(removals=AFTER)
    assert_forgotten(place, before)
    calls = len(place.server.calls)
    assert not place.publish(removals=AFTER)["committed"]
    assert all(call.what.startswith("GET") for call in place.server.calls[calls:])


def test_a_removal_that_changes_nothing_here_forgets_nothing(place: Place) -> None:
    place.publish(removals=BEFORE)
    assert not place.publish(removals=AFTER)["committed"]
    place.assert_published(commits=1)


def test_changes_under_the_same_list_keep_the_history(place: Place) -> None:
    place.publish(removals=AFTER)
    fill(place.folder, seed=1)
    place.publish(removals=AFTER)
    place.assert_published(commits=2)
    assert len(place.repo.tags) == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", [CUT, LOST])
def test_wherever_the_connection_breaks_the_next_look_ends_it(places, how: str) -> None:
    for number in CALLS:
        place = places(f"removed_{number}")
        before = remove_something(place)
        place.server.faults = [Fault(how, at=len(place.server.calls) + number)]
        place.publish(removals=AFTER)
        assert_forgotten(place, before)


@pytest.mark.parametrize("call", ["POST .*/super-squash/main", "DELETE .*", "GET .*/lfs-files"])
def test_a_run_that_was_stopped_in_between_is_gone_on_with(place: Place, call: str) -> None:
    before = remove_something(place)
    place.server.faults = [Fault(403, call=call, times=10_000)]
    with pytest.raises(CharaloomError, match="does not let this token"):
        place.publish(removals=AFTER)
    assert place.server.hub.files(place.kind, place.name) == place.local(), "what was removed is not at the head"
    place.server.faults = []
    place.publish(removals=AFTER)
    assert_forgotten(place, before)


def test_somebody_else_who_commits_in_between_is_not_tagged(place: Place) -> None:
    before = remove_something(place)
    squash = place.server.hub.squash

    def later(repo: Repo, title: str) -> Commit:
        place.server.hub.squash = squash
        repo.commit("another one", "", {**repo.head.files, "theirs.txt": Entry.regular(b"theirs")})
        return squash(repo, title)

    place.server.hub.squash = later
    place.publish(removals=AFTER)
    assert place.server.hub.files(place.kind, place.name, place.tag) == place.local()
    assert not before & sha256s(place)


def test_a_hub_that_cannot_forget_says_what_to_do(place: Place) -> None:
    remove_something(place)
    place.server.faults = [Fault(404, call="POST .*/super-squash/main", times=10_000)]
    for _ in range(2):
        with pytest.raises(CharaloomError, match=r"cannot forget earlier versions\. They hold what"):
            place.publish(removals=AFTER)


def test_a_hub_that_lists_no_large_files_is_enough(place: Place) -> None:
    before = remove_something(place)
    place.server.faults = [Fault(404, call="GET .*/lfs-files")]
    place.publish(removals=AFTER)
    assert not before & sha256s(place)

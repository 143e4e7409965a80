"""A folder becomes a revision of a repository: in one commit, with its tag, or not at all.

What the hub holds is looked at before and after each call: a second run finds nothing to do, an answer that was lost
makes no second commit, and files that are there already are not sent.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.types import Row
from charaloom.errors import CharaloomError
from charaloom.publishing.hub.attempts import TRIES, Attempts
from charaloom.publishing.hub.forgetting import NO_REMOVALS, Title, forget_earlier, title_of
from charaloom.publishing.hub.remote import MAIN, OUR_TAG, Changes, Remote, State, refuse_foreign


@dataclass(frozen=True)
class Revision:
    """What is published: the files of a folder by path, each with SHA-256 and size, under a tag.

    `removals`: digest of the list of removals that it was made under.
    """

    folder: Path
    files: Mapping[str, Row]
    tag: str
    private: bool
    removals: str = NO_REMOVALS


def publish_revision(remote: Remote, revision: Revision, attempts: Attempts) -> Row:
    """Make `main` hold the files of a revision, and tag it: {commit, committed, added, deleted, sent}.

    Raises CharaloomError where the hub refuses, where the repository holds what Charaloom has not put there, or where
    it is public and should not be.
    """
    before = opened(remote, revision.private, attempts)
    refuse_public(remote, before, revision.private)
    changes, title = differences(remote, before, revision, attempts), Title()
    if before.files:
        newest = attempts.of(remote.newest_title)
        title = Title.read(newest)
        if changes and not any(map(OUR_TAG.fullmatch, attempts.of(remote.tags))):
            refuse_foreign(str(remote), before.files, newest)
    forgets = title.pending or (bool(changes and before.files) and title.removals != revision.removals)
    commit, changes = settled(remote, revision, before, title_of(revision.tag, revision.removals, forgets), attempts)
    if forgets:
        forget_earlier(remote, revision.tag, revision.removals, attempts)
        done = title_of(revision.tag, revision.removals, pending=False)
        commit, _ = settled(remote, revision, look(remote, MAIN, attempts), done, attempts)
    set_tag(remote, revision, commit, attempts)
    sent = sum(revision.files[path]["size"] for path in changes.added)
    return {
        "commit": commit,
        "committed": bool(changes),
        "added": len(changes.added),
        "deleted": len(changes.deleted),
        "bytes": sent,
    }


def opened(remote: Remote, private: bool, attempts: Attempts) -> State:
    """What the repository holds; it is made where there is none."""
    for _ in range(TRIES):
        state = attempts.of(remote.state)
        if state is not None:
            return state
        attempts.once(lambda: remote.create(private))
    raise CharaloomError(
        f"{remote}: the hub neither makes this repository nor shows it; check HF_ENDPOINT and the token"
    )


def refuse_public(remote: Remote, state: State, private: bool) -> None:
    if private and state.private is False:
        raise CharaloomError(
            f"{remote}: is public, and `published.private` is true; write `private: false`, or make it private on its "
            "page of the hub"
        )
    if state.private and not private:
        print(f"{remote}: stays private, though `published.private` is false; its page changes that", file=sys.stderr)


def settled(remote: Remote, revision: Revision, state: State, title: str, attempts: Attempts) -> tuple[str, Changes]:
    """The commit at which the repository holds the revision, and what was changed to get there from `state`. `title`:
    of a commit that is made."""
    made, last = False, Changes()
    while True:
        changes = differences(remote, state, revision, attempts)
        if not changes:
            assert state.commit is not None
            return state.commit, last
        if made:
            raise CharaloomError(
                f"{remote}: commit {state.commit} holds other bytes of {(*changes.added, *changes.deleted)[0]} than "
                "were sent; did the folder change meanwhile? Run again."
            )
        last = changes
        commit = attempts.once(
            lambda old=state, new=changes: remote.commit(revision.folder, new, title, old.commit)  # type: ignore[misc]
        )
        made = commit is not None
        state = look(remote, commit or MAIN, attempts)


def differences(remote: Remote, state: State, revision: Revision, attempts: Attempts) -> Changes:
    """What makes a state hold the revision; the hub may be asked for the bytes of small files."""
    return attempts.of(lambda: remote.changes(state, revision.folder, revision.files))


def look(remote: Remote, place: str, attempts: Attempts) -> State:
    """What the repository holds now: at the commit that was made, or where none was seen to be made, at its head."""
    state = attempts.of(lambda: remote.state(place))
    if state is None:
        raise CharaloomError(f"{remote}: was there a moment ago and is gone; run again")
    return state


def set_tag(remote: Remote, revision: Revision, commit: str, attempts: Attempts) -> None:
    """Let the tag stand for the commit. A tag that is there already must stand for the same files."""
    for _ in range(TRIES):
        there = attempts.of(remote.tags).get(revision.tag)
        if there == commit:
            return
        if there is not None:
            state = attempts.of(lambda: remote.state(revision.tag))
            if state and not differences(remote, state, revision, attempts):
                return
            raise CharaloomError(
                f"{remote}: its tag {revision.tag} stands for other files than it should; remove that tag on the hub, "
                "and run again"
            )
        attempts.once(lambda: remote.tag(revision.tag, commit))
    raise CharaloomError(f"{remote}: the hub takes the tag {revision.tag} and does not list it; ask who runs the hub")

"""After a removal the earlier versions of a repository go, too: what was removed would still lie in them.

The title of each commit says which list of removals it was made under (a digest, which names nobody), and whether
earlier versions are still to go: a run that was stopped in between is gone on with.
"""

import re
from dataclasses import dataclass

from charaloom.errors import CharaloomError
from charaloom.publishing.hub.attempts import TRIES, Attempts
from charaloom.publishing.hub.remote import MAIN, NO_SUCH_CALL, OUR_TAG, OUR_TITLE, Remote, status_of

NO_REMOVALS = "0"  # in place of the digest of an empty list
PENDING = ", replaces all earlier versions"
TITLE = re.compile(rf"{OUR_TITLE}v-[0-9a-f]+(?:, removals (?P<removals>[0-9a-f]+))?(?P<pending>{PENDING})?")


@dataclass(frozen=True)
class Title:
    """What the title of a commit of ours says; nothing in somebody else's."""

    removals: str = NO_REMOVALS  # digest of the list
    pending: bool = False

    @classmethod
    def read(cls, text: str) -> "Title":
        found = TITLE.fullmatch(text)
        return cls(found["removals"] or NO_REMOVALS, bool(found["pending"])) if found else cls()


def title_of(tag: str, removals: str, pending: bool) -> str:
    listed = f", removals {removals}" if removals != NO_REMOVALS else ""
    return f"{OUR_TITLE}{tag}{listed}{PENDING if pending else ''}"


def forget_earlier(remote: Remote, tag: str, removals: str, attempts: Attempts) -> None:
    """Leave nothing but the head of `main`: no earlier version, no tag of one, no large file of one.

    Raises CharaloomError where the hub cannot do that; what was published last is in its place all the same.
    """
    pending, done = (title_of(tag, removals, pending) for pending in (True, False))
    for _ in range(TRIES):
        left = list(filter(OUR_TAG.fullmatch, attempts.of(remote.tags)))
        for name in left:
            attempts.once(lambda old=name: remote.delete_tag(old))  # type: ignore[misc]
        if left:
            continue  # to see whether they are gone
        if attempts.of(remote.newest_title) == done:
            return
        if attempts.once(lambda: squash(remote, pending)):
            attempts.of(lambda: delete_unused(remote))
            attempts.once(lambda: squash(remote, done))
    raise CharaloomError(f"{remote}: the hub takes the calls to forget earlier versions and keeps them. {ADVICE}")


ADVICE = "They hold what was removed: delete the repository on the hub, and run again."


def squash(remote: Remote, title: str) -> bool:
    try:
        remote.squash(title)
        return True
    except Exception as problem:
        if status_of(problem) in NO_SUCH_CALL:
            raise CharaloomError(f"{remote}: this hub cannot forget earlier versions. {ADVICE}") from problem
        raise


def delete_unused(remote: Remote) -> None:
    """Delete the large files that no version needs any more, where the hub lists them.

    Only where it lists all that are needed, too: else it names them by something else than their SHA-256.
    """
    state = remote.state(MAIN)
    needed = {entry.lfs.sha256 for entry in state.files.values() if entry.lfs} if state else set()
    stored = {file.file_oid: file for file in remote.large_files()}
    if needed <= stored.keys():
        remote.delete_large([file for oid, file in stored.items() if oid not in needed])

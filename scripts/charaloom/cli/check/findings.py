"""What a check has found: every finding is shown at once, with its cause and its cure."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from charaloom.errors import CharaloomError


@dataclass
class Findings:
    """Errors, with which nothing starts, and warnings. Each is printed when it is found, and once."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, text: str) -> None:
        self.add(self.errors, "Error", text)

    def warning(self, text: str) -> None:
        self.add(self.warnings, "Warning", text)

    def add(self, kind: list[str], title: str, text: str) -> None:
        if text not in kind:
            kind.append(text)
            print(f"{title}: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Take an error of the block as a finding."""
        try:
            yield
        except CharaloomError as problem:
            self.error(str(problem))
        except OSError as problem:
            self.error(said_of(problem))

    def run(self, chain: Sequence[Callable[[], object]]) -> None:
        """Make checks one after another, up to the first that fails."""
        with self.collecting():
            for check in chain:
                check()


def said_of(problem: OSError) -> str:
    """One line for an error of the system, which says what to look at."""
    place = f"{problem.filename}: " if problem.filename else ""
    return f"{place}{problem.strerror or problem}; {CURES.get(problem.errno or 0, 'check that path')}"


CURES = {
    1: "give this user the right to do so, or name another place in `paths`",  # EPERM
    2: "it was there a moment ago: put it back",  # ENOENT
    13: "make it readable and writable for this user, or name another place in `paths`",  # EACCES
    28: "free some space there, or name another place in `paths`",  # ENOSPC
    30: "name a place in `paths` that can be written",  # EROFS
    36: "take shorter names",  # ENAMETOOLONG
    122: "free some of your quota, or name another place in `paths`",  # EDQUOT
}

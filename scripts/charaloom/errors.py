"""Errors that a person can act on."""


class CharaloomError(Exception):
    """Something the user can mend. The message says which file or key, what was wrong, and what to do."""


class DamagedError(CharaloomError):
    """A file is not what was written: a bit has flipped, or somebody edited it. Making it again mends it."""

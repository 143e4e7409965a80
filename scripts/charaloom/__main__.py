"""The `charaloom` command. Snakemake does the work; this calls it stage by stage and shows how it goes."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from charaloom.cli import commands
from charaloom.cli.check.findings import said_of
from charaloom.demo.commands import parser as demo_commands
from charaloom.errors import CharaloomError

# Errors of the system that a full disk, a wrong right or a lost file system causes, wherever they come up.
OF_THE_PLACE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTDIR})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code. An error that the user can mend is one line."""
    options = parsed(sys.argv[1:] if arguments is None else arguments)
    try:
        return options.command(options)
    except CharaloomError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # of `charaloom … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as problem:
        if problem.errno not in OF_THE_PLACE:
            raise
        print(f"Error: {said_of(problem)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; `snakemake` are those behind `--`."""
    given = list(arguments)
    place = given.index("--") if "--" in given else len(given)
    own = parser()
    options = own.parse_args(given[:place])
    options.snakemake = given[place + 1 :]
    if options.snakemake and "profile" not in options:
        own.error(f"-- {' '.join(options.snakemake)}: only `charaloom run` starts Snakemake, which that would be for")
    return options


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="charaloom", description="From a roster of characters to datasets and models.")
    subcommands = top.add_subparsers(required=True, metavar="command")
    commands.add_commands(subcommands)
    demo_commands.add_commands(subcommands)
    return top


if __name__ == "__main__":
    sys.exit(main())

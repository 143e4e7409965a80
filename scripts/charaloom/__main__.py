"""The `charaloom` command. Snakemake does the work; this calls it stage by stage and shows how it goes."""

import argparse
import sys
from collections.abc import Sequence

from charaloom.cli import commands
from charaloom.demo.commands import parser as demo_commands
from charaloom.errors import CharaloomError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code. An error that the user can mend is one line."""
    options = parser().parse_args(arguments)
    try:
        return options.command(options)
    except CharaloomError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="charaloom", description="From a roster of characters to datasets and models.")
    subcommands = top.add_subparsers(required=True, metavar="command")
    commands.add_commands(subcommands)
    demo_commands.add_commands(subcommands)
    return top


if __name__ == "__main__":
    sys.exit(main())

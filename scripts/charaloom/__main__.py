"""The `charaloom` command. `snakemake` does the work; this asks for it stage by stage and says how it goes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from charaloom.config.stages import PASSES
from charaloom.errors import CharaloomError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; its exit code. What the user can mend is told in one line."""
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
    commands = top.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="build everything the roster asks for, stage by stage")
    configured(run)
    run.add_argument("--profile", default="local", help="a folder, or one of Charaloom's own: local (default), slurm")
    run.add_argument("--cores", type=positive, help="processor cores to use; the profile's number if not given")
    run.add_argument("--until", metavar="STAGE", choices=PASSES, help=f"stop after one of {', '.join(PASSES)}")
    run.add_argument(
        "--orphans",
        default="ask",
        choices=["ask", "cancel", "wait", "stop"],
        help="what to do about jobs that a killed run left on the cluster (default: ask; without a terminal: stop)",
    )
    run.add_argument(
        "snakemake",
        nargs="*",
        metavar="-- ARGUMENT",
        help="arguments for Snakemake, after --; settings belong into --configfile",
    )
    run.set_defaults(command=run_command)

    status = commands.add_parser("status", help="where every character stands, what failed and why: a table and a page")
    configured(status)
    status.add_argument("--needs", action="store_true", help="what each stage needed so far in time and memory")
    status.set_defaults(command=status_command)

    explain = commands.add_parser("explain", help="print the whole story of one picture: kept or dropped, and why")
    explain.add_argument("character", help="her name in the roster")
    explain.add_argument("picture", help="SHA-256 or its first six digits or more, post id, <site>:<post id>")
    configured(explain)
    explain.set_defaults(command=explain_command)

    demo = commands.add_parser("demo", help="draw the demo world and build its characters")
    seeded(demo)
    demo.set_defaults(command=demo_command)

    score = commands.add_parser("score", help="build the demo and compare it with its ground truth")
    seeded(score)
    score.add_argument("--curation", nargs="+", type=int, metavar="SEED", help="the filters alone, in these worlds")
    score.add_argument("--outfits", nargs="+", type=int, metavar="SEED", help="tags and outfits alone, in these worlds")
    score.add_argument("--previews", nargs="+", type=int, metavar="SEED", help="the previews alone, in these worlds")
    score.set_defaults(command=score_command)

    verify = commands.add_parser("verify", help="build a demo character twice and compare every byte")
    seeded(verify)
    verify.set_defaults(command=verify_command)
    return top


def configured(command: argparse.ArgumentParser) -> None:
    command.add_argument("--configfile", nargs="+", type=Path, default=[], help="config files over config/config.yaml")


def seeded(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, help="seed of the world; config/demo.yaml's if not given")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def run_command(options: argparse.Namespace) -> int:
    from charaloom.cli.run import run
    from charaloom.cli.snakemake import Snakemake

    snakemake = Snakemake(options.configfile, options.profile, options.cores, extra=options.snakemake)
    return run(snakemake, until=options.until, orphans=options.orphans)


def status_command(options: argparse.Namespace) -> int:
    from charaloom.cli.needs import needs_table
    from charaloom.cli.status import status_table
    from charaloom.config.project import load_project
    from charaloom.pages.status import write_status_page

    project = load_project(options.configfile)
    if options.needs:
        print(needs_table(Path(project.config["paths"]["work"]) / "benchmarks"))
        return 0
    print(status_table(project))
    print(f"The same as a page: {write_status_page(project)}")
    return 0


def explain_command(options: argparse.Namespace) -> int:
    from charaloom.cli.explain import explain_picture

    return explain_picture(options.configfile, options.character, options.picture)


def demo_command(options: argparse.Namespace) -> int:
    from charaloom.demo.commands.demo import demo

    return demo(options.seed)


def score_command(options: argparse.Namespace) -> int:
    from charaloom.demo.commands.score import score, score_curation, score_outfits, score_previews

    if options.curation:
        return score_curation(options.curation)
    if options.previews:
        return score_previews(options.previews)
    return score_outfits(options.outfits) if options.outfits else score(options.seed)


def verify_command(options: argparse.Namespace) -> int:
    from charaloom.demo.commands.verify import verify

    return verify(options.seed)


if __name__ == "__main__":
    sys.exit(main())

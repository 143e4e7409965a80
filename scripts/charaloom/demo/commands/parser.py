"""The commands that need the demo world: `demo`, `score`, `verify`. Each imports what it needs when it is run."""

import argparse
from typing import TYPE_CHECKING

from charaloom.cli.commands import configured

if TYPE_CHECKING:
    from charaloom.cli.commands import Subcommands


def add_commands(commands: "Subcommands") -> None:
    """Add the commands; `command` of their options is what runs them: it returns the exit code."""
    demo = commands.add_parser("demo", help="draw the demo world and build its characters")
    seeded(demo)
    demo.set_defaults(command=demo_command)

    score = commands.add_parser("score", help="build the demo and compare it with its ground truth")
    seeded(score)
    score.add_argument("--level", choices=("easy", "hard"), default="easy", help="how much like a real board (easy)")
    score.add_argument("--posts", type=int, metavar="N", help="of a character of a hard world (600)")
    score.add_argument("--curation", nargs="+", type=int, metavar="SEED", help="the filters alone, in these worlds")
    score.add_argument("--outfits", nargs="+", type=int, metavar="SEED", help="tags and outfits alone, in these worlds")
    score.add_argument("--previews", nargs="+", type=int, metavar="SEED", help="the previews alone, in these worlds")
    score.set_defaults(command=score_command)

    verify = commands.add_parser(
        "verify", help="train again from a published dataset and compare every byte; without one, a demo character"
    )
    verify.add_argument(
        "published",
        nargs="?",
        metavar="REPO@TAG",
        help="a published dataset on the hub of HF_ENDPOINT, or a folder with `dataset` and `model` in it; if none is "
        "given, a demo character is built twice",
    )
    verify.add_argument(
        "--model", metavar="REPO[@TAG]", help="the model's repository (default: named as the dataset's)"
    )
    verify.add_argument("--base", metavar="PATH", help="the base model, where `bases` of the config does not have it")
    configured(verify)
    seeded(verify)
    verify.set_defaults(command=verify_command)


def seeded(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, help="seed of the world; config/demo.yaml's if not given")


def demo_command(options: argparse.Namespace) -> int:
    from charaloom.demo.commands.demo import demo

    return demo(options.seed)


def score_command(options: argparse.Namespace) -> int:
    from functools import partial

    from charaloom.demo.commands.score import score, score_curation, score_outfits, score_previews
    from charaloom.demo.commands.world import prepare

    world_of = partial(prepare, level=options.level, posts=options.posts)
    if options.curation:
        return score_curation(options.curation, world_of)
    if options.previews:
        return score_previews(options.previews, world_of)
    return score_outfits(options.outfits, world_of) if options.outfits else score(options.seed, world_of)


def verify_command(options: argparse.Namespace) -> int:
    if options.published:
        from charaloom.cli.rebuild.verify import verify_published

        return verify_published(options.published, options.model, options.base, options.configfile)
    from charaloom.demo.commands.verify import verify

    return verify(options.seed)

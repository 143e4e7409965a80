"""The commands that need no demo world, from `init` to `refresh`. Each imports what it needs when it is run."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.stages import PASSES

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: "Subcommands") -> None:
    """Add the commands; `command` of their options is what runs them: it returns the exit code."""
    init = commands.add_parser("init", help="write a roster and a config of your own: asks for what its options lack")
    init.add_argument("character", nargs="?", help="the character's name on disk (default: that of the folder)")
    init.add_argument("--pictures", metavar="FOLDER", help="the folder of their pictures")
    init.add_argument("--base", help="the base model: a diffusers folder, a .safetensors file, or a name of `bases`")
    init.add_argument("--age", choices=["adult", "minor", "unknown"], help="(default: unknown)")
    init.add_argument("--trigger", help="the text that stands for the character in prompts")
    init.set_defaults(command=init_command)

    run = commands.add_parser(
        "run",
        help="check everything, then build what is due of everything the roster asks for, in slices",
        epilog="What stands behind -- is for Snakemake; settings belong into --configfile.",
    )
    run.add_argument("characters", nargs="*", metavar="CHARACTER", help="names of the roster; all, if none is given")
    configured(run)
    run.add_argument("--profile", default="local", help="a folder, or one of Charaloom's own: local (default), slurm")
    run.add_argument("--cores", type=positive, help="processor cores to use; the profile's number if not given")
    run.add_argument("--until", metavar="STAGE", choices=PASSES, help=f"stop after one of {', '.join(PASSES)}")
    run.add_argument(
        "--slice",
        type=positive,
        metavar="N",
        help="characters that are built together; 200 if not given, on a cluster 1,000",
    )
    run.add_argument(
        "--orphans",
        default="ask",
        choices=["ask", "cancel", "wait", "stop"],
        help="what to do about jobs that a killed run left on the cluster (default: ask; without a terminal: stop)",
    )
    run.set_defaults(command=run_command)

    check = commands.add_parser("check", help="find what is wrong with config, roster, bases, places and this machine")
    configured(check)
    check.add_argument("--profile", default="local", help="as for run: on a cluster this machine need not train")
    check.set_defaults(command=check_command)

    status = commands.add_parser("status", help="where every character stands, what failed and why: a table and a page")
    configured(status)
    status.add_argument("--needs", action="store_true", help="what each stage needed so far in time and memory")
    status.set_defaults(command=status_command)

    explain = commands.add_parser("explain", help="print the whole story of one picture: kept or dropped, and why")
    explain.add_argument("character", nargs="?", help="the character's name in the roster (default: whoever has it)")
    explain.add_argument(
        "picture", help="a file, its name, SHA-256 or its first six digits or more, post id, <site>:<post id>"
    )
    configured(explain)
    explain.set_defaults(command=explain_command)

    remove = commands.add_parser("remove", help="put posts, artists and pictures on the list of removals")
    remove.add_argument(
        "wanted",
        nargs="+",
        metavar="WHAT",
        help="a post's id or <site>:<post id>, an artist's tag, a picture's SHA-256, MD5 or file; `artist:NAME` for an "
        "artist whose name looks like one of these",
    )
    configured(remove)
    remove.set_defaults(command=remove_command)

    show = commands.add_parser("open", help="open a character's report in the browser, or the table of all")
    show.add_argument("character", nargs="?", help="the character's name in the roster")
    configured(show)
    show.set_defaults(command=open_command)

    models = commands.add_parser("models", help="pin the picture models that were fetched, by commit and SHA-256")
    models.add_argument("action", choices=["pin"], help="write my/models.yaml from what lies in the cache")
    configured(models)
    models.set_defaults(command=models_command)

    index = commands.add_parser("index", help="list all models on a page, and in a dataset for a hub")
    configured(index)
    index.set_defaults(command=index_command)

    civitai = commands.add_parser("civitai", help="make a folder to upload a model to Civitai by hand")
    civitai.add_argument("character", help="the character's name in the roster")
    configured(civitai)
    civitai.set_defaults(command=civitai_command)

    find = commands.add_parser("find", help="look a character up on the boards and add it to the roster")
    find.add_argument("name", help="the character's name, as people or boards write it")
    find.add_argument("--board", action="append", metavar="BOARD", help="only this board of the config; several times")
    find.add_argument("--series", help="a part of the tag, where boards know the name in several series")
    find.add_argument("--as", dest="character", metavar="NAME", help="the character's name in the roster")
    find.add_argument("--age", default="unknown", choices=["adult", "minor", "unknown"], help="(default: unknown)")
    find.add_argument("--dry-run", action="store_true", help="only show what there is and what a crawl would take")
    configured(find)
    find.set_defaults(command=find_command)

    refresh = commands.add_parser("refresh", help="ask the boards of a character again: what is new, changed, gone")
    refresh.add_argument("character", help="the character's name in the roster")
    configured(refresh)
    refresh.set_defaults(command=refresh_command)


def configured(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--configfile",
        nargs="+",
        type=Path,
        default=[],
        help="config files over config/config.yaml (default: my/config.yaml, where it is)",
    )


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def run_command(options: argparse.Namespace) -> int:
    from charaloom.cli.run import run
    from charaloom.cli.snakemake import Snakemake

    snakemake = Snakemake(options.configfile, options.profile, options.cores, extra=options.snakemake)
    names = list(dict.fromkeys(options.characters))
    return run(snakemake, until=options.until, orphans=options.orphans, size=options.slice, names=names)


def check_command(options: argparse.Namespace) -> int:
    from charaloom.cli.check.whole import check, summary
    from charaloom.cli.snakemake import Snakemake
    from charaloom.runtime.gpus import gpus
    from charaloom.training.memory import memory_report

    checked = check(Snakemake(options.configfile, options.profile))
    if checked.project and not checked.code:
        print("\n".join(memory_report(checked.project, gpus())[1]) + "\n")
    print("\n".join([*checked.reckoning.lines, summary(checked)]))
    return checked.code


def status_command(options: argparse.Namespace) -> int:
    from charaloom.cli.status import needs_table, status_table
    from charaloom.config.project import load_project
    from charaloom.pages.standing import Standings
    from charaloom.pages.status import write_status_page

    project = load_project(options.configfile)
    if options.needs:
        print(needs_table(Path(project.config["paths"]["work"]) / "benchmarks"))
        return 0
    standings = Standings(project)
    print(status_table(project, standings))
    print(f"The same as a page: {write_status_page(project, standings)}")
    return 0


def explain_command(options: argparse.Namespace) -> int:
    from charaloom.cli.pictures.explain import explain_picture

    return explain_picture(options.configfile, options.character, options.picture)


def remove_command(options: argparse.Namespace) -> int:
    from charaloom.cli.pictures.remove import remove

    for line in remove(options.configfile, options.wanted):
        print(line)
    return 0


def init_command(options: argparse.Namespace) -> int:
    from charaloom.cli.start.init import Wishes, init

    for line in init(Wishes(options.character, options.pictures, options.base, options.age, options.trigger)):
        print(line)
    return 0


def open_command(options: argparse.Namespace) -> int:
    from charaloom.cli.start.show import open_page
    from charaloom.config.project import load_project

    print(open_page(load_project(options.configfile), options.character))
    return 0


def models_command(options: argparse.Namespace) -> int:
    from charaloom.cli.start.pin import pin
    from charaloom.config.project import load_project

    print("\n".join(pin(load_project(options.configfile))))
    return 0


def index_command(options: argparse.Namespace) -> int:
    from charaloom.config.project import load_project
    from charaloom.publishing.index.pages import write_index
    from charaloom.publishing.index.rows import index_rows

    project = load_project(options.configfile)
    results = Path(project.config["paths"]["results"])
    rows = index_rows([(each.name, each.trigger) for each in project.characters.values()], results)
    print(f"{len(rows)} of {len(project.characters)} characters have a model:")
    print("\n".join(map(str, write_index(rows, results))))
    return 0


def civitai_command(options: argparse.Namespace) -> int:
    from charaloom.cli.start.civitai import civitai_folder
    from charaloom.config.project import load_project

    print(civitai_folder(load_project(options.configfile), options.character))
    return 0


def find_command(options: argparse.Namespace) -> int:
    from charaloom.config.layers import config_files, read_config
    from charaloom.config.project import open_project
    from charaloom.sources.find import report

    files = config_files(options.configfile)
    return report(open_project(read_config(files), files), options.name, options)


def refresh_command(options: argparse.Namespace) -> int:
    from charaloom.config.project import load_project
    from charaloom.sources.refresh import refresh

    changes = refresh(load_project(options.configfile), options.character)
    for board in changes:
        print(board)
    if not changes:
        print(f"{options.character}: has no board to ask; files of your own are looked at in each run")
    elif any(changes):
        print("Run `charaloom run` to build on it.")
    return 0

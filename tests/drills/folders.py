"""Run `charaloom run` up to `clustered` over folders and config files of odd things: each ends built or refused.

    make drill-folders [ARGS="--examples 2000 --seed 7 --characters 60 --keep /tmp/folders"]

To reach (issue 16): 2,000 examples of file names, bytes of pictures, side files, irregular files and YAML values; no
traceback, no character stuck. Prints the seed, every kind of refusal with one example, and exits with 1 where something
went wrong. An example is one odd thing; `tests/random_folders.py` draws them and says what a character has besides.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import chdir
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from tests.random_folders import (  # noqa: E402
    UNTIL,
    Person,
    ending,
    people,
    refused_at_the_start,
    write_people,
    write_project,
)
from tests.workflow.workplace import Workplace  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--characters", type=int, default=60, help="of one run")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--keep", type=Path, help="a folder to leave the project of each run with a failure in")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    endings, kinds, wrong = Counter[str](), Counter[str](), 0
    examples, run = 0, 0
    while examples < arguments.examples:
        chosen = people(arguments.characters, arguments.seed + run)
        examples += sum(len(person.odd) for person in chosen)
        wrong += one_run(chosen, run, endings, kinds, arguments.keep)
        run += 1
        print(f"{examples:,} examples, {sum(endings.values())} characters: {dict(endings)}", flush=True)
    for kind, number in kinds.most_common():
        print(f"{number:5}  {kind}")
    return 1 if wrong else 0


def one_run(chosen: list[Person], number: int, endings: Counter[str], kinds: Counter[str], keep: Path | None) -> int:
    """Run these characters, count how they ended and why; how many ended wrong."""
    folder = Path(tempfile.mkdtemp(prefix="charaloom-drill-"))
    write_project(folder)
    by_name = write_people(folder, chosen)
    place = Workplace(folder)
    begun = time.monotonic()
    with chdir(folder):
        refused = refused_at_the_start(folder, list(by_name))
    result = place.charaloom("run", "--cores", "2", "--until", UNTIL)
    print(f"run {number}: {time.monotonic() - begun:.0f} s, exit code {result.returncode}", flush=True)
    wrong = 0
    for name, person in by_name.items():
        with chdir(folder):
            how, why = ending(folder, name, result.stdout)
        endings[how] += 1
        for reason in (why, refused.get(name, "")):
            if reason:
                kinds[f"{how}: {general(reason, name)}"] += 1
        if how == "wrong":
            wrong += 1
            print(f"WRONG {name}: {why}\n    {person!r:.400}", flush=True)
    if wrong or result.returncode not in (0, 1):
        print(result.stdout[-3000:])
    if wrong and keep:
        subprocess.run(["cp", "-a", str(folder), str(keep / f"run-{number}")], check=True)
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    return wrong


def general(reason: str, name: str) -> str:
    """A reason without what differs from character to character."""
    return re.sub(r"\d+(\.\d+)?", "#", reason.replace(name, "<name>"))[:160]


if __name__ == "__main__":
    sys.exit(main())

"""`charaloom verify <repo>@<tag>`: are the published files those of the tag, and does a training from the published
dataset give the published weights, byte by byte?"""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.cli.rebuild.comparison import Compared, compared
from charaloom.cli.rebuild.repositories import facts_of, opened
from charaloom.cli.rebuild.training import base_here, train_again
from charaloom.cli.text import table
from charaloom.config.layers import config_files, read_config
from charaloom.config.project import meant_config
from charaloom.publishing.layout import CHECKPOINTS

DIGITS = 12  # of a SHA-256, in the table


def verify_published(what: str, model: str | None, base: str | None, overlays: Iterable[PathLike]) -> int:
    """Print what was compared; 0 where every byte that a training decides agrees.

    `model` names the model's repository where it is not called like the dataset's, `base` the place of the base model,
    `overlays` the config files that know it otherwise. Raises CharaloomError where nothing can be compared.
    """
    started = time.monotonic()
    config = meant_config(read_config(config_files(overlays)))
    work = Path(config["paths"]["work"])
    dataset, trained = opened(what, model, work / "hub")
    facts = facts_of(dataset)
    states = [repository.whole() for repository in (dataset, trained)]
    print("\n".join(line for _, line in states), flush=True)
    character, params = facts["roster"]["character"], facts["checkpoints"]["params"]
    entry = base_here(params["base"], base, config)
    steps = [int(folder.name) for folder in (trained.folder / CHECKPOINTS).iterdir() if folder.name.isdecimal()]
    print(f"{character}: trains again on {params['base'].get('name')}; log: {work}/verify/{character}/checkpoints.log")
    made, unlike = train_again(facts, dataset.folder, entry, steps, work)
    judged = bool(params.get("early_stopping"))
    rows = compared(trained.folder, made, character, int(facts["chosen"]), judged)
    print(shown(rows))
    different = [row for row in rows if not row.equal]
    for row in different:
        print(f"different: {row.file}: {row.where}")
    for line in unlike:
        print(f"not as it was then: {line}")
    numbers = {"files": len(rows), "equal": len(rows) - len(different), "different": [row.file for row in different]}
    whole = all(good for good, _ in states)
    print(json.dumps({**numbers, "as_tagged": whole, "seconds": round(time.monotonic() - started, 1)}))
    return 0 if whole and rows and not different else 1


def shown(rows: list[Compared]) -> str:
    """One line for each file."""
    cells = [
        {
            "file": row.file,
            "published": row.published and row.published[:DIGITS],
            "trained again": row.rebuilt and row.rebuilt[:DIGITS],
            "": "equal" if row.equal else "DIFFERENT",
        }
        for row in rows
    ]
    return table(cells, ("file", "published", "trained again", ""))

"""What a dataset repository says, so that another machine trains the same model from it: `charaloom.json`.

It holds the character's row of the roster and the lineage of the checkpoints: settings, software, digest of the base
model, digest of what was trained on. It is added where the repository is published and not where it is made, since it
changes with every setting of the training, which the pictures do not.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from charaloom import __version__
from charaloom.artifacts.files import files_below, mend_folder, private_folder, read_json, write_json
from charaloom.artifacts.types import Row
from charaloom.publishing.layout import LINEAGE, REBUILD

SCHEMA = 1
STAGED = "dataset_to_publish"  # beside the dataset, while it is published


def rebuild_facts(model: Path, roster: Mapping[str, Any]) -> Row:
    """The content of `charaloom.json`; `model`: folder of the model that was trained on the dataset."""
    return {
        "schema": SCHEMA,
        "charaloom": __version__,
        "roster": dict(roster),
        "checkpoints": read_json(model / LINEAGE),
        "chosen": read_json(model / "selection.json")["step"],
    }


@contextmanager
def rebuildable(dataset: Path, model: Path, roster: Mapping[str, Any]) -> Iterator[Path]:
    """A folder with the dataset's files and `charaloom.json`, as long as it is published: links, no copies, where the
    file system has them."""
    target = dataset.with_name(STAGED)
    mend_folder(target)  # what a killed publication left
    folder, handle = private_folder(target)
    try:
        for name in files_below(dataset):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            linked(dataset / name, folder / name)
        write_json(folder / REBUILD, rebuild_facts(model, roster))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def linked(source: Path, target: Path) -> None:
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)

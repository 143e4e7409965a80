"""The training pictures as kohya's trainers read them: folders named `<repeats>_<trigger>`, a caption beside each."""

from collections.abc import Iterable
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from charaloom.artifacts.files import whole_file
from charaloom.artifacts.types import Row
from charaloom.publishing.layout import kohya_folder

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold: no clock reaches the file
UNIX = 3  # system that the modes are of
MODE = 0o100644 << 16  # a file that everybody may read


def write_kohya(path: Path, rows: Iterable[Row], trigger: str) -> None:
    """Write the zip: the same rows give the same bytes. Pictures are compressed already, so nothing is again.

    `rows`: of the training split, with image, caption and repeats. A view's caption has the name of its picture.
    """
    with whole_file(path) as part, ZipFile(part, "w", ZIP_STORED) as archive:
        for row in rows:
            folder = f"{row['repeats']}_{kohya_folder(trigger)}"
            name = Path(row["image"]["path"])
            add(archive, f"{folder}/{name}", row["image"]["bytes"])
            add(archive, f"{folder}/{name.with_suffix('.txt')}", row["caption"].encode())


def add(archive: ZipFile, name: str, content: bytes) -> None:
    entry = ZipInfo(name, EPOCH)
    entry.create_system, entry.external_attr = UNIX, MODE
    archive.writestr(entry, content)

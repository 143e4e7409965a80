"""What the trainer reads: pictures, captions, triggers and core tags, written once into the working directory.

Tags come from strangers, so they go into JSON files and never into the trainer's config, which is code.
"""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from charaloom.artifacts.files import whole_folder, write_json
from charaloom.artifacts.types import Row
from charaloom.config.roster import GENERAL
from charaloom.errors import CharaloomError
from charaloom.images.decoding import Limits, open_picture
from charaloom.sources.folders.reader import FolderSource, log_files
from charaloom.sources.posts import Rules
from charaloom.sources.raw import examine
from charaloom.tagging.captions import SEPARATOR, as_words

PICTURE_SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


def prepare(workdir: Path, dataset: Path, outfits: Row, regularisation: str | None = None) -> None:
    """Write `workdir`/inputs whole, once; a picture that an epoch repeats is there under as many names.

    `dataset` is the dataset's folder, `outfits` the content of outfits.json, `regularisation` a folder of pictures.
    Raises CharaloomError where a folder holds no picture, or one cannot be read.
    """
    if (workdir / "inputs").is_dir():
        return
    remove_parts(workdir / "inputs")
    with whole_folder(workdir / "inputs") as part:
        (part / "pictures").mkdir()
        captions: dict[str, str] = {}
        tags = []
        for row in training_rows(dataset):
            for _ in range(row["repeats"]):
                name = f"{len(captions):06d}.{picture_suffix(row['image'])}"
                (part / "pictures" / name).write_bytes(row["image"]["bytes"])
                captions[name] = row["caption"]
            tags.append(row["tags"])
        if not captions:
            raise CharaloomError(f"{dataset}: no training picture; loosen the filters or fetch more pictures")
        write_json(part / "pictures.json", captions)
        write_json(part / "tags.json", tags)
        write_json(part / "triggers.json", triggers_of(outfits))
        write_json(part / "core.json", core_words(outfits))
        if regularisation:
            prepare_regularisation(part, Path(regularisation))


def triggers_of(outfits: Row) -> list[str]:
    """The character's trigger and those of the trained outfits: words that no tag dropout leaves out."""
    return [outfits["trigger"], *(outfit["trigger"] for outfit in outfits["outfits"] if outfit["trained"])]


def core_words(outfits: Row) -> list[str]:
    return [as_words(tag) for tag in outfits["core"]]


def prepare_regularisation(part: Path, folder: Path) -> None:
    """The user's regularisation pictures with their captions, in the order of their SHA-256, as people see them."""
    source = FolderSource(folder, Rules(frozenset({GENERAL}), Limits()), "training.regularisation")
    examined = {picture.key: picture for picture in (examine(entry, source.rules) for entry in source.list_posts())}
    pictures = [picture for _, picture in sorted(examined.items()) if picture.problem is None and picture.file]
    refused = [(picture.posts[0]["post_id"], picture.problem) for picture in examined.values() if picture.problem]
    log_files("regularisation", [*source.report.unused, *refused], source.report.remarks)
    if not pictures:
        raise CharaloomError(
            f"{folder}: no pictures to regularise with ({len(refused)} cannot be used; the log names them); "
            "training.regularisation names their folder"
        )
    (part / "regularisation").mkdir()
    captions = {}
    for number, picture in enumerate(pictures):
        assert picture.file is not None
        title = f"{number:06d}.png"
        open_picture(picture.file.read_bytes()).save(part / "regularisation" / title, "PNG", compress_level=1)
        captions[title] = SEPARATOR.join(map(as_words, picture.posts[0]["tags_general"]))
    write_json(part / "regularisation.json", captions)


def remove_parts(folder: Path) -> None:
    """Remove what a killed run left of `folder` beside it; only under the lock, where nobody else writes it."""
    for part in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(part, ignore_errors=True)


def training_rows(dataset: Path) -> Iterator[Row]:
    """Rows of the training split, a few at a time."""
    for shard in sorted((dataset / "data").glob("train-*.parquet")):
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=16, columns=["image", "caption", "tags", "repeats"]):
            yield from batch.to_pylist()


def picture_suffix(image: Row) -> str:
    """File ending by content: the trainer opens whatever the ending says."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image["bytes"]), formats=list(PICTURE_SUFFIX)) as picture:
            return PICTURE_SUFFIX[picture.format]
    except OSError as error:
        raise CharaloomError(f"picture {image['path']}: not readable ({error}); mend or remove it") from error

"""What the trainer reads: pictures, captions, triggers and core tags, written once into the working directory.

Tags come from strangers, so they go into JSON files and never into the trainer's config, which is code.
"""

import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from charaloom.artifacts.files import whole_folder, write_json
from charaloom.artifacts.sealed import remove_damaged, seal_folder
from charaloom.artifacts.tables import picture_shards
from charaloom.artifacts.types import Row
from charaloom.config.params import Training
from charaloom.config.roster import GENERAL
from charaloom.diffusion.bases import LocalBase
from charaloom.errors import CharaloomError
from charaloom.images.decoding import Limits, open_picture
from charaloom.sources.folders.reader import FolderSource, log_files
from charaloom.sources.posts import Rules
from charaloom.sources.raw import examine
from charaloom.tagging.captions import SEPARATOR, as_words
from charaloom.training.caption_lengths import CaptionLimit

if TYPE_CHECKING:
    from PIL import Image

MASKED = ("masked", "opacity")  # columns of what does not train
PICTURE_SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


@dataclass
class LeftOut:
    """What was left out of captions because they were too long."""

    captions: int = 0  # shortened
    tags: int = 0

    def add(self, tags: int) -> None:
        self.captions += tags > 0
        self.tags += tags


def prepare(workdir: Path, dataset: Path, outfits: Row, params: Training, base: LocalBase, least: int = 1) -> None:
    """Write `workdir`/inputs whole, once; a picture that an epoch repeats is there under as many names.

    `dataset` is the dataset's folder, `outfits` the content of outfits.json, `least` the shortest side of a bucket in
    pixels. Pictures with a shorter side are left out and named. Raises CharaloomError where a folder holds no picture
    that is left, one cannot be read, or the triggers alone are longer than a caption may be.
    """
    remove_damaged(workdir / "inputs")
    if (workdir / "inputs").is_dir():
        return
    remove_parts(workdir / "inputs")
    limit, left_out = CaptionLimit.of(params, base), LeftOut()
    triggers = triggers_of(outfits)
    with whole_folder(workdir / "inputs") as part:
        (part / "pictures").mkdir()
        captions: dict[str, str] = {}
        tags, small = [], []
        for row in training_rows(dataset, MASKED if params.masked_loss else ()):
            suffix, side = suffix_and_short_side(row["image"])
            if side < least:
                small.append(row["image"]["path"])
                continue
            mask = mask_of(row) if params.masked_loss else None
            caption, dropped = limit.fitted(row["caption"], triggers)
            left_out.add(dropped)
            for _ in range(row["repeats"]):
                name = f"{len(captions):06d}.{suffix}"
                (part / "pictures" / name).write_bytes(row["image"]["bytes"])
                captions[name] = caption
                if mask:
                    (part / "masks").mkdir(exist_ok=True)
                    mask.save(part / "masks" / f"{name}.png")
            tags.append(row["tags"])
        if not captions:
            too_small = f"; {len(small)} have a side below {least} pixels" if small else ""
            raise CharaloomError(
                f"{dataset}: no training picture{too_small}; loosen the filters or fetch more pictures"
            )
        report_small(small, least)
        write_json(part / "pictures.json", captions)
        write_json(part / "tags.json", tags)
        write_json(part / "triggers.json", triggers)
        write_json(part / "quality.json", {"prefix": base.entry.prefix, "suffix": base.entry.suffix})
        write_json(part / "core.json", core_words(outfits))
        if params.regularisation:
            prepare_regularisation(part, Path(params.regularisation), limit, left_out, least)
        write_json(part / "left_out.json", asdict(left_out))
        seal_folder(part)
    if left_out.tags:
        print(
            f"{left_out.captions} captions are longer than training.caption_tokens ({params.caption_tokens}):"
            f" {left_out.tags} tags at their ends are left out",
            file=sys.stderr,
        )


def triggers_of(outfits: Row) -> list[str]:
    """The character's trigger and those of the trained outfits: words that no tag dropout leaves out."""
    return [outfits["trigger"], *(outfit["trigger"] for outfit in outfits["outfits"] if outfit["trained"])]


def core_words(outfits: Row) -> list[str]:
    return [as_words(tag) for tag in outfits["core"]]


def report_small(names: list[str], least: int) -> None:
    """Name the pictures that are left out, in the log."""
    if names:
        print(f"left out, a side is below {least} pixels and nothing is enlarged: {', '.join(names)}", file=sys.stderr)


def prepare_regularisation(part: Path, folder: Path, limit: CaptionLimit, left_out: LeftOut, least: int) -> None:
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
    captions, small = {}, []
    for number, picture in enumerate(pictures):
        assert picture.file is not None
        opened = open_picture(picture.file.read_bytes())
        if min(opened.size) < least:
            small.append(picture.posts[0]["post_id"])
            continue
        title = f"{number:06d}.png"
        opened.save(part / "regularisation" / title, "PNG", compress_level=1)
        words = SEPARATOR.join(map(as_words, picture.posts[0]["tags_general"]))
        captions[title], dropped = limit.fitted(words, ())
        left_out.add(dropped)
    if not captions:
        raise CharaloomError(
            f"{folder}: every regularisation picture has a side below {least} pixels; take larger ones"
        )
    report_small(small, least)
    write_json(part / "regularisation.json", captions)


def remove_parts(folder: Path) -> None:
    """Remove what a killed run left of `folder` beside it; only under the lock, where nobody else writes it."""
    for part in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(part, ignore_errors=True)


def training_rows(dataset: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of the training split, a few at a time; `columns` besides those that every training reads."""
    names = ["image", "caption", "tags", "repeats", *columns]
    for shard in picture_shards(dataset, "train"):
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=16, columns=names):
            yield from batch.to_pylist()


def mask_of(row: Row) -> "Image.Image | None":
    """Grey, of the picture's size: 0 where it does not train, 255 where it does; None where all of it trains."""
    from PIL import Image

    if not row["masked"] and not row["opacity"]:
        return None
    with Image.open(io.BytesIO((row["opacity"] or row["image"])["bytes"])) as image:
        mask = image.convert("L") if row["opacity"] else Image.new("L", image.size, 255)
    for masked in row["masked"] or []:
        mask.paste(0, tuple(masked["box"]))
    return mask


def suffix_and_short_side(image: Row) -> tuple[str, int]:
    """File ending by content, for the trainer opens whatever the ending says; pixels of the short side."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image["bytes"]), formats=list(PICTURE_SUFFIX)) as picture:
            return PICTURE_SUFFIX[picture.format], min(picture.size)
    except OSError as error:
        raise CharaloomError(f"picture {image['path']}: not readable ({error}); mend or remove it") from error

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

from charaloom.artifacts.files import sha256_file, whole_folder, write_json
from charaloom.artifacts.types import Row
from charaloom.config.params import Training
from charaloom.diffusion.bases import LocalBase
from charaloom.errors import CharaloomError
from charaloom.images.files import EXTENSIONS, files_of
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


def prepare(workdir: Path, dataset: Path, outfits: Row, params: Training, base: LocalBase) -> None:
    """Write `workdir`/inputs whole, once; a picture that an epoch repeats is there under as many names.

    `dataset` is the dataset's folder, `outfits` the content of outfits.json. Raises CharaloomError where a folder holds
    no picture, one cannot be read, or the triggers alone are longer than a caption may be.
    """
    if (workdir / "inputs").is_dir():
        return
    remove_parts(workdir / "inputs")
    limit, left_out = CaptionLimit.of(params, base), LeftOut()
    triggers = triggers_of(outfits)
    with whole_folder(workdir / "inputs") as part:
        (part / "pictures").mkdir()
        captions: dict[str, str] = {}
        tags = []
        for row in training_rows(dataset, MASKED if params.masked_loss else ()):
            mask = mask_of(row) if params.masked_loss else None
            caption, dropped = limit.fitted(row["caption"], triggers)
            left_out.add(dropped)
            for _ in range(row["repeats"]):
                name = f"{len(captions):06d}.{picture_suffix(row['image'])}"
                (part / "pictures" / name).write_bytes(row["image"]["bytes"])
                captions[name] = caption
                if mask:
                    (part / "masks").mkdir(exist_ok=True)
                    mask.save(part / "masks" / f"{name}.png")
            tags.append(row["tags"])
        if not captions:
            raise CharaloomError(f"{dataset}: no training picture; loosen the filters or fetch more pictures")
        write_json(part / "pictures.json", captions)
        write_json(part / "tags.json", tags)
        write_json(part / "triggers.json", triggers)
        write_json(part / "quality.json", {"prefix": base.entry.prefix, "suffix": base.entry.suffix})
        write_json(part / "core.json", core_words(outfits))
        if params.regularisation:
            prepare_regularisation(part, Path(params.regularisation), limit, left_out)
        write_json(part / "left_out.json", asdict(left_out))
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


def prepare_regularisation(part: Path, folder: Path, limit: CaptionLimit, left_out: LeftOut) -> None:
    """The user's regularisation pictures with the captions beside them (.txt), in the order of their SHA-256."""
    pictures = {}
    for name in files_of(folder):
        path = folder / name
        if path.suffix.lower() in EXTENSIONS:
            pictures[sha256_file(path)] = (path, caption_beside(path))
    if not pictures:
        raise CharaloomError(f"{folder}: no pictures to regularise with; training.regularisation names their folder")
    (part / "regularisation").mkdir()
    captions = {}
    for number, (_, (path, caption)) in enumerate(sorted(pictures.items())):
        content = path.read_bytes()
        title = f"{number:06d}.{picture_suffix({'bytes': content, 'path': str(path)})}"
        (part / "regularisation" / title).write_bytes(content)
        captions[title], dropped = limit.fitted(caption, ())
        left_out.add(dropped)
    write_json(part / "regularisation.json", captions)


def caption_beside(picture: Path) -> str:
    """The words of the .txt file beside a picture, separated as in all captions; empty where there is none."""
    side = picture.with_suffix(".txt")
    text = " ".join(side.read_text(encoding="utf-8-sig").split()) if side.exists() else ""
    return SEPARATOR.join(word.strip() for word in text.split(",") if word.strip())


def remove_parts(folder: Path) -> None:
    """Remove what a killed run left of `folder` beside it; only under the lock, where nobody else writes it."""
    for part in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(part, ignore_errors=True)


def training_rows(dataset: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of the training split, a few at a time; `columns` besides those that every training reads."""
    names = ["image", "caption", "tags", "repeats", *columns]
    for shard in sorted((dataset / "data").glob("train-*.parquet")):
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


def picture_suffix(image: Row) -> str:
    """File ending by content: the trainer opens whatever the ending says."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image["bytes"]), formats=list(PICTURE_SUFFIX)) as picture:
            return PICTURE_SUFFIX[picture.format]
    except OSError as error:
        raise CharaloomError(f"picture {image['path']}: not readable ({error}); mend or remove it") from error

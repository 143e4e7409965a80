"""Renders, judges and keeps batches."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.files import digest, read_json, sha256_file, whole_folder, write_json
from charaloom.artifacts.types import Row
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.generation import generation_texts, png
from charaloom.diffusion.pipelines import (
    Checkpoint,
    Easel,
    embedding_word,
    positive,
)
from charaloom.errors import CharaloomError
from charaloom.evaluation.batches import DRAWING, Batch, parcels, without_path
from charaloom.evaluation.judge import Asked, Judge
from charaloom.evaluation.prompts import Prompt

if TYPE_CHECKING:
    from PIL import Image

BLANK = (128, 128, 128)


class Studio:
    """Draws, judges and keeps batches; one base is open at a time, and one whose pictures are there is never opened."""

    def __init__(
        self,
        character: str,
        params: Row,
        store: Path,
        judge: Judge,
        local: dict[str, LocalBase],
        judged_by: list[str],
    ):
        self.character, self.params, self.store, self.judge = character, params, store, judge
        self.local, self.judged_by = local, judged_by
        self.place = {base["name"]: index for index, base in enumerate(params["bases"])}
        self.opened: tuple[str, Easel] | None = None
        self.progress = Progress(character)

    def batches(
        self, base: Row, checkpoint: Checkpoint, prompts: list[Prompt], number: int | None = None
    ) -> list[Batch]:
        """The batches of one checkpoint on one base; their make-up depends on nothing that a restart changes."""
        drawing = {key: self.params[key] for key in ("version", *DRAWING)}
        loaded = [sha256_file(path) if path else None for path in (checkpoint.lora, checkpoint.embedding)]
        name = [checkpoint.name, checkpoint.folder, checkpoint.weight, number]
        found = []
        for asked in parcels(prompts, self.params["batch"]):
            told = [self.character, drawing, without_path(base), name, loaded, [asdict(one) for one in asked]]
            key = digest([*told, self.judged_by])[:32]
            found.append(Batch(base, checkpoint, asked, number, key))
        return found

    def draw(self, batches: list[Batch]) -> None:
        """Draw the batches that the store does not hold yet."""
        missing = [batch for batch in batches if not (self.store / batch.key / "rows.json").exists()]
        self.progress.expect(batches, missing)
        for batch in missing:
            pictures = self.easel(batch.base).draw(
                batch.checkpoint,
                [prompt.text for prompt in batch.prompts],
                [prompt.seed for prompt in batch.prompts],
                self.params,
            )
            self.keep(batch, pictures)
            self.progress.advance(len(batch.prompts))

    def easel(self, base: Row) -> Easel:
        if self.opened is None or self.opened[0] != base["name"]:
            self.opened = None  # so that two bases never lie in memory together
            folder = self.local[base["name"]].folder
            self.opened = base["name"], Easel(folder, base["family"], base["clip_skip"], self.params["threads"])
        return self.opened[1]

    def keep(self, batch: Batch, pictures: list["Image.Image"]) -> None:
        """Judge and store the pictures of a batch; one rated above the allowed rating is never written."""
        judged = self.judge.judged(pictures, [Asked(prompt.outfit, prompt.asked) for prompt in batch.prompts])
        rows = []
        with whole_folder(self.store / batch.key) as part:
            for prompt, picture, measures in zip(batch.prompts, pictures, judged, strict=True):
                tile = picture if measures["kept"] else blank(picture.size)
                texts = generation_texts(
                    self.character, prompt.text, prompt.seed, batch.checkpoint, batch.base, self.params
                )
                (part / prompt.file).write_bytes(png(tile, texts))
                rows.append({**self.facts(batch, prompt), **measures})
            write_json(part / "rows.json", rows)

    def facts(self, batch: Batch, prompt: Prompt) -> Row:
        """What is known of a picture before it is looked at."""
        checkpoint = batch.checkpoint
        return {
            "base": batch.base["name"],
            "checkpoint": checkpoint.name,
            "step": checkpoint.step,
            "weight": checkpoint.weight,
            "embedding": checkpoint.embedding is not None,
            "round": batch.round,
            "prompt_id": prompt.id,
            "kind": prompt.kind,
            "outfit": prompt.outfit,
            "prompt": positive(prompt.text, checkpoint, embedding_word(self.character)),
            "seed": prompt.seed,
            "file": batch.file(prompt),
        }

    def rows(self, batch: Batch) -> list[Row]:
        return read_json(self.store / batch.key / "rows.json")


def blank(size: tuple[int, int]) -> "Image.Image":
    """The tile that stands for a picture that was not kept."""
    from PIL import Image

    return Image.new("RGB", size, BLANK)


def copy_pictures(batches: list[Batch], store: Path, folder: Path) -> None:
    for batch in batches:
        for prompt in batch.prompts:
            target = folder / batch.file(prompt)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store / batch.key / prompt.file, target)


def forget_others(store: Path, wanted: set[str]) -> None:
    """Remove batches that the finished folder does not use, so that `work` does not grow with every config."""
    for path in store.iterdir():
        if path.is_dir() and path.name not in wanted:
            shutil.rmtree(path)


class Progress:
    """Lines for the log: pictures done, pictures a second, time left in this round."""

    def __init__(self, character: str) -> None:
        self.character, self.total, self.missing, self.done = character, 0, 0, 0
        self.began = time.monotonic()

    def expect(self, batches: list[Batch], missing: list[Batch]) -> None:
        asked, absent = (sum(len(batch.prompts) for batch in some) for some in (batches, missing))
        self.total += asked
        self.missing += absent
        if absent < asked:
            print(f"previews {self.character}: {asked - absent} of {asked} pictures are there from an earlier run")

    def advance(self, pictures: int) -> None:
        self.done += pictures
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        left = (self.missing - self.done) / rate
        done = self.total - self.missing + self.done
        print(f"previews {self.character}: {done}/{self.total} pictures, {rate:.2f}/s, {left:.0f} s left", flush=True)


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store of one character's previews: a second run on it stops at once."""
    from filelock import FileLock, Timeout

    store.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(store / ".lock", timeout=0):
            yield
    except Timeout:
        raise CharaloomError(f"{store}: another run draws here; wait for it or stop it") from None

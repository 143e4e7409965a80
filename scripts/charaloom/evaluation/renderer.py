"""Render, judge and store batches: a stored batch is whole, so a resumed run gives the bytes of an undisturbed one."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.files import read_json, whole_folder, write_json
from charaloom.artifacts.locks import locked
from charaloom.artifacts.sealed import remove_damaged, seal_folder
from charaloom.artifacts.types import Row
from charaloom.config.params import Base
from charaloom.config.roster import embedding_word
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import Checkpoint, positive
from charaloom.diffusion.generation import generation_texts, png
from charaloom.diffusion.pipelines import BasePipeline
from charaloom.evaluation.batches import Batch, ResolvedPreviews, batches_of
from charaloom.evaluation.judge import Judge
from charaloom.evaluation.prompts import Prompt

if TYPE_CHECKING:
    from PIL import Image

BLANK = (128, 128, 128)  # RGB of the tile in place of a withheld picture


class Renderer:
    """Renders batches into `store`. One base is in memory at a time; one whose batches are all stored is never opened.

    `local`: the bases by name. `judged_by`: digests of the files that `judge` reads.
    """

    def __init__(
        self,
        character: str,
        params: ResolvedPreviews,
        store: Path,
        judge: Judge,
        local: Mapping[str, LocalBase],
        judged_by: Sequence[str],
    ):
        self.character, self.params, self.store, self.judge = character, params, store, judge
        self.local, self.judged_by = local, judged_by
        self.place = {base.name: index for index, base in enumerate(params.bases)}
        self.opened: tuple[str, BasePipeline] | None = None
        self.progress = Progress(character)

    def batches(
        self, base: Base, checkpoint: Checkpoint, prompts: Sequence[Prompt], number: int | None = None
    ) -> list[Batch]:
        """The batches of one checkpoint on one base; `number`: the round, None outside the rounds."""
        return batches_of(self.character, self.params, base, checkpoint, prompts, number, self.judged_by)

    def render(self, batches: list[Batch]) -> None:
        """Render the batches that the store does not hold yet."""
        missing = [batch for batch in batches if not self.is_stored(batch)]
        self.progress.expect(batches, missing)
        for batch in missing:
            pictures = self.pipeline(batch.base).render(
                batch.checkpoint,
                [prompt.text for prompt in batch.prompts],
                [prompt.seed for prompt in batch.prompts],
                self.params,
            )
            self.keep(batch, pictures)
            self.progress.advance(len(batch.prompts))

    def is_stored(self, batch: Batch) -> bool:
        """Whether the store holds a batch whole; one that is damaged is removed."""
        remove_damaged(self.store / batch.key)
        return (self.store / batch.key).is_dir()

    def pipeline(self, base: Base) -> BasePipeline:
        if self.opened is None or self.opened[0] != base.name:
            self.opened = None  # so that two bases never lie in memory together
            self.opened = base.name, BasePipeline(self.local[base.name], self.params.threads, self.params.precision)
        return self.opened[1]

    def keep(self, batch: Batch, pictures: list["Image.Image"]) -> None:
        """Judge and store the pictures of a batch; one rated above the allowed rating is never written."""
        judged = self.judge.judged(pictures, [prompt.asked for prompt in batch.prompts])
        rows = []
        with whole_folder(self.store / batch.key) as part:
            for prompt, picture, measures in zip(batch.prompts, pictures, judged, strict=True):
                shown = picture if measures["kept"] else blank(picture.size)
                (part / prompt.file).write_bytes(png(shown, self.texts(batch, prompt)))
                rows.append({**self.facts(batch, prompt), **measures})
            write_json(part / "rows.json", rows)
            seal_folder(part)

    def texts(self, batch: Batch, prompt: Prompt) -> dict[str, str]:
        """The generation data of a picture, by PNG key."""
        base = self.local[batch.base.name]
        return generation_texts(self.character, prompt.text, prompt.seed, batch.checkpoint, base, self.params)

    def facts(self, batch: Batch, prompt: Prompt) -> Row:
        """The columns of `scores.parquet` that no model measures."""
        checkpoint = batch.checkpoint
        return {
            "base": batch.base.name,
            "checkpoint": checkpoint.name,
            "step": checkpoint.step,
            "weight": checkpoint.weight,
            "embedding": checkpoint.embedding is not None,
            "round": batch.round,
            "prompt_id": prompt.id,
            "kind": prompt.kind,
            "outfit": prompt.outfit,
            "prompt": positive(prompt.text, checkpoint, embedding_word(self.character), batch.base),
            "seed": prompt.seed,
            "file": batch.file(prompt),
        }

    def rows(self, batch: Batch) -> list[Row]:
        """The rows of a stored batch."""
        return read_json(self.store / batch.key / "rows.json")


def blank(size: tuple[int, int]) -> "Image.Image":
    """The tile in place of a withheld picture; `size` in pixels."""
    from PIL import Image

    return Image.new("RGB", size, BLANK)


def copy_pictures(batches: list[Batch], store: Path, folder: Path) -> None:
    """Copy the pictures of stored batches to `<base>/<checkpoint>/` below `folder`."""
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
    """Log lines: pictures done, pictures a second, seconds left in this round."""

    def __init__(self, character: str) -> None:
        self.character, self.total, self.missing, self.done = character, 0, 0, 0
        self.began = time.monotonic()

    def expect(self, batches: list[Batch], missing: list[Batch]) -> None:
        wanted, absent = (sum(len(batch.prompts) for batch in some) for some in (batches, missing))
        self.total += wanted
        self.missing += absent
        if absent < wanted:
            print(f"previews {self.character}: an earlier run rendered {wanted - absent} of {wanted} pictures")

    def advance(self, pictures: int) -> None:
        self.done += pictures
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        left = (self.missing - self.done) / rate
        done = self.total - self.missing + self.done
        print(f"previews {self.character}: {done}/{self.total} pictures, {rate:.2f}/s, {left:.0f} s left", flush=True)


def hold(store: Path) -> AbstractContextManager[int]:
    """Hold the store of one character's previews. Raises CharaloomError at once where another run holds it."""
    return locked(store / "lock", f"{store}: another run renders here; wait for it or stop it", 0.0)

"""The prompts of the previews: what every checkpoint renders on every base, from the same seeds."""

from dataclasses import dataclass

from charaloom.artifacts.files import read_json, safe_name
from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Previews
from charaloom.errors import CharaloomError
from charaloom.outfits.prompts import OUTFIT


@dataclass(frozen=True)
class Prompt:
    """One picture to render: the same prompt and seed on every checkpoint and base."""

    id: str
    kind: str
    outfit: str | None
    text: str
    seed: int
    asked: tuple[str, ...]  # tags that the picture should show

    @property
    def file(self) -> str:
        return f"{self.id}-{self.seed}.png"


def read_prompts(outfits: PathLike, character: str, params: Previews) -> list[Prompt]:
    """Prompts of `outfits.json` in the order of rendering: `scenes` of each outfit once, all others `seeds` times.

    Outfits take turns, each beginning with another scene, so that the first round sees all outfits and many scenes.
    Raises CharaloomError where there is no prompt.
    """
    turns: list[tuple[int, int, int, Prompt]] = []
    groups: dict[tuple[str, str | None], list[Row]] = {}
    for entry in read_json(outfits)["prompts"]:
        groups.setdefault((entry["kind"], entry.get("outfit")), []).append(entry)
    for place, ((kind, _), entries) in enumerate(groups.items()):
        scenes = entries[: params.scenes] if kind == OUTFIT else entries
        for index, entry in enumerate(scenes):
            for number in range(1 if kind == OUTFIT else params.seeds):
                turn = (index - place) % len(scenes)
                turns.append((number, turn, place, prompt_of(entry, character, params.seed, number)))
    if not turns:
        raise CharaloomError(
            f"{outfits}: no prompts to render. Lower clustered.minimum_support, or raise previews.scenes above 0."
        )
    return [prompt for *_, prompt in sorted(turns, key=lambda entry: entry[:3])]


def prompt_of(entry: Row, character: str, seed: int, number: int) -> Prompt:
    """The prompt of one entry of `outfits.json`; `number` counts its seeds."""
    own_seed = derive_seed(seed, character, f"preview/{entry['id']}/{number}")
    name = safe_name(entry["id"])
    return Prompt(name, entry["kind"], entry.get("outfit"), entry["text"], own_seed, tuple(entry["asked"]))

"""The gate: what may not be published is refused, picture by picture, with the rule that refuses it.

It trusts no earlier stage. It reads the repositories as they would be published, and knows besides them only the
policy: the character's age, the ratings that they may have, blocked tags, removals.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from charaloom.artifacts.files import files_below, read_json
from charaloom.artifacts.types import Row
from charaloom.config.params import Policy, Published
from charaloom.config.roster import ADULT, BOARD, FOLDER, KINDS, allowed_ratings
from charaloom.errors import CharaloomError
from charaloom.publishing.layout import OUTFITS, PREVIEWS
from charaloom.tagging.vocabulary import blocked_tags

CEILING = ("general", "sensitive")  # ratings that no config and no policy goes above
UNSAFE_SCORE = 0.5  # sum of r15 and r18, of the rating model, that neither picture nor preview may reach
SHA256 = re.compile("[0-9a-f]{64}")
OWN = frozenset(KINDS) - {BOARD}  # sites of posts that are files of the user's
BANNED = "banned_artist"  # Danbooru's tag of artists who asked to be left out
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif")
READ = ("picture", "tags", "outfit", "caption", "rating", "rating_model", "posts")  # columns of the shards
IMAGE = "image"  # column of a dataset that holds pictures, and not links alone
REFUSALS_NAMED = 20


@dataclass(frozen=True)
class Refusal:
    """Why something may not be published: the picture (or file), the rule, and what was found."""

    what: str
    rule: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: {self.rule}: {self.found}"


def refuse_dataset(character: str, dataset: Path, policy: Policy) -> None:
    """Raise CharaloomError where a dataset repository holds what may not be published."""
    stop(character, "dataset", dataset_refusals(dataset, policy))


def refuse_model(character: str, model: Path, policy: Policy) -> None:
    """Raise CharaloomError where a model repository holds what may not be published."""
    stop(character, "model", model_refusals(model, policy))


def refuse_publication(character: str, params: Published, dataset: Path, model: Path) -> None:
    """Raise CharaloomError where one of both repositories, or the place that they go to, is refused."""
    if params.policy is None:
        raise CharaloomError(f"{character}: no policy reached the stage `published`; run it by its rule")
    refuse_dataset(character, dataset, params.policy)
    refuse_model(character, model, params.policy)
    if params.target.kind != FOLDER and not params.private and not params.policy.public:
        stop(character, "dataset", public_refusals(dataset))


def public_refusals(dataset: Path) -> Iterator[Refusal]:
    """The pictures of a dataset, which only their artists may show to everybody."""
    for shard in sorted((dataset / "data").glob("*.parquet")):
        file = pq.ParquetFile(shard)
        if IMAGE in file.schema_arrow.names:
            for name in file.read(["picture"])["picture"].to_pylist():
                found = "its picture would be public: write `published.private: true` or `dataset.pictures: links`"
                yield Refusal(name, "public pictures", found)


def stop(character: str, kind: str, refusals: Iterable[Refusal]) -> None:
    found = list(refusals)
    if not found:
        return
    more = f"\n  and {len(found) - REFUSALS_NAMED} more" if len(found) > REFUSALS_NAMED else ""
    lines = "".join(f"\n  {refusal}" for refusal in found[:REFUSALS_NAMED])
    raise CharaloomError(
        f"{character}: the {kind} may not be published.{lines}{more}\nExclude these pictures in config/removals.yaml,"
        " or mend what the rule names (docs/publishing.md); config/policy.yaml says what is never published."
    )


# --- datasets


def dataset_refusals(dataset: Path, policy: Policy) -> Iterator[Refusal]:
    """What is wrong with a dataset: each row by its shard, and the outfits."""
    for shard in sorted((dataset / "data").glob("*.parquet")):
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=256, columns=list(READ)):
            for row in batch.to_pylist():
                yield from row_refusals(row, policy)
    if policy.blocked:
        outfits = read_json(dataset / OUTFITS)
        for outfit in outfits["outfits"]:
            worn = [outfit["name"], outfit["trigger"], *(entry["tag"] for entry in outfit["signature"])]
            yield from of_a_minor(f"outfit {outfit['name']}", worn, policy)
        yield from of_a_minor("core tags", outfits["core"], policy)
        for prompt in outfits["prompts"]:
            yield from of_a_minor(f"prompt {prompt['id']}", prompt["text"].split(","), policy)


def row_refusals(row: Row, policy: Policy) -> Iterator[Refusal]:
    """What is wrong with one row of a dataset."""
    name, posts = row["picture"] or "a picture without a hash", row["posts"] or []
    if not SHA256.fullmatch(row["picture"] or ""):
        yield Refusal(name, "provenance", "`picture` is no SHA-256")
    if not posts:
        yield Refusal(name, "provenance", "no post and no file of a folder")
    for post in posts:
        yield from post_refusals(name, post, policy)
    yield from rated(name, "rating", [row["rating"]], policy)
    yield from measured(name, row["rating_model"])
    listed = {text.lower() for text in policy.removed("pictures")}
    if {name.lower(), *(str(post["md5"]).lower() for post in posts)} & listed:
        yield Refusal(name, "removed", "the removals list this picture")
    worn = [*(row["tags"] or []), row["outfit"] or "", *(row["caption"] or "").split(",")]
    yield from of_a_minor(name, worn, policy)


def post_refusals(name: str, post: Row, policy: Policy) -> Iterator[Refusal]:
    """What is wrong with one post of a picture."""
    where = f"{post['site']}:{post['post_id']}"
    if not post["site"] or not post["post_id"]:
        yield Refusal(name, "provenance", "a post without its site or its number")
    elif post["site"] not in OWN and not (post["page_url"] or post["file_url"]):
        yield Refusal(name, "provenance", f"{where} has neither a page nor a file's address")
    yield from rated(name, where, [post["rating"]], policy)
    listed = {kind: {plain(text) for text in policy.removed(kind)} for kind in ("posts", "artists")}
    if {plain(where), plain(str(post["post_id"]))} & listed["posts"]:
        yield Refusal(name, "removed", f"the removals list {where}")
    for artist in post["artists"] or []:
        if plain(artist) in listed["artists"] | {BANNED}:
            yield Refusal(name, "banned artist", artist)


def rated(name: str, where: str, ratings: list[str | None], policy: Policy) -> Iterator[Refusal]:
    """Ratings above what the character may have; a source that gives none leaves it to the rating model."""
    allowed = set(allowed_ratings(policy.ratings, policy.age)) & set(CEILING)
    for rating in ratings:
        if rating is not None and rating not in allowed:
            yield Refusal(name, "rating", f"{where} is {rating}; allowed: {', '.join(sorted(allowed)) or 'none'}")


def measured(name: str, scores: Row | None) -> Iterator[Refusal]:
    """Scores {safe, r15, r18} of the rating model. What it has not seen is refused, too."""
    known = [score for key in ("safe", "r15", "r18") if (score := (scores or {}).get(key)) is not None]
    if scores is None or len(known) < 3 or not all(map(math.isfinite, known)):
        yield Refusal(name, "not rated", "no score of the rating model")
    elif scores["r15"] + scores["r18"] >= UNSAFE_SCORE:
        yield Refusal(name, "rating model", f"r15 and r18 reach {scores['r15'] + scores['r18']:.2f} of {UNSAFE_SCORE}")


def of_a_minor(name: str, tags: Iterable[str], policy: Policy) -> Iterator[Refusal]:
    """Blocked tags of a character who is not known to be an adult."""
    if policy.age == ADULT:
        return
    found = blocked_tags(map(bare, tags), map(plain, policy.blocked))
    if found:
        yield Refusal(name, "minor", f"{', '.join(sorted(found))}; the age in the roster is {policy.age}")


def plain(text: str) -> str:
    """A name as boards write it, whatever letters, case and spaces somebody gave it."""
    return re.sub(r"[\s_]+", "_", unicodedata.normalize("NFKC", text).casefold().strip())


def bare(text: str) -> str:
    """A tag of a prompt, without the parentheses and the weight around it."""
    return re.sub(r":[\d.]+$", "", plain(text).strip("()[]{}\\")).strip("()[]{}\\_")


# --- models


def model_refusals(model: Path, policy: Policy) -> Iterator[Refusal]:
    """What is wrong with the previews of a model: a picture that is not listed was not rated."""
    shown = read_json(model / PREVIEWS)["previews"]
    listed = {entry["file"] for entry in shown if entry["file"]}
    grids = {entry["in"] for entry in shown if entry["in"]}
    for path in map(str, files_below(model)):
        if path.lower().endswith(PICTURES) and path not in listed | grids:
            yield Refusal(path, "not rated", f"{PREVIEWS} does not list it")
    for entry in shown:
        name = entry["file"] or f"{entry['in']}, {entry['name']}"
        yield from measured(name, entry["rating"])
        yield from of_a_minor(name, [*entry["asked"], *entry["prompt"].split(",")], policy)

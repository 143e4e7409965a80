"""`charaloom remove`: put posts, artists and pictures on the list of removals, and say whom that concerns.

The next run takes them out of the downloads, of everything made of them, and of what was published, as a new version.
Listed by its bytes is every picture that a post or an artist stands for, and every copy of the same drawing, so that
they are known wherever they turn up. What was measured of them is forgotten at once, for characters share it.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import read_json, sha256_file
from charaloom.artifacts.types import Row
from charaloom.cli.text import counted
from charaloom.config.named_files import add_removals
from charaloom.config.project import Project, load_project
from charaloom.config.schemas import suggestion
from charaloom.pages.standing import results_of
from charaloom.vision.measured import forget

ARTIST = "artist:"  # before a name that looks like a post or a hash
HASH = re.compile("[0-9a-fA-F]{32}([0-9a-fA-F]{32})?")  # MD5 or SHA-256
POST = re.compile(r"[0-9]+|[\w.-]+:[^\s:]+")  # an id, bare or with its site
KINDS = ("posts", "artists", "pictures")
COLUMNS = ("site", "post_id", "md5", "artists", "tags_general")  # of a post
Listed = dict[str, set[str]]  # by KINDS


@dataclass(frozen=True)
class Concerned:
    """A character: the pictures that the list names, copies of them, and the targets that hold the character."""

    name: str
    pictures: list[str]
    copies: list[str]
    published: list[str]


def remove(overlays: list[Path], wanted: Sequence[str]) -> Iterator[str]:
    """Put on the list what `wanted` names; yields lines for the terminal. Raises CharaloomError for a broken list."""
    project = load_project(overlays)
    added = sorted_out(wanted)
    artists: set[str] = set()
    found = list(concerned(project, {kind: set(names) for kind, names in added.items()}, artists))
    pictures = sorted({picture for each in found for picture in (*each.pictures, *each.copies)})
    file = add_removals(project.config["removals"], {**added, "pictures": [*added["pictures"], *pictures]})
    forget(Path(project.config["paths"]["work"]) / "measured", pictures)
    yield f"{file}: lists {', '.join(name for names in added.values() for name in names)}"
    yield from map(told, found)
    for artist in added["artists"]:
        if artist not in artists:
            yield f"{artist}: no post of a character names this artist{suggestion(artist, artists)}"
    if found:
        yield f"Next: charaloom run {' '.join(each.name for each in found)}"
    else:
        yield "No picture of a character is concerned so far; what is fetched later is compared with the list, too."


def told(character: Concerned) -> str:
    copies = f" and {counted(len(character.copies), 'other file')} of them" if character.copies else ""
    where = f"; published to {', '.join(character.published)}" if character.published else ""
    return f"{character.name}: {counted(len(character.pictures), 'picture')}{copies}{where}"


def sorted_out(wanted: Sequence[str]) -> dict[str, list[str]]:
    """By the key of the list: a file or a hash is a picture, a number or `site:id` a post, anything else an artist."""
    added: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for word in dict.fromkeys(wanted):
        if Path(word).is_file():
            added["pictures"].append(sha256_file(word))
        elif HASH.fullmatch(word):
            added["pictures"].append(word.lower())
        elif word.startswith(ARTIST) or not POST.fullmatch(word):
            added["artists"].append(word.removeprefix(ARTIST).replace(" ", "_"))
        else:
            added["posts"].append(word)
    return added


def concerned(project: Project, listed: Listed, artists: set[str]) -> Iterator[Concerned]:
    """The characters with such pictures. `artists` takes up the names of all artists."""
    for name in project.characters:
        folder = results_of(project, name)
        pictures = []
        for row in read_pictures(folder / "raw.parquet", listed["pictures"]):
            posts = row["posts"] or []
            artists.update(artist for post in posts for artist in post["artists"] or [])
            if row["picture"].startswith("missing:"):
                continue
            if {row["picture"], row["md5"]} & listed["pictures"] or any(names_post(post, listed) for post in posts):
                pictures.append(row["picture"])
        if pictures:
            copies = copies_of(folder / "filtered.parquet", set(pictures))
            yield Concerned(name, pictures, copies, published_to(folder / "published"))


def names_post(post: Row, listed: Listed) -> bool:
    """Whether the list names a post: itself, its artist (boards without categories list all tags alike), its file."""
    names = {post["post_id"], f"{post['site']}:{post['post_id']}"}
    artists = {*(post["artists"] or []), *(post["tags_general"] or [])}
    return bool(names & listed["posts"] or artists & listed["artists"] or post["md5"] in listed["pictures"])


def read_pictures(raw: Path, hashes: set[str]) -> Iterator[Row]:
    """{picture, posts, md5}; nothing where the stage `raw` has not run. Bytes are read where an MD5 is looked for."""
    import pyarrow.parquet as pq

    if not raw.is_file():
        return
    digested = any(len(name) == hashlib.md5(usedforsecurity=False).digest_size * 2 for name in hashes)
    columns = ["picture", *(f"posts.list.element.{name}" for name in COLUMNS), *(["bytes"] if digested else [])]
    for batch in pq.ParquetFile(raw).iter_batches(batch_size=64, columns=columns):
        for row in batch.to_pylist():
            data = row.pop("bytes", None)
            yield {**row, "md5": hashlib.md5(data, usedforsecurity=False).hexdigest() if data else None}


def copies_of(filtered: Path, pictures: set[str]) -> list[str]:
    """Other pictures that the filters found to be the same drawing as one of these, or to contain it."""
    import pyarrow.parquet as pq

    if not filtered.is_file():
        return []
    rows = pq.read_table(filtered, columns=["picture", "duplicate_group"]).to_pylist()
    groups = {row["duplicate_group"] for row in rows if row["picture"] in pictures and row["duplicate_group"]}
    return sorted({row["picture"] for row in rows if row["duplicate_group"] in groups} - pictures)


def published_to(receipts: Path) -> list[str]:
    """Names of the targets that hold the character."""
    files = sorted(path for path in receipts.glob("*.json") if not path.name.endswith(".lineage.json"))
    return [path.stem for path in files if "withheld" not in read_json(path)]

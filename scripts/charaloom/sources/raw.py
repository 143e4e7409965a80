"""Stage `raw`: the pictures of a character as their source served them, and every post that each came from.

One row per picture (SHA-256 of its bytes). A post without a usable file has a row, too, that says why.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from charaloom.artifacts.files import digest, sha256_bytes, sha256_file, whole_file, write_json
from charaloom.artifacts.locks import locked
from charaloom.artifacts.manifest import lineage, write_facet, write_manifest
from charaloom.artifacts.tables import RAW, with_version
from charaloom.artifacts.types import PathLike
from charaloom.config.params import Origin, Raw
from charaloom.config.roster import BOARD
from charaloom.errors import CharaloomError
from charaloom.images.decoding import inspect
from charaloom.runtime.progress import Progress
from charaloom.sources.choice import Offer, gathered
from charaloom.sources.folders.reader import FolderReport, Reporting, files_list, log_files
from charaloom.sources.hub.repository import HubSource
from charaloom.sources.kinds import Machine, source_of, store_of
from charaloom.sources.posts import REMOVED, ListedPost, Rules, refused, rules_of

GROUP_ROWS = 16  # of the table: readers stream group by group
OF_FILES = ("folder", "archive", "video", "dataset")  # what stands for the site of a file of the user's
GROUP_BYTES = 32 * 2**20  # set by hand


@dataclass
class Picture:
    """A row of the table before its bytes are read: `file` is None where there are none to store."""

    key: str
    size: int | None = None
    format: str | None = None
    problem: str | None = None
    file: Path | None = None
    posts: list[dict[str, Any]] = field(default_factory=list)


def build_raw(
    character: str,
    params: Raw,
    table: PathLike,
    pictures_facet: PathLike,
    manifest: PathLike,
    machine: Machine,
) -> None:
    """Fetch or read the pictures of a character and write the table `raw`, its facet and its manifest.

    The facet names the pictures alone: what measuring reads, whatever their posts say. Beside the manifest,
    `raw.files.json` lists every file of a folder that was not used: no content, so no digest of it is compared.

    Each source has a store of its own, <work>/<character>/raw-<digest>, which survives a kill; a second run fetches
    nothing again. Raises CharaloomError where a source refuses or fails, or where
    fewer than `params.minimum` pictures are usable.
    """
    rules = rules_of(params)
    with ExitStack() as stack:
        offers = [opened(stack, character, params, origin, rules, machine) for origin in params.sources]
        posts, counts = gathered(offers, params, character)
        pictures = merged(examined(posts, rules, Progress(f"{character}: pictures looked at")))
        files = files_of(offers, pictures)
        log_files(character, files["unused"], files["remarks"])
        counts = {**counted(posts, pictures), **counts}
        require_enough(character, params.minimum, counts)
        recorded = lineage_params(params, rules, pictures) | commits_of(offers)
        write_pictures(table, pictures)
    write_facet(pictures_facet, [[picture.key, picture.problem] for picture in pictures])
    write_json(files_list(manifest), files)
    origin = lineage("raw", character, params.plain(), (), recorded)
    write_manifest(manifest, origin, {"table": table}, counts)


def opened(stack: ExitStack, character: str, params: Raw, origin: Origin, rules: Rules, machine: Machine) -> Offer:
    """A source of a character with its store, locked until `stack` ends."""
    folder = store_of(machine.work, character, origin)
    stack.enter_context(locked(folder / "lock", f"{folder}: waiting for another run that uses it"))
    progress = Progress(f"{character}: files from {origin.name or origin.kind}")
    return Offer(origin, source_of(params, origin, rules, folder, machine, progress))


def lineage_params(params: Raw, rules: Rules, pictures: list[Picture]) -> dict[str, Any]:
    """The params that mean something, and a digest of the pictures: a source is no declared input, but decides.

    Left out are the pace, this machine's paths, and removals, which for the most part name other characters' pictures.
    """
    passing = ("path", "content", "hub", "seconds_between_requests", "file_roots")
    plain = params.plain()
    sources = [{key: value for key, value in source.items() if key not in passing} for source in plain["sources"]]
    content = digest([[picture.key, picture.problem, picture.posts] for picture in pictures])
    own = {key: value for key, value in plain.items() if key not in ("sources", "removals")}
    return {**own, "ratings": sorted(rules.ratings), "sources": sources, "content": content}


def commits_of(offers: list[Offer]) -> dict[str, Any]:
    """The commits of the hub's repositories that the pictures came from."""
    commits = {offer.source.repo: offer.source.commit for offer in offers if isinstance(offer.source, HubSource)}
    return {"commits": commits} if commits else {}


# ---- pictures


def examined(posts: list[ListedPost], rules: Rules, progress: Progress) -> Iterator[Picture]:
    """One picture per post, its bytes read and judged, one in memory at a time."""
    for number, entry in enumerate(posts, 1):
        yield examine(entry, rules)
        progress(number, len(posts))


def examine(entry: ListedPost, rules: Rules) -> Picture:
    post = entry.post
    missing = f"missing:{post['site']}:{post['post_id']}"
    if entry.problem is not None or entry.file is None:
        return Picture(missing, problem=entry.problem or "no file: not sent", posts=[post])
    try:
        size = entry.file.stat().st_size
        if size > rules.limits.maximum_bytes:
            return Picture(sha256_file(entry.file), size, None, f"too large: {size} bytes", None, [post])
        data = entry.file.read_bytes()
    except OSError as error:
        return Picture(missing, problem=f"unreadable: {error.strerror}", posts=[post])
    key = sha256_bytes(data)
    if {key, hashlib.md5(data, usedforsecurity=False).hexdigest()} & rules.pictures:
        return Picture(missing, problem=REMOVED, posts=[refused(post, REMOVED).post])
    kind, problem = inspect(data, rules.limits)
    file = entry.file if kind else None  # bytes that are no picture are not kept
    return Picture(key, len(data), kind, problem, file, [post])


def merged(pictures: Iterable[Picture]) -> list[Picture]:
    """One row per picture, with all its posts, in the order of the table."""
    rows: dict[str, Picture] = {}
    for picture in pictures:
        row = rows.setdefault(picture.key, picture)
        if row is not picture:
            row.posts.extend(picture.posts)
    for row in rows.values():
        row.posts.sort(key=lambda post: (post["site"], post["post_id"]))
    return [rows[key] for key in sorted(rows)]


def counted(posts: list[ListedPost], pictures: list[Picture]) -> dict[str, Any]:
    problems = Counter(picture.problem.partition(":")[0] for picture in pictures if picture.problem)
    return {
        "posts": len(posts),
        "rows": len(pictures),
        "pictures": sum(picture.file is not None for picture in pictures),
        "usable": sum(picture.problem is None for picture in pictures),
        "problems": dict(sorted(problems.items())),
    }


def files_of(offers: list[Offer], pictures: list[Picture]) -> dict[str, Any]:
    """What became of the user's files: {pictures, captions, unused: [name, why], remarks: [name, what]}."""
    local = [offer.source for offer in offers if offer.origin.kind != BOARD]
    reports = [source.report for source in local if isinstance(source, Reporting)]
    usable = [picture for picture in pictures if picture.problem is None]
    captioned = sum(any(post["tags_general"] for post in picture.posts) for picture in usable)
    problems = [
        (post["post_id"], picture.problem)
        for picture in pictures
        for post in picture.posts
        if picture.problem and post["site"] in OF_FILES
    ]
    unused = [entry for report in reports for entry in report.unused]
    remarks = [entry for report in reports for entry in report.remarks]
    return FolderReport([*unused, *problems], remarks).plain(len(usable), captioned)


def require_enough(character: str, minimum: int, counts: dict[str, Any]) -> None:
    if counts["usable"] >= minimum:
        return
    problems = ", ".join(f"{problem} ({count})" for problem, count in counts["problems"].items()) or "no problems"
    raise CharaloomError(
        f"{character}: {counts['usable']} usable pictures, raw.minimum asks for {minimum}. The source has "
        f"{counts['posts']} posts: {problems}. Check the query, raise raw.limit, add pictures, or lower raw.minimum."
    )


# ---- table


def write_pictures(path: PathLike, pictures: list[Picture]) -> None:
    """Write the table in row groups of few rows, so that memory holds no more than one of them."""
    schema = with_version(RAW)
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": ["picture"]}
    with whole_file(path) as part, pq.ParquetWriter(part, schema, **options) as writer:
        for group in groups(pictures):
            rows = [row_of(picture) for picture in group]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=len(rows))


def groups(pictures: list[Picture]) -> Iterator[list[Picture]]:
    """Runs of at most GROUP_ROWS rows or about GROUP_BYTES bytes."""
    group: list[Picture] = []
    weight = 0
    for picture in pictures:
        size = picture.size if picture.file and picture.size else 0
        if group and (len(group) == GROUP_ROWS or weight + size > GROUP_BYTES):
            yield group
            group, weight = [], 0
        group.append(picture)
        weight += size
    if group:
        yield group


def row_of(picture: Picture) -> dict[str, Any]:
    data = picture.file.read_bytes() if picture.file else None
    if data is not None and sha256_bytes(data) != picture.key:
        raise CharaloomError(
            f"{picture.file}: changed while it was read. Run again when nothing writes to that folder."
        )
    return {
        "picture": picture.key,
        "bytes": data,
        "size": picture.size,
        "format": picture.format,
        "problem": picture.problem,
        "posts": picture.posts,
    }

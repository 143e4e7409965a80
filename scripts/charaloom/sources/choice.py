"""Which of the listed posts are fetched, where a character has several sources or more posts than are wanted.

Boards share `raw.limit` evenly; what one cannot fill falls to the others. A picture that two boards list with the same
MD5 is fetched from the first alone and keeps both posts.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from charaloom.artifacts.seeds import derive_seed
from charaloom.config.params import Origin, Raw
from charaloom.config.roster import BOARD
from charaloom.sources.posts import ListedPost
from charaloom.sources.source import Source


@dataclass(frozen=True)
class Offer:
    """A source, opened, and what the config says of it."""

    origin: Origin
    source: Source


def gathered(offers: list[Offer], params: Raw, character: str) -> tuple[list[ListedPost], dict[str, int]]:
    """The posts of all sources, with their files, and the numbers that only the sources know."""
    lists = [offer.source.list_posts() for offer in offers]
    shared = doubles(lists)
    seed = derive_seed(params.seed or 0, character, "posts")
    posts: list[ListedPost] = []
    files: dict[str, Path] = {}  # by MD5, of the boards' posts
    counts = {"not_chosen": 0}
    numbers = shares(offers, lists, shared, params.limit)
    for place, (offer, listed, most) in enumerate(zip(offers, lists, numbers, strict=True)):
        open_posts = [
            entry for entry in listed if entry.problem is None and (place, entry.post["post_id"]) not in shared
        ]
        taken = chosen(open_posts, most, params.sampling if offer.origin.kind == BOARD else None, seed)
        counts["not_chosen"] += len(open_posts) - len(taken)
        dropped = {entry.post["post_id"] for entry in open_posts} - taken
        kept = [entry for entry in listed if entry.post["post_id"] not in dropped]
        there = {entry.post["post_id"] for entry in kept if entry.problem is None and entry.post["md5"] in files}
        fetched = offer.source.fetch_files([entry for entry in kept if entry.post["post_id"] not in there])
        copies = [replace(entry, file=files[entry.post["md5"]]) for entry in kept if entry.post["post_id"] in there]
        files.update({entry.post["md5"]: entry.file for entry in fetched if entry.file and entry.post["md5"]})
        posts += [*fetched, *copies]
        for name, number in offer.source.counts().items():
            counts[name] = counts.get(name, 0) + number
    return posts, {name: number for name, number in counts.items() if number or name != "not_chosen"}


def doubles(lists: list[list[ListedPost]]) -> set[tuple[int, str]]:
    """(source, post id) of posts whose picture an earlier source lists, too, by MD5."""
    seen: set[str] = set()
    shared = set()
    for place, listed in enumerate(lists):
        fetchable = [entry.post for entry in listed if entry.problem is None and entry.post["md5"]]
        shared |= {(place, post["post_id"]) for post in fetchable if post["md5"] in seen}
        seen |= {post["md5"] for post in fetchable}
    return shared


def shares(offers: list[Offer], lists: list[list[ListedPost]], shared: set[tuple[int, str]], limit: int) -> list[int]:
    """How many pictures each source may give: its quota, and of the boards an even share of `limit`.

    The boards with the fewest pictures are served first, so that what they leave is divided among the rest.
    """
    most = []
    for place, (offer, listed) in enumerate(zip(offers, lists, strict=True)):
        there = sum(entry.problem is None and (place, entry.post["post_id"]) not in shared for entry in listed)
        most.append(there if offer.origin.quota is None else min(there, offer.origin.quota))
    boards = sorted((most[place], place) for place, offer in enumerate(offers) if offer.origin.kind == BOARD)
    for number, (there, place) in enumerate(boards):
        most[place] = min(there, math.ceil(limit / (len(boards) - number)))
        limit -= most[place]
    return most


def chosen(posts: list[ListedPost], most: int, sampling: Mapping[str, float] | None, seed: int) -> set[str]:
    """The ids of `most` of the posts: of a folder evenly spread, of a board the first listed, or sampled by rank.

    Sampled without replacement, the chance of a post being exp(sum of weight x rank): top keys of Gumbel noise
    (Efraimidis and Spirakis 2006). A post's noise depends on the seed and its id alone, so a longer list keeps most of
    what a shorter one chose.
    """
    if len(posts) <= most:
        return {entry.post["post_id"] for entry in posts}
    if sampling is None:
        return {posts[number * len(posts) // most].post["post_id"] for number in range(most)}
    if not any(sampling.values()):
        return {entry.post["post_id"] for entry in posts[:most]}
    ranks = {column: ranked(entry.post[column] for entry in posts) for column in COLUMNS.values()}
    keys = [
        sum(sampling.get(name, 0) * ranks[column][place] for name, column in COLUMNS.items()) + noise(entry, seed)
        for place, entry in enumerate(posts)
    ]
    best = sorted(range(len(posts)), key=lambda place: (-keys[place], posts[place].post["post_id"]))[:most]
    return {posts[place].post["post_id"] for place in best}


COLUMNS = {"score": "score", "favourites": "favourites", "date": "created"}


def ranked(values: Iterable[int | str | None]) -> list[float]:
    """Each value's rank from 0 to 1; half where it is missing, equal values share one."""
    listed = list(values)
    distinct = sorted({value for value in listed if value is not None})  # type: ignore[type-var]
    places = {value: number / max(1, len(distinct) - 1) for number, value in enumerate(distinct)}
    return [0.5 if value is None else places[value] for value in listed]


def noise(entry: ListedPost, seed: int) -> float:
    """Gumbel noise of one post."""
    name = f"{seed}/{entry.post['site']}:{entry.post['post_id']}"
    share = (int.from_bytes(sha256(name.encode()).digest()[:6], "big") + 0.5) / 2**48
    return -math.log(-math.log(share))

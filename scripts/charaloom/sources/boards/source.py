"""A board as a source of one character: its list, kept in the store, and the files of it."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest
from charaloom.artifacts.sealed import read_kept, write_sealed
from charaloom.config.params import Origin
from charaloom.images.files import printable
from charaloom.sources.boards.listing import DIALECTS, read_list, signed_in, site_of
from charaloom.sources.downloads import fetch_files
from charaloom.sources.hub.mirror import MirrorFetching, mirror_site
from charaloom.sources.posts import REMOVED, ListedPost, Rules, judged
from charaloom.sources.sites import Site
from charaloom.sources.store import Store
from charaloom.sources.web import Web

POSTS = "posts.json"


class BoardSource:
    """All posts of a query on a board; resumes what a killed run left in the store.

    `limit` counts the posts that may be fetched. `folder` is the store, `hosts` that of the pace per host.
    """

    kept_in = POSTS  # the list, in the store

    def __init__(
        self,
        origin: Origin,
        limit: int,
        rules: Rules,
        folder: Path,
        hosts: Path,
        contact: str,
        progress: Callable[[int, int], None],
    ) -> None:
        self.site = site_of(origin, contact)
        self.name = self.site.name
        self.mirror_site = mirror_site(origin, contact) if origin.mirror else None
        self.origin, self.limit, self.rules = origin, limit, rules
        self.folder, self.hosts, self.progress = folder, hosts, progress
        self.partial: str | None = None
        self.is_full = False  # whether the list ended at `limit`, not at the last post

    def list_posts(self, anew: bool = False) -> list[ListedPost]:
        """The list in the store where it answers the same question; else, or `anew`, the board is asked. Removals apply
        to both."""
        path = self.folder / POSTS
        kept = read_kept(path)
        if anew or kept.get("question") != self.question():
            site = signed_in(self.site, DIALECTS.get(self.origin.dialect or ""), self.hosts)
            with Web(site, self.hosts) as web:
                listing = read_list(web, site, self.origin, self.limit, self.rules)
            kept = {"question": self.question(), "partial": listing.partial, "posts": list(map(plain, listing.posts))}
        self.partial = kept["partial"]
        if self.partial:
            print(f"{printable(self.partial)}; what it lists is used", file=sys.stderr, flush=True)
        listed = [again_judged(entry, self.rules) for entry in kept["posts"]]
        write_sealed(path, {**kept, "posts": list(map(plain, listed))})
        self.is_full = sum(entry.problem is None for entry in listed) >= self.limit
        return listed

    def question(self) -> str:
        """A digest of all that decides the list."""
        rules = {"ratings": sorted(self.rules.ratings), "limits": self.rules.limits._asdict()}
        asked = {key: getattr(self.origin, key) for key in ("dialect", "url", "unrated", "query")}
        return digest({"root": self.site.root, "limit": self.limit, **asked, **rules})

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        store = Store(self.folder, self.rules.pictures)
        if self.origin.mirror and self.mirror_site:
            return self.fetch_mirrored(self.mirror_site, self.origin.mirror, store, posts)
        with Web(self.site, self.hosts) as web:
            fetch_files(web, store, posts, self.rules.limits, self.progress)
        return store.attached(posts)

    def fetch_mirrored(
        self, site: Site, mirror: Mapping[str, str], store: Store, posts: list[ListedPost]
    ) -> list[ListedPost]:
        """The files from the board's mirror, whose bytes may be others than the board's MD5 says."""
        bare = [replace(entry, post={**entry.post, "md5": None}) for entry in posts]
        with Web(site, self.hosts) as web:
            fetch_files(web, store, bare, self.rules.limits, self.progress, partial(MirrorFetching, mirror))
        found = zip(store.attached(bare), posts, strict=True)
        return [each if each.problem == REMOVED else replace(each, post=entry.post) for each, entry in found]

    def counts(self) -> dict[str, int]:
        return {"partial_sources": int(self.partial is not None)}


def plain(entry: ListedPost) -> dict[str, Any]:
    return {"post": entry.post, "problem": entry.problem, "headers": dict(entry.headers), "size": entry.size}


def again_judged(entry: dict[str, Any], rules: Rules) -> ListedPost:
    return judged(ListedPost(**entry), rules, sentences=False)

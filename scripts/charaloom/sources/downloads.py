"""The files of posts (a stand-in: helper fetching writes it)."""

from collections.abc import Callable

from charaloom.errors import CharaloomError
from charaloom.images.decoding import Limits
from charaloom.sources.posts import ListedPost
from charaloom.sources.store import FAILURES, Store
from charaloom.sources.web import Web


def fetch_files(
    web: Web, store: Store, posts: list[ListedPost], limits: Limits, progress: Callable[[int, int], None]
) -> None:
    store.settle(posts)
    wanted = {post["post_id"] for post in store.missing(posts)}
    for entry in posts:
        if entry.post["post_id"] not in wanted:
            continue
        try:
            answer = web.get(entry.url or entry.post["file_url"], headers=entry.headers)
        except CharaloomError:
            store.failures[entry.post["post_id"]] = "download failed: connection"
            continue
        if answer.status == 200:
            (store.files / entry.post["post_id"]).write_bytes(answer.body)
        else:
            store.failures[entry.post["post_id"]] = f"download failed: {answer.status}"
    store.settle(posts)
    store.keep(FAILURES, store.failures)

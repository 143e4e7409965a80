"""The files of posts: gallery-dl runs for what is missing, waits as the site asks, and runs again."""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable

import requests

from charaloom.errors import CharaloomError
from charaloom.sources.gallery_dl import BUSY, Download, Outcome, failure, run_pass
from charaloom.sources.posts import ListedPost, Post
from charaloom.sources.sites import Site, seconds_asked
from charaloom.sources.store import FAILURES, Store

# Set by hand.
PASSES_IN_VAIN = 3
STRIKES = 2  # passing failures after which a file is left alone in this run
REFUSED = ("download failed: 401", "download failed: 403")
FEW = 3  # files that may be refused or stay away, however few there are
TOLERATED = 0.05  # share of files that may stay away for passing reasons
SPOKEN_SECONDS = 10.0  # a wait of which the log speaks


def fetch_missing(download: Download, listed: list[ListedPost], progress: Callable[[int, int], None]) -> None:
    """Fetch the files that the store lacks. Raises CharaloomError where the site refuses them or is in too much
    trouble; what was fetched stays, and the next run goes on from there."""
    store = download.store
    store.settle(listed)
    strikes: Counter[str] = Counter()
    refusals: set[str] = set()
    total, in_vain, outcome = len(store.missing(listed)), 0, Outcome()
    while in_vain < PASSES_IN_VAIN and (wanted := next_posts(store.missing(listed), strikes)):
        left = len(store.missing(listed))
        outcome = run_pass(download, wanted, lambda done: progress(done, total))
        raise_for_status(outcome, download.site)
        passing = note_failures(outcome, store, download.maximum_bytes)
        strikes.update(passing)
        store.settle(listed, [post["post_id"] for post in wanted])
        store.keep(FAILURES, store.failures)
        refusals |= {post_id for post_id in outcome.reasons if store.failures.get(post_id) in REFUSED}
        raise_if_refused(store, refusals, total, download.site)
        in_vain = 0 if len(store.missing(listed)) < left else in_vain + 1
        if in_vain < PASSES_IN_VAIN and (passing or outcome.lines or outcome.stopped):
            wait(download.site, outcome, wanted, in_vain)
    raise_if_too_few_came(store, listed, total, outcome, download.site)


def next_posts(missing: list[Post], strikes: Counter[str]) -> list[Post]:
    """What to ask for now: first what has not failed, so that one bad file stands in no other's way."""
    open_posts = [post for post in missing if strikes[post["post_id"]] < STRIKES]
    fewest = min((strikes[post["post_id"]] for post in open_posts), default=0)
    return [post for post in open_posts if strikes[post["post_id"]] == fewest]


def note_failures(outcome: Outcome, store: Store, maximum_bytes: int) -> list[str]:
    """Sort the messages about posts into lasting and passing failures; returns the ids of the latter."""
    passing = []
    for post_id, message in outcome.reasons.items():
        reason, lasting = failure(message, maximum_bytes)
        (store.failures if lasting else store.passing)[post_id] = reason
        if not lasting:
            passing.append(post_id)
    return passing


def wait(site: Site, outcome: Outcome, wanted: list[Post], in_vain: int) -> None:
    """Before the next pass: as long as the site asks for, at least our own growing patience."""
    seconds = site.patience * 2**in_vain
    if outcome.status == BUSY:
        refused_url = next((post["file_url"] for post in wanted if post["post_id"] in outcome.reasons), None)
        seconds = max(seconds, retry_after(site, refused_url))
    if seconds >= SPOKEN_SECONDS:
        print(f"{site.name}: waiting {seconds:.0f} s before the next try", file=sys.stderr, flush=True)
    time.sleep(seconds)


def retry_after(site: Site, url: str | None) -> float:
    """Seconds the site asks us to wait, or 0; gallery-dl swallows the header, so it is asked for again."""
    try:
        headers = {"User-Agent": site.agent, "Range": "bytes=0-0"}
        with requests.get(url or f"{site.root}/posts.json?limit=1", headers=headers, timeout=30, stream=True) as answer:
            return seconds_asked(answer)
    except requests.RequestException:
        return 0.0


def raise_for_status(outcome: Outcome, site: Site) -> None:
    """gallery-dl's exit status is a set of bits; some mean that another pass is no use."""
    message = outcome.lines[-1] if outcome.lines else "no message"
    if any(re.search("challenge|captcha", text, re.I) for text in (*outcome.lines, *outcome.reasons.values())):
        raise CharaloomError(f"{site}: asks for a browser challenge; it is never evaded. Try later or another source.")
    if outcome.stopped or outcome.status in (0, BUSY):
        return
    if outcome.status & 16:
        raise CharaloomError(
            f"{site}: gallery-dl was refused ({message}). Set the credentials named in docs/sources.md."
        )
    if outcome.status & 32:
        raise CharaloomError(f"{site}: gallery-dl does not understand this board ({message}). Check root under boards.")
    if outcome.status & 128:
        raise CharaloomError(f"{site}: gallery-dl cannot write ({message}). Make room or mend permissions, run again.")


def raise_if_refused(store: Store, refusals: set[str], total: int, site: Site) -> None:
    """Many 401 or 403 are not many odd files but one block."""
    if len(refusals) <= max(FEW, total // 2):
        return
    for post_id in refusals:
        del store.failures[post_id]
    store.keep(FAILURES, store.failures)
    raise CharaloomError(
        f"{site}: {len(refusals)} of {total} files were refused (401 or 403). The board blocks this User-Agent or "
        "network, or wants an account: see docs/sources.md. Nothing that was fetched is lost."
    )


def raise_if_too_few_came(store: Store, listed: list[ListedPost], total: int, outcome: Outcome, site: Site) -> None:
    away = store.missing(listed)
    if len(away) <= max(FEW, TOLERATED * total):
        return
    counts = Counter(store.passing.get(post["post_id"], "not tried") for post in away)
    reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(counts.items()))
    last_line = f" gallery-dl said: {outcome.lines[-1]}" if outcome.lines else ""
    raise CharaloomError(
        f"{site}: {len(away)} of {total} files did not come: {reasons}.{last_line} Run again later: what was fetched "
        "is kept."
    )

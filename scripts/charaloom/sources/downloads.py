"""The files of listed posts: what was judged in the list is what is fetched, checked, and kept.

A few threads fetch them, within the pace that their hosts allow; what fails for a reason that may pass is asked for
again in later passes. A file that is complete is never fetched twice, wherever the run is killed.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from charaloom.errors import CharaloomError
from charaloom.images.decoding import Limits, ending_problem, inspect, looks_like_html, sniff
from charaloom.sources.network.addresses import AddressError
from charaloom.sources.network.parts import Part
from charaloom.sources.network.replies import MESSAGE_BYTES, NoAnswer, Reply, Silent, TooLarge, TooSlow
from charaloom.sources.network.robots import is_tagged
from charaloom.sources.posts import ListedPost
from charaloom.sources.store import Store, file_name
from charaloom.sources.web import Web

# Set by hand.
FILE_SECONDS = 55.0  # that one try of a file may take in all
WORTH_GOING_ON = 2**20  # bytes in one try from which a file that was too slow is gone on with
PARALLEL = 4
TRIES = 5  # of one file in a run
DOUBTED = 3  # of them, after which a web page or an empty body is taken for the board's last word
DENIED_IN_A_ROW = 5
FAILED_IN_A_ROW = 6
PASSES_IN_VAIN = 3
FEW = 3  # files that may be refused or stay away, however few there are
TOLERATED = 0.05  # share of files that may stay away for passing reasons
LONGEST_PAUSE = 60.0

NOAI = "noai: its X-Robots-Tag asks not to be used for AI"
ROBOTS = "robots: excluded by the robots.txt of its site"


class Failed(Exception):
    """One try of a file: `reason` as the table holds it; after how many tries of a run it counts as lasting (None:
    never) and how many there are; whether the site said no; whether it says something about the whole site."""

    def __init__(
        self,
        reason: str,
        lasting_after: int | None = None,
        tries: int = TRIES,
        denied: bool = False,
        of_site: bool = True,
    ) -> None:
        super().__init__(reason)
        self.reason, self.lasting_after, self.tries = reason, lasting_after, tries
        self.denied, self.of_site = denied, of_site


def fetch_files(
    web: Web,
    store: Store,
    posts: list[ListedPost],
    limits: Limits,
    progress: Callable[[int, int], None],
    kind: "Callable[..., Fetching] | None" = None,
) -> None:
    """Fetch the files that the store lacks, by `kind` (by default one request for each file's address).

    Raises CharaloomError where the site refuses them or is in too much trouble; what was fetched stays, and the next
    run goes on from there.
    """
    store.settle(posts)
    total = len(store.missing(posts))
    if total == 0:
        return
    fetching = (kind or Fetching)(web, store, limits, lambda done: progress(done, total))
    try:
        fetching.look(store.missing(posts))
        fetching.run(posts)
        store.save()
    except OSError as error:
        raise CharaloomError(
            f"{store.folder}: {error.strerror}. Make room or mend permissions and run again; what was fetched is kept."
        ) from error
    except CharaloomError:
        store.save()
        raise
    raise_if_too_few_came(web, store, posts, total)


class Fetching:
    """The passes over the files that are missing."""

    def __init__(self, web: Web, store: Store, limits: Limits, progress: Callable[[int], None]) -> None:
        self.web, self.store, self.limits, self.progress = web, store, limits, progress
        self.tries: Counter[str] = Counter()
        self.closed: set[str] = set()  # not asked again in this run
        self.seen: defaultdict[str, set[str]] = defaultdict(set)  # SHA-256 of doubtful bytes, by post
        self.denied: list[str] = []  # posts, in a row
        self.arrived = self.failed_in_a_row = 0
        self.lock = threading.Lock()

    def look(self, missing: list[ListedPost]) -> None:
        """Before the first file. Raises CharaloomError where the site does not want to be used."""
        refuse_if_tagged(self.web, self.store, missing)

    def run(self, posts: list[ListedPost]) -> None:
        in_vain = number = 0
        while in_vain < PASSES_IN_VAIN and (wanted := self.wanted(posts)):
            if number:
                time.sleep(min(self.web.site.patience / 4 * 2.0**number, LONGEST_PAUSE))
            before, self.failed_in_a_row = self.arrived, 0
            in_parallel(self.fetch, wanted, PARALLEL, self.is_halted, self.web.stopped)
            stuck = self.arrived == before and self.is_halted()
            in_vain, number = in_vain + 1 if stuck else 0, number + 1

    def wanted(self, posts: list[ListedPost]) -> list[ListedPost]:
        """First what has failed least, so that one bad file stands in no other's way."""
        entries = [entry for entry in self.store.missing(posts) if entry.post["post_id"] not in self.closed]
        return sorted(entries, key=lambda entry: self.tries[entry.post["post_id"]])

    def is_halted(self) -> bool:
        return self.failed_in_a_row >= FAILED_IN_A_ROW

    def fetch(self, entry: ListedPost) -> None:
        with self.lock:
            self.tries[entry.post["post_id"]] += 1
        try:
            self.fetch_once(entry)
        except Failed as failure:
            self.note(entry, failure)
            return
        with self.lock:
            self.arrived += 1
            self.failed_in_a_row = 0
            self.denied.clear()
        self.progress(self.arrived)

    def note(self, entry: ListedPost, failure: Failed) -> None:
        post_id = entry.post["post_id"]
        with self.lock:
            tries = self.tries[post_id]
            lasting = failure.lasting_after is not None and tries >= failure.lasting_after
            # Where nothing else came, web pages may be those of a network that wants a login first.
            lasting = lasting and (failure.lasting_after == 1 or self.arrived > 0)
            if lasting or tries >= min(failure.tries, failure.lasting_after or TRIES):
                self.closed.add(post_id)
            self.failed_in_a_row += failure.of_site and not lasting
            if failure.denied:
                self.denied.append(post_id)
            denied = list(self.denied)
        self.store.fail(entry.post, failure.reason, lasting)
        if len(denied) >= DENIED_IN_A_ROW:
            self.store.forgive(denied)
            raise CharaloomError(
                f"{self.web.site}: {len(denied)} files in a row were refused (401 or 403, or noai; the last: "
                f"{failure.reason}). The site blocks this User-Agent or network, wants an account, or does not want to "
                "be used for AI: see docs/sources.md. Nothing that was fetched is lost."
            )

    # ---- one file

    def fetch_once(self, entry: ListedPost) -> None:
        """Raises Failed where the file does not come, or is not what the list says."""
        url = entry.url or entry.post["file_url"]
        with named_failures(self.limits), Part(self.store.parts / f"{file_name(entry.post)}.part", url) as part:
            if self.web.is_excluded(url):
                raise Failed(ROBOTS, lasting_after=1)
            if part.is_complete:
                part.open_to_append()
            else:
                self.receive(url, entry, part)
            part.finish()
            self.judge(entry, part)

    def receive(self, url: str, entry: ListedPost, part: Part) -> None:
        before = part.size
        asked = {**entry.headers, **part.conditions()}
        try:
            with self.web.reply("GET", url, asked, FILE_SECONDS) as reply:
                if reply.status == 416:
                    part.discard()
                raise_for_status(reply, self.web)
                if not part.begin(reply.status, reply.headers):
                    raise Failed("download failed: another part than was asked for")
                self.write(reply, part)
        except TooLarge:
            part.discard()
            raise
        except TooSlow as error:
            tries = TRIES if part.size - before >= WORTH_GOING_ON else 1
            raise Failed(f"download failed: {error}", tries=tries) from error
        except Silent as error:
            raise Failed(f"download failed: {error}", tries=2) from error

    def write(self, reply: Reply, part: Part) -> None:
        try:
            for chunk in reply.chunks(self.limits.maximum_bytes - part.size):
                part.write(chunk)
        except (TooSlow, Silent):
            raise
        except NoAnswer as error:  # the site answers, if not to the end
            raise Failed(f"download failed: {error}", of_site=False) from error

    def judge(self, entry: ListedPost, part: Part) -> None:
        """Compare a complete file with the list, and take it in. Raises Failed where it is not to be used."""
        sha256, md5 = part.sha256.hexdigest(), part.md5.hexdigest()
        listed = entry.post["md5"]
        kind = sniff(start := read_start(part))
        if kind is None:
            part.discard()
            reason = f"not a picture: {described(start)}" if start else "empty: no bytes"
            raise Failed(reason, lasting_after=1 if md5 == listed else DOUBTED)
        again = sha256 in self.seen[entry.post["post_id"]]
        self.seen[entry.post["post_id"]].add(sha256)
        if listed not in (None, md5) or (listed is None and entry.size not in (None, part.size)):
            part.discard()
            raise Failed("wrong file: not the one that the board lists", lasting_after=1 if again else DOUBTED)
        if listed is None and not again and (problem := damage(part, kind, self.limits)):
            part.discard()
            raise Failed(problem, tries=DOUBTED)  # the same bytes a second time are the board's, and are kept
        part.forget()
        self.store.add(entry.post, part.path, kind, sha256, md5)


def raise_for_status(reply: Reply, web: Web) -> None:
    status = reply.status
    if status in (200, 206) and not is_tagged(reply.headers):
        return
    if is_tagged(reply.headers):
        raise Failed(NOAI, lasting_after=1, denied=True)
    web.raise_if_challenged(status, reply.headers, reply.start(MESSAGE_BYTES))
    lasts = 400 <= status < 500 and status not in (408, 416, 425, 429)
    raise Failed(f"download failed: {status}", lasting_after=1 if lasts else None, denied=status in (401, 403))


@contextmanager
def named_failures(limits: Limits) -> Iterator[None]:
    """Turn what a request raises into Failed."""
    try:
        yield
    except AddressError as error:
        raise Failed(str(error), lasting_after=1) from error
    except TooLarge as error:
        raise Failed(f"too large: more than {limits.maximum_bytes} bytes", lasting_after=1) from error
    except NoAnswer as error:
        raise Failed(f"download failed: {error}") from error


def read_start(part: Part) -> bytes:
    with part.path.open("rb") as handle:
        return handle.read(512)


def described(start: bytes) -> str:
    """What a body is that is no picture, by its first bytes."""
    if looks_like_html(start):
        return "a web page"
    return "JSON" if start.lstrip()[:1] in (b"{", b"[") else "unknown format"


def damage(part: Part, kind: str, limits: Limits) -> str | None:
    """Why the bytes may have been cut or joined wrongly, where no MD5 says so."""
    data = part.path.read_bytes()
    return inspect(data, limits)[1] if part.resumed else ending_problem(data, kind)


# ---- before and after


def refuse_if_tagged(web: Web, store: Store, missing: list[ListedPost]) -> None:
    """Look at the headers of a file of each host before the first is fetched: where they say noai, that file is left
    alone, and where a few in a row say it, so is the site. Raises CharaloomError then."""
    hosts: defaultdict[str, list[ListedPost]] = defaultdict(list)
    for entry in missing:
        hosts[urlsplit(entry.url or entry.post["file_url"]).netloc].append(entry)
    for _, entries in sorted(hosts.items()):
        tagged = 0
        for entry in entries[:FEW]:
            if not has_tag(web, entry):
                break
            tagged += 1
            store.fail(entry.post, NOAI, lasting=True)
        if tagged == FEW:
            store.forgive([entry.post["post_id"] for entry in entries[:FEW]])
            raise CharaloomError(f"{web.site}: asks not to be used for AI (noai, in X-Robots-Tag). Use another source.")


def has_tag(web: Web, entry: ListedPost) -> bool:
    url = entry.url or entry.post["file_url"]
    try:
        if web.is_excluded(url):
            return False
        with web.reply("HEAD", url, entry.headers, FILE_SECONDS) as reply:
            return is_tagged(reply.headers)
    except (AddressError, NoAnswer):
        return False  # the download will say what is wrong


def raise_if_too_few_came(web: Web, store: Store, posts: list[ListedPost], total: int) -> None:
    away = store.missing(posts)
    if len(away) <= max(FEW, TOLERATED * total):
        return
    counts = Counter(store.passing.get(entry.post["post_id"], "not tried") for entry in away)
    reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(counts.items()))
    raise CharaloomError(
        f"{web.site}: {len(away)} of {total} files did not come: {reasons}. Run again later: what was fetched is kept."
    )


def in_parallel(
    work: Callable[[ListedPost], None],
    entries: list[ListedPost],
    workers: int,
    is_halted: Callable[[], bool],
    stopped: threading.Event,
) -> None:
    """Do the work for each entry, by a few threads, until it is done or halted; raises the first error of one, and
    sets `stopped` then.

    The threads are daemons: a run that is ended does not wait for their network.
    """
    left: Iterator[ListedPost] = iter(entries)
    errors: list[BaseException] = []
    lock = threading.Lock()

    def run() -> None:
        while not errors and not is_halted():
            with lock:
                entry = next(left, None)
            if entry is None:
                return
            try:
                work(entry)
            except BaseException as error:
                errors.append(error)
                stopped.set()

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(workers, len(entries)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]

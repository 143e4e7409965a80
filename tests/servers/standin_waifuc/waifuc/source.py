"""Sources by the way in which they misbehave; each gives a few drawn pictures."""

import os
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace


class Picture:
    """As much of a picture as the program asks for: a file that is there, or one that is drawn."""

    def __init__(self, number, file=None):
        self.number, self.filename = number, file

    def save(self, path, format):
        import io

        sys.path.insert(0, os.environ["CHARALOOM_TESTS"])
        from tests.servers.boards import drawn

        assert format == "PNG"
        assert io
        Path(path).write_bytes(drawn(self.number))


class Source:
    """`number` pictures, as a board's posts; further keys are laid over what it says of each."""

    def __init__(self, number=3, more=None, rating="g", api_key=None):
        self.number, self.more, self.rating, self.api_key = number, more or {}, rating, api_key

    def meta(self, number):
        post = {"id": 100 + number, "rating": self.rating, "tag_string_general": "1girl hat", "score": 7}
        return {
            "danbooru": {**post, "tag_string_character": "hana"},
            "filename": f"danbooru_{100 + number}.png",
            "url": f"https://files.example/{100 + number}.png?api_key={self.api_key}&x=1",
            "tags": {"hat": 1.0},
            **self.more,
        }

    def __iter__(self):
        print("a line that is none of ours", flush=True)
        for number in range(self.number):
            yield SimpleNamespace(image=Picture(number), meta=self.meta(number))
            self.after(number)

    def after(self, number):
        pass


class Repeating(Source):
    def meta(self, number):
        return super().meta(0)


class Skipping(Source):
    def after(self, number):
        warnings.warn("Skipped due to download error: Timeout", stacklevel=1)


class Endless(Source):
    def __init__(self):
        super().__init__(10**9)


class Hanging(Source):
    def after(self, number):
        time.sleep(3600)


class Failing(Source):
    def after(self, number):
        if number == 1:
            raise ValueError(f"Expecting value, at https://x.example/?api_key={self.api_key}&login=me {self.api_key}")


class Dying(Source):
    def after(self, number):
        os._exit(9)


class Hungry(Source):
    def after(self, number):
        self.food = bytearray(64 * 2**30)


class Flooding(Source):
    def after(self, number):
        while True:
            os.write(2, b"x" * 65536)


class Littering(Source):
    def after(self, number):
        for place in range(3000):
            Path(f"litter-{place}").touch()
        time.sleep(3600)


class Large(Source):
    def after(self, number):
        with open("large", "wb") as handle:
            while True:
                handle.write(b"x" * 2**20)


class Chattering(Source):
    """Says what it was not asked for, in our own channel."""

    def after(self, number):
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, b'{"file": "../../evil", "meta": {}}\n' * 50 + b"x" * 100)
            except OSError:
                continue


class Linking(Source):
    """Leaves a link to a file of the user's where its second picture should be, and a folder and a pipe."""

    def after(self, number):
        if number == 0:
            os.symlink(os.environ["CHARALOOM_TESTS"] + "/tests/conftest.py", "000001")
            os.mkdir("folder")
            os.mkfifo("pipe")

    def __iter__(self):
        for item in super().__iter__():
            if item.image.number == 1:
                item.image.save = lambda *_, **__: None
            yield item


class Escaping(Source):
    """Starts a process that outlives it."""

    def after(self, number):
        if os.fork() == 0:
            os.close(0)
            time.sleep(3600)


class Wandering(Source):
    """Writes where it was not asked to."""

    def after(self, number):
        for place in ("../escaped", os.environ["CHARALOOM_OUTSIDE"] + "/escaped"):
            try:
                Path(place).write_text("x")
            except OSError as error:
                print(f"{place}: {error}", file=sys.stderr)


class Leaking(Failing):
    """Repeats its account, and what others left in the addresses that pictures come from."""

    def meta(self, number):
        post = {"source": f"https://me:{self.api_key}@a.example/?token=planted-token", "uploader": self.api_key}
        meta = super().meta(number)
        return {**meta, "danbooru": {**meta["danbooru"], **post}, "session": f"Cookie: {self.api_key}"}

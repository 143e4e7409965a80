"""A video: a few frames of each scene, cut once into the store."""

from pathlib import Path

from charaloom.artifacts.files import files_below, whole_folder
from charaloom.artifacts.sealed import below, seal_files, whole_files
from charaloom.errors import CharaloomError
from charaloom.sources.local.child import run
from charaloom.sources.posts import EMPTY_POST, ListedPost, Rules, judged

SITE = "video"


class VideoSource:
    """Frames of a video; a post's id is the time of its frame. They have no rating: the rating model decides."""

    def __init__(self, path: str, rules: Rules, folder: Path) -> None:
        self.path, self.rules, self.folder = Path(path), rules, folder
        self.numbers: dict[str, int] = {}

    def list_posts(self) -> list[ListedPost]:
        """One post per frame, in the order of time. Raises CharaloomError where the video cannot be read."""
        if not self.path.is_file():
            raise CharaloomError(f"{self.path}: there is no such file. Correct the character's sources.")
        files, report = self.folder / "files", self.folder / "report.json"
        if (kept := whole_files(report)) is None:
            limits = self.rules.limits
            with whole_folder(files) as part:
                facts = {"path": str(self.path), "folder": str(part), "maximum_pixels": limits.maximum_pixels}
                kept = run("charaloom.sources.local.frames", facts, limits.maximum_bytes)
            seal_files(report, below(files), kept)
        self.numbers = kept
        posts = [({**EMPTY_POST, "site": SITE, "post_id": name.stem}, files / name) for name in files_below(files)]
        return [judged(ListedPost(post, file), self.rules) for post, file in posts]

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        return {"scenes": self.numbers["scenes"], "similar_frames": self.numbers["similar"]}

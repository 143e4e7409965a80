"""What a source of pictures does; `kinds.py` has all of them."""

from typing import Protocol

from charaloom.sources.posts import ListedPost


class Source(Protocol):
    """Where a character's pictures come from. Listing and fetching are two things: what was judged in the list is what
    is fetched."""

    def list_posts(self) -> list[ListedPost]:
        """Every post of the source, judged by the rules; each says why it is not fetched, where that is so.

        Raises CharaloomError where the source refuses or cannot be read.
        """

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts, each with its file or with the reason why it has none.

        Raises CharaloomError where the source refuses or has too much trouble.
        """

    def counts(self) -> dict[str, int]:
        """Numbers that only the source knows, after both."""

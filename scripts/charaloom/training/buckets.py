"""Buckets: the sizes that training pictures are reduced and cropped to. None is larger than its picture.

Sides are multiples of `bucket_step`, a bucket has at most `resolution` squared pixels, and its long side at most four
times the short one. A picture's own bucket is the one that keeps most of it: the share of the picture that is seen
times the pixels that show it. Then buckets are dropped, those first whose pictures lose least in others, until as many
are left as the recipe asks for, or until a picture would lose too much.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LONGEST = 4  # times its short side is the long side of a bucket, at most; longer pictures are cropped to that
KEPT = 0.85  # share, of what its own bucket sees and keeps of a picture, that another one sees and keeps; set by hand

Size = tuple[int, int]  # width and height in pixels


def bucket_step(resolution: int) -> int:
    """Sides of a bucket are multiples of this, in pixels: 64 at 1024, 32 at 512, at least 8, a cell of the latents."""
    return max(8, resolution // 128 * 8)


def bucket_sizes(sizes: Sequence[Size], resolution: int, most: int) -> list[Size]:
    """The bucket of each picture, of at most `most` where no picture loses too much.

    Raises ValueError where a picture has a side below `bucket_step`: no bucket is as small.
    """
    import numpy as np

    pictures, numbers, counts = np.unique(np.array(sizes), axis=0, return_inverse=True, return_counts=True)
    buckets = possible_buckets(resolution)
    seen, kept = seen_and_kept(pictures, buckets)
    if pictures[kept.max(1) == 0].size:
        small = pictures[kept.max(1) == 0][0].tolist()
        raise ValueError(f"a picture of {small} pixels is smaller than every bucket")
    rows, own = np.arange(len(pictures)), kept.argmax(1)
    used = np.unique(own)
    shares = np.minimum(seen / seen[rows, own][:, None], kept / kept[rows, own][:, None])[:, used]
    left = fewest(shares, counts, most)
    best = np.where(left, shares, 0).argmax(1)
    return [tuple(size) for size in buckets[used][best][numbers.ravel()].tolist()]


def possible_buckets(resolution: int) -> "np.ndarray":
    """Every bucket [m, 2] of a resolution, width and height."""
    import numpy as np

    step = bucket_step(resolution)
    sides = np.arange(step, 2 * resolution + 1, step)
    buckets = np.stack(np.meshgrid(sides, sides), -1).reshape(-1, 2)
    return buckets[(buckets.prod(1) <= resolution**2) & (buckets.max(1) <= LONGEST * buckets.min(1))]


def seen_and_kept(pictures: "np.ndarray", buckets: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """Of each picture [n, 2] the share that each bucket [m, 2] sees, and that times the bucket's pixels, both [n, m].

    0 where a side of the bucket is longer than the picture's.
    """
    import numpy as np

    scale = (buckets[None] / pictures[:, None]).max(2)  # of the picture, until it just covers the bucket
    pixels = buckets.prod(1)[None]
    seen = np.where(scale <= 1, pixels / (scale**2 * pictures.prod(1)[:, None]), 0)
    return seen, seen * pixels


def fewest(shares: "np.ndarray", counts: "np.ndarray", most: int) -> "np.ndarray":
    """Which buckets stay, bool [m]. `shares` [n, m]: how much of what its own bucket keeps of a picture another keeps;
    `counts` [n]: how many pictures have that size.

    One after another goes the bucket without which all pictures together lose least, unless one would keep less than
    KEPT.
    """
    import numpy as np

    left = np.ones(shares.shape[1], dtype=bool)
    while left.sum() > most:
        open_shares = np.where(left, shares, 0)
        order = np.argsort(-open_shares, axis=1, kind="stable")[:, :2]
        best, second = np.take_along_axis(open_shares, order, 1).T
        loss = np.bincount(order[:, 0], (best - second) * counts, len(left))
        np.maximum.at(loss, order[:, 0], np.where(second < KEPT, np.inf, 0))
        loss[~left] = np.inf
        if np.isinf(loss.min()):
            break
        left[loss.argmin()] = False
    return left

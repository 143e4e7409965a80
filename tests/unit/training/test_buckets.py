"""Buckets: no training picture is enlarged, little is cropped, all pictures are seen equally often."""

import io
import math
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from charaloom.errors import CharaloomError
from charaloom.publishing.repos.shards import reduced
from charaloom.training.buckets import KEPT, Size, bucket_sizes, bucket_step
from tests.unit.training.trainings import write_dataset, write_inputs

ODD = [
    (3000, 500),
    (640, 640),
    (900, 1200),
    (4000, 6000),
    (100, 1400),
    (800, 6400),
    (1025, 1025),
    (64, 64),
    (1700, 130),
]
BUCKETS = 12  # of the recipes
LARGEST_CROP = 0.25  # of a picture no longer than 4:1, whatever the others are
LARGEST_CROP_OF_ITS_OWN = 0.125  # where there are as many buckets as sizes


def in_dataset(size: Size, resolution: int) -> Size:
    """The size of a picture in the dataset, as `auto` has it for a training at `resolution`."""
    return reduced(size, resolution * 5 // 4)


def pictures(number: int, resolution: int, seed: int, spread: float) -> list[Size]:
    """Sizes as the dataset has them, of originals that `filtered` keeps; `spread`: of their log2 aspect ratios."""
    drawn, sizes = random.Random(seed), []
    while len(sizes) < number:
        ratio, side = 2 ** max(-2.0, min(2.0, drawn.gauss(-0.4, spread))), resolution * math.exp(drawn.gauss(0.4, 0.45))
        size = round(side * math.sqrt(ratio)), round(side / math.sqrt(ratio))
        if min(size) >= resolution // 2 and math.prod(size) >= (resolution * 3 // 4) ** 2:
            sizes.append(in_dataset(size, resolution))
    return sizes


def seen(picture: Size, bucket: Size) -> float:
    """Share of a picture that is left of it in a bucket that it covers."""
    scale = max(bucket[0] / picture[0], bucket[1] / picture[1])
    return math.prod(bucket) / (scale**2 * math.prod(picture))


def fits(picture: Size, bucket: Size) -> bool:
    return bucket[0] <= picture[0] and bucket[1] <= picture[1]


@pytest.mark.parametrize("resolution", [128, 512, 768, 1024])
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_no_picture_is_enlarged_and_little_is_cropped(resolution: int, spread: float) -> None:
    step = bucket_step(resolution)
    for seed in range(3):
        sizes = pictures(120, resolution, seed, spread)
        for most, largest in ((BUCKETS, LARGEST_CROP), (10**6, LARGEST_CROP_OF_ITS_OWN)):
            chosen = bucket_sizes(sizes, resolution, most)
            assert all(map(fits, sizes, chosen))
            assert all(side % step == 0 for bucket in chosen for side in bucket)
            assert max(1 - seen(*pair) for pair in zip(sizes, chosen, strict=True)) <= largest
            large = [
                bucket for size, bucket in zip(sizes, chosen, strict=True) if math.prod(size) >= 1.5 * resolution**2
            ]
            assert large
            assert all(0.84 * resolution**2 <= math.prod(bucket) <= resolution**2 for bucket in large)


def test_sdxl_sees_areas_of_1024_squared() -> None:
    """Whatever its shape, a large picture comes out of the dataset with the pixels that its bucket has."""
    originals = [(round(3000 * 2 ** (step / 8)), round(3000 / 2 ** (step / 8))) for step in range(-8, 9)]
    for original in [*originals, (4000, 6000)]:
        size = in_dataset(original, 1024)
        [bucket] = bucket_sizes([size], 1024, BUCKETS)
        assert fits(size, bucket)
        assert math.prod(bucket) >= 0.93 * 1024**2
        assert seen(size, bucket) >= 0.88
    assert bucket_sizes([in_dataset((4000, 6000), 1024)], 1024, BUCKETS) == [(832, 1216)]


def test_smaller_pictures_have_smaller_buckets_of_their_shape() -> None:
    assert bucket_sizes([(900, 1200)], 1024, BUCKETS) == [(896, 1152)]
    assert bucket_sizes([(640, 640)], 1024, BUCKETS) == [(640, 640)]
    assert bucket_sizes([(640, 640)], 512, BUCKETS) == [(512, 512)]
    assert bucket_sizes([(3000, 500)], 1024, BUCKETS) == [(1792, 448)], "cropped to 4:1"
    chosen = bucket_sizes([(1280, 1280)] * 50 + [(600, 600)], 1024, 1)
    assert Counter(chosen) == {(1024, 1024): 50, (576, 576): 1}, "the small one makes no other smaller"


def test_few_buckets_where_that_costs_little() -> None:
    sizes = pictures(100, 512, 1, 0.3)
    own = bucket_sizes(sizes, 512, 10**6)
    few = bucket_sizes(sizes, 512, BUCKETS)
    assert len(set(few)) < len(set(own))
    for size, bucket, best in zip(sizes, few, own, strict=True):
        assert seen(size, bucket) >= KEPT * seen(size, best)
        assert seen(size, bucket) * math.prod(bucket) >= KEPT * seen(size, best) * math.prod(best)
    assert bucket_sizes(sizes[::-1], 512, BUCKETS)[::-1] == few, "the order of the pictures changes nothing"


def test_a_strip_has_no_bucket() -> None:
    with pytest.raises(ValueError, match=r"\[20, 1400\] pixels is smaller than every bucket"):
        bucket_sizes([(900, 1200), (20, 1400)], 1024, BUCKETS)


def png(size: Size) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "PNG")
    return stream.getvalue()


class Sizes:
    """A data source of pictures that are only sizes."""

    def __init__(self, sizes: list[Size]):
        self.sizes, self.pairs = sizes, False

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self.sizes):
            raise IndexError
        data = {"id": str(index), "size": self.sizes[index]}
        return (data, self) if self.pairs else data

    def get_image_size(self, data: dict[str, Any]) -> Size:
        return data["size"]

    @contextmanager
    def return_source(self) -> Iterator[None]:
        self.pairs = True
        yield
        self.pairs = False


@pytest.mark.slow
def test_the_trainer_enlarges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer's own buckets and handler, on pictures of many shapes: each is only ever resized to fewer pixels."""
    from charaloom.training.hcp.data import Buckets, SizeHandler

    resized: list[tuple[Size, Size]] = []
    resize = Image.Image.resize

    def recorded(image: Image.Image, size: Size, *rest: Any, **other: Any) -> Image.Image:
        resized.append((image.size, size))
        return resize(image, size, *rest, **other)

    sizes = [in_dataset(size, 1024) for size in ODD] + pictures(20, 1024, 1, 1.0)
    buckets = Buckets(seed=1, resolution=1024, most=BUCKETS)
    buckets.build(bs=4, world_size=1, source=Sizes(sizes))
    buckets.rest(0)
    monkeypatch.setattr(Image.Image, "resize", recorded)
    shown = {}
    for place in range(len(buckets)):
        data = buckets[place]
        if data["id"] not in shown:
            shown[data["id"]] = SizeHandler().handle(Image.new("L", data["size"]), data["image_size"])["image"].size
    assert len(shown) == len(sizes)
    assert all(fits(sizes[int(number)], bucket) for number, bucket in shown.items())
    assert resized
    assert all(fits(before, after) for before, after in resized)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4, 6, 8])
def test_mend_buckets_see_all_pictures_equally_often(batch: int) -> None:
    import numpy as np
    from rainbowneko.data import RatioBucket

    from charaloom.training.hcp.data import Buckets

    odd = [(80, 80)] * 20 + [(40, 160)] * 3 + [(160, 40)]
    stock = RatioBucket.from_files(target_area=64 * 64, num_bucket=3)
    ours = Buckets(seed=1, resolution=64, most=3)
    times = []
    for buckets in (stock, ours):
        buckets.build(bs=batch, world_size=1, source=Sizes(odd))
        buckets.rest(0)
        times.append(np.bincount(buckets.idx_bucket, minlength=len(odd)))
    if batch > 4:
        assert times[0].max() >= 3 * times[0].min(), "the odd picture fills a batch of its own"
    assert set(times[1]) == {ours.passes}
    assert len(ours) == len(odd) * ours.passes <= len(odd) * batch
    of_bucket = np.array(ours.idx_bucket_map)[ours.idx_bucket].reshape(-1, batch)
    assert (of_bucket == of_bucket[:, :1]).all(), "a batch has one size"
    early = np.bincount(ours.idx_bucket[: len(ours) // ours.passes], minlength=len(odd))
    assert early[:20].max() <= 2, "also within an epoch at even intervals"


@pytest.mark.slow
def test_mend_order_of_batches_depends_on_the_seed() -> None:
    from charaloom.training.hcp.data import Buckets

    orders = []
    for seed, epoch in ((1, 0), (1, 0), (2, 0), (1, 1)):
        buckets = Buckets(seed=seed, resolution=64, most=3)
        buckets.build(bs=8, world_size=1, source=Sizes([(80, 80)] * 20 + [(40, 160)]))
        buckets.rest(epoch)
        orders.append(buckets.idx_bucket.tolist())
    assert orders[0] == orders[1]
    assert len(set(map(tuple, orders))) == 3
    few = Buckets(seed=1, resolution=64, most=3)
    few.build(bs=8, world_size=1, source=Sizes([(64, 64), (96, 64)]))
    assert len(few) == 16


def test_pictures_without_a_bucket_are_left_out_and_named(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    (folder / "strip.png").write_bytes(png((1400, 20)))
    (folder / "good.png").write_bytes(png((90, 90)))
    inputs = write_dataset(tmp_path, [("good.png", png((90, 120))), ("strip.png", png((20, 1400)))])
    write_inputs(tmp_path / "workdir", inputs.dataset, tiny_base, least=64, regularisation=str(folder))
    assert len(list((tmp_path / "workdir/inputs/pictures").iterdir())) == 1
    assert len(list((tmp_path / "workdir/inputs/regularisation").iterdir())) == 1
    said = capsys.readouterr().err
    assert said.count("a side is below 64 pixels and nothing is enlarged: strip.png") == 2
    with pytest.raises(CharaloomError, match="no training picture; 2 have a side below 128 pixels"):
        write_inputs(tmp_path / "other", inputs.dataset, tiny_base, least=128)

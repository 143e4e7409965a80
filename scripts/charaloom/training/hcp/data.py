"""Pictures and captions of a training, in an order and with random numbers that depend on the seed alone."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hcpdiff.data import VaeCache
from PIL import Image
from rainbowneko import _share
from rainbowneko.data import AutoSizeHandler, ImageLabelSource, RatioBucket
from safetensors.torch import load_file, save_file
from torch import Tensor

from charaloom.artifacts.files import read_json
from charaloom.artifacts.sealed import sealed_file, whole_sealed
from charaloom.artifacts.seeds import derive_seed
from charaloom.tagging.captions import training_caption
from charaloom.training.buckets import bucket_sizes
from charaloom.training.hcp.loss import MASK
from charaloom.training.hcp.seeding import seed_all

CELL = 8  # pixels of a side that one latent stands for
# Encoded in one call are pictures of one size, at most so many and so many pixels: one picture of 1024² takes 3 GB.
# Set by hand.
ENCODED_TOGETHER, ENCODED_PIXELS = 8, 2**20


class CaptionSource(ImageLabelSource):
    """Pictures of a folder with captions from a JSON file, in the order of that file.

    `captions.training_caption` varies each caption, with the global random numbers that the trainer seeds by the step.
    `triggers`: a JSON list of the character's and the outfits' triggers; `quality`: prefix and suffix of the base.
    """

    def __init__(
        self,
        img_root: str,
        label_file: str,
        triggers: str,
        quality: str,
        word: str | None,
        text_only: float,
        dropout: float,
        tag_dropout: float,
    ):
        super().__init__(img_root, label_file)
        self.triggers, self.word = frozenset(read_json(triggers)), word
        self.shares: dict[str, Any] = {"text_only": text_only, "dropout": dropout, "tag_dropout": tag_dropout}
        self.shares |= read_json(quality)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name = self.img_ids[index]
        prompt = {"template": "{caption}", "caption": self.varied(self.label_dict[name])}
        return {"id": name, "image": self.img_root / name, "prompt": prompt}

    def varied(self, caption: str) -> str:
        generator = random.Random(random.getrandbits(64))
        return training_caption(caption, self.triggers, self.word, generator, **self.shares)


class SizeHandler(AutoSizeHandler):
    """Reduce a picture until it just covers its bucket, crop it at a random place.

    `coord` is the size condition of SDXL: height and width of the picture as it came, top and left of the crop in the
    scaled picture, height and width of the bucket (Podell et al. 2023, arXiv:2307.01952, section 2.2).
    """

    def handle(self, image: Image.Image, size: Any) -> dict[str, Any]:
        wide, high = int(size[0]), int(size[1])
        scaled = covering(image.size, wide, high)
        left, top = (random.randint(0, have - want) for have, want in zip(scaled, (wide, high), strict=True))
        coord = torch.tensor([image.height, image.width, top, left, high, wide], dtype=torch.float)
        whole = image if scaled == image.size else image.resize(scaled, Image.Resampling.LANCZOS)
        return {"image": whole.crop((left, top, left + wide, top + high)), "coord": coord}


def covering(size: tuple[int, int], wide: int, high: int) -> tuple[int, int]:
    """Width and height of a picture of `size` scaled until it covers a bucket."""
    scale = max(wide / size[0], high / size[1])
    return max(wide, round(size[0] * scale)), max(high, round(size[1] * scale))


def cell_mask(file: Path, coord: Tensor) -> Tensor:
    """The share of each latent cell that trains, [height / 8, width / 8]; all of it where there is no `file`.

    The mask in `file`, of the picture's size, is scaled and cropped by `coord` of `SizeHandler` as the picture was.
    """
    *_, top, left, high, wide = map(int, coord)
    if not file.exists():
        return torch.ones(high // CELL, wide // CELL)
    with Image.open(file) as mask:
        whole = mask.resize(covering(mask.size, wide, high), Image.Resampling.BOX)
    cells = whole.crop((left, top, left + wide, top + high)).reduce(CELL)
    return torch.from_numpy(np.array(cells, dtype=np.float32) / 255)


class Buckets(RatioBucket):
    """Buckets (`bucket_sizes`) that no picture is enlarged to, in an order that sees all pictures equally often.

    Stock buckets have one area, to which smaller pictures are enlarged, and repeat members up to a multiple of the
    batch: a lone picture of an odd shape would train as often as a batch of others. Here an epoch is as many passes
    over each bucket as fill whole batches.
    """

    handler = SizeHandler()

    def __init__(self, seed: int, resolution: int, most: int):
        super().__init__(target_area=resolution**2, num_bucket=most)
        self.seed, self.resolution = seed, resolution

    def build(self, bs: int, world_size: int, source: Any) -> None:
        self.source, self.source_indexable, self.bs = source, True, bs * world_size
        with source.return_source():
            pictures = [source[index] for index in range(len(source))]
        sizes = [tuple(kind.get_image_size(picture)) for picture, kind in pictures]
        chosen = bucket_sizes(sizes, self.resolution, self.num_bucket)
        self.size_buckets = sorted(set(chosen))
        self.idx_bucket_map = [self.size_buckets.index(size) for size in chosen]
        numbers = np.array(self.idx_bucket_map)
        self.buckets = [np.flatnonzero(numbers == number) for number in range(len(self.size_buckets))]
        self.passes = math.lcm(*(self.bs // math.gcd(self.bs, len(bucket)) for bucket in self.buckets))
        self.data_len = self.passes * len(source)

    def rest(self, epoch: int) -> None:
        """A new order within and of the batches, for each epoch; the batches of a bucket come at even intervals."""
        order = np.random.RandomState(derive_seed(self.seed, "order", str(epoch)))
        batches, places = [], []
        for bucket in self.buckets:
            passes = [order.permutation(bucket) for _ in range(self.passes)]
            batches.append(np.concatenate(passes).reshape(-1, self.bs))
            places.append((np.arange(len(batches[-1])) + order.random_sample(len(batches[-1]))) / len(batches[-1]))
        self.idx_bucket = np.concatenate(batches)[np.argsort(np.concatenate(places), kind="stable")].reshape(-1)


class Latents(VaeCache):
    """Latents encoded once, kept in `file` for a restart and on the device for the steps.

    The crop of each picture, and the noise of its sample, depend on `seed` and its name alone. `autoencoder` loads the
    autoencoder, which is freed as soon as all pictures are encoded; where they have been before, it is never loaded.
    `masks`: a folder with the masks of pictures, for a training with masked loss.
    """

    def __init__(self, file: str, seed: int, autoencoder: Callable[[], Any], masks: str | None = None):
        super().__init__()
        self.file, self.seed, self.autoencoder, self.masks = Path(file), seed, autoencoder, masks

    def before_handler(self, index: int, data: dict[str, Any]) -> dict[str, Any]:
        latent = super().before_handler(index, data)
        return latent | {MASK: self.cache[data["id"]][MASK]} if self.masks else latent

    def build(self, dataset: Any, model: Any, all_gather: Callable[[Any], Any]) -> None:
        dataset.bucket.rest(0)
        names = {dataset.source.source_list[0].img_ids[index]: None for index in range(len(dataset.source))}
        kept = self.kept()
        if set(kept) != set(names):
            kept = self.encoded(dataset, self.autoencoder().to(_share.device))
            if _share.device.type == "cuda":
                torch.cuda.empty_cache()
            with sealed_file(self.file) as part:
                flat = {f"{name}.{key}": value.cpu() for name, values in kept.items() for key, value in values.items()}
                save_file(flat, part)
        if self.masks:
            for name, values in kept.items():
                values[MASK] = cell_mask(Path(self.masks, f"{name}.png"), values["coord"])
        device = _share.device  # of the training; the model is moved there later
        self.cache = {name: {key: value.to(device) for key, value in values.items()} for name, values in kept.items()}

    def kept(self) -> dict[str, dict[str, Tensor]]:
        """What an earlier run has encoded; nothing where its file is damaged."""
        file = whole_sealed(self.file)
        latents: dict[str, dict[str, Tensor]] = {}
        for name, value in (load_file(file) if file else {}).items():
            picture, _, key = name.rpartition(".")
            latents.setdefault(picture, {})[key] = value
        return latents

    @torch.no_grad()
    def encoded(self, dataset: Any, vae: Any) -> dict[str, dict[str, Tensor]]:
        waiting: dict[tuple[int, ...], list[tuple[str, Tensor, Tensor]]] = {}
        latents: dict[str, dict[str, Tensor]] = {}
        names = set()
        for index in range(len(dataset)):
            data = dataset.bucket[index]
            if data["id"] in names:
                continue
            names.add(data["id"])
            seed_all(self.seed, f"latents/{data['id']}")
            data = dataset.handler(data)
            same = waiting.setdefault(tuple(data["image"].shape), [])
            same.append((data["id"], data["image"], data["coord"]))
            pixels = data["image"].shape[-2] * data["image"].shape[-1]
            if len(same) == max(1, min(ENCODED_TOGETHER, ENCODED_PIXELS // pixels)):
                latents |= self.encode(vae, same)
                same.clear()
        for same in waiting.values():
            if same:
                latents |= self.encode(vae, same)
        return latents

    def encode(self, vae: Any, pictures: list[tuple[str, Tensor, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Latents [channels, height / 8, width / 8] of pictures of one size."""
        batch = torch.stack([image for _, image, _ in pictures]).to(next(vae.parameters()))
        posterior = vae.encode(batch).latent_dist
        latents = {}
        for row, (name, _, coord) in enumerate(pictures):
            seed_all(self.seed, f"posterior/{name}")
            noise = torch.randn(posterior.mean[row].shape).to(posterior.mean)
            latent = (posterior.mean[row] + posterior.std[row] * noise) * vae.config.scaling_factor
            latents[name] = {"latent": latent.contiguous(), "coord": coord}
        return latents

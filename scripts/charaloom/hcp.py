"""HCP-Diffusion 2, mended: all that is added to or changed in `hcpdiff` 2.6 on `rainbowneko` 1.10.0, with the reasons.

`python -m charaloom.hcp --cfg config.py` trains in a process of its own, for rainbowneko keeps global state and runs
its config file. This module alone imports torch and hcpdiff at its top: only that process and its config use it.

| what is mended | why (hcpdiff 2.6, rainbowneko 1.10.0) |
| --- | --- |
| NoiseSchedule | a scheduler given its shifter drops it: training ran with noise falling where time rises |
| NoiseSchedule | timesteps were fractions the base model never saw, and its schedule was not the base's own |
| EmbeddingParser | embeddings are moved to `cuda` whatever the device, and start from a pickle of random numbers |
| EmbeddingFormat | embeddings are written as pickles |
| CaptionSource | caption files are taken in the order of the folder, which differs between folders |
| CaptionSource | dropping a caption leaves the words around it; shuffling moves the trigger away from the front |
| Buckets | a bucket of one picture is padded to a whole batch of it; few pictures fail in KMeans |
| Trainer | cudnn.benchmark is switched on, no deterministic algorithms, draws depend on everything drawn before |
| Trainer | convolutions run in the slower memory format |
| Trainer | milestones only at multiples of one number, the last one is written twice, NaN trains on |
| Trainer | a resumed training has lost its optimizer's moments and its place in the data, and ends in other bytes |
"""

import argparse
import math
import os
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from hcpdiff.ckpt_manager import EmbFormat
from hcpdiff.diffusion.sampler import DDPMSigmaScheduler
from hcpdiff.diffusion.sampler.sigma_scheduler import SigmaScheduler
from hcpdiff.diffusion.sampler.timer import Timer
from hcpdiff.models.text_emb_ex import EmbeddingPTHook
from hcpdiff.trainer_ac_single import HCPTrainerSingleCard
from rainbowneko.data import ImageLabelSource, RatioBucket
from rainbowneko.parser import load_config_with_cli
from safetensors.torch import save_file
from torch import Tensor, nn

from charaloom.captions import SEPARATOR, training_caption
from charaloom.files import read_json, whole_file
from charaloom.lora import EMBEDDING_KEY
from charaloom.seeds import derive_seed

MENDED = {"hcpdiff": "2.6", "rainbowneko": "1.10.0"}
STATE = "state.pt"
NOISE_AROUND_CORE = 0.5  # of the deviation of the token table: apart enough that vectors learn different things


def seed_all(seed: int, purpose: str, step: int = 0) -> None:
    """Every generator that hcpdiff draws from, as a function of (seed, purpose, step) alone."""
    number = derive_seed(seed, purpose, str(step))
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


class WholeTimesteps(Timer):
    """Times k/n for whole k: the ones a discrete-time model was trained on."""

    def __init__(self, number: int):
        self.number = number

    def sample(self, shape: tuple[int, ...] = (1,)) -> Tensor:
        return torch.randint(0, self.number, shape) / self.number


class NoiseSchedule(DDPMSigmaScheduler):
    """The base model's own noise schedule, read from its `scheduler/`.

    `DDPMSigmaScheduler(t_shifter=x)` sets the shifter to nothing where one is given, and all loaders of hcpdiff 2.6
    give one: alpha(t) becomes sqrt(t) and sigma(t) sqrt(1 - t), noise runs backwards. The stock shifter also indexes a
    table on the CPU with times on the GPU.
    """

    def __init__(self, base: str):
        schedule = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
        self.number = schedule.config.num_train_timesteps
        self.alphas_cumprod = schedule.alphas_cumprod
        SigmaScheduler.__init__(self, timer=WholeTimesteps(self.number))
        self.pred_type = "eps"

    def shift(self, t: Tensor, **states: Any) -> Tensor:
        steps = (t * self.number).round().long().clip(0, self.number - 1)
        return self.alphas_cumprod.to(t.device)[steps]

    def c_noise(self, t: Tensor) -> Tensor:
        return (t * self.number).round()


class CaptionSource(ImageLabelSource):
    """Pictures of a folder with captions from a JSON file, in the order of that file.

    A sample is drawn from its caption by `captions.training_caption`, with the global random numbers that the trainer
    seeds by the step. `triggers`: a JSON list of the character's and the outfits' triggers.
    """

    def __init__(
        self,
        img_root: str,
        label_file: str,
        triggers: str,
        word: str | None,
        text_only: float,
        dropout: float,
        tag_dropout: float,
    ):
        super().__init__(img_root, label_file)
        self.triggers, self.word = frozenset(read_json(triggers)), word
        self.shares = {"text_only": text_only, "dropout": dropout, "tag_dropout": tag_dropout}

    def __getitem__(self, index: int) -> dict[str, Any]:
        name = self.img_ids[index]
        prompt = {"template": "{caption}", "caption": self.draw(self.label_dict[name])}
        return {"id": name, "image": self.img_root / name, "prompt": prompt}

    def draw(self, caption: str) -> str:
        drawn = random.Random(random.getrandbits(64))
        return training_caption(caption, self.triggers, self.word, drawn, **self.shares)


class Buckets(RatioBucket):
    """Buckets of aspect ratio, at most `num_bucket`, each with a batch of pictures of its own where there are enough.

    Stock buckets repeat their members up to a multiple of the batch: a lone picture of an odd shape would be seen as
    often as a batch of others.
    """

    num_bucket: int

    def build_buckets_from_images(self) -> None:
        for number in range(min(self.num_bucket, len(self.source)), 0, -1):
            self.num_bucket = number
            super().build_buckets_from_images()
            if min(len(bucket) for bucket in self.buckets) >= self.bs:
                return


class EmbeddingParser:
    """Trains one new word of `vectors` vectors for the text encoder of an SD 1.x model, without weight decay.

    It starts as noise around the mean embedding of the tokens of her core tags (`core`: a JSON list); around nothing
    where there are none. `seed` decides the noise.
    """

    def __init__(self, word: str, vectors: int, rate: float, core: str, seed: int):
        self.word, self.vectors, self.rate, self.core, self.seed = word, vectors, rate, core, seed

    def get_params_group(self, model: Any) -> tuple[list[dict[str, Any]], dict[str, nn.Parameter]]:
        start = self.start(model.tokenizer, model.TE.get_input_embeddings().weight.detach())
        embedding = nn.Parameter(start, requires_grad=False)
        hook = EmbeddingPTHook.hook(
            {self.word: embedding}, model.tokenizer, model.TE, N_repeats=model.tokenizer.N_repeats
        )
        hook.requires_grad_(False)
        embedding.requires_grad_(True)
        hook.emb_train.append(embedding)
        return [{"params": [embedding], "lr": self.rate, "weight_decay": 0.0}], {self.word: embedding}

    def start(self, tokenizer: Any, table: Tensor) -> Tensor:
        """First value, [vectors, width]; `table` is the embedding table [tokens, width]."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.word, "embedding"))
        noise = torch.randn(self.vectors, table.shape[1], generator=generator).to(table)
        tokens = sorted(set(tokenizer(SEPARATOR.join(read_json(self.core)), truncation=True).input_ids[1:-1]))
        centre = table[tokens].mean(0) if tokens else torch.zeros_like(table[0])
        return centre + noise * table.std() * NOISE_AROUND_CORE


class EmbeddingFormat(EmbFormat):
    """The embedding as safetensors, one tensor."""

    EXT = "safetensors"

    def save_ckpt(self, sd_model: tuple[str, Tensor], save_f: str) -> None:
        save_file({EMBEDDING_KEY: sd_model[1].detach().cpu().contiguous()}, save_f)


class Trainer(HCPTrainerSingleCard):
    """HCP's trainer with draws that depend on the step alone, milestones, a loss table, a progress line, and a state to
    go on from.

    After a kill the next run sets weights, moments and learning rates back to the state and takes the batches that were
    seen before out of the loader again, without looking at them: whatever the loader draws, it draws again, and the end
    is the same to the byte.
    """

    resumed = 0  # step of the state that it goes on from
    saved = 0  # step after which was saved what is due
    kept = 0.0  # when the state was written, by the monotonic clock

    def init_context(self, cfgs_raw: Any, gradient_accumulation_steps: int = 1) -> None:
        super().init_context(cfgs_raw, gradient_accumulation_steps)
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time; nothing reads unwritten memory
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.enable_mem_efficient_sdp(False)  # its backward adds in an order that changes
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.losses: list[str] = []

    def build_model(self) -> None:
        seed_all(self.cfgs.seed, "model")
        super().build_model()

    def config_model(self) -> None:
        super().config_model()
        self.model_wrapper.denoiser.to(memory_format=torch.channels_last)

    def build_dataset(self, data_builder: Any) -> Any:
        seed_all(self.cfgs.seed, "latents")  # crops and the sample of the VAE's posterior are drawn once, here
        return super().build_dataset(data_builder)

    def get_param_group_train(self) -> list[dict[str, Any]]:
        seed_all(self.cfgs.seed, "weights")
        return super().get_param_group_train()

    def train(self, loss_ema: float = 0.93) -> None:
        self.resumed = self.saved = self.restore()
        self.started = self.kept = time.monotonic()
        seed_all(self.cfgs.seed, "captions", 1)
        super().train(loss_ema)

    def restore(self) -> int:
        """Take up what a killed run has kept; returns its step, 0 where there is nothing to go on from."""
        path = Path(self.exp_dir, STATE)
        for half in path.parent.glob(f".{STATE}.*.part"):  # of a kill while it was written
            half.unlink()
        if not path.exists():
            return 0
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (EOFError, LookupError, RuntimeError, ValueError, UnpicklingError) as error:
            print(f"{path} cannot be read ({error}): starting again at step 1", flush=True)
            return 0
        for group, values in zip(self.optimizer.param_groups, state["weights"], strict=True):
            for parameter, value in zip(group["params"], values, strict=True):
                parameter.data.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.lr_scheduler.load_state_dict(state["rates"])
        self.losses = state["losses"]
        print(f"going on after step {state['step']} of {self.cfgs.train.train_steps}", flush=True)
        return state["step"]

    def keep(self, step: int) -> None:
        """Write the state whole or not at all; training goes on where the disk is full."""
        weights = [[parameter.detach() for parameter in group["params"]] for group in self.optimizer.param_groups]
        state = {"step": step, "weights": weights, "losses": self.losses}
        state |= {"optimizer": self.optimizer.state_dict(), "rates": self.lr_scheduler.state_dict()}
        try:
            with whole_file(Path(self.exp_dir, STATE)) as part:
                torch.save(state, part)
        except (OSError, RuntimeError) as error:  # torch tells a full disk as the one or the other
            print(f"step {step}: the state could not be kept ({error}); the one before stays", flush=True)
        self.kept = time.monotonic()

    def train_one_step(self, data_dict: dict[str, Any]) -> Any:
        step = self.global_step + 1
        if step <= self.resumed:
            seed_all(self.cfgs.seed, "captions", step + 1)
            return {"loss": 0.0}, {}, {}
        seed_all(self.cfgs.seed, "noise", step)
        rates = self.rates()
        result = super().train_one_step(data_dict)
        loss = sum(result[0].values())
        if not math.isfinite(loss):
            sys.exit(f"step {step}: the loss is {loss}; lower the learning rates or train in fp32")
        self.losses.append("\t".join([str(step), repr(loss), *rates]))
        self.report(step, loss)
        seed_all(self.cfgs.seed, "captions", step + 1)
        return result

    def rates(self) -> list[str]:
        return [repr(float(group["lr"])) for group in self.optimizer.param_groups]

    def report(self, step: int, loss: float) -> None:
        steps = self.cfgs.train.train_steps
        if step % max(1, steps // 50) and step != steps:
            return
        speed = (step - self.resumed) / (time.monotonic() - self.started)
        print(
            f"step {step}/{steps}, {speed:.2f} steps/s, {(steps - step) / speed:.0f} s left, loss {loss:.4f}",
            flush=True,
        )

    def save_model(self, from_raw: bool = False) -> None:
        """After every step: a milestone where one is due, then, from time to time, the state to go on from."""
        if self.real_step <= self.saved:
            return
        self.saved = self.real_step
        milestone = self.real_step in self.cfgs.train.milestones
        if milestone:
            super().save_model(from_raw)
            names = "\t".join(["step", "loss", *self.cfgs.train.rates])
            Path(self.exp_dir, "loss.tsv").write_text("\n".join([names, *self.losses, ""]), encoding="utf-8")
        if milestone or time.monotonic() - self.kept >= self.cfgs.train.state_seconds:
            self.keep(self.real_step)


def check_versions() -> None:
    """The mends are tested against one version of each; another one may need others."""
    found = {name: version(name) for name in MENDED}
    if found != MENDED:
        sys.exit(f"training needs {MENDED}, installed is {found}; install the versions of the environment's lock")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cfg", required=True)
    check_versions()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_num_interop_threads(1)
    parser, config = load_config_with_cli(arguments.parse_args().cfg, args_list=[])
    Trainer(parser, config).train()


if __name__ == "__main__":
    main()

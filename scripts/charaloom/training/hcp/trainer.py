"""HCP's trainer, made reproducible, resumable and quicker."""

import math
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import AutocastKwargs
from hcpdiff.trainer_ac_single import HCPTrainerSingleCard
from rainbowneko.data import DataGroup
from torch import Tensor

from charaloom.artifacts.sealed import seal_files, sealed_file, whole_files, whole_sealed
from charaloom.training.curves import Curves
from charaloom.training.hcp.ahead import Batches, FrozenText, put_back
from charaloom.training.hcp.seeding import seed_all
from charaloom.training.hcp.workers import WorkerPool

STATE, LOSSES = "state.pt", "loss.tsv"
REPORTS = 100  # lines of progress in a whole training
STOPPED = 143  # what a shell says of a process that SIGTERM ended


class Trainer(HCPTrainerSingleCard):
    """HCP's trainer with random numbers that depend on the step alone, milestones, a loss table, progress, and a state
    that a killed training resumes from.

    After a kill the next run sets weights, moments and learning rates back to the state and takes the batches up to
    there out of the loader again without computing on them: the loader's random numbers come out the same, and the end
    is the same to the byte. A training with more steps resumes from that state too.

    A milestone keeps the moving average of the weights: weights of single steps oscillate around it at a constant
    learning rate.

    On a CPU with several threads as many processes compute a part of the batch each (`workers`).

    With bf16 or fp16 the frozen base computes in that format. What is trained, its gradients and moments, noise, target
    and loss are fp32; fp16 scales the loss (accelerate).
    """

    resumed = 0  # step of the state that it resumed from
    saved = 0  # last step whose milestone and state were saved where due
    kept = 0.0  # when the state was written, by the monotonic clock
    stopping = False
    pool: WorkerPool | None = None
    text: FrozenText | None = None  # where no text encoder learns
    train_loader_group: DataGroup

    def init_context(self, cfgs_raw: Any, gradient_accumulation_steps: int = 1) -> None:
        super().init_context(cfgs_raw, gradient_accumulation_steps)
        # The base is held in the format already; autocast would compute norms and activations in fp32 and keep them.
        self.accelerator.autocast_handler = AutocastKwargs(enabled=False)
        reproducible = self.cfgs.train.reproducible
        torch.use_deterministic_algorithms(reproducible)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time; nothing reads unwritten memory
        torch.backends.cudnn.deterministic = reproducible
        torch.backends.cudnn.benchmark = not reproducible
        torch.backends.cudnn.allow_tf32 = not reproducible
        torch.backends.cuda.enable_mem_efficient_sdp(not reproducible)  # its backward adds in a varying order
        torch.backends.cuda.enable_cudnn_sdp(not reproducible)
        self.losses: list[str] = []
        self.smooth_loss: float | None = None

    def build_model(self) -> None:
        seed_all(self.cfgs.seed, "model")
        super().build_model()

    def config_model(self) -> None:
        super().config_model()
        denoiser = self.model_wrapper.denoiser.to(memory_format=torch.channels_last)
        denoiser.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(self.weight_dtype), *inputs[1:]))
        if self.cfgs.train.compile and self.device.type == "cuda":
            denoiser.compile_repeated_blocks()
        elif self.cfgs.train.compile:
            print("training.compile is for a GPU: nothing is compiled here", flush=True)
        if not self.model_wrapper.TE_trainable:
            self.text = FrozenText(self.model_wrapper, self.device)

    def prepare(self) -> None:
        """Move everything to the device, except text encoders that do not learn."""
        with put_back(self.model_wrapper.TE) if self.text else nullcontext():
            super().prepare()

    def to_dev(self, x: Any) -> Any:
        """On the device as it is: 16 bits would round the noise, and the sizes that SDXL is told."""
        if isinstance(x, dict):
            return {key: self.to_dev(value) for key, value in x.items()}
        return x.to(self.device, non_blocking=True) if isinstance(x, Tensor) else x

    def get_param_group_train(self) -> list[dict[str, Any]]:
        seed_all(self.cfgs.seed, "weights")
        return super().get_param_group_train()

    @property
    def weights(self) -> list[list[Tensor]]:
        """The trained weights by parameter group."""
        return [[parameter.detach() for parameter in group["params"]] for group in self.optimizer.param_groups]

    # --- the run

    def train(self, loss_ema: float = 0.93) -> None:
        self.split_batches()
        self.averaged = [[value.clone() for value in group] for group in self.weights]
        self.resumed = self.saved = self.restore()
        self.started = self.kept = time.monotonic()
        self.curves = Curves(self.cfgs.train.board, self.cfgs.train.rates, self.resumed)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop_soon)
        plan = self.cfgs.seed, self.cfgs.train.train_steps, self.resumed
        self.train_loader_group = Batches(self.train_loader_group, *plan, self.text)
        super().train(loss_ema)
        self.curves.close()

    def split_batches(self) -> None:
        """On a CPU one process for each thread, where a batch has as many pictures; else threads share each one."""
        threads = torch.get_num_threads()
        if self.device.type == "cpu" and sys.platform == "linux" and 1 < threads <= max(self.batch_size_list):
            torch.set_num_threads(1)
            self.pool = WorkerPool(threads, self.model_wrapper.trainable_parameters, self.part_gradients)

    def stop_soon(self, number: int, frame: Any) -> None:
        """A time limit or Ctrl-C: the step that is being computed is the last one."""
        self.stopping = True

    def train_one_step(self, data_dict: dict[str, Any]) -> Any:
        step = self.global_step + 1
        if step <= self.resumed:
            return {"loss": 0.0}, {}, {}
        seed_all(self.cfgs.seed, "noise", step)
        rates = self.rates()
        result = self.split_step(data_dict) if self.pool else super().train_one_step(data_dict)
        loss = sum(result[0].values())
        if not math.isfinite(loss):
            sys.exit(f"step {step}: the loss is {loss}; lower the learning rates or train in fp32")
        self.follow(step)
        self.losses.append("\t".join([str(step), repr(loss), *map(repr, rates)]))
        self.report(step, loss, rates)
        return result

    def follow(self, step: int) -> None:
        """Move the average towards the weights; quicker at first, so that it forgets the initial weights."""
        decay = min(self.cfgs.train.ema, (1 + step) / (10 + step))
        for averaged, values in zip(self.averaged, self.weights, strict=True):
            torch._foreach_lerp_(averaged, values, 1 - decay)

    def rates(self) -> list[float]:
        """Learning rates by parameter group; Prodigy multiplies them by what it has estimated, `d`."""
        return [float(group["lr"] * group.get("d", 1.0)) for group in self.optimizer.param_groups]

    # --- a batch in parts

    def split_step(self, data_dict: dict[str, Any]) -> Any:
        """One step of HCP's loop whose batch is computed in parts side by side; their gradients are added in order."""
        assert self.pool
        parameters = self.model_wrapper.trainable_parameters
        parts = [part for name, data in data_dict.items() for part in self.parts_of(name, data)]
        loss, gradients = self.pool.compute_all(parts)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.cfgs.train.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(parameters, self.cfgs.train.max_grad_norm)
        self.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"loss": loss}, {}, {}

    def parts_of(self, name: str, data: dict[str, Any]) -> list[tuple[Any, ...]]:
        """(name of the data, inputs, noised latents, share of the batch) of each part."""
        assert self.pool
        inputs = {key: self.to_dev(value) for key, value in data.items()}
        noised = self.model_wrapper.noise_sampler.add_noise_rand_t(inputs["image"])
        number, parts = len(inputs["image"]), 1 + len(self.pool.workers)
        edges = [number * part // parts for part in range(parts + 1)]
        rows = [slice(*edge) for edge in pairwise(edges) if edge[0] < edge[1]]
        return [(name, rows_of(inputs, row), rows_of(noised, row), (row.stop - row.start) / number) for row in rows]

    def part_gradients(
        self, name: str, inputs: dict[str, Any], noised: Any, share: float
    ) -> tuple[float, tuple[Tensor | None, ...]]:
        """The contribution of one part to the loss, and to the gradient of each parameter."""
        with self.model_wrapper.noise_sampler.given(noised):
            predicted = self.model_wrapper(name, **inputs)
        loss = sum(self.get_loss(name, predicted, inputs).values()) * share
        return loss.item(), torch.autograd.grad(loss, self.model_wrapper.trainable_parameters, allow_unused=True)

    # --- the state and the milestones

    def restore(self) -> int:
        """Load the state of an earlier run; returns its step, 0 where there is none to resume from."""
        for half in Path(self.exp_dir).glob(f".{STATE}.*.part"):  # of a kill while it was written
            half.unlink()
        path = whole_sealed(Path(self.exp_dir, STATE))
        if path is None:
            return 0
        state = torch.load(path, map_location="cpu", weights_only=True)
        if missing := self.missing_before(state["step"]):
            print(f"the checkpoint of step {missing} was not kept: starting again at step 1", flush=True)
            return 0
        write_over(self.weights, state["weights"])
        write_over(self.averaged, state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.lr_scheduler.load_state_dict(state["rates"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.losses = state["losses"]
        self.write_losses()
        print(f"going on after step {state['step']} of {self.cfgs.train.train_steps}", flush=True)
        return state["step"]

    def missing_before(self, step: int) -> int | None:
        """The first milestone up to a state whose checkpoint is missing or damaged; the last step, if the state lies
        behind it."""
        if step > self.cfgs.train.train_steps:
            return self.cfgs.train.train_steps
        for milestone in self.cfgs.train.milestones:
            if milestone <= step and not whole_files(Path(self.ckpt_dir, f"{milestone}.json")):
                return milestone
        return None

    def keep(self, step: int) -> None:
        """Write the state whole or not at all; training goes on where the disk is full."""
        state = {"step": step, "weights": self.weights, "averaged": self.averaged, "losses": self.losses}
        state |= {"optimizer": self.optimizer.state_dict(), "rates": self.lr_scheduler.state_dict()}
        state["scaler"] = self.accelerator.scaler.state_dict() if self.accelerator.scaler else None
        try:
            with sealed_file(Path(self.exp_dir, STATE)) as part:
                torch.save(state, part)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as the one or the other
            print(f"step {step}: the state could not be kept ({error}); the one before stays", flush=True)
        self.kept = time.monotonic()

    @contextmanager
    def average_in_place(self) -> Iterator[None]:
        """Inside, the average takes the place of the weights."""
        before = [[value.clone() for value in group] for group in self.weights]
        write_over(self.weights, self.averaged)
        try:
            yield
        finally:
            write_over(self.weights, before)

    def save_model(self, from_raw: bool = False) -> None:
        """After every step: save a milestone where one is due, then, from time to time, the state to resume from."""
        if self.real_step <= self.saved:
            return
        self.saved = self.real_step
        milestone = self.real_step in self.cfgs.train.milestones
        if milestone:
            with self.average_in_place():
                super().save_model(from_raw)
            folder = Path(self.ckpt_dir)
            files = [path.name for path in folder.glob(f"*-{self.real_step}.safetensors")]
            seal_files(folder / f"{self.real_step}.json", files)
            self.write_losses()
        stopping = self.stopping  # read once: a signal between two looks would end the training without its state
        if milestone or stopping or time.monotonic() - self.kept >= self.cfgs.train.state_seconds:
            self.keep(self.real_step)
        if stopping:
            print(f"told to stop: the state of step {self.real_step} is kept, the next run goes on from it", flush=True)
            self.curves.close()
            sys.exit(STOPPED)

    def write_losses(self) -> None:
        names = "\t".join(["step", "loss", *self.cfgs.train.rates])
        with sealed_file(Path(self.exp_dir, LOSSES)) as part:
            part.write_text("\n".join([names, *self.losses, ""]), encoding="utf-8")

    # --- progress

    def report(self, step: int, loss: float, rates: list[float]) -> None:
        self.smooth_loss = loss if self.smooth_loss is None else 0.95 * self.smooth_loss + 0.05 * loss
        steps = self.cfgs.train.train_steps
        if step % max(1, steps // REPORTS) and step != steps:
            return
        speed = (step - self.resumed) / (time.monotonic() - self.started)
        pictures = speed * sum(self.batch_size_list)
        numbers = {"loss": self.smooth_loss, "images per second": pictures, "memory MB": self.memory()}
        self.curves.add(step, steps, numbers, rates)
        print(
            f"step {step}/{steps}, {speed:.2f} steps/s, {pictures:.1f} images/s, {(steps - step) / speed:.0f} s left,"
            f" loss {self.smooth_loss:.4f}",
            flush=True,
        )

    def memory(self) -> float:
        """Peak use in MiB: of the GPU, or of the processes on the CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        workers = sum(self.pool.grown) if self.pool else 0
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + workers) / 2**10


def write_over(groups: list[list[Tensor]], values: list[list[Tensor]]) -> None:
    """Copy values into tensors, group by group."""
    for targets, sources in zip(groups, values, strict=True):
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)


def rows_of(value: Any, rows: slice) -> Any:
    """Rows of every tensor and list in `value`, whose rows are pictures."""
    if isinstance(value, dict):
        return type(value)({key: rows_of(inside, rows) for key, inside in value.items()})
    if isinstance(value, tuple):
        return tuple(rows_of(inside, rows) for inside in value)
    return value[rows] if isinstance(value, Tensor | list) else value

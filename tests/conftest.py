"""What all tests share: tiny random base models, a dataset drawn by code, and how several workers divide the tests."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

# Groups of tests that take longest, in the order they are begun: the worker that is ready first takes the next one.
LONGEST = ("slurm", "test_consequences", "test_end_to_end", "training", "test_plan", "test_run", "test_raw")
QUICK_SECONDS = 10.0  # a test that takes longer belongs among the slow ones


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Several workers: a group stays on one, since its tests share costly fixtures; the mark for it needs pytest 8."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(Path(nodeid.partition("::")[0]))

    return ByGroup(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(group_of(item.path)))


def group_of(file: Path) -> str:
    """A group is a file, or a folder whose files share something costly: a cluster, a training."""
    return file.parent.name if file.parent.name in LONGEST else file.stem


def rank(group: str) -> int:
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that `make test-fast` runs and should not; a busy machine is no failure, so nothing fails."""
    calls = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    late = [report for report in calls if report.duration > QUICK_SECONDS and "slow" not in report.keywords]
    if late:
        terminalreporter.section(f"longer than {QUICK_SECONDS:.0f} s and not marked slow")
        for report in sorted(late, key=lambda report: -report.duration)[:10]:
            terminalreporter.line(f"{report.duration:6.1f} s  {report.nodeid.partition('@')[0]}")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of the SD 1.x architecture with random weights, 64 px, made offline."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    make_tiny_base(folder)
    return folder


def make_tiny_base(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer(*tokenizer_files(folder.with_name("tokenizer-source")), model_max_length=77)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        hidden_act="quick_gelu",
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    )
    scheduler = DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of the SDXL architecture with random weights, 64 px, made offline."""
    folder = tmp_path_factory.mktemp("base") / "tiny-xl"
    make_tiny_sdxl(folder)
    return folder


def make_tiny_sdxl(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(0)
    files = tokenizer_files(folder.with_name("tokenizer-xl"))
    tokenizers = [CLIPTokenizer(*files, model_max_length=77) for _ in range(2)]
    ids = {"bos_token_id": tokenizers[0].bos_token_id, "eos_token_id": tokenizers[0].eos_token_id}
    texts = [
        CLIPTextConfig(
            vocab_size=len(tokenizers[0]),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=3,
            num_attention_heads=4,
            hidden_act=act,
            max_position_embeddings=77,
            projection_dim=width,
            pad_token_id=tokenizers[0].pad_token_id,
            **ids,
        )
        for width, act in ((32, "quick_gelu"), (48, "gelu"))
    ]
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=80,
        attention_head_dim=8,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=48 + 6 * 8,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=0.13025,
    )
    scheduler = DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )
    pipe.save_pretrained(folder)


def tokenizer_files(folder: Path) -> tuple[str, str]:
    """Vocabulary and merges of a CLIP tokenizer over bytes: 256 bytes, each also as a word's end, and nine merges."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder.mkdir(parents=True)
    letters = sorted(ByteLevel.alphabet())
    merges = ["h a", "a i", "i r</w>", "b l", "u e</w>", "g i", "gi r", "gir l</w>", "r e"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return str(folder / "vocab.json"), str(folder / "merges.txt")


PICTURE_SIZES = [(64, 64), (64, 64), (96, 64), (64, 64), (80, 64), (64, 64), (96, 64), (64, 64)]


@pytest.fixture(scope="session")
def drawn_pictures() -> list[tuple[str, bytes]]:
    """Name and PNG bytes of a few pictures of different sizes and colours."""
    from PIL import Image, ImageDraw

    pictures = []
    for index, size in enumerate(PICTURE_SIZES):
        picture = Image.new("RGB", size, (30 * index, 255 - 30 * index, 128))
        ImageDraw.Draw(picture).ellipse((8, 8, 48, 56), fill=(200, 10 * index, 90))
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        pictures.append((f"{index:03d}.png", buffer.getvalue()))
    return pictures

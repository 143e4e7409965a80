"""Noise, embedding and layers mended in hcpdiff 2.6: the stock version shows the fault, ours does not."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from charaloom.config.families import EMBEDDING_KEY
from charaloom.diffusion.lora import read_weights
from tests.unit.training.trainings import latents


@pytest.mark.slow
def test_mend_noise_schedule_is_the_base_models_own(tiny_base: Path) -> None:
    import torch
    from diffusers import DDPMScheduler
    from hcpdiff.easy import SD15_auto_loader

    from charaloom.training.hcp.noise import NoiseSchedule

    steps = torch.arange(0, 1000, 37)
    expected = DDPMScheduler.from_pretrained(tiny_base, subfolder="scheduler").alphas_cumprod[steps]
    stock = SD15_auto_loader(str(tiny_base))["noise_sampler"].sigma_scheduler
    assert torch.equal(stock.alpha(steps / 1000), (steps / 1000).sqrt()), "no schedule at all, and the wrong way round"
    ours = NoiseSchedule(str(tiny_base))
    assert torch.equal(ours.alpha(steps / 1000), expected.sqrt())
    assert torch.equal(ours.sigma(steps / 1000), (1 - expected).sqrt())
    sampled = ours.timer.sample((1000,))
    assert torch.equal(ours.c_noise(sampled), ours.c_noise(sampled).round())
    assert 0 <= sampled.min() < 0.05 < 0.95 < sampled.max() < 1
    assert not torch.equal(stock.c_noise(stock.timer.sample((9,))) % 1, torch.zeros(9))


@pytest.mark.slow
def test_mend_min_snr_weights_by_the_schedule(tiny_base: Path) -> None:
    import torch
    from hcpdiff.diffusion.sampler import VPSampler
    from hcpdiff.loss import DiffusionLossContainer, MinSNRWeight

    from charaloom.training.hcp.noise import NoiseSchedule

    sampler, latent, times = VPSampler(NoiseSchedule(str(tiny_base))), latents(), torch.tensor([0.02, 0.9])
    noise, guess = torch.ones_like(latent), torch.zeros_like(latent)
    pred = {"model_pred": guess, "noise": noise, "timesteps": times, "x_0": latent, "x_t": latent}
    loss = DiffusionLossContainer(MinSNRWeight(torch.nn.MSELoss(reduction="none"), gamma=5.0))
    snr = sampler.sigma_scheduler.alpha(times) ** 2 / sampler.sigma_scheduler.sigma(times) ** 2
    assert snr[0] > 5 > snr[1]
    expected = (torch.minimum(snr, torch.tensor(5.0)) / snr).mean()
    assert torch.isclose(loss({**pred, "noise_sampler": sampler}, {}), expected)


@pytest.mark.slow
def test_mend_embedding_on_the_device_of_the_model(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from hcpdiff.ckpt_manager import EmbFormat
    from hcpdiff.easy import SD15_auto_loader
    from hcpdiff.parser import CfgEmbPTParser
    from rainbowneko import _share

    from charaloom.training.hcp.text import EmbeddingFormat, EmbeddingParser

    _share.loggers = SimpleNamespace(info=print)
    models = SD15_auto_loader(str(tiny_base))
    model = SimpleNamespace(tokenizer=models["tokenizer"], TE=models["TE"])
    model.tokenizer.N_repeats = 1
    EmbFormat().save_ckpt(("hana_emb", torch.ones(2, 32)), str(tmp_path / "hana_emb.pt"))
    assert (tmp_path / "hana_emb.pt").read_bytes()[:2] == b"PK", "a pickle in a zip"
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
            CfgEmbPTParser(str(tmp_path), {"hana_emb": {"lr": 1e-3}}).get_params_group(model)
    (tmp_path / "core.json").write_text('["blue hair"]')
    parser = EmbeddingParser("hana_emb", 3, 0.01, str(tmp_path / "core.json"), seed=1)
    groups, words = parser.get_params_group(model)
    assert (groups[0]["lr"], groups[0]["weight_decay"]) == (0.01, 0.0)
    table = model.TE.get_input_embeddings().weight
    assert torch.equal(words["hana_emb"], parser.start(model.tokenizer, table.detach()))
    assert words["hana_emb"].requires_grad
    EmbeddingFormat().save_ckpt(("hana_emb", words["hana_emb"]), str(tmp_path / "hana_emb.safetensors"))
    assert torch.equal(read_weights(tmp_path / "hana_emb.safetensors")[EMBEDDING_KEY], words["hana_emb"].detach())


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "into", "out"), [(512, 64, 64), (512, 64, 256), (8, 64, 48), (77, 320, 1280)])
@pytest.mark.parametrize("bias", [True, False])
def test_mend_lora_computes_what_hcps_computes(rows: int, into: int, out: int, bias: bool) -> None:
    """Many rows and few, square and wide: every way through the layer, against the stock one."""
    import torch
    from hcpdiff.models.lora_layers_patch import LoraLayer

    from charaloom.training.hcp.layers import Lora, LoraContainer

    outputs = []
    for kind in (LoraLayer, Lora):
        torch.manual_seed(1)
        host = torch.nn.ModuleDict({"layer": torch.nn.Linear(into, out, bias)}).requires_grad_(False)
        block = kind.wrap_layer("lora", host["layer"], rank=4, alpha=2.0, parent_block=host, host_name="layer")
        torch.nn.init.normal_(block.layer.W_up)
        x = torch.randn(2, rows, into, requires_grad=True)
        result = host["layer"](x)
        gradients = torch.autograd.grad(result.square().mean(), [x, block.layer.W_down, block.layer.W_up])
        outputs.append([result, *gradients])
        assert isinstance(host["layer"], LoraContainer) == (kind is Lora)
    for stock, ours in zip(*outputs, strict=True):
        assert torch.allclose(stock, ours, rtol=1e-4, atol=1e-5 * float(stock.abs().max()))


@pytest.mark.slow
def test_a_lora_on_a_bf16_layer_computes_what_one_on_fp32_does() -> None:
    import torch

    from charaloom.training.hcp.layers import Lora

    outputs = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)
        host = torch.nn.ModuleDict({"layer": torch.nn.Linear(64, 48)}).requires_grad_(False).to(dtype)
        block = Lora.wrap_layer("lora", host["layer"], rank=4, alpha=2.0, parent_block=host, host_name="layer")
        torch.nn.init.normal_(block.layer.W_up)
        x = torch.randn(2, 512, 64).to(dtype).requires_grad_()
        result = host["layer"](x)
        assert result.dtype == dtype
        gradients = torch.autograd.grad(result.float().square().mean(), [x, block.layer.W_down, block.layer.W_up])
        assert [gradient.dtype for gradient in gradients] == [dtype, torch.float32, torch.float32]
        outputs.append([result, *gradients])
    for exact, rounded in zip(*outputs, strict=True):
        assert torch.allclose(exact, rounded.float(), rtol=0.05, atol=0.02 * float(exact.detach().abs().max()))


@pytest.mark.slow
def test_hcpdiff_has_no_loha_that_could_be_a_recipe() -> None:
    """When this fails, a recipe for it is worth a look: docs/training.md says why there is none."""
    with pytest.raises(ModuleNotFoundError, match=r"hcpdiff\.models\.plugin"):
        import hcpdiff.models.lora_layers  # noqa: F401

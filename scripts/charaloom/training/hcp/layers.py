"""LoRA layers that compute what HCP's compute, with less work."""

from typing import Any

import torch
from hcpdiff.models.lora_base_patch import LoraPatchContainer
from hcpdiff.models.lora_layers_patch import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F

# One product with the sum of both weights beats three thin ones above this many products per weight: set by counting
# products. `make bench-train` measures the whole layer beside hcpdiff's own.
MERGE_ABOVE = 4.0
THIN_SPEED = 0.4  # of thin products, as a share of the speed of whole ones; set by hand


class LowRankLinear(torch.autograd.Function):
    """x W^T + b + scale * (x down^T) up^T, with the gradients of `x`, `down` and `up` alone.

    `x` is [..., in], `weight` [out, in], `down` [rank, in], `up` [out, rank]. Where many rows pass on a CPU, the two
    weights are added first: a GPU has no room for the sums. The gradients of the thin factors come from thin products
    where that is less arithmetic than the gradient of the whole weight. `x` and `weight` may have 16 bits: then the
    factors, which are fp32, are multiplied in that format, and never added to the weight, where 16 bits lose them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        rows = x.numel() // x.shape[-1]
        ctx.scale = scale
        many = rows * sum(weight.shape) > MERGE_ABOVE * weight.numel()
        ctx.merged = many and weight.dtype == torch.float32 and weight.device.type == "cpu"
        if ctx.merged:
            weight = torch.addmm(weight, up, down, alpha=scale)
            ctx.save_for_backward(x, weight, down, up)
            return F.linear(x, weight, bias)
        thin = F.linear(x, down.to(x.dtype))
        ctx.save_for_backward(x, weight, down, up, thin)
        out = F.linear(x, weight, bias)
        out.view(-1, out.shape[-1]).addmm_(thin.view(-1, thin.shape[-1]), up.to(x.dtype).t(), alpha=scale)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x, weight, down, up, *thin = ctx.saved_tensors
        down, up = down.to(x.dtype), up.to(x.dtype)
        into = gradient.reshape(-1, gradient.shape[-1])
        rows = x.reshape(-1, x.shape[-1])
        if ctx.merged and not worth_thin(weight, down):
            whole = into.t() @ rows
            for_up, for_down = whole @ down.t(), up.t() @ whole
            for_x = into @ weight if ctx.needs_input_grad[0] else None
        else:
            through = into @ up
            for_up, for_down = (
                into.t() @ (thin[0].view(-1, down.shape[0]) if thin else rows @ down.t()),
                through.t() @ rows,
            )
            for_x = into @ weight if ctx.needs_input_grad[0] else None
            if for_x is not None and not ctx.merged:
                for_x.addmm_(through, down, alpha=ctx.scale)
        for_x = for_x.view(x.shape) if for_x is not None else None
        return for_x, None, None, for_down.float().mul_(ctx.scale), for_up.float().mul_(ctx.scale), None


def worth_thin(weight: Tensor, down: Tensor) -> bool:
    """Whether four thin products cost less than the gradient of the whole weight."""
    return 2 * down.shape[0] * sum(weight.shape) < THIN_SPEED * weight.numel()


class LoraContainer(LoraPatchContainer):
    """Replaces a layer: one plain LoRA on a linear layer is computed here, everything else by HCP's container."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        block = self[self.plugin_names[0]]
        if len(self.plugin_names) > 1 or not isinstance(self._host, nn.Linear):
            return super().forward(x, *args, **kwargs)
        layer = block.layer
        return LowRankLinear.apply(x, self._host.weight, self._host.bias, layer.W_down, layer.W_up, block.scale)


class Lora(LoraLayer):
    """HCP's LoRA, same parameters and names, in a container that computes less."""

    container_cls = LoraContainer

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.scale = float(self.alpha)

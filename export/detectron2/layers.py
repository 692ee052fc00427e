"""Layers with detectron2's names for their weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUPS = 32
"""Of detectron2's group normalisation."""


class Norm(nn.Module):
    """Batch normalisation in inference, frozen or trained: the same arithmetic and weights."""

    eps = 1e-5
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0)):
            self.register_buffer(name, torch.full((channels,), value))
        for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        """Maps of any size, by their running mean and variance."""
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def make_norm(kind: str, channels: int) -> nn.Module | None:
    """A normalisation of the configuration's name; None for ``""``."""
    if kind == "":
        return None
    return nn.GroupNorm(GROUPS, channels) if kind == "GN" else Norm(channels)


class Conv2d(nn.Conv2d):
    """A convolution with what follows it: ``norm`` (may be None) and a ReLU (if wanted)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int = 1,
        *,
        norm: str = "",
        relu: bool = False,
        bias: bool | None = None,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__(
            inputs,
            outputs,
            size,
            stride,
            padding=dilation * (size // 2),
            dilation=dilation,
            groups=groups,
            bias=norm == "" if bias is None else bias,
        )
        self.norm = make_norm(norm, outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Convolution, normalisation, ReLU."""
        x = super().forward(x)
        if self.norm is not None:
            x = self.norm(x)
        return x.relu() if self.relu else x


@torch.no_grad()
def fold_norms(module: nn.Module) -> None:
    """Makes each batch normalisation a part of its convolution, in place."""
    for conv in module.modules():
        if isinstance(conv, Conv2d) and isinstance(conv.norm, Norm):
            norm = conv.norm
            factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            shift = norm.bias - norm.running_mean * factor
            if conv.bias is not None:
                shift = shift + conv.bias * factor
            conv.weight.mul_(factor[:, None, None, None])
            conv.bias = nn.Parameter(shift, requires_grad=False)
            conv.norm = None

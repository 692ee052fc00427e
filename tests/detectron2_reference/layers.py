"""Convolutions that carry their norm, as detectron2 names them in a checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with constants: ``(x - running_mean) / sqrt(running_var + 1e-5) * weight + bias``.

    All four, (C,) each, are buffers, and there is no ``num_batches_tracked``. Follows
    ``detectron2.layers.FrozenBatchNorm2d``.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.eps = 1e-5
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels) - self.eps)

    def forward(self, x: Tensor) -> Tensor:
        def per_channel(values: Tensor) -> Tensor:
            return values[None, :, None, None]

        deviation = per_channel(torch.sqrt(self.running_var + self.eps))
        normalised = (x - per_channel(self.running_mean)) / deviation
        return normalised * per_channel(self.weight) + per_channel(self.bias)


def make_norm(name: str, channels: int) -> nn.Module | None:
    """The norm of a config's ``NORM`` key; none for an empty name. Follows ``get_norm``."""
    if name == "":
        return None
    if name == "FrozenBN":
        return FrozenBatchNorm2d(channels)
    if name in ("BN", "SyncBN"):  # the same in inference, and in a checkpoint
        return nn.BatchNorm2d(channels)
    if name == "GN":
        return nn.GroupNorm(32, channels)
    raise ValueError(f"norm {name!r}")


class Conv(nn.Conv2d):
    """A convolution, then its norm, if any, whose weights are stored under ``norm.``.

    Follows ``detectron2.layers.Conv2d``; the activation is the caller's. With a norm there is no
    bias.
    """

    def __init__(self, inputs: int, outputs: int, size: int, norm: str = "", **options: Any):
        options.setdefault("bias", norm == "")
        super().__init__(inputs, outputs, size, **options)
        self.norm = make_norm(norm, outputs)

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution without its norm."""
        return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolve(x)
        return x if self.norm is None else self.norm(x)

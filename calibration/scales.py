"""Scales of quantised tensors, and weights in steps of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from maskrt.errors import UnsupportedModelError

Format = Literal["int8", "fp8"]
SIGNIFICANT = 8  # bits of a bfloat16's significand
SMALLEST = 2.0**-14  # float16's smallest normal number


@dataclass(frozen=True)
class Steps:
    """What a quantised number is: symmetric, zero is zero."""

    largest: float
    """The number that stands for the end of a range."""
    type: int
    """Of ``TensorProto``."""
    dtype: np.dtype
    opset: int
    """From which on standard ONNX has it in Q/DQ."""


FORMATS: dict[Format, Steps] = {
    "int8": Steps(127.0, TensorProto.INT8, np.dtype(np.int8), 13),
    "fp8": Steps(448.0, TensorProto.FLOAT8E4M3FN, np.dtype(ml_dtypes.float8_e4m3fn), 19),
}


def scale_of(largest: NDArray[np.generic] | float, steps: Steps) -> NDArray[np.float32]:
    """The scale with which ±``largest`` is just representable.

    It is rounded up to a number that float16 and bfloat16 hold exactly, so that a graph in 16 bits
    has the same steps. That widens the range by 0.4 % on average.

    Args:
        largest: of a tensor, or of each channel; 0: nothing is known, the scale is the smallest.
        steps: of the format.
    """
    wanted = np.asarray(largest, np.float64) / steps.largest
    fraction, exponent = np.frexp(np.maximum(wanted, SMALLEST))
    rounded = np.ceil(fraction * 2**SIGNIFICANT) / 2**SIGNIFICANT
    return np.ldexp(rounded, exponent).astype(np.float32)


def quantise_weights(
    name: str, weights: NDArray[np.generic], axis: int, steps: Steps
) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
    """Weights in steps of a scale for each output channel.

    Args:
        name: for messages.
        weights: float32.
        axis: of the output channels.
        steps: of the format.

    Returns:
        The weights' numbers, of their shape, and the scales [channels].

    Raises:
        UnsupportedModelError: there is a NaN or an infinity.
    """
    wide = np.asarray(weights, np.float32)
    if not np.isfinite(wide).all():
        raise UnsupportedModelError(
            f"the weights '{name}' hold NaN or infinity: train again, or load an earlier checkpoint"
        )
    others = tuple(i for i in range(wide.ndim) if i != axis)
    scales = scale_of(np.abs(wide).max(axis=others), steps)
    spread = np.expand_dims(scales, others)
    numbers = wide / spread
    if steps.dtype == np.int8:
        numbers = np.rint(numbers)
    return np.clip(numbers, -steps.largest, steps.largest).astype(steps.dtype), scales

"""Constants in a low precision, and what of them did not fit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import TensorProto

from maskrt.errors import UnsupportedModelError

DTYPES: dict[int, np.dtype] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
LABELS: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
}


def largest_finite(kind: int) -> float:
    """Of a float type of ``TensorProto``."""
    return float(ml_dtypes.finfo(DTYPES[kind]).max)


def convert(
    name: str, values: NDArray[np.generic], kind: int, notes: list[str]
) -> NDArray[np.generic]:
    """A constant's values as another float type.

    Values beyond its range become its largest finite number, which is noted; so is a tensor whose
    values all vanish. A single infinity, such as the bound of a Clip, stays what it is.

    Raises:
        UnsupportedModelError: there is a NaN, or weights that are infinite.
    """
    wide = np.asarray(values, np.float32)
    finite = np.isfinite(wide)
    if np.isnan(wide).any() or (wide.size > 1 and not finite.all()):
        raise UnsupportedModelError(
            f"the weights '{name}' hold NaN or infinity: train again, or load an earlier checkpoint"
        )
    limit = largest_finite(kind)
    beyond = finite & (np.abs(wide) > limit)
    if beyond.any():
        largest = float(np.abs(wide[beyond]).max())
        notes.append(
            f"{name}: {int(beyond.sum())} of {wide.size} values are beyond {LABELS[kind]}'s range "
            f"and became ±{limit:.6g}; the largest is {largest:.6g}"
        )
        wide = np.where(beyond, np.copysign(np.float32(limit), wide), wide)
    narrow = wide.astype(DTYPES[kind])
    if np.any(wide) and not np.any(narrow):
        notes.append(
            f"{name}: all {wide.size} values are too small for {LABELS[kind]} and became zero"
        )
    return narrow


class LowConstants:
    """Copies of constants in other types, each made once."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._made: dict[tuple[int, int], gs.Constant] = {}
        self._from: list[tuple[gs.Constant, gs.Constant]] = []

    def get(self, constant: gs.Constant, values: NDArray[np.generic], kind: int) -> gs.Constant:
        """The copy of a constant in a float type; ``values`` are the constant's."""
        key = (id(constant), kind)
        if key not in self._made:
            converted = convert(constant.name, values, kind, self._notes)
            copy = gs.Constant(f"{constant.name}/{LABELS[kind]}", converted)
            self._made[key] = copy
            self._from.append((constant, copy))
        return self._made[key]

    def take_names(self, outputs: list[gs.Tensor]) -> None:
        """A copy has its original's name if that is no output and nothing reads it any more."""
        given = {tensor.name for tensor in outputs}
        for original, copy in self._from:
            if not original.outputs and original.name and original.name not in given:
                copy.name, original.name = original.name, ""

"""What the wrappers share: checks, and the C names of types and layouts."""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins.backend import Backend

INT32_MAX = 2**31 - 1
Layout = Literal["linear", "channels_last"]
"""``linear``: [N, C, H, W]; ``channels_last``: [N, H, W, C]."""
LAYOUTS: dict[str, int] = {"linear": 0, "channels_last": 1}
"""``MaskrtLayout`` in ``common/export.h``."""
_TYPES = {"float32": 0, "float16": 1, "int8": 2, "int32": 3, "uint8": 5, "bfloat16": 7, "int64": 8}


def type_number(dtype: DTypeLike, allowed: Sequence[str]) -> int:
    """``MaskrtType`` of a dtype, if its name is among the allowed ones."""
    name = np.dtype(dtype).name
    if name not in allowed:
        raise ValueError(f"found dtype {name}, expected {' or '.join(allowed)}")
    return _TYPES[name]


def array(
    name: str, value: Any, dtypes: str | Sequence[str], shape: Sequence[int | str]
) -> NDArray[Any]:
    """The value, contiguous, if it is an array of such a dtype and shape.

    Args:
        name: of the argument, for the message.
        value: what the caller gave.
        dtypes: names of the expected ones ("bfloat16" is that of the package ``ml_dtypes``).
        shape: expected sides; a string stands for any.
    """
    names = [dtypes] if isinstance(dtypes, str) else list(dtypes)
    good = isinstance(value, np.ndarray) and value.dtype.name in names
    good = good and value.ndim == len(shape)
    good = good and all(
        isinstance(want, str) or have == want for have, want in zip(value.shape, shape, strict=True)
    )
    if not good:
        is_array = isinstance(value, np.ndarray)
        found = f"{value.dtype} {list(value.shape)}" if is_array else type(value).__name__
        sides = ", ".join(map(str, shape))
        raise ValueError(f"found {name} {found}, expected {' or '.join(names)} [{sides}]")
    if max(value.shape, default=0) > INT32_MAX:
        raise ValueError(f"found {name} of shape {list(value.shape)}, expected sides below 2**31")
    return np.ascontiguousarray(value)


def output(
    run: Backend, out: NDArray[Any] | None, shape: tuple[int, ...], dtype: DTypeLike
) -> NDArray[Any]:
    """The caller's array if it can be written as asked, or a new one."""
    if out is None:
        return run.empty(shape, dtype)
    good = isinstance(out, np.ndarray) and out.dtype == np.dtype(dtype) and out.shape == shape
    if not (good and out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        found = f"{out.dtype} {list(out.shape)}" if isinstance(out, np.ndarray) else type(out)
        raise ValueError(
            f"found out {found}, expected {np.dtype(dtype).name} {list(shape)}, "
            "contiguous and writeable"
        )
    return out


def count(name: str, value: int, low: int = 0) -> int:
    """An integer that fits the library's int32, which ctypes would cut without a word."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"found {name} {value!r}, expected an integer") from None
    if not low <= number <= INT32_MAX:
        raise ValueError(f"found {name} {number}, expected {low} or more, and below 2**31")
    return number


def floats(name: str, values: Sequence[float], n: int) -> ctypes.Array[ctypes.c_float]:
    """Exactly ``n`` numbers as a C array."""
    numbers = [float(value) for value in values]
    if len(numbers) != n:
        raise ValueError(f"found {len(numbers)} numbers as {name}, expected {n}")
    return (ctypes.c_float * n)(*numbers)

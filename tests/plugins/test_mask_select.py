"""The native MaskSelect against the torch op."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskrt.export import ops as reference
from maskrt.plugins import backend, ops
from maskrt.plugins.library import call, library
from maskrt.plugins.ops.arguments import Layout
from maskrt.plugins.ops.mask_select import MaskSelectParams

pytestmark = pytest.mark.usefixtures("native")

TYPES: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
LAYOUTS: list[Layout] = ["linear", "channels_last"]


def expected_masks(logits: NDArray[Any], labels: NDArray[Any], count: NDArray[Any]) -> NDArray[Any]:
    tensors = [torch.from_numpy(a) for a in (logits.astype(np.float32), labels, count)]
    masks: NDArray[Any] = reference.mask_select(*tensors).numpy()
    return masks


def arranged(logits: NDArray[Any], layout: Layout, padding: int) -> NDArray[Any]:
    """The logits [N, C, m, n] as the operator takes them; NaN in the channels beyond C."""
    if layout == "linear":
        return logits
    widths = ((0, 0), (0, 0), (0, 0), (0, padding))
    padded: NDArray[Any] = np.pad(logits.transpose(0, 2, 3, 1), widths, constant_values=np.nan)
    return padded


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    slots=st.integers(1, 5),
    classes=st.integers(1, 12),
    size=st.tuples(st.integers(1, 33), st.integers(1, 40)),
    kind=st.sampled_from(list(TYPES)),
    layout=st.sampled_from(LAYOUTS),
    padding=st.integers(0, 8),
    scale=st.sampled_from([0.1, 4.0, 60.0]),
    threads=st.integers(0, 2),
    seed=st.integers(0, 2**16),
)
@example(1, 2, 1, (28, 28), "float16", "channels_last", 7, 4.0, 0, 0)
@example(1, 1, 91, (56, 56), "float32", "linear", 0, 4.0, 0, 0)
def test_as_the_torch_op(
    target: str,
    batch: int,
    slots: int,
    classes: int,
    size: tuple[int, int],
    kind: str,
    layout: Layout,
    padding: int,
    scale: float,
    threads: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(batch * slots, classes, *size)) * scale).astype(TYPES[kind])
    labels = rng.integers(0, classes + 3, (batch, slots), dtype=np.int32)
    count = rng.integers(0, slots + 1, batch, dtype=np.int32)
    expected = expected_masks(logits, labels, count)
    given_logits = arranged(logits, layout, padding)

    def select(dtype: Any) -> NDArray[Any]:
        return ops.mask_select(
            given_logits,
            labels,
            count,
            layout=layout,
            classes=classes,
            dtype=dtype,
            threads=threads,
        )

    masks = select(np.float32)
    assert masks.dtype == np.float32
    # one rounding each of the exponential, the sum and the quotient, on both sides
    np.testing.assert_allclose(masks, expected, rtol=1e-6, atol=1e-37)
    np.testing.assert_array_equal(select(np.float16), masks.astype(np.float16))
    rounded = np.floor(masks * np.float32(255) + np.float32(0.5))
    np.testing.assert_array_equal(select(np.uint8), rounded.astype(np.uint8))
    with backend.use(backend.Cpu()):
        np.testing.assert_array_equal(select(np.float32), masks)


def test_numbers_beyond_their_range(target: str) -> None:
    logits = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(6, 1, 2, 2) - 10
    logits = np.concatenate([logits, -logits], 1)
    labels = np.array([[-(2**31), 2**31 - 1, -1], [2, 0, 1]], np.int32)
    count = np.array([2**31 - 1, -(2**31)], np.int32)
    masks = ops.mask_select(logits, labels, count)
    inside = labels.clip(0, 1)
    np.testing.assert_allclose(masks, expected_masks(logits, inside, count.clip(0, 3)), rtol=1e-6)
    assert not masks[1].any()


def test_logits_that_are_not_finite(target: str) -> None:
    logits = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 89, -89, 0], np.float32)
    logits = logits.reshape(1, 1, 2, 4)
    labels, count = np.zeros((1, 1), np.int32), np.ones(1, np.int32)
    masks = ops.mask_select(logits, labels, count).ravel()
    assert np.isnan(masks[0])
    np.testing.assert_allclose(masks[1:], [1, 0, 1, 0, 1, 0, 0.5], atol=1e-37)
    scaled = ops.mask_select(logits, labels, count, dtype=np.uint8).ravel()
    assert scaled.tolist() == [0, 255, 0, 255, 0, 255, 0, 128]
    # masks past the count are zeros, whatever the logits are
    assert not ops.mask_select(logits, labels, count * 0).any()


def test_the_sigmoid_is_accurate(target: str) -> None:
    logits = np.linspace(-87, 30, 4000, dtype=np.float32).reshape(1, 1, 40, 100)
    found = ops.mask_select(logits, np.zeros((1, 1), np.int32), np.ones(1, np.int32))
    exact = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert np.abs(found / exact - 1).max() < 3e-7


@pytest.mark.parametrize("threads", [2, 64])
def test_threads_change_nothing(threads: int) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 5, 28, 28)).astype(np.float32)
    labels = rng.integers(0, 5, (4, 10), dtype=np.int32)
    count = np.array([10, 0, 3, 7], np.int32)
    with backend.use(backend.Cpu()):
        one = ops.mask_select(logits, labels, count, threads=1)
        np.testing.assert_array_equal(ops.mask_select(logits, labels, count, threads=threads), one)


LOGITS = np.zeros((2, 3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": LOGITS[0]}, r"found logits float32 \[3, 4, 5\], expected"),
        ({"logits": LOGITS[:1]}, r"expected float32 or float16 or bfloat16 \[2, C, m, n\]"),
        ({"logits": LOGITS.astype(np.float64)}, "found logits float64"),
        ({"logits": LOGITS[:, :0]}, "found classes 0, expected 1 to"),
        ({"logits": LOGITS[:, :, :0]}, "found height 0, expected 1 to 4096"),
        ({"logits": np.zeros((2, 1, 1, 4097), np.float32)}, "found width 4097, expected 1 to 4096"),
        ({"labels": np.zeros((1, 2))}, "found labels float64"),
        ({"labels": np.zeros((1, 0), np.int32), "logits": LOGITS[:0]}, "found slots 0"),
        ({"count": np.zeros(2, np.int32)}, r"found count int32 \[2\], expected int32 \[1\]"),
        ({"dtype": np.float64}, "found dtype float64, expected float32 or float16 or uint8"),
        ({"layout": "nhwc"}, "found layout 'nhwc', expected linear or channels_last"),
        ({"classes": 2}, "found 2 classes and logits of 3 channels"),
        ({"layout": "channels_last", "classes": 6}, "found 6 classes and logits of 5 channels"),
        ({"classes": 0}, "found classes 0, expected 1 or more"),
        ({"threads": -1}, "found threads -1"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "logits": LOGITS,
        "labels": np.zeros((1, 2), np.int32),
        "count": np.zeros(1, np.int32),
    }
    with pytest.raises(ValueError, match=message):
        ops.mask_select(**(arguments | change))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("struct_size", 0),
        ("logits", None),
        ("labels", None),
        ("count", None),
        ("masks", None),
        ("batch", 0),
        ("slots", -1),
        ("classes", 0),
        ("height", 2**31 - 1),
        ("width", 0),
        ("logits_type", 2),
        ("layout", 2),
        ("channel_stride", 2),
        ("masks_type", 7),
        ("threads", -1),
    ],
)
def test_the_c_function_refuses_bad_params(field: str, value: Any) -> None:
    logits = np.zeros((2, 4, 5, 3), np.float32)
    labels, count = np.zeros((1, 2), np.int32), np.ones(1, np.int32)
    masks = np.full((1, 2, 4, 5), 9, np.float32)
    filled = MaskSelectParams(
        struct_size=ctypes.sizeof(MaskSelectParams),
        logits=logits.ctypes.data,
        labels=labels.ctypes.data,
        count=count.ctypes.data,
        masks=masks.ctypes.data,
        batch=1,
        slots=2,
        classes=3,
        height=4,
        width=5,
        layout=1,
        channel_stride=3,
    )
    call("maskrt_mask_select", filled)
    assert (masks[:, 0] == 0.5).all()
    masks[:] = 9
    setattr(filled, field, value)
    with pytest.raises(ValueError, match=r"mask_select: found .*(expected|null)"):
        call("maskrt_mask_select", filled)
    assert (masks == 9).all()


def test_the_c_function_refuses_null(native: Path) -> None:
    assert library().maskrt_mask_select(None) == 1
    assert b"null pointer" in library().maskrt_last_error()

"""The native NMS by groups against torchvision's."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.ops import boxes as box_ops

from maskrt.export.ops import _nms_by_group
from maskrt.plugins import ops
from maskrt.plugins.library import call, library
from maskrt.plugins.ops.nms import NmsParams
from tests.plugins.boxes import lattice_boxes

pytestmark = pytest.mark.usefixtures("native")


def expected(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    groups: NDArray[np.int32],
    threshold: float,
) -> NDArray[np.int64]:
    kept = _nms_by_group(
        torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(groups), threshold
    )
    return kept.numpy()


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    count=st.integers(1, 300),
    groups=st.integers(1, 400),
    spacing=st.sampled_from([1, -3, 2**20]),
    levels=st.sampled_from([1, 2, 10, 10**6]),
    threshold=st.sampled_from([-1.0, 0.0, 0.25, 1 / 3, 0.5, 0.6, 0.75, 1.0]),
    threads=st.integers(0, 3),
)
@example(1, 300, 1, 1, 10, 0.5, 1)
@example(1, 65, 1, 1, 1, 0.5, 1)
def test_as_torchvision(
    seed: int,
    count: int,
    groups: int,
    spacing: int,
    levels: int,
    threshold: float,
    threads: int,
) -> None:
    rng = np.random.default_rng(seed)
    boxes = lattice_boxes(rng, count, 96)
    scores = ((rng.integers(0, levels, count) - levels // 2) / 8).astype(np.float32)
    number = (rng.integers(0, groups, count) * spacing).astype(np.int32)
    threshold = float(np.float32(threshold))
    kept = ops.nms(boxes, scores, number, threshold, threads=threads)
    assert kept.dtype == np.int64
    np.testing.assert_array_equal(kept, expected(boxes, scores, number, threshold))


def test_a_usual_number_of_proposals() -> None:
    rng = np.random.default_rng(0)
    boxes = lattice_boxes(rng, 5000, 500)
    scores = (rng.permutation(5000) / 5000).astype(np.float32)
    groups = np.repeat(np.arange(5, dtype=np.int32), 1000)
    kept = ops.nms(boxes, scores, groups, 0.5)
    tensors = (torch.from_numpy(array) for array in (boxes, scores, groups))
    np.testing.assert_array_equal(kept, box_ops.batched_nms(*tensors, 0.5).numpy())
    assert 500 < len(kept) < 4500


def test_scores_of_any_kind() -> None:
    """As PyTorch's sort: NaN first, zeros equal whatever their sign."""
    scores = np.array([-0.0, 0, 1e-45, -1e-45, -1, 3e38, np.inf, -np.inf, np.nan, -np.nan, 5])
    scores = np.tile(scores.astype(np.float32), 20)
    boxes = np.zeros((len(scores), 4), np.float32)
    groups = np.zeros(len(scores), np.int32)
    kept = ops.nms(boxes, scores, groups, 0.5)
    np.testing.assert_array_equal(kept, expected(boxes, scores, groups, 0.5))
    assert len(kept) == len(scores)


def test_boxes_of_any_kind() -> None:
    rng = np.random.default_rng(1)
    boxes = lattice_boxes(rng, 200, 32)
    hit = rng.random(boxes.shape) < 0.1
    boxes[hit] = rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, -8], int(hit.sum()))
    scores = rng.permutation(200).astype(np.float32)
    groups = np.full(200, -(2**31), np.int32)
    groups[::2] = 2**31 - 1
    kept = ops.nms(boxes, scores, groups, 0.25)
    np.testing.assert_array_equal(kept, expected(boxes, scores, groups, 0.25))


def test_nothing_in_nothing_out() -> None:
    nothing = np.zeros(0, np.float32)
    assert ops.nms(nothing.reshape(0, 4), nothing, nothing.astype(np.int32), 0.5).shape == (0,)


BOXES, SCORES, GROUPS = np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros(3, np.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": BOXES[:, :3]}, r"found boxes float32 \[3, 3\], expected float32 \[N, 4\]"),
        ({"scores": SCORES[:2]}, r"found scores float32 \[2\], expected float32 \[3\]"),
        ({"groups": GROUPS.astype(np.int64)}, r"found groups int64 \[3\], expected int32 \[3\]"),
        ({"threshold": math.nan}, "found threshold nan, expected a number"),
        ({"threads": -1}, "found threads -1"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"boxes": BOXES, "scores": SCORES, "groups": GROUPS, "threshold": 0.5}
    assert len(ops.nms(**good)) == 3
    with pytest.raises(ValueError, match=message):
        ops.nms(**(good | change))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("struct_size", 0),
        *((name, None) for name in ("boxes", "scores", "groups", "kept", "kept_count")),
        ("count", -1),
        ("threads", -1),
    ],
)
def test_the_c_function_refuses_bad_params(field: str, value: Any) -> None:
    kept = np.full(4, 7, np.int64)
    filled = NmsParams(
        struct_size=ctypes.sizeof(NmsParams),
        boxes=BOXES.ctypes.data,
        scores=SCORES.ctypes.data,
        groups=GROUPS.ctypes.data,
        kept=kept.ctypes.data,
        kept_count=kept[3:].ctypes.data,
        count=3,
        threshold=0.5,
    )
    call("maskrt_nms", filled)
    assert kept.tolist() == [0, 1, 2, 3]
    setattr(filled, field, value)
    with pytest.raises(ValueError, match=r"nms: found .*(expected|null)"):
        call("maskrt_nms", filled)
    assert kept.tolist() == [0, 1, 2, 3]


def test_the_c_function_refuses_null() -> None:
    assert library().maskrt_nms(None) == 1
    assert b"null pointer" in library().maskrt_last_error()

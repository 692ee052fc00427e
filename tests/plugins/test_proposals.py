"""The native Proposals against the torch op."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskrt.export import ops as reference
from maskrt.plugins import backend, ops
from maskrt.plugins.library import call, library
from maskrt.plugins.ops.proposals import ProposalsLevel, ProposalsParams
from tests.plugins.boxes import distance, overlap_distance, rounding, same_as_on_the_cpu

pytestmark = pytest.mark.usefixtures("native")

CLIP = math.log(1000 / 16)


@dataclass
class Case:
    """What goes into the operator."""

    objectness: NDArray[np.float32]
    deltas: NDArray[np.float32]
    indices: NDArray[np.int32]
    content: NDArray[np.float32]
    attributes: dict[str, Any]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.objectness, self.deltas, self.indices, self.content

    @property
    def levels(self) -> NDArray[np.int64]:
        """Of each candidate."""
        return np.repeat(np.arange(len(self.attributes["top_k"])), self.attributes["top_k"])

    def native(self, threads: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        return ops.proposals(*self.arrays, **self.attributes, threads=threads)

    def torch(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        tensors = [torch.from_numpy(array) for array in self.arrays]
        rois, count = reference.proposals(*tensors, **self.attributes)
        return rois.numpy(), count.numpy()

    def boxes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Decoded [B, K, 4], before and after they are clipped."""
        a = self.attributes
        all_anchors = torch.tensor(a["anchors"]).reshape(-1, 4)
        first = np.cumsum([0, *a["anchors_per_cell"]])
        anchors = []
        for level in range(len(a["top_k"])):
            index = self.indices[:, self.levels == level]
            cell, anchor = np.divmod(index, a["anchors_per_cell"][level])
            row, column = np.divmod(cell, a["grid_widths"][level])
            stride_y, stride_x = a["strides"][2 * level : 2 * level + 2]
            corner = np.stack([column * stride_x, row * stride_y] * 2, -1).astype(np.float32)
            anchors.append(all_anchors[first[level] + anchor] + torch.from_numpy(corner))
        deltas = torch.from_numpy(self.deltas)
        weights, clip = a["delta_weights"], a["delta_clip"]
        boxes = reference.decode(deltas, torch.cat(anchors, 1), weights, clip)
        return boxes.numpy(), reference._clip(boxes, torch.from_numpy(self.content)).numpy()


def case(
    seed: int,
    batch: int,
    grids: list[tuple[int, int]],
    per_cell: int,
    *,
    exact: bool,
    top_k: int = 6080,
    num_rois: int = 50,
    nms_threshold: float = 0.5,
    score_threshold: float = 0.0,
    min_size: float = 0.0,
    sort: bool = False,
) -> Case:
    """Candidates on grids (rows, columns).

    Exact ones have coordinates, scores and IoUs that every implementation rounds alike, so that
    none may decide otherwise, even where an IoU is the threshold or scores are equal.
    """
    rng = np.random.default_rng(seed)
    used = [min(top_k, rows * columns * per_cell) for rows, columns in grids]
    strides = [side << level for level in range(len(grids)) for side in (4, 6)]
    sides = 2.0 ** rng.integers(3, 6, (len(grids) * per_cell, 2))
    anchors = np.concatenate([-sides / 2, sides / 2], 1)
    indices = np.stack(
        [
            np.concatenate(
                [
                    rng.permutation(rows * columns * per_cell)[:k]
                    for (rows, columns), k in zip(grids, used, strict=True)
                ]
            )
            for _ in range(batch)
        ]
    )
    total = sum(used)
    if exact:
        deltas = np.zeros((batch, total, 4))
        deltas[..., :2] = rng.integers(-4, 5, (batch, total, 2)) / 4
        objectness = rng.integers(-8, 9, (batch, total)) / 2
    else:
        deltas = rng.normal(0, 0.4, (batch, total, 4))
        steps = (np.arange(total) - total / 2) * (8 / total)
        objectness = np.stack([rng.permutation(steps) for _ in range(batch)])
    if sort:
        start = 0
        for k in used:
            objectness[:, start : start + k] = -np.sort(-objectness[:, start : start + k])
            start += k
    extent = 4 * max(max(grid) << level for level, grid in enumerate(grids))
    content = rng.integers(max(1, extent // 2), extent + 8, (batch, 2))
    return Case(
        objectness.astype(np.float32),
        deltas.astype(np.float32),
        indices.astype(np.int32),
        content.astype(np.float32),
        {
            "anchors": anchors.flatten().tolist(),
            "anchors_per_cell": [per_cell] * len(grids),
            "grid_widths": [columns for _, columns in grids],
            "strides": strides,
            "top_k": used,
            "num_rois": num_rois,
            "nms_threshold": nms_threshold,
            "score_threshold": score_threshold,
            "min_size": min_size,
            "delta_weights": [1.0, 2.0, 0.5, 1.0] if exact else [1.0, 1.0, 1.1, 0.9],
            "delta_clip": CLIP,
        },
    )


def check(one: Case, tolerance: float = 0.0) -> NDArray[np.int32]:
    """Holds the target against the torch op and the CPU library; returns the count."""
    rois, count = one.native()
    expected_rois, expected_count = one.torch()
    assert rois.dtype == np.float32
    assert count.dtype == np.int32
    np.testing.assert_array_equal(count, expected_count)
    np.testing.assert_allclose(rois, expected_rois, rtol=0, atol=tolerance)
    for frame, real in zip(rois, count, strict=True):
        assert not frame[real:].any()
    same_as_on_the_cpu((rois, count), one.native)
    return count


grid = st.tuples(st.integers(1, 9), st.integers(1, 9))
grids = st.lists(grid, min_size=1, max_size=5)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(1, 3),
    grids=grids,
    per_cell=st.integers(1, 3),
    top_k=st.sampled_from([1, 7, 64, 65, 6080]),
    num_rois=st.integers(1, 300),
    nms_threshold=st.sampled_from([-1.0, 0.0, 0.25, 1 / 3, 0.5, 0.6, 0.75, 1.0, 2.0]),
    score_threshold=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    min_size=st.sampled_from([-1.0, 0.0, 1e-3, 8.0, 16.0]),
    sort=st.booleans(),
)
@example(1, 2, [(9, 9)], 3, 6080, 300, 0.5, 0.0, 0.0, True)
@example(2, 1, [(1, 1)], 1, 1, 1, 0.5, 0.0, 0.0, True)
def test_exact_candidates(
    target: str,
    seed: int,
    batch: int,
    grids: list[tuple[int, int]],
    per_cell: int,
    top_k: int,
    num_rois: int,
    nms_threshold: float,
    score_threshold: float,
    min_size: float,
    sort: bool,
) -> None:
    check(
        case(
            seed,
            batch,
            grids,
            per_cell,
            exact=True,
            top_k=top_k,
            num_rois=num_rois,
            nms_threshold=float(np.float32(nms_threshold)),
            score_threshold=score_threshold,
            min_size=min_size,
            sort=sort,
        )
    )


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(1, 2),
    grids=grids,
    per_cell=st.integers(1, 3),
    top_k=st.integers(1, 40),
    nms_threshold=st.floats(0.125, 1, width=32),
    score_threshold=st.floats(0, 1, width=32),
    min_size=st.floats(8, 24, width=32),
)
def test_any_candidates(
    target: str,
    seed: int,
    batch: int,
    grids: list[tuple[int, int]],
    per_cell: int,
    top_k: int,
    nms_threshold: float,
    score_threshold: float,
    min_size: float,
) -> None:
    one = case(
        seed,
        batch,
        grids,
        per_cell,
        exact=False,
        top_k=top_k,
        nms_threshold=nms_threshold,
        score_threshold=score_threshold,
        min_size=min_size,
    )
    decoded, boxes = one.boxes()
    error = rounding(decoded)
    sides = boxes[..., 2:] - boxes[..., :2]
    scores = torch.from_numpy(one.objectness).sigmoid().numpy()
    # what is so close that rounding decides is not compared
    assume(distance(scores, score_threshold) > 1e-6)
    assume(distance(sides, min_size) > 2 * error)
    large = np.all(sides >= min_size, -1)
    for b in range(batch):
        nearest = overlap_distance(boxes[b, large[b]], one.levels[large[b]], nms_threshold)
        assume(nearest > 4 * error / min_size)
    check(one, error)


@pytest.mark.parametrize("side", [3, 5, 7, 11, 13])
def test_an_iou_at_the_threshold(target: str, side: int) -> None:
    """A box of side x 8, and its left 4 columns less: IoU is a quotient that has to be rounded."""
    shares = [(columns, columns / side) for columns in range(1, side)]
    for columns, quotient in shares:
        exactly = np.float32(quotient)
        below = np.nextafter(exactly, np.float32(0))
        above = np.nextafter(exactly, np.float32(1))
        for threshold, stays in ((below, 1), (exactly, 2), (above, 2)):
            one = case(0, 1, [(1, 1)], 2, exact=True, nms_threshold=float(threshold))
            one.attributes["anchors"] = [0.0, 0.0, side, 8.0, 0.0, 0.0, columns, 8.0]
            one.deltas[:] = 0
            one.content[:] = 64
            assert check(one).tolist() == [stays]


def test_levels_do_not_compete(target: str) -> None:
    one = case(3, 1, [(4, 4), (4, 4)], 1, exact=True, nms_threshold=0.0)
    one.attributes["anchors"] = [0.0, 0.0, 64.0, 64.0] * 2
    one.deltas[:] = 0
    one.content[:] = 40
    assert check(one).tolist() == [2]


@pytest.mark.parametrize("sort", [True, False])
def test_a_level_as_large_as_can_be(target: str, sort: bool) -> None:
    one = case(4, 1, [(76, 40)], 2, exact=True, num_rois=6500, nms_threshold=0.7, sort=sort)
    assert one.attributes["top_k"] == [6080]
    assert check(one)[0] > 100


def test_a_single_level_as_in_detectron2s_c4_models(target: str) -> None:
    one = case(
        9, 1, [(50, 84)], 15, exact=True, top_k=6000, num_rois=1000, nms_threshold=0.7, sort=True
    )
    assert one.attributes["top_k"] == [6000]
    assert check(one).tolist() == [1000]


def test_chains_of_overlaps(target: str) -> None:
    """Each box overlaps the next one only: every second one stays."""
    one = case(5, 1, [(1, 300)], 1, exact=True, num_rois=300, nms_threshold=0.25)
    one.attributes["anchors"] = [0.0, 0.0, 7.0, 8.0]
    one.attributes["strides"] = [4, 4]
    one.indices[0] = np.arange(300)
    one.objectness[0] = np.linspace(4, -4, 300)
    one.deltas[:] = 0
    one.content[:] = 2000
    assert check(one).tolist() == [150]


@pytest.mark.parametrize("batch", [1, 2])
def test_a_whole_pyramid(native: Path, batch: int) -> None:
    grids = [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]
    one = case(
        6,
        batch,
        grids,
        3,
        exact=True,
        top_k=1000,
        num_rois=1000,
        nms_threshold=0.7,
        min_size=1e-3,
        sort=True,
    )
    assert one.attributes["top_k"] == [1000, 1000, 1000, 1000, 819]
    assert check(one).tolist() == [1000] * batch


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), share=st.floats(0.02, 1))
def test_broken_numbers(target: str, seed: int, share: float) -> None:
    one = case(seed, 2, [(5, 7), (3, 4)], 2, exact=True, score_threshold=0.1)
    rng = np.random.default_rng(seed)
    broken = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0]
    for array in (one.objectness, one.deltas):
        hit = rng.random(array.shape) < share
        array[hit] = rng.choice(broken, int(hit.sum()))
    if rng.integers(2):
        # infinite boxes, from which areas and IoUs follow that are not numbers
        one.content[rng.integers(2), rng.integers(2)] = rng.choice([*broken, 0, -5])
    with np.errstate(all="ignore"):
        check(one)


@pytest.mark.parametrize("index", [-1, -(2**31), 2**31 - 1, 2**31 - 2])
def test_indices_from_anywhere(target: str, index: int) -> None:
    one = case(7, 1, [(6, 6)], 3, exact=True, num_rois=150, min_size=1.0)
    one.indices[0, ::3] = index
    rois, count = one.native()
    same_as_on_the_cpu((rois, count), one.native)
    assert 0 < count[0] <= 72
    assert np.isfinite(rois).all()


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_threads_change_nothing(threads: int) -> None:
    one = case(8, 3, [(20, 20), (10, 10), (5, 5)], 3, exact=False, num_rois=200)
    for result, expected in zip(one.native(threads), one.native(1), strict=True):
        np.testing.assert_array_equal(result, expected)


def small() -> dict[str, Any]:
    """Arguments for two levels, of which each has two candidates."""
    return {
        "objectness": np.zeros((1, 4), np.float32),
        "deltas": np.zeros((1, 4, 4), np.float32),
        "indices": np.zeros((1, 4), np.int32),
        "content": np.full((1, 2), 16, np.float32),
        "anchors": [-4, -4, 4, 4] * 2,
        "anchors_per_cell": [1, 1],
        "grid_widths": [2, 2],
        "strides": [4, 4, 8, 8],
        "top_k": [2, 2],
        "num_rois": 3,
        "nms_threshold": 0.5,
        "min_size": 0.0,
        "delta_clip": CLIP,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectness": np.zeros((1, 5), np.float32)}, r"\[1, 5\], expected float32 \[B, 4\]"),
        ({"objectness": np.zeros((1, 4))}, "found objectness float64"),
        ({"objectness": [[0.0] * 4]}, "found objectness list"),
        ({"objectness": np.zeros((0, 4), np.float32)}, r"found deltas .*expected float32 \[0"),
        ({"deltas": np.zeros((1, 16), np.float32)}, r"expected float32 \[1, 4, 4\]"),
        ({"indices": np.zeros((1, 4), np.int64)}, r"found indices int64 .*expected int32"),
        ({"content": np.zeros(2, np.float32)}, r"expected float32 \[1, 2\]"),
        ({"anchors": [-4, -4, 4, 4]}, "found 4 numbers as anchors, expected 8"),
        ({"anchors_per_cell": [1]}, "found 1 numbers as anchors_per_cell, expected 2"),
        ({"anchors_per_cell": [100, 29]}, "found 129 or more anchors, expected at most 128"),
        ({"anchors_per_cell": [0, 2]}, "found anchors_per_cell 0, expected 1 or more"),
        ({"grid_widths": [2, 2, 2]}, "found 3 numbers as grid_widths"),
        (
            {"grid_widths": [2, 2**23]},
            r"found level\[1\].grid_width 8388608, expected 1 to 4194304",
        ),
        ({"strides": [4, 4]}, "found 2 numbers as strides, expected 4"),
        ({"top_k": []}, "found 0 numbers as top_k, expected 1 to 8"),
        ({"top_k": [1] * 9}, "found 9 numbers as top_k"),
        ({"top_k": [2, 0]}, "found top_k 0, expected 1 or more"),
        ({"num_rois": 0}, "found num_rois 0, expected 1 or more"),
        ({"num_rois": 40000}, "found num_rois 40000, expected 1 to 32768"),
        ({"nms_threshold": math.nan}, "found nms_threshold nan, expected a number"),
        ({"min_size": math.nan}, "found min_size nan"),
        ({"delta_clip": math.nan}, "found delta_clip nan"),
        ({"delta_weights": [1, 1, 1]}, "found 3 numbers as delta_weights, expected 4"),
        ({"delta_weights": [1, 1, 0, 1]}, r"found delta_weights\[2\] 0, expected a finite one"),
        ({"threads": -1}, "found threads -1"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    ops.proposals(**small())
    with pytest.raises(ValueError, match=message):
        ops.proposals(**(small() | change))


def params() -> tuple[ProposalsParams, tuple[NDArray[Any], ...]]:
    """Valid params, and the arrays that they point to."""
    a = small()
    arrays: tuple[NDArray[Any], ...] = (
        a["objectness"],
        a["deltas"],
        a["indices"],
        a["content"],
        np.zeros((1, 3, 4), np.float32),
        np.zeros(1, np.int32),
    )
    names = ("objectness", "deltas", "indices", "content", "rois", "count")
    filled = ProposalsParams(
        struct_size=ctypes.sizeof(ProposalsParams),
        **{name: array.ctypes.data for name, array in zip(names, arrays, strict=True)},
        batch=1,
        levels=2,
        num_rois=3,
        nms_threshold=0.5,
        delta_clip=CLIP,
        delta_weights=(1, 1, 1, 1),
        level=(ProposalsLevel * 8)(
            ProposalsLevel(0, 1, 2, 4, 4, 2), ProposalsLevel(1, 1, 2, 8, 8, 2)
        ),
    )
    return filled, arrays


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("struct_size", 0),
        ("objectness", None),
        ("deltas", None),
        ("indices", None),
        ("content", None),
        ("rois", None),
        ("count", None),
        ("batch", 0),
        ("batch", 65536),
        ("levels", 0),
        ("levels", 9),
        ("levels", 3),
        ("num_rois", 0),
        ("num_rois", -1),
        ("threads", -1),
        ("score_threshold", math.nan),
        ("level.first_anchor", -1),
        ("level.first_anchor", 128),
        ("level.anchors_per_cell", 128),
        ("level.grid_width", 0),
        ("level.stride_y", -4),
        ("level.stride_x", 0),
        ("level.top_k", 6081),
    ],
)
def test_the_c_function_refuses_bad_params(target: str, field: str, value: Any) -> None:
    filled, arrays = params()
    call("maskrt_proposals", filled)
    before = [array.copy() for array in arrays]
    owner: Any = filled
    if field.startswith("level."):
        owner, field = filled.level[1], field.removeprefix("level.")
    setattr(owner, field, value)
    with pytest.raises(ValueError, match=r"proposals: found .*(expected|null)"):
        backend.current().call("proposals", filled)
    for old, array in zip(before, arrays, strict=True):
        np.testing.assert_array_equal(old, array)


def test_the_c_function_refuses_null() -> None:
    assert library().maskrt_proposals(None) == 1
    assert b"null pointer" in library().maskrt_last_error()

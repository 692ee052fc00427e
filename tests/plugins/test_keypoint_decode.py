"""The native KeypointDecode against the torch op, and against a search of every pixel."""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from maskrt.export import ops as reference
from maskrt.plugins import backend, ops
from maskrt.plugins.library import call, library
from maskrt.plugins.ops.arguments import Layout
from maskrt.plugins.ops.keypoint_decode import Decode, KeypointDecodeParams

pytestmark = pytest.mark.usefixtures("native")

TYPES: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
LAYOUTS: list[Layout] = ["linear", "channels_last"]
DECODES: list[Decode] = ["torchvision", "detectron2"]
Floats = NDArray[np.float32]
F = np.float32


class Frames(NamedTuple):
    """What the operator takes besides the heatmaps."""

    boxes: Floats
    count: NDArray[np.int32]
    scale: Floats


def frames_of(boxes: Any, batch: int = 1) -> Frames:
    """All detections are real, and the frame is the canvas."""
    boxes = np.asarray(boxes, np.float32).reshape(batch, -1, 4)
    return Frames(boxes, np.full(batch, boxes.shape[1], np.int32), np.ones((batch, 2), np.float32))


def peaks(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Heatmaps as trained heads give them: a bump each, and some noise."""
    *outer, height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    centre = rng.uniform(0, 1, (*outer, 2, 1, 1)) * [[[height]], [[width]]]
    spread = rng.uniform(0.5, 4, (*outer, 1, 1))
    distance = (y - centre[..., 0, :, :]) ** 2 + (x - centre[..., 1, :, :]) ** 2
    logits = 12 * np.exp(-distance / spread**2) - 4 + 0.3 * rng.normal(size=shape)
    return logits.astype(np.float32)


def checkerboard(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """The largest overshoot between taps, everywhere."""
    y, x = np.mgrid[0 : shape[-2], 0 : shape[-1]]
    return np.broadcast_to((-1.0) ** (x // 2 + y // 2), shape).astype(np.float32)


def plateau(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Nothing but ties."""
    return np.full(shape, rng.normal(), np.float32)


def steps(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Plateaus and ties beside slopes."""
    return rng.integers(-1, 2, shape).astype(np.float32)


def faint(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Differences near the last place of large numbers."""
    return (1000 + 1e-3 * rng.normal(size=shape)).astype(np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.normal(size=shape).astype(np.float32)


MAPS = {f.__name__: f for f in (peaks, checkerboard, plateau, steps, faint, noise)}


def taps(resized: int, cells: int) -> tuple[NDArray[np.int64], Floats]:
    """For each pixel four cells, and the weights of all but the second of them."""
    pixels = np.arange(resized, dtype=np.float32) + F(0.5)
    scale = F(cells) / F(resized)
    # a fused multiply-add: float64 holds the product
    at = (np.float64(scale) * pixels - 0.5).astype(np.float32)
    cell = np.minimum(np.floor(at).astype(np.int64), cells - 1)
    t = np.minimum(at - cell.astype(np.float32), F(1))
    s = F(1) - t
    weights = (F(-0.75) * t * s * s, t * (F(1) + s - F(1.25) * s * s), F(-0.75) * s * t * t)
    index = (cell[:, None] + np.arange(-1, 3)).clip(0, cells - 1)
    return index, np.stack(weights)


def resize(values: Floats, size: int) -> Floats:
    """Bicubic, along the last axis, in the operator's order of operations."""
    index, weights = taps(size, values.shape[-1])
    before, v0, after, last = np.moveaxis(values[..., index], -1, 0)
    a, b, c = weights[0] * (before - v0), weights[1] * (after - v0), weights[2] * (last - v0)
    return v0 + (a + b + c)


def search_all(heatmap: Floats, box: Floats) -> tuple[Floats, int, int]:
    """The best pixel of the whole resized heatmap: its value, row and column."""
    sides = np.maximum(box[2:] - box[:2], F(1))
    width, height = (int(side) for side in np.ceil(sides))
    whole = resize(np.ascontiguousarray(resize(heatmap, width).T), height).T
    row, column = divmod(int(whole.argmax()), width)
    return whole[row, column], row, column


def check_exact(heatmaps: Floats, boxes: Floats) -> Floats:
    """Holds the operator against the search of every pixel, to the bit."""
    found = ops.keypoint_decode(heatmaps, *frames_of(boxes))[0]
    for points, maps, box in zip(found, heatmaps, boxes, strict=True):
        sides = np.maximum(box[2:] - box[:2], F(1))
        step = sides / np.ceil(sides)
        for point, heatmap in zip(points, maps, strict=True):
            value, row, column = search_all(heatmap, box)
            x = (F(column) + F(0.5)) * step[0] + box[0]
            y = (F(row) + F(0.5)) * step[1] + box[1]
            assert point.tolist() == [x, y, value]
    return found


boxes_of = st.tuples(
    st.floats(-50, 300, width=32),
    st.floats(-50, 300, width=32),
    st.one_of(st.integers(1, 90).map(float), st.floats(-5, 260, width=32)),
    st.one_of(st.integers(1, 90).map(float), st.floats(-5, 260, width=32)),
)


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    kind=st.sampled_from(list(MAPS)),
    box=boxes_of,
    seed=st.integers(0, 2**16),
)
@example((56, 56), "peaks", (3.5, 4.25, 301.7, 120.1), 0)
@example((1, 1), "noise", (0, 0, 5, 5), 0)
@example((24, 24), "steps", (0, 0, 24, 24), 1)
@example((3, 24), "checkerboard", (0, 0, 100, 7), 1)
def test_the_best_of_all_pixels(
    target: str,
    size: tuple[int, int],
    kind: str,
    box: tuple[float, float, float, float],
    seed: int,
) -> None:
    x, y, w, h = box
    heatmaps = MAPS[kind](np.random.default_rng(seed), (1, 2, *size))
    found = check_exact(heatmaps, np.array([[x, y, x + w, y + h]], np.float32))
    assert np.isfinite(found).all()


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2),
    slots=st.integers(1, 3),
    points=st.integers(1, 3),
    size=st.tuples(st.integers(2, 20), st.integers(2, 20)),
    kind=st.sampled_from(["peaks", "noise"]),
    decode=st.sampled_from(DECODES),
    seed=st.integers(0, 2**16),
)
@example(1, 2, 2, (56, 56), "peaks", "torchvision", 0)
@example(1, 2, 2, (56, 56), "peaks", "detectron2", 0)
def test_as_the_torch_op(
    target: str,
    batch: int,
    slots: int,
    points: int,
    size: tuple[int, int],
    kind: str,
    decode: Decode,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    heatmaps = MAPS[kind](rng, (batch * slots, points, *size))
    corner = rng.uniform(-10, 400, (batch, slots, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-5, 150, (batch, slots, 2))], 2)
    boxes = boxes.astype(np.float32)
    count = rng.integers(0, slots + 1, batch, dtype=np.int32)
    scale = rng.uniform(0.3, 3, (batch, 2)).astype(np.float32)
    found = ops.keypoint_decode(heatmaps, boxes, count, scale, decode=decode)
    tensors = [torch.from_numpy(a) for a in (heatmaps, boxes, count, scale)]
    expected = reference.keypoint_decode(*tensors, decode).numpy()
    # about ten roundings on each side
    rtol = 0 if decode == "torchvision" else 1e-4  # e to what is off by 2e-5, and its sum
    np.testing.assert_allclose(found[..., 2], expected[..., 2], rtol=rtol, atol=2e-5)
    # where two pixels are that close, either may be chosen
    for b, d, k in np.argwhere((found[..., :2] != expected[..., :2]).any(-1)):
        sides = (boxes[b, d, 2:] - boxes[b, d, :2]).clip(1)
        at = found[b, d, k, :2] / scale[b, ::-1] - boxes[b, d, :2]
        column, row = np.floor(at / sides * np.ceil(sides)).astype(int)
        whole = functional.interpolate(
            tensors[0][None, b * slots + d, k, None],
            [int(side) for side in np.ceil(sides[::-1])],
            mode="bicubic",
        )[0, 0]
        assert whole[row, column] > whole.max() - 2e-5
    with backend.use(backend.Cpu()):
        again = ops.keypoint_decode(heatmaps, boxes, count, scale, decode=decode)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("kind", list(MAPS))
def test_cpu_and_kernel_agree_to_the_bit(target: str, kind: str) -> None:
    rng = np.random.default_rng(7)
    heatmaps = MAPS[kind](rng, (2, 3, 14, 17))
    frames = frames_of([[3, 4, 150.3, 80.9], [0, 0, 9.5, 31]])
    for decode in DECODES:
        found = ops.keypoint_decode(heatmaps, *frames, decode=decode)
        with backend.use(backend.Cpu()):
            np.testing.assert_array_equal(
                found, ops.keypoint_decode(heatmaps, *frames, decode=decode)
            )


def test_the_first_of_equal_pixels(target: str) -> None:
    heatmap = np.zeros((1, 1, 9, 9), np.float32)
    heatmap[0, 0, [2, 2, 6, 6], [2, 6, 2, 6]] = 1
    found = ops.keypoint_decode(heatmap, *frames_of([[0, 0, 9, 9]]))
    assert found.ravel().tolist() == [2.5, 2.5, 1]
    found = ops.keypoint_decode(heatmap * 0 - 0.0, *frames_of([[4, 5, 204, 305]]))
    assert found.ravel().tolist() == [4.5, 5.5, 0]


@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("padding", [0, 3])
def test_types_and_layouts(target: str, kind: str, layout: Layout, padding: int) -> None:
    rng = np.random.default_rng(4)
    heatmaps = peaks(rng, (3, 5, 8, 11)).astype(TYPES[kind])
    frames = frames_of([[3, 4, 50, 60], [10, 0, 15, 40], [1, 1, 100, 20]])
    expected = ops.keypoint_decode(heatmaps.astype(np.float32), *frames)
    if layout == "channels_last":
        widths = ((0, 0), (0, 0), (0, 0), (0, padding))
        heatmaps = np.pad(heatmaps.transpose(0, 2, 3, 1), widths, constant_values=999)
    found = ops.keypoint_decode(heatmaps, *frames, layout=layout, points=5)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["peaks", "noise"])
def test_heatmaps_too_large_for_shared_memory(target: str, kind: str) -> None:
    heatmaps = MAPS[kind](np.random.default_rng(5), (1, 1, 100, 125))
    check_exact(heatmaps, np.array([[3, 4, 60, 190]], np.float32))


@pytest.mark.parametrize("count", [-(2**31), 0, 1, 2, 2**31 - 1])
def test_detections_past_the_count_are_zeros(target: str, count: int) -> None:
    heatmaps = peaks(np.random.default_rng(6), (4, 2, 6, 6))
    frames = frames_of([[1, 2, 20, 30]] * 4, batch=2)
    whole = ops.keypoint_decode(heatmaps, *frames)
    assert whole[..., :2].all()
    frames.count[0] = count
    found = ops.keypoint_decode(heatmaps, *frames)
    live = min(max(count, 0), 2)
    np.testing.assert_array_equal(found[0, :live], whole[0, :live])
    assert not found[0, live:].any()
    np.testing.assert_array_equal(found[1], whole[1])


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # without a finite place: zeros
        ((NAN, 0, 5, 5), None),
        ((0, 0, 5, NAN), None),
        ((0, 0, INF, 5), None),
        ((-INF, 0, 5, 5), None),
        ((0, -3e38, 5, 3e38), None),
        # one pixel wide
        ((10, 20, 3, 26), (10.5, None)),
        ((10, 20, 10, 20), (10.5, 20.5)),
        ((3e38, 1, -3e38, 1), (3e38, 1.5)),
        # searched at a bounded resolution
        ((0, 0, 3, 1e9), (None, 1e9 * 4.5 / 6)),
        ((-1e6, 0, 1e6, 3), (0, None)),
    ],
)
def test_any_box(
    target: str,
    box: tuple[float, ...],
    expected: tuple[float | None, float | None] | None,
) -> None:
    heatmap = np.zeros((1, 1, 6, 5), np.float32)
    heatmap[0, 0, 4, 2] = 3
    x, y, score = ops.keypoint_decode(heatmap, *frames_of([box])).ravel().tolist()
    if expected is None:
        assert (x, y, score) == (0, 0, 0)
        return
    assert math.isfinite(score)
    for found, should, side in zip(
        (x, y), expected, (box[2] - box[0], box[3] - box[1]), strict=True
    ):
        assert math.isfinite(found)
        if should is not None:
            assert abs(found - should) <= 1e-3 * max(1, side, 1e-3 * abs(should))


@pytest.mark.parametrize("scale", [NAN, INF, 3e38])
def test_scales_that_leave_no_finite_place(target: str, scale: float) -> None:
    boxes, count, scales = frames_of([[10, 20, 30, 40]])
    scales[0, 1] = scale
    found = ops.keypoint_decode(np.ones((1, 2, 4, 4), np.float32), boxes, count, scales)
    assert not found.any()


@pytest.mark.parametrize("decode", DECODES)
@pytest.mark.parametrize(
    ("values", "row"),
    [
        ([NAN, 5, NAN, 1], 1),
        ([0, INF, 0, 0], 1),
        ([-INF, -INF, 2, -INF], 2),
        ([-3e38, 3e38, 0, 0], 1),
        ([0, 0, 0, 300], 3),
        ([NAN, NAN, NAN, NAN], 0),
    ],
)
def test_logits_that_are_not_finite(
    target: str, decode: Decode, values: list[float], row: int
) -> None:
    heatmap = np.broadcast_to(np.array(values, np.float32)[:, None], (1, 1, 4, 3))
    found = ops.keypoint_decode(heatmap, *frames_of([[0, 0, 3, 4]]), decode=decode)
    assert np.isfinite(found).all()
    assert found[0, 0, 0, 1] == row + 0.5


def test_large_boxes_take_no_longer_where_heatmaps_are_flat(target: str) -> None:
    # a search of all pixels would take minutes in the emulation
    heatmaps = np.full((1, 17, 56, 56), -2, np.float32)
    found = ops.keypoint_decode(heatmaps, *frames_of([[0, 0, 8192, 8192]]))
    np.testing.assert_array_equal(found[0, 0], [[0.5, 0.5, -2]] * 17)


@settings(max_examples=20, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    sides=st.tuples(st.floats(1, 150), st.floats(1, 150)),
    seed=st.integers(0, 2**16),
)
@example((56, 56), (100.0, 200.0), 0)
def test_detectron2_score(
    target: str, size: tuple[int, int], sides: tuple[float, float], seed: int
) -> None:
    heatmaps = peaks(np.random.default_rng(seed), (1, 2, *size))
    frames = frames_of([[5, 6, 5 + sides[0], 6 + sides[1]]])
    found = ops.keypoint_decode(heatmaps, *frames, decode="detectron2")[0, 0]
    logits = ops.keypoint_decode(heatmaps, *frames)[0, 0]
    np.testing.assert_array_equal(found[:, :2], logits[:, :2])
    # structures/keypoints.py: the softmax at the point, over the cells instead of the pixels
    width, height = (
        math.ceil(float(b) - float(a))
        for a, b in zip(frames.boxes[0, 0, :2], frames.boxes[0, 0, 2:], strict=True)
    )
    maps = torch.from_numpy(heatmaps)
    resized = functional.interpolate(maps, (height, width), mode="bicubic", align_corners=False)
    best = resized[0].flatten(1).max(1).values
    sums = (maps[0].flatten(1) - best[:, None]).exp().sum(1)
    np.testing.assert_allclose(found[:, 2], 1 / sums.numpy(), rtol=2e-4)


@pytest.mark.parametrize("threads", [2, 64])
def test_threads_change_nothing(threads: int) -> None:
    rng = np.random.default_rng(8)
    heatmaps = peaks(rng, (6, 4, 20, 20))
    frames = frames_of(rng.uniform(0, 100, (6, 4)))
    with backend.use(backend.Cpu()):
        one = ops.keypoint_decode(heatmaps, *frames, threads=1)
        many = ops.keypoint_decode(heatmaps, *frames, threads=threads)
    np.testing.assert_array_equal(one, many)


GOOD: dict[str, Any] = {
    "heatmaps": np.zeros((2, 3, 4, 5), np.float32),
    **frames_of(np.ones((2, 4)))._asdict(),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heatmaps": GOOD["heatmaps"][0]}, r"found heatmaps float32 \[3, 4, 5\], expected"),
        ({"heatmaps": GOOD["heatmaps"][:1]}, r"bfloat16 \[2, K, h, w\]"),
        ({"heatmaps": GOOD["heatmaps"].astype(np.int8)}, "found heatmaps int8"),
        ({"heatmaps": GOOD["heatmaps"][:, :0]}, "found points 0, expected 1 to"),
        ({"heatmaps": GOOD["heatmaps"][:, :, :, :0]}, "found width 0, expected 1 to 1024"),
        ({"heatmaps": np.zeros((2, 1, 1025, 1), np.float32)}, "found height 1025"),
        ({"boxes": GOOD["boxes"][0]}, r"found boxes float32 \[2, 4\], expected"),
        ({"boxes": GOOD["boxes"].astype(float)}, "found boxes float64"),
        ({"count": GOOD["count"].astype(np.int64)}, "found count int64"),
        ({"scale": GOOD["scale"][:, :1]}, r"found scale float32 \[1, 1\]"),
        ({"layout": "nhwc"}, "found layout 'nhwc', expected linear or channels_last"),
        ({"decode": "mmpose"}, "found decode 'mmpose', expected torchvision or detectron2"),
        ({"points": 2}, "found 2 points and heatmaps of 3 channels"),
        ({"points": 6, "layout": "channels_last"}, "found 6 points and heatmaps of 5 channels"),
        ({"threads": -1}, "found threads -1"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.keypoint_decode(**(GOOD | change))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("struct_size", 0),
        ("heatmaps", None),
        ("boxes", None),
        ("count", None),
        ("scale", None),
        ("keypoints", None),
        ("batch", 0),
        ("slots", 0),
        ("points", -1),
        ("height", 1025),
        ("width", 0),
        ("heatmaps_type", 5),
        ("layout", -1),
        ("channel_stride", 1),
        ("decode", 2),
        ("threads", -1),
    ],
)
def test_the_c_function_refuses_bad_params(field: str, value: Any) -> None:
    heatmaps = np.zeros((1, 4, 5, 2), np.float32)
    boxes, count, scale = frames_of([[1, 2, 3, 4]])
    keypoints = np.full((1, 1, 2, 3), 9, np.float32)
    filled = KeypointDecodeParams(
        struct_size=ctypes.sizeof(KeypointDecodeParams),
        heatmaps=heatmaps.ctypes.data,
        boxes=boxes.ctypes.data,
        count=count.ctypes.data,
        scale=scale.ctypes.data,
        keypoints=keypoints.ctypes.data,
        batch=1,
        slots=1,
        points=2,
        height=4,
        width=5,
        layout=1,
        channel_stride=2,
    )
    call("maskrt_keypoint_decode", filled)
    assert keypoints.ravel().tolist() == [1.5, 2.5, 0] * 2
    keypoints[:] = 9
    setattr(filled, field, value)
    with pytest.raises(ValueError, match=r"keypoint_decode: found .*(expected|null)"):
        call("maskrt_keypoint_decode", filled)
    assert (keypoints == 9).all()


def test_the_c_function_refuses_null() -> None:
    assert library().maskrt_keypoint_decode(None) == 1
    assert b"null pointer" in library().maskrt_last_error()

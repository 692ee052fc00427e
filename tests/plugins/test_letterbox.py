"""The native Letterbox against the torch op, on frames of any size and layout."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from maskrt.export import ops as reference
from maskrt.plugins import backend, ops
from maskrt.plugins.library import call, library
from maskrt.plugins.ops.letterbox import LetterboxParams, Resize, _frames

pytestmark = pytest.mark.usefixtures("native")

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
Frames = NDArray[np.uint8]

# each makes frames [batch, height, width, 3] that lie differently in memory
LAYOUTS: dict[str, Callable[[Callable[..., Frames], int, int, int], Frames]] = {
    "contiguous": lambda noise, b, h, w: noise(b, h, w, 3),
    "crop": lambda noise, b, h, w: noise(b, h + 3, w + 5, 3)[:, 2:-1, 1:-4],
    "every second row": lambda noise, b, h, w: noise(b, 2 * h, w, 3)[:, ::2],
    "every second column": lambda noise, b, h, w: noise(b, h, 2 * w, 3)[:, :, ::2],
    "upside down": lambda noise, b, h, w: noise(b, h, w, 3)[::-1, ::-1],
    "mirrored": lambda noise, b, h, w: noise(b, h, w, 3)[:, :, ::-1],
    "bgra": lambda noise, b, h, w: noise(b, h, w, 4)[..., :3],
    "reversed channels": lambda noise, b, h, w: noise(b, h, w, 3)[..., ::-1],
    "planes": lambda noise, b, h, w: noise(b, 3, h, w).transpose(0, 2, 3, 1),
    "turned": lambda noise, b, h, w: noise(b, w, h, 3).transpose(0, 2, 1, 3),
    "one row repeated": lambda noise, b, h, w: np.broadcast_to(noise(b, 1, w, 3), (b, h, w, 3)),
}

side = st.integers(1, 150)
thin = st.tuples(st.integers(1, 3), st.integers(1, 6000))
sizes = st.one_of(st.tuples(side, side), thin, thin.map(lambda size: size[::-1]))
stds = st.floats(0.5, 128) | st.floats(-128, -0.5)
RESIZES = ["torchvision", "detectron2"]


def check(
    frames: Frames,
    canvas: tuple[int, int],
    bounds: tuple[int, int],
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    swap: bool = True,
    threads: int = 0,
    resize: Resize = "torchvision",
) -> None:
    """Holds the native operator against the torch one."""
    image, scale, content = ops.letterbox(
        frames,
        canvas,
        min_size=bounds[0],
        max_size=bounds[1],
        mean=mean,
        std=std,
        swap_channels=swap,
        resize=resize,
        threads=threads,
    )
    tensors = reference.letterbox(
        torch.from_numpy(frames.copy()), list(canvas), *bounds, list(mean), list(std), swap, resize
    )
    expected_image, expected_scale, expected_content = (t.numpy() for t in tensors)
    np.testing.assert_array_equal(content, expected_content)
    np.testing.assert_array_equal(scale, expected_scale)
    assert image.dtype == np.float32
    assert image.shape == expected_image.shape
    for channel in range(3):
        # Positions are the same to the bit. Each side then rounds about eight times, by 6e-8 of
        # the largest number on the way: 5e-7 of it; the bound leaves room for fused operations.
        # detectron2's values are whole before they are normalised: nothing is left to round.
        largest = max(255.0, 255.0 - mean[channel]) / abs(std[channel])
        bound = 2e-6 * largest if resize == "torchvision" else 0
        np.testing.assert_allclose(
            image[:, channel], expected_image[:, channel], rtol=0, atol=bound
        )
    rows, columns = (int(side) for side in content[0])
    assert not image[:, :, rows:].any()
    assert not image[:, :, :, columns:].any()


@settings(max_examples=40, deadline=None)
@given(
    layout=st.sampled_from(list(LAYOUTS)),
    size=sizes,
    batch=st.integers(1, 2),
    canvas=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    bounds=st.tuples(st.just(0) | st.integers(1, 300), st.just(0) | st.integers(1, 300)),
    mean=st.tuples(*[st.floats(0, 255, width=32)] * 3),
    std=st.tuples(*[stds] * 3),
    swap=st.booleans(),
    threads=st.integers(0, 3),
    resize=st.sampled_from(RESIZES),
    seed=st.integers(0, 2**16),
)
@example("contiguous", (1, 1), 2, (64, 96), (0, 0), MEAN, STD, False, 0, "torchvision", 0)
@example("contiguous", (1, 1), 1, (1, 1), (0, 0), MEAN, STD, True, 0, "torchvision", 0)
@example("contiguous", (1, 6000), 1, (64, 64), (0, 0), MEAN, STD, True, 0, "torchvision", 0)
@example("contiguous", (6000, 1), 2, (64, 64), (0, 0), MEAN, STD, True, 0, "torchvision", 0)
@example("contiguous", (2, 2), 1, (200, 200), (0, 0), MEAN, STD, True, 0, "torchvision", 0)
@example("contiguous", (49, 49), 1, (1, 1), (0, 0), MEAN, STD, True, 0, "torchvision", 0)
@example("bgra", (100, 100), 2, (100, 100), (0, 0), MEAN, STD, True, 3, "torchvision", 0)
@example("contiguous", (1, 1), 2, (64, 96), (0, 0), MEAN, STD, False, 0, "detectron2", 0)
@example("contiguous", (1, 6000), 1, (64, 64), (0, 0), MEAN, STD, True, 0, "detectron2", 0)
@example("contiguous", (6000, 1), 2, (64, 64), (0, 0), MEAN, STD, True, 0, "detectron2", 0)
@example("contiguous", (2, 2), 1, (200, 200), (0, 0), MEAN, STD, True, 0, "detectron2", 0)
@example("contiguous", (49, 49), 1, (1, 1), (0, 0), MEAN, STD, True, 0, "detectron2", 0)
@example("bgra", (100, 100), 2, (100, 100), (0, 0), MEAN, STD, True, 3, "detectron2", 0)
def test_as_the_torch_op(
    target: str,
    layout: str,
    size: tuple[int, int],
    batch: int,
    canvas: tuple[int, int],
    bounds: tuple[int, int],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    swap: bool,
    threads: int,
    resize: Resize,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    frames = LAYOUTS[layout](lambda *s: rng.integers(0, 256, s, dtype=np.uint8), batch, *size)
    assert frames.shape == (batch, *size, 3)
    check(frames, canvas, bounds, mean, std, swap, threads, resize)


@pytest.mark.parametrize(
    ("size", "canvas", "bounds"),
    [
        ((1080, 1920), (800, 1344), (800, 1333)),
        ((2160, 3840), (800, 1088), (0, 0)),
        ((480, 640), (800, 1344), (800, 1333)),
        ((3, 60001), (320, 1344), (0, 0)),
        ((100_003, 2), (800, 800), (800, 1333)),
    ],
)
@pytest.mark.slow(reason="4K frames")
def test_large_frames(
    target: str, size: tuple[int, int], canvas: tuple[int, int], bounds: tuple[int, int]
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    check(frames, canvas, bounds)


@pytest.mark.parametrize(
    ("size", "canvas", "bounds"),
    [
        ((540, 960), (400, 672), (400, 666)),
        ((240, 320), (400, 544), (400, 0)),
        ((3, 20_001), (96, 320), (0, 0)),
        ((20_003, 2), (320, 96), (0, 0)),
    ],
)
def test_large_frames_resized_as_detectron2_does(
    target: str, size: tuple[int, int], canvas: tuple[int, int], bounds: tuple[int, int]
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    check(frames, canvas, bounds, resize="detectron2")


# reduced along one side or both, enlarged, both at once, left as they are, extreme
@pytest.mark.parametrize(
    ("size", "content"),
    [
        ((135, 240), (93, 166)),
        ((90, 67), (121, 90)),
        ((61, 300), (20, 98)),
        ((50, 80), (50, 80)),
        ((2048, 64), (16, 1)),
        ((1, 3001), (1, 77)),
        ((7, 1), (200, 29)),
    ],
)
def test_detectron2s_pixels_are_pillows(
    target: str, size: tuple[int, int], content: tuple[int, int]
) -> None:
    # sharp edges and flat regions beside noise: sums that end near a half, and those beyond 255
    frame = np.random.default_rng(4).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    frame[:, : size[0] // 2] = np.where(frame[:, : size[0] // 2] < 128, 0, 255)
    image, _, found = ops.letterbox(
        frame,
        content,
        max_size=max(content),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        resize="detectron2",
    )
    assert tuple(found[0]) == content
    # one axis at a time: Pillow 13 begins with the rows where the height shrinks most
    rows, columns = content
    along_x = Image.fromarray(frame[0]).resize((columns, size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(along_x.resize((columns, rows), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(image[0].transpose(1, 2, 0), pixels)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(37, 53), (120, 90), (1, 3)])
@pytest.mark.parametrize("std", [STD, (1e-3, 1e-6, 1e6)])
def test_float16_is_the_float32_image_rounded(
    target: str, size: tuple[int, int], std: tuple[float, float, float], resize: Resize
) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    how: dict[str, Any] = {"mean": MEAN, "std": std, "min_size": 30, "resize": resize}
    exact, *others = ops.letterbox(frames, (48, 64), **how)
    half, *halves = ops.letterbox(frames, (48, 64), dtype=np.float16, **how)
    assert half.dtype == np.float16
    # 255e6 overflows to infinity and 255e-6 is denormal, as NumPy rounds them
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half, exact.astype(np.float16))
    for one, other in zip(others, halves, strict=True):
        np.testing.assert_array_equal(one, other)
    with backend.use(backend.Cpu()):
        np.testing.assert_array_equal(half, ops.letterbox(frames, (48, 64), dtype="f2", **how)[0])


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("threads", [2, 3, 64])
def test_threads_change_nothing(threads: int, resize: Resize) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 211, 307, 3), dtype=np.uint8)
    how: dict[str, Any] = {"mean": MEAN, "std": STD, "resize": resize}
    one, *_ = ops.letterbox(frames, (160, 224), threads=1, **how)
    many, *_ = ops.letterbox(frames, (160, 224), threads=threads, **how)
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("layout", ["crop", "every second row", "upside down", "bgra", "turned"])
def test_views_are_read_where_they_lie(layout: str) -> None:
    frames = LAYOUTS[layout](lambda *s: np.zeros(s, np.uint8), 2, 4, 6)
    assert _frames(frames) is frames


def test_writes_into_out_and_nothing_around_it() -> None:
    frames = np.random.default_rng(2).integers(0, 256, (2, 37, 53, 3), dtype=np.uint8)
    memory = np.full(2 * 3 * 31 * 47 + 128, np.float32(-7.5))
    out = memory[64:-64].reshape(2, 3, 31, 47)
    image, *_ = ops.letterbox(frames, (31, 47), mean=MEAN, std=STD, out=out)
    assert image is out
    np.testing.assert_array_equal(
        image, ops.letterbox(frames, (31, 47), mean=MEAN, std=STD, threads=1)[0]
    )
    assert (memory[:64] == -7.5).all()
    assert (memory[-64:] == -7.5).all()


FRAMES = np.zeros((1, 4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": FRAMES[0]}, r"uint8 \[4, 5, 3\], expected uint8 \[B, H, W, 3\]"),
        ({"frames": FRAMES[..., :2]}, r"\[1, 4, 5, 2\], expected"),
        ({"frames": FRAMES[:, :0]}, r"\[1, 0, 5, 3\], expected"),
        ({"frames": FRAMES[:0]}, r"\[0, 4, 5, 3\], expected"),
        ({"frames": FRAMES.astype(np.float32)}, "found frames float32"),
        ({"frames": FRAMES.tolist()}, "found frames of type list"),
        ({"frames": np.broadcast_to(FRAMES[:, :, :1], (1, 4, 2**23, 3))}, "frame width 8388608"),
        ({"canvas": (0, 8)}, "found canvas 0, expected 1 or more"),
        ({"canvas": (8, -8)}, "found canvas -8"),
        ({"canvas": (8.5, 8)}, "found canvas 8.5, expected an integer"),
        ({"canvas": (8, 8, 8)}, "found a canvas of 3 numbers"),
        ({"canvas": (1, 2**33)}, "found canvas 8589934592"),
        ({"canvas": (1, 2**23)}, "found canvas width 8388608, expected 1 to 4194304"),
        ({"min_size": -1}, "found min_size -1"),
        ({"max_size": 2**31}, "found max_size 2147483648"),
        ({"max_size": 2**23}, "found max_size 8388608"),
        ({"threads": -1}, "found threads -1"),
        ({"mean": (0, 0)}, "found 2 numbers as mean, expected 3"),
        ({"mean": (0, float("nan"), 0)}, r"found mean\[1\] nan, expected a finite one"),
        ({"std": (1, 1, 0)}, r"found std\[2\] 0, expected a finite one that is not 0"),
        ({"std": (1, 1, float("inf"))}, r"found std\[2\] inf"),
        ({"out": np.zeros((1, 3, 8, 9), np.float32)}, r"expected float32 \[1, 3, 8, 8\]"),
        ({"out": np.zeros((1, 3, 8, 8))}, "found out float64"),
        ({"out": np.zeros((1, 3, 8, 16), np.float32)[..., ::2]}, "contiguous"),
        ({"out": [0.0]}, "found out <class 'list'>"),
        ({"out": np.zeros((1, 3, 8, 8), np.float16)}, "found out float16"),
        ({"dtype": np.float64}, "found dtype float64, expected float32 or float16"),
        ({"dtype": np.uint8}, "found dtype uint8"),
        ({"resize": "pillow"}, "found resize 'pillow', expected torchvision or detectron2"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"frames": FRAMES, "canvas": (8, 8), "mean": MEAN, "std": STD}
    arguments |= change
    with pytest.raises(ValueError, match=message):
        ops.letterbox(**arguments)


def params() -> tuple[LetterboxParams, tuple[NDArray[Any], ...]]:
    """Valid params, and the arrays that they point to."""
    arrays: tuple[NDArray[Any], ...] = (
        FRAMES,
        np.zeros((1, 3, 8, 8), np.float32),
        np.zeros((1, 2), np.float32),
        np.zeros((1, 2), np.float32),
    )
    names = ("frames", "image", "scale", "content")
    filled = LetterboxParams(
        struct_size=ctypes.sizeof(LetterboxParams),
        **{name: array.ctypes.data for name, array in zip(names, arrays, strict=True)},
        frame_stride=60,
        row_stride=15,
        pixel_stride=3,
        batch=1,
        height=4,
        width=5,
        canvas_height=8,
        canvas_width=8,
        mean=MEAN,
        std=STD,
    )
    return filled, arrays


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("struct_size", 0),
        ("frames", None),
        ("image", None),
        ("scale", None),
        ("content", None),
        ("batch", 0),
        ("height", 0),
        ("width", -5),
        ("width", 2**22 + 1),
        ("canvas_height", -(2**31)),
        ("canvas_width", 2**31 - 1),
        ("min_size", -1),
        ("max_size", -1),
        ("pixel_stride", 2),
        ("pixel_stride", -3),
        ("pixel_stride", 2**62),
        ("image_type", 5),
        ("resize", 2),
        ("threads", -1),
    ],
)
def test_the_c_function_refuses_bad_params(field: str, value: Any) -> None:
    filled, arrays = params()
    call("maskrt_letterbox", filled)
    before = [array.copy() for array in arrays]
    setattr(filled, field, value)
    with pytest.raises(ValueError, match=r"letterbox: found .*(expected|null)"):
        call("maskrt_letterbox", filled)
    for old, array in zip(before, arrays, strict=True):
        np.testing.assert_array_equal(old, array)


def test_the_c_function_refuses_null() -> None:
    assert library().maskrt_letterbox(None) == 1
    assert b"null pointer" in library().maskrt_last_error()

"""The native paste against the runtime's, which is held against the frameworks' own."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskrt.plugins import backend, ops
from maskrt.plugins.library import call, library
from maskrt.plugins.ops.paste_masks import Convention, PasteMasksParams, PasteRegionsParams
from maskrt.runtime.masks import paste_probabilities

pytestmark = pytest.mark.usefixtures("native")

FRAME = (47, 61)
CONVENTIONS: list[Convention] = ["torchvision", "detectron2"]
CLOSE = 1e-4
"""Of the threshold: there float32 positions may decide otherwise than float64 ones."""


def dense(crops: list[ops.PastedCrop], frame: tuple[int, int]) -> NDArray[np.bool_]:
    whole = np.zeros((len(crops), *frame), np.bool_)
    for image, (x, y, mask) in zip(whole, crops, strict=True):
        assert x >= 0
        assert y >= 0
        region = image[y : y + mask.shape[0], x : x + mask.shape[1]]
        assert region.shape == mask.shape
        region[:] = mask
    return whole


def labelled(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The label map of dense masks: the first lies on top."""
    labels = np.zeros(masks.shape[1:], np.int64)
    for i in reversed(range(len(masks))):
        labels[masks[i]] = i + 1
    return labels


def probabilities(
    masks: NDArray[Any], boxes: NDArray[Any], frame: tuple[int, int], convention: Convention
) -> NDArray[np.float32]:
    whole = np.zeros((len(masks), *frame), np.float32)
    crops = paste_probabilities(masks, boxes, frame, convention)
    for image, (x, y, crop) in zip(whole, crops, strict=True):
        image[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return whole


def random_boxes(rng: np.random.Generator, n: int, frame: tuple[int, int]) -> NDArray[np.float32]:
    """Mostly within the frame; some small, some large, some beyond it."""
    limits = np.array(frame[::-1])
    corner = rng.uniform(-0.3, 1.1, (n, 2)) * limits
    size = rng.choice([0.02, 0.2, 0.6, 1.5], (n, 1)) * rng.uniform(0.1, 1, (n, 2)) * limits
    return np.concatenate([corner, corner + size], 1).astype(np.float32)


def check(
    masks: NDArray[Any],
    boxes: NDArray[np.float32],
    frame: tuple[int, int],
    convention: Convention,
    threshold: float,
    threads: int = 0,
) -> NDArray[np.bool_]:
    """Holds crops against the runtime's, the label map against the crops, the CPU against both."""
    how: dict[str, Any] = {"convention": convention, "threshold": threshold, "threads": threads}
    crops = ops.paste_crops(masks, boxes, frame, **how)
    found = dense(crops, frame)
    floats = masks / np.float32(255) if masks.dtype == np.uint8 else masks
    expected = probabilities(floats, boxes, frame, convention)
    on = expected > threshold if convention == "torchvision" else expected >= threshold
    unlike = found != on
    assert np.abs(expected[unlike] - threshold).max(initial=0) < CLOSE
    for dtype in (np.uint8, np.uint16):
        labels = ops.paste_label_map(masks, boxes, frame, dtype=dtype, **how)
        assert labels.dtype == dtype
        np.testing.assert_array_equal(labels, labelled(found))
    with backend.use(backend.Cpu()):
        for one, other in zip(crops, ops.paste_crops(masks, boxes, frame, **how), strict=True):
            assert one[:2] == other[:2]
            np.testing.assert_array_equal(one.mask, other.mask)
    return found


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 6),
    shape=st.sampled_from([(14, 14), (28, 28), (5, 5), (1, 1), (5, 9), (33, 2)]),
    frame=st.tuples(st.integers(1, 90), st.integers(1, 140)),
    convention=st.sampled_from(CONVENTIONS),
    threshold=st.sampled_from([0.5, 0.25, 0.8]),
    kind=st.sampled_from([np.float32, np.uint8]),
    threads=st.integers(0, 2),
    seed=st.integers(0, 2**16),
)
@example(1, (1, 1), (1, 1), "torchvision", 0.5, np.float32, 0, 0)
@example(5, (28, 28), (70, 100), "detectron2", 0.5, np.uint8, 1, 1)
def test_as_the_runtime(
    target: str,
    n: int,
    shape: tuple[int, int],
    frame: tuple[int, int],
    convention: Convention,
    threshold: float,
    kind: Any,
    threads: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((n, *shape), np.float32)
    if kind is np.uint8:
        masks = (masks * 255).astype(np.uint8)
    check(masks, random_boxes(rng, n, frame), frame, convention, threshold, threads)


edges = st.one_of(
    st.integers(-100, 160).map(float),
    st.integers(-200, 320).map(lambda x: x / 2),
    st.floats(-200, 200, width=32),
    st.sampled_from([-3e38, -1e9, 1e9, 3e38, float("inf"), float("-inf"), float("nan")]),
)


@settings(max_examples=50, deadline=None)
@given(
    box=st.tuples(edges, edges, edges, edges),
    shape=st.sampled_from([(28, 28), (3, 3), (1, 1)]),
    convention=st.sampled_from(CONVENTIONS),
    seed=st.integers(0, 9),
)
@example((-3e38, -3e38, 3e38, 3e38), (28, 28), "detectron2", 0)
@example((10, 10, 10 + 1e-30, 20), (28, 28), "detectron2", 0)
@example((0, 0, 1e-44, 1e-44), (28, 28), "detectron2", 0)
@example((30.5, 30.5, 30.25, 30.25), (28, 28), "torchvision", 0)
def test_any_box(
    target: str,
    box: tuple[float, float, float, float],
    shape: tuple[int, int],
    convention: Convention,
    seed: int,
) -> None:
    masks = np.random.default_rng(seed).random((1, *shape), np.float32)
    found = check(masks, np.array([box], np.float32), FRAME, convention, 0.5)
    if not np.isfinite(box).all():
        assert not found.any()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_regions_are_those_of_the_runtime(convention: Convention) -> None:
    rng = np.random.default_rng(0)
    frame = (1080, 1920)
    boxes = random_boxes(rng, 100, frame)
    masks = np.zeros((100, 28, 28), np.float32)
    native = ops.paste_crops(masks, boxes, frame, convention=convention, threshold=0.5)
    expected = paste_probabilities(masks, boxes, frame, convention)
    assert [(x, y, mask.shape) for x, y, mask in native] == [
        (x, y, mask.shape) for x, y, mask in expected
    ]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_large_regions(target: str, convention: Convention) -> None:
    rng = np.random.default_rng(1)
    masks = rng.random((3, 28, 28), np.float32)
    boxes = np.array(
        [[-20, -30, 700, 400], [100.5, 3.25, 180.75, 390.5], [0, 0, 640, 360]], np.float32
    )
    found = check(masks, boxes, (360, 640), convention, 0.5)
    assert found.any((1, 2)).all()


def test_more_instances_than_a_block_lists(target: str) -> None:
    rng = np.random.default_rng(2)
    frame = (70, 80)
    corner = rng.uniform(0, [80, 70], (600, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 8, (600, 2))], 1).astype(np.float32)
    masks = rng.random((600, 5, 5), np.float32)
    crops = ops.paste_crops(masks, boxes, frame, convention="torchvision", threshold=0.5)
    labels = ops.paste_label_map(
        masks, boxes, frame, convention="torchvision", threshold=0.5, dtype=np.uint16
    )
    np.testing.assert_array_equal(labels, labelled(dense(crops, frame)))
    assert labels.max() > 256


def test_the_threshold_itself_belongs_to_detectron2_only(target: str) -> None:
    masks, boxes = np.full((1, 4, 4), 0.5, np.float32), np.array([[8, 8, 24, 24]], np.float32)
    for convention in CONVENTIONS:
        crops = ops.paste_crops(masks, boxes, FRAME, convention=convention, threshold=0.5)
        inside = dense(crops, FRAME)[0, 14:18, 14:18]
        assert (inside == (convention == "detectron2")).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_masks_that_are_not_numbers_are_off(target: str, convention: Convention) -> None:
    masks, boxes = np.full((1, 4, 4), np.nan, np.float32), np.array([[8, 8, 24, 24]], np.float32)
    (crop,) = ops.paste_crops(masks, boxes, FRAME, convention=convention, threshold=0.5)
    assert crop.mask.size > 200
    assert not crop.mask.any()


def test_no_instances(target: str) -> None:
    masks, boxes = np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)
    assert ops.paste_crops(masks, boxes, FRAME, convention="torchvision", threshold=0.5) == []
    labels = ops.paste_label_map(masks, boxes, FRAME, convention="torchvision", threshold=0.5)
    assert labels.shape == FRAME
    assert not labels.any()


@pytest.mark.parametrize("threads", [2, 64])
def test_threads_change_nothing(threads: int) -> None:
    rng = np.random.default_rng(3)
    frame = (500, 700)
    masks, boxes = rng.random((40, 28, 28), np.float32), random_boxes(rng, 40, frame)
    how: dict[str, Any] = {"convention": "torchvision", "threshold": 0.5}
    with backend.use(backend.Cpu()):
        one = ops.paste_crops(masks, boxes, frame, threads=1, **how)
        many = ops.paste_crops(masks, boxes, frame, threads=threads, **how)
        for a, b in zip(one, many, strict=True):
            np.testing.assert_array_equal(a.mask, b.mask)
        np.testing.assert_array_equal(
            ops.paste_label_map(masks, boxes, frame, threads=1, **how),
            ops.paste_label_map(masks, boxes, frame, threads=threads, **how),
        )


GOOD = {"masks": np.zeros((2, 3, 4), np.float32), "boxes": np.zeros((2, 4), np.float32)}


@pytest.mark.parametrize("paste", [ops.paste_crops, ops.paste_label_map])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": GOOD["masks"][0]}, r"found masks float32 \[3, 4\], expected"),
        ({"masks": GOOD["masks"].astype(np.float16)}, "expected float32 or uint8"),
        ({"masks": GOOD["masks"][:, :0]}, "found mask_height 0, expected 1 to 4096"),
        ({"boxes": GOOD["boxes"][:1]}, r"found boxes float32 \[1, 4\], expected float32 \[2, 4\]"),
        ({"boxes": GOOD["boxes"].astype(int)}, "found boxes int64"),
        ({"frame_size": (8, 8, 3)}, "found a frame of 3 numbers"),
        ({"frame_size": (0, 8)}, "found frame 0, expected 1 or more"),
        ({"frame_size": (1, 2**22 + 1)}, "found frame_width 4194305"),
        ({"convention": "coco"}, "found convention 'coco', expected torchvision or detectron2"),
        ({"threshold": float("nan")}, "found threshold nan, expected a finite one"),
        ({"threads": -1}, "found threads -1"),
    ],
)
def test_bad_arguments(paste: Any, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        **GOOD,
        "frame_size": (8, 9),
        "convention": "torchvision",
        "threshold": 0.5,
    }
    with pytest.raises(ValueError, match=message):
        paste(**(arguments | change))


def test_labels_that_cannot_hold_the_instances(target: str) -> None:
    masks, boxes = np.zeros((256, 1, 1), np.float32), np.zeros((256, 4), np.float32)
    how: dict[str, Any] = {"convention": "torchvision", "threshold": 0.5}
    with pytest.raises(ValueError, match="found 256 instances and labels of 1 bytes"):
        ops.paste_label_map(masks, boxes, FRAME, **how)
    with pytest.raises(ValueError, match="found dtype int32, expected uint8 or uint16"):
        ops.paste_label_map(masks, boxes, FRAME, dtype=np.int32, **how)


class Filled:
    """Valid params for three instances, and the arrays that they point to."""

    def __init__(self, mode: int) -> None:
        self.masks = np.ones((3, 4, 4), np.float32)
        self.boxes = np.array([[2, 3, 9, 9], [20, 20, 30, 40], [5, 5, 8, 8]], np.float32)
        self.count = np.array([3], np.int32)
        self.regions = np.zeros((3, 4), np.int32)
        self.offsets = np.zeros(4, np.int64)
        height, width = FRAME
        sides: dict[str, int] = {
            "instances": 3,
            "mask_height": 4,
            "mask_width": 4,
            "frame_height": height,
            "frame_width": width,
        }
        self.areas = PasteRegionsParams(
            struct_size=ctypes.sizeof(PasteRegionsParams),
            boxes=self.boxes.ctypes.data,
            regions=self.regions.ctypes.data,
            offsets=self.offsets.ctypes.data,
            **sides,
        )
        call("maskrt_paste_regions", self.areas)
        size = int(self.offsets[-1]) if mode == 0 else height * width
        self.memory = np.full(size + 128, 9, np.uint8)
        self.out = self.memory[64:-64]
        self.params = PasteMasksParams(
            struct_size=ctypes.sizeof(PasteMasksParams),
            masks=self.masks.ctypes.data,
            boxes=self.boxes.ctypes.data,
            count=self.count.ctypes.data,
            regions=self.regions.ctypes.data,
            offsets=self.offsets.ctypes.data,
            out=self.out.ctypes.data,
            out_bytes=size,
            mode=mode,
            label_bytes=1,
            threshold=0.5,
            **sides,
        )

    @contextmanager
    def nothing_written(self) -> Iterator[None]:
        self.memory[:] = 9
        yield
        assert (self.memory == 9).all()


@pytest.mark.parametrize(
    ("mode", "field", "value"),
    [
        (0, "struct_size", 0),
        (0, "masks", None),
        (0, "boxes", None),
        (0, "regions", None),
        (0, "offsets", None),
        (0, "out", None),
        (0, "out_bytes", -1),
        (0, "instances", -1),
        (0, "mask_height", 0),
        (0, "mask_width", 4097),
        (0, "frame_height", 2**22 + 1),
        (0, "frame_width", 0),
        (0, "masks_type", 1),
        (0, "mode", 2),
        (1, "label_bytes", 4),
        (1, "out_bytes", FRAME[0] * FRAME[1] - 1),
        (0, "convention", 2),
        (0, "threads", -1),
        (0, "threshold", float("inf")),
    ],
)
def test_the_c_function_refuses_bad_params(mode: int, field: str, value: Any) -> None:
    filled = Filled(mode)
    call("maskrt_paste_masks", filled.params)
    assert filled.out.any()
    setattr(filled.params, field, value)
    message = r"paste_masks: found .*(expected|null)"
    with filled.nothing_written(), pytest.raises(ValueError, match=message):
        call("maskrt_paste_masks", filled.params)


@pytest.mark.parametrize(
    ("field", "value"),
    [("struct_size", 0), ("boxes", None), ("regions", None), ("offsets", None), ("instances", -1)],
)
def test_regions_refuse_bad_params(field: str, value: Any) -> None:
    areas = Filled(0).areas
    setattr(areas, field, value)
    with pytest.raises(ValueError, match=r"paste_(regions|masks): found .*(expected|null)"):
        call("maskrt_paste_regions", areas)


def test_null() -> None:
    for name in ("maskrt_paste_masks", "maskrt_paste_regions"):
        assert library()[name](None) == 1
        assert b"null pointer" in library().maskrt_last_error()


@pytest.mark.parametrize(
    ("row", "offset"),
    [
        ((-1, 0, 5, 5), 0),
        ((0, -1, 5, 5), 0),
        ((0, 0, -5, 5), 0),
        ((0, 0, 5, -5), 0),
        ((60, 0, 2, 2), 0),
        ((0, 46, 2, 2), 0),
        ((2**31 - 1, 0, 2**31 - 1, 1), 0),
        ((0, 0, 61, 47), 0),
        ((0, 0, 5, 5), -1),
        ((0, 0, 5, 5), 2**62),
        ((0, 0, 5, 5), -(2**63)),
    ],
)
def test_regions_that_do_not_fit(target: str, row: tuple[int, int, int, int], offset: int) -> None:
    filled = Filled(0)
    filled.regions[1], filled.offsets[1] = row, offset
    if target == "cpu":
        message = r"paste_masks: found region 1 \(x .* expected it within the frame"
        with filled.nothing_written(), pytest.raises(ValueError, match=message):
            backend.current().call("paste_masks", filled.params)
        return
    # on the device they cannot be looked at beforehand: that instance is left out
    backend.current().call("paste_masks", filled.params)
    assert (filled.memory[:64] == 9).all()
    assert (filled.memory[-64:] == 9).all()
    sizes = [int(w * h) for _, _, w, h in filled.regions]
    first, last = (slice(o, o + s) for o, s in zip(filled.offsets[:3:2], sizes[::2], strict=True))
    assert set(np.unique(filled.out[first])) == set(np.unique(filled.out[last])) == {0, 1}
    assert (np.delete(filled.out, np.r_[first, last]) == 9).all()


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("count", [-(2**31), 0, 1, 3, 2**31 - 1])
def test_instances_past_the_count_are_left_out(target: str, mode: int, count: int) -> None:
    filled = Filled(mode)
    filled.count[0] = count
    backend.current().call("paste_masks", filled.params)
    live = min(max(count, 0), 3)
    if mode == 1:
        assert set(np.unique(filled.out)) == set(range(live + 1)) - ({3} if live == 3 else set())
        return
    ends = filled.offsets[:3] + filled.regions[:, 2] * filled.regions[:, 3]
    written = [
        bool((filled.out[a:b] != 9).all()) for a, b in zip(filled.offsets, ends, strict=False)
    ]
    assert written == [i < live for i in range(3)]

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch.nn.functional import grid_sample
from torchvision.models.detection.roi_heads import paste_masks_in_image

from maskrt.errors import MaskrtError
from maskrt.plugins import library
from maskrt.runtime import masks as pasting
from maskrt.runtime.masks import paste_crops, paste_probabilities, to_dense

FRAME = (47, 61)


@pytest.fixture(params=["numpy", "native"])
def paste(request, monkeypatch):
    """``paste_crops``, with and without the native library."""
    if request.param == "numpy":
        monkeypatch.setattr(pasting, "_native", lambda: None)
    else:
        request.getfixturevalue("native_paste")
    return paste_crops


@pytest.fixture
def native_paste():
    """Skips the test where the library has not been built."""
    pasting._native.cache_clear()
    if pasting._native() is None:
        pytest.skip("libmaskrt_ops has not been built")


def torchvision_paste(masks, boxes, size):
    pasted = paste_masks_in_image(torch.tensor(masks)[:, None], torch.tensor(boxes), size)
    return pasted[:, 0].numpy()


def detectron2_paste(masks, boxes, size):
    """detectron2/layers/mask_ops.py, _do_paste_mask with skip_empty=False."""
    x0, y0, x1, y1 = torch.split(torch.tensor(boxes), 1, dim=1)
    y = (torch.arange(size[0], dtype=torch.float32) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(size[1], dtype=torch.float32) + 0.5 - x0) / (x1 - x0) * 2 - 1
    n, h, w = len(masks), size[0], size[1]
    grid = torch.stack([x[:, None, :].expand(n, h, w), y[:, :, None].expand(n, h, w)], dim=3)
    return grid_sample(torch.tensor(masks)[:, None], grid, align_corners=False)[:, 0].numpy()


REFERENCE = {"torchvision": torchvision_paste, "detectron2": detectron2_paste}


def dense_probabilities(masks, boxes, size, convention):
    whole = np.zeros((len(masks), *size), np.float32)
    for image, (x, y, crop) in zip(
        whole, paste_probabilities(masks, boxes, size, convention), strict=True
    ):
        image[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return whole


def smooth_masks(rng, n, m):
    """Blobs with a margin, as mask heads give."""
    y, x = np.mgrid[0:m, 0:m] / (m - 1) - 0.5
    radius = rng.uniform(0.2, 0.5, (n, 1, 1)) + 0.1 * np.cos(
        rng.integers(2, 5, (n, 1, 1)) * np.arctan2(y, x)
    )
    return (1 / (1 + np.exp((np.hypot(x, y) - radius) * 25))).astype(np.float32)


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
@pytest.mark.parametrize("m", [14, 28])
def test_equals_the_frameworks_own_paste(paste, convention, m):
    rng = np.random.default_rng(m)
    size = (270, 480)
    masks = smooth_masks(rng, 60, m)
    corner = rng.uniform(-10, [400, 220], (60, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1.5, 200, (60, 2))], 1)
    boxes = boxes.clip(0, [480, 270, 480, 270]).astype(np.float32)
    expected = REFERENCE[convention](masks, boxes, size)
    found = dense_probabilities(masks, boxes, size, convention)
    np.testing.assert_allclose(found, expected, atol=1e-4)

    on = to_dense(paste(masks, boxes, size, convention, 0.5), size)
    should = expected > 0.5 if convention == "torchvision" else expected >= 0.5
    both, either = (on & should).sum((1, 2)), (on | should).sum((1, 2))
    assert (both / np.maximum(either, 1))[either > 0].mean() >= 0.999
    assert (either > 0).sum() > 50


def test_the_conventions_differ():
    masks = smooth_masks(np.random.default_rng(0), 1, 28)
    boxes = np.array([[5.5, 5.5, 30.25, 40.75]], np.float32)
    a, b = (dense_probabilities(masks, boxes, FRAME, c) for c in ("torchvision", "detectron2"))
    assert np.abs(a - b).max() > 0.02


def test_threshold_itself_belongs_to_detectron2_only(paste):
    masks, boxes = np.full((1, 4, 4), 0.5, np.float32), np.array([[8, 8, 24, 24]], np.float32)
    inside = np.s_[0, 14:18, 14:18]
    for convention, expected in (("torchvision", False), ("detectron2", True)):
        on = to_dense(paste(masks, boxes, FRAME, convention, 0.5), FRAME)
        assert (on[inside] == expected).all()


sides = st.one_of(st.just(0.0), st.floats(0, 1, width=32), st.floats(0, 300, width=32))
lengths = st.floats(0.0625, 300, width=16)
places = st.floats(-200, 200, width=32)
shapes = st.sampled_from([(14, 14), (28, 28), (5, 5), (1, 1)])


def reached(box):
    """Whether torchvision's function works: it does for boxes that reach into the frame."""
    x0, y0, x1, y1 = box
    return x1 >= 0 and y1 >= 0 and x0 < FRAME[1] and y0 < FRAME[0]


@settings(max_examples=120, deadline=None)
@given(box=st.tuples(places, places, sides, sides), shape=shapes, seed=st.integers(0, 9))
@example(box=(-0.5, -0.75, 3.25, 0.0), shape=(14, 14), seed=0)
@example(box=(60.0, 46.0, 1.0, 1.0), shape=(28, 28), seed=0)
def test_torchvision_any_box(box, shape, seed):
    x, y, w, h = box
    masks = np.random.default_rng(seed).random((1, *shape), np.float32)
    boxes = np.array([[x, y, x + w, y + h]], np.float32)
    found = dense_probabilities(masks, boxes, FRAME, "torchvision")
    if reached(boxes[0]):
        expected = torchvision_paste(masks, boxes, FRAME)
        np.testing.assert_allclose(found, expected, atol=1e-3)


@settings(max_examples=120, deadline=None)
@given(
    box=st.tuples(places, places, lengths, lengths),
    shape=st.sampled_from([(14, 14), (28, 28), (5, 9), (9, 5), (1, 1)]),
    seed=st.integers(0, 9),
)
def test_detectron2_any_box(box, shape, seed):
    x, y, w, h = box
    masks = np.random.default_rng(seed).random((1, *shape), np.float32)
    boxes = np.array([[x, y, x + w, y + h]], np.float32)
    if boxes[0, 0] == boxes[0, 2] or boxes[0, 1] == boxes[0, 3]:
        return
    expected = detectron2_paste(masks, boxes, FRAME)
    np.testing.assert_allclose(
        dense_probabilities(masks, boxes, FRAME, "detectron2"), expected, atol=1e-3
    )


@pytest.mark.parametrize("shape", [(7, 14), (14, 7)])
def test_torchvision_masks_that_are_not_square(shape):
    rng = np.random.default_rng(1)
    masks = rng.random((3, *shape), np.float32)
    boxes = np.array([[3, 4, 20, 40], [10.5, 0, 60.9, 46.9], [1, 1, 2, 2]], np.float32)
    np.testing.assert_allclose(
        dense_probabilities(masks, boxes, FRAME, "torchvision"),
        torchvision_paste(masks, boxes, FRAME),
        atol=1e-4,
    )


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
@pytest.mark.parametrize(
    "box",
    [
        (np.nan, 0, 5, 5),
        (0, 0, np.inf, 5),
        (-np.inf, -np.inf, np.inf, np.inf),
        (100, 100, 120, 120),
        (-50, -50, -20, -20),
        (30, 30, 10, 10),
    ],
)
def test_boxes_without_a_mask_in_the_frame_give_empty_crops(paste, convention, box):
    masks, boxes = np.ones((1, 14, 14), np.float32), np.array([box], np.float32)
    (crop,) = paste(masks, boxes, FRAME, convention, 0.5)
    assert not crop.mask.any()
    assert crop.mask.shape == (0, 0)


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
@pytest.mark.parametrize("far", [1e4, 1e6, 3e38])
def test_huge_box_costs_no_more_than_the_frame(paste, convention, far):
    masks = np.ones((1, 28, 28), np.float32)
    boxes = np.array([[-far, -far, far, far]], np.float32)
    (crop,) = paste(masks, boxes, FRAME, convention, 0.5)
    assert crop.mask.shape == FRAME
    assert crop.mask.all()


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
def test_no_masks(paste, convention):
    nothing = np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)
    crops = paste(*nothing, FRAME, convention, 0.5)
    assert crops == []
    assert to_dense(crops, FRAME).shape == (0, *FRAME)


def pasted(masks, boxes, size, convention, threshold):
    """By the native library, then by NumPy."""
    native = paste_crops(masks, boxes, size, convention, threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pasting, "_native", lambda: None)
        return native, paste_crops(masks, boxes, size, convention, threshold)


def assert_same(native, expected):
    for found, crop in zip(native, expected, strict=True):
        assert found[:2] == crop[:2]
        assert found.mask.dtype == crop.mask.dtype == bool
        np.testing.assert_array_equal(found.mask, crop.mask)


corners = st.one_of(
    st.integers(-200, 320).map(lambda x: x / 2),
    st.floats(-200, 200, width=32),
    st.sampled_from([-3e38, -1e9, 1e9, 3e38, np.inf, -np.inf, np.nan]),
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    box=st.tuples(corners, corners, corners, corners),
    shape=st.sampled_from([(14, 14), (28, 28), (5, 9), (1, 1)]),
    steps=st.sampled_from([4, 100, 2**24]),
    convention=st.sampled_from(["torchvision", "detectron2"]),
    threshold=st.sampled_from([0.5, 0.25, 0.7]),
    seed=st.integers(0, 9),
)
@example((8.0, 8.0, 24.0, 24.0), (14, 14), 4, "detectron2", 0.5, 0)
@example((0.0, 0.0, 1e-44, 1e-44), (28, 28), 4, "torchvision", 0.5, 0)
def test_the_native_library_changes_no_pixel(
    native_paste, box, shape, steps, convention, threshold, seed
):
    # coarse steps put many pixels on the threshold itself
    masks = np.random.default_rng(seed).integers(0, steps, (1, *shape)) / np.float32(steps)
    masks = masks.astype(np.float32)
    assert_same(*pasted(masks, np.array([box], np.float32), FRAME, convention, threshold))


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
def test_the_native_library_changes_no_pixel_of_a_large_frame(native_paste, convention):
    rng = np.random.default_rng(5)
    size = (1080, 1920)
    corner = rng.uniform(-0.2, 1, (80, 2)) * size[::-1]
    sides = rng.choice([0.02, 0.2, 0.8], (80, 1)) * rng.uniform(0.1, 1, (80, 2)) * size[::-1]
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    native, expected = pasted(smooth_masks(rng, 80, 28), boxes, size, convention, 0.5)
    assert_same(native, expected)
    assert sum(crop.mask.sum() for crop in native) > 1e6


def test_a_missing_library_is_looked_for_once(monkeypatch):
    looked = []

    def missing():
        looked.append(1)
        raise MaskrtError("not there")

    monkeypatch.setattr(library, "library", missing)
    pasting._native.cache_clear()
    masks, boxes = np.ones((1, 4, 4), np.float32), np.array([[8, 8, 24, 24]], np.float32)
    for _ in range(2):
        (crop,) = paste_crops(masks, boxes, FRAME, "torchvision", 0.5)
        assert crop.mask.any()
    pasting._native.cache_clear()
    assert len(looked) == 1

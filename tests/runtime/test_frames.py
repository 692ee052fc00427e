from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from maskrt.errors import FrameError, MaskrtError
from maskrt.runtime.frames import to_bgr

COLOR = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def test_the_usual_frame_is_not_copied():
    assert np.shares_memory(to_bgr(COLOR), COLOR)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_grey(shape):
    grey = COLOR[:, :, 0].reshape(shape)
    assert (to_bgr(grey) == COLOR[:, :, :1]).all()
    assert to_bgr(grey).shape == (5, 7, 3)


def test_alpha_is_dropped():
    frame = np.concatenate([COLOR, np.zeros((5, 7, 1), np.uint8)], axis=2)
    assert (to_bgr(frame) == COLOR).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.int64])
def test_values_0_to_255(dtype):
    assert (to_bgr(COLOR.astype(dtype)) == COLOR).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_0_to_1(dtype):
    assert (to_bgr(COLOR.astype(dtype) / 255) == COLOR).all()


def test_floats_are_rounded():
    assert to_bgr(np.full((2, 2, 3), 99.6)).max() == 100
    assert to_bgr(np.full((2, 2, 3), 0.5)).max() == 128


def test_the_bounds_of_both_ranges():
    assert to_bgr(np.full((2, 2, 3), 1.0)).min() == 255
    assert to_bgr(np.full((2, 2, 3), 255.0)).min() == 255
    assert to_bgr(np.zeros((2, 2, 3))).max() == 0


def test_16_bit():
    assert (to_bgr(COLOR.astype(np.uint16) * 257) == COLOR).all()
    assert to_bgr(np.full((1, 1, 3), 65535, np.uint16)).tolist() == [[[255] * 3]]
    assert to_bgr(np.full((1, 1, 3), 128, np.uint16)).tolist() == [[[0] * 3]]
    assert to_bgr(np.full((1, 1, 3), 129, np.uint16)).tolist() == [[[1] * 3]]


@pytest.mark.parametrize(
    "view",
    [
        COLOR[::-1],
        COLOR[:, ::-1],
        COLOR[..., ::-1],
        COLOR[::2, 1:6:3],
        COLOR.transpose(1, 0, 2),
        np.asfortranarray(COLOR),
        np.broadcast_to(COLOR[:1, :1], (4, 6, 3)),
    ],
)
def test_views(view):
    frame = to_bgr(view)
    assert frame.flags.c_contiguous
    assert (frame == view).all()


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (None, "cv2.imread"),
        ("street.jpg", "open_source"),
        (Path("street.jpg"), "open_source"),
        (torch.zeros(3, 5, 7), "cpu"),
        ([[1, 2], [3, 4]], "numpy.asarray"),
        (np.zeros((0, 7, 3), np.uint8), "empty"),
        (np.zeros((5, 0), np.uint8), "empty"),
        (np.zeros(5, np.uint8), r"shape \[5\]"),
        (np.zeros((2, 5, 7, 3), np.uint8), "Detector.batch"),
        (np.zeros((3, 5, 7), np.uint8), "transpose"),
        (np.zeros((1, 50, 70), np.float32), "transpose"),
        (np.zeros((5, 7, 2), np.uint8), "not 2"),
        (np.zeros((5, 7, 3), bool), "astype"),
        (np.zeros((5, 7, 3), complex), "astype"),
        (np.zeros((5, 7, 3), object), "astype"),
        (np.full((5, 7, 3), -0.1), "normalis"),
        (np.full((5, 7, 3), 256.0), "0 to 255"),
        (np.full((5, 7, 3), -1), "0 to 255"),
        (np.full((5, 7, 3), np.nan), "nan"),
        (np.where(COLOR[0, 0, 0] == COLOR, np.nan, 0.5), "nan"),
        (np.where(COLOR[0, 0, 0] == COLOR, np.inf, 0.5), "inf"),
    ],
)
def test_refused(frame, says):
    with pytest.raises(FrameError, match=says) as caught:
        to_bgr(frame)
    assert isinstance(caught.value, (MaskrtError, ValueError))
    assert "expected" in str(caught.value)


def test_pillow_is_told_about_the_channel_order():
    with pytest.raises(FrameError, match="RGB"):
        to_bgr(Image.new("RGB", (4, 4)))


dtypes = st.sampled_from([np.uint8, np.int8, np.uint16, np.int32, np.float32, np.float64, bool])


@given(
    hnp.arrays(dtype=dtypes, shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
def test_any_array_gives_a_frame_or_a_frame_error(array):
    try:
        frame = to_bgr(array)
    except FrameError:
        return
    assert frame.dtype == np.uint8
    assert frame.shape == (*array.shape[:2], 3)
    assert frame.flags.c_contiguous

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from maskrt.runtime.masks import MaskCrop
from maskrt.runtime.rle import encode


def reference(crop, size):
    dense = np.zeros(size, np.uint8)
    dense[crop.y : crop.y + crop.mask.shape[0], crop.x : crop.x + crop.mask.shape[1]] = crop.mask
    return coco.encode(np.asfortranarray(dense))["counts"].decode()


@st.composite
def crops(draw):
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    y, x = draw(st.integers(0, height)), draw(st.integers(0, width))
    h, w = draw(st.integers(0, height - y)), draw(st.integers(0, width - x))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    share = draw(st.sampled_from([0, 0.1, 0.5, 0.95, 1]))
    return MaskCrop(x, y, rng.random((h, w)) < share), (height, width)


@settings(max_examples=400, deadline=None)
@given(crops())
def test_equals_pycocotools(case):
    crop, size = case
    assert encode(crop, size) == reference(crop, size)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4000, 6000)])
@pytest.mark.parametrize("value", [True, False])
def test_full_and_empty(size, value):
    crop = MaskCrop(0, 0, np.full(size, value))
    assert encode(crop, size) == reference(crop, size)


def test_large_numbers_come_back():
    size = (3000, 5000)
    crop = MaskCrop(4000, 2000, np.random.default_rng(0).random((500, 700)) < 0.5)
    dense = coco.decode({"size": list(size), "counts": encode(crop, size)})
    assert (dense[2000:2500, 4000:4700] == crop.mask).all()
    assert dense.sum() == crop.mask.sum()

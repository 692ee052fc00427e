"""Scales that 16-bit graphs hold exactly, and weights in steps of them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from maskrt.calibration.scales import FORMATS, quantise_weights, scale_of
from maskrt.errors import UnsupportedModelError

INT8, FP8 = FORMATS["int8"], FORMATS["fp8"]


@pytest.mark.parametrize("steps", [INT8, FP8], ids=["int8", "fp8"])
def test_scales_are_exact_in_16_bits_and_hold_the_range(steps):
    largest = np.random.default_rng(0).lognormal(0, 4, 10000)
    scales = scale_of(largest, steps)
    assert scales.dtype == np.float32
    for narrow in (np.float16, ml_dtypes.bfloat16):
        inside = scales < 6e4
        np.testing.assert_array_equal(
            scales[inside].astype(narrow).astype(np.float32), scales[inside]
        )
    assert (scales * steps.largest >= largest * (1 - 1e-6)).all()
    wide = largest / steps.largest > 2**-14
    assert (scales * steps.largest <= largest * (1 + 2**-7))[wide].all()


def test_nothing_known_gives_a_positive_scale():
    assert scale_of(0.0, INT8) > 0
    assert scale_of(1e-30, INT8) == scale_of(0.0, INT8)


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_by_channel(axis):
    weights = np.random.default_rng(0).normal(0, 1, (6, 5, 3, 3)).astype(np.float32)
    weights *= np.logspace(-2, 2, weights.shape[axis]).reshape(
        [-1 if i == axis else 1 for i in range(4)]
    )
    numbers, scales = quantise_weights("w", weights, axis, INT8)
    assert numbers.dtype == np.int8
    assert scales.shape == (weights.shape[axis],)
    spread = np.expand_dims(scales, [i for i in range(4) if i != axis])
    assert (np.abs(numbers * spread - weights) <= spread * 0.5001).all()
    assert np.abs(numbers.astype(int)).max() <= 127
    others = tuple(i for i in range(4) if i != axis)
    assert (np.abs(numbers.astype(int)).max(axis=others) >= 126).all()  # the range is used


def test_weights_in_fp8():
    weights = np.random.default_rng(0).normal(0, 1, (4, 300)).astype(np.float32)
    numbers, scales = quantise_weights("w", weights, 0, FP8)
    assert numbers.dtype == ml_dtypes.float8_e4m3fn
    found = numbers.astype(np.float32) * scales[:, None]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, weights, rtol=2**-4, atol=float(scales.max()) * 2**-9)


def test_a_channel_of_zeros():
    numbers, scales = quantise_weights("w", np.zeros((3, 4), np.float32), 0, INT8)
    assert not numbers.any()
    assert (scales > 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value):
    weights = np.ones((2, 2), np.float32)
    weights[1, 1] = value
    with pytest.raises(UnsupportedModelError, match=r"'fc6' hold NaN or infinity"):
        quantise_weights("fc6", weights, 0, INT8)

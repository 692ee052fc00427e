from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from maskrt.calibration.histogram import BINS, HALF, SMALLEST, Histogram

FLOATS = arrays.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def of(*parts: NDArray[np.floating]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def same(a: Histogram, b: Histogram) -> bool:
    rest = [(h.exponent, h.lowest, h.highest, h.invalid) for h in (a, b)]
    return bool((a.counts == b.counts).all()) and rest[0] == rest[1]


def expected(values: NDArray[np.float32], width: float) -> NDArray[np.int64]:
    """By exact fractions."""
    counts = np.zeros(BINS, np.int64)
    for value in values:
        counts[HALF - 1 + math.trunc(Fraction(float(value)) / Fraction(width))] += 1
    return counts


@given(FLOATS)
def test_each_value_is_in_its_bin(values: NDArray[np.float32]) -> None:
    got = of(values)
    assert (got.counts == expected(values, got.width)).all()
    assert got.total == values.size
    assert (got.lowest, got.highest) == (values.min(), values.max())
    assert got.largest == float(np.abs(values).max()) < 2.0**got.exponent


@settings(max_examples=200)
@given(FLOATS, st.randoms(use_true_random=False), st.integers(0, 40))
def test_order_and_parts_do_not_matter(
    values: NDArray[np.float32], random: object, cut: int
) -> None:
    whole = of(values)
    mixed = values.copy()
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert same(whole, of(*mixed[:, None]))
    assert same(whole, of(mixed[:cut]).merged(of(mixed[cut:])))
    assert same(whole, of(mixed[cut:]).merged(of(mixed[:cut])))


def test_values_on_edges_are_exact() -> None:
    edges = np.arange(HALF, dtype=np.float32) * np.float32(2.0**-9)  # up to just below 8
    got = of(edges, -edges[1:])
    assert got.exponent == 3
    assert (got.counts == 1).all()
    got.add(np.float32([8.0]))  # does not fit: pairs of bins become one
    assert got.exponent == 4
    folded = got.magnitudes()
    assert folded[0] == 3  # 0, width and -width of before
    assert (folded[1 : HALF // 2] == 4).all()
    assert folded[HALF // 2] == 1
    assert folded.sum() == got.total == BINS + 1


def test_the_range_fits_the_largest_value() -> None:
    for value in (0.5, 1.0, 0.99, 3.0, -64.0, 3e38, -1e-10):
        got = of(np.float32([value]))
        assert 2.0 ** (got.exponent - 1) <= got.largest < 2.0**got.exponent
        assert got.magnitudes()[HALF // 2 :].sum() == 1


def test_nothing_zeros_and_denormals() -> None:
    empty = of(np.zeros((0, 4), np.float32))
    assert (empty.total, empty.largest, empty.invalid) == (0, 0.0, 0)
    zeros = of(np.zeros((3, 4), np.float32), np.float32([-0.0]))
    assert (zeros.total, zeros.largest) == (13, 0.0)
    tiny = of(np.float32([1e-45, -1e-45, 1e-40]))
    assert tiny.exponent == SMALLEST
    assert tiny.largest == np.float32(1e-40)
    assert tiny.magnitudes()[0] == tiny.total == 3
    assert same(empty.merged(zeros), zeros)
    assert same(zeros.merged(tiny), tiny.merged(zeros))


def test_nan_and_infinity_are_told_apart() -> None:
    got = of(np.float32([1, np.nan, 2, np.inf, -np.inf]), np.float32([np.nan]))
    assert (got.invalid, got.total) == (4, 2)
    assert (got.lowest, got.highest) == (1, 2)


def test_many_values_and_half_precision() -> None:
    values = np.random.default_rng(0).standard_normal(300_001)
    got = of(values.astype(np.float16))
    half = values.astype(np.float16).astype(np.float32)
    assert (got.counts == expected(half, got.width)).all()
    assert got.magnitudes().sum() == got.total


def test_counts_beyond_32_bits() -> None:
    one = of(np.float32([1.0]))
    for _ in range(40):
        one = one.merged(one)
    assert one.total == 2**40
    one.add(np.float32([1.0]))
    assert one.total == 2**40 + 1


def test_a_view_need_not_be_contiguous() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert same(of(values[:, ::2]), of(values[:, ::2].copy()))


@pytest.mark.parametrize("chunk", [65535, 65536, 65537])
def test_chunks_end_anywhere(chunk: int) -> None:
    assert of(np.ones(chunk, np.float32)).total == chunk

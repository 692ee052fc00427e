"""How a tensor's values are spread, gathered in one pass, in little memory, exactly.

The bins are multiples of a power of two. When a value does not fit, pairs of bins become one and
the range doubles, so nothing is ever counted approximately, and neither the order of the images nor
their number changes the result. Only numbers are counted; NaN and infinities are told apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

HALF = 4096
"""Bins of each sign, with the one that both have round zero."""
BINS = 2 * HALF - 1
CHUNK = 1 << 16  # values that are binned at a time: they stay in the processor's cache
SMALLEST = -64  # of the exponents: the reciprocal of a bin's width stays a normal float32


@dataclass
class Histogram:
    """Counts of a tensor's values.

    Bin ``HALF - 1 + k`` holds the values x with ``trunc(x / width) == k``: those in [k width,
    (k + 1) width) for k > 0, mirrored for k < 0, and (-width, width) for k = 0.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    """[BINS], from the most negative values to the most positive ones."""
    exponent: int = SMALLEST
    """All |x| are below 2 ** exponent; above half of it where the tensor is not all tiny."""
    lowest: float = math.inf
    """Of all values; infinity where there are none."""
    highest: float = -math.inf
    invalid: int = 0
    """NaN and infinities; they are in no bin."""

    @property
    def width(self) -> float:
        """Of a bin: a power of two."""
        return math.ldexp(1.0, self.exponent) / HALF

    @property
    def total(self) -> int:
        """The number of values that were counted."""
        return int(self.counts.sum())

    @property
    def largest(self) -> float:
        """The largest |x|; 0 where there are no values."""
        return max(abs(self.lowest), abs(self.highest)) if self.lowest <= self.highest else 0.0

    def magnitudes(self) -> NDArray[np.int64]:
        """Counts of |x| [HALF]: in bin k those in [k width, (k + 1) width)."""
        folded = self.counts[HALF - 1 :].copy()
        folded[1:] += self.counts[HALF - 2 :: -1]
        return folded

    def add(self, values: NDArray[np.floating]) -> None:
        """Counts values.

        Args:
            values: float16 or float32, of any shape; may be empty.
        """
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        if not flat.size:
            return
        lowest, highest = float(flat.min()), float(flat.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):  # NaN passes through both
            finite = flat[np.isfinite(flat)]
            self.invalid += flat.size - finite.size
            return self.add(finite)
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self._widen(_exponent_above(max(-lowest, highest)))
        self.counts += _binned(flat, self.exponent)
        return None

    def merged(self, other: Histogram) -> Histogram:
        """A new histogram of the values of both, as if they had been added to one."""
        result = Histogram(self.counts.copy(), self.exponent)
        result._widen(other.exponent)
        result.counts += other._counts_at(result.exponent)
        result.lowest = min(self.lowest, other.lowest)
        result.highest = max(self.highest, other.highest)
        result.invalid = self.invalid + other.invalid
        return result

    def _widen(self, exponent: int) -> None:
        if exponent > self.exponent:
            self.counts, self.exponent = self._counts_at(exponent), exponent

    def _counts_at(self, exponent: int) -> NDArray[np.int64]:
        """The counts in bins of a range that is as wide or wider."""
        counts = self.counts
        for _ in range(min(exponent - self.exponent, HALF.bit_length())):  # then all are in one
            counts = _halved(counts)
        return counts


def _exponent_above(largest: float) -> int:
    """The smallest e that is allowed and has largest < 2 ** e."""
    return max(SMALLEST, math.frexp(largest)[1]) if largest else SMALLEST


def _halved(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts in bins of twice the width: trunc(k / 2) is the new place of bin k."""
    result = np.zeros_like(counts)
    middle = HALF - 1
    half = HALF // 2
    above = counts[middle:].reshape(half, 2).sum(1)
    below = counts[middle::-1].reshape(half, 2).sum(1)
    result[middle : middle + half] = above
    result[middle - half + 1 : middle + 1] += below[::-1]
    result[middle] -= counts[middle]  # it is in both
    return result


def _binned(values: NDArray[np.float32], exponent: int) -> NDArray[np.int64]:
    """Counts of values [n] that are all below 2 ** exponent in size."""
    scale = np.float32(math.ldexp(float(HALF), -exponent))  # a power of two: products are exact
    counts = np.zeros(BINS, np.int64)
    scaled = np.empty(min(CHUNK, values.size), np.float32)
    places = np.empty(scaled.size, np.int32)
    for start in range(0, values.size, CHUNK):
        chunk = values[start : start + CHUNK]
        np.multiply(chunk, scale, out=scaled[: chunk.size])
        place = places[: chunk.size]
        np.copyto(place, scaled[: chunk.size], casting="unsafe")  # towards zero
        place += HALF - 1
        counts += np.bincount(place, minlength=BINS)
    return counts

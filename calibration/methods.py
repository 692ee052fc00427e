"""From the spread of a tensor's values to the largest one that is to be represented.

The arithmetic is that of well-kept libraries; here it is only chosen and fed:

* percentile, entropy (least Kullback-Leibler divergence): ONNX Runtime's ``HistogramCollector``;
* mse (least squared error): PyTorch's ``HistogramObserver``, which is in PyTorch or in torchao.

Exact zeros say nothing about a range, being representable at any scale, but are half of what comes
out of a ReLU. Both searches take a bin for evenly filled, and so see an error in the one round zero
that is not there: it is handed over as full as its neighbours.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.calibration.histogram import HALF, Histogram
from maskrt.errors import MaskrtError, MissingDependencyError

METHODS = ("minmax", "entropy", "percentile-99.9", "percentile-99.99", "mse")
FEW = 10_000
"""With fewer values than this (not counting those round zero) a search would follow chance."""
LEVELS = 255  # of symmetric INT8
# an odd multiple of the levels: what is left over when bins are shared among levels, at the end of
# the range, is taken for empty; the search's time grows with the square
ENTROPY_BINS = 7 * LEVELS


def thresholds(histograms: Mapping[str, Histogram], method: str) -> dict[str, float]:
    """The largest |x| to be represented, for each tensor; larger values are clipped to it.

    Args:
        histograms: by the tensor's name, of all calibration images.
        method: one of ``METHODS``. "minmax": nothing is clipped. "percentile-P": P % of the values
            are not clipped. "entropy", "mse": what the rounding to 255 levels and the clipping
            change least, by divergence and by squared error.

    Returns:
        By the tensor's name; never above the largest |x|, and that itself where there are too few
        values to tell. 0 where there are no values, or only zeros.

    Raises:
        ValueError: there is no such method.
        MissingDependencyError: the library of the method is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"method: found {method!r}, expected one of {', '.join(METHODS)}")
    found = {name: histogram.largest for name, histogram in histograms.items()}
    if method == "minmax":
        return found
    searched = {name: histogram for name, histogram in histograms.items() if _enough(histogram)}
    if method == "mse":
        observer = _observer() if searched else None
        given = {name: _least_error(histogram, observer) for name, histogram in searched.items()}
    elif method == "entropy":
        given = _onnxruntime("entropy", {n: _signed(h) for n, h in searched.items()})
    else:
        percentile = float(method.removeprefix("percentile-"))
        handed = {name: _magnitudes(histogram) for name, histogram in searched.items()}
        given = _onnxruntime("percentile", handed, percentile)
        for name, largest in given.items():
            if largest <= searched[name].width:  # nearly all is zero: the rest would all be clipped
                given[name] = found[name]
    return {name: min(largest, given.get(name, largest)) for name, largest in found.items()}


def require(method: str) -> None:
    """Imports what a method needs: better missed before the model runs than after.

    Raises:
        MissingDependencyError, MaskrtError: its library is not installed.
    """
    if method == "mse":
        _observer()
    elif method != "minmax":
        _onnxruntime(method, {})


def _enough(histogram: Histogram) -> bool:
    return int(histogram.magnitudes()[1:].sum()) >= FEW


def _used(histogram: Histogram) -> NDArray[np.int64]:
    """Counts of |x|, up to the last bin that has any."""
    counts = histogram.magnitudes()
    return counts[: int(np.flatnonzero(counts)[-1]) + 1]


_Handed = tuple[NDArray[np.int64], NDArray[np.floating]]  # counts [n], edges [n + 1]


def _magnitudes(histogram: Histogram) -> _Handed:
    """Of |x|, for the percentiles."""
    counts = _used(histogram)
    # ONNX Runtime answers with the lower edge of the bin in which the percentile lies, so that too
    # much is clipped; each bin is handed over with the edges of the next one
    return counts, (np.arange(len(counts) + 1) + 1) * histogram.width


def _signed(histogram: Histogram) -> _Handed:
    """Of x, for the entropy: bins of one width, the middle one round zero."""
    counts = histogram.counts.copy()
    middle = HALF - 1
    counts[middle] = counts[middle - 1] + counts[middle + 1]
    edges = np.arange(1, HALF + 1) * histogram.width
    edges = np.concatenate([-edges[::-1], edges])
    # a bin of these is a few of those, so that spreading their values evenly loses nothing
    end = len(_used(histogram)) * histogram.width
    wanted = np.linspace(-end, end, ENTROPY_BINS + 1)
    below = np.interp(wanted, edges, np.concatenate([[0], np.cumsum(counts)]))
    # it divides counts as integers, and loses those below the number of bins that share a level
    shares = np.diff(below) / (below[-1] - below[0])
    return np.rint(shares * 2.0**50).astype(np.int64), wanted


def _onnxruntime(
    method: str, handed: Mapping[str, _Handed], percentile: float = 0.0
) -> dict[str, float]:
    """What ONNX Runtime's calibrators say."""
    try:
        from onnxruntime.quantization.calibrate import HistogramCollector
    except ImportError as error:
        if (error.name or "").split(".")[0] != "onnxruntime":
            raise
        raise MissingDependencyError("onnxruntime", "cpu") from None
    if not handed:
        return {}
    collector = HistogramCollector(
        method=method,
        symmetric=True,
        num_bins=ENTROPY_BINS,
        num_quantized_bins=LEVELS,  # its default of 128 is for seven bits
        percentile=percentile,
        scenario="same",
    )
    for name, (counts, edges) in handed.items():
        end = np.float64(edges[-1])
        collector.get_histogram_dict()[name] = (counts, edges, -end, end)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        found = collector.compute_collection_result()
    return {name: max(-float(low), float(high)) for name, (low, high, *_) in found.items()}


def _observer() -> Any:
    """PyTorch's class; it moved from PyTorch to torchao."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "calibrate") from None
    try:
        from torch.ao.quantization.observer import HistogramObserver
    except ImportError:
        try:
            from torchao.quantization.pt2e.observer import (  # type: ignore[import-not-found, no-redef, unused-ignore]
                HistogramObserver,
            )
        except ImportError:
            raise MaskrtError(
                "this PyTorch has no HistogramObserver any more, and torchao, which has it, is not "
                "installed: run  pip install torchao , or choose another method"
            ) from None
    return HistogramObserver


def _least_error(histogram: Histogram, observer: Any) -> float:
    """What PyTorch's observer says of |x| and its mirror image."""
    import torch

    counts = _used(histogram).astype(np.float64)
    counts[0] = min(counts[0], counts[1])
    mirrored = np.concatenate([counts[::-1], counts])
    state = observer(
        bins=len(mirrored),
        dtype=torch.int8,
        qscheme=torch.per_tensor_symmetric,
        quant_min=-(LEVELS // 2),
        quant_max=LEVELS // 2,
    )
    # in float64 and as shares: float32 cannot count beyond 2 ** 24; and from -1 to 1, since it
    # takes cubes of the range in float32, and no scale below 1e-7
    state.histogram = torch.from_numpy(mirrored / mirrored.sum())
    state.min_val, state.max_val = torch.tensor(-1.0), torch.tensor(1.0)
    scale, _ = state.calculate_qparams()
    return float(scale) * (LEVELS // 2) * len(counts) * histogram.width

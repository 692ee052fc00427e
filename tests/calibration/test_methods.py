from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrt.calibration.histogram import HALF, Histogram
from maskrt.calibration.methods import FEW, METHODS, require, thresholds
from maskrt.errors import MaskrtError, MissingDependencyError

SEARCHES = [method for method in METHODS if method != "minmax"]
RANDOM = np.random.default_rng(0)
GAUSS = RANDOM.standard_normal(400_000).astype(np.float32)
SHAPES = {
    "gauss": GAUSS,
    "relu": np.maximum(GAUSS, 0),
    "negative": -np.abs(GAUSS),
    "uniform": RANDOM.uniform(-1, 1, 400_000),
    "laplace": RANDOM.laplace(size=400_000),
    "outlier": np.append(GAUSS, 100),
    "relu6": np.clip(4 * GAUSS, 0, 6),
}


def of(values: NDArray[np.floating] | list[float]) -> Histogram:
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def error(values: NDArray[np.floating], largest: float) -> float:
    """Mean square of what symmetric INT8 changes."""
    scale = largest / 127
    wide = values.astype(np.float64)
    return float(((np.clip(np.rint(wide / scale), -127, 127) * scale - wide) ** 2).mean())


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    histograms = {name: of(values) for name, values in SHAPES.items()}
    return {method: thresholds(histograms, method) for method in METHODS}


def test_minmax_is_the_largest(found: dict[str, dict[str, float]]) -> None:
    for name, values in SHAPES.items():
        assert found["minmax"][name] == np.abs(values.astype(np.float32)).max()


def test_nothing_exceeds_the_largest(found: dict[str, dict[str, float]]) -> None:
    for method in METHODS:
        assert found[method].keys() == SHAPES.keys()
        for name, largest in found["minmax"].items():
            assert 0 < found[method][name] <= largest


@pytest.mark.parametrize("percentile", [99.9, 99.99])
def test_percentiles_are_those_of_the_values(
    found: dict[str, dict[str, float]], percentile: float
) -> None:
    for name, values in SHAPES.items():
        sizes = np.abs(values.astype(np.float32))
        exact = np.quantile(sizes, percentile / 100, method="inverted_cdf")
        width = of(values).width
        assert exact <= found[f"percentile-{percentile}"][name] <= exact + width


def test_least_error_is_near_the_least(found: dict[str, dict[str, float]]) -> None:
    for name, values in SHAPES.items():
        largest = float(np.abs(values).max())
        best = min(error(values, share * largest) for share in np.geomspace(0.02, 1, 80))
        slack = 1.5 if name == "outlier" else 1.05  # the search goes by shares of values
        assert error(values, found["mse"][name]) <= slack * best
        assert error(values, found["mse"][name]) <= 1.001 * error(values, largest)


def test_a_gaussian_is_clipped_near_four_sigma(found: dict[str, dict[str, float]]) -> None:
    # the optimum of a uniform quantiser with 8 bits
    for name in ("gauss", "relu", "negative"):
        assert found["mse"][name] == pytest.approx(3.93, rel=0.05)


def test_the_entropy_clips_little(found: dict[str, dict[str, float]]) -> None:
    # zeros of a ReLU must not decide, nor may a peak at the end be clipped
    for name in ("uniform", "relu6"):
        assert found["entropy"][name] >= 0.98 * found["minmax"][name]
    for name in ("gauss", "relu", "negative", "laplace"):
        assert found["entropy"][name] >= 0.6 * found["minmax"][name]
    assert found["entropy"]["outlier"] < 25


def test_an_outlier_is_clipped(found: dict[str, dict[str, float]]) -> None:
    for method in SEARCHES:
        assert found[method]["outlier"] < 25
    assert found["mse"]["outlier"] < 10


@pytest.mark.parametrize("method", SEARCHES)
def test_many_counts(method: str) -> None:
    once = of(GAUSS)
    often = Histogram(once.counts << 30, once.exponent, once.lowest, once.highest)
    assert often.total > 2**48
    a, b = (thresholds({"x": histogram}, method)["x"] for histogram in (once, often))
    assert a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize("method", SEARCHES)
def test_powers_of_two_scale_the_answer(method: str) -> None:
    histograms = {"1": of(GAUSS), "big": of(GAUSS * 2.0**120), "small": of(GAUSS * 2.0**-40)}
    got = thresholds(histograms, method)
    assert got["big"] == pytest.approx(got["1"] * 2.0**120, rel=1e-5)
    assert got["small"] == pytest.approx(got["1"] * 2.0**-40, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_too_little_to_tell(method: str) -> None:
    sparse = np.append(np.zeros(30_000_000, np.float32), np.linspace(1, 2, 2 * FEW))
    got = thresholds(
        {
            "none": Histogram(),
            "zeros": of(np.zeros(100_000)),
            "few": of(GAUSS[: FEW // 2]),
            "one": of(np.full(100_000, -1.5)),
            "two": of(np.repeat([-1.0, 2.0], 100_000)),
            "denormal": of(np.full(100_000, 1e-42)),
            "sparse": of(sparse),
        },
        method,
    )
    assert got["none"] == got["zeros"] == 0.0
    assert got["few"] == np.abs(GAUSS[: FEW // 2]).max()
    assert got["one"] == pytest.approx(1.5)
    assert got["two"] == pytest.approx(2.0, rel=1e-3)
    assert got["denormal"] == np.float32(1e-42)
    assert got["sparse"] > 1


def test_all_bins_are_in_use() -> None:
    edges = np.repeat(np.arange(HALF) / HALF, 5)
    for method in METHODS:
        assert thresholds({"x": of(edges)}, method)["x"] > 0.9


def test_no_tensors() -> None:
    assert all(thresholds({}, method) == {} for method in METHODS)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for method in METHODS:
        thresholds({"x": of(GAUSS)}, method)
    assert capfd.readouterr() == ("", "")


def test_the_histograms_are_left_alone() -> None:
    histogram = of(SHAPES["relu"])
    before = histogram.counts.copy()
    for method in METHODS:
        thresholds({"x": histogram}, method)
    assert (histogram.counts == before).all()


def test_an_unknown_method() -> None:
    with pytest.raises(ValueError, match="'max', expected one of minmax, entropy"):
        thresholds({}, "max")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    old = "torch.ao.quantization.observer"
    histograms = {"x": of(GAUSS)}
    expected = thresholds(histograms, "mse")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        with pytest.raises(MissingDependencyError, match="'torch'"):
            thresholds(histograms, "mse")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        patch.setitem(sys.modules, "onnxruntime.quantization.calibrate", None)
        with pytest.raises(MissingDependencyError, match="'onnxruntime'"):
            thresholds(histograms, "entropy")
    from torch.ao.quantization.observer import HistogramObserver

    with monkeypatch.context() as patch:  # as if PyTorch had it no more
        patch.setitem(sys.modules, old, None)
        patch.setitem(sys.modules, "torchao", None)
        with pytest.raises(MaskrtError, match="pip install torchao"):
            require("mse")
        moved = types.ModuleType("torchao.quantization.pt2e.observer")
        moved.HistogramObserver = HistogramObserver  # type: ignore[attr-defined]
        for name in ("torchao", "torchao.quantization", "torchao.quantization.pt2e"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, moved.__name__, moved)
        assert thresholds(histograms, "mse") == expected

"""What each way to choose a range does to the tensors of the bundled models.

    python benchmarks/calibrators.py

The squared error of rounding to INT8 and clipping, over all quantised tensors, in units of the
least that any range gives; from histograms of training pictures. NVIDIA ModelOpt's calibrators take
part where it is installed (``pip install nvidia-modelopt``).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from maskrt.calibration import Calibration
from maskrt.calibration.collect import collect
from maskrt.calibration.histogram import HALF, Histogram
from maskrt.calibration.methods import METHODS, thresholds
from maskrt.commands.console import Steps, table
from maskrt.examples import shapes
from maskrt.export import export, load_model

MODELS = ("mask_rcnn", "keypoint_rcnn")
STEPS = 127


def squared_error(histogram: Histogram, largest: float) -> float:
    """Of all values, with ±largest as the ends of INT8's range."""
    centres = (np.arange(HALF) + 0.5) * histogram.width
    scale = largest / STEPS
    rounded = np.clip(np.rint(centres / scale), 0, STEPS) * scale
    counts = histogram.magnitudes().astype(np.float64)
    counts[0] = min(counts[0], counts[1])  # zeros are exact with any scale
    return float((counts * (rounded - centres) ** 2).sum())


def least_error(histogram: Histogram) -> float:
    """That any range gives."""
    ends = np.linspace(0.05, 1.0, 400) * histogram.largest
    return min(squared_error(histogram, float(end)) for end in ends)


def modelopt(method: str) -> Callable[[Mapping[str, Histogram]], dict[str, float]]:
    """The same by NVIDIA's library."""

    def run(histograms: Mapping[str, Histogram]) -> dict[str, float]:
        from modelopt.torch.quantization.calib import (  # type: ignore[import-not-found, unused-ignore]
            HistogramCalibrator,
        )

        found = {}
        for name, histogram in histograms.items():
            calibrator = HistogramCalibrator(8, None, False)
            counts = histogram.magnitudes()
            calibrator._calib_hist = np.minimum(counts, 2**31 - 1)
            calibrator._calib_bin_edges = np.arange(HALF + 1) * histogram.width
            kind, _, percentile = method.partition("-")
            more = {"percentile": float(percentile)} if percentile else {"stride": 8}
            found[name] = float(calibrator.compute_amax(kind, **more))
        return found

    return run


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100, metavar="N")
    options = parser.parse_args()
    ways: dict[str, Callable[[Mapping[str, Histogram]], dict[str, float]]] = {
        method: lambda found, method=method: thresholds(found, method)  # type: ignore[misc]
        for method in METHODS
    }
    if find_spec("modelopt"):
        for method in ("entropy", "percentile-99.99", "mse"):
            ways[f"ModelOpt, {method}"] = modelopt(method)
    rows: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name, Steps() as step:
        for builder in MODELS:
            step(f"Running {builder}")
            path = Path(name, f"{builder}.onnx")
            weights = shapes.WEIGHTS / f"{builder}.pth"
            export(load_model(f"maskrt.examples.shapes:{builder}", weights), path, (192, 256))
            frames, _ = shapes.dataset(
                options.images,
                split="train",
                seed=0,
                keypoint_task=builder == "keypoint_rcnn",
            )
            work = Calibration(path)
            histograms = collect(work.model, work.tensors, frames)
            least = {tensor: least_error(h) for tensor, h in histograms.items()}
            for title, way in ways.items():
                step(f"{builder}: {title}")
                started = time.perf_counter()
                ends = way(histograms)
                seconds = (time.perf_counter() - started) / len(ends)
                ratios = [squared_error(histograms[t], ends[t]) / least[t] for t in least]
                mean = float(np.exp(np.log(ratios).mean()))
                cells = [f"{mean:.3f}", f"{max(ratios):.2f}", f"{seconds:.4f}"]
                rows.setdefault(title, []).extend(cells)
    heads = [f"{builder}: {what}" for builder in MODELS for what in ("mean", "worst", "s/tensor")]
    table(
        f"Squared error / least, {options.images} pictures",
        ("", *heads),
        ((title, *cells) for title, cells in rows.items()),
    )


if __name__ == "__main__":
    main()

"""Time and size of TensorRT-RTX bundles, compiled without a GPU.

    python benchmarks/rtx_build.py                          # R50-FPN, 800x1344, sm 86, 89 and 120

Weights are random; INT8 and FP8 files are calibrated on one frame of noise. FP8 is built for those
of the GPUs that have it. Seconds are those of ``maskrt.export.build_model``, from the canonical
file to the bundle on disk. A first small build, which loads the library, is not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision

from maskrt.artefact import PrecisionChoice
from maskrt.calibration import Calibration
from maskrt.calibration.calibrator import save
from maskrt.calibration.scales import Format
from maskrt.commands.arguments import compute_capability, size
from maskrt.commands.console import Steps, table
from maskrt.examples import shapes
from maskrt.export import BuildOptions, build_model, export

FORMATS: tuple[Format, ...] = ("int8", "fp8")
PRECISIONS: tuple[PrecisionChoice, ...] = ("fp32", "fp16", "bf16", "int8+fp16", "fp8+fp16")


def calibrate(folder: Path, canvas: tuple[int, int]) -> None:
    """Writes the INT8 and the FP8 file of ``model.onnx``."""
    frame = np.random.default_rng(0).integers(0, 256, (*canvas, 3), np.uint8)
    for form in FORMATS:
        work = Calibration(folder / "model.onnx", form)
        work.read_ranges([frame], force=True)
        model, _ = work.quantised()
        save(model, folder / f"model.{form}.onnx")


def main() -> None:
    """Builds and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="maskrcnn_resnet50_fpn", help="of torchvision")
    parser.add_argument("--canvas", type=size, default=(800, 1344), metavar="HxW")
    parser.add_argument(
        "--sm", nargs="+", type=compute_capability, default=["8.6", "8.9", "12.0"], metavar="CC"
    )
    options = parser.parse_args()
    build = BuildOptions(compute_capabilities=tuple(options.sm))
    with_fp8 = tuple(c for c in options.sm if tuple(map(int, c.split("."))) >= (8, 9))
    rows = []
    with tempfile.TemporaryDirectory() as name, Steps() as step:
        folder = Path(name)
        step("Exporting")
        torch.manual_seed(0)
        model = torchvision.models.get_model(options.model, weights=None, weights_backbone=None)
        export(model, folder / "model.onnx", options.canvas)
        export(shapes.mask_rcnn(), folder / "small.onnx", (192, 256))
        build_model(folder / "small.onnx", folder / "small.bundle", "tensorrt-rtx", options=build)
        first = 0
        step("Calibrating")
        calibrate(folder, options.canvas)
        for precision in PRECISIONS:
            quantised, _, _ = precision.rpartition("+")
            if quantised == "fp8" and not with_fp8:
                continue
            gpus = with_fp8 if quantised == "fp8" else tuple(options.sm)
            build = BuildOptions(compute_capabilities=gpus)
            source = folder / (f"model.{quantised}.onnx" if quantised else "model.onnx")
            step(f"Building {precision}")
            path = folder / f"{precision}.bundle"
            started = time.perf_counter()
            build_model(source, path, "tensorrt-rtx", precision, options=build)
            seconds = time.perf_counter() - started
            held = path.stat().st_size
            first = first or held
            rows.append(
                (precision, f"{seconds:.1f} s", f"{held / 1e6:.1f} MB", f"{held / first:.0%}")
            )
    table(
        f"{options.model}, canvas {options.canvas[1]}x{options.canvas[0]}, compute capabilities "
        f"{', '.join(options.sm)}",
        ("", "build", "bundle", "of fp32"),
        rows,
    )


if __name__ == "__main__":
    main()

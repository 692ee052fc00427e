"""Time and size of TensorRT-RTX bundles, compiled without a GPU.

    python benchmarks/rtx_build.py                          # R50-FPN, 800x1344, sm 86, 89 and 120

Weights are random. Seconds are those of ``maskrt.export.build_model``, from the canonical file to
the bundle on disk. A first small build, which loads the library, is not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
import torchvision

from maskrt.commands.arguments import compute_capability, size
from maskrt.commands.console import Steps, table
from maskrt.examples import shapes
from maskrt.export import BuildOptions, build_model, export


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
        for precision in ("fp32", "fp16", "bf16"):
            step(f"Building {precision}")
            path = folder / f"{precision}.bundle"
            started = time.perf_counter()
            build_model(folder / "model.onnx", path, "tensorrt-rtx", precision, options=build)
            seconds = time.perf_counter() - started
            held = path.stat().st_size
            first = first or held
            rows.append(
                (precision, f"{seconds:.1f} s", f"{held / 1e6:.1f} MB", f"{held / first:.0%}")
            )
    gpus = ", ".join(options.sm)
    table(
        f"{options.model}, canvas {options.canvas[1]}x{options.canvas[0]}, compute capabilities "
        f"{gpus}",
        ("", "build", "bundle", "of fp32"),
        rows,
    )


if __name__ == "__main__":
    main()

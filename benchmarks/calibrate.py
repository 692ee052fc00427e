"""Time and memory of ``maskrt calibrate`` on a large model, in a process of its own.

    python benchmarks/calibrate.py                        # R50-FPN, 800x1088, 64 pictures

Weights are random, pictures are drawn; neither changes the time or the memory. The process exports
nothing: the canonical file is made before.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import torch
import torchvision

from maskrt.commands.arguments import size
from maskrt.commands.console import Steps, table
from maskrt.examples import shapes
from maskrt.export import export
from maskrt.heads import read_spec


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="maskrcnn_resnet50_fpn", help="of torchvision")
    parser.add_argument("--canvas", type=size, default=(800, 1088), metavar="HxW")
    parser.add_argument("--images", type=int, default=64, metavar="N")
    parser.add_argument("--method", default="mse")
    options = parser.parse_args()
    height, width = options.canvas
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, output = folder / "model.onnx", folder / "model.int8.onnx"
        with Steps() as step:
            step("Exporting")
            torch.manual_seed(0)
            model = torchvision.models.get_model(options.model, weights=None, weights_backbone=None)
            export(model, source, options.canvas)
            step("Drawing pictures")
            (folder / "images").mkdir()
            for i in range(options.images):
                frame, _ = shapes.image(i, split="train", size=(height, width - 22))
                cv2.imwrite(str(folder / "images" / f"{i:04d}.png"), frame)
            step("Calibrating")
            command = [sys.executable, "-m", "maskrt.cli", "calibrate", str(source)]
            command += ["--images", str(folder / "images"), "--method", options.method]
            started = time.perf_counter()
            subprocess.run([*command, "-o", str(output)], check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
        # Linux counts in KiB
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        share = float(read_spec(output).calibration["share_of_macs"])
        rows = [
            ("seconds", f"{seconds:.0f}"),
            ("seconds per picture", f"{seconds / options.images:.1f}"),
            ("peak memory", f"{peak / 1e9:.2f} GB"),
            ("multiplications in INT8", f"{share:.1%}"),
            ("file", f"{source.stat().st_size / 1e6:.1f} → {output.stat().st_size / 1e6:.1f} MB"),
        ]
    table(f"{options.model}, canvas {width}x{height}, {options.images} pictures", ("", ""), rows)


if __name__ == "__main__":
    main()

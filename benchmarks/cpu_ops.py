"""Time of the native operators on this CPU, next to what people use instead, in one run.

    python benchmarks/cpu_ops.py                          # 1080p to 800x1344
    python benchmarks/cpu_ops.py --runs 100 --threads 1 --json out.json

Letterbox, from a uint8 BGR frame to a normalised float32 RGB canvas:

- maskrt: the native operator.
- OpenCV + NumPy: ``cv2.resize`` of the bytes, then normalised and transposed into a canvas that was
  set to zero: one pass for each step.
- blobFromImage: OpenCV's function that resizes, subtracts the mean, divides and transposes in C++,
  but divides all three channels by one number; then copied into the canvas.
- torchvision: ``GeneralizedRCNNTransform`` as ``model([image])`` runs it, with the conversion to
  the float image that it takes. It pads to a multiple of 32, here to less than the canvas.

All give content of the same size. They take turns with the same number of threads, after runs that
are not counted. The difference is the largest one from torchvision's pixels, in units of the
normalised image; OpenCV's comes from rounding to bytes after the resize, blobFromImage's also from
its one divisor.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from maskrt.commands.arguments import size
from maskrt.commands.console import Steps, console, table
from maskrt.plugins import ops

MEAN = (0.485, 0.456, 0.406)  # of torchvision's detectors; RGB, on the scale 0 to 1
STD = (0.229, 0.224, 0.225)
SETTLE = 0.02
"""Seconds before each run: idle threads of the one before spin for a while, on a core each."""
Run = Callable[[], NDArray[np.float32]]


def native(
    frame: NDArray[np.uint8], canvas: tuple[int, int], min_size: int, max_size: int, threads: int
) -> Run:
    """The native operator; allocates its result each time, as the others do."""
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))

    def run() -> NDArray[np.float32]:
        image, _, _ = ops.letterbox(
            frame[None],
            canvas,
            min_size=min_size,
            max_size=max_size,
            mean=mean,
            std=std,
            swap_channels=True,
            threads=threads,
        )
        pixels: NDArray[np.float32] = image[0]
        return pixels

    return run


def opencv_numpy(
    frame: NDArray[np.uint8], canvas: tuple[int, int], content: tuple[int, int]
) -> Run:
    """Resize by OpenCV, the rest by NumPy."""
    mean, std = (np.array(values, np.float32) * 255 for values in (MEAN, STD))
    rows, columns = content

    def run() -> NDArray[np.float32]:
        pixels = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_LINEAR)
        normalized = (pixels[..., ::-1].astype(np.float32) - mean) / std
        image = np.zeros((3, *canvas), np.float32)
        image[:, :rows, :columns] = normalized.transpose(2, 0, 1)
        return image

    return run


def opencv_blob(frame: NDArray[np.uint8], canvas: tuple[int, int], content: tuple[int, int]) -> Run:
    """Resize, mean, one divisor and transpose by OpenCV."""
    rows, columns = content
    mean = [255 * value for value in MEAN]
    factor = 1 / (255 * statistics.mean(STD))

    def run() -> NDArray[np.float32]:
        blob = cv2.dnn.blobFromImage(frame, factor, (columns, rows), mean, swapRB=True)
        image = np.zeros((3, *canvas), np.float32)
        image[:, :rows, :columns] = blob[0]
        return image

    return run


def torchvision_transform(frame: NDArray[np.uint8], min_size: int, max_size: int) -> Run:
    """torchvision as its users call it."""
    transform = GeneralizedRCNNTransform(min_size, max_size, list(MEAN), list(STD)).eval()

    def run() -> NDArray[np.float32]:
        image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).float().div_(255)
        with torch.inference_mode():
            images, _ = transform([image])
        pixels: NDArray[np.float32] = images.tensors[0].numpy()
        return pixels

    return run


def measure(candidates: dict[str, Run], runs: int, step: Steps) -> dict[str, list[float]]:
    """Milliseconds of each candidate's runs; they take turns."""
    for _ in range(3):
        for run in candidates.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(runs):
        step(f"Run {i + 1} of {runs}")
        for name, run in candidates.items():
            time.sleep(SETTLE)
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) * 1e3)
    return times


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frame", type=size, default=(1080, 1920), metavar="HxW")
    parser.add_argument("--canvas", type=size, default=(800, 1344), metavar="HxW")
    parser.add_argument("--min-size", type=int, default=800, help="torchvision's (default: 800)")
    parser.add_argument("--max-size", type=int, default=1333, help="torchvision's (default: 1333)")
    parser.add_argument("--runs", type=int, default=50, help="counted runs of each (default: 50)")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: all cores"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    if options.runs < 1 or options.threads < 1:
        parser.error("expected --runs and --threads of 1 or more")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)

    low, high, canvas = options.min_size, options.max_size, options.canvas
    frame = np.random.default_rng(0).integers(0, 256, (*options.frame, 3), dtype=np.uint8)
    _, _, sizes = ops.letterbox(
        frame[None], canvas, min_size=low, max_size=high, mean=MEAN, std=STD
    )
    rows, columns = (int(side) for side in sizes[0])
    peer = "torchvision"
    candidates = {
        "maskrt": native(frame, canvas, low, high, options.threads),
        "OpenCV + NumPy": opencv_numpy(frame, canvas, (rows, columns)),
        "blobFromImage": opencv_blob(frame, canvas, (rows, columns)),
        peer: torchvision_transform(frame, low, high),
    }
    expected = candidates[peer]()
    # past its content torchvision's image is zeros
    if expected[:, rows:].any() or expected[:, :, columns:].any():
        parser.error("torchvision's content is larger: choose a canvas that holds it")
    expected = expected[:, :rows, :columns]
    with Steps() as step:
        times = measure(candidates, options.runs, step)
    figures = {
        name: {
            "median_ms": statistics.median(values),
            "min_ms": min(values),
            "max_ms": max(values),
            "max_difference": float(
                np.abs(candidates[name]()[:, :rows, :columns] - expected).max()
            ),
        }
        for name, values in times.items()
    }
    ours = figures["maskrt"]["median_ms"]
    table(
        f"Letterbox: frame {options.frame[1]}x{options.frame[0]}, content {columns}x{rows}, canvas "
        f"{canvas[1]}x{canvas[0]}, {options.threads} threads, {options.runs} runs",
        ("", "median ms", "min", "max", "of maskrt", "max difference"),
        (
            (
                name,
                *(f"{v[key]:.2f}" for key in ("median_ms", "min_ms", "max_ms")),
                f"{v['median_ms'] / ours:.1f}x",
                f"{v['max_difference']:.1e}",
            )
            for name, v in figures.items()
        ),
    )
    if options.json:
        record = {
            "operator": "letterbox",
            "frame": options.frame,
            "content": (rows, columns),
            "canvas": canvas,
            "threads": options.threads,
            "runs": options.runs,
            "versions": {
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
            },
            "figures": figures,
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {options.json}")


if __name__ == "__main__":
    main()

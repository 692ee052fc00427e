"""How far ``Detector.stream`` overlaps reading, detecting, drawing and writing of a 1080p film.

    python benchmarks/stream.py                    # the bundled tiny model, INT8 on OpenVINO

Each stage is timed alone over all frames, then all of them one after the other, then as ``maskrt
run`` does it. No overlap can be faster than the slowest stage, nor than all processor time shared
among the cores.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported, see the README

from maskrt.artefact import cpu_target
from maskrt.calibration import calibrate
from maskrt.commands.console import Steps, table
from maskrt.examples import shapes
from maskrt.export import build_model, export, load_model
from maskrt.runtime import Detector, open_source
from maskrt.runtime.sinks import WritingThread, open_sink

SIZE = (1080, 1920)


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=150, metavar="N")
    parser.add_argument("--threads", type=int, help="of the detector (default: all cores)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Steps() as step:
        folder = Path(name)
        step("Drawing the film")
        film = folder / "film.mp4"
        with open_sink(film, fps=25) as sink:
            for frame, _ in shapes.clip(seed=1, frames=options.frames, size=SIZE):
                sink.write(frame, "")
        step("Building the model")
        source, int8, bundle = (folder / f"model{s}" for s in (".onnx", ".int8.onnx", ".bundle"))
        weights = shapes.WEIGHTS / "mask_rcnn.pth"
        export(load_model("maskrt.examples.shapes:mask_rcnn", weights), source, (192, 256))
        calibrate(source, int8, [shapes.image(i)[0] for i in range(30)])
        build_model(int8, bundle, cpu_target())
        with Detector(bundle, threads=options.threads) as detector:
            rows = measured(detector, film, folder, step)
    slowest = max(seconds for title, seconds in rows.items() if title.endswith("alone"))
    table(
        f"{options.frames} frames of {SIZE[1]}x{SIZE[0]}, {os.cpu_count()} cores",
        ("", "seconds", "ms a frame", "of the slowest stage"),
        (
            (
                title,
                f"{seconds:.2f}",
                f"{seconds / options.frames * 1e3:.1f}",
                f"{seconds / slowest:.2f}x",
            )
            for title, seconds in rows.items()
        ),
    )


def measured(detector: Detector, film: Path, folder: Path, step: Steps) -> dict[str, float]:
    """Seconds of each way through the film."""
    with open_source(film) as source:
        frames = list(source)
    detector(frames[0])
    results = [detector(frame) for frame in frames]
    drawn = [result.draw(frame) for result, frame in zip(results, frames, strict=True)]

    def read() -> None:
        with open_source(film) as source:
            for _ in source:
                pass

    def detect() -> None:
        for frame in frames:
            detector(frame)

    def draw() -> None:
        for result, frame in zip(results, frames, strict=True):
            result.draw(frame)

    def write() -> None:
        with open_sink(folder / "out.mp4", fps=25) as sink:
            for frame in drawn:
                sink.write(frame, "")

    def in_turn() -> None:
        with open_source(film) as source, open_sink(folder / "out.mp4", fps=25) as sink:
            for frame in source:
                sink.write(detector(frame).draw(frame), "")

    def streamed() -> None:
        with (
            open_source(film) as source,
            WritingThread(open_sink(folder / "out.mp4", fps=25)) as sink,
            detector.stream(source) as stream,
        ):
            for item in stream:
                sink.write(item.result.draw(item.frame), "")

    ways: dict[str, Callable[[], None]] = {
        "reading alone": read,
        "detecting alone": detect,
        "drawing alone": draw,
        "writing alone": write,
        "one after the other": in_turn,
        "stream": streamed,
    }
    rows = {}
    for title, run in ways.items():
        step(title)
        started = time.perf_counter()
        run()
        rows[title] = time.perf_counter() - started
    return rows


if __name__ == "__main__":
    main()

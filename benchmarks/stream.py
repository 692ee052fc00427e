"""How far ``Detector.stream`` overlaps reading, detecting, drawing and writing of a 1080p film.

    python benchmarks/stream.py                    # the bundled tiny model, INT8 on OpenVINO
    python benchmarks/stream.py --threads 1 2      # of the detector: a table for each number

Each stage is timed alone over all frames, with the settings that it has in the stream, then all of
them one after the other, then as ``maskrt run`` does it; the fastest of some rounds counts. No
overlap can be faster than the slowest stage, nor than all processor time shared among the cores.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported, see the README

from maskrt.artefact import cpu_target
from maskrt.calibration import calibrate
from maskrt.commands.console import Steps, table
from maskrt.examples import shapes
from maskrt.export import build_model, export, load_model
from maskrt.runtime import Detector, open_source
from maskrt.runtime.sinks import WritingThread, open_sink

SIZE = (1080, 1920)
CORES = os.cpu_count() or 1
STREAM = "stream"


class Took(NamedTuple):
    """Seconds of one way through the film: on the clock, and of all threads' processor time."""

    clock: float
    processor: float


def main() -> None:
    """Measures and prints a table for each number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=150, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[CORES],
        metavar="N",
        help="of the detector (default: all cores)",
    )
    parser.add_argument(
        "--score-threshold", type=float, metavar="T", help="default: the model's own"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = folder / "film.mp4"
        with Steps() as step:
            step("Drawing the film")
            with open_sink(film, fps=25) as sink:
                for frame, _ in shapes.clip(seed=1, frames=options.frames, size=SIZE):
                    sink.write(frame, "")
            step("Building the model")
            bundle = built(folder)
        for threads in options.threads:
            with (
                Steps() as step,
                Detector(
                    bundle, threads=threads, score_threshold=options.score_threshold
                ) as detector,
            ):
                found, rows = measured(detector, film, folder, options.rounds, step)
            show(
                f"{options.frames} frames of {SIZE[1]}x{SIZE[0]}, {found:.1f} objects in each; "
                f"{CORES} cores, threads of the detector: {threads}",
                rows,
                options.frames,
            )


def built(folder: Path) -> Path:
    """The tiny model's bundle."""
    source, int8, bundle = (folder / f"model{s}" for s in (".onnx", ".int8.onnx", ".bundle"))
    weights = shapes.WEIGHTS / "mask_rcnn.pth"
    export(load_model("maskrt.examples.shapes:mask_rcnn", weights), source, (192, 256))
    calibrate(source, int8, [shapes.image(i)[0] for i in range(30)])
    build_model(int8, bundle, cpu_target())
    return bundle


def measured(
    detector: Detector, film: Path, folder: Path, rounds: int, step: Steps
) -> tuple[float, dict[str, Took]]:
    """Objects in a frame, and what each way through the film takes."""
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
            result[:].draw(frame)  # a result keeps its pasted masks: these are part of the work

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
        STREAM: streamed,
    }
    taken: dict[str, list[Took]] = {title: [] for title in ways}
    for i in range(rounds):  # in turns: what disturbs the machine then disturbs all of them
        for title, run in ways.items():
            step(f"Round {i + 1}: {title}")
            clock, processor = time.perf_counter(), time.process_time()
            run()
            taken[title].append(Took(time.perf_counter() - clock, time.process_time() - processor))
    found = sum(len(result) for result in results) / len(results)
    return found, {title: min(times) for title, times in taken.items()}


def show(title: str, rows: dict[str, Took], frames: int) -> None:
    """Prints a table, and how far the stream is from what no overlap can beat."""
    alone = {title: took for title, took in rows.items() if title.endswith("alone")}
    slowest = max(took.clock for took in alone.values())
    table(
        title,
        ("", "seconds", "ms a frame", "processor ms", "of the slowest stage"),
        (
            (
                title,
                f"{took.clock:.2f}",
                f"{took.clock / frames * 1e3:.1f}",
                f"{took.processor / frames * 1e3:.1f}",
                f"{took.clock / slowest:.2f}x",
            )
            for title, took in rows.items()
        ),
    )
    shared = sum(took.processor for took in alone.values()) / CORES
    print(
        f"the stream takes {rows[STREAM].clock / slowest:.2f} times as long as the slowest stage "
        f"alone, {rows[STREAM].clock / shared:.2f} times all stages' processor time shared among "
        f"{CORES} cores ({shared / frames * 1e3:.1f} ms a frame)\n"
    )


if __name__ == "__main__":
    main()

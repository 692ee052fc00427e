"""The demo: from trained weights to annotated pictures, with accuracy and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import cv2
import numpy as np

from maskrt.artefact import LIBRARIES, cpu_target
from maskrt.calibration import calibrate, evaluate
from maskrt.commands.console import Steps, console, table, track
from maskrt.examples import shapes
from maskrt.export import build_model, export, load_model
from maskrt.runtime import Detections, Detector
from maskrt.runtime.frames import Frame
from maskrt.runtime.sinks import FolderSink, open_sink, write_image

CANVAS = (192, 256)
FILM_SIZE = (480, 640)
FILM_FRAMES = 48
CALIBRATED = 100  # training pictures
SHOWN_SCORE = 0.6  # in pictures; AP takes every detection
SHEET = (3, 4)  # rows and columns of the contact sheet

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """One of the two bundled models."""

    name: str
    builder: str
    weights: str
    iou_types: tuple[str, ...]


TASKS = (
    Task("masks", "mask_rcnn", "mask_rcnn.pth", ("bbox", "segm")),
    Task("keypoints", "keypoint_rcnn", "keypoint_rcnn.pth", ("bbox", "keypoints")),
)


@dataclass
class Outcome:
    """What one file of a model did."""

    title: str
    size: int
    """Bytes."""
    accuracy: dict[str, float]
    milliseconds: float
    """Of a detection, median over the held-out images."""


@dataclass
class Clock:
    """Milliseconds by stage."""

    stages: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Notes how long the block takes."""
        started = time.perf_counter()
        yield
        self.stages.setdefault(name, []).append((time.perf_counter() - started) * 1e3)


def run_demo(output: Path, *, images: int) -> None:
    """Runs everything; writes into ``output``.

    Args:
        output: folder for models, frames and the contact sheet.
        images: held-out images that AP is measured on.
    """
    started = time.perf_counter()
    pictures: list[Frame] = []
    outcomes: list[Outcome] = []
    clocks: dict[str, Clock] = {}
    target = cpu_target()
    for task in TASKS:
        canonical, bundle, int8, int8_bundle = (
            output / f"{task.name}{s}" for s in (".onnx", ".bundle", ".int8.onnx", ".int8.bundle")
        )
        with Steps() as step:
            _export(task, canonical, step)
            build_model(canonical, bundle, target, progress=step)
            _calibrate(task, canonical, int8, step)
            build_model(int8, int8_bundle, target, progress=step)
        with Detector(bundle) as detector:
            clocks[task.name] = Clock()
            drawn, _ = _film(task, detector, output, clocks[task.name])
            pictures += _spread_out(drawn, 8 if task.name == "masks" else 4)
        library = LIBRARIES[target]
        for path, kind in (
            (canonical, "ONNX file"),
            (bundle, f"{library} bundle"),
            (int8_bundle, f"{library} INT8"),
        ):
            with Detector(path) as detector:
                outcomes.append(_accuracy(task, kind, path, detector, images))

    sheet = output / "contact_sheet.png"
    write_image(sheet, contact_sheet(pictures, SHEET[1]))
    console.print(
        f"\nCanvas {CANVAS[1]}x{CANVAS[0]}, on this CPU; AP on {images} held-out images",
        highlight=False,
    )
    table("", ("", "box AP", "mask AP", "keypoint AP", "detect", "file"), _lines(outcomes))
    table(
        f"{FILM_FRAMES} frames of {FILM_SIZE[1]}x{FILM_SIZE[0]} with the bundles, median ms",
        ("", *clocks),
        (
            (stage, *(f"{median(clock.stages[stage]):.1f}" for clock in clocks.values()))
            for stage in next(iter(clocks.values())).stages
        ),
    )
    for path, what in (
        (sheet, "contact sheet"),
        (output / "frames", "annotated frames"),
        (output / "masks.mp4", "the film"),
        (output / "masks.onnx", "canonical ONNX, opens in Netron"),
        (output / "masks.bundle", f"built for {LIBRARIES[target]}"),
        (output / "masks.int8.onnx", f"calibrated on {CALIBRATED} pictures; its bundle beside it"),
    ):
        console.print(f"  {path}  ({what})", highlight=False)
    console.print(f"done in {time.perf_counter() - started:.0f} s", highlight=False)


def _lines(outcomes: list[Outcome]) -> Iterator[list[str]]:
    """The table: files by rows, what was measured by columns."""
    for outcome in outcomes:
        values = (outcome.accuracy.get(f"{kind}/AP") for kind in ("bbox", "segm", "keypoints"))
        cells = ("-" if value is None else f"{value:.3f}" for value in values)
        size = f"{outcome.size / 1e6:.1f} MB"
        yield [outcome.title, *cells, f"{outcome.milliseconds:.1f} ms", size]


def _export(task: Task, path: Path, step: Steps) -> None:
    step(f"Loading the {task.name} model")
    model = load_model(f"maskrt.examples.shapes:{task.builder}", shapes.WEIGHTS / task.weights)
    names = shapes.KEYPOINT_CLASSES if task.name == "keypoints" else shapes.CLASSES
    export(
        model,
        path,
        CANVAS,
        labels=names,
        keypoint_names=shapes.KEYPOINT_NAMES,
        skeleton=shapes.SKELETON,
        name=f"shapes/{task.builder}",
        progress=step,
    )


def _calibrate(task: Task, source: Path, output: Path, step: Steps) -> None:
    keypoints = task.name == "keypoints"
    frames, _ = shapes.dataset(CALIBRATED, split="train", seed=0, keypoint_task=keypoints)
    calibrate(
        source,
        output,
        frames,
        progress=lambda done, of: step(f"Calibrating {task.name}, {done} of {of} pictures"),
    )


def _film(task: Task, detector: Detector, output: Path, clock: Clock) -> tuple[list[Frame], int]:
    """Annotates the film; returns the drawn frames and the number of detections shown."""
    drawn: list[Frame] = []
    found = 0
    film = shapes.clip(seed=1, frames=FILM_FRAMES, size=FILM_SIZE)
    with (
        FolderSink(output / "frames") as folder,
        open_sink(output / f"{task.name}.mp4", fps=24) as video,
    ):
        for i, (frame, _) in enumerate(track(film, f"Film: {task.name}", FILM_FRAMES)):
            with clock.stage("detect"):
                result = detector(frame)
            result = result[result.scores > SHOWN_SCORE]
            with clock.stage("paste masks"):
                _ = result.mask_crops
            with clock.stage("draw"):
                picture = result.draw(frame)
            found += len(result)
            drawn.append(picture)
            folder.write(picture, f"{task.name}_{i:03d}.png")
            video.write(picture, str(i))
    return drawn, found


def _accuracy(task: Task, kind: str, path: Path, detector: Detector, images: int) -> Outcome:
    frames, truth = shapes.dataset(
        images, split="val", seed=0, keypoint_task=task.name == "keypoints"
    )
    clock = Clock()

    def timed(frame: Frame) -> Detections:
        with clock.stage("detect"):
            return detector(frame)

    title = f"{task.name}, {kind}"
    results = coco_results(timed, frames, truth, f"AP: {title}")
    found = evaluate(truth, results, task.iou_types)
    return Outcome(title, path.stat().st_size, found, median(clock.stages["detect"]))


def coco_results(
    detector: Callable[[Any], Detections], frames: Sequence[Frame], truth: dict[str, Any], what: str
) -> list[dict[str, Any]]:
    """COCO results of a detector on the frames of a data set, in the order of its images."""
    results = []
    for frame, entry in track(_pairs(frames, truth["images"]), what, len(frames)):
        results += detector(frame).to_coco(entry["id"])
    return results


def _pairs(frames: Iterable[Frame], entries: Iterable[Any]) -> Iterator[tuple[Frame, Any]]:
    return zip(frames, entries, strict=True)


def _spread_out(items: list[T], count: int) -> list[T]:
    step = max(1, len(items) // count)
    return items[::step][:count]


def contact_sheet(pictures: Sequence[Frame], columns: int, gap: int = 8) -> Frame:
    """Pictures side by side on a dark ground; all are brought to the size of the first."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 24, dtype=np.uint8
    )
    for i, given in enumerate(pictures):
        y = gap + i // columns * (height + gap)
        x = gap + i % columns * (width + gap)
        same = given.shape[:2] == (height, width)
        fitted = given if same else cv2.resize(given, (width, height), interpolation=cv2.INTER_AREA)
        sheet[y : y + height, x : x + width] = fitted
    return sheet

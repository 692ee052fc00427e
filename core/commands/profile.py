"""``maskrt profile``."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskrt.artefact import LIBRARIES, Target
from maskrt.commands.arguments import threshold
from maskrt.errors import MaskrtError

NAME = "profile"
HELP = "how long a model takes for a frame, stage by stage"
DESCRIPTION = """\
Runs a model on a source of frames, one after the other, and prints how long the
stages of a frame take: reading it, every stage of the model, pasting its masks,
drawing (with --draw). Percentiles, not only means: a camera that has to be kept
up with cares for the slow frames.
"""
EPILOG = """\
examples:
  maskrt profile model.bundle
  maskrt profile model.bundle --source street.mp4 --frames 500 --json now.json --chart now.png
  maskrt profile model.bundle --source street.mp4 --baseline before.json
  maskrt profile model.engine --layers 20

Without --source the frames are drawn (1280x720, shapes before gradients); the
stages behind the detections cost as much as there are of them, so use frames
of your own scenes where that matters. A source with too few frames is
repeated. Ctrl-C ends the measurement early, with what there is by then.

rows: 'result' is what the detector does beside its stages (checking the frame,
taking the results apart), 'masks' the pasting of masks into the frame, 'frame'
all of it together. On a GPU the stages are timed by its own clock; 'result' is
the rest, which is Python and waiting.
"""
SYNTHETIC = "synthetic://1280x720?frames=8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a model.onnx, or what maskrt build made"
    )
    parser.add_argument(
        "--source",
        metavar="FILE|DIR|URI",
        help="an image, a folder of images, a video, a camera, as for maskrt run "
        "(default: synthetic frames of 1280x720)",
    )
    parser.add_argument(
        "--frames", type=int, default=100, metavar="N", help="frames to measure (default: 100)"
    )
    parser.add_argument(
        "--warmup", type=int, default=10, metavar="N", help="frames before them (default: 10)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--score-threshold", type=threshold, metavar="T", help="default: the model's own"
    )
    parser.add_argument("--draw", action="store_true", help="draw the detections, too")
    parser.add_argument(
        "--layers",
        type=int,
        metavar="N",
        help="the N slowest layers, too, of engines of TensorRT; timing them slows frames down, so "
        "they get as many frames of their own",
    )
    parser.add_argument("--json", type=Path, metavar="OUT.json", help="everything as JSON")
    parser.add_argument("--chart", type=Path, metavar="OUT.png", help="a picture of it")
    parser.add_argument(
        "--baseline", type=Path, metavar="OLD.json", help="a --json of before, to compare with"
    )


def execute(options: argparse.Namespace) -> None:
    """Runs the command.

    Raises:
        MaskrtError: a file or the source cannot be used.
    """
    from maskrt.runtime import Detector, latency
    from maskrt.runtime.latency_chart import chart, check_chart

    _check(options)
    # what may be wrong is told before the measurement, which may take long
    old = latency.read_summary(options.baseline) if options.baseline else None
    if options.layers:
        _check_layers(options.file)
    if options.chart:
        check_chart(options.chart)
    with contextlib.ExitStack() as stack:
        try:
            detector = Detector(
                options.file, threads=options.threads, score_threshold=options.score_threshold
            )
        except ValueError as error:
            raise MaskrtError(str(error)) from error
        stack.enter_context(detector)
        source = stack.enter_context(_source(options))
        summary, notes = _measure(options, detector, source)
        layers = _measure_layers(options, detector, source) if options.layers else []
    if layers:
        summary = replace(summary, layers=layers)
    _print(summary, notes)
    _print_layers(layers[: options.layers])
    if old:
        _print_changes(options.baseline, old, summary)
    if options.json:
        latency.write_summary(summary, options.json)
    if options.chart:
        chart(summary, options.chart)
    for path in filter(None, (options.json, options.chart)):
        _say(f"written: {path}")


def _check(options: argparse.Namespace) -> None:
    wanted = (
        ("frames", options.frames, 1),
        ("warmup", options.warmup, 0),
        ("layers", options.layers, 1),
    )
    for name, value, least in wanted:
        if value is not None and value < least:
            raise MaskrtError(f"--{name}: found {value}, expected {least} or more")


def _check_layers(file: Path) -> None:
    target, _ = _built_for(file)
    if not target.startswith("tensorrt"):
        raise MaskrtError(
            f"--layers: {file} runs in {LIBRARIES[target]}, and only TensorRT times its layers"
        )


def _source(options: argparse.Namespace) -> Any:
    from maskrt.runtime import open_source

    return open_source(SYNTHETIC if options.source is None else options.source)


def _measure(options: argparse.Namespace, detector: Any, source: Any) -> tuple[Any, list[str]]:
    """The summary, and what there is to say about it."""
    from maskrt.commands.console import track
    from maskrt.runtime import latency
    from maskrt.runtime.facts import conditions, machine_facts
    from maskrt.runtime.stopwatch import Stopwatch
    from maskrt.runtime.uris import masked

    facts = {"model": _model_facts(options.file), "machine": machine_facts()}
    before = conditions()
    frames, recorder = _Repeated(source), latency.Recorder(options.warmup)
    watch, size, notes = Stopwatch(), (0, 0), []
    try:
        total = options.warmup + options.frames
        for _ in track(range(total), f"{options.file.name} on {source.name}", total):
            watch.start()
            frame = next(frames)
            watch.lap("capture")
            result = detector.bgr(frame)
            watch.lap("detector")
            if result.mask_crops is not None:
                watch.lap("masks")
            if options.draw:
                result.draw(frame)
                watch.lap("draw")
            laps = _laps(watch.laps, detector.timings)
            recorder.add(laps, sum(watch.laps.values()), len(result))
            size = (frame.shape[1], frame.shape[0])
    except KeyboardInterrupt:
        if not recorder.measured:
            raise
        notes.append(f"stopped after {recorder.measured} frames")
    settings = {
        "source": source.name if options.source is None else masked(options.source),
        "frame_size": f"{size[0]}x{size[1]}",
        "threads": options.threads,
        "score_threshold": detector.score_threshold,
        "nms_threshold": detector.nms_threshold,
        "draw": options.draw,
    }
    now = {"before": before, "after": conditions()}
    summary = recorder.summary(settings=settings, conditions=now if before else {}, **facts)
    return summary, [*notes, *_remarks(summary, detector.spec, source, frames.rounds, options)]


def _measure_layers(
    options: argparse.Namespace, detector: Any, source: Any
) -> list[tuple[str, str, float]]:
    """Stage, layer, and milliseconds in a frame, the slowest first."""
    from maskrt.commands.console import track

    frames, times = _Repeated(source), detector.time_layers()
    for _ in track(range(options.frames), "layers", options.frames):
        detector.bgr(next(frames))
        times.next_frame()
    return [(stage, layer, round(ms, 4)) for stage, layer, ms in times.rows()]


class _Repeated:
    """A source's frames, again and again."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._frames: Iterator[Any] = iter(source)
        self.rounds = 1

    def __next__(self) -> Any:
        for _ in range(2):
            with contextlib.suppress(StopIteration):
                return next(self._frames)
            self._frames = iter(self._source)
            self.rounds += 1
        raise MaskrtError(f"{self._source.name} gave no frames: name a --source that has some")


def _laps(outer: dict[str, float], stages: dict[str, float]) -> dict[str, float]:
    """The detector's own stages in the place of its time as a whole, and what is left of that."""
    laps: dict[str, float] = {}
    for name, milliseconds in outer.items():
        if name == "detector":
            laps.update(stages)
            laps["result"] = max(milliseconds - sum(stages.values()), 0.0)
        else:
            laps[name] = milliseconds
    return laps


def _model_facts(file: Path) -> dict[str, Any]:
    from maskrt.files import sha256_of

    target, precision = _built_for(file)
    return {
        "name": file.name,
        "sha256": sha256_of(file),
        "target": target,
        "precision": precision,
    }


def _built_for(file: Path) -> tuple[Target, str]:
    """Target and precision."""
    from maskrt.heads import read_head, read_spec

    if file.suffix.lower() == ".onnx":
        return "onnxruntime", str(read_spec(file).precision)
    head = read_head(file)
    return head.target, head.precision_label


def _remarks(
    summary: Any, spec: Any, source: Any, rounds: int, options: argparse.Namespace
) -> list[str]:
    """What could mislead a reader of the numbers."""
    remarks = []
    if not summary.detections and (spec.mask or spec.keypoint):
        remarks.append(
            "nothing was detected in half of the frames or more: the heads behind the boxes had "
            "nothing to do; name a --source of your own scenes, or a lower --score-threshold"
        )
    if source.live:
        remarks.append("a live source: 'capture' is mostly waiting for the camera's next frame")
    elif options.source is not None and rounds > 1:
        remarks.append(
            f"the source was read {rounds} times; 'capture' is also what opening it again takes"
        )
    return remarks


def _print(summary: Any, notes: list[str]) -> None:
    from maskrt.commands.console import table
    from maskrt.runtime.latency import FRAME

    columns = ("p50", "p95", "p99", "max", "mean")
    rows = [
        (name, *(f"{getattr(stats, column):.2f}" for column in columns))
        for name, stats in (*summary.stages.items(), (FRAME, summary.frame))
    ]
    model, settings = summary.model, summary.settings
    table(
        f"{model['name']} ({model['precision']}, {model['target']}), milliseconds",
        ("", *columns),
        rows,
    )
    _say(
        f"{summary.fps:.1f} frames per second; detections in a frame: {summary.detections:g} "
        "(median)"
    )
    _say(
        f"{len(summary.frame_ms)} frames of {settings['frame_size']} after "
        f"{len(summary.warmup_ms)} for warm-up, of which the first took {summary.first_ms:.1f} ms"
        if summary.warmup_ms
        else f"{len(summary.frame_ms)} frames of {settings['frame_size']} without a warm-up: the "
        f"first, which took {summary.first_ms:.1f} ms, is among them"
    )
    _print_conditions(summary.conditions)
    for note in notes:
        _say(f"note: {note}")


def _print_layers(rows: list[tuple[str, str, float]]) -> None:
    from maskrt.commands.console import table

    if rows:
        cells = ((stage, layer, f"{ms:.3f}") for stage, layer, ms in rows)
        table("the slowest layers, milliseconds a frame", ("stage", "layer", "mean"), cells)


def _print_conditions(conditions: dict[str, Any]) -> None:
    """The hottest zone, which is what makes a machine slow down, and the governor."""
    before, after = (conditions.get(key, {}) for key in ("before", "after"))
    cool, hot = (facts.get("temperatures", {}) for facts in (before, after))
    common = [zone for zone in hot if zone in cool]
    if common:
        zone = max(common, key=lambda zone: hot[zone])
        _say(f"hottest: {zone}, {cool[zone]:.1f} C before, {hot[zone]:.1f} C after")
    if "governor" in before:
        _say(f"CPU governor: {before['governor']}")
    if "power_mode" in before:
        _say(f"power mode: {before['power_mode']}")
    if "gpu_clock" in before and "gpu_clock" in after:
        low, high = before["gpu_clock"], after["gpu_clock"]
        _say(f"GPU clock: {low['now']} MHz before, {high['now']} after, of {high['max']}")


def _print_changes(path: Path, old: Any, new: Any) -> None:
    from maskrt.commands.console import table
    from maskrt.runtime.latency import compare, differences

    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    rows = [(row.stage, cell(row.old), cell(row.new), cell(row.ratio)) for row in compare(old, new)]
    table(f"p50 against {path}, milliseconds", ("", "old", "new", "new/old"), rows)
    for line in differences(old, new):
        _say(f"warning: differs from the baseline: {line}")


def _say(line: str) -> None:
    from maskrt.commands.console import console

    console.print(line, markup=False, highlight=False, soft_wrap=True)

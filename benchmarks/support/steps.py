"""What is done with each model of the support table."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
from numpy.typing import NDArray

from benchmarks.support.references import Arrays, pictures, prepare
from benchmarks.support.rows import Row
from maskrt.artefact import BuildPrecision, Target
from maskrt.calibration import Calibration, evaluate
from maskrt.calibration.calibrator import save
from maskrt.evaluation import kinds_of
from maskrt.examples import shapes
from maskrt.export import BuildOptions, build_model
from maskrt.export.canonical import load_canonical
from maskrt.export.passes import GraphPrecision, to_tensorrt
from maskrt.heads import read_spec
from maskrt.matching import match_boxes
from maskrt.runtime import Detector
from maskrt.runtime.bundle import BundleSession
from tests.eager import picture
from tests.export.passes.standins import replace_plugins
from tests.parity import RUNS, disturbed_file

Find = Callable[[NDArray[np.uint8]], Arrays]
LIMITS = {"boxes": 0.05, "scores": 1e-4, "masks": 1e-3, "keypoints": 0.1, "jumped": 0.01}
"""Pixels, probabilities, the part of keypoints that is elsewhere: a row with more has failed."""
PRECISIONS: tuple[GraphPrecision, ...] = ("fp32", "fp16", "bf16")
GPU = BuildOptions(compute_capabilities=("8.6", "12.0"))
PARSE = Path(__file__).parents[2] / "tests" / "export" / "passes" / "parse.py"
SCORE, NMS = 0.05, 0.5


class Failed(Exception):  # noqa: N818 (it is told, not caught by name elsewhere)
    """A step's outcome is not as it should be."""


def run_row(row: Row, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All steps; what was measured. A step that fails is noted, with the reason.

    Args:
        row: the model.
        folder: for its files.
        say: called with a line before each step.
    """
    started = time.perf_counter()
    result: dict[str, Any] = {}

    def step(name: str, work: Callable[[], Any]) -> None:
        say(f"{row.name}: {name}")
        try:
            result[name] = work()
        except Exception as error:  # whatever it is: the table says so
            result[name] = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}

    prepared = prepare(row, folder)
    frames = pictures()
    canonical = canonical_find(prepared.path)
    step("reference", lambda: differences(prepared.find, canonical, frames, prepared.disturbed))
    for target in ("onnxruntime", "openvino"):
        step(f"{target} fp32", lambda t=target: _cpu(prepared.path, t, canonical, frames))
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        step("openvino bf16", lambda: _share(prepared.path, "openvino", "bf16", canonical, frames))
    for precision in PRECISIONS:
        step(f"tensorrt {precision}", lambda p=precision: _plugin_graph(prepared.path, p))
        step(f"tensorrt-rtx {precision}", lambda p=precision: _rtx(prepared.path, p))
    quantised = folder / "int8.onnx"
    step("int8", lambda: _calibrate(row, prepared.path, quantised, frames))
    if quantised.exists():
        step("tensorrt int8+fp16", lambda: _plugin_graph(quantised, "fp16"))
        step("tensorrt-rtx int8+fp16", lambda: _rtx(quantised, "fp16"))
        step("openvino int8+fp32", lambda: _runs(quantised, "openvino", frames))
        step("onnxruntime int8+fp32", lambda: _runs(quantised, "onnxruntime", frames))
    if row.source == "trained":
        step("ap", lambda: _average_precision(prepared.path, prepared.find, quantised))
    result["seconds"] = round(time.perf_counter() - started)
    return result


def canonical_find(path: Path, k: int | None = None) -> Find:
    """Detections of a canonical file in plain ONNX Runtime, or with its weights disturbed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = str(path) if k is None else disturbed_file(path, k).SerializeToString()
    session = onnxruntime.InferenceSession(source, options)
    names = [output.name for output in session.get_outputs()]
    known: dict[bytes, Arrays] = {}  # keypoints take seconds in standard ops

    def find(frame: NDArray[np.uint8]) -> Arrays:
        key = frame.tobytes()
        if key not in known:
            found = session.run(None, {"frames": frame[None]})
            known[key] = _live(dict(zip(names, found, strict=True)))
        return known[key]

    return find


def _live(outputs: Arrays) -> Arrays:
    count = int(outputs["num_detections"][0])
    return {name: x[0, :count] for name, x in outputs.items() if name != "num_detections"}


def differences(
    one: Find,
    two: Find,
    frames: Sequence[NDArray[np.uint8]],
    disturbed: Callable[[int], Find],
) -> dict[str, float]:
    """The largest differences of detections, each of which has a twin.

    Where one last bit decides (``tests/parity.py``), two agrees with one's results for other
    weights: ``disturbed(k)`` are one with the k-th disturbance.

    Raises:
        Failed: a detection has none, or a difference is beyond ``LIMITS``.
    """
    worst: dict[str, float] = {"detections": 0}
    for frame in frames:
        found = _of_frame(one, two, frame, disturbed)
        worst["detections"] += found.pop("detections")
        for name, value in found.items():
            worst[name] = max(worst.get(name, 0.0), value)
    return worst


def _of_frame(
    one: Find, two: Find, frame: NDArray[np.uint8], disturbed: Callable[[int], Find]
) -> dict[str, float]:
    second = two(frame)
    try:
        return _compared(one(frame), second)
    except Failed:
        for k in range(RUNS):
            try:
                return _compared(disturbed(k)(frame), second)
            except Failed:
                continue
        raise


def _compared(first: Arrays, second: Arrays) -> dict[str, float]:
    rows, partners = _twins(first, second)
    alone = len(first["boxes"]) + len(second["boxes"]) - 2 * len(rows)
    if alone or not len(rows):
        raise Failed(f"{len(rows)} detections have a twin, {alone} have none")
    worst: dict[str, float] = {"detections": len(rows)}
    for name in LIMITS.keys() & first.keys() & second.keys():
        gap = np.abs(first[name][rows].astype(float) - second[name][partners].astype(float))
        if name == "keypoints":
            # in a sliver at the frame's edge all rows of a heatmap are equal; and of two peaks
            # that are equally high either may win: such a point jumps
            boxes = first["boxes"][rows]
            gap = gap[(boxes[:, 2:] - boxes[:, :2]).min(1) >= 4][..., :2].max(-1).ravel()
            jumped = gap > LIMITS[name]
            worst["jumped"] = float(jumped.mean()) if jumped.size else 0.0
            gap = gap[~jumped]
        worst[name] = float(gap.max(initial=0.0))
    for name, limit in LIMITS.items():
        if worst.get(name, 0.0) > limit:
            raise Failed(f"{name} differ by {worst[name]:.2g}, expected at most {limit}")
    return worst


def _twins(first: Arrays, second: Arrays) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    labels = (first["labels"].astype(np.int32), second["labels"].astype(np.int32))
    boxes = (first["boxes"].astype(np.float32), second["boxes"].astype(np.float32))
    return match_boxes(*boxes, labels)


def _bundle_find(path: Path) -> Find:
    session = BundleSession(path)
    return lambda frame: _live(dict(session.run(frame[None], SCORE, NMS)))


def _cpu(
    source: Path, target: Target, canonical: Find, frames: Sequence[NDArray[np.uint8]]
) -> dict[str, float]:
    path = source.with_suffix(f".{target}.bundle")
    build_model(source, path, target)
    find = _bundle_find(path)
    return differences(canonical, find, frames, lambda k: canonical_find(source, k))


def _share(
    source: Path,
    target: Target,
    precision: BuildPrecision,
    canonical: Find,
    frames: Sequence[NDArray[np.uint8]],
) -> dict[str, float]:
    path = source.with_suffix(f".{target}.{precision}.bundle")
    build_model(source, path, target, precision)
    find = _bundle_find(path)
    twins = found = 0
    for frame in frames:
        first, second = canonical(frame), find(frame)
        twins += 2 * len(_twins(first, second)[0])
        found += len(first["boxes"]) + len(second["boxes"])
    return {"twins": twins / found}


def _runs(source: Path, target: Target, frames: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    path = source.with_suffix(f".{target}.bundle")
    build_model(source, path, target)
    find = _bundle_find(path)
    return {"detections": sum(len(find(frame)["boxes"]) for frame in frames)}


def _plugin_graph(source: Path, precision: GraphPrecision) -> dict[str, float]:
    model, _ = load_canonical(source)
    graph, _ = to_tensorrt(model, precision)
    file = source.with_name("parsed.onnx")
    onnx.save(replace_plugins(graph), str(file))
    command = [sys.executable, str(PARSE), str(file)]
    parsed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if parsed.returncode:
        raise Failed(parsed.stderr.strip() or f"the parser ended with {parsed.returncode}")
    return {"nodes": len(graph.graph.node)}


def _rtx(source: Path, precision: BuildPrecision) -> dict[str, float]:
    path = source.with_name("rtx.bundle")
    build_model(source, path, "tensorrt-rtx", precision, options=GPU)
    return {"megabytes": round(path.stat().st_size / 1e6, 1)}


def _calibrate(
    row: Row, source: Path, output: Path, frames: Sequence[NDArray[np.uint8]]
) -> dict[str, float]:
    work = Calibration(source)
    if row.source == "trained":
        pictures, _ = shapes.dataset(
            200, split="train", seed=0, keypoint_task=bool(_points(source))
        )
        work.read_ranges(pictures)
    else:
        work.read_ranges([picture((256, 320), seed) for seed in range(20, 26)], force=True)
    model, report = work.quantised()
    save(model, output)
    find = canonical_find(output)
    return {
        "part": report.total.part,
        "detections": sum(len(find(frame)["boxes"]) for frame in frames),
    }


def _points(source: Path) -> bool:
    return read_spec(source).keypoint is not None


def _average_precision(source: Path, eager: Find, quantised: Path) -> dict[str, dict[str, float]]:
    """COCO's AP on 200 held-out pictures, by what ran."""
    from maskrt.runtime import Detections

    spec = read_spec(source)
    frames, truth = shapes.dataset(200, split="val", seed=0, keypoint_task=_points(source))

    def by_eager(frame: NDArray[np.uint8]) -> Detections:
        found = eager(frame)
        return Detections(
            found["boxes"],
            found["scores"],
            found["labels"],
            found.get("masks"),
            found.get("keypoints"),
            frame_size=frame.shape[:2],
            spec=spec,
        )

    measured = {"eager": _ap(by_eager, frames, truth)}
    for name, path in {
        "canonical": source,
        "onnxruntime fp32": source.with_suffix(".onnxruntime.bundle"),
        "openvino fp32": source.with_suffix(".openvino.bundle"),
        "int8 canonical": quantised,
        "openvino int8+fp32": quantised.with_suffix(".openvino.bundle"),
    }.items():
        with Detector(path) as detector:
            measured[name] = _ap(detector, frames, truth)
    return measured


def _ap(detect: Callable[[Any], Any], frames: Sequence[Any], truth: Any) -> dict[str, float]:
    results: list[dict[str, Any]] = []
    kinds: list[str] = []
    for frame, entry in zip(frames, truth["images"], strict=True):
        found = detect(frame)
        kinds = kinds or kinds_of(found.spec)
        results += found.to_coco(entry["id"])
    figures = evaluate(truth, results, kinds)
    return {kind: round(figures[f"{kind}/AP"], 4) for kind in kinds}

"""Whole-model time on this CPU, in one run: from a uint8 frame to detections in frame pixels.

    python benchmarks/cpu_model.py                        # R50-FPN, 800x1088, 100 detections
    python benchmarks/cpu_model.py --detections 10 --runs 9 --json out.json

Compared are eager torchvision, torchvision's own ONNX export on ONNX Runtime, the canonical file on
ONNX Runtime, and bundles of it. Weights are random, with class scores and a score threshold that
give the wanted number of detections, out of up to 100; all run the same weights on the same frame
with the same number of threads, in turn, and medians are printed, for the bundles also those of
their stages. Eager and torchvision's export take a float image and give pasted full-frame float
masks, as torchvision defines them; ours takes the uint8 frame and gives boxes and masks, pasted as
bool crops (``--dense``: pasted as full-frame bool masks).

A bundle in bfloat16 is measured where the CPU has it (Linux). INT8 has its ranges from the frame
that is measured: that decides about accuracy, not about time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torchvision
from numpy.typing import NDArray

from maskrt.artefact import LIBRARIES, BuildPrecision, Target
from maskrt.calibration import Calibration
from maskrt.calibration.calibrator import save
from maskrt.commands.arguments import size
from maskrt.commands.console import Steps, console, table
from maskrt.export import build_model, export
from maskrt.runtime import Detector

SLOTS = 100  # torchvision's default of box_detections_per_img


def build(name: str, detections: int, frame: NDArray[np.uint8]) -> torch.nn.Module:
    """A seeded random model for up to 100 objects that finds ``detections`` in the frame."""
    torch.manual_seed(0)
    slots = max(SLOTS, detections)
    model = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, box_detections_per_img=slots
    ).eval()
    # untrained class scores are all about 1/91, below the threshold: spread them until enough pass
    weight = model.roi_heads.box_predictor.cls_score.weight
    for _ in range(20):
        if eager(model, frame)() == slots:
            break
        weight.data *= 1.5
    else:
        raise SystemExit(f"no weights give {slots} detections")
    if detections < slots:
        with torch.inference_mode():
            scores = model([to_tensor(frame)])[0]["scores"]
        # ties would leave too many or too few: half way between two scores
        model.roi_heads.score_thresh = float(scores[detections - 1 : detections + 1].mean())
    return model


def to_tensor(frame: NDArray[np.uint8]) -> torch.Tensor:
    """What torchvision's models take: RGB, float32 from 0 to 1, [3, H, W]."""
    return torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).float().div_(255)


def eager(model: torch.nn.Module, frame: NDArray[np.uint8]) -> Callable[[], int]:
    """torchvision as its users call it."""

    def run() -> int:
        with torch.inference_mode():
            return len(model([to_tensor(frame)])[0]["boxes"])

    return run


def torchvision_onnx(
    model: torch.nn.Module, frame: NDArray[np.uint8], folder: Path, threads: int
) -> Callable[[], int]:
    """torchvision's documented export (TorchScript-based: the newer exporter fails on it)."""
    path = folder / "torchvision.onnx"
    image = to_tensor(frame)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, ([image],), str(path), opset_version=17, dynamo=False, input_names=["image"]
        )
    session = _session(path, threads)
    name = session.get_inputs()[0].name

    def run() -> int:
        chw = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1), dtype=np.float32) / 255
        return len(session.run(None, {name: chw})[0])

    return run


class Ours:
    """A file of maskrt, through the runtime; ``stages`` holds milliseconds of every run."""

    def __init__(self, path: Path, frame: NDArray[np.uint8], threads: int, dense: bool) -> None:
        self.detector = Detector(path, threads=threads)
        self.frame, self.dense = frame, dense
        self.stages: list[dict[str, float]] = []

    def __call__(self) -> int:
        """Runs the frame."""
        result = self.detector(self.frame)
        started = time.perf_counter()
        _ = result.masks if self.dense else result.mask_crops
        pasting = (time.perf_counter() - started) * 1e3
        self.stages.append({**self.detector.timings, "paste masks": pasting})
        return len(result)


def bundles(canonical: Path, frame: NDArray[np.uint8]) -> dict[str, Path]:
    """Bundles of a canonical file for CPUs, by their names in the table."""
    precisions: list[BuildPrecision] = ["fp32"]
    flags = Path("/proc/cpuinfo")
    if flags.is_file() and "bf16" in flags.read_text(encoding="utf-8"):
        precisions.append("bf16")
    wanted: list[tuple[Target, BuildPrecision]] = [("onnxruntime", "fp32")]
    wanted += [("openvino", precision) for precision in precisions]
    paths = {}
    for source, prefix in ((canonical, ""), (calibrated(canonical, frame), "int8+")):
        for target, precision in wanted:
            path = canonical.with_name(f"{target}.{prefix}{precision}.bundle")
            build_model(source, path, target, precision)
            paths[f"maskrt, bundle, {LIBRARIES[target]} {prefix}{precision}"] = path
    return paths


def calibrated(canonical: Path, frame: NDArray[np.uint8]) -> Path:
    """The INT8 file of a canonical file."""
    work = Calibration(canonical)
    work.read_ranges([frame])
    path = canonical.with_name("int8.onnx")
    save(work.quantised()[0], path)
    return path


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options)


def measure(
    candidates: dict[str, Callable[[], int]], runs: int, step: Steps
) -> dict[str, dict[str, Any]]:
    """Milliseconds of each candidate; they take turns, after one run that is not counted."""
    counts = {name: run() for name, run in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(runs):
        for name, run in candidates.items():
            step(f"Run {i + 1} of {runs}: {name}")
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) * 1e3)
    return {
        name: {
            "detections": counts[name],
            "median_ms": statistics.median(values),
            "min_ms": min(values),
            "max_ms": max(values),
        }
        for name, values in times.items()
    }


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="maskrcnn_resnet50_fpn", help="of torchvision")
    parser.add_argument("--canvas", type=size, default=(800, 1088), metavar="HxW")
    parser.add_argument("--detections", type=int, default=100, metavar="D")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default: 5)")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: all cores"
    )
    parser.add_argument("--dense", action="store_true", help="ours pastes full-frame masks too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    # a frame whose resized and padded size is the canvas
    frame_size = (options.canvas[0], options.canvas[1] - 22)
    cells = np.random.default_rng(0).integers(0, 256, (*frame_size, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as name, Steps() as step:
        folder = Path(name)
        step("Building the model")
        model = build(options.model, options.detections, cells)
        step("Exporting: torchvision's way")
        theirs = torchvision_onnx(model, cells, folder, options.threads)
        step("Exporting: maskrt")
        canonical = folder / "maskrt.onnx"
        export(model, canonical, options.canvas)
        step("Building bundles")
        paths = {"maskrt, canonical, ONNX Runtime": canonical, **bundles(canonical, cells)}
        ours = {
            name: Ours(path, cells, options.threads, options.dense) for name, path in paths.items()
        }
        candidates: dict[str, Callable[[], int]] = {
            "torchvision, eager": eager(model, cells),
            "its export, ONNX Runtime": theirs,
            **ours,
        }
        figures = measure(candidates, options.runs, step)
    stages = {name: run.stages[1:] for name, run in ours.items() if "bundle" in name}
    for name, laps in stages.items():
        figures[name]["stages_ms"] = {k: statistics.median(lap[k] for lap in laps) for k in laps[0]}
    reference = figures["torchvision, eager"]["median_ms"]
    table(
        f"{options.model}, frame {frame_size[1]}x{frame_size[0]}, canvas "
        f"{options.canvas[1]}x{options.canvas[0]}, {options.threads} threads, {options.runs} runs",
        ("", "detections", "median ms", "min", "max", "of eager"),
        (
            (
                name,
                v["detections"],
                *(f"{v[key]:.0f}" for key in ("median_ms", "min_ms", "max_ms")),
                f"{v['median_ms'] / reference:.2f}x",
            )
            for name, v in figures.items()
        ),
    )
    names = list(stages)
    table(
        "Milliseconds by stage, medians",
        ("", *(name.removeprefix("maskrt, bundle, ") for name in names)),
        (
            (stage, *(f"{figures[name]['stages_ms'][stage]:.1f}" for name in names))
            for stage in figures[names[0]]["stages_ms"]
        ),
    )
    if options.json:
        record = {
            "model": options.model,
            "canvas": options.canvas,
            "threads": options.threads,
            "runs": options.runs,
            "versions": {
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
            "figures": figures,
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {options.json}")


if __name__ == "__main__":
    main()

# ruff: noqa: D102 - the stand-ins have the methods of what they stand in for
"""What Python itself costs for a frame on a GPU: all but the engine's work and the copies.

    python benchmarks/host_overhead.py

The session of a TensorRT plan runs over a device and an engine that do nothing, so this needs no
GPU: 1080p frames, 10 detections with masks, whose boxes, scores, labels and mask crops are read.
The copy of the frame into pinned memory, which the session makes, is timed by itself and taken off.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from maskrt.commands.console import table
from maskrt.examples import shapes
from maskrt.export import export, load_model
from maskrt.heads import read_spec
from maskrt.runtime import Detector, plan
from maskrt.runtime import detector as detectors
from maskrt.runtime.device import DeviceFacts, HostBlock, bytes_at
from maskrt.runtime.device_memory import DeviceMemory
from maskrt.runtime.device_queues import Queues
from maskrt.runtime.lanes import Lanes
from maskrt.runtime.stopwatch import Stopwatch

FRAME = (1080, 1920)
FOUND = 10
SIDES = (60, 240)
"""Of the objects, in pixels: from people far away to near ones."""


class NoDevice:
    """Memory of the host; whatever is queued is done at once, or not at all."""

    library = "none"
    graphs = False
    facts = DeviceFacts("none", "8.9", 0, integrated=False)

    def __init__(self) -> None:
        self._held: dict[int, Any] = {}

    def active(self) -> Any:
        return contextlib.nullcontext()

    def allocate(self, size: int) -> int:
        block = np.zeros(size, np.uint8)
        self._held[block.ctypes.data] = block
        return int(block.ctypes.data)

    def allocate_host(self, size: int) -> HostBlock:
        block = np.zeros(size, np.uint8)
        return HostBlock(block, int(block.ctypes.data))

    def new_stream(self) -> int:
        return 1

    def new_event(self, timing: bool = False) -> Any:
        return object()

    def elapsed(self, first: Any, last: Any) -> float:
        return 0.0

    def _nothing(self, *arguments: Any) -> None: ...

    upload = copy = record = order = wait = wait_for = free = free_host = _nothing
    free_event = free_stream = close = _nothing

    def download(self, array: Any, address: int, stream: int) -> None:
        array[...] = bytes_at(address, array.nbytes)


class NoEngine:
    """Gives the same detections always."""

    inputs = ("frames", "score_threshold", "nms_threshold")

    def __init__(self, results: dict[str, Any]) -> None:
        self._results = results
        self._wanted = tuple((array.shape, array.dtype) for array in results.values())
        self._filled: Any = None

    def run(self, inputs: Any, memory: DeviceMemory) -> dict[str, Any]:
        arrays = memory.empty_together(self._wanted)
        if arrays[0] is not self._filled:
            for array, result in zip(arrays, self._results.values(), strict=True):
                array[...] = result  # this "device" has memory of the host
            self._filled = arrays[0]
        return dict(zip(self._results, arrays, strict=True))

    def close(self) -> None: ...


class NoLibrary:
    """The engine's library."""

    def __init__(self, device: NoDevice) -> None:
        self._queues = Queues(device)  # type: ignore[arg-type]

    def active(self) -> Any:
        return contextlib.nullcontext()

    def new_memory(self) -> DeviceMemory:
        return DeviceMemory(self._queues)

    def close(self) -> None: ...


def detections(spec: Any, seed: int = 0) -> dict[str, Any]:
    """What an engine would give, in all slots."""
    random = np.random.default_rng(seed)
    slots = spec.detection.max_detections
    count = np.array([FOUND], np.int32)
    corner = random.uniform(0, np.array(FRAME[::-1]) - SIDES[1], (1, slots, 2))
    sides = random.uniform(*SIDES, (1, slots, 2))
    rows, columns = spec.mask.size
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    disc = np.clip(255 * (1.4 - np.hypot(x, y)), 0, 255).astype(np.uint8)
    return {
        "num_detections": count,
        "boxes": np.concatenate([corner, corner + sides], -1).astype(np.float32),
        "scores": np.sort(random.uniform(0.5, 1, (1, slots)).astype(np.float32))[:, ::-1].copy(),
        "labels": random.integers(1, 4, (1, slots)).astype(np.int32),
        "masks": np.broadcast_to(disc, (1, slots, rows, columns)).copy(),
    }


def open_nothing(spec: Any) -> Any:
    """A ``PlanSession`` over nothing."""
    device = NoDevice()
    library = NoLibrary(device)
    engine = NoEngine(detections(spec))
    session = plan.PlanSession.__new__(plan.PlanSession)
    session.spec, session.watch = spec, Stopwatch()
    session._stages, session._buckets = {"model": engine}, ()  # type: ignore[dict-item]
    session._lanes = Lanes(library, [engine], spec, session.watch)  # type: ignore[arg-type]
    return session


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=2000, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        model = load_model("maskrt.examples.shapes:mask_rcnn", shapes.WEIGHTS / "mask_rcnn.pth")
        export(model, source, (192, 256))
        spec = read_spec(source)
    detectors.open_session = lambda *_, **__: open_nothing(spec)
    detector = Detector("nothing")
    frame = np.zeros((*FRAME, 3), np.uint8)
    pinned = np.zeros(frame.nbytes, np.uint8)
    copying, detecting, reading = [], [], []
    for _ in range(options.frames):
        started = time.perf_counter()
        np.copyto(pinned.reshape(frame.shape), frame)
        copied = time.perf_counter()
        result = detector(frame)
        done = time.perf_counter()
        crops = result.mask_crops
        read = time.perf_counter()
        assert crops is not None
        assert len(crops) == FOUND
        copying.append(copied - started)
        detecting.append(done - copied)
        reading.append(read - done)
    own = [a + b - c for a, b, c in zip(detecting, reading, copying, strict=True)]
    rows = {
        "the frame's copy, taken off": copying,
        "Detector.__call__, with the copy": detecting,
        "mask crops": reading,
        "Python's own": own,
    }
    table(
        f"{options.frames} frames of {FRAME[1]}x{FRAME[0]}, {FOUND} detections, microseconds",
        ("", "median", "p95"),
        (
            (name, f"{statistics.median(s) * 1e6:.0f}", f"{np.percentile(s, 95) * 1e6:.0f}")
            for name, s in rows.items()
        ),
    )


if __name__ == "__main__":
    main()

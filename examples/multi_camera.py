"""Several cameras and one model: what each of them sees, in one window or folder.

    python -m maskrt.examples.multi_camera MODEL SOURCE SOURCE … [--save FOLDER]

Export the model with  --batch 1 4  to run frames of up to four cameras at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from maskrt.runtime import Detector, MultiSource
from maskrt.runtime.sinks import Sink, open_sink
from maskrt.runtime.stream import Stream
from maskrt.runtime.window import WindowSink


def main() -> None:
    """Runs until all cameras have ended, or the window is closed."""
    parser = argparse.ArgumentParser(description="Several cameras, one model.")
    parser.add_argument("model", help="a model.engine, model.bundle or model.onnx")
    parser.add_argument("sources", nargs="+", help="one address for each camera")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="instead of a window")
    options = parser.parse_args()
    with (
        MultiSource(options.sources) as cameras,
        open_sink(options.save) if options.save else WindowSink() as sink,
        Detector(options.model) as detector,
        detector.stream(cameras) as stream,
    ):
        counts = watch(cameras, stream, sink)
    for camera, (frames, found) in zip(cameras.sources, counts, strict=True):
        print(f"{camera.name}: {frames} frames, {found} detections")


def watch(cameras: MultiSource, stream: Stream, sink: Sink) -> list[tuple[int, int]]:
    """Frames and detections of each camera."""
    counts = [(0, 0)] * len(cameras.sources)
    for item in stream:
        frames, found = counts[item.source]
        counts[item.source] = (frames + 1, found + len(item.result))
        sink.write(item.result.draw(item.frame), f"camera{item.source}_{item.index:06d}.jpg")
        if sink.ended:
            break
    return counts


if __name__ == "__main__":
    main()

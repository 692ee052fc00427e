"""A service for a box without a screen: annotated frames over HTTP, counts as JSON lines.

    python -m maskrt.examples.headless MODEL SOURCE --address 0.0.0.0:8080

Any browser shows http://HOST:8080/. Ctrl-C, or SIGTERM as from systemd, ends it in order. Whoever
reaches the address sees the camera: it is this machine alone unless another one is given.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from types import FrameType

from maskrt.errors import MaskrtError
from maskrt.runtime import Detector, open_source
from maskrt.runtime.mjpeg import MjpegSink


def main() -> int:
    """Runs until the source ends, or somebody ends it."""
    parser = argparse.ArgumentParser(description="Annotated frames over HTTP, counts as JSON.")
    parser.add_argument("model", help="a model.engine, model.bundle or model.onnx")
    parser.add_argument("source", help="such as csi://0 or rtsp://…, see docs/sources.md")
    parser.add_argument("--address", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds a line")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    host, _, port = options.address.rpartition(":")
    try:
        serve(options.model, options.source, host, int(port), options.every)
    except KeyboardInterrupt:
        print("ended", file=sys.stderr)
    except MaskrtError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def serve(model: str, address: str, host: str, port: int, every: float) -> None:
    """Detects, draws, serves, and prints a line now and then."""
    sink = MjpegSink(host, port)
    with (
        sink,
        open_source(address) as source,
        Detector(model) as detector,
        detector.stream(source) as stream,
    ):
        print(f"serving {sink.url}", file=sys.stderr, flush=True)
        frames, since = 0, time.monotonic()
        for item in stream:
            sink.write(item.result.draw(item.frame), source.frame_name(item.index))
            frames += 1
            seconds = time.monotonic() - since
            if seconds < every:
                continue
            counts: dict[str, int] = {}
            for name in item.result.class_names:
                counts[name] = counts.get(name, 0) + 1
            line = {
                "frame": item.index,
                "fps": round(frames / seconds, 1),
                "dropped": stream.dropped,
                "found": counts,
            }
            print(json.dumps(line), flush=True)
            frames, since = 0, time.monotonic()


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

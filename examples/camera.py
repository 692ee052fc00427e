"""A camera app: frames from anywhere, detections drawn into them, in a window or a file.

python -m maskrt.examples.camera MODEL [SOURCE] [OUT]
"""

import sys

from maskrt.runtime import Detector, open_source
from maskrt.runtime.sinks import open_sink
from maskrt.runtime.window import WindowSink


def main(model: str, address: str = "0", out: str = "") -> None:
    """Shows what a model finds, or writes it to a video or a folder."""
    with (
        open_source(address) as source,
        open_sink(out, fps=source.fps) if out else WindowSink() as sink,
        Detector(model, score_threshold=0.6) as detector,
        detector.stream(source) as stream,
    ):
        for item in stream:
            sink.write(item.result.draw(item.frame), source.frame_name(item.index))
            print(f"{item.index}: {len(item.result)} in {item.milliseconds:.1f} ms", flush=True)
            if sink.ended:
                break


if __name__ == "__main__":
    main(*sys.argv[1:])

"""``maskrt run``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from maskrt.commands.arguments import threshold
from maskrt.errors import MaskrtError
from maskrt.files import replacing

NAME = "run"
HELP = "a model on images, videos or a camera"
DESCRIPTION = """\
Runs a model on a source of frames and shows or saves what it finds. Without
--show, --save and --json it only counts and measures.
"""
EPILOG = """\
examples:
  maskrt run model.onnx --source photo.jpg --save annotated.jpg
  maskrt run model.bundle --source photos/ --save annotated/ --json found.jsonl
  maskrt run model.bundle --source street.mp4 --save annotated.mp4 --score-threshold 0.7
  maskrt run model.bundle --source 0 --show           # the first camera; q or Esc ends it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="a model.onnx, or what maskrt build made"
    )
    parser.add_argument(
        "--source", required=True, help="an image, a folder of images, a video, or a camera number"
    )
    parser.add_argument(
        "--save", type=Path, metavar="OUT", help="annotated frames: a video, an image or a folder"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="detections, a line for each frame, in COCO's result format",
    )
    parser.add_argument("--show", action="store_true", help="annotated frames in a window")
    parser.add_argument(
        "--score-threshold", type=threshold, metavar="T", help="default: the model's own"
    )
    parser.add_argument(
        "--nms-threshold", type=threshold, metavar="T", help="default: the model's own"
    )
    parser.add_argument(
        "--providers",
        nargs="+",
        metavar="NAME",
        help="of ONNX Runtime, for an .onnx file, best first (default: CPUExecutionProvider)",
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--policy",
        choices=("all", "latest"),
        help="all: no frame is left out; latest: while the detector is busy frames are dropped, so "
        "that the newest is taken (default: all, for cameras latest)",
    )


def execute(options: argparse.Namespace) -> None:
    """Runs the command."""
    from maskrt.commands.console import console, track
    from maskrt.runtime import Detector, open_source
    from maskrt.runtime.sinks import WritingThread, open_sink

    if options.show:
        _check_screen()
    found = 0
    milliseconds: list[float] = []
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_source(options.source))
        try:
            detector = Detector(
                options.model,
                providers=options.providers,
                threads=options.threads,
                score_threshold=options.score_threshold,
                nms_threshold=options.nms_threshold,
            )
        except ValueError as error:
            raise MaskrtError(str(error)) from error
        stack.enter_context(detector)
        sink = None
        if options.save:
            sink = stack.enter_context(
                WritingThread(open_sink(options.save, fps=source.fps, single=source.count == 1))
            )
        lines = stack.enter_context(_lines(options.json)) if options.json else None
        # frames are read and detected in while the last ones are drawn and written
        stream = stack.enter_context(detector.stream(source, policy=options.policy))
        for item in track(stream, source.name, source.count):
            milliseconds.append(item.milliseconds)
            found += len(item.result)
            name = source.frame_name(item.index)
            if lines:
                coco = item.result.to_coco(item.index)
                record = {"frame": item.index, "name": name, "detections": coco}
                lines.write(json.dumps(record) + "\n")
            if sink or options.show:
                drawn = item.result.draw(item.frame)
                if sink:
                    sink.write(drawn, name)
                if options.show and not _show(drawn):
                    break
        dropped = stream.dropped
    if not milliseconds:
        raise MaskrtError(f"{options.source} gave no frames")
    # the first run prepares buffers: it says nothing of the others
    steady = sorted(milliseconds[1:] or milliseconds)
    console.print(
        f"{len(milliseconds)} frames, {found} detections, "
        f"{steady[len(steady) // 2]:.1f} ms a frame (median, detection alone)"
        + (f", {dropped} frames dropped" if dropped else ""),
        highlight=False,
    )
    for path in filter(None, (options.save, options.json)):
        console.print(f"written: {path}", highlight=False)


@contextlib.contextmanager
def _lines(path: Path) -> Any:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


def _check_screen() -> None:
    # without a screen OpenCV's windows end the whole process
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        raise MaskrtError(
            "--show needs a screen, and neither DISPLAY nor WAYLAND_DISPLAY is set: use --save, or "
            "log in with a desktop (ssh -X)"
        )


def _show(frame: Any) -> bool:
    """Shows a frame; False when the user wants to end."""
    import cv2

    try:
        cv2.imshow("maskrt", frame)
        return cv2.waitKey(1) & 0xFF not in (27, ord("q"))
    except cv2.error as error:
        raise MaskrtError(
            "--show needs a screen, and an OpenCV with windows (opencv-python, not "
            "opencv-python-headless): use --save instead"
        ) from error

"""``maskrt run``."""

from __future__ import annotations

import argparse
import contextlib
import re
from pathlib import Path
from typing import Any

from maskrt.commands.arguments import threshold
from maskrt.cores import usable_cores
from maskrt.errors import MaskrtError

NAME = "run"
HELP = "a model on images, videos or a camera"
DESCRIPTION = """\
Runs a model on a source of frames and shows or saves what it finds. Without
--show, --serve, --save and --json it only counts and measures.
"""
EPILOG = """\
sources:
  photo.jpg, photos/, street.mp4      an image, a folder of images, a video
  0                                   a camera, by its number
  v4l2:///dev/video0?width=1280&height=720&fps=30&format=MJPG
  csi://0?width=1920&height=1080&fps=30&flip=2            a Jetson's CSI camera
  rtsp://user:password@host/path      a network camera; http:// and https://, too
  'gst://PIPELINE ! appsink'          any GStreamer pipeline
  synthetic://1280x720?frames=100&fps=30&seed=0           drawn frames

All options behind '?' may be left out; '&' and '!' need quotes in a shell. A
camera that stops giving frames is connected again.

examples:
  maskrt run model.onnx --source photo.jpg --save annotated.jpg
  maskrt run model.bundle --source photos/ --save annotated/ --json found.jsonl
  maskrt run model.bundle --source street.mp4 --save annotated.mp4 --score-threshold 0.7
  maskrt run model.bundle --source 0 --show           # the first camera; q or Esc ends it
  maskrt run model.bundle --source csi://0 --serve 8080
  maskrt run model.bundle --source rtsp://192.168.1.20/stream1 --json - | head

--serve 8080 shows the frames to browsers on the same machine, at
http://127.0.0.1:8080/; from elsewhere, forward the port (ssh -L
8080:127.0.0.1:8080 HOST). --serve 0.0.0.0:8080 shows them to everybody who can
reach this machine: there is no password.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="a model.onnx, or what maskrt build made"
    )
    parser.add_argument(
        "--source",
        required=True,
        metavar="FILE|DIR|URI",
        help="an image, a folder of images, a video, a camera's number, or an address with v4l2://,"
        " csi://, rtsp://, http://, gst:// or synthetic:// (see below)",
    )
    parser.add_argument(
        "--save", type=Path, metavar="OUT", help="annotated frames: a video, an image or a folder"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="detections, a line for each frame, in COCO's result format; '-': standard output",
    )
    parser.add_argument("--show", action="store_true", help="annotated frames in a window")
    parser.add_argument(
        "--serve",
        type=_address,
        metavar="[HOST:]PORT",
        help="annotated frames over HTTP, for browsers (HOST: 127.0.0.1, this machine only)",
    )
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
    parser.add_argument(
        "--threads",
        type=int,
        help="CPU threads (default: all cores; but one where frames are drawn)",
    )
    parser.add_argument(
        "--policy",
        choices=("all", "latest"),
        help="all: no frame is left out; latest: while the detector is busy frames are dropped, so "
        "that the newest is taken (default: all, for cameras latest)",
    )


def execute(options: argparse.Namespace) -> None:
    """Runs the command.

    Raises:
        MaskrtError: a file or the source cannot be used.
    """
    from maskrt.commands.console import track
    from maskrt.runtime import Detector, open_source

    found = 0
    milliseconds: list[float] = []
    with contextlib.ExitStack() as stack:
        # what may be missing is told before the model is loaded, which may take long
        sinks = [stack.enter_context(sink) for sink in _screens(options)]
        threads = _shared_cores(options)
        source = stack.enter_context(open_source(options.source))
        try:
            detector = Detector(
                options.model,
                providers=options.providers,
                threads=threads,
                score_threshold=options.score_threshold,
                nms_threshold=options.nms_threshold,
            )
        except ValueError as error:
            raise MaskrtError(str(error)) from error
        stack.enter_context(detector)
        sinks += [stack.enter_context(sink) for sink in _files(options, source)]
        lines = [stack.enter_context(sink) for sink in _lines(options)]
        # frames are read and detected in while the last ones are drawn and written
        stream = stack.enter_context(detector.stream(source, policy=options.policy))
        stack.callback(source.close)  # before the stream, which waits for its thread that reads
        plain = str(options.json) == "-"  # a bar on the same terminal would break its lines
        for item in stream if plain else track(stream, source.name, source.count):
            milliseconds.append(item.milliseconds)
            found += len(item.result)
            name = source.frame_name(item.index)
            for line in lines:
                line.write(item.index, name, item.result)
            if sinks:
                drawn = item.result.draw(item.frame)  # once, for all of them
                for sink in sinks:
                    sink.write(drawn, name)
            if any(sink.ended for sink in (*sinks, *lines)):
                break
        dropped = stream.dropped
    if not milliseconds:
        raise MaskrtError(f"{source.name} gave no frames")
    # the first run prepares buffers: it says nothing of the others
    steady = sorted(milliseconds[1:] or milliseconds)
    _say(
        options,
        f"{len(milliseconds)} frames, {found} detections, "
        f"{steady[len(steady) // 2]:.1f} ms a frame (median, detection alone)"
        + (f", {dropped} frames dropped" if dropped else ""),
    )
    for path in filter(None, (options.save, options.json)):
        if str(path) != "-":
            _say(options, f"written: {path}")


def _shared_cores(options: argparse.Namespace) -> int | None:
    """Threads of the detector on a CPU: one core is left to what draws and writes beside it.

    With two cores that takes a seventh of the time off a film (benchmarks/stream.py).
    """
    if not (options.save or options.show or options.serve):
        return options.threads
    import cv2

    cv2.setNumThreads(1)  # its helpers would fight for the same cores, over pieces too small
    return options.threads or max(1, usable_cores() - 1)


def _screens(options: argparse.Namespace) -> list[Any]:
    """Where frames are looked at while they come."""
    sinks: list[Any] = []
    if options.show:
        from maskrt.runtime.window import WindowSink

        sinks.append(WindowSink())
    if options.serve:
        from maskrt.runtime.mjpeg import MjpegSink

        host, port = options.serve
        served = MjpegSink(host, port)
        _say(options, f"serving: {served.url}")
        sinks.append(served)
    return sinks


def _files(options: argparse.Namespace, source: Any) -> list[Any]:
    """Where frames are kept."""
    from maskrt.runtime.sinks import WritingThread, open_sink

    if not options.save:
        return []
    return [WritingThread(open_sink(options.save, fps=source.fps, single=source.count == 1))]


def _lines(options: argparse.Namespace) -> list[Any]:
    """Where detections are kept."""
    from maskrt.runtime.json_lines import JsonLinesSink

    return [JsonLinesSink(options.json)] if options.json else []


def _address(text: str) -> tuple[str, int]:
    """``8080``, ``0.0.0.0:8080`` or ``[::1]:8080`` as host and port."""
    match = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):)?(\d{1,5})", text, re.ASCII)
    if not match or int(match[2]) > 65535:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a port, or an address of this machine and a port, such as "
            "8080, 0.0.0.0:8080 or [::1]:8080"
        )
    return (match[1] or "127.0.0.1").strip("[]"), int(match[2])


def _say(options: argparse.Namespace, line: str) -> None:
    from maskrt.commands.console import console, open_console

    # what reads JSON from standard output must not find anything else there
    out = open_console(stderr=True) if str(options.json) == "-" else console
    out.print(line, markup=False, highlight=False, soft_wrap=True)

"""Opens sources of frames by their addresses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maskrt.errors import SourceError
from maskrt.runtime import cameras
from maskrt.runtime.source import Source
from maskrt.runtime.stored import ArraySource, open_path, read_image
from maskrt.runtime.synthetic import open_synthetic
from maskrt.runtime.uris import masked

__all__ = ["SCHEMES", "Source", "open_source", "read_image"]


def open_source(uri: Any) -> Source:
    """Opens a source of frames.

        with open_source("street.mp4") as frames:
            for frame in frames:
                ...

    Args:
        uri: one of the following; docs/sources.md has more of each.

            - the path of an image, of a folder of images (read in natural order: ``img2`` before
              ``img10``; other files are ignored) or of a video; also ``file://PATH``
            - the number of a camera, ``0`` or ``"0"`` (``"./0"`` is a file of that name)
            - ``v4l2:///dev/video0?width=1280&height=720&fps=30&format=MJPG``: a camera of Linux,
              with what is asked of it
            - ``csi://0?width=1920&height=1080&fps=30&flip=2``: a Jetson's CSI camera
            - ``rtsp://USER:PASSWORD@HOST/PATH`` (``rtsps``, ``http``, ``https``): a network camera
            - ``gst://PIPELINE`` or ``gst:PIPELINE``: a GStreamer pipeline that ends in ``appsink``
            - ``synthetic://1280x720?frames=100&fps=30&seed=0``: drawn frames; endless without
              ``frames``, live with ``fps``
            - a frame as an array, an array ``[N, H, W, 3]``, or a list of frames

            All options are optional. Passwords do not appear in names and messages.

    Returns:
        The source. A lost camera is connected again, as ``CameraSource`` says.

    Raises:
        SourceError: if it does not exist or cannot be opened, or an option is wrong. While
            iterating: if an image cannot be read, a video ends too early, or a camera is lost.
        FrameError: while iterating, if an array cannot be read as an image.
    """
    if isinstance(uri, np.ndarray):
        return ArraySource(list(uri) if uri.ndim == 4 else [uri])
    if isinstance(uri, (list, tuple)):
        if not uri:
            raise SourceError("found an empty list of frames, expected at least one")
        return ArraySource(list(uri))
    if isinstance(uri, Path):
        return open_path(uri)
    if isinstance(uri, (int, np.integer)) and not isinstance(uri, bool):
        return cameras.open_number(int(uri))
    if isinstance(uri, str) and uri:
        return _open_text(uri)
    raise SourceError(f"found {uri!r} as a source, expected a path, a camera's number, or arrays")


def _open_text(uri: str) -> Source:
    if re.fullmatch(r"[+-]?\d{1,9}", uri, re.ASCII):
        return cameras.open_number(int(uri))
    scheme, separator, rest = uri.partition("://")
    if uri[:4].lower() == "gst:":  # '//' may follow, or come later, in the pipeline
        scheme, separator, rest = "gst", ":", uri[4:].removeprefix("//")
    if not separator:
        return open_path(Path(uri))
    if scheme.lower() not in SCHEMES:
        raise SourceError(
            f"found the source {masked(uri)!r}, expected a path, a camera's number, or one of: "
            + ", ".join(f"{known}://" for known in SCHEMES)
        )
    return SCHEMES[scheme.lower()](rest)


def _network(scheme: str) -> Callable[[str], Source]:
    return lambda rest: cameras.open_network(f"{scheme}://{rest}")


SCHEMES: dict[str, Callable[[str], Source]] = {
    "file": lambda rest: open_path(Path(rest)),
    "v4l2": cameras.open_v4l2,
    "csi": cameras.open_csi,
    **{scheme: _network(scheme) for scheme in ("rtsp", "rtsps", "http", "https")},
    "gst": cameras.open_pipeline,
    "synthetic": open_synthetic,
}
"""What opens ``scheme://rest``; it is given the rest."""

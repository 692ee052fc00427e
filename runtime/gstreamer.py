"""GStreamer pipelines: the one of a Jetson's CSI cameras, and checks of the user's."""

from __future__ import annotations

import re

import cv2

from maskrt.errors import SourceError


def csi_pipeline(
    sensor: int, *, width: int = 1920, height: int = 1080, fps: int = 30, flip: int = 0
) -> str:
    """The pipeline of a CSI camera on Jetson, of which OpenCV gets BGR frames.

    The picture stays in NVMM memory (which the camera's processor and converter share) until
    ``nvvidconv`` writes it where the CPU can read it. That cannot write BGR: ``videoconvert`` drops
    the fourth byte. The sink keeps the newest frame only, and does not wait for clocks.

    Args:
        sensor: the camera's number.
        width: of the frames in pixels, as ``height``.
        height: as ``width``.
        fps: frames per second.
        flip: ``nvvidconv``'s flip-method: 0 none, 1 90 degrees counter-clockwise, 2 180 degrees, 3
            90 degrees clockwise, 4 left and right swapped, 5 and 7 about the diagonals, 6 top and
            bottom swapped.
    """
    for value in (sensor, width, height, fps, flip):
        # text would be pipeline syntax, with which files can be read and written
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"found {value!r}, expected a whole number")
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM), width={width}, height={height}, framerate={fps}/1, "
        f"format=NV12 ! nvvidconv flip-method={flip} ! video/x-raw, format=BGRx ! "
        "videoconvert ! video/x-raw, format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )


def check_pipeline(pipeline: str) -> str:
    """The pipeline, without blanks around it.

    Raises:
        SourceError: it does not end with an ``appsink``, which is where OpenCV takes frames.
    """
    *before, last = pipeline.split("!")
    if not before or last.split()[:1] != ["appsink"]:
        raise SourceError(
            f"found {last.strip() or 'nothing'!r} at the end of the GStreamer pipeline, expected "
            "an appsink, of which frames are taken: add  ! videoconvert ! appsink"
        )
    return pipeline.strip()


def check_available() -> None:
    """Checks that this OpenCV was built with GStreamer.

    Raises:
        SourceError: it was not.
    """
    if not re.search(r"GStreamer: +YES", cv2.getBuildInformation()):
        raise SourceError(
            f"this OpenCV ({cv2.__version__}, {cv2.__file__}) was built without GStreamer; pip's "
            "opencv-python always is: uninstall it, and use JetPack's, or the distribution's "
            "(sudo apt install python3-opencv; venvs need --system-site-packages)"
        )

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskrt.errors import SourceError
from maskrt.runtime import open_source
from maskrt.runtime.gstreamer import check_available, check_pipeline, csi_pipeline


def test_csi_pipeline():
    assert csi_pipeline(0) == (
        "nvarguscamerasrc sensor-id=0 ! "
        "video/x-raw(memory:NVMM), width=1920, height=1080, framerate=30/1, format=NV12 ! "
        "nvvidconv flip-method=0 ! video/x-raw, format=BGRx ! "
        "videoconvert ! video/x-raw, format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )
    assert csi_pipeline(1, width=1280, height=720, fps=60, flip=6) == (
        "nvarguscamerasrc sensor-id=1 ! "
        "video/x-raw(memory:NVMM), width=1280, height=720, framerate=60/1, format=NV12 ! "
        "nvvidconv flip-method=6 ! video/x-raw, format=BGRx ! "
        "videoconvert ! video/x-raw, format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )
    check_pipeline(csi_pipeline(0))


@pytest.mark.parametrize("name", ["width", "height", "fps", "flip"])
@pytest.mark.parametrize("value", ["1 ! filesink location=x", "2", 2.0, True, np.array(3)])
def test_only_whole_numbers_get_into_a_pipeline(name, value):
    with pytest.raises(TypeError, match="expected a whole number"):
        csi_pipeline(0, **{name: value})
    with pytest.raises(TypeError, match="expected a whole number"):
        csi_pipeline(value)


def test_pipelines_end_with_an_appsink():
    for pipeline in ("videotestsrc ! appsink", " a!b ! appsink drop=true max-buffers=1 "):
        assert check_pipeline(pipeline) == pipeline.strip()
    for pipeline, found in {
        "": "nothing",
        "appsink": "appsink",
        "videotestsrc": "videotestsrc",
        "videotestsrc ! appsink ! fakesink": "fakesink",
        "videotestsrc ! myappsink": "myappsink",
        "videotestsrc ! appsink !": "nothing",
    }.items():
        with pytest.raises(SourceError, match=f"found '{found}' at the end of the GStreamer"):
            check_pipeline(pipeline)


@pytest.mark.parametrize("has", [False, True])
def test_opencv_with_and_without_gstreamer(monkeypatch, has):
    text = f"  Video I/O:\n    GStreamer:                   {'YES (1.20.3)' if has else 'NO'}\n"
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: text)
    if has:
        check_available()
        return
    for uri in ("csi://0", "gst:videotestsrc ! appsink"):
        with pytest.raises(SourceError, match=r"opencv-python always is.*python3-opencv"):
            open_source(uri)

"""The demo, on a few frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskrt.examples import demo


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "FILM_FRAMES", 8)
    monkeypatch.setattr(demo, "CALIBRATED", 8)
    demo.run_demo(tmp_path, images=4)
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    height, width = demo.FILM_SIZE
    assert sheet.shape == (3 * (height + 8) + 8, 4 * (width + 8) + 8, 3)
    assert len(list((tmp_path / "frames").glob("*.png"))) == 16
    for name in ("masks", "keypoints"):
        video = cv2.VideoCapture(str(tmp_path / f"{name}.mp4"))
        assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 8
        for suffix in ("onnx", "bundle", "int8.onnx", "int8.bundle"):
            assert (tmp_path / f"{name}.{suffix}").stat().st_size > 1_000_000
    printed = capsys.readouterr().out
    for word in (
        "bundle",
        "INT8",
        "box AP",
        "mask AP",
        "keypoint AP",
        "detect",
        "contact_sheet.png",
    ):
        assert word in printed


@pytest.mark.parametrize(("count", "rows"), [(2, 1), (4, 1), (5, 2)])
def test_contact_sheet(count, rows):
    pictures = [np.full((20, 30, 3), 200, np.uint8)] * (count - 1) + [
        np.full((40, 60, 3), 200, np.uint8)
    ]
    sheet = demo.contact_sheet(pictures, 4, gap=2)
    assert sheet.shape == (rows * 22 + 2, 4 * 32 + 2, 3)
    assert (sheet == 200).all(axis=2).sum() == count * 600

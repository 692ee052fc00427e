"""``maskrt profile``: what it prints and writes; how long things take is not asserted."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from maskrt import cli
from maskrt.commands import profile
from maskrt.errors import MaskrtError
from maskrt.runtime.detector import Detector
from maskrt.runtime.latency import read_summary


@pytest.fixture
def run(monkeypatch):
    if profile not in cli.COMMANDS:
        monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, profile))
    return lambda *arguments: cli.main(["profile", *map(str, arguments)])


def test_everything(canonical, run, tmp_path, capsys):
    path = canonical("mask_rcnn")
    output, picture = tmp_path / "out.json", tmp_path / "out.png"
    few = ("--frames", 4, "--warmup", 1, "--threads", 1)
    assert run(path, *few, "--draw", "--json", output, "--chart", picture) == 0
    summary = read_summary(output)
    assert list(summary.stages) == ["capture", "model", "result", "masks", "draw"]
    assert (len(summary.frame_ms), len(summary.warmup_ms)) == (4, 1)
    total = sum(stats.mean for stats in summary.stages.values())
    assert total == pytest.approx(summary.frame.mean, abs=0.01)
    assert summary.model["precision"] == "fp32"
    assert summary.settings["frame_size"] == "1280x720"
    assert cv2.imread(str(picture)) is not None
    printed = capsys.readouterr().out
    for word in ("p99", "masks", "frames per second", "warm-up", f"written: {picture}"):
        assert word in printed

    assert run(path, *few, "--draw", "--baseline", output) == 0
    printed = capsys.readouterr().out
    assert "new/old" in printed
    assert "warning" not in printed
    assert run(canonical("keypoint_rcnn"), *few, "--baseline", output) == 0
    printed = capsys.readouterr().out
    assert "the file: mask_rcnn.onnx" in printed
    assert "settings, draw: True, now False" in printed


def test_a_short_source_is_repeated(canonical, run, tmp_path, capsys):
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((40, 60, 3), 90 * i, np.uint8))
    arguments = ("--source", tmp_path, "--frames", 5, "--warmup", 0, "--score-threshold", 1)
    assert run(canonical("mask_rcnn"), *arguments) == 0
    printed = capsys.readouterr().out
    for words in ("read 3 times", "5 frames of 60x40", "without a warm-up", "nothing was detected"):
        assert words in printed


def test_stopped(canonical, run, tmp_path, capsys, monkeypatch):
    detect, calls = Detector.__call__, []

    def interrupted(self, frame):
        calls.append(frame)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return detect(self, frame)

    monkeypatch.setattr(Detector, "__call__", interrupted)
    output = tmp_path / "out.json"
    assert run(canonical("keypoint_rcnn"), "--warmup", 2, "--json", output) == 0
    assert "stopped after 3 frames" in capsys.readouterr().out
    assert json.loads(output.read_text())["frames"] == 3
    calls.clear()
    output.unlink()
    assert run(canonical("keypoint_rcnn"), "--warmup", 9, "--json", output) == 130
    assert not output.exists()


def test_bad_input(canonical, run, tmp_path, capsys):
    path, broken = canonical("keypoint_rcnn"), tmp_path / "broken.json"
    broken.write_text('{"format": 1}')
    (tmp_path / "model.onnx").write_text("no model")
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ((path, "--frames", 0), "--frames: found 0, expected 1 or more"),
        ((path, "--warmup", -1), "--warmup: found -1, expected 0 or more"),
        ((path, "--threads", 0), "threads: found 0"),
        ((path, "--baseline", broken), "found no profile"),
        ((path, "--baseline", tmp_path / "none.json"), "none.json cannot be read"),
        ((path, "--chart", tmp_path / "a.svg"), "expected .png"),
        ((path, "--source", tmp_path / "empty"), "holds no images"),
        ((tmp_path / "model.onnx",), "cannot be loaded"),
        ((broken,), "expected .onnx, .bundle or .engine"),
        ((tmp_path / "none.onnx",), "does not exist"),
    ):
        assert run(*arguments) == 1
        assert words in capsys.readouterr().err


def test_layers_of_a_file_that_tensorrt_does_not_run(canonical, run, capsys):
    path = canonical("mask_rcnn")
    assert run(path, "--layers", 5) == 1
    assert "only TensorRT times its layers" in capsys.readouterr().err
    with Detector(path) as detector, pytest.raises(MaskrtError, match="only TensorRT"):
        detector.time_layers()


def test_a_source_without_frames():
    class Empty:
        name = "nothing"

        def __iter__(self):
            return iter(())

    with pytest.raises(profile.MaskrtError, match="nothing gave no frames"):
        next(profile._Repeated(Empty()))

"""Polygraphy on what maskrt writes, through its command line: docs/polygraphy.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from maskrt.cli import main
from maskrt.examples import shapes
from tests.support.tiers import quick

pytest.importorskip("polygraphy")

SCRIPTS = Path(__file__).parents[2] / "examples" / "polygraphy"
FRAMES = ["--data-loader-script", str(SCRIPTS / "frames.py")]
COMPARE = ["--compare-func-script", str(SCRIPTS / "detections.py")]


def polygraphy(*arguments, folder, **variables):
    """Runs a command; returns its exit status and what it said."""
    beside = Path(sys.executable).with_name("polygraphy")
    program = str(beside) if beside.exists() else shutil.which("polygraphy")
    done = subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "MASKRT_COUNT": "2", **variables},
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(
    scope="module",
    params=quick(["mask_rcnn"], ["mask_rcnn", "keypoint_rcnn"], "a command line in a process"),
)
def model(request, canonical):
    return canonical(request.param)


@pytest.fixture
def masks(canonical):
    return canonical("mask_rcnn")


def changed(path, out, ending, amount):
    """A copy in which a bias is another."""
    model = onnx.load(path)
    (bias,) = [t for t in model.graph.initializer if t.name.endswith(ending)]
    values = numpy_helper.to_array(bias) + np.float32(amount)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, out)
    return out


def test_inspect(masks, tmp_path):
    status, text = polygraphy("inspect", "model", masks, folder=tmp_path)
    assert status == 0
    assert "frames [dtype=uint8, shape=(1, 'H', 'W', 3)]" in text
    assert "num_detections" in text


def test_runs_as_it_is(model, tmp_path):
    status, text = polygraphy("run", model, "--onnxrt", folder=tmp_path)
    assert status == 0, text
    status, text = polygraphy("run", model, "--onnxrt", "--validate", *FRAMES, folder=tmp_path)
    assert status == 0, text
    assert "shape=(1, 192, 256, 3)" in text


@pytest.mark.slow(reason="a command line in a process for each")
def test_saved_outputs_compare(model, tmp_path):
    run = ["run", model, "--onnxrt", *FRAMES]
    status, text = polygraphy(*run, "--save-outputs", "reference.json", folder=tmp_path)
    assert status == 0, text
    against = ["--load-outputs", "reference.json", *COMPARE]
    status, text = polygraphy(*run, *against, folder=tmp_path)
    assert status == 0, text
    assert "boxes: within tolerance" in text
    assert "Passed: 2/2" in text


@pytest.mark.parametrize(
    ("ending", "amount", "output"),
    [("mask_fcn_logits.bias", 0.5, "masks"), ("predictor.cls_score.bias", 0.5, "scores")],
)
@pytest.mark.slow(reason="a command line in a process for each")
def test_a_fault_fails_where_it_is(masks, tmp_path, ending, amount, output):
    # a number for each class would change nothing after the softmax: only the first one differs
    amounts = np.zeros(7, np.float32) if "cls_score" in ending else amount
    if "cls_score" in ending:
        amounts[0] = amount
    broken = changed(masks, tmp_path / "broken.onnx", ending, amounts)
    polygraphy("run", masks, "--onnxrt", *FRAMES, "--save-outputs", "r.json", folder=tmp_path)
    against = ["--load-outputs", "r.json", *COMPARE]
    status, text = polygraphy("run", broken, "--onnxrt", *FRAMES, *against, folder=tmp_path)
    assert status == 1
    assert f"{output}: OUT OF TOLERANCE" in text
    if output == "masks":
        assert "boxes: within tolerance" in text
        loose = tmp_path / "loose.json"
        loose.write_text('{"masks": {"largest": 1, "mean": 1}}')
        status, text = polygraphy(
            "run", broken, "--onnxrt", *FRAMES, *against,
            folder=tmp_path, MASKRT_TOLERANCES=str(loose),
        )  # fmt: skip
        assert status == 0, text


@pytest.mark.slow(reason="a command line in a process")
def test_frames_from_a_folder(masks, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(2):
        frame, _ = shapes.image(i, split="val", size=(120, 160))
        cv2.imwrite(str(photos / f"{i}.png"), frame)
    status, text = polygraphy(
        "run", masks, "--onnxrt", *FRAMES, folder=tmp_path, MASKRT_IMAGES=str(photos)
    )
    assert status == 0, text
    assert "shape=(1, 120, 160, 3)" in text
    assert "Iteration: 1" in text


@pytest.mark.slow(reason="a command line in a process")
def test_batches_and_thresholds(canonical, tmp_path):
    batched = canonical("mask_rcnn", batch=(1, 3))
    status, text = polygraphy(
        "run", batched, "--onnxrt", *FRAMES, folder=tmp_path, MASKRT_COUNT="3",
        MASKRT_BATCH="3", MASKRT_SCORE_THRESHOLD="0.5", MASKRT_NMS_THRESHOLD="0.4",
    )  # fmt: skip
    assert status == 0, text
    assert "shape=(3, 192, 256, 3)" in text
    assert "score_threshold [dtype=float32, shape=()]" in text


@pytest.mark.slow(reason="a command line in a process")
def test_an_unknown_precision(masks, tmp_path):
    run = ["run", masks, "--onnxrt", *FRAMES]
    polygraphy(*run, "--save-outputs", "r.json", folder=tmp_path)
    status, text = polygraphy(
        *run, "--load-outputs", "r.json", *COMPARE, folder=tmp_path, MASKRT_PRECISION="half"
    )
    assert status == 1
    assert "found 'half', expected fp32" in text


def test_the_graph_for_tensorrt(masks, tmp_path):
    """Plugin nodes instead of functions; Polygraphy's own surgeon finds its way in it."""
    pytest.importorskip("onnx_graphsurgeon")
    graph = tmp_path / "model.trt.onnx"
    assert main(["build", str(masks), "--target", "tensorrt", "-o", str(graph)]) == 0
    status, text = polygraphy("inspect", "model", graph, "--show", "layers", folder=tmp_path)
    assert status == 0, text
    assert "MultilevelRoIAlign" in text
    status, text = polygraphy(
        "surgeon", "extract", graph, "--inputs", "frames:[1,H,W,3]:uint8",
        "--outputs", "num_detections:auto", "-o", "part.onnx", folder=tmp_path,
    )  # fmt: skip
    assert status == 0, text
    assert [output.name for output in onnx.load(tmp_path / "part.onnx").graph.output] == [
        "num_detections"
    ]
    # what a machine with a GPU would run; here only the script that Polygraphy makes of it
    arguments = ["--trt", "--plugins", "libmaskrt_plugins.so", *FRAMES]
    status, text = polygraphy("run", graph, *arguments, "--gen-script", "-", folder=tmp_path)
    assert status == 0, text
    assert "libmaskrt_plugins.so" in text

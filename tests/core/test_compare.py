from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from maskrt.cli import main
from maskrt.examples import shapes
from maskrt.export import load_model
from tests.parity import agrees, disturbed, disturbed_file

EAGER = "maskrt.examples.shapes:mask_rcnn"
WEIGHTS = str(shapes.WEIGHTS / "mask_rcnn.pth")


@pytest.fixture(scope="module")
def folder(canonical, tmp_path_factory):
    """The trained model as model.onnx, a copy with a fault as broken.onnx, and photos."""
    folder = tmp_path_factory.mktemp("compare")
    path = shutil.copy(canonical("mask_rcnn"), folder / "model.onnx")
    model = onnx.load(path)
    (bias,) = [t for t in model.graph.initializer if t.name.endswith("mask_fcn_logits.bias")]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
    onnx.save(model, folder / "broken.onnx")
    (folder / "photos").mkdir()
    for i in range(3):
        frame, _ = shapes.image(i, split="val")
        cv2.imwrite(str(folder / "photos" / f"{i}.png"), frame)
    return folder


def weights(folder, k):
    """The path of the weights, or of the k-th disturbed ones."""
    if k is None:
        return WEIGHTS
    model = disturbed(load_model(EAGER, WEIGHTS), k)
    torch.save(model.state_dict(), folder / f"{k}.pth")
    return str(folder / f"{k}.pth")


def variant(folder, name, k):
    """The name of a file in the folder, or of its k-th disturbed one."""
    if k is None:
        return name
    onnx.save(disturbed_file(folder / name, k), folder / f"{k}.{name}")
    return f"{k}.{name}"


def compare(folder, one, two, *options):
    sides = [str(folder / name) if name.endswith("onnx") else name for name in (one, two)]
    return main(["compare", *sides, "--images", str(folder / "photos"), *options])


def test_eager_and_onnx(folder, tmp_path, capsys):
    out = tmp_path / "out.json"

    def attempt(k):
        arguments = ["--weights", weights(tmp_path, k), "--limit", "2", "--json", str(out)]
        return compare(folder, EAGER, "model.onnx", *arguments) == 0

    assert agrees(attempt)
    assert "All stages are within tolerance" in capsys.readouterr().out
    result = json.loads(out.read_text())
    assert (result["within"], result["first_out"], result["images"]) == (True, None, 2)
    assert result["stages"][0]["stage"] == "image"
    assert {"features/3", "rois", "mask_logits", "masks"} <= {s["stage"] for s in result["stages"]}


def test_a_fault_is_named(folder, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert compare(folder, "model.onnx", "broken.onnx", "--json", str(out)) == 1
    error = capsys.readouterr().err
    assert "out of tolerance, first in the stage 'mask_logits'" in error
    assert "Traceback" not in error
    assert json.loads(out.read_text())["first_out"] == "mask_logits"


@pytest.mark.slow(reason="whole comparisons, again")
def test_tolerances_can_be_changed(folder, tmp_path, capsys):
    loose = {"largest": 100, "mean": 100, "share": 1}
    file = tmp_path / "tolerances.json"
    file.write_text(json.dumps({"mask_logits": loose}))
    assert compare(folder, "model.onnx", "broken.onnx", "--tolerance-file", str(file)) == 1
    assert "stage 'masks'" in capsys.readouterr().err
    file.write_text(json.dumps({"mask_logits": loose, "masks": loose}))
    assert compare(folder, "model.onnx", "broken.onnx", "--tolerance-file", str(file)) == 0
    strict = ["--box-tolerance", "1e-9", "--score-tolerance", "1e-9"]

    def attempt(k):
        arguments = ["--weights", weights(tmp_path, k), *strict]
        assert compare(folder, EAGER, "model.onnx", *arguments) == 1
        return "stage 'boxes_canvas'" in capsys.readouterr().err

    assert agrees(attempt)


@pytest.mark.parametrize("layout", ["onnxruntime", "openvino"])
def test_bundles(folder, layout, capsys):
    pytest.importorskip("onnx_graphsurgeon")
    pytest.importorskip(layout)
    bundle = folder / f"{layout}.bundle"
    build = ["build", str(folder / "model.onnx"), "--target", layout, "-o", str(bundle)]
    assert main(build) == 0
    assert agrees(lambda k: compare(folder, variant(folder, "model.onnx", k), str(bundle)) == 0)

    def at_fault(k):
        assert compare(folder, variant(folder, "broken.onnx", k), str(bundle)) == 1
        return "stage 'mask_logits'" in capsys.readouterr().err

    assert agrees(at_fault)


def test_errors(folder, tmp_path, capsys):
    cases = {
        (EAGER, "torchvision/x"): "expected at least one file",
        ("model.onnx", "none.onnx"): "does not exist",
        ("model.onnx", "nowhere:build"): "the module 'nowhere' was not found",
        ("model.onnx", "os:getcwd"): "returned a str",
    }
    for (one, two), message in cases.items():
        assert compare(folder, one, two) == 1
        assert message in capsys.readouterr().err
    assert compare(folder, "model.onnx", "model.onnx", "--limit", "0") == 1
    assert "--limit" in capsys.readouterr().err
    model = onnx.load(folder / "model.onnx")
    (entry,) = model.metadata_props
    entry.value = entry.value.replace('"height":192', '"height":224')
    onnx.save(model, tmp_path / "other.onnx")
    assert compare(folder, "model.onnx", str(tmp_path / "other.onnx")) == 1
    assert "differ in their canvas (192x256" in capsys.readouterr().err

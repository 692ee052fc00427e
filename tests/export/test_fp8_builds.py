"""FP8 files are built for GPUs that have float8, and refused elsewhere."""

from __future__ import annotations

import pytest

from maskrt.calibration import Calibration
from maskrt.calibration.calibrator import save
from maskrt.cli import main
from maskrt.examples import shapes
from maskrt.export import BuildOptions, build_model
from maskrt.export.builder import BuildError
from maskrt.heads import read_head


@pytest.fixture(scope="module")
def fp8(canonical, tmp_path_factory):
    path = tmp_path_factory.mktemp("fp8") / "model.fp8.onnx"
    work = Calibration(canonical("mask_rcnn"), "fp8")
    work.read_ranges([shapes.image(0, split="train")[0]], force=True)
    model, _ = work.quantised()
    save(model, path)
    return path


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_refused_for_cpus(fp8, target, tmp_path, capsys):
    path = tmp_path / "model.bundle"
    assert main(["build", str(fp8), "--target", target, "-o", str(path)]) == 1
    assert "has no FP8 on CPUs" in " ".join(capsys.readouterr().err.split())
    assert not path.exists()


def test_older_gpus_are_refused_before_the_build(fp8, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    path, said = tmp_path / "model.bundle", []
    options = BuildOptions(compute_capabilities=("8.6", "8.9"))
    with pytest.raises(BuildError, match=r"found 8\.6, expected of  --sm 89"):
        build_model(fp8, path, "tensorrt-rtx", options=options, progress=said.append)
    assert not any(line.startswith("Building") for line in said)


def test_float32_beside_fp8(fp8, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    path = tmp_path / "model.bundle"
    build_model(fp8, path, "tensorrt-rtx", "fp8+fp32")
    head = read_head(path)
    assert head.precision_label == "fp8+fp32"
    assert head.compute_capabilities[0] == "8.9"

"""``maskrt build`` as a user runs it."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest

from maskrt.cli import main
from maskrt.commands.arguments import compute_capability, memory
from maskrt.examples import shapes
from maskrt.heads import read_head
from maskrt.runtime import Detector


@pytest.fixture
def model(canonical):
    return str(canonical("mask_rcnn"))


def test_a_bundle_for_cpus(model, tmp_path, capsys):
    path = tmp_path / "new folder" / "model.bundle"
    arguments = ["--target", "onnxruntime", "--buckets", "5", "20", "-o", str(path)]
    assert main(["build", model, *arguments]) == 0
    printed = capsys.readouterr().out
    for word in ("ONNX Runtime, fp32, ", "trunk", "box head", "mask head", "next:"):
        assert word in printed.replace("\n", " ")
    assert len(Detector(path)(shapes.image(1)[0])) > 0


def test_the_plugin_graph_alone(model, tmp_path, capsys):
    path = tmp_path / "model.trt.onnx"
    arguments = ["--target", "tensorrt", "--precision", "fp16", "-o", str(path)]
    assert main(["build", model, *arguments]) == 0
    graph = onnx.load(path).graph
    plugins = [node for node in graph.node if node.domain == "maskrt"]
    assert {a.name for a in plugins[0].attribute} >= {"plugin_namespace", "plugin_version"}
    assert "score_threshold" in capsys.readouterr().out  # a note: it is a required input now


def test_a_bundle_for_rtx(model, tmp_path, capsys):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    path = tmp_path / "model.bundle"
    arguments = ["--target", "tensorrt-rtx", "--precision", "fp16", "--sm", "86", "sm_120"]
    assert main(["build", model, *arguments, "-o", str(path)]) == 0
    head = read_head(path)
    assert head.compute_capabilities == ("8.6", "12.0")
    assert head.spec.precision == "fp16"
    assert main(["run", str(path), "--source", "0"]) == 1


def test_pictures_that_the_precision_is_checked_on(model, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "photo.png"), shapes.image(0)[0])
    path = tmp_path / "model.bundle"
    arguments = ["--target", "onnxruntime", "--precision", "fp16", "--check-images", str(folder)]
    assert main(["build", model, *arguments, "-o", str(path)]) == 0
    assert len(Detector(path)(shapes.image(1)[0])) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--target openvino -o OUT/model.engine", "expected .bundle for --target openvino"),
        ("--target tensorrt -o OUT/model.bundle", "expected .engine or .plan or .onnx"),
        ("--target tensorrt --split-heads -o OUT/model.engine", "--split-heads"),
        ("--target openvino --sm 86 -o OUT/model.bundle", "--sm is for --target tensorrt-rtx"),
        ("--target openvino --level 3 -o OUT/model.bundle", "--level is for --target tensorrt"),
        ("--target onnxruntime --precision bf16 -o OUT/model.bundle", "no bfloat16 on CPUs"),
        (
            "--target onnxruntime --precision int8+fp32 -o OUT/m.bundle",
            "calibrate it first:  maskrt",
        ),
        ("--target tensorrt --precision int8+fp16 -o OUT/m.onnx", "calibrate it first:  maskrt"),
        ("--target onnxruntime --buckets 0 -o OUT/model.bundle", "expected numbers from 1 on"),
        ("--target onnxruntime --check-images none -o OUT/m.bundle --precision fp16", "none"),
    ],
)
def test_what_does_not_suit(model, tmp_path, capsys, arguments, message):
    given = arguments.replace("OUT", str(tmp_path)).split()
    assert main(["build", model, *given]) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"", b"not onnx", b"\x08\x0a"])
def test_what_is_no_canonical_file(tmp_path, capsys, content):
    source = tmp_path / "model.onnx"
    if content is not None:
        source.write_bytes(content)
    output = tmp_path / "out.bundle"
    assert main(["build", str(source), "--target", "onnxruntime", "-o", str(output)]) == 1
    assert "maskrt export" in capsys.readouterr().err or content
    assert not output.exists()


def test_an_onnx_file_from_elsewhere(tmp_path, capsys):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [result]))
    onnx.save(model, tmp_path / "other.onnx")
    arguments = ["--target", "onnxruntime", "-o", str(tmp_path / "out.bundle")]
    assert main(["build", str(tmp_path / "other.onnx"), *arguments]) == 1
    assert "was not made by maskrt" in capsys.readouterr().err.replace("\n", " ")


def test_a_plan_is_not_built_twice(model, tmp_path, capsys):
    """The plugin graph is no source: what it was made from is."""
    graph = tmp_path / "model.trt.onnx"
    assert main(["build", model, "--target", "tensorrt", "-o", str(graph)]) == 0
    arguments = ["--target", "onnxruntime", "-o", str(tmp_path / "out.bundle")]
    assert main(["build", str(graph), *arguments]) == 1
    assert "model.onnx" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("text", ["86", "8.6", "sm_86", "SM_86"])
def test_compute_capabilities(text):
    assert compute_capability(text) == "8.6"


def test_memory_sizes():
    assert [memory(t) for t in ("100", "4k", "512M", "2G", "2gb")] == [
        100, 4096, 512 << 20, 2 << 30, 2 << 30,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "8", "x", "1234", "8.6.1"])
def test_no_compute_capability(text):
    with pytest.raises(Exception, match="expected a compute capability"):
        compute_capability(text)


def test_empty_pictures_are_no_ranges(model):
    from maskrt.export.canonical import load_canonical
    from maskrt.export.ranges import largest_values

    values = largest_values(load_canonical(model)[0], [np.zeros((50, 60, 3), np.uint8)])
    assert values
    assert all(np.isfinite(list(values.values())))

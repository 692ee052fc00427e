"""Splitting the heads off a plugin graph."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from maskrt.errors import UnsupportedModelError
from maskrt.export.canonical import load_canonical
from maskrt.export.passes import to_tensorrt
from maskrt.export.plan import bucket_profiles
from maskrt.export.split import split_heads
from tests.export.passes.standins import replace_plugins


def shapes(values):
    return {
        value.name: tuple(
            dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim
        )
        for value in values
    }


MODELS = [
    ("mask_rcnn", 1), ("mask_rcnn", (1, 3)), ("keypoint_rcnn", 1), ("mask_rcnn", 1, "int8"),
]  # fmt: skip


@pytest.fixture(scope="module", params=MODELS, ids=str)
def parts(request, canonical, int8):
    path = (int8 if request.param[2:] else canonical)(*request.param[:2])
    spec = load_canonical(path)[1]
    model, _ = to_tensorrt(onnx.load(path), "fp16")
    return spec, *split_heads(model, spec)


def test_what_passes_between_the_parts(parts):
    spec, first, second = parts
    given, taken = shapes(first.graph.output), shapes(second.graph.input)
    outputs = {output.name for output in spec.outputs[:4]}
    assert set(given) - outputs == set(taken) - {"labels", "num_detections"}
    assert outputs <= set(given)
    batch = "B" if spec.batch.dynamic else 1
    assert taken["boxes_canvas"] == (batch, "D", 4)
    assert taken["labels"] == (batch, "D")
    assert ("scale" in taken) == bool(spec.keypoint)
    assert list(shapes(second.graph.output)) == [output.name for output in spec.outputs[4:]]
    types = {v.name: v.type.tensor_type.elem_type for v in first.graph.output}
    for value in second.graph.input:
        assert value.type.tensor_type.elem_type == types[value.name]


def test_operators_of_the_parts(parts):
    _, first, second = parts
    operators = [
        sorted(node.op_type for node in part.graph.node if node.domain == "maskrt")
        for part in (first, second)
    ]
    before = ["DetectionNMS", "Letterbox", "MultilevelRoIAlign", "Proposals"]
    assert operators[0] == before
    assert operators[1] in (
        ["MaskSelect", "MultilevelRoIAlign"],
        ["KeypointDecode", "MultilevelRoIAlign"],
    )


def test_a_profile_for_each_bucket(parts):
    spec, _, second = parts
    profiles = bucket_profiles(second, spec, (8, 40))
    assert len(profiles) == 2
    low, _, high = profiles[0].shapes["boxes_canvas"]
    assert low == (spec.batch.min, 8, 4)
    assert high == (spec.batch.max, 8, 4)
    assert profiles[1].shapes["labels"][0] == (spec.batch.min, 40)


def test_the_first_part_goes_through_a_parser(parts, tmp_path):
    """The real TensorRT-RTX's, with stand-ins for the plugins; in a process of its own."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    _, first, _ = parts
    path = tmp_path / "first.onnx"
    onnx.save(replace_plugins(first), path)
    command = [sys.executable, str(Path(__file__).parent / "passes" / "parse.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def with_slots(model, spec, slots):
    """The heads for one frame and a fixed number of detections, all shapes and types known."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = {"B": 1, "D": slots}[dim.dim_param]
    kinds = {value.name: value.type.tensor_type for value in graph.input}
    pools = [head.pool for head in (spec.mask, spec.keypoint) if head]
    nodes = [node for node in graph.node if node.op_type == "MultilevelRoIAlign"]
    for node, pool in zip(nodes, pools, strict=True):
        maps = kinds[node.input[2]]
        shape = [slots, maps.shape.dim[1].dim_value, *pool.output_size]
        info = onnx.helper.make_tensor_value_info(node.output[0], maps.elem_type, shape)
        graph.value_info.append(info)
    return onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)


def test_the_heads_go_through_a_parser(parts, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    spec, _, second = parts
    for slots in (8, 40):
        path = tmp_path / f"{slots}.onnx"
        onnx.save(replace_plugins(with_slots(second, spec, slots)), path)
        command = [sys.executable, str(Path(__file__).parent / "passes" / "parse.py"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_no_heads_to_split(canonical):
    model, spec = load_canonical(canonical("mask_rcnn"))
    with pytest.raises(UnsupportedModelError, match="--split-heads"):
        split_heads(model, replace(spec, mask=None))

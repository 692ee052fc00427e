"""The largest activations, and what they say about a precision."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from maskrt.errors import ModelFileError
from maskrt.examples import shapes
from maskrt.export.passes import to_tensorrt
from maskrt.export.ranges import largest_values, overflowing
from tests.export.passes.emulate import emulated

FRAMES = [shapes.image(i, split="val")[0] for i in range(2)]
LOUD = 1e5


@pytest.fixture(scope="module")
def loud(canonical):
    """A residual stage whose activations leave float16's range, and the model is as good.

    The first convolution's outputs are scaled up, the weights that read them down.
    """
    model = canonical("masks")
    nodes = model.graph.node
    first, relu = nodes[1], nodes[2]
    assert (first.op_type, relu.op_type) == ("Conv", "Relu")
    for made in nodes:
        if made is first or relu.output[0] in made.input:
            factor = LOUD if made is first else 1 / LOUD
            names = made.input[1:] if made is first else made.input[1:2]
            for tensor in model.graph.initializer:
                if tensor.name in names:
                    values = numpy_helper.to_array(tensor) * np.float32(factor)
                    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model, {first.output[0], relu.output[0]}


def test_against_the_tensors_themselves(canonical):
    model = canonical("masks")
    values = largest_values(model, FRAMES)
    assert len(values) > 100
    names = [n.output[0] for n in model.graph.node if n.op_type in ("Conv", "MultilevelRoIAlign")]
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(changed.SerializeToString())
    runs = [session.run(names, {"frames": frame[None]}) for frame in FRAMES]
    for name, *tensors in zip(names, *runs, strict=True):
        expected = max(float(np.abs(tensor).max()) for tensor in tensors)
        assert values[name] == pytest.approx(expected, rel=1e-4), name


def test_dynamic_batch_and_frames_of_any_size(canonical):
    frames = (np.zeros(size, np.uint8) for size in ((50, 90, 3), (300, 200, 3)))
    values = largest_values(canonical("masks, batch 1 to 3"), frames)
    assert values["Letterbox:0"] == pytest.approx(2)
    assert largest_values(canonical("masks"), []) == {}


def test_the_guard_keeps_an_overflow_out(loud):
    model, beyond = loud
    values = largest_values(model, FRAMES)
    assert all(values[name] > 65504 for name in beyond)
    guarded = overflowing(values, "fp16")
    assert guarded == beyond
    assert overflowing(values, "bf16") == overflowing(values, "fp32") == frozenset()
    result, notes = to_tensorrt(model, "fp16", guarded)
    assert not [note for note in notes if "no tensor" in note]
    assert len([n for n in result.graph.node if n.op_type == "Cast"]) <= 18

    def detections(float32):
        low = emulated(model, "fp16", float32)
        session = onnxruntime.InferenceSession(low.SerializeToString())
        return [int(session.run(["num_detections"], {"frames": f[None]})[0][0]) for f in FRAMES]

    exact = onnxruntime.InferenceSession(model.SerializeToString())
    expected = [int(exact.run(["num_detections"], {"frames": f[None]})[0][0]) for f in FRAMES]
    assert min(expected) > 0
    assert detections(guarded) == expected
    assert detections(frozenset()) != expected, "without the guard it overflows"


def test_margin():
    values = {"small": 10.0, "near": 40000.0, "far": 1e6, "broken": float("inf")}
    assert overflowing(values, "fp16") == {"near", "far", "broken"}
    assert overflowing(values, "fp16", margin=1) == {"far", "broken"}
    assert overflowing(values, "bf16") == {"broken"}
    with pytest.raises(ValueError, match=r"margin: found 0\.5"):
        overflowing(values, "fp16", margin=0.5)


def test_nan_counts_as_infinite(canonical):
    model = canonical("masks")
    for tensor in model.graph.initializer:
        if tensor.name == model.graph.node[1].input[1]:
            values = numpy_helper.to_array(tensor) * np.float32("nan")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    values = largest_values(model, FRAMES[:1])
    assert values[model.graph.node[1].output[0]] == float("inf")


def test_no_spec():
    with pytest.raises(ModelFileError):
        largest_values(onnx.ModelProto(), [])

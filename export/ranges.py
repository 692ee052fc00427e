"""How large the activations of a model become: what a 16-bit graph has to leave in float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from maskrt.cores import set_threads
from maskrt.errors import MissingDependencyError
from maskrt.export.canonical import read_spec
from maskrt.export.passes.context import GraphPrecision
from maskrt.export.passes.weights import largest_finite
from maskrt.spec import DOMAIN, ModelSpec

KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
POOLERS = ("MultilevelRoIAlign", "RoIAlign")
PREFIX = "maskrt/largest/"  # of the outputs that are added


def largest_values(model: onnx.ModelProto, frames: Iterable[NDArray[np.uint8]]) -> dict[str, float]:
    """The largest |x| of each float tensor of the dense parts, over all frames.

    The model runs in ONNX Runtime, one frame at a time, with a maximum behind each tensor: the
    memory is that of a plain run.

    Args:
        model: canonical, with its function bodies; not changed.
        frames: uint8 [H, W, 3] each, of any size; they should be like those of later runs.

    Returns:
        By the tensor's name; infinity where any value was infinite or NaN. Empty without frames.

    Raises:
        ModelFileError: the model has no spec in its metadata.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError("onnxruntime", "cpu") from None
    spec = read_spec(model, "the model")
    watched = sorted(_dense_tensors(model))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    set_threads(options, None)
    session = onnxruntime.InferenceSession(
        _with_maxima(model, watched).SerializeToString(), options, ["CPUExecutionProvider"]
    )
    found: dict[str, float] = {}
    for batch in _batches(frames, spec):
        maxima = session.run([PREFIX + name for name in watched], {"frames": batch})
        for name, value in zip(watched, maxima, strict=True):
            found[name] = max(found.get(name, 0.0), float(value))
    return found


def overflowing(
    values: dict[str, float], precision: GraphPrecision, margin: float = 2.0
) -> frozenset[str]:
    """The tensors that come within ``margin`` of the end of a precision's range, or beyond it.

    Args:
        values: of ``largest_values``.
        precision: what the graph is to be computed in.
        margin: other frames may give values larger by this factor.

    Raises:
        ValueError: the margin is below 1.
    """
    if not margin >= 1:
        raise ValueError(f"margin: found {margin}, expected a number of at least 1")
    if precision == "fp32":
        return frozenset()
    limit = largest_finite(KINDS[precision]) / margin
    return frozenset(name for name, value in values.items() if not value <= limit)


def _batches(frames: Iterable[NDArray[np.uint8]], spec: ModelSpec) -> Iterator[NDArray[np.uint8]]:
    """Each frame as often as the smallest batch wants it."""
    for frame in frames:
        yield np.repeat(np.ascontiguousarray(frame)[None], spec.batch.min, axis=0)


def _dense_tensors(model: onnx.ModelProto) -> set[str]:
    """Float32 tensors between operators: what standard nodes give, RoI features and the image."""
    graph = model.graph
    floats = {
        value.name
        for value in graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    found: set[str] = set()
    for node in graph.node:
        if node.domain != DOMAIN:
            found.update(node.output)
        elif node.op_type == "Letterbox" or node.op_type in POOLERS:
            found.add(node.output[0])
    return found & floats


def _with_maxima(model: onnx.ModelProto, watched: list[str]) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    infinity = f"{PREFIX}infinity"
    graph.initializer.append(helper.make_tensor(infinity, TensorProto.FLOAT, [], [float("inf")]))
    for name in watched:
        size, nan, clean = (f"{name}/{part}/largest" for part in ("size", "nan", "clean"))
        graph.node.extend(
            [
                helper.make_node("Abs", [name], [size]),
                helper.make_node("IsNaN", [name], [nan]),  # a maximum may overlook it
                helper.make_node("Where", [nan, infinity, size], [clean]),
                helper.make_node("ReduceMax", [clean], [PREFIX + name], keepdims=0),
            ]
        )
        graph.output.append(helper.make_tensor_value_info(PREFIX + name, TensorProto.FLOAT, []))
    return changed

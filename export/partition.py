"""Cuts a canonical graph at its ``maskrt`` nodes into dense stages of standard ops.

Targets without plugins run these with native operators in between. Stages are found by the
operators that they lie between; their inputs and outputs are named after their roles
(``maskrt.manifest.Stage``). The heads take any number of RoIs, so that they can run on just the
detections that there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto

from maskrt.errors import UnsupportedModelError
from maskrt.export.cutting import (
    extract,
    feature_maps,
    forget_shapes,
    free_rows,
    head_pools,
    only,
    operators,
    pool_before,
)
from maskrt.export.passes import quiet
from maskrt.manifest import BATCH, ROWS, Layout, StageDType, StageName, StageTensor
from maskrt.spec import ModelSpec

DTYPES: dict[int, StageDType] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.INT8: "int8",
    TensorProto.INT32: "int32",
    TensorProto.UINT8: "uint8",
}


@dataclass(frozen=True)
class DenseStage:
    """A stage, ready to be built."""

    name: StageName
    model: onnx.ModelProto
    inputs: tuple[StageTensor, ...]
    outputs: tuple[StageTensor, ...]


@dataclass(frozen=True)
class _Cut:
    """Where a stage begins and ends, by role."""

    name: StageName
    inputs: dict[str, gs.Tensor]
    outputs: dict[str, gs.Tensor]


def partition(
    model: onnx.ModelProto, spec: ModelSpec, *, layout: Layout = "linear"
) -> tuple[DenseStage, ...]:
    """The dense stages of a canonical graph without function bodies, in the order of their run.

    Args:
        model: canonical, of any precision; not changed.
        spec: of the model.
        layout: of the feature maps and RoI features that pass between stages and operators.

    Raises:
        UnsupportedModelError: the graph is not one that can be cut, or a head needs a fixed number
            of RoIs.
    """
    stages = []
    with quiet():
        count = len(_find(gs.import_onnx(model), spec))
        for i in range(count):
            # each from a graph of its own: what is renamed in one stays as it is in the others
            graph = gs.import_onnx(model)
            stages.append(_stage(graph, _find(graph, spec)[i], model, spec, layout))
    return tuple(stages)


def _find(graph: gs.Graph, spec: ModelSpec) -> list[_Cut]:
    nodes = operators(graph)
    letterbox, proposals = only(nodes, "Letterbox"), only(nodes, "Proposals")
    detection = only(nodes, "DetectionNMS")
    box_pool = pool_before(detection.inputs[0])
    pools = head_pools(spec, nodes)
    maps = feature_maps(spec.box_pool, box_pool)
    if spec.mask:
        maps.update(feature_maps(spec.mask.pool, pools["mask"]))
    if spec.keypoint:
        maps.update(feature_maps(spec.keypoint.pool, pools["keypoint"]))
    candidates = zip(("objectness", "deltas", "indices"), proposals.inputs, strict=False)
    rows = [_before_reshape(tensor) for tensor in detection.inputs[:2]]
    cuts = [
        _Cut("trunk", {"image": letterbox.outputs[0]}, {**dict(candidates), **maps}),
        _Cut(
            "box_head",
            {"box_features": box_pool.outputs[0]},
            dict(zip(("logits", "box_deltas"), rows, strict=True)),
        ),
    ]
    if spec.mask:
        features, logits = pools["mask"].outputs[0], only(nodes, "MaskSelect").inputs[0]
        cuts.append(_Cut("mask_head", {"mask_features": features}, {"mask_logits": logits}))
    if spec.keypoint:
        features = pools["keypoint"].outputs[0]
        heatmaps = only(nodes, "KeypointDecode").inputs[0]
        cuts.append(_Cut("keypoint_head", {"keypoint_features": features}, {"heatmaps": heatmaps}))
    return cuts


def _before_reshape(tensor: gs.Tensor) -> gs.Tensor:
    """Rows of all frames instead of rows by frame: the same bytes."""
    while tensor.inputs and tensor.inputs[0].op == "Reshape":
        tensor = tensor.inputs[0].inputs[0]
    return tensor


def _stage(
    graph: gs.Graph, cut: _Cut, model: onnx.ModelProto, spec: ModelSpec, layout: Layout
) -> DenseStage:
    head = cut.name != "trunk"
    graph.name, graph.functions = cut.name, []
    extract(graph, cut.inputs, cut.outputs)
    (first,) = graph.inputs
    if first.shape is None or len(first.shape) != 4:
        raise UnsupportedModelError(f"{cut.name}: no shape is known of its input")
    if head and isinstance(first.shape[0], int):
        free_rows(graph, first.shape[0])
    lead: str | int = ROWS if head else (BATCH if spec.batch.dynamic else spec.batch.max)
    first.shape = [lead, *first.shape[1:]]
    forget_shapes(graph)
    if layout == "channels_last":
        _channels_last(graph)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    proto = gs.export_onnx(graph, do_type_check=False)
    proto.ir_version = model.ir_version
    del proto.metadata_props[:]
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    return DenseStage(
        cut.name,
        proto,
        tuple(_contract(value, lead, layout) for value in proto.graph.input),
        tuple(_contract(value, lead, layout) for value in proto.graph.output),
    )


def _channels_last(graph: gs.Graph) -> None:
    """Maps that leave and RoI features that come in have their channels last."""
    for i, tensor in enumerate(list(graph.inputs)):
        if "features" in tensor.name:
            rows, channels, height, width = tensor.shape
            shape = [rows, height, width, channels]
            outer = gs.Variable(tensor.name, tensor.dtype, shape)
            for reader in [n for n in tensor.outputs if n.op == "Transpose"]:
                if reader.attrs["perm"] == [0, 2, 3, 1]:  # it wants what the pooler leaves
                    for node in list(reader.outputs[0].outputs):
                        node.inputs[node.inputs.index(reader.outputs[0])] = outer
                    reader.inputs.clear()
            if tensor.outputs:
                _transpose(graph, outer, tensor, [0, 3, 1, 2], inner=tensor)
            graph.inputs[i] = outer
    for i, tensor in enumerate(list(graph.outputs)):
        if "features" in tensor.name:
            outer = gs.Variable(tensor.name, tensor.dtype)
            _transpose(graph, tensor, outer, [0, 2, 3, 1], inner=tensor)
            graph.outputs[i] = outer


def _transpose(
    graph: gs.Graph, before: gs.Tensor, after: gs.Tensor, perm: list[int], *, inner: gs.Tensor
) -> None:
    inner.name += "/linear"
    inner.shape = None
    node = gs.Node("Transpose", f"{inner.name}/Transpose", {"perm": perm}, [before], [after])
    graph.nodes.append(node)


def _contract(value: onnx.ValueInfoProto, lead: str | int, layout: Layout) -> StageTensor:
    """How a stage's input or output lies in memory; its leading dimension is named in the model."""
    tensor = value.type.tensor_type
    dtype = DTYPES.get(tensor.elem_type)
    if dtype is None:
        name = TensorProto.DataType.Name(tensor.elem_type)
        raise UnsupportedModelError(
            f"'{value.name}' is of the type {name}, which no operator takes"
        )
    sides = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if not sides or None in sides[1:] or (sides[0] is not None and sides[0] != lead):
        shown = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]
        raise UnsupportedModelError(
            f"'{value.name}' has the shape {shown}, expected [{lead}, ...] with known sides"
        )
    first = tensor.shape.dim[0]
    first.Clear()
    if isinstance(lead, int):
        first.dim_value = lead
    else:
        first.dim_param = lead
    held = layout if "features" in value.name else "linear"
    return StageTensor(value.name, dtype, (str(lead), *map(str, sides[1:])), held)

"""Splits a TensorRT plugin graph in two: up to the detections, and the heads that follow.

So the mask and keypoint heads run on the detections that there are, in a plan with an optimisation
profile for each bucket, where the single plan runs them on all slots.
"""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

from maskrt.errors import UnsupportedModelError
from maskrt.export.cutting import (
    extract,
    feature_maps,
    forget_shapes,
    free_rows,
    head_pools,
    only,
    operators,
)
from maskrt.export.passes import quiet
from maskrt.manifest import SLOTS
from maskrt.spec import DOMAIN, ModelSpec


def split_heads(model: onnx.ModelProto, spec: ModelSpec) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The part up to the detections, and the heads.

    The first has the model's inputs and gives ``num_detections``, ``boxes``, ``scores``,
    ``labels``, and for the second ``boxes_canvas`` [B, D, 4] and the maps ``features/0`` and so on;
    ``scale`` [B, 2] too where there are keypoints. The second takes these with any D (and
    ``labels`` [B, D], ``num_detections`` [B]) and gives ``masks`` and ``keypoints``.

    Args:
        model: of TensorRT plugin nodes (``export.passes``); not changed.
        spec: of the model.

    Raises:
        UnsupportedModelError: the model has no mask or keypoint head, or one that needs a fixed
            number of detections.
    """
    if not (spec.mask or spec.keypoint):
        raise UnsupportedModelError(
            "the model has neither masks nor keypoints, so there are no heads to split off: build "
            "it without --split-heads"
        )
    with quiet():
        return _detections(model, spec), _heads(model, spec)


def _ends(graph: gs.Graph, spec: ModelSpec) -> dict[str, gs.Tensor]:
    """What passes from the first part to the second."""
    nodes = operators(graph)
    detection = only(nodes, "DetectionNMS")
    pools = head_pools(spec, nodes)
    maps: dict[str, gs.Tensor] = {}
    for role, head in (("mask", spec.mask), ("keypoint", spec.keypoint)):
        if head:
            maps.update(feature_maps(head.pool, pools[role]))
    boxes, _, labels, count = detection.outputs
    ends = {"boxes_canvas": boxes, "labels": labels, "num_detections": count}
    if spec.keypoint:
        ends["scale"] = only(nodes, "Letterbox").outputs[1]
    return {**ends, **maps}


def _detections(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    graph = gs.import_onnx(model)
    inputs = {tensor.name: tensor for tensor in graph.inputs}
    own = {t.name: t for t in graph.outputs if t.name not in ("masks", "keypoints")}
    across = ("Letterbox", "Proposals", "MultilevelRoIAlign", "DetectionNMS")
    graph.name = "detections"
    extract(graph, inputs, {**own, **_ends(graph, spec)}, across=across)
    return _exported(graph, model)


def _heads(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    graph = gs.import_onnx(model)
    ends = _ends(graph, spec)
    outputs = {t.name: t for t in graph.outputs if t.name in ("masks", "keypoints")}
    graph.name = "heads"
    rows = spec.batch.max * spec.detection.max_detections
    for name, tensor in ends.items():
        if tensor.shape is None:
            raise UnsupportedModelError(f"{graph.name}: no shape is known of '{name}'")
    extract(graph, ends, outputs, across=("MultilevelRoIAlign", "MaskSelect", "KeypointDecode"))
    if not spec.batch.dynamic:
        free_rows(graph, rows)
    batch: str | int = "B" if spec.batch.dynamic else spec.batch.max
    for name in ("boxes_canvas", "labels"):
        ends[name].shape = [batch, SLOTS, *ends[name].shape[2:]]
    forget_shapes(graph)
    for tensor in graph.outputs:
        sides = next(o.shape for o in spec.outputs if o.name == tensor.name)[2:]
        tensor.shape = [batch, SLOTS, *map(int, sides)]
    return _exported(graph, model)


def _exported(graph: gs.Graph, model: onnx.ModelProto) -> onnx.ModelProto:
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    proto = gs.export_onnx(graph, do_type_check=False)
    proto.ir_version = model.ir_version
    del proto.metadata_props[:]
    if all(entry.domain != DOMAIN for entry in proto.opset_import):
        proto.opset_import.add(domain=DOMAIN, version=1)
    onnx.checker.check_model(proto)
    return proto

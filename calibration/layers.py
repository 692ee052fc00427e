"""The layers of a model that have weights, and which of them keep a higher precision.

Found by structure: by the ``maskrt`` operators that they lie between. What stays in higher
precision by default is what NVIDIA's and NNCF's recipes for these models leave out: the stem, the
predictors of the RPN and of the heads.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import onnx

from maskrt.calibration.view import GraphView, attribute
from maskrt.errors import MaskrtError
from maskrt.spec import DOMAIN, ModelSpec

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
STAGES = ("trunk", "box head", "mask head", "keypoint head")
MAPS = "feature maps"
"""Name of what is no layer, but is kept in the same way: the maps that the poolers read."""


@dataclass(frozen=True)
class Layer:
    """Nodes of a stage that share weights: an RPN's convolution reads each map of the pyramid."""

    name: str
    """The weights' name without its ending, as in the trained model; with the stage where several
    stages share them, as the heads of a C4 model do."""
    stage: str
    """One of ``STAGES``."""
    nodes: tuple[onnx.NodeProto, ...]
    weight: str
    """The initializer; empty: the weights are computed, so the layer is never INT8."""
    macs: int
    """Multiplications for one frame, with all RoIs and all detections."""
    kept: str = ""
    """Why it stays in higher precision; empty: it becomes INT8."""


def find_layers(view: GraphView, spec: ModelSpec) -> list[Layer]:
    """All layers with weights, in the graph's order; ``kept`` by default rules only.

    Raises:
        UnsupportedModelError: the graph is not canonical.
    """
    stages = _stages(view, spec)
    reasons = _reasons(view, spec)
    groups: dict[tuple[str, str], list[onnx.NodeProto]] = {}
    for node in view.nodes:
        if node.op_type in LINEAR and node.domain != DOMAIN and id(node) in stages:
            weight = node.input[1]
            key = weight if weight in view.constants else node.output[0]
            groups.setdefault((stages[id(node)], key), []).append(node)
    layers = []
    stages_of = Counter(key for _, key in groups)
    for (stage, key), nodes in groups.items():
        weight = key if key in view.constants else ""
        suffix = f" ({stage})" if stages_of[key] > 1 else ""
        reason = next((reasons[id(node)] for node in nodes if id(node) in reasons), "")
        layers.append(
            Layer(
                name=_name(weight) + suffix if weight else nodes[0].name,
                stage=stage,
                nodes=tuple(nodes),
                weight=weight,
                macs=sum(_macs(view, node, stage, spec) for node in nodes),
                kept=reason or ("" if weight else "its weights are computed"),
            )
        )
    return layers


def keep(layers: Sequence[Layer], patterns: Iterable[str], reason: str) -> list[Layer]:
    """The layers, with those kept whose name (or weights, or stage) a pattern matches.

    Args:
        layers: of ``find_layers``.
        patterns: as in a shell: ``*`` and ``?``; ``MAPS`` stands for no layer, and is passed over.
        reason: for the report.

    Raises:
        MaskrtError: a pattern matches nothing.
    """
    changed = list(layers)
    for pattern in patterns:
        hits = [
            i
            for i, layer in enumerate(changed)
            if any(fnmatchcase(name, pattern) for name in _names(layer))
        ]
        if not hits and not fnmatchcase(MAPS, pattern):
            shown = ", ".join(layer.name for layer in layers[:3])
            raise MaskrtError(
                f"no layer is called {pattern!r}: names are those of the weights, such as {shown}; "
                "* stands for any text; or a stage: " + ", ".join(_present(layers))
            )
        for i in hits:
            changed[i] = replace(changed[i], kept=changed[i].kept or reason)
    return changed


def _name(weight: str) -> str:
    return weight.removesuffix(".weight")


def _names(layer: Layer) -> tuple[str, ...]:
    """What a pattern may match."""
    return layer.name, layer.stage, _name(layer.weight)


def _present(layers: Sequence[Layer]) -> list[str]:
    return [stage for stage in STAGES if any(layer.stage == stage for layer in layers)]


def _ends(view: GraphView, spec: ModelSpec) -> dict[str, list[str]]:
    """The tensors that each stage gives."""
    proposals, detection = view.only("Proposals"), view.only("DetectionNMS")
    pools = view.operators("MultilevelRoIAlign")
    maps = [name for pool in pools for name in pool.input[2:]]
    ends = {"trunk": [*proposals.input[:2], *maps], "box head": list(detection.input[:2])}
    if spec.mask:
        ends["mask head"] = [view.only("MaskSelect").input[0]]
    if spec.keypoint:
        ends["keypoint head"] = [view.only("KeypointDecode").input[0]]
    return ends


def _stages(view: GraphView, spec: ModelSpec) -> dict[int, str]:
    """By the node's id; what belongs to none has no entry."""
    return {
        id(node): stage
        for stage, tensors in _ends(view, spec).items()
        for node in view.back(tensors)
    }


def _reasons(view: GraphView, spec: ModelSpec) -> dict[int, str]:
    """Why nodes stay in higher precision, by their ids."""
    reasons: dict[int, str] = {}
    ends = _ends(view, spec)
    proposals = view.only("Proposals")
    for tensors in (proposals.input[:1], proposals.input[1:2], *map(list, _pairs(ends))):
        for node in _last_linear(view, tensors):
            reasons[id(node)] = "predictor"
    for node in view.nodes:
        if node.op_type == "ConvTranspose" and node.domain != DOMAIN:
            reasons[id(node)] = "predictor"  # of masks and keypoints: it upsamples their logits
    (image, *_) = view.only("Letterbox").output
    for node in _first_linear(view, image):
        reasons[id(node)] = "stem"
    return reasons


def _pairs(ends: dict[str, list[str]]) -> list[list[str]]:
    """Each output of a head by itself."""
    return [[name] for stage, names in ends.items() if stage != "trunk" for name in names]


def _last_linear(view: GraphView, starts: Iterable[str]) -> list[onnx.NodeProto]:
    """The last layers before tensors, on each path to them."""
    found, pending, seen = [], list(starts), set()
    while pending:
        node = view.producers.get(pending.pop())
        if node is None or id(node) in seen or node.domain == DOMAIN:
            continue
        seen.add(id(node))
        if node.op_type in LINEAR:
            found.append(node)
        else:
            pending += [name for name in node.input if name]
    return found


def _first_linear(view: GraphView, start: str) -> list[onnx.NodeProto]:
    """The first layers behind a tensor, on each path from it."""
    found, pending, seen = [], [start], set()
    while pending:
        for use in view.readers.get(pending.pop(), []):
            if id(use.node) in seen or use.node.domain == DOMAIN:
                continue
            seen.add(id(use.node))
            if use.node.op_type in LINEAR:
                found.append(use.node)
            else:
                pending += use.node.output
    return found


def _macs(view: GraphView, node: onnx.NodeProto, stage: str, spec: ModelSpec) -> int:
    """For one frame; 0 where shapes are not known."""
    weight, output = view.shape(node.input[1]), view.shape(node.output[0])
    if weight is None or output is None:
        return 0
    rows = {"trunk": 1, "box head": spec.rpn.num_rois}.get(stage, spec.detection.max_detections)
    sides = [side for side in (*weight, *output[1:]) if not isinstance(side, int)]
    if sides:
        return 0
    numbers = [int(side) for side in weight]
    outputs = math.prod(int(side) for side in output[1:])
    if node.op_type == "Conv":
        return rows * outputs * math.prod(numbers[1:])
    if node.op_type == "ConvTranspose":
        channels = view.shape(node.input[0])
        inputs = [side for side in (channels or [])[1:] if isinstance(side, int)]
        return rows * math.prod(inputs) * math.prod(numbers[1:])
    inner = numbers[1] if attribute(node, "transB", 0) else numbers[-2]
    return rows * outputs * inner

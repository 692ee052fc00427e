"""What passes between the parts of a canonical ONNX file while it runs in ONNX Runtime.

The tensors at the ``maskrt`` nodes become outputs of the graph. They are found by these nodes, not
by names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from maskrt.cores import set_threads
from maskrt.errors import MissingDependencyError, ModelFileError
from maskrt.heads import read_spec
from maskrt.spec import DOMAIN, ModelSpec
from maskrt.tap_sources import live_only

Arrays = dict[str, NDArray[Any]]
PREFIX = "maskrt.tap:"  # of the outputs that are added


class OnnxTaps:
    """A canonical file that tells what passes between its parts.

    Args:
        path: the file, of any precision.
        threads: for one operator; None: all cores.

    Raises:
        ModelFileError: it is missing, broken, or not canonical.
        MissingDependencyError: without ONNX Runtime.
    """

    spec: ModelSpec

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        try:
            import onnxruntime  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            if error.name != "onnxruntime":
                raise
            raise MissingDependencyError("onnxruntime", "cpu") from None
        self.spec = read_spec(path)
        try:
            model = onnx.load(os.fspath(path))
            names = add_taps(model, self.spec)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            set_threads(options, threads)
            if self.spec.precision == "fp8":  # as in maskrt.runtime.session
                basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
                options.graph_optimization_level = basic
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from None
        except Exception as error:  # of protobuf and ONNX Runtime, which share no base
            raise ModelFileError(
                f"{path} cannot be loaded by ONNX Runtime; it is damaged, incomplete, or no "
                f"canonical file: copy or export it again ({error})"
            ) from error
        outputs = [output.name for output in self.spec.outputs]
        self._names = {**names, **{name: name for name in outputs}}

    def run(
        self, frames: NDArray[np.uint8], score_threshold: float, nms_threshold: float
    ) -> Arrays:
        """Taps (``maskrt.comparison``) and outputs.

        Args:
            frames: uint8 [B, H, W, 3], in the order ``spec.canvas.frame_order``.
            score_threshold: scores must be above it.
            nms_threshold: an IoU above it suppresses, class by class.
        """
        feeds = {
            "frames": frames,
            "score_threshold": np.array(score_threshold, np.float32),
            "nms_threshold": np.array(nms_threshold, np.float32),
        }
        found = self._session.run(list(self._names.values()), feeds)
        return live_only(dict(zip(self._names, found, strict=True)))


def add_taps(model: onnx.ModelProto, spec: ModelSpec) -> dict[str, str]:
    """Makes outputs of what passes between the parts; changes the model.

    Returns:
        The outputs' names by tap.

    Raises:
        ModelFileError: the graph is not canonical.
    """
    tensors = find_taps(model.graph, spec)
    names = {}
    for tap, tensor in tensors.items():
        name = PREFIX + tap
        # float32 whatever the graph's precision: NumPy knows no bfloat16
        to = TensorProto.INT32 if tap in ("indices", "roi_count") else TensorProto.FLOAT
        model.graph.node.append(helper.make_node("Cast", [tensor], [name], to=to))
        model.graph.output.append(helper.make_tensor_value_info(name, to, None))
        names[tap] = name
    return names


def find_taps(graph: onnx.GraphProto, spec: ModelSpec) -> dict[str, str]:
    """Names of tensors by tap, found by the ``maskrt`` nodes.

    Raises:
        ModelFileError: the graph is not canonical.
    """
    nodes: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.domain == DOMAIN:
            nodes.setdefault(node.op_type, []).append(node)

    def only(op: str) -> onnx.NodeProto:
        found = nodes.get(op, [])
        if len(found) != 1:
            raise ModelFileError(
                f"the graph has {len(found)} nodes {op} of the domain '{DOMAIN}', expected one: "
                "give it a file as  maskrt export  writes it"
            )
        return found[0]

    proposals, detection = only("Proposals"), only("DetectionNMS")
    taps = {"image": only("Letterbox").output[0]}
    taps.update(zip(("objectness", "deltas", "indices"), proposals.input, strict=False))
    taps["rois"], taps["roi_count"] = proposals.output[:2]
    taps["logits"], taps["box_deltas"] = detection.input[:2]
    taps["boxes_canvas"] = detection.output[0]
    heads = [("box_features", spec.box_pool, detection.input[0])]
    if spec.mask:
        taps["mask_logits"] = only("MaskSelect").input[0]
        heads.append(("mask_features", spec.mask.pool, taps["mask_logits"]))
    if spec.keypoint:
        taps["heatmaps"] = only("KeypointDecode").input[0]
        heads.append(("keypoint_features", spec.keypoint.pool, taps["heatmaps"]))
    producers = {output: node for node in graph.node for output in node.output}
    for name, pool, tensor in heads:
        node = next(_poolers_before(tensor, producers), None)
        if node is None:
            raise ModelFileError(f"no pooler lies before '{tensor}': export the model again")
        taps[name] = node.output[0]
        for position, feature in zip(pool.features, node.input[2:], strict=False):
            taps[f"features/{position}"] = feature
    return taps


def _poolers_before(tensor: str, producers: dict[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    pending, seen = [tensor], set()
    while pending:
        node = producers.get(pending.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.domain == DOMAIN and node.op_type == "MultilevelRoIAlign":
            yield node
        else:
            pending += node.input

"""Writes explicit Q/DQ into a canonical model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from maskrt.calibration.layers import Layer
from maskrt.calibration.recipe import Point
from maskrt.calibration.scales import Steps, quantise_weights, scale_of
from maskrt.calibration.view import attribute


def quantise(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    points: Sequence[Point],
    largest: Mapping[str, float],
    steps: Steps,
) -> onnx.ModelProto:
    """The model with its layers' weights and the points' activations quantised.

    Args:
        model: canonical, float32; not changed.
        layers: of the model; those that are ``kept`` stay as they are.
        points: of the model (``recipe.place``).
        largest: |x| that is to be representable, by the points' tensors; a group of points gets the
            largest one.
        steps: of the format.

    Returns:
        A canonical model with QuantizeLinear and DequantizeLinear: symmetric, activations per
        tensor, weights per output channel as DequantizeLinear of stored integers. Biases stay
        float32.

    Raises:
        UnsupportedModelError: weights are not finite.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    writer = _Writer(result, steps)
    places = {id(node): i for i, node in enumerate(model.graph.node)}
    for layer in layers:
        if not layer.kept:
            weight = writer.weights(layer)
            for node in layer.nodes:
                result.graph.node[places[id(node)]].input[1] = weight
    by_group: dict[int, float] = {}
    for point in points:
        by_group[point.group] = max(by_group.get(point.group, 0.0), largest[point.tensor])
    for point in points:
        given = writer.pair(point.tensor, by_group[point.group])
        for use in point.uses:
            result.graph.node[places[id(use.node)]].input[use.position] = given
    writer.finish()
    return result


class _Writer:
    """Collects nodes and constants."""

    def __init__(self, model: onnx.ModelProto, steps: Steps) -> None:
        self.graph = model.graph
        self.steps = steps
        self.weights_nodes: list[onnx.NodeProto] = []
        self.stored: dict[str, str] = {}
        self.behind: dict[str, list[onnx.NodeProto]] = {}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for imports in (model.opset_import, *(body.opset_import for body in model.functions)):
            for entry in imports:
                if entry.domain == "":  # bodies must not lag behind the graph that calls them
                    entry.version = max(entry.version, steps.opset)

    def weights(self, layer: Layer) -> str:
        """Stores a layer's weights, once for all that share them; returns what its nodes read."""
        node, name = layer.nodes[0], layer.weight
        if name in self.stored:
            return self.stored[name]
        axis = output_axis(node)
        values = numpy_helper.to_array(self.constants[name])
        numbers, scales = quantise_weights(name, values, axis, self.steps)
        stored = self._constant(f"{name}/quantised", numbers)
        scale = self._constant(f"{name}/scale", scales)
        zero = self._constant(f"{name}/zero_point", np.zeros(len(scales), self.steps.dtype))
        given = f"{name}/dequantised"
        self.weights_nodes.append(
            onnx.helper.make_node(
                "DequantizeLinear", [stored, scale, zero], [given], name=given, axis=axis
            )
        )
        self.stored[name] = given
        return given

    def pair(self, tensor: str, largest: float) -> str:
        """A pair behind a tensor; returns what it gives."""
        scale = self._constant(f"{tensor}/scale", scale_of(largest, self.steps))
        zero = self._constant(f"{tensor}/zero_point", np.zeros((), self.steps.dtype))
        low, given = f"{tensor}/quantised", f"{tensor}/dequantised"
        self.behind[tensor] = [
            onnx.helper.make_node("QuantizeLinear", [tensor, scale, zero], [low], name=low),
            onnx.helper.make_node("DequantizeLinear", [low, scale, zero], [given], name=given),
        ]
        return given

    def finish(self) -> None:
        """Puts everything into the graph, in an order in which it can be run."""
        nodes = list(self.weights_nodes)
        for name in [value.name for value in self.graph.input]:
            nodes += self.behind.pop(name, [])
        for node in self.graph.node:
            nodes.append(node)
            for name in node.output:
                nodes += self.behind.pop(name, [])
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        read = {name for node in nodes for name in node.input}
        inputs = {value.name for value in self.graph.input}
        kept = [t for t in self.graph.initializer if t.name in read or t.name in inputs]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _constant(self, name: str, values: np.ndarray) -> str:
        tensor = numpy_helper.from_array(np.asarray(values), name)
        self.graph.initializer.append(tensor)
        return name


def output_axis(node: onnx.NodeProto) -> int:
    """Of a layer's weights: where its output channels are."""
    if node.op_type in ("Gemm", "MatMul"):
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if node.op_type == "ConvTranspose" else 0

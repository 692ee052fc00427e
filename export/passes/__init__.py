"""Passes over a canonical graph, on its way to an engine.

A pass does one thing to an ``onnx_graphsurgeon`` graph and returns notes for the user's report.
The lists below are all the orders in which they are run:

* ``TENSORRT``: canonical → a graph of TensorRT plugin nodes, one engine;
* ``STAGES``: what comes before the graph is cut into dense stages, for targets without plugins;
* ``STAGES_RTX``: the same for TensorRT-RTX, where RoI features pass between stages channels last,
  and which has TensorRT's limits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER

from maskrt.export.canonical import read_spec
from maskrt.export.passes.byte_masks import byte_masks
from maskrt.export.passes.context import Context, GraphPrecision, Pass
from maskrt.export.passes.drop_functions import drop_functions
from maskrt.export.passes.fold_constants import fold_constants
from maskrt.export.passes.int8_pools import int8_pools
from maskrt.export.passes.permute_fc import permute_fc
from maskrt.export.passes.plugin_nodes import plugin_nodes
from maskrt.export.passes.precision import precision as lower_precision
from maskrt.export.passes.split_topk import split_topk
from maskrt.export.passes.swap_roi_align import swap_roi_align
from maskrt.export.passes.tidy import tidy

__all__ = [
    "STAGES",
    "STAGES_RTX",
    "TENSORRT",
    "Context",
    "GraphPrecision",
    "Pass",
    "apply",
    "quiet",
    "to_tensorrt",
]

TENSORRT: tuple[Pass, ...] = (
    drop_functions,  # first: the parser must not prefer a body to a plugin
    fold_constants,
    swap_roi_align,  # before precision, which gives our RoIAlign low-precision maps
    permute_fc,  # before precision, which converts the reordered weights
    int8_pools,  # behind permute_fc, which knows RoI features by their Q/DQ
    lower_precision,
    split_topk,  # after precision, which leaves what a TopK reads in float32
    plugin_nodes,  # after precision: Letterbox takes over the Cast of its image
    byte_masks,
    tidy,
)
DEFAULTS = 4  # IR version from which an initializer is an input only if it can be overridden
STAGES: tuple[Pass, ...] = (drop_functions, fold_constants, lower_precision, tidy)
STAGES_RTX: tuple[Pass, ...] = (
    drop_functions,
    fold_constants,
    permute_fc,
    lower_precision,
    split_topk,
    tidy,
)


def apply(
    model: onnx.ModelProto, passes: Sequence[Pass], context: Context
) -> tuple[onnx.ModelProto, list[str]]:
    """The model after all passes, checked, and their notes.

    Args:
        model: not changed.
        passes: in the order in which they are run.
        context: what the passes know besides the graph.

    Raises:
        UnsupportedModelError: see the passes.
    """
    own = _typed(model)
    notes: list[str] = []
    with quiet():
        graph = gs.import_onnx(own)
        _restore_inputs(graph, own)
        for run in passes:
            notes += run(graph, context)
        result = gs.export_onnx(graph)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    result.doc_string, result.model_version = model.doc_string, model.model_version
    if graph.doc_string:
        result.graph.doc_string = graph.doc_string
    onnx.checker.check_model(result)
    return result, notes


def to_tensorrt(
    model: onnx.ModelProto,
    precision: GraphPrecision = "fp32",
    float32: frozenset[str] = frozenset(),
) -> tuple[onnx.ModelProto, list[str]]:
    """A canonical model as a graph of standard ops and TensorRT plugin nodes.

    Args:
        model: canonical; not changed.
        precision: of the dense parts; coordinates, decode and NMS are float32.
        float32: names of tensors that stay float32 (``maskrt.export.ranges``).

    Returns:
        The model, in which every node's inputs have equal types, as strongly typed networks want;
        and notes about it.

    Raises:
        ModelFileError: the model has no spec in its metadata.
        UnsupportedModelError: the graph cannot be expressed so.
    """
    spec = read_spec(model, "the model")
    return apply(model, TENSORRT, Context(spec, precision, float32))


def _typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model that notes the type of each tensor, as far as they can be inferred."""
    known = {value.name for value in [*model.graph.value_info, *model.graph.output]}
    made = {name for node in model.graph.node for name in node.output if name}
    if made <= known:
        own = onnx.ModelProto()
        own.CopyFrom(model)
        return own
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _restore_inputs(graph: gs.Graph, model: onnx.ModelProto) -> None:
    """Inputs with a default, which graphsurgeon takes for constants alone."""
    if model.ir_version < DEFAULTS:
        return
    known = {**graph.tensors(), **{tensor.name: tensor for tensor in graph.inputs}}
    graph.inputs = [known[value.name] for value in model.graph.input if value.name in known]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """graphsurgeon without its remarks, such as those on types that NumPy lacks."""
    severity = G_LOGGER.severity
    G_LOGGER.severity = G_LOGGER.CRITICAL
    try:
        yield
    finally:
        G_LOGGER.severity = severity

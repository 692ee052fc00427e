"""Nodes that need a plugin, and the registry that has to have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from maskrt.export.builder.errors import BuildError
from maskrt.export.builder.explain import readable
from maskrt.export.builder.library import EngineLibrary
from maskrt.export.builder.logger import BuildLog
from maskrt.export.builder.options import BuildOptions
from maskrt.export.builder.stages import StageFinder
from maskrt.plugins.library import PATH_VARIABLE
from maskrt.spec import DOMAIN

if TYPE_CHECKING:
    import tensorrt as trt

_NAMESPACE, _VERSION = "maskrt", "1"  # of our creators


def foreign_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes of no standard operator that have no function body in the file, in subgraphs too."""
    bodies = {(function.domain, function.name) for function in model.functions}
    nodes = list(_all_nodes(model.graph.node))
    for function in model.functions:
        nodes += _all_nodes(function.node)
    return [
        node
        for node in nodes
        if (node.domain, node.op_type) not in bodies
        and (node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type))
    ]


def _all_nodes(nodes: Any) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)


def prepare(
    lib: Any,
    library: EngineLibrary,
    model: onnx.ModelProto,
    options: BuildOptions,
    stage_of: StageFinder,
    log: BuildLog,
) -> None:
    """Loads the plugins that a graph needs; refuses the graph if they cannot be had.

    Must come before parsing: TensorRT-RTX's parser ends the process when it meets a node that
    names a plugin of the registry.

    Raises:
        BuildError: naming the node.
    """
    nodes = foreign_nodes(model)
    registry = lib.get_plugin_registry()
    if library == "tensorrt-rtx":
        registered = {creator.name for creator in registry.all_creators}
        for node in nodes:
            if node.domain == DOMAIN or node.op_type in registered:
                raise BuildError(
                    f"TensorRT-RTX runs no plugins, found the node '{node.name}' ({node.op_type}): "
                    "build a bundle of the canonical file: its dense stages are engines, its "
                    "operators native",
                    node=node.name,
                    stage=stage_of(node.name),
                )
        return
    own = [node for node in nodes if node.domain == DOMAIN]
    if own and options.plugin_library:
        load_plugins(registry, options.plugin_library, log)
    for node in own:
        _check_creator(registry, node, options, stage_of)


def load_plugins(registry: trt.IPluginRegistry, path: Path, log: BuildLog) -> None:
    """Loads the library, once in a process: a registry refuses creators that it has already.

    Raises:
        BuildError: it is not there, or the registry does not take it.
    """
    if any(creator.plugin_namespace == _NAMESPACE for creator in registry.all_creators):
        return
    if not path.is_file():
        raise BuildError(f"the plugin library {path} is not there: {_ADVICE}")
    if registry.load_library(str(path)) is None:
        reason = readable(log.errors) or "it does not say why"
        raise BuildError(f"TensorRT does not take the plugin library {path} ({reason}): {_ADVICE}")


_ADVICE = (
    "run  make plugins  in the source checkout, or install maskrt where nvcc is; or set "
    f"{PATH_VARIABLE} to the folder that holds the library"
)


def _check_creator(
    registry: trt.IPluginRegistry,
    node: onnx.NodeProto,
    options: BuildOptions,
    stage_of: StageFinder,
) -> None:
    # the parser's own way to name a creator
    given = {a.name: a.s.decode() for a in node.attribute if a.name.startswith("plugin_")}
    version, namespace = given.get("plugin_version", _VERSION), given.get("plugin_namespace", "")
    if registry.get_creator(node.op_type, version, namespace) is not None:
        return
    loaded = options.plugin_library or "none was loaded"
    raise BuildError(
        f"no plugin '{node.op_type}' (version '{version}', namespace '{namespace}') is registered, "
        f"which the node '{node.name}' needs; the plugin library: {loaded}: {_ADVICE}",
        node=node.name,
        stage=stage_of(node.name),
    )

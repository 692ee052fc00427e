"""Loads the plugin library into one TensorRT registry, in a process of its own.

    python registry_probe.py MODULE LIBRARY < attempts.json > found.json

MODULE is the Python module of a TensorRT. An attempt is [creator, fields], and a field [name, type,
values]; for each the outcome and the reasons that were logged are told. A process of its own, as a
crash in a registry must not take the tests along, and libraries stay loaded to its end.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import numpy as np

DTYPES = {
    "FLOAT32": np.float32,
    "FLOAT64": np.float64,
    "INT32": np.int32,
    "INT64": np.int64,
    "CHAR": np.int8,
}
Field = tuple[str, str, Any]


class Messages:
    """What the library logs: to a logger of TensorRT's, or else to stderr."""

    def __init__(self, trt: Any) -> None:
        logged: list[str] = []

        class Logger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity == trt.ILogger.ERROR:
                    logged.append(message)

        self.logged = logged
        self.logger = Logger()
        # a builder makes its logger the registry's; TensorRT's lean runtime has none
        self.builder = trt.Builder(self.logger) if hasattr(trt, "Builder") else None
        self.stderr = os.fdopen(os.memfd_create("stderr"), "w+b")
        sys.stderr.flush()
        self.old_stderr = os.dup(2)
        os.dup2(self.stderr.fileno(), 2)

    def take(self) -> dict[str, list[str]]:
        """Those since the last call."""
        self.stderr.seek(0)
        printed = self.stderr.read().decode().splitlines()
        self.stderr.seek(0)
        self.stderr.truncate()
        logged, self.logged[:] = list(self.logged), []
        return {"logged": logged, "printed": printed}

    def close(self) -> None:
        """Back to the process's own stderr."""
        os.dup2(self.old_stderr, 2)


def collection(trt: Any, fields: list[Field]) -> tuple[Any, list[Any]]:
    """Fields as TensorRT takes them, and what must stay alive as long."""
    arrays = [
        np.array(list(values.encode()) if kind == "CHAR" else values, DTYPES[kind])
        for _, kind, values in fields
    ]
    converted = [
        trt.PluginField(name, array, getattr(trt.PluginFieldType, kind))
        for (name, kind, _), array in zip(fields, arrays, strict=True)
    ]
    return trt.PluginFieldCollection(converted), [arrays, converted]


def attempt(trt: Any, messages: Messages, creator: Any, fields: list[Field]) -> dict[str, Any]:
    """Whether a plugin comes out, for a network and for a plan."""
    outcome: dict[str, Any] = {}
    given, alive = collection(trt, fields)
    for phase in ("BUILD", "RUNTIME"):
        messages.take()
        plugin = creator.create_plugin("layer", given, getattr(trt.TensorRTPhase, phase))
        outcome[phase] = messages.take() | {"made": plugin is not None}
        if plugin is not None:
            capability = trt.PluginCapabilityType
            core = plugin.get_capability_interface(capability.CORE)
            others = [capability.BUILD, capability.RUNTIME]
            outcome[phase]["name"] = [
                core.plugin_name,
                core.plugin_version,
                core.plugin_namespace,
            ]
            outcome[phase]["interfaces"] = [
                plugin.get_capability_interface(kind) is not None for kind in others
            ]
    del alive
    return outcome


def main() -> None:
    """Prints what was found."""
    trt = importlib.import_module(sys.argv[1])
    messages = Messages(trt)
    registry = trt.get_plugin_registry()
    before = {(c.name, c.plugin_namespace) for c in registry.all_creators}
    handle = registry.load_library(sys.argv[2])
    creators = [c for c in registry.all_creators if (c.name, c.plugin_namespace) not in before]
    found: dict[str, Any] = {
        "version": trt.__version__,
        "loaded": handle is not None,
        "creators": {
            c.name: {
                "version": c.plugin_version,
                "namespace": c.plugin_namespace,
                "fields": [[f.name, f.type.name, f.size] for f in c.field_names],
            }
            for c in creators
        },
        "attempts": [],
    }
    for name, fields in json.load(sys.stdin):
        creator = registry.get_creator(name, "1", "maskrt")
        found["attempts"].append(attempt(trt, messages, creator, fields) if creator else None)
    messages.close()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

"""Reading canonical ONNX files back."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from maskrt.errors import ModelFileError, SpecError
from maskrt.spec import DOMAIN, METADATA_KEY, ModelSpec


def load_canonical(path: str | os.PathLike[str]) -> tuple[onnx.ModelProto, ModelSpec]:
    """A canonical model and its spec.

    Raises:
        ModelFileError: the file is missing, no ONNX file, or not from ``maskrt export``.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise ModelFileError(f"{file} {what}: give it a model.onnx, written by  maskrt export")
    try:
        model = onnx.load(str(file))
    except Exception as error:  # protobuf's errors depend on its implementation
        raise ModelFileError(
            f"{file} is no ONNX file, or a damaged one: copy or export it again ({error})"
        ) from None
    spec = read_spec(model, str(file))
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    bodies = {body.name for body in model.functions if body.domain == DOMAIN}
    if not used or used - bodies:
        what = "is a graph of TensorRT plugins" if used else "was rewritten by another tool"
        raise ModelFileError(f"{file} {what}: build from the model.onnx that  maskrt export  wrote")
    return model, spec


def read_spec(model: onnx.ModelProto, name: str) -> ModelSpec:
    """The spec in a model's metadata; ``name`` is what a message calls the model.

    Raises:
        ModelFileError: there is none, or it cannot be read.
    """
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                return ModelSpec.from_json(entry.value)
            except SpecError as error:
                raise ModelFileError(f"{name}: {error}") from None
    raise ModelFileError(
        f"{name} has no '{METADATA_KEY}' in its metadata, so it was not made by maskrt: export the "
        "model with  maskrt export"
    )

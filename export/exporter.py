"""The public entry of export: a module object in, a canonical ONNX file out."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import onnx
import onnxscript
import torch
from torch import nn

import maskrt
from maskrt.errors import UnsupportedModelError
from maskrt.export.adapters import detectron2 as detectron2_adapter
from maskrt.export.adapters import torchvision as torchvision_adapter
from maskrt.export.detectron2.model import Detectron2RCNN
from maskrt.export.graph import RCNN
from maskrt.export.trace import trace
from maskrt.files import replacing
from maskrt.spec import BatchSpec, ChannelOrder, Convention, ModelSpec, Provenance


def export(
    model: nn.Module,
    path: str | os.PathLike[str],
    canvas: tuple[int, int],
    *,
    batch: int | tuple[int, int] = 1,
    labels: Sequence[str] | None = None,
    keypoint_names: Sequence[str] | None = None,
    skeleton: Sequence[tuple[int, int]] | None = None,
    resize: str = "model",
    frame_order: ChannelOrder = "bgr",
    name: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> ModelSpec:
    """Writes a trained detection model of torchvision or detectron2 as a canonical ONNX file.

    The file takes uint8 frames of any size and gives padded detections in frame pixels; its spec
    travels in the file's metadata. The model itself is not changed. A file already at ``path``
    is replaced only by a complete, checked one.

    Args:
        model: FasterRCNN, MaskRCNN, KeypointRCNN of torchvision, or a subclass; any device, mode
            and float dtype. Or what ``load_model`` makes of detectron2's configuration and weights.
        path: of the ONNX file.
        canvas: (height, width) of the network's input, multiples of the model's stride (32; 16 for
            detectron2's C4 and DC5).
            Frames are resized to fit in, keeping their aspect ratio, and padded.
        batch: frames per run, fixed; or (min, max) for a dynamic batch.
        labels: class names by label id; torchvision's background, id 0, may be left out. Default:
            COCO's for torchvision's 91 and detectron2's 80 classes.
        keypoint_names: default: COCO's for 17 keypoints.
        skeleton: pairs of keypoint positions to be joined in drawings.
        resize: "model": frames are never enlarged beyond the transform's min_size and max_size, so
            that results equal eager ones; "fit": as large as the canvas allows.
        frame_order: channel order of the frames ("bgr", as OpenCV gives, or "rgb").
        name: noted in the spec; default: the class's name.
        progress: called with a line before each step.

    Returns:
        The spec, as written.

    Raises:
        UnsupportedModelError: the model has a part that the canonical graph cannot express, or
            weights that are not finite; the message names it.
        SpecError: canvas or batch do not suit the model.
        MaskrtError: the file cannot be written.
    """
    say = progress or (lambda line: None)
    say("Reading the model")
    model = copy.deepcopy(model).cpu().float().eval()
    check_finite(model)
    smallest, largest = (batch, batch) if isinstance(batch, int) else batch
    digest = sha256(model)  # before an adapter folds normalisations
    choices: Any = {
        "batch": BatchSpec(smallest, largest, largest),
        "labels": labels,
        "keypoint_names": keypoint_names,
        "skeleton": skeleton,
        "resize": resize,
        "frame_order": frame_order,
    }
    framework: Convention = "torchvision"
    versions = torchvision_adapter.tool_versions()
    if isinstance(model, Detectron2RCNN):
        framework, versions = "detectron2", detectron2_adapter.tool_versions()
        parts, spec = detectron2_adapter.adapt(model, canvas, **choices)
    else:
        parts, spec = torchvision_adapter.adapt(model, canvas, **choices)
    tools = {
        "maskrt": maskrt.__version__,
        "onnx": onnx.__version__,
        "onnxscript": onnxscript.__version__,
        **versions,
    }
    provenance = Provenance(framework, name or type(model).__name__, digest, tools)
    spec = replace(spec, provenance=provenance)
    say("Tracing the graph")
    traced = trace(RCNN(parts, spec).eval())
    with replacing(path) as temporary:
        say("Writing the file")
        onnx.save(traced, str(temporary))
        say("Checking the file")
        onnx.checker.check_model(str(temporary), full_check=True)
    return spec


def check_finite(model: nn.Module) -> None:
    """Refuses weights that hold NaN or infinity.

    Raises:
        UnsupportedModelError: naming the first such parameter or buffer.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UnsupportedModelError(
                f"the weights hold NaN or infinity, first in '{name}': train again, or load an "
                "earlier checkpoint"
            )


def sha256(model: nn.Module) -> str:
    """Of names and values of all parameters and buffers, in the state dict's order."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()

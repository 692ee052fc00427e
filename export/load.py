"""Building a model from what a user names on the command line."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from maskrt.errors import MaskrtError, ModelFileError
from maskrt.export.detectron2.model import Detectron2RCNN, own_weights
from maskrt.export.detectron2.weights import read_pickle

PREFIX = "torchvision/"
DETECTRON2 = "detectron2/"
CONFIGS = (".yaml", ".yml")
BUILDERS = tuple(
    name for name in torchvision.models.list_models(torchvision.models.detection) if "rcnn" in name
)


def load_model(reference: str, weights: str | os.PathLike[str] = "none") -> nn.Module:
    """Builds a model and loads its weights.

    Args:
        reference: ``torchvision/NAME`` for torchvision's own builders; a YAML file of detectron2's,
            or ``detectron2/NAME`` for a model of its zoo; or ``package.module:function``, where the
            function takes no argument and returns the module. The current folder is importable.
        weights: a file with a state_dict (fp16 ones are upcast; checkpoints that hold it under
            "model" or "state_dict" are understood, and detectron2's ``.pkl``), "none", or "DEFAULT"
            for torchvision's own.

    Raises:
        ModelFileError: the weights file is missing, broken or of another model.
        UnsupportedModelError: a configuration of detectron2 has a key that maskrt cannot express.
        MaskrtError: the reference cannot be resolved.
    """
    choice = os.fspath(weights)
    if reference.startswith(DETECTRON2) or reference.lower().endswith(CONFIGS):
        return _build_detectron2(reference, choice)
    state = _read_state(Path(choice)) if choice not in ("none", "DEFAULT") else None
    if reference.startswith(PREFIX):
        model = _build_torchvision(reference[len(PREFIX) :], choice == "DEFAULT", state)
    elif choice == "DEFAULT":
        raise MaskrtError("--weights DEFAULT is for torchvision/NAME: name a file, or none")
    else:
        model = _build_custom(reference)
    if state is not None:
        _load_state(model, state, choice)
    return model.eval()


def _build_torchvision(
    name: str, pretrained: bool, state: Mapping[str, Tensor] | None
) -> nn.Module:
    if name not in BUILDERS:
        raise MaskrtError(
            f"found no R-CNN named {name!r} in torchvision; expected one of: {', '.join(BUILDERS)}"
        )
    arguments: dict[str, Any] = {"weights_backbone": None}
    if state is not None:
        # a model trained on other classes says so in the shapes of its last layers
        with contextlib.suppress(KeyError):
            arguments["num_classes"] = len(state["roi_heads.box_predictor.cls_score.bias"])
        with contextlib.suppress(KeyError):
            points = state["roi_heads.keypoint_predictor.kps_score_lowres.bias"]
            arguments["num_keypoints"] = len(points)
    try:
        return torchvision.models.get_model(
            name, weights="DEFAULT" if pretrained else None, **arguments
        )
    except OSError as error:  # urllib's errors are OSErrors
        raise MaskrtError(
            f"torchvision could not download the weights of {name} ({error}): download them "
            "elsewhere and name the file with --weights"
        ) from error


def _build_detectron2(reference: str, weights: str) -> nn.Module:
    if weights == "DEFAULT":
        raise MaskrtError(
            "--weights DEFAULT is for torchvision/NAME: download the .pkl of detectron2's model "
            "zoo, or take the .pth that its trainer wrote, and name the file"
        )
    named = reference.startswith(DETECTRON2) and not Path(reference).is_file()
    model = Detectron2RCNN(reference[len(DETECTRON2) :] if named else reference)
    if weights != "none":
        _load_state(model, own_weights(_read_state(Path(weights))), weights)
    return model


def _build_custom(reference: str) -> nn.Module:
    module_name, colon, function_name = reference.partition(":")
    if not (module_name and colon and function_name):
        raise MaskrtError(
            f"found the model {reference!r}, expected {PREFIX}NAME, {DETECTRON2}NAME, a .yaml of "
            "detectron2's or package.module:function"
        )
    with _current_folder_importable():
        build = _find(module_name, function_name)
        model = build()
    if not isinstance(model, nn.Module):
        raise MaskrtError(f"{reference} returned a {type(model).__name__}, expected a torch module")
    return model


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _find(module_name: str, function_name: str) -> Callable[[], Any]:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise MaskrtError(
            f"the module {error.name!r} was not found (wanted for {module_name}:{function_name}): "
            "run from the folder that holds it, or install its package"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        public = sorted(n for n, v in vars(module).items() if callable(v) and n[0] != "_")
        raise MaskrtError(
            f"{module_name} has no function {function_name!r}; it has: {', '.join(public) or '-'}"
        )
    found: Callable[[], Any] = function
    return found


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ModelFileError(f"the weights file {path} does not exist")
    if path.suffix.lower() == ".pkl":
        return read_pickle(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} holds more than tensors, or is no torch file: save the weights alone, with "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelFileError(
            f"{path} cannot be read as a torch file (truncated?): {type(error).__name__}"
        ) from error
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelFileError(f"{path} holds a {type(content).__name__}, expected a state_dict")
    # DataParallel and DistributedDataParallel put "module." before every name
    return {key.removeprefix("module."): value for key, value in content.items()}


def _load_state(model: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    own = model.state_dict()
    problems = [f"'{k}' is missing" for k in own if k not in state]
    problems += [f"'{k}' is unknown to the model" for k in state if k not in own]
    problems += [
        f"'{k}' has the shape {tuple(state[k].shape)}, the model's is {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if problems:
        shown = "; ".join(problems[:3])
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ModelFileError(f"{path} does not fit the model: {shown}{more}")
    model.load_state_dict(state)

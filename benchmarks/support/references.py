"""What a row's exported file is held against: eager torchvision, or detectron2's semantics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.support.rows import CANVAS, Row, build_torchvision
from maskrt.export import export, load_model
from tests.detectron2_reference import Reference, preprocess, random_weights, save_zoo_pkl
from tests.detectron2_reference.configs import write_dump
from tests.eager import detect, on_canvas, picture, spread
from tests.parity import disturbed

Arrays = dict[str, NDArray[Any]]
FRAMES = [(240, 330), (256, 320), (480, 640)]


@dataclass(frozen=True)
class Prepared:
    """A row's canonical file and what finds the same without it."""

    path: Path
    find: Callable[[NDArray[np.uint8]], Arrays]
    """Frame → ``boxes``, ``scores``, ``labels``, and ``masks`` (crops) or ``keypoints``."""
    disturbed: Callable[[int], Callable[[NDArray[np.uint8]], Arrays]]
    """The same with weights that are a little disturbed, see ``tests/parity.py``."""


def prepare(row: Row, folder: Path) -> Prepared:
    """Exports a row's model with its random weights, or the trained ones."""
    return _detectron2(row, folder) if row.source == "detectron2" else _torchvision(row, folder)


def pictures() -> list[NDArray[np.uint8]]:
    """Frames of several sizes."""
    return [picture(size, seed) for seed, size in enumerate(FRAMES)]


@torch.no_grad()
def settle(backbone: nn.Module) -> None:
    """Statistics of batch normalisations from pictures; initial ones let deep maps fade to zero.

    The bias keeps most activations in their straight part: a deep random network that folds its
    maps again and again makes much of the last bit, as no trained one does.
    """
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.bias.fill_(1.0)
        norm.train()
    images = np.stack([picture(CANVAS, seed) for seed in range(80, 88)])
    backbone(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 64 - 2)
    backbone.eval()


def _torchvision(row: Row, folder: Path) -> Prepared:
    model = build_torchvision(row)
    canvas = CANVAS
    if row.source == "trained":
        canvas = (192, 256)
    else:
        settle(model.backbone)
        model = spread(model, canvas)
    path = folder / "model.onnx"
    export(model, path, canvas)
    eager = on_canvas(model, canvas)

    def find(frame: NDArray[np.uint8], model: nn.Module = eager) -> Arrays:
        (found,) = detect(model, [frame])
        if "crops" in found:
            found["masks"] = found.pop("crops")
        if "keypoints" in found:
            scores = found.pop("keypoints_scores")
            found["keypoints"] = np.concatenate([found["keypoints"][..., :2], scores[..., None]], 2)
        return found

    return Prepared(path, find, lambda k: partial(find, model=disturbed(eager, k)))


def _detectron2(row: Row, folder: Path) -> Prepared:
    state = random_weights(row.config, 0, CANVAS)
    save_zoo_pkl(state, folder / "model.pkl")
    write_dump(row.config, folder / "config.yaml")
    path = folder / "model.onnx"
    export(load_model(str(folder / "config.yaml"), folder / "model.pkl"), path, CANVAS)
    reference = Reference(row.config).eval()
    reference.load_state_dict(state)

    def find(frame: NDArray[np.uint8], model: Any = reference) -> Arrays:
        image, (rows, columns) = preprocess(frame, row.config)
        padded = torch.zeros(3, *CANVAS)
        padded[:, :rows, :columns] = image
        found = model.detect(padded, (rows, columns), frame.shape[:2])
        return {name: value.numpy() for name, value in found.items() if value is not None}

    return Prepared(path, find, lambda k: partial(find, model=disturbed(reference, k)))

"""The bundled trained models as files, made once: see ``artefacts``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.artefacts import artefact

CANVAS = (192, 256)
Batch = int | tuple[int, int]


def canonical(builder: str, batch: Batch = 1) -> Path:
    """The canonical file of ``mask_rcnn`` or ``keypoint_rcnn`` on ``CANVAS``."""

    def make(path: Path) -> None:
        from maskrt.examples import shapes
        from maskrt.export import export, load_model

        weights = shapes.WEIGHTS / f"{builder}.pth"
        export(load_model(f"maskrt.examples.shapes:{builder}", weights), path, CANVAS, batch=batch)

    return artefact(f"{_name(builder, batch)}.onnx", make)


def quantised(builder: str, batch: Batch = 1) -> Path:
    """The same in INT8, calibrated by the default recipe on eight training pictures."""

    def make(path: Path) -> None:
        write_quantised(canonical(builder, batch), path)

    return artefact(f"{_name(builder, batch)}.int8.onnx", make)


def bundle(builder: str, target: str, batch: Batch = 1) -> Path:
    """A float32 bundle of the canonical file, for one of the engines for CPUs."""

    def make(path: Path) -> None:
        from maskrt.export import build_model

        build_model(canonical(builder, batch), path, target)

    return artefact(f"{_name(builder, batch)}.{target}.bundle", make)


def _name(builder: str, batch: Batch) -> str:
    return builder if batch == 1 else f"{builder}.batch{batch}".replace(" ", "")


def write_quantised(
    source: Path, output: Path, frames: Sequence[NDArray[np.uint8]] = (), **choices: object
) -> Path:
    """Calibrates with the default recipe, on a few pictures, suitable or not.

    Args:
        source: a float32 canonical file.
        output: the INT8 file.
        frames: default: eight training pictures of the tiny models.
        choices: of ``Calibration.quantised``.
    """
    from maskrt.calibration import Calibration
    from maskrt.calibration.calibrator import save
    from maskrt.examples import shapes

    work = Calibration(source)
    work.read_ranges(
        list(frames) or [shapes.image(i, split="train")[0] for i in range(8)], force=True
    )
    model, _ = work.quantised(**choices)
    save(model, output)
    return output

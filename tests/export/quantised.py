"""INT8 files of canonical files, for tests of what is built from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskrt.calibration import Calibration
from maskrt.calibration.calibrator import save
from maskrt.examples import shapes


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
    work = Calibration(source)
    work.read_ranges(
        list(frames) or [shapes.image(i, split="train")[0] for i in range(8)], force=True
    )
    model, _ = work.quantised(**choices)
    save(model, output)
    return output

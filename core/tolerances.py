"""How far two runs of a model may differ, stage by stage.

Differences of dense stages (maps, RoI features, logits) are in units of the reference's root mean
square, boxes and keypoints in pixels, scores and masks are probabilities. Where the numbers come
from: fp16 rounds to 2^-11, bf16 to 2^-8, int8 to about 2^-7 of a tensor's range; over some fifty
layers roundings add up to a few of them on average, and to ten times that at the worst of millions
of elements (the bundled models in bf16: 0.005 on average, 0.05 at worst). Each limit is about five
times what was seen or is expected. fp32 leaves room for another order of summation only: with
TensorFloat-32, which GPUs use for fp32 unless told otherwise, take the numbers of fp16.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from maskrt.errors import MaskrtError
from maskrt.spec import Precision

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""From the strictest to the loosest tolerances."""
DENSE = (
    "features", "objectness", "deltas", "box_features", "logits", "box_deltas",
    "mask_features", "mask_logits", "keypoint_features", "heatmaps",
)  # fmt: skip
"""Stages whose differences are relative; ``features`` stands for ``features/0`` and so on."""


@dataclass(frozen=True)
class Limit:
    """A stage is out of tolerance when one of these is exceeded."""

    largest: float
    """Difference of a row: an element of a map, a RoI, a detection."""
    mean: float
    """Difference, of all elements."""
    share: float
    """Of rows that are beyond ``largest`` or have no partner."""

    def __post_init__(self) -> None:
        for name in ("largest", "mean", "share"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
                raise MaskrtError(f"tolerance {name}: found {value!r}, expected a number from 0 up")


_TABLE: dict[str, dict[Precision, tuple[float, float, float]]] = {
    # the resize of the letterbox is fp32 everywhere: only what leaves it is rounded
    "image": {
        "fp32": (1e-3, 5e-5, 0.0),
        "fp16": (1e-2, 1e-3, 0.0),
        "bf16": (5e-2, 5e-3, 0.0),
        "int8": (1e-1, 2e-2, 0.0),
    },
    "dense": {
        "fp32": (1e-3, 1e-4, 0.0),
        "fp16": (0.05, 5e-3, 1e-3),
        "bf16": (0.3, 0.03, 0.01),
        "int8": (1.0, 0.15, 0.02),
    },
    # candidates and RoIs at the end of a list, or near a threshold, change with the last bit
    "indices": {
        "fp32": (0.0, 1.0, 0.01),
        "fp16": (0.0, 1.0, 0.05),
        "bf16": (0.0, 1.0, 0.1),
        "int8": (0.0, 1.0, 0.3),
    },
    "rois": {
        "fp32": (0.05, 0.01, 0.02),
        "fp16": (1.0, 0.1, 0.05),
        "bf16": (4.0, 0.4, 0.15),
        "int8": (8.0, 1.5, 0.35),
    },
    "num_detections": {
        "fp32": (0.0, 0.05, 0.05),
        "fp16": (2.0, 0.5, 0.05),
        "bf16": (5.0, 2.0, 0.1),
        "int8": (5.0, 2.0, 0.1),
    },
    "boxes": {
        "fp32": (0.05, 0.01, 0.0),
        "fp16": (1.0, 0.1, 0.01),
        "bf16": (4.0, 0.5, 0.05),
        "int8": (8.0, 2.0, 0.1),
    },
    "scores": {
        "fp32": (1e-4, 2e-5, 0.0),
        "fp16": (0.01, 2e-3, 0.01),
        "bf16": (0.06, 0.01, 0.05),
        "int8": (0.15, 0.04, 0.1),
    },
    "labels": {
        "fp32": (0.0, 1.0, 0.005),
        "fp16": (0.0, 1.0, 0.02),
        "bf16": (0.0, 1.0, 0.05),
        "int8": (0.0, 1.0, 0.15),
    },
    "masks": {
        "fp32": (1e-3, 1e-4, 0.0),
        "fp16": (0.05, 5e-3, 5e-3),
        "bf16": (0.2, 0.02, 0.01),
        "int8": (0.4, 0.06, 0.04),
    },
    # of two peaks that are equally high, either may win: such a point jumps
    "keypoints": {
        "fp32": (0.1, 1.0, 0.01),
        "fp16": (4.0, 2.0, 0.05),
        "bf16": (8.0, 4.0, 0.15),
        "int8": (8.0, 4.0, 0.15),
    },
}
_LIKE: dict[Precision, Precision] = {"fp8": "int8"}
"""E4M3 rounds to 2^-4 of each value, int8 to 2^-7 of the largest: on average much the same."""
_FAMILIES = {**dict.fromkeys(DENSE, "dense"), "boxes_canvas": "boxes"}


def family(stage: str) -> str:
    """``features/2`` as ``features``; other stages as they are."""
    return stage.partition("/")[0]


class Tolerances:
    """Limits for every stage.

    Args:
        precision: whose defaults to take.
        changed: limits in place of the defaults, by stage; ``features`` stands for all maps.

    Raises:
        MaskrtError: there is no such stage.
    """

    def __init__(self, precision: Precision = "fp32", changed: Mapping[str, Limit] | None = None):
        self.precision = precision
        self._changed = dict(changed or {})
        known = {*_TABLE, *DENSE, "boxes_canvas"} - {"dense"}
        unknown = sorted(name for name in self._changed if family(name) not in known)
        if unknown:
            raise MaskrtError(
                f"tolerance of {unknown[0]!r}: there is no such stage; expected one of "
                f"{', '.join(sorted(known))}"
            )

    def of(self, stage: str) -> Limit:
        """The limit of a stage."""
        for name in (stage, family(stage)):
            if name in self._changed:
                return self._changed[name]
        row = _TABLE[_FAMILIES.get(family(stage), family(stage))]
        return Limit(*row[_LIKE.get(self.precision, self.precision)])

    def with_largest(self, stage: str, largest: float) -> Tolerances:
        """A copy in which a stage may differ so much; its mean follows in proportion."""
        limit = self.of(stage)
        mean = limit.mean * (largest / limit.largest) if limit.largest else limit.mean
        changed = {**self._changed, stage: Limit(largest, mean, limit.share)}
        return Tolerances(self.precision, changed)


def looser(one: Precision, two: Precision) -> Precision:
    """The one with the looser tolerances."""
    return max(one, two, key=PRECISIONS.index)


def read_tolerances(path: str | os.PathLike[str], precision: Precision) -> Tolerances:
    """From a JSON file: ``{"boxes": {"largest": 0.5, "mean": 0.1, "share": 0.02}, ...}``.

    What a stage's object leaves out, and stages that are not named, keep their defaults.

    Raises:
        MaskrtError: the file cannot be read, or holds something else.
    """
    file = Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MaskrtError(f"{file} cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise MaskrtError(f"{file}: found {type(content).__name__}, expected an object by stage")
    defaults = Tolerances(precision)
    changed = {}
    for stage, numbers in content.items():
        Tolerances(precision, {stage: Limit(0, 0, 0)})  # refuses unknown stages
        if not isinstance(numbers, dict) or set(numbers) - {"largest", "mean", "share"}:
            raise MaskrtError(
                f"{file}: {stage}: found {numbers!r}, expected an object of largest, mean, share"
            )
        default = defaults.of(stage)
        changed[stage] = Limit(
            numbers.get("largest", default.largest),
            numbers.get("mean", default.mean),
            numbers.get("share", default.share),
        )
    return Tolerances(precision, changed)

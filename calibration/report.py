"""What calibration did to a model: layer by layer, with the share of the arithmetic."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskrt.calibration.layers import STAGES, Layer
from maskrt.calibration.scales import Format
from maskrt.files import replacing


@dataclass(frozen=True)
class Share:
    """Of a stage, or of the whole model."""

    name: str
    layers: int
    """With weights."""
    quantised: int
    """Of these."""
    macs: int
    """Multiplications for one frame, with all RoIs and detections."""
    quantised_macs: int

    @property
    def part(self) -> float:
        """Of the multiplications, from 0 to 1."""
        return self.quantised_macs / self.macs if self.macs else 0.0


@dataclass
class CalibrationReport:
    """How a model was calibrated."""

    format: Format
    method: str
    images: int
    layers: tuple[Layer, ...]
    points: int
    """Tensors with Q/DQ."""
    warnings: list[str] = field(default_factory=list)
    search: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the sensitivity search; empty without one."""

    @property
    def total(self) -> Share:
        """Of the whole model."""
        return _share("all", self.layers)

    def shares(self) -> Iterator[Share]:
        """Of each stage that the model has."""
        for stage in STAGES:
            found = [layer for layer in self.layers if layer.stage == stage]
            if found:
                yield _share(stage, found)

    def kept(self) -> dict[str, list[str]]:
        """Names of layers in higher precision, by the reason."""
        found: dict[str, list[str]] = {}
        for layer in self.layers:
            if layer.kept:
                found.setdefault(layer.kept, []).append(layer.name)
        return found

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": self.format,
            "method": self.method,
            "images": self.images,
            "quantised_tensors": self.points,
            "share_of_macs": round(self.total.part, 6),
            "warnings": self.warnings,
            "layers": [
                {
                    "name": layer.name,
                    "stage": layer.stage,
                    "macs": layer.macs,
                    "precision": "higher" if layer.kept else self.format,
                    "why": layer.kept,
                }
                for layer in self.layers
            ],
            "search": self.search,
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """As a JSON file.

        Raises:
            MaskrtError: it cannot be written.
        """
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.to_plain(), indent=2) + "\n", encoding="utf-8")


def _share(name: str, layers: Sequence[Layer]) -> Share:
    low = [layer for layer in layers if not layer.kept]
    return Share(
        name,
        len(layers),
        len(low),
        sum(layer.macs for layer in layers),
        sum(layer.macs for layer in low),
    )

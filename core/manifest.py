"""What a bundle says of its parts: the dense stages, and how they fit the operators between them.

A bundle is a zip archive. Its first entry, ``manifest.json``, holds the head (``maskrt.artefact``)
and this manifest, not compressed, so that both are read without the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from maskrt.artefact import ArtefactHead
from maskrt.codec import from_plain, to_plain
from maskrt.errors import SpecError

ENTRY = "manifest.json"
BUCKETS = (8, 16, 32, 64, 100)
"""Detections for which the mask and keypoint heads run, by default: the smallest that holds all."""

StageName = Literal["trunk", "box_head", "mask_head", "keypoint_head", "detections", "heads"]
StageDType = Literal["float32", "float16", "bfloat16", "int8", "int32", "uint8"]
Layout = Literal["linear", "channels_last"]
BATCH, ROWS, SLOTS = "B", "N", "D"
"""Dimensions that are known at run time: frames, RoIs of all frames, detections of a frame."""
SYMBOLS = (BATCH, ROWS, SLOTS, "H", "W")


@dataclass(frozen=True)
class StageTensor:
    """An input or output of a stage. Its name is its role: see ``Stage``."""

    name: str
    dtype: StageDType
    shape: tuple[str, ...]
    """Numbers as decimal strings, or ``SYMBOLS``; in the order of the bytes in memory."""
    layout: Layout = "linear"
    """Of maps and RoI features: ``channels_last`` is [B, H, W, C]."""

    def __post_init__(self) -> None:
        for side in self.shape:
            # of a few digits: int() refuses thousands of them
            number = side.isdecimal() and len(side) < 10 and int(side) > 0
            if side not in SYMBOLS and not number:
                raise SpecError(
                    f"shape of {self.name}: found {side!r}, expected a number or one of "
                    + ", ".join(SYMBOLS)
                )

    def sides(self, batch: int, rows: int = 0) -> tuple[int, ...]:
        """The shape for so many frames and RoIs."""
        known = {BATCH: batch, ROWS: rows}
        return tuple(known[side] if side in known else int(side) for side in self.shape)


@dataclass(frozen=True)
class Stage:
    """A dense part of the model, or with TensorRT's plugins a larger one.

    ``trunk``: ``image`` → ``objectness``, ``deltas``, ``indices`` and the maps that the poolers
    read, ``features/0`` and so on. ``box_head``: ``box_features`` → ``logits``, ``box_deltas``.
    ``mask_head``: ``mask_features`` → ``mask_logits``. ``keypoint_head``: ``keypoint_features`` →
    ``heatmaps``. With plugins: ``detections``, from frames to detections and feature maps, and
    ``heads``, from these to masks and keypoints (``maskrt.export.split``).
    """

    name: StageName
    inputs: tuple[StageTensor, ...]
    outputs: tuple[StageTensor, ...]
    files: tuple[str, ...]
    """Entries of the archive, in the order in which the target's library wants them."""


@dataclass(frozen=True)
class Manifest:
    """A bundle's parts."""

    stages: tuple[Stage, ...]
    buckets: tuple[int, ...]
    """Ascending; the last is the model's number of detections."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        whole = {"trunk", "box_head"} <= set(names) or set(names) == {"detections", "heads"}
        if len(set(names)) != len(names) or not whole:
            raise SpecError(f"stages: found {names}, expected trunk, box_head and further heads")
        if not self.buckets or list(self.buckets) != sorted({b for b in self.buckets if b > 0}):
            raise SpecError(f"buckets: found {self.buckets}, expected ascending positive numbers")

    def stage(self, name: StageName) -> Stage:
        """The stage of that name.

        Raises:
            SpecError: there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise SpecError(f"stages: there is no {name}, which the spec asks for")


def to_json(head: ArtefactHead, manifest: Manifest) -> str:
    """The text of ``manifest.json``."""
    plain = {"head": head.to_plain(), "manifest": to_plain(manifest)}
    return json.dumps(plain, indent=1) + "\n"


def from_json(text: str | bytes) -> tuple[ArtefactHead, Manifest]:
    """Reads ``manifest.json``.

    Raises:
        SpecError: naming what does not fit.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{ENTRY}: no readable JSON ({error})") from None
    if not isinstance(plain, dict):
        raise SpecError(f"{ENTRY}: found {type(plain).__name__}, expected an object")
    head = ArtefactHead.from_plain(plain.get("head"))
    return head, from_plain(Manifest, plain.get("manifest"), "manifest")


def buckets_for(detections: int, wanted: tuple[int, ...] = BUCKETS) -> tuple[int, ...]:
    """The wanted buckets below the model's number of detections, and that number."""
    return (*sorted({b for b in wanted if 0 < b < detections}), detections)

"""How long frames take, stage by stage: noted, summed up, compared.

What times a frame is not decided here: ``Recorder`` takes milliseconds by stage from whatever
clock, so stages that a device times are noted as those that the host times.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from maskrt.errors import MaskrtError
from maskrt.files import replacing

FORMAT = 1
"""Of the JSON; another number: fields have changed their meaning."""
FRAME = "frame"
"""What the row of whole frames is called beside those of the stages."""


@dataclass(frozen=True)
class StageStats:
    """Milliseconds over the measured frames; percentiles are interpolated linearly."""

    p50: float
    p95: float
    p99: float
    max: float
    mean: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> StageStats:
        """Of at least one frame."""
        values = np.asarray(milliseconds, np.float64)
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        # a ten-thousandth of a millisecond is below what any clock here tells apart
        return cls(*(round(float(v), 4) for v in (p50, p95, p99, values.max(), values.mean())))


@dataclass(frozen=True)
class Summary:
    """What was measured, of what, and where."""

    stages: dict[str, StageStats]
    """In the order in which a frame passes them."""
    frame: StageStats
    """Of whole frames."""
    frame_ms: tuple[float, ...]
    """Each measured frame."""
    warmup_ms: tuple[float, ...]
    """Each frame before them: buffers are made, caches filled, clocks raised."""
    detections: float
    """In a frame, the median."""
    model: dict[str, Any] = field(default_factory=dict)
    """The file: ``name``, ``sha256``, ``target``, ``precision``."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What was asked for: ``source``, ``frame_size``, ``threads`` and so on."""
    machine: dict[str, Any] = field(default_factory=dict)
    """Of ``machine_facts``."""
    conditions: dict[str, Any] = field(default_factory=dict)
    """What changes from run to run: of ``conditions``, ``before`` and ``after``."""
    layers: list[tuple[str, str, float]] = field(default_factory=list)
    """Stage, layer and milliseconds in a frame, where TensorRT has timed them."""

    @property
    def first_ms(self) -> float:
        """The very first frame."""
        return (*self.warmup_ms, *self.frame_ms)[0]

    @property
    def fps(self) -> float:
        """Frames per second, one after the other."""
        return 1e3 / self.frame.mean if self.frame.mean else 0.0

    def to_plain(self) -> dict[str, Any]:
        """As what ``json.dump`` takes."""
        return {
            "format": FORMAT,
            "frames": len(self.frame_ms),
            "fps": round(self.fps, 3),
            "first_ms": self.first_ms,
            **asdict(self),
        }

    @classmethod
    def from_plain(cls, plain: Any) -> Summary:
        """The other way; keys that it does not know are left out.

        Raises:
            MaskrtError: it is no such object.
        """
        if not isinstance(plain, dict) or "format" not in plain or "stages" not in plain:
            raise MaskrtError("found no profile, expected what  maskrt profile --json  writes")
        if plain["format"] != FORMAT:
            raise MaskrtError(
                f"found format {plain['format']!r}, expected {FORMAT}: the profile was written by "
                "another version of maskrt; measure it again"
            )
        stages = _dict(plain, "stages")
        frame_ms = _series(plain, "frame_ms")
        if not frame_ms:
            raise MaskrtError("frame_ms: found no frames, expected at least one: measure again")
        return cls(
            stages={str(name): _stats(stages, name) for name in stages},
            frame=_stats(plain, "frame"),
            frame_ms=frame_ms,
            warmup_ms=_series(plain, "warmup_ms"),
            detections=_number(plain, "detections"),
            model=_dict(plain, "model"),
            settings=_dict(plain, "settings"),
            machine=_dict(plain, "machine"),
            conditions=_dict(plain, "conditions"),
        )


class Recorder:
    """Notes frames, and sums them up.

    Args:
        warmup: frames at the beginning that are kept apart.

    Attributes:
        measured: frames that were noted after them.
    """

    def __init__(self, warmup: int = 0) -> None:
        self._warmup = warmup
        self._warmup_ms: list[float] = []
        self._frame_ms: list[float] = []
        self._laps: list[dict[str, float]] = []
        self._detections: list[int] = []
        self._order: list[str] = []

    @property
    def measured(self) -> int:
        """Frames that were noted, those for the warm-up left out."""
        return len(self._frame_ms)

    def add(self, laps: Mapping[str, float], frame_ms: float, detections: int) -> None:
        """Notes a frame.

        Args:
            laps: milliseconds by stage, in their order. Stages may differ from frame to frame: one
                that is missing took no time.
            frame_ms: of the whole frame.
            detections: found in it.
        """
        if len(self._warmup_ms) < self._warmup:
            self._warmup_ms.append(round(frame_ms, 4))
            return
        at = 0
        for stage in laps:
            if stage not in self._order:  # behind the stage that it followed
                self._order.insert(at, stage)
            at = self._order.index(stage) + 1
        self._laps.append(dict(laps))
        self._frame_ms.append(round(frame_ms, 4))
        self._detections.append(detections)

    def summary(self, **facts: Any) -> Summary:
        """Of the frames so far.

        Args:
            **facts: ``model``, ``settings``, ``machine``, ``conditions`` of ``Summary``.

        Raises:
            ValueError: there are none after the warm-up.
        """
        if not self.measured:
            raise ValueError("found no frames after the warm-up, expected at least one")
        return Summary(
            stages={
                stage: StageStats.of([laps.get(stage, 0.0) for laps in self._laps])
                for stage in self._order
            },
            frame=StageStats.of(self._frame_ms),
            frame_ms=tuple(self._frame_ms),
            warmup_ms=tuple(self._warmup_ms),
            detections=float(np.median(self._detections)),
            **facts,
        )


def read_summary(path: str | os.PathLike[str]) -> Summary:
    """From a JSON file.

    Raises:
        MaskrtError: it cannot be read, or is no profile.
    """
    file = Path(path)
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise MaskrtError(f"{file} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise MaskrtError(
            f"{file} cannot be read as JSON ({error}): expected what  maskrt profile --json  writes"
        ) from None
    try:
        return Summary.from_plain(plain)
    except MaskrtError as error:
        raise MaskrtError(f"{file}: {error}") from None


def write_summary(summary: Summary, path: str | os.PathLike[str]) -> None:
    """As a JSON file.

    Raises:
        MaskrtError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(summary.to_plain(), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Change:
    """Medians of a stage in two profiles, in milliseconds; None where one has no such stage."""

    stage: str
    old: float | None
    new: float | None

    @property
    def ratio(self) -> float | None:
        """New to old: below 1 is faster. None where one of them is missing, or the old one 0."""
        return self.new / self.old if self.old and self.new is not None else None


def compare(old: Summary, new: Summary) -> list[Change]:
    """Stage by stage in the new profile's order, then those it has no more; whole frames last."""
    changes = [
        Change(stage, _p50(old.stages, stage), _p50(new.stages, stage))
        for stage in dict.fromkeys((*new.stages, *old.stages))
    ]
    return [*changes, Change(FRAME, old.frame.p50, new.frame.p50)]


def differences(old: Summary, new: Summary) -> list[str]:
    """What else differs between two profiles, so that times cannot be held against each other."""
    told = []
    if old.model.get("sha256") != new.model.get("sha256"):
        told.append(f"the file: {_named(old.model)}, now {_named(new.model)}")
    for what, one, two in (
        ("machine", old.machine, new.machine),
        ("settings", old.settings, new.settings),
    ):
        for key in dict.fromkeys((*one, *two)):
            if one.get(key) != two.get(key):
                told.append(f"{what}, {key}: {_shown(one.get(key))}, now {_shown(two.get(key))}")
    before, now = (s.conditions.get("before", {}) for s in (old, new))
    if isinstance(before, dict) and before.get("governor") != now.get("governor"):
        told.append(f"CPU governor: {before.get('governor')}, now {now.get('governor')}")
    if old.detections != new.detections:
        told.append(
            f"detections in a frame (median): {old.detections:g}, now {new.detections:g}; heads "
            "take longer with more of them"
        )
    return told


def _p50(stages: Mapping[str, StageStats], stage: str) -> float | None:
    return stages[stage].p50 if stage in stages else None


def _named(model: Mapping[str, Any]) -> str:
    digest = str(model.get("sha256", ""))[:12]
    parts: Iterable[Any] = (model.get("name"), model.get("precision"), digest)
    return " ".join(str(part) for part in parts if part) or "unknown"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    return "unknown" if value is None else str(value)


def _dict(plain: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = plain.get(key, {})
    if not isinstance(found, dict):
        raise MaskrtError(f"{key}: found {found!r}, expected an object: measure again")
    return found


def _number(plain: Mapping[str, Any], key: str) -> float:
    return _checked(plain.get(key), key)


def _series(plain: Mapping[str, Any], key: str) -> tuple[float, ...]:
    found = plain.get(key)
    if not isinstance(found, (list, tuple)):
        raise MaskrtError(f"{key}: found {found!r}, expected a list of numbers: measure again")
    return tuple(_checked(value, key) for value in found)


def _stats(plain: Mapping[str, Any], key: str) -> StageStats:
    found = _dict(plain, key)
    return StageStats(*(_number(found, entry.name) for entry in fields(StageStats)))


def _checked(value: Any, key: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise MaskrtError(f"{key}: found {value!r}, expected a number from 0 up: measure again")
    return float(value)

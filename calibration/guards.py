"""Whether pictures can be calibrated on, and what they gave: told in a sentence each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MaskrtError
from maskrt.spec import ModelSpec

FEWEST, ENOUGH = 8, 100
"""Distinct pictures: fewer than the first are refused, fewer than the second warned about."""
REDUCED = 256  # longest side of what pictures are judged by, in pixels
FLAT = 2.0  # standard deviation of grey values, below which a picture is one colour
UNRELATED = 0.2  # correlation of neighbouring pixels, below which a picture is noise
DARK_RANGE = 2  # largest value of pictures that were floats from 0 to 1
DEVIATION = 58.0  # of natural pictures, the mean of ImageNet's three
FAR = 2.5  # deviations from the mean that the model was trained with
NEAR_THE_END = 0.9  # of the way from that mean to black or white

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something that a user should know, or mend."""

    severity: Severity
    message: str
    forceable: bool = True
    """Of an error: whether the user may go on all the same."""


@dataclass(frozen=True)
class RangeFacts:
    """What all pictures gave in one tensor."""

    amax: float
    """The largest |x|."""
    values: int
    """That were counted; 0: no picture reached the tensor."""
    non_finite: int
    """NaN and infinities."""
    lowest: float
    highest: float


def judge_images(frames: Iterable[NDArray[np.uint8]], spec: ModelSpec) -> list[Finding]:
    """Whether pictures look like those that a model was trained on.

    Args:
        frames: uint8 [H, W, 3], in ``spec.canvas.frame_order``; one at a time is held.
        spec: of the model.
    """
    seen: dict[bytes, int] = {}
    total = flat = noise = tiny = 0
    sums = np.zeros(3)
    for frame in frames:
        total += 1
        small = _reduced(frame)
        digest = hashlib.sha256(f"{small.shape}".encode() + small.tobytes()).digest()
        seen[digest] = seen.get(digest, 0) + 1
        tiny += int(frame.max()) <= DARK_RANGE
        sums += small.reshape(-1, 3).mean(0)
        if float(small.astype(np.float32).std((0, 1)).max()) < FLAT:
            flat += 1
        elif _is_noise(frame):
            noise += 1
    found = _numbers(total, len(seen))
    if not total:
        return found
    if tiny == total:
        found.append(
            Finding(
                "error",
                f"all values of the images are within 0 to {DARK_RANGE}, expected 0 to 255: they "
                "look like images of numbers from 0 to 1 that were saved as integers",
            )
        )
    for count, what, mend in (
        (flat if tiny < total else 0, "one colour", "leave them out"),
        (noise, "noise", "random data teaches wrong ranges: take pictures of the real camera"),
    ):
        if count > 0:
            severity: Severity = "error" if 2 * count > total else "warning"
            found.append(Finding(severity, f"{count} of {total} images are {what}: {mend}"))
    if tiny < total:
        found += _exposure(sums / total, spec)
    return found


def judge_ranges(ranges: Mapping[str, RangeFacts]) -> list[Finding]:
    """Whether what the pictures gave can be quantised.

    Args:
        ranges: by tensor, in the order in which the model computes them.
    """
    broken = [name for name, facts in ranges.items() if facts.non_finite]
    if broken:
        number = ranges[broken[0]].non_finite
        return [
            Finding(
                "error",
                f"{len(broken)} tensors hold NaN or infinity, first '{broken[0]}' ({number} "
                "values): its range cannot be known. Export an earlier checkpoint, or train again",
                forceable=False,
            )
        ]
    found = []
    unreached = [name for name, facts in ranges.items() if not facts.values]
    if unreached:
        found.append(
            Finding(
                "warning",
                f"no detection on any image: {len(unreached)} tensors of the heads, first "
                f"'{unreached[0]}', were not reached and stay in higher precision: take images "
                "that show the model's classes",
            )
        )
    reached = [name for name, facts in ranges.items() if facts.values]
    zero = [name for name in reached if ranges[name].amax == 0.0]
    if zero:
        shown = ", ".join(f"'{name}'" for name in zero[:3]) + (" …" if len(zero) > 3 else "")
        most = 2 * len(zero) > len(reached)
        found.append(
            Finding(
                "error" if most else "warning",
                f"{len(zero)} of {len(reached)} tensors are zero on all images ({shown}): "
                + (
                    "the model does not respond to them; are these its weights and its images?"
                    if most
                    else "layers that read them stay in higher precision"
                ),
            )
        )
    return found


def check(findings: Sequence[Finding], force: bool) -> list[str]:
    """The warnings' messages.

    Args:
        findings: of the functions above.
        force: errors that the user may go on with become warnings.

    Raises:
        MaskrtError: there are errors.
    """
    errors = [f for f in findings if f.severity == "error" and not (force and f.forceable)]
    if errors:
        hint = ""
        if all(finding.forceable for finding in errors):
            hint = "\n(--force, or force=True in Python, calibrates all the same)"
        raise MaskrtError("\n".join(finding.message for finding in errors) + hint)
    return [finding.message for finding in findings]


def _reduced(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    step = max(1, max(height, width) // REDUCED)
    if step == 1:
        return np.ascontiguousarray(frame)
    size = (max(1, width // step), max(1, height // step))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _is_noise(frame: NDArray[np.uint8]) -> bool:
    """No relation between neighbours, neither here nor at half the size.

    A real picture with a noisy sensor is related at half the size at the latest.
    """
    height, width = frame.shape[:2]
    if min(height, width) < 8:
        return False
    top, left = max(0, height // 2 - 128), max(0, width // 2 - 128)
    grey = frame[top : top + 256, left : left + 256].astype(np.float32).mean(2)
    halves = grey
    for _ in range(3):
        if _related(halves) >= UNRELATED:
            return False
        if min(halves.shape) < 16:
            break
        halves = cv2.resize(halves, (halves.shape[1] // 2, halves.shape[0] // 2),
                            interpolation=cv2.INTER_AREA)  # fmt: skip
    return True


def _related(grey: NDArray[np.float32]) -> float:
    """Correlation of pixels with their right and lower neighbours."""
    centred = grey - grey.mean()
    power = float((centred**2).mean())
    if power == 0.0:
        return 1.0
    across = float((centred[:, 1:] * centred[:, :-1]).mean())
    down = float((centred[1:] * centred[:-1]).mean())
    return max(across, down) / power


def _numbers(total: int, distinct: int) -> list[Finding]:
    found = []
    if distinct < total:
        found.append(
            Finding("warning", f"{total - distinct} of {total} images are copies of others")
        )
    if distinct < FEWEST:
        found.append(
            Finding(
                "error",
                f"found {distinct} different images, expected at least {FEWEST}, and better "
                f"{ENOUGH} or more: ranges would be those of a few scenes",
            )
        )
    elif distinct < ENOUGH:
        found.append(
            Finding(
                "warning",
                f"{distinct} different images are few: {ENOUGH} or more give ranges that hold for "
                "other scenes, too",
            )
        )
    return found


def _exposure(mean: NDArray[np.float64], spec: ModelSpec) -> list[Finding]:
    """Whether the pictures' mean is far from that which the model's normalisation expects."""
    canvas = spec.canvas
    if canvas.mean == (0.0, 0.0, 0.0):  # no centre to be far from
        return []
    order = slice(None, None, -1) if canvas.channel_order != canvas.frame_order else slice(None)
    expected, deviation = np.array(canvas.mean), np.array(canvas.std)
    if canvas.std == (1.0, 1.0, 1.0):  # detectron2's models scale by nothing
        deviation = deviation * DEVIATION
    distance = float(((mean[order] - expected) / deviation).mean())
    # from the expected mean to black, and to white
    ends = ((0 - expected) / deviation).mean(), ((255 - expected) / deviation).mean()
    limit = min(FAR, NEAR_THE_END * abs(float(ends[distance > 0])))
    if abs(distance) < limit:
        return []
    where = "brighter" if distance > 0 else "darker"
    return [
        Finding(
            "warning",
            f"the images are {abs(distance):.1f} standard deviations {where} than what the model "
            f"was trained on (mean {np.round(mean).astype(int).tolist()} of 255): are they "
            "exposed, and decoded, as the camera's frames are?",
        )
    ]

"""What is in a picture: the classes, their outlines and named points, and where objects stand.

Nothing here knows pixels. A scene is laid out in *frame heights*: x grows to the right from 0 to
width / height, y grows downwards from 0 to 1, so one scene can be drawn at any resolution.
An object's own coordinates are centred on it, with its nose at -y and its longest side 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CLASSES = ("disk", "box", "star", "kite", "fish", "plane")
"""Class names. Label 1 is the first one; label 0 is the background, as torchvision has it."""

KEYPOINT_CLASSES = ("kite", "fish", "plane")
"""The classes that have named points. All three share KEYPOINT_NAMES."""

KEYPOINT_NAMES = ("nose", "left", "right", "tail", "center")
"""The named points, in order. Left and right are the object's own, looking along its nose."""

SKELETON = ((0, 4), (4, 3), (1, 4), (4, 2))
"""Pairs of 0-based indices into KEYPOINT_NAMES to join with lines (1-based in COCO files)."""

KEYPOINT_SIGMA = 0.067
"""OKS sigma of every point: the mean of the 17 that COCO uses for people."""

SMALLEST, LARGEST = 12 / 192, 0.5
"""The range of an object's longest side, in frame heights."""

KEEP = 0.3
"""An object is labelled if at least this share of its outline's area can be seen."""

# Background dark, background light, then object colours; all BGR.
_PALETTES = (
    (
        (92, 62, 38), (160, 124, 84), (84, 111, 231),
        (106, 196, 244), (143, 157, 42), (235, 235, 240),
    ),
    (
        (70, 44, 60), (140, 96, 120), (96, 206, 255),
        (170, 110, 245), (206, 214, 96), (240, 240, 235),
    ),
    (
        (170, 190, 196), (214, 232, 238), (60, 76, 214),
        (150, 110, 40), (60, 150, 240), (90, 130, 60),
    ),
    (
        (86, 92, 40), (150, 160, 96), (80, 120, 250),
        (120, 220, 250), (200, 120, 160), (240, 244, 240),
    ),
    (
        (200, 180, 160), (240, 228, 214), (90, 60, 190),
        (60, 160, 230), (130, 130, 30), (110, 70, 60),
    ),
    (
        (40, 40, 44), (88, 84, 80), (60, 190, 250),
        (200, 160, 60), (110, 90, 240), (160, 220, 120),
    ),
    (
        (110, 140, 60), (190, 206, 150), (50, 70, 200),
        (230, 240, 245), (40, 170, 245), (140, 60, 90),
    ),
    (
        (120, 100, 170), (200, 186, 226), (130, 70, 50),
        (70, 90, 220), (80, 190, 240), (150, 150, 60),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        label: 1-based index into CLASSES.
        x, y: The centre, in frame heights.
        size: The longest side, in frame heights.
        angle: Radians, clockwise as seen on the screen; at 0 the nose points up.
        stretch: The width's factor, 1 or a little less.
        colors: Main, second and accent colour, BGR.
        texture: 0 plain, 1 stripes along, 2 stripes across, 3 dots, 4 gradient.
        phase: Where the texture starts, in [0, 1).
    """

    label: int
    x: float
    y: float
    size: float
    angle: float
    stretch: float
    colors: tuple[tuple[int, int, int], ...]
    texture: int
    phase: float

    @property
    def name(self) -> str:
        """The class name."""
        return CLASSES[self.label - 1]

    def place(self, points: Array) -> Array:
        """The object's own coordinates, float (N, 2), as frame heights."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        spin = np.array([[c, -s], [s, c]])
        own = points * np.array([self.stretch, 1.0]) * self.size
        out: Array = own @ spin.T + np.array([self.x, self.y])
        return out


@dataclass(frozen=True)
class Scene:
    """Everything that is needed to draw one picture.

    Attributes:
        things: The objects, from the furthest to the nearest.
        colors: The background's dark and light colour, BGR.
        pattern: 0 plain, 1 stripes, 2 checks, 3 waves, 4 blobs.
        seed: Fixes the background's details.
        aspect: Width over height of the frame.
    """

    things: tuple[Thing, ...]
    colors: tuple[tuple[int, int, int], tuple[int, int, int]]
    pattern: int
    seed: int
    aspect: float


def _ellipse(cx: float, cy: float, rx: float, ry: float, n: int = 48) -> Array:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([cx + rx * np.sin(t), cy - ry * np.cos(t)], axis=1)


def _mirrored(half: list[tuple[float, float]]) -> Array:
    """A closed outline from its right half, listed from top to bottom."""
    return np.array(half + [(-x, y) for x, y in reversed(half)])


def _star() -> Array:
    t = np.arange(10) * np.pi / 5
    r = np.where(np.arange(10) % 2 == 0, 0.52, 0.25)
    return np.stack([r * np.sin(t), 0.02 - r * np.cos(t)], axis=1)


def _box() -> Array:
    corner = _ellipse(0, 0, 0.1, 0.1, 24)
    return corner + np.sign(corner) * 0.4


# The parts of each class: (outline, colour slot), later parts over earlier ones.
PARTS: dict[str, list[tuple[Array, int]]] = {
    "disk": [(_ellipse(0, 0, 0.5, 0.5), 0), (_ellipse(0, 0, 0.27, 0.27), 1)],
    "box": [(_box(), 0), (_box() * 0.62, 1)],
    "star": [(_star(), 0), (_star() * 0.5, 1)],
    "kite": [
        (np.array([(0, -0.5), (0.39, -0.13), (0, -0.13)]), 0),
        (np.array([(0, -0.5), (-0.39, -0.13), (0, -0.13)]), 1),
        (np.array([(0, 0.5), (0.39, -0.13), (0, -0.13)]), 1),
        (np.array([(0, 0.5), (-0.39, -0.13), (0, -0.13)]), 0),
    ],
    "fish": [
        (_mirrored([(0, 0.14), (0.1, 0.28), (0.25, 0.5), (0.08, 0.47), (0, 0.42)]), 1),
        (_mirrored([(0, -0.2), (0.14, -0.14), (0.4, 0.05), (0.37, 0.12), (0.12, 0.06),
                    (0, 0.1)]), 1),
        (_mirrored([(0, -0.5), (0.08, -0.47), (0.145, -0.36), (0.175, -0.2), (0.165, -0.04),
                    (0.12, 0.12), (0.07, 0.26), (0.035, 0.36), (0, 0.38)]), 0),
        (_ellipse(0.075, -0.38, 0.03, 0.03, 16), 2),
        (_ellipse(-0.075, -0.38, 0.03, 0.03, 16), 2),
    ],
    "plane": [
        (_mirrored([(0, -0.18), (0.08, -0.16), (0.5, 0.1), (0.5, 0.21), (0.08, 0.14),
                    (0, 0.14)]), 1),
        (_mirrored([(0, 0.25), (0.07, 0.27), (0.24, 0.41), (0.24, 0.49), (0.05, 0.45),
                    (0, 0.45)]), 1),
        (_mirrored([(0, -0.5), (0.05, -0.47), (0.085, -0.38), (0.09, -0.2), (0.085, 0.2),
                    (0.055, 0.46), (0, 0.5)]), 0),
        (_mirrored([(0, -0.4), (0.05, -0.35), (0.055, -0.29), (0, -0.31)]), 2),
    ],
}  # fmt: skip

# (5, 2) in the order of KEYPOINT_NAMES. "left" is at -x: looking along the nose, from above.
# Points lie a little inside the tips: a sharp tip fills no pixel, so it would stand outside the box
# of the mask, where Keypoint R-CNN can neither learn nor predict it.
POINTS: dict[str, Array] = {
    "kite": np.array([(0, -0.45), (-0.35, -0.13), (0.35, -0.13), (0, 0.43), (0, -0.13)]),
    "fish": np.array([(0, -0.46), (-0.35, 0.075), (0.35, 0.075), (0, 0.4), (0, -0.1)]),
    "plane": np.array([(0, -0.45), (-0.46, 0.145), (0.46, 0.145), (0, 0.45), (0, 0.0)]),
}


def rng_for(seed: int, split: str, index: int) -> np.random.Generator:
    """The random source of one picture: it depends on these three values and nothing else."""
    return np.random.default_rng([seed, zlib.crc32(split.encode()), index])


def _thing(
    rng: np.random.Generator,
    aspect: float,
    palette: tuple[tuple[int, int, int], ...],
    names: Sequence[str],
) -> Thing:
    label = CLASSES.index(names[int(rng.integers(len(names)))]) + 1
    # Log-uniform, but leaning a little towards the larger ones.
    size = float(SMALLEST * (LARGEST / SMALLEST) ** (rng.random() ** 0.75))
    colors = [_jitter(palette[i], rng) for i in rng.permutation(np.arange(2, 6))[:3]]
    dark_or_light = (30, 26, 24) if sum(colors[0]) > 330 else (244, 244, 244)
    return Thing(
        label=label,
        x=float(rng.uniform(0, aspect)),
        y=float(rng.uniform(0, 1)),
        size=size,
        angle=float(rng.uniform(-np.pi, np.pi)),
        stretch=float(rng.uniform(0.85, 1.0)),
        colors=(colors[0], colors[1], dark_or_light),
        texture=int(rng.integers(0, 5)),
        phase=float(rng.random()),
    )


def _jitter(color: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    b, g, r = np.clip(np.array(color) + rng.integers(-22, 23, 3), 0, 255).tolist()
    return b, g, r


_GRID = 128  # rows of the coarse raster on which overlaps are judged


def _coarse(thing: Thing, aspect: float) -> tuple[NDArray[np.bool_], float]:
    """A coarse mask of the object inside the frame, and the share of it that is inside."""
    pad = _GRID // 2
    h, w = _GRID * 2, round(_GRID * aspect) + 2 * pad
    mask = np.zeros((h, w), np.uint8)
    for outline, _ in PARTS[thing.name]:
        points = thing.place(outline) * _GRID + pad
        cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    inside = mask[pad:-pad, pad:-pad].astype(bool)
    return inside, float(inside.sum()) / max(int(mask.sum()), 1)


def scene(
    rng: np.random.Generator,
    aspect: float,
    count: int | None = None,
    names: Sequence[str] = CLASSES,
) -> Scene:
    """Draw a random scene.

    Objects may overlap and leave the frame, but none is put where it would hide most of another.

    Args:
        rng: Random source, see `rng_for`.
        aspect: Width over height of the frame.
        count: How many objects to try to place; None picks 3 to 11.
        names: The classes to draw from, all alike; a name that stands twice is twice as likely.
    """
    palette = _PALETTES[int(rng.integers(len(_PALETTES)))]
    pattern = int(rng.integers(0, 5))
    dark, light = _jitter(palette[0], rng), _jitter(palette[1], rng)
    if count is None:
        count = int(rng.integers(3, 12))
    # Large ones first: nature's order of sight, and small ones are not buried.
    wanted = sorted(
        (_thing(rng, aspect, palette, names) for _ in range(count)), key=lambda t: -t.size
    )
    things: list[Thing] = []
    masks: list[NDArray[np.bool_]] = []
    areas: list[int] = []
    for draft in wanted:
        for _ in range(12):
            thing = replace(draft, x=float(rng.uniform(0, aspect)), y=float(rng.uniform(0, 1)))
            mask, inside = _coarse(thing, aspect)
            left = [m & ~mask for m in masks]
            seen = all(m.sum() >= 0.45 * a for m, a in zip(left, areas, strict=True))
            if inside >= 0.6 and seen:
                things.append(thing)
                masks = [*left, mask]
                areas.append(round(int(mask.sum()) / inside))
                break
    return Scene(tuple(things), (dark, light), pattern, int(rng.integers(2**31)), aspect)

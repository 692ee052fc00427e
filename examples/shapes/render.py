"""Draws a scene: background, shadows, objects, and the exact visible mask of every object."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene import PARTS, Scene, Thing

Frame = NDArray[np.uint8]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SUPER = 4  # outlines are filled on a grid this much finer, then averaged


def render(scene: Scene, size: tuple[int, int]) -> tuple[Frame, list[Mask], list[int]]:
    """Draw a scene.

    Args:
        scene: What to draw.
        size: (height, width) of the frame in pixels.

    Returns:
        The frame, uint8 (H, W, 3) in BGR; per object its visible mask, bool (H, W), true where
        the object covers at least half of the pixel and no nearer object does; and per object
        the number of pixels that its whole outline would have, unhidden and unclipped.
    """
    height, width = size
    canvas = _background(scene, size)
    masks: list[Mask] = []
    areas: list[int] = []
    for thing in scene.things:
        color, alpha, (x0, y0) = _draw(thing, height)
        areas.append(int((alpha >= 0.5).sum()))
        _shadow(canvas, alpha, x0, y0, thing.size * height)
        target, source = _overlap((x0, y0), alpha.shape, (height, width))
        a = alpha[source][..., None]
        canvas[target] = canvas[target] * (1 - a) + color[source] * a
        mask = np.zeros((height, width), bool)
        mask[target] = alpha[source] >= 0.5
        for other in masks:
            np.logical_and(other, ~mask, out=other)
        masks.append(mask)
    grain = np.random.default_rng(scene.seed).normal(0, 3, (height, width)).astype(np.float32)
    frame = np.clip(np.rint(canvas + grain[..., None]), 0, 255).astype(np.uint8)
    return frame, masks, areas


def _overlap(
    at: tuple[int, int], shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a patch put at (x, y) that is inside the frame: its place there, and in it."""
    x0, y0 = at
    top, bottom = max(y0, 0), max(min(y0 + shape[0], size[0]), 0)
    left, right = max(x0, 0), max(min(x0 + shape[1], size[1]), 0)
    target = (slice(top, max(bottom, top)), slice(left, max(right, left)))
    source = (slice(top - y0, max(bottom, top) - y0), slice(left - x0, max(right, left) - x0))
    return target, source


def _fill(points: NDArray[np.float64], mask: Frame, color: tuple[int, ...] | int) -> None:
    # Pixel centres are at half integers here, at integers in OpenCV.
    fixed = np.round((points - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], color if isinstance(color, tuple) else (color,), shift=4)


def _draw(thing: Thing, height: int) -> tuple[Image, Image, tuple[int, int]]:
    """One object as a patch: colour (h, w, 3), coverage (h, w) in 0..1, and its corner (x, y)."""
    outlines = [(thing.place(points) * height, slot) for points, slot in PARTS[thing.name]]
    every = np.concatenate([points for points, _ in outlines])
    x0, y0 = (np.floor(every.min(axis=0)).astype(int) - 1).tolist()
    x1, y1 = (np.ceil(every.max(axis=0)).astype(int) + 1).tolist()
    h, w = y1 - y0, x1 - x0
    fine = np.zeros((h * _SUPER, w * _SUPER), np.uint8)
    paint = np.full((h * _SUPER, w * _SUPER, 3), thing.colors[0], np.uint8)
    edge = tuple(int(v * 0.55) for v in thing.colors[0])
    line = max(1, round(0.022 * thing.size * height * _SUPER))
    for points, slot in outlines:
        local = (points - (x0, y0)) * _SUPER
        _fill(local, fine, 255)
        _fill(local, paint, thing.colors[slot])
        fixed = np.round((local - 0.5) * 16).astype(np.int32)
        cv2.polylines(paint, [fixed], True, edge, line, cv2.LINE_AA, shift=4)
    alpha: Image = cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha /= 255
    color: Image = cv2.resize(paint, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    return color * _texture(thing, height, (h, w), (x0, y0))[..., None], alpha, (x0, y0)


def _texture(thing: Thing, height: int, shape: tuple[int, int], at: tuple[int, int]) -> Image:
    """A brightness factor around 1 for each pixel of the patch, turning with the object."""
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    dx = (xs + at[0] + 0.5) / height - thing.x
    dy = (ys + at[1] + 0.5) / height - thing.y
    c, s = np.cos(thing.angle), np.sin(thing.angle)
    u, v = (c * dx + s * dy) / thing.size, (-s * dx + c * dy) / thing.size
    waves = 2 * np.pi * 4.5
    if thing.texture == 1:
        field = np.tanh(2.5 * np.sin(waves * u + thing.phase * 6.28)) * 0.09
    elif thing.texture == 2:
        field = np.tanh(2.5 * np.sin(waves * v + thing.phase * 6.28)) * 0.09
    elif thing.texture == 3:
        field = np.clip(np.sin(waves * u) * np.sin(waves * v) * 3 - 1, 0, 1) * 0.2
    elif thing.texture == 4:
        field = v * 0.35
    else:
        field = np.zeros(shape, np.float32)
    light = -0.16 * (dx + 1.4 * dy) / thing.size  # the light comes from above, whatever the turn
    out: Image = (1 + field + light).astype(np.float32)
    return out


def _shadow(canvas: Image, alpha: Image, x0: int, y0: int, size: float) -> None:
    """Darken the canvas below and to the right of an object, in place."""
    pad = max(2, round(size * 0.12))
    spread = cv2.copyMakeBorder(alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    spread = cv2.GaussianBlur(spread, (0, 0), max(size * 0.045, 0.6))
    shift = max(1, round(size * 0.045))
    at = (x0 - pad + shift, y0 - pad + round(shift * 1.5))
    target, source = _overlap(at, spread.shape, canvas.shape[:2])
    canvas[target] *= 1 - 0.42 * spread[source][..., None]


def _background(scene: Scene, size: tuple[int, int]) -> Image:
    """A textured, cluttered ground without any object on it, float32 (H, W, 3)."""
    rng = np.random.default_rng(scene.seed)
    height, width = size
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    u, v = (xs + 0.5) / height, (ys + 0.5) / height
    turn = rng.uniform(0, 2 * np.pi)
    along, across = np.cos(turn) * u + np.sin(turn) * v, -np.sin(turn) * u + np.cos(turn) * v
    mix = 0.5 + 0.45 * np.tanh((along - along.mean()) * rng.uniform(0.8, 2.0))
    mix = mix + 0.35 * _clouds(rng, size)
    waves = 2 * np.pi * rng.uniform(4, 14)
    strength = rng.uniform(0.05, 0.16)
    if scene.pattern == 1:
        mix = mix + strength * np.tanh(4 * np.sin(waves * along))
    elif scene.pattern == 2:
        mix = mix + strength * np.tanh(6 * np.sin(waves * along) * np.sin(waves * across))
    elif scene.pattern == 3:
        mix = mix + strength * np.sin(waves * along + 1.5 * np.sin(9 * across))
    dark, light = (np.array(c, np.float32) for c in scene.colors)
    mix = np.clip(mix, -0.1, 1.1)[..., None].astype(np.float32)
    canvas: Image = dark + (light - dark) * mix
    _clutter(canvas, scene, rng)
    return canvas


def _clouds(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """Smooth noise around 0, the same at every resolution."""
    out = np.zeros(size, np.float32)
    for cells, weight in ((3, 0.6), (7, 0.3), (18, 0.15)):
        coarse = rng.normal(0, weight, (cells, cells + cells // 3 + 1)).astype(np.float32)
        out += cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return out


def _clutter(canvas: Image, scene: Scene, rng: np.random.Generator) -> None:
    """Things that are not objects: soft spots, curves, thin rings and confetti; in place."""
    height = canvas.shape[0]
    tones = [np.array(c, float) for c in scene.colors]
    tones += [np.array(c, float) for t in scene.things for c in t.colors[:2]]
    layer = canvas.copy()

    def spot() -> tuple[float, float]:
        return float(rng.uniform(0, scene.aspect)), float(rng.uniform(0, 1))

    def pixels(points: NDArray[np.float64]) -> NDArray[np.int32]:
        out: NDArray[np.int32] = np.round((points * height - 0.5) * 16).astype(np.int32)
        return out

    def tone() -> tuple[float, ...]:
        return tuple(tones[int(rng.integers(len(tones)))] + rng.uniform(-20, 20, 3))

    if scene.pattern == 4:
        for _ in range(int(rng.integers(4, 10))):
            radius, at, color = rng.uniform(0.05, 0.25), np.array(spot()), tone()
            center = pixels(at).tolist()
            cv2.circle(layer, center, round(radius * height * 16), color, -1, shift=4)
        layer = cv2.GaussianBlur(layer, (0, 0), 0.05 * height).astype(np.float32)
    for _ in range(int(rng.integers(0, 6))):  # curves
        start, turn, bend = np.array(spot()), rng.uniform(0, 6.28), rng.uniform(-6, 6)
        t = np.linspace(0, rng.uniform(0.2, 1.0), 40)[:, None]
        heading = turn + bend * t
        steps = np.concatenate([np.cos(heading), np.sin(heading)], axis=1) * t[1]
        width = max(1, round(rng.uniform(0.004, 0.012) * height))
        points = pixels(start + np.cumsum(steps, axis=0))
        cv2.polylines(layer, [points], False, tone(), width, cv2.LINE_AA, shift=4)
    for _ in range(int(rng.integers(0, 4))):  # thin rings
        radius, at, color = rng.uniform(0.02, 0.12), np.array(spot()), tone()
        width = max(1, round(0.005 * height))
        center = pixels(at).tolist()
        cv2.circle(layer, center, round(radius * height * 16), color, width, cv2.LINE_AA, shift=4)
    for _ in range(int(rng.integers(0, 24))):  # confetti, well below an object's smallest size
        at, turn, color = np.array(spot()), rng.uniform(0, 6.28), tone()
        arm = rng.uniform(0.006, 0.016) * np.array([np.cos(turn), np.sin(turn)])
        width = max(1, round(0.008 * height))
        ends = pixels(np.array([at - arm, at + arm]))
        cv2.polylines(layer, [ends], False, color, width, cv2.LINE_AA, shift=4)
    canvas *= 0.4
    canvas += 0.6 * layer

"""Draws detections into a frame."""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from maskrt.runtime import text
from maskrt.runtime.detections import Detections
from maskrt.runtime.frames import Frame, to_bgr
from maskrt.runtime.masks import MaskCrop
from maskrt.runtime.text import Color

Rect = tuple[int, int, int, int]  # x0, y0, x1, y1

_BITS = 3  # positions of anti-aliased lines are given in 1/8 pixels
_ONE = 1 << _BITS
_REACH = 2  # points of an outline on each side, over which its stairs are averaged
_STEP = 3  # every third of its points is drawn: as smooth to the eye
_TURN = np.array([1, -1], np.float32)
_THIN = 4  # pixels of the widest outline that is drawn as lines of one pixel each


def draw(
    frame: Any,
    detections: Detections,
    *,
    boxes: bool = True,
    masks: bool = True,
    keypoints: bool = True,
    labels: bool = True,
    scores: bool = True,
    opacity: float = 0.5,
    line_width: int | None = None,
    text_size: int | None = None,
    keypoint_threshold: float | None = None,
) -> Frame:
    """A copy of the frame with the detections drawn in.

    Args:
        frame: the one that was given to the detector, of any kind that the detector takes.
        detections: what was found in it.
        boxes: draw boxes.
        masks: draw masks, if there are any.
        keypoints: draw keypoints and their skeleton, if there are any.
        labels: write the class names.
        scores: write the scores.
        opacity: of the masks, 0 (outline only) to 1.
        line_width: in pixels; None: from the size of the frame.
        text_size: of the font, in pixels; None: from the size of the frame, and no text in frames
            with a side below 96 pixels, of which it would hide too much.
        keypoint_threshold: draw keypoints that score above it; None: all.

    Returns:
        uint8 ``(H, W, 3)``.

    Raises:
        FrameError: if the frame cannot be read as an image.
        ValueError: if the frame's size is not that of the detections, or an option is out of range.
    """
    source = to_bgr(frame)
    if source.shape[:2] != detections.frame_size:
        raise ValueError(
            f"frame: found size {source.shape[:2]}, but the detections are of a frame of size "
            f"{detections.frame_size}: draw into the frame that was given to the detector"
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity: found {opacity}, expected a number from 0 to 1")
    for name, size in (("line_width", line_width), ("text_size", text_size)):
        if size is not None and size < 1:
            raise ValueError(f"{name}: found {size}, expected 1 or more, or None")
    image = source.copy()
    style = _Style.of(detections.frame_size, line_width, text_size)
    colors = [class_color(label) for label in detections.labels.tolist()]
    # best first in the result, so best last on the canvas
    order = range(len(detections) - 1, -1, -1)
    if masks and detections.mask_crops is not None:
        crops = detections.mask_crops
        for i in sorted(order, key=lambda i: -crops[i].mask.size):
            _draw_mask(image, crops[i], colors[i], opacity, style)
    rects = _pixels(detections.boxes, detections.frame_size)
    if boxes:
        for i in order:
            _draw_box(image, rects[i], colors[i], style)
    if keypoints and detections.keypoints is not None and detections.spec.keypoint is not None:
        skeleton = detections.spec.keypoint.skeleton
        limit = -np.inf if keypoint_threshold is None else keypoint_threshold
        for i in order:
            points = detections.keypoints[i]
            shown = np.where(points[:, 2:] > limit, points[:, :2], np.nan)
            _draw_pose(image, shown, skeleton, colors[i], style)
    readable = text_size is not None or min(detections.frame_size) >= 96
    if readable and (labels or scores):
        captions = [
            [name] * labels + [f"{score:.2f}"] * scores
            for name, score in zip(detections.class_names, detections.scores, strict=True)
        ]
        _draw_chips(image, rects, captions, colors, style)
    return image


@functools.lru_cache(4096)
def class_color(label: int) -> Color:
    """BGR; the same for a label always, and far from those of its neighbours."""
    # steps of the golden ratio keep any run of hues evenly spread
    hue = (0.96 + label * 0.6180339887498949) % 1.0
    saturation, value = ((0.78, 1.0), (0.62, 0.93), (0.9, 0.86))[label // 7 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)


@functools.lru_cache(4096)
def text_color(background: Color) -> Color:
    """Black or white, whichever reads better on the BGR colour (WCAG's contrast ratio)."""
    linear = [(c / 255) ** 2.2 for c in background]
    luminance = 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]
    return (255, 255, 255) if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else (0, 0, 0)


@dataclass(frozen=True)
class _Style:
    line: int
    text: int
    pad: int

    @classmethod
    def of(cls, frame_size: tuple[int, int], line: int | None, size: int | None) -> _Style:
        short = min(frame_size)
        line = max(1, round((short / 360) ** 0.75)) if line is None else int(line)
        # grows slower than the frame: small frames stay readable, large ones uncovered
        size = round(min(max(0.62 * short**0.5, 10), 48)) if size is None else int(size)
        return cls(line, size, max(2, round(size * 0.28)))


def _draw_mask(image: Frame, crop: MaskCrop, color: Color, opacity: float, style: _Style) -> None:
    x, y, mask = crop
    if not mask.any():
        return
    on = mask.view(np.uint8)
    if opacity > 0:
        height, width = mask.shape
        region = image[y : y + height, x : x + width]
        # several times as fast as a table of the 256 values is
        tint = cv2.rectangle(np.empty_like(region), (0, 0), (width, height), color, cv2.FILLED)
        cv2.addWeighted(region, 1 - opacity, tint, opacity, 0, tint)
        cv2.copyTo(tint, on, region)
    contours, _ = cv2.findContours(on, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outlines = [_smooth(points[:, 0] + (x, y)) for points in contours if len(points) > 2]
    # a thin dark seam keeps the outline visible on a background of its own colour
    seam = (color[0] // 3, color[1] // 3, color[2] // 3)
    if style.line > _THIN:
        _draw_outlines(image, outlines, seam, (0.0,), style.line + 2)
        _draw_outlines(image, outlines, color, (0.0,), style.line)
        return
    # OpenCV draws a wide line as a polygon and a circle for each of its pieces, which takes many
    # times as long as a line of one pixel: so these are lines of one pixel, side by side, and so
    # soft that they may lie a little apart
    edge = (style.line - 1) * 0.65
    if style.line > 1:
        _draw_outlines(image, outlines, seam, (-edge - 1, edge + 1))
    _draw_outlines(image, outlines, color, [1.3 * k - edge for k in range(style.line)])


class _Outline(NamedTuple):
    """Closed; in frame pixels, ``(p, 2)``."""

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    """Of length 1; 0 where the outline turns on the spot."""


def _smooth(points: NDArray[Any]) -> _Outline:
    """A contour's pixels ``(p, 2)`` as an outline without the stairs of the pixel grid."""
    reach, step = (_REACH, _STEP) if len(points) > 24 else (0, 1)
    margin = reach + step
    wide = np.concatenate([points[-margin:], points, points[:margin]]).astype(np.float32)
    if reach:
        blurred = cv2.blur(wide[:, None], (1, 2 * reach + 1))
        wide = blurred.reshape(-1, 2).astype(np.float32, copy=False)
    end = len(points) + margin
    along = wide[margin + step : end + step : step] - wide[margin - step : end - step : step]
    length = np.maximum(np.hypot(along[:, :1], along[:, 1:]), np.float32(1e-6))
    return _Outline(wide[margin:end:step], along[:, ::-1] / length * _TURN)


def _draw_outlines(
    image: Frame,
    outlines: list[_Outline],
    color: Color,
    offsets: Sequence[float],
    thickness: int = 1,
) -> None:
    """Draws a line for each of the offsets, in pixels beside the outlines."""
    beside = np.array(offsets, np.float32)[:, None, None]
    lines = [
        line
        for points, normals in outlines
        for line in np.rint((points + beside * normals) * _ONE).astype(np.int32)
    ]
    cv2.polylines(image, lines, True, color, thickness, cv2.LINE_AA, _BITS)


def _draw_box(image: Frame, rect: Rect | None, color: Color, style: _Style) -> None:
    if rect is not None:
        x0, y0, x1, y1 = rect
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), color, style.line, cv2.LINE_4)


def _pixels(boxes: NDArray[np.float32], frame_size: tuple[int, int]) -> list[Rect | None]:
    """The boxes in whole pixels within the frame; None where nothing of one is there."""
    height, width = frame_size
    finite: NDArray[np.bool_] = np.all(np.isfinite(boxes), axis=1)
    inside = np.clip(np.where(finite[:, None], boxes, 0), 0, (width, height, width, height))
    low, high = np.floor(inside[:, :2]), np.ceil(inside[:, 2:])
    rects = np.concatenate([low, high], axis=1).astype(int).tolist()
    return [(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None for x0, y0, x1, y1 in rects]


def _draw_pose(
    image: Frame,
    points: NDArray[np.float32],
    skeleton: tuple[tuple[int, int], ...],
    color: Color,
    style: _Style,
) -> None:
    """Points ``(K, 2)``; those that are not finite are left out, with the lines to them."""
    # to OpenCV whole numbers are pixel centres, and far ones overflow
    fixed = np.rint(np.clip(points - 0.5, -1e5, 1e5) * _ONE)
    spots = {i: (int(x), int(y)) for i, (x, y) in enumerate(fixed) if np.isfinite(x + y)}
    bones = [(spots[a], spots[b]) for a, b in skeleton if a in spots and b in spots]
    thick = style.line + (style.line > 1)
    blue, green, red = (round(c + (255 - c) * 0.45) for c in color)
    for start, end in bones:
        cv2.line(image, start, end, (0, 0, 0), thick + 2, cv2.LINE_AA, _BITS)
    for start, end in bones:
        cv2.line(image, start, end, (blue, green, red), thick, cv2.LINE_AA, _BITS)
    rim = _ONE if style.line > 1 else _ONE // 2
    radius = round((style.line + 0.7) * _ONE)
    for spot in spots.values():
        cv2.circle(image, spot, radius + rim, (0, 0, 0), -1, cv2.LINE_AA, _BITS)
        cv2.circle(image, spot, radius, (255, 255, 255), -1, cv2.LINE_AA, _BITS)


def _draw_chips(
    image: Frame,
    boxes: list[Rect | None],
    captions: list[list[str]],
    colors: list[Color],
    style: _Style,
) -> None:
    chips: list[tuple[Color, str, Rect]] = []
    taken: list[Rect] = []
    # the best object chooses its place first
    for rect, words, color in zip(boxes, captions, colors, strict=True):
        line = _shortened(words, image.shape[1] - 2 * style.pad, style.text)
        if rect is not None and line:
            taken.append(_place(line, rect, taken, image, style))
            chips.append((color, line, taken[-1]))
    for color, line, (x0, y0, x1, y1) in reversed(chips):
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), color, cv2.FILLED)
        baseline = y0 + style.pad + round(style.text * 0.74)
        text.put(image, line, (x0 + style.pad, baseline), text_color(color), style.text)


def _shortened(words: list[str], limit: int, size: int) -> str:
    """The words as a line, the first cut until all fit; empty if not even the rest does."""
    line = " ".join(words)
    while line and text.width(line, size) > limit:
        words = [words[0][:-1], *words[1:]] if words[0] else words[1:]
        if not words:
            return ""
        cut = words[0].rstrip() + ".." if words[0] else ""
        line = " ".join([cut, *words[1:]]).strip()
    return line


def _place(line: str, box: Rect, taken: list[Rect], image: Frame, style: _Style) -> Rect:
    """Where a chip goes: above the box, else inside, else below; within the frame always."""
    height, width = image.shape[:2]
    wide = text.width(line, style.text) + 2 * style.pad
    high = min(round(style.text * 0.9) + 2 * style.pad, height)
    edge = style.line // 2
    x0, y0, x1, y1 = box
    left = min(max(x0 - edge, 0), max(width - wide, 0))
    right = min(max(x1 + edge - wide, 0), max(width - wide, 0))
    tops = [y0 - high, max(y0 - edge, 0), min(y1 + edge, height) - high, y1]
    places = [
        (x, y, min(x + wide, width), y + high)
        for y in tops
        for x in (left, right)
        if y >= 0 and y + high <= height
    ]
    for place in places:
        if not any(_overlap(place, other) for other in taken):
            return place
    if places:
        return places[0]
    top = min(max(y0, 0), height - high)
    return left, top, min(left + wide, width), top + high


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

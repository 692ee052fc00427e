"""Text in pictures: OpenCV 5's outline font where there is one, the stroke font before."""

from __future__ import annotations

import functools
from typing import Any, cast

import cv2

from maskrt.runtime.frames import Frame

Color = tuple[int, int, int]

_api = cast(Any, cv2)  # the outline font is missing in OpenCV 4 and in the stubs of both
_OUTLINE = _api.FontFace("sans") if hasattr(cv2, "FontFace") else None
_WEIGHT = 500  # a little heavier than regular: thin strokes get lost on small chips


def width(text: str, size: float) -> int:
    """Of the text in pixels; ``size`` is the font's, in pixels (capitals are 0.7 of it high)."""
    return _width(text, size, _OUTLINE is not None)


@functools.lru_cache(4096)  # captions come again: names with scores of two digits
def _width(text: str, size: float, outline: bool) -> int:
    if outline:
        return int(_api.getTextSize((0, 0), text, (0, 0), _OUTLINE, int(size), _WEIGHT)[2])
    scale, thickness = _strokes(size)
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][0]


def put(image: Frame, text: str, origin: tuple[int, int], color: Color, size: float) -> None:
    """Writes into the image, anti-aliased; ``origin`` is where the baseline begins, ``(x, y)``."""
    if _OUTLINE is not None:
        _api.putText(image, text, origin, color, _OUTLINE, int(size), _WEIGHT)
        return
    scale, thickness = _strokes(size)
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)


def _strokes(size: float) -> tuple[float, int]:
    return size / 31.0, max(1, round(size / 14))  # the font's capitals are 22 pixels at scale 1

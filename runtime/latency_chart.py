"""A picture of a profile: stages, and the distribution of the frames' time."""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np

from maskrt.errors import MaskrtError
from maskrt.files import replacing
from maskrt.runtime import text
from maskrt.runtime.draw import text_color
from maskrt.runtime.frames import Frame
from maskrt.runtime.latency import Summary
from maskrt.runtime.text import Color


def chart(summary: Summary, path: str | os.PathLike[str]) -> None:
    """Draws a profile into a PNG file: stages, and the distribution of the frames' time.

    Raises:
        MaskrtError: the file has another suffix, or cannot be written.
    """
    check_chart(path)
    ok, content = cv2.imencode(".png", _Chart(summary).image)
    if not ok:
        raise MaskrtError(f"{path}: this OpenCV cannot write PNG files: leave out --chart")
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())


def check_chart(path: str | os.PathLike[str]) -> None:
    """Refuses what ``chart`` cannot write.

    Raises:
        MaskrtError: another suffix than .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise MaskrtError(
            f"{path}: found the suffix {Path(path).suffix!r}, expected .png: charts are PNG files"
        )


# drawing: sizes in pixels, colours BGR

_WIDTH, _MARGIN = 1400, 48
_NAMES = 210  # what the stages' names take
_VALUES = 230  # p50 and p95 in numbers, right of the bars
_ROW, _BAR = 34, 18
_HISTOGRAM = 240
_INK, _MUTED, _GRID, _PAPER = (48, 40, 36), (122, 114, 108), (228, 224, 220), (255, 255, 255)
_PALETTE: tuple[Color, ...] = (
    (180, 119, 54), (60, 142, 242), (98, 160, 63), (82, 84, 217), (178, 122, 148), (178, 183, 76),
    (72, 190, 230), (150, 130, 240), (108, 117, 156), (150, 150, 150),
)  # fmt: skip


class _Chart:
    """Drawn from the top down; ``_y`` is where the next part begins."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        rows = len(summary.stages)
        height = 410 + rows * _ROW + _HISTOGRAM + 170
        self.image: Frame = np.full((height, _WIDTH, 3), _PAPER, np.uint8)
        self._y = _MARGIN
        self._header()
        self._shares()
        self._bars()
        self._histogram()
        self.image = self.image[: self._y + _MARGIN - 12]

    def _header(self) -> None:
        summary, model = self._summary, self._summary.model
        settings, machine = summary.settings, summary.machine
        what = [str(model[key]) for key in ("precision", "target") if model.get(key)]
        end = f"  ({', '.join(what)})" if what else ""
        room = _WIDTH - 2 * _MARGIN - text.width(end, 30)
        self._line(_cut(str(model.get("name") or "profile"), 30, room) + end, 30, _INK, after=36)
        source = settings.get("source")
        frame = summary.frame
        told = (
            f"{summary.fps:.1f} frames per second;  a frame takes {frame.p50:.1f} ms (p50), "
            f"{frame.p95:.1f} ms (p95), the first one {summary.first_ms:.1f} ms;  "
            f"{summary.detections:g} detections"
        )
        self._line(told, 19, _INK, after=28)
        where = [machine.get("board"), machine.get("cpu"), machine.get("platform")]
        facts = [*where, _frames(len(summary.frame_ms)) + (f" of {source}" if source else "")]
        self._line(";  ".join(str(part) for part in facts if part), 17, _MUTED, after=44)

    def _shares(self) -> None:
        """One bar in which each stage has its share of the mean."""
        self._line("Share of a frame (mean)", 20, _INK, after=28)
        means = {stage: stats.mean for stage, stats in self._summary.stages.items()}
        total = sum(means.values()) or 1.0
        width, reached = _WIDTH - 2 * _MARGIN, 0.0
        top, bottom = self._y - 6, self._y + 30
        for i, (stage, mean) in enumerate(means.items()):
            left = _MARGIN + round(reached / total * width)
            reached += mean
            right = _MARGIN + round(reached / total * width)
            if right - left < 1:
                continue
            cv2.rectangle(self.image, (left, top), (right - 1, bottom), _color(i), cv2.FILLED)
            if left > _MARGIN:
                cv2.line(self.image, (left, top), (left, bottom), _PAPER, 1)
            for label in (f"{stage}  {mean / total:.0%}", f"{mean / total:.0%}"):
                if text.width(label, 17) + 12 < right - left:
                    middle = (left + right - text.width(label, 17)) // 2
                    text.put(self.image, label, (middle, self._y + 18), text_color(_color(i)), 17)
                    break
        self._y = bottom + 52

    def _bars(self) -> None:
        """A bar to each stage's p50, a whisker to its p95, both in numbers."""
        stages = self._summary.stages
        self._line("Stages: bar to p50, whisker to p95, milliseconds", 20, _INK, after=8)
        left, right = _MARGIN + _NAMES, _WIDTH - _MARGIN - _VALUES
        limit = max((max(stats.p50, stats.p95) for stats in stages.values()), default=0.0) or 1.0
        ticks = _ticks(0.0, limit)
        limit = max(limit, ticks[-1])

        def x_of(value: float) -> int:
            return left + round(value / limit * (right - left))

        top, bottom = self._y, self._y + _ROW * len(stages)
        for title, column in (("p50", 1), ("p95", 0)):
            self._right(title, _column(column), top, 15, _MUTED)
        self._axis([(x_of(tick), _number_text(tick)) for tick in ticks], top + 6, bottom)
        for i, (stage, stats) in enumerate(stages.items()):
            middle = top + 6 + _ROW * i + _ROW // 2
            self._right(_cut(stage, 17, _NAMES - 20), left - 14, middle + 6, 17, _INK)
            for value, column in ((stats.p50, 1), (stats.p95, 0)):
                self._right(f"{value:.2f}", _column(column), middle + 6, 17, _INK)
            corners = (left, middle - _BAR // 2), (x_of(stats.p50), middle + _BAR // 2)
            cv2.rectangle(self.image, *corners, _color(i), cv2.FILLED)
            end = x_of(stats.p95)
            cv2.line(self.image, (x_of(stats.p50), middle), (end, middle), _INK, 2)
            cv2.line(self.image, (end, middle - 6), (end, middle + 6), _INK, 2)
        self._y = bottom + 84

    def _histogram(self) -> None:
        """How often a frame took how long, with the percentiles as lines."""
        stats, values = self._summary.frame, np.asarray(self._summary.frame_ms)
        low, high = float(values.min()), float(values.max())
        # a single hiccup would press all the others into one bar
        shown = float(values[values <= max(1.5 * stats.p95, low)].max())
        beyond = int((values > shown).sum())
        title = f"Time of a frame, milliseconds: {_frames(values.size)}"
        if beyond:
            title += f", of which {beyond} beyond the right edge, up to {high:.1f} ms"
        self._line(title, 20, _INK, after=76)
        spread = max(shown - low, 0.02 * shown, 1e-3)
        low, high = max(low - 0.04 * spread, 0.0), shown + 0.04 * spread
        left, right = _MARGIN + 46, _WIDTH - _MARGIN - 100  # room for the last percentile's label
        top, bottom = self._y, self._y + _HISTOGRAM
        counts, edges = np.histogram(
            values, bins=int(np.clip(2 * math.sqrt(values.size), 8, 60)), range=(low, high)
        )

        def x_of(value: float) -> int:
            return left + round((value - low) / (high - low) * (right - left))

        most = int(counts.max()) or 1
        for tick in _ticks(0, most, 4, whole=True):
            y = bottom - round(tick / most * (_HISTOGRAM - 10))
            cv2.line(self.image, (left, y), (right, y), _GRID, 1)
            self._right(f"{tick:g}", left - 8, y + 5, 15, _MUTED)
        for count, start, end in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
            if count:
                y = bottom - round(count / most * (_HISTOGRAM - 10))
                corners = (x_of(start) + 1, y), (max(x_of(end) - 1, x_of(start) + 1), bottom)
                cv2.rectangle(self.image, *corners, _PALETTE[0], cv2.FILLED)
        self._axis([(x_of(t), _number_text(t)) for t in _ticks(low, high)], bottom, bottom + 4)
        cv2.line(self.image, (left, bottom), (right, bottom), _MUTED, 1)
        # one below the other, so that no line crosses a label, however close the values are
        for row, name in enumerate(("p50", "p95", "p99")):
            value = getattr(stats, name)
            if value > high:
                continue
            x, y = x_of(value), top - 46 + 20 * row
            cv2.line(self.image, (x, y - 8), (x, bottom), _PALETTE[3], 2)
            text.put(self.image, f"{name} {value:.2f}", (x + 8, y + 4), _PALETTE[3], 16)
        self._y = bottom + 30

    def _axis(self, ticks: list[tuple[int, str]], top: int, bottom: int) -> None:
        for x, label in ticks:
            cv2.line(self.image, (x, top), (x, bottom), _GRID, 1)
            place = (x - text.width(label, 15) // 2, bottom + 20)
            text.put(self.image, label, place, _MUTED, 15)

    def _line(self, line: str, size: int, color: Color, after: int) -> None:
        fitting = _cut(line, size, _WIDTH - 2 * _MARGIN)
        text.put(self.image, fitting, (_MARGIN, self._y + size // 2), color, size)
        self._y += after

    def _right(self, label: str, x: int, y: int, size: int, color: Color) -> None:
        """Text that ends at x."""
        text.put(self.image, label, (x - text.width(label, size), y), color, size)


def _column(from_right: int) -> int:
    """Where a column of numbers ends."""
    return _WIDTH - _MARGIN - from_right * 105


def _color(i: int) -> Color:
    return _PALETTE[i % len(_PALETTE)]


def _cut(line: str, size: int, room: int) -> str:
    """The beginning of a text that fits."""
    if text.width(line, size) <= room:
        return line
    while line and text.width(line + "...", size) > room:
        line = line[:-1]
    return line + "..."


def _ticks(low: float, high: float, about: int = 8, *, whole: bool = False) -> list[float]:
    """Round numbers from low to high, at least one."""
    rough = max((high - low) / about, 1e-9)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.999)
    if whole:
        step = max(round(step), 1)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 9) for i in range(first, last + 1)] or [low]


def _frames(count: int) -> str:
    return f"{count} frame" + "s" * (count != 1)


def _number_text(value: float) -> str:
    return f"{value:.6g}"

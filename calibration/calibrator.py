"""From a float32 canonical file and pictures to one with explicit Q/DQ."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from maskrt.calibration.collect import collect
from maskrt.calibration.guards import RangeFacts, check, judge_images, judge_ranges
from maskrt.calibration.histogram import Histogram
from maskrt.calibration.layers import MAPS, Layer, find_layers, keep
from maskrt.calibration.methods import METHODS, require, thresholds
from maskrt.calibration.quantise import quantise
from maskrt.calibration.ranges import RangeStore
from maskrt.calibration.recipe import Point, candidates, place
from maskrt.calibration.report import CalibrationReport
from maskrt.calibration.scales import FORMATS, Format
from maskrt.calibration.view import GraphView
from maskrt.errors import ModelFileError
from maskrt.export.canonical import load_canonical
from maskrt.files import replacing
from maskrt.spec import METADATA_KEY, ModelSpec

Frames = Sequence[NDArray[np.uint8]]
DEFAULT_METHODS: dict[Format, str] = {"int8": "mse", "fp8": "minmax"}
"""How the end of a range is chosen where nothing else is said."""
SEARCHED = ("entropy", "mse")
"""Methods that look for the best range of INT8's steps."""
UNREACHED = "no image reached it"
DEAD = "its input was zero on all images"


class Calibration:
    """A float32 canonical model on its way to a quantised one.

    Reading the ranges is the long part; ``quantised`` can be called with other choices after it.

    Args:
        source: written by ``export``, float32.
        format: of the quantised numbers.

    Attributes:
        spec: of the float32 model.
        layers: all with weights, ``kept`` by the default rules.

    Raises:
        ModelFileError: it is no canonical file, or not in float32.
        UnsupportedModelError: its graph is not that of an R-CNN.
    """

    spec: ModelSpec
    layers: list[Layer]

    def __init__(self, source: str | os.PathLike[str], format: Format = "int8") -> None:
        if format not in FORMATS:
            raise ValueError(f"format: found {format!r}, expected {' or '.join(FORMATS)}")
        self.model, self.spec = load_canonical(source)
        if self.spec.precision != "fp32":
            raise ModelFileError(
                f"{Path(source)} is in {self.spec.precision}: calibrate the float32 file that  "
                "maskrt export  wrote; precisions below are chosen with  maskrt build"
            )
        self.format: Format = format
        self.view = GraphView(self.model)
        self.layers = find_layers(self.view, self.spec)
        self.images = 0
        self.warnings: list[str] = []
        self._histograms: dict[str, Histogram] = {}
        self._largest: dict[str, dict[str, float]] = {}

    @property
    def tensors(self) -> list[str]:
        """All that may come to be quantised, in the graph's order."""
        return candidates(self.view, self.layers)

    def judge(self, frames: Iterable[NDArray[np.uint8]], *, force: bool = False) -> None:
        """Adds to ``warnings`` what speaks against learning from these frames.

        Args:
            frames: as for ``read_ranges``.
            force: what would be refused is warned about.

        Raises:
            MaskrtError: they are unsuitable.
        """
        self.warnings += check(judge_images(frames, self.spec), force)

    def read_ranges(
        self,
        frames: Frames,
        *,
        cache: RangeStore | str | os.PathLike[str] | None = None,
        force: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Runs the model on the frames and notes how its activations are distributed.

        Args:
            frames: uint8 [H, W, 3] each, of any size, in ``spec.canvas.frame_order``.
            cache: a file that keeps what was read; a later call with the same model and frames
                reads it instead of running the model, one that was stopped goes on.
            force: what would be refused is warned about.
            progress: called with the number of frames done, and of all.

        Raises:
            MaskrtError: activations are not finite, or most are zero; the cache is of another
                model or other frames, or cannot be written.
            MissingDependencyError: ONNX Runtime is not installed.
        """
        store = cache if isinstance(cache, RangeStore) or cache is None else RangeStore(cache)
        self._histograms = collect(self.model, self.tensors, frames, store=store, progress=progress)
        self._largest.clear()
        self.images = len(frames)
        facts = {name: _facts(self._histograms[name]) for name in self.tensors}
        self.warnings += check(judge_ranges(facts), force)

    @property
    def digest(self) -> str:
        """Of the ranges that were read."""
        digest = hashlib.sha256()
        for name in self.tensors:
            histogram = self._histograms[name]
            digest.update(f"{name} {histogram.exponent} ".encode() + histogram.counts.tobytes())
        return digest.hexdigest()

    def choose(
        self, keep_fp16: Iterable[str] = (), sensitive: Collection[str] = ()
    ) -> tuple[list[Layer], list[Point]]:
        """Layers and points for a choice of what stays in higher precision.

        Args:
            keep_fp16: patterns of names of layers or stages (``layers.keep``), or ``MAPS``.
            sensitive: names of layers, or ``MAPS``.

        Raises:
            MaskrtError: a pattern matches nothing.
        """
        patterns = list(keep_fp16)
        layers = keep(self.layers, patterns, "as asked")
        layers = [
            replace(layer, kept="sensitive")
            if layer.name in sensitive and not layer.kept
            else layer
            for layer in layers
        ]
        for name, histogram in self._histograms.items():
            reason = UNREACHED if not histogram.total else DEAD
            if not histogram.total or histogram.largest == 0.0:
                readers = {id(use.node) for use in self.view.readers.get(name, [])}
                layers = [
                    replace(layer, kept=layer.kept or reason)
                    if any(id(node) in readers for node in layer.nodes)
                    else layer
                    for layer in layers
                ]
        maps = MAPS not in sensitive and not any(fnmatchcase(MAPS, p) for p in patterns)
        points = place(self.view, layers, maps=maps)
        return layers, points

    def quantised(
        self,
        method: str | None = None,
        *,
        keep_fp16: Iterable[str] = (),
        sensitive: Collection[str] = (),
    ) -> tuple[onnx.ModelProto, CalibrationReport]:
        """The model with explicit Q/DQ, and what was done.

        Args:
            method: one of ``METHODS``; None: that of ``DEFAULT_METHODS``.
            keep_fp16: see ``choose``.
            sensitive: see ``choose``.

        Raises:
            ValueError: there is no such method for the format, or no ranges were read.
            MaskrtError: a pattern matches nothing.
            MissingDependencyError: the method's library is not installed.
            UnsupportedModelError: weights are not finite.
        """
        method = method_for(self.format, method)
        if not self._histograms:
            raise ValueError("no ranges were read: call read_ranges first")
        if method not in self._largest:
            self._largest[method] = thresholds(self._histograms, method)
        patterns = list(keep_fp16)
        layers, points = self.choose(patterns, sensitive)
        model = quantise(self.model, layers, points, self._largest[method], FORMATS[self.format])
        report = CalibrationReport(
            self.format, method, self.images, tuple(layers), len(points), list(self.warnings)
        )
        _describe(model, self.spec, report)
        onnx.checker.check_model(model)
        return model, report


def method_for(format: Format, method: str | None) -> str:
    """The method, or the format's default; its library is there.

    Raises:
        ValueError: there is no such method, or not for this format.
        MissingDependencyError: its library is not installed.
    """
    chosen = DEFAULT_METHODS[format] if method is None else method
    known = [m for m in METHODS if format == "int8" or m not in SEARCHED]
    if chosen not in known:
        raise ValueError(
            f"method: found {chosen!r}, expected one of {', '.join(known)} for {format}"
        )
    require(chosen)
    return chosen


def calibrate(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    frames: Frames,
    *,
    method: str | None = None,
    format: Format = "int8",
    keep_fp16: Iterable[str] = (),
    cache: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationReport:
    """Quantises a canonical file for INT8 (or FP8) engines, with ranges from pictures.

    Weights are quantised per output channel, activations per tensor, both symmetrically; the stem,
    the predictors, decode and NMS stay in higher precision (``calibration.layers``,
    ``calibration.recipe``). A file already at ``output`` is replaced by a complete one only.

    Args:
        source: written by ``export``, float32.
        output: an ONNX file; ``build_model`` builds it for every target.
        frames: uint8 [H, W, 3] each, in ``spec.canvas.frame_order``: what the camera will see,
            some hundred, not those that accuracy is measured on.
        method: how the end of an activation's range is chosen, one of ``methods.METHODS``; None:
            that of ``DEFAULT_METHODS``.
        format: ``"int8"``, or ``"fp8"`` (E4M3, for GPUs from compute capability 8.9 on).
        keep_fp16: patterns of layers that stay in higher precision: names of weights, as in the
            trained model, ``*`` and ``?`` as in a shell; a stage such as ``"mask head"``.
        cache: keeps the ranges for a later call, or goes on where one was stopped.
        force: too few or unsuitable frames are warned about instead of refused.
        progress: called with the number of frames done, and of all.

    Raises:
        ModelFileError: the source is no canonical float32 file.
        MaskrtError: the frames are unsuitable, activations are not finite, a pattern matches
            nothing, a file cannot be written.
        MissingDependencyError: a library is not installed.
        ValueError: there is no such method or format.
    """
    calibration = Calibration(source, format)
    method = method_for(format, method)
    patterns = list(keep_fp16)
    calibration.choose(patterns)  # a wrong pattern is told before the work
    calibration.judge(frames, force=force)
    calibration.read_ranges(frames, cache=cache, force=force, progress=progress)
    model, report = calibration.quantised(method, keep_fp16=patterns)
    save(model, output)
    return report


def save(model: onnx.ModelProto, output: str | os.PathLike[str]) -> None:
    """Writes a model; a file already there is replaced by a complete one only.

    Raises:
        MaskrtError: it cannot be written.
    """
    with replacing(output) as temporary:
        onnx.save(model, str(temporary))


def _facts(histogram: Histogram) -> RangeFacts:
    return RangeFacts(
        amax=histogram.largest,
        values=histogram.total,
        non_finite=histogram.invalid,
        lowest=histogram.lowest,
        highest=histogram.highest,
    )


def _describe(model: onnx.ModelProto, spec: ModelSpec, report: CalibrationReport) -> None:
    """The spec in the metadata says how the model was calibrated."""
    facts: Mapping[str, Any] = {
        "format": report.format,
        "method": report.method,
        "images": report.images,
        "share_of_macs": f"{report.total.part:.4f}",
        "kept_layers": sum(map(len, report.kept().values())),
    }
    calibrated = replace(
        spec, precision=report.format, calibration={k: str(v) for k, v in facts.items()}
    )
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = calibrated.to_json()

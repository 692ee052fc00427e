"""Opens whatever can be compared: an eager model, an ONNX file, a bundle or an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MaskrtError, MissingDependencyError
from maskrt.heads import BUNDLES, ENGINES, SUFFIXES, read_head, read_spec
from maskrt.spec import ModelSpec, Precision
from maskrt.tolerances import looser

Arrays = dict[str, NDArray[Any]]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class TapSource:
    """One of the two sides of a comparison."""

    name: str
    kind: str
    """``"eager"``, ``"onnx"``, ``"bundle"`` or ``"engine"``."""
    spec: ModelSpec
    precision: Precision
    run: Callable[[Frames, float, float], Arrays]
    """Frames uint8 [B, H, W, 3] in BGR, score threshold, NMS threshold → taps (see
    ``maskrt.comparison``)."""


def is_file(what: str) -> bool:
    """Whether a model is named by a file; otherwise as ``maskrt export --model`` takes it."""
    return Path(what).suffix.lower() in SUFFIXES


def open_pair(
    one: str, two: str, *, weights: str = "none", threads: int | None = None
) -> tuple[TapSource, TapSource]:
    """Opens both sides; an eager one takes its canvas from the other's spec.

    Raises:
        MaskrtError: one cannot be opened, both are eager, or they are of different models.
    """
    if not is_file(one) and not is_file(two):
        raise MaskrtError(
            f"found {one} and {two}, expected at least one file ({', '.join(SUFFIXES)}): it says "
            "with which canvas the other one is to run"
        )
    specs = [read_spec(what) for what in (one, two) if is_file(what)]
    if len(specs) == 2:
        _check_same(*specs)
    sources = [
        open_taps(what, spec=specs[0], weights=weights, threads=threads) for what in (one, two)
    ]
    return sources[0], sources[1]


def open_taps(
    what: str,
    *,
    spec: ModelSpec | None = None,
    weights: str = "none",
    threads: int | None = None,
) -> TapSource:
    """Opens one side.

    Args:
        what: a model file, or an eager model as ``maskrt export --model`` takes it.
        spec: with whose canvas an eager model runs.
        weights: of an eager model, as ``maskrt export`` takes them.
        threads: CPU threads; None: all cores.

    Raises:
        MaskrtError: it cannot be opened.
    """
    suffix = Path(what).suffix.lower()
    if not is_file(what):
        if spec is None:
            raise MaskrtError(f"{what}: an eager model needs a spec, that of a file")
        return _eager(what, spec, weights)
    if suffix in BUNDLES:
        return _bundle(what, threads)
    return _engine(what, threads) if suffix in ENGINES else _onnx(what, threads)


def _eager(what: str, spec: ModelSpec, weights: str) -> TapSource:
    try:
        from maskrt.export.adapters.eager import eager_taps
        from maskrt.export.load import load_model
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "export") from error
    taps = eager_taps(load_model(what, weights), spec)

    def run(frames: Frames, score_threshold: float, nms_threshold: float) -> Arrays:
        return taps.run(list(frames), score_threshold, nms_threshold)

    return TapSource(what, "eager", spec, "fp32", run)


def _onnx(what: str, threads: int | None) -> TapSource:
    try:
        from maskrt.export.taps import OnnxTaps
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "export") from error
    taps = OnnxTaps(what, threads)

    def run(frames: Frames, score_threshold: float, nms_threshold: float) -> Arrays:
        return taps.run(_ordered(frames, taps.spec), score_threshold, nms_threshold)

    return TapSource(what, "onnx", taps.spec, taps.spec.precision, run)


def _bundle(what: str, threads: int | None) -> TapSource:
    from maskrt.runtime.archive import BundleArchive
    from maskrt.runtime.bundle import BundleSession

    with BundleArchive(Path(what)) as archive:
        stages = archive.manifest.stages
    session = BundleSession(what, threads)
    tensors = [tensor for stage in stages for tensor in (*stage.inputs, *stage.outputs)]
    channels_last = [tensor.name for tensor in tensors if tensor.layout == "channels_last"]

    def run(frames: Frames, score_threshold: float, nms_threshold: float) -> Arrays:
        taps: Arrays = {}
        ordered = _ordered(frames, session.spec)
        outputs = session.run(ordered, score_threshold, nms_threshold, taps)
        taps.update(outputs)
        for name in channels_last:
            if name in taps:
                taps[name] = np.moveaxis(taps[name], -1, 1)
        return live_only(taps)

    precision = looser(session.head.precision, session.spec.precision)
    return TapSource(what, "bundle", session.spec, precision, run)


def _engine(what: str, threads: int | None) -> TapSource:
    from maskrt.runtime.detector import open_session

    head = read_head(what)
    session = open_session(what, threads=threads)

    def run(frames: Frames, score_threshold: float, nms_threshold: float) -> Arrays:
        return dict(session.run(_ordered(frames, head.spec), score_threshold, nms_threshold))

    return TapSource(what, "engine", head.spec, looser(head.precision, head.spec.precision), run)


def live_only(taps: Arrays) -> Arrays:
    """Replaces the rows of all slots by those of live detections, in the mask and keypoint stages.

    Slots may be the model's number of detections or fewer, as long as they are equal for all frames
    and hold all live ones.
    """
    counts = taps["num_detections"].astype(int)
    kept = dict(taps)
    for name in ("mask_features", "mask_logits", "keypoint_features", "heatmaps"):
        if name in taps:
            slots = len(taps[name]) // len(counts)
            live = np.arange(slots) < counts[:, None]
            kept[name] = taps[name][live.reshape(-1)]
    return kept


def _ordered(frames: Frames, spec: ModelSpec) -> Frames:
    if spec.canvas.frame_order == "bgr":
        return frames
    return np.ascontiguousarray(frames[..., ::-1])


def _check_same(one: ModelSpec, two: ModelSpec) -> None:
    """Two files can be compared if they are of one structure, on one canvas."""
    for what, first, second in (
        ("canvas", *map(_canvas, (one, two))),
        ("task", one.task, two.task),
        ("number of classes", len(one.labels), len(two.labels)),
        ("region proposals", one.rpn, two.rpn),
        ("box pooler", one.box_pool, two.box_pool),
        ("number of detections", one.detection.max_detections, two.detection.max_detections),
    ):
        if first != second:
            shown = f" ({first} and {second})" if isinstance(first, (str, int)) else ""
            raise MaskrtError(
                f"the two files differ in their {what}{shown}; expected two files of one model: "
                "export or build them from the same weights, with the same canvas"
            )


def _canvas(spec: ModelSpec) -> str:
    canvas = spec.canvas
    limits = f"{canvas.min_size or '-'}, {canvas.max_size or '-'}"
    return f"{canvas.height}x{canvas.width}, short and long side at most {limits}"

"""Compares two runs in Polygraphy as ``maskrt compare`` does: detection by detection.

    polygraphy run model.onnx --onnxrt --load-outputs reference.json \\
               --compare-func-script examples/polygraphy/detections.py

The order of detections with almost equal scores changes with the last bit, and so does the list of
those that just reach the threshold: an element by element comparison fails where nothing is wrong.
Here detections are paired by label and nearest box first.

Environment variables, all optional:

- ``MASKRT_PRECISION``: whose tolerances to take: ``fp32`` (default), ``fp16``, ``bf16``, ``int8``.
- ``MASKRT_TOLERANCES``: a JSON file that changes some of them (``maskrt compare --help``).
- ``MASKRT_SCORE_THRESHOLD``: with which both ran; default: the lowest score that is there.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from polygraphy.logger import G_LOGGER

from maskrt.comparison import Comparison, StageDifference
from maskrt.spec import Precision
from maskrt.tolerances import PRECISIONS, Tolerances, read_tolerances

OUTPUTS = ("num_detections", "boxes", "scores", "labels", "masks", "keypoints")


def compare_outputs(one: Any, two: Any) -> OrderedDict[str, bool]:
    """Whether each of the model's outputs is within tolerance.

    Args:
        one: an ``IterationResult`` of Polygraphy: arrays by output, the reference.
        two: the other run on the same frames.
    """
    first, second = _arrays(one), _arrays(two)
    comparison = Comparison(
        _tolerances(),
        score_threshold=_threshold(first, second),
        max_detections=first["boxes"].shape[1],
    )
    comparison.add(first, second)
    verdicts: OrderedDict[str, bool] = OrderedDict()
    for stage in comparison.stages():
        verdicts[stage.stage] = stage.within
        log = G_LOGGER.info if stage.within else G_LOGGER.error
        log(_line(stage))
    return verdicts


def _arrays(result: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: np.asarray(result[name]) for name in OUTPUTS if name in result}
    missing = sorted(set(OUTPUTS[:4]) - set(found))
    if missing:
        G_LOGGER.critical(
            f"the results have no {missing[0]}: expected those of a maskrt model, with all outputs"
        )
    if "masks" in found and found["masks"].dtype == np.uint8:  # as engines of plugins give them
        found["masks"] = found["masks"] * np.float32(1 / 255)
    return found


def _threshold(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    if "MASKRT_SCORE_THRESHOLD" in os.environ:
        return float(os.environ["MASKRT_SCORE_THRESHOLD"])
    live = [
        run["scores"][b, :count]
        for run in (one, two)
        for b, count in enumerate(run["num_detections"].astype(int))
    ]
    scores = np.concatenate(live)
    return float(scores.min()) if len(scores) else 0.0


def _tolerances() -> Tolerances:
    wanted = os.environ.get("MASKRT_PRECISION", "fp32")
    known: dict[str, Precision] = {name: name for name in PRECISIONS}
    if wanted not in known:
        G_LOGGER.critical(f"MASKRT_PRECISION: found {wanted!r}, expected {', '.join(PRECISIONS)}")
    precision = known[wanted]
    file = os.environ.get("MASKRT_TOLERANCES")
    return read_tolerances(file, precision) if file else Tolerances(precision)


def _line(stage: StageDifference) -> str:
    verdict = "within tolerance" if stage.within else "OUT OF TOLERANCE"
    unit = f" {stage.unit}" if stage.unit else ""
    figures = stage.note or (
        f"largest {stage.largest:.3g}{unit}, mean {stage.mean:.3g}, "
        f"{stage.unmatched} of {stage.rows} rows without partner"
    )
    return f"{stage.stage}: {verdict} ({figures}; limit {stage.limit.largest:g}{unit})"

"""Compares what two runs of a model give on the way from frame to detections, stage by stage.

A run is a dict of arrays ("taps"); B frames, R RoIs, D detections, K candidates, N live detections
of all frames:

- ``image`` [B, 3, h, w], ``features/0`` and so on [B, C, Hl, Wl] (by position in the backbone),
- ``objectness`` [B, K], ``deltas`` [B, K, 4], ``indices`` int32 [B, K],
- ``rois`` [B, R, 4], ``roi_count`` [B], ``box_features`` [B * R, C, p, q],
- ``logits`` [B, R, C], ``box_deltas`` [B, R, 4 n], ``boxes_canvas`` [B, D, 4],
- the model's outputs, by their names,
- ``mask_features``, ``mask_logits``, ``keypoint_features``, ``heatmaps`` [N, ...].

A run may lack any of them. The order of candidates, RoIs and detections changes with the last bit
of a score, so they are paired first; what has no partner is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.matching import match_boxes, match_candidates
from maskrt.spec import ModelSpec
from maskrt.tolerances import DENSE, Limit, Tolerances, family

Taps = Mapping[str, NDArray[Any]]
AGREED = 0.25
"""Canvas pixels: RoI features are compared where the boxes agree to this."""
ORDER = (
    "image", "features", "objectness", "deltas", "indices", "rois", "box_features", "logits",
    "box_deltas", "num_detections", "labels", "boxes_canvas", "boxes", "scores", "mask_features",
    "mask_logits", "masks", "keypoint_features", "heatmaps", "keypoints",
)  # fmt: skip
"""Stages from frame to detections."""
_UNITS = {
    **dict.fromkeys(("rois", "boxes_canvas", "boxes", "keypoints"), "px"),
    **dict.fromkeys(("image", *DENSE), "of the RMS"),
    "num_detections": "detections",
}


@dataclass(frozen=True)
class StageDifference:
    """By how much two runs differ in a stage, over all frames."""

    stage: str
    largest: float
    """Of a row; not finite where a value is not."""
    mean: float
    """Of all elements."""
    beyond: float
    """Share of rows that are beyond the limit's ``largest`` or have no partner."""
    unmatched: int
    """Rows without a partner, in both runs."""
    rows: int
    unit: str
    limit: Limit
    note: str = ""

    @property
    def within(self) -> bool:
        """Whether the stage is within tolerance."""
        if self.note:
            return False
        finite = np.isfinite(self.largest)
        return bool(finite and self.mean <= self.limit.mean and self.beyond <= self.limit.share)


@dataclass
class _Sums:
    largest: float = 0.0
    total: float = 0.0
    elements: int = 0
    beyond: int = 0
    unmatched: int = 0
    rows: int = 0
    note: str = ""


class Comparison:
    """Collects the differences of two runs, frame by frame.

    Args:
        tolerances: limits by stage.
        score_threshold: with which both ran; detections that just reach it need no partner.
        max_detections: D; where a list is full, its last detections need no partner.
        top_k: candidates of each level of the RPN; only needed for ``indices``.
    """

    def __init__(
        self,
        tolerances: Tolerances,
        *,
        score_threshold: float,
        max_detections: int,
        top_k: Sequence[int] = (),
    ) -> None:
        self.tolerances = tolerances
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.top_k = tuple(top_k)
        self._sums: dict[str, _Sums] = {}

    @staticmethod
    def of(
        spec: ModelSpec, tolerances: Tolerances, score_threshold: float | None = None
    ) -> Comparison:
        """For runs of a model; the threshold is its default unless another is given."""
        detection = spec.detection
        default = detection.score_threshold
        return Comparison(
            tolerances,
            score_threshold=default if score_threshold is None else score_threshold,
            max_detections=detection.max_detections,
            top_k=[level.top_k for level in spec.rpn.levels],
        )

    def add(self, one: Taps, two: Taps) -> None:
        """Adds a run of the reference and of the other on the same frames."""
        for name in sorted(set(one) & set(two)):
            if family(name) in ("image", "features"):
                self._dense(name, one[name], two[name])
        batch = len(one["num_detections"])
        if len(two["num_detections"]) != batch:
            self._refuse("num_detections", one["num_detections"], two["num_detections"])
            return
        self._candidates(one, two, batch)
        self._rois(one, two, batch)
        self._detections(one, two, batch)

    def stages(self) -> list[StageDifference]:
        """The stages that both runs have, in order."""
        names = sorted(self._sums, key=lambda name: (ORDER.index(family(name)), name))
        return [self._difference(name, self._sums[name]) for name in names]

    def first_out(self) -> StageDifference | None:
        """The first stage that is out of tolerance."""
        return next((stage for stage in self.stages() if not stage.within), None)

    def _difference(self, name: str, sums: _Sums) -> StageDifference:
        return StageDifference(
            name,
            sums.largest,
            sums.total / max(sums.elements, 1),
            sums.beyond / max(sums.rows, 1),
            sums.unmatched,
            sums.rows,
            _UNITS.get(family(name), ""),
            self.tolerances.of(name),
            sums.note,
        )

    def _candidates(self, one: Taps, two: Taps, batch: int) -> None:
        names = [name for name in ("objectness", "deltas") if name in one and name in two]
        if "indices" not in one or "indices" not in two:
            return
        if one["indices"].shape != two["indices"].shape:
            self._refuse("indices", one["indices"], two["indices"])
            return
        for b in range(batch):
            left, right = match_candidates(one["indices"][b], two["indices"][b], self.top_k)
            for name in names:
                self._dense(name, one[name][b, left], two[name][b, right], by_row=True)
            self._count("indices", len(left), len(one["indices"][b]) - len(left))

    def _rois(self, one: Taps, two: Taps, batch: int) -> None:
        if not all("rois" in taps and "roi_count" in taps for taps in (one, two)):
            return
        rows: tuple[list[NDArray[np.intp]], list[NDArray[np.intp]]] = ([], [])
        for b in range(batch):
            boxes = [t["rois"][b, : int(t["roi_count"][b])] for t in (one, two)]
            pairs = match_boxes(boxes[0], boxes[1])
            lost = sum(map(len, boxes)) - 2 * len(pairs[0])
            difference = _distance(boxes[0][pairs[0]], boxes[1][pairs[1]])
            self._absolute("rois", difference, unmatched=lost)
            agreed = difference.max(-1, initial=0) <= AGREED
            for kept, pair, taps in zip(rows, pairs, (one, two), strict=True):
                kept.append(pair[agreed] + b * taps["rois"].shape[1])
        left, right = (np.concatenate(kept) for kept in rows)
        for name in ("box_features", "logits", "box_deltas"):
            if name in one and name in two:
                flat = [_rows(t[name], 1 if name == "box_features" else 2) for t in (one, two)]
                self._dense(name, flat[0][left], flat[1][right], by_row=True)

    def _detections(self, one: Taps, two: Taps, batch: int) -> None:
        live: tuple[list[NDArray[np.intp]], list[NDArray[np.intp]]] = ([], [])
        counts = [taps["num_detections"].astype(int) for taps in (one, two)]
        before = [np.concatenate([[0], np.cumsum(count)]) for count in counts]
        for b in range(batch):
            found = [
                {
                    name: taps[name][b, : count[b]]
                    for name in ("boxes", "scores", "labels", "masks", "keypoints", "boxes_canvas")
                    if name in taps
                }
                for taps, count in zip((one, two), counts, strict=True)
            ]
            labels = (found[0]["labels"], found[1]["labels"])
            pairs = match_boxes(found[0]["boxes"], found[1]["boxes"], labels)
            alone = [self._alone(f["scores"], p) for f, p in zip(found, pairs, strict=True)]
            self._count("labels", len(pairs[0]), sum(alone))
            self._absolute("num_detections", np.abs(np.array([[alone[0] - alone[1]]])))
            pairwise = [
                {name: values[pair] for name, values in f.items()}
                for f, pair in zip(found, pairs, strict=True)
            ]
            self._outputs(*pairwise)
            name = "boxes_canvas" if all("boxes_canvas" in f for f in pairwise) else "boxes"
            agreed = _distance(pairwise[0][name], pairwise[1][name]).max(-1, initial=0) <= AGREED
            for kept, pair, first in zip(live, pairs, before, strict=True):
                kept.append(pair[agreed] + first[b])
        left, right = (np.concatenate(kept) for kept in live)
        for name in ("mask_features", "mask_logits", "keypoint_features", "heatmaps"):
            if name in one and name in two:
                self._dense(name, one[name][left], two[name][right], by_row=True)

    def _outputs(self, one: Taps, two: Taps) -> None:
        for name in ("boxes_canvas", "boxes"):
            if name in one and name in two:
                self._absolute(name, _distance(one[name], two[name]))
        self._absolute("scores", _distance(one["scores"], two["scores"])[:, None])
        if "masks" in one and "masks" in two:
            if one["masks"].shape != two["masks"].shape:
                self._refuse("masks", one["masks"], two["masks"])
            else:
                self._absolute("masks", _distance(one["masks"], two["masks"]).reshape(-1, 1))
        if "keypoints" in one and "keypoints" in two:
            points = _distance(one["keypoints"], two["keypoints"])
            points[~np.isfinite(points).all(-1)] = np.inf  # a score that is none counts, too
            self._absolute("keypoints", points[..., :2].reshape(-1, 2))

    def _alone(self, scores: NDArray[Any], paired: NDArray[np.intp]) -> int:
        """Detections without a partner that ought to have one."""
        room = self.tolerances.of("scores").largest
        lowest = self.score_threshold + room
        if len(scores) == self.max_detections:
            lowest = max(lowest, float(scores.min()) + room)  # the next ones were cut off
        wanted = ~(scores <= lowest)
        wanted[paired] = False
        return int(wanted.sum())

    def _dense(
        self, name: str, one: NDArray[Any], two: NDArray[Any], *, by_row: bool = False
    ) -> None:
        """Adds a relative difference; rows are elements, or what lies along the first axis."""
        if one.shape != two.shape:
            self._refuse(name, one, two)
            return
        shape = (len(one), -1 if one.size else 1) if by_row else (-1, 1)
        scale = _rms(one)
        difference = _distance(one, two) / scale
        self._absolute(name, difference.reshape(shape))

    def _absolute(self, name: str, difference: NDArray[Any], *, unmatched: int = 0) -> None:
        """Adds differences [rows, elements of a row]."""
        sums = self._sums.setdefault(name, _Sums())
        sums.unmatched += unmatched
        sums.rows += len(difference) + unmatched
        sums.beyond += unmatched
        if not difference.size:
            return
        worst = difference.max(-1)
        largest = float(worst.max())
        sums.largest = max(sums.largest, largest)
        sums.total += float(difference.sum(dtype=np.float64))
        sums.elements += difference.size
        sums.beyond += int((~(worst <= self.tolerances.of(name).largest)).sum())

    def _count(self, name: str, paired: int, unmatched: int) -> None:
        sums = self._sums.setdefault(name, _Sums())
        sums.rows += paired + unmatched
        sums.beyond += unmatched
        sums.unmatched += unmatched

    def _refuse(self, name: str, one: NDArray[Any], two: NDArray[Any]) -> None:
        sums = self._sums.setdefault(name, _Sums())
        sums.note = f"shape {list(one.shape)} against {list(two.shape)}"


def _distance(one: NDArray[Any], two: NDArray[Any]) -> NDArray[Any]:
    """Absolute difference; infinite where one of the values is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(one.astype(np.float32) - two.astype(np.float32))
    difference[~np.isfinite(difference)] = np.inf
    return difference


def _rms(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64) if values.size else values
    scale = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    return scale or 1.0


def _rows(values: NDArray[Any], axes: int) -> NDArray[Any]:
    """The first axes as one."""
    return values.reshape(-1, *values.shape[axes:])

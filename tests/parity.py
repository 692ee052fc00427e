"""Detections of two computations of one model, compared without regard to how sums are rounded.

Processors round sums differently, and a detector's steps make whole differences of that: a ceil of
a box's width, a floor of its pyramid level, an IoU beside the threshold, the order of nearly equal
scores, the higher of two equal peaks. The limits on boxes, scores, masks and keypoints stay tight;
what stands on such a cliff is told by the reference itself. Its weights are disturbed by 1e-6
of their values: that moves results some ten times as far as rounding does (boxes by 1e-3 px, scores
by 1e-5). Each disturbance is followed by its opposite: what is within rounding of a cliff falls to
the other side in one of the two. So the rule is:

- A detection of the reference has a twin among ours, one to one: same label, box, score and mask
  within ``Limits``. It may lack one if it lacks one in a disturbed run of the reference, too, there
  within half the limits (where weights move farther, so much wider ones); or if its score is within
  the limit of the threshold, or of the last one that is kept where all slots are full.
- A detection of ours has a twin in the reference, or in a disturbed run of it, or such a score.
- A keypoint of twins is at the same place with the same score. It may differ if the reference's own
  differs likewise in a disturbed run, or if the detection is a sliver (``SLIVER``).
- Of all this, only ``allowed`` may be let pass in a frame, and ``at_least`` detections have twins.

The order of detections does not matter where scores are within the limit of each other: each
list has to be sorted by itself. Disturbed runs are only made where something differs.

``MASKRT_DISTURB`` moves the weights of models that tests draw (``elsewhere``), for the reference
and for what is exported alike: cliffs are then elsewhere. Tests have to pass with any number.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import nn

Found = dict[str, np.ndarray]
"""boxes (n, 4), scores (n,), labels (n,); masks (n, m, m), keypoints (n, K, 3) with scores."""
DISTURBANCES = (1e-6, 1e-6, 1e-6, 4e-6, 4e-6, 4e-6)
"""Of weights, relative, there and back: the farther ones are for differences in resized frames."""
RUNS = 2 * len(DISTURBANCES)
ELSEWHERE = 1e-4
AT_LEAST = 4
SLIVER = 4.0
"""Pixels: at a frame's edge the rows of a lower box's heatmap are all equal, and any may win."""


@dataclass(frozen=True)
class Limits:
    """How far twins may be from each other."""

    boxes: float = 0.05  # pixels
    scores: float = 1e-4
    masks: float = 1e-3
    points: float = 0.1  # pixels
    # a share of a sum of exponentials of logits, or a logit
    point_scores: tuple[float, float] = (1e-3, 2e-3)  # absolute, relative

    def times(self, factor: float) -> Limits:
        """Wider or narrower ones."""
        absolute, relative = self.point_scores
        return Limits(
            self.boxes * factor, self.scores * factor, self.masks * factor, self.points * factor,
            (absolute * factor, relative * factor),
        )  # fmt: skip


LOW_PRECISION = Limits(boxes=0.5, scores=0.01, masks=0.05)
"""What fp16, and another order of rounding to INT8 steps, leave of most detections."""


def allowed(count: int) -> int:
    """Of so many detections of a frame, those that may be left out."""
    return max(2, int(0.05 * count))


@dataclass
class Reference:
    """What ours is held against.

    ``find(frames, None)`` gives the detections of each frame, ``find(frames, k)`` those with the
    k-th disturbance. Scores are above ``threshold``, at most ``slots`` are kept.
    """

    find: Callable[[Any, int | None], Sequence[Found]]
    threshold: float
    slots: int


@dataclass
class Outcome:
    """What was compared, and what was left out: (what, position in the frame's list)."""

    twins: int = 0
    left_out: list[tuple[str, int]] = field(default_factory=list)


def assert_parity(
    reference: Reference,
    frames: Any,
    ours: Sequence[Found],
    limits: Limits = Limits(),
    at_least: int = AT_LEAST,
) -> Outcome:
    """Ours are the reference's detections, by the rule above."""
    expected = reference.find(frames, None)
    assert len(expected) == len(ours)
    disturbed = cache(lambda k: reference.find(frames, k))
    total = Outcome()
    for b, (one, two) in enumerate(zip(expected, ours, strict=True)):
        outcome = _compare(one, two, lambda k, b=b: disturbed(k)[b], reference, limits)
        total.twins += outcome.twins
        total.left_out += outcome.left_out
    assert total.twins >= at_least, total
    return total


def _compare(
    one: Found, two: Found, runs: Callable[[int], Found], reference: Reference, limits: Limits
) -> Outcome:
    """A frame: every difference has an excuse, and there are few of them."""
    assert one.keys() == two.keys()
    for found in (one, two):
        assert (np.diff(found["scores"]) <= 0).all(), "scores do not descend"
        assert len(found["boxes"]) <= reference.slots
        assert (found["scores"] > reference.threshold - limits.scores).all()
    rows, columns = twins(one, two, limits)
    partner = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    lost = set(range(len(one["boxes"]))) - partner.keys()
    extra = set(range(len(two["boxes"]))) - set(partner.values())
    moved = {(i, k) for i, j in partner.items() for k in _moved(one, i, two, j, limits)}

    on_the_edge = _edges(one, two, reference, limits)
    open_lost = {i for i in lost if one["scores"][i] > on_the_edge}
    open_extra = {j for j in extra if two["scores"][j] > on_the_edge}
    open_moved = {(i, k) for i, k in moved if not _is_sliver(one["boxes"][i])}
    counted = open_moved.copy()
    for k in range(RUNS):
        if not (open_lost or open_extra or open_moved):
            break
        run, factor = runs(k), DISTURBANCES[k // 2] / 2e-6
        own, theirs_too = limits.times(factor), limits.times(max(1, factor))
        theirs = dict(zip(*(x.tolist() for x in twins(one, run, own)), strict=True))
        open_lost &= theirs.keys()
        open_extra -= set(twins(two, run, theirs_too)[0].tolist())
        open_moved = {
            (i, point)
            for i, point in open_moved
            if i in theirs and point not in _moved(one, i, run, theirs[i], own)
        }

    def told(found: Found, i: int) -> str:
        return f"{i}: {found['boxes'][i]}, {found['labels'][i]}, {found['scores'][i]}"

    assert not open_lost, f"no twin of {[told(one, i) for i in sorted(open_lost)]}"
    assert not open_extra, f"found without a twin: {[told(two, j) for j in sorted(open_extra)]}"
    assert not open_moved, f"keypoints elsewhere (detection, keypoint): {sorted(open_moved)}"
    few = allowed(len(one["boxes"]))
    assert max(len(lost), len(extra)) <= few, f"{len(lost)} lost, {len(extra)} new: too many"
    whole = {i for i, _ in counted if sum(i == other for other, _ in counted) > 1}
    assert len(whole) <= few, f"keypoints of {len(whole)} detections are elsewhere: too many"
    if "keypoints" in one:
        # peaks of equal height are more frequent than other cliffs
        points = one["keypoints"].shape[0] * one["keypoints"].shape[1]
        single = sum(i not in whole for i, _ in counted)
        assert single <= allowed(points), f"{single} keypoints are elsewhere: too many"
    left_out = [("lost", i) for i in sorted(lost)] + [("new", j) for j in sorted(extra)]
    left_out += [("keypoint", i) for i, _ in sorted(counted)]
    return Outcome(len(partner), left_out)


def twins(one: Found, two: Found, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Positions in one and in two, pair by pair; the closest pairs first, each used once."""
    if not len(one["boxes"]) or not len(two["boxes"]):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    apart = np.abs(one["boxes"][:, None] - two["boxes"][None]).max(-1) / limits.boxes
    scores = np.abs(one["scores"][:, None] - two["scores"][None]) / limits.scores
    apart = np.maximum(apart, scores)
    apart[one["labels"][:, None] != two["labels"][None]] = np.inf
    pairs = np.argwhere(apart <= 1)  # never where a value is NaN
    if "masks" in one and "masks" in two and len(pairs):
        gaps = np.abs(one["masks"][pairs[:, 0]] - two["masks"][pairs[:, 1]])
        pairs = pairs[gaps.reshape(len(pairs), -1).max(1) <= limits.masks]
    pairs = pairs[np.argsort(apart[tuple(pairs.T)], kind="stable")]
    used: tuple[set[int], set[int]] = set(), set()
    kept = []
    for i, j in pairs.tolist():
        if i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            kept.append((i, j))
    positions = np.array(kept, np.intp).reshape(-1, 2)
    return positions[:, 0], positions[:, 1]


def share_of_twins(
    ones: Sequence[Found], twos: Sequence[Found], limits: Limits = LOW_PRECISION
) -> float:
    """Of all detections of all frames, those that have a twin.

    In low precision more than the last bit differs, and no reference tells which detections stand
    on a cliff. One is a small part of a few hundred; average precision jumps by up to 0.003.
    """
    pairs = total = 0
    for one, two in zip(ones, twos, strict=True):
        pairs += len(twins(one, two, limits)[0])
        total += max(len(one["boxes"]), len(two["boxes"]))
    assert total > 100
    return pairs / total


def _moved(one: Found, i: int, two: Found, j: int, limits: Limits) -> list[int]:
    """Keypoints of a pair that are elsewhere, or have another score."""
    if "keypoints" not in one:
        return []
    first, second = one["keypoints"][i].astype(float), two["keypoints"][j].astype(float)
    near = np.abs(first - second)[:, :2].max(1) <= limits.points
    absolute, relative = limits.point_scores
    alike = np.abs(first - second)[:, 2] <= absolute + relative * np.abs(first[:, 2])
    return np.flatnonzero(~(near & alike)).tolist()


def _edges(one: Found, two: Found, reference: Reference, limits: Limits) -> float:
    """Scores up to this one may be on either side of the threshold, or of the last slot."""
    edge = reference.threshold + limits.scores
    if max(len(one["scores"]), len(two["scores"])) == reference.slots:
        edge = max(edge, float(min(one["scores"].min(), two["scores"].min())) + limits.scores)
    return edge


def _is_sliver(box: np.ndarray) -> bool:
    return bool((box[2:] - box[:2]).min() < SLIVER)


def agrees(attempt: Callable[[int | None], bool]) -> bool:
    """Whether ours agree with the reference, or with a disturbed one: all of ours with one of them.

    For comparisons stage by stage, where what a cliff changes is followed through all later stages.
    """
    return any(attempt(k) for k in (None, *range(RUNS)))


# --- disturbances ---------------------------------------------------------------------------------


def factors(shape: tuple[int, ...], k: int, name: str) -> np.ndarray:
    """By which weights are multiplied in the k-th run: odd ones go as far the other way."""
    return 1 + (-1) ** k * DISTURBANCES[k // 2] * _drawn(shape, k // 2, name)


def _drawn(shape: tuple[int, ...], seed: int, name: str) -> np.ndarray:
    return np.random.default_rng([seed, *name.encode()]).standard_normal(shape)


def disturbed(module: nn.Module, k: int) -> nn.Module:
    """A copy with other weights: the k-th."""
    return _multiplied(copy.deepcopy(module), lambda shape, name: factors(shape, k, name))


def _multiplied(module: nn.Module, by: Callable[[tuple[int, ...], str], np.ndarray]) -> nn.Module:
    weights = dict(module.named_parameters())
    weights |= {n: b for n, b in module.named_buffers() if b.is_floating_point()}
    with torch.no_grad():
        for name, value in weights.items():
            factor = torch.from_numpy(np.asarray(by(tuple(value.shape), name)))
            value.copy_(value.double() * factor)
    return module


def disturbed_file(path: Path, k: int) -> onnx.ModelProto:
    """A canonical file with other weights: the k-th. Weights in INT8 stay."""
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        is_weight = tensor.name.endswith(("weight", "bias"))
        if is_weight and tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            moved = values * factors(values.shape, k, tensor.name)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))
    return model


def elsewhere(module: nn.Module) -> nn.Module:
    """The model itself, its weights moved by 1e-4 where ``MASKRT_DISTURB`` has a number."""
    seed = os.environ.get("MASKRT_DISTURB")
    if not seed:
        return module
    return _multiplied(
        module, lambda shape, name: 1 + ELSEWHERE * _drawn(shape, 1000 + int(seed), name)
    )


# --- references -----------------------------------------------------------------------------------


def eager(model: Any) -> Reference:
    """A torchvision model of ``tests.eager.on_canvas``."""
    from tests.eager import detect

    variant = cache(lambda k: model if k is None else disturbed(model, k))

    def find(frames: Any, k: int | None) -> list[Found]:
        return [_of_torchvision(found) for found in detect(variant(k), list(frames))]

    heads = model.roi_heads
    return Reference(find, heads.score_thresh, heads.detections_per_img)


def _of_torchvision(found: Found) -> Found:
    """With the names and columns of exported models."""
    result = {name: found[name] for name in ("boxes", "scores", "labels")}
    if "crops" in found:
        result["masks"] = found["crops"]
    if "keypoints" in found:
        places, scores = found["keypoints"][..., :2], found["keypoints_scores"]
        result["keypoints"] = np.concatenate([places, scores[..., None]], 2)
    return result


class File:
    """A canonical file in plain ONNX Runtime, on one thread."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._session = cache(self._open)

    def outputs(
        self, frames: np.ndarray, score: float | None = None, nms: float | None = None,
        k: int | None = None,
    ) -> Found:  # fmt: skip
        """As the file gives them, padded; thresholds are the file's unless given."""
        session = self._session(k)
        feeds = {"frames": np.ascontiguousarray(frames)}
        for name, value in (("score_threshold", score), ("nms_threshold", nms)):
            if value is not None:
                feeds[name] = np.array(value, np.float32)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, feeds), strict=True))

    def reference(self, score: float | None = None, nms: float | None = None) -> Reference:
        """For comparisons with these thresholds."""
        from maskrt.heads import read_spec

        detection = read_spec(self.path).detection
        return Reference(
            lambda frames, k: live(self.outputs(frames, score, nms, k)),
            detection.score_threshold if score is None else score,
            detection.max_detections,
        )

    def _open(self, k: int | None) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        source = str(self.path)
        if k is not None:
            source = disturbed_file(self.path, k).SerializeToString()
        return onnxruntime.InferenceSession(source, options)


def of_result(result: Any) -> Found:
    """A detector's result, as it comes from ``maskrt.runtime``; masks are probabilities."""
    found = {name: getattr(result, name) for name in ("boxes", "scores", "labels")}
    for name, value in (("masks", result.mask_probs), ("keypoints", result.keypoints)):
        if value is not None:
            found[name] = value
    return found


def live(outputs: Mapping[str, np.ndarray]) -> list[Found]:
    """Detections of each frame, without the zeros behind them, which have to be zeros."""
    counts = outputs["num_detections"]
    per_frame: list[Found] = [{} for _ in counts]
    for name, values in outputs.items():
        if name == "num_detections":
            continue
        for found, row, count in zip(per_frame, values, counts, strict=True):
            assert not row[count:].any(), f"{name} is not zero padded"
            found[name] = row[:count]
    return per_frame


def assert_same_outputs(
    file: File,
    ours: Mapping[str, np.ndarray],
    frames: np.ndarray,
    thresholds: tuple[float, float] = (0.05, 0.5),
    at_least: int = 0,
) -> Outcome:
    """A session's outputs are the canonical file's: names, types, shapes and detections."""
    expected = file.outputs(frames, *thresholds)
    assert {n: (x.dtype, x.shape) for n, x in ours.items()} == {
        n: (x.dtype, x.shape) for n, x in expected.items()
    }
    return assert_parity(file.reference(*thresholds), frames, live(ours), at_least=at_least)

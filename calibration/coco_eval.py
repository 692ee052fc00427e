"""COCO's average precision for boxes, masks and keypoints, without printing anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEFAULT_SIGMA = 0.067
"""OKS sigma of a point where nothing else is known: the mean of the 17 that COCO uses."""

_KEYS = {
    "AP": "AP_all",
    "AP50": "AP_50",
    "AP75": "AP_75",
    "AP_small": "AP_small",
    "AP_medium": "AP_medium",
    "AP_large": "AP_large",
}


def evaluate(
    ground_truth: dict[str, Any] | str | Path,
    results: list[dict[str, Any]],
    iou_types: Sequence[str] = ("bbox", "segm"),
) -> dict[str, float]:
    """Compare detections with COCO annotations, as COCO's own evaluation does.

    Keypoints are compared by object keypoint similarity over the categories that have
    "keypoints". Its sigmas are the categories' "sigmas" where present, an addition to COCO's
    format; otherwise COCO's own for 17 points, and `DEFAULT_SIGMA` for any other number.

    Args:
        ground_truth: A COCO annotation dict, or the path of the JSON file. It is not changed.
        results: COCO result entries: "image_id", "category_id", "score" and, as the types need,
            "bbox" ([x, y, width, height] in pixels), "segmentation" (RLE or polygons) and
            "keypoints" (flat x, y, v; v is ignored). They are not changed. May be empty.
        iou_types: Any of "bbox", "segm" and "keypoints".

    Returns:
        For each type T: "T/AP" (mean over IoU or OKS 0.50:0.95), "T/AP50", "T/AP75",
        "T/AP_small" (below 32**2 pixels of area; not for keypoints), "T/AP_medium" and
        "T/AP_large" (from 96**2). 0 where nothing was found, NaN where there is no ground truth.

    Raises:
        ValueError: An unknown type, a result for an unknown image or without the field that a
            type needs, or keypoint categories that disagree in their points.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    for kind in iou_types:
        if kind not in _FIELDS:
            raise ValueError(f"unknown type {kind!r}; known are {', '.join(_FIELDS)}")
    source = str(ground_truth) if isinstance(ground_truth, Path) else ground_truth
    truth = COCO(source, use_deepcopy=True, print_function=_silent)
    truth.dataset.setdefault("info", {})
    unknown = {entry["image_id"] for entry in results} - set(truth.imgs)
    if unknown:
        raise ValueError(f"results for images that are not in the ground truth: {sorted(unknown)}")

    out: dict[str, float] = {}
    for kind in iou_types:
        field = _FIELDS[kind]
        found = []
        for entry in results:
            if field not in entry:
                raise ValueError(f"a result for image {entry['image_id']} has no {field!r}")
            found.append({k: v for k, v in entry.items() if k in _COMMON or k == field})
        with_points = [c for c in truth.dataset["categories"] if c.get("keypoints")]
        sigmas = _sigmas(with_points) if kind == "keypoints" else None
        run = COCOeval_faster(
            truth,
            truth.loadRes(found),
            kind,
            print_function=_silent,
            kpt_oks_sigmas=sigmas,
        )
        if kind == "keypoints":
            run.params.catIds = sorted(c["id"] for c in with_points)
        run.evaluate()
        run.accumulate()
        run.summarize()
        for name, theirs in _KEYS.items():
            if theirs in run.stats_as_dict:
                value = float(run.stats_as_dict[theirs])
                out[f"{kind}/{name}"] = value if value >= 0 else math.nan
    return out


_FIELDS = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
_COMMON = ("image_id", "category_id", "score")


def _silent(*_: object) -> None:
    """Take the library's messages and drop them."""


def _sigmas(categories: list[dict[str, Any]]) -> list[float] | None:
    """The one set of sigmas of all keypoint categories; None stands for COCO's 17."""
    if not categories:
        raise ValueError("no category of the ground truth has keypoints")
    count = len(categories[0]["keypoints"])
    sets = {tuple(c.get("sigmas") or [DEFAULT_SIGMA] * count) for c in categories}
    if any(len(c["keypoints"]) != count for c in categories) or len(sets) > 1:
        raise ValueError("keypoint categories must share one set of points and sigmas")
    if count == 17 and not any(c.get("sigmas") for c in categories):
        return None
    (one,) = sets
    if len(one) != count:
        raise ValueError(f"{count} keypoints, but {len(one)} sigmas")
    return list(one)

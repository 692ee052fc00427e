from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

from maskrt.calibration import evaluate
from maskrt.calibration.coco_eval import DEFAULT_SIGMA
from maskrt.examples.shapes import data

KINDS = ("bbox", "segm", "keypoints")
_, MASKS = data.dataset(10, split="test")
_, POINTS = data.dataset(10, split="test", keypoint_task=True)


def perfect(truth: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("image_id", "category_id", "bbox", "segmentation", "keypoints")
    return [{k: a[k] for k in keys if k in a} | {"score": 0.9} for a in truth["annotations"]]


def test_the_truth_itself_scores_one() -> None:
    got = evaluate(POINTS, perfect(POINTS), KINDS)
    for kind in KINDS:
        for name in ("AP", "AP50", "AP75", "AP_medium"):
            assert got[f"{kind}/{name}"] == pytest.approx(1.0)
    assert "bbox/AP_small" in got
    assert "keypoints/AP_small" not in got


def test_default_types_and_a_file(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(MASKS))
    for source in (MASKS, path, str(path)):
        got = evaluate(source, perfect(MASKS))
        assert {k.split("/")[0] for k in got} == {"bbox", "segm"}
        assert got["segm/AP"] == pytest.approx(1.0)


def test_shifted_boxes_score_less() -> None:
    shifted = perfect(MASKS)
    for entry in shifted:
        x, y, w, h = entry["bbox"]
        entry["bbox"] = [x + 0.2 * w, y, w, h]  # IoU = 0.8 / 1.2: right up to a threshold of 0.65
    got = evaluate(MASKS, shifted)
    assert got["bbox/AP"] == pytest.approx(0.4, abs=1e-6)
    assert got["bbox/AP50"] == pytest.approx(1.0)
    assert got["bbox/AP75"] == 0
    assert got["segm/AP"] == pytest.approx(1.0)


def test_wrong_labels_score_nothing() -> None:
    wrong = perfect(MASKS)
    for entry in wrong:
        entry["category_id"] = entry["category_id"] % 6 + 1
    assert evaluate(MASKS, wrong)["bbox/AP50"] < 0.2


def one_point(sigmas: list[float] | None, count: int = 5) -> tuple[dict[str, Any], list[Any]]:
    """One object of area 1000 whose points are all found 3 pixels to the right."""
    names = [f"p{i}" for i in range(count)]
    category: dict[str, Any] = {"id": 1, "name": "thing", "keypoints": names}
    if sigmas is not None:
        category["sigmas"] = sigmas
    points = [v for i in range(count) for v in (10.0 + i, 20.0, 2)]
    truth = {
        "images": [{"id": 7, "width": 100, "height": 100}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 50, 50], "area": 1100,
             "iscrowd": 0, "keypoints": points, "num_keypoints": count}
        ],
        "categories": [category],
    }  # fmt: skip
    moved = [v + 3 if i % 3 == 0 else v for i, v in enumerate(points)]
    return truth, [{"image_id": 7, "category_id": 1, "score": 1.0, "keypoints": moved}]


@pytest.mark.parametrize("sigma", [None, 0.05, 0.1, 0.2])
def test_sigmas_come_from_the_ground_truth(sigma: float | None) -> None:
    truth, results = one_point(None if sigma is None else [sigma] * 5)
    spread = 2 * (sigma or DEFAULT_SIGMA)
    oks = math.exp(-9 / (2 * 1100 * spread**2))
    passed = sum(oks >= 0.5 + 0.05 * i for i in range(10)) / 10
    assert 0 < passed <= 1
    assert evaluate(truth, results, ("keypoints",))["keypoints/AP"] == pytest.approx(passed)


def test_seventeen_points_have_coco_sigmas() -> None:
    truth, results = one_point(None, 17)
    uniform, _ = one_point([DEFAULT_SIGMA] * 17, 17)
    mine = evaluate(truth, results, ("keypoints",))["keypoints/AP"]
    assert mine != evaluate(uniform, results, ("keypoints",))["keypoints/AP"]


def test_no_results_score_zero() -> None:
    got = evaluate(POINTS, [], KINDS)
    assert {k.split("/")[0] for k in got} == set(KINDS)
    assert all(value == 0 for key, value in got.items() if not key.endswith("_large"))


def test_no_ground_truth_is_nan() -> None:
    empty = {**MASKS, "annotations": []}
    assert math.isnan(evaluate(empty, perfect(MASKS))["bbox/AP"])


def test_inputs_are_left_alone_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    truth, results = copy.deepcopy(POINTS), perfect(POINTS)
    before = copy.deepcopy(results)
    evaluate(truth, results, KINDS)
    assert truth == POINTS
    assert results == before
    assert capfd.readouterr() == ("", "")


def test_mistakes_are_named() -> None:
    results = perfect(MASKS)
    with pytest.raises(ValueError, match="unknown type 'mask'"):
        evaluate(MASKS, results, ("mask",))
    with pytest.raises(ValueError, match="not in the ground truth"):
        evaluate(MASKS, [{**results[0], "image_id": 999}])
    with pytest.raises(ValueError, match="no 'segmentation'"):
        evaluate(MASKS, [{k: v for k, v in results[0].items() if k != "segmentation"}])
    truth, found = one_point([0.1, 0.1])
    with pytest.raises(ValueError, match="5 keypoints, but 2 sigmas"):
        evaluate(truth, found, ("keypoints",))
    plain = {**MASKS, "categories": [{"id": 1, "name": "x"}]}
    with pytest.raises(ValueError, match="no category"):
        evaluate(plain, [], ("keypoints",))

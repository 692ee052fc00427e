import dataclasses
import json
import sys

import numpy as np
import pytest
import supervision
from pycocotools import mask as coco

from maskrt.errors import MissingDependencyError
from maskrt.runtime import Detections


def rows(detections):
    pairs = zip(detections.scores, detections.labels, strict=True)
    return [(round(float(s), 3), int(x)) for s, x in pairs]


def test_dtypes(detections):
    assert detections.boxes.dtype == np.float32
    assert detections.scores.dtype == np.float32
    assert detections.labels.dtype == np.int64
    assert detections.mask_probs.dtype == np.float32
    assert detections.keypoints.dtype == np.float32
    assert detections.masks.dtype == bool
    assert len(detections) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"boxes": np.zeros((3, 5))}, r"boxes: found shape \(3, 5\), expected \(3, 4\)"),
        ({"boxes": np.zeros(4)}, "boxes"),
        ({"boxes": np.float32(1)}, "boxes"),
        ({"scores": np.zeros(2)}, "scores"),
        ({"labels": np.zeros((3, 1), int)}, "labels"),
        ({"labels": np.zeros(3)}, "labels: found float64, expected whole numbers"),
        ({"mask_probs": np.zeros((3, 28, 28))}, r"mask_probs: .* expected \(3, 14, 14\)"),
        ({"mask_probs": np.zeros((2, 14, 14))}, "mask_probs"),
        ({"keypoints": np.zeros((3, 4, 3))}, r"keypoints: .* expected \(3, 3, 3\)"),
        ({"frame_size": (0, 5)}, "frame_size"),
    ],
)
def test_validation(detections, change, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(detections, **change)


def test_heads_must_be_in_the_spec(detections, make_spec):
    with pytest.raises(ValueError, match="no mask head"):
        dataclasses.replace(detections, spec=make_spec(mask=False, keypoint=True))
    with pytest.raises(ValueError, match="no keypoint head"):
        dataclasses.replace(detections, spec=make_spec(mask=True, keypoint=False))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (0, [0]),
        (-1, [2]),
        (np.int64(1), [1]),
        (slice(None, None, -1), [2, 1, 0]),
        (slice(5, 9), []),
        ([2, 0, 0], [2, 0, 0]),
        ([], []),
        (np.array([1]), [1]),
        (np.array([True, False, True]), [0, 2]),
        ([False, True, False], [1]),
        (np.zeros(3, bool), []),
    ],
)
def test_selection(detections, selection, expected):
    masks = detections.masks
    part = detections[selection]
    assert len(part) == len(expected)
    for name in ("boxes", "scores", "labels", "mask_probs", "keypoints"):
        assert (getattr(part, name) == getattr(detections, name)[expected]).all()
    assert (part.masks == masks[expected]).all()
    assert part.frame_size == detections.frame_size
    assert part.spec is detections.spec


def test_selection_errors(detections):
    for outside in (3, -4):
        with pytest.raises(IndexError, match="of 3"):
            detections[outside]
    with pytest.raises(IndexError):
        detections[np.zeros(2, bool)]
    for bad in ("boxes", 1.0, None, True, (0, 1)):
        with pytest.raises(TypeError):
            detections[bad]


def test_iteration(detections):
    assert [rows(d) for d in detections] == [[r] for r in rows(detections)]
    assert rows(detections) == [(0.9, 1), (0.8, 2), (0.7, 1)]


def test_class_names(detections):
    assert detections.class_names == ["person", "traffic light", "person"]
    odd = dataclasses.replace(detections, labels=np.array([-1, 4, 0]))
    assert odd.class_names == ["class -1", "class 4", "background"]


def test_masks_are_pasted_once_and_agree_with_the_crops(detections):
    masks = detections.masks
    assert masks is detections.masks
    assert masks.shape == (3, 60, 80)
    for mask, (x, y, crop) in zip(masks, detections.mask_crops, strict=True):
        h, w = crop.shape
        assert (mask[y : y + h, x : x + w] == crop).all()
        assert mask.sum() == crop.sum() > 0


def test_rule_and_threshold_come_from_the_spec(detections):
    def with_mask(**change):
        spec = detections.spec
        return dataclasses.replace(
            detections,
            spec=dataclasses.replace(spec, mask=dataclasses.replace(spec.mask, **change)),
        )

    assert (with_mask(paste="detectron2").masks != detections.masks).any()
    assert with_mask(threshold=0.7).masks.sum() < detections.masks.sum()


def test_without_heads(detections):
    bare = dataclasses.replace(detections, mask_probs=None, keypoints=None)
    assert bare.masks is bare.mask_crops is None
    assert set(bare.to_coco(1)[0]) == {"image_id", "category_id", "bbox", "score"}
    assert bare[1:].keypoints is None
    assert bare.to_supervision().mask is None


def test_coco(detections):
    results = json.loads(json.dumps(detections.to_coco(42)))
    assert [r["image_id"] for r in results] == [42] * 3
    assert [r["category_id"] for r in results] == [1, 2, 1]
    assert results[1]["bbox"] == [30.5, 5.25, 49, 38.75]
    assert results[0]["score"] == pytest.approx(0.9)
    assert type(results[0]["segmentation"]["counts"]) is str
    for result, mask in zip(results, detections.masks, strict=True):
        assert (coco.decode(result["segmentation"]) == mask).all()
    assert results[0]["keypoints"][2::3] == [2, 2, 2]
    assert results[0]["keypoints"][0::3] == pytest.approx(detections.keypoints[0, :, 0].tolist())
    assert results[0]["keypoints"][1::3] == pytest.approx(detections.keypoints[0, :, 1].tolist())


def test_coco_does_not_change_the_keypoints(detections):
    before = detections.keypoints.copy()
    detections.to_coco(1)
    assert (detections.keypoints == before).all()


def test_supervision(detections):
    converted = detections.to_supervision()
    assert isinstance(converted, supervision.Detections)
    assert (converted.xyxy == detections.boxes).all()
    assert (converted.class_id == detections.labels).all()
    assert (converted.confidence == detections.scores).all()
    assert (converted.mask == detections.masks).all()
    assert converted.data["class_name"].tolist() == detections.class_names
    assert (converted.data["keypoints"] == detections.keypoints).all()
    assert len(converted[converted.confidence > 0.75]) == 2


def test_without_supervision(detections, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingDependencyError, match="supervision"):
        detections.to_supervision()


@pytest.mark.parametrize("heads", [True, False])
def test_empty(make_spec, heads):
    nothing = Detections.empty((6, 8), make_spec(mask=heads, keypoint=heads))
    assert len(nothing) == 0
    assert list(nothing) == nothing.class_names == nothing.to_coco(1) == []
    assert len(nothing.to_supervision()) == 0
    assert len(nothing[nothing.scores > 0.5]) == 0
    assert len(nothing[[]]) == 0
    assert nothing.draw(np.ones((6, 8, 3), np.uint8)).all()
    if heads:
        assert nothing.masks.shape == (0, 6, 8)
        assert nothing.mask_crops == []


def test_repr_is_short(detections):
    assert repr(detections).startswith("<Detections: 3 in 80x60: person 0.90, traffic light 0.80")
    many = detections[[0] * 50]
    assert len(repr(many)) < 200

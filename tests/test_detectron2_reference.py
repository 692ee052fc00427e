"""The reference of detectron2's inference against names, numbers and cases worked out by hand."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from tests import parity
from tests.detectron2_reference import (
    Reference,
    complete,
    picture,
    preprocess,
    random_weights,
    save_pth,
    save_zoo_pkl,
)
from tests.detectron2_reference.boxes import decode, grouped_nms
from tests.detectron2_reference.config import Config, merge
from tests.detectron2_reference.configs import ZOO, write_dump, write_yaml, zoo_config
from tests.detectron2_reference.keypoints import heatmaps_to_keypoints
from tests.detectron2_reference.layers import FrozenBatchNorm2d
from tests.detectron2_reference.pooler import Pooler, level_of_boxes
from tests.detectron2_reference.postprocess import paste, to_frame
from tests.detectron2_reference.preprocess import resized_size
from tests.detectron2_reference.roi_heads import masks_of_classes, select_detections
from tests.detectron2_reference.rpn import RPN, cell_anchors, grid_anchors, per_level

CANVAS = (96, 128)
# narrow layers and few RoIs: the structure is the zoo's, the work is not
NARROW: Config = {
    "MODEL": {
        "RESNETS": {"STEM_OUT_CHANNELS": 16, "RES2_OUT_CHANNELS": 32, "WIDTH_PER_GROUP": 8},
        "FPN": {"OUT_CHANNELS": 32},
        "RPN": {"PRE_NMS_TOPK_TEST": 200, "POST_NMS_TOPK_TEST": 60},
        "ROI_HEADS": {"NUM_CLASSES": 5},
        "ROI_BOX_HEAD": {"FC_DIM": 64},
        "ROI_MASK_HEAD": {"CONV_DIM": 16},
        "ROI_KEYPOINT_HEAD": {"CONV_DIMS": [16, 16], "NUM_KEYPOINTS": 4},
    }
}
GROUP_NORM: Config = {
    "MODEL": {
        "KEYPOINT_ON": True,
        "RESNETS": {"NORM": "GN", "STEM_OUT_CHANNELS": 32, "WIDTH_PER_GROUP": 32},
        "FPN": {"NORM": "GN", "FUSE_TYPE": "avg"},
        "RPN": {"CONV_DIMS": [-1, 16]},
        "ROI_BOX_HEAD": {
            "NUM_CONV": 2,
            "NUM_FC": 1,
            "CONV_DIM": 32,
            "NORM": "GN",
            "CLS_AGNOSTIC_BBOX_REG": True,
        },
        "ROI_MASK_HEAD": {"NORM": "GN", "CONV_DIM": 32, "CLS_AGNOSTIC_MASK": True},
    }
}
RESNET_18: Config = {"MODEL": {"RESNETS": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64, "NORM": "BN"}}}
RESNEXT: Config = {"MODEL": {"RESNETS": {"NUM_GROUPS": 4, "WIDTH_PER_GROUP": 4}}}

UNRESIZED: Config = {"INPUT": {"MIN_SIZE_TEST": 0}}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Layers this small gain nothing from more threads, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(v.shape) for name, v in Reference(config).state_dict().items()}


def on_canvas(image: Tensor) -> Tensor:
    canvas = torch.zeros(3, *CANVAS)
    canvas[:, : image.shape[1], : image.shape[2]] = image
    return canvas


# --- names and shapes ---------------------------------------------------------------------------


def test_fpn_names_and_shapes():
    found = shapes(zoo_config("mask_rcnn_R_50_FPN_3x"))
    expected = {
        "backbone.bottom_up.stem.conv1.weight": (64, 3, 7, 7),
        "backbone.bottom_up.stem.conv1.norm.weight": (64,),
        "backbone.bottom_up.stem.conv1.norm.bias": (64,),
        "backbone.bottom_up.stem.conv1.norm.running_mean": (64,),
        "backbone.bottom_up.stem.conv1.norm.running_var": (64,),
        "backbone.bottom_up.res2.0.shortcut.weight": (256, 64, 1, 1),
        "backbone.bottom_up.res2.0.shortcut.norm.weight": (256,),
        "backbone.bottom_up.res2.0.conv1.weight": (64, 64, 1, 1),
        "backbone.bottom_up.res2.2.conv2.weight": (64, 64, 3, 3),
        "backbone.bottom_up.res4.5.conv3.weight": (1024, 256, 1, 1),
        "backbone.bottom_up.res5.0.conv1.weight": (512, 1024, 1, 1),
        "backbone.bottom_up.res5.2.conv3.norm.running_var": (2048,),
        "backbone.fpn_lateral2.weight": (256, 256, 1, 1),
        "backbone.fpn_lateral5.weight": (256, 2048, 1, 1),
        "backbone.fpn_lateral5.bias": (256,),
        "backbone.fpn_output2.weight": (256, 256, 3, 3),
        "backbone.fpn_output5.bias": (256,),
        "proposal_generator.rpn_head.conv.weight": (256, 256, 3, 3),
        "proposal_generator.rpn_head.objectness_logits.weight": (3, 256, 1, 1),
        "proposal_generator.rpn_head.anchor_deltas.weight": (12, 256, 1, 1),
        "roi_heads.box_head.fc1.weight": (1024, 256 * 7 * 7),
        "roi_heads.box_head.fc2.weight": (1024, 1024),
        "roi_heads.box_predictor.cls_score.weight": (81, 1024),
        "roi_heads.box_predictor.bbox_pred.weight": (320, 1024),
        "roi_heads.mask_head.mask_fcn1.weight": (256, 256, 3, 3),
        "roi_heads.mask_head.mask_fcn4.bias": (256,),
        "roi_heads.mask_head.deconv.weight": (256, 256, 2, 2),
        "roi_heads.mask_head.predictor.weight": (80, 256, 1, 1),
    }
    assert {name: found.get(name) for name in expected} == expected
    # 53 convolutions with five tensors each, then pyramid, RPN and heads with weight and bias
    assert len(found) == 53 * 5 + 2 * (4 + 4 + 3 + 2 + 2 + 4 + 1 + 1)


def test_c4_names_and_shapes():
    found = shapes(zoo_config("mask_rcnn_R_101_C4_3x"))
    expected = {
        "backbone.stem.conv1.weight": (64, 3, 7, 7),
        "backbone.res2.0.conv1.norm.running_mean": (64,),
        "backbone.res4.22.conv3.weight": (1024, 256, 1, 1),
        "proposal_generator.rpn_head.conv.weight": (1024, 1024, 3, 3),
        "proposal_generator.rpn_head.objectness_logits.weight": (15, 1024, 1, 1),
        "proposal_generator.rpn_head.anchor_deltas.bias": (60,),
        "roi_heads.res5.0.shortcut.weight": (2048, 1024, 1, 1),
        "roi_heads.res5.0.conv1.weight": (512, 1024, 1, 1),
        "roi_heads.res5.2.conv3.norm.bias": (2048,),
        "roi_heads.box_predictor.cls_score.weight": (81, 2048),
        "roi_heads.box_predictor.bbox_pred.weight": (320, 2048),
        "roi_heads.mask_head.deconv.weight": (2048, 256, 2, 2),
        "roi_heads.mask_head.predictor.weight": (80, 256, 1, 1),
    }
    assert {name: found.get(name) for name in expected} == expected
    assert not [name for name in found if "res5" in name and name.startswith("backbone")]
    assert not [name for name in found if "box_head" in name or "mask_fcn" in name]


def test_dc5_names_and_shapes():
    found = shapes(zoo_config("mask_rcnn_R_50_DC5_3x"))
    expected = {
        "backbone.res5.2.conv2.weight": (512, 512, 3, 3),
        "proposal_generator.rpn_head.conv.weight": (2048, 2048, 3, 3),
        "proposal_generator.rpn_head.objectness_logits.weight": (15, 2048, 1, 1),
        "roi_heads.box_head.fc1.weight": (1024, 2048 * 7 * 7),
        "roi_heads.mask_head.mask_fcn1.weight": (256, 2048, 3, 3),
        "roi_heads.mask_head.mask_fcn2.weight": (256, 256, 3, 3),
    }
    assert {name: found.get(name) for name in expected} == expected


def test_keypoint_resnext_names_and_shapes():
    found = shapes(zoo_config("keypoint_rcnn_X_101_32x8d_FPN_3x"))
    expected = {
        "backbone.bottom_up.res2.0.conv1.weight": (256, 64, 1, 1),
        "backbone.bottom_up.res2.0.conv2.weight": (256, 8, 3, 3),
        "backbone.bottom_up.res5.0.conv2.weight": (2048, 64, 3, 3),
        "roi_heads.box_predictor.cls_score.weight": (2, 1024),
        "roi_heads.box_predictor.bbox_pred.weight": (4, 1024),
        "roi_heads.keypoint_head.conv_fcn1.weight": (512, 256, 3, 3),
        "roi_heads.keypoint_head.conv_fcn8.weight": (512, 512, 3, 3),
        "roi_heads.keypoint_head.score_lowres.weight": (512, 17, 4, 4),
    }
    assert {name: found.get(name) for name in expected} == expected


def test_names_under_other_norms_and_blocks():
    narrow = merge(NARROW, GROUP_NORM)
    found = shapes(zoo_config("mask_rcnn_R_50_FPN_3x", narrow))
    expected = {
        "backbone.bottom_up.stem.conv1.norm.weight": (32,),
        "backbone.fpn_lateral2.norm.weight": (32,),
        "proposal_generator.rpn_head.conv.conv0.weight": (32, 32, 3, 3),
        "proposal_generator.rpn_head.conv.conv1.bias": (16,),
        "roi_heads.box_head.conv1.weight": (32, 32, 3, 3),
        "roi_heads.box_head.conv2.norm.bias": (32,),
        "roi_heads.box_predictor.bbox_pred.weight": (4, 64),
        "roi_heads.mask_head.mask_fcn1.norm.weight": (32,),
        "roi_heads.mask_head.predictor.weight": (1, 32, 1, 1),
    }
    assert {name: found.get(name) for name in expected} == expected
    without = ("bottom_up.stem.conv1.norm.running_mean", "fpn_lateral2.bias")
    assert not [name for name in found if name.endswith(without)]

    basic = shapes(zoo_config("faster_rcnn_R_50_FPN_3x", RESNET_18))
    assert basic["backbone.bottom_up.res2.0.conv2.weight"] == (64, 64, 3, 3)
    assert basic["backbone.bottom_up.res3.0.shortcut.weight"] == (128, 64, 1, 1)
    assert basic["backbone.bottom_up.res3.0.conv1.norm.num_batches_tracked"] == ()
    assert "backbone.bottom_up.res2.0.shortcut.weight" not in basic
    assert "backbone.bottom_up.res2.0.conv3.weight" not in basic


def test_strides():
    def of(name: str, **resnets: object) -> dict[str, list[tuple[int, ...]]]:
        changes = merge(NARROW, {"MODEL": {"RESNETS": resnets}})
        model = Reference(zoo_config(name, changes))
        resnet = getattr(model.backbone, "bottom_up", model.backbone)
        convs = ("conv1", "conv2", "conv3", "shortcut")
        return {
            stage: [getattr(resnet.get_submodule(f"{stage}.0"), c).stride[:1] for c in convs]
            for stage in ("res2", "res3", "res5")
        }

    in_1x1, in_3x3, none = [(2,), (1,), (1,), (2,)], [(1,), (2,), (1,), (2,)], [(1,)] * 4
    name = "faster_rcnn_R_50_FPN_3x"
    assert of(name) == {"res2": none, "res3": in_1x1, "res5": in_1x1}
    assert of(name, STRIDE_IN_1X1=False) == {"res2": none, "res3": in_3x3, "res5": in_3x3}
    assert of("faster_rcnn_R_50_DC5_3x")["res5"] == none

    dilated = Reference(zoo_config("faster_rcnn_R_50_DC5_3x", NARROW))
    assert dilated.backbone.strides["res5"] == 16
    for block in dilated.backbone.get_submodule("res5").children():
        assert block.get_submodule("conv2").dilation == (2, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"META_ARCHITECTURE": "RetinaNet"},
        {"ROI_HEADS": {"NAME": "CascadeROIHeads"}},
        {"RESNETS": {"DEFORM_ON_PER_STAGE": [False, True, True, True]}},
        {"ROI_HEADS": {"NAME": "StandardROIHeads"}, "ROI_BOX_HEAD": {"POOLER_TYPE": "ROIPool"}},
        {"ROI_BOX_HEAD": {"USE_SIGMOID_CE": True}},
        {"RESNETS": {"NORM": "LN"}},
    ],
)
def test_what_is_not_restated_is_refused(changes):
    with pytest.raises(
        ValueError, match=r"CascadeROIHeads|RetinaNet|DEFORM|ROIPool|SIGMOID|norm 'LN'"
    ):
        Reference({"MODEL": changes})


# --- numbers worked out by hand -----------------------------------------------------------------


def test_cell_anchors():
    # 32 * 32 px: twice as wide as high, square, twice as high as wide; then 64 * 64 px
    half, double = 32 / math.sqrt(2), 32 * math.sqrt(2)
    expected = [
        [-double / 2, -half / 2, double / 2, half / 2],
        [-16, -16, 16, 16],
        [-half / 2, -double / 2, half / 2, double / 2],
        [-32, -32, 32, 32],
    ]
    anchors = cell_anchors([32, 64], [0.5, 1.0, 2.0])
    assert anchors.shape == (6, 4)
    np.testing.assert_allclose(anchors[[0, 1, 2, 4]], expected, atol=1e-5)


def test_grid_anchors():
    cell = torch.tensor([[-1.0, -2, 1, 2], [-3, -3, 3, 3]])
    anchors = grid_anchors(cell, (2, 3), stride=8, offset=0.0)
    assert anchors.shape == (12, 4)
    assert anchors[0].tolist() == [-1, -2, 1, 2]
    assert anchors[3].tolist() == [5, -3, 11, 3]  # second place of the first row, second anchor
    assert anchors[6].tolist() == [-1, 6, 1, 10]  # first place of the second row
    moved = grid_anchors(cell, (2, 3), stride=8, offset=0.5)
    assert (moved - anchors == 4).all()


def test_anchor_lists_of_levels():
    assert per_level([[32], [64]], 2) == [[32], [64]]
    assert per_level([[0.5, 1]], 2) == [[0.5, 1], [0.5, 1]]
    assert per_level([32, 64], 2) == [[32, 64], [32, 64]]
    with pytest.raises(ValueError, match="2 lists"):
        per_level([[32], [64]], 3)


def test_decode():
    boxes = torch.tensor([[10.0, 20, 30, 60]])  # 20 x 40 round (20, 40)
    deltas = torch.tensor([[1.0, -1, math.log(2) * 5, 0], [0, 0, 1e3, -1e3]]).reshape(1, 8)
    decoded = decode(deltas, boxes, (10.0, 10.0, 5.0, 5.0))
    # the first class moves by 2 and -4 px and doubles its width
    np.testing.assert_allclose(decoded[0, 0], [2, 16, 42, 56], rtol=1e-6)
    # the second grows by 1000 / 16, its limit, and has no height: there is no limit downwards
    np.testing.assert_allclose(decoded[0, 1], [20 - 625, 40, 20 + 625, 40], rtol=1e-6)


def test_frozen_batch_norm():
    norm = FrozenBatchNorm2d(1)
    assert norm(torch.tensor([[[[3.0]]]])).item() == pytest.approx(3.0)
    for name, value in {
        "weight": 2.0,
        "bias": 1.0,
        "running_mean": 5.0,
        "running_var": 4.0,
    }.items():
        getattr(norm, name).fill_(value)
    expected = (9 - 5) / math.sqrt(4 + 1e-5) * 2 + 1
    assert norm(torch.tensor([[[[9.0]]]])).item() == pytest.approx(expected, rel=1e-6)


def test_levels_of_boxes():
    sides = torch.tensor([1.0, 111, 112, 223, 224, 447, 448, 2000])
    boxes = torch.stack([sides * 0, sides * 0, sides * 2, sides / 2], dim=1)  # not squares
    assert level_of_boxes(boxes, 2, 5).tolist() == [2, 2, 3, 3, 4, 4, 5, 5]
    assert level_of_boxes(torch.zeros(1, 4), 2, 5).tolist() == [2]


@pytest.mark.parametrize(("kind", "expected"), [("ROIAlignV2", 3.5), ("ROIAlign", 4.0)])
def test_alignment_of_pooling(kind, expected):
    """On a ramp of columns the aligned kind reads the RoI's centre; the old one 0.5 px beyond."""
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    head = {"POOLER_TYPE": kind, "POOLER_RESOLUTION": 1, "POOLER_SAMPLING_RATIO": 2}
    pooled = Pooler(head, [2])([ramp], [torch.tensor([[4.0, 4, 12, 12]])])
    assert pooled.shape == (1, 1, 1, 1)
    # columns 2 to 6 in the map's pixels, whose centres are at n + 0.5
    assert pooled.item() == pytest.approx(expected)


def test_pooling_keeps_the_order_of_boxes():
    maps = [torch.full((1, 1, 64 // 2**i, 64 // 2**i), float(i)) for i in range(4)]
    head = {"POOLER_TYPE": "ROIAlignV2", "POOLER_RESOLUTION": 2, "POOLER_SAMPLING_RATIO": 0}
    boxes = torch.tensor([[0.0, 0, 240, 240], [0, 0, 20, 20], [0, 0, 120, 120], [8, 8, 30, 30]])
    pooled = Pooler(head, [4, 8, 16, 32])(maps, [boxes])
    assert pooled[:, 0, 0, 0].tolist() == [2, 0, 1, 0]


def test_nms_of_groups():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.5, 0.9, 0.6, 0.7])
    groups = torch.tensor([0, 0, 1, 1])
    assert grouped_nms(boxes, scores, groups, 0.5).tolist() == [1, 3, 2]
    assert grouped_nms(boxes[:0], scores[:0], groups[:0], 0.5).tolist() == []


def test_proposals_of_two_levels():
    """Logits rank over levels, NMS works within each, boxes end at the content, not the canvas."""
    config = complete(
        {
            "MODEL": {
                "ANCHOR_GENERATOR": {"SIZES": [[16], [32]], "ASPECT_RATIOS": [[1.0]]},
                "RPN": {"IN_FEATURES": ["a", "b"], "POST_NMS_TOPK_TEST": 4},
            }
        }
    )
    rpn = RPN(config, {"a": 16, "b": 32}, {"a": 1, "b": 1})
    with torch.no_grad():
        for parameter in rpn.parameters():
            parameter.zero_()
        rpn.rpn_head.conv.weight[0, 0, 1, 1] = 1
        rpn.rpn_head.objectness_logits.weight.fill_(1)
        features = {
            "a": torch.tensor([[[[1.0, 2, 3, 4], [5, 6, 7, 8]]]]),
            "b": torch.tensor([[[[6.5, 0.5]]]]),
        }
        boxes, logits = rpn(features, content=(20, 40))
    # logits 8 and 4 of the first level lie beyond the content, which is 40 px wide
    assert logits.tolist() == [7, 6.5, 6, 5]
    assert boxes.tolist() == [[24, 8, 40, 20], [0, 0, 16, 16], [8, 8, 24, 20], [0, 8, 8, 20]]


def test_selection_of_detections():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [-5, 0, 90, 30]], [[0, 0, 10, 11], [0, 0, 9, 9]]])
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.7, 0.05, 0.25]])
    found = select_detections(boxes, probabilities, (20, 40), 0.05, 0.5, 100)
    assert found[0].tolist() == [[0, 0, 10, 11], [0, 0, 40, 20]]  # clipped; 0.05 is not above 0.05
    np.testing.assert_allclose(found[1], [0.7, 0.3])
    assert found[2].tolist() == [0, 1]
    assert found[2].dtype == torch.int64
    # one box for all classes, and a limit
    found = select_detections(boxes[:, :1], probabilities, (20, 40), 0.04, 0.5, 2)
    assert found[0].tolist() == [[0, 0, 10, 11], [0, 0, 10, 10]]
    assert found[2].tolist() == [0, 1]


def test_masks_of_classes():
    logits = torch.tensor([0.0, 1, 2, 3]).reshape(2, 2, 1, 1)
    expected = torch.tensor([1.0, 2]).sigmoid()
    assert masks_of_classes(logits, torch.tensor([1, 0])).flatten().tolist() == expected.tolist()
    agnostic = masks_of_classes(logits[:, :1], torch.tensor([7, 9])).flatten()
    assert agnostic.tolist() == torch.tensor([0.0, 2]).sigmoid().tolist()


def test_keypoints_at_the_map_s_own_size():
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, 1, 2] = 3.0
    maps[0, 1, 3, 0] = 5.0
    decoded = heatmaps_to_keypoints(maps, torch.tensor([[10.0, 20, 14, 24]]))
    # the centres of pixel (row 1, column 2) and (row 3, column 0)
    np.testing.assert_allclose(decoded[0, :, :3], [[12.5, 21.5, 3], [10.5, 23.5, 5]], rtol=1e-6)
    parts = [1 / (1 + 15 * math.exp(-3)), 1 / (1 + 15 * math.exp(-5))]
    np.testing.assert_allclose(decoded[0, :, 3], parts, rtol=1e-6)


def test_keypoints_in_boxes_of_fractions():
    maps = torch.zeros(2, 1, 4, 4)
    maps[:, 0, 0, 3] = 2.0
    boxes = torch.tensor([[10.0, 20, 13.5, 24], [5, 5, 5.25, 9]])
    decoded = heatmaps_to_keypoints(maps, boxes)
    # 3.5 px become 4 columns of 0.875 px; a box narrower than 1 px counts as 1 px wide
    assert decoded[0, 0, 0].item() == pytest.approx(10 + 3.5 * 0.875)
    assert decoded[1, 0, 0].item() == pytest.approx(5.5)


def test_keypoints_in_a_larger_box():
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 2, 1] = 4.0
    decoded = heatmaps_to_keypoints(maps, torch.tensor([[0.0, 0, 12, 12]]))[0, 0]
    # each pixel becomes 3 x 3, of which the middle one stands on the map's own pixel
    np.testing.assert_allclose(decoded[:3], [4.5, 7.5, 4.0], rtol=1e-5)


def test_paste():
    mask = torch.zeros(1, 2, 2)
    mask[0, :, 1] = 1.0
    pasted = paste(mask, torch.tensor([[2.0, 1, 6, 5]]), (6, 8))
    assert pasted.shape == (1, 6, 8)
    # a mask pixel covers 2 px: from the middle, x = 4, on it is object; at the box's edges the
    # zeros round the mask count, but pixel centres half a pixel inside keep 0.75 and more
    expected = np.zeros((6, 8), bool)
    expected[1:5, 4:6] = True
    # in the corners 0.75 * 0.75 is left, which is above 0.5 as well
    np.testing.assert_array_equal(pasted[0], expected)


def test_paste_at_the_threshold():
    full = torch.ones(1, 1, 1)
    pasted = paste(full, torch.tensor([[0.5, 0, 2.5, 1]]), (1, 3))
    # pixel centres 0.5, 1.5, 2.5: the outer two lie on the box's edge, where 0.5 is left
    assert pasted[0, 0].tolist() == [True, True, True]
    assert not paste(full * 0.49, torch.tensor([[0.0, 0, 3, 1]]), (1, 3)).any()
    assert paste(full[:0], torch.zeros(0, 4), (4, 5)).shape == (0, 4, 5)


def test_from_canvas_to_frame():
    found = {
        "boxes": torch.tensor([[1.0, 2, 3, 4], [5, 5, 5, 9], [-9, 0, 99, 9]]),
        "scores": torch.tensor([0.9, 0.8, 0.7]),
        "labels": torch.tensor([4, 5, 6]),
        "keypoints": torch.tensor([[[1.0, 2, 0.5]], [[1, 1, 1]], [[99, 9, 0.25]]]),
    }
    result = to_frame(found, content=(10, 20), frame_size=(30, 40))
    assert result["boxes"].tolist() == [[2, 6, 6, 12], [0, 0, 40, 27]]
    assert result["labels"].tolist() == [4, 6]
    assert result["keypoints"].tolist() == [[[2, 6, 0.5]], [[198, 27, 0.25]]]  # not clipped


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((427, 640), (800, 1199)),
        ((300, 900), (444, 1333)),
        ((1080, 1920), (750, 1333)),
        ((500, 500), (800, 800)),
    ],
)
def test_resized_size(frame, expected):
    assert resized_size(frame, 800, 1333) == expected


def test_preprocess():
    frame = np.full((4, 8, 3), (10, 20, 30), np.uint8)
    config = {
        "MODEL": {"PIXEL_MEAN": [1.0, 2.0, 3.0], "PIXEL_STD": [1.0, 2.0, 4.0]},
        "INPUT": {"MIN_SIZE_TEST": 6, "MAX_SIZE_TEST": 100},
    }
    image, size = preprocess(frame, config)
    assert size == (6, 12)
    assert image.shape == (3, 6, 12)
    assert image.dtype == torch.float32
    assert image[:, 2, 2].tolist() == [9, 9, 6.75]
    swapped, _ = preprocess(frame, merge(config, {"INPUT": {"FORMAT": "RGB"}}))
    assert swapped[:, 2, 2].tolist() == [29, 9, 1.75]
    untouched, size = preprocess(frame, merge(config, {"INPUT": {"MIN_SIZE_TEST": 0}}))
    assert size == (4, 8)
    assert untouched.shape == (3, 4, 8)


def in_detectron2(name: str) -> str:
    """detectron2's name of a weight of torchvision's ResNet or feature pyramid."""
    name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    name = re.sub(r"^(conv1|bn1)", r"bottom_up.stem.\1", name)
    name = re.sub(r"^layer(\d)", lambda m: f"bottom_up.res{int(m[1]) + 1}", name)
    name = re.sub(r"bn(\d)", r"conv\1.norm", name)
    name = re.sub(r"^inner_blocks.(\d).0", lambda m: f"fpn_lateral{int(m[1]) + 2}", name)
    return re.sub(r"^layer_blocks.(\d).0", lambda m: f"fpn_output{int(m[1]) + 2}", name)


@pytest.mark.parametrize(
    ("builder", "resnets"),
    [
        ("resnet18", {"DEPTH": 18, "RES2_OUT_CHANNELS": 64}),
        ("resnext50_32x4d", {"NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4, "STRIDE_IN_1X1": False}),
    ],
)
def test_backbone_is_torchvision_s_where_they_agree(builder, resnets):
    """The same ResNet and pyramid under other names: torchvision's stride is in the 3x3."""
    changes = {"MODEL": {"RESNETS": {"NORM": "BN", **resnets}, "FPN": {"OUT_CHANNELS": 16}}}
    backbone = Reference(zoo_config("faster_rcnn_R_50_FPN_3x", changes)).backbone
    body = torchvision.models.get_model(builder, weights=None).eval()
    pyramid = torchvision.ops.FeaturePyramidNetwork(
        [backbone.bottom_up.channels[f"res{i}"] for i in range(2, 6)],
        16,
        extra_blocks=torchvision.ops.feature_pyramid_network.LastLevelMaxPool(),
    )
    states = {**body.state_dict(), **pyramid.state_dict()}
    kept = {name: value for name, value in states.items() if not name.startswith("fc.")}
    backbone.load_state_dict({in_detectron2(name): value for name, value in kept.items()})

    image = torch.from_numpy(picture((64, 96), 0)).permute(2, 0, 1)[None].float() / 64 - 2
    with torch.no_grad():
        found = backbone(image)
        maps = {}
        x = body.maxpool(body.relu(body.bn1(body.conv1(image))))
        for i in range(1, 5):
            x = body.get_submodule(f"layer{i}")(x)
            maps[f"res{i + 1}"] = x
        expected = pyramid(maps)
    assert list(found) == ["p2", "p3", "p4", "p5", "p6"]
    for level, values in zip(found.values(), expected.values(), strict=True):
        torch.testing.assert_close(level, values, rtol=1e-4, atol=1e-5)


# --- whole detectors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mask_rcnn_R_50_FPN_3x", {}),
        ("mask_rcnn_R_50_FPN_3x", GROUP_NORM),
        ("mask_rcnn_R_50_FPN_3x", RESNET_18),
        ("mask_rcnn_R_50_C4_3x", {"MODEL": {"RPN": {"POST_NMS_TOPK_TEST": 40}}}),
        ("mask_rcnn_R_50_DC5_3x", {}),
        ("keypoint_rcnn_X_101_32x8d_FPN_3x", RESNEXT),
    ],
    ids=["FPN", "GN", "R18-BN", "C4", "DC5", "keypoints-X101"],
)
def test_detections_spread(name, changes):
    changes = merge(NARROW, changes)
    if name.startswith("keypoint"):
        changes["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] = 1
    changes["INPUT"] = {"MIN_SIZE_TEST": 80}
    config = zoo_config(name, changes)
    state = random_weights(config, seed=3, canvas=CANVAS)
    assert all(v.dtype == torch.float32 for k, v in state.items() if "tracked" not in k)
    model = Reference(config)
    model.load_state_dict(state)

    frame = picture((150, 220), seed=1)
    image, content = preprocess(frame, config)
    assert content == (80, 117)
    canvas, size = on_canvas(image), frame.shape[:2]
    found = model.detect(canvas, content, size, paste=True)
    boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
    count = len(boxes)
    assert count > 10
    assert (scores[:-1] >= scores[1:]).all()
    assert scores[0] - scores[-1] > 0.2
    assert len(labels.unique()) >= min(3, complete(config)["MODEL"]["ROI_HEADS"]["NUM_CLASSES"])
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    assert sides.max() > 2 * sides.min()
    assert (boxes >= 0).all()
    assert (boxes <= torch.tensor([220, 150, 220, 150])).all()
    if name.startswith("mask"):
        side = 14 if "C4" in name else 28
        assert found["masks"].shape == (count, side, side)
        assert found["pasted"].shape == (count, 150, 220)
        assert 0.2 < (found["masks"] > 0.5).float().mean() < 0.8
        assert found["pasted"].any()
    if "keypoints" in found:
        assert found["keypoints"].shape == (count, 4, 3)
        assert found["keypoints"][..., :2].std(0).min() > 1

    # nothing found: empty tensors of the same kinds
    nothing = model.detect(canvas, content, size, score_threshold=1.0, paste=True)
    for key, values in found.items():
        assert nothing[key].shape == (0, *values.shape[1:])
        assert nothing[key].dtype == values.dtype

    # thresholds of a call replace the configuration's
    fewer = model.detect(canvas, content, size, score_threshold=0.5)
    assert len(fewer["scores"]) == int((scores > 0.5).sum())
    denser = model.detect(canvas, content, size, nms_threshold=0.9)
    assert len(denser["scores"]) > count or count == 100


def test_float32_is_precise_enough():
    """In float64 the same detections come out: differences of 1e-3 are a graph's own fault."""
    config = zoo_config("mask_rcnn_R_101_FPN_3x", NARROW)
    state = random_weights(config, seed=0, canvas=CANVAS)
    model, double = Reference(config), Reference(config)
    model.load_state_dict(state)
    double.load_state_dict(state)
    double.double()
    image, content = preprocess(picture((96, 128), seed=2), merge(config, UNRESIZED))
    found = model.detect(image, content, content)

    def exact(_, k):
        run = double if k is None else parity.disturbed(double, k)
        results = run.detect(image.double(), content, content)
        return [{name: value.numpy() for name, value in results.items()}]

    ours = {name: value.numpy() for name, value in found.items()}
    limits = parity.Limits(boxes=2e-3)
    parity.assert_parity(parity.Reference(exact, 0.05, 100), None, [ours], limits)


def test_random_weights_are_repeatable():
    config = zoo_config("faster_rcnn_R_50_FPN_3x", NARROW)
    first, again = (random_weights(config, seed=1, canvas=CANVAS) for _ in range(2))
    other = random_weights(config, seed=2, canvas=CANVAS)
    assert list(first) == list(Reference(config).state_dict())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


# --- files --------------------------------------------------------------------------------------


def test_files_of_weights(tmp_path: Path):
    config = zoo_config("faster_rcnn_R_50_FPN_3x", NARROW)
    state = Reference(config).state_dict()
    save_zoo_pkl(state, tmp_path / "new.pkl")
    save_zoo_pkl(state, tmp_path / "old.pkl", config)
    save_pth(state, tmp_path / "model_final.pth")
    new, old = (pickle.loads((tmp_path / f"{n}.pkl").read_bytes()) for n in ("new", "old"))
    assert set(new) == {"model", "__author__"}
    assert set(new["model"]) == set(state)
    assert all(type(v) is np.ndarray for v in new["model"].values())
    assert old["model"]["pixel_mean"].shape == (3, 1, 1)
    anchors = old["model"]["proposal_generator.anchor_generator.cell_anchors.4"]
    assert anchors.shape == (3, 4)
    assert len(old["model"]) == len(state) + 7
    loaded = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert set(loaded) == {"model", "optimizer", "scheduler", "iteration"}
    assert all(torch.equal(loaded["model"][name], state[name]) for name in state)


def test_zoo():
    assert len(ZOO) == 17
    resnext = complete(zoo_config("mask_rcnn_X_101_32x8d_FPN_3x"))["MODEL"]
    assert resnext["PIXEL_STD"] == [57.375, 57.120, 58.395]
    assert resnext["RESNETS"]["STRIDE_IN_1X1"] is False
    c4 = complete(zoo_config("faster_rcnn_R_101_C4_3x"))["MODEL"]
    assert (c4["RPN"]["PRE_NMS_TOPK_TEST"], c4["RPN"]["POST_NMS_TOPK_TEST"]) == (6000, 1000)
    assert c4["ROI_BOX_HEAD"]["POOLER_RESOLUTION"] == 14
    assert c4["MASK_ON"] is False
    keypoints = complete(zoo_config("keypoint_rcnn_R_50_FPN_3x"))["MODEL"]
    assert keypoints["ROI_HEADS"]["NUM_CLASSES"] == 1
    assert keypoints["RPN"]["PRE_NMS_TOPK_TEST"] == 1000
    with torch.device("meta"):
        for name in ZOO:
            Reference(zoo_config(name))


def test_yaml_files(tmp_path: Path):
    yaml = pytest.importorskip("yaml")

    def read(path: Path) -> dict:
        content = yaml.safe_load(path.read_text())
        base = content.pop("_BASE_", None)
        return content if base is None else merge(read(path.parent / base), content)

    def as_yacs_reads(value):
        if isinstance(value, dict):
            return {k: as_yacs_reads(v) for k, v in value.items()}
        return eval(value) if isinstance(value, str) and value.startswith("(") else value

    changes = {"MODEL": {"ROI_HEADS": {"NUM_CLASSES": 3}}, "OUTPUT_DIR": ""}
    for name in ZOO:
        path = write_yaml(name, tmp_path, changes)
        assert path.parent.parent == tmp_path
        assert as_yacs_reads(read(path)) == zoo_config(name, changes)
    text = (tmp_path / "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml").read_text()
    assert text.startswith('_BASE_: "../Base-RCNN-FPN.yaml"\nMODEL:\n')
    assert "  STEPS: (210000, 250000)\n" in text

    config = complete(zoo_config("mask_rcnn_R_50_FPN_3x"))
    write_dump(config, tmp_path / "config.yaml")
    dumped = (tmp_path / "config.yaml").read_text()
    # SafeDumper writes tuples as lists, as cfg.dump() does
    assert dumped == yaml.safe_dump(config)

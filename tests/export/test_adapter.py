"""Models are read by structure: any backbone, levels, widths, anchors, heads, classes."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from maskrt.errors import SpecError, UnsupportedModelError
from maskrt.export import export
from maskrt.export.adapters.torchvision import adapt
from tests.eager import on_canvas, picture, spread
from tests.parity import File, assert_parity, eager, live
from tests.support.tiers import quick

CANVAS = (96, 128)


class Pyramid(nn.Module):
    """A backbone of our own: strides 4, 8, … and any names and width."""

    def __init__(self, levels: int, width: int, prefix: str = "level") -> None:
        super().__init__()
        self.out_channels = width
        self.prefix = prefix
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 2, 2) for _ in range(levels - 1))
        self.fpn = FeaturePyramidNetwork([8] * levels, width)

    def forward(self, x):
        maps = [self.stem(x).relu()]
        for down in self.down:
            maps.append(down(maps[-1]).relu())
        return self.fpn(OrderedDict((f"{self.prefix}{i}", m) for i, m in enumerate(maps)))


class Single(nn.Module):
    """A backbone with one feature map, as a tensor: stride 16."""

    out_channels = 12

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 4, 4), nn.ReLU(), nn.Conv2d(12, 12, 4, 4))

    def forward(self, x):
        return self.body(x).relu()


class Head(nn.Module):
    """A head that is not torchvision's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 20, 3)

    def forward(self, x):
        return self.conv(x).relu().amax((2, 3))


def common(levels, classes=4, **changes):
    arguments = {
        "num_classes": classes,
        "min_size": CANVAS[0],
        "max_size": CANVAS[1],
        "rpn_anchor_generator": AnchorGenerator(
            tuple((8 << i, 13 << i) for i in range(levels)), ((0.6, 1.7),) * levels
        ),
        "rpn_pre_nms_top_n_test": 100,
        "rpn_post_nms_top_n_test": 60,
        "box_detections_per_img": 20,
    }
    return {**arguments, **changes}


def pooler(levels, size, prefix="level", sampling=2):
    return MultiScaleRoIAlign([f"{prefix}{i}" for i in range(levels)], size, sampling)


def three_levels():
    return MaskRCNN(
        Pyramid(3, 10),
        box_roi_pool=pooler(3, 7),
        mask_roi_pool=pooler(3, (14, 10)),
        **common(3, box_score_thresh=0.2, box_nms_thresh=0.4, rpn_nms_thresh=0.6),
    )


def five_levels_box_on_two():
    """The poolers read some of the maps only, with adaptive sampling."""
    return FasterRCNN(Pyramid(4, 6, "p"), box_roi_pool=pooler(3, 5, "p", 0), **common(4, 2))


def one_map():
    return FasterRCNN(
        Single(),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        **common(1, rpn_anchor_generator=AnchorGenerator(((16, 32, 64),), ((0.5, 1.0, 2.0),))),
    )


def custom_box_head():
    return FasterRCNN(
        Pyramid(3, 10),
        box_roi_pool=pooler(3, 7),
        box_head=Head(10),
        box_predictor=FastRCNNPredictor(20, 6),
        **common(3, None),
    )


def keypoints():
    return KeypointRCNN(
        Pyramid(3, 10),
        box_roi_pool=pooler(3, 7),
        keypoint_roi_pool=pooler(3, 14),
        keypoint_head=KeypointRCNNHeads(10, (16, 16)),
        keypoint_predictor=KeypointRCNNPredictor(16, 5),
        **common(3, 2),
    )


def masks_and_keypoints():
    model = keypoints()
    model.roi_heads.mask_roi_pool = pooler(3, 14)
    model.roi_heads.mask_head = MaskRCNNHeads(10, (12,), 1)
    model.roi_heads.mask_predictor = MaskRCNNPredictor(12, 8, 2)
    return model


class SameStride(nn.Module):
    """Two maps of stride 4 and one of 8, as torchvision's MobileNet has them at 32 and 64."""

    out_channels = 10

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 4, 4)
        self.again = nn.Conv2d(10, 10, 3, padding=1)

    def forward(self, x):
        first = self.stem(x).relu()
        second = self.again(first).relu()
        return OrderedDict(a=first, b=second, pool=nn.functional.max_pool2d(second, 1, 2))


def maps_of_one_stride():
    """torchvision's pooler then reads the first map only."""
    pool = MultiScaleRoIAlign(["a", "b"], 7, 2)
    return FasterRCNN(SameStride(), box_roi_pool=pool, **common(3))


MODELS = [
    maps_of_one_stride,
    three_levels,
    five_levels_box_on_two,
    one_map,
    custom_box_head,
    keypoints,
    masks_and_keypoints,
]


@pytest.mark.parametrize(
    "build",
    quick([three_levels, masks_and_keypoints, maps_of_one_stride], MODELS, "an export for each"),
    ids=lambda f: f.__name__,
)
def test_any_structure_gives_eager_results(build, tmp_path):
    torch.manual_seed(1)
    model = spread(build(), CANVAS)
    path = tmp_path / "model.onnx"
    spec = export(model, path, CANVAS)
    frame = picture((90, 150), seed=3)
    ours = live(File(path).outputs(frame[None]))
    kinds = {"masks": spec.mask, "keypoints": spec.keypoint}
    assert {name for name, head in kinds.items() if head} == ours[0].keys() & kinds.keys()
    assert_parity(eager(on_canvas(model, CANVAS)), [frame], ours)


def test_spec_says_what_the_model_says():
    _, spec = adapt(three_levels().eval(), CANVAS, labels=["a", "b", "c"])
    assert spec.labels == ("__background__", "a", "b", "c")
    assert (spec.canvas.min_size, spec.canvas.max_size) == CANVAS
    assert [level.grid for level in spec.rpn.levels] == [(24, 32), (12, 16), (6, 8)]
    assert [level.stride for level in spec.rpn.levels] == [(4, 4), (8, 8), (16, 16)]
    assert [len(level.anchors) for level in spec.rpn.levels] == [4, 4, 4]
    assert spec.rpn.nms_threshold == 0.6
    assert spec.rpn.num_rois == 60
    assert spec.box_pool.spatial_scales == (0.25, 0.125, 0.0625)
    assert spec.box_pool.min_level == 2
    assert spec.detection.score_threshold == 0.2
    assert spec.detection.nms_threshold == 0.4
    assert spec.detection.max_detections == 20
    assert spec.mask.pool.output_size == (14, 10)
    assert spec.mask.size == (28, 20)
    assert spec.task == "masks"


def test_names():
    _, spec = adapt(keypoints().eval(), CANVAS)
    assert spec.labels == ("__background__", "class1")
    assert spec.keypoint.names == ("point0", "point1", "point2", "point3", "point4")
    with pytest.raises(ValueError, match="found 3 labels, expected 1"):
        adapt(keypoints().eval(), CANVAS, labels=["a", "b", "c"])
    with pytest.raises(ValueError, match="found 1 keypoint names, expected 5"):
        adapt(keypoints().eval(), CANVAS, keypoint_names=["a"])


def test_torchvisions_mobilenet_is_read():
    builder = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn
    model = builder(weights=None, weights_backbone=None)
    _, spec = adapt(model.eval(), (320, 416))
    assert spec.box_pool.features == (0,)
    assert spec.box_pool.spatial_scales == (1 / 32,)
    assert [level.stride for level in spec.rpn.levels] == [(32, 32), (32, 32), (64, 59)]


def test_fit_enlarges_to_the_canvas():
    _, spec = adapt(three_levels().eval(), (192, 256), resize="fit")
    assert (spec.canvas.min_size, spec.canvas.max_size) == (None, None)


def test_the_model_is_not_changed(tmp_path):
    model = three_levels().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    export(model, tmp_path / "m.onnx", CANVAS)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model.roi_heads.box_roi_pool.scales is None


def test_half_precision_models_are_upcast(tmp_path):
    spec = export(three_levels().half(), tmp_path / "m.onnx", CANVAS)
    assert spec.precision == "fp32"


def broken(change):
    model = three_levels()
    change(model)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(1, 1), "found a Linear, expected a torchvision detection model"),
        (
            broken(lambda m: setattr(m.roi_heads, "box_roi_pool", nn.Identity())),
            "box_roi_pool is a Identity: expected torchvision's MultiScaleRoIAlign",
        ),
        (
            broken(lambda m: setattr(m.rpn, "anchor_generator", nn.Identity())),
            "has no cell_anchors",
        ),
        (
            broken(lambda m: setattr(m.roi_heads.box_roi_pool, "featmap_names", ["x"])),
            r"reads the feature maps \['x'\], but the backbone gives",
        ),
        (
            broken(
                lambda m: setattr(m.roi_heads.box_roi_pool, "featmap_names", ["level0", "level2"])
            ),
            "looks for 3 levels: expected a map for each level",
        ),
        (broken(lambda m: setattr(m.transform, "fixed_size", (64, 64))), "has a fixed_size"),
        (
            broken(lambda m: m.backbone.stem.weight.data.fill_(float("nan"))),
            "NaN or infinity, first in 'backbone.stem.weight'",
        ),
        (
            broken(
                lambda m: setattr(m.rpn, "anchor_generator", AnchorGenerator(((8,),), ((1.0,),)))
            ),
            "found 3 feature maps, anchors for 1",
        ),
    ],
)
def test_what_cannot_be_expressed_is_named(model, message, tmp_path):
    with pytest.raises(UnsupportedModelError, match=message):
        export(model, tmp_path / "m.onnx", CANVAS)
    assert list(tmp_path.iterdir()) == []


def test_unsuitable_canvas(tmp_path):
    with pytest.raises(SpecError, match="found 100, expected a positive multiple of the stride"):
        export(three_levels(), tmp_path / "m.onnx", (100, 128))


def test_a_head_that_torch_cannot_trace_is_told(tmp_path):
    class Dependent(TwoMLPHead):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else x * 2)

    model = three_levels()
    model.roi_heads.box_head = Dependent(10 * 49, 1024)
    with pytest.raises(UnsupportedModelError, match="could not export the model's dense parts"):
        export(model, tmp_path / "m.onnx", CANVAS)
    assert list(tmp_path.iterdir()) == []

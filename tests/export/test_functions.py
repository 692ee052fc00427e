"""ONNX bodies against the torch ops, and the torch ops against torchvision's own code."""

from __future__ import annotations

import functools
import inspect
import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, maskrcnn_inference
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from maskrt.export import ops
from maskrt.export.functions import BODIES, OPSET, function_for
from maskrt.export.trace import OPERATORS
from tests import parity

CLIP = math.log(1000 / 16)
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**16)


@functools.lru_cache(maxsize=64)
def session(name, inputs, outputs, attributes):
    """A model of one canonical node; inputs are (element type, rank) pairs."""
    given_names = [f"in{i}" for i in range(len(inputs))]
    out_names = [f"out{i}" for i in range(outputs)]
    node = helper.make_node(name, given_names, out_names, domain="maskrt", **dict(attributes))
    values = [
        helper.make_tensor_value_info(n, kind, [None] * rank)
        for n, (kind, rank) in zip(given_names, inputs, strict=True)
    ]
    results = [helper.make_value_info(n, onnx.TypeProto()) for n in out_names]
    graph = helper.make_graph([node], name, values, results)
    model = helper.make_model(
        graph,
        functions=[function_for(node)],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("maskrt", 1)],
        ir_version=10,
    )
    return onnxruntime.InferenceSession(model.SerializeToString())


def run_body(name, tensors, outputs, **attributes):
    """The op's ONNX body in ONNX Runtime."""
    kinds = {
        torch.uint8: TensorProto.UINT8,
        torch.int32: TensorProto.INT32,
        torch.float32: TensorProto.FLOAT,
    }
    inputs = tuple((kinds[t.dtype], t.ndim) for t in tensors)
    frozen = tuple(
        (k, tuple(v) if isinstance(v, list) else int(v) if isinstance(v, bool) else v)
        for k, v in attributes.items()
    )
    feeds = {f"in{i}": t.numpy() for i, t in enumerate(tensors)}
    return [torch.from_numpy(x) for x in session(name, inputs, outputs, frozen).run(None, feeds)]


def both(op, tensors, **attributes):
    """Outputs of the torch op and of its body; tensors as positional inputs."""
    expected = op(*tensors, **attributes)
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    flat = [t for x in tensors for t in (x if isinstance(x, list) else [x])]
    name = OPERATORS[op._name]
    got = run_body(name, flat, len(expected), **attributes)
    return expected, got


def assert_same(expected, got, **tolerance):
    for one, two in zip(expected, got, strict=True):
        assert one.dtype == two.dtype
        torch.testing.assert_close(two, one, **(tolerance or {"atol": 1e-5, "rtol": 1e-5}))


def assert_parity(op, tensors, moved, found_of, limits, **attributes):
    """Op and body find the same by the rule of ``tests/parity.py``; also the body's outputs.

    In the op's disturbed runs the first ``moved`` tensors are others: of random boxes, scores and
    heatmaps some stand on a cliff. ``found_of(outputs)`` gives each frame's detections.
    """
    _, got = both(op, tensors, **attributes)

    def find(_, k):
        given = list(tensors)
        for i in range(moved if k is not None else 0):
            by = torch.from_numpy(np.asarray(parity.factors(tuple(given[i].shape), k, str(i))))
            given[i] = (given[i].double() * by).float()
        expected = op(*given, **attributes)
        return found_of([expected] if isinstance(expected, torch.Tensor) else list(expected))

    reference = parity.Reference(find, -math.inf, 10**6)
    parity.assert_parity(reference, None, found_of(got), limits, at_least=0)
    return got


def in_order(count, **values):
    """Rows of each frame; those that have no scores get such that each is where it belongs."""
    rows = [
        {name: x[b, : int(n)].numpy() for name, x in values.items()} for b, n in enumerate(count)
    ]
    for found in rows:
        found.setdefault("labels", np.zeros(len(found["boxes"]), np.int64))
        found.setdefault("scores", np.zeros(len(found["boxes"]), np.float32))
    return rows


def test_every_operator_has_a_body_with_its_attributes():
    assert set(BODIES) == set(OPERATORS.values())
    for name, operator in OPERATORS.items():
        schema = getattr(torch.ops.maskrt, name).default._schema
        tensors = [a for a in schema.arguments if "Tensor" in str(a.type)]
        body = function_for(helper.make_node(operator, ["x"] * len(tensors), ["y"]))
        attributes = [a.name for a in schema.arguments if "Tensor" not in str(a.type)]
        assert list(body.attribute) == attributes
        assert len(body.output) == len(schema.returns)
        assert not body.attribute_proto, "attributes have no defaults: nothing is left unsaid"
        assert inspect.getdoc(getattr(ops, name)._init_fn)


class TestLetterbox:
    @few
    @given(
        height=st.integers(1, 90),
        width=st.integers(1, 90),
        canvas=st.sampled_from([(32, 64), (64, 32), (64, 64), (96, 128)]),
        limits=st.sampled_from([(0, 0), (40, 0), (0, 50), (32, 60), (800, 1333)]),
        swap=st.booleans(),
        resize=st.sampled_from(["torchvision", "detectron2"]),
        seed=seeds,
    )
    @example(1, 90, (96, 128), (0, 0), False, "detectron2", 0)
    @example(90, 1, (32, 64), (40, 0), True, "detectron2", 0)
    def test_body(self, height, width, canvas, limits, swap, resize, seed):
        torch.manual_seed(seed)
        frames = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
        expected, got = both(
            ops.letterbox, [frames], canvas=list(canvas), min_size=limits[0], max_size=limits[1],
            mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], swap_channels=swap,
            resize=resize,
        )  # fmt: skip
        assert_same(expected, got, atol=2e-4 if resize == "torchvision" else 0, rtol=0)
        assert torch.equal(expected[2], got[2])

    def test_older_files(self):
        """Their nodes do not say whose rule they follow; they knew only torchvision's."""
        frames = torch.randint(0, 256, (1, 30, 40, 3), dtype=torch.uint8)
        unsaid, said = (
            run_body(
                "Letterbox", [frames], 3, canvas=[64, 64], min_size=0, max_size=50,
                mean=[0.0] * 3, std=[1.0] * 3, swap_channels=False, **resize,
            )
            for resize in ({}, {"resize": "torchvision"})
        )  # fmt: skip
        assert all(torch.equal(*pair) for pair in zip(unsaid, said, strict=True))

    @pytest.mark.parametrize(
        ("size", "min_size", "max_size"),
        [
            ((480, 640), 800, 1333),
            ((1080, 1920), 800, 1333),
            ((333, 201), 320, 416),
            ((7, 5), 64, 96),
        ],
    )
    def test_torchvision(self, size, min_size, max_size):
        """Where torchvision's padded size is the canvas, the image is torchvision's."""
        transform = GeneralizedRCNNTransform(
            min_size, max_size, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        ).eval()
        frame = torch.randint(0, 256, (*size, 3), dtype=torch.uint8)
        images, _ = transform([frame.permute(2, 0, 1).float() / 255])
        image, scale, content = ops.letterbox(
            frame[None], list(images.tensors.shape[-2:]), min_size, max_size,
            [255 * m for m in transform.image_mean], [255 * s for s in transform.image_std], False,
            "torchvision",
        )  # fmt: skip
        torch.testing.assert_close(image, images.tensors, atol=1e-5, rtol=0)
        assert tuple(content[0].tolist()) == images.image_sizes[0]
        torch.testing.assert_close(scale[0] * content[0], torch.tensor(size).float())


LEVELS = {
    "anchors_per_cell": [3, 1],
    "grid_widths": [9, 5],
    "strides": [8, 8, 16, 16],
    "anchors": [-8.0, -4, 8, 4, -6, -6, 6, 6, -4, -8, 4, 8, -16, -16, 16, 16],
}


def rpn_inputs(seed, batch, top_k, spread):
    generator = torch.Generator().manual_seed(seed)
    indices = torch.stack([
        torch.cat([
            torch.randperm(6 * 9 * 3, generator=generator)[: top_k[0]],
            torch.randperm(3 * 5, generator=generator)[: top_k[1]],
        ])
        for _ in range(batch)
    ]).int()  # fmt: skip
    candidates = sum(top_k)
    objectness = torch.randn(batch, candidates, generator=generator) * 3
    deltas = torch.randn(batch, candidates, 4, generator=generator) * spread
    content = torch.tensor([[47.0, 70.0]]).repeat(batch, 1)
    return [objectness, deltas, indices, content]


class TestProposals:
    @few
    @given(
        seed=seeds,
        batch=st.integers(1, 3),
        top_k=st.sampled_from([(40, 15), (1, 1), (162, 15)]),
        num_rois=st.sampled_from([1, 2]) | st.integers(1, 30),
        threshold=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
        score=st.sampled_from([0.0, 0.5, 1.0]),
        spread=st.sampled_from([0.1, 1.0, 20.0]),
    )
    def test_body(self, seed, batch, top_k, num_rois, threshold, score, spread):
        rois, count = assert_parity(
            ops.proposals, rpn_inputs(seed, batch, top_k, spread), 2,
            lambda outputs: in_order(outputs[1], boxes=outputs[0]), parity.Limits(boxes=5e-4),
            **LEVELS, top_k=list(top_k),
            num_rois=min(num_rois, sum(top_k)), nms_threshold=threshold, score_threshold=score,
            min_size=1e-3, delta_weights=[1.0] * 4, delta_clip=CLIP,
        )  # fmt: skip
        assert not any(boxes[n:].any() for boxes, n in zip(rois, count, strict=True))

    def test_hostile_values_are_dropped(self):
        tensors = rpn_inputs(0, 1, (40, 15), 0.5)
        tensors[0][0, :5] = math.nan
        tensors[1][0, 5:9] = math.nan
        tensors[1][0, 9:12] = math.inf
        tensors[1][0, 12:15] = -math.inf
        arguments = dict(
            **LEVELS, top_k=[40, 15], num_rois=55, nms_threshold=0.7, score_threshold=0.0,
            min_size=1e-3, delta_weights=[1.0] * 4, delta_clip=CLIP,
        )  # fmt: skip
        (rois, count), (body_rois, body_count) = both(ops.proposals, tensors, **arguments)
        assert 0 < count[0] <= 46
        assert torch.isfinite(rois).all()
        assert torch.isfinite(body_rois).all()
        assert torch.equal(count, body_count)

    @pytest.mark.parametrize("seed", range(3))
    def test_torchvision(self, seed):
        """The boxes and their order are those of RegionProposalNetwork.filter_proposals."""
        torch.manual_seed(seed)
        anchors = AnchorGenerator(((16,), (32,)), ((0.5, 1.0, 2.0),) * 2)
        top = {"training": 60, "testing": 60}
        keep = {"training": 50, "testing": 50}
        rpn = RegionProposalNetwork(
            anchors, RPNHead(4, 3), 0.7, 0.3, 256, 0.5, top, keep, 0.7, 0.1
        ).eval()
        maps = [torch.zeros(2, 4, 8, 12), torch.zeros(2, 4, 4, 6)]
        images = ImageList(torch.zeros(2, 3, 64, 96), [(61, 90), (61, 90)])
        levels = [(8, 12), (4, 6)]
        objectness = torch.cat([torch.randn(2, h * w * 3) * 2 for h, w in levels], 1)
        deltas = torch.randn(2, objectness.shape[1], 4) * 0.4
        boxes = rpn.box_coder.decode(deltas.reshape(-1, 4), anchors(images, maps)).reshape(2, -1, 4)
        theirs, _ = rpn.filter_proposals(
            boxes, objectness.reshape(-1, 1), images.image_sizes, [288, 72]
        )

        parts = objectness.split([288, 72], 1)
        best = [part.topk(60) for part in parts]
        indices = torch.cat([b.indices for b in best], 1)
        chosen = torch.cat([best[0].indices, best[1].indices + 288], 1)
        rois, count = ops.proposals(
            torch.cat([b.values for b in best], 1),
            deltas.gather(1, chosen[..., None].expand(-1, -1, 4)),
            indices.int(),
            torch.tensor([[61.0, 90.0]] * 2),
            torch.cat(anchors.cell_anchors).flatten().tolist(),
            [3, 3], [12, 6], [8, 8, 16, 16], [60, 60], 50, 0.7, 0.1, rpn.min_size, [1.0] * 4, CLIP,
        )  # fmt: skip
        for b in range(2):
            assert count[b] == len(theirs[b])
            torch.testing.assert_close(rois[b, : count[b]], theirs[b], atol=1e-4, rtol=0)
            assert not rois[b, count[b] :].any()


def rois_for(seed, batch, slots):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(batch, slots, 2, generator=generator) * 100 - 10
    size = torch.exp(torch.rand(batch, slots, 2, generator=generator) * 6 - 1)
    return torch.cat([low, low + size], -1)


class TestMultilevelRoIAlign:
    @few
    @given(
        seed=seeds,
        batch=st.integers(1, 2),
        levels=st.integers(1, 4),
        output=st.sampled_from([(7, 7), (2, 5), (1, 1)]),
        sampling=st.sampled_from([0, 1, 2, 3]),
        mode=st.sampled_from(["half_pixel", "output_half_pixel"]),
        epsilons=st.sampled_from([(1e-6, 0.0), (0.0, 1e-8)]),
        live=st.integers(0, 8),
    )
    def test_body(self, seed, batch, levels, output, sampling, mode, epsilons, live):
        generator = torch.Generator().manual_seed(seed)
        features = [
            torch.randn(batch, 3, 32 >> i, 24 >> i, generator=generator) for i in range(levels)
        ]
        count = torch.randint(0, live + 1, (batch,), generator=generator).int()
        (expected,), (got,) = both(
            ops.multilevel_roi_align, [rois_for(seed, batch, 8), count, features],
            output_height=output[0], output_width=output[1],
            spatial_scales=[0.25 / 2**i for i in range(levels)], sampling_ratio=sampling,
            coordinate_transformation_mode=mode, min_level=2, canonical_size=32.0,
            canonical_level=3, epsilon=epsilons[0], log_epsilon=epsilons[1],
        )  # fmt: skip
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
        dead = torch.arange(8).repeat(batch) >= count.repeat_interleave(8)
        assert not got[dead].any()

    @pytest.mark.parametrize("levels", [1, 4])
    @pytest.mark.parametrize("sampling", [-1, 2])
    def test_torchvision(self, levels, sampling):
        torch.manual_seed(levels)
        names = [str(i) for i in range(levels)]
        maps = {n: torch.randn(2, 5, 64 >> i, 96 >> i) for i, n in enumerate(names)}
        rois = rois_for(3, 2, 20) * 3
        # exactly on a boundary between two levels
        rois[0, 0] = torch.tensor([0.0, 0.0, 112.0, 112.0])
        rois[0, 1] = torch.tensor([0.0, 0.0, 224.0, 224.0])
        pool = MultiScaleRoIAlign(names, (7, 7), sampling)
        expected = pool(maps, list(rois), [(256, 384), (256, 384)])
        got = ops.multilevel_roi_align(
            rois, torch.tensor([20, 20], dtype=torch.int32), list(maps.values()), 7, 7,
            [0.25 / 2**i for i in range(levels)], max(sampling, 0), "output_half_pixel", 2, 224.0,
            4, 1e-6, 0.0,
        )  # fmt: skip
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def head_inputs(seed, batch, slots, classes, delta_classes):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, slots, classes, generator=generator) * 2
    deltas = torch.randn(batch, slots, 4 * delta_classes, generator=generator)
    content = torch.tensor([[90.0, 120.0]]).repeat(batch, 1)
    count = torch.randint(0, slots + 1, (batch,), generator=generator).int()
    return [logits, deltas, rois_for(seed, batch, slots), count, content]


class TestDetectionNMS:
    @few
    @given(
        seed=seeds,
        batch=st.integers(1, 2),
        slots=st.sampled_from([1, 6, 40]),
        classes=st.sampled_from([2, 5]),
        deltas=st.sampled_from(["all", "foreground", "one"]),
        first=st.booleans(),
        detections=st.sampled_from([1, 10, 100]),
        score=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        overlap=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def test_body(self, seed, batch, slots, classes, deltas, first, detections, score, overlap):
        count = {"all": classes, "foreground": classes - 1, "one": 1}[deltas]
        tensors = head_inputs(seed, batch, slots, classes, count)
        thresholds = [torch.tensor(score), torch.tensor(overlap)]
        boxes, scores, labels, number = assert_parity(
            ops.detection_nms, tensors + thresholds, 2,
            lambda o: in_order(o[3], boxes=o[0], scores=o[1], labels=o[2]),
            parity.Limits(boxes=1e-3, scores=1e-5),
            max_detections=detections, min_size=1e-2,
            delta_weights=[10.0, 10.0, 5.0, 5.0], delta_clip=CLIP, background_first=first,
        )  # fmt: skip
        for b in range(batch):
            n = number[b]
            assert (scores[b, :n] > score).all()
            assert (labels[b, :n] != (0 if first else classes - 1)).all()
            assert not boxes[b, n:].any()
            assert not labels[b, n:].any()

    def test_hostile_values_are_dropped(self):
        tensors = head_inputs(1, 1, 40, 5, 5)
        tensors[3][:] = 40
        tensors[0][0, :5] = math.nan
        tensors[1][0, 5:9] = math.nan
        tensors[1][0, 9:12] = math.inf
        thresholds = [torch.tensor(0.05), torch.tensor(0.5)]
        expected, got = both(
            ops.detection_nms, tensors + thresholds, max_detections=100, min_size=1e-2,
            delta_weights=[10.0, 10.0, 5.0, 5.0], delta_clip=CLIP, background_first=True,
        )  # fmt: skip
        assert torch.isfinite(got[0]).all()
        assert_same(expected, got, atol=1e-4, rtol=1e-5)

    @pytest.mark.parametrize("seed", range(3))
    def test_torchvision(self, seed):
        """Detections and their order are those of RoIHeads.postprocess_detections."""
        from torchvision.models.detection.roi_heads import RoIHeads

        heads = RoIHeads(
            None, None, None, 0.5, 0.5, 512, 0.25, None, score_thresh=0.1, nms_thresh=0.5,
            detections_per_img=30,
        )  # fmt: skip
        logits, deltas, rois, _, content = head_inputs(seed, 2, 60, 6, 6)
        rois = torch.minimum(rois.clamp(min=0), content.flip(1).repeat(1, 2)[:, None])
        boxes, scores, labels = heads.postprocess_detections(
            logits.flatten(0, 1), deltas.flatten(0, 1), list(rois), [(90, 120)] * 2
        )
        got = ops.detection_nms(
            logits, deltas, rois, torch.tensor([60, 60], dtype=torch.int32), content,
            torch.tensor(0.1), torch.tensor(0.5), 30, 1e-2, list(heads.box_coder.weights), CLIP,
            True,
        )  # fmt: skip
        for b in range(2):
            n = int(got[3][b])
            assert n == len(boxes[b]) > 10
            torch.testing.assert_close(got[0][b, :n], boxes[b], atol=1e-4, rtol=0)
            torch.testing.assert_close(got[1][b, :n], scores[b], atol=1e-6, rtol=0)
            assert torch.equal(got[2][b, :n].long(), labels[b])


class TestMaskSelect:
    @few
    @given(seed=seeds, batch=st.integers(1, 2), classes=st.sampled_from([1, 2, 7]))
    def test_body_and_torchvision(self, seed, batch, classes):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(batch * 6, classes, 4, 3, generator=generator)
        labels = torch.randint(0, max(classes, 3), (batch, 6), generator=generator).int()
        labels = labels.clamp(max=classes - 1) if classes > 1 else labels
        count = torch.randint(0, 7, (batch,), generator=generator).int()
        (expected,), (got,) = both(ops.mask_select, [logits, labels, count])
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
        index = labels.long() if classes > 1 else torch.zeros_like(labels).long()
        theirs = torch.stack(maskrcnn_inference(logits, list(index)))[:, :, 0]
        for b in range(batch):
            torch.testing.assert_close(got[b, : count[b]], theirs[b, : count[b]])
            assert not got[b, count[b] :].any()


class TestKeypointDecode:
    @few
    @given(
        seed=seeds,
        batch=st.integers(1, 2),
        points=st.sampled_from([1, 5]),
        decode=st.sampled_from(["torchvision", "detectron2"]),
    )
    def test_body(self, seed, batch, points, decode):
        generator = torch.Generator().manual_seed(seed)
        heatmaps = torch.randn(batch * 5, points, 14, 12, generator=generator)
        count = torch.randint(0, 6, (batch,), generator=generator).int()
        scale = torch.tensor([[2.0, 1.5]]).repeat(batch, 1)
        boxes = rois_for(seed, batch, 5)
        tensors = [heatmaps, boxes, count, scale]
        atol = 1e-3 if decode == "torchvision" else 1e-6
        (got,) = assert_parity(
            ops.keypoint_decode, tensors, 1,
            lambda outputs: in_order(count, boxes=boxes, keypoints=outputs[0]),
            parity.Limits(points=3e-3, point_scores=(atol, 1e-5)), decode=decode,
        )  # fmt: skip
        assert not any(rows[n:].any() for rows, n in zip(got, count, strict=True))
        if decode == "torchvision":  # what is meant by nodes of older files
            (unsaid,) = run_body("KeypointDecode", tensors, 1)
            assert torch.equal(unsaid, got)

    def test_torchvision(self):
        torch.manual_seed(0)
        heatmaps, boxes = torch.randn(5, 4, 14, 14), rois_for(0, 1, 5)
        count, scale = torch.tensor([5], dtype=torch.int32), torch.tensor([[2.0, 3.0]])
        got = ops.keypoint_decode(heatmaps, boxes, count, scale, "torchvision")[0]
        points, scores = heatmaps_to_keypoints(heatmaps, boxes[0])
        torch.testing.assert_close(got[..., :2], points[..., :2] * torch.tensor([3.0, 2.0]))
        torch.testing.assert_close(got[..., 2], scores)

    def test_detectron2(self):
        """heatmaps_to_keypoints of detectron2's structures/keypoints.py, point by point."""
        torch.manual_seed(1)
        heatmaps, boxes = torch.randn(4, 3, 9, 11) * 3, rois_for(2, 1, 4)
        count, scale = torch.tensor([4], dtype=torch.int32), torch.ones(1, 2)
        got = ops.keypoint_decode(heatmaps, boxes, count, scale, "detectron2")[0]
        other = ops.keypoint_decode(heatmaps, boxes, count, scale, "torchvision")[0]
        assert torch.equal(got[..., :2], other[..., :2])
        for maps, (left, top, right, bottom), points in zip(heatmaps, boxes[0], got, strict=True):
            size = [max(1, math.ceil(side)) for side in (bottom - top, right - left)]
            resized = torch.nn.functional.interpolate(maps[None], size, mode="bicubic")[0]
            for cells, pixels, point in zip(maps, resized, points, strict=True):
                best = max(float(pixel) for pixel in pixels.flatten())
                total = sum(math.exp(float(cell) - best) for cell in cells.flatten())
                assert float(point[2]) == pytest.approx(1 / total, rel=1e-5)


def test_decode_is_torchvisions():
    torch.manual_seed(0)
    deltas, boxes = torch.randn(50, 4) * 3, rois_for(1, 1, 50)[0]
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    theirs = coder.decode_single(deltas, boxes)
    ours = ops.decode(deltas, boxes, list(coder.weights), coder.bbox_xform_clip)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_registration(name):
    """torch's own check of schema, fake implementation and dispatch."""
    count = torch.tensor([3], dtype=torch.int32)
    examples = {
        "letterbox": (torch.zeros(1, 9, 7, 3, dtype=torch.uint8), [32, 64], 0, 0, [0.0] * 3,
                      [1.0] * 3, True, "detectron2"),
        "proposals": (*rpn_inputs(0, 1, (40, 15), 0.5), *(LEVELS[k] for k in (
            "anchors", "anchors_per_cell", "grid_widths", "strides")), [40, 15], 20, 0.7, 0.0, 1e-3,
            [1.0] * 4, CLIP),
        "multilevel_roi_align": (rois_for(0, 1, 4), count, [torch.randn(1, 3, 8, 8)], 7, 7, [0.25],
                                 2, "half_pixel", 2, 224.0, 4, 1e-6, 0.0),
        "detection_nms": (*head_inputs(0, 1, 6, 3, 3), torch.tensor(0.1), torch.tensor(0.5), 10,
                          0.01, [10.0] * 4, CLIP, True),
        "mask_select": (torch.randn(4, 2, 3, 3), torch.ones(1, 4, dtype=torch.int32), count),
        "keypoint_decode": (torch.randn(4, 2, 3, 3), rois_for(0, 1, 4), count, torch.ones(1, 2),
                            "detectron2"),
    }  # fmt: skip
    torch.library.opcheck(getattr(torch.ops.maskrt, name).default, examples[name])


def test_bodies_run_in_the_onnx_reference_evaluator():
    """Not only in ONNX Runtime: MaskSelect stands for all in ONNX's own evaluator."""
    from onnx.reference import ReferenceEvaluator

    node = helper.make_node("MaskSelect", ["a", "b", "c"], ["y"], domain="maskrt")
    logits, labels = torch.randn(4, 3, 2, 2), torch.tensor([[0, 1, 2, 1]], dtype=torch.int32)
    count = torch.tensor([3], dtype=torch.int32)
    (got,) = ReferenceEvaluator(function_for(node)).run(
        None,
        {"logits": logits.numpy(), "labels": labels.numpy(), "count": count.numpy()},
        attributes={},
    )
    np.testing.assert_allclose(got, ops.mask_select(logits, labels, count), atol=1e-6)

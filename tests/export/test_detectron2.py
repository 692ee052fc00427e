"""Files exported from detectron2's weights against a restatement of its inference in PyTorch.

Architectures are the zoo's, their layers narrow; ``benchmarks/support`` does it at full width.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from maskrt.cli import main
from maskrt.export import build_model, export, load_model
from maskrt.export.passes import to_tensorrt
from maskrt.matching import match_boxes
from maskrt.runtime import Detections, Detector
from maskrt.runtime.bundle import BundleSession
from tests.detectron2_reference import (
    Reference,
    picture,
    preprocess,
    random_weights,
    save_pth,
    save_zoo_pkl,
)
from tests.detectron2_reference.config import merge
from tests.detectron2_reference.configs import write_dump, write_yaml, zoo_config
from tests.export.passes.standins import replace_plugins
from tests.runtime.test_bundle import assert_same
from tests.test_detectron2_reference import GROUP_NORM, NARROW, RESNET_18, RESNEXT

BOX, SCORE, MASK, KEYPOINT = 0.05, 1e-4, 1e-3, 0.1
CANVAS = (192, 256)
SMALL = {"INPUT": {"MIN_SIZE_TEST": min(CANVAS), "MAX_SIZE_TEST": max(CANVAS)}}
FRAMES = [(192, 256), (100, 150), (301, 397), (480, 700)]
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "mask R50-FPN": ("mask_rcnn_R_50_FPN_3x", {}),
    "mask R50-C4": ("mask_rcnn_R_50_C4_3x", {}),
    "mask R50-DC5, RGB, old RoIAlign, fixed sampling": (
        "mask_rcnn_R_50_DC5_3x",
        {
            "INPUT": {"FORMAT": "RGB"},
            "MODEL": {
                "ROI_BOX_HEAD": {"POOLER_TYPE": "ROIAlign", "POOLER_SAMPLING_RATIO": 2},
                "ROI_MASK_HEAD": {"POOLER_TYPE": "ROIAlign"},
                "RPN": {"BBOX_REG_WEIGHTS": [2.0, 1.0, 1.0, 0.5]},
            },
        },
    ),
    "keypoints R50-FPN": (
        "keypoint_rcnn_R_50_FPN_3x",
        {"MODEL": {"ROI_HEADS": {"NUM_CLASSES": 1}}},
    ),
    "faster X101-FPN, anchors with an offset, no small boxes": (
        "faster_rcnn_X_101_32x8d_FPN_3x",
        merge(
            RESNEXT,
            {
                "MODEL": {
                    "ANCHOR_GENERATOR": {"OFFSET": 0.5},
                    "PROPOSAL_GENERATOR": {"MIN_SIZE": 5},
                }
            },
        ),
    ),
    "mask and keypoints R50-FPN, class-agnostic, GN": ("mask_rcnn_R_50_FPN_3x", GROUP_NORM),
}


@dataclass
class Case:
    """An exported file and the reference of the same weights."""

    path: Path
    config: dict[str, Any]
    reference: Reference

    def expected(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        """What detectron2 would find."""
        image, content = preprocess(frame, self.config)
        padded = torch.zeros(3, *CANVAS)
        padded[:, : content[0], : content[1]] = image
        found = self.reference.detect(padded, content, frame.shape[:2])
        return {name: value.numpy() for name, value in found.items()}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Layers this small gain nothing from more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def case(request, tmp_path_factory) -> Case:
    """Each architecture, through the files that a user has."""
    folder = tmp_path_factory.mktemp("detectron2")
    zoo, changes = ARCHITECTURES[request.param]
    changes = merge(merge(NARROW, SMALL), changes)
    config = zoo_config(zoo, changes)
    state = random_weights(config, 0, CANVAS)
    yaml = write_yaml(zoo, folder, changes)
    save_zoo_pkl(state, folder / "model.pkl", config)
    path = folder / "model.onnx"
    export(load_model(str(yaml), folder / "model.pkl"), path, CANVAS, batch=(1, 2))
    reference = Reference(config)
    reference.load_state_dict(state)
    return Case(path, config, reference)


def live(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    count = int(outputs["num_detections"][0])
    return {name: x[0, :count] for name, x in outputs.items() if name != "num_detections"}


def run(path: Path, frame: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return live(dict(zip(names, session.run(None, {"frames": frame[None]}), strict=True)))


def assert_equal(expected: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> None:
    """Each detection has its twin, and there are no others."""
    assert len(expected["boxes"]) == len(ours["boxes"]) > 3
    labels = (expected["labels"].astype(np.int32), ours["labels"])
    one, two = match_boxes(expected["boxes"], ours["boxes"], labels)
    assert len(one) == len(expected["boxes"])
    limits = {"boxes": BOX, "scores": SCORE, "masks": MASK}
    for name in limits.keys() & expected.keys():
        np.testing.assert_allclose(ours[name][two], expected[name][one], atol=limits[name], rtol=0)
    if "keypoints" in expected:
        # in a sliver at the frame's edge all rows of a heatmap are equal: any may win
        wide = (expected["boxes"][one][:, 2:] - expected["boxes"][one][:, :2]).min(1) >= 4
        points, theirs = ours["keypoints"][two][wide], expected["keypoints"][one][wide]
        same = np.abs(points - theirs)[..., :2].max(-1) <= KEYPOINT
        # of two peaks that are equally high either may win: so it is in float32 and float64
        assert same.mean() >= 0.98
        # a share of a sum of exponentials of logits: relative to them
        np.testing.assert_allclose(points[same][:, 2], theirs[same][:, 2], rtol=2e-3)


@pytest.mark.parametrize("size", FRAMES, ids=str)
def test_detections_are_detectron2s(case, size):
    frame = picture(size, seed=sum(size))
    assert_equal(case.expected(frame), run(case.path, frame))


def test_bundles(case, tmp_path):
    frames = np.stack([picture((301, 397), seed) for seed in (1, 2)])
    session = onnxruntime.InferenceSession(str(case.path))
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(None, {"frames": frames}), strict=True))
    for target in ("onnxruntime", "openvino"):
        bundle = tmp_path / f"{target}.bundle"
        build_model(case.path, bundle, target)
        assert_same(expected, BundleSession(bundle).run(frames, 0.05, 0.5))


def test_the_plugin_graph(case):
    graph, _ = to_tensorrt(onnx.load(str(case.path)), "fp16")
    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & {"Loop", "If", "NonZero", "NonMaxSuppression", "ScatterND"}
    assert replace_plugins(graph)
    attributes = {
        node.op_type: {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for node in graph.graph.node
        if node.domain == "maskrt"
    }
    assert attributes["Letterbox"]["resize"] == b"detectron2"
    assert attributes["DetectionNMS"]["background_first"] == 0
    if "KeypointDecode" in attributes:
        assert attributes["KeypointDecode"]["decode"] == b"detectron2"
    assert "BatchNormalization" not in kinds


class TestOneModel:
    """What does not depend on the architecture."""

    @pytest.fixture(scope="class")
    @classmethod
    def files(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("one")
        config = merge(zoo_config("mask_rcnn_R_50_FPN_3x", NARROW), SMALL)
        config = merge(config, RESNET_18)
        state = random_weights(config, 1, CANVAS)
        write_dump(config, folder / "config.yaml")
        save_pth(state, folder / "model_final.pth")
        export(
            load_model(str(folder / "config.yaml"), folder / "model_final.pth"),
            folder / "model.onnx",
            CANVAS,
            labels=["a", "b", "c", "d", "e"],
        )
        reference = Reference(config)
        reference.load_state_dict(state)
        return folder, Case(folder / "model.onnx", config, reference)

    def test_a_trainers_files(self, files):
        """config.yaml and model_final.pth, as detectron2's trainer leaves them."""
        _, case = files
        frame = picture((150, 200), 5)
        assert_equal(case.expected(frame), run(case.path, frame))

    def test_the_runtime(self, files):
        """Labels from 0, masks pasted by detectron2's rule."""
        _, case = files
        frame = picture((301, 397), 3)
        with Detector(case.path) as detector:
            result = detector(frame)
            assert set(detector.spec.classes) == {0, 1, 2, 3, 4}
        image, content = preprocess(frame, case.config)
        padded = torch.zeros(3, *CANVAS)
        padded[:, : content[0], : content[1]] = image
        found = case.reference.detect(padded, content, frame.shape[:2], paste=True)
        assert len(result.boxes) == len(found["boxes"])
        pasted = found["pasted"].numpy()
        # the order of equal scores may differ
        labels = (found["labels"].numpy().astype(np.int32), result.labels.astype(np.int32))
        one, two = match_boxes(found["boxes"].numpy(), result.boxes, labels)
        assert len(one) == len(result.boxes) > 3
        masks = result.masks
        shared = (pasted[one] & masks[two]).sum((1, 2))
        union = (pasted[one] | masks[two]).sum((1, 2))
        assert (shared / np.maximum(union, 1))[union > 50].min() > 0.97
        assert result.class_names[0] == "abcde"[result.labels[0]]
        assert result.draw(frame).shape == frame.shape

    def test_compare_runs_the_eager_side(self, files, tmp_path, capsys):
        folder, case = files
        for i in range(2):
            cv2.imwrite(str(tmp_path / f"{i}.png"), picture((150, 200), i))
        command = ["compare", folder / "config.yaml", case.path, "--weights"]
        # the random mask head makes more of the last bit than a trained one
        (tmp_path / "looser.json").write_text('{"mask_logits": {"largest": 0.01}}')
        command += [folder / "model_final.pth", "--images", tmp_path]
        command += ["--tolerance-file", tmp_path / "looser.json"]
        assert main([str(part) for part in command]) == 0
        assert "masks" in capsys.readouterr().out

    def test_eval_counts_labels_from_0(self, files, tmp_path):
        """What the reference finds, as annotations: the file finds just that."""
        _, case = files
        annotations, images = [], []
        with Detector(case.path) as detector:
            spec = detector.spec
        for i in range(3):
            frame = picture((150, 200), i)
            cv2.imwrite(str(tmp_path / f"{i}.png"), frame)
            images.append({"id": i, "file_name": f"{i}.png", "height": 150, "width": 200})
            found = case.expected(frame)
            detections = Detections(
                *(found[name] for name in ("boxes", "scores", "labels", "masks")),
                frame_size=(150, 200),
                spec=spec,
            )
            for entry in detections.to_coco(i):
                box = entry["bbox"]
                extra = {"id": len(annotations) + 1, "area": box[2] * box[3], "iscrowd": 0}
                # numbers with gaps, as COCO's own
                category = 10 + 3 * entry["category_id"]
                annotations.append({**entry, **extra, "category_id": category})
        categories = [{"id": 10 + 3 * i, "name": name} for i, name in enumerate("abcde")]
        truth = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        command = ["eval", case.path, "--coco", tmp_path / "truth.json", "--images", tmp_path]
        assert main([str(part) for part in [*command, "--json", tmp_path / "ap.json"]]) == 0
        (figures,) = json.loads((tmp_path / "ap.json").read_text())["models"].values()
        assert figures["bbox/AP"] > 0.99
        assert figures["segm/AP"] > 0.97

    def test_the_spec(self, files):
        _, case = files
        with Detector(case.path) as detector:
            spec = detector.spec
        assert spec.provenance.framework == "detectron2"
        assert spec.labels == ("a", "b", "c", "d", "e")
        assert spec.detection.background == "last"
        assert spec.mask.paste == "detectron2"
        assert (spec.box_pool.aligned, spec.box_pool.sampling_ratio) == (True, 0)
        assert spec.canvas.channel_order == "bgr"
        assert [level.stride[0] for level in spec.rpn.levels] == [4, 8, 16, 32, 64]
        # not rounded, as torchvision's are
        anchor = (-22.627417, -11.3137085, 22.627417, 11.3137085)
        assert spec.rpn.levels[0].anchors[0] == pytest.approx(anchor)

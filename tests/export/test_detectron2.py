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
import pytest
import torch

from maskrt.cli import main
from maskrt.export import build_model, export, load_model
from maskrt.export.passes import to_tensorrt
from maskrt.runtime import Detections, Detector
from maskrt.runtime.bundle import BundleSession
from tests import parity
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
from tests.parity import File, agrees, assert_parity, assert_same_outputs, disturbed, live
from tests.test_detectron2_reference import GROUP_NORM, NARROW, RESNET_18, RESNEXT

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

    def __post_init__(self) -> None:
        self.file = File(self.path)

    def expected(
        self, frame: np.ndarray, k: int | None = None, *, paste: bool = False
    ) -> dict[str, np.ndarray]:
        """What detectron2 would find, with the k-th disturbance of its weights."""
        model = self.reference if k is None else disturbed(self.reference, k)
        image, content = preprocess(frame, self.config)
        padded = torch.zeros(3, *CANVAS)
        padded[:, : content[0], : content[1]] = image
        found = model.detect(padded, content, frame.shape[:2], paste=paste)
        return {name: value.numpy() for name, value in found.items()}

    def judge(self) -> parity.Reference:
        """detectron2, to hold results against."""
        model = self.reference.config["MODEL"]
        return parity.Reference(
            lambda frames, k: [self.expected(frame, k) for frame in frames],
            model["ROI_HEADS"]["SCORE_THRESH_TEST"],
            self.reference.config["TEST"]["DETECTIONS_PER_IMAGE"],
        )


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Layers this small gain nothing from more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SLOW = {
    "faster X101-FPN, anchors with an offset, no small boxes": "boxes alone, wide groups",
    "mask R50-DC5, RGB, old RoIAlign, fixed sampling": "a dilated res5, older choices",
    "mask and keypoints R50-FPN, class-agnostic, GN": "the largest graph of all",
}
CASES = [
    pytest.param(name, marks=pytest.mark.slow(reason=SLOW[name])) if name in SLOW else name
    for name in ARCHITECTURES
]


@pytest.fixture(scope="module", params=CASES)
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


@pytest.mark.parametrize("size", FRAMES, ids=str)
def test_detections_are_detectron2s(case, size):
    frame = picture(size, seed=sum(size))
    assert_parity(case.judge(), [frame], live(case.file.outputs(frame[None])))


def test_bundles(case, tmp_path):
    frames = np.stack([picture((301, 397), seed) for seed in (1, 2)])
    for target in ("onnxruntime", "openvino"):
        bundle = tmp_path / f"{target}.bundle"
        build_model(case.path, bundle, target)
        ours = BundleSession(bundle).run(frames, 0.05, 0.5)
        assert_same_outputs(case.file, ours, frames, at_least=8)


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


def annotations_of(case, k):
    """Three pictures' detections by the reference, or a disturbed one, as COCO's annotations."""
    annotations, images = [], []
    with Detector(case.path) as detector:
        spec = detector.spec
    for i in range(3):
        images.append({"id": i, "file_name": f"{i}.png", "height": 150, "width": 200})
        found = case.expected(picture((150, 200), i), k)
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
    return {"images": images, "annotations": annotations, "categories": categories}


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
        assert_parity(case.judge(), [frame], live(case.file.outputs(frame[None])))

    def test_the_runtime(self, files):
        """Labels from 0, masks pasted by detectron2's rule."""
        _, case = files
        frame = picture((301, 397), 3)
        with Detector(case.path) as detector:
            result = detector(frame)
            assert set(detector.spec.classes) == {0, 1, 2, 3, 4}
        found = case.expected(frame, paste=True)
        ours = {name: getattr(result, name) for name in ("boxes", "scores", "labels")}
        one, two = parity.twins(found, ours, parity.Limits())
        few = parity.allowed(len(found["boxes"]))
        assert max(len(found["boxes"]), len(result.boxes)) - few <= len(one) > 3
        pasted, masks = found["pasted"][one], result.masks[two]
        shared, union = ((op(pasted, masks)).sum((1, 2)) for op in (np.logical_and, np.logical_or))
        alike = (shared / np.maximum(union, 1))[union > 50] > 0.97
        assert (~alike).sum() <= few
        assert result.class_names[0] == "abcde"[result.labels[0]]
        assert result.draw(frame).shape == frame.shape

    def test_compare_runs_the_eager_side(self, files, tmp_path, capsys):
        folder, case = files
        for i in range(2):
            cv2.imwrite(str(tmp_path / f"{i}.png"), picture((150, 200), i))
        # the random mask head makes more of the last bit than a trained one
        (tmp_path / "looser.json").write_text('{"mask_logits": {"largest": 0.01}}')
        options = ["--images", tmp_path, "--tolerance-file", tmp_path / "looser.json", "--weights"]

        def attempt(k):
            model = case.reference if k is None else disturbed(case.reference, k)
            save_pth(model.state_dict(), tmp_path / "model_final.pth")
            command = ["compare", folder / "config.yaml", case.path, *options]
            return main([str(part) for part in [*command, tmp_path / "model_final.pth"]]) == 0

        assert agrees(attempt)
        assert "masks" in capsys.readouterr().out

    def test_eval_counts_labels_from_0(self, files, tmp_path):
        """What the reference finds, as annotations: the file finds just that."""
        _, case = files
        for i in range(3):
            cv2.imwrite(str(tmp_path / f"{i}.png"), picture((150, 200), i))

        def attempt(k):
            (tmp_path / "truth.json").write_text(json.dumps(annotations_of(case, k)))
            command = ["eval", case.path, "--coco", tmp_path / "truth.json", "--images", tmp_path]
            assert main([str(part) for part in [*command, "--json", tmp_path / "ap.json"]]) == 0
            (figures,) = json.loads((tmp_path / "ap.json").read_text())["models"].values()
            return figures["bbox/AP"] > 0.99 and figures["segm/AP"] > 0.97

        assert agrees(attempt)

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

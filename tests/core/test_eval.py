"""``maskrt eval``: COCO's average precision of files, resumable."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from maskrt.calibration.coco_eval import evaluate
from maskrt.cli import main
from maskrt.errors import MaskrtError
from maskrt.evaluation import categories_of, detect_all, read_truth
from maskrt.examples import shapes
from maskrt.export import load_model
from maskrt.runtime import Detector
from tests.parity import agrees, disturbed

IMAGES = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Annotations of a few pictures; the pictures are in their folder."""
    return shapes.write(tmp_path_factory.mktemp("val"), IMAGES, split="val", seed=0)


def run(*arguments):
    return main(["eval", *map(str, arguments)])


def test_figures(canonical, data, tmp_path, capsys):
    path, output = canonical("mask_rcnn"), tmp_path / "ap.json"
    assert run(path, "--coco", data, "--images", data.parent, "--json", output) == 0
    frames, truth = shapes.dataset(IMAGES, split="val", seed=0)
    with Detector(path) as detector:
        results = [
            entry
            for frame, image in zip(frames, truth["images"], strict=True)
            for entry in detector(frame).to_coco(image["id"])
        ]
    expected = evaluate(truth, results, ("bbox", "segm"))
    record = json.loads(output.read_text())
    found = record["models"][str(path)]
    assert record["images"] == IMAGES
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, nan_ok=True) or found[key] is None
    assert found["bbox/AP"] > 0.5
    printed = capsys.readouterr().out
    for word in ("box AP", "mask AP50", f"{expected['bbox/AP']:.4f}"):
        assert word in printed


def test_several_models_and_an_eager_one(canonical, data, tmp_path, capsys):
    output, name = tmp_path / "ap.json", "maskrt.examples.shapes:mask_rcnn"
    arguments = ["--coco", data, "--images", data.parent, "--json", output, "--weights"]

    def attempt(k):
        """In five pictures a single detection beside a threshold is worth more than this."""
        weights = shapes.WEIGHTS / "mask_rcnn.pth"
        if k is not None:
            model = disturbed(load_model(name, weights), k)
            weights = tmp_path / "disturbed.pth"
            torch.save(model.state_dict(), weights)
        assert run(canonical("mask_rcnn"), name, *arguments, weights) == 0
        first, second = json.loads(output.read_text())["models"].values()
        return all(abs(second[f"{x}/AP"] - first[f"{x}/AP"]) <= 2e-3 for x in ("bbox", "segm"))

    assert agrees(attempt)
    assert "(" in capsys.readouterr().out  # differences to the first


def test_keypoints(canonical, tmp_path):
    truth = shapes.write(tmp_path / "val", 3, split="val", seed=0, keypoint_task=True)
    output = tmp_path / "ap.json"
    path = canonical("keypoint_rcnn")
    assert run(path, "--coco", truth, "--images", truth.parent, "--json", output) == 0
    (found,) = json.loads(output.read_text())["models"].values()
    assert found["keypoints/AP"] > 0.4


class StoppedError(Exception):
    """In the middle of a run."""


def test_a_stopped_run_goes_on(canonical, data, tmp_path):
    truth = read_truth(data, data.parent)
    keep = tmp_path / "new" / "found.jsonl"
    with Detector(canonical("mask_rcnn")) as detector:
        mapping = categories_of(detector.spec, truth)
        whole = detect_all(detector, truth, mapping)
        seen = []

        def stopping(frame):
            if len(seen) == 2:
                raise StoppedError
            seen.append(frame)
            return detector(frame)

        with pytest.raises(StoppedError):
            detect_all(stopping, truth, mapping, keep=keep, key="a")
        # as a crash would leave it: the last line is cut off
        keep.write_text(keep.read_text() + '{"image_id": 3, "detec')
        rest = []

        def counting(frame):
            rest.append(frame)
            return detector(frame)

        again = detect_all(counting, truth, mapping, keep=keep, key="a")
        assert len(rest) == IMAGES - 2
        assert json.loads(json.dumps(whole)) == json.loads(json.dumps(again))
        assert detect_all(stopping, truth, mapping, keep=keep, key="a") == again
        with pytest.raises(MaskrtError, match="another file or threshold"):
            detect_all(detector, truth, mapping, keep=keep, key="b")
        keep.write_text("something else\n")
        with pytest.raises(MaskrtError, match="remove it"):
            detect_all(detector, truth, mapping, keep=keep, key="a")


def changed(data, path, change):
    content = json.loads(data.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("categories"), "no COCO annotation file"),
        (lambda c: c.update(images=[]), "lists no images"),
        (lambda c: c["images"][1].update(file_name="no.png"), "1 of 5 images are missing"),
    ],
)
def test_annotations_that_do_not_suit(canonical, data, tmp_path, capsys, change, message):
    truth = changed(data, tmp_path / "truth.json", change)
    assert run(canonical("mask_rcnn"), "--coco", truth, "--images", data.parent) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("content", [None, "", "[]", "<html>"])
def test_what_is_no_annotation_file(canonical, data, tmp_path, content):
    path = tmp_path / "truth.json"
    if content is not None:
        path.write_text(content)
    assert run(canonical("mask_rcnn"), "--coco", path, "--images", data.parent) == 1


def test_classes_by_name_or_number(canonical, data):
    with Detector(canonical("mask_rcnn")) as detector:
        spec = detector.spec
    truth = read_truth(data, data.parent, limit=2)
    assert len(truth.files) == 2
    names = [c["name"] for c in truth.annotations["categories"]]
    named = replace(spec, labels=("__background__", *reversed(names)))
    ids = {c["name"]: c["id"] for c in truth.annotations["categories"]}
    assert categories_of(named, truth) == {i + 1: ids[n] for i, n in enumerate(reversed(names))}
    with pytest.raises(MaskrtError, match="the model has no class"):
        categories_of(replace(spec, labels=("__background__", *names[1:])), truth)
    other = replace(spec, labels=tuple(f"name {i}" for i in range(len(spec.labels))))
    mapping = categories_of(other, truth)
    assert all(label == category for label, category in mapping.items())
    with pytest.raises(MaskrtError, match="not label numbers"):
        categories_of(replace(spec, labels=("a", "b")), truth)


def test_classes_counted_from_0(canonical, data):
    """detectron2's models have no background among their labels."""
    with Detector(canonical("mask_rcnn")) as detector:
        spec = detector.spec
    truth = read_truth(data, data.parent, limit=2)
    names = {c["name"]: c["id"] for c in truth.annotations["categories"]}
    last = replace(spec, labels=tuple(names), detection=replace(spec.detection, background="last"))
    assert last.classes == dict(enumerate(names))
    assert categories_of(last, truth) == dict(enumerate(names.values()))
    # other names: in the order of the categories' numbers, as detectron2 registers data sets
    other = replace(last, labels=tuple(f"class{i}" for i in range(len(names))))
    assert categories_of(other, truth) == dict(enumerate(sorted(names.values())))
    with pytest.raises(MaskrtError, match="not label numbers"):
        categories_of(replace(last, labels=("a", "b")), truth)


def test_an_eager_model_needs_a_canvas(data, capsys):
    eager = "maskrt.examples.shapes:mask_rcnn"
    assert run(eager, "--coco", data, "--images", data.parent) == 1
    assert "name its .onnx file" in capsys.readouterr().err.replace("\n", " ")

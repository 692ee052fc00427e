"""``maskrt calibrate``: from pictures to an INT8 file, on the command line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import onnx
import pytest

from maskrt.cli import main
from maskrt.examples import shapes
from maskrt.heads import read_spec

COUNT = 10


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Annotations of a few training pictures, which are in their folder."""
    return shapes.write(tmp_path_factory.mktemp("train"), COUNT, split="train", seed=0)


@pytest.fixture(scope="module")
def val(tmp_path_factory):
    return shapes.write(tmp_path_factory.mktemp("val"), 6, split="val", seed=0)


def run(*arguments):
    return main(["calibrate", *map(str, arguments)])


def test_a_folder(canonical, train, tmp_path, capsys):
    output, report = tmp_path / "model.int8.onnx", tmp_path / "report.json"
    assert (
        run(canonical("mask_rcnn"), "--images", train.parent, "-o", output, "--report", report) == 0
    )
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("warning:", "10 different images are few", "box head", "INT8 share", "94.",
                  "stem", "mse of 10 images", "next: maskrt build"):  # fmt: skip
        assert words in printed
    assert read_spec(output).precision == "int8"
    record = json.loads(report.read_text())
    assert record["share_of_macs"] > 0.9
    assert record["method"] == "mse"
    onnx.checker.check_model(onnx.load(output))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["model.int8.onnx", "model.int8.ranges.npz", "report.json"]


def test_annotations_a_list_and_kept_layers(canonical, train, tmp_path):
    folder = train.parent
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(f"{i:06d}.png" for i in range(8)))
    for arguments in (
        ["--images", train],
        ["--images", listed, "--image-root", folder, "--keep-fp16", "mask head", "*fc7"],
    ):
        output = tmp_path / "model.int8.onnx"
        assert run(canonical("mask_rcnn"), *arguments, "-o", output) == 0
    assert read_spec(output).calibration["images"] == "8"
    assert read_spec(output).calibration["kept_layers"] == "12"


def test_another_choice_reads_the_ranges_again(canonical, train, tmp_path, monkeypatch):
    arguments = [canonical("mask_rcnn"), "--images", train.parent, "--ranges", tmp_path / "r.npz"]
    assert run(*arguments, "-o", tmp_path / "a.onnx") == 0
    monkeypatch.setattr("maskrt.calibration.collect._Watch", None)
    assert run(*arguments, "-o", tmp_path / "b.onnx", "--method", "minmax") == 0
    assert run(*arguments, "-o", tmp_path / "c.onnx", "--format", "fp8") == 0
    assert read_spec(tmp_path / "c.onnx").precision == "fp8"
    sizes = {path.stat().st_size for path in tmp_path.glob("?.onnx")}
    assert len(sizes) == 3 or len({p.read_bytes() for p in tmp_path.glob("?.onnx")}) == 3


def test_ctrl_c_keeps_what_was_read(canonical, train, tmp_path, monkeypatch, capsys):
    from maskrt.calibration import collect

    original, seen = collect._Watch.histograms, []

    def interrupted(watch, frame):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(frame)
        return original(watch, frame)

    arguments = [canonical("mask_rcnn"), "--images", train.parent, "-o", tmp_path / "m.onnx"]
    monkeypatch.setattr(collect._Watch, "histograms", interrupted)
    assert run(*arguments) == 130
    assert "stopped" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["m.ranges.npz"]
    seen.clear()
    monkeypatch.setattr(collect._Watch, "histograms", lambda w, f: seen.append(f) or original(w, f))
    assert run(*arguments) == 0
    assert len(seen) == COUNT - 4


def test_the_search(canonical, train, val, tmp_path, capsys):
    output, report = tmp_path / "model.int8.onnx", tmp_path / "report.json"
    arguments = [canonical("mask_rcnn"), "--images", train.parent, "-o", output]
    search = ["--coco", val, "--measurements", 12, "--report", report]
    assert run(*arguments, *search, "--max-ap-drop", "0.2") == 0
    printed = capsys.readouterr().out
    for words in ("AP on 6 images", "float32", "all in INT8", "the choice", "mask AP"):
        assert words in printed
    rows = json.loads(report.read_text())["search"]
    assert [row["what"] for row in rows] == ["all in INT8"]
    assert set(rows[0]["figures"]) == {"bbox/AP", "segm/AP"}
    found = json.loads((tmp_path / "model.int8.search.json").read_text())
    assert len(found["figures"]) == 2  # float32, and all in INT8


def test_a_budget_that_cannot_be_met(canonical, train, val, tmp_path, monkeypatch, capsys):
    from maskrt.commands import search

    output = tmp_path / "model.int8.onnx"
    monkeypatch.setattr(
        search.Measure, "__call__", lambda self, kept: {"bbox/AP": 0.1, "segm/AP": 0.1}
    )
    arguments = ["--images", train.parent, "--coco", val, "--max-ap-drop", "0.01", "-o", output]
    assert run(canonical("mask_rcnn"), *arguments) == 1
    message = capsys.readouterr().err
    assert "no choice of layers keeps AP within 0.01" in message
    assert "the best one loses 0." in message
    assert not output.exists()


def test_kept_figures_of_another_search_are_not_used(tmp_path):
    from maskrt.commands.search import Kept

    path = tmp_path / "search.json"
    first = Kept(path, "one")
    first["[]"] = {"bbox/AP": 0.5}
    assert dict(Kept(path, "one")) == {"[]": {"bbox/AP": 0.5}}
    assert dict(Kept(path, "two")) == {}
    path.write_text("{")
    assert dict(Kept(path, "one")) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--images", "nowhere"], "nowhere does not exist"),
        (["--method", "median"], "--method: found 'median', expected one of minmax"),
        (["--format", "fp8", "--method", "mse"], "--method: found 'mse'"),
        (["--keep-fp16", "layer9"], "no layer is called 'layer9'"),
        (["--limit", "0"], "--limit: found 0"),
        (["--max-ap-drop", "0.01"], "--max-ap-drop and --coco go together"),
        (["--max-ap-drop", "7", "--coco", "x.json"], "--max-ap-drop: found 7.0"),
        (["-o", "model.bundle"], "expected .onnx"),
        (["--limit", "5"], "found 5 different images, expected at least 8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told(canonical, train, tmp_path, change, message, capsys):
    arguments = ["--images", train.parent, "-o", tmp_path / "m.onnx", *change]
    assert run(canonical("mask_rcnn"), *arguments) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.onnx"))


def test_the_model_is_not_overwritten(canonical, train, capsys):
    path = canonical("mask_rcnn")
    assert run(path, "--images", train.parent, "-o", path) == 1
    assert "--output is the model itself" in capsys.readouterr().err


def test_random_pictures_are_refused_unless_forced(canonical, tmp_path, capsys):
    folder = tmp_path / "noise"
    folder.mkdir()
    for i in range(9):
        pixels = np.random.default_rng(i).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), pixels)
    arguments = [canonical("mask_rcnn"), "--images", folder, "-o", tmp_path / "m.onnx"]
    assert run(*arguments) == 1
    assert "9 of 9 images are noise" in capsys.readouterr().err
    assert run(*arguments, "--force") == 0
    assert "9 of 9 images are noise" in " ".join(capsys.readouterr().out.split())


def test_a_calibrated_file_is_refused(canonical, train, tmp_path, capsys):
    output = tmp_path / "m.onnx"
    assert run(canonical("mask_rcnn"), "--images", train.parent, "-o", output) == 0
    assert run(output, "--images", train.parent, "-o", tmp_path / "again.onnx") == 1
    assert "is in int8: calibrate the float32 file" in capsys.readouterr().err

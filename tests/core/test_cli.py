from __future__ import annotations

import json
import threading

import cv2
import numpy as np
import onnx
import pytest

from maskrt import cli
from maskrt.cli import COMMANDS, build_parser, main
from maskrt.examples import shapes
from maskrt.interrupts import LIBRARY_THREAD


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny model, untrained, exported through the command line."""
    path = tmp_path_factory.mktemp("cli") / "tiny.onnx"
    arguments = "export --model maskrt.examples.shapes:mask_rcnn --canvas 192x256 --labels"
    assert main([*arguments.split(), "a,b,c,d,e,f", "-o", str(path)]) == 0
    return path


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        frame, _ = shapes.image(i, split="val")
        cv2.imwrite(str(folder / f"photo{i}.png"), frame)
    return folder


@pytest.mark.parametrize("command", [[], *([module.NAME] for module in COMMANDS)])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([*command, "--help"])
    assert done.value.code == 0
    assert f"maskrt {command[0] if command else 'export'}" in capsys.readouterr().out


def test_every_option_is_explained():
    for action in build_parser()._actions:
        for name, parser in (getattr(action, "choices", None) or {}).items():
            for option in parser._actions:
                assert option.help, f"maskrt {name} {option.option_strings}"


def test_export_writes_a_canonical_file(tiny):
    model = onnx.load(tiny)
    onnx.checker.check_model(model, full_check=True)
    assert {m.key for m in model.metadata_props} == {"maskrt.spec"}


def test_run_saves_pictures_and_json(tiny, photos, tmp_path, capsys):
    lines = tmp_path / "found.jsonl"
    out = tmp_path / "out"
    arguments = ["--score-threshold", "0.1", "--save", str(out), "--json", str(lines)]
    assert main(["run", str(tiny), "--source", str(photos), *arguments]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["photo0.png", "photo1.png", "photo2.png"]
    assert cv2.imread(str(out / "photo0.png")).shape == (192, 256, 3)
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [record["name"] for record in records] == ["photo0.png", "photo1.png", "photo2.png"]
    assert all(d["score"] > 0.1 for record in records for d in record["detections"])
    assert "3 frames" in capsys.readouterr().out


def test_run_writes_a_video(tiny, photos, tmp_path):
    out = tmp_path / "out.mp4"
    assert main(["run", str(tiny), "--source", str(photos), "--save", str(out)]) == 0
    video = cv2.VideoCapture(str(out))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 3


def test_run_on_rgb_models_flips_what_sources_give(canonical, photos, tmp_path):
    rgb = tmp_path / "rgb.onnx"
    export = "export --model maskrt.examples.shapes:mask_rcnn --canvas 192x256 --weights"
    weights = str(shapes.WEIGHTS / "mask_rcnn.pth")
    assert main([*export.split(), weights, "--frame-order", "rgb", "-o", str(rgb)]) == 0
    found = {}
    for order, model in {"bgr": canonical("mask_rcnn"), "rgb": rgb}.items():
        lines = tmp_path / f"{order}.jsonl"
        assert main(["run", str(model), "--source", str(photos), "--json", str(lines)]) == 0
        found[order] = [json.loads(line)["detections"] for line in lines.read_text().splitlines()]
    for one, two in zip(found["bgr"], found["rgb"], strict=True):
        assert len(one) > 0
        np.testing.assert_allclose([d["score"] for d in one], [d["score"] for d in two], atol=1e-5)


def test_show_without_a_screen(tiny, photos, monkeypatch, capsys):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["run", str(tiny), "--source", str(photos), "--show"]) == 1
    assert "--show needs a screen" in capsys.readouterr().err


def test_inspect(tiny, capsys):
    assert main(["inspect", str(tiny), "--json"]) == 0
    spec = json.loads(capsys.readouterr().out)
    assert spec["labels"] == ["__background__", "a", "b", "c", "d", "e", "f"]
    assert main(["inspect", str(tiny)]) == 0
    assert "192x256" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--model", "torchvision/yolo"], "found no R-CNN named 'yolo'"),
        (["export", "--model", "detectron2/yolo"], "no model of that name in detectron2's zoo"),
        (["export", "--model", "nowhere.yaml"], "found no file nowhere.yaml"),
        (["export", "--model", "nowhere:build"], "the module 'nowhere' was not found"),
        (["export", "--model", "maskrt.examples.shapes:build"], "no function 'build'; it has"),
        (["export", "--model", "resnet"], "a .yaml of detectron2's or package.module:function"),
        (["export", "--model", "os:getcwd"], "returned a str, expected a torch module"),
    ],
)
def test_what_the_user_can_mend_is_told_in_a_line(arguments, message, tmp_path, capsys):
    out = tmp_path / "out.onnx"
    assert main([*arguments, "--canvas", "192x256", "-o", str(out)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_canvas_off_the_stride(tmp_path, capsys):
    arguments = ["export", "--model", "maskrt.examples.shapes:mask_rcnn", "--canvas", "100x256"]
    assert main([*arguments, "-o", str(tmp_path / "x.onnx")]) == 1
    assert "found 100, expected a positive multiple of the stride, 32" in capsys.readouterr().err


def test_run_errors(tiny, photos, tmp_path, capsys):
    cases = {
        (str(tiny), str(tmp_path / "none.png")): "does not exist",
        (str(tmp_path / "none.onnx"), str(photos)): "does not exist",
        (str(photos / "photo0.png"), str(photos)): "suffix '.png'",
    }
    for (model, source), message in cases.items():
        assert main(["run", model, "--source", source]) == 1
        assert message in capsys.readouterr().err
    single = ["run", str(tiny), "--source", str(photos), "--save", str(tmp_path / "one.png")]
    assert main(single) == 1
    assert "name a folder or a video" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--canvas", "800"],
        ["--canvas", "axb"],
        ["--canvas", "64x64", "--batch", "x"],
        ["--canvas", "64x64", "--labels", ",,"],
    ],
)
def test_unusable_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(["export", "--model", "m:f", "-o", "x.onnx", *arguments])
    assert done.value.code == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c(monkeypatch, capsys, busy):
    """With a thread left in a library the process ends at once: it would be aborted otherwise."""

    def interrupted(options):
        raise KeyboardInterrupt

    ended, release = [], threading.Event()
    monkeypatch.setattr(cli.inspect, "execute", interrupted)
    monkeypatch.setattr(cli.os, "_exit", ended.append)
    thread = threading.Thread(target=release.wait, name=LIBRARY_THREAD)
    if busy:
        thread.start()
    assert main(["inspect", "model.onnx"]) == 130
    release.set()
    assert ended == ([130] if busy else [])
    assert capsys.readouterr().err == "maskrt: stopped\n"

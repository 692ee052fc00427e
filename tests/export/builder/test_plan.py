"""Plans of whole models, on a stand-in for TensorRT; no engine is built here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskrt.cli import main
from maskrt.errors import ModelFileError
from maskrt.export import BuildOptions, build_model
from maskrt.export.builder import BuildError, engine
from maskrt.heads import bundle_entries, read_head
from maskrt.runtime import Detector
from maskrt.runtime.archive import BundleArchive
from tests.export.builder import fake_tensorrt
from tests.support.models import write_quantised

CREATORS = (
    "Letterbox",
    "Proposals",
    "MultilevelRoIAlign",
    "DetectionNMS",
    "MaskSelect",
    "KeypointDecode",
)


class Creator:
    """Of a plugin, in the registry."""

    plugin_namespace, plugin_version = "maskrt", "1"

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def plugins(tensorrt: Any, tmp_path: Path) -> Path:
    """A file in the library's place, whose creators are in the registry."""
    tensorrt.STATE.creators = [Creator(name) for name in CREATORS]
    path = tmp_path / "libmaskrt_plugins.so"
    path.write_bytes(b"a library")
    return path


def shapes() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for kind, *call in fake_tensorrt.CALLS:
        if kind == "set_shape":
            found.setdefault(call[0], []).append(tuple(call[1:]))
    return found


def test_one_plan(canonical: Any, plugins: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    options = BuildOptions(plugin_library=plugins, version_compatible=True)
    report = build_model(canonical("mask_rcnn"), path, "tensorrt", "fp16", options=options)
    head = read_head(path)
    assert head == report.head
    assert (head.target, head.precision, head.library) == ("tensorrt", "fp16", "10.3.0")
    assert head.compute_capabilities == ("8.7",)
    assert head.version_compatible
    assert head.plugins_version > 0
    assert head.spec.precision == "fp16"
    assert shapes() == {"frames": [((1, 32, 32, 3), (1, 192, 256, 3), (1, 4320, 7680, 3))]}
    with pytest.raises(ModelFileError):  # no GPU here
        Detector(path)


@pytest.mark.parametrize("split", [False, True])
def test_int8_plans(canonical: Any, plugins: Path, tmp_path: Path, split: bool) -> None:
    """Without a choice, what is not INT8 is in float16; maps pass between two plans as INT8."""
    source = write_quantised(canonical("mask_rcnn"), tmp_path / "int8.onnx")
    path = tmp_path / ("model.bundle" if split else "model.engine")
    options = BuildOptions(plugin_library=plugins)
    report = build_model(source, path, "tensorrt", options=options, split_heads=split)
    head = read_head(path)
    assert head == report.head
    assert (head.precision, head.spec.precision) == ("fp16", "int8")
    assert head.precision_label == "int8+fp16"
    if split:
        with BundleArchive(path) as archive:
            heads = archive.manifest.stages[1]
        assert {t.dtype for t in heads.inputs if "features" in t.name} == {"int8"}


def test_two_plans(canonical: Any, plugins: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bundle"
    options = BuildOptions(plugin_library=plugins)
    source = canonical("mask_rcnn", (1, 3))
    build_model(source, path, "tensorrt", options=options, split_heads=True, buckets=(4, 16))
    names = [name for name, _ in bundle_entries(path)]
    assert names == ["manifest.json", "detections.engine", "heads.engine"]
    found = shapes()
    assert len(found["frames"]) == 1
    buckets = [(low[1], high[1]) for low, _, high in found["boxes_canvas"]]
    assert buckets == [(4, 4), (16, 16), (40, 40)]
    assert found["labels"][1] == ((1, 16), (3, 16), (3, 16))
    with BundleArchive(path) as archive:
        assert archive.manifest.buckets == (4, 16, 40)
        stages = {stage.name: stage for stage in archive.manifest.stages}
        assert [t.name for t in stages["heads"].outputs] == ["masks"]
        assert stages["heads"].inputs[0].shape == ("B", "D", "4")
        for name in stages:
            assert archive.head.of_part(name).to_name().encode() in archive.read(f"{name}.engine")


@pytest.mark.usefixtures("plugins")
def test_the_command(canonical: Any, plugins: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    arguments = ["--target", "tensorrt", "--plugins", str(plugins), "--workspace", "1G"]
    source = str(canonical("keypoint_rcnn"))
    assert main(["build", source, *arguments, "--level", "4", "-o", str(path)]) == 0
    assert ("set_memory_pool_limit", 0, 1 << 30) in fake_tensorrt.CALLS
    assert read_head(path).spec.task == "keypoints"


def test_a_build_that_fails_leaves_a_log_and_no_engine(
    canonical: Any, plugins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_tensorrt.STATE.build_error = "Could not find any implementation for node Conv_7"
    path = tmp_path / "out" / "model.engine"
    path.parent.mkdir()
    arguments = ["--target", "tensorrt", "--plugins", str(plugins), "-o", str(path)]
    assert main(["build", str(canonical("mask_rcnn")), *arguments]) == 1
    assert [p.name for p in path.parent.iterdir()] == ["model.engine.build.log"]
    assert "model.engine.build.log" in capsys.readouterr().err.replace("\n", "")


def test_without_a_gpu(
    canonical: Any, plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "first_gpu", lambda: None)
    options = BuildOptions(plugin_library=plugins)
    with pytest.raises(BuildError, match="--target tensorrt-rtx"):
        build_model(canonical("mask_rcnn"), tmp_path / "m.engine", "tensorrt", options=options)
    assert not (tmp_path / "m.engine").exists()

"""Bundles compiled by the real TensorRT-RTX, which needs no GPU for that; they are not run here."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
import torchvision

from maskrt.artefact import ArtefactHead
from maskrt.errors import MaskrtError, ModelFileError
from maskrt.export import BuildOptions, build_model, export
from maskrt.heads import read_head
from maskrt.runtime import Detector
from maskrt.runtime import detector as detector_module
from maskrt.runtime.archive import BundleArchive
from maskrt.runtime.machine import Machine
from tests.support.models import write_quantised
from tests.support.tiers import quick

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")

GPUS = ("8.6", "8.9", "12.0")
OPTIONS = BuildOptions(compute_capabilities=GPUS)
PRECISIONS = ["fp32", "fp16", "bf16"]


@pytest.fixture(scope="module")
def r50(tmp_path_factory):
    """Mask R-CNN R50-FPN at 800x1344 with random weights, in all precisions."""
    folder = tmp_path_factory.mktemp("r50")
    torch.manual_seed(0)
    model = torchvision.models.get_model(
        "maskrcnn_resnet50_fpn", weights=None, weights_backbone=None
    )
    export(model, folder / "model.onnx", (800, 1344))
    paths = {precision: folder / f"{precision}.bundle" for precision in PRECISIONS}
    for precision, path in paths.items():
        build_model(folder / "model.onnx", path, "tensorrt-rtx", precision, options=OPTIONS)
    frame = np.random.default_rng(0).integers(0, 256, (800, 1344, 3), np.uint8)
    int8 = write_quantised(folder / "model.onnx", folder / "int8.onnx", [frame], method="minmax")
    paths["int8+fp16"] = folder / "int8.bundle"
    build_model(int8, paths["int8+fp16"], "tensorrt-rtx", options=OPTIONS)
    return paths


def assert_complete(path, precision):
    """All stages hold engines, whose names say what they are."""
    with BundleArchive(path) as archive:
        head, manifest = archive.head, archive.manifest
        assert (head.target, head.precision) == ("tensorrt-rtx", precision)
        assert head.compute_capabilities == GPUS
        dtypes = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
        for stage in manifest.stages:
            (entry,) = stage.files
            engine = archive.read(entry)
            at = engine.find(b'{"maskrt_format"')
            part = ArtefactHead.from_name(engine[at : at + 4096].decode("ascii", "replace"))
            assert part == head.of_part(stage.name)
            for tensor in (*stage.inputs, *stage.outputs):
                if "features" in tensor.name:
                    assert tensor.dtype == dtypes[precision]
                    assert tensor.layout == "channels_last"
    assert read_head(path) == head


TINY = [("mask_rcnn", 1), ("mask_rcnn", (1, 3)), ("keypoint_rcnn", 1)]
SOME = [("mask_rcnn", 1, "fp32"), ("mask_rcnn", (1, 3), "fp16"), ("keypoint_rcnn", 1, "bf16")]


@pytest.mark.parametrize(
    ("builder", "batch", "precision"),
    quick(SOME, ((*m, p) for m in TINY for p in PRECISIONS), "all combinations"),
)
def test_tiny_models(canonical, tmp_path, builder, batch, precision):
    path = tmp_path / "model.bundle"
    report = build_model(
        canonical(builder, batch), path, "tensorrt-rtx", precision, options=OPTIONS
    )
    assert list(report.sizes)[:2] == ["trunk", "box_head"]
    assert_complete(path, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.slow(reason="full width at 800x1344")
def test_r50_fpn(r50, precision):
    assert_complete(r50[precision], precision)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.slow(reason="full width at 800x1344")
def test_low_precision_halves_the_file(r50, precision):
    assert r50[precision].stat().st_size < 0.6 * r50["fp32"].stat().st_size


@pytest.mark.slow(reason="full width at 800x1344")
def test_int8_is_a_third_of_the_file(r50):
    """Weights are a fourth; the source of kernels, which a plan holds too, is compressed."""
    assert read_head(r50["int8+fp16"]).precision_label == "int8+fp16"
    assert r50["int8+fp16"].stat().st_size < 0.32 * r50["fp32"].stat().st_size


@pytest.mark.slow(reason="sizes of files")
def test_more_gpus_do_not_repeat_the_weights(canonical, tmp_path):
    sizes = []
    for gpus in (GPUS[:1], GPUS):
        path = tmp_path / f"{len(gpus)}.bundle"
        options = BuildOptions(compute_capabilities=gpus)
        build_model(canonical("mask_rcnn"), path, "tensorrt-rtx", options=options)
        sizes.append(path.stat().st_size)
    assert sizes[1] < 1.1 * sizes[0]


def test_engines_are_stored_as_they_are_and_need_a_gpu(canonical, tmp_path, monkeypatch):
    path = tmp_path / "model.bundle"
    build_model(canonical("mask_rcnn"), path, "tensorrt-rtx", options=OPTIONS)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    assert entries[0].filename == "manifest.json"
    assert all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    here = Machine("linux-x86_64", "3.12", no_gpu="no NVIDIA driver")
    monkeypatch.setattr(detector_module, "this_machine", lambda: here)
    with pytest.raises(ModelFileError, match=r"no GPU was found: no NVIDIA driver.*openvino"):
        Detector(path)


def test_a_build_that_fails_leaves_the_old_file(canonical, tmp_path):
    path = tmp_path / "model.bundle"
    path.write_bytes(b"old")
    options = BuildOptions(compute_capabilities=("8.7",))
    with pytest.raises(MaskrtError, match=r"8\.7|sm_87"):
        build_model(canonical("mask_rcnn"), path, "tensorrt-rtx", options=options)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.bundle"]

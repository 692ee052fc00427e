"""INT8 files through partition and builds: Q/DQ survive, and results stay the canonical file's."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest

from maskrt.artefact import LIBRARIES
from maskrt.calibration.coco_eval import evaluate
from maskrt.cli import main
from maskrt.errors import MaskrtError
from maskrt.examples import shapes
from maskrt.export import BuildOptions, build_model
from maskrt.export.canonical import load_canonical
from maskrt.export.partition import partition
from maskrt.export.passes import STAGES, STAGES_RTX, Context, apply
from maskrt.heads import read_head
from maskrt.runtime import Detector
from maskrt.runtime.archive import BundleArchive
from tests.support.tiers import quick

MODELS = {
    "masks": ("mask_rcnn", 1),
    "batch 1 to 3": ("mask_rcnn", (1, 3)),
    "keypoints": ("keypoint_rcnn", 1),
}
CPU = [
    ("onnxruntime", "int8+fp32"),
    ("onnxruntime", "int8+fp16"),
    ("openvino", "int8+fp32"),
    ("openvino", "int8+bf16"),
]
LAYERS = ("Conv", "Gemm", "MatMul")
IMAGES = 24
ALLOWED = 0.015
"""Average precision beside the canonical INT8 file's, on few pictures: engines round differently
where a value lies between two steps."""


@pytest.fixture(scope="session")
def int8(int8):
    """The path of the INT8 file of a name in ``MODELS``."""
    return lambda name: int8(*MODELS[name])


def staged(path, precision, passes=STAGES, layout="linear"):
    model, spec = load_canonical(path)
    model, _ = apply(model, passes, Context(spec, precision))
    return partition(model, spec, layout=layout)


def producers(model):
    return {name: node for node in model.graph.node for name in node.output}


def quantised_layers(model):
    """Layers whose both inputs come straight from DequantizeLinear."""
    made_by = producers(model)
    return [
        node
        for node in model.graph.node
        if node.op_type in LAYERS
        and all(n in made_by and made_by[n].op_type == "DequantizeLinear" for n in node.input[:2])
    ]


PAIRED = [
    ("masks", "fp32", "linear"),
    ("batch 1 to 3", "bf16", "linear"),
    ("keypoints", "fp16", "channels_last"),
]


@pytest.mark.parametrize(
    ("name", "precision", "layout"),
    quick(
        PAIRED,
        itertools.product(MODELS, ("fp32", "fp16", "bf16"), ("linear", "channels_last")),
        "all combinations; each value is in a quick one",
    ),
)
def test_stages_keep_their_pairs(int8, name, precision, layout):
    passes = STAGES if layout == "linear" else STAGES_RTX
    path = int8(name)
    stages = staged(path, precision, passes, layout)
    for stage in stages:
        # for the checker, Conv has no bfloat16 before opset 22; engines take it
        onnx.checker.check_model(stage.model, full_check=precision != "bf16")
    expected = len(quantised_layers(onnx.load(path)))
    assert expected > 20
    assert sum(len(quantised_layers(stage.model)) for stage in stages) == expected


@pytest.mark.parametrize("rows", quick([5], [1, 5, 200], "other numbers of rows"))
@pytest.mark.parametrize("name", MODELS)
def test_heads_take_any_number_of_rois(int8, name, rows):
    rng = np.random.default_rng(0)
    for stage in staged(int8(name), "fp32")[1:]:
        options = onnxruntime.SessionOptions()
        # without kernels whose sums depend on the number of rows
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(stage.model.SerializeToString(), options)
        (given,) = stage.inputs
        features = rng.standard_normal(given.sides(0, rows)).astype(np.float32)
        together = session.run(None, {given.name: features})
        alone = session.run(None, {given.name: features[:1]})
        for i, output in enumerate(stage.outputs):
            assert together[i].shape == output.sides(0, rows)
            np.testing.assert_allclose(together[i][:1], alone[i], atol=0.05, rtol=0.05)


def average_precision(path, truth, frames, kinds):
    found = []
    with Detector(path) as detector:
        for frame, entry in zip(frames, truth["images"], strict=True):
            found += detector(frame).to_coco(entry["id"])
    figures = evaluate(truth, found, kinds)
    return {kind: figures[f"{kind}/AP"] for kind in kinds}


@cache
def pictures(name):
    """Frames, truth and kinds of average precision for a name in ``MODELS``."""
    keypoints = name == "keypoints"
    kinds = ("bbox", "keypoints") if keypoints else ("bbox", "segm")
    return *shapes.dataset(IMAGES, split="val", seed=1, keypoint_task=keypoints), kinds


@cache
def measured(name, path):
    """The average precision of a file."""
    frames, truth, kinds = pictures(name)
    return average_precision(path, truth, frames, kinds)


JUDGED = [("masks", "openvino", "int8+bf16"), ("keypoints", "onnxruntime", "int8+fp16")]


@pytest.mark.parametrize(
    ("name", "target", "precision"),
    quick(
        JUDGED,
        ((name, *built) for name in ("masks", "keypoints") for built in CPU),
        "average precision of every combination",
    ),
)
def test_bundles_for_cpus(int8, name, target, precision, tmp_path):
    pytest.importorskip(target)
    source = int8(name)
    path = tmp_path / "model.bundle"
    report = build_model(source, path, target, precision)
    assert report.head.precision_label == precision
    assert read_head(path).precision_label == precision
    assert report.head.spec.precision == "int8"
    expected, found = measured(name, source), measured(name, path)
    for kind, value in expected.items():
        assert value > 0.6
        assert abs(found[kind] - value) < ALLOWED, (kind, found, expected)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tensorrt-rtx"])
def test_weights_are_stored_in_int8(canonical, int8, target, tmp_path):
    pytest.importorskip({"tensorrt-rtx": "tensorrt_rtx_bindings"}.get(target, target))
    gpu = BuildOptions(compute_capabilities=("8.6",)) if target == "tensorrt-rtx" else None
    sizes = {}
    for kind, source in (("float", canonical("mask_rcnn")), ("int8", int8("masks"))):
        path = tmp_path / f"{kind}.bundle"
        report = build_model(source, path, target, options=gpu)
        sizes[kind] = path.stat().st_size
    assert report.head.precision_label == ("int8+fp16" if gpu else "int8+fp32")
    # beside the weights a plan for RTX holds kernels, which outweigh those of a tiny model
    assert sizes["int8"] < (1.0 if gpu else 0.4) * sizes["float"]


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_computes_in_int8(int8, precision, tmp_path):
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "model.bundle"
    build_model(int8("masks"), path, "openvino", "bf16" if precision == "bf16" else None)
    trunk = staged(int8("masks"), "fp32")[0]
    core = openvino.Core()
    with BundleArchive(path) as archive:
        stage = archive.manifest.stages[0]
        model = core.read_model(*(bytes(archive.read(name)) for name in stage.files))
    settings = {"PERF_COUNT": True, "INFERENCE_PRECISION_HINT": precision}
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    (image,) = stage.inputs
    request.set_tensor(image.name, openvino.Tensor(np.zeros(image.sides(1, 1), np.float32)))
    request.infer()
    layers = [p.exec_type for p in request.profiling_info if p.node_type == "Convolution"]
    in_int8 = [kind for kind in layers if kind.lower().endswith("i8")]  # AMX: "..._amx_i8"
    assert len(in_int8) == len(quantised_layers(trunk.model)), layers


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow(reason="nine builds")
def test_bundles_for_gpus(int8, name, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    path = tmp_path / "model.bundle"
    for precision in (None, "int8+bf16", "int8+fp32"):
        build_model(
            int8(name), path, "tensorrt-rtx", precision, options=BuildOptions(("8.6", "12.0"))
        )
        head = read_head(path)
        assert head.precision_label == (precision or "int8+fp16")
        with BundleArchive(path) as archive:
            dtypes = {
                t.dtype for s in archive.manifest.stages for t in s.inputs if "feat" in t.name
            }
        assert dtypes == {{"fp16": "float16", "bf16": "bfloat16"}.get(head.precision, "float32")}


def test_a_float_file_has_no_int8(canonical, tmp_path):
    with pytest.raises(MaskrtError, match="calibrate it first"):
        build_model(canonical("mask_rcnn"), tmp_path / "m.bundle", "onnxruntime", "int8+fp32")
    with pytest.raises(ValueError, match="expected one of fp32"):
        build_model(canonical("mask_rcnn"), tmp_path / "m.bundle", "onnxruntime", "int8")


@pytest.mark.parametrize(
    ("target", "asked", "label"),
    [
        ("onnxruntime", [], "int8+fp32"),
        ("onnxruntime", ["--precision", "fp16"], "int8+fp16"),
        ("tensorrt", [], "int8+fp16"),
        ("tensorrt", ["--precision", "int8+bf16"], "int8+bf16"),
    ],
)
def test_the_command_says_what_was_built(int8, target, asked, label, tmp_path, capsys):
    path = tmp_path / ("model.trt.onnx" if target == "tensorrt" else "model.bundle")
    assert main(["build", str(int8("masks")), "--target", target, *asked, "-o", str(path)]) == 0
    assert f"{LIBRARIES[target]}, {label}, " in capsys.readouterr().out.replace("\n", " ")
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert (label if path.suffix == ".bundle" else "int8") in shown
    assert "method" in shown


def test_pictures_that_the_precision_is_checked_on(int8, tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "photo.png"), shapes.image(0)[0])
    path = tmp_path / "model.bundle"
    arguments = ["--target", "onnxruntime", "--precision", "fp16", "--check-images", str(tmp_path)]
    assert main(["build", str(int8("masks")), *arguments, "-o", str(path)]) == 0
    assert len(Detector(path)(shapes.image(1)[0])) > 0

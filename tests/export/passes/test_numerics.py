"""What low precision costs: the graph of plugin nodes, run with emulated types."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from maskrt.calibration.coco_eval import evaluate
from maskrt.examples import shapes
from maskrt.export.canonical import read_spec
from maskrt.export.passes import STAGES, Context, apply
from maskrt.runtime import Detector
from tests.export.passes.emulate import emulated, widened
from tests.export.passes.graphs import FLOAT, SPEC, graph, node
from tests.parity import File, Limits, assert_parity, of_result, share_of_twins

IMAGES = 40
ALLOWED = {"fp16": 0.005, "bf16": 0.02}
"""Average precision that may be lost on the tiny models; a detection is worth up to 0.003."""
SHARES = {"fp16": 0.98, "bf16": 0.85}
"""Of detections that are the same."""
KINDS = {"masks": ("bbox", "segm"), "keypoints": ("bbox", "keypoints")}


@pytest.fixture(scope="module", params=KINDS)
def data(request, canonical, tmp_path_factory):
    """Name, path of the canonical model, frames, truth."""
    frames, truth = shapes.dataset(
        IMAGES, split="val", seed=1, keypoint_task=request.param == "keypoints"
    )
    path = tmp_path_factory.mktemp("numerics") / "model.onnx"
    onnx.save(canonical(request.param), path)
    return request.param, path, frames, truth


def found_by(path, frames):
    with Detector(path) as detector:
        return [detector(frame) for frame in frames]


def precision_of(results, truth, kinds):
    found = []
    for result, entry in zip(results, truth["images"], strict=True):
        found += result.to_coco(entry["id"])
    figures = evaluate(truth, found, kinds)
    return {kind: figures[f"{kind}/AP"] for kind in kinds}


def test_float32_finds_the_same(data, tmp_path):
    _, path, frames, _ = data
    onnx.save(emulated(onnx.load(path), "fp32"), tmp_path / "model.onnx")
    found = [of_result(result) for result in found_by(tmp_path / "model.onnx", frames[:15])]
    reference, limits = File(path).reference(), Limits(masks=1 / 255 + 1e-3)  # masks are bytes
    for frame, one in zip(frames, found, strict=False):
        assert_parity(reference, frame[None], [one], limits, at_least=0)
    assert sum(len(one["boxes"]) for one in found) > 100


@pytest.mark.parametrize("precision", list(ALLOWED))
@pytest.mark.slow(reason="average precision with every rounding emulated")
def test_average_precision(data, precision, tmp_path):
    name, path, frames, truth = data
    onnx.save(emulated(onnx.load(path), precision), tmp_path / "model.onnx")
    before, after = found_by(path, frames), found_by(tmp_path / "model.onnx", frames)
    share = share_of_twins(*([of_result(x) for x in results] for results in (before, after)))
    assert share >= SHARES[precision]
    expected, found = (precision_of(x, truth, KINDS[name]) for x in (before, after))
    for kind, value in expected.items():
        assert value > 0.6
        assert found[kind] > value - ALLOWED[precision], (kind, found, expected)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_dense_results_are_finite_and_close(canonical, precision):
    """Every tensor before the top-k against float32: behind it, order may change."""
    model = canonical("masks")
    low, _ = apply(model, STAGES, Context(read_spec(model, "model"), precision))
    low = widened(low)
    names = [n.output[0] for n in model.graph.node if n.op_type == "Conv" and "rpn_head" in n.name]
    frame = shapes.image(3, split="val")[0][None]
    expected, found = (run_for(m, names, frame) for m in (model, low))
    step = {"fp16": 2**-11, "bf16": 2**-8}[precision]
    for name, exact, rounded in zip(names, expected, found, strict=True):
        assert np.isfinite(rounded).all(), name
        error = np.sqrt(np.mean((rounded - exact) ** 2) / np.mean(exact**2))
        assert 0 < error < 30 * step, (name, error)


def run_for(model, names, frame):
    """The values of tensors within a graph."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(changed.SerializeToString(), options)
    return session.run(names, {"frames": frame})


def test_the_emulation_shows_overflow():
    weights = {"w": np.full((4, 4, 1, 1), 300, np.float32), "v": np.full((4, 4, 1, 1), 1e-3, "f")}
    model = graph([node("Conv", "x w", "a"), node("Conv", "a v", "y")],
                  [("x", FLOAT, [1, 4, 2, 2])], [("y", FLOAT, [1, 4, 2, 2])], weights)  # fmt: skip
    x = np.full((1, 4, 2, 2), 100, np.float32)
    for float32, finite in ((frozenset[str](), False), (frozenset({"a"}), True)):
        low, _ = apply(model, STAGES, Context(SPEC, "fp16", float32))
        session = onnxruntime.InferenceSession(widened(low).SerializeToString())
        assert np.isfinite(session.run(None, {"x": x})[0]).all() == finite

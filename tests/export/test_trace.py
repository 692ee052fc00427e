"""What a canonical file is made of."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from maskrt.examples import shapes
from maskrt.examples.shapes import image, mask_rcnn
from maskrt.export import export, load_model
from maskrt.spec import METADATA_KEY, ModelSpec
from tests.parity import File, assert_parity, live

CANVAS = (192, 256)
EAGER = "maskrt.examples.shapes:mask_rcnn"
DYNAMIC = {"NonZero", "Loop", "If", "Scan", "NonMaxSuppression", "Unique", "Compress"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trace") / "tiny.onnx"
    spec = export(mask_rcnn(), path, CANVAS, batch=(1, 4))
    return path, spec


@pytest.fixture(scope="module")
def model(exported):
    return onnx.load(exported[0])


def test_checker(exported):
    onnx.checker.check_model(str(exported[0]), full_check=True)


def test_nothing_dynamic_outside_the_functions(model):
    counts = Counter(node.op_type for node in model.graph.node)
    assert not DYNAMIC & set(counts)
    ours = {node.op_type for node in model.graph.node if node.domain == "maskrt"}
    assert ours == {"Letterbox", "Proposals", "MultilevelRoIAlign", "DetectionNMS", "MaskSelect"}
    assert {function.name for function in model.functions} == ours
    assert counts["MultilevelRoIAlign"] == 2


def test_only_frame_size_and_batch_are_dynamic(model):
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "frames": ["B", "H", "W", 3],
        "score_threshold": [],
        "nms_threshold": [],
        "num_detections": ["B"],
        "boxes": ["B", 40, 4],
        "scores": ["B", 40],
        "labels": ["B", 40],
        "masks": ["B", 40, 28, 28],
    }
    for value in model.graph.value_info:
        dynamic = {d.dim_param for d in value.type.tensor_type.shape.dim if d.dim_param}
        assert dynamic <= {"B"} | {d for d in dynamic if "B" in d}, value.name


def test_spec_travels_in_the_metadata(exported, model):
    (note,) = model.metadata_props
    assert note.key == METADATA_KEY
    assert ModelSpec.from_json(note.value) == exported[1]
    assert len(exported[1].provenance.weights_sha256) == 64
    assert {"torch", "torchvision", "onnx", "maskrt"} <= set(exported[1].provenance.tools)


def test_outputs_are_the_specs(exported, model):
    for output, value in zip(exported[1].outputs, model.graph.output, strict=True):
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [d.dim_param or str(d.dim_value) for d in value.type.tensor_type.shape.dim]
        assert (output.name, output.dtype, output.shape) == (value.name, str(kind), tuple(shape))


def test_names_are_readable_and_unique(model):
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert any(name.startswith("box_head/") for name in names)
    assert any(name.startswith("backbone/") for name in names)


def test_no_paths_of_the_exporting_machine(exported):
    content = exported[0].read_bytes()
    for trace in (b"site-packages", b"stack_trace", sys.prefix.encode()):
        assert trace not in content


def test_thresholds_are_optional_inputs(exported):
    session = onnxruntime.InferenceSession(str(exported[0]))
    frame = image(0, split="val")[0][None]

    def run(**thresholds):
        feeds = {k: np.array(v, np.float32) for k, v in thresholds.items()}
        return session.run(["num_detections", "scores"], {"frames": frame, **feeds})

    default, scores = run()
    defaults = exported[1].detection
    same, _ = run(score_threshold=defaults.score_threshold, nms_threshold=defaults.nms_threshold)
    assert default == same > 0
    middle = float(np.median(scores[0, : default[0]]))
    fewer, above = run(score_threshold=middle)
    assert 0 < fewer < default
    assert (above[0, : fewer[0]] > middle).all()
    assert run(score_threshold=1.0)[0] == 0
    assert run(nms_threshold=0.0)[0] <= default


def test_runs_without_maskrt(exported, tmp_path):
    """Plain ONNX Runtime in a fresh interpreter, where maskrt and torch cannot be imported."""
    code = (
        "import sys; sys.modules['maskrt'] = sys.modules['torch'] = None\n"
        "import numpy as np, onnxruntime as ort\n"
        f"s = ort.InferenceSession({str(exported[0])!r})\n"
        "out = s.run(None, {'frames': np.zeros((1, 50, 70, 3), np.uint8)})\n"
        "print([x.shape for x in out])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[(1,), (1, 40, 4), (1, 40), (1, 40), (1, 40, 28, 28)]"


def test_polygraphy_reads_it(exported):
    done = subprocess.run(
        [str(Path(sys.executable).with_name("polygraphy")), "inspect", "model", str(exported[0])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "frames [dtype=uint8, shape=('B', 'H', 'W', 3)]" in done.stdout


@pytest.mark.parametrize("batch", [3, (2, 4)])
@pytest.mark.slow(reason="more frames; parity has batches")
def test_batches(batch, tmp_path, canonical):
    """A frame's detections are what they are alone, whatever is beside it."""
    path = tmp_path / "m.onnx"
    export(load_model(EAGER, shapes.WEIGHTS / "mask_rcnn.pth"), path, CANVAS, batch=batch)
    alone, together = File(canonical("mask_rcnn")), File(path)
    frames = np.stack([image(i, split="val")[0] for i in range(4)])
    for size in [batch] if isinstance(batch, int) else range(batch[0], batch[1] + 1):
        found = live(together.outputs(frames[:size]))
        assert len(found) == size
        for frame, one in zip(frames, found, strict=False):
            assert_parity(alone.reference(), frame[None], [one])


def test_failed_exports_leave_the_old_file(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="found 1 labels"):
        export(mask_rcnn(), path, CANVAS, labels=["x"])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

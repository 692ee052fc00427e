import dataclasses
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from maskrt.errors import MissingDependencyError, ModelFileError
from maskrt.runtime.session import OnnxRuntimeSession
from maskrt.spec import DetectionSpec

FRAMES = np.full((1, 6, 8, 3), 51, np.uint8)


def test_runs_and_gives_the_outputs_of_the_spec(make_spec, make_model):
    spec = make_spec(mask=True, keypoint=True)
    session = OnnxRuntimeSession(make_model(spec))
    assert session.spec == spec
    assert session.providers == ("CPUExecutionProvider",)
    outputs = session.run(FRAMES, 0.5, 0.75)
    assert list(outputs) == [t.name for t in spec.outputs]
    for tensor in spec.outputs:
        assert outputs[tensor.name].dtype == tensor.dtype
        assert [str(n) for n in outputs[tensor.name].shape] == list(tensor.shape)
    np.testing.assert_allclose(outputs["scores"], [[0.2, 0.5, 0.75, 0, 0]], atol=1e-6)
    assert outputs["boxes"][0, 0].tolist() == [1, 2, 8, 6]


def test_frames_need_not_be_contiguous(spec, make_model):
    frames = np.random.default_rng(0).integers(0, 256, (1, 6, 8, 3), np.uint8)
    session = OnnxRuntimeSession(make_model(spec))
    flipped = session.run(frames[:, ::-1, ::2], 0.1, 0.1)
    copied = session.run(frames[:, ::-1, ::2].copy(), 0.1, 0.1)
    assert (flipped["scores"] == copied["scores"]).all()


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan"), float("inf"), "0.5", None, True])
@pytest.mark.parametrize("name", ["score_threshold", "nms_threshold"])
def test_thresholds_are_checked(spec, make_model, name, bad):
    session = OnnxRuntimeSession(make_model(spec))
    thresholds = {"score_threshold": 0.5, "nms_threshold": 0.5, name: bad}
    with pytest.raises(ValueError, match=f"{name}: found .*, expected a number from 0 to 1"):
        session.run(FRAMES, **thresholds)


@pytest.mark.parametrize(
    "frames",
    [
        FRAMES.astype(np.float32),
        FRAMES[0],
        FRAMES[..., :2],
        np.zeros((0, 6, 8, 3), np.uint8),
        np.zeros((1, 0, 8, 3), np.uint8),
        np.zeros((2, 6, 8, 3), np.uint8),
    ],
)
def test_frames_are_checked(spec, make_model, frames):
    with pytest.raises(ValueError, match="frames: found"):
        OnnxRuntimeSession(make_model(spec)).run(frames, 0.5, 0.5)


def test_batch_is_checked(make_spec, make_model):
    session = OnnxRuntimeSession(make_model(make_spec(batch=2)))
    with pytest.raises(ValueError, match="a batch of 1, the model takes 2 to 2"):
        session.run(FRAMES, 0.5, 0.5)


def test_closed(spec, make_model):
    session = OnnxRuntimeSession(make_model(spec))
    session.close()
    session.close()
    with pytest.raises(ValueError, match="closed"):
        session.run(FRAMES, 0.5, 0.5)


def test_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.onnx does not exist"):
        OnnxRuntimeSession(tmp_path / "none.onnx")


def test_folder(tmp_path):
    with pytest.raises(ModelFileError, match="is a folder"):
        OnnxRuntimeSession(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b"version https://git-lfs.github.com/spec/v1\n", "no ONNX file")],
)
def test_no_onnx_file(tmp_path, content, says):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=says):
        OnnxRuntimeSession(path)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_file(spec, make_model, share):
    path = make_model(spec)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match="damaged, incomplete"):
        OnnxRuntimeSession(path)


def test_unicode_path(spec, make_model):
    assert OnnxRuntimeSession(make_model(spec, name="модель ü 模型.onnx")).spec == spec


def test_foreign_onnx_file(spec, make_model):
    with pytest.raises(ModelFileError, match="maskrt export"):
        OnnxRuntimeSession(make_model(spec, json=""))


@pytest.mark.parametrize(
    ("json", "says"),
    [
        ('{"schema_version": 99}', "schema version 99"),
        ("{", "not JSON"),
        ('{"schema_version": 1}', "missing"),
    ],
)
def test_unreadable_spec(spec, make_model, json, says):
    path = make_model(spec, json=json)
    with pytest.raises(ModelFileError, match=says) as caught:
        OnnxRuntimeSession(path)
    assert str(path) in str(caught.value)


def renamed_output(model):
    model.graph.node.append(helper.make_node("Identity", ["scores"], ["points"]))
    model.graph.output[2].name = "points"


def required_extra_input(model):
    model.graph.input.append(helper.make_tensor_value_info("extra", TensorProto.FLOAT, []))


def fixed_thresholds(model):
    names = [i.name for i in model.graph.input]
    del model.graph.input[names.index("score_threshold")]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (renamed_output, "has no output 'scores'"),
        (required_extra_input, "input 'extra'"),
        (fixed_thresholds, "has no input 'score_threshold'"),
    ],
)
def test_interface_is_held_against_the_spec(spec, make_model, change, says):
    with pytest.raises(ModelFileError, match=says):
        OnnxRuntimeSession(make_model(spec, change=change))


def test_spec_of_another_model(make_spec, make_model):
    path = make_model(make_spec(mask=False), json=make_spec(mask=True).to_json())
    with pytest.raises(ModelFileError, match="has no output 'masks'"):
        OnnxRuntimeSession(path)
    spec = make_spec()
    longer = dataclasses.replace(spec, detection=DetectionSpec(6))
    with pytest.raises(ModelFileError, match=r"'boxes' as .* \[1, 5, 4\], its spec says .*6, 4\]"):
        OnnxRuntimeSession(make_model(spec, json=longer.to_json()))
    path = make_model(make_spec(batch=2), json=make_spec(batch=(1, 4)).to_json())
    with pytest.raises(ModelFileError, match=r"its spec says uint8 \[B, H, W, 3\]"):
        OnnxRuntimeSession(path)


def test_missing_provider_names_those_that_are_there(spec, make_model):
    with pytest.raises(ModelFileError, match=r"TensorrtExecution.*CPUExecutionProvider"):
        OnnxRuntimeSession(make_model(spec), providers=["TensorrtExecutionProvider"])
    with pytest.raises(ValueError, match="empty list"):
        OnnxRuntimeSession(make_model(spec), providers=[])


def test_provider_that_does_not_start(spec, make_model, monkeypatch):
    class Fallen(onnxruntime.InferenceSession):
        def __init__(self, path, options, providers):
            super().__init__(path, options, providers=["CPUExecutionProvider"])

    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    with pytest.raises(ModelFileError, match=r"CUDAExecutionProvider .* did not start"):
        OnnxRuntimeSession(make_model(spec), providers=names)


def test_without_onnxruntime(spec, make_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'maskrt\[cpu\]'"):
        OnnxRuntimeSession(make_model(spec))


def test_threads(spec, make_model):
    path = make_model(spec)
    outputs = OnnxRuntimeSession(path, threads=1).run(FRAMES, 0.5, 0.5)
    assert outputs["num_detections"].tolist() == [3]
    for bad in (0, -1, True):
        with pytest.raises(ValueError, match="threads"):
            OnnxRuntimeSession(path, threads=bad)


def test_fixture_is_a_valid_model(make_spec, make_model):
    onnx.checker.check_model(str(make_model(make_spec(keypoint=True))), full_check=True)

"""The session of RTX bundles, on a stand-in for device and library; no GPU is used.

Operators are the CUDA kernels' source, run on the CPU.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from maskrt.errors import ModelFileError
from maskrt.examples import shapes
from maskrt.export.builder import make_head
from maskrt.export.bundle import write_archive
from maskrt.export.canonical import load_canonical
from maskrt.export.partition import partition
from maskrt.export.passes import STAGES, Context, apply
from maskrt.manifest import Manifest, Stage, buckets_for
from maskrt.plugins import library as plugin_loader
from maskrt.runtime.bundle import BundleSession
from maskrt.runtime.device import DeviceError
from maskrt.runtime.engines import rtx
from maskrt.runtime.session import OnnxRuntimeSession
from tests.plugins.building import BUILD, build
from tests.runtime import standin_rtx
from tests.runtime.standin_rtx import StandInDevice
from tests.runtime.test_bundle import assert_same

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")


@pytest.fixture(scope="module")
def kernels():
    """The CUDA kernels' source as a library for the CPU."""
    build(BUILD, ["maskrt_ops", "maskrt_emulated"])
    loaded = ctypes.CDLL(str(BUILD / "libmaskrt_emulated.so"))
    loaded.maskrt_last_error.restype = ctypes.c_char_p
    return loaded


def rtx_bundle(source, path, precision="fp32"):
    """As ``write_bundle`` makes it, but the engines are the stages' ONNX graphs."""
    model, spec = load_canonical(source)
    model, _ = apply(model, STAGES, Context(spec, precision))
    stages, contents = [], {}
    for dense in partition(model, spec, layout="channels_last"):
        contents[f"{dense.name}.engine"] = dense.model.SerializeToString()
        stages.append(Stage(dense.name, dense.inputs, dense.outputs, (f"{dense.name}.engine",)))
    head = make_head(spec, "tensorrt-rtx", precision)
    parts = Manifest(tuple(stages), buckets_for(spec.detection.max_detections))
    write_archive(path, head, parts, contents)
    return path


@pytest.fixture
def device(kernels, monkeypatch):
    device = StandInDevice()
    monkeypatch.setattr(rtx, "CudaDevice", lambda: device)
    monkeypatch.setattr(rtx, "_module", lambda: standin_rtx)
    monkeypatch.setattr(plugin_loader, "plugin_library", lambda: kernels)
    return device


MODELS = [("mask_rcnn", 1), ("mask_rcnn", (1, 3)), ("keypoint_rcnn", 1)]


@pytest.fixture(scope="module", params=MODELS, ids=str)
def files(request, canonical, tmp_path_factory):
    source = canonical(*request.param)
    return source, rtx_bundle(source, tmp_path_factory.mktemp("rtx") / "model.bundle")


def test_equals_the_canonical_file(files, device):
    source, path = files
    reference, session = OnnxRuntimeSession(source), BundleSession(path)
    for i, threshold in enumerate((0.05, 0.5, 0.999)):
        frame = shapes.image(i)[0][None]
        assert_same(reference.run(frame, threshold, 0.5), session.run(frame, threshold, 0.5))
    if session.spec.batch.dynamic:
        frames = np.stack([shapes.image(1)[0], shapes.image(2)[0], shapes.image(3)[0]])
        assert_same(reference.run(frames, 0.3, 0.5), session.run(frames, 0.3, 0.5))


def test_nothing_is_allocated_once_warm(files, device):
    session = BundleSession(files[1])
    frames = [shapes.image(i)[0][None] for i in range(3)]
    for frame in frames:
        session.run(frame, 0.3, 0.5)
    before = device.allocations
    for frame in frames * 2:
        session.run(frame, 0.3, 0.5)
    assert device.allocations == before


def test_one_wait_for_the_bucket_and_one_for_the_results(files, device):
    session = BundleSession(files[1])
    frame = shapes.image(1)[0][None]
    session.run(frame, 0.3, 0.5)
    before = device.waits
    session.run(frame, 0.3, 0.5)
    assert device.waits - before == 2


def test_close_frees_everything(files, device):
    session = BundleSession(files[1])
    session.run(shapes.image(1)[0][None], 0.3, 0.5)
    assert device.memory
    session.close()
    session.close()
    assert not device.memory
    assert device.closed


def test_after_a_frame_that_failed(files, device, monkeypatch):
    """What it has queued is waited for; no memory is freed twice when there is no more."""
    session = BundleSession(files[1])
    frame = shapes.image(1)[0][None]
    expected = session.run(frame, 0.3, 0.5)

    def full(size):
        raise DeviceError("CUDA: out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(device, "allocate", full)
        with pytest.raises(DeviceError, match="out of memory"):
            session.run(shapes.image(1, size=(900, 1200))[0][None], 0.3, 0.5)
    before = device.waits
    assert_same(expected, session.run(frame, 0.3, 0.5))
    assert device.waits - before >= 3
    session.close()
    assert not device.memory


def test_an_engine_that_cannot_be_loaded_lets_go_of_the_device(files, device, monkeypatch):
    monkeypatch.setattr(standin_rtx.Runtime, "deserialize_cuda_engine", lambda *_: None)
    with pytest.raises(ModelFileError, match="cannot load the trunk"):
        BundleSession(files[1])
    assert device.closed


def test_taps_come_from_the_device(files, device):
    session, taps = BundleSession(files[1]), {}
    session.run(shapes.image(1)[0][None], 0.3, 0.5, taps)
    assert taps["image"].std() > 0.1
    assert taps["features/0"].shape[-1] == 64  # channels last
    session.close()
    assert taps["logits"].std() > 0.1  # a copy


def test_half_precision(canonical, device, tmp_path):
    source = canonical("mask_rcnn")
    session = BundleSession(rtx_bundle(source, tmp_path / "half.bundle", "fp16"))
    frame = shapes.image(1)[0][None]
    ours = session.run(frame, 0.5, 0.5)
    reference = OnnxRuntimeSession(source).run(frame, 0.5, 0.5)
    np.testing.assert_array_equal(ours["labels"], reference["labels"])
    np.testing.assert_allclose(ours["boxes"], reference["boxes"], atol=1.0)


def test_more_rois_than_any_profile(files, device, monkeypatch):
    session = BundleSession(files[1])
    one = [(1, 1, 1, 1)] * 3
    monkeypatch.setattr(standin_rtx.Engine, "get_tensor_profile_shape", lambda *_: one)
    with pytest.raises(DeviceError, match=r"was not built for image.*maskrt build"):
        session.run(shapes.image(1)[0][None], 0.3, 0.5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (standin_rtx.Runtime, "Runtime"),
        (standin_rtx.Engine, "ICudaEngine"),
        (standin_rtx.Context, "IExecutionContext"),
    ],
)
def test_the_stand_in_has_the_librarys_names(ours, theirs):
    """What the session may call is there in the real library."""
    import tensorrt_rtx_bindings as real

    own = {"session", "dynamic", "sides", "logger", "profile", "shapes", "addresses", "engine"}
    names = {name for name in vars(ours) if not name.startswith("_")} - own
    assert names
    for name in names:
        assert hasattr(getattr(real, theirs), name)

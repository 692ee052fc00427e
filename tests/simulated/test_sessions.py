"""Sessions on the simulated GPU: the same results as the canonical file, and what they cost."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from maskrt.errors import ModelFileError
from maskrt.runtime import Detector
from maskrt.runtime.bundle import BundleSession
from maskrt.runtime.detector import open_session
from maskrt.runtime.device import DeviceError, open_device
from tests.simcuda.simulation import OUT_OF_MEMORY
from tests.simulated.same import assert_same, assert_same_detections

SUFFIXES = [".engine", ".split.bundle", ".rtx.bundle"]
MODELS = ["masks", "keypoints", "batches"]


@pytest.fixture(params=SUFFIXES)
def suffix(request):
    return request.param


SOAK = pytest.mark.soak(reason="more of the same on the slowest stand-in")
WITH_SOAK = [".engine", *(pytest.param(x, marks=SOAK) for x in SUFFIXES[1:])]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", [None, pytest.param(1, marks=SOAK)])
def test_equals_the_canonical_file(name, suffix, seed, files, frames, reference, sim):
    sim.schedule(seed)
    session = open_session(files / f"{name}{suffix}")
    for i, threshold in enumerate((0.05, 0.5, 0.999, 0.3)):
        frame = frames[f"frame{i}"][None]
        assert_same(reference(name).run(frame, threshold, 0.5), session.run(frame, threshold, 0.5))
    if session.spec.batch.dynamic:
        several = np.stack([frames[f"frame{i}"] for i in (1, 2, 3)])
        assert_same(reference(name).run(several, 0.3, 0.5), session.run(several, 0.3, 0.5))
    session.close()


def test_each_package(library, suffix, files, frames, reference):
    device = open_device(library=library)
    detector = Detector(files / f"masks{suffix}", device=device, score_threshold=0.5)
    frame = frames["frame1"]
    expected = reference("masks").run(frame[None], 0.5, 0.5)
    for _ in range(3):
        assert_same_detections(expected, detector(frame))
    assert detector.timings
    assert min(detector.timings.values()) >= 0
    detector.close()
    detector.close()


def test_nothing_is_allocated_once_warm(suffix, files, frames, sim):
    session = open_session(files / f"masks{suffix}")
    chosen = [frames[f"frame{i}"][None] for i in range(3)]
    for frame in chosen * 2:
        session.run(frame, 0.3, 0.5)
    before = sim.counts()
    for frame in chosen * 2:
        session.run(frame, 0.3, 0.5)
    after = sim.counts()
    assert after.allocations == before.allocations
    assert after.host_allocations == before.host_allocations
    assert after.pageable_copies == before.pageable_copies == 0
    assert (after.live_streams, after.live_events) == (before.live_streams, before.live_events)
    session.close()


WAITS = {".engine": 1, ".split.bundle": 2, ".rtx.bundle": 2}


def test_one_wait_for_the_bucket_and_one_for_the_results(suffix, files, frames, sim):
    session = open_session(files / f"masks{suffix}")
    frame = frames["frame1"][None]
    session.run(frame, 0.3, 0.5)
    before = sim.counts()
    session.run(frame, 0.3, 0.5)
    assert sim.counts().waits - before.waits == WAITS[suffix]
    session.close()


def test_little_goes_to_the_host(suffix, files, frames, sim):
    """With all slots filled: at most 1 KB for each detection with its mask."""
    session = open_session(files / f"masks{suffix}")
    frame = frames["frame1"][None]
    session.run(frame, 0.0, 0.99)
    before = sim.counts()
    outputs = session.run(frame, 0.0, 0.99)
    slots = session.spec.detection.max_detections
    assert outputs["num_detections"][0] == slots
    assert sim.counts().downloaded_bytes - before.downloaded_bytes <= 1000 * slots
    session.close()


def test_graphs_for_each_shape_and_bucket(files, frames, sim):
    session = open_session(files / "masks.split.bundle")
    for threshold in (0.0, 0.0, 0.3, 0.3):  # all detections and few: two buckets
        session.run(frames["frame1"][None], threshold, 0.5)
    before = sim.counts()
    for threshold in (0.3, 0.0):
        session.run(frames["frame1"][None], threshold, 0.5)
    after = sim.counts()
    assert after.graph_launches - before.graph_launches == 4
    assert after.captures == before.captures
    session.close()


def test_a_capture_that_fails(files, frames, reference, sim):
    sim.fail_captures(1)
    session = open_session(files / "masks.engine")
    for i in range(4):
        frame = frames[f"frame{i}"][None]
        assert_same(reference("masks").run(frame, 0.3, 0.5), session.run(frame, 0.3, 0.5))
    assert sim.counts().live_graphs == 0
    session.close()


@pytest.mark.soak(reason="80 frames of 40 sizes")
def test_many_frame_sizes(files, frames, reference, sim):
    session = open_session(files / "masks.engine")
    frame = frames["large"]
    for cut in range(40):
        part = frame[cut:][None]
        for _ in range(2):
            session.run(part, 0.5, 0.5)
    assert sim.counts().live_graphs <= 32
    assert_same(reference("masks").run(part, 0.5, 0.5), session.run(part, 0.5, 0.5))
    session.close()


def test_shared_memory_is_not_copied(suffix, files, frames, reference, sim):
    sim.device(integrated=True)
    session = open_session(files / f"masks{suffix}")
    before = sim.counts()
    for i in range(3):
        frame = frames[f"frame{i}"][None]
        assert_same(reference("masks").run(frame, 0.3, 0.5), session.run(frame, 0.3, 0.5))
    assert sim.counts().uploaded_bytes == before.uploaded_bytes
    session.close()


def test_no_detection_at_all(suffix, files, frames):
    detector = Detector(files / f"masks{suffix}", score_threshold=0.999)
    found = detector(frames["empty"])
    assert len(found) == 0
    assert found.masks.shape == (0, 192, 256)
    detector.close()


def test_half_precision(files, frames, reference):
    session = BundleSession(files / "half.rtx.bundle")
    frame = frames["frame1"][None]
    ours, expected = session.run(frame, 0.5, 0.5), reference("masks").run(frame, 0.5, 0.5)
    np.testing.assert_array_equal(ours["labels"], expected["labels"])
    np.testing.assert_allclose(ours["boxes"], expected["boxes"], atol=1.0)
    session.close()


def test_taps_come_from_the_device(files, frames):
    session, taps = BundleSession(files / "masks.rtx.bundle"), {}
    session.run(frames["frame1"][None], 0.3, 0.5, taps)
    assert taps["image"].std() > 0.1
    assert taps["features/0"].shape[-1] == 64  # channels last
    session.close()
    assert taps["logits"].std() > 0.1  # a copy


@pytest.mark.parametrize("suffix", WITH_SOAK)
def test_after_a_frame_that_failed(suffix, files, frames, reference, sim):
    """What it has queued is waited for; no memory is freed twice when there is no more."""
    session = open_session(files / f"masks{suffix}")
    frame = frames["frame1"][None]
    expected = session.run(frame, 0.3, 0.5)
    large, told = frames["large"][None], 0
    for after in range(0, 24, 2):
        sim.fail(after, OUT_OF_MEMORY)
        try:
            assert_same(reference("masks").run(large, 0.3, 0.5), session.run(large, 0.3, 0.5))
        except DeviceError:
            told += 1
        sim.heal()
        assert_same(expected, session.run(frame, 0.3, 0.5))
    assert told >= 6  # it goes on without a graph that could not be captured
    session.close()


def test_frames_larger_than_any_profile(files, frames):
    session = open_session(files / "narrow.engine")
    with pytest.raises(DeviceError, match=r"frames: .* is not in profile.*maskrt build"):
        session.run(frames["frame1"][None], 0.3, 0.5)
    session.close()


def test_an_engine_that_cannot_be_loaded(suffix, files, sim, monkeypatch):
    import tensorrt

    monkeypatch.setattr(tensorrt.Runtime, "deserialize_cuda_engine", lambda *_: None)
    with pytest.raises(ModelFileError, match=r"cannot load the .*maskrt build"):
        open_session(files / f"masks{suffix}")


def test_plugins_are_loaded_once(files):
    import tensorrt

    for _ in range(2):
        open_session(files / "masks.engine").close()
    loaded = tensorrt.Runtime(tensorrt.Logger()).get_plugin_registry().loaded
    assert len(loaded) == 1
    assert "maskrt_plugins" in loaded[0]


def test_the_second_engine_cannot_be_loaded(files, monkeypatch):
    """What was loaded before is given back."""
    import tensorrt

    load, turns = tensorrt.Runtime.deserialize_cuda_engine, iter([True, False])
    monkeypatch.setattr(
        tensorrt.Runtime,
        "deserialize_cuda_engine",
        lambda self, plan: load(self, plan) if next(turns) else None,
    )
    with pytest.raises(ModelFileError, match="cannot load the heads"):
        open_session(files / "masks.split.bundle")


def test_too_little_memory_to_load(suffix, files, sim):
    sim.device(memory=1 << 12)
    with pytest.raises((DeviceError, ModelFileError)):
        open_session(files / f"masks{suffix}")


def test_compiled_kernels_are_kept(files, frames, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKRT_CACHE", str(tmp_path / "kernels"))
    session = open_session(files / "masks.rtx.bundle")
    session.run(frames["frame1"][None], 0.3, 0.5)
    session.close()
    kept = list((tmp_path / "kernels").iterdir())
    assert len(kept) == 3  # trunk, box head, mask head
    kept[0].write_bytes(b"damaged")
    (tmp_path / "kernels" / "unrelated").mkdir()
    session = open_session(files / "masks.rtx.bundle")
    session.close()
    assert kept[0].read_bytes() != b"damaged"


def test_closed_while_a_frame_is_on_its_way(suffix, files, frames):
    session = open_session(files / f"masks{suffix}")
    pending = [session.submit(frames[f"frame{i}"][None], 0.3, 0.5) for i in range(3)]
    session.close()
    with pytest.raises(ValueError, match="closed"):
        pending[0].result()


@pytest.mark.parametrize("suffix", WITH_SOAK)
def test_threads_take_turns(suffix, files, frames, reference):
    detector = Detector(files / f"masks{suffix}", score_threshold=0.3)
    wrong = []

    def work(i):
        frame = frames[f"frame{i}"]
        expected = reference("masks").run(frame[None], 0.3, 0.5)
        for _ in range(3):
            try:
                assert_same_detections(expected, detector(frame))
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    detector.close()
    assert not wrong


def test_two_detectors(files, frames, reference):
    one = Detector(files / "masks.engine", score_threshold=0.3)
    two = Detector(files / "keypoints.rtx.bundle", score_threshold=0.3)
    frame = frames["frame2"]
    assert_same_detections(reference("masks").run(frame[None], 0.3, 0.5), one(frame))
    one.close()
    assert_same_detections(reference("keypoints").run(frame[None], 0.3, 0.5), two(frame))
    two.close()

"""Streams on the simulated GPU: several frames on their way, every result the right one."""

from __future__ import annotations

import random

import numpy as np
import pytest

from maskrt.runtime import Detector, MultiSource
from tests.simulated.same import assert_same_detections

LONG = 10_000
THRESHOLD = 0.3


@pytest.fixture(scope="module")
def expected(frames, reference):
    """Results of the small frames on the CPU."""
    session = reference("small")
    return [session.run(frames[f"small{i}"][None], THRESHOLD, 0.5) for i in range(60)]


def order(count, seed=0):
    generator = random.Random(seed)
    return [generator.randrange(60) for _ in range(count)]


SOAK = pytest.mark.soak(reason="memory that grows shows in long streams only")
MORE = pytest.mark.soak(reason="more orders")


@pytest.mark.parametrize("count", [150, pytest.param(LONG, marks=SOAK)])
def test_frames_one_after_another(count, files, frames, expected, sim):
    detector = Detector(files / "small.engine", score_threshold=THRESHOLD)
    numbers = order(count)
    assert np.mean([e["num_detections"][0] for e in expected]) > 1
    before = None
    with detector.stream((frames[f"small{i}"] for i in numbers), depth=3) as stream:
        for item in stream:
            assert_same_detections(expected[numbers[item.index]], item.result)
            if item.index == 20:
                before = sim.counts()
    after = sim.counts()
    assert item.index == count - 1
    assert after.allocations == before.allocations
    assert after.host_allocations == before.host_allocations
    assert after.live == before.live
    assert after.pageable_copies == 0
    detector.close()


@pytest.mark.parametrize("suffix", [".engine", ".split.bundle", ".rtx.bundle"])
@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=MORE) for s in (None, 2, 3))])
def test_whatever_runs_first(suffix, seed, files, frames, expected, sim):
    """Work that the device may reorder comes out right in any order."""
    sim.schedule(seed)
    detector = Detector(files / f"small{suffix}", score_threshold=THRESHOLD)
    numbers = order(20, seed=seed or 0)
    source = (frames[f"small{i}"] for i in numbers)
    with detector.stream(source, depth=3) as stream:
        found = list(stream)
    for i, item in zip(numbers, found, strict=True):
        assert_same_detections(expected[i], item.result)
    detector.close()


def test_several_frames_are_on_their_way(files, frames, sim):
    """While the host waits for one frame's results, the next are queued."""
    detector = Detector(files / "small.engine")
    most = 0
    session = detector._session
    submit = session.submit

    def watched(*arguments):
        nonlocal most
        pending = submit(*arguments)
        most = max(most, len(session._lanes._busy))
        return pending

    session.submit = watched
    with detector.stream([frames["small1"]] * 30, depth=3) as stream:
        for _ in stream:
            pass
    assert most == 3
    detector.close()


@pytest.mark.parametrize("suffix", [".engine", ".split.bundle", ".rtx.bundle"])
def test_cameras_in_one_batch(suffix, files, frames, expected, sim):
    detector = Detector(files / f"small{suffix}", score_threshold=THRESHOLD)
    sources = [order(12, seed) for seed in range(3)]
    with (
        MultiSource([[frames[f"small{i}"] for i in numbers] for numbers in sources]) as cameras,
        detector.stream(cameras, depth=2) as stream,
    ):
        seen = [[], [], []]
        for item in stream:
            seen[item.source].append(item.index)
            assert_same_detections(expected[sources[item.source][item.index]], item.result)
    assert seen == [list(range(12))] * 3
    detector.close()


def test_closed_in_the_middle(files, frames, sim):
    detector = Detector(files / "small.engine")
    stream = detector.stream([frames["small1"]] * 100, depth=3)
    for item in stream:
        if item.index == 5:
            break
    stream.close()
    assert len(detector(frames["small1"])) == len(item.result)
    detector.close()


def test_the_detector_is_closed_in_the_middle(files, frames):
    detector = Detector(files / "small.engine")
    with detector.stream([frames["small1"]] * 100, depth=3) as stream:
        next(stream)
        detector.close()
        with pytest.raises(ValueError, match="closed"):
            for _ in stream:
                pass

"""Streams: order, what is dropped, what is raised, and that nothing is left behind."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from maskrt.errors import SourceError
from maskrt.examples import shapes
from maskrt.runtime import Detector, open_source
from maskrt.runtime.stream import Stream

FRAMES = 300


def frames(count=FRAMES):
    for i in range(count):
        yield np.full((2, 3, 3), i % 256, np.uint8)


def first_pixel(frame):
    return int(frame[0, 0, 0])


def ours():
    return [t for t in threading.enumerate() if t.name.startswith("maskrt,")]


@pytest.fixture(autouse=True)
def _no_threads_are_left():
    yield
    if ours():  # of streams that were forgotten
        gc.collect()
    deadline = time.monotonic() + 10
    while ours() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not ours()


class Begun:
    """What is done as soon as it is begun, as on a CPU."""

    ready = True

    def __init__(self, results):
        self.results = results

    def finish(self):
        return self.results


def stream(detect, source, depth=2, policy="all"):
    return Stream(
        lambda frames: Begun([detect(frame) for frame in frames]),
        [source],
        depth=depth,
        policy=policy,
    )


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_every_frame_in_order(depth):
    items = list(stream(first_pixel, frames(), depth))
    assert [item.index for item in items] == list(range(FRAMES))
    assert all(item.result == item.index % 256 == first_pixel(item.frame) for item in items)
    assert all(item.milliseconds >= 0 for item in items)


def test_nothing_runs_ahead_of_the_queues():
    read = []

    def counted():
        for frame in frames(50):
            read.append(frame)
            yield frame

    with stream(first_pixel, counted(), depth=2) as running:
        next(running)
        time.sleep(0.2)
        # given, two results that wait, one in the detector's hand, two frames that wait, one read
        assert len(read) <= 7
        assert sum(1 for _ in running) == 49


def test_latest_takes_the_newest_and_counts_the_rest():
    shown, gate = threading.Event(), threading.Event()

    def camera():
        yield from frames(1)
        shown.wait(5)  # the detector has the first one
        yield from list(frames(20))[1:]
        gate.set()

    def slow(frame):
        shown.set()
        gate.wait(5)
        return first_pixel(frame)

    running = stream(slow, camera(), policy="latest")
    items = list(running)
    assert [item.result for item in items] == [0, 19]
    assert [item.index for item in items] == [0, 19]
    assert running.dropped == 18


def test_reading_detecting_and_using_overlap():
    """While the caller holds a result, the next frame is detected and another one read."""
    detecting, reading = threading.Semaphore(0), threading.Semaphore(0)

    def source():
        for frame in frames(6):
            reading.release()
            yield frame

    def detect(frame):
        detecting.release()
        return first_pixel(frame)

    with stream(detect, source(), depth=1) as running:
        next(running)
        for semaphore in (detecting, detecting, reading, reading, reading):
            assert semaphore.acquire(timeout=5)


def test_an_error_of_the_source_comes_after_the_results_before_it():
    def broken():
        yield from frames(3)
        raise SourceError("the cable is out")

    running, given = stream(first_pixel, broken()), []
    with pytest.raises(SourceError, match="the cable is out"):
        given.extend(item.result for item in running)
    assert given == [0, 1, 2]
    assert list(running) == []  # closed


def test_an_error_of_the_detector():
    def detect(frame):
        if first_pixel(frame) == 4:
            raise ValueError("no such layer")
        return first_pixel(frame)

    running, given = stream(detect, frames()), []
    with pytest.raises(ValueError, match="no such layer"):
        given.extend(item.result for item in running)
    assert given == [0, 1, 2, 3]


@pytest.mark.parametrize("after", [0, 1, 5])
def test_leaving_early(after):
    running = stream(first_pixel, frames(10**9))
    for _ in range(after):
        next(running)
    running.close()
    running.close()
    assert list(running) == []
    assert not ours()


def test_a_stream_that_is_forgotten_stops():
    for _ in stream(first_pixel, frames(10**9)):
        break
    gc.collect()  # the fixture sees that its threads end


def test_no_frames():
    assert list(stream(first_pixel, [])) == []


def test_closing_from_another_thread_wakes_the_caller():
    never = threading.Event()

    def silent():
        yield from frames(1)
        never.wait(10)

    running, given = stream(first_pixel, silent()), []
    threading.Timer(0.2, never.set).start()
    threading.Timer(0.1, running.close).start()
    for item in running:
        given.append(item.result)
    assert given == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"depth": 0}, "depth: found 0"), ({"depth": True}, "depth"), ({"policy": "new"}, "policy")],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        stream(first_pixel, frames(), **change)


@pytest.fixture(scope="module")
def detector(canonical):
    with Detector(canonical("mask_rcnn")) as found:
        yield found


def test_a_detector_gives_what_it_gives_frame_by_frame(detector):
    pictures = [shapes.image(i, split="val")[0] for i in range(8)]
    with open_source(pictures) as source, detector.stream(source, depth=3) as running:
        items = list(running)
    assert running.policy == "all"
    for item, picture in zip(items, pictures, strict=True):
        expected = detector(picture)
        np.testing.assert_array_equal(item.frame, picture)
        for name in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(item.result, name), getattr(expected, name))
        np.testing.assert_array_equal(item.result.masks, expected.masks)


def test_the_policy_suits_the_source(detector):
    class Camera(list):
        live = True

    with detector.stream(Camera()) as running:
        assert running.policy == "latest"
    with detector.stream(Camera(), policy="all") as running:
        assert running.policy == "all"


def test_a_detector_closed_in_the_middle(canonical):
    pictures = [shapes.image(i, split="val")[0] for i in range(3)] * 100
    found = Detector(canonical("mask_rcnn"))
    running = found.stream(pictures)
    next(running)
    found.close()
    with pytest.raises(ValueError, match="closed"):
        list(running)


def test_calls_from_several_threads_take_turns(detector):
    pictures = [shapes.image(i, split="val")[0] for i in range(4)]
    expected = [detector(picture).scores for picture in pictures]
    wrong = []

    def work(i):
        for _ in range(5):
            if not np.array_equal(detector(pictures[i]).scores, expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

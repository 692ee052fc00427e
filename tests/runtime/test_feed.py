"""Feeds: several sources, each in its own order, in batches of equal size."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from maskrt.errors import SourceError
from maskrt.runtime import Detector, MultiSource
from maskrt.runtime.channel import End
from maskrt.runtime.feed import Feed
from tests.parity import Limits, of_result, twins


def frame(value, size=(2, 3)):
    return np.full((*size, 3), value, np.uint8)


def feed(sources, *, depth=2, latest=False, batch=3):
    made = Feed(sources, depth=depth, latest=latest, batch=batch)
    made.start()
    return made


def taken_from(made):
    """All batches until the end."""
    while True:
        try:
            yield made.get()
        except End as end:
            for thread in made.threads:
                thread.join(5)
                assert not thread.is_alive()
            if end.error is not None:
                raise end.error from None
            return


def test_each_source_in_its_order():
    sources = [[frame(i) for i in range(count)] for count in (9, 4, 1)]
    seen = [[], [], []]
    for batch in taken_from(feed(sources)):
        assert len({taken.source for taken in batch}) == len(batch)
        for taken in batch:
            assert taken.index == taken.frame[0, 0, 0]
            seen[taken.source].append(taken.index)
    assert seen == [list(range(9)), list(range(4)), [0]]


def test_batches_of_what_waits():
    made = feed([[frame(0)] * 2] * 3, depth=2)
    for thread in made.threads:
        thread.join(5)
    assert [len(batch) for batch in taken_from(made)] == [3, 3]


def test_no_more_than_the_model_takes():
    made = feed([[frame(0)] * 2] * 3, batch=2)
    for thread in made.threads:
        thread.join(5)
    batches = list(taken_from(made))
    assert [len(batch) for batch in batches] == [2, 2, 2]
    # nobody is left out for long
    assert {taken.source for batch in batches[:2] for taken in batch} == {0, 1, 2}


def test_frames_of_another_size_come_in_a_batch_of_their_own():
    made = feed([[frame(0)], [frame(0, (5, 5))], [frame(0)]])
    for thread in made.threads:
        thread.join(5)
    shapes = [[taken.frame.shape for taken in batch] for batch in taken_from(made)]
    assert shapes == [[(2, 3, 3)] * 2, [(5, 5, 3)]]


def test_an_error_of_one_source():
    def broken():
        yield frame(0)
        raise SourceError("the cable is out")

    made = feed([broken(), [frame(1)]])
    with pytest.raises(SourceError, match="cable"):
        list(taken_from(made))


def test_the_newest_of_each_camera():
    held = threading.Event()

    def camera():
        for i in range(5):
            yield frame(i)
        held.set()

    made = feed([camera()], latest=True)
    assert held.wait(5)
    (batch,) = taken_from(made)
    assert [taken.index for taken in batch] == [4]
    assert made.dropped == 4


def test_abandoned():
    made = feed([itertools.repeat(frame(0)), itertools.repeat(frame(1))])
    made.get()
    made.abandon()
    with pytest.raises(End):
        made.get()
    for thread in made.threads:
        thread.join(5)
        assert not thread.is_alive()


def test_a_slow_camera_keeps_nobody_waiting():
    def slow():
        yield frame(0)
        time.sleep(0.5)
        yield frame(1)

    started, fast = time.monotonic(), 0
    for batch in taken_from(feed([slow(), [frame(i) for i in range(20)]])):
        fast += sum(taken.source == 1 for taken in batch)
        if fast == 20:
            break
    assert time.monotonic() - started < 0.4


def test_sources_that_cannot_be_opened():
    with pytest.raises(SourceError, match=r"nowhere\.mp4"):
        MultiSource([[frame(0)], "nowhere.mp4"])
    with pytest.raises(ValueError, match="at least one"):
        MultiSource([])


def test_several_sources_on_a_cpu(canonical):
    from maskrt.examples import shapes

    frames = [shapes.image(i)[0] for i in range(3)]
    with (
        Detector(canonical("mask_rcnn", (1, 3)), score_threshold=0.5) as detector,
        MultiSource([frames, frames[:1]]) as cameras,
    ):
        assert not cameras.live
        alone = [detector(one) for one in frames]
        with detector.stream(cameras) as stream:
            for item in stream:
                # a batch may round otherwise than a frame alone, and one at the threshold be lost
                one, two = of_result(alone[item.index]), of_result(item.result)
                found = len(twins(one, two, Limits())[0])
                assert found >= max(len(one["boxes"]), len(two["boxes"])) - 1 > 1

from __future__ import annotations

import threading
import time
from itertools import islice

import numpy as np
import pytest

from maskrt.errors import SourceError
from maskrt.runtime import open_source
from maskrt.runtime.synthetic import DIFFERENT, SyntheticSource, synthetic_frames


def test_frames():
    one, two = synthetic_frames(2), synthetic_frames(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one[0], synthetic_frames(1, seed=1)[0])
    assert one[0].shape == (720, 1280, 3)
    assert one[0].dtype == np.uint8
    assert len(np.unique(one[0].reshape(-1, 3), axis=0)) > 100  # a picture, not a plain colour


@pytest.mark.parametrize("size", [(16, 16), (16, 4096), (4096, 16)])
def test_extreme_sizes(size):
    assert synthetic_frames(1, size)[0].shape == (*size, 3)


def test_a_number_of_frames():
    with open_source("synthetic://64x48?frames=10&seed=3") as source:
        assert (source.name, source.count, source.fps, source.live) == (
            *("synthetic 64x48", 10, None),
            False,
        )
        frames = list(source)
        assert [frame.shape for frame in frames] == [(48, 64, 3)] * 10
        assert np.array_equal(frames[0], synthetic_frames(1, (48, 64), 3)[0])
        frames[0][:] = 0  # drawn into by a user
        assert np.array_equal(frames[DIFFERENT], synthetic_frames(1, (48, 64), 3)[0])
        assert len(list(source)) == 10
    with pytest.raises(ValueError, match="closed"):
        next(iter(source))


def test_endless_and_closed_while_it_is_read():
    source, read = open_source("synthetic://32x32"), 0
    assert source.count is None
    for _ in islice(source, 3 * DIFFERENT):
        read += 1
    assert read == 3 * DIFFERENT
    frames = iter(source)
    next(frames)
    source.close()
    assert list(frames) == []


def test_default_size():
    assert open_source("synthetic://?frames=1").name == "synthetic 1280x720"


def test_with_a_rate_it_is_live():
    source = open_source("synthetic://32x32?fps=100&frames=11")
    assert (source.fps, source.live) == (100, True)
    started = time.monotonic()
    assert len(list(source)) == 11
    assert 0.1 <= time.monotonic() - started < 2


def test_frames_that_nobody_took_in_time_are_not_made_up_for():
    frames = iter(SyntheticSource((32, 32), fps=50))
    next(frames)
    time.sleep(0.2)
    started = time.monotonic()
    for _ in range(3):
        next(frames)
    assert time.monotonic() - started >= 0.035  # the first of them at once, then the pace


def test_closing_ends_the_waiting():
    source = SyntheticSource((32, 32), fps=0.01)
    timer = threading.Timer(0.02, source.close)
    timer.start()
    started = time.monotonic()
    assert list(source) == []
    assert time.monotonic() - started < 2
    timer.join()


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("640", "found the size '640'"),
        ("640x", "found the size"),
        ("15x480", "16 to 4096 pixels"),
        ("640x4097", "16 to 4096 pixels"),
        ("9" * 5000 + "x480", "found the size"),
        ("640x480?fps=0", "found '0' .* from 1 to 1000"),
        ("640x480?frames=-1", "found '-1'"),
        ("640x480?speed=2", "expected one of frames, fps, seed"),
    ],
)
def test_unusable_addresses(rest, message):
    with pytest.raises(SourceError, match=message):
        open_source(f"synthetic://{rest}")

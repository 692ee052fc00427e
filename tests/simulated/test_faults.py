"""What the device refuses, at random: a clear error each time, then a clean close."""

from __future__ import annotations

import gc
import random

import pytest

from maskrt.errors import MaskrtError
from maskrt.runtime import Detector
from tests.simcuda.simulation import ILLEGAL_ADDRESS, OUT_OF_MEMORY
from tests.simulated.same import assert_same_detections

FAULTS = 100
LOADS = 200
pytestmark = pytest.mark.soak(reason="150 random faults, 200 loads")
SUFFIXES = [".engine", ".split.bundle", ".rtx.bundle"]


def detect(path, frames, numbers):
    with (
        Detector(path, score_threshold=0.3) as detector,
        detector.stream((frames[f"small{i}"] for i in numbers), depth=3) as stream,
    ):
        return [item.result for item in stream]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_faults(suffix, files, frames, reference, sim):
    """A call fails, or all from one on, or a piece of work: at any moment from loading on."""
    generator = random.Random(suffix)
    path = files / f"small{suffix}"
    numbers = list(range(6))
    before = sim.counts().calls
    expected = detect(path, frames, numbers)
    calls = sim.counts().calls - before
    messages = []
    for turn in range(FAULTS if suffix == ".engine" else FAULTS // 4):
        kind = generator.choice(["call", "lost", "work"])
        sim.schedule(generator.choice([None, generator.randrange(1000)]))
        after = generator.randrange(calls)
        if kind == "call":
            sim.fail(after, OUT_OF_MEMORY)
        elif kind == "lost":
            sim.fail(after, ILLEGAL_ADDRESS, sticky=True)
        else:
            sim.fail_work(after // 4)
        try:
            found = detect(path, frames, numbers)
        except MaskrtError as error:
            messages.append(str(error))
        else:  # the call that failed was not needed, or came too late
            assert [len(f) for f in found] == [len(e) for e in expected]
        gc.collect()
        if kind != "call":
            sim.heal()  # a lost device takes nothing back: what it held is gone
        assert sim.counts().live == 0, (kind, after)
        sim.heal()
        assert not sim.violations(), (turn, kind, after)
    assert len(messages) > FAULTS // 8
    for message in messages:
        assert "CUDA" in message or "TensorRT" in message
        assert len(message) > 60  # what happened, and what to do
    sim.schedule(None)
    for i, found in zip(numbers, detect(path, frames, numbers), strict=True):
        outputs = reference("small").run(frames[f"small{i}"][None], 0.3, 0.5)
        assert_same_detections(outputs, found)


def test_loaded_and_closed_again_and_again(files, frames, sim):
    resident = []
    for i in range(LOADS):
        suffix = SUFFIXES[i % 3] if i % 20 == 0 else ".engine"
        with Detector(files / f"small{suffix}") as detector:
            detector(frames[f"small{i % 60}"])
        assert sim.counts().live == 0
        if i % 20 == 19:
            gc.collect()
            resident.append(_resident())
    # the first loads fill the allocator's pools
    assert resident[-1] < resident[len(resident) // 2] * 1.05


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1])

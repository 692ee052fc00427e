"""Work that needs every synchronisation of the runtime; one of them can be left out.

    python tests/simulated/workload.py            # prints the places that synchronise
    python tests/simulated/workload.py PLACE  # leaves that one out; fails if it was needed

Run by ``test_synchronisation.py``, in processes of its own: leaving one out may end in a crash.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from maskrt.runtime import Detector
from maskrt.runtime.detector import open_session
from maskrt.runtime.device import DeviceError, open_device
from maskrt.runtime.pending import padded
from maskrt.runtime.session import OnnxRuntimeSession
from tests.simcuda.simulation import Simulation
from tests.simulated.same import assert_same, assert_same_detections

SYNCHRONISATIONS = ("order", "wait", "wait_for")
"""Of ``Device``."""
FILES = Path(os.environ["MASKRT_SIMULATED"])


class Watched:
    """A device that notes where it is asked to synchronise, and leaves one place out."""

    def __init__(self, device, without):
        self._device = device
        self._without = without
        self.places = set()

    def __getattr__(self, name):
        function = getattr(self._device, name)
        if name not in SYNCHRONISATIONS:
            return function

        def synchronise(*arguments):
            place = ",".join(_callers(sys._getframe(1)))
            self.places.add(place)
            return None if place == self._without else function(*arguments)

        return synchronise


def _callers(frame):
    """Where the call comes from, and where that was called: one function waits for several."""
    for _ in range(3):
        yield f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back


def run(without, seed):
    """Everything that frames can do to each other; gives the places that were passed."""
    simulation = Simulation()
    simulation.schedule(seed)
    with np.load(FILES / "frames.npz") as archive:
        frames = dict(archive)
    reference = OnnxRuntimeSession(FILES / "small.onnx")
    small = [frames[f"small{i}"] for i in range(12)]
    expected = [reference.run(frame[None], 0.3, 0.5) for frame in small]
    places = set()
    for suffix in (".engine", ".split.bundle", ".rtx.bundle"):
        device = Watched(open_device(), without)
        with (
            Detector(FILES / f"small{suffix}", device=device, score_threshold=0.3) as detector,
            detector.stream(small, depth=3) as stream,
        ):
            for item in stream:
                assert_same_detections(expected[item.index], item.result)
        places |= device.places
    # all detections and few, in turn: another bucket for each frame
    for suffix in (".split.bundle", ".rtx.bundle"):
        device = Watched(open_device(), without)
        session = open_session(FILES / f"small{suffix}", device=device)
        for turn in range(4):
            limits = [(0.0, 0.5, 0.0), (0.5, 0.0, 0.5)][turn % 2]
            pending = [session.submit(small[i][None], t, 0.5) for i, t in enumerate(limits)]
            for i, one in enumerate(pending):
                outputs = padded(one.result(), session.spec)
                assert_same(reference.run(small[i][None], limits[i], 0.5), outputs)
        session.close()
        places |= device.places
    # larger and larger frames, more sizes than graphs are kept for, and frames that fail half way
    device = Watched(open_device(), without)
    session = open_session(FILES / "small.engine", device=device)
    large = frames["large"]
    for cut in range(40, 0, -1):
        part = large[cut * 20 :][None]
        outputs = session.run(part, 0.3, 0.5)
        assert_same(reference.run(part, 0.3, 0.5), outputs)
        if cut % 10 == 0:
            pending = [session.submit(small[i][None], 0.3, 0.5) for i in range(3)]
            simulation.fail(12, 2)
            with contextlib.suppress(DeviceError):
                session.submit(small[0][None], 0.3, 0.5)
            simulation.heal()
            # what it has queued must not be in the way of a frame that needs more memory
            assert_same(reference.run(large[None], 0.3, 0.5), session.run(large[None], 0.3, 0.5))
            for i, one in enumerate(pending):
                assert_same(expected[i], padded(one.result(), session.spec))
    session.submit(small[0][None], 0.3, 0.5)  # closed before anybody asks for its result
    session.close()
    places |= device.places
    assert not simulation.violations()
    return places


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else None
    for number in [None, 1, 2]:
        found = run(chosen, number)
    if chosen is None:
        print("\n".join(sorted(found)))

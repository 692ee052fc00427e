from __future__ import annotations

import os
import subprocess
import sys

import onnxruntime
import pytest

from maskrt import cores

RUNS = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from maskrt.runtime import Detector
detector = Detector(sys.argv[1])
tasks = map(int, os.listdir("/proc/self/task"))
print(len(set().union(*map(os.sched_getaffinity, tasks))))
"""


def threads(given: int | None) -> int:
    options = onnxruntime.SessionOptions()
    cores.set_threads(options, given)
    return int(options.intra_op_num_threads)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(cores, "usable_cores", lambda: 3)
    assert (threads(None), threads(1), threads(5)) == (3, 1, 5)
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    assert threads(None) == 0  # as ONNX Runtime sees fit


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux' /proc")
def test_onnx_runtime_keeps_to_the_cores_of_the_process(canonical) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(canonical("mask_rcnn"))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1"

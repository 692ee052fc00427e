"""Every synchronisation is needed: without any one of them something goes wrong, and is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORKLOAD = Path(__file__).with_name("workload.py")


def workload(*arguments):
    return subprocess.run(
        [sys.executable, str(WORKLOAD), *arguments],
        cwd=WORKLOAD.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.soak(reason="a process for each synchronisation, which leaves it out")
def test_leaving_out_any_one():
    whole = workload()
    assert whole.returncode == 0, whole.stderr
    places = whole.stdout.split()
    # uploads before work, work before downloads, downloads before results, failures, larger frames
    assert len(places) >= 4, places
    unnoticed = [place for place in places if workload(place).returncode == 0]
    assert not unnoticed

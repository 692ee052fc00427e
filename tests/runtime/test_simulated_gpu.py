"""Runs ``tests/simulated`` in processes that have the simulated GPU; see the README there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.simcuda import environment

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the simulated driver is for Linux"
)
TESTS = Path(__file__).parents[1] / "simulated"


@pytest.fixture(scope="session")
def simulated(canonical, tmp_path_factory):
    """The environment of such processes; model files lie in its ``MASKRT_SIMULATED``."""
    folder = tmp_path_factory.mktemp("simulated")
    environment.write_files(folder, canonical)
    return environment.variables(folder)


FILES = sorted(path.name for path in TESTS.glob("test_*.py"))
SLOW = pytest.mark.soak(reason="long streams, many faults, each synchronisation left out in turn")


def run(name, simulated, marked):
    """The tests of one file that have one of the slow tiers' markers, or those that have none."""
    chosen = "soak" if marked else "not soak"
    done = environment.run(
        ["-m", "pytest", "-q", "-rs", "-m", chosen, str(TESTS / name)], simulated
    )
    print(done.stdout)  # with the reasons of tests that were skipped
    none = done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert done.returncode == 0 or none, done.stdout[-20_000:] + done.stderr[-5_000:]
    return not none


@pytest.mark.parametrize("name", FILES)
def test_on_the_simulated_gpu(name, simulated):
    if not run(name, simulated, marked=False):
        assert SOAKS.get(name) == "all"


SOAKS = {
    "test_faults.py": "all",
    "test_sessions.py": "some",
    "test_streams.py": "some",
    "test_synchronisation.py": "all",
}
"""Which of a file's tests are of the slow tiers."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW) for name in SOAKS])
def test_more_on_the_simulated_gpu(name, simulated):
    assert run(name, simulated, marked=True)

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


def run(names, simulated, chosen):
    """The tests of some files that are chosen by marker."""
    paths = [str(TESTS / name) for name in names]
    done = environment.run(["-m", "pytest", "-q", "-rs", "-m", chosen, *paths], simulated)
    print(done.stdout)  # with the reasons of tests that were skipped
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]


ALONE = ["test_sessions.py", "test_streams.py", "test_commands.py"]
"""Files with as many tests as all others have."""
GROUPS = {
    **{name: [name] for name in ALONE},
    "the others": [name for name in FILES if name not in ALONE],
}


@pytest.mark.parametrize("group", GROUPS)
def test_on_the_simulated_gpu(group, simulated):
    run(GROUPS[group], simulated, "not soak")


SOAKS = [
    "test_commands.py",
    "test_faults.py",
    "test_sessions.py",
    "test_streams.py",
    "test_synchronisation.py",
]
"""Those with tests of the slow tiers."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW) for name in SOAKS])
def test_more_on_the_simulated_gpu(name, simulated):
    run([name], simulated, "soak")

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


@pytest.mark.parametrize("name", sorted(path.name for path in TESTS.glob("test_*.py")))
def test_on_the_simulated_gpu(name, simulated):
    done = environment.run(["-m", "pytest", "-q", "-rs", str(TESTS / name)], simulated)
    print(done.stdout)  # with the reasons of tests that were skipped
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]

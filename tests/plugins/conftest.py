"""Builds the native libraries before the first test that needs them; the operators' targets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrt.plugins import backend
from maskrt.plugins.library import library_name
from tests.plugins.targets import Emulated

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "cmake"


@pytest.fixture(scope="session")
def native() -> Path:
    """The library of CPU operators in build/cmake; CMake brings everything there up to date."""
    # pip's cmake lies beside the interpreter, which need not be on the path
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake = shutil.which("cmake", path=places) or "cmake"
    configure = ["-S", str(ROOT), "-B", str(BUILD), "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run([cmake, *configure, "-DMASKRT_TESTS=ON"], check=True)
    targets = ["maskrt_ops", "maskrt_emulated"]
    subprocess.run([cmake, "--build", str(BUILD), "--parallel", "--target", *targets], check=True)
    return BUILD / library_name()


TARGETS = ["cpu", "cuda code, emulated", "cuda code, emulated in reverse"]


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest, native: Path) -> Iterator[str]:
    """Where ``maskrt.plugins.ops`` runs within the test."""
    name: str = request.param
    if name == "cpu":
        yield name
        return
    order = "reverse" if name.endswith("reverse") else "forward"
    with backend.use(Emulated(BUILD / "libmaskrt_emulated.so", order)):
        yield name

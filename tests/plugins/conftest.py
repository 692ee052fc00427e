"""Builds the library of CPU operators before the first test that needs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from maskrt.plugins.library import library_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def native() -> Path:
    """The library in build/cmake; built when it is missing or older than a source."""
    build = ROOT / "build" / "cmake"
    built = build / library_name()
    sources = [ROOT / "CMakeLists.txt", *ROOT.glob("plugins/*/*.h"), *ROOT.glob("plugins/*/*.cpp")]
    if not built.is_file() or any(s.stat().st_mtime > built.stat().st_mtime for s in sources):
        for command in (
            ["cmake", "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"],
            ["cmake", "--build", str(build), "--parallel"],
        ):
            subprocess.run(command, check=True)
    return built

"""Builds the library of CPU operators before the first test that needs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
        # pip's cmake lies beside the interpreter, which need not be on the path
        places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        cmake = shutil.which("cmake", path=places) or "cmake"
        for arguments in (
            ["-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"],
            ["--build", str(build), "--parallel"],
        ):
            subprocess.run([cmake, *arguments], check=True)
    return built

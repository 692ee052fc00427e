"""Builds native targets with CMake."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "cmake"


def build(folder: Path, targets: list[str], *options: str) -> None:
    """Brings the targets in the build folder up to date."""
    # pip's cmake lies beside the interpreter, which need not be on the path
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake = shutil.which("cmake", path=places) or "cmake"
    configure = ["-S", str(ROOT), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run([cmake, *configure, "-DMASKRT_TESTS=ON", *options], check=True)
    subprocess.run([cmake, "--build", str(folder), "--parallel", "--target", *targets], check=True)

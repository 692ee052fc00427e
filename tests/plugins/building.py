"""Builds native targets with CMake: what tests need besides the library of operators.

python -m tests.plugins.building              # what the quick tests need
python -m tests.plugins.building --sanitized  # the harness with sanitizers as well
python -m tests.plugins.building TARGET...    # some of it
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "cmake"
TARGETS = (
    "maskrt_ops",
    "maskrt_emulated",
    "maskrt_plugins_emulated",
    "maskrt_harness",
    "simcuda",
    "simulated_plugins",
)
SANITIZERS = "address,undefined"
SANITIZED = ROOT / "build" / "sanitize"
SANITIZED_OPTIONS = (
    f"-DMASKRT_SANITIZE={SANITIZERS}",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O0",  # not optimised: compiles in half the time
    "-DMASKRT_CUDA=OFF",
)


def build(folder: Path, targets: Sequence[str], *options: str) -> None:
    """Brings the targets in the build folder up to date.

    Workers of one run of tests do so one after the other, and each of them once.
    """
    from filelock import FileLock

    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        _build(folder, tuple(targets), options)


@cache
def _build(folder: Path, targets: tuple[str, ...], options: tuple[str, ...]) -> None:
    # pip's cmake lies beside the interpreter, which need not be on the path
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake = shutil.which("cmake", path=places) or "cmake"
    configure = ["-S", str(ROOT), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run([cmake, *configure, "-DMASKRT_TESTS=ON", *options], check=True)
    subprocess.run([cmake, "--build", str(folder), "--parallel", "--target", *targets], check=True)


@cache
def sanitizers_missing() -> str:
    """Why the compiler cannot build with sanitizers; empty where it can."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or "c++"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "sanitized")
        command = [compiler, f"-fsanitize={SANITIZERS}", "-x", "c++", "-", "-o", str(program)]
        try:
            given = {"input": "int main() {}", "text": True, "capture_output": True}
            subprocess.run(command, check=True, **given)
            subprocess.run([program], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return (
                f"{compiler} cannot build programs with -fsanitize={SANITIZERS} ({error}): "
                "install its sanitizers (libasan and libubsan for GCC)"
            )
    return ""


def build_sanitized_harness() -> Path:
    """The harness of the plugins with sanitizers; its path."""
    build(SANITIZED, ["maskrt_harness"], *SANITIZED_OPTIONS)
    return SANITIZED / "maskrt_harness"


def main() -> None:
    """Builds what the command line names."""
    chosen = [name for name in sys.argv[1:] if name != "--sanitized"]
    build(BUILD, chosen or TARGETS)
    if "--sanitized" in sys.argv and not sanitizers_missing():
        build_sanitized_harness()


if __name__ == "__main__":
    main()

"""The plugins driven as TensorRT would drive them, by the cases of tests/native/harness.

Each case runs twice: compiled for speed, and with AddressSanitizer and
UndefinedBehaviorSanitizer. The kernels run on the CPU, by tests/native/emulation.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.plugins.building import BUILD, ROOT, build

SANITIZERS = "address,undefined"
SANITIZED = ROOT / "build" / "sanitize"
SOURCES = sorted((ROOT / "tests" / "native" / "harness").glob("*.cpp"))
CASES = sorted(
    name
    for source in SOURCES
    for name in re.findall(r"^CASE\((\w+)\)", source.read_text(encoding="utf-8"), re.MULTILINE)
)


def sanitizers_missing(folder: Path) -> str:
    """Why the compiler cannot build with sanitizers; empty where it can."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or "c++"
    program = folder / "sanitized"
    command = [compiler, f"-fsanitize={SANITIZERS}", "-x", "c++", "-", "-o", str(program)]
    try:
        subprocess.run(command, input="int main() {}", text=True, capture_output=True, check=True)
        subprocess.run([program], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return (
            f"{compiler} cannot build programs with -fsanitize={SANITIZERS} ({error}): "
            "install its sanitizers (libasan and libubsan for GCC)"
        )
    return ""


@pytest.fixture(scope="module", params=["plain", "sanitized"])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness's program."""
    if request.param == "plain":
        build(BUILD, ["maskrt_harness"])
        return BUILD / "maskrt_harness"
    missing = sanitizers_missing(tmp_path_factory.mktemp("sanitizers"))
    if missing:
        pytest.skip(missing)
    # not optimised: compiles in half the time
    fast = "-DCMAKE_CXX_FLAGS_RELEASE=-O0"
    build(
        SANITIZED, ["maskrt_harness"], f"-DMASKRT_SANITIZE={SANITIZERS}", fast, "-DMASKRT_CUDA=OFF"
    )
    return SANITIZED / "maskrt_harness"


def test_every_case_is_here(harness: Path) -> None:
    listed = subprocess.run([harness, "--list"], capture_output=True, text=True, check=True)
    assert sorted(listed.stdout.split()) == CASES
    assert len(set(CASES)) == len(CASES)


def test_an_unknown_case_is_an_error(harness: Path) -> None:
    assert subprocess.run([harness, "no_such_case"], capture_output=True, check=False).returncode


@pytest.mark.parametrize("case", CASES)
def test_case(harness: Path, case: str) -> None:
    run = subprocess.run([harness, case], capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "1 cases ran, 0 failed" in run.stdout

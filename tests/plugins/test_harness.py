"""The plugins driven as TensorRT would drive them, by the cases of tests/native/harness.

Each case runs twice: compiled for speed, and with AddressSanitizer and
UndefinedBehaviorSanitizer. The kernels run on the CPU, by tests/native/emulation.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.plugins.building import (
    BUILD,
    ROOT,
    build,
    build_sanitized_harness,
    sanitizers_missing,
)

SOURCES = sorted((ROOT / "tests" / "native" / "harness").glob("*.cpp"))
CASES = sorted(
    name
    for source in SOURCES
    for name in re.findall(r"^CASE\((\w+)\)", source.read_text(encoding="utf-8"), re.MULTILINE)
)


SANITIZED = pytest.param(
    "sanitized", marks=pytest.mark.slow(reason="the same cases, compiled once more")
)


@pytest.fixture(scope="module", params=["plain", SANITIZED])
def harness(request: pytest.FixtureRequest) -> Path:
    """The harness's program."""
    if request.param == "plain":
        build(BUILD, ["maskrt_harness"])
        return BUILD / "maskrt_harness"
    if missing := sanitizers_missing():
        pytest.skip(missing)
    return build_sanitized_harness()


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

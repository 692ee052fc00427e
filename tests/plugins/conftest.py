"""Builds the native libraries before the first test that needs them; the operators' targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrt.plugins import backend
from maskrt.plugins.library import library_name
from tests.plugins.building import BUILD, build
from tests.plugins.targets import Emulated


@pytest.fixture(scope="session")
def native() -> Path:
    """The library of CPU operators in build/cmake; CMake brings everything there up to date."""
    build(BUILD, ["maskrt_ops", "maskrt_emulated"])
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

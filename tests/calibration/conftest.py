"""Graphs that several tests of calibration look at."""

from __future__ import annotations

import pytest

from tests.calibration.graphs import exported


@pytest.fixture(scope="session")
def structure(tmp_path_factory):
    """``structure("resnext")``: the path of a canonical file of that structure."""
    folder = tmp_path_factory.mktemp("structures")
    return lambda name: exported(name, folder)

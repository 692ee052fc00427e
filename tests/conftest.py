"""What all tests share: the tiers, one core for each worker, the bundled models as files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import artefacts, durations, models

TIERS = {"slow", "fuzz", "soak"}
"""Markers of tests that the quick tier leaves out."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-durations",
        action="store_true",
        help=f"put what the quick tests took into {durations.FILE.name}",
    )


def pytest_configure(config: pytest.Config) -> None:
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        _keep_to_one_core(int(re.sub(r"\D", "", worker)))
    else:
        artefacts.forget_old_ones()
        if config.getoption("--record-durations"):
            config.pluginmanager.register(durations.Recorder(TIERS))


def _keep_to_one_core(worker: int) -> None:
    """Engines take as many threads as there are cores for them: workers would be in each
    other's way, and small models gain nothing from a second thread."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[worker % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers():
            if marker.name in TIERS and not marker.kwargs.get("reason"):
                raise pytest.UsageError(f"{item.nodeid}: say why: {marker.name}(reason=...)")


@pytest.fixture(scope="session")
def canonical() -> Callable[..., Path]:
    """``canonical("mask_rcnn", batch=(1, 3))``: the path of a canonical file; not to be changed."""
    return models.canonical


@pytest.fixture(scope="session")
def int8() -> Callable[..., Path]:
    """The same, calibrated by the default recipe."""
    return models.quantised

"""The two libraries that engines are built with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from maskrt.errors import MissingDependencyError
from maskrt.export.builder import engine, facts, load
from maskrt.spec import CanvasSpec, DetectionSpec, ModelSpec, RoIPoolSpec, RPNLevelSpec, RPNSpec
from tests.export.builder import fake_tensorrt


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A stand-in for TensorRT, on a machine with a GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    for module in (engine, facts):
        monkeypatch.setattr(module, "first_gpu", lambda: "8.7")
    fake_tensorrt.reset()
    yield fake_tensorrt
    fake_tensorrt.reset()


@pytest.fixture(scope="session")
def rtx() -> Any:
    """The real TensorRT-RTX; its builder needs no GPU."""
    try:
        return load("tensorrt-rtx")
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def spec() -> ModelSpec:
    """Of a small model with boxes alone."""
    level = RPNLevelSpec(grid=(4, 4), stride=(16, 16), anchors=((-8, -8, 8, 8),), top_k=16)
    pool = RoIPoolSpec((7, 7), (0,), (1 / 16,), sampling_ratio=2, aligned=False, min_level=4)
    return ModelSpec(
        labels=("background", "cat"),
        canvas=CanvasSpec(64, 64),
        rpn=RPNSpec(levels=(level,), num_rois=12),
        box_pool=pool,
        detection=DetectionSpec(max_detections=5),
    )

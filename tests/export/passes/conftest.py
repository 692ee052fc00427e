"""The bundled tiny models as ONNX graphs: canonical, in INT8, and with plugin nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from maskrt.export.passes import to_tensorrt
from maskrt.spec import Precision
from tests.support import models
from tests.support.artefacts import artefact

MODELS: dict[str, tuple[str, models.Batch]] = {
    "masks": ("mask_rcnn", 1),
    "masks, batch 1 to 3": ("mask_rcnn", (1, 3)),
    "keypoints": ("keypoint_rcnn", 1),
}
MakeModel = Callable[[str], onnx.ModelProto]


@pytest.fixture(scope="session")
def canonical() -> MakeModel:
    """The canonical model of a name in ``MODELS``."""
    return lambda name: onnx.load(models.canonical(*MODELS[name]))


@pytest.fixture(scope="session")
def quantised() -> MakeModel:
    """The INT8 model of a name in ``MODELS``."""
    return lambda name: onnx.load(models.quantised(*MODELS[name]))


@pytest.fixture(scope="session")
def plugin_graph() -> Callable[..., onnx.ModelProto]:
    """``plugin_graph("masks", "fp16", int8=True)``: what surgery makes of that model."""

    def graph_of(name: str, precision: Precision, int8: bool = False) -> onnx.ModelProto:
        source = (models.quantised if int8 else models.canonical)(*MODELS[name])

        def make(path: Path) -> None:
            onnx.save(to_tensorrt(onnx.load(source), precision)[0], path)

        return onnx.load(artefact(f"{source.stem}.tensorrt.{precision}.onnx", make))

    return graph_of


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, canonical: MakeModel) -> onnx.ModelProto:
    """Each canonical model in turn."""
    return canonical(request.param)

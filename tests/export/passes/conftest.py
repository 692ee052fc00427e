"""The bundled tiny models as canonical files, exported once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import onnx
import pytest

from maskrt.examples import shapes
from maskrt.export import export, load_model

CANVAS = (192, 256)
MODELS = {
    "masks": ("mask_rcnn", 1),
    "masks, batch 1 to 4": ("mask_rcnn", (1, 4)),
    "keypoints": ("keypoint_rcnn", 1),
}


@pytest.fixture(scope="session")
def canonical(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], onnx.ModelProto]:
    """The canonical model of a name in ``MODELS``."""

    @cache
    def exported(name: str) -> bytes:
        builder, batch = MODELS[name]
        model = load_model(f"maskrt.examples.shapes:{builder}", shapes.WEIGHTS / f"{builder}.pth")
        path = tmp_path_factory.mktemp("passes") / "model.onnx"
        export(model, path, CANVAS, batch=batch)
        return path.read_bytes()

    return lambda name: onnx.load_from_string(exported(name))


@pytest.fixture(params=MODELS)
def model(
    request: pytest.FixtureRequest, canonical: Callable[..., onnx.ModelProto]
) -> onnx.ModelProto:
    """Each canonical model in turn."""
    return canonical(request.param)

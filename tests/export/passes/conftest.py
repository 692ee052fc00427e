"""The bundled tiny models as canonical files, exported once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import onnx
import pytest

from maskrt.calibration.layers import find_layers
from maskrt.calibration.quantise import quantise
from maskrt.calibration.recipe import place
from maskrt.calibration.scales import FORMATS
from maskrt.calibration.view import GraphView
from maskrt.examples import shapes
from maskrt.export import export, load_model
from maskrt.export.canonical import read_spec
from maskrt.export.ranges import largest_values
from maskrt.spec import METADATA_KEY

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


@pytest.fixture(scope="session")
def quantised(canonical: Callable[[str], onnx.ModelProto]) -> Callable[[str], onnx.ModelProto]:
    """The INT8 model of a name in ``MODELS``: ranges are the largest values on some pictures."""

    @cache
    def made(name: str) -> bytes:
        model = canonical(name)
        spec = read_spec(model, name)
        view = GraphView(model)
        layers = find_layers(view, spec)
        points = place(view, layers)
        frames = [shapes.image(i, split="train")[0] for i in range(8)]
        result = quantise(model, layers, points, largest_values(model, frames), FORMATS["int8"])
        for entry in result.metadata_props:
            if entry.key == METADATA_KEY:
                entry.value = replace(spec, precision="int8").to_json()
        return result.SerializeToString()

    return lambda name: onnx.load_from_string(made(name))


@pytest.fixture(params=MODELS)
def model(
    request: pytest.FixtureRequest, canonical: Callable[..., onnx.ModelProto]
) -> onnx.ModelProto:
    """Each canonical model in turn."""
    return canonical(request.param)

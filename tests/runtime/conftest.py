"""Specs, detections and tiny model files for the runtime's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from maskrt.runtime.detections import Detections
from maskrt.spec import (
    METADATA_KEY,
    BatchSpec,
    CanvasSpec,
    DetectionSpec,
    KeypointSpec,
    MaskSpec,
    ModelSpec,
    RoIPoolSpec,
    RPNLevelSpec,
    RPNSpec,
)

POINTS = ("nose", "left hand", "right hand")
MakeSpec = Callable[..., ModelSpec]
MakeModel = Callable[..., Path]


def _spec(
    *, mask: bool = True, keypoint: bool = False, batch: int | tuple[int, int] = 1
) -> ModelSpec:
    pool = RoIPoolSpec((7, 7), (0,), (1 / 16,), 2, False, 4)
    low, high = (batch, batch) if isinstance(batch, int) else batch
    return ModelSpec(
        labels=("background", "person", "traffic light", "bottle"),
        canvas=CanvasSpec(64, 64),
        rpn=RPNSpec((RPNLevelSpec((4, 4), (16, 16), ((-8.0, -8.0, 8.0, 8.0),), 16),), 8),
        box_pool=pool,
        detection=DetectionSpec(5, score_threshold=0.25, nms_threshold=0.5),
        mask=MaskSpec(pool, (14, 14)) if mask else None,
        keypoint=KeypointSpec(pool, (56, 56), POINTS, ((0, 1), (0, 2))) if keypoint else None,
        batch=BatchSpec(low, high, high),
    )


@pytest.fixture(scope="session")
def make_spec() -> MakeSpec:
    """A small valid spec; ``batch`` is a number, or (min, max)."""
    return _spec


@pytest.fixture
def spec() -> ModelSpec:
    return _spec()


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Writes a model that gives 3 known detections per frame.

    The first score is the frame's mean / 255, the others are the two thresholds as they came in;
    the boxes are (1, 2, H, W) each. So a test sees what has reached the model, and for which frame.
    """

    def make(
        spec: ModelSpec,
        *,
        name: str = "model.onnx",
        json: str | None = None,
        change: Callable[[onnx.ModelProto], None] | None = None,
    ) -> Path:
        text = spec.to_json() if json is None else json
        model = _model(spec)
        if text:
            helper.set_model_props(model, {METADATA_KEY: text})
        if change:
            change(model)
        path = tmp_path / name
        onnx.save(model, str(path))
        return path

    return make


def _model(spec: ModelSpec) -> onnx.ModelProto:
    batch = "B" if spec.batch.dynamic else str(spec.batch.max)
    d = spec.detection.max_detections
    outputs = []
    for tensor in spec.outputs:
        kind = {"int32": "int32", "float32": "float", "uint8": "uint8"}[tensor.dtype]
        outputs.append(f"{kind}[{','.join(tensor.shape)}] {tensor.name}")
    extra = ""
    for tensor in spec.outputs[4:]:
        rest = ",".join(tensor.shape[1:])
        value = 0.75 if tensor.name == "masks" else 9.0
        extra += f"""
        {tensor.name}_row = Constant <value = int64[{len(tensor.shape) - 1}] {{{rest}}}> ()
        {tensor.name}_shape = Concat <axis = 0> (batch, {tensor.name}_row)
        {tensor.name}_value = Constant <value_float = {value}> ()
        {tensor.name} = Expand ({tensor.name}_value, {tensor.name}_shape)"""
    model = onnx.parser.parse_model(f"""
      <ir_version: 10, opset_import: ["": 18]>
      fake (uint8[{batch},H,W,3] frames, float score_threshold, float nms_threshold)
        => ({", ".join(outputs)}) {{
        shape = Shape (frames)
        zero = Constant <value = int64[1] {{0}}> ()
        one = Constant <value = int64[1] {{1}}> ()
        batch = Gather (shape, zero)
        size = Constant <value = int64[2] {{2, 1}}> ()
        hw = Gather (shape, size)
        wh = Cast <to = 1> (hw)
        corner = Constant <value = float[2] {{1, 2}}> ()
        box = Concat <axis = 0> (corner, wh)
        three_boxes = Constant <value = int64[3] {{1, 3, 4}}> ()
        tail_boxes = Constant <value = int64[3] {{1, {d - 3}, 4}}> ()
        boxes_here = Expand (box, three_boxes)
        nothing = Constant <value_float = 0.0> ()
        no_boxes = Expand (nothing, tail_boxes)
        boxes_one = Concat <axis = 1> (boxes_here, no_boxes)
        boxes_shape = Constant <value = int64[2] {{1, 1}}> ()
        boxes_all = Concat <axis = 0> (batch, boxes_shape)
        boxes = Expand (boxes_one, boxes_all)
        pixels = Cast <to = 1> (frames)
        axes = Constant <value = int64[3] {{1, 2, 3}}> ()
        mean = ReduceMean <keepdims = 0> (pixels, axes)
        white = Constant <value_float = 255.0> ()
        share = Div (mean, white)
        score = Unsqueeze (share, one)
        pair = Concat <axis = 0> (batch, one)
        score_one = Unsqueeze (score_threshold, zero)
        nms_one = Unsqueeze (nms_threshold, zero)
        score_in = Expand (score_one, pair)
        nms_in = Expand (nms_one, pair)
        tail = Constant <value = int64[1] {{{d - 3}}}> ()
        tail_shape = Concat <axis = 0> (batch, tail)
        no_scores = Expand (nothing, tail_shape)
        scores = Concat <axis = 1> (score, score_in, nms_in, no_scores)
        label_row = Constant <value = int32[{d}] {{1, 2, 3{", 0" * (d - 3)}}}> ()
        labels = Expand (label_row, pair)
        count = Constant <value = int32[1] {{3}}> ()
        num_detections = Expand (count, batch)
        {extra}
      }}
    """)
    for name, value in (
        ("score_threshold", spec.detection.score_threshold),
        ("nms_threshold", spec.detection.nms_threshold),
    ):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    onnx.checker.check_model(model)
    return model


@pytest.fixture
def detections() -> Detections:
    """Three objects with masks and keypoints in a 60 x 80 frame."""
    spec = _spec(keypoint=True)
    rng = np.random.default_rng(5)
    boxes = np.array([[10, 12, 40, 50], [30.5, 5.25, 79.5, 44], [-4, 30, 20, 66]], np.float32)
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    points = corner + size * rng.uniform(0.2, 0.8, (3, 3, 2))
    keypoints = np.concatenate([points, rng.uniform(0, 10, (3, 3, 1))], axis=2)
    return Detections(
        boxes,
        np.array([0.9, 0.8, 0.7]),
        np.array([1, 2, 1]),
        rng.random((3, 14, 14)),
        keypoints,
        frame_size=(60, 80),
        spec=spec,
    )

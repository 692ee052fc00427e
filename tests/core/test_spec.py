from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrt.errors import SpecError
from maskrt.spec import (
    BatchSpec,
    CanvasSpec,
    DetectionSpec,
    KeypointSpec,
    MaskSpec,
    ModelSpec,
    Provenance,
    RoIPoolSpec,
    RPNLevelSpec,
    RPNSpec,
)

number = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
count = st.integers(1, 5000)
probability = st.floats(0, 1)
text = st.text(max_size=20)
box = st.tuples(number, number, number, number)
weights = st.tuples(positive, positive, positive, positive)
pair = st.tuples(st.integers(1, 300), st.integers(1, 300))


@st.composite
def canvases(draw):
    stride = draw(st.integers(1, 128))
    return CanvasSpec(
        height=stride * draw(st.integers(1, 100)),
        width=stride * draw(st.integers(1, 100)),
        stride=stride,
        min_size=draw(st.none() | count),
        max_size=draw(st.none() | count),
        mean=draw(st.tuples(number, number, number)),
        std=draw(st.tuples(positive, positive, positive)),
        channel_order=draw(st.sampled_from(["bgr", "rgb"])),
        frame_order=draw(st.sampled_from(["bgr", "rgb"])),
    )


@st.composite
def rpns(draw):
    levels = []
    for _ in range(draw(st.integers(1, 5))):
        grid = draw(pair)
        anchors = tuple(draw(st.lists(box, min_size=1, max_size=4)))
        top_k = draw(st.integers(1, grid[0] * grid[1] * len(anchors)))
        levels.append(RPNLevelSpec(grid, draw(pair), anchors, top_k))
    total = sum(level.top_k for level in levels)
    return RPNSpec(
        tuple(levels), draw(st.integers(1, total)), draw(probability), draw(probability),
        draw(st.floats(0, 10)), draw(weights), draw(number),
    )  # fmt: skip


@st.composite
def pools(draw):
    features = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=8)))
    return RoIPoolSpec(
        output_size=draw(pair),
        features=features,
        spatial_scales=tuple(draw(positive) for _ in features),
        sampling_ratio=draw(st.integers(0, 4)),
        aligned=draw(st.booleans()),
        min_level=draw(st.integers(-3, 7)),
        canonical_size=draw(positive),
        canonical_level=draw(st.integers(0, 7)),
        epsilon=draw(number),
        log_epsilon=draw(number),
    )


@st.composite
def keypoints(draw):
    names = tuple(draw(st.lists(text, min_size=1, max_size=20)))
    end = st.integers(0, len(names) - 1)
    skeleton = tuple(draw(st.lists(st.tuples(end, end), max_size=20)))
    decode = draw(st.sampled_from(["torchvision", "detectron2"]))
    return KeypointSpec(draw(pools()), draw(pair), names, skeleton, decode)


masks = st.builds(
    MaskSpec,
    pool=pools(),
    size=pair,
    paste=st.sampled_from(["torchvision", "detectron2"]),
    threshold=probability,
    class_agnostic=st.booleans(),
)
detections = st.builds(
    DetectionSpec,
    max_detections=count,
    score_threshold=probability,
    nms_threshold=probability,
    min_size=st.floats(0, 10),
    delta_weights=weights,
    delta_clip=number,
    background=st.sampled_from(["first", "last"]),
    class_agnostic=st.booleans(),
)
batches = st.lists(st.integers(1, 64), min_size=3, max_size=3).map(lambda n: BatchSpec(*sorted(n)))
provenances = st.builds(
    Provenance,
    framework=st.sampled_from(["torchvision", "detectron2"]),
    model=text,
    weights_sha256=st.sampled_from(["", "0123456789abcdef" * 4]),
    tools=st.dictionaries(text, text, max_size=4),
)
specs = st.builds(
    ModelSpec,
    labels=st.lists(text, min_size=1, max_size=100).map(tuple),
    canvas=canvases(),
    rpn=rpns(),
    box_pool=pools(),
    detection=detections,
    mask=st.none() | masks,
    keypoint=st.none() | keypoints(),
    batch=batches,
    precision=st.sampled_from(["fp32", "fp16", "bf16", "int8"]),
    calibration=st.dictionaries(text, text, max_size=4),
    provenance=provenances,
)


@given(specs)
def test_json_round_trip(spec):
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert ModelSpec.from_json(spec.to_json(indent=2)) == spec


@given(specs, st.data())
def test_broken_json_is_a_clear_error(spec, data):
    """Any single part removed or replaced by a foreign value: a SpecError, or a valid spec."""
    broken = json.loads(spec.to_json())
    path, parent, key = [], None, None
    node = broken
    while isinstance(node, (dict, list)) and node:
        parent = node
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(list(keys)))
        path.append(key)
        node = parent[key]
        if data.draw(st.booleans()):
            break
    if isinstance(parent, dict) and data.draw(st.booleans()):
        del parent[key]
    else:
        parent[key] = data.draw(
            st.sampled_from([None, True, -1, 3.5, "x", [], {}, [[1]], {"a": 1}, 1e400])
        )
    with contextlib.suppress(SpecError):
        ModelSpec.from_json(json.dumps(broken))


@given(st.text())
def test_foreign_text_is_a_clear_error(foreign):
    with pytest.raises(SpecError):
        ModelSpec.from_json(foreign)


@given(specs)
def test_truncated_json_is_a_clear_error(spec):
    whole = spec.to_json()
    for end in range(0, len(whole), max(1, len(whole) // 7)):
        with pytest.raises(SpecError):
            ModelSpec.from_json(whole[:end])


@pytest.fixture
def spec():
    pool = RoIPoolSpec((7, 7), (0,), (1 / 16,), 2, False, 4)
    return ModelSpec(
        labels=("background", "cat"),
        canvas=CanvasSpec(64, 96),
        rpn=RPNSpec((RPNLevelSpec((4, 6), (16, 16), ((-8.0, -8.0, 8.0, 8.0),), 16),), 8),
        box_pool=pool,
        detection=DetectionSpec(10),
    )


def changed(spec, path, value):
    """The spec's JSON with the value at the path replaced."""
    data = json.loads(spec.to_json())
    node = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["canvas", "height"], 65, "canvas.height: found 65, expected a positive multiple of"),
        (["canvas", "height"], "64", "spec.canvas.height: found '64', expected int"),
        (["canvas", "height"], True, "spec.canvas.height: found True, expected int"),
        (["canvas", "mean"], [1, 2], r"spec.canvas.mean: found \[1, 2\], expected a list of 3"),
        (["canvas", "colour"], 1, "spec.canvas: unknown field 'colour'; known fields: height"),
        (["precision"], "fp64", "spec.precision: found 'fp64', expected one of 'fp32'"),
        (["schema_version"], 2, "found schema version 2, this maskrt reads 1: export"),
        (["detection", "nms_threshold"], 1.5, "nms_threshold: found 1.5, expected a number from"),
        (["rpn", "num_rois"], 17, "rpn.num_rois: found 17, expected 1 to 16"),
        (["labels"], [], "labels: found"),
        (["mask"], 3, "spec.mask: found 3, expected an object"),
    ],
)
def test_messages_say_what_was_found_and_expected(spec, path, value, message):
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_json(changed(spec, path, value))


def test_missing_field(spec):
    data = json.loads(spec.to_json())
    del data["rpn"]["levels"][0]["grid"]
    with pytest.raises(SpecError, match=r"spec.rpn.levels\[0\]: field 'grid' is missing"):
        ModelSpec.from_json(json.dumps(data))


def test_frozen(spec):
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.labels = ("other",)


def test_outputs(spec):
    names = [output.name for output in spec.outputs]
    assert names == ["num_detections", "boxes", "scores", "labels"]
    assert spec.outputs[1].shape == ("1", "10", "4")
    assert spec.task == "boxes"
    pool = spec.box_pool
    full = dataclasses.replace(
        spec,
        mask=MaskSpec(pool, (28, 14)),
        keypoint=KeypointSpec(pool, (56, 56), ("a", "b")),
        batch=BatchSpec(1, 2, 4),
    )
    assert full.task == "masks+keypoints"
    assert full.outputs[4].shape == ("B", "10", "28", "14")
    assert full.outputs[5].shape == ("B", "10", "2", "3")

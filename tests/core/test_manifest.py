"""A bundle's manifest."""

from __future__ import annotations

import json

import pytest

from maskrt import manifest
from maskrt.errors import SpecError
from maskrt.manifest import Manifest, Stage, StageTensor, buckets_for

TRUNK = Stage(
    "trunk",
    (StageTensor("image", "float32", ("B", "3", "64", "64")),),
    (StageTensor("features/0", "float16", ("B", "8", "8", "16"), "channels_last"),),
    ("trunk.xml", "trunk.bin"),
)
BOX = Stage("box_head", (StageTensor("box_features", "float16", ("N", "7", "7", "16")),), (), ())


def test_back_from_json(head):
    parts = Manifest((TRUNK, BOX), (8, 40))
    assert manifest.from_json(manifest.to_json(head, parts)) == (head, parts)


@pytest.fixture
def head():
    from maskrt.artefact import ArtefactHead
    from tests.runtime.conftest import _spec as make_spec

    return ArtefactHead("openvino", "fp32", "2026.4.1", "0.1.0", "linux-x86_64", make_spec())


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"head":{}}', "null"])
def test_what_is_no_manifest(text):
    with pytest.raises(SpecError):
        manifest.from_json(text)


def test_fields_are_checked(head):
    plain = json.loads(manifest.to_json(head, Manifest((TRUNK, BOX), (8, 40))))
    plain["manifest"]["stages"][0]["inputs"][0]["dtype"] = "complex64"
    with pytest.raises(SpecError, match=r"stages\[0\].inputs\[0\].dtype"):
        manifest.from_json(json.dumps(plain))


@pytest.mark.parametrize("stages", [(), (TRUNK,), (TRUNK, TRUNK, BOX)])
def test_stages_that_make_no_model(stages):
    with pytest.raises(SpecError, match="expected trunk, box_head"):
        Manifest(stages, (8,))


@pytest.mark.parametrize("buckets", [(), (8, 8), (16, 8), (0, 8), (-1,)])
def test_buckets_ascend(buckets):
    with pytest.raises(SpecError, match="buckets"):
        Manifest((TRUNK, BOX), buckets)


@pytest.mark.parametrize("side", ["0", "-1", "Q", "", "1.5"])
def test_sides(side):
    with pytest.raises(SpecError, match="expected a number or one of"):
        StageTensor("x", "float32", ("B", side))


def test_shapes_of_a_run():
    assert TRUNK.inputs[0].sides(2) == (2, 3, 64, 64)
    assert BOX.inputs[0].sides(0, 30) == (30, 7, 7, 16)


@pytest.mark.parametrize(
    ("detections", "expected"),
    [
        (100, (8, 16, 32, 64, 100)),
        (40, (8, 16, 32, 40)),
        (8, (8,)),
        (3, (3,)),
        (300, (8, 16, 32, 64, 100, 300)),
    ],
)
def test_default_buckets(detections, expected):
    assert buckets_for(detections) == expected


def test_chosen_buckets_are_sorted_and_completed():
    assert buckets_for(50, (20, 10, 10, 90)) == (10, 20, 50)

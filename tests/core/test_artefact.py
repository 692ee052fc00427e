"""What built files say about themselves."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from maskrt.artefact import MAGIC, MAX_NAME, ArtefactHead
from maskrt.errors import SpecError
from maskrt.runtime.compatibility import build_command
from tests.runtime.conftest import _spec as make_spec


@pytest.fixture
def head():
    return ArtefactHead(
        target="tensorrt",
        precision="fp16",
        library="10.3.0.26",
        maskrt="0.1.0",
        platform="linux-aarch64",
        spec=make_spec(),
        source_sha256="ab" * 32,
        compute_capabilities=("8.7",),
        plugins_version=2,
        plugins_sha256="cd" * 32,
    )


def test_as_a_name_and_back(head):
    name = head.to_name()
    assert name.startswith(MAGIC)
    assert name.isascii()
    assert ArtefactHead.from_name(name) == head
    # as it lies in a plan: what follows is the plan's
    assert ArtefactHead.from_name(name + "\0\x01rest") == head


@pytest.mark.parametrize(
    ("model", "label"), [("fp32", "fp16"), ("int8", "int8+fp16"), ("fp8", "fp8+fp16")]
)
def test_precision_in_words(head, model, label):
    assert head.precision == "fp16"
    quantised = replace(head, spec=replace(head.spec, precision=model))
    assert ArtefactHead.from_name(quantised.to_name()).precision_label == label
    wanted = f"--target tensorrt --precision {label} -o model.engine"
    assert wanted in build_command(quantised, "model.engine")


def test_what_its_precision_is_called(head):
    assert head.precision_label == "fp16"
    calibrated = replace(head, spec=replace(head.spec, precision="int8"))
    assert calibrated.precision_label == "int8+fp16"
    assert ArtefactHead.from_name(calibrated.to_name()).precision_label == "int8+fp16"


def test_a_long_spec_is_packed(head):
    labels = tuple(f"a class with a long name, number {i}" for i in range(150))
    long = replace(head, spec=replace(head.spec, labels=labels))
    assert len(json.dumps(long.to_plain())) > MAX_NAME
    name = long.to_name()
    assert len(name) <= MAX_NAME
    assert name.startswith(MAGIC)
    assert ArtefactHead.from_name(name) == long


def test_a_spec_that_fits_in_no_way(head):
    labels = tuple(f"{i * 7919 % 100003:x}{i**3:x}" for i in range(2000))
    with pytest.raises(SpecError, match="shorter or fewer labels"):
        replace(head, spec=replace(head.spec, labels=labels)).to_name()


def test_another_format_is_named(head):
    plain = {**head.to_plain(), "maskrt_format": 99}
    with pytest.raises(SpecError, match=r"format 99, expected 1.*maskrt build"):
        ArtefactHead.from_plain(plain)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"maskrt_format":1}', '{"maskrt_format":1,"spec":"!!"}', "[" * 100000],
)
def test_what_is_no_name(text):
    with pytest.raises(SpecError):
        ArtefactHead.from_name(text)


def test_a_packed_bomb_is_not_unpacked(head):
    import base64
    import zlib

    bomb = base64.b85encode(zlib.compress(b'"' + b"a" * (1 << 26) + b'"', 9)).decode()
    with pytest.raises(SpecError):
        ArtefactHead.from_name(json.dumps({**head.to_plain(), "spec": bomb}))


@pytest.mark.parametrize("capability", ["86", "8.", ".6", "8.x", ""])
def test_compute_capabilities(head, capability):
    with pytest.raises(SpecError, match="expected such as"):
        replace(head, compute_capabilities=(capability,))

"""Which precision a build has, by what is asked for and what the file is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maskrt.artefact import PRECISION_CHOICES, TARGETS
from maskrt.errors import MaskrtError
from maskrt.export.choice import rest_precision
from tests.core.test_heads import SPEC

GPUS = ("tensorrt", "tensorrt-rtx")


def chosen(asked, precision, target="tensorrt-rtx"):
    return rest_precision(asked, replace(SPEC, precision=precision), target, "a/model.onnx")


@pytest.mark.parametrize("target", TARGETS)
def test_defaults(target):
    assert chosen(None, "fp32", target) == "fp32"
    assert chosen(None, "int8", target) == ("fp16" if target in GPUS else "fp32")


@pytest.mark.parametrize("rest", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("target", TARGETS)
def test_both_spellings(target, rest):
    assert chosen(rest, "fp32", target) == rest
    assert chosen(rest, "int8", target) == rest
    assert chosen(f"int8+{rest}", "int8", target) == rest


@pytest.mark.parametrize("asked", [c for c in PRECISION_CHOICES if "+" in c])
def test_float_files_are_to_be_calibrated(asked):
    with pytest.raises(MaskrtError, match=r"calibrate it first:  maskrt calibrate a/model\.onnx"):
        chosen(asked, "fp32")


def test_another_format():
    assert chosen(None, "fp8") == "fp16"
    with pytest.raises(MaskrtError, match=r"is in fp8, not in int8: .*--precision fp8\+fp16"):
        chosen("int8+fp16", "fp8")
    with pytest.raises(MaskrtError, match=r"is in int8, not in fp8: .*--format fp8"):
        chosen("fp8+fp16", "int8")


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_fp8_is_for_gpus(target):
    with pytest.raises(MaskrtError, match="has no FP8 on CPUs"):
        chosen(None, "fp8", target)


@pytest.mark.parametrize("asked", ["int8", "", "fp16+int8", "int4+fp16"])
def test_no_precision(asked):
    with pytest.raises(ValueError, match=r"found .*, expected one of fp32, fp16"):
        chosen(asked, "int8")

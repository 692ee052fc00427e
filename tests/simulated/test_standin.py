"""The stand-in for TensorRT has the names and the parameters of the real library."""

from __future__ import annotations

import inspect
import re

import pytest
import tensorrt
import tensorrt_rtx

real = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")

CLASSES = [
    "Runtime",
    "ICudaEngine",
    "IExecutionContext",
    "IRuntimeConfig",
    "IRuntimeCache",
]
ENUMS = [
    "DataType",
    "TensorIOMode",
    "ExecutionContextAllocationStrategy",
    "CudaGraphStrategy",
]


def members(cls):
    names = {name for name in vars(cls) if not name.startswith("_")}
    source = inspect.getsource(cls)
    return names | set(re.findall(r"self\.([a-z]\w*)\s*(?::[^=\n]+)?= ", source))


def parameters(function):
    """Names of the parameters of a bound function, from its signature's text."""
    text = function.__doc__.split("\n")[0]
    if "(*args" in text:  # several signatures: those of all
        return set(re.findall(r"(\w+): ", function.__doc__)) - {"self"}
    return set(re.findall(r"(\w+): ", text)) - {"self"}


@pytest.mark.parametrize("name", CLASSES)
def test_methods(name):
    ours, theirs = getattr(tensorrt_rtx, name), getattr(real, name)
    for member in members(ours) - {"content", "strategy", "cache"}:
        assert hasattr(theirs, member), f"{name}.{member}"
        function = getattr(ours, member, None)
        if not inspect.isfunction(function):
            continue
        wanted = set(inspect.signature(function).parameters) - {"self"}
        # names are what callers may use; pybind's own are kept
        assert wanted <= parameters(getattr(theirs, member)), f"{name}.{member}"


@pytest.mark.parametrize("name", ENUMS)
def test_constants(name):
    ours, theirs = getattr(tensorrt_rtx, name), getattr(real, name)
    for constant in ours:
        assert hasattr(theirs, constant.name), f"{name}.{constant.name}"


def test_error_recorder_and_logger():
    for name in ("num_errors", "get_error_code", "get_error_desc", "has_overflowed", "clear"):
        assert hasattr(real.IErrorRecorder, name)
    assert hasattr(real.Logger, "INTERNAL_ERROR")
    assert parameters(real.IProfiler.report_layer_time) >= {"layer_name", "ms"}


def test_our_recorder_fits_the_real_interface():
    from maskrt.runtime.engines.recorder import recorder_of

    recorder = recorder_of(real)
    code = real.ErrorCodeTRT.INVALID_ARGUMENT if hasattr(real, "ErrorCodeTRT") else None
    assert not recorder.report_error(code, "[convolution.cpp] layer 'trunk.conv1' failed")
    assert recorder.num_errors() == 1
    assert "trunk.conv1" in recorder.take()
    assert recorder.num_errors() == 0
    assert recorder.take() == ""


def test_tensorrt_itself_is_asked_for_less():
    assert not hasattr(tensorrt, "CudaGraphStrategy")

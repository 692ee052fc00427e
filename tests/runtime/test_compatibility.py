from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace

import pytest

from maskrt.artefact import ArtefactHead
from maskrt.errors import ModelFileError
from maskrt.plugins import library
from maskrt.runtime.compatibility import build_command, check, numbers
from maskrt.runtime.machine import Gpu, Machine

ORIN = Machine(
    "linux-aarch64",
    "3.10.12",
    (Gpu("Orin", "8.7", 32 << 30),),
    driver_cuda="12.6",
    libraries={"tensorrt": "10.3.0", "onnxruntime": "1.22.1"},
    jetson="NVIDIA Jetson AGX Orin",
    l4t="36.4.0",
)
ADA = Machine(
    "linux-x86_64",
    "3.12.3",
    (Gpu("NVIDIA RTX 4090", "8.9", 24 << 30),),
    driver_cuda="13.0",
    libraries={"tensorrt": "11.4.0.106", "tensorrt-rtx": "1.7.1.116", "openvino": "2026.4.1"},
)
BARE = Machine("linux-x86_64", "3.12.3", no_gpu="no NVIDIA driver (libcuda.so.1 is not there)")


@pytest.fixture
def head(spec):
    return ArtefactHead(
        "tensorrt",
        "fp32",
        "10.3.0",
        "0.1.0",
        "linux-aarch64",
        spec,
        compute_capabilities=("8.7",),
    )


@pytest.fixture
def ada(head):
    return replace(
        head, library="11.4.0.106", platform="linux-x86_64", compute_capabilities=("8.9",)
    )


def refusal(head, machine, path="model.engine"):
    with pytest.raises(ModelFileError) as caught:
        check(head, machine, path)
    return str(caught.value)


def test_where_it_was_built(head, ada):
    check(head, ORIN, "model.engine")
    check(replace(head, library="10.3.0.30"), ORIN, "model.engine")  # the build number may differ
    check(ada, ADA, "model.engine")


def test_another_machine(head):
    assert refusal(head, ADA) == (
        "model.engine was built with TensorRT 10.3.0 for sm_87 (compute capability 8.7) on "
        "linux-aarch64; this machine has TensorRT 11.4.0.106 and sm_89 (NVIDIA RTX 4090) on "
        "linux-x86_64: run  maskrt build model.onnx --target tensorrt -o model.engine  here"
    )


@pytest.mark.parametrize(
    ("built", "here", "compatible", "runs"),
    [
        ("11.4.0", "11.4.0", False, True),
        ("11.4.0", "11.4.1", False, False),
        ("11.3.0", "11.4.0", False, False),
        ("11.3.0", "11.4.0", True, True),
        ("11.4.0", "11.3.0", True, False),
        ("10.3.0", "11.4.0", True, True),
        ("11.4.0", "10.13.0", True, False),
        ("8.6.1", "11.4.0", True, False),
        ("10.9.0", "10.13.3", True, True),
    ],
)
def test_versions(ada, built, here, compatible, runs):
    head = replace(ada, library=built, version_compatible=compatible)
    machine = replace(ADA, libraries={"tensorrt": here})
    if runs:
        check(head, machine, "model.engine")
    else:
        assert f"TensorRT {built}" in refusal(head, machine)


@pytest.mark.parametrize(
    ("capability", "compatible", "runs"),
    [("8.9", False, True), ("8.6", False, False), ("8.6", True, True), ("12.0", True, True),
     ("7.5", True, False)],
)  # fmt: skip
def test_compute_capabilities(ada, capability, compatible, runs):
    head = replace(ada, hardware_compatible=compatible)
    machine = replace(ADA, gpus=(Gpu("G", capability, 1),))
    if runs:
        check(head, machine, "model.engine")
    else:
        assert "for sm_89" in refusal(head, machine)


def test_hardware_compatible_plans_stay_off_jetson(head):
    head = replace(head, hardware_compatible=True, compute_capabilities=("8.6",))
    assert "do not run on Jetson" in refusal(head, ORIN)


def test_the_other_gpu_would_do(ada):
    machine = replace(ADA, gpus=(Gpu("A", "8.6", 1), Gpu("B", "8.9", 1)))
    assert "device 1 fits: set CUDA_VISIBLE_DEVICES" in refusal(ada, machine)


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_no_gpu(ada, target):
    message = refusal(replace(ada, target=target), BARE, "x/model.engine")
    assert "no GPU was found: no NVIDIA driver" in message
    assert "maskrt build model.onnx --target openvino -o model.bundle" in message


def test_no_library(ada, head):
    machine = replace(ADA, libraries={})
    assert "has no TensorRT: run  pip install tensorrt-cu13" in refusal(ada, machine)
    assert "apt install nvidia-jetpack" in refusal(head, replace(ORIN, libraries={}))
    rtx = replace(ada, target="tensorrt-rtx", library="1.7.1.116")
    assert "pip install tensorrt-rtx" in refusal(rtx, machine)
    assert "pip install openvino" in refusal(replace(ada, target="openvino"), BARE)


def test_tensorrt_rtx(ada):
    rtx = replace(
        ada,
        target="tensorrt-rtx",
        library="1.7.1.116",
        platform="windows-x86_64",
        compute_capabilities=("8.6", "8.9"),
    )
    check(rtx, ADA, "model.bundle")  # not bound to a system
    assert "TensorRT-RTX 1.6.0" in refusal(replace(rtx, library="1.6.0"), ADA)
    newer = replace(ADA, gpus=(Gpu("RTX 5090", "12.0", 1),))
    assert "for sm_86, sm_89" in refusal(rtx, newer)
    check(replace(rtx, hardware_compatible=True), newer, "model.bundle")


def test_cpu_targets_run_with_any_version(ada):
    head = replace(ada, target="onnxruntime", library="1.32.0", compute_capabilities=())
    check(head, ORIN, "model.bundle")
    old = replace(BARE, libraries={"onnxruntime": "1.16.3"})
    assert "needs ONNX Runtime 1.22 or newer; this machine has 1.16.3" in refusal(head, old)


def test_plugins(ada, tmp_path, monkeypatch):
    file = tmp_path / library.library_name(library.PLUGINS)
    monkeypatch.setattr(library, "candidates", lambda stem: [file])
    head = replace(ada, plugins_version=library.VERSION)
    assert "needs maskrt's plugins, and the library of TensorRT plugins" in refusal(head, ADA)
    check(replace(head, plugins_embedded=True), ADA, "model.engine")
    file.write_bytes(b"library")
    digest = hashlib.sha256(b"library").hexdigest()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(replace(head, plugins_sha256=digest), ADA, "model.engine")
    with pytest.warns(UserWarning, match="another copy"):
        check(replace(head, plugins_sha256="0" * 64), ADA, "model.engine")
    other = replace(head, plugins_version=library.VERSION + 1, plugins_embedded=True)
    assert "of the plugin library's interface" in refusal(other, ADA)


def test_commands(head):
    half = replace(head, precision="fp16")
    assert build_command(half, "a/b.plan") == (
        "maskrt build b.onnx --target tensorrt --precision fp16 -o b.plan"
    )
    int8 = replace(half, spec=replace(half.spec, precision="int8"))
    assert build_command(int8, "b.int8.engine") == (
        "maskrt build b.int8.onnx --target tensorrt --precision int8+fp16 -o b.int8.engine"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.3.0.26", (10, 3, 0, 26)),
        ("2.14.1+cu130", (2, 14, 1)),
        ("1.20rc1", (1, 20)),
        ("", ()),
        ("x.1", ()),
        ("9" * 5000, (999_999_999,)),
    ],
)
def test_numbers(text, expected):
    assert numbers(text) == expected

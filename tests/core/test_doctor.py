from __future__ import annotations

import json

import pytest

from maskrt.cli import main
from maskrt.runtime import checkup, probes
from maskrt.runtime.machine import Gpu, Machine
from maskrt.runtime.probes import CODES, Probe

BARE = Machine("linux-x86_64", "3.11.7", no_gpu="no NVIDIA driver (libcuda.so.1 is not there)")
ORIN = Machine(
    "linux-aarch64",
    "3.10.12",
    (Gpu("Orin", "8.7", 32 << 30),),
    driver_cuda="12.6",
    jetson="NVIDIA Jetson AGX Orin Developer Kit",
    l4t="36.4.3",
)


def installed(**versions):
    return {name: Probe({"version": versions.get(name, "11.4.0")}) for name in CODES}


@pytest.fixture
def library(monkeypatch):
    """Both native libraries are there, the plugins built with CUDA 12.6."""
    monkeypatch.setattr(checkup.library, "find", lambda stem: f"lib{stem}.so")
    monkeypatch.setattr(checkup.library, "library", lambda: None)
    monkeypatch.setattr(checkup.library, "cuda_version", lambda: (12, 6))
    return checkup.library


def by_name(machine, probed):
    return {check.name: check for check in checkup.checks(machine, probed)}


def states(machine, probed):
    found = checkup.checks(machine, probed)
    return {state.target: state for state in checkup.targets(found, machine)}


def test_a_jetson_with_everything(library):
    probed = installed(tensorrt="10.3.0")
    found = by_name(ORIN, probed)
    assert {check.status for name, check in found.items() if name != "nvcc"} == {"ok"}
    assert "JetPack 6" in found["platform"].found
    assert "sm_87, 32 GiB" in found["GPU"].found
    assert all(not state.no_build + state.no_run for state in states(ORIN, probed).values())


@pytest.mark.parametrize(
    ("gone", "no_run"),
    [
        (["pycuda"], ""),
        (["cuda.bindings"], ""),
        (["pycuda", "cuda.bindings"], "CUDA bindings missing"),
    ],
)
def test_one_package_drives_the_gpu(library, gone, no_run):
    probed = {**installed(tensorrt="10.3.0"), **{name: Probe() for name in gone}}
    assert states(ORIN, probed)["tensorrt"].no_run == no_run


def test_a_machine_without_gpu(library):
    probed = {**installed(), "tensorrt": Probe()}
    gpu = by_name(BARE, probed)["GPU"]
    assert (gpu.status, "driver" in gpu.fix) == ("missing", True)
    found = states(BARE, probed)
    assert found["openvino"].no_run == found["tensorrt-rtx"].no_build == ""
    assert found["tensorrt"].no_run == "GPU missing, TensorRT missing"
    assert found["tensorrt-rtx"].no_run == "GPU missing"


@pytest.mark.parametrize(
    ("version", "status"),
    [("8.6.1", "broken"), ("10.2.0", "broken"), ("10.3.0", "ok"), ("11.4.1", "ok"),
     ("12.0.0", "ok"), ("", "missing")],
)  # fmt: skip
def test_versions_of_tensorrt(version, status):
    check = by_name(ORIN, installed(tensorrt=version))["TensorRT"]
    assert check.status == status
    assert bool(check.fix) == (status != "ok")


def test_what_is_installed_but_broken(library, monkeypatch):
    monkeypatch.setattr(library, "cuda_version", lambda: (13, 0))
    probed = {**installed(), "cv2": Probe(error="ImportError: libGL.so.1: cannot open")}
    found = by_name(ORIN, probed)
    assert found["TensorRT plugins"].status == "broken"
    assert "the driver knows CUDA 12.6" in found["TensorRT plugins"].found
    assert "opencv-python-headless" in found["OpenCV"].fix


def test_the_driver_does_not_start():
    machine = Machine("linux-x86_64", "3.11", no_gpu="the NVIDIA driver does not start: error 803")
    assert by_name(machine, installed())["GPU"].status == "broken"


def test_an_old_jetson():
    machine = Machine("linux-aarch64", "3.8", jetson="Orin", l4t="35.4.1")
    assert by_name(machine, installed())["platform"].status == "broken"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("out = dict(version='1')", Probe({"version": "1"})),
        ("print('noise'); out = dict(version='1')", Probe({"version": "1"})),
        ("import fake_module", Probe()),
        ("import os; os.abort()", "status -6"),
        ("raise OSError('libnvinfer.so.10 is not there')", "libnvinfer.so.10"),
        ("import time; time.sleep(60)", "more than"),
    ],
)
def test_probes(code, expected, monkeypatch):
    monkeypatch.setitem(CODES, "fake_module", code)
    monkeypatch.setattr(probes, "_SECONDS", 3)
    found = probes.probe("fake_module")
    if isinstance(expected, Probe):
        assert found == expected
    else:
        assert expected in found.error


def test_the_command(monkeypatch, library, capsys):
    monkeypatch.setattr(probes, "probe_all", lambda: {**installed(), "onnxruntime": Probe()})
    monkeypatch.setattr("maskrt.runtime.machine.this_machine", lambda: BARE)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "maskrt[cpu]" in text  # no markup of the table
    assert main(["doctor", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["machine"]["platform"] == "linux-x86_64"
    assert {check["status"] for check in plain["checks"]} <= {"ok", "missing"}
    broken = {**installed(), "torch": Probe(error="ImportError: libcudart")}
    monkeypatch.setattr(probes, "probe_all", lambda: broken)
    assert main(["doctor"]) == 1
    assert "installed, but not working: torch" in capsys.readouterr().err


def test_on_this_machine(capsys):
    main(["doctor", "--json"])
    plain = json.loads(capsys.readouterr().out)
    found = {check["name"]: check for check in plain["checks"]}
    assert found["OpenCV"]["status"] == "ok"
    assert all(check["fix"] for check in plain["checks"] if check["status"] != "ok")

"""What this machine has and lacks for maskrt, and which targets it can build and run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from maskrt.errors import MaskrtError
from maskrt.plugins import library
from maskrt.runtime.compatibility import install_command, numbers, sm
from maskrt.runtime.machine import Machine
from maskrt.runtime.probes import Probe

Status = Literal["ok", "missing", "broken"]
OLDEST_TENSORRT, NEWEST_TENSORRT = (10, 3), 11
_EXPORT = "pip install 'maskrt[export]'"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    found: str
    fix: str = ""
    """A line; empty where there is nothing to mend."""


@dataclass(frozen=True)
class TargetState:
    """Whether a kind of file can be built and run here; the reasons are empty where it can."""

    target: str
    no_build: str
    no_run: str


def checks(machine: Machine, probes: Mapping[str, Probe]) -> list[Check]:
    """Everything that was looked at, in the order of a report."""
    return [
        Check("Python", "ok", machine.python),
        _platform(machine),
        _gpu(machine),
        _tensorrt(machine, probes["tensorrt"]),
        _library("TensorRT-RTX", probes["tensorrt_rtx"], install_command("tensorrt-rtx", machine)),
        _library("CUDA bindings", probes["cuda.bindings"], "pip install cuda-bindings"),
        _pycuda(probes["pycuda"]),
        _plugins(machine),
        _operators(),
        _library("ONNX Runtime", probes["onnxruntime"], install_command("onnxruntime", machine)),
        _library("OpenVINO", probes["openvino"], install_command("openvino", machine)),
        _opencv(probes["cv2"]),
        _library("torch", probes["torch"], _EXPORT),
        _library("torchvision", probes["torchvision"], _EXPORT),
        _library("onnx", probes["onnx"], _EXPORT),
        _library("onnxscript", probes["onnxscript"], _EXPORT),
        _library("onnx-graphsurgeon", probes["onnx_graphsurgeon"], "pip install onnx-graphsurgeon"),
        _library("polygraphy", probes["polygraphy"], "pip install polygraphy"),
        _program("C++ compiler", [os.environ.get("CXX", ""), "c++", "g++", "clang++", "cl"]),
        _program("nvcc", ["nvcc", "/usr/local/cuda/bin/nvcc"]),
    ]


def targets(found: list[Check], machine: Machine) -> list[TargetState]:
    """Which kinds of files this machine builds and runs."""
    status = {check.name: check.status for check in found}

    def lacks(*names: str) -> str:
        return ", ".join(f"{name} {status[name]}" for name in names if status[name] != "ok")

    gpu = "" if machine.gpus else "GPU missing"

    def joined(*reasons: str) -> str:
        return ", ".join(reason for reason in reasons if reason)

    graph = ("onnx", "onnx-graphsurgeon")
    # one of the two drives the GPU
    driving = "" if status["PyCUDA"] == "ok" else lacks("CUDA bindings")
    cuda = joined(lacks("TensorRT plugins"), driving)
    operators = lacks("CPU operators")
    return [
        TargetState(
            "onnx (canonical)",
            lacks("torch", "torchvision", "onnx", "onnxscript"),
            lacks("ONNX Runtime"),
        ),
        TargetState(
            "tensorrt",
            joined(gpu, lacks("TensorRT", "TensorRT plugins", *graph)),
            joined(gpu, lacks("TensorRT"), cuda),
        ),
        TargetState(
            "tensorrt-rtx",
            lacks("TensorRT-RTX", *graph),
            joined(gpu, lacks("TensorRT-RTX"), cuda),
        ),
        *(
            TargetState(target, lacks(name, *graph), joined(lacks(name), operators))
            for target, name in (("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime"))
        ),
    ]


def _platform(machine: Machine) -> Check:
    if not machine.jetson:
        return Check("platform", "ok", machine.platform)
    jetpack = f", JetPack {machine.jetpack}" if machine.jetpack else ""
    l4t = f", L4T {machine.l4t}" if machine.l4t else ""
    found = f"{machine.jetson} ({machine.platform}{l4t}{jetpack})"
    if machine.jetpack == "5":
        return Check("platform", "broken", found, "install JetPack 6 or later (TensorRT 10.3)")
    return Check("platform", "ok", found)


def _gpu(machine: Machine) -> Check:
    if machine.gpus:
        names = "; ".join(
            f"{gpu.name} ({sm(gpu.compute_capability)}, {gpu.memory / 2**30:.0f} GiB)"
            for gpu in machine.gpus
        )
        return Check("GPU", "ok", f"{names}; driver: CUDA {machine.driver_cuda}")
    if "does not start" in machine.no_gpu:
        fix = "restart, or install the driver again; in a container: match the host's driver"
        return Check("GPU", "broken", machine.no_gpu, fix)
    fix = "install NVIDIA's driver; in a container: docker run --gpus all"
    if machine.jetson:
        fix = "in a container: docker run --runtime nvidia"
    elif machine.driver_cuda:
        fix = "check CUDA_VISIBLE_DEVICES and  nvidia-smi"
    return Check("GPU", "missing", machine.no_gpu, fix)


def _library(name: str, probe: Probe, install: str) -> Check:
    if probe.error:
        return Check(name, "broken", probe.error, install.replace("install", "install --upgrade"))
    if probe.missing:
        return Check(name, "missing", "", install)
    found = probe.found
    extra = [", ".join(found[key]) for key in ("providers", "devices") if found.get(key)]
    return Check(name, "ok", "; ".join([found["version"], *extra]))


def _tensorrt(machine: Machine, probe: Probe) -> Check:
    check = _library("TensorRT", probe, install_command("tensorrt", machine))
    if check.status != "ok":
        return check
    version = numbers(check.found)
    if not version:  # type stubs, or another module of that name
        return Check("TensorRT", "missing", "", install_command("tensorrt", machine))
    oldest = ".".join(map(str, OLDEST_TENSORRT))
    if version[:2] < OLDEST_TENSORRT:
        fix = f"install TensorRT {oldest} or later: {install_command('tensorrt', machine)}"
        return Check("TensorRT", "broken", f"{check.found}, too old", fix)
    if version[0] > NEWEST_TENSORRT:
        return Check("TensorRT", "ok", f"{check.found} (newer than {NEWEST_TENSORRT}: not tried)")
    return check


def _pycuda(probe: Probe) -> Check:
    if "libcuda.so.1" in probe.error:
        return Check("PyCUDA", "missing", "installed, without a driver", "install NVIDIA's driver")
    return _library("PyCUDA", probe, "pip install pycuda (where nvcc is), or use CUDA bindings")


def _operators() -> Check:
    try:
        path = library.find(library.OPS)
    except MaskrtError:
        return Check("CPU operators", "missing", "", _build_fix(library.OPS))
    try:
        library.library()
    except MaskrtError as error:
        return Check("CPU operators", "broken", str(error), _build_fix(library.OPS))
    return Check("CPU operators", "ok", str(path))


def _plugins(machine: Machine) -> Check:
    name = "TensorRT plugins"
    try:
        path = library.find(library.PLUGINS)
    except MaskrtError:
        return Check(name, "missing", "", _build_fix(library.PLUGINS))
    try:
        cuda = library.cuda_version()
    except MaskrtError as error:
        return Check(name, "broken", str(error), _build_fix(library.PLUGINS))
    found = f"{path} (CUDA {cuda[0]}.{cuda[1]})"
    driver = numbers(machine.driver_cuda)
    if driver and cuda[0] > driver[0]:
        fix = f"update NVIDIA's driver, or install maskrt again with the nvcc of CUDA {driver[0]}"
        found += f", the driver knows CUDA {machine.driver_cuda}"
        return Check(name, "broken", found, fix)
    return Check(name, "ok", found)


def _build_fix(stem: str) -> str:
    compiler = "a C++ compiler" if stem == library.OPS else "nvcc"
    target = "native" if stem == library.OPS else "plugins"
    return f"make {target} (in a checkout), or install maskrt where {compiler} is"


def _opencv(probe: Probe) -> Check:
    check = _library("OpenCV", probe, "pip install opencv-python")
    if check.status == "broken" and "libGL" in check.found:
        fix = "pip uninstall opencv-python; pip install opencv-python-headless"
        return Check("OpenCV", "broken", check.found, fix)
    if check.status != "ok":
        return check
    gui = "windows" if probe.found.get("gui") else "no windows (--show)"
    streams = "GStreamer" if probe.found.get("gstreamer") else "no GStreamer (CSI cameras)"
    return Check("OpenCV", "ok", f"{check.found}; {gui}; {streams}")


def _program(name: str, candidates: list[str]) -> Check:
    paths = [path for path in map(shutil.which, candidates) if path]
    if not paths:
        fix = {
            "nvcc": "install the CUDA toolkit (only to build the plugins)",
            "C++ compiler": "sudo apt install g++ (only to build the libraries)",
        }[name]
        return Check(name, "missing", "", fix)
    try:
        done = subprocess.run(
            [paths[0], "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, "broken", f"{paths[0]}: {error}", "install it again")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    said = [line for line in lines if "release" in line] or lines[:1]
    return Check(name, "ok", f"{paths[0]}: {said[0].strip()}" if said else paths[0])

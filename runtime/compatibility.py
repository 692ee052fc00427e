"""Whether a built file can run on this machine, told before any library is asked to load it.

The rules are NVIDIA's ("Engine Compatibility" in the guides of TensorRT 11 and TensorRT-RTX 1.7):

- TensorRT: the version that built the plan, on the same platform and compute capability. A
  version-compatible plan runs with later versions of the same major, and of TensorRT 10 with
  TensorRT 11; no other majors mix. A hardware-compatible plan (AMPERE_PLUS) runs on every compute
  capability from 8.0 on, but not on Jetson.
- TensorRT-RTX: the very release that built the engine. Engines are not bound to a system; they run
  on the compute capabilities that they were built for.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from maskrt.artefact import LIBRARIES, ArtefactHead, Target
from maskrt.errors import MaskrtError, ModelFileError
from maskrt.files import sha256_of
from maskrt.plugins import library
from maskrt.runtime.machine import Machine

LOWEST: dict[Target, tuple[int, int]] = {"onnxruntime": (1, 22), "openvino": (2025, 0)}
"""Versions that run files of these targets, whichever version built them."""

_AMPERE = (8, 0)
_ACROSS_MAJORS = {
    (10, 11)
}  # builder's and runtime's majors that a version-compatible plan may span


def check(head: ArtefactHead, machine: Machine, path: str | os.PathLike[str]) -> None:
    """Checks that a file runs on a machine.

    A plugin library that is not the one of build time, but of the same version, is a warning.

    Args:
        head: of the file.
        machine: where it is to run.
        path: of the file, for messages.

    Raises:
        ModelFileError: it does not; the message says what it needs, what is here, and the command
            that mends it.
    """
    file = Path(path)
    if head.target in ("tensorrt", "tensorrt-rtx"):
        _check_gpu(head, machine, file)
        version = _installed(head, machine, file)
        problems = _problems(head, machine, version)
        if problems:
            raise ModelFileError(
                f"{file} was built with {_built(head)}; this machine has {_here(head, machine)}"
                f"{_details(problems)}: run  {build_command(head, file)}  here"
            )
    else:
        version = _installed(head, machine, file)
        lowest = LOWEST[head.target]
        if version and numbers(version)[:2] < lowest:
            raise ModelFileError(
                f"{file} needs {LIBRARIES[head.target]} {lowest[0]}.{lowest[1]} or newer; this "
                f"machine has {version}: run  pip install --upgrade {head.target}"
            )
    if head.plugins_version:
        _check_plugins(head, file)


def build_command(head: ArtefactHead, path: str | os.PathLike[str]) -> str:
    """The command that builds such a file on this machine, from its canonical ONNX file."""
    file = Path(path)
    label = head.precision_label
    precision = "" if label == "fp32" else f" --precision {label}"
    return f"maskrt build {file.stem}.onnx --target {head.target}{precision} -o {file.name}"


def numbers(version: str) -> tuple[int, ...]:
    """``"10.3.0.26"`` as (10, 3, 0, 26); what follows other characters is left out."""
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits[:9]))  # int() refuses endless numbers
        if digits != part:
            break
    return tuple(found)


def sm(compute_capability: str) -> str:
    """``"8.7"`` as ``"sm_87"``."""
    return "sm_" + compute_capability.replace(".", "")


def _check_gpu(head: ArtefactHead, machine: Machine, file: Path) -> None:
    if machine.gpus:
        return
    raise ModelFileError(
        f"{file} was built with {_built(head)} and needs an NVIDIA GPU; no GPU was found: "
        f"{machine.no_gpu or 'the driver shows none'}. On the CPU, run the model.onnx that "
        f"it was built from, or  maskrt build model.onnx --target openvino -o {file.stem}.bundle"
    )


def _installed(head: ArtefactHead, machine: Machine, file: Path) -> str:
    """The library's version; empty where it cannot say it."""
    version = machine.libraries.get(head.target)
    if version is None:
        raise ModelFileError(
            f"{file} was built with {_built(head)}; this machine has no {LIBRARIES[head.target]}: "
            f"run  {install_command(head.target, machine)}"
        )
    return version


def install_command(target: str, machine: Machine) -> str:
    """What installs a target's library on the machine."""
    if target == "tensorrt" and machine.jetson:
        return "sudo apt install nvidia-jetpack"  # the wheels are for other machines
    cuda = machine.driver_cuda.partition(".")[0] if machine.driver_cuda else "13"
    return {
        "tensorrt": f"pip install tensorrt-cu{'12' if cuda == '12' else '13'}",
        "tensorrt-rtx": "pip install tensorrt-rtx",
        "onnxruntime": "pip install 'maskrt[cpu]'",
    }.get(target, f"pip install {target}")


def _problems(head: ArtefactHead, machine: Machine, version: str) -> list[str]:
    """What does not fit, each with a word more where the versions alone say too little."""
    problems = []
    if head.target == "tensorrt" and head.platform != machine.platform:
        problems.append("")
    if not _version_fits(head, version):
        problems.append(
            "the plan is version-compatible, which reaches later versions of the same major, and "
            "from 10 to 11"
            if head.version_compatible
            else ""
        )
    fitting = [_gpu_fits(head, machine, gpu.compute_capability) for gpu in machine.gpus]
    if not fitting[0]:
        if any(fitting):  # CUDA's first device is what runs
            problems.append(f"device {fitting.index(True)} fits: set CUDA_VISIBLE_DEVICES to it")
        elif head.hardware_compatible and machine.jetson:
            problems.append("hardware-compatible plans do not run on Jetson")
        else:
            problems.append("")
    return problems


def _details(problems: list[str]) -> str:
    said = "; ".join(problem for problem in problems if problem)
    return f" ({said})" if said else ""


def _version_fits(head: ArtefactHead, version: str) -> bool:
    built, here = numbers(head.library), numbers(version)
    if not built or not here:
        return True  # the library itself has to say
    if built[:3] == here[:3]:
        return True
    if head.target != "tensorrt" or not head.version_compatible:
        return False
    return here > built if built[0] == here[0] else (built[0], here[0]) in _ACROSS_MAJORS


def _gpu_fits(head: ArtefactHead, machine: Machine, capability: str) -> bool:
    wanted = head.compute_capabilities
    if not wanted or capability in wanted:
        return True
    if not head.hardware_compatible or machine.jetson:
        return False
    # TensorRT: every one from 8.0 on; TensorRT-RTX: those after the ones it was built for
    lowest = _AMPERE if head.target == "tensorrt" else max(map(numbers, wanted))
    return numbers(capability) >= lowest


def _built(head: ArtefactHead) -> str:
    text = f"{LIBRARIES[head.target]} {head.library}"
    if head.compute_capabilities:
        targets = ", ".join(map(sm, head.compute_capabilities))
        if head.hardware_compatible:
            targets += " and later"
        capability = ", ".join(head.compute_capabilities)
        text += f" for {targets} (compute capability {capability})"
    return f"{text} on {head.platform}"


def _here(head: ArtefactHead, machine: Machine) -> str:
    version = machine.libraries[head.target] or "of an unknown version"
    text = f"{LIBRARIES[head.target]} {version}"
    text += f" and {sm(machine.gpus[0].compute_capability)}"
    text += f" ({machine.gpus[0].name})" if machine.gpus[0].name else ""
    return text if head.platform == machine.platform else f"{text} on {machine.platform}"


def _check_plugins(head: ArtefactHead, file: Path) -> None:
    if head.plugins_version != library.VERSION:
        raise ModelFileError(
            f"{file} needs version {head.plugins_version} of the plugin library's interface, this "
            f"maskrt has {library.VERSION}: run  {build_command(head, file)}  here, or install "
            f"maskrt {head.maskrt}"
        )
    if head.plugins_embedded:
        return
    try:
        found = library.find(library.PLUGINS)
        digest = sha256_of(found)
    except (MaskrtError, OSError) as error:
        raise ModelFileError(f"{file} needs maskrt's plugins, and {error}") from None
    if head.plugins_sha256 and digest != head.plugins_sha256:
        warnings.warn(
            f"{file} was built with another copy of {found.name} than {found}; the versions agree",
            stacklevel=3,
        )

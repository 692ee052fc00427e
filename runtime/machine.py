"""What this machine has: GPUs, libraries, Jetson. Found without loading any of the libraries."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from maskrt.gpus import Gpu, find_gpus, platform_name

__all__ = ["LIBRARIES", "Gpu", "Machine", "installed_libraries", "l4t_release", "this_machine"]

LIBRARIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tensorrt": (
        "tensorrt",
        (
            "tensorrt",
            "tensorrt-cu13",
            "tensorrt-cu12",
            "tensorrt-cu11",
            "tensorrt-cu13-bindings",
            "tensorrt-cu12-bindings",
        ),
    ),
    "tensorrt-rtx": (
        "tensorrt_rtx",
        ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
    ),
    "onnxruntime": (
        "onnxruntime",
        (
            "onnxruntime",
            "onnxruntime-gpu",
            "onnxruntime-openvino",
            "onnxruntime-directml",
        ),
    ),
    "openvino": ("openvino", ("openvino",)),
    "cuda-bindings": ("cuda.bindings", ("cuda-bindings", "cuda-python")),
    "pycuda": ("pycuda", ("pycuda",)),
}
"""Module, and the distributions that bring it, best first. Targets go by their names."""


@dataclass(frozen=True)
class Machine:
    """What a model file meets. Tests and messages need no more than this."""

    platform: str
    """``"linux-x86_64"``, ``"linux-aarch64"``, ``"windows-x86_64"``."""
    python: str
    gpus: tuple[Gpu, ...] = ()
    no_gpu: str = ""
    """Why there are none; empty where there are."""
    driver_cuda: str = ""
    """The CUDA release that the driver knows, ``"13.0"``; empty without a driver."""
    libraries: dict[str, str] = field(default_factory=dict)
    """Versions of what is installed, by the keys of ``LIBRARIES``."""
    jetson: str = ""
    """The board's model; empty elsewhere."""
    l4t: str = ""
    """Jetson's release of Linux, ``"36.4.0"``."""

    @property
    def jetpack(self) -> str:
        """JetPack's major version, from L4T's: ``"6"``; empty where it is unknown."""
        return {"35": "5", "36": "6", "38": "7"}.get(self.l4t.partition(".")[0], "")


def this_machine() -> Machine:
    """What the machine has on which this runs."""
    gpus, no_gpu, cuda = find_gpus()
    return Machine(
        platform=platform_name(),
        python=platform.python_version(),
        gpus=gpus,
        no_gpu=no_gpu,
        driver_cuda=cuda,
        libraries=installed_libraries(),
        jetson=_read("/proc/device-tree/model") if sys.platform == "linux" else "",
        l4t=l4t_release(_read("/etc/nv_tegra_release")),
    )


def installed_libraries() -> dict[str, str]:
    """Versions of the libraries that are installed, by the keys of ``LIBRARIES``.

    From their metadata; only where a module comes without it, as from Jetson's Debian packages,
    the module itself is asked. A module that cannot be imported has the version ``""``.
    """
    found = {}
    for key, (module, distributions) in LIBRARIES.items():
        version = _from_metadata(distributions)
        if version is None:
            version = _from_module(module)
        if version is not None:
            found[key] = version
    return found


def _from_metadata(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def _from_module(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:  # a folder without code: type stubs leave one
            return None
        return str(getattr(importlib.import_module(module), "__version__", ""))
    except ModuleNotFoundError:
        return None
    except Exception:  # whatever a broken installation raises: doctor shows it
        return ""


def l4t_release(text: str) -> str:
    """``"36.4.0"`` from the text of ``/etc/nv_tegra_release``; empty if it says nothing."""
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    return f"{match[1]}.{match[2]}" if match else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""

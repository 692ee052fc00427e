"""The GPUs of this machine and its platform, through CUDA's driver alone."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True)
class Gpu:
    """A GPU, in the order in which CUDA counts them."""

    name: str
    compute_capability: str
    """``"8.6"``."""
    memory: int
    """Bytes."""


def platform_name() -> str:
    """System and processor, ``"linux-x86_64"``."""
    system = {"win32": "windows"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    return f"{system}-{machine}"


def find_gpus(load: Callable[[str], Any] = ctypes.CDLL) -> tuple[tuple[Gpu, ...], str, str]:
    """The GPUs that CUDA's driver shows to this process.

    Args:
        load: opens the driver's library.

    Returns:
        The GPUs; why there are none; the CUDA release that the driver knows.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = load(name)
    except OSError:
        return (), f"no NVIDIA driver ({name} is not there)", ""
    number = ctypes.c_int()
    cuda = ""
    if driver.cuDriverGetVersion(ctypes.byref(number)) == 0:
        cuda = f"{number.value // 1000}.{number.value % 1000 // 10}"
    status = driver.cuInit(0)
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(number))
    if status == _NO_DEVICE or (status == 0 and number.value == 0):
        return (), f"the NVIDIA driver (CUDA {cuda}) shows no device to this process", cuda
    if status:
        return (
            (),
            f"the NVIDIA driver (CUDA {cuda}) does not start: {_reason(driver, status)}",
            cuda,
        )
    return tuple(_gpu(driver, i) for i in range(number.value)), "", cuda


def _reason(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    with contextlib.suppress(AttributeError):
        driver.cuGetErrorString(status, ctypes.byref(text))
    return f"error {status}" + (f", {text.value.decode()}" if text.value else "")


def _gpu(driver: Any, index: int) -> Gpu:
    device, value = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), device)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(value.value)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode(errors="replace"), f"{numbers[0]}.{numbers[1]}", memory.value)

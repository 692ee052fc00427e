"""GPUs, on a stand-in for CUDA's driver; platforms."""

from __future__ import annotations

import ctypes

import pytest

from maskrt import gpus as module


class Driver:
    """libcuda.so.1 with two GPUs; ``status`` is what cuInit returns."""

    def __init__(self, status=0, count=2) -> None:
        self.status, self.count = status, count

    def cuDriverGetVersion(self, number):  # noqa: N802
        number._obj.value = 12060
        return 0

    def cuInit(self, flags):  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, number):  # noqa: N802
        number._obj.value = self.count
        return 0

    def cuDeviceGet(self, device, index):  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name, size, device):  # noqa: N802
        name.value = (b"Orin", b"NVIDIA RTX 4090")[device.value]

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        value._obj.value = {(75, 0): 8, (76, 0): 7, (75, 1): 8, (76, 1): 9}[attribute, device.value]

    def cuDeviceTotalMem_v2(self, memory, device):  # noqa: N802
        memory._obj.value = 24 << 30

    def cuGetErrorString(self, status, text):  # noqa: N802
        text._obj.value = b"system not yet initialized"


def test_gpus():
    gpus, why, cuda = module.find_gpus(lambda name: Driver())
    assert [(gpu.name, gpu.compute_capability) for gpu in gpus] == [
        ("Orin", "8.7"),
        ("NVIDIA RTX 4090", "8.9"),
    ]
    assert gpus[0].memory == 24 << 30
    assert (why, cuda) == ("", "12.6")


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (Driver(status=100), "shows no device"),
        (Driver(count=0), "shows no device"),
        (Driver(status=802), "does not start: error 802, system not yet initialized"),
    ],
)
def test_a_driver_without_gpus(driver, reason):
    gpus, why, cuda = module.find_gpus(lambda name: driver)
    assert gpus == ()
    assert reason in why
    assert cuda == "12.6"


def test_no_driver():
    def load(name):
        raise OSError("cannot open shared object file")

    assert module.find_gpus(load)[:2] == ((), f"no NVIDIA driver ({_driver_name()} is not there)")


def _driver_name():
    return "nvcuda.dll" if hasattr(ctypes, "windll") else "libcuda.so.1"


@pytest.mark.parametrize(
    ("system", "processor", "expected"),
    [
        ("linux", "x86_64", "linux-x86_64"),
        ("linux", "aarch64", "linux-aarch64"),
        ("win32", "AMD64", "windows-x86_64"),
        ("darwin", "arm64", "darwin-aarch64"),
    ],
)
def test_platform_names(system, processor, expected, monkeypatch):
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: processor)
    assert module.platform_name() == expected

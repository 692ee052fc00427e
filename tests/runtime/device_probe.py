"""Drives a device through NVIDIA's package, on the stand-in for its driver; see test_device.py."""

from __future__ import annotations

import numpy as np
import pytest

from maskrt.runtime.device import CudaDevice, DeviceError
from maskrt.runtime.device_memory import DeviceMemory


def main() -> None:
    """Copies there and back; prints "done"."""
    device = CudaDevice()
    memory = DeviceMemory(device)
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for _ in range(2):
        memory.begin()
        there = memory.input(values)
        assert memory.input(there) is there
        part = memory.first_slots(there, 2)
        back, first = memory.fetch(there, part)
        np.testing.assert_array_equal(back, values)
        np.testing.assert_array_equal(first, values[:, :2])
    with pytest.raises(DeviceError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        device.allocate(2 << 30)
    memory.close()  # the driver refuses to let go of a context with memory in use
    print("done")


if __name__ == "__main__":
    main()

"""The operators' target is the first GPU; without one its tests are skipped, with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from maskrt.errors import MaskrtError
from maskrt.plugins import backend, library
from tests.gpu.driver import Driver, Gpu
from tests.plugins.conftest import native

__all__ = ["native"]  # the cases compare with the CPU library


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """The plugin library on the first GPU."""
    try:
        # a simulated driver can take the real one's place
        driver = Driver(os.environ.get("MASKRT_TEST_LIBCUDA", "libcuda.so.1"))
    except OSError as error:
        pytest.skip(f"needs an NVIDIA GPU and its driver ({error})")
    try:
        return Gpu(library.find(library.PLUGINS), driver)
    except MaskrtError as error:
        pytest.skip(f"needs the CUDA kernels ({error})")


@pytest.fixture(scope="module")
def target(gpu: Gpu) -> Iterator[str]:
    """Where ``maskrt.plugins.ops`` runs within the test."""
    with backend.use(gpu):
        yield gpu.driver.name

"""The device layer with NVIDIA's package, on a stand-in for the driver; no GPU is used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maskrt.gpus import find_gpus
from maskrt.runtime.device import CudaDevice, DeviceError

pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
HERE = Path(__file__).parent


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stand-in is for Linux")
def test_copies_and_errors(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler
    name = "libcuda.so.1"
    options = ["-shared", "-fPIC", "-O1", f"-Wl,-soname,{name}", "-o", str(tmp_path / name)]
    subprocess.run([compiler, *options, str(HERE / "libcuda.c"), "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, str(HERE / "device_probe.py")],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr


@pytest.mark.skipif(bool(find_gpus()[0]), reason="there is a GPU")
def test_without_a_gpu():
    with pytest.raises(DeviceError, match="driver"):
        CudaDevice()

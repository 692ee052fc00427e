"""Tests that need the simulated GPU: ``tests/runtime/test_simulated_gpu.py`` runs them."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

MARK = "MASKRT_SIMULATED"

if MARK not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def files():
    """The folder of model files."""
    return Path(os.environ[MARK])


@pytest.fixture(scope="session")
def frames(files):
    """Frames by name."""
    with np.load(files / "frames.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def reference(files):
    """``reference("masks")``: the canonical file on the CPU."""
    from maskrt.runtime.session import OnnxRuntimeSession

    sessions = {}

    def session_of(name):
        if name not in sessions:
            sessions[name] = OnnxRuntimeSession(files / f"{name}.onnx")
        return sessions[name]

    return session_of


@pytest.fixture(autouse=True)
def sim():
    """The simulated GPU. After each test nothing may be left on it, nor may anything be wrong."""
    from tests.simcuda.simulation import Simulation

    simulation = Simulation()
    simulation.device()
    simulation.schedule(None)
    left = simulation.counts().live  # by a test that has failed
    yield simulation
    simulation.heal()
    gc.collect()
    assert not simulation.violations()
    counts = simulation.counts()
    assert counts.live <= left, counts


@pytest.fixture(params=["pycuda", "cuda-bindings"])
def library(request):
    """Each package that can drive a device."""
    from importlib.util import find_spec

    module = {"pycuda": "pycuda", "cuda-bindings": "cuda.bindings"}[request.param]
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param

"""The device layer on a GPU; ``tests/simulated`` has the same on a simulated one."""

from __future__ import annotations

import numpy as np
import pytest

from maskrt.errors import MissingDependencyError
from maskrt.runtime.device import open_device
from maskrt.runtime.device_memory import DeviceMemory
from maskrt.runtime.device_queues import Queues


@pytest.fixture(params=["pycuda", "cuda-bindings"])
def queues(request, gpu):
    try:
        opened = Queues(open_device(library=request.param))
    except MissingDependencyError as error:
        pytest.skip(str(error))
    yield opened
    opened.close()


def test_there_and_back(queues):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    with queues.device.active():
        memory = DeviceMemory(queues)
        for turn in range(3):
            memory.begin()
            there = memory.input(values + turn)
            part = memory.first_slots(there, 2)
            memory.lap("copies")
            back, first = memory.download(there, part).wait()
            np.testing.assert_array_equal(back, values + turn)
            np.testing.assert_array_equal(first, (values + turn)[:, :2])
            assert all(milliseconds >= 0 for milliseconds in memory.laps().values())
        memory.close()


def test_graphs(queues):
    device = queues.device
    if not device.graphs:
        pytest.skip(f"{device.library} has no CUDA graphs without cuda-bindings")
    with device.active():
        address, block = device.allocate(256), device.allocate_host(256)
        back = device.allocate_host(256)
        device.begin_capture(queues.compute)
        device.upload(address, block.array, queues.compute)
        device.download(back.array, address, queues.compute)
        graph = device.end_capture(queues.compute)
        for value in (3, 4):
            block.array[:] = value
            device.launch(graph, queues.compute)
            device.wait(queues.compute)
            assert (back.array == value).all()
        device.free_graph(graph)
        device.free(address)
        device.free_host(block)
        device.free_host(back)

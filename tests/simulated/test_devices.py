"""The device layer, with each package that can drive a device."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from maskrt.runtime.device import DeviceError, open_device
from maskrt.runtime.device_memory import DeviceMemory
from maskrt.runtime.device_queues import Queues
from tests.simcuda.simulation import ILLEGAL_ADDRESS, OUT_OF_MEMORY


@pytest.fixture
def device(library):
    opened = open_device(library=library)
    assert opened.library == library
    yield opened
    opened.close()


def test_facts(device):
    assert device.facts.name == "Simulated GPU"
    assert device.facts.compute_capability == "8.9"
    assert device.facts.memory == 4 << 30
    assert not device.facts.integrated
    assert device.graphs


def test_copies_are_done_when_waited_for(device):
    with device.active():
        address, block = device.allocate(1000), device.allocate_host(1000)
        stream = device.new_stream()
        block.array[:] = 7
        device.upload(address, block.array, stream)
        block.array[:] = 9  # too early: the copy has not been made
        device.download(block.array, address, stream)
        device.wait(stream)
        assert (block.array == 9).all()
        device.upload(address, block.array, stream)
        device.wait(stream)
        block.array[:] = 0
        device.download(block.array, address, stream)
        assert (block.array == 0).all()
        device.wait(stream)
        assert (block.array == 9).all()
        device.free(address)
        device.free_host(block)
        device.free_stream(stream)


def test_streams_wait_for_events_only(device):
    with device.active():
        first, second = device.new_stream(), device.new_stream()
        address, block = device.allocate(256), device.allocate_host(256)
        event = device.new_event()
        for ordered in (False, True):
            block.array[:] = 1
            device.upload(address, block.array, first)
            device.wait(first)
            other = device.allocate_host(256)
            other.array[:] = 2
            device.upload(address, other.array, first)
            device.record(event, first)
            if ordered:
                device.order(second, event)
            device.download(block.array, address, second)
            device.wait(second)
            assert (block.array == (2 if ordered else 1)).all()
            device.wait(first)
            device.free_host(other)
        device.free(address)
        device.free_host(block)
        device.free_event(event)
        device.free_stream(first)
        device.free_stream(second)


def test_events_tell_time(device):
    with device.active():
        stream = device.new_stream()
        first, last = device.new_event(timing=True), device.new_event(timing=True)
        device.record(first, stream)
        device.record(last, stream)
        device.wait_for(last)
        assert 0 <= device.elapsed(first, last) < 1000
        device.free_event(first)
        device.free_event(last)
        device.free_stream(stream)


def test_graphs_do_it_again(device):
    with device.active():
        stream = device.new_stream()
        address, block = device.allocate(256), device.allocate_host(256)
        device.begin_capture(stream)
        device.upload(address, block.array, stream)
        graph = device.end_capture(stream)
        for value in (3, 4):
            block.array[:] = value
            device.launch(graph, stream)
            device.wait(stream)
            back = device.allocate_host(256)
            device.download(back.array, address, stream)
            device.wait(stream)
            assert (back.array == value).all()
            device.free_host(back)
        device.free_graph(graph)
        device.free(address)
        device.free_host(block)
        device.free_stream(stream)


def test_a_wait_cannot_be_captured(device):
    with device.active():
        stream = device.new_stream()
        device.begin_capture(stream)
        with pytest.raises(DeviceError):
            device.wait(stream)
        with pytest.raises(DeviceError):
            device.end_capture(stream)
        device.wait(stream)  # the stream can be used again
        device.free_stream(stream)


def test_too_much_memory(device):
    with device.active(), pytest.raises(DeviceError, match=r"OUT_OF_MEMORY: free memory"):
        device.allocate(1 << 40)


def test_errors_say_what_to_do(device, sim):
    with device.active():
        sim.fail(0, OUT_OF_MEMORY)
        with pytest.raises(DeviceError, match="nvidia-smi"):
            device.allocate_host(256)
        sim.fail(0, ILLEGAL_ADDRESS, sticky=True)
        with pytest.raises(DeviceError, match="start the program again"):
            device.new_stream()
        sim.heal()


def test_a_broken_pycuda(monkeypatch):
    """The other package drives the GPU then, unless pycuda is asked for."""
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    pytest.importorskip("pycuda", reason="pycuda is not installed")
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    device = open_device()
    assert device.library == "cuda-bindings"
    device.close()
    with pytest.raises(DeviceError, match="driver"):
        open_device(library="pycuda")


def test_no_such_gpu(library):
    with pytest.raises(DeviceError):
        open_device(3, library)


def test_the_apps_own_context():
    """A device opened within an app's context uses that one, and leaves it as it was."""
    cuda = pytest.importorskip("pycuda.driver", reason="pycuda is not installed")
    cuda.init()
    context = cuda.Device(0).make_context()
    try:
        for library in ("pycuda", "cuda-bindings"):
            device = open_device(library=library)
            with device.active():
                block = device.allocate(256)
                own = cuda.to_device(np.arange(8, dtype=np.float32))
                device.free(block)
            device.close()
            assert (cuda.from_device(own, (8,), np.float32) == np.arange(8)).all()
            own.free()
    finally:
        context.pop()
        context.detach()


def test_another_thread(device):
    results = []

    def work():
        with device.active():
            address = device.allocate(256)
            device.free(address)
            results.append(address)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results


@pytest.mark.parametrize("integrated", [False, True])
def test_memory_of_a_frame(library, sim, integrated):
    sim.device(integrated=integrated)
    device = open_device(library=library)
    queues = Queues(device)
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    with device.active():
        memory = DeviceMemory(queues)
        for turn in range(3):
            memory.begin()
            there = memory.input(values + turn)
            assert memory.input(there) is there
            part = memory.first_slots(there, 2)
            back, first = memory.download(there, part).wait()
            np.testing.assert_array_equal(back, values + turn)
            np.testing.assert_array_equal(first, (values + turn)[:, :2])
            if turn == 0:
                before = sim.counts()
        after = sim.counts()
        assert after.allocations == before.allocations
        assert after.host_allocations == before.host_allocations
        assert after.pageable_copies == 0
        # where host and device share memory, nothing is uploaded
        assert (after.uploaded_bytes == before.uploaded_bytes) == integrated
        memory.close()
    queues.close()

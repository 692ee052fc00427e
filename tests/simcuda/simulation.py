"""The simulated GPU from Python: what control.h offers."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, fields

OUT_OF_MEMORY, ILLEGAL_ADDRESS, LAUNCH_FAILED = 2, 700, 719
"""Of CUresult."""


@dataclass
class Counts:
    """``SimcudaCounts``, where the fields are explained."""

    calls: int
    allocations: int
    host_allocations: int
    live_blocks: int
    live_streams: int
    live_events: int
    live_graphs: int
    uploaded_bytes: int
    downloaded_bytes: int
    pageable_copies: int
    work: int
    graph_launches: int
    waits: int
    captures: int

    @property
    def live(self) -> int:
        """Everything that was not given back."""
        return self.live_blocks + self.live_streams + self.live_events + self.live_graphs


class Simulation:
    """The simulated GPU of this process, which was started with it as ``libcuda.so.1``."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._library.simcuda_violations.restype = ctypes.c_char_p

    def counts(self) -> Counts:
        """What has happened so far."""
        numbers = (ctypes.c_int64 * len(fields(Counts)))()
        self._library.simcuda_counts(numbers)
        return Counts(*numbers)

    def violations(self) -> str:
        """What must not be, since the last call."""
        return (self._library.simcuda_violations() or b"").decode()

    def fail(self, after: int, status: int, *, sticky: bool = False) -> None:
        """Has a call fail."""
        self._library.simcuda_fail(ctypes.c_int64(after), status, int(sticky))

    def fail_work(self, after: int) -> None:
        """Has a piece of queued work fail, and the device be lost."""
        self._library.simcuda_fail_work(ctypes.c_int64(after))

    def fail_captures(self, count: int) -> None:
        """Has captures of graphs fail."""
        self._library.simcuda_fail_captures(ctypes.c_int64(count))

    def heal(self) -> None:
        """Ends all failures."""
        self._library.simcuda_heal()

    def schedule(self, seed: int | None) -> None:
        """None: work runs as late as it may; a number: at random."""
        self._library.simcuda_schedule(ctypes.c_int64(-1 if seed is None else seed))

    def device(
        self, memory: int = 4 << 30, *, integrated: bool = False, capability: int = 89
    ) -> None:
        """What the device says of itself."""
        size = ctypes.c_size_t(memory)
        self._library.simcuda_device(size, int(integrated), capability)

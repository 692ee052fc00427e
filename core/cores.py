"""The processors that this process may use, which engines do not always ask for."""

from __future__ import annotations

import contextlib
import os
from typing import Any


def usable_cores() -> int:
    """How many there are: fewer than the machine's under taskset or in a container's cpuset."""
    with contextlib.suppress(AttributeError, OSError):  # not on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(options: Any, threads: int | None) -> None:
    """Says to ONNX Runtime how many threads an operator gets.

    On its own it starts one for each of the machine's cores and binds them there, whatever the
    process may use (``intra_op_num_threads`` is 0 then; seen in 1.32).

    Args:
        options: ONNX Runtime's SessionOptions.
        threads: as the user asked; None: all usable cores.
    """
    if threads is None and usable_cores() < (os.cpu_count() or 1):
        threads = usable_cores()
    if threads is not None:
        options.intra_op_num_threads = int(threads)

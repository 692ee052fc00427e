"""Threads that are inside a library when the user wants to stop."""

from __future__ import annotations

import threading

LIBRARY_THREAD = "maskrt, in a library"
"""Name of such threads: they end when the library next asks whether to go on."""


def in_library() -> bool:
    """Whether such a thread is still running."""
    return any(thread.name == LIBRARY_THREAD for thread in threading.enumerate())

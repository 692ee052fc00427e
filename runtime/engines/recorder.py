"""What TensorRT says when something goes wrong, kept for the message of our own error."""

from __future__ import annotations

import threading
from typing import Any

MAX_KEPT = 8


def recorder_of(trt: Any) -> Any:
    """An error recorder of the library, TensorRT's or TensorRT-RTX's.

    Beside their interface it has ``take()``: what was reported since the last time, as
    ``" (…)"`` to be put into a message, with the names of layers as the library gives them; empty
    where nothing was.
    """

    class Recorder(trt.IErrorRecorder):
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self._kept: list[tuple[Any, str]] = []
            self._lock = threading.Lock()

        def num_errors(self) -> int:
            return len(self._kept)

        def get_error_code(self, index: int) -> Any:
            return self._kept[index][0]

        def get_error_desc(self, index: int) -> str:
            return self._kept[index][1]

        def has_overflowed(self) -> bool:
            return len(self._kept) >= MAX_KEPT

        def clear(self) -> None:
            self.take()

        def report_error(self, code: Any, description: str) -> bool:
            with self._lock:
                if len(self._kept) < MAX_KEPT:
                    self._kept.append((code, description))
            return False  # the library goes on as it would without a recorder

        def take(self) -> str:
            with self._lock:
                said = [text.strip() for _, text in self._kept if text.strip()]
                self._kept.clear()
            # libraries repeat themselves on the way up
            return f" ({'; '.join(dict.fromkeys(said))})" if said else ""

    return Recorder()

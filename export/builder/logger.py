"""What a library says during a build."""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from maskrt.closing import Closing
from maskrt.files import replacing

_NAMES = ("INTERNAL ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")  # by the value of a severity
_ERROR, _WARNING = 1, 2


class BuildLog(Closing):
    """Errors and warnings of a build; everything goes to a temporary file. A context manager."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.lines = 0
        """Messages of all severities."""
        self._lock = threading.Lock()  # libraries log from several threads
        self._file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by __exit__
            "w+", encoding="utf-8", errors="replace"
        )

    def add(self, severity: int, message: str) -> None:
        """Takes a message; severities as TensorRT counts them, 0 the worst."""
        with self._lock:
            if self._file.closed:
                return
            self.lines += 1
            if severity <= _ERROR:
                self.errors.append(message)
            elif severity == _WARNING:
                self.warnings.append(message)
            name = _NAMES[severity] if 0 <= severity < len(_NAMES) else str(severity)
            self._file.write(f"[{name}] {message}\n")

    def save(self, path: Path) -> None:
        """Copies the whole log to a file.

        Raises:
            MaskrtError: it cannot be written.
        """
        with self._lock, replacing(path) as temporary:
            self._file.flush()
            self._file.seek(0)
            with temporary.open("w", encoding="utf-8") as copy:
                shutil.copyfileobj(self._file, copy)

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._file.close()


@functools.cache
def logger_of(lib: Any) -> Any:
    """The process's logger for a library; its attribute ``sink`` is the log of the present build.

    One for all builds: a library goes on with the first logger that it was given, whatever comes
    later.
    """

    class Logger(lib.ILogger):
        """Passes messages on."""

        def __init__(self) -> None:
            lib.ILogger.__init__(self)
            self.sink: BuildLog | None = None

        def log(self, severity: Any, msg: str) -> None:
            """Called by the library."""
            sink = self.sink
            if sink is not None:
                sink.add(int(severity), msg)

    return Logger()

"""Detections as text, a line of JSON for each frame."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from maskrt.closing import Finishing
from maskrt.errors import MaskrtError
from maskrt.files import replacing
from maskrt.runtime.detections import Detections


class JsonLinesSink(Finishing):
    """Writes ``{"frame": 0, "name": "a.jpg", "detections": [...]}`` lines. A context manager.

    The detections are in COCO's result format, with the frame's index as ``image_id``.

    Args:
        path: of the file, which is there once it is complete; ``"-"``: standard output, where each
            line can be read at once.

    Raises:
        MaskrtError: the file cannot be written.
    """

    ended = False
    """Whether nobody reads standard output any more."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._files = ExitStack()
        self._file: TextIO | None = None
        if self._path == "-":
            self._file = sys.stdout
        else:
            temporary = self._files.enter_context(replacing(path))
            # the ExitStack closes it, before the rename
            self._file = self._files.enter_context(temporary.open("w", encoding="utf-8"))

    def write(self, index: int, name: str, result: Detections) -> None:
        """Writes a line.

        Args:
            index: of the frame in the source.
            name: of the frame.
            result: what was found in it.

        Raises:
            MaskrtError: the disk is full, for example.
            ValueError: it is closed.
        """
        if self._file is None:
            raise ValueError(f"{self._path}: the output is closed")
        record = {"frame": index, "name": name, "detections": result.to_coco(index)}
        try:
            self._file.write(json.dumps(record) + "\n")
            if self._path == "-":
                self._file.flush()
        except BrokenPipeError:  # as with  maskrt run ... | head
            self.ended = True
            # what is left in the buffer would be an error at the end of the process
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), self._file.fileno())
        except OSError as error:
            raise MaskrtError(f"{self._path} cannot be written: {error.strerror}") from None

    def close(self, *, complete: bool = True) -> None:
        """Ends the output; ``complete`` False: no file is left. Closing twice is fine.

        Raises:
            MaskrtError: the last lines cannot be written.
        """
        self._file = None
        try:
            if complete:
                self._files.close()
            else:
                self._files.__exit__(MaskrtError, MaskrtError("incomplete"), None)
        except OSError as failed:
            raise MaskrtError(f"{self._path} cannot be written: {failed.strerror}") from None

"""What a build that fails raises."""

from __future__ import annotations

from pathlib import Path

from maskrt.errors import MaskrtError


class BuildError(MaskrtError):
    """An engine cannot be built: of this model, with these options, or on this machine."""

    def __init__(
        self, message: str, *, node: str = "", stage: str = "", log: Path | None = None
    ) -> None:
        super().__init__(message)
        self.node = node
        """Name of the ONNX node that failed; empty where it is unknown."""
        self.stage = stage
        """Part of the model that it belongs to, ``"mask head"``; empty where it is unknown."""
        self.log = log
        """The library's verbose log, where it was kept."""

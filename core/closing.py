"""What holds files, devices or models, and lets go of them at the end of a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

T = TypeVar("T", bound="Closing")


class Closing:
    """A context manager that closes; without a ``with`` block, call ``close``."""

    def close(self) -> None:
        """Lets go of what is held. Closing twice is fine."""

    def __enter__(self: T) -> T:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

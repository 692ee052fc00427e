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


F = TypeVar("F", bound="Finishing")


class Finishing:
    """An output as a context manager: complete, or after an error nothing under its final name."""

    def close(self, *, complete: bool = True) -> None:
        """Ends the output; ``complete`` False: nothing is left under its final name."""

    def __enter__(self: F) -> F:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # a user who stops a video or a camera keeps what there is of it
        self.close(complete=kind is None or kind is KeyboardInterrupt)

"""Several sources for one detector."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from maskrt.closing import Closing
from maskrt.runtime.sources import Source, open_source


class MultiSource(Closing):
    """Several sources, for ``Detector.stream``: one model for all cameras of a machine.

        with MultiSource(["rtsp://…", 0, 1]) as cameras, detector.stream(cameras) as stream:
            for item in stream:
                print(cameras.sources[item.source].name, len(item.result))

    Frames of equal size that wait at the same time run as one batch, as far as the model was
    exported for batches. Each source's frames keep their order; none of them has to wait for
    another one's.

    Args:
        sources: what ``open_source`` takes, or opened sources. They are closed with this.

    Attributes:
        sources: in the order of the arguments, which ``StreamItem.source`` counts.

    Raises:
        SourceError: one of them cannot be opened; the others are closed.
        ValueError: there are none.
    """

    sources: tuple[Source, ...]

    def __init__(self, sources: Sequence[Any]) -> None:
        if not sources:
            raise ValueError("sources: found none, expected at least one")
        with contextlib.ExitStack() as stack:
            self.sources = tuple(
                stack.enter_context(s if isinstance(s, Source) else open_source(s)) for s in sources
            )
            self._open = stack.pop_all()

    @property
    def live(self) -> bool:
        """Whether one of them gives frames whether or not anybody takes them."""
        return any(source.live for source in self.sources)

    def close(self) -> None:
        """Closes all sources."""
        self._open.close()

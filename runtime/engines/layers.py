"""How long each layer of an engine takes, by TensorRT's own profiler."""

from __future__ import annotations

from typing import Any


class LayerTimes:
    """Milliseconds of the layers of a session's engines.

    While layers are timed the library waits for each of them: frames take longer, and CUDA graphs
    are not used.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], float] = {}
        self._frames = 0

    def next_frame(self) -> None:
        """What is reported from now on is of another frame."""
        self._frames += 1

    def rows(self) -> list[tuple[str, str, float]]:
        """Stage, layer, and milliseconds in a frame, the slowest first."""
        frames = max(self._frames, 1)
        rows = [(stage, layer, ms / frames) for (stage, layer), ms in self._sums.items()]
        return sorted(rows, key=lambda row: -row[2])

    def profiler_of(self, trt: Any, stage: str) -> Any:
        """A profiler for an execution context of the library; the context must not outlive it."""
        sums = self._sums

        class Profiler(trt.IProfiler):
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                key = stage, layer_name
                sums[key] = sums.get(key, 0.0) + ms

        return Profiler()

"""Runs TensorRT plans: the whole model in one, or detections and heads in a plan each."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.artefact import ArtefactHead
from maskrt.errors import MaskrtError, ModelFileError
from maskrt.heads import read_head
from maskrt.runtime.archive import BundleArchive
from maskrt.runtime.device import Device
from maskrt.runtime.engines.layers import LayerTimes
from maskrt.runtime.engines.tensorrt import TensorRT, TensorRTStage
from maskrt.runtime.lanes import Lanes
from maskrt.runtime.memory import Download, Memory, thresholds_to_upload, uploaded_thresholds
from maskrt.runtime.pending import Arrays, Pending, padded
from maskrt.runtime.stopwatch import Stopwatch
from maskrt.spec import ModelSpec


class PlanSession:
    """A loaded ``model.engine``, or a bundle of two plans.

    Args:
        path: the file.
        device: that runs it; None: the one of the thread's context, or the first GPU. It is closed
            with the session.

    Attributes:
        spec: of the model.
        head: what the file was built for.
        watch: how long the parts of the last run took, by the GPU's clock.

    Raises:
        ModelFileError: the file is missing, broken, or not for this machine.
        MissingDependencyError: TensorRT, or a package that drives GPUs, is not installed.
        DeviceError: there is no GPU, or it has too little memory.
    """

    spec: ModelSpec
    head: ArtefactHead
    watch: Stopwatch

    def __init__(self, path: str | Path, device: Device | None = None) -> None:
        path = Path(path)
        self.watch = Stopwatch()
        plans, self._buckets = _read(path)
        self.head = read_head(path)
        self.spec = self.head.spec
        library = TensorRT(self.head, device)
        try:
            with library.active():
                self._stages = {name: library.load_plan(name, plan) for name, plan in plans.items()}
                self._check(path)
        except BaseException as error:
            library.close()
            if isinstance(error, ModelFileError):
                raise ModelFileError(f"{path}: {error}") from error
            raise
        self._lanes = Lanes(library, list(self._stages.values()), self.spec, self.watch)

    def run(
        self, frames: NDArray[np.uint8], score_threshold: float, nms_threshold: float
    ) -> Arrays:
        """Runs one batch; see ``OnnxRuntimeSession.run``."""
        return padded(self.submit(frames, score_threshold, nms_threshold).result(), self.spec)

    def submit(
        self, frames: NDArray[np.uint8], score_threshold: float, nms_threshold: float
    ) -> Pending:
        """Begins one batch; others may be on their way. Arguments and errors as ``run``."""
        return self._lanes.submit(
            lambda memory: _PlanRun(self.spec, self._stages, self._buckets, memory),
            frames,
            score_threshold,
            nms_threshold,
        )

    def time_layers(self) -> LayerTimes:
        """Times every layer from the next run on; see ``LayerTimes``."""
        times = LayerTimes()
        for stage in self._stages.values():
            stage.time_layers(times)
        return times

    def close(self) -> None:
        """Waits for what is on its way, and frees everything. Closing twice is fine."""
        self._lanes.close()

    def _check(self, path: Path) -> None:
        found = {name for stage in self._stages.values() for name in stage.outputs}
        missing = [output.name for output in self.spec.outputs if output.name not in found]
        if missing:
            raise ModelFileError(
                f"has no output '{missing[0]}' (it has: {', '.join(sorted(found))}): build it "
                "again with  maskrt build"
            )


class _PlanRun:
    """One batch; see ``Run``."""

    def __init__(
        self,
        spec: ModelSpec,
        stages: dict[str, TensorRTStage],
        buckets: tuple[int, ...],
        memory: Memory,
    ) -> None:
        self._spec = spec
        self._stages = stages
        self._buckets = buckets
        self._memory = memory
        self._names: list[str] = []  # of the results
        self._error: MaskrtError | None = None

    def begin(self, frames: NDArray[np.uint8], thresholds: tuple[float, float]) -> None:
        memory = self._memory
        memory.begin()
        frames, both = memory.inputs(frames, thresholds_to_upload(thresholds))
        memory.lap("upload")
        score, overlap = uploaded_thresholds(both)
        inputs = {"frames": frames, "score_threshold": score, "nms_threshold": overlap}
        first = next(iter(self._stages))
        self._first = self._stages[first].run(inputs, memory)
        memory.lap(first)
        if self._buckets:
            self._counted: Download = memory.download(self._first["num_detections"])
        else:
            self._download(self._first)

    def go_on(self) -> None:
        if not self._buckets:
            return
        try:
            self._run_heads()
        except MaskrtError as error:
            self._error = error

    def outputs(self) -> Arrays:
        if self._error is not None:
            raise self._error
        arrays = self._results.wait()
        outputs = {name: a.copy() for name, a in zip(self._names, arrays, strict=True)}
        for output in self._spec.outputs[4:]:
            if output.name not in outputs:  # nothing was found
                sides = [int(side) for side in output.shape[2:]]
                outputs[output.name] = np.zeros((len(arrays[0]), 0, *sides), np.float32)
        return outputs

    def _run_heads(self) -> None:
        (found,) = self._counted.wait()
        most = int(found.max())
        given = {o.name: self._first[o.name] for o in self._spec.outputs[:4]}
        if most:
            bucket = self._buckets[bisect_left(self._buckets, most)]
            memory, heads = self._memory, self._stages["heads"]
            inputs: dict[str, NDArray[Any]] = {}
            for name in heads.inputs:
                array = self._first[name]
                slots = name in ("boxes_canvas", "labels")
                inputs[name] = memory.first_slots(array, bucket) if slots else array
            given.update(heads.run(inputs, memory))
            memory.lap("heads")
        self._download(given)

    def _download(self, outputs: Arrays) -> None:
        self._names = [o.name for o in self._spec.outputs if o.name in outputs]
        self._results = self._memory.download(*(outputs[name] for name in self._names))


def _read(path: Path) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """The plans by name, and the buckets of the heads'."""
    if path.suffix.lower() != ".bundle":
        return {"model": path.read_bytes()}, ()
    with BundleArchive(path) as archive:
        parts = archive.manifest
        plans = {stage.name: archive.read(stage.files[0]) for stage in parts.stages}
        return {str(name): plan for name, plan in plans.items()}, tuple(parts.buckets)

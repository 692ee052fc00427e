"""Runs a bundle: dense stages by the target's library, native operators in between."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from maskrt.artefact import ArtefactHead
from maskrt.attributes import operator_attributes
from maskrt.cores import usable_cores
from maskrt.errors import MaskrtError, ModelFileError, SpecError
from maskrt.manifest import Manifest, StageName
from maskrt.runtime.archive import BundleArchive
from maskrt.runtime.bundle_run import BundleParts, BundleRun
from maskrt.runtime.device import Device
from maskrt.runtime.engines import EngineLibrary, StageEngine, open_library
from maskrt.runtime.engines.layers import LayerTimes
from maskrt.runtime.lanes import Lanes
from maskrt.runtime.pending import Arrays, Pending, padded
from maskrt.runtime.stopwatch import Stopwatch
from maskrt.spec import ModelSpec

if TYPE_CHECKING:
    from maskrt.runtime.engines.tensorrt import TensorRTStage


class BundleSession:
    """A loaded ``model.bundle``.

    The mask and keypoint heads run on as many RoIs as the smallest bucket that holds the detections
    of the fullest frame; without any detection they do not run.

    Args:
        path: the file.
        threads: for stages and operators on a CPU; None: all cores.
        device: of a target on GPUs; None: the one of the thread's context, or the first GPU. It is
            closed with the session.

    Attributes:
        spec: of the model.
        head: what the file was built for.
        watch: how long each stage and operator of the last run took: on a GPU by its own clock.

    Raises:
        ModelFileError: the file is missing, broken, or not for this machine.
        MissingDependencyError: the target's library is not installed.
        MaskrtError: the library of operators could not be loaded.
    """

    spec: ModelSpec
    head: ArtefactHead
    watch: Stopwatch

    def __init__(
        self, path: str | Path, threads: int | None = None, device: Device | None = None
    ) -> None:
        if threads is not None and (isinstance(threads, bool) or int(threads) < 1):
            raise ValueError(f"threads: found {threads!r}, expected 1 or more, or None")
        # no more than there are processors: the operators refuse that
        self._threads = min(threads, usable_cores()) if threads else 0
        self.watch = Stopwatch()
        path = Path(path)
        with BundleArchive(path) as archive:
            self.head, parts = archive.head, archive.manifest
            self.spec = self.head.spec
            try:
                _check(parts, self.spec)
                library = open_library(self.head, threads, device)
                try:
                    with library.active():
                        engines = _load(archive, self.spec, library)
                except BaseException:
                    library.close()
                    raise
            except (SpecError, ModelFileError) as error:
                raise ModelFileError(f"{path}: {error}") from error
        self._parts = BundleParts(
            self.spec, parts, engines, operator_attributes(self.spec), self._threads
        )
        self._lanes = Lanes(library, list(engines.values()), self.spec, self.watch)

    def run(
        self,
        frames: NDArray[np.uint8],
        score_threshold: float,
        nms_threshold: float,
        taps: Arrays | None = None,
    ) -> Arrays:
        """Runs one batch; see ``OnnxRuntimeSession.run``.

        Args:
            frames: uint8 ``[B, H, W, 3]``.
            score_threshold: scores must be above it.
            nms_threshold: an IoU above it suppresses, class by class.
            taps: gets copies of what passes between stages and operators, by name; ``boxes_canvas``
                are the detections in canvas pixels. What heads take and give is there for the
                bucket's detections alone.

        Returns:
            The outputs of ``spec.outputs`` by name.

        Raises:
            ValueError: a threshold or the frames are not as expected, or the session is closed.
        """
        pending = self._submit(frames, score_threshold, nms_threshold, taps)
        outputs = padded(pending.result(), self.spec)
        if taps is not None:
            taps.update({name: array.copy() for name, array in outputs.items()})
        return outputs

    def submit(
        self, frames: NDArray[np.uint8], score_threshold: float, nms_threshold: float
    ) -> Pending:
        """Begins one batch; on a GPU others may be on their way. Arguments and errors as ``run``.

        See ``Lanes``.
        """
        return self._submit(frames, score_threshold, nms_threshold, None)

    def time_layers(self) -> LayerTimes:
        """Times every layer from the next run on; see ``LayerTimes``.

        Raises:
            MaskrtError: the file does not run in TensorRT.
        """
        if self.head.target != "tensorrt-rtx":
            raise MaskrtError(
                f"the layers of a bundle for {self.head.target} are not timed, only its stages are"
            )
        times = LayerTimes()
        for engine in self._parts.engines.values():
            cast("TensorRTStage", engine).time_layers(times)
        return times

    def close(self) -> None:
        """Waits for what is on its way, and frees everything. Closing twice is fine."""
        self._lanes.close()

    def _submit(
        self,
        frames: NDArray[np.uint8],
        score_threshold: float,
        nms_threshold: float,
        taps: Arrays | None,
    ) -> Pending:
        return self._lanes.submit(
            lambda memory: BundleRun(self._parts, memory, taps),
            frames,
            score_threshold,
            nms_threshold,
        )


def _load(
    archive: BundleArchive, spec: ModelSpec, library: EngineLibrary
) -> dict[StageName, StageEngine]:
    names: list[StageName] = ["trunk", "box_head"]
    names += ["mask_head"] if spec.mask else []
    names += ["keypoint_head"] if spec.keypoint else []
    engines: dict[StageName, StageEngine] = {}
    for name in names:
        stage = archive.manifest.stage(name)
        engines[name] = library.load(stage, [archive.read(entry) for entry in stage.files])
    return engines


def _check(manifest: Manifest, spec: ModelSpec) -> None:
    """Holds the manifest against the spec: what operators are to read has to be there."""
    if manifest.buckets[-1] != spec.detection.max_detections:
        raise SpecError(
            f"buckets: found {manifest.buckets}, expected the last one to be "
            f"{spec.detection.max_detections}, the model's number of detections"
        )
    heads = [head for head in (spec.mask, spec.keypoint) if head]
    positions = {p for pool in (spec.box_pool, *(h.pool for h in heads)) for p in pool.features}
    wanted = {"objectness", "deltas", "indices", *(f"features/{p}" for p in positions)}
    found = {tensor.name for tensor in manifest.stage("trunk").outputs}
    if found != wanted:
        raise SpecError(f"trunk: found the outputs {sorted(found)}, expected {sorted(wanted)}")

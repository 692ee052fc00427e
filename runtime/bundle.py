"""Runs a bundle: dense stages by the target's library, native operators in between."""

from __future__ import annotations

import os
from bisect import bisect_left
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.artefact import ArtefactHead
from maskrt.attributes import operator_attributes
from maskrt.errors import ModelFileError, SpecError
from maskrt.manifest import Manifest, StageName
from maskrt.plugins import backend, ops
from maskrt.runtime.archive import BundleArchive
from maskrt.runtime.engines import EngineLibrary, StageEngine, open_library
from maskrt.runtime.session import checked_frames, checked_threshold
from maskrt.runtime.stopwatch import Stopwatch
from maskrt.spec import ModelSpec, RoIPoolSpec

Arrays = dict[str, NDArray[Any]]
XYXY = [1, 0, 1, 0]  # a pair (y, x) as (x, y, x, y)


class BundleSession:
    """A loaded ``model.bundle``.

    The mask and keypoint heads run on as many RoIs as the smallest bucket that holds the detections
    of the fullest frame; without any detection they do not run.

    Args:
        path: the file.
        threads: for stages and operators on a CPU; None: all cores.

    Attributes:
        spec: of the model.
        head: what the file was built for.
        watch: how long each stage and operator of the last run took. On a GPU, where they are only
            queued, the time is that of the steps that wait for it.

    Raises:
        ModelFileError: the file is missing, broken, or not for this machine.
        MissingDependencyError: the target's library is not installed.
        MaskrtError: the library of operators could not be loaded.
    """

    spec: ModelSpec
    head: ArtefactHead
    watch: Stopwatch

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        if threads is not None and (isinstance(threads, bool) or int(threads) < 1):
            raise ValueError(f"threads: found {threads!r}, expected 1 or more, or None")
        # no more than there are processors: the operators refuse that
        self._threads = min(threads, os.cpu_count() or 1) if threads else 0
        self.watch = Stopwatch()
        path = Path(path)
        with BundleArchive(path) as archive:
            self.head, self._manifest = archive.head, archive.manifest
            self.spec = self.head.spec
            try:
                _check(self._manifest, self.spec)
                library = open_library(self.head, threads)
                self._memory = library.memory
                try:
                    self._engines = _load(archive, self.spec, library)
                except BaseException:
                    self._memory.close()
                    raise
            except (SpecError, ModelFileError) as error:
                raise ModelFileError(f"{path}: {error}") from error
        self._attributes: dict[str, dict[str, Any]] = operator_attributes(self.spec)

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
        checked_frames(frames, self.spec)
        score_threshold = checked_threshold("score_threshold", score_threshold)
        nms_threshold = checked_threshold("nms_threshold", nms_threshold)
        if not self._engines:
            raise ValueError("the session is closed")
        self.watch.start()
        self._memory.begin()
        with backend.use(self._memory):
            return self._run(frames, (score_threshold, nms_threshold), taps)

    def close(self) -> None:
        """Frees the engines. Closing twice is fine."""
        if self._engines:
            for engine in self._engines.values():
                engine.close()
            self._engines = {}
            self._memory.close()

    def _run(
        self, frames: NDArray[np.uint8], thresholds: tuple[float, float], taps: Arrays | None
    ) -> Arrays:
        lap = self.watch.lap
        batch, slots = len(frames), self.spec.rpn.num_rois
        tensor = self._manifest.stage("trunk").inputs[0]
        image, scale, content = ops.letterbox(
            frames,
            **self._attributes["letterbox"],
            dtype=tensor.dtype,
            threads=self._threads,
            out=self._memory.buffer("image", tensor.sides(batch), tensor.dtype),
        )
        lap("letterbox")
        trunk = self._engines["trunk"].run({"image": image})
        lap("trunk")
        rois, roi_count = ops.proposals(
            trunk["objectness"],
            trunk["deltas"],
            trunk["indices"],
            content,
            **self._attributes["proposals"],
            threads=self._threads,
        )
        lap("proposals")
        pooled = self._pool("box_features", self.spec.box_pool, rois, roi_count, trunk)
        lap("box RoIAlign")
        box = self._engines["box_head"].run({"box_features": pooled})
        logits = box["logits"].reshape(batch, slots, -1)
        deltas = box["box_deltas"].reshape(batch, slots, -1)
        lap("box head")
        boxes, scores, labels, count = ops.detection_nms(
            logits,
            deltas,
            rois,
            roi_count,
            content,
            *thresholds,
            **self._attributes["detection_nms"],
            threads=self._threads,
        )
        (found,) = self._memory.fetch(count)
        lap("detection NMS")
        self._tap(taps, **trunk, image=image, rois=rois, roi_count=roi_count, box_features=pooled)
        self._tap(taps, logits=logits, box_deltas=deltas, boxes_canvas=boxes)
        # past the largest count all slots are zeros
        bucket = self._bucket(int(found.max()))
        heads = self._heads(boxes, labels, count, scale, trunk, bucket, taps) if bucket else {}
        fetched = self._memory.fetch(boxes, scores, labels, scale, *heads.values())
        boxes, scores, labels, scale, *given = fetched
        outputs: Arrays = {
            "num_detections": found,
            "boxes": boxes * scale[:, None, XYXY],
            "scores": scores,
            "labels": labels,
        }
        for output in self.spec.outputs[4:]:
            sides = [int(side) for side in output.shape[2:]]
            outputs[output.name] = np.zeros((*labels.shape, *sides), np.float32)
        for name, values in zip(heads, given, strict=True):
            outputs[name][:, :bucket] = values
        lap("outputs")
        if taps is not None:
            taps.update({name: array.copy() for name, array in outputs.items()})
        return outputs

    def _heads(
        self,
        boxes: NDArray[np.float32],
        labels: NDArray[np.int32],
        count: NDArray[np.int32],
        scale: NDArray[np.float32],
        maps: Arrays,
        bucket: int,
        taps: Arrays | None,
    ) -> Arrays:
        """Masks and keypoints of the bucket's detections."""
        lap = self.watch.lap
        boxes = self._memory.first_slots(boxes, bucket)
        labels = self._memory.first_slots(labels, bucket)
        outputs: Arrays = {}
        if self.spec.mask:
            pooled = self._pool("mask_features", self.spec.mask.pool, boxes, count, maps)
            lap("mask RoIAlign")
            logits = self._engines["mask_head"].run({"mask_features": pooled})["mask_logits"]
            lap("mask head")
            outputs["masks"] = ops.mask_select(logits, labels, count, threads=self._threads)
            lap("mask select")
            self._tap(taps, mask_features=pooled, mask_logits=logits)
        if self.spec.keypoint:
            pooled = self._pool("keypoint_features", self.spec.keypoint.pool, boxes, count, maps)
            lap("keypoint RoIAlign")
            head = self._engines["keypoint_head"].run({"keypoint_features": pooled})
            heatmaps = head["heatmaps"]
            lap("keypoint head")
            outputs["keypoints"] = ops.keypoint_decode(
                heatmaps,
                boxes,
                count,
                scale,
                decode=self.spec.keypoint.decode,
                threads=self._threads,
            )
            lap("keypoint decode")
            self._tap(taps, keypoint_features=pooled, heatmaps=heatmaps)
        return outputs

    def _pool(
        self,
        name: str,
        pool: RoIPoolSpec,
        rois: NDArray[np.float32],
        count: NDArray[np.int32],
        maps: Arrays,
    ) -> NDArray[Any]:
        """RoI features, as the stage of that input takes them."""
        stage = next(s for s in self._manifest.stages if s.inputs[0].name == name)
        tensor = stage.inputs[0]
        rows = rois.shape[0] * rois.shape[1]
        return ops.multilevel_roi_align(
            rois,
            [maps[f"features/{position}"] for position in pool.features],
            output_size=pool.output_size,
            spatial_scales=pool.spatial_scales,
            sampling_ratio=pool.sampling_ratio,
            aligned=pool.aligned,
            layout=tensor.layout,
            counts=count,
            min_level=pool.min_level,
            canonical_size=pool.canonical_size,
            canonical_level=pool.canonical_level,
            epsilon=pool.epsilon,
            log_epsilon=pool.log_epsilon,
            threads=self._threads,
            out=self._memory.buffer(name, tensor.sides(0, rows), tensor.dtype),
        )

    def _bucket(self, detections: int) -> int:
        """The smallest that holds so many detections; 0 for none."""
        buckets = self._manifest.buckets
        return buckets[bisect_left(buckets, detections)] if detections else 0

    def _tap(self, taps: Arrays | None, **arrays: NDArray[Any]) -> None:
        if taps is not None:
            fetched = self._memory.fetch(*arrays.values())
            taps.update({n: a.copy() for n, a in zip(arrays, fetched, strict=True)})


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

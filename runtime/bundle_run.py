"""One batch's way through a bundle: operators and stages in their order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MaskrtError
from maskrt.manifest import Manifest, StageName
from maskrt.plugins import backend, ops
from maskrt.runtime.engines import StageEngine
from maskrt.runtime.memory import Memory, thresholds_to_upload, uploaded_thresholds
from maskrt.runtime.pending import Arrays
from maskrt.spec import ModelSpec, RoIPoolSpec

XYXY = [1, 0, 1, 0]  # a pair (y, x) as (x, y, x, y)


@dataclass(frozen=True)
class BundleParts:
    """What all runs of a bundle share."""

    spec: ModelSpec
    manifest: Manifest
    engines: Mapping[StageName, StageEngine]
    attributes: dict[str, dict[str, Any]]
    """Of the operators."""
    threads: int
    """For operators on a CPU; 0: as many as OpenMP would use."""


class BundleRun:
    """One batch. ``begin``, ``go_on`` and ``outputs`` are called once each, in this order.

    On a device ``begin`` and ``go_on`` only queue work; ``go_on`` first waits for the number of
    detections, so that the heads run for as many as there are.
    """

    def __init__(self, parts: BundleParts, memory: Memory, taps: Arrays | None = None) -> None:
        self._parts = parts
        self._memory = memory
        self._taps = taps
        self._lap = memory.lap
        self._error: MaskrtError | None = None

    def begin(self, frames: NDArray[np.uint8], thresholds: tuple[float, float]) -> None:
        """From the frames to the detections."""
        self._memory.begin()
        with backend.use(self._memory):
            self._begin(frames, thresholds)

    def go_on(self) -> None:
        """From the detections to masks and keypoints. What goes wrong, ``outputs`` raises."""
        with backend.use(self._memory):
            try:
                self._go_on()
            except MaskrtError as error:
                self._error = error

    def outputs(self) -> Arrays:
        """What was found; see ``Pending.result``."""
        if self._error is not None:
            raise self._error
        boxes, scores, labels, scale, *given = self._results.wait()
        outputs: Arrays = {
            "num_detections": self._found,
            "boxes": boxes * scale[:, None, XYXY],
            "scores": scores.copy(),
            "labels": labels.copy(),
        }
        for name, values in zip(self._heads, given, strict=True):
            outputs[name] = values.copy()
        for output in self._parts.spec.outputs[4:]:
            if output.name not in outputs:  # nothing was found
                sides = [int(side) for side in output.shape[2:]]
                outputs[output.name] = np.zeros((len(labels), 0, *sides), np.float32)
        if not self._memory.deferred:
            self._lap("outputs")
        return outputs

    def _begin(self, frames: NDArray[np.uint8], thresholds: tuple[float, float]) -> None:
        parts, memory, lap = self._parts, self._memory, self._lap
        batch, slots = len(frames), parts.spec.rpn.num_rois
        tensor = parts.manifest.stage("trunk").inputs[0]
        frames, both = memory.inputs(frames, thresholds_to_upload(thresholds))
        if memory.deferred:
            lap("upload")
        image, self._scale, content = ops.letterbox(
            frames,
            **parts.attributes["letterbox"],
            dtype=tensor.dtype,
            threads=parts.threads,
            out=memory.buffer("image", tensor.sides(batch), tensor.dtype),
        )
        lap("letterbox")
        self._trunk = trunk = parts.engines["trunk"].run({"image": image}, memory)
        lap("trunk")
        rois, roi_count = ops.proposals(
            trunk["objectness"],
            trunk["deltas"],
            trunk["indices"],
            content,
            **parts.attributes["proposals"],
            threads=parts.threads,
        )
        lap("proposals")
        pooled = self._pool("box_features", parts.spec.box_pool, rois, roi_count)
        lap("box RoIAlign")
        box = parts.engines["box_head"].run({"box_features": pooled}, memory)
        logits = box["logits"].reshape(batch, slots, -1)
        deltas = box["box_deltas"].reshape(batch, slots, -1)
        lap("box head")
        self._boxes, self._scores, self._labels, self._count = ops.detection_nms(
            logits,
            deltas,
            rois,
            roi_count,
            content,
            *uploaded_thresholds(both),
            **parts.attributes["detection_nms"],
            threads=parts.threads,
        )
        lap("detection NMS")
        self._counted = memory.download(self._count)
        self._tap(**trunk, image=image, rois=rois, roi_count=roi_count, box_features=pooled)
        self._tap(logits=logits, box_deltas=deltas, boxes_canvas=self._boxes)

    def _go_on(self) -> None:
        (found,) = self._counted.wait()
        self._found: NDArray[np.int32] = found.copy()
        # past the largest count all slots are zeros
        bucket = self._bucket(int(self._found.max()))
        self._heads = self._run_heads(bucket) if bucket else {}
        self._results = self._memory.download(
            self._boxes, self._scores, self._labels, self._scale, *self._heads.values()
        )

    def _run_heads(self, bucket: int) -> Arrays:
        """Masks and keypoints of the bucket's detections."""
        parts, memory, lap = self._parts, self._memory, self._lap
        spec, count = parts.spec, self._count
        boxes = memory.first_slots(self._boxes, bucket)
        labels = memory.first_slots(self._labels, bucket)
        outputs: Arrays = {}
        if spec.mask:
            pooled = self._pool("mask_features", spec.mask.pool, boxes, count)
            lap("mask RoIAlign")
            head = parts.engines["mask_head"].run({"mask_features": pooled}, memory)
            logits = head["mask_logits"]
            lap("mask head")
            outputs["masks"] = ops.mask_select(
                logits,
                labels,
                count,
                # a quarter of what goes from a device to the host
                dtype=np.uint8 if memory.deferred else np.float32,
                threads=parts.threads,
            )
            lap("mask select")
            self._tap(mask_features=pooled, mask_logits=logits)
        if spec.keypoint:
            pooled = self._pool("keypoint_features", spec.keypoint.pool, boxes, count)
            lap("keypoint RoIAlign")
            head = parts.engines["keypoint_head"].run({"keypoint_features": pooled}, memory)
            heatmaps = head["heatmaps"]
            lap("keypoint head")
            outputs["keypoints"] = ops.keypoint_decode(
                heatmaps,
                boxes,
                count,
                self._scale,
                **parts.attributes["keypoint_decode"],
                threads=parts.threads,
            )
            lap("keypoint decode")
            self._tap(keypoint_features=pooled, heatmaps=heatmaps)
        return outputs

    def _pool(
        self,
        name: str,
        pool: RoIPoolSpec,
        rois: NDArray[np.float32],
        count: NDArray[np.int32],
    ) -> NDArray[Any]:
        """RoI features, as the stage of that input takes them."""
        stages = self._parts.manifest.stages
        tensor = next(s for s in stages if s.inputs[0].name == name).inputs[0]
        rows = rois.shape[0] * rois.shape[1]
        return ops.multilevel_roi_align(
            rois,
            [self._trunk[f"features/{position}"] for position in pool.features],
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
            threads=self._parts.threads,
            out=self._memory.buffer(name, tensor.sides(0, rows), tensor.dtype),
        )

    def _bucket(self, detections: int) -> int:
        """The smallest that holds so many detections; 0 for none."""
        buckets = self._parts.manifest.buckets
        return buckets[bisect_left(buckets, detections)] if detections else 0

    def _tap(self, **arrays: NDArray[Any]) -> None:
        if self._taps is not None:
            fetched = self._memory.download(*arrays.values()).wait()
            self._taps.update({n: a.copy() for n, a in zip(arrays, fetched, strict=True)})

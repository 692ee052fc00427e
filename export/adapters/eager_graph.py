"""The fixed-shape graph run by PyTorch: the eager side of models that have no code of their own.

detectron2's models are read without detectron2. What is exported from them is compared with the
same parts and operators, run one after the other by PyTorch.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from maskrt.export.adapters.detectron2 import adapt
from maskrt.export.detectron2.model import Detectron2RCNN
from maskrt.export.graph import RCNN
from maskrt.spec import DOMAIN, ModelSpec
from maskrt.tap_sources import live_only

Arrays = dict[str, NDArray[Any]]


class GraphTaps:
    """Runs a model of detectron2's eagerly and tells what passes between its parts.

    Args:
        model: with its weights; not changed.
        spec: of the file that it is compared with; canvas, batch and frame order come from it.

    Raises:
        UnsupportedModelError: the model cannot be expressed.
    """

    def __init__(self, model: Detectron2RCNN, spec: ModelSpec) -> None:
        canvas = spec.canvas
        parts, own = adapt(
            copy.deepcopy(model).float(),
            (canvas.height, canvas.width),
            batch=spec.batch,
            resize="fit" if canvas.min_size is None else "model",
        )
        self.spec = own
        self._graph = RCNN(parts, own).eval()

    @torch.no_grad()
    def run(
        self, frames: Sequence[NDArray[np.uint8]], score_threshold: float, nms_threshold: float
    ) -> Arrays:
        """Taps (``maskrt.comparison``) and outputs.

        Args:
            frames: uint8 [H, W, 3] each, BGR, of one size.
            score_threshold: scores must be above it.
            nms_threshold: an IoU above it suppresses, class by class.
        """
        thresholds = (torch.tensor(score_threshold), torch.tensor(nms_threshold))
        with _Recorder() as recorder:
            results = self._graph(torch.from_numpy(np.stack(frames)), *thresholds)
        names = [output.name for output in self.spec.outputs]
        taps = {**self._taps(recorder.calls), **dict(zip(names, results, strict=True))}
        return live_only({name: value.contiguous().numpy() for name, value in taps.items()})

    def _taps(self, calls: list[tuple[str, Sequence[Any], Any]]) -> dict[str, Tensor]:
        spec = self.spec
        by_name = {name: (arguments, output) for name, arguments, output in calls}
        image, *_ = by_name["letterbox"][1]
        (objectness, deltas, indices, *_), (rois, roi_count) = by_name["proposals"]
        (logits, box_deltas, *_), (boxes, *_) = by_name["detection_nms"]
        taps = {
            "image": image,
            "objectness": objectness,
            "deltas": deltas,
            "indices": indices,
            "rois": rois,
            "roi_count": roi_count,
            "logits": logits,
            "box_deltas": box_deltas,
            "boxes_canvas": boxes,
        }
        heads = [("box_features", spec.box_pool)]
        if spec.mask:
            heads.append(("mask_features", spec.mask.pool))
            taps["mask_logits"] = by_name["mask_select"][0][0]
        if spec.keypoint:
            heads.append(("keypoint_features", spec.keypoint.pool))
            taps["heatmaps"] = by_name["keypoint_decode"][0][0]
        pools = [call for call in calls if call[0] == "multilevel_roi_align"]
        for (tap, pool), (_, (_, _, maps, *_), pooled) in zip(heads, pools, strict=True):
            taps[tap] = pooled
            taps.update({f"features/{i}": x for i, x in zip(pool.features, maps, strict=True)})
        return taps


class _Recorder(TorchDispatchMode):
    """Keeps the arguments and outputs of the canonical operators, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Sequence[Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.namespace == DOMAIN:
            self.calls.append((func._schema.name.rpartition(":")[2], args, output))
        return output

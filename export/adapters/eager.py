"""Eager torchvision on a fixed canvas: the reference that exported models are held against.

torchvision's own modules run; only the transform is another, which brings images onto the canvas as
the canonical ``Letterbox`` does. Forward hooks tell what passes between them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from maskrt.errors import UnsupportedModelError
from maskrt.export.adapters.eager_graph import GraphTaps
from maskrt.export.detectron2.model import Detectron2RCNN
from maskrt.spec import CanvasSpec, ModelSpec

Arrays = dict[str, NDArray[Any]]


class CanvasTransform(GeneralizedRCNNTransform):
    """torchvision's transform, whose images also fit the canvas and are padded to all of it.

    Args:
        transform: the model's.
        canvas: (height, width).
        fit: images are enlarged as far as the canvas allows (``resize="fit"`` of the export).
    """

    def __init__(
        self, transform: GeneralizedRCNNTransform, canvas: tuple[int, int], *, fit: bool = False
    ) -> None:
        super().__init__(
            transform.min_size,
            transform.max_size,
            transform.image_mean,
            transform.image_std,
            transform.size_divisible,
        )
        self.canvas = canvas
        self.fit = fit

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        """An image [3, H, W], resized as the canonical Letterbox does."""
        height, width = image.shape[-2:]
        ratios = [self.canvas[0] / height, self.canvas[1] / width]
        if not self.fit:
            ratios.append(self.min_size[-1] / min(height, width))
            ratios.append(self.max_size / max(height, width))
        image = nn.functional.interpolate(
            image[None], scale_factor=min(ratios), mode="bilinear", recompute_scale_factor=True
        )
        return image[0], target

    def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:
        """Boxes and keypoints in frame pixels; masks as ``crops``, not pasted."""
        # pasting a hundred masks into a large frame takes minutes, and is tested elsewhere
        crops = [detections.pop("masks", None) for detections in result]
        result = super().postprocess(result, image_shapes, original_image_sizes)
        for detections, masks in zip(result, crops, strict=True):
            if masks is not None:
                detections["crops"] = masks[:, 0]
        return result

    def batch_images(self, images: list[Tensor], size_divisible: int = 32) -> Tensor:
        """The images, padded to the canvas."""
        batch = images[0].new_zeros(len(images), 3, *self.canvas)
        for pad, image in zip(batch, images, strict=True):
            pad[:, : image.shape[1], : image.shape[2]] = image
        return batch


def on_canvas(model: nn.Module, canvas: tuple[int, int], *, fit: bool = False) -> nn.Module:
    """A copy of the model that works on the canvas; its poolers' scales are those of the canvas.

    Args:
        model: of torchvision's GeneralizedRCNN.
        canvas: (height, width).
        fit: see ``CanvasTransform``.
    """
    model = copy.deepcopy(model).eval()
    model.transform = CanvasTransform(model.transform, canvas, fit=fit).eval()
    for name in ("box_roi_pool", "mask_roi_pool", "keypoint_roi_pool"):
        pool = getattr(model.roi_heads, name, None)
        if pool is not None:
            pool.scales = pool.map_levels = None
    # torchvision infers the scales from the first frame's content; a full frame gives the canvas's
    with torch.no_grad():
        model([torch.zeros(3, *canvas)])
    return model


def eager_taps(model: nn.Module, spec: ModelSpec) -> EagerTaps | GraphTaps:
    """What runs a model eagerly, for comparisons with files.

    Args:
        model: of torchvision's GeneralizedRCNN, or what ``load_model`` makes of detectron2's.
        spec: of the file that it is compared with.

    Raises:
        UnsupportedModelError: it is another model.
    """
    return GraphTaps(model, spec) if isinstance(model, Detectron2RCNN) else EagerTaps(model, spec)


class EagerTaps:
    """Runs a torchvision model eagerly and tells what passes between its parts.

    Args:
        model: of torchvision's GeneralizedRCNN; not changed.
        spec: of the file that it is compared with; canvas and thresholds come from it.

    Raises:
        UnsupportedModelError: it is another model.
    """

    def __init__(self, model: nn.Module, spec: ModelSpec) -> None:
        if not isinstance(model, GeneralizedRCNN):
            raise UnsupportedModelError(
                f"found a {type(model).__name__}, expected a detection model of torchvision or "
                "detectron2: only these can be compared eagerly"
            )
        canvas: CanvasSpec = spec.canvas
        self.spec = spec
        self._model = on_canvas(
            model.float(), (canvas.height, canvas.width), fit=canvas.min_size is None
        )

    @torch.no_grad()
    def run(
        self, frames: Sequence[NDArray[np.uint8]], score_threshold: float, nms_threshold: float
    ) -> Arrays:
        """Taps (``maskrt.comparison``) and outputs.

        Args:
            frames: uint8 [H, W, 3] each, BGR.
            score_threshold: scores must be above it.
            nms_threshold: an IoU above it suppresses, class by class.
        """
        model: Any = self._model
        heads = model.roi_heads
        heads.score_thresh, heads.nms_thresh = score_threshold, nms_threshold
        modules = {
            "image": model.transform,
            "features": model.backbone,
            "rpn_head": model.rpn.head,
            "rois": model.rpn,
            "box_features": heads.box_roi_pool,
            "box": heads.box_predictor,
            "roi_heads": heads,
        }
        if heads.has_mask():
            modules["mask_features"] = heads.mask_roi_pool
            modules["mask_logits"] = heads.mask_predictor
        if heads.has_keypoint():
            modules["keypoint_features"] = heads.keypoint_roi_pool
            modules["heatmaps"] = heads.keypoint_predictor
        seen: dict[str, Any] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                # torchvision's postprocess replaces what is in these dicts
                seen[name] = copy.deepcopy(output) if name == "roi_heads" else output

            return hook

        images = [
            torch.from_numpy(f[..., ::-1].copy()).permute(2, 0, 1).float() / 255 for f in frames
        ]
        with ExitStack() as stack:
            for name, module in modules.items():
                stack.callback(module.register_forward_hook(keep(name)).remove)
            results = model(images)
        taps = {**self._trunk(seen), **self._box_head(seen), **self._outputs(seen, results)}
        for name in ("mask_features", "mask_logits", "keypoint_features", "heatmaps"):
            if name in seen:
                taps[name] = seen[name]
        return {name: value.contiguous().numpy() for name, value in taps.items()}

    def _trunk(self, seen: dict[str, Any]) -> dict[str, Tensor]:
        features = seen["features"]
        maps = [features] if isinstance(features, Tensor) else list(features.values())
        spec = self.spec
        pools = [spec.box_pool, *(head.pool for head in (spec.mask, spec.keypoint) if head)]
        taps = {f"features/{i}": maps[i] for pool in pools for i in pool.features}
        scores, deltas, indices = [], [], []
        for level, objectness, delta in zip(spec.rpn.levels, *seen["rpn_head"], strict=True):
            flat = objectness.permute(0, 2, 3, 1).flatten(1)
            boxes = delta.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
            best, index = flat.topk(level.top_k, dim=1)
            scores.append(best)
            deltas.append(boxes.gather(1, index[..., None].expand(-1, -1, 4)))
            indices.append(index.int())
        return {
            "image": seen["image"][0].tensors,
            **taps,
            "objectness": torch.cat(scores, 1),
            "deltas": torch.cat(deltas, 1),
            "indices": torch.cat(indices, 1),
        }

    def _box_head(self, seen: dict[str, Any]) -> dict[str, Tensor]:
        rois, slots = seen["rois"][0], self.spec.rpn.num_rois
        counts = [len(boxes) for boxes in rois]
        logits, deltas = seen["box"]
        features = _padded(seen["box_features"].split(counts), slots)
        return {
            "rois": _padded(rois, slots),
            "roi_count": torch.tensor(counts, dtype=torch.int32),
            "box_features": features.flatten(0, 1),
            "logits": _padded(logits.split(counts), slots),
            "box_deltas": _padded(deltas.split(counts), slots),
        }

    def _outputs(self, seen: dict[str, Any], results: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        slots = self.spec.detection.max_detections
        counts = [len(found["boxes"]) for found in results]
        taps = {
            "num_detections": torch.tensor(counts, dtype=torch.int32),
            "boxes_canvas": _padded([found["boxes"] for found in seen["roi_heads"][0]], slots),
        }
        for name, theirs in (("masks", "crops"), *((n, n) for n in _OUTPUTS)):
            if theirs in results[0]:
                taps[name] = _padded([found[theirs] for found in results], slots)
        taps["labels"] = taps["labels"].int()
        return taps


_OUTPUTS = ("boxes", "scores", "labels", "keypoints")


def _padded(rows: Sequence[Tensor], slots: int) -> Tensor:
    """[n, ...] of each frame as [B, slots, ...], with zeros."""
    padded = rows[0].new_zeros(len(rows), slots, *rows[0].shape[1:])
    for frame, values in zip(padded, rows, strict=True):
        frame[: len(values)] = values
    return padded

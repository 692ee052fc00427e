"""Eager torchvision on a fixed canvas, random weights worth testing with, and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from maskrt.export.adapters.eager import on_canvas
from tests.parity import elsewhere

__all__ = ["detect", "on_canvas", "picture", "spread"]


@torch.no_grad()
def detect(model: nn.Module, frames: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Detections of BGR uint8 frames by a model of ``on_canvas``.

    ``crops`` (n, m, m) are the mask head's probabilities, not pasted.
    """
    images = [torch.from_numpy(f[..., ::-1].copy()).permute(2, 0, 1).float() / 255 for f in frames]
    return [{k: v.numpy() for k, v in result.items()} for result in model(images)]


@torch.no_grad()
def spread(model: nn.Module, canvas: tuple[int, int], seed: int = 0) -> nn.Module:
    """Random heads under which detections spread over classes, levels and the frame.

    torchvision's initial heads give almost constant scores and boxes: any graph would pass. The
    last layers get random weights, scaled on a picture so that their outputs have these deviations.
    """
    model = model.eval()
    generator = torch.Generator().manual_seed(seed)

    def redraw(layer: nn.Module, outputs: Callable[[], Any], deviation: float) -> None:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
        layer.bias.zero_()
        result = outputs()
        parts = result if isinstance(result, (list, tuple)) else [result]
        values = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
        mean = values.mean(1)
        factor = deviation / (values - mean[:, None]).std()
        layer.weight *= factor
        if len(mean) == len(layer.bias):
            # features have much in common: without it a single class would win everywhere
            layer.bias.copy_(-mean * factor)

    heads, head = model.roi_heads, model.rpn.head
    pictures = np.stack([picture(canvas, seed) for seed in range(90, 96)])
    image = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 64 - 2
    features = model.backbone(image)
    features = {"0": features} if isinstance(features, Tensor) else features
    maps = list(features.values())
    redraw(head.cls_logits, lambda: head(maps)[0], 1.5)
    redraw(head.bbox_pred, lambda: head(maps)[1], 0.3)

    boxes, _ = model.rpn(ImageList(image, [canvas] * len(image)), features)
    pooled = heads.box_head(heads.box_roi_pool(features, boxes, [canvas] * len(boxes)))
    predictor = heads.box_predictor
    redraw(predictor.cls_score, lambda: predictor(pooled)[0], 1.5)
    redraw(predictor.bbox_pred, lambda: predictor(pooled)[1], 0.8)
    # so much background that a few dozen RoIs hold an object, with scores of all heights
    best = predictor(pooled)[0][:, 1:].amax(1)
    wanted = len(best) // 10
    threshold = best.sort(descending=True).values[wanted]
    predictor.cls_score.bias[0] += threshold - math.log(heads.score_thresh)
    some = [b[:10] for b in boxes]
    if heads.has_mask():
        pooled = heads.mask_head(heads.mask_roi_pool(features, some, [canvas] * len(boxes)))
        mask = heads.mask_predictor
        redraw(mask.mask_fcn_logits, lambda: mask(pooled), 1.5)
    if heads.has_keypoint():
        pooled = heads.keypoint_head(heads.keypoint_roi_pool(features, some, [canvas] * len(boxes)))
        keypoint = heads.keypoint_predictor
        redraw(keypoint.kps_score_lowres, lambda: keypoint(pooled), 1.5)
    return elsewhere(model)


def picture(size: tuple[int, int], seed: int) -> np.ndarray:
    """A smooth random frame, uint8 (H, W, 3)."""
    cells = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(cells, size[::-1], interpolation=cv2.INTER_CUBIC)

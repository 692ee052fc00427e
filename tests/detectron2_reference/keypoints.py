"""Heatmaps to keypoints: ``detectron2/structures/keypoints.py``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def heatmaps_to_keypoints(maps: Tensor, boxes: Tensor) -> Tensor:
    """(n, K, S, S) logits and boxes (n, 4) -> (n, K, 4): x, y, logit, score.

    Each heatmap is enlarged (bicubic, half-pixel centres) to its box's size in whole pixels,
    rounded up and at least 1; the keypoint is the centre of the largest pixel, brought back to the
    box's true size. The score is that pixel's part in a softmax that is normalised over the S x S
    map, so that it does not depend on the box's size. Follows ``heatmaps_to_keypoints``.
    """
    count, kinds = maps.shape[:2]
    result = maps.new_zeros(count, kinds, 4)
    for i in range(count):
        x1, y1, x2, y2 = boxes[i].unbind()
        width, height = (x2 - x1).clamp(min=1), (y2 - y1).clamp(min=1)
        columns, rows = int(width.ceil()), int(height.ceil())
        enlarged = functional.interpolate(
            maps[i : i + 1], size=(rows, columns), mode="bicubic", align_corners=False
        )[0]
        for k in range(kinds):
            peak = int(enlarged[k].argmax())
            row, column = divmod(peak, columns)
            logit = enlarged[k, row, column]
            result[i, k, 0] = x1 + (column + 0.5) * (width / columns)
            result[i, k, 1] = y1 + (row + 0.5) * (height / rows)
            result[i, k, 2] = logit
            result[i, k, 3] = 1 / torch.exp(maps[i, k] - logit).sum()
    return result

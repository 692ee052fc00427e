"""Pooling of RoIs from one feature map or a pyramid: ``detectron2/modeling/poolers.py``."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align


def level_of_boxes(boxes: Tensor, lowest: int, highest: int) -> Tensor:
    """(n,) int64: the level each box is pooled from; level l has the stride 2 ** l.

    A box of 224 x 224 px belongs to level 4, one of twice that side to level 5. Follows
    ``assign_boxes_to_levels`` (equation 1 of the FPN paper).
    """
    sides = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    levels = torch.floor(4 + torch.log2(sides / 224 + 1e-8))
    return levels.clamp(lowest, highest).to(torch.int64)


class Pooler:
    """``ROIPooler`` with the keys POOLER_* of a head's part of the config."""

    def __init__(self, head: dict, strides: list[int]):
        if head["POOLER_TYPE"] not in ("ROIAlign", "ROIAlignV2"):
            raise ValueError(f"POOLER_TYPE: {head['POOLER_TYPE']!r}")
        self.aligned = head["POOLER_TYPE"] == "ROIAlignV2"
        self.size = head["POOLER_RESOLUTION"]
        self.sampling_ratio = head["POOLER_SAMPLING_RATIO"]  # 0: as many samples as the bin has px
        self.strides = strides

    def __call__(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """Maps (N, C, h, w) and the boxes (n, 4) of each of the N images, in canvas pixels.

        Returns (n of all images, C, size, size).
        """
        rois = torch.cat(
            [
                torch.cat([torch.full_like(boxes_of_image[:, :1], index), boxes_of_image], dim=1)
                for index, boxes_of_image in enumerate(boxes)
            ]
        )
        levels = torch.zeros(len(rois), dtype=torch.int64)
        if len(features) > 1:
            lowest, highest = (s.bit_length() - 1 for s in (self.strides[0], self.strides[-1]))
            levels = level_of_boxes(rois[:, 1:], lowest, highest) - lowest
        pooled = rois.new_zeros(len(rois), features[0].shape[1], self.size, self.size)
        for level, feature in enumerate(features):
            here = torch.nonzero(levels == level)[:, 0]
            pooled[here] = roi_align(
                feature,
                rois[here],
                self.size,
                1 / self.strides[level],
                self.sampling_ratio,
                self.aligned,
            )
        return pooled

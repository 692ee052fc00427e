"""The fixed-shape R-CNN graph: dense stages of the trained model between canonical operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskrt.attributes import operator_attributes, pool_attributes
from maskrt.export import ops
from maskrt.spec import ModelSpec, RoIPoolSpec

XYXY = torch.tensor([1, 0, 1, 0])  # a pair (y, x) as (x, y, x, y)


@dataclass
class Parts:
    """The dense stages that an adapter finds in a trained model. N is RoIs or detections."""

    backbone: nn.Module
    """image float32 [B, 3, h, w] → list of maps [B, C, Hl, Wl], fine to coarse."""
    rpn_head: nn.Module
    """list of maps → objectness logits [B, A, Hl, Wl] and deltas [B, 4 A, Hl, Wl], two lists."""
    box_head: nn.Module
    """RoI features [N, C, p, q] → class logits [N, classes], deltas [N, 4 n]."""
    mask_head: nn.Module | None = None
    """RoI features → mask logits [N, classes or 1, m, n]."""
    keypoint_head: nn.Module | None = None
    """RoI features → heatmaps [N, K, h, w]."""


class RCNN(nn.Module):
    """Two-stage detector with static shapes (Faster R-CNN, Mask R-CNN), from frames to detections.

    Forward: ``frames`` uint8 [B, H, W, 3], ``score_threshold`` and ``nms_threshold`` float32 [] →
    the tensors of ``spec.outputs``, in that order.
    """

    def __init__(self, parts: Parts, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = parts.backbone
        self.rpn_head = parts.rpn_head
        self.box_head = parts.box_head
        self.mask_head = parts.mask_head
        self.keypoint_head = parts.keypoint_head

    def forward(
        self, frames: Tensor, score_threshold: Tensor, nms_threshold: Tensor
    ) -> tuple[Tensor, ...]:
        """From frames to the tensors of ``spec.outputs``."""
        spec = self.spec
        attributes = operator_attributes(spec)
        image, scale, content = ops.letterbox(frames, *attributes["letterbox"].values())
        features = self.backbone(image)
        rois, roi_count = self._propose(features, content)

        logits, deltas = self.box_head(pool(spec.box_pool, rois, roi_count, features))
        slots = spec.rpn.num_rois
        boxes, scores, labels, count = ops.detection_nms(
            logits.reshape(-1, slots, logits.shape[1]),
            deltas.reshape(-1, slots, deltas.shape[1]),
            rois,
            roi_count,
            content,
            score_threshold,
            nms_threshold,
            *attributes["detection_nms"].values(),
        )
        outputs = [count, boxes * scale.index_select(1, XYXY)[:, None], scores, labels]
        if spec.mask and self.mask_head:
            mask_logits = self.mask_head(pool(spec.mask.pool, boxes, count, features))
            outputs.append(ops.mask_select(mask_logits, labels, count))
        if spec.keypoint and self.keypoint_head:
            heatmaps = self.keypoint_head(pool(spec.keypoint.pool, boxes, count, features))
            outputs.append(
                ops.keypoint_decode(
                    heatmaps, boxes, count, scale, *attributes["keypoint_decode"].values()
                )
            )
        return tuple(outputs)

    def _propose(self, features: Sequence[Tensor], content: Tensor) -> tuple[Tensor, Tensor]:
        """RoIs [B, R, 4] in canvas pixels and their count [B]."""
        spec = self.spec.rpn
        scores, deltas, indices = [], [], []
        objectness_maps, delta_maps = self.rpn_head(list(features))
        for level, objectness, delta in zip(spec.levels, objectness_maps, delta_maps, strict=True):
            anchors = len(level.anchors)
            rows, columns = level.grid
            # torchvision's order of anchors: row, column, anchor of the cell
            flat = objectness.permute(0, 2, 3, 1).flatten(1)
            by_cell = delta.reshape(-1, anchors, 4, rows, columns).permute(0, 3, 4, 1, 2)
            by_anchor = by_cell.reshape(-1, rows * columns * anchors, 4)
            best, index = flat.topk(level.top_k, dim=1)
            scores.append(best)
            deltas.append(by_anchor.gather(1, index[..., None].expand(-1, -1, 4)))
            indices.append(index.int())
        return ops.proposals(
            torch.cat(scores, 1),
            torch.cat(deltas, 1),
            torch.cat(indices, 1),
            content,
            *operator_attributes(self.spec)["proposals"].values(),
        )


def pool(spec: RoIPoolSpec, boxes: Tensor, count: Tensor, features: Sequence[Tensor]) -> Tensor:
    """RoI features [B * R, C, p, q] of boxes [B, R, 4] in canvas pixels."""
    return ops.multilevel_roi_align(
        boxes,
        count,
        [features[i] for i in spec.features],
        *pool_attributes(spec).values(),
    )

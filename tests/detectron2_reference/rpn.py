"""Anchors and proposals: ``detectron2/modeling/{anchor_generator.py,proposal_generator}``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .boxes import clip, decode, grouped_nms, nonempty
from .config import Config
from .layers import Conv


def cell_anchors(sizes: list[float], aspect_ratios: list[float]) -> Tensor:
    """(sizes * ratios, 4): anchors round the origin, sizes in the outer loop, not rounded.

    An anchor of size s and ratio r (height / width) has the area s * s. Follows
    ``DefaultAnchorGenerator.generate_cell_anchors``.
    """
    anchors = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = math.sqrt(size**2 / ratio)
            height = ratio * width
            anchors.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(anchors, dtype=torch.float32)


def grid_anchors(cell: Tensor, size: tuple[int, int], stride: int, offset: float) -> Tensor:
    """(height * width * A, 4): the cell's anchors at each place of a map, places row by row.

    The first place is ``offset * stride`` px from the image's corner.
    """
    height, width = size
    places = []
    for row in range(height):
        for column in range(width):
            x, y = (column + offset) * stride, (row + offset) * stride
            places.append([x, y, x, y])
    return (torch.tensor(places, dtype=torch.float32)[:, None] + cell[None]).reshape(-1, 4)


def per_level(values: list, levels: int) -> list[list[float]]:
    """A list for each level, from one for each, or one for all (in or without a list)."""
    if not isinstance(values[0], (list, tuple)):
        return [list(values)] * levels
    if len(values) == 1:
        return [list(values[0])] * levels
    if len(values) != levels:
        raise ValueError(f"{len(values)} lists of anchors for {levels} feature maps")
    return [list(v) for v in values]


class RPNHead(nn.Module):
    """``StandardRPNHead``: 3x3 convolutions with ReLU, usually one, then two 1x1 convolutions."""

    def __init__(self, channels: int, anchors: int, conv_dims: list[int]):
        super().__init__()
        layers = []
        for dim in conv_dims:
            outputs = channels if dim == -1 else dim
            layers.append(Conv(channels, outputs, 3, padding=1))
            channels = outputs
        if len(layers) == 1:
            self.conv: nn.Module = layers[0]
        else:
            self.conv = nn.Sequential()
            for index, layer in enumerate(layers):
                self.conv.add_module(f"conv{index}", layer)
        self.objectness_logits = Conv(channels, anchors, 1)
        self.anchor_deltas = Conv(channels, anchors * 4, 1)

    def hidden_layers(self) -> list[nn.Module]:
        """The 3x3 convolutions."""
        return [self.conv] if isinstance(self.conv, Conv) else list(self.conv.children())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, C, h, w) -> logits (h * w * A,) and deltas (h * w * A, 4), in the anchors' order."""
        for layer in self.hidden_layers():
            x = torch.relu(layer(x))
        logits, deltas = self.objectness_logits(x)[0], self.anchor_deltas(x)[0]
        anchors, height, width = logits.shape
        logits = logits.permute(1, 2, 0).reshape(-1)
        deltas = deltas.reshape(anchors, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4)
        return logits, deltas


class RPN(nn.Module):
    """Proposals from the feature maps of one image."""

    def __init__(self, config: Config, strides: dict[str, int], channels: dict[str, int]):
        super().__init__()
        model = config["MODEL"]
        self.rpn = model["RPN"]
        self.min_size = model["PROPOSAL_GENERATOR"]["MIN_SIZE"]
        self.offset = model["ANCHOR_GENERATOR"]["OFFSET"]
        self.in_features = list(self.rpn["IN_FEATURES"])
        self.strides = [strides[name] for name in self.in_features]
        levels = len(self.in_features)
        sizes = per_level(model["ANCHOR_GENERATOR"]["SIZES"], levels)
        ratios = per_level(model["ANCHOR_GENERATOR"]["ASPECT_RATIOS"], levels)
        self.cells = [cell_anchors(s, r) for s, r in zip(sizes, ratios, strict=True)]
        (anchors,) = {len(cell) for cell in self.cells}
        (inputs,) = {channels[name] for name in self.in_features}
        self.rpn_head = RPNHead(inputs, anchors, list(self.rpn["CONV_DIMS"]))

    def forward(
        self, features: dict[str, Tensor], content: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Proposals (n, 4), in canvas pixels, and their logits (n,), best first.

        ``features`` are (1, C, h, w) each. ``content`` (height, width) is the part of the canvas
        that holds the image: anchors lie all over the canvas, proposals are clipped to the image.
        Follows ``RPN.predict_proposals`` and ``find_top_rpn_proposals``.
        """
        boxes_of_levels, logits_of_levels, levels = [], [], []
        for level, name in enumerate(self.in_features):
            feature = features[name]
            logits, deltas = self.rpn_head(feature)
            size = (feature.shape[2], feature.shape[3])
            anchors = grid_anchors(self.cells[level], size, self.strides[level], self.offset)
            boxes = decode(deltas, anchors.to(deltas), self.rpn["BBOX_REG_WEIGHTS"])[:, 0]
            best = logits.topk(min(len(logits), self.rpn["PRE_NMS_TOPK_TEST"])).indices
            boxes_of_levels.append(boxes[best])
            logits_of_levels.append(logits[best])
            levels.append(torch.full_like(best, level))
        boxes, logits = torch.cat(boxes_of_levels), torch.cat(logits_of_levels)
        level_of = torch.cat(levels)

        finite = torch.isfinite(boxes).all(1) & torch.isfinite(logits)
        boxes, logits, level_of = boxes[finite], logits[finite], level_of[finite]
        boxes = clip(boxes, content)
        keep = nonempty(boxes, self.min_size)
        boxes, logits, level_of = boxes[keep], logits[keep], level_of[keep]

        keep = grouped_nms(boxes, logits, level_of, self.rpn["NMS_THRESH"])
        keep = keep[: self.rpn["POST_NMS_TOPK_TEST"]]
        return boxes[keep], logits[keep]

"""From the canvas to the frame: ``detector_postprocess`` and ``paste_masks_in_image``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .boxes import clip, nonempty


def to_frame(
    found: dict[str, Tensor], content: tuple[int, int], frame_size: tuple[int, int]
) -> dict[str, Tensor]:
    """Detections in canvas pixels -> in frame pixels, without those whose box became empty.

    ``content`` and ``frame_size`` are (height, width) of the resized frame and of the frame
    itself. Boxes are scaled, then clipped to the frame; keypoints are scaled only.
    """
    scale_x, scale_y = frame_size[1] / content[1], frame_size[0] / content[0]
    boxes = found["boxes"] * found["boxes"].new_tensor([scale_x, scale_y, scale_x, scale_y])
    boxes = clip(boxes, frame_size)
    result = {**found, "boxes": boxes}
    if "keypoints" in found:
        result["keypoints"] = found["keypoints"] * boxes.new_tensor([scale_x, scale_y, 1.0])
    keep = nonempty(boxes)
    return {name: values[keep] for name, values in result.items()}


def paste(
    masks: Tensor, boxes: Tensor, frame_size: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """(n, m, m) probabilities and boxes (n, 4) in frame pixels -> (n, H, W) bool.

    The mask is spread over its box and read at the centres of the frame's pixels, bilinearly and
    with zeros round it; a pixel belongs to the object from the threshold on.
    """
    height, width = frame_size
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool)
    xs = torch.arange(width, dtype=boxes.dtype) + 0.5
    ys = torch.arange(height, dtype=boxes.dtype) + 0.5
    for i in range(len(masks)):
        x1, y1, x2, y2 = boxes[i].unbind()
        # -1 and 1 are the outer edges of the mask, as they are those of the box
        across = (xs - x1) / (x2 - x1) * 2 - 1
        down = (ys - y1) / (y2 - y1) * 2 - 1
        grid = torch.stack(
            [across[None, :].expand(height, width), down[:, None].expand(height, width)], dim=2
        )
        values = functional.grid_sample(masks[i][None, None], grid[None], align_corners=False)
        pasted[i] = values[0, 0] >= threshold
    return pasted

"""Masks brought into the frame, on the CPU: 100 of 28x28 into 1920x1080.

Crops, by torchvision's rule and by detectron2's:

- maskrt: the native operator.
- maskrt, NumPy: what the runtime does without it.
- OpenCV: ``cv2.warpAffine`` of the probabilities into each mask's region, then compared with the
  threshold; bytes: the same, of probabilities scaled to 255, which is faster and coarser.
- torchvision: ``paste_masks_in_image``, then compared; the whole frame for each mask.
- detectron2's way: ``grid_sample``, then compared; the whole frame for each mask, one by one.

One label map, on which the first mask lies on top: the native operator, and OpenCV's crops painted
from the last to the first.

The mean IoU is that with torchvision's masks, or with those of detectron2's way, which is written
out here after ``detectron2/layers/mask_ops.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import roi_heads

from benchmarks.timing import Case
from maskrt.plugins import ops
from maskrt.plugins.ops.paste_masks import Convention
from maskrt.runtime import masks as numpy_masks

COUNT, CELLS, FRAME, THRESHOLD = 100, 28, (1080, 1920), 0.5
Crops = Sequence[tuple[int, int, NDArray[Any]]]
"""x, y and pixels of each mask."""


def scene() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Masks like those of mask heads, blobs with soft edges; and boxes of 40 to 600 pixels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:CELLS, 0:CELLS] / (CELLS - 1) - 0.5
    lobes = rng.integers(2, 5, (COUNT, 1, 1))
    radius = rng.uniform(0.25, 0.45, (COUNT, 1, 1)) + 0.08 * np.cos(lobes * np.arctan2(y, x))
    masks = 1 / (1 + np.exp((np.hypot(x, y) - radius) * 25))
    size = rng.uniform(40, 600, (COUNT, 2))
    corner = rng.uniform(0, 1, (COUNT, 2)) * (np.array(FRAME[::-1]) - size)
    boxes = np.concatenate([corner, corner + size], 1)
    return masks.astype(np.float32), boxes.astype(np.float32)


def opencv_crops(
    masks: NDArray[Any], boxes: NDArray[np.float32], convention: Convention, threshold: float
) -> Crops:
    """``warpAffine`` into the region of each mask, of probabilities of any type."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    if convention == "torchvision":
        grown = roi_heads.expand_boxes(torch.from_numpy(boxes), (CELLS + 2) / CELLS).numpy()
        low = np.trunc(grown[:, :2])
        size = np.trunc(grown[:, 2:]) + 1 - low
        scale, shift = (CELLS + 2) / size, -0.5  # to cells of the padded mask
        first, end = low, low + size
    else:
        low, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        scale, shift = CELLS / size, 0.5
        reach = 0.5 / scale + 0.5
        first, end = np.floor(low - reach), np.ceil(low + size + reach)
    first, end = (np.clip(sides, 0, FRAME[::-1]).astype(int) for sides in (first, end))
    offset = (first + 0.5 - low) * scale + shift
    crops = []
    for i, mask in enumerate(padded):
        to_cells = np.array([[scale[i, 0], 0, offset[i, 0]], [0, scale[i, 1], offset[i, 1]]])
        shape = (int(end[i, 0] - first[i, 0]), int(end[i, 1] - first[i, 1]))
        values = cv2.warpAffine(
            mask, to_cells, shape, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        crops.append((int(first[i, 0]), int(first[i, 1]), values > threshold))
    return crops


def opencv_label_map(masks: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Crops painted over each other."""
    labels = np.zeros(FRAME, np.uint8)
    crops = opencv_crops(masks, boxes, "torchvision", THRESHOLD)
    for i in reversed(range(len(crops))):
        x, y, mask = crops[i]
        labels[y : y + mask.shape[0], x : x + mask.shape[1]][mask] = i + 1
    return labels


def detectron2_paste(mask: Tensor, box: Tensor) -> Tensor:
    """[H, W] bool, as detectron2 does it on a CPU: one mask, by grid_sample."""
    x0, y0, x1, y1 = box
    y = (torch.arange(FRAME[0]) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(FRAME[1]) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack([x.expand(FRAME), y[:, None].expand(FRAME)], 2)
    return functional.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0] >= 0.5


def torchvision_paste(mask: Tensor, box: Tensor) -> Tensor:
    """[H, W] bool."""
    return roi_heads.paste_masks_in_image(mask[None, None], box[None], FRAME)[0, 0] > THRESHOLD


def mean_iou(crops: Crops, expected: Sequence[NDArray[np.bool_]]) -> str:
    """Over all masks; 1 where both are empty."""
    values = []
    for (x, y, crop), mask in zip(crops, expected, strict=True):
        whole = np.zeros(FRAME, np.bool_)
        whole[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        union = np.count_nonzero(whole | mask)
        values.append(np.count_nonzero(whole & mask) / union if union else 1.0)
    return f"{np.mean(values):.5f}"


def cases(threads: int) -> list[Case]:
    """Crops by both rules, and one label map."""
    masks, boxes = scene()
    tensors = torch.from_numpy(masks), torch.from_numpy(boxes)
    scaled = np.round(masks * 255).astype(np.uint8)
    found = []
    peers: dict[Convention, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
        "torchvision": ("torchvision", torchvision_paste),
        "detectron2": ("detectron2's way", detectron2_paste),
    }
    for convention, (name, paste) in peers.items():
        expected = [paste(mask, box).numpy() for mask, box in zip(*tensors, strict=True)]
        candidates: dict[str, Callable[[], Crops]] = {
            "maskrt": lambda rule=convention: ops.paste_crops(
                masks, boxes, FRAME, convention=rule, threshold=THRESHOLD, threads=threads
            ),
            "maskrt, NumPy": lambda rule=convention: numpy_masks.paste_crops(
                masks, boxes, FRAME, rule, THRESHOLD
            ),
            "OpenCV": lambda rule=convention: opencv_crops(masks, boxes, rule, THRESHOLD),
            "OpenCV, bytes": lambda rule=convention: opencv_crops(scaled, boxes, rule, 127),
            name: lambda paste=paste: [
                (0, 0, paste(mask, box).numpy()) for mask, box in zip(*tensors, strict=True)
            ],
        }
        found.append(
            Case(
                f"Paste: crops by {convention}'s rule, {COUNT} masks of {CELLS}x{CELLS} into "
                f"{FRAME[1]}x{FRAME[0]}",
                candidates,
                ("OpenCV", "OpenCV, bytes", name),
                lambda crops, expected=expected: mean_iou(crops, expected),
                "mean IoU",
            )
        )
    labels = opencv_label_map(masks, boxes)
    found.append(
        Case(
            f"Paste: one label map, {COUNT} masks of {CELLS}x{CELLS} into {FRAME[1]}x{FRAME[0]}",
            {
                "maskrt": lambda: ops.paste_label_map(
                    masks,
                    boxes,
                    FRAME,
                    convention="torchvision",
                    threshold=THRESHOLD,
                    threads=threads,
                ),
                "OpenCV": lambda: opencv_label_map(masks, boxes),
            },
            ("OpenCV",),
            lambda found: f"{np.mean(found == labels):.5f}",
            "as OpenCV's",
        )
    )
    return found

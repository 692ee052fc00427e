"""From a frame to the network's input, as ``DefaultPredictor`` and ``GeneralizedRCNN`` do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from .config import Config, complete


def resized_size(frame_size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """(height, width) after ``ResizeShortestEdge``; a shortest edge of 0 leaves the frame as is."""
    height, width = frame_size
    if shortest == 0:
        return frame_size
    scale = shortest / min(height, width)
    # the shorter edge is exact, the other may be a fraction
    new_height, new_width = (
        (shortest, scale * width) if height < width else (scale * height, shortest)
    )
    if max(new_height, new_width) > longest:
        scale = longest / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return int(new_height + 0.5), int(new_width + 0.5)


def normalise(image: Tensor, config: Config) -> Tensor:
    """(3, h, w) in INPUT.FORMAT's order, 0 to 255 -> the same by PIXEL_MEAN and PIXEL_STD."""
    mean = torch.tensor(config["MODEL"]["PIXEL_MEAN"], dtype=torch.float32)[:, None, None]
    std = torch.tensor(config["MODEL"]["PIXEL_STD"], dtype=torch.float32)[:, None, None]
    return (image - mean) / std


def preprocess(frame: np.ndarray, config: Mapping[str, Any]) -> tuple[Tensor, tuple[int, int]]:
    """A BGR uint8 frame (H, W, 3) -> float32 (3, h, w), normalised and not padded, and (h, w).

    The frame is resized as uint8 by PIL's bilinear filter, which averages when it shrinks.
    """
    full = complete(config)
    if full["INPUT"]["FORMAT"] == "RGB":
        frame = frame[:, :, ::-1]
    size = resized_size(
        (frame.shape[0], frame.shape[1]),
        full["INPUT"]["MIN_SIZE_TEST"],
        full["INPUT"]["MAX_SIZE_TEST"],
    )
    picture_in = Image.fromarray(np.ascontiguousarray(frame))
    resized = np.asarray(picture_in.resize(size[::-1], Image.Resampling.BILINEAR))
    image = torch.from_numpy(resized.astype(np.float32)).permute(2, 0, 1)
    return normalise(image, full), size


def picture(size: tuple[int, int], seed: int) -> np.ndarray:
    """A smooth random frame, uint8 (H, W, 3)."""
    cells = np.random.default_rng(seed).integers(0, 256, (3, 9, 12))
    enlarged = functional.interpolate(
        torch.from_numpy(cells)[None].float(), size=size, mode="bicubic", align_corners=False
    )[0]
    return enlarged.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()

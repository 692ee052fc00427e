"""NMS of the proposals of five levels, 1000 each, on the CPU.

- maskrt: the native NMS within groups.
- torchvision: ``batched_nms``, which shifts each level's boxes apart.
- torchvision, level by level: ``nms`` five times.

The boxes are jittered copies of 200 objects a level, as a region proposal network gives them.
"""

from __future__ import annotations

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from benchmarks.timing import Case
from maskrt.plugins import ops

LEVELS, BOXES, THRESHOLD = 5, 1000, 0.7
Indices = NDArray[np.int64]


def cases(threads: int) -> list[Case]:
    """One case; torchvision's NMS has one thread in any case."""
    rng = np.random.default_rng(0)
    center = rng.uniform(0, 1000, (LEVELS, 200, 2))
    size = np.exp(rng.uniform(3, 5, (LEVELS, 200, 2)))
    low, high = center - size / 2, center + size / 2
    objects = np.concatenate([low, high], -1)[:, np.arange(BOXES) % 200]
    jitter = rng.normal(0, 4, objects.shape)
    boxes = (objects + jitter).reshape(-1, 4).astype(np.float32)
    scores = rng.permutation(LEVELS * BOXES).astype(np.float32) / (LEVELS * BOXES)
    groups = np.repeat(np.arange(LEVELS), BOXES).astype(np.int32)
    tensors = [torch.from_numpy(a) for a in (boxes, scores, groups)]

    def batched() -> Indices:
        kept: Indices = torchvision.ops.batched_nms(*tensors, THRESHOLD).numpy()
        return kept

    def by_level() -> Indices:
        kept = []
        for level in range(LEVELS):
            part = slice(level * BOXES, (level + 1) * BOXES)
            of_level = torchvision.ops.nms(tensors[0][part], tensors[1][part], THRESHOLD)
            kept.append(of_level + level * BOXES)
        every = torch.cat(kept)
        indices: Indices = every[tensors[1][every].argsort(descending=True)].numpy()
        return indices

    expected = by_level()
    return [
        Case(
            f"NMS: {LEVELS} levels x {BOXES} boxes, {len(expected)} kept",
            {
                "maskrt": lambda: ops.nms(boxes, scores, groups, THRESHOLD, threads=threads),
                "torchvision batched_nms": batched,
                "torchvision, level by level": by_level,
            },
            ("torchvision batched_nms", "torchvision, level by level"),
            lambda kept: "yes" if np.array_equal(kept, expected) else "no",
            "as level by level",
        )
    ]

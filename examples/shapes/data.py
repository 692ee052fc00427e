"""Pictures of simple objects with exact labels, made from a seed; COCO's annotation format.

Every picture depends only on (seed, split, index) and the frame size, so nothing has to be
downloaded or shipped: equal arguments give equal bytes on equal NumPy and OpenCV versions.

    python -m maskrt.examples.shapes.data --out DIR --split val -n 200
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .render import Frame, Mask, render
from .scene import (
    CLASSES,
    KEEP,
    KEYPOINT_CLASSES,
    KEYPOINT_NAMES,
    KEYPOINT_SIGMA,
    POINTS,
    SKELETON,
    Scene,
    Thing,
    rng_for,
    scene,
)

SIZE = (192, 256)
"""The default frame: (height, width) in pixels."""

_CAST = ("fish", "disk", "plane", "kite", "star", "box", "fish", "plane", "kite", "disk", "star")

_MIN_PIXELS = 16  # fewer visible pixels than this cannot be told apart by anyone


@dataclass(frozen=True)
class Instance:
    """One labelled object.

    Attributes:
        label: 1-based index into CLASSES.
        mask: bool (H, W), the visible part; the masks of one frame are disjoint.
        box: float32 (4,), x1 y1 x2 y2 in pixels: the extent of the mask, whose pixel (i, j)
            covers x in [j, j + 1] and y in [i, i + 1].
        keypoints: float32 (5, 3), x, y in pixels and visibility (2 seen, 1 hidden by a nearer
            object, 0 outside the frame, and then x = y = 0). All zero for classes without points.
        track: Index of the object in its scene: the same in all frames of a clip.
    """

    label: int
    mask: Mask
    box: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    track: int

    @property
    def name(self) -> str:
        """The class name."""
        return CLASSES[self.label - 1]


def image(
    index: int,
    *,
    seed: int = 0,
    split: str = "train",
    size: tuple[int, int] = SIZE,
    names: Sequence[str] = CLASSES,
) -> tuple[Frame, list[Instance]]:
    """One picture and its objects.

    Args:
        index: Number of the picture in its split.
        seed: Another seed is another data set.
        split: Any name; different names give unrelated pictures.
        size: (height, width) in pixels. A larger size with the same aspect ratio shows the same
            scene in more detail.
        names: The classes to draw from; a name that stands twice is twice as likely.

    Returns:
        The frame, uint8 (H, W, 3) in BGR, and its objects, from the furthest to the nearest.
    """
    return _labelled(scene(rng_for(seed, split, index), size[1] / size[0], names=names), size)


def clip(
    seed: int = 0, frames: int = 48, size: tuple[int, int] = SIZE
) -> Iterator[tuple[Frame, list[Instance]]]:
    """A short film of moving objects; its last frame leads back to its first.

    Args:
        seed: Fixes the film.
        frames: How many frames to yield.
        size: (height, width) in pixels.

    Yields:
        What `image` returns. `Instance.track` follows an object through the film.
    """
    rng = rng_for(seed, "clip", 0)
    aspect = size[1] / size[0]
    start = scene(rng, aspect, count=40)
    # One of each class in turn, largest first, each in a cell of its own of a 4 x 3 grid.
    cells = rng.permutation(12)[: len(_CAST)]
    cast = [
        replace(
            thing,
            label=CLASSES.index(name) + 1,
            x=aspect * (cell % 4 + 0.5) / 4,
            y=(cell // 4 + 0.5) / 3,
            size=0.4 * 0.9**number,
        )
        for number, (thing, name, cell) in enumerate(zip(start.things, _CAST, cells, strict=False))
    ]
    paths = [rng.random(6) for _ in cast]
    for number in range(frames):
        t = number / frames
        moved = [_moved(thing, path, t) for thing, path in zip(cast, paths, strict=True)]
        yield _labelled(replace(start, things=tuple(moved)), size)


def _moved(thing: Thing, path: NDArray[np.float64], t: float) -> Thing:
    """The object at time t of a loop of length 1. At t = 0 it need not be where it started."""
    wide, high = 0.06 + 0.16 * path[0], 0.05 + 0.12 * path[1]
    way = 1 if path[2] < 0.5 else -1
    at = 2 * np.pi * (way * t + path[3])
    x, y = thing.x + wide * np.cos(at), thing.y + high * np.sin(at)
    if thing.name in ("fish", "plane"):  # they look where they go
        angle = float(np.arctan2(way * high * np.cos(at), -way * wide * np.sin(at)) + np.pi / 2)
    elif thing.name == "kite":
        angle = 0.5 * float(np.sin(at))
    else:
        angle = thing.angle + 2 * np.pi * t * way
    return replace(thing, x=x, y=y, angle=angle)


def _labelled(what: Scene, size: tuple[int, int]) -> tuple[Frame, list[Instance]]:
    frame, masks, areas = render(what, size)
    found = []
    for track, (thing, mask, area) in enumerate(zip(what.things, masks, areas, strict=True)):
        pixels = int(mask.sum())
        if pixels < max(KEEP * area, _MIN_PIXELS):
            continue
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], np.float32)
        points = _points(thing, masks[track + 1 :], size)
        found.append(Instance(thing.label, mask, box, points, track))
    return frame, found


def _points(thing: Thing, nearer: list[Mask], size: tuple[int, int]) -> NDArray[np.float32]:
    out = np.zeros((len(KEYPOINT_NAMES), 3), np.float32)
    if thing.name not in POINTS:
        return out
    height, width = size
    for row, (x, y) in zip(out, thing.place(POINTS[thing.name]) * height, strict=True):
        if 0 <= x < width and 0 <= y < height:
            hidden = any(mask[int(y), int(x)] for mask in nearer)
            row[:] = x, y, 1 if hidden else 2
    return out


def categories(names: Iterable[str] = CLASSES) -> list[dict[str, Any]]:
    """COCO's category list; ids are 1, 2, ... in the order of `names`.

    Classes with named points also carry "keypoints", "skeleton" (1-based, as COCO has it) and
    "sigmas", the OKS constants, which COCO's own files leave to the evaluating program.
    """
    out: list[dict[str, Any]] = []
    for number, name in enumerate(names, 1):
        entry: dict[str, Any] = {"id": number, "name": name, "supercategory": "shape"}
        if name in KEYPOINT_CLASSES:
            entry["keypoints"] = list(KEYPOINT_NAMES)
            entry["skeleton"] = [[a + 1, b + 1] for a, b in SKELETON]
            entry["sigmas"] = [KEYPOINT_SIGMA] * len(KEYPOINT_NAMES)
        out.append(entry)
    return out


def coco_dict(
    pictures: Iterable[tuple[tuple[int, int], list[Instance]]], *, keypoint_task: bool = False
) -> dict[str, Any]:
    """COCO's annotation file as a dict.

    Args:
        pictures: Per picture its (height, width) and its objects. Image ids are 1, 2, ...
        keypoint_task: Keep only the classes that have named points, numbered from 1 in the order
            of KEYPOINT_CLASSES, as the keypoint model knows them.
    """
    names = KEYPOINT_CLASSES if keypoint_task else CLASSES
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for image_id, ((height, width), found) in enumerate(pictures, 1):
        name = f"{image_id - 1:06d}.png"
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for one in found:
            if one.name not in names:
                continue
            x1, y1, x2, y2 = one.box.tolist()
            entry = {
                "id": len(entries) + 1,
                "image_id": image_id,
                "category_id": names.index(one.name) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": int(one.mask.sum()),
                "segmentation": encode(one.mask),
                "iscrowd": 0,
            }
            if one.name in KEYPOINT_CLASSES:
                entry["keypoints"] = [round(v, 2) for v in one.keypoints.ravel().tolist()]
                entry["num_keypoints"] = int((one.keypoints[:, 2] > 0).sum())
            entries.append(entry)
    return {
        "info": {"description": "maskrt shapes, procedural", "version": "1"},
        "images": images,
        "annotations": entries,
        "categories": categories(names),
    }


def dataset(
    n: int,
    *,
    split: str = "val",
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    keypoint_task: bool = False,
) -> tuple[list[Frame], dict[str, Any]]:
    """The first n pictures of a split, in memory, and their annotations (see `coco_dict`)."""
    pictures = [image(index, seed=seed, split=split, size=size) for index in range(n)]
    listed = coco_dict(((size, found) for _, found in pictures), keypoint_task=keypoint_task)
    return [frame for frame, _ in pictures], listed


def write(
    folder: str | Path,
    n: int,
    *,
    split: str = "val",
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    keypoint_task: bool = False,
) -> Path:
    """Write n pictures as 000000.png, 000001.png, ... and annotations.json; returns the latter."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def pictures() -> Iterator[tuple[tuple[int, int], list[Instance]]]:
        for index in range(n):
            frame, found = image(index, seed=seed, split=split, size=size)
            path = folder / f"{index:06d}.png"
            if not cv2.imwrite(str(path), frame):
                raise OSError(f"cannot write {path}")
            yield size, found

    listed = coco_dict(pictures(), keypoint_task=keypoint_task)
    target = folder / "annotations.json"
    target.write_text(json.dumps(listed))
    return target


def encode(mask: Mask) -> dict[str, Any]:
    """A bool mask (H, W) as COCO's compressed run-length code: {"size": [H, W], "counts": str}.

    Runs alternate between 0 and 1 down the columns, starting with 0. From the fourth on, each is
    stored as the difference to the one two before, in 5-bit groups (see pycocotools' maskApi.c).
    """
    flat = mask.astype(np.uint8).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=0)) if flat.size else np.zeros(0, np.int64)
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    text = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text.append(chr((group | 32 if more else group) + 48))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": "".join(text)}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m maskrt.examples.shapes.data",
        description="Write a labelled set of pictures: PNG files and a COCO annotations.json.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--split", default="val", help="train, val or any other name (val)")
    parser.add_argument("-n", type=int, default=200, help="number of pictures (200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data set (0)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=SIZE, metavar=("H", "W"), help="pixels (192 256)"
    )
    parser.add_argument(
        "--task",
        choices=("masks", "keypoints"),
        default="masks",
        help="masks labels all classes; keypoints only those with named points (masks)",
    )
    args = parser.parse_args(argv)
    target = write(
        args.out,
        args.n,
        split=args.split,
        seed=args.seed,
        size=(args.size[0], args.size[1]),
        keypoint_task=args.task == "keypoints",
    )
    print(f"wrote {args.n} pictures and {target}")


if __name__ == "__main__":
    main()

"""Trains one of the two bundled detectors from scratch, on a CPU.

    python -m maskrt.examples.shapes.train --task masks --out mask_rcnn.pth

The pictures are made from a seed before training starts; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from . import data
from .model import keypoint_rcnn, mask_rcnn
from .scene import CLASSES, KEYPOINT_CLASSES

_SWAPPED = [0, 2, 1, 3, 4]  # KEYPOINT_NAMES after a reflection: left and right change places


@dataclass(frozen=True)
class Sample:
    """One training picture in memory.

    Attributes:
        frame: uint8 (3, H, W), RGB.
        masks: uint8, the bool (N, H, W) masks as packed bits; empty for the keypoint task.
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels.
        labels: int64 (N,).
        keypoints: float32 (N, 5, 3), as in `data.Instance`.
    """

    frame: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    keypoints: NDArray[np.float32]


def make_sample(index: int, *, seed: int, task: str) -> Sample:
    """Draw training picture `index` with the labels of one task ("masks" or "keypoints")."""
    names = CLASSES if task == "masks" else KEYPOINT_CLASSES
    # The keypoint task has fewer objects to learn from: show more of them than "val" has.
    drawn = CLASSES if task == "masks" else CLASSES + 3 * KEYPOINT_CLASSES
    frame, found = data.image(index, seed=seed, split="train", names=drawn)
    if task == "keypoints":
        found = [one for one in found if one.name in names]
    masks = np.zeros((0, *frame.shape[:2]), bool)
    if task == "masks" and found:
        masks = np.stack([one.mask for one in found])
    return Sample(
        np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)),
        np.packbits(masks),
        np.array([one.box for one in found], np.float32).reshape(-1, 4),
        np.array([names.index(one.name) + 1 for one in found], np.int64),
        np.array([one.keypoints for one in found], np.float32).reshape(-1, 5, 3),
    )


def augment(
    sample: Sample, rng: np.random.Generator, task: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """Flip a sample both ways at random and change its colours.

    Returns:
        The image, float32 (3, H, W) in 0..1, and torchvision's target dict.
    """
    _, height, width = sample.frame.shape
    frame, boxes, points = sample.frame, sample.boxes.copy(), sample.keypoints.copy()
    masks = np.zeros((0, height, width), np.uint8)
    if task == "masks":
        count = len(sample.labels) * height * width
        masks = np.unpackbits(sample.masks, count=count).reshape(-1, height, width)
    for axis, extent in ((0, width), (1, height)):
        if rng.random() < 0.5:
            continue
        frame, masks = np.flip(frame, 2 - axis), np.flip(masks, 2 - axis)
        boxes[:, [axis, axis + 2]] = extent - boxes[:, [axis + 2, axis]]
        points[..., axis] = np.where(points[..., 2] > 0, extent - points[..., axis], 0)
        points = points[:, _SWAPPED]
    if rng.random() < 0.5:
        frame = frame[rng.permutation(3)]
    gain, shift = rng.uniform(0.75, 1.25), rng.uniform(-0.1, 0.1)
    image = torch.from_numpy(np.ascontiguousarray(frame)).float().div_(255)
    image = image.sub_(0.5).mul_(gain).add_(0.5 + shift).clamp_(0, 1)
    target = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(sample.labels)}
    if task == "masks":
        target["masks"] = torch.from_numpy(np.ascontiguousarray(masks))
    else:
        target["keypoints"] = torch.from_numpy(np.ascontiguousarray(points))
    return image, target


def batches(
    samples: list[Sample], size: int, seed: int, task: str
) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Endless shuffled batches: (images, targets), as torchvision's detectors take them."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(samples))
        for start in range(0, len(order) - size + 1, size):
            pairs = [augment(samples[i], rng, task) for i in order[start : start + size]]
            yield [image for image, _ in pairs], [target for _, target in pairs]


def _in_bfloat16(module: nn.Module) -> None:
    """Let a module compute in bfloat16 and hand on float32, so that boxes stay exact."""
    forward: Callable[..., Any] = module.forward

    def wrapped(*inputs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            out = forward(*inputs)
        if isinstance(out, dict):
            return {name: value.float() for name, value in out.items()}
        if isinstance(out, tuple):
            return tuple([v.float() for v in o] if isinstance(o, list) else o.float() for o in out)
        return out.float()

    module.forward = wrapped


def _factor(step: int, steps: int) -> float:
    """The learning rate's factor: a linear rise, then a cosine down to nearly 0."""
    rise = max(1, min(100, steps // 10))
    if step < rise:
        return (step + 1) / rise
    return 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def train(
    task: str,
    *,
    steps: int,
    seed: int = 0,
    batch: int = 8,
    lr: float = 1.5e-3,
    pictures: int = 3000,
    bfloat16: bool = True,
    start: Path | None = None,
    snapshot: Path | None = None,
) -> nn.Module:
    """Train one detector.

    Args:
        task: "masks" or "keypoints".
        steps: Optimiser steps.
        seed: Of the weights, the pictures and their order.
        batch: Pictures per step.
        lr: AdamW's highest learning rate.
        pictures: How many pictures to draw; they are reused, flipped and recoloured.
        bfloat16: Compute the convolutions in bfloat16 (faster on CPUs with AVX512-BF16 or AMX).
        start: Weight file of the other detector, to begin with its backbone, FPN and RPN.
        snapshot: Weight file to write every 500 steps, so that an interrupted run leaves one.

    Returns:
        The detector with the moving average of its weights, in evaluation mode.
    """
    torch.manual_seed(seed)
    build = mask_rcnn if task == "masks" else keypoint_rcnn
    model, average = build(), build()
    if start is not None:
        given = torch.load(start, weights_only=True)
        shared = {k: v for k, v in given.items() if k.startswith(("backbone.", "rpn."))}
        model.load_state_dict(shared, strict=False)
    average.load_state_dict(model.state_dict())
    model.train()
    if bfloat16:
        heads = model.roi_heads
        for module in (model.backbone, model.rpn.head, heads.box_head):
            _in_bfloat16(module)
        for name in ("mask_head", "mask_predictor", "keypoint_head", "keypoint_predictor"):
            if getattr(heads, name, None) is not None:
                _in_bfloat16(getattr(heads, name))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_factor, steps=steps))

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        refresh_per_second=1,
    )
    with bar:
        drawing = bar.add_task("drawing pictures", total=pictures, note="")
        samples = []
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            make = partial(make_sample, seed=seed, task=task)
            for sample in pool.map(make, range(pictures), chunksize=25):
                samples.append(sample)
                bar.advance(drawing)
        training = bar.add_task("training", total=steps, note="")
        smooth: dict[str, float] = {}
        stream = batches(samples, batch, seed, task)
        for step in range(steps):
            images, targets = next(stream)
            losses: dict[str, Tensor] = model(images, targets)
            total = torch.stack([_WEIGHTS.get(k, 1.0) * v for k, v in losses.items()]).sum()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(total)
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            _average(average, model, min(0.997, (step + 1) / (step + 10)))
            for name, value in losses.items():
                short = name.removeprefix("loss_")
                smooth[short] = 0.98 * smooth.get(short, value.item()) + 0.02 * value.item()
            note = " ".join(f"{name} {value:.3f}" for name, value in smooth.items())
            bar.update(training, advance=1, note=note)
            if snapshot is not None and step % 500 == 499:
                save(average, snapshot)
            if not bar.console.is_terminal and step % 100 == 99:
                print(f"step {step + 1}/{steps} {note}", flush=True)
    trained: nn.Module = average.eval()
    return trained


_WEIGHTS = {"loss_box_reg": 2.0, "loss_rpn_box_reg": 2.0, "loss_keypoint": 1.0}


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the average's weights and statistics towards the model's, in place."""
    mine, theirs = average.state_dict(), model.state_dict()
    floating = [name for name, value in mine.items() if value.is_floating_point()]
    torch._foreach_lerp_([mine[n] for n in floating], [theirs[n] for n in floating], 1 - keep)
    for name in mine.keys() - set(floating):
        mine[name].copy_(theirs[name])


def save(model: nn.Module, path: Path) -> None:
    """Write the state dict in fp16: whole or not at all."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    part.replace(path)


def load(task: str, path: Path) -> nn.Module:
    """The detector of a task with the weights of a file, in evaluation mode and float32."""
    model: nn.Module = mask_rcnn() if task == "masks" else keypoint_rcnn()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


@torch.inference_mode()
def detect(model: nn.Module, frames: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
    """COCO result entries of frames, uint8 (H, W, 3) in BGR, whose image ids are 1, 2, ..."""
    out: list[dict[str, Any]] = []
    for image_id, frame in enumerate(frames, 1):
        rgb = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1))
        (found,) = model([torch.from_numpy(rgb).float() / 255])
        for i, (x1, y1, x2, y2) in enumerate(found["boxes"].tolist()):
            entry = {
                "image_id": image_id,
                "category_id": int(found["labels"][i]),
                "score": float(found["scores"][i]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
            if "masks" in found:
                entry["segmentation"] = data.encode((found["masks"][i, 0] >= 0.5).numpy())
            if "keypoints" in found:
                entry["keypoints"] = found["keypoints"][i].flatten().tolist()
            out.append(entry)
    return out


def score(task: str, path: Path, *, seed: int = 0, pictures: int = 200) -> dict[str, float]:
    """COCO metrics of a weight file on the first pictures of the "val" split."""
    from maskrt.calibration.coco_eval import evaluate

    points = task == "keypoints"
    frames, truth = data.dataset(pictures, split="val", seed=seed, keypoint_task=points)
    kinds = ("bbox", "keypoints") if points else ("bbox", "segm")
    return evaluate(truth, detect(load(task, path), frames), kinds)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m maskrt.examples.shapes.train",
        description="Train a tiny detector from scratch on procedural pictures, on a CPU, "
        "and measure it on 200 held-out ones.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--task",
        choices=("masks", "keypoints"),
        required=True,
        help="masks: Mask R-CNN on six classes; keypoints: Keypoint R-CNN on three",
    )
    parser.add_argument("--out", type=Path, required=True, help="weight file to write (.pth)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, pictures and order")
    parser.add_argument("--steps", type=int, default=2200, help="optimiser steps")
    parser.add_argument(
        "--start", type=Path, help="weight file of the other task: begin with its backbone"
    )
    parser.add_argument("--batch", type=int, default=8, help="pictures per step")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument("--pictures", type=int, default=3000, help="training pictures to draw")
    parser.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compute convolutions in bfloat16",
    )
    parser.add_argument(
        "--only-score", action="store_true", help="measure the existing file --out, do not train"
    )
    args = parser.parse_args(argv)
    if not args.only_score:
        began, busy = time.monotonic(), time.process_time()
        model = train(
            args.task,
            steps=args.steps,
            seed=args.seed,
            batch=args.batch,
            lr=args.lr,
            pictures=args.pictures,
            bfloat16=args.bfloat16,
            start=args.start,
            snapshot=args.out,
        )
        save(model, args.out)
        wall, cpu = (time.monotonic() - began) / 60, (time.process_time() - busy) / 60
        print(f"trained in {wall:.1f} min ({cpu:.1f} min of CPU time), saved {args.out}")
    for name, value in score(args.task, args.out).items():
        print(f"{name:20} {value:.3f}")


if __name__ == "__main__":
    main()

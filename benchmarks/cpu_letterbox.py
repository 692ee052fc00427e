"""Letterbox on the CPU: from a uint8 BGR frame to a float32 RGB canvas.

- maskrt: the native operator.
- OpenCV + NumPy: ``cv2.resize`` of the bytes, then normalised and transposed into a canvas that was
  set to zero: one pass for each step.
- blobFromImage: OpenCV's function that resizes, subtracts the mean, divides and transposes in C++,
  but divides all three channels by one number; then copied into the canvas.
- torchvision: ``GeneralizedRCNNTransform`` as ``model([image])`` runs it, with the conversion to
  the float image that it takes. It pads to a multiple of 32, here to less than the canvas.

All give content of the same size. The difference is the largest one from torchvision's pixels, in
units of the normalised image; OpenCV's comes from rounding to bytes after the resize,
blobFromImage's also from its one divisor.

A second case does as detectron2: from a BGR frame to a BGR canvas, by Pillow's antialiased resize.

- maskrt: the native operator with ``resize="detectron2"``.
- Pillow + NumPy: ``Image.resize``, which uses one thread, then normalised and transposed into a
  canvas that was set to zero; what detectron2's DefaultPredictor does, with NumPy for torch.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from benchmarks.timing import Case
from maskrt.plugins import ops

MEAN = (0.485, 0.456, 0.406)  # of torchvision's detectors; RGB, on the scale 0 to 1
STD = (0.229, 0.224, 0.225)
BGR_MEAN = (103.53, 116.28, 123.675)  # of detectron2's, whose weights have absorbed the divisor
BGR_STD = (1.0, 1.0, 1.0)
Run = Callable[[], NDArray[np.float32]]


def native(
    frame: NDArray[np.uint8], canvas: tuple[int, int], min_size: int, max_size: int, threads: int
) -> Run:
    """The native operator; allocates its result each time, as the others do."""
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))

    def run() -> NDArray[np.float32]:
        image, _, _ = ops.letterbox(
            frame[None],
            canvas,
            min_size=min_size,
            max_size=max_size,
            mean=mean,
            std=std,
            swap_channels=True,
            threads=threads,
        )
        pixels: NDArray[np.float32] = image[0]
        return pixels

    return run


def opencv_numpy(
    frame: NDArray[np.uint8], canvas: tuple[int, int], content: tuple[int, int]
) -> Run:
    """Resize by OpenCV, the rest by NumPy."""
    mean, std = (np.array(values, np.float32) * 255 for values in (MEAN, STD))
    rows, columns = content

    def run() -> NDArray[np.float32]:
        pixels = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_LINEAR)
        normalized = (pixels[..., ::-1].astype(np.float32) - mean) / std
        image = np.zeros((3, *canvas), np.float32)
        image[:, :rows, :columns] = normalized.transpose(2, 0, 1)
        return image

    return run


def opencv_blob(frame: NDArray[np.uint8], canvas: tuple[int, int], content: tuple[int, int]) -> Run:
    """Resize, mean, one divisor and transpose by OpenCV."""
    rows, columns = content
    mean = [255 * value for value in MEAN]
    factor = 1 / (255 * statistics.mean(STD))

    def run() -> NDArray[np.float32]:
        blob = cv2.dnn.blobFromImage(frame, factor, (columns, rows), mean, swapRB=True)
        image = np.zeros((3, *canvas), np.float32)
        image[:, :rows, :columns] = blob[0]
        return image

    return run


def torchvision_transform(frame: NDArray[np.uint8], min_size: int, max_size: int) -> Run:
    """torchvision as its users call it."""
    transform = GeneralizedRCNNTransform(min_size, max_size, list(MEAN), list(STD)).eval()

    def run() -> NDArray[np.float32]:
        image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).float().div_(255)
        with torch.inference_mode():
            images, _ = transform([image])
        pixels: NDArray[np.float32] = images.tensors[0].numpy()
        return pixels

    return run


def native_detectron2(
    frame: NDArray[np.uint8], canvas: tuple[int, int], min_size: int, max_size: int, threads: int
) -> Run:
    """The native operator by detectron2's rule; allocates its result each time."""

    def run() -> NDArray[np.float32]:
        image, _, _ = ops.letterbox(
            frame[None],
            canvas,
            min_size=min_size,
            max_size=max_size,
            mean=BGR_MEAN,
            std=BGR_STD,
            resize="detectron2",
            threads=threads,
        )
        pixels: NDArray[np.float32] = image[0]
        return pixels

    return run


def pillow_numpy(
    frame: NDArray[np.uint8], canvas: tuple[int, int], content: tuple[int, int]
) -> Run:
    """Resize by Pillow, the rest by NumPy."""
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (BGR_MEAN, BGR_STD))
    rows, columns = content

    def run() -> NDArray[np.float32]:
        resized = Image.fromarray(frame).resize((columns, rows), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized).transpose(2, 0, 1).astype(np.float32, order="C")
        image = np.zeros((3, *canvas), np.float32)
        image[:, :rows, :columns] = (pixels - mean) / std
        return image

    return run


def cases(threads: int) -> list[Case]:
    """1080p to 800x1344, the default sizes of torchvision and of detectron2."""
    return [as_torchvision(threads), as_detectron2(threads)]


def as_torchvision(threads: int) -> Case:
    """The first case."""
    low, high, canvas = 800, 1333, (800, 1344)
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    _, _, sizes = ops.letterbox(
        frame[None], canvas, min_size=low, max_size=high, mean=MEAN, std=STD
    )
    rows, columns = (int(side) for side in sizes[0])
    candidates = {
        "maskrt": native(frame, canvas, low, high, threads),
        "OpenCV + NumPy": opencv_numpy(frame, canvas, (rows, columns)),
        "blobFromImage": opencv_blob(frame, canvas, (rows, columns)),
        "torchvision": torchvision_transform(frame, low, high),
    }
    expected = candidates["torchvision"]()[:, :rows, :columns]

    def difference(image: NDArray[np.float32]) -> str:
        return f"{np.abs(image[:, :rows, :columns] - expected).max():.1e}"

    title = f"Letterbox: 1920x1080 to {columns}x{rows} on 1344x800, uint8 to float32"
    # blobFromImage gives other numbers
    return Case(title, candidates, ("OpenCV + NumPy", "torchvision"), difference)


def as_detectron2(threads: int) -> Case:
    """The second case."""
    low, high, canvas = 800, 1333, (800, 1344)
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    _, _, sizes = ops.letterbox(
        frame[None],
        canvas,
        min_size=low,
        max_size=high,
        mean=BGR_MEAN,
        std=BGR_STD,
        resize="detectron2",
    )
    rows, columns = (int(side) for side in sizes[0])
    candidates = {
        "maskrt": native_detectron2(frame, canvas, low, high, threads),
        "Pillow + NumPy": pillow_numpy(frame, canvas, (rows, columns)),
    }
    expected = candidates["Pillow + NumPy"]()

    def difference(image: NDArray[np.float32]) -> str:
        return f"{np.abs(image - expected).max():.1e}"

    title = f"Letterbox as detectron2: 1920x1080 to {columns}x{rows} on 1344x800, uint8 to float32"
    return Case(title, candidates, ("Pillow + NumPy",), difference)

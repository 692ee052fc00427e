"""What users pass as a frame, turned into the one form that models take: uint8 [H, W, 3]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import FrameError

Frame = NDArray[np.uint8]

EXPECTED = "a NumPy array [height, width, 3] of uint8 in BGR order, as cv2.imread gives"


def to_bgr(frame: Any) -> Frame:
    """A contiguous uint8 array [H, W, 3] of the frame; the frame itself where it is one already.

    Shapes: ``[H, W, 3]`` as it is; ``[H, W]`` and ``[H, W, 1]`` are grey and become three equal
    channels; of ``[H, W, 4]`` the last channel (alpha) is dropped. The order of the colours is
    never changed: BGR, or whatever ``spec.canvas.frame_order`` of the model says.

    Values: ``uint8`` as it is. ``uint16`` is divided by 257, so that 65535 becomes 255. Floats are
    taken as 0 to 1 where no value exceeds 1, and as 0 to 255 otherwise. Other integers must be
    from 0 to 255. All are rounded to the nearest.

    Raises:
        FrameError: for anything else; it says what was found and what to do.
    """
    pixels = _channels(_array(frame))
    return np.ascontiguousarray(_bytes(pixels))


def _array(frame: Any) -> NDArray[Any]:
    if frame is None:
        raise FrameError(
            f"the frame is None, which is what cv2.imread gives for a file that is missing or no "
            f"image: check the path; expected {EXPECTED}"
        )
    if isinstance(frame, np.ndarray):
        return frame
    name = f"{type(frame).__module__}.{type(frame).__qualname__}"
    if isinstance(frame, (str, bytes)) or hasattr(frame, "__fspath__"):
        advice = "read it with cv2.imread or maskrt.runtime.open_source"
    elif name.startswith("torch."):
        advice = "convert it with frame.cpu().numpy(), channels last"
    elif name.startswith("PIL."):
        advice = "convert it with numpy.asarray(image.convert('RGB'))[..., ::-1]"
    else:
        advice = "convert it with numpy.asarray"
    raise FrameError(f"found a frame of type {name}, expected {EXPECTED}: {advice}")


def _channels(array: NDArray[Any]) -> NDArray[Any]:
    found = f"found a frame of shape {list(array.shape)}, expected {EXPECTED}"
    if array.size == 0:
        raise FrameError(f"{found}: it is empty, check the crop or the read that made it")
    if array.ndim == 4:
        raise FrameError(f"{found}: for several frames at once, use Detector.batch(frames)")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise FrameError(f"{found}: check its dimensions")
    channels = array.shape[2]
    if channels in (3, 4):
        return array[:, :, :3]
    if channels == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[0] in (1, 3, 4):
        raise FrameError(
            f"{found}: its channels seem to come first, use frame.transpose(1, 2, 0)"
            " (and [..., ::-1] if they are RGB)"
        )
    raise FrameError(f"{found}: 1 (grey), 3 or 4 channels can be read, not {channels}")


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise FrameError(
            f"found a frame of dtype {array.dtype}, expected {EXPECTED}: "
            "convert it with frame.astype(numpy.uint8)"
        )
    low, high = float(array.min()), float(array.max())  # NaN shows up in both
    if not (low >= 0 and high <= 255):
        raise FrameError(
            f"found a {array.dtype} frame with values from {low:g} to {high:g}, expected "
            + ("0 to 1 or 0 to 255" if array.dtype.kind == "f" else "0 to 255")
            + ": undo the normalisation (models normalise by themselves) or scale it"
        )
    if array.dtype.kind == "f":
        array = np.rint(array.astype(np.float32) * (255.0 if high <= 1 else 1.0))
    return array.astype(np.uint8)

"""What was found in one frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MissingDependencyError
from maskrt.runtime import masks as pasting
from maskrt.runtime import rle
from maskrt.runtime.masks import MaskCrop
from maskrt.spec import ModelSpec

if TYPE_CHECKING:
    import supervision

Selection = int | slice | list[int] | list[bool] | NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The ``n`` objects found in one frame, best first; field names follow torchvision.

    Arrays are converted to the dtypes below. Treat them as read-only: masks are pasted once and
    kept. ``len``, iteration (over ``Detections`` of one object each) and selection by number,
    slice, boolean or index array work: ``result[result.scores > 0.9]``.

    Raises:
        ValueError: if the arrays do not fit each other, or masks or keypoints the spec.
    """

    boxes: NDArray[np.float32]
    """``(n, 4)``, xyxy in frame pixels."""
    scores: NDArray[np.float32]
    """``(n,)``, from 0 to 1."""
    labels: NDArray[np.int64]
    """``(n,)``, positions in ``spec.labels``."""
    mask_probs: NDArray[np.float32] | None = None
    """``(n, m, m)``, the mask head's probabilities within each box; None without a mask head."""
    keypoints: NDArray[np.float32] | None = None
    """``(n, K, 3)``, x and y in frame pixels and the score; None without a keypoint head."""
    frame_size: tuple[int, int] = field(kw_only=True)
    """``(height, width)`` of the frame."""
    spec: ModelSpec = field(kw_only=True)
    """Of the model that found the objects."""

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32)
        n = boxes.shape[0] if boxes.ndim else 0
        self._set("boxes", boxes, (n, 4))
        self._set("scores", np.asarray(self.scores, np.float32), (n,))
        labels = np.asarray(self.labels)
        if labels.size and labels.dtype.kind not in "iu":
            raise ValueError(f"labels: found {labels.dtype}, expected whole numbers")
        self._set("labels", labels.astype(np.int64), (n,))
        if self.mask_probs is not None:
            if self.spec.mask is None:
                raise ValueError("mask_probs: found masks, but the model's spec has no mask head")
            probs = np.asarray(self.mask_probs, np.float32)
            self._set("mask_probs", probs, (n, *self.spec.mask.size))
        if self.keypoints is not None:
            if self.spec.keypoint is None:
                raise ValueError(
                    "keypoints: found keypoints, but the model's spec has no keypoint head"
                )
            points = np.asarray(self.keypoints, np.float32)
            self._set("keypoints", points, (n, len(self.spec.keypoint.names), 3))
        height, width = (int(side) for side in self.frame_size)
        if height < 1 or width < 1:
            raise ValueError(f"frame_size: found {self.frame_size}, expected (height, width)")
        object.__setattr__(self, "frame_size", (height, width))

    def _set(self, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise ValueError(f"{name}: found shape {array.shape}, expected {shape}")
        object.__setattr__(self, name, array)

    @classmethod
    def empty(cls, frame_size: tuple[int, int], spec: ModelSpec) -> Detections:
        """No object at all; with empty masks and keypoints where the model has such heads."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            np.zeros((0, *spec.mask.size), np.float32) if spec.mask else None,
            np.zeros((0, len(spec.keypoint.names), 3), np.float32) if spec.keypoint else None,
            frame_size=frame_size,
            spec=spec,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, selection: Selection) -> Detections:
        if isinstance(selection, (int, np.integer)) and not isinstance(selection, bool):
            if not -len(self) <= selection < len(self):
                raise IndexError(f"detection {selection} of {len(self)}")
            selection = np.array([selection])
        elif isinstance(selection, list) and not selection:
            selection = np.zeros(0, np.int64)  # numpy takes an empty list for floats
        elif not isinstance(selection, (slice, list, np.ndarray)):
            raise TypeError(
                f"found {type(selection).__name__}, expected a number, a slice, or an array of "
                "numbers or booleans"
            )
        return Detections(
            self.boxes[selection],
            self.scores[selection],
            self.labels[selection],
            None if self.mask_probs is None else self.mask_probs[selection],
            None if self.keypoints is None else self.keypoints[selection],
            frame_size=self.frame_size,
            spec=self.spec,
        )

    def __iter__(self) -> Iterator[Detections]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.frame_size
        first = zip(self.class_names[:5], self.scores[:5], strict=True)
        found = ", ".join(f"{name} {score:.2f}" for name, score in first)
        more = ", …" if len(self) > 5 else ""
        return f"<Detections: {len(self)} in {width}x{height}: {found}{more}>"

    @property
    def class_names(self) -> list[str]:
        """``n`` names; ``class 7`` for a label that the spec does not name."""
        names = self.spec.labels
        return [
            names[label] if 0 <= label < len(names) else f"class {label}"
            for label in self.labels.tolist()
        ]

    @cached_property
    def mask_crops(self) -> list[MaskCrop] | None:
        """For each object ``(x, y, mask)``: ``mask`` is bool ``(h, w)``, with its top left pixel at
        column x and row y of the frame; outside of it there is no mask. None without a mask head.

        Follows ``spec.mask.paste``; see ``maskrt.runtime.masks``.
        """
        if self.mask_probs is None or self.spec.mask is None:
            return None
        rule = self.spec.mask
        return pasting.paste_crops(
            self.mask_probs, self.boxes, self.frame_size, rule.paste, rule.threshold
        )

    @cached_property
    def masks(self) -> NDArray[np.bool_] | None:
        """Bool ``(n, H, W)``, pasted when first asked for; None without a mask head.

        Takes n * H * W bytes, 200 MB for 100 objects in a 1080p frame: ``mask_crops`` holds the
        same in a fraction.
        """
        crops = self.mask_crops
        return None if crops is None else pasting.to_dense(crops, self.frame_size)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO's result format, one dict per object, ready for ``json.dump``.

        ``bbox`` is ``[x, y, width, height]``; ``category_id`` is the label (map it where your
        annotations number their classes in another way); ``segmentation`` is a run-length code with
        ``counts`` as a string; ``keypoints`` is ``[x, y, 2, …]``.
        """
        size = list(self.frame_size)
        crops, keypoints = self.mask_crops, self.keypoints
        wide = self.boxes.astype(np.float64)
        xywh = np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)
        results: list[dict[str, Any]] = []
        for i in range(len(self)):
            result: dict[str, Any] = {
                "image_id": image_id,
                "category_id": int(self.labels[i]),
                "bbox": xywh[i].tolist(),
                "score": float(self.scores[i]),
            }
            if crops is not None:
                counts = rle.encode(crops[i], self.frame_size)
                result["segmentation"] = {"size": size, "counts": counts}
            if keypoints is not None:
                points = keypoints[i].astype(np.float64)
                points[:, 2] = 2  # "labelled and visible": COCO's results know nothing else
                result["keypoints"] = points.ravel().tolist()
            results.append(result)
        return results

    def to_supervision(self) -> supervision.Detections:
        """As ``supervision.Detections``, with dense masks.

        ``data["class_name"]`` holds the names, ``data["keypoints"]`` the keypoints if there are.

        Raises:
            MissingDependencyError: without the package supervision.
        """
        try:
            import supervision
        except ImportError as error:
            if error.name != "supervision":
                raise
            raise MissingDependencyError("supervision", "dev") from None
        data: dict[str, Any] = {"class_name": np.array(self.class_names, dtype=np.str_)}
        if self.keypoints is not None:
            data["keypoints"] = self.keypoints
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.labels,
            data=data,
        )

    def draw(self, frame: Any, **options: Any) -> NDArray[np.uint8]:
        """A copy of the frame with the objects drawn in; options as ``maskrt.runtime.draw.draw``.

        Args:
            frame: the one that was given to the detector, of any kind that the detector takes.
            **options: what to draw, and how.

        Returns:
            uint8 ``(H, W, 3)``.

        Raises:
            FrameError: if it cannot be read as an image.
            ValueError: if it has another size than ``frame_size``.
        """
        from maskrt.runtime.draw import draw

        return draw(frame, self, **options)

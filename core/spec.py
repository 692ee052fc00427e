"""ModelSpec: everything that a runtime must know about a model, and nothing of its weights.

It travels with the model: as JSON in the metadata of ``model.onnx`` and in the name of a TensorRT
network, so that no file needs a side file.

Conventions, here and in every interface of maskrt: boxes are ``xyxy`` in pixels, pixel ``(0, 0)``
covers the square from 0.0 to 1.0; sizes and shapes are ``(height, width)``; "canvas" is the static
input of the network, "content" the part of it that the resized frame covers (top left).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from maskrt.codec import from_plain, to_plain
from maskrt.errors import SpecError

SCHEMA_VERSION = 1
METADATA_KEY = "maskrt.spec"
DOMAIN = "maskrt"  # of the canonical operators
DOMAIN_VERSION = 1

ChannelOrder = Literal["bgr", "rgb"]
Convention = Literal["torchvision", "detectron2"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
QUANTISED: tuple[Precision, ...] = ("int8", "fp8")
"""Of calibrated models: a part of the layers has it, the others a higher precision."""
DType = Literal["uint8", "int32", "float32"]
Box = tuple[float, float, float, float]


def _check(ok: bool, what: str, found: object, expected: str) -> None:
    if not ok:
        raise SpecError(f"{what}: found {found!r}, expected {expected}")


def _finite(what: str, *values: float) -> None:
    _check(all(math.isfinite(v) for v in values), what, values, "finite numbers")


def _probability(what: str, value: float) -> None:
    _check(0.0 <= value <= 1.0, what, value, "a number from 0 to 1")


@dataclass(frozen=True)
class CanvasSpec:
    """The static input of the network and how a frame is brought onto it.

    A frame of ``(H, W)`` is resized by ``min(min_size / min(H, W), max_size / max(H, W),
    height / H, width / W)`` (the first two only where given), normalised, and zero padded right and
    bottom.
    """

    height: int
    width: int
    stride: int = 32
    """The canvas is a multiple of it: the coarsest feature map must have whole cells."""
    min_size: int | None = None
    """Upper bound of the content's short side, in pixels; None: as the canvas allows."""
    max_size: int | None = None
    """Upper bound of the content's long side, in pixels; None: as the canvas allows."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted from pixel values (0 to 255), in the network's channel order."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divides what is left, in the network's channel order."""
    channel_order: ChannelOrder = "rgb"
    """What the network was trained on."""
    frame_order: ChannelOrder = "bgr"
    """What the frames hold (OpenCV's order by default)."""
    resize: Convention = "torchvision"
    """Whose rule resizes: torchvision rounds the content's size down and interpolates bilinearly;
    detectron2 rounds it to the nearest and resizes as Pillow does, with antialiasing, to uint8."""

    def __post_init__(self) -> None:
        _check(self.stride > 0, "canvas.stride", self.stride, "a positive number")
        for name in ("height", "width"):
            size = getattr(self, name)
            _check(
                size > 0 and size % self.stride == 0,
                f"canvas.{name}",
                size,
                f"a positive multiple of the stride, {self.stride}",
            )
        for name in ("min_size", "max_size"):
            limit = getattr(self, name)
            _check(limit is None or limit > 0, f"canvas.{name}", limit, "a positive number or none")
        _finite("canvas.mean", *self.mean)
        _finite("canvas.std", *self.std)
        _check(all(s > 0 for s in self.std), "canvas.std", self.std, "positive numbers")


@dataclass(frozen=True)
class BatchSpec:
    """Frames per run. ``min == max``: the batch is fixed in the graph."""

    min: int = 1
    opt: int = 1
    max: int = 1

    def __post_init__(self) -> None:
        _check(
            1 <= self.min <= self.opt <= self.max,
            "batch",
            (self.min, self.opt, self.max),
            "1 <= min <= opt <= max",
        )

    @property
    def dynamic(self) -> bool:
        """Whether the graph takes several batch sizes."""
        return self.min != self.max


@dataclass(frozen=True)
class RPNLevelSpec:
    """One feature map of the region proposal network."""

    grid: tuple[int, int]
    """Cells, ``(rows, columns)``."""
    stride: tuple[int, int]
    """Canvas pixels from cell to cell, ``(y, x)``."""
    anchors: tuple[Box, ...]
    """Anchors of the cell at the origin, xyxy in canvas pixels."""
    top_k: int
    """Candidates taken from this level before NMS."""

    def __post_init__(self) -> None:
        _check(min(self.grid) > 0, "rpn.levels.grid", self.grid, "positive numbers")
        _check(min(self.stride) > 0, "rpn.levels.stride", self.stride, "positive numbers")
        _check(len(self.anchors) > 0, "rpn.levels.anchors", self.anchors, "at least one anchor")
        for box in self.anchors:
            _finite("rpn.levels.anchors", *box)
        total = self.grid[0] * self.grid[1] * len(self.anchors)
        _check(
            1 <= self.top_k <= total, "rpn.levels.top_k", self.top_k, f"1 to all {total} anchors"
        )


@dataclass(frozen=True)
class RPNSpec:
    """From objectness and deltas to RoIs."""

    levels: tuple[RPNLevelSpec, ...]
    num_rois: int
    """RoIs that leave for each frame (zero padded)."""
    nms_threshold: float = 0.7
    score_threshold: float = 0.0
    """Candidates whose objectness (after the sigmoid) is lower are dropped."""
    min_size: float = 1e-3
    """Candidates with a side below this, in canvas pixels, are dropped."""
    delta_weights: Box = (1.0, 1.0, 1.0, 1.0)
    delta_clip: float = math.log(1000.0 / 16)
    """Upper bound of the log-size deltas."""

    def __post_init__(self) -> None:
        _check(len(self.levels) > 0, "rpn.levels", self.levels, "at least one level")
        total = sum(level.top_k for level in self.levels)
        _check(1 <= self.num_rois <= total, "rpn.num_rois", self.num_rois, f"1 to {total}")
        _probability("rpn.nms_threshold", self.nms_threshold)
        _probability("rpn.score_threshold", self.score_threshold)
        _check(self.min_size >= 0, "rpn.min_size", self.min_size, "a number of at least 0")
        _check(min(self.delta_weights) > 0, "rpn.delta_weights", self.delta_weights, "above 0")
        _finite("rpn.delta_clip", self.delta_clip, self.min_size)


@dataclass(frozen=True)
class RoIPoolSpec:
    """Multi-level RoIAlign. One level is the plain RoIAlign of C4 models.

    A RoI of area ``a`` goes to level ``floor(canonical_level + log2(sqrt(a) / canonical_size +
    log_epsilon) + epsilon)``, clamped to ``min_level … min_level + len(spatial_scales) - 1`` (FPN
    paper, eq. 1).
    """

    output_size: tuple[int, int]
    features: tuple[int, ...]
    """Which of the backbone's feature maps are read, by position, fine to coarse."""
    spatial_scales: tuple[float, ...]
    """Feature cells per canvas pixel, for each map."""
    sampling_ratio: int
    """Samples per bin and axis; 0: ``ceil(bin size)``, RoI by RoI."""
    aligned: bool
    """True: half a cell is subtracted (detectron2's ROIAlignV2); False: torchvision's pooler."""
    min_level: int
    canonical_size: float = 224.0
    canonical_level: int = 4
    epsilon: float = 1e-6
    """Added to the level (torchvision)."""
    log_epsilon: float = 0.0
    """Added within the logarithm (detectron2)."""

    def __post_init__(self) -> None:
        _check(min(self.output_size) > 0, "pool.output_size", self.output_size, "positive numbers")
        _check(
            1 <= len(self.features) <= 8 and min(self.features) >= 0,
            "pool.features",
            self.features,
            "1 to 8 positions of feature maps",
        )
        _check(
            len(self.spatial_scales) == len(self.features),
            "pool.spatial_scales",
            self.spatial_scales,
            f"one for each of {len(self.features)} feature maps",
        )
        _finite("pool.spatial_scales", *self.spatial_scales)
        _check(min(self.spatial_scales) > 0, "pool.spatial_scales", self.spatial_scales, "above 0")
        _check(self.sampling_ratio >= 0, "pool.sampling_ratio", self.sampling_ratio, "0 or more")
        _finite("pool.epsilon", self.epsilon, self.log_epsilon, self.canonical_size)
        _check(self.canonical_size > 0, "pool.canonical_size", self.canonical_size, "above 0")


@dataclass(frozen=True)
class DetectionSpec:
    """From class logits and box deltas to detections."""

    max_detections: int
    """Detections that leave for each frame (zero padded)."""
    score_threshold: float = 0.05
    """Default of the input ``score_threshold``: scores must be above it."""
    nms_threshold: float = 0.5
    """Default of the input ``nms_threshold``: IoU above it suppresses, class by class."""
    min_size: float = 1e-2
    """Boxes with a side below this, in canvas pixels, are dropped."""
    delta_weights: Box = (10.0, 10.0, 5.0, 5.0)
    delta_clip: float = math.log(1000.0 / 16)
    background: Literal["first", "last"] = "first"
    """Where the background stands among the classes (torchvision: first)."""
    class_agnostic: bool = False
    """One box for each RoI instead of one for each class."""

    def __post_init__(self) -> None:
        _check(
            self.max_detections >= 1, "detection.max_detections", self.max_detections, "1 or more"
        )
        _probability("detection.score_threshold", self.score_threshold)
        _probability("detection.nms_threshold", self.nms_threshold)
        _check(self.min_size >= 0, "detection.min_size", self.min_size, "a number of at least 0")
        _check(
            min(self.delta_weights) > 0, "detection.delta_weights", self.delta_weights, "above 0"
        )
        _finite("detection.delta_clip", self.delta_clip, self.min_size)


@dataclass(frozen=True)
class MaskSpec:
    """The mask head."""

    pool: RoIPoolSpec
    size: tuple[int, int]
    """Of a predicted mask, ``(rows, columns)``."""
    paste: Convention = "torchvision"
    """Whose rule brings a mask into the frame: the two differ by up to a pixel at the edges."""
    threshold: float = 0.5
    """A pixel belongs to the object where the mask's probability is above it."""
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        _check(min(self.size) > 0, "mask.size", self.size, "positive numbers")
        _probability("mask.threshold", self.threshold)


@dataclass(frozen=True)
class KeypointSpec:
    """The keypoint head."""

    pool: RoIPoolSpec
    heatmap: tuple[int, int]
    """Of a predicted heatmap, ``(rows, columns)``."""
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...] = ()
    """Pairs of positions in ``names`` to be joined in drawings."""
    decode: Convention = "torchvision"

    def __post_init__(self) -> None:
        _check(min(self.heatmap) > 0, "keypoint.heatmap", self.heatmap, "positive numbers")
        _check(len(self.names) > 0, "keypoint.names", self.names, "at least one name")
        ends = [i for pair in self.skeleton for i in pair]
        _check(
            all(0 <= i < len(self.names) for i in ends),
            "keypoint.skeleton",
            self.skeleton,
            f"positions below {len(self.names)}",
        )


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor of the model's interface. A dimension is a number or a symbol."""

    name: str
    dtype: DType
    shape: tuple[str, ...]
    """Numbers as decimal strings, dynamic dimensions as their symbol: ``("B", "100", "4")``."""

    def __post_init__(self) -> None:
        _check(self.name != "", "output name", self.name, "a name")
        for dim in self.shape:
            _check(
                dim.isdecimal() or dim.isidentifier(),
                f"shape of {self.name}",
                dim,
                "number or symbol",
            )


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from."""

    framework: Convention = "torchvision"
    model: str = ""
    """What was exported: the builder's or the class's name."""
    weights_sha256: str = ""
    """Of the parameters and buffers, in the order of the state dict."""
    tools: dict[str, str] = field(default_factory=dict)
    """Versions of what made the file, by package."""

    def __post_init__(self) -> None:
        hexadecimal = all(c in "0123456789abcdef" for c in self.weights_sha256)
        _check(
            hexadecimal and len(self.weights_sha256) in (0, 64),
            "provenance.weights_sha256",
            self.weights_sha256,
            "64 hexadecimal digits",
        )


@dataclass(frozen=True)
class ModelSpec:
    """What a runtime must know about a model; see the module's docstring for the conventions."""

    labels: tuple[str, ...]
    """Class names by label id. torchvision's models keep id 0 for the background; detectron2's have
    no label for it."""
    canvas: CanvasSpec
    rpn: RPNSpec
    box_pool: RoIPoolSpec
    detection: DetectionSpec
    mask: MaskSpec | None = None
    keypoint: KeypointSpec | None = None
    batch: BatchSpec = BatchSpec()
    precision: Precision = "fp32"
    calibration: dict[str, str] = field(default_factory=dict)
    """How an INT8 model was calibrated; empty without calibration."""
    provenance: Provenance = Provenance()
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check(
            self.schema_version == SCHEMA_VERSION,
            "schema_version",
            self.schema_version,
            f"{SCHEMA_VERSION} (the file is from another version of maskrt: export it again)",
        )
        _check(len(self.labels) > 0, "labels", self.labels, "at least one label")

    @property
    def classes(self) -> dict[int, str]:
        """Names by label id, of what can be detected: without the background."""
        first = 1 if self.detection.background == "first" else 0
        return dict(list(enumerate(self.labels))[first:])

    @property
    def task(self) -> Literal["boxes", "masks", "keypoints", "masks+keypoints"]:
        """What the model predicts beyond scores and labels."""
        if self.mask and self.keypoint:
            return "masks+keypoints"
        if self.mask:
            return "masks"
        return "keypoints" if self.keypoint else "boxes"

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs in order; all are padded to D with zeros beyond ``num_detections``.

        Boxes (xyxy) and keypoints (x, y, score) are in frame pixels, masks are probabilities.
        """
        batch = "B" if self.batch.dynamic else str(self.batch.max)
        detections = str(self.detection.max_detections)
        outputs = [
            TensorSpec("num_detections", "int32", (batch,)),
            TensorSpec("boxes", "float32", (batch, detections, "4")),
            TensorSpec("scores", "float32", (batch, detections)),
            TensorSpec("labels", "int32", (batch, detections)),
        ]
        if self.mask:
            rows, columns = map(str, self.mask.size)
            outputs.append(TensorSpec("masks", "float32", (batch, detections, rows, columns)))
        if self.keypoint:
            points = str(len(self.keypoint.names))
            outputs.append(TensorSpec("keypoints", "float32", (batch, detections, points, "3")))
        return tuple(outputs)

    def to_json(self, *, indent: int | None = None) -> str:
        """As JSON; compact unless ``indent`` is given. ``from_json`` gives an equal spec back."""
        separators = (",", ":") if indent is None else None
        return json.dumps(to_plain(self), indent=indent, separators=separators, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Reads what ``to_json`` wrote.

        Raises:
            SpecError: for anything that is not the JSON of a valid spec of this schema version.
        """
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"the model's spec is not JSON ({error})") from None
        if not isinstance(data, dict):
            raise SpecError(f"spec: found {type(data).__name__}, expected an object")
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise SpecError(
                f"spec: found schema version {version!r}, this maskrt reads {SCHEMA_VERSION}: "
                "export the model again, or install the maskrt that wrote it"
            )
        return from_plain(cls, data, "spec")

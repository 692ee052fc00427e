"""The canonical operators as ``torch.library`` custom ops, with torchvision's own arithmetic.

They are what the tracer sees, and the reference that the ONNX function bodies, the native operators
and the plugins are compared with. Shapes: B frames, R RoIs and D detections per frame, K candidates
of all levels, C classes. Everything that leaves is padded with zeros to a static size; a count says
how much of it is real. Semantics follow torchvision 0.29 (``models/detection`` and ``ops``), except
that its data-dependent shapes are gone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints
from torchvision.ops import boxes as box_ops
from torchvision.ops import roi_align

from maskrt.export import shortest_edge


@torch.library.custom_op("maskrt::letterbox", mutates_args=())
def letterbox(
    frames: Tensor,
    canvas: list[int],
    min_size: int,
    max_size: int,
    mean: list[float],
    std: list[float],
    swap_channels: bool,
    resize: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Brings frames onto the canvas as torchvision's or detectron2's transform does.

    Args:
        frames: uint8 [B, H, W, 3].
        canvas: (h, w).
        min_size: bound of the content's short side; 0: none.
        max_size: bound of the content's long side; 0: none.
        mean: subtracted from pixel values (0 to 255), in the network's channel order.
        std: divides what is left.
        swap_channels: whether the network wants the other order than the frames hold.
        resize: "torchvision" (GeneralizedRCNNTransform): content rounded down, bilinear;
            "detectron2" (ResizeShortestEdge, see ``maskrt.export.shortest_edge``): content rounded
            to nearest, pixels resized as Pillow does, to uint8, then normalised.

    Returns:
        image float32 [B, 3, h, w]; scale float32 [B, 2] (y, x), frame pixels per canvas pixel;
        content float32 [B, 2], its height and width in canvas pixels.
    """
    batch, height, width, _ = frames.shape
    if resize == "detectron2":
        rows, columns = shortest_edge.content_size(
            (height, width), (canvas[0], canvas[1]), min_size, max_size
        )
        frames = shortest_edge.resize(frames, (rows, columns))
    else:
        ratios = [canvas[0] / height, canvas[1] / width]
        if min_size:
            ratios.append(min_size / min(height, width))
        if max_size:
            ratios.append(max_size / max(height, width))
        # in float64 and rounded down, as interpolate(scale_factor=min(ratios)) does
        rows, columns = (max(1, math.floor(side * min(ratios))) for side in (height, width))

    pixels = frames.permute(0, 3, 1, 2).float()
    if swap_channels:
        pixels = pixels.flip(1)
    shape = (1, 3, 1, 1)
    pixels = (pixels - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)
    if resize != "detectron2":
        pixels = functional.interpolate(
            pixels, size=(rows, columns), mode="bilinear", align_corners=False
        )
    image = pixels.new_zeros(batch, 3, canvas[0], canvas[1])
    image[:, :, :rows, :columns] = pixels
    content = torch.tensor([rows, columns], dtype=torch.float32)
    scale = torch.tensor([height, width], dtype=torch.float32) / content
    return image, scale.expand(batch, 2).clone(), content.expand(batch, 2).clone()


@letterbox.register_fake
def _(frames: Tensor, canvas: list[int], *_: Any) -> tuple[Tensor, ...]:
    batch = frames.shape[0]
    pixels = torch.empty(batch, 3, canvas[0], canvas[1], device=frames.device)
    return pixels, pixels.new_empty(batch, 2), pixels.new_empty(batch, 2)


def decode(deltas: Tensor, boxes: Tensor, weights: list[float], clip: float) -> Tensor:
    """Box regression (R-CNN, appendix C), in torchvision's order of operations.

    Args:
        deltas: [..., 4], (dx, dy, dw, dh).
        boxes: [..., 4], xyxy.
        weights: that the deltas are divided by.
        clip: upper bound of dw and dh.

    Returns:
        boxes [..., 4], xyxy.
    """
    sizes = boxes[..., 2:] - boxes[..., :2]
    centers = boxes[..., :2] + 0.5 * sizes
    factors = torch.tensor(weights, dtype=torch.float32)
    shifts = deltas[..., :2] / factors[:2]
    growth = (deltas[..., 2:] / factors[2:]).clamp(max=clip)
    centers = shifts * sizes + centers
    halves = 0.5 * (growth.exp() * sizes)
    return torch.cat([centers - halves, centers + halves], -1)


def _clip(boxes: Tensor, content: Tensor) -> Tensor:
    limits = content.flip(-1).repeat(1, 2)  # [B, 4]: width, height, width, height
    limits = limits.reshape(limits.shape[0], *[1] * (boxes.ndim - 2), 4)
    return torch.minimum(boxes.clamp(min=0), limits)


def _large(boxes: Tensor, min_size: float) -> Tensor:
    return ((boxes[..., 2:] - boxes[..., :2]) >= min_size).all(-1)


def _nms_by_group(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Greedy NMS within each group; indices kept, best first, ties by index."""
    kept = [
        members[box_ops.nms(boxes[members], scores[members], threshold)]
        for group in groups.unique()
        for members in [(groups == group).nonzero().squeeze(1)]
    ]
    keep = torch.cat(kept).sort().values if kept else groups.new_zeros(0)
    return keep[scores[keep].sort(descending=True, stable=True).indices]


@torch.library.custom_op("maskrt::proposals", mutates_args=())
def proposals(
    objectness: Tensor,
    deltas: Tensor,
    indices: Tensor,
    content: Tensor,
    anchors: list[float],
    anchors_per_cell: list[int],
    grid_widths: list[int],
    strides: list[int],
    top_k: list[int],
    num_rois: int,
    nms_threshold: float,
    score_threshold: float,
    min_size: float,
    delta_weights: list[float],
    delta_clip: float,
) -> tuple[Tensor, Tensor]:
    """Decodes the best candidates of each level, NMS per level, keeps the best over all levels.

    Follows ``RegionProposalNetwork.filter_proposals``.

    Args:
        objectness: logits float32 [B, K]: the levels' top-k, one after the other.
        deltas: float32 [B, K, 4].
        indices: int32 [B, K]: position ``(row * grid_width + column) * anchors + anchor`` in the
            level.
        content: float32 [B, 2], height and width; boxes are clipped to it.
        anchors: xyxy of the cell at the origin, all levels, flat.
        anchors_per_cell: for each level.
        grid_widths: for each level.
        strides: (y, x) for each level, flat.
        top_k: candidates of each level; their sum is K.
        num_rois: R.
        nms_threshold: IoU above it suppresses.
        score_threshold: objectness after the sigmoid must reach it.
        min_size: both sides must reach it, canvas pixels.
        delta_weights: see ``decode``.
        delta_clip: see ``decode``.

    Returns:
        rois float32 [B, R, 4], best first, xyxy in canvas pixels; count int32 [B].
    """
    levels = torch.repeat_interleave(torch.arange(len(top_k)), torch.tensor(top_k))
    per_cell = torch.tensor(anchors_per_cell)
    first = (per_cell.cumsum(0) - per_cell)[levels]
    per_cell = per_cell[levels]
    columns = torch.tensor(grid_widths)[levels]
    stride = torch.tensor(strides).reshape(-1, 2)[levels]

    position = indices.long()
    cell = position // per_cell
    base = torch.tensor(anchors, dtype=torch.float32).reshape(-1, 4)[first + position % per_cell]
    shift = torch.stack([cell % columns * stride[:, 1], cell // columns * stride[:, 0]], -1)
    boxes = decode(deltas, base + shift.repeat(1, 1, 2).float(), delta_weights, delta_clip)
    boxes = _clip(boxes, content)
    scores = objectness.sigmoid()
    valid = (scores >= score_threshold) & _large(boxes, min_size)

    batch = objectness.shape[0]
    rois = boxes.new_zeros(batch, num_rois, 4)
    count = torch.zeros(batch, dtype=torch.int32)
    for b in range(batch):
        (candidates,) = valid[b].nonzero(as_tuple=True)
        keep = _nms_by_group(
            boxes[b, candidates], scores[b, candidates], levels[candidates], nms_threshold
        )
        best = candidates[keep[:num_rois]]
        rois[b, : len(best)] = boxes[b, best]
        count[b] = len(best)
    return rois, count


@proposals.register_fake
def _(objectness: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    num_rois = arguments[8]
    batch = objectness.shape[0]
    return (
        objectness.new_empty(batch, num_rois, 4),
        objectness.new_empty(batch, dtype=torch.int32),
    )


@torch.library.custom_op("maskrt::multilevel_roi_align", mutates_args=())
def multilevel_roi_align(
    rois: Tensor,
    count: Tensor,
    features: list[Tensor],
    output_height: int,
    output_width: int,
    spatial_scales: list[float],
    sampling_ratio: int,
    coordinate_transformation_mode: str,
    min_level: int,
    canonical_size: float,
    canonical_level: int,
    epsilon: float,
    log_epsilon: float,
) -> Tensor:
    """RoIAlign, each RoI from the feature map of its size (FPN paper, eq. 1).

    Follows ``MultiScaleRoIAlign``. RoIs past the count give zeros.

    Args:
        rois: float32 [B, R, 4], xyxy in canvas pixels.
        count: int32 [B].
        features: float32 [B, C, Hl, Wl] for each level, fine to coarse.
        output_height: p.
        output_width: q.
        spatial_scales: feature cells per canvas pixel, for each level.
        sampling_ratio: samples per bin and axis; 0: ``ceil(bin size)``.
        coordinate_transformation_mode: as in ONNX's RoiAlign: "half_pixel" (aligned) or
            "output_half_pixel" (torchvision's pooler).
        min_level: of the first feature map; the last one's bounds from above.
        canonical_size: side in canvas pixels of a RoI that belongs to the canonical level.
        canonical_level: its level.
        epsilon: added to the level before it is floored (torchvision).
        log_epsilon: added within the logarithm (detectron2).

    Returns:
        float32 [B * R, C, p, q].
    """
    batch, slots = rois.shape[:2]
    flat = rois.reshape(-1, 4)
    image = torch.arange(batch).repeat_interleave(slots)
    live = torch.arange(slots).repeat(batch) < count.long()[image]
    relative = ((flat[:, 2] - flat[:, 0]) * (flat[:, 3] - flat[:, 1])).sqrt() / canonical_size
    level = (canonical_level + torch.log2(relative + log_epsilon) + epsilon).floor() - min_level
    level = level.nan_to_num(0).clamp(0, len(features) - 1)
    pooled = features[0].new_zeros(batch * slots, features[0].shape[1], output_height, output_width)
    for i, (feature, scale) in enumerate(zip(features, spatial_scales, strict=True)):
        (members,) = (live & (level == i)).nonzero(as_tuple=True)
        boxes = torch.cat([image[members, None].float(), flat[members]], 1)
        pooled[members] = roi_align(
            feature,
            boxes,
            (output_height, output_width),
            scale,
            sampling_ratio or -1,
            coordinate_transformation_mode == "half_pixel",
        )
    return pooled


@multilevel_roi_align.register_fake
def _(
    rois: Tensor, count: Tensor, features: list[Tensor], height: int, width: int, *_: Any
) -> Tensor:
    return features[0].new_empty(rois.shape[0] * rois.shape[1], features[0].shape[1], height, width)


@torch.library.custom_op("maskrt::detection_nms", mutates_args=())
def detection_nms(
    logits: Tensor,
    deltas: Tensor,
    rois: Tensor,
    count: Tensor,
    content: Tensor,
    score_threshold: Tensor,
    nms_threshold: Tensor,
    max_detections: int,
    min_size: float,
    delta_weights: list[float],
    delta_clip: float,
    background_first: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Softmax, box decode, score threshold, NMS per class, best D.

    Follows ``RoIHeads.postprocess_detections``.

    Args:
        logits: float32 [B, R, C], the background among them.
        deltas: float32 [B, R, 4 * n]; n is C, C - 1 (no background) or 1 (class agnostic).
        rois: float32 [B, R, 4], xyxy in canvas pixels.
        count: int32 [B], RoIs that are real.
        content: float32 [B, 2], height and width; boxes are clipped to it.
        score_threshold: float32 [], scores must be above it.
        nms_threshold: float32 [], IoU above it suppresses.
        max_detections: D.
        min_size: both sides must reach it, canvas pixels.
        delta_weights: see ``decode``.
        delta_clip: see ``decode``.
        background_first: the background is class 0; otherwise it is the last one.

    Returns:
        boxes float32 [B, D, 4], best first, xyxy in canvas pixels; scores float32 [B, D];
        labels int32 [B, D], positions in the logits; count int32 [B].
    """
    batch, slots, classes = logits.shape
    first = int(background_first)
    foreground = classes - 1
    scores = logits.softmax(-1)[..., first : first + foreground]
    deltas = deltas.reshape(batch, slots, -1, 4)
    if deltas.shape[2] == classes:
        deltas = deltas[:, :, first : first + foreground]
    boxes = decode(deltas, rois[:, :, None], delta_weights, delta_clip)
    boxes = _clip(boxes.expand(batch, slots, foreground, 4), content)
    live = torch.arange(slots) < count.long()[:, None]
    valid = (scores > score_threshold) & _large(boxes, min_size) & live[..., None]
    label = torch.arange(first, first + foreground).repeat(slots)

    out_boxes = boxes.new_zeros(batch, max_detections, 4)
    out_scores = boxes.new_zeros(batch, max_detections)
    out_labels = torch.zeros(batch, max_detections, dtype=torch.int32)
    out_count = torch.zeros(batch, dtype=torch.int32)
    threshold = float(nms_threshold)
    for b in range(batch):
        (candidates,) = valid[b].flatten().nonzero(as_tuple=True)
        best_boxes = boxes[b].reshape(-1, 4)[candidates]
        best_scores = scores[b].flatten()[candidates]
        keep = _nms_by_group(best_boxes, best_scores, label[candidates], threshold)
        keep = keep[:max_detections]
        out_boxes[b, : len(keep)] = best_boxes[keep]
        out_scores[b, : len(keep)] = best_scores[keep]
        out_labels[b, : len(keep)] = label[candidates][keep].int()
        out_count[b] = len(keep)
    return out_boxes, out_scores, out_labels, out_count


@detection_nms.register_fake
def _(logits: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    max_detections = arguments[6]
    batch = logits.shape[0]
    return (
        logits.new_empty(batch, max_detections, 4),
        logits.new_empty(batch, max_detections),
        logits.new_empty(batch, max_detections, dtype=torch.int32),
        logits.new_empty(batch, dtype=torch.int32),
    )


@torch.library.custom_op("maskrt::mask_select", mutates_args=())
def mask_select(logits: Tensor, labels: Tensor, count: Tensor) -> Tensor:
    """The predicted class's mask (``maskrcnn_inference``).

    Args:
        logits: float32 [B * D, C, m, n], or C = 1 for class agnostic heads.
        labels: int32 [B, D], positions among the C masks.
        count: int32 [B]; masks past it are zeros.

    Returns:
        probabilities float32 [B, D, m, n].
    """
    batch, slots = labels.shape
    channel = labels.long().flatten().clamp(max=logits.shape[1] - 1)
    masks = logits[torch.arange(batch * slots), channel].sigmoid()
    live = torch.arange(slots) < count.long()[:, None]
    return masks.reshape(batch, slots, *masks.shape[1:]) * live[..., None, None]


@mask_select.register_fake
def _(logits: Tensor, labels: Tensor, count: Tensor) -> Tensor:
    return logits.new_empty(labels.shape[0], labels.shape[1], *logits.shape[2:])


@torch.library.custom_op("maskrt::keypoint_decode", mutates_args=())
def keypoint_decode(
    heatmaps: Tensor, boxes: Tensor, count: Tensor, scale: Tensor, decode: str
) -> Tensor:
    """The best point of each heatmap, resized to its box (``heatmaps_to_keypoints``).

    Both conventions choose the same point; detectron2's score is that of its function of this name
    (``structures/keypoints.py``).

    Args:
        heatmaps: logits float32 [B * D, K, h, w].
        boxes: float32 [B, D, 4], xyxy in canvas pixels.
        count: int32 [B]; keypoints past it are zeros.
        scale: float32 [B, 2] (y, x), frame pixels per canvas pixel.
        decode: which score: "torchvision", the logit at the point; "detectron2", its exponential,
            divided by the sum of those of the heatmap's cells.

    Returns:
        float32 [B, D, K, 3]: x and y in frame pixels, and the score.
    """
    batch, slots = boxes.shape[:2]
    points = heatmaps.shape[1]
    keypoints = boxes.new_zeros(batch, slots, points, 3)
    maps = heatmaps.reshape(batch, slots, *heatmaps.shape[1:])
    for b in range(batch):
        n = int(count[b])
        if n:
            located, scores = heatmaps_to_keypoints(maps[b, :n], boxes[b, :n])
            if decode == "detectron2":
                scores = 1 / (maps[b, :n] - scores[..., None, None]).exp().sum((-2, -1))
            keypoints[b, :n, :, 0] = located[..., 0] * scale[b, 1]
            keypoints[b, :n, :, 1] = located[..., 1] * scale[b, 0]
            keypoints[b, :n, :, 2] = scores
    return keypoints


@keypoint_decode.register_fake
def _(heatmaps: Tensor, boxes: Tensor, count: Tensor, scale: Tensor, decode: str) -> Tensor:
    return boxes.new_empty(boxes.shape[0], boxes.shape[1], heatmaps.shape[1], 3)

"""RoIAlign from a feature pyramid, on NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.plugins import backend
from maskrt.plugins.ops.arguments import LAYOUTS, Layout, array, count, output, type_number
from maskrt.plugins.ops.roi_align import TYPES, FeatureMap, extent, pooled_shape, sides

MAX_LEVELS = 8
"""``MASKRT_ROI_ALIGN_MAX_LEVELS`` in ``multilevel_roi_align/params.h``."""


class MultilevelRoIAlignParams(ctypes.Structure):
    """``MaskrtMultilevelRoIAlignParams`` of ``multilevel_roi_align/params.h``."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("rois", ctypes.c_void_p),
        ("count", ctypes.c_void_p),
        ("pooled", ctypes.c_void_p),
        ("maps", FeatureMap * MAX_LEVELS),
        ("canonical_size", ctypes.c_float),
        ("epsilon", ctypes.c_float),
        ("log_epsilon", ctypes.c_float),
        ("output_scale", ctypes.c_float),
        ("num_levels", ctypes.c_int32),
        ("min_level", ctypes.c_int32),
        ("canonical_level", ctypes.c_int32),
        ("batch", ctypes.c_int32),
        ("slots", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("cell_stride", ctypes.c_int32),
        ("output_height", ctypes.c_int32),
        ("output_width", ctypes.c_int32),
        ("sampling_ratio", ctypes.c_int32),
        ("aligned", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    )


def multilevel_roi_align(
    rois: NDArray[np.float32],
    features: Sequence[NDArray[Any]],
    *,
    output_size: tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = 2,
    aligned: bool = False,
    layout: Layout = "linear",
    counts: NDArray[np.int32] | None = None,
    min_level: int = 2,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
    epsilon: float = 1e-6,
    log_epsilon: float = 0.0,
    feature_scales: Sequence[float] | None = None,
    output_scale: float = 1.0,
    threads: int = 0,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Pools each RoI from the feature map of its size (FPN paper, equation 1).

    The level is ``floor(canonical_level + log2(sqrt(area) / canonical_size + log_epsilon) +
    epsilon)``, clamped to the maps that there are. The defaults are torchvision's; detectron2 has
    ``aligned=True, sampling_ratio=0, epsilon=0, log_epsilon=1e-8``.

    Args:
        rois: float32 [B, R, 4], xyxy in canvas pixels; [R, 4] for a single image.
        features: 1 to 8 maps, fine to coarse; float32, float16, bfloat16 or int8; each
            [B, C, Hl, Wl], or [B, Hl, Wl, C] with the layout ``channels_last``.
        output_size: bins, (p, q).
        spatial_scales: feature cells per canvas pixel, for each map.
        sampling_ratio: samples per bin and axis; 0: as many as the bin has cells, rounded up.
        aligned: whether half a cell is subtracted.
        layout: of the features and of the result.
        counts: int32 [B], RoIs that are real: those past it give zeros; None: all are.
        min_level: of the first map.
        canonical_size: side in canvas pixels of a RoI of the canonical level.
        canonical_level: see above.
        epsilon: see above.
        log_epsilon: see above.
        feature_scales: int8: the real value of one step, for each map; None: 1.
        output_scale: int8: the real value of one step of the result.
        threads: at most the number of processors; 0: as many as OpenMP would use.
        out: to be written and returned.

    Returns:
        [B * R, C, p, q], or [B * R, p, q, C] with the layout ``channels_last``; of the features'
        dtype.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    if not 1 <= len(features) <= MAX_LEVELS:
        raise ValueError(f"found {len(features)} feature maps, expected 1 to {MAX_LEVELS}")
    scales = [1.0] * len(features) if feature_scales is None else list(feature_scales)
    if len(spatial_scales) != len(features) or len(scales) != len(features):
        raise ValueError(
            f"found {len(spatial_scales)} spatial_scales and {len(scales)} feature_scales, "
            f"expected one for each of {len(features)} feature maps"
        )
    if isinstance(rois, np.ndarray) and rois.ndim == 2:
        rois = rois[None]
    rois = array("rois", rois, "float32", ("B", "R", 4))
    batch, slots, _ = rois.shape
    if counts is None:
        counts = np.full(batch, slots, np.int32)
    counts = array("counts", counts, "int32", (batch,))
    first = array("features[0]", features[0], TYPES, sides(batch, "C", layout))
    _, channels, _, _ = extent(first, layout)
    run = backend.current()
    maps = [
        run.input(array(f"features[{i}]", f, first.dtype.name, sides(batch, channels, layout)))
        for i, f in enumerate(features)
    ]
    rois, counts = run.input(rois), run.input(counts)
    shape = pooled_shape(batch * slots, channels, output_size, layout)
    pooled = output(run, out, shape, first.dtype)
    if batch * slots == 0:
        return pooled
    filled = (FeatureMap * MAX_LEVELS)()
    for i, (feature, spatial, scale) in enumerate(zip(maps, spatial_scales, scales, strict=True)):
        _, _, height, width = extent(feature, layout)
        filled[i] = FeatureMap(feature.ctypes.data, height, width, spatial, scale)
    run.call(
        "multilevel_roi_align",
        MultilevelRoIAlignParams(
            struct_size=ctypes.sizeof(MultilevelRoIAlignParams),
            rois=rois.ctypes.data,
            count=counts.ctypes.data,
            pooled=pooled.ctypes.data,
            maps=filled,
            canonical_size=canonical_size,
            epsilon=epsilon,
            log_epsilon=log_epsilon,
            output_scale=output_scale,
            num_levels=len(maps),
            min_level=min_level,
            canonical_level=canonical_level,
            batch=batch,
            slots=slots,
            channels=channels,
            cell_stride=channels,
            output_height=shape[2] if layout == "linear" else shape[1],
            output_width=shape[3] if layout == "linear" else shape[2],
            sampling_ratio=count("sampling_ratio", sampling_ratio),
            aligned=bool(aligned),
            type=type_number(first.dtype, TYPES),
            layout=LAYOUTS[layout],
            threads=count("threads", threads),
        ),
    )
    return pooled

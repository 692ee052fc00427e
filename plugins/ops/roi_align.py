"""RoIAlign from one feature map, on NumPy arrays."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.plugins import backend
from maskrt.plugins.ops.arguments import LAYOUTS, Layout, array, count, output, type_number

TYPES = ("float32", "float16", "bfloat16", "int8")
"""Of feature maps."""


class FeatureMap(ctypes.Structure):
    """``MaskrtFeatureMap`` of ``roi_align/map.h``, where the fields are explained."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("spatial_scale", ctypes.c_float),
        ("scale", ctypes.c_float),
    )


class RoIAlignParams(ctypes.Structure):
    """``MaskrtRoIAlignParams`` of ``roi_align/params.h``, where the fields are explained."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("rois", ctypes.c_void_p),
        ("batch_indices", ctypes.c_void_p),
        ("pooled", ctypes.c_void_p),
        ("map", FeatureMap),
        ("output_scale", ctypes.c_float),
        ("images", ctypes.c_int32),
        ("num_rois", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("cell_stride", ctypes.c_int32),
        ("output_height", ctypes.c_int32),
        ("output_width", ctypes.c_int32),
        ("sampling_ratio", ctypes.c_int32),
        ("aligned", ctypes.c_int32),
        ("index_type", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    )


def roi_align(
    features: NDArray[Any],
    rois: NDArray[np.float32],
    batch_indices: NDArray[np.int32] | NDArray[np.int64],
    *,
    output_size: tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    layout: Layout = "linear",
    feature_scale: float = 1.0,
    output_scale: float = 1.0,
    threads: int = 0,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Pools each RoI as ONNX's RoiAlign does (mode "avg"), which is torchvision's ``roi_align``.

    Args:
        features: float32, float16, bfloat16 or int8; [B, C, H, W], or [B, H, W, C] with the layout
            ``channels_last``.
        rois: float32 [N, 4], xyxy in canvas pixels.
        batch_indices: int32 or int64 [N], the image of each RoI; others than 0 to B - 1 give zeros.
        output_size: bins, (p, q).
        spatial_scale: feature cells per canvas pixel.
        sampling_ratio: samples per bin and axis; 0: as many as the bin has cells, rounded up.
        aligned: whether half a cell is subtracted ("half_pixel" in ONNX).
        layout: of the features and of the result.
        feature_scale: int8: the real value of one step of the features.
        output_scale: int8: the real value of one step of the result.
        threads: at most the number of processors; 0: as many as OpenMP would use.
        out: to be written and returned.

    Returns:
        [N, C, p, q], or [N, p, q, C] with the layout ``channels_last``; of the features' dtype.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    features = array("features", features, TYPES, sides("B", "C", layout))
    rois = array("rois", rois, "float32", ("N", 4))
    batch_indices = array("batch_indices", batch_indices, ("int32", "int64"), (len(rois),))
    run = backend.current()
    features, rois, batch_indices = map(run.input, (features, rois, batch_indices))
    images, channels, height, width = extent(features, layout)
    shape = pooled_shape(len(rois), channels, output_size, layout)
    pooled = output(run, out, shape, features.dtype)
    if len(rois) == 0:
        return pooled
    run.call(
        "roi_align",
        RoIAlignParams(
            struct_size=ctypes.sizeof(RoIAlignParams),
            rois=rois.ctypes.data,
            batch_indices=batch_indices.ctypes.data,
            pooled=pooled.ctypes.data,
            map=FeatureMap(features.ctypes.data, height, width, spatial_scale, feature_scale),
            output_scale=output_scale,
            images=images,
            num_rois=len(rois),
            channels=channels,
            cell_stride=channels,
            output_height=count("output_size", output_size[0], 1),
            output_width=count("output_size", output_size[1], 1),
            sampling_ratio=count("sampling_ratio", sampling_ratio),
            aligned=bool(aligned),
            index_type=type_number(batch_indices.dtype, ("int32", "int64")),
            type=type_number(features.dtype, TYPES),
            layout=LAYOUTS[layout],
            threads=count("threads", threads),
        ),
    )
    return pooled


def sides(images: int | str, channels: int | str, layout: Layout) -> tuple[int | str, ...]:
    """The expected shape of a feature map."""
    if layout not in LAYOUTS:
        raise ValueError(f"found layout {layout!r}, expected {' or '.join(LAYOUTS)}")
    linear = layout == "linear"
    return (images, channels, "H", "W") if linear else (images, "H", "W", channels)


def extent(features: NDArray[Any], layout: Layout) -> tuple[int, int, int, int]:
    """Images, channels, height and width of a feature map."""
    a, b, c, d = features.shape
    size = (a, b, c, d) if layout == "linear" else (a, d, b, c)
    if 0 in size:
        raise ValueError(f"found features of shape {list(features.shape)}, expected no side of 0")
    return size


def pooled_shape(
    rois: int, channels: int, output_size: tuple[int, int], layout: Layout
) -> tuple[int, ...]:
    """Of the result."""
    if len(output_size) != 2:
        raise ValueError(f"found output_size {output_size}, expected (height, width)")
    high, wide = (count("output_size", side, 1) for side in output_size)
    return (rois, channels, high, wide) if layout == "linear" else (rois, high, wide, channels)

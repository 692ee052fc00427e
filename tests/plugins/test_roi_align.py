"""The native RoIAlign against torchvision's, on maps, RoIs and bins of all kinds."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskrt.plugins import ops

pytestmark = pytest.mark.usefixtures("target")
Floats = NDArray[np.float32]

# inside, at the border, outside, without a size, inverted
coordinate = st.one_of(
    st.floats(-40, 200, width=32),
    st.integers(-8, 80).map(float),
    st.sampled_from([-4.0, -1.0, 0.0, 0.5, 1e4, -1e4]),
)
roi = st.tuples(*[coordinate] * 4)


def reference(features: Floats, rois: Floats, images: NDArray[Any], **options: Any) -> Floats:
    """torchvision's, in [N, C, p, q]."""
    boxes = torch.from_numpy(np.concatenate([images[:, None].astype(np.float32), rois], 1))
    size, scale = options["output_size"], options["spatial_scale"]
    ratio, aligned = options["sampling_ratio"] or -1, options["aligned"]
    pooled: Floats = torchvision.ops.roi_align(
        torch.from_numpy(features), boxes, size, scale, ratio, aligned
    ).numpy()
    return pooled


def to_layout(features: NDArray[Any], layout: str) -> NDArray[Any]:
    last = layout == "channels_last"
    return np.ascontiguousarray(features.transpose(0, 2, 3, 1)) if last else features


def from_layout(pooled: NDArray[Any], layout: str) -> NDArray[Any]:
    return pooled.transpose(0, 3, 1, 2) if layout == "channels_last" else pooled


@settings(max_examples=30, deadline=None)
@given(
    rois=st.lists(roi, min_size=1, max_size=6),
    images=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 4, 8, 16, 32, 37, 64]),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    output_size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    spatial_scale=st.sampled_from([1.0, 0.5, 0.25, 1 / 16, 0.3]),
    sampling_ratio=st.integers(0, 4),
    aligned=st.booleans(),
    layout=st.sampled_from(["linear", "channels_last"]),
    threads=st.integers(0, 2),
    index_type=st.sampled_from([np.int32, np.int64]),
    seed=st.integers(0, 2**16),
)
def test_as_torchvision(
    rois: list[tuple[float, ...]],
    images: int,
    channels: int,
    size: tuple[int, int],
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    layout: Any,
    threads: int,
    index_type: type,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.uniform(-1, 1, (images, channels, *size)).astype(np.float32)
    boxes = np.array(rois, np.float32)
    if sampling_ratio == 0:
        boxes = boxes.clip(-200, 200)  # torchvision would take minutes
        if aligned:  # it refuses bins of negative size
            boxes = np.concatenate(
                [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1
            )
    chosen = rng.integers(0, images, len(rois))
    options: dict[str, Any] = {
        "output_size": output_size,
        "spatial_scale": spatial_scale,
        "sampling_ratio": sampling_ratio,
        "aligned": aligned,
    }
    pooled = ops.roi_align(
        to_layout(features, layout),
        boxes,
        chosen.astype(index_type),
        layout=layout,
        threads=threads,
        **options,
    )
    expected = reference(features, boxes, chosen, **options)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(from_layout(pooled, layout), expected, rtol=0, atol=1e-5)


def scene(channels: int, seed: int = 0) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Two maps, RoIs of all sizes on and across them, their images."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((2, channels, 25, 34)).astype(np.float32)
    low = rng.uniform(-10, 200, (12, 2))
    rois = np.concatenate([low, low + rng.uniform(1, 180, (12, 2))], 1).astype(np.float32)
    return features, rois, rng.integers(0, 2, 12).astype(np.int32)


OPTIONS: dict[str, Any] = {"spatial_scale": 0.125, "aligned": False}


@pytest.mark.parametrize("layout", ["linear", "channels_last"])
@pytest.mark.parametrize("channels", [8, 21, 64])
@pytest.mark.parametrize("sampling_ratio", [2, 0])
@pytest.mark.parametrize(("dtype", "error"), [(np.float16, 5e-4), (ml_dtypes.bfloat16, 4e-3)])
def test_half_precision(
    dtype: Any, error: float, sampling_ratio: int, channels: int, layout: Any
) -> None:
    features, rois, images = scene(channels)
    options = {**OPTIONS, "output_size": (7, 5), "sampling_ratio": sampling_ratio}
    half = features.astype(dtype)
    pooled = ops.roi_align(to_layout(half, layout), rois, images, layout=layout, **options)
    assert pooled.dtype == dtype
    expected = reference(half.astype(np.float32), rois, images, **options)
    difference = from_layout(pooled, layout).astype(np.float32) - expected
    # the only rounding is that of the result
    assert np.sqrt((difference**2).mean()) <= error * np.sqrt((expected**2).mean())


@pytest.mark.parametrize("layout", ["linear", "channels_last"])
@pytest.mark.parametrize("channels", [16, 19, 64])
@pytest.mark.parametrize("sampling_ratio", [2, 0])
@pytest.mark.parametrize(("scale", "output_scale"), [(0.02, 0.02), (0.031, 0.017), (0.5, 0.001)])
def test_int8(
    scale: float, output_scale: float, sampling_ratio: int, channels: int, layout: Any
) -> None:
    features, rois, images = scene(channels)
    quantized = (features / 0.02).round().clip(-128, 127).astype(np.int8)
    options = {**OPTIONS, "output_size": (7, 5), "sampling_ratio": sampling_ratio}
    pooled = ops.roi_align(
        to_layout(quantized, layout),
        rois,
        images,
        layout=layout,
        feature_scale=scale,
        output_scale=output_scale,
        **options,
    )
    assert pooled.dtype == np.int8
    exact = reference(quantized.astype(np.float32), rois, images, **options) * (
        scale / output_scale
    )
    # half a step, and what float32 leaves open there
    difference = np.abs(from_layout(pooled, layout) - exact.clip(-128, 127))
    assert difference.max() <= 0.5 + 1e-4


HOSTILE = [
    (np.nan, 0.0, 50.0, 50.0),
    (0.0, np.nan, 50.0, 50.0),
    (0.0, 0.0, np.nan, 50.0),
    (0.0, 0.0, 50.0, np.nan),
    (-np.inf, 0.0, 50.0, 50.0),
    (0.0, 0.0, np.inf, 50.0),
    (0.0, 0.0, 50.0, np.inf),
    (-np.inf, -np.inf, np.inf, np.inf),
    (3e38, 3e38, 3e38, 3e38),
    (-3e38, -3e38, 3e38, 3e38),
    (1e9, 1e9, 2e9, 2e9),
]


@pytest.mark.parametrize("layout", ["linear", "channels_last"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_hostile_rois(aligned: bool, sampling_ratio: int, layout: Any) -> None:
    features, good, _ = scene(16)
    rois = np.concatenate([np.array(HOSTILE, np.float32), good[:1]])
    options: dict[str, Any] = {
        "output_size": (7, 7),
        "spatial_scale": 0.125,
        "sampling_ratio": sampling_ratio,
        "aligned": aligned,
    }
    images = np.zeros(len(rois), np.int32)
    pooled = ops.roi_align(to_layout(features, layout), rois, images, layout=layout, **options)
    last = from_layout(pooled, layout)[-1:]
    np.testing.assert_allclose(
        last, reference(features, good[:1], images[:1], **options), rtol=0, atol=1e-5
    )
    assert not pooled[:-1].any()


@pytest.mark.parametrize("layout", ["linear", "channels_last"])
def test_rois_of_images_that_are_not_there_give_zeros(layout: Any) -> None:
    features, rois, images = scene(8)
    for wrong in (-1, 2, 2**31 - 1, -(2**31)):
        images[3] = wrong
        pooled = ops.roi_align(
            to_layout(features, layout),
            rois,
            images,
            output_size=(3, 3),
            spatial_scale=0.125,
            layout=layout,
        )
        assert not pooled[3].any()
        assert pooled[2].any()


@pytest.mark.parametrize("layout", ["linear", "channels_last"])
def test_inverted_rois_without_samples_give_zeros(layout: Any) -> None:
    features, rois, images = scene(8)
    inverted = rois[:, [2, 3, 0, 1]]
    pooled = ops.roi_align(
        to_layout(features, layout), inverted, images, output_size=(3, 3), layout=layout
    )
    assert not pooled.any()


@pytest.mark.parametrize("layout", ["linear", "channels_last"])
def test_huge_adaptive_rois_take_no_time(layout: Any) -> None:
    # 10^10 samples a bin, nearly all of them off the map
    features = np.ones((1, 8, 20, 20), np.float32)
    rois = np.array([[-1e6, -1e6, 1e6, 1e6]], np.float32)
    pooled = ops.roi_align(
        to_layout(features, layout), rois, np.zeros(1, np.int32), output_size=(1, 1), layout=layout
    )
    assert 0 <= pooled.max() < 1e-6


def test_maps_that_no_vector_load_fits() -> None:
    """Channels last at an address that is a multiple of nothing but the element's size."""
    features, rois, images = scene(16)
    memory = np.empty(features.size + 1, np.float32)
    shifted = memory[1:].reshape(2, 25, 34, 16)
    shifted[:] = to_layout(features, "channels_last")
    options = {**OPTIONS, "output_size": (7, 7), "sampling_ratio": 2}
    pooled = ops.roi_align(shifted, rois, images, layout="channels_last", **options)
    np.testing.assert_allclose(
        from_layout(pooled, "channels_last"),
        reference(features, rois, images, **options),
        rtol=0,
        atol=1e-5,
    )


def test_no_rois() -> None:
    features, rois, images = scene(3)
    assert ops.roi_align(features, rois[:0], images[:0], output_size=(7, 7)).shape == (0, 3, 7, 7)


FEATURES, ROIS, IMAGES = scene(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": FEATURES[0]}, r"features float32 \[4, 25, 34\], expected .* \[B, C, H, W\]"),
        ({"features": FEATURES.astype(np.float64)}, "features float64"),
        ({"features": FEATURES[:, :, :0]}, "expected no side of 0"),
        ({"rois": ROIS[:, :3]}, r"rois float32 \[12, 3\], expected float32 \[N, 4\]"),
        ({"rois": ROIS.astype(np.float64)}, "rois float64"),
        ({"batch_indices": IMAGES[:3]}, r"batch_indices int32 \[3\], expected .* \[12\]"),
        ({"batch_indices": IMAGES.astype(np.float32)}, "batch_indices float32"),
        ({"output_size": (7,)}, r"output_size \(7,\)"),
        ({"output_size": (0, 7)}, "found output_size 0, expected 1 or more"),
        ({"output_size": (7, 257)}, "found output_width 257, expected 1 to 256"),
        ({"sampling_ratio": -1}, "found sampling_ratio -1"),
        ({"sampling_ratio": 65}, "found sampling_ratio 65, expected 0 to 64"),
        ({"spatial_scale": 0.0}, "found spatial_scale 0, expected a number above 0"),
        ({"spatial_scale": float("nan")}, "found spatial_scale nan"),
        ({"layout": "NCHW"}, "found layout 'NCHW', expected linear or channels_last"),
        ({"threads": -1}, "found threads -1"),
        ({"out": np.zeros((1, 4, 7, 7), np.float32)}, r"expected float32 \[12, 4, 7, 7\]"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "features": FEATURES,
        "rois": ROIS,
        "batch_indices": IMAGES,
        "output_size": (7, 7),
    }
    arguments |= change
    with pytest.raises(ValueError, match=message):
        ops.roi_align(**arguments)


def test_int8_needs_scales() -> None:
    quantized = FEATURES.astype(np.int8)
    for name in ("feature_scale", "output_scale"):
        scale: dict[str, Any] = {name: 0.0}
        with pytest.raises(ValueError, match="scale 0, expected a number above 0"):
            ops.roi_align(quantized, ROIS, IMAGES, output_size=(7, 7), **scale)


def test_maps_too_large_for_the_tables() -> None:
    features = np.zeros((1, 1, 1, 6200), np.float32)
    with pytest.raises(ValueError, match="take a smaller canvas, or a fixed sampling_ratio"):
        ops.roi_align(features, ROIS, IMAGES, output_size=(7, 7))

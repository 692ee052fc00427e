"""The native MultilevelRoIAlign against the torch op, and against torchvision's pooler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.ops import MultiScaleRoIAlign

from maskrt.export import ops as reference
from maskrt.plugins import ops

pytestmark = pytest.mark.usefixtures("target")
Floats = NDArray[np.float32]


def pyramid(rng: np.random.Generator, batch: int, channels: int, levels: int) -> list[Floats]:
    """Maps of a canvas of 128 x 160, from a quarter of it downwards."""
    return [
        rng.uniform(-1, 1, (batch, channels, max(1, 32 >> i), max(1, 40 >> i))).astype(np.float32)
        for i in range(levels)
    ]


def to_layout(maps: list[Floats], layout: str) -> list[Floats]:
    last = layout == "channels_last"
    return [np.ascontiguousarray(m.transpose(0, 2, 3, 1)) for m in maps] if last else maps


def boxes(rng: np.random.Generator, batch: int, slots: int) -> Floats:
    """From a pixel to beyond the canvas, all levels among them."""
    size = np.exp(rng.uniform(0, np.log(200), (batch, slots, 2)))
    low = rng.uniform(-20, 140, (batch, slots, 2))
    rois: Floats = np.concatenate([low, low + size], -1).astype(np.float32)
    return rois


@settings(max_examples=50, deadline=None)
@given(
    batch=st.integers(1, 3),
    slots=st.integers(1, 6),
    channels=st.sampled_from([1, 3, 8, 32, 40]),
    levels=st.integers(1, 8),
    output_size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    sampling_ratio=st.integers(0, 3),
    aligned=st.booleans(),
    layout=st.sampled_from(["linear", "channels_last"]),
    min_level=st.integers(0, 3),
    canonical_size=st.sampled_from([224.0, 56.0, 10.0]),
    canonical_level=st.integers(0, 5),
    epsilons=st.sampled_from([(1e-6, 0.0), (0.0, 1e-8)]),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_as_the_torch_op(
    batch: int,
    slots: int,
    channels: int,
    levels: int,
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
    layout: Any,
    min_level: int,
    canonical_size: float,
    canonical_level: int,
    epsilons: tuple[float, float],
    seed: int,
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(seed)
    maps = pyramid(rng, batch, channels, levels)
    rois = boxes(rng, batch, slots)
    counts = np.array(
        data.draw(st.lists(st.integers(0, slots), min_size=batch, max_size=batch)), np.int32
    )
    scales = [0.25 / 2**i for i in range(levels)]
    pooled = ops.multilevel_roi_align(
        rois,
        to_layout(maps, layout),
        output_size=output_size,
        spatial_scales=scales,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        layout=layout,
        counts=counts,
        min_level=min_level,
        canonical_size=canonical_size,
        canonical_level=canonical_level,
        epsilon=epsilons[0],
        log_epsilon=epsilons[1],
    )
    expected = reference.multilevel_roi_align(
        torch.from_numpy(rois),
        torch.from_numpy(counts),
        [torch.from_numpy(m) for m in maps],
        *output_size,
        scales,
        sampling_ratio,
        "half_pixel" if aligned else "output_half_pixel",
        min_level,
        canonical_size,
        canonical_level,
        *epsilons,
    ).numpy()
    if layout == "channels_last":
        pooled = pooled.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-5)


SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


@pytest.mark.parametrize("layout", ["linear", "channels_last"])
@pytest.mark.parametrize("output_size", [7, 14])
def test_as_torchvisions_pooler(output_size: int, layout: Any) -> None:
    rng = np.random.default_rng(3)
    maps = pyramid(rng, 1, 32, 4)
    rois = boxes(rng, 1, 12)
    # on the edge between two levels: 224 / 2^n exactly
    rois[0, :4] = [[0, 0, s, s] for s in (112, 56, 28, 224)]
    pooler = MultiScaleRoIAlign(list("0123"), output_size, 2)
    expected = pooler(
        {str(i): torch.from_numpy(m) for i, m in enumerate(maps)},
        [torch.from_numpy(rois[0])],
        [(128, 160)],
    ).numpy()
    pooled = ops.multilevel_roi_align(
        rois,
        to_layout(maps, layout),
        output_size=(output_size, output_size),
        spatial_scales=SCALES,
        layout=layout,
    )
    if layout == "channels_last":
        pooled = pooled.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("counts", [[-5, 100], [-(2**31), 2**31 - 1]])
def test_counts_out_of_range(counts: list[int]) -> None:
    rng = np.random.default_rng(0)
    maps, rois = pyramid(rng, 2, 8, 2), boxes(rng, 2, 3)
    rois[:, :, :2] = 10
    rois[:, :, 2:] = 90
    pooled = ops.multilevel_roi_align(
        rois,
        maps,
        output_size=(2, 2),
        spatial_scales=SCALES[:2],
        counts=np.array(counts, np.int32),
    )
    assert not pooled[:3].any()
    assert (np.abs(pooled[3:]).sum((1, 2, 3)) > 0).all()


def test_int8_levels_of_different_scales() -> None:
    rng = np.random.default_rng(1)
    maps = [rng.integers(-100, 100, (1, 16, 32 >> i, 40 >> i), dtype=np.int8) for i in range(3)]
    rois = boxes(rng, 1, 10)
    scales = [0.1, 0.05, 0.2]
    options: dict[str, Any] = {"output_size": (7, 7), "spatial_scales": SCALES[:3]}
    options["canonical_size"] = 56.0
    pooled = ops.multilevel_roi_align(
        rois, maps, feature_scales=scales, output_scale=0.08, **options
    )
    real = [m.astype(np.float32) * s for m, s in zip(maps, scales, strict=True)]
    exact = ops.multilevel_roi_align(rois, real, **options)
    assert np.abs(pooled - (exact / 0.08).clip(-128, 127)).max() <= 0.5 + 1e-4


def test_one_image_needs_no_batch_axis() -> None:
    rng = np.random.default_rng(2)
    maps, rois = pyramid(rng, 1, 4, 2), boxes(rng, 1, 3)
    options: dict[str, Any] = {"output_size": (3, 4), "spatial_scales": SCALES[:2]}
    np.testing.assert_array_equal(
        ops.multilevel_roi_align(rois[0], maps, **options),
        ops.multilevel_roi_align(rois, maps, **options),
    )


@pytest.mark.parametrize("threads", [2, 3, 64])
@pytest.mark.parametrize("layout", ["linear", "channels_last"])
def test_threads_change_nothing(layout: Any, threads: int) -> None:
    rng = np.random.default_rng(4)
    maps, rois = to_layout(pyramid(rng, 1, 40, 4), layout), boxes(rng, 1, 9)
    options: dict[str, Any] = {"output_size": (7, 7), "spatial_scales": SCALES, "layout": layout}
    np.testing.assert_array_equal(
        ops.multilevel_roi_align(rois, maps, threads=1, **options),
        ops.multilevel_roi_align(rois, maps, threads=threads, **options),
    )


RNG = np.random.default_rng(5)
MAPS, ROIS = pyramid(RNG, 2, 4, 2), boxes(RNG, 2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": []}, "found 0 feature maps, expected 1 to 8"),
        ({"features": MAPS * 5}, "found 10 feature maps"),
        ({"features": [MAPS[0], MAPS[1][:1]]}, r"features\[1\] .*expected float32 \[2, 4, H, W\]"),
        ({"features": [MAPS[0], MAPS[1].astype(np.float16)]}, r"features\[1\] float16"),
        ({"rois": ROIS[:1]}, r"features\[0\] float32 \[2, .*expected .* \[1, C, H, W\]"),
        ({"rois": ROIS[..., :3]}, "rois float32"),
        ({"spatial_scales": [0.25]}, "found 1 spatial_scales .* expected one for each of 2"),
        ({"spatial_scales": [0.25, -1]}, "found spatial_scale -1, expected a number above 0"),
        ({"feature_scales": [1.0]}, "1 feature_scales"),
        ({"counts": np.zeros(3, np.int32)}, r"counts int32 \[3\], expected int32 \[2\]"),
        ({"counts": np.zeros(2, np.int64)}, "counts int64"),
        ({"canonical_size": 0.0}, "found canonical_size 0"),
        ({"epsilon": float("inf")}, "found epsilon inf"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "rois": ROIS,
        "features": MAPS,
        "output_size": (7, 7),
        "spatial_scales": SCALES[:2],
    }
    arguments |= change
    with pytest.raises(ValueError, match=message):
        ops.multilevel_roi_align(**arguments)

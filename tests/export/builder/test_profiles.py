"""Input shapes that engines are built for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maskrt.export.builder import BuildOptions, Profile, single_profiles, stage_profiles
from maskrt.manifest import StageTensor
from maskrt.spec import BatchSpec, CanvasSpec, ModelSpec


def test_single(spec: ModelSpec) -> None:
    spec = replace(spec, canvas=CanvasSpec(800, 1344), batch=BatchSpec(1, 2, 4))
    (profile,) = single_profiles(spec)
    assert profile.shapes == {
        "frames": ((1, 32, 32, 3), (2, 800, 1344, 3), (4, 4320, 7680, 3)),
    }


def test_a_canvas_beyond_the_usual_frames(spec: ModelSpec) -> None:
    (profile,) = single_profiles(replace(spec, canvas=CanvasSpec(8192, 16, stride=16)))
    assert profile.shapes["frames"] == ((1, 32, 16, 3), (1, 8192, 16, 3), (1, 8192, 7680, 3))


def test_stages(spec: ModelSpec) -> None:
    image = StageTensor("image", "float32", ("1", "3", "64", "64"))
    assert stage_profiles([image], spec) == ()
    batch = replace(spec, batch=BatchSpec(1, 2, 4))
    image = replace(image, shape=("B", "3", "64", "64"))
    (profile,) = stage_profiles([image], batch)
    assert profile.shapes == {"image": ((1, 3, 64, 64), (2, 3, 64, 64), (4, 3, 64, 64))}
    rois, detections = spec.rpn.num_rois, spec.detection.max_detections
    for name, each in {"box_features": rois, "mask_features": detections}.items():
        features = StageTensor(name, "float16", ("N", "8", "7", "7"))
        (profile,) = stage_profiles([features], batch)
        assert [side[0] for side in profile.shapes[name]] == [1, 2 * each, 4 * each]
        (profile,) = stage_profiles([features], batch, rows=(8, 8, 8))
        assert profile.shapes[name] == ((8, 8, 7, 7),) * 3


def test_bad_values() -> None:
    for shapes in (((2,), (1,), (3,)), ((1,), (1, 1), (1,)), ((-1,), (1,), (1,))):
        with pytest.raises(ValueError, match="profile of 'x': expected min <= opt <= max"):
            Profile({"x": shapes})
    with pytest.raises(ValueError, match="level: found 6, expected 0 to 5"):
        BuildOptions(level=6)
    with pytest.raises(ValueError, match="workspace: found 0, expected bytes"):
        BuildOptions(workspace=0)
    with pytest.raises(ValueError, match="embed_plugins: expected plugin_library"):
        BuildOptions(embed_plugins=True)

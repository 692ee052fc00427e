from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from maskrt.examples.shapes import data
from maskrt.examples.shapes.render import render
from maskrt.examples.shapes.scene import KEEP, KEYPOINT_CLASSES, POINTS, rng_for, scene

PICTURES = [data.image(index, split="test") for index in range(24)]


def test_package_does_not_import_torch() -> None:
    code = (
        "import sys, maskrt.examples.shapes as s; s.image(0); s.CLASSES; s.WEIGHTS;"
        "sys.exit('torch' in sys.modules or 'pycocotools' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_same_arguments_same_bytes() -> None:
    frame, found = data.image(3, seed=5, split="a")
    data.image(4, seed=5, split="a")  # other pictures leave no trace
    again, found_again = data.image(3, seed=5, split="a")
    assert frame.dtype == np.uint8
    assert frame.shape == (*data.SIZE, 3)
    np.testing.assert_array_equal(frame, again)
    for one, other in zip(found, found_again, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.keypoints, other.keypoints)


@pytest.mark.parametrize("other", [(4, 5, "a"), (3, 6, "a"), (3, 5, "b")])
def test_each_argument_matters(other: tuple[int, int, str]) -> None:
    frame, _ = data.image(3, seed=5, split="a")
    index, seed, split = other
    assert (data.image(index, seed=seed, split=split)[0] != frame).mean() > 0.5


def test_masks_are_disjoint_and_boxes_are_their_extent() -> None:
    for frame, found in PICTURES:
        owners = np.sum([one.mask for one in found], axis=0)
        assert owners.max() == 1
        for one in found:
            assert one.mask.shape == frame.shape[:2]
            ys, xs = np.nonzero(one.mask)
            extent = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_array_equal(one.box, extent)


def test_hidden_part_is_not_in_the_mask() -> None:
    """The nearest of two overlapping objects keeps its whole outline, the other loses it."""
    overlaps = 0
    for index in range(12):
        what = scene(rng_for(0, "test", index), 256 / 192)
        _, masks, areas = render(what, data.SIZE)
        alone = [render(type(what)((t,), what.colors, 0, 0, what.aspect), data.SIZE)[1][0]
                 for t in what.things]  # fmt: skip
        nearer = np.zeros(data.SIZE, bool)
        for mask, full, area in reversed(list(zip(masks, alone, areas, strict=True))):
            np.testing.assert_array_equal(mask, full & ~nearer)
            assert full.sum() <= area
            overlaps += bool((full & nearer).any())
            nearer |= full
    assert overlaps > 5


def test_barely_visible_objects_are_not_labelled() -> None:
    dropped = 0
    for frame, found in data.clip(seed=1, frames=8):
        assert frame.shape == (*data.SIZE, 3)
        dropped += 8 - len(found)
    for index in range(12):
        what = scene(rng_for(0, "test", index), 256 / 192)
        _, masks, areas = render(what, data.SIZE)
        kept = {one.track for one in data.image(index, split="test")[1]}
        for track, (mask, area) in enumerate(zip(masks, areas, strict=True)):
            assert (track in kept) == (mask.sum() >= max(KEEP * area, 16))
    assert dropped < 64


def test_sizes_span_the_promised_range() -> None:
    things = [t for i in range(200) for t in scene(rng_for(0, "sizes", i), 4 / 3).things]
    sizes = np.array([t.size for t in things]) * 192
    assert 12 <= sizes.min() < 13
    assert 88 < sizes.max() <= 96
    assert {t.label for t in things} == set(range(1, 7))


def test_keypoints_and_their_visibility() -> None:
    seen = set()
    for index, (_, found) in enumerate(PICTURES):
        what = scene(rng_for(0, "test", index), 256 / 192)
        for one in found:
            if one.name not in KEYPOINT_CLASSES:
                assert not one.keypoints.any()
                continue
            places = what.things[one.track].place(POINTS[one.name]) * 192
            for (x, y, v), place in zip(one.keypoints, places, strict=True):
                seen.add(int(v))
                inside = 0 <= place[0] < 256 and 0 <= place[1] < 192
                assert (v > 0) == inside
                np.testing.assert_allclose((x, y), place if inside else (0, 0), atol=1e-3)
                hidden_by = any(o.mask[int(y), int(x)] for o in found if o.track > one.track)
                assert v != 2 or not hidden_by
    assert seen == {0, 1, 2}


def test_left_is_left_of_the_nose() -> None:
    for nose, left, right, tail, _ in POINTS.values():
        (ax, ay), (lx, ly), (rx, ry) = nose - tail, left - tail, right - tail
        assert ax * ly - ay * lx < 0 < ax * ry - ay * rx  # y grows downwards: left is negative


def test_a_larger_frame_shows_the_same_scene() -> None:
    _, small = data.image(2, split="test")
    frame, large = data.image(2, split="test", size=(384, 512))
    assert frame.shape == (384, 512, 3)
    common = {one.track: one for one in small}
    assert len(common.keys() & {one.track for one in large}) >= len(small) - 1
    for one in large:
        if one.track in common:
            np.testing.assert_allclose(one.box / 2, common[one.track].box, atol=1.6)


def test_encode_is_what_pycocotools_makes() -> None:
    rng = np.random.default_rng(0)
    masks = [one.mask for _, found in PICTURES[:6] for one in found]
    masks += [rng.random((37, 23)) < p for p in (0, 0.02, 0.5, 0.98, 1)]
    for mask in masks:
        theirs = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
        ours = data.encode(mask)
        assert ours["counts"].encode() == theirs["counts"]
        np.testing.assert_array_equal(mask_api.decode(ours), mask)


@pytest.mark.parametrize("keypoint_task", [False, True])
def test_written_set_loads_in_pycocotools(tmp_path: Path, keypoint_task: bool) -> None:
    path = data.write(tmp_path, 3, split="test", keypoint_task=keypoint_task)
    coco = COCO(str(path))
    frames, listed = data.dataset(3, split="test", keypoint_task=keypoint_task)
    assert json.loads(path.read_text()) == listed
    names = [c["name"] for c in coco.loadCats(coco.getCatIds())]
    assert names == list(KEYPOINT_CLASSES if keypoint_task else data.CLASSES)
    for entry, frame, (_, found) in zip(coco.imgs.values(), frames, PICTURES, strict=False):
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / entry["file_name"])), frame)
        expected = [one for one in found if one.name in names]
        got = coco.imgToAnns[entry["id"]]
        assert [names[a["category_id"] - 1] for a in got] == [one.name for one in expected]
        for a, one in zip(got, expected, strict=True):
            np.testing.assert_array_equal(coco.annToMask(a), one.mask)
            assert a["area"] == one.mask.sum()
            x, y, w, h = a["bbox"]
            np.testing.assert_array_equal([x, y, x + w, y + h], one.box)


def test_clip_moves_smoothly_and_loops() -> None:
    centers: list[dict[int, np.ndarray]] = []
    frames = []
    for frame, found in data.clip(seed=0, frames=24):
        frames.append(frame)
        centers.append({o.track: (o.box[:2] + o.box[2:]) / 2 for o in found})
    for before, after in zip(centers, centers[1:] + centers[:1], strict=True):
        both = before.keys() & after.keys()
        assert both
        assert np.median([np.linalg.norm(before[t] - after[t]) for t in both]) < 14
    assert (frames[0] != frames[12]).mean() > 0.05


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--out", str(tmp_path / "d"), "--split", "x", "-n", "2", "--size", "96", "128"]
    data.main(argv)
    assert "annotations.json" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "d" / "000001.png")).shape == (96, 128, 3)

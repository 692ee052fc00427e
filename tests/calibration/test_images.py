"""Folders, lists and annotations as sources of pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maskrt.calibration.images import Images, choose, find_images
from maskrt.errors import MaskrtError


@pytest.fixture
def folder(tmp_path):
    """Ten pictures in name only, and things that are none."""
    for i in (1, 2, 10, 3):
        (tmp_path / f"frame{i}.png").touch()
    (tmp_path / "b.JPG").touch()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._b.jpg").touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "c.png").touch()
    return tmp_path


def names(files):
    return [path.name for path in files]


def test_a_folder_in_natural_order(folder):
    expected = ["b.JPG", "frame1.png", "frame2.png", "frame3.png", "frame10.png"]
    assert names(find_images(folder)) == expected


def test_a_list(folder):
    path = folder / "list.txt"
    path.write_text("# chosen\nframe10.png\n\n  inner/c.png  \n")
    assert find_images(path) == (folder / "frame10.png", folder / "inner" / "c.png")
    other = folder / "inner" / "list.txt"
    other.write_text(f"frame1.png\n{folder / 'b.JPG'}\n")
    assert find_images(other, folder) == (folder / "frame1.png", folder / "b.JPG")


def test_annotations(folder):
    path = folder / "train.json"
    path.write_text(json.dumps({"images": [{"id": 1, "file_name": "inner/c.png"}]}))
    assert find_images(path) == (folder / "inner" / "c.png",)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.mkdir(), "holds no images .* not in folders within it"),
        (lambda p: None, "does not exist"),
        (lambda p: p.write_text(""), "names no images"),
        (
            lambda p: p.write_text("a.png\nb.png"),
            "2 of 2 .* missing, first .*a.png: is --image-root",
        ),
        (lambda p: p.write_bytes(b"\xff\xfe\x00\x81"), "neither a folder nor text"),
    ],
    ids=["empty folder", "nothing", "empty list", "missing files", "no text"],
)
def test_what_is_wrong_is_told(tmp_path, write, message):
    path = tmp_path / "what"
    write(path)
    with pytest.raises(MaskrtError, match=message):
        find_images(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [{}]}', '{"images": 3}'])
def test_json_of_something_else(tmp_path, text):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(MaskrtError, match="no COCO annotation file"):
        find_images(path)


def test_an_image_or_a_video(folder):
    with pytest.raises(MaskrtError, match="is an image, expected a folder"):
        find_images(folder / "b.JPG")
    (folder / "street.mp4").touch()
    with pytest.raises(MaskrtError, match=r"is a video.*save some of its frames"):
        find_images(folder / "street.mp4")


@pytest.mark.parametrize(("count", "limit"), [(10, 3), (10, 10), (3, 10), (1000, 7)])
def test_chosen_files_are_spread(tmp_path, count, limit):
    files = [tmp_path / f"{i}.png" for i in range(count)]
    chosen = choose(files, limit)
    assert len(chosen) == min(count, limit)
    positions = [files.index(path) for path in chosen]
    assert positions == sorted(set(positions))
    if count > limit:
        steps = np.diff([*positions, count])
        assert steps.max() - steps.min() <= 1


def test_frames_are_read_when_asked_for(tmp_path):
    files, read = [tmp_path / f"{i}.png" for i in range(5)], []

    def reader(path):
        read.append(path.name)
        return np.zeros((2, 2, 3), np.uint8)

    frames = Images(files, reader)
    assert len(frames) == 5
    assert read == []
    assert frames[3].shape == (2, 2, 3)
    assert read == ["3.png"]
    assert len(list(frames)) == len(list(frames)) == 5
    assert len(read) == 11
    assert names(frames[1:3].files) == ["1.png", "2.png"]

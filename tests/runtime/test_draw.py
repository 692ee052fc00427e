import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrt.errors import FrameError
from maskrt.runtime import Detections, masks
from maskrt.runtime.draw import class_color, draw, text_color

GREY = np.full((120, 160, 3), 128, np.uint8)
BOXES_ONLY = {"masks": False, "keypoints": False, "labels": False, "scores": False}


@pytest.fixture
def scene(detections):
    """The detections in a frame that is large enough for text."""
    return dataclasses.replace(
        detections,
        boxes=detections.boxes * 2,
        keypoints=detections.keypoints * (2, 2, 1),
        frame_size=(120, 160),
    )


def changed(image, frame=GREY):
    return (image != frame).any(axis=2)


def test_the_frame_stays_as_it_is(scene):
    frame = GREY.copy()
    image = scene.draw(frame)
    assert (frame == GREY).all()
    assert (image.shape, image.dtype) == (GREY.shape, np.uint8)
    assert changed(image).any()


def test_each_part_can_be_left_out(scene):
    options = {"boxes": True, "masks": True, "keypoints": True, "labels": True, "scores": True}
    full = draw(GREY, scene, **options)
    for name in options:
        assert (draw(GREY, scene, **{**options, name: False}) != full).any(), name
    nothing = draw(GREY, scene, **dict.fromkeys(options, False))
    assert (nothing == GREY).all()


def test_boxes_are_where_they_should_be(scene):
    image = draw(GREY, scene[0], **BOXES_ONLY, line_width=1)
    x0, y0, x1, y1 = (20, 24, 80, 100)
    expected = np.zeros(GREY.shape[:2], bool)
    expected[y0:y1, x0:x1] = True
    expected[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = False
    assert (changed(image) == expected).all()
    assert (image[expected] == class_color(1)).all()


def test_masks_are_where_they_should_be(scene):
    one = dataclasses.replace(scene[0], mask_probs=np.ones((1, 14, 14)))
    image = draw(GREY, one, **{**BOXES_ONLY, "masks": True}, boxes=False, opacity=0.5)
    mask = one.masks[0]
    inner = cv2.erode(mask.astype(np.uint8), np.ones((7, 7))) > 0
    outer = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))) > 0
    expected = (np.array(class_color(1)) + 128) / 2
    assert np.abs(image[inner] - expected).max() <= 1
    assert not changed(image)[~outer].any()
    outline = draw(GREY, one, **{**BOXES_ONLY, "masks": True}, boxes=False, opacity=0)
    assert not changed(outline)[inner].any()
    assert changed(outline).any()


@pytest.mark.parametrize("line_width", [1, 2, 3, 4, 5, 9])
def test_outlines_have_the_width_that_was_asked_for(scene, line_width):
    frame = np.full((400, 400, 3), 255, np.uint8)
    box = np.array([[100, 100, 300, 300]])
    one = dataclasses.replace(
        scene[0], boxes=box, mask_probs=np.ones((1, 14, 14)), frame_size=(400, 400)
    )
    image = draw(
        frame, one, **{**BOXES_ONLY, "masks": True}, boxes=False, opacity=0, line_width=line_width
    )
    distance = np.abs(image.astype(int) - class_color(1)).max(axis=2)
    # left of the middle, right of it, above it and below it
    for row in (distance[200, :200], distance[200, 200:], distance[:200, 200], distance[200:, 200]):
        line = np.flatnonzero(row < 60)
        assert line_width - 1 <= len(line) <= line_width + 2
        assert line[-1] - line[0] == len(line) - 1  # without a gap
    edge = np.flatnonzero(one.masks[0, 200])[0]
    assert abs(np.flatnonzero(distance[200, :200] < 60).mean() - edge) <= 1
    # beside it the seam is dark
    darkest = image[200, :200].max(axis=1).min()
    assert (darkest < 200) == (line_width > 1)  # of 255, as have the frame and the colour


@pytest.mark.parametrize("line_width", [2, 8])
def test_outlines_of_odd_masks(scene, line_width):
    """Of single pixels, of lines of a pixel, with holes, at the frame's edge."""
    rng = np.random.default_rng(0)
    probs = (rng.random((3, 14, 14)) > [[[0.5]], [[0.9]], [[0.1]]]).astype(np.float32)
    boxes = np.array([[0, 0, 160, 120], [-30, -40, 60, 60], [100, 90, 103, 93]])
    odd = dataclasses.replace(scene, boxes=boxes, mask_probs=probs)
    image = draw(GREY, odd, **{**BOXES_ONLY, "masks": True}, boxes=False, line_width=line_width)
    reached = odd.masks.any(axis=0).astype(np.uint8)
    reached = cv2.dilate(reached, np.ones((2 * line_width + 5,) * 2)) > 0
    assert changed(image)[odd.masks.any(axis=0)].mean() > 0.99
    assert not changed(image)[~reached].any()


def test_a_result_is_drawn_the_same_without_the_native_library(scene, monkeypatch):
    expected = draw(GREY, scene[:])
    monkeypatch.setattr(masks, "_native", lambda: None)
    assert (draw(GREY, scene[:]) == expected).all()


def test_keypoints_below_the_threshold_are_left_out(scene):
    options = {**BOXES_ONLY, "keypoints": True, "boxes": False}
    keypoints = scene.keypoints[:1].copy()
    keypoints[0, :, :2] = [[30, 30], [60, 90], [100, 40]]
    keypoints[0, :, 2] = [5, 5, 1]
    one = dataclasses.replace(scene[0], keypoints=keypoints)
    everything = changed(draw(GREY, one, **options))
    assert everything[30, 30]
    assert everything[60, 45]  # on the line from the first to the second
    assert everything[35, 65]  # from the first to the third
    some = changed(draw(GREY, one, **options, keypoint_threshold=1))
    assert some[60, 45]
    assert not some[35, 65]
    assert not some[40, 100]


def test_text_stays_inside_the_frame_and_shows_the_name(scene):
    corners = np.array([[-5, -5, 9, 9], [150, 110, 170, 130], [0, 0, 160, 120]], np.float32)
    options = {**BOXES_ONLY, "labels": True, "scores": True, "boxes": False}
    for box in corners:
        one = dataclasses.replace(scene[0], boxes=box[None])
        chip = changed(draw(GREY, one, **options))
        rows, columns = np.flatnonzero(chip.any(axis=1)), np.flatnonzero(chip.any(axis=0))
        assert chip[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert len(rows) < 30 < len(columns)
    name = draw(GREY, one, **{**options, "scores": False})
    both = draw(GREY, one, **options)
    assert changed(name).sum() < changed(both).sum()


def test_long_names_are_cut(scene, make_spec):
    spec = dataclasses.replace(scene.spec, labels=("background", "x" * 300))
    one = dataclasses.replace(scene[0], spec=spec)
    chip = changed(draw(GREY, one, **{**BOXES_ONLY, "labels": True}, boxes=False))
    assert 100 < np.flatnonzero(chip.any(axis=0)).size <= 160


def test_chips_do_not_hide_each_other(scene):
    options = {**BOXES_ONLY, "labels": True, "boxes": False}
    single = changed(draw(GREY, scene[0], **options)).sum()
    double = changed(draw(GREY, scene[[0, 0]], **options)).sum()
    assert double == 2 * single


def test_tiny_frames_carry_no_text_unless_told(detections):
    small = np.full((60, 80, 3), 128, np.uint8)
    options = {**BOXES_ONLY, "labels": True, "boxes": False}
    assert not changed(draw(small, detections, **options), small).any()
    assert changed(draw(small, detections, **options, text_size=8), small).any()


@pytest.mark.parametrize(("size", "low", "high"), [((192, 256), 10, 22), ((2160, 3840), 25, 70)])
def test_text_grows_with_the_frame_within_reason(scene, size, low, high):
    frame = np.full((*size, 3), 128, np.uint8)
    box = np.array([[0.3, 0.3, 0.6, 0.6]]) * (*size[::-1], *size[::-1])
    one = dataclasses.replace(scene[0], boxes=box, frame_size=size)
    chip = changed(draw(frame, one, **{**BOXES_ONLY, "labels": True}, boxes=False), frame)
    assert low <= np.flatnonzero(chip.any(axis=1)).size <= high


def test_colors_are_stable_and_well_apart():
    assert class_color(3) == class_color(3)
    colors = np.array([class_color(i) for i in range(12)], float)
    gaps = np.abs(colors[:, None] - colors).sum(axis=2) + np.eye(12) * 1000
    assert gaps.min() > 40
    assert len({class_color(i) for i in range(-3, 91)}) == 94


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_text_is_readable_on_any_color(color):
    def luminance(bgr):
        linear = [(c / 255) ** 2.2 for c in bgr]
        return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]

    low, high = sorted([luminance(color), luminance(text_color(color))])
    assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG AA


def test_other_kinds_of_frames(scene):
    expected = draw(GREY, scene)
    assert (draw(GREY[:, :, 0], scene) == expected).all()
    assert (draw(GREY / 255.0, scene) == expected).all()
    assert (draw(np.dstack([GREY, GREY[:, :, 0]])[:, ::-1][:, ::-1], scene) == expected).all()


def test_wrong_frames_and_options(scene):
    with pytest.raises(ValueError, match=r"found size \(60, 80\), .* of size \(120, 160\)"):
        draw(GREY[:60, :80], scene)
    with pytest.raises(FrameError):
        draw(None, scene)
    for options in ({"opacity": 1.5}, {"opacity": -0.1}, {"line_width": 0}, {"text_size": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            draw(GREY, scene, **options)


sides = st.floats(-1e6, 1e6, width=32) | st.floats(-20, 60, width=32) | st.just(np.nan)


@settings(max_examples=80, deadline=None)
@given(
    box=st.tuples(sides, sides, sides, sides),
    size=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    label=st.integers(-5, 2000),
    text_size=st.none() | st.integers(1, 60),
)
def test_nothing_that_a_model_gives_breaks_the_drawing(make_spec, box, size, label, text_size):
    spec = make_spec(mask=True, keypoint=True)
    found = Detections(
        np.array([box]),
        np.array([0.5]),
        np.array([label]),
        np.full((1, 14, 14), 0.9),
        np.array([[box[:3], (np.inf, 0, 1), (3e38, -3e38, 1)]]),
        frame_size=size,
        spec=spec,
    )
    image = draw(np.zeros((*size, 3), np.uint8), found, text_size=text_size)
    assert image.shape == (*size, 3)

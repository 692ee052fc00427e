"""detectron2's resize against its rule for sizes, as its source has it, and against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from maskrt.export import shortest_edge

side = st.integers(1, 5000)


def get_output_shape(oldh, oldw, short_edge_length, max_size):
    """ResizeShortestEdge.get_output_shape."""
    h, w = oldh, oldw
    size = short_edge_length * 1.0
    scale = size / min(h, w)
    if h < w:
        newh, neww = size, scale * w
    else:
        newh, neww = scale * h, size
    if max(newh, neww) > max_size:
        scale = max_size * 1.0 / max(newh, neww)
        newh = newh * scale
        neww = neww * scale
    return int(newh + 0.5), int(neww + 0.5)


@settings(max_examples=500, deadline=None)
@given(height=side, width=side, min_size=st.integers(1, 1500), max_size=st.integers(1, 2000))
@example(427, 640, 800, 1333)
@example(1080, 1920, 800, 1333)
@example(800, 800, 800, 1333)
@example(16, 25, 8, 0)  # 12.5
@example(3, 5000, 800, 1333)
def test_sizes_are_detectron2s(height, width, min_size, max_size):
    expected = get_output_shape(height, width, min_size, max_size or 10**9)
    canvas = (max(2000, expected[0]), max(2000, expected[1]))
    found = shortest_edge.content_size((height, width), canvas, min_size, max_size)
    assert found == tuple(max(1, side) for side in expected)


@settings(max_examples=200, deadline=None)
@given(
    height=side,
    width=side,
    canvas=st.tuples(st.integers(1, 1500), st.integers(1, 1500)),
    min_size=st.just(0) | st.integers(1, 1500),
    max_size=st.just(0) | st.integers(1, 2000),
)
def test_the_canvas_holds_the_content(height, width, canvas, min_size, max_size):
    rows, columns = shortest_edge.content_size((height, width), canvas, min_size, max_size)
    assert 1 <= rows <= canvas[0]
    assert 1 <= columns <= canvas[1]
    if not min_size and not max_size:
        # it touches a side
        assert rows == canvas[0] or columns == canvas[1]


def test_a_canvas_that_binds():
    assert shortest_edge.content_size((1080, 1920), (736, 1280), 800, 1333) == (720, 1280)
    # 12.5 rounds up to 13, one more than the canvas has: 12 / 25 of both sides
    assert shortest_edge.content_size((16, 25), (32, 12), 8, 0) == (8, 12)


thin = st.tuples(st.integers(1, 3), st.integers(1, 1000))
sizes = st.one_of(
    st.tuples(st.integers(1, 200), st.integers(1, 200)), thin, thin.map(lambda size: size[::-1])
)


@settings(max_examples=40, deadline=None)
@given(frame=sizes, size=st.tuples(*[st.integers(1, 200)] * 2), seed=st.integers(0, 2**16))
@example((1, 1), (200, 200), 0)
@example((200, 199), (200, 199), 0)
@example((2048, 2), (1, 2), 0)  # weights that lie at a half before they are rounded
def test_pixels_are_pillows(frame, size, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (1, *frame, 3), dtype=torch.uint8, generator=generator)
    found = shortest_edge.resize(pixels, size)
    # one axis at a time: Pillow 13 begins with the rows where the height shrinks most
    along_x = Image.fromarray(pixels[0].numpy()).resize(
        (size[1], frame[0]), Image.Resampling.BILINEAR
    )
    expected = np.asarray(along_x.resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("frame", [(480, 640), (427, 640), (1080, 1920)])
def test_usual_frames_in_one_call(frame):
    """As detectron2 calls Pillow."""
    pixels = torch.randint(0, 256, (1, *frame, 3), dtype=torch.uint8)
    rows, columns = shortest_edge.content_size(frame, (800, 1344), 800, 1333)
    found = shortest_edge.resize(pixels, (rows, columns))
    image = Image.fromarray(pixels[0].numpy())
    expected = np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found[0], expected)

"""Letterbox in standard ops."""

import onnx
from onnx import helper

from maskrt.export.functions import shortest_edge


def body(node: onnx.NodeProto) -> str:
    """Content size, resize and normalisation, on the static canvas; the node says by which rule."""
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    detectron2 = given.get("resize", b"torchvision") == b"detectron2"
    return (
        """
Letterbox <canvas, min_size, max_size, mean, std, swap_channels, resize> (frames)
    => (image, scale, content)
{
  canvas_size = Constant <value_ints: ints = @canvas> ()
  canvas_d = Cast <to = 11> (canvas_size)
  shape = Shape <start = 1, end = 3> (frames)
  frame_f = Cast <to = 1> (shape)
  frame_d = Cast <to = 11> (shape)
  batch = Shape <end = 1> (frames)
  i0 = Constant <value_int = 0> ()
  i1 = Constant <value_int = 1> ()
  min_i = Constant <value_int: int = @min_size> ()
  has_min = Greater (min_i, i0)
  max_i = Constant <value_int: int = @max_size> ()
  has_max = Greater (max_i, i0)
  short_side = ReduceMin <keepdims = 0> (frame_d)
  long_side = ReduceMax <keepdims = 0> (frame_d)
  fit_each = Div (canvas_d, frame_d)
  fit = ReduceMin <keepdims = 0> (fit_each)
  one_d = Constant <value = double {1.0}> ()
  zero = Constant <value_float = 0.0> ()

"""
        + (shortest_edge.SIZE if detectron2 else SIZE)
        + """
  content_f = Cast <to = 1> (size)
  step = Div (frame_f, content_f)
  two = Constant <value_ints = [2]> ()
  pair = Concat <axis = 0> (batch, two)
  scale = Expand (step, pair)
  content = Expand (content_f, pair)

"""
        + (shortest_edge.PIXELS if detectron2 else PIXELS)
        + """
  # the network's channel order, normalised, then zero outside the content
  straight = Constant <value_ints = [0, 1, 2]> ()
  swapped = Constant <value_ints = [2, 1, 0]> ()
  swap_i = Constant <value_int: int = @swap_channels> ()
  swap = Cast <to = 9> (swap_i)
  order = Where (swap, swapped, straight)
  planar = Transpose <perm = [0, 3, 1, 2]> (pixels)
  ordered = Gather <axis = 1> (planar, order)
  channel_shape = Constant <value_ints = [3, 1, 1]> ()
  mean_f = Constant <value_floats: floats = @mean> ()
  mean_c = Reshape (mean_f, channel_shape)
  std_f = Constant <value_floats: floats = @std> ()
  std_c = Reshape (std_f, channel_shape)
  centered = Sub (ordered, mean_c)
  normal = Div (centered, std_c)
  column_shape = Constant <value_ints = [-1, 1]> ()
  y_inside_c = Reshape (y_inside, column_shape)
  inside = And (y_inside_c, x_inside)
  image = Where (inside, normal, zero)
}
"""
    )


SIZE = """
  # ratio = min(canvas / frame, min_size / short side, max_size / long side); 0 is no bound
  # in float64, as torchvision computes it
  unbounded = Constant <value_int = 1000000000> ()
  min_bound = Where (has_min, min_i, unbounded)
  min_d = Cast <to = 11> (min_bound)
  max_bound = Where (has_max, max_i, unbounded)
  max_d = Cast <to = 11> (max_bound)
  short_ratio = Div (min_d, short_side)
  long_ratio = Div (max_d, long_side)
  ratio = Min (fit, short_ratio, long_ratio)
  size_d = Mul (frame_d, ratio)
  floored = Floor (size_d)
  size = Max (floored, one_d)
"""
"""The content's size by torchvision's rule, float64 [2]."""


def _blend(name: str, index: str, *, axis: int, source: str, result: str, weight_axes: str) -> str:
    """Along one axis: where each canvas cell reads, its two neighbours there, and their blend.

    ``index`` names the axis's position in (height, width) pairs; ``weight_axes`` are the axes of
    ``source`` behind it. Also gives ``{name}_inside``: which canvas cells belong to the content.
    """
    n = name
    return f"""
  {n}_extent = Gather (shape, {index})
  {n}_last = Sub ({n}_extent, i1)
  {n}_cells = Gather (canvas_size, {index})
  {n}_cell_i = Range (i0, {n}_cells, i1)
  {n}_cell = Cast <to = 1> ({n}_cell_i)
  {n}_content = Gather (content_f, {index})
  {n}_inside = Less ({n}_cell, {n}_content)
  {n}_step = Gather (step, {index})
  {n}_center = Add ({n}_cell, half)
  {n}_stretched = Mul ({n}_center, {n}_step)
  {n}_shifted = Sub ({n}_stretched, half)
  {n}_place = Max ({n}_shifted, zero)
  {n}_floor = Floor ({n}_place)
  {n}_floor_i = Cast <to = 7> ({n}_floor)
  {n}_first = Min ({n}_floor_i, {n}_last)
  {n}_next = Add ({n}_first, i1)
  {n}_second = Min ({n}_next, {n}_last)
  {n}_fraction = Sub ({n}_place, {n}_floor)
  {n}_axes = Constant <value_ints = {weight_axes}> ()
  {n}_weight1 = Unsqueeze ({n}_fraction, {n}_axes)
  {n}_weight0 = Sub (one, {n}_weight1)
  {n}_raw0 = Gather <axis = {axis}> ({source}, {n}_first)
  {n}_raw1 = Gather <axis = {axis}> ({source}, {n}_second)
  {n}_value0 = Cast <to = 1> ({n}_raw0)
  {n}_value1 = Cast <to = 1> ({n}_raw1)
  {n}_part0 = Mul ({n}_value0, {n}_weight0)
  {n}_part1 = Mul ({n}_value1, {n}_weight1)
  {result} = Add ({n}_part0, {n}_part1)
"""


PIXELS = """
  half = Constant <value_float = 0.5> ()
  one = Constant <value_float = 1.0> ()
""" + (
    _blend("y", "i0", axis=1, source="frames", result="rows", weight_axes="[1, 2]")
    + _blend("x", "i1", axis=2, source="rows", result="pixels", weight_axes="[1]")
)
"""Bilinear by two gathers and a blend per axis: float32 [B, h, w, 3] on the whole canvas."""

"""KeypointDecode in standard ops."""

import onnx
from onnx import helper

from maskrt.export.functions.slots import slots

SCORES = {
    "torchvision": "score = Identity (logit)",
    # structures/keypoints.py: over the heatmap's cells, so that large boxes score as small ones do
    "detectron2": """cell_logits = Reshape (maps, flat_shape)
    below = Sub (cell_logits, logit)
    shares = Exp (below)
    sum = ReduceSum (shares, axis1)
    score = Reciprocal (sum)""",
}
"""From the logit at each point, float32 [K, 1], by convention."""


def body(node: onnx.NodeProto) -> str:
    """A Loop over the detections that exist: each heatmap is resized to its own box (bicubic)."""
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    score = SCORES[given.get("decode", b"torchvision").decode()]
    return (
        """
KeypointDecode <decode> (heatmaps, boxes, count, scale) => (keypoints)
{
  i0 = Constant <value_int = 0> ()
  i1 = Constant <value_int = 1> ()
  axis0 = Constant <value_ints = [0]> ()
  axis1 = Constant <value_ints = [1]> ()
  last = Constant <value_ints = [-1]> ()
  zero = Constant <value_float = 0.0> ()
  one = Constant <value_float = 1.0> ()
  half = Constant <value_float = 0.5> ()
  points = Shape <start = 1, end = 2> (heatmaps)
"""
        + slots("boxes")
        + """
  live_found = NonZero (live)
  live_slots = Squeeze (live_found, axis0)
  # one more turn, dropped below: the scanned output keeps its shape where nothing was detected
  turns = Concat <axis = 0> (live_slots, axis0)
  turns_u = Shape (turns)
  turns_n = Squeeze (turns_u)
  go = Constant <value = bool {1}> ()

  found = Loop (turns_n, go) <body = each (int64 turn, bool go_in)
      => (bool go_out, float[k, n] point) {
    go_out = Identity (go_in)
    index = Gather (turns, turn)
    box = Gather (flat_boxes, index)
    maps = Gather (heatmaps, index)
    low_end = Constant <value_ints = [2]> ()
    high_end = Constant <value_ints = [4]> ()
    low = Slice (box, axis0, low_end)
    high = Slice (box, low_end, high_end)
    extent = Sub (high, low)
    size = Max (extent, one)
    whole = Ceil (size)
    correction = Div (size, whole)
    whole_i = Cast <to = 7> (whole)
    flipped = Constant <value_ints = [1, 0]> ()
    map_hw = Gather (whole_i, flipped)
    channels = Concat <axis = 0> (axis1, points)
    sizes = Concat <axis = 0> (channels, map_hw)
    batched = Unsqueeze (maps, axis0)
    resized = Resize <mode = "cubic", cubic_coeff_a = -0.75,
        coordinate_transformation_mode = "half_pixel"> (batched, , , sizes)
    flat_shape = Concat <axis = 0> (points, last)
    flat = Reshape (resized, flat_shape)
    best = ArgMax <axis = 1, keepdims = 0> (flat)
    logit = ReduceMax <keepdims = 1> (flat, axis1)
    columns = Gather (whole_i, i0)
    column = Mod (best, columns)
    row = Div (best, columns)
    column_u = Unsqueeze (column, axis1)
    row_u = Unsqueeze (row, axis1)
    cell_i = Concat <axis = 1> (column_u, row_u)
    cell = Cast <to = 1> (cell_i)
    """
        + score
        + """
    center = Add (cell, half)
    stretched = Mul (center, correction)
    canvas_point = Add (stretched, low)
    image_index = Gather (image, index)
    scale_yx = Gather (scale, image_index)
    scale_xy = Gather (scale_yx, flipped)
    frame_point = Mul (canvas_point, scale_xy)
    point = Concat <axis = 1> (frame_point, score)
  }>

  minus_one = Constant <value_ints = [-1]> ()
  real = Slice (found, axis0, minus_one, axis0)
  three = Constant <value_ints = [3]> ()
  flat_out_shape = Concat <axis = 0> (total, points, three)
  blank = ConstantOfShape (flat_out_shape)
  where_real = Unsqueeze (live_slots, last)
  flat_out = ScatterND (blank, where_real, real)
  out_shape = Concat <axis = 0> (batch, slots, points, three)
  keypoints = Reshape (flat_out, out_shape)
}
"""
    )

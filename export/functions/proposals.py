"""Proposals in standard ops."""

import onnx

from maskrt.export.functions.decode import DECODE


def body(_node: onnx.NodeProto) -> str:
    """Anchors from tables, one NonMaxSuppression in which each level is a class."""
    return (
        """
Proposals <anchors, anchors_per_cell, grid_widths, strides, top_k, num_rois, nms_threshold,
    score_threshold, min_size, delta_weights, delta_clip> (objectness, deltas, indices, content)
    => (rois, count)
{
  i0 = Constant <value_int = 0> ()
  i1 = Constant <value_int = 1> ()
  axis0 = Constant <value_ints = [0]> ()
  axis1 = Constant <value_ints = [1]> ()
  last = Constant <value_ints = [-1]> ()

  # the level of each of the K candidates
  per_level = Constant <value_ints: ints = @top_k> ()
  ends = CumSum (per_level, i0)
  ends_column = Unsqueeze (ends, axis1)
  candidates = ReduceSum <keepdims = 0> (per_level)
  position = Range (i0, candidates, i1)
  passed = GreaterOrEqual (position, ends_column)
  passed_i = Cast <to = 7> (passed)
  level = ReduceSum <keepdims = 0> (passed_i, axis0)

  # its anchor
  cell_anchors = Constant <value_ints: ints = @anchors_per_cell> ()
  anchor_ends = CumSum (cell_anchors, i0)
  anchor_starts = Sub (anchor_ends, cell_anchors)
  first_anchor = Gather (anchor_starts, level)
  anchor_count = Gather (cell_anchors, level)
  widths = Constant <value_ints: ints = @grid_widths> ()
  width = Gather (widths, level)
  strides_flat = Constant <value_ints: ints = @strides> ()
  pairs = Constant <value_ints = [-1, 2]> ()
  strides_table = Reshape (strides_flat, pairs)
  stride = Gather (strides_table, level)
  stride_y = Gather <axis = 1> (stride, i0)
  stride_x = Gather <axis = 1> (stride, i1)
  index = Cast <to = 7> (indices)
  cell = Div (index, anchor_count)
  anchor = Mod (index, anchor_count)
  row = Div (cell, width)
  column = Mod (cell, width)
  y = Mul (row, stride_y)
  x = Mul (column, stride_x)
  y_u = Unsqueeze (y, last)
  x_u = Unsqueeze (x, last)
  shift_i = Concat <axis = -1> (x_u, y_u, x_u, y_u)
  shift = Cast <to = 1> (shift_i)
  anchors_flat = Constant <value_floats: floats = @anchors> ()
  quads = Constant <value_ints = [-1, 4]> ()
  anchor_table = Reshape (anchors_flat, quads)
  anchor_row = Add (first_anchor, anchor)
  base = Gather (anchor_table, anchor_row)
  reference = Add (base, shift)
  raw_deltas = Identity (deltas)
  limit_axes = Constant <value_ints = [1]> ()
"""
        + DECODE
        + """
  # dropped candidates get -1
  probability = Sigmoid (objectness)
  least = Constant <value_float: float = @score_threshold> ()
  likely = GreaterOrEqual (probability, least)
  valid = And (likely, large)
  minus = Constant <value_float = -1.0> ()
  score = Where (valid, probability, minus)

  # NMS with levels as classes: a candidate has a score in its own level only
  levels = Shape (per_level)
  levels_s = Squeeze (levels)
  level_ids = Range (i0, levels_s, i1)
  level_column = Unsqueeze (level_ids, axis1)
  own = Equal (level, level_column)
  score_row = Unsqueeze (score, axis1)
  score_by_level = Where (own, score_row, minus)
  overlap = Constant <value_float: float = @nms_threshold> ()
  below_zero = Constant <value_float = -0.5> ()
  selected = NonMaxSuppression (boxes, score_by_level, candidates, overlap, below_zero)
  frame_and_candidate = Constant <value_ints = [0, 2]> ()
  where_kept = Gather <axis = 1> (selected, frame_and_candidate)
  score_shape = Shape (score)
  nothing = ConstantOfShape <value = float[1] {-1.0}> (score_shape)
  kept_score = GatherND (score, where_kept)
  ranked = ScatterND (nothing, where_kept, kept_score)

  # the best over all levels, zero padded
  rois_n = Constant <value_int: int = @num_rois> ()
  rois_k = Unsqueeze (rois_n, axis0)
  best, best_index = TopK <axis = 1> (ranked, rois_k)
  best_u = Unsqueeze (best_index, last)
  best_boxes = GatherND <batch_dims = 1> (boxes, best_u)
  real = GreaterOrEqual (best, dc_zero)
  real_u = Unsqueeze (real, last)
  rois = Where (real_u, best_boxes, dc_zero)
  real_i = Cast <to = 6> (real)
  count = ReduceSum <keepdims = 0> (real_i, axis1)
}
"""
    )

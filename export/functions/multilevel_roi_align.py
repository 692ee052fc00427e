"""MultilevelRoIAlign in standard ops."""

import onnx

from maskrt.export.functions.slots import slots


def body(node: onnx.NodeProto) -> str:
    """Splits the RoIs by level, pools each level with RoiAlign, puts the rows back in order.

    The node's inputs are rois, count and one feature map per level.
    """
    levels = range(len(node.input) - 2)
    features = ", ".join(f"feature{i}" for i in levels)
    pool = "".join(_level(i) for i in levels)
    rows = ", ".join(f"pooled{i}" for i in levels)
    members = ", ".join(f"member{i}" for i in levels)
    return f"""
MultilevelRoIAlign <output_height, output_width, spatial_scales, sampling_ratio,
    coordinate_transformation_mode, min_level, canonical_size, canonical_level, epsilon,
    log_epsilon> (rois, count, {features}) => (pooled)
{{
  i0 = Constant <value_int = 0> ()
  i1 = Constant <value_int = 1> ()
  axis0 = Constant <value_ints = [0]> ()
  axis1 = Constant <value_ints = [1]> ()
{slots("rois")}
  # level = floor(canonical_level + log2(sqrt(area) / canonical_size + log_epsilon) + epsilon)
  x_low, y_low, x_high, y_high = Split <axis = 1, num_outputs = 4> (flat_boxes)
  width = Sub (x_high, x_low)
  height = Sub (y_high, y_low)
  area_column = Mul (width, height)
  area = Squeeze (area_column, axis1)
  side = Sqrt (area)
  unit = Constant <value_float: float = @canonical_size> ()
  relative = Div (side, unit)
  inner = Constant <value_float: float = @log_epsilon> ()
  relative_e = Add (relative, inner)
  # in float64, so that log2 of a power of two is exact
  relative_d = Cast <to = 11> (relative_e)
  natural = Log (relative_d)
  ln2 = Constant <value = double {{0.6931471805599453}}> ()
  octave_d = Div (natural, ln2)
  octave = Cast <to = 1> (octave_d)
  base_i = Constant <value_int: int = @canonical_level> ()
  base = Cast <to = 1> (base_i)
  outer = Constant <value_float: float = @epsilon> ()
  raw = Add (base, octave)
  raw_e = Add (raw, outer)
  floored = Floor (raw_e)
  first_i = Constant <value_int: int = @min_level> ()
  first = Cast <to = 1> (first_i)
  offset = Sub (floored, first)
  lowest = Constant <value_float = 0.0> ()
  highest = Constant <value_float = {float(len(levels) - 1)}> ()
  is_nan = IsNaN (offset)
  number = Where (is_nan, lowest, offset)
  level = Clip (number, lowest, highest)

  scales = Constant <value_floats: floats = @spatial_scales> ()
{pool}
  # rows in order; a dead RoI reads the row of zeros behind the pooled ones
  feature_shape = Shape <start = 1, end = 2> (feature0)
  rows_i = Constant <value_int: int = @output_height> ()
  rows_u = Unsqueeze (rows_i, axis0)
  columns_i = Constant <value_int: int = @output_width> ()
  columns_u = Unsqueeze (columns_i, axis0)
  one = Constant <value_ints = [1]> ()
  blank_shape = Concat <axis = 0> (one, feature_shape, rows_u, columns_u)
  blank = ConstantOfShape (blank_shape)
  by_level = Concat <axis = 0> ({rows}, blank)
  order = Concat <axis = 0> ({members})
  order_n = Shape (order)
  dead_row = Expand (order_n, total)
  order_s = Squeeze (order_n)
  row_ids = Range (i0, order_s, i1)
  source = ScatterElements (dead_row, order, row_ids)
  pooled = Gather (by_level, source)
}}
"""


def _level(i: int) -> str:
    return f"""
  id{i} = Constant <value_float = {float(i)}> ()
  on_level{i} = Equal (level, id{i})
  chosen{i} = And (on_level{i}, live)
  found{i} = NonZero (chosen{i})
  member{i} = Squeeze (found{i}, axis0)
  index{i} = Constant <value_int = {i}> ()
  scale{i} = Gather (scales, index{i})
  box{i} = Gather (flat_boxes, member{i})
  scaled{i} = Mul (box{i}, scale{i})
  image{i} = Gather (image, member{i})
  pooled{i} = RoiAlign <
      coordinate_transformation_mode: string = @coordinate_transformation_mode,
      output_height: int = @output_height, output_width: int = @output_width,
      sampling_ratio: int = @sampling_ratio, spatial_scale = 1.0, mode = "avg">
      (feature{i}, scaled{i}, image{i})
"""

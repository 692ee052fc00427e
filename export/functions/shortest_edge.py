"""detectron2's resize in standard ops; ``maskrt.export.shortest_edge`` has the same in torch."""

SIZE = """
  # step by step as ResizeShortestEdge, in float64: the short side, then the bound of the long one
  min_d = Cast <to = 11> (min_i)
  max_d = Cast <to = 11> (max_i)
  height = Gather (frame_d, i0)
  width = Gather (frame_d, i1)
  wide = Less (height, width)
  tall = Not (wide)
  axis0 = Constant <value_ints = [0]> ()
  wide_u = Unsqueeze (wide, axis0)
  tall_u = Unsqueeze (tall, axis0)
  is_short = Concat <axis = 0> (wide_u, tall_u)
  short_ratio = Div (min_d, short_side)
  long_ratio = Div (max_d, long_side)
  ratio = Where (has_min, short_ratio, long_ratio)
  scaled = Mul (frame_d, ratio)
  exact = And (is_short, has_min)
  sides = Where (exact, min_d, scaled)
  longest = ReduceMax <keepdims = 0> (sides)
  over = Greater (longest, max_d)
  too_long = And (over, has_max)
  reduction = Div (max_d, longest)
  shrink = Where (too_long, reduction, one_d)
  bounded = Mul (sides, shrink)

  # where that does not fit, or without bounds: as the canvas allows
  half_d = Constant <value = double {0.5}> ()
  bounded_half = Add (bounded, half_d)
  bounded_size = Floor (bounded_half)
  excess_each = Sub (bounded_size, canvas_d)
  excess = ReduceMax <keepdims = 0> (excess_each)
  zero_d = Constant <value = double {0.0}> ()
  fits = LessOrEqual (excess, zero_d)
  has_bound = Or (has_min, has_max)
  as_asked = And (has_bound, fits)
  fitted = Mul (frame_d, fit)
  fitted_half = Add (fitted, half_d)
  fitted_size = Floor (fitted_half)
  nearest = Where (as_asked, bounded_size, fitted_size)
  at_least = Max (nearest, one_d)
  size = Min (at_least, canvas_d)
"""
"""The content's size by detectron2's rule, float64 [2]."""


def _taps(name: str, index: str) -> str:
    """Along one axis, for each canvas cell: where it reads, int64 [taps, cells], and the weights.

    Those are Pillow's (``precompute_coeffs`` and ``normalize_coeffs_8bpc`` of ``Resample.c``),
    int32 [taps, cells]. ``index`` names the axis's position in (height, width) pairs. Cells behind
    the content repeat its last one; ``{name}_inside`` tells them apart.
    """
    n = name
    return f"""
  {n}_extent = Gather (shape, {index})
  {n}_cells = Gather (canvas_size, {index})
  {n}_cell = Range (i0, {n}_cells, i1)
  {n}_content = Gather (content_i, {index})
  {n}_inside = Less ({n}_cell, {n}_content)
  {n}_last_cell = Sub ({n}_content, i1)
  {n}_used = Min ({n}_cell, {n}_last_cell)
  {n}_used_d = Cast <to = 11> ({n}_used)
  {n}_ratio = Gather (ratio_d, {index})
  {n}_support = Max ({n}_ratio, one_d)
  {n}_middle = Add ({n}_used_d, half_d)
  {n}_center = Mul ({n}_middle, {n}_ratio)
  {n}_left = Sub ({n}_center, {n}_support)
  {n}_left_half = Add ({n}_left, half_d)
  {n}_left_i = Cast <to = 7> ({n}_left_half)
  {n}_first = Max ({n}_left_i, i0)
  {n}_right = Add ({n}_center, {n}_support)
  {n}_right_half = Add ({n}_right, half_d)
  {n}_right_i = Cast <to = 7> ({n}_right_half)
  {n}_end = Min ({n}_right_i, {n}_extent)
  {n}_counts = Sub ({n}_end, {n}_first)
  {n}_taps = ReduceMax <keepdims = 0> ({n}_counts)
  {n}_tap = Range (i0, {n}_taps, i1)
  {n}_tap_u = Unsqueeze ({n}_tap, axis1)
  {n}_pixel = Add ({n}_first, {n}_tap_u)
  {n}_pixel_d = Cast <to = 11> ({n}_pixel)
  {n}_off = Sub ({n}_pixel_d, {n}_center)
  {n}_off_half = Add ({n}_off, half_d)
  {n}_narrow = Div (one_d, {n}_support)
  {n}_relative = Mul ({n}_off_half, {n}_narrow)
  {n}_distance = Abs ({n}_relative)
  {n}_height = Sub (one_d, {n}_distance)
  {n}_above = Max ({n}_height, zero_d)
  {n}_within = Less ({n}_pixel, {n}_end)
  {n}_triangle = Where ({n}_within, {n}_above, zero_d)
  # a running sum adds one by one, as Pillow does
  {n}_sums = CumSum ({n}_triangle, i0)
  {n}_sum = Gather ({n}_sums, last)
  {n}_share = Div ({n}_triangle, {n}_sum)
  {n}_fixed = Mul ({n}_share, unit_d)
  {n}_fixed_half = Add ({n}_fixed, half_d)
  {n}_weights = Cast <to = 6> ({n}_fixed_half)
  {n}_end_pixel = Sub ({n}_extent, i1)
  {n}_pixels = Min ({n}_pixel, {n}_end_pixel)
"""


def _sum(name: str, *, axis: int, source: str, shape: str, result: str, weight_axes: str) -> str:
    """The weighted sums along an axis, tap by tap in fixed point, as int32 from 0 to 255.

    ``shape`` names that of the result; ``weight_axes`` are the axes of ``source`` behind this one.
    """
    n = name
    return f"""
  {n}_axes = Constant <value_ints = {weight_axes}> ()
  {n}_start = Expand (rounding, {shape})
  {n}_total = Loop ({n}_taps, go, {n}_start) <body = add_{n} (
      int64 {n}_turn, bool {n}_go, int32[b, {n}_rows, {n}_columns, c] {n}_before)
      => (bool {n}_go_on, int32[b, {n}_rows, {n}_columns, c] {n}_after) {{
    {n}_go_on = Identity ({n}_go)
    {n}_at = Gather ({n}_pixels, {n}_turn)
    {n}_weight = Gather ({n}_weights, {n}_turn)
    {n}_weight_u = Unsqueeze ({n}_weight, {n}_axes)
    {n}_raw = Gather <axis = {axis}> ({source}, {n}_at)
    {n}_value = Cast <to = 6> ({n}_raw)
    {n}_part = Mul ({n}_value, {n}_weight_u)
    {n}_after = Add ({n}_before, {n}_part)
  }}>
  {n}_whole = Div ({n}_total, unit)
  {result} = Min ({n}_whole, highest)
"""


PIXELS = (
    """
  axis1 = Constant <value_ints = [1]> ()
  last = Constant <value_ints = [-1]> ()
  go = Constant <value = bool {1}> ()
  unit_d = Constant <value = double {4194304.0}> ()
  unit = Constant <value = int32 {4194304}> ()
  rounding = Constant <value = int32 {2097152}> ()
  highest = Constant <value = int32 {255}> ()
  content_i = Cast <to = 7> (size)
  ratio_d = Div (frame_d, size)
  colors = Shape <start = 3> (frames)
  frame_rows = Shape <start = 1, end = 2> (frames)
"""
    + _taps("x", "i1")
    + _taps("y", "i0")
    + """
  x_cells_u = Unsqueeze (x_cells, axis0)
  y_cells_u = Unsqueeze (y_cells, axis0)
  stretched_shape = Concat <axis = 0> (batch, frame_rows, x_cells_u, colors)
  resized_shape = Concat <axis = 0> (batch, y_cells_u, x_cells_u, colors)
"""
    + _sum("x", axis=2, source="frames", shape="stretched_shape", result="rows", weight_axes="[1]")
    + _sum("y", axis=1, source="rows", shape="resized_shape", result="bytes", weight_axes="[1, 2]")
    + """
  pixels = Cast <to = 1> (bytes)
"""
)
"""Along x, rounded to bytes, then along y, as Pillow: float32 [B, h, w, 3] on the whole canvas."""

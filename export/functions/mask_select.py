"""MaskSelect in standard ops."""

import onnx


def body(_node: onnx.NodeProto) -> str:
    """A gather of single maps before the sigmoid: the other classes cost nothing."""
    return """
MaskSelect (logits, labels, count) => (masks)
{
  i0 = Constant <value_int = 0> ()
  i1 = Constant <value_int = 1> ()
  last = Constant <value_ints = [-1]> ()
  map_shape = Shape <start = 2> (logits)
  classes = Shape <start = 1, end = 2> (logits)
  flat_shape = Concat <axis = 0> (last, map_shape)
  maps = Reshape (logits, flat_shape)
  label_i = Cast <to = 7> (labels)
  label_flat = Reshape (label_i, last)
  last_class = Sub (classes, i1)
  channel = Min (label_flat, last_class)
  total = Shape (label_flat)
  total_s = Squeeze (total)
  slot = Range (i0, total_s, i1)
  start = Mul (slot, classes)
  chosen = Add (start, channel)
  chosen_maps = Gather (maps, chosen)
  probability = Sigmoid (chosen_maps)
  label_shape = Shape (labels)
  out_shape = Concat <axis = 0> (label_shape, map_shape)
  shaped = Reshape (probability, out_shape)

  # zeros past the count
  slots_u = Shape <start = 1, end = 2> (labels)
  slots = Squeeze (slots_u)
  place = Range (i0, slots, i1)
  count_i = Cast <to = 7> (count)
  axis1 = Constant <value_ints = [1]> ()
  count_u = Unsqueeze (count_i, axis1)
  live = Less (place, count_u)
  map_axes = Constant <value_ints = [2, 3]> ()
  live_u = Unsqueeze (live, map_axes)
  zero = Constant <value_float = 0.0> ()
  masks = Where (live_u, shaped, zero)
}
"""

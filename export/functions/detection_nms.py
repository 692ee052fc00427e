"""DetectionNMS in standard ops."""

import onnx

from maskrt.export.functions.decode import DECODE


def body(_node: onnx.NodeProto) -> str:
    """One NonMaxSuppression in which each class of each frame is an image of its own."""
    return (
        """
DetectionNMS <max_detections, min_size, delta_weights, delta_clip, background_first>
    (logits, deltas, rois, count, content, score_threshold, nms_threshold)
    => (out_boxes, out_scores, out_labels, out_count)
{
  i0 = Constant <value_int = 0> ()
  i1 = Constant <value_int = 1> ()
  i2 = Constant <value_int = 2> ()
  axis0 = Constant <value_ints = [0]> ()
  axis1 = Constant <value_ints = [1]> ()
  axis2 = Constant <value_ints = [2]> ()
  last = Constant <value_ints = [-1]> ()
  four = Constant <value_ints = [4]> ()

  batch = Shape <start = 0, end = 1> (logits)
  slots = Shape <start = 1, end = 2> (logits)
  classes = Shape <start = 2, end = 3> (logits)
  foreground = Sub (classes, i1)
  first = Constant <value_int: int = @background_first> ()
  first_u = Unsqueeze (first, axis0)
  end = Add (first_u, foreground)

  softmax = Softmax <axis = -1> (logits)
  probability = Slice (softmax, first_u, end, axis2)

  # which of the deltas belong to a class: one of C, of C - 1, or the only one
  foreground_s = Squeeze (foreground)
  class_ids = Range (i0, foreground_s, i1)
  labels_row = Add (class_ids, first)
  deltas_split_shape = Concat <axis = 0> (batch, slots, last, four)
  deltas_split = Reshape (deltas, deltas_split_shape)
  deltas_n = Shape <start = 2, end = 3> (deltas_split)
  with_background = Equal (deltas_n, classes)
  wide_ids = Where (with_background, labels_row, class_ids)
  delta_last = Sub (deltas_n, i1)
  delta_ids = Min (wide_ids, delta_last)
  raw_deltas = Gather <axis = 2> (deltas_split, delta_ids)
  reference = Unsqueeze (rois, axis2)
  limit_axes = Constant <value_ints = [1, 2]> ()
"""
        + DECODE
        + """
  # padded RoIs and dropped candidates get -1
  slots_s = Squeeze (slots)
  slot = Range (i0, slots_s, i1)
  count_i = Cast <to = 7> (count)
  count_u = Unsqueeze (count_i, axis1)
  live = Less (slot, count_u)
  live_u = Unsqueeze (live, axis2)
  likely = Greater (probability, score_threshold)
  live_large = And (live_u, large)
  valid = And (likely, live_large)
  minus = Constant <value_float = -1.0> ()
  score = Where (valid, probability, minus)

  # [B, R, C-1] to B * (C-1) images of R boxes
  boxes_t = Transpose <perm = [0, 2, 1, 3]> (boxes)
  image_boxes_shape = Concat <axis = 0> (last, slots, four)
  image_boxes = Reshape (boxes_t, image_boxes_shape)
  score_t = Transpose <perm = [0, 2, 1]> (score)
  one = Constant <value_ints = [1]> ()
  image_scores_shape = Concat <axis = 0> (last, one, slots)
  image_scores = Reshape (score_t, image_scores_shape)
  detections = Constant <value_int: int = @max_detections> ()
  below_zero = Constant <value_float = -0.5> ()
  selected = NonMaxSuppression (image_boxes, image_scores, detections, nms_threshold, below_zero)
  image = Gather <axis = 1> (selected, i0)
  roi = Gather <axis = 1> (selected, i2)
  frame = Div (image, foreground)
  kind = Mod (image, foreground)
  row = Mul (roi, foreground)
  candidate = Add (row, kind)
  frame_u = Unsqueeze (frame, last)
  candidate_u = Unsqueeze (candidate, last)
  where_kept = Concat <axis = -1> (frame_u, candidate_u)

  # the best D of each frame; D more candidates of -1, so that there are always enough
  flat_shape = Concat <axis = 0> (batch, last)
  flat_score = Reshape (score, flat_shape)
  kept_score = GatherND (flat_score, where_kept)
  detections_u = Unsqueeze (detections, axis0)
  candidates = Shape <start = 1, end = 2> (flat_score)
  padded_n = Add (candidates, detections_u)
  padded_shape = Concat <axis = 0> (batch, padded_n)
  nothing = ConstantOfShape <value = float[1] {-1.0}> (padded_shape)
  ranked = ScatterND (nothing, where_kept, kept_score)
  best, best_padded = TopK <axis = 1> (ranked, detections_u)
  last_candidate = Sub (candidates, i1)
  best_index = Min (best_padded, last_candidate)
  real = GreaterOrEqual (best, dc_zero)
  real_u = Unsqueeze (real, last)
  flat_boxes_shape = Concat <axis = 0> (batch, last, four)
  flat_boxes = Reshape (boxes, flat_boxes_shape)
  best_u = Unsqueeze (best_index, last)
  best_boxes = GatherND <batch_dims = 1> (flat_boxes, best_u)
  out_boxes = Where (real_u, best_boxes, dc_zero)
  out_scores = Where (real, best, dc_zero)
  best_kind = Mod (best_index, foreground)
  best_label = Add (best_kind, first)
  label = Where (real, best_label, i0)
  out_labels = Cast <to = 6> (label)
  real_i = Cast <to = 6> (real)
  out_count = ReduceSum <keepdims = 0> (real_i, axis1)
}
"""
    )

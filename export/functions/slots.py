"""Padded boxes in standard ops, shared by the bodies of MultilevelRoIAlign and KeypointDecode."""


def slots(boxes: str) -> str:
    """From ``boxes`` [B, n, 4] and ``count`` [B] to flat slots with their ``image`` and ``live``.

    Also gives ``flat_boxes`` [B * n, 4], ``batch``, ``slots`` and ``total`` [1]. Expects i0 and i1.
    """
    return f"""
  quads = Constant <value_ints = [-1, 4]> ()
  flat_boxes = Reshape ({boxes}, quads)
  batch = Shape <end = 1> ({boxes})
  slots = Shape <start = 1, end = 2> ({boxes})
  total = Mul (batch, slots)
  total_s = Squeeze (total)
  slot = Range (i0, total_s, i1)
  image = Div (slot, slots)
  place = Mod (slot, slots)
  count_i = Cast <to = 7> (count)
  live_count = Gather (count_i, image)
  live = Less (place, live_count)
"""

"""Comparing results of the simulated GPU with those of the canonical file on the CPU."""

from __future__ import annotations

import numpy as np

TOLERANCES = {"boxes": 2e-2, "scores": 1e-4, "labels": 0, "masks": 3e-3, "keypoints": 2e-2}
"""Masks come as 255ths."""


def assert_same(reference, ours):
    """Same detections as a session's outputs."""
    np.testing.assert_array_equal(ours["num_detections"], reference["num_detections"])
    for name, limit in TOLERANCES.items():
        if name in reference:
            assert ours[name].dtype == reference[name].dtype
            np.testing.assert_allclose(ours[name], reference[name], atol=limit, rtol=0)


def assert_same_detections(outputs, found):
    """Same as the first frame of a session's outputs."""
    count = int(outputs["num_detections"][0])
    assert len(found) == count
    np.testing.assert_array_equal(found.labels, outputs["labels"][0, :count])
    np.testing.assert_allclose(found.boxes, outputs["boxes"][0, :count], atol=2e-2)
    np.testing.assert_allclose(found.scores, outputs["scores"][0, :count], atol=1e-4)
    if "masks" in outputs:
        np.testing.assert_allclose(found.mask_probs, outputs["masks"][0, :count], atol=3e-3)

"""The whole detector: ``GeneralizedRCNN`` in inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .backbone import build_backbone
from .config import complete
from .postprocess import paste as paste_masks
from .postprocess import to_frame
from .roi_heads import build_roi_heads
from .rpn import RPN


class Reference(nn.Module):
    """A detector by its configuration, complete or in part; its weights are detectron2's by name.

    ``pixel_mean`` and ``pixel_std`` (3, 1, 1) are buffers that are not stored, as in detectron2
    since v0.2; ``save_zoo_pkl`` can add them to a file, as older ones have them.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.config = complete(config)
        model = self.config["MODEL"]
        self.backbone = build_backbone(self.config)
        strides, channels = self.backbone.strides, self.backbone.channels
        self.proposal_generator = RPN(self.config, strides, channels)
        self.roi_heads = build_roi_heads(self.config, strides, channels)
        for name in ("pixel_mean", "pixel_std"):
            values = torch.tensor(model[name.upper()], dtype=torch.float32)
            self.register_buffer(name, values[:, None, None], persistent=False)
        self.eval()

    @torch.no_grad()
    def detect(
        self,
        image: Tensor,
        content: tuple[int, int],
        frame_size: tuple[int, int],
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
        paste: bool = False,
    ) -> dict[str, Tensor]:
        """Detections of one image, best first, in pixels of the frame.

        Args:
            image: float32 (3, h, w), already normalised, with zeros beyond the resized frame.
            content: (height, width) of the resized frame, at the canvas' upper left corner.
            frame_size: (H, W) of the frame before it was resized.
            score_threshold: ROI_HEADS.SCORE_THRESH_TEST unless given.
            nms_threshold: ROI_HEADS.NMS_THRESH_TEST unless given.
            paste: whether masks are also pasted into the frame.

        Returns:
            ``boxes`` (n, 4), ``scores`` (n,), ``labels`` (n,) int64 from 0; ``masks`` (n, m, m),
            the probabilities for the predicted class, and ``pasted`` (n, H, W) bool; ``keypoints``
            (n, K, 3): x, y, score.
        """
        heads = self.config["MODEL"]["ROI_HEADS"]
        if score_threshold is None:
            score_threshold = heads["SCORE_THRESH_TEST"]
        if nms_threshold is None:
            nms_threshold = heads["NMS_THRESH_TEST"]
        features = self.backbone(image[None])
        proposals, _ = self.proposal_generator(features, content)
        found = self.roi_heads(features, proposals, content, score_threshold, nms_threshold)
        result = to_frame(found, content, frame_size)
        if paste and "masks" in result:
            result["pasted"] = paste_masks(result["masks"], result["boxes"], frame_size)
        return result

"""A detector of detectron2's as a torch module that holds its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maskrt.errors import UnsupportedModelError
from maskrt.export.detectron2.config import Config, read_config
from maskrt.export.detectron2.heads import ProposalGenerator, RPNHead, make_roi_heads
from maskrt.export.detectron2.resnet import FPN, chosen, make_backbone


class Detectron2RCNN(nn.Module):
    """Faster, Mask or Keypoint R-CNN of detectron2: its dense parts, under its names.

    ``load_state_dict`` takes what detectron2 saves. The module has no forward: ``maskrt.export``
    puts the parts into the canonical graph.

    Args:
        config: a YAML file, the name of a model of the zoo, or a ``Config``.

    Raises:
        UnsupportedModelError: naming the key that maskrt cannot express.
        ModelFileError: the file is missing or malformed.
    """

    def __init__(self, config: Config | str | os.PathLike[str]) -> None:
        super().__init__()
        self.config = config = config if isinstance(config, Config) else read_config(config)
        self.backbone = make_backbone(config)
        maps = self.backbone.maps
        self.rpn_maps = chosen(config, "MODEL.RPN.IN_FEATURES", maps)
        self.roi_maps = chosen(config, "MODEL.ROI_HEADS.IN_FEATURES", maps)
        self.maps = tuple(name for name in maps if name in (*self.rpn_maps, *self.roi_maps))
        """Names of the backbone's maps that are read, fine to coarse."""
        if config.text("MODEL.ROI_HEADS.NAME") == "Res5ROIHeads" and len(self.roi_maps) != 1:
            raise UnsupportedModelError(
                f"{config.source}: MODEL.ROI_HEADS.IN_FEATURES is {list(self.roi_maps)}; "
                "Res5ROIHeads read one map"
            )
        self.anchors = cell_anchors(config, [self.strides[name] for name in self.rpn_maps])
        counts = {len(anchors) for anchors in self.anchors}
        channels = {self.backbone.channels[name] for name in self.rpn_maps}
        if len(counts) != 1 or len(channels) != 1:
            raise UnsupportedModelError(
                f"{config.source}: MODEL.RPN.IN_FEATURES are maps of {sorted(channels)} channels "
                f"with {sorted(counts)} anchors in a cell; expected one number of each"
            )
        self.proposal_generator = ProposalGenerator(RPNHead(config, channels.pop(), counts.pop()))
        self.roi_heads = make_roi_heads(config, self.backbone.channels[self.roi_maps[0]])
        self.eval()

    @property
    def stride(self) -> int:
        """What the canvas's sides are multiples of, so that maps have whole cells.

        Of a pyramid's last map every second cell is taken: it may have a half one.
        """
        strides = list(self.strides.values())
        if isinstance(self.backbone, FPN):
            return strides[-2]
        return max(self.strides[name] for name in self.maps)

    @property
    def strides(self) -> dict[str, int]:
        """Canvas pixels from cell to cell, of each of the backbone's maps."""
        return self.backbone.strides


def own_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's weights without what is no weight of the model.

    Pixel mean and anchors are the configuration's; counters of batch normalisation are of no use.
    """
    dropped = ("pixel_mean", "pixel_std")
    return {
        name: value
        for name, value in state.items()
        if name not in dropped
        and ".anchor_generator.cell_anchors." not in name
        and not name.endswith(".num_batches_tracked")
    }


def cell_anchors(config: Config, strides: list[int]) -> list[Tensor]:
    """Anchors of the cell at the origin, float32 [A, 4] for each map, xyxy in canvas pixels.

    Follows ``DefaultAnchorGenerator``: sizes, then aspect ratios (height / width); not rounded, and
    shifted by ``OFFSET`` strides.
    """
    sizes = _for_maps(config, "MODEL.ANCHOR_GENERATOR.SIZES", len(strides))
    ratios = _for_maps(config, "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", len(strides))
    offset = config.number("MODEL.ANCHOR_GENERATOR.OFFSET")
    made = []
    for stride, level_sizes, level_ratios in zip(strides, sizes, ratios, strict=True):
        boxes = []
        for size in level_sizes:
            for ratio in level_ratios:
                width = (size**2 / ratio) ** 0.5
                x, y = width / 2, ratio * width / 2
                boxes.append([-x, -y, x, y])
        made.append(torch.tensor(boxes, dtype=torch.float64).float() + offset * stride)
    return made


def _for_maps(config: Config, key: str, count: int) -> tuple[tuple[float, ...], ...]:
    values = config.lists(key)
    values = values * count if len(values) == 1 else values
    if len(values) != count or min(min(value) for value in values) <= 0:
        raise UnsupportedModelError(
            f"{config.source}: {key} is {[list(value) for value in values]}; expected a list of "
            f"positive numbers for each of {count} maps, or one for all"
        )
    return values

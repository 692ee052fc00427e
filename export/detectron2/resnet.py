"""detectron2's ResNet and its feature pyramid (``modeling/backbone/resnet.py`` and ``fpn.py``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from maskrt.errors import UnsupportedModelError
from maskrt.export.detectron2.config import Config
from maskrt.export.detectron2.layers import Conv2d

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGES = ("res2", "res3", "res4", "res5")


class Stem(nn.Module):
    """7x7 with stride 2, then a maximum with stride 2."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = Conv2d(3, channels, 7, 2, norm=norm, relu=True, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image → map of stride 4."""
        return nn.functional.max_pool2d(self.conv1(image), 3, 2, 1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet 18 and 34)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.shortcut = _shortcut(inputs, outputs, stride, norm)
        self.conv1 = Conv2d(inputs, outputs, 3, stride, norm=norm, relu=True, bias=False)
        self.conv2 = Conv2d(outputs, outputs, 3, norm=norm, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map → map, with a shortcut around the convolutions."""
        residual = x if self.shortcut is None else self.shortcut(x)
        return (self.conv2(self.conv1(x)) + residual).relu()


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1; the stride is in the first (MSRA) or the second (``stride_in_1x1=False``)."""

    def __init__(
        self,
        inputs: int,
        inner: int,
        outputs: int,
        stride: int,
        *,
        groups: int,
        stride_in_1x1: bool,
        dilation: int,
        norm: str,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut = _shortcut(inputs, outputs, stride, norm)
        self.conv1 = Conv2d(inputs, inner, 1, first, norm=norm, relu=True, bias=False)
        self.conv2 = Conv2d(
            inner,
            inner,
            3,
            second,
            norm=norm,
            relu=True,
            bias=False,
            groups=groups,
            dilation=dilation,
        )
        self.conv3 = Conv2d(inner, outputs, 1, norm=norm, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map → map, with a shortcut around the convolutions."""
        residual = x if self.shortcut is None else self.shortcut(x)
        return (self.conv3(self.conv2(self.conv1(x))) + residual).relu()


def _shortcut(inputs: int, outputs: int, stride: int, norm: str) -> Conv2d | None:
    if inputs == outputs:
        return None
    return Conv2d(inputs, outputs, 1, stride, norm=norm, bias=False)


def make_stage(config: Config, name: str, *, blocks: int | None = None) -> nn.Sequential:
    """A stage of the ResNet that the configuration describes.

    Args:
        config: read are ``MODEL.RESNETS.*``.
        name: one of ``STAGES``.
        blocks: default: as the depth says.
    """
    section = "MODEL.RESNETS."
    depth = config.integer(section + "DEPTH")
    number = STAGES.index(name)
    norm = config.text(section + "NORM")
    outputs = config.integer(section + "RES2_OUT_CHANNELS", 1) << number
    stem = config.integer(section + "STEM_OUT_CHANNELS", 1)
    inputs = stem if number == 0 else outputs // 2
    groups = config.integer(section + "NUM_GROUPS", 1)
    dilation = config.integer(section + "RES5_DILATION") if name == "res5" else 1
    stride = 1 if number == 0 or dilation == 2 else 2
    basic = depth < 50
    if basic and (outputs != 64 << number or groups != 1 or dilation != 1):
        raise UnsupportedModelError(
            f"{config.source}: MODEL.RESNETS.DEPTH is {depth}, which goes with RES2_OUT_CHANNELS "
            "64, NUM_GROUPS 1 and RES5_DILATION 1 only"
        )
    inner = (groups * config.integer(section + "WIDTH_PER_GROUP", 1)) << number
    made: list[nn.Module] = []
    for i in range(BLOCKS[depth][number] if blocks is None else blocks):
        before, step = (outputs, 1) if i else (inputs, stride)
        if basic:
            made.append(BasicBlock(before, outputs, step, norm))
            continue
        made.append(
            BottleneckBlock(
                before,
                inner,
                outputs,
                step,
                groups=groups,
                stride_in_1x1=config.flag(section + "STRIDE_IN_1X1"),
                dilation=dilation,
                norm=norm,
            )
        )
    return nn.Sequential(*made)


class ResNet(nn.Module):
    """The stem and as many stages as are wanted. Forward: image → maps by name."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        wanted = config.texts("MODEL.RESNETS.OUT_FEATURES")
        if not wanted or not set(wanted) <= set(STAGES):
            raise UnsupportedModelError(
                f"{config.source}: MODEL.RESNETS.OUT_FEATURES is {list(wanted)}; expected some of "
                f"{', '.join(STAGES)}"
            )
        self.maps = tuple(name for name in STAGES if name in wanted)
        """Names of what ``forward`` gives, fine to coarse."""
        norm = config.text("MODEL.RESNETS.NORM")
        self.stem = Stem(config.integer("MODEL.RESNETS.STEM_OUT_CHANNELS", 1), norm)
        self.stages = STAGES[: STAGES.index(self.maps[-1]) + 1]
        self.strides: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        stride = 4
        for i, name in enumerate(self.stages):
            setattr(self, name, make_stage(config, name))
            dilated = name == "res5" and config.integer("MODEL.RESNETS.RES5_DILATION") == 2
            stride *= 1 if i == 0 or dilated else 2
            self.strides[name] = stride
            self.channels[name] = config.integer("MODEL.RESNETS.RES2_OUT_CHANNELS") << i

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Image [B, 3, h, w] → the wanted maps."""
        x = self.stem(image)
        maps = {}
        for name in self.stages:
            x = getattr(self, name)(x)
            if name in self.maps:
                maps[name] = x
        return maps


class FPN(nn.Module):
    """A feature pyramid on a ResNet; the coarsest map is every second cell of the one before."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.bottom_up = ResNet(config)
        self.inputs = config.texts("MODEL.FPN.IN_FEATURES")
        if not self.inputs or not set(self.inputs) <= set(self.bottom_up.maps):
            raise UnsupportedModelError(
                f"{config.source}: MODEL.FPN.IN_FEATURES is {list(self.inputs)}; expected some of "
                f"MODEL.RESNETS.OUT_FEATURES, {list(self.bottom_up.maps)}"
            )
        width = config.integer("MODEL.FPN.OUT_CHANNELS", 1)
        norm = config.text("MODEL.FPN.NORM")
        self.average = config.text("MODEL.FPN.FUSE_TYPE") == "avg"
        self.strides: dict[str, int] = {}
        self.levels = []
        for name in self.inputs:
            stride = self.bottom_up.strides[name]
            level = round(math.log2(stride))
            if self.strides and stride != 2 * max(self.strides.values()):
                raise UnsupportedModelError(
                    f"{config.source}: MODEL.FPN.IN_FEATURES is {list(self.inputs)} with strides "
                    "that do not double from map to map, as a pyramid's do"
                )
            channels = self.bottom_up.channels[name]
            setattr(self, f"fpn_lateral{level}", Conv2d(channels, width, 1, norm=norm))
            setattr(self, f"fpn_output{level}", Conv2d(width, width, 3, norm=norm))
            self.levels.append(level)
            self.strides[f"p{level}"] = stride
        self.strides[f"p{self.levels[-1] + 1}"] = 2 * stride
        self.channels = dict.fromkeys(self.strides, width)
        self.maps = tuple(self.strides)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Image [B, 3, h, w] → ``p2`` and so on, all of one width."""
        maps = self.bottom_up(image)
        found: dict[str, Tensor] = {}
        above: Tensor | None = None
        for name, level in zip(reversed(self.inputs), reversed(self.levels), strict=True):
            lateral = getattr(self, f"fpn_lateral{level}")(maps[name])
            if above is not None:
                lateral = lateral + nn.functional.interpolate(above, scale_factor=2.0)
                lateral = lateral / 2 if self.average else lateral
            above = lateral
            found[f"p{level}"] = getattr(self, f"fpn_output{level}")(lateral)
        coarsest = found[f"p{self.levels[-1]}"]
        found[f"p{self.levels[-1] + 1}"] = nn.functional.max_pool2d(coarsest, 1, 2)
        return found


def make_backbone(config: Config) -> ResNet | FPN:
    """The backbone that the configuration names."""
    pyramid = config.text("MODEL.BACKBONE.NAME") == "build_resnet_fpn_backbone"
    return FPN(config) if pyramid else ResNet(config)


def chosen(config: Config, key: str, available: Sequence[str]) -> tuple[str, ...]:
    """The maps that a part reads, which the backbone must give."""
    names = config.texts(key)
    if not names or not set(names) <= set(available):
        raise UnsupportedModelError(
            f"{config.source}: {key} is {list(names)}; expected some of the backbone's maps, "
            f"{', '.join(available)}"
        )
    return names

"""ResNet, ResNeXt and the feature pyramid: ``detectron2/modeling/backbone``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import Config
from .layers import Conv

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class Stem(nn.Module):
    """``BasicStem``: a 7x7 convolution of stride 2, ReLU, a 3x3 max pool of stride 2."""

    def __init__(self, outputs: int, norm: str):
        super().__init__()
        self.conv1 = Conv(3, outputs, 7, norm, stride=2, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x))
        return functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class BasicBlock(nn.Module):
    """``BasicBlock`` of ResNet-18 and -34: two 3x3 convolutions, the first with the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str):
        super().__init__()
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = Conv(inputs, outputs, 1, norm, stride=stride, bias=False)
        self.conv1 = Conv(inputs, outputs, 3, norm, stride=stride, padding=1, bias=False)
        self.conv2 = Conv(outputs, outputs, 3, norm, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv1(x))
        y = self.conv2(y)
        identity = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(y + identity)


class Bottleneck(nn.Module):
    """``BottleneckBlock``: 1x1, 3x3 (grouped, dilated), 1x1.

    The stride lies in the first 1x1 convolution where ``stride_in_1x1`` (MSRA's models), else in
    the 3x3 one (torchvision's, and ResNeXt).
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        stride: int,
        norm: str,
        groups: int,
        dilation: int,
        stride_in_1x1: bool,
    ):
        super().__init__()
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = Conv(inputs, outputs, 1, norm, stride=stride, bias=False)
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = Conv(inputs, width, 1, norm, stride=stride_1x1, bias=False)
        self.conv2 = Conv(
            width,
            width,
            3,
            norm,
            stride=stride_3x3,
            padding=dilation,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.conv3 = Conv(width, outputs, 1, norm, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv1(x))
        y = torch.relu(self.conv2(y))
        y = self.conv3(y)
        identity = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(y + identity)


def bottleneck_stage(config: Config, stage: int, blocks: int, dilation: int) -> nn.Sequential:
    """The blocks of ``res<stage>`` as bottlenecks: widths double from stage to stage.

    Used for the backbone, and for the res5 that is the box head of C4.
    """
    resnets = config["MODEL"]["RESNETS"]
    doubled = 2 ** (stage - 2)
    outputs = resnets["RES2_OUT_CHANNELS"] * doubled
    width = resnets["NUM_GROUPS"] * resnets["WIDTH_PER_GROUP"] * doubled
    inputs = resnets["STEM_OUT_CHANNELS"] if stage == 2 else outputs // 2
    # res2 follows the stem's max pool; a dilated res5 keeps res4's resolution
    stride = 1 if stage == 2 or dilation == 2 else 2
    layers = []
    for index in range(blocks):
        layers.append(
            Bottleneck(
                inputs if index == 0 else outputs,
                width,
                outputs,
                stride if index == 0 else 1,
                resnets["NORM"],
                resnets["NUM_GROUPS"],
                dilation,
                resnets["STRIDE_IN_1X1"],
            )
        )
    return nn.Sequential(*layers)


def basic_stage(config: Config, stage: int, blocks: int) -> nn.Sequential:
    """The blocks of ``res<stage>`` of ResNet-18 and -34."""
    resnets = config["MODEL"]["RESNETS"]
    outputs = resnets["RES2_OUT_CHANNELS"] * 2 ** (stage - 2)
    inputs = resnets["STEM_OUT_CHANNELS"] if stage == 2 else outputs // 2
    stride = 1 if stage == 2 else 2
    layers = []
    for index in range(blocks):
        first = index == 0
        layers.append(
            BasicBlock(
                inputs if first else outputs, outputs, stride if first else 1, resnets["NORM"]
            )
        )
    return nn.Sequential(*layers)


class ResNet(nn.Module):
    """``build_resnet_backbone``: stem, res2 and on, up to the last stage that is asked for.

    ``strides`` and ``channels`` tell those of each feature map by name.
    """

    def __init__(self, config: Config):
        super().__init__()
        resnets = config["MODEL"]["RESNETS"]
        depth, dilation = resnets["DEPTH"], resnets["RES5_DILATION"]
        if depth in (18, 34) and (dilation != 1 or resnets["NUM_GROUPS"] != 1):
            raise ValueError("ResNet-18 and -34 have neither groups nor dilation")
        if depth in (18, 34) and resnets["RES2_OUT_CHANNELS"] != 64:
            raise ValueError("RES2_OUT_CHANNELS must be 64 for ResNet-18 and -34")
        self.out_features = list(resnets["OUT_FEATURES"])
        self.stem = Stem(resnets["STEM_OUT_CHANNELS"], resnets["NORM"])
        self.stages: list[str] = []
        self.strides: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        stride = 4
        for number in range(2, max(int(name[-1]) for name in self.out_features) + 1):
            name = f"res{number}"
            blocks = BLOCKS[depth][number - 2]
            dilated = dilation if number == 5 else 1
            if depth in (18, 34):
                stage = basic_stage(config, number, blocks)
            else:
                stage = bottleneck_stage(config, number, blocks, dilated)
            if number > 2 and dilated == 1:
                stride *= 2
            self.add_module(name, stage)
            self.stages.append(name)
            self.strides[name] = stride
            self.channels[name] = resnets["RES2_OUT_CHANNELS"] * 2 ** (number - 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, h, w) -> the maps named by OUT_FEATURES, each (N, C, h / stride, w / stride)."""
        features = {}
        x = self.stem(x)
        for name in self.stages:
            x = self.get_submodule(name)(x)
            if name in self.out_features:
                features[name] = x
        return features


class FPN(nn.Module):
    """``build_resnet_fpn_backbone``: p2 to p5 from res2 to res5, and p6 by ``LastLevelMaxPool``.

    Each level is the sum (or the mean) of a 1x1 convolution of its res map and the level above,
    enlarged twice by nearest neighbour; a 3x3 convolution of that is the output. p6 is every
    second pixel of p5. Height and width must be multiples of 32.
    """

    def __init__(self, config: Config):
        super().__init__()
        fpn = config["MODEL"]["FPN"]
        self.bottom_up = ResNet(config)
        self.in_features = list(fpn["IN_FEATURES"])
        self.mean = fpn["FUSE_TYPE"] == "avg"
        self.strides: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        outputs, norm = fpn["OUT_CHANNELS"], fpn["NORM"]
        self.levels: list[int] = []
        for name in self.in_features:
            stride = self.bottom_up.strides[name]
            level = stride.bit_length() - 1
            inputs = self.bottom_up.channels[name]
            self.add_module(f"fpn_lateral{level}", Conv(inputs, outputs, 1, norm))
            self.add_module(f"fpn_output{level}", Conv(outputs, outputs, 3, norm, padding=1))
            self.levels.append(level)
            self.strides[f"p{level}"] = stride
        self.strides[f"p{self.levels[-1] + 1}"] = 2 * stride
        self.channels = dict.fromkeys(self.strides, outputs)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, h, w) -> ``p2`` to ``p6``, each (N, OUT_CHANNELS, h / stride, w / stride)."""
        bottom_up = self.bottom_up(x)
        outputs = {}
        above = None
        for level, name in zip(reversed(self.levels), reversed(self.in_features), strict=True):
            merged = self.get_submodule(f"fpn_lateral{level}")(bottom_up[name])
            if above is not None:
                merged = merged + functional.interpolate(above, scale_factor=2, mode="nearest")
                if self.mean:
                    merged = merged / 2
            outputs[f"p{level}"] = self.get_submodule(f"fpn_output{level}")(merged)
            above = merged
        top = self.levels[-1]
        outputs[f"p{top + 1}"] = outputs[f"p{top}"][:, :, ::2, ::2]
        return dict(sorted(outputs.items()))


def build_backbone(config: Config) -> ResNet | FPN:
    """The backbone of ``MODEL.BACKBONE.NAME``."""
    if config["MODEL"]["BACKBONE"]["NAME"] == "build_resnet_fpn_backbone":
        return FPN(config)
    return ResNet(config)

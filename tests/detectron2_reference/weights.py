"""Random weights under which a detector's output says something, and detectron2's files of them.

Plain initial weights give nearly constant scores and boxes: any graph would pass with them. Here
each layer is drawn, then scaled by what it makes of some smooth pictures.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity import elsewhere

from .backbone import BasicBlock, Bottleneck
from .layers import Conv
from .model import Reference
from .preprocess import normalise, picture
from .roi_heads import BoxPredictor

PICTURES = 6
# RoIs of each picture that scale the heads
ROIS = 40
# RoIs of one picture that hold an object, unless that is too large a part of them
OBJECTS = 60

# deviations of the outputs of layers by name; others' is 1
DEVIATIONS = {
    # a level has a quarter of the anchors of the one below it: without more weight, large objects
    # would never be found
    "fpn_output3": 1.4,
    "fpn_output4": 1.8,
    "fpn_output5": 2.2,
    "objectness_logits": 1.5,
    "anchor_deltas": 0.2,
    "cls_score": 1.2,
    "bbox_pred": 0.5,
    "predictor": 1.0,
    "score_lowres": 3.0,
}


class Drawer:
    """Draws each layer of a model once, from one generator, in the order of their use."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.drawn: set[nn.Module] = set()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal values."""
        return torch.randn(shape, generator=self.generator)

    def uniform(self, low: float, high: float, count: int) -> Tensor:
        """(count,) values between two."""
        return low + (high - low) * torch.rand(count, generator=self.generator)

    def linear(self, layer: Any, inputs: list[Tensor], deviation: float) -> None:
        """Weights and bias of a layer without a norm: outputs round 0, with this deviation.

        Each output channel is centred: features have much in common, and without it one class
        would win everywhere.
        """
        self.drawn.add(layer)
        layer.weight.copy_(self.normal(*layer.weight.shape))
        layer.bias.zero_()
        outputs = [layer.forward(x).transpose(0, 1).flatten(1) for x in inputs]
        values = torch.cat(outputs, dim=1)
        centre = values.mean(1)
        factor = deviation / (values - centre[:, None]).std()
        layer.weight.mul_(factor)
        layer.bias.copy_(-centre * factor + 0.1 * deviation * self.normal(len(centre)))

    def normed(self, layer: Conv, x: Tensor, gain: float) -> None:
        """Weights of a convolution and constants of its norm, none of them trivial."""
        self.drawn.add(layer)
        layer.weight.copy_(self.normal(*layer.weight.shape) / math.sqrt(layer.weight[0].numel()))
        norm: Any = layer.norm
        channels = layer.out_channels
        norm.weight.copy_(gain * self.uniform(0.7, 1.3, channels))
        norm.bias.copy_(0.2 * gain * self.normal(channels))
        if not isinstance(norm, nn.GroupNorm):
            outputs = layer.convolve(x).transpose(0, 1).flatten(1)
            variance = outputs.var(1)
            variance = variance.clamp(min=0.01 * float(variance.mean()))
            shift = 0.3 * variance.sqrt() * self.normal(channels)
            norm.running_mean.copy_(outputs.mean(1) + shift)
            norm.running_var.copy_(variance * self.uniform(0.7, 1.4, channels))

    def while_running(self, model: nn.Module, run: Callable[[], Any]) -> Any:
        """The result of ``run``, in which ``model``'s layers are drawn just before their use."""

        def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
                if layer in self.drawn:
                    return
                deviation = DEVIATIONS.get(name.rsplit(".", maxsplit=1)[-1], 1.0)
                if isinstance(layer, Conv) and layer.norm is not None:
                    self.normed(layer, arguments[0], deviation * residual_gain(model, name))
                else:
                    self.linear(layer, [arguments[0]], deviation)

            return hook

        handles = [
            layer.register_forward_pre_hook(hook_of(name))
            for name, layer in model.named_modules()
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))
        ]
        try:
            return run()
        finally:
            for handle in handles:
                handle.remove()


def residual_gain(model: nn.Module, name: str) -> float:
    """The scale of a norm: smaller at the end of a residual branch, so that sums stay small."""
    block, _, layer = name.rpartition(".")
    last = {BasicBlock: "conv2", Bottleneck: "conv3"}.get(type(model.get_submodule(block)))
    return 0.2 if layer == last else 1.0


def draw_rpn(drawer: Drawer, model: Reference, features: dict[str, Tensor]) -> None:
    """The RPN's layers, each scaled by its outputs on all levels together."""
    head = model.proposal_generator.rpn_head
    maps = [features[name] for name in model.proposal_generator.in_features]
    for layer in head.hidden_layers():
        drawer.linear(layer, maps, 1.0)
        maps = [torch.relu(layer(x)) for x in maps]
    drawer.linear(head.objectness_logits, maps, DEVIATIONS["objectness_logits"])
    drawer.linear(head.anchor_deltas, maps, DEVIATIONS["anchor_deltas"])


def draw_box_predictor(
    drawer: Drawer, predictor: BoxPredictor, features: Tensor, share: float, threshold: float
) -> None:
    """The box predictor's layers: ``share`` of the RoIs hold an object.

    ``features`` (R, inputs) are those of the RoIs. So much background is added that this share
    has a class whose probability is larger than ``threshold``.
    """
    drawer.linear(predictor.cls_score, [features], DEVIATIONS["cls_score"])
    drawer.linear(predictor.bbox_pred, [features], DEVIATIONS["bbox_pred"])
    logits = predictor.cls_score(features).double()
    objects, background = logits[:, :-1], logits[:, -1]
    # best / (objects + background * e^b) > threshold, solved for b
    room = objects.amax(1).exp() / threshold - objects.exp().sum(1)
    largest = torch.log(room.clamp(min=1e-30)) - background
    predictor.cls_score.bias[-1] += float(largest.quantile(1 - share))


@torch.no_grad()
def random_weights(
    config: Mapping[str, Any], seed: int, canvas: tuple[int, int]
) -> OrderedDict[str, Tensor]:
    """Weights by detectron2's names, float32, under which detections spread.

    They are scaled by pictures that fill a canvas of (height, width), a multiple of 32 for FPN;
    on smooth pictures of about that size detections then spread over classes, sizes and the
    frame, and masks and heatmaps vary. Norms have constants that are not trivial.
    """
    drawer = Drawer(seed)
    model = Reference(config)
    pictures = [torch.from_numpy(picture(canvas, 90 + i)) for i in range(PICTURES)]
    images = torch.stack([normalise(p.permute(2, 0, 1).float(), model.config) for p in pictures])
    features = drawer.while_running(model.backbone, lambda: model.backbone(images))

    draw_rpn(drawer, model, features)
    proposals = []
    for index in range(PICTURES):
        of_image = {name: x[index : index + 1] for name, x in features.items()}
        proposals.append(model.proposal_generator(of_image, canvas)[0])
    count = sum(len(boxes) for boxes in proposals) / PICTURES
    some = []
    for boxes in proposals:
        order = torch.randperm(len(boxes), generator=drawer.generator)
        some.append(boxes[order[:ROIS]])

    heads = model.roi_heads
    maps = [features[name] for name in heads.in_features]
    box_features = drawer.while_running(heads, lambda: heads.box_features(maps, some))
    settings = model.config["MODEL"]["ROI_HEADS"]
    # the fewer the classes, the more RoIs fall to others of the same class
    share = min(OBJECTS / count, 0.2 + 0.6 / settings["NUM_CLASSES"])
    threshold = max(settings["SCORE_THRESH_TEST"], 0.01)
    draw_box_predictor(drawer, heads.box_predictor, box_features, share, threshold)
    few = [boxes[:10] for boxes in some]
    if heads.mask_on:
        drawer.while_running(heads, lambda: heads.mask_logits(maps, few))
    if heads.keypoint_on:
        drawer.while_running(heads, lambda: heads.heatmaps(maps, few))
    state = elsewhere(model).state_dict()
    return OrderedDict((name, value.clone()) for name, value in state.items())


def save_pth(state: Mapping[str, Tensor], path: Path) -> None:
    """A file such as ``DefaultTrainer``'s checkpointer leaves behind (``model_final.pth``)."""
    torch.save(
        {
            "model": OrderedDict(state),
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.02, "momentum": 0.9}]},
            "scheduler": {"last_epoch": 269999, "base_lrs": [0.02]},
            "iteration": 269999,
        },
        path,
    )


def save_zoo_pkl(
    state: Mapping[str, Tensor], path: Path, config: Mapping[str, Any] | None = None
) -> None:
    """A file of detectron2's model zoo: a pickle of numpy arrays (``model_final_280758.pkl``).

    With the configuration, the file also has the constants that the zoo's older files store:
    ``pixel_mean`` and ``pixel_std`` (3, 1, 1), and the anchors (A, 4) of each level.
    """
    arrays = OrderedDict((name, value.numpy()) for name, value in state.items())
    if config is not None:
        model = Reference(config)
        arrays["pixel_mean"] = model.pixel_mean.numpy()
        arrays["pixel_std"] = model.pixel_std.numpy()
        for level, cell in enumerate(model.proposal_generator.cells):
            name = f"proposal_generator.anchor_generator.cell_anchors.{level}"
            arrays[name] = cell.numpy()
    with path.open("wb") as file:
        pickle.dump({"model": arrays, "__author__": "Detectron2 Model Zoo"}, file)

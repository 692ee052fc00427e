"""detectron2's model zoo: its R-CNN configurations, and the YAML files they are kept in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import Config, merge

# what the zoo's three bases have in common
COMMON: Config = {
    "DATASETS": {"TRAIN": ("coco_2017_train",), "TEST": ("coco_2017_val",)},
    "SOLVER": {
        "IMS_PER_BATCH": 16,
        "BASE_LR": 0.02,
        "STEPS": (60000, 80000),
        "MAX_ITER": 90000,
    },
    "INPUT": {"MIN_SIZE_TRAIN": (640, 672, 704, 736, 768, 800)},
    "VERSION": 2,
}

RES_2_TO_5 = ["res2", "res3", "res4", "res5"]
SEPARATE_HEADS: Config = {
    "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "POOLER_RESOLUTION": 7},
    "ROI_MASK_HEAD": {
        "NAME": "MaskRCNNConvUpsampleHead",
        "NUM_CONV": 4,
        "POOLER_RESOLUTION": 14,
    },
}

# configs/Base-RCNN-*.yaml
BASES: dict[str, Config] = {
    "C4": {
        "MODEL": {
            "META_ARCHITECTURE": "GeneralizedRCNN",
            "RPN": {"PRE_NMS_TOPK_TEST": 6000, "POST_NMS_TOPK_TEST": 1000},
            "ROI_HEADS": {"NAME": "Res5ROIHeads"},
        },
        **COMMON,
    },
    "DC5": {
        "MODEL": {
            "META_ARCHITECTURE": "GeneralizedRCNN",
            "RESNETS": {"OUT_FEATURES": ["res5"], "RES5_DILATION": 2},
            "RPN": {
                "IN_FEATURES": ["res5"],
                "PRE_NMS_TOPK_TEST": 6000,
                "POST_NMS_TOPK_TEST": 1000,
            },
            "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": ["res5"]},
            **SEPARATE_HEADS,
        },
        **COMMON,
    },
    "FPN": {
        "MODEL": {
            "META_ARCHITECTURE": "GeneralizedRCNN",
            "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
            "RESNETS": {"OUT_FEATURES": RES_2_TO_5},
            "FPN": {"IN_FEATURES": RES_2_TO_5},
            "ANCHOR_GENERATOR": {
                "SIZES": [[32], [64], [128], [256], [512]],
                "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
            },
            "RPN": {
                "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
                "PRE_NMS_TOPK_TRAIN": 2000,
                "PRE_NMS_TOPK_TEST": 1000,
                "POST_NMS_TOPK_TRAIN": 1000,
                "POST_NMS_TOPK_TEST": 1000,
            },
            "ROI_HEADS": {
                "NAME": "StandardROIHeads",
                "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            },
            **SEPARATE_HEADS,
        },
        **COMMON,
    },
}

BASE_FILES = {"C4": "Base-RCNN-C4", "DC5": "Base-RCNN-DilatedC5", "FPN": "Base-RCNN-FPN"}

# configs/COCO-Keypoints/Base-Keypoint-RCNN-FPN.yaml, itself on top of Base-RCNN-FPN.yaml
KEYPOINT_BASE: Config = {
    "MODEL": {
        "KEYPOINT_ON": True,
        "ROI_HEADS": {"NUM_CLASSES": 1},
        "ROI_BOX_HEAD": {"SMOOTH_L1_BETA": 0.5},
        "RPN": {"POST_NMS_TOPK_TRAIN": 1500},
    },
    "DATASETS": {
        "TRAIN": ("keypoints_coco_2017_train",),
        "TEST": ("keypoints_coco_2017_val",),
    },
}

BACKBONES: dict[str, Config] = {
    "R_50": {
        "WEIGHTS": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
        "RESNETS": {"DEPTH": 50},
    },
    "R_101": {
        "WEIGHTS": "detectron2://ImageNetPretrained/MSRA/R-101.pkl",
        "RESNETS": {"DEPTH": 101},
    },
    "X_101_32x8d": {
        "WEIGHTS": "detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl",
        "PIXEL_STD": [57.375, 57.120, 58.395],
        "RESNETS": {
            "STRIDE_IN_1X1": False,
            "NUM_GROUPS": 32,
            "WIDTH_PER_GROUP": 8,
            "DEPTH": 101,
        },
    },
}

FOLDERS = {
    "faster_rcnn": "COCO-Detection",
    "mask_rcnn": "COCO-InstanceSegmentation",
    "keypoint_rcnn": "COCO-Keypoints",
}

_SCHEDULE_3X: Config = {"SOLVER": {"STEPS": (210000, 250000), "MAX_ITER": 270000}}

# name -> task, backbone, layout
ZOO: dict[str, tuple[str, str, str]] = {
    f"{task}_{backbone}_{layout}_3x": (task, backbone, layout)
    for task in FOLDERS
    for backbone, layouts in (
        ("R_50", ("C4", "DC5", "FPN")),
        ("R_101", ("C4", "DC5", "FPN")),
        ("X_101_32x8d", ("FPN",)),
    )
    for layout in layouts
    if task != "keypoint_rcnn" or layout == "FPN"
}


def _child(name: str) -> Config:
    """What the zoo's own file of this name says, on top of its base."""
    task, backbone, _ = ZOO[name]
    model = BACKBONES[backbone]
    if task != "keypoint_rcnn":
        model = {"MASK_ON": task == "mask_rcnn", **model}
    return {"MODEL": model, **_SCHEDULE_3X}


def zoo_config(name: str, changes: Mapping[str, Any] | None = None) -> Config:
    """The zoo's configuration of this name, without detectron2's defaults, with ``changes``."""
    task, _, layout = ZOO[name]
    config = BASES[layout]
    if task == "keypoint_rcnn":
        config = merge(config, KEYPOINT_BASE)
    return merge(merge(config, _child(name)), changes or {})


def write_yaml(name: str, folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """The zoo's file of this name under ``folder``, as the zoo lays it out, and its bases.

    ``<folder>/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml`` has
    ``<folder>/Base-RCNN-FPN.yaml`` as its base; keypoint detectors have two bases, one on top of
    the other. ``changes`` go into the file itself. Returns its path.
    """
    task, _, layout = ZOO[name]
    base = f"../{BASE_FILES[layout]}.yaml"
    path = folder / FOLDERS[task] / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / f"{BASE_FILES[layout]}.yaml").write_text(_yaml(BASES[layout]))
    if task == "keypoint_rcnn":
        text = _yaml({"_BASE_": base, **KEYPOINT_BASE})
        base = "Base-Keypoint-RCNN-FPN.yaml"
        (path.parent / base).write_text(text)
    path.write_text(_yaml({"_BASE_": base, **merge(_child(name), changes or {})}))
    return path


def write_dump(config: Mapping[str, Any], path: Path) -> None:
    """A whole configuration as ``cfg.dump()`` writes it, such as ``output/config.yaml``.

    Keys are sorted, lists are in block style, and tuples have become lists.
    """
    path.write_text("\n".join(_dump_lines(config)) + "\n")


def _yaml(config: Mapping[str, Any], indent: int = 0) -> str:
    """A config as people write it: lists in brackets, tuples as ``(a, b)``, which yacs reads."""
    lines = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            lines.append(f"{' ' * indent}{key}:\n{_yaml(value, indent + 2)}")
        else:
            lines.append(f"{' ' * indent}{key}: {_flow(value)}\n")
    return "".join(lines)


def _flow(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    if isinstance(value, tuple):
        inner = ", ".join(_flow(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return str(value)


def _dump_lines(value: Any) -> list[str]:
    """A mapping's or a list's lines in block style, not indented."""
    lines = []
    if isinstance(value, Mapping):
        for key in sorted(value):
            item = value[key]
            if isinstance(item, (Mapping, list, tuple)) and len(item) > 0:
                margin = "  " if isinstance(item, Mapping) else ""
                lines += [f"{key}:", *(margin + line for line in _dump_lines(item))]
            else:
                lines.append(f"{key}: {_dump_scalar(item)}")
        return lines
    for item in value:
        if isinstance(item, (list, tuple)) and len(item) > 0:
            first, *rest = _dump_lines(item)
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
        else:
            lines.append(f"- {_dump_scalar(item)}")
    return lines


def _dump_scalar(value: Any) -> str:
    if value == "":
        return "''"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, (list, tuple)):
        return "[]"
    return str(value)

"""Reading detectron2's YAML configurations, as far as they concern inference.

Values follow detectron2's rules: a file may name a base (``_BASE_``), strings that are Python
literals stand for their values, what is not said has a default. What maskrt cannot express is an
error that names the key; keys that only training reads are passed over.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

from maskrt.errors import MaskrtError, MissingDependencyError, ModelFileError, UnsupportedModelError
from maskrt.export.detectron2.zoo import BASES, EXAMPLES, Tree, merged, zoo_config

DEFAULTS: Tree = {
    "VERSION": 2,
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "LOAD_PROPOSALS": False,
        "MASK_ON": False,
        "KEYPOINT_ON": False,
        "PIXEL_MEAN": [103.530, 116.280, 123.675],
        "PIXEL_STD": [1.0, 1.0, 1.0],
        "BACKBONE": {"NAME": "build_resnet_backbone"},
        "RESNETS": {
            "DEPTH": 50,
            "OUT_FEATURES": ["res4"],
            "NUM_GROUPS": 1,
            "WIDTH_PER_GROUP": 64,
            "NORM": "FrozenBN",
            "STRIDE_IN_1X1": True,
            "RES5_DILATION": 1,
            "RES2_OUT_CHANNELS": 256,
            "STEM_OUT_CHANNELS": 64,
            "DEFORM_ON_PER_STAGE": [False, False, False, False],
        },
        "FPN": {"IN_FEATURES": [], "OUT_CHANNELS": 256, "NORM": "", "FUSE_TYPE": "sum"},
        "PROPOSAL_GENERATOR": {"NAME": "RPN", "MIN_SIZE": 0},
        "ANCHOR_GENERATOR": {
            "NAME": "DefaultAnchorGenerator",
            "SIZES": [[32, 64, 128, 256, 512]],
            "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
            "OFFSET": 0.0,
        },
        "RPN": {
            "HEAD_NAME": "StandardRPNHead",
            "IN_FEATURES": ["res4"],
            "CONV_DIMS": [-1],
            "BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
            "PRE_NMS_TOPK_TEST": 6000,
            "POST_NMS_TOPK_TEST": 1000,
            "NMS_THRESH": 0.7,
        },
        "ROI_HEADS": {
            "NAME": "Res5ROIHeads",
            "NUM_CLASSES": 80,
            "IN_FEATURES": ["res4"],
            "SCORE_THRESH_TEST": 0.05,
            "NMS_THRESH_TEST": 0.5,
        },
        "ROI_BOX_HEAD": {
            "NAME": "",
            "BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
            "NUM_FC": 0,
            "FC_DIM": 1024,
            "NUM_CONV": 0,
            "CONV_DIM": 256,
            "NORM": "",
            "CLS_AGNOSTIC_BBOX_REG": False,
            "POOLER_RESOLUTION": 14,
            "POOLER_SAMPLING_RATIO": 0,
            "POOLER_TYPE": "ROIAlignV2",
            "USE_SIGMOID_CE": False,
        },
        "ROI_MASK_HEAD": {
            "NAME": "MaskRCNNConvUpsampleHead",
            "NUM_CONV": 0,
            "CONV_DIM": 256,
            "NORM": "",
            "CLS_AGNOSTIC_MASK": False,
            "POOLER_RESOLUTION": 14,
            "POOLER_SAMPLING_RATIO": 0,
            "POOLER_TYPE": "ROIAlignV2",
        },
        "ROI_KEYPOINT_HEAD": {
            "NAME": "KRCNNConvDeconvUpsampleHead",
            "CONV_DIMS": [512] * 8,
            "NUM_KEYPOINTS": 17,
            "POOLER_RESOLUTION": 14,
            "POOLER_SAMPLING_RATIO": 0,
            "POOLER_TYPE": "ROIAlignV2",
        },
    },
    "INPUT": {"FORMAT": "BGR", "MIN_SIZE_TEST": 800, "MAX_SIZE_TEST": 1333},
    "TEST": {"DETECTIONS_PER_IMAGE": 100},
}
"""What inference reads, with detectron2's defaults (its documentation, "Config References")."""

_NORMS = ("", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "FrozenBN", "GN")
_POOLERS = ("ROIAlign", "ROIAlignV2")
CHOICES: dict[str, tuple[Any, ...]] = {
    "VERSION": (2,),
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN",),
    "MODEL.LOAD_PROPOSALS": (False,),
    "MODEL.BACKBONE.NAME": ("build_resnet_backbone", "build_resnet_fpn_backbone"),
    "MODEL.RESNETS.DEPTH": (18, 34, 50, 101, 152),
    "MODEL.RESNETS.NORM": _NORMS,
    "MODEL.RESNETS.RES5_DILATION": (1, 2),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": ([False, False, False, False],),
    "MODEL.FPN.NORM": _NORMS,
    "MODEL.FPN.FUSE_TYPE": ("sum", "avg"),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN",),
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead",),
    "MODEL.ROI_HEADS.NAME": ("StandardROIHeads", "Res5ROIHeads"),
    "MODEL.ROI_BOX_HEAD.NAME": ("", "FastRCNNConvFCHead"),
    "MODEL.ROI_BOX_HEAD.NORM": _NORMS,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": _POOLERS,
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False,),
    "MODEL.ROI_MASK_HEAD.NAME": ("MaskRCNNConvUpsampleHead",),
    "MODEL.ROI_MASK_HEAD.NORM": _NORMS,
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": _POOLERS,
    "MODEL.ROI_KEYPOINT_HEAD.NAME": ("KRCNNConvDeconvUpsampleHead",),
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE": _POOLERS,
    "INPUT.FORMAT": ("BGR", "RGB"),
}
"""What else these keys may say in detectron2, maskrt cannot express."""

_IGNORED = {
    "": {
        "SOLVER", "DATASETS", "DATALOADER", "OUTPUT_DIR", "SEED", "CUDNN_BENCHMARK", "VIS_PERIOD",
        "GLOBAL", "FLOAT32_PRECISION",
    },
    "INPUT": {"*"},
    "TEST": {"*"},
    # parts that GeneralizedRCNN with standard RoI heads does not have
    "MODEL": {
        "DEVICE", "WEIGHTS", "RETINANET", "SEM_SEG_HEAD", "PANOPTIC_FPN", "ROI_BOX_CASCADE_HEAD",
        "FCOS", "TENSOR_MASK", "POINT_HEAD",
    },
    # what follows is for training, or for parts that are refused above
    "MODEL.BACKBONE": {"FREEZE_AT"},
    "MODEL.RESNETS": {"DEFORM_MODULATED", "DEFORM_NUM_GROUPS"},
    "MODEL.ANCHOR_GENERATOR": {"ANGLES"},
    "MODEL.RPN": {
        "BATCH_SIZE_PER_IMAGE", "BBOX_REG_LOSS_TYPE", "BBOX_REG_LOSS_WEIGHT", "BOUNDARY_THRESH",
        "IOU_LABELS", "IOU_THRESHOLDS", "LOSS_WEIGHT", "POSITIVE_FRACTION", "POST_NMS_TOPK_TRAIN",
        "PRE_NMS_TOPK_TRAIN", "SMOOTH_L1_BETA",
    },
    "MODEL.ROI_HEADS": {
        "BATCH_SIZE_PER_IMAGE", "IOU_LABELS", "IOU_THRESHOLDS", "POSITIVE_FRACTION",
        "PROPOSAL_APPEND_GT",
    },
    "MODEL.ROI_BOX_HEAD": {
        "BBOX_REG_LOSS_TYPE", "BBOX_REG_LOSS_WEIGHT", "FED_LOSS_FREQ_WEIGHT_POWER",
        "FED_LOSS_NUM_CLASSES", "SMOOTH_L1_BETA", "TRAIN_ON_PRED_BOXES", "USE_FED_LOSS",
    },
    "MODEL.ROI_KEYPOINT_HEAD": {
        "LOSS_WEIGHT", "MIN_KEYPOINTS_PER_IMAGE", "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS",
    },
}  # fmt: skip


class Config:
    """A checked configuration.

    Args:
        tree: nested tables with detectron2's keys, as a YAML file holds them; what is not said has
            detectron2's default.
        source: where it comes from, for messages.

    Raises:
        UnsupportedModelError: naming the first key whose value maskrt cannot express, or which it
            does not know.
        ModelFileError: a value has the wrong type.
    """

    def __init__(self, tree: Tree, source: str = "the configuration") -> None:
        self.source = source
        literal = _literals(tree)
        self._check_known(DEFAULTS, literal, "")
        self._tree = merged(DEFAULTS, literal)
        for key, allowed in CHOICES.items():
            found = self._get(key)
            if found not in allowed:
                expected = " or ".join(map(repr, allowed))
                raise UnsupportedModelError(
                    f"{self.source}: {key} is {found!r}, which maskrt cannot express; expected "
                    f"{expected}"
                )

    def flag(self, key: str) -> bool:
        """A truth value."""
        return bool(self._typed(key, bool, "true or false"))

    def text(self, key: str) -> str:
        """A string."""
        return str(self._typed(key, str, "a string"))

    def integer(self, key: str, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        value = self._typed(key, int, "a whole number")
        if value < least:
            raise self._wrong(key, value, f"at least {least}")
        return int(value)

    def number(self, key: str) -> float:
        """A number."""
        return float(self._typed(key, (int, float), "a number"))

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """So many numbers."""
        return self._numbers(key, self._typed(key, list, "a list"), count)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self._typed(key, list, "a list")
        if not all(type(value) is int for value in values):
            raise self._wrong(key, values, "a list of whole numbers")
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._typed(key, list, "a list")
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(key, values, "a list of strings")
        return tuple(values)

    def lists(self, key: str) -> tuple[tuple[float, ...], ...]:
        """A list of lists of numbers, one at least."""
        values = self._typed(key, list, "a list of lists")
        if not values or not all(isinstance(value, list) and value for value in values):
            raise self._wrong(key, values, "a list of lists of numbers")
        return tuple(self._numbers(key, value, len(value)) for value in values)

    def _numbers(self, key: str, values: list[Any], count: int) -> tuple[float, ...]:
        plain = all(type(value) in (int, float) for value in values)
        if not plain or len(values) != count:
            raise self._wrong(key, values, f"a list of {count} numbers")
        return tuple(map(float, values))

    def _get(self, key: str) -> Any:
        node: Any = self._tree
        for part in key.split("."):
            node = node[part]
        return node

    def _typed(self, key: str, kind: Any, expected: str) -> Any:
        value = self._get(key)
        # bool is a subclass of int: True must not pass for 1
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self._wrong(key, value, expected)
        return value

    def _wrong(self, key: str, value: object, expected: str) -> ModelFileError:
        return ModelFileError(f"{self.source}: {key}: found {value!r}, expected {expected}")

    def _check_known(self, known: Tree, found: Tree, path: str) -> None:
        ignored = _IGNORED.get(path, set())
        for key, value in found.items():
            name = f"{path}.{key}" if path else key
            if key not in known:
                if key in ignored or "*" in ignored:
                    continue
                raise UnsupportedModelError(
                    f"{self.source}: {name} (here {value!r}) is not a key of detectron2's R-CNN "
                    "models: maskrt does not know what it changes, so it cannot export the model"
                )
            inner = known[key]
            if isinstance(inner, dict):
                if not isinstance(value, dict):
                    raise self._wrong(name, value, "a table")
                self._check_known(inner, value, name)


def read_config(reference: str | os.PathLike[str]) -> Config:
    """A YAML file's configuration, or one of the model zoo.

    Args:
        reference: a path, or the name of a model of the zoo, such as ``mask_rcnn_R_50_FPN_3x``.

    Raises:
        ModelFileError: the file is missing, no YAML, or has values of a wrong type.
        UnsupportedModelError: see ``Config``.
        MissingDependencyError: PyYAML is not installed.
    """
    name = os.fspath(reference)
    if not Path(name).is_file():
        tree = zoo_config(name)
        if tree is not None:
            return Config(tree, name.rpartition("/")[2])
        raise MaskrtError(
            f"found no file {name}, and no model of that name in detectron2's zoo: expected the "
            f"YAML file of the model, or a name such as {EXAMPLES}"
        )
    return Config(_read_tree(Path(name), ()), name)


def _read_tree(path: Path, readers: tuple[Path, ...]) -> Tree:
    """A file with what it is based on; ``readers`` are the files that led to it."""
    if path.resolve() in readers:
        raise ModelFileError(f"{path}: its _BASE_ leads back to it")
    tree = _load_yaml(path)
    base = tree.pop("_BASE_", None)
    if base is None:
        return tree
    result: Tree = {}
    for name in base if isinstance(base, list) else [base]:
        result = merged(result, _read_base(path, name, (*readers, path.resolve())))
    return merged(result, tree)


def _read_base(path: Path, name: Any, readers: tuple[Path, ...]) -> Tree:
    if not isinstance(name, str):
        raise ModelFileError(f"{path}: _BASE_: found {name!r}, expected the name of a file")
    base = path.parent / Path(name).expanduser()
    if base.is_file():
        return _read_tree(base, readers)
    known = BASES.get(base.name)
    if known is None:
        raise ModelFileError(
            f"{path}: its _BASE_, {base}, does not exist: copy it there, or give the complete "
            "config.yaml that detectron2's trainer writes beside the weights"
        )
    return known


def _load_yaml(path: Path) -> Tree:
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingDependencyError("PyYAML", "export") from None

    class Loader(yaml.SafeLoader):
        """Safe, and reads tuples as detectron2 dumps them."""

    def read_tuple(loader: yaml.SafeLoader, node: yaml.Node) -> list[Any]:
        assert isinstance(node, yaml.SequenceNode)
        return loader.construct_sequence(node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", read_tuple)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.load(text, Loader)  # derived from SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path} cannot be read ({error})") from None
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise ModelFileError(
            f"{path} is no YAML that maskrt reads ({where}): expected a configuration of detectron2"
        ) from None
    if not isinstance(tree, dict):
        raise ModelFileError(
            f"{path} holds a {type(tree).__name__}, expected detectron2's configuration: a table "
            "with MODEL, INPUT and so on"
        )
    return tree


def _literals(value: Any) -> Any:
    """Strings that are Python literals as their values, tuples as lists (yacs's rule)."""
    if isinstance(value, dict):
        return {str(key): _literals(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_literals(inner) for inner in value]
    if isinstance(value, str):
        try:
            return _literals(ast.literal_eval(value)) if value else value
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value
    return value

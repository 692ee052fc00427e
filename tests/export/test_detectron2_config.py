"""detectron2's configurations: what is read, what is refused and how that is told."""

from __future__ import annotations

import pytest

from maskrt.errors import MaskrtError, ModelFileError, UnsupportedModelError
from maskrt.export.detectron2.config import DEFAULTS, Config, read_config
from maskrt.export.detectron2.model import Detectron2RCNN, cell_anchors
from maskrt.export.detectron2.zoo import merged
from tests.detectron2_reference import Reference
from tests.detectron2_reference.config import complete
from tests.detectron2_reference.configs import ZOO, write_dump, write_yaml, zoo_config

SMALL = {
    "MODEL": {
        "RESNETS": {"STEM_OUT_CHANNELS": 8, "RES2_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 4},
        "FPN": {"OUT_CHANNELS": 8},
        "ROI_BOX_HEAD": {"FC_DIM": 8},
        "ROI_MASK_HEAD": {"CONV_DIM": 8},
        "ROI_KEYPOINT_HEAD": {"CONV_DIMS": [8] * 8},
    }
}


def values(config: Config, tree=DEFAULTS, path="") -> dict[str, object]:
    found = {}
    for key in tree:
        name = f"{path}{key}"
        if isinstance(tree[key], dict):
            found |= values(config, tree[key], f"{name}.")
        else:
            found[name] = config._get(name)
    return found


def plain(value):
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo(name, tmp_path):
    """Its files, their dumps and the names that need no file are one and the same."""
    path = write_yaml(name, tmp_path)
    found = values(read_config(path))
    assert found == values(read_config(name))
    assert found == values(read_config(f"COCO-Detection/{name}.yaml"))
    full = complete(zoo_config(name))
    write_dump(full, tmp_path / "dump.yaml")
    dumped = merged(DEFAULTS, {k: v for k, v in full.items() if k in ("MODEL", "INPUT", "TEST")})
    for key, value in values(Config(dumped)).items():
        assert found[key] == plain(value), key


@pytest.mark.parametrize("name", ZOO)
def test_names_and_shapes_of_weights(name):
    """Those of the independent reference, so those of detectron2's files."""
    own = Detectron2RCNN(Config(zoo_config(name, SMALL))).state_dict()
    theirs = Reference(zoo_config(name, SMALL)).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in theirs.items()}


def test_a_base_that_is_missing_but_known(tmp_path):
    path = tmp_path / "mask_rcnn_R_50_C4_3x.yaml"
    path.write_text('_BASE_: "../Base-RCNN-C4.yaml"\nMODEL:\n  MASK_ON: True\n')
    assert read_config(path).text("MODEL.ROI_HEADS.NAME") == "Res5ROIHeads"


def test_literals_and_tuples(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "MODEL:\n  PIXEL_STD: (1.0, 2, 3.5)\n  ANCHOR_GENERATOR:\n    SIZES:\n"
        "    - !!python/tuple [16, 32]\nSOLVER:\n  STEPS: (1, 2)\n"
    )
    config = read_config(path)
    assert config.numbers("MODEL.PIXEL_STD", 3) == (1.0, 2.0, 3.5)
    assert config.lists("MODEL.ANCHOR_GENERATOR.SIZES") == ((16.0, 32.0),)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("MODEL: {META_ARCHITECTURE: RetinaNet}", UnsupportedModelError,
         r"MODEL.META_ARCHITECTURE is 'RetinaNet'.*expected 'GeneralizedRCNN'"),
        ("MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}}", UnsupportedModelError,
         "MODEL.ROI_HEADS.NAME is 'CascadeROIHeads'"),
        ("MODEL: {RESNETS: {DEFORM_ON_PER_STAGE: [False, True, True, True]}}",
         UnsupportedModelError, "DEFORM_ON_PER_STAGE"),
        ("MODEL: {ROI_BOX_HEAD: {POOLER_TYPE: ROIPool}}", UnsupportedModelError, "ROIPool"),
        ("MODEL: {ROI_BOX_HEAD: {USE_SIGMOID_CE: True}}", UnsupportedModelError, "USE_SIGMOID_CE"),
        ("MODEL: {RESNETS: {DEPTH: 51}}", UnsupportedModelError, "DEPTH is 51.*18 or 34 or 50"),
        ("MODEL: {SWIN: {SIZE: T}}", UnsupportedModelError, r"MODEL.SWIN \(here .*not a key"),
        ("MODEL: {RPN: {MY_KEY: 3}}", UnsupportedModelError, r"MODEL.RPN.MY_KEY \(here 3\)"),
        ("VERSION: 1", UnsupportedModelError, "VERSION is 1"),
        ("INPUT: {FORMAT: YUV-BT.601}", UnsupportedModelError, "INPUT.FORMAT is 'YUV-BT.601'"),
        ("MODEL: 3", ModelFileError, "MODEL: found 3, expected a table"),
        ("- a\n- b", ModelFileError, "holds a list, expected detectron2's configuration"),
        ("MODEL: {a: [", ModelFileError, "is no YAML"),
        ("MODEL: !!python/object/apply:os.system [true]", ModelFileError, "is no YAML"),
        ("_BASE_: mine.yaml", ModelFileError, "mine.yaml, does not exist.*config.yaml"),
        ("_BASE_: config.yaml", ModelFileError, "leads back to it"),
        ("_BASE_: 3", ModelFileError, "_BASE_: found 3"),
        ("", ModelFileError, "holds a NoneType"),
    ],
)  # fmt: skip
def test_what_is_refused(text, error, message, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(error, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RESNETS": {"OUT_FEATURES": ["res9"]}}, "OUT_FEATURES is .'res9'."),
        ({"FPN": {"IN_FEATURES": ["res3", "res5"]}}, "strides that do not double"),
        ({"RPN": {"IN_FEATURES": ["p9"]}}, "RPN.IN_FEATURES is .'p9'.*p2, p3, p4, p5, p6"),
        ({"ROI_HEADS": {"IN_FEATURES": ["p2", "p4"]}}, None),
        ({"ROI_HEADS": {"NAME": "Res5ROIHeads"}}, "Res5ROIHeads read one map"),
        ({"ANCHOR_GENERATOR": {"SIZES": [[32], [64]]}}, "SIZES.*each of 5 maps"),
        ({"ANCHOR_GENERATOR": {"SIZES": [[32], [64], [1, 2], [3], [4]]}}, "anchors in a cell"),
        ({"ROI_BOX_HEAD": {"NAME": ""}}, "ROI_BOX_HEAD.NAME is empty"),
        ({"ROI_BOX_HEAD": {"NUM_FC": 0}}, "NUM_CONV 0 and NUM_FC 0"),
        ({"RESNETS": {"DEPTH": 18}}, "goes with RES2_OUT_CHANNELS 64"),
        ({"ROI_HEADS": {"NUM_CLASSES": 0}}, "NUM_CLASSES: found 0, expected at least 1"),
        ({"RESNETS": {"DEPTH": 50, "NUM_GROUPS": "x"}}, "NUM_GROUPS: found 'x', expected a whole"),
        ({"PIXEL_STD": [1.0, 2.0]}, None),
    ],
)  # fmt: skip
def test_models_that_do_not_fit_together(changes, message, tmp_path):
    from maskrt.export.adapters.detectron2 import adapt

    config = Config(zoo_config("mask_rcnn_R_50_FPN_3x", merged(SMALL, {"MODEL": changes})))
    if message:
        with pytest.raises(MaskrtError, match=message):
            Detectron2RCNN(config)
    else:
        with pytest.raises(MaskrtError, match=r"PIXEL_STD: found|strides that double"):
            adapt(Detectron2RCNN(config), (64, 64))


def test_names_that_are_no_file():
    with pytest.raises(MaskrtError, match=r"found no file mask_rcnn_R_999.*such as mask_rcnn_R_50"):
        read_config("mask_rcnn_R_999")
    with pytest.raises(MaskrtError, match="no model of that name"):
        read_config("keypoint_rcnn_R_50_C4_3x")


def test_anchors_are_not_rounded_and_may_have_an_offset():
    config = Config(
        {"MODEL": {"ANCHOR_GENERATOR": {"SIZES": [[16]], "ASPECT_RATIOS": [[4.0]], "OFFSET": 0.5}}}
    )
    (anchors,) = cell_anchors(config, [16])
    assert anchors.tolist() == [[-4.0 + 8, -16.0 + 8, 4.0 + 8, 16.0 + 8]]


class TestAdapter:
    """Names, labels and canvases."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        return Detectron2RCNN(Config(zoo_config("mask_rcnn_R_50_FPN_3x", SMALL)))

    def test_labels(self, model):
        from maskrt.export.adapters.detectron2 import adapt

        _, spec = adapt(model, (64, 96))
        assert len(spec.labels) == 80
        assert (spec.labels[0], spec.labels[-1]) == ("person", "toothbrush")
        assert spec.classes[0] == "person"
        with pytest.raises(ValueError, match=r"found 81 labels, expected 80.*without a background"):
            adapt(model, (64, 96), labels=[str(i) for i in range(81)])

    def test_canvas(self, model):
        from maskrt.export.adapters.detectron2 import adapt

        with pytest.raises(MaskrtError, match="multiple of the stride, 32"):
            adapt(model, (80, 96))
        _, spec = adapt(model, (64, 96), resize="fit", frame_order="rgb")
        assert (spec.canvas.min_size, spec.canvas.max_size) == (None, None)
        assert spec.canvas.resize == "detectron2"
        assert spec.canvas.frame_order == "rgb"
        assert spec.rpn.levels[-1].grid == (1, 2)
        c4 = Detectron2RCNN(Config(zoo_config("faster_rcnn_R_50_C4_3x", SMALL)))
        _, spec = adapt(c4, (80, 96))
        assert spec.rpn.levels[0].grid == (5, 6)

    def test_frames_that_are_not_resized(self):
        from maskrt.export.adapters.detectron2 import adapt

        changes = {**SMALL, "INPUT": {"MIN_SIZE_TEST": 0}}
        model = Detectron2RCNN(Config(zoo_config("faster_rcnn_R_50_C4_3x", changes)))
        with pytest.raises(UnsupportedModelError, match=r"MIN_SIZE_TEST is 0.*--resize fit"):
            adapt(model, (64, 64))

    def test_a_person_with_17_points(self):
        from maskrt.export.adapters.detectron2 import adapt

        model = Detectron2RCNN(Config(zoo_config("keypoint_rcnn_R_50_FPN_3x", SMALL)))
        _, spec = adapt(model, (64, 64))
        assert spec.labels == ("person",)
        assert spec.keypoint.names[0] == "nose"
        assert spec.keypoint.decode == "detectron2"
        assert len(spec.keypoint.skeleton) == 19

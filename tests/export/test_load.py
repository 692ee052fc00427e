from __future__ import annotations

import sys

import pytest
import torch
import torchvision

from maskrt.errors import MaskrtError, ModelFileError
from maskrt.examples.shapes import mask_rcnn
from maskrt.export import load_model

TINY = "maskrt.examples.shapes:mask_rcnn"


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(5)
    return mask_rcnn().state_dict()


def same(model, state):
    return all(torch.equal(v, state[k].to(v.dtype)) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"model": s, "epoch": 3},
        lambda s: {"state_dict": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
    ],
    ids=["plain", "model", "state_dict", "DataParallel"],
)
def test_checkpoints(state, wrap, tmp_path):
    torch.save(wrap(state), tmp_path / "w.pth")
    model = load_model(TINY, tmp_path / "w.pth")
    assert same(model, state)
    assert not model.training


def test_fp16_weights_are_upcast(state, tmp_path):
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(half, tmp_path / "w.pth")
    model = load_model(TINY, tmp_path / "w.pth")
    assert same(model, half)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_current_folder_is_importable(tmp_path, monkeypatch):
    (tmp_path / "my_detector.py").write_text(
        "from maskrt.examples.shapes import mask_rcnn\ndef build():\n    return mask_rcnn()\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert type(load_model("my_detector:build")).__name__ == "MaskRCNN"
    assert sys.path == before


def test_torchvision_builders_take_the_classes_from_the_weights(tmp_path):
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    trained = torchvision.models.get_model(name, weights_backbone=None, num_classes=3)
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    model = load_model(f"torchvision/{name}", tmp_path / "w.pth")
    assert model.roi_heads.box_predictor.cls_score.out_features == 3


def test_bad_files(state, tmp_path):
    path = tmp_path / "w.pth"

    def message():
        with pytest.raises(ModelFileError) as error:
            load_model(TINY, path)
        return str(error.value)

    assert "does not exist" in message()
    path.write_bytes(b"")
    assert "cannot be read as a torch file" in message()
    path.write_bytes(b"\x80\x02 not a checkpoint")
    assert str(path) in message()
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "cannot be read as a torch file" in message()
    torch.save(mask_rcnn, path)
    assert "holds more than tensors" in message()
    torch.save([1, 2], path)
    assert "holds a list, expected a state_dict" in message()
    torch.save({k: v for k, v in state.items() if "rpn" not in k}, path)
    assert "is missing" in message()
    torch.save({**state, "extra": torch.zeros(1)}, path)
    assert "'extra' is unknown to the model" in message()
    key = next(iter(state))
    torch.save({**state, key: torch.zeros(7)}, path)
    assert "has the shape (7,), the model's is" in message()


def test_default_weights_are_torchvisions_own():
    with pytest.raises(MaskrtError, match="DEFAULT is for torchvision/NAME"):
        load_model(TINY, "DEFAULT")


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(MaskrtError, match="name the file with --weights"):
        load_model("torchvision/fasterrcnn_mobilenet_v3_large_320_fpn", "DEFAULT")

"""Files of detectron2's weights: the zoo's pickles, checkpoints, and what is neither."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from maskrt.errors import MaskrtError, ModelFileError
from maskrt.export import load_model
from maskrt.export.detectron2.weights import read_pickle
from tests.detectron2_reference import Reference, save_pth, save_zoo_pkl
from tests.detectron2_reference.configs import write_dump, zoo_config
from tests.export.test_detectron2_config import SMALL

CONFIG = zoo_config("faster_rcnn_R_50_C4_3x", SMALL)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return Reference(CONFIG).state_dict()


@pytest.fixture
def yaml(tmp_path):
    write_dump(CONFIG, tmp_path / "config.yaml")
    return str(tmp_path / "config.yaml")


def same(model, state):
    own = model.state_dict()
    return all(torch.equal(own[name], value) for name, value in state.items())


def test_the_zoos_pickles(state, yaml, tmp_path):
    """With and without the constants that old files hold, and in every protocol."""
    path = tmp_path / "model.pkl"
    save_zoo_pkl(state, path, CONFIG)
    assert same(load_model(yaml, path), state)
    arrays = {name: value.numpy() for name, value in state.items()}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"model": arrays, "matching_heuristics": True}, protocol))
        assert same(load_model(yaml, path), state)


def test_a_trainers_checkpoint(state, yaml, tmp_path):
    path = tmp_path / "model_final.pth"
    save_pth({**state, "backbone.stem.conv1.norm.num_batches_tracked": torch.tensor(3)}, path)
    assert same(load_model(yaml, path), state)


def test_no_weights(yaml):
    assert not load_model(yaml).training


class Bad:
    """What a stranger may have put into a pickle."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": Bad()}}, r"no pickle of arrays alone \(it names .*system\)"),
        ({"blobs": {"conv1_w": np.zeros(3)}}, "holds weights of Detectron 1 or Caffe2"),
        ([1, 2], "holds a list, expected detectron2's"),
        ({"model": {"a": np.array([None])}}, "'a' holds a ndarray, not an array|not an array"),
        ({"model": {"a": "text"}}, "'a' holds a str"),
    ],
)
def test_other_pickles(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ModelFileError, match=message):
        read_pickle(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("length", [0, 1, 20, 1000, -1])
def test_truncated_pickles(length, state, tmp_path):
    path = tmp_path / "model.pkl"
    save_zoo_pkl(state, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelFileError, match=r"truncated|no pickle"):
        read_pickle(path)


def test_weights_of_another_model(state, yaml, tmp_path):
    path = tmp_path / "model.pkl"
    fewer = {n: v for n, v in state.items() if "res5" not in n}
    save_zoo_pkl(fewer, path)
    with pytest.raises(ModelFileError, match=r"does not fit the model: 'roi_heads.res5.*missing"):
        load_model(yaml, path)
    changed = {**state, "roi_heads.box_predictor.cls_score.bias": torch.zeros(7)}
    save_zoo_pkl(changed, path)
    with pytest.raises(ModelFileError, match=r"cls_score.bias' has the shape \(7,\).*\(81,\)"):
        load_model(yaml, path)


def test_what_is_asked_for_in_vain(yaml, tmp_path):
    with pytest.raises(MaskrtError, match="DEFAULT is for torchvision"):
        load_model(yaml, "DEFAULT")
    with pytest.raises(MaskrtError, match="found no file"):
        load_model(str(tmp_path / "none.yaml"))
    with pytest.raises(MaskrtError, match="found no file nothing_R_50, and no model of that name"):
        load_model("detectron2/nothing_R_50")
    with pytest.raises(ModelFileError, match="does not exist"):
        load_model(yaml, tmp_path / "none.pkl")

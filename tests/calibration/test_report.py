"""What the report says."""

from __future__ import annotations

import json

from maskrt.calibration.layers import Layer
from maskrt.calibration.report import CalibrationReport

LAYERS = (
    Layer("stem", "trunk", (), "w", 100, "stem"),
    Layer("body", "trunk", (), "w", 700),
    Layer("fc", "box head", (), "w", 150),
    Layer("scores", "box head", (), "w", 50, "predictor"),
    Layer("boxes", "box head", (), "w", 0, "predictor"),
)


def test_shares(tmp_path):
    report = CalibrationReport("int8", "minmax", 12, LAYERS, 3, ["few images"])
    assert report.total.part == 0.85
    assert [(s.name, s.layers, s.quantised, s.part) for s in report.shares()] == [
        ("trunk", 2, 1, 0.875),
        ("box head", 3, 1, 0.75),
    ]
    assert report.kept() == {"stem": ["stem"], "predictor": ["scores", "boxes"]}
    report.write(tmp_path / "report.json")
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["share_of_macs"] == 0.85
    assert record["layers"][1] == {
        "name": "body", "stage": "trunk", "macs": 700, "precision": "int8", "why": "",
    }  # fmt: skip
    assert record["warnings"] == ["few images"]


def test_a_model_without_known_shapes():
    report = CalibrationReport("int8", "minmax", 1, (Layer("a", "trunk", (), "w", 0),), 1)
    assert report.total.part == 0.0

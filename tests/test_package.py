"""The folders and setup.py agree."""

from __future__ import annotations

import re
from importlib.metadata import entry_points, version
from pathlib import Path

import maskrt

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "export", "plugins", "runtime", "calibration", "examples")


def test_every_package_folder_is_in_setup():
    listed = dict(re.findall(r'"([\w.]+)": "([\w/]+)"', (ROOT / "setup.py").read_text()))
    found = {
        str(init.parent.relative_to(ROOT))
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(listed.values()) == found
    for package, folder in listed.items():
        names = folder.split("/")
        assert package == ".".join(["maskrt", *(names[1:] if names[0] == "core" else names)])


def test_version_and_command():
    assert version("maskrt") == maskrt.__version__
    (command,) = (e for e in entry_points(group="console_scripts") if e.name == "maskrt")
    assert command.value == "maskrt.cli:main"


def test_weights_are_small():
    weights = sorted((ROOT / "examples/shapes/weights").glob("*.pth"))
    assert [path.name for path in weights] == ["keypoint_rcnn.pth", "mask_rcnn.pth"]
    assert all(path.stat().st_size < 5_000_000 for path in weights)

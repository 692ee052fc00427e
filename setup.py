"""Maps the top-level folders onto the one package ``maskrt`` (see docs/design.md, "Layers")."""

from setuptools import setup

PACKAGE_DIR = {
    "maskrt": "core",
    "maskrt.commands": "core/commands",
    "maskrt.export": "export",
    "maskrt.export.adapters": "export/adapters",
    "maskrt.export.functions": "export/functions",
    "maskrt.plugins": "plugins",
    "maskrt.runtime": "runtime",
    "maskrt.calibration": "calibration",
    "maskrt.examples": "examples",
    "maskrt.examples.shapes": "examples/shapes",
}

setup(
    package_dir=PACKAGE_DIR,
    packages=list(PACKAGE_DIR),
    package_data={"maskrt": ["py.typed"], "maskrt.examples.shapes": ["weights/*.pth"]},
    include_package_data=False,  # or MANIFEST.in's sources would enter the wheel
)

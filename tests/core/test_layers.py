"""Which folder may import which: docs/design.md, "Layers"."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = {
    "core": set(),
    "plugins": {"core"},
    "runtime": {"core", "plugins"},
    "export": {"core", "plugins"},
    "calibration": {"core", "export"},
}
RUNTIME_FORBIDDEN = {"torch", "torchvision", "onnx", "onnxscript", "onnx_graphsurgeon"}
PACKAGES = {"maskrt." + folder: folder for folder in LAYERS if folder != "core"}


def imports(path, *, inside_functions):
    """Names of imported modules; those within functions only on demand."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if inside_functions else module_level(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not (node.level > 1), f"{path}: import from a parent by its full name"
            if node.level == 0:
                yield from (f"{node.module}.{name.name}" for name in node.names)


def module_level(tree):
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue  # types are not imported when the module runs
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            stack += list(ast.iter_child_nodes(node))


def layer_of(module):
    for package, folder in PACKAGES.items():
        if module == package or module.startswith(package + "."):
            return folder
    return "core" if module.split(".")[0] == "maskrt" else None


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_point_one_way(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        # commands import the rest when they run
        inside = folder != "core"
        for module in imports(path, inside_functions=inside):
            layer = layer_of(module)
            assert layer in (None, folder, *LAYERS[folder]), f"{path} imports {module}"


@pytest.mark.parametrize("folder", ["core", "plugins", "runtime"])
def test_nothing_heavy_on_the_device(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for module in imports(path, inside_functions=True):
            assert module.split(".")[0] not in RUNTIME_FORBIDDEN, f"{path} imports {module}"


def test_core_needs_numpy_at_most():
    for path in sorted((ROOT / "core").rglob("*.py")):
        for module in imports(path, inside_functions=False):
            top = module.split(".")[0]
            if path.name == "console.py":  # imported by commands when they run
                continue
            assert top in {*sys.stdlib_module_names, "maskrt", "numpy"}, f"{path} imports {module}"


def test_the_rule_finds_what_it_forbids(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from maskrt.export import export\n    import torch\n")
    found = set(imports(path, inside_functions=True))
    assert {layer_of(module) for module in found} >= {"export"}
    assert {module.split(".")[0] for module in found} & RUNTIME_FORBIDDEN


def test_importing_the_runtime_loads_neither_torch_nor_onnx():
    code = (
        "import sys, maskrt.runtime as r; r.Detector, r.Detections, r.open_source;"
        f"print(sorted({RUNTIME_FORBIDDEN!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

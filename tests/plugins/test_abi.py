"""Our declarations of TensorRT's plugin interface, and NVIDIA's where they are found."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.plugins.building import ROOT

PLUGINS = ROOT / "plugins"
OURS = (PLUGINS / "abi" / "nvinfer1.h").read_text(encoding="utf-8")
REAL = "#if !defined(MASKRT_REAL_ABI)\n#error ours\n#endif\n"
OWN = "#if defined(MASKRT_REAL_ABI)\n#error theirs\n#endif\n"


def compiled(folder: Path, nvidias: str | None, source: str, *flags: str) -> str:
    """What the compiler complains about; ``nvidias`` stands in for NVIDIA's header."""
    if nvidias is not None:
        (folder / "NvInferRuntime.h").write_text(nvidias, encoding="utf-8")
    program = folder / "program.cpp"
    program.write_text(f'#include "abi/tensorrt.h"\n{source}', encoding="utf-8")
    compiler = os.environ.get("CXX") or shutil.which("c++") or "c++"
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *flags]
    command += [f"-I{PLUGINS}", f"-I{folder}", str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_nvidias_header_comes_first(tmp_path: Path) -> None:
    assert not compiled(tmp_path, OURS, REAL)


@pytest.mark.parametrize("flag", ["-DMASKRT_OWN_ABI", "-DMASKRT_EMULATED"])
def test_ours_can_be_asked_for(tmp_path: Path, flag: str) -> None:
    assert not compiled(tmp_path, "#error not to be read", OWN, flag)


def test_ours_stands_in(tmp_path: Path) -> None:
    assert not compiled(tmp_path, None, "", "-DMASKRT_OWN_ABI")


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        ("int64_t d[MAX_DIMS];", "int32_t d[MAX_DIMS];"),
        ("  Dims max;\n  Dims opt;\n", "  Dims opt;\n  Dims max;\n"),
        (
            "  DataType type;\n  TensorFormat format;\n",
            "  TensorFormat format;\n  DataType type;\n",
        ),
        ("kBF16 = 7", "kBF16 = 10"),
        ("kHWC16 = 11", "kHWC16 = 13"),
        ("kRUNTIME = 2", "kRUNTIME = 3"),
        ("kPROD = 1", "kPROD = 9"),
        ("  apiv::VExprBuilder* mImpl;\n", "  void* more;\n  apiv::VExprBuilder* mImpl;\n"),
    ],
)
def test_a_header_of_another_layout_is_noticed(tmp_path: Path, found: str, instead: str) -> None:
    assert OURS.count(found) == 1
    errors = compiled(tmp_path, OURS.replace(found, instead), "")
    assert "static assertion failed" in errors or "static_assert" in errors

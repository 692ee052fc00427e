"""Where the native libraries are looked for, and what is said when one is not right."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from maskrt.errors import MaskrtError
from maskrt.plugins import library as loader

ROOT = Path(__file__).parents[2]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A checkout with nothing built; the paths where the library could be."""
    checkout = tmp_path / "checkout"
    package = checkout / "plugins"
    package.mkdir(parents=True)
    (checkout / "CMakeLists.txt").touch()
    monkeypatch.setattr(loader, "_PACKAGE", package)
    monkeypatch.delenv(loader.PATH_VARIABLE, raising=False)
    name = loader.library_name()
    return {
        "package": package / name,
        "chosen": tmp_path / "chosen" / name,
        "build": checkout / "build" / "cmake" / name,
    }


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def fresh() -> ctypes.CDLL:
    """Loads, past the cache."""
    return loader.library.__wrapped__()


def test_the_build_of_the_checkout_is_found(native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(loader.PATH_VARIABLE, raising=False)
    if not (ROOT / "plugins" / loader.library_name()).is_file():
        assert loader.find() == native
    assert fresh().maskrt_ops_version() == loader.VERSION
    assert loader.library() is loader.library()


def test_the_packages_copy_comes_first(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in places.values():
        put(path)
    monkeypatch.setenv(loader.PATH_VARIABLE, str(places["chosen"]))
    assert loader.find() == places["package"]
    places["package"].unlink()
    assert loader.find() == places["chosen"]
    monkeypatch.delenv(loader.PATH_VARIABLE)
    assert loader.find() == places["build"]


def test_the_variable_names_a_folder_or_a_file(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(places["chosen"])
    monkeypatch.setenv(loader.PATH_VARIABLE, str(places["chosen"].parent))
    assert loader.find() == places["chosen"]
    other = put(tmp_path / "renamed.so")
    monkeypatch.setenv(loader.PATH_VARIABLE, str(other))
    assert loader.find() == other


def test_a_choice_that_leads_nowhere_is_said(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(places["build"])
    monkeypatch.setenv(loader.PATH_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(MaskrtError, match="nowhere"):
        loader.find()


def test_nothing_there(places: dict[str, Path]) -> None:
    with pytest.raises(MaskrtError) as caught:
        fresh()
    message = str(caught.value)
    for part in (str(places["package"]), str(places["build"]), "make native", loader.PATH_VARIABLE):
        assert part in message


def test_a_wheel_has_no_build_folder(places: dict[str, Path]) -> None:
    (places["build"].parents[2] / "CMakeLists.txt").unlink()
    assert loader.candidates() == [places["package"]]


def test_a_broken_file_is_named(places: dict[str, Path]) -> None:
    put(places["build"], b"no library")
    with pytest.raises(MaskrtError, match=r"(?s)build.cmake.*cannot be loaded.*make native"):
        fresh()


def test_a_foreign_library_is_named(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _ctypes.__file__
    monkeypatch.setenv(loader.PATH_VARIABLE, _ctypes.__file__)
    with pytest.raises(MaskrtError, match=r"_ctypes.*cannot be loaded.*maskrt_ops_version"):
        fresh()


@pytest.mark.usefixtures("native")
def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "VERSION", 999)
    with pytest.raises(MaskrtError, match=r"has version \d+ .* expected 999: .*make native"):
        fresh()


def test_version_is_that_of_the_header() -> None:
    header = (ROOT / "plugins" / "common" / "export.h").read_text(encoding="utf-8")
    found = re.search(r"#define MASKRT_OPS_VERSION (\d+)", header)
    assert found
    assert int(found[1]) == loader.VERSION


def test_importing_loads_nothing() -> None:
    code = (
        "import maskrt.plugins, maskrt.plugins.ops; from maskrt.plugins.library import library;"
        "print(library.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_each_library_is_looked_for_by_its_name(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = put(places["chosen"])
    plugins = put(ops.with_name(loader.library_name(loader.PLUGINS)))
    for choice in (ops.parent, ops, plugins):
        monkeypatch.setenv(loader.PATH_VARIABLE, str(choice))
        assert loader.find(loader.OPS) == ops
        assert loader.find(loader.PLUGINS) == plugins


def test_no_plugins_there(places: dict[str, Path]) -> None:
    with pytest.raises(MaskrtError, match=r"(?s)TensorRT plugins is not there.*make plugins"):
        loader.plugin_library.__wrapped__()


def test_a_library_without_plugins_is_refused(
    native: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = tmp_path / loader.library_name(loader.PLUGINS)
    wrong.write_bytes(native.read_bytes())
    monkeypatch.setattr(loader, "_PACKAGE", tmp_path)
    with pytest.raises(MaskrtError, match="lacks the symbol getCreators"):
        loader.plugin_library.__wrapped__()


@pytest.mark.usefixtures("native")
def test_the_wait_policy_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    fresh()
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    fresh()
    assert os.environ["OMP_WAIT_POLICY"] == "active"

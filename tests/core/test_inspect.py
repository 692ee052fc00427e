from __future__ import annotations

import json
import subprocess
import sys

import pytest

from maskrt.cli import main
from tests.core.test_heads import HEAD, SPEC, bundle, engine, onnx_file  # noqa: F401 (fixtures)


def test_onnx_files_need_no_onnxruntime(onnx_file):  # noqa: F811
    code = (
        "import sys; sys.modules['onnxruntime'] = sys.modules['onnx'] = None;"
        "from maskrt.cli import main; sys.exit(main(['inspect', sys.argv[1], '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(onnx_file)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["labels"] == list(SPEC.labels)


def test_engines(engine, capsys):  # noqa: F811
    assert main(["inspect", str(engine)]) == 0
    text = capsys.readouterr().out
    for word in ("TensorRT 10.3.0.26", "8.7", "linux-aarch64", "fp16", "64x64", "does not run"):
        assert word in text


def test_bundles(bundle, capsys):  # noqa: F811
    assert main(["inspect", str(bundle)]) == 0
    assert "trunk.onnx" in capsys.readouterr().out
    assert main(["inspect", str(bundle), "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["head"] == HEAD.to_plain()
    assert [entry["name"] for entry in plain["entries"]] == ["manifest.json", "trunk.onnx"]
    assert plain["runs_here"] is False
    assert "was built with TensorRT" in plain["problem"]


@pytest.mark.parametrize("name", ["none.engine", "none.onnx", "weights.pt"])
def test_errors(name, tmp_path, capsys):
    path = tmp_path / name
    if name == "weights.pt":
        path.write_bytes(b"PK\x03\x04")
    assert main(["inspect", str(path)]) == 1
    assert str(path) in capsys.readouterr().err

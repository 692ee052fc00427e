from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from maskrt import heads
from maskrt.artefact import MAGIC, ArtefactHead
from maskrt.errors import ModelFileError
from maskrt.spec import (
    METADATA_KEY,
    CanvasSpec,
    DetectionSpec,
    ModelSpec,
    RoIPoolSpec,
    RPNLevelSpec,
    RPNSpec,
)

POOL = RoIPoolSpec((7, 7), (0,), (1 / 16,), 2, False, 4)
SPEC = ModelSpec(
    labels=("background", "naïve ☃"),
    canvas=CanvasSpec(64, 64),
    rpn=RPNSpec((RPNLevelSpec((4, 4), (16, 16), ((-8.0, -8.0, 8.0, 8.0),), 16),), 8),
    box_pool=POOL,
    detection=DetectionSpec(5),
)
HEAD = ArtefactHead(
    "tensorrt",
    "fp16",
    "10.3.0.26",
    "0.1.0",
    "linux-aarch64",
    SPEC,
    compute_capabilities=("8.7",),
    plugins_version=2,
)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "model.engine"
    path.write_bytes(b"ftrt" + noise(5000) + HEAD.to_name().encode() + noise(9000))
    return path


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "model.bundle", {"head": HEAD.to_plain(), "other": [1]})


def write_bundle(path, manifest, *, name="manifest.json", compression=zipfile.ZIP_STORED):
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, text, compression)
        archive.writestr("trunk.onnx", noise(30_000))
    return path


@pytest.fixture
def onnx_file(tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    # a weight that holds the bytes of a foreign spec: only the metadata counts
    decoy = b"\x0a\x0bmaskrt.spec\x12\x02{}"
    weight = numpy_helper.from_array(np.frombuffer(decoy, np.uint8), "w")
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    model = helper.make_model(graph)
    helper.set_model_props(model, {"other": "x", METADATA_KEY: SPEC.to_json(), "last": ""})
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    return path


def test_heads_come_back(engine, bundle):
    assert heads.read_head(engine) == HEAD
    assert heads.read_head(engine.rename(engine.with_suffix(".PLAN"))) == HEAD
    assert heads.read_head(bundle) == HEAD
    assert heads.bundle_entries(bundle)[1] == ("trunk.onnx", 30_000)


def test_specs_come_back(engine, bundle, onnx_file):
    for path in (engine, bundle, onnx_file):
        assert heads.read_spec(path) == SPEC


def test_a_mark_that_leads_nowhere_is_passed(engine):
    data = engine.read_bytes()
    engine.write_bytes(MAGIC.encode() + b"x" + MAGIC.encode() + b"2}" + data)
    assert heads.read_head(engine) == HEAD


@pytest.mark.parametrize("lead", [-20, -10, -1, 0, 1, 3000])
def test_a_mark_on_the_edge_of_a_block(tmp_path, lead):
    path = tmp_path / "model.engine"
    path.write_bytes(bytes((1 << 20) + lead) + HEAD.to_name().encode() + bytes(10))
    assert heads.read_head(path) == HEAD


def test_a_compressed_spec(tmp_path):
    labels = tuple(f"label number {i}" for i in range(400))
    head = replace(HEAD, spec=replace(SPEC, labels=labels))
    path = tmp_path / "model.engine"
    path.write_bytes(noise(50) + head.to_name().encode() + noise(50))
    assert heads.read_head(path) == head


def refused(path, *words, read=heads.read_spec):
    with pytest.raises(ModelFileError) as caught:
        read(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("suffix", [".engine", ".bundle", ".onnx"])
def test_no_such_file(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    refused(path, "does not exist", "check the path")
    path.mkdir()
    refused(path, "is a folder")
    path.rmdir()
    path.write_bytes(b"")
    refused(path, "is empty")


@pytest.mark.parametrize("name", ["a\0b.onnx", "x" * 5000 + ".engine"])
def test_impossible_names(name):
    with pytest.raises(ModelFileError):
        heads.read_spec(name)


def test_devices_are_not_read():
    if Path("/dev/zero").exists():
        with pytest.raises(ModelFileError, match="is a device or a pipe"):
            heads._check_file(Path("/dev/zero"))


@pytest.mark.parametrize("suffix", [".engine", ".bundle", ".onnx", ".pt"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x7fELF" + bytes(60), "program or library"),
        (bytes(100), "zeros"),
        (b'{"a": 1}', "JSON"),
    ],
)
def test_foreign_files(tmp_path, suffix, content, words):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    refused(path, words)


def test_engines_that_are_none(tmp_path, onnx_file):
    path = tmp_path / "model.engine"
    path.write_bytes(b"ftrt" + noise(9000))
    refused(path, "is a TensorRT engine", "not built by maskrt", "maskrt build")
    onnx_file.rename(path)
    refused(path, "is an ONNX file")
    path.write_bytes(b"ftrt" + HEAD.to_name().encode()[:200])
    refused(path, "no readable JSON")
    path.write_bytes(HEAD.to_name().replace('"maskrt_format":1', '"maskrt_format":9').encode())
    refused(path, "found format 9, expected 1")


def test_heads_are_of_built_files(onnx_file, tmp_path):
    refused(onnx_file, "is an ONNX file", "maskrt build", read=heads.read_head)
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK\x03\x04")
    refused(path, "zip archive", read=heads.read_head)


def test_bundles_that_are_none(tmp_path, bundle):
    data = bundle.read_bytes()
    path = tmp_path / "broken.bundle"
    path.write_bytes(data[:-100])
    refused(path, "truncated or damaged archive")
    path.write_bytes(data.replace(b'"target"', b'"tarxxt"'))
    refused(path, "damaged")  # the checksum tells
    refused(write_bundle(path, {}, name="data.pkl"), "torch checkpoint")
    refused(write_bundle(path, {}, name="readme.txt"), "holds readme.txt, trunk.onnx")
    refused(write_bundle(path, {}), "no 'head'")
    refused(write_bundle(path, {"head": 1}), "expected an object")
    refused(write_bundle(path, "{"), "no readable JSON")
    refused(write_bundle(path, "[" * 100_000), "no readable JSON")
    refused(write_bundle(path, {}, compression=zipfile.ZIP_DEFLATED), "is compressed")
    refused(write_bundle(path, " " * (5 << 20)), "claims")
    huge = {**HEAD.to_plain(), "spec": {"labels": 10**400}}
    refused(write_bundle(path, {"head": huge}), "spec")


def test_a_number_too_large_for_a_float(tmp_path):
    plain = HEAD.to_plain()
    plain["spec"]["rpn"]["nms_threshold"] = 10**400
    refused(write_bundle(tmp_path / "m.bundle", {"head": plain}), "maskrt build")


def test_onnx_files_that_are_none(tmp_path, onnx_file):
    data = onnx_file.read_bytes()
    path = tmp_path / "broken.onnx"
    for size in (1, 5, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        refused(path)
    path.write_bytes(data.replace(METADATA_KEY.encode(), b"maskrt.sqec"))
    refused(path, "without 'maskrt.spec'", "maskrt export")
    path.write_bytes(data + b"\x72" + b"\xff" * 12)
    refused(path, "no number")
    path.write_bytes(data + b"\x72" + b"\xff" * 9 + b"\x01")
    refused(path, "are announced")
    path.write_bytes(b"\x08\x0a" * 200_000)
    refused(path, "more than 100000 fields")
    entry = b"\x0a\x0bmaskrt.spec\x12"
    for value, words in ((b"\x01\xff", "UTF-8"), (b"\x02{}", "schema version None")):
        field = entry + value
        path.write_bytes(data + b"\x72" + struct.pack("B", len(field)) + field)
        refused(path, words)  # the last entry counts, as in ONNX Runtime


def test_needs_neither_numpy_nor_onnx(onnx_file):
    code = (
        "import sys; from maskrt.heads import read_spec; read_spec(sys.argv[1]);"
        "print({'numpy', 'onnx', 'onnxruntime', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(onnx_file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_large_files_are_not_read(tmp_path, onnx_file):
    import tracemalloc

    path = tmp_path / "large.onnx"
    data = onnx_file.read_bytes()
    graph_of_zeros = b"\x3a" + b"\x80\x80\x80\x80\x01"  # 256 MiB
    with path.open("wb") as file:
        file.write(graph_of_zeros)
        file.seek(256 << 20, 1)
        file.write(data)
    engine = tmp_path / "large.engine"
    with engine.open("wb") as file:
        file.seek(64 << 20)
        file.write(HEAD.to_name().encode())
    tracemalloc.start()
    assert heads.read_spec(path) == heads.read_spec(engine) == SPEC
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()

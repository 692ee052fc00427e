"""Damaged and foreign model files: told as such, never a crash, a hang or another exception.

``MASKRT_FUZZ=10000`` tries as many files of all kinds together; without it, a few hundred.
"""

from __future__ import annotations

import copy
import json
import math
import os
import queue
import random
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import helper, parser

from maskrt.artefact import ArtefactHead
from maskrt.manifest import Manifest, Stage, StageTensor, to_json
from maskrt.spec import METADATA_KEY
from tests.runtime.conftest import _model, _spec

SECONDS = 30  # for one file
COUNT = int(os.environ.get("MASKRT_FUZZ", "360"))
SPEC = _spec()


def onnx_file(path: Path, spec: str = "") -> None:
    model = _model(SPEC)
    helper.set_model_props(model, {METADATA_KEY: spec or SPEC.to_json()})
    onnx.save(model, str(path))


def engine_file(path: Path) -> None:
    head = ArtefactHead(
        "tensorrt", "fp16", "10.3.0", "0.1.0", "linux-aarch64", SPEC, compute_capabilities=("8.7",)
    )
    noise = random.Random(0)
    path.write_bytes(
        b"ftrt" + noise.randbytes(500) + head.to_name().encode() + noise.randbytes(2000)
    )


STAGES = {
    "trunk": (
        "image",
        {
            "objectness": ("float32", (1, 16)),
            "deltas": ("float32", (1, 16, 4)),
            "indices": ("int32", (1, 16)),
            "features/0": ("float32", (1, 8, 4, 4)),
        },
    ),
    "box_head": (
        "box_features",
        {"logits": ("float32", ("N", 4)), "box_deltas": ("float32", ("N", 16))},
    ),
    "mask_head": ("mask_features", {"mask_logits": ("float32", ("N", 4, 14, 14))}),
}


def bundle_file(path: Path) -> None:
    """The stages give zeros: what matters is that the file loads."""
    head = ArtefactHead("onnxruntime", "fp32", "1.20.0", "0.1.0", "linux-x86_64", SPEC)
    stages, files = [], {}
    for name, (source, outputs) in STAGES.items():
        sides = ("1", "3", "64", "64") if name == "trunk" else ("N", "8", "7", "7")
        given = tuple(
            StageTensor(output, dtype, tuple(map(str, shape)))
            for output, (dtype, shape) in outputs.items()
        )
        entry = f"{name}.onnx"
        stages.append(Stage(name, (StageTensor(source, "float32", sides),), given, (entry,)))
        files[entry] = zeros(source, sides, outputs).SerializeToString()
    manifest = Manifest(tuple(stages), (SPEC.detection.max_detections,))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", to_json(head, manifest))
        for entry, data in files.items():
            archive.writestr(entry, data)


def zeros(source: str, sides: tuple[str, ...], outputs: dict) -> onnx.ModelProto:
    """A model that gives zeros of these shapes."""
    lines, signature = [], []
    for i, (output, (dtype, shape)) in enumerate(outputs.items()):
        kind = {"float32": "float", "int32": "int32"}[dtype]
        signature.append(f"{kind}[{','.join(map(str, shape))}] o{i}")
        rest = ",".join(map(str, shape[1:]))
        lines.append(f"""
          rest{i} = Constant <value = int64[{len(shape) - 1}] {{{rest}}}> ()
          shape{i} = Concat <axis = 0> (rows, rest{i})
          zero{i} = Constant <value = {kind} {{0}}> ()
          o{i} = Expand (zero{i}, shape{i})""")
        del output
    model = parser.parse_model(f"""
      <ir_version: 10, opset_import: ["": 18]>
      stage (float[{",".join(sides)}] x) => ({", ".join(signature)}) {{
        rows = Shape <start = 0, end = 1> (x)
        {"".join(lines)}
      }}""")
    renamed = {"x": source, **{f"o{i}": name for i, name in enumerate(outputs)}}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = renamed[value.name]
    return model


# A kind of file plugs in here: a maker of a small good one, and what becomes of that here. All that
# is asked of it are maskrt.heads and maskrt.runtime.Detector.
KINDS = {
    ".onnx": (onnx_file, "loaded"),
    ".engine": (engine_file, "refused"),  # of a machine that is not this one
    ".bundle": (bundle_file, "loaded"),
}
FOREIGN = (
    b"<!DOCTYPE html><html><body>404</body></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    b"PK\x05\x06" + bytes(18),
    b"PK\x03\x04" + bytes(60),
    b"\x80\x02}q\x00.",
    b"\x7fELF" + bytes(200),
    b"\x08\x0a",
    b"\x08",
    b"\0" * 4096,
    b"\xff" * 4096,
    b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"{" * 100_000,
    b'{"maskrt_format":1}',
    b'{"maskrt_format":' * 5000,
    b'{"maskrt_format":1,"spec":"' + b"c" * 3000 + b'"}',
    "naïve ☃".encode(),
)


class Worker:
    """A process that opens files, with a time limit for each."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.strip())
        self._lines.put("")

    def ask(self, path: Path, seconds: float) -> str:
        """The verdict on a file; a crash or a hang is one, too."""
        try:
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
            answer = self._lines.get(timeout=seconds)
        except queue.Empty:
            self._process.kill()
            return f"fault: no answer within {seconds} s"
        except OSError:
            answer = ""
        return answer or f"fault: the process ended with status {self._process.wait()}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Fuzzer:
    """Opens files in a worker; a new one after each fault."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def ask(self, path: Path) -> str:
        first = self._worker is None
        if first:
            self._worker = Worker()
        # the first answer waits for the imports
        answer = self._worker.ask(path, SECONDS + 60 * first)
        if answer.startswith("fault"):
            self.close()
        return answer

    def close(self) -> None:
        if self._worker:
            self._worker.close()
        self._worker = None


@pytest.fixture(scope="module")
def fuzzer():
    fuzzer = Fuzzer()
    yield fuzzer
    fuzzer.close()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """The bytes of a good file of each kind."""
    folder = tmp_path_factory.mktemp("seeds")
    found = {}
    for suffix, (make, _) in KINDS.items():
        path = folder / f"model{suffix}"
        make(path)
        found[suffix] = path.read_bytes()
    return found


def flipped(data: bytes, rng: random.Random, low: int, high: int, count: int) -> bytes:
    changed = bytearray(data)
    for _ in range(count):
        changed[rng.randrange(low, max(high, low + 1))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> tuple[str, bytes]:
    """What was done to the file, and the result."""
    size = len(data)
    a, b = sorted(rng.randrange(size + 1) for _ in range(2))
    other = rng.choice(others)
    ways = {
        "cut": lambda: data[:a],
        "head lost": lambda: data[a:],
        "bit": lambda: flipped(data, rng, 0, size, 1),
        "bits": lambda: flipped(data, rng, 0, size, 20),
        "start": lambda: flipped(data, rng, 0, 200, 2),
        "end": lambda: flipped(data, rng, size - 200, size, 2),
        "hole": lambda: data[:a] + data[b:],
        "zeros": lambda: data[:a] + bytes(b - a) + data[b:],
        "twice": lambda: data[:b] + data[a:],
        "noise": lambda: data[:a] + rng.randbytes(rng.randrange(64)) + data[a:],
        "lengths": lambda: data[:a] + b"\xff" * rng.randrange(1, 12) + data[a:],
        "spliced": lambda: data[:a] + other[rng.randrange(len(other)) :],
        "foreign": lambda: rng.choice((other, *FOREIGN)),
        "appended": lambda: data + rng.choice((other, *FOREIGN)),
    }
    way = rng.choice(list(ways))
    return way, ways[way]()


@pytest.mark.parametrize("suffix", KINDS)
def test_good_files(suffix, seeds, fuzzer, tmp_path):
    path = tmp_path / f"good{suffix}"
    path.write_bytes(seeds[suffix])
    assert fuzzer.ask(path) == KINDS[suffix][1]


@pytest.mark.parametrize("suffix", KINDS)
def test_foreign_and_empty_files(suffix, seeds, fuzzer, tmp_path):
    path = tmp_path / f"foreign{suffix}"
    others = [data for kind, data in seeds.items() if kind != suffix]
    for content in (b"", *FOREIGN, *others):
        path.write_bytes(content)
        assert fuzzer.ask(path) == "refused", content[:60]


@pytest.mark.parametrize("suffix", KINDS)
def test_damaged_files(suffix, seeds, fuzzer, tmp_path):
    data = seeds[suffix]
    others = [other for kind, other in seeds.items() if kind != suffix]
    path = tmp_path / f"damaged{suffix}"
    faults = []
    for i in range(COUNT // len(KINDS)):
        way, content = mutated(data, others, random.Random(f"{suffix} {i}"))
        path.write_bytes(content)
        answer = fuzzer.ask(path)
        if answer not in ("loaded", "refused"):
            faults.append(f"{suffix} number {i} ({way}): {answer}")
    assert not faults, "\n".join(faults[:20]) + f"\n{len(faults)} in all"


HOSTILE = (
    10**400, -(10**400), -1, 0, 2**31, 2**63, 1e308, 1e-320, math.nan, math.inf, "", "x",
    "9" * 5000, None, True, [], {}, [[]], [1] * 1000,
)  # fmt: skip


def places(value, path=()):
    """Where something stands in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))


def put(value, path, item):
    """A copy with another item at that place."""
    copied = copy.deepcopy(value)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = item
    return copied


def opened(fuzzer, plain, write):
    """What a file becomes with hostile values in its JSON; the faults."""
    tries = [(place, value) for place in places(plain) for value in HOSTILE]
    faults = []
    for place, value in random.Random(0).sample(tries, min(len(tries), max(COUNT // 2, 1))):
        answer = fuzzer.ask(write(put(plain, place, value)))
        if answer not in ("loaded", "refused"):
            faults.append(f"{place} {str(value)[:30]}: {answer}")
    return "\n".join(faults[:20])


def test_hostile_specs(fuzzer, tmp_path):
    """Every field of the spec with values that no exporter writes."""
    path = tmp_path / "hostile.onnx"

    def write(plain):
        onnx_file(path, json.dumps(plain))
        return path

    assert not opened(fuzzer, json.loads(SPEC.to_json()), write)


def test_hostile_manifests(fuzzer, tmp_path):
    """The same for a bundle's head and parts."""
    good, path = tmp_path / "good.bundle", tmp_path / "hostile.bundle"
    bundle_file(good)
    with zipfile.ZipFile(good) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))

    def write(plain):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("manifest.json", json.dumps(plain))
            for name, data in files.items():
                archive.writestr(name, data)
        return path

    assert not opened(fuzzer, manifest, write)

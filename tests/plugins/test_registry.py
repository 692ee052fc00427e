"""The plugin library in the plugin registries of real TensorRT releases.

They run without a GPU. The library is built twice: with the kernels emulated, for which a C++
compiler is enough, and by nvcc, where it is installed, for one architecture.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import kernel_cost
from maskrt.attributes import IMPLIED
from maskrt.export.trace import OPERATORS
from tests.plugins.building import BUILD, ROOT, build

CUDA_BUILD = ROOT / "build" / "cuda"
TENSORRT_10 = Path(sys.prefix) / "tensorrt10"  # its module has the name of TensorRT 11's


@dataclass(frozen=True)
class Registry:
    """A TensorRT whose packages can be installed anywhere."""

    module: str
    release: str  # what its version begins with
    requirements: str
    folder: Path | None = None  # where it is, if not among the other packages
    has_logger: bool = False  # only a builder brings one, and the lean runtime has none

    def missing(self) -> str:
        """How to get it, where it is not there."""
        if self.folder is None:
            there = importlib.util.find_spec(self.module) is not None
        else:
            there = (self.folder / self.module).is_dir()
        if there:
            return ""
        target = f"--target {self.folder} " if self.folder else ""
        return f"no {self.module}: pip install --no-deps {target}{self.requirements}"


REGISTRIES = {
    "TensorRT-RTX": Registry(
        "tensorrt_rtx_bindings",
        "1.",
        "tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings",
        has_logger=True,
    ),
    "TensorRT 11": Registry(
        "tensorrt_lean_bindings", "11.", "tensorrt-lean-cu13-libs tensorrt-lean-cu13-bindings"
    ),
    "TensorRT 10": Registry(
        "tensorrt_lean_bindings",
        "10.",
        "tensorrt-lean-cu13-libs==10.16.1.11 tensorrt-lean-cu13-bindings==10.16.1.11",
        folder=TENSORRT_10,
    ),
}
LIBRARIES = [
    "emulated",
    pytest.param("nvcc", marks=pytest.mark.slow(reason="compiles the kernels with nvcc")),
]
TENSORRTS = [
    pytest.param(name, marks=[pytest.mark.slow(reason="of the two lean ones, the newer is quick")])
    if registry.folder
    else name
    for name, registry in REGISTRIES.items()
]
"""For ``parametrize``."""
NAN = math.nan
Value = Any


@dataclass
class Example:
    """Attributes of a plugin, and what is wrong with others."""

    good: dict[str, Value]
    optional: dict[str, Value] = field(default_factory=dict)
    bad: dict[str, list[Value]] = field(default_factory=dict)


EXAMPLES = {
    "Letterbox": Example(
        good={
            "canvas": [800, 1344],
            "min_size": 800,
            "max_size": 1333,
            "mean": [123.675, 116.28, 103.53],
            "std": [58.395, 57.12, 57.375],
            "swap_channels": 1,
        },
        optional={"image_type": "float16", "resize": "detectron2"},
        bad={
            "canvas": [[800], [800, 1344, 3], [0, 8], [8, 2**23]],
            "min_size": [-1],
            "mean": [[NAN, 0.0, 0.0], [1.0]],
            "std": [[1.0, 0.0, 1.0]],
            "swap_channels": [2],
            "resize": ["pillow", ""],
            "image_type": ["float64", ""],
        },
    ),
    "Proposals": Example(
        good={
            "anchors": [float(i) for i in range(8)],
            "anchors_per_cell": [1, 1],
            "grid_widths": [16, 8],
            "strides": [4, 4, 8, 8],
            "top_k": [1000, 300],
            "num_rois": 1000,
            "nms_threshold": 0.7,
            "score_threshold": 0.0,
            "min_size": 0.001,
            "delta_weights": [1.0, 1.0, 1.0, 1.0],
            "delta_clip": 4.135,
        },
        bad={
            "anchors": [[0.0] * 4, []],
            "anchors_per_cell": [[1], [0, 2]],
            "grid_widths": [[16], [16, 0]],
            "strides": [[4, 4], [4, 4, 8, 0]],
            "top_k": [[1000], [1000, 6081], [1] * 9],
            "num_rois": [0, 40000],
            "nms_threshold": [NAN],
            "delta_weights": [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0]],
        },
    ),
    "MultilevelRoIAlign": Example(
        good={
            "output_height": 7,
            "output_width": 7,
            "spatial_scales": [0.25, 0.125, 0.0625, 0.03125],
            "sampling_ratio": 2,
            "coordinate_transformation_mode": "output_half_pixel",
            "min_level": 2,
            "canonical_size": 224.0,
            "canonical_level": 4,
            "epsilon": 1e-6,
            "log_epsilon": 0.0,
        },
        optional={"feature_scales": [0.1, 0.1, 0.1, 0.1], "output_scale": 0.1},
        bad={
            "output_height": [0, 257],
            "spatial_scales": [[], [0.0] * 4, [1.0] * 9],
            "sampling_ratio": [-1, 65],
            "coordinate_transformation_mode": ["half"],
            "canonical_size": [0.0, math.inf],
            "feature_scales": [[0.1, 0.1]],
            "output_scale": [-0.1],
        },
    ),
    "RoIAlign": Example(
        good={"coordinate_transformation_mode": "half_pixel"},
        optional={
            "output_height": 7,
            "output_width": 7,
            "sampling_ratio": 0,
            "spatial_scale": 0.0625,
            "mode": "avg",
            "feature_scales": [0.1],
            "output_scale": 0.2,
        },
        bad={"mode": ["max"], "spatial_scale": [-1.0], "feature_scales": [[0.1, 0.1]]},
    ),
    "DetectionNMS": Example(
        good={
            "max_detections": 100,
            "min_size": 0.01,
            "delta_weights": [10.0, 10.0, 5.0, 5.0],
            "delta_clip": 4.135,
            "background_first": 1,
        },
        bad={"max_detections": [0, 5000], "background_first": [2], "min_size": [NAN]},
    ),
    "MaskSelect": Example(
        good={}, optional={"masks_type": "float16"}, bad={"masks_type": ["uint8"]}
    ),
    "KeypointDecode": Example(
        good={}, optional={"decode": "detectron2"}, bad={"decode": ["openpose"]}
    ),
}


def as_field(name: str, value: Value) -> tuple[str, str, Value]:
    """With the type that a parser would give it."""
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(value, str):
        return name, "CHAR", value
    values = value if isinstance(value, list) else [value]
    return name, "INT32" if isinstance(first, int) else "FLOAT32", values


def attempts() -> list[tuple[str, str, list[Any], str]]:
    """(name of the attempt, creator, fields, what the reason must say; empty: it must work)."""
    tries: list[tuple[str, str, list[Any], str]] = []
    for creator, example in EXAMPLES.items():

        def add(name: str, values: dict[str, Value], reason: str, more: Any = ()) -> None:
            fields = [as_field(key, value) for key, value in values.items()]
            tries.append((f"{creator}: {name}", creator, [*fields, *more], reason))  # noqa: B023

        good, everything = example.good, example.good | example.optional
        add("only what is required", good, "")
        add("with what is optional", everything, "")
        add("with the parser's own", good, "", [as_field("plugin_version", "1")])
        add("unknown", good, "unknown attribute nonsense", [as_field("nonsense", 1)])
        for name, value in everything.items():
            about = f"attribute {name}"
            rest = {key: other for key, other in everything.items() if key != name}
            if name in good:
                add(f"no {name}", rest, f"{about}: found none")
            _, kind, values = as_field(name, value)
            wrong = (name, "FLOAT32", [1.0]) if kind != "FLOAT32" else (name, "INT32", [1])
            add(f"{name} of another type", rest, f"{about}: found type", [wrong])
            add(f"{name} twice", everything, f"{about}: found twice", [(name, kind, values)])
            if kind == "INT32":
                add(f"{name} as int64", rest, "", [(name, "INT64", values)])
            if kind == "FLOAT32":
                wide = (name, "FLOAT64", values)
                add(f"{name} as float64", rest, f"{about}: found type float64", [wide])
        for name, values in example.bad.items():
            for value in values:
                add(f"{name} = {value}", everything | {name: value}, "attribute ")
    return tries


ATTEMPTS = attempts()


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Path:
    """A build of the plugin library."""
    if request.param == "emulated":
        build(BUILD, ["maskrt_plugins_emulated"])
        return BUILD / "libmaskrt_plugins_emulated.so"
    try:
        nvcc = kernel_cost.tool("nvcc")
    except SystemExit as error:
        pytest.skip(str(error))
    options = ["-DMASKRT_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={nvcc}"]
    build(CUDA_BUILD, ["maskrt_plugins"], *options, "-DCMAKE_CUDA_ARCHITECTURES=87")
    return CUDA_BUILD / "libmaskrt_plugins.so"


@pytest.fixture(scope="module", params=TENSORRTS)
def found(request: pytest.FixtureRequest, library: Path) -> dict[str, Any]:
    """What a registry makes of the library."""
    registry = REGISTRIES[request.param]
    if registry.missing():
        pytest.skip(registry.missing())
    probe = Path(__file__).with_name("registry_probe.py")
    run = subprocess.run(
        [sys.executable, str(probe), registry.module, str(library)],
        input=json.dumps([(creator, fields) for _, creator, fields, _ in ATTEMPTS]),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | ({"PYTHONPATH": str(registry.folder)} if registry.folder else {}),
    )
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    assert answer["version"].startswith(registry.release)
    return answer | {"has_logger": registry.has_logger}


def test_all_creators_are_registered(found: dict[str, Any]) -> None:
    assert found["loaded"]
    assert sorted(found["creators"]) == sorted(EXAMPLES)
    for creator in found["creators"].values():
        assert (creator["version"], creator["namespace"]) == ("1", "maskrt")


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_fields(found: dict[str, Any], name: str) -> None:
    example = EXAMPLES[name]
    expected = [as_field(*item)[:2] for item in (example.good | example.optional).items()]
    fields = [(field, kind) for field, kind, _ in found["creators"][name]["fields"]]
    assert sorted(fields) == sorted(expected)


@pytest.mark.parametrize("operator", list(OPERATORS))
def test_what_the_exported_node_has_is_known(operator: str) -> None:
    """Required, unless nodes of older files lack it."""
    schema = getattr(torch.ops.maskrt, operator).default._schema
    attributes = {a.name: str(a.type) for a in schema.arguments if "Tensor" not in str(a.type)}
    kinds = {"INT32": "int", "FLOAT32": "float", "CHAR": "str"}
    example = EXAMPLES[OPERATORS[operator]]
    implied = IMPLIED.get(OPERATORS[operator], {})
    assert set(implied) <= set(example.optional)
    known = example.good | {name: example.optional[name] for name in implied}
    assert set(known) == set(attributes)
    for name, value in known.items():
        kind = kinds[as_field(name, value)[1]]
        expected = f"List[{kind}]" if isinstance(value, list) else kind
        assert attributes[name].replace("bool", "int") == expected, name


@pytest.mark.parametrize("creator", list(EXAMPLES))
def test_what_is_made_and_what_is_refused(found: dict[str, Any], creator: str) -> None:
    own = [i for i, attempt in enumerate(ATTEMPTS) if attempt[1] == creator]
    assert len(own) > 5
    for index in own:
        name, _, _, reason = ATTEMPTS[index]
        for phase in ("BUILD", "RUNTIME"):
            outcome = found["attempts"][index][phase]
            assert outcome["made"] == (not reason), (name, outcome)
            if not reason:
                assert outcome["name"] == [creator, "1", "maskrt"], name
                assert outcome["interfaces"] == [True, True], name
                assert not outcome["logged"] + outcome["printed"], name
                continue
            # to TensorRT's logger where it has one
            said, silent = ("logged", "printed") if found["has_logger"] else ("printed", "logged")
            assert len(outcome[said]) == 1, (name, outcome)
            expected = rf"{creator}: .*{re.escape(reason)}.*expected"
            assert re.search(expected, outcome[said][0]), (name, outcome)
            assert not outcome[silent], (name, outcome)


def test_exports_only_what_is_called(library: Path) -> None:
    if not shutil.which("nm"):
        pytest.skip("no nm here: install binutils")
    command = ["nm", "--dynamic", "--defined-only", "--extern-only", str(library)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.split()[-1] for line in lines}
    assert {"getCreators", "setLoggerFinder"} <= names
    assert not [n for n in names if not re.match(r"(getCreators|setLoggerFinder|maskrt_\w+)$", n)]


def test_needs_no_library_of_nvidias(library: Path) -> None:
    if not shutil.which("readelf"):
        pytest.skip("no readelf here: install binutils")
    command = ["readelf", "--dynamic", str(library)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", text)
    assert needed
    assert not [name for name in needed if re.match(r"lib(nv|cu|tensorrt)", name)]

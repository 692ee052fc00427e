"""Real builds with TensorRT-RTX. Whether the plans run is for machines with a GPU to tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from maskrt.artefact import MAX_NAME
from maskrt.errors import ModelFileError
from maskrt.export.builder import (
    BuildError,
    BuildOptions,
    Profile,
    build_engine,
    library_version,
    log_path,
    write_engine,
)
from tests.export.builder.nets import conv_net, graph, one_node, plugin_net

ROOT = Path(__file__).parents[3]


pytestmark = pytest.mark.usefixtures("rtx")


def build(model: onnx.ModelProto, **options: Any) -> bytes:
    return build_engine(model, "tensorrt-rtx", name="net", options=BuildOptions(**options))


def test_an_engine_for_several_gpus_holds_the_weights_once() -> None:
    net = conv_net(channels=256)
    one = build(net, compute_capabilities=("8.6",))
    three = build(net, compute_capabilities=("8.6", "8.9", "12.0"))
    weights = 2 * 256 * 256 * 9 * 4
    assert weights < len(one) < weights * 1.2
    assert len(three) < len(one) + 10_000


def test_half_precision_halves_the_weights() -> None:
    single, half = (len(build(conv_net(t, channels=256))) for t in (np.float32, np.float16))
    assert half < 0.6 * single


def test_name_is_in_the_plan_as_plain_bytes() -> None:
    name = '{"maskrt_format":1,' + "n" * (MAX_NAME - 19)
    plan = build_engine(conv_net(), "tensorrt-rtx", name=name)
    assert name.encode() in plan
    with pytest.raises(ValueError, match="found 4096 bytes, expected at most 4095"):
        build_engine(conv_net(), "tensorrt-rtx", name=name + "n")


def test_dynamic_rows_with_one_profile_and_with_several() -> None:
    net = conv_net(rows="N")
    ranges = [[(1, 100, 100)], [(b, b, b) for b in (8, 16, 32, 64, 100)]]
    sizes = []
    for sides in ranges:
        profiles = [Profile({"x": tuple((n, 16, 32, 32) for n in each)}) for each in sides]
        sizes.append(len(build_engine(net, "tensorrt-rtx", name="net", profiles=profiles)))
    assert sizes[0] < sizes[1]


def test_profiles_that_do_not_suit() -> None:
    def attempt(*profiles: Profile, rows: int | str = "N") -> None:
        build_engine(conv_net(rows=rows), "tensorrt-rtx", name="net", profiles=profiles)

    with pytest.raises(ValueError, match=r"\['x'\] have dynamic sizes: expected a profile"):
        attempt()
    with pytest.raises(ValueError, match=r"for \['z'\], expected the inputs \['x'\]"):
        attempt(Profile({"z": ((1,), (1,), (1,))}))
    shapes = ((1, 16, 32, 32), (2, 16, 32, 32), (2, 16, 33, 32))
    with pytest.raises(ValueError, match=r"found \(2, 16, 33, 32\), expected the shape \(-1, 16"):
        attempt(Profile({"x": shapes}))


def test_progress() -> None:
    calls: list[tuple[str, int, int]] = []
    build_engine(conv_net(), "tensorrt-rtx", name="net", progress=lambda *c: calls.append(c))
    assert calls[:2] == [("Reading the graph", 0, 1), ("Reading the graph", 1, 1)]
    assert all(0 <= done <= total for _, done, total in calls)
    last = {phase: done == total for phase, done, total in calls}
    assert len(last) > 3
    assert all(last.values())


def test_what_progress_raises_stops_the_build() -> None:
    seen = []

    def fail(phase: str, done: int, total: int) -> None:
        seen.append(phase)
        if phase != "Reading the graph":
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        build_engine(conv_net(), "tensorrt-rtx", name="net", progress=fail)
    assert len([p for p in seen if p != "Reading the graph"]) == 1


def test_a_file_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(conv_net(), path, save_as_external_data=True, location="net.bin", size_threshold=0)
    assert build_engine(path, "tensorrt-rtx", name="net")
    path.write_bytes(b"no ONNX file")
    with pytest.raises(ModelFileError, match=r"net\.onnx cannot be read"):
        build_engine(path, "tensorrt-rtx", name="net")


MISTYPED = {"w": np.ones((4, 4, 3, 3), np.float16)}
ERRORS = {
    "unknown": (one_node("Frobnicate"), "Plugin not found.*\n.*has no Frobnicate"),
    "unsupported": (one_node("Det", inputs={"x": (3, 3)}), "not supported\n.*has no Det"),
    "mistyped": (one_node("Conv", constants=MISTYPED), "type is Float .* Half\n.*strongly typed"),
    "reshape": (one_node("Reshape", constants={"s": np.array([3, 3])}), "changes volume.*\n"),
    "at build": (
        one_node(
            "NonMaxSuppression",
            inputs={"b": (1, 10, 4), "s": (1, 1, 10)},
            constants={
                "k": np.array([5]),
                "i": np.array([0.5], np.float32),
                "t": np.array([0.1], np.float32),
            },
        ),
        "has no runners.*\n.*has no NonMaxSuppression",
    ),
}
ERRORS["at build"][0].graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64


@pytest.mark.parametrize("case", list(ERRORS))
def test_what_failed_is_told(case: str, tmp_path: Path) -> None:
    model, expected = ERRORS[case]
    log = log_path(tmp_path / "net.engine")
    with pytest.raises(BuildError, match=expected) as caught:
        build(model, log=log)
    text = str(caught.value)
    op = model.graph.node[0].op_type
    assert text.startswith(f"TensorRT-RTX cannot build the node 'culprit' ({op}): ")
    assert text.endswith(f"The whole log: {tmp_path / 'net.engine.build.log'}")
    assert not [word for word in ("cudaError", "/_src", "Error Code") if word in text]
    assert caught.value.node == "culprit"
    assert caught.value.log == log
    assert "[ERROR]" in log.read_text()
    assert "[VERBOSE]" in log.read_text()


def test_the_stage_is_told() -> None:
    model = one_node("Det", inputs={"x": (3, 3)})
    model.graph.name = "mask_head"
    with pytest.raises(BuildError, match=r"'culprit' \(Det\) of the mask head: ") as caught:
        build(model)
    assert caught.value.stage == "mask head"
    with pytest.raises(BuildError, match="of the part of culprit: "):
        build_engine(model, "tensorrt-rtx", name="net", stage_of=lambda n: f"part of {n}")


def test_too_many_candidates() -> None:
    node = onnx.helper.make_node("TopK", ["x", "k"], ["y", "i"], "culprit")
    model = graph([node], {"x": (1, 5000)}, ["y"], {"k": np.array([4000])})
    with pytest.raises(BuildError, match=r"'culprit'.*3840.*\n.*maskrt build  splits"):
        build(model)


def test_too_little_scratch_memory() -> None:
    with pytest.raises(BuildError, match=r"out of memory .*\nit may use 1 MiB .*--workspace"):
        build(one_node("InstanceNormalization", constants=NORM), workspace=1 << 20)


NORM = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}


def test_a_success_removes_the_log_of_an_older_failure(tmp_path: Path) -> None:
    log = tmp_path / "net.engine.build.log"
    log.write_text("old")
    build(conv_net(), log=log)
    assert not log.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_capabilities": ("8.7",)}, r"8\.7.*--sm 75 80 86 89.*Jetson Orin.*--target tens"),
        ({"compute_capabilities": ("9.0",)}, r"9\.0.*Hopper.*--target tensorrt"),
        ({"compute_capabilities": ("8.6", "5.3")}, r"5\.3.*--sm 75 80.*leave it out"),
        ({"hardware_compatible": True}, "no hardware compatible engines: .*--sm"),
        ({"version_compatible": True}, "no version compatible engines"),
        (
            {"embed_plugins": True, "plugin_library": Path("x.so")},
            "no engines with plugins",
        ),
    ],
)
def test_what_it_does_not_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        build(conv_net(), **options)


def test_a_timing_cache_has_no_effect_and_that_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    options = BuildOptions(timing_cache=tmp_path / "timing.cache")
    build_engine(conv_net(), "tensorrt-rtx", name="net", options=options, warn=told.append)
    assert [text.split(":")[0] for text in told] == ["TensorRT-RTX keeps no timing cache"]
    assert not list(tmp_path.iterdir())


def test_writing_keeps_the_older_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "net.engine"
    write_engine(path, build(conv_net()))
    size = path.stat().st_size
    with pytest.raises(TypeError):
        write_engine(path, "no bytes")  # type: ignore[arg-type]
    assert [(p.name, p.stat().st_size) for p in tmp_path.iterdir()] == [("net.engine", size)]


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Python code in a process of its own, for what may end it."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_plugin_nodes_are_refused_before_the_parser_sees_them(tmp_path: Path) -> None:
    # the parser would ask the creator for a plugin, and end the process when it gets one
    path = tmp_path / "net.onnx"
    onnx.save(plugin_net(), path)
    code = """
        import sys, onnx
        from maskrt.export.builder import BuildError, build_engine, load
        lib = load("tensorrt-rtx")
        registry = lib.get_plugin_registry()

        class Creator(lib.IPluginCreatorV3One):
            def __init__(self):
                lib.IPluginCreatorV3One.__init__(self)
                self.name, self.plugin_namespace, self.plugin_version = sys.argv[2], "maskrt", "1"
                self.field_names = lib.PluginFieldCollection([])

        creator = Creator()
        assert registry.register_creator(creator, "maskrt")
        model = onnx.load(sys.argv[1])
        model.graph.node[0].op_type = sys.argv[2]
        model.graph.node[0].domain = sys.argv[3]
        try:
            build_engine(model, "tensorrt-rtx", name="net")
        except BuildError as error:
            print(error)
    """
    for op, domain in (("MaskSelect", "maskrt"), ("Thing", "other")):
        process = run(code, path, op, domain)
        told, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert told.startswith(f"TensorRT-RTX runs no plugins, found the node 'select' ({op})")


INTERRUPTED = """
    import json, sys, threading, time
    from pathlib import Path
    from maskrt.export.builder import BuildOptions, build_engine, write_engine
    from tests.export.builder.nets import conv_net

    calls = []

    def progress(phase, done, total):
        calls.append(phase)
        if phase != "Reading the graph" and len(calls) < 6:
            print("building", flush=True)
            time.sleep(0.2)  # of the builder's own thread: it is interrupted within a build

    output = Path(sys.argv[1])
    options = BuildOptions(log=output.with_name("log"))
    try:
        plan = build_engine(
            conv_net(layers=40), "tensorrt-rtx", name="net", options=options, progress=progress
        )
        write_engine(output, plan)
    except KeyboardInterrupt:
        threads = [thread.name for thread in threading.enumerate()]
        print(json.dumps({"calls": len(calls), "threads": threads}), flush=True)
        raise
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C in another way")
def test_ctrl_c_stops_the_build_at_once_and_leaves_no_file(tmp_path: Path) -> None:
    process = run(INTERRUPTED, tmp_path / "net.engine")
    assert process.stdout
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, errors
    found = json.loads(told.splitlines()[-1])
    assert found["calls"] < 10  # a whole build makes hundreds
    assert found["threads"] == ["MainThread"]
    assert not list(tmp_path.iterdir())


def test_version() -> None:
    assert library_version("tensorrt-rtx")[0].isdecimal()

"""What TensorRT is asked for, with a stand-in for its module; TensorRT-RTX's tests really build."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest

from maskrt.errors import MissingDependencyError
from maskrt.export.builder import (
    BuildError,
    BuildOptions,
    Profile,
    build_engine,
    engine,
    library,
    library_version,
)
from tests.export.builder import fake_tensorrt
from tests.export.builder.nets import conv_net, graph, plugin_net


def build(model: onnx.ModelProto | None = None, **options: Any) -> bytes:
    return build_engine(
        model or conv_net(), "tensorrt", name="net", options=BuildOptions(**options)
    )


def calls(kind: str) -> list[tuple[Any, ...]]:
    return [call[1:] for call in fake_tensorrt.CALLS if call[0] == kind]


@pytest.mark.usefixtures("tensorrt")
class TestBuild:
    def test_strongly_typed_with_the_name(self) -> None:
        assert build() == b"plan of net"
        assert calls("create_network") == [(1 << 1,)]  # the flag's number is not TensorRT-RTX's
        assert calls("init_libnvinfer_plugins") == [("",)]
        assert calls("build")[0][0] == "net"

    def test_a_release_without_the_flag(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fake_tensorrt, "NetworkDefinitionCreationFlag", SimpleNamespace())
        build()
        assert calls("create_network") == [(0,)]

    def test_defaults_are_left_to_the_library(self) -> None:
        build()
        config = calls("build")[0][1]
        assert config["builder_optimization_level"] == 3
        assert config["hardware_compatibility_level"] == 0
        assert not config["plugins_to_serialize"]
        assert not [c for c in fake_tensorrt.CALLS if c[0] in ("set_flag", "clear_flag")]
        assert not calls("set_memory_pool_limit") + calls("set_timing_cache")

    def test_options(self) -> None:
        build(
            workspace=1 << 30,
            level=5,
            version_compatible=True,
            hardware_compatible=True,
            tf32=False,
            compute_capabilities=("8.7",),
        )
        config = calls("build")[0][1]
        assert config["builder_optimization_level"] == 5
        assert config["hardware_compatibility_level"] == 1
        assert calls("set_memory_pool_limit") == [(0, 1 << 30)]
        assert calls("set_flag") == [(fake_tensorrt.BuilderFlag.VERSION_COMPATIBLE,)]
        assert calls("clear_flag") == [(fake_tensorrt.BuilderFlag.TF32,)]

    def test_profiles(self) -> None:
        shapes = ((1, 16, 32, 32), (2, 16, 32, 32), (4, 16, 32, 32))
        build_engine(conv_net(rows="N"), "tensorrt", name="n", profiles=[Profile({"x": shapes})])
        assert calls("set_shape") == [("x", *shapes)]

    def test_another_gpu(self) -> None:
        with pytest.raises(BuildError, match=r"found compute capability 8\.7, expected 8\.9"):
            build(compute_capabilities=("8.9",))

    def test_no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "first_gpu", lambda: None)
        with pytest.raises(BuildError, match=r"only where the GPU is.*--target tensorrt-rtx"):
            build()

    def test_a_driver_that_does_not_suit(self) -> None:
        fake_tensorrt.STATE.builder = False
        with pytest.raises(BuildError, match=r"CUDA initialization failure.*\ninstall the driver"):
            build()

    def test_a_parser_that_tells_only_the_number_of_the_node(self) -> None:
        fake_tensorrt.STATE.parse_error = fake_tensorrt.ParserError(2, "Conv", "no such thing")
        with pytest.raises(BuildError, match=r"node 'conv1' \(Conv\): no such thing"):
            build()

    @pytest.mark.parametrize(
        ("logged", "expected"),
        [
            (
                "[optimizer.cpp::computeCosts::4158] Error Code 10: Internal Error (Could not find "
                "any implementation for node {ForeignNode[conv1...relu1]}.)",
                r"node 'conv1' \(Conv\): Could not find any implementation.*\n.*--level",
            ),
            (
                "[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory "
                "(Requested size was 4294967296 bytes.)",
                r"the model: out of memory \(Requested size was 4294967296 bytes\)\nmemory ran out",
            ),
        ],
    )
    def test_reasons(self, logged: str, expected: str, tmp_path: Path) -> None:
        fake_tensorrt.STATE.build_error = logged
        log = tmp_path / "log"
        with pytest.raises(BuildError, match=expected):
            build(log=log)
        assert log.read_text() == f"[VERBOSE] something verbose\n[ERROR] {logged}\n"

    def test_a_library_that_logs_elsewhere(self) -> None:
        fake_tensorrt.STATE.build_error = ""
        with pytest.raises(BuildError, match="in a process of its own to see it"):
            build()

    def test_ctrl_c(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        fake_tensorrt.STATE.phases = 1000
        phases: list[str] = []

        def interrupted(futures: list[Any], timeout: float) -> Any:
            while len(phases) < 5:
                time.sleep(0.001)
            raise KeyboardInterrupt

        def progress(phase: str, done: int, total: int) -> None:
            phases.append(phase)
            time.sleep(0.001)

        monkeypatch.setattr("maskrt.export.builder.monitor.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_engine(
                conv_net(),
                "tensorrt",
                name="net",
                options=BuildOptions(log=tmp_path / "log", timing_cache=tmp_path / "cache"),
                progress=progress,
            )
        assert len(phases) < 2000
        assert not list(tmp_path.iterdir())

    def test_the_logger_is_one_for_all_builds(self) -> None:
        from maskrt.export.builder.logger import logger_of

        logger = logger_of(fake_tensorrt)
        build()
        assert logger_of(fake_tensorrt) is logger
        assert logger.sink is None
        logger.log(1, "after the build")  # of objects that go later


@pytest.mark.usefixtures("tensorrt")
class TestTimingCache:
    def test_made_and_used_again(self, tmp_path: Path) -> None:
        path = tmp_path / "timing.cache"
        build(timing_cache=path)
        assert path.read_bytes() == b"TIMES+"
        build(timing_cache=path)
        assert path.read_bytes() == b"TIMES++"
        assert calls("set_timing_cache") == [(b"", False), (b"TIMES+", False)]
        assert list(tmp_path.iterdir()) == [path]

    def test_a_broken_one_is_made_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "timing.cache"
        path.write_bytes(b"garbage")
        with pytest.warns(UserWarning, match=r"timing\.cache is broken.*made anew"):
            build(timing_cache=path)
        assert path.read_bytes() == b"TIMES+"

    def test_one_that_can_be_neither_read_nor_written(self, tmp_path: Path) -> None:
        told: list[str] = []
        options = BuildOptions(timing_cache=tmp_path)
        assert build_engine(conv_net(), "tensorrt", name="n", options=options, warn=told.append)
        assert len(told) == 2
        assert told[0].startswith(f"the timing cache {tmp_path} cannot be read")
        assert told[1].startswith("the timing cache was not kept: ")

    def test_a_build_that_fails_leaves_the_older_one(self, tmp_path: Path) -> None:
        path = tmp_path / "timing.cache"
        path.write_bytes(b"TIMES")
        fake_tensorrt.STATE.build_error = "no"
        with pytest.raises(BuildError):
            build(timing_cache=path)
        assert path.read_bytes() == b"TIMES"


@pytest.mark.usefixtures("tensorrt")
class TestPlugins:
    @pytest.fixture
    def library(self, tmp_path: Path) -> Path:
        path = tmp_path / "libmaskrt_plugins.so"
        path.touch()
        return path

    def test_loaded_once(self, library: Path) -> None:
        for _ in range(2):
            build(plugin_library=library).decode()
            build(plugin_net(), plugin_library=library)
        assert calls("load_library") == [(str(library),)]
        assert not calls("build")[0][1]["plugins_to_serialize"]

    def test_embedded(self, library: Path) -> None:
        build(plugin_net(), plugin_library=library, embed_plugins=True)
        assert calls("build")[0][1]["plugins_to_serialize"] == [str(library)]

    def test_not_loaded(self) -> None:
        with pytest.raises(BuildError, match=r"'select' needs.*none was loaded.*make plugins"):
            build(plugin_net())

    def test_a_library_that_is_not_there_or_not_taken(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.so"
        with pytest.raises(BuildError, match=r"broken\.so is not there.*MASKRT_PLUGIN_PATH"):
            build(plugin_net(), plugin_library=broken)
        broken.touch()
        with pytest.raises(BuildError, match=r"does not take .*invalid ELF header.*make plugins"):
            build(plugin_net(), plugin_library=broken)

    def test_a_creator_that_the_library_lacks(self, library: Path) -> None:
        model = plugin_net()
        model.graph.node[0].op_type = "Other"
        with pytest.raises(BuildError, match=r"no plugin 'Other' .* 'select' needs") as caught:
            build(model, plugin_library=library)
        assert caught.value.node == "select"

    def test_in_a_subgraph(self) -> None:
        inner = plugin_net()
        inner.graph.input[0].name = "z"
        branch = onnx.helper.make_graph(inner.graph.node, "b", [], inner.graph.output)
        node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
        with pytest.raises(BuildError, match="'select' needs"):
            build(graph([node], {"c": ()}, ["y"]))

    def test_a_function_body_needs_none(self) -> None:
        model = plugin_net()
        body = onnx.helper.make_function(
            "maskrt",
            "MaskSelect",
            ["a"],
            ["b"],
            [onnx.helper.make_node("Relu", ["a"], ["b"])],
            [onnx.helper.make_opsetid("", 18)],
        )
        model.functions.append(body)
        assert build(model)


class TestLibrary:
    def test_missing_libraries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(BuildError, match=r"pip install tensorrt-cu13.*python3-libnvinfer"):
            library.load("tensorrt")
        with pytest.raises(MissingDependencyError, match=r"pip install 'maskrt\[rtx\]'"):
            library.load("tensorrt-rtx")

    def test_type_stubs_are_no_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
        with pytest.raises(BuildError, match="not installed"):
            library.load("tensorrt")

    def test_a_broken_installation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(name: str) -> ModuleType:
            raise ImportError("libnvinfer.so.10: cannot open shared object file")

        monkeypatch.setattr("importlib.import_module", broken)
        with pytest.raises(BuildError, match=r"cannot be loaded \(libnvinfer\.so\.10"):
            library.load("tensorrt")

    def test_version(self, tensorrt: ModuleType) -> None:
        assert library_version("tensorrt") == tensorrt.__version__


class TestStandIn:
    """The stand-in has the names of TensorRT 10.13's type stubs."""

    @pytest.fixture
    def stubs(self) -> str:
        try:
            files = importlib.metadata.files("tensorrt-stubs") or []
        except importlib.metadata.PackageNotFoundError:
            pytest.skip("no tensorrt-stubs: pip install --no-deps tensorrt-stubs")
        path = next(f for f in files if f.name == "tensorrt.pyi")
        return Path(str(path.locate())).read_text(encoding="utf-8")

    @staticmethod
    def body(stubs: str, name: str) -> str:
        found = re.search(rf"^class {name}\b.*?(?=^\S)", stubs, re.DOTALL | re.MULTILINE)
        assert found, name
        return found[0]

    @staticmethod
    def check(signature: str, method: Any, what: str) -> None:
        expected = re.findall(r"(\w+):", re.sub(r"\[[^\]]*\]|= *[^,)]+", "", signature))
        own = [p for p in inspect.signature(method).parameters if p != "self"]
        assert own == expected[: len(own)], what

    def test_classes(self, stubs: str) -> None:
        classes = [c for _, c in inspect.getmembers(fake_tensorrt, inspect.isclass)]
        own = [c for c in classes if c.__module__ == fake_tensorrt.__name__]
        assert len(own) > 10
        for kind in own:
            body = self.body(stubs, kind.__name__)
            for name, member in vars(kind).items():
                if name.startswith("_") and name != "__init__":
                    continue
                if name == "__init__" and kind.__name__ not in ("Builder", "OnnxParser"):
                    continue
                what = f"{kind.__name__}.{name}"
                if inspect.isfunction(member):
                    found = re.search(rf"def {name}\(self,? ?(.*)\) ->", body)
                    assert found, what
                    self.check(found[1], member, what)
                else:
                    assert re.search(rf"\b{name}\b( *:|\()", body), what

    def test_attributes(self, stubs: str) -> None:
        for kind, names in {
            "IBuilderConfig": [n for n in vars(fake_tensorrt.IBuilderConfig()) if n[0] != "_"],
            "INetworkDefinition": ["name", "num_inputs"],
            "ITensor": ["name", "shape"],
            "ParserError": ["node_name", "node_operator", "local_function_stack"],
        }.items():
            body = self.body(stubs, kind)
            for name in names:
                assert re.search(rf"\b{name}\b", body), f"{kind}.{name}"

    def test_functions(self, stubs: str) -> None:
        for name in ("get_plugin_registry", "init_libnvinfer_plugins"):
            found = re.search(rf"^def {name}\((.*)\) ->", stubs, re.MULTILINE)
            assert found, name
            self.check(found[1], getattr(fake_tensorrt, name), name)

"""Where and with what a file was built."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import maskrt
from maskrt.artefact import ArtefactHead
from maskrt.export.builder import (
    BuildError,
    BuildOptions,
    capabilities,
    make_head,
    parse_capability,
)
from maskrt.gpus import platform_name
from maskrt.plugins.library import VERSION
from maskrt.spec import ModelSpec


def test_parse_capability() -> None:
    for text in ("86", "8.6", "sm_86", "SM86", " 86 "):
        assert parse_capability(text) == "8.6"
    assert parse_capability("120") == "12.0"
    for text in ("8", "ampere", "8.66.1", ""):
        with pytest.raises(ValueError, match=r"expected such as 8\.6"):
            parse_capability(text)


def test_capabilities(rtx: Any) -> None:
    assert list(capabilities(rtx, ("12.0", "86", "8.6"))) == ["8.6", "12.0"]
    everything = list(capabilities(rtx))
    assert "8.0" in everything
    assert "7.5" not in everything
    with pytest.raises(BuildError, match=r"capability 11\.0.*Jetson Thor"):
        capabilities(rtx, ("8.6", "11.0"))


def test_capabilities_of_fp8(rtx: Any) -> None:
    everything = list(capabilities(rtx, precision="fp8"))
    assert everything[0] == "8.9"
    assert "12.0" in everything
    with pytest.raises(BuildError, match=r"capability 8\.9 on, found 7\.5, 8\.6, .*89"):
        capabilities(rtx, ("8.9", "86", "75"), "fp8")


def test_head_for_tensorrt(tensorrt: Any, spec: ModelSpec, tmp_path: Path) -> None:
    library = tmp_path / "libmaskrt_plugins.so"
    library.write_bytes(b"plugins")
    options = BuildOptions(plugin_library=library, embed_plugins=True, hardware_compatible=True)
    head = make_head(spec, "tensorrt", "fp16", options=options, source_sha256="ab" * 32)
    assert head == ArtefactHead(
        target="tensorrt",
        precision="fp16",
        library=tensorrt.__version__,
        maskrt=maskrt.__version__,
        platform=platform_name(),
        spec=replace(spec, precision="fp16"),
        source_sha256="ab" * 32,
        compute_capabilities=("8.7",),
        hardware_compatible=True,
        plugins_version=VERSION,
        plugins_sha256=hashlib.sha256(b"plugins").hexdigest(),
        plugins_embedded=True,
    )
    assert ArtefactHead.from_name(head.to_name()) == head


def test_head_for_tensorrt_rtx(rtx: Any, spec: ModelSpec, tmp_path: Path) -> None:
    options = BuildOptions(compute_capabilities=("8.9", "86"), plugin_library=tmp_path / "no.so")
    head = make_head(spec, "tensorrt-rtx", "bf16", options=options)
    assert head.library == rtx.__version__
    assert head.compute_capabilities == ("8.6", "8.9")
    assert not head.plugins_version
    assert not head.plugins_sha256


def test_head_of_a_quantised_model(rtx: Any, spec: ModelSpec) -> None:
    head = make_head(replace(spec, precision="fp8"), "tensorrt-rtx", "fp16")
    assert head.compute_capabilities[0] == "8.9"
    assert (head.spec.precision, head.precision) == ("fp8", "fp16")
    assert head.precision_label == "fp8+fp16"


def test_head_for_a_processor(spec: ModelSpec) -> None:
    head = make_head(spec, "openvino", "fp32", library="2026.4")
    assert (head.library, head.compute_capabilities) == ("2026.4", ())

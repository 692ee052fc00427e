"""What a built file (engine or bundle) says about itself, readable before anything is deserialised.

An engine carries it as the name of its network, which TensorRT stores in the plan as plain bytes; a
bundle as the first entry of its archive. So neither needs a side file, and a file from another
machine or version is told apart before a library is asked to load it.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal, get_args

from maskrt.codec import from_plain, to_plain
from maskrt.errors import SpecError
from maskrt.spec import QUANTISED, ModelSpec, Precision

FORMAT = 1
MAGIC = '{"maskrt_format":'
"""Every name starts with it: what to look for in a plan's bytes."""
MAX_NAME = 4095
"""Bytes that TensorRT allows for a network's name."""

Target = Literal["tensorrt", "tensorrt-rtx", "openvino", "onnxruntime"]
BuildPrecision = Literal["fp32", "fp16", "bf16"]
"""What the dense layers that are not quantised are computed in; coordinates, decode and NMS are
float32."""
PrecisionChoice = Literal[
    "fp32",
    "fp16",
    "bf16",
    "int8+fp32",
    "int8+fp16",
    "int8+bf16",
    "fp8+fp32",
    "fp8+fp16",
    "fp8+bf16",
]
"""What a build may be asked for: ``"int8+fp16"`` is INT8 where the file is, float16 elsewhere."""
BUILD_PRECISIONS: tuple[BuildPrecision, ...] = get_args(BuildPrecision)
PRECISION_CHOICES: tuple[PrecisionChoice, ...] = get_args(PrecisionChoice)
TARGETS: tuple[Target, ...] = get_args(Target)
LIBRARIES: dict[Target, str] = {
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
}
"""What users call the library of a target."""


def cpu_target() -> Target:
    """The faster one of what is installed for CPUs."""
    return "openvino" if find_spec("openvino") else "onnxruntime"


def precision_label(of_model: Precision, rest: Precision) -> str:
    """``"int8+fp16"`` for a calibrated model, whose other layers are in ``rest``; else ``rest``."""
    return f"{of_model}+{rest}" if of_model in QUANTISED else rest


@dataclass(frozen=True)
class ArtefactHead:
    """Where a built file runs, and what it was built with."""

    target: Target
    precision: Precision
    """Of the dense layers that are not quantised; ``spec.precision`` says which model it is."""
    library: str
    """Version of the target's library that built the file: ``"10.3.0.26"``."""
    maskrt: str
    """Version of maskrt that built the file."""
    platform: str
    """``"linux-x86_64"``: engines are bound to system and processor, too."""
    spec: ModelSpec
    source_sha256: str = ""
    """Of the canonical ONNX file."""
    compute_capabilities: tuple[str, ...] = ()
    """GPUs that the file was built for, ``("8.6", "8.9")``; empty: none is needed."""
    hardware_compatible: bool = False
    """Runs on later GPUs than those, too (TensorRT's AMPERE_PLUS)."""
    version_compatible: bool = False
    """Runs with later minor versions of the library, too."""
    plugins_version: int = 0
    """Of the C interface of ``libmaskrt_plugins``; 0: the file needs no plugins."""
    plugins_sha256: str = ""
    """Of the ``libmaskrt_plugins`` that was loaded at build time."""
    plugins_embedded: bool = False
    """The plan holds the plugin library."""
    part: str = ""
    """Which part of the model the file holds; empty: all of it."""

    def __post_init__(self) -> None:
        for capability in self.compute_capabilities:
            major, dot, minor = capability.partition(".")
            if not (dot and major.isdecimal() and minor.isdecimal()):
                raise SpecError(f"compute capability: found {capability!r}, expected such as '8.6'")

    @property
    def precision_label(self) -> str:
        """What users call the file's precision: ``"fp16"``, ``"int8+fp16"``."""
        return precision_label(self.spec.precision, self.precision)

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, the format's number first."""
        return {"maskrt_format": FORMAT, **to_plain(self)}

    @staticmethod
    def from_plain(value: Any) -> ArtefactHead:
        """From JSON values.

        Raises:
            SpecError: naming what does not fit.
        """
        if not isinstance(value, dict):
            raise SpecError(f"head: found {type(value).__name__}, expected an object")
        found = value.get("maskrt_format")
        if found != FORMAT:
            raise SpecError(
                f"head: found format {found!r}, expected {FORMAT}: the file is from another "
                "version of maskrt, build it again with  maskrt build"
            )
        fields = {key: item for key, item in value.items() if key != "maskrt_format"}
        return from_plain(ArtefactHead, fields, "head")

    def to_name(self) -> str:
        """As a network's name, at most ``MAX_NAME`` bytes of ASCII; with a compressed spec if need
        be.

        Raises:
            SpecError: it is too long all the same.
        """
        plain = self.to_plain()
        name = _dense(plain)
        if len(name) > MAX_NAME:
            packed = zlib.compress(_dense(plain["spec"]).encode(), 9)
            name = _dense({**plain, "spec": base64.b85encode(packed).decode()})
        if len(name) > MAX_NAME:
            raise SpecError(
                f"the spec takes {len(name)} bytes in the engine's name, TensorRT allows "
                f"{MAX_NAME}: export with shorter or fewer labels (--labels)"
            )
        return name

    @staticmethod
    def from_name(text: str) -> ArtefactHead:
        """From a name, or any text that begins with one.

        Raises:
            SpecError: it is none, or does not fit.
        """
        try:
            value, _ = json.JSONDecoder().raw_decode(text)
            if isinstance(value, dict) and isinstance(value.get("spec"), str):
                unpacked = zlib.decompressobj().decompress(
                    base64.b85decode(value["spec"]), max_length=1 << 20
                )
                value["spec"] = json.loads(unpacked)
        except (ValueError, zlib.error, RecursionError) as error:
            raise SpecError(f"head: no readable JSON ({error})") from None
        return ArtefactHead.from_plain(value)

    def of_part(self, part: str) -> ArtefactHead:
        """The head of a file that holds one part of the model."""
        return replace(self, part=part)


def _dense(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))

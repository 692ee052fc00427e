"""Says in the user's terms why a library built nothing, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx

from maskrt.export.builder.logger import BuildLog

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True)
class Failure:
    """What is known of a failure."""

    reason: str
    node: str = ""
    """Name of the ONNX node; empty where it is unknown."""
    op: str = ""
    code: str = ""
    """The parser's, ``"UNSUPPORTED_NODE"``."""


_NO_DRIVER = re.compile(r"cudaError 35:|CUDA driver version is insufficient")
_WRAPPED = re.compile(r".*?Error Code \d+: *([\w ]+?) *\((.*)\)\.?")
_PLACE = re.compile(r" *(In [\w:~<>() ]+ at /\S+:\d+ *)+")
_CONDITION = re.compile(r".*(?:&&|[!=]=) *[\w:]+: (?=\S)")  # of an assertion, before its text
_QUOTED = re.compile(r'.*&& "(.*)"')
_NO_REASON = {"", "false"}


def of_parser(parser: trt.OnnxParser, model: onnx.ModelProto, errors: Sequence[str]) -> Failure:
    """The first error of a parser that gave up."""
    if not parser.num_errors:
        return Failure(readable(errors) or "the file cannot be read")
    error: Any = parser.get_error(0)
    # which node: the early releases of 10 tell its number alone
    node, op = _ask(error, "node_name"), _ask(error, "node_operator")
    number = int(error.node())
    if not node and 0 <= number < len(model.graph.node) and not _ask(error, "local_function_stack"):
        node, op = model.graph.node[number].name, model.graph.node[number].op_type
    reason = readable(str(error.desc()).splitlines())
    code = getattr(error.code(), "name", "")
    if not reason and code.startswith("UNSUPPORTED"):
        reason = "the operator is not supported"
    return Failure(reason.removeprefix(f"{node}: "), node, op, code)


def _ask(error: object, method: str) -> Any:
    ask = getattr(error, method, None)
    return ask() if ask else ""


def of_builder(model: onnx.ModelProto, log: BuildLog) -> Failure:
    """What was logged by a builder that gave up."""
    reason = readable(log.errors) or readable(log.warnings) or "the library gave no reason"
    if not log.lines:
        reason = (
            "the reason went to the logger that was given to the library first in this process; "
            "build in a process of its own to see it"
        )
    node = _mentioned(reason, model.graph.node)
    if node is None:
        return Failure(reason)
    return Failure(reason.removeprefix(f"{node.name}: "), node.name, node.op_type)


def _mentioned(text: str, nodes: Iterable[onnx.NodeProto]) -> onnx.NodeProto | None:
    """The node whose name a text holds, as a word; TensorRT may append a number to it."""
    for node in sorted(nodes, key=lambda node: len(node.name), reverse=True):
        if node.name and node.name in text:
            name = re.escape(node.name)
            if re.search(rf"(?<![\w/.]){name}(?:_\d+)?(?![\w/])", text):
                return node
    return None


def readable(messages: Iterable[str]) -> str:
    """The first message that tells something, without the places in the library's own source."""
    told = [line.strip() for message in messages for line in message.splitlines()]
    telling = [line for line in told if not line.startswith("Invalid Node - ")]
    for line in telling:
        if _NO_DRIVER.search(line):  # a machine without a GPU adds it to anything
            continue
        kind, text = "", line
        match = _WRAPPED.fullmatch(line)
        if match:
            kind, text = match[1], match[2]
        text = _PLACE.sub("", text).removeprefix("Assertion failed: ")
        quoted = _QUOTED.fullmatch(text)
        text = quoted[1] if quoted else _CONDITION.sub("", text)
        text = text.strip(" .!")
        if text not in _NO_REASON:
            return f"out of memory ({text})" if kind == "OutOfMemory" else text
    if len(telling) == len(told) and any(map(_NO_DRIVER.search, told)):
        return "the NVIDIA driver is missing, or too old for this library"
    return ""


def message(failure: Failure, library: str, stage: str, workspace: int | None) -> str:
    """What failed, why, and what to do next.

    Args:
        failure: what is known.
        library: as users call it.
        stage: part of the model, ``"mask head"``, or empty.
        workspace: of the options.
    """
    what = "the model"
    if failure.node or failure.op:
        what = f"the node '{failure.node}'" + (f" ({failure.op})" if failure.op else "")
        if stage:
            what += f" of the {stage}"
    reason = failure.reason or "it does not say why"
    return f"{library} cannot build {what}: {reason}\n{_advice(failure, library, workspace)}"


_TYPES = r"same (input )?types?\b|of types? .* (and|but) |must have type|data ?types? "
_MEMORY = r"(?i)out ?of ?memory|could not be allocated|bad_alloc|workspace|insufficient memory"
_ABSENT = r"(?i)Plugin not found|plugin registry|has no runners|not supported|unsupported"
_ADVICE = {
    _TYPES: "types do not match there, and networks are strongly typed: export the model again and "
    "choose the precision with  maskrt build --precision; a graph that another tool has cast lacks "
    "a Cast there",
    r"convert ONNX dat[ae] type": "the library has no such data type for an input: cast it outside "
    "of the model",
    r"K exceeds the maximum": "TopK takes at most 3840:  maskrt build  splits one of the largest "
    "floats of a dimension of known size; choose fewer where a graph has another",
    r"Could not find any implementation": "allow more scratch memory with  --workspace, or a "
    "higher  --level",
    r"NVIDIA driver|CUDA initialization": "install the driver, or build where the GPU is",
}
"""What to do next, by what the reason holds."""


def _advice(failure: Failure, library: str, workspace: int | None) -> str:
    if re.search(_MEMORY, failure.reason):
        if workspace is None:
            return (
                "memory ran out: close what else uses the GPU, take a smaller canvas or batch, or "
                "bound the scratch memory with  --workspace"
            )
        return (
            f"it may use {workspace / 2**20:.0f} MiB of scratch memory: give it more with  "
            "--workspace, or leave that out"
        )
    for pattern, advice in _ADVICE.items():
        if re.search(pattern, failure.reason):
            return advice
    if failure.code.startswith("UNSUPPORTED") or re.search(_ABSENT, failure.reason):
        return (
            f"{library} has no {failure.op or 'such operator'} for this case: express that part of "
            "the model with other operators, or build for another target (--target onnxruntime "
            "runs any ONNX)"
        )
    return "build from the file that  maskrt export  wrote; if that fails, report it with the log"

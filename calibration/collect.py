"""Runs a model on images and gathers how its tensors' values are spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from maskrt.calibration.histogram import Histogram
from maskrt.calibration.ranges import Ranges, RangeStore, image_digest, model_digest
from maskrt.cores import set_threads
from maskrt.errors import FrameError, MissingDependencyError
from maskrt.export.canonical import read_spec
from maskrt.spec import DOMAIN, ModelSpec

BUDGET = 2 << 30
"""Bytes of tensors that are held at a time; where there are more, a frame is run several times."""
POOLER = "MultilevelRoIAlign"


def collect(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    frames: Sequence[NDArray[np.uint8]],
    *,
    store: RangeStore | None = None,
    progress: Callable[[int, int], None] | None = None,
    budget: int = BUDGET,
) -> dict[str, Histogram]:
    """Histograms of all values that tensors take over images.

    The model runs in ONNX Runtime, in float32, one frame at a time. Of the heads' tensors only the
    rows of RoIs and detections that exist are counted, not those of empty slots. The memory does
    not depend on the number of frames.

    Args:
        model: canonical, with its function bodies; not changed.
        tensors: names of float tensors between the graph's operators.
        frames: uint8 [H, W, 3] each, of any size, in the order ``spec.canvas.frame_order``. They
            are asked for one by one, so they may be read when asked for.
        store: keeps the result; images that it has are compared, not run again. It is brought up
            to date when this ends, by an error or Ctrl-C too.
        progress: called with the number of images that are done, and of all.
        budget: bytes of tensors that may be held at a time.

    Returns:
        By the tensor's name. A histogram is empty where no RoI or detection ever reached a tensor.

    Raises:
        ValueError: the model has no such tensor, or it holds no floating point numbers.
        FrameError: a frame has another shape or dtype.
        ModelFileError: the model has no spec in its metadata.
        MaskrtError: the store's file cannot be used.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    names = sorted(set(tensors))
    _check_names(model.graph, names)
    digest = model_digest(model)
    ranges = store.resume(digest, names, frames) if store else Ranges.empty(digest, names)
    done = len(ranges.images)
    if progress:
        progress(done, len(frames))
    if done == len(frames):
        return dict(ranges.histograms)
    watch = _Watch(model, names, budget)
    try:
        for position in range(done, len(frames)):
            frame = checked(frames[position])
            # one assignment: Ctrl-C leaves an image counted in all tensors, or in none
            ranges = ranges.extended(image_digest(frame), watch.histograms(frame))
            if store:
                store.checkpoint(ranges)
            if progress:
                progress(position + 1, len(frames))
    finally:
        if store:
            store.save(ranges)
    return dict(ranges.histograms)


def checked(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame itself.

    Raises:
        FrameError: it is no uint8 [H, W, 3].
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise FrameError(
            f"found a frame of {frame.dtype} {list(frame.shape)}, expected uint8 [H, W, 3]"
        )
    return frame


@dataclass(frozen=True)
class _Slots:
    """RoIs or detections of a frame: the first ones exist, the others are padding."""

    count: str
    """The tensor [B] that says how many exist."""
    number: int


class _Watch:
    """Sessions that give the watched tensors, and what of them counts."""

    def __init__(self, model: onnx.ModelProto, names: Sequence[str], budget: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            if error.name != "onnxruntime":
                raise
            raise MissingDependencyError("onnxruntime", "cpu") from None
        spec = read_spec(model, "the model")
        self._value = onnxruntime.OrtValue
        self._batch = spec.batch.min
        self._slots = _slots(model.graph, spec)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        set_threads(options, None)
        # both would keep the room of every tensor that was ever given out
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # one each: a session holds all its outputs while it runs, whether they are asked for or not
        self._sessions: list[tuple[Any, list[str], list[str]]] = []
        for group in _groups(model.graph, names, self._batch, budget):
            counts = sorted({self._slots[name].count for name in group if name in self._slots})
            session = onnxruntime.InferenceSession(
                _giving(model, [*counts, *group]).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
            )
            self._sessions.append((session, counts, group))

    def histograms(self, frame: NDArray[np.uint8]) -> dict[str, Histogram]:
        """Of one frame."""
        batch = np.repeat(np.ascontiguousarray(frame)[None], self._batch, axis=0)
        feeds = {"frames": self._value.ortvalue_from_numpy(batch)}
        found: dict[str, Histogram] = {}
        for session, counts, group in self._sessions:
            # plain run() copies all tensors into NumPy's memory before it frees its own
            given = session.run_with_ort_values([*counts, *group], feeds)
            given.reverse()
            live = {name: int(given.pop().numpy()[0]) for name in counts}
            for name in group:
                found[name] = Histogram()
                found[name].add(self._counted(name, given.pop().numpy(), live))
        return found

    def _counted(self, name: str, value: NDArray[Any], live: dict[str, int]) -> NDArray[Any]:
        """The values of the first frame (the others repeat it) in slots that are in use."""
        if value.dtype.kind != "f":
            raise ValueError(f"'{name}' holds {value.dtype}, expected floating point numbers")
        slots = self._slots.get(name)
        if slots:  # [B * R, ...] or [B, R, ...]
            rows = value.reshape(self._batch, slots.number, -1)
            return rows[0, : live[slots.count]]
        return value.reshape(self._batch, -1)[0]


def _check_names(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    known = {name for node in graph.node for name in node.output}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"tensors: the model has no '{unknown[0]}'")


def _slots(graph: onnx.GraphProto, spec: ModelSpec) -> dict[str, _Slots]:
    """By the tensor's name, for all that lie behind a pooler, up to the next ``maskrt`` node."""
    numbers = {"Proposals": spec.rpn.num_rois, "DetectionNMS": spec.detection.max_detections}
    sources = {
        name: numbers[node.op_type]
        for node in graph.node
        if node.domain == DOMAIN and node.op_type in numbers
        for name in node.output
    }
    found: dict[str, _Slots] = {}
    for node in graph.node:  # in an order in which they can be run
        if node.domain == DOMAIN:
            if node.op_type == POOLER and node.input[1] in sources:
                count = node.input[1]
                found[node.output[0]] = _Slots(count, sources[count])
            continue
        behind = next((found[name] for name in node.input if name in found), None)
        if behind:
            found.update(dict.fromkeys(node.output, behind))
    return found


def _groups(
    graph: onnx.GraphProto, names: Sequence[str], batch: int, budget: int
) -> Iterator[list[str]]:
    """Tensors that are fetched together, in the graph's order."""
    values = [*graph.value_info, *graph.output]
    types = {value.name: value.type.tensor_type for value in values}
    order = {name: i for i, node in enumerate(graph.node) for name in node.output}
    group: list[str] = []
    held = 0
    for name in sorted(names, key=lambda name: order[name]):
        # what has no known size is fetched by itself
        size = _size(types[name], batch) if name in types else None
        size = budget if size is None else size
        if group and held + size > budget:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    if group:
        yield group


def _size(kind: onnx.TypeProto.Tensor, batch: int) -> int | None:
    """Bytes of a float32 tensor; None: not known."""
    sides = [_side(side, batch) for side in kind.shape.dim]
    if not kind.HasField("shape") or None in sides:
        return None
    return 4 * math.prod(side for side in sides if side is not None)


def _side(side: onnx.TensorShapeProto.Dimension, batch: int) -> int | None:
    """A number, B, or a multiple of it as 40*B."""
    if side.HasField("dim_value"):
        return int(side.dim_value)
    factor, _, symbol = side.dim_param.rpartition("*")
    if symbol != "B" or not (factor or "1").isdecimal():
        return None
    return int(factor or 1) * batch


def _giving(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with these outputs alone; an output cannot be fused away."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    known = {value.name: value for value in [*graph.value_info, *graph.output]}
    outputs = [
        known.get(name) or helper.make_empty_tensor_value_info(name)
        for name in dict.fromkeys(names)
    ]
    del graph.output[:]
    graph.output.extend(outputs)
    return changed

"""Runs a canonical ``model.onnx`` with ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.cores import set_threads
from maskrt.errors import MissingDependencyError, ModelFileError
from maskrt.heads import read_spec
from maskrt.runtime.pending import Done, Pending
from maskrt.runtime.stopwatch import Stopwatch
from maskrt.spec import ModelSpec, TensorSpec

DEFAULT_PROVIDERS = ("CPUExecutionProvider",)


def checked_threshold(name: str, value: float) -> float:
    """The value as a float.

    Raises:
        ValueError: if it is not from 0 to 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{name}: found {value!r}, expected a number from 0 to 1")
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"{name}: found {value}, expected a number from 0 to 1")
    return float(value)


def checked_frames(frames: NDArray[np.uint8], spec: ModelSpec) -> None:
    """Refuses what is no batch of frames for the model.

    Raises:
        ValueError: another shape or dtype than uint8 ``[B, H, W, 3]``, or B beyond ``spec.batch``.
    """
    shape = frames.shape
    if frames.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ValueError(f"frames: found {frames.dtype} {list(shape)}, expected uint8 [B, H, W, 3]")
    batch = spec.batch
    if not batch.min <= shape[0] <= batch.max:
        raise ValueError(
            f"frames: found a batch of {shape[0]}, the model takes {batch.min} to {batch.max}"
        )


class OnnxRuntimeSession:
    """A loaded ``model.onnx``.

    Args:
        path: the file.
        providers: ONNX Runtime's execution providers, best first. None: the CPU, which is the
            reference that other targets are compared with.
        threads: for one operator. None: ONNX Runtime chooses (all cores).

    Attributes:
        spec: of the model.
        providers: those that are in use.
        watch: how long the last run took.

    Raises:
        ModelFileError: if the file is missing, broken or not from maskrt, or a provider is missing.
        MissingDependencyError: without ONNX Runtime.
    """

    spec: ModelSpec
    providers: tuple[str, ...]

    def __init__(
        self,
        path: str | Path,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None and (isinstance(threads, bool) or int(threads) < 1):
            raise ValueError(f"threads: found {threads!r}, expected 1 or more, or None")
        self._path = Path(path)
        self.watch = Stopwatch()
        self._session: Any = _load(self._path, providers, threads)
        self.providers = tuple(self._session.get_providers())
        self.spec = read_spec(self._path)
        self._check_interface()

    def run(
        self, frames: NDArray[np.uint8], score_threshold: float, nms_threshold: float
    ) -> dict[str, NDArray[Any]]:
        """Runs one batch.

        Args:
            frames: ``[B, H, W, 3]`` uint8, in the order ``spec.canvas.frame_order``; B within
                ``spec.batch``.
            score_threshold: scores must be above it.
            nms_threshold: an IoU above it suppresses, class by class.

        Returns:
            The outputs of ``spec.outputs`` by name: boxes in frame pixels, rows beyond
            ``num_detections`` are zero.

        Raises:
            ValueError: if a threshold is not from 0 to 1, the frames have another shape or dtype,
                or the session is closed.
        """
        if self._session is None:
            raise ValueError("the session is closed")
        checked_frames(frames, self.spec)
        feeds = {
            "frames": frames,
            "score_threshold": np.float32(checked_threshold("score_threshold", score_threshold)),
            "nms_threshold": np.float32(checked_threshold("nms_threshold", nms_threshold)),
        }
        feeds = {name: np.asarray(value) for name, value in feeds.items()}
        names = [output.name for output in self.spec.outputs]
        self.watch.start()
        outputs = self._session.run(names, feeds)
        self.watch.lap("model")
        return dict(zip(names, outputs, strict=True))

    def submit(
        self, frames: NDArray[np.uint8], score_threshold: float, nms_threshold: float
    ) -> Pending:
        """Runs one batch, as ``run``; its result is there at once."""
        return Done(self.run(frames, score_threshold, nms_threshold))

    def close(self) -> None:
        """Frees the model. Closing twice is fine."""
        self._session = None

    def _check_interface(self) -> None:
        """Holds the file's inputs and outputs against the spec."""
        batch = self.spec.batch
        size = "B" if batch.dynamic else str(batch.max)
        inputs = [
            TensorSpec("frames", "uint8", (size, "H", "W", "3")),
            TensorSpec("score_threshold", "float32", ()),
            TensorSpec("nms_threshold", "float32", ()),
        ]
        session = self._session
        found = [*session.get_inputs(), *session.get_overridable_initializers()]
        self._check_tensors("input", inputs, found)
        self._check_tensors("output", self.spec.outputs, session.get_outputs())
        known = {tensor.name for tensor in inputs}
        extra = [tensor.name for tensor in session.get_inputs() if tensor.name not in known]
        if extra:
            raise ModelFileError(
                f"{self._path} needs an input '{extra[0]}' that maskrt does not know: "
                "export the model again with this version of maskrt"
            )

    def _check_tensors(self, kind: str, expected: Sequence[TensorSpec], found: list[Any]) -> None:
        by_name = {tensor.name: tensor for tensor in found}
        for spec in expected:
            tensor = by_name.get(spec.name)
            if tensor is None:
                names = ", ".join(by_name) or "none"
                problem = f"has no {kind} '{spec.name}' (it has: {names})"
            elif not _fits(spec, tensor):
                problem = (
                    f"has the {kind} '{spec.name}' as {tensor.type} {tensor.shape}, "
                    f"its spec says {spec.dtype} [{', '.join(spec.shape)}]"
                )
            else:
                continue
            raise ModelFileError(
                f"{self._path} {problem}: the file was changed after its export, "
                "or comes from another version of maskrt; export the model again"
            )


def _fits(spec: TensorSpec, tensor: Any) -> bool:
    types = {"uint8": "tensor(uint8)", "int32": "tensor(int32)", "float32": "tensor(float)"}
    if tensor.type != types[spec.dtype] or len(tensor.shape) != len(spec.shape):
        return False
    # a symbolic dimension of the file fits any number; a number must be the spec's
    return all(
        not isinstance(found, int) or str(found) == expected
        for found, expected in zip(tensor.shape, spec.shape, strict=True)
    )


def _load(path: Path, providers: Sequence[str] | None, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        if error.name != "onnxruntime":  # it is there, but broken: its own words help more
            raise
        raise MissingDependencyError("onnxruntime", "cpu") from None
    _check_file(path)
    wanted = list(DEFAULT_PROVIDERS if providers is None else providers)
    _check_providers(wanted, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; warnings are about graph details
    set_threads(options, threads)
    if _is_fp8(path):
        # beyond this level ONNX Runtime (1.32) computes graphs with float8 Q/DQ wrongly
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise ModelFileError(
            f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__} (1.22 or newer is "
            "needed); it is damaged, incomplete, or no ONNX file: copy or export it again "
            f"({error})"
        ) from error
    missing = [name for name in wanted if name not in session.get_providers()]
    if missing:
        raise ModelFileError(
            f"the provider {missing[0]} is part of this ONNX Runtime but did not start (its "
            "libraries or its device are missing): mend that, or choose from "
            + ", ".join(session.get_providers())
        )
    return session


def _is_fp8(path: Path) -> bool:
    try:
        return read_spec(path).precision == "fp8"
    except ModelFileError:
        return False  # whatever is wrong with the file is told when it is loaded


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder, expected an .onnx file")
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist: check the path (here: {Path.cwd()})")
    if path.stat().st_size == 0:
        raise ModelFileError(f"{path} is empty: copy or export it again")


def _check_providers(wanted: list[str], available: list[str]) -> None:
    if not wanted:
        raise ValueError("providers: found an empty list, expected names or None")
    for name in wanted:
        if name not in available:
            raise ModelFileError(
                f"the provider {name!r} is not in this ONNX Runtime, which has "
                f"{', '.join(available)}: choose one of these, or install another onnxruntime "
                "package (onnxruntime-gpu for CUDA)"
            )

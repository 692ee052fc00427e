"""The detector: frames in, detections out, whatever kind of model file runs underneath."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrt.closing import Closing
from maskrt.errors import FrameError, MaskrtError, ModelFileError
from maskrt.heads import read_head
from maskrt.runtime.compatibility import check
from maskrt.runtime.detections import Detections
from maskrt.runtime.device import Device
from maskrt.runtime.engines.layers import LayerTimes
from maskrt.runtime.frames import Frame, to_bgr
from maskrt.runtime.machine import this_machine
from maskrt.runtime.multi_source import MultiSource
from maskrt.runtime.pending import Done, Pending, as_probabilities
from maskrt.runtime.session import OnnxRuntimeSession, checked_threshold
from maskrt.runtime.stopwatch import Stopwatch
from maskrt.runtime.stream import Policy, Stream
from maskrt.spec import ModelSpec


class Session(Protocol):
    """What runs a model file; see ``OnnxRuntimeSession`` for shapes and errors."""

    spec: ModelSpec
    watch: Stopwatch

    def run(
        self, frames: NDArray[np.uint8], score_threshold: float, nms_threshold: float
    ) -> dict[str, NDArray[Any]]:
        """Runs one batch."""

    def submit(
        self, frames: NDArray[np.uint8], score_threshold: float, nms_threshold: float
    ) -> Pending:
        """Begins one batch."""

    def close(self) -> None:
        """Frees what the model holds."""


def open_session(
    path: str | Path,
    *,
    providers: Sequence[str] | None = None,
    threads: int | None = None,
    device: Device | None = None,
) -> Session:
    """Opens a model file with what can run it, by its suffix.

    What a built file says about itself is held against this machine before anything is loaded.

    Raises:
        ModelFileError: if the file cannot be run.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return OnnxRuntimeSession(path, providers, threads)
    if suffix not in (".engine", ".plan", ".bundle"):
        raise ModelFileError(
            f"{path}: found a file with the suffix {suffix!r}, expected .onnx, .bundle or .engine: "
            "export a model with  maskrt export"
        )
    if providers is not None:
        raise ValueError("providers: they are for .onnx files; a built file has its own target")
    head = read_head(path)
    check(head, this_machine(), path)
    if device is not None and not head.compute_capabilities:
        raise ValueError(f"device: {path} runs on the CPU")
    if head.target == "tensorrt":
        from maskrt.runtime.plan import PlanSession

        return PlanSession(path, device)
    from maskrt.runtime.bundle import BundleSession

    return BundleSession(path, threads, device)


class Detector(Closing):
    """A trained detector, ready to run.

        det = Detector("model.onnx")
        result = det(cv2.imread("street.jpg"))

    Args:
        path: a ``model.onnx``, or what ``maskrt build`` made of it.
        providers: of ONNX Runtime for an ``.onnx`` file, best first; None: the CPU.
        threads: on a CPU, for one operator; None: all cores.
        device: a GPU of ``maskrt.runtime.open_device``, for files that run on one; it is closed
            with the detector. None: the one of the calling thread's CUDA context, as an app that
            uses pycuda has, or the first GPU.
        score_threshold: detections must score above it; None: the model's default.
        nms_threshold: boxes of a class that overlap by a higher IoU are merged into the best one;
            None: the model's default.

    Attributes:
        path: of the model file.
        spec: what is known about the model: its labels, input, outputs and where it comes from.

    Calls from several threads take turns; ``timings`` are those of the last one. It can be used as
    a context manager; without, its memory is freed when it is collected.

    Raises:
        ModelFileError: if the file is missing, broken, not from maskrt or not for this machine, or
            a provider is missing.
        MissingDependencyError: if the package that runs such files is not installed.
        DeviceError: if there is no GPU for it, or not enough memory there.
        ValueError: if a threshold is not from 0 to 1.
    """

    path: Path
    spec: ModelSpec

    def __init__(
        self,
        path: str | Path,
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        device: Device | None = None,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
    ) -> None:
        self.path = Path(path)
        self._turn = threading.Lock()
        self._session: Session | None = open_session(
            path, providers=providers, threads=threads, device=device
        )
        self.spec = self._session.spec
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold

    @property
    def score_threshold(self) -> float:
        """In use from the next call on; set it to None for the model's default."""
        return self._score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float | None) -> None:
        default = self.spec.detection.score_threshold
        value = default if value is None else value
        self._score_threshold = checked_threshold("score_threshold", value)

    @property
    def nms_threshold(self) -> float:
        """In use from the next call on; set it to None for the model's default."""
        return self._nms_threshold

    @nms_threshold.setter
    def nms_threshold(self, value: float | None) -> None:
        default = self.spec.detection.nms_threshold
        value = default if value is None else value
        self._nms_threshold = checked_threshold("nms_threshold", value)

    def __call__(self, frame: Any) -> Detections:
        """Detects in one frame.

        Args:
            frame: uint8 ``[H, W, 3]`` of any size, in the order ``spec.canvas.frame_order`` (BGR,
                as OpenCV gives, unless the model was exported otherwise); grey, BGRA, 16-bit and
                float frames too, see ``maskrt.runtime.frames.to_bgr``.

        Raises:
            FrameError: if it cannot be read as an image.
        """
        return self._detect([to_bgr(frame)])[0]

    def bgr(self, frame: Frame) -> Detections:
        """Detects in one frame in BGR order, as sources give it, whatever order the model takes."""
        return self(frame if self.spec.canvas.frame_order == "bgr" else frame[..., ::-1])

    def batch(self, frames: Iterable[Any]) -> list[Detections]:
        """Detects in several frames; frames of the same size run together.

        Args:
            frames: a sequence of frames, or an array ``[N, H, W, 3]``. They may differ in size.

        Returns:
            One result for each frame, in the same order.

        Raises:
            FrameError: if one cannot be read as an image; it says which.
        """
        if isinstance(frames, np.ndarray) and frames.ndim != 4:
            raise FrameError(
                f"found an array of shape {list(frames.shape)}, expected a list of frames or an "
                "array [N, height, width, 3]: for a single frame, call the detector itself"
            )
        images = []
        for i, frame in enumerate(frames):
            try:
                images.append(to_bgr(frame))
            except FrameError as error:
                raise FrameError(f"frame {i} of the batch: {error}") from None
        return self._detect(images)

    def stream(self, source: Any, *, depth: int = 2, policy: Policy | None = None) -> Stream:
        """Detects in a source's frames, while others are read and the caller uses the last ones.

            with open_source("street.mp4") as source, detector.stream(source) as stream:
                for item in stream:
                    cv2.imshow("", item.result.draw(item.frame))

        Args:
            source: of ``open_source``, a ``MultiSource``, or any iterable of frames (BGR, as OpenCV
                gives). Each source is read in a thread of its own. Closing a source before the
                stream ends a wait for a camera at once.
            depth: frames that may wait before, and results behind, the detector; on a GPU also how
                many frames are uploaded, worked on and downloaded at the same time.
            policy: ``"all"``: no frame is left out, the source waits (files). ``"latest"``: of the
                frames that come while the detector is busy the newest is taken, the others are
                dropped and counted (cameras). None: as it suits the source.

        Returns:
            An iterator over ``StreamItem`` (index, frame, result, milliseconds, source), in the
            order of each source's frames. What reading or detecting raises comes out of it, after
            the results before.

        Raises:
            ValueError: the depth or the policy is none.
        """
        live = bool(getattr(source, "live", False))
        chosen: Policy = ("latest" if live else "all") if policy is None else policy
        sources = source.sources if isinstance(source, MultiSource) else [source]
        batch = self.spec.batch.max
        return Stream(self._begin_bgr, sources, depth=depth, policy=chosen, batch=batch)

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds of the last run by stage, in the order of the stages.

        A canonical file is one stage, ``model``. Pasting masks is not in it: that is done when they
        are asked for.
        """
        return dict(self._session.watch.laps) if self._session else {}

    def time_layers(self) -> LayerTimes:
        """Times every layer of a file that runs in TensorRT, from the next frame on.

        Returns:
            The times, which the next frames add to. Frames take longer meanwhile.

        Raises:
            MaskrtError: the file runs elsewhere.
            ValueError: the detector is closed.
        """
        with self._turn:
            if self._session is None:
                raise ValueError("the detector is closed")
            if not hasattr(self._session, "time_layers"):
                raise MaskrtError(
                    f"the layers of {self.path} are not timed: only TensorRT times them, and this "
                    "file runs in ONNX Runtime"
                )
            times: LayerTimes = self._session.time_layers()
            return times

    def close(self) -> None:
        """Frees the model, after the frame that another thread may be detecting in.

        Closing twice is fine; calling a closed detector is a ValueError.
        """
        with self._turn:
            if self._session is not None:
                self._session.close()
                self._session = None

    def __repr__(self) -> str:
        spec = self.spec
        return f"Detector({str(self.path)!r}, task={spec.task!r}, labels={len(spec.labels)})"

    def _detect(self, images: list[Frame]) -> list[Detections]:
        by_size: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(i)
        results: dict[int, Detections] = {}
        limit = self.spec.batch.max
        for indices in by_size.values():
            for first in range(0, len(indices), limit):
                chunk = indices[first : first + limit]
                results.update(zip(chunk, self._run([images[i] for i in chunk]), strict=True))
        return [results[i] for i in range(len(images))]

    def _run(self, images: list[Frame]) -> list[Detections]:
        """One run of the model for frames of one size, at most ``spec.batch.max`` of them."""
        with self._turn:
            return self._taken_apart(self._begin(images), images)

    def _begin_bgr(self, frames: list[Frame]) -> _Begun:
        """Begins with BGR frames of one size, for streams; see ``stream.Begin``."""
        swapped = self.spec.canvas.frame_order != "bgr"
        images = [np.ascontiguousarray(f[..., ::-1]) if swapped else f for f in frames]
        with self._turn:
            return _Begun(self, self._begin(images), images)

    def _begin(self, images: list[Frame]) -> Pending:
        if self._session is None:
            raise ValueError("the detector is closed")
        # a batch that is too small for the graph is filled up; what that gives is not looked at
        missing = max(self.spec.batch.min - len(images), 0)
        frames = images[0][None] if len(images) == 1 and not missing else None
        if frames is None:
            frames = np.stack(images + images[-1:] * missing)
        return self._session.submit(frames, self._score_threshold, self._nms_threshold)

    def _taken_apart(self, pending: Pending, images: list[Frame]) -> list[Detections]:
        outputs = pending.result()
        size = (images[0].shape[0], images[0].shape[1])
        return [one_frame(outputs, i, size, self.spec) for i in range(len(images))]


class _Begun:
    """Frames that are on their way through a session; see ``stream.Begun``."""

    def __init__(self, detector: Detector, pending: Pending, images: list[Frame]) -> None:
        self.ready = isinstance(pending, Done)
        self._detector = detector
        self._pending = pending
        self._images = images

    def finish(self) -> list[Detections]:
        """The result of each."""
        with self._detector._turn:
            return self._detector._taken_apart(self._pending, self._images)


def one_frame(
    outputs: dict[str, NDArray[Any]], i: int, frame_size: tuple[int, int], spec: ModelSpec
) -> Detections:
    """The detections of one frame of a batch, from a session's outputs.

    Args:
        outputs: of ``Session.run`` or ``Pending.result``.
        i: position in the batch.
        frame_size: (height, width) of the frame.
        spec: of the model.
    """
    count = int(outputs["num_detections"][i])

    def rows(name: str) -> NDArray[Any] | None:
        # copied, or a kept result would hold the whole padded batch
        return outputs[name][i, :count].copy() if name in outputs else None

    boxes, scores, labels = rows("boxes"), rows("scores"), rows("labels")
    assert boxes is not None  # for mypy
    assert scores is not None
    assert labels is not None
    masks = as_probabilities(outputs["masks"][i, :count]) if "masks" in outputs else None
    return Detections(
        boxes, scores, labels, masks, rows("keypoints"), frame_size=frame_size, spec=spec
    )

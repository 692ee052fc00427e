"""The sensitivity search of ``maskrt calibrate``: AP with and without layers in INT8."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrt.artefact import LIBRARIES, cpu_target
from maskrt.errors import MaskrtError

if TYPE_CHECKING:
    from maskrt.calibration.calibrator import Calibration
    from maskrt.calibration.sensitivity import SearchResult
    from maskrt.evaluation import Truth

KINDS = {"bbox/AP": "box AP", "segm/AP": "mask AP", "keypoints/AP": "keypoint AP"}
Figures = dict[str, float]


def search(work: Calibration, options: argparse.Namespace) -> SearchResult:
    """Which layers have to stay in higher precision.

    What was measured is kept beside the output, so that a search that was stopped goes on.

    Raises:
        MaskrtError: no choice of layers is good enough, or the annotations are unsuitable.
    """
    from maskrt.calibration import sensitivity
    from maskrt.commands.console import bar, console
    from maskrt.evaluation import read_truth

    truth = read_truth(options.coco, options.val_images or options.coco.parent, options.val_limit)
    layers, _ = work.choose(options.keep_fp16)
    with tempfile.TemporaryDirectory() as folder:
        measure = Measure(work, options, truth, Path(folder))
        console.print(
            f"AP on {len(truth.files)} images, measured with {LIBRARIES[measure.target]} bundles",
            highlight=False,
        )
        kept = Kept(options.output.with_suffix(".search.json"), measure.key())
        reference = kept.get("float32") or measure.float32()
        kept["float32"] = reference
        with bar("Searching", options.measurements) as progress:
            result = sensitivity.search(
                sensitivity.layers_to_search(layers),
                measure,
                reference,
                options.max_ap_drop,
                limit=options.measurements,
                remember=kept,
                progress=lambda what, done, of: progress(done, of),
            )
    show(result, reference)
    if not result.met:
        falls = [
            fall
            for fall in (reference[key] - value for key, value in result.figures.items())
            if not math.isnan(fall)  # of what the annotations do not have
        ]
        loss = max(falls, default=math.nan)
        raise MaskrtError(
            f"no choice of layers keeps AP within {options.max_ap_drop:g} in "
            f"{options.measurements} measurements; the best one loses {loss:.4f}: take more or "
            "other --images, another --method, a larger --max-ap-drop or more --measurements"
        )
    return result


class Measure:
    """Measures AP on annotated images, with some layers in higher precision."""

    def __init__(
        self, work: Calibration, options: argparse.Namespace, truth: Truth, folder: Path
    ) -> None:
        self.work, self.options, self.truth, self.folder = work, options, truth, folder
        self.target = cpu_target()

    def key(self) -> str:
        """Of all that decides about the figures, but for the layers."""
        from maskrt.files import sha256_of

        options = self.options
        facts = [sha256_of(options.model), sha256_of(options.coco), options.val_limit]
        facts += [self.target, options.format, options.method, sorted(options.keep_fp16)]
        facts += [self.work.digest]
        return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()

    def float32(self) -> Figures:
        """Of the model as it was."""
        return self._figures(self.options.model)

    def __call__(self, kept: frozenset[str]) -> Figures:
        """With these layers in higher precision."""
        from maskrt.calibration.calibrator import save

        options = self.options
        model, _ = self.work.quantised(options.method, keep_fp16=options.keep_fp16, sensitive=kept)
        path = self.folder / "model.onnx"
        save(model, path)
        return self._figures(path)

    def _figures(self, canonical: Path) -> Figures:
        from maskrt.calibration import evaluate
        from maskrt.evaluation import categories_of, detect_all, kinds_of
        from maskrt.export import build_model
        from maskrt.runtime import Detector

        path = self.folder / "model.bundle"
        build_model(canonical, path, self.target, "fp32")
        with Detector(path) as detector:
            kinds = kinds_of(detector.spec)
            categories = categories_of(detector.spec, self.truth)
            found = detect_all(detector.bgr, self.truth, categories, progress=None)
        try:
            figures = evaluate(self.truth.annotations, found, kinds)
        except ValueError as error:  # annotations without what the model finds
            raise MaskrtError(f"{self.options.coco}: {error}") from None
        return {key: value for key, value in figures.items() if key in KINDS}


class Kept(MutableMapping[str, Figures]):
    """Figures in a JSON file, written at each change; those of another search are dropped."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._figures: dict[str, Figures] = {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["key"] == key:
                self._figures = {str(k): dict(v) for k, v in content["figures"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # none there, or not ours to understand: it is measured again

    def __getitem__(self, key: str) -> Figures:
        """Figures of a choice."""
        return self._figures[key]

    def __setitem__(self, key: str, figures: Figures) -> None:
        """Notes figures."""
        from maskrt.files import replacing

        self._figures[key] = figures
        content: dict[str, Any] = {"key": self._key, "figures": self._figures}
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def __delitem__(self, key: str) -> None:
        """Forgets figures."""
        del self._figures[key]

    def __iter__(self) -> Iterator[str]:
        """The choices."""
        return iter(self._figures)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._figures)


def show(result: SearchResult, reference: Figures) -> None:
    """The table: what was given back, AP with it, the decision."""
    from maskrt.commands.console import console, table

    kinds = [key for key in KINDS if key in reference]
    cells = [f"{reference[key]:.4f}" for key in kinds]
    rows = [("float32", *cells, "", "")]
    for row in result.rows:
        cells = [f"{row.figures[key]:.4f}" for key in kinds]
        gain = f"{row.gain:+.4f}" if row.layers else ""
        rows.append((row.what, *cells, gain, row.decision))
    cells = [f"{result.figures[key]:.4f}" for key in kinds]
    rows.append(("the choice", *cells, "", f"{len(result.kept)} in higher precision"))
    table(
        "AP with layers in higher precision",
        ("layers", *(KINDS[key] for key in kinds), "gain", "decision"),
        rows,
    )
    console.print(
        f"measurements made now: {result.measurements}"
        + ("" if result.complete else "; the limit came first: with more, fewer layers may do"),
        highlight=False,
    )

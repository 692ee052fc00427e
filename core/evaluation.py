"""Detections of a model on an annotated data set, kept from run to run, for COCO's evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrt.errors import MaskrtError
from maskrt.spec import ModelSpec


@dataclass(frozen=True)
class Truth:
    """COCO's annotations, and the images that they are of."""

    annotations: dict[str, Any]
    """As in the file, with the chosen images alone."""
    files: dict[int, Path]
    """By image id."""


def read_truth(annotations: Path, images: Path, limit: int | None = None) -> Truth:
    """Reads an annotation file and finds its images.

    Args:
        annotations: in COCO's format.
        images: the folder that the files' names start from.
        limit: images at most, the first ones; None: all.

    Raises:
        MaskrtError: a file is missing, or the annotations have another format.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        entries = list(content["images"])[:limit]
        files = {int(entry["id"]): images / entry["file_name"] for entry in entries}
        kept = [a for a in content["annotations"] if a["image_id"] in files]
        chosen = {**content, "images": entries, "annotations": kept}
        _ = [(c["id"], c["name"]) for c in content["categories"]]
    except OSError as error:
        raise MaskrtError(f"{annotations} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise MaskrtError(
            f"{annotations} is no COCO annotation file ({type(error).__name__}: {error}): expected "
            "JSON with images, annotations and categories"
        ) from None
    if not files:
        raise MaskrtError(f"{annotations} lists no images")
    missing = [path for path in files.values() if not path.is_file()]
    if missing:
        raise MaskrtError(
            f"{len(missing)} of {len(files)} images are missing, first {missing[0]}: is --images "
            "the folder that the names in the annotations start from?"
        )
    return Truth(chosen, files)


def kinds_of(spec: ModelSpec) -> list[str]:
    """What a model's results are judged by, as COCO calls it."""
    kinds = ["bbox", *(["segm"] if spec.mask else [])]
    return [*kinds, "keypoints"] if spec.keypoint else kinds


def categories_of(spec: ModelSpec, truth: Truth) -> dict[int, int]:
    """Category ids by label id: by the classes' names, or where no name fits, by number.

    Numbers are label ids for models that keep id 0 for the background (torchvision's). Others count
    the categories in the order of their ids (detectron2's ``register_coco_instances``).

    Raises:
        MaskrtError: some names fit and others do not, or numbers are out of range.
    """
    by_name = {c["name"]: int(c["id"]) for c in truth.annotations["categories"]}
    labels = {name: i for i, name in spec.classes.items()}
    common = labels.keys() & by_name.keys()
    if common == by_name.keys():
        return {labels[name]: by_name[name] for name in common}
    if common:
        unknown = sorted(by_name.keys() - common)
        raise MaskrtError(
            f"the model has no class {unknown[0]!r}, which the annotations have; its classes are "
            f"{', '.join(list(labels)[:8])}: export it with --labels as in the annotations"
        )
    ids = set(by_name.values())
    if spec.detection.background == "last" and len(ids) == len(spec.classes):
        return dict(zip(spec.classes, sorted(ids), strict=True))
    if spec.detection.background == "last" or not ids <= spec.classes.keys():
        raise MaskrtError(
            f"the annotations' classes ({', '.join(list(by_name)[:4])} …) are not the model's "
            f"({', '.join(list(labels)[:4])} …), and their numbers are not label numbers of it: "
            "export it with --labels as in the annotations"
        )
    return {i: i for i in ids}


def detect_all(
    detect: Callable[[Any], Any],
    truth: Truth,
    categories: dict[int, int],
    *,
    keep: Path | None = None,
    key: str = "",
    progress: str | None = "Detecting",
) -> list[dict[str, Any]]:
    """COCO results of a detector on all images.

    Args:
        detect: takes a frame, gives ``Detections``.
        truth: the images.
        categories: by label id; detections of other labels are left out.
        keep: a file that gets a line for each image as soon as it is done; images in it are not
            run again. None: nothing is kept.
        key: of what was run and how; a file of another key is refused.
        progress: what the progress bar says; None: there is none.

    Raises:
        MaskrtError: an image cannot be read, or the kept file is of another run.
    """
    from maskrt.commands.console import track
    from maskrt.runtime.sources import read_image

    done = dict(_kept(keep, key)) if keep else {}
    left = [i for i in truth.files if i not in done]
    with _open(keep, key, fresh=not done) as file:
        for image_id in track(left, progress, len(left)) if progress else left:
            found = detect(read_image(truth.files[image_id])).to_coco(image_id)
            done[image_id] = found
            if file:
                file.write(json.dumps({"image_id": image_id, "detections": found}) + "\n")
                file.flush()
    results = []
    for image_id in truth.files:
        for entry in done[image_id]:
            if entry["category_id"] in categories:
                results.append({**entry, "category_id": categories[entry["category_id"]]})
    return results


def _open(path: Path | None, key: str, *, fresh: bool) -> Any:
    import contextlib

    if path is None:
        return contextlib.nullcontext()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w" if fresh else "a", encoding="utf-8")
        if fresh:
            file.write(json.dumps({"key": key}) + "\n")
    except OSError as error:
        raise MaskrtError(f"{path} cannot be written: {error.strerror}") from None
    return file


def _kept(path: Path, key: str) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """What an earlier run has left; a last line that is cut off is left out."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    try:
        records = [json.loads(line) for line in whole]
        found = records[0]["key"] if records else key
        entries = [(int(r["image_id"]), r["detections"]) for r in records[1:]]
    except (ValueError, KeyError, TypeError):
        raise MaskrtError(
            f"{path} holds no detections of  maskrt eval: remove it, or choose another --keep"
        ) from None
    if found != key:
        raise MaskrtError(
            f"{path} holds the detections of another file or threshold: remove it, or choose "
            "another --keep"
        )
    if len(whole) < len(lines):
        path.write_text("".join(whole), encoding="utf-8")  # or the next line would join it
    yield from entries

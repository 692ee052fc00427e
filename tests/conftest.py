"""The trained tiny models as canonical files, exported once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

CANVAS = (192, 256)


@pytest.fixture(scope="session")
def canonical(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``canonical("mask_rcnn", batch=(1, 3))``: the path of a canonical file; not to be changed."""
    folder = tmp_path_factory.mktemp("canonical")

    def path_of(builder: str, batch: int | tuple[int, int] = 1) -> Path:
        from maskrt.examples import shapes
        from maskrt.export import export, load_model

        suffix = "" if batch == 1 else f".{batch}".replace(" ", "")
        path = folder / f"{builder}{suffix}.onnx"
        if not path.exists():
            weights = shapes.WEIGHTS / f"{builder}.pth"
            model = load_model(f"maskrt.examples.shapes:{builder}", weights)
            export(model, path, CANVAS, batch=batch)
        return path

    return path_of

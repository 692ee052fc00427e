"""What a process needs to see the simulated GPU, and the model files for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from maskrt.plugins.library import library_name
from tests.plugins.building import BUILD, ROOT, build
from tests.simcuda.files import write_plan, write_rtx_bundle, write_split_plans

LIBRARIES = BUILD / "simulation"
MARK = "MASKRT_SIMULATED"
"""Environment variable: the folder of the model files; set only in such processes."""
SMALL = (64, 96)
"""Canvas of the model for long streams, (height, width)."""


def variables(folder: Path) -> dict[str, str]:
    """The environment; builds the libraries."""
    build(BUILD, ["maskrt_ops", "simcuda", "simulated_plugins"])
    ops = LIBRARIES / library_name()
    if not ops.exists():
        ops.symlink_to(BUILD / library_name())
    standin = ROOT / "tests" / "simcuda" / "standin"
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(LIBRARIES),
        "PYTHONPATH": os.pathsep.join([str(standin), os.environ.get("PYTHONPATH", "")]),
        "MASKRT_PLUGIN_PATH": str(LIBRARIES),
        "MASKRT_CACHE": str(folder / "cache"),
        MARK: str(folder),
    }


def run(
    arguments: list[str], environment: dict[str, str], **more: str
) -> subprocess.CompletedProcess[str]:
    """Runs Python with a simulated GPU."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def write_files(folder: Path, canonical: Callable[..., Path]) -> None:
    """Canonical files, what is built of them, and frames.

    Args:
        folder: where they go.
        canonical: the fixture.
    """
    from maskrt.examples import shapes
    from maskrt.export import export, load_model

    small = folder / "small.onnx"
    weights = shapes.WEIGHTS / "mask_rcnn.pth"
    model = load_model("maskrt.examples.shapes:mask_rcnn", weights)
    # long streams are about where results come from, not about how good they are
    model.rpn._pre_nms_top_n["testing"] = model.rpn._post_nms_top_n["testing"] = 24
    model.roi_heads.detections_per_img = 12
    export(model, small, SMALL, batch=(1, 3))
    sources = {
        "masks": canonical("mask_rcnn"),
        "batches": canonical("mask_rcnn", (1, 3)),
        "keypoints": canonical("keypoint_rcnn"),
        "small": small,
    }
    for name, source in sources.items():
        if source.parent != folder:
            (folder / f"{name}.onnx").symlink_to(source)
        write_plan(source, folder / f"{name}.engine")
        write_rtx_bundle(source, folder / f"{name}.rtx.bundle")
        write_split_plans(source, folder / f"{name}.split.bundle")
    write_rtx_bundle(sources["masks"], folder / "half.rtx.bundle", "fp16")
    write_plan(sources["masks"], folder / "narrow.engine", limit=100)
    frames = {f"frame{i}": shapes.image(i)[0] for i in range(8)}
    frames |= {f"small{i}": shapes.image(i, size=SMALL)[0] for i in range(60)}
    frames["large"] = shapes.image(1, size=(900, 1200))[0]
    frames["empty"] = np.zeros((192, 256, 3), np.uint8)
    np.savez(folder / "frames.npz", **frames)

"""The CUDA kernels beside torchvision's, on the first GPU.

Needs torch with CUDA, and the library that ``make plugins`` builds. It has not been run yet.

    python benchmarks/gpu_ops.py
    python benchmarks/gpu_ops.py --runs 200 --json out.json

RoIAlign: 256 channels, strides 4 to 32 of an 800x1344 canvas; torchvision's MultiScaleRoIAlign is
given maps of [N, C, H, W], the only layout that it knows. Times are CUDA events' around a batch of
calls, after calls that are not counted; candidates take turns.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.pyramid import CANVAS, CHANNELS, STRIDES, random_rois
from maskrt.commands.console import Steps, console, table
from maskrt.plugins.library import plugin_library
from maskrt.plugins.ops.arguments import LAYOUTS
from maskrt.plugins.ops.multilevel_roi_align import MAX_LEVELS, MultilevelRoIAlignParams
from maskrt.plugins.ops.roi_align import FeatureMap

TYPES = {torch.float32: 0, torch.float16: 1, torch.int8: 2, torch.bfloat16: 7}
BATCH = 10
"""Calls between two events."""


def native_pooler(
    maps: list[torch.Tensor], rois: torch.Tensor, size: int, ratio: int, layout: str
) -> Callable[[], torch.Tensor]:
    """Our kernel on torch's memory and stream."""
    last = layout == "channels_last"
    count = torch.tensor([len(rois)], dtype=torch.int32, device="cuda")
    shape = (len(rois), size, size, CHANNELS) if last else (len(rois), CHANNELS, size, size)
    pooled = torch.empty(shape, dtype=maps[0].dtype, device="cuda")
    filled = (FeatureMap * MAX_LEVELS)()
    for i, (m, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        height, width = m.shape[1:3] if last else m.shape[2:]
        filled[i] = FeatureMap(m.data_ptr(), height, width, 1 / stride, 1.0)
    params = MultilevelRoIAlignParams(
        struct_size=ctypes.sizeof(MultilevelRoIAlignParams),
        rois=rois.data_ptr(),
        count=count.data_ptr(),
        pooled=pooled.data_ptr(),
        maps=filled,
        canonical_size=224.0,
        epsilon=1e-6,
        log_epsilon=0.0,
        output_scale=1.0,
        num_levels=len(maps),
        min_level=2,
        canonical_level=4,
        batch=1,
        slots=len(rois),
        channels=CHANNELS,
        cell_stride=CHANNELS,
        output_height=size,
        output_width=size,
        sampling_ratio=ratio,
        aligned=0,
        type=TYPES[maps[0].dtype],
        layout=LAYOUTS[layout],
    )
    library = plugin_library()
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    keep = (count, rois, maps)  # the params hold addresses only

    def run() -> torch.Tensor:
        assert keep
        status = library.maskrt_cuda_multilevel_roi_align(
            ctypes.byref(params), None, ctypes.c_size_t(0), stream
        )
        if status:
            raise RuntimeError(library.maskrt_last_error().decode())
        return pooled

    return run


def torchvision_pooler(
    maps: list[torch.Tensor], rois: torch.Tensor, size: int, ratio: int
) -> Callable[[], torch.Tensor]:
    """torchvision's, with its level assignment."""
    pooler = MultiScaleRoIAlign([str(i) for i in range(len(maps))], size, ratio or -1)
    pooler.scales, pooler.map_levels = [1 / s for s in STRIDES], initLevelMapper(2, 5)
    named = {str(i): m for i, m in enumerate(maps)}
    boxes = rois.to(maps[0].dtype)
    return lambda: pooler(named, [boxes], [CANVAS])


def measure(candidates: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Milliseconds of one call, for each counted batch of calls."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(runs + 3):
        for name, run in candidates.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(BATCH):
                run()
            end.record()
            end.synchronize()
            if i >= 3:
                times[name].append(begin.elapsed_time(end) / BATCH)
    return times


def pooling(count: int, size: int, ratio: int) -> tuple[dict[str, Callable[[], Any]], Any]:
    """Candidates for one number of RoIs and bins, and torchvision's float32 result."""
    rng = np.random.default_rng(0)
    high, wide = CANVAS
    maps = [
        torch.from_numpy(
            rng.standard_normal((1, CHANNELS, high // s, wide // s), dtype=np.float32)
        ).cuda()
        for s in STRIDES
    ]
    rois = torch.from_numpy(random_rois(count, rng)).cuda()
    half = [m.half() for m in maps]
    bytes_ = [(m * 32).round().clamp(-128, 127).to(torch.int8) for m in maps]
    candidates: dict[str, Callable[[], Any]] = {
        "torchvision float32": torchvision_pooler(maps, rois, size, ratio),
        "torchvision float16": torchvision_pooler(half, rois, size, ratio),
    }
    for name, of_type in (("float32", maps), ("float16", half), ("int8", bytes_)):
        last = [m.permute(0, 2, 3, 1).contiguous() for m in of_type]
        candidates[f"maskrt {name}"] = native_pooler(of_type, rois, size, ratio, "linear")
        candidates[f"maskrt {name}, channels last"] = native_pooler(
            last, rois, size, ratio, "channels_last"
        )
    return candidates, candidates["torchvision float32"]()


def main() -> None:
    """Measures, prints tables, writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50, help="counted batches (default: 50)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("expected --runs of 1 or more")
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU: this script times kernels on one")
    device = torch.cuda.get_device_name()
    records = []
    with Steps() as step:
        for count, size, ratio in ((1000, 7, 2), (1000, 7, 0), (100, 14, 2)):
            title = f"{count} RoIs x {CHANNELS} x {size}x{size}, sampling {ratio or 'adaptive'}"
            step(title)
            candidates, expected = pooling(count, size, ratio)
            errors = {}
            for name, run in candidates.items():
                result = run().float()
                if result.shape != expected.shape:
                    result = result.permute(0, 3, 1, 2)
                scale = 32 if "int8" in name else 1
                errors[name] = float((result / scale - expected).abs().max())
            times = measure(candidates, options.runs)
            records.append({"title": title, "median_ms": {}, "max_difference": errors})
            for name, values in times.items():
                records[-1]["median_ms"][name] = statistics.median(values)
    for record in records:
        median = record["median_ms"]
        peer = min(("torchvision float32", "torchvision float16"), key=median.__getitem__)
        table(
            f"{device}: {record['title']}",
            ("", "median ms", f"speed, {peer} = 1", "max difference"),
            (
                (
                    name,
                    f"{ms:.4f}",
                    f"{median[peer] / ms:.2f}x",
                    f"{record['max_difference'][name]:.1e}",
                )
                for name, ms in median.items()
            ),
        )
    if options.json:
        versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        data = {"device": device, "runs": options.runs, "versions": versions, "cases": records}
        options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {options.json}")


if __name__ == "__main__":
    main()

"""The native CPU operators beside OpenCV, torchvision and ONNX Runtime, in one run.

    python benchmarks/cpu_ops.py
    python benchmarks/cpu_ops.py --operator nms paste --threads 1 --json out.json

What each case compares is said in ``benchmarks/cpu_<operator>.py``. The candidates of a case take
turns with the same number of threads, after runs that are not counted. The speed is the fastest
peer's median time divided by the candidate's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
import torchvision

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import measure, record, show
from maskrt.commands.console import Steps, console

OPERATORS = ("letterbox", "roi_align", "nms", "paste")


def main() -> None:
    """Measures, prints the tables, writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operator", nargs="+", choices=OPERATORS, default=OPERATORS)
    parser.add_argument("--runs", type=int, default=15, help="counted runs of each (default: 15)")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: all cores"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    if options.runs < 1 or options.threads < 1:
        parser.error("expected --runs and --threads of 1 or more")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)

    results = []
    for operator in options.operator:
        with Steps() as step:
            step(f"Preparing {operator}")
            module = importlib.import_module(f"benchmarks.cpu_{operator}")
            for case in module.cases(options.threads):
                results.append(measure(case, options.runs, step))
    for result in results:
        show(result)
    console.print(f"{options.runs} runs, {options.threads} threads")
    if options.json:
        data = {
            "threads": options.threads,
            "runs": options.runs,
            "versions": {
                "numpy": np.__version__,
                "onnxruntime": onnxruntime.__version__,
                "opencv": cv2.__version__,
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
            },
            "cases": [record(result) for result in results],
        }
        options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {options.json}")


if __name__ == "__main__":
    main()

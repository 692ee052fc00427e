"""The README's support table, from what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "support.json"
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "support.md"
BEGIN, END = "<!-- support table: python -m benchmarks.support -->\n", "<!-- end -->\n"
CPU = ("onnxruntime fp32", "openvino fp32")
INT8 = ("int8", "onnxruntime int8+fp32", "openvino int8+fp32")
PRECISIONS = ("fp32", "fp16", "bf16", "int8+fp16")


def read_record() -> dict[str, dict[str, Any]]:
    """What was recorded, by row."""
    if not RECORD.exists():
        return {}
    rows: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    return rows


def failures(results: Mapping[str, Any]) -> dict[str, str]:
    """The reasons of the steps that failed."""
    return {
        name: value["failed"]
        for name, value in results.items()
        if isinstance(value, dict) and "failed" in value
    }


def render_short(rows: Iterable[Any], record: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each task, source and backbone: what works."""
    lines = [
        "| model | weights of | canonical file | CPU bundles | TensorRT graph | TensorRT-RTX | "
        "INT8 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.source == "trained":
            continue
        results = record.get(row.name)
        cells = [f"{row.task} R-CNN, {row.backbone}", row.source]
        cells += ["not run"] * 5 if results is None else _short(results)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _short(results: Mapping[str, Any]) -> list[str]:
    failed = failures(results)

    def cell(steps: Iterable[str], good: str) -> str:
        bad = [step for step in steps if step in failed or step not in results]
        return "no: " + ", ".join(bad) if bad else good

    part = results["int8"].get("part", 0.0) if "int8" in results else 0.0
    return [
        cell(["reference"], "parity"),
        cell(CPU, "parity"),
        cell([f"tensorrt {p}" for p in PRECISIONS], "parsed"),
        cell([f"tensorrt-rtx {p}" for p in PRECISIONS], "built"),
        cell(INT8, f"{part:.0%}"),
    ]


def render_long(rows: Iterable[Any], record: Mapping[str, Mapping[str, Any]]) -> str:
    """All figures: the page behind the README's table."""
    lines = [
        "| model | boxes, px | scores | masks | keypoints, px | detections | OpenVINO bf16 | "
        "TensorRT-RTX fp32, fp16, bf16, int8+fp16, MB | INT8 part of MACs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    problems = []
    for row in rows:
        results = record.get(row.name)
        if results is None:
            lines.append(f"| {row.name} | not run |||||||||")
            continue
        reference = results["reference"]
        cells = [f"{row.name} ({row.source})"]
        for name in ("boxes", "scores", "masks", "keypoints"):
            cells.append(f"{reference[name]:.1e}" if name in reference else "")
        cells.append(str(int(reference.get("detections", 0))))
        twins = results.get("openvino bf16", {}).get("twins")
        cells.append("" if twins is None else f"{twins:.0%}")
        sizes = [results.get(f"tensorrt-rtx {p}", {}).get("megabytes") for p in PRECISIONS]
        cells.append(", ".join("no" if size is None else f"{size:g}" for size in sizes))
        part = results.get("int8", {}).get("part")
        cells.append("" if part is None else f"{part:.1%}")
        lines.append(f"| {' | '.join(cells)} |")
        problems += [f"* {row.name}, {step}: {why}" for step, why in failures(results).items()]
    text = "\n".join(lines) + "\n"
    return text + ("\nWhat failed:\n\n" + "\n".join(problems) + "\n" if problems else "")


def render_ap(rows: Iterable[Any], record: Mapping[str, Mapping[str, Any]]) -> str:
    """AP of the trained models, by what ran."""
    lines = []
    for row in rows:
        measured = record.get(row.name, {}).get("ap")
        if not measured:
            continue
        kinds = list(next(iter(measured.values())))
        lines += [
            f"\n**{row.name}**\n",
            f"| | {' | '.join(f'{kind} AP' for kind in kinds)} |",
            "|---" * (len(kinds) + 1) + "|",
        ]
        lines += [
            f"| {name} | {' | '.join(f'{figures[kind]:.4f}' for kind in kinds)} |"
            for name, figures in measured.items()
        ]
    return "\n".join(lines) + "\n"


def page(rows: list[Any], record: Mapping[str, Mapping[str, Any]], introduction: str) -> str:
    """``docs/support.md``."""
    return (
        "# What works, model by model\n\n"
        f"{introduction}\n\n"
        "Largest differences between the canonical file and its source, over all detections of "
        "three frames; sizes of the bundles for sm 86 and 120.\n\n"
        f"{render_long(rows, record)}\n## Trained models\n\n"
        "COCO's AP (IoU or OKS 0.50:0.95) on 200 held-out pictures; INT8 from 200 training ones.\n"
        f"{render_ap(rows, record)}"
    )


def put_into_readme(table: str, readme: str) -> str:
    """The README with the table between its marks.

    Raises:
        ValueError: the marks are missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README lacks {BEGIN!r} or {END!r}")
    return before + begin + table + end + after

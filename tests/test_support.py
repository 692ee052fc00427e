"""The support table says what was run: all rows, all steps, and what a row says today."""

from __future__ import annotations

import pytest

from benchmarks.support.__main__ import introduction
from benchmarks.support.rows import ROWS
from benchmarks.support.steps import run_row
from benchmarks.support.table import (
    CPU,
    INT8,
    PAGE,
    PRECISIONS,
    README,
    failures,
    page,
    put_into_readme,
    read_record,
    render_short,
)

STEPS = {
    "reference",
    *CPU,
    *INT8,
    *(f"tensorrt {precision}" for precision in PRECISIONS),
    *(f"tensorrt-rtx {precision}" for precision in PRECISIONS),
}


def test_every_row_was_run_in_full():
    record = read_record()
    assert list(record) == [row.name for row in ROWS]
    for name, results in record.items():
        assert set(results) >= STEPS, name


def test_the_tables_show_the_record():
    record = read_record()
    readme = README.read_text(encoding="utf-8")
    assert put_into_readme(render_short(ROWS, record), readme) == readme
    assert page(ROWS, record, introduction()) == PAGE.read_text(encoding="utf-8")


def test_trained_models_lose_nothing():
    """AP through ONNX and CPU bundles is eager's to 0.002; INT8 loses 0.01 at most."""
    measured = {name: r["ap"] for name, r in read_record().items() if "ap" in r}
    assert {kind for ap in measured.values() for kind in ap["eager"]} == {
        "bbox", "segm", "keypoints",
    }  # fmt: skip
    for ap in measured.values():
        for what, figures in ap.items():
            for kind, value in figures.items():
                loss = ap["eager"][kind] - value
                assert loss <= (0.01 if "int8" in what else 0.002), (what, kind)


@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_320_fpn"])
@pytest.mark.slow(reason="a whole row of the support table")
def test_a_row_run_today_says_the_same(name, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings")
    row = next(row for row in ROWS if row.name == name)
    now, then = run_row(row, tmp_path, print), read_record()[name]
    assert failures(now).keys() == failures(then).keys()
    assert now["int8"]["part"] == pytest.approx(then["int8"]["part"], abs=0.01)

"""Runs rows of the support table, records what came out, and writes the tables."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported, see the README

import benchmarks.support as here
from benchmarks.support.rows import ROWS
from benchmarks.support.steps import run_row
from benchmarks.support.table import (
    PAGE,
    README,
    RECORD,
    failures,
    page,
    put_into_readme,
    read_record,
    render_short,
)
from maskrt.commands.console import Steps, console
from maskrt.files import replacing


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(
        description=here.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--again", nargs="+", default=[], metavar="NAME", help="rows to run anew")
    parser.add_argument("--list", action="store_true", help="the rows' names")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables")
    options = parser.parse_args()
    names = [row.name for row in ROWS]
    if unknown := sorted(set(options.again) - set(names)):
        parser.error(f"found no row {unknown[0]}; --list shows them")
    if options.list:
        print("\n".join(names))
        return
    record = read_record()
    for row in [] if options.tables else ROWS:
        if row.name in options.again or (row.name not in record and not options.again):
            with tempfile.TemporaryDirectory() as folder, Steps() as step:
                record[row.name] = run_row(row, Path(folder), step)
            write({name: record[name] for name in names if name in record})
            told = failures(record[row.name]) or "all right"
            console.print(f"{row.name}: {told}, {record[row.name]['seconds']} s", highlight=False)
    write({name: record[name] for name in names if name in record})


def write(record: dict[str, dict[str, Any]]) -> None:
    """The record, the page and the README's table."""
    text = json.dumps({"rows": record}, indent=1) + "\n"
    readme = README.read_text(encoding="utf-8")
    for path, content in (
        (RECORD, text),
        (PAGE, page(ROWS, record, introduction())),
        (README, put_into_readme(render_short(ROWS, record), readme)),
    ):
        with replacing(path) as temporary:
            Path(temporary).write_text(content, encoding="utf-8")


def introduction() -> str:
    """What the script's own help says is done with each model."""
    _, start, told = str(here.__doc__).partition("Weights are random")
    return f"Written by `python -m benchmarks.support`. {start}{told.strip()}"


if __name__ == "__main__":
    main()

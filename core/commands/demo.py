"""``maskrt demo``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from maskrt.errors import MissingDependencyError

NAME = "demo"
HELP = "the whole chain on the bundled tiny models"
DESCRIPTION = """\
Exports the bundled tiny models, runs them on a short film that they have not
seen, measures their accuracy, and writes annotated frames and a contact sheet.
Needs no download and no GPU.
"""
EPILOG = """\
examples:
  maskrt demo                         # writes to build/demo
  maskrt demo -o pictures --images 200
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/demo"),
        metavar="DIR",
        help="folder for what it writes (default: build/demo)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=50,
        metavar="N",
        help="held-out images for the accuracy (default: 50)",
    )


def execute(options: argparse.Namespace) -> None:
    """Runs the command."""
    # torch brings the OpenMP that the operators then share: its waiting threads would spin on the
    # cores that the engines of a bundle need; a process without torch has no such trouble
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from maskrt.examples.demo import run_demo

        run_demo(options.output, images=max(1, options.images))
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "export,cpu,calibrate") from error

"""The command ``maskrt``: one subcommand for each job."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import maskrt
from maskrt.commands import (
    build,
    calibrate,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    inspect,
    profile,
    run,
)
from maskrt.errors import MaskrtError
from maskrt.interrupts import in_library

COMMANDS = (export, calibrate, build, run, compare, evaluate, profile, inspect, doctor, demo)

DESCRIPTION = """\
Trained R-CNN detectors (Faster, Mask, Keypoint R-CNN) in camera applications.

  maskrt export  --model torchvision/maskrcnn_resnet50_fpn --weights mine.pth \\
                 --canvas 800x1088 -o model.onnx
  maskrt calibrate model.onnx --images photos/ -o model.int8.onnx    (if wanted)
  maskrt build   model.onnx --target openvino -o model.bundle
  maskrt run     model.bundle --source street.mp4 --save annotated.mp4
  maskrt demo    the whole chain on the bundled tiny models; needs nothing else
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="maskrt",
        description=DESCRIPTION,
        epilog="'maskrt COMMAND --help' explains a command and shows examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"maskrt {maskrt.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        command = commands.add_parser(
            module.NAME,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(execute=module.execute)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status.

    What the user can mend is told in a line, with status 1; a bug keeps its traceback. Ctrl-C gives
    130, as shells expect.
    """
    options = build_parser().parse_args(arguments)
    try:
        options.execute(options)
    except MaskrtError as error:
        print(f"maskrt: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("maskrt: stopped", file=sys.stderr)
        if in_library():  # interrupted twice: the process would be aborted at its end
            sys.stderr.flush()
            os._exit(130)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

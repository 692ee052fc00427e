"""``maskrt doctor``."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from maskrt.errors import MaskrtError

NAME = "doctor"
HELP = "what this machine has, what is missing, and the command that mends it"
DESCRIPTION = """\
Looks at the GPU, its driver, the libraries that build and run models, maskrt's
own native libraries and the tools, and says which targets this machine can
build and run. Nothing is changed. What is missing is no fault: only something
that is installed but does not work gives the exit status 1.
"""
EPILOG = """\
examples:
  maskrt doctor
  maskrt doctor --json > machine.json   # to go with a report
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--json", action="store_true", help="everything as JSON")


def execute(options: argparse.Namespace) -> None:
    """Runs the command.

    Raises:
        MaskrtError: something that is installed is broken.
    """
    from maskrt.commands.console import Steps
    from maskrt.runtime import checkup, machine, probes

    with Steps() as step:
        step("Looking at the machine")
        here = machine.this_machine()
        step("Trying the libraries")
        found = checkup.checks(here, probes.probe_all())
    targets = checkup.targets(found, here)
    if options.json:
        print(json.dumps(_plain(here, found, targets), indent=2))
    else:
        _print(found, targets)
    broken = [check.name for check in found if check.status == "broken"]
    if broken:
        raise MaskrtError(f"installed, but not working: {', '.join(broken)}; see the fixes above")


def _plain(machine: Any, found: list[Any], targets: list[Any]) -> dict[str, Any]:
    return {
        "machine": dataclasses.asdict(machine),
        "checks": [dataclasses.asdict(check) for check in found],
        "targets": [dataclasses.asdict(target) for target in targets],
    }


def _print(found: list[Any], targets: list[Any]) -> None:
    from maskrt.commands.console import console, table

    rows = [(check.name, check.status, check.found) for check in found]
    table("This machine", ("", "status", "found"), rows, align="left")
    fixes = [(check.name, check.fix) for check in found if check.fix]
    if fixes:
        table("What would mend it", ("", "run"), fixes, align="left")
    rows = [
        (state.target, *(f"no: {why}" if why else "yes" for why in (state.no_build, state.no_run)))
        for state in targets
    ]
    table("Targets", ("", "builds here", "runs here"), rows, align="left")
    if not any(state.no_run == "" for state in targets):
        console.print("Nothing runs here yet: see what is missing above.")

"""What a machine is, and what slows it down: measurements are of little use without."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import maskrt
from maskrt.gpus import platform_name
from maskrt.runtime.machine import installed_libraries, l4t_release


def machine_facts(root: str | os.PathLike[str] = "/") -> dict[str, Any]:
    """What the machine is and has installed; ``root`` is where ``proc`` and ``etc`` are."""
    return {
        "platform": platform_name(),
        "cpu": _cpu_model(_read(Path(root, "proc/cpuinfo"))) or platform.processor(),
        "cores": _cores(),
        **jetson_facts(root),
        "python": platform.python_version(),
        "maskrt": maskrt.__version__,
        "libraries": installed_libraries(),
    }


def jetson_facts(root: str | os.PathLike[str] = "/") -> dict[str, str]:
    """``board``, the model's name, and ``l4t``, the release, of a Jetson; elsewhere ``{}``."""
    release = _read(Path(root, "etc/nv_tegra_release"))
    board = _read(Path(root, "proc/device-tree/model"))
    if not release and not any(name in board.lower() for name in ("jetson", "nvidia")):
        return {}
    return {key: value for key, value in (("board", board), ("l4t", l4t_release(release))) if value}


def conditions(root: str | os.PathLike[str] = "/") -> dict[str, Any]:
    """What slows a machine down: ``temperatures`` in degrees Celsius by the thermal zones' names,
    ``governor`` of the CPU's frequency. What cannot be read is left out; ``{}`` without any.
    """
    temperatures: dict[str, float] = {}
    zones = Path(root, "sys/class/thermal").glob("thermal_zone*")
    for zone in sorted(zones, key=lambda zone: (len(zone.name), zone.name)):
        # zones of parts that are switched off cannot be read
        with contextlib.suppress(ValueError):
            celsius = int(_read(zone / "temp")) / 1e3
            name = _read(zone / "type") or zone.name
            temperatures[f"{name} ({zone.name})" if name in temperatures else name] = celsius
    cpus = Path(root, "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    governors = sorted({_read(path) for path in cpus} - {""})
    facts: dict[str, Any] = {"temperatures": temperatures} if temperatures else {}
    return {**facts, "governor": ", ".join(governors)} if governors else facts


def _cores() -> int:
    """Those that this process may use."""
    with contextlib.suppress(AttributeError, OSError):  # not on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model(cpuinfo: str) -> str:
    """The first name that stands there: of x86, of ARM boards."""
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return next((found[key] for key in ("model name", "Model", "Hardware") if key in found), "")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""

"""What a machine is, and what slows it down: measurements are of little use without."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path
from typing import Any

import maskrt
from maskrt.cores import usable_cores
from maskrt.gpus import find_gpus, platform_name
from maskrt.runtime.machine import installed_libraries, l4t_release


def machine_facts(root: str | os.PathLike[str] = "/") -> dict[str, Any]:
    """What the machine is and has installed; ``root`` is where ``proc`` and ``etc`` are."""
    return {
        "platform": platform_name(),
        "cpu": _cpu_model(_read(Path(root, "proc/cpuinfo"))) or platform.processor(),
        "cores": usable_cores(),
        "gpus": [gpu.name for gpu in find_gpus()[0]],
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
    """What slows a machine down; what cannot be read is left out, ``{}`` without any.

    ``temperatures`` in degrees Celsius by the thermal zones' names; ``governor`` of the CPU's
    frequency; of a Jetson also ``power_mode``, as ``nvpmodel`` names it, and ``gpu_clock``, now and
    at most, in MHz.
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
    if governors:
        facts["governor"] = ", ".join(governors)
    return {**facts, **_jetson_conditions(Path(root))}


def _jetson_conditions(root: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    mode = re.search(r"pmode:(\d+)", _read(root / "var/lib/nvpmodel/status"))
    if mode:
        number = int(mode[1])
        models = re.findall(
            r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", _read(root / "etc/nvpmodel.conf")
        )
        names = {int(found): name for found, name in models}
        facts["power_mode"] = names.get(number, str(number))
    for folder in sorted(Path(root, "sys/class/devfreq").glob("*")):
        # "17000000.ga10b" or "17000000.gpu"
        if not re.search(r"gpu|gv11b|ga10b|gb10b", folder.name):
            continue
        with contextlib.suppress(ValueError):
            now, most = (int(_read(folder / f"{name}_freq")) // 10**6 for name in ("cur", "max"))
            facts["gpu_clock"] = {"now": now, "max": most}
    return facts


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

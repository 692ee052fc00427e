"""Asks installed packages for their versions and abilities, each in a process of its own.

A broken installation may raise anything, hang, or end its process: here it does not end ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

_SECONDS = 90
_VERSION = "import {0} as m; out = dict(version=getattr(m, '__version__', ''))"
_OPENCV = """
import cv2, re
text = cv2.getBuildInformation()
gui = re.search(r'GUI: +(\\S.*)', text)
backends = [n for n in ('QT5', 'QT6', 'QT', 'GTK+', 'Win32 UI', 'Cocoa')
            if re.search(r'^ +' + re.escape(n) + r': +YES', text, re.M)]
out = dict(version=cv2.__version__,
           gui=(gui and gui[1] not in ('NONE', 'NO')) or bool(backends),
           gstreamer=bool(re.search(r'GStreamer: +YES', text)))
"""
CODES = {
    "tensorrt": _VERSION.format("tensorrt"),
    "tensorrt_rtx": "try:\n import tensorrt_rtx as m\n"
    "except ModuleNotFoundError:\n import tensorrt_rtx_bindings as m\n"
    "out = dict(version=m.__version__)",
    "onnxruntime": "import onnxruntime as m\n"
    "out = dict(version=m.__version__, providers=m.get_available_providers())",
    "openvino": "import openvino as m\n"
    "out = dict(version=m.__version__, devices=m.Core().available_devices)",
    "cuda.bindings": "import cuda.bindings.driver, importlib.metadata as i\n"
    "out = dict(version=i.version('cuda-bindings'))",
    "pycuda": "import pycuda, pycuda.driver\nout = dict(version=pycuda.VERSION_TEXT)",
    "torch": "import torch as m\nout = dict(version=m.__version__, cuda=m.version.cuda or '')",
    "cv2": _OPENCV,
    **{
        name: _VERSION.format(name)
        for name in ("torchvision", "onnx", "onnxscript", "onnx_graphsurgeon", "polygraphy")
    },
}
"""What is run for each module; it leaves a dict in ``out``."""
_END = "\nimport json; print('\\n' + json.dumps(out))"


@dataclass(frozen=True)
class Probe:
    """What became of importing a module."""

    found: dict[str, Any] = field(default_factory=dict)
    """What it says; empty unless it could be imported."""
    error: str = ""
    """Why it could not be imported, in a line; empty if it is just not there."""

    @property
    def missing(self) -> bool:
        """Whether the module is not installed."""
        return not self.found and not self.error


def probe(name: str) -> Probe:
    """Imports one of the modules of ``CODES`` in a new process."""
    command = [sys.executable, "-c", CODES[name] + _END]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, errors="replace", check=False
        )
    except subprocess.TimeoutExpired:
        return Probe(error=f"importing it took more than {_SECONDS} s")
    if done.returncode == 0:
        return Probe(json.loads(done.stdout.strip().splitlines()[-1]))
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else f"its import ended the process (status {done.returncode})"
    top = name.partition(".")[0]
    if last.startswith("ModuleNotFoundError") and f"'{top}" in last:
        return Probe()
    if last.startswith("AttributeError") and "(unknown location)" in last:
        return Probe()
    return Probe(error=last)


def probe_all(names: Iterable[str] = tuple(CODES)) -> dict[str, Probe]:
    """Imports modules, some at a time."""
    names = tuple(names)
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(probe, names), strict=True))

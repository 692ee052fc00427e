"""The operators' cases in ``tests/plugins``, for another target."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any


def on_target(module: ModuleType) -> dict[str, Any]:
    """A module's tests that run on the fixture ``target``, and its marks."""
    marks = getattr(module, "pytestmark", [])
    every = any("target" in mark.args for mark in (marks if isinstance(marks, list) else [marks]))
    tests = {
        name: test
        for name, test in vars(module).items()
        if name.startswith("test_") and (every or "target" in inspect.signature(test).parameters)
    }
    assert tests, f"{module.__name__} has no tests for another target"
    return {"pytestmark": marks, **tests}

"""Parameters that the quick tier leaves out."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest


def quick(chosen: Container[Any], values: Iterable[Any], reason: str) -> list[Any]:
    """Parameters of a test, of which those not chosen are slow.

    Args:
        chosen: values of the quick tier; a tuple holds values of several parameters.
        values: all of them.
        reason: why the others are slow.
    """
    mark = pytest.mark.slow(reason=reason)
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=() if value in chosen else mark,
        )
        for value in values
    ]

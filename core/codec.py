"""Frozen dataclasses to and from plain JSON values, checked against their type hints.

Only what a spec is made of: int, float, str, bool, None, Literal, tuples, dicts, dataclasses.
"""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from maskrt.errors import SpecError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """The JSON value of a dataclass, with all fields, in the class's order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    return value


def from_plain(hint: type[T], value: Any, path: str) -> T:
    """Builds ``hint`` from a JSON value.

    Raises:
        SpecError: naming the path of the first value that does not fit, what it is and what fits.
    """
    return _read(hint, value, path)


def _read(hint: Any, value: Any, path: str) -> Any:
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(hint, value, path)
    if origin in (Union, types.UnionType):
        return _read_optional(hint, value, path)
    if origin is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            raise _mismatch(path, value, "one of " + ", ".join(map(repr, get_args(hint))))
        return value
    if origin is tuple:
        return _read_tuple(hint, value, path)
    if origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(path, value, "an object")
        return {k: _read(get_args(hint)[1], v, f"{path}.{k}") for k, v in value.items()}
    return _read_scalar(hint, value, path)


def _read_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise _mismatch(path, "a number of very many digits", "a finite number") from None
    # bool is a subclass of int: True must not pass for 1
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise _mismatch(path, value, hint.__name__)
    if hint is float and not math.isfinite(value):
        raise _mismatch(path, value, "a finite number")
    return value


def _read_optional(hint: Any, value: Any, path: str) -> Any:
    inner = [a for a in get_args(hint) if a is not type(None)]
    if value is None:
        return None
    return _read(inner[0], value, path)


def _read_tuple(hint: Any, value: Any, path: str) -> Any:
    args = get_args(hint)
    if not isinstance(value, list):
        raise _mismatch(path, value, "a list")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_read(args[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if len(value) != len(args):
        raise _mismatch(path, value, f"a list of {len(args)}")
    pairs = zip(args, value, strict=True)
    return tuple(_read(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(pairs))


def _read_dataclass(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(path, value, "an object")
    hints = get_type_hints(hint)
    fields = {f.name: f for f in dataclasses.fields(hint)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SpecError(f"{path}: unknown field {unknown[0]!r}; known fields: {', '.join(fields)}")
    required = {
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(value))
    if missing:
        raise SpecError(f"{path}: field {missing[0]!r} is missing")
    return hint(**{k: _read(hints[k], v, f"{path}.{k}") for k, v in value.items()})


def _mismatch(path: str, value: Any, expected: str) -> SpecError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return SpecError(f"{path}: found {shown}, expected {expected}")

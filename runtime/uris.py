"""Options in the addresses of sources, and secrets that must not be printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from maskrt.errors import SourceError

_USER = re.compile(r"(?<=://)\S*@")  # greedy: a password may hold '/' or '@'
_SECRET = re.compile(r"(?i)((?:pass(?:word|wd)?|pwd|pw|secret|token|key|auth)=)[^&\s]+")


def masked(address: str) -> str:
    """The address without the user's name, passwords and keys, for names and messages."""
    return _SECRET.sub(r"\1***", _USER.sub("***@", address))


def options_of(
    rest: str, known: Mapping[str, range | re.Pattern[str]], *, example: str
) -> tuple[str, dict[str, Any]]:
    """Takes ``place?name=value&name=value`` apart.

    Args:
        rest: what follows ``scheme://``.
        known: the options: a range for whole numbers, a pattern for words.
        example: of a whole address, for messages.

    Returns:
        The place, and the options that are given.

    Raises:
        SourceError: an option is unknown, given twice, or out of range.
    """
    place, _, query = rest.partition("?")
    options: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name not in known:
            listed = f"one of {', '.join(known)}" if known else "none"
            raise SourceError(
                f"found the option {name!r} of a source, expected {listed}, as in {example}"
            )
        if name in options:
            raise SourceError(f"found the option {name!r} of a source twice: give it once")
        options[name] = _value(name, value, known[name], example)
    return place, options


def _value(name: str, value: str, allowed: range | re.Pattern[str], example: str) -> int | str:
    if isinstance(allowed, range):
        if re.fullmatch(r"\d{1,18}", value, re.ASCII) and int(value) in allowed:
            return int(value)
        expected = f"a whole number from {allowed.start} to {allowed.stop - 1}"
    else:
        if allowed.fullmatch(value):
            return value
        expected = "four letters or digits"
    raise SourceError(
        f"found {value!r} as the option {name!r} of a source, expected {expected}, as in {example}"
    )

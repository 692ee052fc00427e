"""Progress bars and tables on the terminal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

T = TypeVar("T")
_UNWRAPPED = 4096
"""Columns of what is no terminal: more than any line has."""


def open_console(*, stderr: bool = False) -> Console:
    """A console on one of the process's streams.

    What is no terminal gets no line breaks of ours: a path that is broken in two is no path.
    """
    opened = Console(stderr=stderr)
    if opened.is_terminal or "COLUMNS" in os.environ:
        return opened
    return Console(stderr=stderr, width=_UNWRAPPED)


console = open_console()
QUIET = not console.is_terminal  # in files and pipes a bar would leave blank lines


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    align: Literal["left", "right"] = "right",
) -> None:
    """Prints a table; ``align`` is that of every column but the first. Text stands for itself."""
    shown = Table(title=escape(title) or None, title_justify="left")
    for i, column in enumerate(columns):
        shown.add_column(escape(column), justify=align if i else "left")
    for row in rows:
        shown.add_row(*(escape(str(cell)) for cell in row))
    console.print(shown)


def warn(message: str) -> None:
    """Prints a warning. Text stands for itself."""
    console.print(f"[yellow]warning:[/] {escape(message)}", highlight=False)


def track(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    """Yields the items under a progress bar; ``total`` None: no end is known."""
    with _counting() as progress:
        yield from progress.track(items, total=total, description=what)


def _counting() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=QUIET)


class Steps:
    """A spinner with the name of the step that runs, and how long it has been running.

    A context manager; call it with the name of each step.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=QUIET,
        )
        self._task = self._progress.add_task("")

    def __call__(self, step: str) -> None:
        """Names the step that begins."""
        self._progress.update(self._task, description=step)

    def __enter__(self) -> Steps:
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()


@contextlib.contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; gives what moves it: called with what is done and the total."""
    with _counting() as progress:
        task = progress.add_task(what, total=total)
        yield lambda done, of: progress.update(task, completed=done, total=of)

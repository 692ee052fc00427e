"""Which layers cost accuracy in INT8: as few as possible go back to higher precision.

A search over measured average precision. Stages are tried first; inside those that cost something,
runs of consecutive layers are halved, best first, until single layers are found. These are given
back one after the other until the budget holds, and then what turned out to be needless is taken
back again.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from maskrt.calibration.layers import MAPS, Layer

NOISE = 3e-4  # gains of AP below it are those of roundings that fall the other way
Figures = dict[str, float]
Measure = Callable[[frozenset[str]], Mapping[str, float]]


@dataclass(frozen=True)
class SearchLayer:
    """What can be given back."""

    name: str
    stage: str
    macs: int


@dataclass(frozen=True)
class SearchRow:
    """One measurement that taught something."""

    what: str
    """A stage, a layer, or the first and last of several."""
    layers: tuple[str, ...]
    figures: Figures
    """With these in higher precision, beside those that had been chosen before."""
    gain: float
    """By giving them back: of the APs that fell by too much before, in sum."""
    decision: str
    """``"INT8"`` or ``"higher precision"``, as it is in the end."""

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "layers": list(self.layers)}


@dataclass(frozen=True)
class SearchResult:
    """What stays in higher precision."""

    kept: frozenset[str]
    rows: tuple[SearchRow, ...]
    met: bool
    """Whether AP falls by no more than was allowed."""
    figures: Figures
    """With this choice."""
    measurements: int
    complete: bool = True
    """False: the limit of measurements came first, so fewer layers may do."""


def layers_to_search(layers: Sequence[Layer]) -> list[SearchLayer]:
    """What is quantised, and the feature maps."""
    low = [SearchLayer(x.name, x.stage, x.macs) for x in layers if not x.kept]
    return [*low, SearchLayer(MAPS, "trunk", 0)]


def search(
    layers: Sequence[SearchLayer],
    measure: Measure,
    reference: Mapping[str, float],
    max_drop: float,
    *,
    limit: int = 60,
    remember: MutableMapping[str, Figures] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> SearchResult:
    """Finds layers whose higher precision keeps AP within a budget.

    Args:
        layers: in the graph's order.
        measure: names of layers in higher precision → COCO's figures (``coco_eval.evaluate``). Each
            call is expensive.
        reference: the float32 model's figures; those that end in "/AP" and are finite count.
        max_drop: by which each of them may fall.
        limit: of calls; what ``remember`` knows is not counted.
        remember: figures by a text that stands for the names; one that is kept from run to run lets
            a search that was stopped go on.
        progress: called before each measurement with what is tried, how many were made, and the
            limit.

    Returns:
        The choice; with ``met`` False the best that was found within the limit.

    Raises:
        ValueError: the limit is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit: found {limit}, expected 1 or more")
    return _Search(layers, measure, reference, max_drop, limit, remember, progress).run()


def key_of(kept: Iterable[str]) -> str:
    """The text that stands for a choice in ``remember``."""
    return json.dumps(sorted(kept))


class _LimitReachedError(Exception):
    pass


@dataclass(order=True)
class _Group:
    """Consecutive layers that promise a gain; the heap gives the most promising first."""

    order: tuple[float, int]
    layers: tuple[SearchLayer, ...] = field(compare=False)


class _Search:
    def __init__(
        self,
        layers: Sequence[SearchLayer],
        measure: Measure,
        reference: Mapping[str, float],
        max_drop: float,
        limit: int,
        remember: MutableMapping[str, Figures] | None,
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self.layers = tuple(layers)
        self.measure = measure
        self.reference = {
            name: value
            for name, value in reference.items()
            if name.endswith("/AP") and math.isfinite(value)
        }
        self.max_drop = max_drop
        self.limit = limit
        self.remember = {} if remember is None else remember
        self.progress = progress
        self.count = 0
        self.falls: dict[frozenset[str], Figures] = {}
        self.complete = True
        self.rows: list[SearchRow] = []
        self.kept: frozenset[str] = frozenset()

    def run(self) -> SearchResult:
        """All steps, as far as the limit allows."""
        try:
            drop = self.drop(self.kept, "all in INT8")
            self.rows.append(SearchRow("all in INT8", (), self.figures(self.kept), 0.0, ""))
            if drop > self.max_drop:
                self.give_back()
                if self.worst(self.kept) <= self.max_drop:
                    self.take_back()
        except _LimitReachedError:
            self.kept, self.complete = self.best(), False
        figures = self.figures(self.kept)
        rows = tuple(
            SearchRow(
                row.what,
                row.layers,
                row.figures,
                row.gain,
                "higher precision" if row.layers and self.kept.issuperset(row.layers) else "INT8",
            )
            for row in self.rows
        )
        met = self.worst(self.kept) <= self.max_drop
        return SearchResult(self.kept, rows, met, figures, self.count, self.complete)

    def figures(self, kept: frozenset[str]) -> Figures:
        return dict(self.remember[key_of(kept)])

    def drop(self, kept: frozenset[str], what: str) -> float:
        """Of the AP that falls most."""
        if kept not in self.falls:
            key = key_of(kept)
            if key not in self.remember:
                if self.count >= self.limit:
                    raise _LimitReachedError
                if self.progress:
                    self.progress(what, self.count, self.limit)
                self.remember[key] = {k: float(v) for k, v in self.measure(kept).items()}
                self.count += 1
            found = self.remember[key]
            falls = {
                name: value - found.get(name, math.nan) for name, value in self.reference.items()
            }
            self.falls[kept] = {name: fall for name, fall in falls.items() if not math.isnan(fall)}
        return self.worst(kept)

    def worst(self, kept: frozenset[str]) -> float:
        """``drop`` of what was measured; infinite where all figures are missing."""
        return max(self.falls[kept].values(), default=math.inf if self.reference else 0.0)

    def rise(self, kept: frozenset[str]) -> float:
        """By how much more layers raise those APs, in sum, that fall by too much now.

        Not the one that falls most alone: a layer that costs masks would gain nothing as long as
        boxes fall by more.
        """
        before, after = self.falls[self.kept], self.falls[kept]
        return sum(
            before[name] - after[name]
            for name in before
            if before[name] > self.max_drop and name in after
        )

    def gain(self, group: Sequence[SearchLayer], what: str = "") -> float:
        """By giving a group back beside what has been given back."""
        names = tuple(layer.name for layer in group)
        what = what or (names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}")
        kept = self.kept.union(names)
        self.drop(kept, what)
        gain = self.rise(kept)
        self.rows.append(SearchRow(what, names, self.figures(kept), gain, ""))
        return gain

    def give_back(self) -> None:
        """Until the budget holds."""
        heap: list[_Group] = []

        def push(group: Sequence[SearchLayer], gain: float) -> None:
            if gain > NOISE:
                macs = sum(layer.macs for layer in group)
                heapq.heappush(heap, _Group((-gain, macs), tuple(group)))

        stages = list(dict.fromkeys(layer.stage for layer in self.layers))
        by_stage: list[tuple[SearchLayer, ...]] = [
            tuple(x for x in self.layers if x.stage == stage) for stage in stages
        ]
        gains = [self.gain(g, s) for g, s in zip(by_stage, stages, strict=True)]
        for group, gain in zip(by_stage, gains, strict=True):
            push(group, gain)
        while heap and self.worst(self.kept) > self.max_drop:
            group = heapq.heappop(heap).layers
            if len(group) > 1:
                middle = len(group) // 2
                halves = [(half, self.gain(half)) for half in (group[:middle], group[middle:])]
                if any(gain > NOISE for _, gain in halves):
                    for half, gain in halves:
                        push(half, gain)
                    continue
            # one layer, or several that gain together only
            self.accept(group)
        order = sorted(range(len(stages)), key=lambda i: -gains[i])
        for i in order:
            if self.worst(self.kept) <= self.max_drop:
                return
            self.accept(by_stage[i])
        if self.worst(self.kept) > self.max_drop:
            self.accept(self.layers)

    def accept(self, group: Sequence[SearchLayer]) -> None:
        names = [layer.name for layer in group]
        kept = self.kept.union(names)
        if kept > self.kept:
            self.drop(kept, f"{names[0]} …")
            if self.rise(kept) >= 0:
                self.kept = kept

    def take_back(self) -> None:
        """What is not needed after all: the layers with the most multiplications first."""
        given = [layer for layer in self.layers if layer.name in self.kept]
        for layer in sorted(given, key=lambda layer: -layer.macs):
            if len(self.kept) == 1:
                return
            if self.count >= self.limit:
                self.complete = False
                return
            fewer = self.kept - {layer.name}
            if self.drop(fewer, f"without {layer.name}") <= self.max_drop:
                self.kept = fewer

    def best(self) -> frozenset[str]:
        """Within the budget with the fewest multiplications, or the one that loses least."""
        macs = {layer.name: layer.macs for layer in self.layers}
        return min(
            self.falls,
            key=lambda kept: (
                max(self.worst(kept), self.max_drop),
                sum(macs[name] for name in kept),
                sorted(kept),
            ),
        )

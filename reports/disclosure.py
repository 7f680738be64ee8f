"""What may be published side by side, so that no count of fewer than ten can be had by adding and subtracting.

A page shows many totals of the same answers: a week, four weeks, a segment, a channel. Each of them may hold hundreds
of answers, and the difference of two still only three. `Ledger` takes the totals one after the other and refuses the
one with which such a remainder could be computed. It thinks as a reader with a pencil does, who also knows which cells
are empty: any sum of published totals, each taken as often as one likes, with either sign.

Source: docs/metrics.md ("How many are enough").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np

from reports.metrics import SUPPRESS_BELOW
from reports.procedures import Floats

Cell = TypeVar("Cell", bound=Hashable)

_TRIED = 20_000
"""Combinations looked at for one total. Beyond it the total is refused: not known to be safe is not safe."""
_ZERO = 1e-9


class Ledger(Generic[Cell]):
    """The totals published so far.

    Args:
        sizes: cell → number of answers in it; cells that are never published together need not be told apart.
    """

    def __init__(self, sizes: Mapping[Cell, int]) -> None:
        self._sizes = {cell: n for cell, n in sizes.items() if n > 0}
        self._published: list[frozenset[Cell]] = []

    def admit(self, cells: Iterable[Cell]) -> bool:
        """Whether the total of these cells may be published beside the others; if so, it is from now on. A total of
        nothing may; one of fewer than ten may not."""
        wanted = frozenset(cell for cell in cells if cell in self._sizes)
        if not wanted or wanted in self._published:
            return True
        if self._gives_away([*self._published, wanted]):
            return False
        self._published.append(wanted)
        return True

    def note(self, cells: Iterable[Cell]) -> None:
        """A total that is printed anyway, whatever we think of it."""
        wanted = frozenset(cell for cell in cells if cell in self._sizes)
        if wanted and wanted not in self._published:
            self._published.append(wanted)

    def _gives_away(self, totals: list[frozenset[Cell]]) -> bool:
        # cells that occur in the same totals can never be told apart: they count as one
        alike: defaultdict[tuple[bool, ...], int] = defaultdict(int)
        for cell in frozenset().union(*totals):
            alike[tuple(cell in total for total in totals)] += self._sizes[cell]
        rows = np.array(list(alike), dtype=np.float64).T
        sizes = np.array(list(alike.values()))
        # a sum of cells can be computed exactly when it is orthogonal to everything the totals leave open
        _, strengths, axes = np.linalg.svd(rows)
        left_open: Floats = axes[int((strengths > _ZERO * strengths[0]).sum()) :].T
        small = np.flatnonzero(sizes < SUPPRESS_BELOW)
        return _some_sum(left_open[small], sizes[small])


def _some_sum(open_parts: Floats, sizes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    """Whether the open parts of some cells with fewer than ten answers together cancel out; also when that took too
    long to find out."""
    # what cancels out still does so seen from one odd angle, and numbers are added faster than vectors
    angle = np.random.default_rng(0).standard_normal(open_parts.shape[1])
    seen: list[float] = (open_parts @ angle).tolist()
    counts: list[int] = sizes.tolist()
    tried = 0
    waiting = [(place, seen[place], n) for place, n in enumerate(counts)]
    while waiting:
        last, rest, n = waiting.pop()
        tried += 1
        if tried > _TRIED or abs(rest) < _ZERO:
            return True
        waiting += [
            (place, rest + seen[place], n + counts[place])
            for place in range(last + 1, len(counts))
            if n + counts[place] < SUPPRESS_BELOW
        ]
    return False

"""What may be published side by side, so that no count of fewer than ten can be had by adding and subtracting.

A page shows many totals of the same answers: a week, four weeks, a segment, a channel. Each of them may hold hundreds
of answers, and the difference of two still only three. `Ledger` takes the totals one after the other and refuses the
one with which such a remainder could be computed. It thinks as a reader with a pencil does, who also knows which cells
are empty: any sum of published totals, each taken as often as one likes, with either sign.

Source: docs/metrics.md ("How many are enough").
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np

from reports.metrics import SUPPRESS_BELOW
from reports.procedures import Floats

Cell = TypeVar("Cell", bound=Hashable)

_TRIED = 200_000
"""Combinations looked at for one total. Beyond it the total is refused: not known to be safe is not safe."""
_ZERO = 1e-8


class Ledger(Generic[Cell]):
    """The totals published so far.

    A sum of cells can be computed exactly when nothing of it lies outside of what the totals span. To find that out for
    many sums, one random direction is kept with everything that the totals span taken out of it: the entries of those
    cells then add up to zero, and, but by an accident of probability nil, those of no others.

    Args:
        sizes: cell → number of answers in it.
    """

    def __init__(self, sizes: Mapping[Cell, int]) -> None:
        cells = [cell for cell, n in sizes.items() if n > 0]
        self._places = {cell: place for place, cell in enumerate(cells)}
        self._sizes: Floats = np.array([sizes[cell] for cell in cells], dtype=np.float64)
        self._left: Floats = np.random.default_rng(0).standard_normal(len(cells))
        self._axes: Floats = np.zeros((0, len(cells)))
        # cells that occur in the same totals can never be told apart: they share a number
        self._alike = np.zeros(len(cells), dtype=np.int64)

    def admit(self, cells: Iterable[Cell]) -> bool:
        """Whether the total of these cells may be published beside the others; if so, it is from now on. A total of
        nothing may; one of fewer than ten may not."""
        return self._take(cells, always=False)

    def note(self, cells: Iterable[Cell]) -> None:
        """A total that is printed anyway, whatever we think of it."""
        self._take(cells, always=True)

    def _take(self, cells: Iterable[Cell], *, always: bool) -> bool:
        total = np.zeros(len(self._places))
        total[[self._places[cell] for cell in cells if cell in self._places]] = 1.0
        part = total.copy()
        for _ in range(2):  # once more, for what rounding left
            part -= (self._axes @ part) @ self._axes
        length = float(np.linalg.norm(part))
        if length < _ZERO:
            return True  # it follows from the others: who has those has this
        axis = part / length
        left = self._left - (axis @ self._left) * axis
        _, alike = np.unique(self._alike * 2 + (total > 0), return_inverse=True)
        if not always:
            rests, sizes = (np.bincount(alike, part).astype(np.float64) for part in (left, self._sizes))
            if _some_sum(rests, sizes):
                return False
        self._axes = np.vstack((self._axes, axis))
        self._left, self._alike = left, alike
        return True


def _some_sum(left: Floats, sizes: Floats) -> bool:
    """Whether groups of fewer than ten answers together add up to nothing left; also when that took too long to find
    out."""
    small = np.flatnonzero(sizes < SUPPRESS_BELOW)
    rests, counts = left[small], sizes[small]
    # sums of one group, then of two, three …: those of one more come from adding a later group to each
    last, sums, totals = np.arange(len(small)), rests, counts
    tried = 0
    while len(sums):
        tried += len(sums)
        if tried > _TRIED or bool((np.abs(sums) < _ZERO).any()):
            return True
        if len(sums) * len(small) > 50 * _TRIED:
            return True
        before, added = np.nonzero(
            (last[:, None] < np.arange(len(small))) & (totals[:, None] + counts < SUPPRESS_BELOW)
        )
        last, sums, totals = added, sums[before] + rests[added], totals[before] + counts[added]
    return False

"""What may be published side by side, so that no count of fewer than ten can be had by adding and subtracting.

A page shows many totals of the same answers: a week, four weeks, a segment, a channel. Each of them may hold hundreds
of answers, and the difference of two still only three. `Ledger` takes the totals one after the other and refuses the
one with which such a remainder could be computed. It thinks as a reader with a pencil does, who also knows which cells
are empty: any sum of published totals, each taken as often as one likes, with either sign.

Source: docs/metrics.md ("How many are enough").
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np

from reports.metrics import SUPPRESS_BELOW
from reports.procedures import Floats

Cell = TypeVar("Cell", bound=Hashable)

_TRIED = 300_000
"""Combinations looked at for one total: sums of more cells than fit are looked at only where they are watched."""
_ZERO = 1e-8


class Ledger(Generic[Cell]):
    """The totals published so far.

    A sum of cells can be computed exactly when nothing of it lies outside of what the totals span. To find that out for
    many sums, one random direction is kept with everything that the totals span taken out of it: the entries of those
    cells then add up to zero, and, but by an accident of probability nil, those of no others.

    Args:
        sizes: cell → number of answers in it.
        watched: sums that have a name – a shop's answers of four weeks – and so many cells that trying all sums may not
            get to them.
    """

    def __init__(self, sizes: Mapping[Cell, int], *, watched: Iterable[Collection[Cell]] = ()) -> None:
        cells = [cell for cell, n in sizes.items() if n > 0]
        self._places = {cell: place for place, cell in enumerate(cells)}
        self._sizes: Floats = np.array([sizes[cell] for cell in cells], dtype=np.float64)
        self._left: Floats = np.random.default_rng(0).standard_normal(len(cells))
        self._axes: Floats = np.zeros((len(cells), len(cells)))
        self._rank = 0
        self._all_large = all(n >= SUPPRESS_BELOW for n in sizes.values() if n > 0)
        named = [places for cells_of in watched if (places := self._small(cells_of, sizes))]
        self._watched: Floats = np.zeros((len(named), len(cells)))
        for row, places in enumerate(named):
            self._watched[row, places] = 1.0
        # cells that occur in the same totals can never be told apart: they share a number
        self._alike = np.zeros(len(cells), dtype=np.int64)

    def admit(self, cells: Iterable[Cell]) -> bool:
        """Whether the total of these cells may be published beside the others; if so, it is from now on. A total of
        nothing may; one of fewer than ten may not."""
        if self._all_large:
            return True
        total = np.zeros(len(self._places))
        total[[self._places[cell] for cell in cells if cell in self._places]] = 1.0
        part = total.copy()
        for _ in range(2):  # once more, for what rounding left
            axes = self._axes[: self._rank]
            part -= (axes @ part) @ axes
        length = float(np.linalg.norm(part))
        if length < _ZERO:
            return True  # it follows from the others: who has those has this
        axis = part / length
        left = self._left - (axis @ self._left) * axis
        _, alike = np.unique(self._alike * 2 + (total > 0), return_inverse=True)
        rests, sizes = (np.bincount(alike, part).astype(np.float64) for part in (left, self._sizes))
        if bool((np.abs(self._watched @ left) < _ZERO).any()) or _some_sum(rests, sizes):
            return False
        self._axes[self._rank] = axis
        self._rank += 1
        self._left, self._alike = left, alike
        return True

    def _small(self, cells: Collection[Cell], sizes: Mapping[Cell, int]) -> list[int]:
        """The places of cells that hold one to nine answers together; [] of others."""
        few = 0 < sum(sizes.get(cell, 0) for cell in cells) < SUPPRESS_BELOW
        return [self._places[cell] for cell in cells if cell in self._places] if few else []


def _some_sum(left: Floats, sizes: Floats) -> bool:
    """Whether groups of fewer than ten answers together add up to nothing left."""
    small = np.flatnonzero(sizes < SUPPRESS_BELOW)
    rests, counts = left[small], sizes[small]
    # sums of one group, then of two, three …: those of one more come from adding a later group to each
    last, sums, totals = np.arange(len(small)), rests, counts
    while len(sums):
        if bool((np.abs(sums) < _ZERO).any()):
            return True
        if len(sums) * len(small) > _TRIED:
            return False
        before, added = np.nonzero(
            (last[:, None] < np.arange(len(small))) & (totals[:, None] + counts < SUPPRESS_BELOW)
        )
        last, sums, totals = added, sums[before] + rests[added], totals[before] + counts[added]
    return False

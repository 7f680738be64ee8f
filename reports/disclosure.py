"""What may be published side by side, so that no count of fewer than ten can be had by adding and subtracting.

A page shows many totals of the same answers: a week, four weeks, a segment, a channel. Each of them may hold hundreds
of answers, and the difference of two still only three. `Ledger` takes the totals one after the other and refuses the
one with which such a remainder could be computed. It thinks as a reader with a pencil does, who also knows which cells
are empty: any sum of published totals, each taken as often as one likes, with either sign.

Source: docs/metrics.md ("How many are enough").
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from reports.metrics import SUPPRESS_BELOW
from reports.procedures import Floats

Cell = TypeVar("Cell", bound=Hashable)
Integers = npt.NDArray[np.int64]
Places = Sequence[int] | Integers
"""Cells, by their places in the sizes of a ledger; each at most once."""

_TRIED = 300_000
"""Combinations looked at for one total: sums of more cells than fit are looked at only where they are watched."""
_ZERO = 1e-8
_ANY_MONDAY = date(1970, 1, 5)


class Place(NamedTuple):
    """Where an answer counts in the digests: its question, week, segment and channel."""

    instrument: str
    survey_kind: str
    touchpoint: str
    wording_id: str
    label_set: str
    monday: date
    segment: str
    channel: str


class Ledger:
    """The totals published so far.

    A sum of cells can be computed exactly when nothing of it lies outside of what the totals span. To find that out for
    many sums, two random directions are kept with everything that the totals span taken out of them: in both, the
    entries of those cells add up to zero, and, but by an accident of probability nil, those of no others.

    Args:
        sizes: number of answers in each cell, at least one; totals of neighbouring cells are the fastest.
        watched: sums of one to nine answers that have a name – a store's of four weeks – and so many cells that trying
            all sums may not get to them.
        deep: look at all sums of three cells where up to five hundred cells are small; else where eighty are. It takes
            up to ten times as long.
    """

    def __init__(self, sizes: Sequence[int], *, watched: Iterable[Places] = (), deep: bool = False) -> None:
        n = len(sizes)
        self._sizes: Floats = np.array(sizes, dtype=np.float64)
        # where each cell holds ten, so does each sum of some
        self._all_large = bool((self._sizes >= SUPPRESS_BELOW).all())
        self._left: Floats = np.random.default_rng(0).standard_normal((2, n))
        self._deep = deep
        self._axes: Floats = np.zeros((0, n))
        self._rank = 0
        self._reached = 0
        named = [] if self._all_large else list(watched)
        self._watched = np.concatenate([np.zeros(0, dtype=np.int64), *named])
        self._begins = np.cumsum([0, *(len(places) for places in named)])[:-1]
        # cells that occur in the same totals can never be told apart: they share a number
        self._alike = np.zeros(n, dtype=np.int64)
        self._groups = 1

    def admit(self, cells: Places) -> bool:
        """Whether the total of these cells may be published beside the others; if so, it is from now on. A total of
        nothing may; one of fewer than ten may not."""
        if self._all_large or not len(cells):
            return True
        if _is_zero(self._left[:, cells].sum(axis=1)):
            return True  # it follows from the others: who has those has this
        axis = self._beside(cells)
        seen = len(axis)
        left = self._left.copy()
        left[:, :seen] -= np.outer(self._left[:, :seen] @ axis, axis)
        alike, groups, harmless = self._split(cells)
        if not harmless and self._gives_away(left, alike):
            return False
        if self._rank == len(self._axes):
            self._axes = np.concatenate([self._axes, np.zeros((self._rank + 16, self._axes.shape[1]))])
        self._axes[self._rank, :seen] = axis
        self._rank, self._reached = self._rank + 1, seen
        self._left, self._alike, self._groups = left, alike, groups
        return True

    def _beside(self, cells: Places) -> Floats:
        """What of a total the others do not span, of length one; cells beyond its end are in none of them."""
        reached = max(self._reached, int(np.max(cells)) + 1)
        part = np.zeros(reached)
        part[cells] = 1.0
        axes = self._axes[: self._rank, : self._reached]
        for _ in range(2):  # once more, for what rounding left
            part[: self._reached] -= (axes @ part[: self._reached]) @ axes
        return part / float(np.linalg.norm(part))

    def _split(self, cells: Places) -> tuple[Integers, int, bool]:
        """The groups of cells alike, and how many they are, where one more total tells its cells from all others; and
        whether that alone shows that the total is harmless.

        A sum that it gives away holds it with a factor that is not zero, and the others in factors that are the same
        for all of a group. So the sum holds the cells of each parted group that are in the total and not those that are
        not, or the other way round: where both have ten, no sum under ten is given away. Cells of no total at all have
        a sum of others that is zero, and there the ones inside are enough.
        """
        inside = self._alike[cells]
        most = np.bincount(inside, self._sizes[cells], self._groups)
        rest = np.bincount(self._alike, self._sizes, self._groups) - most
        parted = (most > 0) & (rest > 0)
        # those of no total so far stay the first group, even when none is left
        parted[0] = most[0] > 0
        rest[0] = SUPPRESS_BELOW
        harmless = bool((parted & (most >= SUPPRESS_BELOW) & (rest >= SUPPRESS_BELOW)).any())
        numbers = np.where(parted, self._groups - 1 + np.cumsum(parted), np.arange(self._groups))
        alike = self._alike.copy()
        alike[cells] = numbers[inside]
        return alike, self._groups + int(parted.sum()), harmless

    def _gives_away(self, left: Floats, alike: Integers) -> bool:
        """Whether some sum of fewer than ten answers lies within what the totals span, given what is left of the two
        directions."""
        if len(self._begins):
            named = np.add.reduceat(left[:, self._watched], self._begins, axis=1)
            if bool(_is_zero(named).any()):
                return True
        sizes = np.bincount(alike, self._sizes)
        few = (sizes > 0) & (sizes < SUPPRESS_BELOW)
        rests: Floats = np.stack([np.bincount(alike, row) for row in left]).astype(np.float64)
        counts: Integers = sizes[few].astype(np.int64)
        return _some_sum(rests[:, few], counts, deep=self._deep)


def week_number(monday: date) -> int:
    """Weeks since a fixed Monday, for what happens every so many weeks."""
    return (monday - _ANY_MONDAY).days // 7


def mondays_known(monday: date, *, block: int) -> list[date]:
    """When the digests were told that are taken to be known, the oldest first and `monday` last: those of its block of
    so many weeks, which begins at place `block`, and of the block before.

    What was told is worked out anew for every digest. From a beginning that moves with the digest each would come to
    something else: of five new answers a week all digests would say that they are the second of two. From a fixed one
    all come to the same. At the change of blocks it is another; so what both accounts admit is told, that of two blocks
    and that of this one: any two digests of neighbouring blocks were then judged on one account.
    """
    back = (week_number(monday) - 1) % block + block
    return [monday - timedelta(weeks=weeks) for weeks in range(back, -1, -1)]


def gives_few_away(parts: Iterable[int]) -> bool:
    """Whether a total of parts with so many answers, taken with its parts of ten and more, tells one of fewer than ten.

    >>> gives_few_away([40, 4, 12]), gives_few_away([40, 4, 6]), gives_few_away([40, 0])
    (True, False, False)
    """
    return 0 < sum(n for n in parts if n < SUPPRESS_BELOW) < SUPPRESS_BELOW


def told_again(spans: Iterable[tuple[int, int]], times: Sequence[int]) -> bool:
    """Whether a total over a time that moves on may be told at the last of some times, when it was told at the others
    wherever that may be: not where one to nine who came or went since would follow.

    Args:
        spans: [from, until) of each unit: when the total counts it.
        times: when it is told, the oldest first.

    >>> told_again([(0, 9)] * 20 + [(2, 9)] * 4, [1, 2]), told_again([(0, 9)] * 20 + [(2, 9)] * 12, [1, 2])
    (False, True)
    """
    cells = Counter((bisect_left(times, start), bisect_left(times, until)) for start, until in spans)
    totals = ([cell for cell in cells if cell[0] <= place < cell[1]] for place in range(len(times)))
    return side_by_side(cells, totals)[-1]


def told_when_ten_are_new(new: Sequence[int], number: int, *, spans: Sequence[int] = (1, 3, 6, 12)) -> bool:
    """Whether a total over a time that moves on may be told at a step: where ten and more came in this step; else in
    every third, sixth, twelfth, where ten came in so many and it was told in none of those between.

    No total told before holds those who came last, and ten of them stand or fall together in any sum. So none of fewer
    follows however many are kept, and nothing older need be known.

    Args:
        new: how many came in each of the last steps, the latest last.
        number: of the latest, from a fixed one on.
        spans: steps, each a multiple of the one before.

    >>> [told_when_ten_are_new([4] * 12, number) for number in range(6)]
    [True, False, False, True, False, False]
    """
    for place, span in enumerate(spans):
        if number % span == 0 and sum(new[-span:]) >= SUPPRESS_BELOW:
            between = range(1, span)
            return not any(told_when_ten_are_new(new[:-back], number - back, spans=spans[:place]) for back in between)
    return False


def told_as_it_grows(
    recorded: Collection[Collection[tuple[Cell, int]]],
    wanted: Mapping[str, Collection[Cell]],
    times: int,
    begins: Sequence[int] = (0,),
) -> frozenset[str]:
    """Which totals may be told at the last of some times, of what is only ever added to and was told at each of them as
    far as it may be: those from which nothing under ten follows, neither by the time nor by the kind.

    Args:
        recorded: of each customer, what of which kind was recorded before which time, told from 0 on, and after the one
            before that.
        wanted: name → the kinds that a total is made of, what matters most first.
        times: how many.
        begins: the times with which an account begins; told is what all of them admit.
    """
    found = frozenset(wanted)
    for begin in begins:
        found &= _told_since(begin, recorded, wanted, times)
    return found


def _told_since(
    begin: int, recorded: Iterable[Collection[tuple[Cell, int]]], wanted: Mapping[str, Collection[Cell]], times: int
) -> frozenset[str]:
    sizes: Counter[tuple[Cell, int]] = Counter()
    known: Counter[tuple[str, int]] = Counter()
    for mine in recorded:
        cells = {(kind, max(place, begin)) for kind, place in mine}
        sizes.update(cells)
        for name, kinds in wanted.items():
            if first := [place for kind, place in cells if kind in kinds]:
                known[name, min(first)] += 1
    told: dict[tuple[str, int], list[tuple[Cell, int]]] = {}
    reached: Counter[str] = Counter()
    for place in range(begin, times):
        for name, kinds in wanted.items():
            reached[name] += known[name, place]
            if reached[name] >= SUPPRESS_BELOW:
                told[name, place] = [cell for cell in sizes if cell[0] in kinds and cell[1] <= place]
    may = dict(zip(told, side_by_side(sizes, told.values()), strict=True))
    return frozenset(name for name in wanted if may.get((name, times - 1), False))


def side_by_side(sizes: Mapping[Cell, int], totals: Iterable[Iterable[Cell]]) -> list[bool]:
    """Of each total whether it may be told beside those before it that may.

    Args:
        sizes: cell → number of answers in it.
        totals: cells whose sum is told, what matters most first.
    """
    places = {cell: place for place, cell in enumerate(cell for cell, n in sizes.items() if n > 0)}
    ledger = Ledger([sizes[cell] for cell in places])
    return [ledger.admit([places[cell] for cell in total if cell in places]) for total in totals]


def _is_zero(sums: Floats) -> npt.NDArray[np.bool_]:
    """Which of these sums vanish in both directions."""
    return np.asarray((np.abs(sums) < _ZERO).all(axis=0))


def _some_sum(rests: Floats, counts: Integers, *, deep: bool) -> bool:
    """Whether groups of fewer than ten answers together add up to nothing left.

    Args:
        rests: what is left of each group in the two directions.
        counts: the answers of each, one to nine.
        deep: as of the ledger.
    """
    order = np.argsort(rests[0])
    rests, counts = rests[:, order], counts[order]
    n = len(counts)
    if bool(_is_zero(rests).any()):
        return True
    # how many groups after each one have fewer answers than 0, 1, 2 … 10
    fewer = counts[:, None] < np.arange(SUPPRESS_BELOW + 1)
    later = fewer[::-1].cumsum(axis=0)[::-1] - fewer
    # sums of one group, then of two, three …: those of one more come from adding a later group to each
    last, sums, totals = np.arange(n), rests, counts
    while not _completed(rests, counts, last, sums, totals):
        longer = int(later[last, SUPPRESS_BELOW - totals].sum())
        if not 0 < (longer if deep else longer * n) <= _TRIED or len(last) * n > _TRIED:
            return False
        before, added = np.nonzero((last[:, None] < np.arange(n)) & (totals[:, None] + counts < SUPPRESS_BELOW))
        last, sums, totals = added, sums[:, before] + rests[:, added], totals[before] + counts[added]
    return True


def _completed(
    rests: Floats,
    counts: Integers,
    last: Integers,
    sums: Floats,
    totals: Integers,
) -> bool:
    """Whether a later group brings one of these sums to nothing, and still to fewer than ten answers. It has the
    opposite entry; groups stand in order of theirs."""
    begin = np.searchsorted(rests[0], -sums[0] - _ZERO)
    end = np.searchsorted(rests[0], -sums[0] + _ZERO, side="right")
    often = end - begin
    which = np.repeat(np.arange(len(last)), often)
    added = np.arange(len(which)) + np.repeat(begin - (np.cumsum(often) - often), often)
    small = (added > last[which]) & (totals[which] + counts[added] < SUPPRESS_BELOW)
    return bool((small & _is_zero(sums[:, which] + rests[:, added])).any())

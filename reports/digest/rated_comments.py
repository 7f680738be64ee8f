"""Which ratings of those who wrote may be told: of whom speaks of a topic, of promoters' words and detractors'.

What a comment speaks of is only known by reading it, so these numbers of closed weeks are not kept, and no account of a
year is there to be asked. What is told is safe without one. A window is told where each of its weeks might be told
alone: then it says no more than they do. Else it waits for the digests that end with a month, and is judged beside all
others of that month: no week lies in two.

Source: docs/decisions/0019-digests-side-by-side.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from typing import NamedTuple

from reports.digest.telling import EVERYBODY, Part, windows_of_comments
from reports.digest.weeks import Every, WeekRange, month_ending_by
from reports.disclosure import Ledger
from reports.metrics import SUPPRESS_BELOW


class Wrote(NamedTuple):
    """Where somebody's comment counts, and in which groups."""

    monday: date
    segment: str
    channel: str
    groups: frozenset[str]
    """Such as those who speak of a topic and rated; any names."""


class _Total(NamedTuple):
    part: Part
    group: str
    weeks: WeekRange

    def has(self, cell: Wrote) -> bool:
        """Whether a cell of the group is in it."""
        return self.weeks.first <= cell.monday < self.weeks.end and _is_of(cell, self.part)


def groups_told(
    cells: Mapping[Wrote, int], period: WeekRange, *, part: Part, audiences: Sequence[tuple[Part, Every]]
) -> Callable[[str], bool]:
    """Whether the ratings of a group of writers may be told in the digest of a period.

    Args:
        cells: customers of everybody, of the window that the digest tells and of the month that ends with it.
        period: of the digest.
        part: what it is narrowed to.
        audiences: who is told by any digest, everybody first.
    """
    (window,), _ = windows_of_comments(period)
    month = month_ending_by(period.end).weeks
    parts = dict.fromkeys(one for one, _ in audiences)
    cells = _named(cells, parts)
    alone: dict[_Total, bool] = {}
    for week in (month if month.end == period.end else window).each():
        alone |= _told(cells, [_Total(one, group, week) for group in _groups(cells, week) for one in parts])
    ending: dict[_Total, bool] = {}
    if month.end == period.end:
        ends = [
            (one, windows_of_comments(month if every == "month" else month.last(1))[0][0]) for one, every in audiences
        ]
        wanted = [_Total(one, group, weeks) for group in _groups(cells, month) for one, weeks in ends]
        ending = _told(cells, wanted, beside=[total for total, told in alone.items() if told])

    def may_tell(group: str) -> bool:
        return ending.get(_Total(part, group, window), False) or all(
            alone.get(_Total(part, group, week), True) for week in window.each()
        )

    return may_tell


def _groups(cells: Mapping[Wrote, int], weeks: WeekRange) -> list[str]:
    """Those of some weeks, the largest first."""
    counts: Counter[str] = Counter()
    for cell, n in cells.items():
        if weeks.first <= cell.monday < weeks.end:
            counts.update(dict.fromkeys(cell.groups, n))
    return sorted(counts, key=lambda group: (-counts[group], group))


def _named(cells: Mapping[Wrote, int], parts: Collection[Part]) -> Counter[Wrote]:
    """The cells with those segments and channels told apart that some digest does."""
    segments, channels = ({part[place] for part in parts} for place in (0, 1))
    named: Counter[Wrote] = Counter()
    for cell, n in cells.items():
        segment = cell.segment if cell.segment in segments else ""
        channel = cell.channel if cell.channel in channels else ""
        named[cell._replace(segment=segment, channel=channel)] += n
    return named


def _told(cells: Mapping[Wrote, int], wanted: Sequence[_Total], *, beside: Sequence[_Total] = ()) -> dict[_Total, bool]:
    """Of each total whether it may be told, beside others that are and those before it that may."""
    weeks = {total.weeks for total in (*beside, *wanted)}
    around = [cell for cell in cells if any(one.first <= cell.monday < one.end for one in weeks)]
    sizes = [cells[cell] for cell in around]
    of_group: defaultdict[str, list[int]] = defaultdict(list)
    for place, cell in enumerate(around):
        for group in cell.groups:
            of_group[group].append(place)

    @cache
    def inside(total: _Total) -> list[int]:
        return [place for place in of_group[total.group] if total.has(around[place])]

    def n(places: Iterable[int]) -> int:
        return sum(sizes[place] for place in places)

    # a week, and what is left of everybody when parts are taken away, has a name, and may have many cells
    parts = dict.fromkeys(part for part, _, _ in wanted)
    singles = [week for window in weeks for week in window.each()]
    watched: list[list[int]] = []
    for total in (
        _Total(EVERYBODY, group, window)
        for group in dict.fromkeys(group for _, group, _ in wanted)
        for window in dict.fromkeys((*(total.weeks for total in wanted), *singles))
    ):
        rests: defaultdict[Hashable, list[int]] = defaultdict(list)
        for place in inside(total):
            cell = around[place]
            names: list[Hashable] = [("not", part) for part in parts if not _is_of(cell, part)]
            names += ["all", ("in", cell.segment), ("on", cell.channel), ("at", cell.segment, cell.channel)]
            for name in names:
                rests[name].append(place)
        watched += [places for places in rests.values() if 0 < n(places) < SUPPRESS_BELOW]
    ledger = Ledger(sizes, watched=watched, deep=True)
    for total in beside:
        ledger.admit(inside(total))
    found: dict[_Total, bool] = {}
    for total in wanted:
        places = inside(total)
        found[total] = not places or (n(places) >= SUPPRESS_BELOW and ledger.admit(places))
    return found


def _is_of(cell: Wrote, part: Part) -> bool:
    return part[0] in ("", cell.segment) and part[1] in ("", cell.channel)

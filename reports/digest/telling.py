"""What may be told of a question without giving fewer than ten answers away to somebody who kept every earlier digest.

The digest of each week tells four weeks that share three with those told before: the difference of the two is one week
against another, and where all other weeks are known, one week alone. So what was told is worked out anew, week by week
from the beginning of the half year before (of comments from the beginning of the year), and a window is told only when
no sum or difference with the others is under ten. It follows from the numbers of answers alone: a digest that was never
posted, or is asked for again, gets the same reply.

Source: docs/decisions/0019-digests-side-by-side.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from reports.digest.shop import DigestRule
from reports.digest.weeks import (
    REMEMBERED_WEEKS,
    ROLLING_WEEKS,
    Every,
    WeekRange,
    month_ending_by,
    remembered,
    year_of,
)
from reports.disclosure import Ledger, Place, side_by_side, week_number
from reports.look_back import Written
from reports.metrics import CAUTION_BELOW, SUPPRESS_BELOW, InstrumentSpec, Stratum, parse_value
from storage.store import Tx

LONGEST_WEEKS: Final = 12
"""Of a window that begins before the period: the page's longest, and its line of weeks."""
YEAR_WEEKS: Final = 53
_COMMENTED_WEEKS: Final = range(1, 6)
"""How long what is told of comments may be: a month at most, and what lies of that in one of two years."""
MOST_VALUES: Final = 8
"""Segments that a page tells apart, the largest first; and channels."""

Question = tuple[str, str, str, str, str]
"""Instrument, kind of survey, touchpoint, wording and label set; of comments the language in the place of the last."""
Part = tuple[str, str]
"""Segment and channel; "" is all of them."""
EVERYBODY: Final[Part] = ("", "")
Cell = tuple[date, str, str]
"""Monday, segment and channel."""
_OTHERS: Final = -1
"""The number of those who are in none of the groups."""
Sizes = Mapping[Cell, int]
Window = tuple[Part, WeekRange]


def windows_of(week: WeekRange, n: int, *, every: Every = "week") -> Iterator[WeekRange]:
    """The windows of its part of the answers that a digest of this week, its page, and the digest of a month that ends
    with it may tell, what matters most first.

    Args:
        week: one week.
        n: its answers.
        every: "month" where there are digests of months only: then nothing, unless one ends with this week.
    """
    rolling = week.last(ROLLING_WEEKS)
    month = month_ending_by(week.end)
    months = (month.weeks, month.earlier().weeks) if month.weeks.end == week.end else ()
    if every == "month":
        if not months:
            return
        yield from months
    yield from (week, rolling) if n >= CAUTION_BELOW else (rolling, week)
    yield from (week.before(1), week.before(ROLLING_WEEKS), rolling.before(ROLLING_WEEKS))
    yield from months
    yield from (week.before(back).first_week() for back in range(2, LONGEST_WEEKS))
    yield week.last(LONGEST_WEEKS)


def windows_of_part(week: WeekRange) -> Iterator[WeekRange]:
    """Those of a segment or a channel on its page."""
    yield from (week, week.last(ROLLING_WEEKS), week.last(LONGEST_WEEKS))
    month = month_ending_by(week.end)
    if month.weeks.end == week.end:
        yield month.weeks
    yield from (week.before(back).first_week() for back in range(1, LONGEST_WEEKS))


def windows_of_comments(period: WeekRange) -> tuple[tuple[WeekRange, ...], ...]:
    """What a digest of a period tells of comments, what matters most first: the window of their topics; and the four
    weeks and the week in which topics and words grew."""
    week = period.last(1)
    return (period.last(max(ROLLING_WEEKS, period.weeks)),), (week.before(ROLLING_WEEKS), week)


def parts_of(week: WeekRange, sizes: Sizes) -> list[Part]:
    """The segments and the channels that the page of a week tells apart, by size; one alone is everybody once more.

    Args:
        week: the last week of the page.
        sizes: cell → answers to all questions.
    """
    page = week.last(LONGEST_WEEKS)
    first, end = page.first, page.end
    found: list[Part] = []
    for place in (1, 2):
        counts: Counter[str] = Counter()
        for cell, n in sizes.items():
            if first <= cell[0] < end and n:
                counts[str(cell[place])] += n
        if len(counts) > 1:
            largest = sorted(counts, key=lambda value: (-counts[value], value))
            found += [(value, "") if place == 1 else ("", value) for value in largest if value][:MOST_VALUES]
    return found


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told of a part of the answers, digest after digest."""

    part: Part
    every: Every
    pages: Mapping[WeekRange, Sequence[Window]]
    """Week of a digest → what its page tells of smaller parts."""


def audience(
    end: date, parts: Callable[[WeekRange], Iterable[Part]], *, part: Part = EVERYBODY, every: Every = "week"
) -> Audience:
    """Those who get the scores of half a year.

    Args:
        end: the Monday after the last week.
        parts: the segments and channels that the page of a week tells apart.
        part: what their digests are narrowed to.
        every: "month" where they get those of months only.
    """
    found: dict[WeekRange, list[Window]] = {}
    for week in remembered(end):
        if every == "month" and month_ending_by(week.end).weeks.end != week.end:
            continue
        windows = list(windows_of_part(week))
        found[week] = [(one, window) for one in parts(week) for window in windows]
    return Audience(part, every, found)


def _audiences(digests: Iterable[DigestRule], touchpoint: str) -> list[tuple[Part, Every]]:
    """Who is told of the questions of a touchpoint: everybody, whether there is such a digest or not, then the others
    in the order of koe.yaml."""
    mine = [((one.segment, one.channel), one.every) for one in digests if one.touchpoint in ("", touchpoint)]
    return list(dict.fromkeys([(EVERYBODY, "week"), *mine]))


class Told(NamedTuple):
    """What became of the windows of a question."""

    may: frozenset[Window]
    """What may be told."""
    known: frozenset[Window]
    """What is taken to be known: all of this, and what digests may have told before that may not be told again."""


def told_until(end: date, sizes: Sizes, audiences: Sequence[Audience]) -> Told:
    """What may be told of a question up to the last of some digests.

    Args:
        end: the Monday after the last week.
        sizes: cell → answers, of the weeks that are remembered and LONGEST_WEEKS before.
        audiences: those who are told, in the order in which it matters: everybody's first. Somebody may read what is
            meant for all of them.
    """
    grid = _Grid(sizes)

    def wanted(weeks: Iterable[WeekRange]) -> Iterator[Window]:
        for week in weeks:
            for told in audiences:
                n = grid.inside(told.part, week)[1]
                yield from ((told.part, window) for window in windows_of(week, n, every=told.every))
            for told in audiences:
                yield from told.pages.get(week, ())

    return _told_on_both(grid, wanted, end)


def _told_on_both(grid: _Grid, wanted: Callable[[Iterable[WeekRange]], Iterable[Window]], end: date) -> Told:
    """What both accounts of the digests that are remembered admit."""
    weeks, watched = remembered(end), list(grid.named_sums())
    judged = _judged(grid, wanted(weeks), Ledger(grid.sizes, watched=watched))
    known = frozenset(window for window, may in judged.items() if may)
    lately = _judged(grid, wanted(weeks[REMEMBERED_WEEKS:]), Ledger(grid.sizes, watched=watched))
    return Told(frozenset(window for window in known if lately.get(window, True)), known)


def comments_told_until(end: date, sizes: Sizes, audiences: Sequence[tuple[Part, Every]]) -> Callable[[Window], bool]:
    """Whether a window of comments may be told in a digest at the end of some weeks, or was in the weeks before.

    Each year has an account of its own, from its first digest on, so no digest is ever forgotten. A window with weeks
    of two years is told when, on either account, its weeks of that year may be: no cell is on both accounts, so that
    whatever sum follows has a part of either year that follows, too.

    Args:
        end: the Monday after the last week.
        sizes: cell → customers who wrote, of `weeks_of_comments`.
        audiences: those who are told, in the order in which it matters.
    """
    years: dict[WeekRange, tuple[_Grid, frozenset[Window]]] = {}
    for year in dict.fromkeys(map(year_of, (_oldest_comment(end), end - timedelta(weeks=1)))):
        grid = _Grid({cell: n for cell, n in sizes.items() if year.first <= cell[0] < year.end})
        watched = [*grid.named_sums(_COMMENTED_WEEKS), *grid.rests([part for part, _ in audiences], _COMMENTED_WEEKS)]
        ledger = Ledger(grid.sizes, watched=watched, deep=True)
        judged = _judged(grid, _comments_wanted(year, end, audiences), ledger)
        years[year] = grid, frozenset(window for window, may in judged.items() if may)

    def may_tell(window: Window) -> bool:
        part, weeks = window
        found = [
            (grid.inside(part, inside)[1], (part, inside) in told)
            for year, (grid, told) in years.items()
            if (inside := weeks.within(year)).weeks
        ]
        return sum(n for n, _ in found) >= SUPPRESS_BELOW and all(told or not n for n, told in found)

    return may_tell


def _comments_wanted(year: WeekRange, end: date, audiences: Sequence[tuple[Part, Every]]) -> Iterator[Window]:
    """What digests up to a Monday tell of a year's comments. That something grew is taken to be told each week."""
    last = min(end, year.end + timedelta(weeks=ROLLING_WEEKS))
    for back in range((last - year.first).days // 7 - 1, -1, -1):
        week = WeekRange(last - timedelta(weeks=back + 1), 1)
        for part, every in audiences:
            period = week if every == "week" else month_ending_by(week.end).weeks
            if period.end == week.end:
                for row in windows_of_comments(period):
                    yield from ((part, inside) for window in row if (inside := window.within(year)).weeks)


def may_tell_year(end: date, sizes: Mapping[date, int]) -> bool:
    """Whether what is known of the customers of a year may be told at the end of it: not while fewer than ten of them
    have said anything since it was told last.

    Args:
        end: a Monday.
        sizes: Monday → customers whose latest answer is of that week.
    """
    grid = _Grid({(monday, "", ""): n for monday, n in sizes.items()})

    def years(weeks: Iterable[WeekRange]) -> Iterator[Window]:
        return ((EVERYBODY, week.last(YEAR_WEEKS)) for week in weeks)

    return (EVERYBODY, WeekRange(end, 0).before(YEAR_WEEKS)) in _told_on_both(grid, years, end).may


def _judged(grid: _Grid, wanted: Iterable[Window], ledger: Ledger) -> dict[Window, bool]:
    """Whether each window may be told: it is judged when a digest first wants it."""
    judged: dict[Window, bool] = {}
    for told in wanted:
        if told not in judged:
            cells, n = grid.inside(*told)
            judged[told] = n >= SUPPRESS_BELOW and ledger.admit(cells)
    return judged


class _Grid:
    """The answers of one question by week, segment and channel: its cells that hold any, the oldest first.

    Args:
        sizes: cell → answers.
    """

    def __init__(self, sizes: Sizes) -> None:
        cells = sorted(cell for cell, n in sizes.items() if n > 0)
        self.sizes = [sizes[cell] for cell in cells]
        self._first = cells[0][0] if cells else date.min
        weeks = [(cell[0] - self._first).days // 7 for cell in cells]
        self._weeks = weeks[-1] + 1 if weeks else 0
        self._asked = sorted(set(weeks))
        found: defaultdict[Part, list[int]] = defaultdict(list)
        for place, (_, segment, channel) in enumerate(cells):
            for part in {EVERYBODY, (segment, ""), ("", channel), (segment, channel)}:
                found[part].append(place)
        self._parts: dict[Part, tuple[npt.NDArray[np.int64], list[int], list[int]]] = {}
        for part, places in found.items():
            # of each week, where it begins among the part's cells, and how many answers came before it
            begins = np.searchsorted([weeks[place] for place in places], range(self._weeks + 1))
            before = np.cumsum([0, *(self.sizes[place] for place in places)])[begins]
            self._parts[part] = np.array(places), begins.tolist(), before.tolist()

    def inside(self, part: Part, window: WeekRange) -> tuple[npt.NDArray[np.int64], int]:
        """The cells of a window, by their places, and their answers."""
        begin = (window.first - self._first).days // 7
        return self._between(part, begin, begin + window.weeks)

    def _between(self, part: Part, begin: int, end: int) -> tuple[npt.NDArray[np.int64], int]:
        begin, end = min(max(begin, 0), self._weeks), min(max(end, 0), self._weeks)
        if part not in self._parts:
            return np.zeros(0, dtype=np.int64), 0
        places, begins, before = self._parts[part]
        return places[begins[begin] : begins[end]], before[end] - before[begin]

    def rests(self, parts: Iterable[Part], lengths: Collection[int]) -> Iterator[npt.NDArray[np.int64]]:
        """What is left of everybody in each window of so many weeks when a part is taken away, with one to nine answers
        in several cells."""
        for part in parts:
            for week in self._asked:
                for weeks in lengths:
                    (places, n), (inside, taken) = (self._between(one, week, week + weeks) for one in (EVERYBODY, part))
                    if 0 < n - taken < SUPPRESS_BELOW and len(places) > len(inside) + 1:
                        yield np.setdiff1d(places, inside)

    def named_sums(
        self, lengths: Collection[int] = (1, ROLLING_WEEKS, LONGEST_WEEKS)
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Each segment, channel, and segment's channel, of each window of so many weeks, with one to nine answers in
        several cells."""
        for part in self._parts:
            for week in self._asked:
                for weeks in lengths:
                    places, n = self._between(part, week, week + weeks)
                    if n < SUPPRESS_BELOW and len(places) > 1:
                        yield places


class Telling:
    """Which windows of which question may be told in one digest, beside all digests of the shop.

    Args:
        tx: a reading transaction.
        specs: instrument → how it is scored.
        rule: what the digest is narrowed to.
        end: the Monday after its last week.
        digests: all digests of the shop; the digest itself need not be among them.
    """

    def __init__(
        self,
        tx: Tx,
        specs: Mapping[str, InstrumentSpec],
        rule: DigestRule,
        end: date,
        *,
        digests: Iterable[DigestRule] = (),
    ) -> None:
        first = remembered(end)[0].before(LONGEST_WEEKS).first
        self._part: Part = (rule.segment, rule.channel)
        self._sizes: defaultdict[Question, Counter[Cell]] = defaultdict(Counter)
        self._last = WeekRange(end, 0).before(1)
        everything: Counter[Cell] = Counter()
        valid = cache(lambda name, value: parse_value(specs[name], value).kind == "valid")
        day_of = cache(date.fromisoformat)
        for cell in tx.rollup(first.isoformat(), (end - timedelta(weeks=1)).isoformat()):
            if cell.instrument in specs and not cell.missing and valid(cell.instrument, cell.value):
                key = (day_of(cell.week), cell.segment, cell.channel)
                question = (cell.instrument, cell.survey_kind, cell.touchpoint, cell.wording_id, cell.label_set)
                self._sizes[question][key] += cell.customers
                everything[key] += cell.customers
                if specs[cell.instrument].item is not None:
                    # an index is made of all wordings of its items
                    self._sizes[(*question[:3], "", "")][key] += cell.customers

        @cache
        def inside(part: Part) -> Sizes:
            return {cell: n for cell, n in everything.items() if _has(part, cell)}

        @cache
        def parts(part: Part, week: WeekRange) -> list[Part]:
            return [_narrowed(part, one) for one in parts_of(week, inside(part))]

        @cache
        def told_to(part: Part, every: Every) -> Audience:
            return audience(end, lambda week: parts(part, week), part=part, every=every)

        named = (*digests, rule)

        @cache
        def told(question: Question) -> Told:
            return told_until(end, self._sizes[question], [told_to(*one) for one in _audiences(named, question[2])])

        self._parts: Callable[[Part, WeekRange], list[Part]] = parts
        self._told: Callable[[Question], Told] = told

    def may_tell(self, instrument: str, stratum: Stratum, window: WeekRange, *, part: Part = EVERYBODY) -> bool:
        """Whether the answers of a window may be told as one number: those the digest is about, or a part of them."""
        return (_narrowed(self._part, part), window) in self._told(_question(instrument, stratum)).may

    def may_tell_beside(self, groups: Sequence[Mapping[Place, int]]) -> list[bool]:
        """Of each group of answers, such as those of an arm, whether they may be told as one number: beside all windows
        that are told up to the end and those that later digests may tell of the weeks up to it, and beside the groups
        before it that may.

        Args:
            groups: where the answers of each count; no answer is in two of them.
        """
        inside: Counter[Place] = sum(map(Counter, groups), Counter())
        sizes: Counter[tuple[Place, int]] = Counter(
            {(place, number): n for number, group in enumerate(groups) for place, n in group.items()}
        )
        totals: list[list[tuple[Place, int]]] = []
        for question in sorted({place[:5] for place in inside}):
            answers, told = self._sizes[question], self._told(question).known
            cells: dict[Cell, list[tuple[Place, int]]] = {}
            for where, n in answers.items():
                place = Place(*question, *where)
                sizes[place, _OTHERS] = max(0, n - inside[place])
                cells[where] = [(place, number) for number in range(_OTHERS, len(groups))]
            parts = {part for part, _ in told} | {EVERYBODY}
            weekly: dict[Part, defaultdict[date, list[tuple[Place, int]]]] = {}
            for part in parts:
                weekly[part] = defaultdict(list)
                for where, found in cells.items():
                    if _has(part, where):
                        weekly[part][where[0]] += found
            in_order = sorted(told, key=lambda of: (of[0], of[1].first, of[1].weeks))
            for part, window in (*in_order, *_told_later(parts, self._last.end)):
                mine = weekly[part]
                totals.append([cell for week in window.each() for cell in mine.get(week.first, ())])
        wanted = [[(place, number) for place in group] for number, group in enumerate(groups)]
        return side_by_side(sizes, [*totals, *wanted])[len(totals) :]

    def may_tell_split(self, groups: Sequence[Mapping[Place, int]], window: WeekRange) -> bool:
        """Whether the answers to a question in the last weeks may be told group by group, digest after digest, when
        the groups – who answered early, in which language – are none that windows are told of.

        They are when each group, and the rest, holds ten in the newest week. No window told before has that week: a
        sum of fewer than ten would have to leave it out, and with it the whole window. Otherwise once in so many weeks
        as the window has, where none of these was told in that way: then such windows have no week in common.

        Args:
            groups: as for `may_tell_beside`.
            window: the weeks they are of.
        """
        full = [self._is_full(groups, week.first) for week in window.each()]
        once = not any(full) and week_number(window.end) % window.weeks == 0
        return (full[-1] or once) and all(self.may_tell_beside(groups))

    def _is_full(self, groups: Sequence[Mapping[Place, int]], monday: date) -> bool:
        found = [sum(n for place, n in group.items() if place.monday == monday) for group in groups]
        asked = {place[:5] for group in groups for place in group}
        answered = sum(n for question in asked for cell, n in self._sizes[question].items() if cell[0] == monday)
        rest = answered - sum(found)
        return min(found, default=0) >= SUPPRESS_BELOW and not 0 < rest < SUPPRESS_BELOW

    def parts(self) -> list[Part]:
        """The segments and channels that the page tells apart; of a digest of one segment, its channels."""
        segment, channel = self._part
        return [("" if segment else one[0], "" if channel else one[1]) for one in self._parts(self._part, self._last)]

    def may_tell_items(self, instruments: Collection[str], stratum: Stratum, window: WeekRange) -> bool:
        """Whether what is made of several questions of one touchpoint, in all their wordings, may be told: where the
        one that was answered most may be."""
        most, asked = 0, ("", "", "", "", "")
        for name in sorted(instruments):
            question = (name, stratum.survey_kind, stratum.touchpoint, "", "")
            n = sum(
                n
                for cell, n in self._sizes[question].items()
                if window.first <= cell[0] < window.end and _has(self._part, cell)
            )
            most, asked = max((most, asked), (n, question))
        return (self._part, window) in self._told(asked).may


class TellingOfComments:
    """Which windows of the comments on a question may be told in one digest, beside all digests of the shop.

    Args:
        written: the weeks of `weeks_of_comments` with the customers who wrote in each.
        rule: what the digest is narrowed to.
        period: the weeks of the digest.
        digests: all digests of the shop; the digest itself need not be among them.
    """

    def __init__(
        self,
        written: Iterable[tuple[date, Mapping[Written, int]]],
        rule: DigestRule,
        period: WeekRange,
        *,
        digests: Iterable[DigestRule] = (),
    ) -> None:
        self._part: Part = (rule.segment, rule.channel)
        self._period = period
        sizes: defaultdict[Question, Counter[Cell]] = defaultdict(Counter)
        for monday, customers in written:
            for where, n in customers.items():
                question = (where.instrument, where.survey_kind, where.touchpoint, where.wording_id, where.lang)
                sizes[question][monday, where.segment, where.channel] += n
        self._digests = (*digests, rule)

        @cache
        def told(question: Question) -> Callable[[Window], bool]:
            return comments_told_until(period.end, sizes[question], self.audiences(question[2]))

        self._told: Callable[[Question], Callable[[Window], bool]] = told

    def may_tell(self, instrument: str, stratum: Stratum) -> tuple[bool, bool]:
        """Whether the topics of the digest's window may be told, and those of its last week beside the four weeks
        before."""
        told = self._told((instrument, stratum.survey_kind, stratum.touchpoint, stratum.wording_id, stratum.lang))
        window, grown = (all(told((self._part, one)) for one in row) for row in windows_of_comments(self._period))
        return window, grown

    def audiences(self, touchpoint: str) -> list[tuple[Part, Every]]:
        """Who is told of the comments at a touchpoint, everybody first."""
        return _audiences(self._digests, touchpoint)


def weeks_of_comments(end: date) -> WeekRange:
    """The weeks of which comments are counted to know what may be told of them up to a Monday: from the beginning of
    the year in which the oldest comments of the last digest were written."""
    first = year_of(_oldest_comment(end)).first
    return WeekRange(first, (end - first).days // 7)


def _oldest_comment(end: date) -> date:
    return end - timedelta(weeks=ROLLING_WEEKS + 1)


def _told_later(parts: set[Part], end: date) -> Iterator[tuple[Part, WeekRange]]:
    """What later digests tell of the weeks up to a Monday, once the weeks that follow are known."""
    yield from ((part, WeekRange(end, 0).before(weeks)) for part in sorted(parts) for weeks in range(1, LONGEST_WEEKS))


def _has(part: Part, cell: Cell) -> bool:
    return part[0] in ("", cell[1]) and part[1] in ("", cell[2])


def _narrowed(part: Part, within: Part) -> Part:
    """A part of a part."""
    return part[0] or within[0], part[1] or within[1]


def _question(instrument: str, stratum: Stratum) -> Question:
    return instrument, stratum.survey_kind, stratum.touchpoint, stratum.wording_id, stratum.label_set

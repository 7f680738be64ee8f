"""What may be told of a question without giving fewer than ten answers away to somebody who kept every earlier digest.

The digest of each week tells four weeks that share three with those told before: the difference of the two is one week
against another, and where all other weeks are known, one week alone. So what was told is worked out anew, week by week
from half a year ago, and a window is told only when no sum or difference with the others is under ten. It follows from
the numbers of answers alone: a digest that was never posted, or is asked for again, gets the same reply.

Source: docs/decisions/0019-digests-side-by-side.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Final

from reports.digest.shop import DigestRule
from reports.digest.weeks import ROLLING_WEEKS, WeekRange, month_ending_by
from reports.disclosure import Ledger
from reports.metrics import CAUTION_BELOW, SUPPRESS_BELOW, InstrumentSpec, Stratum, parse_value
from storage.store import Tx

REMEMBERED_WEEKS: Final = 26
"""Digests this long ago are taken to be known."""
LONGEST_WEEKS: Final = 12
"""Of a window that begins before the period: the page's longest, and its line of weeks."""
YEAR_WEEKS: Final = 53
MOST_VALUES: Final = 8
"""Segments that a page tells apart, the largest first; and channels."""

Question = tuple[str, str, str, str, str]
"""Instrument, kind of survey, touchpoint, wording and label set."""
Part = tuple[str, str]
"""Segment and channel; "" is all of them."""
EVERYBODY: Final[Part] = ("", "")
Cell = tuple[date, str, str]
"""Monday, segment and channel."""
Sizes = Mapping[Cell, int]


def windows_of(week: WeekRange, n: int) -> Iterator[WeekRange]:
    """The windows of everybody that a digest of this week, its page, and the digest of a month that ends with it may
    tell, what matters most first.

    Args:
        week: one week.
        n: its answers.
    """
    rolling = week.last(ROLLING_WEEKS)
    yield from (week, rolling) if n >= CAUTION_BELOW else (rolling, week)
    yield from (week.before(1), week.before(ROLLING_WEEKS), rolling.before(ROLLING_WEEKS))
    month = month_ending_by(week.end)
    if month.weeks.end == week.end:
        yield from (month.weeks, month.earlier().weeks)
    yield from (week.before(back).first_week() for back in range(2, LONGEST_WEEKS))
    yield week.last(LONGEST_WEEKS)


def windows_of_part(week: WeekRange) -> Iterator[WeekRange]:
    """Those of a segment or a channel on its page."""
    yield from (week, week.last(ROLLING_WEEKS), week.last(LONGEST_WEEKS))
    month = month_ending_by(week.end)
    if month.weeks.end == week.end:
        yield month.weeks
    yield from (week.before(back).first_week() for back in range(1, LONGEST_WEEKS))


def parts_of(week: WeekRange, sizes: Sizes) -> list[Part]:
    """The segments and the channels that the page of a week tells apart, by size; one alone is everybody once more.

    Args:
        week: the last week of the page.
        sizes: cell → answers to all questions.
    """
    page = week.last(LONGEST_WEEKS)
    found: list[Part] = []
    for place in (1, 2):
        counts: Counter[str] = Counter()
        for cell, n in sizes.items():
            if page.first <= cell[0] < page.end and n:
                counts[str(cell[place])] += n
        if len(counts) > 1:
            largest = sorted(counts, key=lambda value: (-counts[value], value))
            found += [(value, "") if place == 1 else ("", value) for value in largest if value][:MOST_VALUES]
    return found


def told_until(
    end: date, sizes: Sizes, *, parts: Callable[[WeekRange], Iterable[Part]] = lambda _: ()
) -> frozenset[tuple[Part, WeekRange]]:
    """What may be told of a question up to the digest of the week that ends before `end`.

    Args:
        end: a Monday.
        sizes: cell → answers, of REMEMBERED_WEEKS + LONGEST_WEEKS weeks.
        parts: the segments and channels that the page of a week tells apart.
    """
    totals = _by_week(sizes)

    def wanted(week: WeekRange) -> Iterator[tuple[Part, WeekRange]]:
        n = sum(count for _, count in totals.get(week.first, ()))
        yield from ((EVERYBODY, window) for window in windows_of(week, n))
        yield from ((part, window) for part in parts(week) for window in windows_of_part(week))

    return _replayed(end, sizes, wanted)


def may_tell_year(end: date, sizes: Mapping[date, int]) -> bool:
    """Whether what is known of the customers of a year may be told at the end of it: not while fewer than ten of them
    have said anything since it was told last.

    Args:
        end: a Monday.
        sizes: Monday → customers whose latest answer is of that week.
    """
    cells = {(monday, "", ""): n for monday, n in sizes.items()}
    told = _replayed(end, cells, lambda week: [(EVERYBODY, week.last(YEAR_WEEKS))])
    return (EVERYBODY, WeekRange(end, 0).before(YEAR_WEEKS)) in told


def _replayed(
    end: date, sizes: Sizes, wanted: Callable[[WeekRange], Iterable[tuple[Part, WeekRange]]]
) -> frozenset[tuple[Part, WeekRange]]:
    """What was told, week by week: each window is judged when a digest first wants it."""
    by_week = _by_week(sizes)
    ledger = Ledger(sizes, watched=_named_sums(by_week))
    judged: dict[tuple[Part, WeekRange], bool] = {}
    for back in range(REMEMBERED_WEEKS - 1, -1, -1):
        for part, window in wanted(WeekRange(end - timedelta(weeks=back + 1), 1)):
            if (part, window) not in judged:
                mondays = (window.first + timedelta(weeks=later) for later in range(window.weeks))
                inside = [
                    (cell, n)
                    for monday in mondays
                    for cell, n in by_week.get(monday, ())
                    if part[0] in ("", cell[1]) and part[1] in ("", cell[2])
                ]
                enough = sum(n for _, n in inside) >= SUPPRESS_BELOW
                judged[part, window] = enough and ledger.admit(cell for cell, _ in inside)
    return frozenset(told for told, may in judged.items() if may)


def _named_sums(by_week: Mapping[date, Sequence[tuple[Cell, int]]]) -> Iterator[list[Cell]]:
    """Each segment, channel, and segment's channel, of each week, four weeks and twelve."""
    for monday in by_week:
        for weeks in (1, ROLLING_WEEKS, LONGEST_WEEKS):
            parts: defaultdict[Part, list[Cell]] = defaultdict(list)
            for later in range(weeks):
                for cell, _ in by_week.get(monday + timedelta(weeks=later), ()):
                    for part in {EVERYBODY, (cell[1], ""), ("", cell[2]), (cell[1], cell[2])}:
                        parts[part].append(cell)
            yield from parts.values()


def _by_week(sizes: Sizes) -> dict[date, list[tuple[Cell, int]]]:
    found: dict[date, list[tuple[Cell, int]]] = {}
    for cell, n in sizes.items():
        found.setdefault(cell[0], []).append((cell, n))
    return found


class Telling:
    """Which windows of which question may be told in one digest.

    Args:
        tx: a reading transaction.
        specs: instrument → how it is scored.
        rule: what the digest is narrowed to.
        end: the Monday after its last week.
    """

    def __init__(self, tx: Tx, specs: Mapping[str, InstrumentSpec], rule: DigestRule, end: date) -> None:
        first = end - timedelta(weeks=REMEMBERED_WEEKS + LONGEST_WEEKS)
        self._sizes: defaultdict[Question, Counter[Cell]] = defaultdict(Counter)
        self._last = WeekRange(end, 0).before(1)
        everything: Counter[Cell] = Counter()
        valid = cache(lambda name, value: parse_value(specs[name], value).kind == "valid")
        for cell in tx.rollup(first.isoformat(), (end - timedelta(weeks=1)).isoformat()):
            inside = rule.segment in ("", cell.segment) and rule.channel in ("", cell.channel)
            if inside and cell.instrument in specs and not cell.missing and valid(cell.instrument, cell.value):
                key = (date.fromisoformat(cell.week), cell.segment, cell.channel)
                question = (cell.instrument, cell.survey_kind, cell.touchpoint, cell.wording_id, cell.label_set)
                self._sizes[question][key] += cell.customers
                everything[key] += cell.customers
                if specs[cell.instrument].item is not None:
                    # an index is made of all wordings of its items
                    self._sizes[(*question[:3], "", "")][key] += cell.customers
        self._parts: Callable[[WeekRange], list[Part]] = cache(lambda week: parts_of(week, everything))
        self._told: Callable[[Question], frozenset[tuple[Part, WeekRange]]] = cache(
            lambda question: told_until(end, self._sizes[question], parts=self._parts)
        )

    def may_tell(self, instrument: str, stratum: Stratum, window: WeekRange, *, part: Part = EVERYBODY) -> bool:
        """Whether the answers of a window may be told as one number."""
        return (part, window) in self._told(_question(instrument, stratum))

    def parts(self) -> list[Part]:
        """The segments and channels that the page tells apart."""
        return self._parts(self._last)

    def may_tell_items(self, instruments: Collection[str], stratum: Stratum, window: WeekRange) -> bool:
        """Whether what is made of several questions of one touchpoint, in all their wordings, may be told: where the
        one that was answered most may be."""
        most, asked = 0, ("", "", "", "", "")
        for name in sorted(instruments):
            question = (name, stratum.survey_kind, stratum.touchpoint, "", "")
            n = sum(n for cell, n in self._sizes[question].items() if window.first <= cell[0] < window.end)
            most, asked = max((most, asked), (n, question))
        return (EVERYBODY, window) in self._told(asked)


def _question(instrument: str, stratum: Stratum) -> Question:
    return instrument, stratum.survey_kind, stratum.touchpoint, stratum.wording_id, stratum.label_set

"""What may be told of a question without giving fewer than ten answers away to somebody who kept every earlier digest.

The digest of each week tells four weeks that share three with those told before: the difference of the two is one week
against another, and where all other weeks are known, one week alone. So what was told is worked out anew, week by week
from half a year ago, and a window is told only when no sum or difference with the others is under ten. It follows from
the numbers of answers alone: a digest that was never posted, or is asked for again, gets the same reply.

Source: docs/decisions/0019-digests-side-by-side.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from functools import cache
from typing import Final

from reports.digest.shop import DigestRule
from reports.digest.weeks import ROLLING_WEEKS, WeekRange, month_ending_by
from reports.disclosure import Ledger
from reports.metrics import CAUTION_BELOW, SUPPRESS_BELOW, InstrumentSpec, Stratum, parse_value
from storage.records import RollupCell
from storage.store import Tx

REMEMBERED_WEEKS: Final = 26
"""Digests this long ago are taken to be known."""
LONGEST_WEEKS: Final = 12
"""Of a window that begins before the period: the page's longest, and its line of weeks."""

Question = tuple[str, str, str, str, str]
"""Instrument, kind of survey, touchpoint, wording and label set."""
Part = tuple[str, str]
"""Segment and channel; "" is all of them."""


def windows_of(week: WeekRange, sizes: Mapping[date, int]) -> Iterator[WeekRange]:
    """The windows that a digest of this week, its page, and the digest of a month that ends with it may tell, what
    matters most first.

    Args:
        week: one week.
        sizes: Monday → answers.
    """
    rolling = week.last(ROLLING_WEEKS)
    yield from (week, rolling) if sizes.get(week.first, 0) >= CAUTION_BELOW else (rolling, week)
    yield from (week.before(1), week.before(ROLLING_WEEKS), rolling.before(ROLLING_WEEKS))
    month = month_ending_by(week.end)
    if month.weeks.end == week.end:
        yield from (month.weeks, month.earlier().weeks)
    yield from (week.before(back).first_week() for back in range(2, LONGEST_WEEKS))
    yield week.last(LONGEST_WEEKS)


def told_until(end: date, sizes: Mapping[date, int]) -> frozenset[WeekRange]:
    """The windows that may be told up to the digest of the week that ends before `end`.

    Args:
        end: a Monday.
        sizes: Monday → answers, of REMEMBERED_WEEKS + LONGEST_WEEKS weeks.
    """
    ledger = Ledger(sizes)
    told: set[WeekRange] = set()
    for back in range(REMEMBERED_WEEKS - 1, -1, -1):
        for window in windows_of(WeekRange(end - timedelta(weeks=back + 1), 1), sizes):
            mondays = [window.first + timedelta(weeks=later) for later in range(window.weeks)]
            enough = sum(sizes.get(monday, 0) for monday in mondays) >= SUPPRESS_BELOW
            if window not in told and enough and ledger.admit(mondays):
                told.add(window)
    return frozenset(told)


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
        self._sizes: defaultdict[tuple[Question, Part], Counter[date]] = defaultdict(Counter)
        valid = cache(lambda name, value: parse_value(specs[name], value).kind == "valid")
        for cell in tx.rollup(first.isoformat(), (end - timedelta(weeks=1)).isoformat()):
            inside = rule.segment in ("", cell.segment) and rule.channel in ("", cell.channel)
            if inside and cell.instrument in specs and not cell.missing and valid(cell.instrument, cell.value):
                monday = date.fromisoformat(cell.week)
                for part in {("", ""), (cell.segment, ""), ("", cell.channel)}:
                    self._sizes[_question(cell), part][monday] += cell.customers
        self._told: Callable[[Question, Part], frozenset[WeekRange]] = cache(
            lambda question, part: told_until(end, self._sizes[question, part])
        )

    def may_tell(
        self, instrument: str, stratum: Stratum, window: WeekRange, *, segment: str = "", channel: str = ""
    ) -> bool:
        """Whether the answers of a window may be told as one number."""
        question = (instrument, stratum.survey_kind, stratum.touchpoint, stratum.wording_id, stratum.label_set)
        return window in self._told(question, (segment, channel))


def _question(cell: RollupCell) -> Question:
    return cell.instrument, cell.survey_kind, cell.touchpoint, cell.wording_id, cell.label_set

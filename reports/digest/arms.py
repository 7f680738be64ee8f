"""The arms of an A/B test beside the scores of everybody: what all answered, less what the arms did, is what a handful
of others said.

Source: docs/decisions/0019-digests-side-by-side.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from flows.experiments import RESPONSE_RATE
from reports.digest.shop import DigestRule
from reports.digest.telling import EVERYBODY, LONGEST_WEEKS, Part, Telling
from reports.digest.weeks import WeekRange
from reports.disclosure import side_by_side
from reports.event_tables import local_date
from reports.experiments import ExperimentReport, Place
from reports.metrics import InstrumentSpec, Stratum
from storage.store import Tx


class _Cell(NamedTuple):
    place: Place
    arm: str
    """"" for answers outside of the experiment."""


def beside_everybody(
    tx: Tx,
    report: ExperimentReport,
    *,
    specs: Mapping[str, InstrumentSpec],
    tz: ZoneInfo,
    digests: Iterable[DigestRule] = (),
) -> ExperimentReport:
    """The report with its verdict alone where the scores of its arms, and without response rates where these, would
    give fewer than ten others away. It is judged as of the week of its data, so each digest comes to the same."""
    if report.state not in ("look", "decided"):
        return report
    last = local_date(report.until_ms - 1, tz)
    end = last - timedelta(days=last.weekday()) + timedelta(weeks=1)
    if report.spec is not None and not _may_tell_scores(tx, report, specs, end, digests=digests):
        report = report.without_scores()
    if not report.response_hidden and not _may_tell_responses(tx, report, tz):
        report = report.without_response("sibling")
        if report.trial.metric == RESPONSE_RATE:
            report = report.without_scores()
    return report


def _may_tell_scores(
    tx: Tx,
    report: ExperimentReport,
    specs: Mapping[str, InstrumentSpec],
    end: date,
    *,
    digests: Iterable[DigestRule],
) -> bool:
    telling = Telling(tx, specs, DigestRule("everybody"), end, digests=digests)
    sizes: Counter[_Cell] = Counter({_Cell(place, arm.id): n for arm in report.arms for place, n in arm.places.items()})
    arms = [[_Cell(place, arm.id) for place in arm.places] for arm in report.arms]
    inside: Counter[Place] = sum((Counter(arm.places) for arm in report.arms), Counter())
    totals: list[list[_Cell]] = []
    for question in sorted({place[:5] for place in inside}):
        instrument, *stratum = question
        answers, told = telling.told(instrument, Stratum(*stratum))
        cells: dict[tuple[date, str, str], list[_Cell]] = {}
        for where, n in answers.items():
            place = Place(*question, *where)
            sizes[_Cell(place, "")] = max(0, n - inside[place])
            cells[where] = [_Cell(place, name) for name in ("", *(arm.id for arm in report.arms))]
        parts = {part for part, _ in told} | {EVERYBODY}
        in_order = sorted(told, key=lambda of: (of[0], of[1].first, of[1].weeks))
        for part, window in (*in_order, *_told_later(parts, end)):
            totals.append(
                [
                    cell
                    for (monday, segment, channel), found in cells.items()
                    if window.first <= monday < window.end and part[0] in ("", segment) and part[1] in ("", channel)
                    for cell in found
                ]
            )
    return all(side_by_side(sizes, [*totals, *arms])[len(totals) :])


def _told_later(parts: set[Part], end: date) -> Iterator[tuple[Part, WeekRange]]:
    """What later digests tell of the weeks up to now, once the weeks that follow are known."""
    yield from ((part, WeekRange(end, 0).before(weeks)) for part in sorted(parts) for weeks in range(1, LONGEST_WEEKS))


def _may_tell_responses(tx: Tx, report: ExperimentReport, tz: ZoneInfo) -> bool:
    arms = [[(monday, arm.id) for monday in arm.weeks] for arm in report.arms]
    sizes = {(monday, arm.id): n for arm in report.arms for monday, n in arm.weeks.items()}
    mondays = sorted({monday for monday, _ in sizes})
    weeks = []
    for monday in mondays:
        counts = tx.response_counts(*WeekRange(monday, 1).instants(tz))
        ours = [(monday, arm.id) for arm in report.arms if (monday, arm.id) in sizes]
        sizes[monday, ""] = max(0, counts.invited - counts.undeliverable - sum(sizes[cell] for cell in ours))
        weeks.append([(monday, ""), *ours])
    return all(side_by_side(sizes, [*weeks, *arms])[len(weeks) :])

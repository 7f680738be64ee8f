"""The arms of an A/B test beside the scores of everybody: what all answered, less what the arms did, is what a handful
of others said.

Source: docs/decisions/0019-digests-side-by-side.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from flows.days import local_date
from flows.experiments import RESPONSE_RATE
from reports.digest.shop import DigestRule
from reports.digest.telling import Telling
from reports.digest.weeks import WeekRange
from reports.disclosure import side_by_side
from reports.experiments import ExperimentReport
from reports.metrics import InstrumentSpec
from storage.store import Tx


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
    return all(telling.may_tell_beside([arm.places for arm in report.arms]))


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

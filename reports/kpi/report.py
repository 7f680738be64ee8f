"""The figures of a window put together: gathered page by page from the store, or from events in hand, with the last
weeks beside them and what to do below a target. What may not be shown has left the report already.

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta, tzinfo
from typing import Any

import numpy as np

from flows.days import local_date, midnight_ms
from flows.state import State
from reports.disclosure import mondays_known
from reports.event_tables import LOOK_BACK_MS, EventTables, RawEvents
from reports.kpi.kpis import kpis
from reports.kpi.lifetime import lifetime_values, may_tell_lifetime
from reports.kpi.reach import drop_off
from reports.kpi.support import SATISFACTION
from reports.kpi.window import KpiSettings, Window
from reports.kpi.words import FLAGS, HINTS, TARGETS, kpi_name
from reports.linkage import FOLLOW_UP_MS, KEPT_MS, Linkage, Said, compare_all, given_answers
from reports.look_back import AnswerWeeks, Cell, PerCell, deed_of, latest_answers, read_events
from reports.metrics import InstrumentSpec, Result, parse_value, sibling
from reports.segments import PSY_INSTRUMENTS
from reports.words import Words
from storage.store import Tx

SERIES_WEEKS = 8
"""Events may arrive late: this many weeks are computed anew each time."""
_MONTHS_REMEMBERED = 12
_WEEKS_REMEMBERED = 26
_YEARS_BLOCK = SERIES_WEEKS // 2
"""Years up to a Monday are known of two such blocks of weeks: of those the events are read."""
SAID = (*PSY_INSTRUMENTS, "nrs", *SATISFACTION)
"""The instruments whose answers meet behaviour."""
_OLDER_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Hint:
    """A figure on the wrong side of its target, and what to do: the templates `kpi_hint` and `kpi_advice` say it."""

    name: str
    """Under `targets` of koe.yaml."""
    result: Result
    target: float
    hint: str
    """Of `reports.kpi.words.HINTS`."""


@dataclass(frozen=True, slots=True)
class KpiReport:
    """The figures of one window. Suppressed records carry their n and nothing else."""

    window: Window
    computed_ms: int
    """When: events that arrive later change past windows, so a figure is true as of this instant."""
    results: tuple[Result, ...]
    series: Mapping[tuple[str, str], tuple[Result, ...]]
    """(metric, variant) → its records of the last weeks, the oldest first, for those that stand for the whole shop;
    empty when the events did not come from the store."""
    linkages: tuple[Linkage, ...]
    hints: tuple[Hint, ...]
    incomplete: int
    """Events without a field that their figure needs: they count nowhere."""


def report_of(
    tables: EventTables,
    window: Window,
    *,
    computed_ms: int,
    settings: KpiSettings | None = None,
    targets: Mapping[str, float] | None = None,
    said: Sequence[Said] = (),
) -> KpiReport:
    """The report of events in hand, without the weeks before.

    Args:
        tables: what happened in the window and before.
        window: the window; its `as_of_ms` is until when it is known what happened.
        computed_ms: the time of the computation.
        settings: what only the shop knows.
        targets: name → target (`reports.kpi.words.TARGETS`); others are left alone.
        said: valid answers of named customers to the instruments of SAID.
    """
    found = kpis(tables, window, settings, given=given_answers(said) if said else None)
    linked = [one.shown() for one in compare_all(said, tables, window.as_of_ms, window.tz)]
    results = tuple(result.shown() for result in found)
    return KpiReport(
        window, computed_ms, results, {}, tuple(linked), hints_of(results, targets or {}), tables.incomplete
    )


@dataclass(frozen=True, slots=True)
class KpiReading:
    """What the figures of a week are made of. Nothing more is asked of the store."""

    windows: tuple[Window, ...]
    """SERIES_WEEKS weeks up to the one that is reported, the oldest first."""
    events: RawEvents
    rated: tuple[Said, ...]
    """Answers about satisfaction since the beginning of the week."""
    followed: tuple[Said, ...] | None
    """Each customer's latest answers whose 90 days are over; None where answers and behaviour are not compared."""
    drop_offs: tuple[Result, ...]


def read_kpis(
    tx: Tx,
    answers: AnswerWeeks,
    *,
    monday: date,
    now_ms: int,
    specs: Mapping[str, InstrumentSpec],
    linked: bool = True,
) -> KpiReading:
    """What the figures of one ISO week and of the seven before are computed from.

    Read are the events of 60 weeks (117 with `linked`), older orders of the customers who seem new, and all
    contracts; they go through as pages and stay as columns (about 0.1 kB an event).

    Args:
        tx: a reading transaction.
        answers: of it; in the zone of the shop weeks begin on Monday 00:00.
        monday: the first day of the week.
        now_ms: the time of the computation.
        specs: instrument → how it is scored.
        linked: whether answers and behaviour are to be compared, which reads the answers of 65 weeks.
    """
    tz = answers.tz
    windows = tuple(_week(monday - timedelta(weeks=back), now_ms, tz) for back in range(SERIES_WEEKS - 1, -1, -1))
    read_from = min(windows[0].start_ms - LOOK_BACK_MS, now_ms - KEPT_MS - LOOK_BACK_MS if linked else now_ms)
    followed = None
    if linked:
        said = _said_latest(answers, now_ms - KEPT_MS, now_ms - FOLLOW_UP_MS + 1, Valid(specs, SAID))
        followed = tuple(said)
    return KpiReading(
        windows,
        _events(tx, read_from, windows[0].start_ms, now_ms, tz),
        tuple(_said_between(answers, windows[-1].start_ms, now_ms, Valid(specs, SATISFACTION))),
        followed,
        _drop_offs(tx, windows[-1]),
    )


def kpi_report(
    reading: KpiReading,
    tables: EventTables,
    *,
    settings: KpiSettings | None = None,
    targets: Mapping[str, float] | None = None,
) -> KpiReport:
    """The figures of one ISO week, the eight weeks up to it, and what customers did after their answers.

    Everything is computed anew from the stored events, so events that came late are in it. Lifetime values are those
    of the 365 days before the end of the week.

    Args:
        reading: of `read_kpis`.
        tables: of its events.
        settings: what only the shop knows.
        targets: name → target (`reports.kpi.words.TARGETS`).
    """
    own = settings or KpiSettings()
    this = reading.windows[-1]
    found = kpis(tables, this, own, given=given_answers(reading.rated), lifetime=False)
    if len(tables.purchases):
        values = lifetime_values(tables, replace(this, start_ms=this.end_ms - LOOK_BACK_MS), own)
        found += values if _may_tell_lifetime(tables, this) else map(sibling, values)
    found += reading.drop_offs
    results = tuple(result.shown() for result in found)
    weekly = [kpis(tables, before, own, lifetime=False) for before in reading.windows[:-1]]
    linked = (
        []
        if reading.followed is None
        else compare_all(
            reading.followed, tables, this.as_of_ms, this.tz, told_ms=_first_of_months(this.as_of_ms, this.tz)
        )
    )
    return KpiReport(
        this,
        this.as_of_ms,
        results,
        _series([*weekly, found]),
        tuple(one.shown() for one in linked),
        hints_of(results, targets or {}),
        tables.incomplete,
    )


def _may_tell_lifetime(tables: EventTables, this: Window) -> bool:
    """Whether the lifetime values of the year up to the end of this week may be told beside those of the weeks before,
    as far back as events are read."""
    end = local_date(this.end_ms, this.tz)
    years = len(mondays_known(end, block=_YEARS_BLOCK))
    mondays = [end - timedelta(weeks=back) for back in range(_WEEKS_REMEMBERED, 0, -1)]
    weeks = [_week(monday, this.as_of_ms, this.tz) for monday in mondays]
    begin = len(weeks) - years
    return may_tell_lifetime(tables, weeks, begins=(begin, begin + _YEARS_BLOCK))


def _first_of_months(as_of_ms: int, tz: tzinfo) -> list[int]:
    """When the comparisons of a year were told before, the oldest first: on the first Monday of each month."""
    day = local_date(as_of_ms, tz).replace(day=1)
    found: list[int] = []
    for _ in range(_MONTHS_REMEMBERED):
        day = (day - timedelta(days=1)).replace(day=1)
        found.append(midnight_ms(day + timedelta(days=-day.weekday() % 7), tz))
    return found[::-1]


def _week(monday: date, now_ms: int, tz: tzinfo) -> Window:
    return Window(midnight_ms(monday, tz), midnight_ms(monday + timedelta(weeks=1), tz), now_ms, tz)


def _events(tx: Tx, read_from_ms: int, first_ms: int, until_ms: int, tz: tzinfo) -> RawEvents:
    """The events from `read_from_ms` on, of all contracts before, and of the older orders of who bought
    first in the weeks that are reported, which begin at `first_ms`."""
    events = RawEvents(tz)
    read_events(tx, events, read_from_ms, until_ms)
    fresh = [customer for customer, at_ms in events.first_orders().items() if customer and at_ms >= first_ms]
    older = (
        event
        for customer in fresh
        for event in tx.events_of(customer, types=("purchase",), limit=_OLDER_AT_MOST)
        if event.occurred_ms < read_from_ms
    )
    events.add(
        deed_of(event.customer_id, event.type, event.occurred_ms, event.data)
        for event in (*tx.contract_steps(read_from_ms), *older)
    )
    return events


Answered = int | tuple[str, ...]
"""A code, or the selected codes of a multi-select."""


class Valid:
    """What the valid answers to some instruments say, by the cell they count under."""

    def __init__(self, specs: Mapping[str, InstrumentSpec], only: Sequence[str]) -> None:
        self._specs = {name: specs[name] for name in only if name in specs}
        self._seen: dict[tuple[str, str], Answered | None] = {}

    def __call__(self, cell: Cell) -> Answered | None:
        """The code, or the selected codes; None for an answer that is not valid, or to another instrument."""
        key = (cell.instrument, cell.value)
        if key not in self._seen:
            spec = self._specs.get(cell.instrument)
            parsed = None if spec is None else parse_value(spec, cell.value)
            answered = None if parsed is None else parsed.codes if parsed.code is None else parsed.code
            self._seen[key] = answered if parsed is not None and parsed.kind == "valid" else None
        return self._seen[key]

    def counts(self, cell: Cell) -> bool:
        """Whether there is one."""
        return self(cell) is not None


def _said_latest(answers: AnswerWeeks, start_ms: int, end_ms: int, valid: Valid) -> Iterator[Said]:
    """Each named customer's latest valid answer in [start, end) to each question at each touchpoint."""
    for last in latest_answers(answers, start_ms, end_ms, counts=valid.counts).values():
        given = np.flatnonzero(last.cell >= 0)
        yield from _said(answers, valid, given, last.cell[given], last.at_ms[given])


def _said_between(answers: AnswerWeeks, start_ms: int, end_ms: int, valid: Valid) -> Iterator[Said]:
    """Every valid answer of a named customer in [start, end), the oldest first."""
    counts = PerCell(answers, lambda cell: valid.counts(cell))
    for week in answers.between(start_ms, end_ms):
        given = np.flatnonzero((counts(week.cell) > 0) & (week.who > 0))
        yield from _said(answers, valid, week.who[given], week.cell[given], week.at_ms[given])


def _said(answers: AnswerWeeks, valid: Valid, *columns: np.ndarray) -> Iterator[Said]:
    names, cells = answers.customers, answers.cells
    for who, place, at_ms in zip(*(column.tolist() for column in columns), strict=True):
        cell = cells[place]
        if (answered := valid(cell)) is not None:
            yield Said(names[who], cell.instrument, answered, at_ms, cell.survey_kind, cell.touchpoint)


def _drop_offs(tx: Tx, window: Window) -> tuple[Result, ...]:
    """The drop-off of each question of the conversations whose invitation was sent in the window."""
    shown: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    page = tx.conversations_sent(window.start_ms, window.end_ms)
    while page:
        for sent in page:
            try:
                state = State.parse(sent.state)
            except ValueError:
                continue  # its answers were forgotten
            questions = {*state.shown, *state.answers}
            shown.update(f"{sent.flow_id}/{question}" for question in questions)
            answered.update(f"{sent.flow_id}/{question}" for question in state.answers)
        page = tx.conversations_sent(window.start_ms, window.end_ms, after=(page[-1].sent_ms, page[-1].invitation_id))
    return drop_off({name: (shown[name], answered[name]) for name in sorted(shown)}, window)


def _series(weeks: Sequence[Iterable[Result]]) -> dict[tuple[str, str], tuple[Result, ...]]:
    """Each statistic of the whole shop that there is in the last week, in all of them; a week in which there was none
    has no entry. Counts of a week and values of a year do not meet: lifetime values are left out."""
    by_name: list[dict[tuple[str, str], Result]] = [
        {(r.metric, r.variant): r.shown() for r in week if not r.segment and r.metric != "ltv"} for week in weeks
    ]
    return {name: tuple(week[name] for week in by_name if name in week) for name in by_name[-1]}


def hints_of(results: Iterable[Result], targets: Mapping[str, float]) -> tuple[Hint, ...]:
    """What to do about the figures on the wrong side of their target, in the order of the targets; nothing about one
    that may not be shown.

    Args:
        results: the leading record of a metric before its others, as `reports.metrics.measure` gives them.
        targets: an instrument, or a name of `reports.kpi.words.TARGETS` → target.
    """
    by_name: dict[tuple[str, str], list[Result]] = {}
    leading: dict[str, str] = {}
    for result in results:
        leading.setdefault(result.metric, result.variant)
        if not result.segment:
            by_name.setdefault((result.metric, result.variant), []).append(result)
    out: list[Hint] = []
    for name, target in targets.items():
        hint, kpi = HINTS.get(name), TARGETS.get(name)
        if hint is None:
            continue
        key = (name, leading.get(name, "")) if kpi is None else (kpi.metric, kpi.variant)
        low_is_good = kpi is not None and kpi.better == "low"
        for result in by_name.get(key, ()):
            if result.score is None or result.status not in ("caution", "ok"):
                continue
            if result.score > target if low_is_good else result.score < target:
                out.append(Hint(name, result, target, hint))
    return tuple(out)


# ----------------------------------------------------------------------------------------------------------- words


def metric_name(metric: str, specs: Mapping[str, InstrumentSpec], words: Words) -> str:
    """What a metric is called, an instrument or a figure."""
    spec = specs.get(metric)
    return words.metric(spec) if spec is not None else kpi_name(metric, words.lang) or metric


def told_flags(results: Iterable[Result]) -> list[str]:
    """The flags of these figures that there is something to say of, each once."""
    return [flag for flag in dict.fromkeys(flag for result in results for flag in result.flags) if flag in FLAGS]


def to_json(report: KpiReport) -> dict[str, Any]:
    """The report as plain JSON values: `results`, `series` ("metric variant" → records), `linkages`, `hints`,
    `computed_at` (milliseconds UTC)."""
    return {
        "computed_at": report.computed_ms,
        "results": [result.to_json() for result in report.results],
        "series": {" ".join(name): [result.to_json() for result in weeks] for name, weeks in report.series.items()},
        "linkages": [record for linkage in report.linkages for record in linkage.to_json()],
        "hints": [{"name": hint.name, "target": hint.target, "hint": hint.hint} for hint in report.hints],
        "incomplete": report.incomplete,
    }

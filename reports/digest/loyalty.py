"""Customers in groups at the end of a period: recommendation × continued use, psychological × behavioural loyalty.

Source: docs/metrics.md ("Customers in groups").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from reports.digest.telling import may_tell_year
from reports.digest.weeks import WeekRange
from reports.event_tables import local_date
from reports.kpi_report import deeds_between
from reports.metrics import InstrumentSpec, Result, Span, Stratum, parse_value, sibling
from reports.segments import (
    LOOK_BACK_MS,
    PSY_INSTRUMENTS,
    Given,
    attitudes,
    behaviours,
    close_pairs,
    crossed_shown,
    nps_nrs_results,
    psy_results,
    segment_results,
)
from storage.store import Tx

_AT_ONCE_MS = 7 * 86_400_000
_DEEDS = ("purchase", "contract_renew", "referral")
_Words = tuple[str, str]
"""Wording id and language."""


def segments_at(tx: Tx, weeks: WeekRange, tz: ZoneInfo, specs: Mapping[str, InstrumentSpec]) -> tuple[Result, ...]:
    """The groups at the end of these weeks, of the answers and events of the 365 days before.

    Reads a week of answers at a time and keeps each customer's latest: memory grows with the customers, not with what
    they said.
    """
    _, end_ms = weeks.instants(tz)
    start_ms = end_ms - LOOK_BACK_MS
    window = Span(local_date(start_ms, tz).isoformat(), weeks.end.isoformat())
    latest, words = _latest(tx, start_ms, end_ms, specs)
    out: list[Result] = []
    for (instrument, kind, touchpoint), likely in latest.items():
        staying = latest.get(("nrs", kind, touchpoint))
        if instrument != "nps" or staying is None:
            continue
        tables: dict[Stratum, Counter[tuple[int, int]]] = {}
        said: dict[Stratum, Counter[date]] = {}
        for customer, nps, nrs in close_pairs(likely, staying):
            here, there = words["nps", kind, touchpoint][customer], words["nrs", kind, touchpoint][customer]
            # another horizon than a year is another wording and never merged
            stratum = Stratum(kind, touchpoint, f"{here[0]} × {there[0]}", "", here[1])
            tables.setdefault(stratum, Counter())[(nps, nrs)] += 1
            said.setdefault(stratum, Counter())[_monday(max(likely[customer][0], staying[customer][0]), tz)] += 1
        for stratum, pairs in tables.items():
            found = nps_nrs_results(pairs, stratum=stratum, window=window)
            out += _told(crossed_shown(found), weeks.end, said[stratum])
    kinds = dict.fromkeys(kind for instrument, kind, _ in latest if instrument == "affinity")
    happened = behaviours(deeds_between(tx, start_ms, end_ms, _DEEDS), end_ms, tz) if kinds else {}
    for kind in kinds:
        mine: dict[str, list[Given]] = {}
        for (instrument, of, _), given in latest.items():
            if of == kind and instrument in PSY_INSTRUMENTS:
                mine.setdefault(instrument, []).append(given)
        people = attitudes(mine, end_ms)
        if any(attitude.psy() is not None for attitude in people.values()):
            newest: dict[str, int] = {}
            for given in (answers for answers_of_one in mine.values() for answers in answers_of_one):
                for customer, (at, _) in given.items():
                    newest[customer] = max(at, newest.get(customer, at))
            since = Counter(
                _monday(newest[customer], tz) for customer, found in people.items() if found.psy() is not None
            )
            told = psy_results(people, stratum=Stratum(kind), window=window)
            if happened:
                told += crossed_shown(segment_results(people, happened, stratum=Stratum(kind), window=window))
            out += _told(told, weeks.end, since)
    return tuple(result.shown() for result in out)


def _told(results: Sequence[Result], end: date, said: Mapping[date, int]) -> list[Result]:
    """The records of a year, suppressed (flag `sibling`) where those told before would give the newest few away."""
    if may_tell_year(end, said):
        return list(results)
    return [sibling(result) for result in results]


def _monday(at_ms: int, tz: ZoneInfo) -> date:
    day = local_date(at_ms, tz)
    return day - timedelta(days=day.weekday())


def _latest(
    tx: Tx, start_ms: int, end_ms: int, specs: Mapping[str, InstrumentSpec]
) -> tuple[dict[tuple[str, str, str], Given], dict[tuple[str, str, str], dict[str, _Words]]]:
    """(instrument, survey kind, touchpoint) → each named customer's latest valid answer, and the words of its
    question."""
    wanted = [name for name in (*PSY_INSTRUMENTS, "nrs") if name in specs]
    latest: dict[tuple[str, str, str], dict[str, tuple[int, int | tuple[str, ...]]]] = {}
    words: dict[tuple[str, str, str], dict[str, _Words]] = {}
    for begin in range(start_ms, end_ms, _AT_ONCE_MS):
        for answer in tx.answers_between(begin, min(begin + _AT_ONCE_MS, end_ms), instruments=wanted):
            if not answer.customer_id or answer.missing or answer.replaced_ms is not None:
                continue
            parsed = parse_value(specs[answer.instrument], answer.value)
            if parsed.kind != "valid":
                continue
            # answers come oldest first: a later one takes the place
            key = (answer.instrument, answer.survey_kind, answer.touchpoint)
            code = parsed.codes if parsed.code is None else parsed.code
            latest.setdefault(key, {})[answer.customer_id] = (answer.answered_ms, code)
            words.setdefault(key, {})[answer.customer_id] = (answer.wording_id, answer.lang)
    return dict(latest), words

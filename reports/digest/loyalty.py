"""Customers in groups at the end of a period: recommendation × continued use, psychological × behavioural loyalty.

Source: docs/metrics.md ("Customers in groups").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from reports.digest.telling import may_tell_year
from reports.digest.weeks import WeekRange
from reports.event_tables import EventTables, behaviours, local_date
from reports.kpi_report import valid_told
from reports.metrics import InstrumentSpec, Result, Span, Stratum, sibling
from reports.segments import (
    LOOK_BACK_MS,
    PSY_INSTRUMENTS,
    Attitude,
    attitude_of,
    close_pairs,
    crossed_shown,
    nps_nrs_results,
    psy_results,
    segment_results,
)
from storage.store import Tx

_Words = tuple[str, str]
"""Wording id and language."""
_Pair = tuple[str, str]
"""Survey kind and touchpoint."""


@dataclass(frozen=True, slots=True)
class Attitudes:
    """What customers last said in the 365 days before the end of a period. Nothing more is asked of the store."""

    window: Span
    end_ms: int
    people: Mapping[str, Mapping[str, Attitude]]
    """Survey kind → customer → attitude, for kinds in which affinity was asked."""
    since: Mapping[str, Mapping[date, int]]
    """Survey kind → Monday → customers with a PSY whose latest answer is of that week."""
    pairs: Mapping[Stratum, Mapping[tuple[int, int], int]]
    """(nps, nrs) → customers with both, at most 30 days apart."""
    pairs_since: Mapping[Stratum, Mapping[date, int]]
    """Monday → those of them whose latest answer is of that week."""


def read_attitudes(tx: Tx, weeks: WeekRange, tz: ZoneInfo, specs: Mapping[str, InstrumentSpec]) -> Attitudes:
    """The attitudes at the end of these weeks.

    Reads a week of answers at a time and keeps each customer's latest: memory grows with the customers, not with what
    they said.
    """
    _, end_ms = weeks.instants(tz)
    start_ms = end_ms - LOOK_BACK_MS
    said: dict[str, dict[str, list[int | None]]] = {}
    newest: dict[str, dict[str, int]] = {}
    loyal: dict[_Pair, dict[str, dict[str, tuple[int, int, _Words]]]] = {}
    kinds: dict[str, None] = {}
    names: dict[str, str] = {}
    words: dict[_Words, _Words] = {}
    for told, answered in valid_told(tx, start_ms, end_ms, specs, only=(*PSY_INSTRUMENTS, "nrs")):
        # answers come oldest first: a later one takes the place
        customer = names.setdefault(told.customer_id, told.customer_id)
        code = answered if isinstance(answered, int) else len(answered)
        if told.instrument == "affinity":
            kinds[told.survey_kind] = None
        if told.instrument in ("nps", "nrs"):
            how = (told.wording_id, told.lang)
            place = loyal.setdefault((told.survey_kind, told.touchpoint), {"nps": {}, "nrs": {}})
            place[told.instrument][customer] = (told.answered_ms, code, words.setdefault(how, how))
        if told.instrument != "nrs":
            kind = said.setdefault(told.survey_kind, {})
            mine = kind.get(customer)
            if mine is None:
                mine = kind[customer] = [None] * len(PSY_INSTRUMENTS)
            mine[PSY_INSTRUMENTS.index(told.instrument)] = code
            newest.setdefault(told.survey_kind, {})[customer] = told.answered_ms
    people = {kind: {who: attitude_of(*mine) for who, mine in said[kind].items()} for kind in kinds}
    pairs, pairs_since = _pairs(loyal, tz)
    return Attitudes(
        Span(local_date(start_ms, tz).isoformat(), weeks.end.isoformat()),
        end_ms,
        people,
        {
            kind: Counter(_monday(newest[kind][who], tz) for who, found in mine.items() if found.psy() is not None)
            for kind, mine in people.items()
        },
        pairs,
        pairs_since,
    )


def _monday(at_ms: int, tz: ZoneInfo) -> date:
    day = local_date(at_ms, tz)
    return day - timedelta(days=day.weekday())


def _pairs(
    loyal: Mapping[_Pair, Mapping[str, Mapping[str, tuple[int, int, _Words]]]], tz: ZoneInfo
) -> tuple[dict[Stratum, Counter[tuple[int, int]]], dict[Stratum, Counter[date]]]:
    tables: dict[Stratum, Counter[tuple[int, int]]] = {}
    since: dict[Stratum, Counter[date]] = {}
    for (kind, touchpoint), given in loyal.items():
        likely, staying = given["nps"], given["nrs"]
        codes = [{who: (at_ms, code) for who, (at_ms, code, _) in answers.items() if who in staying and who in likely}
                 for answers in (likely, staying)]  # fmt: skip
        for customer, nps, nrs in close_pairs(*codes):
            here, there = likely[customer][2], staying[customer][2]
            # another horizon than a year is another wording and never merged
            stratum = Stratum(kind, touchpoint, f"{here[0]} × {there[0]}", "", here[1])
            tables.setdefault(stratum, Counter())[(nps, nrs)] += 1
            since.setdefault(stratum, Counter())[_monday(max(likely[customer][0], staying[customer][0]), tz)] += 1
    return tables, since


def segments_of(said: Attitudes, tables: EventTables) -> tuple[Result, ...]:
    """The groups, of these answers and of what the customers did in the same 365 days."""
    out: list[Result] = []
    for stratum, pairs in said.pairs.items():
        found = nps_nrs_results(pairs, stratum=stratum, window=said.window)
        out += _told(crossed_shown(found), said.window, said.pairs_since[stratum])
    happened = behaviours(tables, said.end_ms) if said.people else {}
    for kind, people in said.people.items():
        if said.since[kind]:
            told = psy_results(people, stratum=Stratum(kind), window=said.window)
            if happened:
                told += crossed_shown(segment_results(people, happened, stratum=Stratum(kind), window=said.window))
            out += _told(told, said.window, said.since[kind])
    return tuple(result.shown() for result in out)


def _told(results: Sequence[Result], window: Span, since: Mapping[date, int]) -> list[Result]:
    """The records of a year, suppressed (flag `sibling`) where those told before would give the newest few away."""
    if may_tell_year(date.fromisoformat(window.end), since):
        return list(results)
    return [sibling(result) for result in results]

"""Customers in groups at the end of a period: recommendation × continued use, psychological × behavioural loyalty.

Source: docs/metrics.md ("Customers in groups").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from flows.days import local_date
from reports.digest.telling import may_tell_year
from reports.digest.weeks import WeekRange
from reports.event_tables import EventTables, behaviours, local_days
from reports.kpi.report import Answered, Valid
from reports.look_back import AnswerWeeks, Asked, Latest, PerCell, latest_answers
from reports.metrics import InstrumentSpec, Result, Span, Stratum, sibling
from reports.procedures import Ints
from reports.segments import (
    LOOK_BACK_MS,
    PAIR_MS,
    PSY_INSTRUMENTS,
    Attitude,
    attitude_of,
    crossed_shown,
    nps_nrs_results,
    psy_results,
    segment_results,
)


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


def read_attitudes(answers: AnswerWeeks, weeks: WeekRange, specs: Mapping[str, InstrumentSpec]) -> Attitudes:
    """The attitudes at the end of these weeks.

    Goes through the year a week at a time and keeps each customer's latest: memory grows with the customers, not with
    what they said.
    """
    _, end_ms = weeks.instants(answers.tz)
    start_ms = end_ms - LOOK_BACK_MS
    valid = Valid(specs, (*PSY_INSTRUMENTS, "nrs"))
    last = latest_answers(answers, start_ms, end_ms, counts=valid.counts)
    code_of = PerCell(answers, lambda cell: _code(valid(cell)))
    people: dict[str, dict[str, Attitude]] = {}
    since: dict[str, Counter[date]] = {}
    for kind in sorted({kind for instrument, kind, _ in last if instrument == "affinity"}):
        people[kind], since[kind] = _people(answers, kind, last, code_of)
    pairs, pairs_since = _pairs(answers, last, code_of)
    window = Span(local_date(start_ms, answers.tz).isoformat(), weeks.end.isoformat())
    return Attitudes(window, end_ms, people, since, pairs, pairs_since)


def _code(answered: Answered | None) -> int:
    """The code of a valid answer, or how many were selected; -1 for any other."""
    return -1 if answered is None else answered if isinstance(answered, int) else len(answered)


def _people(
    answers: AnswerWeeks, kind: str, last: Mapping[Asked, Latest], code_of: PerCell
) -> tuple[dict[str, Attitude], Counter[date]]:
    """Customer → attitude; and Monday → customers with a PSY whose latest answer is of that week."""
    names = answers.customers
    codes = np.full((len(PSY_INSTRUMENTS), len(names)), -1, dtype=np.int64)
    newest_ms = np.full(len(names), -1, dtype=np.int64)
    for row, instrument in enumerate(PSY_INSTRUMENTS):
        turn = np.full(len(names), -1, dtype=np.int64)
        for found in (found for asked, found in last.items() if asked[:2] == (instrument, kind)):
            later = found.turn > turn
            turn[later] = found.turn[later]
            codes[row, later] = code_of(found.cell[later])
            np.maximum(newest_ms, found.at_ms, out=newest_ms)
    there = np.flatnonzero((codes >= 0).any(axis=0))
    # many customers, few combinations of codes: an attitude for each combination
    combined, which = np.unique(codes[:, there], axis=1, return_inverse=True)
    each = [attitude_of(*(None if code < 0 else code for code in column)) for column in combined.T.tolist()]
    scored = np.array([found.psy() is not None for found in each], dtype=bool)
    which = which.reshape(-1)
    people = {names[who]: each[place] for who, place in zip(there.tolist(), which.tolist(), strict=True)}
    return people, _mondays(newest_ms[there][scored[which]], answers.tz)


def _mondays(at_ms: Ints, tz: ZoneInfo) -> Counter[date]:
    """Monday → how many of these instants lie in its week."""
    days, counts = np.unique(local_days(pd.Series(at_ms), tz).to_numpy(), return_counts=True)
    found: Counter[date] = Counter()
    for day, count in zip(days.tolist(), counts.tolist(), strict=True):
        local = date(1970, 1, 1) + timedelta(days=day)
        found[local - timedelta(days=local.weekday())] += count
    return found


def _pairs(
    answers: AnswerWeeks, last: Mapping[Asked, Latest], code_of: PerCell
) -> tuple[dict[Stratum, Counter[tuple[int, int]]], dict[Stratum, Counter[date]]]:
    tables: dict[Stratum, Counter[tuple[int, int]]] = {}
    since: dict[Stratum, Counter[date]] = {}
    cells = answers.cells
    for (instrument, kind, touchpoint), likely in last.items():
        staying = last.get(("nrs", kind, touchpoint))
        if instrument != "nps" or staying is None:
            continue
        both = np.flatnonzero((likely.cell >= 0) & (staying.cell >= 0))
        both = both[np.abs(likely.at_ms[both] - staying.at_ms[both]) <= PAIR_MS]
        if not both.size:
            continue
        newest_ms = np.maximum(likely.at_ms[both], staying.at_ms[both])
        crossed, which = np.unique(np.stack([likely.cell[both], staying.cell[both]]), axis=1, return_inverse=True)
        which = which.reshape(-1)
        for place, (here, there) in enumerate(crossed.T.tolist()):
            mine = which == place
            nps, nrs = code_of(crossed[:, place]).tolist()
            # another horizon than a year is another wording and never merged
            words = f"{cells[here].wording_id} × {cells[there].wording_id}"
            stratum = Stratum(kind, touchpoint, words, "", cells[here].lang)
            tables.setdefault(stratum, Counter())[(nps, nrs)] += int(mine.sum())
            since.setdefault(stratum, Counter()).update(_mondays(newest_ms[mine], answers.tz))
    return dict(sorted(tables.items(), key=lambda told: str(told[0]))), since


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

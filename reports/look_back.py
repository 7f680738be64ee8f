"""What digests look back on, as columns of numbers: closed weeks as they are kept in the store, the rest from rows.

Either way the same columns come out; a week that is kept takes milliseconds where its rows take a second. Source:
docs/decisions/0020-weeks-as-columns.md.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from flows.days import local_date, midnight_ms
from reports.columns import Arrays, Codes, packed, placed, texts_as_column, texts_of, unpacked
from reports.comments.gathered import said_in
from reports.event_rows import EVENT_TYPES
from reports.event_tables import RawEvents
from reports.procedures import Ints
from reports.segments import Deed
from storage.store import Store, Tx
from storage.verbs.weeks import Subject

N = TypeVar("N", bound=np.generic)
_AT_ONCE_MS = 86_400_000
"""Rows of a day are in memory at a time."""
WORTH_KEEPING = 1_000
"""Rows: fewer are read about as fast as their columns."""
_FORM = "2"
"""Counted up when the same rows become other columns, by what is read here or in `reports.event_tables`."""


class Cell(NamedTuple):
    """What an answer to a scored question counts under; the same names as those of a cell of the roll-up."""

    instrument: str
    wording_id: str
    label_set: str
    survey_kind: str
    touchpoint: str
    segment: str
    channel: str
    lang: str
    value: str


class Written(NamedTuple):
    """What a comment counts under."""

    instrument: str
    survey_kind: str
    touchpoint: str
    wording_id: str
    lang: str
    """Of the words, not of the conversation around them."""
    segment: str
    channel: str


@dataclass(frozen=True, slots=True)
class Answers:
    """Valid answers to scored questions in order of time, at the same time by id: a place in each column for each."""

    monday: date
    """Of the week in which all of them were given."""
    who: Codes
    """Place in `AnswerWeeks.customers`; 0 is nobody known."""
    cell: Codes
    """Place in `AnswerWeeks.cells`."""
    at_ms: Ints


class AnswerWeeks:
    """The answers of a shop, week by week. Places in `customers` and `cells` are the same for all weeks that were
    read."""

    def __init__(self, tx: Tx, tz: ZoneInfo) -> None:
        self.tz = tz
        self._tx = tx
        self._customers = {"": 0}
        self._places: dict[tuple[str, ...], int] = {}
        self.cells: list[Cell] = []
        """Those of the weeks read so far."""

    @property
    def customers(self) -> list[str]:
        """Those who answered in the weeks read so far, nobody known ("") before them."""
        return list(self._customers)

    @property
    def people(self) -> int:
        """How many places `customers` has."""
        return len(self._customers)

    def between(self, start_ms: int, end_ms: int) -> Iterator[Answers]:
        """The answers of [start, end), a week at a time, the oldest first."""
        for monday, (begin, end) in weeks_over(start_ms, end_ms, self.tz):
            kept = self._tx.columns_of("answers", begin, end, form=_FORM)
            if kept is None:
                columns = answer_columns(self._tx, max(begin, start_ms), min(end, end_ms))
            else:
                columns = unpacked(kept)
            first, behind = np.searchsorted(columns["at_ms"], (start_ms, end_ms))
            inside = slice(int(first), int(behind))
            customers = placed(texts_of(columns["customers"]), self._customers)
            cells = placed([tuple(cell) for cell in texts_of(columns["cells"])], self._places)
            self.cells += [Cell(*cell) for cell in islice(self._places, len(self.cells), None)]
            yield Answers(
                monday, customers[columns["who"][inside]], cells[columns["cell"][inside]], columns["at_ms"][inside]
            )


class PerCell:
    """A number for each cell, found out once."""

    def __init__(self, weeks: AnswerWeeks, number_of: Callable[[Cell], int]) -> None:
        self._weeks = weeks
        self._number_of = number_of
        self._numbers: list[int] = []

    def __call__(self, cells: Codes) -> Ints:
        """The number of each of these places."""
        known = self._weeks.cells
        self._numbers += [self._number_of(cell) for cell in known[len(self._numbers) :]]
        return np.array(self._numbers, dtype=np.int64)[cells]


@dataclass(frozen=True, slots=True)
class Latest:
    """Each customer's latest answer to one question at one touchpoint, by place in `AnswerWeeks.customers`; -1 in all
    three for who gave none."""

    cell: Codes
    at_ms: Ints
    turn: Ints
    """Which of all answers looked at: the later of two has the higher."""


Asked = tuple[str, str, str]
"""Instrument, survey kind and touchpoint."""


def latest_answers(
    answers: AnswerWeeks, start_ms: int, end_ms: int, *, counts: Callable[[Cell], bool]
) -> dict[Asked, Latest]:
    """What each named customer said last in [start, end), of the answers that count. Memory grows with the customers,
    not with what they said."""
    asked: dict[Asked, int] = {}
    asked_of = PerCell(
        answers,
        lambda cell: (
            asked.setdefault((cell.instrument, cell.survey_kind, cell.touchpoint), len(asked)) if counts(cell) else -1
        ),
    )
    found: list[tuple[Codes, Ints, Ints]] = []
    before = 0
    for week in answers.between(start_ms, end_ms):
        which = asked_of(week.cell)
        which[week.who == 0] = -1
        people = answers.people
        found += [(_NO_CODES, _NO_INTS, _NO_INTS)] * (len(asked) - len(found))
        for place, columns in enumerate(found):
            mine = np.flatnonzero(which == place)
            if mine.size:
                cell, at_ms, turn = found[place] = (
                    _longer(columns[0], people),
                    _longer(columns[1], people),
                    _longer(columns[2], people),
                )
                who = week.who[mine]  # of several answers the last one stays
                cell[who], at_ms[who], turn[who] = week.cell[mine], week.at_ms[mine], before + mine
        before += which.size
    people = answers.people
    return {
        name: Latest(_longer(cell, people)[:people], _longer(at_ms, people)[:people], _longer(turn, people)[:people])
        for name, (cell, at_ms, turn) in zip(asked, found, strict=True)
    }


def _longer(column: npt.NDArray[N], size: int) -> npt.NDArray[N]:
    """With room for so many; more than that, so that a year of weeks does not copy it each week."""
    if column.size >= size:
        return column
    more = max(size, column.size * 3 // 2) - column.size
    return np.concatenate([column, np.full(more, -1, dtype=column.dtype)])


_NO_CODES, _NO_INTS = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)


def answer_columns(tx: Tx, start_ms: int, end_ms: int) -> dict[str, npt.NDArray[Any]]:
    """The answers of [start, end) from rows: `who` and `cell` are places in `customers` and `cells`, which are texts as
    `texts_of` reads them; `at_ms` is ascending. `wrote` are the customers of each of `written`, of comments."""
    customers: dict[str, int] = {}
    cells: dict[tuple[str, ...], int] = {}
    who, cell, at_ms = array("i"), array("i"), array("q")
    for begin in range(start_ms, end_ms, _AT_ONCE_MS):
        for told in tx.told_between(begin, min(begin + _AT_ONCE_MS, end_ms)):
            who.append(customers.setdefault(told.customer_id, len(customers)))
            cell.append(cells.setdefault(told[2:], len(cells)))
            at_ms.append(told.answered_ms)
    written = written_between(tx, start_ms, end_ms)
    return {
        "who": np.frombuffer(who, dtype=np.int32),
        "cell": np.frombuffer(cell, dtype=np.int32),
        "at_ms": np.frombuffer(at_ms, dtype=np.int64),
        "customers": texts_as_column(list(customers)),
        "cells": texts_as_column(list(cells)),
        "wrote": np.array(list(written.values()), dtype=np.int32),
        "written": texts_as_column(list(written)),
    }


def written_between(tx: Tx, start_ms: int, end_ms: int) -> Counter[Written]:
    """How many customers wrote in [start, end): each counts where the latest comment on a question is. Without a
    customer every comment counts."""
    latest: dict[tuple[str, str, str, str], Written] = {}
    found: Counter[Written] = Counter()
    for begin in range(start_ms, end_ms, _AT_ONCE_MS):
        for told in tx.told_between(begin, min(begin + _AT_ONCE_MS, end_ms), words=True):
            lang = said_in(told.value)
            if lang is None:
                continue
            asked = (told.instrument, told.survey_kind, told.touchpoint)
            where = Written(*asked, told.wording_id, lang, told.segment, told.channel)
            if told.customer_id:
                latest[*asked, told.customer_id] = where
            else:
                found[where] += 1
    found.update(latest.values())
    return found


def written_weeks(tx: Tx, start_ms: int, end_ms: int, *, tz: ZoneInfo) -> Iterator[tuple[date, Mapping[Written, int]]]:
    """What `written_between` finds in each week that [start, end) touches, by its Monday, the oldest first."""
    for monday, week in weeks_over(start_ms, end_ms, tz):
        kept = tx.columns_of("answers", *week, form=_FORM)
        if kept is None:
            yield monday, written_between(tx, *week)
        else:
            columns = unpacked(kept)
            written = (Written(*where) for where in texts_of(columns["written"]))
            yield monday, dict(zip(written, columns["wrote"].tolist(), strict=True))


# -------------------------------------------------------------------------------------------------------------- events


def deed_of(customer: str, type: str, at_ms: int, text: str) -> Deed:  # noqa: A002 – the row's word
    """A stored event with its data read; of what is no JSON object nothing is known."""
    try:
        data = json.loads(text)
    except ValueError:
        data = {}
    return Deed(customer, type, at_ms, data if isinstance(data, dict) else {})


def deeds_between(tx: Tx, start_ms: int, end_ms: int) -> Iterator[Deed]:
    """The events of [start, end) that a figure is made of, oldest first, read as pages."""
    page = tx.happenings(start_ms, end_ms, types=EVENT_TYPES)
    while page:
        for at_ms, _, type_, customer, data in page:
            yield deed_of(customer, type_, at_ms, data)
        page = tx.happenings(start_ms, end_ms, types=EVENT_TYPES, after=page[-1])


def event_columns(tx: Tx, start_ms: int, end_ms: int, tz: tzinfo) -> Arrays:
    """The events of [start, end) from rows, as `RawEvents.join` takes them."""
    events = RawEvents(tz)
    events.add(deeds_between(tx, start_ms, end_ms))
    return events.columns()


def read_events(tx: Tx, events: RawEvents, start_ms: int, end_ms: int) -> None:
    """Add the events of [start, end), a week at a time, the oldest first."""
    form = columns_form("events", events.tz)
    for _, (begin, end) in weeks_over(start_ms, end_ms, events.tz):
        kept = tx.columns_of("events", begin, end, form=form)
        if kept is None:
            events.add(deeds_between(tx, max(begin, start_ms), min(end, end_ms)))
        else:
            events.join(unpacked(kept), start_ms, end_ms)


# ------------------------------------------------------------------------------------------------- weeks that are kept


def weeks_over(start_ms: int, end_ms: int, tz: tzinfo) -> Iterator[tuple[date, tuple[int, int]]]:
    """The weeks that [start, end) touches, as their Monday and their instants; Monday 00:00 to Monday 00:00 in the zone
    of the shop."""
    day = local_date(start_ms, tz)
    monday = day - timedelta(days=day.weekday())
    while (begin := midnight_ms(monday, tz)) < end_ms:
        following = monday + timedelta(weeks=1)
        yield monday, (begin, midnight_ms(following, tz))
        monday = following


async def keep_weeks(
    store: Store,
    start_ms: int,
    end_ms: int,
    *,
    subject: Subject,
    now_ms: int,
    tz: tzinfo,
    builder: str,
    worth_keeping: int = WORTH_KEEPING,
) -> int:
    """See to it that the closed weeks that [start, end) touches are kept as columns; how many were made for it.

    A week at a time, so that little is in memory and what is done is done whenever this ends; rows are read outside of
    the transaction that writes.

    Args:
        store: open for writing.
        start_ms: the beginning of what will be looked back on.
        end_ms: its end.
        subject: answers or events.
        now_ms: weeks that are not over by then are left alone.
        tz: zone of the shop.
        builder: a name that nobody else has, drawn by chance.
        worth_keeping: weeks with fewer rows are left alone, too.
    """
    form, columns_of = _SUBJECTS[subject](tz)
    closed = [week for _, week in weeks_over(start_ms, end_ms, tz) if week[1] <= now_ms]
    if not closed:
        return 0

    def missing(tx: Tx) -> list[tuple[int, int]]:
        kept = set(tx.kept_between(subject, closed[0][0], closed[-1][1], form=form))
        return [week for week in closed if week not in kept and tx.stored_between(subject, *week) >= worth_keeping]

    weeks = await store.read(missing)
    if weeks:
        await store.write(lambda tx: tx.begin_columns(subject, weeks, builder=builder))
    for week in weeks:
        made = await store.read(partial(_made, subject, week, columns_of))
        await store.write(partial(_keep, subject, week, form, builder, made))
    return len(weeks)


def _made(
    subject: Subject, week: tuple[int, int], columns_of: Callable[[Tx, int, int], Arrays], tx: Tx
) -> tuple[int, bytes]:
    return tx.stored_between(subject, *week), packed(columns_of(tx, *week))


def _keep(subject: Subject, week: tuple[int, int], form: str, builder: str, made: tuple[int, bytes], tx: Tx) -> None:
    stored, columns = made
    tx.keep_columns(subject, week, columns, form=form, stored=stored, builder=builder)


def columns_form(subject: Subject, tz: tzinfo) -> str:
    """What `storage` keeps beside columns, to know those that would be made alike."""
    return _SUBJECTS[subject](tz)[0]


def _events_kept(tz: tzinfo) -> tuple[str, Callable[[Tx, int, int], Arrays]]:
    # written times without an offset are read in the zone of the shop
    return f"{_FORM} {tz}", lambda tx, start_ms, end_ms: event_columns(tx, start_ms, end_ms, tz)


_SUBJECTS: Mapping[Subject, Callable[[tzinfo], tuple[str, Callable[[Tx, int, int], Arrays]]]] = {
    "answers": lambda _: (_FORM, answer_columns),
    "events": _events_kept,
}
"""Subject → its form and what makes columns of its rows, for a zone."""

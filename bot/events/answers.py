"""Answers from a CSV file: history from another tool. They count in scores by the time they were given; they start
nothing, belong to no invitation, and so count in no response rate.

An imported answer has no conversation of ours. Its `session_id` is made from the file (`import-…`) and has no row
among the sessions: answers of one `session` cell, or without one of one customer at one time, share it. Within it
the latest answer to a question counts and earlier ones are history, as after a correction in a chat. Id and session
depend on the row's content alone, so that a file imported twice, or again with more rows, adds only what is new.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from bot.clock import Clock
from flows.definitions import Instrument
from flows.survey import Library
from reports.answers.file import AnswersFile, AnswersFileError, BadRow, Row, instant_ms, named
from reports.values import Parsed, parse_multi, parse_scale, parse_text, parse_yes_no
from storage.records import Answer
from storage.store import Store, Tx

_BATCH = 500
_NEEDED = ("answered_at", "customer")
_KINDS = ("", "transactional", "relational")
_LONGEST_TEXT = 1000
"""Characters of free text, as in a conversation."""
_LONGEST_CELL = 200
_EARLIEST_MS = 946_684_800_000
"""2000-01-01: a time before that is a mistake of a tool."""
_CLOCKS_DIFFER_MS = 300_000
_FAULTS_KEPT = 100


@dataclass(slots=True)
class Imported:
    """What became of a file's rows."""

    stored: int = 0
    known: int = 0
    """Stored by an earlier import, or twice in the file."""
    erased: int = 0
    """Of customers who were erased: left out for good."""
    bad: int = 0
    faults: list[BadRow] = field(default_factory=list)
    """The first hundred bad rows."""
    cut: int = 0
    """Free texts of which the first 1,000 characters were stored."""
    dropped_codes: int = 0
    """Unknown codes of multi-selects that were left out of an answer."""
    own: int = 0
    """Rows left out: answers to questions of the shop's own, in an export."""
    former: int = 0
    """Rows left out: answers that no longer count, in an export with its history."""
    unused: tuple[str, ...] = ()
    """Columns of the file that nothing was made of."""

    def refuse(self, row: BadRow) -> None:
        """Count it, and keep it if there are not enough already."""
        self.bad += 1
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append(row)


class _Refused(Exception):
    """A row that cannot be stored; the message is for whoever made the file."""


class _Value(NamedTuple):
    text: str
    missing: str = ""
    dropped: int = 0
    cut: bool = False


async def import_answers(
    path: Path,
    *,
    store: Store,
    clock: Clock,
    library: Library,
    tz: tzinfo,
    progress: Callable[[int], None] = lambda read: None,
) -> Imported:
    """Store a file's answers, a batch per transaction; repeating the import changes nothing.

    Args:
        path: see docs/answers.md.
        library: the instruments whose answers are understood.
        tz: of times without an offset, and of the weeks in which answers count.
        progress: called with the number of bytes read since the last call.

    Raises:
        AnswersFileError: the file cannot be read as a whole; what was read of it before is stored.
        StoreError: the database refused.
    """
    file = AnswersFile(path, progress)
    lacking = [name for name in _NEEDED if name not in file.columns]
    if lacking:
        raise AnswersFileError(
            f"{path}:1: there is no column {' and no column '.join(lacking)}: an answer is stored with the time it was"
            " given and the customer who gave it. `koe metrics` needs neither."
        )
    reading = _Reading(library, tz, clock.now_ms())
    result = Imported(unused=file.unused)
    batch: list[_Item] = []

    async def flush() -> None:
        items = tuple(batch)
        batch.clear()
        stored, known, erased = await store.write(lambda tx: _store(tx, items))
        result.stored += stored
        result.known += known
        result.erased += erased

    for row in file.rows():
        if isinstance(row, BadRow):
            result.refuse(row)
            continue
        try:
            answer, value = reading.answer(row)
        except _Refused as refused:
            result.refuse(BadRow(row.line, str(refused)))
            continue
        result.cut += value.cut
        result.dropped_codes += value.dropped
        batch.append(_Item(answer, row.session))
        if len(batch) >= _BATCH:
            await flush()
    if batch:
        await flush()
    result.own, result.former = file.own, file.former
    return result


class _Item(NamedTuple):
    answer: Answer
    session: str
    """As the file names it; in an export, a session of a Koe database."""


def _store(tx: Tx, items: tuple[_Item, ...]) -> tuple[int, int, int]:
    """Numbers of stored, known and erased."""
    stored = known = erased = 0
    gone: dict[str, bool] = {}
    for answer, session in items:
        if answer.customer_id not in gone:
            gone[answer.customer_id] = tx.erased_ms(answer.customer_id) is not None
        if gone[answer.customer_id]:
            erased += 1
            continue
        before = tx.answers_of_session(answer.session_id, history=True)
        if any(other.id == answer.id for other in before) or _is_ours(tx, answer, session):
            known += 1
            continue
        counted = next((o for o in before if o.question == answer.question and o.replaced_ms is None), None)
        if counted is not None and counted.answered_ms > answer.answered_ms:
            # a file need not be in order of time
            tx.record_answer(structs.replace(answer, replaced_ms=counted.answered_ms))
        else:
            tx.record_answer(answer)
        stored += 1
    return stored, known, erased


def _is_ours(tx: Tx, answer: Answer, session: str) -> bool:
    """Whether the row was exported from this very database: its session is there, with this answer in it."""
    return session != "" and any(
        (ours.customer_id, ours.instrument, ours.answered_ms)
        == (answer.customer_id, answer.instrument, answer.answered_ms)
        for ours in tx.answers_of_session(session, history=True)
    )


class _Reading:
    """From a row of a file to the answer that is stored."""

    def __init__(self, library: Library, tz: tzinfo, now_ms: int) -> None:
        self._instruments: Mapping[str, Instrument] = library.instruments
        self._known = frozenset(library.instruments)
        self._tz = tz
        self._now_ms = now_ms
        # a wording that a flow asks stands for the labels it is asked with
        self._labels: dict[tuple[str, str], str] = {}
        for flow in library.flows.values():
            for question in flow.questions:
                if question.instrument:
                    self._labels.setdefault((question.instrument, question.wording_id), question.label_set)

    def answer(self, row: Row) -> tuple[Answer, _Value]:
        """Raises _Refused."""
        name = named(row.instrument, self._known)
        if name not in self._known:
            raise _Refused(
                f"instrument is {_short(row.instrument)}, which nobody defined (docs/metrics.md lists them)."
            )
        instrument = self._instruments[name]
        if row.survey_kind not in _KINDS:
            raise _Refused(f"survey_kind is {_short(row.survey_kind)}: transactional or relational, or empty.")
        for column in Row._fields[3:]:
            cell = getattr(row, column)
            if len(cell) > _LONGEST_CELL:
                raise _Refused(f"{column} is {_short(cell)}, longer than {_LONGEST_CELL} characters.")
        if not row.customer:
            raise _Refused("customer is empty: an answer is stored with the shop's own id of who gave it.")
        at_ms = self._time(row.answered_at)
        value = _value(instrument, row.value)
        source = (row.session and f"session\0{row.session}") or f"time\0{at_ms}"
        # as long as the UUIDs of other sessions, for whom buttons have room
        session_id = f"import-{_hash(row.customer, row.survey_kind, row.touchpoint, source)[:29]}"
        label_set = row.label_set or self._labels.get((name, row.wording_id), "")
        day = datetime.fromtimestamp(at_ms / 1000, self._tz).date()
        content = [name, value.text, value.missing, row.wording_id, label_set, row.lang, row.channel, row.segment]
        wave_id = ""
        if row.wave:
            wave_id = f"import-{_hash(row.customer, row.wave)[:29]}"
            content.append(wave_id)
        answer = Answer(
            id=_answer_id(at_ms, session_id, *content),
            session_id=session_id,
            customer_id=row.customer,
            question=name,
            instrument=name,
            wording_id=row.wording_id,
            label_set=label_set,
            value=value.text,
            missing=value.missing,
            numeric=instrument.kind != "text",
            lang=row.lang,
            channel=row.channel,
            survey_kind=row.survey_kind,
            touchpoint=row.touchpoint,
            segment=row.segment,
            flow_id="",
            revision="",
            shown_ms=at_ms,
            answered_ms=at_ms,
            week=(day - timedelta(days=day.weekday())).isoformat(),
            wave_id=wave_id,
        )
        return answer, value

    def _time(self, text: str) -> int:
        if not text:
            raise _Refused("answered_at is empty: an answer is stored with the time it was given.")
        at_ms = instant_ms(text, self._tz)
        if at_ms is None:
            raise _Refused(f"answered_at is {_short(text)}, which is no time such as 2026-11-16T10:00:00+09:00.")
        if at_ms < _EARLIEST_MS:
            raise _Refused(f"answered_at is {_short(text)}, before the year 2000.")
        if at_ms > self._now_ms + _CLOCKS_DIFFER_MS:
            raise _Refused(f"answered_at is {_short(text)}, which is still to come.")
        return at_ms


def _value(instrument: Instrument, raw: str) -> _Value:
    """An answer as a conversation would have stored it. Raises _Refused for one that is invalid: it could enter no
    score."""
    match instrument.kind:
        case "scale":
            parsed = parse_scale(raw, instrument.low, instrument.high)
            expected = f"a whole number from {instrument.low} to {instrument.high}"
        case "yes_no":
            parsed = parse_yes_no(raw)
            expected = "yes or no"
        case "multi":
            # nothing but the exclusive code is "none of these", whatever that code is called
            exclusive = instrument.exclusive or "none"
            codes = [choice.value for choice in instrument.choices if choice.value != exclusive]
            parsed = parse_multi("none" if raw.strip() == exclusive else raw, codes)
            expected = f"codes joined by ; out of {', '.join((*codes, exclusive))}"
            if parsed.kind == "valid":
                return _Value(";".join(parsed.codes) or exclusive, dropped=parsed.invalid_codes)
        case "text":
            parsed = parse_text(raw)
            words = raw.strip()
            if parsed.kind == "valid":
                return _Value(words[:_LONGEST_TEXT], cut=len(words) > _LONGEST_TEXT)
            expected = "text"
        case _:
            code = unicodedata.normalize("NFKC", raw).strip()
            known = [choice.value for choice in instrument.choices]
            if code in known:
                return _Value(code)
            parsed = parse_text(raw)
            if parsed.kind == "valid":
                parsed = Parsed("invalid")
            expected = f"one of {', '.join(known)}"
    if parsed.kind == "missing":
        return _Value("", missing=parsed.reason or "skipped")
    if parsed.kind == "invalid":
        raise _Refused(f"value is {_short(raw)}, no answer to {instrument.id}: {expected}.")
    if instrument.kind == "yes_no":
        return _Value("yes" if parsed.code else "no")
    return _Value(str(parsed.code))


def _answer_id(at_ms: int, *content: str) -> str:
    """A UUID (version 8) that sorts by the time of the answer and is the same for the same content.

    >>> _answer_id(1_000, "nps", "9") == _answer_id(1_000, "nps", "9")
    True
    >>> _answer_id(1_000, "nps", "9") < _answer_id(1_001, "nps", "9"), _answer_id(1_000, "nps", "9")[14]
    (True, '8')
    """
    mixed = int(_hash(*content)[:19], 16)
    text = f"{at_ms:012x}8{mixed >> 64:03x}{(mixed & (2**62 - 1)) | (0b10 << 62):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _hash(*parts: str) -> str:
    # surrogates cannot come from UTF-8; the unit separator cannot be typed into a cell by accident
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "…")

"""A shop's past, written in bulk: the same rows into a store and into Parquet files, week by week.

A week depends on its Monday and on how much is answered, never on how many weeks are written, so the last weeks of a
long history are those of a short one, row for row. The roll-up of the store is what `recompute_rollup` makes of the
rows; `tests.bench.metrics` proves it against two other ways of counting.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.records import Answer, RollupCell
from storage.store import Store, Tx, open_store

LAST_MONDAY = date(2026, 11, 9)
"""Of the last complete week; the digest is made on the Monday after it, at nine."""
_JST_MS = 9 * 3_600_000
_DAY_MS = 86_400_000
NOW_MS = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp() * 1000)
"""Monday 16 November 2026, 09:00 in Tokyo."""
ANSWERS_PER_SESSION = 4.5
_PURCHASE = ("sat5", "nps", "reason", "affinity", "emotion")
_SUPPORT = ("ces_effort", "sat5", "reason")
_SCALES = {
    "nps": (0, (2, 1, 1, 3, 3, 16, 11, 17, 24, 12, 10)),
    "sat5": (1, (4, 8, 20, 38, 30)),
    "affinity": (1, (6, 14, 30, 32, 18)),
    "ces_effort": (1, (22, 24, 18, 14, 10, 7, 5)),
}
_EMOTIONS = ("relief", "pride", "excitement", "liking", "empathy", "trust", "support")
_SEGMENTS = ("shibuya", "shinjuku", "ikebukuro", "yokohama", "nagoya", "kyoto", "umeda", "namba", "tenjin", "online")
_COMMENTS = (
    "梱包が丁寧でした",
    "届くのが遅かったです",
    "説明が分かりにくい",
    "対応が早くて助かりました",
    "値段の割に良い",
)
SCORED = frozenset({*_SCALES, "emotion"})
"""What is counted: everything asked but the comment."""
_BLANK = 0.04
_NAMELESS = 0.02
_ENGLISH = 0.1
_COMMENTED = 0.08


@dataclass(frozen=True, slots=True)
class Sitting:
    """One answered survey."""

    id: str
    number: int
    customer: str
    touchpoint: str
    channel: str
    segment: str
    begun_ms: int
    answers: tuple[Answer, ...]


def monday_before(weeks: int) -> date:
    """The Monday so many weeks before the last complete week."""
    return LAST_MONDAY - timedelta(weeks=weeks)


def start_of(monday: date) -> int:
    """Monday 00:00 in Tokyo as milliseconds."""
    return int(datetime(monday.year, monday.month, monday.day, tzinfo=UTC).timestamp() * 1000) - _JST_MS


def sittings(monday: date, count: int, *, customers: int) -> Iterator[Sitting]:
    """The surveys of one week in order of time. Customers are drawn with replacement, so that some answer twice."""
    rng = np.random.default_rng(monday.toordinal())
    start_ms, week = start_of(monday), monday.isoformat()
    begun = np.sort(rng.integers(0, 7 * _DAY_MS - 600_000, count)) + start_ms
    who = rng.integers(0, customers, count)
    scales = {
        instrument: (rng.choice(len(shares), count, p=np.array(shares) / sum(shares)) + low).tolist()
        for instrument, (low, shares) in _SCALES.items()
    }
    felt = (rng.random((count, len(_EMOTIONS))) < 0.2).tolist()
    blank = (rng.random((count, len(_PURCHASE))) < _BLANK).tolist()
    nameless, english, commented = ((rng.random(count) < p).tolist() for p in (_NAMELESS, _ENGLISH, _COMMENTED))
    support, slack = ((rng.random(count) < 0.25).tolist() for _ in range(2))
    shops = rng.integers(0, len(_SEGMENTS), count).tolist()
    for number, (begun_ms, customer) in enumerate(zip(begun.tolist(), who.tolist(), strict=True)):
        session = f"{begun_ms:012x}-7{number:07x}"
        touchpoint, asked = ("support", _SUPPORT) if support[number] else ("purchase", _PURCHASE)
        common = (
            "en" if english[number] else "ja",
            "slack" if slack[number] else "line",
            "transactional",
            touchpoint,
            _SEGMENTS[shops[number]],
            f"after_{touchpoint}",
            "r1",
        )
        answers = []
        for place, instrument in enumerate(asked):
            missing = "skipped" if blank[number][place] else ""
            if instrument == "reason":
                value = _COMMENTS[number % len(_COMMENTS)] if commented[number] else ""
                missing = "" if value else "skipped"
            elif missing:
                value = ""
            elif instrument == "emotion":
                chosen = [name for name, is_felt in zip(_EMOTIONS, felt[number], strict=True) if is_felt]
                value = ";".join(chosen) or "none"
            else:
                value = str(scales[instrument][number])
            at_ms = begun_ms + 8_000 * (place + 1)
            answers.append(
                Answer(
                    f"{at_ms:012x}-{number:07x}",
                    session,
                    "" if nameless[number] else f"C{customer:07d}",
                    instrument,  # the question has the name of its instrument
                    instrument,
                    f"{instrument}.score",
                    "plain" if instrument == "sat5" else "",
                    value,
                    missing,
                    instrument != "reason",
                    *common,
                    at_ms - 6_000,
                    at_ms,
                    week,
                    late=False,
                    message_ids="",
                    replaced_ms=None,
                    quote_ok=False,
                    wave_id="",
                )
            )
        yield Sitting(
            session, number, answers[0].customer_id, touchpoint, common[1], common[4], begun_ms, tuple(answers)
        )


# ------------------------------------------------------------------------------------------------- where they go

_ANSWER_FIELDS = tuple(f.name for f in fields(Answer) if f.name != "replaced_ms")
_CELL_COLUMNS = tuple(f.name for f in fields(RollupCell))
_PARQUET = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "customer_id", *_CELL_COLUMNS[:-2])),
        ("numeric", pa.bool_()),
        ("answered_ms", pa.int64()),
    ]
)


async def write_store(database: Path, weeks: int, count: int, *, customers: int, parquet: Path | None = None) -> int:
    """A store with so many weeks of so many surveys, and as one Parquet file; the number of answers.

    Invitations, sessions and purchases come with the answers. The year before the last week has its purchases
    however many weeks were surveyed, because a shop sold before it asked.
    """
    store = await open_store(f"sqlite:///{database}", now_ms=NOW_MS)
    await store.close()
    written = 0
    with contextlib.closing(sqlite3.connect(database)) as db, contextlib.ExitStack() as stack:
        writer = stack.enter_context(pq.ParquetWriter(parquet, _PARQUET)) if parquet else None
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY"):
            db.execute(f"PRAGMA {pragma}")
        indexes = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''"
            " AND tbl_name IN ('answers', 'events', 'invitations', 'sessions')"
        ).fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        for back in reversed(range(max(weeks, 56))):
            found = list(sittings(monday_before(back), count, customers=customers))
            _write_purchases(db, found)
            if back < weeks:
                _write_surveys(db, found)
                answers = [answer for sitting in found for answer in sitting.answers]
                _write_answers(db, answers)
                written += len(answers)
                if writer is not None:
                    writer.write_table(_table(answers))
            db.commit()
        for _, sql in indexes:  # sorted once at the end: an index filled at random costs several times as much
            db.execute(sql)
        db.commit()
    async with await open_store(f"sqlite:///{database}", now_ms=NOW_MS) as store:
        cells = await store.read(lambda tx: tx.recompute_rollup())
    with contextlib.closing(sqlite3.connect(database)) as db:
        _insert(db, "rollup", _CELL_COLUMNS, map(astuple, cells))
        db.commit()
        db.execute("PRAGMA journal_mode = WAL")
    return written


def _insert(db: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterator[tuple[object, ...]]) -> None:
    marks = ", ".join("?" * len(columns))
    db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def _write_answers(db: sqlite3.Connection, answers: Sequence[Answer]) -> None:
    columns = ["countable" if name == "numeric" else name for name in _ANSWER_FIELDS]
    _insert(db, "answers", columns, map(attrgetter(*_ANSWER_FIELDS), answers))


def _table(answers: Sequence[Answer]) -> pa.Table:
    return pa.table({name: list(map(attrgetter(name), answers)) for name in _PARQUET.names}, schema=_PARQUET)


def _write_purchases(db: sqlite3.Connection, found: Sequence[Sitting]) -> None:
    columns = ("id", "type", "occurred_ms", "received_ms", "customer_id", "data", "imported", "order_id", "ticket_id")
    data = json.dumps({"amount": 5400, "product": "マグカップ"}, ensure_ascii=False)
    _insert(
        db,
        "events",
        columns,
        (
            (f"e-{s.id}", "purchase", s.begun_ms - 7 * _DAY_MS, s.begun_ms - 7 * _DAY_MS, s.customer, data, 0, "", "")
            for s in found
            if s.customer
        ),
    )


def _write_surveys(db: sqlite3.Connection, found: Sequence[Sitting]) -> None:
    """One invitation in three was not answered: what it stands for is a session that nobody began."""
    invitation = (
        "id", "trigger_id", "flow_id", "survey_kind", "touchpoint", "customer_id", "event_id", "channel", "segment",
        "state", "reason", "planned_ms", "due_ms", "expires_ms", "sent_ms", "session_id", "note", "requested_by",
    )  # fmt: skip
    session = (
        "id", "invitation_id", "flow_id", "revision", "survey_kind", "touchpoint", "segment", "customer_id", "channel",
        "workspace", "external_id", "lang", "state", "status", "version", "created_ms", "started_ms", "ended_ms",
        "expires_ms",
    )  # fmt: skip
    invitations, sessions = [], []
    for s in found:
        sent_ms = s.begun_ms - 60_000
        sent = [(s.id, s.customer, sent_ms, s.begun_ms, s.answers[-1].answered_ms)]
        if s.number % 2:
            nobody = f"C{int(s.customer[1:] or 0) + 1:07d}"
            sent.append((f"{s.id}-unanswered", nobody, sent_ms, None, None))
        for id_, customer, at_ms, started_ms, ended_ms in sent:
            flow, kind = f"after_{s.touchpoint}", "transactional"
            invitations.append(
                (f"i-{id_}", "t", flow, kind, s.touchpoint, customer, "", s.channel, s.segment, "sent", "", at_ms,
                 at_ms, None, at_ms, id_, "", "")
            )  # fmt: skip
            sessions.append(
                (id_, f"i-{id_}", flow, "r1", kind, s.touchpoint, s.segment, customer, s.channel, "U0", f"U{id_}",
                 "ja", "", "completed" if ended_ms else "expired", 6, at_ms, started_ms, ended_ms, None)
            )  # fmt: skip
    _insert(db, "invitations", invitation, iter(invitations))
    _insert(db, "sessions", session, iter(sessions))


async def record_one_by_one(store: Store, found: Sequence[Sitting], *, seed: int) -> None:
    """A week as it happens: `record_answer` for every answer, in any order, with answers that are corrected, taken back
    and given late among them; what stands in the end is exactly the week."""
    rng = np.random.default_rng(seed)
    answers = [answer for sitting in found for answer in sitting.answers]
    order = rng.permutation(len(answers)).tolist()
    corrected = set(rng.choice(len(answers), len(answers) // 50, replace=False).tolist())
    strangers = set(rng.choice(len(answers), len(answers) // 50, replace=False).tolist())
    for first in range(0, len(order), 500):
        part = order[first : first + 500]

        def unit(tx: Tx, part: Sequence[int] = part) -> None:
            for place in part:
                answer = answers[place]
                if place in corrected and answer.numeric:
                    tx.record_answer(_draft_of(answer))
                tx.record_answer(answer)
                if place in strangers and answer.numeric:
                    other = _elsewhere(answer)
                    tx.record_answer(other)
                    tx.retract_answer(other.session_id, other.question, other.answered_ms + 1)

        await store.write(unit)


def _draft_of(answer: Answer) -> Answer:
    """What was tapped first, and corrected by the answer."""
    return replace(answer, id=f"{answer.id}-draft", value="1", missing="", answered_ms=answer.answered_ms - 1_000)


def _elsewhere(answer: Answer) -> Answer:
    """A later answer of the same customer in a session of its own: it supersedes until it is taken back."""
    return replace(
        answer,
        id=f"{answer.id}-taken-back",
        session_id=f"{answer.session_id}-other",
        value="1",
        missing="",
        answered_ms=answer.answered_ms + 4_000,
        late=True,
    )


def write_csv(path: Path, monday: date, answers: int, *, customers: int) -> int:
    """A file of answers as another tool exports it; the number of rows."""
    columns = ("answered_at", "customer", "survey_kind", "touchpoint", "channel", "segment", "session", "instrument")
    written = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([*columns, "value", "lang", "wording_id", "label_set"])
        for sitting in sittings(monday, int(answers / ANSWERS_PER_SESSION), customers=customers):
            for a in sitting.answers:
                at = datetime.fromtimestamp((a.answered_ms + _JST_MS) / 1000, UTC)
                out.writerow(
                    (
                        at.strftime("%Y-%m-%dT%H:%M:%S+09:00"), a.customer_id, a.survey_kind, a.touchpoint, a.channel,
                        a.segment, a.session_id, a.instrument, a.value, a.lang, a.wording_id, a.label_set,
                    )
                )  # fmt: skip
                written += 1
    return written

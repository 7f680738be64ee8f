"""A shop's past, written in bulk: the same rows into a store and into Parquet files, week by week.

A week depends on its Monday and on how much is answered, never on how many weeks are written, so the last weeks of a
long history are those of a short one, row for row. The roll-up is counted beside the rows; `tests.bench.metrics` proves
it against `recompute_rollup`, `record_answer` and DuckDB.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from itertools import combinations, repeat
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import structs

from storage.records import Answer, RollupCell
from storage.store import Store, Tx, open_store

LAST_MONDAY = date(2026, 11, 9)
"""Of the last complete week; the digest is made on the Monday after it, at nine."""
_JST_MS = 9 * 3_600_000
_DAY_MS = 86_400_000
NOW_MS = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp() * 1000)
"""Monday 16 November 2026, 09:00 in Tokyo."""
ANSWERS_PER_SESSION = 4.5
_SEGMENTS = ("shibuya", "shinjuku", "ikebukuro", "yokohama", "nagoya", "kyoto", "umeda", "namba", "tenjin", "online")
_CHANNELS, _SLACK = ("line", "slack"), 0.25
_LANGS, _ENGLISH = ("ja", "en"), 0.1
_TOUCHPOINTS, _SUPPORT = ("purchase", "support"), 0.25
_ASKED = (("sat5", "nps", "reason", "affinity", "emotion"), ("ces_effort", "sat5", "reason"))
_BLANK = 0.04
_NAMELESS = 0.02


def _scale(low: int, shares: Sequence[int]) -> dict[str, float]:
    return {str(low + place): share / sum(shares) for place, share in enumerate(shares)}


def _selections(codes: Sequence[str], each: float) -> dict[str, float]:
    """Every selection, when each code is chosen by itself."""
    subsets = [chosen for size in range(len(codes) + 1) for chosen in combinations(codes, size)]
    return {
        ";".join(chosen) or "none": each ** len(chosen) * (1 - each) ** (len(codes) - len(chosen)) for chosen in subsets
    }


_REPLIES = {
    "sat5": _scale(1, (4, 8, 20, 38, 30)),
    "nps": _scale(0, (2, 1, 1, 3, 3, 16, 11, 17, 24, 12, 10)),
    "affinity": _scale(1, (6, 14, 30, 32, 18)),
    "ces_effort": _scale(1, (22, 24, 18, 14, 10, 7, 5)),
    "emotion": _selections(("relief", "pride", "excitement", "liking", "empathy", "trust", "support"), 0.2),
    "reason": {"": 0.92, "梱包が丁寧でした": 0.03, "届くのが遅かったです": 0.02, "説明が分かりにくい": 0.03},
}
"""Question → reply → how likely it is."""
_INSTRUMENTS = tuple(_REPLIES)
_QUESTIONS = np.array(
    [[_INSTRUMENTS.index(name) for name in asked] + [-1] * (5 - len(asked)) for asked in _ASKED], dtype=int
)
"""touchpoint × place → question."""
SCORED = frozenset(_REPLIES) - {"reason"}

Columns = dict[str, list[Any]]


def monday_before(weeks: int) -> date:
    """The Monday so many weeks before the last complete week."""
    return LAST_MONDAY - timedelta(weeks=weeks)


def week_of(monday: date, count: int, *, customers: int) -> tuple[Columns, Columns]:
    """The surveys of one week in order of time, and their answers under the names of `Answer`, as columns. Customers
    are drawn with replacement, so that some answer twice."""
    rng = np.random.default_rng(monday.toordinal())
    midnight_ms = int(datetime(monday.year, monday.month, monday.day, tzinfo=UTC).timestamp() * 1000) - _JST_MS
    begun = np.sort(rng.integers(0, 7 * _DAY_MS - 600_000, count)) + midnight_ms
    support = (rng.random(count) < _SUPPORT).astype(int)
    names = np.array([f"C{number:07d}" for number in rng.integers(0, customers, count).tolist()], dtype=object)
    names[rng.random(count) < _NAMELESS] = ""
    of_survey = {
        "id": np.array([f"{at:012x}-7{place:07x}" for place, at in enumerate(begun.tolist())], dtype=object),
        "customer_id": names,
        "touchpoint": _drawn(_TOUCHPOINTS, support),
        "channel": _drawn(_CHANNELS, rng.random(count) < _SLACK),
        "segment": _drawn(_SEGMENTS, rng.integers(0, len(_SEGMENTS), count)),
        "lang": _drawn(_LANGS, rng.random(count) < _ENGLISH),
        "begun_ms": begun,
    }
    asked = np.array([len(questions) for questions in _ASKED])[support]
    survey = np.repeat(np.arange(count), asked)
    place = np.arange(len(survey)) - np.repeat(np.cumsum(asked) - asked, asked)
    question = _QUESTIONS[support[survey], place]
    values = np.empty(len(survey), dtype=object)
    for code, replies in enumerate(_REPLIES.values()):
        of_question = question == code
        chances = np.array(list(replies.values()))
        values[of_question] = _drawn(tuple(replies), rng.choice(len(replies), of_question.sum(), p=chances))
    values[rng.random(len(survey)) < _BLANK] = ""
    instrument = _drawn(_INSTRUMENTS, question)
    answered_ms = begun[survey] + 8_000 * (place + 1)
    by_survey = {name: column[survey] for name, column in of_survey.items()}
    answers = {
        "id": [f"{at:012x}-{number:07x}" for number, at in enumerate(answered_ms.tolist())],
        "session_id": by_survey["id"],
        "customer_id": by_survey["customer_id"],
        "question": instrument,
        "instrument": instrument,
        "wording_id": _drawn(tuple(f"{name}.score" for name in _INSTRUMENTS), question),
        "label_set": _drawn(tuple("plain" if name == "sat5" else "" for name in _INSTRUMENTS), question),
        "value": values,
        "missing": _drawn(("", "skipped"), values == ""),
        "numeric": instrument != "reason",
        "lang": by_survey["lang"],
        "channel": by_survey["channel"],
        "survey_kind": ["transactional"] * len(survey),
        "touchpoint": by_survey["touchpoint"],
        "segment": by_survey["segment"],
        "flow_id": _drawn(tuple(f"after_{name}" for name in _TOUCHPOINTS), support[survey]),
        "revision": ["r1"] * len(survey),
        "shown_ms": answered_ms - 6_000,
        "answered_ms": answered_ms,
        "week": [monday.isoformat()] * len(survey),
    }
    return _lists(of_survey), _lists(answers)


def _drawn(words: Sequence[str], places: Any) -> Any:
    return np.array(words, dtype=object)[np.asarray(places, dtype=int)]


def _lists(columns: Mapping[str, Any]) -> Columns:
    return {name: column if isinstance(column, list) else column.tolist() for name, column in columns.items()}


def answers_of(columns: Columns) -> list[Answer]:
    """The rows of a week."""
    return [Answer(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


# ------------------------------------------------------------------------------------------------- where they go

_CELL_COLUMNS = tuple(f.name for f in fields(RollupCell))
_PARQUET = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "customer_id", *_CELL_COLUMNS[:-2])),
        ("numeric", pa.bool_()),
        ("answered_ms", pa.int64()),
    ]
)
_YEAR = 65
"""Weeks with purchases: more than the figures of eight weeks look back on."""


async def write_store(database: Path, weeks: int, count: int, *, customers: int, parquet: Path | None = None) -> int:
    """A store with so many weeks of so many surveys, and the answers as one Parquet file; their number.

    Invitations, sessions and purchases come with them. The year before has its purchases however many weeks were
    surveyed, because a shop sold before it asked.
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
        for back in reversed(range(max(weeks, _YEAR))):
            surveys, answers = week_of(monday_before(back), count, customers=customers)
            _write_purchases(db, surveys)
            if back < weeks:
                _write_surveys(db, surveys)
                _insert(db, "answers", {"countable" if n == "numeric" else n: c for n, c in answers.items()}, _PLAIN)
                _insert(db, "rollup", _cells(answers))
                written += len(answers["id"])
                if writer is not None:
                    writer.write_table(pa.table({name: answers[name] for name in _PARQUET.names}, schema=_PARQUET))
            db.commit()
        for _, sql in indexes:  # sorted once at the end: an index filled at random costs several times as much
            db.execute(sql)
        db.commit()
        db.execute("PRAGMA journal_mode = WAL")
    return written


def forget_columns(database: Path) -> None:
    """As if no digest had been made yet: no week is kept as columns."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.execute("DELETE FROM week_columns")
        db.commit()


def _cells(answers: Columns) -> Columns:
    """The roll-up of one week's answers."""
    frame = pd.DataFrame(answers)
    frame = frame[frame["numeric"]]
    valid, named = frame["missing"] == "", frame["customer_id"] != ""
    who = ["customer_id", "instrument", "survey_kind", "touchpoint"]
    latest = frame[valid & named].sort_values(["answered_ms", "id"]).drop_duplicates(who, keep="last").index
    counted = (valid & ~named) | frame.index.isin(latest)
    cells = frame.assign(counted=counted).groupby(list(_CELL_COLUMNS[:-2]), sort=False)["counted"]
    counts = cells.agg(["size", "sum"]).reset_index()
    return dict(zip(_CELL_COLUMNS, (counts[name].tolist() for name in counts.columns), strict=True))


_PLAIN = {"late": 0, "message_ids": "", "quote_ok": 0}


def _insert(
    db: sqlite3.Connection,
    table: str,
    columns: Mapping[str, Sequence[Any]],
    same: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Rows of a table from its columns; `same` are columns with one value for all rows."""
    names, marks = ", ".join([*columns, *same]), ", ".join("?" * (len(columns) + len(same)))
    rows = zip(*columns.values(), *(repeat(value) for value in same.values()), strict=False)
    db.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)


def _write_purchases(db: sqlite3.Connection, surveys: Columns) -> None:
    named = [place for place, customer in enumerate(surveys["customer_id"]) if customer]
    bought = [surveys["begun_ms"][place] - 7 * _DAY_MS for place in named]
    columns = {
        "id": [f"e-{surveys['id'][place]}" for place in named],
        "customer_id": [surveys["customer_id"][place] for place in named],
        "occurred_ms": bought,
        "received_ms": bought,
    }
    data = json.dumps({"amount": 5400, "product": "マグカップ"}, ensure_ascii=False)
    _insert(db, "events", columns, {"type": "purchase", "data": data, "imported": 0, "order_id": "", "ticket_id": ""})


def _write_surveys(db: sqlite3.Connection, surveys: Columns) -> None:
    """An invitation and a session for each; every other customer who answered stands for one who did not."""
    for ending, status, step in (("", "completed", 1), ("-unanswered", "expired", 2)):
        ids = [f"{id_}{ending}" for id_ in surveys["id"][::step]]
        sent = [at_ms - 60_000 for at_ms in surveys["begun_ms"][::step]]
        answered = status == "completed"
        customers = surveys["customer_id"] if answered else [*surveys["customer_id"][1::step], ""]
        both = {
            "customer_id": customers[: len(ids)],
            **{name: surveys[name][::step] for name in ("touchpoint", "channel", "segment")},
            "flow_id": [f"after_{name}" for name in surveys["touchpoint"][::step]],
        }
        invitations = {"id": [f"i-{id_}" for id_ in ids], "session_id": ids, **both}
        invitations |= {"planned_ms": sent, "due_ms": sent, "sent_ms": sent}
        plain = {"trigger_id": "t", "survey_kind": "transactional", "event_id": "", "state": "sent", "reason": ""}
        _insert(db, "invitations", invitations, {**plain, "expires_ms": None, "note": "", "requested_by": ""})
        sessions = {"id": ids, "invitation_id": invitations["id"], "external_id": [f"U{id_}" for id_ in ids], **both}
        sessions |= {"lang": surveys["lang"][::step], "created_ms": sent}
        begun = surveys["begun_ms"] if answered else [None] * len(ids)
        sessions |= {"started_ms": begun, "ended_ms": begun}
        plain = {"revision": "r1", "survey_kind": "transactional", "workspace": "U0", "state": "", "status": status}
        _insert(db, "sessions", sessions, {**plain, "version": 6, "expires_ms": None})


async def record_one_by_one(store: Store, answers: Sequence[Answer], *, seed: int) -> None:
    """A week as it happens: `record_answer` for every answer, in any order, with answers that are corrected, taken back
    and given late among them; what stands in the end is exactly the week."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(answers)).tolist()
    corrected, doubled = (set(rng.choice(len(answers), len(answers) // 50, replace=False).tolist()) for _ in range(2))
    for first in range(0, len(order), 500):
        part = order[first : first + 500]

        def unit(tx: Tx, part: Sequence[int] = part) -> None:
            for place in part:
                answer = answers[place]
                if place in corrected and answer.numeric:
                    tx.record_answer(_draft_of(answer))
                tx.record_answer(answer)
                if place in doubled and answer.numeric:
                    other = _elsewhere(answer)
                    tx.record_answer(other)
                    tx.retract_answer(other.session_id, other.question, other.answered_ms + 1)

        await store.write(unit)


def _draft_of(answer: Answer) -> Answer:
    """What was tapped first, and corrected by the answer."""
    return structs.replace(
        answer, id=f"{answer.id}-draft", value="1", missing="", answered_ms=answer.answered_ms - 1_000
    )


def _elsewhere(answer: Answer) -> Answer:
    """A later answer of the same customer in a session of its own: it supersedes until it is taken back."""
    return structs.replace(
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
    _, columns = week_of(monday, round(answers / ANSWERS_PER_SESSION), customers=customers)
    names = {"customer_id": "customer", "session_id": "session"}
    kept = ("customer_id", "survey_kind", "touchpoint", "channel", "segment", "session_id", "instrument", "value",
            "lang", "wording_id", "label_set")  # fmt: skip
    table = {
        "answered_at": [
            datetime.fromtimestamp((at_ms + _JST_MS) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+09:00")
            for at_ms in columns["answered_ms"]
        ],
        **{names.get(name, name): columns[name] for name in kept},
    }
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(table)
        out.writerows(zip(*table.values(), strict=True))
    return len(columns["id"])

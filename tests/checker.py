"""The history checker (reliability.md §1.4): what must be true of a database and of the platforms' screens after
whatever happened. Run it after every whole talk, crash and soak test:

    assert check_history(database, line=line, slack=slack, now_ms=now_ms) == []

It trusts nothing of `bot/`: rows are read as they lie in the file, and the stand-ins' chats are the only truth about
what a person saw.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from bot.line.messages import render_messages, unpack_bubbles
from bot.slack import messages as slack_messages
from bot.standins.line import LineStandin
from bot.standins.slack import SlackStandin
from storage.connection import Params, Row
from storage.store import Tx

ENDS = frozenset({"done", "expired", "dead", "cancelled", "uncertain"})
CALM = frozenset({"done", "expired", "cancelled"})
"""How jobs end when the platforms worked all the time, whatever happened to Koe."""
_UNFINISHED = frozenset({"ready", "leased", "held"})


def check_history(
    database: Path,
    *,
    now_ms: int,
    line: LineStandin | None = None,
    slack: SlackStandin | None = None,
    events: Collection[str] = (),
    ends: Collection[str] = ENDS,
    plain: bool = False,
    hours: tuple[int, int] | None = None,
    tz: str = "Asia/Tokyo",
    lag_ms: int = 0,
) -> list[str]:
    """Sentences about what is wrong; empty when every promise was kept.

    Args:
        database: The SQLite file. Nothing that is due may be waiting to be done: settle first.
        now_ms: The clock of whoever worked on it.
        line: The local LINE the shop talked to; None leaves its screens out.
        slack: The local Slack, likewise.
        events: Ids of business events that were answered with 2xx.
        ends: How a job may end.
        plain: Nobody corrected, repeated or was reminded: each question was asked once and answered once.
        hours: When Koe may start a talk, (first minute, minute after the last) in `tz`; None: at any time.
        lag_ms: How far the platforms' clock and Koe's may be apart (0 on a story's clock).
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        db.execute("BEGIN")
        history = _History.read(db)
        wrong = [*Tx(_Reading(db)).check_integrity()]
    wrong += history.answers_that_count_twice()
    wrong += history.jobs_left_over(now_ms, ends)
    wrong += history.questions_before_their_turn()
    wrong += history.events_not_stored(events)
    screens: list[_Screen] = []
    if line is not None:
        wrong += history.line_acknowledged_unstored(line)
        screens += _line_screens(line)
        wrong += history.line_shown_otherwise(line)
    if slack is not None:
        wrong += history.slack_acknowledged_unstored(slack)
        screens += _slack_screens(slack)
        wrong += history.slack_shown_otherwise(slack)
    for screen in screens:
        shown = history.jobs_of(screen)
        wrong += history.out_of_order(screen, shown)
        wrong += history.shown_after_the_end(screen, shown, lag_ms)
        if hours is not None:
            wrong += history.started_in_quiet_hours(screen, shown, hours, ZoneInfo(tz))
    if plain:
        wrong += history.asked_or_answered_again()
    return wrong


class _Reading:
    """A connection as storage.store.Tx wants it, on any SQLite file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def run(self, sql: str, params: Params = {}) -> int:  # noqa: B006 – never changed
        raise AssertionError(f"the checker writes nothing: {sql}")

    def one(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        return next(iter(self.all(sql, params)), None)

    def all(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006
        return self._db.execute(sql, dict(params)).fetchall()

    def damages(self) -> list[str]:
        found = [str(row[0]) for row in self.all("PRAGMA integrity_check")]
        return [f"SQLite: {word}" for word in found if word != "ok"] + [
            f"SQLite: a row of {row[0]} refers to nothing in {row[2]}" for row in self.all("PRAGMA foreign_key_check")
        ]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A message of Koe's on a screen. `key` finds its job: the job's id in Slack, the message itself in LINE."""

    at_ms: int
    key: str
    words: str


@dataclass(frozen=True, slots=True)
class _Screen:
    channel: str
    owner: str
    shown: tuple[_Shown, ...]


def _line_screens(line: LineStandin) -> Iterator[_Screen]:
    for user_id in line.users:
        entries = [entry for entry in line.chat(user_id) if entry.sender == "bot"]
        yield _Screen(
            "line", user_id, tuple(_Shown(e.at_ms, _packed(e.message), _packed(e.message)[:160]) for e in entries)
        )


def _slack_screens(slack: SlackStandin) -> Iterator[_Screen]:
    for channel_id in slack.channels:
        shown = []
        for message in slack.messages(channel_id):
            job = ((message.metadata or {}).get("event_payload") or {}).get("job")
            if job and message.bot_id:
                shown.append(_Shown(round(float(message.ts) * 1000), str(job), message.text[:80]))
        yield _Screen("slack", channel_id, tuple(shown))


def _packed(message: object) -> str:
    return json.dumps(message, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, slots=True)
class _History:
    """The rows, as dictionaries."""

    inbound: frozenset[tuple[str, str]]
    events: frozenset[str]
    jobs: dict[str, dict[str, Any]]
    """By id, oldest first."""
    sessions: dict[str, dict[str, Any]]
    answers: list[dict[str, Any]]
    former: list[dict[str, Any]]
    addresses: list[dict[str, Any]]
    digests: list[dict[str, Any]]

    @classmethod
    def read(cls, db: sqlite3.Connection) -> _History:
        def rows(sql: str) -> list[dict[str, Any]]:
            cursor = db.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

        return cls(
            inbound=frozenset((row["channel"], row["event_id"]) for row in rows("SELECT * FROM inbound")),
            events=frozenset(row["id"] for row in rows("SELECT id FROM events")),
            jobs={row["id"]: row for row in rows("SELECT * FROM jobs ORDER BY id")},
            sessions={row["id"]: row for row in rows("SELECT * FROM sessions ORDER BY id")},
            answers=rows("SELECT * FROM answers"),
            former=rows("SELECT * FROM former_answers"),
            addresses=rows("SELECT * FROM addresses"),
            digests=rows("SELECT * FROM digests"),
        )

    # --- stored

    def events_not_stored(self, events: Iterable[str]) -> list[str]:
        return [
            f"business event {event} was accepted and is not stored" for event in events if event not in self.events
        ]

    def line_acknowledged_unstored(self, line: LineStandin) -> list[str]:
        wrong = []
        for call in line.to_bot.webhooks:
            if 200 <= call.status < 300:
                lost = [e for e in call.events if ("line", str(e.get("webhookEventId"))) not in self.inbound]
                wrong += [
                    f"LINE event {e.get('webhookEventId')} ({e.get('type')}) was acknowledged unstored" for e in lost
                ]
        return wrong

    def slack_acknowledged_unstored(self, slack: SlackStandin) -> list[str]:
        wrong = []
        for payload, status in slack.to_bot.deliveries:
            if payload.get("type") in ("url_verification", "block_suggestion") or not 200 <= status < 300:
                continue
            event = payload.get("type") == "event_callback"
            key = slack_messages.event_key(payload) if event else slack_messages.interaction_key(payload)
            if ("slack", key) not in self.inbound:
                wrong.append(f"Slack {payload.get('type') or 'command'} {key} was acknowledged unstored")
        return wrong

    def answers_that_count_twice(self) -> list[str]:
        counts = Counter((row["session_id"], row["question"]) for row in self.answers)
        return [f"{count} answers count for {key}" for key, count in counts.items() if count > 1]

    # --- jobs

    def jobs_left_over(self, now_ms: int, ends: Collection[str]) -> list[str]:
        wrong = []
        for job in self.jobs.values():
            name = f"job {job['id']} ({job['kind']} {job['key']})"
            match job["state"]:
                case "leased":
                    wrong.append(f"{name} is still leased to {job['lease_owner']}: settle first, or a fence was lost")
                case "ready" if job["claim_ms"] <= now_ms and not self._waits_in_lane(job):
                    wrong.append(f"{name} was due {now_ms - job['claim_ms']} ms ago and was not done: {job['error']}")
                case state if state not in _UNFINISHED and state not in ends:
                    wrong.append(f"{name} ended {state}: {job['error']}")
        return wrong

    def _waits_in_lane(self, job: dict[str, Any]) -> bool:
        return bool(job["lane"]) and any(
            other["lane"] == job["lane"] and other["finished_ms"] is None and other["id"] < job["id"]
            for other in self.jobs.values()
        )

    # --- screens

    def jobs_of(self, screen: _Screen) -> list[dict[str, Any] | None]:
        """The job behind each message shown, None where several (or none) say the same."""
        if screen.channel == "slack":
            return [self.jobs.get(shown.key) for shown in screen.shown]
        saying = defaultdict(list)
        for job in self._sends_to(screen.owner):
            for message in _messages(job):
                saying[_packed(message)].append(job)
        return [(found[0] if len(found := saying.get(shown.key, [])) == 1 else None) for shown in screen.shown]

    def _sends_to(self, user_id: str) -> Iterator[dict[str, Any]]:
        for job in self.jobs.values():
            if job["kind"] == "send" and job["channel"] == "line" and job["lane"].rpartition(":")[2] == user_id:
                yield job

    def line_shown_otherwise(self, line: LineStandin) -> list[str]:
        """Each message of a finished job is on the screen once, of an uncertain one at most once, of others never."""
        wrong = []
        blocked = {row["external_id"] for row in self.addresses if row["blocked_ms"] is not None}
        for screen in _line_screens(line):
            must: Counter[str] = Counter()
            may: Counter[str] = Counter()
            forgotten = False
            for job in self._sends_to(screen.owner):
                forgotten = forgotten or job["payload"] == "{}"
                told = Counter(_packed(message) for message in _messages(job))
                must += told if job["state"] == "done" else Counter()
                # cancelled, expired or given up while a call of unknown outcome was under way
                may += told if job["state"] != "done" and job["attempts"] > 0 else Counter()
            seen = Counter(shown.key for shown in screen.shown)
            for message, count in seen.items():
                if count > must[message] + may[message] and not forgotten:
                    wrong.append(f"{screen.owner} sees {count} times what {must[message]} jobs said: {message[:200]}")
            if screen.owner in blocked or line.users[screen.owner].blocked:
                continue
            for message, count in must.items():
                if seen[message] < count:
                    wrong.append(f"{screen.owner} sees {seen[message]} times what {count} jobs said: {message[:200]}")
        return wrong

    def slack_shown_otherwise(self, slack: SlackStandin) -> list[str]:
        wrong = []
        seen = Counter(shown.key for screen in _slack_screens(slack) for shown in screen.shown)
        for job_id, count in seen.items():
            if count > 1:
                wrong.append(f"Slack shows the message of job {job_id} {count} times")
            if job_id not in self.jobs:
                wrong.append(f"Slack shows a message of job {job_id}, which does not exist")
        for job in self.jobs.values():
            posts = job["kind"] == "send" and job["channel"] == "slack" and not job["updates"]
            if posts and job["state"] == "done" and job["payload"] != "{}" and not seen[job["id"]]:
                wrong.append(f"Slack does not show the message of job {job['id']} ({job['key'] or job['asks']})")
        posted = {f"digest-post:{row['id']}:{row['period']}": row for row in self.digests}
        for job in self.jobs.values():
            digest = posted.get(job["key"])
            if digest is not None and (digest["posted_ms"] is None) == (job["state"] == "done"):
                wrong.append(f"digest {digest['id']} {digest['period']} is {digest['state']}, its post {job['state']}")
        return wrong

    def out_of_order(self, screen: _Screen, shown: Sequence[dict[str, Any] | None]) -> list[str]:
        jobs = [job for job in shown if job is not None]
        return [
            f"{screen.owner} saw job {later['id']} before job {earlier['id']} of the same lane"
            for later, earlier in pairwise(jobs)
            if later["id"] > earlier["id"] and later["lane"] == earlier["lane"]
        ]

    def shown_after_the_end(self, screen: _Screen, shown: Sequence[dict[str, Any] | None], lag_ms: int) -> list[str]:
        """Nothing of a survey reaches somebody who stopped it, blocked us or had it erased."""
        wrong = []
        for message, job in zip(screen.shown, shown, strict=True):
            if job is None or not job["session_id"]:
                continue
            if job["state"] == "cancelled" and message.at_ms > job["finished_ms"] + lag_ms:
                wrong.append(f"{screen.owner} was sent job {job['id']} after it was cancelled: {message.words}")
            session = self.sessions.get(job["session_id"])
            stopped = session is not None and session["status"] in ("opted_out", "blocked", "erased", "voided")
            if session is not None and stopped and job["asks"] and message.at_ms > session["ended_ms"] + lag_ms:
                wrong.append(f"{screen.owner} was asked {job['asks']} after the session was {session['status']}")
        return wrong

    def started_in_quiet_hours(
        self, screen: _Screen, shown: Sequence[dict[str, Any] | None], hours: tuple[int, int], tz: ZoneInfo
    ) -> list[str]:
        """What Koe starts by itself is an invitation or a reminder: queued with its session, or by its timer."""
        reminders = {(j["session_id"], j["finished_ms"]) for j in self.jobs.values() if j["kind"] == "remind"}
        wrong = []
        for message, job in zip(screen.shown, shown, strict=True):
            if job is None or job["session_id"] not in self.sessions:
                continue
            invited = job["created_ms"] == self.sessions[job["session_id"]]["created_ms"]
            if not invited and (job["session_id"], job["created_ms"]) not in reminders:
                continue
            local = datetime.fromtimestamp(message.at_ms / 1000, tz)
            if not hours[0] <= local.hour * 60 + local.minute < hours[1]:
                wrong.append(f"{screen.owner} was written to at {local:%H:%M}, in quiet hours: {message.words}")
        return wrong

    # --- questions

    def questions_before_their_turn(self) -> list[str]:
        """When a further question is queued, the one asked before it has been answered (or skipped)."""
        answered: dict[tuple[str, str], int] = {}
        for row in [*self.answers, *self.former]:
            key = (row["session_id"], row["question"])
            answered[key] = min(row["answered_ms"], answered.get(key, row["answered_ms"]))
        wrong = []
        before: dict[str, dict[str, Any]] = {}
        asked = set()
        for job in self.jobs.values():
            session = job["session_id"]
            if not job["asks"] or self.sessions.get(session, {}).get("state", "") == "":
                continue  # erased: its answers are gone
            if (session, job["asks"]) not in asked and session in before:
                last = before[session]["asks"]
                if answered.get((session, last), job["created_ms"] + 1) > job["created_ms"]:
                    wrong.append(f"session {session} was asked {job['asks']} before {last} was answered")
            asked.add((session, job["asks"]))
            before[session] = job
        return wrong

    def asked_or_answered_again(self) -> list[str]:
        asked = Counter((j["session_id"], j["asks"]) for j in self.jobs.values() if j["asks"])
        again = [f"{key} was asked {count} times" for key, count in asked.items() if count > 1]
        return again + [f"{row['session_id']} answered {row['question']} twice" for row in self.former]


def _messages(job: dict[str, Any]) -> list[Any]:
    payload = json.loads(job["payload"])
    if "bubbles" not in payload:
        return []
    return render_messages(unpack_bubbles(payload["bubbles"]), payload["session"], payload["lang"])

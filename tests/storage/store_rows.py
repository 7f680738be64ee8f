"""Rows for the tests of the store: complete by default, so that a test names only what it is about."""

# mypy: disable-error-code="arg-type"
# ruff: noqa: A002 – the rows' own words

from __future__ import annotations

import itertools
from typing import Any

from storage.records import Address, Answer, AuditEntry, Case, Customer, Digest, Event, Invitation, Job, Session

NOON = 1_795_000_000_000
"""2026-11-18, a Wednesday."""
DAY = 86_400_000
WEEK = "2026-11-16"
WEEK_BEFORE = "2026-11-09"

_numbers = itertools.count(1)


def new_id(prefix: str = "id") -> str:
    """Ids that grow in the order they were made, as the product's do."""
    return f"{prefix}-{next(_numbers):09d}"


def customer(id: str = "C001", **other: Any) -> Customer:
    return Customer(**({"id": id, "name": "山田 花子", "language": "ja", "created_ms": NOON} | other))


def address(external_id: str = "U001", customer_id: str = "C001", **other: Any) -> Address:
    return Address(
        **(
            {
                "channel": "line",
                "workspace": "Udest",
                "external_id": external_id,
                "customer_id": customer_id,
                "source": "event",
                "certainty": "linked",
                "language": "ja",
                "created_ms": NOON,
            }
            | other
        )
    )


def event(id: str, type: str = "purchase", **other: Any) -> Event:
    return Event(
        **(
            {"id": id, "type": type, "occurred_ms": NOON, "received_ms": NOON, "customer_id": "C001", "data": "{}"}
            | other
        )
    )


def invitation(id: str, **other: Any) -> Invitation:
    return Invitation(
        **(
            {
                "id": id,
                "trigger_id": "after-purchase",
                "flow_id": "after_purchase",
                "survey_kind": "transactional",
                "touchpoint": "purchase",
                "customer_id": "C001",
                "event_id": "",
                "channel": "line",
                "segment": "",
                "state": "sent",
                "reason": "",
                "planned_ms": NOON,
                "due_ms": NOON,
                "expires_ms": None,
                "sent_ms": NOON,
                "session_id": "",
            }
            | other
        )
    )


def session(id: str = "S1", **other: Any) -> Session:
    return Session(
        **(
            {
                "id": id,
                "invitation_id": f"inv-{id}",
                "flow_id": "after_purchase",
                "revision": "r1",
                "survey_kind": "transactional",
                "touchpoint": "purchase",
                "segment": "",
                "customer_id": "C001",
                "channel": "line",
                "workspace": "Udest",
                "external_id": "U001",
                "lang": "ja",
                "state": '{"at": "nps"}',
                "status": "open",
                "version": 1,
                "created_ms": NOON,
                "started_ms": None,
                "ended_ms": None,
                "expires_ms": None,
            }
            | other
        )
    )


def answer(value: str = "9", **other: Any) -> Answer:
    return Answer(
        **(
            {
                "id": new_id("A"),
                "session_id": "S1",
                "customer_id": "C001",
                "question": "nps",
                "instrument": "nps",
                "wording_id": "w1",
                "label_set": "l1",
                "value": value,
                "missing": "",
                "numeric": True,
                "lang": "ja",
                "channel": "line",
                "survey_kind": "transactional",
                "touchpoint": "purchase",
                "segment": "",
                "flow_id": "after_purchase",
                "revision": "r1",
                "shown_ms": NOON - 5000,
                "answered_ms": NOON,
                "week": WEEK,
            }
            | other
        )
    )


def job(id: str = "", **other: Any) -> Job:
    return Job(
        **({"id": id or new_id("J"), "kind": "send", "due_ms": NOON, "payload": "{}", "created_ms": NOON} | other)
    )


def case(id: str = "K1", **other: Any) -> Case:
    return Case(
        **(
            {
                "id": id,
                "customer_id": "C001",
                "session_id": "S1",
                "reason": "unhappy",
                "words": "届かない",
                "state": "open",
                "contact": "",
                "opened_ms": NOON,
                "due_ms": None,
            }
            | other
        )
    )


def digest(id: str = "weekly", period: str = "2026-W46", **other: Any) -> Digest:
    return Digest(
        **({"id": id, "period": period, "state": "due", "content": "{}", "created_ms": NOON, "posted_ms": None} | other)
    )


def audit(id: str = "", **other: Any) -> AuditEntry:
    return AuditEntry(
        **(
            {"id": id or new_id("L"), "at_ms": NOON, "actor": "U0STAFF", "action": "erase", "subject": "", "detail": ""}
            | other
        )
    )

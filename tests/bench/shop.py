"""The shop that is measured: its settings, its survey of five scale questions, its past, and its purchases."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import secrets
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.records import Address, Answer, Customer, Event, Invitation, Job, Session
from storage.store import Tx, open_store
from tests.bench.load import CHANNEL_SECRET, DESTINATION, LineApi, Survey, user_id
from tests.bench.wire import ClientSide, connect

QUESTIONS = (("sat", "sat5"), ("nps", "nps"), ("affinity", "affinity"), ("again", "repeat_intent"), ("nrs", "nrs"))
_DAY_MS = 86_400_000
_WITHIN_S = 120.0
_TILLS = 16

_KOE_YAML = """\
brand: {ja: 声の店, en: Koe Store}
privacy_url: https://example.com/privacy
support_hours: {days: mon-fri, hours: "10:00-17:00", holidays: JP}
retention: 2y
timezone: Asia/Tokyo
language: ja
triggers:
  - {id: after-purchase, on: purchase, flow: bench, channel: [line], segment: order.store}
contact: {hours: null, min_gap: null, per_year: null, touchpoint_gap: null, relational_gap: null,
  relational_ahead: null, after_complaint: null}
unhappy: {satisfaction_max: null, effort_min: null, nps_max: null, words: []}
"""
_FLOW_YAML = """\
id: bench
name: {ja: 計測, en: Benchmark}
survey_kind: transactional
touchpoint: purchase
invite: inv.purchase
questions:
""" + "".join(f"  - {{id: {question}, instrument: {instrument}}}\n" for question, instrument in QUESTIONS)
_ENDINGS = "endings:\n  - {say: end.middle}\n"
_PAST_CALL = json.dumps({"messages": [{"type": "text", "text": "質問" * 50}]}, ensure_ascii=False)
"""A tenth of a question: 100,000 customers are written within a minute, and a past message is never read again."""
_EVENTS_KEY = secrets.token_bytes(24)


def write_settings(folder: Path, *, api_port: int) -> dict[str, str]:
    """koe.yaml and the flow in `folder`; the environment that `koe serve` needs besides."""
    (folder / "flows").mkdir()
    (folder / "koe.yaml").write_text(_KOE_YAML, encoding="utf-8")
    (folder / "flows" / "bench.yaml").write_text(_FLOW_YAML + _ENDINGS, encoding="utf-8")
    return {
        "KOE_DATABASE_URL": f"sqlite:///{folder / 'koe.db'}",
        "KOE_CONFIG": str(folder / "koe.yaml"),
        "KOE_FLOWS_DIR": str(folder / "flows"),
        "KOE_SECRET_KEY": secrets.token_urlsafe(32),
        "KOE_EVENTS_SECRETS": "whsec_" + base64.b64encode(_EVENTS_KEY).decode(),
        "LINE_CHANNEL_SECRETS": CHANNEL_SECRET,
        "LINE_CHANNEL_ACCESS_TOKEN": secrets.token_urlsafe(64),
        "LINE_API_BASE_URL": f"http://127.0.0.1:{api_port}",
    }


async def stock(database: Path, customers: int) -> None:
    """Customers with a past: each bought something, was asked, and answered all five questions within 12 weeks."""
    now_ms = time.time_ns() // 1_000_000
    async with await open_store(f"sqlite:///{database}", now_ms=now_ms, server=True) as store:
        writes = [store.write(_past(n, min(n + 250, customers), now_ms)) for n in range(0, customers, 250)]
        for write in writes:
            await write
        await store.compact()


def _past(first: int, last: int, now_ms: int) -> Callable[[Tx], None]:
    def unit(tx: Tx) -> None:
        for number in range(first, last):
            _one_past(tx, number, now_ms)

    return unit


def _one_past(tx: Tx, number: int, now_ms: int) -> None:
    rng = random.Random(number)
    customer, user = f"C{number:07d}", user_id(number)
    at_ms = now_ms - rng.randrange(1, 84) * _DAY_MS - rng.randrange(_DAY_MS)
    day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    week = (day - timedelta(days=day.weekday())).isoformat()
    session_id = f"{at_ms:012x}7{number:019x}"
    session_id = "-".join((session_id[:8], session_id[8:12], session_id[12:16], session_id[16:20], session_id[20:]))
    segment = rng.choice(("shibuya", "umeda", "online"))
    tx.put_customer(Customer(customer, "山田 花子", "ja", at_ms))
    tx.put_address(Address("line", DESTINATION, user, customer, "event", "linked", "ja", at_ms))
    data = json.dumps({"order": f"P{number:07d}", "amount": 5400, "store": segment, "product": "マグカップ"})
    tx.note_event(Event(f"past-{number}", "purchase", at_ms, at_ms, customer, data))
    tx.put_invitation(
        Invitation(
            id=f"invitation-{number}",
            trigger_id="after-purchase",
            flow_id="bench",
            survey_kind="transactional",
            touchpoint="purchase",
            customer_id=customer,
            event_id=f"past-{number}",
            channel="line",
            segment=segment,
            state="sent",
            reason="",
            planned_ms=at_ms,
            due_ms=at_ms,
            expires_ms=None,
            sent_ms=at_ms,
            session_id=session_id,
        )
    )
    tx.new_session(
        Session(
            id=session_id,
            invitation_id=f"invitation-{number}",
            flow_id="bench",
            revision="past",
            survey_kind="transactional",
            touchpoint="purchase",
            segment=segment,
            customer_id=customer,
            channel="line",
            workspace=DESTINATION,
            external_id=user,
            lang="ja",
            state="{}",
            status="completed",
            version=5,
            created_ms=at_ms,
            started_ms=at_ms,
            ended_ms=at_ms + 60_000,
            expires_ms=None,
        )
    )
    for place, (question, instrument) in enumerate(QUESTIONS):
        tx.note_inbound("line", DESTINATION, f"past-{number}-{place}", at_ms)
        tx.put_job(
            Job(
                id=f"past-{number:07d}-{place}",
                kind="send",
                due_ms=at_ms,
                payload=_PAST_CALL,
                lane=f"line:{DESTINATION}:{user}",
                channel="line",
                session_id=session_id,
                customer_id=customer,
                asks=question,
                created_ms=at_ms,
                state="done",
                attempts=1,
                fence=1,
            )
        )
        tx.record_answer(
            Answer(
                id=f"past-{number}-{place}",
                session_id=session_id,
                customer_id=customer,
                question=question,
                instrument=instrument,
                wording_id="past",
                label_set="past",
                value=str(rng.randrange(1, 6)),
                missing="",
                numeric=True,
                lang="ja",
                channel="line",
                survey_kind="transactional",
                touchpoint="purchase",
                segment=segment,
                flow_id="bench",
                revision="past",
                shown_ms=at_ms - 5000,
                answered_ms=at_ms + place,
                week=week,
            )
        )


class Till:
    """Sells, so that surveys start: each sale is a signed business event, each survey the push that follows."""

    def __init__(self, port: int, api: LineApi, customers: int) -> None:
        self._port = port
        self._api = api
        self._customers = customers
        self._rng = random.Random(7)
        self._sales = 0

    async def open_surveys(self, count: int) -> deque[Survey]:
        """That many surveys, of different customers, each with its first question shown. `count` may not exceed the
        customers there are."""
        numbers = self._rng.sample(range(self._customers), count)
        waiting = {user_id(n): self._api.push_to(user_id(n)) for n in numbers}

        async def sell() -> None:
            client = await connect(self._port)
            while numbers:
                await self._sell(client, numbers.pop())
            client.close()

        await asyncio.gather(*(sell() for _ in range(_TILLS)))
        async with asyncio.timeout(_WITHIN_S):
            surveys = [Survey(user, (await arrival)[1]) for user, arrival in waiting.items()]
        return deque(surveys)

    async def _sell(self, client: ClientSide, number: int) -> None:
        self._sales += 1
        order = f"sale-{time.time_ns()}-{self._sales}"
        event = {
            "id": order,
            "type": "purchase",
            "occurred_at": datetime.now(UTC).isoformat(),
            "customer": {"id": f"C{number:07d}", "line_user_id": user_id(number)},
            "data": {"order": order, "amount": 5400, "store": "shibuya", "product": "マグカップ"},
        }
        body = json.dumps(event).encode()
        at = str(int(time.time()))
        signed = hmac.digest(_EVENTS_KEY, f"{order}.{at}.".encode() + body, hashlib.sha256)
        headers = f"webhook-id: {order}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: v1,"
        status = await client.post(b"/events", headers.encode() + base64.b64encode(signed) + b"\r\n", body)
        if status != 202:
            raise RuntimeError(f"the bot answered {status} to a purchase")

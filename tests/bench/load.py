"""Customers who answer as fast as they are asked, and the LINE API that shows them the next question.

Both live in one process on one loop, so that an answer's way – webhook out, reply call in – is timed by one clock. The
same code loads Koe and the reference; a customer taps a button of the message that really arrived.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import random
import re
import time
from collections import deque
from dataclasses import dataclass, field

from tests.bench.wire import ClientSide, connect, response

CHANNEL_SECRET = "a-channel-secret-of-the-benchmark"
DESTINATION = "U" + "d" * 32

_KEY = CHANNEL_SECRET.encode()
_TO = re.compile(rb'"to":"([^"]+)"')
_TOKEN = re.compile(rb'"replyToken":"([^"]+)"')
_OFFERED = re.compile(rb'"data":"(k1:[^":]*:[A-Za-z][^":]*:\d+)"')
_MESSAGES = re.compile(rb'"messages":(\[.*\])', re.DOTALL)
_OK = response(b'{"sentMessages":[{"id":"461230966842064897","quoteToken":"IStG5h1Tz7b"}]}')
_INFO = response(
    json.dumps(
        {
            "userId": DESTINATION,
            "basicId": "@bench",
            "displayName": "Bench",
            "chatMode": "bot",
            "markAsReadMode": "manual",
        }
    ).encode()
)
_WITHIN_S = 60.0

Arrival = tuple[float, bytes]
"""When a message arrived (perf_counter), and the body of the call that brought it."""


def user_id(number: int) -> str:
    return f"U{number:032x}"


def messages_of(call: bytes) -> bytes:
    """The messages of a push or reply call, as they were written."""
    found = _MESSAGES.search(call)
    if found is None:
        raise ValueError("the call carries no messages")
    return found[1]


class LineApi:
    """The part of LINE's API that a conversation uses. `answer` serves it (see tests.bench.wire)."""

    def __init__(self) -> None:
        self._replies: dict[bytes, asyncio.Future[Arrival]] = {}
        self._pushes: dict[bytes, asyncio.Future[Arrival]] = {}
        self.unexpected = 0

    def reply_to(self, token: bytes) -> asyncio.Future[Arrival]:
        """The reply that will use this token."""
        return self._expect(self._replies, token)

    def push_to(self, user: str) -> asyncio.Future[Arrival]:
        """The next push to this customer."""
        return self._expect(self._pushes, user.encode())

    def _expect(self, table: dict[bytes, asyncio.Future[Arrival]], key: bytes) -> asyncio.Future[Arrival]:
        future = table[key] = asyncio.get_running_loop().create_future()
        return future

    def answer(self, path: bytes, body: bytes) -> bytes:
        now = time.perf_counter()
        if path.endswith(b"/reply"):
            self._arrived(self._replies, _TOKEN.search(body), now, body)
        elif path.endswith(b"/push"):
            self._arrived(self._pushes, _TO.search(body), now, body)
        elif path.endswith(b"/info"):
            return _INFO
        return _OK

    def _arrived(
        self, table: dict[bytes, asyncio.Future[Arrival]], key: re.Match[bytes] | None, now: float, body: bytes
    ) -> None:
        future = table.pop(key[1], None) if key else None
        if future is None:
            self.unexpected += 1
        else:
            future.set_result((now, body))


@dataclass(slots=True)
class Survey:
    """One conversation: whose, and the last message that came."""

    user: str
    message: bytes
    answered: int = 0


@dataclass(slots=True)
class Times:
    """What a run took. Seconds, one entry an answer."""

    acknowledged: list[float] = field(default_factory=list)
    """Webhook out to 200 in."""
    replied: list[float] = field(default_factory=list)
    """Webhook out (in the open loop: when it was due) to next message in."""
    wall_s: float = 0.0


class Load:
    """Customers of one server. `questions` is how many answers a survey has; `users` speak at once at most.

    Each run has connections of its own: servers close those that are silent between runs.
    """

    def __init__(self, port: int, api: LineApi, *, users: int, questions: int, seed: int = 1) -> None:
        self._port = port
        self._api = api
        self._users = users
        self._questions = questions
        self._rng = random.Random(seed)
        self._numbers = itertools.count(time.time_ns())

    async def closed(self, surveys: deque[Survey]) -> Times:
        """Everybody answers the moment a question arrives: one customer a connection, until no survey is left."""
        times = Times()
        clients = [await connect(self._port) for _ in range(self._users)]
        start = time.perf_counter()

        async def customer(client: ClientSide) -> None:
            while surveys:
                survey = surveys.popleft()
                while survey.answered < self._questions:
                    await self._tap(client, survey, time.perf_counter(), times)

        await asyncio.gather(*map(customer, clients))
        times.wall_s = time.perf_counter() - start
        for client in clients:
            client.close()
        return times

    async def open(self, surveys: deque[Survey], *, per_s: float, count: int) -> Times:
        """`count` answers at chance times, `per_s` on average, whatever the server does meanwhile: a late answer counts
        from the time at which it was due."""
        times = Times()
        clients = [await connect(self._port) for _ in range(self._users)]
        idle = deque(clients)
        waiting: deque[tuple[float, Survey]] = deque()
        finished = asyncio.Event()
        running: set[asyncio.Task[None]] = set()

        async def answer(client: ClientSide, due: float, survey: Survey) -> None:
            while True:
                await self._tap(client, survey, due, times)
                if survey.answered < self._questions:
                    surveys.append(survey)
                if len(times.replied) == count:
                    finished.set()
                if not waiting:
                    idle.append(client)
                    return
                due, survey = waiting.popleft()

        start = due = time.perf_counter()
        for _ in range(count):
            due += self._rng.expovariate(per_s)
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            survey = surveys.popleft()
            if idle:
                task = asyncio.create_task(answer(idle.popleft(), due, survey))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                waiting.append((due, survey))
        async with asyncio.timeout(_WITHIN_S):
            await finished.wait()
        times.wall_s = time.perf_counter() - start
        for client in clients:
            client.close()
        return times

    async def _tap(self, client: ClientSide, survey: Survey, due: float, times: Times) -> None:
        offered = _OFFERED.findall(survey.message)
        if not offered:
            raise RuntimeError(f"{survey.user} was shown no question after {survey.answered} answers")
        data: bytes = self._rng.choice(offered)
        number = next(self._numbers)
        token = b"%032x" % number
        body = (
            b'{"destination":"%b","events":[{"type":"postback","mode":"active","timestamp":%d,"source":{"type":"user",'
            b'"userId":"%b"},"webhookEventId":"01%024x","deliveryContext":{"isRedelivery":false},"replyToken":"%b",'
            b'"postback":{"data":"%b"}}]}'
            % (DESTINATION.encode(), time.time_ns() // 1_000_000, survey.user.encode(), number, token, data)
        )
        signature = base64.b64encode(hmac.digest(_KEY, body, hashlib.sha256))
        reply = self._api.reply_to(token)
        out = time.perf_counter()
        status = await client.post(b"/line/webhook", b"x-line-signature: %b\r\n" % signature, body)
        acknowledged = time.perf_counter()
        if status != 200:
            raise RuntimeError(f"the server answered {status} to a webhook")
        async with asyncio.timeout(_WITHIN_S):
            arrived, survey.message = await reply
        survey.answered += 1
        times.acknowledged.append(acknowledged - out)
        times.replied.append(arrived - due)

"""How the local LINE reaches the bot: events with their reply tokens, as signed webhooks that may come again.

Ages of reply tokens follow the injected clock, time-outs the real one.
Source: https://developers.line.biz/en/reference/messaging-api/ (pages of 2026-08-07).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from bot.standins.wire import Clock, JsonObject

REPLY_TOKEN_MS = 60_000
REPLY_TOKEN_REDELIVERED_MS = 20 * 60_000


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """One delivery to the bot. `status` is 0 when no answer came; `reason` as in LINE's error statistics,
    or ""."""

    events: list[JsonObject]
    status: int
    duration_s: float
    reason: str


@dataclass(slots=True)
class _ReplyToken:
    user_id: str
    event_ms: int
    delivered_ms: int
    redelivered: bool = False
    used: bool = False


class LineToBot:
    """The way from LINE to one bot, and what went along it.

    Args:
        webhook_url: where events go; "" delivers nothing. May be changed at any time.
        destination: the account's own user id.
        redelivery: repeat a webhook that got no 2xx, after each pause of `redelivery_pauses_s`; what fails
            to the end waits in `undelivered` for `redeliver()`.
    """

    def __init__(
        self, *, clock: Clock, channel_secret: str, webhook_url: str, destination: str, redelivery: bool
    ) -> None:
        self.channel_secret = channel_secret
        self.webhook_url = webhook_url
        self.destination = destination
        self.redelivery = redelivery
        self.redelivery_pauses_s: Sequence[float] = (0.05, 0.2, 0.8)
        self.webhook_timeout_s = 10.0
        self.events: list[JsonObject] = []
        """Every event made, in order, as first sent: for repeating one with `deliver_raw`."""
        self.webhooks: list[WebhookCall] = []
        self.undelivered: list[list[JsonObject]] = []
        self._clock = clock
        self._tokens: dict[str, _ReplyToken] = {}
        self._waiting: list[JsonObject] = []
        self._flushing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def event(self, user_id: str, kind: str, *, token: bool = True, **content: Any) -> JsonObject:
        """An event of this person, with a reply token where such events have one; nothing is delivered yet."""
        now = self._clock.now_ms()
        event: JsonObject = {
            "type": kind,
            "mode": "active",
            "timestamp": now,
            "source": {"type": "user", "userId": user_id},
            "webhookEventId": _ulid(now),
            "deliveryContext": {"isRedelivery": False},
        }
        if token:
            event["replyToken"] = secrets.token_hex(16)
            self._tokens[event["replyToken"]] = _ReplyToken(user_id, now, now)
        event.update(content)
        self.events.append(event)
        return event

    def spend(self, reply_token: str) -> str | None:
        """Whose token it is, which can be used no more; None when it is spent, too old or nobody's."""
        token, now = self._tokens.get(reply_token), self._clock.now_ms()
        if (
            token is None
            or token.used
            or now - token.delivered_ms > REPLY_TOKEN_MS
            or (token.redelivered and now - token.event_ms > REPLY_TOKEN_REDELIVERED_MS)
        ):
            return None
        token.used = True
        return token.user_id

    def queue(self, event: JsonObject) -> None:
        """Deliver it before the next event; at once when a loop runs."""
        self._waiting.append(event)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # delivered before the next event
        task = loop.create_task(self.settled())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def send(self, event: JsonObject) -> int:
        """The status of its delivery, repeated as LINE does (0: no answer)."""
        await self.settled()
        return await self._deliver([event])

    async def deliver_raw(
        self,
        events: Sequence[JsonObject],
        *,
        body: bytes | None = None,
        signature: str | None = None,
        destination: str | None = None,
    ) -> int:
        """The status of one delivery of exactly these events (0: no answer), never repeated by itself;
        `body` and `signature` replace what LINE would have sent."""
        await self.settled()
        return (await self.post(list(events), body=body, signature=signature, destination=destination)).status

    async def settled(self) -> None:
        """Waits until queued events (follow, unfollow) are delivered, in order."""
        async with self._flushing:
            while self._waiting:
                await self._deliver([self._waiting.pop(0)])

    async def redeliver(self) -> list[int]:
        """The statuses of another try for everything in `undelivered`, oldest first."""
        waiting, self.undelivered = self.undelivered, []
        return [await self._repeat(events) for events in waiting]

    async def post(
        self,
        events: list[JsonObject],
        *,
        body: bytes | None = None,
        signature: str | None = None,
        destination: str | None = None,
    ) -> WebhookCall:
        """One delivery, never repeated; of no events it is LINE's own test of the webhook."""
        if body is None:
            body = _encode({"destination": destination or self.destination, "events": events})
        if signature is None:
            digest = hmac.new(self.channel_secret.encode(), body, hashlib.sha256).digest()
            signature = base64.b64encode(digest).decode()
        started = time.monotonic()
        status, reason = 0, "could_not_connect"
        if self.webhook_url:
            if self._session is None:
                # trust_env stays off: a proxy of the machine must never see loopback traffic
                self._session = aiohttp.ClientSession(trust_env=False)
            headers = {
                "content-type": "application/json; charset=utf-8",
                "x-line-signature": signature,
                "user-agent": "LineBotWebhook/2.0",
            }
            timeout = aiohttp.ClientTimeout(total=self.webhook_timeout_s)
            try:
                async with self._session.post(
                    self.webhook_url, data=io.BytesIO(body), headers=headers, timeout=timeout
                ) as answer:
                    await answer.read()
                    status = answer.status
                    reason = "" if 200 <= status < 300 else "error_status_code"
            except TimeoutError:
                reason = "request_timeout"
            except aiohttp.ClientError:
                reason = "could_not_connect"
        duration_s = time.monotonic() - started
        if not reason and duration_s > 2.0:
            reason = "request_timeout"  # LINE counts it so, though the answer did arrive
        call = WebhookCall(events, status, duration_s, reason)
        self.webhooks.append(call)
        return call

    async def close(self) -> None:
        """Ends the connections to the bot. The app's shutdown does this by itself."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _deliver(self, events: list[JsonObject]) -> int:
        call = await self.post(events)
        if 200 <= call.status < 300 or not self.webhook_url:
            return call.status
        if not self.redelivery:
            return call.status
        status = call.status
        for pause_s in self.redelivery_pauses_s:
            await asyncio.sleep(pause_s)
            status = (await self.post(self._again(events))).status
            if 200 <= status < 300:
                return status
        self.undelivered.append(events)
        return status

    async def _repeat(self, events: list[JsonObject]) -> int:
        call = await self.post(self._again(events))
        if not 200 <= call.status < 300:
            self.undelivered.append(events)
        return call.status

    def _again(self, events: list[JsonObject]) -> list[JsonObject]:
        now = self._clock.now_ms()
        for event in events:
            if (token := self._tokens.get(event.get("replyToken", ""))) is not None:
                token.delivered_ms, token.redelivered = now, True
        return [{**event, "deliveryContext": {"isRedelivery": True}} for event in events]


def _encode(value: JsonObject) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # lone surrogates of a broken client travel as escapes
        return json.dumps(value, separators=(",", ":")).encode()


def _ulid(at_ms: int) -> str:
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = (at_ms << 80) | secrets.randbits(80)
    return "".join(alphabet[(number >> shift) & 31] for shift in range(125, -1, -5))

"""How Slack reaches the app: signed HTTP, or Socket Mode. Signatures and the three seconds for an acknowledgement
follow the real clock.

Source: https://docs.slack.dev/ (pages of August 2026).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import itertools
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp
from starlette.websockets import WebSocket, WebSocketDisconnect

from bot.standins.wire import ABORT, JsonObject, json_or_none
from bot.standins.workspace import new_uuid

Transport = Literal["http", "socket"]

MAX_SOCKETS = 10


@dataclass(frozen=True, slots=True)
class Ack:
    """How the bot acknowledged: HTTP's status (Socket Mode: 200, 0 without an ack in time) and body (parsed
    JSON, text, or None). `event_id` is that of an event, for `redeliver`; `ts` that of the message the
    person wrote."""

    status: int
    body: Any = None
    event_id: str = ""
    ts: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(slots=True, eq=False)
class _Socket:
    websocket: WebSocket
    waiting: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    leaving: bool = False


class ToBot:
    """The way from Slack to one app, and what went along it.

    Args:
        request_url: Where events, commands and interactions go over HTTP; "" when Socket Mode is used.
        transport: How the app is reached; may be changed at any time.
    """

    def __init__(self, *, app_id: str, signing_secret: str, request_url: str, transport: Transport) -> None:
        self.signing_secret = signing_secret
        self.request_url = request_url
        self.transport: Transport = transport
        self.ack_timeout_s = 3.0
        self.deliveries: list[tuple[JsonObject, int]] = []
        """Everything sent to the app, each try of it, with how it was acknowledged (Ack.status)."""
        self._app_id = app_id
        self._sockets: list[_Socket] = []
        self._tickets: set[str] = set()
        self._turn = itertools.count()
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        kind: Literal["events_api", "interactive", "slash_commands"],
        payload: JsonObject,
        *,
        retry_num: int = 0,
        reason: str = "",
    ) -> Ack:
        """How this payload was acknowledged on the way that is set; status 0 if not within `ack_timeout_s`."""
        event_id = payload.get("event_id", "") if kind == "events_api" else ""
        if self.transport == "socket":
            ack = await self._through_socket(kind, payload, retry_num, reason)
            self.deliveries.append((payload, ack.status))
            return replace(ack, event_id=event_id)
        headers = {}
        if retry_num:
            headers = {"X-Slack-Retry-Num": str(retry_num), "X-Slack-Retry-Reason": reason}
        if kind == "events_api":
            body, content_type = json.dumps(payload).encode(), "application/json"
        else:
            fields = payload if kind == "slash_commands" else {"payload": json.dumps(payload)}
            body = urlencode(fields, errors="replace").encode()
            content_type = "application/x-www-form-urlencoded"
        ack = await self.post(body, content_type, headers)
        self.deliveries.append((payload, ack.status))
        return replace(ack, event_id=event_id)

    async def post(
        self,
        body: bytes,
        content_type: str,
        headers: dict[str, str],
        timestamp: str | None = None,
        signature: str | None = None,
    ) -> Ack:
        """Exactly this body over HTTP, signed; `timestamp` and `signature` replace the true ones."""
        if not self.request_url:
            return Ack(0)
        if self._session is None:
            # trust_env stays off: a proxy of the machine must never see loopback traffic
            self._session = aiohttp.ClientSession(trust_env=False)
        timestamp = timestamp if timestamp is not None else str(int(time.time()))
        base = b"v0:" + timestamp.encode("utf-8", "surrogateescape") + b":" + body
        digest = hmac.new(self.signing_secret.encode(), base, hashlib.sha256).hexdigest()
        sent = {
            "content-type": content_type,
            "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature if signature is not None else f"v0={digest}",
            **headers,
        }
        timeout = aiohttp.ClientTimeout(total=self.ack_timeout_s)
        try:
            async with self._session.post(
                self.request_url, data=io.BytesIO(body), headers=sent, timeout=timeout
            ) as answer:
                said = await answer.read()
                parsed = json_or_none(said)
                if parsed is None and said:
                    parsed = said.decode(errors="replace")
                return Ack(answer.status, parsed)
        except (TimeoutError, aiohttp.ClientError):
            return Ack(0)

    # --- Socket Mode ---

    def ticket(self) -> str | None:
        """What opens one more connection; None when there are as many as may be."""
        if len(self._sockets) >= MAX_SOCKETS:
            return None
        made = secrets.token_hex(8)
        self._tickets.add(made)
        return made

    async def serve(self, websocket: WebSocket) -> None:
        """One connection of Socket Mode, until it ends."""
        ticket = websocket.query_params.get("ticket", "")
        if ticket not in self._tickets:
            await websocket.close(4001)
            return
        self._tickets.discard(ticket)  # each address opens one connection
        await websocket.accept()
        socket = _Socket(websocket)
        self._sockets.append(socket)
        try:
            await websocket.send_json(
                {
                    "type": "hello",
                    "num_connections": len(self._sockets),
                    "connection_info": {"app_id": self._app_id},
                    "debug_info": {"host": "standin", "approximate_connection_time": 18060},
                }
            )
            while True:
                said = json_or_none((await websocket.receive_text()).encode())
                if isinstance(said, dict):
                    waiting = socket.waiting.pop(said.get("envelope_id", ""), None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(said.get("payload"))
        except (WebSocketDisconnect, RuntimeError):
            pass  # gone: Slack sends the next payload on another connection
        finally:
            self._sockets.remove(socket)
            for waiting in socket.waiting.values():
                waiting.cancel()

    @property
    def connections(self) -> int:
        """Open Socket Mode connections that take payloads (those told to go do not)."""
        return len(self._taking())

    def drop_connections(self) -> None:
        """Every Socket Mode connection is lost without a word."""
        for socket in list(self._sockets):
            abort: Callable[[], None] | None = socket.websocket.scope.get("extensions", {}).get(ABORT)
            if abort is not None:
                abort()

    async def send_disconnect(self, reason: str = "refresh_requested") -> None:
        """Asks every Socket Mode client to reconnect, as Slack does when it moves them. The old connections take
        no more payloads; the client closes them."""
        for socket in list(self._sockets):
            socket.leaving = True
            frame = {"type": "disconnect", "reason": reason, "debug_info": {"host": "standin"}}
            await socket.websocket.send_json(frame)

    async def close(self) -> None:
        """Ends the connections to the app."""
        self.drop_connections()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _taking(self) -> list[_Socket]:
        return [socket for socket in self._sockets if not socket.leaving]

    async def _through_socket(self, kind: str, payload: JsonObject, retry_num: int, reason: str) -> Ack:
        taking = self._taking()
        if not taking:
            return Ack(0)
        socket = taking[next(self._turn) % len(taking)]
        envelope_id = new_uuid()
        envelope: JsonObject = {
            "envelope_id": envelope_id,
            "type": kind,
            "payload": payload,
            "accepts_response_payload": kind != "events_api",
        }
        if kind == "events_api":
            envelope |= {"retry_attempt": retry_num, "retry_reason": reason}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        socket.waiting[envelope_id] = answer
        try:
            await socket.websocket.send_json(envelope)
            return Ack(200, await asyncio.wait_for(answer, self.ack_timeout_s))
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            return Ack(0)
        except asyncio.CancelledError:
            if answer.cancelled() and not _being_cancelled():
                return Ack(0)  # the connection went away, not this task
            raise
        finally:
            socket.waiting.pop(envelope_id, None)


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

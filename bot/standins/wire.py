"""What both stand-ins share: a server on loopback, a log of requests, and faults on demand (answers of the
platform's failing kind, silence, and connections dropped before or after the call took effect)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.listener import KEEP_ALIVE_S

JsonObject = dict[str, Any]

ABORT = "koe.abort"
"""The ASGI extension `serve` offers: a function that drops the connection without a word."""


class Clock(Protocol):
    """Koe's clock, of which the stand-ins need the time only; in the demo it is the story's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...


class NotOnScreenError(LookupError):
    """The person was told to use something that is not on their screen."""


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, leaves the signals to its host and stops at once when told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.closing = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.closing.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn's own waits a tenth of a second for polite clients; nobody here is owed a goodbye
        for server in self.servers:
            server.close()
        self.abort()
        if tasks := set(self.server_state.tasks):
            _, late = await asyncio.wait(tasks, timeout=2)
            for task in late:
                task.cancel()
        await self.lifespan.shutdown()

    def abort(self, client: object = None) -> None:
        """Drop the connection of this client address; without one, all connections."""
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None and (client is None or getattr(connection, "client", None) == client):
                transport.abort()


@dataclass(slots=True)
class Served:
    """A running server: its address without a trailing slash, and the way to end it."""

    url: str
    _server: _Server
    _task: asyncio.Task[None]

    async def close(self) -> None:
        """Stop listening, drop every connection, run the app's shutdown. Closing twice is harmless."""
        self._server.closing.set()
        self._server.abort()
        await self._task


async def serve(
    app: ASGIApp, port: int = 0, *, http: type[asyncio.Protocol] | Literal["httptools"] = "httptools"
) -> Served:
    """A running server for `app` on 127.0.0.1, in the current loop; port 0 takes any free one.

    It installs no signal handlers and writes no access log. `http` is the protocol of its connections. A
    Starlette app finds its own address in `app.state.url`.

    Raises:
        OSError: the port is taken.
        RuntimeError: the app's start-up failed.
    """
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, half of all answers take 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    state = getattr(app, "state", None)
    if state is not None:
        state.url = url

    async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            client = scope.get("client")
            extensions: MutableMapping[str, Any] = scope.setdefault("extensions", {})
            extensions[ABORT] = lambda: server.abort(client)
        await app(scope, receive, send)

    server = _Server(
        uvicorn.Config(
            with_abort,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            interface="asgi3",
            http=http,
            ws="websockets-sansio",
            timeout_keep_alive=KEEP_ALIVE_S,
        )
    )

    async def run() -> None:
        # a failed start-up leaves uvicorn by SystemExit, which must not end the host
        try:
            await server.serve([listener])
        except SystemExit as exit_:
            raise RuntimeError("the app could not start; its log says why") from exit_
        finally:
            listener.close()

    task = asyncio.create_task(run())
    ready = asyncio.create_task(server.listening.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if task.done():
        await task
    return Served(url, server, task)


@dataclass(slots=True)
class Recorded:
    """One request the stand-in received. `headers` are those that matter, in lower case; `body` is the parsed
    JSON or form (None when there was none); `status` is 0 when no answer was sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    status: int
    at_ms: int


@dataclass(slots=True)
class Faults:
    """What shall go wrong next, per endpoint; `*` stands for every endpoint."""

    _next: dict[str, list[str]] = field(default_factory=dict)

    def add(self, where: str, kind: str, times: int) -> None:
        self._next.setdefault(where, []).extend([kind] * times)

    def take(self, where: str) -> str:
        """The fault for this call, or ""."""
        for key in (where, "*"):
            if waiting := self._next.get(key):
                return waiting.pop(0)
        return ""

    def clear(self) -> None:
        self._next.clear()


class Dropped(Response):
    """No answer: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
        if abort is None:  # not started by `serve`: the nearest thing is an answer cut off in the middle
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9999")]})
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
            return
        abort()
        await _gone(receive)


class Silent(Response):
    """No answer: the connection stays open until the caller gives up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request, limit: int) -> bytes | None:
    """The body, or None as soon as it is larger than `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


@dataclass(slots=True)
class Bucket:
    """A token bucket: `capacity` calls at once, refilled evenly over `period_ms`."""

    capacity: float
    period_ms: float
    tokens: float = -1.0
    at_ms: float = 0.0

    def take(self, now_ms: float) -> float:
        """0 when the call may pass, else the milliseconds until the next one may."""
        if self.tokens < 0:
            self.tokens, self.at_ms = self.capacity, now_ms
        gained = max(0.0, now_ms - self.at_ms) * self.capacity / self.period_ms
        self.tokens, self.at_ms = min(self.capacity, self.tokens + gained), now_ms
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) * self.period_ms / self.capacity


def json_or_none(raw: bytes) -> Any:
    """What this JSON says; None when it is none."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None

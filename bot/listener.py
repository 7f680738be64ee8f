"""Serving HTTP: uvicorn's own protocol, with an end to how long a sender may take over a request, and a short way for
the requests that come by the thousand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Self

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

KEEP_ALIVE_S = 75
"""For how long an idle connection is kept: longer than those who call keep theirs (aiohttp 15 s, nginx and most load
balancers 60 s). With uvicorn's own 5 s a call that is sent in the moment of closing meets a reset connection, and
POSTs are not repeated by themselves."""

RawHeaders = list[tuple[bytes, bytes]]
"""Names in lower case, as often as they were sent."""

Post = Callable[[RawHeaders, bytes], Awaitable[Response]]
"""Answers a POST, given its headers and its whole body; what it raises is a mistake of ours, and a 500."""

_SHORT_BODY = 64 * 1024
_TOO_LARGE = '{"error":"headers_too_large","message":"the headers may have %d bytes at most"}'
_OUR_MISTAKE = '{"error":"internal","message":"this is our mistake; the log has the details"}'
_TOO_SLOW = '{"error":"too_slow","message":"the body did not arrive within %g s"}'


class Listener(HttpToolsProtocol):
    """One connection: the headers of a request arrive within `headers_within_s` seconds and `headers_limit` bytes, its
    body within `body_within_s` seconds, or the sender is let go. httptools by itself waits, and collects, for ever.

    A request that arrives at once, as nearly all do, sets no timer.

    A POST to one of `posts` whose body is announced and short does not pass through ASGI, which costs twice what
    reading and answering it does (docs/benchmarks.md). All others – chunked, long, behind a request that is not yet
    answered, asking to be told to go on – reach the same path of the application.

    No other protocol is spoken here: an `Upgrade` header is passed over, as a server may (RFC 9110, section 7.8).
    Java's own HTTP client sends one with its first request.
    """

    headers_within_s = 10.0
    headers_limit = 32 * 1024
    body_within_s = 10.0
    posts: ClassVar[Mapping[bytes, Post]] = {}

    @classmethod
    def with_posts(cls, posts: Mapping[bytes, Post]) -> type[Self]:
        """A listener that hands over POSTs by path, as sent."""
        return type(cls.__name__, (cls,), {"posts": posts})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        self._handed: _Handed | None = None
        """The request on the short way, until it is complete."""
        self._between = True
        """Until a request's headers are complete."""
        self._in_body = False
        self._seen = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_body:
            if self._deadline is None and not self.transport.is_closing():
                self._deadline = self.loop.call_later(self.body_within_s, self._give_up_body)
            return
        if not self._between or self.transport.is_closing():
            return
        self._seen += len(data)
        if self._seen > self.headers_limit:
            self._refuse()
        elif self._deadline is None:
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between = True

    def on_headers_complete(self) -> None:
        if self._asks_to_upgrade():
            return
        self._between, self._in_body, self._seen = False, True, 0
        self._disarm()
        post = self.posts.get(self.url)
        if post is not None and self._is_short():
            self._handed = _Handed(post, self.headers, self.parser.should_keep_alive())
            # to uvicorn it is the request at hand: what is sent behind it waits, and a shutdown waits for it
            self.cycle = self._handed  # type: ignore[assignment] # it has all that is asked of one there
        else:
            super().on_headers_complete()

    def _asks_to_upgrade(self) -> bool:
        """Whether these headers come once more, without the one that asks for another protocol."""
        return self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)

    def go_on(self) -> bytes:
        """What the parser has read of a request that asks for another protocol, as it is without asking; read by a new
        parser. b"" for a request that is for none (CONNECT)."""
        if not self._asks_to_upgrade():
            return b""
        first = f" HTTP/{self.parser.get_http_version()}\r\n".encode()
        head = [self.parser.get_method(), b" ", self.url, first]
        for name, value in self.headers:
            if name != b"upgrade":
                head += name, b": ", value, b"\r\n"
        self.parser = _Parser(self)
        return b"".join((*head, b"\r\n"))

    def _is_short(self) -> bool:
        """Whether nothing about this request asks for more than its body being read and answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return False
        if self.expect_100_continue or self.limit_concurrency is not None:
            return False
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        return length.isdigit() and int(length) <= _SHORT_BODY

    def on_body(self, body: bytes) -> None:
        if self._handed is None:
            super().on_body(body)
        else:
            self._handed.body += body

    def on_message_complete(self) -> None:
        if self._asks_to_upgrade():
            return
        self._in_body = False
        self._disarm()
        handed, self._handed = self._handed, None
        if handed is None:
            super().on_message_complete()
        elif not self.transport.is_closing():
            task = self.loop.create_task(self._answer_post(handed))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _answer_post(self, handed: _Handed) -> None:
        try:
            response = await handed.post(handed.headers, handed.body)
        except Exception as error:
            self.logger.error("a POST could not be answered", exc_info=error)
            self._answer("500 Internal Server Error", _OUR_MISTAKE)
            self.transport.close()
            return
        if self.flow.write_paused and not handed.disconnected:
            await self.flow.drain()
        handed.response_started = handed.response_complete = True
        if not self.transport.is_closing():
            parts = [STATUS_LINE[response.status_code]]
            for name, value in (*self.server_state.default_headers, *response.raw_headers):
                parts += name, b": ", value, b"\r\n"
            if not handed.keep_alive:
                parts.append(b"connection: close\r\n")
            parts += b"\r\n", bytes(response.body)
            self.transport.write(b"".join(parts))
            if not handed.keep_alive:
                self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        self._between = True
        super().on_response_complete()

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.headers_within_s, self._let_go)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _let_go(self) -> None:
        self._deadline = None
        # an answer may still be on its way to the request before
        if self._between and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def _give_up_body(self) -> None:
        self._deadline = None
        # the application may have answered before the end of the body
        if self._in_body and self.cycle is not None and not self.cycle.response_started:
            self._answer("408 Request Timeout", _TOO_SLOW % self.body_within_s)
        self.transport.close()

    def _refuse(self) -> None:
        self._answer("431 Request Header Fields Too Large", _TOO_LARGE % self.headers_limit)
        self.transport.close()

    def _answer(self, status: str, body: str) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n{body}".encode())


class _Parser(httptools.HttpRequestParser):
    """llhttp, which leaves a request that asks for another protocol without its body: that is read after all."""

    def __init__(self, connection: Listener) -> None:
        super().__init__(connection)
        self._connection = connection

    def feed_data(self, data: bytes) -> None:  # type: ignore[override] # all that an asyncio transport brings
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as asked:
            head = self._connection.go_on()
            if not head:
                raise
            self._connection.parser.feed_data(head + data[asked.args[0] :])


class _Handed:
    """A request on the short way, with what uvicorn asks of a request at hand."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "post", "response_complete", "response_started")

    message_event: ClassVar = asyncio.Event()
    """Nobody waits for it: the body is handed over whole."""

    def __init__(self, post: Post, headers: RawHeaders, keep_alive: bool) -> None:
        self.post = post
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = b""
        self.response_started = self.response_complete = self.disconnected = False

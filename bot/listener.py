"""Serving HTTP: uvicorn's own protocol, with an end to how long a sender may take over a request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

KEEP_ALIVE_S = 75
"""For how long an idle connection is kept: longer than those who call keep theirs (aiohttp 15 s, nginx and most load
balancers 60 s). With uvicorn's own 5 s a call that is sent in the moment of closing meets a reset connection, and
POSTs are not repeated by themselves."""

_TOO_LARGE = '{"error":"headers_too_large","message":"the headers may have %d bytes at most"}'
_TOO_SLOW = '{"error":"too_slow","message":"the body did not arrive within %g s"}'


class Listener(HttpToolsProtocol):
    """One connection: the headers of a request arrive within `headers_within_s` seconds and `headers_limit` bytes, its
    body within `body_within_s` seconds, or the sender is let go. httptools by itself waits, and collects, for ever.

    A request that arrives at once, as nearly all do, sets no timer.
    """

    headers_within_s = 10.0
    headers_limit = 32 * 1024
    body_within_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
        self._between, self._in_body, self._seen = False, True, 0
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._disarm()
        super().on_message_complete()

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

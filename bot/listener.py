"""Serving HTTP: uvicorn's own protocol, with an end to what a sender may do before a request reaches the app."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = b'{"error":"headers_too_large","message":"the headers may have %d bytes at most"}'


class Listener(HttpToolsProtocol):
    """One connection: the headers of a request arrive within `headers_within_s` seconds and `headers_limit` bytes, or
    the sender is let go. httptools by itself waits, and collects, for ever."""

    headers_within_s = 10.0
    headers_limit = 32 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._between = True
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
        self._between, self._seen = False, 0
        self._disarm()
        super().on_headers_complete()

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

    def _refuse(self) -> None:
        body = _TOO_LARGE % self.headers_limit
        head = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
        self.transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        self.transport.close()

"""Just enough HTTP/1.1 to load a server without being the bottleneck: keep-alive, Content-Length, no more.

It trusts its peers, which are the servers under measurement on this machine.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PATH = re.compile(rb"[A-Z]+ ([^ ]+) ")

Answer = Callable[[bytes, bytes], bytes]
"""(path, body) → the whole response."""


def response(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A JSON response, ready to be written."""
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
    return head + body


class _Messages:
    """Cuts a stream of bytes into (head, body)."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        buffer = self._buffer + data if self._buffer else data
        whole: list[tuple[bytes, bytes]] = []
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end]
            found = _LENGTH.search(head)
            stop = end + 4 + (int(found[1]) if found else 0)
            if len(buffer) < stop:
                break
            whole.append((head, buffer[end + 4 : stop]))
            buffer = buffer[stop:]
        self._buffer = buffer
        return whole


class ServerSide(asyncio.Protocol):
    """One connection of a server whose answers are a plain function."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._messages = _Messages()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        for head, body in self._messages.feed(data):
            path = _PATH.match(head)
            self._transport.write(self._answer(path[1] if path else b"", body))


class ClientSide(asyncio.Protocol):
    """One kept connection with one request at a time."""

    def __init__(self, port: int) -> None:
        self._host = b"127.0.0.1:%d" % port
        self._messages = _Messages()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        for head, _ in self._messages.feed(data):
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the server hung up before it answered"))

    def post(self, path: bytes, headers: bytes, body: bytes) -> asyncio.Future[int]:
        """The status of the answer. `headers` are whole lines, each with its line break."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(
            b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b"
            % (path, self._host, headers, len(body), body)
        )
        return self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def serve(answer: Answer, port: int = 0) -> asyncio.Server:
    """A server on loopback; its port is `server.sockets[0].getsockname()[1]`."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: ServerSide(answer), "127.0.0.1", port)


async def connect(port: int) -> ClientSide:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: ClientSide(port), "127.0.0.1", port)
    return client

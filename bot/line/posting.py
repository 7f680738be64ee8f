"""POSTs to one server over kept connections: HTTP/1.1, one request at a time on each.

A customer's answer costs one such call, and what a general client does around it – cookies, redirects, middlewares,
content codings – is more than half of what the call costs (docs/benchmarks.md). This is what is needed: nothing is sent
twice, nothing is followed, no proxy is asked, and every call ends in time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

_MOST_BODY = 64 * 1024


class NotSent(Exception):
    """No connection could be had: nothing was sent."""


class NotWanted(Exception):
    """When the request could have been sent, nobody wanted it any more."""


class NoAnswer(Exception):
    """The request may have arrived; nobody will say."""


@dataclass(slots=True)
class Answer:
    """What the server answered. Of a body that broke off there is what arrived, and of a long one 64 KB."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: bytes) -> str:
        """The first header of this name (given in lower case); "" when there is none."""
        return next((value.decode("latin-1") for found, value in self.headers if found.lower() == name), "")


class Poster:
    """Connections to one server. One that was silent for `kept_s` is not used again: servers close such connections
    about then, and a request that is on its way meanwhile has no answer."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        most: int = 200,
        connect_within_s: float = 5.0,
        within_s: float = 10.0,
        kept_s: float = 15.0,
    ) -> None:
        """`headers` go with every request. At most `most` are on their way at once; the others wait. There is a
        connection within `connect_within_s`, of which as much again may go by waiting for one's turn, and an answer
        within `within_s` after the request was made, or none.

        Raises:
            ValueError: The address names no host, or none that can be one.
        """
        url = urlsplit(base_url)
        if not url.hostname:
            raise ValueError(f"{base_url!r} names no server: give an address like https://api.line.me")
        self._host = url.hostname.encode("idna").decode()
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._port = url.port or (443 if self._tls else 80)
        self._path = url.path.rstrip("/")
        named = f"[{self._host}]" if ":" in self._host else self._host
        lines = {"Host": f"{named}:{url.port}" if url.port else named, "User-Agent": "Koe", **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("ascii")
        self._connect_within_s = connect_within_s
        self._within_s = within_s
        self._kept_s = kept_s
        self._turns = asyncio.Semaphore(most)
        self._kept: deque[_Connection] = deque()
        """Those that wait for a request, the one used last at the end."""

    async def post(
        self, path: str, body: bytes, headers: str = "", *, wanted: Callable[[], bool] | None = None
    ) -> Answer:
        """The answer to one POST, made once. `path` follows the base URL's; `headers` are whole lines, each with its
        line break. `wanted` is asked by who had to wait for a connection.

        Raises:
            NotSent: There was no connection in time.
            NotWanted: There was, and `wanted` said no.
            NoAnswer: There was, and no answer in time.
        """
        end_s = asyncio.get_running_loop().time() + self._within_s
        waited = self._turns.locked()
        await self._turn()
        try:
            connection = self._ready()
            if connection is None:
                waited, connection = True, await self._connect()
            try:
                if waited and wanted is not None and not wanted():
                    raise NotWanted
                head = f"POST {self._path}{path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n{headers}"
                return await connection.ask(b"%b%b\r\n%b" % (head.encode("ascii"), self._head, body), end_s)
            finally:
                self._put_back(connection)
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Close the connections that wait. One with a request on its way is closed after it."""
        self._kept_s = 0.0
        while self._kept:
            self._kept.pop().close()

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(self._connect_within_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise NotSent("too many calls wait for an answer") from error

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(self._connect_within_s):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        except OSError as error:  # a TimeoutError and a certificate that is not believed, too
            raise NotSent(type(error).__name__) from error
        return connection

    def _ready(self) -> _Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_fresh(self._kept_s):
                return connection
            connection.close()
        return None

    def _put_back(self, connection: _Connection) -> None:
        if connection.is_fresh(self._kept_s):
            self._kept.append(connection)
        else:
            connection.close()
        while self._kept and not self._kept[0].is_fresh(self._kept_s):
            self._kept.popleft().close()


class _Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer = Answer()
        self._asked: asyncio.Future[Answer] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._reusable = False
        """The last answer came to its end, nothing followed it, and the server keeps the connection open."""
        self._answered_s = 0.0

    def is_fresh(self, kept_s: float) -> bool:
        """Whether the next request may be made here, less than `kept_s` seconds after the last answer."""
        return self._reusable and self._loop.time() - self._answered_s < kept_s

    def ask(self, request: bytes, end_s: float) -> asyncio.Future[Answer]:
        """The answer to these bytes, by `end_s` of the loop's clock."""
        assert self._transport is not None
        self._reusable = False
        self._answer = Answer()
        self._asked = asked = self._loop.create_future()
        self._deadline = self._loop.call_at(end_s, self._give_up, "TimeoutError")
        self._transport.write(request)
        return asked

    def close(self) -> None:
        self._reusable = False
        if self._transport is not None:
            self._transport.close()

    # ----------------------------------------------------------------------------------------- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        if self._asked is None:
            self.close()  # nobody asked for this: what comes next could be taken for an answer
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_up("the answer is not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_up(type(exc).__name__ if exc is not None else "the server hung up")

    # --------------------------------------------------------------------------------------- the parser's side

    def on_message_begin(self) -> None:
        if self._asked is None:
            self._answer = Answer()  # what is given out stays as it is
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        answer = self._answer
        answer.body += part[: _MOST_BODY - len(answer.body)]
        if len(answer.body) == _MOST_BODY:
            self._give_up("the answer is too long")

    def on_message_complete(self) -> None:
        if 100 <= self._answer.status < 200:
            self._answer = Answer()  # a word on the way: the answer follows
        elif self._asked is not None:
            self._reusable = self._parser.should_keep_alive()
            self._settle()

    # ------------------------------------------------------------------------------------------------ endings

    def _settle(self, reason: str = "") -> None:
        asked, self._asked = self._asked, None
        self._answered_s = self._loop.time()
        if self._deadline is not None:
            self._deadline.cancel()
        if asked is None or asked.done():
            return
        if self._answer.status >= 200:
            asked.set_result(self._answer)
        else:
            asked.set_exception(NoAnswer(reason))

    def _give_up(self, reason: str) -> None:
        """No more will come, or is wanted. Of an answer that broke off the status says enough."""
        self.close()
        self._settle(reason)

"""The smallest handler that is as durable as Koe: verify, decode, one SQLite transaction with `synchronous=FULL` and
group commit, 200; then one fixed message to the customer over aiohttp.

It knows no survey, no session, no retry, no lease and no second platform: it is what a bot costs at least. Run by the
benchmark as a process of its own: `python -m tests.bench.reference PORT API_PORT DATABASE REPLY_FILE`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import queue
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvicorn

from tests.bench.load import CHANNEL_SECRET

_SECRET = CHANNEL_SECRET.encode()


class _Source(msgspec.Struct):
    userId: str  # noqa: N815 – as LINE spells it


class _Postback(msgspec.Struct):
    data: str


class _Event(msgspec.Struct):
    webhookEventId: str  # noqa: N815
    timestamp: int
    replyToken: str  # noqa: N815
    source: _Source
    postback: _Postback


class _Webhook(msgspec.Struct):
    events: list[_Event]


_decoder = msgspec.json.Decoder(_Webhook)


class _Writer:
    """One thread, one connection; what queued during a commit shares the next one."""

    def __init__(self, database: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: queue.SimpleQueue[tuple[_Event, asyncio.Future[bool]]] = queue.SimpleQueue()
        self._database = database
        threading.Thread(target=self._run, daemon=True).start()

    def store(self, event: _Event) -> asyncio.Future[bool]:
        """True once a new event is durable, False for a known one."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self._queue.put((event, future))
        return future

    def _run(self) -> None:
        db = sqlite3.connect(self._database, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, at_ms INTEGER) WITHOUT ROWID")
        db.execute("CREATE TABLE IF NOT EXISTS answers (customer TEXT, question TEXT, value TEXT, at_ms INTEGER)")
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            outcomes = []
            db.execute("BEGIN IMMEDIATE")
            for event, future in batch:
                known = "INSERT INTO events VALUES (?, ?) ON CONFLICT DO NOTHING"
                fresh = db.execute(known, (event.webhookEventId, event.timestamp)).rowcount == 1
                if fresh:
                    _, _, question, value = event.postback.data.split(":")
                    db.execute(
                        "INSERT INTO answers VALUES (?, ?, ?, ?)",
                        (event.source.userId, question, value, event.timestamp),
                    )
                outcomes.append((future, fresh))
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, outcomes)


def _settle(outcomes: list[tuple[asyncio.Future[bool], bool]]) -> None:
    for future, fresh in outcomes:
        if not future.done():
            future.set_result(fresh)


class _App:
    def __init__(self, writer: _Writer, session: aiohttp.ClientSession, reply_url: str, messages: bytes) -> None:
        self._writer = writer
        self._session = session
        self._reply_url = reply_url
        self._tail = b'","messages":' + messages + b"}"
        self._sending: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        given = dict(scope["headers"]).get(b"x-line-signature", b"")
        wanted = base64.b64encode(hmac.digest(_SECRET, body, hashlib.sha256))
        if not hmac.compare_digest(given, wanted):
            await _answer(send, 401)
            return
        events = _decoder.decode(body).events
        fresh = await asyncio.gather(*map(self._writer.store, events))
        await _answer(send, 200)
        for event, is_new in zip(events, fresh, strict=True):
            if is_new:
                task = asyncio.create_task(self._reply(event.replyToken))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def _reply(self, token: str) -> None:
        body = b'{"replyToken":"' + token.encode() + self._tail
        headers = {"Authorization": "Bearer reference", "Content-Type": "application/json"}
        async with self._session.post(self._reply_url, data=body, headers=headers) as response:
            await response.read()


async def _answer(send: Any, status: int) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def _main(port: int, api_port: int, database: str, messages: bytes) -> None:
    connector = aiohttp.TCPConnector(limit=200)
    async with aiohttp.ClientSession(connector=connector) as session:
        writer = _Writer(database, asyncio.get_running_loop())
        app = _App(writer, session, f"http://127.0.0.1:{api_port}/v2/bot/message/reply", messages)
        options = {"http": "httptools", "ws": "none", "lifespan": "off", "access_log": False, "log_level": "warning"}
        await uvicorn.Server(uvicorn.Config(app, port=port, **options)).serve()  # type: ignore[arg-type]


if __name__ == "__main__":
    import uvloop

    _, port, api_port, database, reply_file = sys.argv
    uvloop.run(_main(int(port), int(api_port), database, Path(reply_file).read_bytes()))

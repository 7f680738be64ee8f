"""Serving on loopback, and the token bucket behind the stand-ins' 429."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bot.standins import serve
from bot.standins.wire import Bucket, Silent


async def hello(request: Request) -> Response:
    return PlainTextResponse(str(request.app.state.url))


async def test_a_served_app_knows_its_address_and_closes_twice() -> None:
    served = await serve(Starlette(routes=[Route("/", hello)]))
    async with aiohttp.ClientSession() as session, session.get(served.url) as answer:
        assert await answer.text() == served.url
    await served.close()
    await served.close()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(served.url)


async def test_an_answer_leaves_at_once_however_small_it_is() -> None:
    delays_off: list[int] = []

    class Watched(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
            super().connection_made(transport)
            connection = transport.get_extra_info("socket")
            delays_off.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    served = await serve(Starlette(routes=[Route("/", hello)]), http=Watched)
    async with aiohttp.ClientSession() as session, session.get(served.url) as answer:
        assert answer.status == 200
    await served.close()
    assert delays_off == [1]


async def test_a_connection_that_a_client_still_holds_for_good_is_not_closed_under_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop stands still for 14 seconds, as on a busy machine: aiohttp uses an idle connection for 15. What is sent
    on one that the server gives up in the same moment is lost in a reset connection."""
    loop = asyncio.get_running_loop()
    clock, slept_s = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: clock() + slept_s)

    async def hello_too(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    served = await serve(Starlette(routes=[Route("/", hello_too, methods=["POST"])]))
    for turns in range(8):  # at which turn of the loop the request meets the server's timer
        async with aiohttp.ClientSession() as session:
            await (await session.post(served.url, data=b"first")).read()
            slept_s += 14.0
            for _ in range(turns):
                await asyncio.sleep(0)
            assert await (await session.post(served.url, data=b"second")).read() == b"second"
    await served.close()


async def test_closing_runs_the_shutdown_and_does_not_wait_for_silent_answers() -> None:
    ended: list[str] = []
    asked = asyncio.Event()

    async def silence(request: Request) -> Response:
        asked.set()
        return Silent()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        ended.append("shutdown")

    served = await serve(Starlette(routes=[Route("/", silence)], lifespan=lifespan))
    host, _, port = served.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await writer.drain()
    await asked.wait()
    await served.close()
    assert ended == ["shutdown"]
    with suppress(ConnectionError):  # dropped: an error or an end, but never an answer
        assert await reader.read() == b""
    writer.close()


async def test_a_taken_port_and_a_failing_start_are_errors_of_the_caller() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await serve(Starlette(), port=taken.getsockname()[1])

    @asynccontextmanager
    async def broken(app: Starlette) -> AsyncIterator[None]:
        raise ValueError("no database")
        yield

    with pytest.raises(RuntimeError, match="could not start"):
        await serve(Starlette(lifespan=broken))


def test_a_bucket_lets_its_capacity_through_and_refills_evenly() -> None:
    bucket = Bucket(capacity=2, period_ms=1000)
    assert [bucket.take(0), bucket.take(0), bucket.take(0)] == [0, 0, 500]
    assert bucket.take(500) == 0
    assert bucket.take(100) > 0, "a clock set back refills nothing"
    assert [bucket.take(60_000), bucket.take(60_000), bucket.take(60_000)] == [0, 0, 500]

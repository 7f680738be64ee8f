"""POSTs over kept connections, against servers that answer byte by byte as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bot.line.posting import Answer, NoAnswer, NotSent, NotWanted, Poster

CERTIFICATE = Path(__file__).parent / "fixtures" / "localhost.pem"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
HEADERS = {"Authorization": "Bearer t"}


@dataclass
class Server:
    """Answers each request with the next bytes of `script`, then with OK; what is None is not answered."""

    script: list[bytes | None] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                length = next(int(line[16:]) for line in head.split("\r\n") if line.startswith("Content-Length: "))
                self.bodies.append(await reader.readexactly(length))
                self.asked.set()
                answer = self.script.pop(0) if self.script else OK
                if answer is None:
                    await reader.read()
                    break
                self.at_once -= 1
                writer.write(answer)
                await writer.drain()
                if b"content-length" not in answer and b"chunked" not in answer:
                    break
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    for writer in made.writers:
        writer.close()


@pytest.fixture
async def poster(server: Server) -> AsyncIterator[Poster]:
    made = Poster(f"http://127.0.0.1:{server.port}/prefix/", HEADERS)
    yield made
    await made.close()


async def test_a_request_is_what_was_asked_for_and_one_connection_serves_many(server: Server, poster: Poster) -> None:
    for body in (b"{}", "日本語".encode() * 10_000, b""):
        assert await poster.post("/reply", body, "X-Line-Retry-Key: k\r\n") == Answer(
            200, [(b"content-length", b"2")], b"{}"
        )
    assert server.bodies == [b"{}", "日本語".encode() * 10_000, b""]
    assert server.heads[0].split("\r\n")[:-2] == [
        "POST /prefix/reply HTTP/1.1",
        "Content-Length: 2",
        "X-Line-Retry-Key: k",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: Koe",
        "Authorization: Bearer t",
    ]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("written", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n", 200, b"{} "),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"{}"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" + OK, 200, b"{}"),
        (b"HTTP/1.1 500 Oh\r\n\r\nuntil the end", 500, b"until the end"),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", 204, b""),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 302, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n" + b"x" * 70_000, 200, b"x" * 65_536),
    ],
)
async def test_an_answer_is_read_in_each_form_that_http_has_for_it(
    server: Server, poster: Poster, written: bytes, status: int, body: bytes
) -> None:
    server.script = [written]
    answer = await poster.post("/reply", b"{}")
    assert (answer.status, answer.body) == (status, body)
    assert (await poster.post("/reply", b"{}")).status == 200, "and the next one is its own"
    assert len(server.heads) == 2


@pytest.mark.parametrize("written", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200", b"HTTP/1.1 101 Up\r\nupgrade: x\r\n\r\n"])
async def test_what_is_no_answer_is_none_and_nothing_is_sent_twice(
    server: Server, poster: Poster, written: bytes
) -> None:
    server.script = [OK, written]
    await poster.post("/reply", b"1")
    with pytest.raises(NoAnswer):
        await poster.post("/reply", b"2")
    assert server.bodies == [b"1", b"2"]
    await poster.post("/reply", b"3")
    assert server.connections == 2


async def test_words_that_nobody_asked_for_are_never_taken_for_an_answer(server: Server, poster: Poster) -> None:
    server.script = [OK + b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n"]
    assert (await poster.post("/reply", b"{}")).status == 200
    assert (await poster.post("/reply", b"{}")).status == 200
    assert server.connections == 2


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"])
async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(
    server: Server, poster: Poster, farewell: bytes
) -> None:
    await poster.post("/reply", b"{}")
    [connection] = poster._kept
    server.writers[0].write(farewell)
    server.writers[0].close()
    while connection.is_fresh(3600.0):  # noqa: ASYNC110 – it tells nobody
        await asyncio.sleep(0)
    assert (await poster.post("/reply", b"{}")).status == 200
    assert server.connections == 2


async def test_a_connection_that_was_silent_for_too_long_is_not_used(server: Server) -> None:
    poster = Poster(f"http://127.0.0.1:{server.port}", HEADERS, kept_s=0.0)
    for _ in range(3):
        await poster.post("/reply", b"{}")
    assert server.connections == 3


async def test_who_waited_for_a_connection_is_asked_once_more_and_who_did_not_wait_is_not(server: Server) -> None:
    poster = Poster(f"http://127.0.0.1:{server.port}", HEADERS, most=1)
    asked: list[str] = []

    def says(answer: bool, name: str) -> bool:
        asked.append(name)
        return answer

    with pytest.raises(NotWanted):
        await poster.post("/push", b"{}", wanted=lambda: says(False, "connecting"))
    assert (await poster.post("/push", b"{}", wanted=lambda: says(True, "connecting again"))).status == 200
    assert (await poster.post("/push", b"{}", wanted=lambda: says(False, "at once"))).status == 200
    server.script = [None]
    server.asked.clear()
    first = asyncio.create_task(poster.post("/push", b"{}"))
    await server.asked.wait()
    second = asyncio.create_task(poster.post("/push", b"{}", wanted=lambda: says(False, "for its turn")))
    await asyncio.sleep(0)
    server.writers[-1].close()
    with pytest.raises(NoAnswer):
        await first
    with pytest.raises(NotWanted):
        await second
    assert (asked, len(server.bodies)) == (["connecting", "connecting again", "for its turn"], 3)
    await poster.close()


async def test_only_so_many_are_on_their_way_and_who_cannot_have_a_turn_was_not_sent(server: Server) -> None:
    poster = Poster(f"http://127.0.0.1:{server.port}", HEADERS, most=2)
    assert {answer.status for answer in await asyncio.gather(*(poster.post("/reply", b"{}") for _ in range(20)))} == {
        200
    }
    assert server.most_at_once <= 2
    assert server.connections <= 2
    await poster.close()
    hasty = Poster(f"http://127.0.0.1:{server.port}", HEADERS, most=1)
    server.script, sent = [None], len(server.bodies)
    server.asked.clear()
    first = asyncio.create_task(hasty.post("/reply", b"{}"))
    await server.asked.wait()
    patience_s, hasty._connect_within_s = hasty._connect_within_s, 0.0
    with pytest.raises(NotSent):
        await hasty.post("/reply", b"{}")
    hasty._connect_within_s = patience_s
    assert len(server.bodies) == sent + 1
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await hasty.post("/reply", b"{}")).status == 200, "its turn came back, its connection did not"
    await hasty.close()


async def test_no_answer_in_time_is_no_answer(server: Server) -> None:
    poster = Poster(f"http://127.0.0.1:{server.port}", HEADERS, within_s=0.02)
    server.script = [None]
    with pytest.raises(NoAnswer, match="TimeoutError"):
        await poster.post("/reply", b"{}")


@pytest.fixture
async def tls() -> AsyncIterator[Server]:
    made = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    for writer in made.writers:
        writer.close()


async def test_tls_believes_a_certificate_of_this_name_only(tls: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = Poster(f"https://localhost:{tls.port}", HEADERS)
    with pytest.raises(NotSent, match="SSLCertVerificationError"):
        await stranger.post("/reply", b"{}")
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    known = Poster(f"https://localhost:{tls.port}", HEADERS)
    for _ in range(2):
        assert (await known.post("/reply", b"{}")).status == 200
    assert tls.heads[0].split("\r\n")[2] == f"Host: localhost:{tls.port}"
    other_name = Poster(f"https://127.0.0.1:{tls.port}", HEADERS)
    with pytest.raises(NotSent, match="SSLCertVerificationError"):
        await other_name.post("/reply", b"{}")
    assert len(tls.bodies) == 2
    await known.close()


async def test_plain_http_where_tls_is_spoken_gets_no_answer(tls: Server) -> None:
    with pytest.raises(NoAnswer):
        await Poster(f"http://127.0.0.1:{tls.port}", HEADERS).post("/reply", b"{}")


@pytest.mark.parametrize("address", ["", "https://", "api.line.me", "https://" + "a" * 64 + ".example"])
def test_an_address_without_a_server_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"names no server|label"):
        Poster(address, HEADERS)

"""Whatever a stranger posts is answered with 4xx, stores nothing and stops nobody (P19); secrets rotate (P20); a full
or locked database is 503 and nothing half-written (P13, P14)."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from signed import sign_slack

from bot.http import make_app
from bot.listener import Listener
from bot.signatures import sign_line, sign_standard_webhooks
from bot.staff.survey import ABOUT, CUSTOMER, SURVEY_VIEW
from bot.standins.demo import PRESENT, World, open_world
from bot.standins.wire import serve
from storage import failpoints

pytestmark = pytest.mark.asyncio(loop_scope="module")

START_MS = int(PRESENT.timestamp() * 1000)
ROUTES = ("/line/webhook", "/slack/events", "/events")
USER = "U" + "5" * 32


class QuickListener(Listener):
    headers_within_s = 0.2
    body_within_s = 0.2


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("hostile"), start_ms=START_MS)
    yield world
    await world.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hasty(world: World) -> AsyncIterator[str]:
    """The same bot with short patience: its address."""
    web = make_app(world.koe)
    served = await serve(web, http=QuickListener.with_posts(web.posts))
    yield served.url
    await served.close()


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def error(self) -> str:
        """The code of an error answer, in the one form of all routes."""
        parsed = json.loads(self.body)
        assert set(parsed) == {"error", "message"}
        assert parsed["message"]
        return str(parsed["error"])


async def talk(url: str, *parts: bytes, pause_s: float = 0.0, within_s: float = 60.0) -> Answer:
    """What a raw connection answers to these bytes; status 0 when it is closed without a word."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        for part in parts:
            writer.write(part)
            try:
                await writer.drain()
            except (ConnectionError, OSError):
                break
            if pause_s:
                await asyncio.sleep(pause_s)
        async with asyncio.timeout(within_s):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return Answer(0, b"")
            length = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1])) if length else b""
        return Answer(int(head.split(b" ", 2)[1]), body)
    finally:
        writer.close()


def request(route: str, headers: dict[str, str] | list[tuple[bytes, bytes]], body: bytes) -> bytes:
    pairs = headers if isinstance(headers, list) else [(k.encode(), v.encode()) for k, v in headers.items()]
    lines = [f"POST {route} HTTP/1.1".encode(), b"host: koe", b"content-type: application/json"]
    if not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in pairs):
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in pairs)]) + b"\r\n\r\n" + body


def genuine(world: World, route: str, body: bytes, at_s: int | None = None) -> dict[str, str]:
    """The headers with which the true sender would post this body."""
    now_s = int(time.time()) if at_s is None else at_s
    match route:
        case "/line/webhook":
            return sign_line(body, world.line.to_bot.channel_secret)
        case "/slack/events":
            return sign_slack(body, world.slack.to_bot.signing_secret, now_s)
        case _:
            return sign_standard_webhooks(body, world.secret, "msg-1", now_s)


def good_body(world: World, route: str, name: str, text: str = "こんにちは") -> bytes:
    match route:
        case "/line/webhook":
            event = {
                "type": "message",
                "webhookEventId": name,
                "timestamp": START_MS,
                "mode": "active",
                "replyToken": "r" + name,
                "source": {"type": "user", "userId": USER},
                "deliveryContext": {"isRedelivery": False},
                "message": {"id": "m" + name, "type": "text", "text": text},
            }
            return json.dumps({"destination": world.line.to_bot.destination, "events": [event]}).encode()
        case "/slack/events":
            message = {"type": "message", "channel": "D0X", "channel_type": "im", "user": "U0X", "text": text}
            envelope = {
                "type": "event_callback",
                "team_id": world.slack.team_id,
                "event_id": f"Ev{name}",
                "event": {**message, "ts": "1763514000.000100", "event_ts": "1763514000.000100"},
            }
            return json.dumps(envelope).encode()
        case _:
            purchase = {"id": name, "type": "purchase", "occurred_at": "2026-11-16T10:00:00+09:00"}
            return json.dumps({**purchase, "customer": {"id": f"C{name}"}, "data": {"note": text}}).encode()


def stored(world: World) -> dict[str, int]:
    """How many rows each table holds, read from the file."""
    with sqlite3.connect(f"file:{world.directory / 'koe.db'}?mode=ro", uri=True) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    db.close()
    return found


def forged_headers(world: World, route: str, body: bytes) -> dict[str, list[tuple[bytes, bytes]]]:
    """Headers that no true sender would send with this body, by what is wrong with them."""
    now_s = int(time.time())
    true = [(k.encode(), v.encode()) for k, v in genuine(world, route, body).items()]
    signature = next(name for name, _ in true if b"signature" in name)

    def with_signature(value: bytes) -> list[tuple[bytes, bytes]]:
        return [(name, value if name == signature else old) for name, old in true]

    wrong = {
        "unsigned": [],
        "empty signature": with_signature(b""),
        "non-ASCII signature": with_signature("署名".encode()),
        "latin-1 signature": with_signature(b"\xe9\xff"),
        "long signature": with_signature(b"A" * 5000),
        "duplicate signature": [*true, (signature, dict(true)[signature])],
        "signature of another body": [(k.encode(), v.encode()) for k, v in genuine(world, route, body + b" ").items()],
    }
    if route != "/line/webhook":
        stamp = next(name for name, _ in true if b"timestamp" in name)
        for label, at_s in (("301 s old", now_s - 301), ("301 s ahead", now_s + 302)):
            wrong[label] = [(k.encode(), v.encode()) for k, v in genuine(world, route, body, at_s).items()]
        for value in (b"abc", b"", b"-1", b"1e9", b"9" * 400, "１７".encode(), b"\xff"):
            wrong[f"timestamp {value[:6]!r}"] = [(n, value if n == stamp else old) for n, old in true]
        wrong["no timestamp"] = [(n, v) for n, v in true if n != stamp]
        wrong["duplicate timestamp"] = [*true, (stamp, dict(true)[stamp])]
    return wrong


@pytest.mark.parametrize("route", ROUTES)
async def test_what_the_sender_did_not_sign_is_refused_and_leaves_nothing(world: World, route: str) -> None:
    body = good_body(world, route, "forged")
    before = stored(world)
    for what, headers in forged_headers(world, route, body).items():
        answer = await talk(world.bot_url, request(route, headers, body))
        assert 400 <= answer.status < 500, what
        if answer.status != 400 or answer.body.startswith(b"{"):
            assert answer.error in ("bad_signature", "invalid_signature"), what
    true = genuine(world, route, body)
    altered = body[:-5] + bytes([body[-5] ^ 1]) + body[-4:]
    assert (await talk(world.bot_url, request(route, true, altered))).status == 401
    assert stored(world) == before


@pytest.mark.parametrize("route", ROUTES)
async def test_a_replay_is_harmless(world: World, route: str) -> None:
    body = good_body(world, route, "replayed")
    sent = request(route, genuine(world, route, body), body)
    first = await talk(world.bot_url, sent)
    assert first.status in (200, 202)
    await world.settle()
    after_one = stored(world)
    for _ in range(3):
        assert (await talk(world.bot_url, sent)).status == 200
    await world.settle()
    assert stored(world) == after_one


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


UNREADABLE = {
    "empty": b"",
    "not JSON": b"hello",
    "half": b'{"destination":',
    "a number": b"1",
    "null": b"null",
    "a list": b"[]",
    "not UTF-8": b'{"destination":"\xff\xfe","events":"\xc3\x28"}',
    "UTF-16": '{"events":[]}'.encode("utf-16"),
    "1,000 deep": nested(1_000),
    "100,000 deep": nested(100_000),
    "500 KB of objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "NUL": b"\x00" * 64,
    "huge number": b"[1e999999]",
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("what", UNREADABLE)
async def test_a_signed_body_that_is_nothing_is_a_4xx(world: World, route: str, what: str) -> None:
    before = stored(world)
    body = UNREADABLE[what]
    answer = await talk(world.bot_url, request(route, genuine(world, route, body), body))
    assert 400 <= answer.status < 500
    assert answer.error
    assert stored(world) == before


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("text", ["\x00", "\ud800", "a\udfffb", "😀" * 10, "長" * 20_000, "\u202e\u0007"])
async def test_odd_characters_are_ordinary_input(world: World, route: str, text: str) -> None:
    body = good_body(world, route, f"odd-{ord(text[0])}-{len(text)}-{route[1]}", text)
    answer = await talk(world.bot_url, request(route, genuine(world, route, body), body))
    assert answer.status in (200, 202, 400, 413)
    await world.settle()
    assert await world.koe.store.read(lambda tx: tx.jobs(state="dead")) == []


@pytest.mark.parametrize("deep", [1_000, 240_000])
@pytest.mark.parametrize("route", ROUTES)
async def test_deep_nesting_inside_a_true_event_stops_nobody(world: World, route: str, deep: int) -> None:
    inner = good_body(world, route, f"deep-{deep}").replace(
        json.dumps("こんにちは").encode(), nested(deep if route != "/events" else min(deep, 100_000))
    )
    answer = await talk(world.bot_url, request(route, genuine(world, route, inner), inner))
    assert answer.status < 500
    beside = good_body(world, route, f"beside-{deep}")
    answer = await talk(world.bot_url, request(route, genuine(world, route, beside), beside))
    assert answer.status in (200, 202)


@pytest.mark.parametrize("route", ROUTES)
async def test_ten_megabytes_are_refused_before_they_are_read(world: World, route: str) -> None:
    before = stored(world)
    announced = request(route, {"content-length": str(10_000_000)}, b"")
    answer = await talk(world.bot_url, announced)
    assert answer.status == 413
    assert answer.error == "too_large"
    sent = await talk(world.bot_url, request(route, {}, b"x" * 10_000_000))
    assert sent.status in (413, 0)  # it hangs up while we are still talking
    assert stored(world) == before


@pytest.mark.parametrize("route", ROUTES)
async def test_endless_chunks_end_at_the_limit(world: World, route: str) -> None:
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    head = request(route, {"transfer-encoding": "chunked"}, b"")
    answer = await talk(world.bot_url, head, *([chunk] * 64))
    assert answer.status in (413, 0)


async def statuses_of(url: str, *parts: bytes) -> list[int]:
    """What a connection answers to these bytes until it is closed."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", await reader.read())]
    finally:
        writer.close()


async def test_requests_sent_without_waiting_are_answered_in_their_order(world: World) -> None:
    bodies = [good_body(world, "/line/webhook", f"pipelined-{number}") for number in range(3)]
    good = [request("/line/webhook", genuine(world, "/line/webhook", body), body) for body in bodies]
    forged = request("/line/webhook", {"x-line-signature": "A" * 44}, bodies[0])
    page = b"GET /healthz HTTP/1.1\r\nhost: koe\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nhost: koe\r\nconnection: close\r\n\r\n"
    found = await statuses_of(world.bot_url, b"".join([good[0], page, good[1], forged, good[2], last]))
    assert found == [200, 200, 200, 401, 200, 404]
    await world.settle()


@pytest.mark.parametrize("way", ["at once", "in pieces", "in chunks", "long", "asks to go on", "HTTP/1.0"])
async def test_a_webhook_is_taken_in_whichever_way_it_comes(world: World, way: str) -> None:
    name = f"way-{way.replace(' ', '-').replace('/', '-')}"
    body = good_body(world, "/line/webhook", name, "長い" * (20_000 if way == "long" else 1))
    headers = genuine(world, "/line/webhook", body) | {"connection": "close"}
    if way == "asks to go on":
        headers["expect"] = "100-continue"
    if way == "in chunks":
        head = request("/line/webhook", headers | {"transfer-encoding": "chunked"}, b"")
        parts = [head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)]
    else:
        whole = request("/line/webhook", headers, body)
        if way == "HTTP/1.0":
            whole = whole.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        cuts = [0, 7, 60, len(whole) - len(body) + 3, len(whole) - 1] if way == "in pieces" else [0]
        parts = [whole[start:end] for start, end in zip(cuts, [*cuts[1:], len(whole)], strict=True)]
    before = stored(world)["inbound"]
    found = await statuses_of(world.bot_url, *parts)
    assert found == ([100, 200] if way == "asks to go on" else [200])
    assert stored(world)["inbound"] == before + 1
    await world.settle()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("protocol", ["h2c", "websocket", "tls/1.0, x"])
async def test_a_webhook_that_offers_another_protocol_is_taken_in_this_one(
    world: World, route: str, protocol: str
) -> None:
    body = good_body(world, route, f"upgrade-{protocol[:3]}-{route[1]}")
    headers = genuine(world, route, body) | {"connection": "Upgrade, HTTP2-Settings", "upgrade": protocol}
    whole = request(route, headers, body)
    last = b"GET /healthz HTTP/1.1\r\nhost: koe\r\nconnection: upgrade, close\r\nupgrade: h2c\r\n\r\n"
    before = stored(world)["inbound"]
    found = await statuses_of(world.bot_url, whole[:40], whole[40:-3], whole[-3:] + last)
    assert found in ([200, 200], [202, 200])
    assert stored(world)["inbound"] == before + (route != "/events")
    forged = request(route, headers, body + b" ")
    assert (await talk(world.bot_url, forged)).status == 401
    await world.settle()


async def test_a_request_for_a_tunnel_is_refused(world: World) -> None:
    asked = b"CONNECT koe:80 HTTP/1.1\r\nhost: koe\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert 400 <= (await talk(world.bot_url, asked)).status < 500


@pytest.mark.parametrize("length", ["-1", "abc", "1, 2", "1e3", "999999999999999999999999", "٣"])
async def test_a_length_that_is_no_length_is_refused(world: World, length: str) -> None:
    answer = await talk(world.bot_url, request("/line/webhook", [(b"content-length", length.encode())], b"{}"))
    assert 400 <= answer.status < 500


@pytest.mark.parametrize("route", ROUTES)
async def test_a_body_that_never_comes_is_waited_for_a_moment_only(hasty: str, route: str) -> None:
    too_long = request(route, {"content-length": "100"}, b"{")
    answer = await talk(hasty, too_long)
    assert answer.status == 408
    assert answer.error == "too_slow"


async def test_a_sender_who_hangs_up_in_the_middle_leaves_nothing(world: World) -> None:
    before = stored(world)
    for route in ROUTES:
        where = urlsplit(world.bot_url)
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(request(route, {"content-length": "1000"}, b"{"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await talk(world.bot_url, b"GET /healthz HTTP/1.1\r\nhost: koe\r\n\r\n")).status == 200
    assert stored(world) == before


async def test_headers_that_dribble_or_never_end_are_let_go(hasty: str) -> None:
    slow = await talk(hasty, b"POST /events HTTP/1.1\r\n", b"x-a: 1\r\n")
    assert slow.status == 0
    silent = await talk(hasty)
    assert silent.status == 0
    endless = await talk(hasty, b"POST /events HTTP/1.1\r\n", *([b"x-a: " + b"b" * 8_000 + b"\r\n"] * 8))
    assert endless.status == 431
    assert endless.error == "headers_too_large"
    one_line = await talk(hasty, b"POST /events HTTP/1.1\r\nx-a: ", *([b"b" * 16_000] * 8))
    assert one_line.status in (431, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /events HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00",
        b"POST \xff HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(hasty: str, line: bytes) -> None:
    assert (await talk(hasty, line)).status in (400, 0)


async def test_many_slow_senders_do_not_keep_others_waiting(world: World) -> None:
    begun = b"POST /line/webhook HTTP/1.1\r\ncontent-length: 9\r\n"
    slow = [asyncio.create_task(talk(world.bot_url, begun)) for _ in range(200)]
    body = good_body(world, "/line/webhook", "beside-slow")
    answer = await talk(world.bot_url, request("/line/webhook", genuine(world, "/line/webhook", body), body))
    assert answer.status == 200
    assert not any(sender.done() for sender in slow), "all of them were still being waited for"
    for sender in slow:
        sender.cancel()
    await asyncio.wait(slow)


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("GET /nothing", 404, "not_found"),
        ("POST /line/webhook/", 404, "not_found"),
        ("GET /line/webhook", 405, "bad_method"),
        ("DELETE /events", 405, "bad_method"),
        ("PUT /slack/events", 405, "bad_method"),
        ("POST /healthz", 405, "bad_method"),
        ("GET /%00/../../etc/passwd", 404, "not_found"),
    ],
)
async def test_every_error_has_the_same_form(world: World, line: str, status: int, code: str) -> None:
    answer = await talk(world.bot_url, f"{line} HTTP/1.1\r\nhost: koe\r\nconnection: close\r\n\r\n".encode())
    assert (answer.status, answer.error) == (status, code)


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""])
@pytest.mark.parametrize(
    "body",
    [
        b"payload=",
        b"payload=%7B",
        b"payload=" + quote(nested(2_000).decode()).encode(),
        b"payload=1&payload=2",
        b"command=%2Fsurvey",
        b"payload=" + quote('{"type":"block_actions","actions":[]}').encode(),
        b"payload=" + quote('{"type":"block_actions","user":5,"actions":[1],"team":7}').encode(),
        b"payload=" + quote('{"type":"view_submission","view":[]}').encode(),
        b"payload=" + quote('{"type":"view_submission","view":{"state":3,"callback_id":{}}}').encode(),
        b"\xff\xfe",
    ],
)
async def test_forms_that_slack_never_sends_are_never_a_5xx(world: World, content_type: str, body: bytes) -> None:
    headers = [(k.encode(), v.encode()) for k, v in genuine(world, "/slack/events", body).items()]
    sent = request("/slack/events", [*headers, (b"content-type", content_type.encode())], body)
    sent = sent.replace(b"content-type: application/json\r\n", b"", 1)
    assert (await talk(world.bot_url, sent)).status < 500


_STAFF = {"user": {"id": "U0STAFF", "team_id": "T0DEMO"}, "team": {"id": "T0DEMO"}, "trigger_id": "1.2.a"}
_WINDOW = {
    "id": "V1",
    "callback_id": SURVEY_VIEW,
    "private_metadata": '{"l":"ja"}',
    "blocks": [{"type": "input", "block_id": "note"}],
    "state": {"values": {"customer": {"customer": {"type": "external_select", "selected_option": {"value": "C1"}}}}},
}
OF_SLACK: dict[str, dict[str, object]] = {
    "event": {
        "type": "event_callback",
        "team_id": "T0DEMO",
        "event_id": "Ev1",
        "authorizations": [{"team_id": "T0DEMO", "user_id": "U0KOE"}],
        "event": {"type": "message", "channel_type": "im", "user": "U1", "text": "9", "channel": "D1", "ts": "1.1"},
    },
    "click": {
        "type": "block_actions",
        **_STAFF,
        "container": {"type": "message", "message_ts": "1.1", "channel_id": "C0ALERTS"},
        "channel": {"id": "C0ALERTS"},
        "message": {"ts": "1.1", "text": "x", "blocks": [{"type": "actions", "block_id": "b"}]},
        "actions": [{"type": "button", "action_id": "x", "block_id": "b", "value": "x|sat|5", "action_ts": "1.5"}],
    },
    "window": {"type": "view_submission", **_STAFF, "view": _WINDOW},
    "closed window": {"type": "view_closed", **_STAFF, "view": {"id": "V1", "callback_id": SURVEY_VIEW}},
    "letter": {
        "type": "block_suggestion",
        **_STAFF,
        "action_id": CUSTOMER,
        "block_id": CUSTOMER,
        "value": "C1",
        "view": {"id": "V1", "callback_id": SURVEY_VIEW, "private_metadata": ""},
    },
    "menu": {
        "type": "message_action",
        **_STAFF,
        "callback_id": ABOUT,
        "channel": {"id": "C0ALERTS"},
        "message": {"user": "U1", "ts": "1.1", "text": "x"},
    },
}


def places(within: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to each part of a JSON value, the whole first."""
    yield at
    parts = within.items() if isinstance(within, dict) else enumerate(within) if isinstance(within, list) else ()
    for name, part in parts:
        yield from places(part, (*at, name))


def with_part(whole: object, at: tuple[str | int, ...], part: object) -> Any:
    if not at:
        return part
    changed = copy.deepcopy(whole)
    inner: Any = changed
    for name in at[:-1]:
        inner = inner[name]
    inner[at[-1]] = part
    return changed


async def answered(world: World, bodies: list[bytes], content_type: str) -> list[int]:
    """The statuses of these bodies, all signed by Slack's secret."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:

        async def post(body: bytes) -> int:
            headers = genuine(world, "/slack/events", body) | {"content-type": content_type}
            async with session.post(f"{world.bot_url}/slack/events", data=body, headers=headers) as answer:
                await answer.read()
                return answer.status

        return await asyncio.gather(*(post(body) for body in bodies))


@pytest.mark.parametrize("shape", OF_SLACK)
async def test_no_part_of_a_payload_can_be_anything_that_makes_a_5xx(world: World, shape: str) -> None:
    whole = OF_SLACK[shape]
    odd = [with_part(whole, at, part) for at in places(whole) for part in (5, None, [1], {"a": 1})]
    bodies = [json.dumps(payload).encode() for payload in odd]
    if shape == "event":
        statuses = await answered(world, bodies, "application/json")
    else:
        forms = [b"payload=" + quote(body).encode() for body in bodies]
        statuses = await answered(world, forms, "application/x-www-form-urlencoded")
    assert [odd[at] for at, status in enumerate(statuses) if status not in (200, 400)] == []


# ------------------------------------------------------------------------------------------------- secrets rotate


async def test_secrets_rotate_under_load_without_a_refusal(tmp_path: Path) -> None:
    old_line, new_line = "a" * 32, "b" * 32
    old_events, new_events = "whsec_" + "A" * 32, "whsec_" + "B" * 32
    settings = {
        "LINE_CHANNEL_SECRETS": f"{old_line},{new_line}",
        "SLACK_SIGNING_SECRETS": "c" * 32 + "," + "d" * 32,
        "KOE_EVENTS_SECRETS": f"{old_events},{new_events}",
    }
    world = await open_world(tmp_path, start_ms=START_MS, settings=settings)
    sign: list[Callable[[str, bytes], dict[str, str]]] = [
        lambda route, body: rotated(route, body, (old_line, "c" * 32, old_events)),
        lambda route, body: rotated(route, body, (new_line, "d" * 32, new_events)),
    ]
    try:
        async with aiohttp.ClientSession() as session:

            async def post(number: int) -> int:
                route = ROUTES[number % 3]
                body = good_body(world, route, f"rotation-{number}")
                headers = sign[number % 2](route, body) | {"content-type": "application/json"}
                async with session.post(world.bot_url + route, data=body, headers=headers) as answer:
                    return answer.status

            statuses = await asyncio.gather(*(post(number) for number in range(240)))
        assert set(statuses) <= {200, 202}
    finally:
        await world.close()


def rotated(route: str, body: bytes, secrets: tuple[str, str, str]) -> dict[str, str]:
    line, slack, events = secrets
    match route:
        case "/line/webhook":
            return sign_line(body, line)
        case "/slack/events":
            return sign_slack(body, slack, int(time.time()))
        case _:
            return sign_standard_webhooks(body, events, "msg", int(time.time()))


# ------------------------------------------------------------------------------------------------- a disk that is full


@pytest.mark.parametrize("route", ROUTES)
async def test_a_full_disk_is_not_acknowledged_and_recovers_by_itself(world: World, route: str) -> None:
    body = good_body(world, route, "diskfull")
    sent = request(route, genuine(world, route, body), body)
    await world.settle()
    before = stored(world)
    failpoints.arm("store.before_commit=diskfull")
    try:
        refused = await talk(world.bot_url, sent)
    finally:
        failpoints.arm("")
    assert refused.status == 503
    assert stored(world) == before
    assert (await talk(world.bot_url, sent)).status in (200, 202)


async def test_a_locked_database_is_503_and_the_loop_goes_on(world: World) -> None:
    route = "/events"
    body = good_body(world, route, "locked")
    sent = request(route, genuine(world, route, body), body)
    other = sqlite3.connect(world.directory / "koe.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    turns = 0
    waiting = asyncio.create_task(talk(world.bot_url, sent))
    try:
        while not waiting.done():
            await asyncio.sleep(0.005)
            turns += 1
    finally:
        other.execute("ROLLBACK")
        other.close()
    answer = await waiting
    assert (answer.status, answer.error) == (503, "store_busy")
    assert turns >= 20, "the loop went on: one that waited itself would have turned once or twice"
    assert (await talk(world.bot_url, sent)).status == 202

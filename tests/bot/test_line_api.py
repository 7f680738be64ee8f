"""Sending to LINE over real HTTP: what each answer means, and that one attempt is one POST."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from bot.channel import Delivery, JsonObject, Refused, RetryLater, Sent, Turn, Unknown
from bot.line import BotInfo, LineChannel, LineError, Quota
from bot.line.messages import unpack_bubbles
from flows.exchange import Ask, Choice, Say

NOW_MS = 1_763_625_600_000
HOUR_MS = 3_600_000
JOB = f"{NOW_MS:012x}"[:8] + "-" + f"{NOW_MS:012x}"[8:] + "-7000-8000-000000000001"  # a time-ordered UUID
USER = "U4af4980629f1d8c1c1b8e0a0b0c0d0e0"
SENT = (200, {"sentMessages": [{"id": "461230966842064897", "quoteToken": "IStG5h1Tz7b"}]})
SPENT = (400, {"message": "Invalid reply token"})
RATE = (429, {"message": "The API rate limit has been exceeded. Try again later."})
QUOTA = (429, {"message": "You have reached your monthly limit."})
ACCEPTED = (409, {"message": "The retry key is already accepted"})
NOT_SENT = (400, {"message": "Failed to send messages"})
INVALID = (
    400,
    {
        "message": "The request body has 1 error(s)",
        "details": [{"message": "May not be empty", "property": "messages[0].text"}],
    },
)
DEAD_TOKEN = (401, {"message": "Authentication failed. Confirm that the access token is valid."})
BROKEN = (500, "<html><body>Internal Server Error</body></html>")
DROP, HANG = "drop", "hang"


@dataclass
class Line:
    """A server that answers by a script: the next answer of `script`, then SENT."""

    script: list[Any] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def posts(self) -> list[str]:
        """The endpoints posted to: "reply", "push"."""
        return [path.rsplit("/", 1)[-1] for method, path, _, _ in self.requests if method == "POST"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((method, path, headers, json.loads(body) if body else None))
        self.asked.set()
        answer = self.script.pop(0) if self.script else SENT
        if answer == DROP:
            return False
        if answer == HANG:
            await reader.read()
            return False
        status, content, *more = answer
        raw = content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else b""
        if isinstance(content, dict):
            raw = json.dumps(content).encode()
        extra = {"Content-Length": str(len(raw)), "Content-Type": "application/json"} | (more[0] if more else {})
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in extra.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + raw)
        await writer.drain()
        return extra.get("Connection") != "close"

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    platform = Line()
    server = await asyncio.start_server(platform.serve, "127.0.0.1", 0)
    platform.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield platform
    server.close()
    platform.hang_up()


@pytest.fixture
async def channel(line: Line, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LineChannel]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = LineChannel(access_token="token", base_url=line.url + "/")
    yield made
    await made.close()


def payload(*, token: bool = True, push: bool = True) -> JsonObject:
    return {
        "to": USER,
        "bubbles": [["say", "こんにちは", []]],
        "session": "",
        "lang": "ja",
        "reply_token": "a" * 32 if token else "",
        "reply_until_ms": NOW_MS + 50_000 if token else 0,
        "push": push,
    }


async def send(channel: LineChannel, attempt: int = 1, *, at_ms: int = NOW_MS, **how: bool) -> Delivery:
    return await channel.send(payload(**how), job_id=JOB, attempt=attempt, now_ms=at_ms)


async def test_a_fresh_token_is_used_for_a_reply_without_retry_key(line: Line, channel: LineChannel) -> None:
    assert await send(channel) == Sent()
    [(method, path, headers, body)] = line.requests
    assert (method, path) == ("POST", "/v2/bot/message/reply")
    assert body == {"replyToken": "a" * 32, "messages": [{"type": "text", "text": "こんにちは"}]}
    assert headers["authorization"] == "Bearer token"
    assert headers["content-type"] == "application/json"
    assert "x-line-retry-key" not in headers


@pytest.mark.parametrize("how", [{"token": False}, {"at_ms": NOW_MS + 50_000}])
async def test_without_a_fresh_token_the_job_id_is_the_retry_key_of_a_push(
    line: Line, channel: LineChannel, how: Any
) -> None:
    assert await send(channel, **how) == Sent()
    [(method, path, headers, body)] = line.requests
    assert (method, path) == ("POST", "/v2/bot/message/push")
    assert body == {"to": USER, "messages": [{"type": "text", "text": "こんにちは"}]}
    assert headers["x-line-retry-key"] == JOB


REPLIES: dict[str, tuple[Any, Delivery]] = {
    "sent": (SENT, Sent()),
    "200 without a body": ((200, ""), Sent()),
    "200 with rubbish": ((200, "<html>"), Sent()),
    "invalid message": (
        INVALID,
        Refused("reply: 400 The request body has 1 error(s) · messages[0].text: May not be empty"),
    ),
    "dead token": (DEAD_TOKEN, Refused(f"reply: 401 {DEAD_TOKEN[1]['message']}", "channel")),
    "forbidden": ((403, {"message": "no"}), Refused("reply: 403 no")),
    "gone": ((410, {"message": "gone"}), Refused("reply: 410 gone")),
    "too large": ((413, ""), Refused("reply: 413")),
    "wrong type": ((415, ""), Refused("reply: 415")),
    "rate": (RATE, RetryLater(f"reply: 429 {RATE[1]['message']}", pause=True)),
    "broken": (BROKEN, Unknown("reply: 500", retry=True)),
    "bad gateway": ((502, b"\xff\xfe"), Unknown("reply: 502", retry=True)),
    "unavailable": ((503, {"message": ["odd"]}), Unknown("reply: 503", retry=True)),
    "dropped": (DROP, Unknown("reply: no answer (the server hung up)", retry=True)),
    "moved": ((302, "", {"Location": "/v2/bot/message/push"}), RetryLater("reply: 302", pause=True)),
    "temporarily moved": ((307, "", {"Location": "/elsewhere"}), RetryLater("reply: 307", pause=True)),
    "nested answer": ((400, "[" * 60_000), Refused("reply: 400")),
}


@pytest.mark.parametrize("name", REPLIES)
async def test_each_answer_to_a_reply_means_one_thing(line: Line, channel: LineChannel, name: str) -> None:
    answer, delivery = REPLIES[name]
    line.script = [answer]
    assert await send(channel) == delivery
    assert line.posts == ["reply"]


PUSHES: dict[str, tuple[Any, Delivery]] = {
    "sent": (SENT, Sent()),
    "accepted before": (ACCEPTED, Sent()),
    "accepted before, without a body": ((409, ""), Sent()),
    "unknown user": (NOT_SENT, Refused("push: 400 Failed to send messages", "address")),
    "invalid message": (
        INVALID,
        Refused("push: 400 The request body has 1 error(s) · messages[0].text: May not be empty"),
    ),
    "dead token": (DEAD_TOKEN, Refused(f"push: 401 {DEAD_TOKEN[1]['message']}", "channel")),
    "rate": (RATE, RetryLater(f"push: 429 {RATE[1]['message']}", pause=True)),
    "monthly limit": (QUOTA, Refused("push: 429 You have reached your monthly limit.", "push")),
    "429 in HTML": ((429, "<html>"), RetryLater("push: 429", pause=True)),
    "broken": (BROKEN, Unknown("push: 500", retry=True)),
    "dropped": (DROP, Unknown("push: no answer (the server hung up)", retry=True)),
}


@pytest.mark.parametrize("name", PUSHES)
async def test_each_answer_to_a_push_means_one_thing(line: Line, channel: LineChannel, name: str) -> None:
    answer, delivery = PUSHES[name]
    line.script = [answer]
    assert await send(channel, token=False) == delivery
    assert line.posts == ["push"]


@pytest.mark.parametrize(
    ("header", "after_s"),
    [("7", 7.0), ("999999999", 3600.0), ("-5", None), ("soon", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)
async def test_a_wait_that_line_names_is_kept_up_to_an_hour(
    line: Line, channel: LineChannel, header: str, after_s: float | None
) -> None:
    line.script = [(*RATE, {"Retry-After": header})]
    delivery = await send(channel)
    assert isinstance(delivery, RetryLater)
    assert delivery.after_s == after_s


async def test_lines_request_id_stands_in_the_reason(line: Line, channel: LineChannel) -> None:
    line.script = [(*INVALID, {"x-line-request-id": "123e4567-e89b"})]
    delivery = await send(channel, token=False)
    assert isinstance(delivery, Refused)
    assert delivery.reason.endswith("(request 123e4567-e89b)")
    assert "こんにちは" not in delivery.reason


async def test_a_token_spent_elsewhere_is_followed_by_a_push_at_once(line: Line, channel: LineChannel) -> None:
    line.script = [SPENT, SENT]
    assert await send(channel) == Sent()
    assert line.posts == ["reply", "push"]


async def test_what_is_not_worth_a_push_is_refused_with_its_token(line: Line, channel: LineChannel) -> None:
    line.script = [SPENT]
    assert isinstance(await send(channel, push=False), Refused)
    assert line.posts == ["reply"]
    assert isinstance(await send(channel, push=False, at_ms=NOW_MS + 60_000), Refused)
    assert line.posts == ["reply"]


@pytest.mark.parametrize("lost", [DROP, BROKEN])
async def test_an_invalid_token_after_an_unknown_outcome_means_it_was_sent(
    line: Line, channel: LineChannel, lost: Any
) -> None:
    line.script = [lost, SPENT]
    assert await send(channel, 1) == Unknown(
        f"reply: {'500' if lost is BROKEN else 'no answer (the server hung up)'}", retry=True
    )
    assert await send(channel, 2, at_ms=NOW_MS + 2000) == Sent()
    assert line.posts == ["reply", "reply"]


async def test_an_unknown_outcome_is_asked_about_with_the_same_token_and_found_unsent(
    line: Line, channel: LineChannel
) -> None:
    line.script = [DROP, SENT]
    await send(channel, 1)
    assert await send(channel, 2, at_ms=NOW_MS + 2000) == Sent()
    assert line.requests[0][3] == line.requests[1][3]


async def test_an_unknown_outcome_whose_token_got_too_old_is_never_pushed(line: Line, channel: LineChannel) -> None:
    line.script = [DROP]
    await send(channel, 1)
    delivery = await send(channel, 2, at_ms=NOW_MS + 50_000)
    assert isinstance(delivery, Unknown)
    assert not delivery.retry
    assert line.posts == ["reply"]


async def test_a_reply_that_was_certainly_refused_may_become_a_push_later(line: Line, channel: LineChannel) -> None:
    line.script = [RATE, SENT]
    assert isinstance(await send(channel, 1), RetryLater)
    assert await send(channel, 2, at_ms=NOW_MS + 60_000) == Sent()
    assert line.posts == ["reply", "push"]


async def test_a_rate_limit_between_does_not_make_a_lost_reply_certain(line: Line, channel: LineChannel) -> None:
    line.script = [DROP, RATE, SPENT]
    await send(channel, 1)
    await send(channel, 2, at_ms=NOW_MS + 1000)
    assert await send(channel, 3, at_ms=NOW_MS + 2000) == Sent()
    assert line.posts == ["reply"] * 3


async def test_a_spent_token_is_not_taken_for_the_push_that_got_lost_after_it(line: Line, channel: LineChannel) -> None:
    line.script = [SPENT, DROP, ACCEPTED]
    assert isinstance(await send(channel, 1), Unknown)
    assert await send(channel, 2, at_ms=NOW_MS + 1000) == Sent()
    assert line.posts == ["reply", "push", "push"]
    assert {headers.get("x-line-retry-key") for _, _, headers, _ in line.requests[1:]} == {JOB}


async def test_a_new_process_takes_an_earlier_reply_for_possibly_sent(line: Line, channel: LineChannel) -> None:
    line.script = [SPENT]
    assert await send(channel, 2) == Sent()
    delivery = await send(channel, 3, at_ms=NOW_MS + 60_000)
    assert delivery == Unknown("an earlier reply may have arrived and its token is too old to ask", retry=False)
    assert line.posts == ["reply"]


async def test_a_cancelled_reply_counts_as_possibly_sent(line: Line, channel: LineChannel) -> None:
    line.script = [HANG, SPENT]
    task = asyncio.create_task(send(channel, 1))
    await line.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await send(channel, 1) == Sent()


async def test_a_push_is_given_up_before_its_retry_key_is_forgotten(line: Line, channel: LineChannel) -> None:
    line.script = [DROP, DROP]
    await send(channel, 1, token=False)
    assert isinstance(await send(channel, 2, token=False, at_ms=NOW_MS + 22 * HOUR_MS), Unknown)
    late = await send(channel, 3, token=False, at_ms=NOW_MS + 24 * HOUR_MS)
    assert late == Unknown("the retry key is too old to repeat this push safely", retry=False)
    assert line.posts == ["push", "push"]


@pytest.mark.parametrize("refusal", [QUOTA, DEAD_TOKEN])
async def test_a_push_that_was_only_ever_refused_may_wait_longer_than_its_retry_key_lives(
    line: Line, channel: LineChannel, refusal: Any
) -> None:
    line.script = [refusal, refusal]
    for hours in (0, 30):  # the worker puts it back without counting an attempt
        assert isinstance(await send(channel, 1, token=False, at_ms=NOW_MS + hours * HOUR_MS), Refused)
    assert await send(channel, 1, token=False, at_ms=NOW_MS + 60 * HOUR_MS) == Sent()
    assert line.posts == ["push"] * 3


async def test_a_refusal_makes_no_lost_push_certain(line: Line, channel: LineChannel) -> None:
    line.script = [DROP, QUOTA]
    await send(channel, 1, token=False)
    assert isinstance(await send(channel, 2, token=False, at_ms=NOW_MS + HOUR_MS), Refused)
    late = await send(channel, 2, token=False, at_ms=NOW_MS + 24 * HOUR_MS)
    assert late == Unknown("the retry key is too old to repeat this push safely", retry=False)


async def test_a_new_process_counts_the_life_of_a_retry_key_from_the_making_of_the_job(
    line: Line, channel: LineChannel
) -> None:
    late = await send(channel, 2, token=False, at_ms=NOW_MS + 24 * HOUR_MS)
    assert isinstance(late, Unknown)
    assert line.posts == []
    assert await send(channel, 2, token=False, at_ms=NOW_MS + HOUR_MS) == Sent()


async def test_a_first_push_may_be_as_late_as_it_likes(line: Line, channel: LineChannel) -> None:
    line.script = [DROP]
    start_ms = NOW_MS + 72 * HOUR_MS
    assert isinstance(await send(channel, 1, token=False, at_ms=start_ms), Unknown)
    assert await send(channel, 2, token=False, at_ms=start_ms + HOUR_MS) == Sent()


async def test_a_connection_that_never_was_is_certainly_not_sent(line: Line, channel: LineChannel) -> None:
    closed = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()
    nobody = LineChannel(access_token="token", base_url=f"http://127.0.0.1:{port}")
    for attempt in (1, 2):
        assert isinstance(await send(nobody, attempt), RetryLater)
    assert isinstance(await send(nobody, 3, at_ms=NOW_MS + 60_000), RetryLater), "then by push"


async def test_a_server_that_never_answers_is_left_within_the_timeout(line: Line) -> None:
    hasty = LineChannel(access_token="token", base_url=line.url, within_s=0.05)
    line.script = [HANG, HANG]
    assert await send(hasty, token=False) == Unknown("push: no answer (TimeoutError)", retry=True)
    await line.asked.wait()
    assert line.posts == ["push"]
    await hasty.close()


async def test_an_answer_that_breaks_off_counts_by_its_status(line: Line, channel: LineChannel) -> None:
    closing = {"Connection": "close", "Content-Length": "5000"}
    line.script = [(200, "{", closing), (401, "{", closing)]
    assert await send(channel) == Sent()
    assert await send(channel) == Refused("reply: 401", scope="channel")


async def test_an_endless_answer_is_read_no_further_than_64_kb(line: Line, channel: LineChannel) -> None:
    line.script = [(500, b"x" * 2_000_000), SENT]
    assert await send(channel) == Unknown("reply: 500", retry=True)
    assert await send(channel, 2) == Sent()


async def test_one_connection_serves_many_calls(line: Line, channel: LineChannel) -> None:
    line.script = [SENT, BROKEN, INVALID, SENT]
    for _ in range(4):
        await send(channel, token=False)
    assert line.connections == 1


async def test_a_connection_gone_stale_gives_one_post_and_no_silent_second(line: Line, channel: LineChannel) -> None:
    await send(channel)
    line.script = [DROP]
    assert isinstance(await send(channel), Unknown)
    assert line.connections == 1
    assert len(line.posts) == 2


async def test_the_next_bubbles_are_one_call_with_the_token_for_fifty_seconds(channel: LineChannel) -> None:
    ask = Ask(question="nps", kind="yes_no", text="?", choices=(Choice("はい", "nps", "yes"),), alt="次の質問です")
    turn = Turn(session_id="0197a3c2-1111-7000-8000-000000000001", lang="ja", bubbles=(Say("はい。"), ask))
    [call] = channel.render(turn, external_id=USER, reply_token="t", at_ms=NOW_MS)
    assert (call.asks, call.updates) == ("nps", "")
    assert call.payload["bubbles"] == (Say("はい。"), ask)
    stored = msgspec.json.decode(call.stored)
    assert unpack_bubbles(stored.pop("bubbles")) == (Say("はい。"), ask)
    assert stored == {key: value for key, value in call.payload.items() if key != "bubbles"}
    assert {key: call.payload[key] for key in ("to", "reply_token", "reply_until_ms", "push")} == {
        "to": USER,
        "reply_token": "t",
        "reply_until_ms": NOW_MS + 50_000,
        "push": True,
    }
    [pushed] = channel.render(turn, external_id=USER, reply_token="", at_ms=NOW_MS)
    assert pushed.payload["reply_until_ms"] == 0
    nothing = Turn(session_id="", lang="ja", bubbles=())
    assert list(channel.render(nothing, external_id=USER, reply_token="", at_ms=NOW_MS)) == []


@pytest.mark.parametrize("token", ["", "to ken", "token\n", "トークン", "a\r\nX-Evil: 1"])
async def test_a_token_that_cannot_be_a_header_is_refused_at_once(token: str) -> None:
    with pytest.raises(ValueError, match="LINE_CHANNEL_ACCESS_TOKEN"):
        LineChannel(access_token=token)


async def test_quota_and_account_come_through_the_sdk(line: Line, channel: LineChannel) -> None:
    line.script = [
        (200, {"type": "limited", "value": 1000}),
        (200, {"totalUsage": 500}),
        (200, {"type": "none"}),
        (200, {"totalUsage": 7}),
        (
            200,
            {
                "userId": "Ub9952f8",
                "basicId": "@216ru",
                "displayName": "声の店",
                "chatMode": "bot",
                "markAsReadMode": "auto",
            },
        ),
    ]
    assert await channel.fetch_quota() == Quota(limit=1000, used=500)
    assert await channel.fetch_quota() == Quota(limit=None, used=7)
    assert await channel.fetch_bot_info() == BotInfo("Ub9952f8", "@216ru", "声の店")
    assert {headers["authorization"] for _, _, headers, _ in line.requests} == {"Bearer token"}


@pytest.mark.parametrize(
    ("answer", "status"), [(DEAD_TOKEN, 401), (BROKEN, 500), (DROP, None), ((200, "<html>"), None)], ids=str
)
async def test_what_goes_wrong_with_the_sdk_is_one_error_of_ours(
    line: Line, channel: LineChannel, answer: Any, status: int | None
) -> None:
    line.script = [answer] * 3
    with pytest.raises(LineError) as caught:
        await channel.fetch_bot_info()
    assert caught.value.status == status


def test_importing_the_channel_does_not_load_the_sdk() -> None:
    code = "import sys, bot.line; print(sorted(name for name in sys.modules if name.startswith('linebot')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

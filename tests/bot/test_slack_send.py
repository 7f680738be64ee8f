"""One call, made once, and an honest account of it: every way in which Slack or the network can answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from bot.channel import Refused, RetryLater, Sent, Unknown, Withdrawn
from bot.slack import channel as slack_channel
from bot.slack.channel import SlackChannel, SlackError
from flows.builtin import builtin_library

JOB = "0197a3c2-2222-7000-8000-000000000002"
POST = {"method": "chat.postMessage", "args": {"text": "hi", "blocks": []}, "open": "U1"}
UPDATE = {"method": "chat.update", "args": {"text": "hi", "blocks": []}, "open": "U1"}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Wire:
    """A Web API that answers as it is told and remembers what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, list[Answer]] = {}
        self.history: list[dict[str, Any]] = []
        self.url = ""

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def next(self, method: str, *answers: Answer) -> None:
        self.answers.setdefault(method, []).extend(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        asked = dict(request.query)
        if request.content_type == "application/json":
            asked |= json.loads(await request.text() or "{}")
        else:
            asked |= dict(await request.post())  # type: ignore[arg-type]
        self.calls.append((method, asked))
        if self.answers.get(method):
            return await self.answers[method].pop(0)(request)
        match method:
            case "conversations.open":
                return web.json_response({"ok": True, "channel": {"id": "D1"}})
            case "chat.postMessage":
                self.history.append({"ts": "17.1", "metadata": asked.get("metadata")})
                return web.json_response({"ok": True, "channel": asked["channel"], "ts": "17.1"})
            case "conversations.history" | "conversations.replies":
                return web.json_response({"ok": True, "messages": self.history})
            case _:
                return web.json_response({"ok": True, "team_id": "T1", "user_id": "UBOT", "bot_id": "B1"})


def ok_false(code: str, status: int = 200, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": False, "error": code}, status=status, headers=headers)

    return answer


def page(status: int, text: str = "<html>oops</html>", kind: str = "text/html") -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status, content_type=kind)

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    told = Wire()
    app = web.Application()
    app.router.add_route("*", "/api/{method}", told.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    told.url = f"http://{host}:{port}/api/"
    yield told
    await runner.cleanup()


@pytest.fixture
async def slack(wire: Wire) -> AsyncIterator[SlackChannel]:
    channel = SlackChannel("xoxb-1", deck=builtin_library().deck, base_url=wire.url)
    yield channel
    await channel.close()


async def send(slack: SlackChannel, payload: Any = POST, *, attempt: int = 1, ref: str = "") -> Any:
    return await slack.send(payload, job_id=JOB, attempt=attempt, now_ms=0, ref=ref)


async def test_a_post_goes_to_the_persons_dm_and_carries_the_jobs_key(wire: Wire, slack: SlackChannel) -> None:
    assert await send(slack) == Sent(ref="D1:17.1")
    assert await send(slack) == Sent(ref="D1:17.1")
    assert wire.methods() == ["conversations.open", "chat.postMessage", "chat.postMessage"]
    posted = wire.calls[1][1]
    assert posted["metadata"] == {"event_type": "koe_job", "event_payload": {"job": JOB}}
    assert posted["channel"] == "D1"
    assert "open" not in posted
    assert POST["args"] == {"text": "hi", "blocks": []}, "the stored payload is left as it is"


async def test_a_post_to_a_channel_opens_nothing(wire: Wire, slack: SlackChannel) -> None:
    payload = {"method": "chat.postMessage", "args": {"channel": "C9", "text": "digest"}}
    assert await send(slack, payload) == Sent(ref="C9:17.1")
    assert wire.methods() == ["chat.postMessage"]


async def test_what_is_withdrawn_while_slack_is_asked_for_the_dm_or_the_history_is_not_posted(
    wire: Wire, slack: SlackChannel
) -> None:
    asked: list[str] = []

    async def sent(when: str, attempt: int, answer: bool) -> Any:
        def wanted() -> bool:
            asked.append(when)
            return answer

        return await slack.send(POST, job_id=JOB, attempt=attempt, now_ms=0, wanted=wanted)

    assert await sent("opening", 1, False) == Withdrawn()
    assert await sent("looking", 2, False) == Withdrawn()
    assert await sent("looking again", 2, True) == Sent(ref="D1:17.1")
    assert await sent("at once", 1, False) == Sent(ref="D1:17.1")
    assert asked == ["opening", "looking", "looking again"]
    assert wire.methods().count("chat.postMessage") == 2


async def test_an_update_changes_the_message_it_is_about(wire: Wire, slack: SlackChannel) -> None:
    assert await send(slack, UPDATE, ref="D7:16.5") == Sent(ref="D7:16.5")
    assert (wire.calls[0][1]["channel"], wire.calls[0][1]["ts"]) == ("D7", "16.5")
    assert await send(slack, UPDATE) == Refused("no message to update is known")
    assert len(wire.calls) == 1


@pytest.mark.parametrize(
    ("code", "delivery"),
    [
        ("channel_not_found", Refused("channel_not_found", scope="address")),
        ("is_archived", Refused("is_archived", scope="address")),
        ("messages_tab_disabled", Refused("messages_tab_disabled", scope="address")),
        ("invalid_blocks", Refused("invalid_blocks")),
        ("msg_blocks_too_long", Refused("msg_blocks_too_long")),
        ("something_new", Refused("something_new")),
        ("token_revoked", Refused("token_revoked", scope="channel")),
        ("account_inactive", Refused("account_inactive", scope="channel")),
        ("missing_scope", Refused("missing_scope", scope="channel")),
        ("service_unavailable", RetryLater("service_unavailable")),
        ("internal_error", Unknown("internal_error", retry=True)),
        ("fatal_error", Unknown("fatal_error", retry=True)),
        ("rate_limited", RetryLater("rate_limited", after_s=30.0, pause=True)),
    ],
)
async def test_each_error_has_its_class(wire: Wire, slack: SlackChannel, code: str, delivery: Any) -> None:
    wire.next("chat.postMessage", ok_false(code))
    assert await send(slack) == delivery


@pytest.mark.parametrize(
    ("header", "after_s"),
    [
        ({"Retry-After": "12"}, 12.0),
        ({}, 30.0),
        ({"Retry-After": "soon"}, 30.0),
        ({"Retry-After": "1e99"}, 900.0),
    ],
)
async def test_a_429_pauses_the_endpoint_for_a_believable_time(
    wire: Wire, slack: SlackChannel, header: dict[str, str], after_s: float
) -> None:
    wire.next("chat.postMessage", ok_false("ratelimited", 429, **header))
    assert await send(slack) == RetryLater("ratelimited", after_s=after_s, pause=True)


@pytest.mark.parametrize(
    "answer",
    [hang_up, page(500), page(502), page(503, "{}", "application/json"), page(500, "<", "application/json"),
     page(200, "maintenance"), page(200, "not json", "application/json"), page(200, "[]", "application/json")],
)  # fmt: skip
async def test_an_unknown_outcome_is_looked_up_before_anything_is_sent_again(
    wire: Wire, slack: SlackChannel, answer: Answer
) -> None:
    wire.next("chat.postMessage", answer)
    unknown = await send(slack)
    assert isinstance(unknown, Unknown)
    assert unknown.retry
    assert wire.methods().count("chat.postMessage") == 1, "the SDK resends nothing by itself"

    # it did arrive
    wire.history = [
        {"ts": "5.0", "metadata": {"event_type": "koe_job", "event_payload": {"job": "another"}}},
        {"ts": "6.0"},
        {"ts": "7.0", "metadata": {"event_type": "koe_job", "event_payload": {"job": JOB}}},
    ]
    assert await send(slack, attempt=2) == Sent(ref="D1:7.0")
    assert wire.methods().count("chat.postMessage") == 1

    # it did not
    wire.history = []
    assert await send(slack, attempt=3) == Sent(ref="D1:17.1")
    assert wire.methods().count("chat.postMessage") == 2


async def test_a_slow_post_is_given_up_in_time(
    wire: Wire, slack: SlackChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_channel, "_CALL_S", 0.05)
    released = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.json_response({"ok": True})

    wire.next("chat.postMessage", slow)
    assert await send(slack) == Unknown("timeout", retry=True)
    released.set()


async def test_the_look_up_follows_the_pages_and_the_thread(wire: Wire, slack: SlackChannel) -> None:
    async def first_page(_: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": True, "messages": [], "response_metadata": {"next_cursor": "more"}})

    wire.next("conversations.replies", first_page)
    wire.history = [{"ts": "7.0", "metadata": {"event_type": "koe_job", "event_payload": {"job": JOB}}}]
    payload = {"method": "chat.postMessage", "args": {"channel": "C9", "text": "x", "thread_ts": "1.0"}}
    assert await send(slack, payload, attempt=2) == Sent(ref="C9:7.0")
    assert [asked.get("cursor") for method, asked in wire.calls if method == "conversations.replies"] == [
        None,
        "more",
    ]
    assert wire.calls[0][1]["ts"] == "1.0"


@pytest.mark.parametrize(
    ("answer", "retry"),
    [
        (ok_false("missing_scope"), False),
        (ok_false("channel_not_found"), False),
        (ok_false("ratelimited", 429), True),
        (page(503), True),
        (hang_up, True),
    ],
)
async def test_what_cannot_be_looked_up_is_not_sent_again(
    wire: Wire, slack: SlackChannel, answer: Answer, retry: bool
) -> None:
    wire.next("conversations.history", answer)
    unknown = await send(slack, attempt=2)
    assert isinstance(unknown, Unknown)
    assert unknown.retry is retry
    assert "chat.postMessage" not in wire.methods()


async def test_what_was_certainly_not_sent_needs_no_look_up(wire: Wire, slack: SlackChannel) -> None:
    wire.next("chat.postMessage", ok_false("ratelimited", 429), ok_false("service_unavailable"))
    await send(slack)
    await send(slack, attempt=2)
    assert await send(slack, attempt=3) == Sent(ref="D1:17.1")
    assert "conversations.history" not in wire.methods()


async def test_a_doubt_is_not_forgotten_over_a_later_certain_failure(wire: Wire, slack: SlackChannel) -> None:
    wire.next("chat.postMessage", hang_up, ok_false("ratelimited", 429))
    await send(slack)
    await send(slack, attempt=2)
    wire.history = [{"ts": "7.0", "metadata": {"event_type": "koe_job", "event_payload": {"job": JOB}}}]
    assert await send(slack, attempt=3) == Sent(ref="D1:7.0")


async def test_a_dm_that_cannot_be_opened_has_certainly_not_got_the_message(wire: Wire, slack: SlackChannel) -> None:
    wire.next("conversations.open", hang_up, page(503), ok_false("user_disabled"))
    assert isinstance(await send(slack), RetryLater)
    assert isinstance(await send(slack), RetryLater)
    assert await send(slack) == Refused("user_disabled", scope="address")
    assert "chat.postMessage" not in wire.methods()


async def test_nobody_at_the_address_is_certainly_not_sent() -> None:
    channel = SlackChannel("xoxb-1", deck=builtin_library().deck, base_url="http://127.0.0.1:1/api/")
    try:
        assert await send(channel) == RetryLater("no connection to Slack")
    finally:
        await channel.close()


async def test_who_we_are_is_asked_once(wire: Wire, slack: SlackChannel) -> None:
    wire.next("auth.test", ok_false("invalid_auth"))
    with pytest.raises(SlackError, match=r"auth\.test: invalid_auth"):
        await slack.identify()
    assert (await slack.identify()).team_id == "T1"
    assert (await slack.identify()).bot_user_id == "UBOT"
    assert len(wire.calls) == 2


async def test_a_person_is_told_something_and_only_through_slack(wire: Wire, slack: SlackChannel) -> None:
    await slack.respond(f"{wire.url}respond", "はい")
    assert wire.calls[-1] == ("respond", {"text": "はい", "response_type": "ephemeral", "replace_original": False})
    wire.next("respond", hang_up)
    await slack.respond(f"{wire.url}respond", "はい")
    assert wire.methods().count("respond") == 3, "said again: only this person sees it, twice at worst"
    wire.next("respond", page(404))
    with pytest.raises(SlackError, match="http 404"):
        await slack.respond(f"{wire.url}respond", "はい")
    assert wire.methods().count("respond") == 4, "a refusal is not repeated"
    for address in ("https://evil.example/x", "http://169.254.169.254/", "file:///etc/passwd", "", "hooks.slack.com"):
        with pytest.raises(SlackError, match="not an address of Slack's"):
            await slack.respond(address, "はい")

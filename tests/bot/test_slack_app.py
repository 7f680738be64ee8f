"""Slack's way in: nothing is acknowledged before it is stored, nothing acts twice, nothing answers 404."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from desks import command_desk, teller_of
from signed import sign_slack
from starlette.requests import Request
from starlette.responses import Response

from bot.channel import Inbound
from bot.config import Staff
from bot.signatures import verify_slack
from bot.slack import messages
from bot.slack.app import SlackApp, SlackInbound
from bot.slack.channel import SlackChannel, SlackError
from bot.staff.access import Access
from bot.staff.asking import Budget, CustomerHit, Eligibility, FlowOption, Started, SurveyPorts, SurveyRequest
from bot.staff.home import HomeDesk, HomeFacts
from bot.staff.people import People
from bot.staff.survey import SurveyDesk
from flows.builtin import builtin_library
from flows.exchange import Tap, Typed
from flows.source import parse_yaml
from storage.store import open_store

SECRET = "shhh"
SHOP_WORDS = parse_yaml(
    """
    button.write: {ja: 文章で答える, en: Answer in writing}
    button.send: {ja: 送る, en: Send it}
    button.cancel: {ja: 閉じる, en: Close}
    slack.closed: {ja: このボタンは終了しました。, en: This button is closed.}
    """.encode(),
    "words.yaml",
)
DECK = builtin_library(deck=[SHOP_WORDS]).deck
SESSION = "0197a3c2-1111-7000-8000-000000000001"
NOW_MS = 1_795_500_000_000


@dataclass
class Slack:
    """A Web API that takes everything, with the app under test and the memory of what it stored."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    conversed: list[Inbound] = field(default_factory=list)
    noted: list[SlackInbound] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    requests: list[SurveyRequest] = field(default_factory=list)
    refusals: list[tuple[str, str, str]] = field(default_factory=list)
    responses: list[dict[str, Any]] = field(default_factory=list)
    failing: Exception | None = None
    refused: str = ""
    called: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""
    app: SlackApp = None  # type: ignore[assignment]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        asked = dict(request.query)
        if request.content_type == "application/json":
            asked |= json.loads(await request.text() or "{}")
        self.calls.append((method, asked))
        if method == "respond":
            self.responses.append(asked)
        self.called.set()
        if method == "users.info":
            user = {"id": asked["user"], "team_id": "T1", "locale": "ja-JP", **self.users.get(asked["user"], {})}
            return web.json_response({"ok": True, "user": user})
        if method == "views.open" and self.refused:
            return web.json_response({"ok": False, "error": self.refused})
        return web.json_response({"ok": True, "team_id": "T1", "user_id": "UBOT", "bot_id": "B1"})

    async def store(self, inbound: SlackInbound) -> bool:
        await self._stored()
        self.noted.append(inbound)
        fresh = inbound.key not in self.seen
        self.seen.add(inbound.key)
        return fresh

    async def converse(self, inbound: Inbound) -> None:
        await self._stored()
        self.conversed.append(inbound)

    async def _stored(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failing is not None:
            raise self.failing

    async def start(self, request: SurveyRequest) -> Started:
        self.requests.append(request)
        return Started("line")

    async def find(self, words: str) -> list[CustomerHit]:
        return [CustomerHit("C001", "田中")] if words in ("C001", "田中") else []

    async def note_refused(self, user_id: str, team_id: str, way: str, reason: str) -> None:
        self.refusals.append((user_id, way, reason))

    async def facts(self) -> HomeFacts:
        return HomeFacts(NOW_MS)

    async def preview(self) -> None:
        return None

    async def recognise(self, words: str) -> CustomerHit | None:
        return CustomerHit("C001", "田中") if "C001" in words else None

    async def eligibility(self, request: SurveyRequest) -> Eligibility:
        return Eligibility(
            CustomerHit("C001", "田中"),
            None,
            channel="line",
            last_invited_ms=None,
            invited_365d=0,
            per_year=6,
            opted_out=False,
            open_case=False,
            opens_ms=NOW_MS,
            due_ms=NOW_MS,
        )

    async def budget(self) -> Budget:
        return Budget(10, 200)

    async def post(self, body: dict[str, Any] | bytes, **headers: str) -> Response:
        """Deliver as Slack does: JSON for events, a form for everything a person does."""
        kind = "application/x-www-form-urlencoded"
        if isinstance(body, bytes):
            raw = body
        elif body.get("type") in ("event_callback", "url_verification", "app_rate_limited"):
            raw, kind = json.dumps(body).encode(), "application/json"
        elif "command" in body:
            raw = urlencode(body).encode()
        else:
            raw = urlencode({"payload": json.dumps(body)}).encode()
        signed = {"content-type": kind, **sign_slack(raw, SECRET, int(time.time())), **headers}
        return await self.app.handle_http(asgi_request(raw, signed))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.called.clear()
                await self.called.wait()

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls if method != "users.info"]


def asgi_request(raw: bytes, headers: dict[str, str]) -> Request:
    sent = iter([raw[:10], raw[10:]])

    async def receive() -> dict[str, Any]:
        chunk = next(sent, b"")
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/slack/events",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    return Request(scope, receive)


@pytest.fixture
async def slack(tmp_path: Path) -> AsyncIterator[Slack]:
    world = Slack()
    server = web.Application()
    server.router.add_route("*", "/api/{method}", world.handle)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    world.url = f"http://{host}:{port}/api/"
    channel = SlackChannel("xoxb-1", deck=DECK, base_url=world.url)
    people = People(channel.call, team_id=lambda: "T1", default_lang="ja", failure=SlackError, now_ms=lambda: NOW_MS)
    ports = SurveyPorts(
        flows=lambda lang: [FlowOption("after_purchase", "ご購入後" if lang == "ja" else "After purchase")],
        channels=("line", "slack"),
        find=world.find,
        recognise=world.recognise,
        eligibility=world.eligibility,
        overridable=lambda reason: False,
        budget=world.budget,
        budget_known=lambda: None,
        start=world.start,
    )
    access = Access(people, Staff(may_trigger=("U0STAFF",)), note_refused=world.note_refused)
    desk = SurveyDesk(
        channel.call,
        failure=SlackError,
        access=access,
        ports=ports,
        tz=ZoneInfo("Asia/Tokyo"),
        now_ms=lambda: NOW_MS,
    )
    store = await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS)
    world.app = SlackApp(
        channel,
        converse=world.converse,
        store=world.store,
        desk=desk,
        commands=command_desk(channel, desk, access, store=store, facts=world.facts, now_ms=NOW_MS),
        people=people,
        teller=teller_of(channel, store=store, now_ms=NOW_MS),
        access=access,
        home_desk=HomeDesk(
            channel.call,
            access=access,
            facts=world.facts,
            preview=world.preview,
            tz=ZoneInfo("Asia/Tokyo"),
            failure=SlackError,
            round_s=0,
        ),
        verify=lambda headers, body: verify_slack(headers, body, [SECRET], time.time()),
        now_ms=lambda: NOW_MS,
    )
    await channel.identify()
    world.calls.clear()
    yield world
    await world.app.stop()
    await channel.close()
    await runner.cleanup()
    await store.close()


def event(text: str = "8", event_id: str = "Ev1", **changes: Any) -> dict[str, Any]:
    said = {"type": "message", "channel": "D1", "channel_type": "im", "user": "U1", "ts": "17.1", "text": text}
    return {"type": "event_callback", "team_id": "T1", "event_id": event_id, "event": {**said, **changes}}


def click(action_id: str, value: str = "", **changes: Any) -> dict[str, Any]:
    return {
        "type": "block_actions",
        "team": {"id": "T1"},
        "user": {"id": "U1", "team_id": "T1"},
        "trigger_id": "tr.1",
        "channel": {"id": "D1"},
        "container": {"message_ts": "16.1"},
        "message": {"ts": "16.1", "text": "?", "blocks": []},
        "actions": [{"type": "button", "action_id": action_id, "block_id": "b", "value": value, "action_ts": "17.5"}],
        **changes,
    }


def command(text: str = "", user: str = "U0STAFF", **changes: str) -> dict[str, Any]:
    asked = {"command": "/survey", "text": text, "user_id": user, "team_id": "T1", "channel_id": "C1"}
    return {**asked, "trigger_id": f"tr.{time.monotonic_ns()}", **changes}


async def settled(world: Slack, count: int) -> None:
    """Wait until the listeners, which run after the answer, have made this many calls."""
    await world.until(lambda: len(world.methods()) >= count)


# ---------------------------------------------------------------------------------- P2: stored, then acknowledged


async def test_a_message_is_acknowledged_only_once_it_is_stored(slack: Slack) -> None:
    slack.gate = asyncio.Event()
    answer = asyncio.create_task(slack.post(event()))
    await asyncio.sleep(0.05)
    assert not answer.done(), "no answer while the transaction runs"
    slack.gate.set()
    assert (await answer).status_code == 200
    assert [inbound.content for inbound in slack.conversed] == [Typed("8")]
    assert slack.conversed[0].workspace == "T1"


@pytest.mark.parametrize(
    "body", [event(), event(type="reaction_added"), click(f"{messages.TAP}.nps.9", f"k1:{SESSION}:nps:9"), command()]
)
async def test_what_cannot_be_stored_is_answered_with_500_and_does_nothing(slack: Slack, body: dict[str, Any]) -> None:
    slack.failing = OSError("disk full")
    assert (await slack.post(body)).status_code == 500
    slack.failing = None
    assert slack.methods() == []
    assert (await slack.post(body)).status_code == 200, "delivered again, it is taken"


async def test_an_answer_that_is_cut_off_while_storing_acknowledges_nothing(slack: Slack) -> None:
    slack.gate = asyncio.Event()
    answer = asyncio.create_task(slack.post(event()))
    await asyncio.sleep(0.02)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert slack.conversed == []


async def test_events_nobody_knows_are_stored_and_answered_with_200(slack: Slack) -> None:
    for number, body in enumerate(
        (
            event(type="reaction_added"),
            event(type="app_home_opened", event_id="Ev2"),
            event(subtype="channel_join", event_id="Ev3"),
            {"type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 1},
            {"type": "event_callback", "team_id": "T1", "event_id": "Ev5", "event": {"type": "function_executed"}},
        ),
        start=1,
    ):
        assert (await slack.post(body)).status_code == 200
        assert len(slack.noted) == number
    assert slack.conversed == []
    assert [inbound.name for inbound in slack.noted][:2] == ["reaction_added", "app_home_opened"]


async def test_the_address_check_is_answered_without_storing(slack: Slack) -> None:
    answer = await slack.post({"type": "url_verification", "challenge": "abc"})
    assert (answer.status_code, json.loads(bytes(answer.body))) == (200, {"challenge": "abc"})
    assert (slack.noted, slack.conversed) == ([], [])


async def test_our_own_messages_start_no_conversation(slack: Slack) -> None:
    assert (await slack.post(event(user="UBOT", bot_id="B1"))).status_code == 200
    assert slack.conversed == []


async def test_an_event_of_another_workspace_is_neither_stored_nor_repeated(slack: Slack) -> None:
    assert (await slack.post({**event(), "team_id": "T9"})).status_code == 200
    assert (slack.noted, slack.conversed) == ([], [])
    shared = {**event(), "team_id": "T9", "authorizations": [{"team_id": "T1"}]}
    assert (await slack.post(shared)).status_code == 200
    assert slack.conversed[0].workspace == "T1"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"x-slack-signature": "v0=00"}, 401),
        (b"{}", {"x-slack-request-timestamp": "abc"}, 401),
        (b"{}", {"x-slack-signature": "v0=あ".encode().decode("latin-1")}, 401),
        (b"\xff\xfe", {}, 400),
        (b"{", {"content-type": "application/json"}, 400),
        (b"[" * 5000, {"content-type": "application/json"}, 400),
        (b"[]", {"content-type": "application/json"}, 400),
        (b"payload=" + b"%5B" * 5000, {}, 400),
        (b"payload=%5B%5D", {}, 400),
        (b"payload=%7B%22type%22%3A%22block_actions%22%2C%22actions%22%3A%5B%5D%7D", {}, 400),
        (b"x" * 2_000_000, {}, 413),
        (b"x", {"content-length": "99999999999999999999999"}, 413),
    ],
)
async def test_what_slack_does_not_send_is_refused_and_not_stored(
    slack: Slack, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await slack.post(body, **headers)
    assert answer.status_code == status
    assert (slack.noted, slack.conversed) == ([], [])


# -------------------------------------------------------------------------------------------- customers and clicks


async def test_a_tap_is_the_conversations_own_transaction(slack: Slack) -> None:
    answer = await slack.post(click(f"{messages.TAP}.nps.9", f"k1:{SESSION}:nps:9"))
    assert (answer.status_code, bytes(answer.body)) == (200, b"")
    assert slack.conversed[0].content == Tap("nps", "9")
    assert slack.noted == [], "the conversation notes the click itself"


async def test_the_window_for_a_free_text_opens_and_its_words_are_an_answer(slack: Slack) -> None:
    value = json.dumps({"s": SESSION, "q": "reason", "l": "ja", "t": "理由は？"})
    assert (await slack.post(click(messages.WRITE, value))).status_code == 200
    await settled(slack, 1)
    method, opened = slack.calls[-1]
    assert (method, opened["trigger_id"]) == ("views.open", "tr.1")
    sent = {
        "type": "view_submission",
        "team": {"id": "T1"},
        "user": {"id": "U1", "team_id": "T1"},
        "view": {**opened["view"], "id": "V1", "state": {"values": {"answer": {"answer": {"value": "箱が"}}}}},
    }
    answer = await slack.post(sent)
    assert (answer.status_code, bytes(answer.body)) == (200, b""), "an empty answer closes the window"
    assert slack.conversed[0].content == Typed("箱が")


async def test_change_shows_the_choices_again_without_touching_the_answer(slack: Slack) -> None:
    told = {"s": SESSION, "q": "nps", "k": "scale", "c": [["8", "nps", "8"]], "x": ["8"], "e": ["", ""], "d": []}
    await slack.post(click(messages.CHANGE, json.dumps(told)))
    await settled(slack, 1)
    method, args = slack.calls[-1]
    assert (method, args["channel"], args["ts"]) == ("chat.update", "D1", "16.1")
    assert args["blocks"][-1]["elements"][0]["action_id"] == "koe.tap.nps.8"
    assert slack.conversed == []


async def test_a_click_delivered_twice_acts_once(slack: Slack) -> None:
    value = json.dumps({"s": SESSION, "q": "reason", "l": "ja", "t": "理由は？"})
    for _ in range(3):
        assert (await slack.post(click(messages.WRITE, value))).status_code == 200
    await settled(slack, 1)
    await asyncio.sleep(0.05)
    assert slack.methods() == ["views.open"]


async def test_an_unknown_button_is_acknowledged_and_explained(slack: Slack) -> None:
    url = slack.url + "respond"
    assert (await slack.post(click("other.tool", "x", response_url=url))).status_code == 200
    await settled(slack, 1)
    assert slack.responses[0]["text"] == "このボタンは終了しました。"
    assert slack.responses[0]["response_type"] == "ephemeral"


@pytest.mark.parametrize(
    "body",
    [
        {"type": "view_closed", "view": {"callback_id": "x", "id": "V"}},
        {"type": "view_submission", "view": {"type": "modal", "callback_id": "x", "id": "V", "state": {"values": {}}}},
        {"type": "shortcut", "callback_id": "x", "trigger_id": "t"},
        {"type": "message_action", "callback_id": "x", "trigger_id": "t", "message": {}},
        {"type": "block_suggestion", "action_id": "x", "block_id": "b", "value": "v", "container": {}},
        {"type": "dialog_submission", "callback_id": "x"},
        {"type": "something_new"},
    ],
)
async def test_nothing_that_slack_sends_answers_404(slack: Slack, body: dict[str, Any]) -> None:
    answer = await slack.post({"team": {"id": "T1"}, "user": {"id": "U1"}, **body})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "expired_trigger_id",
            "時間がかかり、画面を開けませんでした。お手数ですが、同じ操作をもう一度お願いいたします。",
        ),
        ("fatal_error", "うまくいきませんでした。少し待って、もう一度お試しください。"),
    ],
)
async def test_a_command_that_fails_after_the_acknowledgement_tells_the_person(
    slack: Slack, code: str, said: str
) -> None:
    slack.refused = code
    assert (await slack.post(command(response_url=slack.url + "respond"))).status_code == 200
    await slack.until(lambda: bool(slack.responses))
    assert slack.responses[0]["text"].startswith(said)


# --------------------------------------------------------------------------------------------------------- staff


def survey_sent(**values: Any) -> dict[str, Any]:
    fields = {
        "flow": {"flow": {"selected_option": {"value": "after_purchase"}}},
        "customer": {"customer": {"selected_option": {"value": "C001"}}},
        "when": {"when": {"selected_date_time": None}},
        "note": {"note": {"value": None}},
    }
    return {
        "type": "view_submission",
        "team": {"id": "T1"},
        "user": {"id": "U0STAFF", "team_id": "T1"},
        "trigger_id": f"tr.{time.monotonic_ns()}",
        "view": {"type": "modal", "id": "V9", "callback_id": "koe.survey", "state": {"values": {**fields, **values}}},
    }


async def test_staff_start_a_survey_from_a_command_to_a_sentence(slack: Slack) -> None:
    answer = await slack.post(command())
    assert answer.status_code == 200
    await settled(slack, 1)
    method, args = slack.calls[-1]
    assert method == "views.open"
    assert args["view"]["callback_id"] == "koe.survey"

    answer = await slack.post(survey_sent())
    told = json.loads(bytes(answer.body))
    assert told["response_action"] == "update"
    assert "田中様（C001）にLINEで「ご購入後」をお送りします。" in json.dumps(told, ensure_ascii=False)
    (request,) = slack.requests
    assert (request.customer_id, request.flow_id, request.requested_by) == ("C001", "after_purchase", "U0STAFF")
    await slack.post(survey_sent())
    other = {"flow": {"flow": {"selected_option": {"value": "relational"}}}}
    await slack.post(survey_sent(**other))
    first, again, changed = (asked.request_id for asked in slack.requests)
    assert first == again != changed
    assert [inbound.kind for inbound in slack.noted] == ["command", "view", "view", "view"]


async def test_help_and_refusals_are_for_the_person_alone(slack: Slack) -> None:
    url = slack.url + "respond"
    slack.users = {"UGUEST": {"is_restricted": True}, "UEN": {"locale": "en-GB"}}
    for asked in (
        command("help", response_url=url),
        command(user="UGUEST", response_url=url),
        command(user="UEN", response_url=url),
    ):
        assert (await slack.post(asked)).status_code == 200
    await slack.until(lambda: len(slack.responses) == 3)
    said = sorted(response["text"] for response in slack.responses)
    assert any("/survey help" in text for text in said)
    assert any(text.startswith("申し訳ございません。ゲスト") for text in said)
    assert any(text.startswith("Sorry, you don't have permission") for text in said)
    assert "views.open" not in slack.methods()


async def test_a_command_nobody_knows_gets_the_help(slack: Slack) -> None:
    answer = await slack.post({**command(response_url=slack.url + "respond"), "command": "/koe"})
    assert (answer.status_code, bytes(answer.body)) == (200, b""), "in which language, Slack says later"
    await slack.until(lambda: bool(slack.responses))
    assert "/survey help" in slack.responses[0]["text"]

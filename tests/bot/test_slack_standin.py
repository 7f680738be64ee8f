"""Customers and staff in front of the stand-in Slack, over HTTP and over Socket Mode, with the real SDKs in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from desks import command_desk, teller_of
from starlette.applications import Starlette
from starlette.routing import Route

from bot.channel import Inbound, Outgoing, Refused, Sent, Turn, Unknown
from bot.clock import StoryClock
from bot.config import Staff
from bot.signatures import verify_slack
from bot.slack import messages
from bot.slack.app import SlackApp, SlackInbound
from bot.slack.channel import SlackChannel, SlackError
from bot.staff.access import Access
from bot.staff.asking import CustomerHit, FlowOption, NotAllowed, Planned, Started, SurveyPorts, SurveyRequest
from bot.staff.card import CardFacts, Rating, render_card
from bot.staff.home import HomeDesk, HomeFacts
from bot.staff.people import People
from bot.staff.survey import SurveyDesk
from bot.standins.slack import SlackStandin
from bot.standins.wire import serve
from flows.builtin import builtin_library
from flows.exchange import Ask, Choice, Record, Say, Tap, Typed
from storage.store import open_store

SECRET = "shhh"
SESSION = "0197a3c2-1111-7000-8000-000000000001"
START_MS = 1_795_050_000_000  # Thursday 2026-11-19 10:00 in Tokyo
DAY_MS = 86_400_000
TOKYO = ZoneInfo("Asia/Tokyo")

Transport = Literal["http", "socket"]


@dataclass
class World:
    slack: SlackStandin
    channel: SlackChannel
    app: SlackApp
    clock: StoryClock
    conversed: list[Inbound] = field(default_factory=list)
    noted: list[SlackInbound] = field(default_factory=list)
    requests: list[SurveyRequest] = field(default_factory=list)
    outcome: Started | Planned | NotAllowed = field(default_factory=Started)
    customers: list[CustomerHit] = field(default_factory=list)
    facts: HomeFacts = field(default_factory=lambda: HomeFacts(0))
    refusals: list[tuple[str, str, str]] = field(default_factory=list)
    failing: bool = False
    jobs: int = 0

    async def show(self, turn: Turn, user_id: str, refs: dict[str, str]) -> None:
        """What the worker does with a turn: send each call, remember where each question stands."""
        for call in self.channel.render(turn, external_id=user_id, reply_token="", at_ms=0):
            await self.deliver(call, refs)

    async def deliver(self, call: Outgoing, refs: dict[str, str]) -> None:
        self.jobs += 1
        ref = refs.get(call.updates, "") if call.updates else ""
        sent = await self.channel.send(call.payload, job_id=f"job-{self.jobs}", attempt=1, now_ms=0, ref=ref)
        assert isinstance(sent, Sent), sent
        if call.asks:
            refs[call.asks] = sent.ref

    def opened(self) -> int:
        """How often a Socket Mode connection was asked for."""
        return sum(record.path.endswith("apps.connections.open") for record in self.slack.api.requests)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a person sees it: the stand-in calls at each visible change."""
        changed = asyncio.Event()
        self.slack.on_change.append(changed.set)
        try:
            async with asyncio.timeout(5):
                while not condition():
                    changed.clear()
                    await changed.wait()
        finally:
            self.slack.on_change.remove(changed.set)


@asynccontextmanager
async def started(transport: Transport, *, silence_s: float = 60.0, **changes: Any) -> AsyncIterator[World]:
    clock = StoryClock(START_MS)
    slack = SlackStandin(
        clock=clock,
        signing_secret=SECRET,
        bot_token="xoxb-1",
        app_token="xapp-1",
        transport=transport,
        **changes,
    )
    slack_server = await serve(slack.app)
    channel = SlackChannel("xoxb-1", deck=builtin_library().deck, base_url=f"{slack_server.url}/api/")
    await channel.identify()
    world = World(slack, channel, None, clock)  # type: ignore[arg-type]

    async def converse(inbound: Inbound) -> None:
        if world.failing:
            raise OSError("disk full")
        if inbound.event_id not in {known.event_id for known in world.conversed}:
            world.conversed.append(inbound)

    async def store(inbound: SlackInbound) -> bool:
        if world.failing:
            raise OSError("disk full")
        fresh = inbound.key not in {known.key for known in world.noted}
        world.noted.append(inbound)
        return fresh

    async def start(request: SurveyRequest) -> Started | Planned | NotAllowed:
        world.requests.append(request)
        return world.outcome

    async def find(words: str) -> list[CustomerHit]:
        return [hit for hit in world.customers if words in (hit.id, hit.name)]

    async def recognise(text: str) -> CustomerHit | None:
        return None

    async def eligibility(request: SurveyRequest) -> NotAllowed:
        return NotAllowed("unreachable")

    async def budget() -> None:
        return None

    async def note_refused(user_id: str, team_id: str, way: str, reason: str) -> None:
        world.refusals.append((user_id, way, reason))

    people = People(
        channel.call,
        team_id=lambda: slack.team_id,
        default_lang="ja",
        failure=SlackError,
        now_ms=clock.now_ms,
    )
    ports = SurveyPorts(
        flows=lambda lang: [
            FlowOption("after_purchase", "ご購入後" if lang == "ja" else "After purchase"),
            FlowOption("relational", "全体" if lang == "ja" else "Overall"),
        ],
        channels=("line", "slack"),
        find=find,
        recognise=recognise,
        eligibility=eligibility,
        overridable=lambda reason: False,
        budget=budget,
        budget_known=lambda: None,
        start=start,
    )

    async def facts() -> HomeFacts:
        return world.facts

    async def preview() -> list[dict[str, Any]]:
        return [{"type": "header", "text": {"type": "plain_text", "text": "NPS +12"}}]

    access = Access(people, Staff(may_trigger=("U0STAFF",), managers=("U0BOSS",)), note_refused=note_refused)
    desk = SurveyDesk(channel.call, failure=SlackError, access=access, ports=ports, tz=TOKYO, now_ms=clock.now_ms)
    folder = TemporaryDirectory()
    kept = await open_store(f"sqlite:///{folder.name}/koe.db", now_ms=START_MS)
    world.app = SlackApp(
        channel,
        converse=converse,
        store=store,
        desk=desk,
        commands=command_desk(channel, desk, access, store=kept, facts=facts, now_ms=START_MS),
        people=people,
        teller=teller_of(channel, store=kept, now_ms=START_MS),
        access=access,
        home_desk=HomeDesk(
            channel.call,
            access=access,
            facts=facts,
            preview=preview,
            tz=TOKYO,
            failure=SlackError,
            round_s=0.01,
        ),
        verify=lambda headers, body: verify_slack(headers, body, [SECRET], time.time()),
        now_ms=clock.now_ms,
        silence_s=silence_s,
        check_s=0.05,
    )
    bot_server = await serve(Starlette(routes=[Route("/slack/events", world.app.handle_http, methods=["POST"])]))
    slack.to_bot.request_url = f"{bot_server.url}/slack/events"
    slack.add_user("高木", id="U0STAFF")
    slack.add_user("Hanako", id="U0HANAKO")
    slack.add_channel("alerts", private=True, members=("U0STAFF",), id="C0ALERTS")
    if transport == "socket":
        assert await world.app.socket.start("xapp-1")
    try:
        yield world
    finally:
        await world.app.stop()
        await bot_server.close()
        await channel.close()
        await slack_server.close()
        await kept.close()
        folder.cleanup()


@pytest.fixture(params=["http", "socket"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with started(request.param) as made:
        yield made


NPS = Ask(
    "nps",
    "scale",
    "声の店を友人や知人に薦める可能性はどのくらいですか？",
    low="0：全く薦めない",
    high="10：積極的に薦める",
    choices=tuple(Choice(str(n), "nps", str(n)) for n in range(11)),
    controls=(Choice("スキップ", "@control", "skip"),),
    alt="次の質問です（1/3）",
)
EMOTION = Ask(
    "emotion",
    "multi",
    "購入時に感じるポジティブな感情を選んでください。（複数可）",
    choices=tuple(Choice(label, "emotion", label) for label in ("安心感", "誇り", "共感", "特にない")),
    controls=(Choice("決定", "@control", "done:emotion"), Choice("スキップ", "@control", "skip")),
    alt="次の質問です（2/3）",
)
REASON = Ask(
    "reason", "text", "理由を教えてください。", controls=(Choice("書かずに進む", "@control", "skip"),), alt="3/3"
)


def turn(*bubbles: Ask | Say, **changes: Any) -> Turn:
    return Turn(session_id=SESSION, lang="ja", bubbles=bubbles, **changes)


async def test_a_customer_answers_by_tap_tick_window_and_typing(world: World) -> None:
    slack, refs = world.slack, {}
    await world.show(turn(NPS), "U0HANAKO", refs)
    dm = slack.dm_of("U0HANAKO")
    (question,) = slack.messages(dm)
    assert (await slack.clicks("U0HANAKO", dm, question.ts, f"{messages.TAP}.nps.8")).ok
    assert world.conversed[-1].content == Tap("nps", "8")
    assert world.conversed[-1].workspace == slack.team_id

    answered = Record("nps", 8, label="8点")
    await world.show(turn(EMOTION, recorded=(answered,), shown={"nps": NPS}), "U0HANAKO", refs)
    assert "✓ 8点" in slack.transcript("U0HANAKO")
    assert "[10]" not in slack.transcript("U0HANAKO"), "the scale is gone"

    ticks = slack.messages(dm)[-1]
    await slack.clicks("U0HANAKO", dm, ticks.ts, f"{messages.PICK}.0", selected=["安心感", "共感"])
    assert (await slack.clicks("U0HANAKO", dm, ticks.ts, messages.DONE)).ok
    assert world.conversed[-1].content == Tap("emotion", "安心感;共感;")

    assert (await slack.clicks("U0HANAKO", dm, question.ts, messages.CHANGE)).ok
    await world.until(lambda: "[10]" in slack.transcript("U0HANAKO"))
    assert (await slack.clicks("U0HANAKO", dm, question.ts, f"{messages.TAP}.nps.10")).ok
    assert world.conversed[-1].content == Tap("nps", "10")

    await world.show(turn(REASON), "U0HANAKO", refs)
    prompt = slack.messages(dm)[-1]
    assert (await slack.clicks("U0HANAKO", dm, prompt.ts, messages.WRITE)).ok
    await world.until(lambda: slack.modal("U0HANAKO") is not None)
    assert (await slack.submits("U0HANAKO", {"answer": "箱がつぶれて <!channel>"})).ok
    assert slack.modal("U0HANAKO") is None
    assert world.conversed[-1].content == Typed("箱がつぶれて <!channel>")

    await slack.says("U0HANAKO", dm, "A&B <3")
    assert world.conversed[-1].content == Typed("A&B <3")


async def test_a_double_click_and_a_redelivered_event_are_one_each(world: World) -> None:
    slack, refs = world.slack, {}
    await world.show(turn(NPS), "U0HANAKO", refs)
    dm = slack.dm_of("U0HANAKO")
    said = await slack.says("U0HANAKO", dm, "8")
    assert (await slack.redeliver(said.event_id)).ok
    assert len(world.conversed) == 1
    await slack.clicks("U0HANAKO", dm, slack.messages(dm)[0].ts, f"{messages.TAP}.nps.8")
    assert len(world.conversed) == 2


async def test_nothing_is_acknowledged_that_could_not_be_stored(world: World) -> None:
    slack = world.slack
    patience_s = slack.to_bot.ack_timeout_s
    if slack.to_bot.transport == "socket":
        slack.to_bot.ack_timeout_s = 0.2  # nothing is to come, however long one waits
    dm = slack.dm_of("U0HANAKO")
    world.failing = True
    said = await slack.says("U0HANAKO", dm, "8")
    assert said.status == (500 if slack.to_bot.transport == "http" else 0)
    assert not (await slack.command("U0STAFF", "C0ALERTS", "/survey")).ok
    world.failing, slack.to_bot.ack_timeout_s = False, patience_s
    assert (await slack.redeliver(said.event_id)).ok
    assert [inbound.content for inbound in world.conversed] == [Typed("8")]


async def test_every_kind_of_event_and_click_is_acknowledged(world: World) -> None:
    slack = world.slack
    assert (await slack.opens_home("U0HANAKO")).ok
    assert (await slack.sends_event({"type": "reaction_added", "user": "U0HANAKO", "event_ts": "17.1"})).ok
    assert (await slack.shortcut("U0HANAKO", "nobody_knows_it")).ok
    old = {"type": "actions", "elements": [{"type": "button", "action_id": "old", "value": "x", "text": TEXT}]}
    payload = {"method": "chat.postMessage", "open": "U0HANAKO", "args": {"text": "old", "blocks": [old]}}
    assert isinstance(await world.channel.send(payload, job_id="j", attempt=1, now_ms=0), Sent)
    dm = slack.dm_of("U0HANAKO")
    assert (await slack.clicks("U0HANAKO", dm, slack.messages(dm)[0].ts, "old")).ok
    await world.until(lambda: bool(slack.ephemerals("U0HANAKO")))
    assert slack.ephemerals("U0HANAKO")[0].text == "このボタンは、もうお使いいただけません。"
    assert world.conversed == []


TEXT = {"type": "plain_text", "text": "Old"}


async def test_staff_read_their_own_language(world: World) -> None:
    slack = world.slack
    slack.add_user("Mary", id="U0MARY", locale="en-GB")
    slack.channels["C0ALERTS"].members.append("U0MARY")
    await slack.command("U0MARY", "C0ALERTS", "/survey")
    await world.until(lambda: bool(slack.ephemerals("U0MARY")))
    assert slack.ephemerals("U0MARY")[0].text.startswith("Sorry, you don't have permission for this.")


async def test_an_alert_card_is_taken_and_updated(world: World) -> None:
    facts = CardFacts(
        "unhappy",
        ratings=(Rating("満足度", "やや不満"), Rating("薦める可能性", "2点")),
        words="箱がつぶれて <!channel> *太字* 贈り物に使えませんでした",
        contact="yes",
        due_ms=START_MS + DAY_MS,
        here="LINE",
        customer_id="C001",
        customer_name="田中",
    )
    args = {"channel": "C0ALERTS", **render_card(facts, "ja", with_words=True)}
    world.slack.channels["C0ALERTS"].members.append(world.slack.bot_user)
    payload = {"method": "chat.postMessage", "args": args}
    sent = await world.channel.send(payload, job_id="card", attempt=1, now_ms=0)
    assert isinstance(sent, Sent)
    shown = world.slack.transcript("C0ALERTS")
    assert "「箱がつぶれて <!channel> *太字* 贈り物に使えませんでした」" in shown
    assert "連絡希望：あり（LINEで、11/20（金）10:00まで）" in shown
    update = {"method": "chat.update", "args": render_card(facts, "ja", with_words=False)}
    assert await world.channel.send(update, job_id="card2", attempt=1, now_ms=0, ref=sent.ref) == sent
    assert "箱が" not in world.slack.transcript("C0ALERTS")


async def test_a_message_taken_and_then_cut_off_is_found_again_not_repeated() -> None:
    async with started("http") as world:
        (call,) = world.channel.render(turn(NPS), external_id="U0HANAKO", reply_token="", at_ms=0)
        world.slack.fail_next("chat.postMessage", "reset_after_accept")
        lost = await world.channel.send(call.payload, job_id="j1", attempt=1, now_ms=0)
        assert isinstance(lost, Unknown)
        found = await world.channel.send(call.payload, job_id="j1", attempt=2, now_ms=0)
        dm = world.slack.dm_of("U0HANAKO")
        (only,) = world.slack.messages(dm)
        assert found == Sent(ref=f"{dm}:{only.ts}")


async def test_without_the_history_scope_a_lost_message_stays_uncertain() -> None:
    scopes = frozenset({"chat:write", "im:write", "commands", "users:read"})
    async with started("http", scopes=scopes) as world:
        (call,) = world.channel.render(turn(NPS), external_id="U0HANAKO", reply_token="", at_ms=0)
        world.slack.fail_next("chat.postMessage", "reset_before")
        lost = await world.channel.send(call.payload, job_id="j1", attempt=1, now_ms=0)
        assert isinstance(lost, Unknown)
        assert lost.retry
        assert await world.channel.send(call.payload, job_id="j1", attempt=2, now_ms=0) == Unknown(
            "look-up: missing_scope", retry=False
        )


async def test_blocks_that_slack_would_refuse_are_refused_for_good() -> None:
    async with started("http") as world:
        args = {"text": "x", "blocks": [{"type": "nonsense"}]}
        payload = {"method": "chat.postMessage", "args": args, "open": "U0HANAKO"}
        assert await world.channel.send(payload, job_id="j", attempt=1, now_ms=0) == Refused("invalid_blocks")


async def test_socket_mode_comes_back_after_the_connection_is_lost() -> None:
    async with started("socket") as world:
        await world.slack.to_bot.send_disconnect()
        await eventually(lambda: world.opened() == 2 and world.slack.to_bot.connections == 1)
        assert (await world.slack.says("U0HANAKO", world.slack.dm_of("U0HANAKO"), "8")).ok

        world.slack.to_bot.drop_connections()
        await eventually(lambda: world.opened() >= 3 and world.app.socket.connected)
        assert (await world.slack.says("U0HANAKO", world.slack.dm_of("U0HANAKO"), "9")).ok
        assert [inbound.content for inbound in world.conversed] == [Typed("8"), Typed("9")]


async def test_a_silent_connection_is_replaced() -> None:
    async with started("socket", silence_s=0.1) as world:
        await eventually(lambda: world.opened() >= 3 and world.app.socket.connected)
        assert world.slack.to_bot.connections <= 2


async def eventually(condition: Callable[[], bool]) -> None:
    """For what nobody announces: the state of a connection."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - sockets have no event to wait for
            await asyncio.sleep(0.01)


async def test_an_unreachable_slack_does_not_hold_up_the_start() -> None:
    async with started("http") as world:
        world.slack.fail_next("apps.connections.open", "ok_false:invalid_auth", 1000)
        assert not await world.app.socket.start("xapp-bad", wait_s=0.1)
        assert not world.app.socket.connected
        await world.app.stop()

"""The local LINE takes what the real SDK sends and refuses what the real platform refuses."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from linebot.v3 import WebhookParser, messaging
from linebot.v3.messaging import (
    ApiException,
    AsyncApiClient,
    AsyncMessagingApi,
    Configuration,
    Message,
    PushMessageRequest,
    ReplyMessageRequest,
    SetWebhookEndpointRequest,
    ShowLoadingAnimationRequest,
    ValidateMessageRequest,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.standins import serve
from bot.standins.line import LineStandin
from bot.standins.wire import NotOnScreenError

SECRET, TOKEN = "line-channel-secret", "line-access-token"
THURSDAY = 1_795_050_000_000  # 2026-11-19 10:00 in Tokyo


class Clock:
    def __init__(self, now_ms: int = THURSDAY) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def passes(self, *, seconds: float = 0, days: float = 0) -> None:
        self.ms += int((seconds + days * 86_400) * 1000)


class Bot:
    """A server that keeps what LINE delivers and answers with the statuses it was given."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, str]] = []
        self.statuses: list[int] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for body, _ in self.bodies for event in json.loads(body)["events"]]

    async def serve(self, request: Request) -> Response:
        self.bodies.append(((await request.body()).decode(), request.headers["x-line-signature"]))
        return Response(status_code=self.statuses.pop(0) if self.statuses else 200)


class World:
    def __init__(self, line: LineStandin, clock: Clock, bot: Bot, api: AsyncMessagingApi, url: str) -> None:
        self.line, self.clock, self.bot, self.api, self.url = line, clock, bot, api, url

    async def push(self, to: str, *messages: dict[str, Any], key: str | None = None) -> Any:
        request = PushMessageRequest(to=to, messages=[Message.from_dict(message) for message in messages])
        return await self.api.push_message(request, x_line_retry_key=key, _request_timeout=30)

    async def reply(self, token: str, *messages: dict[str, Any]) -> Any:
        request = ReplyMessageRequest(replyToken=token, messages=[Message.from_dict(message) for message in messages])
        return await self.api.reply_message(request, _request_timeout=30)

    async def post(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """A call without the SDK, for what its models would not let through."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, json=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock, bot = Clock(), Bot()
    bot_server = await serve(Starlette(routes=[Route("/line/webhook", bot.serve, methods=["POST"])]))
    line = LineStandin(
        clock=clock,
        channel_secret=SECRET,
        access_token=TOKEN,
        webhook_url=f"{bot_server.url}/line/webhook",
    )
    line.to_bot.redelivery_pauses_s = (0.0, 0.0)
    server = await serve(line.app)
    client = AsyncApiClient(Configuration(host=server.url, access_token=TOKEN))
    yield World(line, clock, bot, AsyncMessagingApi(client), server.url)
    await client.close()
    await server.close()
    await bot_server.close()


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def scale(*, quick: bool = True) -> dict[str, Any]:
    """A question as Koe asks it: a bubble of buttons, and the same as quick replies."""

    def action(value: int) -> dict[str, Any]:
        shown = f"{value}点"
        return {"type": "postback", "label": str(value), "data": f"v={value}", "displayText": shown}

    rows = [{"type": "button", "height": "sm", "action": action(value)} for value in range(1, 6)]
    body = {
        "type": "box",
        "layout": "vertical",
        "contents": [{"type": "text", "text": "いかがでしたか？", "wrap": True}, *rows],
    }
    message: dict[str, Any] = {
        "type": "flex",
        "altText": "いかがでしたか？",
        "contents": {"type": "bubble", "size": "kilo", "body": body},
    }
    if quick:
        items = [{"type": "action", "action": action(value)} for value in range(1, 6)]
        message["quickReply"] = {"items": items}
    return message


async def test_a_talk_through_the_sdk_is_what_the_person_sees(world: World) -> None:
    customer = world.line.add_user("田中", "ja")
    sent = await world.push(customer, text("ご購入ありがとうございます。"), scale())
    assert len(sent.sent_messages) == 2
    assert len(world.line.tappables(customer)) == 10

    assert await world.line.taps(customer, "v=4") == 200
    assert world.line.quick_replies(customer) == []
    assert len(world.line.tappables(customer)) == 5, "the bubble's buttons stay, the quick replies go"
    await world.reply(world.bot.events[-1]["replyToken"], text("ありがとうございます！"))
    assert world.line.transcript(customer) == (
        "Koe: ご購入ありがとうございます。\n"
        "Koe: いかがでしたか？ [1] [2] [3] [4] [5]\n"
        "田中: 4点\n"
        "Koe: ありがとうございます！"
    )
    assert [entry.via for entry in world.line.chat(customer)] == ["push", "push", "user", "reply"]
    assert world.line.api.usage == 1, "five bubbles in a push are one message, replies are free"


async def test_webhooks_are_signed_and_readable_by_the_sdk(world: World) -> None:
    customer = world.line.add_user("田中")
    await world.line.says(customer, "こんにちは")
    await world.line.taps(customer, "v=1", "1点")
    await world.line.sends_sticker(customer, ["happy"])
    await world.line.sends_photo(customer)
    await world.line.unsends(customer, world.line.chat(customer)[0].id)
    world.line.block(customer)
    await world.line.to_bot.settled()
    parser = WebhookParser(SECRET)
    kinds = [event.type for body, signature in world.bot.bodies for event in parser.parse(body, signature)]
    assert kinds == ["follow", "message", "postback", "message", "message", "unsend", "unfollow"]
    types = [type(event).__name__ for body, sign in world.bot.bodies for event in parser.parse(body, sign)]
    assert "UnknownEvent" not in types
    assert "こんにちは" not in world.line.transcript(customer)


async def test_a_reply_token_works_once_and_for_a_minute(world: World) -> None:
    customer = world.line.add_user("田中")
    await world.line.says(customer, "a")
    token = world.bot.events[-1]["replyToken"]
    await world.reply(token, text("1"))
    with pytest.raises(ApiException) as used:
        await world.reply(token, text("2"))
    assert (used.value.status, json.loads(used.value.body)["message"]) == (400, "Invalid reply token")

    await world.line.says(customer, "b")
    world.clock.passes(seconds=61)
    with pytest.raises(ApiException, match="Invalid reply token"):
        await world.reply(world.bot.events[-1]["replyToken"], text("3"))


async def test_a_retry_key_sends_once_and_answers_409_for_a_day(world: World) -> None:
    customer, key = world.line.add_user("田中"), str(uuid.uuid4())
    first = await world.push(customer, text("一度だけ"), key=key)
    with pytest.raises(ApiException) as again:
        await world.push(customer, text("一度だけ"), key=key)
    assert again.value.status == 409
    assert again.value.headers["x-line-accepted-request-id"]
    repeated = json.loads(again.value.body)["sentMessages"]
    assert [message["id"] for message in repeated] == [message.id for message in first.sent_messages]
    assert len(world.line.chat(customer)) == 1

    world.clock.passes(days=1)
    await world.push(customer, text("一度だけ"), key=key)
    assert len(world.line.chat(customer)) == 2, "an old key sends again, as on the real platform"


async def test_a_push_to_someone_out_of_reach_succeeds_and_shows_nothing(world: World) -> None:
    blocked, stranger = world.line.add_user("鈴木"), world.line.add_user("佐藤", friend=False)
    world.line.block(blocked)
    await world.push(blocked, text("x"))
    await world.push(stranger, text("x"))
    assert world.line.chat(blocked) == world.line.chat(stranger) == []
    assert world.line.api.usage == 0
    with pytest.raises(ApiException) as unknown:
        await world.api.get_profile(blocked)
    assert unknown.value.status == 404

    await world.line.says(stranger, "友だちではありません")
    await world.push(stranger, text("届きます"))
    world.clock.passes(days=7)
    await world.push(stranger, text("届きません"))
    assert [entry.sender for entry in world.line.chat(stranger)] == ["user", "bot"]

    with pytest.raises(ApiException) as foreign:
        await world.push("U" + "f" * 32, text("x"))
    assert json.loads(foreign.value.body)["message"] == "Failed to send messages"


async def test_the_two_429_differ_by_their_words_only(world: World) -> None:
    customer = world.line.add_user("田中")
    world.line.api.quota = 1
    await world.push(customer, text("1"))
    with pytest.raises(ApiException) as monthly:
        await world.push(customer, text("2"))
    assert monthly.value.status == 429
    assert "monthly limit" in monthly.value.body
    await world.line.says(customer, "返信は無料")
    await world.reply(world.bot.events[-1]["replyToken"], text("3"))
    assert (await world.api.get_message_quota()).value == 1
    assert (await world.api.get_message_quota_consumption()).total_usage == 1

    world.line.api.quota = None
    world.line.fail_next("/v2/bot/message/push", "rate", 1)
    with pytest.raises(ApiException, match="rate limit has been exceeded"):
        await world.push(customer, text("4"))
    world.clock.passes(days=15)
    assert world.line.api.usage == 0, "a new month in Japan"


async def test_the_other_calls_answer_as_documented(world: World) -> None:
    customer = world.line.add_user("Alex", "en")
    profile = await world.api.get_profile(customer)
    assert (profile.display_name, profile.language) == ("Alex", "en")
    assert (await world.api.get_bot_info()).user_id == world.line.to_bot.destination
    assert (await world.api.get_webhook_endpoint()).endpoint == world.line.to_bot.webhook_url
    tested = await world.api.test_webhook_endpoint(messaging.TestWebhookEndpointRequest())
    assert tested.success
    assert json.loads(world.bot.bodies[-1][0])["events"] == []
    await world.api.set_webhook_endpoint(SetWebhookEndpointRequest(endpoint="https://example.com/line/webhook"))
    assert world.line.to_bot.webhook_url == "https://example.com/line/webhook"
    await world.api.show_loading_animation(ShowLoadingAnimationRequest(chatId=customer, loadingSeconds=10))
    with pytest.raises(ApiException):
        await world.api.show_loading_animation(ShowLoadingAnimationRequest(chatId=customer, loadingSeconds=7))
    await world.api.validate_push(ValidateMessageRequest(messages=[Message.from_dict(scale())]))
    assert world.line.chat(customer) == []
    world.line.to_bot.webhook_url = ""
    token = (await world.api.issue_link_token(customer)).link_token
    await world.line.links_account(customer, token, "nonce-0123456789")
    assert world.line.to_bot.events[-1]["link"] == {"result": "ok", "nonce": "nonce-0123456789"}
    made = len(world.line.to_bot.events)
    await world.line.links_account(customer, token, "nonce-0123456789")
    assert len(world.line.to_bot.events) == made, "a spent link token makes no event"


async def test_a_wrong_token_and_an_unknown_path_are_refused(world: World) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{world.url}/v2/bot/info") as answer:
            assert answer.status == 401
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with session.get(f"{world.url}/v2/bot/nothing", headers=headers) as answer:
            assert (answer.status, await answer.json()) == (404, {"message": "Not found"})
        url = f"{world.url}/v2/bot/message/push"
        async with session.post(url, data=b"{", headers=headers) as answer:
            assert answer.status == 415
        as_json = headers | {"content-type": "application/json"}
        async with session.post(url, data=b"{", headers=as_json) as answer:
            assert answer.status == 400
        async with session.post(url, data=io.BytesIO(b" " * (2 * 1024 * 1024 + 1)), headers=as_json) as answer:
            assert answer.status == 413
        reply = f"{world.url}/v2/bot/message/reply"
        keyed = as_json | {"x-line-retry-key": str(uuid.uuid4())}
        async with session.post(reply, json={}, headers=keyed) as answer:
            assert answer.status == 400


async def test_a_webhook_without_2xx_comes_again_with_the_same_id_and_token(world: World) -> None:
    customer = world.line.add_user("田中", friend=False)
    world.line.to_bot.redelivery = True
    world.bot.statuses = [500]
    assert await world.line.says(customer, "もう一度") == 200
    first, second = world.bot.events
    assert [first["deliveryContext"], second["deliveryContext"]] == [
        {"isRedelivery": False},
        {"isRedelivery": True},
    ]
    same = ("webhookEventId", "replyToken", "timestamp", "message")
    assert [first[name] for name in same] == [second[name] for name in same]
    assert len(world.line.chat(customer)) == 1

    world.bot.statuses = [503, 503, 503]
    assert await world.line.says(customer, "不在") == 503
    world.clock.passes(seconds=300)
    assert await world.line.to_bot.redeliver() == [200]
    await world.reply(world.bot.events[-1]["replyToken"], text("redelivered tokens live a minute from then"))
    assert world.line.to_bot.undelivered == []


async def test_a_dropped_connection_leaves_the_message_shown_and_the_caller_in_doubt(world: World) -> None:
    customer, key = world.line.add_user("田中"), str(uuid.uuid4())
    world.line.fail_next("/v2/bot/message/push", "reset_after_accept", 1)
    with pytest.raises(aiohttp.ClientError):
        await world.push(customer, text("届いた"), key=key)
    assert len(world.line.chat(customer)) == 1
    with pytest.raises(ApiException) as known:
        await world.push(customer, text("届いた"), key=key)
    assert known.value.status == 409

    world.line.fail_next("/v2/bot/message/push", "reset_before", 1)
    with pytest.raises(aiohttp.ClientError):
        await world.push(customer, text("届かない"))
    assert len(world.line.chat(customer)) == 1
    statuses = [request.status for request in world.line.api.requests if request.path.endswith("/push")]
    assert statuses == [0, 409, 0]


async def test_silence_and_broken_answers_come_on_demand(world: World) -> None:
    customer = world.line.add_user("田中")
    path = "/v2/bot/message/push"
    request = PushMessageRequest(to=customer, messages=[Message.from_dict(text("x"))])
    world.line.fail_next(path, "timeout", 1)
    with pytest.raises(TimeoutError):
        await world.api.push_message(request, _request_timeout=0.1)
    world.line.fail_next(path, "timeout_after_accept", 1)
    silent = asyncio.ensure_future(world.api.push_message(request, _request_timeout=60))
    while not world.line.chat(customer):  # noqa: ASYNC110 - whoever called is told nothing
        await asyncio.sleep(0.01)
    assert not (await asyncio.wait({silent}, timeout=0.1))[0]
    silent.cancel()
    assert len(world.line.chat(customer)) == 1
    for kind, status in (("html500", 500), ("503", 503), (401, 401), ("500_after_accept", 500)):
        world.line.fail_next(path, kind, 1)
        with pytest.raises(ApiException) as failed:
            await world.push(customer, text("x"))
        assert failed.value.status == status
    assert len(world.line.chat(customer)) == 2
    world.line.fail_next("*", "slow:0.01", 1)
    await world.push(customer, text("x"))
    assert world.line.chat(customer)[-1].via == "push"


async def test_hostile_and_batched_deliveries_go_out_exactly_as_given(world: World) -> None:
    one, two = world.line.add_user("一"), world.line.add_user("二")
    batch = [world.line.text_event(one, "1"), world.line.postback_event(two, "v=2", "2点")]
    assert await world.line.to_bot.deliver_raw(batch) == 200
    assert await world.line.to_bot.deliver_raw(batch) == 200
    assert [event["webhookEventId"] for event in world.bot.events[-4:]] == [
        event["webhookEventId"] for event in batch * 2
    ]
    await world.line.says(one, "lone \ud800 surrogate")
    assert world.bot.events[-1]["message"]["text"] == "lone \ud800 surrogate"
    await world.line.to_bot.deliver_raw([], body=b"not json", signature="wrong")
    assert world.bot.bodies[-1] == ("not json", "wrong")


async def test_a_person_can_only_use_what_is_on_the_screen(world: World) -> None:
    customer = world.line.add_user("田中")
    await world.push(customer, scale())
    await world.line.taps_label(customer, "3")
    assert world.bot.events[-1]["postback"] == {"data": "v=3"}
    with pytest.raises(NotOnScreenError, match="no button says '11'"):
        await world.line.taps_label(customer, "11")
    with pytest.raises(NotOnScreenError):
        await world.line.unsends(customer, "1")


async def test_changes_are_announced_and_a_silent_bot_is_no_error(world: World) -> None:
    seen: list[int] = []
    world.line.on_change.append(lambda: seen.append(1))
    customer = world.line.add_user("田中")
    world.line.to_bot.webhook_url = "http://127.0.0.1:9/"
    assert await world.line.says(customer, "誰もいない") == 0
    assert world.line.to_bot.webhooks[-1].reason == "could_not_connect"
    await asyncio.gather(world.push(customer, text("a")), world.push(customer, text("b")))
    assert len(seen) >= 4


async def test_a_multicast_reaches_friends_and_unknown_properties_are_refused(world: World) -> None:
    one, two = world.line.add_user("一"), world.line.add_user("二", friend=False)
    status, _ = await world.post("/v2/bot/message/multicast", {"to": [one, two], "messages": [text("x")]})
    assert (status, world.line.api.usage) == (200, 1)
    status, body = await world.post("/v2/bot/message/push", {"to": one, "messages": [{"type": "text"}]})
    assert status == 400
    assert body["details"] == [{"message": "May not be empty", "property": "messages[0].text"}]
    status, body = await world.post("/v2/bot/message/push", {"to": one, "messages": [text("x")], "foo": 1})
    assert (status, body["details"][0]["property"]) == (400, "foo")
    units = {"to": one, "messages": [text("x")], "customAggregationUnits": ["a", "b"]}
    status, body = await world.post("/v2/bot/message/push", units)
    assert (status, body["details"][0]["property"]) == (400, "customAggregationUnits")


async def test_a_block_taken_back_is_a_new_follow_and_messages_arrive_again(world: World) -> None:
    customer = world.line.add_user("田中")
    world.line.block(customer)
    world.line.block(customer)
    world.line.unblock(customer)
    await world.line.to_bot.settled()
    assert [event["type"] for event in world.bot.events] == ["follow", "unfollow", "follow"]
    assert world.bot.events[-1]["follow"] == {"isUnblocked": True}
    assert "replyToken" not in world.bot.events[1]
    await world.reply(world.bot.events[-1]["replyToken"], text("おかえりなさい"))
    assert world.line.transcript(customer) == "Koe: おかえりなさい"


async def test_calls_beyond_the_documented_rate_are_refused(world: World) -> None:
    customer = world.line.add_user("田中")
    body = {"messages": [text("x")], "to": [customer]}
    world.line.api.rate_limits = False
    for _ in range(3):
        assert (await world.post("/v2/bot/message/multicast", body))[0] == 200
    world.line.api.rate_limits = True
    broadcast = [await world.post("/v2/bot/message/broadcast", {"messages": [text("x")]}) for _ in range(61)]
    assert [status for status, _ in broadcast].count(429) == 1
    assert broadcast[-1][1]["message"].startswith("The API rate limit has been exceeded")

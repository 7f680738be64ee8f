"""The local Slack takes what the real SDKs send, over HTTP and Socket Mode, and refuses what the real one does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.adapter.starlette.async_handler import AsyncSlackRequestHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.standins import serve
from bot.standins.slack import SlackStandin
from bot.standins.wire import NotOnScreenError

SECRET, TOKEN, APP_TOKEN = "slack-signing-secret", "xoxb-standin", "xapp-standin"
THURSDAY = 1_795_050_000_000  # 2026-11-19 10:00 in Tokyo


class Clock:
    def __init__(self, now_ms: int = THURSDAY) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def passes(self, *, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class World:
    """The stand-in, a Bolt app reached over HTTP, and a client as the bot uses it."""

    def __init__(self, slack: SlackStandin, clock: Clock, client: AsyncWebClient, bolt: AsyncApp) -> None:
        self.slack, self.clock, self.client, self.bolt = slack, clock, client, bolt
        self.heard: list[dict[str, Any]] = []

    async def refusal(self, call: Any) -> str:
        with pytest.raises(SlackApiError) as refused:
            await call
        return str(refused.value.response["error"])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = Clock()
    slack = SlackStandin(clock=clock, signing_secret=SECRET, bot_token=TOKEN, app_token=APP_TOKEN)
    server = await serve(slack.app)
    session = aiohttp.ClientSession()
    client = AsyncWebClient(token=TOKEN, base_url=f"{server.url}/api/", session=session, retry_handlers=[], timeout=30)
    bolt = AsyncApp(client=client, signing_secret=SECRET)
    handler = AsyncSlackRequestHandler(bolt)

    async def endpoint(request: Request) -> Response:
        answer: Response = await handler.handle(request)
        return answer

    bot = await serve(Starlette(routes=[Route("/slack/events", endpoint, methods=["POST"])]))
    slack.to_bot.request_url = f"{bot.url}/slack/events"
    made = World(slack, clock, client, bolt)

    @bolt.event("message")
    async def message(event: dict[str, Any]) -> None:
        made.heard.append(event)

    @bolt.event("app_mention")
    async def mention(event: dict[str, Any]) -> None:
        made.heard.append(event)

    yield made
    await bot.close()
    await session.close()
    await server.close()


def button(label: str, value: str, action_id: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": label}
    return {"type": "button", "text": text, "value": value, "action_id": action_id}


def question() -> list[dict[str, Any]]:
    return [
        {"type": "section", "text": {"type": "mrkdwn", "text": "おすすめしたいと思いますか？"}},
        {"type": "actions", "elements": [button(str(n), f"s1:{n}", f"nps-{n}") for n in range(11)]},
    ]


def survey_modal(**more: Any) -> dict[str, Any]:
    def plain(words: str) -> dict[str, str]:
        return {"type": "plain_text", "text": words}

    options = [{"text": plain(name), "value": name} for name in ("after_purchase", "after_support")]
    return {
        "type": "modal",
        "callback_id": "survey",
        "title": plain("アンケート"),
        "submit": plain("送る"),
        "blocks": [
            {
                "type": "input",
                "block_id": "flow",
                "label": plain("アンケート"),
                "element": {"type": "static_select", "action_id": "flow", "options": options},
            },
            {
                "type": "input",
                "block_id": "note",
                "label": plain("メモ"),
                "optional": True,
                "element": {"type": "plain_text_input", "action_id": "note", "max_length": 10},
            },
        ],
        **more,
    }


async def until(happened: Any) -> None:
    """Waits for what the bot does after its acknowledgement; the test's own time-out is the limit."""
    while not happened():  # noqa: ASYNC110 - the thing waited for is on the other side of a socket
        await asyncio.sleep(0.005)


async def test_a_question_by_dm_is_clicked_and_updated_to_the_choice(world: World) -> None:
    customer = world.slack.add_user("田中")
    opened = await world.client.conversations_open(users=customer)
    dm = opened["channel"]["id"]
    assert dm == world.slack.dm_of(customer)
    sent = await world.client.chat_postMessage(channel=dm, text="おすすめ", blocks=question())

    @world.bolt.action("nps-9")
    async def chosen(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        await ack()
        world.heard.append(body)
        await client.chat_update(
            channel=body["channel"]["id"],
            ts=body["container"]["message_ts"],
            text="9",
            blocks=[
                {
                    "type": "section",
                    "text": {"type": "mrkdwn", "text": "9 を選びました"},
                    "accessory": button("変更", "s1:nps", "change"),
                }
            ],
        )

    ack = await world.slack.clicks(customer, dm, sent["ts"], "nps-9")
    assert (ack.status, ack.ok) == (200, True)
    await until(lambda: world.slack.messages(dm)[0].edited)
    (body,) = world.heard
    assert body["actions"][0]["value"] == "s1:9"
    assert body["user"]["id"] == customer
    assert body["message"]["ts"] == sent["ts"]
    assert world.slack.transcript(customer) == "Koe (edited): 9 を選びました [変更]"
    with pytest.raises(NotOnScreenError, match="there are: change"):
        await world.slack.clicks(customer, dm, sent["ts"], "nps-3")


async def test_what_people_write_arrives_escaped_in_dms_and_with_mentions_in_channels(world: World) -> None:
    customer = world.slack.add_user("田中")
    dm, channel = world.slack.dm_of(customer), world.slack.add_channel("general", members=[customer])
    ack = await world.slack.says(customer, dm, "a < b & c <!channel>")
    assert ack.status == 200
    assert ack.event_id.startswith("Ev")
    await until(lambda: world.heard)
    event = world.heard[-1]
    assert (event["text"], event["channel_type"]) == ("a &lt; b &amp; c &lt;!channel&gt;", "im")
    assert world.slack.transcript(customer) == "田中: a < b & c <!channel>"

    assert (await world.slack.says(customer, channel, "ひとりごと")).event_id == ""
    await world.slack.says(customer, channel, "<@U0KOE> こんにちは")
    await until(lambda: len(world.heard) == 2)
    assert world.heard[-1]["type"] == "app_mention"
    assert world.slack.transcript(channel).endswith("田中: @Koe こんにちは")
    await world.slack.edits(customer, dm, ack.ts, "直しました")
    await until(lambda: len(world.heard) == 3)
    assert world.heard[-1]["subtype"] == "message_changed"


async def test_a_repeated_event_keeps_its_id_and_says_which_try_it_is(world: World) -> None:
    headers: list[Any] = []

    @world.bolt.middleware
    async def note(req: Any, next: Any) -> None:  # noqa: A002 - Bolt passes it by this name
        headers.append((req.body.get("event_id"), req.headers.get("x-slack-retry-num")))
        await next()

    customer = world.slack.add_user("田中")
    ack = await world.slack.says(customer, world.slack.dm_of(customer), "一度")
    again = await world.slack.redeliver(ack.event_id, 2, "http_error")
    assert again.event_id == ack.event_id
    assert headers == [(ack.event_id, None), (ack.event_id, ["2"])]


async def test_forged_and_stale_requests_are_sent_as_given(world: World) -> None:
    body = json.dumps({"type": "event_callback", "event": {"type": "message"}}).encode()
    assert (await world.slack.deliver_raw(body)).status == 200
    assert (await world.slack.deliver_raw(body, signature="v0=wrong")).status == 401
    assert (await world.slack.deliver_raw(body, timestamp="1")).status == 401
    checked = await world.slack.verifies_url()
    assert checked.status == 200
    assert checked.body["challenge"].startswith("c-")


async def test_a_command_opens_a_modal_that_is_filled_in_and_submitted(world: World) -> None:
    staff = world.slack.add_user("店員")
    channel = world.slack.add_channel("shop", members=[staff])

    @world.bolt.command("/survey")
    async def survey(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        await ack(text="少々お待ちください <少し>")
        await client.views_open(trigger_id=body["trigger_id"], view=survey_modal())

    @world.bolt.view("survey")
    async def submitted(ack: Any, view: dict[str, Any]) -> None:
        values = view["state"]["values"]
        world.heard.append(values)
        if values["flow"]["flow"]["selected_option"]["value"] == "after_support":
            await ack(response_action="errors", errors={"flow": "今は送れません"})
        else:
            await ack()

    await world.slack.command(staff, channel, "/survey", "C001")
    await until(lambda: world.slack.modal(staff))
    assert [message.text for message in world.slack.ephemerals(staff)] == ["少々お待ちください <少し>"]
    assert world.slack.messages(channel) == []

    with pytest.raises(NotOnScreenError, match="must be filled in"):
        await world.slack.submits(staff, {})
    with pytest.raises(NotOnScreenError, match="no option 'relational'"):
        await world.slack.submits(staff, {"flow": "relational"})
    with pytest.raises(NotOnScreenError, match="at most 10"):
        await world.slack.submits(staff, {"flow": "after_support", "note": "x" * 11})
    await world.slack.submits(staff, {"flow": "after_support", "note": "急ぎ"})
    assert world.slack.modal_errors(staff) == {"flow": "今は送れません"}
    nested = {"flow": {"flow": {"selected_option": {"value": "after_purchase"}}}}
    await world.slack.submits(staff, nested)
    assert world.slack.modal(staff) is None
    assert world.heard[-1]["note"]["note"]["value"] == "急ぎ", "what was typed stays through an error"


async def test_a_trigger_opens_one_view_within_three_seconds(world: World) -> None:
    staff = world.slack.add_user("店員")
    channel = world.slack.add_channel("shop", members=[staff])
    triggers: list[str] = []

    @world.bolt.command("/survey")
    async def survey(ack: Any, body: dict[str, Any]) -> None:
        await ack()
        triggers.append(body["trigger_id"])

    for _ in range(2):
        await world.slack.command(staff, channel, "/survey")
    await world.client.views_open(trigger_id=triggers[0], view=survey_modal())
    again = world.client.views_open(trigger_id=triggers[0], view=survey_modal())
    assert await world.refusal(again) == "exchanged_trigger_id"
    world.clock.passes(seconds=3.1)
    late = world.client.views_open(trigger_id=triggers[1], view=survey_modal())
    assert await world.refusal(late) == "expired_trigger_id"
    unknown = world.client.views_open(trigger_id="1.2.abc", view=survey_modal())
    assert await world.refusal(unknown) == "invalid_trigger_id"


async def test_views_are_updated_stacked_and_closed(world: World) -> None:
    staff = world.slack.add_user("店員")
    channel = world.slack.add_channel("shop", members=[staff])
    triggers: list[str] = []
    closed: list[str] = []

    @world.bolt.command("/survey")
    async def survey(ack: Any, body: dict[str, Any]) -> None:
        await ack()
        triggers.append(body["trigger_id"])

    @world.bolt.view_closed("survey")
    async def note_closed(ack: Any, view: dict[str, Any]) -> None:
        await ack()
        closed.append(view["id"])

    @world.bolt.action("more")
    async def more(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        await ack()
        await client.views_push(trigger_id=body["trigger_id"], view=survey_modal(external_id="second"))

    await world.slack.command(staff, channel, "/survey")
    with_button = survey_modal(notify_on_close=True)
    with_button["blocks"].append({"type": "actions", "elements": [button("詳しく", "x", "more")]})
    opened = await world.client.views_open(trigger_id=triggers[0], view=with_button)
    assert await world.refusal(
        world.client.views_update(view_id=opened["view"]["id"], hash="old", view=with_button)
    ) == ("hash_conflict")
    await world.client.views_update(view_id=opened["view"]["id"], hash=opened["view"]["hash"], view=with_button)
    await world.slack.picks(staff, "more")
    await until(lambda: (world.slack.modal(staff) or {})["external_id"] == "second")
    await world.slack.closes(staff)
    assert closed == [], "the second view did not ask to be told"
    await world.slack.closes(staff)
    assert closed == [opened["view"]["id"]]
    assert world.slack.modal(staff) is None
    missing = world.client.views_update(view_id=opened["view"]["id"], view=survey_modal())
    assert await world.refusal(missing) == "not_found"


async def test_a_view_without_a_submit_button_for_its_input_is_refused_with_the_place(world: World) -> None:
    view = survey_modal()
    del view["submit"]
    with pytest.raises(SlackApiError) as refused:
        await world.client.views_publish(user_id=world.slack.add_user("店員"), view=view)
    assert refused.value.response["error"] == "invalid_arguments"
    (said,) = refused.value.response["response_metadata"]["messages"]
    assert "json-pointer:/view/submit" in said


async def test_the_home_is_published_shown_and_clicked(world: World) -> None:
    staff = world.slack.add_user("店員")
    actions = {"type": "actions", "elements": [button("引き受ける", "case-1", "claim")]}

    @world.bolt.event("app_home_opened")
    async def opened(event: dict[str, Any], client: AsyncWebClient) -> None:
        await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": [actions]})

    @world.bolt.action("claim")
    async def claim(ack: Any, body: dict[str, Any]) -> None:
        await ack()
        world.heard.append(body)

    await world.slack.opens_home(staff)
    await until(lambda: world.slack.home(staff))
    await world.slack.clicks_home(staff, "claim")
    assert world.heard[-1]["view"]["type"] == "home"


async def test_a_response_url_replaces_the_message_five_times_within_half_an_hour(world: World) -> None:
    customer = world.slack.add_user("田中")
    dm = world.slack.dm_of(customer)
    sent = await world.client.chat_postMessage(channel=dm, text="質問", blocks=question())
    urls: list[str] = []

    @world.bolt.action("nps-1")
    async def chosen(ack: Any, respond: Any, body: dict[str, Any]) -> None:
        await ack()
        await respond(text="1 を選びました", replace_original=True)
        urls.append(body["response_url"])

    await world.slack.clicks(customer, dm, sent["ts"], "nps-1")
    await until(lambda: urls)
    assert world.slack.transcript(customer) == "Koe (edited): 1 を選びました"

    async def respond(url: str, **body: Any) -> int:
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            return answer.status

    assert [await respond(urls[0], text=str(n)) for n in range(5)] == [200, 200, 200, 200, 404]
    assert [message.text for message in world.slack.ephemerals(customer)] == ["0", "1", "2", "3"]
    await world.client.chat_update(channel=dm, ts=sent["ts"], text="質問", blocks=question())
    await world.slack.clicks(customer, dm, sent["ts"], "nps-1")
    await until(lambda: len(urls) == 2)
    world.clock.passes(seconds=30 * 60)
    assert await respond(urls[1], text="遅い") == 404


async def test_a_double_click_is_two_interactions_with_times_of_their_own(world: World) -> None:
    customer = world.slack.add_user("田中")
    dm = world.slack.dm_of(customer)
    sent = await world.client.chat_postMessage(channel=dm, text="質問", blocks=question())

    @world.bolt.action("nps-5")
    async def chosen(ack: Any, body: dict[str, Any]) -> None:
        await ack()
        world.heard.append(body)

    first, second = await world.slack.double_clicks(customer, dm, sent["ts"], "nps-5")
    assert first.ok
    assert second.ok
    assert len({body["actions"][0]["action_ts"] for body in world.heard}) == 2
    assert len({body["trigger_id"] for body in world.heard}) == 2


async def test_checkboxes_keep_their_state_between_clicks(world: World) -> None:
    customer = world.slack.add_user("田中")
    dm = world.slack.dm_of(customer)
    options = [{"text": {"type": "plain_text", "text": n}, "value": n} for n in ("品質", "価格", "配送")]
    boxes = {"type": "checkboxes", "action_id": "reason", "options": options}
    done = button("決定", "done", "done")
    blocks = [{"type": "actions", "block_id": "multi", "elements": [boxes, done]}]
    sent = await world.client.chat_postMessage(channel=dm, text="理由", blocks=blocks)

    async def note(ack: Any, body: dict[str, Any]) -> None:
        await ack()
        world.heard.append(body)

    world.bolt.action("reason")(note)
    world.bolt.action("done")(note)
    await world.slack.clicks(customer, dm, sent["ts"], "reason", selected=["品質", "配送"])
    await world.slack.clicks(customer, dm, sent["ts"], "done")
    chosen = world.heard[-1]["state"]["values"]["multi"]["reason"]["selected_options"]
    assert [option["value"] for option in chosen] == ["品質", "配送"]


async def test_messages_are_refused_as_slack_refuses_them(world: World) -> None:
    client, slack = world.client, world.slack
    channel, secret = (
        slack.add_channel("open", with_bot=False),
        slack.add_channel("closed", private=True, with_bot=False),
    )
    mine = slack.add_channel("mine")
    assert await world.refusal(client.chat_postMessage(channel=channel, text="x")) == "not_in_channel"
    assert await world.refusal(client.chat_postMessage(channel=secret, text="x")) == "channel_not_found"
    assert await world.refusal(client.chat_postMessage(channel="C0NOWHERE", text="x")) == "channel_not_found"
    assert await world.refusal(client.api_call("chat.postMessage", json={"channel": mine})) == "no_text"
    blocks = [{"type": "divider"}] * 51
    with pytest.raises(SlackApiError) as many:
        await client.chat_postMessage(channel=mine, text="x", blocks=blocks)
    assert many.value.response["error"] == "invalid_blocks"
    assert many.value.response["errors"] == ["no more than 50 items allowed [json-pointer:/blocks]"]
    long = [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3000}}] * 5
    assert await world.refusal(client.chat_postMessage(channel=mine, text="x", blocks=long)) == "msg_blocks_too_long"
    slack.channels[mine].is_archived = True
    assert await world.refusal(client.chat_postMessage(channel=mine, text="x")) == "is_archived"
    theirs = slack.add_user("人")
    said = await slack.says(theirs, slack.dm_of(theirs), "わたしの文")
    update = client.chat_update(channel=slack.dm_of(theirs), ts=said.ts, text="x")
    assert await world.refusal(update) == "cant_update_message"
    update = client.chat_update(channel=slack.dm_of(theirs), ts="1.000001", text="x")
    assert await world.refusal(update) == "message_not_found"
    assert await world.refusal(client.conversations_open(users="U0NOBODY")) == "user_not_found"
    robot = slack.add_user("robot", is_bot=True)
    assert await world.refusal(client.conversations_open(users=robot)) == "cannot_dm_bot"
    assert await world.refusal(client.api_call("chat.nothing")) == "unknown_method"
    client.token = "xoxb-other"
    assert await world.refusal(client.auth_test()) == "invalid_auth"


async def test_an_unknown_outcome_can_be_looked_up_by_metadata(world: World) -> None:
    channel = world.slack.add_channel("alerts")
    metadata = {"event_type": "koe", "event_payload": {"job": "j-1"}}
    world.slack.fail_next("chat.postMessage", "reset_after_accept")
    with pytest.raises(aiohttp.ClientError):
        await world.client.chat_postMessage(channel=channel, text="カード", metadata=metadata)
    history = await world.client.conversations_history(channel=channel, include_all_metadata=True)
    assert [message["metadata"] for message in history["messages"]] == [metadata]
    assert len([r for r in world.slack.api.requests if r.path == "chat.postMessage"]) == 1
    world.slack.scopes = frozenset({"chat:write"})
    assert await world.refusal(world.client.conversations_history(channel=channel)) == "missing_scope"


async def test_history_pages_backwards_and_replies_stay_in_their_thread(world: World) -> None:
    channel = world.slack.add_channel("alerts")
    stamps = [(await world.client.chat_postMessage(channel=channel, text=str(n)))["ts"] for n in range(4)]
    await world.client.chat_postMessage(channel=channel, text="reply", thread_ts=stamps[0])
    page = await world.client.conversations_history(channel=channel, limit=3)
    assert [message["text"] for message in page["messages"]] == ["3", "2", "1"]
    cursor = page["response_metadata"]["next_cursor"]
    rest = await world.client.conversations_history(channel=channel, limit=3, cursor=cursor)
    assert [message["text"] for message in rest["messages"]] == ["0"]
    since = await world.client.conversations_history(channel=channel, oldest=stamps[2])
    assert [message["text"] for message in since["messages"]] == ["3"]
    thread = await world.client.conversations_replies(channel=channel, ts=stamps[0])
    assert [message["text"] for message in thread["messages"]] == ["0", "reply"]


async def test_people_and_places_are_described_as_the_api_does(world: World) -> None:
    customer = world.slack.add_user("Alex", locale="en-US", team_id="T0OTHER")
    channel = world.slack.add_channel("shop", members=[customer])
    user = (await world.client.users_info(user=customer, include_locale=True))["user"]
    assert (user["locale"], user["is_stranger"], user["team_id"]) == ("en-US", True, "T0OTHER")
    assert "locale" not in (await world.client.users_info(user=customer))["user"]
    assert (await world.client.auth_test())["user_id"] == "U0KOE"
    listed = await world.client.conversations_list(types="public_channel,private_channel")
    assert [place["id"] for place in listed["channels"]] == [channel]
    assert (await world.client.conversations_info(channel=channel))["channel"]["is_member"]
    assert (await world.client.conversations_members(channel=channel))["members"] == [customer, "U0KOE"]
    assert len((await world.client.users_list())["members"]) == 2
    page = await world.client.users_list(limit=1)
    rest = await world.client.users_list(limit=1, cursor=page["response_metadata"]["next_cursor"])
    assert [len(told["members"]) for told in (page, rest)] == [1, 1]
    assert (page["members"] != rest["members"], rest["response_metadata"]["next_cursor"]) == (True, "")
    assert (await world.client.chat_postEphemeral(channel=channel, user=customer, text="内緒"))["ok"]
    assert world.slack.transcript(channel) == "Koe (only Alex sees this): 内緒"


async def test_more_than_a_message_a_second_is_told_to_wait(world: World) -> None:
    channel = world.slack.add_channel("digest")
    for _ in range(10):
        await world.client.chat_postMessage(channel=channel, text="x")
    with pytest.raises(SlackApiError) as limited:
        await world.client.chat_postMessage(channel=channel, text="x")
    assert limited.value.response.status_code == 429
    assert limited.value.response.headers["Retry-After"] == "1"
    world.clock.passes(seconds=1)
    await world.client.chat_postMessage(channel=channel, text="x")


async def test_broken_answers_come_on_demand(world: World) -> None:
    channel = world.slack.add_channel("digest")

    def post() -> Any:
        return world.client.chat_postMessage(channel=channel, text="x")

    world.slack.fail_next("chat.postMessage", "ratelimited:12")
    with pytest.raises(SlackApiError) as limited:
        await post()
    assert limited.value.response.headers["Retry-After"] == "12"
    world.slack.fail_next("*", "ok_false:token_revoked")
    assert await world.refusal(post()) == "token_revoked"
    world.slack.fail_next("chat.postMessage", "reset_before")
    with pytest.raises(aiohttp.ClientError):
        await post()
    world.client.timeout = 1
    world.slack.fail_next("chat.postMessage", "timeout")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(post(), 0.1)
    for kind in ("500html", "500json", "503"):
        world.slack.fail_next("chat.postMessage", kind)
        with pytest.raises(SlackApiError) as failed:
            await post()
        assert failed.value.response.status_code in (500, 503)
    assert world.slack.messages(channel) == []
    world.slack.fail_next("chat.postMessage", "slow:0.01")
    await post()
    assert [message.text for message in world.slack.messages(channel)] == ["x"]


async def test_a_picture_is_uploaded_shared_and_used_in_a_block(world: World) -> None:
    channel = world.slack.add_channel("digest")
    await world.client.files_upload_v2(
        channel=channel, content=b"\x89PNG", filename="nps.png", title="NPS", initial_comment="今週"
    )
    assert world.slack.transcript(channel) == "Koe: 今週 (file: NPS)"
    uploaded = await world.client.files_upload_v2(content=b"\x89PNG", filename="ces.png", title="CES")
    file_id = uploaded["files"][0]["id"]
    assert world.slack.file_content(file_id) == b"\x89PNG"
    image = {"type": "image", "slack_file": {"id": file_id}, "alt_text": "CES の推移"}
    await world.client.chat_postMessage(channel=channel, text="CES", blocks=[image])
    image = {"type": "image", "slack_file": {"id": "F0NOTHING"}, "alt_text": "?"}
    assert await world.refusal(world.client.chat_postMessage(channel=channel, text="x", blocks=[image])) == (
        "invalid_blocks"
    )
    checked = await world.client.blocks_validate(blocks=question())
    assert checked["ok"]


async def test_a_bot_that_does_not_answer_in_time_leaves_the_person_with_an_error(world: World) -> None:
    staff = world.slack.add_user("店員")
    channel = world.slack.add_channel("shop", members=[staff])
    world.slack.to_bot.ack_timeout_s = 0.05

    @world.bolt.command("/survey")
    async def survey(ack: Any) -> None:
        await asyncio.sleep(0.2)
        await ack()

    assert (await world.slack.command(staff, channel, "/survey")).status == 0
    world.slack.to_bot.request_url = "http://127.0.0.1:9/"
    assert (await world.slack.command(staff, channel, "/survey")).status == 0


async def test_socket_mode_carries_everything_and_survives_lost_connections(world: World) -> None:
    slack = world.slack
    slack.to_bot.transport = "socket"
    customer, staff = slack.add_user("田中"), slack.add_user("店員")
    dm, channel = slack.dm_of(customer), slack.add_channel("shop", members=[staff])
    assert (await slack.says(customer, dm, "誰もいない")).status == 0

    @world.bolt.command("/survey")
    async def survey(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        await client.views_open(trigger_id=body["trigger_id"], view=survey_modal())
        await ack()

    @world.bolt.view("survey")
    async def submitted(ack: Any) -> None:
        await ack(response_action="errors", errors={"flow": "今は送れません"})

    handler = AsyncSocketModeHandler(world.bolt, APP_TOKEN, ping_interval=0.2)
    try:
        await handler.connect_async()
        await until(lambda: slack.to_bot.connections == 1)
        assert (await slack.says(customer, dm, "こんにちは")).ok
        await until(lambda: world.heard)
        assert (await slack.command(staff, channel, "/survey")).ok
        await slack.submits(staff, {"flow": "after_support"})
        assert slack.modal_errors(staff) == {"flow": "今は送れません"}

        await slack.to_bot.send_disconnect()
        assert slack.to_bot.connections == 0
        await until(lambda: slack.to_bot.connections == 1)
        assert (await slack.says(customer, dm, "続き")).ok
        slack.to_bot.drop_connections()
        await until(lambda: slack.to_bot.connections == 0)
        await until(lambda: slack.to_bot.connections == 1)
        assert (await slack.says(customer, dm, "また")).ok
    finally:
        await handler.close_async()


async def test_only_an_app_token_opens_a_connection(world: World) -> None:
    wrong = world.client.apps_connections_open(app_token=TOKEN)
    assert await world.refusal(wrong) == "not_allowed_token_type"
    opened = await world.client.apps_connections_open(app_token=APP_TOKEN)
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(opened["url"]) as socket:
            assert (await socket.receive_json())["type"] == "hello"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(opened["url"])


async def test_only_parsed_text_can_ring_a_phone(world: World) -> None:
    channel = world.slack.add_channel("alerts")
    quote = {"type": "rich_text_quote", "elements": [{"type": "text", "text": "<!channel> ください"}]}
    inert = [
        {"type": "header", "text": {"type": "plain_text", "text": "<!here> & <@U0KOE>"}},
        {"type": "rich_text", "elements": [quote]},
        {"type": "section", "text": {"type": "mrkdwn", "text": "&lt;!everyone&gt;"}},
    ]
    await world.client.chat_postMessage(channel=channel, text="&lt;!channel&gt;", blocks=inert)
    assert world.slack.pings(channel) == []
    assert world.slack.transcript(channel) == "Koe: <!here> & <@U0KOE>\n  <!channel> ください\n  <!everyone>"
    live = [{"type": "section", "text": {"type": "mrkdwn", "text": "<!here> と <@U0KOE>"}}]
    await world.client.chat_postMessage(channel=channel, text="<!channel>", blocks=live)
    assert world.slack.pings(channel) == ["<!channel>", "<!here>", "<@U0KOE>"]


async def test_an_envelope_on_a_lost_connection_is_not_acknowledged(world: World) -> None:
    slack = world.slack
    slack.to_bot.transport = "socket"
    customer = slack.add_user("田中")
    opened = await world.client.apps_connections_open(app_token=APP_TOKEN)
    async with aiohttp.ClientSession() as session, session.ws_connect(opened["url"]) as socket:
        assert (await socket.receive_json())["type"] == "hello"
        saying = asyncio.create_task(slack.says(customer, slack.dm_of(customer), "聞こえますか"))
        envelope = await socket.receive_json()
        assert envelope["payload"]["event"]["text"] == "聞こえますか"
        assert (envelope["retry_attempt"], envelope["accepts_response_payload"]) == (0, False)
        slack.to_bot.drop_connections()
        ack = await saying
        assert (ack.status, ack.event_id) == (0, envelope["payload"]["event_id"])
    assert slack.to_bot.connections == 0


async def test_junk_arguments_are_refused_and_never_an_error_of_the_server(world: World) -> None:
    channel = world.slack.add_channel("mine")
    for method, args, code in [
        ("conversations.history", {"channel": channel, "limit": "many"}, "invalid_arguments"),
        ("conversations.history", {"channel": channel, "cursor": "x"}, "invalid_cursor"),
        ("conversations.history", {"channel": channel, "oldest": "yesterday"}, "invalid_ts_oldest"),
        ("chat.postMessage", {"channel": [channel], "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": channel, "text": "x", "blocks": "[{"}, "invalid_blocks"),
        (
            "chat.postMessage",
            {"channel": channel, "text": "x", "metadata": {"event_type": 1}},
            "invalid_metadata_format",
        ),
        ("files.getUploadURLExternal", {"filename": "x", "length": "-1"}, "invalid_arguments"),
        ("files.completeUploadExternal", {"files": ["x"]}, "file_not_found"),
        ("views.open", {"trigger_id": "x", "view": "x"}, "invalid_arguments"),
        ("views.publish", {"user_id": "U0NOBODY", "view": {"type": "home", "blocks": []}}, "invalid_arguments"),
    ]:
        assert await world.refusal(world.client.api_call(method, json=args)) == code, (method, args)

"""The demo page in a browser: what people see, tap and type, by mouse and by keyboard, wide, narrow and dark."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, async_playwright, expect
from playwright.async_api import Page as Tab
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.standins import Served, serve
from bot.standins.line import LineStandin
from bot.standins.page import page_app
from bot.standins.slack import SlackStandin

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
expect.set_options(timeout=60_000)  # only a test that fails waits so long
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
THURSDAY = 1_795_050_000_000  # 2026-11-19 10:00 in Tokyo
NASTY = '<img src=x onerror="document.title=1"> &amp; <!channel> *太字* 🙂'

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed: apt-get install chromium"),
]


class Clock:
    ms = THURSDAY

    def now_ms(self) -> int:
        self.ms += 1000
        return self.ms


@dataclass
class World:
    """The stand-ins, a page, and an app in Koe's place that answers everything with 200."""

    line: LineStandin
    slack: SlackStandin
    served: list[Served] = field(default_factory=list)
    url: str = ""
    staff: str = ""
    customer: str = ""
    digest: str = ""
    interactions: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    form: dict[str, Any] | None = None
    """What /survey opens; FORM when nothing is said."""
    busy: bool = False
    on_change: list[Callable[[], None]] = field(default_factory=list)

    def now_text(self, lang: str) -> str:
        return "11月19日（木）10:00" if lang == "ja" else "Thu 19 Nov, 10:00"

    def touch(self) -> None:
        pass

    async def purchase(self, lang: str) -> None:
        user = self.line.add_user("山田 花子" if lang == "ja" else "Olivia Hall", lang)
        await self.push(user, question("どの程度満足していますか？", ["満足", "不満"]))

    async def support_case(self, lang: str) -> None:
        await self.purchase(lang)

    async def week_passes(self) -> None:
        await self.post(self.digest, [{"type": "header", "text": plain("今週のお客さまの声")}])

    async def push(self, user: str, *messages: dict[str, Any]) -> None:
        await self._call(f"{self.served[0].url}/v2/bot/message/push", "t", {"to": user, "messages": list(messages)})

    async def post(self, channel: str, blocks: list[dict[str, Any]]) -> str:
        answer = await self._call(
            f"{self.served[1].url}/api/chat.postMessage",
            "xoxb-t",
            {"channel": channel, "text": "x", "blocks": blocks},
        )
        return str(answer["ts"])

    async def _call(self, url: str, token: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}", "X-Line-Retry-Key": str(uuid.uuid4())}
        async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as answer:
            given = await answer.json()
            assert answer.status == 200, given
            assert given.get("ok", True), given
            return given

    async def koe(self, request: Request) -> Response:
        """In Koe's place: keeps interactions, opens a form on /survey, gives the answers it was told."""
        fields = {key: value[0] for key, value in parse_qs((await request.body()).decode()).items()}
        if "command" in fields:
            body = {"trigger_id": fields["trigger_id"], "view": self.form or FORM}
            await self._call(f"{self.served[1].url}/api/views.open", "xoxb-t", body)
            return Response()
        payload = json.loads(fields["payload"])
        if payload["type"] == "block_suggestion":
            return JSONResponse({"options": [{"value": "C001", "text": plain(f"田中様（{payload['value']}01）")}]})
        self.interactions.append(payload)
        self.heard.set()
        answer = self.answers.pop(0) if payload["type"] == "view_submission" and self.answers else None
        return JSONResponse(answer) if answer else Response()


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def question(text: str, labels: list[str]) -> dict[str, Any]:
    actions = [{"type": "postback", "label": label, "data": f"pick:{label}", "displayText": label} for label in labels]
    boxes = [
        {
            "type": "box",
            "layout": "vertical",
            "action": action,
            "contents": [{"type": "text", "text": action["label"], "align": "center"}],
        }
        for action in actions
    ]
    return {
        "type": "flex",
        "altText": "アンケート",
        "contents": {
            "type": "bubble",
            "body": {
                "type": "box",
                "layout": "vertical",
                "contents": [{"type": "text", "text": text, "wrap": True}, *boxes],
            },
        },
        "quickReply": {"items": [{"type": "action", "action": action} for action in actions]},
    }


FORM: dict[str, Any] = {
    "type": "modal",
    "callback_id": "survey",
    "title": plain("アンケートを送る"),
    "submit": plain("送る"),
    "close": plain("やめる"),
    "blocks": [
        {
            "type": "input",
            "block_id": "flow",
            "label": plain("アンケート"),
            "element": {
                "type": "static_select",
                "action_id": "flow",
                "options": [{"value": "a", "text": plain("購入後")}, {"value": "b", "text": plain("問い合わせ後")}],
            },
        },
        {
            "type": "input",
            "block_id": "who",
            "label": plain("お客さま"),
            "element": {"type": "plain_text_input", "action_id": "who"},
        },
        {
            "type": "input",
            "block_id": "when",
            "label": plain("送る時刻"),
            "element": {
                "type": "radio_buttons",
                "action_id": "when",
                "options": [{"value": "now", "text": plain("今すぐ")}, {"value": "later", "text": plain("あとで")}],
            },
        },
    ],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def world() -> AsyncIterator[World]:
    clock = Clock()
    line = LineStandin(clock=clock, channel_secret="s", access_token="t", webhook_url="", rate_limits=False)
    slack = SlackStandin(clock=clock, signing_secret="s", bot_token="xoxb-t", rate_limits=False)
    world = World(line, slack)
    world.staff, world.customer = slack.add_user("高木"), slack.add_user("Emma", locale="en-US")
    world.digest = slack.add_channel("voc-digest", members=(world.staff, world.customer))
    koe = Starlette(routes=[Route("/{path:path}", world.koe, methods=["POST"])])
    page = page_app(line=line, slack=slack, story=world)
    world.served = [await serve(app) for app in (line.app, slack.app, koe, page)]
    slack.to_bot.request_url = f"{world.served[2].url}/slack/events"
    world.url = world.served[3].url
    yield world
    for served in world.served:
        await served.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_tab(chromium: Browser, world: World) -> AsyncIterator[Callable[..., Any]]:
    """Opens the page; at the end no tab may have complained (script errors, the content security policy)."""
    complaints: list[str] = []
    contexts = []

    async def open_one(path: str = "/?lang=ja", **options: Any) -> Tab:
        context = await chromium.new_context(**({"viewport": {"width": 1360, "height": 860}} | options))
        contexts.append(context)
        tab = await context.new_page()
        tab.on("console", lambda said: None if "net::ERR_" in said.text else complaints.append(said.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        await tab.goto(world.url + path)
        await expect(tab.locator("#clock")).to_contain_text("10:00")
        return tab

    yield open_one
    for context in contexts:
        await context.close()
    assert complaints == []


# ------------------------------------------------------------------------------------------------------- LINE


async def test_a_purchase_brings_a_chat_that_is_answered_by_tap_and_by_typing(
    world: World, open_tab: Callable[..., Any]
) -> None:
    tab = await open_tab()
    await tab.get_by_role("button", name="購入", exact=True).click()
    await expect(tab.locator("#chat")).to_contain_text("どの程度満足していますか？")
    await expect(tab.locator("#customer option:checked")).to_contain_text("山田 花子")

    await tab.locator("#chat").get_by_role("button", name="満足", exact=True).click()
    await expect(tab.locator(".row.mine .bubble")).to_have_text(["満足"])
    await expect(tab.locator("#quick")).to_be_hidden()

    await tab.get_by_label("メッセージを入力").fill("９点くらい")
    await tab.get_by_label("メッセージを入力").press("Enter")
    await expect(tab.locator(".row.mine .bubble")).to_have_text(["満足", "９点くらい"])
    await tab.get_by_role("button", name="スタンプを送る").click()
    await expect(tab.get_by_role("img", name="スタンプ")).to_be_visible()

    user = next(iter(world.line.users))
    assert [event["postback"]["data"] for event in world.line.to_bot.events if "postback" in event] == ["pick:満足"]
    assert [e.message.get("text") for e in world.line.chat(user)[1:3]] == ["満足", "９点くらい"]


async def test_what_people_write_is_never_markup(world: World, open_tab: Callable[..., Any]) -> None:
    user = world.line.add_user(NASTY)
    await world.line.says(user, NASTY)
    await world.push(user, question(NASTY, ["はい"]), {"type": "text", "text": NASTY})
    await world.slack.says(world.staff, world.digest, NASTY)
    rich = {"type": "rich_text_section", "elements": [{"type": "text", "text": NASTY}]}
    await world.post(world.digest, [{"type": "rich_text", "elements": [rich]}])

    tab = await open_tab()
    for place, times in (("#chat", 3), ("#messages", 2)):
        await expect(tab.locator(place).get_by_text("<img src=x")).to_have_count(times)
        assert await tab.locator(f"{place} img").count() == 0
    await expect(tab.locator("#customer option")).to_contain_text(["<img src=x"])
    assert await tab.title() == "Koe（声）デモ"


async def test_enter_that_ends_a_japanese_conversion_sends_nothing(world: World, open_tab: Callable[..., Any]) -> None:
    user = world.line.add_user("田中")
    tab = await open_tab()
    box = tab.locator("#line-text")
    await box.fill("へんかん")
    await box.evaluate(
        "node => node.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))"
    )
    await box.press("Shift+Enter")
    await box.press("Enter")
    await expect(tab.locator(".row.mine")).to_have_count(1)
    assert [entry.message["text"] for entry in world.line.chat(user)] == ["へんかん"]


async def test_flex_boxes_share_a_row_by_weight_and_keep_their_distances(
    world: World, open_tab: Callable[..., Any]
) -> None:
    def box(flex: int, **more: Any) -> dict[str, Any]:
        text = {"type": "text", "text": "x"}
        return {"type": "box", "layout": "vertical", "flex": flex, "contents": [text], **more}

    row = {"type": "box", "layout": "horizontal", "spacing": "md", "contents": [box(1), box(3), box(1, margin="none")]}
    tall = {"type": "box", "layout": "vertical", "contents": [{"type": "text", "text": "y"}], "paddingAll": "20px"}
    body = {"type": "box", "layout": "vertical", "contents": [row, {"type": "separator", "margin": "lg"}, tall]}
    user = world.line.add_user("田中")
    flex = {"type": "flex", "altText": "x", "contents": {"type": "bubble", "size": "mega", "body": body}}
    await world.push(user, flex)

    tab = await open_tab()
    first, second, third = [await _box(node) for node in await tab.locator(".fx-horizontal > *").all()]
    assert second["width"] / first["width"] == pytest.approx(3, rel=0.02)
    assert second["x"] - (first["x"] + first["width"]) == pytest.approx(8, abs=0.6)
    assert third["x"] - (second["x"] + second["width"]) == pytest.approx(0, abs=0.6)
    rule, inner = await _box(tab.locator(".fx-sep")), await _box(tab.get_by_text("y", exact=True))
    assert rule["y"] - (first["y"] + first["height"]) == pytest.approx(12, abs=0.6)
    assert inner["y"] - (rule["y"] + rule["height"]) == pytest.approx(20, abs=0.6)


async def test_twelve_weeks_of_chat_show_the_newest_two_hundred(world: World, open_tab: Callable[..., Any]) -> None:
    user = world.line.add_user("田中")
    for number in range(300):
        await world.line.says(user, f"{number}通目")
    tab = await open_tab()
    await expect(tab.locator(".row")).to_have_count(200)
    await expect(tab.get_by_text("299通目")).to_be_in_viewport()
    await world.line.says(user, "新しい一通")
    await expect(tab.get_by_text("新しい一通")).to_be_in_viewport()
    await expect(tab.locator(".row")).to_have_count(200)


async def test_a_long_bubble_is_shown_from_its_start_and_the_next_one_is_still_followed(
    world: World, open_tab: Callable[..., Any]
) -> None:
    user = world.line.add_user("田中")
    tall = question("一問目", [f"選択{number}" for number in range(13)])
    await world.push(user, {"type": "text", "text": "こんにちは"}, tall)
    tab = await open_tab(viewport={"width": 1360, "height": 600})
    await expect(tab.locator("#chat").get_by_text("一問目")).to_be_in_viewport()
    await tab.locator("#chat").get_by_role("button", name="選択0", exact=True).click()
    await expect(tab.locator(".row.mine")).to_be_in_viewport()
    await world.push(user, question("二問目", ["はい"]))
    await expect(tab.locator("#chat").get_by_text("二問目")).to_be_in_viewport()

    await tab.locator("#chat").evaluate("node => { node.scrollTop = 0; }")
    await world.push(user, {"type": "text", "text": "三つ目"})
    await expect(tab.locator("#chat").get_by_text("三つ目")).to_have_count(1)
    await expect(tab.locator("#chat").get_by_text("こんにちは")).to_be_in_viewport()


# ------------------------------------------------------------------------------------------------------ Slack


async def test_a_button_in_slack_is_pressed_by_the_chosen_person(world: World, open_tab: Callable[..., Any]) -> None:
    buttons = [{"type": "button", "action_id": f"score.{n}", "value": str(n), "text": plain(str(n))} for n in range(11)]
    await world.post(world.slack.dm_of(world.customer), [{"type": "actions", "elements": buttons}])
    tab = await open_tab()
    await tab.get_by_label("操作する人").select_option(label="Emma")
    await tab.locator("#channels").get_by_role("button", name="Koe").click()
    await tab.locator("#messages").get_by_role("button", name="9", exact=True).click()
    await world.heard.wait()
    (click,) = world.interactions
    assert (click["user"]["id"], click["actions"][0]["value"]) == (world.customer, "9")


async def test_the_home_is_opened_and_its_buttons_are_pressed(world: World, open_tab: Callable[..., Any]) -> None:
    button = {"type": "button", "action_id": "koe.home.refresh", "value": "x", "text": plain("更新")}
    header = {"type": "header", "text": plain("動作状況")}
    staff = next(user for user, person in world.slack.users.items() if not person.is_bot)
    blocks = [header, {"type": "actions", "elements": [button]}]
    world.slack.publish_view(staff, {"type": "home", "blocks": blocks})
    tab = await open_tab()
    await tab.locator("#channels").get_by_role("button", name="ホーム").click()
    await expect(tab.locator("#messages").get_by_text("動作状況")).to_be_visible()
    await expect(tab.locator("#slack-form")).to_be_hidden()
    await tab.locator("#messages").get_by_role("button", name="更新").click()
    await world.heard.wait()
    assert world.interactions[-1]["actions"][0]["action_id"] == "koe.home.refresh"


async def test_the_survey_form_is_filled_in_by_keyboard_and_shows_its_errors(
    world: World, open_tab: Callable[..., Any]
) -> None:
    world.answers = [{"response_action": "errors", "errors": {"who": "このお客さまは見つかりません。"}}]
    tab = await open_tab()
    await tab.locator("#slack-text").fill("/survey")
    await tab.locator("#slack-text").press("Enter")
    form = tab.get_by_role("dialog", name="アンケートを送る")
    await expect(form.get_by_label("アンケート")).to_be_focused()
    assert await tab.locator("#workspace").evaluate("node => node.inert") is True

    await form.get_by_role("button", name="送る").press("Enter")
    await expect(form.get_by_text("入力してください。")).to_have_count(3)
    await expect(form.get_by_label("アンケート")).to_be_focused()
    assert world.interactions == []

    await tab.keyboard.press("ArrowDown")
    await tab.keyboard.press("Tab")
    await tab.keyboard.type("C999")
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Space")
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Enter")
    await expect(form.get_by_text("このお客さまは見つかりません。")).to_be_visible()
    await expect(form.get_by_label("お客さま")).to_have_value("C999")
    await expect(form.get_by_label("お客さま")).to_be_focused()
    await tab.reload()
    await expect(form.get_by_text("このお客さまは見つかりません。")).to_be_visible()
    await expect(form.get_by_label("お客さま")).to_have_value("C999")

    await form.get_by_label("お客さま").fill("C001")
    await form.get_by_role("button", name="送る").click()
    await expect(form).to_be_hidden()
    await expect(tab.locator("#slack-text")).to_be_focused()
    values = world.interactions[-1]["view"]["state"]["values"]
    assert values["flow"]["flow"]["selected_option"]["value"] == "a"
    assert values["who"]["who"]["value"] == "C001"
    assert values["when"]["when"]["selected_option"]["value"] == "now"

    await tab.get_by_role("button", name="/survey").click()
    await expect(form).to_be_visible()
    await tab.keyboard.press("Escape")
    await expect(form).to_be_hidden()


async def test_a_customer_is_searched_and_a_file_is_dropped(
    world: World, open_tab: Callable[..., Any], tmp_path: Path
) -> None:
    search = {"type": "external_select", "action_id": "who", "min_query_length": 1}
    dropped = {"type": "file_input", "action_id": "list", "filetypes": ["csv"], "max_files": 1}
    fields = [
        {"type": "input", "block_id": "who", "label": plain("お客さま"), "element": search, "dispatch_action": True},
        {"type": "input", "block_id": "list", "label": plain("一覧"), "element": dropped},
    ]
    world.form = FORM | {"blocks": fields}
    tab = await open_tab()
    await tab.locator("#slack-text").fill("/survey")
    await tab.locator("#slack-text").press("Enter")
    form = tab.get_by_role("dialog", name="アンケートを送る")
    await form.get_by_label("お客さま").press_sequentially("C0")
    await form.get_by_role("button", name="田中様（C001）").click()
    await world.heard.wait()
    assert world.interactions[-1]["actions"][0]["selected_option"]["value"] == "C001", "choosing tells the app at once"

    # the app answers with a new view: what was chosen stays
    view = world.slack.modal(world.staff) or {}
    note = {"type": "section", "text": plain("送れます。")}
    shown = {**world.form, "blocks": [fields[0], note, fields[1]]}
    await world._call(f"{world.served[1].url}/api/views.update", "xoxb-t", {"view_id": view["id"], "view": shown})
    await expect(form.get_by_text("送れます。")).to_be_visible()
    await expect(form.get_by_label("お客さま")).to_have_value("田中様（C001）")

    (tmp_path / "list.csv").write_bytes(b"C001")
    async with tab.expect_response(lambda answer: answer.url.endswith("/act")):
        await form.get_by_label("一覧").set_input_files(tmp_path / "list.csv")
    await form.get_by_role("button", name="送る").click()
    await expect(form).to_be_hidden()
    values = world.interactions[-1]["view"]["state"]["values"]
    assert values["who"]["who"]["selected_option"]["value"] == "C001"
    assert values["list"]["list"]["files"][0]["name"] == "list.csv"


@pytest.mark.parametrize(
    ("lang", "label"), [("ja", "このメッセージの操作（高木、"), ("en", "Actions for this message (高木, ")]
)
async def test_a_shortcut_is_used_on_a_message_with_the_keyboard(
    world: World, open_tab: Callable[..., Any], lang: str, label: str
) -> None:
    world.slack.shortcuts = [
        {"name": "アンケートを送る", "type": "global", "callback_id": "start"},
        {"name": NASTY, "type": "message", "callback_id": "other"},
        {"name": "この件でアンケートを送る", "type": "message", "callback_id": "about"},
    ]
    older = await world.slack.says(world.staff, world.digest, "箱がつぶれていたそうです")
    await world.slack.says(world.customer, world.digest, "Thank you")
    tab = await open_tab(f"/?lang={lang}")
    await tab.locator("#messages").focus()
    await tab.keyboard.press("Tab")
    assert await tab.evaluate("() => document.activeElement.className") == "more"
    assert await _outline(tab) != "none"
    await tab.keyboard.press("ArrowUp")  # from the newest message to the one before it
    button = tab.get_by_role("button", name=label)
    await expect(button).to_be_focused()
    await expect(button).to_have_css("opacity", "1")
    await tab.keyboard.press("Enter")
    entries = tab.get_by_role("menuitem")
    await expect(entries).to_have_text([NASTY, "この件でアンケートを送る"])
    await tab.keyboard.press("Escape")
    await expect(entries).to_have_count(0)
    await expect(button).to_be_focused()

    await tab.keyboard.press("Enter")
    await tab.keyboard.press("ArrowDown")
    await tab.keyboard.press("Enter")
    await world.heard.wait()
    (used,) = world.interactions
    assert (used["type"], used["callback_id"], used["user"]["id"]) == ("message_action", "about", world.staff)
    assert (used["channel"]["id"], used["message_ts"]) == (world.digest, older.ts)
    assert used["message"]["text"] == "箱がつぶれていたそうです"
    await expect(button).to_be_focused()


async def test_a_shortcut_is_used_by_touch_and_not_on_what_one_person_alone_is_told(
    world: World, open_tab: Callable[..., Any]
) -> None:
    world.slack.shortcuts = [{"name": "この件でアンケートを送る", "type": "message", "callback_id": "about"}]
    await world.slack.says(world.staff, world.digest, "箱がつぶれていたそうです")
    told = {"channel": world.digest, "user": world.staff, "text": "できません。"}
    await world._call(f"{world.served[1].url}/api/chat.postEphemeral", "xoxb-t", told)
    tab = await open_tab(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    await tab.locator(".views [data-view=slack]").click()
    await expect(tab.get_by_text("できません。")).to_be_visible()
    (button,) = await tab.locator(".more").all()  # a touch screen shows it without hovering
    await expect(button).to_have_css("opacity", "1")
    await button.tap()
    entry = tab.get_by_role("menuitem", name="この件でアンケートを送る")
    box = await _box(entry)
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    await entry.tap()
    await world.heard.wait()
    assert world.interactions[-1]["callback_id"] == "about"
    await button.tap()
    await expect(entry).to_be_visible()
    await tab.locator("#slack-text").tap()
    await expect(entry).to_be_hidden()


async def test_a_week_shows_the_channel_that_got_the_digest(world: World, open_tab: Callable[..., Any]) -> None:
    await world.post(world.slack.dm_of(world.staff), [{"type": "section", "text": plain("こんにちは")}])
    tab = await open_tab()
    await tab.locator("#channels").get_by_role("button", name="Koe").click()
    await expect(tab.locator("#room-name")).to_have_text("Koe")
    await tab.get_by_role("button", name="1週間すすめる").click()
    await expect(tab.locator("#room-name")).to_have_text("#voc-digest")
    await expect(tab.get_by_text("今週のお客さまの声")).to_be_visible()


@pytest.mark.parametrize(("lang", "week", "shown"), [("ja", "1週間すすめる", ""), ("en", "A week passes", "-en")])
async def test_a_week_shows_the_digest_in_the_language_of_the_page(
    world: World, open_tab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, lang: str, week: str, shown: str
) -> None:
    english = world.slack.add_channel("voc-digest-en", members=(world.staff,))

    async def both() -> None:
        for channel, words in ((world.digest, "今週のお客さまの声"), (english, "What customers said")):
            await world.post(channel, [{"type": "header", "text": plain(words)}])

    monkeypatch.setattr(world, "week_passes", both)
    tab = await open_tab(f"/?lang={lang}")
    await tab.locator('[data-channel="HOME"]').click()
    await tab.get_by_role("button", name=week).click()
    await expect(tab.locator("#room-name")).to_have_text(f"#voc-digest{shown}")


async def test_a_message_that_changes_keeps_its_place_and_the_focus(world: World, open_tab: Callable[..., Any]) -> None:
    dm = world.slack.dm_of(world.staff)
    skip = {"type": "button", "action_id": "skip", "text": plain("スキップ")}
    ts = await world.post(dm, [{"type": "actions", "elements": [skip]}])
    await world.post(dm, [{"type": "section", "text": plain("次の話")}])
    tab = await open_tab()
    await tab.locator("#channels").get_by_role("button", name="Koe").click()
    await tab.get_by_role("button", name="スキップ").focus()
    change = {"type": "button", "action_id": "change", "text": plain("変更")}
    blocks = [{"type": "section", "text": plain("9点")}, {"type": "actions", "elements": [change]}]
    body = {"channel": dm, "ts": ts, "text": "x", "blocks": blocks}
    await world._call(f"{world.served[1].url}/api/chat.update", "xoxb-t", body)
    await expect(tab.get_by_role("button", name="変更")).to_be_focused()
    await expect(tab.locator(".post")).to_contain_text(["9点", "次の話"])


# --------------------------------------------------------------------------------------- keyboard, size, light


async def test_a_survey_can_be_answered_with_the_keyboard_alone(world: World, open_tab: Callable[..., Any]) -> None:
    tab = await open_tab()
    await _tab_to(tab, "purchase")
    assert await _outline(tab) != "none"
    await tab.keyboard.press("Enter")
    await expect(tab.locator(".chip")).to_have_count(2)
    for _ in range(40):
        await tab.keyboard.press("Tab")
        if await tab.evaluate("() => document.activeElement.classList.contains('fx-tap')"):
            break
    assert await _outline(tab) != "none"
    await tab.keyboard.press("Space")
    await expect(tab.locator(".row.mine .bubble")).to_have_text(["満足"])


async def test_a_tapped_chip_hands_the_focus_on(world: World, open_tab: Callable[..., Any]) -> None:
    user = world.line.add_user("田中")
    await world.push(user, question("一問目", ["はい", "いいえ"]))
    tab = await open_tab()
    await tab.locator(".chip").first.focus()
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_label("メッセージを入力")).to_be_focused()


async def test_new_messages_are_announced_and_an_opened_chat_is_not(world: World, open_tab: Callable[..., Any]) -> None:
    world.line.add_user("田中")
    tab = await open_tab()
    chat = tab.locator("#chat")
    assert await chat.get_attribute("role") == "log"
    assert await chat.get_attribute("aria-live") == "polite"
    await expect(chat).to_have_attribute("aria-busy", "false")


async def test_every_control_has_a_name(world: World, open_tab: Callable[..., Any]) -> None:
    await world.purchase("ja")
    for lang in ("ja", "en"):
        tab = await open_tab(f"/?lang={lang}")
        await expect(tab.locator(".chip")).to_have_count(2)
        nameless = await tab.evaluate(
            """() => [...document.querySelectorAll("button, a, input, select, textarea")].filter((node) =>
                 node.checkVisibility() && !(node.getAttribute("aria-label") || node.textContent.trim()
                 || node.labels?.length)).map((node) => node.id || node.className)"""
        )
        assert nameless == []


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_phone_and_a_desk_without_scrolling_sideways(
    world: World, open_tab: Callable[..., Any], lang: str, scheme: str
) -> None:
    await world.purchase(lang)
    await world.week_passes()
    for width, height in ((390, 844), (1360, 860)):
        tab = await open_tab(f"/?lang={lang}", viewport={"width": width, "height": height}, color_scheme=scheme)
        await expect(tab.locator(".chip")).to_have_count(2)
        for view in ("line", "slack"):
            if width == 390:
                await tab.locator(f".views [data-view={view}]").click()
            wide = await tab.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
            assert wide[0] <= wide[1], (width, view)
            box = await _box(tab.locator(".phone" if view == "line" else ".window"))
            assert box["y"] + box["height"] <= height, (width, view)
        shade = await tab.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(shade[:3]) < 200) is (scheme == "dark")


async def test_the_language_of_the_page_leaves_the_chats_alone(world: World, open_tab: Callable[..., Any]) -> None:
    await world.purchase("ja")
    tab = await open_tab()
    await tab.get_by_role("link", name="English").click()
    await expect(tab.get_by_role("button", name="A week passes")).to_be_visible()
    await expect(tab.locator("#chat")).to_have_attribute("lang", "ja")
    await expect(tab.locator("#chat")).to_contain_text("どの程度満足していますか？")
    await tab.get_by_role("button", name="Purchase").click()
    await expect(tab.locator("#chat")).to_have_attribute("lang", "en")


async def test_the_page_catches_up_after_a_broken_connection(world: World, open_tab: Callable[..., Any]) -> None:
    user = world.line.add_user("田中")
    tab = await open_tab()
    await tab.context.set_offline(True)
    await world.served[3].close()
    await world.line.says(user, "その間の一通")
    page = page_app(line=world.line, slack=world.slack, story=world)
    world.served[3] = await serve(page, int(world.url.rsplit(":", 1)[1]))
    await tab.context.set_offline(False)
    await expect(tab.get_by_text("その間の一通")).to_be_visible(timeout=10_000)


# ------------------------------------------------------------------------------------------------- small things


async def _box(node: Locator) -> dict[str, float]:
    box = await node.bounding_box()
    assert box is not None
    return {name: box[name] for name in ("x", "y", "width", "height")}  # type: ignore[literal-required]


async def _tab_to(tab: Tab, story: str) -> None:
    for _ in range(20):
        await tab.keyboard.press("Tab")
        if await tab.evaluate("() => document.activeElement.dataset.story") == story:
            return
    raise AssertionError(f"the keyboard never reaches {story}")


async def _outline(tab: Tab) -> str:
    return str(await tab.evaluate("() => getComputedStyle(document.activeElement).outlineStyle"))

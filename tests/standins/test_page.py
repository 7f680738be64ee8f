"""The demo page's server: what it shows of the stand-ins, what it passes on, and whom it refuses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.standins import page as page_module
from bot.standins import serve
from bot.standins.line import LineStandin
from bot.standins.page import page_app
from bot.standins.slack import SlackStandin

FILES = Path(page_module.__file__).parent / "page"
THURSDAY = 1_795_050_000_000  # 2026-11-19 10:00 in Tokyo


class Clock:
    ms = THURSDAY

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Story:
    """A world in which a purchase brings a customer, and nothing else happens."""

    line: LineStandin
    busy: bool = False
    weeks: int = 0
    touched: int = 0
    on_change: list[Callable[[], None]] = field(default_factory=list)

    def now_text(self, lang: str) -> str:
        return "11月19日（木）10:00" if lang == "ja" else "Thu 19 Nov, 10:00"

    def touch(self) -> None:
        self.touched += 1

    async def purchase(self, lang: str) -> None:
        self.line.add_user("山田 花子" if lang == "ja" else "Olivia Hall", lang)

    async def support_case(self, lang: str) -> None:
        await self.purchase(lang)

    async def week_passes(self) -> None:
        self.weeks += 1


@dataclass
class Page:
    url: str
    http: aiohttp.ClientSession
    line: LineStandin
    slack: SlackStandin
    story: Story
    stop: Callable[[], None]
    staff: str
    manager: str
    digest: str
    alerts: str

    async def state(self, **query: str) -> dict[str, Any]:
        async with self.http.get(f"{self.url}/state", params=query) as answer:
            assert answer.status == 200
            state: dict[str, Any] = await answer.json()
            return state

    async def act(self, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        headers = {"Origin": self.url, "Content-Type": "application/json"} | headers
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.post(f"{self.url}/act", data=data, headers=headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    clock = Clock()
    line = LineStandin(clock=clock, channel_secret="s", access_token="t", webhook_url="")
    slack = SlackStandin(clock=clock, signing_secret="s", bot_token="xoxb-t", app_token="xapp-t", request_url="")
    staff, manager = slack.add_user("高木"), slack.add_user("店長")
    digest = slack.add_channel("voc-digest", members=(staff, manager))
    alerts = slack.add_channel("voc-alerts", private=True, members=(staff,))
    story = Story(line)
    app = page_app(line=line, slack=slack, story=story)
    served = await serve(app)
    async with aiohttp.ClientSession() as http:
        yield Page(served.url, http, line, slack, story, app.state.stop, staff, manager, digest, alerts)
    await served.close()


# ---------------------------------------------------------------------------------------------- who may come in


async def test_a_host_that_is_not_this_machine_is_refused(page: Page) -> None:
    for host in ("koe.example", "127.0.0.1.evil.example", "evil.example:80", "10.0.0.1", "", "[::1"):
        for path in ("/", "/state", "/static/main.js", "/nowhere"):
            async with page.http.get(page.url + path, headers={"Host": host}) as answer:
                assert answer.status == 421, (host, path)
                assert (await answer.json())["error"] == "other_host"


async def test_every_loopback_name_is_let_in(page: Page) -> None:
    for host in ("localhost", "localhost:9", "127.0.0.1", "[::1]:8765"):
        async with page.http.get(f"{page.url}/state", headers={"Host": host}) as answer:
            assert answer.status == 200, host


async def test_another_site_cannot_act(page: Page) -> None:
    for headers, status in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ):
        assert (await page.act({"do": "story", "what": "purchase"}, **headers))[0] == status
    assert not page.line.users


async def test_what_is_not_an_action_is_a_bad_request(page: Page) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b'{"do":"shell","cmd":"ls"}',
        b'{"do":"line.says"}',
        b'{"do":"line.says","user":1,"text":"a"}',
        b'{"do":"line.says","user":"U","text":"a","extra":1}',
        b'{"do":"story","what":"everything"}',
        b"\xff\xfe",
    ):
        status, answer = await page.act(body)
        assert (status, answer["error"]) == (400, "bad_action"), body


async def test_a_huge_body_is_refused(page: Page) -> None:
    body = {"do": "line.says", "user": "U", "text": "あ" * 100_000}
    assert (await page.act(body))[0] == 413


async def test_what_is_gone_cannot_be_used(page: Page) -> None:
    click = {"do": "slack.clicks", "user": page.staff, "channel": page.digest, "ts": "1.1", "action_id": "x"}
    for body in (
        {"do": "line.says", "user": "Unobody", "text": "a"},
        {"do": "line.taps", "user": "Unobody", "data": "d"},
        {"do": "line.sticker", "user": "Unobody"},
        {"do": "slack.says", "user": page.staff, "channel": "Cnowhere", "text": "a"},
        {"do": "slack.says", "user": page.manager, "channel": page.alerts, "text": "a"},
        {"do": "slack.closes", "user": page.staff},
        {"do": "slack.submits", "user": page.staff, "values": {}},
        {"do": "slack.picks", "user": page.staff, "action_id": "x"},
        {"do": "slack.types", "user": page.staff, "action_id": "customer", "text": "C001"},
        {"do": "slack.shortcut", "user": page.staff, "channel": page.alerts, "ts": click["ts"], "callback_id": "none"},
        {"do": "slack.adds_file", "user": "Unobody", "name": "a.csv", "content": "QQ=="},
        click,
    ):
        status, answer = await page.act(body)
        assert (status, answer["error"]) == (409, "not_possible"), body


async def test_a_file_is_dropped_before_its_window_is_sent(page: Page) -> None:
    dropped = {"do": "slack.adds_file", "user": page.staff, "name": "list.csv", "content": "QzAwMQ=="}
    status, answer = await page.act(dropped)
    assert status == 200
    assert page.slack.file_content(answer["file"]) == b"C001"


async def test_every_answer_carries_the_security_headers(page: Page) -> None:
    for path in ("/", "/state", "/static/page.css", "/static/main.js", "/nowhere"):
        async with page.http.get(page.url + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy, path
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_files_outside_the_page_are_not_served(page: Page) -> None:
    for path in ("/static/../page.py", "/static/..%2fwords.json", "/static/%2e%2e/%2e%2e/line.py"):
        async with page.http.get(page.url + path) as answer:
            assert answer.status == 404


# ------------------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize(
    ("query", "lang", "word"), [("", "ja", "購入"), ("?lang=en", "en", "Purchase"), ("?lang=fr", "ja", "購入")]
)
async def test_the_shell_speaks_the_language_asked_for(page: Page, query: str, lang: str, word: str) -> None:
    async with page.http.get(f"{page.url}/{query}") as answer:
        html = await answer.text()
    assert f'<html lang="{lang}">' in html
    assert word in html


async def test_the_shell_has_no_inline_script_or_style_and_no_foreign_address(page: Page) -> None:
    async with page.http.get(page.url) as answer:
        html = await answer.text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", html) == [""]
    assert not re.search(r"(src|href)=\"(https?:)?//", html)


async def test_the_newest_customer_is_shown_first_and_the_chosen_one_is_kept(page: Page) -> None:
    first = page.line.add_user("田中", "ja")
    await page.line.says(first, "こんにちは")
    second = page.line.add_user("Olivia", "en")
    page.line.clock.ms += 60_000  # type: ignore[attr-defined]
    await page.line.says(second, "<b>hello</b>")

    state = (await page.state())["line"]
    assert state["chosen"] == second
    assert [person["name"] for person in state["people"]] == ["Olivia", "田中"]
    assert [entry["message"]["text"] for entry in state["chat"]] == ["<b>hello</b>"]
    kept = (await page.state(line=first))["line"]
    assert (kept["chosen"], kept["chat"][0]["message"]["text"]) == (first, "こんにちは")


async def test_a_long_history_stays_on_the_server(page: Page) -> None:
    many = [page.line.add_user(f"客{number}") for number in range(100)]
    for number in range(250):
        await page.line.says(many[0], str(number))
    page.line.clock.ms += 1  # type: ignore[attr-defined]
    for user in many[1:]:
        await page.line.says(user, "x")

    state = (await page.state(line=many[0]))["line"]
    assert [entry["message"]["text"] for entry in state["chat"]] == [str(n) for n in range(50, 250)]
    assert (state["total"], len(state["people"])) == (100, 61)
    assert many[0] in {person["id"] for person in state["people"]}


async def test_slack_shows_each_person_only_their_own_channels(page: Page) -> None:
    staff = (await page.state(me=page.staff))["slack"]
    manager = (await page.state(me=page.manager, channel=page.alerts))["slack"]
    assert [row["name"] for row in staff["channels"] if not row["im"]] == ["voc-digest", "voc-alerts"]
    assert [row["name"] for row in manager["channels"] if not row["im"]] == ["voc-digest"]
    assert manager["channel"] == page.digest
    assert staff["persons"] == [{"id": page.staff, "name": "高木"}, {"id": page.manager, "name": "店長"}]


async def test_the_home_stands_among_the_direct_messages(page: Page) -> None:
    view = {"type": "home", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "動作状況"}}]}
    page.slack.publish_view(page.staff, view)
    state = (await page.state(me=page.staff, channel="HOME"))["slack"]
    assert state["channels"][-1] == {"id": "HOME", "name": "ホーム", "im": True, "private": True, "latest": ""}
    (shown,) = state["messages"]
    assert "動作状況" in str(shown["blocks"])
    assert (await page.state(me=page.manager, channel="HOME"))["slack"]["messages"] == []
    status, _ = await page.act({"do": "slack.home", "user": "U0NOBODY"})
    assert status == 409


async def test_words_in_a_channel_arrive_in_the_state(page: Page) -> None:
    status, _ = await page.act(
        {"do": "slack.says", "user": page.staff, "channel": page.digest, "text": "<!channel> a & b"}
    )
    assert status == 200
    messages = (await page.state(me=page.staff, channel=page.digest))["slack"]["messages"]
    assert [message["user"] for message in messages] == [page.staff]


# --------------------------------------------------------------------------------------------- what happens


async def test_a_purchase_answers_with_the_customer_it_brought(page: Page) -> None:
    status, answer = await page.act({"do": "story", "what": "purchase", "lang": "en"})
    assert status == 200
    assert page.line.users[answer["line"]].name == "Olivia Hall"
    status, answer = await page.act({"do": "story", "what": "week_passes", "lang": "en"})
    assert (status, answer["line"], page.story.weeks) == (200, "", 1)


async def test_only_one_thing_happens_at_a_time(page: Page) -> None:
    page.story.busy = True
    status, answer = await page.act({"do": "story", "what": "week_passes"})
    assert (status, answer["error"], page.story.weeks) == (409, "busy", 0)
    assert (await page.state())["busy"] is True


async def test_what_a_customer_does_is_passed_on_and_the_story_is_told(page: Page) -> None:
    user = page.line.add_user("田中")
    for body in (
        {"do": "line.says", "text": "９点"},
        {"do": "line.taps", "data": "k1:::", "display_text": "満足"},
        {"do": "line.sticker"},
        {"do": "line.photo"},
    ):
        assert (await page.act(body | {"user": user}))[0] == 200
    kinds = [(entry.message["type"], entry.message.get("text")) for entry in page.line.chat(user)]
    assert kinds == [("text", "９点"), ("text", "満足"), ("sticker", None), ("image", None)]
    assert page.story.touched == 4


async def test_the_stream_says_that_something_changed_once_for_many_changes(page: Page) -> None:
    async with page.http.get(f"{page.url}/changes") as stream:
        first = await _event(stream)
        for _ in range(50):
            for tell in page.line.on_change:
                tell()
        second = await _event(stream)
        assert second == first + 50
        page.stop()
        rest = await asyncio.wait_for(stream.content.read(), 5)
        assert rest.count(b"event: change") <= 1


async def _event(stream: aiohttp.ClientResponse) -> int:
    async for line in stream.content:
        if line.startswith(b"data: "):
            return int(line.removeprefix(b"data: "))
    raise AssertionError("the stream ended")


# ------------------------------------------------------------------------------------------------------ files


def test_both_languages_have_the_same_words_and_none_is_empty() -> None:
    words = json.loads((FILES / "words.json").read_text("utf-8"))
    assert words["ja"].keys() == words["en"].keys()
    for lang in ("ja", "en"):
        for key, text in words[lang].items():
            assert text.strip(), key
            assert not re.search("[！!…]" if lang == "ja" else "!", text.rstrip("…")), key
        places = {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in words[lang].items()}
        assert places == {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in words["ja"].items()}


def test_every_word_the_modules_use_exists_and_every_word_is_used() -> None:
    words = set(json.loads((FILES / "words.json").read_text("utf-8"))["ja"])
    sources = [FILES / "index.html", *(FILES / "static").glob("*.js")]
    used = {
        word
        for path in sources
        for word in re.findall(r"(?:\bwords|own\(state\.lang\))\.(\w+)", path.read_text("utf-8"))
    }
    assert used == words


def test_the_modules_never_turn_text_into_markup_or_code() -> None:
    for path in (FILES / "static").glob("*.js"):
        source = path.read_text("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", source
        ), path.name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)[\w.]+", source), path.name


async def test_a_picture_that_was_uploaded_to_slack_is_served_as_one_and_no_other_file_is(page: Page) -> None:
    png = b"\x89PNG\r\n\x1a\n<script>1</script>"
    file_id = str(page.slack.api._new_file({"filename": "trend.png", "length": len(png)})["file_id"])
    page.slack.files[file_id]["content"] = png
    async with page.http.get(f"{page.url}/files/{file_id}") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert await answer.read() == png
    async with page.http.get(f"{page.url}/files/F0NOBODY") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"] == "no_file"

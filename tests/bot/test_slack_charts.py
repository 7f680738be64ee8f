"""A message with a chart: Slack's own where the workspace takes it, a picture where not, words in any case."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from bot.channel import Delivery, Sent
from bot.slack.channel import SlackChannel, SlackError
from bot.standins import Served, serve
from bot.standins.slack import SlackStandin
from bot.standins.web_api import EVERY_SCOPE
from flows.builtin import builtin_library

PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 50
JOB = "0197a3c2-3333-7000-8000-000000000003"
NATIVE = {
    "type": "data_visualization",
    "title": "NPS",
    "chart": {
        "type": "line",
        "axis_config": {"categories": ["11/9", "11/16"]},
        "series": [{"name": "NPS", "data": [{"label": "11/9", "value": 1.0}, {"label": "11/16", "value": 2.0}]}],
    },
}


class Clock:
    ms = 1_795_050_000_000

    def now_ms(self) -> int:
        self.ms += 1000
        return self.ms


@dataclass
class Room:
    slack: SlackStandin
    server: Served
    channel: SlackChannel
    place: str

    async def send(
        self, *, attempt: int = 1, native: dict[str, Any] | None = NATIVE, alt: str = "NPS week by week"
    ) -> Delivery:
        words = {"type": "section", "text": {"type": "plain_text", "text": "headline"}}
        payload = {
            "method": "chat.postMessage",
            "args": {"channel": self.place, "text": "headline", "blocks": [words, {"type": "divider"}]},
            "chart": {"png": base64.b64encode(PNG).decode(), "alt": alt, "block": native, "at": 1},
        }
        return await self.channel.send(payload, job_id=JOB, attempt=attempt, now_ms=self.slack.clock.now_ms())

    def kinds(self) -> list[list[str]]:
        return [[block["type"] for block in message.blocks] for message in self.slack.messages(self.place)]


@pytest_asyncio.fixture
async def room() -> AsyncIterator[Room]:
    slack = SlackStandin(clock=Clock(), signing_secret="s", bot_token="xoxb-t", rate_limits=False)
    server = await serve(slack.app)
    channel = SlackChannel("xoxb-t", deck=builtin_library().deck, base_url=f"{server.url}/api/")
    yield Room(slack, server, channel, slack.add_channel("digest"))
    await channel.close()
    await server.close()


async def test_a_workspace_that_takes_charts_gets_one_of_its_own_and_no_file(room: Room) -> None:
    assert isinstance(await room.send(), Sent)
    assert room.kinds() == [["section", "data_visualization", "divider"]]


async def test_where_it_is_refused_the_same_drawing_is_uploaded_and_shown_with_its_words(room: Room) -> None:
    room.slack.takes_charts = False
    assert isinstance(await room.send(), Sent)
    assert room.kinds() == [["section", "image", "divider"]]
    (message,) = room.slack.messages(room.place)
    picture = message.blocks[1]
    assert picture["alt_text"] == "NPS week by week"
    assert room.slack.file_content(picture["slack_file"]["id"]) == PNG


async def test_a_refused_chart_is_not_offered_again(room: Room) -> None:
    room.slack.takes_charts = False
    await room.send()
    posts = sum(1 for request in room.slack.api.requests if request.path.endswith("chat.postMessage"))
    await room.send()
    again = sum(1 for request in room.slack.api.requests if request.path.endswith("chat.postMessage"))
    assert (posts, again) == (2, 3)


async def test_without_the_scope_for_files_the_words_are_posted_alone(room: Room) -> None:
    room.slack.takes_charts = False
    room.slack.scopes = EVERY_SCOPE - {"files:write"}
    assert isinstance(await room.send(), Sent)
    assert room.kinds() == [["section", "divider"]]


@pytest.mark.parametrize("fault", ["500html", "reset_before", "ratelimited:5"])
async def test_an_upload_that_fails_costs_the_picture_and_not_the_message(room: Room, fault: str) -> None:
    room.slack.takes_charts = False
    room.slack.fail_next("files.getUploadURLExternal", fault, 1)  # type: ignore[arg-type]
    assert isinstance(await room.send(), Sent)
    assert room.kinds() == [["section", "divider"]]


async def test_a_post_with_a_chart_whose_answer_was_lost_is_found_and_not_repeated(room: Room) -> None:
    room.slack.fail_next("chat.postMessage", "reset_after_accept", 1)
    assert not isinstance(await room.send(), Sent)
    assert isinstance(await room.send(attempt=2), Sent)
    assert len(room.kinds()) == 1


@pytest.mark.parametrize(
    "words", ["../../etc/passwd", 'x"\r\nX-Evil: 1\r\n\r\n', "photo\u202egnp.exe\x00", "<!channel> [a](javascript:1)"]
)
async def test_what_a_picture_tells_is_its_description_and_never_its_name_or_a_header(room: Room, words: str) -> None:
    room.slack.takes_charts = False
    assert isinstance(await room.send(native=None, alt=words), Sent)
    (file,) = room.slack.files.values()
    assert (file["name"], file["title"], file["alt_txt"]) == ("koe-trend.png", "koe-trend.png", words)
    (message,) = room.slack.messages(room.place)
    assert message.blocks[1]["alt_text"] == words
    assert "evil" not in str([dict(request.headers) for request in room.slack.api.requests]).casefold()


async def test_an_upload_address_that_is_not_slacks_is_not_used(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = room.slack.api._new_file

    def elsewhere(args: dict[str, Any]) -> dict[str, Any]:
        return {**answer(args), "upload_url": "http://169.254.169.254/latest"}

    monkeypatch.setattr(room.slack.api, "_new_file", elsewhere)
    with pytest.raises(SlackError, match="not an address of Slack's"):
        await room.channel.upload(PNG, name="x.png", alt="x")

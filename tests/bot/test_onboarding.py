"""What the platforms say is missing: each gap is one sentence that names it and says what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from bot.app import line_channel, slack_channel_of
from bot.clock import StoryClock
from bot.config import Config
from bot.line import LineChannel
from bot.loading import load
from bot.onboarding import Finding, look_at_platforms
from bot.slack.channel import SlackChannel
from bot.slack.manifest import needed_scopes
from bot.standins.line import LineStandin
from bot.standins.slack import SlackStandin
from bot.standins.wire import serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = """
brand: {ja: 声の店, en: Koe Store}
privacy_url: https://example.com/privacy
support_hours: {days: mon-fri, hours: "10:00-17:00", holidays: JP}
retention: 2y
alerts: {channel: C0ALERTS}
digests: [{id: weekly, channel: C0DIGEST}]
staff: {may_trigger: [U0STAFF, S0SUPPORT], may_read_comments: [S0SUPPORT]}
"""
ALL = frozenset(needed_scopes(channels=True, groups=True))


@dataclass
class Place:
    slack: SlackStandin
    line: LineStandin
    config: Config
    slack_channel: SlackChannel
    line_channel: LineChannel

    def set_up(self) -> None:
        """Everything as it should be."""
        self.slack.users = {self.slack.bot_user: self.slack.users[self.slack.bot_user]}
        self.slack.channels, self.slack.groups = {}, {}
        self.slack.scopes, self.slack.api.bot_token = ALL, "xoxb-1"
        self.slack.add_user("高木", id="U0STAFF")
        self.slack.add_user("支援", id="U0SUPPORT")
        self.slack.add_group("support", ["U0SUPPORT"], id="S0SUPPORT")
        self.slack.add_channel("alerts", private=True, members=("U0SUPPORT",), id="C0ALERTS")
        self.slack.add_channel("digest", members=("U0STAFF",), id="C0DIGEST")
        self.line.api.access_token, self.line.api.quota = "t" * 40, None
        self.line.to_bot.webhook_url = "https://koe.example.com/line/webhook"

    async def look(self) -> list[Finding]:
        return await look_at_platforms(self.config, slack=self.slack_channel, line=self.line_channel)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    clock = StoryClock(1_795_050_000_000)
    slack = SlackStandin(clock=clock, signing_secret="s", bot_token="xoxb-1", rate_limits=False)
    line = LineStandin(clock=clock, channel_secret="s", access_token="t" * 40, webhook_url="")
    servers = [await serve(slack.app), await serve(line.app)]
    file = tmp_path_factory.mktemp("onboarding") / "koe.yaml"
    file.write_text(SHOP, "utf-8")
    environ = {
        "KOE_CONFIG": str(file),
        "KOE_PUBLIC_URL": "https://koe.example.com",
        "SLACK_BOT_TOKEN": "xoxb-1",
        "SLACK_SIGNING_SECRETS": "sssssssssssssss1",
        "SLACK_API_BASE_URL": f"{servers[0].url}/api/",
        "LINE_CHANNEL_SECRETS": "sssssssssssssss1",
        "LINE_CHANNEL_ACCESS_TOKEN": "t" * 40,
        "LINE_API_BASE_URL": servers[1].url,
    }
    config = load(environ=environ, env_file=None)
    place = Place(slack, line, config, slack_channel_of(config), line_channel(config.settings))
    yield place
    await place.slack_channel.close()
    await place.line_channel.close()
    for server in servers:
        await server.close()


@pytest.fixture
def place(running: Place) -> Place:
    running.set_up()
    return running


async def test_a_shop_that_is_set_up_has_nothing_to_mend(place: Place) -> None:
    assert await place.look() == []


def less(*scopes: str) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        place.slack.scopes = ALL - set(scopes)

    return change


def no_channel(place: Place) -> None:
    place.slack.channels["C0ALERTS"].members.remove(place.slack.bot_user)


def not_invited(place: Place) -> None:
    place.slack.channels["C0DIGEST"].members.remove(place.slack.bot_user)


def archived(place: Place) -> None:
    place.slack.channels["C0DIGEST"].is_archived = True


def public(place: Place) -> None:
    place.slack.channels["C0ALERTS"].private = False


def read_along(place: Place) -> None:
    place.slack.channels["C0ALERTS"].members.append("U0STAFF")


def no_group(place: Place) -> None:
    place.slack.groups.clear()


def empty_group(place: Place) -> None:
    place.slack.add_group("support", [], id="S0SUPPORT")


def guest(place: Place) -> None:
    place.slack.users["U0STAFF"].is_restricted = True


def gone(place: Place) -> None:
    del place.slack.users["U0STAFF"]


def dead_token(place: Place) -> None:
    place.slack.api.bot_token = "xoxb-other"


def slack_down(place: Place) -> None:
    place.slack.fail_next("auth.test", "reset_before")


def spare(place: Place) -> None:
    place.slack.scopes = ALL | {"files:write:user"}


def line_dead(place: Place) -> None:
    place.line.api.access_token = "another"


def quota_used(place: Place) -> None:
    place.line.api.spend_quota(200 - place.line.api.usage)
    place.line.api.quota = 200


def quota_nearly(place: Place) -> None:
    place.line.api.spend_quota(190 - place.line.api.usage)
    place.line.api.quota = 200


def no_webhook(place: Place) -> None:
    place.line.to_bot.webhook_url = ""


def other_webhook(place: Place) -> None:
    place.line.to_bot.webhook_url = "https://crm.example.com/hook"


@pytest.mark.parametrize(
    ("change", "weight", "said"),
    [
        (less("groups:history"), "missing", ["groups:history", "koe slack-manifest", "install the app again"]),
        (less("usergroups:read"), "missing", ["usergroups:read"]),
        (no_channel, "missing", ["C0ALERTS (alerts)", "/invite"]),
        (not_invited, "missing", ["C0DIGEST (digest weekly)", "not in it", "/invite"]),
        (archived, "missing", ["C0DIGEST", "archived"]),
        (public, "note", ["C0ALERTS", "public", "no names"]),
        (read_along, "note", ["C0ALERTS", "U0STAFF", "staff.may_read_comments"]),
        (no_group, "missing", ["S0SUPPORT", "no_such_subteam"]),
        (empty_group, "note", ["S0SUPPORT", "empty"]),
        (guest, "note", ["U0STAFF", "guest"]),
        (gone, "missing", ["U0STAFF", "nobody in this workspace"]),
        (dead_token, "missing", ["invalid_auth", "token"]),
        (slack_down, "missing", ["could not be asked", "network"]),
        (spare, "note", ["files:write:user", "more than Koe needs"]),
        (line_dead, "missing", ["token is refused"]),
        (quota_used, "missing", ["200 of 200", "next month"]),
        (quota_nearly, "note", ["190 of 200"]),
        (no_webhook, "missing", ["https://koe.example.com/line/webhook"]),
        (other_webhook, "missing", ["https://crm.example.com/hook", "KOE_PUBLIC_URL"]),
    ],
)
async def test_each_gap_is_said_with_what_to_do(
    place: Place, change: Callable[[Place], None], weight: str, said: list[str]
) -> None:
    change(place)
    found = await place.look()
    assert any(finding.weight == weight and all(part in str(finding) for part in said) for finding in found), [
        str(finding) for finding in found
    ]
    assert [finding.weight for finding in found] == sorted((f.weight for f in found), key="missing".__ne__)


async def test_looking_changes_nothing(place: Place) -> None:
    place.slack.api.requests.clear()
    place.line.api.requests.clear()
    await place.look()
    asked = {record.path for record in place.slack.api.requests}
    assert asked <= {
        "auth.test",
        "conversations.info",
        "conversations.members",
        "usergroups.users.list",
        "users.info",
    }
    assert {record.method for record in place.line.api.requests} == {"GET"}


@pytest.mark.parametrize(
    ("known", "strange", "weight"), [(0, 20, "missing"), (4, 16, "note"), (12, 8, None), (0, 4, None), (0, 0, None)]
)
async def test_line_ids_of_another_provider_are_noticed(
    place: Place, known: int, strange: int, weight: str | None
) -> None:
    users = [place.line.add_user(f"客{number}", "ja", user_id=f"U{number:032x}") for number in range(known)]
    users += [f"U{number:032x}" for number in range(1_000, 1_000 + strange)]
    found = await look_at_platforms(place.config, slack=place.slack_channel, line=place.line_channel, line_users=users)
    assert [finding.weight for finding in found] == ([] if weight is None else [weight])
    if weight is not None:
        assert f"{strange} of the {known + strange} newest line_user_id" in found[0].sentence
        assert ("one provider" in found[0].sentence) == (weight == "missing")

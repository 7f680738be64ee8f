"""Every way in x every kind of person, as Slack delivers them: who may not is told so, audited, and nothing is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from desks import command_desk, teller_of
from slack_bolt.request.async_request import AsyncBoltRequest

from bot.clock import StoryClock
from bot.config import Staff
from bot.slack.app import SlackApp
from bot.slack.channel import SlackChannel, SlackError
from bot.staff import access
from bot.staff.access import ANYTHING_ELSE, Access, Kind, Permission
from bot.staff.asking import CustomerHit, FlowOption, NotAllowed, Started, SurveyPorts, SurveyRequest
from bot.staff.home import HomeDesk, HomeFacts
from bot.staff.people import People
from bot.staff.survey import SurveyDesk, render_survey_view
from bot.standins.slack import SlackStandin
from bot.standins.wire import serve
from flows.builtin import builtin_library
from storage.store import Store, open_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW_MS = 1_795_050_000_000
STAFF = Staff(managers=("U0BOSS",), may_trigger=("U0STAFF", "S0GROUP"), may_read_comments=("U0READER",))
MAY: dict[str, set[Permission]] = {
    "U0BOSS": {"member", "staff", "trigger", "handle_cases", "read_comments", "override", "export", "erase", "manage"},
    "U0STAFF": {"member", "staff", "trigger", "handle_cases"},
    "U0GROUP": {"member", "staff", "trigger", "handle_cases"},
    "U0READER": {"member", "staff", "read_comments"},
    "U0NOBODY": {"member"},
    "U0GUEST": set(),
    "U0BOT": set(),
    "U0CONNECT": set(),
    "U0GONE": set(),
}
WAYS: list[tuple[Kind, str]] = [
    (kind, name)
    for kind, table in access.TABLES.items()
    for name, permission in table.items()
    # what is done to a case needs one: tests/whole/test_cases.py tries every person at every button and window
    # (and tests/whole/test_bulk.py at those of a list)
    if permission != "everyone" and not name.startswith(("koe.case", "koe.bulk"))
]


class Place:
    def __init__(self) -> None:
        self.refused: list[tuple[str, str]] = []
        self.requests: list[SurveyRequest] = []
        self.slack: SlackStandin
        self.app: SlackApp
        self.store: Store
        self.count = 0

    def body(self, kind: Kind, name: str, user: str) -> dict[str, Any]:
        """What Slack would send. Of another organisation the payload says so."""
        self.count += 1
        team = "T9" if user == "U0CONNECT" else self.slack.team_id
        person = {"id": user, "team_id": team}
        common = {"team": {"id": self.slack.team_id}, "user": person, "trigger_id": self.slack.new_trigger(user)}
        state = {
            "flow": {"flow": {"selected_option": {"value": "after_purchase"}}},
            "customer": {"customer": {"selected_option": {"value": "C001"}}},
        }
        blocks = [{"type": "input", "block_id": "customer"}]
        view = {"id": f"V{self.count}", "type": "modal", "state": {"values": state}, "blocks": blocks}
        match kind:
            case "command":
                # no such week: what a digest says is tried in tests/whole/test_desk.py, computing one takes seconds
                word = {ANYTHING_ELSE: "whatever", "digest": "digest no-such-digest"}.get(name, name)
                fields = {"command": "/survey", "text": word, "user_id": user, "team_id": team}
                return {**fields, "trigger_id": common["trigger_id"]}
            case "action":
                click = {
                    "action_id": name,
                    "block_id": name,
                    "type": "button",
                    "value": "x",
                    "action_ts": f"{self.count}",
                }
                if name not in access.OPTIONS and name not in ("flow", "channel", "when"):
                    return {**common, "type": "block_actions", "actions": [click], "view": {"id": "V0", "type": "home"}}
                window = render_survey_view([FlowOption("after_purchase", "ご購入後")], lang="ja")
                opened = self.slack.push_view(user, window, fresh=True)
                return {**common, "type": "block_actions", "actions": [click], "view": opened}
            case "view":
                return {**common, "type": "view_submission", "view": {**view, "callback_id": name}}
            case "shortcut":
                return {**common, "type": "shortcut", "callback_id": name, "action_ts": f"{self.count}"}
            case "option":
                typed = {"action_id": name, "block_id": name, "value": "田"}
                return {**common, "type": "block_suggestion", "view": view, **typed}

    async def dispatch(self, body: dict[str, Any]) -> Any:
        """Through Bolt and every listener, to the end of what it does after the acknowledgement."""
        request = AsyncBoltRequest(body=body, mode="socket_mode")
        answer = await self.app._bolt.async_dispatch(request)
        others = [task for task in asyncio.all_tasks() if "AsyncioListenerRunner" in repr(task.get_coro())]
        await asyncio.gather(*others, return_exceptions=True)
        for job in await self.store.write(lambda tx: tx.claim_jobs("test", NOW_MS, NOW_MS + 60_000, limit=9)):
            if job.kind == "command":  # the others are direct messages that say no
                await self.app._commands.run(job)
        return answer


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    made, clock = Place(), StoryClock(NOW_MS)
    made.store = await open_store(f"sqlite:///{tmp_path_factory.mktemp('ways') / 'koe.db'}", now_ms=NOW_MS)
    made.slack = slack = SlackStandin(clock=clock, signing_secret="s", bot_token="xoxb-1", rate_limits=False)
    for user in MAY:
        slack.add_user(
            user,
            id=user,
            is_bot=user == "U0BOT",
            is_restricted=user == "U0GUEST",
            team_id="T9" if user == "U0CONNECT" else None,
        )
    slack.users["U0GONE"].deleted = True
    slack.add_group("group", ["U0GROUP", "U0GUEST", "U0BOT"], id="S0GROUP")
    server = await serve(slack.app)
    channel = SlackChannel("xoxb-1", deck=builtin_library().deck, base_url=f"{server.url}/api/")
    await channel.identify()

    async def note(user_id: str, team_id: str, way: str, reason: str) -> None:
        made.refused.append((user_id, way))

    async def start(request: SurveyRequest) -> Started:
        made.requests.append(request)
        return Started("line")

    async def find(words: str) -> list[CustomerHit]:
        return [CustomerHit("C001", "田中")]

    async def nothing(*_: Any) -> Any:
        return None

    async def facts() -> HomeFacts:
        return HomeFacts(clock.now_ms())

    async def stored(_: Any) -> bool:
        return True

    people = People(
        channel.call, team_id=lambda: slack.team_id, default_lang="ja", failure=SlackError, now_ms=clock.now_ms
    )
    checked = Access(people, STAFF, note_refused=note)

    async def eligibility(request: SurveyRequest) -> NotAllowed:
        return NotAllowed("min_gap")

    ports = SurveyPorts(
        flows=lambda lang: [FlowOption("after_purchase", "ご購入後")],
        channels=("line", "slack"),
        find=find,
        recognise=nothing,
        eligibility=eligibility,
        overridable=lambda reason: True,
        budget=nothing,
        budget_known=lambda: None,
        start=start,
    )
    tokyo = ZoneInfo("Asia/Tokyo")
    desk = SurveyDesk(channel.call, failure=SlackError, access=checked, ports=ports, tz=tokyo, now_ms=clock.now_ms)
    made.app = SlackApp(
        channel,
        converse=nothing,
        store=stored,
        desk=desk,
        commands=command_desk(channel, desk, checked, store=made.store, facts=facts, now_ms=NOW_MS),
        people=people,
        teller=teller_of(channel, store=made.store, now_ms=NOW_MS),
        access=checked,
        home_desk=HomeDesk(channel.call, access=checked, facts=facts, preview=nothing, tz=tokyo, failure=SlackError),
        verify=lambda headers, body: True,
        now_ms=clock.now_ms,
    )
    yield made
    await made.app.stop()
    await channel.close()
    await server.close()
    await made.store.close()


@pytest.mark.parametrize("user", MAY)
async def test_who_may_not_is_refused_and_nothing_is_done(place: Place, user: str) -> None:
    for kind, name in WAYS:
        await refused_unless_allowed(place, kind, name, user)


async def refused_unless_allowed(place: Place, kind: Kind, name: str, user: str) -> None:
    place.refused.clear()
    place.requests.clear()
    place.slack.api.requests.clear()
    place.slack.modals.clear()
    # who has a window open was asked about when it opened
    await place.app._access.may("staff", user)
    answer = await place.dispatch(place.body(kind, name, user))
    done = {record.path for record in place.slack.api.requests} - {"users.info", "usergroups.users.list"}
    allowed = access.permission_of(kind, name) in MAY[user]
    assert answer.status == 200
    if kind == "option":
        # asked again with each letter: nothing is noted, and nobody is named
        assert ("C001" in str(answer.body)) is allowed
        return
    assert place.refused == ([] if allowed else [(user, f"{kind}:{name}")])
    if allowed:
        return
    assert place.requests == []
    assert done <= {"views.open", "views.push"}, "only the window that says no"
    modal = place.slack.modal(user)
    in_window = name in ("customer", "flow", "channel", "when") and not done
    told = "koe.survey" if in_window and modal is not None else "koe.told"
    assert modal is None or modal["callback_id"] == told
    if kind == "view":
        assert "customer" in str(answer.body)
        assert "errors" in str(answer.body)

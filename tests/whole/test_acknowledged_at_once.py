"""Slack answers no call at all: every way in is acknowledged all the same, by what is stored and known here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from looked import CHANNEL, Looked, unhappy
from persons import PURCHASE_SHOP, START_MS, Person, invited

from bot.channel import JsonObject
from bot.slack.channel import SlackChannel
from bot.slack.messages import ANSWER_VIEW
from bot.staff import access, people
from bot.staff.access import ANYTHING_ELSE, window_private
from bot.staff.card import VERBS
from bot.staff.survey import COMMAND
from bot.standins.demo import World, open_world
from bot.standins.to_bot import Ack

SHOP: dict[str, object] = PURCHASE_SHOP | {
    "alerts": {"channel": CHANNEL, "grace": "5m"},
    # by user group, so that nobody may anything before that was looked into
    "staff": {"managers": ["S0LEADS"]},
}
BOSS = "U0MANAGER"
HOURS_S = 6 * 3600.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Silence:
    """A shop whose Slack has stopped answering, with two cases on the screen."""

    def __init__(self, world: World, looked: Looked, open_case: Looked, person: Person) -> None:
        self.world = world
        self.looked = looked
        self.open_case = open_case
        """One that nobody settles: what waits may be done as soon as it is known again who is on the staff."""
        self.person = person
        self.count = 0

    async def sends(self, kind: str, name: str) -> Ack:
        """What Slack sends for this way in."""
        self.count += 1
        slack, number = self.world.slack, str(self.count)
        common: JsonObject = slack._interaction(BOSS, "")
        case_id = self.looked.case_id
        match kind:
            case "command":
                channel, text = CHANNEL, "" if name == ANYTHING_ELSE else name
                return await slack.command(BOSS, channel, COMMAND if text or name != ANYTHING_ELSE else "/koe", text)
            case "event":
                return await slack.sends_event(
                    {"type": name, "user": BOSS, "channel": "D0", "tab": "home", "ts": number}
                )
            case "option":
                view = {"id": "V1", "type": "modal", "private_metadata": window_private("ja")}
                typed = {"action_id": name, "block_id": name, "value": self.person.customer_id, "view": view}
                return await self.interacts({**common, **typed, "type": "block_suggestion"})
            case "action":
                click: JsonObject = {
                    "type": "button",
                    "action_id": name,
                    "block_id": name,
                    "action_ts": number,
                    "value": case_id,
                }
                message = {"ts": "1.1", "text": "x", "blocks": []}
                view = {"id": "V1", "type": "modal", "hash": "h", "private_metadata": window_private("ja", c=case_id)}
                where: JsonObject = {"message": message, "channel": {"id": CHANNEL}}
                if name in (*access.OPTIONS, "flow", "channel", "when", "koe.case.template"):
                    where = {"view": view}
                return await self.interacts({**common, **where, "type": "block_actions", "actions": [click]})
            case "view":
                return await self.interacts(
                    {**common, "type": "view_submission", "view": {**self.window(name), "id": f"V{number}"}}
                )
            case "view_closed":
                return await self.interacts({**common, "type": kind, "view": {**self.window(name), "id": f"V{number}"}})
            case _:
                message = {"ts": "1.1", "text": f"{self.person.customer_id}さんの件", "blocks": []}
                return await self.interacts({**common, "type": kind, "callback_id": name, "message": message})

    async def interacts(self, payload: JsonObject) -> Ack:
        return await self.world.slack.to_bot.send("interactive", payload)

    def window(self, name: str) -> JsonObject:
        """A window filled in such a way that there is something to do, and much to ask for."""
        soon_s = self.world.clock.now_ms() // 1000 + 3600
        values = {
            # invited minutes ago: the window answers with why not, and whether this person may overrule that
            "flow": {"flow": {"selected_option": {"value": "after_purchase"}}},
            "customer": {"customer": {"selected_option": {"value": self.person.customer_id}}},
            "file": {"file": {"files": [{"id": "F1"}]}},
            "text.damaged": {"text.damaged": {"value": "交換します。"}},
            "to": {"to": {"selected_user": "U0STAFF"}},
            "reached": {"reached": {"selected_option": {"value": "no"}}},
            "until": {"until": {"selected_date_time": soon_s}},
            "outcome": {"outcome": {"selected_option": {"value": "exchange"}}},
            "answer": {"answer": {"value": "箱が"}},
        }
        case_id = (self.open_case if name == "koe.case.reply" else self.looked).case_id
        private = window_private("ja", c=case_id, n="店長", t="交換します。")
        if name == ANSWER_VIEW:
            private = json.dumps({"s": "0197a3c2-1111-7000-8000-000000000001", "q": "reason", "l": "ja"})
        return {
            "type": "modal",
            "callback_id": name,
            "private_metadata": private,
            "state": {"values": values},
            "blocks": [{"type": "input", "block_id": "customer"}],
        }

    def nobody_is_known(self) -> None:
        """As after a restart."""
        app = self.world.koe.slack
        assert app is not None
        app._people._people.clear()
        app._people._groups.clear()


@pytest_asyncio.fixture(
    loop_scope="module", scope="module", params=["http", pytest.param("socket", marks=pytest.mark.prove)]
)
async def silence(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Silence]:
    # whoever waits for Slack before the acknowledgement waits longer than Slack does for that
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(people, "_ASK_S", HOURS_S)
        patched.setattr(access, "_DECIDE_S", HOURS_S)
        assert SlackChannel.call.__kwdefaults__ is not None
        patched.setitem(SlackChannel.call.__kwdefaults__, "timeout_s", HOURS_S)
        world = await open_world(
            tmp_path_factory.mktemp("silence"), start_ms=START_MS, shop=SHOP, transport=request.param
        )
        world.slack.add_group("leads", [BOSS], id="S0LEADS")
        looked, open_case, person = await unhappy(world), await unhappy(world), await invited(world)
        assert world.koe.access is not None
        assert await world.koe.access.may("manage", BOSS)
        world.slack.to_bot.ack_timeout_s = 60.0  # a busy machine is no reason; who waits for Slack waits for hours
        world.slack.api.answering.clear()
        world.slack.api.requests.clear()
        yield Silence(world, looked, open_case, person)
        world.slack.api.answering.set()
        await world.close()


COMMANDS = [("command", word) for word in (*access.COMMANDS, "dry-run after-purchase", "results NPS 30d")]
ACTIONS = [
    ("action", name) for name in (*access.ACTIONS, *access.CONVERSATION, *(f"koe.case.{verb}" for verb in VERBS))
]
VIEWS = [("view", name) for name in (*access.VIEWS, ANSWER_VIEW, *(f"koe.case.{verb}" for verb in VERBS))]
OPTIONS = [("option", name) for name in access.OPTIONS]
SHORTCUTS = [("shortcut", name) for name in access.SHORTCUTS] + [("message_action", name) for name in access.SHORTCUTS]
EVENTS = [("event", name) for name in ("message", "app_home_opened", "app_mention", "team_join")]


CLICKED = [*COMMANDS, *ACTIONS, *SHORTCUTS, *EVENTS, ("view_closed", "koe.survey")]
ANSWERED = [*OPTIONS, *VIEWS]
"""What is answered in the acknowledgement itself: by what is known of the person, or that Slack is being asked."""


@pytest.mark.parametrize(
    ("kind", "name", "known"),
    [*((*way, False) for way in CLICKED), *((*way, known) for way in ANSWERED for known in (True, False))],
)
async def test_every_way_in_is_acknowledged_while_slack_answers_nothing(
    silence: Silence, kind: str, name: str, known: bool
) -> None:
    app = silence.world.koe.slack
    assert app is not None
    remembered: tuple[Any, Any] = (app._people._people.copy(), app._people._groups.copy())
    if not known:
        silence.nobody_is_known()
    ack = await silence.sends(kind, name)
    app._people._people.update(remembered[0])
    app._people._groups.update(remembered[1])
    assert ack.ok, "somebody waited for Slack before the acknowledgement"
    answered = [record.path for record in silence.world.slack.api.requests if record.status]
    assert not answered, "Slack was to answer no call"
    said = json.dumps(ack.body, ensure_ascii=False)
    if kind == "option":
        assert (silence.person.customer_id in said) is known
    elif name == "koe.survey" and kind == "view":
        assert ("それでも送る理由" in said) is known
        assert ("権限を確認しています" in said) is not known
    elif name in ("koe.bulk", "koe.case.reply") and kind == "view":
        assert ("権限を確認しています" in said) is not known
        assert ("まだ何も送りません" in said or "交換します。" in said) is known


async def test_every_way_in_was_tried() -> None:
    tried = {*COMMANDS, *ACTIONS, *VIEWS, *OPTIONS, *SHORTCUTS}
    assert {(kind, name) for kind, table in access.TABLES.items() for name in table} <= tried


async def test_what_was_acknowledged_meanwhile_is_done_once_when_slack_answers_again(silence: Silence) -> None:
    silence.world.slack.api.answering.set()
    await silence.world.advance(60_000)
    kinds = await silence.looked.kinds()
    # a click and two windows with a reply
    assert (kinds.count("claimed"), kinds.count("reply"), kinds.count("resolved")) == (1, 2, 1)

"""`/survey` in words: who may, what is wrong with a window, and why a survey may not be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest

from bot.staff import people as people_module
from bot.staff.people import People, Person, refusal_text
from bot.staff.survey import (
    CustomerHit,
    FlowOption,
    NotAllowed,
    Planned,
    Started,
    SurveyDesk,
    SurveyPorts,
    SurveyRequest,
    reason_text,
    render_survey_view,
)
from bot.standins.blocks import validate_view
from flows.triggers import REASONS

TOKYO = ZoneInfo("Asia/Tokyo")
NOW_MS = 1_795_050_000_000
STAFF = Person("U0STAFF", "ja", team_id="T1")


class CallError(Exception):
    pass


class Directory:
    """The workspace's people and groups, as the Web API tells of them."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, list[str]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.down = False

    async def __call__(
        self, method: str, args: dict[str, Any], *, timeout_s: float = 7.0, harmless: bool = False
    ) -> dict[str, Any]:
        self.calls.append((method, args))
        if self.down:
            raise CallError(method)
        if method == "users.info":
            return {"ok": True, "user": {"team_id": "T1", "locale": "ja-JP", **self.users.get(args["user"], {})}}
        if method == "usergroups.users.list":
            if args["usergroup"] not in self.groups:
                raise CallError("missing_scope")
            return {"ok": True, "users": self.groups[args["usergroup"]]}
        return {"ok": True}


def people_of(directory: Directory, now: Sequence[int] = (NOW_MS,)) -> People:
    return People(directory, team_id=lambda: "T1", default_lang="ja", failure=CallError, now_ms=lambda: now[-1])


@pytest.mark.parametrize(
    ("user", "told", "allowed", "team", "refusal"),
    [
        ("U1", {}, ["U1"], "T1", None),
        ("U1", {}, ["U1"], "", None),
        ("U1", {}, ["U2"], "T1", "unlisted"),
        ("U1", {}, [], "T1", "nobody_listed"),
        ("U1", {"is_bot": True}, ["U1"], "T1", "bot"),
        ("USLACKBOT", {}, ["USLACKBOT"], "T1", "bot"),
        ("U1", {"is_restricted": True}, ["U1"], "T1", "guest"),
        ("U1", {"is_ultra_restricted": True}, ["U1"], "T1", "guest"),
        ("U1", {"is_stranger": True}, ["U1"], "T1", "stranger"),
        ("", {}, ["U1"], "T1", "stranger"),
        ("U1", {}, None, "T1", None),
        ("U1", {"is_restricted": True}, None, "T1", "guest"),
        ("U1", {}, ["SNONE", "S1"], "T1", None),
        ("U3", {}, ["S1", "SNONE"], "T1", "groups_unreadable"),
        ("U1", {"deleted": True}, ["U1"], "T1", "stranger"),
        ("U1", {}, ["U1"], "T9", "stranger"),
        ("U1", {"team_id": "T9"}, ["U1"], "T1", "stranger"),
        ("U1", {}, ["S1"], "T1", None),
        ("U3", {}, ["S1"], "T1", "unlisted"),
        ("U1", {}, ["SNONE"], "T1", "groups_unreadable"),
        ("U1", {"is_restricted": True}, ["S1"], "T1", "guest"),
    ],
)
async def test_who_may_start_a_survey(
    user: str, told: dict[str, Any], allowed: list[str] | None, team: str, refusal: str | None
) -> None:
    directory = Directory()
    directory.users[user] = told
    directory.groups["S1"] = ["U1", "U2"]
    assert await people_of(directory).refusal(user, allowed, team_id=team) == refusal


async def test_while_slack_tells_nothing_only_those_named_one_by_one_may() -> None:
    directory = Directory()
    directory.groups["S1"] = ["U1"]
    people = people_of(directory)
    await people._members("S1")
    directory.down = True
    assert await people.refusal("U1", ["U1"]) is None
    assert await people.refusal("U1", ["S1"]) == "unknown"
    assert await people.refusal("U1", None) == "unknown"
    assert (await people.who("U1")).lang == "ja"


async def test_people_are_asked_for_once_in_a_while() -> None:
    directory, now = Directory(), [NOW_MS]
    directory.users["U1"] = {"locale": "en-GB"}
    people = people_of(directory, now)
    assert (await people.who("U1")).lang == "en"
    assert (await people.who("U1")).lang == "en"
    assert len(directory.calls) == 1
    now.append(NOW_MS + 3_600_000)
    directory.down = True
    assert (await people.who("U1")).lang == "en", "an outage forgets nobody"


@pytest.mark.parametrize("refusal", get_args(people_module.Refusal))
@pytest.mark.parametrize("lang", ["ja", "en"])
def test_every_refusal_is_a_polite_sentence(refusal: Any, lang: str) -> None:
    text = refusal_text(refusal, lang)
    assert text.endswith("。" if lang == "ja" else ".") or lang == "ja"
    assert "！" not in text
    assert "!" not in text


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("reason", [*REASONS, "unknown_flow", "unknown_customer"])
def test_every_reason_of_the_contact_cap_has_its_own_sentence(reason: str, lang: str) -> None:
    text = reason_text(NotAllowed(reason), lang, TOKYO)
    assert text != reason_text(NotAllowed("something_else"), lang, TOKYO)
    assert text.endswith("." if lang == "en" else "。")
    dated = reason_text(NotAllowed(reason, NOW_MS, 7), lang, TOKYO)
    assert ("from Thu 19 Nov" if lang == "en" else "次は11/19（木）以降") in dated
    assert "{" not in text + dated


def test_the_sentence_names_the_limit_that_the_shop_has_set() -> None:
    assert "21日" in reason_text(NotAllowed("min_gap", None, 21), "ja", TOKYO)


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("count", [0, 1, 4, 150])
def test_the_window_is_within_slacks_limits(lang: str, count: int) -> None:
    flows = [FlowOption(f"flow_{n}", "長い名前" * 40) for n in range(count)]
    view = render_survey_view(flows, lang=lang, private="{}", standing="<!channel> " * 400)
    assert validate_view(view) == []
    assert ("submit" in view) is (count > 0)


class World:
    def __init__(self) -> None:
        self.directory = Directory()
        self.outcome: Started | Planned | NotAllowed = Started("line")
        self.requests: list[SurveyRequest] = []
        self.hits = [CustomerHit("C001", "田中")]

    async def start(self, request: SurveyRequest) -> Started | Planned | NotAllowed:
        self.requests.append(request)
        return self.outcome

    async def find(self, words: str) -> list[CustomerHit]:
        return self.hits

    async def may_send(self, request: SurveyRequest) -> NotAllowed | None:
        return None

    def desk(self) -> SurveyDesk:
        ports = SurveyPorts(
            flows=lambda lang: [FlowOption("after_purchase", "ご購入後")],
            find=self.find,
            may_send=self.may_send,
            start=self.start,
        )
        return SurveyDesk(
            self.directory,
            ports=ports,
            tz=TOKYO,
            now_ms=lambda: NOW_MS,
        )


def window(user: str = "U0STAFF", **values: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "flow": {"flow": {"selected_option": {"value": "after_purchase"}}},
        "customer": {"customer": {"value": " C001 "}},
    }
    state = {"values": {**fields, **values}}
    return {"user": {"id": user, "team_id": "T1"}, "view": {"id": "V1", "state": state}}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"flow": {"flow": {"selected_option": None}}}, "flow"),
        ({"flow": None}, "flow"),
        ({"customer": {"customer": {"value": None}}}, "customer"),
        ({"customer": {"customer": {"value": "  "}}}, "customer"),
        ({"customer": {"customer": {"value": ["C001"]}}}, "customer"),
        ({"when": {"when": {"selected_date_time": NOW_MS // 1000 - 3600}}}, "when"),
        ({"when": {"when": {"selected_date_time": NOW_MS // 1000 + 121 * 86400}}}, "when"),
    ],
)
async def test_what_is_missing_or_wrong_is_said_beside_its_field(values: dict[str, Any], field: str) -> None:
    world = World()
    told = await world.desk().submitted(window(**values), STAFF)
    assert told["response_action"] == "errors"
    assert list(told["errors"]) == [field]
    assert world.requests == []


@pytest.mark.parametrize(
    "body",
    [{}, {"view": None}, {"view": {"state": {"values": []}}, "user": None}, {"user": {"id": "U0STAFF"}, "view": {}}],
)
async def test_a_shapeless_window_is_answered_with_an_error_not_an_exception(body: dict[str, Any]) -> None:
    world = World()
    assert (await world.desk().submitted(body, STAFF))["response_action"] == "errors"


async def test_a_survey_for_now_and_one_for_the_end_of_quiet_hours_are_told_apart() -> None:
    world = World()
    told = await world.desk().submitted(window(), STAFF)
    assert "田中様（C001）にLINEで「ご購入後」をお送りします。" in str(told)
    assert validate_view(told["view"]) == []
    assert world.requests[0].at_ms is None
    world.outcome = Planned(NOW_MS + 8 * 3_600_000)
    told = await world.desk().submitted(window(), STAFF)
    assert "田中様（C001）に11/19（木）18:00、「ご購入後」をお送りします。" in str(told)


async def test_several_customers_of_one_name_are_listed_not_guessed() -> None:
    world = World()
    world.hits = [CustomerHit(f"C{n:03}", "田中") for n in range(30)]
    told = await world.desk().submitted(window(customer={"customer": {"value": "田中"}}), STAFF)
    assert "C000" in told["errors"]["customer"]
    assert world.requests == []
    told = await world.desk().submitted(window(customer={"customer": {"value": "C007"}}), STAFF)
    assert world.requests[0].customer_id == "C007", "an exact id is one customer"


async def test_anything_after_the_command_brings_the_help() -> None:
    world = World()
    for text in ("help", "ヘルプ", "C001 now"):
        asked = {"user_id": "U0STAFF", "team_id": "T1", "text": text, "trigger_id": "t"}
        assert "/survey help" in await world.desk().command(asked, STAFF)

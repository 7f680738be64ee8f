"""`/survey` in words: who may, what is wrong with a window, and why a survey may not be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest

from bot.config import Staff
from bot.invitations import overridable
from bot.staff import people as people_module
from bot.staff.access import Access
from bot.staff.asking import (
    Budget,
    CustomerHit,
    Eligibility,
    FlowOption,
    NotAllowed,
    Planned,
    Started,
    SurveyPorts,
    SurveyRequest,
)
from bot.staff.people import People, Person, refusal_text
from bot.staff.reasons import reason_text
from bot.staff.survey import SurveyDesk, card_lines, render_survey_view
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
        self,
        method: str,
        args: dict[str, Any],
        *,
        timeout_s: float = 7.0,
        harmless: bool = False,
        repeatable: bool = False,
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
    told = ("from Thu 19 Nov" if lang == "en" else "11/19（木）から") in dated
    assert told is (reason not in ("open_case", "open_ticket")), "these end when somebody settles them, not on a day"
    assert "{" not in text + dated


def test_the_sentence_names_the_limit_that_the_shop_has_set() -> None:
    assert "21日" in reason_text(NotAllowed("min_gap", None, 21), "ja", TOKYO)


def eligible(refused: NotAllowed | None = None, **changes: Any) -> Eligibility:
    found = Eligibility(
        customer=CustomerHit("C001", "田中"),
        refused=refused,
        channel="line",
        last_invited_ms=NOW_MS - 40 * 86_400_000,
        invited_365d=2,
        per_year=6,
        opted_out=False,
        open_case=False,
        opens_ms=NOW_MS,
        due_ms=NOW_MS,
    )
    return replace(found, **changes)


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("count", [0, 1, 4, 150])
def test_the_window_is_within_slacks_limits(lang: str, count: int) -> None:
    flows = [FlowOption(f"flow_{n}", "長い名前" * 40) for n in range(count)]
    somebody = CustomerHit("会員" * 100, "長い名前" * 40)
    view = render_survey_view(
        flows, lang=lang, card=["<!channel> " * 400] * 9, override=True, customer=somebody, note="長い" * 600
    )
    assert validate_view(view) == []
    assert ("submit" in view) is (count > 0)


def test_the_card_says_what_the_verdict_rests_on() -> None:
    def card(found: Eligibility, lang: str = "ja", budget: Budget | str | None = None) -> list[str]:
        return card_lines(found, budget=budget, lang=lang, tz=TOKYO, now_ms=NOW_MS)

    assert card(eligible(), budget=Budget(790, 5000)) == [
        "送れます。",
        "田中様（C001）",
        "最後のご案内：10/10（土）、40日前",
        "この1年のご案内：2回（上限 6回）",
        "アンケートの停止：なし・対応中のご相談：なし",
        "時間帯：送れる時間です",
        "LINE通数：今月の残り 4,210通（このアンケートで1通）",
    ]
    refused = card(
        eligible(NotAllowed("min_gap", NOW_MS + 86_400_000, 14), opens_ms=NOW_MS + 3_600_000), "en", "unknown"
    )
    assert refused == [
        "It may not be sent (rule 5).",
        "Less than 14 days have passed since the last survey. It may be sent from Fri 20 Nov.",
        "田中 (C001)",
        "Last invited: Sat 10 Oct, 40 days ago",
        "Invitations within a year: 2 (limit 6)",
        "Stopped surveys: no · Open case: no",
        "Hours: it goes out on Thu 19 Nov 11:00",
        "LINE messages: LINE could not be asked",
    ]
    never = card(eligible(last_invited_ms=None, per_year=None, opted_out=True, open_case=True, channel="slack"))
    assert never[2:4] == ["最後のご案内：なし", "この1年のご案内：2回"]
    assert never[4] == "アンケートの停止：あり・対応中のご相談：あり"
    assert not any("LINE通数" in line for line in never), "a Slack message costs nothing in LINE"


class World:
    def __init__(self) -> None:
        self.directory = Directory()
        self.outcome: Started | Planned | NotAllowed = Started("line")
        self.standing: Eligibility | NotAllowed = eligible()
        self.requests: list[SurveyRequest] = []
        self.hits = [CustomerHit("C001", "田中")]
        self.refused: list[str] = []

    async def start(self, request: SurveyRequest) -> Started | Planned | NotAllowed:
        self.requests.append(request)
        return self.outcome

    async def find(self, words: str) -> list[CustomerHit]:
        return self.hits

    async def recognise(self, words: str) -> CustomerHit | None:
        return self.hits[0] if "C001" in words else None

    async def eligibility(self, request: SurveyRequest) -> Eligibility | NotAllowed:
        return self.standing

    async def budget(self) -> Budget:
        return Budget(0, 200)

    async def note(self, user_id: str, team_id: str, way: str, reason: str) -> None:
        self.refused.append(way)

    def desk(self) -> SurveyDesk:
        ports = SurveyPorts(
            flows=lambda lang: [FlowOption("after_purchase", "ご購入後")],
            channels=("line", "slack"),
            find=self.find,
            recognise=self.recognise,
            eligibility=self.eligibility,
            overridable=overridable,
            budget=self.budget,
            budget_known=lambda: Budget(0, 200),
            start=self.start,
        )
        staff = Staff(may_trigger=("U0STAFF", "U0BOLD"), may_override=("U0BOLD",))
        return SurveyDesk(
            self.directory,
            failure=CallError,
            access=Access(people_of(self.directory), staff, note_refused=self.note),
            ports=ports,
            tz=TOKYO,
            now_ms=lambda: NOW_MS,
        )


def window(user: str = "U0STAFF", **values: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "flow": {"flow": {"selected_option": {"value": "after_purchase"}}},
        "customer": {"customer": {"selected_option": {"value": "C001"}}},
    }
    state = {"values": {**fields, **values}}
    return {"user": {"id": user, "team_id": "T1"}, "view": {"id": "V1", "state": state}}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"flow": {"flow": {"selected_option": None}}}, "flow"),
        ({"flow": None}, "flow"),
        ({"customer": {"customer": {"selected_option": None}}}, "customer"),
        ({"customer": {"customer": {"selected_option": {"value": "C999"}}}}, "customer"),
        ({"customer": {"customer": {"selected_option": {"value": ["C001"]}}}}, "customer"),
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


async def test_an_id_longer_than_an_option_takes_finds_its_customer() -> None:
    world = World()
    long = "会員" * 60
    world.hits = [CustomerHit(long, "田中"), CustomerHit("C001", "田中")]
    (offered, _) = await world.desk().suggested({"value": "会員"}, STAFF)
    assert len(offered["value"]) == 75
    await world.desk().submitted(window(customer={"customer": {"selected_option": offered}}), STAFF)
    assert world.requests[0].customer_id == long
    world.hits = [CustomerHit(long + "1", "田中"), CustomerHit(long + "2", "田中")]
    told = await world.desk().submitted(window(customer={"customer": {"selected_option": offered}}), STAFF)
    assert "複数います" in told["errors"]["customer"], "two of one beginning are not guessed"


@pytest.mark.parametrize(("user", "offered"), [("U0STAFF", False), ("U0BOLD", True)])
async def test_only_who_may_override_is_asked_for_a_reason(user: str, offered: bool) -> None:
    world = World()
    desk, person = world.desk(), Person(user, "ja", team_id="T1")
    world.outcome = NotAllowed("min_gap", None, 14)
    world.standing = eligible(world.outcome)
    told = await desk.submitted(window(user), person)
    assert list(told["errors"]) == ["customer"], "before Slack has told of them, nobody is offered anything"
    await desk.changed(window(user), person)
    asked = str(world.directory.calls[-1][1]["view"])
    assert ("それでも送る理由" in asked) is offered
    told = await desk.submitted(window(user), person)
    blocks = [block.get("block_id") for block in told.get("view", {}).get("blocks", [])]
    assert ("override" in blocks) is offered
    assert ("errors" in told) is not offered
    with_reason = window(user, override={"override": {"value": "お客さまのご希望"}})
    world.outcome = Started("line") if offered else NotAllowed("min_gap")
    before = len(world.requests)
    told = await desk.submitted(with_reason, person)
    if offered:
        assert world.requests[-1].override_reason == "お客さまのご希望"
        assert world.requests[-1].request_id != world.requests[0].request_id, "another wish than without the reason"
    else:
        assert "staff.may_override" in told["errors"]["override"]
        assert len(world.requests) == before, "the reason never reached the cap"
        assert world.refused == ["view:koe.survey.override"]


@pytest.mark.parametrize("reason", ["opted_out", "blocked", "unreachable", "paused", "unknown_customer"])
async def test_nobody_is_offered_to_override_a_stop(reason: str) -> None:
    world = World()
    world.outcome = NotAllowed(reason)
    world.standing = eligible(world.outcome)
    told = await world.desk().submitted(window("U0BOLD"), Person("U0BOLD", "ja", team_id="T1"))
    assert list(told["errors"]) == ["customer"]


async def test_a_message_becomes_the_note_and_its_customer_is_chosen() -> None:
    world = World()
    body = {
        "user": {"id": "U0STAFF", "team_id": "T1"},
        "trigger_id": "t",
        "message": {"text": "C001 さん &lt;!channel&gt; <@U0X> 箱がつぶれていたそうです"},
    }
    await world.desk().open_about(body, STAFF)
    _, args = world.directory.calls[-1]
    assert validate_view(args["view"]) == []
    fields = {block.get("block_id"): block.get("element") for block in args["view"]["blocks"]}
    assert fields["customer"]["initial_option"]["value"] == "C001"
    assert fields["note"]["initial_value"] == "C001 さん <!channel> @… 箱がつぶれていたそうです", "words, no mention"
    assert "送れます。" in str(args["view"])

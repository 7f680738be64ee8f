"""Trigger rules and the contact cap: whom to ask, when, and why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.triggers import (
    DAY_MS,
    REASONS,
    Candidate,
    ContactRules,
    History,
    Invite,
    Skip,
    TriggerRule,
    Wait,
    choose_channel,
    decide,
    due_ms,
    event_facts,
    matches,
    next_open_ms,
    next_slot_ms,
    parse_duration,
    voids,
)

TOKYO = ZoneInfo("Asia/Tokyo")
NEW_YORK = ZoneInfo("America/New_York")
CAP = ContactRules()
TRANSACTIONAL = Candidate(survey_kind="transactional")
RELATIONAL = Candidate(survey_kind="relational")


def at(text: str, tz: ZoneInfo = TOKYO) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=tz).timestamp() * 1000)


NOON = at("2026-11-19T12:00")


def rule(**values: object) -> TriggerRule:
    return TriggerRule.model_validate({"id": "r", "on": "delivery", "flow": "after_purchase"} | values)


def decided(
    history: History,
    *,
    candidate: Candidate = TRANSACTIONAL,
    now_ms: int = NOON,
    draw: float = 0.0,
    cap: ContactRules = CAP,
) -> Invite | Wait | Skip:
    return decide(cap, candidate=candidate, history=history, now_ms=now_ms, tz=TOKYO, draw=draw)


def reason(decision: Invite | Wait | Skip) -> str:
    return "" if isinstance(decision, Invite) else decision.reason


# ------------------------------------------------------------------------------------------- the file's words


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("7d", 7 * DAY_MS),
        ("72h", 3 * DAY_MS),
        ("5m", 300_000),
        ("30s", 30_000),
        ("2w", 14 * DAY_MS),
        ("0m", 0),
    ],
)
def test_a_duration_is_a_number_and_a_unit(written: str, ms: int) -> None:
    assert parse_duration(written) == ms


@pytest.mark.parametrize("written", ["", "7", "7 d", "-7d", "7days", "1.5h", 7, None, True, "９d", "9999999d", "4000d"])
def test_anything_else_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match=r"duration|three years"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"on": None}, "exactly one"),
        ({"every": "90d"}, "exactly one"),
        ({"on": None, "every": "90d", "delay": "1d"}, "an `every` rule has none"),
        ({"at": "24:00"}, "00:00"),
        ({"at": "9:60"}, "time of day"),
        ({"at": "morning"}, "time of day"),
        ({"when": {"order.amount": {"greater": 3}}}, "unknown comparison"),
        ({"channel": []}, "at least 1"),
        ({"channel": ["line", "line"]}, "twice"),
        ({"channel": ["email"]}, "'line' or 'slack'"),
        ({"sample": 1.5}, "less than or equal to 1"),
        ({"expires": "0d"}, "longer than zero"),
        ({"expires": "2d", "remind": "72h"}, "before expires"),
        ({"delai": "7d"}, "Extra inputs"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_what_to_do(values: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        rule(**values)


def test_the_rules_of_the_documented_example_are_understood() -> None:
    after = rule(
        when={"order.amount": {"gte": 3000}, "order.channel": {"not_in": ["rakuten", "amazon"]}},
        channel=["line", "slack"],
        segment="order.store",
        delay="7d",
        at="10:00",
        sample=1.0,
        expires="7d",
        remind="72h",
        void_on=["return"],
    )
    assert (after.delay_ms, after.at_minute, after.remind_ms) == (7 * DAY_MS, 600, 3 * DAY_MS)
    quarterly = TriggerRule.model_validate({"id": "q", "every": "90d", "flow": "relational", "sample": 0.25})
    assert (quarterly.on, quarterly.every_ms) == (None, 90 * DAY_MS)


# ----------------------------------------------------------------------------------------------------- events


def test_an_event_matches_when_its_type_and_its_orders_fields_do() -> None:
    asked = rule(when={"order.amount": {"gte": 3000}, "order.channel": {"not_in": ["rakuten"]}})
    facts = event_facts("delivery", {"order": "1042"}, {"amount": 3000, "channel": "own"})
    assert matches(asked, "delivery", facts)
    assert not matches(asked, "purchase", facts)
    assert not matches(asked, "delivery", facts | {"order.amount": 2999})
    assert not matches(asked, "delivery", facts | {"order.channel": "rakuten"})
    assert not matches(asked, "delivery", {"order": "1042"})


def test_facts_carry_the_event_plain_and_by_name_and_its_order() -> None:
    facts = event_facts("delivery", {"order": "7", "to": {"country": "JP"}}, {"amount": 1, "store": {"id": "G"}})
    assert facts["order"] == facts["event.order"] == "7"
    assert (facts["to.country"], facts["event.to.country"]) == ("JP", "JP")
    assert (facts["order.amount"], facts["order.store.id"], facts["event.type"]) == (1, "G", "delivery")


def test_an_event_that_voids_is_named_in_the_rule() -> None:
    assert voids(rule(void_on="return"), "return")
    assert not voids(rule(), "return")


def test_the_first_channel_of_the_rule_that_the_customer_has_is_chosen() -> None:
    assert choose_channel(rule(channel=["slack", "line"]).channel, {"line", "slack"}) == "slack"
    assert choose_channel(rule().channel, {"slack"}) == "slack"
    assert choose_channel(rule(channel="line").channel, {"slack"}) is None


# ------------------------------------------------------------------------------------------------------- when


def test_an_invitation_is_due_at_the_slot_after_its_delay() -> None:
    week_later = rule(delay="7d", at="10:00")
    assert due_ms(week_later, at("2026-11-16T09:00"), TOKYO) == at("2026-11-23T10:00")
    assert due_ms(week_later, at("2026-11-16T10:00"), TOKYO) == at("2026-11-23T10:00")
    assert due_ms(week_later, at("2026-11-16T10:01"), TOKYO) == at("2026-11-24T10:00")
    assert due_ms(rule(delay="1h"), at("2026-11-16T09:30"), TOKYO) == at("2026-11-16T10:30")
    assert due_ms(rule(), NOON, TOKYO) == NOON


def test_days_of_delay_keep_the_hour_when_the_clocks_change() -> None:
    spring = rule(delay="7d", at="10:00")
    assert due_ms(spring, at("2026-03-05T09:30", NEW_YORK), NEW_YORK) == at("2026-03-12T10:00", NEW_YORK)
    assert due_ms(rule(delay="7d"), at("2026-10-29T09:30", NEW_YORK), NEW_YORK) == at("2026-11-05T09:30", NEW_YORK)


def test_a_slot_the_clocks_leave_out_comes_an_hour_later_and_one_shown_twice_comes_once() -> None:
    night = rule(at="02:30")
    assert due_ms(night, at("2026-03-08T01:00", NEW_YORK), NEW_YORK) == at("2026-03-08T03:30", NEW_YORK)
    twice = rule(at="01:30")
    first = at("2026-11-01T01:30", NEW_YORK)
    assert due_ms(twice, first, NEW_YORK) == first
    assert due_ms(twice, first + 1, NEW_YORK) == first + 3_600_000


def test_the_next_run_of_an_every_rule_is_later_than_now() -> None:
    every = TriggerRule.model_validate({"id": "q", "every": "90d", "flow": "relational"})
    ten = at("2026-11-19T10:00")
    assert next_slot_ms(every, ten - 1, TOKYO) == ten
    assert next_slot_ms(every, ten, TOKYO) == ten + DAY_MS
    assert next_slot_ms(every.model_copy(update={"at_minute": 540}), ten, TOKYO) == ten + DAY_MS - 3_600_000


def test_outside_the_hours_a_conversation_starts_at_the_next_opening() -> None:
    assert next_open_ms(CAP, at("2026-11-19T08:59"), TOKYO) == at("2026-11-19T09:00")
    assert next_open_ms(CAP, at("2026-11-19T09:00"), TOKYO) == at("2026-11-19T09:00")
    assert next_open_ms(CAP, at("2026-11-19T20:59:59"), TOKYO) == at("2026-11-19T20:59:59")
    assert next_open_ms(CAP, at("2026-11-19T21:00"), TOKYO) == at("2026-11-20T09:00")
    assert next_open_ms(ContactRules(hours=None), at("2026-11-19T03:00"), TOKYO) == at("2026-11-19T03:00")


ZONES = st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"}))
YEARS = st.integers(at("2005-01-01T00:00"), at("2037-01-01T00:00"))
SPANS = st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda span: span[0] < span[1])


@given(zone=ZONES, now_ms=YEARS, span=SPANS)
def test_no_zone_and_no_change_of_clocks_starts_a_conversation_in_quiet_hours(
    zone: str, now_ms: int, span: tuple[int, int]
) -> None:
    tz = ZoneInfo(zone)
    contact = ContactRules.model_construct(hours=span)
    try:
        open_ms = next_open_ms(contact, now_ms, tz)
    except AssertionError:  # hours of a few minutes that the clocks leave out never open; nothing longer does that
        assert span[1] - span[0] < 60
        raise
    local = datetime.fromtimestamp(open_ms / 1000, tz)
    assert open_ms >= now_ms
    assert span[0] <= local.hour * 60 + local.minute < span[1]
    assert next_open_ms(contact, open_ms, tz) == open_ms


@given(zone=ZONES, occurred_ms=YEARS, days=st.integers(0, 60), minute=st.integers(0, 1439))
def test_a_slot_is_never_before_the_delay_is_over_and_within_two_days_of_it(
    zone: str, occurred_ms: int, days: int, minute: int
) -> None:
    tz = ZoneInfo(zone)
    delayed = rule(delay=f"{days}d")
    slotted = delayed.model_copy(update={"at_minute": minute})
    ready_ms = due_ms(delayed, occurred_ms, tz)
    slot_ms = due_ms(slotted, occurred_ms, tz)
    assert occurred_ms <= ready_ms <= slot_ms <= ready_ms + 2 * DAY_MS + 2 * 3_600_000
    local = datetime.fromtimestamp(slot_ms / 1000, tz)
    shown = local.hour * 60 + local.minute
    if shown != minute:  # only where the clocks leave that minute out
        naive = datetime(local.year, local.month, local.day, minute // 60, minute % 60)
        offsets = {naive.replace(tzinfo=tz, fold=fold).utcoffset() for fold in (0, 1)}
        assert len(offsets) == 2


# -------------------------------------------------------------------------------------------- the contact cap

NOBODY = History()
EVERYTHING = History(
    opted_out=True,
    blocked=True,
    open_case=True,
    open_ticket=True,
    last_complaint_ms=NOON - DAY_MS,
    event_surveyed=True,
    invitations_365d=6,
    last_invitation_ms=NOON - DAY_MS,
    last_relational_ms=NOON - DAY_MS,
    next_relational_ms=NOON + DAY_MS,
    last_touchpoint_ms=NOON - DAY_MS,
)


def test_a_customer_without_history_is_asked() -> None:
    assert decided(NOBODY) == Invite()


def test_the_first_rule_that_applies_gives_the_reason_in_the_order_of_the_sheet() -> None:
    removals: list[tuple[str, dict[str, object]]] = [
        ("opted_out", {"opted_out": False}),
        ("blocked", {"blocked": False}),
        ("open_case", {"open_case": False}),
        ("open_ticket", {"open_ticket": False}),
        ("after_complaint", {"last_complaint_ms": None}),
        ("same_event", {"event_surveyed": False}),
        ("min_gap", {"last_invitation_ms": None}),
        ("per_year", {"invitations_365d": 5}),
        ("relational_gap", {"last_relational_ms": None}),
        ("relational_ahead", {"next_relational_ms": None}),
        ("touchpoint_gap", {"last_touchpoint_ms": None}),
    ]
    history = EVERYTHING
    for expected, removal in removals:
        decision = decided(history, draw=0.9, candidate=replace(TRANSACTIONAL, sample=0.5))
        assert reason(decision) == expected
        assert expected in REASONS
        history = replace(history, **removal)  # type: ignore[arg-type]
    assert reason(decided(history, draw=0.9, candidate=replace(TRANSACTIONAL, sample=0.5))) == "sampled_out"
    assert decided(history, draw=0.4, candidate=replace(TRANSACTIONAL, sample=0.5)) == Invite()


def test_quiet_hours_come_after_complaints_and_before_everything_that_is_spent() -> None:
    night = at("2026-11-19T23:00")
    spent = History(event_surveyed=True, invitations_365d=9)
    assert decided(spent, now_ms=night) == Wait(at("2026-11-20T09:00"), "quiet_hours")
    assert reason(decided(replace(spent, open_case=True), now_ms=night)) == "open_case"


def test_on_day_13_after_an_invitation_the_next_is_skipped_and_on_day_14_allowed() -> None:
    sent = at("2026-11-01T10:00:05")
    history = History(last_invitation_ms=sent, invitations_365d=1)
    assert decided(history, now_ms=at("2026-11-14T20:59")) == Skip("min_gap", at("2026-11-15T00:00"))
    assert decided(history, now_ms=at("2026-11-15T10:00")) == Invite()


def test_the_seventh_invitation_within_365_days_is_skipped() -> None:
    assert decided(History(invitations_365d=5)) == Invite()
    assert decided(History(invitations_365d=6)) == Skip("per_year")


def test_a_relational_survey_keeps_others_away_for_90_days() -> None:
    history = History(last_relational_ms=at("2026-08-21T12:00"))
    for candidate in (TRANSACTIONAL, RELATIONAL):
        assert reason(decided(history, candidate=candidate, now_ms=at("2026-11-18T12:00"))) == "relational_gap"
        assert decided(history, candidate=candidate, now_ms=at("2026-11-19T12:00")) == Invite()


def test_a_relational_survey_planned_within_14_days_wins_over_a_transactional_one() -> None:
    history = History(next_relational_ms=NOON + 14 * DAY_MS)
    assert reason(decided(history)) == "relational_ahead"
    assert decided(history, candidate=RELATIONAL) == Invite()
    assert decided(History(next_relational_ms=NOON + 14 * DAY_MS + 1)) == Invite()


def test_the_same_touchpoint_rests_for_30_days_and_other_kinds_do_not_care() -> None:
    history = History(last_touchpoint_ms=at("2026-10-21T12:00"))
    assert reason(decided(history)) == "touchpoint_gap"
    assert decided(history, now_ms=at("2026-11-20T12:00")) == Invite()
    assert decided(history, candidate=RELATIONAL) == Invite()


def test_three_days_after_a_complaint_a_customer_may_be_asked_again() -> None:
    complained = at("2026-11-17T15:00")
    history = History(last_complaint_ms=complained)
    assert decided(history) == Wait(complained + 3 * DAY_MS, "after_complaint")
    assert decided(history, now_ms=complained + 3 * DAY_MS) == Invite()


def test_waiting_past_the_end_is_skipping_with_the_reason_of_the_wait() -> None:
    history = History(last_complaint_ms=NOON)
    hurried = replace(TRANSACTIONAL, give_up_ms=NOON + 2 * DAY_MS)
    assert decided(history, candidate=hurried) == Skip("after_complaint", NOON + 3 * DAY_MS)
    night = at("2026-11-19T22:00")
    assert decided(NOBODY, now_ms=night, candidate=replace(hurried, give_up_ms=night + 60_000)) == Skip(
        "quiet_hours", at("2026-11-20T09:00")
    )


def test_what_continues_an_invitation_is_one_with_it_but_wakes_nobody() -> None:
    spent = replace(EVERYTHING, opted_out=False, blocked=False, open_case=False, open_ticket=False)
    spent = replace(spent, last_complaint_ms=None)
    repeat = replace(TRANSACTIONAL, repeat=True)
    assert decided(spent, candidate=repeat) == Invite()
    assert reason(decided(spent, candidate=repeat, now_ms=at("2026-11-19T23:00"))) == "quiet_hours"
    assert reason(decided(replace(spent, opted_out=True), candidate=repeat)) == "opted_out"


@pytest.mark.parametrize(
    ("off", "history"),
    [
        ("hours", None),
        ("after_complaint", History(last_complaint_ms=NOON - 1)),
        ("min_gap", History(last_invitation_ms=NOON - 1)),
        ("per_year", History(invitations_365d=99)),
        ("relational_gap", History(last_relational_ms=NOON - 1)),
        ("relational_ahead", History(next_relational_ms=NOON + 1)),
        ("touchpoint_gap", History(last_touchpoint_ms=NOON - 1)),
    ],
)
def test_null_turns_a_rule_off(off: str, history: History | None) -> None:
    without = ContactRules.model_validate({off: None})
    now_ms = at("2026-11-19T03:00") if history is None else NOON
    assert decided(history or NOBODY, now_ms=now_ms) != Invite()
    assert decided(history or NOBODY, now_ms=now_ms, cap=without) == Invite()


def test_gaps_that_are_not_whole_days_count_to_the_millisecond() -> None:
    hourly = ContactRules.model_validate({"min_gap": "36h"})
    sent = NOON - 36 * 3_600_000
    assert decided(History(last_invitation_ms=sent), cap=hourly) == Invite()
    assert reason(decided(History(last_invitation_ms=sent + 1), cap=hourly)) == "min_gap"


INSTANTS = st.none() | st.integers(NOON - 400 * DAY_MS, NOON)
HISTORIES = st.builds(
    History,
    opted_out=st.booleans(),
    blocked=st.booleans(),
    open_case=st.booleans(),
    last_complaint_ms=INSTANTS,
    open_ticket=st.booleans(),
    event_surveyed=st.booleans(),
    invitations_365d=st.integers(0, 9),
    last_invitation_ms=INSTANTS,
    last_relational_ms=INSTANTS,
    next_relational_ms=st.none() | st.integers(NOON, NOON + 60 * DAY_MS),
    last_touchpoint_ms=INSTANTS,
)


@given(
    history=HISTORIES,
    zone=ZONES,
    minutes=st.integers(0, 3 * 1440),
    kind=st.sampled_from([TRANSACTIONAL, RELATIONAL]),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_an_invitation_goes_out_only_when_every_rule_allows_it(
    history: History, zone: str, minutes: int, kind: Candidate, draw: float
) -> None:
    tz, now_ms = ZoneInfo(zone), NOON + minutes * 60_000
    decision = decide(CAP, candidate=replace(kind, sample=0.5), history=history, now_ms=now_ms, tz=tz, draw=draw)

    def days_since(ms: int | None) -> int:
        if ms is None:
            return 10_000
        here = [datetime.fromtimestamp(t / 1000, tz).date() for t in (ms, now_ms)]
        return (here[1] - here[0]).days

    local = datetime.fromtimestamp(now_ms / 1000, tz)
    may = (
        not (history.opted_out or history.blocked or history.open_case or history.open_ticket)
        and days_since(history.last_complaint_ms) >= 3
        and 9 <= local.hour < 21
        and not history.event_surveyed
        and days_since(history.last_invitation_ms) >= 14
        and history.invitations_365d < 7
        and days_since(history.last_relational_ms) >= 90
        and draw < 0.5
    )
    if decision == Invite():
        assert may
        assert history.invitations_365d < 6
    if isinstance(decision, Wait):
        assert decision.until_ms > now_ms
    assert reason(decision) in ("", *REASONS)


def test_every_day_of_a_year_has_its_slot_in_a_zone_that_skips_one() -> None:
    apia = ZoneInfo("Pacific/Apia")  # 30 December 2011 did not happen there
    day = date(2011, 12, 27)
    slotted = rule(at="10:00")
    for _ in range(7):
        now = datetime(day.year, day.month, day.day, 10, 0, 1, tzinfo=apia).astimezone(UTC)
        now_ms = round(now.timestamp() * 1000)
        assert 0 < due_ms(slotted, now_ms, apia) - now_ms <= 2 * DAY_MS
        day += timedelta(days=1)

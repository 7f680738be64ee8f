"""The trust balance: its worked example, its rules one by one, what is derived from stored events, and its words."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.trust import account as trust
from reports.trust import words as trust_words
from reports.trust.account import DAY_MS, DEFAULT, HOUR_MS, TYPES, Entry, Rules, drop_of, ledger
from reports.trust.entries import entries_of
from reports.trust.words import ledger_text
from storage.records import Case, Event, Rating, Relationship

TOKYO = ZoneInfo("Asia/Tokyo")
MONDAY = int(datetime(2026, 11, 16, tzinfo=TOKYO).timestamp() * 1000)


def day(number: float) -> int:
    return round(number * DAY_MS)


STORY = (
    Entry("e1", day(0), "promise_kept"),
    Entry("e2", day(10), "delivery_on_time"),
    Entry("e3", day(12), "delivery_on_time"),
    Entry("e4", day(40), "late_delivery"),
    Entry("e5", day(40.5), "apology_24h", incident="e4"),
    Entry("e6", day(41), "compensation", incident="e4"),
)
NPS_9 = Entry("nps", day(60), "nps", code=9)


def balance(entries: Any, at: float, rules: Rules = DEFAULT) -> float:
    return ledger(entries, day(at), rules).balance


# ------------------------------------------------------------------------------------------- the worked example


def test_the_lines_of_the_worked_example_at_day_60() -> None:
    found = ledger((*STORY, NPS_9), day(60))
    assert [(line.id, line.reason) for line in found.lines] == [
        ("e1", "counted"),
        ("e2", "counted"),
        ("e3", "cooldown"),
        ("e4", "counted"),
        ("e5", "counted"),
        ("e6", "recovery_cap"),
        ("nps", "counted"),
    ]
    shown = [1.5874, 0.8249, 0.0, -3.8489, 1.8553, 1.1153, 2.0]
    assert [line.contribution for line in found.lines] == pytest.approx(shown, abs=5e-5)
    assert found.lines[5].effective == pytest.approx(1.2, abs=1e-9)
    assert found.balance == pytest.approx(3.5340, abs=5e-5)
    assert found.band == "thin"


def test_the_contributions_are_half_lives_to_the_last_digit() -> None:
    lines = ledger((*STORY, NPS_9), day(60)).lines
    by_hand = [
        2 * 2 ** (-60 / 180),
        2 ** (-50 / 180),
        0.0,
        -4 * 2 ** (-20 / 360),
        2 * 2 ** (-19.5 / 180),
        1.2 * 2 ** (-19 / 180),
        2.0,
    ]
    assert [line.contribution for line in lines] == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(("at", "expected"), [(40, -1.3946), (41, 1.7992), (60, 3.5340)])
def test_the_balances_of_the_worked_example(at: float, expected: float) -> None:
    assert balance((*STORY, NPS_9), at) == pytest.approx(expected, abs=5e-5)


def test_a_broken_promise_on_day_70_overdraws_the_account() -> None:
    found = ledger((*STORY, NPS_9, Entry("e7", day(70), "promise_broken")), day(70))
    assert found.balance == pytest.approx(-2.6715, abs=5e-5)
    assert found.band == "overdrawn"


def test_an_old_failure_outlives_old_kindness() -> None:
    assert balance((*STORY, NPS_9), 425) == pytest.approx(-0.0955, abs=5e-5)


def test_nothing_is_zero_and_being_ignored_every_day_reaches_the_floor() -> None:
    assert (balance((), 10), ledger((), 0).band) == (0.0, "thin")
    ignored = [Entry(f"i{number}", day(number), "complaint_ignored") for number in range(20)]
    assert balance(ignored, 20) == -100.0


def test_an_apology_without_an_incident_gives_nothing() -> None:
    (line,) = ledger([Entry("a", 0, "apology_24h", incident="nobody knows")], 0).lines
    assert (line.effective, line.reason) == (0.0, "no_incident")


# ------------------------------------------------------------------------------------------------ rule by rule


def test_a_repeated_id_counts_once_and_an_unknown_type_is_counted_apart() -> None:
    found = ledger(
        [
            Entry("x", day(1), "promise_kept"),
            Entry("x", day(2), "promise_broken"),
            Entry("y", day(2), "smiled_at"),
        ],
        day(2),
    )
    assert [(line.type, line.reason) for line in found.lines] == [
        ("promise_kept", "counted"),
        ("promise_broken", "duplicate"),
        ("smiled_at", "unknown"),
    ]
    assert found.unknown == 1
    assert found.balance == pytest.approx(2 * 2 ** (-1 / 180), abs=1e-12)


def test_the_cooldown_ends_after_seven_days_and_counts_from_the_last_deposit_that_counted() -> None:
    notes = [Entry(f"n{at}", day(at), "personal_note") for at in (0, 6.9, 7.0, 13.99, 14)]
    assert [line.reason for line in ledger(notes, day(14)).lines] == [
        "counted",
        "cooldown",
        "counted",
        "cooldown",
        "counted",
    ]


def test_failures_and_recoveries_have_no_cooldown() -> None:
    entries = [
        Entry("b1", day(0), "promise_broken"),
        Entry("b2", day(1), "promise_broken"),
        Entry("a1", day(1), "apology_24h", incident="b1"),
        Entry("a2", day(1), "apology_24h", incident="b2"),
    ]
    assert {line.reason for line in ledger(entries, day(1)).lines} == {"counted"}


def test_a_recovery_before_its_failure_gives_nothing_and_one_at_the_same_time_does() -> None:
    broken = Entry("b", day(2), "promise_broken", names=("I1",))
    for at, reason in ((1.0, "no_incident"), (2.0, "counted")):
        found = ledger([Entry("c", day(at), "compensation", incident="I1"), broken], day(3))
        assert {line.type: line.reason for line in found.lines}["compensation"] == reason


def test_one_failure_under_two_names_is_made_good_once() -> None:
    entries = [
        Entry("late", day(0), "late_delivery", names=("I1", "order-1")),
        *(Entry(f"r{n}", day(n), "compensation", incident=name) for n, name in enumerate(("late", "I1", "order-1"), 1)),
    ]
    assert [line.effective for line in ledger(entries, day(3)).lines] == pytest.approx([-4, 2, 1.2, 0])


def test_of_the_answers_to_an_instrument_the_latest_up_to_the_time_counts() -> None:
    answers = [
        Entry("a1", day(0), "nps", code=3),
        Entry("a2", day(30), "nps", code=10),
        Entry("s", day(1), "sat5", code=5),
    ]
    assert {line.id: line.reason for line in ledger(answers, day(29)).lines} == {"a1": "counted", "s": "counted"}
    later = {line.id: line.reason for line in ledger(answers, day(30)).lines}
    assert later == {"a1": "superseded", "s": "counted", "a2": "counted"}


@pytest.mark.parametrize(
    ("instrument", "points"),
    [
        ("nps", {9: 2, 10: 2, 7: 0, 8: 0, 0: -4, 6: -4}),
        ("ces_effort", {1: 1, 2: 1, 3: 0, 4: 0, 5: -3, 7: -3}),
        ("csat5", {5: 1, 4: 1, 3: 0, 2: -3, 1: -3}),
        ("sat5", {5: 1, 4: 1, 3: 0, 2: -3, 1: -3}),
        ("affinity", {5: 2, 4: 1, 3: 0, 2: -2, 1: -4}),
        ("trust6_promise", {5: 1, 4: 0.5, 3: 0, 2: -1.5, 1: -3}),
    ],
)
def test_the_points_of_an_answer(instrument: str, points: dict[int, float]) -> None:
    assert {code: balance([Entry("a", 0, instrument, code=code)], 0) for code in points} == points


def test_every_type_of_the_account_has_a_behaviour_and_words_in_both_languages() -> None:
    for name in (*TYPES, *trust.SURVEY):
        assert trust.behaviour_of(name) in trust.BEHAVIOURS
        assert trust_words.type_name(name, "ja") != trust_words.type_name(name, "en") != name
    assert len(TYPES) == 34
    assert trust.behaviour_of("trust6_honesty") == "honesty"
    assert trust.behaviour_of("nps") == "voice"


# --------------------------------------------------------------------------------------------------- properties

_TYPES = st.sampled_from([*TYPES, "nps", "affinity", "smiled_at"])
_ENTRIES = st.lists(
    st.builds(
        Entry,
        id=st.sampled_from([f"e{n}" for n in range(12)]),
        at_ms=st.integers(0, 400 * DAY_MS),
        type=_TYPES,
        incident=st.sampled_from(["", "e1", "e2", "I"]),
        names=st.sampled_from([(), ("I",)]),
        code=st.integers(1, 5),
    ),
    max_size=20,
)


@given(_ENTRIES, st.randoms(use_true_random=False), st.integers(0, 500 * DAY_MS))
@settings(max_examples=150, deadline=None)
def test_the_order_of_arrival_does_not_matter_and_the_bounds_hold(
    entries: list[Entry], chance: random.Random, at_ms: int
) -> None:
    shuffled = list(entries)
    chance.shuffle(shuffled)
    found = ledger(entries, at_ms)
    assert found == ledger(shuffled, at_ms)
    assert -100 <= found.balance <= 100
    assert len(found.lines) == sum(entry.at_ms <= at_ms for entry in entries)
    total = math.fsum(line.contribution for line in found.lines)
    assert found.balance == min(100.0, max(-100.0, total))


@given(_ENTRIES)
@settings(max_examples=150, deadline=None)
def test_recoveries_never_make_good_a_failure_whole(entries: list[Entry]) -> None:
    lines = ledger(entries, 500 * DAY_MS).lines
    lost = sum(-line.effective for line in lines if line.type in TYPES and line.effective < 0)
    regained = sum(
        line.effective for line in lines if line.type in TYPES and TYPES[line.type].recovery and line.effective > 0
    )
    assert regained <= 0.8 * lost + 1e-9


@given(_ENTRIES, st.integers(0, 500 * DAY_MS))
@settings(max_examples=80, deadline=None)
def test_one_more_failure_never_raises_a_balance(entries: list[Entry], at_ms: int) -> None:
    # without recoveries, which a new failure gives something to make good
    plain = [entry for entry in entries if entry.type not in TYPES or not TYPES[entry.type].recovery]
    worse = [*plain, Entry("a new one", 10 * DAY_MS, "billing_error")]
    assert ledger(worse, at_ms).balance <= ledger(plain, at_ms).balance + 1e-9


# ---------------------------------------------------------------------------------- from stored events to entries


def event(id_: str, type_: str, at_ms: int, **data: Any) -> Event:
    return Event(id_, type_, at_ms, at_ms, "C1", json.dumps(data))


def derived(*events: Event, **other: Any) -> list[tuple[str, float]]:
    """(type, days after Monday) of the entries, in order of time."""
    made = entries_of(Relationship("C1", events, **other), tz=TOKYO)
    return [(type_, round(at, 3)) for at, type_ in sorted(((e.at_ms - MONDAY) / DAY_MS, e.type) for e in made)]


@pytest.mark.parametrize(
    ("due", "arrived", "type_"),
    [
        ("2026-11-16", "2026-11-16T23:59:00+09:00", "delivery_on_time"),
        ("2026-11-16", "2026-11-17T00:00:00+09:00", "late_delivery"),
        ("2026-11-16", "2026-11-18T23:59:00+09:00", "late_delivery"),
        ("2026-11-16", "2026-11-19T00:00:00+09:00", "very_late_delivery"),
        ("2026-11-16T12:00:00+09:00", "2026-11-16T03:00:00Z", "delivery_on_time"),
        ("2026-11-16T12:00:00", "2026-11-19T11:59:59+09:00", "late_delivery"),
        ("2026-11-16T12:00:00", "2026-11-19T12:00:00+09:00", "very_late_delivery"),
        ("2026-11-16", "2026-11-18", "late_delivery"),
    ],
)
def test_a_delivery_is_on_time_late_or_very_late(due: str, arrived: str, type_: str) -> None:
    ((found, _),) = derived(event("d", "delivery", MONDAY, due=due, at=arrived))
    assert found == type_


def test_a_delivery_without_a_readable_due_date_says_nothing() -> None:
    assert derived(event("d", "delivery", MONDAY), event("e", "delivery", MONDAY, due="soon", order="1")) == []
    assert derived(event("t", "delivery", MONDAY, due="2026-11-16", test=True)) == []


def test_an_order_is_delivered_with_its_last_parcel_and_what_the_shop_says_itself_holds() -> None:
    parcels = [
        event("d1", "delivery", MONDAY + HOUR_MS, order=7, due="2026-11-16"),
        event("d2", "delivery", MONDAY + day(1.5), order=7, due="2026-11-16"),
    ]
    assert derived(*parcels) == [("late_delivery", 1.5)]
    assert derived(*parcels, event("own", "very_late_delivery", MONDAY + day(4), order=7)) == [
        ("very_late_delivery", 4)
    ]
    assert derived(*parcels, event("note", "delay_prenotified", MONDAY, order=7)) == [
        ("delay_prenotified", 0),
        ("late_delivery", 1.5),
    ]


@pytest.mark.parametrize(
    ("replied_h", "expected"),
    [
        (1, [("fast_first_response", 0.042), ("reply_in_time", 0.042)]),
        (24, [("reply_in_time", 1)]),
        (25, [("reply_overdue", 1)]),
        (72, [("reply_overdue", 1)]),
        (73, [("reply_overdue", 1), ("no_reply_72h", 3)]),
        (None, [("reply_overdue", 1), ("no_reply_72h", 3)]),
    ],
)
def test_how_soon_an_enquiry_was_answered(replied_h: int | None, expected: list[tuple[str, float]]) -> None:
    events = [
        event("o", "ticket_opened", MONDAY, ticket="T1"),
        event("auto", "ticket_replied", MONDAY + 1000, ticket="T1", automatic=True),
        event("other", "ticket_replied", MONDAY + 1000, ticket="T2"),
    ]
    if replied_h is not None:
        events.append(event("r", "ticket_resolved", MONDAY + replied_h * HOUR_MS, ticket="T1"))
    assert derived(*events) == expected


def test_no_reply_takes_the_place_of_the_overdue_one_and_an_apology_in_between_still_counts() -> None:
    found = entries_of(
        Relationship(
            "C1",
            (
                event("o", "ticket_opened", MONDAY, ticket="T1"),
                event("a", "apology", MONDAY + 30 * HOUR_MS, incident_id="T1"),
                event("c", "compensation", MONDAY + 80 * HOUR_MS, incident_id="T1"),
                event("p", "prevention_reported", MONDAY + 81 * HOUR_MS, incident_id="T1"),
                event("q", "complaint_resolved", MONDAY + 82 * HOUR_MS, incident_id="T1"),
            ),
        ),
        tz=TOKYO,
    )
    early = {line.type: line.effective for line in ledger(found, MONDAY + 60 * HOUR_MS).lines}
    assert early == {"reply_overdue": -4, "apology_24h": 2}
    late = {line.type: (line.effective, line.reason) for line in ledger(found, MONDAY + 90 * HOUR_MS).lines}
    assert late["reply_overdue"] == (0, "superseded")
    assert late["no_reply_72h"] == (-8, "counted")
    # 0.8 · 8 for the one failure, whichever of its two lines was there when something was made good
    assert sum(late[name][0] for name in ("apology_24h", "compensation", "prevention_reported")) == pytest.approx(6)
    assert late["complaint_resolved"] == (pytest.approx(0.4), "recovery_cap")


def test_a_promise_breaks_when_its_time_passes_and_later_news_correct_it() -> None:
    made = event("p", "promise", MONDAY, id="P1", due="2026-11-18T12:00:00+09:00")
    assert derived(made) == [("promise_broken", 2.5)]
    open_now = entries_of(Relationship("C1", (made,)), tz=TOKYO)
    assert ledger(open_now, MONDAY + day(2)).lines == ()
    assert ledger(open_now, MONDAY + day(2.5)).balance == -6
    kept = event("k", "promise", MONDAY + day(3), id="P1", kept_at="2026-11-18T09:00:00+09:00")
    assert derived(kept, made) == [("promise_kept", 2.375)]
    assert derived(made, event("k", "promise", MONDAY + day(3), id="P1", kept_at="2026-11-19")) == [
        ("promise_broken", 2.5)
    ]
    assert derived(made, event("c", "promise", MONDAY + day(1), id="P1", cancelled=True)) == []
    assert derived(made, event("own", "promise_kept", MONDAY + day(2), promise="P1")) == [("promise_kept", 2)]


def case(id_: str, **other: Any) -> Case:
    plain = {"customer_id": "C1", "session_id": "", "reason": "contact", "words": "", "state": "open", "contact": "yes"}
    return Case(**{"id": id_, "opened_ms": MONDAY, "due_ms": MONDAY + day(1), **plain, **other})


def test_a_contact_that_koe_promised_is_a_promise() -> None:
    assert derived(cases=(case("K1"),)) == [("promise_broken", 1)]
    settled = case("K1", state="settled", outcome="resolved", settled_ms=MONDAY + HOUR_MS)
    assert derived(cases=(settled,)) == [("promise_kept", 0.042)]
    answered = case("K1", replied_ms=MONDAY + HOUR_MS, state="settled", outcome="resolved", settled_ms=MONDAY + day(5))
    assert derived(cases=(answered,)) == [("promise_kept", 0.042)]
    told = case("K1", due_ms=MONDAY + day(3), overdue_ms=MONDAY + day(1), apologised_ms=MONDAY + day(1.1))
    assert derived(cases=(replace(told, replied_ms=MONDAY + day(2)),)) == [("promise_broken", 1)]
    assert derived(cases=(case("K1", contact=""), case("K2", outcome="erased"))) == []


def test_a_complaint_is_resolved_unresolved_or_ignored() -> None:
    complaint = event("c", "complaint", MONDAY, incident_id="I1")
    apology = event("a", "apology", MONDAY + HOUR_MS, incident_id="I1")
    solved = event("s", "complaint_resolved", MONDAY + day(6), incident_id="I1")
    assert derived(complaint) == [("complaint_ignored", 7)]
    assert [type_ for type_, _ in derived(complaint, apology)] == ["apology_24h", "complaint_unresolved"]
    assert [type_ for type_, _ in derived(complaint, apology, solved)] == ["apology_24h", "complaint_resolved"]
    assert derived(complaint, event("s", "complaint_resolved", MONDAY + day(6))) == [("complaint_resolved", 6)]
    late = event("s", "complaint_resolved", MONDAY + day(8), incident_id="I1")
    assert derived(complaint, late) == [("complaint_ignored", 7), ("complaint_resolved", 8)]
    by_koe = case("K1", contact="", state="settled", outcome="resolved", settled_ms=MONDAY + day(1))
    assert derived(complaint, cases=(by_koe,)) == []
    assert derived(complaint, cases=(replace(by_koe, outcome="exchange"),)) == []
    for heard in (replace(by_koe, outcome="unreached"), case("K2", contact="", replied_ms=MONDAY + HOUR_MS)):
        assert derived(complaint, cases=(heard,)) == [("complaint_unresolved", 7)]
    off = entries_of(Relationship("C1", (complaint,)), rules=replace(DEFAULT, resolve_ms=None), tz=TOKYO)
    assert off == []


def test_an_apology_is_soon_within_a_day_of_the_complaint_or_else_of_the_failure() -> None:
    failure = event("f", "defect_or_wrong_item", MONDAY, incident_id="I1")
    complaint = event("c", "complaint", MONDAY + day(5), incident_id="I1")
    apology = event("a", "apology", MONDAY + day(5.5), incident_id="I1")
    resolved = event("s", "complaint_resolved", MONDAY + day(6), incident_id="I1")
    assert "apology_late" in dict(derived(failure, apology))
    assert "apology_24h" in dict(derived(failure, complaint, apology, resolved))
    found = ledger(entries_of(Relationship("C1", (failure, complaint, apology, resolved))), MONDAY + day(6))
    assert [line.effective for line in found.lines] == pytest.approx([-6, 2, 2])


def test_answers_opt_outs_faq_and_what_is_no_business_of_the_account() -> None:
    found = entries_of(
        Relationship(
            "C1",
            (
                event("p", "purchase", MONDAY, order="1"),
                event("f", "faq_feedback", MONDAY, resolved=True),
                event("g", "faq_feedback", MONDAY, resolved=False),
                event("h", "class_attended", MONDAY),
                Event("bad", "promise", MONDAY, MONDAY, "C1", "[]"),
            ),
            ratings=(Rating("a1", "nps", "9", MONDAY), Rating("a2", "sat5", "", MONDAY)),
            opt_outs_ms=(MONDAY + 5,),
        )
    )
    account = ledger(found, MONDAY + 10)
    assert {line.type: line.weight for line in account.lines} == {
        "faq_resolved": 0.5,
        "class_attended": 0,
        "nps": 2,
        "opt_out": -3,
    }
    assert account.unknown == 1


# -------------------------------------------------------------------------------------------------------- drops


def test_a_drop_is_a_fall_by_more_than_five_within_seven_days() -> None:
    rich = [Entry("k", day(0), "promise_kept"), Entry("n", day(0), "feedback_acted_on")]
    broken = [*rich, Entry("b", day(20), "promise_broken")]
    found = drop_of(broken, day(21))
    assert found is not None
    assert [line.type for line in found.withdrawals] == ["promise_broken"]
    before, after = ledger(broken, day(14)).balance, ledger(broken, day(21)).balance
    assert (found.high, found.balance) == (before, after)
    assert drop_of(broken, day(27.5)) is None
    assert drop_of([*rich, Entry("l", day(20), "late_delivery")], day(21)) is None
    assert drop_of(broken, day(21), replace(DEFAULT, drop_points=None)) is None


def test_exactly_five_is_no_drop_and_a_kindness_of_the_same_week_does_not_hide_one() -> None:
    five = replace(DEFAULT, weights={**DEFAULT.weights, "promise_broken": -5.0})
    assert drop_of([Entry("b", day(1), "promise_broken")], day(1), five) is None
    week = [Entry("k", day(1), "self_reported_error"), Entry("b", day(3), "promise_broken")]
    found = drop_of(week, day(4))
    assert found is not None
    assert found.high == pytest.approx(3, abs=0.05)


def test_a_drop_that_was_reported_is_not_reported_again_but_the_next_one_is() -> None:
    first = [Entry("b1", day(1), "billing_error")]
    assert drop_of(first, day(2)) is not None
    assert drop_of(first, day(3), since_ms=day(2)) is None
    assert drop_of([*first, Entry("b2", day(2.5), "billing_error")], day(3), since_ms=day(2)) is not None


# ------------------------------------------------------------------------------------------------ rules and words


def complaints_about(**change: Any) -> list[tuple[str, ...]]:
    return [path for path, _ in trust.sanity(replace(DEFAULT, **change))]


def test_the_rules_as_they_are_can_stand() -> None:
    assert complaints_about() == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"weights": {**DEFAULT.weights, "promise_broken": -3.9}}, ("weights", "promise_broken")),
        ({"weights": {**DEFAULT.weights, "delivery_on_time": 2.1}}, ("weights", "delivery_on_time")),
        ({"weights": {**DEFAULT.weights, "reply_overdue": -1.0}}, ("weights", "reply_overdue")),
        ({"weights": {**DEFAULT.weights, "billing_error": 8.0}}, ("weights", "billing_error")),
        ({"weights": {**DEFAULT.weights, "personal_note": -1.0}}, ("weights", "personal_note")),
        ({"half_life_withdrawal_ms": 179 * DAY_MS}, ("half_life", "withdrawal")),
        ({"floor": 0.0}, ("floor",)),
        ({"cap": 0.0}, ("cap",)),
        ({"good_from": 15.0}, ("bands",)),
        ({"cap": 10.0}, ("bands",)),
        ({"reply_ms": 72 * HOUR_MS}, ("times",)),
    ],
)
def test_rules_that_cannot_stand_are_named(change: dict[str, Any], path: tuple[str, ...]) -> None:
    assert complaints_about(**change) == [path]


def test_a_ratio_of_exactly_two_can_stand() -> None:
    assert complaints_about(weights={**DEFAULT.weights, "promise_broken": -4.0, "reply_overdue": -2.0}) == []


def test_the_ledger_in_words_never_shows_the_number_alone() -> None:
    account = ledger((*STORY, NPS_9, Entry("z", day(59), "smiled_at")), day(60))
    ja, en = ledger_text(account, "ja"), ledger_text(account, "en")
    assert ja[0] == "信頼残高：+3.53（薄い）"
    assert ja[2] == "+2.00 薦める可能性 9点（本日）"
    assert ja[-2] == "+1.59 約束どおり対応（60日前）"
    assert "0.00 予定どおりのお届け（48日前、短期間の繰り返しのため加算なし）" in ja
    assert ja[-1] == "種類が不明のため計上なし：smiled_at 1"
    assert en[0] == "Trust balance: +3.53 (thin)"
    assert en[-2] == "+1.59 a promise was kept (60 days ago)"
    assert "-3.85 a late delivery (20 days ago)" in en
    assert trust_words.notice("ja") in ja
    assert trust_words.notice("en") in en
    assert ledger_text(ledger((), 0), "ja")[-1] == "記録はありません"


def test_the_module_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'pandas', 'scipy', 'statsmodels'}"
    code = f"import sys, reports.trust.entries, reports.trust.words; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_worked_example_from_stored_events() -> None:
    at = lambda number: MONDAY + day(number)  # noqa: E731
    found = Relationship(
        "C1",
        (
            event("e1", "promise_kept", at(0)),
            event("e2", "delivery_on_time", at(10)),
            event("e3", "delivery_on_time", at(12)),
            event("e4", "delivery", at(40), due="2026-12-24", order="9"),
            event("e5", "apology", at(40.5), incident_id="e4"),
            event("e6", "compensation", at(41), incident_id="9"),
        ),
        ratings=(Rating("e7", "nps", "9", at(60)),),
    )
    assert ledger(entries_of(found, tz=UTC), at(60)).balance == pytest.approx(3.5340, abs=5e-5)

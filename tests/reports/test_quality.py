"""Whether the answers can be trusted: each check against numbers worked by hand, then through a database and a
digest."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from report_history import DAY_MS, HOUR_MS, SHOP, WEEKLY, History, digest_of, monday_ms, weeks_ago
from scipy import stats

from reports.checks.careless import acquiescence, is_straightline, people_of, score_without
from reports.checks.nonresponse import Profile, early_and_late, nonresponse, profiles_of, standardised_difference
from reports.checks.scale_use import channel_consistency, places_of, shapes
from reports.event_tables import event_tables
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Span, Stratum, Tally, measure
from reports.render import render_json, render_text, render_thread
from reports.segments import Deed
from reports.sittings import Reply, Sitting, Words
from storage.records import Event, Invited, RollupCell

SPECS = specs_of(bundled_instruments())
WEEKS = Span("2026-10-26", "2026-11-23")
AFTER = Stratum("transactional", "purchase")


# ------------------------------------------------------------------------------------------------- non-response


def test_the_standardised_difference_worked_by_hand() -> None:
    assert standardised_difference(3.0, 2.0, 1.0, 1.0) == 1.0
    assert standardised_difference(2.5, 2.5, 1.0, 0.5) == 0.0
    assert standardised_difference(3.0, 2.0, 0.0, 0.0) is None
    assert standardised_difference(2.0, 3.0, 3.0, 4.0) == pytest.approx(-1 / (12.5**0.5))


def profile(answered: bool, orders: int = 1, **more: object) -> Profile:
    given = {"tenure_days": 100.0, "last_order": 5000.0, "open_ticket": False, "channel": "line"} | more
    return Profile(answered=answered, orders=orders, **given)  # type: ignore[arg-type]


def test_a_variable_that_differs_by_more_than_a_fifth_is_flagged_and_named() -> None:
    people = [profile(True, orders=1 + row % 3) for row in range(30)] + [
        profile(False, orders=row % 3) for row in range(60)
    ]
    found = {result.variant: result for result in nonresponse(people, window=WEEKS)}
    orders = found["orders_365d"]
    # means 2 and 1; the deviations of 1, 2, 3 repeated
    spread = ((2 / 3 * 30 / 29 + 2 / 3 * 60 / 59) / 2) ** 0.5
    assert orders.score == pytest.approx(1 / spread)
    assert orders.flags == ("nonresponse_bias",)
    assert orders.counts == {"answered": 30, "silent": 60}
    assert (found["tenure_days"].score, found["tenure_days"].flags) == (None, ())
    assert not [name for name in found if name.startswith("channel_")]


def test_up_to_a_fifth_is_no_flag() -> None:
    people = [profile(True, orders=row % 2) for row in range(100)] + [
        profile(False, orders=row % 2) for row in range(100)
    ]
    (orders, *_) = nonresponse(people, window=WEEKS)
    assert (orders.score, orders.flags) == (0.0, ())


def test_below_ten_on_either_side_nothing_is_said() -> None:
    people = [profile(True, orders=row) for row in range(9)] + [profile(False, orders=row + 5) for row in range(60)]
    found = nonresponse(people, window=WEEKS)[0].shown()
    assert (found.status, found.score, found.counts, found.flags) == ("suppressed", None, {}, ())


def test_each_channel_is_a_variable() -> None:
    people = [profile(True, channel="line" if row < 16 else "slack") for row in range(20)]
    people += [profile(False, channel="line" if row < 4 else "slack") for row in range(20)]
    found = {result.variant: result for result in nonresponse(people, window=WEEKS)}
    deviation = (0.8 * 0.2 * 20 / 19) ** 0.5
    assert found["channel_line"].score == pytest.approx(0.6 / deviation)
    assert found["channel_slack"].score == pytest.approx(-0.6 / deviation)


SENT = 1_800_000_000_000


def invited(customer: str, **more: object) -> Invited:
    given = {"channel": "line", "sent_ms": SENT, "answered": False, "undeliverable": False, "first_event_ms": None}
    return Invited(customer, **(given | more))  # type: ignore[arg-type]


def event(kind: str, days_before: float, customer: str = "C1", **data: object) -> Deed:
    return Deed(customer, kind, SENT - int(days_before * DAY_MS), data)


def test_a_profile_is_what_was_known_when_the_invitation_was_sent() -> None:
    events = [
        event("purchase", 400, order="A", amount=100),
        event("purchase", 300, order="B", amount=2000),
        event("purchase", 200, order="C", amount=900, cancelled=True),
        event("ticket_opened", 20, ticket="T1"),
        event("ticket_opened", 19, ticket="T2"),
        event("ticket_resolved", 18, ticket="T1"),
        event("purchase", 10, order="D", amount=3000),
        event("purchase", 5, order="D", cancelled=True),
        event("purchase", -1, order="E", amount=9000),
    ]
    (found,) = profiles_of(
        [invited("C1", first_event_ms=SENT - 400 * DAY_MS)], event_tables(events, UTC), SENT + 8 * DAY_MS
    )
    assert found == Profile(False, 1, 400.0, 2000.0, True, "line")


def test_only_an_invitation_that_can_be_judged_counts_and_the_latest_of_a_customer() -> None:
    now = SENT + 7 * DAY_MS
    found = profiles_of(
        [
            invited("young", sent_ms=SENT + 1),
            invited("quick", sent_ms=SENT + 1, answered=True),
            invited("blocked", undeliverable=True),
            invited("twice", sent_ms=SENT - DAY_MS, answered=True),
            invited("twice", channel="slack"),
        ],
        event_tables([], UTC),
        now,
    )
    assert [(p.answered, p.channel) for p in found] == [(True, "line"), (False, "slack")]
    assert found[0].tenure_days is None


# ----------------------------------------------------------------------------------------------- early and late


def test_early_and_late_customers_are_compared_as_two_weeks_are() -> None:
    found = early_and_late(
        SPECS["nps"], Tally({9: 24, 5: 16, 8: 20}), Tally({9: 33, 5: 9, 8: 18}), stratum=AFTER, window=WEEKS
    )
    assert found.difference is not None
    assert (found.difference.delta, found.difference.p) == (
        pytest.approx(26.6667, abs=5e-5), pytest.approx(0.0613, abs=5e-5),
    )  # fmt: skip
    assert not found.differs
    few = early_and_late(SPECS["nps"], Tally({9: 9}), Tally({9: 100}), stratum=AFTER, window=WEEKS)
    # with the score of all beside it, that of the hundred would give the nine away
    assert (few.difference, few.early.score, few.late.score) == (None, None, None)


# --------------------------------------------------------------------------------------------- careless answers

FIVE = ("jcsi6_q1", "jcsi6_q2", "jcsi6_q3", "jcsi6_q4", "jcsi6_v1")


def sitting(codes: dict[str, int], customer: str = "", session: str = "s") -> Sitting:
    replies = {name: Reply(code, Words("", ""), 1) for name, code in codes.items()}
    return Sitting(customer, session, "relational", "relationship", "ja", "line", replies)


@pytest.mark.parametrize(
    ("codes", "straight"),
    [
        (dict.fromkeys(FIVE, 7), True),
        (dict.fromkeys(FIVE, 7) | {"jcsi6_v1": 8}, False),
        (dict.fromkeys(FIVE[:4], 7), False),
        (dict.fromkeys([name for name in FIVE if name != "jcsi6_q4"] + ["jcsi6_v2"], 7), False),
        (dict.fromkeys(FIVE, 5) | {"sat5": 1, "nps": 9}, True),
        ({f"cx11_a{n}": 4 for n in range(1, 9)}, False),
    ],
)
def test_the_same_number_throughout_a_battery_with_a_reversed_item_is_careless(
    codes: dict[str, int], straight: bool
) -> None:
    assert all(name in SPECS for name in codes)
    assert is_straightline(sitting(codes), SPECS) is straight


def scored(positive: int, negative: int, n: int) -> tuple[Tally, object]:
    counted = Tally({9: positive, 5: negative, 8: n - positive - negative})
    return counted, measure(SPECS["nps"], counted, stratum=AFTER, window=WEEKS)[0]


def test_a_score_is_told_without_careless_answers_when_it_moves_by_more_than_two_points() -> None:
    counted, result = scored(50, 20, 100)
    found = score_without(SPECS["nps"], counted, Tally({9: 20}), result)  # type: ignore[arg-type]
    assert found is not None
    assert found.without.score == pytest.approx(100 * (30 - 20) / 80)
    assert (found.left_out, found.without.n_valid) == (20, 80)
    # 10 of 500: +30.0 becomes 150 − 10 − 0 of 490 = +28.6
    many, same = scored(250, 100, 500)
    assert score_without(SPECS["nps"], many, Tally({9: 10}), same) is None  # type: ignore[arg-type]


def test_a_handful_of_careless_answers_cannot_be_read_off_a_difference() -> None:
    counted, result = scored(50, 20, 100)
    assert score_without(SPECS["nps"], counted, Tally({9: 9}), result) is None  # type: ignore[arg-type]
    assert score_without(SPECS["nps"], counted, Tally(), result) is None  # type: ignore[arg-type]
    little, of_little = scored(10, 5, 19)
    assert score_without(SPECS["nps"], little, Tally({9: 10}), of_little) is None  # type: ignore[arg-type]


def test_agreeing_with_opposite_statements_is_a_warning() -> None:
    yes_sayers = [
        sitting({"jcsi6_q1": 3 + row % 7, "jcsi6_q4": 2 + row % 7}, f"C{row}", f"s{row}") for row in range(40)
    ]
    (found,) = acquiescence(people_of(yes_sayers), SPECS, window=WEEKS)
    assert (found.metric, found.variant) == ("jcsi6", "acquiescence_jcsi6_q1_jcsi6_q4")
    assert (found.score, found.n_valid, found.flags) == (pytest.approx(1.0), 40, ("acquiescence",))
    readers = [sitting({"jcsi6_e1": 3 + row % 7, "jcsi6_e3": 10 - row % 7}, f"C{row}", f"s{row}") for row in range(40)]
    (calm,) = acquiescence(people_of(readers), SPECS, window=WEEKS)
    assert (calm.variant, calm.score, calm.flags) == ("acquiescence_jcsi6_e1_jcsi6_e3", pytest.approx(-1.0), ())


def test_the_two_items_of_a_pair_may_come_in_two_sessions_of_a_customer() -> None:
    parts = [sitting({"jcsi6_q1": 3 + row % 7}, f"C{row}", f"a{row}") for row in range(12)]
    parts += [sitting({"jcsi6_q4": 3 + row % 7}, f"C{row}", f"b{row}") for row in range(12)]
    (found,) = acquiescence(people_of(parts), SPECS, window=WEEKS)
    assert found.n_valid == 12


def test_below_ten_pairs_no_correlation_is_given() -> None:
    few = [sitting({"jcsi6_q1": 3 + row, "jcsi6_q4": 3 + row}, f"C{row}", f"s{row}") for row in range(5)]
    (found,) = acquiescence(people_of(few), SPECS, window=WEEKS)
    assert (found.score, found.status, found.flags) == (None, "suppressed", ())


# ------------------------------------------------------------------------------------ use of the scale, of channels


def cell(value: int, answers: int, channel: str = "line", lang: str = "ja", instrument: str = "nps") -> RollupCell:
    return RollupCell(
        "2026-11-16",
        instrument,
        "w",
        "",
        "transactional",
        "purchase",
        "",
        channel,
        lang,
        str(value),
        "",
        answers,
        answers,
    )


def test_the_middle_and_the_ends_of_a_scale_per_channel_and_language() -> None:
    cells = [cell(5, 12), cell(10, 6), cell(0, 2), cell(8, 40), cell(5, 30, "slack", "en"), cell(9, 10, "slack", "en")]
    found = {
        (s.channel, r.stratum.lang, r.variant): r.score
        for s in shapes(places_of(cells, SPECS), SPECS, window=WEEKS)
        for r in s.results
    }
    assert found == {
        ("line", "ja", "share_midpoint"): pytest.approx(20.0),
        ("line", "ja", "share_low_end"): pytest.approx(100 * 2 / 60),
        ("line", "ja", "share_high_end"): pytest.approx(10.0),
        ("slack", "en", "share_midpoint"): pytest.approx(75.0),
        ("slack", "en", "share_low_end"): 0.0,
        ("slack", "en", "share_high_end"): 0.0,
    }


@pytest.mark.parametrize(("instrument", "middle"), [("nps", 5), ("sat5", 3), ("ces_effort", 4)])
def test_every_scale_has_its_own_middle(instrument: str, middle: int) -> None:
    cells = [cell(middle, 30, instrument=instrument), cell(1, 10, instrument=instrument)]
    (shape,) = shapes(places_of(cells, SPECS), SPECS, window=WEEKS)
    assert next((r.variant, r.score) for r in shape.results) == ("share_midpoint", pytest.approx(75.0))


def test_ten_points_have_no_middle() -> None:
    (shape,) = shapes(places_of([cell(5, 30, instrument="csat10")], SPECS), SPECS, window=WEEKS)
    assert [r.variant for r in shape.results] == ["share_low_end", "share_high_end"]


def test_a_small_channel_cannot_be_had_by_subtraction() -> None:
    cells = [cell(5, 50), cell(5, 20, "slack"), cell(10, 4, "web")]
    found = {
        (s.channel, r.variant): r.shown()
        for s in shapes(places_of(cells, SPECS), SPECS, window=WEEKS)
        for r in s.results
    }
    assert found[("web", "share_high_end")].score is None
    assert found[("slack", "share_high_end")].score is None
    assert found[("line", "share_high_end")].score == 0.0


def csat(good: int, bad: int) -> Tally:
    return Tally({5: good, 2: bad})


def test_channels_are_compared_by_the_best_two_answers() -> None:
    found = channel_consistency(
        SPECS["csat5"], {"line": csat(28, 12), "slack": csat(20, 20), "web": csat(5, 15)}, stratum=AFTER, window=WEEKS
    )
    assert found is not None
    assert (list(found.channels), found.spread) == (["line", "slack"], pytest.approx(20.0))
    assert found.p == pytest.approx(stats.chi2_contingency([[28, 12], [20, 20]], correction=False).pvalue)
    assert not found.differs
    record = found.result()
    assert (record.variant, record.score, record.n_valid) == ("channel_spread", pytest.approx(20.0), 80)


def test_one_channel_alone_is_not_compared_and_all_content_is_no_difference() -> None:
    assert (
        channel_consistency(SPECS["csat5"], {"line": csat(30, 5), "web": csat(20, 9)}, stratum=AFTER, window=WEEKS)
        is None
    )
    found = channel_consistency(SPECS["csat5"], {"line": csat(40, 0), "web": csat(30, 0)}, stratum=AFTER, window=WEEKS)
    assert found is not None
    assert (found.spread, found.p) == (0.0, 1.0)


def test_a_handful_left_over_takes_the_smallest_channel_with_it() -> None:
    three = {"line": csat(50, 20), "slack": csat(30, 10), "mail": csat(20, 11), "web": csat(3, 2)}
    found = channel_consistency(SPECS["csat5"], three, stratum=AFTER, window=WEEKS)
    assert found is not None
    assert set(found.channels) == {"line", "slack"}
    del three["mail"]
    assert channel_consistency(SPECS["csat5"], three, stratum=AFTER, window=WEEKS) is None


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=5))
def test_no_channel_below_thirty_and_no_handful_of_others(counts: list[tuple[int, int]]) -> None:
    tallies = {f"c{number}": csat(*pair) for number, pair in enumerate(counts)}
    found = channel_consistency(SPECS["csat5"], tallies, stratum=AFTER, window=WEEKS)
    if found is not None:
        shown = sum(result.n_valid for result in found.channels.values())
        rest = sum(t.n for t in tallies.values()) - shown
        assert min(result.n_valid for result in found.channels.values()) >= 30
        assert rest == 0 or rest >= 10
        assert 0 <= found.p <= 1
        assert 0 <= found.spread <= 100


# ------------------------------------------------------------------------------------- through a database, a digest


def quick(h: History, numbers: range, seconds: float) -> None:
    """Sessions of three questions, each after the first answered in so many seconds; all promoters."""
    for number in numbers:
        start = monday_ms() + DAY_MS + number * HOUR_MS // 10
        session = h._session(f"q{number}", start, kind="transactional", touchpoint="purchase")
        for place, (name, value) in enumerate((("nps", "10"), ("sat5", "5"), ("affinity", "5"))):
            h.answer(name, value, customer=f"q{number}", at_ms=start + int(place * seconds * 1000))
            shown = start - 3 * HOUR_MS if place == 0 else h.answers[-2].answered_ms
            h.answers[-1] = structs.replace(h.answers[-1], session_id=session, shown_ms=shown)


async def test_speeders_are_found_and_the_score_without_them_is_told(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 30, 70)
    quick(h, range(25), seconds=0.4)
    quick(h, range(100, 103), seconds=1.0)
    context = await digest_of(h, tmp_path, shop=replace(SHOP, language="en"))
    assert (context.quality.careless.speeder, context.quality.careless.straightline) == (25, 0)
    (nps,) = [w for w in context.quality.careless.without if w.result.metric == "nps"]
    assert nps.result.score == pytest.approx(100 * (48 - 30) / 98)
    assert nps.without.score == pytest.approx(100 * (23 - 30) / 73)
    text = render_text(context)
    assert "less than a second a question 25. They are counted." in text
    assert "NPS® (after a purchase): without these 25 it would be -9.6 instead of +18.4 (n=73)." in text
    assert "Data quality" in json.dumps(render_thread(context))


async def test_answers_that_were_imported_have_no_times_and_are_no_speeders(tmp_path: Path) -> None:
    h = History()
    quick(h, range(20), seconds=0.4)
    h.answers = [structs.replace(answer, shown_ms=answer.answered_ms) for answer in h.answers]
    assert (await digest_of(h, tmp_path)).quality.careless.speeder == 0


async def test_who_answered_is_compared_with_who_did_not_through_the_store(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40, monday=weeks_ago(2))
    h.invite_everyone()
    h.invited(30, monday=weeks_ago(2))
    silent = [i.customer_id for i in h.invitations if not i.session_id]
    who = [i.customer_id for i in h.invitations if i.session_id]
    h.events = [
        Event(
            f"p{number}-{customer}",
            "purchase",
            at,
            at,
            customer,
            json.dumps({"order": f"{number}{customer}", "amount": 100}),
        )
        for group, most in ((who, 3), (silent, 1))
        for row, customer in enumerate(group)
        for number in range(most - row % 2)
        for at in [monday_ms(weeks_ago(20)) + number]
    ]
    context = await digest_of(h, tmp_path, shop=replace(SHOP, language="ja"))
    orders = next(r for r in context.quality.nonresponse if r.variant == "orders_365d")
    assert orders.counts == {"answered": 40, "silent": 30}
    assert orders.score == pytest.approx(2.0 / ((0.25 * 40 / 39 + 0.25 * 30 / 29) / 2) ** 0.5)
    assert "答えた方と答えていない方で、1年間の注文回数に差があります" in render_text(context)
    record = next(r for r in render_json(context)["quality"]["nonresponse"] if r["variant"] == "orders_365d")
    assert record["flags"] == ["nonresponse_bias"]


async def test_early_and_late_answers_are_told_apart_by_the_invitation(tmp_path: Path) -> None:
    h = History()
    h.nps(30, 0, 30)
    h.nps(0, 30, 30)
    h.invite_everyone()
    late = {answer.session_id for answer in h.answers if answer.value == "5"}
    h.invitations = [
        replace(i, sent_ms=(i.sent_ms or 0) - 2 * DAY_MS) if i.session_id in late else i for i in h.invitations
    ]
    (found,) = (await digest_of(h, tmp_path)).quality.timing
    assert (found.early.score, found.late.score) == (100.0, -100.0)
    assert found.difference is not None
    assert found.difference.delta == -200.0
    assert found.differs


async def test_channels_that_differ_are_told(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    h.scores("csat5", {5: 40, 2: 5}, channel="line")
    h.scores("csat5", {5: 15, 2: 25}, channel="slack")
    context = await digest_of(h, tmp_path, shop=replace(SHOP, language="ja"))
    (found,) = context.quality.consistency
    assert found.spread == pytest.approx(100 * (40 / 45 - 15 / 40))
    text = render_text(context)
    assert "最大51.4ポイントの差（LINE 88.9% n=45、Slack 37.5% n=40）。有意な差です。" in text


async def test_a_digest_of_a_part_checks_nothing_of_the_whole(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    quick(h, range(25), seconds=0.4)
    rule = replace(WEEKLY, touchpoint="purchase")
    context = await digest_of(h, tmp_path, rule=rule)
    assert context.quality.careless.speeder == 0
    assert "Data quality" not in render_text(context)


async def test_the_first_digest_after_a_quarter_tells_what_moved_the_recommendation(tmp_path: Path) -> None:
    h = History()
    for row in range(120):
        at = monday_ms(weeks_ago(12)) + row * HOUR_MS
        session = h._session(f"d{row}", at, kind="transactional", touchpoint="purchase")
        for name, value in (("nps", (row * 3) % 11), ("exp_price", 1 + (row * 3) % 11 // 3), ("exp_info", 1 + row % 5)):
            h.answer(name, value, customer=f"d{row}", at_ms=at)
            h.answers[-1] = structs.replace(h.answers[-1], session_id=session)
    # 28 September to 4 October 2026: its Monday after is 5 October, the first of a quarter
    context = await digest_of(
        h, tmp_path, shop=replace(SHOP, language="en"), week="2026-W40", now_ms=monday_ms(weeks_ago(6))
    )
    (analysis,) = context.drivers
    assert (analysis.block, analysis.window) == ("purchase", Span("2026-07-01", "2026-10-01"))
    assert "drivers" not in [gap.block for gap in context.missing_blocks]
    text = render_text(context)
    assert "What goes with the recommendation (purchase, n=120)" in text
    assert "A correlation, not a cause." in text
    assert {r["variant"] for r in render_json(context)["drivers"]} >= {"purchase.r2", "purchase.exp_price"}


async def test_other_digests_name_drivers_as_missing(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    context = await digest_of(h, tmp_path)
    assert (context.drivers, "drivers" in {gap.block for gap in context.missing_blocks}) == ((), True)

"""Customers in groups: the worked examples, limits that are reached exactly, and who is left out."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.event_tables import behaviours, event_tables
from reports.metrics import Result, Span, Stratum
from reports.segments import (
    DAY_MS,
    Attitude,
    Behaviour,
    Deed,
    Given,
    attitudes,
    close_pairs,
    crossed_shown,
    discount_evidence,
    movement,
    nps_nrs_results,
    psy_results,
    segment_of,
    segment_results,
)

NEAR = 5.1e-5
TOKYO = ZoneInfo("Asia/Tokyo")
NOW = 1_795_000_000_000


def by_variant(found: tuple[Result, ...]) -> dict[str, Result]:
    return {result.variant: result for result in found}


# ------------------------------------------------------------------------------------------------------- PSY × BEH


@pytest.mark.parametrize(
    ("attitude", "behaviour", "psy", "segment"),
    [
        (Attitude(5, 9, 2, True), Behaviour(4, 4), 274 / 3, "truly_loyal"),
        (Attitude(2, 7, 0, False), Behaviour(6, 6, 5), 24.0, "price_driven"),
        (Attitude(4, None, 1, True), Behaviour(1, 1), 425 / 6, "latent_fan"),
        (Attitude(None, 9, 2, True), Behaviour(4, 4), None, None),
        (Attitude(4, 6, 0, False), Behaviour(), 42.0, "low_loyalty"),
        (Attitude(4, 8, 3, False), Behaviour(1, 1, referrals=1), 66.0, "truly_loyal"),
        (Attitude(3, 7, 0, True), Behaviour(2, 2), 54.0, "price_driven"),
        (Attitude(4, 5, 0, True), Behaviour(2, 2), 60.0, "truly_loyal"),
        (Attitude(4, 5, 0, True), Behaviour(1, 1), 60.0, "latent_fan"),
        (Attitude(5), Behaviour(9, 9), None, None),
        (Attitude(1, 0), Behaviour(renewals=1), 0.0, "price_driven"),
    ],
)
def test_the_segment_of_a_customer(
    attitude: Attitude, behaviour: Behaviour, psy: float | None, segment: str | None
) -> None:
    assert attitude.psy() == (None if psy is None else pytest.approx(psy, abs=1e-6))
    assert segment_of(attitude.psy(), behaviour) == segment


def test_price_shows_in_discounts_or_in_a_no_to_paying_more() -> None:
    assert discount_evidence(Attitude(2, 7, 0, True), Behaviour(6, 6, 3))
    assert not discount_evidence(Attitude(2, 7, 0, True), Behaviour(6, 6, 2))
    assert discount_evidence(Attitude(2, 7, 0, False), Behaviour(6, 6, 0))
    assert not discount_evidence(Attitude(2, 7, 0, None), Behaviour(renewals=1))


def test_segments_count_the_classified_and_say_how_many_were_not() -> None:
    people = {f"f{i}": Attitude(5, 9, 2, True) for i in range(12)} | {f"u{i}": Attitude(None, 9) for i in range(3)}
    people |= {f"p{i}": Attitude(2, 7, 0, i < 4) for i in range(8)}
    deeds = {f"f{i}": Behaviour(2, 2) for i in range(6)} | {f"p{i}": Behaviour(3, 3) for i in range(8)}
    found = by_variant(segment_results(people, deeds, stratum=Stratum(), window=Span()))
    counts = {"truly_loyal": 6, "latent_fan": 6, "price_driven": 8, "low_loyalty": 0, "unclassified": 3}
    assert found["share_latent_fan"].counts == counts
    assert (found["share_latent_fan"].score, found["share_latent_fan"].n_valid) == (30.0, 20)
    assert found["discount_evidence"].score == 50.0
    assert found["discount_evidence"].shown().score is None
    psy = by_variant(psy_results(people, stratum=Stratum(), window=Span()))
    assert (psy["share_high"].score, psy["mean"].n_valid) == (60.0, 20)
    assert psy["mean"].score == pytest.approx((12 * 274 / 3 + 4 * 44 + 4 * 24) / 20, abs=1e-6)


def test_movement_counts_those_who_were_classified_at_both_dates() -> None:
    matrix = movement(
        {"a": "latent_fan", "b": "truly_loyal", "c": None, "d": "low_loyalty"},
        {"a": "truly_loyal", "b": "truly_loyal", "c": "truly_loyal", "e": "low_loyalty"},
    )
    assert matrix == {("latent_fan", "truly_loyal"): 1, ("truly_loyal", "truly_loyal"): 1}
    people, deeds = {"a": Attitude(5, 9), "b": Attitude(5, 9)}, {"b": Behaviour(2, 2)}
    before = {"a": "latent_fan", "b": "latent_fan"}
    moved = segment_results(people, deeds, stratum=Stratum(), window=Span(), before=before)[-1]  # type: ignore[arg-type]
    assert (moved.variant, moved.score, moved.counts["latent_fan>truly_loyal"]) == ("moved", 50.0, 1)


def test_an_attitude_is_made_of_the_latest_answers_within_a_year() -> None:
    latest: dict[str, list[Given]] = {
        "affinity": [{"c1": (NOW - 400 * DAY_MS, 5), "c2": (NOW - DAY_MS, 2)}, {"c2": (NOW - 2 * DAY_MS, 5)}],
        "emotion": [{"c2": (NOW - 365 * DAY_MS, ("relief", "trust"))}],
        "pay_more": [{"c1": (NOW - 1, 0), "c2": (NOW, 1)}],
    }
    assert attitudes(latest, NOW) == {
        "c1": Attitude(pay_more=False),
        "c2": Attitude(affinity=2, emotions=2),
    }


def test_orders_of_one_day_are_one_purchase_and_a_repeated_order_is_one_order() -> None:
    deeds = [
        Deed("c1", "purchase", NOW - DAY_MS, {"order": "A1", "discount": "500"}),
        Deed("c1", "purchase", NOW - DAY_MS, {"order": "A1", "discount": "500"}),
        Deed("c1", "purchase", NOW - DAY_MS, {"order": "A2", "discount": 0}),
        Deed("c1", "purchase", NOW - 400 * DAY_MS, {"order": "A0"}),
        Deed("c1", "purchase", NOW - 5 * DAY_MS, {"order": "A3", "cancelled": True}),
        Deed("c2", "contract_renew", NOW - 3 * DAY_MS, {}),
        Deed("c3", "referral", NOW - 3 * DAY_MS, {"referrer": "c1", "new_customer": "c3"}),
        Deed("c3", "visit", NOW - 3 * DAY_MS, {}),
    ]
    found = behaviours(event_tables(deeds, TOKYO), NOW)
    assert found == {"c1": Behaviour(1, 2, 1, 0, 1), "c2": Behaviour(renewals=1)}
    assert [found[name].loyal for name in ("c1", "c2")] == [True, True]


def test_an_order_sent_again_another_day_is_one_purchase_and_one_cancelled_later_is_none() -> None:
    deeds = [
        Deed("c1", "purchase", NOW - 9 * DAY_MS, {"order": "A1", "discount": "500"}),
        Deed("c1", "purchase", NOW - 5 * DAY_MS, {"order": "A1"}),
        Deed("c2", "purchase", NOW - 9 * DAY_MS, {"order": "B1"}),
        Deed("c2", "purchase", NOW - 8 * DAY_MS, {"order": "B2"}),
        Deed("c2", "purchase", NOW - 2 * DAY_MS, {"order": "B2", "cancelled": True}),
    ]
    happened = event_tables(deeds, TOKYO)
    assert behaviours(happened, NOW) == {"c1": Behaviour(1, 1), "c2": Behaviour(1, 1)}
    # looking back, too, an order that was cancelled since is none: all figures are of the same orders
    assert behaviours(happened, NOW - 3 * DAY_MS)["c2"] == Behaviour(1, 1)


@given(st.integers(1, 5), st.none() | st.integers(0, 10), st.none() | st.integers(0, 8), st.none() | st.booleans())
def test_loyalty_of_mind_lies_between_its_parts(
    affinity: int, nps: int | None, emotions: int | None, pay: bool | None
) -> None:
    psy = Attitude(affinity, nps, emotions, pay).psy()
    assert (psy is None) == (nps is None and emotions is None and pay is None)
    assert psy is None or -1e-9 <= psy <= 100 + 1e-9
    if psy is not None and nps is not None and nps < 10:
        more = Attitude(affinity, nps + 1, emotions, pay).psy()
        assert more is not None
        assert more > psy


# ------------------------------------------------------------------------------------------------------- NPS × NRS


def test_quiet_risk_and_locked_in_worked_example() -> None:
    pairs = {(9, 1): 2, (7, 3): 4, (10, 5): 30, (8, 4): 10, (3, 4): 4}
    found = by_variant(nps_nrs_results(pairs, stratum=Stratum(), window=Span()))
    risk, held = found["quiet_risk"], found["locked_in"]
    assert (risk.score, risk.ci_low, risk.ci_high) == pytest.approx((12.0, 5.6176, 23.8048), abs=NEAR, rel=0)
    assert (held.score, held.ci_low, held.ci_high) == pytest.approx((0.0, 0.0, 7.1348), abs=NEAR, rel=0)
    assert (risk.counts["promoter_repeater"], risk.counts["passive_leaver"], len(risk.counts)) == (30, 4, 9)
    assert sum(found[name].score or 0 for name in found if name.startswith("share_")) == pytest.approx(100.0)


def test_eight_customers_are_too_few_for_a_table() -> None:
    shown = [found.shown() for found in nps_nrs_results({(9, 1): 8}, stratum=Stratum(), window=Span())]
    assert {found.status for found in shown} == {"suppressed"}
    assert all(found.score is None and not found.counts for found in shown)
    assert {found.status for found in nps_nrs_results({}, stratum=Stratum(), window=Span())} == {"no_data"}


def test_a_pair_is_of_one_customer_and_at_most_thirty_days_apart() -> None:
    nps = {"c1": (NOW, 9), "c2": (NOW, 8), "c3": (NOW, 3)}
    nrs = {"c1": (NOW - 30 * DAY_MS, 1), "c2": (NOW + 31 * DAY_MS, 5), "c4": (NOW, 5)}
    assert list(close_pairs(nps, nrs)) == [("c1", 9, 1)]


# ------------------------------------------------------------------------------------- crossings of two answers


def crossed(pairs: dict[tuple[int, int], int]) -> dict[str, Result]:
    return by_variant(crossed_shown(nps_nrs_results(pairs, stratum=Stratum(), window=Span())))


def test_a_crossing_with_ten_in_every_row_and_column_is_told_cell_by_cell() -> None:
    told = crossed({(9, 5): 20, (9, 1): 6, (8, 4): 12, (5, 1): 6, (5, 5): 6})
    assert all(result.score is not None for result in told.values())
    assert (told["quiet_risk"].score, told["quiet_risk"].counts["passive_leaver"]) == (pytest.approx(12.0), 0)


def test_what_a_handful_of_detractors_said_of_staying_is_not_told() -> None:
    # five detractors: their distribution over the second question is a number of five
    told = crossed({(9, 5): 20, (9, 1): 12, (8, 4): 13, (5, 5): 2, (5, 1): 3})
    assert {result.score for result in told.values()} == {None}
    assert all(result.counts == {} and "sibling" in result.flags for result in told.values())


def test_a_small_middle_hides_the_cells_and_leaves_the_two_sums_that_do_not_cross_it() -> None:
    told = crossed({(9, 5): 20, (9, 1): 12, (8, 4): 4, (5, 5): 12, (5, 1): 3})
    assert told["share_promoter_repeater"].score is None
    for name in ("quiet_risk", "locked_in"):
        assert told[name].score is not None
        assert told[name].counts == {}, "the cells would stand in them"


def test_nobody_in_a_row_hides_nothing() -> None:
    assert crossed({(9, 5): 20, (9, 1): 12})["share_promoter_leaver"].score == pytest.approx(37.5)

"""Figures from business events: the worked examples, nothing and one of everything, and what belongs to nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from shop_events import MAY, NEAR, TOKYO, at, bought, happened, one, scored, tables, window

from reports.event_rows import COLUMNS, SEVERAL, deadline_ms
from reports.kpi.customers import (
    REST,
    churn_rate,
    conversion,
    kaplan_meier_median,
    lapse_rate,
    new_customers,
    repeat_customers,
    repeat_interval,
    repeat_rate,
    retention,
    retention_of,
    return_rate,
    spending,
)
from reports.kpi.kpis import kpis
from reports.kpi.lifetime import lifetime_values, ltv_churn, ltv_net_split, ltv_net_total, ltv_simple
from reports.kpi.reach import card_rate, click_through, page_dwell, posts, referrals, survey_rates
from reports.kpi.support import BANDS, first_response, promises_kept, resolution, satisfaction_by_hours, self_resolution
from reports.kpi.window import KpiSettings, sampled
from reports.linkage import Said, given_answers
from reports.metrics import hide_siblings, record
from reports.procedures import share
from reports.segments import Deed
from tests.examples import of_each_hundred

OWN = KpiSettings()
NOTHING = tables()


def times(n: int, type: str, day: float = 5, **data: Any) -> list[Deed]:  # noqa: A002
    """The same event of n customers."""
    return [happened(f"c{i:04}", type, at(day), **data) for i in range(n)]


def close(expected: tuple[float, float, float]) -> Any:
    return pytest.approx(expected, abs=NEAR, rel=0)


# ------------------------------------------------------------------------------------------------ who buys, and again


def test_new_are_those_whose_first_purchase_ever_lies_in_the_window() -> None:
    history = tables(bought("a", 2), bought("b", 9, 12), bought("c", 0, 3), bought("", 4), bought("", 5))
    new, guests = new_customers(history, MAY)
    assert (new.score, new.n_valid, guests.score) == (2.0, 3, 2.0)
    assert new_customers(tables(bought("c", 0, 3)), MAY)[0].score == 0.0


def test_a_contract_makes_a_customer_too() -> None:
    history = tables(happened("a", "contract_start", at(-20)), bought("a", 4), happened("b", "contract_start", at(4)))
    assert new_customers(history, MAY)[0].score == 1.0


def test_repeat_customers_have_a_purchase_that_is_not_their_first() -> None:
    assert repeat_customers(tables(bought("a", 2, 9)), MAY).score == 1.0
    assert new_customers(tables(bought("a", 2, 9)), MAY)[0].score == 1.0
    assert repeat_customers(tables(bought("a", 0, 3)), MAY).score == 1.0
    assert repeat_customers(tables(bought("a", 2)), MAY).score == 0.0
    assert repeat_customers(tables(bought("a", 2, 2.2)), MAY).score == 0.0


def test_repeat_rate() -> None:
    many = tables(times(150, "purchase", 3), times(45, "purchase", 9))
    found = repeat_rate(many, MAY)
    assert scored(found) == close((30.0, 23.2408, 37.7580))
    assert (found.n_valid, found.status, found.unit) == (150, "ok", "per_customer")
    assert scored(repeat_rate(tables(times(12, "purchase"), times(12, "purchase", 5.3)), MAY)) == close(
        (0.0, 0.0, 24.2494)
    )
    empty = repeat_rate(NOTHING, MAY)
    assert (empty.score, empty.status, empty.counts) == (None, "no_data", {})


@given(st.lists(st.integers(1, 4), max_size=30))
@settings(max_examples=of_each_hundred(8), deadline=None)
def test_a_customer_who_returns_never_lowers_the_repeat_rate(purchases: list[int]) -> None:
    history = [bought(f"c{i}", *range(1, days + 1)) for i, days in enumerate(purchases)]
    before = repeat_rate(tables(*history), MAY).score or 0.0
    after = repeat_rate(tables(*history, bought("returns", 3, 8)), MAY).score
    assert after is not None
    assert after >= before


def test_orders_of_one_local_day_are_one_purchase_and_midnight_is_the_shops() -> None:
    late = [happened("a", "purchase", at(3.49)), happened("a", "purchase", at(3.51))]
    assert repeat_rate(tables(late), MAY).counts == {"yes": 1, "no": 0}
    assert repeat_rate(tables(bought("a", 3.3, 3.49)), MAY).counts == {"yes": 0, "no": 1}


def test_test_and_cancelled_orders_an_order_sent_twice_and_its_correction() -> None:
    history = tables(
        bought("a", 3, order="1", amount=100),
        bought("a", 5, order="1", amount="1,200円"),
        bought("b", 3, order="2", amount=900),
        bought("b", 6, order="2", cancelled=True),
        bought("c", 3, order="3", amount=900, test="true"),
        bought("d", 3, amount=700),
        bought("d", 3.1, amount=700),
        happened("", "delivery", at(4), order="2", units=5),
        happened("", "return", at(5), order="2", units=5),
    )
    assert history.purchases["customer"].tolist() == ["a", "d", "d"]
    assert history.purchases["amount"].tolist() == [1200.0, 700.0, 700.0]
    assert history.purchases["at_ms"].iloc[0] == at(3)
    assert return_rate(history, MAY).n_valid == 0


def test_ids_that_differ_after_a_nul_are_different() -> None:
    history = tables(bought("a\0x", 3, order="1\0"), bought("a\0y", 3, order="1\0\0"), bought("", 3), bought("", 3))
    assert (len(history.purchases), history.purchases["customer"].nunique()) == (4, 3)


def test_conversion() -> None:
    visits = [happened("", "visit", at(4), visitor=f"v{i}", converted=i < 36) for i in range(1200)]
    robots = [happened("", "visit", at(4), visitor=f"r{i}", converted=False, bot=True) for i in range(99)]
    again = [happened("", "visit", at(5), visitor="v0", converted=False)]
    (found,) = conversion(tables(visits, robots, again), MAY)
    assert scored(found) == close((3.0, 2.1747, 4.1252))
    none = [happened("", "visit", at(4), visitor=f"v{i}", converted=0) for i in range(40)]
    assert scored(conversion(tables(none), MAY)[0]) == close((0.0, 0.0, 8.7622))
    assert conversion(NOTHING, MAY)[0].score is None


def test_conversion_has_a_monthly_trend() -> None:
    visits = [
        happened("", "visit", at(day), visitor=f"{day}-{i}", converted=i < day) for day in (2, 40) for i in range(50)
    ]
    found = conversion(tables(visits), window(1, 62))
    assert [(r.segment, r.n_valid, r.score) for r in found] == [
        ("", 100, 42.0),
        ("month=2026-05", 50, 4.0),
        ("month=2026-06", 50, 80.0),
    ]


def test_return_rate_is_of_the_cohort_delivered() -> None:
    def shop(delivered: int, returned: int, back: float = 20) -> Any:
        sent = [happened("", "delivery", at(5), order=f"o{i}") for i in range(delivered)]
        return tables(sent, [happened("", "return", at(back), order=f"o{i}", units=1) for i in range(returned)])

    seen = window(1, 32, 90)
    assert scored(return_rate(shop(400, 12), seen)) == close((3.0, 1.7243, 5.1699))
    assert scored(return_rate(shop(25, 0), seen)) == close((0.0, 0.0, 13.3192))
    assert scored(return_rate(shop(3, 3), seen)) == close((100.0, 43.8503, 100.0))
    assert return_rate(shop(3, 3), seen).status == "suppressed"
    assert return_rate(shop(25, 25, 36), seen).score == 0.0
    assert return_rate(shop(25, 0), seen).flags == ()
    assert return_rate(shop(25, 0), window(1, 32, 33)).flags == ("immature",)


def test_returned_units_are_those_of_the_order_and_never_more_than_were_sent() -> None:
    history = tables(
        bought("a", 1, order="1", units=4),
        happened("", "delivery", at(3), order="1"),
        happened("", "delivery", at(3), order="2", units=6),
        happened("", "return", at(4), order="1"),
        happened("", "return", at(5), order="1", units=3),
        happened("", "return", at(5), order="9", units=3),
        happened("", "return", at(5)),
    )
    found = return_rate(history, window(1, 32, 90))
    assert (found.counts, found.n_valid, history.incomplete) == ({"yes": 4, "no": 6}, 10, 1)


def test_churn_rate() -> None:
    def shop(active: int, left: int) -> Any:
        joined = times(active, "contract_start", -30)
        inside = [happened("x", "contract_start", at(3)), happened("x", "contract_cancel", at(4))]
        return tables(joined, times(left, "contract_cancel", 9), inside)

    assert scored(churn_rate(shop(200, 8), MAY)) == close((4.0, 2.0406, 7.6932))
    assert scored(churn_rate(shop(50, 0), MAY)) == close((0.0, 0.0, 7.1348))
    assert churn_rate(shop(0, 0), MAY).score is None


def test_lapse_rate() -> None:
    own = KpiSettings(repeat_interval_days=20)
    silent = [bought(f"s{i}", -40) for i in range(30)]
    active = [bought(f"a{i}", 20) for i in range(90)]
    found = lapse_rate(tables(*silent, *active, bought("gone", -400)), MAY, own)
    assert scored(found) == close((25.0, 18.1098, 33.4411))
    assert found.flags == ("default_interval",)
    assert scored(lapse_rate(tables(*active[:10]), MAY, own)) == close((0.0, 0.0, 27.7533))
    unknown = lapse_rate(tables(*active), MAY, OWN)
    assert (unknown.score, unknown.flags) == (None, ("no_interval",))


def test_thirty_gaps_are_the_usual_interval_and_the_shops_own_figure_is_put_aside() -> None:
    regular = [bought(f"c{i}", 1, 11) for i in range(30)]
    own = KpiSettings(repeat_interval_days=300)
    found = lapse_rate(tables(*regular, bought("silent", 1)), MAY, own)
    # everybody else bought on the 11th: 20.5 days of silence are longer than twice ten
    assert (found.counts, found.flags) == ({"yes": 31, "no": 0}, ())
    assert lapse_rate(tables(*regular[:29]), MAY, own).counts == {"yes": 0, "no": 29}


@pytest.mark.parametrize(
    ("end", "new", "start", "expected"),
    [(120, 30, 100, (90.0, 82.5634, 94.4771)), (50, 50, 40, (0.0, 0.0, 8.7622))],
)
def test_retention_of_counts(end: int, new: int, start: int, expected: tuple[float, float, float]) -> None:
    found = retention_of(start, new, end)
    assert (found.score, found.low, found.high) == close(expected)


def test_retention_needs_customers_at_the_start_and_counts_that_agree() -> None:
    assert retention_of(0, 3, 3).score is None
    assert retention_of(100, 5, 120).flags == ("inconsistent",)
    assert retention_of(100, 30, 20).flags == ("inconsistent",)
    with pytest.raises(ValueError, match="none can be negative"):
        retention_of(-1, 0, 0)


def test_retention_of_contracts_and_of_a_shop_without() -> None:
    signed = tables(
        times(100, "contract_start", -30),
        times(10, "contract_cancel", 9),
        [happened(f"n{i}", "contract_start", at(4)) for i in range(30)],
    )
    found = retention(signed, MAY)
    assert scored(found) == close((90.0, 82.5634, 94.4771))
    assert found.counts == {"start": 100, "new": 30, "end": 120}
    # in the middle of May those of 14 May last year are no customers any more
    plain = tables(*[bought(f"old{i}", -352) for i in range(8)], times(12, "purchase", -100), bought("new", 6))
    assert retention(plain, MAY).counts == {"start": 20, "new": 1, "end": 13}


def test_gaps_of_one_customer() -> None:
    chain = [1, 11, 31, 51, 81, 151]
    half = window(1, 200)
    median, mean, _ = repeat_interval(tables(bought("a", *chain), bought("a", 11.2)), half, OWN)
    assert (mean.score, median.score, mean.n_valid, mean.status) == (30.0, 20.0, 5, "suppressed")
    assert mean.shown().score is None
    alone = repeat_interval(tables(bought("a", 1), bought("b", 4)), half, OWN)
    assert [r.score for r in alone] == [None, None, None]
    few = repeat_interval(tables(bought("a", *chain)), half, KpiSettings(repeat_interval_days=30))
    assert few[0].flags == ("default_interval",)


def test_kaplan_meier_waits_for_those_who_have_not_come_back() -> None:
    returned = [bought(f"r{i}", 1, 11) for i in range(10)]
    waiting = [bought(f"w{i}", 1) for i in range(30)]
    found = repeat_interval(tables(*returned, *waiting), window(1, 100), OWN)
    assert one(found, "repeat_interval", "median").score == 10.0
    assert one(found, "repeat_interval", "km_median").score is None
    assert one(found, "repeat_interval", "km_median").counts == {"second": 10, "not_yet": 30}
    more = repeat_interval(tables(*returned, *waiting[:5]), window(1, 100), OWN)
    assert one(more, "repeat_interval", "km_median").score == 10.0


@pytest.mark.parametrize("seed", range(8))
def test_kaplan_meier_agrees_with_another_library(seed: int) -> None:
    rng = np.random.default_rng(seed)
    days = rng.integers(1, 40, size=61).astype(float)
    happened_ = (rng.random(61) < 0.8).astype(float)
    data = stats.CensoredData(uncensored=days[happened_ == 1], right=days[happened_ == 0])
    curve = stats.ecdf(data).sf
    expected = next((q for q, p in zip(curve.quantiles, curve.probabilities, strict=True) if p < 0.5 - 1e-12), None)
    found = kaplan_meier_median(days, happened_)
    assert found.score == expected
    if found.score is not None:
        assert found.low is None or found.low <= found.score
        assert found.high is None or found.high >= found.score


def test_spending() -> None:
    orders = [happened(f"c{i % 80:03}", "purchase", at(1 + i % 28), order=f"o{i}", amount=5000) for i in range(120)]
    aov, spend, often = spending(tables(orders), MAY)
    assert (aov.score, spend.score, often.score) == (5000.0, 7500.0, 1.5)
    assert (aov.n_valid, spend.n_valid, often.n_valid) == (120, 80, 80)
    assert scored(aov) == (5000.0, 5000.0, 5000.0)
    assert [r.score for r in spending(NOTHING, MAY)] == [None, None, None]


def test_guests_count_in_the_price_of_an_order_only_and_an_order_without_amount_nowhere() -> None:
    aov, spend, _ = spending(tables(bought("", 3, amount=100), bought("a", 3, amount=300), bought("b", 3)), MAY)
    assert (aov.score, aov.n_valid, aov.n_missing) == (200.0, 2, 1)
    assert (spend.score, spend.n_valid) == (300.0, 1)


def test_an_amount_no_order_can_have_is_missing_and_stops_no_figure() -> None:
    slips = [bought(f"s{i}", 4, order=f"S{i}", amount=amount) for i, amount in enumerate((1e308, 10**400, "9" * 40))]
    found = spending(tables(*(bought(f"c{i}", 3, amount=1000) for i in range(12)), *slips), MAY)
    (price,) = [r for r in found if (r.metric, r.variant, r.segment) == ("aov", "mean", "")]
    assert (price.score, price.n_valid) == (1000.0, 12)


def test_products_stand_apart_and_none_can_be_had_by_subtraction() -> None:
    def orders(product: Any, n: int) -> list[Deed]:
        return [happened(f"{product}{i}", "purchase", at(4), product=product, amount=100) for i in range(n)]

    history = tables(orders("tea", 40), orders("mug", 20), orders("gift", 4), orders(["tea", "mug"], 12))
    found = spending(history, MAY)
    status = {r.segment: r.status for r in found if r.metric == "aov"}
    assert status == {
        "": "ok",
        "product=tea": "ok",
        "product=mug": "caution",
        "product=gift": "suppressed",
        f"product={REST}": "suppressed",
    }
    assert one(found, "aov", "mean", f"product={REST}").flags == ("zero_variance", "sibling")
    assert history.purchases["product"].isin([SEVERAL]).sum() == 12


@given(st.lists(st.integers(0, 60), min_size=2, max_size=8))
def test_hidden_siblings_hold_ten_together_or_nothing_is_open(sizes: list[int]) -> None:
    parts = [record("m", "share", share(0, n), n, form="share", segment=str(i)) for i, n in enumerate(sizes)]
    found = hide_siblings(parts)
    hidden = [r.n_valid for r in found if r.status == "suppressed"]
    still_open = [r.n_valid for r in found if r.status in ("caution", "ok")]
    assert all(r.n_valid >= 10 for r in found if r.status in ("caution", "ok"))
    assert not hidden or not still_open or (sum(hidden) >= 10 and len(hidden) >= 2)
    assert hidden or [r.status for r in found] == [r.status for r in parts]


# --------------------------------------------------------------------------------------------- referrals and posts


def brought(counts: list[int], **data: Any) -> list[Deed]:
    return [
        happened(f"n{i}-{j}", "referral", at(5), referrer=f"c{i:04}", **data)
        for i, number in enumerate(counts)
        for j in range(number)
    ]


def test_referrals_per_hundred() -> None:
    history = tables(times(40, "purchase", -5), brought([0] * 30 + [1] * 7 + [2] * 3, rewarded=False))
    found = referrals(history, MAY)
    assert one(found, "referrals", "count").score == 13.0
    assert scored(one(found, "referrals", "per_100")) == close((32.5, 15.0, 52.5))
    nobody = referrals(tables(times(40, "purchase", -5)), MAY)
    assert [r.score for r in nobody] == [0.0, 0.0, 0.0]
    assert referrals(NOTHING, MAY)[2].score is None


def test_rewarded_referrals_are_counted_apart_and_a_new_customer_once() -> None:
    given_ = [
        happened("", "referral", at(5), new_customer="n1", referrer="c0001", rewarded="yes"),
        happened("", "referral", at(6), new_customer="n1", referrer="c0002", rewarded=False),
        happened("n2", "referral", at(6), referrer="c0002", rewarded=False),
        happened("n3", "referral", at(6), referrer="c0002"),
        happened("c0002", "referral", at(6), referrer="c0002"),
    ]
    found = referrals(tables(times(12, "purchase", -5), given_), MAY)
    assert one(found, "referrals", "count").counts == {"unrewarded": 1, "rewarded": 1, "unknown": 1}
    assert one(found, "referrals", "rewarded").score == 1.0


def test_posts_stand_in_three_columns() -> None:
    written = [happened("", "ugc", at(4), incentivised=i < 5) for i in range(20)]
    assert [r.score for r in posts(tables(written), MAY)] == [15.0, 5.0, 0.0]
    assert [r.score for r in posts(tables(happened("", "ugc", at(4))), MAY)] == [0.0, 0.0, 1.0]
    assert [r.score for r in posts(NOTHING, MAY)] == [0.0, 0.0, 0.0]


# -------------------------------------------------------------------------------------------------------- support


def ticket(name: str, hours: float | None, *, solved: float | None = None, day: float = 3, who: str = "") -> list[Deed]:
    steps = [happened(who, "ticket_opened", at(day), ticket=name)]
    if hours is not None:
        steps.append(happened(who, "ticket_replied", at(day + hours / 24), ticket=name, automatic=False))
    if solved is not None:
        steps.append(happened(who, "ticket_resolved", at(day + solved / 24), ticket=name))
    return steps


def test_hours_to_the_first_response() -> None:
    hours = [0.5, 1, 2, 3, 5, 8, 20, 30, 50, 100]
    found = first_response(tables(*[ticket(f"t{h}", h) for h in hours]), MAY, OWN)
    assert one(found, "first_response_h", "mean").score == pytest.approx(21.95)
    assert scored(one(found, "first_response_h", "median")) == close((6.5, 2.0, 30.0))
    assert one(found, "first_response_h", "p90").score == pytest.approx(55.0)
    assert scored(one(found, "first_response_h", "reply_in_promise")) == close((70.0, 39.6778, 89.2209))


def test_one_ticket_has_no_interval_and_none_has_no_score() -> None:
    found = first_response(tables(ticket("t", 2)), MAY, OWN)
    assert scored(found[0]) == (2.0, None, None)
    assert found[0].status == "suppressed"
    assert [r.score for r in first_response(NOTHING, MAY, OWN)] == [None] * 4


def test_an_automatic_reply_is_none_and_a_ticket_past_the_promise_is_late() -> None:
    robot = [
        happened("", "ticket_opened", at(3), ticket="r"),
        happened("", "ticket_replied", at(3.01), ticket="r", automatic=True),
        happened("", "ticket_replied", at(3.5), ticket="r"),
    ]
    history = tables(robot, ticket("late", None, day=5), ticket("young", None, day=31))
    found = first_response(history, MAY, OWN)
    assert found[0].score == 12.0
    assert found[0].counts == {"replied": 1, "open_late": 1, "open_young": 1}
    assert one(found, "first_response_h", "reply_in_promise").counts == {"yes": 1, "no": 1, "open_late": 1}
    assert first_response(history, MAY, KpiSettings(reply_within_h=6))[3].counts["yes"] == 0


def test_a_ticket_opened_again_is_open_until_its_last_resolution() -> None:
    again = [*ticket("a", 1, solved=5), happened("", "ticket_opened", at(6), ticket="a")]
    assert resolution(tables(again), MAY)[0].counts == {"resolved": 0, "open": 1}
    solved = [*again, happened("", "ticket_resolved", at(8), ticket="a")]
    assert resolution(tables(solved), MAY)[0].score == 5 * 24.0


def test_hours_to_resolution_and_satisfaction() -> None:
    hours, codes = [1.0, 2, 3, 4, 5, 6], [5.0, 5, 4, 4, 2, 1]
    rho = satisfaction_by_hours(hours, codes, "csat5", MAY)[-1]
    assert rho.score == pytest.approx(-0.9710, abs=NEAR)
    assert (rho.status, rho.shown().score) == ("suppressed", None)
    assert satisfaction_by_hours(hours, [4.0] * 6, "csat5", MAY)[-1].score is None
    assert satisfaction_by_hours([4.0] * 29, list(range(1, 30)), "csat5", MAY)[-1].status == "suppressed"


def test_a_resolution_is_rated_by_its_customers_next_answer_about_support() -> None:
    cases = [ticket(f"t{i:02}", 1, solved=0.5 + 3 * i, who=f"c{i:02}") for i in range(40)]
    rows = [(f"c{i:02}", "csat5", 5 if i < 12 else 2, at(10), "transactional", "support") for i in range(40)]
    rows += [
        ("c39", "csat5", 5, at(40), "transactional", "support"),
        ("c38", "csat5", 5, at(1), "transactional", "support"),
    ]
    rows += [
        ("c37", "csat5", 5, at(4), "transactional", "purchase"),
        ("c36", "sat5", 5, at(11), "transactional", "support"),
    ]
    found = resolution(tables(*cases), MAY, given_answers(Said(*row) for row in rows))
    bands = [one(found, "resolution_h", f"csat5_{name}") for name, _ in BANDS]
    assert [r.n_valid for r in bands] == [1, 7, 16, 16]
    # one and seven are too few, and eight could still be had from the rest: the next smallest goes with them
    assert [r.status for r in bands] == ["suppressed", "suppressed", "suppressed", "caution"]
    rho = one(found, "resolution_h", "spearman_csat5")
    expected = stats.spearmanr([0.5 + 3 * i for i in range(40)], [5 if i < 12 else 2 for i in range(40)]).statistic
    assert rho.score == pytest.approx(expected)
    assert (rho.n_valid, rho.status) == (40, "ok")
    assert rho.ci_low is not None
    assert rho.ci_high is not None
    assert rho.ci_low <= rho.score <= rho.ci_high
    assert one(found, "resolution_h", "sat5_over_72h").n_valid == 1


def test_promises_kept() -> None:
    def shop(kept: int, broken: int) -> Any:
        met = [
            happened("", "promise", at(3), id=f"k{i}", due="2026-05-10", kept_at="2026-05-10T23:50")
            for i in range(kept)
        ]
        missed = [
            happened("", "promise", at(3), id=f"b{i}", due="2026-05-10", kept_at="2026-05-11T00:10")
            for i in range(broken)
        ]
        return tables(met, missed)

    assert scored(promises_kept(shop(47, 3), MAY)) == close((94.0, 83.7829, 97.9385))
    assert scored(promises_kept(shop(0, 3), MAY)) == close((0.0, 0.0, 56.1497))
    assert promises_kept(NOTHING, MAY).score is None


def test_a_promise_kept_later_a_delivery_with_a_due_date_and_what_is_not_due_yet() -> None:
    history = tables(
        happened("", "promise", at(3), id="p", due="2026-05-10T12:00"),
        happened("", "promise", at(9), id="p", kept_at="2026-05-09T10:00"),
        happened("", "promise", at(3), id="open", due="2026-05-12"),
        happened("", "promise", at(3), id="later", due="2026-05-30"),
        happened("", "promise", at(3), id="off", due="2026-05-12"),
        happened("", "promise", at(4), id="off", cancelled=True),
        happened("", "delivery", at(7), order="1", due="2026-05-07"),
        happened("", "delivery", at(8), order="2", due="2026-05-07"),
        happened("", "delivery", at(8), order="3"),
        happened("", "promise", at(3)),
    )
    found = promises_kept(history, window(1, 32, 20))
    assert found.counts == {"yes": 2, "no": 2, "delivery_due": 2, "promise_due": 2}
    assert history.incomplete == 1


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-05-10", datetime(2026, 5, 10, 23, 59, 59, 999000, TOKYO)),
        ("2026/5/10", datetime(2026, 5, 10, 23, 59, 59, 999000, TOKYO)),
        ("２０２６年５月１０日", datetime(2026, 5, 10, 23, 59, 59, 999000, TOKYO)),
        ("2026-05-10T00:00", datetime(2026, 5, 10, tzinfo=TOKYO)),
        ("soon", None),
        (20260510, None),
    ],
)
def test_a_date_is_kept_until_its_end(written: object, expected: datetime | None) -> None:
    assert deadline_ms(written, TOKYO) == (None if expected is None else round(expected.timestamp() * 1000))


def test_self_resolution_and_searches_in_vain() -> None:
    told = [happened("", "faq_feedback", at(4), resolved=i < 66, session=f"s{i}") for i in range(80)]
    searched = [
        happened("", "faq_search", at(4), query="ＧＩＦＴ  wrap" if i < 12 else "size", hits=int(i >= 12))
        for i in range(150)
    ]
    found = self_resolution(tables(told, searched), MAY)
    assert scored(one(found, "self_resolution")) == close((82.5, 72.7425, 89.2794))
    assert scored(one(found, "zero_result_rate")) == close((8.0, 4.6354, 13.4621))
    assert one(found, "zero_result_rate", "top_terms").counts == {"gift wrap": 12}
    assert [r.score for r in self_resolution(NOTHING, MAY)] == [None, None, 0.0]


def test_a_term_of_a_few_people_is_never_listed_and_none_carries_commands() -> None:
    rare = [happened("", "faq_search", at(4), query=f"tel {i % 3}", hits=0) for i in range(27)]
    rude = [happened("", "faq_search", at(4), query="\x1b[31mred\n\u202eevil", hits=0) for _ in range(10)]
    terms = one(self_resolution(tables(rare, rude), MAY), "zero_result_rate", "top_terms").counts
    assert terms == {"[31mred evil": 10}


# ---------------------------------------------------------------------------------------- messages, pages, surveys


def test_click_through_is_of_people_per_message() -> None:
    sent = [happened(f"c{i}", "message_delivered", at(4), message="sale") for i in range(300)]
    clicks = [happened(f"c{i}", "click", at(5), message="sale", page="/") for i in range(24)]
    strangers = [happened("x", "click", at(5), message="sale"), happened("c1", "click", at(5), message="sale")]
    (found,) = click_through(tables(sent, clicks, strangers), MAY)
    assert scored(found) == close((8.0, 5.4347, 11.6273))
    assert found.segment == "message=sale"
    assert click_through(NOTHING, MAY)[0].score is None


def test_dwell_is_cut_at_half_an_hour() -> None:
    seen = [happened("", "page_view", at(4), page="/gift", seconds=s) for s in (10, 40, 4000)]
    untimed = happened("", "page_view", at(4), page="/gift")
    median, views = page_dwell(tables(seen, untimed), MAY)
    assert (median.score, median.n_valid, median.n_missing, views.score) == (40.0, 3, 1, 4.0)
    long = page_dwell(tables([happened("", "page_view", at(4), page="/a", seconds=9000)]), MAY)
    assert long[0].score == 1800.0


def survey(name: str, *steps: tuple[str, float, dict[str, Any]]) -> list[Deed]:
    return [happened("", f"survey_{what}", at(day), session=name, **data) for what, day, data in steps]


def test_response_and_completion_of_another_tools_surveys() -> None:
    def shop(delivered: int, answered: int, completed: int) -> Any:
        return tables(
            *[
                survey(
                    f"s{i}",
                    ("delivered", 3, {}),
                    *([("answered", 5, {"question": "q1"})] if i < answered else []),
                    *([("completed", 5, {})] if i < completed else []),
                )
                for i in range(delivered)
            ]
        )

    assert scored(one(survey_rates(shop(600, 180, 150), MAY), "response_rate")) == close((30.0, 26.4699, 33.7845))
    assert scored(one(survey_rates(shop(600, 180, 150), MAY), "completion_rate")) == close((83.3333, 77.2048, 88.0688))
    assert scored(one(survey_rates(shop(20, 0, 0), MAY), "response_rate")) == close((0.0, 0.0, 16.1125))
    assert scored(one(survey_rates(shop(10, 10, 10), MAY), "completion_rate")) == close((100.0, 72.2467, 100.0))
    assert one(survey_rates(shop(1, 0, 0), MAY), "completion_rate").score is None
    assert [r.score for r in survey_rates(NOTHING, MAY)] == [None, None]


def test_an_answer_after_seven_days_is_no_response_and_a_young_week_is_not_final() -> None:
    late = tables(
        survey("a", ("delivered", 3, {}), ("answered", 11, {})), survey("b", ("invited", 3, {}), ("answered", 4, {}))
    )
    found = one(survey_rates(late, MAY), "response_rate")
    assert (found.counts, found.flags) == ({"yes": 0, "no": 1}, ())
    young = tables(survey("a", ("delivered", 30, {})))
    assert one(survey_rates(young, MAY), "response_rate").flags == ("immature",)


def test_questions_lose_people_and_cards_stand_apart() -> None:
    sessions = [
        survey(
            f"s{i}",
            ("started", 3, {"via": "qr"}),
            ("shown", 3, {"question": "sat"}),
            ("answered", 3.1, {"question": "sat"}),
            ("shown", 3.1, {"question": "nps"}),
            *([("answered", 3.2, {"question": "nps"})] if i < 9 else []),
        )
        for i in range(12)
    ]
    shipped = [happened("", "card_shipped", at(2), cards=40)]
    found = survey_rates(tables(*sessions, shipped), MAY)
    assert one(found, "completion_rate", "drop_off", "question=sat").score == 0.0
    assert one(found, "completion_rate", "drop_off", "question=nps").score == 25.0
    assert (one(found, "response_rate", "qr").score, one(found, "response_rate").n_valid) == (30.0, 0)
    assert card_rate(5, 3, MAY).flags == ("inconsistent",)
    assert card_rate(5, 0, MAY).score is None


# --------------------------------------------------------------------------------------------------- lifetime value


def test_the_four_lifetime_values() -> None:
    assert ltv_simple(5000, 6).score == 30000
    assert ltv_simple(1200, 1).score == 1200
    assert ltv_simple(5000, 0).score == 0
    assert ltv_churn(5000, 0.4, 0.05).score == pytest.approx(40000)
    assert ltv_churn(980, 0.7, 0.02).score == pytest.approx(34300)
    assert (ltv_churn(980, 0.7, 0).score, ltv_churn(980, 0.7, 0).flags) == (None, ("infinite",))
    costs = {"acquisition_cost": 8000.0, "retention_cost": 6000.0}
    assert ltv_net_split(5000, 0.4, 12, 3, **costs).score == pytest.approx(58000)
    low = ltv_net_split(3000, 0.3, 2, 1, acquisition_cost=2500, retention_cost=500)
    assert (low.score, low.flags) == (pytest.approx(-1200), ("negative",))
    assert ltv_net_split(5000, 0.4, 12, 0, **costs).score == -14000
    assert ltv_net_total(6000, 0.35, 8, 2.5, cost=12000).score == pytest.approx(30000)
    assert ltv_net_total(1000, 0.5, 1, 1, cost=500).score == 0
    assert ltv_net_total(6000, None, 8, 2.5, cost=12000).score is None


@pytest.mark.parametrize(
    "call", [lambda: ltv_simple(-1, 2), lambda: ltv_churn(1, 1, -0.1), lambda: ltv_simple(float("inf"), 1)]
)
def test_lifetime_value_takes_nothing_negative(call: Any) -> None:
    with pytest.raises(ValueError, match="takes numbers of 0 or more"):
        call()


def test_lifetime_values_of_a_window_share_its_basis() -> None:
    orders = [happened(f"c{i % 20:02}", "purchase", at(1 + i % 28), amount=1000, cost=600) for i in range(40)]
    signed = [times(20, "contract_start", -60), times(1, "contract_cancel", 5)]
    own = KpiSettings(gross_margin=0.9, acquisition_cost=100, retention_cost=50, years=2)
    found = lifetime_values(tables(orders, *signed), MAY, own)
    year = 2 * 365 / 31
    assert [r.variant for r in found] == ["ltv_simple", "ltv_churn", "ltv_net_split", "ltv_net_total"]
    assert [r.score for r in found] == pytest.approx([2000, 2000 * 0.4 / 0.05, 800 * year - 150, 800 * year - 150])
    assert scored(found[0])[1:] == (2000.0, 2000.0)
    plain = lifetime_values(tables(orders), MAY, OWN)
    assert [r.flags for r in plain] == [(), *[("missing_input",)] * 3]


# ----------------------------------------------------------------------------------------------------- all together


def everything() -> list[Deed]:
    """One event of every type, and nothing more."""
    return [
        *bought("a", 3, order="1", amount=100, product="tea"),
        happened("a", "contract_start", at(2)),
        happened("a", "delivery", at(4), order="1", due="2026-05-05"),
        happened("a", "return", at(5), order="1", units=1),
        happened("", "visit", at(3), visitor="v", converted=True),
        happened("", "referral", at(6), new_customer="b", referrer="a", rewarded=False),
        happened("", "ugc", at(6)),
        *ticket("t", 2, solved=3, who="a"),
        happened("", "promise", at(6), id="p", due="2026-05-09"),
        happened("", "faq_search", at(6), query="x", hits=0),
        happened("", "faq_feedback", at(6), resolved=True),
        happened("a", "message_delivered", at(6), message="m"),
        happened("a", "click", at(6), message="m"),
        happened("", "page_view", at(6), page="/", seconds=3),
        *survey("s", ("delivered", 3, {}), ("answered", 3, {"question": "q"}), ("shown", 3, {"question": "q"})),
        happened("", "card_shipped", at(6)),
    ]


def test_one_of_everything_is_told_of_nobody() -> None:
    found = kpis(tables(everything()), MAY)
    for result in found:
        shown = result.shown().to_json()
        assert shown["status"] in ("no_data", "suppressed"), result
        if shown["status"] == "suppressed":
            assert (shown["score"], shown["ci_low"], shown["counts"]) == (None, None, {})


def test_figures_of_events_that_were_never_sent_are_left_out() -> None:
    assert kpis(NOTHING, MAY) == []
    assert {r.metric for r in kpis(tables(happened("", "ugc", at(3))), MAY)} == {"ugc_posts"}


@given(st.permutations(everything()))
@settings(max_examples=of_each_hundred(4), deadline=None)
def test_the_order_in_which_events_arrive_changes_nothing(events: list[Deed]) -> None:
    assert kpis(tables(events), MAY) == kpis(tables(everything()), MAY)


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.text(max_size=3), max_size=2),
)
_FIELDS = sorted(
    {name for columns in COLUMNS.values() for name in columns}
    | {"id", "due", "kept_at", "new_customer", "visitor", "rewarded", "cancelled", "test", "points", "item", "at"}
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted({event.type for event in everything()})),
            st.sampled_from(["", "a", "b"]),
            st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=6),
        ),
        max_size=12,
    )
)
@settings(max_examples=of_each_hundred(12), deadline=None)
def test_whatever_a_shop_writes_into_its_events_figures_stay_in_their_ranges(
    written: list[tuple[str, str, dict[str, Any]]],
) -> None:
    events = [Deed(who, type_, at(3) + i, data) for i, (type_, who, data) in enumerate(written)]
    for result in kpis(tables(events), MAY):
        if result.form == "share" and result.score is not None:
            assert 0 <= result.score <= 100
        assert result.score is None or np.isfinite(result.score)


def test_a_window_knows_its_local_days_and_months() -> None:
    assert (MAY.span.start, MAY.span.end, MAY.days) == ("2026-05-01", "2026-06-01", 31.0)
    assert [part.span.start for part in window(15, 40).months()] == ["2026-05-15", "2026-06-01"]
    with pytest.raises(ValueError, match="holds no time"):
        replace(MAY, end_ms=MAY.start_ms)


def test_the_bootstrap_of_many_orders_is_the_one_of_all_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.sort(np.random.default_rng(1).exponential(5000, size=501))
    whole = sampled(values, "median")
    monkeypatch.setattr("reports.procedures._DRAWN_AT_ONCE", 1_000)
    assert sampled(values, "median") == whole
    rng = np.random.default_rng(12345)
    index = rng.integers(0, 501, size=(2000, 501))
    low, high = np.percentile(np.median(values[index], axis=1), [2.5, 97.5])
    assert (whole.low, whole.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))

"""What customers did after they answered: the worked examples, who is followed, and what may not be shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from shop_events import NEAR, TOKYO, at, bought, happened, scored, tables

from reports import linkage as link
from reports.segments import Deed
from tests.examples import of_each_hundred

NPS = link.Compared("nps")
NOBODY = np.zeros(0)


def yes_no(yes: int, n: int) -> np.ndarray:
    return np.arange(n) < yes


def answered(*codes: tuple[str, int], day: float = 5, instrument: str = "nps") -> pd.DataFrame:
    return link.given_answers(
        link.Said(who, instrument, code, at(day), "relational", "relationship") for who, code in codes
    )


# ------------------------------------------------------------------------------------------------ the worked examples


def test_repeat_rates_of_promoters_passives_and_detractors() -> None:
    found = link.link_rates(NPS, "repeat_rate", [yes_no(28, 40), yes_no(20, 40), yes_no(8, 20)])
    expected = [(70.0, 54.5700, 81.9252), (50.0, 35.1995, 64.8005), (40.0, 21.8807, 61.3418)]
    assert [r.segment for r in found.groups] == ["nps=promoter", "nps=passive", "nps=detractor"]
    for result, numbers in zip(found.groups, expected, strict=True):
        assert scored(result) == pytest.approx(numbers, abs=NEAR, rel=0)
    assert found.test is not None
    assert (found.test.method, found.test.df) == ("chi2", 2)
    assert (found.test.statistic, found.test.p) == (pytest.approx(5.8442, abs=NEAR), pytest.approx(0.0538, abs=NEAR))


def test_equal_rates_do_not_differ() -> None:
    found = link.link_rates(NPS, "repeat_rate", [yes_no(10, 20)] * 3)
    assert found.test is not None
    assert (found.test.statistic, found.test.p) == (pytest.approx(0.0, abs=1e-12), pytest.approx(1.0))


def test_referrals_of_promoters() -> None:
    promoters = np.array([0.0] * 30 + [1.0] * 7 + [2.0] * 3)
    found = link.link_referrals(NPS, [promoters, np.zeros(20), np.zeros(20)])
    assert scored(found.groups[0]) == pytest.approx((32.5, 15.0, 52.5), abs=NEAR)
    assert found.test is not None
    assert found.test.p == pytest.approx(stats.kruskal(promoters, np.zeros(20), np.zeros(20)).pvalue)


def test_six_customers_are_suppressed_and_so_is_their_smallest_sibling() -> None:
    found = link.link_rates(NPS, "repeat_rate", [yes_no(28, 40), yes_no(20, 41), yes_no(2, 6)])
    assert [r.status for r in found.groups] == ["suppressed", "ok", "suppressed"]
    assert found.groups[0].flags == ("sibling",)
    assert [r.shown().score for r in found.groups] == [None, pytest.approx(2000 / 41), None]
    assert found.groups[2].shown().counts == {}
    assert (found.test, found.why_no_test) == (None, "few_groups")


def test_below_thirty_customers_nothing_is_shown_and_nothing_tested() -> None:
    found = link.link_rates(NPS, "repeat_rate", [yes_no(5, 15), yes_no(5, 14), NOBODY > 0])
    assert [r.status for r in found.groups] == ["suppressed", "suppressed", "no_data"]
    assert (found.test, found.why_no_test) == (None, "few_customers")
    money = link.link_margins(NPS, [np.arange(15.0), np.arange(14.0), NOBODY])
    assert (money.test, money.why_no_test) == (None, "few_customers")


def test_a_test_needs_five_expected_in_every_cell_and_some_variance() -> None:
    rare = link.link_rates(NPS, "churn_rate", [yes_no(1, 20), yes_no(2, 20), yes_no(0, 20)])
    assert (rare.test, rare.why_no_test) == (None, "few_expected")
    same = link.link_rates(NPS, "repeat_rate", [yes_no(20, 20)] * 3)
    assert (same.test, same.why_no_test) == (None, "no_variance")
    flat = link.link_margins(NPS, [np.full(20, 100.0)] * 3)
    assert (flat.test, flat.why_no_test) == (None, "no_variance")


def test_margins_have_a_mean_and_a_median_and_customers_without_a_cost_are_missing() -> None:
    groups = [np.arange(20.0), np.append(np.arange(19.0) + 3, np.nan), np.arange(20.0) * 2]
    found = link.link_margins(NPS, groups)
    assert [r.score for r in found.groups] == [9.5, 12.0, 19.0]
    assert [r.score for r in found.medians] == [9.5, 12.0, 19.0]
    assert [(r.n_valid, r.n_missing) for r in found.groups] == [(20, 0), (19, 1), (20, 0)]
    assert found.test is not None
    assert found.test.p == pytest.approx(stats.kruskal(groups[0], groups[1][:19], groups[2]).pvalue)


@pytest.mark.parametrize("seed", range(6))
def test_chi_squared_is_the_sum_over_observed_and_expected(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(40, 200, size=3)
    groups = [rng.random(n) < 0.4 for n in sizes]
    found = link.link_rates(NPS, "repeat_rate", groups)
    table = np.array([[g.sum(), g.size - g.sum()] for g in groups], dtype=float)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert found.test is not None
    assert found.test.statistic == pytest.approx(((table - expected) ** 2 / expected).sum(), rel=1e-12)


# --------------------------------------------------------------------------------------------------- who is followed


def test_only_customers_whose_ninety_days_are_over_are_followed_by_their_latest_such_answer() -> None:
    rows = [("a", 10, 1), ("a", 0, 30), ("a", 9, 60), ("b", 7, 40)]
    given_ = link.given_answers(link.Said(who, "nps", code, at(day), "relational", "") for who, code, day in rows)
    found = link.members(given_, "nps", at(130))
    assert found.to_dict("list") == {
        "customer": ["a", "b"],
        "group": ["detractor", "passive"],
        "at_ms": [at(30), at(40)],
    }
    assert link.members(given_, "nps", at(130), since_ms=at(35))["customer"].tolist() == ["b"]
    assert len(link.members(given_, "nrs", at(130))) == 0


def followed(*events: Deed | list[Deed], day: float = 5) -> dict[str, Any]:
    people = link.members(answered(("a", 10), day=day), "nps", at(day + 90))
    (row,) = link.follow_up(people, tables(*events)).to_dict("records")
    return {str(name): value for name, value in row.items()}


def test_what_happened_before_the_answer_or_after_ninety_days_is_never_used() -> None:
    before = [
        *bought("a", 1, 4.9),
        happened("a", "contract_start", at(1)),
        happened("n", "referral", at(2), referrer="a"),
    ]
    late = [*bought("a", 95), happened("a", "contract_cancel", at(95)), happened("m", "referral", at(95), referrer="a")]
    found = followed(before, late, bought("b", 9))
    assert (found["bought"], found["margin"], found["referred"], found["churned"]) == (0, 0.0, 0, 0.0)


def test_what_happened_within_ninety_days() -> None:
    inside = [
        *bought("a", 20, 20.2, 94.9, amount=1000, cost=400),
        happened("n", "referral", at(6), referrer="a"),
        happened("a", "contract_cancel", at(7)),
    ]
    found = followed(inside, happened("a", "contract_start", at(1)))
    assert (found["bought"], found["margin"], found["referred"], found["churned"]) == (2, 1800.0, 1, 1.0)


def test_an_order_later_on_the_day_of_an_earlier_one_is_that_purchase_still() -> None:
    assert followed(bought("a", 4.9, 5.1))["bought"] == 0
    assert followed(bought("a", 5.1))["bought"] == 1


def test_who_has_no_contract_cannot_churn_and_an_order_without_cost_has_no_margin() -> None:
    found = followed(bought("a", 9, amount=100, cost=50), bought("a", 12, amount=100))
    assert np.isnan(found["churned"])
    assert np.isnan(found["margin"])


def test_outcomes_without_any_event_are_left_out() -> None:
    people = link.members(answered(*((f"c{i}", i % 11) for i in range(44))), "nps", at(200))
    events = [bought(f"c{i}", 9) for i in range(30)]
    history = tables(*events)
    found = link.linkages(link.follow_up(people, history), NPS, history)
    assert [one.outcome for one in found] == ["repeat_rate"]
    assert sum(r.n_valid for r in found[0].groups) == 44
    full = tables(*events, bought("c1", 10, amount=3, cost=1), happened("x", "referral", at(9), referrer="c2"),
                  happened("c3", "contract_start", at(1)))  # fmt: skip
    found = link.linkages(link.follow_up(people, full), NPS, full)
    assert [one.outcome for one in found] == ["repeat_rate", "margin_obs", "referrals", "churn_rate"]


def test_segments_are_followed_from_the_instant_of_their_classification() -> None:
    said = [
        *(link.Said(who, "affinity", code, at(1)) for who, code in (("a", 5), ("b", 2), ("c", 5))),
        link.Said("a", "nps", 2, at(0)),
        link.Said("a", "nps", 9, at(1)),
        link.Said("b", "emotion", (), at(1)),
        link.Said("b", "affinity", 5, at(10)),
    ]
    found = link.segment_members(said, tables(bought("a", -9, 2), bought("b", 2, 10)), at(10))
    assert found.to_dict("list") == {
        "customer": ["a", "b"],
        "group": ["truly_loyal", "low_loyalty"],
        "at_ms": [at(10)] * 2,
    }


def test_kinds_of_surveys_and_touchpoints_are_compared_apart() -> None:
    asked = [("nps", "relational", "shop"), ("nps", "transactional", "purchase"), ("nrs", "relational", "shop")]
    said = [link.Said(f"c{i}", name, i % 5 + 1, at(5), *where) for name, *where in asked for i in range(40)]
    said += [link.Said(f"c{i}", "affinity", i % 5 + 1, at(5), "relational", "shop") for i in range(40)]
    deeds = [event for i in range(40) for event in bought(f"c{i}", 1, 3, 40)]
    found = link.compare_all(said, tables(deeds), at(150), TOKYO)
    assert [(one.of.by, one.of.stratum.survey_kind, one.of.stratum.touchpoint) for one in found] == [
        ("nps", "relational", "shop"),
        ("nps", "transactional", "purchase"),
        ("nrs", "relational", "shop"),
        ("psy_beh", "relational", ""),
    ]
    assert [r.n_valid for r in found[3].groups] == [16, 0, 24, 0]
    assert found[0].of.window.start == "2026-05-05"
    assert link.compare_all(said, tables(deeds), at(94), TOKYO) == []


@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=of_each_hundred(10), deadline=None)
def test_no_group_that_is_shown_or_tested_has_fewer_than_ten(people: list[tuple[int, bool]]) -> None:
    members = link.members(answered(*((f"c{i:02}", code) for i, (code, _) in enumerate(people))), "nps", at(200))
    history = tables(
        [event for i, (_, again) in enumerate(people) if again for event in bought(f"c{i:02}", 9)], bought("x", 1)
    )
    (found,) = link.linkages(link.follow_up(members, history), NPS, history)
    shown = [r for r in found.groups if r.shown().score is not None]
    assert all(r.n_valid >= 10 for r in shown)
    assert len(people) >= 30 or not shown
    assert found.test is None or len(shown) >= 2
    assert [r.n_valid for r in found.groups] == [
        sum(1 for code, _ in people if link.group_of("nps", code) == name) for name in link.GROUPS["nps"]
    ]

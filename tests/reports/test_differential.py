"""The procedures over random grids against other programs: statsmodels and scipy where they have the procedure and are
not what it is made of, else the published formula in exact or plain arithmetic. `make prove` draws ten times as many.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW
from statsmodels.tools import add_constant

from reports import linkage, procedures
from reports.drivers.decomposition import lmg, rank_correlations
from reports.kpi import support as kpi_support
from tests.examples import of_each_hundred

EXACT = {"rel": 1e-12, "abs": 1e-12}
LOOSE = {"rel": 1e-9, "abs": 1e-9}


@st.composite
def shares(draw: st.DrawFn, most: int = 400) -> tuple[int, int]:
    n = draw(st.integers(1, most))
    return draw(st.integers(0, n)), n


@st.composite
def nets(draw: st.DrawFn, most: int = 400) -> tuple[int, int, int]:
    n = draw(st.integers(1, most))
    positive = draw(st.integers(0, n))
    return positive, draw(st.integers(0, n - positive)), n


measured = st.lists(st.floats(-1e4, 1e4, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=2, max_size=60)
levels = st.sampled_from([0.9, 0.95, 0.99, 1 - 0.05 / 5])
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=25)


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson 1927, as published."""
    z = float(stats.norm.ppf((1 + confidence) / 2))
    p = k / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


# ---------------------------------------------------------------------------------------------------- nets: S1, S2


def add(counts: tuple[int, int, int], more: float) -> tuple[float, float]:
    """Net and its variance after `more` answers were added, a quarter of them to either end: by the moments of the
    scores +1, 0 and -1, not by the formula of the net."""
    positive, negative, n = counts
    weights = np.array([positive + more / 4, negative + more / 4, n - positive - negative + more / 2])
    scores = np.array([1.0, -1.0, 0.0])
    mean = float(np.average(scores, weights=weights))
    return mean, float(np.average((scores - mean) ** 2, weights=weights)) / (n + more)


@settings(deadline=None)
@given(nets())
def test_the_interval_of_a_net_is_that_of_a_mean_of_three_scores_with_three_answers_more(
    counts: tuple[int, int, int],
) -> None:
    found = procedures.net(*counts)
    middle, variance = add(counts, 3)
    half = stats.norm.ppf(0.975) * math.sqrt(variance)
    raw = 100 * (counts[0] - counts[1]) / counts[2]
    assert found.score == pytest.approx(raw, **LOOSE)
    assert found.low == pytest.approx(min(raw, max(-100, 100 * (middle - half))), **LOOSE)
    assert found.high == pytest.approx(max(raw, min(100, 100 * (middle + half))), **LOOSE)


@settings(deadline=None)
@given(nets(), nets(), levels)
def test_a_difference_of_nets_is_that_of_two_means_with_one_and_a_half_answers_more(
    before: tuple[int, int, int], after: tuple[int, int, int], level: float
) -> None:
    found = procedures.net_difference(before, after, confidence=level)
    assert found is not None
    (m1, v1), (m2, v2) = add(before, 1.5), add(after, 1.5)
    se = math.sqrt(v1 + v2)
    assert found.z == pytest.approx((m2 - m1) / se, **LOOSE)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(m2 - m1) / se), rel=1e-9, abs=1e-15)
    half = stats.norm.ppf((1 + level) / 2) * se
    assert found.low == pytest.approx(min(found.delta, max(-200, 100 * (m2 - m1 - half))), **LOOSE)
    assert found.high == pytest.approx(max(found.delta, min(200, 100 * (m2 - m1 + half))), **LOOSE)


def all_counts(n: int) -> list[tuple[int, int, int]]:
    return [(p, d, n) for p, d in product(range(n + 1), repeat=2) if p + d <= n]


@pytest.mark.parametrize("n", [10, pytest.param(20, marks=pytest.mark.prove)])
def test_two_weeks_that_differ_by_noise_are_called_a_change_in_few_cases(n: int) -> None:
    """The exact chance of a false alarm at 5 %, over all pairs of outcomes of two equal weeks."""
    outcomes = all_counts(n)
    alarms = np.array([[procedures.net_difference(a, b).p < 0.05 for b in outcomes] for a in outcomes])  # type: ignore[union-attr]
    errors = []
    for good, bad in product(np.arange(0.1, 1.0, 0.1), repeat=2):
        if good + bad > 1:
            continue
        rest = max(0.0, 1 - good - bad)
        chance = stats.multinomial.pmf([[p, d, n - p - d] for p, d, _ in outcomes], n, [good, bad, rest])
        errors.append(float(chance @ alarms @ chance))
    assert max(errors) < 0.066
    # discrete outcomes: below 5 % where n is small, and a little above where it grows
    assert np.mean(errors) == pytest.approx(0.05, abs=0.003)


# -------------------------------------------------------------------------------------------------- shares: S3, S4


@settings(deadline=None)
@given(shares(5_000))
def test_a_share_has_wilsons_interval(share: tuple[int, int]) -> None:
    found = procedures.share(*share)
    assert (found.low, found.high) == pytest.approx([100 * bound for bound in wilson(*share)], **LOOSE)


@settings(deadline=None)
@given(shares(), shares(), levels)
def test_a_difference_of_shares_has_newcombes_interval_at_any_level(
    before: tuple[int, int], after: tuple[int, int], level: float
) -> None:
    found = procedures.share_difference(before, after, confidence=level)
    assert found is not None
    p1, p2 = before[0] / before[1], after[0] / after[1]
    (l1, u1), (l2, u2) = wilson(*before, level), wilson(*after, level)
    assert found.delta == pytest.approx(100 * (p2 - p1), **LOOSE)
    assert found.low == pytest.approx(100 * (p2 - p1 - math.hypot(p2 - l2, u1 - p1)), **LOOSE)
    assert found.high == pytest.approx(100 * (p2 - p1 + math.hypot(u2 - p2, p1 - l1)), **LOOSE)


@settings(deadline=None)
@given(shares(), shares())
def test_the_test_of_two_shares_is_chi_squared_where_it_may_be_and_exact_where_not(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    (k1, n1), (k2, n2) = before, after
    found = procedures.share_difference(before, after)
    assert found is not None
    table = np.array([[k1, n1 - k1], [k2, n2 - k2]])
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    if expected.min() >= 5:
        assert found.method == "newcombe+pooled_z"
        assert found.p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-9, abs=1e-15)
        return
    assert found.method == "newcombe+fisher"
    # whole numbers: two tables are equally likely or they are not
    ways = [math.comb(n1, x) * math.comb(n2, k1 + k2 - x) for x in range(max(0, k1 + k2 - n2), min(n1, k1 + k2) + 1)]
    seen = math.comb(n1, k1) * math.comb(n2, k2)
    assert found.p == pytest.approx(sum(way for way in ways if way <= seen) / sum(ways), rel=1e-7)


# --------------------------------------------------------------------------------------------------- means: S5, S6


@settings(deadline=None)
@given(measured)
def test_a_mean_has_students_interval(values: list[float]) -> None:
    assume(max(values) - min(values) > 1e-3)
    found = procedures.mean_of(values)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.score == pytest.approx(math.fsum(values) / len(values), **LOOSE)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-7)


@settings(deadline=None)
@given(measured, measured, levels)
def test_a_difference_of_means_is_welchs_at_any_level(one: list[float], two: list[float], level: float) -> None:
    assume(max(one) - min(one) > 1e-3 and max(two) - min(two) > 1e-3)
    found = procedures.mean_difference_of(one, two, confidence=level)
    assert found is not None
    both = CompareMeans(DescrStatsW(two), DescrStatsW(one))
    low, high = both.tconfint_diff(alpha=1 - level, usevar="unequal")
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-7)
    assert found.p == pytest.approx(both.ttest_ind(usevar="unequal")[1], rel=1e-7, abs=1e-12)


# ------------------------------------------------------------------------------------------- many comparisons: S8


@settings(deadline=None)
@given(p_values)
def test_a_family_is_judged_as_scipy_adjusts_it_and_as_benjamini_and_hochberg_step_up(given_: list[float]) -> None:
    found = procedures.family(given_)
    assert [one.adjusted for one in found] == pytest.approx(list(stats.false_discovery_control(given_)), **EXACT)
    assume(all(abs(one.adjusted - 0.10) > 1e-12 for one in found))  # there the two ways may round apart
    ordered = sorted(given_)
    passed = [rank for rank, p in enumerate(ordered, 1) if p <= 0.10 * rank / len(ordered)]
    limit = ordered[passed[-1] - 1] if passed else -1.0
    assert [one.kept for one in found] == [p <= limit for p in given_]


@settings(deadline=None, max_examples=of_each_hundred(4))  # the library collects garbage on each call
@given(p_values)
def test_holm_is_the_step_down_of_bonferroni(given_: list[float]) -> None:
    adjusted, running = {}, 0.0
    for rank, place in enumerate(sorted(range(len(given_)), key=given_.__getitem__)):
        running = max(running, min(1.0, (len(given_) - rank) * given_[place]))
        adjusted[place] = running
    assert procedures.holm(given_) == pytest.approx([adjusted[place] for place in range(len(given_))], **EXACT)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 5)), min_size=2, max_size=4))
def test_shares_of_an_experiment_are_tested_by_pearsons_sum(arms: list[tuple[int, int]]) -> None:
    observed, weights = [n for n, _ in arms], [w for _, w in arms]
    assume(sum(observed) > 0)
    wanted = [sum(observed) * w / sum(weights) for w in weights]
    pearson = sum((o - e) ** 2 / e for o, e in zip(observed, wanted, strict=True))
    found = procedures.sample_ratio(observed, [w / sum(weights) for w in weights])
    assert found == pytest.approx(stats.chi2.sf(pearson, len(arms) - 1), rel=1e-7, abs=1e-300)


# ------------------------------------------------------------------------------------------------ bootstrap: S7


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 1e5, allow_subnormal=False), min_size=10, max_size=80))
def test_a_bootstrap_is_two_thousand_draws_of_the_stated_generator(values: list[float]) -> None:
    given_ = np.array(values)
    drawn = given_[np.random.default_rng(12345).integers(0, len(given_), size=(2000, len(given_)))]
    found = procedures.bootstrap(values, lambda rows: np.median(rows, axis=1))
    assert found == pytest.approx(tuple(np.percentile(np.median(drawn, axis=1), [2.5, 97.5])), **EXACT)


# ------------------------------------------------------------------------------------------------ drivers and figures


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(40, 300), st.integers(0, 2**32 - 1))
def test_the_parts_of_the_drivers_add_up_to_least_squares_on_ranks(drivers: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mood = rng.normal(size=(n, 1))
    items = np.clip(np.round(3 + mood + rng.normal(size=(n, drivers))), 1, 5)
    outcome = np.clip(np.round(5 + items @ rng.uniform(-1, 1, drivers) + rng.normal(size=n)), 0, 10)
    assume(min(len(set(column)) for column in [*items.T, outcome]) > 1)
    found = rank_correlations([*items.T, outcome], np.arange(n)[None])[0]
    assert found == pytest.approx(pd.DataFrame(np.column_stack([items, outcome])).corr("spearman").to_numpy(), **LOOSE)
    assume(np.linalg.cond(found[:-1, :-1]) < 1e6)
    ranks = np.column_stack([stats.rankdata(item) for item in items.T])
    fitted = OLS(stats.rankdata(outcome), add_constant(ranks)).fit()
    parts, r2 = lmg(found[-1, :-1], found[:-1, :-1])
    assert r2 == pytest.approx(fitted.rsquared, **LOOSE)
    assert parts.sum() == pytest.approx(fitted.rsquared, **LOOSE)
    assert (parts >= 0).all()


@settings(deadline=None, max_examples=of_each_hundred(30))
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=10, max_size=80))
def test_a_rank_correlation_is_scipys_with_ties(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    assert kpi_support.spearman(x, y).score == pytest.approx(stats.spearmanr(x, y).statistic, **LOOSE)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(40, 90), min_size=3, max_size=3))
def test_groups_of_amounts_are_tested_by_the_ranks_corrected_for_ties(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    groups = [rng.poisson(0.4, size).astype(float) for size in sizes]
    everybody = np.concatenate(groups)
    assume(np.ptp(everybody) > 0)
    found = linkage.link_referrals(linkage.Compared("nps"), groups).test
    assert found is not None
    n, ranks = everybody.size, np.split(stats.rankdata(everybody), np.cumsum(sizes)[:-1])
    h = 12 / (n * (n + 1)) * sum(part.sum() ** 2 / part.size for part in ranks) - 3 * (n + 1)
    ties = np.unique(everybody, return_counts=True)[1].astype(float)
    assert found.statistic == pytest.approx(h / (1 - (ties**3 - ties).sum() / (n**3 - n)), **LOOSE)
    assert found.p == pytest.approx(stats.chi2.sf(found.statistic, 2), rel=1e-9)

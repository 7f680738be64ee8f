"""S1–S10: worked examples, properties, and the libraries as oracles."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from reports import procedures as p
from tests.examples import of_each_hundred

NEAR = {"rel": 0, "abs": 5.1e-5}  # the sheet prints four digits

triples = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60)).map(
    lambda t: (t[0], t[1], t[0] + t[1] + t[2])
)
tallies = st.dictionaries(st.integers(1, 7), st.integers(1, 30), max_size=7)


@pytest.mark.parametrize(
    ("counts", "score", "low", "high"),
    [
        ((50, 20, 100), 30.0, 14.0511, 44.2013),
        ((2, 1, 5), 20.0, -38.7445, 63.7445),
        ((1, 0, 1), 100.0, -48.4986, 100.0),
        ((30, 0, 30), 100.0, 78.6977, 100.0),
        ((0, 30, 30), -100.0, -100.0, -78.6977),
        ((20, 20, 60), 0.0, -20.0416, 20.0416),
        ((0, 0, 25), 0.0, -8.5731, 8.5731),
        ((18, 9, 40), 22.5, -2.5852, 44.4457),
        ((0, 5, 5), -100.0, -100.0, -17.4915),
        ((10, 10, 30), 0.0, -27.5393, 27.5393),
        ((0, 0, 12), 0.0, -16.0030, 16.0030),
        ((25, 10, 50), 30.0, 7.2995, 49.3043),
        ((0, 12, 12), -100.0, -100.0, -54.1959),
        ((9, 9, 24), 0.0, -32.0554, 32.0554),
        ((0, 0, 15), 0.0, -13.3359, 13.3359),
        ((12, 3, 30), 30.0, 5.0139, 49.5315),
        ((0, 0, 10), 0.0, -18.4650, 18.4650),
        ((4, 4, 16), 0.0, -31.7948, 31.7948),
    ],
)
def test_net_scores_of_the_worked_examples(counts: tuple[int, int, int], score: float, low: float, high: float) -> None:
    found = p.net(*counts)
    assert (found.score, found.low, found.high) == pytest.approx((score, low, high), **NEAR)


def test_ninety_five_percent_reach_as_far_as_the_table_of_the_normal_distribution() -> None:
    assert pytest.approx(1.959963984540054, abs=1e-15) == p.Z


def test_no_answers_have_no_net() -> None:
    assert p.net(0, 0, 0) == p.Estimate(None, None, None, "add3")
    assert p.net_difference((0, 0, 0), (1, 0, 1)) is None
    assert p.net_difference((1, 0, 1), (0, 0, 0)) is None


@pytest.mark.parametrize(
    ("earlier", "later", "delta", "low", "high", "z", "p_value"),
    [
        ((24, 16, 60), (33, 9, 60), 26.6667, -1.2303, 53.2629, 1.8715, 0.0613),
        ((12, 8, 30), (13, 7, 30), 6.6667, -32.9286, 45.6270, 0.3168, 0.7514),
        ((20, 0, 20), (30, 0, 30), 0.0, -13.9910, 18.4207, 0.2679, 0.7888),
        ((100, 100, 400), (180, 80, 400), 25.0, 14.7066, 35.1066, 4.7859, 1.70e-06),
    ],
)
def test_week_over_week_of_the_worked_examples(
    earlier: tuple[int, int, int], later: tuple[int, int, int], delta: float, low: float, high: float, z: float,
    p_value: float,
) -> None:  # fmt: skip
    found = p.net_difference(earlier, later)
    assert found is not None
    assert (found.delta, found.low, found.high, found.z, found.p) == pytest.approx(
        (delta, low, high, z, p_value), **NEAR
    )
    assert found.p == pytest.approx(p_value, rel=3e-3)  # three digits also where four places would be nothing but zeros


def test_the_change_that_would_likely_show_is_the_one_the_digest_names() -> None:
    found = p.net_difference((24, 16, 60), (33, 9, 60))
    assert found is not None
    assert found.detectable == pytest.approx(38.95, abs=0.01)


@pytest.mark.parametrize(
    ("k", "n", "score", "low", "high"),
    [
        (42, 60, 70.0, 57.4913, 80.1018), (1, 1, 100.0, 20.6549, 100.0), (0, 12, 0.0, 0.0, 24.2494),
        (12, 12, 100.0, 75.7506, 100.0), (18, 40, 45.0, 30.7053, 60.1709), (40, 60, 66.6667, 54.0569, 77.2707),
        (8, 60, 13.3333, 6.9141, 24.1652), (0, 20, 0.0, 0.0, 16.1125), (5, 10, 50.0, 23.6593, 76.3407),
        (30, 50, 60.0, 46.1814, 72.3916), (9, 30, 30.0, 16.6647, 47.8758), (0, 10, 0.0, 0.0, 27.7533),
        (6, 10, 60.0, 31.2674, 83.1820), (0, 1, 0.0, 0.0, 79.3451), (11, 11, 100.0, 74.1167, 100.0),
        (22, 40, 55.0, 39.8291, 69.2947), (9, 40, 22.5, 12.3161, 37.5031), (31, 40, 77.5, 62.4969, 87.6839),
        (2, 3, 66.6667, 20.7660, 93.8508), (14, 35, 40.0, 25.5507, 56.4273), (7, 28, 25.0, 12.6765, 43.3557),
        (0, 15, 0.0, 0.0, 20.3883), (15, 15, 100.0, 79.6117, 100.0), (6, 8, 75.0, 40.9275, 92.8521),
        (180, 600, 30.0, 26.4699, 33.7845), (150, 180, 83.3333, 77.2048, 88.0688), (10, 10, 100.0, 72.2467, 100.0),
        (9, 12, 75.0, 46.7695, 91.1058), (0, 4, 0.0, 0.0, 48.9891), (6, 50, 12.0, 5.6176, 23.8048),
        (0, 50, 0.0, 0.0, 7.1348),
    ],
)  # fmt: skip
def test_shares_of_the_worked_examples(k: int, n: int, score: float, low: float, high: float) -> None:
    found = p.share(k, n)
    assert (found.score, found.low, found.high) == pytest.approx((score, low, high), **NEAR)


@pytest.mark.parametrize(
    ("earlier", "later", "delta", "low", "high", "p_value", "method"),
    [
        ((30, 60), (42, 60), 20.0, 2.4815, 35.8895, 0.0253, "pooled_z"),
        ((9, 10), (4, 10), -50.0, -74.5936, -8.1594, 0.0573, "fisher"),
        ((20, 20), (30, 30), 0.0, -11.3513, 16.1125, 1.0, "fisher"),
    ],
)
def test_changes_of_shares_of_the_worked_examples(
    earlier: tuple[int, int], later: tuple[int, int], delta: float, low: float, high: float, p_value: float, method: str
) -> None:
    found = p.share_difference(earlier, later)
    assert found is not None
    assert (found.delta, found.low, found.high, found.p) == pytest.approx((delta, low, high, p_value), **NEAR)
    assert found.method == f"newcombe+{method}"


def test_nobody_on_either_side_is_a_share_of_nobody() -> None:
    found = p.share_difference((0, 20), (0, 30))
    assert found is not None
    assert (found.delta, found.p) == (0.0, 1.0)
    assert found.se > 0
    assert p.share_difference((0, 0), (1, 2)) is None


def test_a_mean_without_spread_has_no_interval() -> None:
    assert p.mean({4: 1}, 1, 7) == p.Estimate(4.0, None, None, "t")
    assert p.mean({7: 12}, 1, 7) == p.Estimate(7.0, None, None, "t", ("zero_variance",))
    assert p.mean({}, 1, 7).score is None


def test_a_test_of_means_needs_two_answers_and_some_spread() -> None:
    assert p.mean_difference({3: 1}, {3: 5, 4: 5}) is None
    assert p.mean_difference({3: 5}, {4: 5}) is None
    one_sided = p.mean_difference({3: 5}, {3: 5, 4: 5})
    assert one_sided is not None
    assert one_sided.delta == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("p_values", "adjusted", "kept"),
    [
        ((0.001, 0.02, 0.04, 0.3, 0.6), (0.005, 0.05, 0.0667, 0.375, 0.6), (True, True, True, False, False)),
        ((0.04, 0.5), (0.08, 0.5), (True, False)),
        ((0.06, 0.2, 0.9), (0.18, 0.3, 0.9), (False, False, False)),
        ((), (), ()),
    ],
)
def test_many_comparisons_of_the_worked_examples(
    p_values: tuple[float, ...], adjusted: tuple[float, ...], kept: tuple[bool, ...]
) -> None:
    found = p.family(p_values)
    assert [k.adjusted for k in found] == pytest.approx(list(adjusted), **NEAR)
    assert tuple(k.kept for k in found) == kept


def test_standardisation_of_the_worked_examples() -> None:
    strata = {"a": (20.0, 40), "b": (-10.0, 30)}
    assert p.standardise(strata, {"a": 0.6, "b": 0.4}) == pytest.approx(8.0)
    assert p.standardise(strata, {"a": 0.3, "b": 0.7}) == pytest.approx(-1.0)
    assert p.standardise({"a": (20.0, 40), "b": (-10.0, 9)}, {"a": 0.6, "b": 0.4}) is None
    assert p.standardise({"a": (20.0, 40)}, {"a": 0.6, "b": 0.4}) is None


def test_bootstrap_of_the_worked_examples_and_none_below_ten() -> None:
    hours = [0.5, 1, 2, 3, 5, 8, 20, 30, 50, 100]
    assert p.bootstrap(hours, lambda rows: np.median(rows, axis=1)) == pytest.approx((2.0, 30.0))
    assert p.bootstrap(hours[:9], lambda rows: np.median(rows, axis=1)) is None
    referrals = [0.0] * 30 + [1.0] * 7 + [2.0] * 3
    assert p.bootstrap(referrals, lambda rows: 100 * rows.mean(axis=1)) == pytest.approx((15.0, 52.5))


def test_numbers_that_are_all_equal_say_so() -> None:
    def means(rows: np.ndarray) -> np.ndarray:
        return rows.mean(axis=1)

    assert p.sampled([], means) == p.Estimate(None, None, None, "bootstrap")
    assert p.sampled([5.0] * 12, means, scale=100) == p.Estimate(500.0, 500.0, 500.0, "bootstrap", ("zero_variance",))
    assert p.sampled([5.0], means) == p.Estimate(5.0, None, None, "bootstrap")
    assert p.sampled([5.0] * 9, means).flags == ("zero_variance",)
    assert p.sampled([1.0, 2.0] * 5, means).flags == ()


def test_a_cluster_bootstrap_of_single_answers_is_the_plain_one() -> None:
    values = [1, 5, 3, 2, 5, 4, 4, 1, 5, 2, 3, 3]
    clusters = {f"c{i:02}": {value: 1} for i, value in enumerate(values)}
    plain = p.bootstrap([float(v) for v in values], lambda rows: rows.mean(axis=1))
    clustered = p.cluster_bootstrap(
        clusters, lambda counts: sum(c * n for c, n in counts.items()) / sum(counts.values())
    )
    assert clustered == pytest.approx(plain)


# ------------------------------------------------------------------------------------------------- properties


@given(triples)
def test_a_net_lies_in_its_interval_and_on_the_scale(counts: tuple[int, int, int]) -> None:
    found = p.net(*counts)
    if counts[2] == 0:
        assert found.score is None
    else:
        assert found.score is not None
        assert found.low is not None
        assert found.high is not None
        assert -100 <= found.low <= found.score <= found.high <= 100
        assert found.low < found.high


@given(triples)
def test_turning_the_scale_round_turns_the_net_round(counts: tuple[int, int, int]) -> None:
    good, bad, n = counts
    here, there = p.net(good, bad, n), p.net(bad, good, n)
    if n:
        assert (here.score, here.low, here.high) == pytest.approx((-there.score, -there.high, -there.low))  # type: ignore[operator]


@given(triples)
def test_one_more_promoter_never_lowers_the_net(counts: tuple[int, int, int]) -> None:
    good, bad, n = counts
    if n:
        assert p.net(good + 1, bad, n + 1).score >= p.net(good, bad, n).score  # type: ignore[operator]
        assert p.net(good, bad + 1, n + 1).score <= p.net(good, bad, n).score  # type: ignore[operator]


@given(triples, triples)
def test_a_change_seen_from_the_other_side_has_the_other_sign(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    there, back = p.net_difference(a, b), p.net_difference(b, a)
    if there is None or back is None:
        assert min(a[2], b[2]) == 0
        return
    assert (there.delta, there.low, there.high, there.p) == pytest.approx((-back.delta, -back.high, -back.low, back.p))
    assert there.low <= there.delta <= there.high
    assert 0 <= there.p <= 1


def test_add_three_keeps_its_promise_where_the_plain_interval_does_not() -> None:
    """Exact coverage over all outcomes of n = 10, for a shop with 50 % promoters and 20 % detractors."""
    n, good, bad = 10, 0.5, 0.2
    covered = {"add3": 0.0, "wald": 0.0}
    for k, d in itertools.product(range(n + 1), repeat=2):
        if k + d > n:
            continue
        chance = stats.multinomial.pmf([k, d, n - k - d], n, [good, bad, 1 - good - bad])
        found = p.net(k, d, n)
        covered["add3"] += chance * (found.low <= 100 * (good - bad) <= found.high)  # type: ignore[operator]
        net = (k - d) / n
        half = p.Z * math.sqrt(max(0.0, (k + d) / n - net * net) / n)
        covered["wald"] += chance * (net - half <= good - bad <= net + half)
    assert covered["add3"] > 0.93 > covered["wald"]


# ------------------------------------------------------------------------------------------ against libraries


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 200), st.integers(0, 200))
def test_shares_equal_the_librarys_wilson_interval(k: int, rest: int) -> None:
    found = p.share(k, k + rest)
    if k + rest == 0:
        assert found.score is None
        return
    low, high = proportion_confint(k, k + rest, 0.05, "wilson")
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high), abs=1e-9)
    assert 0 <= found.low <= found.score <= found.high <= 100  # type: ignore[operator]


@settings(deadline=None, max_examples=60)
@given(tallies)
def test_means_equal_the_librarys_t_interval_clipped_to_the_scale(counts: dict[int, int]) -> None:
    values = [code for code, times in counts.items() for _ in range(times)]
    found = p.mean(counts, 1, 7)
    if len(set(values)) < 2:
        assert found.low is None
        return
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (found.score, found.low, found.high) == pytest.approx((np.mean(values), max(1, low), min(7, high)))


@settings(deadline=None, max_examples=60)
@given(tallies, tallies)
def test_differences_of_means_equal_the_librarys_welch_test(one: dict[int, int], two: dict[int, int]) -> None:
    x1 = [float(code) for code, times in one.items() for _ in range(times)]
    x2 = [float(code) for code, times in two.items() for _ in range(times)]
    found = p.mean_difference(one, two)
    if found is None:
        assert min(len(x1), len(x2)) < 2 or (len(set(x1)) == len(set(x2)) == 1)
        return
    both = CompareMeans(DescrStatsW(x2), DescrStatsW(x1))
    low, high = both.tconfint_diff(usevar="unequal")
    assert (found.low, found.high, found.p) == pytest.approx((low, high, both.ttest_ind(usevar="unequal")[1]), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 80), st.integers(1, 80), st.integers(0, 80), st.integers(1, 80))
def test_changes_of_shares_equal_newcombes_formula_by_hand(k1: int, r1: int, k2: int, r2: int) -> None:
    n1, n2 = k1 + r1, k2 + r2
    found = p.share_difference((k1, n1), (k2, n2))
    assert found is not None
    p1, p2 = k1 / n1, k2 / n2
    (l1, u1), (l2, u2) = (proportion_confint(k, n, 0.05, "wilson") for k, n in ((k1, n1), (k2, n2)))
    low = p2 - p1 - math.hypot(p2 - l2, u1 - p1)
    high = p2 - p1 + math.hypot(u2 - p2, p1 - l1)
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high), abs=1e-9)
    assert 0 <= found.p <= 1


# ------------------------------------------------------------------------------------------------- experiments


@pytest.mark.parametrize(
    ("observed", "expected"),
    [((520, 480), 0.2059), ((600, 480), 0.0003), ((0, 0), None)],
)
def test_sample_ratios_of_the_worked_examples(observed: tuple[int, int], expected: float | None) -> None:
    found = p.sample_ratio(observed, (0.5, 0.5))
    assert found == (None if expected is None else pytest.approx(expected, abs=5e-5))


def test_differences_between_arms_of_the_worked_examples() -> None:
    refund = p.share_difference((66, 115), (84, 120))  # against reship, the control
    assert refund is not None
    assert [refund.delta, refund.low, refund.high, refund.p] == pytest.approx(
        [12.6087, 0.3261, 24.4102, 0.0443], abs=5e-5
    )
    assert refund.method.endswith("pooled_z")
    nps = p.net_difference((30, 40, 100), (45, 25, 100))
    assert nps is not None
    assert [nps.delta, nps.low, nps.high, nps.z, nps.p] == pytest.approx(
        [30.0, 6.9901, 52.1232, 2.5671, 0.0103], abs=5e-5
    )
    few = p.share_difference((9, 10), (4, 10))
    assert few is not None
    assert [few.delta, few.low, few.high, few.p] == pytest.approx([-50.0, -74.5936, -8.1594, 0.0573], abs=5e-5)
    assert few.method.endswith("fisher")


def test_an_interval_of_more_confidence_is_wider_around_the_same_difference() -> None:
    for method, sides in (
        (p.share_difference, ((30, 60), (42, 60))),
        (p.net_difference, ((24, 16, 60), (33, 9, 60))),
        (p.mean_difference, ({1: 5, 3: 9, 5: 4}, {2: 3, 4: 9, 5: 8})),
        (p.money_difference, (range(0, 400, 9), range(0, 500, 7))),
    ):
        usual, strict = method(*sides), method(*sides, confidence=0.99)  # type: ignore[operator]
        assert (usual.delta, usual.p) == (strict.delta, strict.p)
        assert strict.low < usual.low < usual.high < strict.high


def test_money_is_drawn_from_one_generator_control_first() -> None:
    control, treatment = [float(x * x % 97) for x in range(23)], [float(x * 7 % 101) for x in range(31)]
    rng = np.random.default_rng(12345)
    idx1 = rng.integers(0, 23, size=(2000, 23))
    idx2 = rng.integers(0, 31, size=(2000, 31))
    drawn = np.array(treatment)[idx2].mean(axis=1) - np.array(control)[idx1].mean(axis=1)
    found = p.money_difference(control, treatment)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=1e-9)
    assert found.delta == pytest.approx(np.mean(treatment) - np.mean(control))
    assert p.money_difference(control[:9], treatment) is None


def test_holm_steps_down_from_the_smallest() -> None:
    assert p.holm((0.03, 0.01, 0.04)) == pytest.approx((0.06, 0.03, 0.06))
    assert p.holm((0.04,)) == pytest.approx((0.04,))
    assert p.holm(()) == ()


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40))
@settings(max_examples=of_each_hundred(8), deadline=None)
def test_statistics_from_the_same_resamples_are_those_of_each_alone(values: list[int]) -> None:
    ordered = np.sort(np.array(values, dtype=np.float64))
    alone = [
        p.sampled(ordered, statistic, scale=2.0)
        for statistic in (
            lambda rows: rows.mean(axis=1),
            lambda rows: np.median(rows, axis=1),
            lambda rows: np.percentile(rows, 90, axis=1),
        )
    ]
    together = p.sampled_together((ordered, p.means), (ordered, p.medians), (ordered, p.p90s), scale=2.0)
    assert list(together) == alone


def test_a_block_of_resamples_ends_anywhere_and_the_interval_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ordered = np.sort(np.random.default_rng(7).lognormal(8.0, 1.0, 501))
    whole = p.sampled_together((ordered, p.means), (ordered, p.medians))
    monkeypatch.setattr(p, "_DRAWN_AT_ONCE", 501 * 3)
    assert p.sampled_together((ordered, p.means), (ordered, p.medians)) == whole

"""The statistical procedures S1–S10: pure functions of counts or plain numbers. No frames, no words, no
rounding.

Nets, shares and their bounds are on the scale -100…100 or 0…100, means on the scale of the question. Tests
and intervals that a maintained library has are taken from it; S1, S2 and S10 have none and are ours.

Sample sizes (S9) are needed without this room's libraries, when koe.yaml is read: flows/experiments.py has them.

Source: docs/metrics.md ("How the numbers are made"), where the papers are named.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

# statsmodels and scipy.stats take a second of computing to import: each function asks for what it calls
Z = 1.959963984540054
"""Φ⁻¹(0.975)."""
Z_POWER = 1.959964 + 0.841621
"""For a two-sided test at 5 % with 80 % power."""
CONFIDENCE = 0.95
FAMILY_Q = 0.10
BOOTSTRAP_ROUNDS = 2000
BOOTSTRAP_SEED = 12345
BOOTSTRAP_MIN = 10
_DRAWN_AT_ONCE = 250_000
"""Numbers of a bootstrap in memory at a time: few enough to stay in the processor's cache."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its 95 % interval; None where there is nothing to compute from (never NaN)."""

    score: float | None
    low: float | None
    high: float | None
    method: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Later minus earlier, with its interval (95 % unless asked otherwise) and the p-value of "no difference"."""

    delta: float
    low: float
    high: float
    p: float
    method: str
    se: float
    """Standard error on the scale of `delta`: what the minimum detectable change is made of."""
    z: float | None = None

    @property
    def detectable(self) -> float:
        """S9: the smallest change that 80 of 100 such comparisons would show."""
        return Z_POWER * self.se


def _quantile(confidence: float) -> float:
    return Z if confidence == CONFIDENCE else float(scipy.stats.norm.ppf((1 + confidence) / 2))


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # numpy scalars of several kinds
    if not math.isfinite(number):
        raise ValueError(f"a statistic came out as {number}; its inputs should have been refused before")
    return number


def _check_counts(positive: int, negative: int, n: int) -> None:
    if min(positive, negative, n) < 0 or positive + negative > n:
        raise ValueError(f"counts {positive}/{negative}/{n} are not those of a three-way classification")


def net(positive: int, negative: int, n: int) -> Estimate:
    """S1: 100·(P − D)/n with the adjusted Wald (add 3) interval; None for n = 0.

    >>> net(1, 0, 1).score
    100.0
    """
    _check_counts(positive, negative, n)
    if n == 0:
        return Estimate(None, None, None, "add3")
    score = 100.0 * (positive - negative) / n
    size = n + 3.0
    p, d = (positive + 0.75) / size, (negative + 0.75) / size
    s = p - d
    se = math.sqrt((p + d - s * s) / size)
    low = max(-100.0, 100.0 * (s - Z * se))
    high = min(100.0, 100.0 * (s + Z * se))
    return Estimate(score, min(low, score), max(high, score), "add3")


def net_difference(
    earlier: tuple[int, int, int], later: tuple[int, int, int], *, confidence: float = CONFIDENCE
) -> Difference | None:
    """S2: difference of two nets, each given as (positive, negative, n); None when either n is 0."""
    _check_counts(*earlier)
    _check_counts(*later)
    if earlier[2] == 0 or later[2] == 0:
        return None

    def adjusted(counts: tuple[int, int, int]) -> tuple[float, float]:
        size = counts[2] + 1.5
        p, d = (counts[0] + 0.375) / size, (counts[1] + 0.375) / size
        return p - d, (p + d - (p - d) ** 2) / size

    s1, v1 = adjusted(earlier)
    s2, v2 = adjusted(later)
    se = math.sqrt(v1 + v2)
    z = (s2 - s1) / se
    delta = 100.0 * ((later[0] - later[1]) / later[2] - (earlier[0] - earlier[1]) / earlier[2])
    quantile = _quantile(confidence)
    low = max(-200.0, 100.0 * ((s2 - s1) - quantile * se))
    high = min(200.0, 100.0 * ((s2 - s1) + quantile * se))
    p = _finite(2.0 * scipy.stats.norm.sf(abs(z)))
    return Difference(delta, min(low, delta), max(high, delta), p, "add1.5", 100.0 * se, z)


def share(k: int, n: int) -> Estimate:
    """S3: 100·k/n with the Wilson interval; None for n = 0."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share")
    if n == 0:
        return Estimate(None, None, None, "wilson")
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(k, n, 0.05, "wilson")
    # the library may return 99.99999999999999 for k = n, and a hair below 0 for k = 0
    bounds = (0.0 if k == 0 else 100.0 * _finite(low), 100.0 if k == n else 100.0 * _finite(high))
    return Estimate(100.0 * k / n, max(0.0, bounds[0]), min(100.0, bounds[1]), "wilson")


def share_difference(
    earlier: tuple[int, int], later: tuple[int, int], *, confidence: float = CONFIDENCE
) -> Difference | None:
    """S4: difference of two shares, each given as (k, n), in points; None when either n is 0.

    The p-value is the pooled z test, or Fisher's where an expected cell is below 5. `se` is the plain one
    of S9; where that is zero (0 % or 100 % on both sides) it is read off the Newcombe interval.
    """
    (k1, n1), (k2, n2) = earlier, later
    if n1 == 0 or n2 == 0:
        return None
    from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

    low, high = confint_proportions_2indep(k2, n2, k1, n1, method="newcomb", compare="diff", alpha=1 - confidence)
    p1, p2 = k1 / n1, k2 / n2
    total, both = k1 + k2, n1 + n2
    if min(n1, n2) * min(total, both - total) / both >= 5:
        _, p = proportions_ztest([k2, k1], [n2, n1])
        method = "newcombe+pooled_z"
    else:
        p = scipy.stats.fisher_exact([[k2, n2 - k2], [k1, n1 - k1]], alternative="two-sided").pvalue
        method = "newcombe+fisher"
    se = math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    if se == 0.0:
        se = (_finite(high) - _finite(low)) / (2 * _quantile(confidence))
    return Difference(
        100.0 * (p2 - p1),
        100.0 * _finite(low),
        100.0 * _finite(high),
        min(1.0, _finite(p)),
        method,
        100.0 * se,
    )


def expand(counts: Mapping[int, int]) -> Floats:
    """Counts of codes as one number per answer, in order of code."""
    codes = sorted(code for code, count in counts.items() if count > 0)
    return np.repeat(np.array(codes, dtype=np.float64), [counts[code] for code in codes])


def mean(counts: Mapping[int, int], low: float, high: float) -> Estimate:
    """S5: mean of a bounded rating with the Student-t interval, clipped to low…high.

    No interval for n = 1 or when all answers are equal (flag `zero_variance`): an interval without width
    would claim a certainty that nobody has.
    """
    return mean_of(expand(counts), low, high)


def mean_of(values: Sequence[float] | Floats, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """S5 of numbers that are no codes, such as the indices of respondents; the order of the values does not matter.

    Numbers closer together than 1e-9 are equal: they differ by the order of a sum only.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered.size == 0:
        return Estimate(None, None, None, "t")
    score = _finite(ordered.mean())
    if ordered.size == 1:
        return Estimate(score, None, None, "t")
    if ordered[-1] - ordered[0] <= 1e-9:
        return Estimate(score, None, None, "t", ("zero_variance",))
    from statsmodels.stats.weightstats import DescrStatsW

    lower, upper = DescrStatsW(ordered).tconfint_mean()
    return Estimate(score, max(float(low), _finite(lower)), min(float(high), _finite(upper)), "t")


def mean_difference(
    earlier: Mapping[int, int], later: Mapping[int, int], *, confidence: float = CONFIDENCE
) -> Difference | None:
    """S6: Welch's difference of means; None unless both sides have two answers and at least one varies."""
    return mean_difference_of(expand(earlier), expand(later), confidence=confidence)


def mean_difference_of(
    earlier: Sequence[float] | Floats, later: Sequence[float] | Floats, *, confidence: float = CONFIDENCE
) -> Difference | None:
    """S6 of any numbers, one for each customer."""
    x1, x2 = np.asarray(earlier, dtype=np.float64), np.asarray(later, dtype=np.float64)
    if x1.size < 2 or x2.size < 2:
        return None
    if x1.min() == x1.max() and x2.min() == x2.max():
        return None
    with warnings.catch_warnings():
        # scipy warns of lost precision when one of the two sides is constant; equal numbers have none to lose
        warnings.simplefilter("ignore", RuntimeWarning)
        test = scipy.stats.ttest_ind(x2, x1, equal_var=False)
        interval = test.confidence_interval(confidence)
    se = math.sqrt(_finite(x1.var(ddof=1)) / x1.size + _finite(x2.var(ddof=1)) / x2.size)
    return Difference(
        _finite(x2.mean() - x1.mean()),
        _finite(interval.low),
        _finite(interval.high),
        _finite(test.pvalue),
        "welch",
        se,
    )


def bootstrap(values: Sequence[float] | Floats, statistic: Callable[[Floats], Floats]) -> tuple[float, float] | None:
    """S7: percentile interval; None below ten values.

    Args:
        values: one number per unit.
        statistic: from a matrix with one resample per row to one number per row.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size < BOOTSTRAP_MIN:
        return None
    return _percentiles(
        np.concatenate([statistic(data[index]) for index in resamples(data.size, rows=_rows_at_once(data.size))])
    )


def sampled(values: Sequence[float] | Floats, statistic: Callable[[Floats], Floats], *, scale: float = 1.0) -> Estimate:
    """A statistic of numbers, times `scale`, with the interval of S7: none below ten values. Where all are equal it has
    no width, which the flag `zero_variance` tells.

    Args:
        values: one number per unit, in an order that does not depend on chance.
        statistic: from a matrix with one sample per row to one number per row.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Estimate(None, None, None, "bootstrap")
    return _sampled(data, float(statistic(data.reshape(1, -1))[0]), bootstrap(data, statistic), scale)


def _sampled(data: Floats, score: float, bounds: tuple[float, float] | None, scale: float) -> Estimate:
    low, high = bounds or (None, None)
    flags = ("zero_variance",) if data.size > 1 and data.min() == data.max() else ()
    return Estimate(
        scale * _finite(score),
        None if low is None else scale * low,
        None if high is None else scale * high,
        "bootstrap",
        flags,
    )


Statistic = Callable[[Floats, Ints], Floats]
"""From numbers in ascending order, and a matrix of places among them with one resample per row, to one number per
row."""


def means(ordered: Floats, drawn: Ints) -> Floats:
    """The mean of each resample."""
    return np.asarray(ordered[drawn].mean(axis=1), dtype=np.float64)


def medians(ordered: Floats, drawn: Ints) -> Floats:
    """The median of each resample: the numbers being in order, it stands at the median of the places."""
    middle = [(drawn.shape[1] - 1) // 2, drawn.shape[1] // 2]
    # half the bytes are half the work
    places = np.partition(drawn.astype(np.uint32), middle, axis=1)[:, middle]
    return means(ordered, places.astype(np.int64))


def p90s(ordered: Floats, drawn: Ints) -> Floats:
    """The 90th percentile of each resample (linear)."""
    return np.asarray(np.percentile(ordered[drawn], 90, axis=1), dtype=np.float64)


def sampled_together(*asked: tuple[Floats, Statistic], scale: float = 1.0) -> tuple[Estimate, ...]:
    """`sampled` of several statistics of equally many units, from the same resamples, which are drawn once: the same
    intervals in less time.

    Args:
        asked: one number per unit in ascending order, and what is wanted of them.
    """
    (n,) = {ordered.size for ordered, _ in asked}
    if n == 0:
        return (Estimate(None, None, None, "bootstrap"),) * len(asked)
    found: list[list[Floats]] = [[] for _ in asked]
    for drawn in resamples(n, rows=_rows_at_once(n)) if n >= BOOTSTRAP_MIN else ():
        for into, (ordered, statistic) in zip(found, asked, strict=True):
            into.append(statistic(ordered, drawn))
    return tuple(
        _sampled(
            ordered,
            float(statistic(ordered, np.arange(n).reshape(1, -1))[0]),
            _percentiles(np.concatenate(drawn)) if drawn else None,
            scale,
        )
        for (ordered, statistic), drawn in zip(asked, found, strict=True)
    )


def paired_bootstrap(
    x: Sequence[float] | Floats, y: Sequence[float] | Floats, statistic: Callable[[Floats, Floats], Floats]
) -> tuple[float, float] | None:
    """S7 of a statistic of pairs, which are drawn together; None below ten. Resamples in which it does not exist (NaN)
    are left out."""
    one, other = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if one.size < BOOTSTRAP_MIN:
        return None
    drawn = np.concatenate(
        [statistic(one[index], other[index]) for index in resamples(one.size, rows=_rows_at_once(one.size))]
    )
    drawn = drawn[np.isfinite(drawn)]
    return _percentiles(drawn) if drawn.size else None


def cluster_bootstrap(
    tallies: Mapping[str, Mapping[int, int]], statistic: Callable[[Mapping[int, int]], float]
) -> tuple[float, float] | None:
    """S7 with customers as the resampled units; the statistic sees all answers of the drawn customers. None below ten
    customers.

    Args:
        tallies: customer → code → number of answers.
        statistic: from the counts of one resample to a number.
    """
    customers = sorted(tallies)
    if len(customers) < BOOTSTRAP_MIN:
        return None
    codes = sorted({code for counts in tallies.values() for code in counts})
    matrix = np.array([[tallies[customer].get(code, 0) for code in codes] for customer in customers], dtype=np.int64)
    drawn = []
    for (row,) in resamples(len(customers), rows=1):
        counts = matrix[row].sum(axis=0)
        drawn.append(statistic({code: int(count) for code, count in zip(codes, counts, strict=True)}))
    return _percentiles(np.array(drawn, dtype=np.float64))


def resamples(n: int, *, rows: int, rng: np.random.Generator | None = None) -> Iterator[Ints]:
    """S7: the drawn units of all rounds, in blocks of at most `rows` rounds.

    Block by block the generator gives the same numbers as size=(rounds, n) at once, which would not fit in memory for a
    million units. A generator that is handed in goes on where an earlier group left it.
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED) if rng is None else rng
    for start in range(0, BOOTSTRAP_ROUNDS, rows):
        yield rng.integers(0, n, size=(min(rows, BOOTSTRAP_ROUNDS - start), n))


def _rows_at_once(n: int) -> int:
    return max(1, _DRAWN_AT_ONCE // n)


def money_difference(
    control: Sequence[float], treatment: Sequence[float], *, confidence: float = CONFIDENCE
) -> Difference | None:
    """S7 of the difference of two averages of money, treatment minus control; None below ten values on either side.

    One generator draws the control's rounds first, then the treatment's; the difference is taken round by round. The
    p-value inverts the percentile interval: twice the smaller share of rounds on either side of zero. The values of
    each side are taken in the order given.
    """
    one, two = np.asarray(control, dtype=np.float64), np.asarray(treatment, dtype=np.float64)
    if min(one.size, two.size) < BOOTSTRAP_MIN:
        return None
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    averages = [
        np.concatenate([values[drawn].mean(axis=1) for drawn in resamples(values.size, rows=20, rng=rng)])
        for values in (one, two)
    ]
    drawn = averages[1] - averages[0]
    low, high = _percentiles(drawn, confidence)
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(
        _finite(two.mean() - one.mean()),
        low,
        high,
        min(1.0, 2.0 * (1 + beyond) / (1 + BOOTSTRAP_ROUNDS)),
        "bootstrap",
        _finite(drawn.std(ddof=1)),
    )


def _percentiles(values: Floats, confidence: float = CONFIDENCE) -> tuple[float, float]:
    # exactly [2.5, 97.5] at 95 %: a percentage computed from 0.95 would be a hair beside them
    tail = 2.5 if confidence == CONFIDENCE else 50.0 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return _finite(low), _finite(high)


@dataclass(frozen=True, slots=True)
class Kept:
    """One comparison of a family: its adjusted p-value and whether it may be worded as a change."""

    adjusted: float
    kept: bool


def family(p_values: Sequence[float]) -> tuple[Kept, ...]:
    """S8: Benjamini–Hochberg at q = 0.10, in the order given."""
    if not p_values:
        return ()
    from statsmodels.stats.multitest import multipletests

    kept, adjusted, _, _ = multipletests(list(p_values), alpha=FAMILY_Q, method="fdr_bh")
    return tuple(Kept(_finite(a), bool(k)) for a, k in zip(adjusted, kept, strict=True))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values of several arms against one control, adjusted so that the chance of any false alarm keeps its level
    (Holm 1979); in the order given."""
    if len(p_values) < 2:
        return tuple(p_values)  # the library collects garbage on each call: nothing to pay for without need
    from statsmodels.stats.multitest import multipletests

    _, adjusted, _, _ = multipletests(list(p_values), method="holm")
    return tuple(_finite(p) for p in adjusted)


def sample_ratio(observed: Sequence[int], weights: Sequence[float]) -> float | None:
    """The p-value of "customers were shared out by these weights" (χ²); None when nobody was."""
    total, whole = sum(observed), math.fsum(weights)
    if total == 0:
        return None
    return _finite(scipy.stats.chisquare(observed, [total * weight / whole for weight in weights]).pvalue)


def standardise(strata: Mapping[str, tuple[float, int]], weights: Mapping[str, float]) -> float | None:
    """S10: score at a fixed mix; None when a stratum is missing or has fewer than ten answers.

    Args:
        strata: name → (score, n).
        weights: name → share of the reference window; they add up to 1.
    """
    if abs(sum(weights.values()) - 1.0) > 1e-9:
        raise ValueError(f"weights add up to {sum(weights.values())}, not to 1")
    if any(name not in strata or strata[name][1] < 10 for name in weights):
        return None
    return sum(weight * strata[name][0] for name, weight in weights.items())

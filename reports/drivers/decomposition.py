"""How much of an outcome each of several drivers explains: R² of rank correlations, shared out over all orders of entry
(LMG), with an interval over respondents (S7). Numbers only.

Source: docs/metrics.md ("What moves the recommendation").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.procedures import Floats, Ints, resamples

_TINY = 1e-10
_NUMBERS_AT_ONCE = 4_000_000


def explained(correlations: Floats) -> Floats:
    """R² of the last variable by every subset of the others.

    Args:
        correlations: (…, p + 1, p + 1), symmetric, ones on the diagonal. A driver without variance has a row of zeros
            and explains nothing; one that the others determine adds nothing to them.

    Returns:
        (…, 2^p); bit j of the place stands for driver j, so the last one is R² by all of them.
    """
    state = correlations[..., None, :, :]
    for _ in range(correlations.shape[-1] - 1):
        pivot = state[..., 0, 0]
        inverse = np.divide(1.0, pivot, out=np.zeros_like(pivot), where=pivot > _TINY)
        column = state[..., 1:, 0]
        without = state[..., 1:, 1:]
        given = without - column[..., :, None] * column[..., None, :] * inverse[..., None, None]
        state = np.concatenate((without, given), axis=-3)
    found: Floats = 1.0 - state[..., 0, 0]
    return found


def _orders(p: int) -> Floats:
    """(2^p, p): R² of all subsets times this is each driver's average gain over all orders of entry."""
    subsets = np.arange(2**p)
    inside = ((subsets[:, None] >> np.arange(p)) & 1).astype(bool)
    size = inside.sum(axis=1)
    share = np.array([math.factorial(k) * math.factorial(p - 1 - k) / math.factorial(p) for k in range(p)])
    joined, stayed_out = share[np.maximum(size - 1, 0)], share[np.minimum(size, p - 1)]
    weights: Floats = np.where(inside, joined[:, None], -stayed_out[:, None])
    return weights


def lmg(with_outcome: Sequence[float] | Floats, among: Sequence[Sequence[float]] | Floats) -> tuple[Floats, float]:
    """(each driver's part of R², R²), both 0…1; the parts add up to R².

    Args:
        with_outcome: rank correlation of each of p drivers with the outcome.
        among: p × p rank correlations of the drivers.

    >>> parts, r2 = lmg([0.6, 0.4], [[1.0, 0.5], [0.5, 1.0]])
    >>> [round(float(part), 4) for part in parts], round(r2, 4)
    ([0.2867, 0.0867], 0.3733)
    """
    drivers = np.asarray(among, dtype=np.float64)
    last = np.append(np.asarray(with_outcome, dtype=np.float64), 1.0)
    whole = np.empty((last.size, last.size))
    whole[:-1, :-1] = drivers
    whole[-1, :] = whole[:, -1] = last
    parts, r2 = _parts(whole[None])
    return parts[0], float(r2[0])


def _parts(correlations: Floats) -> tuple[Floats, Floats]:
    """(rounds, p) and (rounds,) of (rounds, p + 1, p + 1)."""
    r2 = explained(correlations)
    return np.maximum(r2 @ _orders(correlations.shape[-1] - 1), 0.0), r2[..., -1]


def rank_correlations(columns: Sequence[Floats], index: Ints) -> Floats:
    """(rounds, q, q) Spearman correlations with average ranks, ranked anew in every round; zeros in the row of a column
    without variance.

    Args:
        columns: q columns of n numbers.
        index: (rounds, n) rows drawn.
    """
    rounds, n = index.shape
    ranks = np.empty((rounds, len(columns), n))
    first = np.arange(rounds)[:, None]
    for place, column in enumerate(columns):
        levels, codes = np.unique(column, return_inverse=True)
        drawn = codes[index]
        counts = np.bincount((drawn + levels.size * first).ravel(), minlength=rounds * levels.size)
        counts = counts.reshape(rounds, levels.size)
        average = counts.cumsum(axis=1) - (counts - 1) / 2.0
        ranks[:, place] = np.take_along_axis(average, drawn, axis=1)
    ranks -= (n + 1) / 2.0
    products = ranks @ ranks.transpose(0, 2, 1)
    scale = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    both = scale[:, :, None] * scale[:, None, :]
    found: Floats = np.divide(products, both, out=np.zeros_like(products), where=both > 0)
    return found


def share_intervals(columns: Sequence[Floats]) -> tuple[Floats, Floats] | None:
    """S7 over respondents: (lower, upper) bounds of each driver's share of R², 0…1. Every round ranks, correlates and
    decomposes anew; the set of drivers stays. None when the outcome, the last column, varies in no round.

    Time grows with n and with 2^p: 0.2 s for 5 drivers and 500 respondents, 1 s for 12 and 1,000, 5 s for 5 and 50,000
    (one core).
    """
    n, q = columns[0].size, len(columns)
    rows = max(1, _NUMBERS_AT_ONCE // (max(n, 2 ** (q - 1)) * q))
    shares = []
    for index in resamples(n, rows=rows):
        parts, r2 = _parts(rank_correlations(columns, index))
        # a round in which the outcome does not vary has nothing to share out
        shares.append(parts[r2 > _TINY] / r2[r2 > _TINY, None])
    drawn = np.concatenate(shares)
    if not drawn.size:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high

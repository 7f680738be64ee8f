"""What may stand side by side: nothing under ten can be had by adding and subtracting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.disclosure import Ledger


def test_a_total_of_fewer_than_ten_may_not_be_published_and_one_of_ten_may() -> None:
    ledger = Ledger({"a": 9, "b": 10})
    assert ledger.admit(["b"])
    assert not ledger.admit(["a"])
    assert ledger.admit([])


def test_a_part_may_not_be_published_beside_the_whole_when_the_rest_is_small() -> None:
    ledger = Ledger({"a": 20, "b": 4})
    assert ledger.admit(["a", "b"])
    assert not ledger.admit(["a"])


def test_two_small_parts_that_are_ten_together_may_be_the_rest() -> None:
    ledger = Ledger({"a": 20, "b": 4, "c": 6})
    assert ledger.admit("abc")
    assert ledger.admit("a")
    assert not ledger.admit("ab")


def test_a_difference_of_three_totals_is_seen() -> None:
    # (a+b+c) - (a) - (b) = c
    ledger = Ledger({"a": 30, "b": 30, "c": 5, "d": 30})
    assert ledger.admit("ad")
    assert ledger.admit("bd")
    assert ledger.admit("abcd")
    # a+b+c+d + d - (a+d) - (b+d) = c
    assert not ledger.admit("d")


def test_weeks_that_four_weeks_and_three_weeks_would_give_away_are_refused() -> None:
    ledger = Ledger({"w1": 6, "w2": 15, "w3": 15, "w4": 15})
    assert ledger.admit(["w1", "w2", "w3", "w4"])
    assert ledger.admit(["w4"])
    assert ledger.admit(["w3"])
    assert not ledger.admit(["w2"])


def test_what_follows_from_the_rest_may_be_said() -> None:
    ledger = Ledger({"a": 20, "b": 30})
    assert ledger.admit("ab")
    assert ledger.admit("a")
    assert ledger.admit("b")


def can_be_computed(totals: Sequence[frozenset[int]], wanted: frozenset[int], cells: int) -> bool:
    """By plain linear algebra: whether the wanted sum is some combination of the totals."""
    rows = np.array([[cell in total for cell in range(cells)] for total in totals], dtype=float)
    sought = np.array([cell in wanted for cell in range(cells)], dtype=float)
    found, *_ = np.linalg.lstsq(rows.T, sought, rcond=None)
    return bool(np.allclose(rows.T @ found, sought, atol=1e-9))


@given(
    sizes=st.lists(st.integers(1, 14), min_size=2, max_size=7),
    masks=st.lists(st.integers(1, 127), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_published_no_sum_under_ten_is_a_combination_of_it(sizes: list[int], masks: list[int]) -> None:
    n = len(sizes)
    ledger = Ledger(dict(enumerate(sizes)))
    published: list[frozenset[int]] = []
    refused: list[frozenset[int]] = []
    for mask in masks:
        total = frozenset(cell for cell in range(n) if mask >> cell & 1)
        (published if ledger.admit(total) else refused).append(total)
    small = [
        frozenset(sum_)
        for k in range(1, n + 1)
        for sum_ in combinations(range(n), k)
        if sum(sizes[cell] for cell in sum_) < 10
    ]
    shown = [total for total in published if total]
    if shown:
        assert not [sum_ for sum_ in small if can_be_computed(shown, sum_, n)]
    for total in refused:
        # and nothing is refused without a reason: with it, some such sum could have been had
        assert any(can_be_computed([*shown, total], sum_, n) for sum_ in small)

"""What may stand side by side: nothing under ten can be had by adding and subtracting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.disclosure import Ledger, gives_few_away


def test_a_total_of_fewer_than_ten_may_not_be_published_and_one_of_ten_may() -> None:
    ledger = Ledger([9, 10])
    assert ledger.admit([1])
    assert not ledger.admit([0])
    assert ledger.admit([])


def test_a_part_may_not_be_published_beside_the_whole_when_the_rest_is_small() -> None:
    ledger = Ledger([20, 4])
    assert ledger.admit([0, 1])
    assert not ledger.admit([0])


def test_two_small_parts_that_are_ten_together_may_be_the_rest() -> None:
    ledger = Ledger([20, 4, 6])
    assert ledger.admit([0, 1, 2])
    assert ledger.admit([0])
    assert not ledger.admit([0, 1])


def test_a_difference_of_three_totals_is_seen() -> None:
    # (a+b+c) - (a) - (b) = c
    ledger = Ledger([30, 30, 5, 30])
    assert ledger.admit([0, 3])
    assert ledger.admit([1, 3])
    assert ledger.admit([0, 1, 2, 3])
    # a+b+c+d + d - (a+d) - (b+d) = c
    assert not ledger.admit([3])


def test_weeks_that_four_weeks_and_three_weeks_would_give_away_are_refused() -> None:
    ledger = Ledger([6, 15, 15, 15])
    assert ledger.admit([0, 1, 2, 3])
    assert ledger.admit([3])
    assert ledger.admit([2])
    assert not ledger.admit([1])


def test_what_follows_from_the_rest_may_be_said() -> None:
    ledger = Ledger([20, 30])
    assert ledger.admit([0, 1])
    assert ledger.admit([0])
    assert ledger.admit([1])


def test_a_sum_of_more_cells_than_are_tried_is_seen_where_it_is_watched() -> None:
    # five single answers among six hundred: sums of five are not tried of so many
    sizes, everything, named = [1] * 600, list(range(600)), [0, 150, 300, 450, 599]
    rest = [place for place in everything if place not in named]
    for watched, told in (([], True), ([named], False)):
        ledger = Ledger(sizes, watched=watched)
        # each of the others with a different neighbour, so that no two cells are alike
        for begin in range(0, 550, 7):
            assert ledger.admit(range(begin, begin + 50))
        assert ledger.admit(everything)
        assert ledger.admit(rest) is told


def can_be_computed(totals: Sequence[frozenset[int]], wanted: frozenset[int], cells: int) -> bool:
    """By plain linear algebra: whether the wanted sum is some combination of the totals."""
    rows = np.array([[cell in total for cell in range(cells)] for total in totals], dtype=float)
    sought = np.array([cell in wanted for cell in range(cells)], dtype=float)
    found, *_ = np.linalg.lstsq(rows.T, sought, rcond=None)
    return bool(np.allclose(rows.T @ found, sought, atol=1e-9))


@given(
    sizes=st.lists(st.one_of(st.integers(1, 9), st.integers(10, 14)), min_size=2, max_size=7),
    masks=st.lists(st.integers(1, 127), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_published_no_sum_under_ten_is_a_combination_of_it(sizes: list[int], masks: list[int]) -> None:
    n = len(sizes)
    ledger = Ledger(sizes)
    published: list[frozenset[int]] = []
    refused: list[frozenset[int]] = []
    for mask in masks:
        total = frozenset(cell for cell in range(n) if mask >> cell & 1)
        (published if ledger.admit(sorted(total)) else refused).append(total)
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


def test_a_total_gives_away_what_its_small_parts_sum_up_to_below_ten() -> None:
    for small in ([1], [9], [4, 5], [1, 1, 7]):
        assert gives_few_away([40, *small]), small
    for enough in ([], [0], [10], [1, 9], [5, 5], [9, 9]):
        assert not gives_few_away([40, *enough]), enough

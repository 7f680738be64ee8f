"""Ratings of those who wrote: a topic's may be told where no digests beside it give those of a handful away."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, timedelta

import pytest
from pencil import worked_out

from reports.digest.rated_comments import Wrote, groups_told
from reports.digest.telling import EVERYBODY, windows_of_comments
from reports.digest.weeks import WeekRange, month_ending_by, parse_period

MONTH = parse_period("2026-11").weeks
LAST = MONTH.last(1)
WEEKLY = [(EVERYBODY, "week")]


def about(counts: list[int], *, until: date = MONTH.end, segment: str = "") -> dict[Wrote, int]:
    """So many who rated and speak of the delivery, a week each, up to a Monday."""
    return {
        Wrote(until - timedelta(weeks=len(counts) - place), segment, "line", frozenset({"rated", "delivery"})): n
        for place, n in enumerate(counts)
        if n
    }


@pytest.mark.parametrize(
    ("counts", "in_november", "at_its_end"),
    [([10, 10, 0, 10, 10], True, True), ([4, 4, 4, 4, 4], False, True), ([2, 2, 2, 2, 2], False, False)],
)
def test_a_topic_of_few_each_week_is_rated_when_a_month_ends(
    counts: list[int], in_november: bool, at_its_end: bool
) -> None:
    earlier = WeekRange(LAST.first - timedelta(weeks=1), 1)
    before = groups_told(about(counts, until=earlier.end), earlier, part=EVERYBODY, audiences=WEEKLY)
    ending = groups_told(about(counts), LAST, part=EVERYBODY, audiences=WEEKLY)
    assert (before("delivery"), ending("delivery")) == (in_november, at_its_end)


def test_a_month_of_five_weeks_is_not_rated_beside_its_last_four_when_few_wrote_in_the_first() -> None:
    assert MONTH.weeks == 5
    both = [*WEEKLY, (EVERYBODY, "month")]
    for first, told in ((3, False), (10, True), (0, True)):
        cells = about([first, 5, 5, 5, 5])
        assert groups_told(cells, LAST, part=EVERYBODY, audiences=both)("delivery")
        assert groups_told(cells, MONTH, part=EVERYBODY, audiences=both)("delivery") is told


def test_a_store_is_rated_when_ten_wrote_of_the_others() -> None:
    # with eleven others, all in the last week, that week's sixteen would tell the store's five
    for others, told in (([3], False), ([], True), ([4, 4, 4, 4], True), ([11], False)):
        cells = about([5, 5, 5, 5], segment="umeda") | about(others, segment="namba")
        store = ("umeda", "")
        audiences = [*WEEKLY, (store, "week")]
        assert groups_told(cells, LAST, part=EVERYBODY, audiences=audiences)("delivery")
        assert groups_told(cells, LAST, part=store, audiences=audiences)("delivery") is told


_GROUPS = [("rated",), ("rated", "delivery"), ("rated", "price"), ("rated", "delivery", "price")]


@pytest.mark.parametrize("seed", range(4))
def test_how_a_handful_rates_follows_from_no_digests_of_a_quarter(seed: int) -> None:
    chance = random.Random(seed)
    usual, stores = chance.choice([[0, 1, 4, 12], [0, 3, 9, 15], [2, 5, 10]]), ("umeda", "namba", "kobe")
    cells = Counter(
        {
            Wrote(MONTH.end - timedelta(weeks=back), store, "line", frozenset(groups)): chance.choice(usual)
            for back in range(1, 16)
            for store in stores
            for groups in _GROUPS
        }
    )
    parts = [EVERYBODY, *((store, "") for store in stores[: chance.randint(0, 3)])]
    audiences = [(part, every) for part in parts for every in ("week", "month")]
    told = []
    for back in range(11, -1, -1):
        week = WeekRange(MONTH.end - timedelta(weeks=back + 1), 1)
        month = month_ending_by(week.end).weeks
        for part, every in audiences:
            if every == "month" and month.end != week.end:
                continue
            period = month if every == "month" else week
            (window,), _ = windows_of_comments(period)
            first = min(window.first, month.first) if month.end == week.end else window.first
            known = {cell: n for cell, n in cells.items() if first <= cell.monday < week.end and n}
            may_tell = groups_told(known, period, part=part, audiences=audiences)
            told += [
                [(cell, one) for cell, n in cells.items() if _counts(cell, part, group, window) for one in range(n)]
                for group in ("rated", "delivery", "price")
                if may_tell(group)
            ]
    assert worked_out(told) == []


def _counts(cell: Wrote, part: tuple[str, str], group: str, window: WeekRange) -> bool:
    return group in cell.groups and part[0] in ("", cell.segment) and window.first <= cell.monday < window.end

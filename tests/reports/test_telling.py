"""Digests side by side: whoever keeps all of them can subtract one from the next, and must find nothing under ten."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pencil import worked_out
from report_history import MONDAY, TOKYO, History, digest_of, weeks_ago

from flows.days import midnight_ms
from reports.digest import DigestRule, week_name
from reports.digest.telling import (
    TellingOfComments,
    audience,
    may_tell_year,
    told_until,
    windows_of,
    windows_of_comments,
    windows_of_part,
)
from reports.digest.weeks import REMEMBERED_WEEKS, WeekRange, month_ending_by, remembered
from reports.disclosure import told_as_it_grows
from reports.look_back import Written
from reports.metrics import SUPPRESS_BELOW, Stratum
from reports.render import render_json, render_text

END = MONDAY + timedelta(weeks=1)


def weekly(counts: list[int]) -> dict[date, int]:
    """Monday → answers, the last of them in the week before END."""
    return {END - timedelta(weeks=len(counts) - place): n for place, n in enumerate(counts)}


def told_of(end: date, sizes: dict[date, int]) -> frozenset[WeekRange]:
    cells = {(monday, "", ""): n for monday, n in sizes.items()}
    return frozenset(window for _, window in told_until(end, cells, [audience(end, lambda _: [])]).may)


def sums_that_follow(sizes: dict[date, int], told: frozenset[WeekRange]) -> list[tuple[date, ...]]:
    """Weeks with fewer than ten answers together whose sum some combination of the told windows is; a reader knows
    which weeks are empty."""
    cells = sorted(monday for monday, n in sizes.items() if n)
    rows = np.array([[window.first <= monday < window.end for monday in cells] for window in told], dtype=float)
    if not len(rows):
        return []
    _, strengths, axes = np.linalg.svd(rows)
    unknown = axes[(strengths > 1e-9).sum() :].T
    found = []
    for k in range(1, SUPPRESS_BELOW):
        for places in combinations(range(len(cells)), k):
            chosen = tuple(cells[place] for place in places)
            small = sum(sizes[monday] for monday in chosen) < SUPPRESS_BELOW
            if small and np.abs(unknown[list(places)].sum(axis=0)).max(initial=0.0) < 1e-7:
                found.append(chosen)
    return found


@given(st.lists(st.one_of(st.integers(0, 14), st.integers(30, 60)), min_size=2, max_size=11))
@settings(max_examples=25, deadline=None)
def test_all_digests_together_give_no_sum_of_weeks_under_ten_away(counts: list[int]) -> None:
    sizes = weekly(counts)
    told: set[WeekRange] = set()
    for later in range(1, len(counts) + 1):
        end = END - timedelta(weeks=len(counts) - later)
        # each digest knows its past only, and is made without a look at what the others stored
        told |= told_of(end, {monday: n for monday, n in sizes.items() if monday < end})
    assert sums_that_follow(sizes, frozenset(told)) == []
    assert told == told_of(END, sizes), "what was told once may be told again"


def test_a_shop_with_ten_answers_in_every_week_may_tell_every_window() -> None:
    told = told_of(END, weekly([10] * 30))
    week = WeekRange(MONDAY, 1)
    assert {week, week.last(4), week.before(1), week.before(4), week.last(4).before(4), week.last(12)} <= told


@pytest.mark.parametrize(("n", "told"), [(9, False), (10, True)])
def test_a_third_week_is_not_added_to_two_that_were_told(n: int, told: bool) -> None:
    rolling = WeekRange(MONDAY, 1).last(4)
    assert (rolling in told_of(END, weekly([6, 6, n]))) is told
    # with a fourth one, what is new holds enough
    assert rolling in told_of(END, weekly([6, 6, 6, 6]))


async def test_the_four_weeks_of_a_tiny_shop_wait_until_ten_answers_are_new(tmp_path: Path) -> None:
    scores = []
    for weeks in (2, 3, 4):
        (folder := tmp_path / str(weeks)).mkdir()
        last = MONDAY - timedelta(weeks=4 - weeks)
        context = await digest_of(
            shop_until(weeks), folder, week=week_name(last), now_ms=midnight_ms(last + timedelta(weeks=1), TOKYO)
        )
        assert context.primary.result.n_valid == 6 * weeks
        scores.append(context.primary.result.score)
        if weeks == 3:
            assert context.primary.others == {}
            assert render_json(context)["primary"]["result"]["counts"] == {}
            for language, words in (("ja", "差し引きで求められるため"), ("en", "other values would give it away")):
                assert words in render_text(replace(context, language=language))  # type: ignore[arg-type]
    assert [score is not None for score in scores] == [True, False, True]


def shop_until(weeks: int) -> History:
    """Six answers in each of the first so many weeks of four."""
    history = History()
    for back in range(3, 3 - weeks, -1):
        history.nps(4, 1, 6, monday=weeks_ago(back))
    return history


@pytest.mark.parametrize(("new", "told"), [(0, True), (9, False), (10, True)])
def test_what_is_known_of_a_years_customers_is_told_again_when_ten_have_answered(new: int, told: bool) -> None:
    assert may_tell_year(END, weekly([30, 0, new])) is told


def test_a_part_is_told_beside_the_whole_when_the_rest_holds_ten() -> None:
    store, other = (MONDAY, "渋谷店", "line"), (MONDAY, "新宿店", "line")
    week = WeekRange(MONDAY, 1)
    for n, told in ((9, False), (10, True)):
        everybody = audience(END, lambda _: [("渋谷店", ""), ("新宿店", "")])
        found = told_until(END, {store: 40, other: n}, [everybody]).may
        assert (("", ""), week) in found
        # the whole less the one store is the other
        assert ((("渋谷店", ""), week) in found) is told


# ------------------------------------------------------------------------------------------------------------ comments

_COMMENTED = [
    DigestRule("monthly", every="month"),
    DigestRule("umeda", segment="umeda"),
    DigestRule("namba", segment="namba", every="month"),
    DigestRule("slack", channel="slack"),
    DigestRule("bought", touchpoint="purchase", every="month"),
    DigestRule("asked", touchpoint="support", segment="umeda", channel="slack"),
]
Commented = dict[date, dict[Written, int]]


_PLACES = [(store, channel) for store in ("umeda", "namba", "tennoji") for channel in ("line", "slack")]


def commented(chance: random.Random, end: date, weeks: int, sizes: list[int], *, places: int) -> Commented:
    """Monday → customers who wrote, of some stores and channels, in so many weeks up to a Monday."""
    some = chance.sample(_PLACES, places)
    return {
        end - timedelta(weeks=back): {
            Written("reason", "transactional", "purchase", "w", "ja", *place): chance.choice(sizes) for place in some
        }
        for back in range(weeks, 0, -1)
    }


def told_of_comments(
    shop: Commented, digests: list[DigestRule], *, last: int
) -> list[tuple[DigestRule, tuple[WeekRange, ...], bool]]:
    """What each of the last digests tells of comments, wherever topics grew, the oldest first: each knows what was
    written before it only."""
    found = []
    where = Stratum("transactional", "purchase", "w", "", "ja")
    for end in [monday + timedelta(weeks=1) for monday in shop][-last:]:
        known = [(monday, written) for monday, written in shop.items() if monday < end]
        for rule in digests:
            period = WeekRange(end, 0).before(1) if rule.every == "week" else month_ending_by(end).weeks
            if period.end == end:
                may = TellingOfComments(known, rule, period, digests=digests).may_tell("reason", where)
                found += [(rule, row, told) for row, told in zip(windows_of_comments(period), may, strict=True)]
    return found


_SIZES = [[0, 3, 6, 12, 40], [3, 12], [2, 5, 9, 15], [9, 10, 30], [1, 4, 12, 60]]


@pytest.mark.parametrize("seed", range(12))
def test_comments_of_a_handful_follow_from_no_series_of_digests(seed: int) -> None:
    chance = random.Random(seed)
    digests = [DigestRule("weekly"), *chance.sample(_COMMENTED, chance.randint(0, 4))]
    # half of them begin in one year and end in the next
    end = date(2026, 2, 16) if seed % 2 else END
    shop = commented(chance, end, 18, chance.choice(_SIZES), places=chance.randint(1, 4))
    totals = {
        frozenset(
            (monday, where, customer)
            for monday, written in shop.items()
            if window.first <= monday < window.end
            for where, n in written.items()
            if rule.segment in ("", where.segment) and rule.channel in ("", where.channel)
            for customer in range(n)
        )
        for rule, row, told in told_of_comments(shop, digests, last=14)
        if told
        for window in row
    }
    assert worked_out(totals) == []


@pytest.mark.parametrize("seed", range(2))
def test_comments_of_a_handful_follow_from_no_digests_of_two_years(seed: int) -> None:
    """However long ago a digest was: shops that forgot after half a year gave a handful away in half of the cases."""
    chance = random.Random(seed)
    shop = commented(chance, END, 110, [3, 6, 12, 40], places=1)
    told = [row for _, row, told in told_of_comments(shop, [DigestRule("weekly")], last=104) if told]
    sizes = {monday: sum(written.values()) for monday, written in shop.items()}
    totals = {
        frozenset((monday, n) for monday in shop if window.first <= monday < window.end for n in range(sizes[monday]))
        for row in told
        for window in row
    }
    assert len(totals) > 40
    assert worked_out(totals) == []


def test_a_shop_with_ten_comments_in_every_place_and_week_may_tell_all_topics() -> None:
    shop = commented(random.Random(1), date(2026, 2, 16), 18, [10, 11], places=len(_PLACES))
    digests = [DigestRule("weekly"), *(rule for rule in _COMMENTED if rule.touchpoint != "support")]
    assert all(told for *_, told in told_of_comments(shop, digests, last=14))


# --------------------------------------------------------------- each digest works out anew what was told before it


@pytest.mark.parametrize("seed", [20, 38, 84])
def test_digests_that_look_back_from_different_mondays_give_nothing_away_together(seed: int) -> None:
    chance = random.Random(seed)
    last = END - timedelta(weeks=seed % 24)
    usual, odd = chance.randint(1, 12), chance.choice([0, 0.2, 1.0])
    sizes = {
        last - timedelta(weeks=back): chance.choice([usual, usual, chance.randint(0, 9)])
        if chance.random() < odd
        else usual
        for back in range(1, 91)
    }
    totals = []
    for back in range(11, -1, -1):
        end = last - timedelta(weeks=back)
        week = WeekRange(end, 0).before(1)
        of_digest = {*windows_of(week, sizes[week.first]), *windows_of_part(week)}
        told = told_of(end, {monday: n for monday, n in sizes.items() if monday < end}) & of_digest
        assert told
        totals += [
            frozenset((m, n) for m, size in sizes.items() if one.first <= m < one.end for n in range(size))
            for one in told
        ]
    assert worked_out(totals) == []


def mondays_told(new: int, may: Callable[[date, dict[date, int]], bool]) -> list[int]:
    """Of a year of Mondays in a shop that had thirty customers at once and then so many new ones a week, which tell."""
    first = END - timedelta(weeks=60)
    sizes = {first + timedelta(weeks=later): new if later else 30 for later in range(51)}
    ends = [first + timedelta(weeks=later) for later in range(1, 51)]
    return [
        place for place, end in enumerate(ends) if may(end, {monday: n for monday, n in sizes.items() if monday < end})
    ]


@pytest.mark.parametrize("new", [1, 2, 4, 5, 7, 12])
def test_what_only_grows_is_told_when_ten_have_come_whichever_monday_one_looks_from(new: int) -> None:
    def may_tell_sum(end: date, sizes: dict[date, int]) -> bool:
        times = [week.end for week in remembered(end)]
        recorded = [
            {("", bisect_left(times, monday + timedelta(weeks=1)))} for monday, n in sizes.items() for _ in range(n)
        ]
        return bool(told_as_it_grows(recorded, {"sum": [""]}, len(times), begins=(0, REMEMBERED_WEEKS)))

    for may in (may_tell_year, may_tell_sum):
        told = mondays_told(new, may)
        assert len(told) > 1
        assert min((later - earlier) * new for earlier, later in pairwise(told)) >= SUPPRESS_BELOW


@pytest.mark.parametrize("seed", range(2))
def test_a_stores_topics_wait_while_a_handful_wrote_of_the_others_however_they_are_spread(seed: int) -> None:
    chance = random.Random(seed)
    places = [("umeda", "line"), *(place for place in _PLACES if place[0] != "umeda")]
    shop = {
        END - timedelta(weeks=back): {
            Written("reason", "transactional", "purchase", "w", "ja", *place): 30
            if place[0] == "umeda"
            else int(chance.random() < 0.45)
            for place in places
        }
        for back in range(12, 0, -1)
    }
    found = told_of_comments(shop, [DigestRule("weekly"), DigestRule("umeda", segment="umeda")], last=9)
    told = {(rule.id, window) for rule, row, may in found if may for window in row}
    assert len(told) > 9
    for rule, window in told:
        others = sum(
            n
            for monday, written in shop.items()
            if window.first <= monday < window.end
            for where, n in written.items()
            if where.segment != "umeda"
        )
        assert rule == "weekly" or ("weekly", window) not in told or not 0 < others < SUPPRESS_BELOW

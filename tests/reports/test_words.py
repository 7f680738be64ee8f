"""Numbers and dates as people read them."""

from __future__ import annotations

import doctest
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reports.metrics
import reports.procedures
import reports.rounding
import reports.trust.account
import reports.values
from flows import days
from reports.digest import reach, weeks
from reports.rounding import rounded, signed
from reports.words import Limits, Words

JA, EN = Words("ja"), Words("en")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(26.6667, 1, "+26.7"), (0.0, 1, "0.0"), (-0.0, 1, "0.0"), (-0.04, 1, "0.0"), (0.05, 1, "+0.1"), (-0.05, 1, "-0.1"),
     (2.675, 2, "+2.68"), (1.005, 2, "+1.01"), (-25.0, 1, "-25.0"), (100, 1, "+100.0"), (1e-20, 1, "0.0")],
)  # fmt: skip
def test_half_is_rounded_up_of_the_number_as_written(value: float, digits: int, text: str) -> None:
    assert signed(value, digits) == text


@given(st.floats(-1000, 1000))
def test_no_number_prints_a_negative_zero(value: float) -> None:
    assert rounded(value, 1) != "-0.0"
    assert signed(value, 1) not in ("-0.0", "+0.0")


def test_each_kind_of_score_in_its_own_dress() -> None:
    assert (JA.value(26.6667, "net"), JA.value(66.6667, "share"), JA.value(3.78333, "mean")) == (
        "+26.7",
        "66.7%",
        "3.78",
    )
    assert JA.interval(17.3, 32.3, "net") == "+17.3〜+32.3"
    assert EN.interval(17.3, 32.3, "net") == "+17.3 to +32.3"
    assert JA.interval(54.05, 77.27, "share") == "54.1〜77.3%"
    assert JA.interval(2.48, 35.89, "share", change=True) == "+2.5〜+35.9"


def test_a_change_is_in_points_and_never_in_percent() -> None:
    assert (JA.delta(25.0, "net"), EN.delta(-11.4, "share"), JA.delta(0.25, "mean")) == (
        "+25.0ポイント", "-11.4 points", "+0.25",
    )  # fmt: skip
    assert (JA.detectable(38.95, "net"), EN.detectable(38.95, "net")) == ("約39ポイント", "about 39 points")


def test_the_range_mark_is_the_wave_dash() -> None:
    assert "\u301c" in JA.dates(date(2026, 11, 16), date(2026, 11, 22))


def test_weeks_by_their_first_and_last_day() -> None:
    assert JA.window(date(2026, 11, 16), date(2026, 11, 23)) == "11/16〜11/22"
    assert EN.window(date(2026, 11, 16), date(2026, 11, 23)) == "16–22 Nov"
    assert EN.window(date(2026, 12, 28), date(2027, 1, 4)) == "28 Dec – 3 Jan"


def test_reasons_for_holding_back_name_the_limits_of_the_shop() -> None:
    words = Words("ja", limits=Limits(min_gap_days=21, per_year=4))
    assert words.skip("min_gap") == "21日以内の再案内"
    assert words.skip("per_year") == "年4回の上限"
    assert words.skip("something new") == "その他：something new"


def test_every_reason_the_trigger_rules_can_give_has_words_in_both_languages() -> None:
    from flows.triggers import REASONS

    for reason in REASONS:
        assert "その他" not in JA.skip(reason)
        assert "other" not in EN.skip(reason)


@pytest.mark.parametrize(
    "module",
    [days, reports.rounding, reports.trust.account, reports.metrics, reports.procedures, reports.values, weeks, reach],
    ids=lambda m: m.__name__,
)
def test_the_examples_in_docstrings_are_true(module: object) -> None:
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert (failed, tried > 0) == (0, True)

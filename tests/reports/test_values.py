"""What counts as an answer, as tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.values import amount_of, parse_multi, parse_scale, parse_yes_no


@pytest.mark.parametrize(
    ("value", "code"),
    [(10, 10), (0, 0), (7.0, 7), ("９", 9), (" 10点 ", 10), ("7.0", 7), ("+3", 3), ("0", 0), ("８点", 8),
     (np.int64(4), 4), (np.float64(4.0), 4), ("7.00点", 7), ("　9　", 9)],
)  # fmt: skip
def test_a_whole_number_on_the_scale_is_valid(value: object, code: int) -> None:
    assert parse_scale(value, 0, 10).code == code


@pytest.mark.parametrize(
    "value",
    ["7.5", "九", "8くらい", "11", "-1", True, False, 7.5, 11, -1, math.inf, -math.inf, [7], "1e1", "0x7", "9" * 5000,
     "7点点", "7 点", np.bool_(True), b"7"],
)  # fmt: skip
def test_anything_else_is_invalid(value: object) -> None:
    assert parse_scale(value, 0, 10).kind == "invalid"


@pytest.mark.parametrize(
    "value",
    [None, math.nan, "", "   ", "　", "skip", "SKIP", "スキップ", "ｽｷｯﾌﾟ", "回答しない", "該当なし",
     "N/A", "n/a", "None", "nan"],
)  # fmt: skip
def test_empty_and_skipped_are_missing(value: object) -> None:
    assert parse_scale(value, 0, 10).kind == "missing"


def test_dont_know_is_missing_with_its_reason() -> None:
    assert parse_scale("わからない", 0, 10).reason == "dk"
    assert parse_scale("skip", 0, 10).reason == ""


@pytest.mark.parametrize("value", ["はい", "yes", "Y", "true", "1", "１", True, 1, 1.0, " YES "])
def test_yes_in_its_spellings(value: object) -> None:
    assert parse_yes_no(value).code == 1


@pytest.mark.parametrize("value", ["いいえ", "no", "N", "False", "0", False, 0])
def test_no_in_its_spellings(value: object) -> None:
    assert parse_yes_no(value).code == 0


@pytest.mark.parametrize(("value", "kind"), [("", "missing"), (None, "missing"), ("maybe", "invalid"), (2, "invalid")])
def test_neither_yes_nor_no(value: object, kind: str) -> None:
    assert parse_yes_no(value).kind == kind


CODES = ("relief", "pride", "trust")


@pytest.mark.parametrize(
    ("value", "kind", "codes", "unknown"),
    [
        (["relief", "pride"], "valid", ("relief", "pride"), 0),
        ("pride;relief;pride", "valid", ("relief", "pride"), 0),
        (["none"], "valid", (), 0),
        ("none", "valid", (), 0),
        (["none", "trust"], "valid", ("trust",), 0),
        (["trust", "xyz"], "valid", ("trust",), 1),
        (["xyz"], "invalid", (), 1),
        ([], "missing", (), 0),
        (None, "missing", (), 0),
        ("", "missing", (), 0),
        (5, "invalid", (), 0),
    ],
)
def test_multi_select(value: object, kind: str, codes: tuple[str, ...], unknown: int) -> None:
    parsed = parse_multi(value, CODES)
    assert (parsed.kind, parsed.codes, parsed.invalid_codes) == (kind, codes, unknown)


@pytest.mark.parametrize(
    ("value", "amount"),
    [("５，４００円", 5400.0), ("¥1,200", 1200.0), (-3, -3.0), (10**15, 1e15), (10**400, None), (1e308, None),
     ("9" * 30, None), ("1" * 31, None), ("1e999", None), (math.nan, None), (math.inf, None), ("nan", None),
     (True, None), ([1], None)],
)  # fmt: skip
def test_an_amount_is_a_number_that_can_be_added_up(value: object, amount: float | None) -> None:
    assert amount_of(value) == amount


@given(st.one_of(st.text(), st.floats(), st.integers(), st.binary(), st.lists(st.text()), st.none(), st.booleans()))
def test_no_value_raises_and_a_valid_one_is_on_the_scale(value: object) -> None:
    parsed = parse_scale(value, 1, 5)
    assert (parsed.kind == "valid") == (parsed.code is not None)
    assert parsed.code is None or 1 <= parsed.code <= 5
    parse_yes_no(value)
    parse_multi(value, CODES)

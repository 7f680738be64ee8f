"""Indices of several questions: the worked examples, the half rule, classes at their limits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.indices import (
    Index,
    Raw,
    battery_results,
    engagement_class,
    engagement_score,
    indices_of,
    own_label,
    variant_name,
)
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Result

SPECS = specs_of(bundled_instruments())
INDICES = indices_of(SPECS)
NEAR = 5.1e-5
"""The worked examples are written with four decimals; those that are fractions are tested as such, to 1e-6."""


def index(battery: str, name: str) -> Index:
    (found,) = [index for index in INDICES[battery] if index.name == name]
    return found


def answers(found: Index, *codes: int | None) -> dict[str, int]:
    return {item: code for item, code in zip(found.items, codes, strict=True) if code is not None}


def results(battery: str, respondents: list[dict[str, int]], indices: tuple[Index, ...] = ()) -> dict[str, Result]:
    return {found.variant: found for found in battery_results(battery, indices or INDICES[battery], respondents)}


def three(found: Result) -> tuple[float | None, float | None, float | None]:
    return found.score, found.ci_low, found.ci_high


# ------------------------------------------------------------------------------------------------ of one respondent


@pytest.mark.parametrize(
    ("battery", "name", "codes", "expected"),
    [
        ("jcsi6", "sat", (8, 9, 7), 700 / 9),
        ("jcsi6", "exp", (7, 8, 3), 2000 / 27),
        ("jcsi6", "sat", (8, None, None), None),
        ("jcsi6", "sat", (7, None, 8), 650 / 9),
        ("jcsi6", "sat", (1, 1, 1), 0.0),
        ("jcsi6", "sat", (10, 10, 10), 100.0),
        ("jcsi6", "qual", (10, 10, 10, 1), 100.0),
        ("jcsi6", "qual", (10, 10, None, None), 100.0),
        ("jcsi6", "qual", (10, None, None, None), None),
        ("cx11", "l3", (5, 4, 5), 1100 / 12),
        ("cx11", "a8", (4, 4, 5, 4, 3, 4, 4, 3), 71.875),
        ("cx11", "a8", (2, 2, 3, 2, 2, 2, 3, 1), 28.125),
        ("cx11", "a8", (5, 5, 5, None, None, None, None, None), None),
        ("cx11", "a8", (5, 5, 5, 5, None, None, None, None), 100.0),
        ("cx11", "confidence", (5, 4), 87.5),
        ("cx11", "confidence", (5, None), None),
        ("cxi6", "cx_quality", (5, 4, 4), 250 / 3),
        ("trust6", "trust6", (5, 4, 5, 4, 4, 3), 950 / 12),
        ("trust6", "trust6", (5, 4, None, 4, None, None), 250 / 3),
        ("trust6", "trust6", (5, 4, None, None, None, None), None),
        ("csi3", "csi3", (9, 8, None), None),
        ("csi3", "csi3", (1, 1, 1), 0.0),
    ],
)
def test_the_index_of_a_respondent(
    battery: str, name: str, codes: tuple[int | None, ...], expected: float | None
) -> None:
    found = index(battery, name)
    assert found.of(answers(found, *codes)) == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_the_engagement_score_counts_every_item_the_same() -> None:
    assert engagement_score(1100 / 12, 71.875) == pytest.approx(77.2727, abs=NEAR, rel=0)
    assert engagement_score(1100 / 12, 71.875) == pytest.approx((3 * 1100 / 12 + 8 * 71.875) / 11, abs=1e-6)


@pytest.mark.parametrize(
    ("l3", "a8", "expected"),
    [
        (100.0, 100.0, "fully"),
        (87.5, 87.5 - 1e-12, "fully"),
        (87.4, 90.0, "engaged"),
        (100.0, 28.125, "actively_disengaged"),
        (0.0, 37.5, "not_engaged"),
        (100.0, 37.5 - 1e-12, "not_engaged"),
        (100.0, 37.49, "actively_disengaged"),
        (62.5, 62.5, "engaged"),
        (62.4, 100.0, "not_engaged"),
        (1100 / 12, 71.875, "engaged"),
    ],
)
def test_the_classes_are_tried_in_their_order_and_a_limit_that_is_reached_counts(
    l3: float, a8: float, expected: str
) -> None:
    assert engagement_class(l3, a8) == expected


# ---------------------------------------------------------------------------------------------- of many respondents


def test_six_indices_worked_example() -> None:
    sat = index("jcsi6", "sat")
    rows = [(8, 9, 7), (6, 6, 5), (10, 10, 10), (3, 4, 2), (7, None, 8)]
    found = results("jcsi6", [answers(sat, *row) for row in rows])["sat"]
    assert three(found) == pytest.approx((64.8148, 28.3858, 100.0), abs=NEAR, rel=0)
    assert found.score == pytest.approx((700 / 9 + 14 / 27 * 100 + 100 + 200 / 9 + 650 / 9) / 5, abs=1e-6)
    assert (found.n_valid, found.status, found.counts) == (5, "suppressed", {"partial_excluded": 0})
    same = results("jcsi6", [answers(sat, 10, 10, 10)] * 3)["sat"]
    assert (three(same), same.flags) == ((100.0, None, None), ("zero_variance",))


def test_the_difference_from_expectation_may_be_negative_and_is_not_clipped() -> None:
    exp, qual = index("jcsi6", "exp"), index("jcsi6", "qual")
    high = {**answers(exp, 10, 10, 1), **answers(qual, 1, 1, 1, 10)}
    low = {**answers(exp, 1, 1, 10), **answers(qual, 10, 10, 10, 1)}
    found = results("jcsi6", [high, low, answers(qual, 5, 5, 5, 5)])["disconfirmation"]
    assert found.score == pytest.approx(0.0, abs=1e-6)
    assert (found.n_valid, found.counts["partial_excluded"]) == (2, 1)
    assert found.ci_low is not None
    assert found.ci_low < -100.0


def test_three_question_index_worked_examples() -> None:
    csi = index("csi3", "csi3")
    rows = [answers(csi, *row) for row in [(8, 7, 6), (10, 10, 10), (5, 5, 4), (9, 8, None)]]
    found = results("csi3", rows)["csi3"]
    assert three(found) == pytest.approx((69.1358, 0.0, 100.0), abs=NEAR, rel=0)
    assert found.score == pytest.approx((1800 / 27 + 100 + 1100 / 27) / 3, abs=1e-6)
    assert (found.n_valid, found.counts["partial_excluded"]) == (3, 1)
    weighted = replace(csi, weights=(0.3885, 0.3190, 0.2925))
    assert three(results("csi3", rows, (weighted,))["csi3"]) == pytest.approx((69.6426, 0.0, 100.0), abs=NEAR, rel=0)
    assert three(results("csi3", [answers(csi, 1, 1, 1)])["csi3"]) == (0.0, None, None)
    assert three(results("csi3", [])["csi3"]) == (None, None, None)
    assert results("csi3", [])["csi3"].status == "no_data"


@pytest.mark.parametrize("weights", [(0.5, 0.5, 0.1), (1.5, -0.5, 0.0), (0.5, 0.5), (1.0 + 2e-9, 0.0, 0.0)])
def test_weights_that_do_not_add_up_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="adding up to 1"):
        replace(index("csi3", "csi3"), weights=weights)


def test_engagement_worked_examples() -> None:
    l3, a8 = index("cx11", "l3"), index("cx11", "a8")
    one = {**answers(l3, 5, 4, 5), **answers(a8, 4, 4, 5, 4, 3, 4, 4, 3)}
    fan = {**answers(l3, 5, 5, 5), **answers(a8, *[5] * 8)}
    gone = {**answers(l3, 5, 5, 5), **answers(a8, 2, 2, 3, 2, 2, 2, 3, 1)}
    half = {**answers(l3, 5, 5, 5), **answers(a8, 5, 5, 5, *[None] * 5)}
    found = results("cx11", [one])
    assert found["cx11"].score == pytest.approx(850 / 11, abs=1e-6)
    assert found["engagement_ratio"].score is None
    many = results("cx11", [one, fan, fan, gone, half])
    classes = {"fully": 2, "actively_disengaged": 1, "engaged": 1, "not_engaged": 0}
    assert many["share_fully"].counts == classes
    assert many["engagement_ratio"].score == 2.0
    assert (many["cx11"].n_valid, many["cx11"].counts["partial_excluded"], many["l3"].n_valid) == (4, 1, 5)
    assert many["share_fully"].score == pytest.approx(50.0)
    assert {"confidence", "integrity", "pride", "passion"} <= many.keys()


def test_experience_worked_examples() -> None:
    quality = index("cxi6", "cx_quality")
    rows = [(5, 4, 4), (3, 3, 3), (2, 1, 2), (5, 5, 3), (4, None, 5)]
    found = results("cxi6", [answers(quality, *row) for row in rows])
    assert three(found["cxi_net"]) == pytest.approx((16.6667, -100.0, 100.0), abs=NEAR, rel=0)
    assert found["cxi_net"].score == pytest.approx(50 / 3, abs=1e-6)
    assert (found["cxi_net"].n_valid, found["cx_quality"].n_valid) == (4, 5)
    same = results("cxi6", [answers(quality, 4, 5, 4)] * 10)["cxi_net"]
    assert (three(same), same.flags) == ((100.0, None, None), ("zero_variance",))
    assert three(results("cxi6", [answers(quality, 2, 3, 4)])["cxi_net"]) == (0.0, None, None)


@pytest.mark.parametrize(("more_l3", "more_a8", "hidden"), [(3, 0, True), (0, 9, True), (10, 0, False), (4, 2, False)])
def test_a_mean_of_two_indices_is_hidden_where_it_gives_away_those_who_have_only_one(
    more_l3: int, more_a8: int, hidden: bool
) -> None:
    l3, a8 = answers(index("cx11", "l3"), 5, 4, 5), answers(index("cx11", "a8"), 4, 4, 5, 4, 3, 4, 4, 3)
    found = results("cx11", [l3 | a8] * 30 + [l3] * more_l3 + [a8] * more_a8)
    assert (found["l3"].n_valid, found["a8"].n_valid, found["cx11"].n_valid) == (30 + more_l3, 30 + more_a8, 30)
    assert [found[name].status == "suppressed" for name in ("l3", "a8", "cx11")] == [False, False, hidden]
    assert ("sibling" in found["cx11"].flags) is hidden


def test_items_that_disagree_make_an_unreliable_index() -> None:
    sat = index("jcsi6", "sat")
    random = np.random.default_rng(7)
    noise = [answers(sat, *map(int, row)) for row in random.integers(1, 11, size=(40, 3))]
    found = results("jcsi6", noise)
    assert "low_reliability" in found["sat"].flags
    alike = [answers(sat, code, code, min(10, code + 1)) for code in (1, 3, 5, 7, 9, 2, 4, 6, 8, 10)]
    good = results("jcsi6", alike)
    codes = np.array([[a[item] for item in sat.items] for a in alike], dtype=float)
    by_hand = 1.5 * (1 - codes.var(axis=0, ddof=1).sum() / codes.sum(axis=1).var(ddof=1))
    assert good["sat_alpha"].score == pytest.approx(by_hand, abs=1e-9)
    assert good["sat"].flags == ()
    assert "sat_alpha" not in results("jcsi6", alike[:9])
    assert "sat_alpha" not in results("jcsi6", [answers(sat, 5, 5, 5)] * 12)


def test_a_reversed_item_agrees_when_it_is_answered_the_other_way_round() -> None:
    exp = index("jcsi6", "exp")
    rows = [answers(exp, code, code, 11 - code) for code in range(1, 11)]
    assert results("jcsi6", rows)["exp_alpha"].score == pytest.approx(1.0, abs=1e-9)


def test_raw_answers_stand_beside_the_index_they_were_meant_for() -> None:
    raw = Raw({"jcsi6_s1": 2, "jcsi6_e1": 5}, {"jcsi6_s2": 1}, {"jcsi6_s3": 4})
    sat = index("jcsi6", "sat")
    found = battery_results("jcsi6", (sat,), [answers(sat, 5, 5, 5)], raw=raw)[0]
    assert (found.n_missing, found.n_invalid, found.n_superseded) == (2, 1, 4)


# ------------------------------------------------------------------------------------------------------- properties

CODES = st.lists(st.one_of(st.none(), st.integers(1, 10)), min_size=3, max_size=3)


@given(st.lists(CODES, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_respondents_does_not_matter(rows: list[list[int | None]], random: object) -> None:
    sat = index("jcsi6", "sat")
    people = [answers(sat, *row) for row in rows]
    before = results("jcsi6", people)["sat"]
    random.shuffle(people)  # type: ignore[attr-defined]  # hypothesis' Random
    assert results("jcsi6", people)["sat"] == before


@given(st.lists(CODES, max_size=12))
def test_an_index_is_within_its_range_and_a_mirrored_scale_mirrors_it(rows: list[list[int | None]]) -> None:
    sat = index("jcsi6", "sat")
    turned = replace(sat, reversed_items=frozenset(sat.items))
    for row in rows:
        here, there = sat.of(answers(sat, *row)), turned.of(answers(sat, *row))
        assert (here is None) == (there is None) == (sum(code is not None for code in row) < 2)
        if here is not None and there is not None:
            assert 0.0 <= here <= 100.0
            assert here + there == pytest.approx(100.0, abs=1e-9)
    found = results("jcsi6", [answers(sat, *row) for row in rows])["sat"]
    assert found.n_valid + found.counts["partial_excluded"] == len(rows)
    if found.score is None:
        assert (found.n_valid, found.ci_low, found.ci_high) == (0, None, None)
    elif found.ci_low is not None and found.ci_high is not None:
        assert found.ci_low <= found.score <= found.ci_high
        assert math.isfinite(found.ci_low)


# ------------------------------------------------------------------------------------------------------------- data


def test_the_items_of_every_battery_are_those_of_the_published_structure() -> None:
    sizes = {battery: {found.name: len(found.items) for found in indices} for battery, indices in INDICES.items()}
    assert sizes == {
        "jcsi6": {"exp": 3, "qual": 4, "value": 3, "sat": 3, "rec": 4, "loy": 4},
        "csi3": {"csi3": 3},
        "cx11": {"l3": 3, "a8": 8, "confidence": 2, "integrity": 2, "pride": 2, "passion": 2},
        "cxi6": {"cx_quality": 3, "cx_loyalty": 3},
        "trust6": {"trust6": 6},
    }
    assert index("jcsi6", "exp").reversed_items == {"jcsi6_e3"}
    assert index("jcsi6", "qual").reversed_items == {"jcsi6_q4"}


def test_every_score_has_a_name_and_a_label_that_it_is_our_own() -> None:
    for battery, indices in INDICES.items():
        for lang in ("ja", "en"):
            assert own_label(battery, lang) != own_label("own", lang)
            for found in results(battery, [], indices).values():
                assert variant_name(battery, found.variant, lang) != found.variant or lang == "en", found.variant
    assert "JCSIの6指標を参考にした自社指標" in own_label("jcsi6", "ja")
    assert "（参考：自社算出" in own_label("cxi6", "ja")
    assert own_label("clarity_battery", "ja") == "自社算出"

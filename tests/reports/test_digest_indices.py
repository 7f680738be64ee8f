"""Batteries in the digest: as their indices, joined by customer and wave, never as single questions."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from pencil import worked_out
from report_history import MONDAY, History, digest_of, weeks_ago

from reports import procedures
from reports.digest import DigestContext, DigestRule, IndexLine, IndexRow
from reports.render import render_json, render_text, render_thread

CODES = {"exp": ("e1", "e2", "e3"), "qual": ("q1", "q2", "q3", "q4")}


def _answers(
    h: History, customer: str, index: str, value: int, *, wave: str, monday: date = MONDAY, lang: str = "ja"
) -> None:
    """Every item of an index answered so that each counts as `value`: reversed ones mirrored."""
    for item in CODES[index]:
        code = 11 - value if item in ("e3", "q4") else value
        h.answer(
            f"jcsi6_{item}",
            code,
            customer=customer,
            wave=wave,
            monday=monday,
            lang=lang,
            kind="relational",
            touchpoint="relationship",
        )


def _week(h: History, values: list[int], *, monday: date = MONDAY, mark: str = "") -> None:
    h.nps(30, 10, 60, monday=monday)
    for n, value in enumerate(values):
        for index in CODES:
            _answers(h, f"w{mark}{n}", index, value, wave=f"wave{mark}{n}", monday=monday)


def _row(context: DigestContext) -> IndexRow:
    (row,) = context.indices
    return row


def _line(context: DigestContext, variant: str) -> IndexLine:
    return next(line for line in _row(context).lines if line.result.variant == variant)


async def test_items_stand_as_their_indices_with_their_label_in_every_format(tmp_path: Path) -> None:
    h = History()
    _week(h, [8] * 6 + [6] * 6)
    context = await digest_of(h, tmp_path)
    assert not any(row.spec.id.startswith("jcsi6") for row in context.rows)
    assert [line.result.variant for line in _row(context).lines] == ["exp", "qual", "disconfirmation"]
    exp = _line(context, "exp").result
    expected = procedures.mean_of([100 * 7 / 9] * 6 + [100 * 5 / 9] * 6, 0, 100)
    assert (exp.n_valid, exp.status, exp.form) == (12, "caution", "index")
    assert (exp.score, exp.ci_low, exp.ci_high) == pytest.approx((expected.score, expected.low, expected.high))
    text = render_text(context)
    assert "JCSIの6指標を参考にした自社指標" in text
    assert "顧客期待　参考値（n=12） 66.7（95%信頼区間" in text
    assert "JCSIは各権利者に帰属します" in text
    assert "総合的な質" not in text
    (told,) = render_json(context)["indices"]
    assert told["label"].startswith("JCSIの6指標を参考にした自社指標")
    assert [found["result"]["variant"] for found in told["results"]] == ["exp", "qual", "disconfirmation"]
    assert "JCSIの6指標を参考にした自社指標" in json.dumps(render_thread(context), ensure_ascii=False)


async def test_a_wave_that_began_the_week_before_is_one_respondent_in_the_week_of_its_last_answer(
    tmp_path: Path,
) -> None:
    h = History()
    h.nps(30, 10, 60)
    h.nps(30, 10, 60, monday=weeks_ago(1))
    for n in range(12):
        _answers(h, f"p{n}", "exp", 8, wave=f"v{n}", monday=weeks_ago(1))
        _answers(h, f"p{n}", "qual", 9, wave=f"v{n}")
    _answers(h, "other", "exp", 2, wave="over", monday=weeks_ago(1))
    context = await digest_of(h, tmp_path)
    assert _line(context, "exp").result.n_valid == 12, "the wave of `other` ended the week before"
    assert _line(context, "disconfirmation").result.score == pytest.approx(100 / 9)


async def test_the_half_rule_counts_who_answered_too_little(tmp_path: Path) -> None:
    h = History()
    _week(h, [7] * 11)
    h.answer("jcsi6_e1", 9, customer="little", wave="x", kind="relational", touchpoint="relationship")
    exp = _line(await digest_of(h, tmp_path), "exp").result
    assert (exp.n_valid, exp.counts) == (11, {"partial_excluded": 1})


async def test_fewer_than_ten_respondents_are_hidden_everywhere(tmp_path: Path) -> None:
    h = History()
    _week(h, [8] * 9)
    context = await digest_of(h, tmp_path)
    assert "顧客期待　n<10 のため非表示" in render_text(context)
    (told,) = render_json(context)["indices"]
    assert {(found["result"]["score"], found["result"]["n_valid"]) for found in told["results"]} == {(None, 9)}
    assert told["others"] == []


async def test_a_moved_index_is_tested_in_the_family_of_the_digest_by_welch(tmp_path: Path) -> None:
    h = History()
    _week(h, [4, 5, 6] * 7, monday=weeks_ago(1), mark="old")
    _week(h, [8, 9, 10] * 7, mark="new")
    change = _line(await digest_of(h, tmp_path), "exp").change
    old, new = ([100 * (value - 1) / 9 for value in values] for values in ([4, 5, 6] * 7, [8, 9, 10] * 7))
    welch = procedures.mean_difference_of(old, new)
    assert welch is not None
    assert change.verdict == "rise"
    assert change.p_adjusted is not None
    assert (change.delta, change.low, change.high, change.p) == pytest.approx(
        (welch.delta, welch.low, welch.high, welch.p)
    )
    assert change.flags == ()


async def test_languages_meet_in_an_index_and_the_digest_says_so(tmp_path: Path) -> None:
    h = History()
    _week(h, [8] * 6)
    for n in range(6):
        _answers(h, f"e{n}", "exp", 6, wave=f"e{n}", lang="en")
    context = await digest_of(h, tmp_path)
    assert _line(context, "exp").result.stratum.lang == "mixed"
    assert _line(context, "exp").result.n_valid == 12
    assert "mixed_lang" in context.flags


async def test_the_same_people_in_both_weeks_make_the_verdict_a_rough_guide(tmp_path: Path) -> None:
    h = History()
    for week, value in ((1, 5), (0, 8)):
        h.nps(30, 10, 60, monday=weeks_ago(week))
        for n in range(12):
            _answers(h, f"p{n}", "exp", value + n % 3 - 1, wave=f"{week}-{n}", monday=weeks_ago(week))
    context = await digest_of(h, tmp_path)
    assert _line(context, "exp").change.flags == ("overlap",)
    assert "overlap" in context.flags


async def test_a_digest_of_a_touchpoint_or_segment_leaves_other_batteries_out(tmp_path: Path) -> None:
    h = History()
    _week(h, [8] * 12)
    context = await digest_of(h, tmp_path, rule=DigestRule("weekly", touchpoint="purchase"))
    assert context.indices == ()


@pytest.mark.parametrize(("week", "more", "shown"), [(0, 0, True), (0, 4, False), (1, 4, False), (1, 12, True)])
async def test_what_the_few_said_who_have_one_index_only_does_not_follow_from_the_mean_of_two(
    week: int, more: int, shown: bool, tmp_path: Path
) -> None:
    h = History()
    _week(h, [4, 5, 6] * 5, monday=weeks_ago(1), mark="old")
    _week(h, [6, 7, 8] * 5, mark="new")
    for n in range(more):
        _answers(h, f"x{n}", "exp", 2, wave=f"x{n}", monday=weeks_ago(week))
    context = await digest_of(h, tmp_path)
    for back, results in (
        (0, [line.result for line in _row(context).lines]),
        (1, [line.change.earlier for line in _row(context).lines]),
    ):
        both = range(15)
        alone = range(15, 15 + (more if back == week else 0))
        units = {"exp": {("exp", n) for n in (*both, *alone)}, "qual": {("qual", n) for n in both}}
        units["disconfirmation"] = {(index, n) for index in units for n in both}
        assert {result.variant: result.n_valid for result in results} == {
            "exp": 15 + len(alone), "qual": 15, "disconfirmation": 15
        }  # fmt: skip
        assert worked_out(units[result.variant] for result in results if result.score is not None) == []
        of_two = next(result for result in results if result.variant == "disconfirmation")
        assert (of_two.score is not None) is (shown or back != week)

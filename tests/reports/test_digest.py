"""The weekly digest of small histories in a real database, read as a manager reads it.

The texts stand in digests/; `REWRITE_DIGESTS=1 pytest tests/reports/test_digest.py` writes them anew.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from report_history import (
    DAY_MS,
    HOUR_MS,
    MONDAY,
    NOW_MS,
    SHOP,
    WEEKLY,
    History,
    digest_of,
    monday_ms,
    slack_messages,
    weeks_ago,
)  # fmt: skip

from bot.standins.blocks import validate_message
from reports.digest import DigestContext, DigestRule, last_complete_period, parse_week, week_name
from reports.digest.care import business_days_later
from reports.frames import answers_frame, measure_frame
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Result, Stratum
from reports.render import render_json, render_slack, render_text, render_thread, render_voices, render_voices_text
from storage.records import Digest

STORED = Path(__file__).parent / "digests"


def normal(h: History) -> None:
    """Every part of a weekly digest has something to say: comments, cases and purchases beside the scores."""
    h.nps(130, 40, 310)
    h.nps(70, 70, 340, monday=weeks_ago(1))
    for monday, rating, words, times in (
        (MONDAY, 9, "包装がとてもていねいでした。", 24),
        (MONDAY, 9, "すぐに届いて助かりました。", 16),
        (MONDAY, 9, "スタッフの方の説明が親切でした。", 10),
        (MONDAY, 5, "届くのが予定より遅れました。", 24),
        (MONDAY, 5, "送料が高いと感じました。", 16),
        (weeks_ago(1), 9, "すぐに届いて助かりました。", 20),
        (weeks_ago(1), 9, "スタッフの方の説明が親切でした。", 10),
        (weeks_ago(1), 5, "届くのが予定より遅れました。", 12),
        (weeks_ago(1), 5, "送料が高いと感じました。", 18),
    ):
        for _ in range(times):
            h.comment(words, rating, monday=monday)
    for n in range(14):
        opened = monday_ms() + n * 8 * HOUR_MS
        settled = {"settled_ms": opened + 30 * HOUR_MS, "replied_ms": opened + (2 + n) * HOUR_MS} if n < 11 else {}
        h.case(opened_ms=opened, due_ms=opened + 2 * DAY_MS, after="solved" if n < 10 else "", **settled)
    for week in range(8):  # six new customers each
        for n in range(6 * week, 6 * week + 40 + 2 * week):
            at_ms = monday_ms(weeks_ago(7 - week)) + DAY_MS + n
            h.bought(f"b{n:03}", at_ms, amount=4_000 + 100 * (n % 20), linked=n % 8 != 0)
    h.scores("sat5", {5: 60, 4: 100, 3: 30, 2: 10, 1: 5})
    h.scores("sat5", {5: 30, 4: 100, 3: 50, 2: 10, 1: 5}, monday=weeks_ago(1))
    h.scores("affinity", {5: 20, 4: 20, 3: 16, 2: 4})
    h.scores("affinity", {5: 20, 4: 18, 3: 16, 2: 6}, monday=weeks_ago(1))
    h.scores("emotion", {"relief;trust": 20, "none": 10, "pride": 4, "trust": 3})
    h.scores("ces_effort", {1: 20, 4: 10, 6: 8}, touchpoint="support")
    h.scores("ces_effort", {1: 5, 4: 4, 6: 4}, touchpoint="support", monday=weeks_ago(1))
    h.scores("pay_more", {"yes": 3, "no": 2})
    h.invite_everyone()
    h.invited(300, skipped=[("min_gap", 120), ("opted_out", 8), ("per_year", 3), ("quiet_hours", 1)])


def rise(h: History) -> None:
    h.nps(180, 80, 400)
    h.nps(100, 100, 400, monday=weeks_ago(1))


def fall(h: History) -> None:
    h.nps(100, 100, 400)
    h.nps(180, 80, 400, monday=weeks_ago(1))
    for n in range(4):
        h.case(opened_ms=monday_ms() + n * DAY_MS, due_ms=monday_ms() + (n + 5) * DAY_MS)


def noise(h: History) -> None:
    h.nps(33, 9, 60)
    h.nps(24, 16, 60, monday=weeks_ago(1))


def rolling(h: History) -> None:
    for week in range(4):
        h.nps(11, 8, 28, monday=weeks_ago(week))
        h.nps(10, 10, 28, monday=weeks_ago(week + 4))


def first_week(h: History) -> None:
    h.nps(20, 10, 45)
    h.scores("sat5", {5: 20, 4: 10, 2: 5})
    h.invite_everyone()


def no_answers(h: History) -> None:
    h.invited(42)


def of_size(n: int) -> Callable[[History], None]:
    def build(h: History) -> None:
        h.nps(n // 2, n // 5, n)

    return build


def everything_suppressed(h: History) -> None:
    h.nps(3, 1, 5)
    h.scores("sat5", {5: 5, 1: 2})
    h.scores("affinity", {5: 3})
    h.nps(2, 1, 4, monday=weeks_ago(1))
    h.invited(9)


def outage_week(h: History) -> None:
    """LINE was down for most of the week: messages were given up, and some answers came after their time."""
    for back in range(1, 6):
        h.nps(25, 10, 50, monday=weeks_ago(back))
    h.nps(6, 3, 12)
    h.scores("nps", {9: 2, 5: 1}, late=True)
    h.invite_everyone()
    h.not_arrived(31)
    h.invited(0, skipped=[("expired", 14)])


def mixed_languages(h: History) -> None:
    h.nps(20, 8, 40)
    h.nps(12, 8, 25, lang="en")
    h.nps(30, 20, 65, monday=weeks_ago(1))


def two_wordings(h: History) -> None:
    h.nps(30, 10, 60)
    h.nps(10, 10, 40, wording="nps.colleague")
    h.nps(25, 15, 60, monday=weeks_ago(1))


SCENES: dict[str, Callable[[History], None]] = {
    "normal": normal,
    "significant rise": rise,
    "significant fall": fall,
    "noise": noise,
    "rolling weeks": rolling,
    "first week": first_week,
    "no answers": no_answers,
    "n=9": of_size(9),
    "n=10": of_size(10),
    "n=29": of_size(29),
    "n=30": of_size(30),
    "everything suppressed": everything_suppressed,
    "outage week": outage_week,
    "mixed languages": mixed_languages,
    "two wordings": two_wordings,
}


def scene(name: str) -> History:
    history = History()
    SCENES[name](history)
    return history


@pytest.mark.parametrize("name", list(SCENES))
async def test_the_digest_reads_as_stored_and_is_a_message_that_slack_takes(name: str, tmp_path: Path) -> None:
    context = await digest_of(scene(name), tmp_path, comments=True)
    for language in ("ja", "en"):
        in_language = replace(context, language=language, brand=SHOP.brand[language])  # type: ignore[arg-type]
        text = render_text(in_language)
        if render_voices(in_language) is not None:
            text += "\n" + render_voices_text(in_language)
        stored = STORED / f"{name.replace(' ', '_').replace('=', '')}.{language}.txt"
        if os.environ.get("REWRITE_DIGESTS"):
            stored.parent.mkdir(exist_ok=True)
            stored.write_text(text, encoding="utf-8")
        assert text == stored.read_text(encoding="utf-8")
        check_messages(in_language)
        message = slack_messages(in_language)
        for word in ("急上昇", "悪化", "好調", "改善しました", "過去最高"):
            assert word not in json.dumps(message, ensure_ascii=False)
    json.dumps(render_json(context), allow_nan=False)


def check_messages(context: DigestContext) -> None:
    """Slack would take each message, and each says something to who hears the notification only."""
    for message in slack_messages(context):
        assert set(message) == {"text", "blocks"}
        assert 0 < len(message["text"]) <= 4000
        assert message["blocks"][0]["type"] == "header"
        assert validate_message(message) == []
        for block in message["blocks"]:
            if block["type"] == "section":
                assert block["text"]["verbatim"] is True


def texts_of(block: dict[str, Any]) -> Iterable[str]:
    if "text" in block:
        yield block["text"]["text"]
    for element in block.get("elements", ()):
        if "text" in element:
            yield element["text"]


async def test_slack_takes_the_blocks_by_its_own_models(tmp_path: Path) -> None:
    from slack_sdk.models.blocks import Block

    for message in slack_messages(await digest_of(scene("normal"), tmp_path)):
        for block in message["blocks"]:
            parsed = Block.parse(block)
            assert parsed is not None
            parsed.to_dict()


# ------------------------------------------------------------------------------- what may be said, and when


async def test_a_rise_of_26_points_among_60_answers_is_within_noise(tmp_path: Path) -> None:
    change = (await digest_of(scene("noise"), tmp_path)).primary.change
    assert change.verdict == "noise"
    assert (change.delta, change.p) == pytest.approx((26.6667, 0.0613), abs=1e-4)


async def test_a_thin_week_is_led_by_four_weeks_against_the_four_before(tmp_path: Path) -> None:
    context = await digest_of(scene("rolling weeks"), tmp_path)
    assert (context.mode, context.primary.result.n_valid, context.primary.change.earlier.n_valid) == (
        "rolling",
        112,
        112,
    )
    assert context.primary.longer is None


async def test_a_customer_who_answers_every_week_counts_once_in_four_weeks(tmp_path: Path) -> None:
    h = History()
    for week in range(4):
        for n in range(12):
            h.answer("nps", 9 if week == 0 else 2, monday=weeks_ago(week), customer=f"regular{n}")
    context = await digest_of(h, tmp_path)
    assert context.mode == "rolling"
    result = context.primary.result
    assert (result.n_valid, result.n_superseded, result.score) == (12, 36, 100.0)


async def test_people_who_answered_in_both_periods_make_the_verdict_a_rough_guide(tmp_path: Path) -> None:
    h = History()
    for n in range(40):
        h.answer("nps", 9, customer=f"c{n}")
        h.answer("nps", 3, monday=weeks_ago(1), customer=f"c{n}" if n < 5 else "")
    context = await digest_of(h, tmp_path)
    assert "overlap" in context.flags
    assert "両方の期間" in render_text(context)


async def test_the_later_of_two_answers_in_a_week_counts_and_a_skipped_one_is_missing(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    h.answer("nps", 2, customer="again", at_ms=monday_ms() + HOUR_MS)
    h.answer("nps", 10, customer="again", at_ms=monday_ms() + 2 * HOUR_MS)
    h.answer("nps", "", missing="skipped")
    result = (await digest_of(h, tmp_path)).primary.result
    assert (result.n_valid, result.n_superseded, result.n_missing) == (41, 1, 1)
    assert result.counts["10"] == 1
    assert "2" not in result.counts


async def test_touchpoints_and_kinds_are_never_pooled(tmp_path: Path) -> None:
    h = History()
    h.nps(30, 10, 60)
    h.nps(5, 20, 35, touchpoint="support")
    h.nps(10, 10, 31, kind="relational", touchpoint="relationship")
    context = await digest_of(h, tmp_path)
    assert context.primary.result.n_valid == 60
    assert [(row.result.stratum.survey_kind, row.result.n_valid) for row in context.rows] == [
        ("relational", 31), ("transactional", 35),
    ]  # fmt: skip
    assert context.strata_shown


async def test_a_new_wording_takes_over_the_headline_and_is_not_compared_with_the_old_one(tmp_path: Path) -> None:
    h = History()
    h.nps(30, 10, 60, wording="nps.family")
    h.nps(30, 10, 90, monday=weeks_ago(1))
    context = await digest_of(h, tmp_path)
    assert context.primary.result.stratum.wording_id == "nps.family"
    assert context.primary.change.why_not == "no_earlier"
    assert not context.first


async def test_several_wordings_in_a_thin_week_are_counted_apart_over_four_weeks(tmp_path: Path) -> None:
    h = History()
    for week in range(4):
        h.nps(5, 3, 12, monday=weeks_ago(week))
        h.nps(3, 5, 11, monday=weeks_ago(week), wording="nps.colleague")
    h.answer("nps", 9, customer="switched", monday=weeks_ago(1))
    h.answer("nps", 9, customer="switched", wording="nps.colleague")
    context = await digest_of(h, tmp_path)
    assert (context.mode, context.primary.result.n_valid) == ("rolling", 48)
    assert [row.result.n_valid for row in context.rows] == [45]
    assert "several_wordings" in context.flags


async def test_the_primary_change_is_tested_alone_and_all_others_as_one_family(tmp_path: Path) -> None:
    h = scene("normal")
    context = await digest_of(h, tmp_path)
    assert context.primary.change.p_adjusted is None
    others = [row.change for row in context.rows if row.change.p is not None]
    assert len(others) == 3
    for change in others:
        assert change.p_adjusted is not None
        assert change.p is not None
        assert change.p_adjusted >= change.p


async def test_a_digest_can_be_narrowed_to_a_segment(tmp_path: Path) -> None:
    h = History()
    h.nps(30, 5, 40, segment="大阪")
    h.nps(5, 30, 40, segment="東京")
    h.nps(20, 10, 40, segment="大阪", monday=weeks_ago(1))
    context = await digest_of(h, tmp_path, rule=DigestRule("osaka", segment="大阪"))
    assert (context.primary.result.n_valid, context.primary.result.score) == (40, 62.5)
    assert "対象：大阪" in render_text(context)
    (tmp_path / "x").mkdir()
    thin = await digest_of(History(), tmp_path / "x", rule=DigestRule("osaka", segment="大阪"))
    assert thin.primary.result.status == "no_data"


async def test_another_primary_metric_leads_with_its_own_statistic(tmp_path: Path) -> None:
    h = History()
    h.scores("ces_effort", {1: 25, 4: 15, 6: 10})
    h.scores("ces_effort", {1: 20, 4: 20, 6: 10}, monday=weeks_ago(1))
    context = await digest_of(h, tmp_path, shop=replace(SHOP, primary_metric="ces_effort"))
    text = render_text(context)
    assert "手間の指標 +30.0（前週 +20.0、n=50）・誤差の範囲" in text
    assert "高いほど手間が少ない（良い）" in text
    assert "Net Promoter" not in text


async def test_an_average_leads_without_points(tmp_path: Path) -> None:
    h = History()
    h.scores("affinity", {5: 20, 4: 10, 3: 5})
    h.scores("affinity", {5: 10, 4: 15, 3: 10}, monday=weeks_ago(1))
    text = render_text(await digest_of(h, tmp_path, shop=replace(SHOP, primary_metric="affinity")))
    assert "愛着度 4.43（前週 4.00、n=35）・有意に上昇" in text
    assert "（+0.43、95%信頼区間 +0.07〜+0.79）" in text


async def test_a_primary_metric_that_is_no_instrument_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="primary_metric 'npss'"):
        await digest_of(History(), tmp_path, shop=replace(SHOP, primary_metric="npss"))


async def test_targets_stand_beside_the_scores(tmp_path: Path) -> None:
    context = await digest_of(scene("first week"), tmp_path, shop=replace(SHOP, targets={"nps": 20, "sat5": 80}))
    text = render_text(context)
    assert "目標 +20.0" in text
    assert "目標 80.0%" in text


# -------------------------------------------------------------------------------------------- suppression


async def test_nothing_of_a_suppressed_cell_leaves_in_any_format(tmp_path: Path) -> None:
    context = await digest_of(scene("everything suppressed"), tmp_path)
    written = render_json(context)
    for row in [written["primary"], *written["metrics"]]:
        assert row["result"]["score"] is None
        assert row["result"]["counts"] == {}
        assert row["others"] == []
        assert row["change"]["delta"] is None
        assert row["change"]["earlier"]["score"] is None
    for language in ("ja", "en"):
        text = render_text(replace(context, language=language))  # type: ignore[arg-type]
        assert "95%" not in text
        assert "+" not in text


async def test_three_hidden_weeks_cannot_be_had_by_subtracting_one_week_from_four(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    h.nps(20, 10, 40, monday=weeks_ago(1))
    h.nps(3, 3, 9, monday=weeks_ago(3))
    assert (await digest_of(h, tmp_path)).primary.longer is None
    h.nps(0, 1, 1, monday=weeks_ago(2))
    (tmp_path / "more").mkdir()
    assert (await digest_of(h, tmp_path / "more")).primary.longer is not None


@pytest.mark.parametrize(("others", "shown"), [(9, False), (10, True)])
async def test_this_week_alone_is_named_only_if_the_rest_of_four_weeks_is_enough(
    others: int, shown: bool, tmp_path: Path
) -> None:
    h = History()
    h.nps(8, 2, 14)
    h.nps(others - 2, 2, others, monday=weeks_ago(2))
    context = await digest_of(h, tmp_path)
    assert (context.mode, context.show_week_result) == ("rolling", shown)
    assert ("今週だけでは、参考値（n=14）" in render_text(context)) is shown
    assert (render_json(context)["week_result"] is not None) is shown


async def test_a_hidden_week_before_is_not_compared(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    h.nps(4, 1, 7, monday=weeks_ago(1))
    context = await digest_of(h, tmp_path)
    assert context.primary.change.why_not == "few_earlier"
    assert "前週の回答は7件です。n<10 のため非表示とし、増減も比べません。" in render_text(context)


# -------------------------------------------------------------------------- response, care, late, channels


async def test_the_response_rate_is_of_delivered_invitations(tmp_path: Path) -> None:
    h = History()
    for n in range(30):
        h.answer("nps", 9, status="completed" if n < 24 else "open")
    h.invite_everyone()
    h.invited(20)
    response = (await digest_of(h, tmp_path)).response
    assert (response.counts.invited, response.counts.answered, response.counts.completed) == (50, 30, 24)
    assert response.rate.score == pytest.approx(60.0)
    assert (response.completion.score, response.completion.n_valid) == (pytest.approx(80.0), 30)
    assert response.immature


async def test_the_response_rate_is_final_a_week_later(tmp_path: Path) -> None:
    h = scene("first week")
    assert not (await digest_of(h, tmp_path, now_ms=NOW_MS + 7 * DAY_MS)).response.immature


async def test_few_invitations_have_no_rate(tmp_path: Path) -> None:
    context = await digest_of(scene("everything suppressed"), tmp_path)
    assert context.response.counts.invited == 9
    assert context.response.rate.score is None


async def test_late_answers_count_and_are_named(tmp_path: Path) -> None:
    h = scene("first week")
    h.answer("nps", 9, late=True)
    context = await digest_of(h, tmp_path)
    assert (context.late, context.primary.result.n_valid) == (1, 46)
    assert "期限後に届いた回答 1件" in render_text(context)


async def test_how_soon_customers_were_answered_and_whether_it_was_solved_is_told_from_ten_on(tmp_path: Path) -> None:
    start = monday_ms()

    async def care_of(answered: int) -> tuple[Any, str]:
        h = scene("first week")
        for n in range(answered):
            opened_ms = start + n * 60_000
            h.case(
                opened_ms=opened_ms,
                settled_ms=opened_ms + 60 * HOUR_MS,
                replied_ms=opened_ms + (n + 1) * HOUR_MS,
                asked_ms=start + 4 * DAY_MS,
                after="solved" if n % 4 else "still",
                outcome="exchange",
            )
        folder = tmp_path / str(answered)
        folder.mkdir()
        context = await digest_of(h, folder)
        return context.care, render_text(context)

    care, text = await care_of(12)
    # a reply counts for the 48 hours although the case was settled later
    assert care.closed_loop.score == pytest.approx(100.0)
    assert care.first_reply.score == pytest.approx(6.5)
    assert (care.solved.score, care.solved.n_valid) == (pytest.approx(75.0), 12)
    assert "初回返信まで（中央値）　参考値（n=12） 6.5時間" in text
    assert "その後「解決した」　参考値（n=12） 75.0%" in text
    few, text = await care_of(9)
    assert (few.first_reply.score, few.solved.score) == (None, None)
    assert "\nn<10 のため非表示：初回返信まで（中央値）、その後「解決した」\n" in text
    assert text.count("n<10 のため非表示：") == 1


async def test_the_score_after_looking_after_somebody_is_that_of_their_next_survey(tmp_path: Path) -> None:
    """Twelve customers gave 2 and were looked after; the next survey says 8 (nine of them), 5 (two) or 0 (one): the
    mean change is (9 * 6 + 2 * 3 - 2) / 12 = 58 / 12."""
    start = monday_ms()

    async def care_of(customers: int) -> Any:
        h = scene("first week")
        for n in range(customers):
            who, before_ms = f"cared{n}", start - 20 * DAY_MS + n * HOUR_MS
            h.answer("nps", 2, customer=who, at_ms=before_ms)
            h.case(
                opened_ms=before_ms,
                settled_ms=before_ms + 5 * HOUR_MS,
                outcome="refund",
                customer=who,
                session=h.answers[-1].session_id,
            )
            h.answer("nps", 8 if n < 9 else 5 if n < 11 else 0, customer=who, at_ms=start - 3 * DAY_MS)
            h.answer("nps", 10, customer=who, at_ms=start - DAY_MS)  # a later one is another matter
        # asked again before it was settled, or never again: no change is known
        h.answer("nps", 1, customer="early", at_ms=start - 19 * DAY_MS)
        h.case(
            opened_ms=start - 19 * DAY_MS,
            settled_ms=start,
            outcome="refund",
            customer="early",
            session=h.answers[-1].session_id,
        )
        h.answer("nps", 9, customer="early", at_ms=start - 4 * DAY_MS)
        h.case(opened_ms=start)
        folder = tmp_path / str(customers)
        folder.mkdir()
        return await digest_of(h, folder)

    context = await care_of(12)
    assert context.care.recovered.score == pytest.approx(58 / 12, abs=1e-6)
    assert context.care.recovered.n_valid == 12
    assert "対応後の薦める可能性の変化　+4.83（参考値、95%信頼区間 " in render_text(context)
    few = await care_of(9)
    assert few.care.recovered.score is None
    assert "\nn<10 のため非表示：対応後の薦める可能性の変化\n" in render_text(few)


async def test_a_mistap_that_was_corrected_is_neither_followed_up_nor_left_alone(tmp_path: Path) -> None:
    h = scene("first week")
    start = monday_ms()
    for n in range(12):
        h.case(opened_ms=start + n, outcome="exchange" if n < 9 else "", settled_ms=start + HOUR_MS if n < 9 else None)
    h.case(opened_ms=start, settled_ms=start + HOUR_MS, outcome="corrected")
    h.case(opened_ms=start, settled_ms=start + HOUR_MS, outcome="erased")
    h.case(opened_ms=start, replied_ms=start + HOUR_MS, settled_ms=start + 2 * HOUR_MS, outcome="erased")
    care = (await digest_of(h, tmp_path)).care
    assert (care.closed_loop.score, care.closed_loop.n_valid) == (pytest.approx(1000 / 13), 13), "10 of 13"


@pytest.mark.parametrize(
    ("opened", "due"),
    [
        ("2026-11-16T09:00", "2026-11-18T09:00"),
        ("2026-11-19T18:00", "2026-11-23T18:00"),
        ("2026-11-21T12:00", "2026-11-25T00:00"),
        ("2026-11-22T23:00", "2026-11-25T00:00"),
    ],
)
def test_two_business_days_pass_over_the_weekend(opened: str, due: str) -> None:
    at, wanted = (datetime.fromisoformat(f"{text}+09:00").timestamp() * 1000 for text in (opened, due))
    assert business_days_later(int(at), ZoneInfo("Asia/Tokyo")) == wanted


def test_a_holiday_and_the_shop_s_own_days_are_no_business_days() -> None:
    closed = {date(2026, 11, day) for day in (18, 22, 23)}  # open on Saturdays
    friday, saturday, due = (
        int(datetime.fromisoformat(f"2026-11-{text}+09:00").timestamp() * 1000)
        for text in ("20T10:00", "21T10:00", "24T10:00")
    )
    tokyo = ZoneInfo("Asia/Tokyo")
    assert business_days_later(friday, tokyo, closed=closed) == due
    assert business_days_later(saturday, tokyo, closed=closed) == due + DAY_MS


async def test_on_a_holiday_nobody_is_late(tmp_path: Path) -> None:
    h = scene("first week")
    h.case(opened_ms=NOW_MS - 3 * DAY_MS)  # Friday morning; two business days are over on Tuesday
    week = await digest_of(h, tmp_path, now_ms=NOW_MS + DAY_MS + HOUR_MS)
    assert week.care.unattended == 1
    (tmp_path / "x").mkdir()
    closed = frozenset(date(2026, 11, day) for day in (21, 22, 23))
    shop = replace(SHOP, closed=closed)
    assert (await digest_of(h, tmp_path / "x", shop=shop, now_ms=NOW_MS + DAY_MS + HOUR_MS)).care.unattended == 0


async def test_an_old_week_tells_who_was_waiting_then(tmp_path: Path) -> None:
    h = scene("first week")
    h.case(opened_ms=monday_ms() + DAY_MS, due_ms=monday_ms() + 3 * DAY_MS, settled_ms=NOW_MS + 10 * DAY_MS)
    h.case(opened_ms=NOW_MS + 9 * DAY_MS, due_ms=NOW_MS + 10 * DAY_MS)
    care = (await digest_of(h, tmp_path, now_ms=NOW_MS + 28 * DAY_MS)).care
    assert (care.opened, care.open_now, care.overdue, care.unattended) == (1, 1, 1, 1)


async def test_unhappy_customers_are_counted_and_never_named(tmp_path: Path) -> None:
    h = scene("first week")
    start = monday_ms()
    for n in range(9):
        h.case(opened_ms=start + n, settled_ms=start + n + 10 * HOUR_MS)
    h.case(opened_ms=start + DAY_MS, settled_ms=start + 4 * DAY_MS)
    h.case(opened_ms=start + 2 * DAY_MS, due_ms=start + 4 * DAY_MS)
    h.case(opened_ms=start + 2 * DAY_MS, due_ms=NOW_MS + DAY_MS)
    h.case(opened_ms=start - 20 * DAY_MS, due_ms=start - 18 * DAY_MS)
    h.case(opened_ms=NOW_MS - HOUR_MS)
    context = await digest_of(h, tmp_path)
    care = context.care
    assert (care.opened, care.open_now, care.overdue) == (12, 4, 2)
    # those of Wednesday and of three weeks ago; the one of this morning is young
    assert care.unattended == 3
    assert "2営業日を過ぎて未返信 3件" in render_text(context)
    assert (care.closed_loop.score, care.closed_loop.n_valid) == (pytest.approx(75.0), 12)
    text = render_text(context)
    assert "今週の確認：①期限超過 2件" in text
    assert "k00" not in text
    assert "c00" not in text


async def test_a_moved_mix_of_channels_is_named_with_the_score_at_the_old_mix(tmp_path: Path) -> None:
    h = History()
    h.nps(40, 5, 60)
    h.nps(0, 30, 60, channel="slack")
    h.nps(40, 5, 90, monday=weeks_ago(1))
    h.nps(0, 5, 12, channel="slack", monday=weeks_ago(1))
    context = await digest_of(h, tmp_path)
    assert [(place[0], n) for place, n in context.mix.answers] == [("line", 60), ("slack", 60)]
    assert "mix_shift" in context.flags
    assert context.mix.standardised == pytest.approx(90 / 102 * 100 * 35 / 60 + 12 / 102 * -50)


async def test_more_answers_about_another_touchpoint_are_a_moved_mix_that_leaves_the_headline_as_it_is(
    tmp_path: Path,
) -> None:
    h = History()
    for monday, elsewhere in ((MONDAY, 40), (weeks_ago(1), 5)):
        h.nps(40, 10, 60, monday=monday)
        h.nps(0, elsewhere, elsewhere, touchpoint="support", monday=monday)
    context = await digest_of(h, tmp_path)
    assert {(place[1], n) for place, n in context.mix.answers} == {
        (context.primary.result.stratum.touchpoint, 60),
        ("support", 40),
    }
    assert context.mix.moved
    assert context.mix.standardised is None
    assert "回答の経路や接点の割合が前週から変わりました。" in render_text(context)


# ------------------------------------------------------------------------------------ outside words, limits


async def test_names_from_outside_cannot_mention_link_or_format_anybody(tmp_path: Path) -> None:
    evil = "<!channel> <https://evil|bank> & *co*\x02"
    h = History()
    h.nps(20, 10, 40, touchpoint=evil, segment=evil)
    h.scores("sat5", {5: 20, 1: 20}, touchpoint="other", segment=evil)
    h.invited(5, skipped=[(evil, 3)])
    shop = replace(SHOP, brand={"ja": evil})
    context = await digest_of(h, tmp_path, shop=shop, rule=replace(WEEKLY, segment=evil))
    for message in slack_messages(context):
        for text in [message["text"], *(t for b in message["blocks"] if b["type"] != "header" for t in texts_of(b))]:
            assert "<" not in text
            assert "\x02" not in text
        assert "&lt;!channel&gt;" in message["text"]
    assert "<!channel>" in render_text(context)


async def test_a_shop_with_very_many_touchpoints_still_gets_a_message(tmp_path: Path) -> None:
    h = History()
    for n in range(170):
        h.scores("affinity", {5: 6, 3: 5}, touchpoint=f"a place with quite a long name number {n}")
    h.nps(20, 10, 40)
    context = await digest_of(h, tmp_path)
    check_messages(context)
    assert "件は、ここには表示していません" in json.dumps(render_thread(context), ensure_ascii=False)


async def test_answers_longer_ago_than_eight_weeks_change_nothing(tmp_path: Path) -> None:
    h = scene("rolling weeks")
    before = await digest_of(h, tmp_path)
    for week in range(8, 14):
        h.nps(50, 0, 50, monday=weeks_ago(week))
    (tmp_path / "more").mkdir()
    assert await digest_of(h, tmp_path / "more") == before


async def test_an_empty_eight_weeks_are_not_a_first_week(tmp_path: Path) -> None:
    h = scene("first week")
    h.nps(5, 5, 12, monday=weeks_ago(20))
    context = await digest_of(h, tmp_path)
    assert not context.first
    assert "前週の回答がないため、増減は比べません。" in render_text(context)


async def test_answers_that_arrived_after_the_last_digest_are_a_correction(tmp_path: Path) -> None:
    h = History()
    h.nps(24, 16, 60, monday=weeks_ago(1))
    (tmp_path / "before").mkdir()
    posted = await digest_of(h, tmp_path / "before", week="2026-W46", now_ms=NOW_MS - 7 * DAY_MS)
    content = json.dumps({"json": render_json(posted)})
    digest = Digest("weekly", "2026-W46", "posted", content, NOW_MS - 7 * DAY_MS, NOW_MS - 7 * DAY_MS)
    h.nps(0, 3, 3, monday=weeks_ago(1))
    h.nps(33, 9, 60)
    h.digests.append(digest)
    context = await digest_of(h, tmp_path)
    assert "訂正：前週の +13.3 は、遅れて届いた3件を加えて +7.9（n=63）になりました。" in render_text(context)
    h.digests[0] = replace(digest, content="{}")
    (tmp_path / "other").mkdir()
    assert (await digest_of(h, tmp_path / "other")).revisions == ()


def test_weeks_by_name() -> None:
    assert parse_week("2026-W47") == MONDAY
    assert week_name(MONDAY) == "2026-W47"
    assert parse_week("2026-W53").isoformat() == "2026-12-28"
    for wrong in ("2026-W54", "2025-W53", "2026-47", "2026-W00", "", "2026-W4７"):
        with pytest.raises(ValueError, match="week"):
            parse_week(wrong)


def test_the_last_complete_period_is_that_of_the_shops_zone() -> None:
    monday_in_tokyo = monday_ms() + 60_000
    assert last_complete_period(monday_in_tokyo, ZoneInfo("Asia/Tokyo")) == "2026-W46"
    assert last_complete_period(monday_in_tokyo, ZoneInfo("America/New_York")) == "2026-W45"


async def test_a_slow_change_of_another_metric_is_named_against_four_weeks(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    h.scores("affinity", {5: 30, 4: 10})
    h.scores("affinity", {5: 27, 4: 13}, monday=weeks_ago(1))
    for week in (2, 3, 4):
        h.scores("affinity", {5: 5, 4: 10, 3: 25}, monday=weeks_ago(week))
    row = (await digest_of(h, tmp_path)).rows[0]
    assert row.change.verdict == "noise"
    assert row.longer is not None
    assert row.longer.verdict == "rise"
    (tmp_path / "text").mkdir()
    text = render_text(await digest_of(h, tmp_path / "text"))
    assert "その前の4週 3.79（n=160）から有意に上昇（+0.96）" in text


def test_both_languages_have_the_same_parts() -> None:
    folder = files("reports") / "templates"
    parts = {name: sorted(entry.name for entry in (folder / name).iterdir()) for name in ("ja", "en")}
    assert parts["ja"] == parts["en"]


async def test_what_to_look_at_today_stands_right_under_the_headline(tmp_path: Path) -> None:
    blocks = render_slack(await digest_of(scene("significant fall"), tmp_path))["blocks"]
    assert "今週の確認：①期限超過 3件" in blocks[-1]["text"]["text"]


async def test_weeks_begin_at_midnight_of_the_shop_also_when_the_clock_changes(tmp_path: Path) -> None:
    """New York, 1 November 2026: the week from 26 October has an hour more."""
    new_york = ZoneInfo("America/New_York")
    first = date(2026, 10, 26)
    start_ms, end_ms = (
        int(datetime.combine(day, time(), new_york).timestamp() * 1000) for day in (first, first + timedelta(7))
    )
    assert end_ms - start_ms == 7 * DAY_MS + HOUR_MS
    h = History()
    for at_ms in (start_ms, end_ms - 1):
        for _ in range(20):
            h.answer("nps", 9, monday=first, at_ms=at_ms, late=True)
    h.answer("nps", 0, monday=first - timedelta(7), at_ms=start_ms - 1)
    h.answer("nps", 0, monday=first + timedelta(7), at_ms=end_ms, late=True)
    context = await digest_of(h, tmp_path, week="2026-W44", now_ms=end_ms + DAY_MS, tz=new_york)
    assert (context.primary.result.n_valid, context.late) == (40, 40)


# ------------------------------------------------------------------- the roll-up against a recount of raw rows


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [60, 400])
async def test_what_is_read_from_the_rollup_equals_a_recount_of_raw_answers(
    seed: int, size: int, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    h = History()
    for _ in range(size):
        weeks = draw.randrange(9)
        instrument, values = draw.choice([("nps", range(11)), ("emotion", ["relief;trust", "none", "pride"])])
        h.answer(
            instrument,
            draw.choice(list(values)),
            monday=weeks_ago(weeks),
            at_ms=monday_ms(weeks_ago(weeks)) + draw.randrange(7 * DAY_MS),
            customer=f"c{draw.randrange(size // 3)}",
            touchpoint=draw.choice(["purchase", "purchase", "support"]),
            wording=draw.choice(["", "", "", f"{instrument}.other"]) if seed % 2 else "",
            lang=draw.choice(["ja", "en"]),
            channel=draw.choice(["line", "slack"]),
            missing=draw.choice(["", "", "", "skipped"]),
        )
    context = await digest_of(h, tmp_path)
    specs = specs_of(bundled_instruments())
    start_ms, end_ms = monday_ms(context.window_start), monday_ms(context.week_end)
    frame = answers_frame(answer for answer in h.answers if start_ms <= answer.answered_ms < end_ms)
    recount = {
        (result.metric, result.stratum): result.shown()
        for result in measure_frame(frame, specs, by_language=False)
        if result.variant in ("net", "any_positive")
    }
    assert len(context.rows) >= 3
    assert sum("sibling" in row.result.flags for row in context.rows) <= 1
    for row in (context.primary, *context.rows):
        result = row.result
        again = recount[(result.metric, replace(result.stratum, lang=recount_lang(recount, result)))]
        counted = ("n_valid", "n_missing", "n_invalid", "n_superseded")
        # what other numbers would give away is counted and not told
        told = () if "sibling" in result.flags else ("counts", "score", "ci_low", "ci_high", "status")
        for name in (*counted, *told):
            assert getattr(result, name) == getattr(again, name), name


def recount_lang(recount: Mapping[tuple[str, Stratum], Result], result: Result) -> str:
    """A recount names the languages of all rows, a digest those of valid answers: the same but for skipped ones."""
    wanted = replace(result.stratum, lang="")
    return next(s.lang for metric, s in recount if metric == result.metric and replace(s, lang="") == wanted)


async def test_a_touchpoint_at_which_the_leading_question_is_not_asked_says_just_that(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 45)
    h.scores("ces_effort", {1: 25, 4: 15, 6: 10}, touchpoint="support")
    h.case(opened_ms=monday_ms(), due_ms=monday_ms() + DAY_MS)
    support = DigestRule("support", touchpoint="support")
    context = await digest_of(h, tmp_path, rule=support)
    text = render_text(context)
    assert "\nNPS®：回答はありません\n11/16〜11/22・対象：お問い合わせ後\n" in text
    assert "今週の確認：①期限超過 1件（お店全体）\n" in text
    assert "\nご不満への対応（お店全体）\n" in text
    assert "\n届く範囲（お店全体）\n" in text
    assert "今週の回答はありません" not in text
    assert "\n手間の指標　+30.0（" in text
    english = render_text(replace(context, language="en"))
    assert "\nNPS®: no answers\n" in english
    assert "No answers" not in english
    (tmp_path / "own").mkdir()
    own = await digest_of(h, tmp_path / "own", rule=support, shop=replace(SHOP, primary_metric="ces_effort"))
    assert "\n手間の指標 +30.0\n" in render_text(own)

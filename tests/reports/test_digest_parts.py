"""Parts of a digest beyond its scores: periods, pauses, corrections, narrowed digests, reach, what customers said."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from report_history import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    SHOP,
    WEEKLY,
    History,
    digest_of,
    monday_ms,
    slack_messages,
    weeks_ago,
)

from bot.standins.blocks import validate_message
from flows.days import midnight_ms
from reports.comments.chosen import Chosen
from reports.comments.compared import GrownTopic
from reports.comments.free_text import FreeText, FreeTexts
from reports.comments.vocabulary import Topic
from reports.digest import DigestRule, LineMessages, last_complete_period, parse_period, week_name, with_texts
from reports.digest.response import rate
from reports.digest.todo import todo_of
from reports.metrics import Span, Stratum
from reports.render import render_json, render_slack, render_text, render_thread, render_voices, render_voices_text
from reports.sample import samples
from reports.words import Language
from storage.records import Address, Digest, Event
from storage.store import open_store

TOKYO = ZoneInfo("Asia/Tokyo")
INJECTIONS = (
    "<!channel> <@U123> <https://evil|bank>", "=cmd|' /C calc'!A0", "*bold* _it_ ~no~ `code`\n> quoted",
    "</script><script>alert(1)</script>", "{{ d.brand }} {% raw %}", "\u202egnp.exe\x00\x02\x03", "@channel @here",
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------- periods


@settings(deadline=None)  # the first example imports the server's settings
@given(st.dates(date(2020, 1, 6), date(2040, 12, 31)))
def test_every_week_belongs_to_one_month_and_the_server_names_the_same_period(day: date) -> None:
    from bot.config import DigestRule as Rule
    from bot.digests import period_before, reported

    for every in ("week", "month"):
        name = last_complete_period(midnight_ms(day, TOKYO) + HOUR_MS, TOKYO, every)  # type: ignore[arg-type]
        period = parse_period(name)
        assert period.weeks.end <= day < period.weeks.end + timedelta(days=7 * (5 if every == "month" else 1) + 7)
        assert period.earlier().weeks.end == period.weeks.first
        assert period_before(name) == period.earlier().name
        rule = Rule.model_validate({"id": "x", "channel": "C0DIGEST", "every": every})
        assert reported(rule, day) == name


async def test_a_month_is_compared_with_the_month_before_and_says_so(tmp_path: Path) -> None:
    h = History()
    for week in range(4):
        h.nps(20, 5, 30, monday=weeks_ago(week))
        h.nps(5, 20, 30, monday=weeks_ago(week + 5))
    rule = DigestRule("board", every="month")
    now_ms = monday_ms(weeks_ago(-1)) + DAY_MS + 9 * HOUR_MS
    with pytest.raises(ValueError, match="every month"):
        await digest_of(h, tmp_path, rule=rule)
    (tmp_path / "month").mkdir()
    context = await digest_of(h, tmp_path / "month", rule=rule, week="2026-11", now_ms=now_ms)
    assert (context.mode, context.week_start, context.primary.change.against) == (
        "month", date(2026, 10, 26), "previous_month",
    )  # fmt: skip
    assert context.primary.change.verdict == "rise"
    text = render_text(context)
    assert "月次レポート 10/26〜11/29" in text
    assert "前月から有意に上昇しました" in text
    assert "month before" in render_text(replace(context, language="en"))


def test_a_digest_due_on_a_holiday_waits_for_the_next_working_day_and_keeps_its_week() -> None:
    from datetime import datetime

    from bot.config import DigestRule as Rule
    from bot.digests import next_post

    closed = {date(2026, 11, 23), date(2026, 11, 24)}
    rule = Rule.model_validate({"id": "x", "channel": "C0DIGEST", "on_holiday": "next_working_day"})
    after = datetime(2026, 11, 22, 12, tzinfo=TOKYO)
    due, period = next_post(rule, after, is_working=lambda day: day not in closed)
    assert (due.isoformat(), period) == ("2026-11-25T09:00:00+09:00", "2026-W47")
    due, period = next_post(rule, due, is_working=lambda day: day not in closed)
    assert (due.date(), period) == (date(2026, 11, 30), "2026-W48")
    as_planned = rule.model_copy(update={"on_holiday": "post"})
    assert next_post(as_planned, after, is_working=lambda day: False)[0].date() == date(2026, 11, 23)


# ------------------------------------------------------------------------------------------- earlier digests


def stored(period: str, /, **content: Any) -> Digest:
    return Digest("weekly", period, "posted", json.dumps({"json": content}), NOW_MS, NOW_MS)


@pytest.mark.parametrize(
    ("before", "answers", "pause"),
    [("", 0, "pausing"), ("pausing", 0, "paused"), ("paused", 0, "paused"), ("paused", 12, "resumed"), ("", 12, "")],
)
async def test_without_answers_a_digest_says_once_that_it_pauses_and_when_it_comes_back(
    before: str, answers: int, pause: str, tmp_path: Path
) -> None:
    h = History()
    h.nps(answers, 0, answers)
    h.nps(20, 10, 40, monday=weeks_ago(6))
    h.digests = [stored(week, pause="") for week in ("2026-W44", "2026-W45")] + [stored("2026-W46", pause=before)]
    context = await digest_of(h, tmp_path)
    assert context.pause == pause
    assert ("休みます" in render_text(context)) is (pause == "pausing")
    assert ("再開しました" in render_text(context)) is (pause == "resumed")


async def test_a_headline_of_three_weeks_ago_is_corrected_once(tmp_path: Path) -> None:
    h = History()
    old = weeks_ago(3)
    h.nps(24, 16, 60, monday=old)
    (tmp_path / "before").mkdir()
    posted = await digest_of(h, tmp_path / "before", week="2026-W44", now_ms=NOW_MS - 21 * DAY_MS)
    h.digests = [stored("2026-W44", **render_json(posted))]
    h.nps(0, 3, 3, monday=old)
    h.nps(33, 9, 60)
    context = await digest_of(h, tmp_path)
    (revision,) = context.revisions
    assert (revision.period, revision.added, revision.last) == ("2026-W44", 3, False)
    assert "訂正：10/26〜11/1の +13.3 は、遅れて届いた3件を加えて +7.9（n=63）になりました。" in render_text(context)
    h.digests.append(stored("2026-W46", **(render_json(context) | {"primary": None})))
    (tmp_path / "again").mkdir()
    assert (await digest_of(h, tmp_path / "again")).revisions == ()


async def test_of_many_corrections_the_foremost_stand_under_the_headline_and_the_rest_at_the_end(
    tmp_path: Path,
) -> None:
    h = History()
    for back in range(1, 8):
        h.nps(24, 16, 60, monday=weeks_ago(back))
        told = {"metric": "nps", "survey_kind": "transactional", "touchpoint": "purchase", "wording_id": "nps.1",
                "label_set": "", "score": 13.3 + back, "n_valid": 57,
                "window": {"start": weeks_ago(back).isoformat(), "end": weeks_ago(back - 1).isoformat()}}  # fmt: skip
        h.digests.append(stored(week_name(weeks_ago(back)), primary={"result": told}))
    h.nps(33, 9, 60)
    context = await digest_of(h, tmp_path)
    assert len(context.revisions) == 7
    first = render_slack(context)
    said = [line for line in json.dumps(first, ensure_ascii=False).split("\\n") if "訂正：" in line]
    assert len(said) == 2
    assert "訂正：前週の +14.3" in said[0], "the week before comes first"
    assert "の +20.3 は" in said[1], "then the largest change"
    assert "ほかに5件あります" in json.dumps(first, ensure_ascii=False)
    assert "5 more earlier values were corrected" in render_text(replace(context, language="en"))
    for whole in (render_text(context), json.dumps([first, *render_thread(context)], ensure_ascii=False)):
        assert whole.count("訂正：") == 7
    assert len(render_json(context)["revisions"]) == 7


# ------------------------------------------------------------------------------------- narrowed, suppressed


@pytest.mark.parametrize(("others", "hidden"), [(0, False), (9, True), (10, False)])
async def test_a_narrowed_digest_gives_no_small_rest_away(others: int, hidden: bool, tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40, channel="line")
    h.nps(others, 0, others, channel="slack")
    context = await digest_of(h, tmp_path, rule=replace(WEEKLY, channel="line"))
    assert context.primary.result.n_valid == 40
    assert (context.primary.result.score is None) is hidden
    assert ("差し引きで求められるため非表示" in render_text(context)) is hidden
    if hidden:
        written = json.dumps(render_json(context)) + json.dumps(slack_messages(context)) + render_text(context)
        assert "25.0" not in written


# ------------------------------------------------------------------------------------------------------ reach


async def test_reach_counts_people_who_blocked_in_time_and_buyers_who_are_linked(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    h.invite_everyone()
    for n in range(20):
        h.events.append(Event(f"e{n}", "purchase", monday_ms() + n, NOW_MS, f"c{n:06}", "{}"))
    store = await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS)
    sent = {session.customer_id: session.created_ms - 60_000 for session in h.sessions}
    people = sorted(sent)[:10]

    def addresses(tx: Any) -> None:
        for number, who in enumerate(people):
            tx.put_address(Address("line", "w", who, who, "chat", "linked", "ja", sent[who]))
            if number < 3:
                # the third one too late to be laid at the invitation's door
                tx.set_blocked("line", "w", who, sent[who] + (number * DAY_MS if number < 2 else 3 * DAY_MS))

    await store.write(addresses)
    await store.close()
    context = await digest_of(h, tmp_path, shop=replace(SHOP, line=LineMessages(10_000, 4_790)))
    reach = context.reach
    assert (reach.blocked.counts, reach.blocked.n_valid) == ({"yes": 2, "no": 38}, 40)
    assert (reach.linked.counts, reach.linked.n_valid) == ({"yes": 7, "no": 13}, 20)
    text = render_text(context)
    assert "LINE通数：残り 5,210通、月末の残り見込み " in text
    assert "案内後3日以内のブロック 2人（5.0%、n=40）" in text
    assert "5,210 left" in render_text(replace(context, language="en"))


# ------------------------------------------------------------------------------------- what customers said


def said(*comments: str, grown: int = 0) -> FreeTexts:
    topic = Topic("delivery", {"ja": "配送の遅れ", "en": "late delivery"}, None, ())
    rise = GrownTopic(topic, grown, 40, 2, 100, 25.0, 12.0, 40.0, 0.001, 0.001)
    chosen = tuple(Chosen("detractor", text, "drawn", None, False) for text in comments)
    text = FreeText("reason", Stratum("transactional", "purchase"), Span("2026-10-26", "2026-11-23"), 60, 0, 0, "ok",
                    grown_topics=(rise,) if grown else (), chosen=chosen)  # fmt: skip
    return FreeTexts((text,))


async def test_comments_stand_in_their_own_message_only_and_stay_words(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    context = with_texts(await digest_of(h, tmp_path), said(*INJECTIONS))
    for language in ("ja", "en"):
        told = replace(context, language=language)  # type: ignore[arg-type]
        voices = render_voices(told)
        assert voices is not None
        assert validate_message(voices) == []
        quoted = [b["elements"][0]["elements"][0] for b in voices["blocks"] if b["type"] == "rich_text"]
        assert [leaf["text"] for leaf in quoted] == list(INJECTIONS)
        assert {leaf["type"] for leaf in quoted} == {"text"}
        rest = [voices["text"], render_text(told), render_json(told), render_slack(told), render_thread(told)]
        kept = json.dumps(rest, ensure_ascii=False)
        assert not [words for words in INJECTIONS if json.dumps(words, ensure_ascii=False)[1:-1] in kept]
        assert INJECTIONS[3] in render_voices_text(told)
        assert "\x02" not in render_voices_text(told)
    assert render_voices(with_texts(context, said())) is None


async def test_what_to_look_at_is_three_things_and_a_topic_stands_beside_a_change_only_when_its_test_keeps_it(
    tmp_path: Path,
) -> None:
    h = History()
    h.nps(100, 100, 400)
    h.nps(180, 80, 400, monday=weeks_ago(1))
    h.case(opened_ms=monday_ms(), due_ms=monday_ms() + DAY_MS)
    shop = replace(SHOP, line=LineMessages(100, 100))
    context = with_texts(await digest_of(h, tmp_path, shop=shop), said(grown=11))
    assert [thing.kind for thing in todo_of(context)] == ["overdue", "quota", "topic"]
    text = render_text(context)
    assert (
        "今週の確認：①期限超過 1件 ②LINE通数の不足の見込み ③「配送の遅れ」のコメント 11件（n=40、11/16〜11/22）" in text
    )
    assert "増えた話題：「配送の遅れ」（11人／n=40）。原因とは限りません。" in text
    quiet = with_texts(context, said())
    assert "増えた話題" not in render_text(quiet)


async def test_what_to_look_at_says_of_how_many_buyers_and_when(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    context = await digest_of(h, tmp_path)
    reach = replace(context.reach, linked=rate("line_linked", 157, 412, context.reach.linked.window))
    told = replace(context, reach=reach)
    assert "今週の確認：①LINE未連携の購入者 61.9%（n=412、11/16〜11/22）" in render_text(told)
    english = render_text(replace(told, language="en"))
    assert "To look at: 1) 61.9% of buyers not linked to LINE (n=412, 16–22 Nov)" in english


async def test_the_headline_says_of_how_many_answers_the_earlier_value_is(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    h.nps(10, 10, 50, monday=weeks_ago(1))
    context = await digest_of(h, tmp_path)
    for language, words in (("ja", "（前週 0.0、n=50）"), ("en", "(week before 0.0, n=50)")):
        first = render_slack(replace(context, language=language))  # type: ignore[arg-type]
        assert words in first["blocks"][0]["text"]["text"]
        assert words in first["text"]


# --------------------------------------------------------------------------------------------- own templates


async def test_a_shop_puts_its_own_template_in_the_place_of_ours(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 40)
    context = await digest_of(h, tmp_path)
    (tmp_path / "ja").mkdir()
    (tmp_path / "ja" / "title.j2").write_text("{{ d.brand }}のお客さまの声", "utf-8")
    assert render_text(context, templates=tmp_path).startswith("声の店のお客さまの声\n")
    assert render_slack(context, templates=tmp_path)["text"].startswith("声の店のお客さまの声：NPS®")
    (tmp_path / "ja" / "title.j2").write_text("{{ d.brnad }}", "utf-8")
    with pytest.raises(UndefinedError, match="brnad"):
        render_text(context, templates=tmp_path)


@pytest.mark.parametrize(
    ("lang", "both", "alone"),
    [("ja", "A/Bテストと話題", "言葉と話題"), ("en", "A/B tests and topics", "Words and topics")],
)
def test_the_message_of_topics_speaks_of_tests_only_where_there_are_some(lang: Language, both: str, alone: str) -> None:
    context = next(context for context, _ in samples() if context.experiments)
    context = replace(with_texts(context, said()), language=lang)
    for tests, name in ((context.experiments, both), ((), alone)):
        titles = [message["text"].splitlines()[0] for message in render_thread(replace(context, experiments=tests))]
        assert len([title for title in titles if name in title]) == 1
        assert not [title for title in titles if (both if name == alone else alone) in title]

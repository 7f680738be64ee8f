"""App Home: each sees what they may, every number with what it rests on."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot.staff.access import Permission
from bot.staff.asking import Budget
from bot.staff.home import Health, HomeCase, HomeFacts, Running, render_cases, render_home, wilson
from bot.standins.blocks import validate_view
from bot.standins.reading import block_words
from reports.procedures import share

TOKYO = ZoneInfo("Asia/Tokyo")
NOW_MS = 1_795_050_000_000
HOUR_MS = 3_600_000
ALL: frozenset[Permission] = frozenset({"staff", "trigger", "handle_cases", "read_comments"})
FACTS = HomeFacts(
    NOW_MS,
    cases=(
        HomeCase("C001", "田中<!channel>", NOW_MS - HOUR_MS, NOW_MS + HOUR_MS, "U0OTHER"),
        HomeCase("C002", "", NOW_MS - HOUR_MS, NOW_MS - 60_000),
        HomeCase("C003", "佐藤", NOW_MS - HOUR_MS, None, "U0ME"),
    ),
    surveys=(
        Running("ご購入後", "After purchase", 200, 90, 90),
        Running("全体", "Overall", 12, 3, 3),
        Running("新", "New", 9, 8, 8),
    ),
    budget=Budget(120, 200),
    digests=(("weekly", NOW_MS + 24 * HOUR_MS),),
    health=Health(overdue=3, oldest_due_ms=NOW_MS - HOUR_MS, dead=2, uncertain=1, paused=(("line", NOW_MS + HOUR_MS),)),
)


def words(view: dict[str, Any]) -> str:
    return "\n".join(block_words(view["blocks"]))


def shown(may: frozenset[Permission] = ALL, lang: str = "ja", facts: HomeFacts = FACTS) -> str:
    view = render_home(facts, viewer="U0ME", lang=lang, may=may, tz=TOKYO)
    assert validate_view(view) == []
    return words(view)


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("facts", [FACTS, HomeFacts(NOW_MS), HomeFacts(NOW_MS, budget="unknown")])
def test_every_home_is_within_slacks_limits_and_has_no_gap(lang: str, facts: HomeFacts) -> None:
    text = shown(lang=lang, facts=facts)
    assert "{" not in text
    assert "！" not in text


def test_a_rate_has_its_interval_window_and_n_and_few_invitations_have_none() -> None:
    text = shown()
    assert "ご購入後：回答率 45.0%（95%信頼区間 38.3〜51.9%、ご案内 200件）" in text
    assert "直近28日" in text
    assert "全体：回答率 25.0%（95%信頼区間 8.9〜53.2%、ご案内 12件）・件数が少ないため参考値です" in text
    assert "新：ご案内が10件未満" in text
    assert "88.9" not in text
    assert "8件" not in text


@pytest.mark.parametrize(("answered", "hidden"), [(0, False), (9, True), (10, False)])
def test_a_handful_of_answers_is_counted_for_those_only_who_may_read_them(answered: int, hidden: bool) -> None:
    facts = HomeFacts(NOW_MS, surveys=(Running("全体", "Overall", 40, answered, answered),))
    for lang, few in (("ja", "回答が10件未満のため、回答率は表示しません"), ("en", "fewer than 10 answers")):
        assert (few in shown(frozenset({"staff", "trigger"}), lang, facts)) is hidden
        assert few not in shown(ALL, lang, facts)
    outside = shown(frozenset({"staff"}), "ja", facts)
    assert ("回答率 " in outside) is not hidden


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 12), (10, 10), (90, 200), (1, 100_000)])
def test_the_interval_is_the_one_of_the_digest(k: int, n: int) -> None:
    expected = share(k, n)
    assert expected.low is not None
    assert expected.high is not None
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_budget_the_next_digest_and_what_is_wrong_are_said() -> None:
    text = shown(lang="en")
    assert "120 of 200 used, 80 left" in text
    assert "weekly: Fri 20 Nov" in text
    for said in ("Waiting to be done: 3", "Given up: 2", "Unknown whether delivered: 1", "Sending to LINE is paused"):
        assert said in text
    assert "All is well." in shown(lang="en", facts=HomeFacts(NOW_MS))


def test_names_are_for_those_who_may_read_them_and_cases_for_those_who_handle_them() -> None:
    assert "佐藤様（C003）" in shown()
    hidden = shown(ALL - {"read_comments"})
    assert "佐藤" not in hidden
    assert "C003" not in hidden
    assert "期限を過ぎています" in hidden
    assert "レポートを見る" not in hidden
    outside = shown(frozenset({"staff"}))
    assert "対応中のご相談" not in outside
    assert "アンケートを送る" not in outside
    assert "回答率" in outside
    assert "スタッフ用の画面です" in shown(frozenset())
    assert "回答率" not in shown(frozenset())


def test_ones_own_cases_come_first_then_those_nobody_has() -> None:
    text = words(render_cases(FACTS, viewer="U0ME", lang="ja", named=True, tz=TOKYO))
    assert text.index("C003") < text.index("C002") < text.index("C001")
    assert "担当：あなた" in text


def test_a_customers_name_is_inert() -> None:
    view = render_home(FACTS, viewer="U0ME", lang="ja", may=ALL, tz=TOKYO)
    assert not [block for block in view["blocks"] if "mrkdwn" in str(block)]


def test_hundreds_of_cases_fit() -> None:
    many = HomeFacts(NOW_MS, cases=tuple(HomeCase(f"C{n:05}", "名" * 100, NOW_MS, NOW_MS) for n in range(200)))
    assert "ほか195件" in shown(facts=many)
    view = render_cases(many, viewer="U0ME", lang="ja", named=True, tz=TOKYO)
    assert validate_view(view) == []

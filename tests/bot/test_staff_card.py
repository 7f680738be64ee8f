"""The card of an unhappy customer: what staff read, what a lock screen must not show, what stays words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest

from bot.staff.card import (
    WORDED,
    CardFacts,
    NoteFacts,
    Rating,
    Reason,
    masked,
    render_card,
    render_note,
)
from bot.standins.blocks import validate_message

DUE_MS = 1_795_510_800_000  # Tuesday 2026-11-24 18:00 in Tokyo
JA = CardFacts(
    "unhappy",
    ratings=(Rating("満足度", "やや不満"), Rating("薦める可能性", "2点")),
    words="箱がつぶれていて、贈り物に使えませんでした",
    contact="yes",
    due_ms=DUE_MS,
    here="LINE",
    customer_id="C001",
    customer_name="田中",
    nth_order=3,
    order_id="1042",
    item="ギフトセット",
    delivered_ms=1_795_050_000_000,
    earlier=(Rating("薦める可能性", "8点", 1_786_665_600_000),),
)


def lines(card: dict[str, Any]) -> list[str]:
    """What the card reads as."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("type") in ("text", "plain_text") and isinstance(value.get("text"), str):
                found.extend(value["text"].split("\n"))
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk(card["blocks"])
    return found


def test_the_card_reads_as_the_copy_deck_says() -> None:
    card = render_card(JA, "ja", with_words=True)
    assert card["text"] == "要対応：低い評価が届きました（期限 11/24 18:00）"
    assert lines(card) == [
        "要対応・満足度 やや不満・薦める可能性 2点",
        "「箱がつぶれていて、贈り物に使えませんでした」",
        "連絡希望：あり（LINEで、11/24（火）18:00まで）",
        "お客さま：田中様（C001）・3回目のご購入",
        "ご注文：#1042 ギフトセット・11/19お届け",
        "これまで：8/14 薦める可能性 8点",
        "担当：未定",
    ]


def test_the_card_reads_well_in_english() -> None:
    facts = replace(
        JA,
        ratings=(Rating("satisfaction", "somewhat dissatisfied"), Rating("recommend", "2")),
        words="The box was crushed",
        customer_name="Tanaka",
        item="gift set",
        earlier=(Rating("recommend", "8", 1_786_665_600_000),),
    )
    card = render_card(facts, "en", with_words=True)
    assert card["text"] == "Needs attention: a low rating came in (due 24 Nov 18:00)"
    assert lines(card) == [
        "Needs attention · satisfaction: somewhat dissatisfied · recommend 2",
        '"The box was crushed"',
        "Wants contact: yes (LINE, by Tue 24 Nov 18:00)",
        "Customer: Tanaka (C001), 3rd order",
        "Order: #1042 gift set, delivered 19 Nov",
        "Before: 14 Aug, recommend 8",
        "Unclaimed",
    ]


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_makes_a_card_even_when_nothing_else_is_known(reason: Any, lang: str) -> None:
    card = render_card(CardFacts(reason), lang, with_words=True)
    assert validate_message(card) == []
    assert card["text"]
    assert all(line.strip() for line in lines(card))
    assert "None" not in json.dumps(card)


def test_no_word_of_the_customer_reaches_the_notification_or_becomes_markup() -> None:
    hostile = "<!channel> <@U1> <https://evil.example|銀行> *太字* ~消~ @here"
    facts = replace(JA, words=hostile, customer_name=hostile, item=hostile, changed=(hostile, hostile))
    card = render_card(facts, "ja", with_words=True)
    assert validate_message(card) == []
    assert "evil" not in card["text"]
    assert '"mrkdwn"' not in json.dumps(card["blocks"])
    assert (card["parse"], card["link_names"], card["unfurl_links"]) == ("none", False, False)


def test_where_comments_may_not_be_read_the_card_only_says_that_there_is_one() -> None:
    card = render_card(JA, "ja", with_words=False)
    assert "箱が" not in json.dumps(card, ensure_ascii=False)
    assert "コメントあり（このチャンネルには表示しません）" in lines(card)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("電話は090-1234-5678です", "電話は●●●です"),
        ("０３ー１２３４ー５６７８へ", "●●●へ"),
        ("a.b+c@example.co.jp に", "●●● に"),
        ("カード 4242 4242 4242 4242", "カード ●●●"),
        ("注文1042、2026年11月19日、8点", "注文1042、2026年11月19日、8点"),
        ("2026-11-19に届きました", "2026-11-19に届きました"),
    ],
)
def test_phones_mails_and_card_numbers_are_masked(words: str, shown: str) -> None:
    assert masked(words) == shown


def test_a_correction_an_end_and_an_erasure_are_said() -> None:
    changed = render_card(replace(JA, changed=("2点", "8点")), "ja", with_words=True)
    assert lines(changed)[-1] == "お客さまが2点から8点に訂正しました。担当：未定"
    settled = render_card(replace(JA, state="settled", changed=("2点", "8点")), "ja", with_words=True)
    assert lines(settled)[-1].endswith("対応は不要になりました。")
    erased = render_card(replace(JA, state="erased"), "ja", with_words=True)
    assert lines(erased) == ["お客さまのご希望により、内容を消去しました。"]
    assert "田中" not in json.dumps(erased, ensure_ascii=False)


def test_a_comment_of_any_length_stays_within_the_limits() -> None:
    facts = replace(JA, words="長" * 50_000, item="品" * 5000, customer_name="名" * 5000, earlier=JA.earlier * 50)
    assert validate_message(render_card(facts, "ja", with_words=True)) == []


AT_MS = 1_795_485_720_000  # Tuesday 2026-11-24 11:02 in Tokyo


@pytest.mark.parametrize(
    ("changes", "ja", "en"),
    [
        (
            {"state": "claimed", "staff": "高木", "claimed_ms": AT_MS},
            "対応中 @高木（11/24 11:02から）",
            "In progress, @高木 since 24 Nov 11:02",
        ),
        (
            {"overdue_ms": 3_700_000},
            "担当：未定・期限を1時間過ぎています。お客さまには未連絡です。",
            "Unclaimed · 1 hour overdue. The customer has not been told.",
        ),
        (
            {"delivery": "accepted"},
            "担当：未定・LINEが送信を受け付けました（届いたか、読まれたかは分かりません）。",
            "Unclaimed · Accepted by LINE (delivery and reading cannot be known).",
        ),
        (
            {"blocked": True, "delivery": "accepted"},
            "担当：未定・お客さまがブロック中のため届きません。電話かメールをご検討ください。",
            "Unclaimed · The customer has blocked the account. Consider phone or e-mail.",
        ),
        (
            {"state": "resolved", "staff": "高木", "outcome": "exchange", "first_reply_ms": 7_800_000},
            "解決 @高木・交換を手配・初回返信まで2時間10分",
            "Resolved, @高木, exchange arranged, first reply 2 h 10 min",
        ),
    ],
)
def test_the_state_line_reads_as_the_copy_deck_says(changes: dict[str, Any], ja: str, en: str) -> None:
    facts = replace(JA, **changes)
    assert lines(render_card(facts, "ja", with_words=True))[-1] == ja
    assert lines(render_card(facts, "en", with_words=True))[-1] == en


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("state", ["open", "claimed", "settled", "resolved", "erased"])
def test_a_case_that_waits_has_buttons_and_a_settled_one_has_none(state: Any, lang: str) -> None:
    card = render_card(replace(JA, state=state, case_id="K1", staff="<!channel>"), lang, with_words=True)
    assert validate_message(card) == []
    ids = [e["action_id"] for b in card["blocks"] if b["type"] == "actions" for e in b["elements"]]
    assert bool(ids) == (state in ("open", "claimed"))
    assert ("koe.case.claim" in ids) == (state == "open")
    assert "<!channel>" not in card["text"]


NOTES = [*sorted(WORDED), "sent_photo", "sent_sticker", "sent_other", "handed_over", "reopened", "overdue"]
NOTES += ["apologised", "escalated", "woke", "solved", "still", "reply_failed", "erased"]


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("kind", NOTES)
def test_every_entry_of_a_thread_is_a_sentence_in_which_no_word_is_live(kind: str, lang: str) -> None:
    hostile = "<!channel> <@U0EVIL> <https://evil.example|銀行> *太字*"
    words = "U0BOSS S0LEADS <!channel> <@U0EVIL>" if kind == "escalated" else hostile
    note = NoteFacts(kind, words=words, staff=hostile, to=hostile, assignee="U0STAFF", due_ms=DUE_MS)
    message = render_note(note, lang, with_words=True)
    assert validate_message(message) == []
    live = [b["text"]["text"] for b in message["blocks"] if b["type"] == "section"]
    assert all(set(text.split()) <= {"<@U0STAFF>", "<@U0BOSS>", "<!subteam^S0LEADS>"} for text in live)
    assert "<" not in message["text"]


@pytest.mark.parametrize("kind", sorted(WORDED))
def test_where_comments_may_not_be_read_a_thread_quotes_nobody(kind: str) -> None:
    note = NoteFacts(kind, words="秘密の言葉", staff="高木")
    assert "秘密" in json.dumps(render_note(note, "ja", with_words=True), ensure_ascii=False)
    hidden = json.dumps(render_note(note, "ja", with_words=False), ensure_ascii=False)
    assert "秘密" not in hidden
    assert "（このチャンネルには表示しません）" in hidden

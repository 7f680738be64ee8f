"""The copy deck, the instruments and the flows that come with Koe: wording, length, words that are never used."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import pytest

from flows.builtin import builtin_definitions, builtin_library
from flows.definitions import Instrument
from flows.flow import Rules
from flows.source import Plain
from flows.survey import Library
from flows.texts import LANGS, Lang, Template

TYPICAL: dict[Lang, dict[str, str]] = {
    "ja": {
        "name": "田中",
        "brand": "声の店",
        "team": "お客さま窓口",
        "staff": "高木",
        "item": "季節のギフトセット（大）",
        "n": "5",
        "i": "2",
        "part": "2",
        "parts": "3",
        "reply_by": "11月24日（火）18:00まで",
        "expires": "11月30日（月）",
        "date": "11月30日（月）",
        "here": "このトーク",
        "score": "8点",
        "old": "2点",
        "chosen": "「安心感、誇り、信頼」",
        "choice": "「安心感」",
        "privacy_url": "https://example.com/privacy",
        "support_hours": "平日10:00〜17:00",
        "retention": "2年",
        "range": "0〜10の数字",
    },
    "en": {
        "name": "Hanako",
        "brand": "Koe Store",
        "team": "our team",
        "staff": "Takagi",
        "item": "the seasonal gift set",
        "n": "5",
        "i": "2",
        "part": "2",
        "parts": "3",
        "reply_by": "by Tue 24 Nov, 18:00",
        "expires": "Mon 30 Nov",
        "date": "Mon 30 Nov",
        "here": "this chat",
        "score": "8",
        "old": "2",
        "chosen": '"Relief, Pride, Trust"',
        "choice": '"Relief"',
        "privacy_url": "https://example.com/privacy",
        "support_hours": "Mon–Fri 10:00–17:00",
        "retention": "2 years",
        "range": "a number from 0 to 10",
    },
}

SMALL = ("inv.small", "inv.first", "q.reason.small")
"""Shown small and grey, outside the limit of a bubble."""


@pytest.fixture(scope="module")
def library() -> Library:
    return builtin_library()


def sentences(library: Library, lang: Lang) -> Iterator[tuple[str, str]]:
    """(id, text with typical values) of everything a customer can read."""
    for text_id in library.deck.ids():
        values = TYPICAL[lang]
        template = library.deck.template(text_id, lang)
        yield text_id, template.fill({name: values.get(name, name.upper()) for name in template.blanks})
    for instrument in library.instruments.values():
        for words in texts_of(instrument):
            text = words[lang]
            yield instrument.id, Template(text).fill(TYPICAL[lang])


def texts_of(instrument: Instrument) -> Iterator[dict[Lang, str]]:
    yield {"ja": instrument.text.ja, "en": instrument.text.en}
    more = [*instrument.labels.values(), *(choice.text for choice in instrument.choices)]
    if instrument.anchors:
        more += [instrument.anchors.low, instrument.anchors.high]
    if instrument.note:
        more.append(instrument.note)
    more += [variant.text for variant in instrument.variants.values()]
    more.append(instrument.name)
    for words in more:
        yield {"ja": words.ja, "en": words.en}


def width(text: str) -> float:
    """In full-width characters."""
    return sum(1.0 if unicodedata.east_asian_width(char) in "WFA" else 0.5 for char in text)


# -------------------------------------------------------------------------------------------------- sentences


@pytest.mark.parametrize("lang", LANGS)
def test_a_bubble_has_at_most_five_lines_and_120_characters(library: Library, lang: Lang) -> None:
    for text_id, text in sentences(library, lang):
        if text_id in SMALL or text_id.startswith(("staff.", "card")):
            continue
        assert text.count("\n") < 5, text_id
        assert width(text) <= 120, (text_id, width(text))


@pytest.mark.parametrize("lang", LANGS)
def test_an_invitation_with_its_first_question_is_one_bubble(library: Library, lang: Lang) -> None:
    for flow in library.flows.values():
        first = flow.questions[0]
        values = {**TYPICAL[lang], **{k: v[lang].fill(TYPICAL[lang]) for k, v in first.vars.items()}}
        bubble = flow.invite[lang].fill(values) + "\n\n" + first.wordings[lang].text.fill(values)
        assert bubble.count("\n") < 5, flow.id
        assert len(bubble) <= 120 or lang == "en", (flow.id, len(bubble))
        assert "{" not in bubble


@pytest.mark.parametrize("lang", LANGS)
def test_the_notification_line_has_at_most_40_characters_and_no_item_score_or_comment(
    library: Library, lang: Lang
) -> None:
    for text_id in library.deck.ids():
        if text_id.startswith("alt."):
            template = library.deck.template(text_id, lang)
            assert template.blanks <= {"brand", "team", "n", "i"}
            assert width(template.fill(TYPICAL[lang])) <= 40, text_id


def test_each_invitation_has_its_notification_line(library: Library) -> None:
    for flow in builtin_definitions().flows:
        invite = str(flow.data["invite"])
        assert library.deck.has(invite)
        assert library.deck.has(invite.replace("inv.", "alt."))


def is_button(text_id: str) -> bool:
    return text_id.startswith("button.") or text_id.endswith(".label") or text_id in ("label.yes", "label.no")


def test_buttons_are_short_and_end_without_a_full_stop(library: Library) -> None:
    labels = [(i, library.deck.text(i, "ja"), library.deck.text(i, "en")) for i in library.deck.ids() if is_button(i)]
    for instrument in library.instruments.values():
        words = [*instrument.labels.values(), *(choice.text for choice in instrument.choices)]
        labels += [(instrument.id, w.ja, w.en) for w in words]
    assert len(labels) > 60
    for text_id, ja, en in labels:
        assert width(ja) <= 10, text_id
        # LINE cuts quick replies at 20; the one label that is longer is a standard wording, and a Flex button
        assert len(en) <= 20 or en == "Somewhat dissatisfied", text_id
        assert not ja.endswith(("。", "、")), text_id
        assert not en.endswith("."), text_id


@pytest.mark.parametrize("lang", LANGS)
def test_every_sentence_is_closed(library: Library, lang: Lang) -> None:
    for text_id in library.deck.ids():
        if is_button(text_id) or text_id.startswith(("alt.", "label.", "range.", "here.", "mine")):
            continue
        for line in library.deck.template(text_id, lang).raw.split("\n"):
            if re.search(r"\{(name\?|text)\}|[：:]|URL|^\[Ad\]|^【広告】|\{expires\?\}|「|\"", line):
                continue
            assert line.endswith(("。", "？", ".", "?")), (text_id, line)


FORBIDDEN_JA = [
    "！",
    "…",
    "すみません",
    "了解",
    "至急",
    "お客様各位",
    "お客さま様",
    "お客様",
    "おうかがいいたし",
    "させていただ",
    "すぐに",
    "折り返し",
    "近日中",
    "必ず",
    "批判者",
    "中立者",
    "推奨者",
    "スコア",
    "NPS",
    "CES",
    "セッション",
    "無効",
    "エラー",
    "不正",
    "タイムアウト",
    "高評価",
    "〜〜",
    "～",
]
FORBIDDEN_EN = (
    "!",
    "unfortunately",
    "invalid",
    "dear ",
    "valued",
    "score card",
    "nps",
    " ces ",
    "session",
    "error",
    "timeout",
)


def test_words_that_customers_never_read_are_nowhere(library: Library) -> None:
    for text_id, text in sentences(library, "ja"):
        for word in FORBIDDEN_JA:
            assert word not in text, (text_id, word)
        assert not re.search(r"[\uff61-\uff9f]", text), f"half-width katakana in {text_id}"
        assert not re.search(r"[０-９Ａ-Ｚａ-ｚ!?,()]", re.sub(r"https?://\S+", "", text)), text_id
    for text_id, text in sentences(library, "en"):
        for word in FORBIDDEN_EN:
            assert word not in text.lower(), (text_id, word)
        assert not re.search(r"[\u3040-\u30ff\u4e00-\u9fff\uff00-\uffef]", text), text_id


def test_there_is_no_emoji_and_no_smiley_scale(library: Library) -> None:
    for lang in LANGS:
        for text_id, text in sentences(library, lang):
            odd = [char for char in text if unicodedata.category(char) == "So"]
            assert not odd, (text_id, odd)


def test_english_needs_nothing_that_japanese_does_not(library: Library) -> None:
    for text_id in library.deck.ids():
        ja, en = (library.deck.template(text_id, lang).blanks for lang in LANGS)
        # English leaves out 「このトーク」 and names the shop where Japanese does not
        assert en - ja <= {"brand"}, text_id
        assert ja - en <= {"here", "brand", "team", "item"}, text_id


def test_no_blank_is_left_and_a_missing_name_takes_its_line_away(library: Library) -> None:
    for lang in LANGS:
        for text_id, text in sentences(library, lang):
            assert "{" not in text, text_id
            assert text.strip() == text or text_id == "label.joiner", text_id
    nameless = library.deck.text("inv.purchase", "ja", {"n": "5"})
    assert nameless.startswith("先日は")
    assert "様" not in nameless
    assert library.deck.text("inv.purchase", "en", {"n": "5"}).startswith("Thank you")


# -------------------------------------------------------------------------------------------------- instruments

WORDINGS = {
    "nps": (
        "{brand}を友人や知人に薦める可能性はどのくらいですか?",
        "How likely are you to recommend {brand} to a friend or acquaintance?",
    ),
    "nrs": (
        "1年後も継続してこの商品を使っていると思いますか?",
        "Do you think you will still be using this product one year from now?",
    ),
    "ces_effort": ("商品を使うときにストレスを感じましたか?", "Did you feel any stress when using the product?"),
    "ces_effort/support": (
        "今回のお問い合わせで、手間や負担を感じましたか?",
        "How much effort did this enquiry cost you?",
    ),
    "ces_ease": (
        "この商品・サービスの利用(または問題解決)はどれくらい簡単でしたか?",
        "How easy was it to use the product / to get your issue solved?",
    ),
    "csat5": ("この商品・サービスにどのくらい満足しましたか?", "How satisfied were you with this product/service?"),
    "csat10": ("この商品・サービスにどのくらい満足しましたか?", "How satisfied were you with this product/service?"),
    "sat5": ("{item}について、どの程度満足していますか?", "How satisfied are you with {item}?"),
    "repeat_intent": (
        "この会社が提供する商品やサービスを継続して購入しますか?",
        "Will you keep buying products or services from this company?",
    ),
    "repeat_intent_noswitch": ("もし他社への切り替えに手間や費用がかからないとしても、継続して購入しますか?", None),
    "affinity": ("{brand}への愛着度を1〜5段階で評価してください。", "Rate your attachment to {brand} from 1 to 5."),
    "emotion": (
        "購入時に感じるポジティブな感情を選んでください。(複数可)",
        "Which positive feelings do you have when you buy from us? (choose any)",
    ),
    "pay_more": (
        "多少高くても利用し続けたいと思いますか?",
        "Would you keep using us even if we were a little more expensive?",
    ),
    "reason/recommend": (
        "薦めたくなる理由、または批判したい理由は何ですか?",
        "What is the main reason for your score?",
    ),
    "buy_reason": ("今回ご購入いただいた理由を教えてください。", None),
    "expectation": ("ご購入前に期待していたことを教えてください。", None),
    "expect_gap": ("期待と比べて、実際はいかがでしたか?", None),
    "delight": ("驚くほど良いと感じた経験や、感動した経験がありましたか?", None),
    "exp_product": ("商品の質はいかがでしたか?", None),
    "exp_delivery": ("配送・納期はいかがでしたか?", None),
    "exp_consistency": ("どの窓口でも対応が一貫していることはいかがでしたか?", None),
}


def folded(text: str) -> str:
    """After NFKC, without the words that stand in for a missing value: only typography may differ."""
    return unicodedata.normalize("NFKC", re.sub(r"\{([a-z_]+)\|[^}]*\}", r"{\1}", text))


@pytest.mark.parametrize("name", sorted(WORDINGS))
def test_the_wording_of_an_instrument_is_the_standard_one(library: Library, name: str) -> None:
    ja, en = WORDINGS[name]
    instrument_id, _, variant = name.partition("/")
    instrument = library.instruments[instrument_id]
    text = instrument.variants[variant].text if variant else instrument.text
    assert folded(text.ja) == folded(ja)
    if en is not None:
        assert folded(text.en) == folded(en)


def test_the_reason_is_asked_in_the_shown_wording(library: Library) -> None:
    assert "その点数をつけた理由を教えてください。" in library.instruments["reason"].text.ja
    assert "what is the main reason for your score?" in library.instruments["reason"].text.en


ENDS = {
    "nps": (0, "全く薦めない", "not at all likely", 10, "積極的に薦める", "extremely likely"),
    "nrs": (1, "まったくそう思わない", "not at all", 5, "とてもそう思う", "very much"),
    "ces_effort": (1, "まったく感じなかった", "none at all", 7, "とても感じた", "very much"),
    "ces_ease": (1, "とても難しかった", "very difficult", 7, "とても簡単だった", "very easy"),
    "csat10": (1, "非常に不満", "very dissatisfied", 10, "非常に満足", "very satisfied"),
    "affinity": (1, "全く愛着なし", "none", 5, "強く愛着を感じる", "strong"),
    "repeat_intent": (1, "購入しない", "will not buy", 5, "購入する", "will buy"),
}


@pytest.mark.parametrize("name", sorted(ENDS))
def test_a_numeric_scale_has_words_at_both_ends_and_ascends(library: Library, name: str) -> None:
    instrument = library.instruments[name]
    assert instrument.anchors is not None
    low, high = instrument.anchors.low, instrument.anchors.high
    assert (instrument.low, low.ja, low.en, instrument.high, high.ja, high.en) == ENDS[name]
    assert instrument.order == "ascending"
    assert not instrument.labels


LABELS = {
    "sat5": ["不満", "やや不満", "どちらともいえない", "やや満足", "満足"],
    "exp_packaging": ["不満", "やや不満", "どちらともいえない", "やや満足", "満足"],
    "csat5": ["非常に不満", "不満", "どちらともいえない", "満足", "非常に満足"],
}


@pytest.mark.parametrize("name", sorted(LABELS))
def test_a_labelled_scale_shows_the_best_first_and_knows_its_label_set(library: Library, name: str) -> None:
    instrument = library.instruments[name]
    assert [instrument.labels[code].ja for code in range(1, 6)] == LABELS[name]
    assert instrument.order == "descending"
    assert instrument.label_set == ("classic" if name == "csat5" else "plain")


SCORING: dict[str, tuple[str, set[int], set[int], str]] = {
    "nps": ("net", {9, 10}, set(range(7)), "high"),
    "nrs": ("net", {5}, {1, 2, 3}, "high"),
    "ces_effort": ("net", {1, 2}, {5, 6, 7}, "low"),
    "ces_ease": ("mean", {5, 6, 7}, {1, 2, 3}, "high"),
    "csat5": ("top2", {4, 5}, {1, 2}, "high"),
    "csat10": ("top2", {9, 10}, {1, 2}, "high"),
    "sat5": ("distribution", {4, 5}, {1, 2}, "high"),
    "repeat_intent": ("top2", {4, 5}, {1, 2}, "high"),
    "affinity": ("mean", {4, 5}, {1, 2}, "high"),
    "expect_gap": ("net", {4, 5}, {1, 2}, "high"),
    "delight": ("top2", {4, 5}, set(), "high"),
    "exp_support": ("mean", {4, 5}, {1, 2}, "high"),
}


@pytest.mark.parametrize("name", sorted(SCORING))
def test_an_instrument_is_scored_by_its_standard_sets(library: Library, name: str) -> None:
    instrument = library.instruments[name]
    scored = (instrument.statistic, set(instrument.positive), set(instrument.negative), instrument.better)
    assert scored == SCORING[name]


def test_the_feelings_are_those_of_the_standard_with_none_exclusive_and_other_in_words(library: Library) -> None:
    emotion = library.instruments["emotion"]
    codes = ["relief", "pride", "excitement", "liking", "empathy", "trust", "support", "none", "other"]
    assert [choice.value for choice in emotion.choices] == codes
    assert (emotion.exclusive, emotion.other, emotion.shuffle, emotion.feelings) == ("none", "other", True, True)


def test_all_fourteen_touchpoints_can_be_asked_about(library: Library) -> None:
    known = {name.removeprefix("exp_") for name in library.instruments if name.startswith("exp_")}
    assert known == {
        "product",
        "price",
        "info",
        "site",
        "checkout",
        "delivery",
        "packaging",
        "response",
        "support",
        "trouble",
        "followup",
        "consistency",
        "story",
        "community",
    }


def test_a_wording_id_names_one_wording_of_one_instrument(library: Library) -> None:
    wordings = [instrument.wording for instrument in library.instruments.values()]
    assert len(set(wordings)) == len(wordings)
    for instrument in library.instruments.values():
        assert instrument.wording.startswith(f"{instrument.id}.")


# -------------------------------------------------------------------------------------------------- flows


@pytest.mark.parametrize(
    ("flow_id", "kind", "asked"),
    [
        ("after_purchase", "transactional", "sat5 nps reason affinity emotion pay_more expect_gap"),
        (
            "after_support",
            "transactional",
            "ces_effort sat5 reason exp_response exp_support exp_trouble exp_consistency",
        ),
        ("unboxing", "transactional", "sat5 delight reason"),
        ("relational", "relational", "nps reason nrs affinity emotion pay_more repeat_intent repeat_intent_noswitch"),
    ],
)
def test_a_flow_asks_its_questions_in_the_standard_order(library: Library, flow_id: str, kind: str, asked: str) -> None:
    flow = library.flows[flow_id]
    assert flow.survey_kind == kind
    assert [q.instrument for q in flow.questions if not q.follows] == asked.split()


def test_pay_more_and_expect_gap_take_turns_week_by_week(library: Library) -> None:
    flow = library.flows["after_purchase"]
    assert (flow.question("pay_more").weeks, flow.question("expect_gap").weeks) == ("even", "odd")


def test_the_support_flow_asks_about_effort_in_the_support_wording(library: Library) -> None:
    assert library.flows["after_support"].question("effort").wording_id == "ces_effort.support"


def test_the_definitions_do_not_change_from_one_reading_to_the_next(library: Library) -> None:
    again = builtin_library(Rules(retry_limit=7))  # with other rules they are read anew
    assert again.flows["unboxing"] is not library.flows["unboxing"]
    assert {f.id: f.revision for f in again.flows.values()} == {f.id: f.revision for f in library.flows.values()}


def test_no_text_of_the_deck_is_anything_but_words_in_two_languages() -> None:
    for source in builtin_definitions().deck:
        for text_id, words in source.data.items():
            assert isinstance(words, dict), text_id
            assert list(words) == ["ja", "en"], text_id
            values: list[Plain] = list(words.values())
            assert all(isinstance(text, str) and text.strip() for text in values), text_id

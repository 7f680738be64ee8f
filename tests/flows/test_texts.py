"""Texts with blanks: nobody ever sees a gap, a brace or somebody else's template."""

from __future__ import annotations

import pytest

from flows.texts import Deck, Template, TextError, item_name, quote, template_problems

DECK = Deck(
    {
        "hello": {"ja": "{name?}様\nこんにちは、{brand}です。", "en": "Hi {name?},\nThis is {brand}."},
        "label.joiner": {"ja": "、", "en": ", "},
        "label.quoted": {"ja": "「{label}」", "en": '"{label}"'},
    }
)


def test_the_line_goes_when_its_value_is_missing() -> None:
    assert DECK.text("hello", "ja", {"brand": "声の店", "name": "田中"}) == "田中様\nこんにちは、声の店です。"
    assert DECK.text("hello", "ja", {"brand": "声の店"}) == "こんにちは、声の店です。"
    assert DECK.text("hello", "en", {"brand": "Koe", "name": ""}) == "This is Koe."


def test_only_the_sentence_goes_when_the_line_has_more_of_them() -> None:
    assert Template("{expires?}まで受け付けています。ご案内はこれで最後です。").fill({}) == "ご案内はこれで最後です。"
    assert Template("Until {expires?}. This is the last one.").fill({}) == "This is the last one."
    assert Template("{a?}。\n残り").fill({}) == "残り"


def test_fallback_words_stand_in() -> None:
    assert Template("{item|ご注文の商品}について").fill({}) == "ご注文の商品について"
    assert Template("{item|your order}?").fill({"item": "tea"}) == "tea?"


def test_a_required_value_that_is_missing_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TextError, match=r"text `hello` needs a value for \{brand\}"):
        DECK.text("hello", "ja", {"name": "田中"})
    with pytest.raises(TextError, match="no text `bye`"):
        DECK.text("bye", "ja")
    with pytest.raises(TextError, match="in `fr`"):
        DECK.text("hello", "fr")


def test_values_are_never_read_as_blanks() -> None:
    assert DECK.text("hello", "ja", {"brand": "{name?}", "name": "{brand}"}) == "{brand}様\nこんにちは、{name?}です。"


def test_blank_lines_of_a_text_stay() -> None:
    assert Template("一\n\n二").fill({}) == "一\n\n二"
    assert Template("{x|一}\n\n二").fill({}) == "一\n\n二"


def test_several_choices_stand_inside_one_pair_of_marks() -> None:
    assert quote(DECK, "ja", ["安心感", "誇り"]) == "「安心感、誇り」"
    assert quote(DECK, "en", ["Relief"]) == '"Relief"'
    assert quote(DECK, "ja", []) == ""


@pytest.mark.parametrize("raw", ["{", "}", "{ name }", "{}", "{日本}", "{a|b", "   "])
def test_a_broken_blank_is_found(raw: str) -> None:
    assert template_problems(raw)


@pytest.mark.parametrize("raw", ["{name?}様", "{item|ご注文の商品}", "{order.item|x}", "そのまま"])
def test_a_sound_text_has_no_problem(raw: str) -> None:
    assert template_problems(raw) == []


def test_an_items_name_fits_a_sentence() -> None:
    assert item_name("【送料無料】 贈り物セット 【あす楽】") == "贈り物セット"
    assert item_name("とても長い名前の商品で二十文字を超えるもの") == "とても長い名前の商品で二十文字を超える…"
    assert len(item_name("あ" * 50)) == 20
    assert item_name("[SALE] {tea}") == "tea"
    for more in ("ほか12点", " and 12 more"):
        named = item_name("あ" * 50 + more)
        assert named == "あ" * 19 + "…" + more
        assert item_name(named) == named, "said again, it is the same"
    assert item_name("ほか2点") == ""


def test_the_deck_lists_its_texts() -> None:
    assert list(DECK.ids()) == ["hello", "label.joiner", "label.quoted"]
    assert DECK.has("hello")
    assert not DECK.has("bye")

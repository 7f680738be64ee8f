"""Turns to Slack's message calls and back: what is shown, what a click carries, and words that stay words."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from bot import buttons
from bot.channel import Ignored, Turn
from bot.slack import channel, messages, words
from bot.slack.messages import parse_action, parse_event, render_turn
from bot.slack.words import escape, plain
from bot.staff import access, card, people, reasons
from bot.standins.blocks import validate_message, validate_view
from flows.builtin import builtin_library
from flows.exchange import Ask, Choice, Media, Record, Say, Tap, Typed, Unsent
from flows.source import parse_yaml

DECK = builtin_library().deck
SESSION = "0197a3c2-1111-7000-8000-000000000001"
HOSTILE = "<!channel> <@U123> <https://evil.example|銀行> *太字* _斜体_ ~消~ `x` @here &amp; http://evil.example"
SKIP = Choice("スキップ", "@control", "skip")


def nps(**changes: Any) -> Ask:
    values: dict[str, Any] = {
        "question": "nps",
        "kind": "scale",
        "text": "声の店を友人や知人に薦める可能性はどのくらいですか？",
        "low": "0：全く薦めない",
        "high": "10：積極的に薦める",
        "choices": tuple(Choice(str(n), "nps", str(n), f"{n}点") for n in range(11)),
        "controls": (SKIP,),
        "alt": "次の質問です（2/4）",
    }
    return Ask(**{**values, **changes})


def emotion(**changes: Any) -> Ask:
    labels = ["安心感", "誇り", "ワクワク感", "好き", "共感", "信頼", "応援したい", "特にない", "その他"]
    values: dict[str, Any] = {
        "question": "emotion",
        "kind": "multi",
        "text": "購入時に感じるポジティブな感情を選んでください。（複数可）",
        "choices": tuple(Choice(label, "emotion", f"e{i}") for i, label in enumerate(labels)),
        "controls": (
            Choice("1つ外す", "@control", "remove:emotion"),
            Choice("決定", "@control", "done:emotion"),
            SKIP,
        ),
        "alt": "次の質問です（4/4）",
    }
    return Ask(**{**values, **changes})


def text_question(**changes: Any) -> Ask:
    values: dict[str, Any] = {
        "question": "reason",
        "kind": "text",
        "text": "よろしければ、その点数をつけた理由を教えてください。",
        "controls": (Choice("書かずに進む", "@control", "skip"),),
        "small": "個人情報の扱い：https://example.com/privacy_1",
        "alt": "次の質問です（3/4）",
    }
    return Ask(**{**values, **changes})


INVITATION = nps(
    question="sat",
    intro="田中様\n先日はお買い上げありがとうございました。",
    text="ギフトセットについて、どの程度満足していますか？",
    low="",
    high="",
    choices=tuple(
        Choice(label, "sat", str(5 - i))
        for i, label in enumerate(("満足", "やや満足", "どちらともいえない", "やや不満", "不満"))
    ),
    exits=(
        Choice("まだ届いていない", "@exit", "undelivered"),
        Choice("まだ使っていない", "@exit", "unused"),
    ),
    small="回答は任意です。\n個人情報の扱い：https://example.com/privacy",
    small_choices=(
        Choice("あとで答える", "@later", "later"),
        Choice("アンケートを停止", "@rights", "unsubscribe"),
    ),
    invitation=True,
)


def turn(*bubbles: Any, lang: str = "ja", **changes: Any) -> Turn:
    return Turn(session_id=SESSION, lang=lang, bubbles=bubbles, **changes)


def elements(blocks: list[Any], kind: str) -> Iterator[dict[str, Any]]:
    for block in blocks:
        for element in block.get("elements", ()):
            if element.get("type") == kind:
                yield element


def blocks_of(made: list[Any], index: int = 0) -> list[Any]:
    blocks: list[Any] = made[index].payload["args"]["blocks"]
    return blocks


def clicked(element: dict[str, Any], *, user: str = "U1", state: Any = None, **changes: Any) -> dict[str, Any]:
    """The payload Slack sends for a click on this element."""
    action = {
        "type": element["type"],
        "action_id": element["action_id"],
        "block_id": "b",
        "action_ts": "1700000000.5",
    }
    body = {
        "type": "block_actions",
        "team": {"id": "T1"},
        "user": {"id": user, "team_id": "T1"},
        "container": {"type": "message", "message_ts": "1699999999.1", "channel_id": "D1"},
        "actions": [{**action, **({"value": element["value"]} if "value" in element else {})}],
    }
    return {**body, **({"state": state} if state else {}), **changes}


# ------------------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize(
    "ask",
    [
        INVITATION,
        nps(),
        emotion(),
        emotion(chosen=("e1", "e5")),
        emotion(choices=tuple(Choice(f"選択肢{i}", "emotion", f"e{i}") for i in range(23))),
        text_question(),
        nps(kind="yes_no", choices=(Choice("はい", "nps", "yes"), Choice("いいえ", "nps", "no"))),
        nps(kind="choice", choices=tuple(Choice("長" * 200, "nps", f"c{i}") for i in range(60))),
        nps(intro=HOSTILE * 40, text=HOSTILE * 40, small=HOSTILE * 40),
    ],
)
@pytest.mark.parametrize("lang", ["ja", "en"])
def test_every_question_stays_within_the_limits_of_block_kit(ask: Ask, lang: str) -> None:
    (made,) = render_turn(turn(ask, lang=lang), "U1", DECK)
    assert validate_message(made.payload["args"]) == []
    assert made.payload["method"] == "chat.postMessage"
    assert (made.payload["open"], made.asks) == ("U1", ask.question)


def test_a_scale_of_eleven_stands_in_two_rows_of_equal_buttons() -> None:
    (made,) = render_turn(turn(nps()), "U1", DECK)
    rows = [block for block in blocks_of([made]) if block["type"] == "actions"]
    labels = [[element["text"]["text"] for element in row["elements"]] for row in rows]
    assert labels == [["0", "1", "2", "3", "4", "5"], ["6", "7", "8", "9", "10"], ["スキップ"]]
    assert all("style" not in element for row in rows for element in row["elements"])


def test_the_notification_shows_the_neutral_line_only() -> None:
    (made,) = render_turn(turn(nps(alt="次の質問です（2/4）")), "U1", DECK)
    assert made.payload["args"]["text"] == "次の質問です（2/4）"
    assert made.payload["args"]["unfurl_links"] is False
    assert made.payload["args"]["parse"] == "none"


def test_a_multi_select_is_ticked_and_then_decided_without_a_button_to_remove() -> None:
    (made,) = render_turn(turn(emotion(chosen=("e1",))), "U1", DECK)
    (boxes,) = elements(blocks_of([made]), "checkboxes")
    assert len(boxes["options"]) == 9
    assert [option["value"] for option in boxes["initial_options"]] == ["e1"]
    labels = [button["text"]["text"] for button in elements(blocks_of([made]), "button")]
    assert labels == ["決定", "スキップ"]


def test_after_an_answer_the_question_shows_the_value_and_can_be_changed() -> None:
    recorded = Record("nps", 8, label="8点")
    made = render_turn(turn(text_question(), recorded=(recorded,), shown={"nps": nps()}), "U1", DECK)
    assert [(call.payload["method"], call.updates, call.asks) for call in made] == [
        ("chat.update", "nps", ""),
        ("chat.postMessage", "", "reason"),
    ]
    updated = blocks_of(made)
    assert validate_message({"blocks": updated}) == []
    assert "✓ 8点" in json.dumps(updated, ensure_ascii=False)
    (change,) = elements(updated, "button")
    assert change["text"]["text"] == "変更"

    again = messages.choices_again(change["value"], updated)
    assert again is not None
    assert validate_message({"blocks": again}) == []
    taps = [buttons.parse(button["value"]) for button in elements(again, "button")]
    assert taps == [buttons.Button(SESSION, "nps", str(n)) for n in range(11)]
    assert "薦める可能性" in json.dumps(again, ensure_ascii=False)


def test_a_changed_multi_select_comes_back_ticked_and_can_be_decided() -> None:
    recorded = Record("emotion", ("e0", "e4"), label="「安心感、共感」")
    (made,) = render_turn(turn(recorded=(recorded,), shown={"emotion": emotion()}), "U1", DECK)
    (change,) = elements(blocks_of([made]), "button")
    again = messages.choices_again(change["value"], blocks_of([made]))
    assert again is not None
    assert validate_message({"blocks": again}) == []
    (boxes,) = elements(again, "checkboxes")
    assert [option["value"] for option in boxes["initial_options"]] == ["e0", "e4"]
    assert [button["action_id"] for button in elements(again, "button")] == [messages.DONE]


def test_an_answered_question_whose_wording_is_not_at_hand_still_shows_the_answer() -> None:
    (made,) = render_turn(turn(recorded=(Record("nps", 8, label="8点"),)), "U1", DECK)
    assert "ご回答：8点" in json.dumps(blocks_of([made]), ensure_ascii=False)
    assert list(elements(blocks_of([made]), "button")) == []


def test_a_skipped_question_says_so() -> None:
    recorded = Record("nps", None, missing="skipped")
    (made,) = render_turn(turn(recorded=(recorded,), shown={"nps": nps()}, lang="en"), "U1", DECK)
    assert "✓ Skipped" in json.dumps(blocks_of([made]), ensure_ascii=False)


def test_a_change_button_made_by_somebody_else_changes_nothing() -> None:
    for value in (
        "",
        "{}",
        "[1]",
        '{"s":1}',
        '{"s":"x","q":"nps","k":"scale","c":[1],"x":[],"e":["",""],"d":[]}',
        "[" * 2000,
    ):
        assert messages.choices_again(value, []) is None


def test_a_free_text_can_be_written_in_the_chat_or_in_a_window() -> None:
    (made,) = render_turn(turn(text_question()), "U1", DECK)
    write = next(button for button in elements(blocks_of([made]), "button") if button["action_id"] == messages.WRITE)
    view = messages.answer_view(write["value"], DECK)
    assert view is not None
    assert validate_view(view) == []
    assert view["blocks"][0]["label"]["text"].startswith("よろしければ")
    assert view["blocks"][0]["element"]["max_length"] == 1000
    sent = {
        "type": "view_submission",
        "team": {"id": "T1"},
        "user": {"id": "U1"},
        "view": {
            **view,
            "id": "V1",
            "state": {"values": {"answer": {"answer": {"value": "箱が\nつぶれて <!channel>"}}}},
        },
    }
    inbound = parse_action(sent, workspace="T1", now_ms=5)
    assert inbound is not None
    assert inbound.content == Typed("箱が\nつぶれて <!channel>")
    assert (inbound.session_id, inbound.external_id, inbound.at_ms) == (SESSION, "U1", 5)


@pytest.mark.parametrize("value", [None, "", "   ", 7, [], "x" * 5000, "a\ud800b\x00c"])
def test_a_window_sent_with_odd_words_is_survived(value: Any) -> None:
    view = messages.answer_view(json.dumps({"s": SESSION, "q": "reason", "l": "ja", "t": "理由"}), DECK)
    assert view is not None
    body = {
        "type": "view_submission",
        "user": {"id": "U1"},
        "view": {**view, "id": "V1", "state": {"values": {"answer": {"answer": {"value": value}}}}},
    }
    inbound = parse_action(body, workspace="T1", now_ms=5)
    assert inbound is not None
    match inbound.content:
        case Typed(text=text):
            assert 0 < len(text) <= 1000
            text.encode()
        case _:
            assert isinstance(inbound.content, Ignored)


# -------------------------------------------------------------------------------------------- words that stay words


def parsed_texts(value: Any) -> Iterator[str]:
    """Every text of a payload in which Slack looks for mentions, links and formats."""
    if isinstance(value, dict):
        if value.get("type") == "mrkdwn":
            yield value["text"]
        for child in value.values():
            yield from parsed_texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from parsed_texts(child)


def test_no_word_of_a_customer_becomes_a_mention_a_link_or_a_format() -> None:
    asks = (
        nps(intro=HOSTILE, text=HOSTILE, low=HOSTILE, high=HOSTILE, alt=HOSTILE),
        nps(kind="choice", choices=(Choice(HOSTILE[:60], "nps", "1"),)),
        emotion(choices=(Choice(HOSTILE[:60], "emotion", "e0"),)),
        text_question(text=HOSTILE),
    )
    recorded = (Record("nps", 8, label=HOSTILE), Record("reason", HOSTILE))
    made = render_turn(
        turn(*asks, Say(HOSTILE, (Choice(HOSTILE[:60], "@contact", "yes"),)), recorded=recorded), "U1", DECK
    )
    made += render_turn(
        turn(recorded=recorded, shown={"nps": nps(text=HOSTILE), "reason": text_question()}), "U1", DECK
    )
    for call in made:
        args = call.payload["args"]
        assert validate_message(args) == []
        assert "<" not in args["text"]
        assert args["parse"] == "none"
        assert args["link_names"] is False
        for text in parsed_texts(args["blocks"]):
            assert "evil" not in text
            assert "<!" not in text


def test_only_our_own_small_words_hold_a_link() -> None:
    (made,) = render_turn(turn(text_question()), "U1", DECK)
    assert list(parsed_texts(blocks_of([made]))) == ["個人情報の扱い：<https://example.com/privacy_1>"]


@pytest.mark.parametrize(
    ("markup", "written"),
    [
        ("R&amp;D &lt;b&gt;", "R&D <b>"),
        ("&amp;lt;", "&lt;"),
        ("<https://a.example/?x=1&amp;y=2>", "https://a.example/?x=1&y=2"),
        ("<mailto:a@b.example|a@b.example>", "a@b.example"),
        ("<tel:0312345678|03-1234-5678>", "03-1234-5678"),
        ("<@U024BE7LH> さん", "@… さん"),
        ("<@U024BE7LH|aya> <#C1|general> <!subteam^S1|@team> <!channel>", "@aya #general @team @channel"),
        (":+1:", "👍"),
        (":eight:点 :unknown:", "8点 :unknown:"),
        ("8", "8"),
        ("a\x00b\ud83d", "ab�"),
    ],
)
def test_what_somebody_wrote_is_read_once(markup: str, written: str) -> None:
    assert plain(markup) == written


def test_escaping_survives_the_way_out_and_back() -> None:
    assert plain(escape(HOSTILE)) == HOSTILE


# ------------------------------------------------------------------------------------------------- what comes back


def test_every_button_of_a_question_comes_back_as_the_tap_it_stands_for() -> None:
    (made,) = render_turn(turn(INVITATION), "U1", DECK)
    taps = []
    for element in elements(blocks_of([made]), "button"):
        inbound = parse_action(clicked(element), workspace="T1", now_ms=0)
        assert inbound is not None
        assert (inbound.session_id, inbound.external_id, inbound.channel) == (SESSION, "U1", "slack")
        assert inbound.at_ms == 1_700_000_000_500
        taps.append(inbound.content)
    wanted = (*INVITATION.choices, *INVITATION.controls, *INVITATION.exits, *INVITATION.small_choices)
    assert taps == [Tap(choice.node, choice.value) for choice in wanted]


def state_of(blocks: list[Any], ticked: tuple[str, ...]) -> dict[str, Any]:
    values = {}
    for block in blocks:
        for element in block.get("elements", ()):
            if element["type"] == "checkboxes":
                chosen = [option for option in element["options"] if option["value"] in ticked]
                values[block["block_id"]] = {element["action_id"]: {"type": "checkboxes", "selected_options": chosen}}
    return {"values": values}


def test_deciding_a_multi_select_brings_all_that_is_ticked() -> None:
    many = emotion(choices=tuple(Choice(f"選択肢{i}", "emotion", f"e{i}") for i in range(12)))
    (made,) = render_turn(turn(many), "U1", DECK)
    done = next(button for button in elements(blocks_of([made]), "button") if button["action_id"] == messages.DONE)
    state = state_of(blocks_of([made]), ("e1", "e5", "e11"))
    inbound = parse_action(clicked(done, state=state), workspace="T1", now_ms=0)
    assert inbound is not None
    assert inbound.content == Tap("emotion", "e1;e5;e11;")
    nothing = parse_action(clicked(done, state=state_of(blocks_of([made]), ())), workspace="T1", now_ms=0)
    assert nothing is not None
    assert nothing.content == Tap("@control", "done:emotion")


def test_a_tick_alone_asks_nothing() -> None:
    (made,) = render_turn(turn(emotion()), "U1", DECK)
    block = next(block for block in blocks_of([made]) if "block_id" in block)
    body = clicked(block["elements"][0])
    body["actions"][0]["block_id"] = block["block_id"]
    inbound = parse_action(body, workspace="T1", now_ms=0)
    assert inbound is not None
    assert inbound.content == Ignored("checkboxes")


def test_a_click_delivered_twice_has_one_key_and_two_clicks_have_two() -> None:
    (made,) = render_turn(turn(nps()), "U1", DECK)
    button = next(elements(blocks_of([made]), "button"))
    first, second = clicked(button), clicked(button)
    second["actions"][0]["action_ts"] = "1700000001.5"
    assert messages.interaction_key(first) == messages.interaction_key(json.loads(json.dumps(first)))
    assert messages.interaction_key(first) != messages.interaction_key(second)
    assert messages.interaction_key(first) != messages.interaction_key({**first, "user": {"id": "U2"}})


@pytest.mark.parametrize("value", [None, "", "k1:x:nps:9", "other tool", 7, "k1::" + "n" * 70 + ":1"])
def test_a_button_of_somebody_else_is_none_of_the_conversation(value: Any) -> None:
    body = clicked({"type": "button", "action_id": "koe.tap.nps.9"})
    body["actions"][0]["value"] = value
    assert parse_action(body, workspace="T1", now_ms=0) is None


def message_event(**event: Any) -> dict[str, Any]:
    body = {"type": "message", "channel": "D1", "channel_type": "im", "user": "U1", "ts": "1700000000.000100"}
    return {
        "type": "event_callback",
        "team_id": "T1",
        "event_id": "Ev1",
        "event_time": 1_700_000_000,
        "event": {**body, "event_ts": "1700000000.000100", **event},
    }


def test_a_typed_answer_is_read_with_its_time_and_id() -> None:
    inbound = parse_event(message_event(text="8点です &lt;3"), workspace="T1", bot_user_id="UBOT")
    assert inbound.content == Typed("8点です <3")
    assert (inbound.event_id, inbound.external_id, inbound.message_id) == ("Ev1", "U1", "1700000000.000100")
    assert inbound.at_ms == 1_700_000_000_000


@pytest.mark.parametrize(
    ("event", "content"),
    [
        ({"text": "", "subtype": "file_share", "files": [{"mimetype": "image/png"}]}, Media("photo")),
        ({"text": "", "subtype": "file_share", "files": [{"mimetype": "application/pdf"}]}, Media("other")),
        ({"text": "箱です", "subtype": "file_share", "files": [{"mimetype": "image/png"}]}, Typed("箱です")),
        (
            {
                "subtype": "message_deleted",
                "deleted_ts": "16.1",
                "previous_message": {"user": "U1", "ts": "16.1"},
            },
            Unsent("16.1"),
        ),
        (
            {
                "subtype": "message_changed",
                "message": {"user": "U1", "ts": "16.1", "text": "9"},
                "previous_message": {"user": "U1", "ts": "16.1", "text": "8"},
            },
            Unsent("16.1", "9"),
        ),
        (
            {
                "subtype": "message_changed",
                "message": {"user": "U1", "ts": "16.1", "text": "see"},
                "previous_message": {"user": "U1", "ts": "16.1", "text": "see"},
            },
            Ignored("message.message_changed"),
        ),
        (
            {
                "subtype": "message_changed",
                "message": {"user": "UBOT", "bot_id": "B1", "ts": "16.1", "text": "new"},
                "previous_message": {"user": "UBOT", "bot_id": "B1", "ts": "16.1", "text": "old"},
            },
            Ignored("message.message_changed"),
        ),
        ({"text": "x", "bot_id": "B1"}, Ignored("message")),
        ({"text": "x", "user": "UBOT"}, Ignored("message")),
        ({"text": "x", "user": "USLACKBOT"}, Ignored("message")),
        ({"text": "x", "subtype": "bot_message"}, Ignored("message.bot_message")),
        ({"text": "x", "channel": "C1", "channel_type": "channel"}, Ignored("message")),
        ({"text": "x", "user": None}, Ignored("message")),
        ({"type": "app_home_opened"}, Ignored("app_home_opened")),
        ({"type": ["odd"], "text": 7}, Ignored("event_callback")),
    ],
)
def test_what_happens_in_a_dm_is_told_apart(event: dict[str, Any], content: Any) -> None:
    assert parse_event(message_event(**event), workspace="T1", bot_user_id="UBOT").content == content


@pytest.mark.parametrize("body", [{}, {"event": None}, {"event": []}, {"event": {"type": "message"}}, {"event_id": 7}])
def test_a_shapeless_event_is_ignored_and_still_has_a_key(body: dict[str, Any]) -> None:
    inbound = parse_event(body, workspace="T1")
    assert isinstance(inbound.content, Ignored)
    assert inbound.event_id


@pytest.mark.parametrize("module", [words, channel, messages, access, people, reasons, card])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_the_words_a_shop_puts_in_place_of_ours_reach_slacks_own_controls() -> None:
    words = """
    button.write: {ja: 文章で答える, en: Answer in writing}
    button.change: {ja: 選び直す, en: Choose again}
    button.send: {ja: 送る, en: Send it}
    button.cancel: {ja: 閉じる, en: Close}
    slack.noted: {ja: "承りました：{answer}", en: "Noted: {answer}"}
    """
    deck = builtin_library(deck=[parse_yaml(words.encode(), "words.yaml")]).deck
    (made,) = render_turn(turn(text_question()), "U1", deck)
    write = next(b for b in elements(blocks_of([made]), "button") if b["action_id"] == messages.WRITE)
    assert write["text"]["text"] == "文章で答える"
    view = messages.answer_view(write["value"], deck)
    assert view is not None
    assert (view["submit"]["text"], view["close"]["text"]) == ("送る", "閉じる")
    (update,) = render_turn(turn(recorded=(Record("nps", 8, label="8"),), shown={"nps": nps()}, lang="en"), "U1", deck)
    assert "Choose again" in json.dumps(update.payload["args"]["blocks"])
    (bare,) = render_turn(turn(recorded=(Record("nps", 8, label="8点"),)), "U1", deck)
    assert "承りました：8点" in json.dumps(bare.payload["args"]["blocks"], ensure_ascii=False)

"""What the conversation's bubbles look like in LINE, within the limits that LINE documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linebot.v3.messaging import Message

from bot import buttons
from bot.channel import JsonObject
from bot.line import validate_messages
from bot.line.messages import render_messages
from flows.exchange import Ask, Choice, Say

SESSION = "0197a3c2-1111-7000-8000-000000000001"
SKIP = Choice("スキップ", "@control", "skip")


def choices(node: str, labels: list[str], first: int = 1) -> tuple[Choice, ...]:
    return tuple(Choice(label, node, str(code)) for code, label in enumerate(labels, first))


SAT = Ask(
    question="sat",
    kind="scale",
    intro="田中様\n先日はお買い上げありがとうございました。\n5問だけ、ご感想をお聞かせください（約1分）。",
    text="タオルについて、どの程度満足していますか？",
    choices=choices("sat", ["満足", "やや満足", "どちらともいえない", "やや不満", "不満"]),
    exits=(Choice("まだ届いていない", "@exit", "undelivered"), Choice("まだ使っていない", "@exit", "unused")),
    small="回答は任意です。\n個人情報の扱い：https://example.com/privacy",
    small_choices=(
        Choice("あとで答える", "@later", "later"),
        Choice("アンケートを停止", "@rights", "unsubscribe"),
    ),
    alt="声の店：お届けした商品について（5問・約1分）",
    invitation=True,
)
NPS = Ask(
    question="nps",
    kind="scale",
    text="声の店を友人や知人に薦める可能性はどのくらいですか？",
    low="0：全く薦めない",
    high="10：積極的に薦める",
    choices=tuple(Choice(str(score), "nps", str(score), f"{score}点") for score in range(11)),
    controls=(SKIP,),
    chosen=8,
    alt="次の質問です（2/5）",
)
CES = Ask(
    question="ces",
    kind="scale",
    text="今回のお問い合わせで、手間や負担を感じましたか？",
    low="1：まったく感じなかった",
    high="7：とても感じた",
    choices=choices("ces", list("1234567")),
    controls=(SKIP,),
    alt="次の質問です（1/3）",
)
EMOTION = Ask(
    question="emotion",
    kind="multi",
    intro="選択中：「安心感」\nほかにあれば続けてお選びください。",
    text="購入時に感じるポジティブな感情を選んでください。（複数可）",
    choices=choices(
        "emotion", ["安心感", "誇り", "ワクワク感", "好き", "共感", "信頼", "応援したい", "特にない", "その他"]
    ),
    controls=(Choice("1つ外す", "@control", "remove"), Choice("決定", "@control", "done")),
    chosen=("1",),
    alt="次の質問です（4/5）",
)
PAY_MORE = Ask(
    question="pay_more",
    kind="yes_no",
    text="多少高くても利用し続けたいと思いますか？",
    choices=(Choice("はい", "pay_more", "yes"), Choice("いいえ", "pay_more", "no")),
    controls=(SKIP,),
    alt="次の質問です（5/5）",
)
REASON = Ask(
    question="reason",
    kind="text",
    intro="8点で承りました。",
    text="よろしければ、その点数をつけた理由を教えてください。",
    controls=(Choice("書かずに進む", "@control", "skip"),),
    small="お名前、電話番号などは書かなくて大丈夫です。",
    alt="次の質問です（3/5）",
)
ENGLISH = Ask(
    question="sat",
    kind="scale",
    text="How satisfied are you with your order?",
    choices=choices("sat", ["Satisfied", "Somewhat satisfied", "Neither", "Somewhat dissatisfied", "Dissatisfied"]),
    controls=(Choice("Skip", "@control", "skip"),),
    alt="Next question (1 of 5)",
)
APOLOGY = Say(
    "ご期待に沿えず、申し訳ございません。\n差し支えなければ、状況をうかがってもよろしいでしょうか。",
    (Choice("連絡を希望する", "@contact", "yes"), Choice("連絡は不要", "@contact", "no")),
)
THANKS = Say("ご回答ありがとうございました。\nいただいたご意見は、改善に役立てます。")

EVERY: dict[str, Say | Ask] = {
    "sat": SAT,
    "nps": NPS,
    "ces": CES,
    "emotion": EMOTION,
    "pay_more": PAY_MORE,
    "reason": REASON,
    "english": ENGLISH,
    "apology": APOLOGY,
    "thanks": THANKS,
}


def render(*bubbles: Say | Ask) -> list[JsonObject]:
    messages = render_messages(bubbles, SESSION, "ja")
    check(messages)
    return messages


def check(messages: list[JsonObject]) -> None:
    """What holds of everything we send: LINE's limits, and the SDK reads it without losing a field."""
    assert messages == [] or validate_messages(messages) == []
    for message in messages:
        assert Message.from_dict(message).to_dict() == message
    assert json.loads(json.dumps(messages)) == messages


def parts(component: Any) -> Iterator[JsonObject]:
    """A flex component and all in it."""
    yield component
    for inner in component.get("contents", ()):
        yield from parts(inner)


def body(message: JsonObject) -> list[JsonObject]:
    contents: list[JsonObject] = message["contents"]["body"]["contents"]
    return contents


def taps(message: JsonObject) -> list[tuple[str, str]]:
    """What can be tapped in a bubble, in its order: (node, value)."""
    found = []
    for part in parts(message["contents"]["body"]):
        if part.get("action", {}).get("type") == "postback":
            button = buttons.parse(part["action"]["data"])
            assert button is not None
            assert button.session_id == SESSION
            found.append((button.node, button.value))
    return found


def words(message: JsonObject) -> list[str]:
    return [part["text"] for part in parts(message["contents"]["body"]) if part["type"] == "text"]


def labels(message: JsonObject) -> list[str]:
    return [item["action"]["label"] for item in message["quickReply"]["items"]]


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_of_bubble_is_within_lines_limits_and_survives_the_sdk(name: str) -> None:
    [message] = render(EVERY[name])
    assert message["type"] == ("text" if name in ("reason", "thanks") else "flex")


def test_nps_is_two_rows_of_cells_that_all_look_alike() -> None:
    [message] = render(NPS)
    rows = [
        part for part in body(message) if part["type"] == "box" and any("action" in cell for cell in part["contents"])
    ]
    numbers = [[cell["contents"][0]["text"] for cell in row["contents"] if cell["contents"]] for row in rows[:2]]
    assert numbers == [["0", "1", "2", "3", "4", "5"], ["6", "7", "8", "9", "10"]]
    assert {len(row["contents"]) for row in rows[:2]} == {6}, "the second row is filled up, so that cells are equal"
    looks = set()
    for row in rows[:2]:
        for cell in row["contents"]:
            if cell["contents"]:
                look = {key: value for key, value in cell.items() if key not in ("action", "contents")}
                look |= {key: value for key, value in cell["contents"][0].items() if key != "text"}
                looks.add(json.dumps(look, sort_keys=True))
    assert len(looks) == 1, "nothing marks a number, not even the present answer"


def test_the_ends_of_a_scale_are_in_words_above_it() -> None:
    [message] = render(NPS)
    assert words(message)[:4] == [NPS.text, "0：全く薦めない", "10：積極的に薦める", "0"]


def test_seven_numbers_stand_in_one_row() -> None:
    [message] = render(CES)
    assert [len(part["contents"]) for part in body(message) if part["type"] == "box"][1] == 7


def test_named_answers_are_stacked_at_full_width_and_exits_follow_below() -> None:
    [message] = render(SAT)
    assert taps(message) == [
        *[("sat", str(code)) for code in range(1, 6)],
        ("@exit", "undelivered"),
        ("@exit", "unused"),
        ("@later", "later"),
        ("@rights", "unsubscribe"),
    ]
    cells = [part for part in body(message) if part["type"] == "box" and "action" in part]
    assert len(cells) == 5
    assert words(message)[:2] == [SAT.intro, SAT.text]
    assert message["altText"] == SAT.alt


def test_the_privacy_address_opens_on_a_tap() -> None:
    [message] = render(SAT)
    [small] = [part for part in body(message) if part.get("action", {}).get("type") == "uri"]
    assert small["action"]["uri"] == "https://example.com/privacy"
    assert small["size"] == "xs"


def test_a_tap_leaves_the_customers_words_in_the_chat() -> None:
    [message] = render(NPS)
    shown = [part["action"]["displayText"] for part in parts(message["contents"]["body"]) if "action" in part]
    assert shown == [*[f"{score}点" for score in range(11)], "スキップ"]


def test_quick_replies_repeat_the_scale_and_then_the_controls() -> None:
    [message] = render(NPS)
    assert labels(message) == [*map(str, range(11)), "スキップ"]
    assert labels(render(SAT)[0])[:5] == ["満足", "やや満足", "どちらともいえない", "やや不満", "不満"]


def test_a_scale_whose_labels_would_be_cut_stays_in_the_bubble_alone() -> None:
    [message] = render(ENGLISH)
    assert labels(message) == ["Skip"], "'Somewhat dissatisfied' has 21 characters"
    assert "Somewhat dissatisfied" in words(message)


def test_a_multi_select_shows_what_is_left_and_how_to_end_it() -> None:
    [message] = render(EMOTION)
    assert taps(message) == [
        *[("emotion", str(code)) for code in range(2, 10)],
        ("@control", "remove"),
        ("@control", "done"),
    ]


def test_a_text_question_is_plain_text_with_its_controls_as_quick_replies() -> None:
    [message] = render(REASON)
    assert message["text"] == f"{REASON.intro}\n\n{REASON.text}\n\n{REASON.small}"
    assert labels(message) == ["書かずに進む"]


def test_what_is_said_with_choices_can_be_tapped_on_a_pc_too() -> None:
    [message] = render(APOLOGY)
    assert taps(message) == [("@contact", "yes"), ("@contact", "no")]
    assert message["altText"] == "ご期待に沿えず、申し訳ございません。"
    assert labels(message) == ["連絡を希望する", "連絡は不要"]


def test_two_bubbles_are_one_call_with_the_quick_replies_of_the_last() -> None:
    messages = render(THANKS, NPS)
    assert ["quickReply" in message for message in messages] == [False, True]
    messages = render(APOLOGY, THANKS)
    assert ["quickReply" in message for message in messages] == [False, False]


def test_at_most_five_messages_and_none_for_nothing() -> None:
    assert len(render(*[THANKS] * 9)) == 5
    assert render_messages([], SESSION, "ja") == []
    assert render_messages([Say("")], SESSION, "ja") == []


def test_the_notification_line_is_short_and_never_the_question() -> None:
    long = Ask(question="q", kind="yes_no", text="x", choices=PAY_MORE.choices, alt="あ" * 60)
    assert len(render(long)[0]["altText"]) == 40
    none = Ask(question="q", kind="yes_no", text="内緒の質問", choices=PAY_MORE.choices)
    assert render(none)[0]["altText"] == "次の質問です"


def test_a_choice_longer_than_a_bubble_becomes_plain_text_that_still_asks() -> None:
    many = tuple(Choice("とても長い選択肢の言葉" * 3, "q", "x" * 80, "あ" * 250) for _ in range(60))
    [message] = render(Ask(question="q", kind="choice", text="どれですか？", choices=many, controls=(SKIP,), alt="a"))
    assert message["type"] == "text"
    assert message["text"].startswith("どれですか？\n・とても長い")
    assert labels(message) == ["スキップ"]


PAYLOADS = [
    "<!channel> *bold* <script>alert(1)</script>",
    "{name} {{x}} $ (love) \\u0000",
    '=cmd|" /C calc"!A0 "\'\\',
    "\u202e逆さま\u200b",
    "👨‍👩‍👧‍👦" * 30 + "🇯🇵" * 30 + "e\u0301" * 30,
    "a\x00b\ud800c\r\nd\x07",
    "𠮷" * 6000,
    " \n ",
    "",
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_a_customers_words_are_data_wherever_they_stand(payload: str) -> None:
    choice = Choice(payload or "x", "q", "v", payload)
    ask = Ask(
        question="q",
        kind="choice",
        intro=payload,
        text=payload,
        low=payload,
        high=payload,
        choices=(choice, choice),
        controls=(choice,),
        exits=(choice,),
        small=payload,
        small_choices=(choice,),
        alt=payload,
    )
    render(ask)
    render(Say(payload))
    render(Say(payload, (choice,)))
    render(Ask(question="q", kind="text", text=payload, intro=payload))


texts = st.text(max_size=60) | st.sampled_from(PAYLOADS)
some_choices = st.lists(
    st.builds(
        Choice,
        texts,
        st.sampled_from(["q", "@exit", "@rights"]),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20),
        texts,
    ),
    max_size=15,
).map(tuple)
asks = st.builds(
    Ask,
    question=st.just("q"),
    kind=st.sampled_from(["scale", "choice", "multi", "yes_no", "text"]),
    text=texts,
    intro=texts,
    low=texts,
    high=texts,
    choices=some_choices,
    controls=some_choices,
    exits=some_choices,
    small=texts,
    small_choices=some_choices,
    chosen=st.none() | st.integers(0, 10) | st.lists(st.text(max_size=3)).map(tuple),
    alt=texts,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(asks | st.builds(Say, texts, some_choices), max_size=3))
def test_any_bubbles_are_within_lines_limits(bubbles: list[Say | Ask]) -> None:
    messages = render_messages(bubbles, SESSION, "en")
    assert messages == [] or validate_messages(messages) == []
    for message in messages:
        assert Message.from_dict(message).to_dict() == message


# What the limits are, one breach each (platforms: R#message-objects, R#action-objects).

_POSTBACK = {"type": "postback", "label": "a", "data": "d"}


def _flex(component: JsonObject, **more: Any) -> JsonObject:
    bubble = {"type": "bubble", "body": {"type": "box", "layout": "vertical", "contents": [component]}}
    return {"type": "flex", "altText": "a", "contents": bubble} | more


def _quick(*actions: JsonObject) -> JsonObject:
    return {"type": "text", "text": "a", "quickReply": {"items": [{"type": "action", "action": a} for a in actions]}}


BREACHES: dict[str, tuple[list[JsonObject], str]] = {
    "no message": ([], "messages: 0"),
    "six messages": ([{"type": "text", "text": "a"}] * 6, "messages: 6"),
    "empty text": ([{"type": "text", "text": ""}], "messages[0].text: 0"),
    "no text": ([{"type": "text"}], "messages[0].text: missing"),
    "text of 5001": ([{"type": "text", "text": "a" * 5001}], "5001 of 1 to 5000"),
    "text of 2501 emoji": ([{"type": "text", "text": "🍎" * 2501}], "5002 of 1 to 5000"),
    "unknown message": ([{"type": "imagemap"}], "messages[0].type"),
    "no quick reply": ([_quick()], "items: 0"),
    "14 quick replies": ([_quick(*[_POSTBACK] * 14)], "items: 14"),
    "quick reply without label": ([_quick({"type": "postback", "data": "d"})], "label: missing"),
    "quick reply label of 21": ([_quick(_POSTBACK | {"label": "a" * 21})], "21 of 1 to 20"),
    "postback without data": ([_quick({"type": "postback", "label": "a"})], "data: missing"),
    "postback data of 200 emoji": ([_quick(_POSTBACK | {"data": "🍎" * 151})], "302 of 1 to 300"),
    "display text of 301": ([_quick(_POSTBACK | {"displayText": "a" * 301})], "301 of 1 to 300"),
    "display text and text": ([_quick(_POSTBACK | {"displayText": "a", "text": "a"})], "together"),
    "message action of 301": ([_quick({"type": "message", "label": "a", "text": "a" * 301})], "301 of 1 to 300"),
    "javascript": ([_quick({"type": "uri", "label": "a", "uri": "javascript:alert(1)"})], "not http"),
    "address of 1001": ([_quick({"type": "uri", "label": "a", "uri": "https://" + "a" * 993})], "1001 of 1 to 1000"),
    "unknown action": ([_quick({"type": "camera", "label": "a"})], "camera"),
    "altText of 1501": ([_flex({"type": "text", "text": "a"}, altText="a" * 1501)], "1501 of 1 to 1500"),
    "empty flex text": ([_flex({"type": "text", "text": ""})], "text: empty"),
    "flex button without action": ([_flex({"type": "button"})], "action: missing"),
    "flex button label of 41": ([_flex({"type": "button", "action": _POSTBACK | {"label": "a" * 41}})], "41 of 1"),
    "bubble of 30 KB": ([_flex({"type": "text", "text": "あ" * 10_000})], "of 30000"),
    "empty bubble": ([{"type": "flex", "altText": "a", "contents": {"type": "bubble"}}], "needs a block"),
    "no contents": ([{"type": "flex", "altText": "a"}], "contents: missing"),
    "13 bubbles": (
        [_flex({}, contents={"type": "carousel", "contents": [_flex({"type": "text", "text": "a"})["contents"]] * 13})],
        "13 bubbles",
    ),
}


@pytest.mark.parametrize("name", BREACHES)
def test_the_validator_names_each_breach(name: str) -> None:
    messages, expected = BREACHES[name]
    assert any(expected in problem for problem in validate_messages(messages)), validate_messages(messages)


@pytest.mark.parametrize(
    "label", ["👨‍👩‍👧‍👦" * 20, "🇯🇵" * 20, "e\u0301" * 20, "👍🏽" * 20, "9\ufe0f\u20e3" * 20], ids=range(5)
)
def test_labels_are_counted_as_a_reader_counts(label: str) -> None:
    assert validate_messages([_quick(_POSTBACK | {"label": label})]) == []
    assert validate_messages([_quick(_POSTBACK | {"label": label + "a"})]) != []

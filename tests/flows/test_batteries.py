"""The items of indices: their wording, the rules of a battery, and how they are asked."""

from __future__ import annotations

import pytest

from flows.builtin import builtin_library
from flows.source import DefinitionErrors, parse_yaml
from flows.survey import Library

STATEMENTS = {
    "jcsi6_e1": "総合的な質が高いと期待していた",
    "jcsi6_e2": "自分の要望に応えてくれると期待していた",
    "jcsi6_e3": "不足や不具合が起きるだろうと思っていた",
    "jcsi6_q1": "総合的に優れている",
    "jcsi6_q2": "いつも安定した品質で利用できた",
    "jcsi6_q3": "自分の要望に応えてくれた",
    "jcsi6_q4": "不足や不具合がよくあった",
    "jcsi6_v1": "支払った金額のわりに質が良い",
    "jcsi6_v2": "かけた金額や手間に見合っていた",
    "jcsi6_v3": "同業他社と比べてお得だ",
    "jcsi6_s1": "全体として満足している",
    "jcsi6_s2": "選んで良かった",
    "jcsi6_s3": "生活や仕事の充実に役立っている",
    "jcsi6_r1": "商品の良さを人に好意的に話したい",
    "jcsi6_r2": "会社としての対応を人に好意的に話したい",
    "jcsi6_r3": "担当者・窓口の対応を人に好意的に話したい",
    "jcsi6_r4": "情報や説明のわかりやすさを人に好意的に話したい",
    "jcsi6_l1": "もっと幅広い目的で利用したい",
    "jcsi6_l2": "これからも利用し続けたい",
    "jcsi6_l3": "これまでより頻繁に利用したい",
    "jcsi6_l4": "次回も第一候補にしたい",
    "cx11_l1": "全体として満足している",
    "cx11_l2": "これからも選び続けたい",
    "cx11_l3": "身近な人に薦めたい",
    "cx11_a1": "言うことを信用できる",
    "cx11_a2": "告げたとおりに実行している",
    "cx11_a3": "誰に対しても公平に対応している",
    "cx11_a4": "困ったときも納得できる形で対応してくれる",
    "cx11_a5": "利用者であることを人に話したくなる",
    "cx11_a6": "一人の顧客として大切に扱われている",
    "cx11_a7": "自分に合っている",
    "cx11_a8": "なくなったら困る",
    "trust6_understanding": "ご要望や事情を理解しようとしていると感じる",
    "trust6_care": "細かなところまで気を配っていると感じる",
    "trust6_promise": "約束や告知したことを守っていると感じる",
    "trust6_clarity": "条件や内容が事前にはっきり示されていると感じる",
    "trust6_honesty": "都合の悪いことも隠さず誠実に対応していると感じる",
    "trust6_recovery": "問題が起きたとき、きちんと謝罪し改善していると感じる",
}
QUESTIONS = {
    "csi3_x1": "全体としてどの程度満足していますか？",
    "csi3_x2": "期待にどの程度応えていましたか？",
    "csi3_x3": "理想の{category|お店}にどの程度近いですか？",
    "cxi6_effectiveness": "やりたいことをどの程度実現できましたか？",
    "cxi6_ease": "どの程度簡単でしたか？",
    "cxi6_emotion": "どの程度気持ちよく利用できましたか？",
    "cxi6_retention": "これからも利用を続けますか？",
    "cxi6_enrichment": "利用を増やしたいと思いますか？",
    "cxi6_advocacy": "人に薦めますか？",
}


@pytest.fixture(scope="module")
def library() -> Library:
    return builtin_library()


def test_every_item_has_its_standard_wording_and_scale(library: Library) -> None:
    items = {name: found for name, found in library.instruments.items() if found.battery is not None}
    assert items.keys() == {*STATEMENTS, *QUESTIONS}
    for name, instrument in items.items():
        statement = STATEMENTS.get(name)
        assert instrument.text.ja == (f"{{brand}}について：{statement}" if statement else QUESTIONS[name])
        assert (instrument.low, instrument.high) == (1, 10 if name.startswith(("jcsi6", "csi3")) else 5)
        assert instrument.wording == f"{name}.own"
        if statement:
            assert instrument.anchors is not None
            assert (instrument.anchors.low.ja, instrument.anchors.high.ja) == (
                "まったくそう思わない",
                "とてもそう思う",
            )
            assert instrument.label_set == ("agree10" if name.startswith("jcsi6") else "agree5")


def test_the_reversed_items_are_the_two_about_shortcomings(library: Library) -> None:
    turned = {name for name, found in library.instruments.items() if found.battery and found.battery.reverse}
    assert turned == {"jcsi6_e3", "jcsi6_q4"}
    assert {library.instruments[name].better for name in turned} == {"low"}


@pytest.mark.parametrize(
    ("flow_id", "asked"),
    [
        ("csi3", "csi3_x1 csi3_x2 csi3_x3 reason"),
        ("cxi6", "cxi6_effectiveness cxi6_ease cxi6_emotion cxi6_retention cxi6_enrichment cxi6_advocacy"),
        (
            "trust6",
            "trust6_understanding trust6_care trust6_promise trust6_clarity trust6_honesty trust6_recovery",
        ),
    ],
)
def test_a_battery_is_asked_in_its_order_in_one_relational_survey(library: Library, flow_id: str, asked: str) -> None:
    flow = library.flows[flow_id]
    assert flow.survey_kind == "relational"
    assert [question.instrument for question in flow.questions] == asked.split()


@pytest.mark.parametrize(
    ("flow_id", "sessions"),
    [
        ("jcsi6", ("e1 e2 e3 q1 q2 q3 q4", "s1 s2 s3 r1 r2 r3 r4", "v1 v2 v3 l1 l2 l3 l4 delight")),
        ("cx11", ("l1 l2 l3 a1 a2 a3 a4", "a5 a6 a7 a8")),
    ],
)
def test_a_long_battery_is_asked_whole_in_sessions_of_seven_items(
    library: Library, flow_id: str, sessions: tuple[str, ...]
) -> None:
    flow = library.flows[flow_id]
    assert flow.parts == len(sessions)
    for part, asked in enumerate(sessions, 1):
        assert [question.id for question in flow.questions if question.part == part] == asked.split()
    items = {found.id for found in library.instruments.values() if found.battery and found.battery.id == flow_id}
    assert items == {question.instrument for question in flow.questions} - {"delight"}


def test_the_statement_about_trouble_is_for_customers_who_had_some_in_180_days(library: Library) -> None:
    recovery = library.flows["trust6"].question("recovery").when
    assert recovery is not None
    asked = [recovery.holds({"customer.days_since_incident": days}) for days in (0, 180, 181)]
    assert asked == [True, True, False]
    assert not recovery.holds({})


OWN = """\
one:
  name: {{ja: 一, en: One}}
  kind: scale
  low: 1
  high: 5
  text: {{ja: どうでしたか？, en: How was it?}}
  battery: {{id: own, index: own{first}}}
  wording: one.own
two:
  name: {{ja: 二, en: Two}}
  kind: scale
  low: 1
  high: {high}
  text: {{ja: いかがでしたか？, en: And this?}}
  battery: {{id: own, index: own{second}}}
  wording: two.own
"""


def loaded(first: str = "", second: str = "", high: int = 5) -> Library:
    text = OWN.format(first=first, second=second, high=high)
    return builtin_library(instruments=[parse_yaml(text.encode(), "own.yaml")])


def test_a_shop_may_have_its_own_battery_with_or_without_weights() -> None:
    assert loaded().instruments["two"].battery is not None
    assert loaded(", weight: 0.4", ", weight: 0.6").instruments["one"].battery is not None


@pytest.mark.parametrize(
    ("first", "second", "high", "message"),
    [
        ("", "", 7, "own.yaml:15: an item of `own` needs the scale of `one`: 1 to 5"),
        (", weight: 0.4", "", 5, "own.yaml:7: the weights of index `own` of `own` must stand at every item"),
        (
            ", weight: 0.4",
            ", weight: 0.5",
            5,
            "own.yaml:7: the weights of index `own` of `own` must stand at every item",
        ),
        (", weight: -1", ", weight: 1", 5, "greater than or equal to 0"),
        (", reversed: true", "", 5, "did you mean `reverse`?"),
    ],
)
def test_a_battery_that_cannot_be_scored_is_named_with_its_line(
    first: str, second: str, high: int, message: str
) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        loaded(first, second, high)
    assert any(message in str(problem) for problem in caught.value.problems), [*map(str, caught.value.problems)]


def test_only_a_scale_can_be_an_item() -> None:
    text = "w:\n  name: {ja: 言葉, en: Words}\n  kind: text\n  text: {ja: どうぞ。, en: Go on.}\n  wording: w.own\n"
    with pytest.raises(DefinitionErrors, match="belongs to a scale"):
        builtin_library(instruments=[parse_yaml((text + "  battery: {id: own, index: own}\n").encode(), "own.yaml")])

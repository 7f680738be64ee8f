"""Definition files: what is wrong with them is said with file and line, all of it at once."""

from __future__ import annotations

import pytest
from talks import library

from flows.builtin import builtin_library
from flows.definitions import flow_json_schema
from flows.flow import Course, Rules
from flows.source import DefinitionErrors, parse_yaml
from flows.survey import load_library

GOOD = """\
id: visit
survey_kind: transactional
touchpoint: visit
invite: inv.purchase
questions:
  - {id: sat, instrument: sat5, vars: {item: {ja: ご来店, en: your visit}}}
  - {id: nps, instrument: nps}
  - id: gift
    type: choice
    text: {ja: "贈り物としてのご購入でしたか？", en: Was this a gift?}
    choices: [{value: yes, text: {ja: はい, en: "Yes"}}, {value: no, text: {ja: いいえ, en: "No"}}]
    when: {sat: {gte: 3}}
endings: [{when: unhappy, say: end.apology}, {say: end.middle}]
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(DefinitionErrors) as caught:
        library().read_flow(parse_yaml(text.encode(), "visit.yaml"))
    return [str(problem) for problem in caught.value.problems]


def test_a_good_flow_is_read() -> None:
    flow = library().read_flow(parse_yaml(GOOD.encode(), "visit.yaml"))
    assert [question.id for question in flow.questions] == ["sat", "nps", "gift"]
    gift = flow.question("gift")
    assert gift.codes == ("yes", "no")
    assert gift.instrument == ""
    assert gift.wording_id.startswith("gift.")
    assert flow.question("nps").scale == (0, 10)
    assert flow.question("nps").label_of("8", "ja") == "8点"
    assert flow.question("sat").label_of("4", "en") == "Somewhat satisfied"
    assert flow.question("gift").label_of("", "ja") == "回答なし"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("touchpoint: visit", "touchpint: visit", "visit.yaml:3: unknown key `touchpint`; did you mean `touchpoint`?"),
        ("instrument: nps", "instrument: nps, kind: scale", "visit.yaml:7: the key `kind` does not belong here"),
        ("instrument: nps", "instrument: npx", "visit.yaml:7: unknown instrument `npx`; did you mean `nps`?"),
        ("instrument: nps", "instrument: nps, variant: friends", "visit.yaml:7: `nps` has no variant `friends`"),
        (
            "invite: inv.purchase",
            "invite: inv.purchas",
            "visit.yaml:4: the copy deck has no text `inv.purchas`; did you",
        ),
        (", en: Was this a gift?", "", "visit.yaml:10: the translation `en` is missing"),
        ("{sat: {gte: 3}}", "{sta: {gte: 3}}", "visit.yaml:12: question `gift` depends on `sta`, and there is no such"),
        (
            "{sat: {gte: 3}}",
            "{gift: yes}",
            "visit.yaml:12: question `gift` depends on `gift`, which is not asked before",
        ),
        ("{sat: {gte: 3}}", "{sat: {gte: 9}}", "visit.yaml:12: question `gift` is never asked: its `when` cannot hold"),
        ("{sat: {gte: 3}}", "{sat: {above: 3}}", "visit.yaml:12: `when`: `sat`: unknown comparison `above`"),
        ("{sat: {gte: 3}}", "{sat: 5, nps: [1, 2], all: []}", "visit.yaml:12: `when`: `all` needs a list"),
        ("{id: nps,", "{id: sat,", "visit.yaml:7: two questions are called `sat`"),
        (", {say: end.middle}", "", "visit.yaml:13: the last ending must have no `when`"),
        ("{when: unhappy, say: end.apology}", "{say: end.warm}", "visit.yaml:13: this ending is never reached"),
        ("{when: unhappy,", "{when: {npps: 3},", "visit.yaml:13: an ending depends on `npps`"),
        ("survey_kind: transactional", "survey_kind: yearly", "visit.yaml:2: `survey_kind`: Input should be"),
        ("type: choice", "type: choice\n    low: 3", "visit.yaml:8: `low`, `high` and `labels` belong to a scale"),
        ("贈り物としての", "{gift_name}としての", "visit.yaml:10: unknown blank {gift_name} in `gift`"),
        (
            "贈り物としての",
            "{order.item}の",
            "visit.yaml:10: {order.item} may be missing; write {order.item|other words}",
        ),
        ("贈り物としての", "{の", "visit.yaml:10: ja: a `{` or `}` that is not a blank"),
        ("invite:", "exits: [asleep]\ninvite:", "visit.yaml:4: the copy deck has no text `exit.asleep`"),
        ("{id: nps, instrument: nps}", "{id: nps}", "visit.yaml:7: question `nps` needs either `instrument` or `type`"),
        (
            "{id: nps, instrument: nps}",
            "{id: nps, instrument: nps, low: 1}",
            "visit.yaml:7: `nps` changes the scale of",
        ),
    ],
)
def test_each_mistake_is_named_with_its_line(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    found = problems_of(GOOD.replace(old, new, 1))
    assert any(line.startswith(problem) for line in found), found


def test_every_problem_is_reported_at_once() -> None:
    text = GOOD.replace("inv.purchase", "inv.nothing").replace("instrument: nps", "instrument: npx")
    assert len(problems_of(text)) == 2


def test_too_many_questions_are_refused() -> None:
    more = "".join(f"  - {{id: a{i}, type: yes_no, text: {{ja: 問い, en: Question}}}}\n" for i in range(3))
    found = problems_of(GOOD.replace("endings:", more + "endings:"))
    assert found == [
        "visit.yaml:5: up to 6 questions in one session, and at most 5 are allowed (free text not counted)"
    ]
    text = "".join(f"  - {{id: a{i}, type: text, text: {{ja: 問い, en: Question}}}}\n" for i in range(3))
    library().read_flow(parse_yaml(GOOD.replace("endings:", text + "endings:").encode(), "visit.yaml"))
    block = more.replace("a0, type: yes_no, text: {ja: 問い, en: Question}", "a0, instrument: exp_product")
    library().read_flow(parse_yaml(GOOD.replace("endings:", block + "endings:").encode(), "visit.yaml"))


def test_only_the_longest_path_counts() -> None:
    more = "".join(
        f"  - {{id: a{i}, type: yes_no, text: {{ja: 問い, en: Question}}, when: {{sat: {i % 5 + 1}}}}}\n"
        for i in range(10)
    )
    flow = library().read_flow(parse_yaml(GOOD.replace("endings:", more + "endings:").encode(), "visit.yaml"))
    assert flow.longest(Course(), {}, lambda question: True) == 5


def test_effort_and_ease_are_never_both_asked() -> None:
    both = "  - {id: effort, instrument: ces_effort}\n  - {id: ease, instrument: ces_ease}\n"
    assert any(
        "effort and ease are both asked" in line for line in problems_of(GOOD.replace("endings:", both + "endings:"))
    )
    apart = both.replace("ces_effort}", "ces_effort, when: {shop.ease: {ne: true}}}")
    apart = apart.replace("ces_ease}", "ces_ease, when: {shop.ease: true}}")
    library().read_flow(parse_yaml(GOOD.replace("endings:", apart + "endings:").encode(), "visit.yaml"))


def test_the_same_flow_twice_is_a_problem_in_one_library_and_a_replacement_over_the_built_in_one() -> None:
    text = GOOD.replace("id: visit", "id: unboxing")
    first, second = parse_yaml(text.encode(), "a.yaml"), parse_yaml(text.encode(), "b.yaml")
    with pytest.raises(DefinitionErrors, match=r"b.yaml:1: flow `unboxing` is also defined in a.yaml"):
        builtin_library(flows=[first, second])
    assert builtin_library(flows=[first]).flows["unboxing"].touchpoint == "visit"


def test_a_shop_can_say_it_in_other_words() -> None:
    deck = parse_yaml("end.middle: {ja: ありがとうございました。, en: Thank you.}".encode(), "shop.yaml")
    flow = builtin_library(deck=[deck]).flows["unboxing"]
    assert flow.endings[-1].texts["ja"].raw == "ありがとうございました。"
    assert flow.revision != library().flows["unboxing"].revision


def test_a_deck_without_a_text_the_engine_needs_is_refused() -> None:
    with pytest.raises(DefinitionErrors, match=r"the copy deck lacks .*retry\.1"):
        load_library(deck=[], instruments=[], blocks=[], flows=[], rules=Rules())


def test_other_words_are_another_wording() -> None:
    plain = library().read_flow(parse_yaml(GOOD.encode(), "visit.yaml"))
    other = "{id: nps, instrument: nps, text: {ja: 薦めますか？, en: Recommend?}}"
    changed = library().read_flow(parse_yaml(GOOD.replace("{id: nps, instrument: nps}", other).encode(), "visit.yaml"))
    assert changed.question("nps").wording_id != plain.question("nps").wording_id
    assert changed.question("nps").instrument == "nps"
    assert changed.revision != plain.revision


def test_a_stored_definition_that_is_damaged_is_a_plain_error() -> None:
    for text in ("", "[]", "{}", "null", '{"id": "x"}'):
        with pytest.raises(ValueError, match="not a stored flow definition"):
            library().flow_from(text)


def test_the_schema_for_editors_names_every_key() -> None:
    schema = flow_json_schema()
    assert {"id", "questions", "endings", "invite"} <= set(schema["properties"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("id: 声".encode("cp932"), "f.yaml:1: not UTF-8 (it looks like Shift_JIS); save it as UTF-8"),
        ("a: 1\nb: あ".encode("euc_jp"), "f.yaml:2: not UTF-8"),
        ("id: x".encode("utf-16"), "f.yaml:1: saved as UTF-16; save it as UTF-8"),
        (b"a: 1\nb: 2\na: 3\n", "f.yaml:3: `a` stands twice (first in line 1)"),
        (b"a:\n\tb: 1\n", "f.yaml:2: a tab at the beginning of the line; indent with spaces"),
        (b"a: &x 1\nb: *x\n", "f.yaml:1: anchors (&) and aliases (*) are not used here; write the value out"),
        (b"- 1\n", "f.yaml:1: the file must hold `key: value` lines at the top"),
        (b"", "f.yaml: the file is empty"),
        (b"# only a comment\n", "f.yaml: the file is empty"),
        (b"a: 1\n---\nb: 2\n", "f.yaml:2: a second document"),
        (b"a: [" * 60, "f.yaml:1: nested deeper than 40 levels"),
        (b"a: [1, 2\n", "f.yaml:"),
        (b"a: b: c\n", "f.yaml:1: a `:` where none may stand"),
        (b"a: 1\n\x00b: 2", "f.yaml: not readable as YAML"),
        (b"a: " + b"x" * 1_000_001, "f.yaml: larger than 1,000,000 bytes"),
        (b"? [1]\n: 2\n", "f.yaml:1: a key must be a plain word"),
    ],
)
def test_a_file_that_is_no_definition_is_refused_with_its_line(data: bytes, problem: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        parse_yaml(data, "f.yaml")
    assert str(caught.value.problems[0]).startswith(problem)


def test_words_stay_words() -> None:
    source = parse_yaml(
        b"\xef\xbb\xbfa: yes\nb: no\non: 10:00\nc: 1\nd: 1.5\ne: true\nf: ~\ng: '1'\nh: 2026-11-16\n", "f.yaml"
    )
    assert source.data == {
        "a": "yes",
        "b": "no",
        "on": "10:00",
        "c": 1,
        "d": 1.5,
        "e": True,
        "f": None,
        "g": "1",
        "h": "2026-11-16",
    }
    assert source.line(("on",)) == 3
    assert source.line(("on", "deeper")) == 3


def test_every_item_knows_its_line() -> None:
    source = parse_yaml(GOOD.encode(), "visit.yaml")
    assert source.line(("questions", 2, "choices", 1)) == 11
    assert source.line(("questions", 1, "instrument")) == 7


# ------------------------------------------------------------------------------------------- everything in one go

BROKEN = """\
id: broken
survey_kind: transactional
touchpoint: visit
invite: inv.purchas
colour: red
questions:
  - {id: sat, instrument: sat55}
  - {id: nps, instrument: nsp, variant: friends}
  - {id: why, type: text, text: {ja: "なぜですか？"}}
  - id: gift
    type: choice
    text: {ja: "{order.item}は贈り物ですか？", en: A gift?}
    choices: [{value: yes, text: {ja: はい, en: "Yes"}}]
  - {id: again, instrument: affinity, when: {sat: {above: 3}}}
  - {id: more, instrument: pay_more, when: {satt: {gte: 3}}}
  - {id: never, instrument: expect_gap, when: {visits: 3}}
  - {id: late, instrument: delight, when: {all: [{order.amount: {gt: 10}}, {order.amount: {lt: 5}}]}}
  - {id: nps, instrument: nrs}
blocks: {ask: [supprt], sample: 2}
endings: [{when: {sta: 5}, say: end.nowhere}, {say: end.middle}, {say: end.warm}]
"""


def test_one_broken_flow_is_told_all_its_problems_in_one_go() -> None:
    assert problems_of(BROKEN) == [
        "visit.yaml:4: the copy deck has no text `inv.purchas`; did you mean `inv.purchase`?",
        "visit.yaml:5: unknown key `colour`",
        "visit.yaml:7: unknown instrument `sat55`; did you mean `sat5`?",
        "visit.yaml:8: unknown instrument `nsp`; did you mean `nrs`?",
        "visit.yaml:9: the translation `en` is missing",
        "visit.yaml:10: choice needs 2 to 13 choices, not 1",
        "visit.yaml:12: {order.item} may be missing; write {order.item|other words} in `gift`",
        "visit.yaml:14: `when`: `sat`: unknown comparison `above`; one of eq, ne, lt, lte, gt, gte, in, not_in",
        "visit.yaml:15: question `more` depends on `satt`, and there is no such question; did you mean `sat`?",
        "visit.yaml:16: question `never` depends on `visits`, and there is no such question (event data has a dot:"
        " order.amount)",
        "visit.yaml:17: question `late` is never asked: its `when` cannot hold",
        "visit.yaml:18: two questions are called `nps`",
        "visit.yaml:19: `sample`: Input should be less than or equal to 1",
        "visit.yaml:19: unknown block `supprt`; did you mean `support`?",
        "visit.yaml:20: an ending depends on `sta`, and there is no such question; did you mean `sat`?",
        "visit.yaml:20: the copy deck has no text `end.nowhere`; did you mean `end.wave`?",
        "visit.yaml:20: this ending is never reached: the one above has no `when`",
    ]


def test_a_condition_on_a_question_that_cannot_be_read_is_no_problem_of_its_own() -> None:
    text = GOOD.replace("instrument: sat5,", "instrument: sat55,")
    assert problems_of(text) == ["visit.yaml:6: unknown instrument `sat55`; did you mean `sat5`?"]
    assert problems_of(GOOD.replace("{sat: {gte: 3}}", "{sat: {above: 3}}")) == [
        "visit.yaml:12: `when`: `sat`: unknown comparison `above`; one of eq, ne, lt, lte, gt, gte, in, not_in"
    ]


def test_a_question_may_depend_on_the_language() -> None:
    text = GOOD.replace("{sat: {gte: 3}}", "{lang: ja}")
    assert builtin_library().read_flow(parse_yaml(text.encode(), "visit.yaml")).question("gift").when is not None


# ----------------------------------------------------------------------------------------------------------- waves

WAVE = """\
id: long
survey_kind: relational
touchpoint: relationship
invite: inv.wave
wave: {gap: 3d}
questions:
  - {id: e1, instrument: jcsi6_e1}
  - {id: s1, instrument: jcsi6_s1, part: 2}
  - {id: v1, instrument: jcsi6_v1, part: 3}
endings: [{when: {part: {lt: 3}}, say: end.wave}, {say: end.middle}]
"""


def test_a_wave_is_told_by_the_parts_of_its_questions() -> None:
    flow = builtin_library().read_flow(parse_yaml(WAVE.encode(), "visit.yaml"))
    assert flow.wave is not None
    assert (flow.parts, flow.wave.gap_ms) == (3, 3 * 86_400_000)
    assert [question.part for question in flow.questions] == [1, 2, 3]
    again = builtin_library().flow_from(flow.definition())
    assert again.revision == flow.revision
    assert again.parts == 3


SEVEN = "".join(
    f"  - {{id: x{n}, instrument: jcsi6_{item}}}\n" for n, item in enumerate(("e2", "e3", "q1", "q2", "q3", "q4", "l1"))
)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("part: 3", "part: 4", "visit.yaml:9: question `v1` is of session 4; sessions are numbered in their order"),
        (
            "endings:",
            "  - {id: l1, instrument: jcsi6_l1, part: 4}\nendings:",
            "visit.yaml:10: session 4 of a wave that may have 3",
        ),
        ("part: 2", "part: 0", "visit.yaml:8: `part`: Input should be greater than or equal to 1"),
        ("id: e1, instrument: jcsi6_e1", "id: e1, instrument: jcsi6_e1, part: 2", "visit.yaml:7: question `e1` is of"),
        ("gap: 3d", "gap: 7d", "visit.yaml:5: 3 sessions so far apart do not fit into the 14 days of a wave"),
        ("wave: {gap: 3d}\n", "", "visit.yaml:7: `part` splits a survey into sessions; say how they follow: wave:"),
        ("relational\n", "transactional\n", "visit.yaml:2: a wave is about the shop as a whole"),
        ("endings:", "blocks: {ask: brand}\nendings:", "visit.yaml:10: a survey in several sessions has no blocks"),
        (
            "part: 2}",
            "part: 2, when: {e1: {gte: 3}}}",
            "visit.yaml:8: question `s1` depends on `e1`, which is asked in another session",
        ),
        (
            "  - {id: s1",
            f"{SEVEN}  - {{id: s1",
            "visit.yaml:14: 8 items in session 1; a session of a wave asks at most 7",
        ),
    ],
)
def test_a_wave_that_cannot_be_asked_is_named_with_its_line(old: str, new: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems_of(WAVE.replace(old, new, 1))), problems_of(
        WAVE.replace(old, new, 1)
    )


def test_a_block_of_the_shop_takes_the_place_of_ours_and_a_broken_one_is_named() -> None:
    own = parse_yaml(b"support: {items: [exp_support, exp_response]}", "blocks/own.yaml")
    flow = builtin_library(blocks=[own]).flows["after_support"]
    assert [question.instrument for question in flow.questions if question.block] == ["exp_support", "exp_response"]
    broken = b"support: {when: {sat: 5}, items: [exp_suport, {instrument: exp_info, when: {nps: 3}}]}"
    with pytest.raises(DefinitionErrors) as caught:
        builtin_library(blocks=[parse_yaml(broken, "blocks/own.yaml")])
    assert sorted(str(problem) for problem in caught.value.problems) == [
        "blocks/own.yaml:1: block `support` depends on `nps`; it knows event data only (order.amount)",
        "blocks/own.yaml:1: block `support` depends on `sat`; it knows event data only (order.amount)",
        "blocks/own.yaml:1: block `support`: unknown instrument `exp_suport`; did you mean `exp_support`?",
    ]

"""The conversation's finer points, one sentence each. Whole talks stand in transcripts/."""

from __future__ import annotations

import json
import time
from datetime import date

import pytest
from talks import DATES, START_MS, VARS, Talk, library

from flows.engine import new_state, step, summary
from flows.exchange import (
    Ask,
    CaseSettled,
    Defer,
    Elapsed,
    End,
    EraseAnswers,
    NotOurs,
    OpenCase,
    Record,
    Reply,
    Retract,
    Say,
    Tap,
    Typed,
    Wake,
)
from flows.flow import Flow
from flows.source import parse_yaml
from flows.state import State


def purchase(*lines: str, lang: str = "ja") -> Talk:
    talk = Talk(library().flows["after_purchase"], lang=lang)
    for line in ("begin", *lines):
        talk.do(line)
    return talk


def own_flow(questions: str, endings: str = "[{say: end.middle}]") -> Flow:
    text = (
        "id: own\nsurvey_kind: relational\ntouchpoint: own\ninvite: inv.relational\n"
        f"questions:\n{questions}\nendings: {endings}\n"
    )
    return library().read_flow(parse_yaml(text.encode(), "own.yaml"))


def texts(outputs: list[object]) -> list[str]:
    return [output.text for output in outputs if isinstance(output, Say)]


def test_a_second_tap_of_a_trembling_finger_is_silent_and_a_later_one_is_confirmed() -> None:
    talk = purchase("tap sat 4")
    assert talk.do("tap sat 4", after=0.5) == []
    assert texts(talk.do("tap sat 4", after=60)) == ["「やや満足」で承っています。"]
    assert talk.state.at == "nps"


def test_an_older_tap_that_arrives_late_changes_nothing() -> None:
    talk = purchase("tap sat 4", "tap nps 9")
    assert talk.do("tap nps 3", after=-5) == []
    assert talk.answers == {"sat": 4, "nps": 9}


def test_words_older_than_the_question_do_not_answer_it() -> None:
    talk = purchase("tap sat 4")
    assert talk.do("type 9", after=-1) == []
    assert talk.answers == {"sat": 4}


def test_an_answer_to_the_invitation_counts_although_the_platforms_clock_is_behind() -> None:
    talk = purchase()
    assert talk.do("type こんにちは", after=-20) == [NotOurs()]
    talk.do("type 満足", after=5)
    assert talk.answers == {"sat": 5}
    long_before = purchase()
    assert long_before.do("type 満足", after=-3600) == [NotOurs()]


def test_the_skip_button_of_an_older_question_leaves_out_no_other() -> None:
    talk = purchase("tap sat 4", "tap nps 9")
    assert talk.do("tap @control skip:nps") == []
    assert talk.state.at == "reason"


def test_a_message_taken_back_goes_from_the_comment() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type はやい", "type ひみつ", "unsend m2", "timer text")
    assert talk.answers["reason"] == "はやい"
    outputs = talk.do("unsend m1")
    assert [(o.value, o.missing) for o in outputs if isinstance(o, Record)] == [(None, "skipped")]
    assert "はやい" not in talk.state.dump()
    assert talk.do("unsend m1") == []


def test_a_message_can_be_taken_back_after_the_end() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type 一", "type 二", "timer text", "type やめる")
    [again] = talk.do("unsend m1")
    assert isinstance(again, Record)
    assert again.value == "二"
    assert again.message_ids == ("m2",)


def test_each_bubble_of_a_comment_puts_its_end_off_and_a_stale_timer_does_nothing() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type 一")
    [wake] = talk.do("type 二", after=3)
    assert wake == Wake("text", talk.at_ms + 5000)
    assert talk.do("timer text", after=2) == []
    assert any(isinstance(output, Record) for output in talk.do("timer text", after=3))


def test_a_comment_keeps_a_thousand_characters() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type " + "長" * 900, "type " + "い" * 900, "timer text")
    assert len(str(talk.answers["reason"])) == 1000


def test_a_command_closes_the_comment_before_it_is_obeyed() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type とても良い", "type やめる")
    assert talk.answers["reason"] == "とても良い"
    assert talk.state.outcome == "break_off"


def test_nothing_in_particular_is_no_comment() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type 特になし")
    assert talk.answers["reason"] is None
    assert talk.state.at == "affinity"


def test_dont_know_is_kept_as_its_own_reason() -> None:
    talk = purchase("tap sat 4", "type わからない")
    assert [o.missing for o in talk.log if isinstance(o, Record)] == ["", "dk"]


def test_twenty_replies_that_are_no_answers_are_enough() -> None:
    talk = purchase("tap sat 4")
    answered = [bool(talk.do("type ヘルプ")) for _ in range(1000)]
    assert answered.count(True) == 20
    assert len(talk.state.dump()) < 2000
    assert any(isinstance(output, Record) for output in talk.do("tap nps 8")), "an answer still counts"


def test_a_person_is_told_the_words_that_could_not_be_read() -> None:
    talk = purchase("tap sat 4", "type 届いた箱の色のことで")
    outputs = talk.do("tap @control person")
    assert OpenCase("person", "届いた箱の色のことで", promised=True) in outputs


def test_a_request_typed_at_a_score_is_an_enquiry_and_the_question_waits() -> None:
    talk = purchase("tap sat 4", "type いつ届きますか")
    assert talk.state.phase == "inquiry"
    [ask] = talk.do("tap @inquiry go")
    assert isinstance(ask, Ask)
    assert ask.question == "nps"


def test_an_unhappy_answer_opens_one_case_and_its_correction_settles_it() -> None:
    talk = purchase("tap sat 1", "tap nps 0")
    assert [o for o in talk.log if isinstance(o, OpenCase)] == [OpenCase("unhappy")]
    assert CaseSettled("corrected") not in talk.do("tap sat 5")
    assert CaseSettled("corrected") in talk.do("tap nps 9")
    assert OpenCase("unhappy") in talk.do("tap nps 1")


def test_a_promise_is_kept_when_the_score_is_corrected() -> None:
    talk = purchase("tap sat 1", "type 担当者")
    assert CaseSettled("corrected") not in talk.do("tap sat 5")


def test_the_unhappy_customer_is_spared_the_questions_about_feelings_but_keeps_what_they_said() -> None:
    talk = purchase("tap sat 4", "tap nps 8", "type 特にない", "tap affinity 4", "tap emotion none")
    assert talk.state.at == "expect_gap"
    outputs = talk.do("tap sat 1")
    assert not any(isinstance(output, Retract) for output in outputs)
    assert talk.state.outcome == "completed"
    spared = purchase("tap sat 1", "tap nps 8", "type 特にない", "tap affinity 4")
    assert "emotion" not in spared.answers
    assert spared.state.contact == "offered"


def test_a_correction_takes_back_the_answers_that_are_no_longer_on_the_path() -> None:
    flow = own_flow(
        "  - {id: a, instrument: affinity}\n"
        "  - {id: b, instrument: nrs, when: {a: {gte: 3}}}\n"
        "  - {id: c, instrument: nps}"
    )
    talk = Talk(flow)
    for line in ("begin", "tap a 4", "tap b 5"):
        talk.do(line)
    outputs = talk.do("tap a 1")
    assert Retract("b") in outputs
    assert talk.answers == {"a": 1}
    talk.do("tap a 5")
    assert talk.state.at == "b"


def test_a_whole_selection_may_come_at_once() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type 特にない", "tap affinity 4")
    talk.do("tap emotion trust;relief;unknown")
    assert talk.answers["emotion"] == ("relief", "trust")
    assert talk.state.at == "expect_gap"
    again = purchase("tap sat 4", "tap nps 9", "type 特にない", "tap affinity 4", "tap emotion pride;")
    assert again.answers["emotion"] == ("pride",)


def test_nothing_chosen_is_not_an_answer() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type 特にない", "tap affinity 4")
    [ask] = talk.do("tap @control done")
    assert isinstance(ask, Ask)
    assert ask.text.startswith("まだ何も選ばれていません。")
    assert "emotion" not in talk.answers


def test_a_selection_that_was_closed_can_be_taken_up_again() -> None:
    talk = purchase(
        "tap sat 4", "tap nps 9", "type 特にない", "tap affinity 4", "tap emotion relief", "tap @control done"
    )
    [ask] = talk.do("tap emotion trust")
    assert isinstance(ask, Ask)
    assert ask.chosen == ("relief", "trust")
    [record, following] = talk.do("tap @control done")
    assert isinstance(record, Record)
    assert isinstance(following, Ask)
    assert following.intro == "「安心感」から「安心感、信頼」に変更しました。"


def test_what_was_chosen_of_one_selection_is_not_ticked_in_the_next() -> None:
    talk = Talk(own_flow("- {id: before, instrument: emotion}\n- {id: since, instrument: emotion}"))
    for line in ("begin", "tap before relief"):
        talk.do(line)
    [record, ask] = talk.do("tap @control done")
    assert isinstance(record, Record)
    assert isinstance(ask, Ask)
    assert (record.value, ask.question, ask.chosen) == (("relief",), "since", None)


def test_half_a_selection_is_kept_when_the_time_is_over() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type 特にない", "tap affinity 4", "tap emotion relief")
    outputs = talk.do("timer expire")
    assert [o.value for o in outputs if isinstance(o, Record)] == [("relief",)]
    assert outputs[-1] == End("expired")


def test_a_late_answer_is_kept_and_marked() -> None:
    talk = purchase("tap sat 4", "timer expire")
    outputs = talk.do("tap nps 9", after=86_400)
    [record] = [o for o in outputs if isinstance(o, Record)]
    assert record.late
    assert texts(outputs)[0].startswith("ありがとうございます。受付期間は過ぎていますが")
    assert talk.do("type 営業時間は何時ですか") == []


def test_an_answer_given_in_time_and_delivered_late_is_not_late() -> None:
    talk = purchase("tap sat 4", "timer expire")
    [record] = [o for o in talk.do("tap nps 9", after=-5) if isinstance(o, Record)]
    assert not record.late


def test_buttons_of_a_survey_that_was_left_say_that_it_is_closed() -> None:
    for leave in ("type やめる", "tap @exit undelivered", "stop voided", "stop opted_out"):
        talk = purchase(leave)
        assert texts(talk.do("tap sat 4"))[0].startswith("このアンケートの受付は終了しました。")
        assert talk.do("type こんにちは") == []


def test_after_stopping_the_answers_can_be_erased() -> None:
    talk = purchase("tap sat 4", "type やめる")
    assert EraseAnswers() in talk.do("tap @control erase")
    assert talk.state.answers == {}
    assert talk.do("tap @control erase") != [EraseAnswers()]
    silent = purchase("type やめる")
    assert [o.choices for o in silent.log if isinstance(o, Say)] == [()]


def test_erasure_from_outside_records_nothing_more() -> None:
    talk = purchase("tap sat 4", "tap nps 9", "type ひみつ")
    assert talk.do("stop erased") == [End("erased")]


def test_the_wish_for_contact_can_be_typed_and_changed() -> None:
    talk = purchase("tap sat 1", "tap nps 2", "type 特にない", "tap affinity 2")
    assert talk.state.contact == "offered"
    assert OpenCase("contact", promised=True) in talk.do("type 連絡を希望する")
    assert talk.do("tap @contact yes") == []
    assert CaseSettled("no_contact") in talk.do("tap @contact no")


def test_contact_is_not_offered_to_whom_a_reply_is_promised() -> None:
    talk = purchase("tap sat 1", "tap nps 2", "type 担当者", "type 特にない")
    [apology] = [o for o in talk.do("tap affinity 2") if isinstance(o, Say)]
    assert apology.text.startswith("ご期待に沿えず")
    assert not apology.text.endswith("？")
    assert apology.choices == ()
    assert talk.do("tap @contact no") == []
    corrected = purchase("tap sat 4", "tap nps 9", "type 担当者", "type 特にない", "tap affinity 4")
    for line in ("type 特にない", "tap pay_more yes"):
        if corrected.state.phase != "done":
            corrected.do(line)
    assert corrected.state.phase == "done"
    assert [o.choices for o in corrected.do("tap sat 1") if isinstance(o, Say)] == [(), ()]


def test_an_album_of_photos_is_thanked_for_once() -> None:
    talk = purchase("tap sat 4")
    assert len(texts(talk.do("photo"))) == 1
    outputs = talk.do("photo", after=1)
    assert outputs == [OpenCase("photo")]


def test_a_survey_put_off_defers_and_ends() -> None:
    assert [o for o in purchase("type あとで").log if isinstance(o, Defer | End)] == [Defer("later"), End("exited")]


def test_back_on_the_first_question_shows_the_exits_again() -> None:
    [ask] = purchase().do("type 戻る")
    assert isinstance(ask, Ask)
    assert ask.intro == "これが最初の質問です。"
    assert [choice.value for choice in ask.exits] == ["undelivered", "unused"]
    [later] = purchase("tap sat 4").do("type 戻る")
    assert isinstance(later, Ask)
    assert later.exits == ()


def test_the_reminder_comes_only_while_nothing_was_answered() -> None:
    [ask] = purchase().do("timer remind")
    assert isinstance(ask, Ask)
    assert ask.exits
    assert not ask.invitation
    assert purchase("tap sat 4").do("timer remind") == []
    assert purchase("type やめる").do("timer remind") == []


def test_the_four_words_about_rights_never_become_an_answer() -> None:
    talk = purchase("tap sat 4", "tap nps 9")
    for words in ("配信停止", "私の回答", "削除", "アンケート再開"):
        assert not any(isinstance(output, Record | Wake) for output in talk.do(f"type {words}"))


def test_each_customer_sees_the_choices_in_an_order_of_their_own_and_always_the_same_one() -> None:
    orders = set()
    for sample in range(10):
        talk = Talk(library().flows["after_purchase"], sample=sample / 10)
        for line in ("begin", "tap sat 4", "tap nps 9", "type 特にない"):
            talk.do(line)
        first = next(o for o in talk.do("tap affinity 4") if isinstance(o, Ask))
        second = next(o for o in talk.do("tap emotion relief") if isinstance(o, Ask))
        assert first.choices == second.choices
        assert [choice.value for choice in first.choices[-2:]] == ["none", "other"]
        orders.add(tuple(choice.value for choice in first.choices))
    assert len(orders) > 5


def test_earlier_answers_and_event_data_are_recalled_with_words_to_stand_in() -> None:
    flow = own_flow(
        "  - {id: nps, instrument: nps}\n"
        '  - {id: why, type: text, text: {ja: "{order.item|ご注文の商品}に{nps|点数なし}の理由は？",'
        ' en: "Why {nps|no score} for {order.item|your order}?"}}'
    )
    talk = Talk(flow, facts={"order": {"item": "お茶", "secret": "x"}})
    talk.do("begin")
    [_, ask] = talk.do("tap nps 8")
    assert isinstance(ask, Ask)
    assert ask.text == "お茶に8点の理由は？"
    assert "secret" not in talk.state.dump()
    other = Talk(flow, lang="en")
    other.do("begin")
    [_, ask] = other.do("type skip")
    assert isinstance(ask, Ask)
    assert ask.text == "Why no score for your order?"


def test_every_other_week_another_question_is_asked() -> None:
    seen = []
    for week in (date(2026, 11, 9), date(2026, 11, 16), date(2026, 11, 22), date(2026, 11, 23)):
        talk = Talk(library().flows["after_purchase"], week=week)
        for line in ("begin", "tap sat 4", "tap nps 9", "type 特にない", "tap affinity 4", "tap emotion none"):
            talk.do(line)
        seen.append(talk.state.at)
    assert seen == ["pay_more", "expect_gap", "expect_gap", "pay_more"]


def test_a_session_needs_the_values_its_own_texts_cannot_do_without() -> None:
    flow = library().flows["after_purchase"]
    with pytest.raises(ValueError, match="needs a value for brand"):
        new_state(flow, lang="ja", vars={"here": "このトーク"}, facts={})
    with pytest.raises(ValueError, match="no language `fr`"):
        new_state(flow, lang="fr", vars=VARS["ja"], facts={})
    new_state(flow, lang="ja", vars={"brand": "声の店", "here": "このトーク", "team": "窓口"}, facts={})


def test_nothing_happens_before_the_beginning_and_it_begins_once() -> None:
    talk = Talk(library().flows["after_purchase"])
    assert talk.do("type 9") == []
    assert talk.do("timer expire") == []
    assert talk.do("begin") != []
    assert talk.do("begin") == []


def test_a_state_of_another_kind_is_refused() -> None:
    for text in ("", "{}", "[]", "[2]", "null", "[1, 2]", json.dumps([1] * 25)):
        with pytest.raises(ValueError):
            State.parse(text)


def test_the_summary_says_what_was_answered_in_words() -> None:
    talk = purchase(
        "tap sat 4", "tap nps 8", "type きれいな箱でした", "timer text", "type スキップ", "tap emotion relief;trust"
    )
    assert [(given.question, given.label) for given in summary(talk.flow, talk.state)] == [
        ("sat", "やや満足"),
        ("nps", "8点"),
        ("reason", "きれいな箱でした"),
        ("affinity", ""),
        ("emotion", "安心感、信頼"),
    ]


def test_a_session_in_the_middle_survives_an_edit_of_its_flow() -> None:
    pinned = library().flows["after_purchase"].definition()
    talk = purchase("tap sat 4", "tap nps 8")
    old = library().flow_from(pinned)
    result = step(old, State.parse(talk.state.dump()), Reply(talk.at_ms + 1, Typed("9点です"), DATES["ja"], "m9"))
    assert [type(output) for output in result.outputs] == [Wake]
    result = step(old, result.state, Elapsed(talk.at_ms + 10_000, "text", DATES["ja"]))
    assert result.state.at == "affinity"


def test_a_step_is_quick_enough_for_the_hot_path() -> None:
    talk = purchase("tap sat 4")
    text = talk.state.dump()
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(100):
            step(talk.flow, State.parse(text), Reply(START_MS + 60_000, Tap("nps", "8"), DATES["ja"])).state.dump()
        best = min(best, (time.process_time() - start) / 100)
    assert best < 0.001, "a step takes some 50 µs; twenty times that is a mistake, not a slow machine"


def test_a_state_written_before_reminders_were_noted_is_still_read() -> None:
    talk = purchase("tap sat 4")
    version, *fields = json.loads(talk.state.dump())
    assert version == 2
    assert State.parse(json.dumps([1, *fields[:-1]])) == talk.state

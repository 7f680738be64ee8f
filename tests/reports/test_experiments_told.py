"""What may be told of an experiment, and when: by hand where the numbers are small, by chance where they are many."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from pencil import worked_out
from report_history import DAY_MS, NOW_MS, TOKYO, History, digest_of, monday_ms, weeks_ago

from reports.digest import DigestRule
from reports.experiments import ArmPlan, ExperimentReport, Outcome, Participant, Trial, judge, reports_of
from reports.instruments import bundled_instruments, specs_of
from reports.orders import Sent
from reports.render import render_json, render_text, render_thread
from storage.records import Event
from storage.store import Tx, open_store

SPECS = specs_of(bundled_instruments())
START_MS = monday_ms(weeks_ago(8))
WEEK_MS = 7 * DAY_MS


def trial(*arms: str, **changes: Any) -> Trial:
    metric = str(changes.get("metric", "csat5"))
    names = arms or ("A", "B")
    given: dict[str, Any] = {
        "id": "x",
        "name": {"ja": "再送か返金か", "en": "Reship or refund"},
        "touchpoint": "purchase",
        "metric": metric,
        "arms": tuple(ArmPlan(id=name, weight=1 / len(names), metric=metric, revision="r") for name in names),
        "n_per_arm": 1000,
        "start_ms": START_MS,
        "end_ms": START_MS + 8 * WEEK_MS,
        "looks": 1,
        "within_ms": None,
        "response_ms": WEEK_MS,
        "from_planning": False,
        "measurement": False,
        "asides": (),
    }
    return Trial(**{**given, **changes})


def people(arm: str, values: Mapping[object, int], *, silent: int = 0, week: int = 0) -> dict[str, Participant]:
    """Customers of an arm who came in in this week and gave these answers an hour later; some said nothing."""
    at_ms = START_MS + week * WEEK_MS
    found: dict[str, Participant] = {}
    answers = [str(value) for value, times in values.items() for _ in range(times)]
    for number, value in enumerate([*answers, *[""] * silent]):
        entered_ms = at_ms + number
        answered_ms = entered_ms + 3_600_000
        outcomes = (Outcome(answered_ms, value),) if value else ()
        found[f"{arm}{week}-{number:05}"] = Participant(arm, entered_ms, answered_ms if value else None, outcomes)
    return found


def told(plan: Trial, everybody: Mapping[str, Participant], *, weeks: float = 8) -> ExperimentReport:
    now_ms = START_MS + int(weeks * WEEK_MS)
    return judge(plan, everybody, now_ms=now_ms, tz=TOKYO, instruments=SPECS)


def numbers(found: ExperimentReport) -> list[float]:
    (contrast,) = found.primary
    return [contrast.found.delta, contrast.found.low, contrast.found.high, contrast.p_adjusted]


# ------------------------------------------------------------------------------------------ the worked examples


def test_shares_of_the_worked_example() -> None:
    both = people("A", {5: 66, 2: 49}) | people("B", {5: 84, 2: 36})
    found = told(trial(), both)
    assert (found.state, found.primary[0].real) == ("decided", True)
    assert numbers(found) == pytest.approx([12.6087, 0.3261, 24.4102, 0.0443], abs=5e-5)


def test_nets_of_the_worked_example() -> None:
    both = people("A", {9: 30, 3: 40, 8: 30}) | people("B", {10: 45, 0: 25, 7: 30})
    found = told(trial(metric="nps"), both)
    assert numbers(found) == pytest.approx([30.0, 6.9901, 52.1232, 0.0103], abs=5e-5)
    assert found.primary[0].found.z == pytest.approx(2.5671, abs=5e-5)


def test_few_answers_of_the_worked_example() -> None:
    found = told(trial(), people("A", {5: 9, 1: 1}) | people("B", {5: 4, 1: 6}))
    assert numbers(found) == pytest.approx([-50.0, -74.5936, -8.1594, 0.0573], abs=5e-5)
    assert not found.primary[0].real  # Fisher decides, though the interval leaves out zero
    assert [arm.status for arm in found.arms] == ["caution", "caution"]


def test_means_are_compared_by_welch() -> None:
    found = told(trial(metric="affinity"), people("A", {3: 20, 4: 20}) | people("B", {4: 20, 5: 20}))
    assert found.primary[0].found.method == "welch"
    assert found.primary[0].found.delta == pytest.approx(1.0)


@pytest.mark.parametrize(("counts", "state"), [((520, 480), "decided"), ((600, 480), "blocked"), ((0, 0), "few")])
def test_a_split_that_chance_does_not_explain_gives_no_result(counts: tuple[int, int], state: str) -> None:
    both = people("A", {5: counts[0]}) | people("B", {5: counts[1] // 2, 1: counts[1] - counts[1] // 2})
    found = told(trial(), both)
    assert found.state == state
    assert bool(found.primary) == (state == "decided")
    assert all((arm.score is None) == (state != "decided") for arm in found.arms)


# ------------------------------------------------------------------------------------------------ when it is told


def test_until_the_number_or_the_end_there_are_counts_only() -> None:
    both = people("A", {5: 60, 1: 40}) | people("B", {5: 90, 1: 10})
    found = told(trial(), both, weeks=7.9)
    assert found.state == "counting"
    assert [(arm.entered, arm.n, arm.score, arm.response) for arm in found.arms] == [(100, 100, None, None)] * 2
    assert (found.primary, found.response) == ((), ())
    assert told(trial(), both).state == "decided"


def test_it_is_decided_with_the_data_of_the_moment_at_which_every_arm_had_its_number() -> None:
    early = people("A", {5: 20, 1: 20}) | people("B", {5: 30, 1: 10})
    late = people("A", {5: 50}, week=2) | people("B", {1: 50}, week=2)
    plan = trial(n_per_arm=40)
    first = told(plan, early, weeks=1)
    assert first.state == "decided"
    assert [arm.n for arm in first.arms] == [40, 40]
    assert told(plan, early | late, weeks=8).primary == first.primary
    assert told(plan, people("A", {5: 200}) | people("B", {5: 39}), weeks=1).state in ("counting", "blocked")


def test_looks_share_the_level_and_are_made_with_the_data_of_their_day() -> None:
    plan = trial(looks=4)  # every second week
    early = people("A", {5: 26, 1: 24}) | people("B", {5: 36, 1: 14})
    assert told(plan, early, weeks=1.9).state == "counting"
    look = told(plan, early, weeks=2)
    assert (look.state, look.look, look.trial.confidence) == ("look", 1, 0.9875)
    assert look.primary[0].found.p < 0.05 / 1  # a single look would have called this a difference
    assert not look.primary[0].real
    # what comes between two looks changes nothing
    more = early | people("A", {1: 80}, week=2) | people("B", {5: 80}, week=2)
    assert told(plan, more, weeks=3.9).primary == look.primary
    stopped = told(plan, more, weeks=4)
    assert (stopped.state, stopped.look, stopped.primary[0].real) == ("decided", 2, True)
    # and after the stop nothing is looked at any more
    after = more | people("A", {5: 300}, week=5) | people("B", {5: 300}, week=5)
    assert told(plan, after, weeks=8).primary == stopped.primary
    assert told(plan, early, weeks=8).look == 4


def test_looks_end_without_a_difference_when_the_last_arm_has_its_number() -> None:
    plan, alike = trial(looks=4, n_per_arm=60), {5: 30, 1: 30}
    short = told(plan, people("A", alike) | people("B", {5: 29, 1: 30}), weeks=2)
    assert (short.state, short.look, short.primary[0].real) == ("look", 1, False)
    full = told(plan, people("A", alike) | people("B", alike), weeks=2)
    assert (full.state, full.look, full.primary[0].real) == ("decided", 1, False)


def test_several_treatments_are_adjusted_by_holm() -> None:
    everybody = people("A", {5: 50, 1: 50}) | people("B", {5: 66, 1: 34}) | people("C", {5: 62, 1: 38})
    found = told(trial("A", "B", "C"), everybody)
    b, c = found.primary
    assert b.p_adjusted == pytest.approx(2 * b.found.p)
    assert c.p_adjusted == pytest.approx(max(c.found.p, 2 * b.found.p))
    assert (b.real, c.real) == (True, False)


def test_an_arm_below_ten_hides_all_arms() -> None:
    found = told(trial(), people("A", {5: 40, 1: 5}) | people("B", {5: 5, 1: 4}, silent=36))
    assert found.state == "few"
    assert all(arm.score is None and arm.response is None for arm in found.arms)
    written = json.dumps(found.to_json())
    assert '"comparisons": []' in written
    assert "88.8" not in written


def test_the_response_rate_stands_beside_it_and_counts_those_whose_time_is_over() -> None:
    both = people("A", {5: 30, 1: 10}, silent=60) | people("B", {5: 40, 1: 20}, silent=40)
    both |= people("A", {}, silent=50, week=7) | people("B", {}, silent=50, week=7)
    plan = trial(end_ms=START_MS + 8 * WEEK_MS - DAY_MS)
    found = told(plan, both)
    (contrast,) = found.response
    assert [arm.ripe for arm in found.arms] == [100, 100]
    assert [arm.response.score for arm in found.arms if arm.response] == [40.0, 60.0]
    assert (contrast.found.delta, contrast.real) == (pytest.approx(20.0), True)


def test_each_customer_counts_once_with_the_latest_answer() -> None:
    both = people("A", {5: 15, 1: 15}) | people("B", {5: 15, 1: 15})
    name, person = next((name, person) for name, person in both.items() if person.outcomes[0].value == "5")
    again = replace(person, outcomes=(*person.outcomes, Outcome(person.outcomes[0].at_ms + DAY_MS, "1")))
    found = told(trial(), {**both, name: again})
    assert found.arms[0].n == 30
    assert found.arms[0].score is not None
    assert found.arms[0].score.score == pytest.approx(100 * 14 / 30)


def test_revenue_counts_purchases_in_the_time_of_each_customer_and_nothing_is_nothing() -> None:
    def bought(arm: str, amounts: list[float]) -> dict[str, Participant]:
        return {
            f"{arm}{n:03}": Participant(
                arm,
                START_MS + n,
                purchases=(
                    Sent("", START_MS + n + DAY_MS, False, amount),
                    Sent("", START_MS + n + 31 * DAY_MS, False, 9999.0),
                ),
            )
            for n, amount in enumerate(amounts)
        }

    plan = trial(metric="revenue", within_ms=30 * DAY_MS, n_per_arm=20)
    both = bought("A", [0.0, 1000.0] * 10) | bought("B", [2000.0, 4000.0] * 10)
    assert told(plan, both, weeks=4).state == "counting"  # nobody's thirty days are over
    found = told(plan, both, weeks=5)
    assert (found.state, found.form) == ("decided", "money")
    (contrast,) = found.primary
    assert contrast.found.delta == pytest.approx(2500.0)
    assert contrast.found.method == "bootstrap"
    assert contrast.real


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0, 9), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_no_score_is_ever_told_of_fewer_than_ten_or_before_a_look(a: int, b: int, weeks: float, looks: int) -> None:
    both = people("A", {5: a // 2, 1: a - a // 2}) | people("B", {5: b // 3, 1: b - b // 3})
    found = told(trial(looks=looks), both, weeks=weeks)
    shown = any(arm.score or arm.response for arm in found.arms) or bool(found.primary or found.response)
    if min(a, b) < 10 or weeks * looks < 8:
        assert not shown
    json.dumps(found.to_json(), allow_nan=False)


def test_a_look_that_adds_a_handful_is_passed_over_and_the_last_one_told_decides() -> None:
    plan = trial(looks=2)
    early = people("A", {5: 26, 1: 24}) | people("B", {5: 30, 1: 20})
    look = told(plan, early, weeks=4)
    few = early | people("A", {5: 30}, week=5) | people("B", {1: 3}, week=5)
    decided = told(plan, few)
    assert (decided.state, decided.look) == ("decided", 1)
    assert decided.arms == look.arms
    assert decided.primary == look.primary
    enough = told(plan, few | people("B", {1: 7}, week=6))
    assert (enough.look, [arm.n for arm in enough.arms]) == (2, [80, 60])


def test_response_rates_that_a_handful_joined_since_the_last_look_are_hidden() -> None:
    plan = trial(looks=2)
    early = people("A", {5: 26, 1: 24}) | people("B", {5: 30, 1: 20})
    # their week to answer is over at the end for three of B only
    late = people("A", {5: 30}, week=5) | people("B", {5: 3}, week=5) | people("B", {5: 20}, week=7)
    later = {name: replace(p, entered_ms=p.entered_ms + 2) if name.startswith("B7") else p for name, p in late.items()}
    assert [arm.ripe for arm in told(plan, early, weeks=4).arms] == [50, 50]
    decided = told(plan, early | later)
    assert [arm.n for arm in decided.arms] == [80, 73]
    assert decided.response_hidden == "sibling"
    assert not any(arm.response for arm in decided.arms)
    assert decided.response == ()


def test_a_third_arm_whose_few_could_answer_hides_the_response_rates_of_all() -> None:
    everybody = people("A", {5: 40}) | people("B", {5: 20, 1: 20}) | people("C", {5: 20}, silent=9, week=7)
    few = people("C", {5: 9})
    found = told(trial("A", "B", "C", end_ms=START_MS + 8 * WEEK_MS - DAY_MS), everybody | few)
    assert (found.state, found.response_hidden) == ("decided", "few")
    assert [arm.response for arm in found.arms] == [None] * 3
    assert [arm.score is None for arm in found.arms] == [False] * 3


@pytest.mark.parametrize("seed", range(8))
def test_no_handful_follows_from_the_looks_of_an_experiment(seed: int) -> None:
    chance = random.Random(seed)
    plan = trial(looks=2 + seed % 4)
    everybody: dict[str, Participant] = {}
    for week in range(8):
        for arm in ("A", "B"):
            everybody |= people(arm, {5: chance.choice([0, 2, 9, 12])}, silent=chance.choice([0, 3]), week=week)
    scores: list[frozenset[str]] = []
    responses: list[frozenset[str]] = []
    for week in range(1, 10):
        found = told(plan, everybody, weeks=week)
        for arm in found.arms:
            mine = {who: p for who, p in everybody.items() if p.arm == arm.id and p.entered_ms < found.until_ms}
            if arm.score:
                scores.append(
                    frozenset(w for w, p in mine.items() if p.outcomes and p.outcomes[0].at_ms < found.until_ms)
                )
                assert len(scores[-1]) == arm.n
            if arm.response:
                over = (w for w, p in mine.items() if p.entered_ms + plan.response_ms <= found.until_ms)
                responses.append(frozenset(over))
                assert len(responses[-1]) == arm.ripe
    assert worked_out(scores) == []
    assert worked_out(responses) == []


@pytest.mark.prove
@pytest.mark.parametrize("looks", [1, 2, 5])
def test_where_there_is_no_difference_all_looks_together_find_one_in_five_of_a_hundred(looks: int) -> None:
    rng = np.random.default_rng(20261116)
    rounds, per_week = 1000, 25
    false = 0
    for _ in range(rounds):
        everybody: dict[str, Participant] = {}
        for arm in ("A", "B"):
            for week in range(8):
                good = int(rng.binomial(per_week, 0.6))
                everybody |= people(arm, {5: good, 1: per_week - good}, week=week)
        found = told(trial(looks=looks), everybody)
        false += any(contrast.real for contrast in found.primary)
    # 5 % and three standard errors
    assert false / rounds <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5


# ----------------------------------------------------------------------------------------------- from the store


def history(*, wording: str = "") -> tuple[History, Trial]:
    """A hundred customers in either arm over eight weeks; B asks NPS in other words when told so."""
    h = History()
    words = {"A": "nps.1", "B": wording or "nps.1"}
    for back in range(1, 9):
        for arm, promoters in (("A", 8), ("B", 14)):
            for n in range(20):
                value = 9 if n < promoters else 5
                at_ms = monday_ms(weeks_ago(back)) + DAY_MS + n
                h.answer("nps", value, monday=weeks_ago(back), wording=words[arm], at_ms=at_ms,
                         customer=f"{arm}{back}-{n}")  # fmt: skip
    h.invite_everyone()
    h.invitations = [replace(i, experiment="x", arm=i.customer_id[0]) for i in h.invitations]
    asides = (("nps", wording, ""),) if wording else ()
    return h, trial(metric="nps", measurement=bool(wording), asides=asides)


async def test_the_digest_tells_the_result_in_both_languages(tmp_path: Path) -> None:
    h, plan = history()
    context = await digest_of(h, tmp_path, trials=[plan])
    text = render_text(context)
    assert "「再送か返金か」：結果が出ました（2026年9月21日〜2026年11月15日、A 160人・B 160人）。" in text
    # 64 of 160 against 96, and 112 against 48, by hand
    assert "A -20.0（95%信頼区間 -34.6〜-4.7、n=160）" in text
    assert "B +40.0（95%信頼区間 +25.2〜+53.3、n=160）" in text
    assert "BとA（対照）の差 +60.0ポイント（95%信頼区間 " in text
    assert "有意な差です。" in text
    assert "回答率：A 100.0%（95%信頼区間 97.3〜100.0%、n=140）" in text
    assert "A/Bテスト" not in text.split("今回ない項目", 1)[1]
    english = render_text(replace(context, language="en"))
    assert "Reship or refund: the result (21 Sep 2026 to 15 Nov 2026, A 160, B 160 customers)" in english
    assert "B against A (control): +60.0 points (95% CI " in english
    (block,) = [
        b for m in render_thread(context) for b in m["blocks"] if "A/Bテスト" in str(b) and b["type"] == "section"
    ]
    assert "「再送か返金か」" in block["text"]["text"]
    (written,) = render_json(context)["experiments"]
    assert (written["state"], written["comparisons"][0]["real"], written["arms"][1]["n"]) == ("decided", True, 160)


async def test_many_experiments_with_names_to_be_escaped_fit_into_slacks_sections(tmp_path: Path) -> None:
    h, plan = history()
    many = [plan.model_copy(update={"name": {"ja": "<" * 60, "en": "&" * 60}}) for _ in range(6)]
    context = await digest_of(h, tmp_path, trials=many)
    for found in (context, replace(context, language="en")):
        told = [b["text"]["text"] for m in render_thread(found) for b in m["blocks"] if b["type"] == "section"]
        assert sum(text.count("A/B") for text in told) == 6
        assert max(map(len, told)) <= 3000


async def test_before_the_end_the_digest_counts_and_says_so(tmp_path: Path) -> None:
    h, plan = history()
    context = await digest_of(h, tmp_path, trials=[replace_end(plan, weeks=12)])
    text = render_text(context)
    assert "「再送か返金か」：集計中（2026年12月13日まで、目標は各1,000件）" in text
    assert "A 160人、うち結果あり 160件・B 160人、うち結果あり 160件" in text
    assert "対照" not in text
    assert "still counting (until 13 Dec 2026" in render_text(replace(context, language="en"))


def replace_end(plan: Trial, *, weeks: int) -> Trial:
    return plan.model_copy(update={"end_ms": START_MS + weeks * WEEK_MS})


async def test_two_wordings_on_trial_are_never_joined_and_the_control_goes_on_leading(tmp_path: Path) -> None:
    h, plan = history(wording="nps.family")
    for n in range(30):  # this week the treatment is asked more often
        h.answer("nps", 9, wording="nps.family", customer=f"B0-{n}")
        if n < 20:
            h.answer("nps", 5, wording="nps.1", customer=f"A0-{n}")
    context = await digest_of(h, tmp_path, trials=[replace_end(plan, weeks=12)])
    assert context.primary.result.stratum.wording_id == "nps.1"
    assert context.primary.result.counts == {"5": 20 + 3 * 12, "9": 3 * 8}  # four weeks of the control alone
    (other,) = [row for row in context.rows if row.spec.id == "nps"]
    assert other.result.stratum.wording_id == "nps.family"
    assert other.result.n_valid == 30 + 3 * 20
    over = await digest_of(history(wording="nps.family")[0], over_path(tmp_path), trials=[plan])
    text = render_text(over)
    assert "聞き方の違いによる差（測定の影響）です。推移にはつなげません。" in text
    assert "this is an effect of measurement" in render_text(replace(over, language="en"))


def over_path(folder: Path) -> Path:
    (folder / "over").mkdir()
    return folder / "over"


async def test_a_digest_about_a_segment_or_another_touchpoint_tells_no_experiment(tmp_path: Path) -> None:
    h, plan = history()
    by_touchpoint = await digest_of(h, tmp_path, rule=DigestRule("d", touchpoint="support"), trials=[plan])
    assert by_touchpoint.experiments == ()
    assert "A/Bテスト" in render_text(by_touchpoint).split("今回ない項目", 1)[1]
    by_segment = await digest_of(History(), tmp_path, rule=DigestRule("d", segment="kyoto"), trials=[plan])
    assert by_segment.experiments == ()


async def test_purchases_are_read_from_events_without_what_was_cancelled(tmp_path: Path) -> None:
    h, plan = history()
    plan = plan.model_copy(update={"metric": "revenue", "within_ms": 7 * DAY_MS, "n_per_arm": 20})
    at_ms = START_MS + 2 * DAY_MS
    bodies = [
        ("B8-0", at_ms, {"amount": 1600}),
        ("B8-0", at_ms, {"amount": 700, "cancelled": True}),
        ("B8-0", at_ms, {"amount": "much"}),
        ("B8-0", at_ms, {"order": "7", "amount": "9,000円", "cancelled": "no"}),
        ("B8-0", at_ms + 1, {"order": "7", "amount": 400}),  # corrected
        ("B8-0", at_ms, {"order": "8", "amount": 10**400}),
        ("B8-0", at_ms, {"order": "9", "amount": 800}),
        ("B8-0", at_ms + 1, {"order": "9", "cancelled": True}),
        ("B8-0", START_MS, {"amount": 5000}),  # before the invitation
        ("B8-0", at_ms + 9 * DAY_MS, {"amount": 5000}),  # too late
        ("nobody", at_ms, {"amount": 5000}),
    ]
    store = await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS)
    async with store:

        def unit(tx: Tx) -> tuple[ExperimentReport, ...]:
            h.store(tx)
            for n, (customer, when, data) in enumerate(bodies):
                tx.note_event(Event(f"e{n}", "purchase", when, when, customer, json.dumps(data)))
            return reports_of(tx, [plan], now_ms=START_MS + 8 * WEEK_MS, tz=TOKYO, instruments=SPECS)

        (found,) = await store.write(unit)
    assert [(arm.n, arm.score.score) for arm in found.arms if arm.score] == [(20, 0.0), (20, 100.0)]
    assert not found.primary[0].real


async def test_a_survey_that_was_changed_while_it_ran_is_named(tmp_path: Path) -> None:
    h, plan = history()
    h.answers[0] = structs.replace(h.answers[0], revision="another")
    context = await digest_of(h, tmp_path, trials=[plan])
    assert "実施中に質問の内容が変わりました。" in render_text(context)

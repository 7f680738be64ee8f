"""Who gets which arm, and what an experiment may say of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.builtin import builtin_definitions, builtin_library
from flows.definitions import Text
from flows.experiments import (
    RESPONSE_MS,
    Experiment,
    assign,
    draw,
    measures_words,
    response_ms,
    running,
    sample_size_nets,
    sample_size_shares,
    start_of,
    treated,
)
from flows.triggers import DAY_MS, TriggerRule

TOKYO = ZoneInfo("Asia/Tokyo")
RULE = TriggerRule.model_validate({"id": "after-purchase", "on": "delivery", "flow": "after_purchase", "delay": "7d"})


def experiment(**changes: Any) -> Experiment:
    written: dict[str, Any] = {
        "id": "guarantee-2025",
        "trigger": "after-purchase",
        "metric": "nps",
        "n_per_arm": 100,
        "start": "2026-12-01",
        "end": "2026-12-31",
        "arms": [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5, "act": "refund"}],
    }
    return Experiment.model_validate({**written, **changes})


def refused(**changes: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        experiment(**changes)
    return " ".join(error["msg"] for error in raised.value.errors())


# --------------------------------------------------------------------------------------------------- assignment


@pytest.mark.parametrize(
    ("customer", "u", "arm"), [("C001", 0.727056, "B"), ("C002", 0.225002, "A"), ("C003", 0.077144, "A")]
)
def test_the_lot_of_the_worked_examples(customer: str, u: float, arm: str) -> None:
    assert draw("guarantee-2025", customer) == pytest.approx(u, abs=5e-7)
    assert assign(experiment(), customer).id == arm


@given(st.text(), st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_everybody_gets_exactly_the_arm_of_their_draw(customer: str, parts: list[int]) -> None:
    weights = [part / sum(parts) for part in parts]
    arms = [{"id": f"arm{i}", "weight": w, "act": str(i)} for i, w in enumerate(weights)]
    found = assign(experiment(arms=arms), customer)
    index = int(found.id.removeprefix("arm"))
    u = draw("guarantee-2025", customer)
    assert sum(weights[:index]) <= u
    assert u < sum(weights[: index + 1]) or index == len(weights) - 1


def test_the_lot_is_fair_and_another_experiment_draws_anew() -> None:
    both = [(draw("one", f"C{n}") < 0.5, draw("two", f"C{n}") < 0.5) for n in range(4000)]
    assert abs(sum(a for a, _ in both) - 2000) < 130  # four standard errors
    assert abs(sum(a == b for a, b in both) - 2000) < 130


def test_thirds_that_do_not_quite_add_up_leave_nobody_out() -> None:
    arms = [{"id": str(i), "weight": 0.333, "act": str(i)} for i in range(3)]
    found = experiment(arms=arms)
    assert {assign(found, f"C{n}").id for n in range(3000)} == {"0", "1", "2"}


# -------------------------------------------------------------------------------------------------- taking part


def tokyo_ms(day: int, hour: int = 0) -> int:
    return int(datetime(2026, 12, day, hour, tzinfo=TOKYO).timestamp() * 1000)


def test_it_runs_from_the_first_moment_of_its_start_to_the_last_of_its_end() -> None:
    found = experiment(end="2026-12-15")

    def at(ms: int) -> Experiment | None:
        return running([found], RULE, now_ms=ms, tz=TOKYO)

    assert at(tokyo_ms(1) - 1) is None
    assert at(tokyo_ms(1)) is found
    assert at(tokyo_ms(16) - 1) is found
    assert at(tokyo_ms(16)) is None
    assert found.days(UTC)[0] == tokyo_ms(1) + 9 * 3_600_000


def test_only_the_named_rule_or_all_rules_of_the_named_survey_take_part() -> None:
    other = RULE.model_copy(update={"id": "after-gift"})
    at_ms = tokyo_ms(2)
    assert running([experiment()], other, now_ms=at_ms, tz=TOKYO) is None
    by_flow = experiment(trigger=None, flow="after_purchase")
    assert running([by_flow], other, now_ms=at_ms, tz=TOKYO) is by_flow


def test_an_arm_changes_what_it_names_and_nothing_else() -> None:
    arms = [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5, "delay": "3d", "remind": None}]
    found = experiment(arms=arms)
    reminded = RULE.model_copy(update={"remind_ms": 3 * DAY_MS})
    a, b = (treated(reminded, arm) for arm in found.arms)
    assert a is reminded
    assert (b.delay_ms, b.remind_ms, b.at_minute, b.flow) == (3 * DAY_MS, None, None, "after_purchase")


def test_arms_that_differ_before_the_sending_count_from_the_planning() -> None:
    late = [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5, "delay": "14d"}]
    unreminded = [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5, "remind": None}]
    assert experiment().acts_early
    assert experiment(arms=late).acts_early
    assert not experiment(arms=unreminded).acts_early
    assert response_ms(experiment(arms=unreminded), [RULE]) == RESPONSE_MS
    assert response_ms(experiment(arms=late), [RULE]) == RESPONSE_MS + 15 * DAY_MS


def test_what_is_registered_tells_a_change_and_nothing_else() -> None:
    assert experiment().definition() == experiment().definition()
    assert experiment(n_per_arm=101).definition() != experiment().definition()
    assert start_of(experiment().definition()).isoformat() == "2026-12-01"
    arms = [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5, "remind": None}]
    kept = [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5, "act": "x"}]
    assert experiment(arms=arms).definition() != experiment(arms=kept).definition()


# ---------------------------------------------------------------------------------------------- what is refused


def arms_of(*weights: float) -> list[dict[str, Any]]:
    return [{"id": f"a{i}", "weight": weight, "act": str(i)} for i, weight in enumerate(weights)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arms": arms_of(0.5, 0.4)}, "the weights of the arms add up to 0.9; they must add up to 1"),
        ({"arms": [{"id": "A", "weight": 0.5}, {"id": "A", "weight": 0.5, "act": "x"}]}, "the arm A stands twice"),
        ({"arms": [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5}]}, "A and B do the same"),
        ({"arms": [{"id": "A", "weight": 0.5}]}, "at least 2 items"),
        ({"end": "2026-12-01"}, "end 2026-12-01 must come after start 2026-12-01"),
        ({"flow": "after_purchase"}, "write exactly one"),
        ({"trigger": None}, "write exactly one"),
        ({"looks": 6}, "less than or equal to 5"),
        ({"n_per_arm": None}, "say how many answers each arm needs"),
        ({"detect": {"from": 50, "to": 60}}, "n_per_arm is 100, but 385 answers per arm are needed"),
        ({"detect": {"from": 50, "change": 3}}, "write one of the three"),
        ({"detect": {"from": 50, "to": 50}}, "nothing to find"),
        ({"metric": "revenue"}, "revenue needs it"),
        ({"within": "30d"}, "other metrics have none"),
    ],
)
def test_a_mistake_is_a_sentence(changes: dict[str, Any], says: str) -> None:
    assert says in refused(**changes)


@pytest.mark.parametrize(
    ("detect", "n"),
    [
        ({"from": 50, "to": 60}, 385),
        ({"variance": 0.61, "change": 10}, 958),
        ({"variance": 0.61, "change": 20}, 240),
        ({"variance": 1.0, "change": 10}, 1570),
        ({"sd": 1.0, "change": 0.5}, 63),
    ],
)
def test_the_number_per_arm_follows_from_what_is_to_be_found(detect: dict[str, float], n: int) -> None:
    assert experiment(detect=detect, n_per_arm=None).planned_n == n


def test_sample_sizes_of_the_worked_examples() -> None:
    assert sample_size_shares(0.5, 0.6) == 385
    assert [sample_size_nets(v, d) for v, d in ((0.61, 0.1), (0.61, 0.2), (1.0, 0.1))] == [958, 240, 1570]


# -------------------------------------------------------------------------------------------- other words, or not


def test_other_words_before_or_at_the_primary_question_are_a_measurement() -> None:
    library = builtin_library()
    plain = library.flows["after_purchase"]
    (source,) = [s for s in builtin_definitions().flows if s.data["id"] == "after_purchase"]
    greeted = library.read_flow(source, {"inv.purchase": Text(ja="こんにちは。", en="Hello.")})
    assert greeted.revision != plain.revision
    assert greeted.invite["ja"].raw == "こんにちは。"
    assert library.flow_from(greeted.definition()).revision == greeted.revision
    assert not measures_words(experiment(), {"A": plain, "B": greeted})
    assert measures_words(experiment(), {"A": plain, "B": library.flows["relational"]})
    assert not measures_words(experiment(metric="response_rate"), {"A": plain, "B": library.flows["relational"]})

"""Conditions are data, and asking one never fails."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.conditions import Condition, ConditionError

FACTS: dict[str, Any] = {
    "nps": 9,
    "order.amount": 3000,
    "order": {"channel": "line", "items": 2},
    "emotion": ("relief", "trust"),
    "gift": "yes",
    "unhappy": False,
    "first": True,
    "rate": 0.5,
}


@pytest.mark.parametrize(
    "written",
    [
        {"nps": {"gte": 9}},
        {"nps": 9},
        {"nps": 9.0},
        {"nps": [8, 9]},
        {"nps": {"gt": 8, "lt": 10}},
        {"order.amount": {"gte": 3000}, "order.channel": {"not_in": ["rakuten", "amazon"]}},
        {"emotion": "trust"},
        {"emotion": {"not_in": ["none"]}},
        {"any": [{"nps": 1}, {"gift": "yes"}]},
        {"all": [{"nps": 9}, {"not": {"gift": "no"}}]},
        {"not": "unhappy"},
        "first",
        {"first": True},
        {"missing": {"ne": 3}},
        {"missing": {"not_in": [3]}},
        {"gift": {"gte": "x"}},
        {"rate": {"lt": 1}},
    ],
)
def test_it_holds(written: object) -> None:
    assert Condition.parse(written).holds(FACTS)


@pytest.mark.parametrize(
    "written",
    [
        {"nps": {"gte": 10}},
        {"missing": {"gte": 0}},
        {"missing": 0},
        {"nps": "9"},
        {"first": 1},
        {"nps": True},
        {"gift": {"lt": 5}},
        {"first": {"gte": 0}},
        {"emotion": "none"},
        {"emotion": {"ne": "trust"}},
        {"order": "line"},
        {"order.channel.deeper": "line"},
        "unhappy",
        "missing",
        {"nps": 9, "gift": "no"},
    ],
)
def test_it_does_not_hold(written: object) -> None:
    assert not Condition.parse(written).holds(FACTS)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "a condition is a mapping"),
        (3, "a condition is a mapping"),
        ([], "a condition is a mapping"),
        ({}, "without content"),
        ({"nps": {"above": 3}}, "unknown comparison `above`; one of eq, ne, lt"),
        ({"nps": {}}, "compared with nothing"),
        ({"nps": None}, "cannot be compared with nothing"),
        ({"nps": []}, "needs a list of values"),
        ({"nps": {"in": 3}}, "needs a list of values"),
        ({"nps": {"gte": True}}, "compares numbers or texts"),
        ({"nps": {"eq": {"a": 1}}}, "cannot be compared with dict"),
        ({"any": []}, "needs a list of conditions"),
        ({"all": {"nps": 3}}, "needs a list of conditions"),
        ({3: 4}, "a fact's name must be a word"),
    ],
)
def test_a_mistake_is_explained(written: object, message: str) -> None:
    with pytest.raises(ConditionError, match=message.replace("(", r"\(")):
        Condition.parse(written)


def test_endless_nesting_is_refused() -> None:
    written: dict[str, object] = {"nps": 1}
    for _ in range(50):
        written = {"not": written}
    with pytest.raises(ConditionError, match="nested deeper"):
        Condition.parse(written)


def test_it_knows_what_it_asks_about() -> None:
    condition = Condition.parse({"any": [{"nps": [8, 9]}, {"not": {"order.amount": {"gte": 1}}}], "first": True})
    assert condition.names() == {"nps", "order.amount", "first"}
    assert condition.literals("nps") == (8, 9)
    assert condition.data == {"any": [{"nps": [8, 9]}, {"not": {"order.amount": {"gte": 1}}}], "first": True}


SCALARS = st.one_of(st.booleans(), st.integers(-3, 3), st.floats(allow_nan=True), st.text(max_size=3))
VALUES = st.recursive(
    SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)
WRITTEN = st.recursive(
    st.dictionaries(
        st.sampled_from(["a", "b.c"]),
        SCALARS
        | st.lists(SCALARS, min_size=1, max_size=3)
        | st.dictionaries(st.sampled_from(["gte", "lt", "ne", "eq"]), SCALARS, min_size=1),
        min_size=1,
    ),
    lambda inner: (
        st.builds(lambda x: {"not": x}, inner)
        | st.builds(lambda x: {"any": x}, st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=6,
)


@given(WRITTEN, st.dictionaries(st.sampled_from(["a", "b.c", "b"]), VALUES))
def test_asking_never_fails_and_not_is_the_opposite(written: dict[str, object], facts: dict[str, object]) -> None:
    try:
        condition = Condition.parse(written)
    except ConditionError:
        return
    assert Condition.parse({"not": written}).holds(facts) is not condition.holds(facts)

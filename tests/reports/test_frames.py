"""Answers to tallies: the unit rule, what is never pooled, and answers of one customer that hang together."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.frames import COLUMNS, frame_of, measure_frame, tallies
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Stratum
from tests.examples import of_each_hundred

SPECS = specs_of(bundled_instruments())


def row(value: object, customer: str = "", at: int = 0, **more: object) -> dict[str, object]:
    return {"instrument": "nps", "value": value, "customer": customer, "answered_ms": at, "id": f"{at:03}", **more}


def test_a_frame_has_the_declared_columns_also_when_it_is_empty() -> None:
    for frame in (frame_of([]), frame_of([{"instrument": "nps", "value": 9, "other": "left out"}])):
        assert list(frame.columns) == list(COLUMNS)
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == dict(COLUMNS)
    assert tallies(frame_of([]), SPECS) == {}


def test_the_latest_valid_answer_of_each_customer_counts() -> None:
    frame = frame_of(
        [
            row(2, "a", 1),
            row(9, "a", 2),
            row("skip", "a", 3),
            row("x", "a", 4),
            row(10, "b", 1),
            row(3, at=5),
            row(4, at=6),
        ]
    )
    counted = tallies(frame, SPECS)[("nps", Stratum())]
    assert counted.codes == {3: 1, 4: 1, 9: 1, 10: 1}
    assert (counted.missing, counted.invalid, counted.superseded) == (1, 1, 1)


def test_a_tie_in_time_goes_to_the_highest_id() -> None:
    frame = frame_of([row(2, "a", 1, id="2"), row(9, "a", 1, id="1")])
    assert tallies(frame, SPECS)[("nps", Stratum())].codes == {2: 1}


def test_wordings_touchpoints_kinds_and_languages_stay_apart() -> None:
    frame = frame_of(
        [
            row(9, "a", 1, touchpoint="purchase"),
            row(9, "a", 2, touchpoint="support"),
            row(9, "b", 3, touchpoint="purchase", wording_id="other"),
            row(9, "c", 4, touchpoint="purchase", survey_kind="relational"),
            row(9, "d", 5, touchpoint="purchase", lang="en"),
        ]
    )
    assert [counted.n for counted in tallies(frame, SPECS).values()] == [1, 1, 1, 1, 1]


def test_languages_are_pooled_only_on_request_and_say_so() -> None:
    frame = frame_of([row(9, "a", 1, lang="ja"), row(3, "b", 2, lang="en")])
    apart = measure_frame(frame, SPECS)
    together = measure_frame(frame, SPECS, by_language=False)
    assert {result.n_valid for result in apart} == {1}
    assert together[0].n_valid == 2
    assert "mixed_lang" in together[0].flags


def test_instruments_that_nobody_defined_are_left_out() -> None:
    assert measure_frame(frame_of([row(9, instrument="unheard_of")]), SPECS) == []


def test_several_answers_of_a_customer_widen_the_interval_per_event() -> None:
    rows = [
        row(value, f"c{n}", at=10 * n + i)
        for n, value in enumerate([9, 9, 3, 8, 10, 2, 9, 7, 9, 5, 10, 1])
        for i in range(3)
    ]
    clustered = measure_frame(frame_of(rows), SPECS, unit="per_event")[0]
    assert (clustered.n_valid, clustered.ci_method) == (36, "cluster_bootstrap")
    assert "clustered" in clustered.flags
    single = measure_frame(frame_of(rows[::3]), SPECS, unit="per_event")[0]
    assert (single.ci_method, single.flags) == ("add3", ())
    assert clustered.score == pytest.approx(single.score)
    assert clustered.ci_low is not None
    assert clustered.ci_low < -5


def test_the_frame_given_is_not_changed() -> None:
    frame = frame_of([row(9, "a", 1), row(3, "a", 2)])
    before = frame.copy()
    measure_frame(frame, SPECS)
    assert frame.equals(before)


_ROWS = st.lists(
    st.tuples(
        st.sampled_from([*range(11), "", "x", "skip"]),
        st.sampled_from(["", "a", "a", "b", "c"]),
        st.integers(0, 3),
        st.sampled_from(["purchase", "support"]),
        st.sampled_from(["ja", "en"]),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=of_each_hundred(8))
@given(_ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_score(rows: list[tuple[object, ...]], chance: random.Random) -> None:
    records = [
        row(value, str(customer), int(str(at)), touchpoint=touchpoint, lang=lang, id=f"{number:03}")
        for number, (value, customer, at, touchpoint, lang) in enumerate(rows)
    ]
    shuffled = chance.sample(records, len(records))

    for unit in ("latest_per_customer", "per_event"):
        here, there = (
            {(one.variant, one.stratum): one for one in measure_frame(frame_of(given_), SPECS, unit=unit)}  # type: ignore[arg-type]
            for given_ in (records, shuffled)
        )
        assert here == there

"""The standard instruments, scored by the definitions that also ask the questions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.instruments import bundled_instruments, specs_of
from reports.metrics import (
    Result,
    Span,
    Stratum,
    captive_share,
    difference,
    measure,
    statistics_of,
    status_of,
    tally,
)  # fmt: skip

SPECS = specs_of(bundled_instruments())
NEAR = {"rel": 0, "abs": 5.1e-5}


def results(instrument: str, counts: dict[object, int]) -> dict[str, Result]:
    found = measure(SPECS[instrument], tally(SPECS[instrument], counts.items()))
    return {result.variant: result for result in found}


def one(instrument: str, values: list[object]) -> dict[str, Result]:
    found = measure(SPECS[instrument], tally(SPECS[instrument], [(value, 1) for value in values]))
    return {result.variant: result for result in found}


@pytest.mark.parametrize(
    ("instrument", "counts", "variant", "expected"),
    [
        ("nps", {9: 30, 10: 20, 8: 30, 3: 20}, "net", (30.0, 14.0511, 44.2013)),
        ("nrs", {5: 18, 4: 13, 2: 9}, "net", (22.5, -2.5852, 44.4457)),
        ("nrs", {3: 5}, "net", (-100.0, -100.0, -17.4915)),
        ("ces_effort", {1: 15, 2: 10, 3: 10, 4: 5, 5: 4, 7: 6}, "net", (30.0, 7.2995, 49.3043)),
        ("ces_effort", {6: 12}, "net", (-100.0, -100.0, -54.1959)),
        ("ces_ease", {7: 12}, "share", (100.0, 75.7506, 100.0)),
        ("ces_ease", {7: 12}, "net", (100.0, 54.1959, 100.0)),
        ("csat5", {5: 20, 4: 22, 3: 18}, "top2", (70.0, 57.4913, 80.1018)),
        ("csat10", {9: 8, 10: 10, 8: 22}, "top2", (45.0, 30.7053, 60.1709)),
        ("csat10", {9: 8, 10: 10, 8: 22}, "top3", (100.0, 91.2378, 100.0)),
        ("sat5", {5: 18, 4: 22, 3: 12, 2: 5, 1: 3}, "top2", (66.6667, 54.0569, 77.2707)),
        ("sat5", {5: 18, 4: 22, 3: 12, 2: 5, 1: 3}, "bottom2", (13.3333, 6.9141, 24.1652)),
        ("sat5", {5: 18, 4: 22, 3: 12, 2: 5, 1: 3}, "mean", (3.7833, 3.4937, 4.0730)),
        ("sat5", {5: 5, 1: 5}, "mean", (3.0, 1.4919, 4.5081)),
        ("sat5", {3: 20}, "top2", (0.0, 0.0, 16.1125)),
        ("repeat_intent", {4: 20, 5: 10, 3: 20}, "top2", (60.0, 46.1814, 72.3916)),
        ("affinity", {5: 2, 4: 4, 3: 2, 2: 1, 1: 1}, "mean", (3.5, 2.5920, 4.4080)),
        ("affinity", {5: 2, 4: 4, 3: 2, 2: 1, 1: 1}, "top2", (60.0, 31.2674, 83.1820)),
        ("pay_more", {"はい": 14, "いいえ": 21}, "share", (40.0, 25.5507, 56.4273)),
        ("pay_more", {"no": 20}, "share", (0.0, 0.0, 16.1125)),
        ("expect_gap", {5: 4, 4: 8, 3: 15, 1: 3}, "net", (30.0, 5.0139, 49.5315)),
        ("delight", {5: 3, 4: 4, 1: 21}, "top2", (25.0, 12.6765, 43.3557)),
        ("exp_delivery", {4: 2, 5: 2, 3: 1, 2: 1}, "mean", (3.8333, 2.6065, 5.0)),
        ("emotion", {"relief": 22, "pride": 9, "none": 9}, "share_relief", (55.0, 39.8291, 69.2947)),
        ("emotion", {"relief": 22, "pride": 9, "none": 9}, "any_positive", (77.5, 62.4969, 87.6839)),
    ],
)
def test_worked_examples(instrument: str, counts: dict[object, int], variant: str, expected: tuple[float, ...]) -> None:
    found = results(instrument, counts)[variant]
    assert (found.score, found.ci_low, found.ci_high) == pytest.approx(expected, **NEAR)


def test_raw_likelihood_answers_as_they_come() -> None:
    raw: list[object] = [10, 9, 8, 7, 6, "９", "10点", None, "", 11, 7.5, True, "skip"]
    found = one("nps", raw)["net"]
    assert (found.n_valid, found.n_missing, found.n_invalid) == (7, 3, 3)
    assert (found.score, found.ci_low, found.ci_high) == pytest.approx((42.8571, -16.3812, 76.3812), **NEAR)
    assert found.counts == {"6": 1, "7": 1, "8": 1, "9": 2, "10": 2}


def test_ease_has_a_mean_a_share_and_a_net_that_starts_at_six() -> None:
    found = one("ces_ease", [7, 6, 5, 7, 3, 4, 6, 7])
    assert (found["mean"].score, found["mean"].ci_low, found["mean"].ci_high) == pytest.approx(
        (5.6250, 4.3660, 6.8840), **NEAR
    )
    assert found["share"].score == pytest.approx(75.0)
    assert (found["net"].score, found["net"].ci_low, found["net"].ci_high) == pytest.approx(
        (50.0, -7.4460, 80.1733), **NEAR
    )


def test_the_ease_net_mirrors_the_effort_net() -> None:
    effort = {1: 4, 2: 7, 3: 5, 4: 2, 5: 3, 6: 1, 7: 6}
    mirrored: dict[object, int] = {8 - code: times for code, times in effort.items()}
    here, there = results("ces_effort", dict(effort))["net"], results("ces_ease", mirrored)["net"]
    assert (here.score, here.ci_low, here.ci_high) == (there.score, there.ci_low, there.ci_high)


def test_single_answers_have_scores_without_false_precision() -> None:
    assert one("ces_ease", [4])["mean"].ci_low is None
    assert one("affinity", [3])["mean"].flags == ()
    everyone = results("affinity", {5: 11})["mean"]
    assert (everyone.score, everyone.ci_low, everyone.flags) == (5.0, None, ("zero_variance",))


def test_without_answers_there_is_no_score_anywhere() -> None:
    for instrument in SPECS:
        found = results(instrument, {})
        assert found, instrument
        for result in found.values():
            told = (result.score, result.ci_low, result.ci_high, result.status, result.counts)
            assert told == (None, None, None, "no_data", {}), instrument


def test_every_instrument_names_its_statistics_once() -> None:
    for instrument, spec in SPECS.items():
        variants = [statistic.variant for statistic in statistics_of(spec)]
        assert len(variants) == len(set(variants)), instrument
        assert all(variants), instrument


def test_feelings_of_the_worked_examples() -> None:
    raw: list[object] = [["relief", "pride"], ["none"], [], ["none", "trust"], ["xyz"]]
    found = one("emotion", raw)
    lead = found["any_positive"]
    assert (lead.n_valid, lead.n_missing, lead.n_invalid) == (3, 1, 1)
    assert {code: lead.counts[code] for code in ("relief", "pride", "trust", "none")} == {
        "relief": 1, "pride": 1, "trust": 1, "none": 1,
    }  # fmt: skip
    assert (lead.score, lead.ci_low, lead.ci_high) == pytest.approx((66.6667, 20.7660, 93.8508), **NEAR)
    assert lead.flags == ("invalid_codes",)
    assert found["count"].score == pytest.approx(1.0)


def test_likelihood_reports_its_groups_and_the_middle_that_japan_prefers() -> None:
    found = results("nps", {9: 4, 8: 3, 7: 1, 6: 2, 5: 6, 0: 4})
    expected = {"share_promoter": 20, "share_passive": 20, "share_detractor": 60, "share_5": 30, "share_6": 10,
                "near_miss": 15}  # fmt: skip
    assert {variant: found[variant].score for variant in expected} == pytest.approx(expected)


def test_captive_customers_of_the_worked_examples() -> None:
    found = captive_share({(5, 2): 4, (4, 3): 5, (4, 4): 11, (5, 5): 10, (3, 1): 7})
    assert (found.score, found.low, found.high) == pytest.approx((30.0, 16.6647, 47.8758), **NEAR)
    assert captive_share({}).score is None


def test_status_limits() -> None:
    assert [status_of(n) for n in (0, 1, 9, 10, 29, 30)] == [
        "no_data", "suppressed", "suppressed", "caution", "caution", "ok",
    ]  # fmt: skip


def test_what_is_suppressed_is_shown_as_a_number_of_answers_only() -> None:
    hidden = results("nps", {9: 9})["net"].shown()
    assert (hidden.n_valid, hidden.score, hidden.ci_low, hidden.counts) == (9, None, None, {})
    open_cell = results("nps", {9: 10})["net"]
    assert open_cell.shown() == open_cell


def test_no_change_is_tested_below_ten_answers() -> None:
    spec = SPECS["nps"]
    nine, ten = tally(spec, [(9, 9)]), tally(spec, [(9, 5), (3, 5)])
    lead = statistics_of(spec)[0]
    assert difference(lead, nine, ten) is None
    assert difference(lead, ten, nine) is None
    assert difference(lead, ten, ten) is not None


def test_a_record_is_plain_json_under_its_documented_names() -> None:
    found = measure(
        SPECS["sat5"], tally(SPECS["sat5"], [(5, 20), (1, 20)], missing=2, superseded=3),
        stratum=Stratum("transactional", "purchase", "sat5.item", "plain", "ja"),
        window=Span("2026-11-16", "2026-11-23"),
    )[0]  # fmt: skip
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(record) == [
        "metric", "variant", "survey_kind", "touchpoint", "wording_id", "label_set", "lang", "window", "segment",
        "unit", "n_valid", "n_missing", "n_invalid", "n_superseded", "counts", "score", "ci_low", "ci_high",
        "ci_method", "status", "flags", "spec_version",
    ]  # fmt: skip
    assert record["window"] == {"start": "2026-11-16", "end": "2026-11-23"}
    assert (record["n_missing"], record["n_superseded"], record["status"]) == (2, 3, "ok")
    for value in found.to_json().values():
        assert type(value) in (str, int, float, dict, list)


def test_a_result_without_a_variant_is_refused() -> None:
    found = results("ces_effort", {1: 30})["net"]
    with pytest.raises(ValueError, match="variant"):
        Result(**{name: getattr(found, name) for name in found.__slots__} | {"variant": ""})


@given(st.dictionaries(st.integers(0, 10), st.integers(1, 40)))
def test_one_more_ten_never_lowers_the_score(counts: dict[int, int]) -> None:
    before = results("nps", dict(counts))["net"].score
    after = results("nps", {**counts, 10: counts.get(10, 0) + 1})["net"].score
    assert after is not None
    assert before is None or after >= before


@given(st.lists(st.one_of(st.none(), st.text(max_size=4), st.integers(), st.floats(), st.booleans()), max_size=30))
def test_every_raw_answer_is_counted_once(values: list[object]) -> None:
    found = one("nps", values)["net"]
    assert found.n_valid + found.n_missing + found.n_invalid == len(values)
    json.dumps(found.to_json(), allow_nan=False)


_COUNTS = st.dictionaries(st.integers(1, 7), st.integers(1, 40), min_size=1)


@given(_COUNTS)
def test_a_scale_turned_round_turns_its_scores_round(counts: dict[int, int]) -> None:
    here = results("ces_ease", dict(counts))
    there = results("ces_ease", {8 - code: times for code, times in counts.items()})
    effort = results("ces_effort", {8 - code: times for code, times in counts.items()})
    assert there["mean"].score == pytest.approx(8 - here["mean"].score)  # type: ignore[operator]
    if here["mean"].ci_low is not None:
        assert (there["mean"].ci_low, there["mean"].ci_high) == pytest.approx(
            (8 - here["mean"].ci_high, 8 - here["mean"].ci_low)  # type: ignore[operator]
        )
    assert (effort["net"].score, effort["net"].ci_low, effort["net"].ci_high) == (
        here["net"].score, here["net"].ci_low, here["net"].ci_high,
    )  # fmt: skip


@given(st.sampled_from(sorted(name for name, spec in SPECS.items() if spec.kind != "multi")), st.data())
def test_any_answers_have_their_scores_on_the_scale_and_in_their_intervals(
    instrument: str, data: st.DataObject
) -> None:
    """Also of one answer, of answers that are all the same, and of as many good ones as bad ones."""
    spec = SPECS[instrument]
    codes = st.integers(spec.low, spec.high)
    counts = data.draw(
        st.one_of(
            codes.map(lambda code: {code: 1}),
            st.tuples(codes, st.integers(2, 60)).map(lambda pair: {pair[0]: pair[1]}),
            st.integers(1, 60).map(lambda n: {spec.low: n, spec.high: n}),
            st.dictionaries(codes, st.integers(1, 60), min_size=1),
        )
    )
    values = {("yes" if code else "no") if spec.kind == "yes_no" else code: n for code, n in counts.items()}
    n = sum(counts.values())
    for result in results(instrument, dict(values)).values():
        json.dumps(result.to_json(), allow_nan=False)
        assert (result.n_valid, result.status) == (n, status_of(n))
        assert result.score is not None
        low, high = {"net": (-100, 100), "mean": (spec.low, spec.high)}.get(result.form, (0, 100))
        assert low <= result.score <= high
        if result.ci_low is None or result.ci_high is None:
            assert result.form == "mean"
            assert len(counts) == 1
        else:
            assert low <= result.ci_low <= result.score <= result.ci_high <= high
            assert result.ci_low < result.ci_high  # nothing is ever certain


@given(_COUNTS, st.integers(1, 40))
def test_one_more_good_answer_never_lowers_and_one_more_bad_answer_never_raises(counts: dict[int, int], n: int) -> None:
    for instrument, good, bad in (("ces_ease", 7, 1), ("ces_effort", 1, 7)):
        before, better, worse = (
            results(instrument, dict(more))["net"].score
            for more in (counts, {**counts, good: counts.get(good, 0) + n}, {**counts, bad: counts.get(bad, 0) + n})
        )
        assert worse <= before <= better  # type: ignore[operator]

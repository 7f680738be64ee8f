"""Drivers: the decomposition against closed forms, least squares and Johnson's relative weights; then what is made of
answers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_history import DAY_MS, NOW_MS, monday_ms

from reports.answers.render import render_json, render_table
from reports.answers.report import measure_file
from reports.drivers.analysis import DriverAnalysis, analyse, beside_scores, driver_sittings
from reports.drivers.decomposition import explained, lmg, share_intervals
from reports.instruments import bundled_blocks, bundled_instruments, specs_of
from reports.metrics import Span
from reports.procedures import resamples
from reports.sittings import Reply, Sitting, Words
from reports.words import Language, sentences_in
from storage.records import Answer
from storage.store import Tx, open_store

SPECS = specs_of(bundled_instruments())
WEEKS = Span("2026-07-01", "2026-10-01")


def sentences(found: DriverAnalysis, lang: Language) -> list[str]:
    return sentences_in(lang).lines("drivers_lines", analysis=found, specs=SPECS)


# -------------------------------------------------------------------------------------------------- decomposition

THREE = ([0.6, 0.5, 0.3], [[1.0, 0.5, 0.2], [0.5, 1.0, 0.3], [0.2, 0.3, 1.0]])


def relative_weights(with_outcome: Sequence[float], among: Sequence[Sequence[float]]) -> np.ndarray:
    """Johnson 2000: the cross-check, near-identical numbers by another road."""
    values, vectors = np.linalg.eigh(np.array(among))
    half = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    beta = np.linalg.solve(half, np.array(with_outcome))
    return (half**2) @ (beta**2)


def test_three_drivers_worked_by_hand() -> None:
    parts, r2 = lmg(*THREE)
    assert parts == pytest.approx([0.2499, 0.1354, 0.0456], abs=5e-5)
    assert r2 == pytest.approx(0.4310, abs=5e-5)
    assert parts / r2 == pytest.approx([0.5799, 0.3142, 0.1059], abs=5e-5)
    assert relative_weights(*THREE) == pytest.approx([0.2506, 0.1335, 0.0469], abs=5e-5)


def test_two_drivers_agree_with_the_closed_form() -> None:
    parts, r2 = lmg([0.6, 0.4], [[1.0, 0.5], [0.5, 1.0]])
    assert parts == pytest.approx([0.2867, 0.0867], abs=5e-5)
    assert r2 == pytest.approx(0.3733, abs=5e-5)
    assert parts[0] == pytest.approx((0.6**2 + r2 - 0.4**2) / 2, abs=1e-12)


def test_uncorrelated_drivers_have_their_own_squares() -> None:
    parts, _ = lmg([0.6, 0.3], [[1.0, 0.0], [0.0, 1.0]])
    assert parts == pytest.approx([0.36, 0.09], abs=1e-12)


def test_equal_drivers_share_alike() -> None:
    parts, r2 = lmg([0.5, 0.5], [[1.0, 0.9], [0.9, 1.0]])
    assert parts / r2 == pytest.approx([0.5, 0.5], abs=1e-12)


def by_all_orders(with_outcome: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The definition itself: the gain in R² of each driver, averaged over every order of entry."""

    def r2(chosen: tuple[int, ...]) -> float:
        if not chosen:
            return 0.0
        rows = np.array(chosen)
        return float(with_outcome[rows] @ np.linalg.solve(among[np.ix_(rows, rows)], with_outcome[rows]))

    p = len(with_outcome)
    gains = np.zeros(p)
    for order in permutations(range(p)):
        for place, driver in enumerate(order):
            gains[driver] += r2(order[: place + 1]) - r2(order[:place])
    return gains / math.factorial(p)


@st.composite
def correlation_matrices(draw: st.DrawFn, most: int = 6) -> np.ndarray:
    """Of p drivers and an outcome, far enough from singular to be inverted by the cross-check."""
    p = draw(st.integers(2, most))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(p + 1, p + 3))
    covariance = loadings @ loadings.T
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


@given(correlation_matrices(most=5))
@settings(max_examples=25, deadline=None)
def test_the_parts_are_the_gains_averaged_over_all_orders(matrix: np.ndarray) -> None:
    parts, r2 = lmg(matrix[-1, :-1], matrix[:-1, :-1])
    assert parts == pytest.approx(by_all_orders(matrix[-1, :-1], matrix[:-1, :-1]), abs=1e-9)
    assert parts.sum() == pytest.approx(r2, abs=1e-9)
    assert 0 <= r2 <= 1 + 1e-9
    assert (parts >= 0).all()


@given(correlation_matrices(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_another_order_of_the_drivers_is_only_another_order_of_the_parts(matrix: np.ndarray, random: object) -> None:
    order = list(range(matrix.shape[0] - 1))
    random.shuffle(order)  # type: ignore[attr-defined]
    parts, r2 = lmg(matrix[-1, :-1], matrix[:-1, :-1])
    shuffled, same = lmg(matrix[-1, order], matrix[np.ix_(order, order)])
    assert shuffled == pytest.approx(parts[order], abs=1e-9)
    assert same == pytest.approx(r2, abs=1e-9)


def test_twelve_drivers_add_up_to_r2() -> None:
    rng = np.random.default_rng(7)
    matrix = np.corrcoef(rng.normal(size=(13, 400)) + rng.normal(size=(1, 400)))
    parts, r2 = lmg(matrix[-1, :-1], matrix[:-1, :-1])
    assert parts.sum() == pytest.approx(r2, abs=1e-12)
    assert r2 == pytest.approx(matrix[-1, :-1] @ np.linalg.solve(matrix[:-1, :-1], matrix[:-1, -1]), abs=1e-12)
    assert explained(matrix).shape == (2**12,)


def test_a_driver_that_the_others_determine_adds_nothing_and_shares_alike() -> None:
    parts, r2 = lmg([0.5, 0.5], [[1.0, 1.0], [1.0, 1.0]])
    assert r2 == pytest.approx(0.25)
    assert parts == pytest.approx([0.125, 0.125])


def ratings(n: int, seed: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    mood = rng.normal(size=n)
    items = [np.clip(np.round(3 + mood + rng.normal(size=n)), 1, 5) for _ in range(3)]
    outcome = np.clip(np.round(6 + 1.2 * items[0] - 3.6 + 0.5 * items[1] - 1.5 + rng.normal(size=n)), 0, 10)
    return items, outcome


def test_every_round_of_the_bootstrap_ranks_and_decomposes_anew() -> None:
    items, outcome = ratings(120)
    shares = []
    for (row,) in resamples(120, rows=1):
        drawn = pd.DataFrame({place: column[row] for place, column in enumerate([*items, outcome])})
        matrix = drawn.rank().corr().to_numpy()
        parts, r2 = lmg(matrix[-1, :-1], matrix[:-1, :-1])
        shares.append(parts / r2)
    bounds = share_intervals([*items, outcome])
    assert bounds is not None
    assert np.array(bounds) == pytest.approx(np.percentile(shares, [2.5, 97.5], axis=0), abs=1e-9)


# ------------------------------------------------------------------------------------------------------- answers


def sitting(number: int, replies: dict[str, int | None], **more: object) -> Sitting:
    given = {"survey_kind": "transactional", "touchpoint": "purchase", "lang": "ja", "wordings": {}} | more
    words: dict[str, str] = given["wordings"]  # type: ignore[assignment]
    return Sitting(
        customer=str(given.get("customer", f"C{number:04}")),
        session=f"s{number:05}",
        survey_kind=str(given["survey_kind"]),
        touchpoint=str(given["touchpoint"]),
        lang=str(given["lang"]),
        channel="line",
        replies={
            name: Reply(code, Words(words.get(name, f"{name}.1"), ""), 1000 + number) for name, code in replies.items()
        },
    )


NAMES = ("exp_product", "exp_price", "exp_info")


def customers(
    n: int, names: Sequence[str] = NAMES, change: Callable[[int, dict[str, int | None]], None] | None = None
) -> list[Sitting]:
    items, outcome = ratings(n)
    out = []
    for row in range(n):
        replies: dict[str, int | None] = {"nps": int(outcome[row])}
        replies |= {name: int(item[row]) for name, item in zip(names, items, strict=False)}
        if change is not None:
            change(row, replies)
        out.append(sitting(row, replies))
    return out


def only(sittings: list[Sitting]) -> DriverAnalysis:
    (found,) = analyse(sittings, SPECS, blocks=bundled_blocks(), window=WEEKS)
    return found


def test_the_touchpoint_that_makes_the_rating_leads_and_the_shares_add_up() -> None:
    found = only(customers(300))
    assert (found.block, found.n, found.incomplete, found.why_not) == ("purchase", 300, 0, "")
    shares = {driver.name: driver for driver in found.drivers}
    assert sum(driver.share for driver in found.drivers) == pytest.approx(100.0)
    assert max(found.drivers, key=lambda d: d.share).name == "exp_product"
    for driver in found.drivers:
        assert driver.low is not None
        assert driver.high is not None
        assert 0 <= driver.low <= driver.share <= driver.high <= 100
        assert driver.undecided == (driver.low <= 100 / 3 <= driver.high)
        assert driver.priority == pytest.approx(driver.share * (100 - driver.performance) / 100)
        assert not driver.opposite
    items, _ = ratings(300)
    assert shares["exp_price"].performance == pytest.approx(25 * (items[1].mean() - 1))
    assert [d.priority for d in found.drivers] == sorted((d.priority for d in found.drivers), reverse=True)
    assert shares["exp_product"].model_sign == 1


def test_the_map_has_four_places() -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        product, info = replies["exp_product"], replies["exp_info"]
        assert product is not None
        assert info is not None
        replies["exp_info"] = min(5, info + 1)
        replies["exp_delivery"] = 1 + (row * 7) % 3

    found = {driver.name: driver.place for driver in only(customers(300, change=change)).drivers}
    assert found["exp_delivery"] == "watch"
    assert found["exp_info"] == "overdone"
    assert found["exp_product"] in ("improve", "keep")

    def poorly(row: int, replies: dict[str, int | None]) -> None:
        replies["exp_product"] = max(1, (replies["exp_product"] or 1) - 1)

    lowered = {driver.name: driver.place for driver in only(customers(300, change=poorly)).drivers}
    assert lowered["exp_product"] == "improve"


def test_sixty_answers_are_not_enough_and_say_how_many_would_be() -> None:
    found = only(customers(60))
    assert (found.why_not, found.n, found.minimum, found.r2, found.drivers) == ("few", 60, 100, None, ())
    assert sentences(found, "en") == ["Drivers need 100 people or more who answered every item (this time n=60)."]
    assert sentences(found, "ja") == ["要因の分析には、すべての項目に答えた方が100人以上必要です（今回 n=60）。"]
    (record,) = found.results()
    assert (record.score, record.n_valid, record.flags) == (None, 60, ("drivers_few",))


def test_exactly_a_hundred_are_enough() -> None:
    assert only(customers(99)).why_not == "few"
    assert only(customers(100)).why_not == ""


def test_a_driver_that_everybody_answers_alike_is_dropped_and_named() -> None:
    found = only(customers(200, change=lambda row, replies: replies.update(exp_info=4)))
    assert found.constant == ("exp_info",)
    assert {driver.name for driver in found.drivers} == {"exp_product", "exp_price"}
    assert "商品情報・条件のわかりやすさは全員の回答が同じため、除きました。" in sentences(found, "ja")


def test_with_one_driver_left_there_is_nothing_to_compare() -> None:
    found = only(customers(200, change=lambda row, replies: replies.update(exp_info=4, exp_price=4)))
    assert found.why_not == "few_drivers"


def test_two_touchpoints_answered_almost_alike_are_merged_and_named() -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        replies["exp_info"] = replies["exp_price"] if row % 50 else 3

    found = only(customers(300, change=change))
    (merged,) = [driver for driver in found.drivers if len(driver.instruments) > 1]
    assert merged.name == "exp_price+exp_info"
    assert len(found.drivers) == 2
    assert any("taken together as their mean" in line for line in sentences(found, "en"))
    alone = only(customers(300, names=("exp_product", "exp_price")))
    price = next(driver for driver in alone.drivers if driver.name == "exp_price")
    assert merged.share == pytest.approx(price.share, abs=3.0)


def test_what_explains_too_little_is_one_sentence() -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        replies["nps"] = (row * 7919) % 11

    found = only(customers(300, change=change))
    assert found.why_not == "not_explained"
    assert found.r2 is not None
    assert found.r2 < 0.10
    assert sentences(found, "ja") == ["今回の体験項目では説明できませんでした。"]
    assert found.drivers == ()


def test_a_touchpoint_that_goes_against_the_rating_is_marked() -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        replies["exp_product"] = 6 - (replies["exp_product"] or 0)

    found = only(customers(300, change=change))
    against = next(driver for driver in found.drivers if driver.name == "exp_product")
    assert against.opposite
    assert against.model_sign == -1
    line = next(line for line in sentences(found, "ja") if line.startswith("商品の質"))
    assert line.endswith("・逆方向")


def test_effort_counts_upwards_when_it_is_low() -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        replies["ces_effort"] = max(1, min(7, 8 - (replies.pop("exp_info") or 0) - row % 2))

    effort = next(d for d in only(customers(300, change=change)).drivers if d.name == "ces_effort")
    assert not effort.opposite
    codes = [max(1, min(7, 8 - int(x) - row % 2)) for row, x in enumerate(ratings(300)[0][2])]
    assert effort.performance == pytest.approx(100 - 100 * (np.mean(codes) - 1) / 6)


def test_a_question_asked_of_few_does_not_empty_the_analysis() -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        if row < 30:
            replies["expect_gap"] = 1 + row % 5

    found = only(customers(300, change=change))
    assert (found.n, found.thin, found.why_not) == (300, ("expect_gap",), "")
    assert len(found.drivers) == 3


def test_who_left_an_item_out_is_incomplete_and_nothing_is_filled_in() -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        if row % 10 == 0:
            replies["exp_price"] = None

    found = only(customers(300, change=change))
    assert (found.n, found.incomplete) == (270, 30)
    assert (found.results()[0].n_valid, found.results()[0].n_missing) == (270, 30)


def test_each_block_is_analysed_by_itself_and_the_latest_sitting_of_a_customer_counts() -> None:
    sittings = customers(150)
    sittings += [
        sitting(
            1000 + row, {"nps": 3 + row % 7, "exp_site": 1 + row % 5, "exp_checkout": 1 + row % 4}, customer=f"D{row}"
        )
        for row in range(120)
    ]
    sittings += customers(150)  # everybody once more
    sittings.append(sitting(9000, {"nps": 5, "exp_site": 3, "exp_product": 3}))
    found = analyse(sittings, SPECS, blocks=bundled_blocks(), window=WEEKS)
    assert [(a.block, a.n) for a in found] == [("digital", 120), ("other", 1), ("purchase", 150)]


def test_surveys_touchpoints_and_wordings_stay_apart() -> None:
    sittings = customers(120)
    sittings += [
        sitting(
            500 + row, {"nps": 5, "exp_price": 3, "exp_product": 4}, survey_kind="relational", touchpoint="relationship"
        )
        for row in range(5)
    ]
    sittings += [
        sitting(700 + row, {"nps": 5, "exp_price": 3, "exp_product": 4}, wordings={"nps": "nps.family"})
        for row in range(5)
    ]
    found = analyse(sittings, SPECS, blocks=bundled_blocks(), window=WEEKS)
    assert [(a.stratum.survey_kind, a.stratum.wording_id, a.n) for a in found] == [
        ("relational", "nps.1", 5), ("transactional", "nps.1", 120), ("transactional", "nps.family", 5),
    ]  # fmt: skip


def test_an_item_in_other_words_is_not_the_same_item() -> None:
    sittings = customers(150)
    for number in range(20):
        sittings[number].replies["exp_price"] = Reply(3, Words("exp_price.other", ""), 1)
    assert (only(sittings).n, only(sittings).incomplete) == (130, 20)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_every_analysis_says_that_it_is_no_cause(lang: Language) -> None:
    found = only(customers(150))
    assert (
        sentences(found, lang)[-1]
        == {
            "ja": "相関であり、因果関係ではありません。改善の効果はA/Bテストで確かめてください。",
            "en": "A correlation, not a cause. Confirm what an improvement does with an A/B test.",
        }[lang]
    )
    assert "n=150" in sentences_in(lang).said("drivers_title", analysis=found)


def test_the_records_carry_what_a_reader_of_json_needs() -> None:
    found = only(customers(300))
    overall, *shares = found.to_json()
    assert (overall["metric"], overall["variant"], overall["n_valid"]) == ("nps_drivers", "purchase.r2", 300)
    assert overall["score"] == pytest.approx(100 * (found.r2 or 0))
    assert [record["variant"] for record in shares] == [f"purchase.{driver.name}" for driver in found.drivers]
    assert sum(record["driver"]["lmg"] for record in shares) == pytest.approx(found.r2)
    assert {record["ci_method"] for record in shares} == {"bootstrap"}


# ------------------------------------------------------------------------------------- from a file, from the store


def test_a_file_of_answers_has_its_drivers_beside_the_scores(tmp_path: Path) -> None:
    rows = ["answered_at,customer,survey_kind,touchpoint,session,instrument,value"]
    for number, found in enumerate(customers(120)):
        rows += [
            f"2026-08-01T10:00:00+09:00,{found.customer},transactional,purchase,r{number},{name},{reply.code}"
            for name, reply in found.replies.items()
        ]
    file = tmp_path / "answers.csv"
    file.write_text("\n".join(rows), "utf-8")
    measured = measure_file(file, SPECS, tz=UTC)
    (analysis,) = measured.drivers
    expected = only(customers(120))
    assert [(d.name, d.share, d.low) for d in analysis.drivers] == [
        (d.name, pytest.approx(d.share), pytest.approx(d.low)) for d in expected.drivers
    ]
    assert analysis.window == Span("2026-08-01", "2026-08-02")
    records = json.loads(render_json(measured), parse_constant=pytest.fail)
    assert {r["variant"] for r in records if r["metric"] == "nps_drivers"} == {
        "purchase.r2", *(f"purchase.{name}" for name in NAMES),
    }  # fmt: skip
    table = render_table(measured, SPECS, "en")
    assert "What goes with the recommendation (purchase, n=120)" in table
    assert "A correlation, not a cause." in table


@pytest.mark.parametrize(("left_out", "told"), [(0, True), (1, False), (9, False), (10, True)])
def test_how_touchpoints_of_a_file_are_rated_is_hidden_where_a_handful_answered_one_and_not_all(
    left_out: int, told: bool, tmp_path: Path
) -> None:
    rows = ["answered_at,customer,survey_kind,touchpoint,session,instrument,value"]
    for number, found in enumerate(customers(120)):
        rows += [
            f"2026-08-01T10:00:00+09:00,{found.customer},transactional,purchase,r{number},{name},{reply.code}"
            for name, reply in found.replies.items()
            if number >= left_out or name != "exp_info"
        ]
    file = tmp_path / "answers.csv"
    file.write_text("\n".join(rows), "utf-8")
    measured = measure_file(file, SPECS, tz=UTC)
    records = json.loads(render_json(measured), parse_constant=pytest.fail)
    drivers = [record["driver"] for record in records if "driver" in record]
    assert [driver["performance"] is not None for driver in drivers] == [told] * 3
    assert [driver["priority"] is not None for driver in drivers] == [told] * 3
    table = render_table(measured, SPECS, "en")
    assert ("How they are rated is hidden because other values would give it away." in table) is not told
    assert (", rated " in table) is told


def test_that_everybody_said_the_same_is_not_told_where_a_handful_more_answered() -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        replies |= {"nps": 9, "exp_price": 4}

    (found,) = analyse(customers(120, change=change), SPECS, blocks=bundled_blocks(), window=WEEKS, tz=UTC)
    assert (found.why_not, found.constant, found.told) == ("constant_outcome", ("exp_price",), ("exp_price", "nps"))
    (hidden,) = beside_scores([found], lambda groups: [False] * len(groups))
    assert (hidden.why_not, hidden.constant) == ("not_explained", ())
    assert beside_scores([found], lambda groups: [True] * len(groups)) == (found,)


@pytest.mark.parametrize("alike", [{"exp_info": 4}, {"exp_info": 4, "exp_price": 4}])
def test_a_touchpoint_that_is_missing_for_being_answered_alike_does_not_say_so_where_a_handful_more_answered(
    alike: dict[str, int | None],
) -> None:
    def change(row: int, replies: dict[str, int | None]) -> None:
        replies |= alike

    (found,) = analyse(customers(200, change=change), SPECS, blocks=bundled_blocks(), window=WEEKS, tz=UTC)
    assert found.constant == tuple(name for name in ("exp_price", "exp_info") if name in alike)
    hidden = found.without_performance()
    assert (hidden.why_not, hidden.constant, hidden.drivers, hidden.r2) == ("not_explained", (), (), None)
    for lang in ("ja", "en"):
        text = " ".join(sentences(hidden, lang))  # type: ignore[arg-type]
        assert not any(SPECS[name].names[lang] in text for name in alike)


def test_rows_that_name_neither_session_nor_customer_belong_to_nobody(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text("instrument,value\nnps,9\nexp_price,4\nexp_info,5\n", "utf-8")
    assert measure_file(file, SPECS, tz=UTC).drivers == ()


async def test_the_drivers_of_a_stored_quarter_are_those_of_its_sittings(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS)
    start = monday_ms() - 90 * DAY_MS

    def write(tx: Tx) -> None:
        for number, found in enumerate(customers(110)):
            for place, (name, reply) in enumerate(found.replies.items()):
                tx.record_answer(
                    stored(f"s{number:04}", name, str(reply.code), found.customer, start + number * 1000 + place)
                )
        # a session without touchpoints, and one before the window
        tx.record_answer(stored("plain", "nps", "9", "P1", start + 5))
        tx.record_answer(stored("old", "nps", "9", "P2", start - 10))
        tx.record_answer(stored("old", "exp_price", "5", "P2", start - 9))
        tx.record_answer(stored("s0000", "sat5", "5", "C0000", start))

    await store.write(write)
    try:
        found = await store.read(
            lambda tx: analyse(
                driver_sittings(tx, start, start + 90 * DAY_MS, specs=SPECS),
                SPECS,
                blocks=bundled_blocks(),
                window=WEEKS,
            )
        )
        rows = await store.read(
            lambda tx: tx.answers_beside(
                start, start + 90 * DAY_MS, anchors=["exp_price"], instruments=["nps", "exp_price"]
            )
        )
    finally:
        await store.close()
    (analysis,) = found
    expected = only(customers(110))
    assert [(d.name, d.share) for d in analysis.drivers] == [(d.name, pytest.approx(d.share)) for d in expected.drivers]
    assert {row.instrument for row in rows} == {"nps", "exp_price"}
    assert len(rows) == 220


def stored(session: str, instrument: str, value: str, customer: str, at_ms: int) -> Answer:
    return Answer(
        id=f"{session}-{instrument}", session_id=session, customer_id=customer, question=instrument,
        instrument=instrument, wording_id=f"{instrument}.1", label_set="", value=value, missing="", numeric=True,
        lang="ja", channel="line", survey_kind="transactional", touchpoint="purchase", segment="", flow_id="f",
        revision="r", shown_ms=at_ms - 4000, answered_ms=at_ms, week="2026-08-17",
    )  # fmt: skip

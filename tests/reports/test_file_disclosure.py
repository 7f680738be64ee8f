"""What `koe metrics` prints is handed on: whoever has its table and its JSON, and a pencil, finds no handful."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from reports.answers.disclosure import told
from reports.answers.render import render_json, render_table
from reports.answers.report import Measured, measure_file
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Result, Span, Stratum, measure, tally
from reports.segments import DAY_MS, Deed, nps_nrs_results

INSTRUMENTS = bundled_instruments()
SPECS = specs_of(INSTRUMENTS)
HEAD = "answered_at,customer,session,instrument,value\n"
LIKELY = {"promoter": 9, "passive": 8, "detractor": 3}
STAYS = {"repeater": 5, "neutral": 4, "leaver": 1}
CELLS = [*product((*LIKELY, ""), (*STAYS, ""))]
"""What a customer said of recommending and of staying; "" is nothing."""


def measured(tmp_path: Path, rows: Iterable[str], **more: Any) -> Measured:
    path = tmp_path / "answers.csv"
    path.write_text(HEAD + "\n".join(rows), encoding="utf-8")
    return measure_file(path, SPECS, unscored=INSTRUMENTS, texts=["reason"], tz=ZoneInfo("Asia/Tokyo"), **more)


def records(found: Measured) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["metric"], r["variant"]): r for r in json.loads(render_json(found)) if "driver" not in r}


def row(who: str, instrument: str, value: object, *, at: str = "2026-11-16", session: str = "") -> str:
    return f"{at},{who},{session},{instrument},{value}"


# --------------------------------------------------------------------------------------------- recommending × staying


def crossing_of(sizes: Counter[tuple[str, str]]) -> list[Result]:
    """All records of these customers."""
    out: list[Result] = []
    for side, (name, codes) in enumerate((("nps", LIKELY), ("nrs", STAYS))):
        given = [(code, sum(n for cell, n in sizes.items() if cell[side] == said)) for said, code in codes.items()]
        out += measure(SPECS[name], tally(SPECS[name], given), stratum=Stratum(), window=Span())
    pairs = {(LIKELY[a], STAYS[b]): n for (a, b), n in sizes.items() if a and b}
    return [*out, *nps_nrs_results(pairs, stratum=Stratum(), window=Span())]


def known_of(shown: Sequence[Result]) -> list[set[tuple[str, str]]]:
    """Sets of cells whose sum a reader has; the two sums that a crossing always tells are set aside."""
    sums: list[set[tuple[str, str]]] = []
    for result in shown:
        if result.score is None:
            continue
        side = {"nps": 0, "nrs": 1}.get(result.metric)
        part = result.variant.removeprefix("share_")
        if side is None:
            sums += [{(a, b)} for a, b in CELLS if f"{a}_{b}" == part]
            sums += [{(a, b)} for a, b in CELLS if f"{a}_{b}" in result.counts]
        elif part in (*LIKELY, *STAYS):
            sums.append({cell for cell in CELLS if cell[side] == part})
        sums.append({cell for cell in CELLS if all(cell)} if side is None else {c for c in CELLS if c[side]})
    return sums


def found_out(known: list[set[tuple[str, str]]], sizes: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    """Cells of which a reader knows how many they are, and that lie in a row or a column of one to nine."""
    filled = [cell for cell in CELLS if sizes[cell]]
    matrix = np.array([[float(cell in cells) for cell in filled] for cells in known])
    _, strengths, axes = np.linalg.svd(matrix)
    unknown = axes[(strengths > 1e-9).sum() :]
    followed = [cell for place, cell in enumerate(filled) if np.abs(unknown[:, place]).max(initial=0.0) < 1e-7]
    return [cell for cell in followed if any(0 < n < 10 for n in _groups_of(cell, sizes))]


def _groups_of(cell: tuple[str, str], sizes: Counter[tuple[str, str]]) -> list[int]:
    """How many are those of whom the cell tells something: who said the one, or the other, of those with both; all who
    said only the one."""
    likely, stays = cell
    if likely and stays:
        both = {other: n for other, n in sizes.items() if all(other)}
        return [sum(n for (a, _), n in both.items() if a == likely), sum(n for (_, b), n in both.items() if b == stays)]
    return [sum(n for (a, b), n in sizes.items() if bool(a) == bool(likely) and bool(b) == bool(stays))]


@pytest.mark.parametrize("seed", range(40))
def test_what_a_handful_said_of_staying_cannot_be_worked_out_of_the_crossing(seed: int) -> None:
    chance = random.Random(seed)
    # some with rows and columns of a handful, some with a handful who answered one question only
    usual = chance.choice([2, 4, 12])
    sizes = Counter({cell: chance.choice([0, usual, chance.randint(4, 25)]) for cell in CELLS if all(cell)})
    sizes += Counter({cell: chance.choice([0, 0, 1, 3, 12]) for cell in CELLS if not all(cell)})
    del sizes[("", "")]
    shown = told(crossing_of(sizes), SPECS)
    cells = [r for r in shown if r.variant.startswith("share_") and r.metric == "nps_nrs" and r.score is not None]
    if cells:
        assert found_out(known_of(shown), sizes) == []


def test_a_crossing_of_many_is_told() -> None:
    shown = told(crossing_of(Counter({cell: 12 for cell in CELLS if all(cell)})), SPECS)
    assert [r for r in shown if r.score is None] == []
    assert all(len(r.counts) == 9 for r in shown if r.metric == "nps_nrs")


@pytest.mark.parametrize(("alone", "hidden"), [(0, False), (9, True), (10, False)])
def test_cells_are_hidden_where_a_handful_answered_one_of_the_two_questions(alone: int, hidden: bool) -> None:
    sizes = Counter({cell: 12 for cell in CELLS if all(cell)}) + Counter({("promoter", ""): alone})
    shown = {r.variant: r for r in told(crossing_of(sizes), SPECS) if r.metric == "nps_nrs"}
    assert (shown["share_promoter_leaver"].score is None) is hidden
    assert (shown["quiet_risk"].counts == {}) is hidden
    assert shown["quiet_risk"].score is not None


def test_the_worked_example_of_quiet_risk_is_printed_without_its_cells(tmp_path: Path) -> None:
    pairs = [(9, 1)] * 2 + [(7, 3)] * 4 + [(10, 5)] * 30 + [(8, 4)] * 10 + [(3, 4)] * 4
    both = [row(f"c{n}", name, pair[side]) for n, pair in enumerate(pairs) for side, name in ((0, "nps"), (1, "nrs"))]
    found = measured(tmp_path, both)
    shown = records(found)
    risk, held = shown[("nps_nrs", "quiet_risk")], shown[("nps_nrs", "locked_in")]
    assert (risk["score"], risk["ci_low"], risk["ci_high"]) == pytest.approx((12.0, 5.6176, 23.8048), abs=5e-5)
    assert (held["score"], held["ci_low"], held["ci_high"]) == pytest.approx((0.0, 0.0, 7.1348), abs=5e-5)
    assert risk["counts"] == {}
    cell = shown[("nps_nrs", "share_promoter_leaver")]
    assert (cell["status"], cell["score"], cell["flags"]) == ("suppressed", None, ["sibling"])
    for lang, words in (("ja", "差し引きで求められるため非表示"), ("en", "other values would give it away")):
        assert words in render_table(found, SPECS, lang).split("[nps_nrs]")[1]  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- loyal in two ways


def loyal(who: str, *, affinity: int, at: str) -> list[str]:
    return [row(who, "affinity", affinity, at=at), row(who, "nps", 9 if affinity > 3 else 0, at=at)]


@pytest.mark.parametrize(("buyers", "hidden"), [(9, True), (10, False)])
def test_a_handful_of_buyers_shows_no_segments_and_no_moves(tmp_path: Path, buyers: int, hidden: bool) -> None:
    rows = [one for n in range(40) for one in loyal(f"c{n}", affinity=5 if n < 20 else 1, at="2026-05-01")]
    rows += [one for n in range(buyers) for one in loyal(f"c{n}", affinity=1, at="2026-11-16")]
    november_ms = 1_793_458_800_000
    deeds = [
        Deed(f"c{n}", "purchase", november_ms + day * DAY_MS, {"order": f"{n}-{day}"})
        for n in range(buyers)
        for day in (0, 5)
    ]
    shown = records(measured(tmp_path, rows, deeds=deeds, since_ms=november_ms))
    assert (shown[("psy_beh", "share_price_driven")]["score"] is None) is hidden
    moved = shown[("psy_beh", "moved")]
    assert moved["score"] == pytest.approx(100 * buyers / 40)
    assert (moved["counts"] == {}) is hidden


# --------------------------------------------------------------------------------------- what is made of other answers


@pytest.mark.parametrize(("alone", "hidden"), [(0, False), (9, True), (10, False)])
def test_an_item_is_hidden_where_a_handful_answered_it_and_have_no_index(
    tmp_path: Path, alone: int, hidden: bool
) -> None:
    rows = [row(f"c{n}", f"jcsi6_s{item}", 1 + n % 10) for n in range(20) for item in (1, 2, 3)]
    rows += [row(f"x{n}", "jcsi6_s1", 10) for n in range(alone)]
    found = measured(tmp_path, rows)
    shown = records(found)
    assert shown[("jcsi6", "sat")]["score"] is not None
    assert (shown[("jcsi6_s1", "mean")]["score"] is None) is hidden
    assert shown[("jcsi6_s2", "mean")]["score"] is not None
    assert ("差し引きで求められるため非表示" in render_table(found, SPECS)) is hidden


@pytest.mark.parametrize(("others", "hidden"), [(0, False), (9, True), (10, False)])
def test_who_is_captive_is_hidden_where_a_handful_of_others_answered_too(
    tmp_path: Path, others: int, hidden: bool
) -> None:
    rows = [row(f"c{n}", name, 5) for n in range(20) for name in ("repeat_intent", "repeat_intent_noswitch")]
    rows += [row(f"x{n}", name, 1) for n in range(others) for name in ("repeat_intent", "repeat_intent_noswitch")]
    shown = records(measured(tmp_path, rows))
    assert (shown[("repeat_intent", "captive_share")]["score"] is None) is hidden
    assert shown[("repeat_intent", "top2")]["score"] is not None


@pytest.mark.parametrize(("silent", "hidden"), [(0, False), (9, True), (10, False)])
def test_what_those_who_wrote_gave_is_hidden_where_a_handful_only_rated(
    tmp_path: Path, silent: int, hidden: bool
) -> None:
    rows = [row(f"c{n}", "nps", 9 if n % 2 else 2, session=f"s{n}") for n in range(30)]
    rows += [row(f"c{n}", "reason", "delivery was late", session=f"s{n}") for n in range(30)]
    rows += [row(f"x{n}", "nps", 0, session=f"t{n}") for n in range(silent)]
    shown = records(measured(tmp_path, rows))
    words = shown[("reason", "words")]
    assert (words["rated"], words["promoters"] is None, words["detractors"] is None) == (30, hidden, hidden)
    ratings = [r for (metric, _), r in shown.items() if metric == "reason" and r.get("unit") and r["n_valid"] == 30]
    assert ratings, "there is a topic that all speak of"
    means = [r for r in ratings if "rating" in r["variant"]]
    assert means
    assert all((r["score"] is None) is hidden for r in means)


@pytest.mark.parametrize(("again", "hidden"), [(0, False), (9, True), (10, False)])
def test_how_the_scale_was_used_is_hidden_where_a_handful_of_answers_was_replaced(
    tmp_path: Path, again: int, hidden: bool
) -> None:
    head = HEAD.strip() + ",channel\n"
    rows = [row(f"c{n}", "nps", 5) + ",line" for n in range(40)]
    rows += [row(f"c{n}", "nps", 10, at="2026-11-10") + ",line" for n in range(again)]
    path = tmp_path / "answers.csv"
    path.write_text(head + "\n".join(rows), encoding="utf-8")
    used = [r for r in json.loads(render_json(measure_file(path, SPECS, tz=ZoneInfo("Asia/Tokyo")))) if "channel" in r]
    assert len(used) == 3
    assert {r["score"] is None for r in used} == {hidden}

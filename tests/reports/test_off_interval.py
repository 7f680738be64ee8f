"""Repeat intentions count near the usual time of the next purchase only; the others are flagged and left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from report_history import DAY_MS, NOW_MS, SHOP, TOKYO, WEEK, WEEKLY, History, monday_ms

from reports.answers.report import measure_file
from reports.digest import DigestContext, gather
from reports.instruments import bundled_instruments, specs_of
from reports.kpi.window import KpiSettings
from reports.metrics import is_off_interval
from reports.render import render_text
from reports.segments import Deed
from storage.records import Event
from storage.store import Tx, open_store

SPECS = specs_of(bundled_instruments())
INTERVAL_MS = 60 * DAY_MS


@pytest.mark.parametrize(
    ("days", "off"), [(None, False), (0, True), (29.99, True), (30, False), (60, False), (90, False), (90.01, True)]
)
def test_half_and_one_and_a_half_of_the_interval_are_still_near(days: float | None, off: bool) -> None:
    bought_ms = None if days is None else 0
    assert is_off_interval(round((days or 0) * DAY_MS), bought_ms, INTERVAL_MS) is off


async def _digest(tmp_path: Path, h: History, ages: dict[str, int], interval_ms: int | None) -> DigestContext:
    """A digest in whose week each customer answered so many days after buying."""
    store = await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS)

    def happened(tx: Tx) -> None:
        h.store(tx)
        for customer, days in ages.items():
            at_ms = monday_ms() + DAY_MS - days * DAY_MS
            tx.note_event(Event(f"e-{customer}", "purchase", at_ms, at_ms, customer, "{}"))

    async with store:
        await store.write(happened)
        shop = replace(SHOP, repeat_interval_ms=interval_ms)
        return await store.read(
            lambda tx: gather(
                tx, shop=shop, digest_rule=WEEKLY, period=WEEK, now_ms=NOW_MS, tz=TOKYO, instruments=SPECS
            ).computed()
        )


def _history() -> tuple[History, dict[str, int]]:
    """12 customers near their time (9 would buy again), 4 long after it (who would not), 3 of whom no purchase is
    known (who would)."""
    h, ages = History(), {}
    h.nps(30, 10, 60)
    for n in range(19):
        who = f"p{n}"
        value = 1 if n in (0, 1, 2) or 12 <= n < 16 else 5
        h.answer("repeat_intent", value, customer=who, kind="relational", touchpoint="relationship")
        if n < 16:
            ages[who] = 60 if n < 12 else 200
    return h, ages


async def test_the_digest_leaves_answers_outside_the_interval_out_of_the_share_and_says_so(tmp_path: Path) -> None:
    context = await _digest(tmp_path, *_history(), INTERVAL_MS)
    (row,) = [row for row in context.rows if row.spec.id == "repeat_intent"]
    assert row.result.n_valid == 15
    assert row.result.score == pytest.approx(100 * 12 / 15)
    assert row.result.flags == ("off_interval",)
    assert row.result.counts["off_interval"] == 4
    assert row.result.n_superseded == 0
    assert "off_interval" in context.flags
    assert "購入の時期から離れた回答は、リピート意向から除いています。" in render_text(context)


async def test_without_the_setting_every_answer_counts(tmp_path: Path) -> None:
    context = await _digest(tmp_path, *_history(), None)
    (row,) = [row for row in context.rows if row.spec.id == "repeat_intent"]
    assert (row.result.n_valid, row.result.flags) == (19, ())


async def test_an_answer_that_was_superseded_is_not_counted_as_left_out(tmp_path: Path) -> None:
    h, ages = _history()
    h.answer(
        "repeat_intent", 4, customer="p12", at_ms=monday_ms() + DAY_MS, kind="relational", touchpoint="relationship"
    )
    context = await _digest(tmp_path, h, ages, INTERVAL_MS)
    (row,) = [row for row in context.rows if row.spec.id == "repeat_intent"]
    assert (row.result.counts["off_interval"], row.result.n_superseded) == (4, 1)


def test_a_file_with_purchases_leaves_them_out_too(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    rows = [f"2026-11-16T10:00:00+09:00,c{n},repeat_intent,{5 if n < 30 else 1}" for n in range(50)]
    path.write_text("answered_at,customer,instrument,value\n" + "\n".join(rows), encoding="utf-8")
    deeds = [Deed(f"c{n}", "purchase", monday_ms() - (60 if n < 30 else 5) * DAY_MS, {}) for n in range(40)]

    def found(interval_ms: int | None) -> tuple[int, float | None, tuple[str, ...]]:
        days = None if interval_ms is None else interval_ms / DAY_MS
        settings = KpiSettings(repeat_interval_days=days)
        measured = measure_file(path, SPECS, tz=ZoneInfo("Asia/Tokyo"), deeds=deeds, settings=settings)
        lead = next(result for result in measured.results if result.variant == "top2")
        json.dumps(lead.to_json(), allow_nan=False)
        return lead.n_valid, lead.score, lead.flags

    assert found(None) == (50, pytest.approx(60.0), ()), "nobody came back yet: no interval is known"
    assert found(INTERVAL_MS) == (40, pytest.approx(75.0), ("off_interval",))
    deeds += [Deed(f"c{n}", "purchase", monday_ms() - 120 * DAY_MS, {}) for n in range(30)]
    assert found(None) == (40, pytest.approx(75.0), ("off_interval",)), "thirty gaps of sixty days were seen"

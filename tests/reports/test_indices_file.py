"""`koe metrics` with the items of indices: whose answers belong together, and what is printed of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reports.answers.render import render_json, render_table
from reports.answers.report import Measured, measure_file
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Result
from reports.segments import DAY_MS, Deed
from tests.nursery import run

TOKYO = ZoneInfo("Asia/Tokyo")
SPECS = specs_of(bundled_instruments())
HEAD = "answered_at,customer,session,instrument,value\n"
NOVEMBER_MS = 1_793_458_800_000
"""2026-11-01 00:00 in Tokyo."""


def measured(tmp_path: Path, rows: Iterable[str], head: str = HEAD, **more: Any) -> Measured:
    path = tmp_path / "answers.csv"
    path.write_text(head + "\n".join(rows), encoding="utf-8")
    return measure_file(path, SPECS, tz=TOKYO, **more)


def one(found: Measured, metric: str, variant: str) -> Result:
    (result,) = [result for result in found.results if (result.metric, result.variant) == (metric, variant)]
    return result


def sat(who: str, *codes: object, at: str = "2026-11-16") -> list[str]:
    return [f"{at},{who},,jcsi6_s{n},{code}" for n, code in enumerate(codes, 1)]


def test_the_worked_example_comes_out_of_a_file(tmp_path: Path) -> None:
    codes: list[tuple[object, ...]] = [(8, 9, 7), (6, 6, 5), (10, 10, 10), (3, 4, 2), (7, "skip", 8), (8, "", 11)]
    found = one(measured(tmp_path, [row for n, c in enumerate(codes) for row in sat(f"c{n}", *c)]), "jcsi6", "sat")
    assert (found.score, found.ci_low, found.ci_high) == pytest.approx((64.8148, 28.3858, 100.0), abs=5.1e-5, rel=0)
    assert (found.n_valid, found.n_missing, found.n_invalid) == (5, 2, 1)
    assert found.counts == {"partial_excluded": 1}


def test_items_are_joined_by_the_wave_that_they_name(tmp_path: Path) -> None:
    rows = [
        "2026-11-01,c1,w1,jcsi6_s1,1",
        "2026-11-12,c1,w2,jcsi6_s2,10",
        "2026-11-13,c1,w2,jcsi6_s3,10",
        "2026-11-13,c2,,jcsi6_s1,7",
        "2026-11-01,c2,,jcsi6_s3,8",
    ]
    found = one(measured(tmp_path, rows, head="answered_at,customer,wave,instrument,value\n"), "jcsi6", "sat")
    assert (found.n_valid, found.n_superseded) == (2, 1)
    assert found.score == pytest.approx((100.0 + 72.2222) / 2, abs=5e-5), "of c1 the later wave, of c2 both sessions"


def test_an_index_that_nobody_was_asked_for_is_not_mentioned(tmp_path: Path) -> None:
    found = measured(tmp_path, [*sat("c1", 8, 9, 7), "2026-11-16,c1,,jcsi6_v1,skip"])
    assert [r.variant for r in found.results if r.metric == "jcsi6"] == ["value", "sat"]


def test_the_sessions_of_one_wave_are_one_respondent_and_an_earlier_wave_is_superseded(tmp_path: Path) -> None:
    rows = [
        "2026-01-10,c1,s0,jcsi6_s1,1",
        "2026-01-10,c1,s0,jcsi6_s2,1",
        "2026-11-03,c1,s1,jcsi6_s2,9",
        "2026-11-10,c1,s2,jcsi6_s3,7",
        "2026-11-16,c1,s3,jcsi6_s1,8",
        "2026-11-16,c1,s3,jcsi6_s3,skip",
    ]
    found = one(measured(tmp_path, rows), "jcsi6", "sat")
    assert found.score == pytest.approx(700 / 9)
    assert (found.n_valid, found.n_superseded) == (1, 2)
    assert one(measured(tmp_path, rows[::-1]), "jcsi6", "sat").score == found.score
    late = [*rows[:2], "2026-11-16,c1,s3,jcsi6_s1,8"]
    assert one(measured(tmp_path, late), "jcsi6", "sat").n_valid == 0


def test_without_a_customer_a_session_is_a_respondent_and_without_both_a_row_belongs_to_nobody(tmp_path: Path) -> None:
    rows = [f",,f1,jcsi6_s{n},{code}" for n, code in enumerate((8, 9, 7), 1)]
    rows += [f",,,jcsi6_s{n},{code}" for n, code in enumerate((1, 1, 1), 1)]
    found = one(measured(tmp_path, rows), "jcsi6", "sat")
    assert found.score == pytest.approx(700 / 9)
    assert (found.n_valid, found.counts) == (1, {"partial_excluded": 3})


def test_items_asked_in_other_words_do_not_meet_in_one_index(tmp_path: Path) -> None:
    head = "customer,instrument,value,wording_id,lang\n"
    rows = [f"a,jcsi6_s{n},10,jcsi6_s{n}.own,ja" for n in (1, 2, 3)]
    rows += [f"b,jcsi6_s{n},1,jcsi6_s{n}.own.x,ja" for n in (1, 2, 3)]
    rows += [f"c,jcsi6_s{n},4,jcsi6_s{n}.own,en" for n in (1, 2, 3)]
    found = [r for r in measured(tmp_path, rows, head).results if (r.metric, r.variant) == ("jcsi6", "sat")]
    assert sorted((r.stratum.lang, r.score) for r in found) == [
        ("en", pytest.approx(100 / 3)),
        ("ja", 0.0),
        ("ja", 100.0),
    ]
    assert len({r.stratum for r in found}) == 3
    both = measured(tmp_path, ["d,jcsi6_s1,9,,ja", "d,jcsi6_s2,9,,ja", "d,jcsi6_s3,5,,en"], head)
    assert {(r.stratum.lang, r.n_valid) for r in both.results if r.variant == "sat"} == {("ja", 1)}
    alone = measured(tmp_path, rows[:3], head)
    assert one(alone, "jcsi6", "sat").stratum.wording_id == ""


def test_every_battery_says_that_it_is_our_own_calculation(tmp_path: Path) -> None:
    rows = [row for n in range(12) for row in sat(f"c{n}", 8, 9, 5 + n % 5)]
    rows += [f"2026-11-16,c{n},,cx11_{item},{4 + n % 2}" for n in range(12) for item in ("l1", "l2", *A8)]
    found = measured(tmp_path, rows)
    records = [record for record in json.loads(render_json(found)) if record["metric"] == "jcsi6"]
    assert {record["label"] for record in records} == {
        "JCSIの6指標を参考にした自社指標（公式のJCSIの値ではありません）"
    }
    table = render_table(found, SPECS, "ja")
    assert "JCSIの6指標を参考にした自社指標" in table
    assert "ここに示す指標は自社算出です" in table
    assert "fully × 6" in table
    english = render_table(found, SPECS, "en")
    assert "not a Gallup® CE11® score" in english
    assert "belong to their owners" in english


A8 = [f"a{n}" for n in range(1, 9)]


def test_the_six_statements_of_trust_have_their_own_means_too(tmp_path: Path) -> None:
    names = ("understanding", "care", "promise", "clarity", "honesty", "recovery")
    rows = [f"2026-11-16,c1,,trust6_{name},{code}" for name, code in zip(names, (5, 4, 5, 4, 4, 3), strict=True)]
    found = measured(tmp_path, rows)
    assert one(found, "trust6", "trust6").score == pytest.approx(950 / 12)
    assert [one(found, f"trust6_{name}", "mean").score for name in names] == [5, 4, 5, 4, 4, 3]


# ----------------------------------------------------------------------------------------------- customers in groups


def loyal(who: str, *, affinity: int = 5, nps: int = 9, at: str = "2026-11-16") -> list[str]:
    return [
        f"{at},{who},,affinity,{affinity}",
        f"{at},{who},,nps,{nps}",
        f"{at},{who},,emotion,relief;pride",
        f"{at},{who},,pay_more,はい",
    ]


def test_psychological_loyalty_needs_only_the_file_and_segments_need_events(tmp_path: Path) -> None:
    rows = [row for n in range(12) for row in loyal(f"c{n}")]
    found = measured(tmp_path, rows)
    assert one(found, "psy", "mean").score == pytest.approx(274 / 3)
    assert not [result for result in found.results if result.metric == "psy_beh"]
    deeds = [
        Deed(f"c{n}", "purchase", NOVEMBER_MS + day * DAY_MS, {"order": f"{n}-{day}"})
        for n in range(3)
        for day in (0, 5)
    ]
    found = measured(tmp_path, rows, deeds=deeds)
    assert one(found, "psy_beh", "share_truly_loyal").score == 25.0
    assert one(found, "psy_beh", "share_latent_fan").counts["latent_fan"] == 9
    assert "潜在ファン" in render_table(found, SPECS, "ja")


def test_customers_who_moved_since_a_date_are_counted_from_one_segment_to_another(tmp_path: Path) -> None:
    rows = [row for n in range(12) for row in loyal(f"c{n}", affinity=1, nps=0, at="2026-05-01")]
    rows += [row for n in range(6) for row in loyal(f"c{n}")]
    found = one(measured(tmp_path, rows, deeds=[], since_ms=NOVEMBER_MS), "psy_beh", "moved")
    assert (found.score, found.n_valid) == (50.0, 12)
    assert (found.counts["low_loyalty>latent_fan"], found.counts["low_loyalty>low_loyalty"]) == (6, 6)


def test_recommendation_and_continued_use_are_crossed_for_customers_with_both(tmp_path: Path) -> None:
    rows = [f"2026-11-16,c{n},,nps,{9 if n < 40 else 3}" for n in range(52)]
    rows += [f"2026-11-{10 + n % 6},c{n},,nrs,{1 if n < 6 else 4}" for n in range(50)]
    rows += ["2026-09-01,c50,,nrs,1", "2026-11-16,x,,nrs,1"]
    found = one(measured(tmp_path, rows), "nps_nrs", "quiet_risk")
    assert (found.score, found.ci_low, found.ci_high) == pytest.approx((12.0, 5.6176, 23.8048), abs=5.1e-5, rel=0)
    assert found.n_valid == 50
    few = measured(tmp_path, [*rows[:8], *rows[52:60]])
    assert "n<10 のため非表示" in render_table(few, SPECS, "ja").split("[nps_nrs]")[1]
    assert all(r["score"] is None for r in json.loads(render_json(few)) if r["metric"] == "nps_nrs")


def test_koe_metrics_reads_what_customers_did_from_a_file_of_events(tmp_path: Path) -> None:
    answers, events = tmp_path / "answers.csv", tmp_path / "events.jsonl"
    answers.write_text(HEAD + "\n".join(row for n in range(24) for row in loyal(f"c{n}")), encoding="utf-8")
    bought = [
        {
            "id": f"{n}-{day}",
            "type": "purchase",
            "occurred_at": f"2026-11-{day}",
            "customer": {"id": f"c{n}"},
            "data": {},
        }
        for n in range(12)
        for day in ("01", "09", "09")
    ]
    events.write_text("\n".join([*map(json.dumps, bought), "no event"]), encoding="utf-8")
    command = ["metrics", str(answers), "--events", str(events), "--since", "2026-06-01", "--format", "json"]
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = {(r["metric"], r["variant"]): r for r in json.loads(done.stdout)}
    assert records[("psy_beh", "share_truly_loyal")]["score"] == 50.0
    assert records[("psy_beh", "moved")]["status"] == "no_data"
    assert "events.jsonl:37: not JSON" in done.stderr
    alone = run("metrics", str(answers), "--since", "2026-06-01", cwd=tmp_path)
    assert (alone.returncode, "--since needs --events" in alone.stderr) == (2, True)

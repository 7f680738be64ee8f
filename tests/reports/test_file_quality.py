"""Whether the answers of a file can be trusted: what `koe metrics` says of rows that nobody seems to have read."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reports.answers.render import render_json, render_table
from reports.answers.report import Measured, measure_file
from reports.instruments import bundled_instruments, specs_of

SPECS = specs_of(bundled_instruments())
JCSI = [name for name in SPECS if name.startswith("jcsi6_")]
HEAD = "instrument,value,answered_at,customer,session,channel,lang\n"


def row(instrument: str, value: int, second: float, who: int, *, channel: str = "line", lang: str = "ja") -> str:
    """One answer so many seconds after ten o'clock of a day that is the customer's own."""
    minute, left = divmod(second, 60)
    at = f"2026-10-{1 + who % 28:02d}T{10 + who % 8:02d}:{int(minute):02d}:{left:06.3f}+09:00"
    return f"{instrument},{value},{at},C{who},s{who},{channel},{lang}\n"


def measured(tmp_path: Path, rows: Iterable[str], **more: Any) -> Measured:
    path = tmp_path / "answers.csv"
    path.write_text(HEAD + "".join(rows), encoding="utf-8")
    return measure_file(path, SPECS, tz=ZoneInfo("Asia/Tokyo"), **more)


def talks(of: Iterable[int], nps: int, pause: float) -> list[str]:
    """Three questions each, `pause` seconds apart."""
    return [
        line
        for who in of
        for line in (row("nps", nps, 5, who), row("sat5", 3, 5 + pause, who), row("affinity", 3, 5 + 2 * pause, who))
    ]


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("unit", ["latest_per_customer", "per_event"])
def test_speeders_are_counted_and_the_net_is_told_without_them(tmp_path: Path, shuffled: bool, unit: str) -> None:
    rows = talks(range(60), 9, 4.0) + talks(range(60, 80), 0, 0.4)
    if shuffled:
        random.Random(7).shuffle(rows)
    found = measured(tmp_path, rows, unit=unit)
    assert (found.quality.careless.speeder, found.quality.careless.straightline) == (20, 0)
    (without,) = found.quality.careless.without
    assert (without.result.metric, without.left_out) == ("nps", 20)
    assert (without.result.score, without.without.score) == (pytest.approx(50.0), pytest.approx(100.0))
    assert "20件を除くと +50.0 から +100.0" in render_table(found, SPECS, "ja")
    (told,) = [r for r in json.loads(render_json(found)) if r["variant"] == "net_without_careless"]
    assert (told["score"], told["all"], told["left_out"]) == (pytest.approx(100.0), pytest.approx(50.0), 20)


def test_only_the_answers_that_count_are_left_out(tmp_path: Path) -> None:
    # fifteen of the twenty careless customers answered again later, and took their time
    rows = talks(range(60), 9, 4.0) + talks(range(60, 80), 0, 0.4)
    rows += [row("nps", 9, 600, who).replace(f",s{who},", f",t{who},") for who in range(60, 75)]
    found = measured(tmp_path, rows)
    assert found.quality.careless.speeder == 20
    assert found.quality.careless.without == ()  # five are left: they could be read off a difference


def test_a_form_that_was_sent_as_a_whole_has_no_times(tmp_path: Path) -> None:
    found = measured(tmp_path, talks(range(40), 9, 0.0))
    assert found.quality.careless.speeder == 0


def battery(who: int, codes: Iterable[int]) -> list[str]:
    return [row(name, code, 10 + 4 * n, who) for n, (name, code) in enumerate(zip(JCSI, codes, strict=True))]


def test_a_straight_line_through_a_battery_is_found_and_its_indices_are_told_without_it(tmp_path: Path) -> None:
    turned = [name in ("jcsi6_e3", "jcsi6_q4") for name in JCSI]
    rows = [line for who in range(40) for line in battery(who, (3 if t else 8 for t in turned))]
    rows += [line for who in range(40, 60) for line in battery(who, [10] * len(JCSI))]
    found = measured(tmp_path, rows)
    assert found.quality.careless.straightline == 20
    told = {w.result.variant: w for w in found.quality.careless.without}
    # 8 of 1–10 is 77.78; a third of the respondents at 100 lifts the mean by 7.41
    assert told["sat"].result.score == pytest.approx(40 / 60 * 700 / 9 + 20 / 60 * 100, abs=1e-6)
    assert told["sat"].without.score == pytest.approx(700 / 9, abs=1e-6)
    assert told["sat"].left_out == 20
    # 10, 10 and 10 reversed are 100, 100 and 0
    assert told["exp"].result.score == pytest.approx(40 / 60 * 700 / 9 + 20 / 60 * 200 / 3, abs=1e-6)
    text = render_table(found, SPECS, "ja")
    assert "同じ番号の連続 20件" in text
    assert "顧客満足（自社指標）は、その20件を除くと" in text


def test_opposite_statements_that_were_answered_alike_are_named(tmp_path: Path) -> None:
    rows = [row(name, 1 + who % 10, 5, who) for who in range(30) for name in ("jcsi6_q1", "jcsi6_q4")]
    found = measured(tmp_path, rows)
    (agreed,) = found.quality.acquiescence
    assert (agreed.score, agreed.flags) == (pytest.approx(1.0), ("acquiescence",))
    assert "逆向きの質問ですが" in render_table(found, SPECS, "ja")
    assert "answered alike" in render_table(found, SPECS, "en")


def test_channels_are_compared_with_each_customer_once(tmp_path: Path) -> None:
    rows = [row("csat5", 5, 1, who) for who in range(40)]
    rows += [row("csat5", 2, 1, who, channel="slack") for who in range(40, 80)]
    rows += [row("csat5", 5, 50, who) for who in range(40, 50)]  # and said otherwise on LINE later
    found = measured(tmp_path, rows)
    (spread,) = found.quality.consistency
    assert {channel: result.n_valid for channel, result in spread.channels.items()} == {"line": 50, "slack": 30}
    assert (spread.spread, spread.differs) == (pytest.approx(100.0), True)
    assert "経路による違い" in render_table(found, SPECS, "ja")
    (whole,) = [r for r in found.results if (r.metric, r.variant) == ("csat5", "top2")]
    assert (whole.n_valid, whole.n_superseded, whole.score) == (80, 10, pytest.approx(100 * 50 / 80))


def test_the_use_of_the_scale_counts_every_answer_by_channel_and_language(tmp_path: Path) -> None:
    rows = [row("nps", 5, 1, who) for who in range(20)] + [row("nps", 10, 9, who) for who in range(20)]
    rows += [row("nps", 0, 1, who, channel="slack", lang="en") for who in range(20, 50)]
    used = [r for r in json.loads(render_json(measured(tmp_path, rows))) if "channel" in r]
    assert {(r["channel"], r["lang"], r["variant"]): r["score"] for r in used} == {
        ("line", "ja", "share_midpoint"): pytest.approx(50.0),
        ("line", "ja", "share_low_end"): 0.0,
        ("line", "ja", "share_high_end"): pytest.approx(50.0),
        ("slack", "en", "share_midpoint"): 0.0,
        ("slack", "en", "share_low_end"): pytest.approx(100.0),
        ("slack", "en", "share_high_end"): 0.0,
    }


def test_below_its_target_a_score_says_what_to_do_in_either_form(tmp_path: Path) -> None:
    found = measured(tmp_path, talks(range(40), 6, 4.0), targets={"nps": 10.0})
    (told,) = [r for r in json.loads(render_json(found, "ja")) if "hint" in r]
    assert (told["metric"], told["variant"], told["hint"]["target"]) == ("nps", "net", 10.0)
    assert told["hint"]["text"] in render_table(found, SPECS, "ja")

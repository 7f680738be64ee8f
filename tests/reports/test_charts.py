"""Charts: glyphs that are really drawn, colours that can be told apart, and the table behind each."""

from __future__ import annotations

import io
import json
import re
from datetime import date
from itertools import combinations
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from PIL import Image
from report_pages import busy_shop, views_of

from bot.standins.blocks import validate_message
from reports.charts import charts, drawing
from reports.charts import labels as chart_labels
from reports.charts.drawing import DARK, LIGHT, Chart
from reports.drivers.analysis import Driver, DriverAnalysis
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Result, Span, Stratum, measure, record, tally
from reports.page import labels as page_labels
from reports.page import page
from reports.page.page import CHART_AT
from reports.page.views import EVERYBODY, HeatRow, Point, Trend
from reports.procedures import share
from reports.words import Language

NPS = specs_of(bundled_instruments())["nps"]


def ink(png: bytes, box: tuple[int, int, int, int]) -> int:
    """Dark pixels in a part of a picture."""
    part = Image.open(io.BytesIO(png)).convert("L").crop(box)
    return sum(part.histogram()[:128])


def drawn(chart: Chart) -> bytes:
    png = chart.png()
    assert png.startswith(b"\x89PNG")
    return png


async def test_japanese_titles_are_drawn_and_not_left_blank(tmp_path: Path) -> None:
    _, views = await views_of(busy_shop(weeks=4), tmp_path)
    chart = charts.trend(views.trend(EVERYBODY), NPS, "ja")
    assert chart is not None
    import dataclasses

    def title(text: str) -> bytes:
        return drawn(dataclasses.replace(chart, title=text))

    box = (0, 0, 900, 56)
    written, empty, unknown = (ink(title(text), box) for text in ("推移週声店歩", "", "\U0001f9ff" * 6))
    assert empty == 0
    # six characters of Japanese are much ink; one without a glyph would be a box or nothing, whatever it is
    assert written > 1500
    assert title("推移週声店歩") != title("批判者推奨")
    assert written != unknown


def test_the_font_has_every_character_that_a_chart_or_a_page_can_say() -> None:
    known = set(TTFont(drawing.font_file()).getBestCmap())
    said = json.dumps(
        [chart_labels.LABELS, chart_labels.GROUPS, page_labels.LABELS, page_labels.BLOCK_TITLES], ensure_ascii=False
    )
    assert not {char for char in said if ord(char) not in known}
    # and of a shop's own words: every kanji of everyday and of names in JIS X 0208
    for row in range(16, 84):
        for cell in range(1, 95):
            try:
                char = bytes((row + 0xA0, cell + 0xA0)).decode("euc_jp")
            except UnicodeDecodeError:
                continue
            assert ord(char) in known, char


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# what LMS cones without one kind of pigment make of a colour (Viénot, Brettel & Mollon 1999), linear RGB
_BLIND = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


def seen(colour: str, kind: str) -> tuple[float, ...]:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    ]
    turned = [sum(w * c for w, c in zip(row, linear, strict=True)) for row in _BLIND[kind]]
    return tuple(max(0.0, c) ** (1 / 2.4) for c in turned)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_read_and_told_apart_without_red_and_green(colours: drawing.Colours) -> None:
    for paper in ("paper", "plot"):
        for text in ("ink", "mute", "accent"):
            assert contrast(colours[text], colours[paper]) >= 4.5, (text, paper)
    for fill, text in (("accent", "on"), ("warm", "on"), ("pale", "ink"), ("off", "mute"), ("band", "ink")):
        assert contrast(colours[text], colours[fill]) >= 4.5, (fill, text)
    for step in range(6):
        assert contrast(colours["on" if step >= 4 else "ink"], colours[f"h{step}"]) >= 4.5, step
    for kind in _BLIND:
        for one, other in combinations(("accent", "warm", "pale"), 2):
            apart = sum((a - b) ** 2 for a, b in zip(seen(colours[one], kind), seen(colours[other], kind), strict=True))
            assert apart**0.5 > 0.2, (kind, one, other)


def test_shares_and_distribution_agree_with_their_counts() -> None:
    results = measure(NPS, tally(NPS, [("9", 20), ("8", 15), ("3", 5)]))
    parts = charts.shares(results, NPS, "en")
    assert parts is not None
    assert [row[:3] for row in parts.table.rows] == [
        ("Detractors 0–6", "5", "12.5%"),
        ("Passives 7–8", "15", "37.5%"),
        ("Promoters 9–10", "20", "50.0%"),
    ]
    assert all(row[3] for row in parts.table.rows), "each share with its interval"
    bars = charts.distribution(results, NPS, "ja")
    assert bars is not None
    assert bars.table.rows[9] == ("9", "20", "50.0%")
    assert len(bars.table.rows) == 11


def test_a_suppressed_result_is_not_drawn() -> None:
    results = measure(NPS, tally(NPS, [("9", 9)]))
    assert charts.shares(results, NPS, "ja") is None
    assert charts.distribution(results, NPS, "ja") is None


def driver(name: str, share: float, performance: float, place: str) -> Driver:
    return Driver(
        instruments=(name,), lmg=share / 100, share=share, low=share - 8, high=share + 8, rho=0.4,
        performance=performance, place=place, undecided=False, priority=share * (100 - performance) / 100,
        model_sign=1,
    )  # type: ignore[arg-type]  # fmt: skip


def test_the_map_of_drivers_numbers_them_in_their_order_and_names_the_readings() -> None:
    specs = specs_of(bundled_instruments())
    names = sorted(name for name in specs if name.startswith("exp_"))[:4]
    found = DriverAnalysis(
        block="purchase", stratum=Stratum(), window=Span("2026-07-01", "2026-10-01"), n=240, incomplete=10,
        minimum=100, why_not="", r2=0.4,
        drivers=(driver(names[0], 45, 48, "improve"), driver(names[1], 30, 78, "keep"),
                 driver(names[2], 15, 52, "watch"), driver(names[3], 10, 80, "overdone")),
    )  # fmt: skip
    for lang, first in (("ja", "最優先で改善"), ("en", "improve first")):
        chart = charts.driver_map(found, specs, lang)  # type: ignore[arg-type]
        assert chart is not None
        assert [row[0] for row in chart.table.rows] == ["1", "2", "3", "4"]
        assert chart.table.rows[0][-1] == first
        drawn(chart)


async def test_the_native_chart_is_a_block_that_slack_takes_and_speaks_of_the_same_numbers(tmp_path: Path) -> None:
    context, views = await views_of(busy_shop(weeks=12), tmp_path)
    made = page.digest_chart(context, views)
    assert made is not None
    blocks = [{"type": "section", "text": {"type": "plain_text", "text": "x"}}] * CHART_AT + [made["block"]]
    assert validate_message({"blocks": blocks}) == []
    values = [point["value"] for point in made["block"]["chart"]["series"][0]["data"]]
    shown = [
        p.result.score for p in views.trend(EVERYBODY).points if p.result is not None and p.result.score is not None
    ]
    assert values == [round(value, 1) for value in shown]
    assert len(made["alt"]) <= 2000
    assert re.search(r"n=\d+", made["alt"])


def test_a_figure_s_weeks_have_the_band_of_their_intervals_and_each_its_n() -> None:
    def week(number: int, k: int, n: int) -> Result:
        span = Span(f"2026-10-{number:02}", f"2026-10-{number + 7:02}")
        return record("repeat_rate", "share", share(k, n), n, form="share", window=span).shown()

    weeks = [week(5, 20, 50), week(6, 3, 5), week(7, 30, 60), week(8, 25, 60)]
    chart = charts.sparkline(weeks, "リピート率", "ja")
    assert chart is not None
    # the hidden week parts the line; a week alone keeps its band
    assert [len(band.split()) for band in chart.parts["bands"]] == [4, 4]
    assert [len(line.split()) for line in chart.parts["lines"]] == [1, 2]
    for band in chart.parts["bands"]:
        assert all(
            0 <= float(value) <= size
            for at in band.split()
            for value, size in zip(at.split(","), (180, 44), strict=True)
        )
    assert chart.table.head[-2:] == ("95%信頼区間", "n")
    assert [row[-1] for row in chart.table.rows] == ["50", "", "60", "60"]
    assert all(row[2] for row in chart.table.rows if row[-1])
    assert chart.desc.startswith("最初の週は 40.0%（n=50）、最後の週は 41.7%（n=60）です。")
    assert '<polygon class="k-band"' in chart.svg("c")
    assert "5" not in chart.table.rows[1][1:], "a hidden week says neither its score nor its number of answers"


@pytest.mark.parametrize(("low", "high"), [(-100, 100), (0, 0.001), (3.2, 3.9), (-3, 41), (0, 100)])
def test_axes_cover_what_they_show(low: float, high: float) -> None:
    marks = drawing.ticks(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 8


def test_long_names_are_cut_to_their_place() -> None:
    assert drawing.fitting("渋谷駅前スクランブル交差点店", 100) == "渋谷駅前スク…"
    assert drawing.text_width(drawing.fitting("x" * 500, 100)) <= 100


def week_of(place: int, promoters: int) -> Point:
    result, *_ = measure(NPS, tally(NPS, [("9", promoters), ("3", 40 - promoters)]))
    return Point(date(2026, 10, 5 + 7 * place), "", result)


@pytest.mark.parametrize("last", [10, 30])
def test_the_label_of_the_last_week_stands_where_its_line_does_not_come_from(last: int) -> None:
    chart = charts.trend(Trend(EVERYBODY, (week_of(0, 20), week_of(1, 20), week_of(2, last))), NPS, "ja")
    assert chart is not None
    point = chart.parts["points"][-1]
    assert (point.label_y > point.y) is (last < 20)
    assert 0 < point.label_y < chart.parts["bottom"]


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("width", [charts.WIDTH, charts.NARROW])
def test_what_a_heat_map_s_cells_say_keeps_off_its_scale(lang: Language, width: int) -> None:
    few = Point(date(2026, 10, 19), "few")
    row = HeatRow(Stratum("transactional", "purchase"), (week_of(0, 20), week_of(1, 35), few))
    chart = charts.heat_map([row], NPS, lang, width=width)
    assert chart is not None
    parts = chart.parts
    assert ("表示なし" if lang == "ja" else "not shown") in parts["legend"]
    ends = parts["left"] + drawing.text_width(parts["legend"], 11.5)
    scale = parts["steps"][0].x - 8 - drawing.text_width(parts["low_name"], 11.5)
    assert ends < scale or parts["legend_y"] > parts["foot"] + 24
    assert parts["legend_y"] < chart.height

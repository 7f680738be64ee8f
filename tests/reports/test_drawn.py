"""What is drawn, written and posted, read back: no number, point, bar or shade that the model does not show.

The attack on small cells works on the model (`pencil`). Here every form of it is taken apart again – the page, its
pictures and the tables behind them, the messages in Slack with the chart of Slack's own, the text – so that what holds
for the model holds for all of them.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from html import unescape
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from pencil import digests_of
from report_history import slack_messages
from report_pages import page_in
from test_small_cells import drawn_shop, shop_on_trial

from reports.charts import charts
from reports.charts import labels as chart_labels
from reports.charts.drawing import Chart
from reports.digest import DigestContext
from reports.metrics import Result
from reports.page.page import digest_chart
from reports.page.views import EVERYBODY, Point, Views
from reports.render import render_json, render_text
from reports.rounding import rounded
from reports.sample import samples
from reports.words import Language

Model = tuple[DigestContext, Views]
LANGUAGES: tuple[Language, ...] = ("ja", "en")
WIDTHS = (charts.WIDTH, charts.NARROW)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Small shops with hidden weeks, segments, channels and arms, and a digest with something in every part."""
    small = [asyncio.run(digests_of(drawn_shop(seed), tmp_path_factory.mktemp("shop"), back=(0,))) for seed in (0, 1)]
    history, trial = shop_on_trial(1)
    tried = asyncio.run(digests_of(history, tmp_path_factory.mktemp("trial"), back=(0,), trials=(trial,)))
    return [*(model for (model,) in (*small, tried)), next(samples())]


def results_in(found: Any) -> Iterator[Result]:
    """Every record in a value, however deep."""
    if isinstance(found, Result):
        yield found
    elif is_dataclass(found):
        for field in fields(found):
            yield from results_in(getattr(found, field.name))
    elif isinstance(found, dict):
        for part in found.values():
            yield from results_in(part)
    elif isinstance(found, (tuple, list)):
        for part in found:
            yield from results_in(part)


def test_what_may_not_be_shown_has_left_the_model(models: list[Model]) -> None:
    hidden = 0
    for context, views in models:
        for result in results_in((context, views)):
            if result.status == "suppressed":
                hidden += 1
                assert (result.score, result.ci_low, result.ci_high, dict(result.counts)) == (None, None, None, {})
        told = json.dumps(render_json(context))
        for arm in re.findall(r'\{"id": "[^"]*", "entered"[^}]*\}', told):
            found = json.loads(arm)
            assert found["status"] in ("caution", "ok") or (found["score"], found["response_score"]) == (None, None)
    assert hidden > 20


# ------------------------------------------------------------------------------------------------- numbers in words

_DATE = re.compile(
    r"\d{4}-\d\d-\d\d( \d\d:\d\d)?|\d{4}年|\d{1,2}月(\d{1,2}日)?|\d{1,2}日|\d{1,2}/\d{1,2}|\d{4}-(W?)\d\d|"
    r"\d{1,2}( ?(to|–|-) ?\d{1,2})? (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*( \d{4})?|"
    r"(January|February|March|April|May|June|July|August|September|October|November|December) \d{4}"
)
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


class _Said(HTMLParser):
    """Everything that a page says: text, and what is read aloud; not its style and script."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._quiet = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._quiet += tag in ("style", "script")
        self.said += [value or "" for name, value in attrs if name in ("aria-label", "title", "alt", "content")]

    def handle_endtag(self, tag: str) -> None:
        self._quiet -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.said.append(data)


def said_by(html: str) -> str:
    parser = _Said()
    parser.feed(html)
    return "\n".join(part for part in parser.said if "sha256-" not in part)


def with_decimals(text: str) -> set[str]:
    """The numbers with digits after the point: scores, bounds, shares, differences."""
    return {found.replace(",", "") for found in _NUMBER.findall(_DATE.sub(" ", text)) if "." in found}


def large(text: str) -> set[str]:
    """Whole numbers from ten on: how many there are of something."""
    found = (number.replace(",", "") for number in _NUMBER.findall(_DATE.sub(" ", text)))
    return {number for number in found if "." not in number and int(number) >= 10}


def numbers_of(value: Any) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers_of(part)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def known(model: Model) -> set[str]:
    """The numbers of a model as they may be written: rounded, without a sign; and the shares that its counts make."""
    context, views = model
    shown = [result for result in results_in(views) if result.status in ("caution", "ok")]
    found = {*numbers_of(render_json(context)), *(n for result in shown for n in numbers_of(result.to_json()))}
    for result in (*shown, *(r for r in results_in(context) if r.status in ("caution", "ok"))):
        codes = {int(code): n for code, n in result.counts.items() if code.lstrip("-").isdigit()}
        spec = context.specs.get(result.metric)
        if spec is not None and codes and result.n_valid:
            for group in (spec.positive, spec.negative, set(codes) - {*spec.positive, *spec.negative}):
                codes[-1 - len(codes)] = sum(codes.get(code, 0) for code in group)
        counts = (*codes.values(), *result.counts.values())
        found |= {100.0 * n / result.n_valid for n in counts if result.n_valid}
        found |= {float(n) for n in counts}
        if context.drivers:
            found |= {found_.r2 * 100 for found_ in context.drivers if found_.r2 is not None}
    return {rounded(abs(number), digits) for number in found for digits in (0, 1, 2, 3)}


def in_forms(model: Model, lang: Language) -> Iterator[tuple[str, str]]:
    """(name, everything it says) of each form."""
    context = replace(model[0], language=lang)
    yield "text", render_text(context)
    yield "page", said_by(page_in(lang, context, model[1])["html"])
    messages = slack_messages(replace(context, texts=None))
    yield "Slack", "\n".join(text for message in messages for text in _texts(message))
    chart = digest_chart(context, model[1])
    if chart is not None:
        block = chart["block"]["chart"]
        values = (str(point["value"]) for series in block["series"] for point in series["data"])
        yield "Slack's own chart", "\n".join([chart["alt"], *values])


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        if isinstance(found.get("text"), str):
            yield found["text"]
        for part in found.values():
            yield from _texts(part)
    elif isinstance(found, list):
        for part in found:
            yield from _texts(part)


LEVELS = {"0.001", "97.5"}
"""Of tests and intervals."""
SAID_ALWAYS = {"10", "24", "30", "48", "72", "95", "100", "365", "90", "2000", "14", "12", "20", "11", "29"}
"""Of rules and scales: minima, hours, levels, codes."""


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_number_in_words_is_one_of_the_model(models: list[Model], lang: Language) -> None:
    for model in models:
        allowed = known(model)
        for name, text in in_forms(model, lang):
            assert with_decimals(text) - allowed - ticks_of(model) - LEVELS == set(), name
            if model is not models[-1]:  # the sample's counts are made up one by one
                assert large(text) - allowed - SAID_ALWAYS - ticks_of(model) == set(), name


def ticks_of(model: Model) -> set[str]:
    """The labels of axes, which are round numbers around what is drawn."""
    context, views = model
    found: set[str] = set()
    for chart in charts_of(views):
        found |= {_bare(tick.label) for tick in chart.parts.get("ticks", ())}
        found |= {_bare(chart.parts[name]) for name in ("low_name", "high_name") if name in chart.parts}
    for analysis in context.drivers:
        drawn = charts.driver_map(analysis, context.specs, "en")
        found |= {_bare(tick.label) for axis in ("x_ticks", "y_ticks") for tick in (drawn.parts[axis] if drawn else ())}
    return found


def _bare(label: str) -> str:
    return label.lstrip("-+").rstrip("%")


# ---------------------------------------------------------------------------------------------------------- pictures


def charts_of(views: Views) -> Iterator[Chart]:
    """The pictures of the scores."""
    for width in WIDTHS:
        for line in views.trends:
            yield from _there(charts.trend(line, views.spec, "ja", width=width))
        for view in views.views:
            if view.results:
                yield from _there(charts.distribution(view.results, views.spec, "ja", width=width))
                yield from _there(charts.shares(view.results, views.spec, "ja", width=width))
        for weeks in (1, 4, 12):
            rows = [(v.scope.value, v.results[0] if v.results else None, "–") for v in views.views if v.weeks == weeks]
            yield from _there(charts.intervals("", rows, views.spec, "ja", width=width))
        for scope in views.scopes if views.heat_spec is not None else ():
            touchpoints = [row for row in (*views.heat, *views.heat_parts) if row.scope == scope]
            if views.heat_spec is not None and touchpoints:
                yield from _there(charts.heat_map(touchpoints, views.heat_spec, "ja", width=width))


def _there(chart: Chart | None) -> Iterable[Chart]:
    return () if chart is None else (chart,)


Drawn = list[tuple[str, dict[str, str], str]]
"""(tag, attributes, text) of each element."""


def drawn(chart: Chart) -> Drawn:
    root = ElementTree.fromstring(str(chart.svg("c")))
    return [(e.tag.rpartition("}")[2], dict(e.attrib), "".join(e.itertext())) for e in root.iter()]


def of_class(found: Drawn, tag: str, name: str = "") -> list[dict[str, str]]:
    return [at for kind, at, _ in found if kind == tag and name in at.get("class", "")]


def scale(found: Drawn, axis: str) -> Any:
    """Pixel → value, read off two lines of the axis and their labels."""
    lines = [(float(at[f"{axis}1"]), place) for place, (tag, at, _) in enumerate(found)
             if tag == "line" and at.get("class") in ("k-axis", "k-grid")]  # fmt: skip
    (p, first), (q, last) = lines[0], lines[-1]
    low, high = float(found[first + 1][2]), float(found[last + 1][2])
    return lambda pixel: low + (pixel - p) / (q - p) * (high - low)


def shown(points: Iterable[Point]) -> list[Result]:
    return [p.result for p in points if p.result is not None and p.result.score is not None]


def corners(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (corner.split(",") for corner in points.split())]


def test_pictures_consist_of_nothing_but_what_is_looked_at_here(models: list[Model]) -> None:
    attributes = {"class", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "width", "height", "points", "id",
                  "viewBox", "role", "aria-labelledby", "lang"}  # fmt: skip
    tags = {"svg", "title", "desc", "text", "line", "polygon", "polyline", "circle", "rect"}
    for _, views in models:
        for chart in charts_of(views):
            for tag, at, _ in drawn(chart):
                assert tag in tags
                assert at.keys() <= attributes
                assert "opacity" not in at.get("class", "")


def test_a_line_has_a_point_for_each_week_that_is_told_and_its_band_is_that_of_their_intervals(
    models: list[Model],
) -> None:
    hidden = 0
    for _, views in models:
        for line in views.trends:
            chart = charts.trend(line, views.spec, "ja")
            told = shown(line.points)
            hidden += len(line.points) - len(told)
            assert (chart is None) == (len(told) < 2)
            if chart is None:
                continue
            found = drawn(chart)
            value = scale(found, "y")
            circles = [(float(at["cx"]), float(at["cy"])) for at in of_class(found, "circle")]
            assert [value(y) for _, y in circles] == pytest.approx([r.score for r in told], abs=0.5)
            ends = {corner for at in of_class(found, "polyline") for corner in corners(at["points"])}
            assert ends <= set(circles)
            band = [y for at in of_class(found, "polygon") for _, y in corners(at["points"])]
            bounds = [bound for r in told for bound in (r.ci_low, r.ci_high) if bound is not None]
            assert all(min(abs(value(y) - bound) for bound in bounds) < 0.5 for y in band)
            weeks = {row[0]: row[1:] for row in chart.table.rows}
            assert len(weeks) == len(line.points)
            for point, row in zip(line.points, chart.table.rows, strict=True):
                if point.result is None:
                    assert row[1:] == (chart_labels.why(point.hidden, "ja"), "", "")
    assert hidden > 10


def test_a_heat_map_shades_and_names_only_what_is_told(models: list[Model]) -> None:
    looked = 0
    for _, views in models:
        parts = [[row for row in views.heat_parts if row.scope == scope] for scope in views.scopes[1:]]
        for rows in (list(views.heat), *parts):
            for width in WIDTHS if views.heat_spec is not None else ():
                chart = charts.heat_map(rows, views.heat_spec, "ja", width=width) if views.heat_spec else None
                points = [p for row in rows for p in row.points]
                assert (chart is None) == (not shown(points))
                if chart is None:
                    continue
                found = drawn(chart)
                cells = [place for place, (tag, at, _) in enumerate(found) if tag == "rect" and "rx" in at]
                assert len(cells) == len(points)
                texts = [text for row in chart.table.rows for text in row[1:]]
                for point, place, text in zip(points, cells, texts, strict=True):
                    looked += 1
                    hidden = point.result is None
                    assert (found[place][1]["class"] == "k-off", found[place + 1][2] == "–") == (hidden, hidden)
                    if hidden:
                        assert text == chart_labels.why(point.hidden, "ja")
                        # nothing stands below the dash: the next text is that of another row or cell
                        assert found[place + 1][1]["class"] == "k-mute k-mid"
    assert looked > 50


def test_scores_side_by_side_have_a_point_and_a_bar_only_where_they_are_told(models: list[Model]) -> None:
    for _, views in models:
        for weeks in (1, 4, 12):
            rows = [(v.scope.value or "all", v.results[0] if v.results else None, "no") for v in views.views
                    if v.weeks == weeks]  # fmt: skip
            chart = charts.intervals("", rows, views.spec, "ja")
            told = [r for _, r, _ in rows if r is not None and r.score is not None]
            if chart is None:
                assert not told
                continue
            found = drawn(chart)
            value = scale(found, "x")
            centres = [value(float(at["cx"])) for at in of_class(found, "circle")]
            assert centres == pytest.approx([r.score for r in told], abs=0.5)
            bars = of_class(found, "line", "k-bar")
            assert len(bars) == sum(r.ci_low is not None for r in told)
            texts = [text for tag, _, text in found if tag == "text"]
            assert texts.count("no") == len(rows) - len(told)


def test_bars_are_as_high_and_as_wide_as_the_shares_of_a_result_that_is_told(models: list[Model]) -> None:
    for _, views in models:
        for view in views.views:
            if not view.results:
                continue
            lead = view.results[0]
            chart = charts.distribution(view.results, views.spec, "ja")
            assert chart is not None
            heights = [float(at["height"]) for at in of_class(drawn(chart), "rect") if at["height"] != "12"]
            counts = [lead.counts.get(str(code), 0) for code in range(views.spec.low, views.spec.high + 1)]
            assert heights == pytest.approx([138 * n / max(counts) for n in counts], abs=0.1)
            assert sum(counts) == lead.n_valid >= 10


def test_a_small_line_has_a_point_for_each_week_that_is_told() -> None:
    context, _ = next(samples())
    assert context.kpis is not None
    ((_, weeks),) = context.kpis.series.items()
    told = [r if place % 3 else replace(r, n_valid=4, status="suppressed").shown() for place, r in enumerate(weeks)]
    chart = charts.sparkline(told, "x", "ja")
    assert chart is not None
    kept = [r.score for r in told if r.score is not None]
    ys = [float(at["cy"]) for at in of_class(drawn(chart), "circle")]
    order = sorted(range(len(ys)), key=lambda place: -ys[place])
    assert [kept[place] for place in order] == sorted(kept)
    assert len(ys) == len(kept)
    assert [row[1] for row in chart.table.rows if not row[3]] == [chart_labels.why("few", "ja")] * (
        len(told) - len(kept)
    )


def test_slacks_own_chart_has_the_weeks_that_are_told_and_no_others(models: list[Model]) -> None:
    for _, views in models:
        line = views.trend(EVERYBODY)
        block = charts.native(line, views.spec, "ja")
        told = shown(line.points)
        if block is None:
            assert len(told) < 2
            continue
        series = {s["name"]: [point["value"] for point in s["data"]] for s in block["chart"]["series"]}
        assert next(iter(series.values())) == [round(r.score or 0.0, 1) for r in told]
        assert all(len(values) == len(told) for values in series.values())
        assert len(block["chart"]["axis_config"]["categories"]) == len(told)


# ------------------------------------------------------------------------------------- what stands in a hidden place


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_place_of_a_hidden_number_says_why_and_nothing_else(models: list[Model], lang: Language) -> None:
    hidden = 0
    for context, views in models:
        html = page_in(lang, context, views)["html"]
        bodies = re.split(r'<div class="panel" ', html)[1:]
        for view, body in zip(views.views, bodies, strict=True):
            if view.results:
                continue
            hidden += 1
            body = body.split("</div>\n<div data-scope")[0].split('<div data-scope="')[0]
            said = _DATE.sub(" ", said_by("<div " + body.split("</section>")[0]))
            assert [unescape(found) for found in re.findall(r'class="big"[^>]*>([^<]*)<', body)] == [
                chart_labels.why(view.hidden, lang)
            ]
            assert "<svg" not in body
            rest = _NUMBER.findall(said.replace("n<10", "").replace("n&lt;10", ""))
            assert set(rest) <= {"10", "0", "100", "6", "9", "95"}, said
    assert hidden

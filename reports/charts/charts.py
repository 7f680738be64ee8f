"""The charts: what is reckoned of each, where its parts stand, and the table with the same numbers.

No chart says something by colour alone. No sending, no "today".

Source: docs/decisions/0018-one-drawing.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from types import SimpleNamespace
from typing import Any

from reports.charts.drawing import Chart, Table, fitting, text_width, ticks
from reports.charts.labels import GROUPS, LABELS, why
from reports.drivers.analysis import DriverAnalysis
from reports.metrics import Form, InstrumentSpec, Result
from reports.page.views import HeatRow, Point, Trend
from reports.rounding import rounded
from reports.words import Language, Words

WIDTH = 680
NARROW = 340
"""On a phone: the same chart drawn anew, for one that is shrunk cannot be read."""
SPARK_WIDTH = 180
SLACK_LABEL = 20
SLACK_TITLE = 50
_STEPS = 6


def _limits(form: Form, spec: InstrumentSpec) -> tuple[float, float]:
    match form:
        case "net":
            return -100.0, 100.0
        case "mean":
            return float(spec.low), float(spec.high)
        case _:
            return 0.0, 100.0


def _tick_label(value: float) -> str:
    return rounded(value, 0) if value == int(value) else rounded(value, 2).rstrip("0")


def _xy(x: float, y: float) -> str:
    return f"{x:.1f},{y:.1f}"


def _runs(points: Sequence[Point]) -> Iterable[list[int]]:
    """Places of the weeks that follow each other with a number."""
    run: list[int] = []
    for place, point in enumerate(points):
        if point.result is not None and point.result.score is not None:
            run.append(place)
        elif run:
            yield run
            run = []
    if run:
        yield run


def trend(found: Trend, spec: InstrumentSpec, lang: Language, *, whose: str = "", width: int = WIDTH) -> Chart | None:
    """A score week by week with the band of its interval and its n; None below two weeks with a number."""
    say, words = LABELS[lang], Words(lang)
    shown = [point.result for point in found.points if point.result is not None and point.result.score is not None]
    if len(shown) < 2:
        return None
    form = shown[0].form
    values = [v for r in shown for v in (r.score, r.ci_low, r.ci_high) if v is not None]
    marks = _axis(values, form, spec)
    left, right, top, bottom = (58.0, width - 24.0, 22.0, 218.0) if width >= WIDTH else (40.0, width - 8.0, 22.0, 190.0)

    def y(value: float) -> float:
        return round(bottom - (value - marks[0]) / (marks[-1] - marks[0]) * (bottom - top), 1)

    gap = (right - left) / len(found.points)
    xs = [round(left + gap * (place + 0.5), 1) for place in range(len(found.points))]
    scored = [(place, p.result) for place, p in enumerate(found.points) if p.result and p.result.score is not None]
    last = scored[-1][0]
    bands, lines = [], []
    for run in _runs(found.points):
        results = [(xs[place], found.points[place].result) for place in run]
        lines.append(" ".join(_xy(x, y(r.score)) for x, r in results if r and r.score is not None))
        sure = [(x, r.ci_low, r.ci_high) for x, r in results if r and r.ci_low is not None and r.ci_high is not None]
        bands.append(_band([(x, y(low), y(high)) for x, low, high in sure], gap / 5))
    named = f"・{whose}" if whose and lang == "ja" else f", {whose}" if whose else ""
    title = say["trend"].format(metric=words.metric(spec), whose=named, weeks=len(found.points))
    drawn = []
    below = [
        (_day(p, lang), words.count(p.result.n_valid) if p.result else "0" if p.hidden == "none" else "–")
        for p in found.points
    ]
    # where not every week has room for its label, the newest has
    step = math.ceil(max(text_width(text, 11.5) + 4 for both in below for text in both) / gap)
    for place, (x, point) in enumerate(zip(xs, found.points, strict=True)):
        r = point.result
        score = None if r is None else r.score
        value = words.score(r) if r is not None and place == last else ""
        earlier = found.points[place - 1].result if place else None
        before = None if earlier is None or earlier.score is None else y(earlier.score)
        drawn.append(
            SimpleNamespace(
                x=x,
                y=None if score is None else y(score),
                caution=r is not None and r.status == "caution",
                value=value,
                label_x=min(x, width - 6 - text_width(value) / 2),
                label_y=None if score is None else _beside_line(y(score), before=before, bottom=bottom),
                labelled=(len(xs) - 1 - place) % step == 0,
                day=below[place][0],
                n=below[place][1],
            )
        )
    said = [say["trend_band"], say["trend_open"]]
    if any(p.hidden not in ("", "none") for p in found.points):
        said.append(say["trend_hidden"])
    legend = [SimpleNamespace(x=x, y=y, label=label) for x, y, label in _flowing(said, left, right, bottom + 54)]
    parts = {
        "left": left, "right": right, "bottom": bottom, "points": drawn, "bands": bands, "lines": lines,
        "ticks": [SimpleNamespace(y=y(m), label=_tick_label(m), zero=m == 0) for m in marks], "legend": legend,
    }  # fmt: skip
    desc = _from_to(scored[0][1], scored[-1][1], words)
    height = int(legend[-1].y + 12)
    return Chart(title, desc, lang, width, height, _weeks_table(found.points, words), "trend", parts)


def _beside_line(y: float, *, before: float | None, bottom: float) -> float:
    """Where the label of a point at `y` stands: below it when the line comes down from `before`, else above."""
    if before is not None and before < y - 8 and y + 24 <= bottom:
        return y + 21
    return max(12.0, y - 11)


def _flowing(labels: Sequence[str], left: float, right: float, top: float) -> list[tuple[float, float, str]]:
    """(x, y, label) of small labels one after the other, in as many lines as they need."""
    placed, x, y = [], left, top
    for label in labels:
        wide = text_width(label, 11.5)
        if x > left and x + wide > right:
            x, y = left, y + 18
        placed.append((round(x, 1), y, label))
        x += wide + 22
    return placed


def _band(sure: Sequence[tuple[float, float, float]], half: float) -> str:
    """The polygon of intervals (x, y of the low end, y of the high one); one alone is `half` wide to either side."""
    if len(sure) == 1:  # a week between two hidden ones keeps its interval
        x, low, high = sure[0]
        sure = [(x - half, low, high), (x + half, low, high)]
    return " ".join([_xy(x, high) for x, _, high in sure] + [_xy(x, low) for x, low, _ in reversed(sure)])


def _axis(values: Sequence[float], form: Form, spec: InstrumentSpec) -> list[float]:
    least, most = _limits(form, spec)
    low, high = max(least, min(values)), min(most, max(values))
    narrow = (most - least) / 10 - (high - low)
    if narrow > 0:  # a flat line must not look like a storm
        low, high = max(least, low - narrow / 2), min(most, high + narrow / 2)
    return ticks(low, high)


def _day(point: Point, lang: Language) -> str:
    return _date(point.monday, lang)


def _date(day: date, lang: Language) -> str:
    return f"{day.month}/{day.day}" if lang == "ja" else Words(lang).day(day).rsplit(" ", 1)[0]


def _from_to(first: Result, last: Result, words: Words) -> str:
    """What a line of weeks says to somebody who cannot see it."""
    return LABELS[words.lang]["trend_desc"].format(
        first=words.score(first),
        of=words.count(first.n_valid),
        last=words.score(last),
        n=words.count(last.n_valid),
    )


def _weeks_table(points: Sequence[Point], words: Words) -> Table:
    say = LABELS[words.lang]
    rows = []
    for point in points:
        r = point.result
        if r is None or r.score is None:
            rows.append((_day(point, words.lang), why(point.hidden, words.lang), "", ""))
        else:
            rows.append((_day(point, words.lang), words.score(r), between(r, words), words.count(r.n_valid)))
    return Table((say["week_of"], say["score"], say["ci"], "n"), tuple(rows))


def between(result: Result, words: Words) -> str:
    """The interval of a result, "" without one."""
    if result.ci_low is None or result.ci_high is None:
        return ""
    return words.interval(result.ci_low, result.ci_high, result.form)


def group_css(spec: InstrumentSpec, code: int) -> str:
    """The class of a code of a scale: its good end, its bad end, what lies between."""
    if code in spec.positive:
        return "k-accent"
    return "k-warm" if code in spec.negative else "k-pale"


def distribution(
    results: Sequence[Result], spec: InstrumentSpec, lang: Language, *, width: int = WIDTH
) -> Chart | None:
    """How many gave which answer, as shares of the valid ones; None for a result without counts."""
    say, words = LABELS[lang], Words(lang)
    lead = results[0]
    if lead.status not in ("caution", "ok") or spec.kind == "multi":
        return None
    if spec.kind == "yes_no":
        answers = [(say["yes"], lead.counts.get("yes", 0), "k-accent"), (say["no"], lead.counts.get("no", 0), "k-pale")]
    else:
        codes = range(spec.low, spec.high + 1)
        answers = [(str(code), lead.counts.get(str(code), 0), group_css(spec, code)) for code in codes]
    edge = 24.0 if width >= WIDTH else 2.0
    left, right, top, bottom = edge, width - edge, 30.0, 168.0
    gap = (right - left) / len(answers)
    wide = min(gap * 0.72, 64.0)
    digits = 1 if gap >= text_width("100.0%", 11.5) else 0
    most = max(count for _, count, _ in answers) / lead.n_valid
    bars = []
    for place, (label, count, css) in enumerate(answers):
        share = count / lead.n_valid
        tall = 0.0 if not most else share / most * (bottom - top)
        x = round(left + gap * (place + 0.5) - wide / 2, 1)
        bars.append(
            SimpleNamespace(css=css, x=x, y=round(bottom - tall, 1), width=round(wide, 1), height=round(tall, 1),
                            value=f"{rounded(100 * share, digits)}%", label=label)
        )  # fmt: skip
    keys = _keys(_groups(spec, lang), left, right, bottom + 46) if spec.kind == "scale" else []
    table = Table(
        (say["answer"], say["count"], say["share"]),
        tuple((label, words.count(n), f"{rounded(100 * n / lead.n_valid, 1)}%") for label, n, _ in answers),
    )
    title = say["distribution"].format(metric=words.metric(spec), n=words.count(lead.n_valid))
    parts = {"left": left, "right": right, "bottom": bottom, "bars": bars, "keys": keys}
    height = int(keys[-1].y + 20 if keys else bottom + 28)
    desc = say["distribution_desc"].format(top=max(answers, key=lambda answer: answer[1])[0])
    return Chart(title, desc, lang, width, height, table, "columns", parts)


def _groups(spec: InstrumentSpec, lang: Language) -> list[tuple[str, str]]:
    """(name with its codes, class) of the good end, the middle and the bad end, those that there are."""
    names = GROUPS[lang].get(spec.id, GROUPS[lang][""])
    middle = tuple(c for c in range(spec.low, spec.high + 1) if c not in spec.positive and c not in spec.negative)
    found = []
    for name, codes, css in zip(
        names, (spec.negative, middle, spec.positive), ("k-warm", "k-pale", "k-accent"), strict=True
    ):
        if codes:
            ends = sorted({min(codes), max(codes)})
            span = ("〜" if lang == "ja" else "–").join(map(str, ends))
            found.append((f"{name} {span}" if lang == "en" else f"{name}（{span}）", css))
    return found


def _keys(named: Sequence[tuple[str, str]], left: float, right: float, top: float) -> list[SimpleNamespace]:
    """Squares of a colour with what they stand for, from `top` on downwards in as many lines as they need."""
    keys, x, y = [], left, top
    for label, css in named:
        wide = 18 + text_width(label, 11.5)
        if x > left and x + wide > right:
            x, y = left, y + 20
        keys.append(SimpleNamespace(css=css, x=round(x, 1), y=y, label=label))
        x += wide + 22
    return keys


def shares(results: Sequence[Result], spec: InstrumentSpec, lang: Language, *, width: int = WIDTH) -> Chart | None:
    """The two ends and the middle of a scale as parts of one bar, with their intervals in the table."""
    say, words = LABELS[lang], Words(lang)
    lead = results[0]
    if lead.status not in ("caution", "ok") or spec.kind != "scale" or not spec.negative:
        return None
    counts = {"k-warm": 0, "k-pale": 0, "k-accent": 0}
    for code in range(spec.low, spec.high + 1):
        counts[group_css(spec, code)] += lead.counts.get(str(code), 0)
    named = [(name, css, 100 * counts[css] / lead.n_valid) for name, css in _groups(spec, lang)]
    edge = 12.0 if width >= WIDTH else 2.0
    x, parts = edge, []
    for _, css, share in named:
        wide = (width - 2 * edge) * share / 100
        value = f"{rounded(share, 1)}%"
        parts.append(
            SimpleNamespace(css=css, x=round(x, 1), width=round(max(0.0, wide - 2), 1), value=value,
                            inside=wide > text_width(value) + 12, ink="k-ink" if css == "k-pale" else "k-on")
        )  # fmt: skip
        x += wide
    keys = _keys([(f"{name} {rounded(share, 1)}%", css) for name, css, share in named], edge, width - edge, 60.0)
    by_name = {r.variant: r for r in results}
    rows = []
    for name, css, share in named:
        companion = next(
            (r for r in by_name.values() if r.form == "share" and r.score is not None
             and r.counts is lead.counts and math.isclose(r.score, share) and r.variant.startswith("share_")
             and not r.variant[6:].isdigit()), None,
        )  # fmt: skip
        rows.append((name, words.count(counts[css]), f"{rounded(share, 1)}%", between(companion, words)
                     if companion is not None else ""))  # fmt: skip
    table = Table((say["group"], say["count"], say["share"], say["ci"]), tuple(rows))
    title = say["shares"].format(metric=words.metric(spec), n=words.count(lead.n_valid))
    desc = say["comma"].join(f"{name} {rounded(share, 1)}%" for name, _, share in named)
    height = int(keys[-1].y + 24)
    return Chart(title, desc, lang, width, height, table, "shares", {"parts": parts, "keys": keys})


def intervals(
    title: str,
    rows: Sequence[tuple[str, Result | None, str]],
    spec: InstrumentSpec,
    lang: Language,
    *,
    width: int = WIDTH,
) -> Chart | None:
    """Scores side by side, each with its interval.

    Args:
        rows: (name, result, why there is none).
    """
    say, words = LABELS[lang], Words(lang)
    shown = [r for _, r, _ in rows if r is not None and r.score is not None]
    if not shown:
        return None
    values = [v for r in shown for v in (r.score, r.ci_low, r.ci_high) if v is not None]
    marks = _axis(values, shown[0].form, spec)
    beside = width >= WIDTH  # else a name and its number stand above their line
    left, right = (190.0, width - 168.0) if beside else (16.0, width - 16.0)
    name_room = 160.0 if beside else width - 148.0
    first, tall, up = (28.0, 32.0, -5.0) if beside else (40.0, 48.0, 14.0)
    bottom = first + tall * (len(rows) - 1) + 20

    def x(value: float) -> float:
        return round(left + (value - marks[0]) / (marks[-1] - marks[0]) * (right - left), 1)

    drawn = []
    lines = []
    for place, (name, r, reason) in enumerate(rows):
        y = first + tall * place
        at = SimpleNamespace(y=y, label_y=y - up, label=fitting(name, name_room))
        if r is None or r.score is None:
            drawn.append(SimpleNamespace(**vars(at), x=None, low=None, value=reason))
            lines.append((name, reason, "", ""))
            continue
        drawn.append(
            SimpleNamespace(
                **vars(at), x=x(r.score), caution=r.status == "caution",
                low=None if r.ci_low is None else x(max(marks[0], r.ci_low)),
                high=None if r.ci_high is None else x(min(marks[-1], r.ci_high)),
                value=f"{words.score(r)}（n={words.count(r.n_valid)}）" if lang == "ja"
                else f"{words.score(r)} (n={words.count(r.n_valid)})",
            )
        )  # fmt: skip
        lines.append((name, words.score(r), between(r, words), words.count(r.n_valid)))
    table = Table((say["name"], say["score"], say["ci"], "n"), tuple(lines))
    desc = say["intervals_desc"].format(k=len(rows))
    parts = {
        "rows": drawn, "bottom": bottom, "width": width, "edge": 12 if beside else 2,
        "ticks": [SimpleNamespace(x=x(m), label=_tick_label(m), zero=m == 0) for m in marks],
    }  # fmt: skip
    return Chart(title, desc, lang, width, int(bottom + 26), table, "intervals", parts)


def driver_map(
    found: DriverAnalysis, specs: Mapping[str, InstrumentSpec], lang: Language, *, width: int = WIDTH
) -> Chart | None:
    """Importance to the right, performance upwards, the two cut lines, each driver by the number of its priority; None
    where there are no drivers, and where their performances are not told."""
    ys = [d.performance for d in found.drivers if d.performance is not None]
    if not ys or found.hidden:
        return None
    say, words = LABELS[lang], Words(lang)
    beside = width >= WIDTH  # else the names stand below the map
    left, right, top, bottom = (58.0, 430.0, 34.0, 330.0) if beside else (40.0, width - 20.0, 34.0, 300.0)
    high = max([d.share for d in found.drivers] + [d.high or 0.0 for d in found.drivers])
    x_marks = ticks(0.0, min(100.0, high))
    middle = sum(ys) / len(ys)
    reach = max(5.0, *(abs(v - middle) * 1.25 for v in ys))
    y_marks = ticks(max(0.0, middle - reach), min(100.0, middle + reach))

    def x(value: float) -> float:
        return round(left + min(1.0, max(0.0, value / x_marks[-1])) * (right - left), 1)

    def y(value: float) -> float:
        return round(bottom - (value - y_marks[0]) / (y_marks[-1] - y_marks[0]) * (bottom - top), 1)

    points, keys, lines = [], [], []
    step = min(30.0, (bottom - top) / len(found.drivers)) if beside else 22.0
    key_x, key_y = (right + 22, top + 10) if beside else (2.0, bottom + 60)
    for number, (driver, rated) in enumerate(zip(found.drivers, ys, strict=True), 1):
        name = words.together(driver.instruments, specs)
        first = driver.place == "improve" and not driver.undecided
        points.append(
            SimpleNamespace(
                number=number, x=x(driver.share), y=y(rated), css="k-warm" if first else "k-accent",
                ink="k-on", low=None if driver.low is None else x(driver.low),
                high=None if driver.high is None else x(driver.high),
            )
        )  # fmt: skip
        label = fitting(f"{number}  {name}", width - key_x - 8, 11.5)
        keys.append(SimpleNamespace(x=key_x, y=key_y + step * (number - 1), label=label))
        interval = "" if driver.low is None or driver.high is None else words.interval(driver.low, driver.high, "share")
        lines.append(
            (str(number), name, f"{rounded(driver.share, 1)}%", interval, rounded(rated, 1),
             say[f"place_{driver.place}"] + (say["undecided"] if driver.undecided else ""))
        )  # fmt: skip
    quarters = [
        SimpleNamespace(x=left + 8, y=top + 16, right=False, label=say["place_overdone"]),
        SimpleNamespace(x=right - 8, y=top + 16, right=True, label=say["place_keep"]),
        SimpleNamespace(x=left + 8, y=bottom - 8, right=False, label=say["place_watch"]),
        SimpleNamespace(x=right - 8, y=bottom - 8, right=True, label=say["place_improve"]),
    ]
    parts = {
        "left": left, "right": right, "top": top, "bottom": bottom, "points": points, "keys": keys,
        "quarters": quarters, "cut_x": x(100.0 / len(found.drivers)), "cut_y": y(middle),
        "x_ticks": [SimpleNamespace(x=x(m), label=f"{_tick_label(m)}%") for m in x_marks],
        "y_ticks": [SimpleNamespace(y=y(m), label=_tick_label(m)) for m in y_marks],
        "x_name": say["importance"], "y_name": say["performance"],
    }  # fmt: skip
    table = Table(("", say["driver"], say["importance"], say["ci"], say["performance"], say["reading"]), tuple(lines))
    title = say["drivers"].format(n=words.count(found.n))
    height = 376 if beside else int(keys[-1].y + 12)
    return Chart(title, say["drivers_desc"], lang, width, height, table, "map", parts)


def heat_map(
    rows: Sequence[HeatRow], spec: InstrumentSpec, lang: Language, *, whose: str = "", width: int = WIDTH
) -> Chart | None:
    """Touchpoints by week, darker is higher, each cell with its number and n; None where no cell has one."""
    say, words = LABELS[lang], Words(lang)
    shown = [p.result for row in rows for p in row.points if p.result is not None and p.result.score is not None]
    if not shown:
        return None
    form = shown[0].form
    marks = _axis([r.score for r in shown if r.score is not None], form, spec)
    low, high = marks[0], marks[-1]
    beside = width >= WIDTH  # else a name stands above its row
    left, right = (146.0, width - 12.0) if beside else (2.0, width - 2.0)
    top, tall = (30.0, 50.0) if beside else (44.0, 70.0)
    gap = (right - left) / len(rows[0].points)
    days = tuple(_day(point, lang) for point in rows[0].points)
    step_day = math.ceil((max(text_width(day, 11.5) for day in days) + 4) / gap)
    drawn, lines = [], []
    for place, row in enumerate(rows):
        cells = []
        for week, point in enumerate(row.points):
            r = point.result
            step = None if r is None or r.score is None else _step(r.score, low, high)
            cells.append(
                SimpleNamespace(
                    x=round(left + gap * week, 1), width=round(gap - 3, 1),
                    css="k-off" if step is None else f"k-h{step}",
                    ink="k-mute" if step is None else ("k-on" if step >= _STEPS - 2 else "k-ink"),
                    value="–" if r is None or r.score is None else _short(r.score, form),
                    n="" if r is None or r.score is None else _short_count(r.n_valid, gap - 5),
                )
            )  # fmt: skip
        name = words.touchpoint(row.stratum.touchpoint)
        y = top + tall * place
        label = fitting(name, left - 20 if beside else width - 8)
        drawn.append(SimpleNamespace(y=y, x=12 if beside else 2, label_y=y + 28 if beside else y - 7, label=label,
                                     cells=cells))  # fmt: skip
        texts = [
            why(p.hidden, lang)
            if p.result is None or p.result.score is None
            else say["with_n"].format(score=words.score(p.result), n=words.count(p.result.n_valid))
            for p in row.points
        ]
        lines.append((name, *texts))
    foot = top + tall * len(rows) - (4 if beside else 24) + 12
    swatch = 22 if beside else 14
    start = right - swatch * _STEPS - 40
    legend = say["heat_legend"].format(value="%" if form == "share" else say["value"])
    if any(cell.value == "–" for row in drawn for cell in row.cells):
        legend += say["heat_hidden"]
    room = start - 16 - text_width(_tick_label(low), 11.5)
    # below the scale where there is no room beside it
    legend_y = foot + 10 if 12 + text_width(legend, 11.5) < room else foot + 30
    last = len(rows[0].points) - 1
    parts = {
        "rows": drawn,
        "days": [
            SimpleNamespace(x=round(min(left + gap * (w + 0.5) - 1.5, right - text_width(day, 11.5) / 2), 1), label=day)
            for w, day in enumerate(days) if (last - w) % step_day == 0
        ],
        "left": 12 if beside else 2, "swatch": swatch, "legend": legend, "legend_y": legend_y,
        "steps": [SimpleNamespace(css=f"k-h{step}", x=start + swatch * step) for step in range(_STEPS)],
        "foot": foot, "low_name": _tick_label(low), "high_name": _tick_label(high),
    }  # fmt: skip
    named = f"・{whose}" if whose and lang == "ja" else f", {whose}" if whose else ""
    title = say["heat"].format(metric=words.metric(spec), whose=named, weeks=len(days))
    table = Table((say["touchpoint"], *days), tuple(lines))
    return Chart(title, say["heat_desc"], lang, width, int(legend_y + 14), table, "heat", parts)


def _step(score: float, low: float, high: float) -> int:
    return min(_STEPS - 1, max(0, int((score - low) / (high - low) * _STEPS)))


def _short(score: float, form: Form) -> str:
    """A score in a narrow cell: whole points, a mean with one digit; the table has all digits."""
    written = rounded(score, 1 if form == "mean" else 0)
    return f"+{written}" if form == "net" and float(written) > 0 else written


def _short_count(n: int, room: float) -> str:
    """A count in a narrow cell: as it is written elsewhere, else without separators, else in thousands."""
    forms = (f"{n:,}", str(n), f"{n // 1000}k")
    return next((form for form in forms if text_width(form, 11.5) <= room), forms[-1])


def sparkline(results: Sequence[Result], name: str, lang: Language) -> Chart | None:
    """The last weeks of one figure with the band of its interval, without axes: its numbers stand beside it. None below
    two of them."""
    say, words = LABELS[lang], Words(lang)
    values = [(place, r) for place, r in enumerate(results) if r.status in ("caution", "ok") and r.score is not None]
    if len(values) < 2:
        return None
    reached = [v for _, r in values for v in (r.score, r.ci_low, r.ci_high) if v is not None]
    low, high = min(reached), max(reached)
    width, height, edge = SPARK_WIDTH, 44, 5.0
    gap = (width - 2 * edge) / max(1, len(results) - 1)

    def x(place: int) -> float:
        return round(edge + gap * place, 1)

    def y(value: float) -> float:
        share = 0.5 if high == low else (value - low) / (high - low)
        return round(height - edge - share * (height - 2 * edge), 1)

    last = values[-1][0]
    points = [
        SimpleNamespace(x=x(place), y=y(r.score), last=place == last) for place, r in values if r.score is not None
    ]
    runs: list[list[tuple[int, Result]]] = []
    for place, r in values:
        if not runs or place != runs[-1][-1][0] + 1:
            runs.append([])
        runs[-1].append((place, r))
    lines, bands = [], []
    for run in runs:
        lines.append(" ".join(_xy(x(place), y(r.score)) for place, r in run if r.score is not None))
        sure = [(x(p), y(r.ci_low), y(r.ci_high)) for p, r in run if r.ci_low is not None and r.ci_high is not None]
        if sure:
            bands.append(_band(sure, edge))
    table = Table(
        (say["week_of"], say["score"], say["ci"], "n"),
        tuple(
            (_date(date.fromisoformat(r.window.start), lang), words.score(r), between(r, words), words.count(r.n_valid))
            if r.status in ("caution", "ok") and r.score is not None
            else (
                _date(date.fromisoformat(r.window.start), lang),
                why("few", lang) if r.status == "suppressed" else "–",
                "",
                "",
            )
            for r in results
        ),
    )
    title = say["spark"].format(name=name, weeks=len(results))
    desc = _from_to(values[0][1], values[-1][1], words)
    parts = {"bands": bands, "lines": lines, "points": points}
    return Chart(title, desc, lang, width, height, table, "spark", parts)


# ----------------------------------------------------------------------------------------------------------- Slack


def native(found: Trend, spec: InstrumentSpec, lang: Language) -> dict[str, Any] | None:
    """The trend as a block of Slack's own, where the workspace takes it: weeks with a number only, for Slack asks for
    one point per category. None below two of them.

    Source: https://docs.slack.dev/reference/block-kit/blocks/data-visualization-block (title 50, labels 20 characters).
    """
    say, words = LABELS[lang], Words(lang)
    weeks = [(_day(p, lang), p.result) for p in found.points if p.result is not None and p.result.score is not None]
    if len(weeks) < 2:
        return None
    series = [("score", [(day, r.score) for day, r in weeks])]
    if all(r.ci_low is not None and r.ci_high is not None for _, r in weeks):
        series += [("low", [(day, r.ci_low) for day, r in weeks]), ("high", [(day, r.ci_high) for day, r in weeks])]
    return {
        "type": "data_visualization",
        "title": say["trend"].format(metric=words.metric(spec), whose="", weeks=len(found.points))[:SLACK_TITLE],
        "chart": {
            "type": "line",
            "axis_config": {"categories": [day for day, _ in weeks]},
            "series": [
                {
                    "name": (words.metric(spec) if name == "score" else say[f"ci_{name}"])[:SLACK_LABEL],
                    "data": [{"label": day, "value": round(value or 0.0, 1)} for day, value in values],
                }
                for name, values in series
            ],
        },
    }

"""The page behind a digest: one HTML file that needs nothing else – the numbers of the digest, charts, and beside each
number how it was made.

What may not be shown has left the context and the views already: no filter hides it, it is not in the file. Comments
are never on the page, for a link can be passed on. No "today", no sending.

Source: docs/report-page.md.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from reports.charts import charts, drawing
from reports.charts.drawing import Chart
from reports.charts.labels import why
from reports.digest import DigestContext, Row
from reports.figures import kpi_figures
from reports.kpi.report import metric_name, told_flags
from reports.kpi.words import kpi_variant
from reports.metrics import Result, Span
from reports.page.how import How, Terms
from reports.page.labels import BLOCK_TITLES, LABELS, WHOLES
from reports.page.numbers import Number, Numbers
from reports.page.views import EVERYBODY, Scope, Views
from reports.render import page_words, sentences_of
from reports.templating import (
    BOLD_OFF,
    BOLD_ON,
    PAGE,
    SCRIPT,
    STYLE,
    Sentences,
    clean,
    file_text,
    html_templates,
    plain,
)
from reports.words import Language, Words

CHART_AT: Final = 3
"""Below the headline, the period and what there is to say of them."""
_FONT = "system-ui,'Hiragino Sans','Yu Gothic UI','Noto Sans CJK JP','Noto Sans JP',sans-serif"


def digest_chart(context: DigestContext, views: Views) -> dict[str, Any] | None:
    """The one chart of a digest's first message; None while there are not two weeks to draw.

    Returns:
        "png" (base64 of the picture), "alt" (what it shows, for those who do not see it), "block" (the same as a chart
        of Slack's own), "at" (its place among the blocks of the message).
    """
    line = views.trend(EVERYBODY) if views.trends else None
    chart = None if line is None else charts.trend(line, views.spec, context.language)
    if line is None or chart is None:
        return None
    return {
        "png": base64.b64encode(chart.png()).decode(),
        "alt": f"{chart.title}{'。' if context.language == 'ja' else '. '}{chart.desc}",
        "block": charts.native(line, views.spec, context.language),
        "at": CHART_AT,
    }


def render_page(context: DigestContext, views: Views, *, tz: ZoneInfo, templates: Path | None = None) -> dict[str, str]:
    """{"html": the whole document, "csp": the policy that goes with it as a header}.

    The policy allows the document's own style sheet and script by their SHA-256 and nothing else.

    Args:
        tz: the shop's zone, for the time of the computation.
        templates: a folder with the shop's own templates of sentences and of the page.
    """
    css = _style(file_text(templates, STYLE))
    script = file_text(templates, SCRIPT)
    policy = (
        f"default-src 'none'; style-src '{_hashed(css)}'; script-src '{_hashed(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    made = _Page(context, views, tz, sentences_of(context, templates)).parts(page_words(context, templates=templates))
    # our own two files, inlined as they are
    inlined = {"css": Markup(css), "script": Markup(script)}  # noqa: S704
    html = html_templates(templates).get_template(PAGE).render(**made, **inlined, csp=policy)
    # who may frame a page is obeyed in a header only
    return {"html": html, "csp": f"{policy}; frame-ancestors 'none'"}


def _hashed(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _style(sheet: str) -> str:
    def variables(colours: drawing.Colours) -> str:
        return "".join(f"--{name}:{value};" for name, value in colours.items())

    light, dark = variables(drawing.LIGHT), variables(drawing.DARK)
    named = {name: f"var(--{name})" for name in drawing.LIGHT}
    return "\n".join(
        (
            f":root{{color-scheme:light;{light}}}",
            "@media screen and (prefers-color-scheme:dark){"
            f":root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}",
            f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}",
            sheet,
            drawing.style(named, font=_FONT).strip(),
        )
    )


class _Page:
    """What the template is given. Each number is (name, score, what stands around it, how it was made)."""

    def __init__(self, context: DigestContext, views: Views, tz: ZoneInfo, sentences: Sentences) -> None:
        self._tz = tz
        self._sentences = sentences
        self._context = context
        self._views = views
        self._lang: Language = context.language
        self._say = LABELS[context.language]
        self._words = Words(context.language, limits=context.limits)
        self._numbers = Numbers(self._words)
        self._how = How(context, self._say)
        self._figures = 0

    def parts(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Everything by the names of the template; `texts` are the digest's own sentences."""
        context, say, words = self._context, self._say, self._words
        return {
            "lang": context.language,
            "say": say,
            "title": texts["title"],
            "computed": self._words.moment(datetime.fromtimestamp(context.computed_ms / 1000, self._tz)),
            "head": _strong(texts["head"]),
            "lead": _lines(texts["lead"]),
            "lead_how": self._row(context.primary),
            "lead_whole": self._whole("lead"),
            "metric": words.metric(context.primary_spec),
            "panels": self._panels(),
            "lines": self._trends(),
            "scope_groups": self._scope_groups(),
            "periods": [
                SimpleNamespace(value=weeks, name=self._period(weeks), chosen=weeks == self._weeks)
                for weeks in sorted({view.weeks for view in self._views.views})
            ],
            "view_notes": self._view_notes(),
            "sides": self._sides(),
            "tables": self._metric_tables(),
            "metric_notes": self._metric_notes(),
            "heats": self._heats(),
            "heat_whole": say["heat_whole"],
            "drivers": self._drivers(),
            "sparks": self._sparks(),
            "kpi_window": self._kpi_window(),
            "kpi_lines": self._kpi_lines(),
            "kpi_whole": self._whole("kpis"),
            "blocks": self._blocks(texts),
            "foot": _lines(texts["foot"]),
        }

    @property
    def _weeks(self) -> int:
        """The period that is open at first: the digest's own."""
        return (self._context.week_end - self._context.window_start).days // 7

    def _period(self, weeks: int) -> str:
        return self._say["week" if weeks == 1 else "weeks"].format(weeks=weeks)

    def _whole(self, part: str) -> str:
        """What a part says when something is chosen that it cannot be cut to: whose numbers it has, and why."""
        context, kpis = self._context, self._kpi_span()
        # the headline may be that of four weeks, and figures of the shop are those of the last week of a month
        first = context.window_start if part == "lead" else context.week_start
        window = self._words.window(first, context.week_end)
        if part == "kpis" and kpis is not None:
            window = self._words.span(kpis)
        return WHOLES[self._lang][part].format(window=window)

    def _figured(self, *draws: Callable[..., Chart | None], how: Terms | None = None) -> list[SimpleNamespace]:
        """Each chart, drawn for a desk and for a phone; those without anything to draw are left out."""
        found = []
        for draw in draws:
            chart, narrow = draw(width=charts.WIDTH), draw(width=charts.NARROW)
            if chart is not None:
                self._figures += 1
                found.append(
                    SimpleNamespace(id=f"c{self._figures}", chart=chart, narrow=narrow, name=chart.title, how=how or [])
                )
        return found

    # ------------------------------------------------------------------------------------------- the leading metric

    def _panels(self) -> list[SimpleNamespace]:
        panels = []
        for view in self._views.views:
            place = self._views.scopes.index(view.scope)
            spec = self._views.spec
            number = self._numbers.of_view(self._whose(view.scope), view, spec, big=True)
            drawn = (charts.shares, charts.distribution) if view.results else ()
            figures = self._figured(*(partial(draw, view.results, spec, self._lang) for draw in drawn), how=number.how)
            first, end = date.fromisoformat(view.window.start), date.fromisoformat(view.window.end)
            panels.append(
                SimpleNamespace(
                    scope=place,
                    weeks=view.weeks,
                    first=place == 0 and view.weeks == self._weeks,
                    title=self._say["panel"].format(
                        whose=self._whose(view.scope), window=self._words.window(first, end)
                    ),
                    number=number,
                    figures=figures,
                )
            )
        return panels

    def _trends(self) -> list[SimpleNamespace]:
        found = []
        for place, scope in enumerate(self._views.scopes):
            whose = "" if scope == EVERYBODY else self._whose(scope)
            line = self._views.trend(scope)
            chart = partial(charts.trend, line, self._views.spec, self._lang, whose=whose)
            how = self._how.points(self._numbers.formula(self._views.spec), line.points)
            found.append(SimpleNamespace(scope=place, first=place == 0, figures=self._figured(chart, how=how)))
        return found

    def _heats(self) -> list[SimpleNamespace]:
        """The touchpoints week by week, for each scope."""
        views, spec = self._views, self._views.heat_spec
        found: list[SimpleNamespace] = []
        if spec is None:
            return found
        for place, scope in enumerate(views.scopes):
            rows = views.heat if scope == EVERYBODY else [row for row in views.heat_parts if row.scope == scope]
            whose = "" if scope == EVERYBODY else self._whose(scope)
            how = self._how.points(self._numbers.formula(spec), [point for row in rows for point in row.points])
            figures = self._figured(partial(charts.heat_map, rows, spec, self._lang, whose=whose), how=how)
            found.append(SimpleNamespace(scope=place, first=place == 0, figures=figures))
        return found if any(heat.figures for heat in found) else []

    def _whose(self, scope: Scope) -> str:
        match scope.dimension:
            case "all":
                return self._say["everybody"]
            case "segment":
                return scope.value
            case "channel":
                return self._words.channel(scope.value)

    def _scope_groups(self) -> list[SimpleNamespace]:
        groups: dict[str, list[SimpleNamespace]] = {}
        for place, scope in enumerate(self._views.scopes):
            name = "" if scope == EVERYBODY else self._say[scope.dimension]
            groups.setdefault(name, []).append(SimpleNamespace(value=place, name=self._whose(scope)))
        return [SimpleNamespace(name=name, options=options) for name, options in groups.items()]

    def _view_notes(self) -> list[str]:
        notes = [self._say["derivable_note"]] if any(v.hidden == "derivable" for v in self._views.views) else []
        if self._views.left_out:
            notes.append(self._say["left_out"].format(n=self._views.left_out))
        return notes

    def _sides(self) -> list[SimpleNamespace]:
        """Segments and channels side by side, for each period."""
        found = []
        for dimension in ("segment", "channel"):
            scopes = [scope for scope in self._views.scopes if scope.dimension == dimension]
            for weeks in sorted({view.weeks for view in self._views.views}) if scopes else ():
                chosen = [self._views.view(scope, weeks) for scope in scopes]
                rows = [
                    (self._whose(v.scope), v.results[0] if v.results else None, why(v.hidden, self._lang))
                    for v in chosen
                ]
                title = self._say[f"{dimension}s"].format(
                    metric=self._words.metric(self._views.spec), weeks=self._period(weeks)
                )
                how = self._how.numbers(
                    self._numbers.formula(self._views.spec), [row[1] for row in rows], [v.hidden for v in chosen]
                )
                figures = self._figured(partial(charts.intervals, title, rows, self._views.spec, self._lang), how=how)
                if figures:
                    found.append(
                        SimpleNamespace(
                            id=f"h-{dimension}-{weeks}",
                            title=self._say[dimension],
                            weeks=weeks,
                            first=weeks == self._weeks,
                            figures=figures,
                        )
                    )
        return found

    # -------------------------------------------------------------------------------------------------- the numbers

    def _metric_tables(self) -> list[SimpleNamespace]:
        """The metrics for each choice of scope and period: those of the digest itself, with verdict and target, where
        the choice is the digest's own."""
        context, views = self._context, self._views
        own = [self._row(row) for row in (context.primary, *context.rows)] + self._indices()
        window = self._words.window(context.window_start, context.week_end)
        found = [SimpleNamespace(scope=0, weeks=self._weeks, first=True, window=window, whose="", numbers=own)]
        rows = {
            (row.spec.id, row.result.stratum.touchpoint, row.result.stratum.wording_id): row for row in context.rows
        }
        for lead in views.views:
            if (lead.scope, lead.weeks) == (EVERYBODY, self._weeks):
                continue
            seen = [(context.primary, lead)]
            for metric in views.metrics:
                row = rows[(metric.spec.id, metric.stratum.touchpoint, metric.stratum.wording_id)]
                seen.append((row, metric.view(lead.scope, lead.weeks)))
            found.append(
                SimpleNamespace(
                    scope=views.scopes.index(lead.scope),
                    weeks=lead.weeks,
                    first=False,
                    window=self._words.span(lead.window),
                    whose=self._whose(lead.scope),
                    numbers=[self._numbers.of_view(self._name(row), view, row.spec) for row, view in seen],
                )
            )
        return found

    def _metric_notes(self) -> list[str]:
        indices = sum(len(row.lines) for row in self._context.indices)
        left_out = self._views.metrics_left_out + indices if self._views.views else 0
        return [self._say["metrics_left_out"].format(n=left_out)] if left_out else []

    def _name(self, row: Row) -> str:
        """What a metric is called among the others of the digest."""
        name, at = self._words.metric(row.spec), row.result.stratum
        if self._context.strata_shown and at.touchpoint:
            name += ("・" if self._lang == "ja" else ", ") + self._words.touchpoint(at.touchpoint)
        if row.wording_shown:
            name += f" [{' '.join(part for part in (at.wording_id, at.label_set) if part)}]"
        return name

    def _row(self, row: Row) -> Number:
        number = self._numbers.of(self._name(row), row.result, row.spec)
        if row.target is not None:
            number.notes.append(self._say["target"].format(value=self._words.value(row.target, row.result.form)))
        number.how += self._numbers.moved(row.change, row.result)
        if row.change.verdict != "none" and row.change.delta is not None:
            number.notes.append(
                self._say["verdict"].format(
                    verdict=self._say[row.change.verdict], delta=self._words.delta(row.change.delta, row.result.form)
                )
            )
        return number

    def _indices(self) -> list[Number]:
        from reports.indices import own_label, variant_name

        return [
            self._numbers.of(
                f"{own_label(row.battery, self._lang)} {variant_name(row.battery, line.result.variant, self._lang)}",
                line.result,
                None,
            )
            for row in self._context.indices
            for line in row.lines
        ]

    # ------------------------------------------------------------------------------------------------------ the rest

    def _drivers(self) -> list[SimpleNamespace]:
        specs, said = self._context.specs, self._sentences
        titles = [said.said("drivers_title", analysis=found) for found in self._context.drivers]
        return [
            SimpleNamespace(
                id=f"h-drivers-{place}",
                title=title,
                figures=self._figured(
                    partial(charts.driver_map, found, specs, self._lang), how=self._how.drivers(found)
                ),
                lines=said.lines("drivers_lines", analysis=found, specs=specs),
                name=title,
                how=self._how.drivers(found),
                whole=self._whole("drivers"),
            )
            for place, (found, title) in enumerate(zip(self._context.drivers, titles, strict=True))
        ]

    def _kpis(self) -> list[tuple[str, str, Result, Sequence[Result]]]:
        """(name, what of it, figure of the whole shop, its last weeks)."""
        report = self._context.kpis
        found: list[tuple[str, str, Result, Sequence[Result]]] = []
        for result in () if report is None else report.results:
            weeks = report.series.get((result.metric, result.variant), ()) if report is not None else ()
            # without weeks are the questions of each survey, and values of a year, which have no week
            if not result.segment and (weeks or (result.metric == "ltv" and result.score is not None)):
                name = metric_name(result.metric, self._context.specs, self._words)
                variant = kpi_variant(result.metric, result.variant, self._lang)
                found.append((name, variant, result, weeks))
        return found

    def _sparks(self) -> list[Number]:
        """The figures of the shop that there are, each with its last weeks."""
        found: list[Number] = []
        for name, variant, result, weeks in self._kpis():
            if result.status != "no_data":
                whole_name = self._say["figure_of"].format(name=name, what=variant) if variant else name
                number = self._numbers.of(whole_name, result, None)
                number.short, number.what = name, variant
                if result.score is None and result.status in ("caution", "ok"):
                    number.notes = [self._sentences.said("kpi_flag", flag=flag) for flag in told_flags([result])]
                chart = charts.sparkline(weeks, whole_name, self._lang)
                number.figures = [] if chart is None else [SimpleNamespace(id=f"k{len(found)}", chart=chart)]
                if result.window != self._kpi_span():
                    number.around.append(self._words.span(result.window))
                found.append(number)
        return found

    def _kpi_span(self) -> Span | None:
        return None if self._context.kpis is None else self._context.kpis.window.span

    def _kpi_window(self) -> str:
        span = self._kpi_span()
        return "" if span is None else self._say["kpi_window"].format(window=self._words.span(span))

    def _kpi_lines(self) -> list[str]:
        """What has to be said of the figures: what to do, what will still change, what there is none of."""
        report = self._context.kpis
        if report is None:
            return []
        told = {result.metric for _, _, result, _ in self._kpis() if result.status != "no_data"}
        without = dict.fromkeys(result.metric for _, _, result, _ in self._kpis() if result.metric not in told)
        names = [metric_name(metric, self._context.specs, self._words) for metric in without]
        groups = kpi_figures(report, self._context.specs, self._words)
        lines = [line for group in groups for line in self._sentences.lines("kpi_notes", group=group)]
        return lines + ([self._say["no_kpis"].format(names=self._say["list"].join(names))] if names else [])

    def _blocks(self, texts: Mapping[str, str]) -> list[SimpleNamespace]:
        context = self._context
        numbers: dict[str, Sequence[tuple[str, Result]]] = {
            "numbers": [("response_rate", context.response.rate), ("completion_rate", context.response.completion)],
        }
        found = []
        for name, title in BLOCK_TITLES[self._lang].items():
            if texts.get(name):
                counted = [(n, r) for n, r in numbers.get(name, ()) if r.status != "no_data"]
                found.append(
                    SimpleNamespace(
                        part=name,
                        id=f"h-{name}",
                        title=title,
                        name=title,
                        lines=_lines(texts[name], title),
                        how=self._how.of(name),
                        numbers=[self._numbers.of(self._say[n], r, None) for n, r in counted],
                        cuts=self._answering() if name == "numbers" else [],
                        whole=self._whole(name) if name in WHOLES[self._lang] else "",
                    )
                )
        return found

    def _answering(self) -> list[SimpleNamespace]:
        """The response of each segment and channel, in the digest's own period."""
        return [
            SimpleNamespace(
                scope=self._views.scopes.index(part.scope),
                title=self._say["panel"].format(
                    whose=self._whose(part.scope),
                    window=self._words.window(self._context.week_start, self._context.week_end),
                ),
                numbers=[
                    self._numbers.of(self._say[result.metric], result, None) for result in (part.rate, part.completion)
                ],
            )
            for part in self._views.answering
        ]


def _lines(text: str, title: str = "") -> list[Markup]:
    """The lines of a block below its heading, what is marked bold as strong: of a first line that says the same as the
    heading, only what it adds, such as dates."""
    lines = [line for line in text.splitlines() if line.strip()]
    if title and lines:
        first = plain(lines[0])
        added = first.removeprefix(title)
        if first.startswith(title) and added[:1] in ("", " ", "（"):
            lines[:1] = [added.strip("（） ()")] if added else []
    return [_strong(line) for line in lines]


_BEFORE_NUMBER = re.compile(r"(?<=[^\x00-\x7f]) (?=[-+\d])")


def _strong(line: str) -> Markup:
    """A line with what is marked bold as strong; a number stays on the line of the word before it."""
    line = _BEFORE_NUMBER.sub("\N{NO-BREAK SPACE}", line)
    parts = (part.partition(BOLD_OFF) for part in line.split(BOLD_ON))
    plain, *marked = parts
    said = escape(clean(plain[0] + plain[2]))
    for bold, _, after in marked:
        said += Markup("<strong>{}</strong>{}").format(clean(bold), clean(after))
    return said

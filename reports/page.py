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
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from reports import charts, drivers
from reports.charts import Chart, between, why
from reports.digest import Comparison, DigestContext, Row
from reports.figures import kpi_figures
from reports.formulas import figure_formula
from reports.kpi_report import metric_name
from reports.kpi_words import kpi_flag, kpi_variant
from reports.metrics import Form, InstrumentSpec, Result, Span, statistics_of
from reports.page_how import How, Terms
from reports.procedures import BOOTSTRAP_ROUNDS
from reports.render import page_words
from reports.templating import BOLD_OFF, BOLD_ON, PAGE, SCRIPT, STYLE, clean, file_text, html_templates
from reports.views import EVERYBODY, Scope, View, Views
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
    made = _Page(context, views, tz).parts(page_words(context, templates=templates))
    # our own two files, inlined as they are
    inlined = {"css": Markup(css), "script": Markup(script)}  # noqa: S704
    html = html_templates(templates).get_template(PAGE).render(**made, **inlined, csp=policy)
    # who may frame a page is obeyed in a header only
    return {"html": html, "csp": f"{policy}; frame-ancestors 'none'"}


def _hashed(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _style(sheet: str) -> str:
    def variables(colours: charts.Colours) -> str:
        return "".join(f"--{name}:{value};" for name, value in colours.items())

    light, dark = variables(charts.LIGHT), variables(charts.DARK)
    named = {name: f"var(--{name})" for name in charts.LIGHT}
    return "\n".join(
        (
            f":root{{color-scheme:light;{light}}}",
            "@media screen and (prefers-color-scheme:dark){"
            f":root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}",
            f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}",
            sheet,
            charts.style(named, font=_FONT).strip(),
        )
    )


class _Page:
    """What the template is given. Each number is (name, score, what stands around it, how it was made)."""

    def __init__(self, context: DigestContext, views: Views, tz: ZoneInfo) -> None:
        self._tz = tz
        self._context = context
        self._views = views
        self._lang: Language = context.language
        self._say = _SAY[context.language]
        self._words = Words(context.language, limits=context.limits)
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
        return _WHOLE[self._lang][part].format(window=window)

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
            number = self._view_number(self._whose(view.scope), view, spec, big=True)
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

    def _view_number(self, name: str, view: View, spec: InstrumentSpec, *, big: bool = False) -> SimpleNamespace:
        if view.results:
            return self._number(name, view.results[0], spec, big=big)
        how = self._unmade(view.hidden, spec)
        score = why(view.hidden, self._lang)
        return SimpleNamespace(name=name, big=big, off=True, score=score, around=[], how=how, notes=[])

    def _trends(self) -> list[SimpleNamespace]:
        found = []
        for place, scope in enumerate(self._views.scopes):
            whose = "" if scope == EVERYBODY else self._whose(scope)
            line = self._views.trend(scope)
            chart = partial(charts.trend, line, self._views.spec, self._lang, whose=whose)
            how = self._how.points(self._plain_formula(self._views.spec), line.points)
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
            how = self._how.points(self._plain_formula(spec), [point for row in rows for point in row.points])
            figures = self._figured(partial(charts.heat_map, rows, spec, self._lang, whose=whose), how=how)
            found.append(SimpleNamespace(scope=place, first=place == 0, figures=figures))
        return found if any(heat.figures for heat in found) else []

    def _plain_formula(self, spec: InstrumentSpec) -> str:
        """The formula of an instrument's leading statistic, without the counts of one window."""
        leading = statistics_of(spec)[0]
        banded = spec.kind == "scale" and leading.form == "share" and leading.positive
        formula = self._say["plain_top" if banded else f"plain_{leading.form}"]
        return formula.format(good=_codes(leading.positive, self._lang), bad=_codes(leading.negative, self._lang))

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
                    self._plain_formula(self._views.spec), [row[1] for row in rows], [v.hidden for v in chosen]
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
                    numbers=[self._view_number(self._name(row), view, row.spec) for row, view in seen],
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

    def _row(self, row: Row) -> SimpleNamespace:
        number = self._number(self._name(row), row.result, row.spec)
        if row.target is not None:
            number.notes.append(self._say["target"].format(value=self._words.value(row.target, row.result.form)))
        number.how += self._moved(row.change, row.result)
        if row.change.verdict != "none" and row.change.delta is not None:
            number.notes.append(
                self._say["verdict"].format(
                    verdict=self._say[row.change.verdict], delta=self._words.delta(row.change.delta, row.result.form)
                )
            )
        return number

    def _indices(self) -> list[SimpleNamespace]:
        from reports.indices import own_label, variant_name

        return [
            self._number(
                f"{own_label(row.battery, self._lang)} {variant_name(row.battery, line.result.variant, self._lang)}",
                line.result,
                None,
            )
            for row in self._context.indices
            for line in row.lines
        ]

    def _number(self, name: str, result: Result, spec: InstrumentSpec | None, *, big: bool = False) -> SimpleNamespace:
        say, words = self._say, self._words
        if result.status in ("suppressed", "no_data"):
            hidden = "few" if result.status == "suppressed" else "none"
            if "sibling" in result.flags:
                hidden = "derivable"
            return SimpleNamespace(
                name=name, big=big, off=True, score=why(hidden, self._lang), around=[], notes=[],
                how=self._unmade(hidden, spec, form=result.form, figure=self._figure_formula(result)),
            )  # fmt: skip
        if result.score is None:
            return SimpleNamespace(
                name=name, big=big, off=True, score=say["no_score"], around=[], notes=[], how=self._made(result, spec)
            )
        around = [f"{say['ci']} {between(result, words)}"] if between(result, words) else []
        around.append(f"n={words.count(result.n_valid)}")
        if result.status == "caution":
            around.append(say["reference"])
        return SimpleNamespace(
            name=name,
            big=big,
            off=False,
            score=words.score(result),
            around=around,
            notes=[_first_up(words.basis(spec, result))] if spec is not None else [],
            how=self._made(result, spec),
        )

    def _unmade(
        self, hidden: str, spec: InstrumentSpec | None, *, form: Form = "share", figure: str = ""
    ) -> list[tuple[str, str]]:
        """How a number that is not there would be made, and why it is not; never of how many answers."""
        say = self._say
        n = say[f"n_{hidden}"]
        plain = figure or say.get(f"formula_{form}_plain", say["formula_plain"]).format(n=n)
        return [
            (say["formula"], plain if spec is None else self._plain_formula(spec)),
            (say["in_out"], say["counts_hidden"].format(n=n)),
            (say["not_shown"], say[f"why_{hidden}"]),
        ]

    def _made(self, result: Result, spec: InstrumentSpec | None) -> list[tuple[str, str]]:
        """Formula, counts in and out, what was left out and why."""
        say, words = self._say, self._words
        terms = [(say["formula"], self._formula(result, spec))]
        if result.window.start and result.window.end:
            first, end = date.fromisoformat(result.window.start), date.fromisoformat(result.window.end)
            terms.append((say["window"], words.window(first, end)))
        terms.append((say["unit"], say[f"unit_{result.unit}"]))
        figure = bool(self._figure_formula(result))
        counted = say["counts_figure" if figure else "counts"].format(
            n=words.count(result.n_valid),
            missing=words.count(result.n_missing),
            invalid=words.count(result.n_invalid),
            superseded=words.count(result.n_superseded),
        )
        terms.append((say["in_out"], counted))
        method = _METHODS[self._lang].get(result.ci_method, "").format(rounds=BOOTSTRAP_ROUNDS)
        if result.ci_low is not None and method:
            terms.append((say["ci"], method))
        elif result.ci_low is None:
            terms.append((say["ci"], say["no_ci_count" if result.form == "count" else "no_ci"]))
        terms.append((say["not_shown"], say["all_shown"] if result.status == "ok" else say["why_caution"]))
        return terms

    def _formula(self, result: Result, spec: InstrumentSpec | None) -> str:
        say, words = self._say, self._words
        if spec is not None and result.counts and spec.kind == "scale" and result.form in ("net", "share"):
            good = [code for code in range(spec.low, spec.high + 1) if code in spec.positive]
            bad = [code for code in range(spec.low, spec.high + 1) if code in spec.negative]
            up = sum(result.counts.get(str(code), 0) for code in good)
            down = sum(result.counts.get(str(code), 0) for code in bad)
            numbers = {
                "good": _codes(good, self._lang),
                "bad": _codes(bad, self._lang),
                "up": words.count(up),
                "down": words.count(down),
                "n": words.count(result.n_valid),
                "score": words.score(result),
            }
            if result.form == "net":
                return say["formula_net"].format(**numbers)
            if result.variant == "top2":
                return say["formula_share"].format(**numbers)
        if spec is not None and spec.kind == "yes_no" and result.counts:
            return say["formula_yes"].format(
                up=words.count(result.counts["yes"]), n=words.count(result.n_valid), score=words.score(result)
            )
        n = words.count(result.n_valid)
        if figure := self._figure_formula(result):
            yes = result.counts.get("yes") if result.form == "share" else None
            shown = None if yes is None else say["formula_counts"].format(
                up=words.count(yes), n=n, score=words.score(result)
            )  # fmt: skip
            return figure if shown is None else f"{figure}{say['colon']}{shown}"
        return say.get(f"formula_{result.form}_plain", say["formula_plain"]).format(n=n)

    def _figure_formula(self, result: Result) -> str:
        return _first_up(figure_formula(result.metric, result.variant, self._lang))

    def _moved(self, change: Comparison, result: Result) -> list[tuple[str, str]]:
        say, words = self._say, self._words
        if change.delta is None or change.low is None or change.high is None or change.p is None:
            reason = f"moved_{change.why_not}"
            return [(say["change"], say[reason])] if reason in say else []
        told = say["moved"].format(
            verdict=say[change.verdict],
            delta=words.delta(change.delta, result.form),
            interval=words.interval(change.low, change.high, result.form, change=True),
            p=words.p_value(change.p),
        )
        if change.p_adjusted is not None:
            told += say["adjusted"].format(p=words.p_value(change.p_adjusted))
        return [(say["change"], told)]

    # ------------------------------------------------------------------------------------------------------ the rest

    def _drivers(self) -> list[SimpleNamespace]:
        context, lang = self._context, self._lang
        return [
            SimpleNamespace(
                id=f"h-drivers-{place}",
                title=drivers.title(found, lang),
                figures=self._figured(
                    partial(charts.driver_map, found, context.specs, lang), how=self._how.drivers(found)
                ),
                lines=drivers.sentences(found, context.specs, lang),
                name=drivers.title(found, lang),
                how=self._how.drivers(found),
                whole=self._whole("drivers"),
            )
            for place, found in enumerate(context.drivers)
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

    def _sparks(self) -> list[SimpleNamespace]:
        """The figures of the shop that there are, each with its last weeks."""
        found: list[SimpleNamespace] = []
        for name, variant, result, weeks in self._kpis():
            if result.status != "no_data":
                whole_name = self._say["figure_of"].format(name=name, what=variant) if variant else name
                number = self._number(whole_name, result, None)
                number.short, number.what = name, variant
                if result.score is None and result.status in ("caution", "ok"):
                    number.notes = [said for flag in result.flags if (said := kpi_flag(flag, self._lang))]
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
        lines = [note for group in kpi_figures(report, self._context.specs, self._words) for note in group.notes]
        return lines + ([self._say["no_kpis"].format(names=self._say["list"].join(names))] if names else [])

    def _blocks(self, texts: Mapping[str, str]) -> list[SimpleNamespace]:
        context = self._context
        numbers: dict[str, Sequence[tuple[str, Result]]] = {
            "numbers": [("response_rate", context.response.rate), ("completion_rate", context.response.completion)],
        }
        found = []
        for name, title in _BLOCKS[self._lang].items():
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
                        numbers=[self._number(self._say[n], r, None) for n, r in counted],
                        cuts=self._answering() if name == "numbers" else [],
                        whole=self._whole(name) if name in _WHOLE[self._lang] else "",
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
                    self._number(self._say[result.metric], result, None) for result in (part.rate, part.completion)
                ],
            )
            for part in self._views.answering
        ]


def _lines(text: str, title: str = "") -> list[Markup]:
    """The lines of a block below its heading, what is marked bold as strong: of a first line that says the same as the
    heading, only what it adds, such as dates."""
    lines = [line for line in text.splitlines() if line.strip()]
    if title and lines:
        first = lines[0].replace(BOLD_ON, "").replace(BOLD_OFF, "")
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


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]


def _codes(codes: Iterable[int], lang: Language) -> str:
    ends = sorted(codes)
    return ("〜" if lang == "ja" else "–").join(map(str, sorted({ends[0], ends[-1]}))) if ends else ""


# ----------------------------------------------------------------------------------------------------------- words

_METHODS: dict[Language, dict[str, str]] = {
    "ja": {
        "add3": "調整Wald法（架空の3件を加えて計算）の95%信頼区間です。",
        "wilson": "Wilson法の95%信頼区間です。",
        "t": "t分布による95%信頼区間です。尺度の両端で打ち切ります。",
        "bootstrap": "ブートストラップ法（{rounds:,}回）の95%信頼区間です。",
        "cluster_bootstrap": "お客さま単位のブートストラップ法（{rounds:,}回）の95%信頼区間です。",
    },
    "en": {
        "add3": "95% interval by the adjusted Wald method, with three imaginary answers added.",
        "wilson": "95% interval by Wilson's method.",
        "t": "95% interval by Student's t, cut at the ends of the scale.",
        "bootstrap": "95% interval by bootstrap, {rounds:,} rounds.",
        "cluster_bootstrap": "95% interval by bootstrap over customers, {rounds:,} rounds.",
    },
}
_BLOCKS: dict[Language, dict[str, str]] = {
    "ja": {
        "numbers": "回答の状況",
        "benchmarks": "公表された値との比較",
        "segments": "お客さまの層",
        "trust": "信頼残高",
        "linkage": "KPIとの関連",
        "experiments": "A/Bテスト",
        "topics": "言葉と話題",
        "care": "ご不満への対応",
        "reach": "届く範囲",
        "checks": "データの質",
        "notes": "補足",
    },
    "en": {
        "numbers": "Response",
        "benchmarks": "Beside published figures",
        "segments": "Customers in groups",
        "trust": "Trust balance",
        "linkage": "Link with KPIs",
        "experiments": "A/B tests",
        "topics": "Words and topics",
        "care": "Unhappy customers",
        "reach": "Reach",
        "checks": "Data quality",
        "notes": "Notes",
    },
}
_WHOLE: dict[Language, dict[str, str]] = {
    "ja": {
        "lead": "このレポートの見出しです。絞り込みにかかわらず、全体・{window} の値です。",
        "kpis": "全体・{window} の値です。業務の記録には、アンケートのセグメントと経路がありません。",
        "drivers": "全体の値です。分けると、計算に必要な人数に足りなくなります。",
        "numbers": "期間の選択によらず、{window} の値です。重なる期間を並べると、10件未満の値が引き算で分かります。",
        "benchmarks": "全体の値です。公表された値は、お客さま全体についてのものです。",
        "topics": "全体の値です。コメントは件数が少なく、分けると書いた方が推測されるおそれがあります。",
        "segments": "全体の値です。1年分の回答と購入をお客さまごとに合わせ、セグメントや経路は1つに決まりません。",
        "trust": "全体の値です。残高はお客さまごとの記録で、セグメントや経路は1つに決まりません。",
        "linkage": "全体の値です。回答後の購入は、アンケートのセグメントや経路では分かれません。",
        "experiments": "全体の値です。分けると、無作為の割り付けと登録した件数が保たれません。",
        "care": "全体・{window} の値です。件数が少なく、分けるとお客さまが推測されるおそれがあります。",
        "reach": "全体・{window} の値です。LINEの通数と購入の記録は、アンケートのセグメントでは分かれません。",
        "checks": "全体・直近4週の値です。分けると、確認に必要な件数に足りなくなります。",
    },
    "en": {
        "lead": "The headline of this report, whatever is chosen: everybody, {window}.",
        "kpis": "Everybody, {window}: business records do not carry a survey's segments and channels.",
        "drivers": "Everybody: parts would have fewer customers than the computation needs.",
        "numbers": "Invitations of {window}, whatever period is chosen: overlapping periods could be subtracted from "
        "each other, down to fewer than 10.",
        "benchmarks": "Everybody: published figures are about all customers.",
        "topics": "Everybody: comments are few, and in parts it could be guessed who wrote them.",
        "segments": "Everybody: a year of answers and purchases by customer, who may belong to several segments.",
        "trust": "Everybody: balances are kept by customer, who may belong to several segments and channels.",
        "linkage": "Everybody: what was bought after an answer does not follow a survey's segments and channels.",
        "experiments": "Everybody: parts would neither be drawn at random nor have the planned number.",
        "care": "Everybody, {window}: cases are few, and in parts it could be guessed whose they are.",
        "reach": "Everybody, {window}: LINE's own count and purchases do not follow a survey's segments.",
        "checks": "Everybody, last 4 weeks: parts would have too few answers to be checked.",
    },
}
"""What a part that cannot be cut says when a segment, a channel or another period is chosen."""
_SAY: dict[Language, dict[str, str]] = {
    "ja": {
        "skip": "本文へ進む",
        "computed": "集計：{at}",
        "theme": "明るさを切り替え",
        "filters": "表示の絞り込み",
        "whose": "対象",
        "period": "期間",
        "week": "直近1週",
        "weeks": "直近{weeks}週",
        "everybody": "全体",
        "segment": "セグメント",
        "channel": "回答の経路",
        "segments": "{metric}：セグメント別（{weeks}）",
        "channels": "{metric}：回答の経路別（{weeks}）",
        "panel": "{whose}（{window}）",
        "no_trend": "推移を描ける週が2つありません。",
        "derivable_note": "「非表示（逆算防止）」の値を出すと、ほかの値との引き算で10件未満の値が分かります。",
        "left_out": "表示できる値のないセグメントと経路が{n}件あります。",
        "metrics": "指標",
        "metrics_left_out": "ほか{n}の指標は、絞り込みの対象外です（全体・このレポートの期間のみ）。",
        "heat_whole": "期間の選択によらず、12週を表示しています。",
        "kpi_window": "{window}・折れ線は直近8週",
        "metrics_of": "{whose}・{window}",
        "no_metrics": "この期間の指標はありません。",
        "figure_of": "{name}（{what}）",
        "no_numbers": "表示できる値がありません。",
        "touchpoints": "接点ごとの推移",
        "kpis": "KPI",
        "no_kpis": "この期間の記録がない項目：{names}",
        "list": "、",
        "formula_count_plain": "期間内の件数（対象 {n}）",
        "formula_money_plain": "金額の平均または中央値（対象 {n}）",
        "formula_days_plain": "日数の平均または中央値（対象 {n}）",
        "formula_hours_plain": "時間の平均または中央値（対象 {n}）",
        "as_table": "表で見る",
        "how": "計算方法",
        "how_of": "：{name}",
        "target": "目標 {value}",
        "formula": "計算式",
        "window": "期間",
        "unit": "数え方",
        "unit_latest_per_customer": "お客さま1人につき、期間内の最新の有効な回答1件を数えます。",
        "unit_per_event": "1回の出来事ごとに1件を数えます。",
        "unit_per_customer": "お客さま1人を1件と数えます。",
        "in_out": "件数",
        "counts": "有効 {n}・無回答 {missing}・無効 {invalid}・同じ方の以前の回答 {superseded}（有効のみ計算に使用）",
        "counts_figure": "対象 {n}・必要な項目がなく除外 {missing}",
        "no_ci_count": "数えた値のため、区間はありません。",
        "ci": "95%信頼区間",
        "no_ci": "区間は計算できません（件数が少ないか、回答がすべて同じです）。",
        "not_shown": "非表示の扱い",
        "all_shown": "30件以上のため、そのまま表示しています。",
        "why_caution": "10〜29件のため、参考値として表示しています。",
        "why_few": "10件未満のため、値・区間・内訳を表示しません。ファイルにも含めていません。",
        "why_derivable": "ほかの値との引き算で10件未満の値が分かるため、表示しません。ファイルにも含めていません。",
        "why_none": "この期間の回答はありません。",
        "n_few": "10未満",
        "n_derivable": "非表示",
        "n_none": "0",
        "counts_hidden": "有効 {n}",
        "no_score": "計算できません",
        "reference": "参考値",
        "plain_net": "100 ×（{good}の件数 − {bad}の件数）÷ 有効な回答",
        "plain_top": "100 ×（{good}の件数）÷ 有効な回答",
        "plain_share": "100 ×（当てはまる回答の件数）÷ 有効な回答",
        "plain_mean": "有効な回答の平均",
        "formula_net": "100 ×（{good}の件数 {up} − {bad}の件数 {down}）÷ 有効 {n} = {score}",
        "formula_share": "100 ×（{good}の件数 {up}）÷ 有効 {n} = {score}",
        "formula_counts": "100 × {up} ÷ {n} = {score}",
        "colon": "：",
        "formula_yes": "100 ×（「はい」の件数 {up}）÷ 有効 {n} = {score}",
        "formula_mean_plain": "有効な回答 {n}件の平均",
        "formula_share_plain": "100 × 当てはまる件数 ÷ 全体 {n}",
        "formula_index_plain": "{n}人の指数（0〜100）の平均",
        "formula_plain": "{n}件から計算",
        "change": "増減の判定",
        "moved": "{verdict}（差 {delta}、95%信頼区間 {interval}、{p}）",
        "adjusted": "。同時に調べた比較の数を調整した後は {p}",
        "verdict": "前の期間から：{verdict}（{delta}）",
        "rise": "有意に上昇",
        "fall": "有意に低下",
        "noise": "誤差の範囲",
        "moved_no_earlier": "比べる期間の回答がありません。",
        "moved_few_earlier": "比べる期間が10件未満のため、比べません。",
        "moved_few_now": "10件未満のため、比べません。",
        "moved_no_variance": "回答にばらつきがないため、判定できません。",
        "response_rate": "回答率",
        "completion_rate": "完了率",
        "comma": "・",
    },
    "en": {
        "skip": "Skip to the report",
        "computed": "Computed {at}",
        "theme": "Light or dark",
        "filters": "What is shown",
        "whose": "Whose answers",
        "period": "Period",
        "week": "last week",
        "weeks": "last {weeks} weeks",
        "everybody": "Everybody",
        "segment": "Segments",
        "channel": "Channels",
        "segments": "{metric} by segment ({weeks})",
        "channels": "{metric} by channel ({weeks})",
        "panel": "{whose} ({window})",
        "no_trend": "There are no two weeks to draw a line through.",
        "derivable_note": "“Hidden (derivable)”: a number under ten could be computed from it by subtraction.",
        "left_out": "Segments and channels without a number that may be shown: {n}.",
        "metrics": "Metrics",
        "metrics_left_out": "The choice above does not reach {n} more metrics: everybody, period of this report only.",
        "heat_whole": "Twelve weeks, whatever period is chosen.",
        "kpi_window": "{window}; the lines are of 8 weeks",
        "metrics_of": "{whose}, {window}",
        "no_metrics": "No metrics in this period.",
        "figure_of": "{name} ({what})",
        "no_numbers": "No number that may be shown.",
        "touchpoints": "Touchpoints week by week",
        "kpis": "KPIs",
        "no_kpis": "Nothing recorded in this period: {names}",
        "list": ", ",
        "formula_count_plain": "Count in the period, out of {n}",
        "formula_money_plain": "Mean or median amount of {n}",
        "formula_days_plain": "Mean or median days of {n}",
        "formula_hours_plain": "Mean or median hours of {n}",
        "as_table": "As a table",
        "how": "How is this computed?",
        "how_of": " {name}",
        "target": "Target {value}",
        "formula": "Formula",
        "window": "Period",
        "unit": "Counting",
        "unit_latest_per_customer": "One answer per customer: the latest valid one in the period.",
        "unit_per_event": "One for each event.",
        "unit_per_customer": "One for each customer.",
        "in_out": "In and out",
        "counts": "Valid {n}; skipped {missing}, invalid {invalid}, replaced by a later one {superseded} (not counted)",
        "counts_figure": "Counted {n}; left out for want of a field {missing}",
        "no_ci_count": "A count: it has no interval.",
        "ci": "95% CI",
        "no_ci": "No interval: too few answers, or all of them equal.",
        "not_shown": "What is hidden",
        "all_shown": "30 or more: shown plainly.",
        "why_caution": "10 to 29: shown for reference only.",
        "why_few": "Fewer than 10: score, interval and breakdown are not shown, and not in this file.",
        "why_derivable": "With this number, one under ten could be computed by subtraction. It is not in this file.",
        "why_none": "No answers in this period.",
        "n_few": "fewer than 10",
        "n_derivable": "(hidden)",
        "n_none": "0",
        "counts_hidden": "Valid {n}",
        "no_score": "cannot be computed",
        "reference": "for reference only",
        "plain_net": "100 × (answers {good} − answers {bad}) ÷ valid answers",
        "plain_top": "100 × answers {good} ÷ valid answers",
        "plain_share": "100 × answers that match ÷ valid answers",
        "plain_mean": "Mean of the valid answers",
        "formula_net": "100 × (answers {good}: {up} − answers {bad}: {down}) ÷ valid {n} = {score}",
        "formula_share": "100 × (answers {good}: {up}) ÷ valid {n} = {score}",
        "formula_counts": "100 × {up} ÷ {n} = {score}",
        "colon": ": ",
        "formula_yes": "100 × (yes: {up}) ÷ valid {n} = {score}",
        "formula_mean_plain": "Mean of {n} valid answers",
        "formula_share_plain": "100 × those that match ÷ all {n}",
        "formula_index_plain": "Mean of the index (0 to 100) of {n} respondents",
        "formula_plain": "Computed from {n}",
        "change": "Did it move",
        "moved": "{verdict} (difference {delta}, 95% CI {interval}, {p})",
        "adjusted": "; {p} after adjusting for the comparisons made together",
        "verdict": "Against the period before: {verdict} ({delta})",
        "rise": "significant rise",
        "fall": "significant fall",
        "noise": "within noise",
        "moved_no_earlier": "No answers in the period before.",
        "moved_few_earlier": "Not compared: fewer than 10 answers in the period before.",
        "moved_few_now": "Not compared: fewer than 10 answers.",
        "moved_no_variance": "Cannot be tested: all answers are equal.",
        "response_rate": "Response rate",
        "completion_rate": "Completion rate",
        "comma": ", ",
    },
}

"""The metrics of a digest seen from several sides: periods, segments, channels, and the leading one week by week – each
number computed beforehand, and only those that may stand side by side (`reports.digest.telling`).

Reads the roll-up of twelve weeks and counts of latest answers; its input does not grow with the history of the shop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from flows.days import midnight_ms
from reports.digest import DigestContext, DigestRule, Gathered, Shop, WeekRange
from reports.digest.response import rate
from reports.digest.telling import LONGEST_WEEKS, Part
from reports.disclosure import side_by_side
from reports.metrics import (
    INTERVAL_BOUND,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Span,
    Stratum,
    measure,
    parse_value,
    sibling,
    tally,
)
from storage.records import LatestCell, ResponsePart, RollupCell
from storage.store import Tx

PERIODS = (1, 4, 12)
"""Weeks, all of which end with the digest's own; its own number of weeks is always among them."""
MOST_METRICS = 12
"""Metrics that are seen from all sides beside the leading one, in the order of the digest."""

Dimension = Literal["all", "segment", "channel"]
Hidden = Literal["", "none", "few", "derivable"]
"""Why a number is not there: no answers, fewer than ten, or it would give such a number away."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose answers: everybody's, or those of one segment or channel."""

    dimension: Dimension = "all"
    value: str = ""


EVERYBODY = Scope()


@dataclass(frozen=True, slots=True)
class View:
    """One metric of a scope in a period. Without results where `hidden` says why."""

    scope: Scope
    weeks: int
    window: Span
    hidden: Hidden
    results: tuple[Result, ...] = ()
    """As `measure` gives them, the leading statistic first."""


@dataclass(frozen=True, slots=True)
class Point:
    """One week of a line or a row; without a result where `hidden` says why."""

    monday: date
    hidden: Hidden
    result: Result | None = None


@dataclass(frozen=True, slots=True)
class Trend:
    """The leading metric of a scope, week by week, the oldest first."""

    scope: Scope
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One touchpoint, week by week."""

    stratum: Stratum
    points: tuple[Point, ...]
    scope: Scope = EVERYBODY


@dataclass(frozen=True, slots=True)
class Answering:
    """What became of the invitations of one segment or channel in the digest's own period."""

    scope: Scope
    rate: Result
    completion: Result


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric below the leading one, in every scope and period of the page."""

    spec: InstrumentSpec
    stratum: Stratum
    views: tuple[View, ...]

    def view(self, scope: Scope, weeks: int) -> View:
        return next(view for view in self.views if view.scope == scope and view.weeks == weeks)


@dataclass(frozen=True, slots=True)
class Views:
    """Everything the filters of a page can show."""

    spec: InstrumentSpec
    scopes: tuple[Scope, ...]
    """Those with at least one number, everybody first."""
    views: tuple[View, ...]
    trends: tuple[Trend, ...]
    heat_spec: InstrumentSpec | None
    """The instrument that was asked at most touchpoints; None when none was asked at two."""
    heat: tuple[HeatRow, ...]
    """Its touchpoints, everybody's answers."""
    left_out: int
    """Segments and channels of which nothing may be shown."""
    metrics: tuple[Metric, ...] = ()
    """The others, in the order of the digest."""
    metrics_left_out: int = 0
    """Those of the digest that no filter reaches: beyond MOST_METRICS, or bound to the time of a purchase."""
    heat_parts: tuple[HeatRow, ...] = ()
    """The same touchpoints in each other scope."""
    answering: tuple[Answering, ...] = ()
    """Of each scope but everybody's, which the digest has; none in a digest that is narrowed itself."""
    why_not: Literal["", "off_interval"] = ""
    """Answers that count only near the time of the next purchase are not told apart by week and segment."""

    def view(self, scope: Scope, weeks: int) -> View:
        return next(view for view in self.views if view.scope == scope and view.weeks == weeks)

    def trend(self, scope: Scope) -> Trend:
        return next(trend for trend in self.trends if trend.scope == scope)


class _Question:
    """One question in one wording: its answers, and what may be shown of them – beside the other numbers of the page
    and of digests, and after what these told before."""

    def __init__(self, page: _Page, spec: InstrumentSpec, stratum: Stratum) -> None:
        self.spec = spec
        self.stratum = stratum
        self._page = page
        self._cells = page.cells[(spec.id, *_place(stratum))]
        self._outside: Counter[str] = Counter()
        for cell in page.outside[(spec.id, *_place(stratum))]:
            if _is_valid(spec, cell):
                self._outside[cell.week] += cell.customers
        self._latest: dict[Span, list[LatestCell]] = {}

    def view(self, scope: Scope, weeks: int) -> View:
        """The answers of a scope in the last weeks, each customer's latest."""
        span = self._page.spans[weeks]
        if weeks == 1:
            values = [(cell.value, cell.customers) for cell in self._inside(scope, span) if _is_valid(self.spec, cell)]
        else:
            values = [
                (cell.value, cell.customers)
                for cell in self._latest_of(span)
                if _belongs(scope, cell.segment, cell.channel) and parse_value(self.spec, cell.value).kind == "valid"
            ]
        hidden = self._hidden(scope, span, sum(count for _, count in values))
        return View(scope, weeks, span, hidden, () if hidden else self._measured(values, scope, span))

    def weekly(self, scope: Scope) -> tuple[Point, ...]:
        """The weeks of a scope."""
        points = []
        for monday in self._page.mondays:
            span = Span(monday.isoformat(), (monday + timedelta(weeks=1)).isoformat())
            values = [(c.value, c.customers) for c in self._inside(scope, span) if _is_valid(self.spec, c)]
            hidden = self._hidden(scope, span, sum(count for _, count in values))
            points.append(Point(monday, hidden, None if hidden else self._measured(values, scope, span)[0]))
        return tuple(points)

    def _hidden(self, scope: Scope, span: Span, n: int) -> Hidden:
        """Why a number of `n` answers may not be shown."""
        if n == 0:
            return "none"
        if n < SUPPRESS_BELOW:
            return "few"
        # in a digest of one segment: everybody's number, of another digest, less this one
        if 0 < sum(count for week, count in self._outside.items() if _has(span, week)) < SUPPRESS_BELOW:
            return "derivable"
        first = date.fromisoformat(span.start)
        window = WeekRange(first, (date.fromisoformat(span.end) - first).days // 7)
        part = ("", scope.value) if scope.dimension == "channel" else (scope.value, "")
        return "" if self._page.telling.may_tell(self.spec.id, self.stratum, window, part=part) else "derivable"

    def _inside(self, scope: Scope, span: Span) -> list[RollupCell]:
        return [c for c in self._cells if _has(span, c.week) and _belongs(scope, c.segment, c.channel)]

    def _latest_of(self, span: Span) -> list[LatestCell]:
        """Each customer's latest answer of a window, if it was to this wording."""
        if span not in self._latest:
            start_ms, end_ms = (midnight_ms(date.fromisoformat(day), self._page.tz) for day in (span.start, span.end))
            at = self.stratum
            self._latest[span] = [
                cell
                for cell in self._page.tx.latest_cells(self.spec.id, at.survey_kind, at.touchpoint, start_ms, end_ms)
                if (cell.wording_id, cell.label_set) == (at.wording_id, at.label_set)
                and _is_about(self._page.rule, cell)
            ]
        return self._latest[span]

    def _measured(self, values: Sequence[tuple[str, int]], scope: Scope, span: Span) -> tuple[Result, ...]:
        """The records of some latest answers."""
        inside = self._inside(scope, span)
        valid = [cell for cell in inside if _is_valid(self.spec, cell)]
        langs = sorted({cell.lang for cell in valid})
        lang = langs[0] if len(langs) == 1 else ("mixed" if langs else "")
        found = tally(self.spec, values, missing=sum(cell.answers for cell in inside if cell.missing))
        return measure(
            self.spec,
            replace(found, superseded=max(0, sum(cell.answers for cell in valid) - found.n)),
            stratum=replace(self.stratum, lang=lang),
            window=span,
            segment=scope.value if scope.dimension == "segment" else "",
            flags=("mixed_lang",) if lang == "mixed" else (),
        )


class _Page:
    """What the questions of a page share: its weeks, the answers in them, and one account of each question."""

    def __init__(self, tx: Tx, gathered: Gathered, *, rule: DigestRule, tz: ZoneInfo) -> None:
        context = gathered.counted
        self.tx = tx
        self.rule = rule
        self.tz = tz
        self.mondays = [context.week_end - timedelta(weeks=back) for back in range(LONGEST_WEEKS, 0, -1)]
        own = (context.week_end - context.window_start).days // 7
        self.spans = {
            weeks: Span((context.week_end - timedelta(weeks=weeks)).isoformat(), context.week_end.isoformat())
            for weeks in sorted({*PERIODS, own})
        }
        self.telling = gathered.telling
        self.cells: defaultdict[_Asked, list[RollupCell]] = defaultdict(list)
        self.outside: defaultdict[_Asked, list[RollupCell]] = defaultdict(list)
        for cell in tx.rollup(self.mondays[0].isoformat(), self.mondays[-1].isoformat()):
            if cell.instrument in context.specs:
                (self.cells if _is_about(rule, cell) else self.outside)[(cell.instrument, *_place(cell))].append(cell)
        self._questions: dict[_Asked, _Question] = {}

    def question(self, spec: InstrumentSpec, stratum: Stratum) -> _Question:
        """The account of a question: the same one each time, for its numbers stand side by side."""
        key = (spec.id, *_place(stratum))
        if key not in self._questions:
            self._questions[key] = _Question(self, spec, stratum)
        return self._questions[key]


_Asked = tuple[str, str, str, str, str]
"""Instrument, kind of survey, touchpoint, wording and label set."""


def gather_views(tx: Tx, gathered: Gathered, *, rule: DigestRule, shop: Shop, tz: ZoneInfo) -> Views:
    """The views of the metrics of a digest, and the touchpoints of one instrument by week.

    Args:
        gathered: the digest.
        rule: what the digest is narrowed to.
    """
    context, page = gathered.counted, _Page(tx, gathered, rule=rule, tz=tz)
    lead = page.question(context.primary_spec, context.primary.result.stratum)
    bound = INTERVAL_BOUND if shop.repeat_interval_ms is not None else frozenset[str]()
    seen = [row for row in context.rows if row.spec.id not in bound][:MOST_METRICS]
    # of one touchpoint there is nothing to lay side by side
    heat_spec, heat = (None, ()) if rule.touchpoint else _heat(context, page)
    if lead.spec.id in bound:
        return Views(lead.spec, (), (), (), heat_spec, heat, 0, why_not="off_interval")
    others = [page.question(row.spec, row.result.stratum) for row in seen]
    scopes = [EVERYBODY, *(_scope(part) for part in page.telling.parts())]
    views = {
        asked: tuple(asked.view(scope, weeks) for scope in scopes for weeks in page.spans) for asked in (lead, *others)
    }
    told = {view.scope for found in views.values() for view in found if view.results}
    named = tuple(scope for scope in scopes if scope == EVERYBODY or scope in told)
    parts = named[1:]
    return Views(
        spec=lead.spec,
        scopes=named,
        views=tuple(view for view in views[lead] if view.scope in named),
        trends=tuple(Trend(scope, lead.weekly(scope)) for scope in named),
        heat_spec=heat_spec,
        heat=heat,
        left_out=len(scopes) - len(named),
        metrics=tuple(Metric(asked.spec, asked.stratum, views[asked]) for asked in others),
        metrics_left_out=len(context.rows) - len(seen),
        heat_parts=()
        if heat_spec is None
        else tuple(
            HeatRow(row.stratum, page.question(heat_spec, row.stratum).weekly(scope), scope)
            for scope in parts
            for row in heat
        ),
        answering=() if rule.narrowed else _answering(tx, context, parts, tz),
    )


def _answering(tx: Tx, context: DigestContext, parts: Sequence[Scope], tz: ZoneInfo) -> tuple[Answering, ...]:
    """The response of each part in the digest's own weeks and in no longer period: periods that overlap could be
    subtracted from each other, down to fewer than ten. A month is told beside the weeks it is made of."""
    weeks = WeekRange(context.week_start, (context.week_end - context.week_start).days // 7)
    mondays = [week.first for week in weeks.each()]
    cells = {
        (week.first, found.segment, found.channel): found
        for week in weeks.each()
        for found in (tx.response_parts(*week.instants(tz)) if parts else ())
    }

    def cells_of(scope: Scope, window: Collection[date]) -> list[tuple[date, str, str]]:
        return [cell for cell in cells if cell[0] in window and _belongs(scope, cell[1], cell[2])]

    def counted(name: str, part: Callable[[ResponsePart], int], whole: Callable[[ResponsePart], int]) -> list[Result]:
        sizes = {cell: whole(found) for cell, found in cells.items()}

        def n(scope: Scope, window: Collection[date] = mondays) -> int:
            return sum(sizes[cell] for cell in cells_of(scope, window))

        ordered = [EVERYBODY, *sorted(parts, key=lambda scope: (-n(scope), scope.dimension, scope.value))]
        windows = dict.fromkeys((*((monday,) for monday in mondays), tuple(mondays)))
        wanted = [(scope, window) for window in windows for scope in ordered if n(scope, window) >= SUPPRESS_BELOW]
        told = side_by_side(sizes, (cells_of(*total) for total in wanted))
        may = {
            scope
            for (scope, window), is_told in zip(wanted, told, strict=True)
            if is_told and len(window) == len(mondays)
        }
        found = (
            rate(name, sum(part(cells[c]) for c in cells_of(scope, mondays)), n(scope), weeks.span()) for scope in parts
        )
        return [one if scope in may else sibling(one).shown() for scope, one in zip(parts, found, strict=True)]

    rates = counted("response_rate", lambda found: found.answered, lambda found: found.invited - found.undeliverable)
    completions = counted("completion_rate", lambda found: found.completed, lambda found: found.started)
    return tuple(Answering(*both) for both in zip(parts, rates, completions, strict=True))


def _place(of: RollupCell | Stratum) -> tuple[str, str, str, str]:
    return of.survey_kind, of.touchpoint, of.wording_id, of.label_set


def _is_valid(spec: InstrumentSpec, cell: RollupCell) -> bool:
    return not cell.missing and parse_value(spec, cell.value).kind == "valid"


def _has(span: Span, monday: str) -> bool:
    return span.start <= monday < span.end


def _belongs(scope: Scope, segment: str, channel: str) -> bool:
    match scope.dimension:
        case "all":
            return True
        case "segment":
            return segment == scope.value
        case "channel":
            return channel == scope.value


def _is_about(rule: DigestRule, cell: RollupCell | LatestCell) -> bool:
    """By segment and channel; the touchpoint is that of the leading metric, or all of them side by side."""
    return rule.segment in ("", cell.segment) and rule.channel in ("", cell.channel)


def _scope(part: Part) -> Scope:
    segment, channel = part
    return Scope("segment", segment) if segment else Scope("channel", channel)


def _heat(context: DigestContext, page: _Page) -> tuple[InstrumentSpec | None, tuple[HeatRow, ...]]:
    """The touchpoints of the instrument that was asked at most of them; each in the wording that was asked most."""
    asked: defaultdict[str, Counter[Stratum]] = defaultdict(Counter)
    for (instrument, *place), cells in page.cells.items():
        spec = context.specs[instrument]
        n = sum(cell.customers for cell in cells if _is_valid(spec, cell))
        if spec.item is None and n:
            asked[instrument][Stratum(*place)] += n
    places = {name: {(s.survey_kind, s.touchpoint) for s in found} for name, found in asked.items()}
    wide = [name for name, found in places.items() if len(found) > 1]
    if not wide:
        return None, ()
    chosen = min(wide, key=lambda name: (-len(places[name]), -asked[name].total(), name))
    spec = context.specs[chosen]
    rows = []
    for kind, touchpoint in sorted(places[chosen]):
        wordings = {s: n for s, n in asked[chosen].items() if (s.survey_kind, s.touchpoint) == (kind, touchpoint)}
        stratum = min(wordings, key=lambda s: (-wordings[s], s.wording_id, s.label_set))
        rows.append(HeatRow(stratum, page.question(spec, stratum).weekly(EVERYBODY)))
    return spec, tuple(rows)

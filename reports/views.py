"""The leading metric seen from several sides: weeks, periods, segments, channels – each number computed beforehand, and
only those that may stand side by side on one page (`reports.disclosure`).

Reads the roll-up of twelve weeks and counts of latest answers; its input does not grow with the history of the shop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from reports.digest import DigestContext, DigestRule, Shop, Telling, WeekRange
from reports.disclosure import Ledger
from reports.metrics import (
    INTERVAL_BOUND,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Span,
    Stratum,
    measure,
    parse_value,
    tally,
)
from storage.records import LatestCell, RollupCell
from storage.store import Tx

WEEKS = 12
PERIODS = (1, 4, 12)
"""Weeks, all of which end with the digest's own; its own number of weeks is always among them."""
MOST_VALUES = 8
"""Segments that can be chosen, the largest first; and channels."""

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
    """The leading metric of a scope in a period. Without results where `hidden` says why."""

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
    left_out: int
    """Segments and channels of which nothing may be shown."""
    why_not: Literal["", "off_interval"] = ""
    """Answers that count only near the time of the next purchase are not told apart by week and segment."""

    def view(self, scope: Scope, weeks: int) -> View:
        return next(view for view in self.views if view.scope == scope and view.weeks == weeks)

    def trend(self, scope: Scope) -> Trend:
        return next(trend for trend in self.trends if trend.scope == scope)


_Key = tuple[str, str, str]
"""(Monday, segment, channel)."""


class _Shown:
    """What may stand on the page of one question: beside its other numbers, and after what digests told before.

    Args:
        cells: its valid answers of the weeks of the page.
        printed: windows of everybody whose score the digest itself prints.
    """

    def __init__(
        self,
        telling: Telling,
        spec: InstrumentSpec,
        stratum: Stratum,
        cells: Iterable[RollupCell],
        printed: Iterable[Span],
    ) -> None:
        self.sizes: Counter[_Key] = Counter()
        for cell in cells:
            self.sizes[(cell.week, cell.segment, cell.channel)] += cell.customers
        self._question = (spec.id, stratum)
        self._telling = telling
        self._ledger = Ledger(self.sizes)
        for span in printed:
            self._ledger.note(_within(self.sizes, span, EVERYBODY))

    def hidden(self, scope: Scope, span: Span, n: int | None = None) -> Hidden:
        """Why a number of `n` answers may not be shown; shown from then on if it may.

        Args:
            n: the answers, where they are not the sum of the weeks.
        """
        keys = _within(self.sizes, span, scope)
        found = sum(self.sizes[key] for key in keys) if n is None else n
        if found == 0:
            return "none"
        if found < SUPPRESS_BELOW:
            return "few"
        first = date.fromisoformat(span.start)
        weeks = WeekRange(first, (date.fromisoformat(span.end) - first).days // 7)
        segment, channel = (scope.value if scope.dimension == of else "" for of in ("segment", "channel"))
        told = self._telling.may_tell(*self._question, weeks, segment=segment, channel=channel)
        return "" if told and self._ledger.admit(keys) else "derivable"


def gather_views(tx: Tx, context: DigestContext, *, rule: DigestRule, shop: Shop, tz: ZoneInfo) -> Views:
    """The views of the leading metric of a digest, and the touchpoints of one instrument by week.

    Args:
        context: the digest. Its own numbers stand on the page first: a view may not give them away either.
        rule: what the digest is narrowed to.
    """
    spec, stratum = context.primary_spec, context.primary.result.stratum
    mondays = [context.week_end - timedelta(weeks=back) for back in range(WEEKS, 0, -1)]
    cells = [
        cell
        for cell in tx.rollup(mondays[0].isoformat(), mondays[-1].isoformat())
        if cell.instrument in context.specs and _is_about(rule, cell)
    ]
    telling = Telling(tx, context.specs, rule, context.week_end)
    heat_spec, heat = _heat(context, cells, mondays, telling)
    mine = [cell for cell in cells if cell.instrument == spec.id and _place(cell) == _place(stratum)]
    if spec.id in INTERVAL_BOUND and shop.repeat_interval_ms is not None:
        return Views(spec, (), (), (), heat_spec, heat, 0, "off_interval")
    valid = [cell for cell in mine if _is_valid(spec, cell)]
    shown = _Shown(telling, spec, stratum, valid, _printed(context, spec.id, stratum))
    scopes = _scopes(shown.sizes, rule)
    own = (context.week_end - context.window_start).days // 7
    spans = {
        weeks: Span((context.week_end - timedelta(weeks=weeks)).isoformat(), context.week_end.isoformat())
        for weeks in sorted({*PERIODS, own})
    }
    views: list[View] = []
    weekly: dict[Scope, list[Point]] = {}
    latest = {weeks: _latest(tx, stratum, spec.id, span, rule, tz) for weeks, span in spans.items()}
    for scope in scopes:
        for weeks, span in spans.items():
            values = [(a.value, a.customers) for a in latest[weeks] if _belongs(scope, a.segment, a.channel)]
            n = sum(count for value, count in values if parse_value(spec, value).kind == "valid")
            hidden = shown.hidden(scope, span, n)
            inside = [cell for cell in mine if _belongs(scope, cell.segment, cell.channel) and _has(span, cell.week)]
            found = () if hidden else _measured(spec, values, inside, stratum, span, scope)
            views.append(View(scope, weeks, span, hidden, found))
        if scope == EVERYBODY:
            weekly[scope] = _weekly(spec, mine, shown, mondays, stratum, scope)
    for scope in scopes[1:]:
        weekly[scope] = _weekly(spec, mine, shown, mondays, stratum, scope)
    named = tuple(
        scope for scope in scopes if scope == EVERYBODY or any(view.scope == scope and view.results for view in views)
    )
    return Views(
        spec=spec,
        scopes=named,
        views=tuple(view for view in views if view.scope in named),
        trends=tuple(Trend(scope, tuple(weekly[scope])) for scope in named),
        heat_spec=heat_spec,
        heat=heat,
        left_out=len(scopes) - len(named),
    )


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


def _within(sizes: Iterable[_Key], span: Span, scope: Scope) -> list[_Key]:
    return [key for key in sizes if _has(span, key[0]) and _belongs(scope, key[1], key[2])]


def _printed(context: DigestContext, metric: str, stratum: Stratum) -> list[Span]:
    """Windows whose score the digest itself prints."""
    told: list[Result] = []
    for row in (context.primary, *context.rows):
        if row.result.metric == metric and _place(row.result.stratum) == _place(stratum):
            told += [row.result, row.change.earlier, *row.trend]
            told += [row.longer.earlier] if row.longer is not None else []
    if metric == context.primary_spec.id and (context.mode == "week" or context.show_week_result):
        told.append(context.week_result)
    return [result.window for result in told if result.status in ("caution", "ok")]


def _is_about(rule: DigestRule, cell: RollupCell | LatestCell) -> bool:
    """By segment and channel; the touchpoint is that of the leading metric, or all of them side by side."""
    return rule.segment in ("", cell.segment) and rule.channel in ("", cell.channel)


def _scopes(sizes: Mapping[_Key, int], rule: DigestRule) -> list[Scope]:
    """Everybody, then the segments and the channels by size; one alone is everybody once more."""
    found = [EVERYBODY]
    narrowed: list[tuple[Dimension, int, str]] = [("segment", 1, rule.segment), ("channel", 2, rule.channel)]
    for dimension, place, only in narrowed:
        if only:
            continue
        counts: Counter[str] = Counter()
        for key, n in sizes.items():
            counts[key[place]] += n
        if len(counts) > 1:
            largest = sorted(counts, key=lambda value: (-counts[value], value))
            found += [Scope(dimension, value) for value in largest if value][:MOST_VALUES]
    return found


def _latest(tx: Tx, stratum: Stratum, metric: str, span: Span, rule: DigestRule, tz: ZoneInfo) -> list[LatestCell]:
    """Each customer's latest answer of a window, if it was to this wording."""
    start_ms, end_ms = (
        int(datetime.combine(date.fromisoformat(day), time(), tz).timestamp() * 1000) for day in (span.start, span.end)
    )
    return [
        cell
        for cell in tx.latest_cells(metric, stratum.survey_kind, stratum.touchpoint, start_ms, end_ms)
        if (cell.wording_id, cell.label_set) == (stratum.wording_id, stratum.label_set) and _is_about(rule, cell)
    ]


def _measured(
    spec: InstrumentSpec,
    values: Iterable[tuple[str, int]],
    inside: Sequence[RollupCell],
    stratum: Stratum,
    span: Span,
    scope: Scope,
) -> tuple[Result, ...]:
    """The records of some latest answers; `inside` are all answers of the window, skipped ones too."""
    langs = sorted({cell.lang for cell in inside if _is_valid(spec, cell)})
    lang = langs[0] if len(langs) == 1 else ("mixed" if langs else "")
    found = tally(spec, values, missing=sum(cell.answers for cell in inside if cell.missing))
    valid = sum(cell.answers for cell in inside if _is_valid(spec, cell))
    return measure(
        spec,
        replace(found, superseded=max(0, valid - found.n)),
        stratum=replace(stratum, lang=lang),
        window=span,
        segment=scope.value if scope.dimension == "segment" else "",
        flags=("mixed_lang",) if lang == "mixed" else (),
    )


def _weekly(
    spec: InstrumentSpec,
    mine: Sequence[RollupCell],
    shown: _Shown,
    mondays: Sequence[date],
    stratum: Stratum,
    scope: Scope,
) -> list[Point]:
    """The weeks of a scope, the newest admitted first: it is the one people look at."""
    points = []
    for monday in reversed(mondays):
        span = Span(monday.isoformat(), (monday + timedelta(weeks=1)).isoformat())
        hidden = shown.hidden(scope, span)
        inside = [c for c in mine if c.week == span.start and _belongs(scope, c.segment, c.channel)]
        values = [(cell.value, cell.customers) for cell in inside if _is_valid(spec, cell)]
        result = None if hidden else _measured(spec, values, inside, stratum, span, scope)[0]
        points.append(Point(monday, hidden, result))
    return points[::-1]


def _heat(
    context: DigestContext, cells: Sequence[RollupCell], mondays: Sequence[date], telling: Telling
) -> tuple[InstrumentSpec | None, tuple[HeatRow, ...]]:
    """The touchpoints of the instrument that was asked at most of them; each in the wording that was asked most."""
    asked: defaultdict[str, Counter[Stratum]] = defaultdict(Counter)
    for cell in cells:
        if context.specs[cell.instrument].item is None and _is_valid(context.specs[cell.instrument], cell):
            stratum = Stratum(cell.survey_kind, cell.touchpoint, cell.wording_id, cell.label_set)
            asked[cell.instrument][stratum] += cell.customers
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
        mine = [cell for cell in cells if cell.instrument == chosen and _place(cell) == _place(stratum)]
        valid = [cell for cell in mine if _is_valid(spec, cell)]
        shown = _Shown(telling, spec, stratum, valid, _printed(context, chosen, stratum))
        points = _weekly(spec, mine, shown, mondays, stratum, EVERYBODY)
        rows.append(HeatRow(stratum, tuple(points)))
    return spec, tuple(rows)

"""The weekly digest: gather → is there enough to say? → a typed context that any renderer can print safely.

`gather` reads the roll-up and bounded windows only: its input does not grow with the history of the shop.
What may not be shown (fewer than ten answers) has left the context already, so no template can print it.

Source: docs/metrics.md ("Before any number", "Whether it moved", "Response and completion").
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from scipy import stats

from flows.survey import WAVE_MS
from reports import kpis, procedures
from reports.answers_file import Row as Given
from reports.benchmarks import Benchmark, Standing, standings
from reports.drivers import DriverAnalysis, gather_drivers
from reports.experiments import ExperimentReport, Trial, reports_of
from reports.indices import battery_results, battery_scores
from reports.instruments import bundled_blocks
from reports.metrics import (
    CAUTION_BELOW,
    INTERVAL_BOUND,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Span,
    Statistic,
    Stratum,
    Tally,
    difference,
    estimate,
    is_off_interval,
    measure,
    off_interval,
    parse_value,
    record,
    statistics_of,
    status_of,
    tally,
)
from reports.portfolio import Portfolio, gather_portfolio
from reports.quality import SATISFACTION, Quality, gather_quality
from reports.respondents import Asked, Respondents
from reports.rounding import rounded
from reports.trust import Rules
from reports.words import Language, Limits
from storage.records import Case, ResponseCounts, RollupCell
from storage.store import Tx

ROLLING_WEEKS = 4
HISTORY_WEEKS = 2 * ROLLING_WEEKS
FIRST_LOOK_WEEKS = 53
"""How far back "first week" looks once the last eight weeks are empty."""
CASES_BACK_MS = 90 * 86_400_000
RESPONSE_MS = 7 * 86_400_000
CLOSED_LOOP_MS = 48 * 3_600_000
OVERLAP_ABOVE = 0.10
MIX_ALPHA = 0.05
MIX_WORTH_SHOWING = 3.0

Against = Literal["previous_week", "previous_4_weeks", "previous_rolling"]
Verdict = Literal["rise", "fall", "noise", "none"]
Mode = Literal["week", "rolling"]

_WEEK = re.compile(r"([0-9]{4})-W([0-9]{2})")
_BLOCKS = ("segments", "kpis", "linkage", "drivers", "experiments", "topics")
"""What a digest will show one day: named at its foot instead of dropped in silence."""
_ORDER = (
    "nps", "nrs", "csat5", "csat10", "sat5", "ces_effort", "ces_ease", "affinity", "emotion", "pay_more",
    "repeat_intent", "repeat_intent_noswitch", "expect_gap", "delight",
)  # fmt: skip


# ---------------------------------------------------------------------------------------------- what is given


@dataclass(frozen=True, slots=True)
class Shop:
    """What a digest must know of the shop."""

    brand: Mapping[str, str]
    language: Language = "ja"
    primary_metric: str = "nps"
    targets: Mapping[str, float] | None = None
    limits: Limits = field(default_factory=Limits)
    country: str = "JP"
    benchmarks: tuple[Benchmark, ...] = ()
    repeat_interval_ms: int | None = None
    """Usual time between two purchases of a customer; None when the shop does not know it."""
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=bundled_blocks)
    """Touchpoints that are asked about together."""


@dataclass(frozen=True, slots=True)
class DigestRule:
    """One entry of `digests` in koe.yaml, as far as its content depends on it."""

    id: str
    language: Language | None = None
    segment: str = ""
    touchpoint: str = ""


# -------------------------------------------------------------------------------------------- what comes back


@dataclass(frozen=True, slots=True)
class Comparison:
    """A change between two windows. With verdict "none" nothing was tested and `why_not` says why."""

    against: Against
    earlier: Result
    verdict: Verdict
    why_not: Literal["", "no_earlier", "few_earlier", "few_now", "no_variance"] = ""
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    """None for the primary metric, which is tested on its own."""
    detectable: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One instrument of one stratum: its leading result, its other results, and how it moved."""

    spec: InstrumentSpec
    result: Result
    others: Mapping[str, Result]
    """Variant → result; empty when suppressed."""
    change: Comparison
    longer: Comparison | None
    """Against the four weeks before, pooled; None in rolling mode and where it would give a hidden week
    away."""
    wording_shown: bool
    """More than one wording or label set of this question was answered: the name alone is ambiguous."""
    target: float | None


@dataclass(frozen=True, slots=True)
class IndexLine:
    """One index of a battery, and how it moved."""

    result: Result
    change: Comparison


@dataclass(frozen=True, slots=True)
class IndexRow:
    """The indices of one battery in one stratum: what its items come to, each respondent counted once."""

    battery: str
    lines: tuple[IndexLine, ...]
    others: tuple[Result, ...]
    """Shares of classes, ratios and how far the items agree; none of a suppressed cell."""

    @property
    def stratum(self) -> Stratum:
        return self.lines[0].result.stratum


@dataclass(frozen=True, slots=True)
class Response:
    """What became of the invitations sent in the week. Rates are result records over delivered
    invitations/sessions."""

    counts: ResponseCounts
    rate: Result
    completion: Result
    immature: bool
    """Some invitations are younger than the seven days in which an answer counts."""


@dataclass(frozen=True, slots=True)
class Care:
    """Unhappy customers: counts, never names."""

    opened: int
    """In the week."""
    open_now: int
    overdue: int
    closed_loop: Result
    """Answered or settled within 48 hours / opened in the week at least 48 hours ago."""
    first_reply: Result
    """Median hours from the opening to the first reply, of the cases of the week that were answered."""
    solved: Result
    """Said "solved" / answered the question that followed a settled case, asked in the week."""
    recovered: Result
    """Likelihood to recommend after a settled case, minus that which opened it: mean over customers asked again,
    cases settled within CASES_BACK_MS."""


@dataclass(frozen=True, slots=True)
class Revision:
    """Last week's headline as it was posted, and what it is with the answers that arrived since."""

    before: float
    after: float
    added: int


@dataclass(frozen=True, slots=True)
class DigestContext:
    """Everything a digest may print. Suppressed results carry their n and nothing else."""

    digest_id: str
    period: str
    """ISO week: "2026-W46"."""
    language: Language
    brand: str
    computed_ms: int
    week_start: date
    week_end: date
    """Exclusive, like every end."""
    window_start: date
    """Of the scores: the week, or four weeks in rolling mode."""
    mode: Mode
    primary_spec: InstrumentSpec
    primary: Row
    week_result: Result
    """The primary metric in the week alone (equal to primary.result in week mode)."""
    show_week_result: bool
    """In rolling mode: whether the week alone may be printed beside the four weeks."""
    rows: tuple[Row, ...]
    """All other metrics with answers in the window; items of batteries are in `indices`."""
    indices: tuple[IndexRow, ...]
    strata_shown: bool
    """More than one touchpoint or kind of survey occurs: rows say which they are."""
    response: Response
    mix: tuple[tuple[str, int], ...]
    """(channel, n) of the primary metric in the window."""
    standardised: float | None
    """S10: the primary score at last week's mix of channels, where the mix moved and the two differ."""
    benchmarks: tuple[Standing, ...]
    """The published figures of koe.yaml beside our leading results."""
    drivers: tuple[DriverAnalysis, ...]
    """What moves the recommendation, of the quarter before: in the first digest of everything after its end."""
    quality: Quality
    """Checks of the last four weeks, in a digest of everything; empty in others."""
    care: Care
    late: int
    """Answers to the primary question in the week given after their survey had expired."""
    first: bool
    revision: Revision | None
    flags: tuple[str, ...]
    experiments: tuple[ExperimentReport, ...]
    trust: Portfolio | None
    """The trust balances of all customers; None in a digest that is limited to a part of the answers."""
    """A/B tests at the touchpoint of the digest; none in one about a segment, where arms are not whole."""
    missing_blocks: tuple[str, ...]
    shows_nps: bool
    filtered: str
    """The `where` of the rule in words of data ("" = everything)."""
    limits: Limits
    specs: Mapping[str, InstrumentSpec]
    """Every instrument that is scored: names for what is spoken of outside the rows."""


# ---------------------------------------------------------------------------------------------------- weeks


def parse_week(text: str) -> date:
    """The Monday of an ISO week.

    >>> parse_week("2026-W47").isoformat()
    '2026-11-16'
    """
    found = _WEEK.fullmatch(text)
    if found is None:
        raise ValueError(f"week {text!r} is not an ISO week such as 2026-W46")
    try:
        return date.fromisocalendar(int(found[1]), int(found[2]), 1)
    except ValueError as error:
        raise ValueError(f"week {text!r} does not exist: {error}") from error


def week_name(monday: date) -> str:
    """The ISO week of a day: "2026-W47"."""
    year, week, _ = monday.isocalendar()
    return f"{year}-W{week:02d}"


def last_complete_week(now_ms: int, tz: ZoneInfo) -> str:
    """The ISO week before the one that `now_ms` lies in."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(tz).date()
    return week_name(today - timedelta(days=7))


def _trust(
    tx: Tx, rule: DigestRule, week: _Window, until_ms: int, tz: ZoneInfo, rules: Rules | None
) -> Portfolio | None:
    if rules is None or rule.segment or rule.touchpoint:
        return None  # an account belongs to a customer, not to a segment or an occasion
    return gather_portfolio(tx, _midnight_ms(week.first, tz), until_ms, rules=rules, tz=tz, window=week.span())


def _midnight_ms(day: date, tz: ZoneInfo) -> int:
    return int(datetime.combine(day, time(), tz).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class _Window:
    """Whole weeks [first Monday, end Monday)."""

    first: date
    weeks: int

    @property
    def end(self) -> date:
        return self.first + timedelta(weeks=self.weeks)

    def span(self) -> Span:
        return Span(self.first.isoformat(), self.end.isoformat())

    def has(self, week: str) -> bool:
        return self.first.isoformat() <= week < self.end.isoformat()

    def joined(self, later: _Window) -> _Window:
        return _Window(self.first, self.weeks + later.weeks)


def _weeks_before(week: _Window, *, back: int, weeks: int) -> _Window:
    return _Window(week.first - timedelta(weeks=back), weeks)


# --------------------------------------------------------------------------------------------------- counting

_Wording = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Group:
    """The unit rule keeps one answer per customer within these three (docs/metrics.md, "Which answers are put
    together")."""

    instrument: str
    survey_kind: str
    touchpoint: str


@dataclass(frozen=True, slots=True)
class _Latest:
    """A customer's latest valid answer in a window."""

    customer: str
    wording: _Wording
    segment: str
    value: str
    off_interval: bool
    """Given too early or too late to be read; False for instruments whose time does not matter."""


@dataclass(frozen=True, slots=True)
class _Counted:
    tallies: Mapping[_Wording, Tally]
    langs: Mapping[_Wording, tuple[str, ...]]
    off_interval: Mapping[_Wording, int]
    """Answers left out of the tallies because they were given too early or too late to be read."""

    def of(self, wording: _Wording) -> Tally:
        return self.tallies.get(wording, Tally())


class _Source:
    """Tallies of any window of the last eight weeks, from the roll-up where it is exact and from rows where
    not."""

    def __init__(
        self,
        tx: Tx,
        specs: Mapping[str, InstrumentSpec],
        rule: DigestRule,
        week: _Window,
        tz: ZoneInfo,
        *,
        repeat_interval_ms: int | None,
    ) -> None:
        self._tx = tx
        self._repeat_interval_ms = repeat_interval_ms
        self._specs = specs
        self._rule = rule
        self._tz = tz
        first = _weeks_before(week, back=HISTORY_WEEKS - 1, weeks=1).first
        found = tx.rollup(first.isoformat(), week.first.isoformat())
        self.cells = [cell for cell in found if cell.instrument in specs and self._wanted(cell)]
        self._kinds: dict[tuple[str, str], str] = {}
        self._seen: dict[tuple[_Group, _Window], _Counted] = {}

    def _wanted(self, cell: RollupCell) -> bool:
        rule = self._rule
        return rule.touchpoint in ("", cell.touchpoint) and rule.segment in ("", cell.segment)

    def _valid(self, cell: RollupCell) -> bool:
        if cell.missing:
            return False
        key = (cell.instrument, cell.value)
        if key not in self._kinds:
            self._kinds[key] = parse_value(self._specs[cell.instrument], cell.value).kind
        return self._kinds[key] == "valid"

    def groups(self, window: _Window) -> list[_Group]:
        """Groups with a valid answer in the window; those of items are told by `asked`."""
        return sorted(
            {
                _Group(cell.instrument, cell.survey_kind, cell.touchpoint)
                for cell in self.cells
                if window.has(cell.week) and self._specs[cell.instrument].item is None and self._valid(cell)
            },
            key=lambda group: (group.survey_kind, group.touchpoint, group.instrument),
        )

    def _cells(self, group: _Group, window: _Window) -> list[RollupCell]:
        return [
            cell
            for cell in self.cells
            if window.has(cell.week)
            and (cell.instrument, cell.survey_kind, cell.touchpoint)
            == (group.instrument, group.survey_kind, group.touchpoint)
        ]

    def _bounds(self, window: _Window) -> tuple[int, int]:
        return _midnight_ms(window.first, self._tz), _midnight_ms(window.end, self._tz)

    def counted(self, group: _Group, window: _Window) -> _Counted:
        """Tallies per wording: each customer's latest valid answer in the window."""
        key = (group, window)
        if key not in self._seen:
            self._seen[key] = self._count(group, window)
        return self._seen[key]

    def _count(self, group: _Group, window: _Window) -> _Counted:
        cells = self._cells(group, window)
        wordings = sorted({(cell.wording_id, cell.label_set) for cell in cells if self._valid(cell)})
        values: dict[_Wording, list[tuple[object, int]]] = {wording: [] for wording in wordings}
        off: Counter[_Wording] = Counter()
        if self._bound(group):
            for row in self._latest_rows(group, window) if wordings else ():
                if self._rule.segment in ("", row.segment) and row.wording in values:
                    off[row.wording] += row.off_interval
                    if not row.off_interval:
                        values[row.wording].append((row.value, 1))
        elif window.weeks == 1:
            for cell in cells:
                if not cell.missing and (cell.wording_id, cell.label_set) in values:
                    count = cell.customers if self._valid(cell) else cell.answers
                    values[(cell.wording_id, cell.label_set)].append((cell.value, count))
        elif len(wordings) == 1 and not self._rule.segment:
            start_ms, end_ms = self._bounds(window)
            latest = self._tx.latest_values(group.instrument, group.survey_kind, group.touchpoint, start_ms, end_ms)
            values[wordings[0]] = list(latest.items())
        elif wordings:
            for row in self._latest_rows(group, window):
                if self._rule.segment in ("", row.segment) and row.wording in values:
                    values[row.wording].append((row.value, 1))
        out: dict[_Wording, Tally] = {}
        langs: dict[_Wording, tuple[str, ...]] = {}
        for wording in wordings:
            mine = [cell for cell in cells if (cell.wording_id, cell.label_set) == wording]
            missing = sum(cell.answers for cell in mine if cell.missing)
            valid = sum(cell.answers for cell in mine if self._valid(cell))
            found = tally(self._specs[group.instrument], values[wording], missing=missing)
            out[wording] = replace(found, superseded=max(0, valid - found.n - off[wording]))
            langs[wording] = tuple(sorted({cell.lang for cell in mine if self._valid(cell)}))
        return _Counted(out, langs, off)

    def _bound(self, group: _Group) -> bool:
        """Whether answers count only near the usual time of the next purchase."""
        return group.instrument in INTERVAL_BOUND and self._repeat_interval_ms is not None

    def _latest_rows(self, group: _Group, window: _Window) -> list[_Latest]:
        """Each customer's latest valid answer."""
        start_ms, end_ms = self._bounds(window)
        spec = self._specs[group.instrument]
        interval_ms = self._repeat_interval_ms if self._bound(group) else None
        bought = {} if interval_ms is None else self._tx.bought_before(start_ms, end_ms, instrument=group.instrument)
        latest: dict[str, tuple[tuple[int, str], _Latest]] = {}
        for answer in self._tx.answers_between(start_ms, end_ms, instrument=group.instrument):
            if (answer.survey_kind, answer.touchpoint) != (group.survey_kind, group.touchpoint):
                continue
            if answer.replaced_ms is not None or answer.missing or parse_value(spec, answer.value).kind != "valid":
                continue
            at = (answer.answered_ms, answer.id)
            # without a customer every answer counts as one, as in the roll-up
            who = answer.customer_id or f"answer:{answer.id}"
            if who not in latest or latest[who][0] < at:
                off = interval_ms is not None and is_off_interval(at[0], bought.get(answer.id), interval_ms)
                wording = (answer.wording_id, answer.label_set)
                latest[who] = (at, _Latest(who, wording, answer.segment, answer.value, off))
        return [row for _, row in latest.values()]

    def asked(self, window: _Window) -> list[Asked]:
        """Respondents to batteries whose latest item was answered in the window. The items of a wave that began before
        it are read, too."""
        start_ms, end_ms = self._bounds(window)
        found = Respondents(self._specs, by_language=False, since_ms=start_ms)
        items = sorted({cell.instrument for cell in self.cells if self._specs[cell.instrument].item is not None})
        rule = self._rule
        for answer in self._tx.answers_between(start_ms - WAVE_MS, end_ms, instruments=items) if items else ():
            if rule.touchpoint not in ("", answer.touchpoint) or rule.segment not in ("", answer.segment):
                continue
            given = Given(
                line=0,
                instrument=answer.instrument,
                value=answer.value,
                answered_at="",
                customer=answer.customer_id,
                survey_kind=answer.survey_kind,
                touchpoint=answer.touchpoint,
                channel=answer.channel,
                segment=answer.segment,
                session=answer.session_id,
                lang=answer.lang,
                wording_id=answer.wording_id,
                label_set=answer.label_set,
                wave=answer.wave_id,
            )
            parsed = parse_value(self._specs[answer.instrument], "" if answer.missing else answer.value)
            found.take(given, answer.instrument, parsed, answer.answered_ms)
        return list(found.groups(dated_from=0))

    def overlap(self, group: _Group, earlier: _Window, later: _Window) -> bool:
        """Whether more than a tenth of the later window's customers also answered in the earlier one."""
        n_later = sum(found.n for found in self.counted(group, later).tallies.values())
        n_earlier = sum(found.n for found in self.counted(group, earlier).tallies.values())
        if not n_later or not n_earlier:
            return False
        if self._rule.segment or self._bound(group):
            before, after = (
                {
                    row.customer
                    for row in self._latest_rows(group, window)
                    if self._rule.segment in ("", row.segment) and not row.off_interval
                }
                for window in (earlier, later)
            )
            both = len(before & after)
        else:
            start_ms, end_ms = self._bounds(earlier.joined(later))
            union = self._tx.latest_values(group.instrument, group.survey_kind, group.touchpoint, start_ms, end_ms)
            both = n_earlier + n_later - sum(union.values())
        return both > OVERLAP_ABOVE * n_later

    def by_channel(self, group: _Group, wording: _Wording, window: _Window) -> dict[str, Tally]:
        """Tallies per channel; exact for one week, an addition of weeks otherwise."""
        values: dict[str, list[tuple[object, int]]] = {}
        for cell in self._cells(group, window):
            if (cell.wording_id, cell.label_set) == wording and self._valid(cell):
                values.setdefault(cell.channel, []).append((cell.value, cell.customers))
        spec = self._specs[group.instrument]
        return {channel: tally(spec, values[channel]) for channel in sorted(values)}


# ---------------------------------------------------------------------------------------------------- gather


@dataclass(slots=True)
class _Draft:
    """A row before the family of tests is judged together."""

    group: _Group
    wording: _Wording
    spec: InstrumentSpec
    results: tuple[Result, ...]
    change: Comparison
    longer: Comparison | None
    ambiguous: bool


def gather(
    tx: Tx,
    *,
    shop: Shop,
    digest_rule: DigestRule,
    week: str,
    now_ms: int,
    tz: ZoneInfo,
    instruments: Mapping[str, InstrumentSpec],
    trials: Sequence[Trial] = (),
    trust_rules: Rules | None = None,
) -> DigestContext:
    """The digest of one ISO week, ready to be rendered.

    Args:
        tx: a reading transaction (a unit for `Store.read`).
        shop: brand, language, primary metric, targets, contact limits.
        digest_rule: which digest; its segment and touchpoint narrow scores, not the response figures.
        week: "2026-W46".
        now_ms: the time of the computation: what is overdue, which invitations may still be answered.
        tz: zone of the shop; weeks begin on Monday 00:00 there.
        instruments: instrument → how it is scored. Answers to others are left out.
        trials: the shop's experiments; they are told as of the end of the week.
        trust_rules: of the account; without them there is no portfolio.

    Raises:
        ValueError: the week does not exist, or the primary metric is no instrument.
    """
    if shop.primary_metric not in instruments:
        known = ", ".join(sorted(instruments))
        raise ValueError(f"primary_metric {shop.primary_metric!r} is no instrument that is scored; there are: {known}")
    this_week = _Window(parse_week(week), 1)
    source = _Source(tx, instruments, digest_rule, this_week, tz, repeat_interval_ms=shop.repeat_interval_ms)
    primary_group, primary_wording = _primary(source, shop.primary_metric, this_week, _asides(trials, this_week, tz))
    week_n = source.counted(primary_group, this_week).of(primary_wording).n
    rolling = _weeks_before(this_week, back=ROLLING_WEEKS - 1, weeks=ROLLING_WEEKS)
    everything = _weeks_before(this_week, back=HISTORY_WEEKS - 1, weeks=HISTORY_WEEKS)
    has_past = any(cell.week < this_week.first.isoformat() for cell in source.cells)
    mode: Mode = "rolling" if week_n < CAUTION_BELOW and has_past else "week"
    window = rolling if mode == "rolling" else this_week
    earlier: tuple[Against, _Window] = (
        ("previous_rolling", everything)
        if mode == "rolling"
        else ("previous_week", _weeks_before(this_week, back=1, weeks=1))
    )
    if mode == "rolling":
        earlier = (earlier[0], _Window(everything.first, ROLLING_WEEKS))
    pooled = _weeks_before(this_week, back=ROLLING_WEEKS, weeks=ROLLING_WEEKS) if mode == "week" else None

    keys = [(group, wording) for group in source.groups(window) for wording in source.counted(group, window).tallies]
    if (primary_group, primary_wording) not in keys:
        keys.insert(0, (primary_group, primary_wording))
    drafts = [
        _draft(
            source,
            group,
            wording,
            instruments[group.instrument],
            window,
            earlier,
            pooled,
            digest_rule.segment,
        )
        for group, wording in keys
    ]
    indices = _indices(source, window, earlier, digest_rule.segment)
    primary = next(d for d in drafts if (d.group, d.wording) == (primary_group, primary_wording))
    others = sorted((d for d in drafts if d is not primary), key=_reading_order)
    _judge(primary, [*others, *(line for row in indices for line in row.lines)])

    week_result = measure(
        primary.spec,
        source.counted(primary_group, this_week).of(primary_wording),
        stratum=primary.results[0].stratum,
        window=this_week.span(),
        segment=digest_rule.segment,
    )[0].shown()
    rest_n = primary.results[0].n_valid - week_result.n_valid
    language = digest_rule.language or shop.language
    rows = tuple(_row(draft, shop) for draft in others)
    primary_row = _row(primary, shop)
    mix, standardised, mix_flags = _mix(source, primary, window, mode)
    shown = [t for t in trials if digest_rule.touchpoint in ("", t.touchpoint) and not digest_rule.segment]
    until_ms = min(now_ms, _midnight_ms(this_week.end, tz))
    experiments = reports_of(tx, shown, now_ms=until_ms, tz=tz, instruments=instruments)
    whole = not digest_rule.segment and not digest_rule.touchpoint
    quarter = _quarter_over(this_week.end) if whole else None
    drivers: tuple[DriverAnalysis, ...] = ()
    if quarter is not None:
        first, end = quarter
        drivers = gather_drivers(
            tx,
            _midnight_ms(first, tz),
            _midnight_ms(end, tz),
            specs=instruments,
            blocks=shop.blocks,
            window=Span(first.isoformat(), end.isoformat()),
        )
    return DigestContext(
        digest_id=digest_rule.id,
        period=week,
        language=language,
        brand=shop.brand.get(language) or next(iter(shop.brand.values()), ""),
        computed_ms=now_ms,
        week_start=this_week.first,
        week_end=this_week.end,
        window_start=window.first,
        mode=mode,
        primary_spec=primary.spec,
        primary=primary_row,
        week_result=week_result,
        # four weeks minus one week would give the other three away if those are few
        show_week_result=mode == "rolling" and week_result.status == "caution" and rest_n >= SUPPRESS_BELOW,
        rows=rows,
        indices=tuple(row.done() for row in indices),
        strata_shown=len({(d.group.survey_kind, d.group.touchpoint) for d in drafts}) > 1,
        response=_response(tx, this_week, now_ms, tz),
        mix=mix,
        standardised=standardised,
        benchmarks=standings(
            [primary_row.result, *(row.result for row in rows)],
            shop.benchmarks,
            instruments,
            country=shop.country,
            on=this_week.end,
        ),
        drivers=drivers,
        quality=_quality(tx, source, rolling, now_ms, tz, instruments) if whole else Quality(),
        care=_care(tx, this_week, now_ms, tz),
        late=_late(tx, primary_group, this_week, tz),
        first=_is_first(tx, shop.primary_metric, this_week, has_past=has_past),
        revision=_revision(tx, digest_rule, primary, primary_row.change, this_week),
        flags=_flags([primary_row, *rows], indices, mix_flags),
        experiments=experiments,
        trust=_trust(tx, digest_rule, this_week, until_ms, tz, trust_rules),
        missing_blocks=tuple(
            block for block in _BLOCKS if not {"experiments": experiments, "drivers": drivers}.get(block)
        ),
        shows_nps="nps" in [spec.id for spec in (primary.spec, *(row.spec for row in rows))]
        or any(found.spec is not None and found.spec.id == "nps" for found in experiments),
        filtered=" · ".join(part for part in (digest_rule.touchpoint, digest_rule.segment) if part),
        limits=shop.limits,
        specs=instruments,
    )


def _asides(trials: Sequence[Trial], week: _Window, tz: ZoneInfo) -> set[tuple[str, _Wording]]:
    """(instrument, wording) that only the treatment of a running experiment asks."""
    start_ms, end_ms = _midnight_ms(week.first, tz), _midnight_ms(week.end, tz)
    running = [trial for trial in trials if trial.start_ms < end_ms and start_ms < trial.end_ms]
    return {(instrument, (wording, labels)) for trial in running for instrument, wording, labels in trial.asides}


def _quarter_over(week_end: date) -> tuple[date, date] | None:
    """[first day, end) of the calendar quarter that ended in the week before this Monday, None when none did."""
    if week_end.day > 7 or week_end.month not in (1, 4, 7, 10):
        return None
    end = week_end.replace(day=1)
    return (date(end.year - 1, 10, 1) if end.month == 1 else date(end.year, end.month - 3, 1)), end


def _quality(
    tx: Tx, source: _Source, window: _Window, now_ms: int, tz: ZoneInfo, instruments: Mapping[str, InstrumentSpec]
) -> Quality:
    scored: list[tuple[Result, Tally]] = []
    by_channel: list[tuple[InstrumentSpec, Stratum, Mapping[str, Tally]]] = []
    for group in source.groups(window):
        spec = instruments[group.instrument]
        for wording, counted in source.counted(group, window).tallies.items():
            stratum = Stratum(group.survey_kind, group.touchpoint, *wording)
            scored.append((measure(spec, counted, stratum=stratum, window=window.span())[0].shown(), counted))
            if spec.id in SATISFACTION:
                by_channel.append((spec, stratum, source.by_channel(group, wording, window)))
    return gather_quality(
        tx,
        _midnight_ms(window.first, tz),
        _midnight_ms(window.end, tz),
        now_ms=now_ms,
        specs=instruments,
        window=window.span(),
        scored=scored,
        by_channel=by_channel,
    )


def _primary(
    source: _Source, metric: str, this_week: _Window, asides: set[tuple[str, _Wording]]
) -> tuple[_Group, _Wording]:
    """The stratum that leads: the group with most answers in eight weeks, so that one busy week does not
    swap the headline; in it the wording asked most this week, so that a new wording takes over at once. A wording on
    trial does not take over: half of the customers are asked in it, and the headline would jump to and fro."""
    groups: Counter[_Group] = Counter()
    wordings: Counter[tuple[_Group, _Wording]] = Counter()
    of_week: Counter[tuple[_Group, _Wording]] = Counter()
    for cell in source.cells:
        if cell.instrument == metric:
            group, wording = (
                _Group(metric, cell.survey_kind, cell.touchpoint),
                (cell.wording_id, cell.label_set),
            )
            groups[group] += cell.customers
            wordings[(group, wording)] += cell.customers
            if this_week.has(cell.week):
                of_week[(group, wording)] += cell.customers
    if not groups:
        return _Group(metric, "", ""), ("", "")
    lead = min(groups, key=lambda group: (-groups[group], group.survey_kind, group.touchpoint))
    mine = [key for key in wordings if key[0] == lead]
    mine = [key for key in mine if (metric, key[1]) not in asides] or mine
    return min(mine, key=lambda key: (-of_week[key], -wordings[key], key[1]))


def _draft(
    source: _Source,
    group: _Group,
    wording: _Wording,
    spec: InstrumentSpec,
    window: _Window,
    earlier: tuple[Against, _Window],
    pooled: _Window | None,
    segment: str,
) -> _Draft:
    counted = source.counted(group, window)
    langs = counted.langs.get(wording, ())
    lang = langs[0] if len(langs) == 1 else ("mixed" if langs else "")
    stratum = Stratum(group.survey_kind, group.touchpoint, wording[0], wording[1], lang)
    results = measure(
        spec,
        counted.of(wording),
        stratum=stratum,
        window=window.span(),
        segment=segment,
        flags=("mixed_lang",) if lang == "mixed" else (),
    )
    results = off_interval(results, counted.off_interval.get(wording, 0))
    statistic = statistics_of(spec)[0]

    def compare(against: Against, before: _Window) -> Comparison:
        return _compare(source, group, wording, spec, statistic, against, before, window, stratum, segment)

    change = compare(*earlier)
    longer = None
    if pooled is not None:
        n_pooled = source.counted(group, pooled).of(wording).n
        # the other three weeks could be computed from four weeks and one week: they must be enough, or none
        if n_pooled - change.earlier.n_valid >= SUPPRESS_BELOW:
            longer = compare("previous_4_weeks", pooled)
    return _Draft(group, wording, spec, results, change, longer, len(counted.tallies) > 1)


def _compare(
    source: _Source,
    group: _Group,
    wording: _Wording,
    spec: InstrumentSpec,
    statistic: Statistic,
    against: Against,
    before: _Window,
    window: _Window,
    stratum: Stratum,
    segment: str,
) -> Comparison:
    now, then = source.counted(group, window).of(wording), source.counted(group, before).of(wording)
    earlier = measure(spec, then, stratum=stratum, window=before.span(), segment=segment)[0].shown()
    if then.n == 0:
        return Comparison(against, earlier, "none", "no_earlier")
    if then.n < SUPPRESS_BELOW:
        return Comparison(against, earlier, "none", "few_earlier")
    if now.n < SUPPRESS_BELOW:
        return Comparison(against, earlier, "none", "few_now")
    found = difference(statistic, then, now)
    if found is None:
        return Comparison(against, earlier, "none", "no_variance")
    return Comparison(
        against,
        earlier,
        "noise",
        delta=found.delta,
        low=found.low,
        high=found.high,
        p=found.p,
        detectable=found.detectable,
        flags=("overlap",) if source.overlap(group, before, window) else (),
    )


@dataclass(slots=True)
class _IndexDraft:
    """An index before the family of tests is judged together."""

    result: Result
    change: Comparison
    longer: Comparison | None = None


@dataclass(slots=True)
class _IndicesDraft:
    battery: str
    lines: list[_IndexDraft]
    others: tuple[Result, ...]

    def done(self) -> IndexRow:
        lines = tuple(IndexLine(line.result.shown(), line.change) for line in self.lines)
        return IndexRow(self.battery, lines, self.others)


def _indices(source: _Source, window: _Window, earlier: tuple[Against, _Window], segment: str) -> list[_IndicesDraft]:
    """Every battery with a respondent in the window, per kind of survey, touchpoint and wording."""
    before = {(found.battery, _place(found.stratum)): found for found in source.asked(earlier[1])}
    rows = []
    for now in source.asked(window):
        then = before.get((now.battery, _place(now.stratum)))
        people = list(now.people.values())
        flags = ("mixed_lang",) if now.stratum.lang == "mixed" else ()
        found = [
            replace(result, segment=segment, flags=(*flags, *result.flags))
            for result in battery_results(
                now.battery, now.indices, people, stratum=now.stratum, window=window.span(), raw=now.raw
            )
        ]
        scored = _scored(now)
        past = {} if then is None else _scored(then)
        lines = [
            _IndexDraft(result, _index_change(result, past.get(result.variant, {}), scored[result.variant], earlier))
            for result in found
            if result.variant in scored
        ]
        rest = tuple(result for result in found if result.variant not in scored)
        if any(line.result.n_valid for line in lines):
            rows.append(_IndicesDraft(now.battery, lines, tuple(r for r in rest if r.status in ("caution", "ok"))))
    return sorted(rows, key=lambda row: (row.battery, _place(row.lines[0].result.stratum)))


def _place(stratum: Stratum) -> tuple[str, str, str]:
    return stratum.survey_kind, stratum.touchpoint, stratum.wording_id


def _scored(asked: Asked) -> dict[str, dict[str, float]]:
    """Variant → respondent → score, those without one left out."""
    found = battery_scores(asked.battery, asked.indices, list(asked.people.values()))
    return {
        variant: {who: score for who, score in zip(asked.people, scores, strict=True) if score is not None}
        for variant, scores in found.items()
    }


def _index_change(
    now: Result, before: Mapping[str, float], after: Mapping[str, float], earlier: tuple[Against, _Window]
) -> Comparison:
    against, window = earlier
    low, high = (0.0, 100.0) if now.form == "index" else (-math.inf, math.inf)
    past = record(
        now.metric,
        now.variant,
        procedures.mean_of(list(before.values()), low, high),
        len(before),
        form=now.form,
        stratum=now.stratum,
        window=window.span(),
        segment=now.segment,
    ).shown()
    if not before:
        return Comparison(against, past, "none", "no_earlier")
    if len(before) < SUPPRESS_BELOW:
        return Comparison(against, past, "none", "few_earlier")
    if len(after) < SUPPRESS_BELOW:
        return Comparison(against, past, "none", "few_now")
    found = procedures.mean_difference_of(list(before.values()), list(after.values()))
    if found is None:
        return Comparison(against, past, "none", "no_variance")
    return Comparison(
        against,
        past,
        "noise",
        delta=found.delta,
        low=found.low,
        high=found.high,
        p=found.p,
        detectable=found.detectable,
        flags=("overlap",) if len(before.keys() & after.keys()) > OVERLAP_ABOVE * len(after) else (),
    )


def _judge(primary: _Draft, others: Sequence[_Draft | _IndexDraft]) -> None:
    """Set the verdicts: the primary change at 5 % on its own, everything else of the digest as one family
    (S8)."""
    if primary.change.p is not None:
        primary.change = _with_verdict(primary.change, primary.change.p < 0.05)
    tested: list[tuple[_Draft | _IndexDraft, Literal["change", "longer"], Comparison]] = []
    for draft in (primary, *others):
        if draft is not primary and draft.change.p is not None:
            tested.append((draft, "change", draft.change))
        if draft.longer is not None and draft.longer.p is not None:
            tested.append((draft, "longer", draft.longer))
    judged = procedures.family([comparison.p or 0.0 for _, _, comparison in tested])
    for (draft, where, comparison), kept in zip(tested, judged, strict=True):
        verdict = replace(_with_verdict(comparison, kept.kept), p_adjusted=kept.adjusted)
        if where == "change":
            draft.change = verdict
        else:
            draft.longer = verdict


def _with_verdict(comparison: Comparison, real: bool) -> Comparison:
    if not real or not comparison.delta:
        return replace(comparison, verdict="noise")
    return replace(comparison, verdict="rise" if comparison.delta > 0 else "fall")


def _reading_order(draft: _Draft) -> tuple[int, str, str, str, _Wording]:
    known = _ORDER.index(draft.spec.id) if draft.spec.id in _ORDER else len(_ORDER)
    return known, draft.spec.id, draft.group.survey_kind, draft.group.touchpoint, draft.wording


def _row(draft: _Draft, shop: Shop) -> Row:
    lead = draft.results[0].shown()
    hidden = lead.status in ("suppressed", "no_data")
    return Row(
        spec=draft.spec,
        result=lead,
        others={} if hidden else {result.variant: result for result in draft.results[1:]},
        change=draft.change,
        longer=draft.longer,
        wording_shown=draft.ambiguous,
        target=(shop.targets or {}).get(draft.spec.id),
    )


def _response(tx: Tx, week: _Window, now_ms: int, tz: ZoneInfo) -> Response:
    start_ms, end_ms = _midnight_ms(week.first, tz), _midnight_ms(week.end, tz)
    counts = tx.response_counts(start_ms, end_ms)
    delivered = counts.invited - counts.undeliverable
    return Response(
        counts,
        _rate("response_rate", counts.answered, delivered, week),
        _rate("completion_rate", counts.completed, counts.started, week),
        immature=counts.invited > 0 and now_ms < end_ms + RESPONSE_MS,
    )


def _rate(metric: str, part: int, whole: int, week: _Window) -> Result:
    # an address that is known as blocked only now may still have answered before: never more than all
    part = min(part, whole)
    found = procedures.share(part, max(0, whole))
    return Result(
        metric=metric,
        variant="share",
        stratum=Stratum(),
        window=week.span(),
        segment="",
        unit="per_event",
        n_valid=max(0, whole),
        n_missing=0,
        n_invalid=0,
        n_superseded=0,
        counts={"yes": part, "no": whole - part} if whole > 0 else {},
        score=found.score,
        ci_low=found.low,
        ci_high=found.high,
        ci_method=found.method,
        status=status_of(max(0, whole)),
        form="share",
    ).shown()


def _care(tx: Tx, week: _Window, now_ms: int, tz: ZoneInfo) -> Care:
    start_ms, end_ms = _midnight_ms(week.first, tz), _midnight_ms(week.end, tz)
    cases = [
        case
        for case in tx.cases_between(min(start_ms, now_ms - CASES_BACK_MS), max(end_ms, now_ms + 1))
        if case.state != "grace" and case.opened_ms <= now_ms
    ]
    in_week = [case for case in cases if start_ms <= case.opened_ms < end_ms]
    ripe = [case for case in in_week if case.opened_ms + CLOSED_LOOP_MS <= now_ms]
    waiting = [case for case in cases if case.state in ("open", "claimed")]
    return Care(
        opened=len(in_week),
        open_now=len(waiting),
        overdue=sum(1 for case in waiting if case.due_ms is not None and case.due_ms < now_ms),
        closed_loop=_rate("closed_loop_rate", sum(map(_closed_in_time, ripe)), len(ripe), week),
        first_reply=_of_cases(
            "case_first_reply_h",
            "median",
            kpis.sampled([hours for case in in_week if (hours := _first_reply_h(case)) is not None], "median"),
            sum(case.replied_ms is not None for case in in_week),
            week,
            "hours",
        ),
        solved=_solved(cases, start_ms, end_ms, week),
        recovered=_recovered(tx, cases, now_ms, week),
    )


def _closed_in_time(case: Case) -> bool:
    followed_up = [at_ms for at_ms in (case.replied_ms, case.settled_ms) if at_ms is not None]
    return bool(followed_up) and min(followed_up) - case.opened_ms <= CLOSED_LOOP_MS


def _first_reply_h(case: Case) -> float | None:
    return None if case.replied_ms is None else (case.replied_ms - case.opened_ms) / 3_600_000


def _solved(cases: list[Case], start_ms: int, end_ms: int, week: _Window) -> Result:
    asked = [case for case in cases if case.asked_ms is not None and start_ms <= case.asked_ms < end_ms and case.after]
    return _rate("case_solved", sum(case.after == "solved" for case in asked), len(asked), week)


def _recovered(tx: Tx, cases: list[Case], now_ms: int, week: _Window) -> Result:
    changes: list[float] = []
    for case in cases:
        if case.settled_ms is None or not case.session_id or not case.customer_id:
            continue
        given = [a for a in tx.answers_of(case.customer_id) if a.instrument == "nps" and not a.missing]
        before = next((a for a in given if a.session_id == case.session_id), None)
        later = [a for a in given if a.session_id != case.session_id and case.settled_ms < a.answered_ms <= now_ms]
        if before is not None and later:
            changes.append(float(min(later, key=lambda a: a.answered_ms).value) - float(before.value))
    return _of_cases("case_recovered", "mean_change", procedures.mean_of(changes, -10, 10), len(changes), week, "mean")


def _of_cases(
    metric: str, variant: str, found: procedures.Estimate, n: int, week: _Window, form: Literal["hours", "mean"]
) -> Result:
    return Result(
        metric=metric,
        variant=variant,
        stratum=Stratum(),
        window=week.span(),
        segment="",
        unit="per_event",
        n_valid=n,
        n_missing=0,
        n_invalid=0,
        n_superseded=0,
        counts={},
        score=found.score,
        ci_low=found.low,
        ci_high=found.high,
        ci_method=found.method,
        status=status_of(n),
        form=form,
    ).shown()


def _late(tx: Tx, group: _Group, week: _Window, tz: ZoneInfo) -> int:
    start_ms, end_ms = _midnight_ms(week.first, tz), _midnight_ms(week.end, tz)
    return sum(
        1
        for answer in tx.answers_between(start_ms, end_ms, instrument=group.instrument)
        if answer.late
        and answer.replaced_ms is None
        and not answer.missing
        and (answer.survey_kind, answer.touchpoint) == (group.survey_kind, group.touchpoint)
    )


def _is_first(tx: Tx, metric: str, week: _Window, *, has_past: bool) -> bool:
    if has_past:
        return False
    older = _weeks_before(week, back=FIRST_LOOK_WEEKS, weeks=1)
    last = _weeks_before(week, back=1, weeks=1)
    return not tx.rollup(older.first.isoformat(), last.first.isoformat(), instrument=metric)


def _revision(tx: Tx, rule: DigestRule, primary: _Draft, change: Comparison, week: _Window) -> Revision | None:
    """What to correct of the digest posted last week; None when it printed the same number.

    Only answers that were added are spoken of: a score without an erased answer would tell what it was.
    """
    if change.against != "previous_week" or change.earlier.score is None:
        return None
    posted = tx.find_digest(rule.id, week_name(week.first - timedelta(days=7)))
    if posted is None:
        return None
    try:
        content = json.loads(posted.content)
        old = content["json"]["primary"]["result"]
        window, before, n_before = old["window"], old["score"], int(old["n_valid"])
        wording = (old["metric"], old["touchpoint"], old["wording_id"], old["label_set"])
    except (ValueError, KeyError, TypeError):
        return None  # posted by another version, or not in this shape: there is nothing to compare
    now = change.earlier
    same = wording == (primary.spec.id, now.stratum.touchpoint, *primary.wording)
    same = same and window == {"start": now.window.start, "end": now.window.end}
    if not same or not isinstance(before, (int, float)) or now.n_valid <= n_before:
        return None
    digits = 2 if now.form == "mean" else 1
    if rounded(before, digits) == rounded(change.earlier.score, digits):
        return None
    return Revision(float(before), change.earlier.score, now.n_valid - n_before)


def _mix(
    source: _Source, primary: _Draft, window: _Window, mode: Mode
) -> tuple[tuple[tuple[str, int], ...], float | None, tuple[str, ...]]:
    """Answers per channel; and whether the mix moved (χ²) so far that the score at last week's mix differs
    (S10)."""
    now = source.by_channel(primary.group, primary.wording, window)
    mix = tuple((channel, found.n) for channel, found in now.items() if found.n)
    if mode == "rolling":
        return mix, None, ()
    then = source.by_channel(primary.group, primary.wording, _weeks_before(window, back=1, weeks=1))
    channels = sorted(set(now) | set(then))
    table = [[found[channel].n if channel in found else 0 for channel in channels] for found in (then, now)]
    if len(channels) < 2 or any(sum(row) < SUPPRESS_BELOW for row in table):
        return mix, None, ()
    if stats.chi2_contingency(table, correction=False).pvalue >= MIX_ALPHA:
        return mix, None, ()
    statistic = statistics_of(primary.spec)[0]
    strata = {channel: (estimate(statistic, found).score or 0.0, found.n) for channel, found in now.items() if found.n}
    total = sum(table[0])
    weights = {channel: count / total for channel, count in zip(channels, table[0], strict=True) if count}
    at_old_mix = procedures.standardise(strata, weights)
    raw = primary.results[0].score
    if at_old_mix is None or raw is None or abs(at_old_mix - raw) <= MIX_WORTH_SHOWING:
        return mix, None, ("mix_shift",)
    return mix, at_old_mix, ("mix_shift",)


_TOLD_FLAGS = ("mixed_lang", "clustered", "low_reliability", "off_interval")


def _flags(rows: Iterable[Row], indices: Iterable[_IndicesDraft], more: tuple[str, ...]) -> tuple[str, ...]:
    found = set(more)
    told: list[tuple[Result, tuple[Comparison | None, ...]]] = [(row.result, (row.change, row.longer)) for row in rows]
    found.update("several_wordings" for row in rows if row.wording_shown and row.result.status in ("caution", "ok"))
    told += [(line.result, (line.change,)) for row in indices for line in row.lines]
    for result, comparisons in told:
        if result.status in ("suppressed", "no_data"):
            continue
        found.update(flag for flag in result.flags if flag in _TOLD_FLAGS)
        for comparison in comparisons:
            if comparison is not None:
                found.update(comparison.flags)
    return tuple(sorted(found))

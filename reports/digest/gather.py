"""One digest, gathered from the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from flows.days import midnight_ms
from reports.benchmarks import standings
from reports.checks.quality import Quality
from reports.comments.free_text import FreeTexts, beside
from reports.digest.arms import beside_everybody
from reports.digest.care import care_of
from reports.digest.checks import read_checks
from reports.digest.context import DigestContext, Missing
from reports.digest.counting import Source, Wording
from reports.digest.drivers import Driven, read_driven
from reports.digest.history import CORRECTED, SILENT, is_first, leading_result, pause_of, revisions_of
from reports.digest.loyalty import Attitudes, read_attitudes, segments_of
from reports.digest.mix import mix_of
from reports.digest.reach import reach_of
from reports.digest.response import response_of
from reports.digest.scores import (
    Against,
    IndexRow,
    Mode,
    Row,
    draft_of,
    flags_of,
    index_drafts,
    judge,
    leading,
    reading_order,
    row_of,
)
from reports.digest.shop import DigestRule, Shop
from reports.digest.telling import Telling, weeks_of_comments
from reports.digest.weeks import REMEMBERED_WEEKS, ROLLING_WEEKS, Period, WeekRange, parse_period, remembered
from reports.event_tables import EventTables
from reports.experiments import ExperimentReport, Trial, reports_of
from reports.kpi.report import SERIES_WEEKS, KpiReading, kpi_report, read_kpis
from reports.linkage import KEPT_MS
from reports.metrics import (
    CAUTION_BELOW,
    InstrumentSpec,
)
from reports.segments import LOOK_BACK_MS
from reports.trust.account import Rules
from reports.trust.portfolio import Portfolio, gather_portfolio
from reports.words import Words
from storage.store import Tx
from storage.verbs.weeks import Subject

HISTORY_WEEKS = 2 * ROLLING_WEEKS


def gather(
    tx: Tx,
    *,
    shop: Shop,
    digest_rule: DigestRule,
    period: str,
    now_ms: int,
    tz: ZoneInfo,
    instruments: Mapping[str, InstrumentSpec],
    trials: Sequence[Trial] = (),
    trust_rules: Rules | None = None,
) -> Gathered:
    """The digest of one period: everything is read, and what is made of counts is made.

    Args:
        tx: a reading transaction (a unit for `Store.read`).
        shop: brand, language, primary metric, targets, contact limits, what LINE says is left.
        digest_rule: which digest; what it is narrowed to narrows scores, not the response figures.
        period: "2026-W46", or "2026-11" for a digest of months.
        now_ms: the time of the computation: what is overdue, which invitations may still be answered.
        tz: zone of the shop; weeks begin on Monday 00:00 there.
        instruments: instrument → how it is scored. Answers to others are left out.
        trials: the shop's experiments; they are told as of the end of the period.
        trust_rules: of the account; without them there is no portfolio.

    Raises:
        ValueError: the period does not exist or is of the other kind, or the primary metric is no instrument.
    """
    if shop.primary_metric not in instruments:
        known = ", ".join(sorted(instruments))
        raise ValueError(f"primary_metric {shop.primary_metric!r} is no instrument that is scored; there are: {known}")
    reported = parse_period(period)
    if reported.every != digest_rule.every:
        example = "2026-W46" if digest_rule.every == "week" else "2026-11"
        raise ValueError(f"digest {digest_rule.id!r} is made every {digest_rule.every}: {period!r} is no {example}")
    at_work = _Gathering(tx, shop, digest_rule, reported, now_ms, tz, instruments, trials, trust_rules)
    context = at_work.context()
    later = None if digest_rule.narrowed else at_work.later()
    return Gathered(context, shop, later, at_work.source.telling, ledger=trust_rules is not None)


def looked_back(period: Period, digest_rule: DigestRule, now_ms: int, tz: ZoneInfo) -> dict[Subject, tuple[int, int]]:
    """[start, end) of the many weeks of which a digest reads every answer and every event. One that is narrowed reads
    neither customers in groups nor figures of the shop: it only counts comments."""
    comments_from_ms, end_ms = weeks_of_comments(period.weeks.end).instants(tz)
    if digest_rule.narrowed:
        return {"answers": (comments_from_ms, end_ms)}
    figures_from_ms = midnight_ms(period.weeks.last(SERIES_WEEKS).first, tz)
    linked_from_ms = now_ms - KEPT_MS if period.first_of_month else now_ms
    return {
        "answers": (min(end_ms - LOOK_BACK_MS, linked_from_ms, comments_from_ms), end_ms),
        "events": (min(figures_from_ms, linked_from_ms) - LOOK_BACK_MS, now_ms),
    }


@dataclass(frozen=True, slots=True)
class _Spans:
    """Which weeks the scores are of, and against which they are held."""

    mode: Mode
    window: WeekRange
    earlier: tuple[Against, WeekRange]
    pooled: WeekRange | None
    """The weeks before that a week is also held against."""


@dataclass(frozen=True, slots=True)
class _Scores:
    """What is scored, the leading metric first."""

    spec: InstrumentSpec
    primary: Row
    rows: tuple[Row, ...]
    indices: tuple[IndexRow, ...]
    strata_shown: bool


@dataclass(frozen=True, slots=True)
class _Later:
    """What takes long, read and not yet computed."""

    reading: KpiReading
    checks: Callable[[EventTables], Quality]
    """What happened → the checks of the answers."""
    attitudes: Attitudes | None
    driven: Driven | None

    def computed(self, shop: Shop, counted: DigestContext) -> DigestContext:
        tables = self.reading.events.tables()
        kpis = kpi_report(self.reading, tables, settings=shop.kpis, targets=shop.targets)
        return replace(
            counted,
            kpis=None if all(result.status == "no_data" for result in kpis.results) else kpis,
            segments=() if self.attitudes is None else segments_of(self.attitudes, tables),
            quality=self.checks(tables),
            drivers=() if self.driven is None else self.driven.analysed(),
        )


class _Gathering:
    """One digest in the making: what is asked of the store, step by step."""

    def __init__(
        self,
        tx: Tx,
        shop: Shop,
        rule: DigestRule,
        period: Period,
        now_ms: int,
        tz: ZoneInfo,
        specs: Mapping[str, InstrumentSpec],
        trials: Sequence[Trial],
        trust_rules: Rules | None,
    ) -> None:
        self.tx = tx
        self.shop = shop
        self.rule = rule
        self.period = period
        self.now_ms = now_ms
        self.tz = tz
        self.specs = specs
        self.trials = trials
        self.trust_rules = trust_rules
        self.weeks = period.weeks
        self.until_ms = min(now_ms, midnight_ms(self.weeks.end, tz))
        oldest = period.earlier(CORRECTED[period.every]).weeks.last(ROLLING_WEEKS)
        self.source = Source(
            tx,
            specs,
            rule,
            WeekRange(oldest.first, (self.weeks.end - oldest.first).days // 7),
            tz,
            repeat_interval_ms=shop.repeat_interval_ms,
            digests=shop.digests,
        )
        self.looked_at = (
            self.weeks.last(HISTORY_WEEKS) if period.every == "week" else period.earlier().weeks.joined(self.weeks)
        )
        self.lead = leading(
            self.source,
            shop.primary_metric,
            self.weeks,
            looked_at=self.looked_at,
            asides=_asides(trials, self.weeks, tz),
        )
        self.has_past = any(
            self.looked_at.has(cell.week) and not self.weeks.has(cell.week) for cell in self.source.cells
        )

    def context(self) -> DigestContext:
        """The digest without what `later` computes."""
        tx, shop, rule, period = self.tx, self.shop, self.rule, self.period
        weeks, now_ms, tz = self.weeks, self.now_ms, self.tz
        spans = self._spans()
        scores = self._scores(spans)
        week_result = leading_result(self.source, *self.lead, scores.spec, weeks, segment=rule.segment)
        language = rule.language or shop.language
        mix_before = spans.window.before(1) if spans.mode == "week" else None
        mix = mix_of(self.source, self.lead, scores.spec, spans.window, before=mix_before)
        experiments = self._experiments()
        first = not self.has_past and is_first(tx, shop.primary_metric, weeks)
        specs_told = [scores.spec, *(row.spec for row in scores.rows), *(found.spec for found in experiments)]
        silent = not any(
            self.source.groups(period.earlier(back).weeks if back else weeks) for back in range(SILENT[period.every])
        )
        return DigestContext(
            digest_id=rule.id,
            period=period.name,
            every=period.every,
            language=language,
            brand=shop.brand.get(language) or next(iter(shop.brand.values()), ""),
            computed_ms=now_ms,
            week_start=weeks.first,
            week_end=weeks.end,
            window_start=spans.window.first,
            mode=spans.mode,
            primary_spec=scores.spec,
            primary=scores.primary,
            week_result=week_result,
            show_week_result=spans.mode == "rolling" and week_result.status == "caution",
            rows=scores.rows,
            indices=scores.indices,
            strata_shown=scores.strata_shown,
            response=response_of(tx, weeks, now_ms, tz),
            mix=mix,
            benchmarks=standings(
                [scores.primary.result, *(row.result for row in scores.rows)],
                shop.benchmarks,
                self.specs,
                country=shop.country,
                on=weeks.end,
            ),
            drivers=(),
            segments=(),
            kpis=None,
            reach=reach_of(tx, weeks, now_ms, tz, line=shop.line),
            quality=Quality(),
            care=care_of(tx, weeks, now_ms, tz, closed=shop.closed),
            late=self._late(),
            first=first,
            revisions=revisions_of(tx, rule, period, source=self.source, specs=self.specs),
            flags=flags_of([scores.primary, *scores.rows], scores.indices, ("mix_shift",) if mix.moved else ()),
            experiments=experiments,
            trust=self._portfolio(),
            rated=self._rated(weeks.last(max(ROLLING_WEEKS, weeks.weeks))),
            texts=None,
            pause=pause_of(tx, rule, period, silent=silent),
            missing_blocks=(),
            shows_nps=any(spec is not None and spec.id == "nps" for spec in specs_told),
            filtered=_named(rule, Words(language)),
            limits=shop.limits,
            specs=self.specs,
        )

    def later(self) -> _Later:
        """What a digest of everything reads besides: figures of the shop, checks, loyalty, drivers."""
        source, window = self.source, self.weeks.last(ROLLING_WEEKS)
        asked = {cell.instrument for cell in source.cells if self.looked_at.has(cell.week)}
        return _Later(
            read_kpis(
                self.tx,
                source.answers,
                monday=self.weeks.last(1).first,
                now_ms=self.now_ms,
                specs=self.specs,
                linked=self.period.first_of_month,
            ),
            read_checks(self.tx, source, window, self.now_ms, self.tz, self.specs),
            read_attitudes(source.answers, self.weeks, self.specs) if asked & {"affinity", "nrs"} else None,
            read_driven(self.tx, self.period, rule=self.rule, shop=self.shop, tz=self.tz, specs=self.specs),
        )

    def _spans(self) -> _Spans:
        """The period itself; four weeks where the leading metric's week is thin and there are weeks before it."""
        weeks, previous = self.weeks, self.period.earlier().weeks
        if self.period.every == "month":
            return _Spans("month", weeks, ("previous_month", previous), None)
        group, wording = self.lead
        if self.source.counted(group, weeks).of(wording).n < CAUTION_BELOW and self.has_past:
            window = weeks.last(ROLLING_WEEKS)
            return _Spans("rolling", window, ("previous_rolling", window.before(ROLLING_WEEKS)), None)
        return _Spans("week", weeks, ("previous_week", previous), weeks.before(ROLLING_WEEKS))

    def _scores(self, spans: _Spans) -> _Scores:
        """Every stratum with answers in the window, tested as one family."""
        source, window, segment = self.source, spans.window, self.rule.segment
        keys = [
            (group, wording) for group in source.groups(window) for wording in source.counted(group, window).tallies
        ]
        places = {(group.survey_kind, group.touchpoint) for group, _ in keys}
        if self.lead not in keys:
            keys.insert(0, self.lead)
            if self.lead[0].touchpoint:  # else it is asked nowhere
                places.add((self.lead[0].survey_kind, self.lead[0].touchpoint))
        drafts = [
            draft_of(source, group, wording, self.specs[group.instrument], window, spans.earlier, spans.pooled, segment)
            for group, wording in keys
        ]
        indices = index_drafts(source, window, spans.earlier, segment)
        primary = next(draft for draft in drafts if (draft.group, draft.wording) == self.lead)
        others = sorted((draft for draft in drafts if draft is not primary), key=reading_order)
        judge(primary, [*others, *(line for row in indices for line in row.lines)])
        return _Scores(
            primary.spec,
            row_of(primary, self.shop),
            tuple(row_of(draft, self.shop) for draft in others),
            tuple(row.done() for row in indices),
            strata_shown=len(places) > 1,
        )

    def _experiments(self) -> tuple[ExperimentReport, ...]:
        rule = self.rule
        shown = [trial for trial in self.trials if rule.touchpoint in ("", trial.touchpoint) and not rule.segment]
        found = reports_of(self.tx, shown, now_ms=self.until_ms, tz=self.tz, instruments=self.specs)
        return tuple(
            beside_everybody(self.tx, one, specs=self.specs, tz=self.tz, digests=self.shop.digests) for one in found
        )

    def _portfolio(self) -> Portfolio | None:
        if self.rule.narrowed or self.trust_rules is None:
            return None
        weeks, tz = self.weeks, self.tz
        return gather_portfolio(
            self.tx,
            midnight_ms(weeks.first, tz),
            self.until_ms,
            rules=self.trust_rules,
            tz=tz,
            window=weeks.span(),
            told_ms=[midnight_ms(week.end, tz) for week in remembered(weeks.end)],
            begins=(0, REMEMBERED_WEEKS),
        ).shown()

    def _rated(self, window: WeekRange) -> dict[tuple[str, str], tuple[int, ...]]:
        asked = [group for group in self.source.groups(window) if group.instrument == "nps"]
        return {
            (group.survey_kind, group.touchpoint): tuple(
                counted.n for counted in self.source.counted(group, window).tallies.values()
            )
            for group in asked
        }

    def _late(self) -> int:
        group, _ = self.lead
        start_ms, end_ms = self.weeks.instants(self.tz)
        return sum(
            1
            for answer in self.tx.answers_between(start_ms, end_ms, instrument=group.instrument)
            if answer.late
            and answer.replaced_ms is None
            and not answer.missing
            and (answer.survey_kind, answer.touchpoint) == (group.survey_kind, group.touchpoint)
        )


@dataclass(frozen=True, slots=True)
class Gathered:
    """A digest of which nothing is left to be read: what takes long can be computed when the transaction is over, once.
    A transaction that stays open keeps the write-ahead log from being emptied."""

    counted: DigestContext
    """Without the figures of the shop, groups of customers, checks of the answers and drivers."""
    _shop: Shop
    _later: _Later | None
    """None in a narrowed digest."""
    telling: Telling
    """What may stand beside it: its page shows no other numbers."""
    ledger: bool
    """Whether there are trust balances."""

    def computed(self) -> DigestContext:
        """The digest, ready to be rendered but for the words of comments (`with_texts`)."""
        context = self.counted if self._later is None else self._later.computed(self._shop, self.counted)
        missing = _missing(context, whole=self._later is not None, ledger=self.ledger)
        return replace(context, missing_blocks=missing)


def with_texts(context: DigestContext, texts: FreeTexts) -> DigestContext:
    """The digest with what its comments come to, which is found out when the transaction is over."""
    missing = tuple(gap for gap in context.missing_blocks if gap.block != "topics")
    if not texts.found and not texts.unread:
        missing = (*missing, Missing("topics", "no_comments"))
    return replace(context, texts=beside(texts, context.rated), missing_blocks=missing)


def _named(rule: DigestRule, words: Words) -> str:
    """What a digest is narrowed to: "お問い合わせ後", "渋谷店 · LINE"; "" when it is about everything."""
    parts = (words.touchpoint(rule.touchpoint), rule.segment, words.channel(rule.channel))
    return " · ".join(part for part in parts if part)


def _missing(context: DigestContext, *, whole: bool, ledger: bool) -> tuple[Missing, ...]:
    """The blocks that are not there, in the order in which they would stand."""
    out: list[Missing] = []
    period = parse_period(context.period)
    if not context.segments:
        out.append(Missing("segments", "no_answers" if whole else "narrowed"))
    if context.trust is None:
        out.append(Missing("trust", "not_set" if whole and not ledger else "narrowed"))
    if context.kpis is None:
        out.append(Missing("kpis", "no_events" if whole else "narrowed"))
        out.append(Missing("linkage", "no_events" if whole else "narrowed"))
    elif not context.kpis.linkages:
        out.append(Missing("linkage", "no_answers" if period.first_of_month else "monthly"))
    if not context.drivers:
        due = period.quarter_over is not None
        out.append(Missing("drivers", "narrowed" if not whole else "no_answers" if due else "quarterly"))
    if not context.experiments:
        out.append(Missing("experiments", "not_set"))
    if context.texts is None:
        out.append(Missing("topics", "no_comments"))
    if context.reach.line is None:
        out.append(Missing("line", "unknown"))
    return tuple(out)


def _asides(trials: Sequence[Trial], week: WeekRange, tz: ZoneInfo) -> set[tuple[str, Wording]]:
    """(instrument, wording) that only the treatment of a running experiment asks."""
    start_ms, end_ms = week.instants(tz)
    running = [trial for trial in trials if trial.start_ms < end_ms and start_ms < trial.end_ms]
    return {(instrument, (wording, labels)) for trial in running for instrument, wording, labels in trial.asides}

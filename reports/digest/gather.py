"""One digest, gathered from the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from reports.benchmarks import standings
from reports.digest.arms import beside_everybody
from reports.digest.care import care_of
from reports.digest.checks import read_checks
from reports.digest.context import DigestContext, Missing
from reports.digest.counting import Group, Source, Wording
from reports.digest.history import CORRECTED, SILENT, is_first, leading_result, pause_of, revisions_of
from reports.digest.loyalty import Attitudes, read_attitudes, segments_of
from reports.digest.mix import mix_of
from reports.digest.reach import reach_of
from reports.digest.response import response_of
from reports.digest.scores import (
    Against,
    Mode,
    draft_of,
    flags_of,
    index_drafts,
    judge,
    leading,
    reading_order,
    row_of,
)
from reports.digest.shop import DigestRule, Shop
from reports.digest.telling import REMEMBERED_WEEKS, Telling, weeks_of_comments
from reports.digest.weeks import ROLLING_WEEKS, Period, WeekRange, parse_period
from reports.drivers import DriverAnalysis, analyse, beside_scores, driver_sittings
from reports.event_tables import EventTables
from reports.experiments import Trial, reports_of
from reports.free_text import FreeTexts, beside
from reports.kpi_report import SERIES_WEEKS, KpiReading, KpiReport, kpi_report, read_kpis
from reports.kpis import midnight_ms
from reports.linkage import KEPT_MS
from reports.look_back import AnswerWeeks
from reports.metrics import (
    CAUTION_BELOW,
    InstrumentSpec,
    Result,
    Span,
)
from reports.portfolio import gather_portfolio
from reports.quality import Quality
from reports.segments import LOOK_BACK_MS
from reports.sittings import Sitting
from reports.trust import Rules
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
    weeks, previous = reported.weeks, reported.earlier().weeks
    looked_at = weeks.last(HISTORY_WEEKS) if reported.every == "week" else previous.joined(weeks)
    oldest = reported.earlier(CORRECTED[reported.every]).weeks.last(ROLLING_WEEKS)
    read = WeekRange(oldest.first, (weeks.end - oldest.first).days // 7)
    source = Source(
        tx, instruments, digest_rule, read, tz, repeat_interval_ms=shop.repeat_interval_ms, digests=shop.digests
    )
    lead = leading(source, shop.primary_metric, weeks, looked_at=looked_at, asides=_asides(trials, weeks, tz))
    week_n = source.counted(lead[0], weeks).of(lead[1]).n
    has_past = any(looked_at.has(cell.week) and not weeks.has(cell.week) for cell in source.cells)
    mode: Mode = "month" if reported.every == "month" else "week"
    window, pooled = weeks, None
    earlier: tuple[Against, WeekRange] = ("previous_month" if mode == "month" else "previous_week", previous)
    if mode == "week" and week_n < CAUTION_BELOW and has_past:
        mode, window = "rolling", weeks.last(ROLLING_WEEKS)
        earlier = ("previous_rolling", window.before(ROLLING_WEEKS))
    elif mode == "week":
        pooled = weeks.before(ROLLING_WEEKS)

    keys = [(group, wording) for group in source.groups(window) for wording in source.counted(group, window).tallies]
    places = {(group.survey_kind, group.touchpoint) for group, _ in keys}
    if lead not in keys:
        keys.insert(0, lead)
        if lead[0].touchpoint:  # else it is asked nowhere
            places.add((lead[0].survey_kind, lead[0].touchpoint))
    drafts = [
        draft_of(source, group, wording, instruments[group.instrument], window, earlier, pooled, digest_rule.segment)
        for group, wording in keys
    ]
    indices = index_drafts(source, window, earlier, digest_rule.segment)
    primary = next(draft for draft in drafts if (draft.group, draft.wording) == lead)
    others = sorted((draft for draft in drafts if draft is not primary), key=reading_order)
    judge(primary, [*others, *(line for row in indices for line in row.lines)])

    week_result = leading_result(source, *lead, primary.spec, weeks, segment=digest_rule.segment)
    language = digest_rule.language or shop.language
    rows = tuple(row_of(draft, shop) for draft in others)
    primary_row = row_of(primary, shop)
    mix = mix_of(source, lead, primary.spec, window, before=window.before(1) if mode == "week" else None)
    shown = [t for t in trials if digest_rule.touchpoint in ("", t.touchpoint) and not digest_rule.segment]
    until_ms = min(now_ms, midnight_ms(weeks.end, tz))
    experiments = tuple(
        beside_everybody(tx, found, specs=instruments, tz=tz, digests=shop.digests)
        for found in reports_of(tx, shown, now_ms=until_ms, tz=tz, instruments=instruments)
    )
    whole = not digest_rule.narrowed
    asked = {cell.instrument for cell in source.cells if looked_at.has(cell.week)}
    reading = _read_kpis(tx, source.answers, reported, now_ms, instruments) if whole else None
    checks = read_checks(tx, source, weeks.last(ROLLING_WEEKS), now_ms, tz, instruments) if whole else None
    attitudes = read_attitudes(source.answers, weeks, instruments) if whole and asked & {"affinity", "nrs"} else None
    portfolio = None
    if whole and trust_rules is not None:
        portfolio = gather_portfolio(
            tx,
            midnight_ms(weeks.first, tz),
            until_ms,
            rules=trust_rules,
            tz=tz,
            window=weeks.span(),
            told_ms=[midnight_ms(weeks.end - timedelta(weeks=back), tz) for back in range(REMEMBERED_WEEKS, 0, -1)],
        ).shown()
    quarter = quarter_over(reported) if whole else None
    driven = None
    if quarter is not None:
        last = quarter[1] - timedelta(days=1)
        week_over = last - timedelta(days=last.weekday()) + timedelta(weeks=1)
        driven = _Driven(
            Span(*(day.isoformat() for day in quarter)),
            driver_sittings(tx, *(midnight_ms(day, tz) for day in quarter), specs=instruments),
            Telling(tx, instruments, digest_rule, week_over, digests=shop.digests),
            tz,
        )
    silent = not any(
        source.groups(reported.earlier(back).weeks if back else weeks) for back in range(SILENT[reported.every])
    )
    context = DigestContext(
        digest_id=digest_rule.id,
        period=period,
        every=reported.every,
        language=language,
        brand=shop.brand.get(language) or next(iter(shop.brand.values()), ""),
        computed_ms=now_ms,
        week_start=weeks.first,
        week_end=weeks.end,
        window_start=window.first,
        mode=mode,
        primary_spec=primary.spec,
        primary=primary_row,
        week_result=week_result,
        show_week_result=mode == "rolling" and week_result.status == "caution",
        rows=rows,
        indices=tuple(row.done() for row in indices),
        strata_shown=len(places) > 1,
        response=response_of(tx, weeks, now_ms, tz),
        mix=mix,
        benchmarks=standings(
            [primary_row.result, *(row.result for row in rows)],
            shop.benchmarks,
            instruments,
            country=shop.country,
            on=weeks.end,
        ),
        drivers=(),
        segments=(),
        kpis=None,
        reach=reach_of(tx, weeks, now_ms, tz, line=shop.line),
        quality=Quality(),
        care=care_of(tx, weeks, now_ms, tz),
        late=_late(tx, lead[0], weeks, tz),
        first=not has_past and is_first(tx, shop.primary_metric, weeks),
        revisions=revisions_of(tx, digest_rule, reported, source=source, specs=instruments),
        flags=flags_of([primary_row, *rows], indices, ("mix_shift",) if mix.moved else ()),
        experiments=experiments,
        trust=portfolio,
        rated=_rated(source, weeks.last(max(ROLLING_WEEKS, weeks.weeks))),
        texts=None,
        pause=pause_of(tx, digest_rule, reported, silent=silent),
        missing_blocks=(),
        shows_nps="nps" in [spec.id for spec in (primary.spec, *(row.spec for row in rows))]
        or any(found.spec is not None and found.spec.id == "nps" for found in experiments),
        filtered=_named(digest_rule, Words(language)),
        limits=shop.limits,
        specs=instruments,
    )
    return Gathered(
        context,
        shop,
        reading,
        checks,
        attitudes,
        driven,
        source.telling,
        whole=whole,
        ledger=trust_rules is not None,
    )


def looked_back(period: Period, digest_rule: DigestRule, now_ms: int, tz: ZoneInfo) -> dict[Subject, tuple[int, int]]:
    """[start, end) of the many weeks of which a digest reads every answer and every event. One that is narrowed reads
    neither customers in groups nor figures of the shop: it only counts comments."""
    if digest_rule.narrowed:
        return {"answers": weeks_of_comments(period.weeks.end).instants(tz)}
    _, end_ms = period.weeks.instants(tz)
    figures_from_ms = midnight_ms(period.weeks.last(SERIES_WEEKS).first, tz)
    linked_from_ms = now_ms - KEPT_MS if is_first_of_month(period.every, period.weeks.end) else now_ms
    return {
        "answers": (min(end_ms - LOOK_BACK_MS, linked_from_ms), end_ms),
        "events": (min(figures_from_ms, linked_from_ms) - LOOK_BACK_MS, now_ms),
    }


@dataclass(frozen=True, slots=True)
class _Driven:
    """What moved the recommendation in a quarter, before it is computed."""

    quarter: Span
    sittings: Sequence[Sitting]
    telling: Telling
    """As of the week in which the quarter ended, so each digest comes to the same."""
    tz: ZoneInfo

    def analysed(
        self, specs: Mapping[str, InstrumentSpec], blocks: Mapping[str, tuple[str, ...]]
    ) -> tuple[DriverAnalysis, ...]:
        found = analyse(self.sittings, specs, blocks=blocks, window=self.quarter, tz=self.tz)
        return beside_scores(found, self.telling.may_tell_beside)


@dataclass(frozen=True, slots=True)
class Gathered:
    """A digest of which nothing is left to be read: what takes long can be computed when the transaction is over, once.
    A transaction that stays open keeps the write-ahead log from being emptied."""

    counted: DigestContext
    """Without the figures of the shop, groups of customers, checks of the answers and drivers."""
    _shop: Shop
    _reading: KpiReading | None
    _checks: Callable[[EventTables], Quality] | None
    _attitudes: Attitudes | None
    _driven: _Driven | None
    telling: Telling
    """What may stand beside it: its page shows no other numbers."""
    whole: bool
    ledger: bool

    def computed(self) -> DigestContext:
        """The digest, ready to be rendered but for the words of comments (`with_texts`)."""
        shop, reading, specs = self._shop, self._reading, self.counted.specs
        kpis: KpiReport | None = None
        segments: tuple[Result, ...] = ()
        quality = Quality()
        if reading is not None:
            tables = reading.events.tables()
            kpis = kpi_report(reading, tables, settings=shop.kpis, targets=shop.targets)
            if all(result.status == "no_data" for result in kpis.results):
                kpis = None
            if self._attitudes is not None:
                segments = segments_of(self._attitudes, tables)
            if self._checks is not None:
                quality = self._checks(tables)
        drivers: tuple[DriverAnalysis, ...] = ()
        if self._driven is not None:
            drivers = self._driven.analysed(specs, shop.blocks)
        context = replace(self.counted, kpis=kpis, segments=segments, quality=quality, drivers=drivers)
        return replace(context, missing_blocks=_missing(context, whole=self.whole, ledger=self.ledger))


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


def _rated(source: Source, window: WeekRange) -> dict[tuple[str, str], tuple[int, ...]]:
    asked = [group for group in source.groups(window) if group.instrument == "nps"]
    return {
        (group.survey_kind, group.touchpoint): tuple(
            counted.n for counted in source.counted(group, window).tallies.values()
        )
        for group in asked
    }


def _missing(context: DigestContext, *, whole: bool, ledger: bool) -> tuple[Missing, ...]:
    """The blocks that are not there, in the order in which they would stand."""
    out: list[Missing] = []
    if not context.segments:
        out.append(Missing("segments", "no_answers" if whole else "narrowed"))
    if context.trust is None:
        out.append(Missing("trust", "not_set" if whole and not ledger else "narrowed"))
    if context.kpis is None:
        out.append(Missing("kpis", "no_events" if whole else "narrowed"))
        out.append(Missing("linkage", "no_events" if whole else "narrowed"))
    elif not context.kpis.linkages:
        out.append(
            Missing("linkage", "no_answers" if is_first_of_month(context.every, context.week_end) else "monthly")
        )
    if not context.drivers:
        due = quarter_over(parse_period(context.period)) is not None
        out.append(Missing("drivers", "narrowed" if not whole else "no_answers" if due else "quarterly"))
    if not context.experiments:
        out.append(Missing("experiments", "not_set"))
    if context.texts is None:
        out.append(Missing("topics", "no_comments"))
    if context.reach.line is None:
        out.append(Missing("line", "unknown"))
    return tuple(out)


def is_first_of_month(every: str, week_end: date) -> bool:
    """Whether a digest is the first one after the end of a month, as each of a month is."""
    return every == "month" or week_end.day <= 7


def quarter_over(period: Period) -> tuple[date, date] | None:
    """[first day, end) of the calendar quarter that ended with the period or in its last week, None when none did."""
    if period.every == "month":
        year, month = map(int, period.name.split("-"))
        end = date(year + month // 12, month % 12 + 1, 1)
    elif period.weeks.end.day <= 7:
        end = period.weeks.end.replace(day=1)
    else:
        return None
    if end.month not in (1, 4, 7, 10):
        return None
    return (date(end.year - 1, 10, 1) if end.month == 1 else date(end.year, end.month - 3, 1)), end


def _read_kpis(
    tx: Tx, answers: AnswerWeeks, period: Period, now_ms: int, specs: Mapping[str, InstrumentSpec]
) -> KpiReading:
    """What the figures of the last week of the period are made of."""
    return read_kpis(
        tx,
        answers,
        monday=period.weeks.last(1).first,
        now_ms=now_ms,
        specs=specs,
        linked=is_first_of_month(period.every, period.weeks.end),
    )


def _asides(trials: Sequence[Trial], week: WeekRange, tz: ZoneInfo) -> set[tuple[str, Wording]]:
    """(instrument, wording) that only the treatment of a running experiment asks."""
    start_ms, end_ms = week.instants(tz)
    running = [trial for trial in trials if trial.start_ms < end_ms and start_ms < trial.end_ms]
    return {(instrument, (wording, labels)) for trial in running for instrument, wording, labels in trial.asides}


def _late(tx: Tx, group: Group, week: WeekRange, tz: ZoneInfo) -> int:
    start_ms, end_ms = week.instants(tz)
    return sum(
        1
        for answer in tx.answers_between(start_ms, end_ms, instrument=group.instrument)
        if answer.late
        and answer.replaced_ms is None
        and not answer.missing
        and (answer.survey_kind, answer.touchpoint) == (group.survey_kind, group.touchpoint)
    )

"""Digests of a shop that does not exist, with something in every part and every state that a part can be in: what
templates are tried with before a Monday needs them. The scores are computed by the formulas that real ones go through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from reports.benchmarks import Benchmark, Standing
from reports.checks.careless import Careless, Without
from reports.checks.nonresponse import Timing
from reports.checks.quality import Quality
from reports.checks.scale_use import Consistency
from reports.comments.chosen import Chosen
from reports.comments.compared import DistinctiveWord, FreshWord, GrownTopic
from reports.comments.free_text import FreeText, FreeTexts, TopicShare
from reports.comments.vocabulary import Topic
from reports.digest import Comparison, DigestContext, IndexLine, IndexRow, LineMessages, Row
from reports.digest.care import Care
from reports.digest.context import Missing
from reports.digest.history import Revision
from reports.digest.mix import Mix
from reports.digest.reach import Reach
from reports.digest.response import Counts, Response, rate
from reports.drivers.analysis import Driver, DriverAnalysis, WhyNot
from reports.experiments import ArmPlan, ArmResult, Contrast, ExperimentReport, Trial
from reports.instruments import bundled_instruments, specs_of
from reports.kpi.report import Hint, KpiReport
from reports.kpi.window import Window
from reports.kpi.words import FLAGS, HINTS
from reports.linkage import Compared, GroupTest, Linkage
from reports.metrics import InstrumentSpec, Result, Span, Stratum, Tally, difference, measure, record, statistics_of
from reports.page.views import EVERYBODY, HeatRow, Point, Scope, Trend, View, Views
from reports.procedures import Difference, Estimate, mean, share
from reports.trust.account import BEHAVIOURS
from reports.trust.portfolio import Portfolio
from reports.words import Language, Limits

TZ = ZoneInfo("Asia/Tokyo")
_MONDAY, _END = date(2026, 11, 16), date(2026, 11, 23)
_WEEK = Span(_MONDAY.isoformat(), _END.isoformat())
_BEFORE = Span("2026-11-09", _MONDAY.isoformat())
_AT = Stratum("transactional", "purchase", "nps.1", "", "ja")
_NOW_MS = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)


def samples() -> Iterator[tuple[DigestContext, Views]]:
    """Digests and what their pages show: each state in both languages."""
    specs = specs_of(bundled_instruments())
    for language, brand in (("ja", "声の店"), ("en", "Koe Store")):
        full = _full(specs, language, brand)  # type: ignore[arg-type]
        views = _views(full)
        empty = replace(views, scopes=(), views=(), trends=(), heat_spec=None, heat=())
        yield full, views
        yield _quiet(full, "no_data", 0), empty
        yield _quiet(full, "suppressed", 7), empty
        yield _thin(full), views
        yield _monthly(full), views


def _full(specs: Mapping[str, InstrumentSpec], language: Language, brand: str) -> DigestContext:
    nps = _row(specs["nps"], {9: 130, 10: 90, 8: 80, 7: 20, 5: 30, 6: 25, 2: 25}, {9: 100, 8: 180, 5: 120}, target=20.0)
    rows = (
        _row(specs["sat5"], {5: 60, 4: 100, 3: 30, 2: 10, 1: 5}, {5: 30, 4: 100, 3: 50, 2: 10, 1: 5}),
        _row(specs["affinity"], {5: 6, 4: 6, 3: 4, 2: 4}, {5: 4, 4: 2, 2: 1}),
        _row(specs["ces_effort"], {1: 20, 4: 10, 6: 8}, {1: 5, 4: 4, 6: 4}),
        _row(specs["pay_more"], {1: 3, 0: 2}, {}),
        _emotion(specs["emotion"]),
    )
    window = Window(_NOW_MS - 7 * 86_400_000, _NOW_MS, _NOW_MS, TZ)
    repeat = record("repeat_rate", "share", share(40, 120), 120, form="share", window=_WEEK, unit="per_customer")
    weeks = tuple(
        replace(repeat, window=_week(back), score=30.0 + back, n_valid=100 + back) for back in range(7, -1, -1)
    )
    return DigestContext(
        digest_id="weekly",
        period="2026-W47",
        every="week",
        language=language,
        brand=brand,
        computed_ms=_NOW_MS,
        week_start=_MONDAY,
        week_end=_END,
        window_start=_MONDAY,
        mode="week",
        primary_spec=specs["nps"],
        primary=nps,
        week_result=nps.result,
        show_week_result=False,
        rows=rows,
        indices=(_index(),),
        strata_shown=True,
        response=Response(
            Counts(412, 3, 128, 120, 109, 128, (("min_gap", 120), ("opted_out", 8))),
            rate("response_rate", 128, 409, _WEEK),
            rate("completion_rate", 109, 120, _WEEK),
            immature=True,
        ),
        mix=Mix(((("line", "purchase"), 320), (("slack", "support"), 80)), moved=True, standardised=21.4),
        benchmarks=_standings(nps),
        drivers=_drivers(),
        segments=(record("psy_beh", "share_truly_loyal", share(30, 90), 90, form="share", window=_WEEK),),
        kpis=KpiReport(
            window,
            _NOW_MS,
            (repeat, *_flagged(repeat)),
            {("repeat_rate", "share"): weeks},
            _linkages(),
            tuple(Hint("repeat_rate", repeat, 40.0, hint) for hint in dict.fromkeys(HINTS.values())),
            0,
        ),
        reach=Reach(
            LineMessages(limit=15_000, used=9_790),
            5_210,
            4_400,
            replace(rate("line_blocked", 4, 400, _WEEK), counts={"yes": 4}),
            rate("linked_buyers", 152, 400, _WEEK),
            settled=False,
        ),
        quality=_quality(nps, specs),
        care=Care(
            opened=16,
            open_now=4,
            overdue=1,
            unattended=2,
            closed_loop=rate("closed_loop_rate", 9, 12, _WEEK),
            first_reply=record("first_reply_h", "median", Estimate(2.5, 1.0, 4.0, "bootstrap"), 12, form="hours"),
            solved=rate("solved_rate", 8, 10, _WEEK),
            recovered=record("recovered", "mean", mean({2: 6, 3: 6}, low=-10, high=10), 12, form="mean"),
        ),
        late=3,
        first=False,
        revisions=(
            Revision("2026-W46", _BEFORE, "net", 13.3, 11.1, 3, 45, last=True),
            *(
                Revision(f"2026-W{44 - back}", _week(3 + back), "net", 10.0, 14.0, 1, 51, last=False)
                for back in range(2)
            ),
        ),
        flags=("mixed_lang", "mix_shift", "several_wordings"),
        experiments=_experiments(specs),
        trust=_trust(80),
        rated={},
        texts=_texts(),
        pause="",
        missing_blocks=(Missing("linkage", "monthly"), Missing("drivers", "quarterly")),
        shows_nps=True,
        filtered="渋谷店",
        limits=Limits(),
        specs=specs,
    )


def _quiet(full: DigestContext, status: str, n: int) -> DigestContext:
    """A week of which nothing may be shown, at the edge of a pause."""
    spec = full.primary_spec
    results = measure(spec, Tally({9: n} if n else {}), stratum=_AT, window=_WEEK)
    none = Comparison("previous_week", full.primary.change.earlier, "none", why_not="few_now" if n else "no_earlier")
    rest = rate("rate", 0, 0, _WEEK)
    return replace(
        full,
        primary=Row(spec, results[0].shown(), {}, none, None, False, None),
        week_result=results[0].shown(),
        rows=(),
        indices=(),
        strata_shown=False,
        response=Response(Counts(42, 0, None if n else 0, 0, 0, n, ()), rest, rest, immature=False),
        mix=Mix(()),
        benchmarks=(),
        drivers=(),
        segments=(),
        kpis=None,
        reach=Reach(None, None, None, rest, rest, settled=True),
        quality=Quality(),
        care=Care(0, 0, 0, 0, rest, rest, rest, rest),
        late=0,
        first=not n,
        revisions=(),
        flags=(),
        experiments=(),
        trust=_trust(n),
        rated={},
        texts=FreeTexts(unread=2),
        pause="pausing",
        filtered="",
    )


def _thin(full: DigestContext) -> DigestContext:
    """A shop of few answers: four weeks lead, and the week follows."""
    spec = full.primary_spec
    row = _row(spec, {9: 44, 7: 36, 4: 32}, {9: 40, 7: 32, 4: 40}, rolling=True)
    week = measure(spec, Tally({9: 8, 4: 6}), stratum=_AT, window=_WEEK)[0]
    start = _END - timedelta(weeks=4)
    return replace(
        full, mode="rolling", window_start=start, primary=row, week_result=week, show_week_result=True, pause="resumed",
        trust=_trust(20),
    )  # fmt: skip


def _monthly(full: DigestContext) -> DigestContext:
    """A month of more metrics than a message of Slack holds."""
    change = replace(full.primary.change, against="previous_month", verdict="fall")
    primary = replace(full.primary, change=change, longer=None)
    return replace(full, every="month", period="2026-11", mode="month", primary=primary, rows=full.rows * 30)


def _week(back: int) -> Span:
    first = _MONDAY - timedelta(weeks=back)
    return Span(first.isoformat(), (first + timedelta(weeks=1)).isoformat())


def _row(
    spec: InstrumentSpec,
    codes: Mapping[int, int],
    before: Mapping[int, int],
    *,
    target: float | None = None,
    rolling: bool = False,
) -> Row:
    now, then = Tally(codes, missing=3, invalid=1, superseded=2), Tally(before)
    results = measure(spec, now, stratum=_AT, window=_WEEK)
    earlier = measure(spec, then, stratum=_AT, window=_BEFORE)[0].shown()
    lead = results[0].shown()
    found = difference(statistics_of(spec)[0], then, now) if min(now.n, then.n) >= 10 else None
    change = _change(earlier, found, rolling=rolling)
    others = {} if lead.status == "suppressed" else {result.variant: result for result in results[1:]}
    longer = None if rolling or found is None else replace(change, against="previous_4_weeks")
    return Row(spec, lead, others, change, longer, spec.id == "nps", target, (earlier, lead))


def _change(earlier: Result, found: Difference | None, *, rolling: bool = False) -> Comparison:
    if found is None:
        return Comparison("previous_week", earlier, "none", "few_earlier" if earlier.n_valid else "no_earlier")
    verdict = "noise" if found.p >= 0.05 else "rise" if found.delta > 0 else "fall"
    return Comparison(
        "previous_rolling" if rolling else "previous_week",
        earlier,
        verdict,  # type: ignore[arg-type]
        delta=found.delta,
        low=found.low,
        high=found.high,
        p=found.p,
        p_adjusted=found.p,
        detectable=found.detectable,
    )


def _emotion(spec: InstrumentSpec) -> Row:
    results = measure(spec, Tally(sets={("relief", "trust"): 20, ("pride",): 10, (): 10}), stratum=_AT, window=_WEEK)
    empty = replace(results[0], n_valid=0, score=None, ci_low=None, ci_high=None, status="no_data", counts={})
    others = {result.variant: result for result in results[1:]}
    return Row(spec, results[0], others, _change(empty, None), None, False, None)


def _index() -> IndexRow:
    found = record(
        "psy", "mean", Estimate(62.0, 58.0, 66.0, "t"), 60, form="index", stratum=_AT, window=_WEEK, unit="per_customer"
    )
    return IndexRow("psy", (IndexLine(found, _change(replace(found, window=_BEFORE), None)),), ())


def _standings(row: Row) -> tuple[Standing, ...]:
    figure = Benchmark(
        metric="nps", value=12.0, industry="retail", country="JP", year="2025", survey_kind="transactional",
        scale="0-10", source="Example survey", ci=(8.0, 16.0), n=900,
    )  # fmt: skip
    bare = replace(figure, ci=None, n=None, source="JCSI", licence_note="internal use")
    flat = replace(row.result, ci_low=None, ci_high=None)
    found = Standing(figure, row.spec, row.result, "above")
    return (
        found,
        replace(found, benchmark=bare, verdict="below", flags=("stale",)),
        replace(found, benchmark=replace(figure, ci=None), verdict="not_distinguishable"),
        replace(found, benchmark=replace(figure, n=None), verdict="none", result=flat),
        replace(found, verdict="none", differing=("scale", "cut_offs", "country", "survey_kind")),
    )


def _drivers() -> tuple[DriverAnalysis, ...]:
    found = (("exp_delivery", 42.0, 52.0, "improve"), ("exp_packaging", 38.0, 78.0, "keep"))
    drivers = tuple(
        Driver((name,), share_ / 244, share_, share_ - 8, share_ + 8, 0.4, good, place, False, 20.0, 1)  # type: ignore[arg-type]
        for name, share_, good, place in found
    )
    alike = Driver(("exp_price", "exp_info"), 0.05, 12.0, None, None, 0.2, 50.0, "watch", True, 6.0, -1)
    against = Driver(("exp_product",), 0.03, 8.0, 4.0, 12.0, -0.2, 80.0, "overdone", False, 1.6, 1)
    full = DriverAnalysis(
        "purchase", _AT, Span("2026-07-01", "2026-10-01"), n=240, incomplete=12, minimum=100, why_not="", r2=0.41,
        drivers=(*drivers, alike, against), constant=("exp_support",), thin=("exp_community",),
    )  # fmt: skip
    none = replace(full, block="other", drivers=(), constant=(), thin=())
    whys: tuple[WhyNot, ...] = ("few", "few_drivers", "many_drivers", "constant_outcome", "not_explained")
    hidden = replace(full, constant=()).without_performance()
    return (full, hidden, *(replace(none, why_not=why) for why in whys))


def _quality(nps: Row, specs: Mapping[str, InstrumentSpec]) -> Quality:
    def flagged(variant: str, flag: str) -> Result:
        found = record("checks", variant, Estimate(0.34, None, None, "smd"), 60, form="mean", flags=(flag,))
        return replace(found, counts={"answered": 40, "silent": 30})

    index = record("psy", "mean", Estimate(62.0, 58.0, 66.0, "t"), 60, form="index", stratum=_AT)
    items = [spec for spec in specs.values() if spec.item]
    pair = [next(spec.id for spec in items if spec.item and spec.item.reverse is way) for way in (False, True)]
    channels = {
        name: record("csat5", "top2", share(k, 40), 40, form="share") for name, k in (("line", 30), ("web", 10))
    }
    return Quality(
        nonresponse=tuple(
            flagged(name, "nonresponse_bias")
            for name in ("orders_365d", "tenure_days", "last_order_value", "open_ticket", "channel_line")
        ),
        timing=(Timing(nps.spec, nps.result, nps.result, Difference(-12.0, -20.0, -4.0, 0.003, "z", 9.0)),),
        careless=Careless(4, 2, (Without(nps.result, nps.result, 6), Without(index, index, 6))),
        acquiescence=(flagged(f"acquiescence_{'_'.join(pair)}", "acquiescence"),),
        consistency=tuple(Consistency(specs["csat5"], _AT, channels, 50.0, p) for p in (0.001, 0.4)),
    )


def _flagged(result: Result) -> Iterator[Result]:
    """Figures that cannot be told yet, for every reason and for none, and figures with flags."""
    for metric, flags in (("crr", sorted(FLAGS)), ("lapse_rate", ["no_interval"]), ("return_rate", [])):
        yield replace(result, metric=metric, score=None, flags=tuple(flags))
    for metric in ("cvr", "churn_rate"):
        yield replace(result, metric=metric, flags=("immature", "sibling"))


def _linkages() -> tuple[Linkage, ...]:
    groups = tuple(
        record("linkage_repeat_rate", "share", share(k, 40), 40, form="share", segment=f"nps={name}", window=_WEEK)
        for name, k in (("promoter", 24), ("passive", 16), ("detractor", 8))
    )
    untested = Linkage(Compared("nps", _AT, _WEEK), "repeat_rate", groups, (), None, "few_expected")
    tests = (GroupTest("chi2", 15.0, 2, p) for p in (0.0004, 0.21))
    return (untested, *(replace(untested, test=test, why_no_test="") for test in tests))


def _trust(n: int) -> Portfolio:
    def of(variant: str, score: float, n: int = n) -> Result:
        found = Estimate(score, score - 1, score + 1, "bootstrap")
        return record("trust_balance", variant, found, n, form="mean").shown()

    behaviours = tuple(of(f"sum_{name}", 4.0, max(0, n - 15 * place)) for place, name in enumerate(BEHAVIOURS))
    return Portfolio(
        of("mean", 12.0), of("median", 9.0), of("overdrawn", 8.0), of("crossed", 3.0), behaviours,
        (of("withdrawal_late_delivery", -6.0),),
    )  # fmt: skip


def _experiments(specs: Mapping[str, InstrumentSpec]) -> tuple[ExperimentReport, ...]:
    arms = (
        ArmPlan(id="A", weight=1, metric="nps", revision="r1"),
        ArmPlan(id="B", weight=1, metric="nps", revision="r2"),
    )
    trial = Trial(
        id="words", name={"ja": "文面", "en": "Wording"}, touchpoint="purchase", metric="nps", arms=arms, n_per_arm=200,
        start_ms=_NOW_MS - 28 * 86_400_000, end_ms=_NOW_MS, looks=2, within_ms=None, response_ms=7 * 86_400_000,
        from_planning=False, measurement=True, asides=(),
    )  # fmt: skip
    found = Difference(8.0, 1.0, 15.0, 0.02, "z", 3.5)
    shown = tuple(
        ArmResult(name, 220, 205, "ok", Estimate(score, score - 6, score + 6, "add3"), share(120, 220), 220)
        for name, score in (("A", 12.0), ("B", 20.0))
    )
    bare = tuple(ArmResult(name, 20, 8, "suppressed") for name in ("A", "B"))
    contrast = (Contrast("B", found, 0.02, real=True, higher=True),)
    decided = ExperimentReport(
        trial, specs["nps"], "net", "decided", _NOW_MS, date(2026, 10, 26), _END, _END, 2, shown, contrast, contrast,
        0.6, changed=True,
    )  # fmt: skip
    early = replace(decided, arms=bare, primary=(), response=(), changed=False)
    hidden = decided.without_scores().without_response("sibling")
    return (decided, hidden, replace(decided, state="look", look=1), *(
        replace(early, state=state) for state in ("planned", "counting", "blocked", "few")
    ))  # fmt: skip


def _texts() -> FreeTexts:
    topic = Topic("packaging", {"ja": "梱包", "en": "Packaging"}, None, ())
    about = TopicShare(
        topic,
        record("reason", "topic_packaging", share(12, 40), 40, form="share", window=_WEEK),
        record("reason", "rating_packaging", mean({2: 6, 9: 6}, low=0, high=10), 12, form="mean", window=_WEEK),
    )
    found = FreeText(
        "reason",
        _AT,
        _WEEK,
        n=40,
        n_missing=6,
        n_superseded=0,
        status="ok",
        rated=40,
        promoters=20,
        detractors=12,
        topics=(about,),
        promoter_words=(DistinctiveWord("quick", "早い", 12, 1, 1.2, 2.4),),
        detractor_words=(DistinctiveWord("crushed", "つぶれる", 1, 11, -1.2, -2.4),),
        fresh_words=(FreshWord("box", "箱", 12, 40, 3, 120, 27.5, 14.0, 41.0, 0.001, 0.002),),
        grown_topics=(GrownTopic(topic, 12, 40, 6, 120, 25.0, 12.0, 38.0, 0.001, 0.002),),
        chosen=(
            Chosen("promoter", "箱がきれいでした。", "topic", topic, quote_ok=True),
            Chosen("detractor", "箱がつぶれていました。", "drawn", None, quote_ok=False),
        ),
    )
    few = FreeText("reason", replace(_AT, lang="en"), _WEEK, n=4, n_missing=0, n_superseded=0, status="suppressed")
    return FreeTexts((found, few), unread=1)


def _views(context: DigestContext) -> Views:
    spec, segment = context.primary_spec, Scope("segment", "渋谷店")

    def results(codes: Mapping[int, int], window: Span) -> tuple[Result, ...]:
        return measure(spec, Tally(codes), stratum=_AT, window=window)

    points = tuple(
        Point(date.fromisoformat(_week(back).start), "", results({9: 20 + back, 8: 20, 4: 12}, _week(back))[0])
        for back in range(7, -1, -1)
    )
    seen = (
        View(EVERYBODY, 1, _WEEK, "", (context.primary.result, *context.primary.others.values())),
        View(segment, 1, _WEEK, "few"),
    )
    return Views(
        spec, (EVERYBODY, segment), seen, (Trend(EVERYBODY, points), Trend(segment, ())), spec,
        (HeatRow(_AT, points), HeatRow(replace(_AT, touchpoint="support"), points)), 1,
    )  # fmt: skip

"""The scored part of a digest: what leads, what stands below it, and what moved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reports import procedures
from reports.digest.counting import OVERLAP_ABOVE, Group, Source, Wording
from reports.digest.history import leading_result
from reports.digest.shop import Shop
from reports.digest.weeks import WeekRange
from reports.indices import battery_results, battery_scores, give_few_away
from reports.metrics import (
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Statistic,
    Stratum,
    difference,
    measure,
    off_interval,
    record,
    sibling,
    statistics_of,
)
from reports.respondents import Asked

TREND_WEEKS = 8
Against = Literal["previous_week", "previous_month", "previous_4_weeks", "previous_rolling"]
Verdict = Literal["rise", "fall", "noise", "none"]
Mode = Literal["week", "rolling", "month"]
"""What the scores are of: the week, the last four weeks where it is thin, or the weeks of a month."""
_ORDER = (
    "nps", "nrs", "csat5", "csat10", "sat5", "ces_effort", "ces_ease", "affinity", "emotion", "pay_more",
    "repeat_intent", "repeat_intent_noswitch", "expect_gap", "delight",
)  # fmt: skip


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
    trend: tuple[Result, ...] = ()
    """The last eight weeks one by one, the oldest first, so many of them hidden that no sum gives one away."""


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


@dataclass(slots=True)
class Draft:
    """A row before the family of tests is judged together."""

    group: Group
    wording: Wording
    spec: InstrumentSpec
    results: tuple[Result, ...]
    change: Comparison
    longer: Comparison | None
    ambiguous: bool
    trend: tuple[Result, ...] = ()


def leading(
    source: Source, metric: str, this_week: WeekRange, *, looked_at: WeekRange, asides: set[tuple[str, Wording]]
) -> tuple[Group, Wording]:
    """The stratum that leads: the group with most answers in the weeks looked at, so that one busy week does not
    swap the headline; in it the wording asked most this week, so that a new wording takes over at once. A wording on
    trial does not take over: half of the customers are asked in it, and the headline would jump to and fro."""
    groups: Counter[Group] = Counter()
    wordings: Counter[tuple[Group, Wording]] = Counter()
    of_week: Counter[tuple[Group, Wording]] = Counter()
    for cell in source.cells:
        if cell.instrument == metric and looked_at.has(cell.week):
            group, wording = (
                Group(metric, cell.survey_kind, cell.touchpoint),
                (cell.wording_id, cell.label_set),
            )
            groups[group] += cell.customers
            wordings[(group, wording)] += cell.customers
            if this_week.has(cell.week):
                of_week[(group, wording)] += cell.customers
    if not groups:
        return Group(metric, "", ""), ("", "")
    lead = min(groups, key=lambda group: (-groups[group], group.survey_kind, group.touchpoint))
    mine = [key for key in wordings if key[0] == lead]
    mine = [key for key in mine if (metric, key[1]) not in asides] or mine
    return min(mine, key=lambda key: (-of_week[key], -wordings[key], key[1]))


def draft_of(
    source: Source,
    group: Group,
    wording: Wording,
    spec: InstrumentSpec,
    window: WeekRange,
    earlier: tuple[Against, WeekRange],
    pooled: WeekRange | None,
    segment: str,
) -> Draft:
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
    results = source.guarded(off_interval(results, counted.off_interval.get(wording, 0)), group, wording, window)
    statistic = statistics_of(spec)[0]

    def compare(against: Against, before: WeekRange) -> Comparison:
        return compare_cells(source, group, wording, spec, statistic, against, before, window, stratum, segment)

    change = compare(*earlier)
    longer = None if pooled is None else compare("previous_4_weeks", pooled)
    # four weeks with answers in one of them only are that week once more
    if longer is not None and ("sibling" in longer.earlier.flags or longer.earlier.n_valid == change.earlier.n_valid):
        longer = None
    weeks = window.last(TREND_WEEKS) if window.weeks + earlier[1].weeks <= TREND_WEEKS else earlier[1].joined(window)
    trend = _trend(source, group, wording, spec, weeks, segment)
    return Draft(group, wording, spec, results, change, longer, len(counted.tallies) > 1, trend)


def _trend(
    source: Source, group: Group, wording: Wording, spec: InstrumentSpec, weeks: WeekRange, segment: str
) -> tuple[Result, ...]:
    """The leading statistic of each week."""
    return tuple(
        leading_result(source, group, wording, spec, WeekRange(weeks.first, later + 1).last(1), segment=segment)
        for later in range(weeks.weeks)
    )


def compare_cells(
    source: Source,
    group: Group,
    wording: Wording,
    spec: InstrumentSpec,
    statistic: Statistic,
    against: Against,
    before: WeekRange,
    window: WeekRange,
    stratum: Stratum,
    segment: str,
) -> Comparison:
    now, then = source.counted(group, window).of(wording), source.counted(group, before).of(wording)
    earlier = leading_result(source, group, wording, spec, before, segment=segment)
    if then.n == 0:
        return Comparison(against, earlier, "none", "no_earlier")
    if earlier.status == "suppressed":
        return Comparison(against, earlier, "none", "few_earlier")
    if now.n < SUPPRESS_BELOW or leading_result(source, group, wording, spec, window).score is None:
        return Comparison(against, earlier, "none", "few_now")
    found = difference(statistic, then, now)
    return _untold(against, earlier, found, overlap=source.overlap(group, before, window))


def _untold(against: Against, earlier: Result, found: procedures.Difference | None, *, overlap: bool) -> Comparison:
    """A difference as it stands before the family of tests is judged together; none where neither side varies."""
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
        flags=("overlap",) if overlap else (),
    )


@dataclass(slots=True)
class IndexDraft:
    """An index before the family of tests is judged together."""

    result: Result
    change: Comparison
    longer: Comparison | None = None


@dataclass(slots=True)
class IndicesDraft:
    battery: str
    lines: list[IndexDraft]
    others: tuple[Result, ...]

    def done(self) -> IndexRow:
        lines = tuple(IndexLine(line.result.shown(), line.change) for line in self.lines)
        return IndexRow(self.battery, lines, self.others)


def index_drafts(
    source: Source, window: WeekRange, earlier: tuple[Against, WeekRange], segment: str
) -> list[IndicesDraft]:
    """Every battery with a respondent in the window, per kind of survey, touchpoint and wording."""
    before = {(found.battery, _place(found.stratum)): found for found in source.asked(earlier[1])}
    rows = []
    for now in source.asked(window):
        then = before.get((now.battery, _place(now.stratum)))
        people = list(now.people.values())
        flags = ("mixed_lang",) if now.stratum.lang == "mixed" else ()
        found = [
            source.guarded_index(replace(result, segment=segment, flags=(*flags, *result.flags)), window)
            for result in battery_results(
                now.battery, now.indices, people, stratum=now.stratum, window=window.span(), raw=now.raw
            )
        ]
        scored = _scored(now)
        past = {} if then is None else _scored(then)
        hidden = give_few_away({variant: len(scores) for variant, scores in past.items()})
        lines = [
            IndexDraft(
                result,
                _index_change(
                    source,
                    result,
                    past.get(result.variant, {}),
                    scored[result.variant],
                    earlier,
                    hidden=result.variant in hidden,
                ),
            )
            for result in found
            if result.variant in scored
        ]
        rest = tuple(result for result in found if result.variant not in scored)
        if any(line.result.n_valid for line in lines):
            rows.append(IndicesDraft(now.battery, lines, tuple(r for r in rest if r.status in ("caution", "ok"))))
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
    source: Source,
    now: Result,
    before: Mapping[str, float],
    after: Mapping[str, float],
    earlier: tuple[Against, WeekRange],
    *,
    hidden: bool,
) -> Comparison:
    against, window = earlier
    low, high = (0.0, 100.0) if now.form == "index" else (-math.inf, math.inf)
    told = record(
        now.metric,
        now.variant,
        procedures.mean_of(list(before.values()), low, high),
        len(before),
        form=now.form,
        stratum=now.stratum,
        window=window.span(),
        segment=now.segment,
    )
    past = source.guarded_index(sibling(told) if hidden else told, window).shown()
    if not before:
        return Comparison(against, past, "none", "no_earlier")
    if past.status == "suppressed":
        return Comparison(against, past, "none", "few_earlier")
    if now.status == "suppressed":
        return Comparison(against, past, "none", "few_now")
    found = procedures.mean_difference_of(list(before.values()), list(after.values()))
    return _untold(against, past, found, overlap=len(before.keys() & after.keys()) > OVERLAP_ABOVE * len(after))


def judge(primary: Draft, others: Sequence[Draft | IndexDraft]) -> None:
    """Set the verdicts: the primary change at 5 % on its own, everything else of the digest as one family
    (S8)."""
    if primary.change.p is not None:
        primary.change = _with_verdict(primary.change, primary.change.p < 0.05)
    tested: list[tuple[Draft | IndexDraft, Literal["change", "longer"], Comparison]] = []
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


def reading_order(draft: Draft) -> tuple[int, str, str, str, Wording]:
    known = _ORDER.index(draft.spec.id) if draft.spec.id in _ORDER else len(_ORDER)
    return known, draft.spec.id, draft.group.survey_kind, draft.group.touchpoint, draft.wording


def row_of(draft: Draft, shop: Shop) -> Row:
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
        trend=draft.trend,
    )


_TOLD_FLAGS = ("mixed_lang", "clustered", "low_reliability", "off_interval")


def flags_of(rows: Iterable[Row], indices: Iterable[IndexRow], more: tuple[str, ...]) -> tuple[str, ...]:
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

"""Figures of customers in groups and of business events, put in order for a digest: what is named, what stands beside
it, what must be said below it. The sentences themselves stand in the templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.kpi.report import Hint, KpiReport, metric_name, told_flags
from reports.kpi.words import group_words, kpi_name, kpi_variant
from reports.linkage import Linkage
from reports.metrics import InstrumentSpec, Result
from reports.segments import SEGMENTS, group_name, group_variant
from reports.words import Words

_LEADING_SEGMENTS = (
    "quiet_risk", "locked_in", "mean", "share_high", *(f"share_{name}" for name in SEGMENTS), "discount_evidence",
)  # fmt: skip
_KPIS: tuple[tuple[str, str], ...] = (
    ("new_customers", "count"), ("repeat_customers", "count"), ("repeat_rate", "share"), ("cvr", "share"),
    ("return_rate", "share"), ("churn_rate", "share"), ("lapse_rate", "share"), ("crr", "share"),
    ("repeat_interval", "median"), ("aov", "mean"), ("spend_per_customer", "mean"), ("frequency", "mean"),
    ("ltv", "ltv_simple"), ("ltv", "ltv_churn"), ("ltv", "ltv_net_split"), ("ltv", "ltv_net_total"),
    ("referrals", "per_100"), ("first_response_h", "median"), ("first_response_h", "reply_in_promise"),
    ("resolution_h", "median"), ("promise_kept_rate", "share"), ("self_resolution", "share"),
    ("zero_result_rate", "share"),
)  # fmt: skip
"""The figures that stand in a digest: one for each question of a manager; `koe metrics` and the JSON have them all."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: a name, a number, and the weeks before it."""

    label: str
    result: Result
    series: tuple[Result, ...] = ()
    """The last weeks, the oldest first, this one included; () where there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Lines that belong together, and what has to be said of them."""

    name: str
    figures: tuple[Figure, ...]
    without: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Those that cannot be told yet, by name, each with the flags that say why."""
    hints: tuple[tuple[str, Hint], ...] = ()
    """What to do below a target, each with the name of its figure."""
    flagged: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Flag → the labels of the lines that have it."""
    linkage: Linkage | None = None
    """The comparison that the lines are of."""


def segment_figures(results: Iterable[Result], words: Words) -> list[Figures]:
    """Recommendation × continued use, and psychological × behavioural loyalty; the parts that a manager can act on."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        if result.variant in _LEADING_SEGMENTS and result.status != "no_data":
            at = result.stratum
            groups.setdefault((result.metric, at.survey_kind, at.touchpoint, at.wording_id), []).append(result)
    out = []
    for (metric, _, touchpoint, _), found in groups.items():
        where = words.touchpoint(touchpoint) if touchpoint else ""
        name = group_name(metric, words.lang) + (
            (f"・{where}" if words.lang == "ja" else f", {where}") if where else ""
        )
        figures = tuple(Figure(group_variant(result.variant, words.lang) or result.variant, result) for result in found)
        out.append(Figures(name, figures))
    return out


def kpi_figures(report: KpiReport, specs: Mapping[str, InstrumentSpec], words: Words) -> list[Figures]:
    """The figures of the week with those of the weeks before, then what to do below a target."""
    by_name = {(result.metric, result.variant): result for result in report.results if not result.segment}
    figures = []
    told: set[str] = set()
    without: dict[str, tuple[str, ...]] = {}
    for key in _KPIS:
        result = by_name.get(key)
        if result is None or result.status == "no_data":
            continue
        about = kpi_variant(*key, words.lang)
        name = kpi_name(key[0], words.lang)
        if result.score is None and result.status != "suppressed":
            without.setdefault(name, tuple(told_flags([result])))
            continue
        told.add(name)
        series = report.series.get(key, ())
        figures.append(Figure(_with(name, about, words), result, series if len(series) > 1 else ()))
    if not figures:
        return []
    flagged: dict[str, list[str]] = {}
    for figure in figures:
        for flag in told_flags([figure.result]):
            flagged.setdefault(flag, []).append(figure.label)
    return [
        Figures(
            "",
            tuple(figures),
            without=tuple((name, why) for name, why in without.items() if name not in told),
            hints=tuple((metric_name(hint.result.metric, specs, words), hint) for hint in report.hints),
            flagged=tuple((flag, tuple(labels)) for flag, labels in flagged.items()),
        )
    ]


def _with(name: str, about: str, words: Words) -> str:
    """A name and what is meant by it: in brackets, unless that has brackets of its own."""
    ja = words.lang == "ja"
    if not about:
        return name
    if ("（" if ja else "(") in about:
        return f"{name}・{about}" if ja else f"{name}, {about}"
    return f"{name}（{about}）" if ja else f"{name} ({about})"


def linkage_figures(linkages: Sequence[Linkage], words: Words) -> list[Figures]:
    """What customers did in the ninety days after their answer, by group of the answer."""
    out = []
    for linkage in linkages:
        figures = tuple(
            Figure(group_words(result.segment, words.lang) or result.segment, result.shown())
            for result in linkage.groups
        )
        name = kpi_name(f"linkage_{linkage.outcome}", words.lang)
        touchpoint = linkage.of.stratum.touchpoint
        by = {"nps": "NPS®", "nrs": "NRS", "psy_beh": group_name("psy_beh", words.lang)}[linkage.of.by]
        where = " · ".join(part for part in (by, words.touchpoint(touchpoint) if touchpoint else "") if part)
        name = f"{name}（{where}）" if words.lang == "ja" else f"{name} ({where})"
        out.append(Figures(name, figures, linkage=linkage))
    return out

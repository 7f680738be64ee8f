"""A shop's scores beside figures that others published: above, below, or no difference that could be told. Figures come
from koe.yaml, none are shipped; one that was asked differently is shown without a verdict. No I/O, no "today".

Source: docs/metrics.md ("Beside published figures").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from reports import procedures
from reports.metrics import InstrumentSpec, Result, Statistic, statistics_of
from reports.procedures import Difference

STALE_MONTHS = 24
TEST_ALPHA = 0.05

Verdict = Literal["above", "below", "not_distinguishable", "none"]
Condition = Literal["scale", "cut_offs", "country", "survey_kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One entry of `benchmarks` in koe.yaml: a published figure and how it came about."""

    metric: str
    """The instrument it compares with; the figure is of its leading statistic."""
    value: float
    """On the scale of our score: nets -100…100, shares 0…100, means on the scale of the question."""
    industry: str
    country: str
    """ISO code, "JP"."""
    year: str
    """When it was measured: "2025", or "2025-06"."""
    survey_kind: str
    scale: str
    """ "0-10"."""
    source: str
    url: str = ""
    wording: str = ""
    licence_note: str = ""
    ci: tuple[float, float] | None = None
    n: int | None = None
    positive: tuple[int, ...] | None = None
    """The codes that were counted as good; None where they are those of the metric."""
    negative: tuple[int, ...] | None = None
    good: int | None = None
    """Published counts of good and bad answers among n."""
    bad: int | None = None

    @property
    def jcsi(self) -> bool:
        """Of the JCSI, which allows no advertising with its figures."""
        return "jcsi" in f"{self.source} {self.licence_note}".casefold()


@dataclass(frozen=True, slots=True)
class Standing:
    """One figure beside the score it belongs to."""

    benchmark: Benchmark
    spec: InstrumentSpec
    result: Result
    verdict: Verdict
    """ "none" without a comparison: conditions differ, or our score may not be shown or has no interval."""
    differing: tuple[Condition, ...] = ()
    """What was done otherwise; a figure that differs is for reference only."""
    difference: Difference | None = None
    """Ours minus theirs by their published counts; without counts our interval decides alone."""
    flags: tuple[str, ...] = ()

    @property
    def comparable(self) -> bool:
        """Asked and counted as we ask and count, in the same country and kind of survey."""
        return not self.differing

    @property
    def told(self) -> bool:
        """Our score may be shown, so there is something to say."""
        return self.result.status not in ("suppressed", "no_data")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; our score is the record that this stands in."""
        b, d = self.benchmark, self.difference
        return {
            "value": b.value,
            "ci": list(b.ci) if b.ci is not None else None,
            "n": b.n,
            "industry": b.industry,
            "country": b.country,
            "year": b.year,
            "source": b.source,
            "url": b.url,
            "wording": b.wording,
            "licence_note": b.licence_note,
            "comparable": self.comparable,
            "differing": list(self.differing),
            "verdict": self.verdict,
            "delta": None if d is None else d.delta,
            "delta_ci": None if d is None else [d.low, d.high],
            "p": None if d is None else d.p,
            "flags": list(self.flags),
        }


def standings(
    results: Iterable[Result],
    benchmarks: Sequence[Benchmark],
    specs: Mapping[str, InstrumentSpec],
    *,
    country: str,
    on: date,
) -> tuple[Standing, ...]:
    """Each figure beside each leading result of its metric, in the order of the figures.

    Args:
        results: any result records; those of other metrics and other statistics are passed over.
        specs: instrument → how it is scored; figures of others are passed over.
        country: where the shop's customers were asked.
        on: the day of the comparison, by which a figure is stale.
    """
    records = list(results)
    found: list[Standing] = []
    for benchmark in benchmarks:
        spec = specs.get(benchmark.metric)
        if spec is None:
            continue
        leading = statistics_of(spec)[0]
        mine = [result for result in records if (result.metric, result.variant) == (spec.id, leading.variant)]
        found += [_standing(result.shown(), benchmark, spec, leading, country=country, on=on) for result in mine]
    return tuple(found)


def _standing(
    result: Result, benchmark: Benchmark, spec: InstrumentSpec, leading: Statistic, *, country: str, on: date
) -> Standing:
    flags = ("stale",) if is_stale(benchmark.year, on) else ()
    differing = _differing(result, benchmark, spec, country)
    standing = Standing(benchmark, spec, result, "none", differing, flags=flags)
    if differing or not standing.told:
        return standing
    theirs = _difference(result, benchmark, leading)
    if theirs is not None:
        side: Verdict = "above" if theirs.delta > 0 else "below"
        return replace(standing, verdict=side if theirs.p < TEST_ALPHA else "not_distinguishable", difference=theirs)
    if result.ci_low is None or result.ci_high is None:
        return standing
    if result.ci_low > benchmark.value:
        return replace(standing, verdict="above")
    return replace(standing, verdict="below" if result.ci_high < benchmark.value else "not_distinguishable")


def _differing(result: Result, benchmark: Benchmark, spec: InstrumentSpec, country: str) -> tuple[Condition, ...]:
    ours: dict[Condition, bool] = {
        "scale": bounds_of(benchmark.scale) != (spec.low, spec.high),
        "cut_offs": _cut_otherwise(benchmark.positive, spec.positive)
        or _cut_otherwise(benchmark.negative, spec.negative),
        "country": benchmark.country.upper() != country.upper(),
        "survey_kind": benchmark.survey_kind != result.stratum.survey_kind,
    }
    return tuple(name for name, differs in ours.items() if differs)


def _cut_otherwise(theirs: tuple[int, ...] | None, ours: tuple[int, ...]) -> bool:
    return theirs is not None and set(theirs) != set(ours)


def _difference(result: Result, benchmark: Benchmark, leading: Statistic) -> Difference | None:
    """S2 or S4 on the published counts, theirs first; None without counts, for a mean and for a multi-select."""
    if benchmark.n is None or benchmark.good is None or leading.selected:
        return None
    ours = {int(code): count for code, count in result.counts.items() if code.lstrip("-").isdigit()}
    good = sum(ours.get(code, 0) for code in leading.positive)
    if leading.form == "net" and benchmark.bad is not None:
        bad = sum(ours.get(code, 0) for code in leading.negative)
        return procedures.net_difference((benchmark.good, benchmark.bad, benchmark.n), (good, bad, result.n_valid))
    if leading.form == "share":
        good = result.counts.get("yes", good)
        return procedures.share_difference((benchmark.good, benchmark.n), (good, result.n_valid))
    return None


def bounds_of(scale: str) -> tuple[int, int] | None:
    """The ends of a scale as it is written, None when it cannot be read.

    >>> bounds_of("0〜10"), bounds_of("1-5"), bounds_of("five points")
    ((0, 10), (1, 5), None)
    """
    found = re.fullmatch(r"(\d+)\s*[-–~]\s*(\d+)", unicodedata.normalize("NFKC", scale).strip().replace("〜", "~"))
    return (int(found[1]), int(found[2])) if found else None


def is_stale(year: str, on: date) -> bool:
    """Older than 24 months, counted from the end of the year or month it was measured in.

    >>> is_stale("2024", date(2026, 12, 31)), is_stale("2024", date(2027, 1, 1)), is_stale("2024-06", date(2026, 7, 1))
    (False, True, True)
    """
    measured, _, month = year.partition("-")
    ended = int(measured) * 12 + int(month or 12)
    return on.year * 12 + on.month - 1 >= ended + STALE_MONTHS

"""The window of a figure made of business events, what only the shop knows of it, and the record that it becomes.

A figure is a function of the tables of `reports.event_tables` and a `Window` and gives result records whose `n_valid`
is the denominator: customers (`unit` per_customer) or events. A share has its Wilson interval (S3); money, durations
and counts per customer have a bootstrap's (S7); a plain count has none. A ratio without a denominator has no score; a
count of nothing is 0. No I/O, no "today", no mutation of the tables.

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo
from typing import Literal

import numpy as np
import pandas as pd

from flows.days import local_date, midnight_ms
from reports import procedures
from reports.metrics import Counted, Form, Result, Span, record
from reports.procedures import Estimate, Floats
from reports.segments import DAY_MS

HOUR_MS = 3_600_000
MOST_PARTS = 20
"""Products, pages, messages and search terms that are listed; the rest is one more part."""


@dataclass(frozen=True, slots=True)
class Window:
    """[start_ms, end_ms), seen from `as_of_ms`: what is still open then may yet change."""

    start_ms: int
    end_ms: int
    as_of_ms: int
    tz: tzinfo

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ValueError(f"a window from {self.start_ms} to {self.end_ms} holds no time: its end must come later")

    @property
    def span(self) -> Span:
        """From the local day of its start to the day on which it is over."""
        first, last = local_date(self.start_ms, self.tz), local_date(self.end_ms - 1, self.tz)
        return Span(first.isoformat(), (last + timedelta(days=1)).isoformat())

    @property
    def days(self) -> float:
        """Its length."""
        return (self.end_ms - self.start_ms) / DAY_MS

    def months(self) -> list[Window]:
        """Its parts by local calendar month; the first and the last may be cut."""
        found = []
        at = local_date(self.start_ms, self.tz).replace(day=1)
        while (begin := midnight_ms(at, self.tz)) < self.end_ms:
            at = (at.replace(day=28) + timedelta(days=4)).replace(day=1)
            start, end = max(begin, self.start_ms), min(midnight_ms(at, self.tz), self.end_ms)
            found.append(replace(self, start_ms=start, end_ms=end))
        return found

    def of(self, frame: pd.DataFrame, column: str = "at_ms") -> pd.DataFrame:
        """The rows whose time lies in it."""
        return frame[(frame[column] >= self.start_ms) & (frame[column] < self.end_ms)]


@dataclass(frozen=True, slots=True)
class KpiSettings:
    """What only the shop knows: section `kpis` of koe.yaml. Money in yen, rates as fractions of 1."""

    reply_within_h: float = 24.0
    """By when a first answer is promised."""
    repeat_interval_days: float | None = None
    """The usual time between purchases while fewer than thirty gaps were seen."""
    gross_margin: float | None = None
    """Where purchases carry no cost."""
    acquisition_cost: float | None = None
    retention_cost: float | None = None
    """Per customer, over `years`."""
    years: float | None = None
    """How long a customer stays."""


def figure(
    window: Window,
    metric: str,
    variant: str,
    found: Estimate,
    n: int,
    *,
    form: Form,
    unit: Counted = "per_event",
    segment: str = "",
    counts: Mapping[str, int] | None = None,
    missing: int = 0,
    flags: tuple[str, ...] = (),
) -> Result:
    """A figure of the window as a result record."""
    return record(
        metric,
        variant,
        found,
        n,
        form=form,
        window=window.span,
        segment=segment,
        unit=unit,
        counts=counts,
        missing=missing,
        flags=flags,
    )


def share_figure(
    window: Window,
    metric: str,
    yes: int,
    n: int,
    *,
    unit: Counted = "per_event",
    variant: str = "share",
    segment: str = "",
    counts: Mapping[str, int] | None = None,
    flags: tuple[str, ...] = (),
) -> Result:
    """The share of `yes` among `n` (S3); both are in its counts."""
    more = {**({"yes": yes, "no": n - yes} if n else {}), **(counts or {})}
    found = procedures.share(yes, n)
    return figure(window, metric, variant, found, n, form="share", unit=unit, segment=segment, counts=more, flags=flags)


def count_figure(
    window: Window,
    metric: str,
    number: int,
    n: int,
    *,
    variant: str = "count",
    unit: Counted = "per_event",
    counts: Mapping[str, int] | None = None,
) -> Result:
    """A plain count, of `n` people or events that could have made it."""
    return figure(
        window,
        metric,
        variant,
        Estimate(float(number), None, None, "none"),
        n,
        form="count",
        unit=unit,
        counts=counts,
    )


Which = Literal["mean", "median", "p90"]
_STATISTICS: Mapping[Which, procedures.Statistic] = {
    "mean": procedures.means,
    "median": procedures.medians,
    "p90": procedures.p90s,
}


def sampled(values: Sequence[float] | Floats, statistic: Which, scale: float = 1.0) -> Estimate:
    """Mean, median or 90th percentile of numbers with the interval of S7. The numbers are put in order first: who came
    when must not move an interval."""
    return sampled_together((values, statistic), scale=scale)[0]


def sampled_together(*asked: tuple[Sequence[float] | Floats, Which], scale: float = 1.0) -> tuple[Estimate, ...]:
    """`sampled` of each, of equally many numbers: the resamples are drawn once for all."""
    ordered = [(np.sort(np.asarray(values, dtype=np.float64)), _STATISTICS[which]) for values, which in asked]
    return procedures.sampled_together(*ordered, scale=scale)

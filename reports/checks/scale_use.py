"""How scales are used in each channel and language, and whether channels agree.

Checks of the data, not results: nothing is corrected, left out or filled in. No "today".
Source: docs/metrics.md ("Whether the answers can be trusted").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import scipy

from reports.metrics import (
    CAUTION_BELOW,
    CHECK_ALPHA,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Key,
    Result,
    Span,
    Statistic,
    Stratum,
    Tally,
    estimate,
    hide_siblings,
    parse_value,
    record,
    statistics_of,
    tally,
)
from reports.procedures import Estimate
from storage.records import RollupCell

SATISFACTION = ("csat5", "csat10", "sat5")


@dataclass(frozen=True, slots=True)
class Shape:
    """How the scale was used by those who answered in one channel and language: shares of the middle and of both
    ends."""

    channel: str
    results: tuple[Result, ...]


Spoken = tuple[str, str]
"""Channel and language."""


def shapes(
    places: Mapping[Key, Mapping[Spoken, Tally]], specs: Mapping[str, InstrumentSpec], *, window: Span
) -> tuple[Shape, ...]:
    """Per question, wording, channel and language, every answer counted: `share_midpoint` (0–10: 5; 1–5: 3; 1–7: 4;
    none on a scale without a middle), `share_low_end`, `share_high_end` (S3).

    What could be had by subtraction from the other channels and languages of a question is suppressed with its sibling;
    where both occur, all are suppressed with it: other tables tell channels by themselves.
    """
    out: list[Shape] = []
    for (instrument, stratum), counted in sorted(places.items(), key=lambda pair: str(pair[0])):
        spec = specs[instrument]
        order = sorted(counted)
        columns = [
            hide_siblings([_part(spec, statistic, counted[place], stratum, place[1], window) for place in order])
            for statistic in _scale_use(spec)
        ]
        crossed = len({channel for channel, _ in order}) > 1 and len({lang for _, lang in order}) > 1
        if crossed and any(0 < counted[place].n < SUPPRESS_BELOW for place in order):
            columns = [
                tuple(replace(r, status="suppressed") if r.status in ("caution", "ok") else r for r in column)
                for column in columns
            ]
        out += [Shape(channel, row) for (channel, _), row in zip(order, zip(*columns, strict=True), strict=True)]
    return tuple(out)


def places_of(cells: Iterable[RollupCell], specs: Mapping[str, InstrumentSpec]) -> dict[Key, dict[Spoken, Tally]]:
    """The answers on a scale in the roll-up, by question, wording, channel and language."""
    values: dict[Key, dict[Spoken, Counter[object]]] = {}
    for cell in cells:
        spec = specs.get(cell.instrument)
        if spec is None or spec.kind != "scale" or cell.missing or parse_value(spec, cell.value).code is None:
            continue
        key = (spec.id, Stratum(cell.survey_kind, cell.touchpoint, cell.wording_id, cell.label_set))
        where = values.setdefault(key, {}).setdefault((cell.channel, cell.lang), Counter())
        where[cell.value] += cell.answers
    return {
        key: {place: tally(specs[key[0]], sorted(found.items(), key=str)) for place, found in places.items()}
        for key, places in values.items()
    }


def _scale_use(spec: InstrumentSpec) -> tuple[Statistic, ...]:
    middle, odd = divmod(spec.low + spec.high, 2)
    named = {"share_low_end": spec.low, "share_high_end": spec.high}
    if not odd:
        named = {"share_midpoint": middle, **named}
    return tuple(Statistic(name, "share", positive=(code,)) for name, code in named.items())


def _part(
    spec: InstrumentSpec, statistic: Statistic, counted: Tally, stratum: Stratum, lang: str, window: Span
) -> Result:
    return record(
        spec.id,
        statistic.variant,
        estimate(statistic, counted),
        counted.n,
        form="share",
        stratum=replace(stratum, lang=lang),
        window=window,
        unit="per_event",
    )


@dataclass(frozen=True, slots=True)
class Consistency:
    """Whether a question is answered alike in all channels with thirty answers or more."""

    spec: InstrumentSpec
    stratum: Stratum
    channels: Mapping[str, Result]
    """Channel → share of the two best answers, best first."""
    spread: float
    """Largest minus smallest share, in points."""
    p: float
    """χ² of "the same share in all"."""

    @property
    def differs(self) -> bool:
        """More than chance makes of it."""
        return self.p < CHECK_ALPHA

    def result(self) -> Result:
        """The record `channel_spread`."""
        n = sum(result.n_valid for result in self.channels.values())
        window = next(iter(self.channels.values())).window
        found = Estimate(self.spread, None, None, "none")
        flags = ("channels_differ",) if self.differs else ()
        return record(
            self.spec.id, "channel_spread", found, n, form="index", stratum=self.stratum, window=window, flags=flags
        )


def channel_consistency(
    spec: InstrumentSpec, counted: Mapping[str, Tally], *, stratum: Stratum, window: Span
) -> Consistency | None:
    """None with fewer than two channels of thirty answers; channels below that are left out, together with the next
    smallest where it would else give a handful of answers away.

    Args:
        counted: channel → answers, each customer once.
    """
    top = next(statistic for statistic in statistics_of(spec) if statistic.variant == "top2")
    enough = sorted((found.n, channel) for channel, found in counted.items() if found.n >= CAUTION_BELOW)
    rest = sum(found.n for found in counted.values() if found.n < CAUTION_BELOW)
    if 0 < rest < SUPPRESS_BELOW:
        enough = enough[1:]
    if len(enough) < 2:
        return None
    shares = {
        channel: record(
            spec.id, "top2", estimate(top, counted[channel]), n, form="share", stratum=stratum, window=window,
            segment="",
        )
        for n, channel in enough
    }  # fmt: skip
    best = sorted(shares, key=lambda channel: (-(shares[channel].score or 0.0), channel))
    table = [[good := counted[c].counting(top.positive), counted[c].n - good] for c in best]
    # with nobody or everybody content there is nothing that could differ
    all_alike = any(sum(column) == 0 for column in zip(*table, strict=True))
    p = 1.0 if all_alike else float(scipy.stats.chi2_contingency(table, correction=False).pvalue)
    spread = (shares[best[0]].score or 0.0) - (shares[best[-1]].score or 0.0)
    return Consistency(spec, stratum, {channel: shares[channel] for channel in best}, spread, p)

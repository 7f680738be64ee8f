"""What of the records of a file may stand side by side: a table and its JSON are handed on, and whoever reads them has
no file to look into.

Source: docs/metrics.md ("How many are enough").
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from reports.drivers.analysis import DriverAnalysis
from reports.metrics import SUPPRESS_BELOW, InstrumentSpec, Result, Stratum, sibling
from reports.segments import crossed_shown

_DERIVED = frozenset({"disconfirmation", "cx11", "cxi_net"})
"""Scores of a battery that are made of several of its indices."""


def told(results: Sequence[Result], specs: Mapping[str, InstrumentSpec]) -> list[Result]:
    """The records as they may leave the machine, in their order: suppressed ones without their numbers, and suppressed
    (flag `sibling`) what would tell of one to nine customers together with the rest.

    - Of a crossing the cells, where a row or a column holds one to nine, or where one to nine answered only one of its
      two questions. `quiet_risk` and `locked_in` are no cells: they stay.
    - `captive_share`, where one to nine answered its second question only.
    - A single item, where one to nine answered it and have no index, or have one without it.

    Args:
        results: all records of one window, those of one question in one stratum next to each other.
        specs: instrument → how it is scored.
    """
    sizes = _Sizes(results)
    out: list[Result] = []
    for (metric, stratum), found in groupby(results, key=lambda result: (result.metric, result.stratum)):
        part = list(found)
        spec = specs.get(metric)
        if metric in ("nps_nrs", "psy_beh"):
            apart = metric == "nps_nrs" and (
                sizes.few_beside("nps", stratum, part[0].n_valid) or sizes.few_beside("nrs", stratum, part[0].n_valid)
            )
            part = _crossing(part, apart=apart)
        elif metric == "repeat_intent":
            part = [sibling(result) if sizes.few_captive(result) else result for result in part]
        elif spec is not None and spec.item is not None and sizes.few_beside_index(spec, stratum, part[0].n_valid):
            part = [sibling(result) for result in part]
        out += [result.shown() for result in part]
    return out


def drivers_told(analyses: Sequence[DriverAnalysis], results: Iterable[Result]) -> tuple[DriverAnalysis, ...]:
    """The analyses, without performances where one to nine answered a driver and not its whole block: the score of the
    driver is of them, too.

    Args:
        analyses: all of a file.
        results: all scores of the file.
    """
    sizes = _Sizes(results)
    complete: Counter[tuple[str, str, str]] = Counter()
    for analysis in analyses:
        for name in analysis.told:
            complete[name, analysis.stratum.survey_kind, analysis.stratum.touchpoint] += analysis.n

    def few(analysis: DriverAnalysis) -> bool:
        at = analysis.stratum
        return any(
            sizes.few_beside(name, at, n)
            for name in analysis.told
            for n in (analysis.n, complete[name, at.survey_kind, at.touchpoint])
        )

    return tuple(analysis.without_performance() if few(analysis) else analysis for analysis in analyses)


def sizes_of(results: Iterable[Result], metric: str) -> dict[tuple[str, str], tuple[int, ...]]:
    """(survey kind, touchpoint) → how many answered an instrument there, stratum by stratum."""
    found: defaultdict[tuple[str, str], dict[Stratum, int]] = defaultdict(dict)
    for result in results:
        if result.metric == metric:
            found[(result.stratum.survey_kind, result.stratum.touchpoint)].setdefault(result.stratum, result.n_valid)
    return {place: tuple(sizes.values()) for place, sizes in found.items()}


def _crossing(found: Sequence[Result], *, apart: bool) -> list[Result]:
    shown = crossed_shown(found, apart=apart)
    return [
        replace(result, counts=hidden.counts) if result.variant in ("quiet_risk", "locked_in") else hidden
        for result, hidden in zip(found, shown, strict=True)
    ]


class _Sizes:
    """How many answered what: (metric, survey kind, touchpoint) → variant → stratum → n."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._leading: dict[tuple[str, str, str], str] = {}
        self._n: defaultdict[tuple[str, str, str], dict[str, dict[Stratum, int]]] = defaultdict(dict)
        for result in results:
            place = (result.metric, result.stratum.survey_kind, result.stratum.touchpoint)
            self._leading.setdefault(place, result.variant)
            self._n[place].setdefault(result.variant, {})[result.stratum] = result.n_valid

    def few_beside(self, metric: str, stratum: Stratum, n: int, *, variant: str = "") -> bool:
        """Whether `n` answers differ by one to nine from those to another question of the same place: from one
        stratum's in the same language, from all of these together, or from all there are."""
        place = (metric, stratum.survey_kind, stratum.touchpoint)
        found = self._n[place].get(variant or self._leading.get(place, ""), {})
        spoken = [size for other, size in found.items() if other.lang == stratum.lang]
        totals = {*spoken, sum(spoken), sum(found.values())}
        return any(0 < abs(total - n) < SUPPRESS_BELOW for total in totals if total)

    def few_captive(self, result: Result) -> bool:
        """Whether it is the share of the captive ones, and one to nine others answered what it is made of."""
        return result.variant == "captive_share" and self.few_beside(
            "repeat_intent_noswitch", result.stratum, result.n_valid
        )

    def few_beside_index(self, spec: InstrumentSpec, stratum: Stratum, n: int) -> bool:
        """Whether an item was answered by one to nine more, or fewer, than have an index that it is part of."""
        item = spec.item
        assert item is not None
        battery = (item.battery, stratum.survey_kind, stratum.touchpoint)
        variants = {item.index, item.pair, *_DERIVED} & self._n[battery].keys()
        return any(self.few_beside(item.battery, stratum, n, variant=variant) for variant in variants)

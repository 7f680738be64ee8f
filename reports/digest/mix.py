"""Where the answers came from: a score moves without anybody changing their mind when other channels or touchpoints
answer more than before.

Source: docs/metrics.md ("Mix of answers").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import scipy

from reports import procedures
from reports.digest.counting import Group, Source, Wording
from reports.digest.weeks import WeekRange
from reports.metrics import SUPPRESS_BELOW, InstrumentSpec, Stratum, Tally, estimate, statistics_of

MIX_ALPHA = 0.05
MIX_WORTH_SHOWING = 3.0

Place = tuple[str, str]
"""Channel and touchpoint."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Answers to the primary question by channel and touchpoint."""

    answers: tuple[tuple[Place, int], ...]
    """Of the window, each customer once per touchpoint."""
    moved: bool = False
    """Other shares than in the window before (χ², 5 %)."""
    standardised: float | None = None
    """S10: the score at the mix of the window before, where that differs by more than three points."""

    @property
    def several(self) -> bool:
        """More than one touchpoint: they must be named."""
        return len({touchpoint for (_, touchpoint), _ in self.answers}) > 1


def mix_of(
    source: Source, lead: tuple[Group, Wording], spec: InstrumentSpec, window: WeekRange, *, before: WeekRange | None
) -> Mix:
    """The mix of all touchpoints at which the question is asked in the words of the headline.

    The headline is the score of one touchpoint, since touchpoints are never pooled: it is standardised over what can
    shift inside it, its channels, while the move itself is looked for over channels and touchpoints.

    Args:
        lead: the stratum of the headline.
        before: what the window is set against; None where nothing is compared week by week.
    """
    now = _tallies(source, lead, window)
    answers = tuple((place, found.n) for place, found in now.items() if found.n)
    if before is None:
        return Mix(answers)
    then = _tallies(source, lead, before)
    moved = _moved(now, then)
    if not moved:
        return Mix(answers)
    at_old_mix = _standardised(lead[0].touchpoint, spec, now, then)
    group, wording = lead
    stratum = Stratum(group.survey_kind, group.touchpoint, *wording)
    here = [channel for channel, touchpoint in now if touchpoint == group.touchpoint]
    # with the score itself it makes two equations of the scores of two channels
    if not all(source.telling.may_tell(spec.id, stratum, window, part=("", channel)) for channel in here):
        return Mix(answers, moved=True)
    raw = estimate(statistics_of(spec)[0], source.counted(lead[0], window).of(lead[1])).score
    if at_old_mix is None or raw is None or abs(at_old_mix - raw) <= MIX_WORTH_SHOWING:
        return Mix(answers, moved=True)
    return Mix(answers, moved=True, standardised=at_old_mix)


def _tallies(source: Source, lead: tuple[Group, Wording], window: WeekRange) -> dict[Place, Tally]:
    group, wording = lead
    same = [g for g in source.groups(window) if (g.instrument, g.survey_kind) == (group.instrument, group.survey_kind)]
    return {
        (channel, one.touchpoint): found
        for one in same
        for channel, found in source.by_channel(one, wording, window).items()
    }


def _moved(now: Mapping[Place, Tally], then: Mapping[Place, Tally]) -> bool:
    places = sorted({place for found in (now, then) for place, counted in found.items() if counted.n})
    table = [[found[place].n if place in found else 0 for place in places] for found in (then, now)]
    if len(places) < 2 or any(sum(row) < SUPPRESS_BELOW for row in table):
        return False
    return float(scipy.stats.chi2_contingency(table, correction=False).pvalue) < MIX_ALPHA


def _standardised(
    touchpoint: str, spec: InstrumentSpec, now: Mapping[Place, Tally], then: Mapping[Place, Tally]
) -> float | None:
    mine = {channel: found for (channel, where), found in now.items() if where == touchpoint and found.n}
    old = {channel: found.n for (channel, where), found in then.items() if where == touchpoint and found.n}
    if not old:
        return None
    statistic = statistics_of(spec)[0]
    strata = {channel: (estimate(statistic, found).score or 0.0, found.n) for channel, found in mine.items()}
    return procedures.standardise(strata, {channel: n / sum(old.values()) for channel, n in old.items()})

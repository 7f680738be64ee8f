"""The checks of the answers beside the scores: they part the answers of four weeks in ways in which no score is told,
and what one of them says, less a score, is what a handful said.

Source: docs/decisions/0019-digests-side-by-side.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from reports.checks.careless import Without
from reports.checks.nonresponse import Timing
from reports.checks.quality import Quality, QualityReading, check_quality, place_of, read_quality
from reports.checks.scale_use import SATISFACTION, Shape, Spoken
from reports.digest.counting import Group, Source
from reports.digest.telling import Telling
from reports.digest.weeks import WeekRange
from reports.disclosure import Place
from reports.event_tables import EventTables
from reports.metrics import SUPPRESS_BELOW, InstrumentSpec, Stratum, Tally, measure, parse_value, sibling
from storage.records import DelayCount
from storage.store import Tx


def read_checks(
    tx: Tx, source: Source, window: WeekRange, now_ms: int, tz: ZoneInfo, specs: Mapping[str, InstrumentSpec]
) -> Callable[[EventTables], Quality]:
    """What makes the checks of the answers out of what happened; everything else is read."""
    scored = []
    by_channel: list[tuple[InstrumentSpec, Stratum, Mapping[str, Tally]]] = []
    for group in source.groups(window):
        spec = specs[group.instrument]
        for wording, counted in source.counted(group, window).tallies.items():
            stratum = Stratum(group.survey_kind, group.touchpoint, *wording)
            found = measure(spec, counted, stratum=stratum, window=window.span())
            scored.append((source.guarded(found, group, wording, window)[0].shown(), counted))
            if spec.id in SATISFACTION:
                by_channel.append((spec, stratum, source.by_channel(group, wording, window)))
    read = read_quality(tx, *window.instants(tz), specs=specs, window=window.span())
    asked = source.asked(window)
    beside = _Beside(source, read, window, specs)

    def checked(tables: EventTables) -> Quality:
        found = check_quality(
            read, tables, now_ms=now_ms, specs=specs, scored=scored, by_channel=by_channel, asked=asked
        )
        # every score that stands beside them is counted already
        return replace(
            found,
            timing=tuple(map(beside.timing, found.timing)),
            careless=replace(found.careless, without=tuple(filter(beside.may_tell_without, found.careless.without))),
            shapes=beside.shapes(found.shapes),
            consistency=tuple(
                one for one in found.consistency if beside.may_tell_channels(one.spec.id, one.stratum, one.channels)
            ),
        )

    return checked


class _Beside:
    """What of the checks of a window may stand beside its scores, and beside what was told before."""

    def __init__(
        self, source: Source, read: QualityReading, window: WeekRange, specs: Mapping[str, InstrumentSpec]
    ) -> None:
        self._source = source
        self._read = read
        self._window = window
        self._specs = specs

    @property
    def _telling(self) -> Telling:
        return self._source.telling

    def timing(self, timing: Timing) -> Timing:
        """Both sides suppressed (flag `sibling`) where the score of everybody may not be told, or would give away those
        whose invitation is not known; or where the two may not be told beside it."""
        at = timing.early.stratum
        group, wording = Group(timing.spec.id, at.survey_kind, at.touchpoint), (at.wording_id, at.label_set)
        both = (timing.early, timing.late)
        rest = self._source.counted(group, self._window).of(wording).n - sum(result.n_valid for result in both)
        if self._source.may_tell(group, wording, self._window) and not 0 < rest < SUPPRESS_BELOW:
            sides = [self._sides(timing, early=early) for early in (True, False)]
            # where all came early, or late, they are everybody
            if not all(sides) or self._telling.may_tell_split(sides, self._window):
                return timing
        early, late = (sibling(result).shown() for result in both)
        return replace(timing, early=early, late=late, difference=None)

    def _sides(self, timing: Timing, *, early: bool) -> Counter[Place]:
        at = timing.early.stratum

        def is_mine(counted: DelayCount) -> bool:
            asked = (counted.survey_kind, counted.touchpoint, counted.wording_id, counted.label_set)
            return counted.early == early and asked == (at.survey_kind, at.touchpoint, at.wording_id, at.label_set)

        found: Counter[Place] = Counter()
        for counted in filter(is_mine, self._read.delays):
            found[place_of(counted, timing.spec.id)] += counted.customers
        return found

    def may_tell_without(self, without: Without) -> bool:
        """Whether a score without careless answers may be told: of an index where that of its item may be to which most
        were careless."""
        result = without.result
        if result.metric in self._specs:
            places = self._read.careless_places[result.metric, replace(result.stratum, lang="")]
            return self._telling.may_tell_split([places], self._window)
        if self._source.guarded_index(result, self._window).status == "suppressed":
            return False
        here = (result.stratum.survey_kind, result.stratum.touchpoint)
        items = [
            places
            for (name, at), places in self._read.careless_places.items()
            if (item := self._specs[name].item) is not None
            and item.battery == result.metric
            and (at.survey_kind, at.touchpoint) == here
        ]
        most = max(items, key=lambda places: sum(places.values()))
        # an index is made of all wordings of its items
        pooled = {place._replace(wording_id="", label_set=""): n for place, n in most.items()}
        return self._telling.may_tell_split([pooled], self._window)

    def shapes(self, shapes: Iterable[Shape]) -> tuple[Shape, ...]:
        """How scales were used, suppressed (flag `sibling`) where several channels or languages are told apart and may
        not be."""
        by_question: dict[tuple[str, Stratum], list[Shape]] = {}
        for shape in shapes:
            first = shape.results[0]
            by_question.setdefault((first.metric, replace(first.stratum, lang="")), []).append(shape)
        return tuple(
            shape if may_tell else replace(shape, results=tuple(sibling(result).shown() for result in shape.results))
            for (instrument, stratum), found in by_question.items()
            for may_tell in (self._may_tell_shapes(instrument, stratum, found),)
            for shape in found
        )

    def _may_tell_shapes(self, instrument: str, stratum: Stratum, found: list[Shape]) -> bool:
        channels = {shape.channel for shape in found}
        if len(found) > len(channels):
            return self._telling.may_tell_split(list(self._spoken(instrument, stratum).values()), self._window)
        return self.may_tell_channels(instrument, stratum, channels if len(channels) > 1 else {""})

    def _spoken(self, instrument: str, stratum: Stratum) -> dict[Spoken, Counter[Place]]:
        found: dict[Spoken, Counter[Place]] = {}
        spec = self._specs[instrument]
        for cell in self._read.cells:
            asked = Stratum(cell.survey_kind, cell.touchpoint, cell.wording_id, cell.label_set)
            if (cell.instrument, asked) != (instrument, stratum) or cell.missing or not cell.customers:
                continue
            if parse_value(spec, cell.value).kind == "valid":
                spoken = found.setdefault((cell.channel, cell.lang), Counter())
                spoken[place_of(cell, instrument)] += cell.customers
        return found

    def may_tell_channels(self, instrument: str, stratum: Stratum, channels: Iterable[str]) -> bool:
        """Whether the answers of each channel may be told beside everybody's, in this digest and those before."""
        return all(
            self._telling.may_tell(instrument, stratum, self._window, part=("", channel)) for channel in channels
        )

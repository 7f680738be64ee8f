"""Counts of answers in windows of whole weeks, from the weekly roll-up where it is exact and from rows where not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from flows.flow import WAVE_MS
from reports.answers.file import Row as Given
from reports.columns import Codes
from reports.digest.shop import DigestRule
from reports.digest.telling import Telling
from reports.digest.weeks import WeekRange
from reports.look_back import AnswerWeeks, Cell, PerCell
from reports.metrics import (
    INTERVAL_BOUND,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Stratum,
    Tally,
    is_off_interval,
    parse_value,
    sibling,
    tally,
)
from reports.procedures import Ints
from reports.respondents import Asked, Respondents
from storage.records import Answer, RollupCell
from storage.store import Tx

OVERLAP_ABOVE = 0.10

Wording = tuple[str, str]
"""Wording id and label set: answers to two of them are never put together."""


class Group(NamedTuple):
    """The unit rule keeps one answer per customer within these three (docs/metrics.md, "Which answers are put
    together")."""

    instrument: str
    survey_kind: str
    touchpoint: str


@dataclass(frozen=True, slots=True)
class _Latest:
    """A customer's latest valid answer in a window."""

    customer: str
    wording: Wording
    inside: bool
    """Given where the digest looks: in its segment, on its channel."""
    value: str
    off_interval: bool
    """Given too early or too late to be read; False for instruments whose time does not matter."""


@dataclass(frozen=True, slots=True)
class Counted:
    tallies: Mapping[Wording, Tally]
    langs: Mapping[Wording, tuple[str, ...]]
    off_interval: Mapping[Wording, int]
    """Answers left out of the tallies because they were given too early or too late to be read."""
    outside: Mapping[Wording, int] = field(default_factory=dict)
    """Answers to the same question in the same words that a narrowed digest leaves to others."""

    def of(self, wording: Wording) -> Tally:
        return self.tallies.get(wording, Tally())

    def gives_away(self, wording: Wording) -> bool:
        """Whether these answers, taken from those of everybody, would leave a cell of fewer than ten."""
        return 0 < self.outside.get(wording, 0) < SUPPRESS_BELOW


class Standing:
    """Which answers stand at the end of a window, one for each customer. Each week is read once, as numbers, however
    many windows it lies in."""

    def __init__(self, answers: AnswerWeeks) -> None:
        self._answers = answers
        self._values: dict[str, int] = {}
        self._groups: dict[Group, int] = {}
        self._value_of = PerCell(answers, lambda cell: self._values.setdefault(cell.value, len(self._values)))
        self._group_of = PerCell(answers, lambda cell: self._groups.setdefault(_group(cell), len(self._groups)))
        self._weeks: dict[date, dict[int, tuple[Codes, Ints]]] = {}

    def latest(self, group: Group, window: WeekRange) -> dict[str, int]:
        """Value → number of customers whose latest answer in the window has it, whether it is valid or not: adding up
        weekly roll-ups would count a customer twice. Without a customer every answer counts."""
        weeks = [self._week(window.first + timedelta(weeks=number)) for number in range(window.weeks)]
        asked = self._groups.get(group, -1)
        found = [week[asked] for week in weeks if asked in week]
        if not found:
            return {}
        who, what = (np.concatenate([week[side] for week in found]) for side in (0, 1))
        last = np.full(int(who.max()) + 1, -1, dtype=np.int64)
        last[who] = np.arange(who.size)  # of several answers the last one stays
        named = last[1:]
        counted = np.concatenate([what[named[named >= 0]], what[who == 0]])
        counts = np.bincount(counted, minlength=len(self._values)).tolist()
        return {value: counts[code] for value, code in sorted(self._values.items()) if counts[code]}

    def _week(self, monday: date) -> dict[int, tuple[Codes, Ints]]:
        if monday not in self._weeks:
            week: dict[int, tuple[Codes, Ints]] = {}
            for part in self._answers.between(*WeekRange(monday, 1).instants(self._answers.tz)):
                groups, values = self._group_of(part.cell), self._value_of(part.cell)
                for group in np.unique(groups).tolist():
                    mine = groups == group
                    week[group] = (part.who[mine], values[mine])
            self._weeks[monday] = week
        return self._weeks[monday]


def _group(cell: Cell) -> Group:
    return Group(cell.instrument, cell.survey_kind, cell.touchpoint)


class Source:
    """Tallies of any window of the weeks that were read, from the roll-up where it is exact and from rows where
    not."""

    def __init__(
        self,
        tx: Tx,
        specs: Mapping[str, InstrumentSpec],
        rule: DigestRule,
        weeks: WeekRange,
        tz: ZoneInfo,
        *,
        repeat_interval_ms: int | None,
        digests: Iterable[DigestRule] = (),
    ) -> None:
        self._tx = tx
        self._repeat_interval_ms = repeat_interval_ms
        self._specs = specs
        self._rule = rule
        self._tz = tz
        self._narrowed = bool(rule.segment or rule.channel)
        self.answers = AnswerWeeks(tx, tz)
        self._standing = Standing(self.answers)
        self.telling = Telling(tx, specs, rule, weeks.end, digests=digests)
        found = tx.rollup(weeks.first.isoformat(), weeks.last(1).first.isoformat())
        known = [cell for cell in found if cell.instrument in specs and rule.touchpoint in ("", cell.touchpoint)]
        self.cells = [cell for cell in known if self._inside(cell)]
        self._others = [cell for cell in known if not self._inside(cell)]
        self._kinds: dict[tuple[str, str], str] = {}
        self._seen: dict[tuple[Group, WeekRange], Counted] = {}

    def _inside(self, given: RollupCell | Answer) -> bool:
        rule = self._rule
        return rule.segment in ("", given.segment) and rule.channel in ("", given.channel)

    def _valid(self, cell: RollupCell) -> bool:
        if cell.missing:
            return False
        key = (cell.instrument, cell.value)
        if key not in self._kinds:
            self._kinds[key] = parse_value(self._specs[cell.instrument], cell.value).kind
        return self._kinds[key] == "valid"

    def groups(self, window: WeekRange) -> list[Group]:
        """Groups with a valid answer in the window; those of items are told by `asked`."""
        return sorted(
            {
                Group(cell.instrument, cell.survey_kind, cell.touchpoint)
                for cell in self.cells
                if window.has(cell.week) and self._specs[cell.instrument].item is None and self._valid(cell)
            },
            key=lambda group: (group.survey_kind, group.touchpoint, group.instrument),
        )

    def _cells(self, group: Group, window: WeekRange, cells: Sequence[RollupCell] | None = None) -> list[RollupCell]:
        return [
            cell
            for cell in (self.cells if cells is None else cells)
            if window.has(cell.week)
            and (cell.instrument, cell.survey_kind, cell.touchpoint)
            == (group.instrument, group.survey_kind, group.touchpoint)
        ]

    def counted(self, group: Group, window: WeekRange) -> Counted:
        """Tallies per wording: each customer's latest valid answer in the window."""
        key = (group, window)
        if key not in self._seen:
            self._seen[key] = self._count(group, window)
        return self._seen[key]

    def _count(self, group: Group, window: WeekRange) -> Counted:
        cells = self._cells(group, window)
        wordings = sorted({(cell.wording_id, cell.label_set) for cell in cells if self._valid(cell)})
        values: dict[Wording, list[tuple[object, int]]] = {wording: [] for wording in wordings}
        off: Counter[Wording] = Counter()
        outside: Counter[Wording] = Counter()
        if self._bound(group):
            for row in self._latest_rows(group, window) if wordings else ():
                if not row.inside:
                    outside[row.wording] += not row.off_interval
                elif row.wording in values:
                    off[row.wording] += row.off_interval
                    if not row.off_interval:
                        values[row.wording].append((row.value, 1))
        elif window.weeks == 1:
            for cell in self._cells(group, window, self._others):
                outside[(cell.wording_id, cell.label_set)] += cell.customers if self._valid(cell) else 0
            for cell in cells:
                if not cell.missing and (cell.wording_id, cell.label_set) in values:
                    count = cell.customers if self._valid(cell) else cell.answers
                    values[(cell.wording_id, cell.label_set)].append((cell.value, count))
        elif len(wordings) == 1 and not self._narrowed:
            values[wordings[0]] = list(self._standing.latest(group, window).items())
        elif wordings:
            for row in self._latest_rows(group, window):
                if not row.inside:
                    outside[row.wording] += 1
                elif row.wording in values:
                    values[row.wording].append((row.value, 1))
        out: dict[Wording, Tally] = {}
        langs: dict[Wording, tuple[str, ...]] = {}
        for wording in wordings:
            mine = [cell for cell in cells if (cell.wording_id, cell.label_set) == wording]
            missing = sum(cell.answers for cell in mine if cell.missing)
            valid = sum(cell.answers for cell in mine if self._valid(cell))
            found = tally(self._specs[group.instrument], values[wording], missing=missing)
            out[wording] = replace(found, superseded=max(0, valid - found.n - off[wording]))
            langs[wording] = tuple(sorted({cell.lang for cell in mine if self._valid(cell)}))
        return Counted(out, langs, off, outside)

    def _bound(self, group: Group) -> bool:
        """Whether answers count only near the usual time of the next purchase."""
        return group.instrument in INTERVAL_BOUND and self._repeat_interval_ms is not None

    def _latest_rows(self, group: Group, window: WeekRange) -> list[_Latest]:
        """Each customer's latest valid answer."""
        start_ms, end_ms = window.instants(self._tz)
        spec = self._specs[group.instrument]
        interval_ms = self._repeat_interval_ms if self._bound(group) else None
        bought = {} if interval_ms is None else self._tx.bought_before(start_ms, end_ms, instrument=group.instrument)
        latest: dict[str, tuple[tuple[int, str], _Latest]] = {}
        for answer in self._tx.answers_between(start_ms, end_ms, instrument=group.instrument):
            if (answer.survey_kind, answer.touchpoint) != (group.survey_kind, group.touchpoint):
                continue
            if answer.replaced_ms is not None or answer.missing or parse_value(spec, answer.value).kind != "valid":
                continue
            at = (answer.answered_ms, answer.id)
            # without a customer every answer counts as one, as in the roll-up
            who = answer.customer_id or f"answer:{answer.id}"
            if who not in latest or latest[who][0] < at:
                off = interval_ms is not None and is_off_interval(at[0], bought.get(answer.id), interval_ms)
                wording = (answer.wording_id, answer.label_set)
                latest[who] = (at, _Latest(who, wording, self._inside(answer), answer.value, off))
        return [row for _, row in latest.values()]

    def asked(self, window: WeekRange) -> list[Asked]:
        """Respondents to batteries whose latest item was answered in the window. The items of a wave that began before
        it are read, too."""
        start_ms, end_ms = window.instants(self._tz)
        found = Respondents(self._specs, by_language=False, since_ms=start_ms)
        items = sorted({cell.instrument for cell in self.cells if self._specs[cell.instrument].item is not None})
        for answer in self._tx.answers_between(start_ms - WAVE_MS, end_ms, instruments=items) if items else ():
            if self._rule.touchpoint not in ("", answer.touchpoint) or not self._inside(answer):
                continue
            given = Given(
                line=0,
                instrument=answer.instrument,
                value=answer.value,
                answered_at="",
                customer=answer.customer_id,
                survey_kind=answer.survey_kind,
                touchpoint=answer.touchpoint,
                channel=answer.channel,
                segment=answer.segment,
                session=answer.session_id,
                lang=answer.lang,
                wording_id=answer.wording_id,
                label_set=answer.label_set,
                wave=answer.wave_id,
            )
            parsed = parse_value(self._specs[answer.instrument], "" if answer.missing else answer.value)
            found.take(given, answer.instrument, parsed, answer.answered_ms)
        return list(found.groups(dated_from=0))

    def guarded(
        self, results: tuple[Result, ...], group: Group, wording: Wording, window: WeekRange
    ) -> tuple[Result, ...]:
        """The results of a window, suppressed (flag `sibling`) where a small cell could be had from them: by taking
        them from those of everybody, or with what digests told before."""
        if self.may_tell(group, wording, window):
            return results
        return tuple(sibling(result) for result in results)

    def may_tell(self, group: Group, wording: Wording, window: WeekRange) -> bool:
        """Whether no small cell could be had from the answers of a window as one number."""
        stratum = Stratum(group.survey_kind, group.touchpoint, *wording)
        told = self.telling.may_tell(group.instrument, stratum, window)
        return told and not self.counted(group, window).gives_away(wording)

    def guarded_index(self, result: Result, window: WeekRange) -> Result:
        """An index of a battery, suppressed (flag `sibling`) where its items may not be told."""
        items = {
            name for name, spec in self._specs.items() if spec.item is not None and spec.item.battery == result.metric
        }
        return result if self.telling.may_tell_items(items, result.stratum, window) else sibling(result)

    def overlap(self, group: Group, earlier: WeekRange, later: WeekRange) -> bool:
        """Whether more than a tenth of the later window's customers also answered in the earlier one."""
        n_later = sum(found.n for found in self.counted(group, later).tallies.values())
        n_earlier = sum(found.n for found in self.counted(group, earlier).tallies.values())
        if not n_later or not n_earlier:
            return False
        if self._narrowed or self._bound(group):
            before, after = (
                {row.customer for row in self._latest_rows(group, window) if row.inside and not row.off_interval}
                for window in (earlier, later)
            )
            both = len(before & after)
        else:
            union = self._standing.latest(group, earlier.joined(later))
            both = n_earlier + n_later - sum(union.values())
        return both > OVERLAP_ABOVE * n_later

    def by_channel(self, group: Group, wording: Wording, window: WeekRange) -> dict[str, Tally]:
        """Tallies per channel; exact for one week, an addition of weeks otherwise."""
        values: dict[str, list[tuple[object, int]]] = {}
        for cell in self._cells(group, window):
            if (cell.wording_id, cell.label_set) == wording and self._valid(cell):
                values.setdefault(cell.channel, []).append((cell.value, cell.customers))
        spec = self._specs[group.instrument]
        return {channel: tally(spec, values[channel]) for channel in sorted(values)}

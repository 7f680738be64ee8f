"""The rows of a file, counted: per question, stratum and channel, and each customer's latest answer.

The unit of analysis is `latest_per_customer` as in `reports.frames`, computed without a frame: what stays in memory
is counts, and one entry per customer and question. From the counts come the figures that need to know whose answer
was whose: loyalty, the share of those who would leave, recommending × staying, the checks of the answers.

Source: docs/answers.md, docs/metrics.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta, tzinfo

from flows.days import local_date, midnight_ms
from reports.answers.file import Row, instant_ms
from reports.answers.quality import Suspects
from reports.checks.careless import Careless, acquiescence, indices_without, score_without
from reports.checks.quality import Quality
from reports.checks.scale_use import SATISFACTION, Shape, channel_consistency, shapes
from reports.drivers.analysis import DriverAnalysis, analyse, is_touchpoint, is_wanted
from reports.event_tables import EventTables, behaviours
from reports.kpi.report import (
    SAID,
)
from reports.linkage import Said
from reports.metrics import (
    INTERVAL_BOUND,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Key,
    Result,
    Span,
    Stratum,
    Tally,
    Unit,
    captive_share,
    is_off_interval,
    parse_value,
    record,
    sibling,
)
from reports.respondents import Respondents
from reports.segments import (
    PSY_INSTRUMENTS,
    Given,
    attitudes,
    close_pairs,
    nps_nrs_results,
    psy_results,
    segment_results,
    segments,
)
from reports.sittings import Sittings
from reports.values import Parsed

NO_TIME = -(2**62)
"""Stands for the time of an answer that has none: before every other."""
MOST_STRATA = 10_000
"""A file with more has an id in a column of kinds; its scores would say nothing."""
_REMEMBERED = 100_000
"""Raw values whose meaning is kept; a file with more distinct ones is read, only slower."""
_LONGEST_REMEMBERED = 60


class TooManyStrata(Exception):
    """More than `MOST_STRATA` combinations of what must stay apart."""


class Cell:
    """The running counts of one instrument in one stratum and channel."""

    __slots__ = (
        "anonymous",
        "careless",
        "codes",
        "customers",
        "given",
        "invalid",
        "invalid_codes",
        "missing",
        "sets",
        "superseded",
    )

    def __init__(self) -> None:
        self.codes: Counter[int] = Counter()
        self.sets: Counter[tuple[str, ...]] = Counter()
        self.given: Counter[int] = Counter()
        """Codes of all valid answers, also those that a later one replaced."""
        self.careless: Counter[int | tuple[str, ...]] = Counter()
        """Of the answers that count, those in whose sitting nobody seems to have read the questions."""
        self.customers: dict[str, dict[int, int]] = {}
        self.anonymous: list[int] = []
        self.missing = self.invalid = self.invalid_codes = self.superseded = 0

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Cell:
        """The cells of all channels as one."""
        first, *others = cells
        if not others:
            return first
        whole = cls()
        for cell in (first, *others):
            whole.absorb(cell)
        return whole

    def add(self, answer: int | tuple[str, ...], count: int) -> None:
        if isinstance(answer, tuple):
            self.sets[answer] += count
        else:
            self.codes[answer] += count

    def remember(self, customer: str, code: int) -> None:
        """Whose answer it was, where all answers count."""
        if customer:
            counts = self.customers.setdefault(customer, {})
            counts[code] = counts.get(code, 0) + 1
        else:
            self.anonymous.append(code)

    def by_customer(self) -> dict[str, dict[int, int]]:
        """A nameless answer is a customer of its own."""
        return self.customers | {f"\0{row:012}": {code: 1} for row, code in enumerate(self.anonymous)}

    def absorb(self, other: Cell) -> None:
        """Take what another channel's cell of the same stratum has counted."""
        self.codes.update(other.codes)
        self.sets.update(other.sets)
        self.careless.update(other.careless)
        for customer, counts in other.customers.items():
            mine = self.customers.setdefault(customer, {})
            for code, count in counts.items():
                mine[code] = mine.get(code, 0) + count
        self.anonymous += other.anonymous
        self.missing += other.missing
        self.invalid += other.invalid
        self.invalid_codes += other.invalid_codes
        self.superseded += other.superseded

    def careless_tally(self) -> Tally:
        return Tally(
            {answer: n for answer, n in self.careless.items() if isinstance(answer, int)},
            {answer: n for answer, n in self.careless.items() if isinstance(answer, tuple)},
        )

    def tally(self) -> Tally:
        return Tally(
            {code: self.codes[code] for code in sorted(self.codes) if self.codes[code]},
            {chosen: self.sets[chosen] for chosen in sorted(self.sets) if self.sets[chosen]},
            self.missing,
            self.invalid,
            self.invalid_codes,
            self.superseded,
        )


_Group = tuple[str, str, str]
"""instrument, survey_kind, touchpoint: within it each customer has one latest answer."""
_Latest = tuple[int, Cell, int | tuple[str, ...]]


class FileCounts:
    """Rows in, counts out; and what is made of the counts because it needs to know whose answer was whose.

    The first look takes every row, the second (`looks_again`, `take_again`) what can only be told when all are known.

    Args:
        specs: instrument → how it is scored.
        tz: of times without an offset, and of the days that bound the window.
        blocks: block → touchpoints that are asked about together.
        since_ms: an earlier instant from which loyalty is looked at as well.
        meets_behaviour: whether there are events to hold answers against (`said`).
    """

    def __init__(
        self,
        specs: Mapping[str, InstrumentSpec],
        tz: tzinfo,
        unit: Unit,
        *,
        blocks: Mapping[str, tuple[str, ...]],
        since_ms: int | None = None,
        meets_behaviour: bool = False,
    ) -> None:
        self._specs = specs
        self._tz = tz
        self._unit = unit
        self._since_ms = since_ms
        self._respondents = Respondents(specs)
        self._blocks = blocks
        self._sittings = Sittings(is_touchpoint, is_wanted)
        self.said: list[Said] | None = [] if meets_behaviour else None
        """Named and dated answers that meet behaviour; None where there is none to meet."""
        self._earlier: dict[_Group, dict[str, _Latest]] = {}
        """As `_latest`, of the answers before `since_ms` that loyalty is made of."""
        self._parsed: dict[tuple[str, str], Parsed] = {}
        self.cells: dict[Key, dict[str, Cell]] = {}
        """By channel: answers are put together over channels, and compared between them."""
        self._suspects = Suspects(specs)
        self._careless: set[str] = set()
        """Respondents of batteries, by the names they have in `_respondents`."""
        self._careless_seen: set[tuple[int, str]] = set()
        self._by_key: dict[tuple[str, ...], Cell] = {}
        self._latest: dict[_Group, dict[str, _Latest]] = {}
        self._first_ms: int | None = None
        self._last_ms: int | None = None
        self.any_customer = False

    def instant(self, row: Row) -> int | None:
        """When it was answered, None when nothing tells; the window grows to hold it."""
        at_ms = instant_ms(row.answered_at, self._tz) if row.answered_at else None
        if at_ms is not None:
            if self._first_ms is None or at_ms < self._first_ms:
                self._first_ms = at_ms
            if self._last_ms is None or at_ms > self._last_ms:
                self._last_ms = at_ms
        return at_ms

    def take(self, row: Row, instrument: str) -> bool:
        """False when the row's time could not be read."""
        at_ms = self.instant(row)
        placed_ms = NO_TIME if at_ms is None else at_ms
        key = _key(row, instrument)
        cell = self._by_key.get(key)
        if cell is None:
            if len(self._by_key) >= MOST_STRATA:
                raise TooManyStrata
            cell = self._by_key[key] = Cell()
            self.cells.setdefault((instrument, Stratum(*key[1:6])), {})[row.channel] = cell
        parsed = self._parse(instrument, row.value)
        if row.customer:
            self.any_customer = True
        cell.invalid_codes += parsed.invalid_codes
        self._respondents.take(row, instrument, parsed, placed_ms)
        self._sittings.begin(row, instrument, parsed, placed_ms)
        self._suspects.take(row, instrument, parsed.code if parsed.kind == "valid" else None, at_ms)
        if parsed.kind == "missing":
            cell.missing += 1
        elif parsed.kind == "invalid":
            cell.invalid += 1
        else:
            answer = parsed.codes if parsed.code is None else parsed.code
            if isinstance(answer, int):
                cell.given[answer] += 1
            if self.said is not None and at_ms is not None and row.customer and instrument in SAID:
                self.said.append(Said(row.customer, instrument, answer, at_ms, row.survey_kind, row.touchpoint))
            if self._unit == "per_event":
                cell.add(answer, 1)
                if isinstance(answer, int):
                    cell.remember(row.customer, answer)
            elif not row.customer or self._is_latest(row, instrument, (placed_ms, cell, answer)):
                cell.add(answer, 1)
            if self._since_ms is not None and at_ms is not None and at_ms < self._since_ms and row.customer:
                self._remember(row, instrument, (at_ms, cell, answer))
        return at_ms is not None or not row.answered_at

    def _is_latest(self, row: Row, instrument: str, latest: _Latest) -> bool:
        """Of two answers at one time, or both without, the later row is the later answer."""
        at_ms, cell, _ = latest
        customers = self._latest.setdefault((instrument, row.survey_kind, row.touchpoint), {})
        before = customers.get(row.customer)
        if before is not None and before[0] > at_ms:
            cell.superseded += 1
            return False
        if before is not None:
            before[1].add(before[2], -1)
            before[1].superseded += 1
        customers[row.customer] = latest
        return True

    def _remember(self, row: Row, instrument: str, latest: _Latest) -> None:
        if instrument in PSY_INSTRUMENTS:
            customers = self._earlier.setdefault((instrument, row.survey_kind, row.touchpoint), {})
            before = customers.get(row.customer)
            if before is None or before[0] <= latest[0]:
                customers[row.customer] = latest

    def _parse(self, instrument: str, value: str) -> Parsed:
        found = self._parsed.get((instrument, value))
        if found is None:
            found = parse_value(self._specs[instrument], value)
            if len(self._parsed) < _REMEMBERED and len(value) <= _LONGEST_REMEMBERED:
                self._parsed[(instrument, value)] = found
        return found

    def window(self) -> Span:
        """From the day of the first answer to the day after the last."""
        if self._first_ms is None or self._last_ms is None:
            return Span()
        return Span(self._day(self._first_ms, 0), self._day(self._last_ms, 1))

    def _day(self, at_ms: int, later: int) -> str:
        return str(local_date(at_ms, self._tz) + timedelta(days=later))

    def leave_out_off_interval(self, tables: EventTables, interval_ms: int) -> Counter[int]:
        """Takes repeat intentions that were given too early or too late after the customer's last purchase out of the
        counts; id of a cell → how many of its answers that were."""
        bought: dict[str, list[int]] = {}
        for customer, at_ms in zip(tables.purchases["customer"], tables.purchases["at_ms"], strict=True):
            bought.setdefault(customer, []).append(int(at_ms))
        for times in bought.values():
            times.sort()
        out: Counter[int] = Counter()
        for (instrument, _, _), customers in self._latest.items():
            if instrument not in INTERVAL_BOUND:
                continue
            for customer, (at_ms, cell, answer) in customers.items():
                times = bought.get(customer, [])
                before = bisect_right(times, at_ms)
                if is_off_interval(at_ms, times[before - 1] if before else None, interval_ms):
                    cell.add(answer, -1)
                    out[id(cell)] += 1
        return out

    def captive(self, window: Span) -> list[Result]:
        """repeat_intent with the share of those who would leave if that cost nothing, where both were asked."""
        out: list[Result] = []
        for (instrument, kind, touchpoint), willing in self._latest.items():
            free = self._latest.get(("repeat_intent_noswitch", kind, touchpoint))
            if instrument != "repeat_intent" or not free:
                continue
            strata = self._strata(instrument)
            pairs: dict[Stratum, Counter[tuple[int, int]]] = {}
            for customer, (_, cell, code) in willing.items():
                other = free.get(customer)
                if other is not None and isinstance(code, int) and isinstance(other[2], int):
                    pairs.setdefault(strata[id(cell)], Counter())[(code, other[2])] += 1
            out.extend(self._captive(stratum, counted, window) for stratum, counted in pairs.items())
        return out

    def _strata(self, instrument: str) -> dict[int, Stratum]:
        """id of a cell → its stratum."""
        mine = (item for item in self.cells.items() if item[0][0] == instrument)
        return {id(cell): stratum for (_, stratum), cells in mine for cell in cells.values()}

    def batteries(self, window: Span) -> list[Result]:
        """The indices of several questions."""
        return self._respondents.results(window, dated_from=NO_TIME + 1)

    def looks_again(self) -> bool:
        """After the first look: whether anything must be told in a second one."""
        return self._suspects.judge() or bool(self._sittings)

    def take_again(self, row: Row, instrument: str) -> None:
        """One row of a known instrument in the second look: what was answered beside touchpoints, and without
        reading."""
        suspicious = row in self._suspects
        if not suspicious and not is_wanted(instrument):
            return
        at_ms = self.instant(row)
        placed_ms = NO_TIME if at_ms is None else at_ms
        parsed = self._parse(instrument, row.value)
        if is_wanted(instrument):
            self._sittings.join(row, instrument, parsed, placed_ms)
        if suspicious and parsed.kind == "valid":
            self._take_careless(row, instrument, parsed, placed_ms)

    def _take_careless(self, row: Row, instrument: str, parsed: Parsed, at_ms: int) -> None:
        self._careless.add(f"c{row.customer}" if row.customer else f"s{row.session}")
        cell = self._by_key[_key(row, instrument)]
        answer = parsed.codes if parsed.code is None else parsed.code
        if self._unit == "latest_per_customer" and row.customer:
            latest = self._latest[(instrument, row.survey_kind, row.touchpoint)][row.customer]
            if latest != (at_ms, cell, answer) or (id(cell), row.customer) in self._careless_seen:
                return
            self._careless_seen.add((id(cell), row.customer))
        cell.careless[answer] += 1

    def drivers(self, window: Span) -> tuple[DriverAnalysis, ...]:
        """What goes with the recommendation, of each block of touchpoints; none in a file without them."""
        return analyse(self._sittings, self._specs, blocks=self._blocks, window=window) if self._sittings else ()

    def quality(self, scored: Iterable[tuple[Result, Cell]], window: Span) -> Quality:
        """The checks that a file allows: nobody knows who was invited and did not answer.

        Args:
            scored: the leading result of each instrument and stratum, with its answers.
        """
        without = [
            score_without(self._specs[result.metric], cell.tally(), cell.careless_tally(), result)
            for result, cell in scored
            if "off_interval" not in result.flags  # its careless answers may be among those left out
        ]
        batteries = list(self._respondents.groups(dated_from=NO_TIME + 1))
        for asked in batteries:
            without += indices_without(asked, self._careless, window=window)
        places: dict[Key, dict[tuple[str, str], Tally]] = {}
        few_replaced: set[Key] = set()
        consistent = []
        for (instrument, stratum), cells in self.cells.items():
            if self._specs[instrument].kind == "scale":
                key = (instrument, replace(stratum, lang=""))
                where = places.setdefault(key, {})
                # every answer counts there, and once per customer in the score
                if 0 < sum(cell.given.total() - cell.codes.total() for cell in cells.values()) < SUPPRESS_BELOW:
                    few_replaced.add(key)
                where |= {(channel, stratum.lang): Tally(dict(cell.given)) for channel, cell in cells.items()}
            if instrument in SATISFACTION:
                counted = {channel: cell.tally() for channel, cell in cells.items() if channel}
                spec = self._specs[instrument]
                consistent.append(channel_consistency(spec, counted, stratum=stratum, window=window))
        people = [answers for asked in batteries for answers in asked.people.values()]
        return Quality(
            window=window,
            careless=Careless(
                len(self._suspects.straightline),
                self._suspects.speeders,
                tuple(found for found in without if found is not None),
            ),
            acquiescence=acquiescence(people, self._specs, window=window),
            shapes=tuple(_beside_scores(shape, few_replaced) for shape in shapes(places, self._specs, window=window)),
            consistency=tuple(found for found in consistent if found is not None),
        )

    def recommending_and_staying(self, window: Span) -> list[Result]:
        """NPS × NRS of the customers with both."""
        out: list[Result] = []
        for (instrument, kind, touchpoint), likely in self._latest.items():
            staying = self._latest.get(("nrs", kind, touchpoint))
            if instrument != "nps" or not staying:
                continue
            strata = self._strata("nps") | self._strata("nrs")
            tables: dict[Stratum, Counter[tuple[int, int]]] = {}
            for customer, nps, nrs in close_pairs(_given(likely), _given(staying)):
                here, there = strata[id(likely[customer][1])], strata[id(staying[customer][1])]
                # another horizon than a year is another wording and never merged
                wording = " × ".join(part for part in (here.wording_id, there.wording_id) if part)
                stratum = Stratum(kind, touchpoint, wording, "", here.lang)
                tables.setdefault(stratum, Counter())[(nps, nrs)] += 1
            for stratum, pairs in tables.items():
                out.extend(nps_nrs_results(pairs, stratum=stratum, window=window))
        return out

    def loyalty(self, window: Span, tables: EventTables | None) -> list[Result]:
        """Psychological loyalty at the end of the window, per survey_kind; with what happened, the segments too."""
        out: list[Result] = []
        at_ms = NO_TIME + 1
        if window.end:
            at_ms = midnight_ms(date.fromisoformat(window.end), self._tz)
        for kind in dict.fromkeys(kind for instrument, kind, _ in self._latest if instrument == "affinity"):
            people = attitudes(_of_kind(self._latest, kind), at_ms)
            if all(found.psy() is None for found in people.values()):
                continue
            stratum = Stratum(kind)
            out += psy_results(people, stratum=stratum, window=window)
            if tables is None:
                continue
            before = None
            if self._since_ms is not None:
                then = attitudes(_of_kind(self._earlier, kind), self._since_ms)
                before = segments(then, behaviours(tables, self._since_ms))
            now = behaviours(tables, at_ms)
            out += segment_results(people, now, stratum=stratum, window=window, before=before)
        return out

    @staticmethod
    def _captive(stratum: Stratum, pairs: Counter[tuple[int, int]], window: Span) -> Result:
        found = captive_share(pairs)
        asked = {pair: count for pair, count in pairs.items() if pair[0] >= 4}
        n = sum(asked.values())
        held = sum(count for pair, count in asked.items() if pair[1] <= 3)
        return record(
            "repeat_intent",
            "captive_share",
            found,
            n,
            form="share",
            stratum=stratum,
            window=window,
            counts={"captive": held, "free": n - held} if n else {},
        )


def _beside_scores(shape: Shape, few_replaced: Collection[Key]) -> Shape:
    """How a scale was used, suppressed where the score counts one to nine answers fewer."""
    first = shape.results[0]
    few = (first.metric, replace(first.stratum, lang="")) in few_replaced
    return replace(shape, results=tuple(map(sibling, shape.results))) if few else shape


def _key(row: Row, instrument: str) -> tuple[str, ...]:
    """What the counts of a row are kept by: instrument, stratum, channel."""
    return (instrument, row.survey_kind, row.touchpoint, row.wording_id, row.label_set, row.lang, row.channel)


def _given(latest: Mapping[str, _Latest]) -> Given:
    return {customer: (at, answer) for customer, (at, _, answer) in latest.items()}


def _of_kind(latest: Mapping[_Group, Mapping[str, _Latest]], kind: str) -> dict[str, list[Given]]:
    """Instrument → the latest answers at each touchpoint, of one kind of survey."""
    out: dict[str, list[Given]] = {}
    for (instrument, of, _), customers in latest.items():
        if of == kind and instrument in PSY_INSTRUMENTS:
            out.setdefault(instrument, []).append(_given(customers))
    return out

"""The metrics of a file of answers: the whole file is one window, counted row by row, never pooled across what
must stay apart.

The unit of analysis is `latest_per_customer` as in `reports.frames`, computed without a frame: what stays in
memory is counts, and one entry per customer and question.

Source: docs/answers.md, docs/metrics.md.
"""

from __future__ import annotations

import json
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any

from reports.answers_file import AnswersFile, AnswersFileError, BadRow, Row, instant_ms, named
from reports.benchmarks import Benchmark, Standing, sentence, standings
from reports.drivers import DriverAnalysis, analyse, is_touchpoint, is_wanted, sentences, title
from reports.event_tables import EventTables, behaviours, event_tables, local_date
from reports.file_disclosure import drivers_told, sizes_of, told
from reports.file_quality import Suspects
from reports.free_text import RATED_BY, FreeTexts, Gathered, analyse_comments, beside, free_text_lines
from reports.indices import indices_of, own_label, owners, variant_name
from reports.instruments import bundled_blocks
from reports.kpi_report import (
    SAID,
    Hint,
    KpiReport,
    flag_sentences,
    hints_of,
    linkage_sentences,
    metric_name,
    report_of,
)
from reports.kpi_words import group_words, hint_text, kpi_name, kpi_note, kpi_variant
from reports.kpis import KpiSettings, Window, midnight_ms, usual_interval
from reports.linkage import Said
from reports.metrics import (
    INTERVAL_BOUND,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Span,
    Stratum,
    Tally,
    Unit,
    captive_share,
    clustered,
    is_off_interval,
    measure,
    off_interval,
    parse_value,
    record,
    sibling,
)
from reports.quality import (
    SATISFACTION,
    Careless,
    Key,
    Quality,
    Shape,
    acquiescence,
    channel_consistency,
    indices_without,
    score_without,
    shapes,
)
from reports.quality import sentences as quality_sentences
from reports.reading import Readers
from reports.respondents import Respondents
from reports.segments import (
    DAY_MS,
    PSY_INSTRUMENTS,
    Deed,
    Given,
    attitudes,
    close_pairs,
    group_name,
    group_variant,
    nps_nrs_results,
    psy_results,
    segment_results,
    segments,
)
from reports.sittings import Sittings, together
from reports.values import Parsed
from reports.words import Language, Words, number

_REMEMBERED = 100_000
"""Raw values whose meaning is kept; a file with more distinct ones is read, only slower."""
_LONGEST_REMEMBERED = 60
_FAULTS_KEPT = 100
_MOST_STRATA = 10_000
"""A file with more has an id in a column of kinds; its scores would say nothing."""


@dataclass(slots=True)
class Measured:
    """What a file of answers came to."""

    results: list[Result] = field(default_factory=list)
    """As computed, in the order in which the questions first appear; what may be told of them: `told`."""
    told: list[Result] = field(default_factory=list)
    """The same records as they may leave the machine (`reports.file_disclosure.told`)."""
    rows: int = 0
    """Rows with an answer, scored or not; bad ones are not among them."""
    bad: int = 0
    """Rows that were left out."""
    undated: int = 0
    """Rows that count although their `answered_at` is no time; they come before those with one."""
    faults: list[BadRow] = field(default_factory=list)
    """The first hundred of either, with the reason."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Instruments that nobody defined → their rows, which count nowhere."""
    unscored: dict[str, int] = field(default_factory=dict)
    """Free text and single choices → their rows, which have no score."""
    unused: tuple[str, ...] = ()
    """Columns of the file that nothing was made of."""
    own: int = 0
    """Rows left out: answers to questions of the shop's own, in an export."""
    former: int = 0
    """Rows left out: answers that no longer count, in an export with its history."""
    kpis: KpiReport | None = None
    """What the shop's events came to, with a file of them."""
    drivers: tuple[DriverAnalysis, ...] = ()
    """What goes with the recommendation, where touchpoints were rated together with it."""
    benchmarks: tuple[Standing, ...] = ()
    """Published figures beside the scores they belong to."""
    batteries: frozenset[str] = frozenset()
    """The metrics that are made of several questions: own calculations, and labelled so."""
    free_text: FreeTexts = field(default_factory=FreeTexts)
    """What the comments came to, question by question."""
    quality: Quality = field(default_factory=Quality)
    """Whether the answers can be trusted, as far as a file tells."""
    hints: tuple[Hint, ...] = ()
    """What to do about the figures below their target."""
    anonymous: bool = False
    """No row names a customer: every answer counts."""

    def fault(self, row: BadRow) -> None:
        """Keep it, if there are not enough already."""
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append(row)

    def notes(self, lang: Language) -> list[str]:
        """What a reader of the numbers should know of the file, in sentences."""
        return _notes(self, lang)


class _TooManyStrata(Exception):
    pass


class _Cell:
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

    def absorb(self, other: _Cell) -> None:
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
_Latest = tuple[int, _Cell, int | tuple[str, ...]]
_NO_TIME = -(2**62)


class _Counting:
    """Rows in, counts out."""

    def __init__(
        self,
        specs: Mapping[str, InstrumentSpec],
        tz: tzinfo,
        unit: Unit,
        *,
        blocks: Mapping[str, tuple[str, ...]],
        since_ms: int | None = None,
    ) -> None:
        self._specs = specs
        self._tz = tz
        self._unit = unit
        self._since_ms = since_ms
        self._respondents = Respondents(specs)
        self._blocks = blocks
        self._sittings = Sittings(is_touchpoint, is_wanted)
        self.said: list[Said] | None = None
        """Named and dated answers that meet behaviour; None where there is none to meet."""
        self.earlier: dict[_Group, dict[str, _Latest]] = {}
        """As `latest`, of the answers before `since_ms` that loyalty is made of."""
        self._parsed: dict[tuple[str, str], Parsed] = {}
        self.cells: dict[Key, dict[str, _Cell]] = {}
        """By channel: answers are put together over channels, and compared between them."""
        self._suspects = Suspects(specs)
        self._careless: set[str] = set()
        """Respondents of batteries, by the names they have in `_respondents`."""
        self._careless_seen: set[tuple[int, str]] = set()
        self._by_key: dict[tuple[str, ...], _Cell] = {}
        self.latest: dict[_Group, dict[str, _Latest]] = {}
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.any_customer = False

    def instant(self, row: Row) -> int | None:
        """When it was answered, None when nothing tells; the window grows to hold it."""
        at_ms = instant_ms(row.answered_at, self._tz) if row.answered_at else None
        if at_ms is not None:
            if self.first_ms is None or at_ms < self.first_ms:
                self.first_ms = at_ms
            if self.last_ms is None or at_ms > self.last_ms:
                self.last_ms = at_ms
        return at_ms

    def take(self, row: Row, instrument: str) -> bool:
        """False when the row's time could not be read."""
        at_ms = self.instant(row)
        key = _key(row, instrument)
        cell = self._by_key.get(key)
        if cell is None:
            if len(self._by_key) >= _MOST_STRATA:
                raise _TooManyStrata
            cell = self._by_key[key] = _Cell()
            self.cells.setdefault((instrument, Stratum(*key[1:6])), {})[row.channel] = cell
        parsed = self._parse(instrument, row.value)
        if row.customer:
            self.any_customer = True
        cell.invalid_codes += parsed.invalid_codes
        self._respondents.take(row, instrument, parsed, _NO_TIME if at_ms is None else at_ms)
        self._sittings.begin(row, instrument, parsed, _NO_TIME if at_ms is None else at_ms)
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
            elif not row.customer or self._is_latest(row, instrument, cell, answer, at_ms):
                cell.add(answer, 1)
            if self._since_ms is not None and at_ms is not None and at_ms < self._since_ms and row.customer:
                self._remember(row, instrument, (at_ms, cell, answer))
        return at_ms is not None or not row.answered_at

    def _is_latest(
        self, row: Row, instrument: str, cell: _Cell, answer: int | tuple[str, ...], at_ms: int | None
    ) -> bool:
        """Of two answers at one time, or both without, the later row is the later answer."""
        customers = self.latest.setdefault((instrument, row.survey_kind, row.touchpoint), {})
        at = _NO_TIME if at_ms is None else at_ms
        before = customers.get(row.customer)
        if before is not None and before[0] > at:
            cell.superseded += 1
            return False
        if before is not None:
            before[1].add(before[2], -1)
            before[1].superseded += 1
        customers[row.customer] = (at, cell, answer)
        return True

    def _remember(self, row: Row, instrument: str, latest: _Latest) -> None:
        if instrument in PSY_INSTRUMENTS:
            customers = self.earlier.setdefault((instrument, row.survey_kind, row.touchpoint), {})
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
        if self.first_ms is None or self.last_ms is None:
            return Span()
        return Span(self._day(self.first_ms, 0), self._day(self.last_ms, 1))

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
        for (instrument, _, _), customers in self.latest.items():
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
        for (instrument, kind, touchpoint), willing in self.latest.items():
            free = self.latest.get(("repeat_intent_noswitch", kind, touchpoint))
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
        return self._respondents.results(window, dated_from=_NO_TIME + 1)

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
        parsed = self._parse(instrument, row.value)
        if is_wanted(instrument):
            self._sittings.join(row, instrument, parsed, _NO_TIME if at_ms is None else at_ms)
        if suspicious and parsed.kind == "valid":
            self._take_careless(row, instrument, parsed, _NO_TIME if at_ms is None else at_ms)

    def _take_careless(self, row: Row, instrument: str, parsed: Parsed, at_ms: int) -> None:
        self._careless.add(f"c{row.customer}" if row.customer else f"s{row.session}")
        cell = self._by_key[_key(row, instrument)]
        answer = parsed.codes if parsed.code is None else parsed.code
        if self._unit == "latest_per_customer" and row.customer:
            latest = self.latest[(instrument, row.survey_kind, row.touchpoint)][row.customer]
            if latest != (at_ms, cell, answer) or (id(cell), row.customer) in self._careless_seen:
                return
            self._careless_seen.add((id(cell), row.customer))
        cell.careless[answer] += 1

    def drivers(self, window: Span) -> tuple[DriverAnalysis, ...]:
        """What goes with the recommendation, of each block of touchpoints; none in a file without them."""
        return analyse(self._sittings, self._specs, blocks=self._blocks, window=window) if self._sittings else ()

    def quality(self, scored: Iterable[tuple[Result, _Cell]], window: Span) -> Quality:
        """The checks that a file allows: nobody knows who was invited and did not answer.

        Args:
            scored: the leading result of each instrument and stratum, with its answers.
        """
        without = [
            score_without(self._specs[result.metric], cell.tally(), cell.careless_tally(), result)
            for result, cell in scored
            if "off_interval" not in result.flags  # its careless answers may be among those left out
        ]
        batteries = list(self._respondents.groups(dated_from=_NO_TIME + 1))
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
        for (instrument, kind, touchpoint), likely in self.latest.items():
            staying = self.latest.get(("nrs", kind, touchpoint))
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
        at_ms = _NO_TIME + 1
        if window.end:
            at_ms = int(datetime.combine(date.fromisoformat(window.end), time(), self._tz).timestamp() * 1000)
        for kind in dict.fromkeys(kind for instrument, kind, _ in self.latest if instrument == "affinity"):
            people = attitudes(_of_kind(self.latest, kind), at_ms)
            if all(found.psy() is None for found in people.values()):
                continue
            stratum = Stratum(kind)
            out += psy_results(people, stratum=stratum, window=window)
            if tables is None:
                continue
            before = None
            if self._since_ms is not None:
                then = attitudes(_of_kind(self.earlier, kind), self._since_ms)
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


def _together(cells: Iterable[_Cell]) -> _Cell:
    """The cells of all channels as one."""
    first, *others = cells
    if not others:
        return first
    whole = _Cell()
    for cell in (first, *others):
        whole.absorb(cell)
    return whole


def _given(latest: Mapping[str, _Latest]) -> Given:
    return {customer: (at, answer) for customer, (at, _, answer) in latest.items()}


def _of_kind(latest: Mapping[_Group, Mapping[str, _Latest]], kind: str) -> dict[str, list[Given]]:
    """Instrument → the latest answers at each touchpoint, of one kind of survey."""
    out: dict[str, list[Given]] = {}
    for (instrument, of, _), customers in latest.items():
        if of == kind and instrument in PSY_INSTRUMENTS:
            out.setdefault(instrument, []).append(_given(customers))
    return out


def measure_file(
    path: Path,
    specs: Mapping[str, InstrumentSpec],
    *,
    unscored: Iterable[str] = (),
    texts: Iterable[str] = (),
    readers: Readers | None = None,
    tz: tzinfo,
    unit: Unit = "latest_per_customer",
    deeds: Sequence[Deed] | None = None,
    since_ms: int | None = None,
    blocks: Mapping[str, tuple[str, ...]] | None = None,
    benchmarks: Sequence[Benchmark] = (),
    country: str = "JP",
    today: date = date.max,
    settings: KpiSettings | None = None,
    targets: Mapping[str, float] | None = None,
    progress: Callable[[int], None] = lambda read: None,
) -> Measured:
    """Result records of every question in a file, per survey_kind × touchpoint × wording × label set × language.

    Each customer's latest valid answer counts; without a customer every answer does, as do all with `per_event`.
    Of a million rows by a million customers it holds about half a gigabyte.

    Args:
        path: see docs/answers.md.
        specs: instrument → how it is scored.
        unscored: further instruments that are known to have no score.
        texts: those of free text, whose comments are read.
        readers: what comments are read with; the bundled words when None.
        tz: of times without an offset, and of the days that bound the window.
        unit: `per_event` where one answer belongs to one purchase or enquiry; when more than a tenth of the customers
            answered several times, the interval is that of a bootstrap over customers.
        deeds: what the customers did, for the figures of the shop and the segments of psychological by behavioural
            loyalty; none without it. The figures' window is that of the events, from the first day to the last.
        since_ms: an earlier instant: how customers moved between the segments from then to the end of the window; the
            figures' window begins there, and earlier events are what was before.
        settings: what only the shop knows, for the figures, and its usual time between two purchases: with it, or else
            the median seen in `deeds`, repeat intentions given too early or too late after a customer's last purchase
            are left out and flagged `off_interval`.
        targets: name → target, for what to do below it.
        blocks: block → touchpoints that are asked about together; those that come with Koe when None.
        benchmarks: published figures to stand beside the scores.
        today: by which a figure is stale when no row of the file has a time; else the end of the window is.
        country: where the customers were asked: figures of other countries are not comparable.
        progress: called with the number of bytes read since the last call.

    Raises:
        AnswersFileError: the file cannot be read as a whole.
    """
    file = AnswersFile(path, progress)
    blocks = bundled_blocks() if blocks is None else blocks
    counting = _Counting(specs, tz, unit, blocks=blocks, since_ms=since_ms)
    counting.said = None if deeds is None else []
    out = Measured(unused=file.unused)
    scored = frozenset(specs)
    said = frozenset(texts) - scored
    plain = frozenset(unscored) - scored - said
    gathered = Gathered()
    names: dict[str, str] = {}
    for row in file.rows():
        if isinstance(row, BadRow):
            out.bad += 1
            out.fault(row)
            continue
        out.rows += 1
        instrument = names.get(row.instrument)
        if instrument is None:
            instrument = named(row.instrument, scored | plain | said)
            if len(names) < _REMEMBERED:
                names[row.instrument] = instrument
        if instrument in scored:
            try:
                dated = counting.take(row, instrument)
            except _TooManyStrata:
                raise AnswersFileError(
                    f"{path}:{row.line}: more than {_MOST_STRATA} combinations of survey_kind, touchpoint, wording_id,"
                    " label_set, lang and channel: does one of these columns hold something that is new in every row?"
                ) from None
            if not dated:
                out.undated += 1
                out.fault(BadRow(row.line, _no_time(row.answered_at)))
        elif instrument in said:
            at_ms = counting.instant(row)
            gathered.comment(
                row.value,
                instrument=instrument,
                survey_kind=row.survey_kind,
                touchpoint=row.touchpoint,
                wording_id=row.wording_id,
                customer=row.customer,
                at_ms=_NO_TIME if at_ms is None else at_ms,
                together=together(row),
            )
        elif instrument in plain:
            out.unscored[instrument] = out.unscored.get(instrument, 0) + 1
        else:
            out.unknown[instrument] = out.unknown.get(instrument, 0) + 1
    out.own, out.former = file.own, file.former
    window = counting.window()
    out.anonymous = bool(counting.cells) and not counting.any_customer and unit == "latest_per_customer"
    tables = None if deeds is None else event_tables(deeds, tz)
    off: Counter[int] = Counter()
    if tables is not None and (days := _interval_days(tables, settings)) is not None:
        off = counting.leave_out_off_interval(tables, round(days * DAY_MS))
    again = counting.looks_again()
    if again or gathered.looks_again():
        for row in file.rows():
            if isinstance(row, Row) and (asked := named(row.instrument, scored)) in scored:
                if asked == RATED_BY:
                    gathered.rating(row.value, together=together(row))
                if again:
                    counting.take_again(row, asked)
    leading: list[tuple[Result, _Cell]] = []
    for (instrument, stratum), cells in counting.cells.items():
        spec = specs[instrument]
        cell = _together(cells.values())
        found = measure(spec, cell.tally(), stratum=stratum, window=window, unit=unit)
        found = off_interval(found, sum(off[id(part)] for part in cells.values()))
        leading.append((found[0], cell))
        if unit == "per_event" and spec.kind != "multi":
            found = clustered(found, spec, cell.by_customer())
        out.results.extend(found)
    out.results.extend(counting.captive(window))
    out.results.extend(counting.batteries(window))
    out.results.extend(counting.recommending_and_staying(window))
    out.results.extend(counting.loyalty(window, tables))
    out.drivers = drivers_told(counting.drivers(window), out.results)
    out.quality = counting.quality(leading, window)
    if benchmarks:
        on = date.fromisoformat(window.end) if window.end else today
        out.benchmarks = standings(out.results, benchmarks, specs, country=country, on=on)
    if tables is not None:
        out.kpis = _kpis(tables, counting.said or (), tz, since_ms, settings, targets)
    out.hints = hints_of([*out.results, *(out.kpis.results if out.kpis is not None else ())], targets or {})
    out.batteries = frozenset(indices_of(specs))
    out.told = told(out.results, specs)
    comments = analyse_comments(gathered.comments(), readers or Readers(), window=window)
    out.free_text = beside(comments, sizes_of(out.results, RATED_BY))
    return out


def _interval_days(tables: EventTables, settings: KpiSettings | None) -> float | None:
    """The usual time between two purchases: the shop's own figure, by which it asks, else the one that was seen."""
    if settings is not None and settings.repeat_interval_days is not None:
        return settings.repeat_interval_days
    return None if tables.last_ms is None else usual_interval(tables, tables.last_ms + 1, None)[0]


def _kpis(
    tables: EventTables,
    said: Sequence[Said],
    tz: tzinfo,
    since_ms: int | None,
    settings: KpiSettings | None,
    targets: Mapping[str, float] | None,
) -> KpiReport | None:
    """What the events of a file came to, seen from the end of its last day; None when it has none that count."""
    if tables.first_ms is None or tables.last_ms is None:
        return None
    first, last = (local_date(at_ms, tz) for at_ms in (tables.first_ms, tables.last_ms))
    end_ms = midnight_ms(last + timedelta(days=1), tz)
    start_ms = midnight_ms(first, tz) if since_ms is None or since_ms >= end_ms else since_ms
    window = Window(start_ms, end_ms, end_ms, tz)
    return report_of(tables, window, computed_ms=end_ms, settings=settings, targets=targets, said=said)


def _no_time(text: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "…"
    return f"answered_at is {shown!r}, which is no time such as 2026-11-16T10:00:00+09:00; the answer counts."


# ------------------------------------------------------------------------------------------------ how it is shown


def render_json(measured: Measured, lang: Language = "ja") -> str:
    """A JSON list of result records (docs/metrics.md, "A result record"). A suppressed one keeps its n and loses
    score, bounds and counts; those of the effort questions say in `direction` which way is good."""
    records: list[dict[str, Any]] = []
    for result in measured.told:
        record = result.to_json()
        if (direction := _direction(result, lang)) is not None:
            record["direction"] = direction
        if result.metric in measured.batteries:
            record["label"] = own_label(result.metric, lang)
        _add_hint(record, result, measured.hints, lang)
        if beside := [standing.to_json() for standing in measured.benchmarks if _belongs(standing, result)]:
            record["benchmarks"] = beside
        records.append(record)
    if measured.kpis is not None:
        for result in measured.kpis.results:
            records.append(result.to_json())
            _add_hint(records[-1], result, measured.hints, lang)
        for linkage in measured.kpis.linkages:
            records += linkage.to_json()
    for analysis in measured.drivers:
        records += analysis.to_json()
    for text in measured.free_text.found:
        records += [text.to_json(), *(result.to_json() for result in text.results())]
    records += measured.quality.records()
    return json.dumps(records, ensure_ascii=False, allow_nan=False, indent=2)


def _add_hint(record: dict[str, Any], result: Result, hints: Iterable[Hint], lang: Language) -> None:
    """What to do, beside the record of a figure on the wrong side of its target."""
    for hint in hints:
        mine = hint.result
        if (mine.metric, mine.variant, mine.segment, mine.stratum) == (
            result.metric,
            result.variant,
            result.segment,
            result.stratum,
        ):
            record["hint"] = {"target": hint.target, "id": hint.hint, "text": hint_text(hint.hint, lang)}


def _belongs(standing: Standing, result: Result) -> bool:
    ours = standing.result
    return (ours.metric, ours.variant, ours.stratum) == (result.metric, result.variant, result.stratum)


def render_table(measured: Measured, specs: Mapping[str, InstrumentSpec], lang: Language = "ja") -> str:
    """The records as a table for a terminal, a block per question and stratum, with the notes and notices below."""
    words = Words(lang)
    own = _OWN[lang]
    blocks: list[str] = []
    shown: dict[tuple[str, Stratum], list[Result]] = {}
    for result in measured.told:
        shown.setdefault((result.metric, result.stratum), []).append(result)
    for (metric, stratum), results in sorted(shown.items(), key=_reading_order(shown, specs)):
        spec = specs.get(metric)
        name = words.metric(spec) if spec else group_name(metric, lang) or own_label(metric, lang)
        where = words.where(stratum)
        which = " · ".join(part for part in (stratum.wording_id, stratum.label_set, stratum.lang) if part)
        head = " ".join(part for part in (name, f"[{metric}]", where, which and f"({which})") if part)
        first = results[0]
        tallied = own["tallied"].format(
            n=number(first.n_valid),
            missing=number(first.n_missing),
            invalid=number(first.n_invalid),
            superseded=number(first.n_superseded),
        )
        lines = [head, f"  {tallied}"]
        lines += _block(spec, results, words, own)
        figures = [sentence(standing, lang) for standing in measured.benchmarks if _belongs(standing, first)]
        lines += [f"  {figure}" for figure in figures if figure]
        blocks.append("\n".join(lines))
    if measured.kpis is not None:
        blocks += _kpi_blocks(measured.kpis, words, own)
    for analysis in measured.drivers:
        said = sentences(analysis, specs, lang)
        blocks.append("\n".join([title(analysis, lang), *(f"  {line}" for line in said)]))
    blocks += ["\n".join(free_text_lines(text, words)) for text in measured.free_text.found]
    if checks := quality_sentences(measured.quality, specs, lang):
        blocks.append("\n".join([own["quality"], *(f"  {line}" for line in checks)]))
    if not blocks:
        blocks.append(own["nothing"])
    window = measured.results[0].window if measured.results else Span()
    foot = [own["window"].format(start=window.start, end=window.end)] if window.start else []
    foot += [hint.sentence(words, metric_name(hint.result.metric, specs, words)) for hint in measured.hints]
    if measured.kpis is not None:
        foot += flag_sentences(measured.kpis.results, lang)
        foot.append(kpi_note("census", lang))
    foot += measured.notes(lang)
    if any(result.metric == "nps" for result in measured.results):
        foot.append(own["nps"])
    if any(result.metric in measured.batteries for result in measured.results):
        foot.append(owners(lang))
    return "\n\n".join([*blocks, "\n".join(foot)]).rstrip() + "\n"


def _reading_order(
    shown: Iterable[tuple[str, Stratum]], specs: Mapping[str, InstrumentSpec]
) -> Callable[[tuple[tuple[str, Stratum], list[Result]]], tuple[object, ...]]:
    """What was asked together stands together, in the order in which the file comes to it; within it questions in the
    order in which they are defined, touchpoints, what is made of several questions, and single items of these last."""
    places = {place: n for n, place in enumerate(dict.fromkeys((s.survey_kind, s.touchpoint) for _, s in shown))}
    defined = {name: n for n, name in enumerate(specs)}

    def order(block: tuple[tuple[str, Stratum], list[Result]]) -> tuple[object, ...]:
        (metric, stratum), _ = block
        spec = specs.get(metric)
        rank = 2 if spec is None else 3 if spec.item is not None else 1 if is_touchpoint(metric) else 0
        where = places[(stratum.survey_kind, stratum.touchpoint)]
        return where, rank, defined.get(metric, 0), metric, stratum.wording_id, stratum.label_set, stratum.lang

    return order


def _kpi_blocks(report: KpiReport, words: Words, own: Mapping[str, str]) -> list[str]:
    """A block per figure, and one per comparison of groups."""
    by_metric: dict[str, list[Result]] = {}
    for result in report.results:
        by_metric.setdefault(result.metric, []).append(result)
    blocks = [_kpi_block(results, words, own) for results in by_metric.values()]
    for linkage in report.linkages:
        shown = [result.shown() for result in (*linkage.groups, *linkage.medians)]
        said = [f"  {sentence}" for sentence in linkage_sentences(linkage, words.lang)]
        blocks.append("\n".join([_kpi_block(shown, words, own), *said]))
    return blocks


def _kpi_block(results: list[Result], words: Words, own: Mapping[str, str]) -> str:
    first = results[0]
    where = words.where(first.stratum)
    during = own["during"].format(start=first.window.start, end=first.window.end)
    head = " ".join(part for part in (kpi_name(first.metric, words.lang), f"[{first.metric}]", where, during) if part)
    return "\n".join([head, f"  n={number(first.n_valid)}", *_block(None, results, words, own)])


def _block(spec: InstrumentSpec | None, results: list[Result], words: Words, own: Mapping[str, str]) -> list[str]:
    first = results[0]
    rows: list[tuple[str, str, str, str]] = []
    for result in results:
        # a share of fewer people than the question itself (captive_share) has an n and a status of its own
        aside = own["n"].format(n=number(result.n_valid)) if result.n_valid != first.n_valid else ""
        about = " ".join(part for part in (_about(spec, result, words), aside) if part)
        named = " ".join(part for part in (result.variant, result.segment) if part)
        # a count of nothing is a number, 0
        if result.status == "suppressed" or (result.status == "no_data" and result.score is None):
            rows.append((named, own[_why_hidden(result, words.lang)], "", about))
            continue
        interval = "–"
        if result.ci_low is not None and result.ci_high is not None:
            interval = words.interval(result.ci_low, result.ci_high, result.form)
        # a ratio has no score when nobody is in its denominator
        score = "–" if result.score is None else words.score(result)
        rows.append((named, score, interval, about))
    for word in ("suppressed", "sibling", "no_data", "no_events"):
        if all(row[1] == own[word] for row in rows):
            return [f"  {own[word]}"]
    lines = [f"  {own['caution'].format(n=number(first.n_valid))}"] if first.status == "caution" else []
    table = [("", own["score"], own["interval"], ""), *rows]
    widths = [max(_width(row[column]) for row in table) for column in range(3)]
    lines += [
        "  "
        + "  ".join(
            (_pad(row[0], widths[0]), _pad(row[1], widths[1], right=True), _pad(row[2], widths[2]), row[3])
        ).rstrip()
        for row in table
    ]
    if first.counts:
        written = ", ".join(f"{code} × {number(count)}" for code, count in first.counts.items())
        lines.append(f"  {own['counts']} {written}")
    told = [first.counts.keys()]
    for result in results:
        # the parts of a table may count different people: those who moved, those who are price-driven
        if spec is None and result.counts and result.counts.keys() not in told:
            told.append(result.counts.keys())
            written = ", ".join(f"{code} × {number(count)}" for code, count in result.counts.items() if count)
            lines.append(f"  {result.variant}: {written}")
    flags = sorted({flag for result in results for flag in result.flags})
    if flags:
        lines.append(f"  {own['flags']} {', '.join(flags)}")
    return lines


def _why_hidden(result: Result, lang: Language) -> str:
    """The key of the words that stand in the place of a number."""
    if result.status == "no_data":
        return "no_events" if kpi_name(result.metric, lang) else "no_data"
    return "sibling" if "sibling" in result.flags else "suppressed"


def _about(spec: InstrumentSpec | None, result: Result, words: Words) -> str:
    """What the row's number is, in a few words; which way is good where it could be misread."""
    ja = words.lang == "ja"
    if spec is None:
        if kpi_name(result.metric, words.lang):
            return kpi_variant(result.metric, result.variant, words.lang) or group_words(result.segment, words.lang)
        if group_name(result.metric, words.lang):
            return group_variant(result.variant, words.lang)
        return variant_name(result.metric, result.variant, words.lang)
    if (direction := _direction(result, words.lang)) is not None:
        return direction
    if result.variant == "captive_share":
        return (
            "継続意向4〜5の方のうち、切り替えの手間がなければ3以下"
            if ja
            else "of those who say 4–5, 3 or less if switching were free"
        )
    if spec.kind == "multi" and result.variant.startswith("share_"):
        return words.code(spec, result.variant.removeprefix("share_"))
    if spec.kind == "multi" and result.variant == "count":
        return "選んだ数の平均" if ja else "mean number chosen"
    if result.variant in ("net", "top2", "mean", "any_positive", "share"):
        return words.basis(spec, result)
    return words.part(spec, result)


def _direction(result: Result, lang: Language) -> str | None:
    """Which way is good: always said of effort and ease, whose raw ratings run against each other."""
    ja = lang == "ja"
    if result.metric == "ces_effort":
        if result.variant == "mean":
            return "平均点は低いほど良い" if ja else "mean of 1 to 7, lower = better"
        return "高いほど手間が少ない（良い）" if ja else "higher = less effort, better"
    if result.metric == "ces_ease":
        return "高いほど簡単（良い）" if ja else "higher = easier, better"
    return None


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _pad(text: str, width: int, *, right: bool = False) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


_OWN: dict[Language, dict[str, str]] = {
    "ja": {
        "tallied": "n={n}・未回答 {missing}・無効 {invalid}・同じ方の前の回答 {superseded}",
        "n": "（n={n}）",
        "suppressed": "n<10 のため非表示",
        "sibling": "差し引きで求められるため非表示",
        "no_data": "回答なし",
        "no_events": "記録なし",
        "caution": "参考値（n={n}）",
        "score": "値",
        "interval": "95%信頼区間",
        "counts": "内訳：",
        "flags": "注記：",
        "nothing": "集計できる回答がありません。",
        "window": "期間：{start} から {end} の前日まで",
        "quality": "回答の質",
        "during": "（{start} から {end} の前日まで）",
        "unknown": "不明な設問（集計していません）：{names}",
        "unscored": "点数のない設問（集計していません）：{names}",
        "unused": "使っていない列：{names}",
        "own": "お店独自の質問への回答：{count}件（集計していません）",
        "former": "訂正などで集計から外れた回答：{count}件（集計していません）",
        "bad": "読めなかった行：{count}行（集計していません）",
        "undated": "answered_at を読めなかった行：{count}行（回答は集計しています）",
        "incomplete": "必要な項目がない業務イベント：{count}件（集計していません）",
        "anonymous": "customer がないため、すべての回答を数えました。",
        "between": "、",
        "nps": (
            "Net Promoter®、NPS®およびNPS関連の顔文字は、Bain & Company, Inc.、NICE Systems, Inc.、Fred Reichheldの"
            "登録商標です。Net Promoter Score℠、Net Promoter System℠は同社らのサービスマークです。"
        ),
    },
    "en": {
        "tallied": "n={n}, missing {missing}, invalid {invalid}, earlier answers of the same customer {superseded}",
        "n": "(n={n})",
        "suppressed": "not shown, n<10",
        "sibling": "hidden because other values would give it away",
        "no_data": "no answers",
        "no_events": "no records",
        "caution": "for reference only (n={n})",
        "score": "score",
        "interval": "95% interval",
        "counts": "counts:",
        "flags": "flags:",
        "nothing": "There is no answer that can be scored.",
        "window": "Window: from {start}, before {end}",
        "quality": "Quality of the answers",
        "during": "(from {start}, before {end})",
        "unknown": "Unknown instruments, not counted: {names}",
        "unscored": "Questions without a score, not counted: {names}",
        "unused": "Columns not used: {names}",
        "own": "Answers to questions of the shop's own, not counted: {count}",
        "former": "Answers that were corrected or withdrawn, not counted: {count}",
        "bad": "Rows that could not be read, not counted: {count}",
        "undated": "Rows whose answered_at could not be read; their answers count: {count}",
        "incomplete": "Business events without a field that their figure needs, not counted: {count}",
        "anonymous": "No row names a customer: every answer counts.",
        "between": ", ",
        "nps": (
            "Net Promoter®, NPS®, and the NPS-related emoticons are registered trademarks, and Net Promoter Score℠ and"
            " Net Promoter System℠ are service marks, of Bain & Company, Inc., NICE Systems, Inc. and Fred Reichheld."
        ),
    },
}


def _notes(measured: Measured, lang: Language) -> list[str]:
    own = _OWN[lang]

    def names(counts: Mapping[str, int]) -> str:
        most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        listed = own["between"].join(f"{name[:60]} × {number(count)}" for name, count in most[:20])
        return listed + (" …" if len(most) > 20 else "")

    out: list[str] = []
    if measured.unknown:
        out.append(own["unknown"].format(names=names(measured.unknown)))
    if measured.unscored:
        out.append(own["unscored"].format(names=names(measured.unscored)))
    if note := measured.free_text.note(lang):
        out.append(note)
    if measured.unused:
        out.append(own["unused"].format(names=own["between"].join(measured.unused[:20])))
    if measured.own:
        out.append(own["own"].format(count=number(measured.own)))
    if measured.former:
        out.append(own["former"].format(count=number(measured.former)))
    if measured.bad:
        out.append(own["bad"].format(count=number(measured.bad)))
    if measured.undated:
        out.append(own["undated"].format(count=number(measured.undated)))
    if measured.kpis is not None and measured.kpis.incomplete:
        out.append(own["incomplete"].format(count=number(measured.kpis.incomplete)))
    if measured.anonymous:
        out.append(own["anonymous"])
    return out

"""The metrics of a file of answers: the whole file is one window, never pooled across what must stay apart. Its rows
are counted by `reports.answers.counting`, what came of them is shown by `reports.answers.render`.

Source: docs/answers.md, docs/metrics.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta, tzinfo
from pathlib import Path

from flows.days import local_date, midnight_ms
from reports.answers.counting import MOST_STRATA, NO_TIME, Cell, FileCounts, TooManyStrata
from reports.answers.disclosure import drivers_told, sizes_of, told
from reports.answers.file import AnswersFile, AnswersFileError, BadRow, Row, named
from reports.benchmarks import Benchmark, Standing, standings
from reports.checks.quality import Quality
from reports.comments.free_text import FreeTexts, analyse_comments, beside
from reports.comments.gathered import RATED_BY, Gathered
from reports.comments.reading import Readers
from reports.drivers.analysis import DriverAnalysis
from reports.event_tables import EventTables, event_tables
from reports.indices import indices_of
from reports.instruments import bundled_blocks
from reports.kpi.customers import usual_interval
from reports.kpi.report import (
    Hint,
    KpiReport,
    hints_of,
    report_of,
)
from reports.kpi.window import KpiSettings, Window
from reports.linkage import Said
from reports.metrics import (
    InstrumentSpec,
    Result,
    Unit,
    clustered,
    measure,
    off_interval,
)
from reports.segments import (
    DAY_MS,
    Deed,
)
from reports.sittings import together

_NAMES_KEPT = 100_000
"""Spellings of instruments whose meaning is kept; a file with more is read, only slower."""
_FAULTS_KEPT = 100


@dataclass(slots=True)
class Measured:
    """What a file of answers came to."""

    results: list[Result] = field(default_factory=list)
    """As computed, in the order in which the questions first appear; what may be told of them: `told`."""
    told: list[Result] = field(default_factory=list)
    """The same records as they may leave the machine (`reports.answers.disclosure.told`)."""
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
    counts = FileCounts(specs, tz, unit, blocks=blocks, since_ms=since_ms, meets_behaviour=deeds is not None)
    gathered = Gathered()
    out = Measured(unused=file.unused)
    _take_rows(file, counts, gathered, out, specs=specs, texts=frozenset(texts), unscored=frozenset(unscored))
    window = counts.window()
    out.anonymous = bool(counts.cells) and not counts.any_customer and unit == "latest_per_customer"
    tables = None if deeds is None else event_tables(deeds, tz)
    off: Counter[int] = Counter()
    if tables is not None and (days := _interval_days(tables, settings)) is not None:
        off = counts.leave_out_off_interval(tables, round(days * DAY_MS))
    _look_again(file, counts, gathered, specs)
    leading: list[tuple[Result, Cell]] = []
    for (instrument, stratum), cells in counts.cells.items():
        spec = specs[instrument]
        cell = Cell.of(cells.values())
        found = measure(spec, cell.tally(), stratum=stratum, window=window, unit=unit)
        found = off_interval(found, sum(off[id(part)] for part in cells.values()))
        leading.append((found[0], cell))
        if unit == "per_event" and spec.kind != "multi":
            found = clustered(found, spec, cell.by_customer())
        out.results.extend(found)
    out.results.extend(counts.captive(window))
    out.results.extend(counts.batteries(window))
    out.results.extend(counts.recommending_and_staying(window))
    out.results.extend(counts.loyalty(window, tables))
    out.drivers = drivers_told(counts.drivers(window), out.results)
    out.quality = counts.quality(leading, window)
    if benchmarks:
        on = date.fromisoformat(window.end) if window.end else today
        out.benchmarks = standings(out.results, benchmarks, specs, country=country, on=on)
    if tables is not None:
        out.kpis = _kpis(tables, counts.said or (), tz, since_ms, settings, targets)
    out.hints = hints_of([*out.results, *(out.kpis.results if out.kpis is not None else ())], targets or {})
    out.batteries = frozenset(indices_of(specs))
    out.told = told(out.results, specs)
    comments = analyse_comments(gathered.comments(), readers or Readers(), window=window)
    out.free_text = beside(comments, sizes_of(out.results, RATED_BY))
    return out


def _take_rows(
    file: AnswersFile,
    counts: FileCounts,
    gathered: Gathered,
    out: Measured,
    *,
    specs: Collection[str],
    texts: frozenset[str],
    unscored: frozenset[str],
) -> None:
    """The first look: scored answers to the counts, comments to the gathered ones; of every other row, that it was
    there and why it counts nowhere."""
    scored = frozenset(specs)
    known = scored | texts | unscored
    names: dict[str, str] = {}
    for row in file.rows():
        if isinstance(row, BadRow):
            out.bad += 1
            out.fault(row)
            continue
        out.rows += 1
        instrument = names.get(row.instrument)
        if instrument is None:
            instrument = named(row.instrument, known)
            if len(names) < _NAMES_KEPT:
                names[row.instrument] = instrument
        if instrument in scored:
            try:
                dated = counts.take(row, instrument)
            except TooManyStrata:
                raise AnswersFileError(
                    f"{file.path}:{row.line}: more than {MOST_STRATA} combinations of survey_kind, touchpoint,"
                    " wording_id, label_set, lang and channel: does one of these columns hold something that is new in"
                    " every row?"
                ) from None
            if not dated:
                out.undated += 1
                out.fault(BadRow(row.line, _no_time(row.answered_at)))
        elif instrument in texts:
            at_ms = counts.instant(row)
            gathered.comment(
                row.value,
                instrument=instrument,
                survey_kind=row.survey_kind,
                touchpoint=row.touchpoint,
                wording_id=row.wording_id,
                customer=row.customer,
                at_ms=NO_TIME if at_ms is None else at_ms,
                together=together(row),
            )
        elif instrument in unscored:
            out.unscored[instrument] = out.unscored.get(instrument, 0) + 1
        else:
            out.unknown[instrument] = out.unknown.get(instrument, 0) + 1
    out.own, out.former = file.own, file.former


def _look_again(file: AnswersFile, counts: FileCounts, gathered: Gathered, scored: Collection[str]) -> None:
    """The second look, where the first one left something to tell: what was answered together with what."""
    again = counts.looks_again()
    if not again and not gathered.looks_again():
        return
    scored = frozenset(scored)
    for row in file.rows():
        if isinstance(row, Row) and (asked := named(row.instrument, scored)) in scored:
            if asked == RATED_BY:
                gathered.rating(row.value, together=together(row))
            if again:
                counts.take_again(row, asked)


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

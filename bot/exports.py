"""`koe export`: answers, events and cases into a file, window by window, beside a server or without one.

What is being written stands beside the file under other names until it is whole:

    answers.csv.partial         rows so far; a CSV file grows here, for the other formats a row is a line of JSON
    answers.csv.partial.json    what is exported, and how far it came: up to the end of the last whole window
    answers.csv.dictionary.csv  what the columns mean

An interrupted export goes on from there and comes to the same file as one that was not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from pathlib import Path
from typing import IO, Any, assert_never

import msgspec

from bot.clock import Chance, Clock
from flows.days import local_date, midnight_ms
from reports import sheets
from reports.comments.masking import mask
from reports.export_columns import (
    ANSWERS,
    CASES,
    DICTIONARY,
    EVENTS,
    REPLACED,
    Column,
    Show,
    What,
    cells_of,
    dictionary_rows,
    event_row,
)
from reports.sheets import Form, Row
from storage.failpoints import hit
from storage.records import Answer, AuditEntry, CaseOrigin, Event
from storage.store import Store, Tx, open_store

__all__ = ["CannotExport", "Exported", "Wanted", "export"]

WINDOW_MS = 86_400_000
_PAGE = 2_000
_ACTOR = "operator"


class CannotExport(Exception):
    """Nothing was exported; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported, and how."""

    what: What
    form: Form
    path: Path
    first_day: date | None = None
    """Of the shop's time zone; None is from the beginning."""
    last_day: date | None = None
    """With this day; None is up to now."""
    flow: str = ""
    segment: str = ""
    history: bool = False
    """Of answers: also those that no longer count."""
    unmasked: bool = False
    resume: bool = False
    """Go on where an interrupted export of the same stopped; begin anew when there is none."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of an export."""

    rows: int
    resumed_after: int
    """Rows that an earlier, interrupted export had written."""
    dictionary: Path
    cut: int
    """Texts that were longer than a cell of a workbook, and were cut."""


class _Progress(msgspec.Struct, frozen=True):
    """The side-car: which export this is (all but the last three), and how far it came."""

    database: str
    what: str
    form: str
    first_day: str
    last_day: str
    flow: str
    segment: str
    history: bool
    unmasked: bool
    timezone: str
    columns: tuple[str, ...]
    begun_ms: int
    start_ms: int
    end_ms: int
    next_ms: int
    """Beginning of the first window that is not whole."""
    size: int
    """Bytes of the partial file that hold the windows before."""
    rows: int


async def export(
    wanted: Wanted,
    *,
    database_url: str,
    tz: tzinfo,
    clock: Clock,
    chance: Chance,
    progress: Callable[[int, int, int], None] = lambda done_ms, span_ms, rows: None,
) -> Exported:
    """Write the file and its dictionary; the export is in the audit before its first row is read.

    Args:
        wanted: what, and where to.
        database_url: as in KOE_DATABASE_URL.
        tz: the shop's time zone, of days and of the times in the file.
        clock: for the end of an export without a last day, and for the audit.
        chance: for ids of the audit.
        progress: called after each page with the time that was gone through and its whole, in ms, and the rows so far.

    Raises:
        CannotExport: the file cannot be written, is being written, or another export stopped there.
        StoreError: there is no database, or it cannot be read.
    """
    path = wanted.path
    if wanted.first_day is not None and wanted.last_day is not None and wanted.last_day < wanted.first_day:
        raise CannotExport(f"--from {wanted.first_day} lies after --to {wanted.last_day}: exchange them.")
    try:
        sheets.check_form(wanted.form)
    except sheets.SheetsError as error:
        raise CannotExport(str(error)) from error
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"cannot be made: there is no folder {path.parent}"
        raise CannotExport(f"{path} {what}: name a file with -o.")
    try:
        async with await open_store(database_url, now_ms=clock.now_ms(), create=False) as store:
            with _partial(path) as file:
                return await _Export(wanted, file, store, tz, clock, chance, progress, _digest(database_url)).run()
    except OSError as error:
        raise CannotExport(
            f"{path} cannot be written: {error.strerror}. What is whole is kept for --resume."
        ) from error
    except sheets.SheetsError as error:
        raise CannotExport(f"{path} cannot be written: {error}") from error


def _digest(url: str) -> str:
    # the address may hold a password
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[IO[bytes]]:
    """The partial file, locked: readable by the operator alone, as the finished one will be."""
    name = _beside(path, ".partial")
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotExport(
                f"another export is writing {path}: wait for it, or name another file with -o."
            ) from error
        yield file


class _Export:
    """One export at work."""

    def __init__(
        self,
        wanted: Wanted,
        file: IO[bytes],
        store: Store,
        tz: tzinfo,
        clock: Clock,
        chance: Chance,
        progress: Callable[[int, int, int], None],
        database: str,
    ) -> None:
        self._wanted = wanted
        self._file = file
        self._store = store
        self._tz = tz
        self._clock = clock
        self._chance = chance
        self._tell = progress
        self._database = database
        self._columns = _columns(wanted)
        self._headings = [column.heading for column in self._columns]
        self._kinds = [heading.kind for heading in self._headings]
        self._show: Show = str if wanted.unmasked else mask
        self._side = _beside(wanted.path, ".partial.json")

    async def run(self) -> Exported:
        at = await self._begin()
        before = at.rows
        await self._audit("begun" if not before else "resumed", at)
        at = await self._read(at)
        cut = self._make(at)
        await self._audit("done", at)
        hit("export.before_rename")
        dictionary = _beside(self._wanted.path, ".dictionary.csv")
        _beside(self._wanted.path, ".partial.dictionary").replace(dictionary)
        whole = ".partial" if self._wanted.form == "csv" else ".partial.made"
        _beside(self._wanted.path, whole).replace(self._wanted.path)
        for rest in (".partial", ".partial.json"):
            _beside(self._wanted.path, rest).unlink(missing_ok=True)
        return Exported(rows=at.rows, resumed_after=before, dictionary=dictionary, cut=cut)

    async def _begin(self) -> _Progress:
        """Where to go on, or the beginning. What was written past the last whole window is dropped."""
        fresh = await self._fresh()
        kept = self._kept() if self._wanted.resume else None
        if kept is not None and self._file.seek(0, os.SEEK_END) >= kept.size > 0:
            for name in _Progress.__struct_fields__[: _Progress.__struct_fields__.index("begun_ms")]:
                there, here = getattr(kept, name), getattr(fresh, name)
                if there != here:
                    raise CannotExport(
                        f"the export of {self._wanted.path} that was interrupted is another one ({name} was"
                        f" {there!r}, and is {here!r}): give the same options, or begin anew without --resume."
                    )
            self._file.truncate(kept.size)
            self._file.seek(kept.size)
            return kept
        self._file.seek(0)
        self._file.truncate()
        if self._wanted.form == "csv":
            self._file.write(sheets.csv_head(self._headings).encode())
        return self._keep(fresh)

    async def _fresh(self) -> _Progress:
        wanted, now_ms = self._wanted, self._clock.now_ms()
        span = await self._store.read(_SPANS[wanted.what])
        first_ms, last_ms = span or (now_ms, now_ms)
        start_ms = first_ms if wanted.first_day is None else midnight_ms(wanted.first_day, self._tz)
        if wanted.last_day is None:
            # an end of its own, so that an export that goes on later comes to the same rows
            end_ms = max(now_ms, last_ms) + 1
        else:
            end_ms = midnight_ms(wanted.last_day + timedelta(days=1), self._tz)
        start_ms = max(start_ms, first_ms)
        return _Progress(
            database=self._database,
            what=wanted.what,
            form=wanted.form,
            first_day=_written(wanted.first_day),
            last_day=_written(wanted.last_day),
            flow=wanted.flow,
            segment=wanted.segment,
            history=wanted.history,
            unmasked=wanted.unmasked,
            timezone=str(self._tz),
            columns=tuple(heading.name for heading in self._headings),
            begun_ms=now_ms,
            start_ms=start_ms,
            end_ms=max(start_ms, end_ms),
            next_ms=start_ms,
            size=0,
            rows=0,
        )

    def _kept(self) -> _Progress | None:
        try:
            return msgspec.json.decode(self._side.read_bytes(), type=_Progress)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _keep(self, at: _Progress) -> _Progress:
        """The place up to which everything is on the disk; the note of it comes after."""
        self._file.flush()
        os.fsync(self._file.fileno())
        at = msgspec.structs.replace(at, size=self._file.tell())
        draft = _beside(self._wanted.path, ".partial.json.new")
        draft.write_bytes(msgspec.json.encode(at))
        draft.replace(self._side)
        hit("export.window")
        return at

    async def _read(self, at: _Progress) -> _Progress:
        """Page by page, each from a snapshot of its own; after a page, the windows that it completed are kept."""
        after: Any = None
        rows = at.rows
        span_ms = at.end_ms - at.start_ms
        while True:
            page = await self._store.read(self._page(at.next_ms, at.end_ms, after))
            last = len(page) < _PAGE
            whole_to = 0 if not page else _time_of(page[-1]) // WINDOW_MS * WINDOW_MS
            for record in page:
                if _time_of(record) >= whole_to > at.next_ms:
                    at = self._keep(msgspec.structs.replace(at, next_ms=whole_to, rows=rows))
                self._file.write(self._line(record))
                rows += 1
            if last:
                break
            after = page[-1]
            self._tell(_time_of(after) - at.start_ms, span_ms, rows)
        self._tell(span_ms, span_ms, rows)
        return self._keep(msgspec.structs.replace(at, next_ms=at.end_ms, rows=rows))

    def _page(self, start_ms: int, end_ms: int, after: Any) -> Callable[[Tx], Sequence[Answer | Event | CaseOrigin]]:
        wanted = self._wanted
        flow, segment = wanted.flow, wanted.segment
        match wanted.what:
            case "answers":
                history = wanted.history
                return lambda tx: tx.answers_page(
                    start_ms, end_ms, after=after, flow=flow, segment=segment, history=history, limit=_PAGE
                )
            case "events":
                return lambda tx: tx.events_page(start_ms, end_ms, after=after, limit=_PAGE)
            case "cases":
                case = None if after is None else after.case
                return lambda tx: tx.cases_page(start_ms, end_ms, after=case, flow=flow, segment=segment, limit=_PAGE)
            case _:
                assert_never(wanted.what)

    def _line(self, record: Answer | Event | CaseOrigin) -> bytes:
        row = cells_of(self._columns, event_row(record) if isinstance(record, Event) else record, self._show)
        if self._wanted.form == "csv":
            return sheets.csv_line(row, self._kinds, self._tz).encode()
        return msgspec.json.encode(row) + b"\n"

    def _make(self, at: _Progress) -> int:
        """The file itself and its dictionary, under names of their own; the number of texts that were cut."""
        path = self._wanted.path
        heads = [heading.kind for heading in DICTIONARY]
        dictionary = _beside(path, ".partial.dictionary")
        lines = [sheets.csv_line(row, heads, self._tz) for row in dictionary_rows(self._columns)]
        dictionary.write_text(sheets.csv_head(DICTIONARY) + "".join(lines), "utf-8", newline="")
        made = _beside(path, ".partial.made")
        if self._wanted.form == "csv":
            return 0
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._file.seek(0)
        rows: Iterator[Row] = map(msgspec.json.decode, self._file)
        if self._wanted.form == "xlsx":
            what = self._wanted.what
            cut = sheets.write_xlsx(made, what, self._headings, rows, tz=self._tz, made_ms=at.begun_ms)
        else:
            meanings = {column.name: column.en for column in self._columns}
            sheets.write_parquet(made, self._headings, rows, tz=self._tz, meaning=meanings.__getitem__)
            cut = 0
        with made.open("rb") as whole:
            os.fsync(whole.fileno())
        return cut

    async def _audit(self, step: str, at: _Progress) -> None:
        wanted, now_ms = self._wanted, self._clock.now_ms()
        start, end = (_day_of(ms, self._tz) for ms in (at.start_ms, at.end_ms - 1))
        parts = [f"{start}..{end}", wanted.form, "unmasked" if wanted.unmasked else "masked"]
        parts += [f"{name}={value}" for name, value in (("flow", wanted.flow), ("segment", wanted.segment)) if value]
        parts += ["history"] * wanted.history
        if step != "begun":
            parts.append(f"rows={at.rows}")
        entry = AuditEntry(
            id=self._chance.new_id(now_ms),
            at_ms=now_ms,
            actor=_ACTOR,
            action=f"export.{wanted.what}.{step}",
            subject="",
            detail=" ".join(parts),
        )
        await self._store.write(lambda tx: tx.audit(entry))


def _columns(wanted: Wanted) -> tuple[Column[Any], ...]:
    match wanted.what:
        case "answers":
            return (*ANSWERS, REPLACED) if wanted.history else ANSWERS
        case "events":
            return EVENTS
        case "cases":
            return CASES
        case _:
            assert_never(wanted.what)


_SPANS: dict[str, Callable[[Tx], tuple[int, int] | None]] = {
    "answers": Tx.answers_span,
    "events": Tx.events_span,
    "cases": Tx.cases_span,
}


def _time_of(record: Answer | Event | CaseOrigin) -> int:
    match record:
        case Answer():
            return record.answered_ms
        case Event():
            return record.occurred_ms
        case CaseOrigin():
            return record.case.opened_ms
        case _:
            assert_never(record)


def _day_of(at_ms: int, tz: tzinfo) -> str:
    return local_date(at_ms, tz).isoformat()


def _written(day: date | None) -> str:
    return "" if day is None else day.isoformat()

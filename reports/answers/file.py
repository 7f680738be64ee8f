"""Answers in a CSV file of any tool, read row by row with the line each began on: `koe metrics` counts them,
`koe import answers` stores them, `koe export answers` writes such files. Nothing is held in memory but the row at hand.

Source: docs/answers.md.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from flows.visible import spelled_line
from reports.sheets import unguard

COLUMNS = (
    "instrument",
    "value",
    "answered_at",
    "customer",
    "survey_kind",
    "touchpoint",
    "channel",
    "segment",
    "session",
    "lang",
    "wording_id",
    "label_set",
    "wave",
)
NEEDED = COLUMNS[:2]

_LABELS = tuple(
    COLUMNS.index(name)
    for name in ("instrument", "survey_kind", "touchpoint", "channel", "segment", "lang", "wording_id", "label_set")
)
"""Columns that reports name answers by: a line of visible characters each."""
_OF_EXPORTS = ("question", "replaced_at")
"""Columns that tell which rows of an export are no answers to be counted."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_BLANKS = frozenset({"None", "none", "nan", "NaN", "NaT", "NULL", "null", "<NA>"})
_PROGRESS_EVERY = 5_000
_JAPANESE_DATE = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[ T]*(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)?"
)


class AnswersFileError(Exception):
    """The file as a whole cannot be used; the message names it, the line where there is one, and what to do."""


class Row(NamedTuple):
    """One answer, its cells as texts without blanks around; "" for an empty cell or a column that is not there.
    `value` is as it stands in the file."""

    line: int
    """Of the file, 1 being the line of the column names; a row over several lines has the first of them."""
    instrument: str
    value: str
    answered_at: str
    customer: str
    survey_kind: str
    touchpoint: str
    channel: str
    segment: str
    session: str
    lang: str
    wording_id: str
    label_set: str
    wave: str = ""


class BadRow(NamedTuple):
    """A row that cannot be read, and why."""

    line: int
    message: str


class AnswersFile:
    """The rows of a file; made once the column names have been found in order.

    Args:
        path: a CSV file with a line of column names, UTF-8 with or without BOM.
        progress: called now and then, and at the end, with the number of bytes read since the last call.

    Raises:
        AnswersFileError: it cannot be opened, is no UTF-8, or its first line lacks a column.
    """

    def __init__(self, path: Path, progress: Callable[[int], None] = lambda read: None) -> None:
        self.path = path
        self._progress = progress
        self._told = 0
        with closing(self._records()) as records:
            first = next(records, None)
        if first is None:
            raise AnswersFileError(f"{path} is empty: its first line must name the columns, such as instrument,value.")
        _, header = first
        names = [unicodedata.normalize("NFKC", name).strip().casefold() for name in header]
        self._width = len(names)
        self._place = {name: names.index(name) for name in COLUMNS if name in names}
        self.unused: tuple[str, ...] = tuple(
            spelled_line(name) for name in names if name and name not in (*COLUMNS, *_OF_EXPORTS)
        )
        """Columns of the file that are not read, in its order."""
        self._question_at, self._replaced_at = (names.index(name) if name in names else -1 for name in _OF_EXPORTS)
        self.own = 0
        """Rows left out by the latest reading: answers to questions of the shop's own, which have no instrument."""
        self.former = 0
        """The same: answers that no longer count, of an export with its history."""
        self._refuse(names)

    @property
    def columns(self) -> frozenset[str]:
        """The columns of `COLUMNS` that the file has."""
        return frozenset(self._place)

    def _refuse(self, names: list[str]) -> None:
        missing = [name for name in NEEDED if name not in names]
        if missing:
            only = names[0] if len(names) == 1 else ""
            if "instrument" in only and (";" in only or "\t" in only):
                mark = "tabs" if "\t" in only else "semicolons"
                raise AnswersFileError(f"{self.path}:1: the columns are separated by {mark}: save it with commas.")
            found = spelled_line(", ".join(name for name in names if name)[:200]) or "none"
            raise AnswersFileError(
                f"{self.path}:1: there is no column {' and no column '.join(missing)}; the first line names the"
                f" columns, and here they are: {found}."
            )
        twice = [name for name in COLUMNS if names.count(name) > 1]
        if twice:
            raise AnswersFileError(f"{self.path}:1: the column {twice[0]} stands there twice: keep one of them.")

    def rows(self) -> Iterator[Row | BadRow]:
        """Every row in the order of the file, empty lines left out.

        Raises:
            AnswersFileError: at the first byte that is no UTF-8, or where the text is no CSV any more.
        """
        self.own = self.former = 0
        places = [self._place.get(name, -1) for name in COLUMNS]
        value_at = self._place["value"]
        for line, cells in islice(self._records(), 1, None):
            if len(cells) != self._width:
                yield BadRow(line, self._ragged(cells))
                continue
            # a cell past the end stands for the columns that the file does not have
            value = cells[value_at]
            cells.append("")
            texts = [cells[place].strip() for place in places]
            if not _BLANKS.isdisjoint(texts):
                texts = ["" if text in _BLANKS else text for text in texts]
            if any(text[:1] == "'" for text in texts):
                texts = [unguard(text) for text in texts]
            texts[1] = unguard(value)
            if self._replaced_at >= 0 and cells[self._replaced_at].strip():
                self.former += 1
                continue
            if not texts[0] and self._question_at >= 0 and cells[self._question_at].strip():
                self.own += 1
                continue
            if not texts[0]:
                yield BadRow(line, "instrument is empty: write which question was answered, such as nps.")
                continue
            # together, because almost every row is in order
            if not "".join([texts[place] for place in _LABELS]).isprintable():
                for place in _LABELS:
                    texts[place] = spelled_line(texts[place])
            yield Row(line, *texts)

    def _ragged(self, cells: list[str]) -> str:
        hint = "is a comma inside a cell without quotes?" if len(cells) > self._width else "is a comma missing?"
        if any("\n" in cell for cell in cells):
            hint = "is a quote left open?"
        count = f"{len(cells)} cell{'s' if len(cells) != 1 else ''}"
        return f"{count} where the first line names {self._width} columns: {hint}"

    def _records(self) -> Generator[tuple[int, list[str]]]:
        """(line on which it begins, cells) of every record but empty ones."""
        try:
            with self.path.open("rb") as raw:
                if raw.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                    raise AnswersFileError(f"{self.path}:1: it is UTF-16: save it as UTF-8 (“CSV UTF-8” in Excel).")
                raw.seek(0)
                text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
                reader = csv.reader(text)
                line = 1
                try:
                    for number, cells in enumerate(reader):
                        if cells:
                            yield line, cells
                        line = reader.line_num + 1
                        if number % _PROGRESS_EVERY == 0:
                            self._tell(raw.tell())
                except csv.Error as error:
                    raise AnswersFileError(
                        f"{self.path}:{line}: it is no CSV from here on ({error}): is a quote left open?"
                    ) from error
                self._tell(raw.tell())
        except UnicodeDecodeError as error:
            raise AnswersFileError(self._not_utf8()) from error
        except OSError as error:
            raise AnswersFileError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _tell(self, position: int) -> None:
        if position > self._told:
            self._progress(position - self._told)
            self._told = position

    def _not_utf8(self) -> str:
        with self.path.open("rb") as raw:
            for number, line in enumerate(raw, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    try:
                        line.decode("cp932")
                    except UnicodeDecodeError:
                        return f"{self.path}:{number}: this line is not UTF-8: save the file as UTF-8."
                    return (
                        f"{self.path}:{number}: this line is not UTF-8 but looks like Shift_JIS: save the file as UTF-8"
                        " (“CSV UTF-8” in Excel)."
                    )
        return f"{self.path} is not UTF-8: save the file as UTF-8."


def instant_ms(text: str, tz: tzinfo) -> int | None:
    """Milliseconds UTC of a written time, None when it is none, or of a year before 1970 or after 2100: tools write
    0001-01-01 and 9999-12-31 for “no time”. Without an offset it is a time of `tz`; a date alone is its midnight.

    >>> from zoneinfo import ZoneInfo
    >>> tokyo = ZoneInfo("Asia/Tokyo")
    >>> instant_ms("2026-11-16T10:00:00+09:00", tokyo) == instant_ms("2026/11/16 10:00", tokyo)
    True
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        found = _JAPANESE_DATE.fullmatch(unicodedata.normalize("NFKC", text).strip())
        if found is None:
            return None
        try:
            at = datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
        except ValueError:
            return None
    if not 1970 <= at.year <= 2100:
        return None
    return ms_of(at if at.tzinfo is not None else at.replace(tzinfo=tz))


def ms_of(at: datetime) -> int:
    """Milliseconds UTC of a time with an offset, exactly: a float of seconds would lose one now and then.

    >>> ms_of(datetime.fromisoformat("2026-11-21T14:38:08.123+09:00")) % 1000
    123
    """
    return (at - _EPOCH) // _MS


def named(instrument: str, known: frozenset[str]) -> str:
    """The id of an instrument as a file may write it (`NPS`, `ｎｐｓ`); as it stands when nobody knows it."""
    if instrument in known:
        return instrument
    folded = unicodedata.normalize("NFKC", instrument).casefold()
    return folded if folded in known else instrument

"""Rows to files that a spreadsheet opens: CSV, XLSX, Parquet. Whatever customers write stays text there, and no row but
the one at hand is held in memory."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

Form = Literal["csv", "xlsx", "parquet"]
FORMS: tuple[Form, ...] = ("csv", "xlsx", "parquet")

Cell = str | int | float | bool | None
Row = Sequence[Cell]
Kind = Literal["text", "number", "time", "flag"]
"""text: words and codes, of which a whole number may be an int, which stays one in CSV and XLSX; number: int or float;
time: ms since 1970 UTC, shown in local time; flag: True or False, 1 and 0 in CSV and XLSX. None is an empty cell."""

EXCEL_ROWS = 1_048_576
"""Rows of a sheet, the line of the names included. Source: Excel specifications and limits."""
EXCEL_TEXT = 32_767
"""Characters of a cell, in UTF-16: an emoji is two. A longer one makes Excel repair the file. Source: as above."""
_ROW_GROUP = 50_000

_FORMULA = re.compile(r"'*(?:[\t\r\n]|\s*[=+\-@＝＋－＠﹦﹢﹣﹫−])")
"""What a spreadsheet may take for a formula, also after blanks, and in the widths that a Japanese Excel folds. Leading
apostrophes are looked past, so that `unguard` finds what `guard` did."""
_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:+-]*")
_NO_CHARACTERS = re.compile("[\ufffe\uffff\ud800-\udfff]")


class SheetsError(Exception):
    """A file cannot be written in this format; the message says what to do."""


class Heading(NamedTuple):
    """The head of a column."""

    name: str
    kind: Kind


def check_form(form: Form) -> None:
    """Nothing, when files of this format can be written here.

    Raises:
        SheetsError: an extra package is missing.
    """
    if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise SheetsError(
            "Parquet needs the package pyarrow, which is not installed: pip install --require-hashes -r"
            " requirements/parquet.txt, or choose csv or xlsx."
        )


def guard(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet might read it as a formula.

    >>> guard("=1+1"), guard("＠こえ"), guard("a=1")
    ("'=1+1", "'＠こえ", 'a=1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """What `guard` was given.

    >>> unguard("'=1+1"), unguard("'tis")
    ('=1+1', "'tis")
    """
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def csv_line(row: Row, kinds: Sequence[Kind], tz: tzinfo) -> str:
    """One line of a CSV file: commas, CR LF; texts are guarded, and quoted unless they are plain words.

    >>> csv_line(["=1", 9, None, True, 0], ["text", "text", "text", "flag", "time"], UTC)
    '"\\'=1",9,,1,1970-01-01T00:00:00.000+00:00\\r\\n'
    """
    parts: list[str] = []
    for cell, kind in zip(row, kinds, strict=True):
        if cell is None:
            parts.append("")
        elif isinstance(cell, str):
            parts.append(_csv_text(cell))
        elif kind == "time":
            parts.append(_local(cell, tz))
        else:
            parts.append(str(int(cell)) if isinstance(cell, bool) else repr(cell))
    return ",".join(parts) + "\r\n"


@lru_cache(maxsize=8192)
def _csv_text(text: str) -> str:
    # quoted, so that no other separator of a spreadsheet's locale begins a cell within the text
    return text if not text or _PLAIN.fullmatch(text) else f'"{guard(text).replace(_QUOTE, _QUOTE * 2)}"'


_QUOTE = '"'


def csv_head(headings: Sequence[Heading]) -> str:
    """The first line of a CSV file, after the mark by which Excel knows UTF-8."""
    return "\ufeff" + ",".join(heading.name for heading in headings) + "\r\n"


def _local(at_ms: float, tz: tzinfo) -> str:
    second, ms = divmod(int(at_ms), 1000)
    begin, offset = _second(second, tz)
    return f"{begin}.{ms:03d}{offset}"


@lru_cache(maxsize=4096)
def _second(second: int, tz: tzinfo) -> tuple[str, str]:
    """The local time of a second and its offset; answers of one talk share some."""
    text = datetime.fromtimestamp(second, tz).isoformat()
    return text[:19], text[19:]


def write_xlsx(
    path: Path, title: str, headings: Sequence[Heading], rows: Iterable[Row], *, tz: tzinfo, made_ms: int
) -> int:
    """Write a workbook; gives the number of texts that were cut to what a cell can hold.

    Rows past the limit of a sheet go on in a second one, `title (2)`, with the names of the columns again. Times are
    local and without an offset, as Excel keeps them. The same arguments give the same bytes.

    What is written before it can be packed stands in the folder `path`.parts; one that a kill left is emptied.

    Raises:
        SheetsError: a sheet is beyond what the format of the file can hold.
    """
    parts = path.with_name(f"{path.name}.parts")
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(mode=0o700)
    try:
        return _packed_xlsx(path, parts, title, headings, rows, tz=tz, made_ms=made_ms)
    finally:
        shutil.rmtree(parts)


def _packed_xlsx(
    path: Path,
    parts: Path,
    title: str,
    headings: Sequence[Heading],
    rows: Iterable[Row],
    *,
    tz: tzinfo,
    made_ms: int,
) -> int:
    import xlsxwriter
    import xlsxwriter.exceptions

    book = xlsxwriter.Workbook(
        str(path),
        {
            "constant_memory": True,
            "tmpdir": str(parts),
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    book.set_properties({"created": datetime.fromtimestamp(made_ms / 1000, UTC).replace(tzinfo=None)})
    bold = book.add_format({"bold": True})
    dated = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    # a text stays one when somebody edits its cell
    quoted = book.add_format({"quote_prefix": True})
    kinds = [heading.kind for heading in headings]
    cut = number = 0
    source = iter(rows)
    while True:
        # the first row of a sheet is fetched before the sheet is made: there is no empty one at the end
        page = list(islice(source, 1))
        if number and not page:
            break
        number += 1
        sheet = book.add_worksheet(title if number == 1 else f"{title} ({number})")
        sheet.freeze_panes(1, 0)
        for column, heading in enumerate(headings):
            sheet.set_column(column, column, 20 if heading.kind == "time" else 14)
            sheet.write_string(0, column, heading.name, bold)
        for line, row in enumerate(_chained(page, islice(source, EXCEL_ROWS - 2)), 1):
            for column, (cell, kind) in enumerate(zip(row, kinds, strict=True)):
                if cell is None or cell == "":
                    continue
                if isinstance(cell, str):
                    text = _NO_CHARACTERS.sub("\ufffd", cell)
                    if len(text) > EXCEL_TEXT // 2 and len(wide := text.encode("utf-16-le")) > 2 * EXCEL_TEXT:
                        cut += 1
                        text = wide[: 2 * EXCEL_TEXT].decode("utf-16-le", "ignore")
                    sheet.write_string(line, column, text, quoted if _FORMULA.match(text) else None)
                elif kind == "time":
                    at = datetime.fromtimestamp(cell / 1000, tz).replace(tzinfo=None)
                    sheet.write_datetime(line, column, at, dated)
                else:
                    sheet.write_number(line, column, cell)
    try:
        book.close()
    except xlsxwriter.exceptions.FileSizeError as error:
        raise SheetsError(
            "the workbook would be larger than Excel can open (4 GB of rows): choose csv or parquet, or a shorter"
            " period with --from and --to."
        ) from error
    return cut


def _chained(first: list[Row], rest: Iterable[Row]) -> Iterable[Row]:
    yield from first
    yield from rest


def write_parquet(
    path: Path, headings: Sequence[Heading], rows: Iterable[Row], *, tz: tzinfo, meaning: Callable[[str], str]
) -> None:
    """Write a Parquet file: texts as strings, numbers as doubles, times as instants in ms with the time zone, flags as
    booleans; what `meaning` says of a column is kept as its description.

    Raises:
        SheetsError: pyarrow is not installed.
    """
    check_form("parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[Kind, Any] = {
        "text": pa.string(),
        "number": pa.float64(),
        "time": pa.timestamp("ms", tz=str(tz)),
        "flag": pa.bool_(),
    }
    schema = pa.schema([pa.field(h.name, types[h.kind], metadata={"description": meaning(h.name)}) for h in headings])
    source = iter(rows)
    with pq.ParquetWriter(str(path), schema, compression="zstd") as writer:
        while page := list(islice(source, _ROW_GROUP)):
            columns = [
                pa.array([_as_text(cell) for cell in cells] if heading.kind == "text" else cells, types[heading.kind])
                for heading, cells in zip(headings, zip(*page, strict=True), strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _as_text(cell: Cell) -> str | None:
    return cell if cell is None or isinstance(cell, str) else str(cell)

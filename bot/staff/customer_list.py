"""A list of customers as staff save it: whom each line names."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Final

from bot.slack.words import cut, storable

FILE_LIMIT: Final = 1_000_000
"""Bytes of a file."""
ROWS_LIMIT: Final = 5_000
_CUSTOMER_COLUMNS = ("customer", "customer_id", "お客さま番号", "顧客番号")
_ORDER_COLUMNS = ("order", "order_id", "注文番号")


class BadList(ValueError):
    """A file that cannot be a list of customers; `key` says which sentence tells why."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.values = values


@dataclass(frozen=True, slots=True)
class ListedRow:
    """One line of a list: whom it names, by id or by order number."""

    line: int
    word: str
    by_order: bool


def read_list(content: bytes) -> list[ListedRow]:
    """The customers that a CSV file names, with the numbers of its lines; empty lines are left out. UTF-8, with or
    without a BOM; a column `customer` or `order`, or a single column of ids without a heading.

    Raises:
        BadList: not UTF-8, no such column, nobody in it, or too long.

    >>> [row.word for row in read_list("\\ufeffcustomer,name\\nC001,田中\\n".encode())]
    ['C001']
    """
    if len(content) > FILE_LIMIT:
        raise BadList("bad.size")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadList("bad.sjis" if _is_shift_jis(content) else "bad.encoding") from None
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max((",", "\t", ";"), key=first.count)
    # a quotation mark that never ends makes one endless cell: csv says so
    try:
        rows = [
            (reader.line_num, [storable(cell).strip() for cell in row])
            for reader in [csv.reader(io.StringIO(text), delimiter=delimiter)]
            for row in reader
        ]
    except csv.Error:
        raise BadList("bad.encoding") from None
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows:
        raise BadList("bad.empty")
    heading = [cell.casefold() for cell in rows[0][1]]
    by_customer = next((i for i, cell in enumerate(heading) if cell in _CUSTOMER_COLUMNS), None)
    by_order = next((i for i, cell in enumerate(heading) if cell in _ORDER_COLUMNS), None)
    column = by_customer if by_customer is not None else by_order
    if column is None:
        if any(len(row) > 1 for _, row in rows):
            raise BadList("bad.columns", found=cut(", ".join(rows[0][1]), 100))
        column, body = 0, rows
    else:
        body = rows[1:]
    found = [
        ListedRow(line, row[column][:200], by_customer is None and by_order is not None)
        for line, row in body
        if len(row) > column and row[column]
    ]
    if not found:
        raise BadList("bad.empty")
    if len(found) > ROWS_LIMIT:
        raise BadList("bad.rows")
    return found


def _is_shift_jis(content: bytes) -> bool:
    try:
        content.decode("cp932")
    except UnicodeDecodeError:
        return False
    return not content.startswith((b"\xff\xfe", b"\xfe\xff"))

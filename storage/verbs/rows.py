"""Rows as records, and lists of words as one text for SQL."""

from __future__ import annotations

from collections.abc import Sequence

from storage.connection import Row
from storage.records import Answer, Event

MARK = "\x1f"
"""Surrounds each word of a list given to SQL as one text: `REPLACE(:list, :mark || col || :mark, '') <>
:list` is true when the list has the column's value. Both databases know REPLACE, and no statement has to be
assembled."""


def marked(words: Sequence[str]) -> str:
    """These words as one text, "" for none; see `MARK`."""
    return f"{MARK}{MARK.join(words)}{MARK}" if words else ""


def event_of(row: Row) -> Event:
    """An event from a row of all its columns, in the order of the table."""
    return Event(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]))


def answer_of(row: Row) -> Answer:
    """An answer from a row of all its columns, in the order of the record."""
    return Answer(*(*row[:9], bool(row[9]), *row[10:20], bool(row[20]), *row[21:23], bool(row[23]), *row[24:]))

"""What a verb asks of a database: run a statement, read rows. Both engines fit through this small opening.

An engine that speaks another parameter style translates `:name` itself; one whose driver awaits (asyncpg)
bridges to the thread the unit runs on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Row = tuple[Any, ...]
Params = Mapping[str, Any]


class Connection(Protocol):
    """A transaction that is open, seen from inside a unit of work. Errors are those of storage.errors."""

    def run(self, sql: str, params: Params = ...) -> int:
        """Number of rows the statement changed."""
        ...

    def one(self, sql: str, params: Params = ...) -> Row | None:
        """The first row, or None."""
        ...

    def all(self, sql: str, params: Params = ...) -> list[Row]:
        """Every row."""
        ...

    def damages(self) -> list[str]:
        """What the database's own check finds wrong; empty when all is well."""
        ...


def clean(text: str) -> str:
    """The text as both databases can keep it: NUL and lone surrogates become U+FFFD, everything else stays.

    PostgreSQL refuses NUL, UTF-8 cannot spell a lone surrogate; chat clients and broken webhooks send both.

    >>> clean("a\\x00b\\ud83dc") == "a\\ufffdb\\ufffdc"
    True
    """
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if _has_surrogate(text) else text


def _has_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False

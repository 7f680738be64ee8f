"""What a verb asks of a database: run a statement, read rows. Both engines fit through this small opening.

Values come by name (`:name`), or by place (`?`) for whole rows on the way of every answer, where a place costs half of
what a name does. An engine that speaks another parameter style translates both itself; one whose driver awaits
(asyncpg) bridges to the thread the unit runs on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Row = tuple[Any, ...]
Params = Mapping[str, Any] | Row


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


def without_nul(text: str) -> str:
    """The text without NUL, for one that is bound and nothing else: the engine sees to the other characters that its
    database refuses when it does, and does not encode every long text twice to find out."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def clean(text: str) -> str:
    r"""The text as both databases can keep it: NUL and lone surrogates become U+FFFD, everything else stays.

    PostgreSQL refuses NUL, UTF-8 cannot spell a lone surrogate; chat clients and broken webhooks send both. The two
    halves of one character, sent apart, become that character.

    >>> clean("a\x00b\ud83dc\ud83d\ude00") == "a\ufffdb\ufffdc\U0001f600"
    True
    """
    text = without_nul(text)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text

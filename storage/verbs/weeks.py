"""Closed weeks kept as columns: what reports would otherwise read row by row, again for each digest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from storage.verbs.transaction import Verbs

Subject = Literal["answers", "events"]
LONGEST_WEEK_MS = 8 * 86_400_000
"""Seven days, and an hour of summer time: what lies further back than this from an instant cannot hold it."""


class WeekVerbs(Verbs):
    """Columns of closed weeks, as opaque bytes.

    The columns of a week hold when each of their rows is there still, unchanged: a verb that changes or deletes a row
    drops the week's columns in the same transaction (`_drop_columns`). One that adds a row does nothing: as no row is
    missing, a week with as many rows as its columns were made of is made of these rows. So what an answer or an event
    costs when it comes in does not depend on whether anything is kept.
    """

    def stored_between(self, subject: Subject, start_ms: int, end_ms: int) -> int:
        """Rows of [start, end): counted answers, whatever the question, or business events."""
        row = self._db.one(
            "SELECT CASE :subject"
            " WHEN 'answers' THEN"
            " (SELECT COUNT(*) FROM answers WHERE answered_ms >= :start_ms AND answered_ms < :end_ms)"
            " ELSE (SELECT COUNT(*) FROM events WHERE occurred_ms >= :start_ms AND occurred_ms < :end_ms) END",
            {"subject": subject, "start_ms": start_ms, "end_ms": end_ms},
        )
        assert row is not None
        return int(row[0])

    def kept_between(self, subject: Subject, start_ms: int, end_ms: int, *, form: str) -> list[tuple[int, int]]:
        """The weeks within [start, end) whose columns are there in this form and hold, oldest first."""
        rows = self._db.all(
            "SELECT start_ms, end_ms, stored FROM week_columns WHERE subject = :subject AND start_ms >= :start_ms"
            " AND end_ms <= :end_ms AND form = :form AND builder = '' ORDER BY start_ms",
            {"subject": subject, "start_ms": start_ms, "end_ms": end_ms, "form": form},
        )
        return [(start, end) for start, end, stored in rows if stored == self.stored_between(subject, start, end)]

    def columns_of(self, subject: Subject, start_ms: int, end_ms: int, *, form: str) -> bytes | None:
        """The columns of exactly this week, as they were given to `keep_columns`; None where there are none that
        hold."""
        row = self._db.one(
            "SELECT columns, stored FROM week_columns WHERE subject = :subject AND start_ms = :start_ms"
            " AND end_ms = :end_ms AND form = :form AND builder = ''",
            {"subject": subject, "start_ms": start_ms, "end_ms": end_ms, "form": form},
        )
        if row is None or row[1] != self.stored_between(subject, start_ms, end_ms):
            return None
        return bytes(row[0])

    def begin_columns(self, subject: Subject, weeks: Sequence[tuple[int, int]], *, builder: str) -> None:
        """Say that the columns of these weeks are about to be made. What is there of the same time goes.

        The rows are to be read afterwards, in a transaction of its own that needs to lock nobody out: whoever drops a
        week's columns meanwhile ends this, and `keep_columns` will keep nothing.

        Args:
            subject: of what.
            weeks: [start, end) of each, in milliseconds; at most LONGEST_WEEK_MS long.
            builder: a name that nobody else has, drawn by chance.

        Raises:
            ValueError: a week is too long to be found by an instant in it.
        """
        for start_ms, end_ms in weeks:
            if not 0 < end_ms - start_ms <= LONGEST_WEEK_MS:
                raise ValueError(f"columns of {start_ms} to {end_ms}: no week is that long")
            params = {"subject": subject, "start_ms": start_ms, "end_ms": end_ms, "builder": builder}
            self._db.run(
                "DELETE FROM week_columns WHERE subject = :subject AND start_ms < :end_ms AND end_ms > :start_ms",
                params,
            )
            self._db.run(
                "INSERT INTO week_columns (subject, start_ms, end_ms, builder, form, stored, columns)"
                " VALUES (:subject, :start_ms, :end_ms, :builder, '', 0, '')",
                params,
            )

    def keep_columns(
        self, subject: Subject, week: tuple[int, int], columns: bytes, *, form: str, stored: int, builder: str
    ) -> bool:
        """Keep the columns of a week; False where `begin_columns` of this builder does not stand any more, because a
        row was changed or deleted since, or because somebody else has begun.

        Args:
            subject: of what.
            week: as it was begun.
            columns: what to keep.
            form: how they are made and of which settings; asked for by the same text.
            stored: `stored_between` in the transaction that read the rows.
            builder: who began.
        """
        return (
            self._db.run(
                "UPDATE week_columns SET builder = '', form = :form, stored = :stored, columns = :columns"
                " WHERE subject = :subject AND start_ms = :start_ms AND end_ms = :end_ms AND builder = :builder",
                {
                    "subject": subject,
                    "start_ms": week[0],
                    "end_ms": week[1],
                    "columns": columns,
                    "form": form,
                    "stored": stored,
                    "builder": builder,
                },
            )
            == 1
        )

    def _drop_columns(self, subject: Subject, at_ms: int) -> None:
        """A row of this instant is changed or deleted: the columns of its week do not hold."""
        self._db.run(
            "DELETE FROM week_columns WHERE subject = :subject AND start_ms <= :at_ms AND start_ms > :from_ms"
            " AND end_ms > :at_ms",
            {"subject": subject, "at_ms": at_ms, "from_ms": at_ms - LONGEST_WEEK_MS},
        )

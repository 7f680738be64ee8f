"""The store: units of work over a transaction whose verbs (storage/verbs, by subject) speak the words of the domain.

A *unit* is a plain function of a `Tx`. `Store.write(unit)` runs it on the loop, in a transaction that it shares with
its neighbours, and returns its result once that is durable (group commit); an exception rolls back that unit alone
and is raised to its caller. `Store.read(unit)` runs it on a reader's connection, which sees
the last commit.

Texts are kept as both databases can keep them: NUL and lone surrogates become U+FFFD
(storage.connection.clean).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from storage.errors import StoreError
from storage.records import (
    Registration,
)
from storage.sqlite import SqliteEngine, peek
from storage.verbs.figures import FigureVerbs
from storage.verbs.rights import KEPT_FROM, RightsVerbs
from storage.verbs.trust import TrustVerbs

T = TypeVar("T")
Unit = Callable[["Tx"], T]


class Tx(RightsVerbs, FigureVerbs, TrustVerbs):
    """One transaction with all its verbs. None awaits, commits or asks for the time."""

    def check_integrity(self) -> list[str]:
        """Sentences about what is wrong; empty when all is well."""
        wrong = self._db.damages()
        wrong += [
            f"{count} jobs of lane {lane} are leased at once"
            for lane, count in self._db.all(
                "SELECT lane, COUNT(*) FROM jobs WHERE state = 'leased' AND finished_ms IS NULL AND lane <> ''"
                " GROUP BY lane HAVING COUNT(*) > 1"
            )
        ]
        wrong += [
            f"job {job_id} is {state} and would never be claimed"
            for job_id, state in self._db.all(
                "SELECT id, state FROM jobs WHERE (state IN ('ready', 'leased')) <> (claim_ms IS NOT NULL)"
                " OR (state IN ('ready', 'leased', 'held')) <> (finished_ms IS NULL)"
            )
        ]
        # weeks whose answers are past their retention have counts only
        first = self.get_meta(KEPT_FROM) or ""
        kept = self.rollup(first, "9999-12-31")
        if kept != (fresh := [cell for cell in self.recompute_rollup() if cell.week >= first]):
            differing = set(kept) ^ set(fresh)
            wrong.append(f"the roll-up differs from a recomputation in {len(differing)} cells")
        return wrong


class Store:
    """A database that is open. Made by `open_store(url, …)`; close it, or use it as an async context."""

    def __init__(self, engine: SqliteEngine[Tx]) -> None:
        self._engine = engine

    async def write(self, unit: Unit[T], *, repeatable: bool = False, within_s: float = 0.0) -> T:
        """What `unit` returned, once it is durable. Its exception, if it raised one: then nothing of it is stored.

        A cancelled caller does not undo a unit that has started: it is stored whole or not at all, like any other.

        Args:
            repeatable: it may run more than once, and the last time counts: whatever it does outside the transaction it
                does anew, or need not do again. Such units share a transaction without a savepoint each, which is a
                twentieth of what an answer costs.
            within_s: wait so long for other units to come, run before them, and share their commit: for what nobody
                waits for, and what makes theirs cheaper. 0.0: at once.

        Raises:
            StoreBusy: the database is locked or the disk is full; nothing was stored.
            StoreError: it is closed, or refused a statement.
        """
        return await self._engine.write(unit, repeatable=repeatable, within_s=within_s)

    def hurry(self) -> None:
        """Units that wait for others to share their commit wait no longer."""
        self._engine.hurry()

    async def read(self, unit: Unit[T]) -> T:
        """What `unit` returned from a snapshot of the last commit. A unit that writes is refused (StoreError)."""
        return await self._engine.read(unit)

    def glance(self, unit: Unit[T]) -> T:
        """As `read`, at once, on the loop itself: for a look at a few rows by key, where a thread's round trip would
        cost more than the look."""
        return self._engine.glance(unit)

    async def compact(self) -> bool:
        """Empty the write-ahead log, so that what was erased is nowhere on the disk. False when somebody was reading:
        ask again a little later. (The last one to close a database does the same.)

        Raises:
            StoreError: this store is not the server's (P15).
        """
        return await self._engine.compact()

    async def close(self) -> None:
        """Finish what is queued, then close. Further units are refused."""
        await self._engine.close()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def registrations_in(url: str) -> list[Registration]:
    """The experiments registered in the database at this address, which is left as it is; none where there is none."""
    if not url.startswith("sqlite:///"):
        return []
    rows = peek(Path(url.removeprefix("sqlite:///")), "SELECT id, definition, registered_ms FROM experiments")
    return [Registration(*row) for row in rows]


async def open_store(
    url: str, *, now_ms: int, server: bool = False, create: bool = True, busy_timeout_ms: int | None = None
) -> Store:
    """The database of this address, with the schema of this version.

    Args:
        url: `sqlite:///koe.db` (relative to the working directory) or `sqlite:////var/lib/koe/koe.db`.
        now_ms: the time noted for migrations that are applied now.
        server: take the lock of the one server, and move the write-ahead log into the file now and then.
            Commands that work beside a server leave both alone.
        create: False refuses when there is no file.
        busy_timeout_ms: how long to wait for another process's lock; by default 5 s for a server (a webhook
            waits), 30 s for a command (a busy server leaves small gaps).

    Raises:
        StoreError: the address is not understood, or there is no such file.
        StoreInUse: another server works on this file.
        SchemaTooNew: the file was written by a newer version.
        StoreBusy: it stayed locked.
    """
    if url.startswith(("postgresql://", "postgres://")):
        raise StoreError("this version of Koe stores in SQLite only: set KOE_DATABASE_URL to sqlite:///koe.db")
    path = url.removeprefix("sqlite:///")
    if path == url or path in ("", ":memory:") or "?" in path:
        raise StoreError(
            f"KOE_DATABASE_URL is {url!r}; it must look like sqlite:///koe.db or sqlite:////var/lib/koe/koe.db"
        )
    if busy_timeout_ms is None:
        busy_timeout_ms = 5_000 if server else 30_000
    engine = await SqliteEngine.open(
        Path(path), Tx, now_ms=now_ms, server=server, create=create, busy_timeout_ms=busy_timeout_ms
    )
    return Store(engine)

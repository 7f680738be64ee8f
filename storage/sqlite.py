"""SQLite: one writer with group commit, readers of their own; the loop never waits for a disk or a lock.

Units of work queue up; all that queued while the last commit was on its way to the disk share the next one, and yet
one that fails leaves nothing behind: see `_Writer.run_units`. Units run on the loop, between two awaits; what can wait
– somebody else's lock, the commit – happens on aiosqlite's thread: see `_Writer`. Results go back only after their
commit is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import aiosqlite

from storage.connection import Connection, Params, Row, clean
from storage.errors import Conflict, StoreBusy, StoreError, StoreInUse
from storage.failpoints import hit
from storage.migrate import load_migrations, migrate

S = TypeVar("S")
T = TypeVar("T")

_NONE: dict[str, Any] = {}
_READERS = 2
_BATCH = 64
"""Most units in one transaction: bounds what one failing commit can take with it, and how long the loop is busy with
them (a unit takes 0.1 to 0.3 ms)."""

_BUSY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
}

_LOG_SHORT, _LOG_LONG = 256, 1024
"""After so many units the write-ahead log is moved into the file: when nobody waits, or in any case. A unit of an
answer writes some ten pages."""

Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]
Queued = tuple[Callable[[Any], Any], "asyncio.Future[Any]", bool]
"""A unit, who waits for it, and whether it is repeatable."""
Queue = deque[Queued]


def peek(path: Path, sql: str) -> list[Row]:
    """Rows of a database file that is left as it is: not made, migrated or locked. Empty when it cannot be read, or
    knows no such table."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()
    except sqlite3.Error:
        return []


class SqliteEngine(Generic[S]):
    """An open database file. `S` is what a unit is handed: made once per connection by `scope`."""

    def __init__(self, path: Path, lock: int | None, writer: _Lane[S], readers: _Lane[S], glances: _Lane[S]) -> None:
        self._path = path
        self._lock = lock
        self._writer = writer
        self._readers = readers
        self._glances = glances

    @classmethod
    async def open(
        cls,
        path: Path,
        scope: Callable[[Connection], S],
        *,
        now_ms: int,
        server: bool,
        create: bool,
        busy_timeout_ms: int,
    ) -> SqliteEngine[S]:
        """Opened and migrated.

        Raises:
            StoreError: no such file (or folder), or not a Koe database.
            StoreInUse: another server works on it.
            SchemaTooNew: it was written by a newer version.
            StoreBusy: it stayed locked, or the disk is full.
        """
        lock = _lock_for_server(path) if server else None
        try:
            await asyncio.to_thread(_prepare, path, now_ms=now_ms, create=create, busy_timeout_ms=busy_timeout_ms)
            writer = await _Lane.open(path, scope, _Writer, 1, server=server, busy_timeout_ms=busy_timeout_ms)
            try:
                readers = await _Lane.open(
                    path, scope, _Reader, _READERS, server=server, busy_timeout_ms=busy_timeout_ms
                )
                glances = await _Lane.open(path, scope, _Reader, 1, server=server, busy_timeout_ms=0)
            except BaseException:
                await writer.close()
                raise
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        return cls(path, lock, writer, readers, glances)

    async def write(self, unit: Callable[[S], T], *, repeatable: bool = False, within_s: float = 0.0) -> T:
        """What `unit` returned, once it is durable. `repeatable`: it may run more than once, and the last time counts.
        `within_s`: it waits so long for others to share their commit, and runs before them."""
        return await self._writer.submit(unit, repeatable=repeatable, within_s=within_s)

    def hurry(self) -> None:
        """Whoever waits for others to share their commit waits no longer."""
        self._writer.hurry()

    async def read(self, unit: Callable[[S], T]) -> T:
        """What `unit` returned, from a snapshot of the last commit."""
        return await self._readers.submit(unit)

    def glance(self, unit: Callable[[S], T]) -> T:
        """What `unit` returned, from a snapshot of the last commit, at once."""
        return self._glances.glance(unit)

    async def compact(self) -> bool:
        """Move the write-ahead log into the file and empty it. False when a reader was in the way: try again
        later."""
        if self._lock is None:
            raise StoreError(
                "only the server empties the write-ahead log (two processes doing it can corrupt the file)"
            )
        return await self._writer.compact()

    async def close(self) -> None:
        """Finish what is queued and close. Nothing may be submitted afterwards."""
        await self._glances.close()
        await self._readers.close()
        await self._writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _Link(sqlite3.Connection):
    """One connection: runs the statements of a verb (storage.connection.Connection) and drains the units
    queued for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursor = self.cursor()  # one for all statements: every result is read to its end before the next
        self.queue: Queue = deque()
        self.scope: Any = None
        self.deliver: Callable[[list[Outcome]], None] = lambda outcomes: None

    def run(self, sql: str, params: Params = _NONE) -> int:
        try:
            return self._cursor.execute(sql, params).rowcount
        except (sqlite3.Error, UnicodeEncodeError) as error:
            return self._again(sql, params, error).rowcount

    def one(self, sql: str, params: Params = _NONE) -> Row | None:
        try:
            rows = self._cursor.execute(sql, params).fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            rows = self._again(sql, params, error).fetchall()
        return rows[0] if rows else None

    def all(self, sql: str, params: Params = _NONE) -> list[Row]:
        try:
            return self._cursor.execute(sql, params).fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            return self._again(sql, params, error).fetchall()

    def damages(self) -> list[str]:
        found = [f"SQLite: {row[0]}" for row in self.all("PRAGMA integrity_check") if row[0] != "ok"]
        return found + [
            f"SQLite: a row of {row[0]} refers to nothing in {row[2]}" for row in self.all("PRAGMA foreign_key_check")
        ]

    def _again(self, sql: str, params: Params, error: Exception) -> sqlite3.Cursor:
        """The statement with clean texts, when that was what was wrong; else the error in this room's
        words."""
        if isinstance(error, sqlite3.Error):
            raise _translated(error) from error
        try:
            return self._cursor.execute(sql, _clean_values(params))
        except sqlite3.Error as second:
            raise _translated(second) from second


class _Writer(_Link):
    """Runs units on the loop and commits on its thread.

    A statement lets go of the interpreter lock and has to win it back; on a thread beside a busy loop that costs more
    than the statement. So units – plain, short functions – run on the loop, where nobody else wants the lock, and what
    waits for others or for the disk (a lock, the commit) happens on the thread.
    """

    outcomes: list[Outcome]
    patience_ms: int
    moves_log: bool

    def begin(self) -> bool:
        """On the loop: start a transaction for what is queued. False when somebody else holds the lock."""
        try:
            if self.in_transaction:
                super().rollback()  # left over from a rollback that failed
            # IMMEDIATE: a transaction that starts by reading and then writes is refused at once when somebody else
            # has written in between.
            self._cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            return False
        return True

    def run_units(self) -> None:
        """On the loop, in the transaction: run what is queued. What became of it is kept in `outcomes` until the
        commit.

        A unit that fails is undone, and its neighbours are not. Savepoints do that, and keep a copy of each page that a
        unit is about to change, which is more than some units cost. Failures are rare: so a batch of units that can be
        repeated goes without, and when one of them fails all are undone and run again, each in a savepoint.
        """
        queue = self.queue
        batch = [queue.popleft() for _ in range(min(len(queue), _BATCH))]
        if not all(repeatable for _, _, repeatable in batch) or not self._run_without_savepoints(batch):
            if self.in_transaction or self.begin():
                self._run_in_savepoints(batch)
            else:
                queue.extendleft(reversed(batch))

    def _run_without_savepoints(self, batch: Sequence[Queued]) -> bool:
        """False when one failed; nothing of any is left then."""
        scope = self.scope
        try:
            self.outcomes = [(future, unit(scope), None) for unit, future, _ in batch if not future.cancelled()]
        except BaseException:  # noqa: BLE001 – the next run tells its caller
            self.outcomes = []
            with contextlib.suppress(sqlite3.Error):
                super().rollback()
            return False
        return self.in_transaction

    def _run_in_savepoints(self, batch: Sequence[Queued]) -> None:
        cursor, scope = self._cursor, self.scope
        outcomes: list[Outcome] = []
        self.outcomes = outcomes
        for place, (unit, future, _) in enumerate(batch):
            if future.cancelled():
                continue
            try:
                cursor.execute("SAVEPOINT unit")
                try:
                    result = unit(scope)
                except BaseException:
                    if self.in_transaction:
                        cursor.execute("ROLLBACK TO unit")
                        cursor.execute("RELEASE unit")
                    raise
                cursor.execute("RELEASE unit")
                outcomes.append((future, result, None))
            except BaseException as error:  # noqa: BLE001 – whatever a unit raises belongs to its caller
                own = _translated(error) if isinstance(error, sqlite3.Error) else error
                if not self.in_transaction:
                    # a full disk can make SQLite give up the whole transaction: the neighbours' work is gone, too
                    self.outcomes = [*_lost(outcomes, own), (future, None, own)]
                    self.queue.extendleft(reversed(batch[place + 1 :]))
                    return
                outcomes.append((future, None, own))

    def commit(self) -> None:
        """On the thread: wait for the lock if `begin` could not have it, or make the batch durable. Never raises: what
        goes wrong is told to the units it went wrong for."""
        if not self.in_transaction:
            if self.outcomes or not self.queue:
                return
            try:
                self._cursor.execute(f"PRAGMA busy_timeout = {self.patience_ms}")
                try:
                    self._cursor.execute("BEGIN IMMEDIATE")
                finally:
                    self._cursor.execute("PRAGMA busy_timeout = 0")
            except sqlite3.Error as error:
                refused = [self.queue.popleft()[1] for _ in range(min(len(self.queue), _BATCH))]
                self.outcomes = [(future, None, _translated(error)) for future in refused]
            return
        try:
            hit("store.before_commit")
            super().commit()
        except Exception as error:  # noqa: BLE001 – the same: also what a failpoint raises
            with contextlib.suppress(sqlite3.Error):
                super().rollback()
            self.outcomes = _lost(self.outcomes, error)
            return
        try:
            hit("store.after_commit")
        except Exception as error:  # noqa: BLE001 – durable, and yet the callers hear of a failure
            self.outcomes = _lost(self.outcomes, error)


class _Reader(_Link):
    def glance(self, unit: Callable[[Any], T]) -> T:
        """On the loop: one unit in a snapshot of its own."""
        try:
            self._cursor.execute("BEGIN")
            return unit(self.scope)
        except sqlite3.Error as error:
            raise _translated(error) from error
        finally:
            with contextlib.suppress(sqlite3.Error):
                super().rollback()

    def commit(self) -> None:
        """Drain the queue, each unit in a snapshot of its own. Never raises."""
        while True:
            try:
                unit, future, _ = self.queue.popleft()  # shared with the other readers
            except IndexError:
                return
            if future.cancelled():
                continue
            result, failed = None, None
            try:
                self._cursor.execute("BEGIN")
                result = unit(self.scope)
            except BaseException as error:  # noqa: BLE001 – whatever a unit raises belongs to its caller
                failed = _translated(error) if isinstance(error, sqlite3.Error) else error
            finally:
                with contextlib.suppress(sqlite3.Error):
                    super().rollback()
            self.deliver([(future, result, failed)])


class _Lane(Generic[S]):
    """A queue of units and the connections that drain it."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._patient: list[Queued] = []
        """Those that wait for others to share their commit, and until when the first of them does."""
        self._patience: asyncio.TimerHandle | None = None
        self._links: list[aiosqlite.Connection] = []
        self._idle: list[aiosqlite.Connection] = []
        self._drains: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._writer: _Writer | None = None
        self._glancer: _Reader | None = None
        self._wanted = 0
        self._logged = 0
        """Units since the write-ahead log was moved into the file."""

    @classmethod
    async def open(
        cls,
        path: Path,
        scope: Callable[[Connection], S],
        kind: type[_Link],
        count: int,
        *,
        server: bool,
        busy_timeout_ms: int,
    ) -> _Lane[S]:
        queue: Queue = deque()
        lane: _Lane[S] = cls(queue)

        def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            link = kind(*args, **kwargs)
            link.queue, link.scope, link.deliver = queue, scope(link), lane._deliver
            if isinstance(link, _Reader):
                lane._glancer = link
            if isinstance(link, _Writer):
                link.outcomes, link.patience_ms, link.moves_log = [], busy_timeout_ms, server
                link.execute("PRAGMA busy_timeout = 0")
                lane._writer = link
            for pragma in _pragmas(reader=kind is _Reader, server=server):
                link.execute(pragma)
            return link

        try:
            for _ in range(count):
                lane._links.append(
                    await aiosqlite.connect(
                        path,
                        factory=connect,
                        isolation_level=None,
                        # every statement of storage/store.py stays prepared
                        cached_statements=512,
                        # how long to wait for somebody else's lock: a command beside the server, or a backup
                        timeout=busy_timeout_ms / 1000,
                        # the writer's units run on the loop, its commits on aiosqlite's thread – never at once
                        check_same_thread=False,
                    )
                )
        except sqlite3.Error as error:
            await lane.close()
            raise _translated(error) from error
        lane._idle = list(lane._links)
        return lane

    async def submit(self, unit: Callable[[S], T], *, repeatable: bool = False, within_s: float = 0.0) -> T:
        if self._closed:
            raise StoreError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        if within_s:
            self._patient.append((unit, future, repeatable))
            if self._patience is None:
                self._patience = self._loop.call_later(within_s, self.hurry)
        else:
            self._queue.append((unit, future, repeatable))
            if not self._wanted:
                self._start_drain()
        return await future

    def hurry(self) -> None:
        self._join_patient()
        if not self._wanted:
            self._start_drain()

    def _join_patient(self) -> None:
        """Those that waited for company are first in the queue."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            self._queue.extendleft(reversed(self._patient))
            self._patient.clear()

    def _start_drain(self) -> None:
        if self._queue and self._idle:
            drain = self._loop.create_task(self._drain(self._idle.pop()))
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)

    async def _drain(self, link: aiosqlite.Connection) -> None:
        # A task of its own: the caller that started it may be cancelled at any moment, the others' units must
        # not be. No await stands between the last look at the queue and the return to the idle ones, so no
        # unit is overlooked.
        writer = self._writer
        try:
            while self._queue and not self._wanted:
                if writer is None:
                    await link.commit()
                    continue
                self._join_patient()
                if not writer.begin():
                    writer.outcomes = []
                    await link.commit()
                if writer.in_transaction:
                    writer.run_units()
                    if writer.in_transaction:
                        await link.commit()
                outcomes, writer.outcomes = writer.outcomes, []
                _settle(outcomes)
                self._logged += len(outcomes)
                if writer.moves_log and self._logged >= (_LOG_LONG if self._queue else _LOG_SHORT):
                    await self._move_log(link)
        finally:
            self._idle.append(link)

    async def _move_log(self, link: aiosqlite.Connection) -> None:
        """What is in the write-ahead log goes into the file, as far as no reader needs it where it is.

        SQLite would do it by itself, within the commit that makes the log too long: the customers of that commit, whose
        answers are durable already, would wait for it. So it is done when they have been answered, and sooner when
        nobody waits.
        """
        self._logged = 0
        with contextlib.suppress(sqlite3.Error):  # what cannot be moved stays where it is safe, and is moved next time
            await link.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")

    def _deliver(self, outcomes: list[Outcome]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it everyone who waited
            self._loop.call_soon_threadsafe(_settle, outcomes)

    def glance(self, unit: Callable[[S], T]) -> T:
        if self._closed or self._glancer is None:
            raise StoreError("the store is closed")
        return self._glancer.glance(unit)

    async def compact(self) -> bool:
        self._wanted += 1  # a drain lets go of its connection after the batch it is at
        try:
            while not self._idle:
                await asyncio.wait(list(self._drains))
            link = self._idle.pop()
            try:
                rows = list(await link.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)"))
            except sqlite3.Error as error:
                raise _translated(error) from error
            finally:
                self._idle.append(link)
        finally:
            self._wanted -= 1
            if not self._wanted:
                self._start_drain()
        return not rows[0][0]

    async def close(self) -> None:
        self._closed = True
        self.hurry()
        while self._drains:
            await asyncio.wait(list(self._drains))
        for link in self._links:
            await link.close()
        self._links.clear()
        self._idle.clear()


def _clean_values(params: Params) -> Params:
    def cleaned(value: object) -> object:
        return clean(value) if isinstance(value, str) else value

    if isinstance(params, tuple):
        return tuple(map(cleaned, params))
    return {name: cleaned(value) for name, value in params.items()}


def _settle(outcomes: list[Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):
            future.set_exception(RuntimeError("the unit raised StopIteration"))  # a future cannot carry it
        else:
            future.set_exception(error)


def _lost(outcomes: Sequence[Outcome], cause: BaseException) -> list[Outcome]:
    """The batch after its commit failed: those that had a result have an error of their own now."""
    failed: list[Outcome] = []
    for future, _, error in outcomes:
        if error is None:
            error = StoreBusy(f"the commit failed, nothing was stored: {cause}")
            if isinstance(cause, sqlite3.Error):
                error = _translated(cause)
            error.__cause__ = cause
        failed.append((future, None, error))
    return failed


def _pragmas(*, reader: bool, server: bool) -> list[str]:
    return [
        # FULL: the log is synced at every commit. With NORMAL a power cut could lose what a platform was told
        # is stored.
        "PRAGMA synchronous = FULL",
        # off by default in SQLite; the schema's references are meant
        "PRAGMA foreign_keys = ON",
        # what is deleted is overwritten with zeros: erased words do not stay in free pages (P26)
        "PRAGMA secure_delete = ON",
        # Only the server moves the log into the file, on its one writing connection: before SQLite 3.51.3 two
        # connections that write and checkpoint at once can corrupt the file (P15). It does so between two commits
        # (see `_Lane._move_log`); SQLite's own way, within one, is for units that write unusually much.
        f"PRAGMA wal_autocheckpoint = {16000 if server else 0}",
        # a log that grew during a long read shrinks again
        "PRAGMA journal_size_limit = 67108864",
        # The server's 64 MB keep the pages of a busy hour in memory. A command reads most pages once, and has several
        # connections that would each remember them.
        f"PRAGMA cache_size = {-65536 if server else -8192}",
        "PRAGMA temp_store = MEMORY",
        f"PRAGMA query_only = {'ON' if reader else 'OFF'}",
    ]


def _lock_for_server(path: Path) -> int:
    """The lock that says "a server works here". The kernel takes it back when the process dies, however it
    dies."""
    name = path.with_name(path.name + ".lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot create the lock file {name}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreInUse(
            f"another Koe server already works on {path} (it holds {name}): stop it first, or give this one "
            "another KOE_DATABASE_URL"
        ) from error
    return lock


def _prepare(path: Path, *, now_ms: int, create: bool, busy_timeout_ms: int) -> None:
    """Create the file if need be, turn the write-ahead log on, migrate."""
    if not path.exists():
        if not create:
            raise StoreError(
                f"there is no database {path}: start `koe serve` or `koe import events` first, or set KOE_DATABASE_URL"
            )
        if not path.parent.is_dir():
            raise StoreError(f"the folder {path.parent} of KOE_DATABASE_URL does not exist: create it first")
        # answers are personal data: readable by the operator's account alone
        with contextlib.suppress(FileExistsError):
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except PermissionError as error:
                raise StoreError(f"{path} of KOE_DATABASE_URL cannot be made: {error.strerror}") from error
    if path.is_dir():
        raise StoreError(f"{path} of KOE_DATABASE_URL is a folder: name a file in it, such as {path / 'koe.db'}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"{path} of KOE_DATABASE_URL may not be read and written by this account")
    give_up = time.monotonic() + busy_timeout_ms / 1000
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=busy_timeout_ms / 1000)) as db:
        try:
            while True:
                try:
                    # WAL: readers never wait for the writer, and a commit is one append and one sync
                    db.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError as error:
                    # two processes that start on a new file: the change of mode does not wait by itself
                    if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                        raise
                    time.sleep(0.02)
            for pragma in _pragmas(reader=False, server=False):
                db.execute(pragma)
            migrate(db, load_migrations("sqlite"), now_ms=now_ms)
        except sqlite3.Error as error:
            raise _translated(error) from error


def _code(error: sqlite3.Error) -> int:
    # the low byte: extended codes say more than anybody here acts on
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _translated(error: sqlite3.Error) -> StoreError:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return StoreBusy(f"the disk is full, nothing was stored: {error}")
    if code in _BUSY:
        return StoreBusy(f"the database cannot be written just now, nothing was stored: {error}")
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(f"it exists already: {error}")
    if code == sqlite3.SQLITE_NOTADB:
        return StoreError("KOE_DATABASE_URL names a file that is not a Koe database")
    return StoreError(f"the database refused: {error}")

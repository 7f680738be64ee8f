"""What is SQLite's own: files, locks, migrations, crashes (reliability.md P1, P14, P15, P16)."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from store_rows import NOON, customer, session

from storage import failpoints
from storage.errors import SchemaTooNew, StoreBusy, StoreError, StoreInUse
from storage.migrate import load_migrations, migrate
from storage.store import open_store


def schema(path: Path) -> list[tuple[str, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    finally:
        db.close()


def child(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://localhost/koe", "SQLite only"),
        ("sqlite://", "sqlite:///koe.db"),
        ("sqlite:///:memory:", "sqlite:///koe.db"),
        ("koe.db", "sqlite:///koe.db"),
        ("sqlite:////nowhere/at/all/koe.db", "/nowhere/at/all"),
    ],
)
async def test_an_address_that_cannot_be_opened_says_why(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=re.escape(said)):
        await open_store(url, now_ms=1)


async def test_a_missing_file_is_named_and_not_created_when_nobody_asked_for_it(tmp_path: Path) -> None:
    path = tmp_path / "koe.db"
    with pytest.raises(StoreError, match=re.escape(str(path))):
        await open_store(f"sqlite:///{path}", now_ms=1, create=False)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "koe.db"
    path.write_bytes(b"a diary, not a database " * 100)
    with pytest.raises(StoreError, match="not a Koe database"):
        await open_store(f"sqlite:///{path}", now_ms=1)
    assert path.read_bytes() == b"a diary, not a database " * 100


async def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder: name a file in it, such as .*/koe\.db"):
        await open_store(f"sqlite:///{tmp_path}", now_ms=1)


async def test_the_file_is_readable_by_its_owner_alone(url: str, tmp_path: Path) -> None:
    async with await open_store(url, now_ms=1, server=True) as store:
        await store.write(lambda tx: tx.put_customer(customer()))
        assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}  # noqa: ASYNC240


# ----------------------------------------------------------------------------------------------------- one server


async def test_a_second_server_on_the_same_file_is_refused_and_a_command_is_not(url: str) -> None:
    async with await open_store(url, now_ms=1, server=True) as first:
        with pytest.raises(StoreInUse, match=r"koe\.db"):
            await open_store(url, now_ms=1, server=True)
        async with await open_store(url, now_ms=1) as command:
            await command.write(lambda tx: tx.put_customer(customer("C-command")))
            with pytest.raises(StoreError, match="only the server"):
                await command.compact()
        assert await first.read(lambda tx: tx.find_customer("C-command")) is not None
    async with await open_store(url, now_ms=1, server=True) as second:
        assert await second.read(lambda tx: tx.find_customer("C-command")) is not None


async def test_the_lock_goes_with_a_server_that_is_killed_and_what_it_stored_stays(url: str) -> None:
    server = child(
        """
        import asyncio, sys
        from storage.store import open_store
        async def main():
            store = await open_store(sys.argv[1], now_ms=1, server=True)
            await store.write(lambda tx: tx.note_inbound("line", "U", "e1", 1))
            print("stored", flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
        """,
        url,
    )
    assert server.stdout is not None
    assert (await asyncio.to_thread(server.stdout.readline)).strip() == "stored"
    with pytest.raises(StoreInUse):
        await open_store(url, now_ms=1, server=True)
    server.kill()
    server.wait()
    server.stdout.close()
    async with await open_store(url, now_ms=1, server=True) as store:
        assert not await store.write(lambda tx: tx.note_inbound("line", "U", "e1", 1))


async def test_a_command_beside_the_server_never_moves_the_log(url: str, tmp_path: Path) -> None:
    async with await open_store(url, now_ms=1, server=True) as server:
        await server.write(lambda tx: tx.put_customer(customer()))
        assert await server.compact()
        size = (tmp_path / "koe.db").stat().st_size
        async with await open_store(url, now_ms=1) as command:
            for number in range(300):
                await command.write(lambda tx, n=number: tx.new_session(session(f"S{n}", state="x" * 20_000)))
        assert (tmp_path / "koe.db").stat().st_size == size
        assert (tmp_path / "koe.db-wal").stat().st_size > 4_000_000
        assert await server.read(lambda tx: len(tx.sessions_of("C001", limit=1000))) == 300


async def test_the_server_moves_the_log_before_it_grows_long(url: str, tmp_path: Path) -> None:
    async with await open_store(url, now_ms=1, server=True) as server:
        for number in range(600):
            await server.write(lambda tx, n=number: tx.new_session(session(f"S{n}", state="x" * 20_000)))
        # some 27 MB were written; SQLite alone would have begun at 64
        assert (tmp_path / "koe.db").stat().st_size > 4_000_000
        assert (tmp_path / "koe.db-wal").stat().st_size < 16_000_000
        assert await server.read(lambda tx: len(tx.sessions_of("C001", limit=1000))) == 600
        assert await server.read(lambda tx: tx.check_integrity()) == []


# --------------------------------------------------------------------------------------------------- somebody's lock


async def test_a_locked_database_is_busy_and_the_loop_goes_on(url: str, tmp_path: Path) -> None:
    async with await open_store(url, now_ms=1, server=True, busy_timeout_ms=150) as store:
        other = sqlite3.connect(tmp_path / "koe.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        turns = 0
        waiting = asyncio.gather(
            *(store.write(lambda tx, n=n: tx.put_customer(customer(f"C{n}"))) for n in range(3)), return_exceptions=True
        )
        while not waiting.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert [type(result) for result in await waiting] == [StoreBusy] * 3
        assert turns >= 10, "the loop went on: one that waited itself would have turned once for each of them"
        assert await store.read(lambda tx: tx.find_customer("C0")) is None
        other.execute("ROLLBACK")
        other.close()
        await store.write(lambda tx: tx.put_customer(customer("after")))


async def test_a_full_disk_inside_a_unit_leaves_the_store_usable(url: str, tmp_path: Path) -> None:
    async with await open_store(url, now_ms=1, server=True) as store:
        await store.write(lambda tx: tx._db.all("PRAGMA max_page_count = 120"))  # SQLite's own full disk
        with pytest.raises(StoreBusy, match="full"):
            await store.write(lambda tx: tx.new_session(session("big", state="x" * 2_000_000)))
        await store.write(lambda tx: tx.put_customer(customer("small")))
        assert await store.read(lambda tx: tx.find_session("big")) is None
        assert await store.read(lambda tx: tx.check_integrity()) == []


# -------------------------------------------------------------------------------------------------------- migrations


async def test_a_fresh_database_equals_one_that_was_migrated_step_by_step(tmp_path: Path) -> None:
    async with await open_store(f"sqlite:///{tmp_path / 'fresh.db'}", now_ms=1):
        pass
    migrations = load_migrations()
    for known in range(1, len(migrations) + 1):
        db = sqlite3.connect(tmp_path / "migrated.db", isolation_level=None)
        assert migrate(db, migrations[:known], now_ms=known) == [migrations[known - 1].name]
        assert migrate(db, migrations[:known], now_ms=known) == []
        db.close()
    assert schema(tmp_path / "fresh.db") == schema(tmp_path / "migrated.db")


async def test_a_database_of_a_newer_version_is_refused(url: str, tmp_path: Path) -> None:
    async with await open_store(url, now_ms=1):
        pass
    db = sqlite3.connect(tmp_path / "koe.db")
    newer = len(load_migrations()) + 1
    with db:
        db.execute("INSERT INTO schema_versions VALUES (?, 'future', 1)", (newer,))
    db.close()
    before = schema(tmp_path / "koe.db")
    with pytest.raises(SchemaTooNew, match=f"schema {newer},"):
        await open_store(url, now_ms=1, server=True)
    assert schema(tmp_path / "koe.db") == before
    with pytest.raises(SchemaTooNew):  # and it did not keep the lock
        await open_store(url, now_ms=1, server=True)


async def test_several_processes_may_start_on_a_new_file_at_once(url: str) -> None:
    stores = await asyncio.gather(*(open_store(url, now_ms=1) for _ in range(6)))
    for number, store in enumerate(stores):
        assert await store.write(lambda tx, n=number: tx.note_inbound("line", "U", f"e{n}", 1))
    for store in stores:
        await store.close()


async def test_a_migration_that_breaks_off_leaves_nothing_behind(url: str, tmp_path: Path) -> None:
    failpoints.arm("store.before_migration_commit=raise")
    with pytest.raises(failpoints.FailpointError):
        await open_store(url, now_ms=1)
    assert [row[1] for row in schema(tmp_path / "koe.db") if row[0] == "table"] == ["schema_versions"]
    failpoints.arm("")
    async with await open_store(url, now_ms=1) as store:
        assert await store.read(lambda tx: tx.check_integrity()) == []


# ----------------------------------------------------------------------------------------------------------- crashes

CRASHING = """
import asyncio, os, sys
from storage import failpoints
from storage.store import open_store
async def main():
    store = await open_store(sys.argv[1], now_ms=1, server=True)
    failpoints.arm(os.environ[failpoints.VARIABLE])
    async def caller(name):
        for number in range(1000):
            event = f"{name}-{number}"
            await store.write(lambda tx: tx.note_inbound("line", "U", event, 1))
            print(event, flush=True)
    await asyncio.gather(*(caller(name) for name in range(8)))
asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["store.before_commit", "store.after_commit"])
@pytest.mark.parametrize("at", [1, 7])
async def test_what_was_acknowledged_before_a_kill_is_there_after_it(url: str, point: str, at: int) -> None:
    crashed = child(CRASHING, url, KOE_FAILPOINTS=f"{point}=kill@{at}")
    told, _ = await asyncio.to_thread(crashed.communicate, timeout=60)
    assert crashed.returncode == -9
    acknowledged = told.split()
    async with await open_store(url, now_ms=1, server=True) as store:
        for event in acknowledged:
            assert not await store.write(lambda tx, e=event: tx.note_inbound("line", "U", e, NOON)), event
        assert await store.read(lambda tx: tx.check_integrity()) == []


async def test_a_migration_that_is_killed_is_done_by_the_next_start(url: str) -> None:
    crashed = child(
        """
        import asyncio, os, sys
        from storage import failpoints
        from storage.store import open_store
        failpoints.arm(os.environ[failpoints.VARIABLE])
        asyncio.run(open_store(sys.argv[1], now_ms=1))
        """,
        url,
        KOE_FAILPOINTS="store.before_migration_commit=kill",
    )
    await asyncio.to_thread(crashed.communicate, timeout=60)
    assert crashed.returncode == -9
    async with await open_store(url, now_ms=1) as store:
        await store.write(lambda tx: tx.put_customer(customer()))
        assert await store.read(lambda tx: tx.check_integrity()) == []


# -------------------------------------------------------------------------------------------------------- failpoints


def test_a_point_acts_at_its_pass_only_and_an_unarmed_one_never() -> None:
    failpoints.arm("a=raise@2, b=sleep:0.001")
    failpoints.hit("a")
    failpoints.hit("b")
    failpoints.hit("unknown")
    with pytest.raises(failpoints.FailpointError):
        failpoints.hit("a")
    failpoints.hit("a")
    assert (failpoints.passes("a"), failpoints.passes("b"), failpoints.passes("unknown")) == (3, 1, 0)
    failpoints.arm("")
    failpoints.hit("a")


def test_an_unknown_deed_is_refused() -> None:
    with pytest.raises(ValueError, match="explode"):
        failpoints.arm("a=explode")

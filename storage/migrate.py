"""Brings a database to the schema of this code: numbered files, each applied once, in a transaction of its
own."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from storage.errors import SchemaTooNew
from storage.failpoints import hit


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of storage/schema: `number` from 1 without gaps, its statements in order."""

    number: int
    name: str
    statements: tuple[str, ...]


def load_migrations(engine: str = "sqlite") -> tuple[Migration, ...]:
    """The files of this version in order. `NNNN_what.sql` is for every engine, `NNNN_what.sqlite.sql` for
    one.

    Raises:
        ValueError: a number is missing or used twice (a mistake in the repository).
    """
    found: list[Migration] = []
    for file in sorted(resources.files("storage").joinpath("schema").iterdir(), key=lambda entry: entry.name):
        match = re.fullmatch(r"(\d{4})_(\w+)(?:\.(\w+))?\.sql", file.name)
        if match and match[3] in (None, engine):
            found.append(Migration(int(match[1]), match[2], tuple(_statements(file.read_text("utf-8")))))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"storage/schema: the numbers are not 1, 2, 3 …: {[m.name for m in found]}")
    return tuple(found)


def migrate(db: sqlite3.Connection, migrations: tuple[Migration, ...], *, now_ms: int) -> list[str]:
    """Names of the migrations that were applied now. Safe to run from several processes at once.

    `db` is in autocommit mode (isolation_level None) with a busy timeout: whoever gets the write lock first
    applies a file, the others find it applied.

    Raises:
        SchemaTooNew: the database knows a migration that this code does not.
    """
    applied: list[str] = []
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "CREATE TABLE IF NOT EXISTS schema_versions "
        "(version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_ms BIGINT NOT NULL)"
    )
    db.execute("COMMIT")
    while True:
        db.execute("BEGIN IMMEDIATE")
        try:
            (version,) = db.execute("SELECT COALESCE(MAX(version), 0) FROM schema_versions").fetchone()
            if version > len(migrations):
                raise SchemaTooNew(
                    f"the database has schema {version}, this version of Koe knows {len(migrations)}: "
                    "install the newer version, or restore a backup made before the update"
                )
            if version == len(migrations):
                return applied
            migration = migrations[version]
            for statement in migration.statements:
                db.execute(statement)
            db.execute(
                "INSERT INTO schema_versions (version, name, applied_ms) VALUES (:version, :name, :applied_ms)",
                {"version": migration.number, "name": migration.name, "applied_ms": now_ms},
            )
            hit("store.before_migration_commit")
            db.execute("COMMIT")
            applied.append(migration.name)
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    # sqlite3.executescript would commit before it starts; whole statements are found with SQLite's own test
    statement = ""
    for line in script.splitlines():
        if statement or (line.strip() and not line.lstrip().startswith("--")):
            statement += line + "\n"
            if sqlite3.complete_statement(statement):
                yield statement.strip()
                statement = ""

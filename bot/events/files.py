"""Business events from a CSV or JSONL file: history from another system. It never triggers anything."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import msgspec

from bot.clock import Chance, Clock
from bot.events.business import BadEvent, BusinessEvent, CustomerPart, check_event, store_event
from bot.outbox import Outbox
from reports.sheets import unguard
from storage.store import Store, Tx

_BATCH = 500
_OWN_COLUMNS = ("id", "type", "occurred_at")
_CUSTOMER_COLUMNS = tuple(CustomerPart.__struct_fields__)


@dataclass(slots=True)
class Imported:
    """What became of a file's rows."""

    stored: int = 0
    known: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    """(line number, sentence)."""


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    event: BusinessEvent
    occurred_ms: int


def read_rows(path: Path, tz: tzinfo) -> Iterator[Row | tuple[int, str]]:
    """Rows of a .csv (columns id, type, occurred_at, customer.*, data.*, and data: a JSON object of further fields) or
    .jsonl file in the order of the file; a bad row comes as (line, sentence). UTF-8 with or without BOM.

    Raises BadEvent for a file that cannot be read at all.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadEvent(
            f"{path} is not UTF-8 (byte {error.start}): it may be Shift_JIS. Save it as UTF-8 and import it again."
        ) from error
    except OSError as error:
        raise BadEvent(f"{path} cannot be read: {error.strerror}.") from error
    rows = _csv_rows(text, path) if path.suffix.lower() == ".csv" else _json_rows(text)
    for line, raw in rows:
        try:
            if isinstance(raw, str):
                raise BadEvent(raw)
            event = msgspec.convert(raw, BusinessEvent, strict=False)
            yield Row(line, event, check_event(event, tz))
        except (BadEvent, msgspec.ValidationError) as error:
            yield line, str(error)


def count_rows(path: Path) -> int:
    """Lines of a file, about as many as it has rows: for a progress bar. 0 when it cannot be read."""
    try:
        with path.open("rb") as file:
            return max(0, sum(1 for _ in file) - (path.suffix.lower() == ".csv"))
    except OSError:
        return 0


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, raw if isinstance(raw, dict) else "not a JSON object"


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or []
    missing = [name for name in _OWN_COLUMNS if name not in columns]
    if missing:
        raise BadEvent(f"{path} has no column {', '.join(missing)}: the first line names the columns (docs/events.md).")
    for raw in reader:
        if None in raw:
            yield reader.line_num, "more fields than the first line has columns: is a comma unquoted?"
            continue
        raw = {name: unguard(value or "") for name, value in raw.items()}
        event: dict[str, Any] = {name: raw[name] for name in _OWN_COLUMNS}
        customer = {
            name: raw.get(f"customer.{name}") or "" for name in _CUSTOMER_COLUMNS if f"customer.{name}" in columns
        }
        if customer.get("id"):
            event["customer"] = customer
        try:
            rest = json.loads(raw.get("data") or "{}")
        except (ValueError, RecursionError) as error:
            yield reader.line_num, f"the cell data is not JSON: {error}"
            continue
        if not isinstance(rest, dict):
            yield reader.line_num, "the cell data is not a JSON object"
            continue
        event["data"] = rest | {
            name.removeprefix("data."): _typed(value)
            for name, value in raw.items()
            if name.startswith("data.") and value
        }
        yield reader.line_num, event


def _typed(value: str) -> str | int | float:
    """Cells that are plain numbers become numbers, so that conditions can compare them."""
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        # 007 and 1e5 are codes rather than amounts
        return number if str(number) == value else value
    return value


async def import_events(
    path: Path,
    *,
    store: Store,
    clock: Clock,
    chance: Chance,
    tz: tzinfo,
    workspaces: dict[str, str],
    match_key: bytes = b"",
    rewarded: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Imported:
    """Store a file's events, a batch per transaction; repeating the import changes nothing."""
    result = Imported()
    batch: list[Row] = []

    async def flush() -> None:
        outbox = Outbox(owner="", now_ms=clock.now_ms(), chance=chance)

        def unit(tx: Tx) -> int:
            return sum(
                store_event(
                    tx,
                    row.event,
                    row.occurred_ms,
                    outbox,
                    workspaces=workspaces,
                    match_key=match_key,
                    imported=True,
                    rewarded=rewarded,
                )
                is not None
                for row in batch
            )

        stored = await store.write(unit)
        result.stored += stored
        result.known += len(batch) - stored
        progress(len(batch))
        batch.clear()

    for row in read_rows(path, tz):
        if isinstance(row, Row):
            batch.append(row)
            if len(batch) >= _BATCH:
                await flush()
        else:
            result.bad.append(row)
            progress(1)
    if batch:
        await flush()
    return result

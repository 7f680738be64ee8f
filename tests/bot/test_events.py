"""Business events: POST /events for the shop's systems, files for history from another one."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bot.clock import Chance
from bot.events.business import BadEvent
from bot.events.files import Imported, import_events
from bot.signatures import sign_standard_webhooks
from bot.standins.demo import DAY_MS, PRESENT, TOKYO, World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

START_MS = int(PRESENT.timestamp() * 1000)
GOOD: dict[str, Any] = {
    "id": "e-1",
    "type": "purchase",
    "occurred_at": "2026-11-16T10:00:00+09:00",
    "customer": {"id": "C001", "name": "田中", "language": "ja"},
    "data": {"order": "1001", "amount": 5400},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("events"), start_ms=START_MS, shop={"digests": []})
    yield world
    await world.close()


async def post(world: World, event: Any, *, message_id: str = "m") -> tuple[int, dict[str, Any]]:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = sign_standard_webhooks(body, world.secret, message_id, int(time.time()))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{world.bot_url}/events", data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_new_event_is_202_with_its_id_and_the_same_again_is_200(world: World) -> None:
    event = GOOD | {"id": "twice"}
    assert await post(world, event) == (202, {"id": "twice"})
    assert await post(world, event, message_id="m2") == (200, {"id": "twice"})
    found = await world.koe.store.read(lambda tx: tx.events_of("C001"))
    assert [e.id for e in found].count("twice") == 1


async def test_an_unknown_type_is_stored_and_counted(world: World) -> None:
    assert (await post(world, GOOD | {"id": "odd", "type": "moon_landing"}))[0] == 202
    stored = await world.koe.store.read(lambda tx: tx.find_event("odd"))
    assert stored is not None
    assert stored.type == "moon_landing"


async def test_an_event_without_a_customer_is_stored(world: World) -> None:
    event = {k: v for k, v in GOOD.items() if k != "customer"} | {"id": "nobody"}
    assert (await post(world, event))[0] == 202


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": ""}, "id is ''"),
        ({"id": "x" * 201}, "1 to 200 characters"),
        ({"id": 5}, "id"),
        ({"type": " "}, "type is"),
        ({"occurred_at": "yesterday"}, "ISO 8601"),
        ({"occurred_at": "1970-01-01T00:00:00Z"}, "between 2000 and 2100"),
        ({"occurred_at": "9999-12-31T23:59:59.999-12:00"}, "between 2000 and 2100"),
        ({"occurred_at": None}, "occurred_at"),
        ({"customer": {"name": "no id"}}, "id"),
        ({"customer": {"id": " "}}, "customer.id"),
        ({"customer": {"id": "C", "language": "fr"}}, "ja and en"),
        ({"customer": {"id": "C", "line_user_id": "U123"}}, "32 hexadecimal digits"),
        ({"customer": {"id": "C", "slack_user_id": "<@U1>"}}, "looks like U024BE7LH"),
        ({"data": []}, "data"),
        ({"data": {"note": "x" * 70_000}}, "64000 characters"),
    ],
)
async def test_what_cannot_be_taken_is_a_sentence_that_names_the_field(
    world: World, change: dict[str, Any], says: str
) -> None:
    status, answer = await post(world, GOOD | {"id": "bad"} | change)
    assert status == 400
    assert answer["error"] == "bad_event"
    assert says in answer["message"]
    assert await world.koe.store.read(lambda tx: tx.find_event("bad")) is None


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "1" * 400])
async def test_numbers_that_are_none_never_hurt(world: World, number: str) -> None:
    body = json.dumps(GOOD | {"id": f"n{len(number)}{number[:2]}", "data": {"amount": "?", "order": "1"}}).encode()
    status, _ = await post(world, body.replace(b'"?"', number.encode()))
    assert status in (202, 400)
    delivery = json.dumps(GOOD | {"id": f"d{len(number)}{number[:2]}", "type": "delivery", "data": {"amount": "?"}})
    status, _ = await post(world, delivery.encode().replace(b'"?"', number.encode()))
    assert status in (202, 400)


@pytest.mark.parametrize("order", [None, 5, 1.5, True, [], {}, ["a"], {"b": 1}, "長" * 5_000, "\x00", ""])
async def test_odd_orders_are_ordinary_data(world: World, order: Any) -> None:
    name = f"order-{str(order)[:8]}-{type(order).__name__}"
    for kind in ("purchase", "delivery", "return", "ticket_opened", "ticket_resolved", "complaint_resolved"):
        event = GOOD | {"id": f"{name}-{kind}", "type": kind}
        event["data"] = {"order": order, "ticket": order, "amount": order, "product": order, "store": order}
        assert (await post(world, event))[0] == 202
    await world.advance(2 * DAY_MS)
    assert await world.koe.store.read(lambda tx: tx.jobs(state="dead")) == []


# ------------------------------------------------------------------------------------------------- files


async def take(world: World, path: Path) -> Imported:
    return await import_events(
        path, store=world.koe.store, clock=world.clock, chance=Chance(1), tz=TOKYO, workspaces=world.koe.workspaces
    )


CSV = (
    "id,type,occurred_at,customer.id,customer.name,customer.language,data.order,data.amount\r\n"
    "{0}1,purchase,2026-10-01T10:00:00+09:00,C500,佐藤,ja,007,5400\r\n"
    '{0}2,delivery,2026-10-03 09:30,C500,佐藤,ja,007,"1,200"\r\n'
)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
async def test_csv_is_read_with_and_without_a_byte_order_mark(world: World, tmp_path: Path, mark: bytes) -> None:
    prefix = f"csv{len(mark)}-"
    (tmp_path / "old.csv").write_bytes(mark + CSV.format(prefix).encode())
    first = await take(world, tmp_path / "old.csv")
    assert (first.stored, first.known, first.bad) == (2, 0, [])
    again = await take(world, tmp_path / "old.csv")
    assert (again.stored, again.known) == (0, 2)
    stored = await world.koe.store.read(lambda tx: tx.find_event(f"{prefix}1"))
    assert stored is not None
    assert json.loads(stored.data) == {"order": "007", "amount": 5400}
    assert stored.imported


@pytest.mark.parametrize("mark", ["", "\ufeff"])
async def test_jsonl_is_read_and_history_triggers_nothing(world: World, tmp_path: Path, mark: str) -> None:
    user = world.line.add_user("歴史")
    customer = f"C-history-{len(mark)}"
    event = GOOD | {"id": f"jsonl{len(mark)}", "type": "ticket_resolved", "data": {"ticket": "T1"}}
    event["customer"] = {"id": customer, "line_user_id": user}
    (tmp_path / "old.jsonl").write_text(mark + json.dumps(event) + "\n\n", encoding="utf-8")
    assert (await take(world, tmp_path / "old.jsonl")).stored == 1
    await world.advance(3 * DAY_MS)
    assert await world.koe.store.read(lambda tx: tx.invitations_of(customer)) == []


async def test_bad_rows_are_reported_with_their_line_and_the_others_are_stored(world: World, tmp_path: Path) -> None:
    lines = [
        json.dumps(GOOD | {"id": "row-1"}),
        "{half",
        json.dumps(["no object"]),
        json.dumps(GOOD | {"id": "row-4", "occurred_at": "soon"}),
        "[" * 5_000,
        json.dumps(GOOD | {"id": "row-6"}),
    ]
    (tmp_path / "mixed.jsonl").write_text("\n".join(lines))
    result = await take(world, tmp_path / "mixed.jsonl")
    assert result.stored == 2
    assert [line for line, _ in result.bad] == [2, 3, 4, 5]
    assert "ISO 8601" in dict(result.bad)[4]


async def test_bad_rows_of_a_csv_name_their_line(world: World, tmp_path: Path) -> None:
    text = CSV.format("rows-") + "x,purchase,never,C1,,,,\r\ny,purchase,2026-10-01,C1,,,,,,too,many\r\n"
    (tmp_path / "mixed.csv").write_text(text, newline="")
    result = await take(world, tmp_path / "mixed.csv")
    assert result.stored == 2
    assert [line for line, _ in result.bad] == [4, 5]
    assert "unquoted" in result.bad[1][1]


async def test_a_shift_jis_file_is_explained_and_nothing_is_stored(world: World, tmp_path: Path) -> None:
    (tmp_path / "sjis.csv").write_bytes(CSV.format("sjis-").encode("shift_jis"))
    with pytest.raises(BadEvent, match="Shift_JIS"):
        await take(world, tmp_path / "sjis.csv")
    assert await world.koe.store.read(lambda tx: tx.find_event("sjis-1")) is None


@pytest.mark.parametrize("text", ["", "a,b\r\n1,2\r\n", "id;type;occurred_at\r\n"])
async def test_a_file_without_the_columns_says_which_are_missing(world: World, tmp_path: Path, text: str) -> None:
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(BadEvent, match="occurred_at"):
        await take(world, tmp_path / "other.csv")


async def test_a_missing_file_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(BadEvent, match=r"none\.csv"):
        await take(world, tmp_path / "none.csv")

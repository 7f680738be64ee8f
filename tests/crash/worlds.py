"""The whole product inside the test's own process, on a clock that the test moves: for what need not die."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot import buttons
from bot.outbox import LEASE_MS, Outbox
from bot.standins.demo import PRESENT, Buyer, Transport, World, open_world
from storage.records import Invitation, Job
from storage.store import Tx
from tests.checker import check_history

START_MS = int(PRESENT.timestamp() * 1000)
AT_ONCE: dict[str, Any] = {
    "id": "at-once",
    "on": "purchase",
    "flow": "short",
    "channel": ["line", "slack"],
    "delay": "0d",
}
HOURS = (9 * 60, 21 * 60)

SHORT = """
id: short
name: {ja: 短い, en: Short}
survey_kind: transactional
touchpoint: purchase
invite: inv.purchase
questions:
  - {id: sat, instrument: sat5}
  - {id: nps, instrument: nps}
  - {id: reason, instrument: reason}
endings: [{when: unhappy, say: end.apology}, {say: end.middle}]
"""


@asynccontextmanager
async def world_of(
    directory: Path, flow: str = SHORT, *, transport: Transport = "http", **sections: Any
) -> AsyncIterator[World]:
    """A shop that asks `flow` at once after a purchase; `sections` replace those of its koe.yaml."""
    flows = directory / "flows"
    flows.mkdir(exist_ok=True)
    (flows / "short.yaml").write_text(flow, "utf-8")
    shop = {"triggers": [AT_ONCE], **sections}
    world = await open_world(
        directory, start_ms=START_MS, transport=transport, shop=shop, settings={"KOE_FLOWS_DIR": str(flows)}
    )
    try:
        yield world
    finally:
        await world.close()


async def invited(world: World, buyer: Buyer) -> None:
    """A purchase, and the survey that follows it."""
    await world.event("purchase", buyer, order=f"#{buyer.customer_id}", amount=5400, product="マグカップ", units=1)
    await world.settle()


def tap_data(world: World, buyer: Buyer, question: str, value: str) -> str:
    """What the newest button with this answer sends from the buyer's chat in LINE."""
    for tappable in reversed(world.line.tappables(buyer.line_user_id)):
        button = buttons.parse(tappable.data)
        if button is not None and (button.node, button.value) == (question, value):
            return tappable.data
    raise LookupError(f"no button says {question} = {value}: {world.line.transcript(buyer.line_user_id)}")


async def sends(world: World) -> list[Job]:
    """Everything that was to be sent, oldest first."""
    return await world.koe.store.read(lambda tx: tx.jobs(kind="send", limit=10_000))


def wrong_in(world: World, **more: Any) -> list[str]:
    """What the history checker finds."""
    return check_history(
        world.directory / "koe.db",
        now_ms=world.clock.now_ms(),
        line=world.line,
        slack=world.slack,
        hours=HOURS,
        **more,
    )


def plan_invitation(tx: Tx, buyer: Buyer, outbox: Outbox) -> Job:
    """A planned invitation to `short`, due now, and its job as a worker holds it."""
    invitation = Invitation(
        id=outbox.new_id(),
        trigger_id="at-once",
        flow_id="short",
        survey_kind="transactional",
        touchpoint="purchase",
        customer_id=buyer.customer_id,
        event_id="",
        channel="",
        segment="",
        state="planned",
        reason="",
        planned_ms=outbox.now_ms,
        due_ms=outbox.now_ms,
        expires_ms=None,
        sent_ms=None,
        session_id="",
    )
    tx.put_invitation(invitation)
    job = Job(
        id=outbox.new_id(),
        kind="invite",
        due_ms=outbox.now_ms,
        payload=json.dumps({"invitation": invitation.id}),
        key=f"invite:{invitation.id}",
        customer_id=buyer.customer_id,
        created_ms=outbox.now_ms,
    )
    leased = tx.put_job(job, claim_for=outbox.owner, lease_until_ms=outbox.now_ms + LEASE_MS)
    assert leased is not None
    return leased

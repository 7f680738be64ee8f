"""What customers are told about how long answers are kept is what happens."""

from __future__ import annotations

from pathlib import Path

from bot.standins.demo import DAY_MS, PRESENT, open_world


async def test_answers_go_in_the_night_after_their_time_and_their_counts_stay(tmp_path: Path) -> None:
    world = await open_world(
        tmp_path, start_ms=int(PRESENT.timestamp() * 1000), shop={"retention": "3d", "digests": []}
    )
    try:
        await world.koe.schedule()
        buyer = world.new_buyer("ja")
        await world.purchase(buyer)
        assert await world.until(lambda: len(world.line.chat(buyer.line_user_id)) > 0, within_ms=DAY_MS)
        assert "3日" in world.line.transcript(buyer.line_user_id), "the promise as the customer reads it"
        await world.line.taps_label(buyer.line_user_id, "満足")
        await world.advance(2 * DAY_MS)
        assert len(await world.koe.store.read(lambda tx: tx.answers_of(buyer.customer_id))) == 1
        await world.advance(3 * DAY_MS)
        assert await world.koe.store.read(lambda tx: tx.answers_of(buyer.customer_id, history=True)) == []
        assert sum(cell.answers for cell in await world.koe.store.read(lambda tx: tx.rollup("", "9999"))) == 1
        assert await world.koe.store.read(lambda tx: tx.check_integrity()) == []
    finally:
        await world.close()

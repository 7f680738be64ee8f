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


async def test_what_was_sent_goes_after_two_months_and_what_guards_against_repeats_stays(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start_ms=int(PRESENT.timestamp() * 1000), shop={"digests": []})
    store = world.koe.store
    try:
        await world.koe.schedule()
        old, new = world.new_buyer("ja"), world.new_buyer("ja")
        for buyer in (old, new):
            await world.purchase(buyer)
            assert await world.until(lambda b=buyer: len(world.line.chat(b.line_user_id)) > 0, within_ms=DAY_MS)  # type: ignore[misc]
            await world.line.says(buyer.line_user_id, "私の回答")
            await world.settle()
            at_ms = world.clock.now_ms()
            world.clock.advance_to(world.clock.now_ms() + 59 * DAY_MS)
            await world.advance(DAY_MS)
        sent = await store.read(lambda tx: tx.jobs(kind="send"))
        long_ago = [job for job in sent if job.created_ms < at_ms - 2 * DAY_MS]
        assert all(job.key and job.payload == "{}" for job in long_ago), "what the first one was sent is gone"
        recent = [job for job in sent if at_ms - 2 * DAY_MS <= job.created_ms <= at_ms]
        assert [job.customer_id for job in recent if job.payload != "{}"].count(new.customer_id) >= 2
        invited = await store.read(lambda tx: tx.jobs(kind="invite"))
        assert {job.customer_id for job in invited} == {old.customer_id, new.customer_id}
        assert await store.read(lambda tx: tx.check_integrity()) == []
    finally:
        await world.close()

"""Jobs: leases, fences, lanes and keys (style.md, "Claiming work"; reliability.md P8, P27)."""

from __future__ import annotations

import pytest
from store_rows import NOON, job, session

from storage.errors import Conflict
from storage.records import Job
from storage.store import Store, Tx


def claim(tx: Tx, now_ms: int = NOON, *, owner: str = "w1", limit: int = 10, **other: object) -> list[Job]:
    return tx.claim_jobs(owner, now_ms, now_ms + 1000, limit=limit, **other)  # type: ignore[arg-type]


async def test_due_jobs_are_leased_earliest_first_and_once(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("b", due_ms=NOON - 5))
        tx.put_job(job("a", due_ms=NOON))
        tx.put_job(job("c", due_ms=NOON + 1))
        assert tx.next_due_ms(NOON) == NOON - 5
        first = claim(tx)
        assert [(row.id, row.state, row.attempts, row.fence, row.lease_owner) for row in first] == [
            ("b", "leased", 1, 1, "w1"),
            ("a", "leased", 1, 1, "w1"),
        ]
        assert claim(tx) == []
        assert tx.next_due_ms(NOON) == NOON + 1

    await store.write(unit)


async def test_a_lease_that_ran_out_goes_to_the_next_worker_and_the_former_one_is_refused(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("a"))
        (frozen,) = claim(tx, owner="w1")
        (taken,) = claim(tx, NOON + 1000, owner="w2")
        assert (taken.lease_owner, taken.fence, taken.attempts) == ("w2", 2, 2)
        assert tx.holds_lease([frozen]) == set()
        assert tx.holds_lease([taken]) == {"a"}
        assert not tx.finish_job(frozen, state="done", at_ms=NOON)
        assert not tx.retry_job(frozen, due_ms=NOON, error="")
        assert tx.finish_job(taken, state="done", at_ms=NOON, ref="C1:1")
        assert not tx.finish_job(taken, state="done", at_ms=NOON)
        finished = tx.find_job("a")
        assert finished is not None
        assert (finished.state, finished.ref) == ("done", "C1:1")

    await store.write(unit)


async def test_a_lane_runs_one_job_after_the_other_in_order_of_id(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for name in ("1", "2", "3"):
            tx.put_job(job(name, lane="L", due_ms=NOON - int(name)))  # the later ones are due earlier
        tx.put_job(job("4", lane="M"))
        (first, other) = sorted(claim(tx), key=lambda row: row.id)
        assert (first.id, other.id) == ("1", "4")
        assert claim(tx) == []
        tx.retry_job(first, due_ms=NOON + 50, error="busy")
        assert claim(tx) == []  # waiting for its retry it still keeps the lane
        (again,) = claim(tx, NOON + 50)
        assert (again.id, again.attempts) == ("1", 2)
        tx.finish_job(again, state="done", at_ms=NOON + 50)
        assert [row.id for row in claim(tx, NOON + 60)] == ["2"]

    await store.write(unit)


async def test_who_waits_for_long_gives_way_to_an_answer_but_not_to_a_change_of_the_same_message(store: Store) -> None:
    hour_ms = 3_600_000

    def unit(tx: Tx) -> None:
        tx.put_job(job("1", lane="L"))
        (first,) = claim(tx)
        assert not tx.lane_is_free("L", NOON)
        tx.put_back_job(first, due_ms=NOON + hour_ms, error="monthly limit")
        assert tx.lane_is_free("L", NOON)
        tx.put_job(job("2", lane="L", updates="nps"))
        assert claim(tx) == []
        assert tx.next_due_ms(NOON) == NOON + hour_ms
        tx.put_job(job("3", lane="M"))
        (other,) = claim(tx)
        tx.put_back_job(other, due_ms=NOON + hour_ms, error="monthly limit")
        answer = tx.put_job(job("4", lane="M"), claim_for="w1", lease_until_ms=NOON + 1000)
        assert answer is not None
        assert answer.state == "leased"
        tx.finish_job(answer, state="done", at_ms=NOON)
        assert [row.id for row in claim(tx, NOON + hour_ms)] == ["1", "3"]

    await store.write(unit)


@pytest.mark.parametrize("end", ["done", "dead", "uncertain", "expired", "cancelled"])
async def test_every_end_of_a_job_frees_its_lane(store: Store, end: str) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("1", lane="L"))
        tx.put_job(job("2", lane="L"))
        (first,) = claim(tx)
        tx.finish_job(first, state=end, at_ms=NOON)
        assert [row.id for row in claim(tx)] == ["2"]
        ended = {} if end == "done" else {("send", end): 1}
        assert tx.job_counts() == {**ended, ("send", "leased"): 1}

    await store.write(unit)
    assert await store.read(lambda tx: tx.check_integrity()) == []


async def test_a_job_put_with_a_claim_is_leased_at_once_unless_its_lane_is_busy_or_it_is_not_due(store: Store) -> None:
    def unit(tx: Tx) -> None:
        first = tx.put_job(job("1", lane="L"), claim_for="w1", lease_until_ms=NOON + 1000)
        assert first is not None
        assert (first.state, first.attempts, first.fence, first.lease_until_ms) == ("leased", 1, 1, NOON + 1000)
        assert tx.find_job("1") == first
        second = tx.put_job(job("2", lane="L"), claim_for="w1", lease_until_ms=NOON + 1000)
        later = tx.put_job(job("3", due_ms=NOON + 1), claim_for="w1", lease_until_ms=NOON + 1000)
        loose = tx.put_job(job("4"), claim_for="w1", lease_until_ms=NOON + 1000)
        assert [row.state for row in (second, later, loose) if row] == ["ready", "ready", "leased"]
        assert tx.holds_lease([first]) == {"1"}
        assert tx.finish_job(first, state="done", at_ms=NOON)

    await store.write(unit)


async def test_a_key_is_used_once_for_ever(store: Store) -> None:
    def unit(tx: Tx) -> None:
        assert tx.put_job(job("1", key="digest:W46")) is not None
        assert tx.put_job(job("2", key="digest:W46")) is None
        (claimed,) = claim(tx)
        tx.finish_job(claimed, state="done", at_ms=NOON)
        assert tx.put_job(job("3", key="digest:W46")) is None
        assert tx.put_job(job("4")) is not None
        assert tx.put_job(job("5")) is not None  # no key is no key

    await store.write(unit)


async def test_an_id_is_used_once(store: Store) -> None:
    await store.write(lambda tx: tx.put_job(job("1")))
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.put_job(job("1")))


async def test_who_waits_for_a_message_learns_that_it_ran_out_of_time(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("1", key="reply:1", expires_ms=NOON + 10))
        tx.put_job(job("2", expires_ms=NOON + 10))
        tx.put_job(job("3", key="reply:3", expires_ms=NOON + 11))
        assert [row.id for row in tx.expire_jobs(NOON + 10)] == ["1"], "nobody waits for one without a key"
        assert tx.expire_jobs(NOON + 10) == []
        assert [row.id for row in claim(tx, NOON + 10)] == ["3"]

    await store.write(unit)


async def test_a_job_past_its_time_expires_instead_of_being_claimed(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("1", lane="L", expires_ms=NOON + 10))
        tx.put_job(job("2", lane="L"))
        assert [row.id for row in claim(tx, NOON + 10)] == ["2"]
        assert [row.id for row in tx.jobs(state="expired")] == ["1"]

    await store.write(unit)


async def test_kinds_are_chosen_and_paused_channels_left_alone(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("1", channel="line"))
        tx.put_job(job("2", channel="slack"))
        tx.put_job(job("3", kind="wake"))
        tx.put_job(job("4", kind="wak"))
        assert [row.id for row in claim(tx, kinds=("wake", "digest"))] == ["3"]
        assert [row.id for row in claim(tx, paused=("line", "web"))] == ["2", "4"]
        assert [row.id for row in claim(tx, limit=1)] == ["1"]

    await store.write(unit)


async def test_cancelling_takes_the_lease_away_from_whoever_is_about_to_act(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.new_session(session("S1", customer_id="C001"))
        tx.put_job(job("1", session_id="S1", customer_id="C001", channel="line"))
        tx.put_job(job("2", session_id="S1", customer_id="C001", kind="wake"))
        tx.put_job(job("3", customer_id="C001", key="plan:1"))
        tx.put_job(job("4", customer_id="C002"))
        leased = claim(tx, limit=2)
        assert tx.cancel_jobs(NOON, session_id="S1", kinds=("send",)) == 1
        assert tx.holds_lease(leased) == {"2"}
        assert not tx.finish_job(leased[0], state="done", at_ms=NOON)
        assert tx.cancel_jobs(NOON, key="plan:1", customer_id="C002") == 0
        assert tx.cancel_jobs(NOON, key="plan:1") == 1
        assert tx.cancel_jobs(NOON, customer_id="C001", channel="line") == 0
        assert tx.cancel_jobs(NOON, customer_id="C001") == 1
        assert [row.id for row in tx.jobs(state="cancelled")] == ["1", "2", "3"]
        with pytest.raises(ValueError):
            tx.cancel_jobs(NOON, channel="line")

    await store.write(unit)


async def test_at_start_the_leases_of_the_dead_process_are_released(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("1"))
        tx.put_job(job("2", due_ms=NOON + 9))
        claim(tx)
        assert tx.release_leases(NOON + 1) == 1
        assert [(row.id, row.fence) for row in claim(tx, NOON + 1)] == [("1", 2)]

    await store.write(unit)


async def test_a_dead_job_is_replayed_and_a_done_one_is_not(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("1"))
        (first,) = claim(tx)
        tx.finish_job(first, state="dead", at_ms=NOON, error="400")
        assert tx.replay_job("1", NOON + 5)
        (again,) = claim(tx, NOON + 5)
        assert (again.attempts, again.fence) == (1, 2)
        tx.finish_job(again, state="done", at_ms=NOON + 5)
        assert not tx.replay_job("1", NOON + 6)
        assert not tx.replay_job("unknown", NOON + 6)

    await store.write(unit)


async def test_a_held_job_waits_for_its_release_and_keeps_its_lane(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_job(job("1", lane="L", state="held"))
        tx.put_job(job("2", lane="L"))
        assert claim(tx) == []
        assert tx.replay_job("1", NOON)
        assert [row.id for row in claim(tx)] == ["1"]

    await store.write(unit)
    assert await store.read(lambda tx: tx.check_integrity()) == []


async def test_a_renewed_lease_is_not_taken_by_others(store: Store) -> None:
    await store.write(lambda tx: tx.put_job(job("long", due_ms=0)))
    [held] = await store.write(lambda tx: tx.claim_jobs("a", 0, 60, limit=1))
    assert await store.write(lambda tx: tx.renew_lease(held, 120))
    assert await store.write(lambda tx: tx.claim_jobs("b", 100, 200, limit=1)) == []
    [taken] = await store.write(lambda tx: tx.claim_jobs("b", 120, 200, limit=1))
    assert not await store.write(lambda tx: tx.renew_lease(held, 300)), "the fence is stale"
    assert await store.write(lambda tx: tx.renew_lease(taken, 300))


async def test_jobs_that_ended_well_are_forgotten_in_steps_and_those_with_a_key_or_a_fault_stay(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for name in ("1", "2", "3", "4", "5"):
            tx.put_job(job(name, key="invite:1" if name == "2" else ""))
        for taken in claim(tx):
            if taken.id != "5":
                tx.finish_job(taken, state="dead" if taken.id == "3" else "done", at_ms=NOON)
        assert tx.forget_done(NOON, (), limit=10) == ()
        assert len(tx.jobs()) == 5, "none ended before"
        after = tx.forget_done(NOON + 1, (), limit=3)
        assert after == ("3",)
        assert tx.forget_done(NOON + 1, after, limit=3) == ()
        assert [row.id for row in tx.jobs()] == ["2", "3", "5"]

    await store.write(unit)

"""P8: two workers on one store do each job once; who comes back after its lease is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bot.channel import Delivery, JsonObject, Outgoing, Sent, Turn, Wanted, always
from bot.clock import Chance, StoryClock
from bot.outbox import LEASE_MS
from bot.pacing import Pacer
from bot.worker import Worker
from storage.records import Job
from storage.store import Store, Tx, open_store

NOW_MS = 1_795_050_000_000
JOBS, LANES = 1_000, 300


@dataclass(slots=True)
class Notebook:
    """A channel that writes down what it is given. While `held`, it neither sends nor answers."""

    name: str
    calls: list[str] = field(default_factory=list)
    lanes: list[tuple[str, int]] = field(default_factory=list)
    held: asyncio.Event | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)

    def render_answered(self, question: str, answer: str) -> None:
        return None

    def render(self, turn: Turn, *, external_id: str, reply_token: str, at_ms: int) -> Sequence[Outgoing]:
        return ()

    async def send(
        self, payload: JsonObject, *, job_id: str, attempt: int, now_ms: int, ref: str = "", wanted: Wanted = always
    ) -> Delivery:
        self.calls.append(job_id)
        self.called.set()
        self.lanes.append((payload["lane"], payload["number"]))
        if self.held is not None:
            await self.held.wait()
        await asyncio.sleep(0)
        return Sent(ref=f"{self.name}:{job_id}")


def _worker(store: Store, clock: StoryClock, channel: Notebook, owner: str) -> Worker:
    return Worker(
        store=store,
        clock=clock,
        chance=Chance(1),
        channels={"line": channel},
        units={},
        tasks={},
        on_sent=lambda tx, job, ref, outbox: None,
        on_overtaken=lambda tx, job, ref, outbox: None,
        on_given_up=lambda tx, job, outbox: None,
        owner=owner,
        pacer=Pacer(),
        opens_ms=lambda now_ms: now_ms,
    )


def _job(number: int) -> Job:
    lane = f"lane{number % LANES}"
    return Job(
        id=f"01a1f151-4e80-7000-8000-{number:012d}",
        kind="send",
        due_ms=NOW_MS,
        payload=f'{{"lane": "{lane}", "number": {number}}}',
        lane=lane,
        channel="line",
        created_ms=NOW_MS,
    )


def _put(tx: Tx, count: int) -> None:
    for number in range(count):
        tx.put_job(_job(number))


async def _done(store: Store, count: int) -> None:
    """Returns when so many jobs are done."""
    async with asyncio.timeout(30):
        while await store.read(lambda tx: len(tx.jobs(state="done", limit=JOBS))) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _store(directory: Path, jobs: int) -> AsyncIterator[Store]:
    async with await open_store(f"sqlite:///{directory / 'koe.db'}", now_ms=NOW_MS, server=True) as store:
        await store.write(lambda tx: _put(tx, jobs))
        yield store


async def test_two_workers_do_every_job_once_and_keep_each_lane_in_order(tmp_path: Path) -> None:
    async with _store(tmp_path, JOBS) as store:
        clock, book = StoryClock(NOW_MS, ticking=True), Notebook("both")
        workers = [_worker(store, clock, book, owner) for owner in ("one", "two")]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        await _done(store, JOBS)
        for worker in workers:
            await worker.stop()
        await asyncio.gather(*running)
        assert Counter(book.calls).most_common(1)[0][1] == 1
        assert len(book.calls) == JOBS
        for lane in range(LANES):
            numbers = [number for name, number in book.lanes if name == f"lane{lane}"]
            assert numbers == sorted(numbers)
        done = await store.read(lambda tx: tx.jobs(limit=JOBS))
        assert {(job.state, job.attempts) for job in done} == {("done", 1)}
        owners = {job.lease_owner for job in done}
        assert owners == {"one", "two"}, "both had a share"


async def test_a_worker_that_wakes_after_its_lease_changes_nothing(tmp_path: Path) -> None:
    async with _store(tmp_path, 1) as store:
        frozen, awake = Notebook("frozen", held=asyncio.Event()), Notebook("awake")
        sleeper = _worker(store, StoryClock(NOW_MS), frozen, "sleeper")
        sleeping = asyncio.create_task(sleeper.run())
        await asyncio.wait_for(frozen.called.wait(), 10)
        other = _worker(store, StoryClock(NOW_MS + LEASE_MS + 1), awake, "other")
        working = asyncio.create_task(other.run())
        await _done(store, 1)
        before = await store.read(lambda tx: tx.find_job(_job(0).id))
        assert frozen.held is not None
        frozen.held.set()
        await sleeper.settled()
        assert await store.read(lambda tx: tx.find_job(_job(0).id)) == before
        assert before is not None
        assert (before.lease_owner, before.fence, before.attempts) == ("other", 2, 2)
        assert frozen.calls == awake.calls == [before.id], "the same retry key: the platform shows it once"
        for worker in (sleeper, other):
            await worker.stop()
        await asyncio.gather(sleeping, working)

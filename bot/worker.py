"""The one loop over due jobs: send, wake, invite, remind, alert, digest.

Jobs are leased with a fence; only the oldest unfinished job of a lane runs; a lease is checked once more right before
anything is sent, so that an opt-out between claim and send still holds. A job ends done, expired, dead (with its
reason, can be replayed), cancelled, or uncertain: nobody knows, and it is never sent again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import msgspec
import structlog

from bot import measures
from bot.channel import Channel, Delivery, JsonObject, Refused, RetryLater, Sent, Unknown, Withdrawn
from bot.clock import Chance, Clock
from bot.outbox import LEASE_MS, UNASKED, Outbox
from bot.pacing import Pacer
from storage.errors import StoreError
from storage.failpoints import hit
from storage.records import Job
from storage.store import Store, Tx

log = structlog.get_logger(__name__)

UnitHandler = Callable[[Tx, Job, Outbox], None]
"""Does a job's work and finishes it, in one transaction."""
TaskHandler = Callable[[Job], Awaitable[None]]
"""Does a job's work outside a transaction (and finishes it in one of its own)."""
SentHook = Callable[[Tx, Job, str, Outbox], None]
"""What follows, in the finishing transaction, when a message was accepted: (tx, job, ref, outbox)."""

GivenUpHook = Callable[[Tx, Job, Outbox], None]
"""What follows, in the finishing transaction, when a keyed message was given up, ran out of time, or nobody knows what
became of it."""

_BATCH = 64
_RENEW_S = LEASE_MS / 3000
_BACKOFF_MS = 1_000
_BACKOFF_CAP_MS = 15 * 60_000
_ATTEMPTS = 12
"""With full jitter between 0 and min(cap, 1 s · 2ⁿ) this is a bit over an hour and a half on average."""
_NOTED_WITHIN_S = 0.02
"""How long a message that was accepted may wait for another unit to be noted with. Killed meanwhile, it is asked about
after the start by its retry key or its token, as any that was on its way."""
_LOOK_AGAIN_MS = 5_000
"""Commands beside the server may queue jobs too; they are found this soon."""
_PUSH_PAUSE_MS = 3_600_000
_CHANNEL_PAUSE_MS = 300_000


@dataclass(slots=True)
class Worker:
    """Runs jobs until stopped. `run()` is the loop; `take()` hands over what a unit just queued."""

    store: Store
    clock: Clock
    chance: Chance
    channels: Mapping[str, Channel]
    units: Mapping[str, UnitHandler]
    tasks: Mapping[str, TaskHandler]
    on_sent: SentHook
    on_overtaken: SentHook
    """What follows when a keyed message was accepted although it had been cancelled while it was on its way."""
    on_given_up: GivenUpHook
    owner: str
    pacer: Pacer
    opens_ms: Callable[[int], int]
    """From when on a talk may be started: now, or the next opening of the contact hours."""
    _handed: list[Job] = field(default_factory=list)
    _payloads: dict[str, JsonObject] = field(default_factory=dict)
    _signal: asyncio.Event = field(default_factory=asyncio.Event)
    _awaited: set[str] = field(default_factory=set)
    """Lanes in which somebody may wait for a running job to end."""
    _accepted: list[Job] = field(default_factory=list)
    _noting: bool = False
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _look_ms: int = 0
    """When to look for due jobs next: each look costs a read, so there is none without a reason."""
    _paused: dict[str, int] = field(default_factory=dict)
    _stopping: bool = False
    _busy: bool = False

    def outbox(self) -> Outbox:
        return Outbox(owner=self.owner, now_ms=self.clock.now_ms(), chance=self.chance)

    def take(self, outbox: Outbox) -> None:
        """What a durable unit queued: leased jobs start at once, later ones are remembered."""
        self._awaited |= outbox.behind
        if outbox.claimed:
            self._handed.extend(outbox.claimed)
            self._payloads.update(outbox.payloads)
            self._signal.set()
        if outbox.next_due_ms is not None:
            self._expect(outbox.next_due_ms)

    def _expect(self, due_ms: int) -> None:
        if due_ms < self._look_ms:
            self._look_ms = due_ms
            self._signal.set()

    async def run(self) -> None:
        """Until `stop()`. Storage that is busy is waited for; anything else that a job raises ends in a recorded
        attempt."""
        try:
            while not self._stopping:
                self._signal.clear()
                self._busy = True
                try:
                    worked = await self._round()
                except StoreError as error:
                    log.warning("store_busy", error=str(error))
                    await asyncio.sleep(0.2)
                    continue
                if not worked and not self._handed and not self._stopping:
                    self._busy = False
                    await self.clock.wait(self._signal, self._wait_until_ms())
        finally:
            self._busy = False  # whoever stops waits for a round at work, not for one that broke off

    def _wait_until_ms(self) -> int:
        now_ms = self.clock.now_ms()
        return min([self._look_ms, *(at for at in self._paused.values() if at > now_ms)])

    async def _round(self) -> bool:
        now_ms = self.clock.now_ms()
        if self._paused:
            ended = [name for name, until_ms in self._paused.items() if until_ms <= now_ms]
            for name in ended:
                del self._paused[name]
                self._look_ms = now_ms
        jobs, self._handed = self._handed, []
        try:
            if now_ms >= self._look_ms:
                jobs += await self._claim(now_ms)
            if not jobs:
                return False
            hit("worker.claimed")
            sends = [job for job in jobs if job.kind == "send"]
            # one look for the whole batch: an opt-out or an erasure may have come between claim and now
            held = self.store.glance(lambda tx: tx.holds_lease(sends)) if sends else set()
        except StoreError:
            self._handed = jobs + self._handed  # they are leased to us: nobody else will do them
            raise
        for job in sends:
            if job.id in held:
                self._start(self._send(job))
            else:
                self._payloads.pop(job.id, None)
                self._ended(job)
        for job in jobs:
            if job.kind in self.tasks:
                self._start(self._guard(job, self._at_length(job, self.tasks[job.kind](job))))
            elif job.kind != "send":
                self._start(self._unit(job))
        return True

    async def _claim(self, now_ms: int) -> list[Job]:
        # what is expected from here on, while the store is asked, moves the next look forward again
        self._look_ms = now_ms + _LOOK_AGAIN_MS
        paused = tuple(self._paused)
        outbox = self.outbox()

        def claim(tx: Tx) -> tuple[list[Job], int | None]:
            for late in tx.expire_jobs(now_ms):
                self.on_given_up(tx, late, outbox)
            jobs = tx.claim_jobs(self.owner, now_ms, now_ms + LEASE_MS, limit=_BATCH, paused=paused)
            return jobs, (now_ms if len(jobs) == _BATCH else tx.next_due_ms(now_ms, paused))

        try:
            due_ms, left = self.store.glance(lambda tx: (tx.next_due_ms(now_ms, paused), tx.lease_ran_out(now_ms)))
            jobs: list[Job] = []
            if left or (due_ms is not None and due_ms <= now_ms):
                jobs, due_ms = await self.store.write(claim)
                self.take(outbox)
                self._awaited |= {
                    job.lane for job in jobs if job.lane
                }  # left by another process, or by one before: nobody knows
        except StoreError:
            self._look_ms = now_ms
            raise
        # what waits behind a pause is found when that ends
        if due_ms is not None and (due_ms > now_ms or len(jobs) == _BATCH):
            self._expect(due_ms)
        return jobs

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # ------------------------------------------------------------------------------------------------- units

    async def _unit(self, job: Job) -> None:
        handler = self.units.get(job.kind)
        if handler is None:
            await self._bury(job, f"no handler for kind {job.kind!r}: was it queued by a newer version?")
            return
        outbox = self.outbox()

        async def work() -> None:
            await self.store.write(lambda tx: handler(tx, job, outbox))
            self.take(outbox)

        await self._guard(job, work())

    async def _at_length(self, job: Job, work: Awaitable[None]) -> None:
        """A task may take longer than a lease lasts: it is renewed while the work goes on."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_RENEW_S))[0]:
                until_ms = self.clock.now_ms() + LEASE_MS
                await self.store.write(partial(Tx.renew_lease, job=job, lease_until_ms=until_ms))
        finally:
            task.cancel()
        await task

    async def _guard(self, job: Job, work: Awaitable[None]) -> None:
        """Whatever a job raises ends in a recorded attempt, never in the loop."""
        try:
            await work
        except StoreError as error:
            log.warning("job_postponed", job=job.id, kind=job.kind, error=str(error))
            await self._again(job, str(error), None)
        except Exception as error:
            log.exception("job_failed", job=job.id, kind=job.kind)
            await self._again(job, f"{type(error).__name__}: {error}", None)

    # ------------------------------------------------------------------------------------------------- sending

    async def _send(self, job: Job) -> None:
        await self._guard(job, self._deliver(job))

    async def _deliver(self, job: Job) -> None:
        payload = self._payloads.pop(job.id, None)
        channel = self.channels.get(job.channel)
        if channel is None:
            await self._bury(job, f"channel {job.channel!r} is off: set its tokens, then replay")
            return
        if job.channel in self._paused:
            await self._put_back(job, self._paused[job.channel], "channel paused")
            return
        if job.key.startswith(UNASKED) and (opens_ms := self.opens_ms(self.clock.now_ms())) > self.clock.now_ms():
            await self._put_back(job, opens_ms, "quiet_hours")
            return
        if payload is None:
            payload = msgspec.json.decode(job.payload)
        assert payload is not None
        wait_ms = self.pacer.wait_ms(job.channel, payload, job.lane, self.clock.now_ms())
        if wait_ms > 0:
            await self._put_back(job, self.clock.now_ms() + wait_ms, "pacing")
            return
        ref = str(payload.get("ref", ""))
        if job.updates:
            ref = self.store.glance(lambda tx: tx.prompt_ref(job.session_id, job.updates))
        hit("worker.before_send")
        delivery = await channel.send(
            payload,
            job_id=job.id,
            attempt=job.attempts,
            now_ms=self.clock.now_ms(),
            ref=ref,
            wanted=lambda: bool(self.store.glance(lambda tx: tx.holds_lease((job,)))),
        )
        hit("worker.after_send")
        await self._settle(job, delivery)

    async def _settle(self, job: Job, delivery: Delivery) -> None:
        measures.delivered(job.channel, type(delivery).__name__).inc()
        match delivery:
            case Sent(ref=ref) if job.key or (job.asks and ref):
                await self._done(job, ref)
            case Sent():
                self._accepted.append(job)
                if not self._noting:
                    self._noting = True
                    self._start(self._note_accepted())
                if job.lane in self._awaited:
                    self.store.hurry()
            case RetryLater(reason=reason, after_s=after_s, pause=pause):
                if pause:
                    self._pause(job.channel, int((after_s or 1.0) * 1000), reason)
                await self._again(job, reason, after_s)
            case Refused(reason=reason, scope="channel"):
                self._pause(job.channel, _CHANNEL_PAUSE_MS, reason)
                await self._put_back(job, self.clock.now_ms() + _CHANNEL_PAUSE_MS, reason)
            case Refused(reason=reason, scope="push"):
                measures.alerts.labels(job.channel, "quota").inc()
                log.error("push_quota_used_up", channel=job.channel, reason=reason)
                await self._put_back(job, self.clock.now_ms() + _PUSH_PAUSE_MS, reason)
            case Refused(reason=reason, scope="address"):
                await self._bury(job, reason, unreachable=True)
            case Refused(reason=reason):
                await self._bury(job, reason)
            case Unknown(reason=reason, retry=True):
                await self._again(job, reason, None)
            case Unknown(reason=reason):
                log.warning("send_uncertain", job=job.id, channel=job.channel, reason=reason)
                outbox = self.outbox()

                def unit(tx: Tx) -> None:
                    if tx.finish_job(job, state="uncertain", at_ms=outbox.now_ms, error=reason) and job.key:
                        self.on_given_up(tx, job, outbox)

                await self._finish(job, unit)
                self.take(outbox)
            case Withdrawn():
                self._ended(job)  # whoever withdrew it has ended it
            case _:
                assert_never(delivery)

    async def _note_accepted(self) -> None:
        """Finish the jobs that were accepted and that nothing follows from.

        The unit takes all that were accepted until it runs, not until it is queued, and it runs before the next answer
        that comes in: so there is no commit for this alone while customers answer, and one who answers within
        milliseconds finds the lane free. Whoever waits in a lane already is not kept waiting.
        """
        taken: list[Job] = []

        def unit(tx: Tx) -> None:
            self._noting = False
            taken.extend(self._accepted)
            self._accepted = []
            at_ms = self.clock.now_ms()
            for job in taken:
                tx.finish_job(job, state="done", at_ms=at_ms)

        try:
            while True:
                try:
                    awaited = any(job.lane in self._awaited for job in self._accepted)
                    await self.store.write(unit, repeatable=True, within_s=0.0 if awaited else _NOTED_WITHIN_S)
                    break
                except StoreError as error:
                    # they are sent; only the note of it is missing
                    log.warning("store_busy", error=str(error))
                    self._noting = True
                    if self._stopping:
                        return
                    await asyncio.sleep(0.2)
            hit("worker.finished")
            for job in taken:
                self._ended(job)
        except Exception:
            log.exception("finish_failed")
            self._noting = False

    async def _done(self, job: Job, ref: str) -> None:
        outbox = self.outbox()

        def unit(tx: Tx) -> None:
            if tx.finish_job(job, state="done", at_ms=outbox.now_ms, ref=ref):
                if job.asks and ref:
                    tx.put_prompt_ref(job.session_id, job.asks, ref)
                self.on_sent(tx, job, ref, outbox)
            elif job.key:
                self.on_overtaken(tx, job, ref, outbox)

        await self._finish(job, unit)
        hit("worker.finished")
        self.take(outbox)

    async def _again(self, job: Job, reason: str, after_s: float | None) -> None:
        now_ms = self.clock.now_ms()
        if job.attempts >= _ATTEMPTS:
            await self._bury(job, f"given up after {job.attempts} attempts: {reason}")
            return
        jitter_ms = int(self.chance.draw() * min(_BACKOFF_CAP_MS, _BACKOFF_MS * 2**job.attempts))
        due_ms = now_ms + max(jitter_ms, int((after_s or 0) * 1000), 1)
        if job.expires_ms is not None and due_ms >= job.expires_ms:
            await self._bury(job, f"not sent in time: {reason}")
            return
        await self.store.write(lambda tx: tx.retry_job(job, due_ms=due_ms, error=reason))
        self._expect(due_ms)

    async def _put_back(self, job: Job, due_ms: int, reason: str) -> None:
        """Later, without counting an attempt: nothing was tried."""
        await self.store.write(lambda tx: tx.put_back_job(job, due_ms=due_ms, error=reason))
        self._expect(due_ms)
        # a long wait gives its lane to what came after it
        self._ended(job)

    async def _bury(self, job: Job, reason: str, *, unreachable: bool = False) -> None:
        log.error("job_dead", job=job.id, kind=job.kind, channel=job.channel, reason=reason)
        measures.dead_jobs.labels(job.kind).inc()

        outbox = self.outbox()

        def unit(tx: Tx) -> None:
            now_ms = outbox.now_ms
            if not tx.finish_job(job, state="dead", at_ms=now_ms, error=reason):
                return
            if job.key:
                self.on_given_up(tx, job, outbox)
            session = tx.find_session(job.session_id) if unreachable and job.session_id else None
            if session is not None:
                tx.set_blocked(session.channel, session.workspace, session.external_id, now_ms)

        await self._finish(job, unit)
        self.take(outbox)

    async def _finish(self, job: Job, unit: Callable[[Tx], object]) -> None:
        """Run the unit that ends a job."""
        await self.store.write(unit)
        self._ended(job)

    def _ended(self, job: Job) -> None:
        """Whoever waited behind it in its lane is looked for at once."""
        if job.lane in self._awaited:
            self._awaited.discard(job.lane)
            self._expect(self.clock.now_ms())

    def paused(self) -> tuple[tuple[str, int], ...]:
        """(channel, until when) of those to which nothing is sent at present."""
        now_ms = self.clock.now_ms()
        return tuple((name, until_ms) for name, until_ms in sorted(self._paused.items()) if until_ms > now_ms)

    def _pause(self, channel: str, for_ms: int, reason: str) -> None:
        if channel not in self._paused:
            log.error("channel_paused", channel=channel, seconds=for_ms / 1000, reason=reason)
            measures.alerts.labels(channel, "paused").inc()
        self._paused[channel] = max(self._paused.get(channel, 0), self.clock.now_ms() + for_ms)

    # ------------------------------------------------------------------------------------------------- ending

    async def stop(self, within_s: float = 8.0) -> None:
        """Start nothing more; let running calls end within `within_s`, and give back what was claimed and not begun.
        What does not end keeps its lease, which the next start releases."""
        self._stopping = True
        self._signal.set()
        loop = asyncio.get_running_loop()
        end_s = loop.time() + within_s
        # a round that has begun may still start some
        while (self._running or self._busy) and (left_s := end_s - loop.time()) > 0:
            if self._running:
                await asyncio.wait(tuple(self._running), timeout=left_s)
            else:
                await asyncio.sleep(0.001)
        for task in tuple(self._running):
            task.cancel()
        if self._handed:
            try:
                await self.store.write(self._give_back)
            except StoreError as error:
                log.warning("leases_kept", error=str(error))

    def _give_back(self, tx: Tx) -> None:
        now_ms = self.clock.now_ms()
        for job in self._handed:
            tx.put_back_job(job, due_ms=now_ms, error="the server stopped")

    async def next_due_ms(self) -> int | None:
        """When there is something to do next, None without anything; what a paused channel has to send is due when its
        pause ends."""
        paused = dict(self._paused)
        due_ms = await self.store.read(lambda tx: tx.next_due_ms(self.clock.now_ms(), tuple(paused)))
        return min([*paused.values(), *([] if due_ms is None else [due_ms])], default=None)

    async def settled(self) -> None:
        """Returns when nothing is due now and nothing is running: for clocks that somebody else moves."""
        while not self._stopping:
            if self._running:
                await asyncio.sleep(0)  # what was just started comes as far as it can
                self.store.hurry()
                if self._running:
                    await asyncio.wait(tuple(self._running), return_when=asyncio.FIRST_COMPLETED)
                continue
            if self._handed or self._busy or self._signal.is_set():
                await asyncio.sleep(0)
                continue
            due_ms = await self.next_due_ms()
            idle = not (self._running or self._handed or self._busy or self._signal.is_set())
            if idle and (due_ms is None or due_ms > self.clock.now_ms()):
                return
            self._expect(0)
            self._signal.set()
            await asyncio.sleep(0.001)

"""Answered questions per second through the store: `python tests/storage/bench_units.py [--customers 1000 100000]`.

One unit is what one tapped answer costs: note the event, find the address and the session, record the answer with its
roll-up, move the session, queue the next question already leased; and in a second unit, as the worker does it, finish
that job. 64 callers at once; not a test.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from storage.records import Address, Answer, Customer, Job, Session
from storage.store import Store, Tx, open_store

QUESTIONS = (("sat", "sat5"), ("nps", "nps"), ("reason", "reason"), ("affinity", "affinity"), ("emotion", "emotion"))
START_MS = 1_794_000_000_000
STATE = '{"at":"nps","answers":{"sat":4},"seed":0.5,"shown":[' + ",".join(["1794000000000"] * 40) + "]}"
BODY = '{"messages":[{"type":"flex","altText":"?","contents":"' + "x" * 1800 + '"}]}'


def customer_id(number: int) -> str:
    return f"C{number:07d}"


def session_id(number: int, turn: int) -> str:
    return f"0199{turn:08x}-{number:08x}-7000"


def stock(first: int, last: int) -> object:
    def unit(tx: Tx) -> None:
        for number in range(first, last):
            tx.put_customer(Customer(customer_id(number), "山田 花子", "ja", START_MS))
            tx.put_address(
                Address("line", "Udest", f"U{number:032x}", customer_id(number), "event", "linked", "ja", START_MS)
            )
            tx.new_session(new_session(number, 0))

    return unit


def new_session(number: int, turn: int) -> Session:
    return Session(
        id=session_id(number, turn),
        invitation_id=f"i-{number}-{turn}",
        flow_id="after_purchase",
        revision="r1",
        survey_kind="transactional",
        touchpoint="purchase",
        segment="shibuya",
        customer_id=customer_id(number),
        channel="line",
        workspace="Udest",
        external_id=f"U{number:032x}",
        lang="ja",
        state=STATE,
        status="open",
        version=1,
        created_ms=START_MS + turn,
        started_ms=None,
        ended_ms=None,
        expires_ms=START_MS + 10**9,
    )


def answered(number: int, step: int, value: str, at_ms: int) -> object:
    question, instrument = QUESTIONS[step]

    def unit(tx: Tx) -> Job:
        if not tx.note_inbound("line", "Udest", f"01{at_ms:012x}{number:08x}{step}", at_ms):
            raise AssertionError
        address = tx.find_address("line", "Udest", f"U{number:032x}")
        session = tx.current_session("line", "Udest", f"U{number:032x}")
        assert session is not None
        assert address is not None
        tx.record_answer(
            Answer(
                id=f"{at_ms:013d}-{number:08x}-{step}",
                session_id=session.id,
                customer_id=session.customer_id,
                question=question,
                instrument=instrument,
                wording_id="w1",
                label_set="l1",
                value=value,
                missing="",
                numeric=question != "reason",
                lang="ja",
                channel="line",
                survey_kind="transactional",
                touchpoint="purchase",
                segment="shibuya",
                flow_id="after_purchase",
                revision="r1",
                shown_ms=at_ms - 5000,
                answered_ms=at_ms,
                week="2026-11-16",
            )
        )
        last = step == len(QUESTIONS) - 1
        moved = tx.save_session(
            Session(
                *(
                    *(getattr(session, name) for name in Session.__slots__[:12]),
                    STATE,
                    "completed" if last else "open",
                    session.version + 1,
                    session.created_ms,
                    session.started_ms or at_ms,
                    at_ms if last else None,
                    session.expires_ms,
                )
            )
        )
        assert moved
        job = tx.put_job(
            Job(
                id=f"0199{at_ms:013d}-{number:08x}-{step}",
                kind="send",
                due_ms=at_ms,
                payload=BODY,
                lane=f"line:U{number:032x}",
                channel="line",
                session_id=session.id,
                customer_id=session.customer_id,
                asks=question,
                expires_ms=at_ms + 60_000,
                created_ms=at_ms,
            ),
            claim_for="worker-1",
            lease_until_ms=at_ms + 30_000,
        )
        assert job is not None
        assert job.state == "leased"
        return job

    return unit


async def talk(store: Store, numbers: asyncio.Queue[int], turn: int, until: float, took: list[float]) -> None:
    chance = random.Random(turn)
    while time.perf_counter() < until and not numbers.empty():
        number = numbers.get_nowait()
        for step in range(len(QUESTIONS)):
            start = time.perf_counter()
            at_ms = START_MS + turn + int(start * 1000)
            job = await store.write(answered(number, step, str(chance.randrange(11)), at_ms))
            took.append(time.perf_counter() - start)
            await store.write(lambda tx, job=job: tx.finish_job(job, state="done", at_ms=START_MS))


async def measure(folder: Path, customers: int, callers: int, seconds: float) -> None:
    path = folder / f"bench-{customers}.db"
    async with await open_store(f"sqlite:///{path}", now_ms=START_MS, server=True) as store:
        for first in range(0, customers, 1000):
            await store.write(stock(first, min(first + 1000, customers)))
        await store.compact()
        order = list(range(customers))
        random.Random(1).shuffle(order)
        numbers: asyncio.Queue[int] = asyncio.Queue()
        for number in order:
            numbers.put_nowait(number)
        took: list[float] = []
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        await asyncio.gather(*(talk(store, numbers, 0, start + seconds, took) for _ in range(callers)))
        wall = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime
        took.sort()
        print(
            f"{customers:>8,} customers  {len(took) / wall:>8,.0f} answers/s"
            f"  p50 {statistics.median(took) * 1000:6.2f} ms  p99 {took[int(len(took) * 0.99)] * 1000:6.2f} ms"
            f"  cpu {cpu_s / len(took) * 1e6:5.0f} µs/answer  rss {used.ru_maxrss // 1024} MB"
        )
        wrong = await store.read(lambda tx: tx.check_integrity())
        if wrong:
            sys.exit("\n".join(wrong))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for customers in options.customers:
            await measure(Path(folder), customers, options.callers, options.seconds)


if __name__ == "__main__":
    asyncio.run(main())

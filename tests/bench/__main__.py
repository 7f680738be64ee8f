"""`python -m tests.bench`: Koe against the smallest durable handler, in one run, in turns.

Prints answers per second, p50/p99, CPU per answer and memory at 64 users at once and at 200 answers a second, and how
they change from 1,000 to 100,000 customers stored. What is measured, and how to read it: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.bench import shop
from tests.bench.load import LineApi, Load, Survey, Times, messages_of
from tests.bench.wire import connect, serve

USERS = 64
PER_S = 200.0
_TICKS = os.sysconf("SC_CLK_TCK")
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    customers: tuple[int, ...]
    rounds: int
    surveys: int
    """Surveys answered in a round of the closed loop."""
    open_rounds: int
    open_answers: int


QUICK = Plan(customers=(1_000, 5_000), rounds=3, surveys=400, open_rounds=1, open_answers=800)
FULL = Plan(customers=(1_000, 100_000), rounds=7, surveys=800, open_rounds=5, open_answers=2_000)


class Process:
    """A server under measurement."""

    def __init__(self, name: str, command: Sequence[str], port: int, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.port = port
        self._log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [sys.executable, *command], cwd=_ROOT, env=dict(env), stdout=output, stderr=output
            )

    async def ready(self) -> None:
        deadline = time.perf_counter() + 30
        while time.perf_counter() < deadline and self._popen.poll() is None:
            try:
                (await connect(self.port)).close()
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return
        raise RuntimeError(f"{self.name} did not start")

    def said(self) -> str:
        """The end of its log."""
        return f"{self.name}: {self._log.read_text(errors='replace')[-3000:]}"

    def cpu_s(self) -> float:
        """User and system time so far, all threads."""
        fields = Path(f"/proc/{self._popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self) -> tuple[int, int]:
        """(resident now, resident at most)."""
        lines = Path(f"/proc/{self._popen.pid}/status").read_text().splitlines()
        kb = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
        return kb["VmRSS"] // 1024, kb["VmHWM"] // 1024

    async def stop(self) -> None:
        self._popen.terminate()
        try:
            await asyncio.to_thread(self._popen.wait, 15)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            raise


@dataclass(slots=True)
class Figures:
    """What the rounds of one server gave; one entry a round."""

    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    ack_p50: list[float] = field(default_factory=list)
    ack_p99: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    answers: int = 0

    def add(self, times: Times, cpu_s: float) -> None:
        count = len(times.replied)
        self.answers += count
        self.per_s.append(count / times.wall_s)
        self.cpu_us.append(cpu_s / count * 1e6)
        self.ack_p50.append(_percentile(times.acknowledged, 50))
        self.ack_p99.append(_percentile(times.acknowledged, 99))
        self.p50.append(_percentile(times.replied, 50))
        self.p99.append(_percentile(times.replied, 99))

    def row(self) -> str:
        def ms(values: list[float]) -> str:
            return f"{statistics.median(values) * 1000:6.1f}"

        return (
            f"{statistics.median(self.per_s):7,.0f}/s ({min(self.per_s):,.0f}–{max(self.per_s):,.0f})"
            f"  stored p50 {ms(self.ack_p50)} p99 {ms(self.ack_p99)} ms"
            f"  next question p50 {ms(self.p50)} p99 {ms(self.p99)} ms"
            f"  cpu {statistics.median(self.cpu_us):5.0f} µs/answer"
        )


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def _running(process: Process) -> AsyncIterator[Process]:
    try:
        await process.ready()
        yield process
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{process.said()}") from error
    finally:
        await process.stop()


@dataclass(slots=True)
class Outcome:
    """The figures of one number of customers."""

    customers: int
    closed: dict[str, Figures]
    opened: dict[str, Figures]
    memory_mb: dict[str, tuple[int, int]]

    def ratios(self) -> list[float]:
        """Answers per second, Koe's over the reference's of the same round."""
        return [a / b for a, b in zip(self.closed["koe"].per_s, self.closed["reference"].per_s, strict=True)]

    def cpu(self) -> list[float]:
        """CPU per answer, Koe's over the reference's of the same round: what a busy machine disturbs least."""
        return [a / b for a, b in zip(self.closed["koe"].cpu_us, self.closed["reference"].cpu_us, strict=True)]

    def waits(self) -> list[float]:
        """p99 to the next question at a fixed rate, Koe's over the reference's of the same round."""
        return [a / b for a, b in zip(self.opened["koe"].p99, self.opened["reference"].p99, strict=True)]


async def _measure(plan: Plan, customers: int, folder: Path, api: LineApi, api_port: int, *, ceiling: bool) -> Outcome:
    say(f"\n{customers:,} customers stored")
    settings = shop.write_settings(folder, api_port=api_port)
    start = time.perf_counter()
    await shop.stock(folder / "koe.db", customers)
    say(f"  their past written in {time.perf_counter() - start:.0f} s: {_size_mb(folder / 'koe.db')} MB")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("KOE_", "LINE_", "SLACK_"))}
    port = _free_port()
    command = ["-c", "from bot.cli import main; main()", "serve", "--port", str(port)]
    koe = Process("koe", command, port, {**env, **settings}, folder / "koe.log")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(_running(koe))
        till = shop.Till(port, api, customers)
        shown = await till.open_surveys(USERS)
        message = shown[0].message
        users = [survey.user for survey in shown]
        reply = folder / "reply.json"
        reply.write_bytes(messages_of(message))

        def again(count: int) -> deque[Survey]:
            # the reference sends this question each time
            return deque(Survey(user, message) for user in itertools.islice(itertools.cycle(users), count))

        if ceiling:
            await _ceiling(api, api_port, reply, folder, env, again)
        port = _free_port()
        command = ["-m", "tests.bench.reference", str(port), str(api_port), str(folder / "reference.db"), str(reply)]
        reference = Process("reference", command, port, env, folder / "reference.log")
        await stack.enter_async_context(_running(reference))

        outcome = Outcome(customers, {}, {}, {})
        loads = {}
        for process in (reference, koe):
            loads[process.name] = Load(process.port, api, users=USERS, questions=len(shop.QUESTIONS))
            outcome.closed[process.name], outcome.opened[process.name] = Figures(), Figures()

        async def surveys_for(process: Process, count: int) -> deque[Survey]:
            if process is reference:
                return again(count)
            return await till.open_surveys(count)

        # the first surveys warm both up, and are not counted
        warm = {"koe": (await loads["koe"].closed(shown)).replied, "reference": []}
        warm["reference"] = (await loads["reference"].closed(again(USERS))).replied
        for _ in range(plan.rounds):
            for process in (reference, koe):
                surveys = await surveys_for(process, plan.surveys)
                before = process.cpu_s()
                times = await loads[process.name].closed(surveys)
                outcome.closed[process.name].add(times, process.cpu_s() - before)
        for _ in range(plan.open_rounds):
            for process in (reference, koe):
                surveys = await surveys_for(process, plan.open_answers // len(shop.QUESTIONS) + USERS)
                before = process.cpu_s()
                times = await loads[process.name].open(surveys, per_s=PER_S, count=plan.open_answers)
                outcome.opened[process.name].add(times, process.cpu_s() - before)
        for process in (reference, koe):
            outcome.memory_mb[process.name] = process.memory_mb()
            stored = _stored(folder / f"{process.name}.db") - (customers * len(shop.QUESTIONS) if process is koe else 0)
            name = process.name
            told = outcome.closed[name].answers + outcome.opened[name].answers + len(warm[name])
            if stored != told:
                raise RuntimeError(f"{name} acknowledged {told} answers and stored {stored}")
        if api.unexpected:
            raise RuntimeError(f"{api.unexpected} messages arrived that nobody waited for")
    for name in ("reference", "koe"):
        say(f"  {USERS} users  {name:<9} {outcome.closed[name].row()}")
    say(f"            ratio {_spread(outcome.ratios())}, of the CPU per answer {_spread(outcome.cpu())}")
    for name in ("reference", "koe"):
        say(f"  {PER_S:.0f}/s     {name:<9} {outcome.opened[name].row()}")
    say(f"            p99 over the reference's {_spread(outcome.waits())}")
    for name in ("reference", "koe"):
        now, most = outcome.memory_mb[name]
        say(f"  memory    {name:<9} {now} MB now, {most} MB at most")
    return outcome


async def _ceiling(
    api: LineApi,
    api_port: int,
    reply: Path,
    folder: Path,
    env: Mapping[str, str],
    again: Callable[[int], deque[Survey]],
) -> None:
    """What the generator could load if the server cost nothing."""
    port = _free_port()
    command = ["-m", "tests.bench.null", str(port), str(api_port), str(reply)]
    async with _running(Process("null", command, port, env, folder / "null.log")):
        times = await Load(port, api, users=USERS, questions=len(shop.QUESTIONS)).closed(again(1_000))
    say(f"  the generator's own ceiling: {len(times.replied) / times.wall_s:,.0f} answers/s")


def _stored(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT COUNT(*) FROM answers").fetchone()[0])


def _size_mb(path: Path) -> int:
    return path.stat().st_size // 1_000_000


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def say(line: str) -> None:
    print(line, flush=True)


async def _main(plan: Plan) -> int:
    api = LineApi()
    server = await serve(api.answer)
    api_port = server.sockets[0].getsockname()[1]
    outcomes = []
    for customers in plan.customers:
        with tempfile.TemporaryDirectory(prefix="koe-bench-") as folder:
            outcomes.append(
                await _measure(plan, customers, Path(folder), api, api_port, ceiling=customers == plan.customers[0])
            )
    server.close()
    few, many = outcomes[0], outcomes[-1]
    say(f"\nFrom {few.customers:,} to {many.customers:,} customers, Koe")
    for name, values in (
        ("answers/s", (few.closed["koe"].per_s, many.closed["koe"].per_s)),
        ("cpu per answer", (few.closed["koe"].cpu_us, many.closed["koe"].cpu_us)),
        ("p50 at 200/s", (few.opened["koe"].p50, many.opened["koe"].p50)),
        ("p99 at 200/s", (few.opened["koe"].p99, many.opened["koe"].p99)),
    ):
        say(f"  {name:<15} × {statistics.median(values[1]) / statistics.median(values[0]):.2f}")
    say(f"  {'memory':<15} × {many.memory_mb['koe'][1] / few.memory_mb['koe'][1]:.2f}")
    say("\nWhat must hold")
    held = [
        _verdict(f"{o.customers:,} customers: answers/s ≥ 0.5 of the reference", statistics.median(o.ratios()), 0.5)
        for o in outcomes
    ] + [
        _verdict(f"{o.customers:,} customers: p99 ≤ 3 × the reference", -statistics.median(o.waits()), -3.0)
        for o in outcomes
    ]
    return 0 if all(held) else 1


def _verdict(what: str, value: float, least: float) -> bool:
    say(f"  {'holds' if value >= least else 'FAILS'}  {what}: {abs(value):.2f}")
    return value >= least


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, rougher")
    sys.exit(uvloop.run(_main(QUICK if parser.parse_args().quick else FULL)))

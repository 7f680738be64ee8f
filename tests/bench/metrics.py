"""`python -m tests.bench.metrics`: the weekly set of metrics, from a file of answers and from the roll-up.

Beside plain pandas and beside DuckDB over Parquet, which must come to the same counts; and how much a longer history
costs. A count that differs fails the run, as does a bound that does not hold in a full one. What is measured, and how
to read it: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import duckdb

from reports.instruments import bundled_instruments, specs_of
from reports.metrics import InstrumentSpec, Result, Stratum, measure, tally
from storage.records import RollupCell
from storage.store import Store, open_store
from tests.bench import history
from tests.bench.history import LAST_MONDAY, NOW_MS, monday_before

T = TypeVar("T")
LONG, YEAR, SHORT = 104, 60, 12
"""Weeks of the histories. A digest looks back on a year of answers: beyond it, more history must cost nothing."""
LONGER_THAN_SHORT = {"segments", "kpis"}
"""Parts of a digest that look back further than the short history has answers or first purchases for: the year behind
the segments, and who is a new customer."""
DIGEST_WEEKS = 8
RAW_MB = 1_500
DUCKDB_BOUND, FLAT_BOUND = 1.5, 1.10
_ROOT = Path(__file__).resolve().parents[2]
_CELL = ", ".join(f.name for f in fields(RollupCell)[:-2])
_COUNTS = f"""
SELECT {_CELL}, COUNT(*) AS answers, CAST(SUM(latest) AS BIGINT) AS customers FROM (
  SELECT {_CELL}, CASE WHEN missing <> '' THEN 0 WHEN customer_id = '' THEN 1 WHEN ROW_NUMBER() OVER (
    PARTITION BY customer_id, week, instrument, survey_kind, touchpoint, missing = ''
    ORDER BY answered_ms DESC, id DESC) = 1 THEN 1 ELSE 0 END AS latest
  FROM read_parquet($file) WHERE "numeric" AND week BETWEEN $first AND $last)
GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    answers: int
    customers: int
    """So many that about one in ten who answer in a week answers twice."""
    raw: int
    rounds: int
    digests: int

    @property
    def surveys(self) -> int:
        """A week."""
        return round(self.answers / LONG / history.ANSWERS_PER_SESSION)


FULL = Plan(answers=10_000_000, customers=200_000, raw=1_000_000, rounds=25, digests=3)
QUICK = Plan(answers=200_000, customers=4_000, raw=50_000, rounds=5, digests=2)


class Bounds:
    """What must hold, and whether it did."""

    def __init__(self, *, judged: bool) -> None:
        self._judged = judged
        self.failed = False

    def most(self, name: str, value: float, bound: float) -> None:
        holds = value <= bound
        self.failed |= self._judged and not holds
        verdict = ("holds" if holds else "DOES NOT HOLD") if self._judged else "not judged: --quick"
        print(f"  bound: {name} {value:.2f} ≤ {bound:g} – {verdict}")


def fail(sentence: str) -> NoReturn:
    sys.exit(f"FAILED: {sentence}")


# ------------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class Run:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_mb: int
    out: bytes


def run(arguments: Sequence[str], stdin: bytes = b"") -> Run:
    """A child of this Python, to its end."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out:
        given.write(stdin)
        given.seek(0)
        begun = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments], cwd=_ROOT, stdin=given, stdout=out, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        if child.returncode != 0:
            fail(f"{' '.join(arguments[:3])} ended with {child.returncode}")
        return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, out.read())


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def spread(seconds: Sequence[float]) -> str:
    low, middle, high = (1000 * s for s in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:9,.1f} ms ({low:,.1f}–{high:,.1f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, str]:
    """The median of the ratios round by round, and how they scatter: what else the machine does disturbs both of a
    round alike."""
    each = [mine / yours for mine, yours in zip(ours, theirs, strict=True)]
    return statistics.median(each), f"× {statistics.median(each):.2f} ({min(each):.2f}–{max(each):.2f})"


# --------------------------------------------------------------------------------------------- a file of raw answers


def raw_file(plan: Plan, folder: Path, bounds: Bounds) -> None:
    path = folder / "answers.csv"
    rows = history.write_csv(path, LAST_MONDAY, plan.raw, customers=plan.raw // 5)
    print(f"\n{rows:,} raw answers in a file of {path.stat().st_size >> 20} MB")
    koe, pandas = [], []
    for _ in range(3):
        koe.append(run(["-m", "bot.cli", "metrics", str(path), "--format", "json"]))
        pandas.append(run(["-m", "tests.bench.plain_pandas", str(path)]))
    if (ours := counts_of_records(koe[0].out)) != (theirs := counts_of_groups(pandas[0].out)):
        fail(f"koe metrics and pandas differ in {len(set(ours.items()) ^ set(theirs.items()))} counts")
    for name, found in (("koe metrics", koe), ("plain pandas", pandas)):
        cpu = statistics.median(r.cpu_s for r in found)
        print(
            f"  {name:13}{spread([r.wall_s for r in found])}  CPU {cpu:.1f} s  peak {max(r.peak_mb for r in found)} MB"
        )
    _, said = ratios([r.cpu_s for r in koe], [r.cpu_s for r in pandas])
    print(f"  CPU over that of pandas {said}; {len(ours)} counts of {len(json.loads(koe[0].out))} records are the same")
    bounds.most("peak memory, MB", max(r.peak_mb for r in koe), RAW_MB)


def counts_of_records(out: bytes) -> dict[tuple[str, ...], int]:
    """(instrument, kind, touchpoint, wording, labels, language, code) → answers, of those to one question."""
    names = ("metric", "survey_kind", "touchpoint", "wording_id", "label_set", "lang")
    return {
        (*(record[name] for name in names), code): count
        for record in json.loads(out)
        if record["metric"] in history.SCORED
        for code, count in record["counts"].items()
        if count
    }


def counts_of_groups(out: bytes) -> dict[tuple[str, ...], int]:
    """The same of plain group counts, selections taken apart."""
    counts: Counter[tuple[str, ...]] = Counter()
    for *group, value, count in json.loads(out):
        for code in value.split(";"):
            counts[(*group, code)] += count
    return dict(counts)


# -------------------------------------------------------------------------------------------------------- the roll-up


class Parquet:
    """DuckDB over one file of raw answers."""

    def __init__(self, path: Path) -> None:
        self._db = duckdb.connect()
        self._file = str(path)

    def counts(self, first: str, last: str) -> list[tuple[Any, ...]]:
        """The cells of these weeks, by all columns of a cell."""
        given = {"file": self._file, "first": first, "last": last}
        return self._db.execute(_COUNTS, given).fetchall()


def weekly_set(cells: Iterable[RollupCell], specs: dict[str, InstrumentSpec]) -> list[Result]:
    """Every statistic of every question of one week, per kind, touchpoint and wording."""
    groups: dict[tuple[str, Stratum], list[RollupCell]] = {}
    for cell in cells:
        stratum = Stratum(cell.survey_kind, cell.touchpoint, cell.wording_id, cell.label_set)
        groups.setdefault((cell.instrument, stratum), []).append(cell)
    return [
        result
        for (instrument, stratum), mine in sorted(groups.items(), key=lambda item: (item[0][0], astuple(item[0][1])))
        for result in measure(
            specs[instrument],
            tally(
                specs[instrument],
                [(cell.value, cell.customers) for cell in mine if not cell.missing],
                missing=sum(cell.answers for cell in mine if cell.missing),
                superseded=sum(cell.answers - cell.customers for cell in mine if not cell.missing),
            ),
            stratum=stratum,
        )
    ]


async def roll_up(plan: Plan, stores: dict[int, Path], parquet: Path, bounds: Bounds) -> None:
    """Against DuckDB on the long history, and against itself on the short one."""
    specs = specs_of(bundled_instruments())
    duck = Parquet(parquet)
    open_ = {weeks: await open_store(f"sqlite:///{path}", now_ms=NOW_MS) for weeks, path in stores.items()}
    spans = {
        "one week": (LAST_MONDAY, LAST_MONDAY),
        "the digest's eight weeks": (monday_before(DIGEST_WEEKS - 1), LAST_MONDAY),
        f"all {LONG} weeks": (monday_before(LONG - 1), LAST_MONDAY),
    }
    print("\nThe same counts from the roll-up and from DuckDB over Parquet")
    for name, (first, last) in spans.items():
        bound = (first.isoformat(), last.isoformat())
        cells = await cells_of(open_[LONG], *bound)
        if sorted(map(astuple, cells)) != sorted(theirs := duck.counts(*bound)):
            fail(f"{name}: the roll-up and DuckDB differ in {len(set(map(astuple, cells)) ^ set(theirs))} cells")
        ours, others = [], []
        for _ in range(plan.rounds if first == last else 3 + plan.rounds // 10):
            begun = time.perf_counter()
            await cells_of(open_[LONG], *bound)
            ours.append(time.perf_counter() - begun)
            others.append(timed(lambda bound=bound: duck.counts(*bound)))  # type: ignore[misc]
        median, said = ratios(ours, others)
        answers = sum(cell.answers for cell in cells)
        print(f"  {name}: {len(cells):,} cells of {answers:,} answers, identical")
        print(f"    roll-up {spread(ours)}   DuckDB {spread(others)}   {said}")
        bounds.most(f"{name}, over DuckDB", median, DUCKDB_BOUND)
    week = (LAST_MONDAY.isoformat(), LAST_MONDAY.isoformat())
    ours, others = [], []
    cpu: dict[int, list[float]] = {weeks: [] for weeks in open_}
    for _ in range(plan.rounds):
        begun = time.perf_counter()
        records = weekly_set(await cells_of(open_[LONG], *week), specs)
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        same = weekly_set((RollupCell(*row) for row in duck.counts(*week)), specs)
        others.append(time.perf_counter() - begun)
        for weeks, seconds in cpu.items():
            begun = time.process_time()
            of_history = weekly_set(await cells_of(open_[weeks], *week), specs)
            seconds.append(time.process_time() - begun)
            if not records == same == of_history:
                fail("the metrics of the week are not the same from both histories and from DuckDB")
    print(f"The metrics of one week: {len(records)} records, identical from both histories and from DuckDB")
    median, said = ratios(ours, others)
    print(f"    roll-up {spread(ours)}   DuckDB {spread(others)}   {said}")
    bounds.most("weekly set, over DuckDB", median, DUCKDB_BOUND)
    median, said = ratios(cpu[LONG], cpu[SHORT])
    print(f"    CPU of {LONG} weeks {spread(cpu[LONG])}   of {SHORT} weeks {spread(cpu[SHORT])}   {said}")
    bounds.most(f"weekly set, CPU of {LONG} over {SHORT} weeks", median, FLAT_BOUND)
    for store in open_.values():
        await store.close()


async def cells_of(store: Store, first: str, last: str) -> list[RollupCell]:
    return await store.read(lambda tx: tx.rollup(first, last))


async def one_by_one(plan: Plan, store: Path, folder: Path) -> None:
    """The last week recorded answer by answer, with corrections and in any order, and the roll-up recomputed from rows:
    both are that of the store written in bulk."""
    _, columns = history.week_of(LAST_MONDAY, plan.surveys, customers=plan.customers)
    answers = history.answers_of(columns)
    week = LAST_MONDAY.isoformat()
    begun = time.perf_counter()
    async with await open_store(f"sqlite:///{folder / 'one-by-one.db'}", now_ms=NOW_MS) as live:
        await history.record_one_by_one(live, answers, seed=1)
        took_s = time.perf_counter() - begun
        recorded = await cells_of(live, week, week)
    async with await open_store(f"sqlite:///{store}", now_ms=NOW_MS) as bulk:
        if (fresh := await bulk.read(lambda tx: tx.recompute_rollup())) != await cells_of(bulk, "", "9999-12-31"):
            fail("the roll-up is not what recompute_rollup makes of the raw rows")
        print(f"{SHORT} weeks: recompute_rollup makes the same {len(fresh):,} cells")
        if recorded != (kept := await cells_of(bulk, week, week)):
            fail(f"record_answer and the bulk roll-up differ in {len(set(recorded) ^ set(kept))} cells")
    count = sum(cell.answers for cell in recorded)
    print(f"{count:,} answers of one week through record_answer in {took_s:.0f} s: the same {len(recorded):,} cells")


# -------------------------------------------------------------------------------------------------------- the digest


def digests(plan: Plan, stores: dict[int, Path], bounds: Bounds) -> None:
    """The digest of the last week as `koe serve` has it made, from both histories in turns: the first one, which keeps
    the weeks it looks back on as columns, and those that follow. These are judged: a week is closed once."""
    print("\nThe first digest of a store: closed weeks become columns")
    first: dict[int, Run] = {}
    for weeks, path in stores.items():
        history.forget_columns(path)
        first[weeks] = run(["-m", "reports", "digest"], request(path))
        print(
            f"  {weeks:3} weeks {spread([first[weeks].wall_s])}  CPU {first[weeks].cpu_s:.2f} s  "
            f"peak {first[weeks].peak_mb} MB"
        )
    print(f"The digest of one week, {plan.digests} times from each history")
    found: dict[int, list[Run]] = {weeks: [] for weeks in stores}
    for _ in range(plan.digests):
        for weeks, path in stores.items():
            found[weeks].append(run(["-m", "reports", "digest"], request(path)))
    for weeks, runs in found.items():
        cpu = statistics.median(r.cpu_s for r in runs)
        peak = max(r.peak_mb for r in runs)
        print(f"  {weeks:3} weeks {spread([r.wall_s for r in runs])}  CPU {cpu:.2f} s  peak {peak} MB")
    if any(one.out != first[weeks].out for weeks, runs in found.items() for one in runs):
        fail("a digest made of columns says something else than the one before it")
    told = {weeks: comparable(json.loads(runs[0].out)["json"]) for weeks, runs in found.items()}
    differing = {part for part, said in told[LONG].items() if said != told[SHORT][part]} - LONGER_THAN_SHORT
    if differing:
        fail(f"the digests of two histories say different things: {', '.join(sorted(differing))}")
    print(f"  {len(told[LONG]) - len(LONGER_THAN_SHORT)} parts are the same from {LONG} and from {SHORT} weeks")
    for weeks in (YEAR, SHORT):
        median, scatter = ratios([r.cpu_s for r in found[LONG]], [r.cpu_s for r in found[weeks]])
        memory = max(r.peak_mb for r in found[LONG]) / max(r.peak_mb for r in found[weeks])
        if weeks == SHORT:
            print(f"  {LONG} over {weeks} weeks, which fill no year: CPU {scatter}, memory {memory:.2f}")
        else:
            print(f"  {LONG} over {weeks} weeks: CPU {scatter}, memory {memory:.2f}")
            bounds.most(f"digest, CPU of {LONG} over {weeks} weeks", median, FLAT_BOUND)
            bounds.most(f"digest, memory of {LONG} over {weeks} weeks", memory, FLAT_BOUND)


def comparable(digest: dict[str, Any]) -> dict[str, Any]:
    """A digest without how long those who answered and those who did not have been customers: that goes back to the
    beginning."""
    checks = digest["quality"]
    checks["nonresponse"] = [found for found in checks["nonresponse"] if found["variant"] != "tenure_days"]
    return digest


def request(database: Path) -> bytes:
    asked = {
        "database": f"sqlite:///{database}",
        "now_ms": NOW_MS,
        "brand": {"ja": "声の店", "en": "Koe Store"},
        "digest": {"id": "weekly"},
    }
    return json.dumps(asked).encode()


def write_stores(plan: Plan, stores: dict[int, Path], parquet: Path) -> None:
    """The histories that are not there yet; the long one as a Parquet file, too."""
    print()
    for weeks, path in stores.items():
        if path.exists():
            print(f"{weeks:3} weeks: {path.stat().st_size >> 20:,} MB, written by a former run")
            continue
        begun = time.perf_counter()
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        answers = asyncio.run(
            history.write_store(
                unfinished, weeks, plan.surveys, customers=plan.customers, parquet=parquet if weeks == LONG else None
            )
        )
        unfinished.rename(path)
        took = timedelta(seconds=round(time.perf_counter() - begun))
        print(f"{weeks:3} weeks: {answers:,} answers, {path.stat().st_size >> 20:,} MB, written in {took}", flush=True)


def main() -> int:
    """Exit status 1 when a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.metrics", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200,000 answers; bounds are printed, not judged")
    parser.add_argument("--folder", type=Path, help="keeps what is written, some nine gigabytes, and uses it again")
    parser.add_argument("--only", choices=("raw", "roll-up", "digest"), help="one part")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    bounds = Bounds(judged=not given.quick)
    with tempfile.TemporaryDirectory(prefix="koe-bench-") as name:
        folder = Path(name)
        kept = (given.folder or folder) / ("quick" if given.quick else "full")
        kept.mkdir(parents=True, exist_ok=True)
        lengths = (LONG, SHORT) if given.only == "roll-up" else (LONG, YEAR, SHORT)
        stores = {weeks: kept / f"{weeks}-weeks.db" for weeks in lengths}
        parquet = kept / "answers.parquet"
        if given.only in (None, "raw"):
            raw_file(plan, folder, bounds)
        if given.only != "raw":
            # in a process of its own: a child's peak counts what its parent held when it was made
            writing = multiprocessing.get_context("spawn").Process(target=write_stores, args=(plan, stores, parquet))
            writing.start()
            writing.join()
            if writing.exitcode:
                fail("the histories could not be written")
        if given.only in (None, "roll-up"):
            asyncio.run(one_by_one(plan, stores[SHORT], folder))
            asyncio.run(roll_up(plan, {weeks: stores[weeks] for weeks in (LONG, SHORT)}, parquet, bounds))
        if given.only in (None, "digest"):
            digests(plan, stores, bounds)
    return 1 if bounds.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
